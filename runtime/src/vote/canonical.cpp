// The canonical form of values, and its key.
#include "vote/value.h"

#include <algorithm>

namespace m1rt::vote {
namespace {

using Kind = Value::Kind;
using E = Expression::Kind;
using ValuePtr = std::shared_ptr<const Value>;

ExpressionPtr minus(ExpressionPtr a, ExpressionPtr b) {
  return node(E::add, std::move(a), node(E::negate, std::move(b)));
}

ValuePtr expressionValue(ExpressionPtr e) {
  auto v = std::make_shared<Value>();
  v->kind = Kind::expression;
  v->expression = std::move(e);
  return v;
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

bool isAsciiLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::string lowerCase(std::string text) {
  for (char &c : text)
    if (c >= 'A' && c <= 'Z')
      c = static_cast<char>(c + 32);
  return text;
}

// Letters that are a word and no product of variables: short ones that answer questions, and three
// capitals (SAS is not SSA).
bool isShortWord(const std::string &letters) {
  static const std::set<std::string> words = {"no",  "yes", "on",  "off", "odd", "all", "one",
                                              "two", "six", "ten", "red", "day", "sun", "mon",
                                              "tue", "wed", "thu", "fri", "sat", "dne"};
  auto isCapital = [](char c) { return c >= 'A' && c <= 'Z'; };
  return words.count(lowerCase(letters)) ||
         (letters.size() == 3 && std::all_of(letters.begin(), letters.end(), isCapital));
}

ValuePtr word(const std::string &text) {
  auto v = std::make_shared<Value>();
  v->text = lowerCase(text);
  return v;
}

// \text{C} and \text{xy} are what C and xy are; other words are compared without case.
ValuePtr canonicalText(const Value &value) {
  const std::string &text = value.text;
  bool letters = !text.empty() && std::all_of(text.begin(), text.end(), isAsciiLetter);
  if (letters && !isShortWord(text)) {
    std::vector<Token> tokens = {
        {text.size() == 1 ? Token::Kind::letter : Token::Kind::word, text}};
    if (ExpressionPtr e = parseExpression(tokens, 0, 1))
      return expressionValue(std::move(e));
  }
  return word(text);
}

// What left = right says of a variable in which it is linear; null if it is not.
ExpressionPtr solved(const Expression &difference, const std::string &variable) {
  auto at = [&](const char *digits) {
    Expression point;
    point.kind = E::number;
    point.text = digits;
    return substitute(difference, variable, point);
  };
  auto number = [](const char *digits) {
    auto e = std::make_unique<Expression>();
    e->kind = E::number;
    e->text = digits;
    return e;
  };
  auto slope = [&] { return minus(at("1"), at("0")); };
  // At 2 and 5: no other low polynomial is on the line there.
  for (const char *point : {"2", "5"}) {
    ExpressionPtr line = node(E::add, at("0"), node(E::multiply, number(point), slope()));
    if (!agree(*at(point), *line))
      return nullptr;
  }
  if (agree(*slope(), *number("0")))
    return nullptr;
  return node(E::negate, node(E::divide, at("0"), slope()));
}

std::set<std::string> variablesOf(const Expression &e) {
  std::set<std::string> names;
  collectVariables(e, names);
  return names;
}

// x + y = 7 is a line; m + n = 7 names a sum.
bool isLine(const Value &left) {
  if (left.kind != Kind::expression || left.expression->kind != E::add)
    return false;
  const std::set<std::string> names = variablesOf(*left.expression);
  return names.count("x") && names.count("y");
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
  if (value.named && !expressions)
    return right;
  if (expressions) {
    const bool constant = !hasVariables(*right->expression);
    const bool named = value.named && !(constant && isLine(*left));
    if (named && constant)
      return isVariable(*left->expression) && left->expression->text == "y" ? line(right) : right;
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

ValuePtr uncheckedCanonical(const Value &value, const ValuePtr &shared) {
  switch (value.kind) {
  case Kind::text:
    return canonicalText(value);
  case Kind::expression:
    return isShortWord(value.text) ? word(value.text) : shared;
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
    return "J" + all;
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
