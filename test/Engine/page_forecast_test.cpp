// The forecast of KV pages against a simulation, and what admission by it spares.
#include "../Support/TestSeed.h"
#include "engine/engine.h"
#include "engine/page_forecast.h"
#include "toy_backend.h"
#include <algorithm>
#include <gtest/gtest.h>
#include <random>

using namespace m1rt;
using namespace m1rt::test;

namespace {

/// Token by token, pages of one token: what all hold at most beyond what they held at first.
uint64_t simulatedPeak(std::vector<PageForecast::Sequence> sequences) {
  int64_t now = 0, peak = 0;
  for (const auto &sequence : sequences)
    now += int64_t(sequence.atOnce);
  for (size_t said = 0; !sequences.empty(); ++said) {
    peak = std::max(peak, now);
    for (auto it = sequences.begin(); it != sequences.end();) {
      if (it->more == said) {
        now -= int64_t(it->atOnce + it->more + it->held);
        it = sequences.erase(it);
      } else {
        ++now;
        ++it;
      }
    }
  }
  return uint64_t(peak);
}

} // namespace

TEST(PageForecast, EqualsASimulation) {
  std::mt19937 random(m1test::testSeed());
  for (int round = 0; round < 300; ++round) {
    std::vector<PageForecast::Sequence> all(1 + random() % 12);
    PageForecast forecast(1);
    for (auto &sequence : all) {
      sequence.atOnce = random() % 3 ? 0 : random() % 40;
      sequence.more = random() % 60;
      sequence.held = random() % 50;
      if (&sequence != &all.back())
        forecast.add(sequence);
    }
    EXPECT_EQ(forecast.peakWith(all.back()), simulatedPeak(all));
  }
}

namespace {

struct Outcome {
  EngineStats stats;
  uint32_t most = 0; // samples at once
};

/// 100 samples of one prompt of 10 tokens and at most `limit` new ones, on 750 pages of 4 tokens.
Outcome run(uint32_t limit, std::vector<int32_t> stopTokens, uint32_t vocabulary) {
  BackendLimits limits;
  limits.vocabulary = vocabulary;
  limits.maxSequences = 100;
  limits.maxTokensPerStep = limits.maxLogitRows = 100;
  limits.maxContext = 1000;
  limits.pageSize = 4;
  limits.kvPages = 750;
  ToyBackend backend(limits);
  EngineOptions options;
  options.prefixCacheSlots = 0;
  Engine engine(backend, options);
  Request request;
  request.prompt.assign(10, 1);
  request.samples = 100;
  request.maxNewTokens = limit;
  request.stopTokens = std::move(stopTokens);
  uint64_t id = 0;
  EXPECT_TRUE(engine.submit(request, &id).ok());
  Outcome outcome;
  while (!engine.idle()) {
    const Status status = engine.step();
    EXPECT_TRUE(status.ok()) << status.message();
    if (!status.ok())
      break;
    outcome.most = std::max(outcome.most, engine.runningSamples());
    engine.takeEvents();
  }
  outcome.stats = engine.stats();
  return outcome;
}

} // namespace

// Samples whose length is known to be their limit: about twice as many as fit to their end run at
// once, and little is computed twice (40 % if all began that have a page).
TEST(PageForecast, KnownLengths) {
  const Outcome outcome = run(200, {}, 50);
  EXPECT_LE(double(outcome.stats.recomputedTokens), 0.27 * double(outcome.stats.computedTokens));
  EXPECT_GE(outcome.most, 14u); // 750 pages hold 14 whole samples of 51 pages
  EXPECT_LE(outcome.most, 35u);
}

// Samples that end by themselves, after 60 tokens on average of at most 700: most places are used
// although nothing is known of their lengths when they begin.
TEST(PageForecast, LearnedLengths) {
  const Outcome outcome = run(700, {0}, 60);
  EXPECT_LE(double(outcome.stats.recomputedTokens), 0.1 * double(outcome.stats.computedTokens));
  EXPECT_GE(outcome.most, 30u); // 750 pages hold 46 of average length
}
