// Where in a text its answer stands. extractBoxed() and extractAnswer() are in vote.h.
#ifndef M1RT_VOTE_EXTRACTION_H
#define M1RT_VOTE_EXTRACTION_H

#include <string>

namespace m1rt {

// Without blanks and line ends around it.
std::string trimmed(const std::string &s);

// Behind </think>, and within <answer>, where they are: the content of the last box, as
// extractBoxed() has it, unless "The final answer is $5$" follows. Of a text without a box: what
// stands behind "####", "answer is" or a heading "Answer", to the end of its line or sentence; else
// the formula that its last sentence ends with, or its number, if the words before it announce it;
// else the whole text.
std::string answerIn(const std::string &text);

} // namespace m1rt

#endif
