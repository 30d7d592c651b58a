// Answers of chains of thought: extraction, equality in value, majority.
#ifndef M1RT_VOTE_VOTE_H
#define M1RT_VOTE_VOTE_H

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace m1rt {

// Content of the last \boxed{…} (or \fbox) whose braces balance, blanks at its ends removed;
// nothing when there is none. Boxes before it that only "and", "or" or a comma parts from it are
// answers, too: "\boxed{3} or \boxed{5}" is "3, 5".
std::optional<std::string> extractBoxed(const std::string &text);

// What a text answers: its last box; without one what stands within <answer>, or what its words
// announce, as "#### 5", "the answer is 5", "so x = 5" and "so the total is $5$" do. What follows
// </think> counts, unless it says nothing, and so does "the final answer is $5$" behind a box, or
// any announced answer behind one that is taken back. Nothing where no word announces an answer,
// where the last box is empty or holds a placeholder, or where the only one does not close.
std::optional<std::string> extractAnswer(const std::string &text);

// An answer in LaTeX or plain text, read once for many comparisons. Any text is an answer; what is
// not understood as mathematics is compared as text. A text with a \boxed{…} is the answer in its
// last box; else one with "#### 5" or "the answer is 5" is what follows that, and one that ends
// with "the total is $5$" is that formula.
//
// Equal are answers of equal value: 1/2, 0.5, 50\%, \frac12 and \tfrac{1}{2}; 2\sqrt2 and \sqrt8;
// 10,000 and 10\,000; (x+1)^2 and x^2+2x+1. Degree signs (outside \sin and the like), units,
// currency and a leading "x =" do not count; numbers in base b (52_8) have the value they stand
// for. Lists without brackets and sets have no order, tuples, intervals (with their kind of
// bracket) and matrices do. Rational values are compared exactly, everything else numerically, by
// twelve digits at several points. Equality is an equivalence, that of one key for each value: the
// classes of a vote do not depend on the order in which samples end. Reading takes some
// milliseconds at most; what would take longer equals the same text alone.
class Answer {
public:
  explicit Answer(std::string text);
  const std::string &text() const { return original; }
  bool equals(const Answer &other) const;
  // Equal for equal answers, and for no others.
  const std::string &classKey() const { return key; }

private:
  std::string original, key;
};

bool answersEqual(const std::string &a, const std::string &b);

struct VoteResult {
  int winner = -1; // index of the first sample with the winning answer; -1 when no sample has one
  size_t votes = 0;
  // per sample: index of the first sample of its class; -1 without an answer
  std::vector<int> group;
};

// Equal answers count together. Most votes win; of equally many, the answer that came first.
VoteResult majorityVote(const std::vector<std::optional<Answer>> &answers);

} // namespace m1rt

#endif
