// A file mapped for reading, that others may change or cut off meanwhile without harm.
#ifndef M1RT_BASE_MAPPED_FILE_H
#define M1RT_BASE_MAPPED_FILE_H

#include "base/bytes.h"
#include "status.h"
#include <atomic>
#include <string>
#include <sys/stat.h>

namespace m1rt {

/// Reading past the end of a file that was cut off while it is mapped raises SIGBUS. From the first
/// mapping on this process handles that signal for its mapped files: zeros take the place of what
/// is gone, and unchanged() tells. All other SIGBUS go where they went before.
class MappedFile {
public:
  MappedFile() = default;
  MappedFile(MappedFile &&other) noexcept;
  MappedFile &operator=(MappedFile &&other) noexcept;
  ~MappedFile();

  /// Error when it is missing, not a regular file, or empty; never waits for a pipe or a device.
  /// The message starts with the path.
  static Status open(const std::string &path, MappedFile *out);

  const std::string &path() const { return filePath; }
  Bytes bytes() const { return mapping; }
  /// Copies a range of bytes() from the file into memory that nobody changes. An error when the
  /// file has been cut off.
  Status read(uint64_t offset, void *out, uint64_t size) const;
  /// Whether the file is still the one that was opened, by size and time of modification: cheap.
  Status unchanged() const;
  /// Asks the system to start reading a range into memory.
  void prefetch(uint64_t offset, uint64_t size) const;

private:
  std::string filePath;
  Bytes mapping;
  int descriptor = -1;
  int guarded = -1; // entry in the table of the signal handler
  struct stat opened = {};
};

} // namespace m1rt

#endif
