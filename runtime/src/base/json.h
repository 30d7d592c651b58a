// The one reader of JSON that others wrote: checkpoints, tokenizers, datasets, requests. It does
// not recurse, and it refuses what is larger or nested deeper than its limits before memory is
// spent on it.
#ifndef M1RT_BASE_JSON_H
#define M1RT_BASE_JSON_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace m1rt {

struct JsonLimits {
  size_t bytes = size_t(256) << 20; // of the text
  size_t values = size_t(8) << 20;  // objects, arrays, keys and scalars
  int depth = 100;                  // objects and arrays within one another
};

// Is told what the text holds, in order. What it gets is well formed: keys only in objects, ends
// that match. It may take the strings.
class JsonSink {
public:
  virtual ~JsonSink() = default;
  virtual void null() = 0;
  virtual void boolean(bool value) = 0;
  virtual void integer(int64_t value) = 0;
  virtual void largeInteger(uint64_t value) = 0; // above int64's range
  virtual void real(double value) = 0;           // finite
  virtual void string(std::string &value) = 0;   // UTF-8
  virtual void beginObject() = 0;
  virtual void key(std::string &name) = 0;
  virtual void endObject() = 0;
  virtual void beginArray() = 0;
  virtual void endArray() = 0;
};

// False, with `error` saying where and what was expected, for what is not JSON or is beyond the
// limits; the sink may have been told a part.
bool parseJson(std::string_view text, JsonSink &sink, std::string &error,
               const JsonLimits &limits = {});

// A file's text, if it holds at most `limit` bytes. Nothing is read past the limit. `error` says
// what was done and why it failed, without the file's name.
bool readTextFile(const std::string &path, size_t limit, std::string &out, std::string &error);

} // namespace m1rt

#endif
