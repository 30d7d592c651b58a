// SHA-256 (FIPS 180-4).
#ifndef M1RT_BASE_SHA256_H
#define M1RT_BASE_SHA256_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace m1rt {

using Digest = std::array<uint8_t, 32>;

class Sha256 {
public:
  Sha256();
  void update(const void *data, size_t size);
  Digest finish();

private:
  void blocks(const uint8_t *data, size_t count); // of 64 bytes
  uint32_t state[8];
  uint8_t buffer[64];
  size_t buffered = 0;
  uint64_t total = 0;
};

/// 64 lower-case hexadecimal digits.
std::string digestText(const uint8_t *digest);

} // namespace m1rt

#endif
