// What strangers wrote, cut for a message that quotes it.
#ifndef M1RT_BASE_SHORTENED_H
#define M1RT_BASE_SHORTENED_H

#include <cstdint>
#include <string>
#include <string_view>

namespace m1rt {

/// At most `most` bytes of a text, whole characters of UTF-8, and "…" where that is not all of it.
inline std::string shortened(std::string_view text, size_t most = 80) {
  if (text.size() <= most)
    return std::string(text);
  size_t size = most;
  while (size > 0 && (uint8_t(text[size]) & 0xC0) == 0x80)
    --size;
  return std::string(text.substr(0, size)) + "…";
}

} // namespace m1rt

#endif // M1RT_BASE_SHORTENED_H
