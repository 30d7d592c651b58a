#include "Formulas.h"

#include "m1k_abi.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>

namespace m1c {

ReferenceBatch makeReferenceBatch(const std::vector<ReferenceSequence> &sequences) {
  constexpr int64_t pageSize = M1_PAGE_SIZE;
  ReferenceBatch batch;
  batch.sequenceStarts.push_back(0);
  for (const ReferenceSequence &sequence : sequences) {
    for (size_t i = 0; i < sequence.tokens.size(); ++i) {
      batch.logitRows.push_back(static_cast<int32_t>(batch.tokens.size()));
      batch.tokens.push_back(sequence.tokens[i]);
      batch.positions.push_back(sequence.before + static_cast<int32_t>(i));
    }
    batch.sequenceStarts.push_back(static_cast<int32_t>(batch.tokens.size()));
    batch.slots.push_back(sequence.slot);
    batch.contextLengths.push_back(sequence.before + static_cast<int32_t>(sequence.tokens.size()));
    batch.maxPages =
        std::max(batch.maxPages, (batch.contextLengths.back() + pageSize - 1) / pageSize);
  }
  for (const ReferenceSequence &sequence : sequences)
    for (int32_t i = 0; i < batch.maxPages; ++i)
      batch.blockTables.push_back((sequence.slot << 16) + i); // any numbers that no two slots share
  return batch;
}

} // namespace m1c

namespace m1c::reference {

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
double silu(double x) { return x * sigmoid(x); }
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

Rows map(const Rows &a, const std::function<double(double)> &f) {
  Rows result(a.rows, a.columns);
  for (size_t i = 0; i < a.values.size(); ++i)
    result.values[i] = f(a.values[i]);
  return result;
}

Rows map(const Rows &a, const Rows &b, const std::function<double(double, double)> &f) {
  assert(a.rows == b.rows && a.columns == b.columns);
  Rows result(a.rows, a.columns);
  for (size_t i = 0; i < a.values.size(); ++i)
    result.values[i] = f(a.values[i], b.values[i]);
  return result;
}

Rows linear(const Rows &x, const Rows &w, const Rows *bias) {
  assert(x.columns == w.columns);
  Rows result(x.rows, w.rows);
  // Sixteen rows of x side by side, as a processor's registers are: each sum is still one number
  // after the other.
  constexpr int64_t block = 16;
  std::vector<double> turned(x.columns * block);
  for (int64_t begin = 0; begin < x.rows; begin += block) {
    const int64_t count = std::min(block, x.rows - begin);
    for (int64_t t = 0; t < count; ++t)
      for (int64_t k = 0; k < x.columns; ++k)
        turned[k * block + t] = x.at(begin + t, k);
    for (int64_t n = 0; n < w.rows; ++n) {
      double sums[block];
      std::fill_n(sums, block, bias ? (*bias)[n] : 0.0);
      if (count == 1)
        for (int64_t k = 0; k < x.columns; ++k)
          sums[0] += turned[k * block] * w.at(n, k);
      else
        for (int64_t k = 0; k < x.columns; ++k)
          for (int64_t t = 0; t < block; ++t)
            sums[t] += turned[k * block + t] * w.at(n, k);
      for (int64_t t = 0; t < count; ++t)
        result.at(begin + t, n) = sums[t];
    }
  }
  return result;
}

/// The nearest number of e4m3, of two the one whose last bit is 0: three bits behind the first,
/// down to 2^-9. No value is above 448, the largest.
static double nearestE4m3(double value) {
  if (value == 0 || !std::isfinite(value))
    return value;
  double step = std::exp2(std::max(std::floor(std::log2(std::abs(value))), -6.0) - 3);
  return std::nearbyint(value / step) * step;
}

QuantisedRows quantizeRows(const Rows &x) {
  QuantisedRows result{x, Rows(x.rows, 1)};
  for (int64_t t = 0; t < x.rows; ++t) {
    double largest = 0;
    for (int64_t k = 0; k < x.columns; ++k)
      largest = std::fmax(largest, std::abs(x.at(t, k)));
    const bool isZero = largest < 0x1p-100;
    result.scale.at(t, 0) = isZero ? 0 : largest / 448;
    for (int64_t k = 0; k < x.columns; ++k) {
      const double value = x.at(t, k);
      result.codes.at(t, k) = std::isnan(value) ? value
                              : isZero          ? 0
                                                : nearestE4m3(value * (448 / largest));
    }
  }
  return result;
}

Rows scaled(Rows x, const Rows &scale) {
  for (int64_t t = 0; t < x.rows; ++t)
    for (int64_t k = 0; k < x.columns; ++k)
      x.at(t, k) *= scale.values[t];
  return x;
}

Rows rmsNorm(const Rows &x, const Rows *w, double eps, int64_t groups) {
  Rows result(x.rows, x.columns);
  int64_t size = x.columns / groups;
  for (int64_t t = 0; t < x.rows; ++t)
    for (int64_t g = 0; g < groups; ++g) {
      double squares = 0.0;
      for (int64_t c = g * size; c < (g + 1) * size; ++c)
        squares += x.at(t, c) * x.at(t, c);
      double factor = 1.0 / std::sqrt(squares / static_cast<double>(size) + eps);
      for (int64_t c = g * size; c < (g + 1) * size; ++c)
        result.at(t, c) = x.at(t, c) * factor * (w ? (*w)[c % w->columns] : 1.0);
    }
  return result;
}

Rows columns(const Rows &x, int64_t begin, int64_t count) {
  Rows result(x.rows, count);
  for (int64_t t = 0; t < x.rows; ++t)
    for (int64_t c = 0; c < count; ++c)
      result.at(t, c) = x.at(t, begin + c);
  return result;
}

Rows repeatHeads(const Rows &x, int64_t headSize, int64_t repeat) {
  if (repeat == 1)
    return x; // the channels need not make whole heads then
  Rows result(x.rows, x.columns * repeat);
  for (int64_t t = 0; t < x.rows; ++t)
    for (int64_t head = 0; head < x.columns / headSize; ++head)
      for (int64_t copy = 0; copy < repeat; ++copy)
        for (int64_t i = 0; i < headSize; ++i)
          result.at(t, (head * repeat + copy) * headSize + i) = x.at(t, head * headSize + i);
  return result;
}

bool forSequences(const ReferenceBatch &batch, int64_t size, Pool &pool,
                  const std::function<void(int64_t, int64_t, std::vector<double> &)> &walk) {
  for (int64_t s = 0; s < batch.sequenceCount(); ++s) {
    const int64_t begin = batch.sequenceStarts[s], end = batch.sequenceStarts[s + 1];
    if (begin == end)
      continue;
    std::vector<double> state(static_cast<size_t>(size), 0.0);
    if (!batch.isFresh(s)) {
      auto found = pool.find(batch.slots[s]);
      if (found == pool.end())
        return false;
      state = found->second;
    }
    walk(begin, end, state);
    pool[batch.slots[s]] = std::move(state);
  }
  return true;
}

double rounded(StateFormat format, double value) {
  if (format == StateFormat::exact || value == 0 || !std::isfinite(value))
    return value;
  // Bits behind the first, the least exponent of a normal number, where numbers end.
  const bool isF16 = format == StateFormat::f16;
  const int bits = isF16 ? 10 : 7, least = isF16 ? -14 : -126;
  const double step = std::ldexp(1.0, std::max(std::ilogb(value), least) - bits);
  const double nearest = std::nearbyint(value / step) * step;
  return std::abs(nearest) < std::ldexp(1.0, isF16 ? 16 : 128)
             ? nearest
             : std::copysign(std::numeric_limits<double>::infinity(), value);
}

void roundStates(StateFormat format, const ReferenceBatch &batch, Pool &pool) {
  if (format == StateFormat::exact)
    return;
  for (int64_t s = 0; s < batch.sequenceCount(); ++s)
    if (batch.sequenceStarts[s] < batch.sequenceStarts[s + 1])
      for (double &value : pool[batch.slots[s]])
        value = rounded(format, value);
}

bool causalConvolution(const Rows &x, const Rows &w, const Rows *bias, const ReferenceBatch &batch,
                       Pool &pool, Rows &result) {
  const int64_t channels = x.columns, width = w.columns;
  result = Rows(x.rows, channels);
  return forSequences(batch, (width - 1) * channels, pool, [&](auto begin, auto end, auto &inputs) {
    // All inputs of the sequence that matter: width-1 earlier ones, then those of this step.
    inputs.insert(inputs.end(), x.values.begin() + begin * channels,
                  x.values.begin() + end * channels);
    for (int64_t t = begin; t < end; ++t)
      for (int64_t c = 0; c < channels; ++c) {
        double sum = bias ? (*bias)[c] : 0.0;
        for (int64_t j = 0; j < width; ++j)
          sum += w.at(c, j) * inputs[(t - begin + j) * channels + c];
        result.at(t, c) = sum;
      }
    inputs.erase(inputs.begin(), inputs.end() - (width - 1) * channels);
  });
}

bool selectiveScan(const Rows &x, const Rows &delta, const Rows &A, const Rows &B, const Rows &C,
                   const ReferenceBatch &batch, Pool &pool, Rows &result) {
  const int64_t channels = A.rows, N = A.columns;
  const int64_t perB = channels / (B.columns / N), perC = channels / (C.columns / N);
  result = Rows(x.rows, channels);
  return forSequences(batch, channels * N, pool, [&](auto begin, auto end, auto &state) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t c = 0; c < channels; ++c) {
        double y = 0.0;
        for (int64_t n = 0; n < N; ++n) {
          double &value = state[c * N + n];
          value = std::exp(delta.at(t, c) * A.at(c, n)) * value +
                  delta.at(t, c) * B.at(t, c / perB * N + n) * x.at(t, c);
          y += value * C.at(t, c / perC * N + n);
        }
        result.at(t, c) = y;
      }
  });
}

bool ssdScan(const Rows &x, const Rows &delta, const Rows &A, const Rows &B, const Rows &C,
             int64_t N, const ReferenceBatch &batch, Pool &pool, Rows &result) {
  const int64_t H = delta.columns, P = x.columns / H;
  const int64_t perB = H / (B.columns / N), perC = H / (C.columns / N);
  result = Rows(x.rows, H * P);
  return forSequences(batch, H * P * N, pool, [&](auto begin, auto end, auto &state) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t h = 0; h < H; ++h)
        for (int64_t p = 0; p < P; ++p) {
          double y = 0.0;
          for (int64_t n = 0; n < N; ++n) {
            double &value = state[(h * P + p) * N + n];
            value = std::exp(delta.at(t, h) * A[h]) * value +
                    delta.at(t, h) * x.at(t, h * P + p) * B.at(t, h / perB * N + n);
            y += value * C.at(t, h / perC * N + n);
          }
          result.at(t, h * P + p) = y;
        }
  });
}

void route(const Rows &logits, const Rows *correction, const RouterShape &shape, Rows &weights,
           Rows &experts) {
  int64_t count = logits.columns, size = count / shape.groups;
  weights = Rows(logits.rows, shape.chosen);
  experts = Rows(logits.rows, shape.chosen);
  std::vector<double> score(count), choice(count), groupScore(shape.groups);
  // Indices by falling value, the smaller first among equals.
  auto sorted = [](const std::vector<double> &values) {
    std::vector<int64_t> order(values.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
      return values[i] != values[j] ? values[i] > values[j] : i < j;
    });
    return order;
  };
  for (int64_t t = 0; t < logits.rows; ++t) {
    double largest = logits.at(t, 0), sum = 0;
    for (int64_t e = 0; e < count; ++e)
      largest = std::max(largest, logits.at(t, e));
    for (int64_t e = 0; e < count; ++e)
      sum += std::exp(logits.at(t, e) - largest);
    for (int64_t e = 0; e < count; ++e) {
      score[e] =
          shape.sigmoid ? sigmoid(logits.at(t, e)) : std::exp(logits.at(t, e) - largest) / sum;
      choice[e] = score[e] + (correction ? (*correction)[e] : 0.0);
    }
    if (shape.groups > 1) {
      for (int64_t g = 0; g < shape.groups; ++g) {
        std::vector<double> members(choice.begin() + g * size, choice.begin() + (g + 1) * size);
        std::sort(members.rbegin(), members.rend());
        groupScore[g] = members[0] + members[1];
      }
      std::vector<int64_t> order = sorted(groupScore);
      for (int64_t i = shape.kept; i < shape.groups; ++i)
        std::fill_n(choice.begin() + order[i] * size, size,
                    -std::numeric_limits<double>::infinity());
    }
    std::vector<int64_t> order = sorted(choice);
    double total = 0;
    for (int64_t j = 0; j < shape.chosen; ++j) {
      experts.at(t, j) = static_cast<double>(order[j]);
      total += score[order[j]];
    }
    for (int64_t j = 0; j < shape.chosen; ++j)
      weights.at(t, j) = score[order[j]] / (shape.normalize ? total + 1e-20 : 1.0) * shape.scale;
  }
}

Rows expertLinear(const Rows &x, const Rows &experts, const Rows &w, int64_t size, int64_t first,
                  int64_t n) {
  Rows result(x.rows, experts.columns * n);
  for (int64_t t = 0; t < x.rows; ++t)
    for (int64_t j = 0; j < experts.columns; ++j) {
      int64_t row = static_cast<int64_t>(experts.at(t, j)) * size + first,
              column = x.columns == w.columns ? 0 : j * w.columns;
      for (int64_t i = 0; i < n; ++i) {
        double sum = 0;
        for (int64_t k = 0; k < w.columns; ++k)
          sum += x.at(t, column + k) * w.at(row + i, k);
        result.at(t, j * n + i) = sum;
      }
    }
  return result;
}

Rows combine(const Rows &x, const Rows &weights) {
  Rows result(x.rows, x.columns / weights.columns);
  for (int64_t t = 0; t < x.rows; ++t)
    for (int64_t j = 0; j < weights.columns; ++j)
      for (int64_t c = 0; c < result.columns; ++c)
        result.at(t, c) += weights.at(t, j) * x.at(t, j * result.columns + c);
  return result;
}

Rows rotaryTable(const Rows &hi, const Rows &lo, const ReferenceBatch &batch) {
  // A row of hi or lo holds head_dim/2 pairs (cos, sin).
  int64_t half = hi.columns / 2;
  Rows result(batch.tokenCount(), 2 * half);
  for (int64_t t = 0; t < batch.tokenCount(); ++t) {
    int64_t a = batch.positions[t] / 256, b = batch.positions[t] % 256;
    for (int64_t i = 0; i < half; ++i) {
      double cosA = hi.at(a, 2 * i), sinA = hi.at(a, 2 * i + 1), cosB = lo.at(b, 2 * i),
             sinB = lo.at(b, 2 * i + 1);
      result.at(t, i) = cosA * cosB - sinA * sinB;
      result.at(t, half + i) = sinA * cosB + cosA * sinB;
    }
  }
  return result;
}

Rows rotate(const Rows &x, const Rows &table, int64_t headDim) {
  Rows result = x;
  int64_t half = table.columns / 2;
  for (int64_t t = 0; t < x.rows; ++t)
    for (int64_t head = 0; head < x.columns / headDim; ++head)
      for (int64_t i = 0; i < half; ++i) {
        int64_t u = head * headDim + i, v = u + half;
        double cosine = table.at(t, i), sine = table.at(t, half + i);
        result.at(t, u) = x.at(t, u) * cosine - x.at(t, v) * sine;
        result.at(t, v) = x.at(t, v) * cosine + x.at(t, u) * sine;
      }
  return result;
}

/// The nearest number of e4m3, of two the one whose last bit is 0: three bits behind the first,
/// down to 2^-9. No value is above 448, the largest.
static double roundToE4m3(double value) {
  double step = std::exp2(std::max(std::floor(std::log2(std::abs(value))), -6.0) - 3);
  return value == 0 ? 0 : std::nearbyint(value / step) * step;
}

void quantise(CacheCode code, double *values, int64_t count) {
  if (code == CacheCode::none)
    return;
  double largest = 0;
  bool finite = true;
  for (int64_t i = 0; i < count; ++i) {
    largest = std::max(largest, std::abs(values[i]));
    finite &= std::isfinite(values[i]);
  }
  double most = code == CacheCode::i8 ? 127 : 448;
  double scale = static_cast<float>(largest / most);
  for (int64_t i = 0; i < count; ++i) {
    double wide = values[i] / largest * most;
    values[i] = !finite                 ? std::numeric_limits<double>::quiet_NaN()
                : largest < 0x1p-100    ? 0
                : code == CacheCode::i8 ? std::nearbyint(wide) * scale
                                        : roundToE4m3(wide) * scale;
  }
}

void writeCache(const Rows &k, const Rows &v, const ReferenceBatch &batch, const CacheShape &shape,
                Pool &pool) {
  for (int64_t s = 0; s < batch.sequenceCount(); ++s)
    for (int64_t t = batch.sequenceStarts[s]; t < batch.sequenceStarts[s + 1]; ++t) {
      int64_t position = batch.positions[t];
      std::vector<double> &page =
          pool[batch.blockTables[s * batch.maxPages + position / shape.pageSize]];
      page.resize(2 * shape.kvHeads * shape.pageSize * shape.headDim,
                  std::numeric_limits<double>::quiet_NaN());
      for (int64_t head = 0; head < shape.kvHeads; ++head) {
        for (int64_t i = 0; i < shape.headDim; ++i) {
          page[shape.index(0, head, position, i)] = k.at(t, head * shape.headDim + i);
          page[shape.index(1, head, position, i)] = v.at(t, head * shape.headDim + i);
        }
        for (int64_t which : {0, 1})
          quantise(shape.code, &page[shape.index(which, head, position, 0)], shape.headDim);
      }
    }
}

bool attention(const Rows &q, double scale, int64_t window, const ReferenceBatch &batch,
               const CacheShape &shape, const Pool &pool, Rows &result) {
  result = Rows(q.rows, q.columns);
  int64_t heads = q.columns / shape.headDim, ratio = heads / shape.kvHeads;
  for (int64_t s = 0; s < batch.sequenceCount(); ++s)
    for (int64_t t = batch.sequenceStarts[s]; t < batch.sequenceStarts[s + 1]; ++t) {
      int64_t end = batch.positions[t] + 1, begin = window ? std::max<int64_t>(0, end - window) : 0;
      std::map<int64_t, const std::vector<double> *> pages;
      for (int64_t page = begin / shape.pageSize; page * shape.pageSize < end; ++page) {
        auto found = pool.find(batch.blockTables[s * batch.maxPages + page]);
        if (found == pool.end())
          return false;
        pages[page] = &found->second;
      }
      for (int64_t head = 0; head < heads; ++head) {
        int64_t kvHead = head / ratio;
        std::vector<double> weights(end - begin);
        double top = -std::numeric_limits<double>::infinity(), total = 0.0;
        for (int64_t j = begin; j < end; ++j) {
          double sum = 0.0;
          for (int64_t i = 0; i < shape.headDim; ++i)
            sum += q.at(t, head * shape.headDim + i) *
                   (*pages[j / shape.pageSize])[shape.index(0, kvHead, j, i)];
          weights[j - begin] = scale * sum;
          top = std::max(top, weights[j - begin]);
        }
        for (double &weight : weights)
          total += weight = std::exp(weight - top);
        for (int64_t j = begin; j < end; ++j)
          for (int64_t i = 0; i < shape.headDim; ++i)
            result.at(t, head * shape.headDim + i) +=
                weights[j - begin] / total *
                (*pages[j / shape.pageSize])[shape.index(1, kvHead, j, i)];
      }
    }
  return true;
}

std::vector<int32_t> greatest(const Rows &logits, int64_t ids) {
  std::vector<int32_t> result;
  for (int64_t l = 0; l < logits.rows; ++l) {
    auto begin = logits.values.begin() + l * logits.columns;
    auto end = begin + ids;
    auto largest = std::max_element(begin, end);
    bool good = std::isfinite(*largest) &&
                std::none_of(begin, end, [](double value) { return std::isnan(value); });
    result.push_back(good ? static_cast<int32_t>(largest - begin) : -1);
  }
  return result;
}

} // namespace m1c::reference
