// Attention of prompt chunks on tensor cores: bf16, head sizes of 16's multiple up to 256.
//
// Grid (heads, ceil(T / kRows)). A block owns kRows rows of the step for one q head, a warp 16 of
// them, queries in registers. For each sequence with rows in the tile it walks the pages up to the
// last position that those rows see, two pages in shared memory, softmax running in registers. Rows
// of other sequences are computed along and not stored.
//
// Facts F: as in attention.cuh; kSkipSingle (sequences of one token are left to attention_split);
// tuning: kRows (16 a warp).
#ifndef M1K_ATTENTION_PREFILL_CUH
#define M1K_ATTENTION_PREFILL_CUH

#include "attention.cuh"

namespace m1k {

template <class F>
M1K_DEVICE void attention_prefill(const bf16 *q, const bf16 *cache, const int *sequence_starts,
                                  const int *context_lengths, const int *block_tables, bf16 *out,
                                  m1_dims dims) {
  using R = AttentionTraits<F>;
  constexpr int kD = F::kD, kRow = R::kRow, kSteps = kD / 16, kThreads = F::kRows * 2,
                kStageElements = 2 * kPage * kRow;
  constexpr int kScores = kPage / 8; // tiles of 8 positions
  static_assert(kD % 16 == 0 && F::kRows % 16 == 0, "tensor cores need whole tiles");
  static_assert((2 * kStageElements + F::kRows * kRow) * 2 <= F::kSharedBytes,
                "the launch reserves too little shared memory");
  int tile = blockIdx.y * F::kRows;
  if (tile >= dims.tokens)
    return;
  int tile_end = min(tile + F::kRows, dims.tokens);
  int head = blockIdx.x, kv_head = head / R::kRatio;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  bf16 *stages = reinterpret_cast<bf16 *>(m1k_shared);
  bf16 *queries = stages + 2 * kStageElements;

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
  // Up to 128 columns stay in registers; wider queries are read again for every page.
  constexpr bool kKeep = kSteps <= 8;
  u32 query[kKeep ? kSteps : 1][4];
  auto load_query = [&](u32(&a)[4], int k) {
    load_matrices(a, queries + (warp * 16 + lane % 16) * kRow + k * 16 + lane / 16 * 8);
  };
  if constexpr (kKeep) {
#pragma unroll
    for (int k = 0; k < kSteps; ++k)
      load_query(query[k], k);
  }

  int first_row = tile + warp * 16;
  int sequence = find_sequence(sequence_starts, dims.sequences, tile);
  for (; sequence < dims.sequences && sequence_starts[sequence] < tile_end; ++sequence) {
    int start = sequence_starts[sequence], end = sequence_starts[sequence + 1];
    if (end <= tile || (F::kSkipSingle ? end - start <= 1 : end <= start))
      continue;
    int offset = context_lengths[sequence] - end; // position of a row = row + offset
    int seen = min(end, tile_end) + offset;       // positions that the last row of the tile sees
    int pages = (seen + kPage - 1) / kPage;
    // The first row's warp-wide limits: which warps have rows here, and from which page on a row's
    // own position cuts.
    bool busy = first_row < min(end, tile_end) && first_row + 16 > start;
    const int *table = block_tables + sequence * static_cast<long long>(dims.max_pages);

    auto copy = [&](int page) {
      bf16 *to = stages + (page & 1) * kStageElements;
      copy_page<F, kThreads>(to, page_rows<F>(cache, table[page], 0, kv_head), seen - page * kPage);
      copy_page<F, kThreads>(to + kStageElements / 2, page_rows<F>(cache, table[page], 1, kv_head),
                             seen - page * kPage);
    };
    float output[2 * kSteps][4], top[2] = {kNever, kNever}, mass[2] = {0.0f, 0.0f};
#pragma unroll
    for (int n = 0; n < 2 * kSteps; ++n)
      output[n][0] = output[n][1] = output[n][2] = output[n][3] = 0.0f;
    copy(0);
    copy_async_commit();
    for (int page = 0; page < pages; ++page) {
      copy_async_wait<0>();
      __syncthreads();
      if (page + 1 < pages)
        copy(page + 1);
      copy_async_commit();
      // Positions of the page that rows g and g + 8 see: below 1 none, from kPage on all.
      int limit0 = first_row + g + offset + 1 - page * kPage, limit1 = limit0 + 8;
      if (busy && first_row + 15 + offset >= page * kPage) {
        const bf16 *k_page = stages + (page & 1) * kStageElements,
                   *v_page = k_page + kStageElements / 2;
        float score[kScores][4];
#pragma unroll
        for (int n = 0; n < kScores; ++n)
          score[n][0] = score[n][1] = score[n][2] = score[n][3] = 0.0f;
#pragma unroll
        for (int k = 0; k < kSteps; ++k) {
          u32(&a)[4] = query[kKeep ? k : 0];
          if constexpr (!kKeep)
            load_query(a, k);
#pragma unroll
          for (int n = 0; n < kScores; n += 2) {
            u32 b[4]; // positions n·8 .. +8 at depth k·16 and +8, then the next 8 positions
            load_matrices(b, k_page + (n * 8 + lane / 16 * 8 + lane % 8) * kRow + k * 16 +
                                 lane / 8 % 2 * 8);
            mma_bf16(score[n], a, b[0], b[1]);
            mma_bf16(score[n + 1], a, b[2], b[3]);
          }
        }
        constexpr int kAll = kPage;
        bool cuts = first_row + offset + 1 - page * kPage < kAll;
        float peak0 = kNever, peak1 = kNever;
#pragma unroll
        for (int n = 0; n < kScores; ++n) {
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            int p = n * 8 + t * 2 + i;
            if (cuts) {
              score[n][i] = p < limit0 ? score[n][i] : kNever;
              score[n][2 + i] = p < limit1 ? score[n][2 + i] : kNever;
            }
            peak0 = fmaxf(peak0, score[n][i]);
            peak1 = fmaxf(peak1, score[n][2 + i]);
          }
        }
        peak0 = fmaxf(peak0, __shfl_xor_sync(0xffffffffu, peak0, 1));
        peak0 = fmaxf(peak0, __shfl_xor_sync(0xffffffffu, peak0, 2));
        peak1 = fmaxf(peak1, __shfl_xor_sync(0xffffffffu, peak1, 1));
        peak1 = fmaxf(peak1, __shfl_xor_sync(0xffffffffu, peak1, 2));
        const float scale = F::scale() * kLog2E;
        // Maxima are of unscaled scores when the scale is positive, which is the only case
        // described.
        float now0 = fmaxf(top[0], peak0), now1 = fmaxf(top[1], peak1);
        float keep0 = ex2((top[0] - now0) * scale), keep1 = ex2((top[1] - now1) * scale);
        top[0] = now0, top[1] = now1;
        float shift0 = now0 * scale, shift1 = now1 * scale, sum0 = 0.0f, sum1 = 0.0f;
        u32 probability[kScores][2];
#pragma unroll
        for (int n = 0; n < kScores; ++n) {
          float a0 = ex2(score[n][0] * scale - shift0), a1 = ex2(score[n][1] * scale - shift0);
          float b0 = ex2(score[n][2] * scale - shift1), b1 = ex2(score[n][3] * scale - shift1);
          // a row that sees nothing yet has only kNever, whose exponential against itself is 1
          if (cuts) {
            int p = n * 8 + t * 2;
            a0 = p < limit0 ? a0 : 0.0f, a1 = p + 1 < limit0 ? a1 : 0.0f;
            b0 = p < limit1 ? b0 : 0.0f, b1 = p + 1 < limit1 ? b1 : 0.0f;
          }
          sum0 += a0 + a1;
          sum1 += b0 + b1;
          probability[n][0] = pack_bf16(a0, a1);
          probability[n][1] = pack_bf16(b0, b1);
        }
        mass[0] = mass[0] * keep0 + sum0;
        mass[1] = mass[1] * keep1 + sum1;
#pragma unroll
        for (int n = 0; n < 2 * kSteps; ++n) {
          output[n][0] *= keep0, output[n][1] *= keep0;
          output[n][2] *= keep1, output[n][3] *= keep1;
        }
#pragma unroll
        for (int k = 0; k < kPage / 16; ++k) {
          u32 a[4] = {probability[2 * k][0], probability[2 * k][1], probability[2 * k + 1][0],
                      probability[2 * k + 1][1]};
#pragma unroll
          for (int n = 0; n < 2 * kSteps; n += 2) {
            u32 b[4]; // columns n·8 .. +8 at positions k·16 and +8, then the next 8 columns
            load_matrices_transposed(b, v_page + (k * 16 + lane / 8 % 2 * 8 + lane % 8) * kRow +
                                            n * 8 + lane / 16 * 8);
            mma_bf16(output[n], a, b[0], b[1]);
            mma_bf16(output[n + 1], a, b[2], b[3]);
          }
        }
      }
    }
    __syncthreads(); // before the next sequence's first page is copied over this one's
    if (busy) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float total = mass[half];
        total += __shfl_xor_sync(0xffffffffu, total, 1);
        total += __shfl_xor_sync(0xffffffffu, total, 2);
        int row = first_row + g + half * 8;
        if (row >= start && row < min(end, tile_end)) {
          float inverse = 1.0f / total;
          bf16 *to = out + row * static_cast<long long>(F::kOutStride) + head * kD + t * 2;
          bool even = F::kOutStride % 2 == 0 && (reinterpret_cast<u64>(out) & 3) == 0;
#pragma unroll
          for (int n = 0; n < 2 * kSteps; ++n) {
            u32 pair = pack_bf16(output[n][2 * half] * inverse, output[n][2 * half + 1] * inverse);
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

} // namespace m1k

#endif
