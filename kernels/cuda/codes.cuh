// Codes of KV caches, i8 and e4m3, with a scale for each row of head_dim of them (m1.kv_cache): how
// numbers become codes, and codes the f16 or bf16 that tensor cores multiply. Of a kv head's keys,
// or values, a page has M1_PAGE_SIZE rows of codes, then as many scales, f32.
//
// No code is NaN: of a row that holds what is no number the codes are 0 and the scale is NaN.
#ifndef M1K_CODES_CUH
#define M1K_CODES_CUH

#include "e4m3.cuh"

namespace m1k {

template <class C> constexpr bool is_code = same_type<C, i8>::value || same_type<C, e4m3>::value;

// The scales of a page's rows of `columns` codes.
template <class C> M1K_DEVICE const float *scales_behind(const C *rows, int columns) {
  return reinterpret_cast<const float *>(rows + M1_PAGE_SIZE * columns);
}

// kMost: the largest code. encode: two numbers of at most that size, rounded to nearest even, as
// two bytes. unpack_f16: bytes 0 and 2, and bytes 1 and 3, of four as pairs of f16, which times
// unit() are what they stand for. unpack_bf16: bytes 0 and 1, and 2 and 3, as pairs of bf16.
template <class C> struct Codes;

template <> struct Codes<i8> {
  static constexpr float kMost = 127.0f;
  static M1K_DEVICE float unit() { return 1.0f; }
  static M1K_DEVICE u32 encode(float low, float high) {
    return (__float2int_rn(low) & 0xff) | (__float2int_rn(high) & 0xff) << 8;
  }
  // With its sign bit turned a code is 128 more than it is, and stands in the fraction of 1024.
  static M1K_DEVICE void unpack_f16(u32 four, u32 &even, u32 &odd) {
    u32 turned = four ^ 0x80808080u;
    u32 pairs[2] = {__byte_perm(turned, 0x64646464u, 0x4240),
                    __byte_perm(turned, 0x64646464u, 0x4341)};
#pragma unroll
    for (int i = 0; i < 2; ++i)
      asm("add.rn.f16x2 %0, %0, %1;" : "+r"(pairs[i]) : "r"(0xe480e480u)); // -1152
    even = pairs[0];
    odd = pairs[1];
  }
  static M1K_DEVICE void unpack_bf16(u32 four, u32 &low, u32 &high) { unpack_i8(four, low, high); }
};

template <> struct Codes<e4m3> {
  static constexpr float kMost = 448.0f;
#if __CUDA_ARCH__ >= 890
  static M1K_DEVICE float unit() { return 1.0f; }
  static M1K_DEVICE u32 encode(float low, float high) { return pack_e4m3(low, high); }
  static M1K_DEVICE void unpack_f16(u32 four, u32 &even, u32 &odd) {
    unpack_e4m3(__byte_perm(four, 0, 0x3120), even, odd);
  }
#else
  // The exponent in the place of f16's, whose bias is 8 more.
  static M1K_DEVICE float unit() { return 256.0f; }
  static M1K_DEVICE u32 encode(float low, float high) {
    return m1k_e4m3_of(low) | u32(m1k_e4m3_of(high)) << 8;
  }
  static M1K_DEVICE void unpack_f16(u32 four, u32 &even, u32 &odd) {
    u32 raised = four << 8;
    even = (raised >> 1 & 0x3f803f80u) | (raised & 0x80008000u);
    odd = (four >> 1 & 0x3f803f80u) | (four & 0x80008000u);
  }
#endif
  // The exponent in the place of bf16's, whose bias is 120 more.
  static M1K_DEVICE void unpack_bf16(u32 four, u32 &low, u32 &high) {
    const u32 bytes[2] = {__byte_perm(four, 0, 0x1404), __byte_perm(four, 0, 0x3424)};
    u32 pairs[2];
#pragma unroll
    for (int i = 0; i < 2; ++i)
      pairs[i] = fma_bf16((bytes[i] >> 4 & 0x07f007f0u) | (bytes[i] & 0x80008000u),
                          0x7b807b80u, // 2^120
                          0);
    low = pairs[0];
    high = pairs[1];
  }
};

// Factor and scale of a row whose largest number has the bits `size` without its sign; with factor
// 0 the codes are 0.
template <class C> M1K_DEVICE void scale_of(u32 size, float &factor, float &scale) {
  float largest = __uint_as_float(size);
  bool finite = size < 0x7f800000u, counts = finite && largest >= 0x1p-100f;
  factor = counts ? __fdiv_rn(Codes<C>::kMost, largest) : 0.0f;
  scale = counts   ? __fdiv_rn(largest, Codes<C>::kMost)
          : finite ? 0.0f
                   : __uint_as_float(0x7fc00000u);
}

} // namespace m1k

#endif
