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
  std::optional<Rational> at[4]; // at 0, 1, 2, 5: no other low polynomial has equal slopes there
  const char *const points[] = {"0", "1", "2", "5"};
  for (size_t i = 0; i < 4; ++i) {
    Expression point;
    point.kind = E::number;
    point.text = points[i];
    if (!(at[i] = exactValue(*substitute(e, name, point))))
      return std::nullopt;
  }
  auto difference = [&](size_t i, size_t k) {
    return add(*at[k], {-at[i]->numerator, at[i]->denominator});
  };
  auto same = [](const Rational &a, const Rational &b) {
    return a.numerator == b.numerator && a.denominator == b.denominator;
  };
  auto slope = difference(0, 1), next = difference(1, 2), far = difference(2, 3);
  auto three = slope ? multiply(*slope, {3, 1}) : std::nullopt;
  if (!slope || !next || !far || !three || slope->numerator == 0 || !same(*slope, *next) ||
      !same(*three, *far))
    return std::nullopt;
  return Linear{*slope, *at[0]};
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

bool isVariable(const Expression &e) { return e.kind == E::variable; }

bool hasPlusMinus(const Expression &e) {
  if (e.kind == E::plusMinus)
    return true;
  for (const ExpressionPtr &kid : e.kids)
    if (hasPlusMinus(*kid))
      return true;
  return false;
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
