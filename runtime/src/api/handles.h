// What the opaque types of the C API are.
#ifndef M1RT_API_HANDLES_H
#define M1RT_API_HANDLES_H

#include "m1/runtime.h"
#include "model/model.h"
#include "model/session.h"
#include "text/model_text.h"
#include <atomic>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <unistd.h>

struct m1_engine;
struct m1_status {
  m1rt::Status status;
};

namespace m1rt {

/// Of a model and everything made from it: one call at a time, in the process that loaded it.
class Usage {
public:
  Status begin();
  void end() { busy.store(false, std::memory_order_release); }
  /// begin() without words, for functions that return no status.
  bool tryBegin() { return !forked() && !busy.exchange(true, std::memory_order_acquire); }
  /// Whether this process was forked from the one that loaded the model.
  bool forked() const { return getpid() != process; }

private:
  std::atomic<bool> busy{false};
  const pid_t process = getpid();
};

/// While it lives, nobody else uses the model.
class InUse {
public:
  explicit InUse(Usage &usage) : usage(usage.tryBegin() ? &usage : nullptr) {}
  InUse(Usage &wanted, Status *out) {
    *out = wanted.begin();
    usage = out->ok() ? &wanted : nullptr;
  }
  ~InUse() {
    if (usage)
      usage->end();
  }
  InUse(const InUse &) = delete;
  InUse &operator=(const InUse &) = delete;
  explicit operator bool() const { return usage; }

private:
  Usage *usage;
};

/// What a model's handle and all that is made from it share; lives until the last of them.
struct LoadedModel {
  std::unique_ptr<Model> model;
  uint32_t threads = 0; // of m1_model_options
  Usage usage;
  std::vector<m1_engine *> engines; // of the model, that exist
  std::mutex textMutex;
  std::unique_ptr<ModelText> text; // loaded when first asked for
  /// Null without a tokenizer; an error when the tokenizer is damaged.
  Status findText(ModelText **out);
};

} // namespace m1rt

struct m1_model {
  std::shared_ptr<m1rt::LoadedModel> loaded;
};
struct m1_session {
  std::shared_ptr<m1rt::LoadedModel> loaded; // outlives the session
  std::unique_ptr<m1rt::Session> session;
};

namespace m1rt {

/// Null for ok.
m1_status *toC(const Status &status) noexcept;
/// Of the exception that is being handled; allocates nothing when memory has run out.
m1_status *statusOfException() noexcept;

struct NamedPointer {
  const char *name;
  const void *pointer;
};
/// Names the first argument that is null.
Status requireArguments(const char *function, std::initializer_list<NamedPointer> arguments);

/// Runs the body of an API function; what it throws becomes a status.
template <typename Body> m1_status *guarded(Body body) noexcept {
  try {
    return toC(body());
  } catch (...) {
    return statusOfException();
  }
}
/// The same for a function of a model, session or engine, alone on the model. The body itself
/// refuses a null object.
template <typename Object, typename Body>
m1_status *guardedOn(const Object *object, Body body) noexcept {
  return guarded([&]() -> Status {
    if (!object)
      return body();
    Status status;
    InUse inUse(object->loaded->usage, &status);
    M1_TRY(status);
    return body();
  });
}
/// Deletes a session or an engine; one that another thread is using stays.
template <typename Object> void destroyAlone(Object *object) noexcept {
  if (!object)
    return;
  const std::shared_ptr<LoadedModel> loaded = object->loaded;
  InUse inUse(loaded->usage);
  if (inUse || loaded->usage.forked())
    delete object;
}

} // namespace m1rt

#endif
