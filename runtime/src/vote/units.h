// Units of measure: which words are units, what they measure, and how large they are.
#ifndef M1RT_VOTE_UNITS_H
#define M1RT_VOTE_UNITS_H

#include "vote/expression.h"
#include <map>
#include <optional>
#include <string>

namespace m1rt::vote {

// A word that says what a number counts, whatever it measures: "cm", "people", "ways".
bool isUnitWord(const std::string &word);

// Whether these words are a unit and nothing else: " km/h", "square centimeters", "miles per hour".
bool isUnit(const std::string &words);

// What a value in a unit measures: `size` · value + `zero` of the base units of its dimension.
struct Measure {
  std::map<std::string, int> dimension; // powers of base units
  Rational size{1, 1}, zero{0, 1};
  bool operator==(const Measure &other) const;
};

// "km/h", "square feet", "N*m", "s^-2", "degrees Celsius", "dollars". None for words that measure
// nothing that others do, too ("apples", "units"), and for ratios of two times.
std::optional<Measure> measureOf(const std::string &unit);

// The dimension alone, in one spelling.
std::string dimensionOf(const Measure &measure);
// A value in a unit, in base units.
ExpressionPtr inBaseUnits(const Expression &value, const Measure &measure);

// "2 hours 30 minutes", "5 ft 6 in", "3 dollars and 50 cents": parts of one dimension, each smaller
// than the one before. None for others.
struct Quantity {
  Measure measure; // in base units
  ExpressionPtr value;
};
std::optional<Quantity> compoundQuantity(const std::string &latex);

// The unit of the sign of money in front of a number or behind it: "dollar" for \$5; "" without.
std::string currencyOf(const std::string &latex);

} // namespace m1rt::vote

#endif
