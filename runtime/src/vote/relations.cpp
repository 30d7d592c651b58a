#include "vote/relations.h"

#include "vote/reader.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

namespace m1rt::vote {

using Kind = Value::Kind;

ValuePtr interval(const char *open, ValuePtr low, ValuePtr high, const char *close) {
  auto v = std::make_shared<Value>();
  v->kind = Kind::tuple;
  v->open = open;
  v->close = close;
  v->items = {std::move(low), std::move(high)};
  return v;
}

ValuePtr infinity(bool negative) {
  auto e = std::make_shared<Expression>();
  e->kind = Expression::Kind::variable;
  e->text = "\\infty";
  if (negative) {
    auto outer = std::make_shared<Expression>();
    outer->kind = Expression::Kind::negate;
    outer->kids.push_back(std::make_unique<Expression>(std::move(*e)));
    e = outer;
  }
  auto v = std::make_shared<Value>();
  v->kind = Kind::expression;
  v->expression = e;
  return v;
}

ValuePtr numberedValues(const Value &list) {
  auto v = std::make_shared<Value>();
  v->kind = Kind::list;
  std::set<std::string> names;
  for (const ValuePtr &item : list.items) {
    const bool equation = item->kind == Kind::equation && item->named &&
                          item->items[0]->kind == Kind::expression &&
                          isVariable(*item->items[0]->expression);
    const std::string name = equation ? item->items[0]->expression->text : "";
    const size_t index = name.find('_');
    if (index == std::string::npos || name.size() != index + 2 || name[index + 1] < '1' ||
        name[index + 1] > '9' || (name[0] != 'x' && name.compare(0, index, "\\lambda") != 0) ||
        !names.insert(name).second || item->items[1]->kind != Kind::expression ||
        hasVariables(*item->items[1]->expression))
      return nullptr;
    v->items.push_back(item->items[1]);
  }
  return v->items.size() > 1 && names.begin()->back() == '1' ? v : nullptr;
}

// A value with the variable that it is of.
static ValuePtr valueOf(const std::string &variable, const ValuePtr &value) {
  auto v = std::make_shared<Value>();
  v->kind = Kind::tuple;
  v->open = variable;
  v->close = "∈";
  v->items = {value};
  return v;
}

ValuePtr namedValues(const Value &list) {
  // x, AB, f(x), f(2): letters, and the number that they are of; "" for others.
  auto nameOf = [](const Value &side) -> std::string {
    if (side.kind != Kind::expression)
      return {};
    const Expression &e = *side.expression;
    if (isVariable(e))
      return e.text;
    if (!side.text.empty())
      return side.text;
    if (e.kind == Expression::Kind::multiply && isVariable(*e.kids[0]) && isVariable(*e.kids[1]))
      return e.kids[0]->text; // f(x)
    const bool function = e.kind == Expression::Kind::multiply && isVariable(*e.kids[0]) &&
                          e.kids[1]->kind == Expression::Kind::number;
    const std::string digits = function ? e.kids[1]->text : std::string();
    return function && digits.size() < 20
               ? e.kids[0]->text + "(" + std::string(20 - digits.size(), '0') + digits
               : std::string();
  };
  std::vector<std::map<std::string, ValuePtr>> points(1); // p = 5, q = 2, p = 7, q = 2 are two
  std::string first;
  for (const ValuePtr &item : list.items) {
    std::string name =
        item->kind == Kind::equation && item->named ? nameOf(*item->items[0]) : std::string();
    name.erase(0, !name.empty() && name[0] == '\\'); // r stands before \theta
    if (first.empty())
      first = name;
    else if (name == first && points.back().size() > 1)
      points.emplace_back();
    if (name.empty() || !points.back().emplace(name, item->items[1]).second)
      return nullptr;
  }
  auto v = std::make_shared<Value>();
  v->kind = Kind::list;
  for (const auto &values : points) {
    auto point = std::make_shared<Value>();
    point->kind = Kind::tuple;
    point->open = "(";
    point->close = ")";
    for (const auto &[name, value] : values) // f(2) = 3 is not f(3) = 3
      point->items.push_back(name.find('(') == std::string::npos ? value : valueOf(name, value));
    if (!std::equal(values.begin(), values.end(), points[0].begin(), points[0].end(),
                    [](const auto &a, const auto &b) { return a.first == b.first; }))
      return nullptr;
    v->items.push_back(point);
  }
  return v->items.size() == 1 ? v->items[0] : v;
}

ValuePtr expressionValue(ExpressionPtr e) {
  auto v = std::make_shared<Value>();
  v->kind = Kind::expression;
  v->expression = std::move(e);
  return v;
}

ValuePtr rational(const Rational &value) { return expressionValue(toExpression(value)); }

ValuePtr conditions(const std::vector<ValuePtr> &items) {
  std::set<std::string> names;
  for (const ValuePtr &item : items)
    names.insert(item->of);
  auto v = std::make_shared<Value>();
  v->kind = Kind::joined;
  v->text = "∩";
  for (const ValuePtr &item : items)
    v->items.push_back(names.size() == 1 ? item : valueOf(item->of, item));
  return v;
}

ValuePtr alternatives(const ValuePtr &all) {
  auto isNumber = [](const Value &item) { // x = 2
    return item.kind == Kind::equation && item.named && item.items[0]->kind == Kind::expression &&
           item.items[1]->kind == Kind::expression && isVariable(*item.items[0]->expression) &&
           !hasVariables(*item.items[1]->expression);
  };
  auto nameOf = [&](const Value &item) {
    const std::string &name = isNumber(item) ? item.items[0]->expression->text : item.of;
    return isNumber(item) ? name.substr(0, name.find('_')) : name; // x_1 = 2 or x_2 = 3
  };
  std::set<std::string> names;
  for (const ValuePtr &item : all->items)
    names.insert(nameOf(*item));
  names.erase("");
  if (names.size() < 2)
    return all;
  auto v = std::make_shared<Value>();
  v->kind = Kind::list;
  for (const ValuePtr &item : all->items) {
    const std::string name = nameOf(*item);
    v->items.push_back(name.empty() ? item
                                    : valueOf(name, isNumber(*item) ? item->items[1] : item));
  }
  return v;
}

static bool isInfinite(const Value &bound) {
  return bound.kind == Kind::expression &&
         (bound.expression->kind == Expression::Kind::negate ? *bound.expression->kids[0]
                                                             : *bound.expression)
                 .text == "\\infty";
}

static std::optional<long double> realValue(const Value &v) {
  if (v.kind != Kind::expression || hasVariables(*v.expression))
    return std::nullopt;
  const Complex x = numericValue(*v.expression, 0);
  return x.imag() == 0 && std::isfinite(x.real()) ? std::optional(x.real()) : std::nullopt;
}

static bool isRealLine(const Value &v) {
  return v.kind == Kind::tuple && v.open == "(" && v.close == ")" && v.items.size() == 2 &&
         isInfinite(*v.items[0]) && isInfinite(*v.items[1]);
}

// Whether a condition says that its variable is not a number.
static bool isUnequal(const Value &v) {
  return v.kind == Kind::joined && v.text == "∪" && v.items.size() == 2 && !v.of.empty() &&
         v.items[0]->items[1] == v.items[1]->items[0];
}

// Whether two conditions can hold together: x ≥ -3, x ≤ 3, and x^2 < 4, x > 0. Alternatives that do
// would not be written as two.
static bool overlap(const Value &a, const Value &b) {
  if (a.kind != Kind::tuple || b.kind != Kind::tuple || a.items.size() != 2 || b.items.size() != 2)
    return false;
  auto bound = [](const Value &v) {
    constexpr long double infinity = std::numeric_limits<long double>::infinity();
    return !isInfinite(v)
               ? realValue(v)
               : std::optional(v.expression->kind == Expression::Kind::negate ? -infinity
                                                                              : infinity);
  };
  const auto low = bound(*a.items[0]), high = bound(*a.items[1]), otherLow = bound(*b.items[0]),
             otherHigh = bound(*b.items[1]);
  if (!low || !high || !otherLow || !otherHigh)
    return false;
  const bool touch = *low == *otherHigh   ? a.open == "[" && b.close == "]"
                     : *high == *otherLow ? b.open == "[" && a.close == "]"
                                          : false;
  return touch || std::max(*low, *otherLow) < std::min(*high, *otherHigh);
}

ValuePtr listedConditions(const Value &given) {
  Value list = given;
  if (list.items.size() > 2 && isRealLine(*list.items[0]))
    list.items.erase(list.items.begin());
  if (list.items.size() > 1 && isUnequal(*list.items[0])) // x ≠ 1, 2
    for (ValuePtr &item : list.items)
      if (item->kind == Kind::expression && !hasVariables(*item->expression)) {
        auto unequal = std::make_shared<Value>(*list.items[0]);
        unequal->items = {interval("(", infinity(true), item, ")"),
                          interval("(", item, infinity(false), ")")};
        item = unequal;
      }
  std::set<std::string> names;
  for (const ValuePtr &item : list.items)
    names.insert(item->of);
  if (names.count("") || list.items.size() < 2)
    return nullptr;
  if (names.size() > 1)
    return conditions(list.items);
  if (list.items.size() == 2 && isRealLine(*list.items[0]))
    return list.items[1];
  const bool unequal = std::any_of(list.items.begin(), list.items.end(),
                                   [](const ValuePtr &item) { return isUnequal(*item); });
  return unequal || (list.items.size() == 2 && overlap(*list.items[0], *list.items[1]))
             ? conditions(list.items)
             : nullptr;
}

namespace {

ValuePtr joinedIntervals(ValuePtr a, ValuePtr b) {
  auto v = std::make_shared<Value>();
  v->kind = Kind::joined;
  v->text = "∪";
  v->items = {std::move(a), std::move(b)};
  return v;
}

// What "e < 0" (or >, ≤, ≥) leaves for its variable where e is of second degree and has two roots:
// x^2 < 4 is (-2, 2). Null for others.
ValuePtr solveQuadratic(const Expression &e, const std::string &op) {
  using E = Expression::Kind;
  const auto form = op == "≠" ? std::nullopt : quadraticForm(e);
  const auto square = form ? multiply(form->slope, form->slope) : std::nullopt,
             product = square ? multiply(form->square, form->constant) : std::nullopt,
             fourfold = product ? multiply(*product, {-4, 1}) : std::nullopt,
             discriminant = fourfold ? add(*square, *fourfold) : std::nullopt,
             twice = discriminant ? multiply(form->square, {2, 1}) : std::nullopt;
  if (!twice || discriminant->numerator <= 0)
    return nullptr;
  const bool upwards = twice->numerator > 0;
  auto root = [&](bool higher) {
    ExpressionPtr distance = node(E::root, toExpression(*discriminant));
    if (higher != upwards)
      distance = node(E::negate, std::move(distance));
    auto v = std::make_shared<Value>();
    v->kind = Kind::expression;
    v->expression =
        node(E::divide,
             node(E::add, toExpression({-form->slope.numerator, form->slope.denominator}),
                  std::move(distance)),
             toExpression(*twice));
    return v;
  };
  const bool strict = op == "<" || op == ">", inside = (op == "<" || op == "≤") == upwards;
  const char *open = strict ? "(" : "[", *close = strict ? ")" : "]";
  return inside ? interval(open, root(false), root(true), close)
                : joinedIntervals(interval("(", infinity(true), root(false), close),
                                  interval(open, root(true), infinity(false), ")"));
}

// slope·|form| + constant, where an expression is so: |x| - 5.
struct AbsoluteForm {
  Rational slope, constant;
  const Expression *absolute = nullptr; // null in a constant
};
std::optional<AbsoluteForm> absoluteForm(const Expression &e) {
  using E = Expression::Kind;
  if (e.kind == E::absolute)
    return AbsoluteForm{{1, 1}, {0, 1}, &e};
  if (!hasVariables(e)) {
    const auto value = exactValue(e);
    return value ? std::optional(AbsoluteForm{{0, 1}, *value}) : std::nullopt;
  }
  auto times = [](const AbsoluteForm &form, const Rational &by) -> std::optional<AbsoluteForm> {
    const auto slope = multiply(form.slope, by), constant = multiply(form.constant, by);
    return slope && constant ? std::optional(AbsoluteForm{*slope, *constant, form.absolute})
                             : std::nullopt;
  };
  if (e.kind != E::negate && e.kind != E::add && e.kind != E::multiply)
    return std::nullopt;
  const auto first = absoluteForm(*e.kids[0]);
  if (!first)
    return std::nullopt;
  if (e.kind == E::negate)
    return times(*first, {-1, 1});
  const auto second = absoluteForm(*e.kids[1]);
  if (!second || (first->absolute && second->absolute))
    return std::nullopt;
  const AbsoluteForm &form = first->absolute ? *first : *second,
                     &number = first->absolute ? *second : *first;
  if (e.kind == E::multiply)
    return times(form, number.constant);
  const auto sum = add(form.constant, number.constant);
  return sum ? std::optional(AbsoluteForm{form.slope, *sum, form.absolute}) : std::nullopt;
}

// slope·x + constant, where an expression is so with real numbers: \sqrt{3} x - 1.
std::optional<std::pair<ExpressionPtr, ExpressionPtr>> realLinear(const Expression &e) {
  using E = Expression::Kind;
  std::set<std::string> names;
  collectVariables(e, names);
  if (names.size() != 1)
    return std::nullopt;
  auto at = [&](const Rational &point) {
    return substitute(e, *names.begin(), *toExpression(point));
  };
  ExpressionPtr constant = at({0, 1}),
                slope = node(E::add, at({1, 1}), node(E::negate, copyOf(*constant)));
  const auto rise = realValue(*expressionValue(copyOf(*slope)));
  constexpr long double level = 1e-9L;
  if (!rise || std::fabs(*rise) < level || !realValue(*expressionValue(copyOf(*constant))))
    return std::nullopt;
  for (const Rational point : {Rational{2, 1}, {5, 1}, {-3, 1}, {9, 4}})
    if (!agree(*at(point), *node(E::add, copyOf(*constant),
                                 node(E::multiply, copyOf(*slope), toExpression(point)))))
      return std::nullopt;
  return std::pair(std::move(slope), std::move(constant));
}

// What solve() does, with real numbers for rational ones: 2x > \sqrt{3}, |x| ≤ \sqrt{2}. Null for
// others.
ValuePtr solveReal(const Value &left, const std::string &op, const Value &right) {
  using E = Expression::Kind;
  if (op == "≠")
    return nullptr;
  const bool strict = op == "<" || op == ">", less = op == "<" || op == "≤";
  const char *open = strict ? "(" : "[", *close = strict ? ")" : "]";
  const bool absolute = left.expression->kind == E::absolute;
  const auto bound = realValue(right);
  if (absolute && (!bound || *bound <= 0))
    return nullptr;
  const auto form = absolute ? realLinear(*left.expression->kids[0])
                             : realLinear(*node(E::add, copyOf(*left.expression),
                                                node(E::negate, copyOf(*right.expression))));
  if (!form)
    return nullptr;
  auto root = [&](ExpressionPtr value) { // (value - constant) / slope
    return expressionValue(
        node(E::divide, node(E::add, std::move(value), node(E::negate, copyOf(*form->second))),
             copyOf(*form->first)));
  };
  const bool rises = *realValue(*expressionValue(copyOf(*form->first))) > 0;
  if (!absolute) {
    const ValuePtr at = root(toExpression({0, 1}));
    return less == rises ? interval("(", infinity(true), at, close)
                         : interval(open, at, infinity(false), ")");
  }
  ValuePtr low = root(node(E::negate, copyOf(*right.expression))),
           high = root(copyOf(*right.expression));
  if (!rises)
    std::swap(low, high);
  return less ? interval(open, low, high, close)
              : joinedIntervals(interval("(", infinity(true), low, close),
                                interval(open, high, infinity(false), ")"));
}

// What a relation that is linear or quadratic in one variable, or whose left side is the absolute
// value of a linear form, leaves for the variable: -x > -1 is (-∞, 1), x ≠ 1 two intervals,
// |x - 3| < 2 is (1, 5). Null for others.
ValuePtr solve(const Value &left, const std::string &op, const Value &right) {
  if (left.kind != Kind::expression || right.kind != Kind::expression)
    return nullptr;
  bool strict = op == "<" || op == ">" || op == "≠";
  const char *open = strict ? "(" : "[", *close = strict ? ")" : "]";
  // slope·x + constant against zero
  auto root = [](const Linear &form, const Rational &value) -> std::optional<Rational> {
    auto difference = add(value, {-form.constant.numerator, form.constant.denominator});
    auto by = inverse(form.slope);
    return difference && by ? multiply(*difference, *by) : std::nullopt;
  };
  if (left.expression->kind == Expression::Kind::absolute) {
    auto form = linearForm(*left.expression->kids[0]);
    auto bound = exactValue(*right.expression);
    if (!form || !bound || bound->numerator < 0)
      return solveReal(left, op, right);
    if (bound->numerator == 0) {
      const auto at = op == "≠" || op == ">" ? root(*form, {0, 1}) : std::nullopt;
      return at ? joinedIntervals(interval("(", infinity(true), rational(*at), ")"),
                                  interval("(", rational(*at), infinity(false), ")"))
                : nullptr;
    }
    auto first = root(*form, {-bound->numerator, bound->denominator}), second = root(*form, *bound);
    if (!first || !second)
      return nullptr;
    if (form->slope.numerator < 0)
      std::swap(first, second);
    if (op == "<" || op == "≤")
      return interval(open, rational(*first), rational(*second), close);
    if (op == "≠") {
      auto hole = [](const ValuePtr &at) {
        return joinedIntervals(interval("(", infinity(true), at, ")"),
                               interval("(", at, infinity(false), ")"));
      };
      return conditions({hole(rational(*first)), hole(rational(*second))});
    }
    return joinedIntervals(interval("(", infinity(true), rational(*first), close),
                           interval(open, rational(*second), infinity(false), ")"));
  }
  Expression difference;
  difference.kind = Expression::Kind::add;
  difference.kids.push_back(resolvePlusMinus(*left.expression, false)); // copies
  auto negated = std::make_unique<Expression>();
  negated->kind = Expression::Kind::negate;
  negated->kids.push_back(resolvePlusMinus(*right.expression, false));
  difference.kids.push_back(std::move(negated));
  // |x| - 5 < 0, 5 > |x|
  if (const auto form = absoluteForm(difference); form && form->absolute) {
    const auto by = inverse(form->slope),
               bound = by ? multiply({-form->constant.numerator, form->constant.denominator}, *by)
                          : std::nullopt;
    if (!bound)
      return nullptr;
    static const std::map<std::string, std::string> turned = {
        {"<", ">"}, {">", "<"}, {"≤", "≥"}, {"≥", "≤"}, {"≠", "≠"}};
    return solve(*expressionValue(copyOf(*form->absolute)),
                 form->slope.numerator < 0 ? turned.at(op) : op, *rational(*bound));
  }
  auto form = linearForm(difference);
  auto at = form ? root(*form, {0, 1}) : std::nullopt;
  if (!at) {
    ValuePtr solved = solveQuadratic(difference, op);
    return solved ? solved : solveReal(left, op, right);
  }
  if (op == "≠") {
    ValuePtr hole = rational(*at);
    return joinedIntervals(interval("(", infinity(true), hole, ")"),
                           interval("(", hole, infinity(false), ")"));
  }
  bool below = (op == "<" || op == "≤") == (form->slope.numerator > 0);
  return below ? interval("(", infinity(true), rational(*at), close)
               : interval(open, rational(*at), infinity(false), ")");
}

// x ≠ 2, and x ≠ √2, which is no rational number. Null for others.
ValuePtr solveUnequal(const Value &left, const Value &right) {
  auto isVariableValue = [](const Value &v) {
    return v.kind == Kind::expression && isVariable(*v.expression) && hasVariables(*v.expression);
  };
  for (const auto &[variable, number] : {std::pair(&left, &right), std::pair(&right, &left)})
    if (isVariableValue(*variable) && realValue(*number)) {
      auto at = std::make_shared<Value>(*number);
      return joinedIntervals(interval("(", infinity(true), at, ")"),
                             interval("(", at, infinity(false), ")"));
    }
  return solve(left, "≠", right);
}

} // namespace

ValuePtr Reader::readRelation(size_t begin, size_t end, const std::vector<size_t> &at, int depth) {
  ValuePtr v = relationValue(begin, end, at, depth);
  const bool intervals = v && (v->kind == Kind::tuple || v->kind == Kind::joined);
  if (!intervals || isOp(tokens[at[0]], "="))
    return v;
  std::set<std::string> names;
  const size_t last = isOp(tokens[at[0]], "∈") ? at[0] : end;
  if (ExpressionPtr one = last < end ? parseExpression(tokens, begin, last) : nullptr)
    collectVariables(*one, names);
  for (size_t i = 0, from = begin; last == end && i <= at.size(); ++i) {
    const size_t to = i < at.size() ? at[i] : end;
    if (ExpressionPtr side = parseExpression(tokens, from, to))
      collectVariables(*side, names);
    from = to + 1;
  }
  if (names.size() != 1)
    return v;
  auto named = std::make_shared<Value>(*v);
  named->of = *names.begin();
  return named;
}

// x = y = z = 2 is (2, 2, 2), where the names follow each other from x, a, m or p. Null for others.
static ValuePtr equalCoordinates(const std::vector<ValuePtr> &sides) {
  if (sides.size() < 3 || sides.back()->kind != Kind::expression ||
      hasVariables(*sides.back()->expression))
    return nullptr;
  auto point = std::make_shared<Value>();
  point->kind = Kind::tuple;
  point->open = "(";
  point->close = ")";
  char name = 0;
  for (size_t i = 0; i + 1 < sides.size(); ++i) {
    const bool variable = sides[i]->kind == Kind::expression && isVariable(*sides[i]->expression) &&
                          sides[i]->expression->text.size() == 1;
    const char each = variable ? sides[i]->expression->text[0] : '\0';
    const bool first = i == 0 && std::string("xamp").find(each) != std::string::npos;
    if (!variable || !(first || (i > 0 && each == name + 1)))
      return nullptr;
    name = each;
    point->items.push_back(sides.back());
  }
  return point;
}

static ValuePtr relationOf(const ValuePtr &left, const std::string &op, const ValuePtr &right) {
  auto v = std::make_shared<Value>();
  v->kind = Kind::relation;
  const bool swap = op == ">" || op == "≥";
  v->text = op == ">" ? "<" : op == "≥" ? "≤" : op;
  v->items = {swap ? right : left, swap ? left : right};
  return v;
}

// \sin x \in [-1, 1] is -1 ≤ \sin x ≤ 1. Null for others.
static ValuePtr within(const ValuePtr &of, const Value &range) {
  const bool brackets = range.kind == Kind::tuple && range.items.size() == 2 &&
                        (range.open == "(" || range.open == "[") &&
                        (range.close == ")" || range.close == "]");
  if (!brackets)
    return nullptr;
  auto v = std::make_shared<Value>();
  v->kind = Kind::joined;
  v->text = "∩";
  if (!isInfinite(*range.items[0]))
    v->items.push_back(relationOf(range.items[0], range.open == "(" ? "<" : "≤", of));
  if (!isInfinite(*range.items[1]))
    v->items.push_back(relationOf(of, range.close == ")" ? "<" : "≤", range.items[1]));
  return v->items.size() == 1 ? v->items[0] : v->items.empty() ? nullptr : v;
}

// 3x ± 4y = 0 is two equations: lists that a sign of ± leaves, side by side. Null for others.
static ValuePtr equationsOfSigns(const Value &equation) {
  const Value &left = *equation.items[0], &right = *equation.items[1];
  auto isList = [](const Value &side) {
    return side.kind == Kind::list && side.items.size() == 2 &&
           std::all_of(side.items.begin(), side.items.end(),
                       [](const ValuePtr &item) { return item->kind == Kind::expression; });
  };
  auto isPart = [&](const Value &side) { return side.kind == Kind::expression || isList(side); };
  if (!isPart(left) || !isPart(right) || isList(left) == isList(right))
    return nullptr;
  auto all = std::make_shared<Value>();
  all->kind = Kind::list;
  for (size_t i = 0; i < 2; ++i) {
    auto each = std::make_shared<Value>(equation);
    for (ValuePtr &side : each->items)
      side = isList(*side) ? side->items[i] : side;
    all->items.push_back(each);
  }
  return all;
}

ValuePtr Reader::relationValue(size_t begin, size_t end, const std::vector<size_t> &at, int depth) {
  const std::string &op = tokens[at[0]].text;
  if (op == "∈") {
    ValuePtr range = read(at[0] + 1, end, depth + 1);
    if (!range || isName(begin, at[0]))
      return range;
    ValuePtr of = at.size() == 1 ? readExpression(begin, at[0]) : nullptr;
    return of && of->kind == Kind::expression ? within(of, *range) : nullptr;
  }
  std::vector<ValuePtr> sides;
  size_t from = begin;
  for (size_t i = 0; i <= at.size(); ++i) {
    size_t to = i < at.size() ? at[i] : end;
    const bool quantity = op == "=" && i == 0 && isQuantity(tokens, from, to);
    ValuePtr side = quantity ? nullptr : read(from, to, depth + 1);
    if (!side && (i == 0 ? quantity || isName(from, to) || leavesOut(from, to)
                         : op == "=" && i < at.size() && leavesOut(from, to))) {
      auto words = std::make_shared<Value>();
      for (size_t k = from; k < to; ++k)
        words->text += plainText(tokens[k].text);
      side = words;
    }
    if (!side)
      return nullptr;
    sides.push_back(side);
    from = to + 1;
  }
  auto v = std::make_shared<Value>();
  auto isConstant = [](const ValuePtr &s) {
    return s->kind == Kind::expression && !hasVariables(*s->expression);
  };
  if (op == "=") { // of a = b = c the last side counts
    // 21 + 49 = 70 says 70, and x^2 - 1 = (x - 1)(x + 1) the product
    if (std::all_of(sides.begin(), sides.end(),
                    [](const ValuePtr &s) { return s->kind == Kind::expression; })) {
      auto last = valueKey(*sides.back()->expression);
      if (last && std::all_of(sides.begin(), sides.end(),
                              [&](const ValuePtr &s) { return valueKey(*s->expression) == last; }))
        return sides.back();
    }
    v->items = {sides.front(), sides.back()};
    if (at.size() > 1 && std::all_of(sides.begin(), sides.end(), [](const ValuePtr &s) {
          return s->kind == Kind::expression && isVariable(*s->expression) &&
                 hasVariables(*s->expression);
        })) { // a = b = c
      v->kind = Kind::joined;
      v->text = "=";
      v->items = sides;
      return v;
    }
    if (at.size() == 1 && isPartOfFigure(tokens, begin, at[0]) &&
        isPartOfFigure(tokens, at[0] + 1, end)) { // AB = CD says something of two sides
      v->kind = Kind::joined;
      v->text = "=";
      return v;
    }
    v->kind = Kind::equation;
    const bool e = at[0] == begin + 1 && tokens[begin].text == "e"; // of a conic
    v->named = isName(begin, at[0]) || isQuantity(tokens, begin, at[0]) || e ||
               (sides.back()->kind != Kind::expression && namesSet(begin, at[0])) ||
               (isConstant(sides.back()) && leavesOut(begin, at[0]));
    if (ValuePtr several = v->named || at.size() > 1 ? nullptr : equationsOfSigns(*v))
      return several;
    if (ValuePtr point = equalCoordinates(sides))
      return point;
    // AB:CD = 2:3
    const bool ratios = sides.front()->open == ":" && sides.back()->open == ":" &&
                        sides.front()->items.size() == sides.back()->items.size();
    if (ratios && std::all_of(sides.back()->items.begin(), sides.back()->items.end(), isConstant))
      return sides.back();
    // xy = k says something of three quantities, mn = 12 names a number.
    if (v->named && !isQuantity(tokens, begin, at[0]) && isProduct(tokens, begin, at[0]) &&
        !isConstant(sides.back()))
      v->named = false;
    if (!v->named && at.size() == 1 && isName(at[0] + 1, end)) { // 5 = x
      v->named = true;
      std::swap(v->items[0], v->items[1]);
    }
    return v;
  }
  if (op == "≠" && at.size() == 1 && sides[1]->kind == Kind::list) { // x ≠ ±1
    std::vector<ValuePtr> all;
    for (const ValuePtr &item : sides[1]->items)
      if (ValuePtr hole = solveUnequal(*sides[0], *item))
        all.push_back(hole);
    return all.size() == sides[1]->items.size() ? conditions(all) : nullptr;
  }
  // 2 < |x| is |x| > 2
  auto isAbsolute = [](const ValuePtr &s) {
    return s->kind == Kind::expression && s->expression->kind == Expression::Kind::absolute;
  };
  static const std::map<std::string, std::string> mirrored = {
      {"<", ">"}, {">", "<"}, {"≤", "≥"}, {"≥", "≤"}, {"≠", "≠"}};
  if (at.size() == 1 && isAbsolute(sides[1]) && !isAbsolute(sides[0]))
    if (ValuePtr solved = solve(*sides[1], mirrored.at(op), *sides[0]))
      return solved;
  auto isVariableValue = [](const ValuePtr &s) {
    return s->kind == Kind::expression && isVariable(*s->expression) &&
           hasVariables(*s->expression);
  };
  // f(x) ≥ 1 says what y ≥ 1 does
  auto isVariableSide = [&](size_t i) {
    const size_t first = i ? at[i - 1] + 1 : begin, last = i < at.size() ? at[i] : end;
    return isVariableValue(sides[i]) ||
           (last - first > 3 && tokens[first].kind == Token::Kind::letter &&
            std::string("fghFGH").find(tokens[first].text) != std::string::npos &&
            isOp(tokens[first + 1], "(") && isName(first, last));
  };
  auto less = [](const std::string &o) { return o == "<" || o == "≤"; };
  auto strict = [](const std::string &o) { return o == "<" || o == ">"; };
  // y < 2x + 1 is a part of the plane
  auto hasCoordinates = [](const Value &s) {
    std::set<std::string> names;
    if (s.kind == Kind::expression)
      collectVariables(*s.expression, names);
    return names.count("x") + names.count("y") + names.count("z") > 0;
  };
  auto isArgument = [&](size_t i) {
    return isVariableValue(sides[i]) && sides[i]->expression->text == "x";
  };
  // x < a and a < x < b are intervals; b ≥ 4 - 2a says something of two numbers.
  const bool variableLeft = isVariableSide(0) && !isArgument(1);
  const bool onlyOne = isVariableSide(0) != isVariableSide(1) || isArgument(0) != isArgument(1);
  if (at.size() == 1 && op != "≠" && onlyOne && !hasCoordinates(*sides[variableLeft]) &&
      (isArgument(!variableLeft) || isConstant(sides[variableLeft]) ||
       !isVariableValue(sides[!variableLeft]))) {
    const bool upper = less(op) == variableLeft;
    ValuePtr bound = variableLeft ? sides[1] : sides[0];
    return upper ? interval("(", infinity(true), bound, strict(op) ? ")" : "]")
                 : interval(strict(op) ? "(" : "[", bound, infinity(false), ")");
  }
  if (at.size() == 2 && isVariableSide(1) && op != "≠" && less(op) == less(tokens[at[1]].text)) {
    const std::string &second = tokens[at[1]].text;
    if (less(op))
      return interval(strict(op) ? "(" : "[", sides[0], sides[2], strict(second) ? ")" : "]");
    return interval(strict(second) ? "(" : "[", sides[2], sides[0], strict(op) ? ")" : "]");
  }
  const bool oneWay = std::all_of(at.begin(), at.end(), [&](size_t sign) {
    return tokens[sign].text != "≠" && less(tokens[sign].text) == less(op);
  });
  if (at.size() > 1 && oneWay) { // 3 < 2x + 1 < 7, -1 ≤ \sin x ≤ 1, a < b < c < d
    auto all = std::make_shared<Value>();
    all->kind = Kind::joined;
    all->text = "∩";
    bool solved = at.size() == 2;
    for (size_t i = 0; solved && i < at.size(); ++i) {
      all->items.push_back(solve(*sides[i], tokens[at[i]].text, *sides[i + 1]));
      solved = all->items.back() != nullptr;
    }
    if (!solved)
      all->items.clear();
    for (size_t i = 0; !solved && i < at.size(); ++i)
      all->items.push_back(relationOf(sides[i], tokens[at[i]].text, sides[i + 1]));
    return all;
  }
  if (at.size() != 1)
    return nullptr;
  if (ValuePtr solved =
          op == "≠" ? solveUnequal(*sides[0], *sides[1]) : solve(*sides[0], op, *sides[1]))
    return solved;
  return relationOf(sides[0], op, sides[1]);
}

} // namespace m1rt::vote
