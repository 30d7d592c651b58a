// Attention of prompt chunks on Hopper's warpgroup products: bf16, head sizes 64 and 128. What
// FlashAttention-3 (arXiv 2407.08608) does, over the paged cache. Code for other GPUs, as PTX for
// newer ones is, does what attention_prefill does in the same launch.
//
// Grid (any, 1), one block a multiprocessor: a warpgroup that copies and two that multiply, 64 rows
// each. A unit of work is kRows rows of the step for one q head; blocks take whichever is next as
// they come to it, those of the step's last rows first, as they see the most. Whose a unit is makes
// no difference to what comes out. The number of those taken, workspace[kTakenOffset], was set to 0
// by attention_split. Neighbouring units are heads of the same kv head, which meet its pages in the
// L2 cache; putting them into one tile would read each page as often, as a tile reads all that its
// rows see.
//
// For each sequence with rows in the tile, K and V of kPositions positions at a time (one or two
// pages) pass through kStages stages. A page's rows lie one after another in the cache, but
// products want the swizzle of warpgroup.cuh, which bulk copies of plain pointers do not make: 128
// threads copy 16 bytes each, to addresses that differ by constants. A barrier each says that a
// stage is full or empty again.
//
// The scores of the next positions are multiplied while the last ones' probabilities multiply V and
// while the softmax runs; the two warpgroups issue their products by turns, so that one's softmax
// runs under the other's products.
//
// Facts F: as in attention_prefill.cuh, kRows 128; kTakenOffset; kStages.
#ifndef M1K_ATTENTION_WARPGROUP_CUH
#define M1K_ATTENTION_WARPGROUP_CUH

#include "attention_prefill.cuh"
#include "warpgroup.cuh"

namespace m1k {

#ifdef M1K_WARPGROUPS

template <class F> struct WarpgroupAttention {
  static constexpr int kD = F::kD, kRows = F::kRows;
  static constexpr int kPositions = kD <= 128 ? 128 : 64, kPages = kPositions / kPage;
  static constexpr int kHalves = kD / 64; // tiles of 64 columns side by side
  static constexpr int kQueryBytes = kRows * kD * 2, kStageBytes = kPositions * kD * 2;
  static constexpr int kBarriers = 4 + 4 * F::kStages;
  static constexpr int kBytes =
      kSwizzledRows + kQueryBytes + 2 * F::kStages * kStageBytes + 8 * kBarriers + 8;
  // Registers of the output come in one or two products.
  static constexpr int kColumns = min_of(kD, 128), kOutputs = kD / kColumns;
  static constexpr int kScores = kPositions / 2; // a thread
  static_assert(kD % 64 == 0 && kD % kColumns == 0 && kRows == 128, "two warpgroups of 64 rows");
  static_assert(kBytes <= F::kSharedBytes, "the launch reserves too little shared memory");

  u32 queries, keys, values; // values: after all stages of keys
  u32 barriers;

  M1K_DEVICE WarpgroupAttention() {
    u32 base = shared_address(m1k_shared);
    queries = (base + kSwizzledRows - 1) / kSwizzledRows * kSwizzledRows;
    keys = queries + kQueryBytes;
    values = keys + F::kStages * kStageBytes;
    barriers = values + F::kStages * kStageBytes;
  }
  M1K_DEVICE u32 query_full() const { return barriers; }
  M1K_DEVICE u32 query_empty() const { return barriers + 8; }
  M1K_DEVICE u32 unit_full() const { return barriers + 16; }
  M1K_DEVICE u32 unit_empty() const { return barriers + 24; }
  // Of K (which 0) or V (which 1) of a stage.
  M1K_DEVICE u32 full(int stage, int which) const {
    return barriers + 32 + (stage * 4 + which * 2) * 8;
  }
  M1K_DEVICE u32 empty(int stage, int which) const { return full(stage, which) + 8; }

  // The block's unit number `count`, once the copying warpgroup has put it down.
  M1K_DEVICE int read_unit(int count) const {
    int unit;
    barrier_wait(unit_full(), count & 1);
    asm volatile("ld.shared.s32 %0, [%1];" : "=r"(unit) : "r"(barriers + 8 * kBarriers) : "memory");
    __syncwarp();
    if (threadIdx.x % 32 == 0)
      barrier_arrive(unit_empty());
    return unit;
  }
  // By its first thread: the first unit is the block's number, then whatever no block has yet.
  M1K_DEVICE void put_unit(int count, int *taken) const {
    int unit = count == 0 ? blockIdx.x : gridDim.x + atomicAdd(taken, 1);
    barrier_wait(unit_empty(), (count & 1) ^ 1);
    asm volatile("st.shared.s32 [%0], %1;" ::"r"(barriers + 8 * kBarriers), "r"(unit) : "memory");
    barrier_arrive(unit_full());
  }
};

// The rows of one sequence in a tile, for one head: what is copied and multiplied in one go.
struct AttentionItem {
  int tile, head;   // first row of the tile
  int begin, end;   // rows of the step that are the sequence's, within the tile
  int offset;       // position of a row = row + offset
  int first, last;  // positions that these rows see
  const int *table; // pages of the sequence
};

// function(item) for all items of the block; next() gives its next unit.
template <class F, class Next, class Function>
M1K_DEVICE void for_each_item(const int *sequence_starts, const int *context_lengths,
                              const int *block_tables, const m1_dims &dims, Next next,
                              Function function) {
  constexpr int kRows = WarpgroupAttention<F>::kRows;
  int tiles = (dims.tokens + kRows - 1) / kRows, unit;
  while ((unit = next()) < tiles * F::kHeads) {
    AttentionItem item;
    item.tile = (tiles - 1 - unit / F::kHeads) * kRows;
    item.head = unit % F::kHeads;
    int tile_end = min(item.tile + kRows, dims.tokens);
    int sequence = find_sequence(sequence_starts, dims.sequences, item.tile);
    for (; sequence < dims.sequences && sequence_starts[sequence] < tile_end; ++sequence) {
      int start = sequence_starts[sequence], end = sequence_starts[sequence + 1];
      if (end <= item.tile || (F::kSkipSingle ? end - start <= 1 : end <= start))
        continue;
      item.begin = max(start, item.tile);
      item.end = min(end, tile_end);
      item.offset = context_lengths[sequence] - end;
      item.first = first_seen<F>(item.begin + item.offset + 1);
      item.last = item.end + item.offset;
      item.table = block_tables + sequence * static_cast<long long>(dims.max_pages);
      function(item);
    }
  }
}

// The warpgroup that copies.
template <class F> struct AttentionCopier {
  using A = WarpgroupAttention<F>;
  const A &block;
  int row, piece; // of a 16-row, 8-piece patch: what this thread copies
  u32 place;      // of it in a tile
  int use = 0;    // of stages

  M1K_DEVICE explicit AttentionCopier(const A &block) : block(block) {
    row = threadIdx.x / 8;
    piece = threadIdx.x % 8;
    place = row * kSwizzledRow + ((piece ^ (row % 8)) << 4);
  }

  // Rows [0, count) of `from` to a tile whose parts of 64 columns have `rows` rows; zeros outside
  // [begin, end).
  template <int rows>
  M1K_DEVICE void copy_rows(u32 tile, const bf16 *from, int count, long long stride, bool aligned,
                            int begin, int end) {
#pragma unroll 1
    for (int r = row; r < count; r += 16) {
      bool valid = r >= begin && r < end;
      const bf16 *piece_of = from + (valid ? r * stride + piece * 8 : 0);
      u32 to = tile + place + (r - row) * kSwizzledRow;
#pragma unroll
      for (int half = 0; half < A::kHalves; ++half)
        if (aligned)
          copy_to(to + half * rows * kSwizzledRow, piece_of + half * 64, valid ? 16 : 0);
        else
#pragma unroll 1
          for (int e = 0; e < 8; ++e)
            asm volatile("st.shared.u16 [%0], %1;" ::"r"(to + half * rows * kSwizzledRow + e * 2),
                         "h"(valid ? piece_of[half * 64 + e].bits : (unsigned short)0)
                         : "memory");
    }
  }
  M1K_DEVICE static void copy_to(u32 to, const bf16 *from, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes)
                 : "memory");
  }
  // A whole page, to rows of a stage.
  M1K_DEVICE void copy_page(u32 tile, const bf16 *from) {
    from += row * A::kD + piece * 8;
    tile += place;
#pragma unroll
    for (int half = 0; half < A::kHalves; ++half)
#pragma unroll
      for (int i = 0; i < kPage / 16; ++i)
        copy_to(tile + (half * A::kPositions + i * 16) * kSwizzledRow,
                from + i * 16 * A::kD + half * 64, 16);
  }

  M1K_DEVICE void copy_queries(const bf16 *q, const AttentionItem &item) {
    const bf16 *from = q + item.tile * static_cast<long long>(F::kQStride) + item.head * A::kD;
    copy_rows<A::kRows>(block.queries, from, A::kRows, F::kQStride,
                        F::kQStride % 8 == 0 && aligned16(from), item.begin - item.tile,
                        item.end - item.tile);
    barrier_arrive_after_copies(block.query_full());
  }

  // K (which 0) or V (which 1) of kPositions positions from `position` on.
  M1K_DEVICE void copy_stage(const bf16 *cache, const AttentionItem &item, int position,
                             const int (&pages)[A::kPages], int which) {
    int stage = use % F::kStages;
    barrier_wait(block.empty(stage, which), (use / F::kStages & 1) ^ 1);
    u32 tile = (which ? block.values : block.keys) + stage * A::kStageBytes;
#pragma unroll
    for (int i = 0; i < A::kPages; ++i) {
      const bf16 *rows =
          page_rows<F>(cache, pages[i], which, item.head / AttentionTraits<F>::kRatio);
      u32 to = tile + i * kPage * kSwizzledRow;
      int begin = item.first - position - i * kPage, end = item.last - position - i * kPage;
      if (begin <= 0 && end >= kPage)
        copy_page(to, rows);
      else
        copy_rows<A::kPositions>(to, rows, kPage, A::kD, true, begin, end);
    }
    barrier_arrive_after_copies(block.full(stage, which));
  }

  M1K_DEVICE void run(const bf16 *q, const bf16 *cache, const int *sequence_starts,
                      const int *context_lengths, const int *block_tables, int *taken,
                      const m1_dims &dims) {
    int items = 0, units = 0;
    auto next = [&] {
      if (threadIdx.x == 0)
        block.put_unit(units, taken);
      __syncwarp();
      return block.read_unit(units++);
    };
    for_each_item<F>(
        sequence_starts, context_lengths, block_tables, dims, next, [&](const AttentionItem &item) {
          // Page 0 stands for those that are not seen, of which nothing is read.
          auto find = [&](int (&pages)[A::kPages], int position) {
#pragma unroll
            for (int i = 0; i < A::kPages; ++i) {
              int at = position + i * kPage;
              pages[i] = at + kPage > item.first && at < item.last ? item.table[at / kPage] : 0;
            }
          };
          int pages[A::kPages], next[A::kPages];
          int position = item.first / A::kPositions * A::kPositions;
          find(pages, position);
          barrier_wait(block.query_empty(), (items & 1) ^ 1);
          copy_queries(q, item);
          ++items;
          for (; position < item.last; position += A::kPositions) {
            find(next, position + A::kPositions);
#pragma unroll 1
            for (int which = 0; which < 2; ++which)
              copy_stage(cache, item, position, pages, which);
            ++use;
#pragma unroll
            for (int i = 0; i < A::kPages; ++i)
              pages[i] = next[i];
          }
        });
  }
};

// A warpgroup that multiplies: rows [64 · number, + 64) of a tile.
template <class F> struct AttentionMultiplier {
  using A = WarpgroupAttention<F>;
  const A &block;
  int number, warp, g, t;
  int use = 0; // of stages of K; those of V follow
  float output[A::kOutputs][A::kColumns / 2], scores[A::kScores], top[2], mass[2], rescale[2];
  u32 probabilities[A::kPositions / 16][4];

  M1K_DEVICE AttentionMultiplier(const A &block, int number) : block(block), number(number) {
    warp = threadIdx.x / 32 % 4;
    g = threadIdx.x % 32 / 4;
    t = threadIdx.x % 4;
  }
  M1K_DEVICE static float scale() { return F::scale() * kLog2E; }

  // Barriers 1 and 2 give the turn to the first and the second of these warpgroups.
  M1K_DEVICE void await_turn() { asm volatile("bar.sync %0, 256;" ::"r"(number + 1) : "memory"); }
  M1K_DEVICE void pass_turn() { asm volatile("bar.arrive %0, 256;" ::"r"(2 - number) : "memory"); }

  M1K_DEVICE void await_stage(int use, int which) {
    barrier_wait(block.full(use % F::kStages, which), use / F::kStages & 1);
    fence_async();
  }
  M1K_DEVICE void leave(u32 barrier) {
    if (threadIdx.x % 32 == 0)
      barrier_arrive(barrier);
  }
  M1K_DEVICE void leave_stage(int use, int which) { leave(block.empty(use % F::kStages, which)); }

  M1K_DEVICE void multiply_keys() {
    u32 a = block.queries + number * 64 * kSwizzledRow,
        b = block.keys + use % F::kStages * A::kStageBytes;
    keep(scores);
    products_begin();
#pragma unroll
    for (int k = 0; k < A::kD / 16; ++k)
      product(scores, product_operand(a + k / 4 * A::kRows * kSwizzledRow + k % 4 * 32),
              product_operand(b + k / 4 * A::kPositions * kSwizzledRow + k % 4 * 32), k > 0);
    products_commit();
  }
  M1K_DEVICE void multiply_values(int use) {
    constexpr int kHalf = A::kPositions * kSwizzledRow;
    u32 b = block.values + use % F::kStages * A::kStageBytes;
#pragma unroll
    for (int n = 0; n < A::kOutputs; ++n)
      keep(output[n]);
    products_begin();
#pragma unroll
    for (int k = 0; k < A::kPositions / 16; ++k)
#pragma unroll
      for (int n = 0; n < A::kOutputs; ++n)
        product_by_rows(output[n], probabilities[k],
                        product_operand(b + n * 2 * kHalf + k * 16 * kSwizzledRow, kHalf));
    products_commit();
  }

  // The scores become exponentials against the rows' maxima so far; what was summed before is worth
  // `rescale` of itself. With `cuts`, rows g and g + 8 see their first `limit` and limit + 8
  // positions, the last kWindow of those.
  M1K_DEVICE void soften(bool cuts, int limit) {
    keep(scores);
    if (cuts) {
#pragma unroll
      for (int i = 0; i < A::kScores; ++i) {
        int p = i / 4 * 8 + t * 2 + i % 2, end = limit + i % 4 / 2 * 8;
        bool seen = p < end && (F::kWindow == 0 || p >= end - F::kWindow);
        scores[i] = seen ? scores[i] : kNever;
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float peak = scores[2 * half];
#pragma unroll
      for (int i = 0; i < A::kScores; i += 4)
        peak = fmaxf(peak, fmaxf(scores[i + 2 * half], scores[i + 2 * half + 1]));
      peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, 1));
      peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, 2));
      // The exponentials of a row that has seen nothing yet are 0, too.
      float now = fmaxf(top[half], peak), shift = now > kNever ? now * scale() : 0.0f, sum = 0.0f;
      rescale[half] = ex2((top[half] - now) * scale());
      top[half] = now;
#pragma unroll
      for (int i = 2 * half; i < A::kScores; i += 4) {
        scores[i] = ex2(scores[i] * scale() - shift);
        scores[i + 1] = ex2(scores[i + 1] * scale() - shift);
        sum += scores[i] + scores[i + 1];
      }
      mass[half] = mass[half] * rescale[half] + sum;
    }
  }
  M1K_DEVICE void pack() {
#pragma unroll
    for (int k = 0; k < A::kPositions / 16; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        probabilities[k][i] = pack_bf16(scores[k * 8 + i * 2], scores[k * 8 + i * 2 + 1]);
  }

  M1K_DEVICE void attend(const AttentionItem &item) {
#pragma unroll
    for (int n = 0; n < A::kOutputs; ++n)
#pragma unroll
      for (int i = 0; i < A::kColumns / 2; ++i)
        output[n][i] = 0.0f;
    top[0] = top[1] = kNever;
    mass[0] = mass[1] = 0.0f;
    // Of the item's groups of positions, those that rows of this warpgroup see.
    int row = item.tile + number * 64;
    int begin = max(row, item.begin), end = min(row + 64, item.end);
    int first = item.first / A::kPositions,
        groups = (item.last + A::kPositions - 1) / A::kPositions;
    int mine = first_seen<F>(begin + item.offset + 1) / A::kPositions,
        mine_end = (end + item.offset + A::kPositions - 1) / A::kPositions;
    if (begin >= end)
      mine = mine_end = groups;
    auto pass_over = [&](int count) {
      for (int i = 0; i < count; ++i, ++use) {
        await_turn();
        pass_turn();
        await_stage(use, 0);
        leave_stage(use, 0);
        await_stage(use, 1);
        leave_stage(use, 1);
      }
    };
    int first_row = row + warp * 16 + item.offset; // position of the warp's first row
    auto soften_group = [&](int group) {
      int limit = first_row + 1 - group * A::kPositions;
      soften(limit < A::kPositions || (F::kWindow > 0 && limit + 15 > F::kWindow), limit + g);
    };
    pass_over(mine - first);
    if (mine < mine_end) {
      await_stage(use, 0);
      await_turn();
      multiply_keys();
      pass_turn();
      products_wait<0>();
      leave_stage(use, 0);
      soften_group(mine);
      pack();
      for (int group = mine + 1; group < mine_end; ++group) {
        ++use;
        await_stage(use, 0);
        await_turn();
        multiply_keys();
        await_stage(use - 1, 1);
        multiply_values(use - 1);
        pass_turn();
        products_wait<1>();
        leave_stage(use, 0);
        soften_group(group);
        products_wait<0>();
#pragma unroll
        for (int n = 0; n < A::kOutputs; ++n)
          keep(output[n]);
        leave_stage(use - 1, 1);
        // After the first groups hardly a maximum grows.
        if (__any_sync(0xffffffffu, rescale[0] != 1.0f || rescale[1] != 1.0f)) {
#pragma unroll
          for (int n = 0; n < A::kOutputs; ++n)
#pragma unroll
            for (int i = 0; i < A::kColumns / 2; ++i)
              output[n][i] *= rescale[i % 4 / 2];
        }
        pack();
      }
      leave(block.query_empty());
      await_stage(use, 1);
      multiply_values(use);
      products_wait<0>();
#pragma unroll
      for (int n = 0; n < A::kOutputs; ++n)
        keep(output[n]);
      leave_stage(use, 1);
      ++use;
    } else {
      leave(block.query_empty());
    }
    pass_over(groups - mine_end);
  }

  // The four lanes of a row exchange columns, so that each has eight neighbouring ones to store.
  M1K_DEVICE void store(bf16 *out, const AttentionItem &item) {
    bool wide = F::kOutStride % 8 == 0 && aligned16(out), odd = t & 1, high = t & 2;
    auto swap = [](u32 v, int lanes) { return __shfl_xor_sync(0xffffffffu, v, lanes); };
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float inverse = 1.0f / lane_sum<4>(mass[half]);
      int row = item.tile + number * 64 + warp * 16 + g + half * 8;
      bool mine = row >= item.begin && row < item.end;
      bf16 *to = out + row * static_cast<long long>(F::kOutStride) + item.head * A::kD + t * 8;
#pragma unroll
      for (int i = 0; i < A::kD / 8; i += 4) {
        u32 v[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          const float *from =
              &output[i * 8 / A::kColumns][(i + k) % (A::kColumns / 8) * 4 + half * 2];
          v[k] = pack_bf16(from[0] * inverse, from[1] * inverse);
        }
        // of tiles i + odd and i + 2 + odd: columns of this lane and of the one beside it
        u32 a = swap(odd ? v[0] : v[1], 1), b = swap(odd ? v[2] : v[3], 1);
        u32 first[2] = {odd ? a : v[0], odd ? v[1] : a},
            second[2] = {odd ? b : v[2], odd ? v[3] : b};
        u32 c = swap(high ? first[0] : second[0], 2), d = swap(high ? first[1] : second[1], 2);
        uint4 all =
            high ? make_uint4(c, d, second[0], second[1]) : make_uint4(first[0], first[1], c, d);
        if (mine && wide) {
          *reinterpret_cast<uint4 *>(to + i * 8) = all;
        } else if (mine) {
          const u32 pairs[4] = {all.x, all.y, all.z, all.w};
#pragma unroll
          for (int k = 0; k < 8; ++k)
            to[i * 8 + k].bits = static_cast<unsigned short>(pairs[k / 2] >> k % 2 * 16);
        }
      }
    }
  }

  M1K_DEVICE void run(const int *sequence_starts, const int *context_lengths,
                      const int *block_tables, bf16 *out, const m1_dims &dims) {
    int items = 0, units = 0;
    if (number == 1)
      pass_turn();
    auto next = [&] { return block.read_unit(units++); };
    for_each_item<F>(sequence_starts, context_lengths, block_tables, dims, next,
                     [&](const AttentionItem &item) {
                       barrier_wait(block.query_full(), items & 1);
                       fence_async();
                       attend(item);
                       store(out, item);
                       ++items;
                     });
    if (number == 0)
      await_turn(); // the last one that the other passed
  }
};

#endif

template <class F>
M1K_DEVICE void attention_warpgroup(const bf16 *q, const bf16 *cache, const int *sequence_starts,
                                    const int *context_lengths, const int *block_tables, bf16 *out,
                                    float *workspace, m1_dims dims) {
#ifdef M1K_WARPGROUPS
  using A = WarpgroupAttention<F>;
  A block;
  if (threadIdx.x == 0) {
    barrier_init(block.query_full(), 128);
    barrier_init(block.query_empty(), 8); // a warp's first lane each
    barrier_init(block.unit_full(), 1);
    barrier_init(block.unit_empty(), 12);
    for (int stage = 0; stage < F::kStages; ++stage)
      for (int which = 0; which < 2; ++which) {
        barrier_init(block.full(stage, which), 128);
        barrier_init(block.empty(stage, which), 8);
      }
  }
  __syncthreads();
  // 128 · 56 + 256 · 224 registers are what 384 threads begin with, 168 each.
  if (threadIdx.x < 128) {
    leave_registers<56>();
    AttentionCopier<F>(block).run(q, cache, sequence_starts, context_lengths, block_tables,
                                  reinterpret_cast<int *>(workspace) + F::kTakenOffset, dims);
  } else {
    take_registers<224>();
    AttentionMultiplier<F>(block, threadIdx.x / 128 - 1)
        .run(sequence_starts, context_lengths, block_tables, out, dims);
  }
#else
  if (threadIdx.x >= F::kRows * 2)
    return;
  int units = (dims.tokens + F::kRows - 1) / F::kRows * F::kHeads;
  for (int unit = blockIdx.x; unit < units; unit += gridDim.x) {
    // 168 registers a thread, as the launch has 384, are too few to keep the queries in.
    attention_prefill_tile<F, false>(q, cache, sequence_starts, context_lengths, block_tables, out,
                                     dims, unit / F::kHeads * F::kRows, unit % F::kHeads);
    __syncthreads(); // the queries are read
  }
#endif
}

} // namespace m1k

#endif
