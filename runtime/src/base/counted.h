// Numbers of things in messages.
#ifndef M1RT_BASE_COUNTED_H
#define M1RT_BASE_COUNTED_H

#include <string>

namespace m1rt {

/// "1 sequence", "3 sequences".
inline std::string counted(unsigned long long count, const char *thing) {
  return std::to_string(count) + " " + thing + (count == 1 ? "" : "s");
}

} // namespace m1rt

#endif
