// What ends a program when memory runs out where nobody can give up a part of the work instead: one
// message, exit code 1, no temporaries left.
#ifndef M1_TOOLS_COMMON_OUT_OF_MEMORY_H
#define M1_TOOLS_COMMON_OUT_OF_MEMORY_H

#include "base/output_file.h"
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <cxxabi.h>
#include <exception>
#include <sys/mman.h>
#include <typeinfo>
#include <unistd.h>

namespace m1tool {

/// From before the first variable of the program is made. Other exceptions that nobody catches are
/// faults of the program, and abort it.
[[gnu::constructor(101)]] static void reportOutOfMemory() {
  std::set_terminate([] {
    // Nothing here takes memory. Where there is none for the exception either, none is thrown.
    const std::type_info *thrown = abi::__cxa_current_exception_type();
    const auto isMemoryLeft = [] {
      const int access = PROT_READ | PROT_WRITE, kind = MAP_PRIVATE | MAP_ANONYMOUS;
      return ::mmap(nullptr, 16 << 20, access, kind, -1, 0) != MAP_FAILED;
    };
    const bool isOutOfMemory =
        thrown ? std::strcmp(thrown->name(), "St9bad_alloc") == 0 : !isMemoryLeft();
    if (!isOutOfMemory)
      __gnu_cxx::__verbose_terminate_handler(); // says what, and aborts
    std::fprintf(stderr, "%s: error: out of memory\n", program_invocation_short_name);
    m1rt::removeTemporaries();
    _exit(1);
  });
}

} // namespace m1tool

#endif
