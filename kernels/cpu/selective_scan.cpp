// Mamba-1 selective scan. A block of up to 16 channels of one sequence is carried through time with
// its state in float32: per step one vector of Δ for the block, then for each channel its d_state
// states, 16 at a time.
#include "vector.h"

using namespace m1k;

// Mamba-1 scan. Domain: sequences, one a group; grid_x = ceil(d_inner / channel_block), a group
// owns channels [group_x * channel_block, …). s[c,n] = exp(Δ A[c,n]) s[c,n] + Δ B[b,n] x[c], y[c] =
// Σ_n s[c,n] C[k,n] + d[c] x[c], gated by silu(z[c]). B has b_columns, heads of d_state, each for
// as many neighbouring channels: b = c / (d_inner / heads); so has C. x has x_columns columns:
// d_inner, or fewer, then heads of d_state that stand d_inner / x_columns times in a row. Δ = dt +
// dt_bias, through softplus if delta_softplus. a is [d_inner, d_state], negative. d, z, dt_bias may
// be null. state: [slots][d_inner][d_state] of state_type. `share`: neighbouring channels from a
// multiple of it on read one head of B and of C, and neighbouring columns of x. Stack: 64 * d_state
// bytes.
M1K_ENTRY void m1k_cpu_selective_scan(void *out, const void *x, const void *dt, const float *a,
                                      const void *b, const void *c, const float *d, const void *z,
                                      const float *dt_bias, void *state, const int *sequence_starts,
                                      const int *slots, const int *positions, const m1_dims *dims,
                                      int group_x, int group_y, int d_inner, int x_columns,
                                      int b_columns, int c_columns, int d_state, int share,
                                      int delta_softplus, int channel_block, int state_type,
                                      int out_type, long out_stride, int x_type, long x_stride,
                                      int dt_type, long dt_stride, int b_type, long b_stride,
                                      int c_type, long c_stride, int z_type, long z_stride) {
  (void)dims;
  float *tile = M1K_STACK(lanes * d_state);
  int begin = sequence_starts[group_y], end = sequence_starts[group_y + 1];
  if (begin >= end)
    return;
  bool fresh = positions[begin] == 0;
  long slot = static_cast<long>(slots[group_y]) * d_inner;
  int channelsOfB = d_inner / (b_columns / d_state), channelsOfC = d_inner / (c_columns / d_state);
  int repeat = d_inner / x_columns;
  int first = group_x * channel_block, last = least(first + channel_block, d_inner);

  // One block: `count` channels from `channel` on, which read one head of B and of C.
  auto block = [&](int channel, int count) M1K_BODY {
    long bColumn = static_cast<long>(channel / channelsOfB) * d_state;
    long cColumn = static_cast<long>(channel / channelsOfC) * d_state;
    int xChannel =
        repeat == 1 ? channel : channel / (d_state * repeat) * d_state + channel % d_state;
    long stateBase = (slot + channel) * d_state;

    for (int i = 0; i < count; ++i)
      forVectors(d_state, [&](int n, int width) M1K_BODY {
        Floats s = 0.0f;
        if (!fresh)
          s = load(state, state_type, stateBase + static_cast<long>(i) * d_state + n, width);
        store(tile, M1K_F32, static_cast<long>(i) * d_state + n, width, s);
      });
    Floats bias = 0.0f, skip = 0.0f;
    if (dt_bias)
      bias = load(dt_bias, M1K_F32, channel, count);
    if (d)
      skip = load(d, M1K_F32, channel, count);

    for (long t = begin; t < end; ++t) {
      long ahead = t + M1K_PREFETCH_ROWS;
      prefetch(dt, dt_type, ahead * dt_stride + channel);
      prefetch(x, x_type, ahead * x_stride + xChannel);
      prefetch(b, b_type, ahead * b_stride + bColumn);
      prefetch(c, c_type, ahead * c_stride + cColumn);
      prefetch(out, out_type, ahead * out_stride + channel);
      if (z)
        prefetch(z, z_type, ahead * z_stride + channel);
      Floats delta = load(dt, dt_type, t * dt_stride + channel, count) + bias;
      if (delta_softplus)
        delta = softplus(delta);
      Floats input = load(x, x_type, t * x_stride + xChannel, count);
      Floats deltaInput = delta * input;
      Floats y = 0.0f;
      forVectors(d_state, [&](int n, int width) M1K_BODY {
        Floats bRow = load(b, b_type, t * b_stride + bColumn + n, width);
        Floats cRow = load(c, c_type, t * c_stride + cColumn + n, width);
        forLanes(count, [&](int i) M1K_BODY {
          Floats aRow = load(a, M1K_F32, static_cast<long>(channel + i) * d_state + n, width);
          long index = static_cast<long>(i) * d_state + n;
          Floats s = load(tile, M1K_F32, index, width);
          s = exp(delta[i] * aRow) * s + deltaInput[i] * bRow;
          store(tile, M1K_F32, index, width, s);
          y[i] += sum(s * cRow);
        });
      });
      y = y + skip * input;
      if (z)
        y = y * silu(load(z, z_type, t * z_stride + channel, count));
      store(out, out_type, t * out_stride + channel, count, y);
    }

    for (int i = 0; i < count; ++i)
      forVectors(d_state, [&](int n, int width) M1K_BODY {
        store(state, state_type, stateBase + static_cast<long>(i) * d_state + n, width,
              load(tile, M1K_F32, static_cast<long>(i) * d_state + n, width));
      });
  };
  forBlocks(first, last, share, channel_block, block);
}
