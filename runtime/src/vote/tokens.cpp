// LaTeX to tokens.
#include "vote/expression.h"
#include "vote/extraction.h"
#include "vote/letters.h"
#include "vote/unicode.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

namespace m1rt::vote {
namespace {

const std::set<std::string> kDropped = {
    "left",      "right",    "big",        "Big",       "bigl",  "bigr",         "Bigl",
    "Bigr",      "bigg",     "Bigg",       "quad",      "qquad", "displaystyle", "textstyle",
    "limits",    "nolimits", "mathstrut",  "hfill",     "large", "Large",        "bf",
    "it",        "bm",       "boldsymbol", "underline", "small", "pounds",       "euro",
    "strut",     "cents",    "cent",       "middle",    "qed",   "Bigm",         "bigm",
    "checkmark", "biggl",    "biggr",      "Biggl",     "Biggr", "blacksquare"};
// What is left out there is not known: 1, 2, 3, … is not 1, 2, 3.
const std::set<std::string> kEllipses = {"ldots", "dots", "cdots", "dotsc", "dotsb"};
// Dropped with the group that follows.
const std::set<std::string> kDroppedWithGroup = {"phantom", "hphantom", "vphantom",  "hspace",
                                                 "vspace",  "color",    "textcolor", "mathcolor",
                                                 "tag",     "label"};
const std::set<std::string> kTextCommands = {
    "text",   "mbox",   "textrm",     "textbf",       "textit", "mathrm", "rm",
    "mathbf", "mathit", "textnormal", "operatorname", "hbox",   "texttt", "mathsf"};
const std::map<std::string, std::string> kOperators = {
    {"cdot", "*"},      {"times", "*"},    {"ast", "*"},      {"div", "/"},       {"pm", "±"},
    {"mp", "∓"},        {"le", "≤"},       {"leq", "≤"},      {"leqslant", "≤"},  {"ge", "≥"},
    {"geq", "≥"},       {"geqslant", "≥"}, {"ne", "≠"},       {"neq", "≠"},       {"lt", "<"},
    {"gt", ">"},        {"cup", "∪"},      {"cap", "∩"},      {"bigcup", "∪"},    {"bigcap", "∩"},
    {"in", "∈"},        {"lbrace", "\\{"}, {"rbrace", "\\}"}, {"langle", "("},    {"rangle", ")"},
    {"lvert", "|"},     {"rvert", "|"},    {"vert", "|"},     {"mid", "|"},       {"lbrack", "["},
    {"rbrack", "]"},    {"lparen", "("},   {"rparen", ")"},   {"land", "∧"},      {"wedge", "∧"},
    {"colon", ":"},     {"approx", "≈"},   {"equiv", "≡"},    {"circ", "°"},      {"degree", "°"},
    {"Vert", "‖"},      {"lVert", "‖"},    {"rVert", "‖"},    {"pmod", "\\pmod"}, {"pod", "\\pmod"},
    {"bmod", "\\bmod"}, {"mod", "\\bmod"}};
// A letter below one of these, or of its alphabet, is a name of its own: no factor that goes in
// \frac{\vec{a}}{\vec{b}}.
const std::set<std::string> kMarks = {
    "vec", "hat",  "bar",     "tilde",   "widehat",  "widetilde", "overrightarrow",
    "dot", "ddot", "mathcal", "mathscr", "mathfrak", "mathbb"};
// And so is a letter behind one of these.
const std::set<std::string> kPrefixes = {"\\Delta", "\\partial", "\\nabla"};
// Between two things that must not change places: no factors. What holds one is text, but for what
// withoutRemarks() and the reader know.
const std::set<std::string> kSigns = {"subset",
                                      "subseteq",
                                      "supset",
                                      "supseteq",
                                      "impliedby",
                                      "Rightarrow",
                                      "Leftarrow",
                                      "rightarrow",
                                      "leftarrow",
                                      "to",
                                      "mapsto",
                                      "notin",
                                      "setminus",
                                      "therefore",
                                      "because",
                                      "prec",
                                      "succ",
                                      "leftrightarrow",
                                      "Leftrightarrow",
                                      "sim",
                                      "simeq",
                                      "cong",
                                      "parallel",
                                      "perp",
                                      "propto",
                                      "ll",
                                      "gg",
                                      "uparrow",
                                      "downarrow",
                                      "nearrow",
                                      "searrow",
                                      "ni",
                                      "longrightarrow",
                                      "nmid",
                                      "vdash",
                                      "models",
                                      "rightharpoonup",
                                      "nparallel"};
const std::map<std::string, std::string> kCommands = {{"dfrac", "frac"},
                                                      {"tfrac", "frac"},
                                                      {"cfrac", "frac"},
                                                      {"dbinom", "binom"},
                                                      {"tbinom", "binom"},
                                                      {"varphi", "phi"},
                                                      {"lg", "log"},
                                                      {"backslash", "setminus"},
                                                      {"smallsetminus", "setminus"},
                                                      {"varepsilon", "epsilon"},
                                                      {"emptyset", "varnothing"},
                                                      {"R", "mathbbR"},
                                                      {"implies", "Rightarrow"},
                                                      {"Longrightarrow", "Rightarrow"},
                                                      {"iff", "Leftrightarrow"},
                                                      {"arsinh", "arcsinh"},
                                                      {"arcosh", "arccosh"},
                                                      {"artanh", "arctanh"},
                                                      {"ctg", "cot"},
                                                      {"tg", "tan"}};
const std::set<std::string> kKept = {
    "frac",   "sqrt",   "binom",  "sin",      "cos",    "tan",    "cot",     "sec",     "csc",
    "arcsin", "arccos", "arctan", "sinh",     "cosh",   "tanh",   "ln",      "log",     "exp",
    "coth",   "arccot", "sech",   "overline", "begin",  "end",    "boxed",   "fbox",    "max",
    "min",    "gcd",    "lcm",    "csch",     "lfloor", "rfloor", "lceil",   "rceil",   "over",
    "choose", "sum",    "prod",   "arcsinh",  "arcsec", "arccsc", "arccosh", "arctanh", "cis",
    "abs",    "asin",   "acos",   "atan",     "asinh",  "acosh",  "atanh"};
// Names that \operatorname, \mathrm and \text give to functions.
const std::set<std::string> kUprightFunctions = {
    "sin",     "cos",     "tan",     "cot",    "sec",    "csc",  "arcsin", "arccos", "arctan",
    "arccot",  "arcsec",  "arccsc",  "sinh",   "cosh",   "tanh", "coth",   "sech",   "csch",
    "arcsinh", "arccosh", "arctanh", "ln",     "log",    "exp",  "max",    "min",    "gcd",
    "lcm",     "det",     "arsinh",  "arcosh", "artanh", "lg",   "cis",    "abs",    "asin",
    "acos",    "atan",    "asinh",   "acosh",  "atanh",  "tg",   "ctg"};
// Length of a thousands separator between digits at `at`, three digits of which follow and no
// fourth; 0 if there is none. `commas`: a bare comma is one.
size_t separatorLength(const std::string &s, size_t at, bool commas) {
  size_t n = 0;
  bool certain = true;
  const size_t brace = s.find_first_not_of(' ', at); // 14 {, }916
  const size_t comma =
      brace < s.size() && s[brace] == '{' ? s.find_first_not_of(' ', brace + 1) : std::string::npos;
  const size_t close =
      comma < s.size() && s[comma] == ',' ? s.find_first_not_of(' ', comma + 1) : std::string::npos;
  if (close < s.size() && s[close] == '}')
    n = close + 1 - at;
  else if (s.compare(at, 3, ",\\!") == 0)
    for (n = 3; at + n < s.size() && s[at + n] == ' ';)
      ++n;
  else if (s[at] == '\\' && at + 1 < s.size() &&
           std::string(",;: !").find(s[at + 1]) != std::string::npos)
    n = 2;
  else if (std::string(", ~'").find(s[at]) != std::string::npos) {
    n = 1;
    certain = s[at] != ',' || commas;
  }
  if (!n || !certain)
    return 0;
  for (size_t k = 0; k < 3; ++k)
    if (at + n + k >= s.size() || !isDigit(s[at + n + k]))
      return 0;
  return at + n + 3 < s.size() && isDigit(s[at + n + 3]) ? 0 : n;
}

class Tokenizer {
public:
  explicit Tokenizer(const std::string &latex) : s(replaceUnicode(latex)) {}

  std::optional<std::vector<Token>> run() {
    while (at < s.size() && ok)
      step();
    if (!ok || braces != 0)
      return std::nullopt;
    return std::move(tokens);
  }

private:
  void push(Token::Kind kind, std::string text) {
    if (kind == Token::Kind::letter && !tokens.empty() &&
        tokens.back().kind == Token::Kind::letter && kPrefixes.count(tokens.back().text) &&
        !kPrefixes.count(text)) {
      tokens.back().text += ' ' + text;
      space = line = false;
      return;
    }
    tokens.push_back({kind, std::move(text), space && !line});
    space = line = false;
  }
  // f' is another letter than f.
  void prime() {
    if (!tokens.empty() && tokens.back().kind == Token::Kind::letter && !space)
      tokens.back().text += '\'';
    else
      push(Token::Kind::letter, "'");
  }
  void pushOp(const char *text) { push(Token::Kind::op, text); }

  void step() {
    char c = s[at];
    if (c == ' ' || (c >= '\t' && c <= '\r') || c == '~' || c == '$') {
      space |= c != '$';
      line |= c == '\n';
      ++at;
    } else if (s.compare(at, 3, "...") == 0) {
      push(Token::Kind::text, "…");
      at += 3;
    } else if (isDigit(c) || (c == '.' && at + 1 < s.size() && isDigit(s[at + 1]))) {
      number();
    } else if (isLetter(c)) {
      size_t end = at;
      while (end < s.size() && isLetter(s[end]))
        ++end;
      const std::string name = s.substr(at, end - at);
      const size_t amount = s.find_first_not_of("\\$", end); // US$7
      if (name == "US" && amount > end && amount < s.size() && isDigit(s[amount]))
        space = true;
      else if (name == "mod")
        pushOp("\\bmod");
      else if (name == "U" && isBetweenBrackets(end))
        pushOp("∪");
      else
        push(end - at == 1 ? Token::Kind::letter : Token::Kind::word, name);
      at = end;
    } else if (c == '\\') {
      command();
    } else if (tokens.empty() && s.compare(at, 2, "=>") == 0) {
      pushOp("\\Rightarrow"); // leads to the answer
      at += 2;
    } else if (s.compare(at, 2, "<=") == 0 || s.compare(at, 2, ">=") == 0 ||
               (space && s.compare(at, 2, "!=") == 0)) { // 5!=120 is a factorial
      pushOp(c == '<' ? "≤" : c == '>' ? "≥" : "≠");
      at += 2;
    } else if (s.compare(at, 2, "**") == 0 && !tokens.empty() && at + 2 < s.size() &&
               (isDigit(s[at + 2]) || isLetter(s[at + 2]) || s[at + 2] == '(')) {
      pushOp("^"); // as programs write powers
      at += 2;
    } else if (std::string("+-*/^_!%|,;:=<>()[]{}&").find(c) != std::string::npos) {
      if (c == '{' && isBracedSign()) { // 1{:}2 as 1:2
        push(Token::Kind::op, ":");
        at += 3;
        return;
      }
      braces += c == '{' ? 1 : c == '}' ? -1 : 0;
      brackets += c == '(' || c == '[' ? 1 : c == ')' || c == ']' ? -1 : 0;
      ok = braces >= 0;
      if (c == '^' && (degree() || primes()))
        return;
      push(Token::Kind::op, std::string(1, c));
      ++at;
    } else if (c == '.' || c == '\'' || c == '"' || c == '?') {
      if (c == '.' && s.compare(at + 1, 1, "\\") == 0 && repeating("0", false)) // .\overline{3}
        return;
      if (c == '\'')
        prime();
      ++at;
    } else { // a character of another script
      size_t end = at + 1;
      while (end < s.size() && (static_cast<unsigned char>(s[end]) & 0xC0) == 0x80)
        ++end;
      push(Token::Kind::text, s.substr(at, end - at));
      at = end;
    }
  }

  bool isBracedSign() const { return s.compare(at, 3, "{:}") == 0; }

  // (0, 1) U [2, 3], where U ends at `end`.
  bool isBetweenBrackets(size_t end) const {
    const size_t next = s.find_first_not_of(' ', end);
    auto isOne = [](const std::string &text, const char *of) {
      return text.size() == 1 && std::string(of).find(text) != std::string::npos;
    };
    return !tokens.empty() && isOne(tokens.back().text, ")]") && next < s.size() &&
           isOne(s.substr(next, 1), "([");
  }

  // ^\circ and ^{\circ} are degree signs, as is ^o.
  bool degree() {
    for (const char *form : {"^\\circ", "^{\\circ}", "^\\degree", "^{\\degree}", "^{o}", "^o",
                             "^\\text{o}", "^{\\text{o}}", "^\\mathrm{o}", "^{\\mathrm{o}}"}) {
      size_t i = at;
      const char *f = form;
      for (; *f && i < s.size(); ++i) {
        if (s[i] == *f)
          ++f;
        else if (s[i] != ' ')
          break;
      }
      const bool isLetterO = form[1] == 'o' || form[2] == 'o', group = form[1] == '{';
      if (isLetterO && (tokens.empty() || tokens.back().kind != Token::Kind::number))
        continue;
      if (!*f && (group || !(i < s.size() && isLetter(s[i])))) {
        at = i;
        push(Token::Kind::op, "°");
        return true;
      }
    }
    return false;
  }

  // f^\prime and f^{\prime\prime}
  bool primes() {
    size_t i = at + 1;
    const bool braces = i < s.size() && s[i] == '{';
    i += braces;
    size_t count = 0;
    for (; s.compare(i, 6, "\\prime") == 0; i += 6)
      ++count;
    if (!count || (braces && (i >= s.size() || s[i] != '}')))
      return false;
    for (; count > 0; --count)
      prime();
    at = i + braces;
    return true;
  }

  // The e of 6.72e-5 with what follows; 0 if there is none. 3e-1 stays a product and a difference:
  // only a mantissa with a point or of one alone, or an exponent from 3 on, shows that e means a
  // power of ten.
  size_t exponentLength(const std::string &mantissa) const {
    if (at >= s.size() || (s[at] != 'e' && s[at] != 'E'))
      return 0;
    size_t sign = at + 1 < s.size() && (s[at + 1] == '-' || s[at + 1] == '+'), end = at + 1 + sign;
    size_t first = end;
    while (end < s.size() && isDigit(s[end]))
      ++end;
    bool shown = !sign || mantissa.find('.') != std::string::npos || mantissa == "1" ||
                 end - first >= 2 || (end > first && s[first] >= '3');
    return end == first || end - first > 4 || !shown || (end < s.size() && isLetter(s[end]))
               ? 0
               : end - at;
  }

  // 3{,}14 in print is 3,14. Three digits behind it are thousands, but not of 0.
  bool isDecimalComma(const std::string &before) const {
    if (s.compare(at, 3, "{,}") != 0 || before.find('.') != std::string::npos)
      return false;
    size_t end = at + 3;
    while (end < s.size() && isDigit(s[end]))
      ++end;
    const size_t decimals = end - at - 3;
    return decimals > 0 && s.compare(end, 3, "{,}") != 0 && (decimals != 3 || before == "0");
  }

  // 1.234.567 and 1.234,56, where points part thousands: their end; 0 for others, as one point is
  // decimal.
  size_t endOfGroups() const {
    auto digits = [&](size_t from) {
      size_t n = 0;
      while (from + n < s.size() && isDigit(s[from + n]))
        ++n;
      return n;
    };
    auto isAt = [&](size_t i, char c) { return i < s.size() && s[i] == c && digits(i + 1) > 0; };
    size_t end = at + digits(at), groups = 0;
    if (end == at || end > at + 3 || s[at] == '0')
      return 0;
    for (; isAt(end, '.'); ++groups, end += 4)
      if (digits(end + 1) != 3)
        return 0;
    const bool comma = groups > 0 && brackets <= 0 && isAt(end, ',');
    const size_t decimals = comma ? digits(end + 1) : 0;
    if (decimals == 3 || (comma && (isAt(end + 1 + decimals, ',') || // 1.732,2.5 are two
                                    isAt(end + 1 + decimals, '.'))))
      return 0;
    return comma ? end + 1 + decimals : groups > 1 ? end : 0;
  }

  void number() {
    std::string text;
    const bool index = !tokens.empty() && tokens.back().kind == Token::Kind::op &&
                       (tokens.back().text == "_" || tokens.back().text == "^");
    size_t digits = 0; // in the group that separators may follow
    bool point = false;
    if (const size_t end = endOfGroups()) {
      for (; at < end; ++at)
        if (s[at] != '.')
          text += s[at] == ',' ? '.' : s[at];
      push(Token::Kind::number, text);
      return;
    }
    if (prefixed())
      return;
    while (at < s.size()) {
      if (isDigit(s[at])) {
        text += s[at++];
        ++digits;
      } else if (s[at] == '.' && !point && at + 1 < s.size() && isDigit(s[at + 1])) {
        point = true;
        text += s[at++];
      } else if (!point && digits > 0 && isDecimalComma(text)) {
        point = true;
        text += '.';
        at += 3;
      } else if (!point && !index && digits > 0 && digits <= 3 && text != "0") {
        // In brackets a comma separates: (1,234) is a pair, and so it does in 0,234.
        size_t skip = separatorLength(s, at, brackets <= 0);
        if (!skip)
          break;
        at += skip;
        digits = 0;
      } else {
        break;
      }
    }
    if (repeating(text, point) || elided(text, point))
      return;
    size_t exponent = exponentLength(text);
    if (!exponent) {
      push(Token::Kind::number, text);
      return;
    }
    std::string power = s.substr(at + 1, exponent - 1);
    at += exponent;
    bool negative = power[0] == '-';
    power.erase(0, power[0] == '-' || power[0] == '+');
    pushOp("(");
    push(Token::Kind::number, text);
    pushOp("*");
    push(Token::Kind::number, "10");
    pushOp("^");
    pushOp("{");
    if (negative)
      pushOp("-");
    push(Token::Kind::number, power);
    pushOp("}");
    pushOp(")");
  }

  // 0xFF and 0b1010, as programs write numbers of base 16 and 2.
  bool prefixed() {
    constexpr size_t longest = 15;
    const bool hexadecimal = s.compare(at, 2, "0x") == 0;
    if (!hexadecimal && s.compare(at, 2, "0b") != 0)
      return false;
    const size_t begin = at + 2,
                 end = std::min(
                     s.find_first_not_of(hexadecimal ? "0123456789abcdefABCDEF" : "01", begin),
                     s.size());
    const bool whole = end == s.size() || !(isLetter(s[end]) || isDigit(s[end]) || s[end] == '.');
    if (end <= begin || end - begin > longest * (hexadecimal ? 1 : 4) || !whole)
      return false;
    push(Token::Kind::number,
         std::to_string(std::stoull(s.substr(begin, end - begin), nullptr, hexadecimal ? 16 : 2)));
    at = end;
    return true;
  }

  // 0.1\overline{6}, 0.1\bar{6}, 0.1\dot{6}, after its first digits: (0.1 + \frac{6}{90}).
  // 0.(6), too; 0.1(6) would be a product. 0,\overline{6} as in German.
  bool repeating(const std::string &text, bool point) {
    size_t begin =
        at + (!point && at < s.size() && (s[at] == '.' || s.compare(at, 11, ",\\overline{") == 0));
    if (!point && begin == at)
      return false;
    size_t name = s.compare(begin, 10, "\\overline{") == 0        ? 10
                  : s.compare(begin, 5, "\\bar{") == 0            ? 5
                  : s.compare(begin, 5, "\\dot{") == 0            ? 5
                  : !point && begin < s.size() && s[begin] == '(' ? 1
                                                                  : 0;
    size_t end = s.find(name == 1 ? ')' : '}', begin);
    if (!name || end == std::string::npos || end == begin + name || end > begin + name + 16)
      return false;
    std::string digits = s.substr(begin + name, end - begin - name);
    // \dot{1}4285\dot{7}: from the first to the second
    if (const size_t next = s.find("\\dot{", end);
        name == 5 && s.compare(begin, 5, "\\dot{") == 0 && digits.size() == 1 && next < end + 16 &&
        next + 6 < s.size() && s[next + 6] == '}' &&
        s.find_first_not_of("0123456789", end + 1) == next) { // not of another number
      digits += s.substr(end + 1, next - end - 1) + s[next + 5];
      end = next + 6;
    }
    if (digits.find_first_not_of("0123456789") != std::string::npos)
      return false;
    if (end + 1 < s.size() && isDigit(s[end + 1])) { // no number has digits behind endless ones
      ok = false;
      return true;
    }
    pushRepeating(text, digits, point ? text.size() - text.find('.') - 1 : 0);
    at = end + 1;
    return true;
  }

  // A number with so many decimals, and digits behind it again and again.
  void pushRepeating(const std::string &text, const std::string &digits, size_t decimals) {
    auto group = [&](const std::string &number) {
      pushOp("{");
      push(Token::Kind::number, number);
      pushOp("}");
    };
    pushOp("(");
    push(Token::Kind::number, text);
    pushOp("+");
    push(Token::Kind::command, "frac");
    group(digits);
    group(std::string(digits.size(), '9') + std::string(decimals, '0'));
    pushOp(")");
  }

  // 0.1666... and 0.3636\ldots, after their digits: those at the end that are there three times, or
  // twice where they are several.
  bool elided(const std::string &text, bool point) {
    size_t end = at;
    for (const std::string_view dots : {"...", "\\ldots", "\\dots", "\\cdots"})
      if (s.compare(at, dots.size(), dots) == 0)
        end = at + dots.size();
    const size_t decimals = point ? text.size() - text.find('.') - 1 : 0;
    if (end == at || decimals > 18)
      return false;
    for (size_t length = 1; length <= decimals / 2; ++length) {
      const std::string digits = text.substr(text.size() - length);
      size_t times = 1;
      while ((times + 1) * length <= decimals &&
             text.compare(text.size() - (times + 1) * length, length, digits) == 0)
        ++times;
      if (times < (length == 1 ? 3 : 2))
        continue;
      pushRepeating(text, digits, decimals);
      at = end;
      return true;
    }
    return false;
  }

  void command() {
    if (at + 1 >= s.size()) {
      ++at;
      return;
    }
    char c = s[at + 1];
    if (!isLetter(c)) {
      at += 2;
      if (c == '{' || c == '}') {
        brackets += c == '{' ? 1 : -1;
        push(Token::Kind::op, std::string("\\") + c);
      } else if (c == '\\') {
        push(Token::Kind::op, "\\\\");
        size_t close = at < s.size() && s[at] == '[' ? s.find(']', at) : std::string::npos;
        if (close != std::string::npos && close > at + 2 && isLetter(s[close - 1]) &&
            isLetter(s[close - 2]))
          at = close + 1; // space between rows: \\[2mm]
      } else if (c == '%') {
        push(Token::Kind::op, "%");
      } else if (c == '&') {
        push(Token::Kind::text, "and");
      } else if (c == '|') {
        pushOp("‖");
      } else if (c != '!' && c != '(' && c != ')' && c != '[' && c != ']' &&
                 c != '$') { // \, \; \: and the like
        space = true;
      }
      return;
    }
    size_t end = at + 1;
    while (end < s.size() && isLetter(s[end]))
      ++end;
    std::string name = s.substr(at + 1, end - at - 1);
    at = end;
    if (name == "Bbb") // the older name
      name = "mathbb";
    if (kEllipses.count(name)) {
      push(Token::Kind::text, "…");
      return;
    }
    if (kDropped.count(name)) {
      space |= name == "quad" || name == "qquad";
      if ((name == "left" || name == "right") && at < s.size() && s[at] == '.')
        ++at; // no bracket
      if ((name == "left" && s.compare(at, 1, "<") == 0) ||
          (name == "right" && s.compare(at, 1, ">") == 0)) { // \langle
        brackets += s[at] == '<' ? 1 : -1;
        pushOp(s[at++] == '<' ? "(" : ")");
      }
      return;
    }
    bool withGroup = kDroppedWithGroup.count(name) != 0;
    if (withGroup || kTextCommands.count(name)) {
      size_t open = s.find_first_not_of(' ', at);
      if (open == std::string::npos || s[open] != '{')
        return;
      int depth = 0;
      for (size_t i = open; i < s.size(); ++i) {
        depth += s[i] == '{' ? 1 : s[i] == '}' ? -1 : 0;
        if (depth == 0) {
          at = i + 1;
          std::string content = s.substr(open + 1, i - open - 1);
          const bool blank = content.find_first_not_of(" ~") == std::string::npos;
          space |= blank;
          if (withGroup || blank || content == "$" || content == "\\$")
            return;
          if (content == "-" || content == "+") {
            push(Token::Kind::op, content);
            return;
          }
          if (trimmed(content) == "infinity") {
            push(Token::Kind::letter, "\\infty");
            return;
          }
          if (upright(name, content))
            return;
          // Upright in print, or bold: no units.
          // \text{2A}_{16}, \mathrm{C}_5^2 and \mathbf{\hat{i}}, as without the command.
          const bool digits = content.find_first_of("0123456789") != std::string::npos &&
                              content.find_first_not_of("0123456789ABCDEF") == std::string::npos;
          const bool indexed = at < s.size() && s[at] == '_' &&
                               (digits || content == "C" || content == "P" || content == "A");
          if (indexed || (name == "mathbf" && content.compare(0, 4, "\\hat") == 0)) {
            s.replace(0, at, content);
            at = 0;
            return;
          }
          // \mathrm{d}x, as dx
          if (name == "mathrm" && content == "d" && at < s.size() &&
              (isLetter(s[at]) || s[at] == '\\' || s[at] == '^')) {
            s.replace(0, at, content);
            at = 0;
            return;
          }
          // of unit vectors, and of sets of numbers
          const bool vector = content == "i" || content == "j" || content == "k";
          if (name == "mathbf" &&
              (vector || content == "R" || content == "Z" || content == "Q" || content == "N")) {
            push(Token::Kind::letter, (vector ? "\\hat" : "\\mathbb") + content);
            return;
          }
          bool symbol = content == "i" || content == "e" ||
                        (content.size() == 1 && isLetter(content[0]) &&
                         (name == "mathbf" || name == "mathit"));
          push(symbol ? Token::Kind::letter : Token::Kind::text, content);
          bold = symbol && name == "mathbf" ? tokens.size() : bold;
          return;
        }
      }
      ok = false;
      return;
    }
    if (name == "lor" || name == "vee") {
      push(Token::Kind::text, "or");
      return;
    }
    const bool letterBelow = name == "overline" && at + 2 < s.size() && s[at] == '{' &&
                             isLetter(s[at + 1]) && s[at + 2] == '}';
    if ((kMarks.count(name) || letterBelow) && marked(letterBelow ? "bar" : name)) // \overline{z}
      return;
    const size_t next = s.find_first_not_of(' ', at);
    // A × B is a set of pairs, L × W a product.
    auto isSet = [](char c) { return std::string_view("ABCDXY").find(c) != std::string::npos; };
    if (name == "times" && !tokens.empty() &&
        (bold == tokens.size() || tokens.back().text.compare(0, 4, "\\vec") == 0 ||
         tokens.back().text == "\\hati" || tokens.back().text == "\\hatj" ||
         tokens.back().text == "\\hatk" || tokens.back().text.compare(0, 5, "\\math") == 0 ||
         (tokens.back().text.size() == 1 && isSet(tokens.back().text[0]) && next < s.size() &&
          isSet(s[next])))) {
      pushOp("\\times"); // of vectors or sets, which must not change places
      return;
    }
    auto op = kOperators.find(name);
    if (op != kOperators.end()) {
      brackets += op->second == "\\{" || op->second == "(" || op->second == "["   ? 1
                  : op->second == "\\}" || op->second == ")" || op->second == "]" ? -1
                                                                                  : 0;
      push(Token::Kind::op, op->second);
      return;
    }
    auto renamed = kCommands.find(name);
    if (renamed != kCommands.end())
      name = renamed->second;
    if (kSigns.count(name)) {
      push(Token::Kind::op, "\\" + name);
      return;
    }
    push(kKept.count(name) ? Token::Kind::command : Token::Kind::letter,
         kKept.count(name) ? name : "\\" + name);
  }

  // \operatorname{lcm} and \text{ mod }: what \lcm and \bmod would be; \text{ (mod 9)} as (mod 9).
  bool upright(const std::string &command, const std::string &content) {
    const size_t first = content.find_first_not_of(' ');
    if (first != std::string::npos && content.compare(first, 5, "(mod ") == 0) {
      s.replace(0, at, content);
      at = 0;
      return true;
    }
    const size_t last = content.find_last_not_of(' ');
    const std::string name =
        first == std::string::npos ? content : content.substr(first, last - first + 1);
    if (name == "mod") {
      pushOp("\\bmod");
      return true;
    }
    if (!kUprightFunctions.count(name))
      return false;
    // 5 \text{ min} and 3 \mathrm{sec} are times.
    const size_t next = s.find_first_not_of(' ', at);
    const bool opens = next != std::string::npos &&
                       (s[next] == '(' || s[next] == '[' || s.compare(next, 2, "\\{") == 0 ||
                        s.compare(next, 5, "\\left") == 0);
    if ((name == "min" || name == "sec") && command != "operatorname" && !opens)
      return false;
    auto renamed = kCommands.find(name);
    if (name == "det")
      push(Token::Kind::letter, "\\det");
    else
      push(Token::Kind::command, renamed == kCommands.end() ? name : renamed->second);
    return true;
  }

  // \vec{v}, \vec v and \mathbb{R}, as \vecv and \mathbbR; false where no letter follows.
  bool marked(std::string name) {
    if (name == "overrightarrow")
      name = "vec";
    size_t begin = s.find_first_not_of(' ', at);
    const bool group = begin != std::string::npos && s[begin] == '{';
    if (group)
      begin = s.find_first_not_of(' ', begin + 1);
    if (begin == std::string::npos)
      return false;
    size_t end = begin + (s[begin] == '\\');
    while (end < s.size() && isLetter(s[end]) && (group || s[begin] == '\\' || end == begin))
      ++end;
    if (end == begin + (s[begin] == '\\')) { // \vec{0}
      if (!group || !isDigit(s[begin]))
        return false;
      end = begin + 1;
    }
    const size_t close = group ? s.find_first_not_of(' ', end) : end - 1;
    if (close == std::string::npos || (group && s[close] != '}'))
      return false;
    std::string letter = s.substr(begin, end - begin);
    if (letter == "\\imath" || letter == "\\jmath") // \hat{\imath}
      letter = letter.substr(1, 1);
    const bool unit = name == "vec" && (letter == "i" || letter == "j" || letter == "k");
    push(Token::Kind::letter, (unit ? "\\hat" : "\\" + name) + letter);
    at = close + 1;
    return true;
  }

  std::string s;
  size_t at = 0;
  std::vector<Token> tokens;
  bool space = false, line = false, ok = true; // a blank, a line's end before the next token
  int braces = 0, brackets = 0;
  size_t bold = 0; // how many tokens there were when the last one in bold stood at their end
};

} // namespace

std::string usualName(const std::string &command) {
  if (kDropped.count(command) || kTextCommands.count(command))
    return {};
  if (kEllipses.count(command))
    return "…";
  if (const auto op = kOperators.find(command); op != kOperators.end())
    return op->second;
  const auto renamed = kCommands.find(command);
  return renamed == kCommands.end() ? command : renamed->second;
}

std::optional<std::vector<Token>> tokenize(const std::string &latex) {
  return Tokenizer(latex).run();
}

} // namespace m1rt::vote
