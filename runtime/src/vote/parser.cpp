// Tokens to expressions.
#include "vote/expression.h"

#include "vote/number_words.h"
#include "vote/wording.h"

#include <algorithm>
#include <map>
#include <set>

namespace m1rt::vote {
namespace {

using E = Expression::Kind;

constexpr int kMaxDepth = 100;

const std::map<std::string, std::string> kFunctions = {
    {"sin", "sin"},       {"cos", "cos"},         {"tan", "tan"},         {"cot", "cot"},
    {"sec", "sec"},       {"csc", "csc"},         {"arcsin", "arcsin"},   {"arccos", "arccos"},
    {"arctan", "arctan"}, {"sinh", "sinh"},       {"cosh", "cosh"},       {"tanh", "tanh"},
    {"ln", "ln"},         {"log", "log"},         {"exp", "exp"},         {"asin", "arcsin"},
    {"acos", "arccos"},   {"atan", "arctan"},     {"coth", "coth"},       {"sech", "sech"},
    {"csch", "csch"},     {"arccot", "arccot"},   {"arcsec", "arcsec"},   {"arccsc", "arccsc"},
    {"cis", "cis"},       {"arcsinh", "arcsinh"}, {"arccosh", "arccosh"}, {"arctanh", "arctanh"},
    {"asinh", "arcsinh"}, {"acosh", "arccosh"},   {"atanh", "arctanh"}};
// Of any number of arguments, in any order.
const std::set<std::string> kOfMany = {"gcd", "lcm", "max", "min"};
const std::map<std::string, std::string> kWordConstants = {
    {"pi", "\\pi"},    {"inf", "\\infty"},   {"infty", "\\infty"}, {"infinity", "\\infty"},
    {"oo", "\\infty"}, {"theta", "\\theta"}, {"alpha", "\\alpha"}, {"beta", "\\beta"}};

ExpressionPtr make(E kind, std::string text = {}) {
  auto e = std::make_unique<Expression>();
  e->kind = kind;
  e->text = std::move(text);
  return e;
}

template <typename... Kids> ExpressionPtr node(E kind, std::string text, Kids... kids) {
  ExpressionPtr e = make(kind, std::move(text));
  (e->kids.push_back(std::move(kids)), ...);
  return e;
}

ExpressionPtr inDegrees(ExpressionPtr angle) {
  return node(E::multiply, "", std::move(angle),
              node(E::divide, "", make(E::variable, "\\pi"), make(E::number, "180")));
}

class Parser {
  using Kind = Token::Kind;

public:
  Parser(const std::vector<Token> &tokens, size_t begin, size_t end)
      : tokens(tokens), at(begin), end(end) {}

  ExpressionPtr run() {
    ExpressionPtr e = overOrChoose();
    return e && at == end ? std::move(e) : nullptr;
  }

private:
  bool isOp(const char *text, size_t ahead = 0) const {
    return at + ahead < end && tokens[at + ahead].kind == Kind::op &&
           tokens[at + ahead].text == text;
  }
  bool skipOp(const char *text) { return isOp(text) && (++at, true); }
  bool isCommand(const char *text) const {
    return at < end && tokens[at].kind == Kind::command && tokens[at].text == text;
  }

  ExpressionPtr overOrChoose();
  ExpressionPtr sum();
  ExpressionPtr product();
  ExpressionPtr signedFactor();
  ExpressionPtr power();
  ExpressionPtr atom();
  ExpressionPtr group(const char *open, const char *close);
  ExpressionPtr argument();
  ExpressionPtr chosen(bool combinations);
  ExpressionPtr chosenBetween(const std::string &n);
  ExpressionPtr series(bool sum);
  ExpressionPtr function(const std::string &name);
  ExpressionPtr functionOfMany(const std::string &name);
  ExpressionPtr numberInBase(const std::string &digits);
  ExpressionPtr lettersInBase();
  ExpressionPtr mixedFraction(ExpressionPtr whole);
  bool startsFactor() const;
  std::string subscript();

  const std::vector<Token> &tokens;
  size_t at, end;
  int depth = 0, bars = 0;
  int angles = 0; // inside the arguments of trigonometric functions, where ° is π/180
};

// A sum, or two with TeX's \over or \choose between them.
ExpressionPtr Parser::overOrChoose() {
  ExpressionPtr e = sum();
  if (!e || !(isCommand("over") || isCommand("choose")))
    return e;
  E kind = tokens[at++].text == "over" ? E::divide : E::binomial;
  ExpressionPtr below = sum();
  return below ? node(kind, "", std::move(e), std::move(below)) : nullptr;
}

// In a sum: of 10 + 4 \bmod 3 nobody knows which part is divided.
bool isRemainder(const Expression &e) { return e.kind == E::function && e.text == "mod"; }

ExpressionPtr Parser::sum() {
  if (++depth > kMaxDepth)
    return nullptr;
  ExpressionPtr e;
  if (skipOp("+"))
    e = product();
  else if (skipOp("-")) {
    e = product();
    e = e && !isRemainder(*e) ? node(E::negate, "", std::move(e)) : nullptr;
  } else if (isOp("±") || isOp("∓")) {
    std::string sign = tokens[at++].text;
    e = product();
    e = e ? node(E::plusMinus, sign, node(E::number, "0"), std::move(e)) : nullptr;
  } else {
    e = product();
  }
  while (e && (isOp("+") || isOp("-") || isOp("±") || isOp("∓"))) {
    std::string sign = tokens[at++].text;
    ExpressionPtr right = product();
    if (!right || isRemainder(*e) || isRemainder(*right))
      return nullptr;
    if (sign == "+")
      e = node(E::add, "", std::move(e), std::move(right));
    else if (sign == "-")
      e = node(E::add, "", std::move(e), node(E::negate, "", std::move(right)));
    else
      e = node(E::plusMinus, sign, std::move(e), std::move(right));
  }
  --depth;
  return e;
}

bool Parser::startsFactor() const {
  if (at >= end)
    return false;
  const Token &t = tokens[at];
  switch (t.kind) {
  case Kind::number:
  case Kind::letter:
    return true;
  case Kind::word:
    return true;
  case Kind::command:
    return t.text != "end" && t.text != "rfloor" && t.text != "rceil" && t.text != "over" &&
           t.text != "choose";
  case Kind::op:
    return t.text == "(" || t.text == "[" || t.text == "{" ||
           ((t.text == "|" || t.text == "‖") && bars == 0);
  default:
    return false;
  }
}

ExpressionPtr Parser::product() {
  ExpressionPtr e = signedFactor();
  while (e) {
    if (skipOp("\\bmod")) {
      ExpressionPtr modulus = signedFactor();
      e = modulus ? node(E::function, "mod", std::move(e), std::move(modulus)) : nullptr;
      continue;
    }
    bool divide = isOp("/"), times = isOp("*") || divide;
    if (!times && !startsFactor())
      break;
    // "12 17" and "3 to 1" are no products.
    if (!times && tokens[at].kind == Kind::number &&
        (tokens[at - 1].kind == Kind::number || tokens[at - 1].kind == Kind::word))
      return nullptr;
    at += times;
    ExpressionPtr right = times ? signedFactor() : power();
    if (!right)
      return nullptr;
    e = node(divide ? E::divide : E::multiply, "", std::move(e), std::move(right));
  }
  return e;
}

ExpressionPtr Parser::signedFactor() {
  if (++depth > kMaxDepth)
    return nullptr;
  ExpressionPtr e;
  if (skipOp("-")) {
    e = signedFactor();
    e = e ? node(E::negate, "", std::move(e)) : nullptr;
  } else {
    e = skipOp("+") ? signedFactor() : power();
  }
  --depth;
  return e;
}

ExpressionPtr Parser::power() {
  ExpressionPtr e = atom();
  while (e) {
    if (isOp("!") && isOp("!", 1)) {
      at += 2;
      e = node(E::factorial, "!!", std::move(e));
    } else if (skipOp("!"))
      e = node(E::factorial, "", std::move(e));
    else if (skipOp("%"))
      e = node(E::percent, "", std::move(e));
    else if (skipOp("°")) {
      if (angles)
        e = inDegrees(std::move(e));
    } else if (skipOp("^")) {
      ExpressionPtr exponent = argument();
      std::vector<ExpressionPtr> tower;
      for (tower.push_back(std::move(exponent)); tower.back() && skipOp("^");) // 2^3^2 is 2^9
        tower.push_back(argument());
      if (!tower.back())
        return nullptr;
      for (; tower.size() > 1; tower.pop_back())
        tower[tower.size() - 2] =
            node(E::power, "", std::move(tower[tower.size() - 2]), std::move(tower.back()));
      e = node(E::power, "", std::move(e), std::move(tower[0]));
    } else
      break;
  }
  return e;
}

ExpressionPtr Parser::group(const char *open, const char *close) {
  if (!skipOp(open))
    return nullptr;
  int outer = bars;
  bars = 0;
  ExpressionPtr e = *open == '{' ? overOrChoose() : sum();
  bars = outer;
  return e && skipOp(close) ? std::move(e) : nullptr;
}

// What a command or ^ takes: a group, or one token.
ExpressionPtr Parser::argument() {
  if (++depth > kMaxDepth)
    return nullptr;
  ExpressionPtr e;
  if (isOp("{"))
    e = group("{", "}");
  else if (isOp("-")) { // 2^-1 is not LaTeX, but meant so
    ++at;
    e = argument();
    e = e ? node(E::negate, "", std::move(e)) : nullptr;
  } else if (at < end && tokens[at].kind == Kind::number) // of \log_3 \frac{1}{9}, no mixed number
    e = make(E::number, tokens[at++].text);
  else
    e = atom();
  --depth;
  return e;
}

std::string Parser::subscript() {
  if (!skipOp("_"))
    return {};
  std::string name = "_";
  if (!skipOp("{"))
    return at < end ? name + tokens[at++].text : name;
  for (int open = 1; at < end; ++at) {
    open += isOp("{") ? 1 : isOp("}") ? -1 : 0;
    if (open == 0) {
      ++at;
      break;
    }
    name += tokens[at].text;
  }
  return name;
}

// The number whose digits these are in the base of the subscript that follows; null if it is not
// one.
ExpressionPtr Parser::numberInBase(const std::string &digits) {
  int base = baseOf(subscript().substr(1));
  if (base < 2 || base > 36)
    return nullptr;
  constexpr __int128 most = static_cast<__int128>(1) << 100;
  __int128 sum = 0, scale = 1;
  bool point = false;
  for (char c : digits) {
    if (c == '.') {
      point = true;
      continue;
    }
    scale *= point ? base : 1;
    if (c - '0' >= base || sum > most || scale > most)
      return nullptr;
    sum = sum * base + (c - '0');
  }
  const auto value = multiply({sum, 1}, *inverse({scale, 1}));
  return value ? toExpression(*value) : nullptr;
}

// 2A_{16} and FF_{16}, where digits and capital letters stand side by side, the first of them at
// `at`; null, nothing read, for others.
ExpressionPtr Parser::lettersInBase() {
  std::string digits;
  size_t next = at;
  bool small = false; // letters, of base 16 alone
  for (; next < end && (next == at || !tokens[next].spaceBefore); ++next) {
    const Token &t = tokens[next];
    const bool letters = t.kind == Kind::letter || t.kind == Kind::word;
    if (t.kind == Kind::number
            ? t.text.find('.') != std::string::npos
            : !letters || t.text.find_first_not_of("ABCDEFabcdef") != std::string::npos)
      break;
    for (const char c : t.text) {
      small |= c >= 'a';
      digits += c >= 'a' ? static_cast<char>(c - 'a' + 'A') : c;
    }
  }
  const size_t start = at;
  at = next;
  if (next == start || digits.size() < 2 || digits.size() > 20 || !isOp("_") ||
      digits.find_first_not_of("0123456789") == std::string::npos) {
    at = start;
    return nullptr;
  }
  const int base = baseOf(subscript().substr(1));
  if (small && (base != 16 || digits[0] > '9')) { // ab_{16} is a product
    at = start;
    return nullptr;
  }
  Rational sum;
  for (const char c : digits) {
    const int digit = c <= '9' ? c - '0' : c - 'A' + 10;
    if (base < 11 || base > 16 || digit >= base) {
      at = start;
      return nullptr;
    }
    sum.numerator = sum.numerator * base + digit;
  }
  return toExpression(sum);
}

// Whether these digits are a fraction below one: 11 7/6 is no mixed number.
bool isProper(const std::string &above, const std::string &below) {
  auto digits = [](const std::string &number) {
    const size_t first = number.find_first_not_of('0');
    return first == std::string::npos ? std::string() : number.substr(first);
  };
  const std::string a = digits(above), b = digits(below);
  return a.size() != b.size() ? a.size() < b.size() : a < b;
}

// 1\frac{4}{5} and 3 1/2: an integer directly before a fraction of integers is added. Null where
// the fraction is not below one.
ExpressionPtr Parser::mixedFraction(ExpressionPtr whole) {
  if (whole->text.find('.') != std::string::npos)
    return whole;
  if (isCommand("frac")) {
    // Looked at before it is parsed: trying and going back would double the work at every level of
    // nesting.
    size_t i = at + 1;
    const Token *parts[2] = {nullptr, nullptr};
    for (const Token *&part : parts) {
      bool braces = i + 2 < end && isOp("{", i - at) && isOp("}", i + 2 - at);
      size_t number = i + braces;
      if (number >= end || tokens[number].kind != Kind::number)
        return whole;
      part = &tokens[number];
      i = number + 1 + braces;
    }
    if (!isProper(parts[0]->text, parts[1]->text))
      return nullptr;
    at = i;
    return node(
        E::add, "", std::move(whole),
        node(E::divide, "", make(E::number, parts[0]->text), make(E::number, parts[1]->text)));
  } else if (at + 2 < end && tokens[at].kind == Kind::number && tokens[at].spaceBefore &&
             isOp("/", 1) && tokens[at + 2].kind == Kind::number) {
    if (!isProper(tokens[at].text, tokens[at + 2].text))
      return nullptr;
    ExpressionPtr part =
        node(E::divide, "", make(E::number, tokens[at].text), make(E::number, tokens[at + 2].text));
    at += 3;
    return node(E::add, "", std::move(whole), std::move(part));
  }
  return whole;
}

ExpressionPtr Parser::function(const std::string &name) {
  ExpressionPtr exponent, base;
  for (int i = 0; i < 2; ++i) {
    if (skipOp("^") && !(exponent = argument()))
      return nullptr;
    if (name == "log" && skipOp("_") && !(base = argument()))
      return nullptr;
  }
  // \log_310, without anything behind it, is that of 10 to the base 3, as printed
  if (base && base->kind == E::number && base->text.size() > 1 && !startsFactor() && !isOp("-")) {
    ExpressionPtr of = make(E::number, base->text.substr(1));
    base->text.resize(1);
    return node(E::divide, "", node(E::function, "ln", std::move(of)),
                node(E::function, "ln", std::move(base)));
  }
  // The argument: a group in brackets, or factors up to the next operator: \sin 2x.
  bool takesAngle = name.size() == 3 && name != "log" && name != "exp";
  angles += takesAngle;
  ExpressionPtr x;
  if (isOp("(") || isOp("[") || isOp("{")) { // \sin(x)^2 is \sin^2 x
    x = atom();
    if (x && skipOp("°"))
      x = takesAngle ? inDegrees(std::move(x)) : std::move(x);
  } else {
    x = signedFactor();
    while (x && startsFactor() && !isOp("(") && tokens[at].kind != Kind::command &&
           tokens[at].kind != Kind::word) {
      ExpressionPtr next = power();
      x = next ? node(E::multiply, "", std::move(x), std::move(next)) : nullptr;
    }
  }
  angles -= takesAngle;
  if (!x)
    return nullptr;
  if (name == "cis")
    x = node(E::multiply, "", make(E::variable, "i"), std::move(x));
  ExpressionPtr e = node(E::function,
                         name == "log"   ? "ln"
                         : name == "cis" ? "exp"
                                         : name,
                         std::move(x));
  if (name == "log") // without a base: that of ten
    e = node(E::divide, "", std::move(e),
             node(E::function, "ln", base ? std::move(base) : make(E::number, "10")));
  if (!exponent)
    return e;
  if (exponent->kind == E::negate && exponent->kids[0]->kind == E::number &&
      exponent->kids[0]->text == "1" && kFunctions.count("arc" + name)) {
    e->text = "arc" + name; // \sin^{-1}
    return e;
  }
  return node(E::power, "", std::move(e), std::move(exponent));
}

// \gcd(12, 18), \max\{a, b\}, min(3, 5) after their names; null for others.
ExpressionPtr Parser::functionOfMany(const std::string &name) {
  const char *open = isOp("(") ? "(" : isOp("[") ? "[" : "\\{";
  const char *close = *open == '(' ? ")" : *open == '[' ? "]" : "\\}";
  if (!skipOp(open))
    return nullptr;
  int outer = bars;
  bars = 0;
  ExpressionPtr e = make(E::function, name);
  do {
    e->kids.push_back(sum());
    if (!e->kids.back() || e->kids.back()->kind == E::plusMinus)
      return nullptr;
  } while (skipOp(","));
  bars = outer;
  return e->kids.size() > 1 && skipOp(close) ? std::move(e) : nullptr;
}

// How many arrangements of k there are: n!/(n - k)!
ExpressionPtr arrangements(ExpressionPtr n, ExpressionPtr k) {
  ExpressionPtr rest = node(E::add, "", copyOf(*n), node(E::negate, "", std::move(k)));
  return node(E::divide, "", node(E::factorial, "", std::move(n)),
              node(E::factorial, "", std::move(rest)));
}

// C_{10}^{3}, and A_{5}^{2} of numbers, after the letter; null, nothing read, if it is another one
// with an index.
ExpressionPtr Parser::chosen(bool combinations) {
  size_t start = at++;
  ExpressionPtr n = argument();
  ExpressionPtr k = n && skipOp("^") ? argument() : nullptr;
  if (k && combinations)
    return node(E::binomial, "", std::move(n), std::move(k));
  const auto most = k ? exactValue(*n) : std::nullopt, of = most ? exactValue(*k) : std::nullopt;
  if (of && most->denominator == 1 && of->denominator == 1 && of->numerator > 0 &&
      of->numerator <= most->numerator)
    return arrangements(std::move(n), std::move(k));
  at = start;
  return nullptr;
}

// 10C3 and 5P2, as calculators write them, after the number; null, nothing read, for others.
ExpressionPtr Parser::chosenBetween(const std::string &n) {
  const bool letter = at + 1 < end && tokens[at].kind == Kind::letter && !tokens[at].spaceBefore &&
                      (tokens[at].text == "C" || tokens[at].text == "P") &&
                      tokens[at + 1].kind == Kind::number && !tokens[at + 1].spaceBefore;
  if (!letter || (n + tokens[at + 1].text).find('.') != std::string::npos)
    return nullptr;
  const bool combinations = tokens[at].text == "C";
  ExpressionPtr k = make(E::number, tokens[at + 1].text);
  at += 2;
  return combinations ? node(E::binomial, "", make(E::number, n), std::move(k))
                      : arrangements(make(E::number, n), std::move(k));
}

// Whether a name has this one within it, as a_k has k.
bool hasIndex(const Expression &e, const std::string &index) {
  const size_t subscript = e.kind == E::variable ? e.text.find('_') : std::string::npos;
  return (subscript != std::string::npos && e.text.find(index, subscript) != std::string::npos) ||
         std::any_of(e.kids.begin(), e.kids.end(),
                     [&](const ExpressionPtr &kid) { return hasIndex(*kid, index); });
}

// \sum_{i=1}^{10} i^2 and \prod after their names. With bounds that are numbers they are written
// out; others are a function of their bounds and of what they add, whose index has no name where
// that is possible. Null where they would be too long.
ExpressionPtr Parser::series(bool sum) {
  constexpr size_t longest = 200, largest = 4000; // terms, nodes of all terms
  const std::string name = tokens[at + 2].text;
  at += 4;
  ExpressionPtr from = this->sum();
  if (!from || !skipOp("}") || !skipOp("^"))
    return nullptr;
  ExpressionPtr to = argument();
  if (!to)
    return nullptr;
  auto first = exactValue(*from), last = exactValue(*to);
  const bool numbers = first && last && first->denominator == 1 && last->denominator == 1;
  if (numbers && (first->numerator > last->numerator ||
                  last->numerator - first->numerator >= static_cast<__int128>(longest)))
    return nullptr;
  ExpressionPtr body = product(), all;
  if (!body)
    return nullptr;
  if (!numbers) {
    if (hasPlusMinus(*from) || hasPlusMinus(*to) || hasPlusMinus(*body))
      return nullptr;
    std::string kind = sum ? "sum" : "prod";
    if (hasIndex(*body, name))
      kind += " " + name;
    else
      body = substitute(*body, name, *make(E::variable, "index"));
    return node(E::function, kind, std::move(from), std::move(to), std::move(body));
  }
  const size_t nodes = nodesOf(*body) * size_t(last->numerator - first->numerator + 1);
  if (nodes > largest || !spend(4 * nodes))
    return nullptr;
  for (Rational i = *first; i.numerator <= last->numerator; ++i.numerator) {
    ExpressionPtr term = substitute(*body, name, *toExpression(i));
    all = all ? node(sum ? E::add : E::multiply, "", std::move(all), std::move(term))
              : std::move(term);
  }
  return all;
}

ExpressionPtr Parser::atom() {
  if (at >= end || ++depth > kMaxDepth)
    return nullptr;
  struct Leave {
    int &depth;
    ~Leave() { --depth; }
  } leave{depth};
  // By value: a number is cut when a command takes one digit of it.
  Token t = tokens[at];
  if (t.kind == Kind::number || t.kind == Kind::letter || t.kind == Kind::word)
    if (ExpressionPtr number = lettersInBase())
      return number;
  switch (t.kind) {
  case Kind::number:
    ++at;
    if (isOp("_"))
      return numberInBase(t.text);
    if (ExpressionPtr choices = chosenBetween(t.text))
      return choices;
    return mixedFraction(make(E::number, t.text));
  case Kind::letter:
    ++at;
    if ((t.text == "C" || t.text == "A" || t.text == "P") && isOp("_"))
      if (ExpressionPtr choices = chosen(t.text == "C"))
        return choices;
    if (t.text == "\\angle" || t.text == "\\triangle") { // no product: ABC is not ACB
      const size_t braced = isOp("{") && isOp("}", 2), name = at + braced;
      if (name < end && tokens[name].kind == Kind::word) {
        at = name + 1 + braced;
        return make(E::variable, t.text + tokens[name].text);
      }
    }
    return make(E::variable, t.text + subscript());
  case Kind::word: {
    auto function = kFunctions.find(t.text);
    if (function != kFunctions.end()) {
      ++at;
      return this->function(function->second);
    }
    if (kOfMany.count(t.text)) {
      ++at;
      return functionOfMany(t.text);
    }
    if (t.text == "sqrt" || t.text == "cbrt") {
      ++at;
      ExpressionPtr x = atom();
      if (!x || t.text == "sqrt")
        return x ? node(E::root, "", std::move(x)) : nullptr;
      return node(E::root, "", std::move(x), make(E::number, "3"));
    }
    if (t.text == "abs" && isOp("(", 1)) {
      ++at;
      ExpressionPtr x = atom();
      return x ? node(E::absolute, "", std::move(x)) : nullptr;
    }
    auto constant = kWordConstants.find(t.text);
    if (constant != kWordConstants.end()) {
      ++at;
      return make(E::variable, constant->second);
    }
    if (isProse(t.text)) // not a product of variables
      return nullptr;
    ++at;
    ExpressionPtr e;
    for (char c : t.text) {
      ExpressionPtr letter = make(E::variable, std::string(1, c));
      e = e ? node(E::multiply, "", std::move(e), std::move(letter)) : std::move(letter);
    }
    if (isOp("_")) // of the last letter
      (e->kids.empty() ? *e : *e->kids[1]).text += subscript();
    if (isOp("^")) { // only the last letter is raised
      ++at;
      ExpressionPtr exponent = argument();
      if (!exponent || e->kids.empty())
        return exponent && e ? node(E::power, "", std::move(e), std::move(exponent)) : nullptr;
      e->kids[1] = node(E::power, "", std::move(e->kids[1]), std::move(exponent));
    }
    return e;
  }
  case Kind::command: {
    ++at;
    auto function = kFunctions.find(t.text);
    if (function != kFunctions.end())
      return this->function(function->second);
    if (kOfMany.count(t.text))
      return functionOfMany(t.text);
    if (t.text == "frac" || t.text == "binom") {
      ExpressionPtr top = argument(), bottom = top ? argument() : nullptr;
      return bottom ? node(t.text == "frac" ? E::divide : E::binomial, "", std::move(top),
                           std::move(bottom))
                    : nullptr;
    }
    if (t.text == "sqrt") {
      ExpressionPtr degree;
      if (isOp("[") && !(degree = group("[", "]")))
        return nullptr;
      ExpressionPtr x = argument();
      if (!x)
        return nullptr;
      return degree ? node(E::root, "", std::move(x), std::move(degree))
                    : node(E::root, "", std::move(x));
    }
    if (t.text == "sum" || t.text == "prod") {
      // Others are null and not read a second time as products: that would double the work at every
      // level of nesting.
      if (isOp("_") && isOp("{", 1) && at + 3 < end && tokens[at + 2].kind == Kind::letter &&
          isOp("=", 3))
        return series(t.text == "sum");
      return make(E::variable, "\\" + t.text + subscript());
    }
    if (t.text == "lfloor" || t.text == "lceil") {
      ExpressionPtr x = sum();
      const char *close = t.text == "lfloor" ? "rfloor" : "rceil";
      return x && isCommand(close) ? (++at, node(E::function, t.text.substr(1), std::move(x)))
                                   : nullptr;
    }
    if (t.text == "boxed" || t.text == "fbox")
      return argument();
    if (t.text == "abs") { // \abs{x}, \operatorname{abs}(x)
      ExpressionPtr x = argument();
      return x ? node(E::absolute, "", std::move(x)) : nullptr;
    }
    if (t.text == "overline") { // of a number; of letters it is a name
      // In 5\overline{3} digits are repeated.
      const bool behindNumber = at > 1 && tokens[at - 2].kind == Kind::number;
      ExpressionPtr x = argument();
      if (!x || hasVariables(*x) || (behindNumber && x->kind == E::number))
        return nullptr;
      return node(E::function, "conj", std::move(x));
    }
    return nullptr;
  }
  case Kind::op:
    // {}_{10}C_3 and ^{10}C_3, and P for arrangements
    if (isOp("{") && isOp("}", 1) && (isOp("_", 2) || isOp("^", 2)))
      at += 2;
    if (isOp("_") || isOp("^")) {
      ++at;
      // {}_nC_k
      const bool joined = at < end && tokens[at].kind == Kind::word && tokens[at].text.size() == 2;
      ExpressionPtr n = joined ? make(E::variable, tokens[at].text.substr(0, 1)) : argument();
      const std::string sign = at < end ? tokens[at].text.substr(joined ? 1 : 0) : std::string();
      const bool choose = sign == "C";
      if (!n || !(choose || sign == "P") || !isOp("_", 1))
        return nullptr;
      at += 2;
      ExpressionPtr k = argument();
      if (!k || choose)
        return k ? node(E::binomial, "", std::move(n), std::move(k)) : nullptr;
      return arrangements(std::move(n), std::move(k));
    }
    if (t.text == "(") {
      size_t close = at + 2;
      // (204)_5
      if (close + 1 < end && tokens[at + 1].kind == Kind::number && isOp(")", 2) && isOp("_", 3)) {
        at = close + 1;
        return numberInBase(tokens[close - 1].text);
      }
      return group("(", ")");
    }
    if (t.text == "[")
      return group("[", "]");
    if (t.text == "{")
      return group("{", "}");
    if ((t.text == "|" || t.text == "‖") && bars == 0) {
      ++at;
      bars = 1;
      ExpressionPtr x = sum();
      bars = 0;
      if (!x || !skipOp(t.text.c_str()))
        return nullptr;
      return t.text == "|" || !hasVariables(*x) ? node(E::absolute, "", std::move(x))
                                                : node(E::function, "norm", std::move(x));
    }
    return nullptr;
  case Kind::text:
    return nullptr;
  }
  return nullptr;
}

// \frac and \binom take single digits of a bare number, and single letters: they become tokens of
// their own. \sqrt13 and x^10 mean the whole number to those who write them, whatever TeX makes of
// them.
void splitDigits(const std::vector<Token> &tokens, size_t begin, size_t end,
                 std::vector<Token> &out) {
  int single = 0; // arguments still to come
  using Kind = Token::Kind;
  for (size_t i = begin; i < end; ++i) {
    const Token &t = tokens[i];
    if (single && (t.kind == Kind::number || t.kind == Kind::word) && t.text.size() > 1) {
      Kind one = t.kind == Kind::number ? Kind::number : Kind::letter;
      size_t k = 0;
      while (k < t.text.size() && single) {
        out.push_back({one, t.text.substr(k++, 1), false});
        --single;
      }
      if (k < t.text.size())
        out.push_back({k + 1 == t.text.size() ? one : t.kind, t.text.substr(k), false});
      continue;
    }
    // e^xe^y: only the first letter is raised
    const bool raised = i > begin && tokens[i - 1].kind == Kind::op && tokens[i - 1].text == "^" &&
                        t.kind == Kind::word && !isProse(t.text) && !kWordConstants.count(t.text) &&
                        !kFunctions.count(t.text);
    if (raised) {
      out.push_back({Kind::letter, t.text.substr(0, 1)});
      out.push_back({t.text.size() == 2 ? Kind::letter : Kind::word, t.text.substr(1)});
      continue;
    }
    out.push_back(t);
    if (t.kind == Kind::command && (t.text == "frac" || t.text == "binom"))
      single = 2;
    else if (single && t.kind == Kind::op && t.text == "{") { // a group is one argument
      int depth = 1;
      size_t first = i + 1;
      while (++i < end && depth)
        depth += tokens[i].kind != Kind::op ? 0
                 : tokens[i].text == "{"    ? 1
                 : tokens[i].text == "}"    ? -1
                                            : 0;
      splitDigits(tokens, first, i, out);
      --i;
      --single;
    } else if (single)
      --single;
  }
}

} // namespace

ExpressionPtr parseExpression(const std::vector<Token> &tokens, size_t begin, size_t end) {
  if (begin >= end || end - begin > 2000)
    return nullptr;
  std::vector<Token> split;
  splitDigits(tokens, begin, end, split);
  return Parser(split, 0, split.size()).run();
}

} // namespace m1rt::vote
