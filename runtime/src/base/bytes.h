// A borrowed range of bytes.
#ifndef M1RT_BASE_BYTES_H
#define M1RT_BASE_BYTES_H

#include <cstddef>
#include <cstdint>

namespace m1rt {

struct Bytes {
  const uint8_t *data = nullptr;
  size_t size = 0;

  bool empty() const { return size == 0; }
  const uint8_t *begin() const { return data; }
  const uint8_t *end() const { return data + size; }
};

} // namespace m1rt

#endif
