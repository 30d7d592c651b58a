// Prefill scan of Mamba-1, and of Mamba-2 where its tensor-core kernel does not apply (f32 activations, odd sizes): softplus, recurrence,
// skip and gate in one pass over the inputs.
//
// Grid (ceil(channels / kChannels), S). A block owns kChannels channels of one sequence and walks its tokens in tiles of kTile: tiles are
// copied to shared memory two ahead, B and C widened there once a tile. kLanes lanes share a channel, each with kStates of its N states in
// registers. Of every kLanes steps, lane l prepares step l (Δ, Δ·x) and finishes it (skip, gate), so no work is done twice; the partial
// sums over N of kLanes steps are reduced together by a transposing butterfly, one exchange a step instead of log2(kLanes).
//
// Facts F: T, DT, ST; kChannelCount, kGroup (channels of a head: N in Mamba-1, P in Mamba-2), kRepeat, kN, kHeadwise (A, Δ, D one a head),
// kXRepeated (x has a column for each channel), strides, kHasD, kHasZ, kHasDtBias, kSoftplus; tuning: kLanes, kThreads, kTile, kStages.
#ifndef M1K_SCAN_CUH
#define M1K_SCAN_CUH

#include "common.cuh"

namespace m1k {

template <class F> struct ScanTraits {
  using T = typename F::T;
  static constexpr int kLanes = F::kLanes;
  static constexpr int kStates = ceil_div(F::kN, kLanes);
  static constexpr int kThreads = F::kThreads;
  static constexpr int kChannels = kThreads / kLanes;
  static constexpr int kTile = F::kTile;
  static constexpr int kStages = F::kStages;
  static constexpr int kWarpChannels = 32 / kLanes;
  // Heads that a block's channels may belong to.
  static constexpr int kHeads = kChannels % F::kGroup == 0 ? kChannels / F::kGroup
                                : F::kGroup % kChannels == 0 ? 1
                                                             : (kChannels - 1) / F::kGroup + 2;
  static constexpr int kHeadCount = F::kChannelCount / F::kGroup;
  static constexpr int kVector = 16 / int(sizeof(T));
  // Columns of Δ that a block needs: one a channel, or one a head.
  static constexpr int kDtColumns = F::kHeadwise ? kHeads : kChannels;
  // 16 bytes of padding: rows of a column of lanes then fall in different banks.
  static constexpr int kRow = round_up(kChannels, kVector) + kVector;
  static constexpr int kDtRow = round_up(kDtColumns, 8) + 8;
  static constexpr int kBcRow = kHeads * F::kN; // B or C of one token, as loaded
  static constexpr int kWideRow = kHeads * kLanes * kStates * 2;
  static constexpr bool kVectorColumns = F::kChannelCount % kVector == 0 && kChannels % kVector == 0;
  static constexpr bool kVectorX = kVectorColumns && F::kXStride % kVector == 0 && (!F::kXRepeated || F::kGroup % kVector == 0);
  static constexpr bool kVectorZ = kVectorColumns && F::kZStride % kVector == 0 && F::kOutStride % kVector == 0;
  static constexpr int kDtVector = 16 / int(sizeof(typename F::DT));
  static constexpr bool kVectorDt =
      !F::kHeadwise && F::kChannelCount % kDtVector == 0 && kChannels % kDtVector == 0 && F::kDtStride % kDtVector == 0;
  static constexpr bool kVectorBc = F::kN % kVector == 0 && F::kBStride % kVector == 0 && F::kCStride % kVector == 0;

  // Shared memory: kStages × (x, dt, z or output, B, C), wide B and C, then Δ and Δ·x of each warp.
  static constexpr int kXBytes = kTile * kRow * int(sizeof(T));
  static constexpr int kDtBytes = kTile * kDtRow * int(sizeof(typename F::DT));
  static constexpr int kBcBytes = round_up(kTile * kBcRow * int(sizeof(T)), 16);
  static constexpr int kStageBytes = round_up(2 * kXBytes + kDtBytes + 2 * kBcBytes, 16);
  static constexpr int kWideBytes = kTile * kWideRow * 4;
  static constexpr int kStepBytes = kThreads * 8;
  static constexpr int kSharedBytes = kStages * kStageBytes + kWideBytes + kStepBytes;

  static_assert((kLanes & (kLanes - 1)) == 0 && kLanes <= 32, "lanes of a channel: a power of two");
  static_assert(kTile % kLanes == 0, "a tile is whole groups of kLanes steps");
  static_assert(kThreads % 32 == 0, "whole warps");
  static_assert(kStages == 1 || kStages == 2, "one or two tiles in flight");
  static_assert(kSharedBytes <= F::kSharedBytes, "the launch reserves too little shared memory");
};

// Partial sums v[j] of step j in every lane of a group → lane l of the group gets the sum over the group of v[l].
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

// Copies rows [first, first + kTile) of `columns` columns to shared memory, zeros from row `end` on. column(j) gives the source column of
// block column j and limit the number of valid block columns. Vectors when the layout allows (static) and the base is aligned (run time).
template <int tile, int row, bool vectors, int threads, class T, class Column>
M1K_DEVICE void stage_rows(T *shared, const T *global, long long stride, int first, int end, int columns, int limit, Column column) {
  constexpr int kVector = 16 / int(sizeof(T));
  if (vectors && aligned16(global)) {
    int pieces = columns / kVector;
    for (int i = threadIdx.x; i < tile * pieces; i += threads) {
      int t = i / pieces, j = i % pieces * kVector;
      bool valid = first + t < end && j < limit;
      copy_async16(shared + t * row + j, global + (valid ? (first + t) * stride + column(j) : 0), valid);
    }
  } else {
    for (int i = threadIdx.x; i < tile * columns; i += threads) {
      int t = i / columns, j = i % columns;
      bool valid = first + t < end && j < limit;
      shared[t * row + j] = valid ? global[(first + t) * stride + column(j)] : from_float<T>(0.0f);
    }
  }
}

template <class F>
M1K_DEVICE void scan(const typename F::T *x, const typename F::DT *dt, const float *a, const typename F::T *b, const typename F::T *c,
                     const float *d, const typename F::T *z, const float *dt_bias, typename F::ST *state, const int *sequence_starts,
                     const int *slots, const int *positions, typename F::T *out, m1_dims dims) {
  using R = ScanTraits<F>;
  using T = typename F::T;
  using DT = typename F::DT;
  constexpr int kStates = R::kStates, kLanes = R::kLanes, kTile = R::kTile;

  int sequence = blockIdx.y;
  if (sequence >= dims.sequences)
    return;
  int start = sequence_starts[sequence], end = sequence_starts[sequence + 1];
  if (start >= end)
    return;

  int c0 = blockIdx.x * R::kChannels;
  int channels = min(R::kChannels, F::kChannelCount - c0);
  int head0 = c0 / F::kGroup;
  int local = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  bool active = local < channels;
  int channel = c0 + (active ? local : 0);
  int head = channel / F::kGroup;

  unsigned char *wide_base = m1k_shared + R::kStages * R::kStageBytes;
  float *wide = reinterpret_cast<float *>(wide_base);
  float2 *steps = reinterpret_cast<float2 *>(wide_base + R::kWideBytes) + threadIdx.x / 32 * 32;
  auto stage_x = [&](int stage) { return reinterpret_cast<T *>(m1k_shared + stage * R::kStageBytes); };
  auto stage_z = [&](int stage) { return reinterpret_cast<T *>(m1k_shared + stage * R::kStageBytes + R::kXBytes); };
  auto stage_dt = [&](int stage) { return reinterpret_cast<DT *>(m1k_shared + stage * R::kStageBytes + 2 * R::kXBytes); };
  auto stage_b = [&](int stage) { return reinterpret_cast<T *>(m1k_shared + stage * R::kStageBytes + 2 * R::kXBytes + R::kDtBytes); };
  auto stage_c = [&](int stage) {
    return reinterpret_cast<T *>(m1k_shared + stage * R::kStageBytes + 2 * R::kXBytes + R::kDtBytes + R::kBcBytes);
  };

  int head_limit = (min(R::kHeads, R::kHeadCount - head0)) * F::kN;
  auto load_tile = [&](int stage, int first) {
    if constexpr (F::kXRepeated)
      stage_rows<kTile, R::kRow, R::kVectorX, R::kThreads>(stage_x(stage), x, F::kXStride, first, end, R::kChannels, channels, [&](int j) {
        int source = c0 + j;
        return source / (F::kGroup * F::kRepeat) * F::kGroup + source % F::kGroup;
      });
    else
      stage_rows<kTile, R::kRow, R::kVectorX, R::kThreads>(stage_x(stage), x, F::kXStride, first, end, R::kChannels, channels,
                                                           [&](int j) { return c0 + j; });
    if constexpr (F::kHasZ)
      stage_rows<kTile, R::kRow, R::kVectorZ, R::kThreads>(stage_z(stage), z, F::kZStride, first, end, R::kChannels, channels,
                                                           [&](int j) { return c0 + j; });
    int dt_first = F::kHeadwise ? head0 : c0;
    stage_rows<kTile, R::kDtRow, R::kVectorDt, R::kThreads>(stage_dt(stage), dt, F::kDtStride, first, end, R::kDtColumns,
                                                            F::kHeadwise ? R::kHeadCount - head0 : channels,
                                                            [&](int j) { return dt_first + j; });
    stage_rows<kTile, R::kBcRow, R::kVectorBc, R::kThreads>(stage_b(stage), b, F::kBStride, first, end, R::kBcRow, head_limit, [&](int j) {
      return (head0 + j / F::kN) / F::kRepeat * F::kN + j % F::kN;
    });
    stage_rows<kTile, R::kBcRow, R::kVectorBc, R::kThreads>(stage_c(stage), c, F::kCStride, first, end, R::kBcRow, head_limit,
                                                            [&](int j) { return head0 * F::kN + j; });
  };

  // A in units of log2, so that the decay is one ex2. Channels and states past the end stay at zero input.
  float decay_rate[kStates], s[kStates];
  int slot = slots[sequence];
  bool fresh = positions[start] == 0;
  long long state_offset = (static_cast<long long>(slot) * F::kChannelCount + channel) * F::kN;
#pragma unroll
  for (int i = 0; i < kStates; ++i) {
    int n = lane * kStates + i;
    bool valid = active && n < F::kN;
    decay_rate[i] = valid ? (F::kHeadwise ? a[head] : a[channel * F::kN + n]) * kLog2E : 0.0f;
    s[i] = valid && !fresh ? to_float(state[state_offset + n]) : 0.0f;
  }
  int vector_index = F::kHeadwise ? head : channel;
  float skip = F::kHasD ? d[vector_index] : 0.0f;
  float bias = F::kHasDtBias ? dt_bias[vector_index] : 0.0f;

  load_tile(0, start);
  copy_async_commit();
  int stage = 0;
  for (int first = start; first < end; first += kTile) {
    copy_async_wait<0>();
    __syncthreads();
    // Only now has every warp stored the previous tile's output from the buffer that the next tile goes to.
    if (R::kStages == 2) {
      if (first + kTile < end)
        load_tile(stage ^ 1, first + kTile);
      copy_async_commit();
    }

    // Widen: [token][head][lane][kStates of B, kStates of C], zeros past N.
    {
      const T *raw_b = stage_b(stage), *raw_c = stage_c(stage);
      constexpr int kPadded = kLanes * kStates;
      for (int i = threadIdx.x; i < kTile * R::kHeads * kLanes; i += R::kThreads) {
        int th = i / kLanes, l = i % kLanes;
        float *to = wide + th * (kPadded * 2) + l * (2 * kStates);
        float wide_b[kStates], wide_c[kStates];
        if constexpr (F::kN == kPadded) {
          load_floats<kStates>(wide_b, raw_b + th * F::kN + l * kStates);
          load_floats<kStates>(wide_c, raw_c + th * F::kN + l * kStates);
        } else {
#pragma unroll
          for (int k = 0; k < kStates; ++k) {
            int n = l * kStates + k;
            wide_b[k] = n < F::kN ? to_float(raw_b[th * F::kN + n]) : 0.0f;
            wide_c[k] = n < F::kN ? to_float(raw_c[th * F::kN + n]) : 0.0f;
          }
        }
        if constexpr (kStates % 4 == 0) {
#pragma unroll
          for (int k = 0; k < kStates; k += 4) {
            reinterpret_cast<float4 *>(to)[k / 4] = make_float4(wide_b[k], wide_b[k + 1], wide_b[k + 2], wide_b[k + 3]);
            reinterpret_cast<float4 *>(to + kStates)[k / 4] = make_float4(wide_c[k], wide_c[k + 1], wide_c[k + 2], wide_c[k + 3]);
          }
        } else {
#pragma unroll
          for (int k = 0; k < kStates; ++k)
            to[k] = wide_b[k], to[kStates + k] = wide_c[k];
        }
      }
    }
    __syncthreads();

    const T *tile_x = stage_x(stage);
    T *tile_z = stage_z(stage);
    const DT *tile_dt = stage_dt(stage);
    int dt_column = F::kHeadwise ? head - head0 : local;
    const float *lane_wide = wide + (head - head0) * (kLanes * kStates * 2) + lane * (2 * kStates);
    int rows = min(kTile, end - first);
    for (int group = 0; group < rows; group += kLanes) {
      int row = group + lane;
      float xv = to_float(tile_x[row * R::kRow + local]);
      float delta = to_float(tile_dt[row * R::kDtRow + dt_column]) + bias;
      if (F::kSoftplus)
        delta = softplus(delta);
      // Steps past the end become the identity, so the carried state stays exact.
      delta = row < rows && active ? delta : 0.0f;
      steps[lane * R::kWarpChannels + (threadIdx.x & 31) / kLanes] = make_float2(delta, delta * xv);
      __syncwarp();
      float y[kLanes];
#pragma unroll
      for (int j = 0; j < kLanes; ++j) {
        float2 step = steps[j * R::kWarpChannels + (threadIdx.x & 31) / kLanes];
        float bc[2 * kStates];
        const float *from = lane_wide + (group + j) * R::kWideRow;
        if constexpr (kStates % 2 == 0) {
#pragma unroll
          for (int k = 0; k < kStates; k += 2) {
            float4 v = reinterpret_cast<const float4 *>(from)[k / 2];
            bc[2 * k] = v.x, bc[2 * k + 1] = v.y, bc[2 * k + 2] = v.z, bc[2 * k + 3] = v.w;
          }
        } else {
#pragma unroll
          for (int k = 0; k < kStates; ++k) {
            float2 v = reinterpret_cast<const float2 *>(from)[k];
            bc[2 * k] = v.x, bc[2 * k + 1] = v.y;
          }
        }
        float sum = 0.0f, common = 0.0f;
        if (F::kHeadwise)
          common = ex2(step.x * decay_rate[0]);
#pragma unroll
        for (int k = 0; k < kStates; ++k) {
          float decay = F::kHeadwise ? common : ex2(step.x * decay_rate[k]);
          s[k] = decay * s[k] + step.y * bc[k];
          sum += s[k] * bc[kStates + k];
        }
        y[j] = sum;
      }
      __syncwarp();
      float value = transpose_sum<kLanes>(y);
      if (F::kHasD)
        value += skip * xv;
      T *place = tile_z + row * R::kRow + local;
      if (F::kHasZ)
        value *= silu(to_float(*place));
      *place = from_float<T>(value);
    }
    __syncthreads();

    if (R::kVectorZ && aligned16(out)) {
      constexpr int kPieces = R::kVectorZ ? R::kChannels / R::kVector : 1;
      for (int i = threadIdx.x; i < rows * kPieces; i += R::kThreads) {
        int t = i / kPieces, j = i % kPieces * R::kVector;
        if (j < channels)
          *reinterpret_cast<uint4 *>(out + (first + t) * static_cast<long long>(F::kOutStride) + c0 + j) =
              *reinterpret_cast<const uint4 *>(tile_z + t * R::kRow + j);
      }
    } else {
      for (int i = threadIdx.x; i < rows * R::kChannels; i += R::kThreads) {
        int t = i / R::kChannels, j = i % R::kChannels;
        if (j < channels)
          out[(first + t) * static_cast<long long>(F::kOutStride) + c0 + j] = tile_z[t * R::kRow + j];
      }
    }
    if (R::kStages == 2) {
      stage ^= 1;
    } else if (first + kTile < end) {
      __syncthreads();
      load_tile(0, first + kTile);
      copy_async_commit();
    }
  }

#pragma unroll
  for (int i = 0; i < kStates; ++i) {
    int n = lane * kStates + i;
    if (active && n < F::kN)
      state[state_offset + n] = from_float<typename F::ST>(s[i]);
  }
}

} // namespace m1k

#endif
