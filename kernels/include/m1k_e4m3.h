// float8_e4m3fn, one number at a time: sign, four bits of exponent of bias 7, three of mantissa; no
// infinities, NaN where all bits but the sign are set; the largest number is 448. Plain C: compiled
// by clang, nvcc and NVRTC alike.
#ifndef M1K_E4M3_H
#define M1K_E4M3_H

#ifdef __CUDACC__
#define M1K_E4M3_FUNCTION static __host__ __device__ inline
#else
#define M1K_E4M3_FUNCTION static inline
#endif

#define M1K_E4M3_LARGEST 448.0f
// Rows whose largest absolute value is below 2^-100 are rows of zeros: 448 divided by it stays
// finite above.
#define M1K_E4M3_LEAST_ROW 7.888609052210118e-31f

typedef union m1k_e4m3_bits {
  float value;
  unsigned bits;
} m1k_e4m3_bits;

/// To nearest even; what is beyond 448 is 448, NaN stays NaN.
M1K_E4M3_FUNCTION unsigned char m1k_e4m3_of(float value) {
  m1k_e4m3_bits v;
  v.value = value;
  const unsigned sign = v.bits >> 24 & 0x80u, magnitude = v.bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u)
    return (unsigned char)(sign | 0x7fu);
  if (magnitude >= 0x43e00000u) // 448
    return (unsigned char)(sign | 0x7eu);
  if (magnitude < 0x3c800000u) { // below 2^-6: a multiple of 2^-9, which is the ulp of 1.5 · 2^14
    v.bits = magnitude;
    v.value += 24576.0f;
    return (unsigned char)(sign | (v.bits - 0x46c00000u));
  }
  return (unsigned char)(sign |
                         (magnitude - 0x3c000000u + 0x7ffffu + (magnitude >> 20 & 1u)) >> 20);
}

M1K_E4M3_FUNCTION float m1k_e4m3_value(unsigned char code) {
  m1k_e4m3_bits v;
  const unsigned magnitude = code & 0x7fu;
  if (magnitude == 0x7fu)
    v.bits = 0x7fc00000u;
  else if (magnitude >= 8u)
    v.bits = (magnitude << 20) + 0x3c000000u;
  else
    v.value = (float)magnitude * 0.001953125f; // 2^-9
  v.bits |= (unsigned)(code & 0x80u) << 24;
  return v.value;
}

#endif
