// From the words that follow "the answer is" to the value among them.
#ifndef M1RT_VOTE_CLEANING_H
#define M1RT_VOTE_CLEANING_H

#include <optional>
#include <string>
#include <string_view>

namespace m1rt {

// Without "simply", "therefore", "given by", "option" and the like in front of a value, and without
// its kind: "the interval $(1, 2)$".
std::string_view withoutFillers(std::string_view part);

// To the end of its sentence or line, but not within a formula.
std::string_view firstSentence(std::string_view part);

// Whether these are words that say something of an answer and are none. `praise`: of these count
// only those that say that it holds.
bool isComment(const std::string &words, bool praise);

// What an answer that is described says in the end: "the sum of 3 and 4, which is 7", "the number
// of subsets, $2^5 = 32$". `described` tells whether it is.
std::optional<std::string> valueOfDescription(const std::string &sentence, bool &described);

// Without what only words in brackets behind a value say: "7 (seven)", "$9\pi$ (in square units)".
std::string withoutBracketedRemark(const std::string &value);

// The value of words that are announced as the answer, without what stands around it: "7 (seven)",
// "not 20 but 21", "5/6 of the pizza", "3 × 10^8 m/s". `says` becomes false where they are no
// answer.
std::optional<std::string> cleanedAnswer(std::string rest, bool &says);

} // namespace m1rt

#endif
