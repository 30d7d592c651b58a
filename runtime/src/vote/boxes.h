// The boxes of a text: \boxed{...} and what says the same. extractBoxed() is in vote.h.
#ifndef M1RT_VOTE_BOXES_H
#define M1RT_VOTE_BOXES_H

#include <optional>
#include <string>

namespace m1rt {

// The last box, and those before it that belong to it; where it ends.
struct Boxed {
  std::string content;
  size_t end;
};

std::optional<Boxed> lastBox(const std::string &text);

// Whether the last box of a text has no end.
bool endsWithinBox(const std::string &text);

// "\boxed 3" and "\boxed\frac12" in a text without braces behind \boxed: to the end of the formula
// or line.
std::optional<std::string> bareBox(const std::string &text);

// What stands in a box that says nothing: \boxed{?}, \boxed{\text{answer}}, \boxed{\ldots}.
bool isPlaceholder(const std::string &content);

} // namespace m1rt

#endif
