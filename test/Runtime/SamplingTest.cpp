#include "sampling.h"
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <map>
#include <random>

using namespace m1rt;

namespace {

const std::vector<float> logits = {1.0f, 3.0f, -2.0f, 2.5f, 0.0f, 3.0f, -1.0f, 2.0f};

SampledToken sampled(const SamplingRow &row, const std::vector<float> &from = logits) {
  SampledToken token;
  sampleOnHost(from.data(), uint32_t(from.size()), row, &token);
  return token;
}

// Chi-square of draws against the exact distribution; the bound is the 99.9 % quantile for 7
// degrees of freedom.
void expectDistribution(SamplingParameters parameters, const std::vector<double> &exact) {
  const int draws = 40000;
  std::vector<int> counts(exact.size(), 0);
  SamplingRow row;
  row.parameters = parameters;
  for (int i = 0; i < draws; ++i) {
    row.counter = uint64_t(i);
    ++counts[size_t(sampled(row).token)];
  }
  double chi = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    if (exact[i] == 0)
      EXPECT_EQ(counts[i], 0) << "token " << i;
    else
      chi += std::pow(counts[i] - exact[i] * draws, 2) / (exact[i] * draws);
  }
  EXPECT_LT(chi, 24.3);
}

std::vector<double> softmax(double temperature, const std::vector<int> &kept) {
  std::vector<double> result(logits.size(), 0.0);
  double sum = 0;
  for (int i : kept)
    sum += result[size_t(i)] = std::exp(logits[size_t(i)] / temperature);
  for (double &value : result)
    value /= sum;
  return result;
}

// Temperature 0 takes the likeliest token, the lowest id among equals.
TEST(Sampling, GreedyTakesFirstOfTheLikeliest) { EXPECT_EQ(sampled({}).token, 1); }

// Draws follow softmax(logits / temperature).
TEST(Sampling, TemperatureMatchesSoftmax) {
  for (float temperature : {0.5f, 1.0f, 2.0f}) {
    SamplingParameters parameters;
    parameters.temperature = temperature;
    parameters.seed = 11;
    expectDistribution(parameters, softmax(temperature, {0, 1, 2, 3, 4, 5, 6, 7}));
  }
}

// Top-k keeps the k likeliest, ties by id.
TEST(Sampling, TopK) {
  SamplingParameters parameters;
  parameters.temperature = 1;
  parameters.topK = 3;
  expectDistribution(parameters, softmax(1, {1, 5, 3}));
  parameters.topK = 1;
  expectDistribution(parameters, softmax(1, {1}));
}

// Top-p keeps the smallest set that reaches the probability: 1 and 5 hold 0.58, with 3 it is 0.75.
TEST(Sampling, TopP) {
  SamplingParameters parameters;
  parameters.temperature = 1;
  parameters.topP = 0.55f;
  expectDistribution(parameters, softmax(1, {1, 5}));
  parameters.topP = 0.65f;
  expectDistribution(parameters, softmax(1, {1, 5, 3}));
  parameters.topP = 1e-6f;
  expectDistribution(parameters, softmax(1, {1}));
}

// Min-p drops what is less likely than its share of the likeliest: e^-0.5 = 0.61 stays, e^-1 = 0.37
// goes.
TEST(Sampling, MinP) {
  SamplingParameters parameters;
  parameters.temperature = 1;
  parameters.minP = 0.5f;
  expectDistribution(parameters, softmax(1, {1, 5, 3}));
}

// Top-p looks at what top-k left: of {1, 5, 3}, the first two hold 0.77.
TEST(Sampling, FiltersComposeInOrder) {
  SamplingParameters parameters;
  parameters.temperature = 1;
  parameters.topK = 3;
  parameters.topP = 0.7f;
  expectDistribution(parameters, softmax(1, {1, 5}));
}

// The repetition penalty divides positive logits of seen tokens and multiplies negative ones.
TEST(Sampling, RepetitionPenalty) {
  const SeenToken seen[] = {{1, 0}, {5, 2}};
  SamplingRow row;
  row.parameters.repetitionPenalty = 1.5f;
  row.seen = seen;
  row.seenCount = 2;
  EXPECT_EQ(sampled(row).token, 3);
  const std::vector<float> negative = {-1.0f, -1.2f};
  const SeenToken first[] = {{0, 0}};
  row.seen = first;
  row.seenCount = 1;
  EXPECT_EQ(sampled(row, negative).token, 1);
}

// Log probabilities are those of softmax(logits), whatever the temperature, with the likeliest
// tokens in order.
TEST(Sampling, Logprobs) {
  SamplingRow row;
  row.parameters.temperature = 3;
  row.parameters.topLogprobs = 3;
  row.wantLogprob = true;
  SampledToken token = sampled(row);
  std::vector<double> exact = softmax(1, {0, 1, 2, 3, 4, 5, 6, 7});
  EXPECT_NEAR(token.logprob, std::log(exact[size_t(token.token)]), 1e-6);
  ASSERT_EQ(token.top.size(), 3u);
  EXPECT_EQ(token.top[0].token, 1);
  EXPECT_EQ(token.top[1].token, 5);
  EXPECT_EQ(token.top[2].token, 3);
  EXPECT_NEAR(token.top[2].logprob, std::log(exact[3]), 1e-6);
}

// A given token is not chosen: its log probability is softmax's, whatever the parameters; of an id
// past those of the model it is minus infinity.
TEST(Sampling, GivenTokens) {
  const std::vector<double> exact = softmax(1, {0, 1, 2, 3, 4, 5, 6, 7});
  for (int32_t token = 0; token < 8; ++token) {
    SamplingRow row;
    row.given = token;
    row.wantLogprob = true;
    row.parameters.topLogprobs = 2;
    EXPECT_TRUE(row.needsLogitsOnHost());
    const SampledToken got = sampled(row);
    EXPECT_EQ(got.token, token);
    EXPECT_NEAR(got.logprob, std::log(exact[size_t(token)]), 1e-6);
    ASSERT_EQ(got.top.size(), 2u);
    EXPECT_EQ(got.top[0].token, 1);
  }
  SamplingRow row;
  row.given = 8;
  row.wantLogprob = true;
  EXPECT_EQ(sampled(row).logprob, -std::numeric_limits<float>::infinity());
}

// On a large vocabulary top-p keeps exactly the tokens that sorting everything would keep.
TEST(Sampling, TopPOfLargeVocabulary) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> large(5000);
  for (float &value : large)
    value = normal(random);
  std::vector<size_t> order(large.size());
  for (size_t i = 0; i < order.size(); ++i)
    order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return large[a] > large[b]; });
  double sum = 0, reached = 0;
  for (float value : large)
    sum += std::exp(double(value));
  std::map<int32_t, bool> kept;
  for (size_t i = 0; reached < 0.3 * sum; ++i) {
    kept[int32_t(order[i])] = true;
    reached += std::exp(double(large[order[i]]));
  }
  SamplingRow row;
  row.parameters.temperature = 1;
  row.parameters.topP = 0.3f;
  std::map<int32_t, bool> drawn;
  for (row.counter = 0; row.counter < 3000; ++row.counter)
    drawn[sampled(row, large).token] = true;
  for (auto [token, yes] : drawn)
    EXPECT_TRUE(kept.count(token)) << token;
  EXPECT_GT(drawn.size(), kept.size() / 2);
}

// The generator is Philox4x32-10: the words for key and counter 0 of Random123's known answers
// (6627e8d5 e169c58d …), as 53 bits.
TEST(Sampling, GeneratorGivesKnownAnswers) {
  const uint64_t bits = uint64_t(0x6627e8d5u) << 21 | 0xe169c58du >> 11;
  EXPECT_EQ(samplingUniform(0, 0), double(bits) * 0x1p-53);
}

// A row with a NaN, or whose largest value is not finite, gives no token.
TEST(Sampling, RefusesRowsWithoutNumbers) {
  std::vector<float> infinite = logits;
  infinite[2] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(sampled({}, infinite).token, noToken);
  std::vector<float> bad = logits;
  bad[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(sampled({}, bad).token, noToken);
  EXPECT_EQ(sampled({}, std::vector<float>(8, -std::numeric_limits<float>::infinity())).token,
            noToken);
}

// Frequency counts a token's occurrences in the answer, presence whether there are any; tokens of
// the prompt alone go free. Token 1 starts half a logit before 3.
TEST(Sampling, FrequencyAndPresencePenalties) {
  SamplingRow row;
  const SeenToken seen[] = {{1, 2}, {5, 1}, {3, 0}};
  row.seen = seen;
  row.seenCount = 3;
  row.parameters.frequencyPenalty = 0.3f;
  EXPECT_EQ(sampled(row).token, 5); // 3 - 0.6, 3 - 0.3, 2.5
  row.parameters.frequencyPenalty = 0.6f;
  EXPECT_EQ(sampled(row).token, 3); // 3 - 1.2, 3 - 0.6, 2.5
  row.parameters.frequencyPenalty = 0;
  row.parameters.presencePenalty = 0.4f;
  EXPECT_EQ(sampled(row).token, 1);
  row.parameters.presencePenalty = 0.6f;
  EXPECT_EQ(sampled(row).token, 3);
  row.parameters.presencePenalty = -9; // turns the other way round
  EXPECT_EQ(sampled(row).token, 1);
}

// A bias is added; minus infinity forbids; a mask leaves only what it holds. What leaves nothing
// gives no token. Log probabilities stay the model's.
TEST(Sampling, BiasAndMask) {
  const float infinity = std::numeric_limits<float>::infinity();
  SamplingRow row;
  row.wantLogprob = true;
  const TokenBias bias[] = {{2, 5.5f}, {1, -infinity}, {99, 100}};
  row.bias = bias;
  row.biasCount = 3;
  SampledToken token = sampled(row);
  EXPECT_EQ(token.token, 2);
  EXPECT_NEAR(token.logprob, std::log(softmax(1, {0, 1, 2, 3, 4, 5, 6, 7})[2]), 1e-6);
  row.biasCount = 0;
  const uint32_t allowed = 1u << 0 | 1u << 6;
  row.allowed = &allowed;
  EXPECT_EQ(sampled(row).token, 0);
  row.parameters.temperature = 2;
  for (row.counter = 0; row.counter < 100; ++row.counter)
    EXPECT_TRUE(allowed >> sampled(row).token & 1);
  const uint32_t nothing = 0;
  row.allowed = &nothing;
  EXPECT_EQ(sampled(row).token, noToken);
}

// Temperatures too small to divide by take the likeliest token, with log probabilities and without.
TEST(Sampling, TinyTemperaturesAreGreedy) {
  for (float temperature : {1e-7f, 1e-30f, 1e-39f, 1e-45f}) {
    SamplingRow row;
    row.parameters.temperature = temperature;
    EXPECT_TRUE(row.greedy());
    EXPECT_EQ(sampled(row).token, 1);
    row.wantLogprob = true;
    EXPECT_EQ(sampled(row).token, 1);
    const SeenToken seen[] = {{1, 1}};
    row.seen = seen;
    row.seenCount = 1;
    row.parameters.repetitionPenalty = 2;
    EXPECT_EQ(sampled(row).token, 5);
  }
  SamplingRow row;
  row.parameters.temperature = leastTemperature; // the smallest that divides: ties are drawn
  bool drawn[2] = {};
  for (row.counter = 0; row.counter < 64; ++row.counter) {
    const int32_t token = sampled(row).token;
    ASSERT_TRUE(token == 1 || token == 5);
    drawn[token == 5] = true;
  }
  EXPECT_TRUE(drawn[0] && drawn[1]);
}

// Penalties and biases without measure leave finite scores, so that a token is chosen.
TEST(Sampling, LargeChangesStayFinite) {
  const SeenToken seen[] = {{1, 1}, {5, 1}};
  const TokenBias bias[] = {{4, 3e38f}, {3, 3e38f}};
  for (float temperature : {0.0f, 1.0f})
    for (float penalty : {1e-38f, 1e38f}) {
      SamplingRow row;
      row.parameters.temperature = temperature;
      row.parameters.repetitionPenalty = penalty;
      row.seen = seen;
      row.seenCount = 2;
      const int32_t token = sampled(row).token;
      EXPECT_TRUE(penalty < 1 ? token == 1 || token == 5 : token == 3 || temperature > 0) << token;
      row.bias = bias;
      row.biasCount = 2;
      EXPECT_GE(sampled(row).token, 0);
    }
}

// The stream of sample j is the output number j of a SplitMix64 generator, whose first outputs from
// state 0 are known (the sequence of the authors' program). Neighbouring seeds share no stream.
TEST(Sampling, StreamsOfSamples) {
  EXPECT_EQ(sampleSeed(0, 0), 0xE220A8397B1DCDAFu);
  EXPECT_EQ(sampleSeed(0, 1), 0x6E789E6AA1B965F4u);
  EXPECT_EQ(sampleSeed(0, 2), 0x06C45D188009454Fu);
  std::map<uint64_t, int> streams;
  for (uint64_t seed = 0; seed < 100; ++seed)
    for (uint32_t j = 0; j < 100; ++j)
      ++streams[sampleSeed(seed, j)];
  EXPECT_EQ(streams.size(), 10000u);
}

} // namespace
