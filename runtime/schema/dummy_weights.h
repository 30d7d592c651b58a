// The values of dummy weights, the same bits on every device. Plain C, for clang, nvcc and NVRTC
// alike.
#ifndef M1_SCHEMA_DUMMY_WEIGHTS_H
#define M1_SCHEMA_DUMMY_WEIGHTS_H

#ifdef __CUDACC__
#define M1_DUMMY_FUNCTION static __host__ __device__ inline
#else
#define M1_DUMMY_FUNCTION static inline
#endif

typedef unsigned long long m1_dummy_u64;

// SplitMix64's finaliser (Steele, Lea, Flood 2014).
M1_DUMMY_FUNCTION m1_dummy_u64 m1_dummy_mix(m1_dummy_u64 x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

// Key of a weight, from Module.dummy_seed and the weight's index.
M1_DUMMY_FUNCTION m1_dummy_u64 m1_dummy_key(m1_dummy_u64 seed, unsigned weight) {
  return m1_dummy_mix(seed + 0x9e3779b97f4a7c15ull * (weight + 1ull));
}

// Element `index` as an integer of mean 0: the sum of four 16-bit uniforms, a good stand-in for a
// normal value.
M1_DUMMY_FUNCTION int m1_dummy_integer(m1_dummy_u64 key, m1_dummy_u64 index) {
  m1_dummy_u64 h = m1_dummy_mix(key + 0x9e3779b97f4a7c15ull * index);
  return (int)(h & 0xffff) + (int)((h >> 16) & 0xffff) + (int)((h >> 32) & 0xffff) +
         (int)(h >> 48) - 131070;
}

// 1 / standard deviation of m1_dummy_integer: sqrt(12 / (4 · (65536² − 1))).
#define M1_DUMMY_INVERSE_DEVIATION 2.642906477e-05f

// Rounds to nearest even and holds the value within ±127: adding 1.5 · 2^23 rounds to an integer.
M1_DUMMY_FUNCTION signed char m1_dummy_i8(float value) {
  const float held = value < -127.0f ? -127.0f : value > 127.0f ? 127.0f : value;
  return (signed char)(held + 12582912.0f - 12582912.0f);
}

// Two int4 to a byte, of the values of elements 2 * index and 2 * index + 1, each held within +-7;
// `low` and `high` are those values.
M1_DUMMY_FUNCTION unsigned char m1_dummy_i4x2(float low, float high) {
  const float l = low < -7.0f ? -7.0f : low > 7.0f ? 7.0f : low;
  const float h = high < -7.0f ? -7.0f : high > 7.0f ? 7.0f : high;
  const int first = (int)(l + 12582912.0f - 12582912.0f);
  const int second = (int)(h + 12582912.0f - 12582912.0f);
  return (unsigned char)((first & 15) | (second & 15) << 4);
}

// The weight's element is fmaf((float)m1_dummy_integer(key, index), dummy_scale *
// M1_DUMMY_INVERSE_DEVIATION, dummy_offset), rounded to nearest even to the weight's type
// (i8: m1_dummy_i8, i4x2: m1_dummy_i4x2, f8e4m3: m1k_e4m3_of).

#endif
