#include "base/mapped_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace m1rt {

MappedFile::MappedFile(MappedFile &&other) noexcept
    : filePath(std::move(other.filePath)), mapping(std::exchange(other.mapping, Bytes())) {}

MappedFile &MappedFile::operator=(MappedFile &&other) noexcept {
  std::swap(filePath, other.filePath);
  std::swap(mapping, other.mapping);
  return *this;
}

MappedFile::~MappedFile() {
  if (mapping.data)
    munmap(const_cast<uint8_t *>(mapping.data), mapping.size);
}

Status MappedFile::open(const std::string &path, MappedFile *out) {
  int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0)
    return error(errno == ENOENT ? StatusCode::notFound : StatusCode::ioError,
                 "%s: cannot open: %s", path.c_str(), std::strerror(errno));
  struct stat info;
  if (fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(descriptor);
    return error(StatusCode::ioError, "%s: not a regular file", path.c_str());
  }
  if (info.st_size == 0) {
    close(descriptor);
    return error(StatusCode::corrupt, "%s: the file is empty", path.c_str());
  }
  void *memory = mmap(nullptr, size_t(info.st_size), PROT_READ, MAP_PRIVATE, descriptor, 0);
  int mapError = errno;
  close(descriptor);
  if (memory == MAP_FAILED)
    return error(StatusCode::ioError, "%s: cannot map %s: %s", path.c_str(),
                 bytesText(uint64_t(info.st_size)).c_str(), std::strerror(mapError));
  MappedFile file;
  file.filePath = path;
  file.mapping = {static_cast<const uint8_t *>(memory), size_t(info.st_size)};
  *out = std::move(file);
  return Status();
}

void MappedFile::prefetch(uint64_t offset, uint64_t size) const {
  const uint64_t page = uint64_t(sysconf(_SC_PAGESIZE));
  uint64_t begin = offset / page * page;
  if (begin < mapping.size)
    madvise(const_cast<uint8_t *>(mapping.data) + begin,
            std::min<uint64_t>(offset + size, mapping.size) - begin, MADV_WILLNEED);
}

} // namespace m1rt
