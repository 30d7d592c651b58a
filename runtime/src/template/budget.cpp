#include "template/budget.h"

#include "template/value.h"

#include <pthread.h>

#include <algorithm>

namespace m1rt::jinja {
namespace {

// What may lie on the stack below the last check: a filter and what it calls.
constexpr uintptr_t kStackReserve = 64 << 10;
// Assumed where the system does not say how large the stack is.
constexpr uintptr_t kStackUnknown = 256 << 10;

thread_local Budget *currentBudget = nullptr;

} // namespace

StackGuard::StackGuard() {
  // Asked once a thread: of a process's first one the C library looks for it in /proc/self/maps,
  // which takes longer than rendering a conversation.
  thread_local uintptr_t known = 0;
  if (known) {
    lowest = known;
    return;
  }
  auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) {
    lowest = here - std::min(here, kStackUnknown - kStackReserve);
    return;
  }
  void *low = nullptr;
  size_t size = 0;
  pthread_attr_getstack(&attributes, &low, &size);
  pthread_attr_destroy(&attributes);
  lowest = known = reinterpret_cast<uintptr_t>(low) + kStackReserve;
}

Budget *Budget::current() { return currentBudget; }

Budget::Budget() : outer(currentBudget) { currentBudget = this; }

Budget::~Budget() {
  while (mutables) {
    Mutable *first = mutables;
    mutables = first->after;
    if (mutables)
      mutables->before = nullptr;
    first->owner = nullptr;
    // Emptying it may free it, and others of the list with it.
    first->references.fetch_add(1, std::memory_order_relaxed);
    first->clear();
    if (first->references.fetch_sub(1, std::memory_order_acq_rel) == 1)
      delete first;
  }
  currentBudget = outer;
}

Mutable::Mutable() : owner(currentBudget) {
  if (!owner)
    return;
  after = owner->mutables;
  if (after)
    after->before = this;
  owner->mutables = this;
}

Mutable::~Mutable() {
  if (!owner)
    return;
  (before ? before->after : owner->mutables) = after;
  if (after)
    after->before = before;
}

} // namespace m1rt::jinja
