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
// For few sequences it does more, so that a step has fewer launches that wait for one another:
//  - dt comes from a row of kDtRank columns, whose product with the weights of its own channels
//    each block makes first, for all of its sequences; an RMS norm of that row scales the sums.
//  - B and C of kN columns go through an RMS norm each on their way to shared memory.
//  - B and C are columns of the convolution as x is (kConvWide). Every block convolves those that
//    it reads. They are shared by the channels of whole heads, so the last of the blocks that read
//    them moves their windows on: each counts itself in `counters` when it has read them, which a
//    launch at the step's beginning has cleared (clear_counters).
//  - The gate is followed by an RMS norm of whole heads that the block owns, or by what one of all
//    channels leaves to the product behind it: the values times its weight, and for each block the
//    sum of squares (as in linear.cuh).
// Launched early (kEarly) it asks for weights and states before it waits: no launch of the step
// before it writes them, and the step's first launches wait for all that came before. The next
// launch may begin when its inputs have arrived.
//
// Facts F: XT, DT, BT, CT, ZT, OT, ST; kChannelCount, kGroup, kBShare, kCShare, kXGroup, kXRepeat,
// kN, kHeadwise, kHead, strides, kHasD, kHasZ, kHasDtBias, kSoftplus as in scan.cuh; kConv, WT
// (type of its window), kConvWidth, kConvRepeated (a filter for each channel, not for each input
// channel), kHasConvBias, kConvSilu, kConvWide, kConvInputs (columns of the window), kXColumn,
// kBColumn, kCColumn (in it and in its filters); kDtRank (0: dt is there), DWT (type of its
// weights); kDtNorm, kBNorm, kCNorm (0: none, 1: an RMS norm, 2: one with a weight), dt_eps(),
// b_eps(), c_eps(); kNorm (0: none, 1: of runs of kNormSize channels, 2: what a norm of all
// leaves), kNormShared (a weight for all runs), norm_eps(), kSquares (floats of a row of sums of
// squares); kCounters (of a sequence, in all launches); kEarly; tuning: kLanes, kVector, kChannels,
// kThreads, kSequences, kDtRun (columns of a load of dt's weights).
#ifndef M1K_UPDATE_CUH
#define M1K_UPDATE_CUH

#include "conv_step.cuh"

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
  // Channels that share heads of B and C with no others, and the blocks that read those heads.
  static constexpr int kShared = F::kGroup * F::kBShare * F::kCShare,
                       kReaders = ceil_div(kShared, kChannels);
  // Per buffer: four values a channel, B and C of each group, results before the norm.
  static constexpr int kBufferFloats = kChannels * (F::kNorm ? 5 : 4) + 2 * kGroups * kPadded;
  // Then dt of all sequences, the norm's weights, and whether the block was the last.
  static constexpr int kDtFloats = F::kDtRank > 0 ? F::kSequences *kChannels : 0;
  static constexpr int kSharedBytes =
      (2 * kBufferFloats + kDtFloats + (F::kNorm ? kChannels : 0) + 1) * 4;

  static_assert((kLanes & (kLanes - 1)) == 0 && kLanes <= 32 && kThreads % 32 == 0,
                "whole warps of power-of-two groups");
  static_assert(kPadded >= F::kN, "lanes and vector must cover the states");
  // Heads of x that repeat in more than a block, among the channels that share B and C.
  static constexpr bool kXShared =
      F::kConvWide && F::kXRepeat > 1 && kChannels % (F::kXRepeat * F::kXGroup) != 0;
  static_assert(!F::kConv || F::kXRepeat == 1 ||
                    (kXShared ? kShared : kChannels) % (F::kXRepeat * F::kXGroup) == 0,
                "all readers of an input channel move its window");
  static_assert(!F::kConvWide || F::kGroup % kChannels == 0, "a block is inside of a group");
  static_assert(!(F::kBNorm || F::kCNorm) || (kPadded <= 32 && kGroupCount == 1),
                "a norm's columns are lanes of a warp");
  static_assert(!F::kNorm || F::kChannelCount % kChannels == 0, "blocks are whole");
  static_assert(F::kNorm != 1 || kChannels % F::kNormSize == 0, "a block owns whole norms");
  static_assert(kSharedBytes <= F::kSharedBytes, "the launch reserves too little shared memory");
};

// dt of the block's channels: kTeam lanes share a channel, whose weights they hold for all of the
// block's sequences.
template <class F> struct DtProjection {
  using DWT = typename F::DWT;
  static constexpr int kTeam = 8, kRun = F::kDtRun, kPass = F::kThreads / kTeam;
  static constexpr int kRuns = max_of(1, ceil_div(F::kDtRank, kRun *kTeam)),
                       kPasses = ceil_div(F::kChannels, kPass);
  Pack<DWT, kRun> weight[kPasses][kRuns];

  static M1K_DEVICE int column_of(int run) {
    return (run * kTeam + int(threadIdx.x) % kTeam) * kRun;
  }
  M1K_DEVICE void load(const DWT *w, int c0, int channels) {
#pragma unroll
    for (int p = 0; p < kPasses; ++p)
#pragma unroll
      for (int r = 0; r < kRuns; ++r) {
        const int local = min(p * kPass + int(threadIdx.x) / kTeam, channels - 1),
                  column = min(column_of(r), F::kDtRank - kRun);
        weight[p][r] = *reinterpret_cast<const Pack<DWT, kRun> *>(
            w + static_cast<long long>(c0 + local) * F::kDtRank + column);
      }
  }
  M1K_DEVICE void project(float *to, const typename F::DT *row, const float *norm_weight,
                          int channels) const {
    float values[kRuns][kRun], squares = 0.0f, factor = 1.0f;
#pragma unroll
    for (int r = 0; r < kRuns; ++r) {
      const int column = column_of(r);
      if (column < F::kDtRank) {
        load_anywhere<kRun>(values[r], row + column);
      } else {
#pragma unroll
        for (int e = 0; e < kRun; ++e)
          values[r][e] = 0.0f;
      }
      if constexpr (F::kDtNorm > 0) {
#pragma unroll
        for (int e = 0; e < kRun; ++e) {
          squares += values[r][e] * values[r][e];
          if (F::kDtNorm == 2 && column < F::kDtRank)
            values[r][e] *= norm_weight[column + e];
        }
      }
    }
    if constexpr (F::kDtNorm > 0)
      factor = rsqrtf(lane_sum<kTeam>(squares) * (1.0f / F::kDtRank) + F::dt_eps());
#pragma unroll
    for (int p = 0; p < kPasses; ++p) {
      float sum = 0.0f;
#pragma unroll
      for (int r = 0; r < kRuns; ++r)
#pragma unroll
        for (int e = 0; e < kRun; ++e)
          sum += to_float(weight[p][r].v[e]) * values[r][e];
      sum = lane_sum<kTeam>(sum);
      const int local = p * kPass + threadIdx.x / kTeam;
      if (threadIdx.x % kTeam == 0 && local < channels)
        to[local] = sum * factor;
    }
  }
};

// The counters of the step's launches: kCounters, kCounters1 and kCounters2 a sequence.
template <class F>
M1K_DEVICE void clear_counters(int *counters, int *counters_1, int *counters_2, m1_dims dims) {
  auto clear = [&](int *of, int count) {
    for (int i = blockIdx.x * F::kThreads + threadIdx.x; i < dims.sequences * count;
         i += gridDim.x * F::kThreads)
      of[i] = 0;
  };
  clear(counters, F::kCounters);
  clear(counters_1, F::kCounters1);
  clear(counters_2, F::kCounters2);
}

template <class F>
M1K_DEVICE void
update(const typename F::XT *x, const float *conv_w, const float *conv_bias,
       const typename F::DT *dt, const typename F::DWT *dt_w, const float *dt_norm, const float *a,
       const typename F::BT *b, const float *b_norm, const typename F::CT *c, const float *c_norm,
       const float *d, const typename F::ZT *z, const float *dt_bias, const float *norm_w,
       typename F::WT *conv_state, typename F::ST *state, const int *slots, const int *positions,
       typename F::OT *out, float *squares_out, int *counters, m1_dims dims) {
  using R = UpdateTraits<F>;
  using ST = typename F::ST;
  using WT = typename F::WT;
  constexpr int kVector = R::kVector, kPasses = R::kPasses;
  int c0 = blockIdx.x * R::kChannels;
  int channels = min(R::kChannels, F::kChannelCount - c0);
  int group0 = c0 / F::kGroup;
  int lane = threadIdx.x % R::kLanes, local0 = threadIdx.x / R::kLanes, n0 = lane * kVector;
  int first = blockIdx.y * F::kSequences, last = min(first + F::kSequences, dims.sequences);

  [[maybe_unused]] DtProjection<F> projection;
  if constexpr (F::kDtRank > 0)
    projection.load(dt_w, c0, channels);
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
  float *shared = reinterpret_cast<float *>(m1k_shared), *projected = shared + 2 * R::kBufferFloats,
        *norm_weights = projected + R::kDtFloats;
  struct Vectors {
    int source;
    float skip, bias, rate;
    ConvFilter<F> filter;
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
      int filter = F::kConvRepeated ? channel : F::kXColumn + v.source;
      v.filter.load(conv_w, conv_bias, filter);
    }
    if constexpr (F::kNorm > 0)
      if (j < channels)
        norm_weights[j] = norm_w ? norm_w[F::kNormShared ? channel % F::kNormSize : channel] : 1.0f;
  }
  ConvFilter<F> filter_b[kWide], filter_c[kWide];
  // The columns of B's and C's value i of the block: of the convolution, or of their rows.
  auto b_column = [&](int i) {
    return (group0 + i / R::kPadded) / F::kBShare * F::kN + i % R::kPadded +
           (F::kConvWide ? F::kBColumn : 0);
  };
  auto c_column = [&](int i) {
    return (group0 + i / R::kPadded) / F::kCShare * F::kN + i % R::kPadded +
           (F::kConvWide ? F::kCColumn : 0);
  };
  auto has_wide = [&](int i) {
    return i < R::kGroups * R::kPadded && group0 + i / R::kPadded < R::kGroupCount &&
           i % R::kPadded < F::kN;
  };
  if constexpr (F::kConvWide)
#pragma unroll
    for (int m = 0; m < kWide; ++m) {
      int i = threadIdx.x + m * R::kThreads, safe = has_wide(i) ? i : 0;
      filter_b[m].load(conv_w, conv_bias, b_column(safe));
      filter_c[m].load(conv_w, conv_bias, c_column(safe));
    }

  [[maybe_unused]] float *was_last = norm_weights + (F::kNorm ? R::kChannels : 0);
  // 1 over the root of the mean square of the kN values that neighbouring lanes hold.
  [[maybe_unused]] auto norm_of = [&](float value, float eps) {
    return rsqrtf(lane_sum<min_of(R::kPadded, 32)>(value * value) * (1.0f / F::kN) + eps);
  };
  auto state_of = [&](int sequence, int local) {
    return state +
           (static_cast<long long>(slots[sequence]) * F::kChannelCount + c0 + local) * F::kN + n0;
  };
  using Step = ConvStep<F>;
  auto read_taps = [&](WT(&to)[Step::kMost], int sequence, int column) {
    Step::read(to, Step::window(conv_state, slots[sequence], column), positions[sequence] == 0);
  };
  auto move_window = [&](int sequence, int column) {
    Step::move(Step::window(conv_state, slots[sequence], column), positions[sequence] == 0,
               x[static_cast<long long>(sequence) * F::kXStride + column]);
  };
  // Those of the heads of B and C, and of x, that the block's channels share with others.
  auto move_wide_windows = [&](int sequence) {
    constexpr int kOfX = R::kXShared ? R::kShared / F::kXRepeat : 0, kOfB = F::kCShare * F::kN,
                  kOfC = F::kBShare * F::kN;
    const int share = c0 / R::kShared;
#pragma unroll 1
    for (int i = threadIdx.x; i < kOfX + kOfB + kOfC; i += R::kThreads)
      move_window(sequence, i < kOfX          ? F::kXColumn + share * kOfX + i
                            : i < kOfX + kOfB ? F::kBColumn + share * kOfB + i - kOfX
                                              : F::kCColumn + share * kOfC + i - kOfX - kOfB);
  };
  Pack<ST, kVector> next[kPasses];
  typename F::XT next_x[kMine];
  typename F::ZT next_z[kMine];
  typename F::BT next_b[kWide];
  typename F::CT next_c[kWide];
  WT next_taps[kMine][Step::kMost], taps_b[kWide][Step::kMost], taps_c[kWide][Step::kMost];
  typename F::DT next_dt[kMine];
  auto fetch_states = [&](int sequence) {
    bool fresh = positions[sequence] == 0;
    if constexpr (F::kConv) {
#pragma unroll
      for (int m = 0; m < kMine; ++m)
        read_taps(next_taps[m], sequence, F::kXColumn + vectors[m].source);
    }
    if constexpr (F::kConvWide) {
#pragma unroll
      for (int m = 0; m < kWide; ++m) {
        int i = threadIdx.x + m * R::kThreads, safe = has_wide(i) ? i : 0;
        read_taps(taps_b[m], sequence, b_column(safe));
        read_taps(taps_c[m], sequence, c_column(safe));
      }
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
  auto fetch_inputs = [&](int sequence) {
    long long row = sequence; // one token a sequence
#pragma unroll
    for (int m = 0; m < kMine; ++m) {
      int j = threadIdx.x + m * R::kThreads, channel = c0 + (j < channels ? j : 0);
      next_x[m] = x[row * F::kXStride + F::kXColumn + vectors[m].source];
      if constexpr (F::kDtRank == 0)
        next_dt[m] = dt[row * F::kDtStride + (F::kHeadwise ? channel / F::kHead : channel)];
      if constexpr (F::kHasZ)
        next_z[m] = z[row * F::kZStride + channel];
    }
#pragma unroll
    for (int m = 0; m < kWide; ++m) {
      int i = threadIdx.x + m * R::kThreads;
      if constexpr (F::kConvWide) {
        next_b[m] =
            has_wide(i) ? x[row * F::kXStride + b_column(i)] : from_float<typename F::BT>(0.0f);
        next_c[m] =
            has_wide(i) ? x[row * F::kXStride + c_column(i)] : from_float<typename F::CT>(0.0f);
      } else {
        next_b[m] =
            has_wide(i) ? b[row * F::kBStride + b_column(i)] : from_float<typename F::BT>(0.0f);
        next_c[m] =
            has_wide(i) ? c[row * F::kCStride + c_column(i)] : from_float<typename F::CT>(0.0f);
      }
    }
  };
  if constexpr (F::kEarly) {
    if (first < last)
      fetch_states(first);
    x = wait_for_predecessors(x);
    dt = wait_for_predecessors(dt);
    b = wait_for_predecessors(b);
    c = wait_for_predecessors(c);
    z = wait_for_predecessors(z);
    counters = wait_for_predecessors(counters);
    if (first < last)
      fetch_inputs(first);
  } else if (first < last) { // what is needed first
    fetch_inputs(first);
    fetch_states(first);
  }
  if constexpr (F::kDtRank > 0) {
    for (int sequence = first; sequence < last; ++sequence)
      projection.project(projected + (sequence - first) * R::kChannels,
                         dt + static_cast<long long>(sequence) * F::kDtStride, dt_norm, channels);
  }
  if constexpr (F::kDtRank > 0)
    __syncthreads();

  for (int sequence = first; sequence < last; ++sequence) {
    float *buffer = shared + ((sequence - first) & 1) * R::kBufferFloats;
    float *decay_in = buffer, *input = buffer + R::kChannels, *skipped = input + R::kChannels,
          *gate = skipped + R::kChannels;
    float *wide_b = gate + R::kChannels, *wide_c = wide_b + R::kGroups * R::kPadded;
    [[maybe_unused]] float *results = wide_c + R::kGroups * R::kPadded;
    long long row = sequence;

#pragma unroll
    for (int m = 0; m < kMine; ++m) {
      int j = threadIdx.x + m * R::kThreads;
      if (j >= channels)
        break;
      const Vectors &v = vectors[m];
      float xv = to_float(next_x[m]);
      if constexpr (F::kConv)
        xv = v.filter.apply(next_taps[m], xv);
      float delta = v.bias;
      if constexpr (F::kDtRank > 0)
        delta += projected[(sequence - first) * R::kChannels + j];
      else
        delta += to_float(next_dt[m]);
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
      float value_b = to_float(next_b[m]), value_c = to_float(next_c[m]);
      if constexpr (F::kConvWide) {
        value_b = filter_b[m].apply(taps_b[m], value_b);
        value_c = filter_c[m].apply(taps_c[m], value_c);
      }
      if constexpr (F::kBNorm > 0)
        value_b *=
            norm_of(value_b, F::b_eps()) * (F::kBNorm == 2 && has_wide(i) ? b_norm[i] : 1.0f);
      if constexpr (F::kCNorm > 0)
        value_c *=
            norm_of(value_c, F::c_eps()) * (F::kCNorm == 2 && has_wide(i) ? c_norm[i] : 1.0f);
      if (i < R::kGroups * R::kPadded) {
        wide_b[i] = has_wide(i) ? value_b : 0.0f;
        wide_c[i] = has_wide(i) ? value_c : 0.0f;
      }
    }
    __syncthreads();
    if (F::kEarly && sequence + 1 == last)
      launch_successor();
    [[maybe_unused]] int arrived = 0;
    if constexpr (F::kConvWide && R::kReaders > 1)
      if (threadIdx.x == 0) {
        __threadfence();
        arrived = atomicAdd(counters + row * F::kCounters + c0 / R::kShared, 1);
      }

    Pack<ST, kVector> current[kPasses];
#pragma unroll
    for (int p = 0; p < kPasses; ++p)
      current[p] = next[p];
    if (F::kSequences > 1 && sequence + 1 < last) {
      fetch_inputs(sequence + 1);
      fetch_states(sequence + 1);
    }

    if constexpr (F::kConv) {
      // Every reader of the old window is behind the barrier.
      for (int j = threadIdx.x; !R::kXShared && j < channels / F::kXRepeat; j += R::kThreads)
        move_window(sequence, F::kXColumn + c0 / F::kXRepeat + j);
      if constexpr (F::kConvWide && R::kReaders == 1)
        move_wide_windows(sequence);
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
      if (valid && lane == 0) {
        const float result = (y + skipped[safe]) * gate[safe];
        if constexpr (F::kNorm > 0)
          results[local] = result;
        else
          out[row * F::kOutStride + c0 + local] = from_float<typename F::OT>(result);
      }
    }

    if constexpr (F::kConvWide && R::kReaders > 1)
      if (threadIdx.x == 0)
        was_last[0] = arrived == R::kReaders - 1;
    if constexpr (F::kNorm > 0 || (F::kConvWide && R::kReaders > 1))
      __syncthreads();
    if constexpr (F::kNorm > 0) {
      // Of whole blocks: as small as it is, the code is fetched anew in every launch.
      constexpr int kRun = F::kNorm == 1 ? F::kNormSize : R::kChannels, kSteps = ceil_div(kRun, 32);
      const int thread = threadIdx.x % 32;
#pragma unroll 1
      for (int run = threadIdx.x / 32; run < R::kChannels / kRun; run += R::kThreads / 32) {
        float values[kSteps], sum = 0.0f, factor = 1.0f;
#pragma unroll
        for (int i = 0; i < kSteps; ++i) {
          const int j = i * 32 + thread;
          values[i] = j < kRun ? results[run * kRun + j] : 0.0f;
          sum += values[i] * values[i];
        }
        sum = lane_sum<32>(sum);
        if constexpr (F::kNorm == 1) {
          factor = rsqrtf(sum * (1.0f / kRun) + F::norm_eps());
        } else {
          // The last block fills the row up to its multiple.
          const bool last_block = blockIdx.x + 1 == gridDim.x;
          const int i = blockIdx.x + thread;
          if (thread == 0 || (last_block && i < F::kSquares))
            squares_out[row * F::kSquares + i] = thread == 0 ? sum : 0.0f;
        }
#pragma unroll
        for (int i = 0; i < kSteps; ++i) {
          const int j = run * kRun + i * 32 + thread;
          if (i * 32 + thread < kRun)
            out[row * F::kOutStride + c0 + j] =
                from_float<typename F::OT>(values[i] * factor * norm_weights[j]);
        }
      }
    }
    if constexpr (F::kConvWide && R::kReaders > 1)
      if (was_last[0]) {
        __threadfence();
        move_wide_windows(sequence);
      }
  }
}

} // namespace m1k

#endif
