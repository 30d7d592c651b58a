// Decode step of the gated delta rule for few sequences, with its neighbours in one launch: the
// convolution of q, k and v before it, and the gated RMS norm of its heads behind it.
//
// Grid (kHeads, S). A block owns a value head of a sequence, four lanes a column of its state, as
// in gated_delta.cuh. Value heads that share a head of q and k convolve it each; the last of them
// moves its window on, as in update.cuh.
//
// Facts F: XT, WT, AT, BT, ZT, OT, ST, the types of the convolution's input and window, of a, b, z,
// out and the state; kHeads, kShare, kK, kV, kXStride, kAStride, kBStride, kZStride, kOutStride,
// kHasDtBias, eps(), scale() as in gated_delta.cuh; kConvWidth, kConvInputs, kHasConvBias,
// kConvSilu, kQColumn, kKColumn, kVColumn of the convolution as in update.cuh; kNorm (0: none, 1:
// of gated values, 2: before the gate), kHasNormWeight, kNormShared, norm_eps(); kCounters; kEarly
// as in update.cuh; kThreads, a lane for a quarter of each column; kTile = 1.
#ifndef M1K_DELTA_UPDATE_CUH
#define M1K_DELTA_UPDATE_CUH

#include "conv_step.cuh"
#include "gated_delta.cuh"

namespace m1k {

template <class F>
M1K_DEVICE void delta_update(const typename F::XT *x, const float *conv_w, const float *conv_bias,
                             const typename F::AT *a, const typename F::BT *b, const float *decay,
                             const float *dt_bias, const typename F::ZT *z, const float *norm_w,
                             typename F::WT *conv_state, typename F::ST *state, const int *slots,
                             const int *positions, typename F::OT *out, int *counters,
                             m1_dims dims) {
  using R = GatedDeltaTraits<F>;
  using ST = typename F::ST;
  using WT = typename F::WT;
  using Step = ConvStep<F>;
  constexpr int kStates = R::kStates, kWarps = R::kThreads / 32, kInputs = 2 * F::kK + F::kV,
                kMine = ceil_div(kInputs, R::kThreads);
  static_assert(R::kBlocks == 1, "a block owns a head");
  const int sequence = blockIdx.y, head = blockIdx.x, key_head = head / F::kShare;
  if (sequence >= dims.sequences)
    return;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, part = lane / 8;
  const int column = warp * 8 + lane % 8, slot = slots[sequence];
  const bool active = column < F::kV, fresh = positions[sequence] == 0;
  const long long row = sequence;
  // Queries and keys as delta_step takes them; q, k and v as the convolution leaves them; sums of
  // squares of the warps; whether the block was the last.
  float *queries = reinterpret_cast<float *>(m1k_shared), *keys = queries + R::kPadded,
        *inputs = keys + R::kPadded, *sums = inputs + kInputs;
  [[maybe_unused]] float *was_last = sums + kWarps;

  auto column_of = [&](int i) {
    return i < F::kK       ? F::kQColumn + key_head * F::kK + i
           : i < 2 * F::kK ? F::kKColumn + key_head * F::kK + i - F::kK
                           : F::kVColumn + head * F::kV + i - 2 * F::kK;
  };
  ConvFilter<F> filters[kMine];
  WT taps[kMine][Step::kMost];
#pragma unroll
  for (int m = 0; m < kMine; ++m) {
    const int i = min(int(threadIdx.x) + m * R::kThreads, kInputs - 1);
    filters[m].load(conv_w, conv_bias, column_of(i));
    Step::read(taps[m], Step::window(conv_state, slot, column_of(i)), fresh);
  }
  ST *place = state + (static_cast<long long>(slot) * F::kHeads + head) * F::kK * F::kV + column;
  float s[kStates];
#pragma unroll
  for (int i = 0; i < kStates; ++i)
    s[i] = active && !fresh && R::row_of(i, part) < F::kK
               ? to_float(place[R::row_of(i, part) * F::kV])
               : 0.0f;
  const float rate = decay[head] * kLog2E, bias = F::kHasDtBias ? dt_bias[head] : 0.0f;
  float weight = 1.0f, gate = 1.0f;
  if (F::kNorm > 0 && F::kHasNormWeight && active)
    weight = norm_w[(F::kNormShared ? 0 : head * F::kV) + column];
  if constexpr (F::kEarly) {
    x = wait_for_predecessors(x);
    a = wait_for_predecessors(a);
    b = wait_for_predecessors(b);
    z = wait_for_predecessors(z);
    counters = wait_for_predecessors(counters);
  }
  auto input = [&](int of) { return x[row * F::kXStride + of]; };
  const float keep = ex2(softplus(to_float(a[row * F::kAStride + head]) + bias) * rate),
              beta = rcp(1.0f + ex2(-to_float(b[row * F::kBStride + head]) * kLog2E));
  if (F::kNorm > 0 && active)
    gate = silu(to_float(z[row * F::kZStride + head * F::kV + column]));
#pragma unroll
  for (int m = 0; m < kMine; ++m) {
    const int i = threadIdx.x + m * R::kThreads;
    if (i < kInputs)
      inputs[i] = filters[m].apply(taps[m], to_float(input(column_of(i))));
  }
  __syncthreads();
  if (F::kEarly)
    launch_successor();
  [[maybe_unused]] int arrived = 0;
  if constexpr (F::kShare > 1)
    if (threadIdx.x == 0) {
      __threadfence();
      arrived = atomicAdd(counters + row * F::kCounters + key_head, 1);
    }
  if (warp == 0)
    normalise<F>(queries, inputs, F::scale());
  if (warp == 1 % kWarps)
    normalise<F>(keys, inputs + F::kK, 1.0f);
  // Of v, and of q and k that no other block reads, all readers are behind the barrier.
  auto move = [&](int i) {
    Step::move(Step::window(conv_state, slot, column_of(i)), fresh, input(column_of(i)));
  };
#pragma unroll 1
  for (int i = threadIdx.x + (F::kShare > 1 ? 2 * F::kK : 0); i < kInputs; i += R::kThreads)
    move(i);
  __syncthreads();

  float y =
      delta_step<F>(s, keys, queries, part, keep, beta, active ? inputs[2 * F::kK + column] : 0.0f);
#pragma unroll
  for (int i = 0; i < kStates; ++i)
    if (active && R::row_of(i, part) < F::kK)
      place[R::row_of(i, part) * F::kV] = from_float<ST>(s[i]);
  if (F::kNorm == 1)
    y *= gate;
  if constexpr (F::kNorm > 0) {
    const float sum = lane_sum<8>(active ? y * y : 0.0f);
    if (lane == 0)
      sums[warp] = sum;
  }
  if constexpr (F::kShare > 1)
    if (threadIdx.x == 0)
      was_last[0] = arrived == F::kShare - 1;
  if constexpr (F::kNorm > 0 || F::kShare > 1)
    __syncthreads();
  if constexpr (F::kNorm > 0) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kWarps; ++i)
      sum += sums[i];
    y *= rsqrtf(sum * (1.0f / F::kV) + F::norm_eps()) * weight;
  }
  if (F::kNorm == 2)
    y *= gate;
  if (active && part == 0)
    out[row * F::kOutStride + head * F::kV + column] = from_float<typename F::OT>(y);
  if constexpr (F::kShare > 1)
    if (was_last[0]) {
      __threadfence();
#pragma unroll 1
      for (int i = threadIdx.x; i < 2 * F::kK; i += R::kThreads)
        move(i);
    }
}

} // namespace m1k

#endif
