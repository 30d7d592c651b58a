// Gated delta rule, prefill and decode alike: q and k normalised, the gates computed, the state
// taken over its sequence's tokens, in one pass over the inputs.
//
// Grid (kHeads · ceil(kV / kColumns), S). A block owns kColumns columns of one value head's state
// of one sequence and walks the sequence's tokens in tiles of kTile. For each tile a warp a token
// brings q̂ and k̂ to shared memory, and a thread a token its gates; then kParts lanes share a
// column, each with kStates of its kK states in registers. Lanes of a column are 8 apart, so that a
// warp reads whole sectors of the state's rows.
//
// Facts F: QT, KT, VT, AT, BT, OT, ST, the types of q, k, v, a, b, out and the state; kHeads,
// kShare (value heads that a head of q and k serves), kK, kV, strides, kHasDtBias, eps(), scale();
// tuning: kTile, kThreads.
#ifndef M1K_GATED_DELTA_CUH
#define M1K_GATED_DELTA_CUH

#include "common.cuh"

namespace m1k {

template <class F> struct GatedDeltaTraits {
  static constexpr int kThreads = F::kThreads, kParts = 4;
  static constexpr int kColumns = kThreads / kParts;
  static constexpr int kStates = round_up(ceil_div(F::kK, kParts), 4);
  static constexpr int kPadded = kStates * kParts;
  static constexpr int kBlocks = ceil_div(F::kV, kColumns); // of a head
  static constexpr int kSharedBytes = F::kTile * (2 * kPadded + kColumns + 2) * 4;
  static_assert(kSharedBytes <= F::kSharedBytes, "the launch reserves too little shared memory");

  // State i of a lane of this part is row row_of(i): four neighbours, then the next four of its
  // part.
  static M1K_DEVICE int row_of(int i, int part) { return (i / 4 * kParts + part) * 4 + i % 4; }
};

// Takes a lane's states of a column to the next token; the column's result.
template <class F>
M1K_DEVICE float delta_step(float (&s)[GatedDeltaTraits<F>::kStates], const float *keys,
                            const float *queries, int part, float keep, float beta, float value) {
  using R = GatedDeltaTraits<F>;
  const float4 *key = reinterpret_cast<const float4 *>(keys) + part,
               *query = reinterpret_cast<const float4 *>(queries) + part;
  float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
  for (int i = 0; i < R::kStates; i += 4) {
    float4 n = key[i / 4 * R::kParts];
    sums[0] += s[i] * n.x, sums[1] += s[i + 1] * n.y;
    sums[2] += s[i + 2] * n.z, sums[3] += s[i + 3] * n.w;
  }
  float seen = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  seen += __shfl_xor_sync(0xffffffffu, seen, 8);
  seen += __shfl_xor_sync(0xffffffffu, seen, 16);
  float delta = beta * (value - keep * seen);
  sums[0] = sums[1] = sums[2] = sums[3] = 0.0f;
#pragma unroll
  for (int i = 0; i < R::kStates; i += 4) {
    float4 n = key[i / 4 * R::kParts], m = query[i / 4 * R::kParts];
    s[i] = s[i] * keep + n.x * delta, s[i + 1] = s[i + 1] * keep + n.y * delta;
    s[i + 2] = s[i + 2] * keep + n.z * delta, s[i + 3] = s[i + 3] * keep + n.w * delta;
    sums[0] += s[i] * m.x, sums[1] += s[i + 1] * m.y;
    sums[2] += s[i + 2] * m.z, sums[3] += s[i + 3] * m.w;
  }
  float y = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  y += __shfl_xor_sync(0xffffffffu, y, 8);
  y += __shfl_xor_sync(0xffffffffu, y, 16);
  return y;
}

// values · factor / sqrt(Σ values² + eps) of kK columns to shared memory, zeros behind them; by a
// whole warp.
template <class F, class T> M1K_DEVICE void normalise(float *to, const T *from, float factor) {
  using R = GatedDeltaTraits<F>;
  constexpr int kSteps = ceil_div(R::kPadded, 32);
  int lane = threadIdx.x % 32;
  float values[kSteps], sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
    int n = i * 32 + lane;
    values[i] = n < F::kK ? to_float(from[n]) : 0.0f;
    sum += values[i] * values[i];
  }
  factor *= rsqrtf(lane_sum<32>(sum) + F::eps());
#pragma unroll
  for (int i = 0; i < kSteps; ++i)
    if (i * 32 + lane < R::kPadded)
      to[i * 32 + lane] = values[i] * factor;
}

template <class F>
M1K_DEVICE void gated_delta(const typename F::QT *q, const typename F::KT *k,
                            const typename F::VT *v, const typename F::AT *a,
                            const typename F::BT *b, const float *decay, const float *dt_bias,
                            typename F::ST *state, const int *sequence_starts, const int *slots,
                            const int *positions, typename F::OT *out, m1_dims dims) {
  using R = GatedDeltaTraits<F>;
  using ST = typename F::ST;
  constexpr int kStates = R::kStates, kColumns = R::kColumns;
  int sequence = blockIdx.y;
  if (sequence >= dims.sequences)
    return;
  int start = sequence_starts[sequence], end = sequence_starts[sequence + 1];
  if (start >= end)
    return;
  int head = blockIdx.x / R::kBlocks, column0 = blockIdx.x % R::kBlocks * kColumns;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, part = lane / 8;
  int local = warp * 8 + lane % 8, column = column0 + local;
  bool active = column < F::kV;

  float *queries = reinterpret_cast<float *>(m1k_shared), *keys = queries + F::kTile * R::kPadded,
        *values = keys + F::kTile * R::kPadded, *keeps = values + F::kTile * kColumns,
        *betas = keeps + F::kTile;

  auto row_of = [&](int i) { return R::row_of(i, part); };
  ST *place =
      state + (static_cast<long long>(slots[sequence]) * F::kHeads + head) * F::kK * F::kV + column;
  bool fresh = positions[start] == 0;
  float s[kStates];
#pragma unroll
  for (int i = 0; i < kStates; ++i)
    s[i] = active && !fresh && row_of(i) < F::kK ? to_float(place[row_of(i) * F::kV]) : 0.0f;
  float rate = decay[head] * kLog2E, bias = F::kHasDtBias ? dt_bias[head] : 0.0f;

  for (int first = start; first < end; first += F::kTile) {
    int rows = min(F::kTile, end - first);
    for (int t = warp; t < rows; t += R::kThreads / 32) {
      long long row = first + t;
      normalise<F>(queries + t * R::kPadded, q + row * F::kQStride + head / F::kShare * F::kK,
                   F::scale());
      normalise<F>(keys + t * R::kPadded, k + row * F::kKStride + head / F::kShare * F::kK, 1.0f);
    }
    for (int i = threadIdx.x; i < rows * kColumns; i += R::kThreads) {
      int t = i / kColumns, j = i % kColumns;
      values[i] = column0 + j < F::kV
                      ? to_float(v[(first + t) * static_cast<long long>(F::kVStride) +
                                   head * F::kV + column0 + j])
                      : 0.0f;
    }
    if (threadIdx.x < rows) {
      long long row = first + threadIdx.x;
      keeps[threadIdx.x] = ex2(softplus(to_float(a[row * F::kAStride + head]) + bias) * rate);
      betas[threadIdx.x] = rcp(1.0f + ex2(-to_float(b[row * F::kBStride + head]) * kLog2E));
    }
    __syncthreads();
#pragma unroll 1
    for (int t = 0; t < rows; ++t) {
      float y = delta_step<F>(s, keys + t * R::kPadded, queries + t * R::kPadded, part, keeps[t],
                              betas[t], values[t * kColumns + local]);
      if (active && part == 0)
        out[(first + t) * static_cast<long long>(F::kOutStride) + head * F::kV + column] =
            from_float<typename F::OT>(y);
    }
    __syncthreads(); // the tile is free
  }
#pragma unroll
  for (int i = 0; i < kStates; ++i)
    if (active && row_of(i) < F::kK)
      place[row_of(i) * F::kV] = from_float<ST>(s[i]);
}

} // namespace m1k

#endif
