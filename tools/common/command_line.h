// How every tool begins and reads its command line, so that mistakes look alike: one message with
// the program's name, exit code 2.
#ifndef M1_TOOLS_COMMON_COMMAND_LINE_H
#define M1_TOOLS_COMMON_COMMAND_LINE_H

#include "out_of_memory.h"
#include "printable.h"
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <pthread.h>
#include <string>
#include <sys/resource.h>
#include <unistd.h>

namespace m1tool {

/// For on_exit(): a program that says it succeeded has printed everything, --help included.
inline void checkStandardOutput(int code, void *) {
  if (code != 0)
    return;
  errno = 0;
  const bool flushed = std::fflush(stdout) == 0;
  if (flushed && std::ferror(stdout) == 0)
    return;
  std::fprintf(stderr, "%s: error: cannot write the output%s%s\n", program_invocation_short_name,
               flushed ? "" : ": ", flushed ? "" : std::strerror(errno));
  _exit(1);
}

/// Gives this thread, and those that will be, the stack that is usual, where a smaller limit is
/// set; ends the program when that is forbidden and what there is would not do.
inline void enlargeStack() {
  constexpr rlim_t usual = 8 << 20, least = 256 << 10;
  rlimit limit = {};
  const bool known = getrlimit(RLIMIT_STACK, &limit) == 0;
  const bool unlimited = limit.rlim_cur == RLIM_INFINITY; // threads would get 2 MiB
  if (!known || (limit.rlim_cur >= usual && !unlimited))
    return;
  limit.rlim_cur = std::min(limit.rlim_max, usual);
  if (!unlimited)
    setrlimit(RLIMIT_STACK, &limit);
  pthread_attr_t threads;
  if (limit.rlim_cur >= least && pthread_getattr_default_np(&threads) == 0) {
    pthread_attr_setstacksize(&threads, limit.rlim_cur);
    pthread_setattr_default_np(&threads);
    pthread_attr_destroy(&threads);
  }
  if (limit.rlim_cur >= least)
    return;
  std::fprintf(stderr,
               "%s: error: the stack is limited to %llu kB (ulimit -s), expected %llu or more\n",
               program_invocation_short_name, (unsigned long long)(limit.rlim_cur >> 10),
               (unsigned long long)(least >> 10));
  _exit(1);
}

/// What every tool does first. A standard stream that was closed must not be mistaken for a file
/// that is opened later: it becomes one that is empty and cannot be written. And a file that grows
/// past the process's limit is an error of write(), not a signal that kills without a word.
inline void prepareProcess() {
  std::signal(SIGXFSZ, SIG_IGN);
  int descriptor = 0;
  do
    descriptor = ::open("/dev/null", O_RDONLY);
  while (descriptor >= 0 && descriptor <= STDERR_FILENO);
  if (descriptor >= 0)
    ::close(descriptor);
  enlargeStack();
  on_exit(checkStandardOutput, nullptr);
}

/// Exit code of a command line that makes no sense.
constexpr int usageExitCode = 2;

/// Prints "NAME: error: message" and where the options are listed; returns usageExitCode.
inline int usageError(const std::string &tool, const std::string &message) {
  std::fflush(stdout);
  say(tool, "error", message);
  std::fprintf(stderr, "(%s --help lists the options)\n", tool.c_str());
  return usageExitCode;
}

/// For CLI11's check(): what is no text, which only a file's name may be.
inline std::string isText(const std::string &text) {
  for (size_t at = 0, length = 0; at < text.size(); at += length)
    if ((length = characterLength(std::string_view(text).substr(at))) == 0)
      return "not valid UTF-8 at byte " + std::to_string(at);
  return "";
}

/// An empty value, such as that of a variable of the shell which is not set, must not pass for an
/// option that was not given: no option but those of texts takes one, and those take UTF-8 alone.
/// And an option that may be given several times takes one value each time, as it is: neither the
/// arguments that follow, which may be OUT.m1a, nor the parts of "[a,b]". Lists that commas
/// separate may go on.
inline void refuseOddValues(CLI::App &app) {
  for (CLI::Option *option : app.get_options()) {
    const std::string type = option->get_type_name();
    if (option->get_items_expected_max() > 0 && type != "TEXT") // before other checks
      option->transform(CLI::Validator(
          [type](std::string &value) {
            return value.empty() ? "expected " + type + ", got an empty value" : std::string();
          },
          ""));
    if (type == "TEXT" || type == "NAME" || type == "NAME=VALUE")
      option->check(CLI::Validator(isText, ""));
    if (option->get_items_expected_max() > 0 && option->get_allow_extra_args() &&
        option->get_delimiter() == '\0' && !option->get_positional())
      option->expected(1)->allow_extra_args(false);
  }
}

/// Parses the command line. False when the program ends here, with *exitCode: 0 after --help and
/// --version, which are printed, otherwise usageError().
inline bool parseCommandLine(CLI::App &app, int argc, char **argv, int *exitCode) {
  try {
    refuseOddValues(app);
    app.parse(argc, argv);
    return true;
  } catch (const CLI::ParseError &problem) {
    *exitCode = problem.get_exit_code() == 0 ? app.exit(problem)
                                             : usageError(app.get_name(), problem.what());
    return false;
  }
}

/// A number from `low` to `high`; CLI11's Range takes NaN for one.
inline CLI::Validator numberIn(double low, double high) {
  CLI::Validator range = CLI::Range(low, high);
  const std::string description = range.get_description();
  return CLI::Validator(
      [range](std::string &text) {
        double value = 0;
        if (CLI::detail::lexical_cast(text, value) && value != value)
          return "expected a number, got " + text;
        return range(text);
      },
      description);
}

/// For CLI11's check(): a device's name; whether there is such a device shows later.
inline std::string isDevice(const std::string &text) {
  const bool good = text == "cpu" || text == "cuda" ||
                    (text.size() > 5 && text.compare(0, 5, "cuda:") == 0 &&
                     text.find_first_not_of("0123456789", 5) == std::string::npos);
  return good ? "" : "expected cpu, cuda or cuda:N, got " + text;
}

/// For CLI11's check() on seeds: by itself it takes a number beyond 64 bits for the largest, and a
/// negative one for its complement.
inline std::string isSeed(const std::string &text) {
  errno = 0;
  std::strtoull(text.c_str(), nullptr, 10);
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  return digits && errno == 0 ? "" : "expected an integer from 0 to 2^64 - 1, got " + text;
}

} // namespace m1tool

#endif
