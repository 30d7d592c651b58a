// Choosing a token from logits. One definition for all devices: a device that samples itself must
// agree with sampleOnHost() up to the rounding of its exponentials.
#ifndef M1RT_SAMPLING_H
#define M1RT_SAMPLING_H

#include "status.h"
#include <cstdint>
#include <vector>

namespace m1rt {

/// Temperatures below it are greedy, as 0 is: 1 / temperature would magnify the rounding of equal
/// logits, and in the end not be finite.
constexpr float leastTemperature = 1e-6f;

/// How one row of logits is sampled. Order of the steps: repetition penalty, frequency and presence
/// penalty, bias, mask, temperature, softmax, top-k, top-p, min-p, draw. The filters each look at
/// the distribution that the one before them left, renormalised; at least the likeliest token
/// always stays.
struct SamplingParameters {
  float temperature = 0; // below leastTemperature: the likeliest token, the lowest id among equals
  uint32_t topK = 0;     // keep the k likeliest; 0: all
  // keep the smallest set of likeliest tokens whose probability reaches topP; 1: all
  float topP = 1;
  float minP = 0; // drop tokens less likely than minP times the likeliest; 0: none
  // logits of tokens of prompt and answer: divided if positive, multiplied if negative
  float repetitionPenalty = 1;
  float frequencyPenalty = 0; // times a token's occurrences in the answer, taken off its logit
  float presencePenalty = 0;  // taken off the logits of tokens that the answer holds
  uint64_t seed = 0;          // of the request; in a SamplingRow the sample's own, sampleSeed()
  uint32_t topLogprobs = 0;   // how many alternatives to report

  bool penalised() const {
    return repetitionPenalty != 1 || frequencyPenalty != 0 || presencePenalty != 0;
  }
  bool drawsLikeliest() const { return temperature < leastTemperature; }
};

/// A token that prompt or answer holds.
struct SeenToken {
  int32_t token = 0;
  uint32_t said = 0; // occurrences in the answer
};

/// Added to the token's logit; minus infinity: never.
struct TokenBias {
  int32_t token = 0;
  float bias = 0;
};

struct SamplingRow {
  uint32_t row = 0; // logits row of the step
  SamplingParameters parameters;
  // index of the token within its sample: with the seed it fixes the random number
  uint32_t counter = 0;
  const SeenToken *seen = nullptr; // each token once; when there is a penalty
  uint32_t seenCount = 0;
  const TokenBias *bias = nullptr;
  uint32_t biasCount = 0;
  // When set, a bit for each id, the lowest of the first word first: ids without it are not chosen.
  const uint32_t *allowed = nullptr;
  // Not negative: no token is chosen, this one is given, and its log probability wanted.
  int32_t given = -1;
  bool wantLogprob = false; // always with a given token

  /// The likeliest token of the model is the answer.
  bool greedy() const {
    return parameters.drawsLikeliest() && !parameters.penalised() && !biasCount && !allowed;
  }
  /// Whether the row is sampled by sampleOnHost() on every device, after its step.
  bool needsLogitsOnHost() const {
    return wantLogprob || parameters.topLogprobs > 0 || parameters.penalised() || biasCount ||
           allowed;
  }
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;
};

/// SampledToken::token of a row that holds a NaN or whose largest logit is not finite, and of one
/// where bias and mask leave nothing; the likeliest token of a plan, too.
constexpr int32_t noToken = -1;

struct SampledToken {
  int32_t token = 0;
  // natural log of softmax(logits) before penalty and temperature; when asked
  float logprob = 0;
  std::vector<TokenLogprob> top; // likeliest first; when asked
};

/// The finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
/// Generators, OOPSLA 2014; constants of Stafford's variant 13).
inline uint64_t mixBits(uint64_t x) {
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

/// The key of the stream of sample `index` of a request: the output number `index` of a SplitMix64
/// generator that starts at mixBits(seed). Neighbouring seeds share no sample.
inline uint64_t sampleSeed(uint64_t seed, uint32_t index) {
  return mixBits(mixBits(seed) + (uint64_t(index) + 1) * 0x9E3779B97F4A7C15u);
}

/// Uniform in [0, 1) with 53 bits: the first two words of Philox4x32-10 (Salmon et al., SC 2011) at
/// this counter under the key `seed`. The same on every device; kernels/cuda/sample.cuh draws
/// likewise.
inline double samplingUniform(uint64_t seed, uint32_t counter) {
  uint32_t c0 = counter, c1 = 0, c2 = 0, c3 = 0, k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t(0xD2511F53u) * c0, p1 = uint64_t(0xCD9E8D57u) * c2;
    c0 = uint32_t(p1 >> 32) ^ c1 ^ k0;
    c1 = uint32_t(p1);
    c2 = uint32_t(p0 >> 32) ^ c3 ^ k1;
    c3 = uint32_t(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return double(uint64_t(c0) << 21 | c1 >> 11) * 0x1p-53;
}

/// Samples one row of logits of `tokens` ids; noToken as said there. Seen, biased and allowed ids
/// past them do not count.
void sampleOnHost(const float *logits, uint32_t tokens, const SamplingRow &row, SampledToken *out);

} // namespace m1rt

#endif
