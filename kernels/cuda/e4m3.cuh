// Numbers of float8_e4m3fn: what they are made of and become. The conversions are instructions from
// sm_89 on. Every e4m3 is an f16, and the product of two an f32.
#ifndef M1K_E4M3_CUH
#define M1K_E4M3_CUH

#include "common.cuh"
#include "m1k_e4m3.h"

namespace m1k {

// Two numbers rounded to nearest even, the first in bits 0 to 7; NaN stays NaN.
M1K_DEVICE unsigned short pack_e4m3(float low, float high) {
  unsigned short r;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(r) : "f"(high), "f"(low));
  return r;
}
M1K_DEVICE u32 pack_e4m3(float a, float b, float c, float d) {
  return u32(pack_e4m3(a, b)) | u32(pack_e4m3(c, d)) << 16;
}
// Two of them as a pair of f16.
M1K_DEVICE u32 unpack_e4m3(unsigned short two) {
  u32 r;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(r) : "h"(two));
  return r;
}
M1K_DEVICE void unpack_e4m3(u32 four, u32 &low, u32 &high) {
  low = unpack_e4m3(static_cast<unsigned short>(four));
  high = unpack_e4m3(static_cast<unsigned short>(four >> 16));
}
// The nearest e4m3 of a number, as an f32.
M1K_DEVICE float round_to_e4m3(float v) {
  return to_float(f16{static_cast<unsigned short>(unpack_e4m3(pack_e4m3(v, 0.0f)))});
}
template <int N> M1K_DEVICE void load_floats(float (&out)[N], const e4m3 *p) {
  if constexpr (N % 4 == 0) {
    Pack<u32, N / 4> pack = *reinterpret_cast<const Pack<u32, N / 4> *>(p);
#pragma unroll
    for (int i = 0; i < N / 4; ++i) {
      u32 pairs[2];
      unpack_e4m3(pack.v[i], pairs[0], pairs[1]);
#pragma unroll
      for (int j = 0; j < 4; ++j)
        out[4 * i + j] = to_float(f16{static_cast<unsigned short>(pairs[j / 2] >> (j % 2 * 16))});
    }
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i)
      out[i] = to_float(p[i]);
  }
}

// Of a row with this largest absolute value: what its numbers are multiplied by before they are
// rounded, and by what the rounded ones stand for them. As m1.quantize_rows says.
M1K_DEVICE float e4m3_inverse(float largest) {
  return largest < M1K_E4M3_LEAST_ROW ? 0.0f : __fdiv_rn(M1K_E4M3_LARGEST, largest);
}
M1K_DEVICE float e4m3_scale(float largest) {
  return largest < M1K_E4M3_LEAST_ROW ? 0.0f : __fdiv_rn(largest, M1K_E4M3_LARGEST);
}

} // namespace m1k

#endif
