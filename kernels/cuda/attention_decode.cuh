// Attention of sequences that have one token in the step, split over the context for any batch: the
// pages of all (unit head, sequence) pairs, laid end to end, are cut into kBlocks equal ranges, one
// a block. A pair that lies within one block is finished there; a pair cut between blocks leaves
// its partial sums in the workspace, and attention_combine adds them in order of the blocks, so the
// result depends on the batch's contexts but never on timing.
//
// attention_split: grid (kBlocks, 1). The cache streams through kStages pages of shared memory by
// asynchronous copies that run across the borders of pairs. On tensor cores (bf16, head sizes of
// 16's multiple) a warp owns 16 of a page's 64 positions: scoresᵀ = K·qᵀ has positions as rows and
// the group's q heads as its 8 columns, so no product is wasted on padding a single query to 16
// rows; outputᵀ = Vᵀ·probabilitiesᵀ keeps heads in columns, and each lane rescales its own columns.
// attention_combine: grid (unit heads, S). Workspace: partial sums [2·kBlocks][kGroup][kD], then
// max and mass [2·kBlocks][kGroup][2], f32. Slot 2b holds what block b has of a pair begun before
// it, 2b+1 of a pair that begins in it.
//
// A cache of codes (codes.cuh) comes to shared memory as it is, half the bytes. Tensor cores take
// f16 then, which a code becomes in registers with the fewest instructions: queries are brought
// near 1 by a power of two, exactly, which the scores are multiplied with again, as with the scales
// of the keys; probabilities are multiplied by the scales of the values, as parts of a power of two
// near the greatest of those that the warp has seen lately, the output's unit. The columns of
// queries and the rows of the output are those of the bytes that unpack_f16 puts side by side.
//
// A pair's pages are those that its token sees, from the one in which the window begins on.
//
// With kStep, for few sequences, one launch is all of it, and the turning of queries and keys and
// the write into the cache before it, too: q, k and v are what the projection left. A block turns
// the queries of its pairs; one that has a pair's last page turns the token's key, and puts it and
// the value into the page's rows in shared memory and into the cache, where nobody reads them. The
// last of the blocks that leave partial sums of a pair adds them all up, in order of the blocks:
// each counts itself in `counters` when its own are there, which a launch at the step's beginning
// has cleared (clear_counters). Launched early, a block asks for pages of older tokens before it
// waits: no launch of the step writes them.
//
// With kPrefix the leading pages that attention_prefix has taken (prefix_pages of each sequence, at
// least one fewer than it has) are passed over: a pair begins with the sums that it left there.
//
// Facts F: as in attention.cuh; kRagged (skip sequences of other than one token); kTakenOffset, of
// an int in the workspace that attention_warpgroup finds at 0, or negative; kPrefix, and with it
// kSlots and kPrefixOffset as in attention_prefix.cuh; kStep, and with it kTurned (columns of a
// head that turn, cosines and sines of half as many in a row of the table; 0: none), kKeyStride,
// kValueStride, kTableStride, kCounters (of a sequence, in all launches); tuning: kBlocks, kStages,
// kTensor.
#ifndef M1K_ATTENTION_DECODE_CUH
#define M1K_ATTENTION_DECODE_CUH

#include "attention.cuh"

namespace m1k {

// Which pages of the sequences are walked over.
template <class F> struct Contexts {
  const int *sequence_starts, *context_lengths, *prefix_pages;
  int sequences;

  // The first page, and how many from it on.
  M1K_DEVICE int first_page(int sequence) const {
    return F::kPrefix ? prefix_pages[sequence] : first_seen<F>(context_lengths[sequence]) / kPage;
  }
  M1K_DEVICE int pages(int sequence) const {
    if (F::kRagged && sequence_starts[sequence + 1] - sequence_starts[sequence] != 1)
      return 0;
    return (context_lengths[sequence] + kPage - 1) / kPage - first_page(sequence);
  }
};

// Prefix sums of pages over the sequences, by a block of 128 threads: the sum of all, and the
// sequence that holds page target_of(total) of the laid-out pages with the sum before it; or, with
// by_sequence, the sum before sequence target_of(total).
struct PageSums {
  int total, sequence, before;
};
template <class F, bool by_sequence, class Target>
M1K_DEVICE PageSums sum_pages(const Contexts<F> &contexts, Target target_of) {
  __shared__ int totals[5], found[2];
  int chunk = (contexts.sequences + 127) / 128, begin = threadIdx.x * chunk,
      end = min(begin + chunk, contexts.sequences);
  int mine = 0;
  for (int s = begin; s < end; ++s)
    mine += contexts.pages(s);
  int inclusive = mine, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int d = 1; d < 32; d <<= 1) {
    int below = __shfl_up_sync(0xffffffffu, inclusive, d);
    inclusive += lane >= d ? below : 0;
  }
  if (lane == 31)
    totals[warp] = inclusive;
  __syncthreads();
  int base = inclusive - mine;
  for (int w = 0; w < warp; ++w)
    base += totals[w];
  int total = totals[0] + totals[1] + totals[2] + totals[3];
  if constexpr (by_sequence) {
    int target_sequence = target_of(total);
    if (target_sequence >= begin && target_sequence < end) {
      for (int s = begin; s < target_sequence; ++s)
        base += contexts.pages(s);
      found[0] = target_sequence;
      found[1] = base;
    }
  } else {
    long long target = target_of(total);
    if (target >= base && target < base + mine) {
      int s = begin;
      for (;; ++s) {
        int pages = contexts.pages(s);
        if (target < base + pages)
          break;
        base += pages;
      }
      found[0] = s;
      found[1] = base;
    }
  }
  __syncthreads();
  return {total, found[0], found[1]};
}

// How many blocks share out so many pages: no more than there are, so that none is left without.
template <class F> M1K_DEVICE u64 blocks_of(u64 units) {
  return units < F::kBlocks ? units : F::kBlocks;
}

// The least unit of an output: scales are 0 or greater (m1.kv_cache).
constexpr float kLeastUnit = 0x1p-110f;

// Where the walk over pages stands; `page` counts from the first one walked over.
struct PageCursor {
  int unit_head, sequence, page, pages;
};

// Two columns of a head that turn by one angle, or two others: pair i of kD / 2.
template <class F> struct HeadPair {
  int low, high;
  float at_low, at_high;

  M1K_DEVICE void load(const typename F::T *head, int i) {
    constexpr int kHalf = F::kTurned / 2;
    low = i < kHalf ? i : i + kHalf;
    high = low + (i < kHalf ? kHalf : F::kD / 2 - kHalf);
    at_low = to_float(head[low]);
    at_high = to_float(head[high]);
  }
  M1K_DEVICE void turn(const float *angles) {
    constexpr int kHalf = F::kTurned / 2;
    if (kHalf == 0 || low >= kHalf)
      return;
    const float cosine = angles[low], sine = angles[low + kHalf];
    const float turned = at_low * cosine - at_high * sine;
    at_high = at_high * cosine + at_low * sine;
    at_low = turned;
  }
  M1K_DEVICE void store(typename F::T *head) const {
    head[low] = from_float<typename F::T>(at_low);
    head[high] = from_float<typename F::T>(at_high);
  }
};

// The blocks that have a pair's pages, from `first` on of all that are laid end to end.
struct PairBlocks {
  int first, count;

  M1K_DEVICE PairBlocks(u64 first_unit, u64 pages, u64 units, u64 blocks)
      : first(int(((first_unit + 1) * blocks - 1) / units)),
        count(int(((first_unit + pages) * blocks - 1) / units) - first + 1) {}
};

// Adds up the partial sums of a pair of `heads` heads, in order of the blocks. `weights` and
// `inverse`, in shared memory, are of heads · kBlocks and heads floats.
template <class F>
M1K_DEVICE void join_parts(PairBlocks of, int heads, const float *workspace, float *weights,
                           float *inverse, typename F::T *out) {
  constexpr int kThreads = 128, kD = F::kD;
  const float *scalars = workspace + static_cast<long long>(2 * F::kBlocks) * F::kGroup * kD;
  auto slot = [&](int i) { return 2 * (of.first + i) + (i == 0 ? 1 : 0); };
  auto read = [](const float *from) { return F::kStep ? load_shared(from) : *from; };
  // Each block's weight, and one over the mass, a warp a head.
  for (int h = threadIdx.x / 32; h < heads; h += kThreads / 32) {
    int lane = threadIdx.x % 32;
    float peak = kNever, mass = 0.0f;
    for (int i = lane; i < of.count; i += 32)
      peak = fmaxf(peak, read(scalars + (slot(i) * F::kGroup + h) * 2));
    peak = lane_max<32>(peak);
    for (int i = lane; i < of.count; i += 32) {
      const float *pair = scalars + (slot(i) * F::kGroup + h) * 2;
      float weight = ex2(read(pair) - peak);
      weights[h * F::kBlocks + i] = weight;
      mass += weight * read(pair + 1);
    }
    mass = lane_sum<32>(mass);
    if (lane == 0)
      inverse[h] = 1.0f / mass;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < heads * kD; i += kThreads) {
    int h = i / kD;
    float total = 0.0f;
#pragma unroll 8
    for (int b = 0; b < of.count; ++b)
      total += weights[h * F::kBlocks + b] *
               read(workspace + static_cast<long long>(slot(b)) * F::kGroup * kD + i);
    out[i] = from_float<typename F::T>(total * inverse[h]);
  }
}

template <class F>
M1K_DEVICE void attention_split(const typename F::T *q, const typename F::T *k,
                                const typename F::T *v, const float *table,
                                const typename F::KT *cache, const int *sequence_starts,
                                const int *context_lengths, const int *block_tables,
                                const int *prefix_slots, const int *prefix_pages,
                                typename F::T *out, float *workspace, int *counters, m1_dims dims) {
  using R = AttentionTraits<F>;
  using T = typename F::T;
  constexpr int kThreads = 128, kD = F::kD, kStages = F::kStages;
  if (F::kTakenOffset >= 0 && blockIdx.x == 0 && threadIdx.x == 0)
    reinterpret_cast<int *>(workspace)[F::kTakenOffset] = 0;
  const Contexts<F> contexts = {sequence_starts, context_lengths, prefix_pages, dims.sequences};
  PageSums sums = sum_pages<F, false>(contexts, [](int total) -> long long {
    if (total == 0)
      return -1;
    u64 units = static_cast<u64>(total) * R::kUnitHeads;
    return static_cast<long long>(blockIdx.x * units / blocks_of<F>(units) % total);
  });
  u64 units = static_cast<u64>(sums.total) * R::kUnitHeads, blocks = blocks_of<F>(units);
  if (blockIdx.x >= blocks)
    return;
  long long begin = blockIdx.x * units / blocks, end = (blockIdx.x + 1) * units / blocks;
  auto advance = [&](PageCursor &c) {
    if (++c.page < c.pages)
      return;
    c.page = 0;
    do {
      if (++c.sequence == dims.sequences) {
        c.sequence = 0;
        ++c.unit_head;
      }
      c.pages = contexts.pages(c.sequence);
    } while (c.pages == 0);
  };
  PageCursor here;
  here.unit_head = int(begin / sums.total);
  here.sequence = sums.sequence;
  here.page = int(begin % sums.total) - sums.before;
  here.pages = contexts.pages(here.sequence);

  // Stores a pair's sums, up to a page of all that are laid end to end: the end result when the
  // block saw all its pages. value(h, k) is unnormalised. `spare`: memory that is free then.
  auto finish = [&](int first_page, int last_page, auto top, auto mass, auto value,
                    [[maybe_unused]] u64 last_unit, [[maybe_unused]] float *spare) {
    int kv_head = here.unit_head / R::kParts, part = here.unit_head % R::kParts;
    int head = kv_head * R::kRatio + part * F::kGroup,
        heads = min(F::kGroup, R::kRatio - part * F::kGroup);
    if (first_page == 0 && last_page == here.pages) {
      long long row = sequence_starts[here.sequence];
      for (int i = threadIdx.x; i < heads * kD; i += kThreads)
        out[row * F::kOutStride + head * kD + i] =
            from_float<T>(value(i / kD, i % kD) / mass(i / kD));
    } else {
      int slot = 2 * blockIdx.x + (first_page == 0 ? 1 : 0);
      float *partial = workspace + static_cast<long long>(slot) * F::kGroup * kD;
      float *scalars = workspace + static_cast<long long>(2 * F::kBlocks) * F::kGroup * kD +
                       slot * F::kGroup * 2;
      for (int i = threadIdx.x; i < heads * kD; i += kThreads)
        partial[i] = value(i / kD, i % kD);
      for (int h = threadIdx.x; h < heads; h += kThreads) {
        scalars[2 * h] = top(h);
        scalars[2 * h + 1] = mass(h);
      }
      if constexpr (F::kStep) {
        const PairBlocks of(last_unit - last_page, here.pages, units, blocks);
        __shared__ int arrived;
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0)
          arrived = atomicAdd(counters + here.sequence * F::kCounters + here.unit_head, 1);
        __syncthreads();
        if (arrived != of.count - 1)
          return;
        __threadfence();
        const long long row = sequence_starts[here.sequence];
        join_parts<F>(of, heads, workspace, spare + heads, spare,
                      out + row * F::kOutStride + head * kD);
      }
    }
  };

  if constexpr (!F::kTensor) {
    static_assert(!F::kPrefix && !F::kStep, "they need tensor cores");
    static_assert(F::kTensor || GenericAttention<F>::kFloats * 4 <= F::kSharedBytes,
                  "the launch reserves too little shared memory");
    GenericAttention<F> attention;
    for (long long unit = begin; unit < end;) {
      int count = int(min(end - unit, static_cast<long long>(here.pages - here.page)));
      int kv_head = here.unit_head / R::kParts, part = here.unit_head % R::kParts;
      int head = kv_head * R::kRatio + part * F::kGroup;
      int from = contexts.first_page(here.sequence) + here.page;
      attention.run(q + sequence_starts[here.sequence] * static_cast<long long>(F::kQStride) +
                        head * kD,
                    min(F::kGroup, R::kRatio - part * F::kGroup), cache, kv_head,
                    block_tables + here.sequence * static_cast<long long>(dims.max_pages), from,
                    from + count, context_lengths[here.sequence]);
      finish(
          here.page, here.page + count, [&](int h) { return attention.top[h]; },
          [&](int h) { return attention.mass[h]; },
          [&](int h, int k) { return attention.sums[h * kD + k]; }, 0, nullptr);
      __syncthreads();
      unit += count;
      if (unit < end) {
        here.page += count - 1;
        advance(here);
      }
    }
  } else {
    constexpr int kTiles = F::kGroup / 8, kRow = R::kRow, kSteps = kD / 16,
                  kOwn = min_of(F::kGroup, R::kRatio);
    static_assert(F::kGroup % 8 == 0 && kD % 16 == 0, "tensor cores need whole tiles");
    // Stages of K and V. Where a pair ends, the stage just used holds each warp's output, maxima
    // and masses.
    constexpr bool kCodes = R::kCodes;
    constexpr int kMergeRow = kD + 4, kMergeBytes = 4 * F::kGroup * (kMergeRow + 2) * 4;
    constexpr int kCodeBytes =
        CodeStage<F>::kBytes > kMergeBytes ? CodeStage<F>::kBytes : kMergeBytes;
    constexpr int kStageBytes = kCodes ? kCodeBytes : 2 * kPage * kRow * 2;
    static_assert(kStages >= 2 && kStages * kStageBytes <= F::kSharedBytes,
                  "the launch reserves too little shared memory");
    static_assert(kMergeBytes <= kStageBytes, "a stage holds the sums of four warps");
    static_assert(!F::kStep || (!kCodes && !F::kPrefix && !F::kRagged &&
                                kOwn * (F::kBlocks + 1) * 4 <= kStageBytes &&
                                kStages * kStageBytes + F::kGroup * kRow * 2 <= F::kSharedBytes),
                  "behind the stages a block holds queries");
    [[maybe_unused]] T *turned = reinterpret_cast<T *>(m1k_shared + kStages * kStageBytes);
    auto stage_k = [&](int stage) {
      return reinterpret_cast<bf16 *>(m1k_shared + stage * kStageBytes);
    };
    auto stage_v = [&](int stage) {
      return reinterpret_cast<bf16 *>(m1k_shared + stage * kStageBytes + kStageBytes / 2);
    };
    auto codes_of = [&](int stage) { return CodeStage<F>{m1k_shared + stage * kStageBytes}; };
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;

    PageCursor ahead = here; // the next page to copy
    auto page_at = [&](const PageCursor &c) {
      return block_tables[c.sequence * static_cast<long long>(dims.max_pages) +
                          contexts.first_page(c.sequence) + c.page];
    };
    long long copied = begin;
    int page = page_at(ahead); // looked up a page early
    auto copy_next = [&] {
      if (copied < end) {
        int stage = int((copied - begin) % kStages);
        int context = context_lengths[ahead.sequence],
            before = (contexts.first_page(ahead.sequence) + ahead.page) * kPage,
            kv_head = ahead.unit_head / R::kParts;
        int valid = context - before - F::kStep, hidden = first_seen<F>(context) - before;
        if constexpr (kCodes) {
          codes_of(stage).template copy<kThreads>(cache, page, kv_head, valid, hidden);
        } else {
          copy_page<F, kThreads>(stage_k(stage), page_rows<F>(cache, page, 0, kv_head), valid,
                                 hidden);
          copy_page<F, kThreads>(stage_v(stage), page_rows<F>(cache, page, 1, kv_head), valid,
                                 hidden);
        }
        if (++copied < end) {
          advance(ahead);
          page = page_at(ahead);
        }
      }
      copy_async_commit();
    };
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i)
      copy_next();
    if constexpr (F::kStep) {
      q = wait_for_predecessors(q);
      k = wait_for_predecessors(k);
      v = wait_for_predecessors(v);
      table = wait_for_predecessors(table);
      cache = wait_for_predecessors(cache);
      out = wait_for_predecessors(out);
      workspace = wait_for_predecessors(workspace);
      counters = wait_for_predecessors(counters);
      launch_successor();
    }

    u32 query[kTiles][kSteps][2];
    float output[kTiles][kSteps][4], top[kTiles][2], mass[kTiles][2];
    // Of codes: what a score is multiplied with, and what an output of 1 stands for.
    float weight_of_score[kCodes ? kTiles : 1][2], unit = kLeastUnit;
    // A pair's sums begin with those of its prefix, in the first warp's registers; a head's mass in
    // one of the lanes that share its column.
    auto take_prefix = [&](int heads) {
      const float *prefix = workspace + F::kPrefixOffset;
      float of_unit = 1.0f;
      if constexpr (kCodes) {
        unit = 1.0f;
        of_unit = 1.0f / Codes<typename F::KT>::unit();
      }
      int head = here.unit_head / R::kParts * R::kRatio + here.unit_head % R::kParts * F::kGroup;
      for (int slot = prefix_slots[here.sequence]; slot < prefix_slots[here.sequence + 1]; ++slot)
#pragma unroll
        for (int n = 0; n < kTiles; ++n)
#pragma unroll
          for (int c = 0; c < 2; ++c) {
            int h = n * 8 + t * 2 + c;
            if (h >= heads)
              continue;
            long long place = static_cast<long long>(slot) * F::kHeads + head + h;
            const float *pair =
                prefix + static_cast<long long>(F::kSlots) * F::kHeads * kD + place * 2;
            float now = fmaxf(top[n][c], pair[0]), keep = ex2(top[n][c] - now),
                  weight = ex2(pair[0] - now);
            top[n][c] = now;
            mass[n][c] = mass[n][c] * keep + (g == 0 ? pair[1] * weight : 0.0f);
#pragma unroll
            for (int k = 0; k < kSteps; ++k)
#pragma unroll
              for (int half = 0; half < 2; ++half)
                if constexpr (kCodes)
                  output[n][k][2 * half + c] =
                      output[n][k][2 * half + c] * keep +
                      prefix[place * kD + k * 16 + g * 2 + half] * (weight * of_unit);
                else
                  output[n][k][2 * half + c] = output[n][k][2 * half + c] * keep +
                                               prefix[place * kD + k * 16 + half * 8 + g] * weight;
          }
    };
    // With kStep: the queries of a pair turn on their way to shared memory, and the token's key and
    // value are read, turn, and go to the page's rows and to the cache.
    auto angles_of = [&](int sequence) {
      return table + sequence_starts[sequence] * static_cast<long long>(F::kTableStride);
    };
    [[maybe_unused]] auto turn_queries = [&](const T *q_row, int heads) {
      const float *angles = angles_of(here.sequence);
#pragma unroll 4
      for (int i = threadIdx.x; i < F::kGroup * (kD / 2); i += kThreads) {
        const int h = i / (kD / 2);
        HeadPair<F> pair;
        pair.load(q_row + (h < heads ? h : 0) * kD, i % (kD / 2));
        pair.turn(angles);
        pair.store(turned + h * kRow);
      }
    };
    constexpr int kRowPairs = ceil_div(kD, kThreads);
    [[maybe_unused]] HeadPair<F> newest[kRowPairs];
    [[maybe_unused]] auto read_newest = [&] {
      const long long row = sequence_starts[here.sequence];
      const int kv_head = here.unit_head / R::kParts;
#pragma unroll
      for (int p = 0; p < kRowPairs; ++p) {
        const int i = min(int(threadIdx.x) + p * kThreads, kD - 1);
        newest[p].load((i < kD / 2 ? k + row * F::kKeyStride : v + row * F::kValueStride) +
                           kv_head * kD,
                       i % (kD / 2));
        if (i < kD / 2)
          newest[p].turn(angles_of(here.sequence));
      }
    };
    [[maybe_unused]] auto write_newest = [&](bf16 *keys, bf16 *values) {
      if constexpr (F::kStep) {
        const int place = (context_lengths[here.sequence] - 1) % kPage, page = page_at(here),
                  kv_head = here.unit_head / R::kParts;
#pragma unroll
        for (int p = 0; p < kRowPairs; ++p) {
          const int i = int(threadIdx.x) + p * kThreads;
          if (i >= kD)
            break;
          newest[p].store((i < kD / 2 ? keys : values) + place * kRow);
          if (here.unit_head % R::kParts == 0)
            newest[p].store(const_cast<typename F::KT *>(
                                page_rows<F>(cache, page, i < kD / 2 ? 0 : 1, kv_head)) +
                            place * kD);
        }
      }
    };
    bool begins = true;
    int first_page = here.page;
    for (long long page_unit = begin; page_unit < end; ++page_unit) {
      int own = context_lengths[here.sequence] - contexts.first_page(here.sequence) * kPage;
      [[maybe_unused]] const bool begun = begins;
      if (begins) {
        begins = false;
        first_page = here.page;
        int part = here.unit_head % R::kParts, heads = R::kRatio - part * F::kGroup;
        const T *q_row = q + sequence_starts[here.sequence] * static_cast<long long>(F::kQStride) +
                         (here.unit_head / R::kParts * R::kRatio + part * F::kGroup) * kD;
#pragma unroll
        for (int n = 0; n < kTiles; ++n) {
          if constexpr (kCodes) {
            const T *from = q_row + (n * 8 + g) * kD + t * 4;
            u32 largest = 0;
#pragma unroll
            for (int k = 0; k < kSteps; ++k)
#pragma unroll
              for (int half = 0; half < 2; ++half) {
                u32 low = 0, high = 0; // columns side by side as unpack_f16 has them
                if (n * 8 + g < heads)
                  low = from[k * 16 + half].bits, high = from[k * 16 + half + 2].bits;
                query[n][k][half] = low | high << 16;
                largest = max(largest, max(low & 0x7fffu, high & 0x7fffu));
              }
            largest = max(largest, __shfl_xor_sync(0xffffffffu, largest, 1));
            largest = max(largest, __shfl_xor_sync(0xffffffffu, largest, 2));
            // The power of two at most the largest, and one over it.
            u32 power = (largest & 0x7f80u) << 16;
            float factor = __uint_as_float(0x7f000000u - power);
#pragma unroll
            for (int k = 0; k < kSteps; ++k)
#pragma unroll
              for (int half = 0; half < 2; ++half) {
                u32 pair = query[n][k][half];
                query[n][k][half] = pack_f16(__uint_as_float(pair << 16) * factor,
                                             __uint_as_float(pair & 0xffff0000u) * factor);
              }
#pragma unroll
            for (int c = 0; c < 2; ++c)
              weight_of_score[n][c] =
                  __shfl_sync(0xffffffffu, __uint_as_float(power), (t * 2 + c) * 4) *
                  (F::scale() * kLog2E * Codes<typename F::KT>::unit());
          }
#pragma unroll
          for (int k = 0; k < kSteps; ++k) {
#pragma unroll
            for (int half = 0; half < (kCodes || F::kStep ? 0 : 2); ++half) {
              const T *from = q_row + (n * 8 + g) * kD + k * 16 + half * 8 + t * 2;
              u32 low = 0, high = 0;
              if (n * 8 + g < heads)
                low = from[0].bits, high = from[1].bits;
              query[n][k][half] = low | high << 16;
            }
#pragma unroll
            for (int i = 0; i < 4; ++i)
              output[n][k][i] = 0.0f;
          }
          top[n][0] = top[n][1] = kNever;
          mass[n][0] = mass[n][1] = 0.0f;
        }
        unit = kLeastUnit;
        if constexpr (F::kPrefix)
          if (here.page == 0 && warp == 0)
            take_prefix(heads);
        if constexpr (F::kStep)
          turn_queries(q_row, heads);
      }
      [[maybe_unused]] const bool has_newest = F::kStep && here.page + 1 == here.pages;
      if constexpr (F::kStep)
        if (has_newest)
          read_newest();
      copy_async_wait<kStages - 2>();
      __syncthreads();
      copy_next(); // into the stage that every warp left before the barrier

      bf16 *k_page = stage_k(int((page_unit - begin) % kStages)),
           *v_page = stage_v(int((page_unit - begin) % kStages));
      if constexpr (F::kStep) {
        if (has_newest) {
          write_newest(k_page, v_page);
          __syncthreads();
        }
        if (begun)
#pragma unroll
          for (int n = 0; n < kTiles; ++n)
#pragma unroll
            for (int k = 0; k < kSteps; ++k)
#pragma unroll
              for (int half = 0; half < 2; ++half)
                query[n][k][half] = *reinterpret_cast<const u32 *>(turned + (n * 8 + g) * kRow +
                                                                   k * 16 + half * 8 + t * 2);
      }
      const CodeStage<F> codes = codes_of(int((page_unit - begin) % kStages));
      int valid = own - here.page * kPage - warp * 16; // of this warp's positions
      // Those of them that lie before the window; some in a pair's first page alone.
      int hidden = F::kWindow > 0 ? valid - F::kWindow : 0;
      if (valid > 0 && hidden < 16) {
        float score[kTiles][4];
#pragma unroll
        for (int n = 0; n < kTiles; ++n)
          score[n][0] = score[n][1] = score[n][2] = score[n][3] = 0.0f;
        float key_scale[2] = {1.0f, 1.0f}, value_scale[2] = {1.0f, 1.0f}, rescale = 1.0f;
        if constexpr (kCodes) {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            key_scale[half] = codes.key_scales()[warp * 16 + half * 8 + g];
            value_scale[half] = codes.value_scales()[warp * 16 + half * 8 + g];
          }
          float peak = fmaxf(value_scale[0], value_scale[1]);
          peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, 4));
          peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, 8));
          peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, 16));
          // A power of two at least the greatest scale, or much less than it was.
          float power = __uint_as_float((__float_as_uint(peak) + 0x7fffffu) & 0x7f800000u),
                now = fmaxf(fmaxf(power, unit * 0x1p-8f), kLeastUnit),
                inverse = __uint_as_float(0x7f000000u - __float_as_uint(now));
          rescale = unit * inverse;
          unit = now;
          value_scale[0] *= inverse;
          value_scale[1] *= inverse;
#pragma unroll
          for (int k = 0; k < kSteps; k += 2) {
            u32 r[4]; // of columns k·16 .. + 16 rows g and g + 8, then of the next 16
            load_matrices(r, codes.keys() + (warp * 16 + lane % 16) * CodeStage<F>::kRow + k * 16 +
                                 lane / 16 * 16);
#pragma unroll
            for (int i = 0; i < 2 && k + i < kSteps; ++i) {
              u32 a[4];
              Codes<typename F::KT>::unpack_f16(r[2 * i], a[0], a[2]);
              Codes<typename F::KT>::unpack_f16(r[2 * i + 1], a[1], a[3]);
#pragma unroll
              for (int n = 0; n < kTiles; ++n)
                mma_f16(score[n], a, query[n][k + i][0], query[n][k + i][1]);
            }
          }
        }
#pragma unroll
        for (int k = 0; k < kSteps && !kCodes; ++k) {
          u32 a[4];
          load_matrices(a, k_page + (warp * 16 + lane % 16) * kRow + k * 16 + lane / 16 * 8);
#pragma unroll
          for (int n = 0; n < kTiles; ++n)
            mma_bf16(score[n], a, query[n][k][0], query[n][k][1]);
        }
        u32 probability[kTiles][2];
#pragma unroll
        for (int n = 0; n < kTiles; ++n) {
          bool in0 = g < valid && (F::kWindow == 0 || g >= hidden),
               in1 = g + 8 < valid && (F::kWindow == 0 || g + 8 >= hidden);
          float p[4];
#pragma unroll
          for (int c = 0; c < 2; ++c) {
            float factor0 = F::scale() * kLog2E, factor1 = factor0;
            if constexpr (kCodes) {
              factor0 = weight_of_score[n][c] * key_scale[0];
              factor1 = weight_of_score[n][c] * key_scale[1];
            }
            float s0 = in0 ? score[n][c] * factor0 : kNever,
                  s1 = in1 ? score[n][2 + c] * factor1 : kNever;
            float peak = fmaxf(s0, s1);
            peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, 4));
            peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, 8));
            peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, 16));
            float now = fmaxf(top[n][c], peak), keep = ex2(top[n][c] - now);
            top[n][c] = now;
            p[c] = in0 ? ex2(s0 - now) : 0.0f;
            p[2 + c] = in1 ? ex2(s1 - now) : 0.0f;
            // The mass is summed over this lane's positions only; lanes are joined at the end of
            // the pair.
            mass[n][c] = mass[n][c] * keep + p[c] + p[2 + c];
            if constexpr (kCodes)
              keep *= rescale;
#pragma unroll
            for (int k = 0; k < kSteps; ++k) {
              output[n][k][c] *= keep;
              output[n][k][2 + c] *= keep;
            }
          }
          if constexpr (kCodes) {
            probability[n][0] =
                transpose_matrix(pack_f16(p[0] * value_scale[0], p[1] * value_scale[0]));
            probability[n][1] =
                transpose_matrix(pack_f16(p[2] * value_scale[1], p[3] * value_scale[1]));
          } else {
            probability[n][0] = transpose_matrix(pack_bf16(p[0], p[1]));
            probability[n][1] = transpose_matrix(pack_bf16(p[2], p[3]));
          }
        }
        if constexpr (kCodes) {
#pragma unroll
          for (int k = 0; k < kSteps; k += 2) {
            u32 r[4]; // of columns k·16 .. + 16 positions 0 .. 8 and 8 .. 16, then of the next 16
            load_matrices_transposed(r, codes.values() +
                                            (warp * 16 + lane % 16) * CodeStage<F>::kRow + k * 16 +
                                            lane / 16 * 16);
#pragma unroll
            for (int i = 0; i < 2 && k + i < kSteps; ++i) {
              u32 a[4];
              Codes<typename F::KT>::unpack_f16(r[2 * i], a[0], a[1]);
              Codes<typename F::KT>::unpack_f16(r[2 * i + 1], a[2], a[3]);
#pragma unroll
              for (int n = 0; n < kTiles; ++n)
                mma_f16(output[n][k + i], a, probability[n][0], probability[n][1]);
            }
          }
        }
#pragma unroll
        for (int k = 0; k < kSteps && !kCodes; ++k) {
          u32 a[4];
          load_matrices_transposed(a, v_page + (warp * 16 + lane / 16 * 8 + lane % 8) * kRow +
                                          k * 16 + lane / 8 % 2 * 8);
#pragma unroll
          for (int n = 0; n < kTiles; ++n)
            mma_bf16(output[n][k], a, probability[n][0], probability[n][1]);
        }
      }

      bool ends = here.page + 1 == here.pages || page_unit + 1 == end;
      if (ends) {
        float *merge = reinterpret_cast<float *>(stage_k(int((page_unit - begin) % kStages)));
        float *merge_top = merge + 4 * F::kGroup * kMergeRow,
              *merge_mass = merge_top + 4 * F::kGroup;
        float worth = 1.0f; // of an output of 1
        if constexpr (kCodes)
          worth = unit * Codes<typename F::KT>::unit();
        __syncthreads(); // every warp has read the page
#pragma unroll
        for (int n = 0; n < kTiles; ++n)
#pragma unroll
          for (int c = 0; c < 2; ++c) {
            int h = n * 8 + t * 2 + c;
            float total = mass[n][c];
            total += __shfl_xor_sync(0xffffffffu, total, 4);
            total += __shfl_xor_sync(0xffffffffu, total, 8);
            total += __shfl_xor_sync(0xffffffffu, total, 16);
            if (g == 0) {
              merge_top[warp * F::kGroup + h] = top[n][c];
              merge_mass[warp * F::kGroup + h] = total;
            }
#pragma unroll
            for (int k = 0; k < kSteps; ++k) {
              if constexpr (kCodes) {
                float *to = merge + (warp * F::kGroup + h) * kMergeRow + k * 16 + g * 2;
                to[0] = output[n][k][c] * worth;
                to[1] = output[n][k][2 + c] * worth;
              } else {
                merge[(warp * F::kGroup + h) * kMergeRow + k * 16 + g] = output[n][k][c];
                merge[(warp * F::kGroup + h) * kMergeRow + k * 16 + g + 8] = output[n][k][2 + c];
              }
            }
          }
        __syncthreads();
        auto joint_top = [&](int h) {
          return fmaxf(fmaxf(merge_top[h], merge_top[F::kGroup + h]),
                       fmaxf(merge_top[2 * F::kGroup + h], merge_top[3 * F::kGroup + h]));
        };
        auto join = [&](int h, auto part) {
          float peak = joint_top(h), total = 0.0f;
#pragma unroll
          for (int w = 0; w < 4; ++w)
            total += ex2(merge_top[w * F::kGroup + h] - peak) * part(w);
          return total;
        };
        finish(
            first_page, here.page + 1, joint_top,
            [&](int h) { return join(h, [&](int w) { return merge_mass[w * F::kGroup + h]; }); },
            [&](int h, int k) {
              return join(h, [&](int w) { return merge[(w * F::kGroup + h) * kMergeRow + k]; });
            },
            u64(page_unit + 1), merge);
        // The next copy to this stage comes after a barrier of the loop.
        begins = true;
      }
      if (page_unit + 1 < end)
        advance(here);
    }
    copy_async_wait<0>();
  }
}

template <class F>
M1K_DEVICE void attention_combine(const int *sequence_starts, const int *context_lengths,
                                  const int *prefix_pages, typename F::T *out,
                                  const float *workspace, m1_dims dims) {
  using R = AttentionTraits<F>;
  int sequence = blockIdx.y, unit_head = blockIdx.x;
  if (sequence >= dims.sequences)
    return;
  const Contexts<F> contexts = {sequence_starts, context_lengths, prefix_pages, dims.sequences};
  int pages = contexts.pages(sequence);
  if (pages == 0)
    return;
  PageSums sums = sum_pages<F, true>(contexts, [&](int) { return sequence; });
  u64 units = static_cast<u64>(sums.total) * R::kUnitHeads, blocks = blocks_of<F>(units);
  u64 first = static_cast<u64>(unit_head) * sums.total + sums.before;
  const PairBlocks of(first, pages, units, blocks);
  if (of.count == 1)
    return;
  int kv_head = unit_head / R::kParts, part = unit_head % R::kParts;
  int head = kv_head * R::kRatio + part * F::kGroup,
      heads = min(F::kGroup, R::kRatio - part * F::kGroup);
  // Of no more heads than there are: shared memory that a multiprocessor keeps for this launch, the
  // product behind it, which begins before it has ended, lacks as first cache (Llama-3.2-3B at
  // batch 1 on an H200: 2.75 ms a step with 12 KB a block, 2.28 with little).
  constexpr int kOwn = F::kGroup < R::kRatio ? F::kGroup : R::kRatio;
  __shared__ float weights[kOwn * F::kBlocks], inverse[kOwn];
  join_parts<F>(of, heads, workspace, weights, inverse,
                out + sequence_starts[sequence] * static_cast<long long>(F::kOutStride) +
                    head * F::kD);
}

} // namespace m1k

#endif
