// Products that stream their weights, one after another in one launch: each as linear.cuh computes
// it for at most 8 rows, in bf16, and each may read what those before it wrote. Memory is busy all
// the time: weights depend on nothing, so those of the next product arrive while the last outputs
// of this one are still to be added up, and while blocks wait for one another.
//
// Grid (blocks, 1), of at most as many blocks as the device holds at once: a cooperative launch,
// which begins with all of its blocks or fails. A block has a ring of kSlots slots of shared
// memory, one warp that fills it and eight that multiply. The outputs of a product are tiles of 8
// (where gated, pairs of tiles), of which neighbours are a block's; the block goes through K for
// kTiles of them at a time. A slot is a tile's weights for kSlotDepth columns of K, 1024 or more: a
// bulk copy for each row, as such copies of 2 KB are issued fast enough (57 cycles each on an
// H200), those of 1 KB are not. The copies that are under way are at most kInFlight slots: with 200
// KB of them a multiprocessor some get 36 % more than others, and what blocks read of one another's
// results waits behind 6 µs of weights. A warp multiplies an eighth of a slot's columns, by the
// scheme of linear_tensor.
//
// Before a product that reads what other blocks have written since (kMeets) all blocks meet: a
// thread makes what the block wrote visible to the device, adds one to `arrived`, and waits until
// as many as there are blocks have. The counter is the launch's own and 0 when it begins (the step
// clears it), so nothing is left behind by a launch that was cut short. What blocks read of one
// another's results they read from the L2 cache (load_shared): lines of the first cache may be
// older. A residual that a product of as many outputs has left is the block's own.
//
// Blocks wait for one another, and that ends, whatever else the device does: a cooperative launch
// has all of its blocks on the device from its beginning to its end, where a launch of another
// stream, process or context may take its place only as a whole, with all blocks at once. It does
// not begin before the launches in front of it have ended, and waits for none behind it. The warp
// that fills the ring waits for the block's own others alone.
//
// The first outputs of a product may go through a decode step's convolution on their way (Conv):
// each is one input, whose window and filter its thread has, as in conv_step.cuh.
//
// Facts of each product: those of linear.cuh with XT and WT bf16, kRows at most 8, kXStride and kK
// multiples of 8, kSquaresOut (tiles, rounded up to a multiple of 4), kXColumn (where x begins in
// its operand's rows), kMeets; kTiles. Of the launch: kSlotDepth, kSlots, kInFlight.
#ifndef M1K_LINEAR_CHAIN_CUH
#define M1K_LINEAR_CHAIN_CUH

#include "barriers.cuh"
#include "conv_step.cuh"
#include "linear.cuh"

namespace m1k {

struct NoConvolution {
  using WT = float;
  using OT = float;
  static constexpr int kConvWidth = 1, kConvInputs = 0, kOutStride = 0;
  static constexpr bool kHasConvBias = false, kConvSilu = false;
};

template <class F> struct ChainOperands {
  const bf16 *x, *weight;
  const float *bias, *map_vector, *squares, *residual, *norm_weight, *conv_w, *conv_bias;
  const int *slots, *positions;
  typename F::OT *out;
  typename F::NT *normed;
  float *squares_out;
  typename F::Conv::WT *conv_state;
  typename F::Conv::OT *conv_out;
};

template <class C> struct ChainTraits {
  static constexpr int kMultipliers = 256, kThreads = kMultipliers + 32;
  static constexpr int kSlotDepth = C::kSlotDepth;
  // Of a warp, and the runs of 32 that they are.
  static constexpr int kWarpColumns = kSlotDepth / 8, kRuns = kWarpColumns / 32;
  static_assert(kSlotDepth % 256 == 0, "");
  // 64 bytes more than its columns: lanes that read at once read other banks.
  static constexpr int kRowBytes = kSlotDepth * 2 + 64, kSlotBytes = 8 * kRowBytes;
  static constexpr int kMaxTiles = 4; // of weights that a block goes through K for
  // Behind the ring: a pair of barriers for each slot; twice the sums of the warps; norms.
  static constexpr int kBarriersAt = C::kSlots * kSlotBytes;
  static constexpr int kSumsAt = kBarriersAt + round_up(C::kSlots * 16, 128);
  static constexpr int kSums = 8 * 8 * kMaxTiles * 8;
  static constexpr int kNormAt = kSumsAt + 2 * kSums * 4;
  static_assert(kNormAt + 8 * 4 <= C::kSharedBytes, "the launch reserves too little");
  static_assert(C::kInFlight <= C::kSlots, "");
};

#if __CUDA_ARCH__ >= 900

// What blocks of this launch may have written: from where all see it. 16 bytes, or zeros without a
// branch, which would make each load wait for the one before.
M1K_DEVICE uint4 load_shared_16(const void *from, bool valid) {
  uint4 v;
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %5, 0;\n"
               "mov.b32 %0, 0;\nmov.b32 %1, 0;\nmov.b32 %2, 0;\nmov.b32 %3, 0;\n"
               "@p ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];\n}"
               : "=&r"(v.x), "=&r"(v.y), "=&r"(v.z), "=&r"(v.w)
               : "l"(from), "r"(int(valid)));
  return v;
}
M1K_DEVICE u32 load_shared(const bf16 *from) {
  unsigned short v;
  asm volatile("ld.relaxed.gpu.global.u16 %0, [%1];" : "=h"(v) : "l"(from));
  return v;
}

template <class C> class Chain {
  using R = ChainTraits<C>;
  u32 *arrived;
  const m1_dims &dims;
  u32 memory;
  u32 step = 0;   // slots that were filled, or read, so far
  u32 groups = 0; // of tiles, whose sums were added up

  M1K_DEVICE u32 full(u32 at) const { return memory + R::kBarriersAt + at % C::kSlots * 16; }
  M1K_DEVICE u32 empty(u32 at) const { return full(at) + 8; }
  static M1K_DEVICE int round(u32 at) { return int(at / C::kSlots & 1); }

  template <class F> static M1K_DEVICE void tiles_of_block(int &from, int &to) {
    constexpr int tiles = ceil_div(F::kN, 8);
    from = int(blockIdx.x) * tiles / int(gridDim.x);
    to = (int(blockIdx.x) + 1) * tiles / int(gridDim.x);
  }

  // This warp has read the slot.
  M1K_DEVICE void leave(u32 at, bool has_read) const {
    fence_async();
    __syncwarp();
    if (has_read && threadIdx.x % 32 == 0)
      barrier_arrive(empty(at));
  }

  // By the warp that fills the ring.
  template <class F> M1K_DEVICE void fill(const ChainOperands<F> &operands) {
    constexpr int kSides = F::kGated ? 2 : 1;
    const int lane = threadIdx.x % 32;
    int from, to;
    tiles_of_block<F>(from, to);
    for (int tile = from; tile < to; tile += F::kTiles) {
      const int count = min(F::kTiles, to - tile) * kSides;
#pragma unroll 1
      for (int k = 0; k < F::kK; k += R::kSlotDepth)
#pragma unroll 1
        for (int i = 0; i < count; ++i, ++step) {
          const int depth = min(R::kSlotDepth, F::kK - k);
          barrier_wait(empty(step), round(step) ^ 1);
          if (step >= C::kInFlight)
            barrier_wait(full(step - C::kInFlight), round(step - C::kInFlight));
          if (lane == 0)
            barrier_arrive_expecting(full(step), 8 * depth * 2);
          __syncwarp();
          // Outputs past the end are not stored.
          const int row = i % kSides * F::kN + min((tile + i / kSides) * 8 + lane, F::kN - 1);
          if (lane < 8)
            copy_bulk(memory + step % C::kSlots * R::kSlotBytes + lane * R::kRowBytes,
                      operands.weight + static_cast<long long>(row) * F::kK + k, depth * 2,
                      full(step));
        }
    }
  }

  // By the others: the outputs of this block.
  template <class F> M1K_DEVICE void multiply(const ChainOperands<F> &operands) {
    constexpr int kSides = F::kGated ? 2 : 1, kWeightTiles = F::kTiles * kSides;
    constexpr int kColumns = F::kTiles * 8; // outputs of a group
    constexpr int kSteps = ceil_div(F::kK, R::kSlotDepth);
    // Rows of x in registers: all of them, or two steps ahead; beside a filter there is less room.
    constexpr bool kHeld = kSteps * R::kRuns <= (F::Conv::kConvInputs > 0 ? 12 : 16);
    constexpr int kAhead = kHeld ? kSteps : 2;
    static_assert(F::kRows <= 8 && kWeightTiles <= R::kMaxTiles && F::kXStride % 8 == 0, "");
    static_assert(F::kK % 8 == 0 && F::kSquares % 4 == 0, "");
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    const int rows = min(rows_of<F::kDomain>(dims), 8);
    int from, to;
    tiles_of_block<F>(from, to);
    const bf16 *x = operands.x + F::kXColumn;
    const bf16 *input =
        x + static_cast<long long>(g) * F::kXStride + warp * R::kWarpColumns + t * 8;
    const bool aligned = aligned16(x);
    auto inside = [&](int step, int u) {
      return F::kK % R::kSlotDepth == 0 ||
             step * R::kSlotDepth + warp * R::kWarpColumns + u * 32 + t * 8 < F::kK;
    };
    uint4 fx[kAhead][R::kRuns];
    auto load_x = [&](int step) {
      const bf16 *at = input + step * R::kSlotDepth;
      uint4(&to)[R::kRuns] = fx[step % kAhead];
      if (aligned) {
#pragma unroll
        for (int u = 0; u < R::kRuns; ++u)
          to[u] = load_shared_16(at + u * 32, g < rows && inside(step, u));
      } else { // rare
#pragma unroll
        for (int u = 0; u < R::kRuns; ++u) {
          u32 words[4] = {0, 0, 0, 0};
          if (g < rows && inside(step, u))
#pragma unroll
            for (int e = 0; e < 4; ++e)
              words[e] = load_shared(at + u * 32 + 2 * e) | load_shared(at + u * 32 + 2 * e + 1)
                                                                << 16;
          to[u] = make_uint4(words[0], words[1], words[2], words[3]);
        }
      }
    };
#pragma unroll
    for (int s = 0; s < kAhead; ++s)
      load_x(s);
    float *norm = reinterpret_cast<float *>(m1k_shared + R::kNormAt);
    if constexpr (F::kSquares > 0) // read behind the barrier below
      if (warp < rows) {
        constexpr int kLoads = ceil_div(F::kSquares, 32), kTogether = min_of(kLoads, 16);
        float sum = 0.0f;
        for (int first = 0; first < kLoads; first += kTogether) {
          float v[kTogether];
#pragma unroll
          for (int i = 0; i < kTogether; ++i) {
            const int at = (first + i) * 32 + lane;
            const float loaded =
                load_shared(operands.squares + warp * F::kSquares + min(at, F::kSquares - 1));
            v[i] = at < F::kSquares ? loaded : 0.0f;
          }
#pragma unroll
          for (int i = 0; i < kTogether; ++i)
            sum += v[i];
        }
        sum = lane_sum<32>(sum);
        if (lane == 0)
          norm[warp] = rsqrtf(sum * (1.0f / F::kK) + F::eps());
      }
#pragma unroll 1
    for (int tile = from; tile < to; tile += F::kTiles) {
      const int count = min(F::kTiles, to - tile);
      // The thread's output, and what it is made of beside the sums.
      const int m = threadIdx.x / kColumns, j = threadIdx.x % kColumns, n = tile * 8 + j;
      const bool mine = m < rows && j < count * 8, has = mine && n < F::kN;
      float bias = 0.0f, before = 0.0f, norm_weight = 0.0f, of_column = 0.0f;
      using Step = ConvStep<typename F::Conv>;
      [[maybe_unused]] ConvFilter<typename F::Conv> filter;
      [[maybe_unused]] typename F::Conv::WT *window = nullptr, taps[Step::kMost];
      [[maybe_unused]] bool fresh = false;
      const bool convolved = has && n < F::Conv::kConvInputs;
      if constexpr (F::Conv::kConvInputs > 0)
        if (convolved) {
          fresh = operands.positions[m] == 0;
          window = Step::window(operands.conv_state, operands.slots[m], n);
          Step::read(taps, window, fresh);
          filter.load(operands.conv_w, operands.conv_bias, n);
        }
      if (has) {
        if constexpr (F::kHasBias)
          bias = operands.bias[n];
        if constexpr (F::kHasResidual)
          before =
              load_shared(operands.residual + m * static_cast<long long>(F::kResidualStride) + n);
        if constexpr (F::kLeavesNorm)
          norm_weight = operands.norm_weight[n];
        if constexpr (F::kMapShare > 0)
          of_column = operands.map_vector[n / F::kMapShare];
      }
      float sum[kWeightTiles][4];
#pragma unroll
      for (int i = 0; i < kWeightTiles; ++i)
        sum[i][0] = sum[i][1] = sum[i][2] = sum[i][3] = 0.0f;
      const u32 first = step;
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
        const uint4(&xs)[R::kRuns] = fx[s % kAhead];
#pragma unroll
        for (int i = 0; i < kWeightTiles; ++i)
          if (i < count * kSides) {
            barrier_wait(full(step), round(step));
            // Only now, behind products that took what was read of the slot before. With the
            // arrival right behind the reads, and no fence, steps of 8 rows of M1-3B on an H200
            // differed from run to run.
            leave(step - 1, step > first);
            const unsigned char *slot = m1k_shared + step % C::kSlots * R::kSlotBytes +
                                        g * R::kRowBytes + warp * R::kWarpColumns * 2 + t * 16;
            uint4 w[R::kRuns];
#pragma unroll
            for (int u = 0; u < R::kRuns; ++u)
              w[u] = inside(s, u) ? *reinterpret_cast<const uint4 *>(slot + u * 64)
                                  : make_uint4(0, 0, 0, 0);
#pragma unroll
            for (int u = 0; u < R::kRuns; ++u) {
              const u32 a0[4] = {xs[u].x, 0, xs[u].y, 0}, a1[4] = {xs[u].z, 0, xs[u].w, 0};
              mma_bf16(sum[i], a0, w[u].x, w[u].y);
              mma_bf16(sum[i], a1, w[u].z, w[u].w);
            }
            ++step;
          }
        if constexpr (!kHeld)
          if (s + kAhead < kSteps)
            load_x(s + kAhead);
      }
      if constexpr (!kHeld)
        if (tile + F::kTiles < to)
          load_x(0), load_x(1);
      // Each second group has the other half: threads may still read that of the group before.
      float *sums = reinterpret_cast<float *>(m1k_shared + R::kSumsAt) + groups++ % 2 * R::kSums;
      constexpr int kRow = R::kMaxTiles * 8;
      if (g < rows)
#pragma unroll
        for (int i = 0; i < kWeightTiles; ++i)
          *reinterpret_cast<float2 *>(sums + (warp * 8 + g) * kRow + i * 8 + t * 2) =
              make_float2(sum[i][0], sum[i][1]);
      leave(step - 1, true);
      named_barrier<1, R::kMultipliers>();
      float value = 0.0f, up = 0.0f;
      if (has) {
        const float *own = sums + m * kRow + j / 8 * kSides * 8 + j % 8;
#pragma unroll
        for (int p = 0; p < 8; ++p) {
          value += own[p * 8 * kRow];
          if (F::kGated)
            up += own[p * 8 * kRow + 8];
        }
        if constexpr (F::kSquares > 0) {
          value *= norm[m];
          up *= norm[m];
        }
        if (F::kHasBias)
          value += bias;
        value = F::map(value, up, of_column);
        if constexpr (F::kHasResidual)
          value += before;
        operands.out[m * static_cast<long long>(F::kOutStride) + n] =
            from_float<typename F::OT>(value);
        if constexpr (F::Conv::kConvInputs > 0)
          if (convolved) {
            const typename F::OT rounded = from_float<typename F::OT>(value);
            operands.conv_out[m * static_cast<long long>(F::Conv::kOutStride) + n] =
                from_float<typename F::Conv::OT>(filter.apply(taps, to_float(rounded)));
            Step::move(window, fresh, rounded);
          }
        if constexpr (F::kLeavesNorm)
          operands.normed[m * static_cast<long long>(F::kNormedStride) + n] =
              from_float<typename F::NT>(value * norm_weight);
      }
      if constexpr (F::kLeavesNorm) {
        // The last tile fills the row up to its multiple.
        constexpr int kTileCount = ceil_div(F::kN, 8);
        const int own = tile + j / 8, fills = own + j % 8;
        const float square = lane_sum<8>(value * value);
        if (mine && (j % 8 == 0 || (own + 1 == kTileCount && fills < F::kSquaresOut)))
          operands.squares_out[m * F::kSquaresOut + fills] = j % 8 == 0 ? square : 0.0f;
      }
    }
  }

  // All blocks, for the `meeting`th time.
  M1K_DEVICE void meet(u32 meeting) {
    named_barrier<1, R::kMultipliers>();
    if (threadIdx.x == 0) {
      asm volatile("fence.acq_rel.gpu;" ::: "memory"); // for all threads that the barrier joined
      asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(arrived) : "memory");
      u32 blocks;
      do
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
                     : "=r"(blocks)
                     : "l"(arrived)
                     : "memory");
      while (blocks < meeting * gridDim.x);
    }
    named_barrier<1, R::kMultipliers>();
  }

public:
  M1K_DEVICE Chain(u32 *arrived, const m1_dims &dims)
      : arrived(arrived), dims(dims), memory(shared_address(m1k_shared)) {}

  template <class... F> M1K_DEVICE void run(const ChainOperands<F> &...operands) {
    if (threadIdx.x == 0) {
      for (int i = 0; i < C::kSlots; ++i) {
        barrier_init(full(i), 1);
        barrier_init(empty(i), R::kMultipliers / 32);
      }
      fence_barriers();
    }
    __syncthreads();
    if (threadIdx.x >= R::kMultipliers) {
      (fill<F>(operands), ...);
      launch_successor();
    } else {
      u32 product = 0, meetings = 0;
      auto next = [&](bool meets) {
        if (meets)
          meet(++meetings);
        else if (product > 0)
          named_barrier<1, R::kMultipliers>(); // the block's norms and residuals
        if (++product == sizeof...(F))
          launch_successor();
      };
      ((next(F::kMeets), multiply<F>(operands)), ...);
    }
  }
};

template <class C, class... F>
M1K_DEVICE void linear_chain(u32 *arrived, m1_dims dims, const ChainOperands<F> &...operands) {
  Chain<C>(arrived, dims).run(operands...);
}

#endif // __CUDA_ARCH__ >= 900

} // namespace m1k

#endif
