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
    joined,     // items joined by ∪ (text "∪") or ∩: no order
    matrix,     // items, row by row; columns
    equation,   // items: left and right side
    relation,   // text: < ≤ ≠; items: left and right side
  };
  Kind kind = Kind::text;
  std::string text; // normalised: see plainText
  std::string open, close;
  size_t columns = 0;
  std::shared_ptr<Expression> expression;
  std::vector<std::shared_ptr<const Value>> items;
  bool named = false; // equation: the left side is a name, so the right side is the answer
};

// Never null.
std::shared_ptr<const Value> readAnswer(const std::string &latex);
bool equalValues(const Value &a, const Value &b);

} // namespace m1rt::vote

#endif
