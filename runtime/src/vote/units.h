// Which words are units. They say what a number counts or measures, and do not count in an answer.
#ifndef M1RT_VOTE_UNITS_H
#define M1RT_VOTE_UNITS_H

#include <optional>
#include <string>

namespace m1rt::vote {

// A word that says what a number counts, whatever it measures: "cm", "people", "ways".
bool isUnitWord(const std::string &word);

// Whether these words are a unit and nothing else: " km/h", "square centimeters", "miles per hour".
bool isUnit(const std::string &words);

// Whether this is a unit of measure: "km/h", "square feet", "N*m", "s^-2", "degrees Celsius",
// "dollars". Not words that measure nothing ("apples", "units"), and no ratios of two times.
bool isMeasure(const std::string &unit);

// Whether it is one behind this number: "9.8 m"; "5 m" may be a product.
bool isMeasureOf(const std::string &number, const std::string &unit);

// Whether two units are the same one: "ft" and "feet", but not "ft" and "in".
bool isSameUnit(const std::string &a, const std::string &b);

// "5 ft 10 in", 5'10" and "2 hours and 30 minutes" with one name for each unit: amounts of several
// units. Nothing for others.
std::optional<std::string> severalUnits(const std::string &latex);

} // namespace m1rt::vote

#endif
