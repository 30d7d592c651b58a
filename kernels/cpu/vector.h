// Sixteen float lanes and the functions of the kernels on them. Clang vector types: the compiler
// splits them to what the CPU has, and nothing depends on what its vectoriser recognises.
#ifndef M1K_CPU_VECTOR_H
#define M1K_CPU_VECTOR_H

#include "m1k_cpu.h"

#define M1K_INLINE static inline __attribute__((always_inline))
#define M1K_BODY __attribute__((always_inline)) // of lambdas and members
#define M1K_ENTRY extern "C" __attribute__((always_inline, visibility("default")))
// A column of the caller's frame. In an entry, outside loops: after inlining with constant sizes it
// is a plain local array.
#define M1K_STACK(count)                                                                           \
  static_cast<float *>(                                                                            \
      __builtin_alloca_with_align(sizeof(float) * static_cast<unsigned long>(count), 512))

namespace m1k {

constexpr int lanes = 16;
typedef float Floats __attribute__((ext_vector_type(16)));
typedef int Ints __attribute__((ext_vector_type(16)));
typedef unsigned Bits __attribute__((ext_vector_type(16)));
typedef signed char Bytes __attribute__((ext_vector_type(16)));
typedef unsigned char Octets __attribute__((ext_vector_type(16)));
typedef short Shorts __attribute__((ext_vector_type(16)));
typedef unsigned short Halves __attribute__((ext_vector_type(16)));
typedef _Float16 HalfFloats __attribute__((ext_vector_type(16)));

M1K_INLINE int least(int a, int b) { return a < b ? a : b; }

/// Calls body(begin, width) for [0, count) in pieces of 16 and a rest. Where count is a constant,
/// so is every width.
template <typename Body> M1K_INLINE void forVectors(int count, Body body) {
  int whole = count / lanes * lanes;
  for (int i = 0; i < whole; i += lanes)
    body(i, lanes);
  if (whole < count)
    body(whole, count - whole);
}

/// Calls block(begin, count) for pieces of [begin, end) of at most 16 channels, none across a
/// multiple of `head`. `begin` is a multiple of `align`. In the usual case of sizes that fit each
/// other, `count` is a constant.
template <typename Block>
M1K_INLINE void forBlocks(int begin, int end, int head, int align, Block block) {
  int unit = least(head, lanes);
  if (head % unit == 0 && align % unit == 0) {
    for (int i = begin; i + unit <= end; i += unit)
      block(i, unit);
    return;
  }
  for (int i = begin; i < end;) {
    int count = least(least(lanes, end - i), head - i % head);
    block(i, count);
    i += count;
  }
}

/// Calls body(i) for each of the first `count` lanes; unrolled for 16, so that values kept by lane
/// stay in registers.
template <typename Body> M1K_INLINE void forLanes(int count, Body body) {
  if (count != lanes) {
    for (int i = 0; i < count; ++i)
      body(i);
    return;
  }
  body(0), body(1), body(2), body(3), body(4), body(5), body(6), body(7);
  body(8), body(9), body(10), body(11), body(12), body(13), body(14), body(15);
}

template <typename To, typename From> M1K_INLINE To bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "a reinterpretation keeps the size");
  To to;
  __builtin_memcpy(&to, &from, sizeof(to));
  return to;
}

M1K_INLINE Floats widen(Halves h) { return bits<Floats>(__builtin_convertvector(h, Bits) << 16); }

/// Rounds to nearest even; NaN stays NaN.
M1K_INLINE Halves narrow(Floats v) {
  Bits u = bits<Bits>(v);
  Bits rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  Bits quiet = (u >> 16) | 0x40u;
  return __builtin_convertvector(v == v ? rounded : quiet, Halves);
}

/// Codes of e4m3, but those of NaN, as what they stand for. With its exponent in the place of
/// f16's, whose bias is 8 more, a number is 2^8 times less than it is; the conversion heeds
/// denormal f16, whatever the mode of the processor.
M1K_INLINE Floats widenE4m3(Bytes codes) {
  Halves shifted = bits<Halves>(__builtin_convertvector(codes, Shorts)) << 7;
  return __builtin_convertvector(bits<HalfFloats>(shifted & static_cast<unsigned short>(0xbf80)),
                                 Floats) *
         256.0f;
}

/// Codes of e4m3 of numbers up to 448 in size, rounded to nearest even.
M1K_INLINE Octets narrowE4m3(Floats v) {
  Bits u = bits<Bits>(v), size = u & 0x7fffffffu;
  Bits rounded = ((size + 0x7ffffu + ((size >> 20) & 1u)) >> 20) - (120u << 3);
  // Below 2^-6 codes are multiples of 2^-9, which is the last place of 2^14.
  Bits small = bits<Bits>(bits<Floats>(size) + 16384.0f) - bits<unsigned>(16384.0f);
  return __builtin_convertvector(((u >> 24) & 0x80u) | (size < 0x3c800000u ? small : rounded),
                                 Octets);
}

M1K_INLINE long size(int type) {
  return type == M1K_F32 ? 4 : type == M1K_BF16 || type == M1K_F16 ? 2 : 1;
}
M1K_INLINE const void *at(const void *base, int type, long index) {
  return static_cast<const char *>(base) + index * size(type);
}
M1K_INLINE void *at(void *base, int type, long index) {
  return static_cast<char *>(base) + index * size(type);
}

/// Element `index` of an array of `type`.
M1K_INLINE float loadOne(const void *base, int type, long index) {
  if (type == M1K_F32)
    return static_cast<const float *>(base)[index];
  if (type == M1K_F16)
    return static_cast<float>(static_cast<const _Float16 *>(base)[index]);
  return bits<float>(static_cast<unsigned>(static_cast<const unsigned short *>(base)[index]) << 16);
}

/// Whether groups with such scales have minimums.
M1K_INLINE bool hasMinimums(int scaleType) {
  return scaleType == M1K_F32_MINIMUM || scaleType == M1K_PAIRED_LEVELS;
}

/// Scale `index` of groups, of any type.
M1K_INLINE float loadScale(const void *base, int type, long index) {
  if (type == M1K_F32_MINIMUM)
    return static_cast<const float *>(base)[2 * index];
  if (type == M1K_PAIRED_LEVELS) {
    const auto *block = static_cast<const unsigned char *>(base) + index / 4 * 12;
    return loadOne(block, M1K_F16, 0) * static_cast<float>(block[4 + index % 4]);
  }
  if (type == M1K_FINE_LEVELS) {
    const auto *block = static_cast<const signed char *>(base) + index / 8 * 10;
    return loadOne(block, M1K_F16, 0) * static_cast<float>(block[2 + index % 8]);
  }
  return loadOne(base, type, index);
}

/// The minimum beside it, of those that have some.
M1K_INLINE float loadMinimum(const void *base, int type, long index) {
  if (type == M1K_F32_MINIMUM)
    return static_cast<const float *>(base)[2 * index + 1];
  const auto *block = static_cast<const unsigned char *>(base) + index / 4 * 12;
  return loadOne(block, M1K_F16, 1) * static_cast<float>(block[8 + index % 4]);
}

/// Asks for the cache line of element `index` of an array of `type`. Rows lie far apart, so that
/// walking down a column misses the TLB at every step, which hardware prefetchers do not mend;
/// M1K_PREFETCH_ROWS ahead does. Past the end it is harmless.
#define M1K_PREFETCH_ROWS 12
M1K_INLINE void prefetch(const void *base, int type, long index) {
  __builtin_prefetch(at(base, type, index));
}

/// A row of int4 is whole blocks of 128 columns.
M1K_INLINE long int4RowBytes(int columns) { return (columns + 127) / 128 * 64; }

/// The 16 columns from `column`, a multiple of 16, on of a row of int4, from 0 to 15 if `counted`.
M1K_INLINE Floats loadInt4(const void *row, int column, bool counted) {
  Halves words;
  __builtin_memcpy(&words, static_cast<const char *>(row) + column / 128 * 64 + column % 32 * 2,
                   sizeof(words));
  Ints wide = __builtin_convertvector(words, Ints);
  if (counted)
    return __builtin_convertvector(wide >> column % 128 / 32 * 4 & 15, Floats);
  return __builtin_convertvector(wide << (28 - column % 128 / 32 * 4) >> 28, Floats);
}

/// Elements [index, index + count) of an array of `type`, 1 <= count <= 16; zeros in the other
/// lanes, which are not read.
M1K_INLINE Floats load(const void *base, int type, long index, int count) {
  const void *p = at(base, type, index);
  if (type == M1K_F32) {
    Floats v = 0.0f;
    if (count == lanes)
      __builtin_memcpy(&v, p, sizeof(v));
    else
      for (int i = 0; i < count; ++i)
        v[i] = static_cast<const float *>(p)[i];
    return v;
  }
  if (type == M1K_I8 || type == M1K_E4M3) {
    Bytes b = 0;
    if (count == lanes)
      __builtin_memcpy(&b, p, sizeof(b));
    else
      for (int i = 0; i < count; ++i)
        b[i] = static_cast<const signed char *>(p)[i];
    return type == M1K_E4M3 ? widenE4m3(b) : __builtin_convertvector(b, Floats);
  }
  Halves h = 0;
  if (count == lanes)
    __builtin_memcpy(&h, p, sizeof(h));
  else
    for (int i = 0; i < count; ++i)
      h[i] = static_cast<const unsigned short *>(p)[i];
  return type == M1K_F16 ? __builtin_convertvector(bits<HalfFloats>(h), Floats) : widen(h);
}

/// Writes `count` lanes, 1 <= count <= 16, and nothing beyond.
M1K_INLINE void store(void *base, int type, long index, int count, Floats v) {
  void *p = at(base, type, index);
  if (type == M1K_F32) {
    if (count == lanes)
      __builtin_memcpy(p, &v, sizeof(v));
    else
      for (int i = 0; i < count; ++i)
        static_cast<float *>(p)[i] = v[i];
    return;
  }
  // Both to nearest even; f16 ends at 65504, beyond which numbers become infinite.
  Halves h = type == M1K_F16 ? bits<Halves>(__builtin_convertvector(v, HalfFloats)) : narrow(v);
  if (count == lanes)
    __builtin_memcpy(p, &h, sizeof(h));
  else
    for (int i = 0; i < count; ++i)
      static_cast<unsigned short *>(p)[i] = h[i];
}

M1K_INLINE float sum(Floats v) {
#pragma clang fp reassociate(on)
  typedef float F8 __attribute__((ext_vector_type(8)));
  typedef float F4 __attribute__((ext_vector_type(4)));
  F8 a = v.lo + v.hi;
  F4 b = a.lo + a.hi;
  return (b.x + b.z) + (b.y + b.w);
}

M1K_INLINE float greatest(Floats v) {
  typedef float F8 __attribute__((ext_vector_type(8)));
  typedef float F4 __attribute__((ext_vector_type(4)));
  F8 a = v.lo > v.hi ? v.lo : v.hi;
  F4 b = a.lo > a.hi ? a.lo : a.hi;
  float x = b.x > b.z ? b.x : b.z, y = b.y > b.w ? b.y : b.w;
  return x > y ? x : y;
}

/// e^x: 0 below -87.3, constant above 88.3; NaN for NaN. Reduction to |r| <= ln(2)/2, then Cephes'
/// polynomial for expf.
M1K_INLINE Floats exp(Floats x) {
  const float low = -87.3f, high = 88.3f;
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits: defined for NaN too,
  // unlike a conversion.
  const float magic = 12582912.0f;
  Floats v = x > high ? Floats(high) : x;
  Floats shifted = v * 1.44269504088896341f + magic;
  Floats n = shifted - magic;
  Floats r = v - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  Floats p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  Ints exponent = (bits<Ints>(shifted) - bits<int>(magic) + 127) << 23;
  return x < low ? Floats(0.0f) : p * bits<Floats>(exponent);
}

M1K_INLINE Floats sigmoid(Floats x) { return 1.0f / (1.0f + exp(-x)); }
M1K_INLINE Floats silu(Floats x) { return x / (1.0f + exp(-x)); }

/// log(1 + e^x) = max(x, 0) + log1p(u), u = e^-|x| in (0, 1]; log1p(u) = 2 atanh(s), s = u / (2 +
/// u) <= 1/3. The series is cut at s^15 / 15: 1.4e-8 of the sum.
M1K_INLINE Floats softplus(Floats x) {
  Floats magnitude = x < 0.0f ? -x : x;
  Floats u = exp(-magnitude);
  Floats s = u / (2.0f + u), q = s * s;
  Floats p = 1.0f / 13.0f;
  p = p * q + 1.0f / 11.0f;
  p = p * q + 1.0f / 9.0f;
  p = p * q + 1.0f / 7.0f;
  p = p * q + 1.0f / 5.0f;
  p = p * q + 1.0f / 3.0f;
  Floats logarithm = 2.0f * (p * q * s + s);
  return (x > 0.0f ? x : Floats(0.0f)) + logarithm;
}

} // namespace m1k

#endif
