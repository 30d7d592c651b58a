#include "template/text.h"

#include "tokenizer/unicode.h"

#include <algorithm>
#include <cstring>

namespace m1rt::jinja {
namespace {

// Calls `emit` with the bytes of the character's other case.
template <std::string_view (*Map)(uint32_t, char (&)[kCaseBytes]), typename Emit>
void mapCase(uint32_t c, Emit emit) {
  if (c >= 0x80)
    spend(1); // for reading the tables
  char bytes[kCaseBytes];
  emit(Map(c, bytes));
}
template <typename Emit> void upperOf(uint32_t c, Emit emit) { mapCase<upperCase>(c, emit); }
template <typename Emit> void lowerOf(uint32_t c, Emit emit) { mapCase<lowerCase>(c, emit); }

bool isSame(uint32_t c, std::string_view text) {
  char bytes[4];
  return std::string_view(bytes, encodeUtf8(c, bytes)) == text;
}

template <typename Drop> String stripWhere(std::string_view text, Side side, Drop drop) {
  size_t begin = 0, end = text.size();
  if (side != Side::right)
    for (size_t at = begin; at < end; begin = at)
      if (!drop(nextCodePoint(text, at)))
        break;
  if (side != Side::left)
    for (size_t at = end; end > begin; end = at)
      if (!drop(decodeUtf8Before(text.data(), at)))
        break;
  return String(text.substr(begin, end - begin));
}

String reversed(std::string_view text) { return String(text.rbegin(), text.rend()); }

} // namespace

uint32_t nextCodePoint(std::string_view text, size_t &at) { return decodeUtf8(text.data(), at); }

CodePoints codePoints(std::string_view text) {
  CodePoints out;
  out.reserve(length(text));
  for (size_t at = 0; at < text.size();)
    out.push_back(decodeUtf8(text.data(), at));
  return out;
}

void appendCodePoint(uint32_t c, String &out) {
  char bytes[4];
  out.append(bytes, encodeUtf8(c, bytes));
}

String fromCodePoint(uint32_t c) {
  String out;
  appendCodePoint(c, out);
  return out;
}

size_t length(std::string_view text) {
  spend(1, text.size());
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

size_t findText(std::string_view text, std::string_view part, size_t from) {
  const void *found = memmem(text.data() + from, text.size() - from, part.data(), part.size());
  size_t at = found ? static_cast<size_t>(static_cast<const char *>(found) - text.data())
                    : std::string_view::npos;
  // A long part that nearly occurs everywhere takes several operations a byte.
  size_t read = (found ? at : text.size()) - from + part.size();
  spend(1, part.size() > 32 ? 16 * read : read);
  return at;
}

size_t findLast(std::string_view text, std::string_view part) {
  size_t at = findText(reversed(text), reversed(part), 0);
  return at == std::string_view::npos ? at : text.size() - at - part.size();
}

bool isSpace(uint32_t c) {
  return (c >= 0x1C && c <= 0x1F) || CharClasses()(c) == CharClass::space;
}
bool isAlphabetic(uint32_t c) { return CharClasses()(c) == CharClass::letter; }
bool isNumeric(uint32_t c) {
  const CharClass kind = CharClasses()(c);
  return kind == CharClass::number || kind == CharClass::otherNumber;
}
bool isDigit(uint32_t c) {
  struct Range {
    uint32_t first, last;
  };
  // \p{Nl}, which are no digits (Unicode 16), and what of \p{No} has Numeric_Type=Digit.
  static constexpr Range letters[] = {{0x16EE, 0x16F0},   {0x2160, 0x2188},   {0x3007, 0x3007},
                                      {0x3021, 0x3029},   {0x3038, 0x303A},   {0xA6E6, 0xA6EF},
                                      {0x10140, 0x10174}, {0x10341, 0x1034A}, {0x103D1, 0x103D5},
                                      {0x12400, 0x1246E}};
  static constexpr Range digits[] = {
      {0xB2, 0xB3},       {0xB9, 0xB9},       {0x1369, 0x1371},   {0x19DA, 0x19DA},
      {0x2070, 0x2070},   {0x2074, 0x2079},   {0x2080, 0x2089},   {0x2460, 0x2468},
      {0x2474, 0x247C},   {0x2488, 0x2490},   {0x24EA, 0x24EA},   {0x24F5, 0x24FD},
      {0x24FF, 0x24FF},   {0x2776, 0x277E},   {0x2780, 0x2788},   {0x278A, 0x2792},
      {0x10A40, 0x10A43}, {0x10E60, 0x10E68}, {0x11052, 0x1105A}, {0x1F100, 0x1F10A}};
  auto among = [c](const Range &range) { return range.first <= c && c <= range.last; };
  const CharClass kind = CharClasses()(c);
  return kind == CharClass::number ? std::none_of(std::begin(letters), std::end(letters), among)
                                   : kind == CharClass::otherNumber &&
                                         std::any_of(std::begin(digits), std::end(digits), among);
}
bool isUpper(uint32_t c) {
  bool changes = false;
  lowerOf(c, [&](std::string_view other) { changes = !isSame(c, other); });
  return changes;
}
bool isLower(uint32_t c) {
  bool changes = false;
  upperOf(c, [&](std::string_view other) { changes = !isSame(c, other); });
  return changes && !isUpper(c);
}

String strip(std::string_view text, Side side) { return stripWhere(text, side, isSpace); }

String strip(std::string_view text, Side side, std::string_view chars) {
  CodePoints set = codePoints(chars);
  std::sort(set.begin(), set.end());
  return stripWhere(text, side,
                    [&](uint32_t c) { return std::binary_search(set.begin(), set.end(), c); });
}

String upper(std::string_view text) {
  String out;
  for (size_t at = 0; at < text.size();)
    upperOf(nextCodePoint(text, at), [&](std::string_view c) { out += c; });
  return out;
}

String lower(std::string_view text) {
  String out;
  uint32_t before = 0;
  for (size_t at = 0; at < text.size();) {
    size_t start = at;
    uint32_t c = nextCodePoint(text, at);
    size_t next = at;
    // A capital sigma at the end of a word has its own small form.
    if (c == 0x3A3 && start > 0 && isAlphabetic(before) &&
        (at == text.size() || !isAlphabetic(nextCodePoint(text, next))))
      out += "ς";
    else
      lowerOf(c, [&](std::string_view l) { out += l; });
    before = c;
  }
  return out;
}

bool isCased(uint32_t c) { return isUpper(c) || isLower(c); }

namespace {

// Unicode's title case: ß is Ss, ǆ is ǅ, ᾳ is ᾼ.
void appendTitle(uint32_t c, String &out) {
  constexpr uint32_t iotaBelow = 0x345;
  if (c >= 0x1C4 && c <= 0x1CC)
    return appendCodePoint(c <= 0x1C6 ? 0x1C5 : c <= 0x1C9 ? 0x1C8 : 0x1CB, out);
  if (c >= 0x1F1 && c <= 0x1F3)
    return appendCodePoint(0x1F2, out);
  if (c >= 0x10D0 && c <= 0x10FF) // Georgian has no title case
    return appendCodePoint(c, out);
  if (c == 0x149) { // ŉ
    appendCodePoint(0x2BC, out);
    return appendCodePoint('N', out);
  }
  if (c >= 0x1F80 && c <= 0x1FAF)
    return appendCodePoint(c | 8, out);
  if (c == 0x1FB3 || c == 0x1FC3 || c == 0x1FF3 || c == 0x1FBC || c == 0x1FCC || c == 0x1FFC)
    return appendCodePoint(c >= 0x1FF0 ? 0x1FFC : c >= 0x1FC0 ? 0x1FCC : 0x1FBC, out);
  String all;
  upperOf(c, [&](std::string_view u) { all += u; });
  size_t first = 0;
  nextCodePoint(all, first);
  out += all.substr(0, first);
  for (size_t at = first; at < all.size();) {
    const uint32_t next = nextCodePoint(all, at);
    if (c >= 0x1F00 && c <= 0x1FFF && next == 0x399)
      appendCodePoint(iotaBelow, out);
    else
      lowerOf(next, [&](std::string_view l) { out += l; });
  }
}

} // namespace

String capitalize(std::string_view text) {
  if (text.empty())
    return String();
  size_t at = 0;
  String out;
  appendTitle(nextCodePoint(text, at), out);
  return out + lower(text.substr(at));
}

String titleCase(std::string_view text) {
  String out;
  bool inWord = false;
  for (size_t at = 0; at < text.size();) {
    const uint32_t c = nextCodePoint(text, at);
    size_t next = at;
    if (!inWord)
      appendTitle(c, out);
    else if (c == 0x3A3 && (at == text.size() || !isAlphabetic(nextCodePoint(text, next))))
      out += "ς"; // a capital sigma at the end of a word
    else
      lowerOf(c, [&](std::string_view l) { out += l; });
    inWord = isCased(c);
  }
  return out;
}

String replaceAll(std::string_view text, std::string_view from, std::string_view to,
                  int64_t limit) {
  String out;
  size_t done = 0;
  if (from.empty()) { // between all characters
    for (int64_t i = 0;; ++i) {
      if (limit < 0 || i < limit)
        out += to;
      if (done == text.size())
        return out;
      size_t start = done;
      nextCodePoint(text, done);
      out += text.substr(start, done - start);
    }
  }
  for (size_t at; limit != 0 && (at = findText(text, from, done)) != text.npos; --limit) {
    out += text.substr(done, at - done);
    out += to;
    done = at + from.size();
  }
  out += text.substr(done);
  return out;
}

Strings splitWhite(std::string_view text, int64_t limit, bool fromRight) {
  Strings out;
  size_t begin = 0, end = text.size(); // of what is left
  // Skips characters at the side where reading starts while they are, or are not, white.
  auto skip = [&](bool white) {
    while (begin < end) {
      size_t from = begin, to = end;
      uint32_t c = fromRight ? decodeUtf8Before(text.data(), to) : nextCodePoint(text, from);
      if (isSpace(c) != white)
        return;
      begin = from;
      end = to;
    }
  };
  while (true) {
    skip(true);
    if (begin == end)
      break;
    size_t first = begin, last = end;
    if (limit-- == 0) {
      out.emplace_back(text.substr(first, last - first));
      break;
    }
    skip(false);
    out.emplace_back(fromRight ? text.substr(end, last - end) : text.substr(first, begin - first));
  }
  if (fromRight)
    std::reverse(out.begin(), out.end());
  return out;
}

Strings splitBy(std::string_view text, std::string_view separator, int64_t limit, bool fromRight) {
  Strings out;
  if (fromRight) {
    String from = reversed(text), by = reversed(separator);
    for (const String &part : splitBy(from, by, limit, false))
      out.push_back(reversed(part));
    std::reverse(out.begin(), out.end());
    return out;
  }
  size_t done = 0;
  for (size_t at; limit != 0 && (at = findText(text, separator, done)) != text.npos; --limit) {
    out.emplace_back(text.substr(done, at - done));
    done = at + separator.size();
  }
  out.emplace_back(text.substr(done));
  return out;
}

Strings splitLines(std::string_view text, bool keepEnds) {
  Strings out;
  auto ends = [](uint32_t c) {
    return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
  };
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    uint32_t c = nextCodePoint(text, at);
    if (!ends(c))
      continue;
    if (c == '\r' && at < text.size() && text[at] == '\n')
      ++at;
    out.emplace_back(text.substr(begin, (keepEnds ? at : end) - begin));
    begin = at;
  }
  if (begin < text.size())
    out.emplace_back(text.substr(begin));
  return out;
}

} // namespace m1rt::jinja
