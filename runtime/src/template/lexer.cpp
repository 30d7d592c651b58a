#include "template/lexer.h"

#include "base/numbers.h"
#include "template/text.h"
#include "tokenizer/unicode.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>

namespace m1rt::jinja {
namespace {

bool isNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool isDecimal(char c) { return c >= '0' && c <= '9'; }

class Lexer {
public:
  explicit Lexer(const std::string &text) {
    // Newlines become \n, and one at the end goes, as Jinja does before anything else.
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\r') {
        source += '\n';
        i += i + 1 < text.size() && text[i + 1] == '\n';
      } else {
        source += text[i];
      }
    }
    if (!source.empty() && source.back() == '\n')
      source.pop_back();
  }

  std::vector<Token> run();

private:
  [[noreturn]] void fail(const std::string &message, size_t where) const {
    throw TemplateError(message, lineAt(where));
  }
  int lineAt(size_t where) const {
    return 1 + static_cast<int>(std::count(source.begin(),
                                           source.begin() + std::min(where, source.size()), '\n'));
  }
  void advanceTo(size_t to) {
    line += static_cast<int>(std::count(source.begin() + at, source.begin() + to, '\n'));
    at = to;
  }
  void push(Token::Kind kind, std::string text = {}) {
    tokens.push_back({kind, std::move(text), line});
  }
  bool isSpaceAt(size_t where) const { return isSpace(nextCodePoint(source, where)); }
  bool startsWith(const char *text, size_t where) const {
    return source.compare(where, std::strlen(text), text) == 0;
  }

  void code(bool isBlock);
  void afterTag(bool isMinus, bool trimNewline);
  bool rawBlock();
  void stringLiteral();
  void numberLiteral();

  std::string source;
  size_t at = 0;
  int line = 1;
  std::vector<Token> tokens;
};

std::vector<Token> Lexer::run() {
  bool lineStarting = true; // the source before `at` ended in a newline that belonged to a tag
  while (at < source.size()) {
    size_t open = at;
    while (open < source.size() && !(source[open] == '{' && open + 1 < source.size() &&
                                     std::strchr("{%#", source[open + 1])))
      ++open;
    std::string text = source.substr(at, open - at);
    if (open == source.size()) {
      if (!text.empty())
        push(Token::Kind::data, text);
      at = open;
      break;
    }
    char type = source[open + 1], sign = open + 2 < source.size() ? source[open + 2] : '\0';
    if (sign == '-') {
      text = plain(strip(text, Side::right));
    } else if (sign != '+' && type != '{') { // lstrip_blocks
      size_t lineStart = text.rfind('\n') + 1;
      if ((lineStart > 0 || lineStarting) && strip(text.substr(lineStart), Side::both).empty())
        text.resize(lineStart);
    }
    if (!text.empty())
      push(Token::Kind::data, text);
    size_t inside = open + 2 + (sign == '-' || sign == '+');
    advanceTo(inside);
    if (type == '#') {
      size_t close = source.find("#}", at);
      if (close == std::string::npos)
        fail("comment without an end ('#}')", open);
      char before = close > at ? source[close - 1] : '\0';
      advanceTo(close + 2);
      afterTag(before == '-', before != '+');
    } else if (type == '%' && rawBlock()) {
    } else {
      push(type == '{' ? Token::Kind::variableBegin : Token::Kind::blockBegin);
      code(type == '%');
    }
    lineStarting = at > 0 && source[at - 1] == '\n';
  }
  push(Token::Kind::end);
  return std::move(tokens);
}

// What the end of a tag swallows: all white space after '-', else one newline where trim_blocks
// applies.
void Lexer::afterTag(bool isMinus, bool trimNewline) {
  size_t to = at;
  if (isMinus) {
    while (to < source.size() && isSpaceAt(to))
      nextCodePoint(source, to);
  } else if (trimNewline && to < source.size() && source[to] == '\n') {
    ++to;
  }
  advanceTo(to);
}

// {% raw %} ... {% endraw %}; false if this is another tag.
bool Lexer::rawBlock() {
  auto tag = [&](size_t from, const char *name, size_t &end, char &sign) {
    while (from < source.size() && isSpace(static_cast<unsigned char>(source[from])))
      ++from;
    if (!startsWith(name, from))
      return false;
    from += std::strlen(name);
    while (from < source.size() && isSpace(static_cast<unsigned char>(source[from])))
      ++from;
    sign = from < source.size() && (source[from] == '-' || source[from] == '+') ? source[from++]
                                                                                : '\0';
    if (!startsWith("%}", from))
      return false;
    end = from + 2;
    return true;
  };
  size_t bodyStart = 0, end = 0;
  char sign = 0;
  if (!tag(at, "raw", bodyStart, sign))
    return false;
  size_t begin = at;
  advanceTo(bodyStart);
  afterTag(sign == '-', /*trimNewline=*/false);
  for (size_t open = at; (open = source.find("{%", open)) != std::string::npos; ++open) {
    size_t inner = open + 2;
    char opening = inner < source.size() && (source[inner] == '-' || source[inner] == '+')
                       ? source[inner++]
                       : '\0';
    if (!tag(inner, "endraw", end, sign))
      continue;
    std::string text = source.substr(at, open - at);
    if (opening == '-') {
      text = plain(strip(text, Side::right));
    } else if (opening != '+') {
      size_t lineStart = text.rfind('\n') + 1;
      if (lineStart > 0 && strip(text.substr(lineStart), Side::both).empty())
        text.resize(lineStart);
    }
    if (!text.empty())
      push(Token::Kind::data, text);
    advanceTo(end);
    afterTag(sign == '-', sign != '+');
    return true;
  }
  fail("raw block without {% endraw %}", begin);
}

// Tokens of an expression or statement up to its end tag.
void Lexer::code(bool isBlock) {
  const char *close = isBlock ? "%}" : "}}";
  size_t begin = at;
  std::string brackets; // inside brackets an end tag's characters are operators
  static const char *const operators[] = {"//", "**", "==", "!=", "<=", ">=", "+", "-", "*",
                                          "/",  "%",  "~",  "(",  ")",  "[",  "]", "{", "}",
                                          "|",  ",",  ":",  ".",  "<",  ">",  "=", ";"};
  while (at < source.size()) {
    char c = source[at];
    if (isSpace(static_cast<unsigned char>(c))) {
      advanceTo(at + 1);
      continue;
    }
    if (brackets.empty()) {
      size_t skip = (c == '-' || (c == '+' && isBlock)) && startsWith(close, at + 1) ? 1 : 0;
      if (startsWith(close, at + skip)) {
        push(isBlock ? Token::Kind::blockEnd : Token::Kind::variableEnd);
        advanceTo(at + skip + 2);
        afterTag(skip && c == '-', isBlock && !(skip && c == '+'));
        return;
      }
    }
    if (isNameStart(c)) {
      size_t end = at;
      while (end < source.size() && (isNameStart(source[end]) || isDecimal(source[end])))
        ++end;
      push(Token::Kind::name, source.substr(at, end - at));
      at = end;
    } else if (isDecimal(c)) {
      numberLiteral();
    } else if (c == '"' || c == '\'') {
      stringLiteral();
    } else {
      auto op = std::find_if(std::begin(operators), std::end(operators),
                             [&](const char *o) { return startsWith(o, at); });
      if (op == std::end(operators)) {
        size_t end = at; // of the whole character, which may be several bytes
        nextCodePoint(source, end);
        const std::string shown = c == '\0' ? "\\0" : source.substr(at, end - at);
        fail("unexpected character '" + shown + "'", at);
      }
      if (std::strchr("([{", c))
        brackets += c == '(' ? ')' : c == '[' ? ']' : '}';
      if (std::strchr(")]}", c)) {
        if (brackets.empty() || brackets.back() != c)
          fail(std::string("unexpected '") + c + "'", at);
        brackets.pop_back();
      }
      push(Token::Kind::op, *op);
      at += std::strlen(*op);
    }
  }
  fail(std::string(isBlock ? "statement" : "expression") + " without an end ('" + close + "')",
       begin);
}

void Lexer::numberLiteral() {
  size_t end = at;
  bool real = false;
  auto digits = [&] {
    while (end < source.size() &&
           (isDecimal(source[end]) ||
            (source[end] == '_' && end + 1 < source.size() && isDecimal(source[end + 1]))))
      ++end;
  };
  digits();
  if (source[at] == '0' && end == at + 1 && end < source.size() &&
      std::strchr("xXoObB", source[end]))
    fail("numbers in other bases than ten are not supported", at);
  if (end + 1 < source.size() && source[end] == '.' && isDecimal(source[end + 1])) {
    real = true;
    ++end;
    digits();
  }
  if (end < source.size() && (source[end] == 'e' || source[end] == 'E')) {
    size_t digit =
        end + 1 + (end + 1 < source.size() && (source[end + 1] == '+' || source[end + 1] == '-'));
    if (digit < source.size() && isDecimal(source[digit])) {
      real = true;
      end = digit;
      digits();
    }
  }
  std::string text = source.substr(at, end - at);
  text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
  push(real ? Token::Kind::real : Token::Kind::integer, text);
  if (real) {
    parseDouble(text, tokens.back().real);
  } else {
    const char *textEnd = text.data() + text.size();
    if (std::from_chars(text.data(), textEnd, tokens.back().integer).ec != std::errc())
      fail("integer " + text + " is too large", at);
  }
  at = end;
}

void Lexer::stringLiteral() {
  size_t begin = at;
  char mark = source[at];
  std::string text;
  int startLine = line;
  size_t i = at + 1;
  for (; i < source.size() && source[i] != mark; ++i) {
    if (source[i] != '\\') {
      text += source[i];
      continue;
    }
    if (++i == source.size())
      break;
    char e = source[i];
    size_t digits = e == 'x' ? 2 : e == 'u' ? 4 : e == 'U' ? 8 : 0;
    static const char from[] = "abfnrtv\\'\"", to[] = "\a\b\f\n\r\t\v\\'\"";
    if (digits) {
      std::string hex = source.substr(i + 1, digits);
      if (hex.size() < digits ||
          hex.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos)
        fail(std::string("truncated \\") + e + " escape in a string", i);
      unsigned long c = std::strtoul(hex.c_str(), nullptr, 16);
      if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
        fail(std::string("\\") + e + hex + " is not a character", i);
      appendUtf8(static_cast<uint32_t>(c), text);
      i += digits;
    } else if (e == '\n') { // a continued line
    } else if (e >= '0' && e <= '7') {
      uint32_t c = 0;
      size_t n = 0;
      for (; n < 3 && i + n < source.size() && source[i + n] >= '0' && source[i + n] <= '7'; ++n)
        c = c * 8 + static_cast<uint32_t>(source[i + n] - '0');
      appendUtf8(c, text);
      i += n - 1;
    } else if (const char *known = std::strchr(from, e); known && e) {
      text += to[known - from];
    } else { // Python keeps unknown escapes
      text += '\\';
      text += e;
    }
  }
  if (i >= source.size())
    fail("string without an end", begin);
  advanceTo(i + 1);
  tokens.push_back({Token::Kind::string, text, startLine});
}

} // namespace

std::vector<Token> tokenize(const std::string &source) { return Lexer(source).run(); }

} // namespace m1rt::jinja
