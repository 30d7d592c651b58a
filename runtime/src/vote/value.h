// What an answer says: a number or expression, a collection of them, a relation, or text.
#ifndef M1RT_VOTE_VALUE_H
#define M1RT_VOTE_VALUE_H

#include "vote/expression.h"

namespace m1rt::vote {

struct Value {
  enum class Kind : uint8_t {
    text,       // text
    expression, // expression
    list,       // items without brackets, with ± expanded: no order
    set,        // \{ … \}: no order
    tuple,      // brackets and items in order: points and intervals
    joined,     // items joined by ∪ (text "∪"), ∩ or =: no order
    matrix,     // items, row by row; columns
    equation,   // items: left and right side; canonical and named: y's value
    relation,   // text: < ≤ ≠; items: left and right side
  };
  Kind kind = Kind::text;
  std::string text; // without blanks and punctuation; expression: its letters if it is only letters
  std::string open, close;
  size_t columns = 0; // of a ratio: 1 where it may be a time of day
  std::shared_ptr<Expression> expression;
  std::vector<std::shared_ptr<const Value>> items;
  bool named = false; // equation: the left side is a name, so the right side is the answer
  std::string of;     // intervals that a relation leaves: the name of its only variable
  std::string key;    // of canonical values: equal values, and no others, have equal ones; "": none
};

// Never null.
std::shared_ptr<const Value> readAnswer(const std::string &latex);

// The one form of all values that count as the same, but for expressions, with its key: x = 5 is 5,
// 2x = 6 is 3, y - 2x = 3 is 2x + 3; 5, 5 is 5; lists and unions are sets; \text{C} is the letter,
// and a word in letters is text.
std::shared_ptr<const Value> canonical(const std::shared_ptr<const Value> &value);

} // namespace m1rt::vote

#endif
