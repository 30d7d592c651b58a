// Python's format % arguments.
#include "template/builtins.h"
#include "template/text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace m1rt::jinja {
namespace {

using Kind = Value::Kind;

constexpr int64_t kMaxWidth = 100000, kMaxPrecision = 100;

struct Field {
  bool left = false, plus = false, blank = false, zeros = false;
  int64_t width = 0, precision = -1;
  char conversion = 0;
};

bool isFormatReal(char c) { return c && std::string_view("fFeEgG").find(c) != std::string::npos; }

// The number without its sign; `negative` says which.
String digitsOf(const Field &field, const Value &v, bool &negative) {
  auto wrong = [&](const char *expected) {
    return TemplateError(std::string("%") + field.conversion + " format: " + expected +
                         " is required, not " + v.typeName());
  };
  char text[512];
  if (isFormatReal(field.conversion)) {
    if (!v.isNumber())
      throw wrong("a number");
    negative = std::signbit(v.asDouble());
    const char format[] = {'%', '.', '*', field.conversion, 0};
    snprintf(text, sizeof text, format, static_cast<int>(field.precision < 0 ? 6 : field.precision),
             std::fabs(v.asDouble()));
    return text;
  }
  const bool isHex = field.conversion == 'x' || field.conversion == 'X';
  if (!v.isIntegral() && (isHex || !v.is(Kind::real)))
    throw wrong(isHex ? "an integer" : "a real number");
  if (v.is(Kind::real) && !(std::fabs(v.floating) < 9e18))
    throw TemplateError("an integer grows past 64 bits");
  const int64_t number = v.is(Kind::real) ? static_cast<int64_t>(v.floating) : v.number;
  negative = number < 0;
  const uint64_t size =
      negative ? 0 - static_cast<uint64_t>(number) : static_cast<uint64_t>(number);
  String digits(text, std::to_chars(text, text + sizeof text, size, isHex ? 16 : 10).ptr);
  if (field.conversion == 'X')
    digits = upper(digits);
  if (static_cast<int64_t>(digits.size()) < field.precision)
    digits.insert(0, static_cast<size_t>(field.precision) - digits.size(), '0');
  return digits;
}

String convert(const Field &field, const Value &v) {
  String sign, body;
  const bool isText = field.conversion == 's' || field.conversion == 'r';
  if (isText) {
    body = field.conversion == 's' ? v.str() : v.repr();
    if (field.precision >= 0)
      body = sliceOf(body, nullptr, field.precision, nullptr).text();
  } else {
    bool negative = false;
    body = digitsOf(field, v, negative);
    sign = negative ? "-" : field.plus ? "+" : field.blank ? " " : "";
  }
  const int64_t missing = field.width - static_cast<int64_t>(length(body) + sign.size());
  const String padding(static_cast<size_t>(std::max<int64_t>(missing, 0)),
                       field.zeros && !isText && !field.left ? '0' : ' ');
  if (field.left)
    return sign + body + padding;
  return field.zeros && !isText ? sign + padding + body : padding + sign + body;
}

} // namespace

String formatPercent(const String &format, const Value &arguments) {
  const bool isTuple = arguments.is(Kind::tuple) && !arguments.asRange();
  const size_t count = isTuple ? arguments.items().size() : 1;
  size_t used = 0, i = 0;
  String out;
  auto at = [&] { return i < format.size() ? format[i] : '\0'; };
  auto number = [&](int64_t most, const char *what) {
    int64_t n = 0;
    if (at() == '*')
      throw TemplateError(std::string("'*' as the ") + what + " of a format is not supported");
    for (; at() >= '0' && at() <= '9'; ++i)
      if ((n = n * 10 + (at() - '0')) > most)
        throw TemplateError(std::string("the ") + what + " of a format is more than " +
                            std::to_string(most));
    return n;
  };
  for (; i < format.size(); ++i) {
    if (at() != '%') {
      out += at();
      continue;
    }
    ++i;
    const Value *value = nullptr;
    if (at() == '(') {
      const size_t close = format.find(')', i);
      if (close == String::npos)
        throw TemplateError("incomplete key of a format");
      const String key = format.substr(i + 1, close - i - 1);
      if (!arguments.is(Kind::dict))
        throw TemplateError("'%(" + plain(key) + ")' needs a dict, not a " + arguments.typeName());
      value = arguments.entries().find(std::string_view(key));
      if (!value)
        throw TemplateError("no argument for '%(" + plain(key) + ")'");
      i = close + 1;
      used = count;
    }
    Field field;
    for (;; ++i)
      if (at() == '-')
        field.left = true;
      else if (at() == '+')
        field.plus = true;
      else if (at() == ' ')
        field.blank = true;
      else if (at() == '0')
        field.zeros = true;
      else
        break;
    field.width = number(kMaxWidth, "width");
    if (at() == '.') {
      ++i;
      field.precision = number(kMaxPrecision, "precision");
    }
    if (i >= format.size())
      throw TemplateError("incomplete format");
    field.conversion = at();
    if (field.conversion == '%') {
      out += '%';
      continue;
    }
    if (std::string_view("srdiuxX").find(field.conversion) == std::string::npos &&
        !isFormatReal(field.conversion)) {
      size_t end = i; // of the whole character, which may be several bytes
      nextCodePoint(format, end);
      throw TemplateError("format '%" + plain(std::string_view(format).substr(i, end - i)) +
                          "' is not supported");
    }
    if (!value) {
      if (used == count)
        throw TemplateError("not enough arguments for the format");
      value = isTuple ? &arguments.items()[used] : &arguments;
      ++used;
    }
    out += convert(field, *value);
  }
  // Python asks this of what has no keys only.
  if (used < count && !arguments.is(Kind::dict) && !arguments.is(Kind::list) &&
      !arguments.is(Kind::undefined))
    throw TemplateError("not all arguments are used by the format");
  return out;
}

} // namespace m1rt::jinja
