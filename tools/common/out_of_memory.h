// What ends a program of several threads when memory runs out in one of them and nobody there can
// give up a part of the work instead: one message, exit code 1, no temporaries left.
#ifndef M1_TOOLS_COMMON_OUT_OF_MEMORY_H
#define M1_TOOLS_COMMON_OUT_OF_MEMORY_H

#include "base/output_file.h"
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <unistd.h>

namespace m1tool {

/// From now on. Other exceptions that nobody catches are faults of the program, and abort it.
inline void reportOutOfMemory() {
  std::set_terminate([] {
    try {
      if (std::exception_ptr thrown = std::current_exception())
        std::rethrow_exception(thrown);
    } catch (const std::bad_alloc &) {
      std::fprintf(stderr, "%s: error: out of memory\n", program_invocation_short_name);
      m1rt::removeTemporaries();
      _exit(1);
    } catch (...) {
    }
    std::abort();
  });
}

} // namespace m1tool

#endif
