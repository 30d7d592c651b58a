// Numbers between bounds as grammars of their decimal texts.
#ifndef M1RT_GRAMMAR_NUMBER_RANGE_H
#define M1RT_GRAMMAR_NUMBER_RANGE_H

#include "grammar/grammar.h"
#include <optional>

namespace m1rt {

struct NumberRange {
  std::optional<int64_t> least, most; // none: unbounded
  bool leastExcluded = false, mostExcluded = false;

  bool bounded() const { return least || most; }
  bool empty() const {
    return least && most &&
           (*least > *most || (*least == *most && (leastExcluded || mostExcluded)));
  }
};

/// Integers of the range, which is not empty and excludes nothing. Where it is unbounded they have
/// up to 15 digits, or as many as the bound on the other side.
Grammar::Rule integersIn(const NumberRange &range, Grammar *grammar);
/// Numbers of the range, which is not empty, without exponents: up to 15 digits after the point.
Grammar::Rule numbersIn(const NumberRange &range, Grammar *grammar);

} // namespace m1rt

#endif
