// A library to preload: the M1_FAULT_AT-th call (from 1) that touches a file under
// M1_FAULT_DIRECTORY in order to write it fails, or ends the process, as M1_FAULT_HOW says: fail,
// kill or terminate. Makes M1_FAULT_MARK when that happened. M1_FAULT_THREAD: no thread can be
// started from this one on (from 1); makes the mark, too. M1_FAULT_FULL: there is no room for files
// that are given their size before they are written.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char watched[4096];
static atomic_int calls, threads;

static int isWatched(const char *path) {
  const char *directory = getenv("M1_FAULT_DIRECTORY");
  return directory && strncmp(path, directory, strlen(directory)) == 0;
}
static int isWatchedFile(int fd) { return fd >= 0 && fd < (int)sizeof(watched) && watched[fd]; }

static void mark(void) {
  int made = (int)syscall(SYS_openat, AT_FDCWD, getenv("M1_FAULT_MARK"), O_CREAT | O_WRONLY, 0600);
  syscall(SYS_close, made);
}

/// True when this call is to fail.
static int strike(int error) {
  const char *at = getenv("M1_FAULT_AT"), *how = getenv("M1_FAULT_HOW");
  if (!at || !how || atomic_fetch_add(&calls, 1) + 1 != atoi(at))
    return 0;
  mark();
  if (strcmp(how, "kill") == 0)
    raise(SIGKILL);
  if (strcmp(how, "terminate") == 0)
    raise(SIGTERM);
  errno = error;
  return strcmp(how, "fail") == 0;
}

static int opened(int fd, int isOurs) {
  if (fd >= 0 && fd < (int)sizeof(watched))
    watched[fd] = (char)isOurs;
  return fd;
}

static int openAny(int directory, const char *path, int flags, mode_t mode) {
  // Directories are opened to be synchronised.
  int ours = isWatched(path) && ((flags & O_ACCMODE) != O_RDONLY || (flags & O_DIRECTORY));
  if (ours && strike(EMFILE))
    return -1;
  return opened((int)syscall(SYS_openat, directory, path, flags | O_LARGEFILE, mode), ours);
}

#define MODE_ARGUMENT(last)                                                                        \
  va_list arguments;                                                                               \
  va_start(arguments, last);                                                                       \
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;                     \
  va_end(arguments)

int open(const char *path, int flags, ...) {
  MODE_ARGUMENT(flags);
  return openAny(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  MODE_ARGUMENT(flags);
  return openAny(AT_FDCWD, path, flags, mode);
}
int openat(int directory, const char *path, int flags, ...) {
  MODE_ARGUMENT(flags);
  return openAny(directory, path, flags, mode);
}
int openat64(int directory, const char *path, int flags, ...) {
  MODE_ARGUMENT(flags);
  return openAny(directory, path, flags, mode);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *),
                   void *argument) {
  int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = NULL;
  *(void **)&create = dlsym(RTLD_NEXT, "pthread_create");
  const char *from = getenv("M1_FAULT_THREAD");
  if (!from || atomic_fetch_add(&threads, 1) + 1 < atoi(from))
    return create(thread, attributes, body, argument);
  mark();
  return EAGAIN;
}

ssize_t write(int fd, const void *data, size_t size) {
  if (isWatchedFile(fd) && strike(ENOSPC))
    return -1;
  return syscall(SYS_write, fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
  if (isWatchedFile(fd) && strike(EFBIG))
    return -1;
  return syscall(SYS_pwrite64, fd, data, size, offset);
}
int ftruncate(int fd, off_t size) {
  if (isWatchedFile(fd) && strike(EFBIG))
    return -1;
  return (int)syscall(SYS_ftruncate, fd, size);
}
int posix_fallocate(int fd, off_t offset, off_t size) {
  if (isWatchedFile(fd) && getenv("M1_FAULT_FULL"))
    return ENOSPC;
  return syscall(SYS_fallocate, fd, 0, offset, size) == 0 ? 0 : errno;
}
int fsync(int fd) {
  if (isWatchedFile(fd) && strike(EIO))
    return -1;
  return (int)syscall(SYS_fsync, fd);
}
int fdatasync(int fd) {
  if (isWatchedFile(fd) && strike(EIO))
    return -1;
  return (int)syscall(SYS_fdatasync, fd);
}
int close(int fd) {
  int fails = isWatchedFile(fd) && strike(EIO);
  opened(fd, 0);
  int result = (int)syscall(SYS_close, fd);
  errno = fails ? EIO : errno;
  return fails ? -1 : result;
}
int rename(const char *from, const char *to) {
  return isWatched(to) && strike(EBUSY) ? -1 : (int)syscall(SYS_rename, from, to);
}
int renameat2(int fromDirectory, const char *from, int toDirectory, const char *to,
              unsigned flags) {
  return isWatched(to) && strike(EINVAL)
             ? -1
             : (int)syscall(SYS_renameat2, fromDirectory, from, toDirectory, to, flags);
}
int mkdir(const char *path, mode_t mode) {
  return isWatched(path) && strike(ENOSPC) ? -1 : (int)syscall(SYS_mkdir, path, mode);
}
int link(const char *from, const char *to) {
  return isWatched(to) && strike(EMLINK) ? -1 : (int)syscall(SYS_link, from, to);
}
int symlink(const char *from, const char *to) {
  return isWatched(to) && strike(ENOSPC) ? -1 : (int)syscall(SYS_symlink, from, to);
}
/// What cannot be removed stays: only the ends of the process count here.
int unlink(const char *path) {
  if (isWatched(path) && strcmp(getenv("M1_FAULT_HOW") ? getenv("M1_FAULT_HOW") : "", "fail") != 0)
    strike(EIO);
  return (int)syscall(SYS_unlink, path);
}
