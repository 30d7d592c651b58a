// What the tools read: whole files, where "-" is standard input, token ids, and texts of flags.
#ifndef M1_TOOLS_COMMON_INPUT_H
#define M1_TOOLS_COMMON_INPUT_H

#include "base/open_file.h"
#include "status.h"
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace m1tool {

using m1rt::inputName;

/// Bytes of a file that readFile() takes.
constexpr size_t mostInput = size_t(1) << 30;
m1rt::Status readFile(const std::string &path, std::string *out);
/// The same for text: what is a file of another kind, or no UTF-8, is an error that says so.
m1rt::Status readText(const std::string &path, std::string *out);

/// The lines of a file or of standard input, one by one as they come.
class LineReader {
public:
  LineReader() = default;
  LineReader(const LineReader &) = delete;
  ~LineReader();
  m1rt::Status open(const std::string &path);
  /// The next line without its end, of mostInput bytes at most; false behind the last one, and when
  /// status() has become an error.
  bool next(std::string *line);
  /// Whether next() has to wait for what is not there yet.
  bool waits() const { return begin == buffer.size(); }
  const m1rt::Status &status() const { return problem; }

private:
  std::string name, buffer;
  size_t begin = 0; // of what has not been handed out
  int descriptor = -1;
  m1rt::Status problem;
};

/// At least one id of [0, vocabulary), separated by blanks; the error names the first word that is
/// none.
m1rt::Status readTokenIds(const std::string &path, int64_t vocabulary, std::vector<int32_t> *out);

/// The text of a flag: `\n` is a line break and `\\` a backslash; any other backslash stands for
/// itself, so that \boxed{ needs no care.
std::string unescaped(const std::string &text);

} // namespace m1tool

#endif
