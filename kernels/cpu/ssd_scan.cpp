// Mamba-2 scan, one step after the other. A block of up to 16 rows of one head's state is carried
// through time in float32.
#include "vector.h"

using namespace m1k;

// Mamba-2 scan of `heads` heads of P = head_dim rows by N = d_state. Domain: sequences, one a
// group; grid_x = ceil(heads * P / channel_block), channel c = h * P + p. s[h,p,n] = exp(Δ[h] A[h])
// s[h,p,n] + Δ[h] x[hx,p] B[hb,n], y[h,p] = Σ_n s[h,p,n] C[hc,n] + d[h] x[hx,p]. x has x_heads
// heads of P columns, each for as many neighbouring heads: hx = h / (heads / x_heads); so have B
// and C with heads of N columns. Δ = softplus(dt + dt_bias) if delta_softplus, else dt + dt_bias;
// dt has `heads` columns. a, d, dt_bias: [heads]; d and dt_bias may be null. state:
// [slots][heads][P][N] of state_type. Stack: 64 * d_state bytes.
M1K_ENTRY void m1k_cpu_ssd_scan(void *out, const void *x, const void *dt, const float *a,
                                const void *b, const void *c, const float *d, const float *dt_bias,
                                void *state, const int *sequence_starts, const int *slots,
                                const int *positions, const m1_dims *dims, int group_x, int group_y,
                                int heads, int head_dim, int d_state, int x_heads, int b_heads,
                                int c_heads, int delta_softplus, int channel_block, int state_type,
                                int out_type, long out_stride, int x_type, long x_stride,
                                int dt_type, long dt_stride, int b_type, long b_stride, int c_type,
                                long c_stride) {
  (void)dims;
  float *tile = M1K_STACK(lanes * d_state);
  int begin = sequence_starts[group_y], end = sequence_starts[group_y + 1];
  if (begin >= end)
    return;
  bool fresh = positions[begin] == 0;
  int channels = heads * head_dim;
  long slot = static_cast<long>(slots[group_y]) * channels;
  int first = group_x * channel_block, last = least(first + channel_block, channels);

  // One block: `count` rows from `channel` on of one head's state.
  auto block = [&](int channel, int count) M1K_BODY {
    int head = channel / head_dim;
    long xChannel =
        static_cast<long>(head / (heads / x_heads)) * head_dim + (channel - head * head_dim);
    long bColumn = static_cast<long>(head / (heads / b_heads)) * d_state;
    long cColumn = static_cast<long>(head / (heads / c_heads)) * d_state;
    long stateBase = (slot + channel) * d_state;

    for (int i = 0; i < count; ++i)
      forVectors(d_state, [&](int n, int width) M1K_BODY {
        Floats s = 0.0f;
        if (!fresh)
          s = load(state, state_type, stateBase + static_cast<long>(i) * d_state + n, width);
        store(tile, M1K_F32, static_cast<long>(i) * d_state + n, width, s);
      });
    float bias = dt_bias ? dt_bias[head] : 0.0f;
    float skip = d ? d[head] : 0.0f;
    float rate = a[head];

    for (long t = begin; t < end; ++t) {
      Floats delta = loadOne(dt, dt_type, t * dt_stride + head) + bias;
      if (delta_softplus)
        delta = softplus(delta);
      Floats decay = exp(delta * rate);
      Floats input = load(x, x_type, t * x_stride + xChannel, count);
      Floats deltaInput = delta * input;
      Floats y = 0.0f;
      forVectors(d_state, [&](int n, int width) M1K_BODY {
        Floats bRow = load(b, b_type, t * b_stride + bColumn + n, width);
        Floats cRow = load(c, c_type, t * c_stride + cColumn + n, width);
        forLanes(count, [&](int i) M1K_BODY {
          long index = static_cast<long>(i) * d_state + n;
          Floats s = load(tile, M1K_F32, index, width);
          s = decay * s + deltaInput[i] * bRow;
          store(tile, M1K_F32, index, width, s);
          y[i] += sum(s * cRow);
        });
      });
      store(out, out_type, t * out_stride + channel, count, y + skip * input);
    }

    for (int i = 0; i < count; ++i)
      forVectors(d_state, [&](int n, int width) M1K_BODY {
        store(state, state_type, stateBase + static_cast<long>(i) * d_state + n, width,
              load(tile, M1K_F32, static_cast<long>(i) * d_state + n, width));
      });
  };
  forBlocks(first, last, head_dim, channel_block, block);
}
