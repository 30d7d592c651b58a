#include "base/open_file.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace m1rt {

namespace {

constexpr int patience = 5; // seconds: what starts together is there by then

/// Whether somebody holds a pipe open for writing, or has done so since it was opened here: what is
/// in it would be copied to `aside`, another pipe, and is not taken.
bool isWrittenTo(int pipe, int aside) {
  const ssize_t copied = ::tee(pipe, aside, 1, SPLICE_F_NONBLOCK);
  if (copied > 0 || (copied < 0 && errno == EAGAIN))
    return true;
  pollfd state = {pipe, POLLIN, 0};
  return ::poll(&state, 1, 0) > 0 && (state.revents & POLLHUP); // wrote nothing and has gone
}

/// A named pipe, not waited for, whose other end must be taken before the deadline.
int openNamedPipe(const std::string &path, int flags, std::string *problem) {
  const bool reads = (flags & O_ACCMODE) == O_RDONLY;
  int descriptor = -1, aside[2] = {-1, -1};
  bool taken = false;
  errno = 0;
  if (!reads || ::pipe2(aside, O_CLOEXEC) == 0) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(patience);
    while (true) {
      if (descriptor < 0) // to write: ENXIO while nobody reads
        descriptor = ::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK);
      taken = descriptor >= 0 && (!reads || isWrittenTo(descriptor, aside[1]));
      const bool waits = descriptor >= 0 || errno == ENXIO;
      if (taken || !waits || std::chrono::steady_clock::now() >= deadline)
        break;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    if (!taken && (descriptor >= 0 || errno == ENXIO))
      *problem = std::string("is a pipe that nobody has opened to ") +
                 (reads ? "write to" : "read from") + " within " + std::to_string(patience) + " s";
    else if (!taken)
      *problem = std::strerror(errno);
  } else {
    *problem = std::strerror(errno);
  }
  for (const int end : aside)
    if (end >= 0)
      ::close(end);
  if (taken)
    ::fcntl(descriptor, F_SETFL, ::fcntl(descriptor, F_GETFL) & ~O_NONBLOCK);
  else if (descriptor >= 0)
    ::close(std::exchange(descriptor, -1));
  return descriptor;
}

} // namespace

int openFile(const std::string &path, int flags, std::string *problem) {
  struct stat info;
  struct statfs system;
  // Those without a name (/dev/fd/63, by the shell's <(…)) are never waited for.
  if (::stat(path.c_str(), &info) == 0 && S_ISFIFO(info.st_mode) &&
      ::statfs(path.c_str(), &system) == 0 && system.f_type != PIPEFS_MAGIC)
    return openNamedPipe(path, flags, problem);
  const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC);
  if (descriptor < 0)
    *problem = std::strerror(errno);
  return descriptor;
}

std::string inputName(const std::string &path) { return path == "-" ? "standard input" : path; }

static Status unreadable(const std::string &path, const std::string &problem) {
  return error(StatusCode::notFound, "%s: cannot read: %s", inputName(path).c_str(),
               problem.c_str());
}

Status openInput(const std::string &path, int *descriptor) {
  std::string problem;
  *descriptor = path == "-" ? STDIN_FILENO : openFile(path, O_RDONLY, &problem);
  if (*descriptor < 0)
    return unreadable(path, problem);
  struct stat info = {};
  if (::fstat(*descriptor, &info) == 0 &&
      (S_ISBLK(info.st_mode) || (S_ISCHR(info.st_mode) && !::isatty(*descriptor) &&
                                 info.st_rdev != makedev(1, 3)))) // /dev/null
    return error(StatusCode::invalidArgument, "%s: is a device, expected a file",
                 inputName(path).c_str());
  return {};
}

Status readInput(const std::string &path, size_t most, std::string *out) {
  struct Input {
    int descriptor = -1;
    ~Input() {
      if (descriptor > STDIN_FILENO)
        ::close(descriptor);
    }
  } input;
  M1_TRY(openInput(path, &input.descriptor));
  out->clear();
  std::vector<char> part(1 << 16);
  ssize_t size = 0;
  while ((size = ::read(input.descriptor, part.data(), part.size())) != 0) {
    if (size < 0 && errno == EINTR)
      continue;
    if (size < 0) // also of a directory, which opens
      return unreadable(path, std::strerror(errno));
    out->append(part.data(), size_t(size));
    if (out->size() > most) // such as of a pipe that never ends
      return error(StatusCode::invalidArgument, "%s: expected %zu MiB at most",
                   inputName(path).c_str(), most >> 20);
  }
  return {};
}

} // namespace m1rt
