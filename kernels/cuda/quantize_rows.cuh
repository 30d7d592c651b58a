// Of each row x, m its largest absolute value: codes[row, k] = e4m3(x[row, k] · (448 / m)) and
// scale[row] = m / 448 (m1.quantize_rows), for products that take e4m3; or, for those of other
// types, out[row, k] = codes · scale, rounded to OT.
//
// Grid (1, ceil(rows / kRows)). A block has kRows rows, each shared by kThreads / kRows threads,
// which read it twice, the second time from the first caches. Facts F: XT, OT (e4m3 for codes); kK,
// kXStride, kDomain as in linear.cuh; kThreads, kRows, by whose quotient whole warps share a row.
#ifndef M1K_QUANTIZE_ROWS_CUH
#define M1K_QUANTIZE_ROWS_CUH

#include "e4m3.cuh"

namespace m1k {

// Calls body(k, values) for the runs of 8 columns, or 1, of a thread's share of a row.
template <class F, int V, class Body>
M1K_DEVICE void walk_row(const typename F::XT *row, int first, int step, Body body) {
#pragma unroll 4
  for (int k = first * V; k < F::kK; k += step * V) {
    float v[V];
    load_floats<V>(v, row + k);
    body(k, v);
  }
}

template <class F, int V>
M1K_DEVICE void quantize_row(const typename F::XT *row, bool has, typename F::OT *out, float *scale,
                             float *parts) {
  constexpr int kShare = F::kThreads / F::kRows, kWarps = kShare / 32;
  const int at = threadIdx.x % kShare, warp = threadIdx.x / 32;
  float largest = 0.0f;
  if (has)
    walk_row<F, V>(row, at, kShare, [&](int, const float (&v)[V]) {
#pragma unroll
      for (int e = 0; e < V; ++e)
        largest = fmaxf(largest, fabsf(v[e]));
    });
  largest = lane_max<32>(largest);
  if (threadIdx.x % 32 == 0)
    parts[warp] = largest;
  __syncthreads();
  if (!has)
    return;
#pragma unroll
  for (int i = 0; i < kWarps; ++i)
    largest = fmaxf(largest, parts[warp / kWarps * kWarps + i]);
  const float inverse = e4m3_inverse(largest), factor = e4m3_scale(largest);
  if constexpr (same_type<typename F::OT, e4m3>::value) {
    if (at == 0)
      *scale = factor;
    walk_row<F, V>(row, at, kShare, [&](int k, const float (&v)[V]) {
      if constexpr (V == 8) {
        *reinterpret_cast<uint2 *>(out + k) =
            make_uint2(pack_e4m3(v[0] * inverse, v[1] * inverse, v[2] * inverse, v[3] * inverse),
                       pack_e4m3(v[4] * inverse, v[5] * inverse, v[6] * inverse, v[7] * inverse));
      } else {
#pragma unroll
        for (int e = 0; e < V; ++e)
          out[k + e].bits = static_cast<unsigned char>(pack_e4m3(v[e] * inverse, 0.0f));
      }
    });
  } else {
    walk_row<F, V>(row, at, kShare, [&](int k, const float (&v)[V]) {
      float rounded[V];
#pragma unroll
      for (int e = 0; e < V; ++e)
        rounded[e] = round_to_e4m3(v[e] * inverse) * factor;
      store_floats<V>(out + k, rounded);
    });
  }
}

template <class F>
M1K_DEVICE void quantize_rows(const typename F::XT *x, typename F::OT *out, float *scale,
                              m1_dims dims) {
  __shared__ float parts[F::kThreads / 32];
  constexpr int kShare = F::kThreads / F::kRows;
  static_assert(kShare % 32 == 0, "whole warps share a row");
  x = wait_for_predecessors(x);
  const int row = blockIdx.y * F::kRows + int(threadIdx.x) / kShare;
  const bool has = row < rows_of<F::kDomain>(dims);
  const typename F::XT *from = x + row * static_cast<long long>(F::kXStride);
  typename F::OT *to = out + row * static_cast<long long>(F::kK);
  constexpr bool kVectors = F::kK % 8 == 0 && F::kXStride % 8 == 0;
  if constexpr (kVectors) {
    if (aligned16(x))
      return quantize_row<F, 8>(from, has, to, scale + row, parts);
  }
  quantize_row<F, 1>(from, has, to, scale + row, parts);
}

// Without a place for scales.
template <class F>
M1K_DEVICE void quantize_rows(const typename F::XT *x, typename F::OT *out, decltype(nullptr),
                              m1_dims dims) {
  quantize_rows<F>(x, out, static_cast<float *>(nullptr), dims);
}

} // namespace m1k

#endif
