// The seed of all that a test draws at random.
#ifndef M1_TEST_SUPPORT_TESTSEED_H
#define M1_TEST_SUPPORT_TESTSEED_H

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <random>

namespace m1test {

/// A fresh one each run, printed; M1_TEST_SEED=N repeats one.
inline uint64_t testSeed() {
  static const uint64_t seed = [] {
    const char *given = std::getenv("M1_TEST_SEED");
    const uint64_t value = given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
    std::cout << "M1_TEST_SEED=" << value << '\n' << std::flush; // a crash comes after it
    return value;
  }();
  return seed;
}

} // namespace m1test

#endif
