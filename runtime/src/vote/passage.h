// The passage of a text that its answer stands in.
#ifndef M1RT_VOTE_PASSAGE_H
#define M1RT_VOTE_PASSAGE_H

#include <string>
#include <utility>

namespace m1rt {

// The part of a text that its answer stands in, and whether all of it is the answer: tags say so,
// or it is nothing but a value behind thoughts.
std::pair<std::string, bool> answeringPart(const std::string &whole);

// Whether a text ends within its thoughts.
bool isThinking(const std::string &whole);

// Before the control token that ends the turn (<|im_end|>, <|eot_id|>, </s>), and the sentence that
// some prompts teach.
std::string ownTurn(const std::string &whole);

// The last part of a text that is too long to be looked through as a whole, from a line's begin.
std::string lastPart(const std::string &text);

} // namespace m1rt

#endif
