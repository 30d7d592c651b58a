#include "cpu/elf_code.h"

#include <cerrno>
#include <cstring>
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

namespace m1rt {

ElfCode::ElfCode(ElfCode &&other) noexcept
    : handle(std::exchange(other.handle, nullptr)),
      descriptor(std::exchange(other.descriptor, -1)) {}

ElfCode &ElfCode::operator=(ElfCode &&other) noexcept {
  std::swap(handle, other.handle);
  std::swap(descriptor, other.descriptor);
  return *this;
}

ElfCode::~ElfCode() {
  if (handle)
    dlclose(handle);
  if (descriptor >= 0)
    close(descriptor);
}

Status ElfCode::load(Bytes image, ElfCode *out) {
  if (image.size < 64 || std::memcmp(image.data, "\177ELF", 4) != 0)
    return error(StatusCode::corrupt, "not an ELF file");
  ElfCode code;
  code.descriptor = memfd_create("m1-code", MFD_CLOEXEC);
  if (code.descriptor < 0)
    return error(StatusCode::ioError, "memfd_create: %s", std::strerror(errno));
  for (size_t written = 0; written < image.size;) {
    ssize_t count = write(code.descriptor, image.data + written, image.size - written);
    if (count <= 0)
      return error(StatusCode::ioError, "cannot write %zu bytes of code to memory: %s", image.size,
                   std::strerror(errno));
    written += size_t(count);
  }
  std::string path = "/proc/self/fd/" + std::to_string(code.descriptor);
  code.handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!code.handle) {
    const char *reason = dlerror();
    return error(StatusCode::corrupt, "cannot load the code: %s",
                 reason ? reason : "unknown reason");
  }
  *out = std::move(code);
  return Status();
}

void *ElfCode::find(const char *symbol) const { return dlsym(handle, symbol); }

} // namespace m1rt
