// Causal grouped-query attention over the paged cache, by online softmax. The query rows of a group
// (its tokens times the query heads of one KV head) go through the pages together, so that a page
// of K and V is read from memory once.
#include "vector.h"

using namespace m1k;

namespace {

/// Σ_i q[i] k[i] over head_dim; q is float32.
M1K_INLINE float dot(const float *q, const void *k, int type, long index, int head_dim) {
  Floats total = 0.0f;
  forVectors(head_dim, [&](int i, int width) M1K_BODY {
    total = total + load(q, M1K_F32, i, width) * load(k, type, index + i, width);
  });
  return sum(total);
}

/// acc = acc * keep + Σ_k p[k] V[k] for `count` rows of V, Blocks * 16 columns at once to keep the
/// sums in registers.
template <int Blocks>
M1K_INLINE void accumulate(float *acc, float keep, const float *p, int count, const void *v,
                           int type, long index, int head_dim, int width) {
  Floats total[Blocks];
  for (int i = 0; i < Blocks; ++i)
    total[i] = load(acc, M1K_F32, i * lanes, width) * keep;
  for (int k = 0; k < count; ++k)
    for (int i = 0; i < Blocks; ++i)
      total[i] = total[i] +
                 p[k] * load(v, type, index + static_cast<long>(k) * head_dim + i * lanes, width);
  for (int i = 0; i < Blocks; ++i)
    store(acc, M1K_F32, i * lanes, width, total[i]);
}

M1K_INLINE const float *scalesOf(const void *cache, long byte) {
  return reinterpret_cast<const float *>(static_cast<const char *>(cache) + byte);
}

} // namespace

M1K_ENTRY void m1k_cpu_attention(void *out, const void *q, const void *cache,
                                 const int *sequence_starts, const int *context_lengths,
                                 const int *block_tables, const m1_dims *dims, int group_x,
                                 int group_y, int heads, int kv_heads, int head_dim, float scale,
                                 int window, int tokens_per_group, int kv_type, int out_type,
                                 long out_stride, int q_type, long q_stride) {
  // below every score; finite, so that differences with it are defined
  const float lowest = -3.0e38f;
  const bool hasScales = kv_type == M1K_I8 || kv_type == M1K_E4M3;
  const long plane = M1_PAGE_SIZE * (head_dim + (hasScales ? static_cast<long>(sizeof(float)) : 0));
  int ratio = heads / kv_heads;
  int rowLimit = tokens_per_group * ratio;
  float *queries = M1K_STACK(rowLimit * head_dim); // scaled
  float *sums = M1K_STACK(rowLimit * head_dim);
  float *greatestOf = M1K_STACK(rowLimit);
  float *weightOf = M1K_STACK(rowLimit);
  float *p = M1K_STACK(M1_PAGE_SIZE);

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
      greatestOf[row] = lowest;
      weightOf[row] = 0.0f;
    }

    const int *table = block_tables + static_cast<long>(sequence) * dims->max_pages;
    int firstSeen = window > 0 && position >= window ? position + 1 - window : 0;
    for (int pageBegin = firstSeen / M1_PAGE_SIZE * M1_PAGE_SIZE; pageBegin < visible;
         pageBegin += M1_PAGE_SIZE) {
      long page = table[pageBegin / M1_PAGE_SIZE];
      long keysOfPage = (page * 2 * kv_heads + group_x) * plane;
      long valuesOfPage = ((page * 2 + 1) * kv_heads + group_x) * plane;
      const float *keyScales = scalesOf(cache, keysOfPage + M1_PAGE_SIZE * head_dim),
                  *valueScales = scalesOf(cache, valuesOfPage + M1_PAGE_SIZE * head_dim);
      for (int row = 0; row < rows; ++row) {
        int count = least(M1_PAGE_SIZE, position + row / ratio + 1 - pageBegin);
        long keys = keysOfPage, values = valuesOfPage;
        int first = 0; // of the page's positions
        if (window > 0) {
          int hidden = position + row / ratio + 1 - window - pageBegin; // of the page's positions
          if (hidden > 0) {
            first = hidden;
            keys += static_cast<long>(hidden) * head_dim;
            values += static_cast<long>(hidden) * head_dim;
            count -= hidden;
          }
        }
        if (count <= 0)
          continue;
        const float *query = queries + row * head_dim;
        for (int k = 0; k < count; ++k)
          p[k] = dot(query, cache, kv_type, keys + static_cast<long>(k) * head_dim, head_dim);
        if (hasScales)
          for (int k = 0; k < count; ++k)
            p[k] *= keyScales[first + k];
        int padded = (count + lanes - 1) / lanes * lanes;
        for (int k = count; k < padded; ++k)
          p[k] = lowest;

        Floats top = lowest;
        for (int k = 0; k < padded; k += lanes) {
          Floats s = load(p, M1K_F32, k, lanes);
          top = s > top ? s : top;
        }
        float before = greatestOf[row], now = greatest(top);
        now = before > now ? before : now;
        Floats weight = 0.0f;
        for (int k = 0; k < padded; k += lanes) {
          Floats e = exp(load(p, M1K_F32, k, lanes) - now);
          store(p, M1K_F32, k, lanes, e);
          weight = weight + e;
        }
        float keep = exp(Floats(before - now))[0];
        greatestOf[row] = now;
        weightOf[row] = weightOf[row] * keep + sum(weight);

        if (hasScales)
          for (int k = 0; k < count; ++k)
            p[k] *= valueScales[first + k];
        float *acc = sums + row * head_dim;
        int i = 0;
        for (; i + 4 * lanes <= head_dim; i += 4 * lanes)
          accumulate<4>(acc + i, keep, p, count, cache, kv_type, values + i, head_dim, lanes);
        for (; i + lanes <= head_dim; i += lanes)
          accumulate<1>(acc + i, keep, p, count, cache, kv_type, values + i, head_dim, lanes);
        if (i < head_dim)
          accumulate<1>(acc + i, keep, p, count, cache, kv_type, values + i, head_dim,
                        head_dim - i);
      }
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
