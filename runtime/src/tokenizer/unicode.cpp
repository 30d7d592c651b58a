#include "tokenizer/unicode.h"

#include <algorithm>
#include <cstring>
#include <tuple>
#include <unordered_map>
#include <vector>

namespace m1rt {
namespace {

struct ClassRange {
  uint32_t first, last;
  char kind;
};
struct CombiningRange {
  uint32_t first, last;
  uint8_t combiningClass;
};
struct Decomposition {
  uint32_t composed, first, second;
  uint8_t composes;
};
struct Compatibility {
  uint32_t from;
  const char *to; // one level: its characters may have forms themselves
};
struct NewerRange {
  uint32_t first, last, like;
};
#include "compatibility_tables.inc"
#include "newer_characters.inc"
#include "unicode_tables.inc"

constexpr uint32_t kSpaces[][2] = {
    {0x09, 0x0D},     {0x20, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},     {0x1680, 0x1680},
    {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}};

CharClass classOf(char kind) {
  switch (kind) {
  case 'L':
    return CharClass::letter;
  case 'D':
    return CharClass::number;
  case 'O':
    return CharClass::otherNumber;
  case 'M':
    return CharClass::mark;
  case 'P':
    return CharClass::connector;
  default:
    return CharClass::wordSymbol;
  }
}

// Hangul syllables compose and decompose by arithmetic (Unicode, section 3.12).
constexpr uint32_t kSBase = 0xAC00, kLBase = 0x1100, kVBase = 0x1161, kTBase = 0x11A7;
constexpr uint32_t kLCount = 19, kVCount = 21, kTCount = 28, kSCount = kLCount * kVCount * kTCount;

struct CompositionTables {
  std::unordered_map<uint32_t, std::pair<uint32_t, uint32_t>> parts;
  std::unordered_map<uint64_t, uint32_t> whole;
  // Code points that are not in normal form C by themselves, combine with what precedes, or may
  // need reordering.
  std::vector<bool> unstable = std::vector<bool>(0x110000);
  CompositionTables() {
    for (const Decomposition &d : kDecompositions) {
      parts[d.composed] = {d.first, d.second};
      if (d.composes) {
        whole[static_cast<uint64_t>(d.first) << 32 | d.second] = d.composed;
        unstable[d.second] = true;
      } else {
        unstable[d.composed] = true;
      }
    }
    for (const CombiningRange &r : kCombiningRanges)
      std::fill(unstable.begin() + r.first, unstable.begin() + r.last + 1, true);
    std::fill(unstable.begin() + kVBase, unstable.begin() + kVBase + kVCount, true);
    std::fill(unstable.begin() + kTBase, unstable.begin() + kTBase + kTCount, true);
  }
};

const CompositionTables &compositionTables() {
  static const CompositionTables tables;
  return tables;
}

uint8_t combiningClass(uint32_t c) {
  if (c < 0x300)
    return 0;
  const CombiningRange *end = std::end(kCombiningRanges);
  const CombiningRange *r =
      std::lower_bound(std::begin(kCombiningRanges), end, c,
                       [](const CombiningRange &range, uint32_t v) { return range.last < v; });
  return r != end && r->first <= c ? r->combiningClass : 0;
}

const char *compatibleForm(uint32_t c) {
  const Compatibility *end = std::end(kCompatibility);
  const Compatibility *found =
      std::lower_bound(std::begin(kCompatibility), end, c,
                       [](const Compatibility &entry, uint32_t v) { return entry.from < v; });
  return found != end && found->from == c ? found->to : nullptr;
}

void decompose(const CompositionTables &tables, uint32_t c, bool compatibility,
               std::vector<uint32_t> &out) {
  if (const char *form = compatibility && c >= 0xA0 ? compatibleForm(c) : nullptr) {
    for (size_t at = 0; form[at];)
      decompose(tables, decodeUtf8(form, at), true, out);
    return;
  }
  if (c >= kSBase && c < kSBase + kSCount) {
    uint32_t s = c - kSBase;
    out.push_back(kLBase + s / (kVCount * kTCount));
    out.push_back(kVBase + s % (kVCount * kTCount) / kTCount);
    if (s % kTCount)
      out.push_back(kTBase + s % kTCount);
    return;
  }
  auto it = c < 0xC0 ? tables.parts.end() : tables.parts.find(c);
  if (it == tables.parts.end()) {
    out.push_back(c);
    return;
  }
  decompose(tables, it->second.first, compatibility, out);
  if (it->second.second)
    decompose(tables, it->second.second, compatibility, out);
}

uint32_t composePair(const CompositionTables &tables, uint32_t a, uint32_t b) {
  if (a >= kLBase && a < kLBase + kLCount && b >= kVBase && b < kVBase + kVCount)
    return kSBase + ((a - kLBase) * kVCount + (b - kVBase)) * kTCount;
  if (a >= kSBase && a < kSBase + kSCount && (a - kSBase) % kTCount == 0 && b > kTBase &&
      b < kTBase + kTCount)
    return a + (b - kTBase);
  auto it = tables.whole.find(static_cast<uint64_t>(a) << 32 | b);
  return it == tables.whole.end() ? 0 : it->second;
}

} // namespace

detail::ClassTable::ClassTable() {
  std::vector<uint8_t> all(0x110000, 0);
  for (const ClassRange &r : kClassRanges)
    std::fill(all.begin() + r.first, all.begin() + r.last + 1,
              static_cast<uint8_t>(classOf(r.kind)));
  for (const auto &r : kSpaces)
    std::fill(all.begin() + r[0], all.begin() + r[1] + 1, static_cast<uint8_t>(CharClass::space));
  for (const NewerRange &r : kNewerRanges)
    std::fill(all.begin() + r.first, all.begin() + r.last + 1, all[r.like]);
  size_t distinct = 0;
  std::memset(classes, 0, sizeof classes);
  for (size_t b = 0; b < 0x1100; ++b) {
    const uint8_t *row = all.data() + b * 256;
    size_t k = 0;
    while (k < distinct && std::memcmp(classes[k], row, 256) != 0)
      ++k;
    if (k == distinct)
      std::memcpy(classes[distinct++], row, 256);
    block[b] = static_cast<uint8_t>(k);
  }
}

const detail::ClassTable &detail::classTable() {
  static const ClassTable table;
  return table;
}

namespace {

/// Which blocks of 256 characters hold newer ones, and with which bytes these begin.
struct NewerBlocks {
  bool blocks[0x1100] = {}, leads[256] = {};
  NewerBlocks() {
    for (const NewerRange &r : kNewerRanges) {
      for (uint32_t block = r.first >> 8; block <= r.last >> 8; ++block)
        blocks[block] = true;
      for (uint32_t c : {r.first, r.last}) {
        char bytes[4];
        encodeUtf8(c, bytes);
        leads[static_cast<unsigned char>(bytes[0])] = true;
      }
    }
  }
};

} // namespace

bool replaceNewerCharacters(std::string_view text, std::string &out) {
  static const NewerBlocks newer;
  bool found = false;
  for (size_t at = 0; at < text.size();) {
    uint64_t eight;
    if (at + sizeof eight <= text.size()) {
      std::memcpy(&eight, text.data() + at, sizeof eight);
      if (!(eight & 0x8080808080808080)) { // ASCII
        at += sizeof eight;
        continue;
      }
    }
    if (!newer.leads[static_cast<unsigned char>(text[at])]) { // the next byte may be a tail
      ++at;
      continue;
    }
    const size_t begin = at;
    const uint32_t c = decodeUtf8(text.data(), at);
    if (!newer.blocks[c >> 8])
      continue;
    const NewerRange *end = std::end(kNewerRanges);
    const NewerRange *r =
        std::lower_bound(std::begin(kNewerRanges), end, c,
                         [](const NewerRange &range, uint32_t v) { return range.last < v; });
    if (r == end || r->first > c)
      continue;
    if (!found)
      out = text;
    found = true;
    encodeUtf8(r->like, &out[begin]);
  }
  return found;
}

int utf8CharacterLength(std::string_view bytes) {
  auto at = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  unsigned char lead = at(0);
  if (lead < 0x80)
    return 1;
  if (lead < 0xC2 || lead > 0xF4)
    return -1;
  int length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte's range excludes overlong forms, surrogates and code points past U+10FFFF.
  unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (int i = 1; i < length; ++i) {
    if (static_cast<size_t>(i) == bytes.size())
      return 0;
    if (at(i) < low || at(i) > high)
      return -i;
    low = 0x80;
    high = 0xBF;
  }
  return length;
}

size_t findInvalidUtf8(std::string_view text) {
  size_t i = 0, n = text.size();
  while (i < n) {
    uint64_t word;
    if (i + 8 <= n && (std::memcpy(&word, text.data() + i, 8), (word & 0x8080808080808080u) == 0)) {
      i += 8;
      continue;
    }
    int length = utf8CharacterLength(text.substr(i, 4));
    if (length <= 0)
      return i;
    i += length;
  }
  return std::string_view::npos;
}

void appendUtf8(uint32_t c, std::string &out) {
  char bytes[4];
  out.append(bytes, encodeUtf8(c, bytes));
}

std::string replaceInvalidUtf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    size_t valid = std::min(findInvalidUtf8(bytes), bytes.size());
    out.append(bytes.substr(0, valid));
    bytes.remove_prefix(valid);
    if (bytes.empty())
      break;
    out += "\xEF\xBF\xBD";
    int length = utf8CharacterLength(bytes.substr(0, 4));
    bytes.remove_prefix(length == 0 ? bytes.size() : static_cast<size_t>(-length));
  }
  return out;
}

bool mayNeedComposition(std::string_view text) {
  // Below U+0300 (lead byte 0xCC) every character is its own normal form and nothing combines.
  size_t at = 0;
  while (at < text.size() && static_cast<unsigned char>(text[at]) < 0xCC)
    ++at;
  if (at == text.size())
    return false;
  const CompositionTables &tables = compositionTables();
  while (at < text.size()) {
    uint32_t c = decodeUtf8(text.data(), at);
    if (c >= 0x300 && tables.unstable[c])
      return true;
  }
  return false;
}

std::string composeCanonically(std::string_view text) {
  return normalizeUnicode(text, false, true);
}

std::string normalizeUnicode(std::string_view text, bool compatibility, bool compose) {
  const CompositionTables &tables = compositionTables();
  std::vector<uint32_t> chars;
  chars.reserve(text.size());
  for (size_t at = 0; at < text.size();)
    decompose(tables, decodeUtf8(text.data(), at), compatibility, chars);
  std::vector<std::tuple<uint8_t, size_t, uint32_t>> order;
  for (size_t i = 0; i < chars.size();) {
    if (combiningClass(chars[i]) == 0) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < chars.size() && combiningClass(chars[end]) != 0)
      ++end;
    // Marks sort by class and keep their order within one.
    order.clear();
    for (size_t k = i; k < end; ++k)
      order.push_back({combiningClass(chars[k]), k - i, chars[k]});
    std::sort(order.begin(), order.end());
    for (size_t k = i; k < end; ++k)
      chars[k] = std::get<2>(order[k - i]);
    i = end;
  }
  constexpr size_t none = static_cast<size_t>(-1);
  size_t starter = none, out = 0;
  int last = -1; // combining class of the last character kept after the starter; -1: none
  for (size_t i = 0; i < chars.size(); ++i) {
    uint32_t c = chars[i];
    int cc = combiningClass(c);
    uint32_t composed = 0;
    if (compose && starter != none && (last == -1 || (last < cc && last != 0)))
      composed = composePair(tables, chars[starter], c);
    if (composed) {
      chars[starter] = composed;
      continue;
    }
    if (cc == 0) {
      starter = out;
      last = -1;
    } else {
      last = cc;
    }
    chars[out++] = c;
  }
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < out; ++i)
    appendUtf8(chars[i], result);
  return result;
}

} // namespace m1rt
