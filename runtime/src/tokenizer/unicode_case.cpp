#include "tokenizer/unicode.h"

namespace m1rt {
namespace {

struct CaseRange {
  uint32_t first, last;
  uint32_t step;
  int32_t delta;
};
struct CaseExpansion {
  uint32_t from;
  const char *to;
};
#include "case_tables.inc"

template <size_t R, size_t E>
std::string_view mapCase(const CaseRange (&ranges)[R], const CaseExpansion (&expansions)[E],
                         uint32_t c, char (&bytes)[kCaseBytes]) {
  for (const CaseExpansion &e : expansions)
    if (e.from == c)
      return e.to;
  for (const CaseRange &r : ranges)
    if (c >= r.first && c <= r.last && (c - r.first) % r.step == 0) {
      c = static_cast<uint32_t>(static_cast<int32_t>(c) + r.delta);
      break;
    }
  return {bytes, encodeUtf8(c, bytes)};
}

std::string_view ascii(char c, char (&bytes)[kCaseBytes]) {
  bytes[0] = c;
  return {bytes, 1};
}

} // namespace

std::string_view upperCase(uint32_t c, char (&bytes)[kCaseBytes]) {
  if (c < 0x80)
    return ascii(static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c), bytes);
  return mapCase(kUpperRanges, kUpperExpansions, c, bytes);
}

std::string_view lowerCase(uint32_t c, char (&bytes)[kCaseBytes]) {
  if (c < 0x80)
    return ascii(static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c), bytes);
  return mapCase(kLowerRanges, kLowerExpansions, c, bytes);
}

} // namespace m1rt
