// Attention of prompt chunks on tensor cores: bf16 over a cache of bf16 or codes, head sizes of
// 16's multiple up to 256.
//
// Grid (heads, ceil(T / kRows)). A block owns kRows rows of the step for one q head, a warp 16 of
// them, queries in registers. For each sequence with rows in the tile it walks the pages from the
// first to the last position that those rows see, two pages in shared memory, softmax running in
// registers. Rows of other sequences are computed along and not stored.
//
// Facts F: as in attention.cuh; kSkipSingle (sequences of one token are left to attention_split);
// tuning: kRows (16 a warp).
#ifndef M1K_ATTENTION_PREFILL_CUH
#define M1K_ATTENTION_PREFILL_CUH

#include "attention_tile.cuh"

namespace m1k {

// Rows [tile, tile + kRows) of the step for one q head, by kRows * 2 threads; `keep` as in
// attention_tile.cuh.
template <class F, bool keep = F::kD <= 128>
M1K_DEVICE void attention_prefill_tile(const bf16 *q, const typename F::KT *cache,
                                       const int *sequence_starts, const int *context_lengths,
                                       const int *block_tables, bf16 *out, const m1_dims &dims,
                                       int tile, int head) {
  using R = AttentionTraits<F>;
  constexpr int kD = F::kD, kRow = R::kRow, kSteps = kD / 16, kThreads = F::kRows * 2;
  const PageStages<F, kThreads> stages;
  static_assert(F::kRows % 16 == 0, "a warp takes 16 rows");
  static_assert((PageStages<F, kThreads>::kElements + F::kRows * kRow) * 2 <= F::kSharedBytes,
                "the launch reserves too little shared memory");
  int tile_end = min(tile + F::kRows, dims.tokens), kv_head = head / R::kRatio;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  bf16 *queries = stages.behind();

  // Queries: to shared memory, then to registers.
  const bf16 *q_rows = q + tile * static_cast<long long>(F::kQStride) + head * kD;
  if (F::kQStride % 8 == 0 && aligned16(q_rows)) {
    constexpr int kPieces = kD / 8;
    for (int i = threadIdx.x; i < F::kRows * kPieces; i += kThreads) {
      int r = i / kPieces, j = i % kPieces * 8;
      bool valid = tile + r < tile_end;
      copy_async16(queries + r * kRow + j,
                   q_rows + (valid ? r * static_cast<long long>(F::kQStride) + j : 0), valid);
    }
    copy_async_commit();
    copy_async_wait<0>();
  } else {
    for (int i = threadIdx.x; i < F::kRows * kD; i += kThreads) {
      int r = i / kD, j = i % kD;
      queries[r * kRow + j] = tile + r < tile_end
                                  ? q_rows[r * static_cast<long long>(F::kQStride) + j]
                                  : from_float<bf16>(0.0f);
    }
  }
  __syncthreads();
  AttentionTile<F, keep> attention(queries + warp * 16 * kRow);

  int first_row = tile + warp * 16;
  int sequence = find_sequence(sequence_starts, dims.sequences, tile);
  for (; sequence < dims.sequences && sequence_starts[sequence] < tile_end; ++sequence) {
    int start = sequence_starts[sequence], end = sequence_starts[sequence + 1];
    if (end <= tile || (F::kSkipSingle ? end - start <= 1 : end <= start))
      continue;
    int offset = context_lengths[sequence] - end; // position of a row = row + offset
    int seen = min(end, tile_end) + offset;       // positions that the last row of the tile sees
    int pages = (seen + kPage - 1) / kPage;
    int hidden = first_seen<F>(max(start, tile) + offset + 1), first_page = hidden / kPage;
    // The first row's warp-wide limits: which warps have rows here, and from which page on a row's
    // own position cuts.
    bool busy = first_row < min(end, tile_end) && first_row + 16 > start;
    const int *table = block_tables + sequence * static_cast<long long>(dims.max_pages);

    auto copy = [&](int page) {
      stages.copy(stages.stage(page), cache, table[page], kv_head, seen - page * kPage,
                  hidden - page * kPage);
    };
    attention.reset();
    copy(first_page);
    copy_async_commit();
    for (int page = first_page; page < pages; ++page) {
      copy_async_wait<0>();
      __syncthreads();
      if (page + 1 < pages)
        copy(page + 1);
      copy_async_commit();
      stages.unpack(page);
      // Positions of the page that rows g and g + 8 see: below 1 none, from kPage on all.
      int limit0 = first_row + g + offset + 1 - page * kPage, limit1 = limit0 + 8;
      if (busy && first_row + 15 + offset >= page * kPage) {
        int least = first_row + offset + 1 - page * kPage; // the warp's first row's limit
        bool cuts = least < kPage || (F::kWindow > 0 && least + 15 > F::kWindow);
        stages.attend(attention, page, cuts, limit0, limit1);
      }
    }
    __syncthreads(); // before the next sequence's first page is copied over this one's
    if (busy) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float total = attention.total(half);
        int row = first_row + g + half * 8;
        if (row >= start && row < min(end, tile_end)) {
          float inverse = 1.0f / total;
          bf16 *to = out + row * static_cast<long long>(F::kOutStride) + head * kD + t * 2;
          bool even = F::kOutStride % 2 == 0 && (reinterpret_cast<u64>(out) & 3) == 0;
#pragma unroll
          for (int n = 0; n < 2 * kSteps; ++n) {
            u32 pair = pack_bf16(attention.output[n][2 * half] * inverse,
                                 attention.output[n][2 * half + 1] * inverse);
            if (even) {
              *reinterpret_cast<u32 *>(to + n * 8) = pair;
            } else {
              to[n * 8].bits = static_cast<unsigned short>(pair);
              to[n * 8 + 1].bits = static_cast<unsigned short>(pair >> 16);
            }
          }
        }
      }
    }
  }
}

template <class F>
M1K_DEVICE void attention_prefill(const bf16 *q, const typename F::KT *cache,
                                  const int *sequence_starts, const int *context_lengths,
                                  const int *block_tables, bf16 *out, m1_dims dims) {
  int tile = blockIdx.y * F::kRows;
  if (tile < dims.tokens)
    attention_prefill_tile<F>(q, cache, sequence_starts, context_lengths, block_tables, out, dims,
                              tile, blockIdx.x);
}

} // namespace m1k

#endif
