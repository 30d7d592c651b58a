// out[m, n] = scale[n] · (x[m, :] · w[n, :]) (+ bias[n]) for tens of rows of x in bf16 and weights
// of i8: reads every weight once for kTokens rows, where a block of linear.cuh would read x anew
// for each few of its weights.
//
// Grid (ceil(n / kColumns), ceil(rows / kTokens)). A block owns kColumns outputs of kTokens rows.
// Of its warps kColumns / 32 stand side by side, each with 32 outputs; the others have further
// columns of K, 64 in a step, and their sums are added through shared memory in a fixed order. Both
// operands pass through stages of shared memory, the weights as they are: they become bf16, which
// every i8 is, in the registers of the one warp that multiplies with them, as the products' 16-row
// operand. Lane (g, t) takes the 16 bytes at 16·t of weight row g and the same columns of row g of
// x, which are the fragments of four 16-deep products under one permutation of k. The scale is
// applied to the sum.
//
// Facts F: OT; kN, kK (a multiple of 16), kXStride, kOutStride, kDomain as in linear.cuh, kHasBias;
// tuning: kColumns (32, 64 or 128), kWarps.
#ifndef M1K_LINEAR_TILED_CUH
#define M1K_LINEAR_TILED_CUH

#include "common.cuh"

namespace m1k {

template <class F> struct TiledLinearTraits {
  static constexpr int kTokens = 64;
  static constexpr int kDeep = 64;                 // columns of K of a warp's step
  static constexpr int kAcross = F::kColumns / 32; // warps side by side
  static constexpr int kAlong = F::kWarps / kAcross;
  static constexpr int kThreads = F::kWarps * 32;
  // Bytes of a row of x: odd in 16 bytes, so that eight lanes of two rows differ in banks. Rows of
  // weights are 64 bytes, which eight lanes of two rows read as one run.
  static constexpr int kXRow = 2 * kDeep + 16;
  static constexpr int kWeightBytes = 32 * kDeep;  // of a warp
  static constexpr int kSumsRow = F::kColumns + 4; // floats: lanes of a fragment differ in banks
  static constexpr int stage_bytes(int tokens) {
    return kAlong * tokens * kXRow + F::kWarps * kWeightBytes;
  }
  static constexpr int sums_bytes(int tokens) { return kAlong * tokens * kSumsRow * 4; }
  static_assert(F::kColumns % 32 == 0 && F::kWarps % kAcross == 0 && F::kK % 16 == 0, "");
  static_assert(2 * stage_bytes(kTokens) <= F::kSharedBytes &&
                    sums_bytes(kTokens) <= F::kSharedBytes,
                "the launch reserves too little shared memory");
};

// The sums of `rows` <= tokens rows, of each of kAlong parts of K, to shared memory:
// [part][row][kSumsRow].
template <class F, int tokens>
M1K_DEVICE void tiled_products(const bf16 *x, const i8 *w, int rows, int n0) {
  using T = TiledLinearTraits<F>;
  constexpr int kStage = T::stage_bytes(tokens), kStages = min_of(4, F::kSharedBytes / kStage);
  constexpr int kSteps = ceil_div(F::kK, T::kDeep * T::kAlong), kTiles = tokens / 8;
  constexpr int kPieces = T::kAlong * tokens * 8; // of x in a stage, 16 bytes each
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  int across = warp % T::kAcross, along = warp / T::kAcross;
  const bool aligned = F::kXStride % 8 == 0 && aligned16(x);
  const int copied = (rows + 7) / 8 * 8; // rows past the end are copies of the last, or anything:
                                         // none of their sums is stored
  const i8 *weight[4];                   // rows g, g + 8, … of the warp's 32
#pragma unroll
  for (int c = 0; c < 4; ++c) { // sums of columns past the end are not stored
    int column = min(n0 + across * 32 + c * 8 + g, F::kN - 1);
    weight[c] = w + static_cast<long long>(column) * F::kK + t * 16;
  }

  auto copy = [&](int step) {
    if (step < kSteps) {
      unsigned char *stage = m1k_shared + step % kStages * kStage;
      int first = step * T::kAlong * T::kDeep;
#pragma unroll 4
      for (int i = threadIdx.x; i < kPieces; i += T::kThreads) {
        int piece = i % 8, row = i / 8 % tokens, part = i / 8 / tokens;
        int k = first + part * T::kDeep + piece * 8;
        if (row >= copied)
          continue;
        unsigned char *to = stage + (part * tokens + row) * T::kXRow + piece * 16;
        const bf16 *from = x + min(row, rows - 1) * static_cast<long long>(F::kXStride) + k;
        bool inside = k < F::kK;
        if (aligned) {
          copy_async16(to, inside ? from : x, inside);
        } else {
          bf16 *element = reinterpret_cast<bf16 *>(to);
          for (int e = 0; e < 8; ++e)
            element[e] = inside ? from[e] : from_float<bf16>(0.0f);
        }
      }
      unsigned char *to =
          stage + T::kAlong * tokens * T::kXRow + warp * T::kWeightBytes + lane * 16;
      int k = first + along * T::kDeep;
      bool inside = k + t * 16 < F::kK;
#pragma unroll
      for (int c = 0; c < 4; ++c)
        copy_async16(to + c * 8 * T::kDeep, inside ? weight[c] + k : w, inside);
    }
    copy_async_commit();
  };

  float sum[2][kTiles][4];
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
      sum[m][n][0] = sum[m][n][1] = sum[m][n][2] = sum[m][n][3] = 0.0f;
#pragma unroll
  for (int step = 0; step < kStages - 1; ++step)
    copy(step);
#pragma unroll 1
  for (int step = 0; step < kSteps; ++step) {
    copy_async_wait<kStages - 2>();
    __syncthreads();
    copy(step + kStages - 1); // into the stage that every warp left before the barrier
    const unsigned char *stage = m1k_shared + step % kStages * kStage,
                        *xs = stage + (along * tokens + g) * T::kXRow + t * 32,
                        *ws = stage + T::kAlong * tokens * T::kXRow + warp * T::kWeightBytes +
                              lane * 16;
    u32 a[2][2][8]; // pairs of columns of rows g and g + 8 of both halves
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        uint4 v = *reinterpret_cast<const uint4 *>(ws + (m * 2 + half) * 8 * T::kDeep);
        u32(&pairs)[8] = a[m][half];
        unpack_i8(v.x, pairs[0], pairs[1]);
        unpack_i8(v.y, pairs[2], pairs[3]);
        unpack_i8(v.z, pairs[4], pairs[5]);
        unpack_i8(v.w, pairs[6], pairs[7]);
      }
    // Products of one depth are independent of each other: none waits for another.
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      uint4 b[kTiles];
#pragma unroll
      for (int n = 0; n < kTiles; ++n)
        b[n] = *reinterpret_cast<const uint4 *>(xs + n * 8 * T::kXRow + c * 16);
#pragma unroll
      for (int p = 0; p < 4; p += 2)
#pragma unroll
        for (int n = 0; n < kTiles; ++n)
#pragma unroll
          for (int m = 0; m < 2; ++m) {
            const int at = c * 4 + p;
            u32 rows16[4] = {a[m][0][at], a[m][1][at], a[m][0][at + 1], a[m][1][at + 1]};
            mma_bf16(sum[m][n], rows16, p ? b[n].z : b[n].x, p ? b[n].w : b[n].y);
          }
    }
  }
  copy_async_wait<0>();
  __syncthreads(); // the stages are read
  float *sums = reinterpret_cast<float *>(m1k_shared) + along * tokens * T::kSumsRow;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        sums[(n * 8 + t * 2 + i % 2) * T::kSumsRow + across * 32 + m * 16 + i / 2 * 8 + g] =
            sum[m][n][i];
  __syncthreads();
}

template <class F>
M1K_DEVICE void linear_tiled(const bf16 *x, const i8 *w, const float *scale, const float *bias,
                             typename F::OT *out, m1_dims dims) {
  using T = TiledLinearTraits<F>;
  int m0 = blockIdx.y * T::kTokens, n0 = blockIdx.x * F::kColumns;
  int rows = min(T::kTokens, rows_of<F::kDomain>(dims) - m0);
  x = wait_for_predecessors(x);
  if (rows <= 0)
    return;
  x += static_cast<long long>(m0) * F::kXStride;
  // Of fewer rows stages are smaller, and more of them fit.
  int tokens = T::kTokens;
  if (rows <= T::kTokens / 4)
    tiled_products<F, T::kTokens / 4>(x, w, rows, n0), tokens /= 4;
  else if (rows <= T::kTokens / 2)
    tiled_products<F, T::kTokens / 2>(x, w, rows, n0), tokens /= 2;
  else
    tiled_products<F, T::kTokens>(x, w, rows, n0);
  const float *sums = reinterpret_cast<const float *>(m1k_shared);
  const int part = tokens * T::kSumsRow;
  for (int i = threadIdx.x; i < rows * F::kColumns; i += T::kThreads) {
    int m = i / F::kColumns, j = i % F::kColumns, n = n0 + j;
    if (n >= F::kN)
      continue;
    float value = 0.0f;
#pragma unroll
    for (int p = 0; p < T::kAlong; ++p)
      value += sums[p * part + m * T::kSumsRow + j];
    value *= scale[n];
    if (F::kHasBias)
      value += bias[n];
    out[(m0 + m) * static_cast<long long>(F::kOutStride) + n] = from_float<typename F::OT>(value);
  }
}

} // namespace m1k

#endif
