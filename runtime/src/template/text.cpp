#include "template/text.h"

#include "tokenizer/unicode.h"

#include <algorithm>

namespace m1rt::jinja {
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
std::string mapCase(const CaseRange (&ranges)[R], const CaseExpansion (&expansions)[E],
                    uint32_t c) {
  for (const CaseExpansion &e : expansions)
    if (e.from == c)
      return e.to;
  std::string out;
  for (const CaseRange &r : ranges)
    if (c >= r.first && c <= r.last && (c - r.first) % r.step == 0) {
      appendUtf8(static_cast<uint32_t>(static_cast<int32_t>(c) + r.delta), out);
      return out;
    }
  appendUtf8(c, out);
  return out;
}

std::string upperOf(uint32_t c) {
  if (c < 0x80)
    return std::string(1, static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c));
  return mapCase(kUpperRanges, kUpperExpansions, c);
}

std::string lowerOf(uint32_t c) {
  if (c < 0x80)
    return std::string(1, static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c));
  return mapCase(kLowerRanges, kLowerExpansions, c);
}

std::string single(uint32_t c) {
  std::string out;
  appendUtf8(c, out);
  return out;
}

template <typename Drop> std::string stripWhere(const std::string &text, Side side, Drop drop) {
  std::vector<uint32_t> chars = codePoints(text);
  size_t begin = 0, end = chars.size();
  if (side != Side::right)
    while (begin < end && drop(chars[begin]))
      ++begin;
  if (side != Side::left)
    while (end > begin && drop(chars[end - 1]))
      --end;
  return fromCodePoints({chars.begin() + begin, chars.begin() + end});
}

} // namespace

std::vector<uint32_t> codePoints(const std::string &text) {
  std::vector<uint32_t> out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();)
    out.push_back(decodeUtf8(text.data(), at));
  return out;
}

void appendCodePoint(uint32_t c, std::string &out) { appendUtf8(c, out); }

std::string fromCodePoints(const std::vector<uint32_t> &chars) {
  std::string out;
  for (uint32_t c : chars)
    appendUtf8(c, out);
  return out;
}

size_t length(const std::string &text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

bool isSpace(uint32_t c) {
  return (c >= 0x1C && c <= 0x1F) || CharClasses()(c) == CharClass::space;
}
bool isAlphabetic(uint32_t c) { return CharClasses()(c) == CharClass::letter; }
bool isDigit(uint32_t c) { return CharClasses()(c) == CharClass::number; }
bool isUpper(uint32_t c) { return lowerOf(c) != single(c); }
bool isLower(uint32_t c) { return upperOf(c) != single(c) && !isUpper(c); }

std::string strip(const std::string &text, Side side) { return stripWhere(text, side, isSpace); }

std::string strip(const std::string &text, Side side, const std::string &chars) {
  std::vector<uint32_t> set = codePoints(chars);
  return stripWhere(text, side,
                    [&](uint32_t c) { return std::find(set.begin(), set.end(), c) != set.end(); });
}

std::string upper(const std::string &text) {
  std::string out;
  for (uint32_t c : codePoints(text))
    out += upperOf(c);
  return out;
}

std::string lower(const std::string &text) {
  std::vector<uint32_t> chars = codePoints(text);
  std::string out;
  for (size_t i = 0; i < chars.size(); ++i) {
    // A capital sigma at the end of a word has its own small form.
    if (chars[i] == 0x3A3 && i > 0 && isAlphabetic(chars[i - 1]) &&
        (i + 1 == chars.size() || !isAlphabetic(chars[i + 1])))
      out += "ς";
    else
      out += lowerOf(chars[i]);
  }
  return out;
}

std::string capitalize(const std::string &text) {
  std::vector<uint32_t> chars = codePoints(text);
  if (chars.empty())
    return text;
  return upperOf(chars[0]) + lower(fromCodePoints({chars.begin() + 1, chars.end()}));
}

std::string replaceAll(const std::string &text, const std::string &from, const std::string &to,
                       int64_t limit) {
  std::string out;
  size_t done = 0;
  if (from.empty()) { // between all characters
    std::vector<uint32_t> chars = codePoints(text);
    for (size_t i = 0; i <= chars.size(); ++i) {
      if (limit < 0 || static_cast<int64_t>(i) < limit)
        out += to;
      if (i < chars.size())
        appendUtf8(chars[i], out);
    }
    return out;
  }
  for (size_t at; limit != 0 && (at = text.find(from, done)) != std::string::npos; --limit) {
    out.append(text, done, at - done);
    out += to;
    done = at + from.size();
  }
  return out + text.substr(done);
}

std::vector<std::string> splitWhite(const std::string &text, int64_t limit, bool fromRight) {
  std::vector<uint32_t> chars = codePoints(text);
  if (fromRight)
    std::reverse(chars.begin(), chars.end());
  std::vector<std::string> out;
  auto emit = [&](size_t begin, size_t end) {
    std::vector<uint32_t> part(chars.begin() + begin, chars.begin() + end);
    if (fromRight)
      std::reverse(part.begin(), part.end());
    out.push_back(fromCodePoints(part));
  };
  size_t at = 0;
  while (true) {
    while (at < chars.size() && isSpace(chars[at]))
      ++at;
    if (at == chars.size())
      break;
    size_t begin = at;
    if (limit == 0) {
      emit(begin, chars.size());
      break;
    }
    while (at < chars.size() && !isSpace(chars[at]))
      ++at;
    emit(begin, at);
    --limit;
  }
  if (fromRight)
    std::reverse(out.begin(), out.end());
  return out;
}

std::vector<std::string> splitBy(const std::string &text, const std::string &separator,
                                 int64_t limit, bool fromRight) {
  std::vector<std::string> out;
  if (fromRight) {
    size_t end = text.size();
    while (limit != 0 && end >= separator.size()) {
      size_t at = text.rfind(separator, end - separator.size());
      if (at == std::string::npos)
        break;
      out.push_back(text.substr(at + separator.size(), end - at - separator.size()));
      end = at;
      --limit;
    }
    out.push_back(text.substr(0, end));
    std::reverse(out.begin(), out.end());
    return out;
  }
  size_t done = 0;
  for (size_t at; limit != 0 && (at = text.find(separator, done)) != std::string::npos; --limit) {
    out.push_back(text.substr(done, at - done));
    done = at + separator.size();
  }
  out.push_back(text.substr(done));
  return out;
}

std::vector<std::string> splitLines(const std::string &text, bool keepEnds) {
  std::vector<std::string> out;
  std::vector<uint32_t> chars = codePoints(text);
  std::string line;
  auto ends = [](uint32_t c) {
    return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
  };
  for (size_t i = 0; i < chars.size(); ++i) {
    if (!ends(chars[i])) {
      appendUtf8(chars[i], line);
      continue;
    }
    bool pair = chars[i] == '\r' && i + 1 < chars.size() && chars[i + 1] == '\n';
    if (keepEnds)
      appendUtf8(chars[i], line);
    if (pair && keepEnds)
      line += '\n';
    i += pair;
    out.push_back(line);
    line.clear();
  }
  if (!line.empty())
    out.push_back(line);
  return out;
}

} // namespace m1rt::jinja
