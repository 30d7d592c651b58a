// Time budgets of an engine: what runs, what is closed and what ends.
#include "../Support/TestSeed.h"
#include "engine/engine.h"
#include "toy_backend.h"
#include "toy_run.h"
#include <climits>
#include <gtest/gtest.h>
#include <random>
#include <set>

using namespace m1rt;
using namespace m1rt::test;

namespace {

// At the end of the time budget running samples close or drop, and samples that never started are
// dropped: every one is accounted for.
TEST(Deadlines, EverySampleEnds) {
  for (DeadlineAction action : {DeadlineAction::drop, DeadlineAction::close}) {
    BackendLimits limits = smallLimits();
    limits.maxContext = 100000;
    limits.kvPages = 0;
    ToyBackend backend(limits);
    EngineOptions options;
    options.now = backend.clock();
    Engine engine(backend, options);
    Request request;
    request.prompt = {1, 2, 3};
    request.samples = 50;
    request.maxNewTokens = 90000;
    request.timeBudget = 1;
    request.atDeadline = action;
    request.closeTokens = {7};
    request.closeMaxTokens = 2;
    uint64_t id;
    ASSERT_TRUE(engine.submit(request, &id).ok());
    Results results;
    runToEnd(engine, results);
    ASSERT_EQ(results.size(), 50u);
    int forced = 0, dropped = 0;
    for (auto &[key, result] : results) {
      EXPECT_EQ(result.ends, 1);
      forced += result.forced;
      dropped += result.reason == FinishReason::dropped;
    }
    EXPECT_EQ(forced + dropped, 50);
    EXPECT_EQ(forced, action == DeadlineAction::close
                          ? 1
                          : 0); // 6 sequences less 4 of the prefix cache and the parent
  }
}

// The budget is kept even where closing takes longer than is left of it: closed samples then end at
// the deadline, as they are.
TEST(Deadlines, NothingOutlastsTheTimeBudget) {
  BackendLimits limits = smallLimits();
  limits.maxContext = 1000000;
  limits.kvPages = 0;
  limits.asynchronous = true;
  ToyBackend backend(limits);
  EngineOptions options;
  options.now = backend.clock();
  Engine engine(backend, options);
  Request request;
  request.prompt = {1, 2, 3};
  request.maxNewTokens = 900000;
  request.timeBudget = 0.2;
  request.atDeadline = DeadlineAction::close;
  request.closeTokens = {7};
  request.closeMaxTokens = 900000;
  uint64_t id;
  ASSERT_TRUE(engine.submit(request, &id).ok());
  const auto began = backend.time;
  Results results;
  runToEnd(engine, results, INT_MAX);
  EXPECT_LT(ToyBackend::Seconds(backend.time - began).count(), 0.2 + 3 * backend.stepTime.count());
  EXPECT_TRUE((results[{id, 0}].forced));
  EXPECT_EQ((results[{id, 0}].reason), FinishReason::length);
}

// Within a time budget as many samples run as can end in it: of many short ones all places are
// used, samples that have run are left to end, and none is lost or counted twice.
TEST(Deadlines, BudgetsArePlanned) {
  BackendLimits limits = smallLimits();
  limits.maxSequences = 20;
  limits.maxLogitRows = limits.maxTokensPerStep = 32;
  limits.kvPages = 0;
  ToyBackend backend(limits);
  EngineOptions options;
  options.prefixCacheSlots = 0;
  options.now = backend.clock();
  Engine engine(backend, options);
  Request request;
  request.prompt = {1, 2, 3};
  request.samples = 100000;
  request.maxNewTokens = 10;
  request.timeBudget = 0.3;
  request.atDeadline = DeadlineAction::drop;
  uint64_t id;
  ASSERT_TRUE(engine.submit(request, &id).ok());
  Results results;
  uint32_t most = 0;
  while (!engine.idle()) {
    ASSERT_TRUE(engine.step().ok());
    most = std::max(most, engine.runningSamples());
    collect(engine, results);
  }
  collect(engine, results);
  EXPECT_EQ(most, 19u); // all places but the parent's
  ASSERT_EQ(results.size(), 100000u);
  uint32_t whole = 0;
  for (auto &[key, result] : results) {
    EXPECT_EQ(result.ends, 1);
    whole += result.reason == FinishReason::length;
    if (result.reason == FinishReason::length)
      EXPECT_EQ(result.tokens, alone(request, key.second, limits));
  }
  // 0.3 s of steps of 1.19 ms, each of which takes 19 samples a tenth of their way
  EXPECT_GT(whole, 400u);
}

// Whatever is cancelled, however few pages there are and whatever a plan says: as long as a sample
// of a time budget is left, every step brings one further.
TEST(Deadlines, NoStepIsLost) {
  const uint32_t seed = uint32_t(m1test::testSeed());
  for (int round = 0; round < 100; ++round) {
    std::mt19937 random(seed + round);
    auto pick = [&](uint32_t low, uint32_t high) { return low + random() % (high - low + 1); };
    BackendLimits limits = smallLimits();
    limits.kvPages = pick(0, 2) ? limits.mostPages(limits.maxContext) + pick(0, 30) : 0;
    limits.asynchronous = pick(0, 1) > 0;
    ToyBackend backend(limits);
    EngineOptions options;
    options.prefixCacheSlots = 0;
    options.now = backend.clock();
    Engine engine(backend, options);
    std::vector<std::pair<uint64_t, uint32_t>> samples;
    for (uint32_t requests = pick(1, 3); requests > 0; --requests) {
      Request request;
      request.prompt.assign(pick(1, 60), int32_t(requests));
      request.samples = pick(1, 8);
      request.maxNewTokens = pick(1, 150);
      request.timeBudget = 1e6;
      uint64_t id;
      ASSERT_TRUE(engine.submit(request, &id).ok());
      for (uint32_t sample = 0; sample < request.samples; ++sample)
        samples.push_back({id, sample});
    }
    int idle =
        0; // steps on end that fed nothing: one may, where a token in flight is to be the last
    for (int step = 0; !engine.idle(); ++step) {
      const uint64_t before = backend.steps;
      ASSERT_TRUE(engine.step().ok());
      idle = backend.steps > before ? 0 : idle + 1;
      ASSERT_LE(idle, engine.idle() ? 2 : 1) << "step " << step << " of round " << round;
      std::set<std::pair<uint64_t, uint32_t>> said;
      for (const Event &event : engine.takeEvents())
        if (!event.tokens.empty() && event.reason == FinishReason::running)
          said.insert({event.request, event.sample});
      if (said.size() == 1 && pick(0, 3) == 0) // perhaps the only one that is not paused
        engine.cancelSample(said.begin()->first, said.begin()->second);
      else if (pick(0, 99) == 0) {
        const auto [id, sample] = samples[pick(0, uint32_t(samples.size()) - 1)];
        engine.cancelSample(id, sample);
      }
    }
  }
}

// Once their closing time has come samples that are better left to end are not weighed anew in
// every step: that costs as much as a plan, and steps may be as short as one.
TEST(Deadlines, ClosingIsWeighedAsSeldomAsPlansAreMade) {
  BackendLimits limits = smallLimits();
  limits.maxContext = 1000;
  limits.kvPages = 0;
  ToyBackend backend(limits);
  uint64_t looks = 0; // at the clock: each plan, and each time closing is weighed, takes another
  EngineOptions options;
  options.prefixCacheSlots = 0;
  options.now = [&] {
    ++looks;
    return backend.time;
  };
  Engine engine(backend, options);
  Request request;
  request.prompt = {1, 2, 3};
  request.samples = 1000;
  request.maxNewTokens = 40;
  request.timeBudget = 0.3;
  request.atDeadline = DeadlineAction::close;
  request.closeTokens = {7};
  request.closeMaxTokens = 60; // some 60 steps of 1 ms before the deadline
  uint64_t id;
  ASSERT_TRUE(engine.submit(request, &id).ok());
  const auto late = backend.time + std::chrono::milliseconds(240);
  std::vector<uint64_t> looksOf; // by step, from then on until nothing more would end in time
  for (bool forced = false; !engine.idle() && !forced;) {
    const uint64_t before = looks;
    const bool counts = backend.time > late;
    ASSERT_TRUE(engine.step().ok());
    for (const Event &event : engine.takeEvents())
      forced |= event.forced;
    if (counts && !forced)
      looksOf.push_back(looks - before);
  }
  ASSERT_GT(looksOf.size(), 40u);
  std::vector<uint64_t> sorted = looksOf;
  std::sort(sorted.begin(), sorted.end());
  const uint64_t usual = sorted[sorted.size() / 4]; // less than that where nothing runs any more
  const auto more =
      std::count_if(looksOf.begin(), looksOf.end(), [&](uint64_t count) { return count > usual; });
  EXPECT_GT(more, 0);
  EXPECT_LT(more, long(looksOf.size() / 2));
}

// A sample that is cut while it is being closed says only that closing takes longer: the next ones
// get the time that they need.
TEST(Deadlines, CutSamplesDoNotShortenClosing) {
  BackendLimits limits = smallLimits();
  limits.maxContext = 1000;
  limits.kvPages = 0;
  ToyBackend backend(limits);
  EngineOptions options;
  options.prefixCacheSlots = 0;
  options.now = backend.clock();
  Engine engine(backend, options);
  Request request;
  request.prompt = {1, 2, 3};
  request.samples = 1;
  request.maxNewTokens = 900;
  request.timeBudget = 0.1;
  request.atDeadline = DeadlineAction::close;
  request.closeTokens = {7};
  // Tokens that a sample says once it is closed.
  auto saysClosed = [&](uint32_t most, bool cut) {
    request.closeMaxTokens = most; // as many steps of 1 ms
    uint64_t id;
    EXPECT_TRUE(engine.submit(request, &id).ok());
    size_t said = 0;
    bool forced = false;
    while (!engine.idle()) {
      EXPECT_TRUE(engine.step().ok());
      for (const Event &event : engine.takeEvents()) {
        if (event.forced)
          said += event.tokens.size();
        if (event.forced && !forced && cut)
          backend.time += std::chrono::seconds(1); // the machine stands still
        forced |= event.forced;
      }
    }
    EXPECT_TRUE(forced);
    return said - request.closeTokens.size();
  };
  EXPECT_LT(saysClosed(20, true), 20u);
  for (int round = 0; round < 3; ++round)
    EXPECT_EQ(saysClosed(20, false), 20u) << round;
  // Nor do those that may say less.
  for (int round = 0; round < 12; ++round)
    EXPECT_LT(saysClosed(5, true), 5u) << round;
  EXPECT_EQ(saysClosed(20, false), 20u);
}

} // namespace
