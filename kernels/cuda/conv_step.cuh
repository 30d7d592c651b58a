// One token's step of a convolution inside another kernel (update.cuh, delta_update.cuh): a
// column's window of kConvWidth - 1 inputs in its slot, [kConvWidth - 1][kConvInputs], and its
// filter.
#ifndef M1K_CONV_STEP_CUH
#define M1K_CONV_STEP_CUH

#include "common.cuh"

namespace m1k {

template <class F> struct ConvStep {
  using WT = typename F::WT;
  static constexpr int kTaps = F::kConvWidth - 1, kMost = max_of(kTaps, 1);

  static M1K_DEVICE WT *window(WT *state, int slot, int column) {
    return state + static_cast<long long>(slot) * kTaps * F::kConvInputs + column;
  }
  static M1K_DEVICE void read(WT (&to)[kMost], const WT *window, bool fresh) {
#pragma unroll
    for (int k = 0; k < kTaps; ++k)
      to[k] = fresh ? from_float<WT>(0.0f) : window[k * F::kConvInputs];
  }
  // Once all that read the window have.
  template <class XT> static M1K_DEVICE void move(WT *window, bool fresh, XT value) {
#pragma unroll
    for (int k = 0; k + 1 < kTaps; ++k)
      window[k * F::kConvInputs] = fresh ? from_float<WT>(0.0f) : window[(k + 1) * F::kConvInputs];
    if (kTaps > 0)
      window[(kTaps - 1) * F::kConvInputs] = convert<WT>(value);
  }
};

template <class F> struct ConvFilter {
  using Step = ConvStep<F>;
  float taps[F::kConvWidth], bias;

  M1K_DEVICE void load(const float *w, const float *biases, int filter) {
    load_floats<F::kConvWidth>(taps, w + filter * F::kConvWidth);
    bias = F::kHasConvBias ? biases[filter] : 0.0f;
  }
  M1K_DEVICE float apply(const typename F::WT (&before)[Step::kMost], float value) const {
    float sum = bias + taps[Step::kTaps] * value;
#pragma unroll
    for (int k = 0; k < Step::kTaps; ++k)
      sum += taps[k] * to_float(before[k]);
    return F::kConvSilu ? silu(sum) : sum;
  }
};

} // namespace m1k

#endif
