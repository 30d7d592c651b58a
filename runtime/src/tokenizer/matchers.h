// Hand-written matchers of the patterns that Llama 3, Qwen 2 and GPT-2 split text by. Each pattern
// matches at every position of every text, so a matcher is a function from a position to the end of
// its piece.
#ifndef M1RT_TOKENIZER_MATCHERS_H
#define M1RT_TOKENIZER_MATCHERS_H

#include "tokenizer/unicode.h"

#include <string_view>

namespace m1rt {

enum class KnownPattern { none, gpt2, llama3, qwen2 };

// Which pattern this is, letter for letter.
KnownPattern knownPattern(std::string_view regex);

class PatternMatcher {
public:
  PatternMatcher();

  // End of the piece that begins at `at` < text.size(); well-formed UTF-8.
  size_t llama3(std::string_view text, size_t at, size_t maxDigits) const {
    const char *s = text.data();
    size_t n = text.size(), end = at;
    Kind kind = read(s, end);
    if (s[at] == '\'')
      if (size_t c = contraction(s, at, n, /*anyCase=*/true))
        return c;
    if (kind == letter)
      return letters(s, end, n);
    if (kind == number) {
      for (size_t digits = 1; digits < maxDigits && end < n; ++digits) {
        size_t next = end;
        if (read(s, next) != number)
          break;
        end = next;
      }
      return end;
    }
    if (kind != newline && end < n) { // [^\r\n\p{L}\p{N}]?\p{L}+
      size_t next = end;
      if (read(s, next) == letter)
        return letters(s, next, n);
    }
    if (kind == other)
      return newlines(s, others(s, end, n), n);
    if (s[at] == ' ' && end < n) { // ' ?[^\s\p{L}\p{N}]+[\r\n]*'
      size_t next = end;
      if (read(s, next) == other)
        return newlines(s, others(s, next, n), n);
    }
    return spaces(s, at, n, /*newlinesEnd=*/true);
  }

  size_t gpt2(std::string_view text, size_t at) const {
    const char *s = text.data();
    size_t n = text.size(), end = at;
    Kind kind = read(s, end);
    if (s[at] == '\'')
      if (size_t c = contraction(s, at, n, /*anyCase=*/false))
        return c;
    if (s[at] == ' ' && end < n) {
      size_t next = end;
      Kind after = read(s, next);
      if (after != space && after != newline) {
        kind = after;
        end = next;
      }
    }
    if (kind == letter)
      return letters(s, end, n);
    if (kind == other)
      return others(s, end, n);
    if (kind == number) {
      while (end < n) {
        size_t next = end;
        if (read(s, next) != number)
          break;
        end = next;
      }
      return end;
    }
    return spaces(s, at, n, /*newlinesEnd=*/false);
  }

private:
  enum Kind : uint8_t { other, letter, number, space, newline, multibyte };

  Kind read(const char *s, size_t &at) const {
    Kind k = ascii[static_cast<unsigned char>(s[at])];
    if (k != multibyte) {
      ++at;
      return k;
    }
    switch (classes(decodeUtf8(s, at))) {
    case CharClass::letter:
      return letter;
    case CharClass::number:
    case CharClass::otherNumber:
      return number;
    case CharClass::space:
      return space;
    default:
      return other;
    }
  }

  size_t letters(const char *s, size_t at, size_t n) const { return run(s, at, n, letter); }
  size_t others(const char *s, size_t at, size_t n) const { return run(s, at, n, other); }
  size_t run(const char *s, size_t at, size_t n, Kind kind) const {
    while (at < n) {
      size_t next = at;
      if (read(s, next) != kind)
        break;
      at = next;
    }
    return at;
  }
  static size_t newlines(const char *s, size_t at, size_t n) {
    while (at < n && (s[at] == '\n' || s[at] == '\r'))
      ++at;
    return at;
  }
  // \s*[\r\n]+ (if newlinesEnd), \s+(?!\S), \s+, in this order.
  size_t spaces(const char *s, size_t at, size_t n, bool newlinesEnd) const;
  // End of 's 't 're 've 'm 'll 'd at an apostrophe, or 0.
  static size_t contraction(const char *s, size_t at, size_t n, bool anyCase);

  Kind ascii[256];
  CharClasses classes;
};

} // namespace m1rt

#endif
