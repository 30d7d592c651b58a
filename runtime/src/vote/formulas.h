// Formulas in a text.
#ifndef M1RT_VOTE_FORMULAS_H
#define M1RT_VOTE_FORMULAS_H

#include <string>
#include <vector>

namespace m1rt {

// A formula in a text: $…$, $$…$$, \(…\), \[…\] or an environment of its own.
struct Formula {
  size_t before, begin, end, after; // of its signs and its content
};

// Those outside all braces, in order; none when the signs of one do not close. A single $ opens
// before what is no blank, and closes behind what is none and before no digit, or both have blanks
// and no words stand between them: others are dollars.
std::vector<Formula> formulasOf(const std::string &text);

// What stands between the signs. A derivation of several lines, x &= 2 + 1 \\ &= 3, is a chain;
// other lines are aligned equations.
std::string contentOf(const std::string &text, const Formula &formula);

// What the last arrow of a derivation leads to: l = 12 of "2l = 24 \implies l = 12".
std::string conclusionOf(const std::string &formula);

} // namespace m1rt

#endif
