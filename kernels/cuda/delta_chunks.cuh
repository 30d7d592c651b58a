// Prefill of the gated delta rule on tensor cores, for bf16 activations, in two launches over tiles
// of 64 tokens of the step.
//
// With decays α_t, keys k_t and queries q_t normalised, a state S [K][V] and β_t, the rule is
//   δ_t = β_t (v_t - α_t S_{t-1}ᵀ k_t),  S_t = α_t S_{t-1} + k_t δ_tᵀ,  o_t = S_tᵀ q_t.
// Let g_t be the sum of log2 α over a tile's tokens of the sequence up to t, and S the state before
// them. Unrolled, S_t = 2^g_t S + Σ_{j<=t} 2^(g_t - g_j) k_j δ_jᵀ, and put into the first line:
//   (I + A) δ = β (v - 2^g K S),  A_tj = β_t 2^(g_t - g_j) k_t·k_j for j < t, 0 elsewhere
//   δ = U - W S,  U = T V,  W = T 2^g K,  T = (I + A)⁻¹ β
//   o_t = 2^g_t Sᵀ q_t + Σ_{j<=t} P_tj δ_j,  P_tj = 2^(g_t - g_j) q_t·k_j
//   S' = 2^g_last S + Σ_j 2^(g_last - g_j) k_j δ_jᵀ
// (the chunked form of arXiv 2406.06484 with the decays of 2412.06464). Exponents are differences
// of sums, taken before the exponential and never positive: large decays underflow.
//
// delta_prepare: grid (heads, tiles). What does not depend on the state goes to a record a tile and
//   head: -W, U and P in bf16, and three factors a token. T is solved in f32 in blocks of 16 and
//   joined from those on tensor cores, where operands are the sums of two bf16, as T is when it
//   meets V and K. T_tj and P_tj are 0 where t and j are tokens of different sequences, so that a
//   tile of many sequences is one triangular system.
// delta_chunks: grid (heads · V / (16 · kWarps), sequences). kWarps warps each take 16 columns of
//   the state over the sequence's tiles; with everything transposed (Sᵀ, δᵀ), the results of one
//   product are the operand of the next in the same registers. As many warps compute the outputs, a
//   tile behind, from the states and δ that those leave in shared memory; another copies the next
//   tiles.
// Keys and queries are operands as they come; the factors 1/|k| and 1/|q| are f32, outside the
// products. Rounded to bf16: W and U, S where it meets W and Q, 2^(g_last - g_j) δ_j where it meets
// K, δ where it meets P. A row of W is a product of contractions, β_t k_tᵀ Π 2^α (I - β k kᵀ), so
// its rounding weighs as that of a key. The state is f32 in registers.
//
// Records lie in `temporary`, that of the step's last, partial tile in `workspace`.
//
// Facts F: AT, BT, ST, the types of a, b and the state; kHeads, kShare (value heads that a head of
// q and k serves), kK, kV, strides, kHasDtBias, eps(), scale(); tuning: kWarps.
#ifndef M1K_DELTA_CHUNKS_CUH
#define M1K_DELTA_CHUNKS_CUH

#include "common.cuh"

namespace m1k {

template <class F> struct DeltaTraits {
  static constexpr int kTile = 64, kRow = F::kK + 8, kSteps = F::kK / 16;
  // 16×16 blocks of P on or below the diagonal, row by row; each is held as the operand of two
  // products, 16 bytes a lane, or for warpgroup products by rows.
  static constexpr int kBlocks = 10, kBlockBytes = 512;
  // The record: rows of -W; rows of U; factors of δ in the state, of the state; P; the factor of
  // Q·S.
  static constexpr int kFactorBytes = kTile * 4;
  static constexpr int kRightSide = kTile * F::kK * 2, kFactors = kRightSide + kTile * F::kV * 2,
                       kSystemBytes = kFactors + 2 * kFactorBytes,
                       kOutputBytes = kBlocks * kBlockBytes + kFactorBytes,
                       kRecordBytes = kSystemBytes + kOutputBytes;
  static_assert(F::kK % 16 == 0, "whole tiles");

  // delta_prepare; 16×16 blocks of A as two parts of rows of kPart elements, or those on the
  // diagonal in f32 of rows of kPitch.
  static constexpr int kPrepareThreads = 128, kPart = 24, kPitch = 20;
  static constexpr int kPartBytes = 16 * kPart * 2;
  static constexpr int kVRow = F::kV + 8;
  static constexpr int kRowsBytes = kTile * kRow * 2, kPartsBytes = kBlocks * 2 * kPartBytes,
                       kValues = kRowsBytes + max_of(kRowsBytes, kPartsBytes),
                       kTokens = kValues + kTile * kVRow * 2,
                       kPrepareBytes = kTokens + 7 * kFactorBytes;
  static_assert(16 * kPitch * 4 <= 2 * kPartBytes, "either form of a block fits");

  M1K_DEVICE static unsigned char *record(unsigned char *temporary, unsigned char *workspace,
                                          int tile, int head, int tokens) {
    if ((tile + 1) * kTile <= tokens)
      return temporary + (static_cast<long long>(tile) * F::kHeads + head) * kRecordBytes;
    return workspace + static_cast<long long>(head) * kRecordBytes;
  }
  M1K_DEVICE static constexpr int block_of(int row, int column) {
    return row * (row + 1) / 2 + column;
  }
  // A lane's elements of a block: of rows g and g + 8, columns 2t and 2t + 1, then 2t + 8 and
  // 2t + 9. Warpgroup products take blocks by rows.
  M1K_DEVICE static void put_block(uint4 *block, int lane, u32 a0, u32 a1, u32 a2, u32 a3) {
#ifdef M1K_WARPGROUPS
    u32 *to = reinterpret_cast<u32 *>(block) + lane / 4 * 8 + lane % 4;
    to[0] = a0, to[4] = a2;
    to[64] = a1, to[68] = a3;
#else
    block[lane] = make_uint4(a0, a2, a1, a3);
#endif
  }
};

// Rows [low, high) of a tile of 64 rows to shared memory, zeros elsewhere; `from` is the tile's
// first row.
template <int columns, int row, bool vectors, int threads>
M1K_DEVICE void copy_rows(int thread, bf16 *shared, const bf16 *from, int stride, int low,
                          int high) {
  constexpr int kPieces = columns / 8;
  if (vectors && aligned16(from)) {
    if constexpr (threads % kPieces == 0) {
      constexpr int kRows = threads / kPieces; // at once
      int t = thread / kPieces, j = thread % kPieces * 8;
      const bf16 *piece = from + t * stride + j;
      shared += t * row + j;
#pragma unroll 8
      for (int i = 0; i < 64; i += kRows) {
        bool valid = t + i >= low && t + i < high;
        copy_async16(shared + i * row, valid ? piece : from, valid);
        piece += kRows * stride;
      }
    } else {
      for (int i = thread; i < 64 * kPieces; i += threads) {
        int t = i / kPieces, j = i % kPieces * 8;
        bool valid = t >= low && t < high;
        copy_async16(shared + t * row + j, from + (valid ? t * stride + j : 0), valid);
      }
    }
  } else {
    for (int i = thread; i < 64 * columns; i += threads) {
      int t = i / columns, j = i % columns;
      shared[t * row + j] = t >= low && t < high ? from[t * stride + j] : from_float<bf16>(0.0f);
    }
  }
}

// Two values as the sum of two bf16 each.
M1K_DEVICE void split_bf16(float x, float y, u32 &high, u32 &low) {
  high = pack_bf16(x, y);
  low = pack_bf16(x - __uint_as_float(high << 16), y - __uint_as_float(high & 0xffff0000u));
}

// T of a tile, 16 rows a warp. `blocks`: those of A, and in the end of (I + A)⁻¹ on the diagonal.
template <class F> struct DeltaInverse {
  using R = DeltaTraits<F>;
  unsigned char *blocks;
  int warp, lane;

  M1K_DEVICE unsigned char *block(int row, int column) const {
    return blocks + R::block_of(row, column) * 2 * R::kPartBytes;
  }
  // Elements (row, column) and the next one of a block of the warp's rows.
  M1K_DEVICE void put(int block_column, int row, int column, float x, float y) const {
    unsigned char *to = block(warp, block_column);
    if (block_column == warp) {
      *reinterpret_cast<float2 *>(to + (row * R::kPitch + column) * 4) = make_float2(x, y);
    } else {
      u32 high, low;
      split_bf16(x, y, high, low);
      to += (row * R::kPart + column) * 2;
      *reinterpret_cast<u32 *>(to) = high;
      *reinterpret_cast<u32 *>(to + R::kPartBytes) = low;
    }
  }

  // Of the warp's block on the diagonal by substitution, a column a lane; the lanes of either half
  // put down one part. Zeros above the diagonal are chosen, not computed: 0 · NaN of another
  // sequence would not be one.
  M1K_DEVICE void invert_diagonal() const {
    int column = lane % 16;
    const float *from = reinterpret_cast<const float *>(block(warp, warp));
    float x[16];
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      float total[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
      for (int j = 0; j < i; j += 4) {
        float4 row = *reinterpret_cast<const float4 *>(from + i * R::kPitch + j);
        total[0] += row.x * x[j];
        if (j + 1 < i)
          total[1] += row.y * x[j + 1];
        if (j + 2 < i)
          total[2] += row.z * x[j + 2];
        if (j + 3 < i)
          total[3] += row.w * x[j + 3];
      }
      x[i] = column < i    ? -((total[0] + total[1]) + (total[2] + total[3]))
             : column == i ? 1.0f
                           : 0.0f;
    }
    __syncwarp();
    unsigned char *to = block(warp, warp) + lane / 16 * R::kPartBytes + column * 2;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      u32 high, low;
      split_bf16(x[i], x[i], high, low);
      *reinterpret_cast<unsigned short *>(to + i * R::kPart * 2) =
          static_cast<unsigned short>(lane < 16 ? high : low);
    }
  }

  // sums[0] + sums[1] += a · b of 16×16 operands that are sums of two parts; b is a block.
  M1K_DEVICE void multiply(float (&sums)[2][2][4], const u32 (&high)[4], const u32 (&low)[4],
                           int row, int column) const {
    const unsigned char *from = block(row, column) + (lane % 16 * R::kPart + lane / 16 * 8) * 2;
    u32 bh[4], bl[4];
    load_matrices_transposed(bh, from);
    load_matrices_transposed(bl, from + R::kPartBytes);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      mma_bf16(sums[0][h], high, bh[2 * h], bh[2 * h + 1]);
      mma_bf16(sums[1][h], low, bh[2 * h], bh[2 * h + 1]);
    }
#pragma unroll
    for (int h = 0; h < 2; ++h)
      mma_bf16(sums[1][h], high, bl[2 * h], bl[2 * h + 1]);
  }

  // T (I + A) = I says of blocks, from the diagonal to the left, that
  //   T_ij = -(Σ T_im A_mj over j < m <= i) (I + A_jj)⁻¹.
  // function(i - j, e, x, y): element e of the operand that the block is, and the one after it.
  template <class Function> M1K_DEVICE void solve(Function function) const {
    u32 high[4][4], low[4][4]; // T_{i, i - d}
    const unsigned char *from = block(warp, warp) + (lane % 16 * R::kPart + lane / 16 * 8) * 2;
    load_matrices(high[0], from);
    load_matrices(low[0], from + R::kPartBytes);
    float sums[2][2][4];
    auto sum = [&](int e, int i) {
      return sums[0][e / 2][e % 2 * 2 + i] + sums[1][e / 2][e % 2 * 2 + i];
    };
    auto clear = [&] {
#pragma unroll
      for (int h = 0; h < 2; ++h)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          sums[0][h][e] = sums[1][h][e] = 0.0f;
    };
#pragma unroll
    for (int e = 0; e < 4; ++e)
      function(0, e, __uint_as_float(high[0][e] << 16) + __uint_as_float(low[0][e] << 16),
               __uint_as_float(high[0][e] & 0xffff0000u) +
                   __uint_as_float(low[0][e] & 0xffff0000u));
#pragma unroll
    for (int d = 1; d < 4; ++d) {
      if (d > warp)
        break;
      clear();
#pragma unroll
      for (int m = 0; m < d; ++m)
        multiply(sums, high[m], low[m], warp - m, warp - d);
#pragma unroll
      for (int e = 0; e < 4; ++e)
        split_bf16(-sum(e, 0), -sum(e, 1), high[d][e], low[d][e]);
      clear();
      multiply(sums, high[d], low[d], warp - d, warp - d);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        split_bf16(sum(e, 0), sum(e, 1), high[d][e], low[d][e]);
        function(d, e, sum(e, 0), sum(e, 1));
      }
    }
  }
};

template <class F>
M1K_DEVICE void delta_prepare(const bf16 *q, const bf16 *k, const bf16 *v, const typename F::AT *a,
                              const typename F::BT *b, const float *decay, const float *dt_bias,
                              const int *sequence_starts, unsigned char *workspace,
                              unsigned char *temporary, m1_dims dims) {
  using R = DeltaTraits<F>;
  constexpr int kTile = R::kTile, kRow = R::kRow;
  static_assert(R::kPrepareBytes <= F::kSharedBytes, "the launch reserves too little memory");
  int tile = blockIdx.y, begin = tile * kTile, rows = min(kTile, dims.tokens - begin);
  if (rows <= 0)
    return;
  int head = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4,
      t = lane % 4;
  bf16 *keys = reinterpret_cast<bf16 *>(m1k_shared), *queries = keys + kTile * kRow,
       *values = reinterpret_cast<bf16 *>(m1k_shared + R::kValues);
  DeltaInverse<F> inverse{m1k_shared + R::kRowsBytes, warp, lane};
  float *sums = reinterpret_cast<float *>(m1k_shared + R::kTokens), *betas = sums + kTile,
        *key_factors = betas + kTile, *query_factors = key_factors + kTile,
        *seen_factors = query_factors + kTile; // of keys where they meet S
  int *starts = reinterpret_cast<int *>(seen_factors + kTile), *ends = starts + kTile;

  copy_rows<F::kK, kRow, F::kKStride % 8 == 0, R::kPrepareThreads>(
      threadIdx.x, keys, k + begin * static_cast<long long>(F::kKStride) + head / F::kShare * F::kK,
      F::kKStride, 0, rows);
  copy_rows<F::kK, kRow, F::kQStride % 8 == 0, R::kPrepareThreads>(
      threadIdx.x, queries,
      q + begin * static_cast<long long>(F::kQStride) + head / F::kShare * F::kK, F::kQStride, 0,
      rows);
  copy_rows<F::kV, R::kVRow, F::kVStride % 8 == 0, R::kPrepareThreads>(
      threadIdx.x, values, v + begin * static_cast<long long>(F::kVStride) + head * F::kV,
      F::kVStride, 0, rows);
  copy_async_commit();
  if (warp == 0) { // sums of log2 α, two tokens a lane
    float rate = decay[head] * kLog2E, bias = F::kHasDtBias ? dt_bias[head] : 0.0f, sum[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      int token = 2 * lane + i;
      // Below 2^-150 nothing is left; a longer step would cost the others' differences bits.
      sum[i] =
          token < rows
              ? fmaxf(
                    softplus(
                        to_float(a[(begin + token) * static_cast<long long>(F::kAStride) + head]) +
                        bias) *
                        rate,
                    -150.0f)
              : 0.0f;
    }
    sum[1] += sum[0];
    float inclusive = sum[1];
#pragma unroll
    for (int distance = 1; distance < 32; distance <<= 1) {
      float below = __shfl_up_sync(0xffffffffu, inclusive, distance);
      inclusive += lane >= distance ? below : 0.0f;
    }
    float before = inclusive - sum[1];
    reinterpret_cast<float2 *>(sums)[lane] = make_float2(before + sum[0], before + sum[1]);
  } else if (warp == 1) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      int token = lane + 32 * i;
      long long row = begin + min(token, rows - 1);
      float x = to_float(b[row * F::kBStride + head]), gate = to_float(a[row * F::kAStride + head]);
      // A gate that is no number is lost in the maximum above; its own sequence shall see it.
      betas[token] = gate == gate ? rcp(1.0f + ex2(-x * kLog2E)) : gate;
    }
  } else { // the sequence of each token
    int token = threadIdx.x - 64, low = 0, high = dims.sequences;
    while (high - low > 1) {
      int middle = (low + high) / 2;
      (sequence_starts[middle] <= begin + token ? low : high) = middle;
    }
    starts[token] = token < rows ? sequence_starts[low] - begin : kTile;
    ends[token] = token < rows ? sequence_starts[low + 1] - begin : kTile;
  }
  copy_async_wait<0>();
  __syncthreads();
  unsigned char *record = R::record(temporary, workspace, tile, head, dims.tokens);
  uint4 *outputs = reinterpret_cast<uint4 *>(record + R::kSystemBytes);
  {
    int token = threadIdx.x % kTile;
    bool of_query = threadIdx.x >= kTile;
    bf16 *row = (of_query ? queries : keys) + token * kRow;
    float squares = 0.0f;
#pragma unroll 4
    for (int i = 0; i < F::kK; i += 8) {
      float x[8];
      load_floats<8>(x, row + i);
#pragma unroll
      for (int e = 0; e < 8; ++e)
        squares += x[e] * x[e];
    }
    float factor = rsqrtf(squares + F::eps()) * (of_query ? F::scale() : 1.0f);
    // What is no number would spoil other sequences' tokens in products with T: zeros go there, and
    // β, which T's column is multiplied by, spoils those of its own.
    float rest = of_query ? 0.0f : squares - squares;
    if (of_query) {
      row = values + token * R::kVRow;
#pragma unroll 4
      for (int i = 0; i < F::kV; i += 8) {
        float x[8];
        load_floats<8>(x, row + i);
#pragma unroll
        for (int e = 0; e < 8; ++e)
          rest = fmaf(x[e], 0.0f, rest);
      }
    }
    if (rest != 0.0f) {
      for (int i = 0; i < (of_query ? F::kV : F::kK); ++i)
        row[i] = from_float<bf16>(0.0f);
      betas[token] = rest;
      factor = of_query ? factor : rest;
    }
    (of_query ? query_factors : key_factors)[token] = factor;
    // Sums before the sequence's first token here and at its last one.
    int first = starts[token], last = min(ends[token], rows) - 1;
    bool valid = token < rows;
    float sum = sums[token], grown = valid ? ex2(sum - (first > 0 ? sums[first - 1] : 0.0f)) : 0.0f;
    float *factors = reinterpret_cast<float *>(record + R::kFactors);
    if (of_query) {
      factors[kTile + token] = grown;
      reinterpret_cast<float *>(outputs + R::kBlocks * 32)[token] = grown * factor;
    } else {
      seen_factors[token] = grown * factor;
      factors[token] = valid ? ex2(sums[last] - sum) * factor : 0.0f;
    }
  }
  __syncthreads();

  // P, then A in the place of the queries, 16 tokens a warp.
  {
    int i0 = warp * 16 + g;
    float sum_i[2] = {sums[i0], sums[i0 + 8]};
    float key_i[2] = {betas[i0] * key_factors[i0], betas[i0 + 8] * key_factors[i0 + 8]};
    float query_i[2] = {query_factors[i0], query_factors[i0 + 8]};
    int start_i[2] = {starts[i0], starts[i0 + 8]};
    u32 rf[R::kSteps][4];
    auto load_rows = [&](const bf16 *rows) {
#pragma unroll
      for (int n = 0; n < R::kSteps; ++n)
        load_matrices(rf[n], rows + (warp * 16 + lane % 16) * kRow + n * 16 + lane / 16 * 8);
    };
    // function(h, r, x, y) of elements (i0 + 8r, 8h + 2t) and the next one of a block of the rows'
    // products with the keys, with the decays between; 0 unless j < i + of_itself.
    auto multiply = [&](int block, const float (&row_factors)[2], int of_itself, auto function) {
      float products[2][4] = {};
#pragma unroll
      for (int n = 0; n < R::kSteps; ++n) {
        u32 bf[4];
        load_matrices(bf, keys + (block * 16 + lane / 16 * 8 + lane % 8) * kRow + n * 16 +
                              lane / 8 % 2 * 8);
        mma_bf16(products[0], rf[n], bf[0], bf[1]);
        mma_bf16(products[1], rf[n], bf[2], bf[3]);
      }
#pragma unroll
      for (int h = 0; h < 2; ++h)
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          int i = i0 + 8 * r, j = block * 16 + h * 8 + 2 * t;
          float x[2];
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            float between = ex2(sum_i[r] - sums[j + e]) * key_factors[j + e];
            x[e] = start_i[r] == starts[j + e] && j + e < i + of_itself
                       ? products[h][2 * r + e] * row_factors[r] * between
                       : 0.0f;
          }
          function(h, r, x[0], x[1]);
        }
    };
    load_rows(queries);
    __syncthreads(); // by all warps
#pragma unroll 1
    for (int block = 0; block <= warp; ++block) {
      u32 packed[4];
      multiply(block, query_i, 1,
               [&](int h, int r, float x, float y) { packed[2 * h + r] = pack_bf16(x, y); });
      R::put_block(outputs + R::block_of(warp, block) * 32, lane, packed[0], packed[1], packed[2],
                   packed[3]);
    }
    load_rows(keys);
#pragma unroll 1
    for (int block = 0; block <= warp; ++block)
      multiply(block, key_i, 0, [&](int h, int r, float x, float y) {
        inverse.put(block, g + 8 * r, h * 8 + 2 * t, x, y);
      });
  }
  inverse.invert_diagonal();
  __syncthreads();
  // T's blocks from the diagonal to the left.
  u32 solution[4][2][4];
  auto column_of = [&](int d, int e) { return (warp - d) * 16 + e / 2 * 8 + 2 * t; };
  inverse.solve([&](int d, int e, float x, float y) {
    int i = warp * 16 + g + e % 2 * 8, j = column_of(d, e);
    split_bf16(starts[i] == starts[j] ? x * betas[j] : 0.0f,
               starts[i] == starts[j + 1] ? y * betas[j + 1] : 0.0f, solution[d][0][e],
               solution[d][1][e]);
  });
  // to = T · rows, 16 rows a warp.
  auto apply = [&](bf16 *to, const bf16 *rows, int row, int columns) {
#pragma unroll 2
    for (int column = 0; column < columns; column += 16) {
      float sums[2][4] = {};
#pragma unroll
      for (int d = 0; d < 4; ++d)
        if (d <= warp) {
          u32 bf[4];
          load_matrices_transposed(bf, rows + ((warp - d) * 16 + lane % 16) * row + column +
                                           lane / 16 * 8);
#pragma unroll
          for (int part = 0; part < 2; ++part)
#pragma unroll
            for (int h = 0; h < 2; ++h)
              mma_bf16(sums[h], solution[d][part], bf[2 * h], bf[2 * h + 1]);
        }
      // Two lanes exchange halves, so that each has four columns.
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        u32 first = pack_bf16(sums[0][2 * r], sums[0][2 * r + 1]),
            second = pack_bf16(sums[1][2 * r], sums[1][2 * r + 1]);
        u32 other = __shfl_xor_sync(0xffffffffu, t % 2 ? first : second, 1);
        *reinterpret_cast<uint2 *>(to + (warp * 16 + g + 8 * r) * columns + column + t % 2 * 8 +
                                   t / 2 * 4) =
            t % 2 ? make_uint2(other, second) : make_uint2(first, other);
      }
    }
  };
  apply(reinterpret_cast<bf16 *>(record + R::kRightSide), values, R::kVRow, F::kV);
#pragma unroll
  for (int d = 0; d < 4; ++d)
    if (d <= warp)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        u32 high = solution[d][0][e], low = solution[d][1][e];
        const float *factors = seen_factors + column_of(d, e);
        // Also where the factor of another sequence's token is no number.
        auto scaled = [](float x, float factor) { return x == 0.0f ? 0.0f : -x * factor; };
        split_bf16(scaled(__uint_as_float(high << 16) + __uint_as_float(low << 16), factors[0]),
                   scaled(__uint_as_float(high & 0xffff0000u) + __uint_as_float(low & 0xffff0000u),
                          factors[1]),
                   solution[d][0][e], solution[d][1][e]);
      }
  apply(reinterpret_cast<bf16 *>(record), keys, kRow, F::kK);
}

// What both forms of delta_chunks do with a warp's 16 columns of a tile. Element i of tile n of x,
// which x(n, i) names, is of column g + i / 2 · 8 and token n · 8 + 2t + i % 2.
template <class F> struct DeltaTile {
  using R = DeltaTraits<F>;
  int low, high; // the sequence's tokens

  // x = Uᵀ; `rows`: of U from the warp's first column.
  template <int row, class X> M1K_DEVICE static void load_right_side(const bf16 *rows, X x) {
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      u32 u[4];
      load_matrices_transposed(u,
                               rows + (n * 16 + lane / 16 * 8 + lane % 8) * row + lane / 8 % 2 * 8);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        x(2 * n + e / 2, e % 2 * 2) = __uint_as_float(u[e] << 16);
        x(2 * n + e / 2, e % 2 * 2 + 1) = __uint_as_float(u[e] & 0xffff0000u);
      }
    }
  }

  // δᵀ as operands, plain and with the factors of the state; 0 for other tokens.
  template <class X>
  M1K_DEVICE void round(X x, const float *factors, u32 (&plain)[4][4], u32 (&decayed)[4][4]) const {
    auto of_all = [&](auto inside) {
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        int token = n * 8 + threadIdx.x % 4 * 2;
        float2 factor = *reinterpret_cast<const float2 *>(factors + token);
        bool first = inside(token), second = inside(token + 1);
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          float d0 = x(n, 2 * r), d1 = x(n, 2 * r + 1);
          plain[n / 2][n % 2 * 2 + r] = pack_bf16(first ? d0 : 0.0f, second ? d1 : 0.0f);
          decayed[n / 2][n % 2 * 2 + r] =
              pack_bf16(first ? d0 * factor.x : 0.0f, second ? d1 * factor.y : 0.0f);
        }
      }
    };
    if (low == 0 && high == R::kTile)
      of_all([](int) { return true; });
    else
      of_all([&](int token) { return token >= low && token < high; });
  }

  // yᵀ, outputs; `out` is the tile's first row from the warp's first column.
  template <class Y> M1K_DEVICE void write(bf16 *out, Y y) const {
    bool wide = F::kOutStride % 2 == 0 && (reinterpret_cast<u64>(out) & 3) == 0;
    out += threadIdx.x % 4 * 2;
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      int token = n * 8 + threadIdx.x % 32 / 4;
      bf16 *place = out + token * F::kOutStride;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        u32 two = transpose_matrix(pack_bf16(y(n, 2 * h), y(n, 2 * h + 1)));
        if (token < low || token >= high)
          continue;
        if (wide) {
          *reinterpret_cast<u32 *>(place + h * 8) = two;
        } else {
          place[h * 8].bits = static_cast<unsigned short>(two);
          place[h * 8 + 1].bits = static_cast<unsigned short>(two >> 16);
        }
      }
    }
  }
};

// One warp's 16 columns of a head's state, and what a block keeps in shared memory.
template <class F> struct DeltaChunks {
  using R = DeltaTraits<F>;
  static constexpr int kTile = R::kTile, kRow = R::kRow, kSteps = R::kSteps;
  static constexpr int kColumns = 16 * F::kWarps, kVRow = kColumns + 8;
  static constexpr int kKeyBytes = kTile * kRow * 2, kValueBytes = kTile * kVRow * 2;
  // A stage of input: K, W, U, the factors of δ and of the state.
  static constexpr int kRightSide = 2 * kKeyBytes, kFactors = kRightSide + kValueBytes,
                       kInputStage = kFactors + 2 * R::kFactorBytes,
                       kOutputStage = kKeyBytes + R::kOutputBytes;
  // What the warps of the state leave to those of the outputs, 16 bytes a lane and step.
  static constexpr int kLeft = (kSteps + kTile / 16) * 512;
  static constexpr int kBytes = 2 * (kInputStage + kOutputStage + F::kWarps * kLeft);
  static_assert(kBytes <= F::kSharedBytes, "the launch reserves too little shared memory");

  int lane, g, t, pair;
  M1K_DEVICE DeltaChunks()
      : lane(threadIdx.x % 32), g(lane / 4), t(lane % 4), pair(threadIdx.x / 32 % F::kWarps) {}

  M1K_DEVICE unsigned char *input(int tile) const { return m1k_shared + (tile & 1) * kInputStage; }
  M1K_DEVICE unsigned char *output(int tile) const {
    return m1k_shared + 2 * kInputStage + (tile & 1) * kOutputStage;
  }
  M1K_DEVICE uint4 *left(int tile) const {
    return reinterpret_cast<uint4 *>(m1k_shared + 2 * (kInputStage + kOutputStage) +
                                     ((tile & 1) * F::kWarps + pair) * kLeft) +
           lane;
  }
  // Operand of 16 tokens by 16 columns, whose rows are the tokens of a tile of K or Q.
  M1K_DEVICE void load(u32 (&f)[4], const bf16 *rows, int tokens, int step) const {
    load_matrices(f, rows + (tokens * 16 + lane / 16 * 8 + lane % 8) * kRow + step * 16 +
                         lane / 8 % 2 * 8);
  }

  // Takes s, tiles of Sᵀ, over tokens [low, high) of a tile. Elements of s as of x in DeltaTile,
  // with rows of the state for tokens.
  M1K_DEVICE void advance(float (&s)[2 * kSteps][4], int tile, int low, int high) const {
    const unsigned char *stage = input(tile);
    const bf16 *keys = reinterpret_cast<const bf16 *>(stage),
               *seen = reinterpret_cast<const bf16 *>(stage + kKeyBytes),
               *right_side = reinterpret_cast<const bf16 *>(stage + kRightSide);
    const float *factors = reinterpret_cast<const float *>(stage + kFactors);
    uint4 *to = left(tile);

    // Stores come before loads here, as a load is not moved past a store; and no sum is added to
    // twice in a row, as a product waits for the one before it.
    u32 sf[kSteps][4];
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        sf[k][2 * h] = pack_bf16(s[2 * k + h][0], s[2 * k + h][1]);
        sf[k][2 * h + 1] = pack_bf16(s[2 * k + h][2], s[2 * k + h][3]);
      }
      to[k * 32] = make_uint4(sf[k][0], sf[k][1], sf[k][2], sf[k][3]);
    }
    float x[8][4];
    auto element = [&](int n, int i) -> float & { return x[n][i]; };
    DeltaTile<F>::template load_right_side<kVRow>(right_side + pair * 16, element);
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        u32 wf[4];
        load(wf, seen, n, k);
        mma_bf16(x[2 * n], sf[k], wf[0], wf[1]);
        mma_bf16(x[2 * n + 1], sf[k], wf[2], wf[3]);
      }
    }
    u32 plain[4][4], decayed[4][4];
    DeltaTile<F>{low, high}.round(element, factors, plain, decayed);
#pragma unroll
    for (int n = 0; n < 4; ++n)
      to[(kSteps + n) * 32] = make_uint4(plain[n][0], plain[n][1], plain[n][2], plain[n][3]);

    float keep = factors[kTile + high - 1];
#pragma unroll
    for (int n = 0; n < 2 * kSteps; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        s[n][i] *= keep;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int n = 0; n < kSteps; ++n) {
        u32 kf[4];
        load_matrices_transposed(kf, keys + (k * 16 + lane / 8 % 2 * 8 + lane % 8) * kRow + n * 16 +
                                         lane / 16 * 8);
        mma_bf16(s[2 * n], decayed[k], kf[0], kf[1]);
        mma_bf16(s[2 * n + 1], decayed[k], kf[2], kf[3]);
      }
    }
  }

  // The outputs of tokens [low, high) of a tile; `out` is the tile's first row.
  M1K_DEVICE void write(bf16 *out, int tile, int low, int high) const {
    const unsigned char *stage = output(tile);
    const bf16 *queries = reinterpret_cast<const bf16 *>(stage);
    const uint4 *products = reinterpret_cast<const uint4 *>(stage + kKeyBytes) + lane;
    const float *factors =
        reinterpret_cast<const float *>(stage + kKeyBytes + R::kBlocks * R::kBlockBytes);
    const uint4 *from = left(tile);
    float y[8][4];
#pragma unroll
    for (int n = 0; n < 8; ++n)
      y[n][0] = y[n][1] = y[n][2] = y[n][3] = 0.0f;
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      uint4 packed = from[k * 32];
      u32 sf[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        u32 qf[4];
        load(qf, queries, n, k);
        mma_bf16(y[2 * n], sf, qf[0], qf[1]);
        mma_bf16(y[2 * n + 1], sf, qf[2], qf[3]);
      }
    }
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      float2 factor = *reinterpret_cast<const float2 *>(factors + n * 8 + 2 * t);
      y[n][0] *= factor.x, y[n][1] *= factor.y, y[n][2] *= factor.x, y[n][3] *= factor.y;
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      uint4 packed = from[(kSteps + k) * 32];
      u32 df[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
      for (int m = k; m < 4; ++m) {
        uint4 p = products[R::block_of(m, k) * 32];
        mma_bf16(y[2 * m], df, p.x, p.y);
        mma_bf16(y[2 * m + 1], df, p.z, p.w);
      }
    }
    DeltaTile<F>{low, high}.write(out + pair * 16, [&](int n, int i) { return y[n][i]; });
  }
};

template <class F>
M1K_DEVICE void delta_chunks(const bf16 *q, const bf16 *k, typename F::ST *state,
                             const int *sequence_starts, const int *slots, const int *positions,
                             bf16 *out, const unsigned char *workspace,
                             const unsigned char *temporary, m1_dims dims) {
  using R = DeltaTraits<F>;
  using C = DeltaChunks<F>;
  using ST = typename F::ST;
  constexpr int kTile = R::kTile, kSlices = F::kV / C::kColumns;
  static_assert(F::kV % C::kColumns == 0, "whole tiles");
  int sequence = blockIdx.y;
  if (sequence >= dims.sequences)
    return;
  int start = sequence_starts[sequence], end = sequence_starts[sequence + 1];
  if (start >= end)
    return;
  C chunks;
  int head = blockIdx.x / kSlices, column0 = blockIdx.x % kSlices * C::kColumns;
  int first = start / kTile, count = (end - 1) / kTile - first + 1;
  bool for_state = threadIdx.x < 32 * F::kWarps, copies = threadIdx.x >= 64 * F::kWarps;
  auto low_of = [&](int tile) { return max(start - (first + tile) * kTile, 0); };
  auto high_of = [&](int tile) { return min(end - (first + tile) * kTile, kTile); };
  auto row_of = [&](int tile) { return (first + tile) * static_cast<long long>(kTile); };

  // By the last warp.
  auto record_of = [&](int tile) {
    return R::record(const_cast<unsigned char *>(temporary), const_cast<unsigned char *>(workspace),
                     first + tile, head, dims.tokens);
  };
  auto copy_bytes = [&](unsigned char *to, const unsigned char *from, int bytes) {
#pragma unroll 8
    for (int i = chunks.lane * 16; i < bytes; i += 32 * 16)
      copy_async16(to + i, from + i, true);
  };
  auto copy_input = [&](int tile) {
    unsigned char *stage = chunks.input(tile);
    copy_rows<F::kK, R::kRow, F::kKStride % 8 == 0, 32>(
        chunks.lane, reinterpret_cast<bf16 *>(stage),
        k + row_of(tile) * F::kKStride + head / F::kShare * F::kK, F::kKStride, low_of(tile),
        high_of(tile));
    const unsigned char *record = record_of(tile);
    copy_rows<F::kK, R::kRow, true, 32>(chunks.lane, reinterpret_cast<bf16 *>(stage + C::kKeyBytes),
                                        reinterpret_cast<const bf16 *>(record), F::kK, 0, kTile);
    copy_rows<C::kColumns, C::kVRow, true, 32>(
        chunks.lane, reinterpret_cast<bf16 *>(stage + C::kRightSide),
        reinterpret_cast<const bf16 *>(record + R::kRightSide) + column0, F::kV, 0, kTile);
    copy_bytes(stage + C::kFactors, record + R::kFactors, 2 * R::kFactorBytes);
  };
  auto copy_output = [&](int tile) {
    unsigned char *stage = chunks.output(tile);
    copy_rows<F::kK, R::kRow, F::kQStride % 8 == 0, 32>(
        chunks.lane, reinterpret_cast<bf16 *>(stage),
        q + row_of(tile) * F::kQStride + head / F::kShare * F::kK, F::kQStride, low_of(tile),
        high_of(tile));
    copy_bytes(stage + C::kKeyBytes, record_of(tile) + R::kSystemBytes, R::kOutputBytes);
  };

  // Columns and rows of the state that a lane holds, as DeltaChunks::advance says.
  float s[2 * R::kSteps][4];
  ST *place = state + (static_cast<long long>(slots[sequence]) * F::kHeads + head) * F::kK * F::kV +
              column0 + chunks.pair * 16 + chunks.g;
  auto each = [&](auto function) {
#pragma unroll
    for (int n = 0; n < 2 * R::kSteps; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        function(s[n][i], (n * 8 + 2 * chunks.t + i % 2) * F::kV + i / 2 * 8);
  };
  if (for_state) {
    bool fresh = positions[start] == 0;
    each([&](float &value, int at) { value = fresh ? 0.0f : to_float(place[at]); });
  } else if (copies) {
    copy_input(0);
  }
  // The state is taken over tile i while the outputs of tile i - 1 are computed.
  for (int i = 0; i <= count; ++i) {
    copy_async_commit();
    copy_async_wait<0>();
    __syncthreads();
    if (for_state) {
      if (i < count)
        chunks.advance(s, i, low_of(i), high_of(i));
    } else if (copies) {
      if (i + 1 < count)
        copy_input(i + 1);
      if (i < count)
        copy_output(i);
    } else if (i > 0) {
      chunks.write(out + row_of(i - 1) * F::kOutStride + head * F::kV + column0, i - 1,
                   low_of(i - 1), high_of(i - 1));
    }
  }
  if (for_state)
    each([&](float &value, int at) { place[at] = from_float<ST>(value); });
}

} // namespace m1k

#endif
