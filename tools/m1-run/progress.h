// One line on the terminal while many samples run: samples done, tokens a second, time left.
#ifndef M1_TOOLS_RUN_PROGRESS_H
#define M1_TOOLS_RUN_PROGRESS_H

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <unistd.h>

namespace m1tool {

class Progress {
public:
  /// Shows nothing unless wanted and standard error is a terminal.
  explicit Progress(bool wanted)
      : visible(wanted && isatty(STDERR_FILENO)), began(Clock::now()), shown(began) {}

  /// `budget`: seconds; 0 when there is none. Time left is then the budget's, otherwise estimated
  /// from the samples done.
  void show(uint64_t done, uint64_t all, uint64_t tokens, double budget) {
    Clock::time_point now = Clock::now();
    if (!visible || now - shown < std::chrono::milliseconds(200))
      return;
    shown = now;
    double seconds = std::chrono::duration<double>(now - began).count();
    double left = budget > 0 ? budget - seconds
                  : done     ? seconds / double(done) * double(all - done)
                             : -1;
    std::fprintf(stderr, "\r\033[K%llu/%llu samples, %.0f tokens/s", (unsigned long long)done,
                 (unsigned long long)all, double(tokens) / seconds);
    if (left >= 0)
      std::fprintf(stderr, ", %.0f s left", left);
    std::fflush(stderr);
  }
  void clear() {
    if (visible)
      std::fprintf(stderr, "\r\033[K");
  }

private:
  using Clock = std::chrono::steady_clock;
  bool visible;
  Clock::time_point began, shown;
};

} // namespace m1tool

#endif
