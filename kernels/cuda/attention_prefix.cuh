// Attention of sequences that share leading pages, over those pages: each page is read once for all
// of a group's queries. attention_split goes on from what this leaves, over the pages of its own
// that each sequence has.
//
// The batch's sharing is a list of items (Port prefix_items: their number, then five numbers each):
// sequences [first, end), one token each, have pages [begin, stop) in common, found in the block
// table of the first, and all of them whole; `rank` tells the items of one sequence apart. Items of
// a sequence are a run of its leading pages (a fork tree's levels, or the parts of a long run that
// several blocks share). prefix_slots[s] is where the partial sums of sequence s begin, one slot an
// item.
//
// Grid (any, 1). Blocks take units of work (item, kRows rows, kv head) in turn, every other round
// in reverse, so that with the longest items first their sums come out even; a row is a q head of a
// sequence, and all q heads of the kv head stand side by side. Workspace from kPrefixOffset floats
// on: sums [kSlots][kHeads][kD], then maximum (base 2, scaled) and mass [kSlots][kHeads][2].
//
// Facts F: as in attention.cuh; kRows (16 a warp), kSlots, kPrefixOffset.
#ifndef M1K_ATTENTION_PREFIX_CUH
#define M1K_ATTENTION_PREFIX_CUH

#include "attention_tile.cuh"

namespace m1k {

template <class F>
M1K_DEVICE void attention_prefix(const bf16 *q, const typename F::KT *cache,
                                 const int *sequence_starts, const int *block_tables,
                                 const int *prefix_items, const int *prefix_slots, float *workspace,
                                 m1_dims dims) {
  using R = AttentionTraits<F>;
  constexpr int kD = F::kD, kRow = R::kRow, kSteps = kD / 16, kThreads = F::kRows * 2;
  const PageStages<F, kThreads> stages;
  static_assert((PageStages<F, kThreads>::kElements + F::kRows * kRow) * 2 <= F::kSharedBytes,
                "the launch reserves too little shared memory");
  bf16 *queries = stages.behind();
  float *sums = workspace + F::kPrefixOffset;
  float *scalars = sums + static_cast<long long>(F::kSlots) * F::kHeads * kD;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;

  int items = prefix_items[0], passed = 0; // units of the items before
  int round = 0, unit = blockIdx.x;
  auto next_unit = [&] {
    ++round;
    unit = round * gridDim.x + (round % 2 ? gridDim.x - 1 - blockIdx.x : blockIdx.x);
  };
  for (int i = 0; i < items; ++i) {
    const int *item = prefix_items + 1 + i * M1_PREFIX_ITEM;
    int first = item[0], rows = (item[1] - first) * R::kRatio, begin = item[2], stop = item[3],
        rank = item[4];
    int units = (rows + F::kRows - 1) / F::kRows * F::kKvHeads;
    const int *table = block_tables + first * static_cast<long long>(dims.max_pages);
    for (; unit - passed < units; next_unit()) {
      int kv_head = (unit - passed) % F::kKvHeads, tile = (unit - passed) / F::kKvHeads * F::kRows;
      auto copy = [&](int page) {
        stages.copy(stages.stage(page), cache, table[page], kv_head, kPage);
      };
      auto sequence_of = [&](int row) { return first + row / R::kRatio; };
      auto head_of = [&](int row) { return kv_head * R::kRatio + row % R::kRatio; };
      __syncthreads(); // the last unit's stages and queries are read
      copy(begin);
      for (int k = threadIdx.x; k < F::kRows * (kD / 8); k += kThreads) {
        int r = k / (kD / 8), j = k % (kD / 8) * 8;
        bool valid = tile + r < rows;
        const bf16 *from = q + (valid ? sequence_starts[sequence_of(tile + r)] *
                                                static_cast<long long>(F::kQStride) +
                                            head_of(tile + r) * kD + j
                                      : 0);
        if (F::kQStride % 8 == 0 && aligned16(q)) {
          copy_async16(queries + r * kRow + j, from, valid);
        } else {
          for (int e = 0; e < 8; ++e)
            queries[r * kRow + j + e] = valid ? from[e] : from_float<bf16>(0.0f);
        }
      }
      copy_async_commit();
      copy_async_wait<0>();
      __syncthreads();
      AttentionTile<F> attention(queries + warp * 16 * kRow);
      attention.reset();
      bool busy = tile + warp * 16 < rows;
      for (int page = begin; page < stop; ++page) {
        copy_async_wait<0>();
        __syncthreads();
        if (page + 1 < stop)
          copy(page + 1);
        copy_async_commit();
        stages.unpack(page);
        if (busy)
          stages.attend(attention, page, false, kPage, kPage);
      }
      if (!busy)
        continue;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float total = attention.total(half);
        int row = tile + warp * 16 + g + half * 8;
        if (row >= rows)
          continue;
        long long place =
            static_cast<long long>(prefix_slots[sequence_of(row)] + rank) * F::kHeads +
            head_of(row);
        float *to = sums + place * kD + t * 2;
#pragma unroll
        for (int n = 0; n < 2 * kSteps; ++n)
          *reinterpret_cast<float2 *>(to + n * 8) =
              make_float2(attention.output[n][2 * half], attention.output[n][2 * half + 1]);
        if (t == 0)
          *reinterpret_cast<float2 *>(scalars + place * 2) =
              make_float2(attention.top[half] * attention.scale(), total);
      }
    }
    passed += units;
  }
}

} // namespace m1k

#endif
