// What the command-line tools share: how an error is shown, and files that appear only when they
// are complete (base/output_file.h).
#ifndef M1_TOOLS_COMMON_TOOL_H
#define M1_TOOLS_COMMON_TOOL_H

#include "base/output_file.h"
#include "printable.h"
#include "status.h"
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

namespace m1tool {

/// Prints "NAME: error: message" and returns the exit code of a failed run.
inline int fail(const char *tool, const m1rt::Status &status) {
  std::fflush(stdout);
  say(tool, "error", status.message());
  return 1;
}

/// Of standard output, by errno.
inline m1rt::Status outputError() {
  return m1rt::error(m1rt::StatusCode::ioError, "cannot write the output: %s",
                     std::strerror(errno));
}

/// What is wrong with writing to `output`, the value of `flag`: that it is one of the files which
/// are read, by whatever name. Empty when nothing is; a flag without a value names no file.
inline std::string overwrites(const char *flag, const std::string &output,
                              std::initializer_list<std::string> inputs) {
  struct stat target, source;
  if (output.empty() || ::stat(output.c_str(), &target) != 0 || !S_ISREG(target.st_mode))
    return {};
  for (const std::string &input : inputs)
    if (!input.empty() && ::stat(input.c_str(), &source) == 0 && source.st_dev == target.st_dev &&
        source.st_ino == target.st_ino)
      return std::string(flag) + " " + output + ": would overwrite " + input + ", which is read";
  return {};
}

using m1rt::OutputFile;

} // namespace m1tool

#endif
