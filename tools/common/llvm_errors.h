// What ends a program that uses LLVM from within it: one message, exit code 1, no temporaries left.
// Without this LLVM aborts.
#ifndef M1_TOOLS_COMMON_LLVM_ERRORS_H
#define M1_TOOLS_COMMON_LLVM_ERRORS_H

#include "base/output_file.h"
#include "llvm/Support/ErrorHandling.h"
#include <cerrno>
#include <cstdio>
#include <new>
#include <unistd.h>

namespace m1tool {

/// For what LLVM cannot go on after, and for memory that runs out.
[[noreturn]] inline void endWith(const char *reason) {
  std::fprintf(stderr, "%s: error: %s\n", program_invocation_short_name, reason);
  m1rt::removeTemporaries();
  _exit(1);
}

inline void reportLlvmErrors() {
  auto handler = [](void *, const char *reason, bool) { endWith(reason); };
  llvm::install_fatal_error_handler(handler);
  llvm::install_bad_alloc_error_handler(
      [](void *, const char *, bool) { endWith("out of memory"); });
  std::set_new_handler([] { endWith("out of memory"); });
}

} // namespace m1tool

#endif
