// Trees of expressions: what is in them, copies with something changed.
#include "vote/expression.h"

#include <algorithm>

namespace m1rt::vote {

using E = Expression::Kind;

ExpressionPtr node(E kind, ExpressionPtr first, ExpressionPtr second) {
  auto e = std::make_unique<Expression>();
  e->kind = kind;
  e->kids.push_back(std::move(first));
  if (second)
    e->kids.push_back(std::move(second));
  return e;
}

ExpressionPtr copyOf(const Expression &e) { return resolvePlusMinus(e, false); }

void collectVariables(const Expression &e, std::set<std::string> &out) {
  if (e.kind == E::variable && hasVariables(e))
    out.insert(e.text);
  for (const ExpressionPtr &kid : e.kids)
    collectVariables(*kid, out);
}

ExpressionPtr substitute(const Expression &e, const std::string &variable,
                         const Expression &value) {
  const bool is = e.kind == E::variable && e.text == variable;
  const Expression &from = is ? value : e;
  auto copy = std::make_unique<Expression>();
  copy->kind = from.kind;
  copy->text = from.text;
  for (const ExpressionPtr &kid : from.kids)
    copy->kids.push_back(is ? copyOf(*kid) : substitute(*kid, variable, value));
  return copy;
}

bool hasVariables(const Expression &e) {
  if (e.kind == E::variable && e.text != "\\pi" && e.text != "e" && e.text != "i" &&
      e.text != "\\infty")
    return true;
  for (const ExpressionPtr &kid : e.kids)
    if (hasVariables(*kid))
      return true;
  return false;
}

namespace {

// The name of the only variable; nothing for none or several.
bool onlyVariable(const Expression &e, std::string &name) {
  if (e.kids.empty() && hasVariables(e)) {
    if (!name.empty() && name != e.text)
      return false;
    name = e.text;
  }
  return std::all_of(e.kids.begin(), e.kids.end(),
                     [&](const ExpressionPtr &kid) { return onlyVariable(*kid, name); });
}

} // namespace

std::optional<Linear> linearForm(const Expression &e) {
  std::string name;
  if (!onlyVariable(e, name) || name.empty())
    return std::nullopt;
  auto at = [&](const Rational &point) {
    return exactValue(*substitute(e, name, *toExpression(point)));
  };
  const auto constant = at({0, 1}), one = constant ? at({1, 1}) : std::nullopt;
  const auto slope = one ? add(*one, {-constant->numerator, constant->denominator}) : std::nullopt;
  if (!slope || slope->numerator == 0)
    return std::nullopt;
  // No other low polynomial is on the line at all of these, nor is |x|, or x rounded.
  for (const Rational point : {Rational{2, 1}, {5, 1}, {-3, 1}, {9, 4}}) {
    const auto rise = multiply(*slope, point), line = rise ? add(*constant, *rise) : std::nullopt;
    const auto value = line ? at(point) : std::nullopt;
    if (!value || value->numerator != line->numerator || value->denominator != line->denominator)
      return std::nullopt;
  }
  return Linear{*slope, *constant};
}

std::optional<Quadratic> quadraticForm(const Expression &e) {
  std::string name;
  if (!onlyVariable(e, name) || name.empty())
    return std::nullopt;
  auto at = [&](const Rational &point) {
    return exactValue(*substitute(e, name, *toExpression(point)));
  };
  auto half = [](const Rational &a, const Rational &b) {
    const auto sum = add(a, b);
    return sum ? multiply(*sum, {1, 2}) : std::nullopt;
  };
  auto negative = [](const Rational &r) { return Rational{-r.numerator, r.denominator}; };
  const auto constant = at({0, 1}), above = constant ? at({1, 1}) : std::nullopt,
             below = above ? at({-1, 1}) : std::nullopt,
             slope = below ? half(*above, negative(*below)) : std::nullopt,
             mean = slope ? half(*above, *below) : std::nullopt,
             square = mean ? add(*mean, negative(*constant)) : std::nullopt;
  if (!square || square->numerator == 0)
    return std::nullopt;
  for (const Rational point : {Rational{2, 1}, {5, 1}, {-3, 1}, {9, 4}}) {
    const auto linear = multiply(*square, point), sum = linear ? add(*linear, *slope) : linear,
               rise = sum ? multiply(*sum, point) : sum,
               curve = rise ? add(*rise, *constant) : rise, value = curve ? at(point) : curve;
    if (!value || value->numerator != curve->numerator || value->denominator != curve->denominator)
      return std::nullopt;
  }
  return Quadratic{*square, *slope, *constant};
}

ExpressionPtr toExpression(const Rational &value) {
  auto number = [](__int128 n) {
    auto e = std::make_unique<Expression>();
    e->kind = E::number;
    for (; n > 0; n /= 10)
      e->text.insert(e->text.begin(), static_cast<char>('0' + static_cast<int>(n % 10)));
    if (e->text.empty())
      e->text = "0";
    return e;
  };
  bool negative = value.numerator < 0;
  auto quotient = node(E::divide, number(negative ? -value.numerator : value.numerator),
                       number(value.denominator));
  return negative ? node(E::negate, std::move(quotient)) : std::move(quotient);
}

size_t nodesOf(const Expression &e) {
  size_t nodes = 1;
  for (const ExpressionPtr &kid : e.kids)
    nodes += nodesOf(*kid);
  return nodes;
}

bool isVariable(const Expression &e) { return e.kind == E::variable; }

bool hasPlusMinus(const Expression &e) {
  if (e.kind == E::plusMinus)
    return true;
  for (const ExpressionPtr &kid : e.kids)
    if (hasPlusMinus(*kid))
      return true;
  return false;
}

namespace {

size_t countOf(const Expression &e, const std::string &sign) {
  size_t count = e.kind == E::plusMinus && e.text == sign;
  for (const ExpressionPtr &kid : e.kids)
    count += countOf(*kid, sign);
  return count;
}

// Of each ± in order the sign that the next bit tells.
void chooseSigns(Expression &e, unsigned &bits) {
  if (e.kind == E::plusMinus) {
    e.kind = E::add;
    if (bits & 1)
      e.kids[1] = node(E::negate, std::move(e.kids[1]));
    bits >>= 1;
  }
  for (const ExpressionPtr &kid : e.kids)
    chooseSigns(*kid, bits);
}

ExpressionPtr identical(const Expression &e) {
  auto copy = std::make_unique<Expression>();
  copy->kind = e.kind;
  copy->text = e.text;
  for (const ExpressionPtr &kid : e.kids)
    copy->kids.push_back(identical(*kid));
  return copy;
}

} // namespace

std::vector<ExpressionPtr> allSigns(const Expression &e) {
  constexpr size_t most = 3;
  std::vector<ExpressionPtr> all;
  const size_t free = countOf(e, "±");
  if (countOf(e, "∓") || free < 2) {
    all.push_back(resolvePlusMinus(e, false));
    all.push_back(resolvePlusMinus(e, true));
  } else if (free <= most) {
    for (unsigned choice = 0; choice < 1u << free; ++choice) {
      unsigned bits = choice;
      all.push_back(identical(e));
      chooseSigns(*all.back(), bits);
    }
  }
  return all;
}

ExpressionPtr resolvePlusMinus(const Expression &e, bool second) {
  auto copy = std::make_unique<Expression>();
  copy->kind = e.kind;
  copy->text = e.text;
  for (const ExpressionPtr &kid : e.kids)
    copy->kids.push_back(resolvePlusMinus(*kid, second));
  if (e.kind == E::plusMinus) {
    copy->kind = E::add;
    if ((e.text == "±") == second) // minus
      copy->kids[1] = node(E::negate, std::move(copy->kids[1]));
  }
  return copy;
}

} // namespace m1rt::vote
