// Depthwise causal convolution over the tokens of a sequence, vectorised over channels. A group
// owns input channels, so that it alone reads and writes their state, and computes every output
// channel they feed.
#include "vector.h"

using namespace m1k;

// Depthwise causal convolution of width d_conv, y[t,c] = bias[c] + Σ_j w[c,j] x[t - (d_conv - 1) +
// j, i(c)], then silu if `silu`. Input has in_channels columns, output in_channels * repeat: each
// input head of head_size channels serves `repeat` consecutive output heads. head_size is not read
// when repeat is 1. Domain: sequences, one a group; grid_x = ceil(in_channels / channel_block), a
// group owns *input* channels. w: [in_channels * repeat, d_conv]; bias may be null. state:
// [slots][d_conv - 1][in_channels] of state_type, oldest row first. Stack: 128 * d_conv bytes.
M1K_ENTRY void m1k_cpu_causal_conv1d(void *out, const void *x, const float *w, const float *bias,
                                     void *state, const int *sequence_starts, const int *slots,
                                     const int *positions, const m1_dims *dims, int group_x,
                                     int group_y, int in_channels, int d_conv, int repeat,
                                     int head_size, int silu, int channel_block, int state_type,
                                     int out_type, long out_stride, int x_type, long x_stride) {
  (void)dims;
  float *taps = M1K_STACK(lanes * d_conv); // [d_conv][16], weights of the block at hand
  float *window =
      // [d_conv][16], the inputs that the current token sees, oldest first
      M1K_STACK(lanes * d_conv);
  int begin = sequence_starts[group_y], end = sequence_starts[group_y + 1];
  if (begin >= end)
    return;
  bool fresh = positions[begin] == 0;
  int history = d_conv - 1;
  long stateBase = static_cast<long>(slots[group_y]) * history * in_channels;
  int first = group_x * channel_block, last = least(first + channel_block, in_channels);

  auto block = [&](int channel, int count) M1K_BODY {
    int head = repeat > 1 ? channel / head_size : 0;
    for (int copy = 0; copy < repeat; ++copy) {
      // Output channels of this copy are as contiguous as the input channels, because the block
      // stays within a head.
      int target =
          repeat > 1 ? (head * repeat + copy) * head_size + (channel - head * head_size) : channel;
      for (int j = 0; j < d_conv; ++j) {
        Floats tap = 0.0f;
        for (int i = 0; i < count; ++i)
          tap[i] = w[static_cast<long>(target + i) * d_conv + j];
        store(taps, M1K_F32, j * lanes, lanes, tap);
      }
      Floats offset = 0.0f;
      if (bias)
        offset = load(bias, M1K_F32, target, count);
      for (int j = 0; j < history; ++j) {
        Floats past = 0.0f;
        if (!fresh)
          past = load(state, state_type, stateBase + static_cast<long>(j) * in_channels + channel,
                      count);
        store(window, M1K_F32, (j + 1) * lanes, lanes, past);
      }
      for (long t = begin; t < end; ++t) {
        Floats y = offset;
        for (int j = 0; j < history; ++j) {
          Floats past = load(window, M1K_F32, (j + 1) * lanes, lanes);
          store(window, M1K_F32, j * lanes, lanes, past);
          y = y + load(taps, M1K_F32, j * lanes, lanes) * past;
        }
        Floats input = load(x, x_type, t * x_stride + channel, count);
        store(window, M1K_F32, history * lanes, lanes, input);
        y = y + load(taps, M1K_F32, history * lanes, lanes) * input;
        store(out, out_type, t * out_stride + target, count, silu ? m1k::silu(y) : y);
      }
    }
    // The window ends in the last d_conv - 1 inputs, whatever the step's length.
    for (int j = 0; j < history; ++j)
      store(state, state_type, stateBase + static_cast<long>(j) * in_channels + channel, count,
            load(window, M1K_F32, (j + 1) * lanes, lanes));
  };
  forBlocks(first, last, repeat > 1 ? head_size : in_channels, channel_block, block);
}
