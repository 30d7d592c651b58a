// Numbers in words.
#ifndef M1RT_VOTE_NUMBER_WORDS_H
#define M1RT_VOTE_NUMBER_WORDS_H

#include <optional>
#include <string>

namespace m1rt::vote {

// An answer that begins with a number in words, and says no more than that and a unit, with digits
// for it: "25" for "twenty-five", "500 dollars" for "five hundred dollars", "\frac{2}{3}" for "two
// thirds", "\frac{1}{6}" for "1 in 6", "3:4" for "3 to 4", "60 eggs" for "5 dozen eggs". Nothing
// for others.
std::optional<std::string> numeralsForWords(const std::string &latex);

// The base that a subscript names: 5, (5), "base 5", five; 0 if it names none.
int baseOf(const std::string &subscript);

} // namespace m1rt::vote

#endif
