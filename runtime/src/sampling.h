// Choosing a token from logits. One definition for all devices: a device that samples itself must agree with sampleOnHost() up to the
// rounding of its exponentials.
#ifndef M1RT_SAMPLING_H
#define M1RT_SAMPLING_H

#include "status.h"
#include <cstdint>
#include <vector>

namespace m1rt {

/// How one row of logits is sampled. Order of the steps: repetition penalty, temperature, softmax, top-k, top-p, min-p, draw. The filters
/// each look at the distribution that the one before them left, renormalised; at least the likeliest token always stays.
struct SamplingParameters {
  float temperature = 0;       // 0: the likeliest token, the lowest id among equals
  uint32_t topK = 0;           // keep the k likeliest; 0: all
  float topP = 1;              // keep the smallest set of likeliest tokens whose probability reaches topP; 1: all
  float minP = 0;              // drop tokens less likely than minP times the likeliest; 0: none
  float repetitionPenalty = 1; // logits of tokens already seen: divided if positive, multiplied if negative
  uint64_t seed = 0;
  uint32_t topLogprobs = 0; // how many alternatives to report

  /// The probabilities of all tokens are needed, not only the largest logit.
  bool greedy() const { return temperature <= 0 && repetitionPenalty == 1; }
};

struct SamplingRow {
  uint32_t row = 0; // logits row of the step
  SamplingParameters parameters;
  uint64_t counter = 0; // index of the token within its request: with the seed it fixes the random number
  const int32_t *seen = nullptr; // distinct tokens that the repetition penalty touches
  uint32_t seenCount = 0;
  bool wantLogprob = false;
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;
};

struct SampledToken {
  int32_t token = 0;
  float logprob = 0;             // natural log of softmax(logits) before penalty and temperature; when asked
  std::vector<TokenLogprob> top; // likeliest first; when asked
};

/// Uniform in [0, 1) with 24 bits, from a counter-based generator: the same on every device.
inline float samplingUniform(uint64_t seed, uint64_t counter) {
  uint64_t x = seed * 0xd1342543de82ef95ull + (counter + 1) * 0x9e3779b97f4a7c15ull;
  for (int round = 0; round < 2; ++round) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    x ^= x >> 31;
  }
  return float(x >> 40) * (1.0f / 16777216.0f);
}

/// Samples one row. Error when the logits hold a NaN or no finite value.
Status sampleOnHost(const float *logits, uint32_t vocabulary, const SamplingRow &row, SampledToken *out);

} // namespace m1rt

#endif
