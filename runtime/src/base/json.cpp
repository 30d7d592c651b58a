#include "base/json.h"

#include <nlohmann/json.hpp>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

namespace m1rt {
namespace {

// Counts what nlohmann's parser, whose own state is a list of bits, reports.
class Limiter {
public:
  Limiter(JsonSink &sink, const JsonLimits &limits) : sink(sink), limits(limits) {}

  std::string error;

  bool null() { return count() && (sink.null(), true); }
  bool boolean(bool value) { return count() && (sink.boolean(value), true); }
  bool number_integer(int64_t value) { return count() && (sink.integer(value), true); }
  bool number_unsigned(uint64_t value) {
    if (!count())
      return false;
    if (value > static_cast<uint64_t>(INT64_MAX))
      sink.largeInteger(value);
    else
      sink.integer(static_cast<int64_t>(value));
    return true;
  }
  bool number_float(double value, const std::string &) {
    return count() && (sink.real(value), true);
  }
  bool string(std::string &value) { return count() && (sink.string(value), true); }
  bool binary(nlohmann::json::binary_t &) { return false; } // no part of JSON text
  bool start_object(size_t) { return enter() && (sink.beginObject(), true); }
  bool key(std::string &name) { return count() && (sink.key(name), true); }
  bool end_object() { return --depth, sink.endObject(), true; }
  bool start_array(size_t) { return enter() && (sink.beginArray(), true); }
  bool end_array() { return --depth, sink.endArray(), true; }
  bool parse_error(size_t, const std::string &, const nlohmann::json::exception &e) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: …"
    const char *text = std::strstr(e.what(), "] ");
    error = text ? text + 2 : e.what();
    for (char &c : error) // it quotes what was read, which may be no UTF-8
      if (static_cast<unsigned char>(c) >= 0x80)
        c = '?';
    constexpr size_t most = 400, kept = 150; // and as long as the string or number was
    if (error.size() > most)
      error.replace(kept, error.size() - 2 * kept, " ... ");
    return false;
  }

private:
  bool count() {
    if (++values <= limits.values)
      return true;
    error = "more than " + std::to_string(limits.values) + " values";
    return false;
  }
  bool enter() {
    if (++depth > limits.depth) {
      error = "nested deeper than " + std::to_string(limits.depth) + " levels";
      return false;
    }
    return count();
  }

  JsonSink &sink;
  const JsonLimits &limits;
  size_t values = 0;
  int depth = 0;
};

std::string tooLong(size_t limit) {
  return limit >= 1u << 20 ? "longer than " + std::to_string(limit >> 20) + " MB"
                           : "longer than " + std::to_string(limit) + " bytes";
}

} // namespace

bool parseJson(std::string_view text, JsonSink &sink, std::string &error,
               const JsonLimits &limits) {
  if (text.size() > limits.bytes) {
    error = tooLong(limits.bytes);
    return false;
  }
  // The parser below takes it for the end of the text, whatever follows.
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos) {
    error = "holds a NUL byte, at offset " + std::to_string(zero);
    return false;
  }
  Limiter limiter(sink, limits);
  if (nlohmann::json::sax_parse(text.begin(), text.end(), &limiter))
    return true;
  error = limiter.error;
  return false;
}

static std::string cannotRead(int code) {
  return std::string("cannot read: ") + std::strerror(code);
}

bool readTextFile(const std::string &path, size_t limit, std::string &out, std::string &error) {
  // Without O_NONBLOCK a pipe that nobody writes to would be waited for.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  struct stat info = {};
  if (descriptor < 0 || fstat(descriptor, &info) != 0 || S_ISDIR(info.st_mode)) {
    error = cannotRead(descriptor >= 0 && S_ISDIR(info.st_mode) ? EISDIR : errno);
    if (descriptor >= 0)
      ::close(descriptor);
    return false;
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(descriptor);
    error = S_ISFIFO(info.st_mode) ? "is a pipe, expected a file" : "is a device, expected a file";
    return false;
  }
  std::unique_ptr<std::FILE, int (*)(std::FILE *)> file(::fdopen(descriptor, "rb"), std::fclose);
  if (!file) {
    error = cannotRead(errno);
    ::close(descriptor);
    return false;
  }
  out.clear();
  char block[65536];
  while (size_t n = std::fread(block, 1, sizeof block, file.get())) {
    out.append(block, n);
    if (out.size() > limit) {
      error = tooLong(limit);
      return false;
    }
  }
  if (std::ferror(file.get())) {
    error = cannotRead(errno);
    return false;
  }
  return true;
}

} // namespace m1rt
