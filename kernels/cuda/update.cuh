// Decode step of Mamba-1 and Mamba-2: one token of each sequence; softplus, state update, skip,
// gate and, for Mamba-1, the convolution's step in one launch that reads and writes each state
// once.
//
// Grid (ceil(channels / kChannels), ceil(S / kSequences)). A block owns kChannels channels and
// takes kSequences sequences in turn; A and the channels' vectors stay in registers, the next
// sequence's states and inputs are loaded while this one's are computed. kLanes lanes share a
// channel, kVector states each. With the convolution, a block owns all channels that read its input
// channels (where x repeats, kChannels is a multiple of kXRepeat · kXGroup), because one of them
// moves the window on after all have read it.
//
// Facts F: XT, DT, BT, CT, ZT, OT, ST; kChannelCount, kGroup, kBShare, kCShare, kXGroup, kXRepeat,
// kN, kHeadwise, kHead, strides, kHasD, kHasZ, kHasDtBias, kSoftplus as in scan.cuh; kConv, WT
// (type of its window), kConvWidth, kConvRepeated (a filter for each channel, not for each input
// channel), kHasConvBias, kConvSilu; tuning: kLanes, kVector, kChannels, kThreads, kSequences.
#ifndef M1K_UPDATE_CUH
#define M1K_UPDATE_CUH

#include "common.cuh"

namespace m1k {

template <class F> struct UpdateTraits {
  static constexpr int kThreads = F::kThreads, kChannels = F::kChannels, kLanes = F::kLanes,
                       kVector = F::kVector;
  static constexpr int kPass = kThreads / kLanes; // channels a block handles at once
  static constexpr int kPasses = ceil_div(kChannels, kPass);
  static constexpr int kGroupCount = F::kChannelCount / F::kGroup;
  static constexpr int kGroups = runs_of(kChannels, F::kGroup, F::kChannelCount);
  static constexpr int kPadded = kLanes * kVector;
  // Whole vectors are inside or outside of N, and aligned.
  static constexpr bool kVectors = (kVector & (kVector - 1)) == 0 && F::kN % kVector == 0;
  // Per buffer: four values a channel, B and C of each group.
  static constexpr int kBufferFloats = kChannels * 4 + 2 * kGroups * kPadded;
  static constexpr int kSharedBytes = 2 * kBufferFloats * 4;

  static_assert((kLanes & (kLanes - 1)) == 0 && kLanes <= 32 && kThreads % 32 == 0,
                "whole warps of power-of-two groups");
  static_assert(kPadded >= F::kN, "lanes and vector must cover the states");
  static_assert(!F::kConv || F::kXRepeat == 1 || kChannels % (F::kXRepeat * F::kXGroup) == 0,
                "a block owns all readers of its input channels");
  static_assert(kSharedBytes <= F::kSharedBytes, "the launch reserves too little shared memory");
};

template <class F>
M1K_DEVICE void update(const typename F::XT *x, const float *conv_w, const float *conv_bias,
                       const typename F::DT *dt, const float *a, const typename F::BT *b,
                       const typename F::CT *c, const float *d, const typename F::ZT *z,
                       const float *dt_bias, typename F::WT *conv_state, typename F::ST *state,
                       const int *slots, const int *positions, typename F::OT *out, m1_dims dims) {
  using R = UpdateTraits<F>;
  using ST = typename F::ST;
  using WT = typename F::WT;
  constexpr int kVector = R::kVector, kPasses = R::kPasses, kTaps = F::kConvWidth - 1;
  int c0 = blockIdx.x * R::kChannels;
  int channels = min(R::kChannels, F::kChannelCount - c0);
  int group0 = c0 / F::kGroup;
  int lane = threadIdx.x % R::kLanes, local0 = threadIdx.x / R::kLanes, n0 = lane * kVector;
  int first = blockIdx.y * F::kSequences, last = min(first + F::kSequences, dims.sequences);

  float rate[F::kHeadwise ? 1 : kPasses][kVector] = {}; // states past N must decay to numbers
  if constexpr (!F::kHeadwise) {
#pragma unroll
    for (int p = 0; p < kPasses; ++p) {
      int local = local0 + p * R::kPass;
      if (R::kVectors) {
        if (local < channels && n0 < F::kN)
          load_floats<kVector>(rate[p], a + (c0 + local) * F::kN + n0);
      } else {
#pragma unroll
        for (int i = 0; i < kVector; ++i)
          rate[p][i] = local < channels && n0 + i < F::kN ? a[(c0 + local) * F::kN + n0 + i] : 0.0f;
      }
#pragma unroll
      for (int i = 0; i < kVector; ++i)
        rate[p][i] *= kLog2E;
    }
  }

  // What a thread prepares: channels threadIdx.x, + kThreads, … and as many of B's and C's values.
  constexpr int kMine = ceil_div(R::kChannels, R::kThreads),
                kWide = ceil_div(R::kGroups * R::kPadded, R::kThreads);
  constexpr int kSources = F::kChannelCount / F::kXRepeat;
  struct Vectors {
    int source;
    float skip, bias, rate, filter[F::kConv ? F::kConvWidth : 1], filter_bias;
  } vectors[kMine];
#pragma unroll
  for (int m = 0; m < kMine; ++m) {
    int j = threadIdx.x + m * R::kThreads, channel = c0 + (j < channels ? j : 0),
        head = channel / F::kHead;
    int index = F::kHeadwise ? head : channel;
    Vectors &v = vectors[m];
    v.source = F::kXRepeat > 1
                   ? channel / F::kXGroup / F::kXRepeat * F::kXGroup + channel % F::kXGroup
                   : channel;
    v.skip = F::kHasD ? d[index] : 0.0f;
    v.bias = F::kHasDtBias ? dt_bias[index] : 0.0f;
    v.rate = F::kHeadwise ? a[head] * kLog2E : 0.0f;
    if constexpr (F::kConv) {
      int filter = F::kConvRepeated ? channel : v.source;
#pragma unroll
      for (int k = 0; k < F::kConvWidth; ++k)
        v.filter[k] = conv_w[filter * F::kConvWidth + k];
      v.filter_bias = F::kHasConvBias ? conv_bias[filter] : 0.0f;
    }
  }

  auto state_of = [&](int sequence, int local) {
    return state +
           (static_cast<long long>(slots[sequence]) * F::kChannelCount + c0 + local) * F::kN + n0;
  };
  auto window = [&](int sequence, int source) {
    return conv_state + static_cast<long long>(slots[sequence]) * kTaps * kSources + source;
  };
  Pack<ST, kVector> next[kPasses];
  typename F::XT next_x[kMine];
  typename F::ZT next_z[kMine];
  typename F::BT next_b[kWide];
  typename F::CT next_c[kWide];
  WT next_taps[kMine][F::kConv && kTaps > 0 ? kTaps : 1];
  typename F::DT next_dt[kMine];
  auto fetch = [&](int sequence) {
    long long row = sequence; // one token a sequence
    bool fresh = positions[sequence] == 0;
#pragma unroll
    for (int m = 0; m < kMine; ++m) {
      int j = threadIdx.x + m * R::kThreads, channel = c0 + (j < channels ? j : 0);
      next_x[m] = x[row * F::kXStride + vectors[m].source];
      next_dt[m] = dt[row * F::kDtStride + (F::kHeadwise ? channel / F::kHead : channel)];
      if constexpr (F::kHasZ)
        next_z[m] = z[row * F::kZStride + channel];
      if constexpr (F::kConv) {
#pragma unroll
        for (int k = 0; k < kTaps; ++k)
          next_taps[m][k] =
              fresh ? from_float<WT>(0.0f) : window(sequence, vectors[m].source)[k * kSources];
      }
    }
#pragma unroll
    for (int m = 0; m < kWide; ++m) {
      int i = threadIdx.x + m * R::kThreads, h = i / R::kPadded, n = i % R::kPadded,
          group = group0 + h;
      bool valid = h < R::kGroups && group < R::kGroupCount && n < F::kN;
      next_b[m] = valid ? b[row * F::kBStride + group / F::kBShare * F::kN + n]
                        : from_float<typename F::BT>(0.0f);
      next_c[m] = valid ? c[row * F::kCStride + group / F::kCShare * F::kN + n]
                        : from_float<typename F::CT>(0.0f);
    }
#pragma unroll
    for (int p = 0; p < kPasses; ++p) {
      int local = local0 + p * R::kPass;
      bool valid = !fresh && local < channels && n0 < F::kN;
      const ST *from = state_of(sequence, local);
      if (R::kVectors && valid) {
        next[p] = *reinterpret_cast<const Pack<ST, kVector> *>(from);
      } else {
#pragma unroll
        for (int i = 0; i < kVector; ++i)
          next[p].v[i] = valid && n0 + i < F::kN ? from[i] : from_float<ST>(0.0f);
      }
    }
  };
  if (first < last)
    fetch(first);

  for (int sequence = first; sequence < last; ++sequence) {
    float *buffer =
        reinterpret_cast<float *>(m1k_shared) + ((sequence - first) & 1) * R::kBufferFloats;
    float *decay_in = buffer, *input = buffer + R::kChannels, *skipped = input + R::kChannels,
          *gate = skipped + R::kChannels;
    float *wide_b = gate + R::kChannels, *wide_c = wide_b + R::kGroups * R::kPadded;
    long long row = sequence;
    bool fresh = positions[sequence] == 0;

#pragma unroll
    for (int m = 0; m < kMine; ++m) {
      int j = threadIdx.x + m * R::kThreads;
      if (j >= channels)
        break;
      const Vectors &v = vectors[m];
      float xv = to_float(next_x[m]);
      if constexpr (F::kConv) {
        float sum = v.filter_bias + v.filter[kTaps] * xv;
#pragma unroll
        for (int k = 0; k < kTaps; ++k)
          sum += v.filter[k] * to_float(next_taps[m][k]);
        xv = F::kConvSilu ? silu(sum) : sum;
      }
      float delta = to_float(next_dt[m]) + v.bias;
      if (F::kSoftplus)
        delta = softplus(delta);
      decay_in[j] = F::kHeadwise ? ex2(delta * v.rate) : delta;
      input[j] = delta * xv;
      skipped[j] = v.skip * xv;
      gate[j] = F::kHasZ ? silu(to_float(next_z[m])) : 1.0f;
    }
#pragma unroll
    for (int m = 0; m < kWide; ++m) {
      int i = threadIdx.x + m * R::kThreads;
      if (i < R::kGroups * R::kPadded) {
        wide_b[i] = to_float(next_b[m]);
        wide_c[i] = to_float(next_c[m]);
      }
    }
    __syncthreads();

    Pack<ST, kVector> current[kPasses];
#pragma unroll
    for (int p = 0; p < kPasses; ++p)
      current[p] = next[p];
    if (sequence + 1 < last)
      fetch(sequence + 1);

    if constexpr (F::kConv) {
      // Every reader of the old window is behind the barrier.
      for (int j = threadIdx.x; j < channels / F::kXRepeat; j += R::kThreads) {
        int source = c0 / F::kXRepeat + j;
        WT *taps = window(sequence, source);
#pragma unroll
        for (int k = 0; k + 1 < kTaps; ++k)
          taps[k * kSources] = fresh ? from_float<WT>(0.0f) : taps[(k + 1) * kSources];
        if (kTaps > 0)
          taps[(kTaps - 1) * kSources] = convert<WT>(x[row * F::kXStride + source]);
      }
    }

#pragma unroll
    for (int p = 0; p < kPasses; ++p) {
      int local = local0 + p * R::kPass;
      bool valid = local < channels;
      int safe = valid ? local : 0;
      int h = (c0 + safe) / F::kGroup - group0;
      float decay = decay_in[safe], u = input[safe], y = 0.0f, s[kVector];
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        float keep = F::kHeadwise ? decay : ex2(decay * rate[F::kHeadwise ? 0 : p][i]);
        s[i] = keep * to_float(current[p].v[i]) + u * wide_b[h * R::kPadded + n0 + i];
        y += s[i] * wide_c[h * R::kPadded + n0 + i];
      }
      if (valid && n0 < F::kN) {
        ST *to = state_of(sequence, local);
        if (R::kVectors) {
          store_floats<kVector>(to, s);
        } else {
#pragma unroll
          for (int i = 0; i < kVector; ++i)
            if (n0 + i < F::kN)
              to[i] = from_float<ST>(s[i]);
        }
      }
      y = lane_sum<R::kLanes>(y);
      if (valid && lane == 0)
        out[row * F::kOutStride + c0 + local] =
            from_float<typename F::OT>((y + skipped[safe]) * gate[safe]);
    }
  }
}

} // namespace m1k

#endif
