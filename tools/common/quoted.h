// JSON strings, written in place.
#ifndef M1_TOOLS_COMMON_QUOTED_H
#define M1_TOOLS_COMMON_QUOTED_H

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

namespace m1tool {

/// What the JSON library writes of the text, with U+FFFD for what is no UTF-8, several times as
/// fast: it is done for every token of a stream.
inline void appendQuoted(const std::string &text, std::string *out) {
  if (std::any_of(text.begin(), text.end(), [](char c) { return uint8_t(c) >= 0x80; })) {
    *out += nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    return;
  }
  constexpr char letters[] = "btn?fr"; // of \b, which is 8, and those behind it
  *out += '"';
  for (const char c : text) {
    if (uint8_t(c) >= 0x20 && c != '"' && c != '\\') {
      *out += c;
    } else if (c == '"' || c == '\\') {
      (*out += '\\') += c;
    } else if (c >= '\b' && c <= '\r' && c != '\v') {
      (*out += '\\') += letters[c - '\b'];
    } else {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", unsigned(c));
      *out += escaped;
    }
  }
  *out += '"';
}

} // namespace m1tool

#endif
