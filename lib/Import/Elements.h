// Elements of the types that checkpoints store, one at a time.
#ifndef M1C_LIB_IMPORT_ELEMENTS_H
#define M1C_LIB_IMPORT_ELEMENTS_H

#include "m1k_e4m3.h"
#include "llvm/ADT/bit.h"

#include <cmath>
#include <cstdint>

namespace m1c {

inline float widenBf16(uint16_t bits) { return llvm::bit_cast<float>(uint32_t(bits) << 16); }

inline float widenF16(uint16_t bits) {
  uint32_t sign = uint32_t(bits & 0x8000) << 16, exponent = bits >> 10 & 31,
           mantissa = bits & 0x3ff;
  if (exponent == 31)
    return llvm::bit_cast<float>(sign | 0x7f800000 | mantissa << 13);
  if (exponent)
    return llvm::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  // Subnormal: mantissa · 2^-24, exact in f32.
  float value = std::ldexp(float(mantissa), -24);
  return sign ? -value : value;
}

/// float8_e4m3fn: bias 7, no infinities, NaN where all bits but the sign are set.
inline float widenE4m3(uint8_t bits) { return m1k_e4m3_value(bits); }

/// To nearest even; NaN stays a (quiet) NaN.
inline uint16_t roundToBf16(float value) {
  uint32_t bits = llvm::bit_cast<uint32_t>(value);
  if (std::isnan(value))
    return bits >> 16 | 0x40;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

/// The value of the bf16 nearest to it.
inline float nearestBf16(float value) { return widenBf16(roundToBf16(value)); }

/// To nearest even; NaN stays a (quiet) NaN.
inline uint16_t roundToF16(float value) {
  uint32_t bits = llvm::bit_cast<uint32_t>(value), sign = bits >> 16 & 0x8000,
           magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000)
    return sign | 0x7e00;
  if (magnitude >= 0x477ff000) // 65520, halfway from the largest number to 2^16
    return sign | 0x7c00;
  if (magnitude < 0x38800000) { // below 2^-14: a multiple of 2^-24, which is the ulp of 0.5
    float scaled = llvm::bit_cast<float>(magnitude) + 0.5f;
    return sign | uint16_t(llvm::bit_cast<uint32_t>(scaled) - 0x3f000000);
  }
  return sign | uint16_t((magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13);
}

} // namespace m1c

#endif
