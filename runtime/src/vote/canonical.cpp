// The canonical form of values, and its key.
#include "vote/intervals.h"
#include "vote/letters.h"
#include "vote/relations.h"
#include "vote/wording.h"

#include <algorithm>
#include <array>
#include <map>

namespace m1rt::vote {
namespace {

using Kind = Value::Kind;
using E = Expression::Kind;
using ValuePtr = std::shared_ptr<const Value>;

ExpressionPtr minus(ExpressionPtr a, ExpressionPtr b) {
  return node(E::add, std::move(a), node(E::negate, std::move(b)));
}

std::string keyOf(const Value &v);

// The value with its key.
ValuePtr keyed(const ValuePtr &value) {
  if (!value->key.empty())
    return value;
  auto v = std::make_shared<Value>(*value);
  v->key = keyOf(*v);
  return v;
}

bool isVowel(char c) { return std::string("aeiou").find(c) != std::string::npos; }

// Letters that are a word and no product of variables: short ones that answer questions, Roman
// numbers, three capitals (SAS is not SSA), names (Tim), and three letters with a vowel between two
// consonants (cat is not act), but for those in the order in which factors are written (bay).
bool isShortWord(const std::string &letters) {
  static const std::set<std::string> words = {"no",  "yes", "on",  "off", "odd", "all", "one",
                                              "two", "six", "ten", "red", "day", "sun", "mon",
                                              "tue", "wed", "thu", "fri", "sat", "dne"};
  auto isCapital = [](char c) { return c >= 'A' && c <= 'Z'; };
  if (letters.size() > 1 && letters.find_first_not_of("IVX") == std::string::npos) // IV is not VI
    return true;
  const size_t capitals =
      static_cast<size_t>(std::count_if(letters.begin(), letters.end(), isCapital));
  if (words.count(lowerCase(letters)))
    return true;
  if (letters.size() < 3 || capitals > 1)
    return letters.size() == 3 && capitals == 3;
  if (capitals == 1)
    return isCapital(letters[0]);
  return letters.size() == 3 && !isVowel(letters[0]) && isVowel(letters[1]) &&
         !isVowel(letters[2]) &&
         (std::string("eou").find(letters[1]) != std::string::npos ||
          !std::is_sorted(letters.begin(), letters.end()));
}

// One wording of those that say the same: "there are no solutions", "no solution exists".
std::string usualWording(std::string text) {
  auto begins = [&](const char *with) { return text.rfind(with, 0) == 0; };
  auto dropEnd = [&](const std::string &end) {
    const bool ends =
        text.size() > end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
    if (ends)
      text.resize(text.size() - end.size());
    return ends;
  };
  for (const char *lead :
       {"thereisno", "thereareno", "theequationhasno", "thesystemhasno", "hasno"})
    if (begins(lead))
      text = "no" + text.substr(std::string(lead).size());
  if (begins("no") && text.size() > 2 && text.find("sol") != std::string::npos) {
    (void)(dropEnd("exists") || dropEnd("exist"));
    if (text.find("solutions") == text.size() - 9)
      text.pop_back();
  }
  constexpr size_t longest = 100;
  if (!text.empty() && text.size() < longest && isDigit(text[0])) // 3 hours and 20 minutes
    for (size_t at = text.find("and", 1); at != std::string::npos; at = text.find("and", at + 1))
      if (isLetter(text[at - 1]) && at + 3 < text.size() && isDigit(text[at + 3]))
        text.erase(at, 3);
  for (const char *subject : {"series", "integral", "sequence"}) // the series is divergent
    if (begins(subject) && text.find("verge") != std::string::npos)
      text.erase(0, std::string(subject).size());
  for (const char *adjective : {"divergent", "convergent"})
    if (text == adjective || text == std::string("is") + adjective)
      text = adjective[0] == 'd' ? "diverges" : "converges";
  if (begins("infinitelymany"))
    (void)dropEnd("solutions");
  for (const char *ending : {"st", "nd", "rd", "th"}) // January 5th
    if (text.size() > 3 && text[text.size() - 3] >= '0' && text[text.size() - 3] <= '9')
      (void)dropEnd(ending);
  if ((begins("on") || begins("in")) && (isWeekday(text.substr(2)) || isMonth(text.substr(2))))
    text.erase(0, 2);
  if (begins("the") || begins("limit"))
    for (const char *said : {"limitdoesnotexist", "thelimitdoesnotexist"})
      if (text == said)
        text = "doesnotexist";
  return text == "doesnotexist" ? "dne" : text;
}

// The set that words name, in LaTeX: "all real numbers", "any positive integer", "no solution".
// Null for others.
const char *namedSet(std::string text) {
  static const std::map<std::string, const char *> sets = {
      {"realnumbers", "\\mathbb{R}"},
      {"reals", "\\mathbb{R}"},
      {"positiverealnumbers", "(0,\\infty)"},
      {"positivereals", "(0,\\infty)"},
      {"nonnegativerealnumbers", "[0,\\infty)"},
      {"nonnegativereals", "[0,\\infty)"},
      {"negativerealnumbers", "(-\\infty,0)"},
      {"negativereals", "(-\\infty,0)"},
      {"integers", "\\mathbb{Z}"},
      {"positiveintegers", "\\mathbb{Z}^{+}"},
      {"naturalnumbers", "\\mathbb{N}"},
      {"rationalnumbers", "\\mathbb{Q}"},
      {"complexnumbers", "\\mathbb{C}"},
      {"emptyset", "\\varnothing"},
      {"nullset", "\\varnothing"},
      {"nosolution", "\\varnothing"}};
  auto drop = [&](const std::string &lead) {
    const bool found = text.rfind(lead, 0) == 0 && text.size() > lead.size();
    text.erase(0, found ? lead.size() : 0);
    return found;
  };
  text.erase(std::remove(text.begin(), text.end(), '-'), text.end()); // non-negative
  (void)(drop("xcanbe") || drop("xis"));
  (void)(drop("thesetof") || drop("setof") || drop("the"));
  const bool all = drop("all") || drop("any") || drop("every");
  if (all)
    for (const char *argument : {"valuesofx", "x"}) // all real x
      if (text == std::string("real") + argument || text == std::string("realnumbers") + argument)
        text = "reals";
  auto set = sets.find(text);
  if (set == sets.end() && all)
    set = sets.find(text + "s");
  return set == sets.end() ? nullptr : set->second;
}

// In lower case; the name of a small number is the number, and so is that of its place.
ValuePtr word(const std::string &text) {
  static const std::array<const char *, 13> numbers = {"zero", "one",    "two",   "three", "four",
                                                       "five", "six",    "seven", "eight", "nine",
                                                       "ten",  "eleven", "twelve"};
  auto v = std::make_shared<Value>();
  v->text = usualWording(lowerCase(text));
  if (const char *set = namedSet(v->text))
    return canonical(readAnswer(set));
  if (v->text == "infinity")
    return canonical(readAnswer("\\infty"));
  static const std::array<const char *, 13> places = {
      "zeroth",  "first",  "second", "third", "fourth",   "fifth",  "sixth",
      "seventh", "eighth", "ninth",  "tenth", "eleventh", "twelfth"};
  for (size_t n = 0; n < numbers.size(); ++n)
    if (v->text == numbers[n] || v->text == places[n]) // third is what 3rd is
      return expressionValue(toExpression({static_cast<__int128>(n), 1}));
  return v;
}

// \text{C} and \text{xy} are what C and xy are; other words are compared without case.
ValuePtr canonicalText(const Value &value) {
  const std::string &text = value.text;
  bool letters = !text.empty() && std::all_of(text.begin(), text.end(), isLetter);
  if (letters && !isShortWord(text)) {
    std::vector<Token> tokens = {
        {text.size() == 1 ? Token::Kind::letter : Token::Kind::word, text}};
    if (ExpressionPtr e = parseExpression(tokens, 0, 1))
      return expressionValue(std::move(e));
  }
  return word(text);
}

// Whether two expressions are both zero for one value of one of their variables, as far as small
// values and those that a linear one has can tell: y may be anything where xy = x^2 has x = 0.
bool shareRoot(const Expression &a, const Expression &b) {
  const ExpressionPtr zero = toExpression({0, 1});
  if (agree(b, *zero))
    return true;
  std::set<std::string> names;
  collectVariables(a, names);
  std::vector<Rational> roots = {{0, 1}, {1, 1}, {-1, 1}, {2, 1}, {-2, 1}, {3, 1}, {-3, 1}};
  if (const auto form = names.size() == 1 ? linearForm(a) : std::nullopt)
    if (const auto by = inverse(form->slope))
      if (const auto root = multiply({-form->constant.numerator, form->constant.denominator}, *by))
        roots = {*root};
  const size_t cost = nodesOf(a) + nodesOf(b);
  for (const std::string &name : names)
    for (const Rational &root : roots) {
      if (!spend(cost))
        return true;
      auto isZero = [&](const Expression &e) {
        return agree(*substitute(e, name, *toExpression(root)), *zero);
      };
      if (isZero(a) && isZero(b))
        return true;
    }
  return false;
}

// What left = right says of a variable in which it is linear; null if it is not.
ExpressionPtr solved(const Expression &difference, const std::string &variable) {
  auto at = [&](const Rational &point) {
    return substitute(difference, variable, *toExpression(point));
  };
  auto slope = [&] { return minus(at({1, 1}), at({0, 1})); };
  // No other low polynomial is on the line at all of these, nor is |x|, or x rounded.
  for (const Rational point : {Rational{2, 1}, {5, 1}, {-3, 1}, {9, 4}}) {
    ExpressionPtr line = node(E::add, at({0, 1}), node(E::multiply, toExpression(point), slope()));
    if (!agree(*at(point), *line))
      return nullptr;
  }
  if (agree(*slope(), *toExpression({0, 1})))
    return nullptr;
  if (hasVariables(*slope()) && !agree(*slope(), *toExpression({1, 1})) &&
      shareRoot(*slope(), *at({0, 1})))
    return nullptr;
  return node(E::negate, node(E::divide, at({0, 1}), slope()));
}

std::set<std::string> variablesOf(const Expression &e) {
  std::set<std::string> names;
  collectVariables(e, names);
  return names;
}

// Of a sum: whether it is a line's or a plane's, as that of x + y = 7.
bool isLine(const Value &left) {
  const std::set<std::string> names = variablesOf(*left.expression);
  return names.count("x") + names.count("y") + names.count("z") > 1;
}

// x = 5 says 5, y - 2x = 3 says 2x + 3; what is not linear in any variable stays an equation. Where
// it names y or is no definition, it is solved for y, for z, or for the first other variable that
// can be; hence y = 2x and x = y/2 are the same. y = 5 is a line and no other than x = 5: as that
// says 5, y = 5 does not.
ValuePtr canonicalEquation(const Value &value) {
  ValuePtr left = canonical(value.items[0]), right = canonical(value.items[1]);
  auto line = [](ValuePtr height) {
    auto v = std::make_shared<Value>();
    v->kind = Kind::equation;
    v->named = true;
    v->items = {std::move(height)};
    return v;
  };
  const bool expressions = left->kind == Kind::expression && right->kind == Kind::expression;
  const auto isPower = [](const ValuePtr &v) { // of a matrix
    return v->kind == Kind::expression && v->expression->kind == E::power &&
           isVariable(*v->expression->kids[0]) && v->expression->kids[0]->text.size() == 1 &&
           v->expression->kids[0]->text[0] >= 'A' && v->expression->kids[0]->text[0] <= 'Z';
  };
  if (!expressions && (value.named || (right->kind == Kind::matrix && isPower(left))))
    return right;
  if (expressions) {
    const bool constant = !hasVariables(*right->expression);
    // m + n = 7 names a sum; a + b = c says something of three quantities.
    const bool sum = left->expression->kind == E::add;
    const bool named = value.named && !(sum && (!constant || isLine(*left)));
    if (named && constant)
      return isVariable(*left->expression) && left->expression->text == "y" ? line(right) : right;
    if (named && left->expression->kind == E::multiply) // y(x)
      return right;
    ExpressionPtr difference = minus(copyOf(*left->expression), copyOf(*right->expression));
    std::set<std::string> variables = variablesOf(*difference);
    const bool onlyY = variables.size() == 1 && variables.count("y");
    for (const char *first : {"y", "z"}) {
      if (named && *first == 'z')
        break;
      if (variables.erase(first))
        if (ExpressionPtr e = solved(*difference, first))
          return onlyY ? line(keyed(expressionValue(std::move(e)))) : expressionValue(std::move(e));
    }
    if (named)
      return right;
    for (const std::string &variable : variables)
      if (ExpressionPtr e = solved(*difference, variable))
        return expressionValue(std::move(e));
  }
  auto v = std::make_shared<Value>(value);
  v->named = false;
  v->items = {left, right};
  return v;
}

// \pi/6 + 2n\pi and (-1)^n \pi/6 + n\pi with k for n, as for m: a letter for all integers, where it
// counts turns. Null for others.
ExpressionPtr withUsualInteger(const Expression &e) {
  const std::set<std::string> names = variablesOf(e);
  if (names.size() != 1 || (*names.begin() != "n" && *names.begin() != "m"))
    return nullptr;
  const std::string &name = *names.begin();
  auto at = [&](__int128 n) { return substitute(e, name, *toExpression({n, 1})); };
  const ExpressionPtr turn = minus(at(2), at(0)),
                      withoutPi = substitute(*turn, "\\pi", *toExpression({1, 1}));
  const auto turns = exactValue(*withoutPi);
  if (!turns || turns->numerator == 0)
    return nullptr;
  auto pi = std::make_unique<Expression>();
  pi->kind = E::variable;
  pi->text = "\\pi";
  const ExpressionPtr multiple = node(E::multiply, toExpression(*turns), std::move(pi));
  if (!agree(*turn, *multiple) || !agree(*minus(at(9), at(7)), *multiple) ||
      !agree(*minus(at(3), at(1)), *multiple) ||
      !agree(*minus(at(6), at(2)), *node(E::add, copyOf(*multiple), copyOf(*multiple))))
    return nullptr;
  auto k = std::make_unique<Expression>();
  k->kind = E::variable;
  k->text = "k";
  return substitute(e, name, *k);
}

// x^3 + C for x^3 + c, and C_1 e^x for c_1 e^x: constants of integration. Null for others.
ExpressionPtr withUsualConstant(const Expression &e) {
  const std::set<std::string> names = variablesOf(e);
  static const std::set<std::string> arguments = {"x", "t", "u", "y", "\\theta"};
  auto named = [](const std::string &name) {
    auto constant = std::make_unique<Expression>();
    constant->kind = E::variable;
    constant->text = name;
    return constant;
  };
  if (names.count("c_1") && !names.count("C_1") && (names.count("x") || names.count("t"))) {
    ExpressionPtr all = substitute(e, "c_1", *named("C_1"));
    return names.count("c_2") && !names.count("C_2") ? substitute(*all, "c_2", *named("C_2"))
                                                     : std::move(all);
  }
  if (names.size() != 2 || !(names.count("c") || names.count("K")) ||
      std::none_of(names.begin(), names.end(), [](auto &name) { return arguments.count(name); }))
    return nullptr;
  const std::string name = names.count("c") ? "c" : "K";
  ExpressionPtr C = named("C");
  const ExpressionPtr none = substitute(e, name, *toExpression({0, 1}));
  ExpressionPtr sum = substitute(e, name, *C);
  return agree(*sum, *node(E::add, copyOf(*none), std::move(C))) ? std::move(sum) : nullptr;
}

bool isHorizontal(const Value &v) { return v.kind == Kind::equation && v.named; }

// Lists, sets and unions without the order and the repetitions of their items, and without unions
// and x = ±1 within them. y = 1 or y = 2 says 1, 2, as x = 1 or x = 2 does.
ValuePtr canonicalSet(const Value &value) {
  auto v = std::make_shared<Value>();
  v->kind = Kind::set;
  for (const ValuePtr &item : value.items) {
    ValuePtr c = canonical(item);
    const bool splice = c->kind == Kind::set && (item->kind != Kind::set || value.text == "∪");
    if (splice)
      v->items.insert(v->items.end(), c->items.begin(), c->items.end());
    else
      v->items.push_back(value.kind == Kind::list && isHorizontal(*c) ? c->items[0] : c);
  }
  // [1, 2] ∪ (2, 3) is [1, 3); of points in a list nothing is joined.
  const bool intervals =
      std::any_of(v->items.begin(), v->items.end(),
                  [](const ValuePtr &item) { return item->kind == Kind::tuple; }) &&
      (value.text == "∪" || std::all_of(value.items.begin(), value.items.end(),
                                        [](const ValuePtr &item) { return !item->of.empty(); }));
  if (intervals)
    if (ValuePtr all = unionOf(v->items))
      return all;
  if (value.kind == Kind::list && !v->items.empty() && // "1/2 or 0.5" is one value, said twice
      std::all_of(v->items.begin(), v->items.end(), [&](const ValuePtr &item) {
        return !item->key.empty() && item->key == v->items[0]->key;
      }))
    return v->items[0];
  return v;
}

// left - right of an equation or a relation of expressions; null for others.
ExpressionPtr difference(const Value &equation) {
  for (const ValuePtr &side : equation.items)
    if (side->kind != Kind::expression)
      return nullptr;
  return minus(copyOf(*equation.items[0]->expression), copyOf(*equation.items[1]->expression));
}

// A ratio without common factors of its parts. What may be a time of day keeps its parts: 3:20 is
// not 6:40.
void reduceRatio(Value &ratio) {
  if (ratio.columns) // its second part has the two digits of minutes
    return;
  std::vector<ValuePtr> parts;
  for (const ValuePtr &item : ratio.items) {
    if (item->kind != Kind::expression || hasVariables(*item->expression))
      return;
    parts.push_back(keyed(expressionValue(
        node(E::divide, copyOf(*item->expression), copyOf(*ratio.items[0]->expression)))));
    if (parts.back()->key.empty())
      return;
  }
  ratio.items = std::move(parts);
}

ValuePtr uncheckedCanonical(const Value &value, const ValuePtr &shared) {
  switch (value.kind) {
  case Kind::text:
    return canonicalText(value);
  case Kind::expression:
    if (isShortWord(value.text))
      return word(value.text);
    for (const auto usual : {withUsualInteger, withUsualConstant})
      if (ExpressionPtr e = usual(*value.expression))
        return expressionValue(std::move(e));
    return shared;
  case Kind::equation:
    return canonicalEquation(value);
  case Kind::list:
  case Kind::set:
    return canonicalSet(value);
  case Kind::joined:
    if (value.text == "∪")
      return canonicalSet(value);
    break;
  case Kind::tuple:
  case Kind::matrix:
  case Kind::relation:
    break;
  }
  auto v = std::make_shared<Value>(value);
  for (ValuePtr &item : v->items)
    item = canonical(item);
  if (v->kind == Kind::joined && v->text == "∩") {
    const auto integers = std::find_if(v->items.begin(), v->items.end(), [](const ValuePtr &item) {
      return item->kind == Kind::expression && item->expression->text == "\\mathbbZ";
    });
    if (v->items.size() == 2 && integers != v->items.end()) // [0, 2] ∩ ℤ
      if (ValuePtr all = integersIn(v->items[integers == v->items.begin()]))
        return canonical(all);
    if (ValuePtr common = intersectionOf(v->items))
      return common;
  }
  if (v->kind == Kind::tuple && v->open == "∖")
    if (ValuePtr rest = differenceOf(v->items))
      return rest;
  if (v->kind == Kind::tuple && v->open == ":")
    reduceRatio(*v);
  if (v->kind == Kind::matrix && v->items.size() == 1)
    return v->items[0];
  if (v->kind == Kind::matrix && v->columns == 1) { // a column is a vector
    v->kind = Kind::tuple;
    v->columns = 0;
    v->open = "(";
    v->close = ")";
  }
  return v;
}

// The key of a canonical value whose items have theirs; "" if it has none. Each kind begins with a
// letter of its own, and the keys of items are led by their length, so that no two forms are
// confused.
std::string keyOf(const Value &v) {
  std::vector<std::string> keys;
  for (const ValuePtr &item : v.items) {
    if (item->key.empty())
      return {};
    keys.push_back(std::to_string(item->key.size()) + ":" + item->key);
  }
  if (v.kind == Kind::set || v.kind == Kind::joined) {
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  }
  std::string all;
  for (const std::string &key : keys)
    all += key;
  switch (v.kind) {
  case Kind::text:
    return v.text.empty() ? std::string() : "T" + v.text;
  case Kind::expression: {
    auto key = valueKey(*v.expression);
    return key ? "E" + *key : std::string();
  }
  case Kind::equation:
    if (!v.named)
      if (ExpressionPtr e = difference(v))
        if (auto key = ratioKey(*e, true))
          return "Q" + *key;
    return (v.named ? "Y" : "P") + all;
  case Kind::list: // canonical ones are sets
  case Kind::set:
    return "S" + all;
  case Kind::tuple:
    return "B" + v.open + v.close + all;
  case Kind::joined:
    return "J" + (v.text == "=" ? v.text : std::string()) + all;
  case Kind::matrix:
    return "M" + std::to_string(v.columns) + ":" + all;
  case Kind::relation:
    if (ExpressionPtr e = difference(v))
      if (auto key = ratioKey(*e, v.text == "≠"))
        return "R" + v.text + *key;
    return "I" + v.text + all;
  }
  return {};
}

} // namespace

ValuePtr canonical(const ValuePtr &value) { return keyed(uncheckedCanonical(*value, value)); }

} // namespace m1rt::vote
