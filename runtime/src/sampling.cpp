#include "sampling.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

namespace m1rt {

namespace {

constexpr uint32_t lanes = 16; // independent partial results, which the compiler turns into vectors

/// The largest of the values; NaN values do not count but are reported.
float largestOf(const float *values, uint32_t count, bool *outNan) {
  float largest[lanes];
  std::fill(largest, largest + lanes, -std::numeric_limits<float>::infinity());
  uint32_t nan[lanes] = {};
  uint32_t i = 0;
  for (; i + lanes <= count; i += lanes)
    for (uint32_t j = 0; j < lanes; ++j) {
      const float value = values[i + j];
      largest[j] = value > largest[j] ? value : largest[j];
      nan[j] |= value != value;
    }
  for (; i < count; ++i) {
    const float value = values[i];
    largest[0] = value > largest[0] ? value : largest[0];
    nan[0] |= value != value;
  }
  *outNan = std::any_of(nan, nan + lanes, [](uint32_t bit) { return bit != 0; });
  return *std::max_element(largest, largest + lanes);
}

/// exp(x) for x <= 0, within 2 units in the last place; 0 below -87. Without branches, so that
/// loops over it become vector code.
inline float exponential(float x) {
  const float clamped = std::max(x, -87.0f);
  const float rounder = 12582912.0f; // 1.5 * 2^23: adding and subtracting it rounds to an integer
  const float shifted = clamped * 1.44269504f + rounder;
  const float n = shifted - rounder;
  const float r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f; // ln 2 in two parts
  // Taylor coefficients, the last ones adjusted (Cephes expf).
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  uint32_t bits;
  std::memcpy(&bits, &shifted, 4);
  const uint32_t power = (bits + 127) << 23; // the low bits of `shifted` are n
  float scale;
  std::memcpy(&scale, &power, 4);
  return x < -87.0f ? 0.0f : p * scale;
}

double sumOf(const float *weights, uint32_t count) {
  double sums[lanes] = {};
  uint32_t i = 0;
  for (; i + lanes <= count; i += lanes)
    for (uint32_t j = 0; j < lanes; ++j)
      sums[j] += weights[i + j];
  for (; i < count; ++i)
    sums[0] += weights[i];
  double sum = 0;
  for (double part : sums)
    sum += part;
  return sum;
}

/// Weights below `least` become zero.
void dropBelow(std::vector<float> &weights, float least) {
  for (float &weight : weights)
    weight = weight < least ? 0.0f : weight;
}

/// Leaves the likeliest tokens, by weight and then by id: the fewest whose weights reach `sum`, but
/// at most `tokens`, and at least one. The weights of all others become zero. Sorts only one bucket
/// of a histogram over the leading bits of the weights, whose order as integers is their order as
/// numbers.
void keepLikeliest(std::vector<float> &weights, uint32_t tokens, double sum) {
  constexpr unsigned shift = 16;
  constexpr uint32_t buckets = (0x3f800000u >> shift) + 1; // weights are at most 1
  struct Bucket {
    uint32_t count;
    double sum;
  };
  static thread_local std::vector<Bucket> histogram;
  histogram.assign(buckets, Bucket{0, 0});
  auto bucketOf = [](float weight) {
    uint32_t bits;
    std::memcpy(&bits, &weight, 4);
    return std::min(bits >> shift, buckets - 1);
  };
  for (float weight : weights)
    if (weight > 0) {
      Bucket &bucket = histogram[bucketOf(weight)];
      ++bucket.count;
      bucket.sum += weight;
    }
  uint32_t before = 0;
  double reached = 0;
  uint32_t bucket = buckets;
  bool found = false;
  while (bucket > 0 && !found) {
    const Bucket &next = histogram[--bucket];
    found = next.count && (before + next.count >= tokens || reached + next.sum >= sum);
    if (!found) {
      before += next.count;
      reached += next.sum;
    }
  }
  if (!found) // fewer than `tokens`, and rounding has left them short of the sum
    return;
  static thread_local std::vector<uint32_t> edge; // tokens of the bucket where the limit lies
  edge.clear();
  const uint32_t count = uint32_t(weights.size());
  for (uint32_t i = 0; i < count; ++i)
    if (weights[i] > 0 && bucketOf(weights[i]) == bucket)
      edge.push_back(i);
  std::sort(edge.begin(), edge.end(), [&](uint32_t a, uint32_t b) {
    return weights[a] != weights[b] ? weights[a] > weights[b] : a < b;
  });
  size_t kept = 1;
  while (kept < edge.size() && before + kept < tokens && reached + weights[edge[kept - 1]] < sum)
    reached += weights[edge[kept++ - 1]];
  const float least = weights[edge[kept - 1]];
  for (size_t i = kept; i < edge.size(); ++i)
    weights[edge[i]] = 0;
  dropBelow(weights, least);
}

/// The token at which the running sum of the weights, in order of ids, passes `fraction` of it: no
/// sort is needed to draw the same token.
uint32_t draw(const std::vector<float> &weights, double fraction) {
  constexpr uint32_t block = 1024;
  const uint32_t count = uint32_t(weights.size());
  static thread_local std::vector<double> sums;
  sums.clear();
  double total = 0;
  for (uint32_t i = 0; i < count; i += block) {
    sums.push_back(sumOf(weights.data() + i, std::min(block, count - i)));
    total += sums.back();
  }
  const double target = fraction * total;
  double reached = 0;
  uint32_t first = 0;
  while (first / block + 1 < sums.size() && reached + sums[first / block] <= target) {
    reached += sums[first / block];
    first += block;
  }
  uint32_t last = UINT32_MAX;
  for (uint32_t i = first; i < count; ++i)
    if (weights[i] > 0) {
      last = i;
      if ((reached += weights[i]) > target)
        return i;
    }
  // Rounding has left the target at the very end.
  for (uint32_t i = count; last == UINT32_MAX && i > 0; --i)
    if (weights[i - 1] > 0)
      last = i - 1;
  return last;
}

} // namespace

/// Penalties, bias and mask. What was finite stays so, unless a token is forbidden.
static void adjust(float *scores, uint32_t tokens, const SamplingRow &row) {
  constexpr float most = std::numeric_limits<float>::max();
  const SamplingParameters &parameters = row.parameters;
  auto change = [&](int32_t token, auto change) {
    if (uint32_t(token) < tokens && std::isfinite(scores[token]))
      scores[token] = std::clamp(float(change(scores[token])), -most, most);
  };
  if (parameters.penalised())
    for (uint32_t i = 0; i < row.seenCount; ++i)
      change(row.seen[i].token, [&](float score) {
        const float rated =
            score > 0 ? score / parameters.repetitionPenalty : score * parameters.repetitionPenalty;
        return rated - float(row.seen[i].said) * parameters.frequencyPenalty -
               (row.seen[i].said ? parameters.presencePenalty : 0.0f);
      });
  const float never = -std::numeric_limits<float>::infinity();
  for (uint32_t i = 0; i < row.biasCount; ++i) {
    const TokenBias &bias = row.bias[i];
    if (bias.bias == never && uint32_t(bias.token) < tokens)
      scores[bias.token] = never;
    else
      change(bias.token, [&](float score) { return score + bias.bias; });
  }
  for (uint32_t i = 0; row.allowed && i < tokens; ++i)
    if (!(row.allowed[i / 32] >> i % 32 & 1))
      scores[i] = never;
}

void sampleOnHost(const float *logits, uint32_t tokens, const SamplingRow &row, SampledToken *out) {
  const SamplingParameters &parameters = row.parameters;
  *out = SampledToken();
  out->token = noToken;
  bool nan = false;
  const float largest = largestOf(logits, tokens, &nan);
  if (nan || !std::isfinite(largest))
    return;

  double logSum = 0;
  if (row.wantLogprob || parameters.topLogprobs) {
    double sum = 0;
    for (uint32_t i = 0; i < tokens; ++i)
      sum += std::exp(double(logits[i]) - largest);
    logSum = largest + std::log(sum);
  }
  if (uint32_t count = std::min(parameters.topLogprobs, tokens)) {
    std::vector<uint32_t> order(tokens);
    std::iota(order.begin(), order.end(), 0u);
    std::partial_sort(order.begin(), order.begin() + count, order.end(),
                      [&](uint32_t a, uint32_t b) {
                        return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
                      });
    for (uint32_t i = 0; i < count; ++i)
      out->top.push_back({int32_t(order[i]), float(logits[order[i]] - logSum)});
  }
  if (row.given >= 0) {
    out->token = row.given;
    out->logprob = uint32_t(row.given) < tokens ? float(logits[row.given] - logSum)
                                                : -std::numeric_limits<float>::infinity();
    return;
  }
  auto choose = [&](uint32_t token) {
    out->token = int32_t(token);
    if (row.wantLogprob)
      out->logprob = float(logits[token] - logSum);
  };
  if (row.greedy())
    return choose(uint32_t(std::find(logits, logits + tokens, largest) - logits));

  // kept between calls: half a megabyte at usual vocabularies
  static thread_local std::vector<float> scores;
  scores.assign(logits, logits + tokens);
  float bestScore = largest;
  if (parameters.penalised() || row.biasCount || row.allowed) {
    adjust(scores.data(), tokens, row);
    bestScore = largestOf(scores.data(), tokens, &nan);
    if (!std::isfinite(bestScore))
      return; // nothing is allowed
  }
  if (parameters.drawsLikeliest())
    return choose(uint32_t(std::find(scores.begin(), scores.end(), bestScore) - scores.begin()));

  // Probabilities up to a common factor; the likeliest token weighs 1.
  std::vector<float> &weights = scores;
  const float inverse = 1 / parameters.temperature;
  for (float &weight : weights)
    weight = exponential((weight - bestScore) * inverse);
  if (parameters.topK && parameters.topK < tokens)
    keepLikeliest(weights, parameters.topK, std::numeric_limits<double>::infinity());
  if (parameters.topP < 1)
    keepLikeliest(weights, tokens, parameters.topP * sumOf(weights.data(), tokens));
  if (parameters.minP > 0)
    dropBelow(weights, std::min(parameters.minP, 1.0f));
  return choose(draw(weights, samplingUniform(parameters.seed, row.counter)));
}

} // namespace m1rt
