// out = rmsnorm of each group · w, of y · silu(z) or of y, then times silu(z) or not. A warp owns
// one group of one row; grid (ceil(kGroups / kWarps), rows).
//
// Facts F: YT, ZT, OT; kFeatures, kGroups, kGate (0: no z, 1: before the norm, 2: after it),
// kHasWeight, kSharedWeight (a value a column of a group, not of the row), strides, eps(), kDomain
// as in linear.cuh; tuning: kVector, kWarps.
#ifndef M1K_GATED_RMS_NORM_CUH
#define M1K_GATED_RMS_NORM_CUH

#include "common.cuh"

namespace m1k {

template <class F>
M1K_DEVICE void gated_rms_norm(const typename F::YT *y, const typename F::ZT *z, const float *w,
                               typename F::OT *out, m1_dims dims) {
  constexpr int kSize = F::kFeatures / F::kGroups, V = F::kVector;
  static_assert(F::kFeatures % F::kGroups == 0 && kSize % V == 0, "");
  int total = rows_of<F::kDomain>(dims);
  int group = blockIdx.x * F::kWarps + threadIdx.x / 32, lane = threadIdx.x % 32;
  long long row = blockIdx.y;
  if (row >= total || group >= F::kGroups)
    return;
  y += row * F::kYStride + group * kSize;
  if (F::kGate)
    z += row * F::kZStride + group * kSize;
  out += row * F::kOutStride + group * kSize;
  if (F::kHasWeight && !F::kSharedWeight)
    w += group * kSize;
  auto gate = [&](auto width, int i, float (&v)[decltype(width)::value]) {
    constexpr int W = decltype(width)::value;
    float g[W];
    load_floats<W>(g, z + i);
#pragma unroll
    for (int k = 0; k < W; ++k)
      v[k] *= silu(g[k]);
  };
  auto gated = [&](auto width, int i, float (&v)[decltype(width)::value]) {
    load_floats<decltype(width)::value>(v, y + i);
    if constexpr (F::kGate == 1)
      gate(width, i, v);
  };
  // The group is read twice, the second time from the caches; up to 32 · V · 4 values it stays in
  // registers.
  auto run = [&](auto width) {
    constexpr int W = decltype(width)::value, kStep = 32 * W, kSteps = ceil_div(kSize, kStep);
    constexpr bool kKeep = kSteps <= 4;
    float kept[kKeep ? kSteps : 1][W], sum = 0.0f;
#pragma unroll(kKeep ? kSteps : 1)
    for (int s = 0; s < kSteps; ++s) {
      float v[W];
      int i = s * kStep + lane * W;
      if (i < kSize) {
        gated(width, i, v);
#pragma unroll
        for (int k = 0; k < W; ++k) {
          sum += v[k] * v[k];
          if constexpr (kKeep)
            kept[s][k] = v[k];
        }
      }
    }
    float scale = rsqrtf(lane_sum<32>(sum) * (1.0f / kSize) + F::eps());
#pragma unroll(kKeep ? kSteps : 1)
    for (int s = 0; s < kSteps; ++s) {
      float v[W], weight[W];
      int i = s * kStep + lane * W;
      if (i < kSize) {
        if constexpr (kKeep) {
#pragma unroll
          for (int k = 0; k < W; ++k)
            v[k] = kept[s][k];
        } else {
          gated(width, i, v);
        }
        if constexpr (F::kHasWeight)
          load_floats<W>(weight, w + i);
#pragma unroll
        for (int k = 0; k < W; ++k)
          v[k] *= F::kHasWeight ? scale * weight[k] : scale;
        if constexpr (F::kGate == 2)
          gate(width, i, v);
        store_floats<W>(out + i, v);
      }
    }
  };
  // Alignment of a piece of V elements in each of the three rows.
  constexpr u64 kYMask = V * sizeof(typename F::YT) - 1, kZMask = V * sizeof(typename F::ZT) - 1,
                kOMask = V * sizeof(typename F::OT) - 1;
  bool aligned =
      ((reinterpret_cast<u64>(y) & kYMask & 15) | (reinterpret_cast<u64>(z) & kZMask & 15) |
       (reinterpret_cast<u64>(out) & kOMask & 15) |
       (reinterpret_cast<u64>(w) & 15 & (V * 4 - 1))) == 0;
  if (aligned)
    run(constant<V>());
  else
    run(constant<1>());
}

} // namespace m1k

#endif
