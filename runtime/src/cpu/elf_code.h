// The code of a CPU target: a shared object that is nothing but functions.
#ifndef M1RT_CPU_ELF_CODE_H
#define M1RT_CPU_ELF_CODE_H

#include "base/bytes.h"
#include "status.h"
#include <vector>

namespace m1rt {

/// Loads an ELF shared object for x86-64 without the system's loader, so that nothing runs before a
/// kernel is called: an object with constructors, needed libraries, thread-local data, writable
/// code, or relocations that lead out of it is refused. It may call memcpy, memmove, memset, memcmp
/// and bcmp, which compilers put in, and nothing else.
class ElfCode {
public:
  ElfCode() = default;
  ElfCode(ElfCode &&other) noexcept { *this = static_cast<ElfCode &&>(other); }
  ElfCode &operator=(ElfCode &&other) noexcept;
  ~ElfCode();

  static Status load(Bytes image, ElfCode *out);
  /// The function of this name; null when there is none.
  void *find(const char *symbol) const;

private:
  friend class ElfLoader;
  struct Function {
    const char *name; // in the loaded object
    uint64_t address; // within it
  };
  uint8_t *memory = nullptr;
  size_t size = 0;
  std::vector<Function> functions; // by name
};

} // namespace m1rt

#endif
