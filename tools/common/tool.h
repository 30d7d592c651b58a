// What the command-line tools share: how an error is shown, and files that appear only when they
// are complete.
#ifndef M1_TOOLS_COMMON_TOOL_H
#define M1_TOOLS_COMMON_TOOL_H

#include "status.h"
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

namespace m1tool {

/// Prints "NAME: error: message" and returns the exit code of a failed run.
inline int fail(const char *tool, const m1rt::Status &status) {
  std::fflush(stdout);
  std::fprintf(stderr, "%s: error: %s\n", tool, status.message().c_str());
  return 1;
}

/// A file that is written under a temporary name and gets its own name on commit(); otherwise
/// nothing is left behind. What exists and is no regular file (a pipe, a device) is written as it
/// is, never replaced.
class OutputFile {
public:
  OutputFile() = default;
  OutputFile(const OutputFile &) = delete;
  OutputFile &operator=(const OutputFile &) = delete;
  ~OutputFile() {
    if (stream) {
      std::fclose(stream);
      removeTemporary();
    }
  }

  m1rt::Status open(const std::string &target) {
    path = target;
    struct stat info;
    if (::stat(path.c_str(), &info) != 0 || S_ISREG(info.st_mode))
      temporary = target + ".tmp" + std::to_string(getpid());
    stream = std::fopen(temporary.empty() ? path.c_str() : temporary.c_str(), "wb");
    return stream ? m1rt::Status() : failure("cannot create");
  }
  m1rt::Status write(const void *data, size_t size) {
    return std::fwrite(data, 1, size, stream) == size ? m1rt::Status() : failure("cannot write");
  }
  m1rt::Status commit() {
    const bool flushed = std::fflush(stream) == 0;
    const int flushError = errno;
    const bool closed = std::fclose(stream) == 0;
    stream = nullptr;
    const bool named = temporary.empty() || !flushed || !closed ||
                       std::rename(temporary.c_str(), path.c_str()) == 0;
    if (flushed && closed && named)
      return m1rt::Status();
    if (!flushed)
      errno = flushError;
    m1rt::Status status = failure("cannot write");
    removeTemporary();
    return status;
  }

private:
  void removeTemporary() const {
    if (!temporary.empty())
      ::unlink(temporary.c_str());
  }
  m1rt::Status failure(const char *what) const {
    return m1rt::error(m1rt::StatusCode::ioError, "%s: %s: %s", path.c_str(), what,
                       std::strerror(errno));
  }
  std::string path, temporary; // temporary is empty when the file is written in place
  std::FILE *stream = nullptr;
};

} // namespace m1tool

#endif
