// What --seed accepts.
#ifndef M1_TOOLS_COMMON_SEED_H
#define M1_TOOLS_COMMON_SEED_H

#include <cerrno>
#include <cstdlib>
#include <string>

namespace m1tool {

/// For CLI11's check(), which by itself takes a number beyond 64 bits for the largest, and a
/// negative one for its complement.
inline std::string isSeed(const std::string &text) {
  errno = 0;
  std::strtoull(text.c_str(), nullptr, 10);
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  return digits && errno == 0 ? "" : "expected an integer from 0 to 2^64 - 1, got " + text;
}

} // namespace m1tool

#endif
