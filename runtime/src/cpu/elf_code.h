// A shared object held in memory, loaded into the process.
#ifndef M1RT_CPU_ELF_CODE_H
#define M1RT_CPU_ELF_CODE_H

#include "base/bytes.h"
#include "status.h"
#include <string>

namespace m1rt {

class ElfCode {
public:
  ElfCode() = default;
  ElfCode(ElfCode &&other) noexcept;
  ElfCode &operator=(ElfCode &&other) noexcept;
  ~ElfCode();

  static Status load(Bytes image, ElfCode *out);
  /// Null when there is no such symbol.
  void *find(const char *symbol) const;

private:
  void *handle = nullptr;
  // Open as long as the library is loaded: the loader identifies libraries by file name and inode,
  // and a reused /proc/self/fd/N would silently give the first library again.
  int descriptor = -1;
};

} // namespace m1rt

#endif
