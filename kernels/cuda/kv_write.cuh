// Keys and values on their way into a cache of codes (codes.cuh), and the rotation of q and k
// before.
//
// Grid (ceil((q heads + 2 · kv heads) / warps), rows). A warp has one head of one row: of q, of k,
// or of v. Lanes hold kVector columns side by side of every 32 · kVector; what is largest in the
// head makes its scale.
//
// Facts F: QT, KeyT, ValueT, OT; KT (cache); kHeads (of q; 0: it has none), kKvHeads, kD, kTurned
// (columns of a head that turn, cosines and sines of half as many in a row of the table), strides
// kQStride, kKeyStride, kValueStride, kTableStride, kOutStride; kDomain; kThreads; kVector (1, 2 or
// 4, divides kD, kTurned / 2 and the strides).
#ifndef M1K_KV_WRITE_CUH
#define M1K_KV_WRITE_CUH

#include "codes.cuh"

namespace m1k {

template <class F>
M1K_DEVICE void kv_write(const typename F::QT *q, const typename F::KeyT *k,
                         const typename F::ValueT *v, const float *table, typename F::KT *cache,
                         const int *positions, const int *token_sequence, const int *block_tables,
                         typename F::OT *out, m1_dims dims) {
  constexpr int kVector = F::kVector, kStep = 32 * kVector, kRuns = (F::kD + kStep - 1) / kStep,
                kHalf = F::kTurned / 2, kPlane = M1_PAGE_SIZE * (F::kD + 4);
  static_assert(F::kD % kVector == 0 && kHalf % kVector == 0, "vectors turn as a whole, or not");
  long long row = blockIdx.y;
  int head = blockIdx.x * (F::kThreads / 32) + threadIdx.x / 32;
  if (row >= rows_of<F::kDomain>(dims) || head >= F::kHeads + 2 * F::kKvHeads)
    return;
  int first = threadIdx.x % 32 * kVector;
  const float *angles = table + row * F::kTableStride;
  float values[kRuns][kVector];
  // One head, from its first column on; zeros beyond the last.
  auto read = [&](const auto *x, bool turns) {
#pragma unroll
    for (int run = 0; run < kRuns; ++run) {
      int column = first + run * kStep;
#pragma unroll
      for (int i = 0; i < kVector; ++i)
        values[run][i] = 0.0f;
      if (column >= F::kD)
        continue;
      load_anywhere(values[run], x + column);
      if (!turns || column >= F::kTurned)
        continue;
      bool low = column < kHalf;
      int angle = low ? column : column - kHalf;
      float partner[kVector], cosine[kVector], sine[kVector];
      load_anywhere(partner, x + (low ? column + kHalf : angle));
      load_anywhere(cosine, angles + angle);
      load_anywhere(sine, angles + kHalf + angle);
#pragma unroll
      for (int i = 0; i < kVector; ++i)
        values[run][i] = values[run][i] * cosine[i] + (low ? -partner[i] : partner[i]) * sine[i];
    }
  };
  if (F::kHeads > 0 && head < F::kHeads) {
    read(q + row * F::kQStride + head * F::kD, true);
#pragma unroll
    for (int run = 0; run < kRuns; ++run)
      if (first + run * kStep < F::kD)
        store_anywhere(out + row * F::kOutStride + head * F::kD + first + run * kStep, values[run]);
    return;
  }
  int kv_head = head - F::kHeads; // of keys, then of values
  if (kv_head < F::kKvHeads)
    read(k + row * F::kKeyStride + kv_head * F::kD, F::kTurned > 0);
  else
    read(v + row * F::kValueStride + (kv_head - F::kKvHeads) * F::kD, false);

  u32 size = 0; // what is no number is more than all numbers
#pragma unroll
  for (int run = 0; run < kRuns; ++run)
#pragma unroll
    for (int i = 0; i < kVector; ++i)
      size = max(size, __float_as_uint(values[run][i]) & 0x7fffffffu);
#pragma unroll
  for (int d = 16; d > 0; d >>= 1)
    size = max(size, __shfl_xor_sync(0xffffffffu, size, d));
  float factor, scale;
  scale_of<typename F::KT>(size, factor, scale);

  int position = positions[row], place = position % M1_PAGE_SIZE;
  long long page = block_tables[token_sequence[row] * static_cast<long long>(dims.max_pages) +
                                position / M1_PAGE_SIZE];
  unsigned char *plane =
      reinterpret_cast<unsigned char *>(cache) + (page * 2 * F::kKvHeads + kv_head) * kPlane;
  auto encode = [&](float low, float high) {
    return factor == 0.0f ? 0u : Codes<typename F::KT>::encode(low * factor, high * factor);
  };
#pragma unroll
  for (int run = 0; run < kRuns; ++run) {
    int column = first + run * kStep;
    if (column >= F::kD)
      continue;
    unsigned char *to = plane + place * F::kD + column;
    if constexpr (kVector == 4)
      *reinterpret_cast<u32 *>(to) =
          encode(values[run][0], values[run][1]) | encode(values[run][2], values[run][3]) << 16;
    else if constexpr (kVector == 2)
      *reinterpret_cast<unsigned short *>(to) =
          static_cast<unsigned short>(encode(values[run][0], values[run][1]));
    else
      *to = static_cast<unsigned char>(encode(values[run][0], 0.0f));
  }
  if (first == 0)
    reinterpret_cast<float *>(plane + M1_PAGE_SIZE * F::kD)[place] = scale;
}

} // namespace m1k

#endif
