// Python's string operations on UTF-8, counted in code points.
#ifndef M1RT_TEMPLATE_TEXT_H
#define M1RT_TEMPLATE_TEXT_H

#include "template/budget.h"

#include <vector>

namespace m1rt::jinja {

using CodePoints = std::vector<uint32_t, Charged<uint32_t>>;
using Strings = std::vector<String, Charged<String>>;

CodePoints codePoints(std::string_view text);
// The code point at `at`; moves `at` past it.
uint32_t nextCodePoint(std::string_view text, size_t &at);
void appendCodePoint(uint32_t c, String &out);
String fromCodePoint(uint32_t c);
size_t length(std::string_view text);
// The offset of the first `part` at or after `from`, or npos; in linear time.
size_t findText(std::string_view text, std::string_view part, size_t from);
size_t findLast(std::string_view text, std::string_view part);

bool isSpace(uint32_t c); // str.isspace
bool isAlphabetic(uint32_t c);
bool isDigit(uint32_t c);   // str.isdigit: decimal digits, and those above, below and in circles
bool isNumeric(uint32_t c); // of all numbers: fractions and Roman ones, too
bool isCased(uint32_t c);
bool isUpper(uint32_t c);
bool isLower(uint32_t c);

enum class Side { left, right, both };
String strip(std::string_view text, Side side); // white space
// any of these characters
String strip(std::string_view text, Side side, std::string_view chars);
String upper(std::string_view text);
String lower(std::string_view text);
String capitalize(std::string_view text); // first as in titles, rest lower
String titleCase(std::string_view text);  // words of letters
String replaceAll(std::string_view text, std::string_view from, std::string_view to, int64_t limit);
Strings splitWhite(std::string_view text, int64_t limit, bool fromRight);
Strings splitBy(std::string_view text, std::string_view separator, int64_t limit, bool fromRight);
Strings splitLines(std::string_view text, bool keepEnds);

} // namespace m1rt::jinja

#endif
