// Products that stream their weights, one after another in one launch: each as linear.cuh computes
// it for at most 8 rows, in bf16 or with weights of int4 in groups, and each may read what those
// before it wrote. Memory is busy all the time: weights depend on nothing, so those of the next
// product arrive while the last outputs of this one are still to be added up, and while blocks wait
// for one another.
//
// Grid (blocks, 1), of at most as many blocks as the device holds at once: a cooperative launch,
// which begins with all of its blocks or fails. A block has a ring of kSlots slots of shared
// memory, one warp that fills it and kWarps that multiply. The outputs of a product are tiles of 8
// (where gated, pairs of tiles), of which neighbours are a block's; the block adds up kTiles of
// them at a time. A slot is kSlotRow bytes, 2 KB and more, of each row of a tile's weights, and the
// scales of their groups: a bulk copy for each row, as such copies are issued fast enough (57 cycles
// each on an H200), those of 1 KB are not. The copies that are under way are at most kInFlight slots: with 200 KB of them a
// multiprocessor some get 36 % more than others, and what blocks read of one another's results
// waits behind 6 µs of weights. Of bf16 a warp multiplies an eighth of a slot's columns, by the
// scheme of linear_tensor, for all kTiles at once. Of int4 a warp has every kWarps-th block of 128
// columns, by the scheme of GroupStream, for two tiles at once, which are the 16-row operand.
//
// Between two products all blocks meet: a thread makes what the block wrote visible to the device,
// adds one to `arrived`, and waits until as many as there are blocks have. The counter is the
// launch's own and 0 when it begins (the step clears it), so nothing is left behind by a launch
// that was cut short. What blocks read of one another's results they read from the L2 cache
// (load_shared): lines of the first cache may be older.
//
// Blocks wait for one another, and that ends, whatever else the device does: a cooperative launch
// has all of its blocks on the device from its beginning to its end, where a launch of another
// stream, process or context may take its place only as a whole, with all blocks at once. It does
// not begin before the launches in front of it have ended, and waits for none behind it. The warp
// that fills the ring waits for the block's own others alone.
//
// Facts of each product: those of linear.cuh with XT bf16 and WT bf16 or i4x2, kRows at most 8,
// kXStride and kK multiples of 8, with int4 kK of 128 and kN of 8, kXColumn (where x begins in its
// operand's rows); kTiles. Of the launch: kWarps, kSlotRow (of int4 2048), kScaleBytes (of a row in
// a slot), kSlots, kInFlight.
#ifndef M1K_LINEAR_CHAIN_CUH
#define M1K_LINEAR_CHAIN_CUH

#include "barriers.cuh"
#include "linear.cuh"

namespace m1k {

template <class F> struct ChainOperands {
  const bf16 *x;
  const typename F::WT *weight;
  const typename QuantisedRows<F>::Scale *scale;
  const float *bias, *map_vector, *squares, *residual, *norm_weight;
  typename F::OT *out;
  typename F::NT *normed;
  float *squares_out;
};

template <class C> struct ChainTraits {
  static constexpr int kWarps = C::kWarps, kMultipliers = kWarps * 32, kThreads = kMultipliers + 32;
  static constexpr int kSlotRow = C::kSlotRow; // bytes of a row in a slot
  static_assert(kSlotRow % 128 == 0, "");
  // 64 bytes more: lanes that read at once read other banks.
  static constexpr int kRowBytes = kSlotRow + 64, kScalesAt = 8 * kRowBytes;
  static constexpr int kSlotBytes = kScalesAt + 8 * C::kScaleBytes;
  static constexpr int kMaxTiles = 4; // of weights that a block goes through K for
  // Behind the ring: a pair of barriers for each slot; twice the sums of the warps; norms.
  static constexpr int kBarriersAt = C::kSlots * kSlotBytes;
  static constexpr int kSumsAt = kBarriersAt + round_up(C::kSlots * 16, 128);
  static constexpr int kSumsRow = kMaxTiles * 8, kSums = kWarps * 8 * kSumsRow;
  static constexpr int kNormAt = kSumsAt + 2 * kSums * 4;
  static_assert(kNormAt + 8 * 4 <= C::kSharedBytes, "the launch reserves too little");
  static_assert(C::kInFlight <= C::kSlots, "");
};

// A product's weights in slots.
template <class C, class F> struct ChainSlots {
  using Rows = QuantisedRows<F>;
  static constexpr bool kGrouped = Rows::kGrouped;
  static constexpr int kSides = F::kGated ? 2 : 1, kWeightTiles = F::kTiles * kSides;
  static constexpr int kDepth = Rows::kInt4 ? C::kSlotRow * 2 : C::kSlotRow / 2; // columns of a slot
  static constexpr int kSteps = ceil_div(F::kK, kDepth);
  // Tiles that go through K together.
  static constexpr int kTogether = kGrouped ? 2 : kWeightTiles;
  static constexpr int kRow = F::kK / (Rows::kInt4 ? 2 : 1); // elements of WT
  // Scales of a tile's rows are neighbours where a slot has all of their columns: one copy.
  static constexpr bool kScalesTogether = kGrouped && kSteps == 1;
  static constexpr int kScaleRow = kScalesTogether ? Rows::kScales * 2 : C::kScaleBytes;
  static_assert(!kGrouped || (Rows::kInt4 && F::kK % 128 == 0 && F::kN % 8 == 0), "");
  static_assert(!kGrouped || kScalesTogether || Rows::kScales % 8 == 0, "");
  static_assert(!kGrouped || kScaleRow <= C::kScaleBytes, "a slot reserves too little");

  static M1K_DEVICE int depth(int step) { return min(kDepth, F::kK - step * kDepth); }
  static M1K_DEVICE int row_bytes(int step) {
    return Rows::kInt4 ? depth(step) / 2 : depth(step) * 2;
  }
  static M1K_DEVICE int scale_bytes(int step) { // of a row
    return kGrouped ? depth(step) / max_of(F::kGroup, 1) * 2 : 0;
  }
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
M1K_DEVICE float load_shared(const float *from) {
  float v;
  asm volatile("ld.relaxed.gpu.global.f32 %0, [%1];" : "=f"(v) : "l"(from));
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
    using S = ChainSlots<C, F>;
    const int lane = threadIdx.x % 32;
    int from, to;
    tiles_of_block<F>(from, to);
    for (int tile = from; tile < to; tile += F::kTiles) {
      const int count = min(F::kTiles, to - tile) * S::kSides;
#pragma unroll 1
      for (int turn = 0; turn < ceil_div(count, S::kTogether) * S::kSteps; ++turn) {
        const int k = turn % S::kSteps, first = turn / S::kSteps * S::kTogether;
#pragma unroll 1
        for (int i = first; i < min(first + S::kTogether, count); ++i, ++step) {
          const int bytes = S::row_bytes(k), scale_bytes = S::scale_bytes(k);
          barrier_wait(empty(step), round(step) ^ 1);
          if (step >= C::kInFlight)
            barrier_wait(full(step - C::kInFlight), round(step - C::kInFlight));
          if (lane == 0)
            barrier_arrive_expecting(full(step), 8 * (bytes + scale_bytes));
          __syncwarp();
          const u32 slot = memory + step % C::kSlots * R::kSlotBytes;
          // Outputs past the end are not stored.
          const int row =
              i % S::kSides * F::kN + min((tile + i / S::kSides) * 8 + lane % 8, F::kN - 1);
          if (lane < 8)
            copy_bulk(slot + lane * R::kRowBytes,
                      reinterpret_cast<const char *>(operands.weight +
                                                     static_cast<long long>(row) * S::kRow) +
                          k * R::kSlotRow,
                      bytes, full(step));
          if constexpr (S::kGrouped) {
            const auto *scales = operands.scale + row * S::Rows::kScales;
            if constexpr (S::kScalesTogether) {
              if (lane == 8)
                copy_bulk(slot + R::kScalesAt, scales, 8 * scale_bytes, full(step));
            } else if (lane >= 8 && lane < 16) {
              copy_bulk(slot + R::kScalesAt + lane % 8 * C::kScaleBytes,
                        scales + k * (S::kDepth / F::kGroup), scale_bytes, full(step));
            }
          }
        }
      }
    }
  }

  // Eight of a row of x.
  static M1K_DEVICE uint4 load_eight(const bf16 *at, bool aligned, bool valid) {
    if (aligned)
      return load_shared_16(at, valid);
    u32 words[4] = {0, 0, 0, 0}; // rare
    if (valid)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        words[e] = load_shared(at + 2 * e) | load_shared(at + 2 * e + 1) << 16;
    return make_uint4(words[0], words[1], words[2], words[3]);
  }

  // The sums of a product's tiles, in bf16: x is the 16-row operand, by the scheme of
  // linear_tensor. A warp multiplies kColumns of a slot's, runs of 32.
  template <class F> struct Bf16Sums {
    using S = ChainSlots<C, F>;
    static constexpr int kSteps = S::kSteps, kWeightTiles = S::kWeightTiles;
    static constexpr int kColumns = S::kDepth / R::kWarps, kRuns = kColumns / 32;
    // Rows of x in registers: all of them, or two steps ahead.
    static constexpr bool kHeld = kSteps * kRuns <= 16;
    static constexpr int kAhead = kHeld ? kSteps : 2;

    Chain &chain;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    const int rows;
    const bf16 *input;
    const bool aligned;
    uint4 fx[kAhead][kRuns];

    M1K_DEVICE Bf16Sums(Chain &chain, const bf16 *x, int rows)
        : chain(chain), rows(rows),
          input(x + static_cast<long long>(g) * F::kXStride + warp * kColumns + t * 8),
          aligned(aligned16(x)) {
      static_assert(R::kWarps * kRuns * 32 == S::kDepth, "warps share a slot's columns");
#pragma unroll
      for (int s = 0; s < kAhead; ++s)
        load_x(s);
    }
    M1K_DEVICE bool inside(int step, int u) const {
      return F::kK % S::kDepth == 0 || step * S::kDepth + warp * kColumns + u * 32 + t * 8 < F::kK;
    }
    M1K_DEVICE void load_x(int step) {
#pragma unroll
      for (int u = 0; u < kRuns; ++u)
        fx[step % kAhead][u] =
            load_eight(input + step * S::kDepth + u * 32, aligned, g < rows && inside(step, u));
    }
    // Of `count` tiles of weights, to sums[warp][row][column]. All slots but the last are left.
    M1K_DEVICE void add_up(int count, bool more, float *sums) {
      float sum[kWeightTiles][4];
#pragma unroll
      for (int i = 0; i < kWeightTiles; ++i)
        sum[i][0] = sum[i][1] = sum[i][2] = sum[i][3] = 0.0f;
      const u32 first = chain.step;
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
        const uint4(&xs)[kRuns] = fx[s % kAhead];
#pragma unroll
        for (int i = 0; i < kWeightTiles; ++i)
          if (i < count) {
            const u32 at = chain.step;
            barrier_wait(chain.full(at), round(at));
            // Only now, behind products that took what was read of the slot before. With the
            // arrival right behind the reads, and no fence, steps of 8 rows of M1-3B on an H200
            // differed from run to run.
            chain.leave(at - 1, at > first);
            const unsigned char *slot = m1k_shared + at % C::kSlots * R::kSlotBytes +
                                        g * R::kRowBytes + warp * kColumns * 2 + t * 16;
            uint4 w[kRuns];
#pragma unroll
            for (int u = 0; u < kRuns; ++u)
              w[u] = inside(s, u) ? *reinterpret_cast<const uint4 *>(slot + u * 64)
                                  : make_uint4(0, 0, 0, 0);
#pragma unroll
            for (int u = 0; u < kRuns; ++u) {
              const u32 a0[4] = {xs[u].x, 0, xs[u].y, 0}, a1[4] = {xs[u].z, 0, xs[u].w, 0};
              mma_bf16(sum[i], a0, w[u].x, w[u].y);
              mma_bf16(sum[i], a1, w[u].z, w[u].w);
            }
            ++chain.step;
          }
        if constexpr (!kHeld)
          if (s + kAhead < kSteps)
            load_x(s + kAhead);
      }
      if constexpr (!kHeld)
        if (more)
          load_x(0), load_x(1);
      if (g < rows)
#pragma unroll
        for (int i = 0; i < kWeightTiles; ++i)
          *reinterpret_cast<float2 *>(sums + (warp * 8 + g) * R::kSumsRow + i * 8 + t * 2) =
              make_float2(sum[i][0], sum[i][1]);
      chain.leave(chain.step - 1, true);
    }
  };

  // The same with weights of int4 in groups: two tiles are the 16-row operand, by the scheme of
  // GroupStream. Of the blocks of 128 columns of a slot a warp has every kWarps-th.
  template <class F> struct GroupSums {
    using S = ChainSlots<C, F>;
    using Scale = typename S::Rows::Scale;
    static constexpr int kSteps = S::kSteps;
    static constexpr int kBlocks = F::kK / 128, kOfSlot = S::kDepth / 128;
    static constexpr int kShare = ceil_div(min_of(kOfSlot, kBlocks), R::kWarps);
    static constexpr int kScales = 128 / F::kGroup, kPlanes = 4 / kScales; // of a block, of a group

    Chain &chain;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    const int rows;
    const bf16 *input;
    const bool aligned;
    uint4 fx[kShare][4]; // of one step

    M1K_DEVICE GroupSums(Chain &chain, const bf16 *x, int rows)
        : chain(chain), rows(rows), input(x + static_cast<long long>(g) * F::kXStride + t * 8),
          aligned(aligned16(x)) {
#pragma unroll
      for (int j = 0; j < kShare; ++j)
        load_x(0, j);
    }
    // Whether a slot of this step has the warp's block j.
    M1K_DEVICE bool has(int step, int j) const {
      const int blocks = min_of(kOfSlot, kBlocks - step * kOfSlot);
      return (j + 1) * R::kWarps <= blocks || warp + j * R::kWarps < blocks;
    }
    M1K_DEVICE void load_x(int step, int j) {
#pragma unroll
      for (int p = 0; p < 4; ++p)
        fx[j][p] = load_eight(input + (step * kOfSlot + warp + j * R::kWarps) * 128 + p * 32,
                              aligned, g < rows && has(step, j));
    }
    M1K_DEVICE void add_up(int count, bool more, float *sums) {
      u32 taken = 0; // slots that were read and are not left
#pragma unroll 1
      for (int i = 0; i < count; i += 2) {
        const bool both = i + 1 < count;
        float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll 1
        for (int s = 0; s < kSteps; ++s) {
          const u32 at = chain.step;
          barrier_wait(chain.full(at), round(at));
          if (both)
            barrier_wait(chain.full(at + 1), round(at + 1));
          leave(at, taken); // behind products that took what was read, as above
          const unsigned char *slots[2] = {m1k_shared + at % C::kSlots * R::kSlotBytes,
                                           m1k_shared + (at + 1) % C::kSlots * R::kSlotBytes};
#pragma unroll
          for (int j = 0; j < kShare; ++j) {
            if (has(s, j)) {
              const int block = warp + j * R::kWarps;
              uint4 words[2] = {};
              float factors[2][kScales] = {};
#pragma unroll
              for (int h = 0; h < 2; ++h)
                if (h == 0 || both) { // numbers of the other are not used
                  words[h] = *reinterpret_cast<const uint4 *>(slots[h] + g * R::kRowBytes +
                                                              block * 64 + t * 16);
                  load_floats<kScales>(factors[h], reinterpret_cast<const Scale *>(
                                                       slots[h] + R::kScalesAt + g * S::kScaleRow) +
                                                       block * kScales);
                }
              multiply(sum, words, factors, fx[j]);
            }
            if (kSteps > 1 && (s + 1 < kSteps || i + 2 < count || more))
              load_x((s + 1) % kSteps, j);
          }
          taken = 1 + both;
          chain.step += taken;
        }
#pragma unroll
        for (int c = 0; c < 4; ++c)
          if (t * 2 + c % 2 < rows)
            sums[(warp * 8 + t * 2 + c % 2) * R::kSumsRow + (i + c / 2) * 8 + g] = sum[c];
      }
      leave(chain.step, taken);
    }
    M1K_DEVICE void leave(u32 before, u32 taken) const {
      fence_async();
      __syncwarp();
      if (lane < taken)
        barrier_arrive(chain.empty(before - taken + lane));
    }
    static M1K_DEVICE void multiply(float (&sum)[4], const uint4 (&words)[2],
                                    const float (&factors)[2][kScales], const uint4 (&xs)[4]) {
      float part[4]; // of a group
#pragma unroll
      for (int p = 0; p < 4; ++p) {
        const uint4 low = unpack_i4(words[0], p), high = unpack_i4(words[1], p);
        const u32 first[4] = {low.x, high.x, low.y, high.y},
                  second[4] = {low.z, high.z, low.w, high.w};
        if (p % kPlanes == 0)
          mma_bf16_first(part, first, xs[p].x, xs[p].y);
        else
          mma_bf16(part, first, xs[p].x, xs[p].y);
        mma_bf16(part, second, xs[p].z, xs[p].w);
        if (p % kPlanes == kPlanes - 1)
#pragma unroll
          for (int c = 0; c < 4; ++c)
            sum[c] += factors[c / 2][p / kPlanes] * part[c];
      }
    }
  };

  // By the others: the outputs of this block.
  template <class F> M1K_DEVICE void multiply(const ChainOperands<F> &operands) {
    using S = ChainSlots<C, F>;
    constexpr int kSides = S::kSides;
    constexpr int kColumns = F::kTiles * 8; // outputs of a group
    static_assert(F::kRows <= 8 && S::kWeightTiles <= R::kMaxTiles && F::kXStride % 8 == 0, "");
    static_assert(F::kK % 8 == 0 && F::kSquares % 4 == 0 && R::kMultipliers >= 8 * kColumns, "");
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int rows = min(rows_of<F::kDomain>(dims), 8);
    int from, to;
    tiles_of_block<F>(from, to);
    using Sums = typename select_type<S::kGrouped, GroupSums<F>, Bf16Sums<F>>::type;
    Sums tiles(*this, operands.x + F::kXColumn, rows);
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
      // Each second group has the other half: threads may still read that of the group before.
      float *sums = reinterpret_cast<float *>(m1k_shared + R::kSumsAt) + groups++ % 2 * R::kSums;
      tiles.add_up(count * kSides, tile + F::kTiles < to, sums);
      named_barrier<1, R::kMultipliers>();
      float value = 0.0f, up = 0.0f;
      if (has) {
        const float *own = sums + m * R::kSumsRow + j / 8 * kSides * 8 + j % 8;
#pragma unroll
        for (int p = 0; p < R::kWarps; ++p) {
          value += own[p * 8 * R::kSumsRow];
          if (F::kGated)
            up += own[p * 8 * R::kSumsRow + 8];
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
      u32 product = 0;
      auto next = [&] {
        if (product > 0)
          meet(product);
        if (++product == sizeof...(F))
          launch_successor();
      };
      ((next(), multiply<F>(operands)), ...);
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
