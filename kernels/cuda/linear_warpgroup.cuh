// out[T, N] = silu(x · gateᵀ) ∘ (x · upᵀ) for many rows, in bf16 on Hopper's warpgroup products:
// the two products of a gated MLP, whose weights are one matrix [2N, K], and what stands between
// them and the next one, in one launch. The sums never leave the registers; what is written is a
// quarter of what a product and a launch behind it move.
//
// Grid (one block a multiprocessor, 1): a warp that copies and two warpgroups that multiply. A unit
// of work is 128 rows by 128 columns of out; each warpgroup has 64 of the rows, of which it keeps
// the sums of the columns of gate and of those of up. Units are dealt out in a fixed order: strips
// of F::kStrip units along the rows, in a strip column by column, so that at any time the blocks
// work on few rows and few columns, which the L2 cache holds. Where at least half of the blocks
// would have nothing to do in the last round, its units are dealt out in halves of 64 columns: it
// takes half as long.
//
// K passes 64 columns at a time through a ring of F::kStages stages. A stage holds the unit's rows
// of x and of both weights, 48 KB, copied by tensor maps into the swizzle of warpgroup.cuh. A
// barrier each says that a stage is full, and that both warpgroups are done with it.
//
// The two warpgroups take stages as they come: where one is ahead of the other, its silu·mul runs
// under the other's products. Results leave by tensor map, too, which cuts rows past the end off.
//
// Requires K, N and the strides multiples of 8, x and out at multiples of 16 bytes. Facts F: kN,
// kK, kDomain, kStages, kStrip.
#ifndef M1K_LINEAR_WARPGROUP_CUH
#define M1K_LINEAR_WARPGROUP_CUH

#include "warpgroup.cuh"

namespace m1k {

#ifdef M1K_WARPGROUPS

template <class F> struct GatedProduct {
  static constexpr int kRows = 128, kColumns = 128, kDepth = 64;
  static constexpr int kSteps = ceil_div(F::kK, kDepth), kAcross = ceil_div(F::kN, kColumns);
  static constexpr int kTile = 128 * kSwizzledRow; // bytes of x, of gate and of up in a stage
  static constexpr int kStage = 3 * kTile;
  static constexpr int kPatch = 16 * kSwizzledRow; // 16 rows by 64 columns of out
  static constexpr int kBytes =
      kSwizzledRows + F::kStages * kStage + 8 * 2 * kPatch + 16 * F::kStages;
  static_assert(kBytes <= F::kSharedBytes, "the launch reserves too little shared memory");

  u32 stages, patches, barriers;
  int rows;

  M1K_DEVICE explicit GatedProduct(const m1_dims &dims) : rows(rows_of<F::kDomain>(dims)) {
    stages = (shared_address(m1k_shared) + kSwizzledRows - 1) / kSwizzledRows * kSwizzledRows;
    patches = stages + F::kStages * kStage;
    barriers = patches + 8 * 2 * kPatch;
  }
  M1K_DEVICE u32 full(int stage) const { return barriers + stage * 16; }
  M1K_DEVICE u32 empty(int stage) const { return barriers + stage * 16 + 8; }

  // A place in the ring: which stage, and how often it has been used before.
  struct Place {
    int stage = 0, parity = 0;
    M1K_DEVICE void next() {
      if (++stage == F::kStages) {
        stage = 0;
        parity ^= 1;
      }
    }
  };

  // function(first row, first column, whole unit) of this block's units and halves of them.
  template <class Function> M1K_DEVICE void for_each_unit(Function function) const {
    const int blocks = gridDim.x, high = (rows + kRows - 1) / kRows, units = high * kAcross;
    const int rest = units % blocks, whole = 2 * rest <= blocks ? units - rest : units;
    for (int i = blockIdx.x; i < 2 * units - whole; i += blocks) {
      const int half = max(0, i - whole), unit = i - (half + 1) / 2;
      const int strip = unit / (F::kStrip * kAcross), first = strip * F::kStrip;
      const int within = unit - first * kAcross, along = min(F::kStrip, high - first);
      const int column = within / along * kColumns + (i < whole ? 0 : half % 2 * (kColumns / 2));
      if (column < F::kN)
        function((first + within % along) * kRows, column, i < whole);
    }
  }

  // One thread.
  M1K_DEVICE void copy(const TensorMap &x, const TensorMap &weight) const {
    constexpr int kBox = kTile / 2; // bytes of half of a unit's columns of gate or of up
    Place place;
    for_each_unit([&](int row, int column, bool whole) {
#pragma unroll 1
      for (int step = 0; step < kSteps; ++step, place.next()) {
        const u32 to = stages + place.stage * kStage, barrier = full(place.stage);
        const int k = step * kDepth;
        u32 next = to + kTile;
        barrier_wait(empty(place.stage), place.parity ^ 1);
        barrier_arrive_expecting(barrier, whole ? kStage : kTile + 2 * kBox);
        copy_box(to, x, row, k, barrier);
#pragma unroll
        for (int side = 0; side < 2; ++side) {
          copy_box(next, weight, side * F::kN + column, k, barrier);
          next += kBox;
          if (whole) {
            copy_box(next, weight, side * F::kN + column + kColumns / 2, k, barrier);
            next += kBox;
          }
        }
      }
    });
  }

  // A lane of every warp.
  M1K_DEVICE void leave(int stage) const {
    if (threadIdx.x % 32 == 0)
      barrier_arrive(empty(stage));
  }

  // A warpgroup, 0 or 1: its rows of so many columns of out.
  template <int columns>
  M1K_DEVICE void multiply_unit(Place &place, int number, const TensorMap &out, int row,
                                int column) const {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    float sums[columns]; // of gate, then of up
    int before = 0;
#pragma unroll 1
    for (int step = 0; step < kSteps; ++step, place.next()) {
      const u32 a = stages + place.stage * kStage + number * 64 * kSwizzledRow,
                b = stages + place.stage * kStage + kTile;
      barrier_wait(full(place.stage), place.parity);
      keep(sums);
      products_begin();
#pragma unroll
      for (int k = 0; k < kDepth / 16; ++k)
        product(sums, product_operand(a + k * 32), product_operand(b + k * 32), step > 0 || k > 0);
      products_commit();
      if (step > 0) {
        products_wait<1>();
        leave(before);
      }
      before = place.stage;
    }
    products_wait<0>();
    keep(sums);
    leave(before);
    if (lane == 0)
      stores_have_read();
    __syncwarp();
    // This lane's row of the matrices that a warp stores at once: two by rows, two by columns.
    const u32 patch = patches + (number * 4 + warp) * 2 * kPatch,
              patch_row = patch + (lane % 16) * kSwizzledRow;
    const int piece = lane / 16, swizzle = lane % 8;
#pragma unroll
    for (int i = 0; i < columns / 8; i += 2) {
      u32 v[4]; // columns 8i … by rows g and g + 8, then the next eight columns
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float *gate = &sums[4 * i + 2 * j], *up = gate + columns / 2;
        v[j] = pack_bf16(F::map(gate[0], up[0], 0.0f), F::map(gate[1], up[1], 0.0f));
      }
      store_matrices(patch_row + i / 8 * kPatch + (((i + piece) % 8 ^ swizzle) << 4), v[0], v[1],
                     v[2], v[3]);
    }
    fence_async(); // copies read what ordinary stores wrote, likewise
    __syncwarp();
    if (lane == 0) {
      const int from = row + number * 64 + warp * 16;
      if (from < rows) {
        store_box(out, from, column, patch);
        if (columns > 64 && column + 64 < F::kN)
          store_box(out, from, column + 64, patch + kPatch);
        stores_commit();
      }
    }
  }

  // A warpgroup, 0 or 1.
  M1K_DEVICE void multiply(int number, const TensorMap &out) const {
    Place place;
    for_each_unit([&](int row, int column, bool whole) {
      if (whole)
        multiply_unit<kColumns>(place, number, out, row, column);
      else
        multiply_unit<kColumns / 2>(place, number, out, row, column);
    });
    if (threadIdx.x % 32 == 0)
      stores_wait();
  }
};

#endif

template <class F>
M1K_DEVICE void gated_product(const TensorMap &x, const TensorMap &weight, const TensorMap &out,
                              m1_dims dims) {
#ifdef M1K_WARPGROUPS
  GatedProduct<F> block(dims);
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < F::kStages; ++stage) {
      barrier_init(block.full(stage), 1);
      barrier_init(block.empty(stage), 8); // a lane of each warp
    }
    fence_barriers();
  }
  __syncthreads();
  // 128 · 40 + 256 · 232 registers are what 384 threads begin with, 168 each.
  if (threadIdx.x < 128) {
    leave_registers<40>();
    if (threadIdx.x == 0)
      block.copy(x, weight);
    __syncwarp();
  } else {
    take_registers<232>();
    block.multiply(threadIdx.x / 128 - 1, out);
  }
#endif
}

} // namespace m1k

#endif
