#include "sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace m1rt {

static Status checkFinite(const float *logits, uint32_t vocabulary, float *outLargest) {
  float largest = -INFINITY;
  bool nan = false;
  for (uint32_t i = 0; i < vocabulary; ++i) {
    nan |= std::isnan(logits[i]);
    largest = std::max(largest, logits[i]);
  }
  if (nan || !std::isfinite(largest))
    return error(StatusCode::deviceError, "the model's logits hold %s", nan ? "NaN values" : "no finite value");
  *outLargest = largest;
  return Status();
}

Status sampleOnHost(const float *logits, uint32_t vocabulary, const SamplingRow &row, SampledToken *out) {
  const SamplingParameters &parameters = row.parameters;
  float largest = 0;
  M1_TRY(checkFinite(logits, vocabulary, &largest));
  *out = SampledToken();

  double logSum = 0;
  if (row.wantLogprob || parameters.topLogprobs) {
    double sum = 0;
    for (uint32_t i = 0; i < vocabulary; ++i)
      sum += std::exp(double(logits[i]) - largest);
    logSum = largest + std::log(sum);
  }
  if (uint32_t count = std::min(parameters.topLogprobs, vocabulary)) {
    std::vector<uint32_t> order(vocabulary);
    std::iota(order.begin(), order.end(), 0u);
    std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](uint32_t a, uint32_t b) {
      return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
    });
    for (uint32_t i = 0; i < count; ++i)
      out->top.push_back({int32_t(order[i]), float(logits[order[i]] - logSum)});
  }
  auto choose = [&](uint32_t token) {
    out->token = int32_t(token);
    if (row.wantLogprob)
      out->logprob = float(logits[token] - logSum);
    return Status();
  };

  std::vector<float> scores(logits, logits + vocabulary);
  if (parameters.repetitionPenalty != 1)
    for (uint32_t i = 0; i < row.seenCount; ++i) {
      float &score = scores[size_t(row.seen[i])];
      score = score > 0 ? score / parameters.repetitionPenalty : score * parameters.repetitionPenalty;
    }
  const uint32_t best = uint32_t(std::max_element(scores.begin(), scores.end()) - scores.begin());
  if (parameters.temperature <= 0)
    return choose(best);

  struct Candidate {
    float weight; // exp((score - best) / temperature): probability up to a common factor
    uint32_t token;
    bool operator<(const Candidate &other) const { // likelier first
      return weight != other.weight ? weight > other.weight : token < other.token;
    }
  };
  const float bestScore = scores[best];
  const float inverse = 1 / parameters.temperature;
  std::vector<Candidate> candidates;
  candidates.reserve(vocabulary);
  double sum = 0;
  for (uint32_t i = 0; i < vocabulary; ++i)
    if (float weight = std::exp((scores[i] - bestScore) * inverse); weight > 0) {
      candidates.push_back({weight, i});
      sum += weight;
    }
  if (parameters.topK && parameters.topK < candidates.size()) {
    std::nth_element(candidates.begin(), candidates.begin() + parameters.topK, candidates.end());
    candidates.resize(parameters.topK);
    sum = 0;
    for (const Candidate &candidate : candidates)
      sum += candidate.weight;
  }
  if (parameters.topP < 1) {
    // Puts only as many in order as it takes to reach the probability wanted.
    double reached = 0;
    size_t kept = 0;
    for (size_t ordered = 0, next = 64; kept < candidates.size() && (kept == 0 || reached < parameters.topP * sum); ++kept) {
      if (kept == ordered) {
        ordered = std::min(next, candidates.size());
        std::partial_sort(candidates.begin() + kept, candidates.begin() + ordered, candidates.end());
        next = ordered * 4;
      }
      reached += candidates[kept].weight;
    }
    candidates.resize(kept);
    sum = reached;
  }
  if (parameters.minP > 0) {
    const float least = std::min(parameters.minP, 1.0f); // the likeliest weighs 1
    candidates.erase(std::remove_if(candidates.begin(), candidates.end(),
                                    [&](const Candidate &candidate) { return candidate.weight < least; }),
                     candidates.end());
    sum = 0;
    for (const Candidate &candidate : candidates)
      sum += candidate.weight;
  }
  // In order of token ids, so that a device needs no sort to draw the same token.
  if (parameters.topK || parameters.topP < 1)
    std::sort(candidates.begin(), candidates.end(), [](const Candidate &a, const Candidate &b) { return a.token < b.token; });
  const double target = samplingUniform(parameters.seed, row.counter) * sum;
  double reached = 0;
  for (const Candidate &candidate : candidates)
    if ((reached += candidate.weight) > target)
      return choose(candidate.token);
  return choose(candidates.back().token); // rounding left the target at the very end
}

} // namespace m1rt
