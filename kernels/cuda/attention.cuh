// What the attention kernels share: the paged cache, a tile of it in shared memory, and the path
// without tensor cores.
//
// Facts F: T (q, out), KT (cache); kHeads, kKvHeads, kD, kQStride, kOutStride, scale();
// kSharedBytes; kGroup: q heads that a block attends with at once. A kv head's kHeads / kKvHeads q
// heads are served in kParts parts of at most kGroup; "unit head" counts kv heads times parts.
// kWindow: how many positions a token sees, its own included; 0: all.
#ifndef M1K_ATTENTION_CUH
#define M1K_ATTENTION_CUH

#include "codes.cuh"

namespace m1k {

constexpr int kPage = M1_PAGE_SIZE;
constexpr float kNever = -1e30f; // below every score; finite, so that differences of it are numbers

template <class F> struct AttentionTraits {
  static constexpr int kRatio = F::kHeads / F::kKvHeads;
  static constexpr int kParts = ceil_div(kRatio, F::kGroup);
  static constexpr int kUnitHeads = F::kKvHeads * kParts;
  static constexpr int kRow =
      // of a page in shared memory: an odd number of 16-byte pieces, so rows differ in banks
      F::kD + 8;
  static constexpr bool kCodes = is_code<typename F::KT>;
  // Elements of K or V of a kv head in a page, with the scales of codes.
  static constexpr int kPageElements = kPage * (F::kD + (kCodes ? 4 : 0));
  static_assert(F::kHeads % F::kKvHeads == 0, "whole groups of q heads");
};

// The first position that the token behind `context - 1` others sees.
template <class F> M1K_DEVICE int first_seen(int context) {
  return F::kWindow > 0 ? max(context - F::kWindow, 0) : 0;
}

// First element of K (which 0) or V (which 1) of a kv head in a page.
template <class F>
M1K_DEVICE const typename F::KT *page_rows(const typename F::KT *cache, int page, int which,
                                           int kv_head) {
  return cache + ((static_cast<long long>(page) * 2 + which) * F::kKvHeads + kv_head) *
                     AttentionTraits<F>::kPageElements;
}

// Copies positions [hidden, valid) of a page to shared memory and zeros around them, so that what
// the cache holds there cannot matter.
template <class F, int threads>
M1K_DEVICE void copy_page(bf16 *shared, const bf16 *rows, int valid, int hidden) {
  constexpr int kPieces = F::kD / 8;
#pragma unroll 4
  for (int i = threadIdx.x; i < kPage * kPieces; i += threads) {
    int r = i / kPieces, j = i % kPieces;
    copy_async16(shared + r * AttentionTraits<F>::kRow + j * 8, rows + r * F::kD + j * 8,
                 r < valid && (F::kWindow == 0 || r >= hidden));
  }
}

// Codes of a page in shared memory: rows of K, of V, then the scales of both.
template <class F> struct CodeStage {
  static constexpr int kRow = F::kD + 16; // bytes; as kRow of AttentionTraits
  static constexpr int kScales = 2 * kPage * kRow, kBytes = kScales + 2 * kPage * 4;
  unsigned char *base;

  M1K_DEVICE const unsigned char *keys() const { return base; }
  M1K_DEVICE const unsigned char *values() const { return base + kPage * kRow; }
  M1K_DEVICE const float *key_scales() const {
    return reinterpret_cast<const float *>(base + kScales);
  }
  M1K_DEVICE const float *value_scales() const { return key_scales() + kPage; }

  // Positions [hidden, valid) of K and V of a kv head in a page, zeros and scales of 0 around them.
  // At least 128 threads.
  template <int threads>
  M1K_DEVICE void copy(const typename F::KT *cache, int page, int kv_head, int valid,
                       int hidden) const {
    static_assert(F::kD % 16 == 0 && threads >= 2 * kPage, "whole pieces, a scale a thread");
    constexpr int kPieces = F::kD / 16;
    auto seen = [&](int r) { return r < valid && (F::kWindow == 0 || r >= hidden); };
#pragma unroll
    for (int which = 0; which < 2; ++which) {
      const auto *rows = page_rows<F>(cache, page, which, kv_head);
#pragma unroll 4
      for (int i = threadIdx.x; i < kPage * kPieces; i += threads) {
        int r = i / kPieces, j = i % kPieces * 16;
        copy_async16(base + (which * kPage + r) * kRow + j, rows + r * F::kD + j, seen(r));
      }
    }
    if (threads == 2 * kPage || threadIdx.x < 2 * kPage) {
      int which = threadIdx.x / kPage, r = threadIdx.x % kPage;
      const float *from = scales_behind(page_rows<F>(cache, page, which, kv_head), F::kD) + r;
      asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(
                       shared_address(base + kScales + threadIdx.x * 4)),
                   "l"(from), "r"(seen(r) ? 4 : 0)
                   : "memory");
    }
  }
};

// Attention of kGroup q heads at one token over pages [first, last) of its sequence, in f32: max
// and sum of exponentials (base 2) to `top` and `mass`, the unnormalised output to sums[head][d],
// all in shared memory. Blocks of 128 threads.
template <class F> struct GenericAttention {
  static constexpr int kThreads = 128, kColumns = ceil_div(F::kD, kThreads);
  static constexpr int kTileRow = F::kD + 1;
  static constexpr int kFloats =
      kPage * kTileRow + 2 * F::kGroup * F::kD + F::kGroup * kPage + 3 * F::kGroup;
  float *tile, *q, *sums, *scores, *top, *mass, *rescale;

  M1K_DEVICE GenericAttention() {
    tile = reinterpret_cast<float *>(m1k_shared);
    q = tile + kPage * kTileRow;
    sums = q + F::kGroup * F::kD;
    scores = sums + F::kGroup * F::kD;
    top = scores + F::kGroup * kPage;
    mass = top + F::kGroup;
    rescale = mass + F::kGroup;
  }

  M1K_DEVICE void load(const typename F::KT *rows, int hidden, int valid) {
    for (int i = threadIdx.x; i < kPage * F::kD; i += kThreads) {
      bool seen = i / F::kD >= hidden && i / F::kD < valid;
      float value = seen ? to_float(rows[i]) : 0.0f;
      if constexpr (AttentionTraits<F>::kCodes)
        if (seen)
          value *= scales_behind(rows, F::kD)[i / F::kD];
      tile[i / F::kD * kTileRow + i % F::kD] = value;
    }
  }

  M1K_DEVICE void run(const typename F::T *q_row, int heads, const typename F::KT *cache,
                      int kv_head, const int *table, int first, int last, int context) {
    float output[F::kGroup][kColumns];
    for (int i = threadIdx.x; i < F::kGroup * F::kD; i += kThreads)
      q[i] = i / F::kD < heads ? to_float(q_row[i]) * (F::scale() * kLog2E) : 0.0f;
    for (int i = threadIdx.x; i < F::kGroup; i += kThreads)
      top[i] = kNever, mass[i] = 0.0f;
#pragma unroll
    for (int h = 0; h < F::kGroup; ++h)
#pragma unroll
      for (int c = 0; c < kColumns; ++c)
        output[h][c] = 0.0f;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (int page = first; page < last; ++page) {
      int valid = min(kPage, context - page * kPage);
      int hidden = max(first_seen<F>(context) - page * kPage, 0);
      load(page_rows<F>(cache, table[page], 0, kv_head), hidden, valid);
      __syncthreads();
      for (int i = threadIdx.x; i < F::kGroup * kPage; i += kThreads) {
        int h = i / kPage, p = i % kPage;
        float sum = 0.0f;
        for (int k = 0; k < F::kD; ++k)
          sum += q[h * F::kD + k] * tile[p * kTileRow + k];
        scores[i] = p >= hidden && p < valid ? sum : kNever;
      }
      __syncthreads();
      for (int h = warp; h < F::kGroup; h += kThreads / 32) {
        float a = scores[h * kPage + lane], b = scores[h * kPage + 32 + lane];
        float old = top[h], now = fmaxf(old, lane_max<32>(fmaxf(a, b)));
        a = lane >= hidden && lane < valid ? ex2(a - now) : 0.0f;
        b = lane + 32 >= hidden && lane + 32 < valid ? ex2(b - now) : 0.0f;
        scores[h * kPage + lane] = a;
        scores[h * kPage + 32 + lane] = b;
        float total = lane_sum<32>(a + b);
        if (lane == 0) {
          rescale[h] = ex2(old - now);
          mass[h] = mass[h] * rescale[h] + total;
          top[h] = now;
        }
      }
      load(page_rows<F>(cache, table[page], 1, kv_head), hidden, valid);
      __syncthreads();
#pragma unroll
      for (int h = 0; h < F::kGroup; ++h)
#pragma unroll
        for (int c = 0; c < kColumns; ++c)
          output[h][c] *= rescale[h];
      for (int p = hidden; p < valid; ++p)
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          int k = threadIdx.x + c * kThreads;
          float v = k < F::kD ? tile[p * kTileRow + k] : 0.0f;
#pragma unroll
          for (int h = 0; h < F::kGroup; ++h)
            output[h][c] += scores[h * kPage + p] * v;
        }
      __syncthreads();
    }
#pragma unroll
    for (int h = 0; h < F::kGroup; ++h)
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        int k = threadIdx.x + c * kThreads;
        if (k < F::kD)
          sums[h * F::kD + k] = output[h][c];
      }
    __syncthreads();
  }
};

// Prefill without tensor cores: grid (unit heads, T), one token a block.
template <class F>
M1K_DEVICE void attention_generic(const typename F::T *q, const typename F::KT *cache,
                                  const int *sequence_starts, const int *context_lengths,
                                  const int *block_tables, typename F::T *out, m1_dims dims) {
  using R = AttentionTraits<F>;
  static_assert(GenericAttention<F>::kFloats * 4 <= F::kSharedBytes,
                "the launch reserves too little shared memory");
  int token = blockIdx.y;
  if (token >= dims.tokens)
    return;
  int sequence = find_sequence(sequence_starts, dims.sequences, token);
  int context = context_lengths[sequence] -
                (sequence_starts[sequence + 1] - 1 - token); // positions that the token sees
  int kv_head = blockIdx.x / R::kParts, part = blockIdx.x % R::kParts;
  int head = kv_head * R::kRatio + part * F::kGroup,
      heads = min(F::kGroup, R::kRatio - part * F::kGroup);
  GenericAttention<F> attention;
  attention.run(q + token * static_cast<long long>(F::kQStride) + head * F::kD, heads, cache,
                kv_head, block_tables + sequence * static_cast<long long>(dims.max_pages),
                first_seen<F>(context) / kPage, (context + kPage - 1) / kPage, context);
  for (int i = threadIdx.x; i < heads * F::kD; i += GenericAttention<F>::kThreads)
    out[token * static_cast<long long>(F::kOutStride) + head * F::kD + i] =
        from_float<typename F::T>(attention.sums[i] / attention.mass[i / F::kD]);
}

} // namespace m1k

#endif
