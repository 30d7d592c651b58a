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

using m1rt::OutputFile;

} // namespace m1tool

#endif
