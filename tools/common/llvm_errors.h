// What ends a program that uses LLVM from within it: one message, exit code 1, no temporaries left.
// Without this LLVM aborts.
#ifndef M1_TOOLS_COMMON_LLVM_ERRORS_H
#define M1_TOOLS_COMMON_LLVM_ERRORS_H

#include "base/output_file.h"
#include "llvm/Support/ErrorHandling.h"
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <new>
#include <ucontext.h>
#include <unistd.h>

namespace m1tool {

/// For what LLVM cannot go on after, and for memory that runs out.
[[noreturn]] inline void endWith(const char *reason) {
  std::fprintf(stderr, "%s: error: %s\n", program_invocation_short_name, reason);
  m1rt::removeTemporaries();
  _exit(1);
}

/// The file that MLIR works on, for messages.
inline const char *&workedOn() {
  static const char *path = nullptr;
  return path;
}

/// MLIR recurses with what it reads: a stack that runs out ends the program with a message, too.
/// Any other fault is as it was.
inline void reportStackOverflow() {
  static struct sigaction former;
  alignas(16) static char place[64 << 10];
  stack_t alternate = {};
  alternate.ss_sp = place;
  alternate.ss_size = sizeof place;
  struct sigaction action = {};
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  action.sa_sigaction = [](int signal, siginfo_t *info, void *context) {
    const auto top = uintptr_t(static_cast<ucontext_t *>(context)->uc_mcontext.gregs[REG_RSP]);
    const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
    m1rt::removeTemporaries();
    if (info->si_code > 0 && (address > top ? address - top : top - address) < (256 << 10)) {
      auto print = [](const char *text) { (void)!::write(STDERR_FILENO, text, std::strlen(text)); };
      print(program_invocation_short_name);
      print(": error: ");
      print(workedOn() ? workedOn() : "");
      print(workedOn() ? ": " : "");
      print("nests or chains too deep for the stack (ulimit -s)\n");
      _exit(1);
    }
    sigaction(SIGSEGV, &former, nullptr);
    if (info->si_code <= 0) // sent; a fault comes again
      ::raise(signal);
  };
  if (::sigaltstack(&alternate, nullptr) == 0)
    ::sigaction(SIGSEGV, &action, &former);
}

inline void reportLlvmErrors() {
  reportStackOverflow();
  auto handler = [](void *, const char *reason, bool) { endWith(reason); };
  llvm::install_fatal_error_handler(handler);
  llvm::install_bad_alloc_error_handler(
      [](void *, const char *, bool) { endWith("out of memory"); });
  std::set_new_handler([] { endWith("out of memory"); });
}

} // namespace m1tool

#endif
