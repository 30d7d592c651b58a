// Choosing a token from logits. One definition for all devices: a device that samples itself must
// agree with sampleOnHost() up to the rounding of its exponentials.
#ifndef M1RT_SAMPLING_H
#define M1RT_SAMPLING_H

#include "status.h"
#include <cstdint>
#include <vector>

namespace m1rt {

/// How one row of logits is sampled. Order of the steps: repetition penalty, temperature, softmax,
/// top-k, top-p, min-p, draw. The filters each look at the distribution that the one before them
/// left, renormalised; at least the likeliest token always stays.
struct SamplingParameters {
  float temperature = 0; // 0: the likeliest token, the lowest id among equals
  uint32_t topK = 0;     // keep the k likeliest; 0: all
  // keep the smallest set of likeliest tokens whose probability reaches topP; 1: all
  float topP = 1;
  float minP = 0; // drop tokens less likely than minP times the likeliest; 0: none
  // logits of tokens already seen: divided if positive, multiplied if negative
  float repetitionPenalty = 1;
  uint64_t seed = 0;
  uint32_t topLogprobs = 0; // how many alternatives to report

  /// The likeliest token is the answer; no probabilities are needed.
  bool greedy() const { return temperature <= 0 && repetitionPenalty == 1; }
};

struct SamplingRow {
  uint32_t row = 0; // logits row of the step
  SamplingParameters parameters;
  // index of the token within its request: with the seed it fixes the random number
  uint32_t counter = 0;
  const int32_t *seen = nullptr; // distinct tokens that the repetition penalty touches
  uint32_t seenCount = 0;
  bool wantLogprob = false;

  /// Whether the row is sampled by sampleOnHost() on every device, after its step.
  bool needsLogitsOnHost() const {
    return wantLogprob || parameters.topLogprobs > 0 || parameters.repetitionPenalty != 1;
  }
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;
};

/// SampledToken::token of a row that holds a NaN, or no finite value. Greedy rows never give it:
/// they take the plan's argmax, in which a NaN loses to every number.
constexpr int32_t noToken = -1;

struct SampledToken {
  int32_t token = 0;
  // natural log of softmax(logits) before penalty and temperature; when asked
  float logprob = 0;
  std::vector<TokenLogprob> top; // likeliest first; when asked
};

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

/// Samples one row of [vocabulary] logits; noToken when they hold a NaN or no finite value.
void sampleOnHost(const float *logits, uint32_t vocabulary, const SamplingRow &row,
                  SampledToken *out);

} // namespace m1rt

#endif
