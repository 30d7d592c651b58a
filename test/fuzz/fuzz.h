// What fuzz targets share. A target is one file with LLVMFuzzerTestOneInput: it gives the bytes to
// the code under test and states what must hold of the result. Sanitizers find the rest.
#ifndef M1_TEST_FUZZ_H
#define M1_TEST_FUZZ_H

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <unistd.h>

#define FUZZ_CHECK(condition)                                                                      \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);          \
      std::abort();                                                                                \
    }                                                                                              \
  } while (false)

namespace fuzz {

inline std::string_view text(const uint8_t *data, size_t size) {
  return {reinterpret_cast<const char *>(data), size};
}

/// A file in memory, for code that takes a path.
class MemoryFile {
public:
  MemoryFile() : descriptor(memfd_create("fuzz", MFD_CLOEXEC)) {
    FUZZ_CHECK(descriptor >= 0);
    name = "/proc/self/fd/" + std::to_string(descriptor);
  }
  ~MemoryFile() { close(descriptor); }
  MemoryFile(const MemoryFile &) = delete;
  MemoryFile &operator=(const MemoryFile &) = delete;
  const std::string &path() const { return name; }
  void set(std::string_view bytes) {
    FUZZ_CHECK(ftruncate(descriptor, 0) == 0);
    FUZZ_CHECK(pwrite(descriptor, bytes.data(), bytes.size(), 0) == ssize_t(bytes.size()));
  }

private:
  int descriptor;
  std::string name;
};

/// Decisions drawn from the bytes of an input; zeros when they have run out.
class Choices {
public:
  Choices(const uint8_t *data, size_t size) : data(data), left(size) {}
  uint32_t below(uint32_t bound) {
    if (left == 0)
      return 0;
    --left;
    return *data++ % bound;
  }
  bool more() const { return left > 0; }

private:
  const uint8_t *data;
  size_t left;
};

} // namespace fuzz

#endif
