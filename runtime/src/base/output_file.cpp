#include "base/output_file.h"
#include "base/open_file.h"

#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <filesystem>
#include <mutex>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace m1rt {

namespace {

// ---- temporaries that a signal must remove: a table that a handler can read at any time

constexpr int mostTemporaries = 64;
struct TableEntry {
  std::atomic<bool> used{false};
  char path[PATH_MAX];
};
TableEntry table[mostTemporaries];

/// Removes a file, or a directory with all that is in it. Only calls that a signal handler may
/// make.
void removeTree(int parent, const char *name, int depth = 0) {
  if (::unlinkat(parent, name, 0) == 0 || (errno != EISDIR && errno != EPERM) || depth > 16)
    return;
  const int directory = ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (directory < 0)
    return;
  // Entries may be passed over while others are removed: until a round finds none.
  for (bool found = true, first = true; found; first = false) {
    found = false;
    if (!first)
      ::lseek(directory, 0, SEEK_SET);
    alignas(8) char entries[4096];
    for (long count; (count = ::syscall(SYS_getdents64, directory, entries, sizeof(entries))) > 0;)
      for (long at = 0; at < count;) {
        const auto *entry = reinterpret_cast<const dirent64 *>(entries + at);
        at += entry->d_reclen;
        if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0)
          continue;
        struct stat before, after;
        const bool there = ::fstatat(directory, entry->d_name, &before, AT_SYMLINK_NOFOLLOW) == 0;
        removeTree(directory, entry->d_name, depth + 1);
        // What cannot be removed is not tried for ever.
        found |= there && ::fstatat(directory, entry->d_name, &after, AT_SYMLINK_NOFOLLOW) != 0;
      }
  }
  ::close(directory);
  ::unlinkat(parent, name, AT_REMOVEDIR);
}

} // namespace

void removeTemporaries() {
  for (TableEntry &entry : table)
    if (entry.used.exchange(false))
      removeTree(AT_FDCWD, entry.path);
}

namespace {

void removeAndEnd(int signal) {
  removeTemporaries();
  // The handler was taken out when it was called (SA_RESETHAND).
  ::raise(signal);
}

void prepareSignals() {
  static const bool done = [] {
    std::signal(SIGXFSZ, SIG_IGN);
    for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGXCPU, SIGALRM, SIGUSR1,
                       SIGUSR2, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS}) {
      struct sigaction action = {};
      if (sigaction(signal, nullptr, &action) != 0 || action.sa_handler != SIG_DFL ||
          (action.sa_flags & SA_SIGINFO))
        continue;
      action.sa_handler = removeAndEnd;
      action.sa_flags = int(SA_RESETHAND);
      sigaction(signal, &action, nullptr);
    }
    std::atexit(removeTemporaries);
    return true;
  }();
  (void)done;
}

/// -1 when the table is full or the path too long: then the destructor alone removes it.
int remember(const std::string &path) {
  static std::mutex mutex;
  std::lock_guard<std::mutex> lock(mutex);
  for (int i = 0; i < mostTemporaries && path.size() < PATH_MAX; ++i)
    if (!table[i].used) {
      std::memcpy(table[i].path, path.c_str(), path.size() + 1);
      table[i].used = true;
      return i;
    }
  return -1;
}

/// False when a signal is removing it just now.
bool forget(int entry) { return entry < 0 || table[entry].used.exchange(false); }

std::string directoryOf(const std::string &path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

/// Where a path leads, also through links to what does not exist yet; 0 or an error.
int followLinks(std::string *path) {
  constexpr int mostLinks = 40; // as many as the system follows
  char link[PATH_MAX];
  for (int count = 0; count <= mostLinks; ++count) {
    const ssize_t size = ::readlink(path->c_str(), link, sizeof link);
    if (size < 0)
      return 0;
    if (size == ssize_t(sizeof link))
      return ENAMETOOLONG;
    const std::string target(link, size_t(size));
    *path = target[0] == '/' ? target : directoryOf(*path) + "/" + target;
  }
  return ELOOP;
}

/// The names in a directory to the disk. File systems that cannot do that say EINVAL.
int syncDirectory(const std::string &path) {
  int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0)
    return errno;
  int result = ::fsync(descriptor) == 0 || errno == EINVAL ? 0 : errno;
  ::close(descriptor);
  return result;
}

/// Six characters that make a name unlikely to be taken.
std::string randomSuffix() {
  static std::atomic<uint64_t> counter{0};
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  uint64_t bits = uint64_t(now.tv_nsec) * 0x9E3779B97F4A7C15u ^ uint64_t(::getpid()) << 32 ^
                  uint64_t(now.tv_sec) ^ (++counter * 0xD1B54A32D192ED03u);
  bits ^= bits >> 29;
  static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyz";
  std::string suffix;
  for (int i = 0; i < 6; ++i, bits /= 36)
    suffix += letters[bits % 36];
  return suffix;
}

constexpr size_t bufferSize = size_t(1) << 20;
constexpr int mostAttempts = 100;

} // namespace

Status OutputFile::failure(const char *what, int code) const {
  return error(StatusCode::ioError, "cannot %s %s: %s", what, path.c_str(), std::strerror(code));
}

OutputFile &OutputFile::operator=(OutputFile &&other) noexcept {
  std::swap(path, other.path);
  std::swap(temporary, other.temporary);
  std::swap(buffer, other.buffer);
  std::swap(descriptor, other.descriptor);
  std::swap(entry, other.entry);
  std::swap(finished, other.finished);
  std::swap(written, other.written);
  return *this;
}

Status OutputFile::open(const std::string &target) {
  discard();
  prepareSignals();
  path = target;
  finished = false;
  written = 0;
  if (target == "-") {
    path = "standard output";
    descriptor = ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    return descriptor < 0 ? failure("write", errno) : Status();
  }
  struct stat info;
  if (::stat(target.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    std::string problem;
    descriptor = openFile(target, O_WRONLY, &problem); // of a directory it fails
    return descriptor < 0
               ? error(StatusCode::ioError, "cannot write %s: %s", target.c_str(), problem.c_str())
               : Status();
  }
  std::string file = target;
  if (const int code = followLinks(&file))
    return failure("write", code);
  path = std::move(file);
  for (int attempt = 0; attempt < mostAttempts; ++attempt) {
    temporary = path + "." + randomSuffix() + ".tmp";
    // Remembered before it exists: a signal must find it.
    entry = remember(temporary);
    descriptor = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor >= 0)
      return Status();
    const int code = errno;
    forget(entry);
    entry = -1;
    temporary.clear();
    if (code != EEXIST)
      return failure("write", code);
  }
  return failure("write", EEXIST);
}

Status OutputFile::flush() {
  size_t done = 0;
  while (done < buffer.size()) {
    ssize_t count = ::write(descriptor, buffer.data() + done, buffer.size() - done);
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0)
      return failure("write", count < 0 ? errno : EIO);
    done += size_t(count);
  }
  buffer.clear();
  return Status();
}

Status OutputFile::write(const void *data, size_t size) {
  const char *bytes = static_cast<const char *>(data);
  written += size;
  while (size > 0) {
    const size_t count = std::min(size, bufferSize - buffer.size());
    buffer.insert(buffer.end(), bytes, bytes + count);
    bytes += count;
    size -= count;
    if (buffer.size() == bufferSize)
      M1_TRY(flush());
  }
  return Status();
}

Status OutputFile::finish() {
  if (finished)
    return Status();
  M1_TRY(flush());
  // What is written in place may be no file that can be synchronised.
  if (!temporary.empty() && ::fsync(descriptor) != 0)
    return failure("write", errno);
  const int closing = std::exchange(descriptor, -1);
  if (::close(closing) != 0 && errno != EINTR)
    return failure("write", errno);
  finished = true;
  return Status();
}

Status OutputFile::commit(const std::string &target) {
  M1_TRY(finish());
  if (temporary.empty())
    return Status();
  if (!target.empty())
    path = target;
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    return failure("rename to", errno);
  forget(std::exchange(entry, -1));
  temporary.clear();
  if (int code = syncDirectory(directoryOf(path)))
    return failure("write", code);
  return Status();
}

void OutputFile::discard() {
  if (descriptor >= 0)
    ::close(std::exchange(descriptor, -1));
  if (!temporary.empty())
    ::unlink(temporary.c_str());
  temporary.clear();
  forget(std::exchange(entry, -1));
  buffer.clear();
}

Status checkOwnFile(const std::string &target) {
  struct stat info;
  if (::stat(target.c_str(), &info) != 0 || S_ISREG(info.st_mode))
    return Status();
  return error(StatusCode::ioError, "cannot write %s: is %s, expected a file", target.c_str(),
               S_ISDIR(info.st_mode)    ? "a directory"
               : S_ISFIFO(info.st_mode) ? "a pipe"
               : S_ISSOCK(info.st_mode) ? "a socket"
                                        : "a device");
}

Status writeFile(const std::string &target, std::string_view content) {
  OutputFile file;
  M1_TRY(file.open(target));
  M1_TRY(file.write(content));
  return file.commit();
}

// ---- directories

namespace fs = std::filesystem;

namespace {

Status directoryError(const char *what, const std::string &path, int code) {
  return error(StatusCode::ioError, "cannot %s %s: %s", what, path.c_str(), std::strerror(code));
}

/// Keeps signals that end the program away while a directory is half removed or half made known.
class SignalsBlocked {
public:
  SignalsBlocked() {
    sigset_t set;
    sigemptyset(&set);
    for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT})
      sigaddset(&set, signal);
    pthread_sigmask(SIG_BLOCK, &set, &before);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before, nullptr); }

private:
  sigset_t before;
};

} // namespace

Status TemporaryDirectory::open(const std::string &prefix) {
  prepareSignals();
  // As fs::temp_directory_path() has it, but that a variable without a value is not set.
  const char *variable = nullptr, *value = nullptr;
  for (const char *name : {"TMPDIR", "TMP", "TEMP", "TEMPDIR"})
    if (const char *set = ::secure_getenv(name); set && *set && !value) {
      variable = name;
      value = set;
    }
  const fs::path parent = value ? value : "/tmp";
  struct stat info = {};
  const int problem = ::stat(parent.c_str(), &info) != 0 ? errno
                      : S_ISDIR(info.st_mode)            ? 0
                                                         : ENOTDIR;
  if (problem)
    return error(StatusCode::ioError, "%s%s%s: expected a directory for temporary files: %s",
                 value ? variable : "", value ? "=" : "", parent.c_str(), std::strerror(problem));
  int failed = EEXIST;
  for (int attempt = 0; attempt < mostAttempts && failed == EEXIST; ++attempt) {
    path = (parent / (prefix + "-" + randomSuffix())).string();
    entry = remember(path);
    if (::mkdir(path.c_str(), 0700) == 0)
      return Status();
    failed = errno;
    forget(std::exchange(entry, -1));
  }
  const std::string wanted = std::exchange(path, std::string());
  return directoryError("create", wanted, failed);
}

TemporaryDirectory::~TemporaryDirectory() {
  if (!path.empty())
    removeTree(AT_FDCWD, path.c_str());
  forget(entry);
}

Status OutputDirectory::open(const std::string &target) {
  discard();
  prepareSignals();
  std::error_code code;
  path = target;
  while (path.size() > 1 && path.back() == '/')
    path.pop_back();
  struct stat info;
  exists = ::stat(path.c_str(), &info) == 0;
  if (exists) {
    if (!S_ISDIR(info.st_mode))
      return directoryError("write", target, ENOTDIR);
    char *resolved = ::realpath(path.c_str(), nullptr);
    if (!resolved)
      return directoryError("write", target, errno);
    path = resolved;
    std::free(resolved);
    if (path == fs::current_path(code).string())
      return error(StatusCode::ioError,
                   "cannot write %s: it is the current directory, which cannot be replaced as a "
                   "whole; run from another one",
                   target.c_str());
  } else if (fs::create_directories(directoryOf(path), code); code) {
    return directoryError("create", target, code.value());
  }
  int failed = EEXIST;
  for (int attempt = 0; attempt < mostAttempts && failed == EEXIST; ++attempt) {
    temporary = path + "." + randomSuffix() + ".tmp";
    entry = remember(temporary);
    if (::mkdir(temporary.c_str(), exists ? info.st_mode & 07777 : 0777) == 0)
      return Status();
    failed = errno;
    forget(std::exchange(entry, -1));
  }
  temporary.clear();
  return directoryError("create", target, failed);
}

Status OutputDirectory::listOld(std::vector<std::string> *out) const {
  std::error_code code;
  if (!exists)
    return Status();
  for (fs::directory_iterator at(path, code), end; !code && at != end; at.increment(code))
    out->push_back(at->path().filename().string());
  return code ? directoryError("read", path, code.value()) : Status();
}

Status OutputDirectory::linkOld(const std::string &name) {
  std::error_code code;
  fs::copy(path + "/" + name, temporary + "/" + name,
           fs::copy_options::recursive | fs::copy_options::copy_symlinks |
               fs::copy_options::create_hard_links,
           code);
  return code ? directoryError("link", path + "/" + name, code.value()) : Status();
}

Status OutputDirectory::commit() {
  SignalsBlocked blocked;
  if (int code = syncDirectory(temporary))
    return directoryError("write", path, code);
  // Another thread's signal must not put what it has half removed in the place of the old one.
  while (!forget(std::exchange(entry, -1)))
    ::pause();
  // A rename replaces an empty directory; one that holds something is exchanged.
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    if (errno != ENOTEMPTY && errno != EEXIST)
      return directoryError("rename to", path, errno);
    if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) != 0)
      return error(StatusCode::ioError,
                   "cannot replace %s: %s; write to a new directory, or remove this one before",
                   path.c_str(), std::strerror(errno));
  } else {
    temporary.clear();
  }
  int code = syncDirectory(directoryOf(path));
  discard(); // what is now the old directory
  return code ? directoryError("write", path, code) : Status();
}

void OutputDirectory::discard() {
  if (!temporary.empty())
    removeTree(AT_FDCWD, temporary.c_str());
  temporary.clear();
  forget(std::exchange(entry, -1));
}

} // namespace m1rt
