// UTF-8, character classes and canonical composition, as the tokenizer needs them. Text is UTF-8
// throughout.
#ifndef M1RT_TOKENIZER_UNICODE_H
#define M1RT_TOKENIZER_UNICODE_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace m1rt {

// Offset of the first byte that is not part of well-formed UTF-8 (no surrogates, no overlong
// forms), or npos.
size_t findInvalidUtf8(std::string_view text);

// Reads the code point at `at` of well-formed UTF-8 and moves `at` past it.
inline uint32_t decodeUtf8(const char *text, size_t &at) {
  auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[i])); };
  uint32_t lead = byte(at);
  if (lead < 0x80) {
    at += 1;
    return lead;
  }
  if (lead < 0xE0) {
    at += 2;
    return (lead & 0x1F) << 6 | (byte(at - 1) & 0x3F);
  }
  if (lead < 0xF0) {
    at += 3;
    return (lead & 0x0F) << 12 | (byte(at - 2) & 0x3F) << 6 | (byte(at - 1) & 0x3F);
  }
  at += 4;
  return (lead & 0x07) << 18 | (byte(at - 3) & 0x3F) << 12 | (byte(at - 2) & 0x3F) << 6 |
         (byte(at - 1) & 0x3F);
}

// The code point that ends at `end` (> 0) of well-formed UTF-8; moves `end` to its start.
inline uint32_t decodeUtf8Before(const char *text, size_t &end) {
  do
    --end;
  while ((static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  size_t at = end;
  return decodeUtf8(text, at);
}

// Writes the code point's one to four bytes and returns how many.
inline size_t encodeUtf8(uint32_t c, char *bytes) {
  auto tail = [&](int shift) { return static_cast<char>(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) {
    bytes[0] = static_cast<char>(c);
    return 1;
  }
  if (c < 0x800) {
    bytes[0] = static_cast<char>(0xC0 | c >> 6);
    bytes[1] = tail(0);
    return 2;
  }
  if (c < 0x10000) {
    bytes[0] = static_cast<char>(0xE0 | c >> 12);
    bytes[1] = tail(6);
    bytes[2] = tail(0);
    return 3;
  }
  bytes[0] = static_cast<char>(0xF0 | c >> 18);
  bytes[1] = tail(12);
  bytes[2] = tail(6);
  bytes[3] = tail(0);
  return 4;
}

void appendUtf8(uint32_t codePoint, std::string &out);

// The character that spells a byte in GPT-2's alphabet: itself where it is printable in Latin-1,
// else, in order, one of those from U+0100 on.
constexpr uint32_t spellingOfByte(unsigned char byte) {
  return byte <= 0x20                   ? 0x100u + byte
         : byte >= 0x7F && byte <= 0xA0 ? 0x121u + byte - 0x7F
         : byte == 0xAD                 ? 0x143u
                                        : byte;
}

// Length of the well-formed character at the start of `bytes`: 1..4; 0 if the bytes are the
// beginning of one that is cut off; -n if the first n bytes are ill-formed (the maximal subpart
// that decoders replace by one U+FFFD).
int utf8CharacterLength(std::string_view bytes);

// `bytes` with each ill-formed maximal subpart replaced by U+FFFD.
std::string replaceInvalidUtf8(std::string_view bytes);

enum class CharClass : uint8_t {
  other,
  letter,      // \p{L}
  number,      // \p{Nd} and \p{Nl}
  otherNumber, // \p{No}
  space,       // White_Space
  mark,        // \p{M}
  connector,   // \p{Pc}
  wordSymbol,  // alphabetic symbols and joiners: part of \w alone
};

namespace detail {
struct ClassTable {
  uint8_t block[0x1100];     // of 256 code points each
  uint8_t classes[256][256]; // of each distinct block
  ClassTable();
};
const ClassTable &classTable();
} // namespace detail

// Looks classes up. Construct one outside a loop: it holds the table that is built at first use.
class CharClasses {
public:
  CharClasses() : table(detail::classTable()) {}
  CharClass operator()(uint32_t codePoint) const {
    return static_cast<CharClass>(table.classes[table.block[codePoint >> 8]][codePoint & 0xFF]);
  }

private:
  const detail::ClassTable &table;
};

// Whether a text holds characters that Unicode 16 has and 14 has not; then `out` is the text with
// others in their places, of the same general category and as many bytes. Patterns are cut as
// Hugging Face's library does it, whose properties are of version 16, whatever PCRE2 knows; not for
// patterns that tell characters apart by number.
bool replaceNewerCharacters(std::string_view text, std::string &out);

// Whether \w matches it (Unicode: alphabetic, marks, decimal digits, connectors, joiners).
inline bool isWord(CharClass c) {
  return c != CharClass::other && c != CharClass::space && c != CharClass::otherNumber;
}

// The upper or lower case of a character (Python's, of one character alone): up to three
// characters, in `bytes` or in a table.
constexpr size_t kCaseBytes = 4;
std::string_view upperCase(uint32_t codePoint, char (&bytes)[kCaseBytes]);
std::string_view lowerCase(uint32_t codePoint, char (&bytes)[kCaseBytes]);

// Normal form C, D, KC or KD of well-formed UTF-8.
std::string normalizeUnicode(std::string_view text, bool compatibility, bool compose);
// Normal form C of well-formed UTF-8.
std::string composeCanonically(std::string_view text);
// False only if composeCanonically(text) might differ from text; a cheap test.
bool mayNeedComposition(std::string_view text);

} // namespace m1rt

#endif
