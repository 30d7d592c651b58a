// Prefill of the gated delta rule on tensor cores, for bf16 activations, in two launches over tiles
// of 64 tokens of the step.
//
// With decays α_t, keys k_t and queries q_t normalised, a state S [K][V] and β_t, the rule is
//   δ_t = β_t (v_t - α_t S_{t-1}ᵀ k_t),  S_t = α_t S_{t-1} + k_t δ_tᵀ,  o_t = S_tᵀ q_t.
// Let g_t be the sum of log2 α over a tile's tokens of the sequence up to t, and S the state before
// them. Unrolled, S_t = 2^g_t S + Σ_{j<=t} 2^(g_t - g_j) k_j δ_jᵀ, and put into the first line:
//   (I + A) δ = β (v - 2^g K S),  A_tj = β_t 2^(g_t - g_j) k_t·k_j for j < t, 0 elsewhere
//   o_t = 2^g_t Sᵀ q_t + Σ_{j<=t} P_tj δ_j,  P_tj = 2^(g_t - g_j) q_t·k_j
//   S' = 2^g_last S + Σ_j 2^(g_last - g_j) k_j δ_jᵀ
// (the chunked form of arXiv 2406.06484 with the decays of 2412.06464, but for (I + A)⁻¹, which is
// applied to the right side once S is known, instead of to K and V before). Exponents are
// differences of sums, taken before the exponential and never positive: large decays underflow.
//
// delta_prepare: grid (heads, tiles). What does not depend on the state goes to a record a tile and
//   head: T = (I + A)⁻¹ β, P in bf16, and four factors a token. T is solved in f32 in blocks of 16
//   and joined from those on tensor cores, where operands are the sums of two bf16, as T is kept.
//   T_tj and P_tj are 0 where t and j are tokens of different sequences, so that a tile of many
//   sequences is one triangular system.
// delta_chunks: grid (heads · V / (16 · kWarps), sequences). kWarps warps each take 16 columns of
//   the state over the sequence's tiles; with everything transposed (Sᵀ, δᵀ), the results of one
//   product are the operand of the next in the same registers. As many warps compute the outputs, a
//   tile behind, from the states and δ that those leave in shared memory; another copies the next
//   tiles.
// Keys and queries are operands as they come; the factors 1/|k| and 1/|q| are f32, outside the
// products. Rounded to bf16: S and 2^(g_last - g_j) δ_j where they meet K and Q, δ where it meets
// P; the right side is the sum of two bf16 like T. The state is f32 in registers.
//
// Records lie in `temporary`, that of the step's last, partial tile in `workspace`.
//
// Facts F: AT, BT, ST, the types of a, b and the state; kHeads, kShare (value heads that a head of
// q and k serves), kK, kV, strides, kHasDtBias, eps(), scale(); tuning: kFewest, kWarps.
#ifndef M1K_DELTA_CHUNKS_CUH
#define M1K_DELTA_CHUNKS_CUH

#include "common.cuh"

namespace m1k {

template <class F> struct DeltaTraits {
  static constexpr int kTile = 64, kRow = F::kK + 8, kSteps = F::kK / 16;
  // 16×16 blocks of T and P on or below the diagonal, row by row; each is held as the operand of
  // two products, 16 bytes a lane, or for warpgroup products by rows.
  static constexpr int kBlocks = 10, kBlockBytes = 512;
  // The record: T's first and second parts; factors of K·S, of δ in the state, of the state; P; the
  // factor of Q·S.
  static constexpr int kFactorBytes = kTile * 4;
  static constexpr int kSystemBytes = 2 * kBlocks * kBlockBytes + 3 * kFactorBytes,
                       kOutputBytes = kBlocks * kBlockBytes + kFactorBytes,
                       kRecordBytes = kSystemBytes + kOutputBytes;
  static_assert(F::kK % 16 == 0, "whole tiles");

  // delta_prepare; 16×16 blocks of A as two parts of rows of kPart elements, or those on the
  // diagonal in f32 of rows of kPitch.
  static constexpr int kPrepareThreads = 128, kPart = 24, kPitch = 20;
  static constexpr int kPartBytes = 16 * kPart * 2;
  static constexpr int kRowsBytes = kTile * kRow * 2, kPartsBytes = kBlocks * 2 * kPartBytes,
                       kPrepareBytes =
                           kRowsBytes + max_of(kRowsBytes, kPartsBytes) + 6 * kFactorBytes;
  static_assert(16 * kPitch * 4 <= 2 * kPartBytes, "either form of a block fits");

  M1K_DEVICE static unsigned char *record(unsigned char *temporary, unsigned char *workspace,
                                          int tile, int head, int tokens) {
    if ((tile + 1) * kTile <= tokens)
      return temporary + (static_cast<long long>(tile) * F::kHeads + head) * kRecordBytes;
    return workspace + static_cast<long long>(head) * kRecordBytes;
  }
  // Steps of fewer sequences are those of delta_overlap_warpgroup.cuh, where that has code.
  M1K_DEVICE static bool passes(const m1_dims &dims) {
#ifdef M1K_WARPGROUPS
    return dims.sequences < F::kFewest;
#else
    return false;
#endif
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

  // T = (I + A)⁻¹ β, each block in two parts: function(i - j, parts); 0 where tokens are of two
  // sequences, whose beginnings `starts` names.
  template <class Function>
  M1K_DEVICE void solve(const int *starts, const float *betas, Function function) const {
    const int g = lane / 4, t = lane % 4;
    u32 parts[2][4];
    solve([&](int d, int e, float x, float y) {
      int i = warp * 16 + g + e % 2 * 8, j = (warp - d) * 16 + e / 2 * 8 + 2 * t;
      split_bf16(starts[i] == starts[j] ? x * betas[j] : 0.0f,
                 starts[i] == starts[j + 1] ? y * betas[j + 1] : 0.0f, parts[0][e], parts[1][e]);
      if (e == 3)
        function(d, parts);
    });
  }
};

// P of a tile to `outputs` and A to the inverse's blocks, 16 rows a warp. The queries are in the
// place of those blocks: meet() says that all warps have read them.
template <class F, class Meet>
M1K_DEVICE void delta_products(const DeltaInverse<F> &inverse, uint4 *outputs, const bf16 *keys,
                               const bf16 *queries, const float *sums, const float *betas,
                               const float *key_factors, const float *query_factors,
                               const int *starts, Meet meet) {
  using R = DeltaTraits<F>;
  const int warp = inverse.warp, lane = inverse.lane, g = lane / 4, t = lane % 4;
  int i0 = warp * 16 + g;
  float sum_i[2] = {sums[i0], sums[i0 + 8]};
  float key_i[2] = {betas[i0] * key_factors[i0], betas[i0 + 8] * key_factors[i0 + 8]};
  float query_i[2] = {query_factors[i0], query_factors[i0 + 8]};
  int start_i[2] = {starts[i0], starts[i0 + 8]};
  const int from = (warp * 16 + lane % 16) * R::kRow + lane / 16 * 8;
  u32 qf[R::kSteps][4];
#pragma unroll
  for (int n = 0; n < R::kSteps; ++n)
    load_matrices(qf[n], queries + from + n * 16);
  meet();
#pragma unroll 1
  for (int block = 0; block <= warp; ++block) {
    float of_query[2][4] = {}, of_key[2][4] = {};
#pragma unroll
    for (int n = 0; n < R::kSteps; ++n) {
      u32 kf[4], bf[4];
      load_matrices(kf, keys + from + n * 16);
      load_matrices(bf, keys + (block * 16 + lane / 16 * 8 + lane % 8) * R::kRow + n * 16 +
                            lane / 8 % 2 * 8);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        mma_bf16(of_query[h], qf[n], bf[2 * h], bf[2 * h + 1]);
        mma_bf16(of_key[h], kf, bf[2 * h], bf[2 * h + 1]);
      }
    }
    u32 packed[4];
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        int i = i0 + 8 * r, j = block * 16 + h * 8 + 2 * t;
        float x[2], y[2]; // elements (i, j) and (i, j + 1) of P and of A
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float between = ex2(sum_i[r] - sums[j + e]) * key_factors[j + e];
          bool together = start_i[r] == starts[j + e];
          x[e] = together && j + e <= i ? of_query[h][2 * r + e] * query_i[r] * between : 0.0f;
          y[e] = together && j + e < i ? of_key[h][2 * r + e] * key_i[r] * between : 0.0f;
        }
        packed[2 * h + r] = pack_bf16(x[0], x[1]);
        inverse.put(block, g + 8 * r, h * 8 + 2 * t, y[0], y[1]);
      }
    R::put_block(outputs + R::block_of(warp, block) * 32, lane, packed[0], packed[1], packed[2],
                 packed[3]);
  }
}

// What a tile's products need of its tokens, by 128 threads: sums of log2 α from the tile's first
// token on, β, where the token's sequence begins and ends, counted from that.
template <class F>
M1K_DEVICE void delta_tokens(int thread, float *sums, float *betas, int *starts, int *ends,
                             const typename F::AT *a, const typename F::BT *b, const float *decay,
                             const float *dt_bias, const int *sequence_starts, int sequences,
                             int begin, int rows, int head) {
  constexpr int kTile = DeltaTraits<F>::kTile;
  int lane = thread % 32;
  if (thread / 32 == 0) { // sums of log2 α, two tokens a lane
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
  } else if (thread / 32 == 1) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      int token = lane + 32 * i;
      long long row = begin + min(token, rows - 1);
      float x = to_float(b[row * F::kBStride + head]), gate = to_float(a[row * F::kAStride + head]);
      // A gate that is no number is lost in the maximum above; its own sequence shall see it.
      betas[token] = gate == gate ? rcp(1.0f + ex2(-x * kLog2E)) : gate;
    }
  } else { // the sequence of each token
    int token = thread - 64, low = 0, high = sequences;
    while (high - low > 1) {
      int middle = (low + high) / 2;
      (sequence_starts[middle] <= begin + token ? low : high) = middle;
    }
    starts[token] = token < rows ? sequence_starts[low] - begin : kTile;
    ends[token] = token < rows ? sequence_starts[low + 1] - begin : kTile;
  }
}

template <class F>
M1K_DEVICE void delta_prepare(const bf16 *q, const bf16 *k, const typename F::AT *a,
                              const typename F::BT *b, const float *decay, const float *dt_bias,
                              const int *sequence_starts, unsigned char *workspace,
                              unsigned char *temporary, m1_dims dims) {
  using R = DeltaTraits<F>;
  constexpr int kTile = R::kTile, kRow = R::kRow;
  static_assert(R::kPrepareBytes <= F::kSharedBytes, "the launch reserves too little memory");
  int tile = blockIdx.y, begin = tile * kTile, rows = min(kTile, dims.tokens - begin);
  if (rows <= 0 || R::passes(dims))
    return;
  int head = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4,
      t = lane % 4;
  bf16 *keys = reinterpret_cast<bf16 *>(m1k_shared), *queries = keys + kTile * kRow;
  DeltaInverse<F> inverse{m1k_shared + R::kRowsBytes, warp, lane};
  float *sums = reinterpret_cast<float *>(m1k_shared + R::kPrepareBytes - 6 * R::kFactorBytes),
        *betas = sums + kTile, *key_factors = betas + kTile, *query_factors = key_factors + kTile;
  int *starts = reinterpret_cast<int *>(query_factors + kTile), *ends = starts + kTile;

  copy_rows<F::kK, kRow, F::kKStride % 8 == 0, R::kPrepareThreads>(
      threadIdx.x, keys, k + begin * static_cast<long long>(F::kKStride) + head / F::kShare * F::kK,
      F::kKStride, 0, rows);
  copy_rows<F::kK, kRow, F::kQStride % 8 == 0, R::kPrepareThreads>(
      threadIdx.x, queries,
      q + begin * static_cast<long long>(F::kQStride) + head / F::kShare * F::kK, F::kQStride, 0,
      rows);
  copy_async_commit();
  delta_tokens<F>(threadIdx.x, sums, betas, starts, ends, a, b, decay, dt_bias, sequence_starts,
                  dims.sequences, begin, rows, head);
  copy_async_wait<0>();
  __syncthreads();
  unsigned char *record = R::record(temporary, workspace, tile, head, dims.tokens);
  uint4 *solution = reinterpret_cast<uint4 *>(record);
  uint4 *outputs = reinterpret_cast<uint4 *>(record + R::kSystemBytes);
  {
    int token = threadIdx.x % kTile;
    bool of_query = threadIdx.x >= kTile;
    const bf16 *row = (of_query ? queries : keys) + token * kRow;
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
    (of_query ? query_factors : key_factors)[token] = factor;
    // Sums before the sequence's first token here and at its last one.
    int first = starts[token], last = min(ends[token], rows) - 1;
    bool valid = token < rows;
    float sum = sums[token], grown = valid ? ex2(sum - (first > 0 ? sums[first - 1] : 0.0f)) : 0.0f;
    float *factors = reinterpret_cast<float *>(record + 2 * R::kBlocks * R::kBlockBytes);
    if (of_query) {
      factors[2 * kTile + token] = grown;
      reinterpret_cast<float *>(outputs + R::kBlocks * 32)[token] = grown * factor;
    } else {
      factors[token] = grown * factor;
      factors[kTile + token] = valid ? ex2(sums[last] - sum) * factor : 0.0f;
    }
  }
  __syncthreads();

  delta_products(inverse, outputs, keys, queries, sums, betas, key_factors, query_factors, starts,
                 [] { __syncthreads(); });
  inverse.invert_diagonal();
  __syncthreads();
  inverse.solve(starts, betas, [&](int d, const u32(&parts)[2][4]) {
#pragma unroll
    for (int part = 0; part < 2; ++part)
      R::put_block(solution + (part * R::kBlocks + R::block_of(warp, warp - d)) * 32, lane,
                   parts[part][0], parts[part][1], parts[part][2], parts[part][3]);
  });
}

// One warp's 16 columns of a head's state, and what a block keeps in shared memory.
template <class F> struct DeltaChunks {
  using R = DeltaTraits<F>;
  static constexpr int kTile = R::kTile, kRow = R::kRow, kSteps = R::kSteps;
  static constexpr int kColumns = 16 * F::kWarps, kVRow = kColumns + 8;
  static constexpr int kKeyBytes = kTile * kRow * 2, kValueBytes = kTile * kVRow * 2;
  static constexpr int kInputStage = kKeyBytes + kValueBytes + R::kSystemBytes,
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

  // Takes s, tiles of Sᵀ, over tokens [low, high) of a tile. Element i of tile n of s, and of the
  // others below, is of column g + i / 2 · 8 and row (token) n · 8 + 2t + i % 2.
  M1K_DEVICE void advance(float (&s)[2 * kSteps][4], int tile, int low, int high) const {
    const unsigned char *stage = input(tile);
    const bf16 *keys = reinterpret_cast<const bf16 *>(stage),
               *values = reinterpret_cast<const bf16 *>(stage + kKeyBytes);
    const uint4 *system = reinterpret_cast<const uint4 *>(stage + kKeyBytes + kValueBytes) + lane;
    const float *factors = reinterpret_cast<const float *>(stage + kKeyBytes + kValueBytes +
                                                           2 * R::kBlocks * R::kBlockBytes);
    uint4 *to = left(tile);
    bool partial = low > 0 || high < kTile;
    auto inside = [&](int token) { return !partial || (token >= low && token < high); };

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
#pragma unroll
    for (int n = 0; n < 8; ++n)
      x[n][0] = x[n][1] = x[n][2] = x[n][3] = 0.0f;
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        u32 kf[4];
        load(kf, keys, n, k);
        mma_bf16(x[2 * n], sf[k], kf[0], kf[1]);
        mma_bf16(x[2 * n + 1], sf[k], kf[2], kf[3]);
      }
    }

    // The right side, as two operands whose sum it is.
    u32 rh[4][4], rl[4][4];
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      u32 vf[4];
      load_matrices_transposed(vf, values + (n * 16 + lane / 16 * 8 + lane % 8) * kVRow +
                                       pair * 16 + lane / 8 % 2 * 8);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        int token = n * 16 + h * 8 + 2 * t;
        float2 factor = *reinterpret_cast<const float2 *>(factors + token);
        factor.x = inside(token) ? factor.x : 0.0f;
        factor.y = inside(token + 1) ? factor.y : 0.0f;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          u32 v = vf[2 * h + r];
          float r0 = __uint_as_float(v << 16) - factor.x * x[2 * n + h][2 * r],
                r1 = __uint_as_float(v & 0xffff0000u) - factor.y * x[2 * n + h][2 * r + 1];
          u32 rounded = pack_bf16(r0, r1);
          rh[n][2 * h + r] = rounded;
          rl[n][2 * h + r] = pack_bf16(r0 - __uint_as_float(rounded << 16),
                                       r1 - __uint_as_float(rounded & 0xffff0000u));
        }
      }
    }

    // δ
#pragma unroll
    for (int n = 0; n < 8; ++n)
      x[n][0] = x[n][1] = x[n][2] = x[n][3] = 0.0f;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      uint4 th[4], tl[4];
#pragma unroll
      for (int m = k; m < 4; ++m) {
        th[m] = system[R::block_of(m, k) * 32];
        tl[m] = system[(R::kBlocks + R::block_of(m, k)) * 32];
      }
#pragma unroll
      for (int m = k; m < 4; ++m) {
        mma_bf16(x[2 * m], rh[k], th[m].x, th[m].y);
        mma_bf16(x[2 * m + 1], rh[k], th[m].z, th[m].w);
      }
#pragma unroll
      for (int m = k; m < 4; ++m) {
        mma_bf16(x[2 * m], rl[k], th[m].x, th[m].y);
        mma_bf16(x[2 * m + 1], rl[k], th[m].z, th[m].w);
      }
#pragma unroll
      for (int m = k; m < 4; ++m) {
        mma_bf16(x[2 * m], rh[k], tl[m].x, tl[m].y);
        mma_bf16(x[2 * m + 1], rh[k], tl[m].z, tl[m].w);
      }
    }

    u32 df[4][4];
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      u32 plain[4];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        int token = n * 16 + h * 8 + 2 * t;
        float2 factor = *reinterpret_cast<const float2 *>(factors + kTile + token);
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          float d0 = x[2 * n + h][2 * r], d1 = x[2 * n + h][2 * r + 1];
          d0 = inside(token) ? d0 : 0.0f, d1 = inside(token + 1) ? d1 : 0.0f;
          plain[2 * h + r] = pack_bf16(d0, d1);
          d0 = inside(token) ? d0 * factor.x : 0.0f, d1 = inside(token + 1) ? d1 * factor.y : 0.0f;
          df[n][2 * h + r] = pack_bf16(d0, d1);
        }
      }
      to[(kSteps + n) * 32] = make_uint4(plain[0], plain[1], plain[2], plain[3]);
    }

    float keep = factors[2 * kTile + high - 1];
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
        mma_bf16(s[2 * n], df[k], kf[0], kf[1]);
        mma_bf16(s[2 * n + 1], df[k], kf[2], kf[3]);
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
    bool wide = F::kOutStride % 2 == 0 && (reinterpret_cast<u64>(out) & 3) == 0;
    out += pair * 16 + 2 * t;
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      int token = n * 8 + g;
      bf16 *place = out + token * F::kOutStride;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        u32 two = transpose_matrix(pack_bf16(y[n][2 * h], y[n][2 * h + 1]));
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

template <class F>
M1K_DEVICE void delta_chunks(const bf16 *q, const bf16 *k, const bf16 *v, typename F::ST *state,
                             const int *sequence_starts, const int *slots, const int *positions,
                             bf16 *out, const unsigned char *workspace,
                             const unsigned char *temporary, m1_dims dims) {
  using R = DeltaTraits<F>;
  using C = DeltaChunks<F>;
  using ST = typename F::ST;
  constexpr int kTile = R::kTile, kSlices = F::kV / C::kColumns;
  static_assert(F::kV % C::kColumns == 0, "whole tiles");
  int sequence = blockIdx.y;
  if (sequence >= dims.sequences || R::passes(dims))
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
    copy_rows<C::kColumns, C::kVRow, F::kVStride % 8 == 0, 32>(
        chunks.lane, reinterpret_cast<bf16 *>(stage + C::kKeyBytes),
        v + row_of(tile) * F::kVStride + head * F::kV + column0, F::kVStride, low_of(tile),
        high_of(tile));
    copy_bytes(stage + C::kKeyBytes + C::kValueBytes, record_of(tile), R::kSystemBytes);
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
