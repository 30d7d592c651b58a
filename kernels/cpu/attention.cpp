// Causal grouped-query attention over the paged cache, by online softmax. The query rows of a group
// (its tokens times the query heads of one KV head) go through the pages together, so that a page
// of K and V is read from memory once.
#include "vector.h"

using namespace m1k;

namespace {

/// Lane i is what sum() makes of v[i].
M1K_INLINE Floats sumsOf(const Floats (&v)[lanes]) {
  Floats a[8], b[4], c[2];
  for (int i = 0; i < 8; ++i)
    a[i] = __builtin_shufflevector(v[2 * i], v[2 * i + 1], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19,
                                   20, 21, 22, 23) +
           __builtin_shufflevector(v[2 * i], v[2 * i + 1], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26,
                                   27, 28, 29, 30, 31);
  for (int i = 0; i < 4; ++i)
    b[i] = __builtin_shufflevector(a[2 * i], a[2 * i + 1], 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19,
                                   24, 25, 26, 27) +
           __builtin_shufflevector(a[2 * i], a[2 * i + 1], 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22,
                                   23, 28, 29, 30, 31);
  for (int i = 0; i < 2; ++i)
    c[i] = __builtin_shufflevector(b[2 * i], b[2 * i + 1], 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21,
                                   24, 25, 28, 29) +
           __builtin_shufflevector(b[2 * i], b[2 * i + 1], 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22,
                                   23, 26, 27, 30, 31);
  return __builtin_shufflevector(c[0], c[1], 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28,
                                 30) +
         __builtin_shufflevector(c[0], c[1], 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29,
                                 31);
}

/// p[r, k] = Σ_i q[r, i] k[k, i] over head_dim for Rows queries, q of float32, and the keys first …
/// count of a page; what lies behind these in p is not kept. The order of a sum does not depend on
/// Rows.
template <int Rows>
M1K_INLINE void dots(const float *q, const void *k, int type, long index, int head_dim, int first,
                     int count, float *p) {
  constexpr int keys = lanes / Rows;
  for (int begin = first / keys * keys; begin < count; begin += keys) {
    Floats totals[lanes];
    for (int key = 0; key < keys; ++key) {
      const int place = begin + key;
      const long at =
          index + static_cast<long>(place < first ? first : least(place, count - 1)) * head_dim;
      Floats total[Rows];
      for (Floats &t : total)
        t = 0.0f;
      forVectors(head_dim, [&](int i, int width) M1K_BODY {
        const Floats value = load(k, type, at + i, width);
        for (int r = 0; r < Rows; ++r)
          total[r] = total[r] + load(q, M1K_F32, r * head_dim + i, width) * value;
      });
      for (int r = 0; r < Rows; ++r)
        totals[r * keys + key] = total[r];
    }
    const Floats sums = sumsOf(totals);
    for (int r = 0; r < Rows; ++r)
      __builtin_memcpy(p + r * M1_PAGE_SIZE + begin,
                       reinterpret_cast<const char *>(&sums) + r * keys * sizeof(float),
                       keys * sizeof(float));
  }
}

/// acc[r] = acc[r] * keep[r] + Σ_k p[r, k] V[k] over the rows first … count of V, Blocks * 16
/// columns at once to keep the sums in registers.
template <int Rows, int Blocks>
M1K_INLINE void accumulate(float *acc, const float *keep, const float *p, int first, int count,
                           const void *v, int type, long index, int head_dim, int width) {
  Floats total[Rows * Blocks];
  for (int r = 0; r < Rows; ++r)
    for (int i = 0; i < Blocks; ++i)
      total[r * Blocks + i] = load(acc, M1K_F32, r * head_dim + i * lanes, width) * keep[r];
  for (int k = first; k < count; ++k)
    for (int i = 0; i < Blocks; ++i) {
      const Floats value =
          load(v, type, index + static_cast<long>(k) * head_dim + i * lanes, width);
      for (int r = 0; r < Rows; ++r)
        total[r * Blocks + i] = total[r * Blocks + i] + p[r * M1_PAGE_SIZE + k] * value;
    }
  for (int r = 0; r < Rows; ++r)
    for (int i = 0; i < Blocks; ++i)
      store(acc, M1K_F32, r * head_dim + i * lanes, width, total[r * Blocks + i]);
}

/// What the queries of a group have seen so far, a row for each.
struct Rows {
  const float *queries; // scaled
  float *sums, *greatest, *weight;
};

/// A page of keys and values and which of its positions a row sees.
struct Page {
  const void *cache;
  int type, headDim, ratio;
  long keys, values;                    // where the planes begin
  const float *keyScales, *valueScales; // null: none
  int begin, position, window;          // of the page; of row 0; 0: none

  M1K_BODY int first(int row) const {
    const int hidden = position + row / ratio + 1 - window - begin;
    return window > 0 && hidden > 0 ? least(hidden, M1_PAGE_SIZE) : 0;
  }
  M1K_BODY int end(int row) const {
    const int visible = position + row / ratio + 1 - begin;
    return visible < 0 ? 0 : least(visible, M1_PAGE_SIZE);
  }
};

/// Count rows from `row` on see a page. What one of them does not see of what others do has the
/// weight 0.
template <int Count> M1K_INLINE void seePage(const Page &page, const Rows &all, int row) {
  // below every score; finite, so that differences with it are defined
  const float lowest = -3.0e38f;
  const int first = page.first(row), end = page.end(row + Count - 1), headDim = page.headDim;
  if (first >= end)
    return;
  alignas(64) float p[Count * M1_PAGE_SIZE];
  float keep[Count];
  dots<Count>(all.queries + row * headDim, page.cache, page.type, page.keys, headDim, first, end,
              p);
  const int begin = first / lanes * lanes, padded = (end + lanes - 1) / lanes * lanes;
  for (int r = 0; r < Count; ++r) {
    float *scores = p + r * M1_PAGE_SIZE;
    const int from = page.first(row + r), to = page.end(row + r);
    if (from >= to) {
      for (int k = begin; k < padded; k += lanes)
        store(scores, M1K_F32, k, lanes, Floats(0.0f));
      keep[r] = 1.0f;
      continue;
    }
    if (page.keyScales)
      for (int k = from; k < to; ++k)
        scores[k] *= page.keyScales[k];
    for (int k = begin; k < from; ++k)
      scores[k] = lowest;
    for (int k = to; k < padded; ++k)
      scores[k] = lowest;
    Floats top = lowest;
    for (int k = begin; k < padded; k += lanes) {
      const Floats s = load(scores, M1K_F32, k, lanes);
      top = s > top ? s : top;
    }
    const float before = all.greatest[row + r], seen = greatest(top),
                now = before > seen ? before : seen;
    Floats weight = 0.0f;
    for (int k = begin; k < padded; k += lanes) {
      const Floats e = exp(load(scores, M1K_F32, k, lanes) - now);
      store(scores, M1K_F32, k, lanes, e);
      weight = weight + e;
    }
    keep[r] = exp(Floats(before - now))[0];
    all.greatest[row + r] = now;
    all.weight[row + r] = all.weight[row + r] * keep[r] + sum(weight);
    if (page.valueScales)
      for (int k = from; k < to; ++k)
        scores[k] *= page.valueScales[k];
  }
  float *acc = all.sums + row * headDim;
  constexpr int blocks = Count == 1 ? 4 : 2;
  int i = 0;
  for (; i + blocks * lanes <= headDim; i += blocks * lanes)
    accumulate<Count, blocks>(acc + i, keep, p, first, end, page.cache, page.type, page.values + i,
                              headDim, lanes);
  for (; i + lanes <= headDim; i += lanes)
    accumulate<Count, 1>(acc + i, keep, p, first, end, page.cache, page.type, page.values + i,
                         headDim, lanes);
  if (i < headDim)
    accumulate<Count, 1>(acc + i, keep, p, first, end, page.cache, page.type, page.values + i,
                         headDim, headDim - i);
}

M1K_INLINE const float *scalesOf(const void *cache, long byte) {
  return reinterpret_cast<const float *>(static_cast<const char *>(cache) + byte);
}

} // namespace

// Causal grouped-query attention over a paged cache that already holds this step's K and V. Domain:
// tokens, tokens_per_group a group (they may belong to several sequences); grid_x = kv_heads, a
// group owns the heads / kv_heads query heads of KV head group_x. The token t of sequence s has
// position context_lengths[s] - (sequence_starts[s + 1] - t) and sees positions up to its own, the
// last `window` of them if window > 0; pages before those are not read. q, out: [T, heads *
// head_dim]. cache: [pages][2 (K, V)][kv_heads][M1_PAGE_SIZE][head_dim] of kv_type; of M1K_I8 and
// M1K_E4M3 the M1_PAGE_SIZE scales, float, of a head's keys, or values, in a page follow their
// codes. block_tables: [S][dims->max_pages]. Stack: 8 * tokens_per_group * (heads / kv_heads) *
// (head_dim + 16) bytes.
M1K_ENTRY void m1k_cpu_attention(void *out, const void *q, const void *cache,
                                 const int *sequence_starts, const int *context_lengths,
                                 const int *block_tables, const m1_dims *dims, int group_x,
                                 int group_y, int heads, int kv_heads, int head_dim, float scale,
                                 int window, int tokens_per_group, int kv_type, int out_type,
                                 long out_stride, int q_type, long q_stride) {
  const bool hasScales = kv_type == M1K_I8 || kv_type == M1K_E4M3;
  const long plane = M1_PAGE_SIZE * (head_dim + (hasScales ? static_cast<long>(sizeof(float)) : 0));
  int ratio = heads / kv_heads;
  int rowLimit = tokens_per_group * ratio;
  float *queries = M1K_STACK(rowLimit * head_dim); // scaled
  float *sums = M1K_STACK(rowLimit * head_dim);
  float *greatestOf = M1K_STACK(rowLimit);
  float *weightOf = M1K_STACK(rowLimit);

  int groupBegin = group_y * tokens_per_group;
  int groupEnd = least(groupBegin + tokens_per_group, dims->tokens);
  // The sequence of the first token: the last one that starts at or before it (empty sequences
  // share their start with the next).
  int low = 0, high = dims->sequences;
  while (high - low > 1) {
    int middle = (low + high) / 2;
    if (sequence_starts[middle] <= groupBegin)
      low = middle;
    else
      high = middle;
  }

  int sequence = low;
  for (int begin = groupBegin; begin < groupEnd;) {
    while (sequence_starts[sequence + 1] <= begin)
      ++sequence;
    int end = least(groupEnd, sequence_starts[sequence + 1]);
    int rows = (end - begin) * ratio;
    // of token `begin`
    int position = context_lengths[sequence] - (sequence_starts[sequence + 1] - begin);
    int visible = position + (end - begin); // cached positions that the last token sees

    for (int row = 0; row < rows; ++row) {
      long source = static_cast<long>(begin + row / ratio) * q_stride +
                    static_cast<long>(group_x * ratio + row % ratio) * head_dim;
      forVectors(head_dim, [&](int i, int width) M1K_BODY {
        store(queries, M1K_F32, row * head_dim + i, width,
              load(q, q_type, source + i, width) * scale);
        store(sums, M1K_F32, row * head_dim + i, width, Floats(0.0f));
      });
      greatestOf[row] = -3.0e38f;
      weightOf[row] = 0.0f;
    }

    const int *table = block_tables + static_cast<long>(sequence) * dims->max_pages;
    int firstSeen = window > 0 && position >= window ? position + 1 - window : 0;
    for (int pageBegin = firstSeen / M1_PAGE_SIZE * M1_PAGE_SIZE; pageBegin < visible;
         pageBegin += M1_PAGE_SIZE) {
      long page = table[pageBegin / M1_PAGE_SIZE];
      const long keys = (page * 2 * kv_heads + group_x) * plane,
                 values = ((page * 2 + 1) * kv_heads + group_x) * plane,
                 scales = M1_PAGE_SIZE * head_dim;
      const Page seen{cache,
                      kv_type,
                      head_dim,
                      ratio,
                      keys,
                      values,
                      hasScales ? scalesOf(cache, keys + scales) : nullptr,
                      hasScales ? scalesOf(cache, values + scales) : nullptr,
                      pageBegin,
                      position,
                      window};
      const Rows all{queries, sums, greatestOf, weightOf};
      int row = 0;
      for (; row + 4 <= rows; row += 4)
        seePage<4>(seen, all, row);
      if (row + 2 <= rows) {
        seePage<2>(seen, all, row);
        row += 2;
      }
      if (row < rows)
        seePage<1>(seen, all, row);
    }

    for (int row = 0; row < rows; ++row) {
      long target = static_cast<long>(begin + row / ratio) * out_stride +
                    static_cast<long>(group_x * ratio + row % ratio) * head_dim;
      float inverse = 1.0f / weightOf[row];
      forVectors(head_dim, [&](int i, int width) M1K_BODY {
        store(out, out_type, target + i, width,
              load(sums, M1K_F32, row * head_dim + i, width) * inverse);
      });
    }
    begin = end;
  }
}
