// Mixtures of experts: which experts a row has, and products with the weights of those.
#include "vector.h"

using namespace m1k;

// Of each row of logits [T, count]: scores are its softmax, or sigmoid; the `chosen` experts of
// largest score + correction, the smaller index among equals, and their scores, divided by (their
// sum + 1e-20) if `normalize`, times scale. With groups > 1, experts are out in all but the
// kept_groups groups of count / groups >= 2 experts whose two largest have the largest sum.
// Rows that hold a NaN have valid experts and weights of no meaning. correction: [count] or null. A
// group owns rows [begin, end). Stack: 8 * count + 4 * groups bytes.
M1K_ENTRY void m1k_cpu_router(float *weights, int *experts, const float *logits,
                              const float *correction, long begin, long end, int count, int chosen,
                              int sigmoid_scores, int normalize, float scale, int groups,
                              int kept_groups, long weights_stride, long experts_stride,
                              long logits_stride) {
  float *score = M1K_STACK(count), *choice = M1K_STACK(count), *group = M1K_STACK(groups);
  int size = count / groups;
  // Index of the largest value, the first among equals; of NaNs too some index. Values that were
  // taken before are -infinity.
  const float taken = -__builtin_inff();
  auto largest = [&](const float *values, int n) M1K_BODY {
    int best = -1;
    for (int i = 0; i < n; ++i)
      if (values[i] != taken && (best < 0 || values[i] > values[best]))
        best = i;
    // Only where all that is left is -infinity, which no finite input makes.
    return best < 0 ? 0 : best;
  };
  for (long t = begin; t < end; ++t) {
    const float *row = logits + t * logits_stride;
    if (sigmoid_scores) {
      forVectors(count, [&](int i, int width) M1K_BODY {
        store(score, M1K_F32, i, width, sigmoid(load(row, M1K_F32, i, width)));
      });
    } else {
      float top = row[0];
      for (int i = 1; i < count; ++i)
        top = row[i] > top ? row[i] : top;
      float total = 0.0f;
      forVectors(count, [&](int i, int width) M1K_BODY {
        store(score, M1K_F32, i, width, exp(load(row, M1K_F32, i, width) - top));
      });
      for (int i = 0; i < count; ++i)
        total += score[i];
      for (int i = 0; i < count; ++i)
        score[i] /= total;
    }
    for (int i = 0; i < count; ++i)
      choice[i] = score[i] + (correction ? correction[i] : 0.0f);
    if (groups > 1) {
      for (int g = 0; g < groups; ++g) {
        float first = taken, second = taken;
        for (int i = g * size; i < (g + 1) * size; ++i) {
          float low = choice[i] < first ? choice[i] : first;
          first = choice[i] > first ? choice[i] : first;
          second = low > second ? low : second;
        }
        group[g] = first + second;
      }
      for (int i = 0; i < kept_groups; ++i)
        group[largest(group, groups)] = taken;
      for (int g = 0; g < groups; ++g)
        if (group[g] != taken)
          for (int i = g * size; i < (g + 1) * size; ++i)
            choice[i] = taken;
    }
    float *outWeights = weights + t * weights_stride;
    int *outExperts = experts + t * experts_stride;
    float total = 0.0f;
    for (int j = 0; j < chosen; ++j) {
      int e = largest(choice, count);
      outExperts[j] = e;
      outWeights[j] = score[e];
      total += score[e];
      choice[e] = taken;
    }
    float factor = normalize ? scale / (total + 1e-20f) : scale;
    for (int j = 0; j < chosen; ++j)
      outWeights[j] *= factor;
  }
}

namespace {

/// Products of `Rows` rows of weights from `row` on with `Tokens` rows of x.
template <int Rows, int Tokens>
M1K_INLINE void tile(void *out, int outType, const long *outAt, const void *x, int xType,
                     const long *xAt, const void *weight, int weightType, const void *scale,
                     int scaleType, int group, long row, int n, int k) {
  Floats sums[Rows][Tokens];
  for (int r = 0; r < Rows; ++r)
    for (int m = 0; m < Tokens; ++m)
      sums[r][m] = 0.0f;
  const bool withMinimums = hasMinimums(scaleType);
  // `factors`, `minimums`: of a group that the columns belong to; null without groups.
  auto addProducts = [&](int i, int width, const float *factors, const float *minimums) M1K_BODY {
    Floats columns[Tokens];
    for (int m = 0; m < Tokens; ++m)
      columns[m] = load(x, xType, xAt[m] + i, width);
    for (int r = 0; r < Rows; ++r) {
      Floats w = weightType == M1K_I4
                     ? loadInt4(static_cast<const char *>(weight) + (row + r) * int4RowBytes(k), i,
                                withMinimums)
                     : load(weight, weightType, (row + r) * k + i, width);
      if (factors)
        w = w * factors[r]; // exact: some 19 bits, or rounded where the scale has as many
      if (factors && withMinimums)
        w = w - minimums[r];
      for (int m = 0; m < Tokens; ++m)
        sums[r][m] = sums[r][m] + w * columns[m];
    }
  };
  if (group) {
    const int groups = (k + group - 1) / group;
    for (int g = 0; g < groups; ++g) {
      float factors[Rows], minimums[Rows];
      for (int r = 0; r < Rows; ++r) {
        factors[r] = loadScale(scale, scaleType, (row + r) * groups + g);
        minimums[r] = withMinimums ? loadMinimum(scale, scaleType, (row + r) * groups + g) : 0.0f;
      }
      forVectors(least(group, k - g * group), [&](int i, int width) M1K_BODY {
        addProducts(g * group + i, width, factors, minimums);
      });
    }
  } else {
    forVectors(k, [&](int i, int width) M1K_BODY { addProducts(i, width, nullptr, nullptr); });
  }
  const bool scaled = scale && !group;
  for (int r = 0; r < Rows; ++r)
    for (int m = 0; m < Tokens; ++m) {
      Floats value = 0.0f;
      value[0] = sum(sums[r][m]) * (scaled ? loadOne(scale, M1K_F32, row + r) : 1.0f);
      store(out, outType, outAt[m] + n + r, 1, value);
    }
}

} // namespace

// out[t, j * n + i] = Σ_c x[t, c] weight[experts[t, j] * rows + first + i, c], j < chosen; with
// own_columns x has `chosen` ranges of k columns, of which the j-th is meant. weight:
// [experts * rows, k]. grid_x = experts * ceil(n / block): a group owns `block` rows of one expert
// and those of the rows [begin, end) of x that name it; no row names an expert twice. Weights of
// experts that no row names are not read. scale: [experts * rows] f32, by which the sums of a row
// of weights are multiplied; null: 1. With `group` > 0 it is [experts * rows, ceil(k / group)] of
// scale_type, for the weights of `group` columns (a multiple of 16), always so with weights of
// int4.
M1K_ENTRY void m1k_cpu_expert_linear(void *out, const void *x, const int *experts,
                                     const void *weight, const void *scale, int group_x, long begin,
                                     long end, int rows, int first, int n, int k, int chosen,
                                     int own_columns, int block, int group, int weight_type,
                                     int scale_type, int out_type, long out_stride, int x_type,
                                     long x_stride, long experts_stride) {
  int blocks = (n + block - 1) / block, expert = group_x / blocks;
  int from = group_x % blocks * block, to = least(from + block, n);
  long base = static_cast<long>(expert) * rows + first;
  constexpr int most = 4; // rows of x a tile: with two of weights eight sums, which fit registers
  long outAt[most], xAt[most];
  int held = 0;
  auto flush = [&](int count) M1K_BODY {
    int row = from;
    for (; row + 2 <= to; row += 2) {
      if (count == most)
        tile<2, most>(out, out_type, outAt, x, x_type, xAt, weight, weight_type, scale, scale_type,
                      group, base + row, row, k);
      else
        for (int m = 0; m < count; ++m)
          tile<2, 1>(out, out_type, outAt + m, x, x_type, xAt + m, weight, weight_type, scale,
                     scale_type, group, base + row, row, k);
    }
    if (row < to)
      for (int m = 0; m < count; ++m)
        tile<1, 1>(out, out_type, outAt + m, x, x_type, xAt + m, weight, weight_type, scale,
                   scale_type, group, base + row, row, k);
  };
  // A row names an expert once at most.
  for (long t = begin; t < end; ++t)
    for (int j = 0; j < chosen; ++j) {
      if (experts[t * experts_stride + j] != expert)
        continue;
      outAt[held] = t * out_stride + static_cast<long>(j) * n;
      xAt[held] = t * x_stride + (own_columns ? static_cast<long>(j) * k : 0);
      if (++held == most) {
        flush(most);
        held = 0;
      }
    }
  if (held)
    flush(held);
}

// out[t, c] = Σ_j weights[t, j] x[t, j * columns + c], j < parts. A group owns rows [begin, end).
M1K_ENTRY void m1k_cpu_combine(void *out, const void *x, const void *weights, long begin, long end,
                               int columns, int parts, int out_type, long out_stride, int x_type,
                               long x_stride, int weights_type, long weights_stride) {
  for (long t = begin; t < end; ++t)
    forVectors(columns, [&](int c, int width) M1K_BODY {
      Floats sum = 0.0f;
      for (int j = 0; j < parts; ++j)
        sum = sum + load(x, x_type, t * x_stride + static_cast<long>(j) * columns + c, width) *
                        loadOne(weights, weights_type, t * weights_stride + j);
      store(out, out_type, t * out_stride + c, width, sum);
    });
}
