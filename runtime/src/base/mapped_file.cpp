#include "base/mapped_file.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>

namespace m1rt {

namespace {

/// What the signal handler reads: mappings, and whether one was found cut off. An entry is free
/// when its end is 0.
struct GuardedRange {
  std::atomic<uintptr_t> begin{0}, end{0};
  std::atomic<bool> cut{false};
};
constexpr int mostGuarded = 256;
GuardedRange guardedRanges[mostGuarded];
std::mutex guardMutex; // of changes to the table and of the handler's installation
bool guardInstalled = false;
struct sigaction formerAction;

/// Only calls that are safe in a signal handler.
void onBusError(int signal, siginfo_t *info, void *context) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(info->si_addr);
  const int savedErrno = errno;
  for (GuardedRange &range : guardedRanges) {
    const uintptr_t end = range.end.load(std::memory_order_acquire);
    if (address < range.begin.load(std::memory_order_relaxed) || address >= end)
      continue;
    range.cut.store(true, std::memory_order_release);
    // All that follows lies past the file's end, too.
    const uintptr_t page = uintptr_t(sysconf(_SC_PAGESIZE)), begin = address / page * page;
    if (mmap(reinterpret_cast<void *>(begin), end - begin, PROT_READ,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
      break;
    errno = savedErrno;
    return;
  }
  errno = savedErrno;
  if (formerAction.sa_flags & SA_SIGINFO) {
    formerAction.sa_sigaction(signal, info, context);
  } else if (formerAction.sa_handler != SIG_DFL && formerAction.sa_handler != SIG_IGN) {
    const auto former = formerAction.sa_handler;
    if (formerAction.sa_flags & SA_RESETHAND) // by hand what the system does
      formerAction.sa_handler = SIG_DFL;
    former(signal);
  } else { // as if there were no handler: the instruction faults again
    struct sigaction action = {};
    action.sa_handler = SIG_DFL;
    sigaction(SIGBUS, &action, nullptr);
  }
}

/// -1 when the table is full: the file is then mapped without the guard.
int guard(Bytes mapping) {
  std::lock_guard<std::mutex> lock(guardMutex);
  if (!guardInstalled) {
    struct sigaction action = {};
    action.sa_sigaction = onBusError;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    guardInstalled = sigaction(SIGBUS, &action, &formerAction) == 0;
  }
  for (int i = 0; i < mostGuarded; ++i) {
    GuardedRange &range = guardedRanges[i];
    if (range.end.load(std::memory_order_relaxed))
      continue;
    range.cut.store(false, std::memory_order_relaxed);
    range.begin.store(reinterpret_cast<uintptr_t>(mapping.data), std::memory_order_relaxed);
    range.end.store(reinterpret_cast<uintptr_t>(mapping.data) + mapping.size,
                    std::memory_order_release);
    return i;
  }
  return -1;
}

bool sameTime(const struct timespec &a, const struct timespec &b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

} // namespace

MappedFile::MappedFile(MappedFile &&other) noexcept { *this = std::move(other); }

MappedFile &MappedFile::operator=(MappedFile &&other) noexcept {
  std::swap(filePath, other.filePath);
  std::swap(mapping, other.mapping);
  std::swap(descriptor, other.descriptor);
  std::swap(guarded, other.guarded);
  std::swap(opened, other.opened);
  return *this;
}

MappedFile::~MappedFile() {
  if (guarded >= 0) {
    std::lock_guard<std::mutex> lock(guardMutex);
    guardedRanges[guarded].end.store(0, std::memory_order_release);
  }
  if (mapping.data)
    munmap(const_cast<uint8_t *>(mapping.data), mapping.size);
  if (descriptor >= 0)
    close(descriptor);
}

Status MappedFile::open(const std::string &path, MappedFile *out) {
  MappedFile file;
  file.filePath = path;
  // Without O_NONBLOCK a pipe that nobody writes to would be waited for.
  file.descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (file.descriptor < 0)
    return error(errno == ENOENT ? StatusCode::notFound : StatusCode::ioError,
                 "%s: cannot open: %s", path.c_str(), std::strerror(errno));
  if (fstat(file.descriptor, &file.opened) != 0)
    return error(StatusCode::ioError, "%s: cannot read: %s", path.c_str(), std::strerror(errno));
  const mode_t mode = file.opened.st_mode;
  if (!S_ISREG(mode))
    return error(StatusCode::ioError, "%s: is %s, expected a file", path.c_str(),
                 S_ISDIR(mode)    ? "a directory"
                 : S_ISFIFO(mode) ? "a pipe"
                 : S_ISSOCK(mode) ? "a socket"
                                  : "a device");
  if (file.opened.st_size == 0)
    return error(StatusCode::corrupt, "%s: the file is empty", path.c_str());
  const size_t size = size_t(file.opened.st_size);
  void *memory = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.descriptor, 0);
  if (memory == MAP_FAILED)
    return error(StatusCode::ioError, "%s: cannot map %s: %s", path.c_str(),
                 bytesText(size).c_str(), std::strerror(errno));
  file.mapping = {static_cast<const uint8_t *>(memory), size};
  file.guarded = guard(file.mapping);
  *out = std::move(file);
  return Status();
}

Status MappedFile::read(uint64_t offset, void *out, uint64_t size) const {
  constexpr uint64_t piece = 1 << 30; // read() gives at most 2 GB at once
  for (uint64_t done = 0; done < size;) {
    const ssize_t count = pread(descriptor, static_cast<char *>(out) + done,
                                std::min(size - done, piece), off_t(offset + done));
    if (count > 0) {
      done += uint64_t(count);
    } else if (count == 0) {
      return error(StatusCode::corrupt, "%s: was cut off while it was read", filePath.c_str());
    } else if (errno != EINTR) {
      return error(StatusCode::ioError, "%s: cannot read: %s", filePath.c_str(),
                   std::strerror(errno));
    }
  }
  return Status();
}

Status MappedFile::unchanged() const {
  struct stat now = {};
  const bool cut = guarded >= 0 && guardedRanges[guarded].cut.load(std::memory_order_acquire);
  if (!cut && fstat(descriptor, &now) == 0 && now.st_size == opened.st_size &&
      sameTime(now.st_mtim, opened.st_mtim))
    return Status();
  return error(StatusCode::corrupt, "%s: was changed while in use", filePath.c_str());
}

void MappedFile::prefetch(uint64_t offset, uint64_t size) const {
  const uint64_t page = uint64_t(sysconf(_SC_PAGESIZE));
  uint64_t begin = offset / page * page;
  if (begin < mapping.size)
    madvise(const_cast<uint8_t *>(mapping.data) + begin,
            std::min<uint64_t>(offset + size, mapping.size) - begin, MADV_WILLNEED);
}

} // namespace m1rt
