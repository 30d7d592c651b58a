// What a sentence in words says.
#ifndef M1RT_VOTE_STATEMENTS_H
#define M1RT_VOTE_STATEMENTS_H

#include <optional>
#include <string>
#include <string_view>

namespace m1rt {

// Length of the number that begins here: 12, 1,234.50, 2/3, -7, \$5; 0 if none does.
size_t numberLength(std::string_view text, size_t at);

// Without the signs of bold text, and with $ for \$.
std::string withoutEmphasis(std::string_view sentence);

// The letter of "I would go with option B" and "this matches choice (A)".
std::optional<std::string> pickedLetter(std::string_view sentence);

// The number, the equation, the time of day, the bold words, the letter of a choice or the name
// that a sentence leads to: "the sum is 7", "so x = 7", "so the winner is Bob".
std::optional<std::string> statedIn(std::string_view sentence);

// "x = 7", "f(x) = 2x + 3" and "x = 1 and x = 2" at the end of a sentence whose other words only
// lead to it: "therefore", "the solution is".
std::optional<std::string> statedEquation(std::string_view sentence);

// "The domain is all real numbers except $2$": what is said of all numbers.
std::optional<std::string> statedNumbers(std::string_view sentence);

// "Therefore, there is no solution", "so the limit does not exist".
std::optional<std::string> statedNone(std::string_view sentence);

// The only number of a sentence that concludes with it: "so she needs 12 apples". None where a word
// before or behind it makes another of it, "a multiple of 3", "case 2", "5 dozen", "at least 5", or
// where the sentence tells what is done: "so we multiply by 3". `concludes`: that it is the answer
// is known.
std::optional<std::string> onlyNumber(std::string_view sentence, bool concludes);

// 2.02 of "t = \sqrt{2h/g} \approx 2.02\text{ s}", where letters stand before the sign; others as
// they are.
std::string valueOfRounding(const std::string &formula);

// The only value of a last sentence that is no conclusion, where a verb of what somebody has, makes
// or becomes leads to it and nothing else is said: "Janet makes $18 every day", "It takes $t = 4$
// s", "The train arrives at 6:15". None of what is said of all things ("A dozen has 12 eggs"), of
// several numbers, or of what would be.
std::optional<std::string> plainStatement(std::string_view text);

// The only number of a conclusion without Latin letters: 所以一共有8个苹果。
std::optional<std::string> onlyNumberOfHan(std::string_view sentence, bool concludes);

} // namespace m1rt

#endif
