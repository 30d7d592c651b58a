// Messages, which quote what strangers wrote, for a terminal or a log.
#ifndef M1RT_BASE_PRINTABLE_H
#define M1RT_BASE_PRINTABLE_H

#include <cstdio>
#include <string>
#include <string_view>

namespace m1rt {

/// The length of the character that a text begins with; 0 if it is no UTF-8.
inline size_t characterLength(std::string_view text) {
  const auto at = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const auto follows = [&](size_t i) { return at(i) >= 0x80 && at(i) < 0xc0; };
  const unsigned first = at(0);
  if (first < 0x80)
    return 1;
  if (first >= 0xc2 && first < 0xe0)
    return follows(1) ? 2 : 0;
  if (first >= 0xe0 && first < 0xf0)
    return follows(1) && follows(2) && (first != 0xe0 || at(1) >= 0xa0) &&
                   (first != 0xed || at(1) < 0xa0)
               ? 3
               : 0;
  return first >= 0xf0 && first < 0xf5 && follows(1) && follows(2) && follows(3) &&
                 (first != 0xf0 || at(1) >= 0x90) && (first != 0xf4 || at(1) < 0x90)
             ? 4
             : 0;
}

/// The same if the character may be shown; 0 of control characters but line ends and tabs, which
/// may be orders to the terminal, too.
inline size_t printableLength(std::string_view text) {
  const unsigned char first = static_cast<unsigned char>(text[0]);
  const bool control = first < 0x20 ? first != '\n' && first != '\t'
                                    : first == 0x7f || (first == 0xc2 && text.size() > 1 &&
                                                        static_cast<unsigned char>(text[1]) < 0xa0);
  return control ? 0 : characterLength(text);
}

/// The text with \xNN in the place of what may not be shown, \n and \t in that of line ends and
/// tabs unless it may have several lines, and without the middle when it is long.
inline std::string printable(std::string_view text, bool severalLines) {
  constexpr size_t head = 6000, tail = 1500;
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (out.size() >= head && text.size() - i > tail + 100) {
      size_t next = text.size() - tail; // or where its character ends
      for (int skipped = 0; skipped < 3 && (static_cast<unsigned char>(text[next]) & 0xc0) == 0x80;
           ++skipped)
        ++next;
      out += " ... (" + std::to_string(next - i) + " bytes) ... ";
      i = next;
    }
    const size_t length = printableLength(text.substr(i));
    if ((text[i] == '\n' || text[i] == '\t') && !severalLines) {
      out += text[i] == '\n' ? "\\n" : "\\t";
    } else if (length > 0) {
      out += text.substr(i, length);
    } else {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", static_cast<unsigned char>(text[i]));
      out += escaped;
    }
    i += length > 0 ? length : 1;
  }
  return out;
}

} // namespace m1rt

#endif // M1RT_BASE_PRINTABLE_H
