// Of each row x, m its largest absolute value: codes[row, k] = e4m3(x[row, k] · (448 / m)) and
// scale[row] = m / 448 (m1.quantize_rows), for products that take e4m3; or, for those of other
// types, out[row, k] = codes · scale, rounded to OT.
//
// Grid (1, ceil(rows / kRows)). A block has kRows rows, each shared by kThreads / kRows threads,
// which read it twice, the second time from the first caches. Facts F: XT, OT (e4m3 for codes); kK,
// kXStride, kDomain as in linear.cuh; kThreads, kRows, by whose quotient whole warps share a row.
//
// quantize_held_rows, for codes of rows that registers hold; quantize_gate, of rows x = silu(a) ·
// b, and quantize_norm, of x = rms_norm(sum) · weight where sum = residual + y, which it leaves: x
// is rounded to XT, as it would be in memory. Grid (1, rows), a block has a row. Facts F: XT and
// kXStride; or XT, AT, BT (a and b, or residual and y), strides kAStride, kBStride, of
// quantize_norm also ST and kSumStride (of sum), eps(), factor() (of y); kK (a multiple of 8),
// kThreads.
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

// The row of a block, of which a thread has kChunks runs of 8 neighbours.
template <class F> struct RowOfBlock {
  static constexpr int kChunks = ceil_div(F::kK, 8 * F::kThreads), kWarps = F::kThreads / 32;
  static_assert(F::kK % 8 == 0 && F::kThreads % 32 == 0, "whole runs, whole warps");
  using Values = float[kChunks][8];
  Values values;

  /// body(column, chunk) for each run.
  template <class Body> static M1K_DEVICE void each(Body body) {
#pragma unroll
    for (int c = 0; c < kChunks; ++c)
      if (int column = (c * F::kThreads + threadIdx.x) * 8;
          F::kK % (8 * F::kThreads) == 0 || column < F::kK)
        body(column, c);
  }
  /// A row of any type. Loads of 16 bytes have no branch between them, so that those of all runs,
  /// and of the rows that are loaded next, are in flight together.
  template <bool aligned, class T> static M1K_DEVICE void load(Values &to, const T *row) {
    each([&](int column, int c) {
      if constexpr (aligned) {
        load_floats(to[c], row + column);
      } else {
#pragma unroll
        for (int e = 0; e < 8; ++e)
          to[c][e] = to_float(row[column + e]);
      }
    });
  }
  /// The largest absolute value of this thread's.
  M1K_DEVICE float largest() const {
    float most = 0.0f;
    each([&](int, int c) {
#pragma unroll
      for (int e = 0; e < 8; ++e)
        most = fmaxf(most, fabsf(values[c][e]));
    });
    return most;
  }
  /// Of all threads.
  static M1K_DEVICE float largest_of_block(float most) {
    __shared__ float parts[kWarps];
    most = lane_max<32>(most);
    if (threadIdx.x % 32 == 0)
      parts[threadIdx.x / 32] = most;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kWarps; ++i)
      most = fmaxf(most, parts[i]);
    return most;
  }
  /// Codes of the values as XT holds them, and their scale. `most` is the largest absolute value:
  /// the rounding to XT does not change which one that is.
  M1K_DEVICE void round(float most, e4m3 *out, float *scale) const {
    auto as_held = [](float v) { return to_float(from_float<typename F::XT>(v)); };
    most = as_held(most);
    const float inverse = e4m3_inverse(most);
    if (threadIdx.x == 0)
      *scale = e4m3_scale(most);
    each([&](int column, int c) {
      float v[8];
#pragma unroll
      for (int e = 0; e < 8; ++e)
        v[e] = as_held(values[c][e]) * inverse;
      *reinterpret_cast<uint2 *>(out + column) =
          make_uint2(pack_e4m3(v[0], v[1], v[2], v[3]), pack_e4m3(v[4], v[5], v[6], v[7]));
    });
  }
};

template <class F, bool aligned>
M1K_DEVICE void round_row(const typename F::XT *x, e4m3 *out, float *scale) {
  RowOfBlock<F> row;
  row.template load<aligned>(row.values, x);
  row.round(row.largest_of_block(row.largest()), out, scale);
}

template <class F>
M1K_DEVICE void quantize_held_rows(const typename F::XT *x, e4m3 *out, float *scale, m1_dims) {
  const long long row = blockIdx.y;
  x = wait_for_predecessors(x) + row * F::kXStride;
  out += row * F::kK;
  if (F::kXStride % 8 == 0 && aligned16(x))
    round_row<F, true>(x, out, scale + row);
  else
    round_row<F, false>(x, out, scale + row);
}

template <class F, bool aligned>
M1K_DEVICE void round_gate(const typename F::AT *a, const typename F::BT *b, e4m3 *out,
                           float *scale) {
  RowOfBlock<F> x;
  typename RowOfBlock<F>::Values up;
  x.template load<aligned>(x.values, a);
  x.template load<aligned>(up, b);
  x.each([&](int, int c) {
#pragma unroll
    for (int e = 0; e < 8; ++e)
      x.values[c][e] = silu(x.values[c][e]) * up[c][e];
  });
  x.round(x.largest_of_block(x.largest()), out, scale);
}

template <class F>
M1K_DEVICE void quantize_gate(const typename F::AT *a, const typename F::BT *b, e4m3 *out,
                              float *scale, m1_dims) {
  const long long row = blockIdx.y;
  a = wait_for_predecessors(a) + row * F::kAStride;
  b = wait_for_predecessors(b) + row * F::kBStride;
  out += row * F::kK;
  if (F::kAStride % 8 == 0 && F::kBStride % 8 == 0 && aligned16(a) && aligned16(b))
    round_gate<F, true>(a, b, out, scale + row);
  else
    round_gate<F, false>(a, b, out, scale + row);
}

template <class F>
M1K_DEVICE void quantize_norm(const typename F::AT *residual, const typename F::BT *y,
                              const float *weight, typename F::ST *sum, e4m3 *out, float *scale,
                              m1_dims) {
  __shared__ float parts[RowOfBlock<F>::kWarps];
  const long long row = blockIdx.y;
  residual = wait_for_predecessors(residual) + row * F::kAStride;
  y = wait_for_predecessors(y) + row * F::kBStride;
  RowOfBlock<F> x;
  float squares = 0.0f;
  x.each([&](int column, int c) {
    float (&v)[8] = x.values[c], added[8];
    load_anywhere(v, residual + column);
    load_anywhere(added, y + column);
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      v[e] += F::factor() * added[e];
      squares += v[e] * v[e];
    }
    store_anywhere(sum + row * F::kSumStride + column, v);
  });
  squares = lane_sum<32>(squares);
  if (threadIdx.x % 32 == 0)
    parts[threadIdx.x / 32] = squares;
  __syncthreads();
  squares = parts[0];
#pragma unroll
  for (int i = 1; i < RowOfBlock<F>::kWarps; ++i)
    squares += parts[i];
  const float factor = rsqrtf(squares * (1.0f / F::kK) + F::eps());
  x.each([&](int column, int c) {
    float by[8];
    load_anywhere(by, weight + column);
#pragma unroll
    for (int e = 0; e < 8; ++e)
      x.values[c][e] = x.values[c][e] * factor * by[e];
  });
  x.round(x.largest_of_block(x.largest()), out + row * F::kK, scale + row);
}

} // namespace m1k

#endif
