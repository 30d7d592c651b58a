// out[n, k] = w[n, k] · scale[n], or, with kGroup > 0, · scale[n, k / kGroup], rounded to OT:
// quantised weights for a library's products of many rows, which take longer than this does.
//
// dequantize: weights of i8 or e4m3. Grid (ceil(kN · kK / (kThreads · kVector · 4)), 1); a thread
// turns four runs of kVector neighbours. Facts F: OT; kN, kK, kGroup; kThreads.
//
// dequantize_int4: grid (ceil(kN · blocks of 128 columns · 4 / kThreads), 1); a thread turns 16
// bytes, four runs of eight neighbours. The same facts.
#ifndef M1K_DEQUANTIZE_CUH
#define M1K_DEQUANTIZE_CUH

#include "e4m3.cuh"

namespace m1k {

template <class F, class W, class Scale>
M1K_DEVICE void dequantize(const W *w, const Scale *scale, typename F::OT *out, m1_dims) {
  constexpr int kRun = 16 / int(sizeof(typename F::OT)), kVector = F::kK % kRun == 0 ? kRun : 1;
  constexpr int kGroup = F::kGroup > 0 ? F::kGroup : F::kK, kGroups = ceil_div(F::kK, kGroup);
  constexpr u64 kAll = u64(F::kN) * F::kK;
  u64 first = (u64(blockIdx.x) * F::kThreads * 4 + threadIdx.x) * kVector;
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    u64 i = first + u64(c) * F::kThreads * kVector;
    if (i >= kAll)
      return;
    float v[kVector], factor = to_float(scale[i / F::kK * kGroups + i % F::kK / kGroup]);
    load_floats<kVector>(v, w + i);
#pragma unroll
    for (int e = 0; e < kVector; ++e)
      v[e] *= factor;
    store_floats<kVector>(out + i, v);
  }
}

template <class F, class Scale>
M1K_DEVICE void dequantize_int4(const i4x2 *w, const Scale *scale, typename F::OT *out, m1_dims) {
  constexpr int kBlocks = ceil_div(F::kK, 128), kGroups = ceil_div(F::kK, F::kGroup);
  u64 i = u64(blockIdx.x) * F::kThreads + threadIdx.x, row = i / (kBlocks * 4);
  if (row >= F::kN)
    return;
  const int first = int(i % (kBlocks * 4)) / 4 * 128 + int(i % 4) * 8; // of the run in plane 0
  const uint4 words = reinterpret_cast<const uint4 *>(w)[i];
  scale += row * kGroups;
  out += row * F::kK;
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    const int k = first + p * 32;
    if (k >= F::kK)
      return;
    float v[8];
    widen_bf16(v, unpack_i4(words, p));
    const float factor = to_float(scale[k / F::kGroup]);
#pragma unroll
    for (int e = 0; e < 8; ++e)
      v[e] *= factor;
    if constexpr (F::kK % 8 == 0) {
      store_floats<8>(out + k, v);
    } else {
#pragma unroll
      for (int e = 0; e < 8; ++e)
        if (k + e < F::kK)
          out[k + e] = from_float<typename F::OT>(v[e]);
    }
  }
}

} // namespace m1k

#endif
