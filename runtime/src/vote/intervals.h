// Sets of real numbers: unions and intersections of intervals and numbers.
#ifndef M1RT_VOTE_INTERVALS_H
#define M1RT_VOTE_INTERVALS_H

#include "vote/value.h"

namespace m1rt::vote {

// Of canonical values: intervals whose bounds are real numbers, numbers, and sets of these. The
// result is an interval, a number or a set of these that do not touch. Null for other values, and
// where two bounds are too near each other to be told apart.
std::shared_ptr<const Value> unionOf(const std::vector<std::shared_ptr<const Value>> &items);
std::shared_ptr<const Value> intersectionOf(const std::vector<std::shared_ptr<const Value>> &items);
// The first without the others.
std::shared_ptr<const Value> differenceOf(const std::vector<std::shared_ptr<const Value>> &items);

} // namespace m1rt::vote

#endif
