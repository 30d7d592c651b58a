// What the opaque types of the C API are.
#ifndef M1RT_API_HANDLES_H
#define M1RT_API_HANDLES_H

#include "m1/runtime.h"
#include "model/model.h"
#include "model/session.h"
#include "text/model_text.h"
#include <exception>
#include <initializer_list>
#include <memory>
#include <new>

struct m1_status {
  m1rt::Status status;
};
// Shared with the sessions and engines made from it, which may outlive the handle.
struct m1_model {
  std::shared_ptr<m1rt::Model> model;
  std::shared_ptr<m1rt::ModelText> text; // loaded when first asked for
  /// Null without a tokenizer; an error when the tokenizer is damaged.
  m1rt::Status findText(m1rt::ModelText **out);
};
struct m1_session {
  std::shared_ptr<m1rt::Model> model; // outlives the session
  std::unique_ptr<m1rt::Session> session;
};

namespace m1rt {

/// Null for ok.
m1_status *toC(Status status);

struct NamedPointer {
  const char *name;
  const void *pointer;
};
/// Names the first argument that is null.
Status requireArguments(const char *function, std::initializer_list<NamedPointer> arguments);

/// Runs the body of an API function; what it throws becomes a status.
template <typename Body> m1_status *guarded(Body body) {
  try {
    return toC(body());
  } catch (const std::bad_alloc &) {
    return toC(Status(StatusCode::outOfMemory, "out of host memory"));
  } catch (const std::exception &exception) {
    return toC(Status(StatusCode::deviceError, std::string("internal error: ") + exception.what()));
  }
}

} // namespace m1rt

#endif
