// Numbers in text, whatever the locale: C's strtod and printf read and write the locale's comma.
#ifndef M1RT_BASE_NUMBERS_H
#define M1RT_BASE_NUMBERS_H

#include <charconv>
#include <cmath>
#include <string_view>

namespace m1rt {

// The whole text as a decimal number with an optional sign, "inf", "infinity" or "nan", rounded to
// the nearest double; too large ones are infinite, too small ones zero. False for anything else.
inline bool parseDouble(std::string_view text, double &out) {
  bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+'))
    text.remove_prefix(1);
  if (text.empty() || text[0] == '-' || text.find('(') != text.npos)
    return false;
  double value = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || code == std::errc::invalid_argument)
    return false;
  if (code == std::errc::result_out_of_range) {
    // Which way is seen from the power of ten of the first digit that is not zero.
    size_t e = text.find_first_of("eE"), digits = e == text.npos ? text.size() : e;
    std::string_view mantissa = text.substr(0, digits);
    size_t point = mantissa.find('.'), first = mantissa.find_first_not_of("0.");
    double power =
        point == mantissa.npos ? static_cast<double>(mantissa.size()) : static_cast<double>(point);
    power -= static_cast<double>(first) - (point != mantissa.npos && first > point ? 1 : 0);
    double exponent = 0;
    if (e != text.npos) {
      std::string_view written = text.substr(e + 1);
      bool down = written[0] == '-';
      for (char c : written)
        if (c >= '0' && c <= '9')
          exponent = exponent * 10 + (c - '0');
      exponent = down ? -exponent : exponent;
    }
    value = power + exponent > 0 ? HUGE_VAL : 0.0;
  }
  out = negative ? -value : value;
  return true;
}

} // namespace m1rt

#endif
