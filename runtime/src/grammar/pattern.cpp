#include "grammar/pattern.h"
#include <algorithm>
#include <cctype>
#include <cstdio>

namespace m1rt {

namespace {

using Rule = Grammar::Rule;
using Sequence = Grammar::Sequence;

constexpr size_t mostBytes = 4096;
constexpr int deepestPattern = 64;
// A text may stand at each of an expression's places at once where it can be read in many ways, and
// every byte of it then costs as much: these bound the places.
constexpr uint32_t mostRepeats = 1000, mostNestedRepeats = 200; // the latter multiplied
constexpr size_t mostPatternSymbols = 20000;

/// A class: of ASCII, and all characters beyond it or none.
struct Characters {
  std::bitset<128> ascii;
  bool others = false;

  void add(unsigned first, unsigned last) {
    for (unsigned c = first; c <= last; ++c)
      ascii.set(c);
  }
  Characters complement() const { return {~ascii, !others}; }
};

struct Piece {
  Sequence sequence;
  bool empty = true;    // it matches nothing at all
  uint32_t repeats = 1; // of a character in it, at most
};

class PatternCompiler {
public:
  PatternCompiler(const std::string &pattern, const Sequence &anything, Grammar &grammar)
      : text(pattern), anything(anything), g(grammar), before(grammar.size()) {}
  Status compile(Rule *out);

private:
  Status bad(const std::string &what) const {
    return error(StatusCode::unsupported, "%s at byte %zu", what.c_str(), at);
  }
  bool ends() const { return at == text.size(); }
  char next() const { return ends() ? '\0' : text[at]; }
  bool take(char c) {
    const bool there = !ends() && text[at] == c;
    at += there;
    return there;
  }
  Status alternatives(bool whole, Piece *out);
  Status repeated(Piece *out);
  Status quantifier(uint32_t *least, uint32_t *most);
  Status atom(Piece *out);
  Status escape(Characters *set, uint32_t *point);
  Status characterClass(Characters *out);
  Status classMember(Characters *set, uint32_t *point);
  Status oneOf(const Characters &set, Piece *out);
  Rule otherScripts();

  const std::string &text;
  const Sequence &anything;
  Grammar &g;
  const size_t before; // symbols of the grammar
  size_t at = 0;
  int depth = 0;
  std::map<std::string, Rule> classes; // by their members
  Rule others = 0;
  bool hasOthers = false;
};

/// Characters beyond ASCII but blanks and line ends (ECMA 262, WhiteSpace and LineTerminator), in
/// UTF-8 (RFC 3629, table of section 4).
Rule PatternCompiler::otherScripts() {
  if (hasOthers)
    return others;
  hasOthers = true;
  others = g.declare();
  using Range = std::pair<uint8_t, uint8_t>;
  const Range tail = {0x80, 0xBF};
  for (const std::vector<Range> &bytes : std::vector<std::vector<Range>>{
           {{0xC2, 0xC2}, {0x80, 0x9F}}, // not U+00A0
           {{0xC2, 0xC2}, {0xA1, 0xBF}},
           {{0xC3, 0xDF}, tail},
           {{0xE0, 0xE0}, {0xA0, 0xBF}, tail},
           {{0xE1, 0xE1}, {0x80, 0x99}, tail}, // not U+1680
           {{0xE1, 0xE1}, {0x9A, 0x9A}, {0x81, 0xBF}},
           {{0xE1, 0xE1}, {0x9B, 0xBF}, tail},
           {{0xE2, 0xE2}, {0x80, 0x80}, {0x8B, 0xA7}}, // not U+2000 … 200A, 2028, 2029, 202F
           {{0xE2, 0xE2}, {0x80, 0x80}, {0xAA, 0xAE}},
           {{0xE2, 0xE2}, {0x80, 0x80}, {0xB0, 0xBF}},
           {{0xE2, 0xE2}, {0x81, 0x81}, {0x80, 0x9E}}, // not U+205F
           {{0xE2, 0xE2}, {0x81, 0x81}, {0xA0, 0xBF}},
           {{0xE2, 0xE2}, {0x82, 0xBF}, tail},
           {{0xE3, 0xE3}, {0x80, 0x80}, {0x81, 0xBF}}, // not U+3000
           {{0xE3, 0xE3}, {0x81, 0xBF}, tail},
           {{0xE4, 0xEC}, tail, tail},
           {{0xED, 0xED}, {0x80, 0x9F}, tail},
           {{0xEE, 0xEE}, tail, tail},
           {{0xEF, 0xEF}, {0x80, 0xBA}, tail}, // not U+FEFF
           {{0xEF, 0xEF}, {0xBB, 0xBB}, {0x80, 0xBE}},
           {{0xEF, 0xEF}, {0xBC, 0xBF}, tail},
           {{0xF0, 0xF0}, {0x90, 0xBF}, tail, tail},
           {{0xF1, 0xF3}, tail, tail, tail},
           {{0xF4, 0xF4}, {0x80, 0x8F}, tail, tail}}) {
    Sequence sequence;
    for (const Range &range : bytes)
      sequence.push_back(g.bytes(bytesFrom(range.first, range.second)));
    g.addAlternative(others, sequence);
  }
  return others;
}

/// One character of the set, as JSON writes it.
Status PatternCompiler::oneOf(const Characters &set, Piece *out) {
  const std::string members = set.ascii.to_string() + (set.others ? "+" : "");
  auto known = classes.find(members);
  if (known == classes.end()) {
    const Rule rule = g.declare();
    ByteSet plain;
    size_t alternatives = set.others;
    for (unsigned c = 0; c < 128; ++c) {
      if (!set.ascii.test(c))
        continue;
      ++alternatives;
      static constexpr char escaped[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
      const char *found = c ? std::find(escaped, escaped + 7, char(c)) : escaped + 7;
      if (found != escaped + 7) {
        g.addAlternative(rule, g.literal(std::string("\\") + letters[found - escaped]));
      } else if (c < 0x20) {
        char code[8];
        std::snprintf(code, sizeof code, "\\u%04x", c);
        g.addAlternative(rule, g.literal(code));
      } else {
        plain.set(c);
      }
    }
    if (plain.any())
      g.addAlternative(rule, {g.bytes(plain)});
    if (set.others)
      g.addAlternative(rule, {Grammar::use(otherScripts())});
    if (alternatives == 0)
      return bad("a class without characters");
    known = classes.emplace(members, rule).first;
  }
  *out = {{Grammar::use(known->second)}, false, 1};
  return {};
}

/// What follows a backslash: a set, or one character.
Status PatternCompiler::escape(Characters *set, uint32_t *point) {
  *point = UINT32_MAX;
  if (ends())
    return bad("a backslash without a character");
  const char c = text[at++];
  Characters known;
  switch (c) {
  case 'd':
  case 'D':
    known.add('0', '9');
    break;
  case 'w':
  case 'W':
    for (const char *range : {"09", "AZ", "__", "az"})
      known.add(unsigned(range[0]), unsigned(range[1]));
    break;
  case 's':
  case 'S':
    known.add('\t', '\r');
    known.add(' ', ' ');
    break;
  case 't':
    *point = '\t';
    return {};
  case 'n':
    *point = '\n';
    return {};
  case 'v':
    *point = '\v';
    return {};
  case 'f':
    *point = '\f';
    return {};
  case 'r':
    *point = '\r';
    return {};
  case 'x':
  case 'u': {
    uint32_t value = 0;
    for (int i = c == 'x' ? 2 : 4; i > 0; --i) {
      const char digit = next();
      if (!std::isxdigit(uint8_t(digit)))
        return bad("expected a digit of base 16");
      value = value * 16 + uint32_t(digit <= '9' ? digit - '0' : (digit | 32) - 'a' + 10);
      ++at;
    }
    if (value >= 0xD800 && value < 0xE000)
      return bad("surrogates are not supported");
    *point = value;
    return {};
  }
  default:
    if (c == '0' && !std::isdigit(uint8_t(next()))) {
      *point = 0;
      return {};
    }
    if (uint8_t(c) >= 0x80 || std::isalnum(uint8_t(c)) || c == '_')
      return bad(std::string("\\") + (uint8_t(c) < 0x80 ? std::string(1, c) : "…") +
                 " is not supported");
    *point = uint8_t(c);
    return {};
  }
  *set = c >= 'a' ? known : known.complement();
  return {};
}

Status PatternCompiler::classMember(Characters *set, uint32_t *point) {
  if (take('\\')) {
    if (take('b')) {
      *point = '\b';
      return {};
    }
    M1_TRY(escape(set, point));
  } else {
    *point = uint8_t(text[at++]);
  }
  if (*point != UINT32_MAX && *point >= 0x80)
    return bad("classes name characters of ASCII alone");
  return {};
}

/// From behind its opening bracket.
Status PatternCompiler::characterClass(Characters *out) {
  const bool negated = take('^');
  Characters all;
  while (!take(']')) {
    if (ends())
      return bad("a class without an end");
    Characters set;
    uint32_t first = 0, last = 0;
    M1_TRY(classMember(&set, &first));
    if (first == UINT32_MAX) {
      all.ascii |= set.ascii;
      all.others |= set.others;
      continue;
    }
    last = first;
    if (next() == '-' && at + 1 < text.size() && text[at + 1] != ']') {
      ++at;
      M1_TRY(classMember(&set, &last));
      if (last == UINT32_MAX || last < first)
        return bad("a range without an end, or backwards");
    }
    all.add(first, last);
  }
  *out = negated ? all.complement() : all;
  return {};
}

Status PatternCompiler::atom(Piece *out) {
  if (take('(')) {
    if (take('?') && !take(':'))
      return bad("groups that begin with (? are not supported, but for (?:");
    if (++depth > deepestPattern)
      return bad("groups are nested too deeply");
    M1_TRY(alternatives(/*whole=*/false, out));
    --depth;
    return take(')') ? Status() : bad("a group without an end");
  }
  Characters set;
  uint32_t point = UINT32_MAX;
  if (take('[')) {
    M1_TRY(characterClass(&set));
  } else if (take('.')) {
    set.add('\n', '\n');
    set.add('\r', '\r');
    set = set.complement();
  } else if (take('\\')) {
    M1_TRY(escape(&set, &point));
  } else if (std::string_view("*+?{").find(next()) != std::string_view::npos) {
    return bad("there is nothing to repeat");
  } else if (next() == '^' || next() == '$') {
    return bad("^ and $ are supported around the whole alone");
  } else if (uint8_t(next()) < 0x80) {
    point = uint8_t(text[at++]);
  } else { // a character of several bytes, as it stands
    *out = {g.literal(text.substr(at++, 1)), false, 1};
    for (; (uint8_t(next()) & 0xC0) == 0x80; ++at)
      out->sequence.push_back(g.literal(text.substr(at, 1))[0]);
    return {};
  }
  if (point == UINT32_MAX)
    return oneOf(set, out);
  if (point < 0x80) {
    Characters one;
    one.add(point, point);
    return oneOf(one, out);
  }
  std::string bytes; // below 0x10000
  if (point >= 0x800)
    bytes = {char(0xE0 | point >> 12), char(0x80 | (point >> 6 & 63))};
  else
    bytes = {char(0xC0 | point >> 6)};
  *out = {g.literal(bytes + char(0x80 | (point & 63))), false, 1};
  return {};
}

/// What may follow an atom; without it once.
Status PatternCompiler::quantifier(uint32_t *least, uint32_t *most) {
  *least = *most = 1;
  if (take('*')) {
    *least = 0;
    *most = Grammar::unbounded;
  } else if (take('+')) {
    *most = Grammar::unbounded;
  } else if (take('?')) {
    *least = 0;
  } else if (take('{')) {
    auto number = [&](uint32_t *value) {
      const size_t begin = at;
      for (*value = 0; std::isdigit(uint8_t(next())) && *value <= mostRepeats; ++at)
        *value = *value * 10 + uint32_t(next() - '0');
      return at > begin;
    };
    bool valid = number(least);
    *most = *least;
    if (take(',') && !number(most))
      *most = Grammar::unbounded;
    valid &= take('}');
    if (!valid || *least > mostRepeats || (*most > mostRepeats && *most != Grammar::unbounded))
      return bad("expected {m}, {m,} or {m,n} with numbers up to 1000");
    if (*least > *most)
      return bad("a repetition with bounds that are backwards");
  } else {
    return {};
  }
  take('?'); // lazy: the same texts
  return {};
}

Status PatternCompiler::repeated(Piece *out) {
  Piece piece;
  M1_TRY(atom(&piece));
  uint32_t least = 1, most = 1;
  M1_TRY(quantifier(&least, &most));
  if (least == 1 && most == 1) {
    *out = std::move(piece);
    return {};
  }
  if (piece.empty && most > 1)
    return bad("a repetition of what may be empty");
  // Copies; what may go on without end is one more.
  const uint64_t copies = most == Grammar::unbounded ? uint64_t(least) + 1 : most;
  const uint64_t repeats = piece.repeats * std::max<uint64_t>(copies, 1);
  if (piece.repeats > 1 && copies > 1 && repeats > mostNestedRepeats)
    return bad("repetitions of repetitions go beyond 200");
  if (g.size() - before + copies * (piece.sequence.size() + 3) > mostPatternSymbols)
    return bad("the expression is too large");
  *out = {{Grammar::use(g.repeat(piece.sequence, least, most))},
          piece.empty || least == 0,
          uint32_t(repeats)};
  return {};
}

/// `whole`: the expression itself, which may be anchored.
Status PatternCompiler::alternatives(bool whole, Piece *out) {
  const Rule rule = g.declare();
  *out = {{Grammar::use(rule)}, false, 1};
  do {
    Sequence sequence;
    bool empty = true, open = whole; // at its end
    if (whole && !take('^'))
      sequence = anything;
    while (!ends() && next() != '|' && next() != ')') {
      if (whole && next() == '$' && (at + 1 == text.size() || text[at + 1] == '|')) {
        ++at;
        open = false;
        break;
      }
      Piece piece;
      M1_TRY(repeated(&piece));
      empty &= piece.empty;
      out->repeats = std::max(out->repeats, piece.repeats);
      sequence.insert(sequence.end(), piece.sequence.begin(), piece.sequence.end());
    }
    if (open)
      sequence.insert(sequence.end(), anything.begin(), anything.end());
    g.addAlternative(rule, sequence);
    out->empty |= empty;
  } while (take('|'));
  return {};
}

Status PatternCompiler::compile(Rule *out) {
  if (text.size() > mostBytes)
    return bad("the expression is too long");
  Piece whole;
  M1_TRY(alternatives(/*whole=*/true, &whole));
  if (!ends())
    return bad("a group that has not begun ends");
  *out = whole.sequence[0].index;
  return {};
}

} // namespace

Status grammarOfPattern(const std::string &pattern, const Sequence &anything, Grammar *grammar,
                        Rule *out) {
  return PatternCompiler(pattern, anything, *grammar).compile(out);
}

// Dates and times as RFC 3339 has them, without leap days and leap seconds; years from 1000 on.
#define M1_DATE                                                                                    \
  "[1-9]\\d{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|"                                    \
  "(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))"
#define M1_CLOCK "(?:[01]\\d|2[0-3]):[0-5]\\d"
#define M1_TIME M1_CLOCK ":[0-5]\\d(?:\\.\\d{1,6})?(?:Z|[+-]" M1_CLOCK ")"
#define M1_LABEL "[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?"
#define M1_HOST M1_LABEL "(?:\\." M1_LABEL "){1,5}"
#define M1_BYTE "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"

const char *patternOfFormat(const std::string &format) {
  static const std::map<std::string, const char *> patterns = {
      {"date", "^" M1_DATE "$"},
      {"time", "^" M1_TIME "$"},
      {"date-time", "^" M1_DATE "T" M1_TIME "$"},
      {"duration", "^P(?:\\d{1,4}W|\\d{1,4}D(?:T\\d{1,2}H(?:\\d{1,2}M(?:\\d{1,2}S)?)?)?|"
                   "T(?:\\d{1,2}H(?:\\d{1,2}M(?:\\d{1,2}S)?)?|\\d{1,2}M(?:\\d{1,2}S)?|"
                   "\\d{1,4}S))$"},
      {"email", "^[A-Za-z0-9_]{1,30}(?:[.+-][A-Za-z0-9_]{1,10}){0,3}@" M1_HOST "$"},
      {"hostname", "^" M1_HOST "$"},
      {"ipv4", "^" M1_BYTE "(?:\\." M1_BYTE "){3}$"},
      {"ipv6", "^(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}$"},
      {"uri", "^https?://" M1_HOST "(?:/[A-Za-z0-9._~-]{0,20}){0,10}$"},
      {"uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
  };
  auto known = patterns.find(format);
  return known == patterns.end() ? nullptr : known->second;
}

} // namespace m1rt
