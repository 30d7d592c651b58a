// Conditions on integers: 0 < x < 3, x ∈ ℤ is {1, 2}.
#include "vote/reader.h"
#include "vote/relations.h"

#include <cmath>

namespace m1rt::vote {
namespace {

using Kind = Value::Kind;
using Integer = __int128;

constexpr Integer kMost = 200; // of a set that is written out

// x ∈ ℤ or one of its parts: past its end, and the least that x may be.
struct Membership {
  std::string name;
  size_t end = 0;
  std::optional<Integer> least;
};

// Past a part of numbers, the + of \mathbb{Z}^+ or {>0} of \mathbb{N}_{>0}, with what it says.
size_t partEnd(const Tokens &tokens, size_t at, std::string &part) {
  if (at + 1 >= tokens.size() || !(isOp(tokens[at], "^") || isOp(tokens[at], "_")))
    return at;
  const bool group = isOp(tokens[++at], "{");
  if (!group) {
    part = tokens[at].text;
    return at + 1;
  }
  for (++at; at < tokens.size() && !isOp(tokens[at], "}"); ++at)
    part += tokens[at].text;
  return std::min(at + 1, tokens.size());
}

std::optional<Membership> membershipAt(const Tokens &tokens, size_t at) {
  if (at + 2 >= tokens.size() || tokens[at].kind != Token::Kind::letter ||
      !isOp(tokens[at + 1], "∈"))
    return std::nullopt;
  const std::string &numbers = tokens[at + 2].text;
  if (numbers != "\\mathbbZ" && numbers != "\\mathbbN")
    return std::nullopt;
  std::string part;
  const size_t end = partEnd(tokens, at + 3, part);
  Membership all{tokens[at].text, end, std::nullopt};
  if (part == "+" || part == ">0" || part == "≥1" || (part == "*" && numbers == "\\mathbbN"))
    all.least = 1;
  else if (part == "≥0" || part == "0")
    all.least = 0;
  else if (!part.empty() || numbers == "\\mathbbN") // ℕ may begin at 0 or at 1
    return std::nullopt;
  return all;
}

bool isOrder(const Token &t) {
  return isOp(t, "<") || isOp(t, ">") || isOp(t, "≤") || isOp(t, "≥");
}

bool leads(const Token &t) {
  static const std::set<std::string> words = {"where", "with",    "for",     "and",
                                              "all",   "integer", "integers"};
  return isOp(t, ",") || isOp(t, ";") || isOp(t, "(") || isOp(t, "∧") || consistsOf(t, words);
}

// The condition and the membership that its variable has, where an answer says both.
struct Condition {
  Tokens tokens;
  Membership of;
};
std::optional<Condition> conditionOf(Tokens tokens) {
  const bool set = tokens.size() > 6 && isOp(tokens[0], "\\{") && isOp(tokens.back(), "\\}");
  if (set) {
    tokens.erase(tokens.begin());
    tokens.pop_back();
    // \{x | 0 < x < 3, x ∈ ℤ\}
    if (tokens[0].kind == Token::Kind::letter && (isOp(tokens[1], "|") || isOp(tokens[1], ":")))
      tokens.erase(tokens.begin(), tokens.begin() + 2);
  }
  if (auto first = membershipAt(tokens, 0)) {
    size_t from = first->end;
    const bool bar = from < tokens.size() && (isOp(tokens[from], "|") || isOp(tokens[from], ":"));
    if (from >= tokens.size() || !(set && bar ? true : leads(tokens[from])))
      return std::nullopt;
    return Condition{{tokens.begin() + ptrdiff_t(from) + 1, tokens.end()}, *first};
  }
  size_t at = 1;
  while (at < tokens.size() && !membershipAt(tokens, at))
    ++at;
  if (at >= tokens.size() || !leads(tokens[at - 1]))
    return std::nullopt;
  const Membership last = *membershipAt(tokens, at);
  const bool bracket = isOp(tokens[at - 1], "(");
  if (last.end + bracket != tokens.size() || (bracket && !isOp(tokens.back(), ")")))
    return std::nullopt;
  while (at > 0 && leads(tokens[at - 1]))
    --at;
  return Condition{{tokens.begin(), tokens.begin() + ptrdiff_t(at)}, last};
}

// n ∈ ℕ, n ∈ ℤ⁺ or n ≥ 1 at `at`: what a sequence is of; its end, or `at` for others.
size_t indexEnd(const Tokens &tokens, size_t at, const std::string &index) {
  if (at + 2 >= tokens.size() || tokens[at].text != index)
    return at;
  const std::string &numbers = tokens[at + 2].text;
  if (isOp(tokens[at + 1], "≥"))
    return numbers == "0" || numbers == "1" ? at + 3 : at;
  std::string part;
  return isOp(tokens[at + 1], "∈") && (numbers == "\\mathbbN" || numbers == "\\mathbbZ")
             ? partEnd(tokens, at + 3, part)
             : at;
}

// The first integer within a bound, from below or above; nothing where nobody can tell.
std::optional<Integer> integerWithin(const Value &bound, bool open, bool below) {
  if (bound.kind != Kind::expression || hasVariables(*bound.expression))
    return std::nullopt;
  if (const auto exact = exactValue(*bound.expression)) {
    const Integer n = exact->numerator, d = exact->denominator;
    const Integer floor = n / d - (n % d < 0), whole = n % d == 0;
    return below ? (whole ? n / d + open : floor + 1) : (whole ? n / d - open : floor);
  }
  constexpr long double largest = 1e9L, near = 1e-9L;
  const Complex x = numericValue(*bound.expression, 0);
  if (x.imag() != 0 || !(std::fabs(x.real()) < largest) ||
      std::fabs(x.real() - std::round(x.real())) < near)
    return std::nullopt;
  return static_cast<Integer>(below ? std::ceil(x.real()) : std::floor(x.real()));
}

} // namespace

Tokens withUsualInteger(Tokens tokens) {
  static const std::set<std::string> one = {"integer"};
  std::string name;
  size_t from = 1;
  for (; name.empty() && from + 1 < tokens.size(); ++from) {
    const Token &t = tokens[from];
    const auto member = leads(tokens[from - 1]) ? membershipAt(tokens, from) : std::nullopt;
    const bool letter = t.kind == Token::Kind::letter && t.text.size() == 1;
    if ((member && !member->least) ||
        (letter && isWordToken(tokens[from + 1]) && hasOneOf(tokens[from + 1], one)))
      name = t.text;
  }
  if (name != "m" && name != "l" && name != "t") // n may be any number of the question
    return tokens;
  auto isNamed = [](const Token &t, const std::string &letter) {
    return (t.kind == Token::Kind::letter && t.text == letter) ||
           (t.kind == Token::Kind::word && t.text.find(letter) != std::string::npos);
  };
  auto count = [&](const std::string &letter, size_t end) {
    return std::count_if(tokens.begin(), tokens.begin() + ptrdiff_t(end),
                         [&](const Token &t) { return isNamed(t, letter); });
  };
  if (count("k", tokens.size()) > 0 || count("n", tokens.size()) > 0 ||
      count(name, from - 1) == 0 || isNamed(tokens[0], name))
    return tokens;
  for (Token &t : tokens)
    if (isNamed(t, name) && !isProseToken(t))
      std::replace(t.text.begin(), t.text.end(), name[0], 'k');
  return tokens;
}

Tokens withoutIndex(Tokens tokens) {
  size_t name = 1, equals = 0;
  while (equals < tokens.size() && !isOp(tokens[equals], "="))
    ++equals;
  const bool sequence = equals > 2 && equals + 3 < tokens.size() &&
                        tokens[0].kind == Token::Kind::letter &&
                        (isOp(tokens[1], "_") || isOp(tokens[1], "("));
  if (!sequence)
    return tokens;
  name += 1 + isOp(tokens[2], "{");
  const std::string index = tokens[name].text;
  if (tokens[name].kind != Token::Kind::letter ||
      (name + 1 != equals && !isOp(tokens[name + 1], "}") && !isOp(tokens[name + 1], ")")))
    return tokens;
  // for all positive integers n
  static const std::set<std::string> domains = {"for",      "all",      "any",     "every",
                                                "each",     "positive", "natural", "integer",
                                                "integers", "number",   "numbers"};
  size_t words = tokens.size();
  while (words > equals + 2 && (leads(tokens[words - 1]) || tokens[words - 1].text == index ||
                                consistsOf(tokens[words - 1], domains)))
    --words;
  static const std::set<std::string> counting = {"positive", "natural"};
  if (words + 2 <= tokens.size() && tokens.back().text == index &&
      std::any_of(tokens.begin() + ptrdiff_t(words), tokens.end(),
                  [](const Token &t) { return hasOneOf(t, counting); }))
    tokens.resize(words + (tokens[words].text == index));
  for (size_t at = equals + 2; at + 2 < tokens.size(); ++at) {
    const size_t end = leads(tokens[at - 1]) ? indexEnd(tokens, at, index) : at;
    const bool bracket = isOp(tokens[at - 1], "(");
    if (end == at || end + bracket != tokens.size() || (bracket && !isOp(tokens[end], ")")))
      continue;
    while (leads(tokens[at - 1]))
      --at;
    tokens.resize(at);
  }
  return tokens;
}

ValuePtr Reader::readIntegers(const Tokens &all) {
  const auto condition = conditionOf(all);
  if (!condition || std::none_of(condition->tokens.begin(), condition->tokens.end(), isOrder))
    return nullptr;
  Reader inner(latex);
  inner.tokens = withoutRemarks(condition->tokens);
  const ValuePtr read = inner.tokens.empty() ? nullptr : inner.read(0, inner.tokens.size(), 0);
  if (!read || read->of != condition->of.name)
    return nullptr;
  ValuePtr range = canonical(read);
  if (condition->of.least) {
    auto both = std::make_shared<Value>();
    both->kind = Kind::joined;
    both->text = "∩";
    both->items = {range, interval("[", rational({*condition->of.least, 1}), infinity(false), ")")};
    range = canonical(both);
  }
  return integersIn(range);
}

ValuePtr integersIn(const ValuePtr &range) {
  auto numbers = std::make_shared<Value>();
  numbers->kind = Kind::set;
  const std::vector<ValuePtr> pieces =
      range->kind == Kind::set ? range->items : std::vector<ValuePtr>{range};
  for (const ValuePtr &piece : pieces) {
    if (piece->kind == Kind::expression) {
      const auto exact = exactValue(*piece->expression);
      if (!exact || exact->denominator == 1)
        numbers->items.push_back(piece);
      continue;
    }
    if (piece->kind != Kind::tuple || piece->items.size() != 2)
      return nullptr;
    const auto low = integerWithin(*piece->items[0], piece->open == "(", true),
               high = integerWithin(*piece->items[1], piece->close == ")", false);
    if (!low || !high || *high - *low > kMost)
      return nullptr;
    for (Integer n = *low; n <= *high; ++n)
      numbers->items.push_back(rational({n, 1}));
  }
  return numbers;
}

} // namespace m1rt::vote
