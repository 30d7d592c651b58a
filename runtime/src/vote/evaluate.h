// What evaluation and keys of values share.
#ifndef M1RT_VOTE_EVALUATE_H
#define M1RT_VOTE_EVALUATE_H

#include "vote/expression.h"

namespace m1rt::vote {

// Points at which variables are positive, so that roots and logarithms are those of real numbers,
// and as many more, of either sign and far away, too, where |x + 5| is to differ from x + 5.
constexpr int kPoints = 6;

long double approximate(const Rational &r);
bool isFinite(const Complex &a);
// A value whose terms were of size `scale`: parts of it that are rounding errors are zero.
Complex withoutNoise(Complex a, long double scale);

} // namespace m1rt::vote

#endif
