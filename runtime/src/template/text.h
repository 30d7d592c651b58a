// Python's string operations on UTF-8, counted in code points.
#ifndef M1RT_TEMPLATE_TEXT_H
#define M1RT_TEMPLATE_TEXT_H

#include <cstdint>
#include <string>
#include <vector>

namespace m1rt::jinja {

std::vector<uint32_t> codePoints(const std::string &text);
void appendCodePoint(uint32_t c, std::string &out);
std::string fromCodePoints(const std::vector<uint32_t> &chars);
size_t length(const std::string &text);

bool isSpace(uint32_t c); // str.isspace
bool isAlphabetic(uint32_t c);
bool isDigit(uint32_t c); // decimal digits
bool isUpper(uint32_t c);
bool isLower(uint32_t c);

enum class Side { left, right, both };
std::string strip(const std::string &text, Side side); // white space
// any of these characters
std::string strip(const std::string &text, Side side, const std::string &chars);
std::string upper(const std::string &text);
std::string lower(const std::string &text);
std::string capitalize(const std::string &text); // first upper, rest lower
std::string replaceAll(const std::string &text, const std::string &from, const std::string &to,
                       int64_t limit);
std::vector<std::string> splitWhite(const std::string &text, int64_t limit, bool fromRight);
std::vector<std::string> splitBy(const std::string &text, const std::string &separator,
                                 int64_t limit, bool fromRight);
std::vector<std::string> splitLines(const std::string &text, bool keepEnds);

} // namespace m1rt::jinja

#endif
