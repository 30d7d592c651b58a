// out[m, n] = x[m, :] · w[n, :] (· scale[n]) (+ bias[n]) (+ residual[m, n]) for at most 16 rows of
// x, or 32 with weights of groups: reads every weight once, at memory speed.
//
// Grid (ceil(n / kColumns), ceil(rows / kRows)). A block owns kColumns outputs of kRows rows; its
// warps share out K and add their sums through shared memory in a fixed order. Where x and w are
// bf16 the products run on tensor cores, with x as the 16-row operand: lane (g, t) of a warp loads
// 16 bytes at k + 8·t of weight row g, which serve as the fragments of two 16-deep products under
// one permutation of k for both operands, so neither needs shared memory. Weights of i8 become
// bf16, which every i8 is, in registers: 16 bytes at k + 16·t are the fragments of four products.
// Weights of int4 or i8 that have a scale for each group of columns are the 16-row operand
// themselves, so that one product takes 16 of them, and eight rows of x the other: columns 32·p +
// 8·t … of plane p, of four in 128 columns, are the fragments of two products; those of a lane's
// planes are 16 bytes of int4, at 16·t. Weights of e4m3 meet rows that are rounded to e4m3:
// the block finds the largest absolute value of each row while its first weights arrive, and both
// become f16, which every e4m3 is, in registers. Other types multiply in f32. Scales of rows are
// applied to the sums, those of groups to the sum of each group of columns. Launched
// early, which hides its start (M1-3B at batch 1 on an H100: 3.00 ms a step without, 2.92 with).
// Asking for the first weights of bf16 before the wait lost half of that; those of other types are
// asked for before it.
//
// An RMS norm between two of these takes no launch of its own. The scale of a row stands before all
// of its products, so the second applies it to its sums:
//   rms_norm(h) · wᵀ = rsqrt(mean(h²) + eps) · ((h ∘ norm_weight) · wᵀ)
// and the first leaves h, h ∘ norm_weight (`normed`), and for each row the sums of h² over the
// columns of its blocks (`squares_out`), which the second adds up in one order.
//
// So it is with the largest values of rows that become e4m3: what writes the rows leaves those of
// its blocks' columns (`largest_out`), and the product that reads the rows reads these first, not
// the rows twice.
//
// What the sums become is the facts' own function, in which a map that follows the product is: of
// the sum, of the one with the other half's weights where gated, and of a vector's value for the
// column.
//
// Facts F: XT, WT, OT, NT (of normed); kN, kK, kGroup (columns of a scale, 0: a row's), ST (its
// type), strides, kRows (1..16, of groups 1..32), kDomain (0 tokens, 1 sequences, 2 logit rows, 3
// one), kHasBias, kHasResidual, kGated, kLeavesNorm; map(), kMapShare (columns of a value of its
// vector; 0: it has none); kSquares and kSquaresOut (sums of squares of a row, a multiple
// of 4; 0: x has its scale), eps(); kLargest (values of a row among which its largest is, a
// multiple of 8; 0: it is sought in x), kLeavesLargest, kLargestOut (of a row that is left,
// likewise); tuning: kColumns (8, 16 or 32; counts pairs of weight rows as one when gated), kWarps,
// kDeep (chunks of K, each 16 bytes of four lanes, that a warp has in flight), of groups kStages
// instead.
#ifndef M1K_LINEAR_CUH
#define M1K_LINEAR_CUH

#include "e4m3.cuh"

namespace m1k {

template <class F> struct LinearTraits {
  // Rows of x are rounded to e4m3, with a scale each.
  static constexpr bool kRoundsRows = same_type<typename F::WT, e4m3>::value;
  using Rows = QuantisedRows<F>;
  static constexpr bool kHasScale = Rows::kRowScales, kGrouped = Rows::kGrouped;
  // Asks for its first weights before it waits, and lets the next launch begin when a warp has its
  // sums: else that one's loads would take the memory from its own.
  static constexpr bool kLaunchesLate = kHasScale;
  static constexpr bool kTensor =
      same_type<typename F::XT, bf16>::value &&
      (same_type<typename F::WT, bf16>::value || kHasScale || kGrouped) &&
      F::kK % (Rows::kInt4 ? 8 : 16 / int(sizeof(typename F::WT))) == 0 && F::kXStride % 8 == 0;
  static constexpr int kSides = F::kGated ? 2 : 1;
  static constexpr int kWeightRows = F::kColumns * kSides;
  static constexpr int kThreads = F::kWarps * 32;
  static constexpr bool kHasNorm = F::kSquares > 0;
  // Scales of a block of 128 columns, copied in 8 bytes or, of two blocks in turn, 4; 0 where rows
  // of scales are no multiple of that.
  static constexpr int kScaleBytes = !kGrouped || Rows::kScales * 2 % (F::kGroup == 32 ? 8 : 4) ? 0
                                     : F::kGroup == 32                                          ? 8
                                                                                                : 4;
  static constexpr bool kStreams = kGrouped && kTensor;
  static constexpr int kBlockBytes = Rows::kInt4 ? 64 : 128; // of 128 columns
  static constexpr int kStageBytes = kStreams ? kWeightRows * (kBlockBytes + kScaleBytes) : 0;
  // Of a warp: its stages, or columns of a row that it multiplies next; then its sums.
  static constexpr int kWarpBytes = max_of(kStreams      ? F::kStages * kStageBytes
                                           : kRoundsRows ? F::kDeep * 128
                                                         : 0,
                                           F::kRows * kWeightRows * 4);
  static constexpr int kPartials = F::kWarps * kWarpBytes / 4;
  // The stages and sums; the sums of squares of the rows of x, and the scales that follow from
  // them; the largest values of rows, of each warp's share, and their scales.
  static constexpr int kNormFloats = kHasNorm ? F::kRows * (F::kSquares + 1) : 0;
  // Largest values of a row at hand: of all of it, or of each warp's share.
  static constexpr int kShares = F::kLargest > 0 ? 1 : F::kWarps;
  static constexpr int kSharedBytes =
      (kPartials + kNormFloats + (kRoundsRows ? F::kRows * (kShares + 1) : 0)) * 4;
  // Weights of a vector in the f32 path: 16 bytes, but no more floats than registers hold.
  static constexpr int kVector = min_of(8, 16 / int(sizeof(typename F::WT)));
  static constexpr bool kVectors = F::kK % kVector == 0 && F::kXStride % kVector == 0;
  static_assert(F::kColumns == 8 || F::kColumns == 16 || F::kColumns == 32, "");
  static_assert(F::kRows >= 1 && F::kRows <= (kGrouped ? 32 : 16) && F::kSquares % 4 == 0, "");
  static_assert(!kGrouped || kWeightRows % 16 == 0, "products of groups take 16 rows");
  static_assert(F::kLargest % 8 == 0 && F::kLargestOut % 8 == 0, "");
  static_assert(!F::kGated || !(F::kHasBias || F::kHasResidual || F::kLeavesNorm), "");
  static_assert(kSharedBytes <= F::kSharedBytes, "the launch reserves too little shared memory");
};

// Of linear_tensor: a lane's sums to partial[row][weight row].
template <class F>
M1K_DEVICE void keep_sums(const float (&sum)[LinearTraits<F>::kWeightRows / 8][4], float *partial) {
  using R = LinearTraits<F>;
  constexpr int kTiles = R::kWeightRows / 8, kHalves = F::kRows > 8 ? 2 : 1;
  int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int i = 0; i < kTiles; ++i)
#pragma unroll
    for (int h = 0; h < kHalves; ++h)
      if (g + 8 * h < F::kRows) {
        partial[(g + 8 * h) * R::kWeightRows + i * 8 + t * 2] = sum[i][2 * h];
        partial[(g + 8 * h) * R::kWeightRows + i * 8 + t * 2 + 1] = sum[i][2 * h + 1];
      }
}

// Sums of this warp's share of K: partial[row][weight row], for tensor cores.
template <class F>
M1K_DEVICE void linear_tensor(const bf16 *x, const bf16 *w, int rows, int n0, float *partial) {
  using R = LinearTraits<F>;
  constexpr int kTiles = R::kWeightRows / 8;
  constexpr int kHalves = F::kRows > 8 ? 2 : 1;
  constexpr int kDeep = F::kDeep;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const bf16 *weight[kTiles];
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    int side = i / (F::kColumns / 8), column = n0 + i % (F::kColumns / 8) * 8 + g;
    column = min(column, F::kN - 1); // sums of columns past the end are not stored
    weight[i] = w + static_cast<long long>(side * F::kN + column) * F::kK + t * 8;
  }
  const bf16 *input = x + static_cast<long long>(g) * F::kXStride + t * 8;
  bool has[2] = {g < rows, g + 8 < rows};

  float sum[kTiles][4];
#pragma unroll
  for (int i = 0; i < kTiles; ++i)
    sum[i][0] = sum[i][1] = sum[i][2] = sum[i][3] = 0.0f;

  uint4 fw[kDeep][kTiles], fx[kDeep][kHalves];
  constexpr int kChunk = 32 * kDeep;
  const uint4 zero = make_uint4(0, 0, 0, 0);
  for (int k0 = warp * kChunk; k0 < F::kK; k0 += F::kWarps * kChunk) {
#pragma unroll
    for (int u = 0; u < kDeep; ++u) {
      int k = k0 + u * 32;
      bool inside = F::kK % kChunk == 0 || k + t * 8 < F::kK;
#pragma unroll
      for (int i = 0; i < kTiles; ++i)
        fw[u][i] = inside ? __ldcs(reinterpret_cast<const uint4 *>(weight[i] + k)) : zero;
#pragma unroll
      for (int h = 0; h < kHalves; ++h)
        fx[u][h] = inside && has[h]
                       ? load_16(input + h * 8 * static_cast<long long>(F::kXStride) + k)
                       : zero;
    }
#pragma unroll
    for (int u = 0; u < kDeep; ++u) {
      uint4 lo = fx[u][0], hi = kHalves == 2 ? fx[u][kHalves - 1] : zero;
      u32 a0[4] = {lo.x, hi.x, lo.y, hi.y}, a1[4] = {lo.z, hi.z, lo.w, hi.w};
#pragma unroll
      for (int i = 0; i < kTiles; ++i) {
        mma_bf16(sum[i], a0, fw[u][i].x, fw[u][i].y);
        mma_bf16(sum[i], a1, fw[u][i].z, fw[u][i].w);
      }
    }
  }
  keep_sums<F>(sum, partial);
}

// The largest of |row[k]|, V neighbours of every step · V, from `first` · V on.
template <int V, class T>
M1K_DEVICE float largest_in(const T *row, int columns, int first, int step) {
  float most = 0.0f;
#pragma unroll 4
  for (int k = first * V; k < columns; k += step * V) {
    float v[V];
    if constexpr (V == 8 && same_type<T, bf16>::value) {
      widen_bf16(v, load_16(row + k));
    } else {
      load_floats<V>(v, row + k);
    }
#pragma unroll
    for (int e = 0; e < V; ++e)
      most = fmaxf(most, fabsf(v[e]));
  }
  return most;
}

// The largest absolute values of the rows of x, by all threads of the block: of each warp's share
// to largest[warp][row]. Or, of each row, by one warp among the values that are given with x.
template <class F, int V>
M1K_DEVICE void find_largest(const typename F::XT *x, const typename F::XT *given, int rows,
                             float *largest) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if constexpr (F::kLargest > 0) {
    for (int m = warp; m < rows; m += F::kWarps) {
      float most = lane_max<32>(largest_in<8>(given + m * F::kLargest, F::kLargest, lane, 32));
      if (lane == 0)
        largest[m] = most;
    }
    return;
  }
  auto of_row = [&](int m) {
    return largest_in<V>(x + m * static_cast<long long>(F::kXStride), F::kK, threadIdx.x,
                         LinearTraits<F>::kThreads);
  };
  auto keep = [&](int m, float most) {
    most = lane_max<32>(most);
    if (lane == 0)
      largest[warp * F::kRows + m] = most;
  };
  if (rows == 1) {
    keep(0, of_row(0));
    return;
  }
  // Without a branch between them, the rows' loads are in flight together.
#pragma unroll
  for (int m = 0; m < F::kRows; ++m)
    keep(m, of_row(min(m, rows - 1)));
}
// What find_largest left, of all warps.
template <class F> M1K_DEVICE float largest_of(const float *largest, int m) {
  float most = 0.0f;
#pragma unroll
  for (int p = 0; p < LinearTraits<F>::kShares; ++p)
    most = fmaxf(most, largest[p * F::kRows + m]);
  return most;
}

// Eight bf16 as the pairs that products take: of e4m3, times a factor, as e4m3 that are f16.
template <class WT>
M1K_DEVICE void take_eight(u32 (&pairs)[4], uint4 eight, [[maybe_unused]] float factor) {
  if constexpr (same_type<WT, e4m3>::value) {
    float v[8];
    widen_bf16(v, eight);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      pairs[i] = unpack_e4m3(pack_e4m3(v[2 * i] * factor, v[2 * i + 1] * factor));
  } else {
    pairs[0] = eight.x, pairs[1] = eight.y, pairs[2] = eight.z, pairs[3] = eight.w;
  }
}

// linear_tensor for weights of a byte: four products take turns on 64 columns of K. The first
// weights are asked for before `ready`, which waits for the rows and names them. With weights of
// e4m3 these are rounded, for which `largest` is scratch of the block: a row by the lanes that
// multiply it, or that of a kernel for one row by all lanes of a warp, which hand one another its
// columns through `partial`. (A kernel with both forms spills, and more rows take 1 to 2 % longer.)
template <class F, class Ready>
M1K_DEVICE void linear_bytes(Ready ready, const typename F::WT *w, const bf16 *&given, int rows,
                             int n0, float *partial, float *largest) {
  using R = LinearTraits<F>;
  constexpr int kTiles = R::kWeightRows / 8;
  constexpr int kHalves = F::kRows > 8 ? 2 : 1;
  constexpr int kDeep = F::kDeep;
  constexpr bool alone = R::kRoundsRows && F::kRows == 1;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const typename F::WT *weight[kTiles];
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    int side = i / (F::kColumns / 8), column = n0 + i % (F::kColumns / 8) * 8 + g;
    column = min(column, F::kN - 1); // sums of columns past the end are not stored
    weight[i] = w + static_cast<long long>(side * F::kN + column) * F::kK + t * 16;
  }

  float sum[kTiles][4];
#pragma unroll
  for (int i = 0; i < kTiles; ++i)
    sum[i][0] = sum[i][1] = sum[i][2] = sum[i][3] = 0.0f;

  uint4 fw[kDeep][kTiles];
  constexpr int kChunk = 64 * kDeep;
  const uint4 zero = make_uint4(0, 0, 0, 0);
  auto load_weights = [&](int k0) {
#pragma unroll
    for (int u = 0; u < kDeep; ++u) {
      int k = k0 + u * 64;
      bool inside = F::kK % kChunk == 0 || k + t * 16 < F::kK;
#pragma unroll
      for (int i = 0; i < kTiles; ++i)
        fw[u][i] = inside ? __ldcs(reinterpret_cast<const uint4 *>(weight[i] + k)) : zero;
    }
  };
  int k0 = warp * kChunk;
  if (k0 < F::kK)
    load_weights(k0);
  const bf16 *x = ready();
  // Rows past the end are the last one again: their sums are not stored.
  const bf16 *input[kHalves];
#pragma unroll
  for (int h = 0; h < kHalves; ++h)
    input[h] = x + min(g + 8 * h, rows - 1) * static_cast<long long>(F::kXStride) + t * 16;
  [[maybe_unused]] u32 two[kDeep]; // columns of a single row, before its largest value is known
  auto load_two = [&](int k0) {
#pragma unroll
    for (int u = 0; u < kDeep; ++u) {
      int k = k0 + u * 64;
      bool inside = F::kK % kChunk == 0 || k + t * 16 < F::kK;
      two[u] = inside ? *reinterpret_cast<const u32 *>(input[0] + k + g * 2) : 0;
    }
  };
  if constexpr (alone)
    if (k0 < F::kK)
      load_two(k0);
  float inverse[kHalves] = {}; // of rows that are rounded
  if constexpr (R::kRoundsRows) {
    find_largest<F, F::kK % 8 == 0 ? 8 : 1>(x, given, rows, largest);
    __syncthreads();
#pragma unroll
    for (int h = 0; h < kHalves; ++h)
      inverse[h] = e4m3_inverse(largest_of<F>(largest, min(g + 8 * h, rows - 1)));
  }
#pragma unroll 1
  while (k0 < F::kK) {
    uint4 fx[kDeep][kHalves][2];
    if constexpr (alone) {
      __syncwarp(); // all lanes have read what was there
#pragma unroll
      for (int u = 0; u < kDeep; ++u)
        reinterpret_cast<u32 *>(partial)[u * 32 + t * 8 + g] =
            unpack_e4m3(pack_e4m3(__uint_as_float(two[u] << 16) * inverse[0],
                                  __uint_as_float(two[u] & 0xffff0000u) * inverse[0]));
      __syncwarp();
    } else {
#pragma unroll
      for (int u = 0; u < kDeep; ++u) {
        int k = k0 + u * 64;
        bool inside = F::kK % kChunk == 0 || k + t * 16 < F::kK;
#pragma unroll
        for (int h = 0; h < kHalves; ++h)
#pragma unroll
          for (int c = 0; c < 2; ++c)
            fx[u][h][c] = inside ? load_16(input[h] + k + c * 8) : zero;
      }
    }
#pragma unroll
    for (int u = 0; u < kDeep; ++u) {
      u32 a[4][4]; // of each product
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        u32 lo[4], hi[4] = {0, 0, 0, 0};
        if constexpr (alone) {
          const uint4 v = reinterpret_cast<const uint4 *>(partial)[u * 8 + t * 2 + c];
          lo[0] = v.x, lo[1] = v.y, lo[2] = v.z, lo[3] = v.w;
        } else {
          take_eight<typename F::WT>(lo, fx[u][0][c], inverse[0]);
          if constexpr (kHalves == 2)
            take_eight<typename F::WT>(hi, fx[u][kHalves - 1][c], inverse[kHalves - 1]);
        }
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          a[2 * c + e][0] = lo[2 * e];
          a[2 * c + e][1] = hi[2 * e];
          a[2 * c + e][2] = lo[2 * e + 1];
          a[2 * c + e][3] = hi[2 * e + 1];
        }
      }
#pragma unroll
      for (int i = 0; i < kTiles; ++i) {
        const u32 words[4] = {fw[u][i].x, fw[u][i].y, fw[u][i].z, fw[u][i].w};
#pragma unroll
        for (int p = 0; p < 4; ++p) {
          u32 b0, b1;
          if constexpr (R::kRoundsRows) {
            unpack_e4m3(words[p], b0, b1);
            mma_f16(sum[i], a[p], b0, b1);
          } else {
            unpack_i8(words[p], b0, b1);
            mma_bf16(sum[i], a[p], b0, b1);
          }
        }
      }
    }
    k0 += F::kWarps * kChunk;
    if (k0 < F::kK) {
      load_weights(k0);
      if constexpr (alone)
        load_two(k0);
    }
  }
  if constexpr (alone)
    __syncwarp(); // the sums take the place of the row
  keep_sums<F>(sum, partial);
}

// The sums of products with weights of groups. Each warp has its own blocks of 128 columns of K,
// every kWarps-th; they arrive in its own stages of shared memory, which are all asked for before
// the products begin, and before the kernels in front have ended: the weights depend on none.
template <class F> struct GroupStream {
  using R = LinearTraits<F>;
  using WT = typename F::WT;
  using Scale = typename R::Rows::Scale;
  static constexpr bool kInt4 = R::Rows::kInt4;
  static constexpr int kTiles = R::kWeightRows / 16, kEights = ceil_div(F::kRows, 8);
  static constexpr int kBlocks = ceil_div(F::kK, 128), kSteps = ceil_div(kBlocks, F::kWarps);
  static constexpr int kScales = 128 / F::kGroup; // of a block
  static constexpr int kPlanes = 4 / kScales;     // of a group
  static constexpr int kScaleBytes = R::kScaleBytes;
  // A copy of a warp takes kTogether rows of a tile, of each its kPieces pieces of 16 bytes.
  static constexpr int kPieces = R::kBlockBytes / 16, kTogether = 32 / kPieces;
  static constexpr int kCopies = 16 / kTogether, kTileBytes = 16 * R::kBlockBytes;
  // A stage is read before the products, and asked for again; but by products of many rows with i8
  // while they go on, as registers hold no more.
  static constexpr bool kReadsFirst = kInt4 || kEights <= 2;

  const WT *weight[kTiles][kCopies]; // of the lane's row and piece of each copy
  const Scale *scales[kTiles];       // of row lane % 16
  unsigned char *stages;
  int lane, warp;

  // Where a piece of a row of a tile lies. Rows of i8 are 128 bytes, of which lanes read eight at a
  // time: pieces are turned, so that those of four rows differ in banks.
  static M1K_DEVICE int place_of(int row, int piece) {
    return row * R::kBlockBytes + (kInt4 ? piece : (piece + 2 * row) % kPieces) * 16;
  }

  static M1K_DEVICE long long row_of(int row, int n0) { // sums of those past the end are not stored
    return row / F::kColumns * F::kN + min(n0 + row % F::kColumns, F::kN - 1);
  }
  M1K_DEVICE GroupStream(const WT *w, const Scale *scale, int n0)
      : lane(threadIdx.x % 32), warp(threadIdx.x / 32) {
    stages = m1k_shared + warp * R::kWarpBytes;
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int c = 0; c < kCopies; ++c)
        weight[i][c] = w + row_of(i * 16 + c * kTogether + lane / kPieces, n0) * R::Rows::kRow +
                       lane % kPieces * 16;
      scales[i] = scale + row_of(i * 16 + lane % 16, n0) * R::Rows::kScales;
    }
  }

  M1K_DEVICE void copy(int step) {
    const int block = step * F::kWarps + warp;
    if (block < kBlocks) {
      unsigned char *stage = stages + step % F::kStages * R::kStageBytes;
      // Rows of int4 are filled up, those of i8 end with their columns.
      const bool inside = kInt4 || F::kK % 128 == 0 || block * 128 + lane % kPieces * 16 < F::kK;
#pragma unroll
      for (int i = 0; i < kTiles; ++i) {
#pragma unroll
        for (int c = 0; c < kCopies; ++c)
          copy_async16(stage + i * kTileBytes +
                           place_of(c * kTogether + lane / kPieces, lane % kPieces),
                       weight[i][c] + (inside ? block * R::kBlockBytes : 0), inside);
        if (kScaleBytes && lane < 16) {
          const char *from = reinterpret_cast<const char *>(scales[i]) +
                             block * kScales * 2 / max_of(4, kScaleBytes) * kScaleBytes;
          copy_async<max_of(4, kScaleBytes)>(
              stage + kTiles * kTileBytes + (i * 16 + lane) * kScaleBytes, from);
        }
      }
    }
    copy_async_commit();
  }
  M1K_DEVICE void begin() {
#pragma unroll
    for (int step = 0; step < F::kStages; ++step)
      copy(step);
  }

  // The scales of row `row` of tile i in a block.
  M1K_DEVICE void read_scales(float (&to)[kScales], const unsigned char *stage, int block, int i,
                              int row) const {
    if constexpr (kScaleBytes > 0) {
      const Scale *from = reinterpret_cast<const Scale *>(stage + kTiles * kTileBytes +
                                                          (i * 16 + row) * kScaleBytes) +
                          (2 * kScales < kScaleBytes ? block % (kScaleBytes / 2) : 0);
      load_floats<kScales>(to, from);
    } else { // rows of scales that are no multiple of what is copied
      const Scale *from = reinterpret_cast<const Scale *>(
          __shfl_sync(0xffffffffu, reinterpret_cast<u64>(scales[i]), row));
#pragma unroll
      for (int s = 0; s < kScales; ++s)
        to[s] = block * kScales + s < R::Rows::kScales ? to_float(from[block * kScales + s]) : 0.0f;
    }
  }

  // A lane's columns of row `row` of a tile, of planes p and following: words as they are, four of
  // int4, which are of all planes, two of i8 a plane.
  template <int N>
  M1K_DEVICE void read_words(u32 (&to)[N], const unsigned char *tile, int row, int t, int p) const {
    if constexpr (kInt4) {
      const uint4 v = *reinterpret_cast<const uint4 *>(tile + place_of(row, t));
      to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
    } else {
#pragma unroll
      for (int i = 0; i < N / 2; ++i) {
        const uint2 v =
            *reinterpret_cast<const uint2 *>(tile + place_of(row, 2 * (p + i) + t / 2) + t % 2 * 8);
        to[2 * i] = v.x, to[2 * i + 1] = v.y;
      }
    }
  }
  // Those of plane p, of words from the first plane on, as bf16.
  template <int N> static M1K_DEVICE uint4 unpack(const u32 (&words)[N], int p) {
    uint4 v;
    if constexpr (kInt4) {
      v = unpack_i4(make_uint4(words[0], words[1], words[2], words[3]), p);
    } else {
      unpack_i8(words[2 * p], v.x, v.y);
      unpack_i8(words[2 * p + 1], v.z, v.w);
    }
    return v;
  }

  // partial[row][weight row]: of this warp, over its stages.
  M1K_DEVICE void products(const bf16 *x, int rows, float *partial) {
    const int g = lane / 4, t = lane % 4;
    const bf16 *input = x + static_cast<long long>(g) * F::kXStride + t * 8;
    float sum[kTiles][kEights][4];
#pragma unroll
    for (int i = 0; i < kTiles; ++i)
#pragma unroll
      for (int e = 0; e < kEights; ++e)
        sum[i][e][0] = sum[i][e][1] = sum[i][e][2] = sum[i][e][3] = 0.0f;
#pragma unroll 1
    for (int step = 0; step < kSteps; ++step) {
      const int block = step * F::kWarps + warp, k = block * 128;
      auto load_x = [&](int p, int e) {
        return (F::kK % 128 == 0 || k + p * 32 + t * 8 < F::kK) && e * 8 + g < rows
                   ? load_16(input + e * 8 * static_cast<long long>(F::kXStride) + k + p * 32)
                   : make_uint4(0, 0, 0, 0);
      };
      uint4 ahead[4]; // the first eight rows of x, while the weights arrive
#pragma unroll
      for (int p = 0; p < 4; ++p)
        ahead[p] = kReadsFirst && block < kBlocks ? load_x(p, 0) : make_uint4(0, 0, 0, 0);
      // Behind the stages that were asked for first come the sums of squares.
      copy_async_wait<F::kStages - 1 + (R::kHasNorm && kSteps <= F::kStages)>();
      __syncwarp();
      if (kBlocks % F::kWarps && block >= kBlocks)
        break; // the warp's last step
      const unsigned char *stage = stages + step % F::kStages * R::kStageBytes;
      u32 words[kTiles][2][kReadsFirst ? R::kBlockBytes / 16 : 2];
      float factors[kTiles][2][kScales];
#pragma unroll
      for (int i = 0; i < kTiles; ++i)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          if constexpr (kReadsFirst)
            read_words(words[i][h], stage + i * kTileBytes, h * 8 + g, t, 0);
          read_scales(factors[i][h], stage, block, i, h * 8 + g);
        }
      if constexpr (kReadsFirst) {
        __syncwarp();
        copy(step + F::kStages); // into the stage that all lanes have read
      }
      float part[kTiles][kEights][4]; // of a group
#pragma unroll
      for (int p = 0; p < 4; ++p) {
        uint4 fx[kEights];
#pragma unroll
        for (int e = 0; e < kEights; ++e)
          fx[e] = e || !kReadsFirst ? load_x(p, e) : ahead[p];
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
          if constexpr (!kReadsFirst)
#pragma unroll
            for (int h = 0; h < 2; ++h)
              read_words(words[i][h], stage + i * kTileBytes, h * 8 + g, t, p);
          const int from = kReadsFirst ? p : 0;
          const uint4 low = unpack(words[i][0], from), high = unpack(words[i][1], from);
          const u32 first[4] = {low.x, high.x, low.y, high.y},
                    second[4] = {low.z, high.z, low.w, high.w};
#pragma unroll
          for (int e = 0; e < kEights; ++e) {
            if (p % kPlanes == 0)
              mma_bf16_first(part[i][e], first, fx[e].x, fx[e].y);
            else
              mma_bf16(part[i][e], first, fx[e].x, fx[e].y);
            mma_bf16(part[i][e], second, fx[e].z, fx[e].w);
          }
          if (p % kPlanes != kPlanes - 1)
            continue;
#pragma unroll
          for (int e = 0; e < kEights; ++e)
#pragma unroll
            for (int c = 0; c < 4; ++c)
              sum[i][e][c] += factors[i][c / 2][p / kPlanes] * part[i][e][c];
        }
      }
      if constexpr (!kReadsFirst) {
        __syncwarp();
        copy(step + F::kStages);
      }
    }
    __syncwarp(); // the sums take the place of stages
#pragma unroll
    for (int i = 0; i < kTiles; ++i)
#pragma unroll
      for (int e = 0; e < kEights; ++e)
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          const int row = e * 8 + t * 2 + c % 2;
          if (row < F::kRows)
            partial[row * R::kWeightRows + i * 16 + c / 2 * 8 + g] = sum[i][e][c];
        }
  }
};

// The same in f32, for any types and sizes: 8 weight rows and `block` rows of x at a time.
template <class F, int V, int block>
M1K_DEVICE void linear_f32(const typename F::XT *x, const typename F::WT *w,
                           const typename QuantisedRows<F>::Scale *scale,
                           const typename F::XT *given, int rows, int n0, float *partial,
                           float *largest) {
  using R = LinearTraits<F>;
  if constexpr (R::kRoundsRows) {
    find_largest<F, V>(x, given, rows, largest);
    __syncthreads();
  }
  constexpr int kBlock = min_of(F::kRows, block);
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int m0 = 0; m0 < F::kRows; m0 += kBlock)
    for (int tile = 0; tile < R::kWeightRows / 8; ++tile) {
      int side = tile / (F::kColumns / 8), column = n0 + tile % (F::kColumns / 8) * 8;
      float sum[8][kBlock];
#pragma unroll
      for (int i = 0; i < 8; ++i)
#pragma unroll
        for (int m = 0; m < kBlock; ++m)
          sum[i][m] = 0.0f;
      [[maybe_unused]] float inverse[kBlock]; // of rows that are rounded
      if constexpr (R::kRoundsRows) {
#pragma unroll
        for (int m = 0; m < kBlock; ++m)
          inverse[m] = m0 + m < rows ? e4m3_inverse(largest_of<F>(largest, m0 + m)) : 0.0f;
      }
      for (int k = (warp * 32 + lane) * V; k < F::kK; k += F::kWarps * 32 * V) {
        float fw[8][V];
#pragma unroll
        for (int i = 0; i < 8; ++i)
          R::Rows::template load<V>(
              fw[i], w, scale, static_cast<long long>(side) * F::kN + min(column + i, F::kN - 1),
              k);
#pragma unroll
        for (int m = 0; m < kBlock; ++m) {
          float fx[V];
          if (m0 + m < rows) {
            load_floats<V>(fx, x + (m0 + m) * static_cast<long long>(F::kXStride) + k);
            if constexpr (R::kRoundsRows) {
#pragma unroll
              for (int v = 0; v < V; ++v)
                fx[v] = round_to_e4m3(fx[v] * inverse[m]);
            }
          } else {
#pragma unroll
            for (int v = 0; v < V; ++v)
              fx[v] = 0.0f;
          }
#pragma unroll
          for (int i = 0; i < 8; ++i)
#pragma unroll
            for (int v = 0; v < V; ++v)
              sum[i][m] += fw[i][v] * fx[v];
        }
      }
#pragma unroll
      for (int i = 0; i < 8; ++i)
#pragma unroll
        for (int m = 0; m < kBlock; ++m) {
          float total = lane_sum<32>(sum[i][m]);
          if (lane == 0 && m0 + m < F::kRows)
            partial[(m0 + m) * R::kWeightRows + tile * 8 + i] = total;
        }
    }
}

template <class F>
M1K_DEVICE void linear(const typename F::XT *x, const typename F::WT *w,
                       const typename QuantisedRows<F>::Scale *scale, const float *bias,
                       const float *map_vector, const float *squares, const typename F::XT *given,
                       const float *residual, const float *norm_weight, typename F::OT *out,
                       typename F::NT *normed, float *squares_out, typename F::LT *largest_out,
                       m1_dims dims) {
  using R = LinearTraits<F>;
  int total = rows_of<F::kDomain>(dims);
  int m0 = blockIdx.y * F::kRows, n0 = blockIdx.x * F::kColumns;
  int rows = min(F::kRows, total - m0);
  const long long before_x = static_cast<long long>(m0) * F::kXStride;
  if (!R::kLaunchesLate)
    launch_successor();
  if constexpr (R::kStreams)
    if (rows > 0 && aligned16(x + before_x))
      GroupStream<F>(w, scale, n0).begin();
  constexpr bool kAsksFirst = R::kLaunchesLate && R::kTensor;
  if (!kAsksFirst || rows <= 0)
    x = wait_for_predecessors(x);
  if (rows <= 0)
    return;
  x += before_x;
  float *sums = reinterpret_cast<float *>(m1k_shared);
  float *parts = sums + R::kPartials, *norm = parts + F::kRows * F::kSquares,
        *largest = parts + R::kNormFloats, *row_scale = largest + F::kRows * R::kShares;
  auto residual_at = [&](int i) -> float {
    int m = i / F::kColumns, n = n0 + i % F::kColumns;
    return m < rows && n < F::kN
               ? residual[(m0 + m) * static_cast<long long>(F::kResidualStride) + n]
               : 0.0f;
  };
  float before = 0.0f, factor[2] = {1.0f, 1.0f}, of_column = 0.0f;
  // The scales of a thread's weights, and what its map takes: all its outputs are of one column.
  auto load_factors = [&] {
    [[maybe_unused]] const int own = min(n0 + int(threadIdx.x) % F::kColumns, F::kN - 1);
    if constexpr (R::kHasScale)
      for (int side = 0; side < R::kSides; ++side)
        factor[side] = scale[side * F::kN + own];
    if constexpr (F::kMapShare > 0)
      of_column = map_vector[own / F::kMapShare];
  };
  // Waits for the rows, and asks for what arrives during the products.
  auto ready = [&] {
    if constexpr (kAsksFirst)
      x = wait_for_predecessors(x);
    if constexpr (F::kLargest > 0)
      given = wait_for_predecessors(given) + m0 * F::kLargest;
    if constexpr (R::kHasNorm) {
      squares = wait_for_predecessors(squares) + static_cast<long long>(m0) * F::kSquares;
      for (int i = threadIdx.x; i < rows * F::kSquares / 4; i += R::kThreads)
        copy_async16(parts + 4 * i, squares + 4 * i, true);
      copy_async_commit();
    }
    // What the first of a thread's outputs adds to, which in most shapes is its only one. (Of four
    // orders of these loads that were measured in whole steps of M1-3B on an H100, 2.98 to 3.12 ms,
    // this is the fastest, though not in the kernel alone.)
    if constexpr (F::kHasResidual) {
      residual = wait_for_predecessors(residual);
      before = residual_at(threadIdx.x);
    }
    return x;
  };
  if constexpr (kAsksFirst)
    load_factors();
  else // before the branches below, which keep loads of weights behind it
    ready(), load_factors();
  constexpr int kPlane = R::kWarpBytes / 4;
  float *partial = sums + threadIdx.x / 32 * kPlane;
  if constexpr (R::kTensor) {
    if (!aligned16(x)) { // rare; few registers: it does not cost the fast path its occupancy
      if constexpr (kAsksFirst)
        ready();
      linear_f32<F, 1, 2>(x, w, scale, given, rows, n0, partial, largest);
    } else if constexpr (R::kGrouped)
      GroupStream<F>(w, scale, n0).products(x, rows, partial);
    else if constexpr (R::kHasScale)
      linear_bytes<F>(ready, w, given, rows, n0, partial, largest);
    else
      linear_tensor<F>(x, w, rows, n0, partial);
  } else if constexpr (R::kVectors) {
    if (aligned16(x))
      linear_f32<F, R::kVector, 8>(x, w, scale, given, rows, n0, partial, largest);
    else
      linear_f32<F, 1, 4>(x, w, scale, given, rows, n0, partial, largest);
  } else {
    linear_f32<F, 1, 4>(x, w, scale, given, rows, n0, partial, largest);
  }
  if (R::kLaunchesLate)
    launch_successor();
  if constexpr (R::kRoundsRows)
    if (int(threadIdx.x) < rows)
      row_scale[threadIdx.x] = e4m3_scale(largest_of<F>(largest, threadIdx.x));
  if constexpr (R::kHasNorm)
    copy_async_wait<0>();
  __syncthreads();
  if constexpr (R::kHasNorm) {
    for (int m = threadIdx.x / 32; m < rows; m += F::kWarps) {
      float sum = 0.0f;
      for (int i = threadIdx.x % 32; i < F::kSquares; i += 32)
        sum += parts[m * F::kSquares + i];
      sum = lane_sum<32>(sum);
      if (threadIdx.x % 32 == 0)
        norm[m] = rsqrtf(sum * (1.0f / F::kK) + F::eps());
    }
    __syncthreads();
  }
  // Whole warps, for the sums over columns.
  for (int first = 0; first < rows * F::kColumns; first += R::kThreads) {
    int i = first + threadIdx.x, m = i / F::kColumns, j = i % F::kColumns, n = n0 + j;
    bool has = m < rows && n < F::kN;
    float value = 0.0f, up = 0.0f;
    [[maybe_unused]] float left = 0.0f; // what another product will read
    if (has) {
#pragma unroll
      for (int p = 0; p < F::kWarps; ++p) {
        value += sums[p * kPlane + m * R::kWeightRows + j];
        if (F::kGated)
          up += sums[p * kPlane + m * R::kWeightRows + F::kColumns + j];
      }
      if constexpr (R::kHasScale) {
        value *= factor[0];
        up *= factor[1];
      }
      if constexpr (R::kRoundsRows) {
        value *= row_scale[m];
        up *= row_scale[m];
      }
      if constexpr (R::kHasNorm) {
        value *= norm[m];
        up *= norm[m];
      }
      if (F::kHasBias)
        value += bias[n];
      value = F::map(value, up, of_column);
      if constexpr (F::kHasResidual)
        value += first == 0 ? before : residual_at(i);
      const typename F::OT result = from_float<typename F::OT>(value);
      out[(m0 + m) * static_cast<long long>(F::kOutStride) + n] = result;
      left = to_float(result);
    }
    // The last block fills what it leaves of a row up to its multiple.
    const int column = blockIdx.x + j;
    const bool last = blockIdx.x + 1 == gridDim.x;
    if constexpr (F::kLeavesNorm) {
      if (has) {
        const typename F::NT result = from_float<typename F::NT>(value * norm_weight[n]);
        normed[(m0 + m) * static_cast<long long>(F::kNormedStride) + n] = result;
        left = to_float(result);
      }
      float square = lane_sum<F::kColumns>(value * value);
      if (m < rows && (j == 0 || (last && column < F::kSquaresOut)))
        squares_out[(m0 + m) * static_cast<long long>(F::kSquaresOut) + column] =
            j == 0 ? square : 0.0f;
    }
    if constexpr (F::kLeavesLargest) {
      const float largest_left = lane_max<F::kColumns>(fabsf(left));
      if (m < rows && (j == 0 || (last && column < F::kLargestOut)))
        largest_out[(m0 + m) * static_cast<long long>(F::kLargestOut) + column] =
            from_float<typename F::LT>(j == 0 ? largest_left : 0.0f);
    }
  }
}

} // namespace m1k

#endif
