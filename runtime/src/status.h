// The result of everything that can fail in the runtime: a code and a message that names the file,
// offset, index or size at fault. No function of the runtime reports failure by an exception.
#ifndef M1RT_STATUS_H
#define M1RT_STATUS_H

#include <cstdarg>
#include <memory>
#include <string>
#include <utility>

namespace m1rt {

/// Values equal m1_status_code of the C API.
enum class StatusCode {
  ok = 0,
  // the caller asked for something that cannot be: token out of range, unknown device, context too
  // long
  invalidArgument = 1,
  notFound = 2,    // a file or a named thing is missing
  corrupt = 3,     // an artifact or weight file is damaged
  unsupported = 4, // newer version, CPU or GPU without a needed feature, no such target
  outOfMemory = 5, // memory, slots or pages
  ioError = 6,     // the operating system refused
  deviceError = 7, // the device failed; the context is lost
  cancelled = 8,
};

class [[nodiscard]] Status {
public:
  Status() = default;
  Status(StatusCode code, std::string message) : detail(new Detail{code, std::move(message)}) {}
  Status(const Status &other) : detail(other.detail ? new Detail(*other.detail) : nullptr) {}
  Status(Status &&) = default;
  Status &operator=(Status other) {
    detail = std::move(other.detail);
    return *this;
  }

  bool ok() const { return !detail; }
  StatusCode code() const { return detail ? detail->code : StatusCode::ok; }
  /// Lower case, no final period; empty when ok.
  const std::string &message() const;
  /// Puts "context: " before the message. For naming the file or the phase further out.
  Status &&prefixed(const std::string &context) &&;

private:
  struct Detail {
    StatusCode code;
    std::string message;
  };
  std::unique_ptr<Detail> detail;
};

/// printf-style construction: `return error(StatusCode::corrupt, "weight %u …", i)`.
__attribute__((format(printf, 2, 3))) Status error(StatusCode code, const char *format, ...);
__attribute__((format(printf, 1, 2))) std::string formatted(const char *format, ...);

/// A byte count for messages: "6.9 GB".
std::string bytesText(unsigned long long bytes);

} // namespace m1rt

/// Returns from the enclosing function when the expression fails.
#define M1_TRY(expression)                                                                         \
  do {                                                                                             \
    if (::m1rt::Status m1TryStatus = (expression); !m1TryStatus.ok())                              \
      return m1TryStatus;                                                                          \
  } while (false)

#endif
