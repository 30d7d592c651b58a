// Sentences that conclude in other words than "so" and "thus".
#ifndef M1RT_VOTE_CONCLUSIONS_H
#define M1RT_VOTE_CONCLUSIONS_H

#include <string>
#include <vector>

namespace m1rt {

// The same sentence as conclusions that begin with "So": "It follows that A", "Since B, A", "Adding
// them, A", "A" with "therefore" in it, "So in 10 years, A", and of what is said twice the second:
// "it is C, i.e. D". The likelier first; none of others.
std::vector<std::string> asConclusions(const std::string &sentence);

} // namespace m1rt

#endif
