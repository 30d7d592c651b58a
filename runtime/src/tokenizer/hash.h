// Hashes of the prepared format; a change needs a new format version.
#ifndef M1RT_TOKENIZER_HASH_H
#define M1RT_TOKENIZER_HASH_H

#include <cstdint>
#include <cstring>

namespace m1rt {

inline uint64_t foldedMultiply(uint64_t a, uint64_t b) {
  unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t hashPiece(const char *bytes, size_t size) {
  constexpr uint64_t k0 = 0x9E3779B97F4A7C15u, k1 = 0xD6E8FEB86659FD93u;
  uint64_t h = k0 ^ size;
  while (size > 8) {
    uint64_t word;
    std::memcpy(&word, bytes, 8);
    h = foldedMultiply(h ^ word, k1);
    bytes += 8;
    size -= 8;
  }
  uint64_t word = 0;
  if (size >= 4) { // two loads that may overlap
    uint32_t low, high;
    std::memcpy(&low, bytes, 4);
    std::memcpy(&high, bytes + size - 4, 4);
    word = static_cast<uint64_t>(high) << 32 | low;
  } else if (size > 0) {
    auto byte = [&](size_t i) {
      return static_cast<uint64_t>(static_cast<unsigned char>(bytes[i]));
    };
    word = byte(0) << 16 | byte(size / 2) << 8 | byte(size - 1);
  }
  return foldedMultiply(h ^ word, k0);
}

inline uint64_t hashPair(uint32_t left, uint32_t right) {
  return foldedMultiply((static_cast<uint64_t>(left) << 32 | right) ^ 0x9E3779B97F4A7C15u,
                        0xD6E8FEB86659FD93u);
}

} // namespace m1rt

#endif
