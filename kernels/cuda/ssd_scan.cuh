// Prefill scan of Mamba-2 on tensor cores, for bf16 activations: chunks of kChunk tokens in sequence, the state carried in registers.
//
// Grid (heads · P / kRows, S). A block owns kRows of the P rows of one head's state for one sequence; four warps. With c_i the sum of Δ·A over
// the chunk's tokens up to i, a chunk is four products:
//   G = C·Bᵀ            16 tokens a warp, only tiles on or below the diagonal
//   Y = 2^c_i · (C·Sᵀ) + (G_ij · 2^(c_i - c_j) · Δ_j, j <= i) · X
//   S = 2^c_last · S + (X_j · Δ_j · 2^(c_last - c_j))ᵀ · B      a warp owns a quarter of the N columns of S
// Exponents are differences taken before the exponential, so large decays underflow to 0 and never overflow. S is f32 in registers and
// bf16 in shared memory as an operand; the masked products and scaled X are rounded to bf16. C's fragments serve the first two products;
// the warp's own rows of C in shared memory then take its output on the way to 16-byte stores.
// 96 blocks of 32 rows beat 48 of 64 for one sequence, although each computes G anew: a chunk's latency is what counts.
//
// Facts F: T = bf16, DT, ST; kHeads, kP, kN, kRepeat, strides, kHasD, kHasDtBias, kSoftplus; tuning: kRows.
#ifndef M1K_SSD_SCAN_CUH
#define M1K_SSD_SCAN_CUH

#include "common.cuh"

namespace m1k {

template <class F> struct SsdTraits {
  static constexpr int kChunk = 64, kWarps = 4, kThreads = 128;
  static constexpr int kSplits = F::kP / F::kRows;
  static constexpr int kWideRow = F::kN + 8, kXRow = F::kRows + 8; // odd numbers of 16-byte pieces: rows fall in different banks
  static constexpr int kSteps = F::kN / 16;
  static constexpr int kPairs = ceil_div(kSteps, kWarps); // pairs of 8-column tiles of S that a warp owns
  static constexpr int kRowTiles = F::kRows / 16;
  static constexpr int kWideElements = kChunk * kWideRow, kXElements = kChunk * kXRow;
  static constexpr int kStageElements = 2 * kWideElements + kXElements;
  static constexpr int kSharedBytes = 2 * kStageElements * 2 + F::kRows * kWideRow * 2 + kXElements * 2 + kWarps * kChunk * 8;
  static_assert(F::kN % 16 == 0 && F::kP % F::kRows == 0 && F::kRows % 16 == 0, "tensor cores need whole tiles");
  static_assert(F::kRows <= F::kN, "the output takes the place of C's rows");
  static_assert(kSharedBytes <= F::kSharedBytes, "the launch reserves too little shared memory");
};

template <class F>
M1K_DEVICE void ssd_scan(const bf16 *x, const typename F::DT *dt, const float *a, const bf16 *b, const bf16 *c, const float *d,
                         const float *dt_bias, typename F::ST *state, const int *sequence_starts, const int *slots, const int *positions,
                         bf16 *out, m1_dims dims) {
  using R = SsdTraits<F>;
  constexpr int kChunk = R::kChunk, kN = F::kN, kRows = F::kRows, kWideRow = R::kWideRow, kXRow = R::kXRow, kSteps = R::kSteps;
  constexpr int kColumns = kRows / 8; // tiles of 8 output columns
  int sequence = blockIdx.y;
  if (sequence >= dims.sequences)
    return;
  int start = sequence_starts[sequence], end = sequence_starts[sequence + 1];
  if (start >= end)
    return;
  int head = blockIdx.x / R::kSplits, row0 = blockIdx.x % R::kSplits * kRows, source = head / F::kRepeat;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  int chunks = (end - start + kChunk - 1) / kChunk;

  bf16 *stages = reinterpret_cast<bf16 *>(m1k_shared);
  bf16 *operand = stages + 2 * R::kStageElements; // S
  bf16 *scaled = operand + kRows * kWideRow;      // X_j · Δ_j · 2^(c_last - c_j)
  float *sums = reinterpret_cast<float *>(scaled + R::kXElements) + warp * 2 * kChunk, *deltas = sums + kChunk; // each warp its own
  auto stage_c = [&](int chunk) { return stages + (chunk & 1) * R::kStageElements; };
  auto stage_b = [&](int chunk) { return stage_c(chunk) + R::kWideElements; };
  auto stage_x = [&](int chunk) { return stage_b(chunk) + R::kWideElements; };

  auto copy = [&](int chunk) {
    int first = start + chunk * kChunk;
    constexpr int kThreads = R::kThreads;
    stage_rows<kChunk, kWideRow, F::kCStride % 8 == 0, kThreads>(threadIdx.x, stage_c(chunk), c + head * kN, F::kCStride, first, end, kN, kN,
                                                                 [](int j) { return j; });
    stage_rows<kChunk, kWideRow, F::kBStride % 8 == 0, kThreads>(threadIdx.x, stage_b(chunk), b + source * kN, F::kBStride, first, end, kN,
                                                                 kN, [](int j) { return j; });
    stage_rows<kChunk, kXRow, F::kXStride % 8 == 0, kThreads>(threadIdx.x, stage_x(chunk), x + source * F::kP + row0, F::kXStride, first, end,
                                                              kRows, kRows, [](int j) { return j; });
  };
  // Δ of two tokens a lane, one chunk ahead.
  auto fetch_delta = [&](int chunk, float(&delta)[2]) {
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      int token = start + chunk * kChunk + 2 * lane + k;
      delta[k] = token < end ? to_float(dt[token * static_cast<long long>(F::kDtStride) + head]) : 0.0f;
    }
  };

  // This warp's columns of the state, as accumulators: tile (m, pair, half) holds rows m·16 + g, + 8 and columns n(pair, half) + 2t, + 1.
  float s[R::kRowTiles][R::kPairs][2][4];
  typename F::ST *state_rows = state + ((static_cast<long long>(slots[sequence]) * F::kHeads + head) * F::kP + row0) * kN;
  bool fresh = positions[start] == 0;
  auto column_of = [&](int pair, int half) { return (warp * R::kPairs + pair) * 16 + half * 8 + 2 * t; };
  auto owns = [&](int pair) { return warp * R::kPairs + pair < kSteps; };
  auto write_operand = [&] {
#pragma unroll
    for (int m = 0; m < R::kRowTiles; ++m)
#pragma unroll
      for (int p = 0; p < R::kPairs; ++p)
        if (owns(p))
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            bf16 *to = operand + (m * 16 + g) * kWideRow + column_of(p, h);
            *reinterpret_cast<u32 *>(to) = pack_bf16(s[m][p][h][0], s[m][p][h][1]);
            *reinterpret_cast<u32 *>(to + 8 * kWideRow) = pack_bf16(s[m][p][h][2], s[m][p][h][3]);
          }
  };
  copy(0);
  copy_async_commit();
  float next_delta[2];
  fetch_delta(0, next_delta);
#pragma unroll
  for (int m = 0; m < R::kRowTiles; ++m)
#pragma unroll
    for (int p = 0; p < R::kPairs; ++p)
#pragma unroll
      for (int h = 0; h < 2; ++h)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          int row = m * 16 + g + i / 2 * 8;
          s[m][p][h][i] = !fresh && owns(p) ? to_float(state_rows[row * kN + column_of(p, h) + i % 2]) : 0.0f;
        }
  write_operand();

  float rate = a[head] * kLog2E, bias = F::kHasDtBias ? dt_bias[head] : 0.0f, skip = F::kHasD ? d[head] : 0.0f;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    int first = start + chunk * kChunk, rows = min(kChunk, end - first);
    // Sums of Δ·A; tokens past the end have Δ = 0 and change nothing.
    {
      float delta[2], sum[2];
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        delta[k] = next_delta[k] + bias;
        if (F::kSoftplus)
          delta[k] = softplus(delta[k]);
        delta[k] = 2 * lane + k < rows ? delta[k] : 0.0f;
      }
      sum[0] = delta[0] * rate;
      sum[1] = sum[0] + delta[1] * rate;
      float inclusive = sum[1];
#pragma unroll
      for (int distance = 1; distance < 32; distance <<= 1) {
        float below = __shfl_up_sync(0xffffffffu, inclusive, distance);
        inclusive += lane >= distance ? below : 0.0f;
      }
      float before = inclusive - sum[1];
      __syncwarp();
      reinterpret_cast<float2 *>(sums)[lane] = make_float2(before + sum[0], before + sum[1]);
      reinterpret_cast<float2 *>(deltas)[lane] = make_float2(delta[0], delta[1]);
      __syncwarp();
    }
    copy_async_wait<0>();
    __syncthreads(); // the chunk has arrived, S is written, the previous chunk's buffers are free
    if (chunk + 1 < chunks) {
      copy(chunk + 1);
      fetch_delta(chunk + 1, next_delta);
    }
    copy_async_commit();
    bf16 *tile_c = stage_c(chunk);
    const bf16 *tile_b = stage_b(chunk), *tile_x = stage_x(chunk);
    float last = sums[kChunk - 1];
    for (int i = threadIdx.x; i < kChunk * kRows / 2; i += R::kThreads) {
      int j = i / (kRows / 2), k = i % (kRows / 2) * 2;
      float factor = deltas[j] * ex2(last - sums[j]), v[2];
      load_floats<2>(v, tile_x + j * kXRow + k);
      *reinterpret_cast<u32 *>(scaled + j * kXRow + k) = pack_bf16(v[0] * factor, v[1] * factor);
    }

    // C's fragments of this warp's 16 tokens.
    u32 cf[kSteps][4];
#pragma unroll
    for (int k = 0; k < kSteps; ++k)
      load_matrices(cf[k], tile_c + (warp * 16 + lane % 16) * kWideRow + k * 16 + lane / 16 * 8);
    int i0 = warp * 16 + g;
    float sum0 = sums[i0], sum1 = sums[i0 + 8];

    // What the state before the chunk gives.
    float y[kColumns][4];
#pragma unroll
    for (int n = 0; n < kColumns; ++n)
      y[n][0] = y[n][1] = y[n][2] = y[n][3] = 0.0f;
#pragma unroll
    for (int k = 0; k < kSteps; ++k)
#pragma unroll
      for (int n = 0; n < kColumns; n += 2) {
        u32 sf[4];
        load_matrices(sf, operand + (n * 8 + lane / 16 * 8 + lane % 8) * kWideRow + k * 16 + lane / 8 % 2 * 8);
        mma_bf16(y[n], cf[k], sf[0], sf[1]);
        mma_bf16(y[n + 1], cf[k], sf[2], sf[3]);
      }
    float grow0 = ex2(sum0), grow1 = ex2(sum1);
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
      y[n][0] *= grow0, y[n][1] *= grow0;
      y[n][2] *= grow1, y[n][3] *= grow1;
    }

    // What the chunk's own tokens give, 16 of them at a time.
    for (int j0 = 0; j0 <= warp; ++j0) {
      float product[2][4] = {};
#pragma unroll
      for (int k = 0; k < kSteps; ++k) {
        u32 bf[4];
        load_matrices(bf, tile_b + (j0 * 16 + lane / 16 * 8 + lane % 8) * kWideRow + k * 16 + lane / 8 % 2 * 8);
        mma_bf16(product[0], cf[k], bf[0], bf[1]);
        mma_bf16(product[1], cf[k], bf[2], bf[3]);
      }
      u32 af[4];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        int j = j0 * 16 + h * 8 + 2 * t;
        float2 sum_j = *reinterpret_cast<const float2 *>(sums + j), delta_j = *reinterpret_cast<const float2 *>(deltas + j);
        float p0 = j <= i0 ? product[h][0] * ex2(sum0 - sum_j.x) * delta_j.x : 0.0f;
        float p1 = j + 1 <= i0 ? product[h][1] * ex2(sum0 - sum_j.y) * delta_j.y : 0.0f;
        float p2 = j <= i0 + 8 ? product[h][2] * ex2(sum1 - sum_j.x) * delta_j.x : 0.0f;
        float p3 = j + 1 <= i0 + 8 ? product[h][3] * ex2(sum1 - sum_j.y) * delta_j.y : 0.0f;
        af[2 * h] = pack_bf16(p0, p1);
        af[2 * h + 1] = pack_bf16(p2, p3);
      }
#pragma unroll
      for (int n = 0; n < kColumns; n += 2) {
        u32 xf[4];
        load_matrices_transposed(xf, tile_x + (j0 * 16 + lane / 8 % 2 * 8 + lane % 8) * kXRow + n * 8 + lane / 16 * 8);
        mma_bf16(y[n], af, xf[0], xf[1]);
        mma_bf16(y[n + 1], af, xf[2], xf[3]);
      }
    }

    // Skip, and out through the warp's own rows of C.
    __syncwarp();
#pragma unroll
    for (int n = 0; n < kColumns; ++n)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        int i = i0 + h * 8;
        float v[2];
        load_floats<2>(v, tile_x + i * kXRow + n * 8 + 2 * t);
        *reinterpret_cast<u32 *>(tile_c + i * kWideRow + n * 8 + 2 * t) = pack_bf16(y[n][2 * h] + skip * v[0], y[n][2 * h + 1] + skip * v[1]);
      }
    __syncwarp();
    bf16 *to = out + head * F::kP + row0;
    if (F::kOutStride % 8 == 0 && aligned16(to)) {
      constexpr int kPieces = kRows / 8;
#pragma unroll
      for (int i = lane; i < 16 * kPieces; i += 32) {
        int row = warp * 16 + i / kPieces, j = i % kPieces * 8;
        if (row < rows)
          *reinterpret_cast<uint4 *>(to + (first + row) * static_cast<long long>(F::kOutStride) + j) =
              *reinterpret_cast<const uint4 *>(tile_c + row * kWideRow + j);
      }
    } else {
      for (int i = lane; i < 16 * kRows; i += 32) {
        int row = warp * 16 + i / kRows, j = i % kRows;
        if (row < rows)
          to[(first + row) * static_cast<long long>(F::kOutStride) + j] = tile_c[row * kWideRow + j];
      }
    }

    __syncthreads(); // scaled is written; every warp has read S
    float decay = ex2(last);
#pragma unroll
    for (int m = 0; m < R::kRowTiles; ++m)
#pragma unroll
      for (int p = 0; p < R::kPairs; ++p)
#pragma unroll
        for (int h = 0; h < 2; ++h)
#pragma unroll
          for (int i = 0; i < 4; ++i)
            s[m][p][h][i] *= decay;
#pragma unroll
    for (int k = 0; k < kChunk / 16; ++k) {
      u32 af[R::kRowTiles][4];
#pragma unroll
      for (int m = 0; m < R::kRowTiles; ++m)
        load_matrices_transposed(af[m], scaled + (k * 16 + lane / 16 * 8 + lane % 8) * kXRow + m * 16 + lane / 8 % 2 * 8);
#pragma unroll
      for (int p = 0; p < R::kPairs; ++p) {
        if (!owns(p))
          continue;
        u32 bf[4];
        load_matrices_transposed(bf, tile_b + (k * 16 + lane / 8 % 2 * 8 + lane % 8) * kWideRow + (warp * R::kPairs + p) * 16 + lane / 16 * 8);
#pragma unroll
        for (int m = 0; m < R::kRowTiles; ++m) {
          mma_bf16(s[m][p][0], af[m], bf[0], bf[1]);
          mma_bf16(s[m][p][1], af[m], bf[2], bf[3]);
        }
      }
    }
    write_operand();
  }

#pragma unroll
  for (int m = 0; m < R::kRowTiles; ++m)
#pragma unroll
    for (int p = 0; p < R::kPairs; ++p)
      if (owns(p))
#pragma unroll
        for (int h = 0; h < 2; ++h)
#pragma unroll
          for (int i = 0; i < 4; ++i)
            state_rows[(m * 16 + g + i / 2 * 8) * kN + column_of(p, h) + i % 2] = from_float<typename F::ST>(s[m][p][h][i]);
}

} // namespace m1k

#endif
