// Ctrl-C as a flag. The first one asks the work at hand to stop; a second one before the flag is
// taken ends the program as usual.
#ifndef M1_TOOLS_COMMON_INTERRUPT_H
#define M1_TOOLS_COMMON_INTERRUPT_H

#include <atomic>
#include <csignal>

namespace m1tool {

inline std::atomic<bool> &interruptFlag() {
  static std::atomic<bool> flag{false};
  return flag;
}

inline void catchInterrupts() {
  struct sigaction action = {};
  action.sa_handler = [](int signal) {
    if (interruptFlag().exchange(true)) {
      std::signal(signal, SIG_DFL);
      std::raise(signal);
    }
  };
  sigaction(SIGINT, &action, nullptr); // no SA_RESTART: a read at the prompt returns
}

/// Whether Ctrl-C came since the last call.
inline bool takeInterrupt() { return interruptFlag().exchange(false); }

} // namespace m1tool

#endif
