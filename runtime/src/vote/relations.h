// What relations, and lists of equations and conditions, say.
#ifndef M1RT_VOTE_RELATIONS_H
#define M1RT_VOTE_RELATIONS_H

#include "vote/value.h"

namespace m1rt::vote {

using ValuePtr = std::shared_ptr<const Value>;

ValuePtr interval(const char *open, ValuePtr low, ValuePtr high, const char *close);
ValuePtr infinity(bool negative);
ValuePtr rational(const Rational &value);
ValuePtr expressionValue(ExpressionPtr e);

// x_1 = 2, x_2 = 3: all that one x may be, as x or \lambda are of what is solved. Null for others.
ValuePtr numberedValues(const Value &list);
// p = 5, q = 2 with names that differ: the point (5, 2), by order of the names; those of functions
// stay: f(1) = 5, f(2) = 2. Null for others.
ValuePtr namedValues(const Value &list);
// Conditions that must hold together: those of one variable as they are, without its being real;
// of several, each with its variable.
ValuePtr conditions(const std::vector<ValuePtr> &items);
// Alternatives: of one variable as they are, of several each with its variable, as x = 2 or y = 3
// is not x = 3 or y = 2.
ValuePtr alternatives(const ValuePtr &all);
// The integers within bounds, and within several, of a canonical value; null where there are too
// many, or nobody can tell.
ValuePtr integersIn(const ValuePtr &range);
// A list of conditions: x > 1, y < 2 hold together, as x ≠ 1, x ≠ 2 do, and x ≥ -3, x ≤ 3; x ∈ ℝ
// adds nothing to x ≠ 1. Null for others.
ValuePtr listedConditions(const Value &list);

} // namespace m1rt::vote

#endif
