// out[n, k] = w[n, k] · scale[n], rounded to OT: weights of i8 for a library's products of many
// rows, which take longer than this does.
//
// Grid (ceil(kN · kK / (kThreads · kVector · 4)), 1); a thread turns four runs of kVector
// neighbours. Facts F: OT; kN, kK; kThreads.
#ifndef M1K_DEQUANTIZE_CUH
#define M1K_DEQUANTIZE_CUH

#include "common.cuh"

namespace m1k {

template <class F>
M1K_DEVICE void dequantize(const i8 *w, const float *scale, typename F::OT *out, m1_dims) {
  constexpr int kRun = 16 / int(sizeof(typename F::OT)), kVector = F::kK % kRun == 0 ? kRun : 1;
  constexpr u64 kAll = u64(F::kN) * F::kK;
  u64 first = (u64(blockIdx.x) * F::kThreads * 4 + threadIdx.x) * kVector;
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    u64 i = first + u64(c) * F::kThreads * kVector;
    if (i >= kAll)
      return;
    float v[kVector], factor = scale[i / F::kK];
    load_floats<kVector>(v, w + i);
#pragma unroll
    for (int e = 0; e < kVector; ++e)
      v[e] *= factor;
    store_floats<kVector>(out + i, v);
  }
}

} // namespace m1k

#endif
