// What is written in characters beyond ASCII, in LaTeX.
#ifndef M1RT_VOTE_UNICODE_H
#define M1RT_VOTE_UNICODE_H

#include <string>

namespace m1rt::vote {

// With \pi for π, \frac12 for ½, ^{2} for ², and ASCII's letters and digits for those of full
// width. What has no command stays.
std::string replaceUnicode(const std::string &text);

} // namespace m1rt::vote

#endif
