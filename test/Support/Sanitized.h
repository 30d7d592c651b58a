// How much of what a test repeats is repeated where sanitizers make everything ten times as slow.
#ifndef M1_TEST_SUPPORT_SANITIZED_H
#define M1_TEST_SUPPORT_SANITIZED_H

namespace m1test {

#if M1_SANITIZED
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

/// `all`; under sanitizers, which look for other faults than many repetitions find, `few`.
template <typename Number> constexpr Number repeated(Number all, Number few) {
  return sanitized ? few : all;
}

} // namespace m1test

#endif
