// The words of a text that announce its answer.
#ifndef M1RT_VOTE_MARKERS_H
#define M1RT_VOTE_MARKERS_H

#include <cstddef>
#include <string>
#include <vector>

namespace m1rt {

// Where a number or formula begins here, but for "actually" and the like in front of it; npos for
// others. Of a text in lower case, as below.
size_t startOfValue(const std::string &lower, size_t at);

// Behind each "answer is", "answer:", "correct option is", "answer =", or heading that says
// "Answer", in order.
std::vector<size_t> behindMarkers(const std::string &lower);

} // namespace m1rt

#endif
