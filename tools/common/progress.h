// Progress on standard error: a line that is rewritten on a terminal, a line every few seconds in a
// log.
#ifndef M1_TOOLS_COMMON_PROGRESS_H
#define M1_TOOLS_COMMON_PROGRESS_H

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <unistd.h>

namespace m1tool {

class ProgressLine {
public:
  /// Shows nothing unless wanted.
  explicit ProgressLine(bool wanted = true) : wanted(wanted), shown(Clock::now()) {}
  ProgressLine(const ProgressLine &) = delete;
  ProgressLine &operator=(const ProgressLine &) = delete;
  ~ProgressLine() { clear(); }

  /// Whether the time for a new text has come; in a log, the first one comes after as long a time.
  bool due() const {
    const auto interval = terminal ? std::chrono::milliseconds(200) : std::chrono::seconds(5);
    return wanted && Clock::now() - shown >= interval;
  }
  void show(const std::string &text) {
    if (!wanted)
      return;
    shown = Clock::now();
    std::fprintf(stderr, terminal ? "\r\033[K%s" : "%s\n", text.c_str());
    std::fflush(stderr);
    visible = terminal;
  }
  /// Takes the line off a terminal, for other output.
  void clear() {
    if (visible)
      std::fprintf(stderr, "\r\033[K");
    visible = false;
  }

private:
  using Clock = std::chrono::steady_clock;
  bool wanted, terminal = isatty(STDERR_FILENO), visible = false;
  Clock::time_point shown;
};

/// Of many samples: how many have ended, tokens a second, time left.
class SampleProgress {
public:
  explicit SampleProgress(bool wanted) : line(wanted), began(Clock::now()) {}

  /// `budget`: seconds; 0 when there is none. Time left is then the budget's, otherwise estimated
  /// from the samples done.
  void show(uint64_t done, uint64_t all, uint64_t tokens, double budget) {
    if (!line.due())
      return;
    const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
    const double left = budget > 0 ? budget - seconds
                        : done     ? seconds / double(done) * double(all - done)
                                   : -1;
    char text[160];
    int size =
        std::snprintf(text, sizeof text, "%llu/%llu samples, %.0f tokens/s",
                      (unsigned long long)done, (unsigned long long)all, double(tokens) / seconds);
    if (left >= 0)
      std::snprintf(text + size, sizeof text - size_t(size), ", %.0f s left", left);
    line.show(text);
  }
  void clear() { line.clear(); }

private:
  using Clock = std::chrono::steady_clock;
  ProgressLine line;
  Clock::time_point began;
};

} // namespace m1tool

#endif
