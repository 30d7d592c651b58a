// The canonical form of values, and their equality.
#include "vote/value.h"

#include <algorithm>

namespace m1rt::vote {
namespace {

using Kind = Value::Kind;
using E = Expression::Kind;
using ValuePtr = std::shared_ptr<const Value>;

ExpressionPtr node(E kind, ExpressionPtr first, ExpressionPtr second = nullptr) {
  auto e = std::make_unique<Expression>();
  e->kind = kind;
  e->kids.push_back(std::move(first));
  if (second)
    e->kids.push_back(std::move(second));
  return e;
}

ExpressionPtr copyOf(const Expression &e) { return resolvePlusMinus(e, false); }

ExpressionPtr minus(ExpressionPtr a, ExpressionPtr b) {
  return node(E::add, std::move(a), node(E::negate, std::move(b)));
}

ValuePtr expressionValue(ExpressionPtr e) {
  auto v = std::make_shared<Value>();
  v->kind = Kind::expression;
  v->expression = std::move(e);
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
    if (!equalExpressions(*at(point), *line))
      return nullptr;
  }
  if (equalExpressions(*slope(), *number("0")))
    return nullptr;
  return node(E::negate, node(E::divide, at("0"), slope()));
}

// x = 5 says 5, y - 2x = 3 says 2x + 3; what is not linear in any variable stays an equation. Where
// it names y or is no definition, it is solved for y, for z, or for the first other variable that
// can be; hence y = 2x and x = y/2 are the same.
ValuePtr canonicalEquation(const Value &value) {
  ValuePtr left = canonical(value.items[0]), right = canonical(value.items[1]);
  const bool expressions = left->kind == Kind::expression && right->kind == Kind::expression;
  if (value.named && (!expressions || !hasVariables(*right->expression)))
    return right;
  if (expressions) {
    ExpressionPtr difference = minus(copyOf(*left->expression), copyOf(*right->expression));
    std::set<std::string> variables;
    collectVariables(*difference, variables);
    for (const char *first : {"y", "z"}) {
      if (value.named && *first == 'z')
        break;
      if (variables.erase(first))
        if (ExpressionPtr e = solved(*difference, first))
          return expressionValue(std::move(e));
    }
    if (value.named)
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

// Lists, sets and unions without the order and the repetitions of their items, and without unions
// and x = ±1 within them.
ValuePtr canonicalSet(const Value &value) {
  auto v = std::make_shared<Value>();
  v->kind = Kind::set;
  for (const ValuePtr &item : value.items) {
    ValuePtr c = canonical(item);
    const bool splice = c->kind == Kind::set && (item->kind != Kind::set || value.text == "∪");
    if (splice)
      v->items.insert(v->items.end(), c->items.begin(), c->items.end());
    else
      v->items.push_back(c);
  }
  if (value.kind == Kind::list && // "1/2 or 0.5" is one value, said twice
      std::all_of(v->items.begin(), v->items.end(),
                  [&](const ValuePtr &item) { return equalValues(*item, *v->items[0]); }))
    return v->items[0];
  return v;
}

bool equalInOrder(const Value &a, const Value &b) {
  return std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(),
                    [](const ValuePtr &x, const ValuePtr &y) { return equalValues(*x, *y); });
}

// As sets: repeated items count once. Every pair is compared at most once: nested sets would
// otherwise take twice as long at each level.
bool equalUnordered(const Value &a, const Value &b) {
  if (a.items.size() * b.items.size() > 10000)
    return false;
  std::vector<bool> found(b.items.size());
  for (const ValuePtr &item : a.items) {
    bool any = false;
    for (size_t k = 0; k < b.items.size(); ++k)
      if ((!any || !found[k]) && equalValues(*item, *b.items[k]))
        any = found[k] = true;
    if (!any)
      return false;
  }
  return std::all_of(found.begin(), found.end(), [](bool f) { return f; });
}

// left - right of an equation of expressions; null for others.
ExpressionPtr difference(const Value &equation) {
  for (const ValuePtr &side : equation.items)
    if (side->kind != Kind::expression)
      return nullptr;
  return minus(copyOf(*equation.items[0]->expression), copyOf(*equation.items[1]->expression));
}

} // namespace

ValuePtr canonical(const ValuePtr &value) {
  switch (value->kind) {
  case Kind::text:
    return canonicalText(*value);
  case Kind::expression:
    return isShortWord(value->text) ? word(value->text) : value;
  case Kind::equation:
    return canonicalEquation(*value);
  case Kind::list:
  case Kind::set:
    return canonicalSet(*value);
  case Kind::joined:
    if (value->text == "∪")
      return canonicalSet(*value);
    break;
  case Kind::tuple:
  case Kind::matrix:
  case Kind::relation:
    break;
  }
  auto v = std::make_shared<Value>(*value);
  for (ValuePtr &item : v->items)
    item = canonical(item);
  return v;
}

bool equalValues(const Value &a, const Value &b) {
  if (a.kind != b.kind)
    return false;
  switch (a.kind) {
  case Kind::text:
    return !a.text.empty() && a.text == b.text;
  case Kind::expression:
    return equalExpressions(*a.expression, *b.expression);
  case Kind::equation: {
    if (equalInOrder(a, b))
      return true;
    ExpressionPtr x = difference(a), y = difference(b);
    return x && y && proportional(*x, *y);
  }
  case Kind::list: // canonical ones are sets
  case Kind::set:
    return equalUnordered(a, b);
  case Kind::tuple:
    return a.open == b.open && a.close == b.close && equalInOrder(a, b);
  case Kind::joined:
    return a.text == b.text && equalUnordered(a, b);
  case Kind::matrix:
    return a.columns == b.columns && equalInOrder(a, b);
  case Kind::relation:
    return a.text == b.text && (equalInOrder(a, b) || (a.text == "≠" && equalUnordered(a, b)));
  }
  return false;
}

} // namespace m1rt::vote
