// What one rendering of a template may use: steps, bytes and stack. Every container of the
// evaluator allocates through `Charged`, so nothing that a template builds goes uncounted.
#ifndef M1RT_TEMPLATE_BUDGET_H
#define M1RT_TEMPLATE_BUDGET_H

#include "base/printable.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>

namespace m1rt::jinja {

// Thrown inside the template library only; ChatTemplate turns it into a message.
struct TemplateError : std::runtime_error {
  explicit TemplateError(const std::string &message, int line = 0)
      : std::runtime_error(printable(message, true)), line(line) {} // texts of the template, too
  int line;                                                         // 0: not known yet
};

constexpr size_t kMaxSourceBytes = 1u << 20;
constexpr size_t kMaxSteps = 20000000;
constexpr size_t kMaxBytes = 256u << 20;
constexpr size_t kBytesPerStep = 256; // copying or comparing so many bytes takes as long as a step
constexpr uint32_t kMaxValueDepth = 200;

// Refuses to go deeper when little of the thread's stack is left, however large that is.
class StackGuard {
public:
  StackGuard();
  void check() const {
    if (reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) < lowest)
      throw TemplateError("nested deeper than this thread's stack allows");
  }

private:
  uintptr_t lowest;
};

class Mutable; // a value that can change: see value.h

// The thread's budget while it lives. At its end the mutable values made under it are emptied, so
// that cycles through them are freed.
class Budget {
public:
  Budget();
  ~Budget();
  Budget(const Budget &) = delete;
  static Budget *current();

  void spend(size_t n) {
    steps += n;
    if (steps > kMaxSteps)
      throw TemplateError("evaluation takes too many steps");
  }
  void allocate(size_t n) {
    spend(1 + n / kBytesPerStep);
    if (n > kMaxBytes - bytes)
      throw TemplateError("evaluation needs more than " + std::to_string(kMaxBytes >> 20) + " MB");
    bytes += n;
  }
  void release(size_t n) { bytes -= n < bytes ? n : bytes; }
  void checkStack() const { stack.check(); }

  Mutable *mutables = nullptr;

private:
  StackGuard stack;
  Budget *outer;
  size_t steps = 0, bytes = 0;
};

// Work that allocates nothing: `n` steps and the reading of `bytes`.
inline void spend(size_t n, size_t bytes = 0) {
  if (Budget *budget = Budget::current())
    budget->spend(n + bytes / kBytesPerStep);
}

template <typename T> struct Charged {
  using value_type = T;
  Charged() = default;
  template <typename U> Charged(const Charged<U> &) {}
  T *allocate(size_t n) {
    if (n > SIZE_MAX / 2 / sizeof(T))
      throw TemplateError("evaluation needs more than " + std::to_string(kMaxBytes >> 20) + " MB");
    Budget *budget = Budget::current();
    if (budget)
      budget->allocate(n * sizeof(T));
    return static_cast<T *>(::operator new(n * sizeof(T)));
  }
  void deallocate(T *p, size_t n) noexcept {
    if (Budget *budget = Budget::current())
      budget->release(n * sizeof(T));
    ::operator delete(p);
  }
  template <typename U> bool operator==(const Charged<U> &) const { return true; }
  template <typename U> bool operator!=(const Charged<U> &) const { return false; }
};

using String = std::basic_string<char, std::char_traits<char>, Charged<char>>;

inline std::string plain(std::string_view text) { return std::string(text); }

} // namespace m1rt::jinja

#endif
