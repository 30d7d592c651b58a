// Prefill scan of Mamba-1, and of Mamba-2 where its tensor-core kernel does not apply (f32
// activations, odd sizes): softplus, recurrence, skip and gate in one pass over the inputs.
//
// Grid (ceil(channels / kChannels), S). A block owns kChannels channels of one sequence and walks
// its tokens in tiles of kTile. Its warps have two roles, so that the recurrence never waits for
// what surrounds it. While the main warps run tile i, the helpers finish tile i - 1 (skip, gate,
// store), prepare tile i + 1 (Δ and Δ·x of each channel, B and C widened to f32) and start the
// copies of tile i + 2; one barrier a tile. In the main warps kLanes lanes share a channel, each
// with kStates of its N states in registers; the partial sums over N of kLanes steps are reduced
// together by a transposing butterfly, one exchange a step instead of log2(kLanes).
//
// A launch is for steps of kFewest to kMost sequences; other steps are another launch's, of another
// shape.
//
// Facts F: XT, DT, BT, CT, ZT, OT, ST, the types of x, Δ, B, C, z, out and the state;
// kChannelCount; kGroup, the neighbouring channels that share what they read of B and of C; kBShare
// and kCShare, the groups that one head of B and of C serves; kXGroup and kXRepeat: each kXGroup
// columns of x stand kXRepeat times in a row; kN; kHeadwise (A, Δ, D one a head of kHead channels);
// strides, kHasD, kHasZ, kHasDtBias, kSoftplus; tuning: kFewest, kMost, kLanes, kMainWarps,
// kHelperWarps, kTile, kUnroll (groups of kLanes steps).
#ifndef M1K_SCAN_CUH
#define M1K_SCAN_CUH

#include "common.cuh"

namespace m1k {

template <class F> struct ScanTraits {
  static constexpr int kLanes = F::kLanes;
  static constexpr int kStates = ceil_div(F::kN, kLanes);
  static constexpr int kMain = F::kMainWarps * 32, kHelpers = F::kHelperWarps * 32;
  static constexpr int kChannels = kMain / kLanes;
  static constexpr int kTile = F::kTile;
  static constexpr int kStages = 3; // tiles of raw input: being finished, being computed, arriving
  static constexpr int kGroups = runs_of(kChannels, F::kGroup, F::kChannelCount);
  static constexpr int kGroupCount = F::kChannelCount / F::kGroup;
  // Columns of Δ that a block needs: one a channel, or one a head.
  static constexpr int kDtColumns =
      F::kHeadwise ? runs_of(kChannels, F::kHead, F::kChannelCount) : kChannels;
  static constexpr int kXVector = 16 / int(sizeof(typename F::XT)),
                       kBVector = 16 / int(sizeof(typename F::BT)),
                       kCVector = 16 / int(sizeof(typename F::CT)),
                       kZVector = 16 / int(sizeof(typename F::ZT)),
                       kOutVector = 16 / int(sizeof(typename F::OT));
  // 16 bytes of padding, so that neighbouring rows begin in different banks.
  static constexpr int kXRow = round_up(kChannels, kXVector) + kXVector;
  static constexpr int kZRow = round_up(kChannels, kZVector) + kZVector;
  static constexpr int kDtRow = round_up(kDtColumns, 8) + 8;
  static constexpr int kBcRow = kGroups * F::kN; // B or C of one token, as loaded
  static constexpr int kWideRow = kGroups * kLanes * kStates * 2;
  static constexpr bool whole(int vector) {
    return F::kChannelCount % vector == 0 && kChannels % vector == 0;
  }
  static constexpr bool kVectorX = whole(kXVector) && F::kXStride % kXVector == 0 &&
                                   (F::kXRepeat == 1 || F::kXGroup % kXVector == 0);
  static constexpr bool kVectorZ = whole(kZVector) && F::kZStride % kZVector == 0;
  static constexpr bool kVectorOut = whole(kOutVector) && F::kOutStride % kOutVector == 0;
  static constexpr int kDtVector = 16 / int(sizeof(typename F::DT));
  static constexpr bool kVectorDt = !F::kHeadwise && F::kChannelCount % kDtVector == 0 &&
                                    kChannels % kDtVector == 0 && F::kDtStride % kDtVector == 0;
  static constexpr bool kVectorB = F::kN % kBVector == 0 && F::kBStride % kBVector == 0;
  static constexpr bool kVectorC = F::kN % kCVector == 0 && F::kCStride % kCVector == 0;

  // Shared memory: kStages × (x, z, dt, B, C); two buffers each of wide B and C, of Δ and Δ·x, and
  // of sums; D and the bias of Δ.
  static constexpr int kXBytes = kTile * kXRow * int(sizeof(typename F::XT));
  static constexpr int kZBytes = F::kHasZ ? kTile * kZRow * int(sizeof(typename F::ZT)) : 0;
  static constexpr int kDtBytes = kTile * kDtRow * int(sizeof(typename F::DT));
  static constexpr int kBBytes = round_up(kTile * kBcRow * int(sizeof(typename F::BT)), 16);
  static constexpr int kCBytes = round_up(kTile * kBcRow * int(sizeof(typename F::CT)), 16);
  static constexpr int kStageBytes = kXBytes + kZBytes + kDtBytes + kBBytes + kCBytes;
  static constexpr int kWideBytes = round_up(kTile * kWideRow * 4, 16);
  static constexpr int kStepBytes = round_up(kTile * kChannels * 8, 16);
  static constexpr int kSumBytes = round_up(kTile * kChannels * 4, 16);
  static constexpr int kSharedBytes = kStages * kStageBytes +
                                      2 * (kWideBytes + kStepBytes + kSumBytes) +
                                      2 * round_up(kChannels * 4, 16);

  static_assert((kLanes & (kLanes - 1)) == 0 && kLanes <= 32, "lanes of a channel: a power of two");
  static_assert(kTile % kLanes == 0, "a tile is whole groups of kLanes steps");
  static_assert(kSharedBytes <= F::kSharedBytes, "the launch reserves too little shared memory");
};

// Partial sums v[j] of step j in every lane of a group → lane l of the group gets the sum over the
// group of v[l].
template <int half, int lanes> M1K_DEVICE void transpose_step(float (&v)[lanes], int lane) {
  if constexpr (half > 0) {
    bool upper = lane & half;
#pragma unroll
    for (int j = 0; j < half; ++j) {
      float low = v[j], high = v[j + half];
      v[j] = (upper ? high : low) + __shfl_xor_sync(0xffffffffu, upper ? low : high, half);
    }
    transpose_step<half / 2>(v, lane);
  }
}
template <int lanes> M1K_DEVICE float transpose_sum(float (&v)[lanes]) {
  transpose_step<lanes / 2>(v, threadIdx.x & (lanes - 1));
  return v[0];
}

template <class F>
M1K_DEVICE void scan(const typename F::XT *x, const typename F::DT *dt, const float *a,
                     const typename F::BT *b, const typename F::CT *c, const float *d,
                     const typename F::ZT *z, const float *dt_bias, typename F::ST *state,
                     const int *sequence_starts, const int *slots, const int *positions,
                     typename F::OT *out, m1_dims dims) {
  using R = ScanTraits<F>;
  using XT = typename F::XT;
  using DT = typename F::DT;
  using BT = typename F::BT;
  using CT = typename F::CT;
  using ZT = typename F::ZT;
  constexpr int kStates = R::kStates, kLanes = R::kLanes, kTile = R::kTile,
                kChannels = R::kChannels;

  int sequence = blockIdx.y;
  if (sequence >= dims.sequences || dims.sequences < F::kFewest || dims.sequences > F::kMost)
    return;
  int start = sequence_starts[sequence], end = sequence_starts[sequence + 1];
  if (start >= end)
    return;
  int c0 = blockIdx.x * kChannels, channels = min(kChannels, F::kChannelCount - c0),
      group0 = c0 / F::kGroup, head0 = c0 / F::kHead;
  int tiles = (end - start + kTile - 1) / kTile;

  unsigned char *region = m1k_shared + R::kStages * R::kStageBytes;
  float *wide_buffers = reinterpret_cast<float *>(region);
  float2 *step_buffers = reinterpret_cast<float2 *>(region + 2 * R::kWideBytes);
  float *sum_buffers = reinterpret_cast<float *>(region + 2 * (R::kWideBytes + R::kStepBytes));
  float *skips =
      reinterpret_cast<float *>(region + 2 * (R::kWideBytes + R::kStepBytes + R::kSumBytes));
  float *biases = skips + round_up(kChannels * 4, 16) / 4;
  auto wait_all = [] { named_barrier<2, R::kMain + R::kHelpers>(); };
  auto wide = [&](int tile) { return wide_buffers + (tile & 1) * (R::kWideBytes / 4); };
  auto steps = [&](int tile) { return step_buffers + (tile & 1) * (R::kStepBytes / 8); };
  auto sums = [&](int tile) { return sum_buffers + (tile & 1) * (R::kSumBytes / 4); };

  if (threadIdx.x < R::kMain) {
    int local = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
    bool active = local < channels;
    int channel = c0 + (active ? local : 0);
    // A in units of log2, so that the decay is one ex2. Channels and states past the end stay at
    // zero input.
    float rate[kStates], s[kStates];
    bool fresh = positions[start] == 0;
    long long state_offset =
        (static_cast<long long>(slots[sequence]) * F::kChannelCount + channel) * F::kN;
#pragma unroll
    for (int i = 0; i < kStates; ++i) {
      int n = lane * kStates + i;
      bool valid = active && n < F::kN;
      rate[i] =
          valid ? (F::kHeadwise ? a[channel / F::kHead] : a[channel * F::kN + n]) * kLog2E : 0.0f;
      s[i] = valid && !fresh ? to_float(state[state_offset + n]) : 0.0f;
    }
    wait_all();
    for (int tile = 0; tile < tiles; ++tile) {
      const float *from = wide(tile) + (channel / F::kGroup - group0) * (kLanes * kStates * 2) +
                          lane * (2 * kStates);
      const float2 *step_of = steps(tile) + local;
      float *sum_of = sums(tile) + lane * kChannels + local;
      // Sums are stored once a run of kUnroll groups: a store between them would keep the next
      // group's loads behind it.
#pragma unroll 1
      for (int run = 0; run < kTile; run += kLanes * F::kUnroll) {
        float results[F::kUnroll];
#pragma unroll
        for (int u = 0; u < F::kUnroll; ++u) {
          int group = run + u * kLanes;
          float y[kLanes];
#pragma unroll
          for (int j = 0; j < kLanes; ++j) {
            float2 step = step_of[(group + j) * kChannels];
            float bc[2 * kStates];
            const float *values = from + (group + j) * R::kWideRow;
            if constexpr (kStates % 2 == 0) {
#pragma unroll
              for (int k = 0; k < kStates; k += 2) {
                float4 v = reinterpret_cast<const float4 *>(values)[k / 2];
                bc[2 * k] = v.x, bc[2 * k + 1] = v.y, bc[2 * k + 2] = v.z, bc[2 * k + 3] = v.w;
              }
            } else {
#pragma unroll
              for (int k = 0; k < kStates; ++k) {
                float2 v = reinterpret_cast<const float2 *>(values)[k];
                bc[2 * k] = v.x, bc[2 * k + 1] = v.y;
              }
            }
            float sum = 0.0f, common = 0.0f;
            if (F::kHeadwise)
              common = ex2(step.x * rate[0]);
#pragma unroll
            for (int k = 0; k < kStates; ++k) {
              float decay = F::kHeadwise ? common : ex2(step.x * rate[k]);
              s[k] = decay * s[k] + step.y * bc[k];
              sum += s[k] * bc[kStates + k];
            }
            y[j] = sum;
          }
          results[u] = transpose_sum<kLanes>(y);
        }
#pragma unroll
        for (int u = 0; u < F::kUnroll; ++u)
          sum_of[(run + u * kLanes) * kChannels] = results[u];
      }
      wait_all();
    }
#pragma unroll
    for (int i = 0; i < kStates; ++i) {
      int n = lane * kStates + i;
      if (active && n < F::kN)
        state[state_offset + n] = from_float<typename F::ST>(s[i]);
    }
    return;
  }

  // Helpers.
  int thread = threadIdx.x - R::kMain;
  constexpr int kThreads = R::kHelpers;
  auto wait_helpers = [] { named_barrier<1, kThreads>(); };
  auto stage = [&](int tile) { return m1k_shared + tile % R::kStages * R::kStageBytes; };
  auto stage_x = [&](int tile) { return reinterpret_cast<XT *>(stage(tile)); };
  auto stage_z = [&](int tile) { return reinterpret_cast<ZT *>(stage(tile) + R::kXBytes); };
  auto stage_dt = [&](int tile) {
    return reinterpret_cast<DT *>(stage(tile) + R::kXBytes + R::kZBytes);
  };
  auto stage_b = [&](int tile) {
    return reinterpret_cast<BT *>(stage(tile) + R::kXBytes + R::kZBytes + R::kDtBytes);
  };
  auto stage_c = [&](int tile) {
    return reinterpret_cast<CT *>(stage(tile) + R::kXBytes + R::kZBytes + R::kDtBytes + R::kBBytes);
  };

  int group_limit = min(R::kGroups, R::kGroupCount - group0) * F::kN;
  int dt_first = F::kHeadwise ? head0 : c0,
      dt_limit = F::kHeadwise ? F::kChannelCount / F::kHead - head0 : channels;
  auto x_column = [&](int j) {
    int channel = c0 + j;
    return F::kXRepeat > 1
               ? channel / (F::kXGroup * F::kXRepeat) * F::kXGroup + channel % F::kXGroup
               : channel;
  };
  auto z_column = [&](int j) { return c0 + j; };
  auto dt_column = [&](int j) { return dt_first + j; };
  auto b_column = [&](int j) { return (group0 + j / F::kN) / F::kBShare * F::kN + j % F::kN; };
  auto c_column = [&](int j) {
    return F::kCShare == 1 ? group0 * F::kN + j
                           : (group0 + j / F::kN) / F::kCShare * F::kN + j % F::kN;
  };
  TileCopy<kTile, R::kXRow, kChannels, R::kVectorX, kThreads, XT> copy_x(thread, x, F::kXStride,
                                                                         channels, x_column);
  TileCopy<kTile, R::kZRow, kChannels, R::kVectorZ, kThreads, ZT> copy_z(thread, z, F::kZStride,
                                                                         channels, z_column);
  TileCopy<kTile, R::kDtRow, R::kDtColumns, R::kVectorDt, kThreads, DT> copy_dt(
      thread, dt, F::kDtStride, dt_limit, dt_column);
  TileCopy<kTile, R::kBcRow, R::kBcRow, R::kVectorB, kThreads, BT> copy_b(thread, b, F::kBStride,
                                                                          group_limit, b_column);
  TileCopy<kTile, R::kBcRow, R::kBcRow, R::kVectorC, kThreads, CT> copy_c(thread, c, F::kCStride,
                                                                          group_limit, c_column);
  auto copy = [&](int tile) {
    if (tile < tiles) {
      int first = start + tile * kTile;
      copy_x(thread, stage_x(tile), first, end, channels, x_column);
      if constexpr (F::kHasZ)
        copy_z(thread, stage_z(tile), first, end, channels, z_column);
      copy_dt(thread, stage_dt(tile), first, end, dt_limit, dt_column);
      copy_b(thread, stage_b(tile), first, end, group_limit, b_column);
      copy_c(thread, stage_c(tile), first, end, group_limit, c_column);
    }
    copy_async_commit();
  };

  // Δ and Δ·x of a tile, and [token][head][lane][kStates of B, kStates of C] with zeros past N.
  auto prepare = [&](int tile) {
    constexpr int W = kChannels % 2 == 0 ? 2 : 1;
    const XT *raw_x = stage_x(tile);
    const BT *raw_b = stage_b(tile);
    const CT *raw_c = stage_c(tile);
    const DT *raw_dt = stage_dt(tile);
    float2 *to_steps = steps(tile);
    float *to_wide = wide(tile);
    int rows = end - start - tile * kTile;
    walk_tile<kTile, kChannels / W, kThreads>(thread, [&](int t, int piece) {
      int j = piece * W;
      float xv[W], delta[W];
      load_floats<W>(xv, raw_x + t * R::kXRow + j);
      if constexpr (F::kHeadwise) {
#pragma unroll
        for (int k = 0; k < W; ++k)
          delta[k] = to_float(
              raw_dt[t * R::kDtRow + min((c0 + j + k) / F::kHead - head0, R::kDtColumns - 1)]);
      } else {
        load_floats<W>(delta, raw_dt + t * R::kDtRow + j);
      }
      float2 step[W];
#pragma unroll
      for (int k = 0; k < W; ++k) {
        delta[k] += biases[j + k];
        if (F::kSoftplus)
          delta[k] = softplus(delta[k]);
        // Steps past the end become the identity, so the carried state stays exact.
        delta[k] = t < rows && j + k < channels ? delta[k] : 0.0f;
        step[k] = make_float2(delta[k], delta[k] * xv[k]);
      }
      if constexpr (W == 2)
        *reinterpret_cast<float4 *>(to_steps + t * kChannels + j) =
            make_float4(step[0].x, step[0].y, step[W - 1].x, step[W - 1].y);
      else
        to_steps[t * kChannels + j] = step[0];
    });
    constexpr int kPadded = kLanes * kStates;
    if constexpr (F::kN == kPadded && kStates % 2 == 0) {
      // A thread writes 16 bytes: four of B, four of C, or two of each; neighbours write
      // neighbouring pieces.
      constexpr int kPieces = kPadded / 2, kLanePieces = kStates / 2;
#pragma unroll 2
      for (int i = thread; i < kTile * R::kGroups * kPieces; i += kThreads) {
        int th = i / kPieces, piece = i % kPieces, n = piece / kLanePieces * kStates,
            k = piece % kLanePieces * 4;
        float v[4];
        if constexpr (kStates % 4 == 0 && same_type<BT, CT>::value) {
          load_floats<4>(v, k < kStates ? raw_b + th * F::kN + n + k
                                        : raw_c + th * F::kN + n + k - kStates);
        } else if constexpr (kStates % 4 == 0) {
          if (k < kStates)
            load_floats<4>(v, raw_b + th * F::kN + n + k);
          else
            load_floats<4>(v, raw_c + th * F::kN + n + k - kStates);
        } else if constexpr (kStates == 2) {
          float two_b[2], two_c[2];
          load_floats<2>(two_b, raw_b + th * F::kN + n);
          load_floats<2>(two_c, raw_c + th * F::kN + n);
          v[0] = two_b[0], v[1] = two_b[1], v[2] = two_c[0], v[3] = two_c[1];
        } else {
#pragma unroll
          for (int e = 0; e < 4; ++e)
            v[e] = k + e < kStates ? to_float(raw_b[th * F::kN + n + k + e])
                                   : to_float(raw_c[th * F::kN + n + k + e - kStates]);
        }
        reinterpret_cast<float4 *>(to_wide)[i] = make_float4(v[0], v[1], v[2], v[3]);
      }
    } else {
      for (int i = thread; i < kTile * R::kGroups * kPadded; i += kThreads) {
        int th = i / kPadded, n = i % kPadded;
        float *to = to_wide + th * (kPadded * 2) + n / kStates * (2 * kStates) + n % kStates;
        to[0] = n < F::kN ? to_float(raw_b[th * F::kN + n]) : 0.0f;
        to[kStates] = n < F::kN ? to_float(raw_c[th * F::kN + n]) : 0.0f;
      }
    }
  };

  // Skip, gate and store.
  auto finish = [&](int tile) {
    const XT *raw_x = stage_x(tile);
    const ZT *raw_z = stage_z(tile);
    const float *from = sums(tile);
    int first = start + tile * kTile, rows = min(kTile, end - first);
    auto value = [&](float sum, float xv, float zv, int j) {
      if (F::kHasD)
        sum += skips[j] * xv;
      return F::kHasZ ? sum * silu(zv) : sum;
    };
    if (R::kVectorOut && aligned16(out)) {
      constexpr int W = R::kOutVector, kPieces = R::kVectorOut ? kChannels / W : 1;
      walk_tile<kTile, kPieces, kThreads>(thread, [&](int t, int piece) {
        int j = piece * W;
        if (j >= channels || t >= rows)
          return;
        float sum[W], xv[W], zv[W];
        load_floats<W>(sum, from + t * kChannels + j);
        load_floats<W>(xv, raw_x + t * R::kXRow + j);
        if constexpr (F::kHasZ)
          load_floats<W>(zv, raw_z + t * R::kZRow + j);
#pragma unroll
        for (int k = 0; k < W; ++k)
          sum[k] = value(sum[k], xv[k], F::kHasZ ? zv[k] : 0.0f, j + k);
        store_floats<W>(out + (first + t) * static_cast<long long>(F::kOutStride) + c0 + j, sum);
      });
    } else {
#pragma unroll 1
      for (int i = thread; i < rows * kChannels; i += kThreads) {
        int t = i / kChannels, j = i % kChannels;
        if (j < channels)
          out[(first + t) * static_cast<long long>(F::kOutStride) + c0 + j] =
              from_float<typename F::OT>(
                  value(from[t * kChannels + j], to_float(raw_x[t * R::kXRow + j]),
                        F::kHasZ ? to_float(raw_z[t * R::kZRow + j]) : 0.0f, j));
      }
    }
  };

  copy(0);
  copy(1);
  for (int j = thread; j < kChannels; j += kThreads) {
    int index = F::kHeadwise ? (c0 + j) / F::kHead : c0 + j;
    skips[j] = F::kHasD && j < channels ? d[index] : 0.0f;
    biases[j] = F::kHasDtBias && j < channels ? dt_bias[index] : 0.0f;
  }
  copy_async_wait<1>();
  wait_helpers();
  prepare(0);
  wait_all();
  for (int tile = 0; tile < tiles; ++tile) {
    if (tile > 0)
      finish(tile - 1);
    wait_helpers(); // the stage of tile - 1 is free
    copy(tile + 2);
    copy_async_wait<1>();
    wait_helpers(); // tile + 1 has arrived for all
    if (tile + 1 < tiles)
      prepare(tile + 1);
    wait_all();
  }
  finish(tiles - 1);
}

} // namespace m1k

#endif
