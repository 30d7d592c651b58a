#include "status.h"

#include <cstdio>
#include <vector>

namespace m1rt {

const std::string &Status::message() const {
  static const std::string none;
  return detail ? detail->message : none;
}

Status &&Status::prefixed(const std::string &context) && {
  if (detail)
    detail->message = context + ": " + detail->message;
  return std::move(*this);
}

static std::string formatArguments(const char *format, va_list arguments) {
  va_list again;
  va_copy(again, arguments);
  int length = std::vsnprintf(nullptr, 0, format, arguments);
  std::string text(length > 0 ? size_t(length) : 0, '\0');
  std::vsnprintf(text.data(), text.size() + 1, format, again);
  va_end(again);
  return text;
}

Status error(StatusCode code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::string text = formatArguments(format, arguments);
  va_end(arguments);
  return Status(code, std::move(text));
}

std::string formatted(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::string text = formatArguments(format, arguments);
  va_end(arguments);
  return text;
}

std::string bytesText(unsigned long long bytes) {
  static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  double value = double(bytes);
  unsigned unit = 0;
  while (value >= 999.95 && unit + 1 < sizeof(units) / sizeof(units[0])) {
    value /= 1000;
    ++unit;
  }
  return unit == 0 ? formatted("%llu B", bytes) : formatted("%.1f %s", value, units[unit]);
}

} // namespace m1rt
