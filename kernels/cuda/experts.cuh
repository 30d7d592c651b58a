// Mixtures of experts: which experts a row has, products with the weights of those, their sum.
//
// router: grid (1, ceil(rows / kWarps)), a warp a row. Facts F: kExperts, kChosen, kSigmoid,
// kNormalize, scale(), kHasCorrection, kGroups, kKeptGroups, strides, kWarps, kDomain as in
// linear.cuh; kSharedBytes.
//
// expert_linear: grid (kChosen · ceil(kN / (kWarps · kRows)), rows). A block owns kWarps · kRows
// outputs of one row of x and one of its experts, a warp kRows of them; weights are read once for
// each row that names them. Facts F: XT, WT, OT; kPerExpert rows of weights an expert has, of which
// kN from kFirst on are used; kK, kChosen, kOwnColumns (x has kChosen ranges of kK columns),
// strides, kDomain; kRows, kWarps. Every index in `experts` names an expert. Sums with a row of
// weights of i8 are multiplied by its scale; with kGroup > 0 weights of i8 or int4 by that of their
// group of kGroup columns, an ST; others have none.
//
// expert_linear_grouped: for many rows in bf16 and weights of bf16, or of i8 or int4, which become
// bf16 in shared memory, those of groups times their scale, rounded; kK and the rows of x multiples
// of 8. Grid (experts
// · ceil(kN / kTile), ceil(rows / kTokens)), 128 threads. A block owns kTile outputs of one expert
// for those of kTokens rows of x that name it, which it lists and takes kTile at a time through
// tensor cores: weights are read once for as many. Blocks whose expert no row names end at once. A
// row names an expert once at most. Facts F: those above; kTokens, kSharedBytes.
//
// combine: grid (ceil(kColumns / 256), rows), a thread a column. Facts F: XT, WT, OT; kColumns,
// kParts, strides, kDomain.
#ifndef M1K_EXPERTS_CUH
#define M1K_EXPERTS_CUH

#include "common.cuh"

namespace m1k {

template <class F>
M1K_DEVICE void router(const float *logits, const float *correction, float *weights, int *experts,
                       m1_dims dims) {
  constexpr int kCount = F::kExperts, kSize = kCount / F::kGroups;
  constexpr int kFloats = 2 * kCount + F::kGroups + F::kChosen;
  static_assert(kCount % F::kGroups == 0, "groups of one size");
  static_assert(F::kWarps * kFloats * 4 <= F::kSharedBytes,
                "the launch reserves too little shared memory");
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  long long row = static_cast<long long>(blockIdx.y) * F::kWarps + warp;
  if (row >= rows_of<F::kDomain>(dims))
    return; // the whole warp; there is no barrier of the block
  float *score = reinterpret_cast<float *>(m1k_shared) + warp * kFloats, *choice = score + kCount,
        *group = choice + kCount;
  int *picked = reinterpret_cast<int *>(group + F::kGroups);
  const float taken = __int_as_float(0xff800000); // -infinity
  // Index of the largest value that is not taken, the first among equals; of NaNs too some index.
  auto largest = [&](const float *values, int count) {
    int best = -1;
    float most = taken;
    for (int i = lane; i < count; i += 32)
      if (values[i] != taken && (best < 0 || values[i] > most)) {
        best = i;
        most = values[i];
      }
#pragma unroll
    for (int d = 16; d > 0; d >>= 1) {
      int index = __shfl_xor_sync(0xffffffffu, best, d);
      float value = __shfl_xor_sync(0xffffffffu, most, d);
      if (index >= 0 && (best < 0 || value > most || (value == most && index < best))) {
        best = index;
        most = value;
      }
    }
    // NaNs are ordered with nothing: lanes may differ, and the first one's word counts. -1 only
    // where all that is left is -infinity, which no finite input makes.
    return max(__shfl_sync(0xffffffffu, best, 0), 0);
  };

  logits += row * F::kLogitsStride;
  if (F::kSigmoid) {
    for (int i = lane; i < kCount; i += 32)
      score[i] = 1.0f / (1.0f + ex2(-logits[i] * kLog2E));
  } else {
    float top = taken, total = 0.0f;
    for (int i = lane; i < kCount; i += 32)
      top = fmaxf(top, logits[i]);
    top = lane_max<32>(top);
    for (int i = lane; i < kCount; i += 32) {
      score[i] = ex2((logits[i] - top) * kLog2E);
      total += score[i];
    }
    total = lane_sum<32>(total);
    for (int i = lane; i < kCount; i += 32)
      score[i] /= total;
  }
  for (int i = lane; i < kCount; i += 32)
    choice[i] = score[i] + (F::kHasCorrection ? correction[i] : 0.0f);
  __syncwarp();
  if constexpr (F::kGroups > 1) {
    for (int g = lane; g < F::kGroups; g += 32) {
      float first = taken, second = taken;
      for (int i = g * kSize; i < (g + 1) * kSize; ++i) {
        second = fmaxf(second, fminf(first, choice[i]));
        first = fmaxf(first, choice[i]);
      }
      group[g] = first + second;
    }
    __syncwarp();
    for (int k = 0; k < F::kKeptGroups; ++k) {
      int g = largest(group, F::kGroups);
      if (lane == 0)
        group[g] = taken;
      __syncwarp();
    }
    for (int i = lane; i < kCount; i += 32)
      if (group[i / kSize] != taken)
        choice[i] = taken;
    __syncwarp();
  }
  float total = 0.0f;
  for (int j = 0; j < F::kChosen; ++j) {
    int e = largest(choice, kCount);
    total += score[e];
    if (lane == 0) {
      choice[e] = taken;
      picked[j] = e;
    }
    __syncwarp();
  }
  float factor = F::kNormalize ? F::scale() / (total + 1e-20f) : F::scale();
  for (int j = lane; j < F::kChosen; j += 32) {
    experts[row * F::kExpertsStride + j] = picked[j];
    weights[row * F::kWeightsStride + j] = score[picked[j]] * factor;
  }
}

// Products of x with `rows` rows of weights, at most kRows, by a warp; V columns at a time, which
// kK is a multiple of and addresses are aligned for.
template <class F, int V>
M1K_DEVICE void expert_products(const typename F::XT *x, const typename F::WT *w,
                                const typename QuantisedRows<F>::Scale *scale, typename F::OT *out,
                                int rows) {
  int lane = threadIdx.x % 32;
  float sum[F::kRows];
#pragma unroll
  for (int r = 0; r < F::kRows; ++r)
    sum[r] = 0.0f;
  for (int k = lane * V; k < F::kK; k += 32 * V) {
    float fx[V];
    load_floats<V>(fx, x + k);
#pragma unroll
    for (int r = 0; r < F::kRows; ++r) {
      float fw[V]; // of rows past the end the last one's, whose sums are not stored
      QuantisedRows<F>::template load<V>(fw, w, scale, min(r, rows - 1), k);
#pragma unroll
      for (int v = 0; v < V; ++v)
        sum[r] += fx[v] * fw[v];
    }
  }
#pragma unroll
  for (int r = 0; r < F::kRows; ++r) {
    float total = lane_sum<32>(sum[r]);
    if (lane == 0 && r < rows) {
      if constexpr (QuantisedRows<F>::kRowScales)
        total *= scale[r];
      out[r] = from_float<typename F::OT>(total);
    }
  }
}

template <class F>
M1K_DEVICE void
expert_linear(const typename F::XT *x, const int *experts, const typename F::WT *weight,
              const typename QuantisedRows<F>::Scale *scale, typename F::OT *out, m1_dims dims) {
  using Q = QuantisedRows<F>;
  constexpr int kBlock = F::kWarps * F::kRows, kBlocks = ceil_div(F::kN, kBlock);
  constexpr int kVector = Q::kInt4 ? 8 : 16 / int(sizeof(typename F::WT));
  long long row = blockIdx.y;
  if (row >= rows_of<F::kDomain>(dims))
    return;
  int j = blockIdx.x / kBlocks, n = blockIdx.x % kBlocks * kBlock + threadIdx.x / 32 * F::kRows,
      rows = min(F::kRows, F::kN - n);
  if (rows <= 0)
    return;
  int expert = experts[row * F::kExpertsStride + j];
  x += row * F::kXStride + (F::kOwnColumns ? j * F::kK : 0);
  const long long weight_row = static_cast<long long>(expert) * F::kPerExpert + F::kFirst + n;
  weight += weight_row * Q::kRow;
  scale += weight_row * Q::kScales;
  out += row * F::kOutStride + j * F::kN + n;
  if constexpr (F::kK % kVector == 0) {
    if (aligned16(x))
      return expert_products<F, kVector>(x, weight, scale, out, rows);
  }
  expert_products<F, 1>(x, weight, scale, out, rows);
}

// Constants of expert_linear_grouped, and where its parts of shared memory lie.
struct ExpertGroup {
  static constexpr int kTile = 64;       // outputs of a block, rows of x and columns at a time
  static constexpr int kRow = kTile + 8; // odd in 16 bytes: rows of a column differ in banks
  static constexpr int kStage = 2 * kTile * kRow; // elements: rows of x, then of weights
  static constexpr int bytes(int tokens) { return 2 * kStage * 2 + (tokens + 4) * 4; }
};

template <class F>
M1K_DEVICE void expert_linear_grouped(const bf16 *x, const int *experts,
                                      const typename F::WT *weight,
                                      const typename QuantisedRows<F>::Scale *scale,
                                      typename F::OT *out, m1_dims dims) {
  using G = ExpertGroup;
  using Q = QuantisedRows<F>;
  constexpr bool kBytes = same_type<typename F::WT, i8>::value, kPuts = kBytes || Q::kInt4;
  constexpr int kTile = G::kTile, kRow = G::kRow, kBlocks = ceil_div(F::kN, kTile);
  static_assert(F::kK % 8 == 0 && F::kXStride % 8 == 0, "rows in pieces of 16 bytes");
  static_assert(G::bytes(F::kTokens) <= F::kSharedBytes,
                "the launch reserves too little shared memory");
  bf16 *stages = reinterpret_cast<bf16 *>(m1k_shared);
  int *list = reinterpret_cast<int *>(stages + 2 * G::kStage), *counts = list + F::kTokens;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int expert = blockIdx.x / kBlocks, n0 = blockIdx.x % kBlocks * kTile;
  int begin = blockIdx.y * F::kTokens, tokens = min(F::kTokens, rows_of<F::kDomain>(dims) - begin);
  if (tokens <= 0)
    return;
  experts += static_cast<long long>(begin) * F::kExpertsStride;
  x += static_cast<long long>(begin) * F::kXStride;
  out += static_cast<long long>(begin) * F::kOutStride;
  const long long weight_row = static_cast<long long>(expert) * F::kPerExpert + F::kFirst + n0;
  weight += weight_row * Q::kRow;
  scale += weight_row * Q::kScales;

  // The list of pairs (row, place among its experts), row · kChosen + place, in this order: each
  // warp counts the matches of a quarter of them, then writes those down behind the warps before.
  int pairs = tokens * F::kChosen, quarter = (pairs + 127) / 128 * 32, first = warp * quarter,
      last = min(first + quarter, pairs);
  auto matches = [&](int i) {
    bool match = i < last && experts[i / F::kChosen * F::kExpertsStride + i % F::kChosen] == expert;
    return __ballot_sync(0xffffffffu, match);
  };
  int mine = 0;
  for (int i = first; i < last; i += 32)
    mine += __popc(matches(i + lane));
  if (lane == 0)
    counts[warp] = mine;
  __syncthreads();
  int count = min(counts[0] + counts[1] + counts[2] + counts[3], F::kTokens);
  if (count == 0)
    return;
  int place = 0;
  for (int w = 0; w < warp; ++w)
    place += counts[w];
  for (int i = first; i < last; i += 32) {
    u32 found = matches(i + lane);
    int to = place + __popc(found & ((1u << lane) - 1));
    if ((found >> lane & 1) && to < F::kTokens)
      list[to] = i + lane;
    place += __popc(found);
  }
  __syncthreads();

  const bool aligned = aligned16(x);
  const int piece = threadIdx.x % 8 * 8; // columns of a step that this thread copies, of four rows
  for (int m0 = 0; m0 < count; m0 += kTile) {
    const bf16 *source[4];
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      int r = m0 + threadIdx.x / 8 + 16 * c;
      source[c] = nullptr;
      if (r < count)
        source[c] = x + list[r] / F::kChosen * static_cast<long long>(F::kXStride) +
                    (F::kOwnColumns ? list[r] % F::kChosen * F::kK : 0);
    }
    // Zeros stand for columns past the end and for rows that there are not. Quantised weights are
    // fetched here, and put down by `put`.
    uint2 fetched[kBytes ? 4 : 1];
    uint4 words[Q::kInt4 ? 4 : 1];
    typename Q::Scale factors[Q::kGrouped ? 4 : 1];
    auto copy = [&](int step) {
      bf16 *rows = stages + (step & 1) * G::kStage, *weights = rows + kTile * kRow;
      int column = step * kTile + piece;
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        int r = threadIdx.x / 8 + 16 * c;
        bf16 *to = rows + r * kRow + piece;
        bool valid = source[c] && column < F::kK;
        if (aligned) {
          copy_async16(to, valid ? source[c] + column : x, valid);
        } else {
          for (int e = 0; e < 8; ++e)
            to[e] = valid ? source[c][column + e] : from_float<bf16>(0.0f);
        }
        valid = n0 + r < F::kN && column < F::kK;
        const typename F::WT *of = weight + (valid ? static_cast<long long>(r) * Q::kRow : 0);
        if constexpr (Q::kInt4) {
          words[c] = valid ? *reinterpret_cast<const uint4 *>(of + int4_byte(column))
                           : make_uint4(0, 0, 0, 0);
        } else if constexpr (kBytes) {
          fetched[c] = valid ? *reinterpret_cast<const uint2 *>(of + column) : make_uint2(0, 0);
        } else {
          copy_async16(weights + r * kRow + piece, valid ? of + column : of, valid);
        }
        if constexpr (Q::kGrouped)
          factors[c] = valid ? scale[static_cast<long long>(r) * Q::kScales + column / F::kGroup]
                             : typename Q::Scale{};
      }
      copy_async_commit();
    };
    auto put = [&](int step) {
      if constexpr (kPuts) {
        bf16 *weights = stages + (step & 1) * G::kStage + kTile * kRow;
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          uint4 pairs;
          if constexpr (Q::kInt4) {
            pairs = unpack_i4(words[c], int4_plane(step * kTile + piece));
          } else {
            unpack_i8(fetched[c].x, pairs.x, pairs.y);
            unpack_i8(fetched[c].y, pairs.z, pairs.w);
          }
          bf16 *to = weights + (threadIdx.x / 8 + 16 * c) * kRow + piece;
          if constexpr (Q::kGrouped) {
            float v[8];
            widen_bf16(v, pairs);
#pragma unroll
            for (int e = 0; e < 8; ++e)
              v[e] *= to_float(factors[c]);
            store_floats<8>(to, v);
          } else {
            *reinterpret_cast<uint4 *>(to) = pairs;
          }
        }
      }
    };
    float sum[4][2][4];
#pragma unroll
    for (int m = 0; m < 4; ++m)
#pragma unroll
      for (int n = 0; n < 2; ++n)
        sum[m][n][0] = sum[m][n][1] = sum[m][n][2] = sum[m][n][3] = 0.0f;
    constexpr int kSteps = ceil_div(F::kK, kTile);
    copy(0);
    put(0);
    for (int step = 0; step < kSteps; ++step) {
      copy_async_wait<0>();
      __syncthreads();
      if (step + 1 < kSteps)
        copy(step + 1); // into the stage that every warp left before the barrier
      const bf16 *rows = stages + (step & 1) * G::kStage, *weights = rows + kTile * kRow;
#pragma unroll
      for (int k = 0; k < kTile; k += 16) {
        u32 b[4]; // eight of the warp's outputs at depth k and k + 8, then the next eight
        load_matrices(b, weights + (warp * 16 + lane / 16 * 8 + lane % 8) * kRow + k +
                             lane / 8 % 2 * 8);
#pragma unroll
        for (int m = 0; m < 4; ++m)
          if (m0 + m * 16 < count) {
            u32 a[4];
            load_matrices(a, rows + (m * 16 + lane % 16) * kRow + k + lane / 16 * 8);
            mma_bf16(sum[m][0], a, b[0], b[1]);
            mma_bf16(sum[m][1], a, b[2], b[3]);
          }
      }
      if (step + 1 < kSteps)
        put(step + 1);
    }
    float factor[2][2]; // of the lane's outputs
    if constexpr (Q::kRowScales) {
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i)
          factor[n][i] = scale[min(warp * 16 + n * 8 + lane % 4 * 2 + i, F::kN - 1 - n0)];
    }
#pragma unroll
    for (int m = 0; m < 4; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        int r = m0 + m * 16 + lane / 4 + half * 8;
        if (r >= count)
          continue;
        typename F::OT *to = out + list[r] / F::kChosen * static_cast<long long>(F::kOutStride) +
                             list[r] % F::kChosen * F::kN;
#pragma unroll
        for (int n = 0; n < 2; ++n)
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            int column = n0 + warp * 16 + n * 8 + lane % 4 * 2 + i;
            float value = sum[m][n][2 * half + i];
            if constexpr (Q::kRowScales)
              value *= factor[n][i];
            if (column < F::kN)
              to[column] = from_float<typename F::OT>(value);
          }
      }
    __syncthreads(); // before the next rows' first columns are copied over these
  }
}

template <class F>
M1K_DEVICE void combine(const typename F::XT *x, const typename F::WT *weights, typename F::OT *out,
                        m1_dims dims) {
  long long row = blockIdx.y;
  int c = blockIdx.x * 256 + threadIdx.x;
  if (row >= rows_of<F::kDomain>(dims) || c >= F::kColumns)
    return;
  float sum = 0.0f;
#pragma unroll 8
  for (int j = 0; j < F::kParts; ++j)
    sum += to_float(x[row * F::kXStride + j * F::kColumns + c]) *
           to_float(weights[row * F::kWeightsStride + j]);
  out[row * F::kOutStride + c] = from_float<typename F::OT>(sum);
}

} // namespace m1k

#endif
