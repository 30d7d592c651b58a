#include "tokenizer/pre_tokenizer.h"

#include "tokenizer/unicode.h"

#include <algorithm>
#include <ctime>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace m1rt {

using namespace tokenizer_format;

// ---- Translation of Oniguruma's syntax ----

// Whether a property is a script: of \p{Han}, PCRE2 sees Script_Extensions, which are more.
static bool isScript(std::string_view property) {
  if (property.size() < 3 || property.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnop"
                                                        "qrstuvwxyz_") != property.npos)
    return false;
  const std::string named = "\\p{sc:" + std::string(property) + "}";
  int code = 0;
  PCRE2_SIZE offset = 0;
  const std::unique_ptr<pcre2_code, void (*)(pcre2_code *)> compiled(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(named.data()), named.size(), PCRE2_UTF | PCRE2_UCP,
                    &code, &offset, nullptr),
      pcre2_code_free);
  return compiled != nullptr;
}

// Where the letters of a pattern that ignores case are those that a single one folds to, as ß does
// to "ss", which is found in its place; npos where none are.
static size_t findFoldedLetters(std::string_view pattern) {
  const size_t option = pattern.find("(?");
  if (option == pattern.npos)
    return option;
  bool ignoresCase = false;
  for (size_t at = option; at != pattern.npos; at = pattern.find("(?", at + 1))
    for (size_t i = at + 2; i < pattern.size() && pattern[i] >= 'a' && pattern[i] <= 'z'; ++i)
      ignoresCase |= pattern[i] == 'i';
  bool inClass = false;
  for (size_t i = 0; ignoresCase && i + 1 < pattern.size(); ++i) {
    if (pattern[i] == '\\') {
      ++i;
      if (i + 1 < pattern.size() && pattern[i + 1] == '{')
        i = std::min(pattern.find('}', i), pattern.size());
      continue;
    }
    inClass = pattern[i] == '[' || (inClass && pattern[i] != ']');
    const std::string pair = {static_cast<char>(pattern[i] | 0x20),
                              static_cast<char>(pattern[i + 1] | 0x20)};
    for (const char *folded : {"ss", "ff", "fi", "fl", "st"})
      if (!inClass && pair == folded)
        return i;
  }
  return pattern.npos;
}

bool translateRegex(std::string_view pattern, std::string &out, std::string &error) {
  // PCRE2's \s has U+180E, which is not White_Space; its \w, of which its \b is, has no marks.
  // Oniguruma's has also letters in circles and squares and, but not in a class, ² ³ ¹ ¼ ½ ¾.
  constexpr std::string_view spaceSet = R"(\t-\r\x{85}\p{Z})",
                             wordSetOfClass = R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{24b6}-\x{24e9})"
                                              R"(\x{1f130}-\x{1f149}\x{1f150}-\x{1f169})"
                                              R"(\x{1f170}-\x{1f189})";
  const std::string wordSet = std::string(wordSetOfClass) + R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";
  auto fail = [&](const std::string &what, size_t at) {
    error = "regular expression uses " + what + " at offset " + std::to_string(at) +
            ", which is not supported: " + std::string(pattern);
    return false;
  };
  if (const size_t folded = findFoldedLetters(pattern); folded != pattern.npos)
    return fail("'" + std::string(pattern.substr(folded, 2)) + "' without regard to case", folded);
  out.clear();
  bool inClass = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    char c = pattern[i];
    if (c == '\\') {
      if (i + 1 == pattern.size())
        return fail("a trailing backslash", i);
      char e = pattern[++i];
      switch (e) {
      case 's':
        out += inClass ? std::string(spaceSet) : "[" + std::string(spaceSet) + "]";
        break;
      case 'w':
        out += inClass ? std::string(wordSetOfClass) : "[" + wordSet + "]";
        break;
      case 'S':
      case 'W':
        if (inClass)
          return fail(std::string("\\") + e + " inside a character class", i - 1);
        out += "[^" + (e == 'S' ? std::string(spaceSet) : wordSet) + "]";
        break;
      case 'b':
      case 'B':
        if (inClass) { // a backspace
          out += c;
          out += e;
          break;
        }
        out += "(?:(?<=[" + wordSet + "])(?" + (e == 'b' ? "!" : "=") + "[" + wordSet + "])|(?<![" +
               wordSet + "])(?" + (e == 'b' ? "=" : "!") + "[" + wordSet + "]))";
        break;
      case 'u': { // \uHHHH
        size_t digits =
            std::min(pattern.size(), pattern.find_first_not_of("0123456789abcdefABCDEF", i + 1)) -
            (i + 1);
        if (digits < 4)
          return fail("\\u without four hexadecimal digits", i - 1);
        out += "\\x{" + std::string(pattern.substr(i + 1, 4)) + "}";
        i += 4;
        break;
      }
      // Other meanings in Ruby's syntax than in PCRE2.
      case 'h':
      case 'H':
      case 'R':
      case 'X':
      case 'k':
      case 'g':
      case 'G':
      case 'K':
      case 'Z':
      case 'y':
      case 'Y':
      case 'O':
      case 'N':
      case 'M':
      case 'C':
      case 'c':
        return fail(std::string("\\") + e, i - 1);
      default:
        out += c;
        out += e;
        if ((e == 'p' || e == 'P' || e == 'x') && i + 1 < pattern.size() && pattern[i + 1] == '{') {
          const size_t name = i + 2 + (pattern.substr(i + 2, 1) == "^"),
                       end = std::min(pattern.find('}', name), pattern.size());
          if (e != 'x' && name < end && isScript(pattern.substr(name, end - name))) {
            out += pattern.substr(i + 1, name - i - 1);
            out += "sc:";
            i = name - 1;
          }
          while (i + 1 < pattern.size() && out.back() != '}')
            out += pattern[++i];
        }
      }
      continue;
    }
    if (inClass) {
      if (c == '[')
        return fail("a character class inside a character class", i);
      if (c == '&' && i + 1 < pattern.size() && pattern[i + 1] == '&')
        return fail("a class intersection (&&)", i);
      if (c == ']')
        inClass = false;
      out += c;
      continue;
    }
    if (c == '[') {
      inClass = true;
      out += c;
      if (i + 1 < pattern.size() && pattern[i + 1] == '^')
        out += pattern[++i];
      if (i + 1 < pattern.size() && pattern[i + 1] == ']') // a literal bracket
        out += "\\]", ++i;
      continue;
    }
    if (c == '(' && i + 1 < pattern.size() && pattern[i + 1] == '?') {
      size_t j = i + 2;
      while (j < pattern.size() &&
             (pattern[j] == 'i' || pattern[j] == 'm' || pattern[j] == 'x' || pattern[j] == '-'))
        if (pattern[j++] == 'm') // Ruby's m is PCRE2's s
          return fail("the option m", j - 1);
    }
    if (c == '}' && i + 1 < pattern.size() &&
        pattern[i + 1] == '+') // a repeat of a repeat in Ruby, possessive in PCRE2
      return fail("'+' after an interval", i + 1);
    out += c;
  }
  return true;
}

// ---- Regex ----

namespace {

// Bounds of matching: patterns come with checkpoints, and some take exponential time.
// Of a pattern: published ones have less than 1 KB.
constexpr size_t kLongestPattern = 16 << 10;
// Backtracking steps from one position, beside a few for each byte: an honest run of spaces can be
// as long as the text.
constexpr size_t kMatchSteps = 1000000, kStepsPerByte = 16;
constexpr uint32_t kHeapKilobytes = 64 << 10;
// Positions that one call may try before the time is looked at.
constexpr size_t kPositionsPerCall = 256;
// Processor time for a text: far more than any of them takes.
constexpr double kSeconds = 2, kSecondsPerByte = 2e-6;

double threadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

std::string messageOf(int code) {
  unsigned char message[256];
  pcre2_get_error_message(code, message, sizeof message);
  return reinterpret_cast<char *>(message);
}

} // namespace

std::unique_ptr<Regex> Regex::compile(std::string_view pattern, std::string &error) {
  size_t invalid = findInvalidUtf8(pattern);
  if (invalid != std::string_view::npos || pattern.size() > kLongestPattern) {
    error = invalid == std::string_view::npos
                ? "regular expression is longer than " + std::to_string(kLongestPattern) + " bytes"
                : "regular expression is not UTF-8 at offset " + std::to_string(invalid);
    return nullptr;
  }
  std::string translated;
  if (!translateRegex(pattern, translated, error))
    return nullptr;
  int code = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code *compiled = pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_UTF_CHECK | PCRE2_USE_OFFSET_LIMIT, &code,
      &offset, nullptr);
  if (!compiled) {
    error = "regular expression does not compile: " + messageOf(code) + ": " + std::string(pattern);
    return nullptr;
  }
  std::unique_ptr<Regex> regex(new Regex);
  regex->code = compiled;
  regex->pattern = pattern;
  regex->namesCharacters =
      std::any_of(pattern.begin(), pattern.end(), [](char c) { return c & 0x80; }) ||
      pattern.find("\\x") != std::string_view::npos ||
      pattern.find("\\u") != std::string_view::npos;
  // Without JIT support PCRE2 interprets: slower, the same matches.
  regex->jit = pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE) == 0;
  return regex;
}

Regex::~Regex() { pcre2_code_free(static_cast<pcre2_code *>(code)); }

bool Regex::findAll(std::string_view text, std::vector<Span> &matches, std::string &error) const {
  std::string older;
  if (!namesCharacters && replaceNewerCharacters(text, older))
    text = older;
  const pcre2_code *re = static_cast<const pcre2_code *>(code);
  std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data *)> data(
      pcre2_match_data_create(1, nullptr), pcre2_match_data_free);
  std::unique_ptr<pcre2_match_context, void (*)(pcre2_match_context *)> context(
      pcre2_match_context_create(nullptr), pcre2_match_context_free);
  pcre2_set_match_limit(context.get(), static_cast<uint32_t>(std::min<size_t>(
                                           kMatchSteps + kStepsPerByte * text.size(), UINT32_MAX)));
  pcre2_set_heap_limit(context.get(), kHeapKilobytes);
  auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  auto match = [&](size_t at) {
    int rc = jit ? pcre2_jit_match(re, subject, text.size(), at, 0, data.get(), context.get())
                 : PCRE2_ERROR_JIT_STACKLIMIT;
    return rc != PCRE2_ERROR_JIT_STACKLIMIT
               ? rc
               : pcre2_match(re, subject, text.size(), at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                             data.get(), context.get());
  };
  auto giveUp = [&](const std::string &why, size_t at) {
    error = "regular expression: " + why + " at byte " + std::to_string(at) + ": " + pattern;
    return false;
  };
  double start = threadSeconds(),
         deadline = start + kSeconds + kSecondsPerByte * static_cast<double>(text.size());
  size_t at = 0, lastEnd = std::string_view::npos, calls = 0;
  while (at <= text.size()) {
    // Up to a whole character: PCRE2 starts at characters only.
    size_t limit = std::min(at + kPositionsPerCall, text.size());
    while (limit < text.size() && (static_cast<unsigned char>(text[limit]) & 0xC0) == 0x80)
      ++limit;
    pcre2_set_offset_limit(context.get(), limit);
    int rc = match(at);
    if (++calls % 64 == 0 || rc < 0)
      if (threadSeconds() > deadline)
        return giveUp("matching takes too long", at);
    if (rc == PCRE2_ERROR_NOMATCH) {
      if (limit == text.size())
        return true;
      at = limit;
      decodeUtf8(text.data(), at);
      continue;
    }
    if (rc < 0)
      return giveUp(messageOf(rc), at);
    const PCRE2_SIZE *ovector = pcre2_get_ovector_pointer(data.get());
    size_t begin = ovector[0], end = ovector[1];
    if (end > begin) {
      matches.push_back({begin, end});
      at = lastEnd = end;
      continue;
    }
    // An empty match counts unless it touches the match before; the search goes on behind the next
    // character.
    if (begin != lastEnd)
      matches.push_back({begin, begin});
    at = begin;
    if (at == text.size())
      return true;
    decodeUtf8(text.data(), at);
  }
  return true;
}

// ---- Stages ----

static bool isSpelled(StageKind kind) {
  return kind == StageKind::splitSpelledRegex || kind == StageKind::splitSpelledLiteral;
}

bool PreTokenizer::addSplit(std::string_view pattern, StageKind kind, SplitBehavior behavior,
                            bool invert, bool allowMatchers, std::string &error) {
  Stage stage;
  stage.kind = kind;
  stage.behavior = behavior;
  stage.invert = invert;
  if (kind == StageKind::splitRegex || kind == StageKind::splitSpelledRegex) {
    // The known patterns match everywhere, so inverting or joining pieces would make other pieces
    // of them.
    if (allowMatchers && !invert && behavior == SplitBehavior::isolated && !isSpelled(kind))
      stage.known = knownPattern(pattern);
    if (stage.known == KnownPattern::none && !(stage.regex = Regex::compile(pattern, error)))
      return false;
  } else {
    if (pattern.empty()) {
      error = "pre-tokeniser: Split by an empty string";
      return false;
    }
    stage.literal = pattern;
  }
  stages.push_back(std::move(stage));
  return true;
}

void PreTokenizer::addPrefixSpace() {
  Stage stage;
  stage.kind = StageKind::prefixSpace;
  stages.push_back(std::move(stage));
}

void PreTokenizer::addMetaspace(std::string_view replacement, uint32_t flags) {
  Stage stage;
  stage.kind = StageKind::metaspace;
  stage.literal = replacement;
  stage.flags = flags;
  stages.push_back(std::move(stage));
}

KnownPattern PreTokenizer::onlyMatcher() const {
  return stages.size() == 1 ? stages[0].known : KnownPattern::none;
}

namespace {

struct Part {
  size_t begin, end;
  bool isMatch;
};

// What tokenizers calls SplitDelimiterBehavior: joins or drops the parts, which cover the text in
// order.
void applyBehavior(SplitBehavior behavior, std::vector<Part> &parts) {
  std::vector<Part> out;
  bool previous = false;
  switch (behavior) {
  case SplitBehavior::isolated:
    return;
  case SplitBehavior::removed:
    for (const Part &p : parts)
      if (!p.isMatch)
        out.push_back(p);
    break;
  case SplitBehavior::contiguous:
    for (const Part &p : parts) {
      if (!out.empty() && out.back().isMatch == p.isMatch)
        out.back().end = p.end;
      else
        out.push_back(p);
    }
    break;
  case SplitBehavior::mergedWithPrevious:
    for (const Part &p : parts) {
      if (p.isMatch && !previous && !out.empty())
        out.back().end = p.end;
      else
        out.push_back(p);
      previous = p.isMatch;
    }
    break;
  case SplitBehavior::mergedWithNext:
    for (size_t i = parts.size(); i-- > 0;) {
      const Part &p = parts[i];
      if (p.isMatch && !previous && !out.empty())
        out.back().begin = p.begin;
      else
        out.push_back(p);
      previous = p.isMatch;
    }
    std::reverse(out.begin(), out.end());
    break;
  }
  parts = std::move(out);
}

} // namespace

bool PreTokenizer::findMatches(const Stage &stage, std::string_view piece,
                               std::vector<Regex::Span> &matches, std::string &error) {
  std::string spelled;
  std::vector<size_t> byteAt; // by place in the spelling; between characters alone
  if (isSpelled(stage.kind)) {
    for (size_t i = 0; i < piece.size(); ++i) {
      byteAt.resize(spelled.size() + 1, i);
      appendUtf8(spellingOfByte(static_cast<unsigned char>(piece[i])), spelled);
    }
    byteAt.resize(spelled.size() + 1, piece.size());
    piece = spelled;
  }
  if (stage.regex) {
    if (!stage.regex->findAll(piece, matches, error))
      return false;
  } else {
    for (size_t at = 0; (at = piece.find(stage.literal, at)) != std::string_view::npos;
         at += stage.literal.size())
      matches.push_back({at, at + stage.literal.size()});
  }
  if (isSpelled(stage.kind))
    for (Regex::Span &match : matches)
      match = {byteAt[match.begin], byteAt[match.end]};
  return true;
}

void PreTokenizer::splitMetaspace(const Stage &stage, std::string_view piece, bool isFirst,
                                  Pieces &pieces, std::vector<std::string_view> &out) const {
  const std::string &mark = stage.literal;
  auto text = std::make_unique<std::string>();
  bool prepends = (stage.flags & metaspacePrepend) || ((stage.flags & metaspaceFirst) && isFirst);
  if (prepends && piece.substr(0, 1) != " " && piece.substr(0, mark.size()) != mark)
    *text = mark;
  for (char c : piece) {
    if (c == ' ')
      *text += mark;
    else
      *text += c;
  }
  std::string_view all = *text;
  pieces.storage.push_back(std::move(text));
  size_t begin = 0;
  if (stage.flags & metaspaceSplit)
    for (size_t at = 0; (at = all.find(mark, at)) != std::string_view::npos; at += mark.size()) {
      if (at > begin)
        out.push_back(all.substr(begin, at - begin));
      begin = at;
    }
  if (begin < all.size())
    out.push_back(all.substr(begin));
}

bool PreTokenizer::split(std::string_view text, bool atStart, Pieces &pieces,
                         std::string &error) const {
  pieces.views.assign(1, text);
  std::vector<std::string_view> cut;
  std::vector<Regex::Span> matches;
  std::vector<Part> parts;
  PatternMatcher matcher;
  for (const Stage &stage : stages) {
    cut.clear();
    for (size_t i = 0; i < pieces.views.size(); ++i) {
      std::string_view piece = pieces.views[i];
      if (stage.kind == StageKind::metaspace) {
        splitMetaspace(stage, piece, atStart && i == 0, pieces, cut);
        continue;
      }
      if (stage.kind == StageKind::prefixSpace) {
        if (!piece.empty() && piece[0] != ' ') {
          pieces.storage.push_back(std::make_unique<std::string>(" "));
          pieces.storage.back()->append(piece);
          piece = *pieces.storage.back();
        }
        cut.push_back(piece);
        continue;
      }
      if (stage.known != KnownPattern::none) {
        for (size_t at = 0; at < piece.size();) {
          size_t end = stage.known == KnownPattern::gpt2
                           ? matcher.gpt2(piece, at)
                           : matcher.llama3(piece, at, stage.known == KnownPattern::llama3 ? 3 : 1);
          cut.push_back(piece.substr(at, end - at));
          at = end;
        }
        continue;
      }
      matches.clear();
      if (!findMatches(stage, piece, matches, error))
        return false;
      parts.clear();
      size_t done = 0;
      for (const Regex::Span &m : matches) {
        if (m.begin > done)
          parts.push_back({done, m.begin, stage.invert});
        parts.push_back({m.begin, m.end, !stage.invert});
        done = m.end;
      }
      if (done < piece.size())
        parts.push_back({done, piece.size(), stage.invert});
      applyBehavior(stage.behavior, parts);
      for (const Part &p : parts)
        if (p.end > p.begin)
          cut.push_back(piece.substr(p.begin, p.end - p.begin));
      // What is removed at the beginning of the text leaves no first piece.
      atStart &= i > 0 || (!cut.empty() && cut[0].data() == piece.data());
    }
    pieces.views.swap(cut);
  }
  return true;
}

} // namespace m1rt
