#include "tokenizer/matchers.h"

#include "tokenizer/pre_tokenizer.h"

namespace m1rt {

const char kGpt2Pattern[] =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {
constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
} // namespace

KnownPattern knownPattern(std::string_view regex) {
  if (regex == kLlama3Pattern)
    return KnownPattern::llama3;
  if (regex == kQwen2Pattern)
    return KnownPattern::qwen2;
  if (regex == kGpt2Pattern)
    return KnownPattern::gpt2;
  return KnownPattern::none;
}

PatternMatcher::PatternMatcher() {
  for (int c = 0; c < 256; ++c) {
    if (c >= 0x80)
      ascii[c] = multibyte;
    else if (c == '\r' || c == '\n')
      ascii[c] = newline;
    else if (c == ' ' || (c >= '\t' && c <= '\r'))
      ascii[c] = space;
    else if (c >= '0' && c <= '9')
      ascii[c] = number;
    else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
      ascii[c] = letter;
    else
      ascii[c] = other;
  }
}

size_t PatternMatcher::spaces(const char *s, size_t at, size_t n, bool newlinesEnd) const {
  size_t end = at, last = at, afterNewline = 0;
  while (end < n) {
    size_t next = end;
    Kind kind = read(s, next);
    if (kind != space && kind != newline)
      break;
    last = end;
    end = next;
    if (kind == newline)
      afterNewline = end;
  }
  if (newlinesEnd && afterNewline)
    return afterNewline;
  // Before a character that is not white space the last white space stays out, unless it is the
  // only one.
  return end == n || last == at ? end : last;
}

size_t PatternMatcher::contraction(const char *s, size_t at, size_t n, bool anyCase) {
  auto is = [&](size_t i, char lower) {
    return i < n && (s[i] == lower || (anyCase && s[i] == lower - 'a' + 'A'));
  };
  size_t i = at + 1;
  if (is(i, 's') || is(i, 't') || is(i, 'm') || is(i, 'd'))
    return i + 1;
  if ((is(i, 'r') && is(i + 1, 'e')) || (is(i, 'v') && is(i + 1, 'e')) ||
      (is(i, 'l') && is(i + 1, 'l')))
    return i + 2;
  // U+017F, the long s, is an s to case-insensitive matching.
  if (anyCase && i + 1 < n && s[i] == '\xC5' && s[i + 1] == '\xBF')
    return i + 2;
  return 0;
}

} // namespace m1rt
