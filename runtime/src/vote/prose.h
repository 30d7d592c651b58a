// Words and sentences of a text.
#ifndef M1RT_VOTE_PROSE_H
#define M1RT_VOTE_PROSE_H

#include "vote/letters.h"
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace m1rt {

// Words of ASCII letters, in lower case, in order.
std::vector<std::string> wordsOf(std::string_view prose);

// Whether nothing but commas, "and" or "or" and signs of formulas stand between two boxes, or
// nothing at all.
bool joins(const std::string &text, size_t begin, size_t end);

// Without what only says why or to whom behind a comma or in brackets: ", as desired", "because …".
std::string_view withoutReason(std::string_view part);

// Without the exclamation mark that ends a sentence, outside its formulas: "42!", but 5! is a
// factorial.
std::string_view withoutExclamation(std::string_view sentence);

// Without blanks, quotation marks and the signs of bold text and code around it, and the
// punctuation and ticks behind it.
std::string bare(std::string_view part);

// Without words but "and" and "or" and names of functions.
bool isFormula(const std::string &part);

// Nouns of amounts, which "a total of 3" and "the area is 3" give a value.
const std::set<std::string> &amountNouns();

bool among(const std::vector<std::string> &words, const std::set<std::string> &known);

// Whether these words deny what they lead to, or give no more than a bound of it.
bool denies(const std::vector<std::string> &words);

// Whether a number before these counts parts of what is being done, and is no answer: "3 cases",
// but not "12 numbers that meet both conditions".
bool countsParts(const std::vector<std::string> &words);

// Whether a number behind this word is that of something else: "case 3", "by 3", "in 1998".
bool isReference(const std::string &word);

// "divide", "consider": what is being done, and no result.
bool tellsWhatIsDone(const std::vector<std::string> &words);

// "hour", "days"
bool isTimeUnit(const std::string &word);

// Whether a sentence that begins with this word is a conclusion.
bool isConclusion(const std::string &word);

// "is the solution", "is our answer"
bool closes(const std::vector<std::string> &words);

// Whether this period ends a sentence, and no abbreviation as "sq." does.
bool endsSentence(std::string_view prose, size_t period);

// Behind the last end of a sentence.
std::string_view lastSentence(std::string_view prose);

// Whether what follows this prose is what the sentence says: "the sum is", "hence", "equal to",
// "we find that", "matrix:".
bool announces(std::string_view prose);

// Whether what follows an answer takes it back: " is wrong", ", but that is not right", ". Hmm,
// that doesn't work". Nothing but such words may stand before.
bool saysWrong(std::string_view behind);

// The same of what was said to be the answer. A letter or a verdict, "No. This is false because
// ...", is taken back only where "wait", "no", "but" or "which" leads.
bool saysWrongOf(std::string_view said, std::string_view behind);

// Whether these words say that what follows is only supposed: "maybe", "one might think", "some
// people say that".
bool isSupposed(std::string_view clause);

// Whether every brace of it closes.
bool isBalanced(const std::string &part);

} // namespace m1rt

#endif
