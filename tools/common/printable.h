// What every tool says on standard error.
#ifndef M1_TOOLS_COMMON_PRINTABLE_H
#define M1_TOOLS_COMMON_PRINTABLE_H

#include "base/printable.h"

#include <cstdio>
#include <string>
#include <string_view>

namespace m1tool {

using m1rt::characterLength, m1rt::printable, m1rt::printableLength;

/// "NAME: KIND: message" on standard error, by which every tool says what went wrong: one line, but
/// of notes and remarks, which show code.
inline void say(const std::string &tool, std::string_view kind, std::string_view message) {
  const bool severalLines = kind == "note" || kind == "remark";
  std::fprintf(stderr, "%s: %.*s: %s\n", tool.c_str(), int(kind.size()), kind.data(),
               printable(message, severalLines).c_str());
}

} // namespace m1tool

#endif
