// A file mapped for reading.
#ifndef M1RT_BASE_MAPPED_FILE_H
#define M1RT_BASE_MAPPED_FILE_H

#include "base/bytes.h"
#include "status.h"
#include <string>

namespace m1rt {

class MappedFile {
public:
  MappedFile() = default;
  MappedFile(MappedFile &&other) noexcept;
  MappedFile &operator=(MappedFile &&other) noexcept;
  ~MappedFile();

  /// Error when it is missing, not a regular file, or empty. The message starts with the path.
  static Status open(const std::string &path, MappedFile *out);

  const std::string &path() const { return filePath; }
  Bytes bytes() const { return mapping; }
  /// Asks the system to start reading a range into memory.
  void prefetch(uint64_t offset, uint64_t size) const;

private:
  std::string filePath;
  Bytes mapping;
};

} // namespace m1rt

#endif
