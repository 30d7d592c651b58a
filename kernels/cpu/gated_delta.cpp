// Gated delta rule, one token after the other. A block of up to 16 columns of one value head's
// state is carried through time in float32: lanes are columns, so that neither of the two products
// with the state needs a sum across lanes.
#include "vector.h"

using namespace m1k;

namespace {

/// 1 / sqrt(Σ x² + eps) over `count` values.
M1K_INLINE float inverseNorm(const void *x, int type, long index, int count, float eps) {
  Floats squares = 0.0f;
  forVectors(count, [&](int n, int width) M1K_BODY {
    Floats value = load(x, type, index + n, width);
    squares = squares + value * value;
  });
  return 1.0f / __builtin_elementwise_sqrt(sum(squares) + eps); // no call: sets no errno
}

} // namespace

// Gated delta rule of `heads` value heads, states S of key_size rows by value_size columns. Domain:
// sequences, one a group; grid_x = ceil(heads * value_size / channel_block), a group owns columns
// [group_x * channel_block, …) of the states and of out. q and k have key_heads heads of key_size
// columns, each for as many neighbouring value heads, normalised here: q̂ = scale q / sqrt(Σq² +
// eps), k̂ = k / sqrt(Σk² + eps). S ← exp(decay[h] softplus(a[h] + dt_bias[h])) S, S ← S + k̂ ⊗
// sigmoid(b[h]) (v[h] - Sᵀ k̂), out[h] = Sᵀ q̂. decay, dt_bias: [heads]; dt_bias may be null.
// state: [slots][heads][key_size][value_size] of state_type. Stack: 72 * key_size bytes.
M1K_ENTRY void m1k_cpu_gated_delta(void *out, const void *q, const void *k, const void *v,
                                   const void *a, const void *b, const float *decay,
                                   const float *dt_bias, void *state, const int *sequence_starts,
                                   const int *slots, const int *positions, const m1_dims *dims,
                                   int group_x, int group_y, int heads, int key_heads, int key_size,
                                   int value_size, float eps, float scale, int channel_block,
                                   int state_type, int out_type, long out_stride, int q_type,
                                   long q_stride, int k_type, long k_stride, int v_type,
                                   long v_stride, int a_type, long a_stride, int b_type,
                                   long b_stride) {
  (void)dims;
  float *tile = M1K_STACK(lanes * key_size); // [key_size][16]
  float *query = M1K_STACK(key_size);
  float *key = M1K_STACK(key_size);
  int begin = sequence_starts[group_y], end = sequence_starts[group_y + 1];
  if (begin >= end)
    return;
  bool fresh = positions[begin] == 0;
  int columns = heads * value_size;
  int first = group_x * channel_block, last = least(first + channel_block, columns);

  // One block: `count` columns from `column` on of one head.
  auto block = [&](int column, int count) M1K_BODY {
    int head = column / value_size, inHead = column - head * value_size;
    long source = static_cast<long>(head / (heads / key_heads)) * key_size;
    long stateBase =
        (static_cast<long>(slots[group_y]) * heads + head) * key_size * value_size + inHead;
    for (int n = 0; n < key_size; ++n) {
      Floats s = 0.0f;
      if (!fresh)
        s = load(state, state_type, stateBase + static_cast<long>(n) * value_size, count);
      store(tile, M1K_F32, n * lanes, lanes, s);
    }
    float bias = dt_bias ? dt_bias[head] : 0.0f;

    for (long t = begin; t < end; ++t) {
      long ahead = t + M1K_PREFETCH_ROWS;
      prefetch(q, q_type, ahead * q_stride + source);
      prefetch(k, k_type, ahead * k_stride + source);
      prefetch(v, v_type, ahead * v_stride + column);
      Floats step = softplus(Floats(loadOne(a, a_type, t * a_stride + head) + bias));
      Floats keep = exp(step * decay[head]);
      Floats beta = sigmoid(Floats(loadOne(b, b_type, t * b_stride + head)));
      float ofQuery = scale * inverseNorm(q, q_type, t * q_stride + source, key_size, eps);
      float ofKey = inverseNorm(k, k_type, t * k_stride + source, key_size, eps);
      forVectors(key_size, [&](int n, int width) M1K_BODY {
        store(query, M1K_F32, n, width,
              load(q, q_type, t * q_stride + source + n, width) * ofQuery);
        store(key, M1K_F32, n, width, load(k, k_type, t * k_stride + source + n, width) * ofKey);
      });
      // Two sums, or each addition would wait for the one before.
      Floats seen = 0.0f, odd = 0.0f;
      int even = key_size / 2 * 2;
      for (int n = 0; n < even; n += 2) {
        seen = seen + load(tile, M1K_F32, n * lanes, lanes) * key[n];
        odd = odd + load(tile, M1K_F32, (n + 1) * lanes, lanes) * key[n + 1];
      }
      if (even < key_size)
        seen = seen + load(tile, M1K_F32, even * lanes, lanes) * key[even];
      seen = (seen + odd) * keep;
      Floats delta = beta * (load(v, v_type, t * v_stride + column, count) - seen);
      Floats y = 0.0f;
      odd = 0.0f;
      for (int n = 0; n < even; n += 2) {
        Floats s = load(tile, M1K_F32, n * lanes, lanes) * keep + key[n] * delta;
        Floats r = load(tile, M1K_F32, (n + 1) * lanes, lanes) * keep + key[n + 1] * delta;
        store(tile, M1K_F32, n * lanes, lanes, s);
        store(tile, M1K_F32, (n + 1) * lanes, lanes, r);
        y = y + s * query[n];
        odd = odd + r * query[n + 1];
      }
      if (even < key_size) {
        Floats s = load(tile, M1K_F32, even * lanes, lanes) * keep + key[even] * delta;
        store(tile, M1K_F32, even * lanes, lanes, s);
        y = y + s * query[even];
      }
      store(out, out_type, t * out_stride + column, count, y + odd);
    }

    for (int n = 0; n < key_size; ++n)
      store(state, state_type, stateBase + static_cast<long>(n) * value_size, count,
            load(tile, M1K_F32, n * lanes, lanes));
  };
  forBlocks(first, last, value_size, channel_block, block);
}
