#include "toy_run.h"

using namespace m1rt;
using namespace m1rt::test;

namespace {

Request probed() {
  Request request;
  request.prompt = {1, 2, 3, 4};
  request.samples = 3;
  request.maxNewTokens = 40;
  request.sampling.seed = 5;
  request.probeEvery = 8;
  request.probeTokens = {7, 8};
  request.probeMaxTokens = 4;
  return request;
}

/// What is there once everything has ended.
void expectNothingLeft(const ToyBackend &backend) {
  EXPECT_EQ(backend.liveSequences(), 0u);
  EXPECT_EQ(backend.usedPages(), 0u);
}

EngineOptions plainOptions(const ToyBackend &backend) {
  EngineOptions options;
  options.prefixCacheSlots = 0;
  options.now = backend.clock();
  return options;
}

// With room for all, each sample is probed at every multiple of probeEvery, run ahead or not; it
// says what it says without probes, and their cost is counted.
TEST(Probes, ComeAtEveryMultiple) {
  for (bool ahead : {false, true}) {
    BackendLimits limits = smallLimits();
    limits.maxSequences = 12;
    limits.asynchronous = ahead;
    ToyBackend backend(limits);
    Engine engine(backend, plainOptions(backend));
    const Request request = probed();
    uint64_t id;
    ASSERT_TRUE(engine.submit(request, &id).ok());
    Results results;
    runToEnd(engine, results);
    size_t fed = 0;
    for (uint32_t sample = 0; sample < request.samples; ++sample) {
      const Result &got = results[{id, sample}];
      EXPECT_EQ(got.tokens, alone(request, sample, limits));
      expectProbesAlone(request, sample, got, limits);
      std::vector<uint32_t> places;
      for (const auto &[after, tokens] : got.probes) {
        places.push_back(after);
        fed += tokens.size() - 1 + !ahead; // the sample's last token is not computed yet
      }
      EXPECT_EQ(places, (std::vector<uint32_t>{8, 16, 24, 32}));
    }
    EXPECT_EQ(engine.stats().probes, 12u);
    EXPECT_EQ(engine.stats().probesDropped, 0u);
    EXPECT_EQ(engine.stats().probeTokens, fed);
    EXPECT_GT(engine.stats().probeSeconds, 0);
    EXPECT_LT(engine.stats().probeSeconds, engine.stats().modelSeconds);
    EXPECT_EQ(engine.stats().generatedTokens, 120u);
    expectNothingLeft(backend);
  }
}

// Four samples of 10, 15, 30 and 40 tokens, and probes of 6 tokens when another one ends: none
// within 6 tokens of the last, multiples of probeEvery among them; a cancelled sample causes none.
TEST(Probes, ComeWhenAnotherSampleEnds) {
  struct Case {
    uint32_t every;
    bool cancelFirst;
    std::vector<std::vector<uint32_t>> places;
  };
  const std::vector<Case> cases = {
      {0, false, {{}, {10}, {10, 16}, {10, 16, 30}}},
      {0, true, {{}, {}, {15}, {15, 30}}},
      // 14 is as soon after 8 as can be; what ends at 15 is met at 20. 16 and 32 lie too close
      // behind. The probes of the first two at 8 and 14 end with their samples.
      {8, false, {{}, {8}, {8, 14, 20}, {8, 14, 20, 30}}},
      {20, true, {{}, {}, {15}, {15, 30}}},
  };
  for (bool ahead : {false, true})
    for (const Case &one : cases) {
      BackendLimits limits = smallLimits();
      limits.maxSequences = 12;
      limits.maxTokensPerStep = 64;
      limits.maxLogitRows = 16;
      limits.kvPages = 200;
      limits.vocabulary = 5000;
      limits.asynchronous = ahead;
      Request request = probed();
      request.samples = 4;
      request.probeEvery = one.every;
      request.probeOnEnd = true;
      request.probeTokens = {7, 8, 9, 10};
      request.probeMaxTokens = 2;
      const std::vector<size_t> lengths = {10, 15, 30, 40};
      std::vector<int32_t> ends;
      for (uint32_t sample = 0; sample < 3; ++sample)
        ends.push_back(alone(request, sample, limits)[lengths[sample] - 1]);
      request.stopTokens = ends;
      ToyBackend backend(limits);
      Engine engine(backend, plainOptions(backend));
      uint64_t id;
      ASSERT_TRUE(engine.submit(request, &id).ok());
      Results results;
      while (one.cancelFirst && results[{id, 0}].tokens.size() < 5) {
        ASSERT_TRUE(engine.step().ok());
        collect(engine, results);
      }
      if (one.cancelFirst)
        engine.cancelSample(id, 0);
      runToEnd(engine, results);
      uint32_t begun = 0;
      for (uint32_t sample = 0; sample < 4; ++sample) {
        const Result &got = results[{id, sample}];
        if (sample > 0 || !one.cancelFirst)
          ASSERT_EQ(got.tokens.size(), lengths[sample]);
        expectProbesAlone(request, sample, got, limits);
        std::vector<uint32_t> places;
        for (const auto &probe : got.probes)
          places.push_back(probe.first);
        EXPECT_EQ(places, one.places[sample]) << "sample " << sample << ", every " << one.every;
        begun += uint32_t(one.places[sample].size());
      }
      EXPECT_EQ(engine.stats().probes - engine.stats().probesDropped, begun);
      expectNothingLeft(backend);
    }
}

// However seldom events are taken, news of a probe comes before its sample's end.
TEST(Probes, TellBeforeTheEnd) {
  BackendLimits limits = smallLimits();
  limits.maxSequences = 12;
  ToyBackend backend(limits);
  Engine engine(backend, plainOptions(backend));
  const Request request = probed();
  uint64_t id;
  ASSERT_TRUE(engine.submit(request, &id).ok());
  while (!engine.idle())
    ASSERT_TRUE(engine.step().ok());
  Results results;
  collect(engine, results);
  for (uint32_t sample = 0; sample < request.samples; ++sample) {
    EXPECT_EQ((results[{id, sample}].tokens), alone(request, sample, limits));
    EXPECT_EQ((results[{id, sample}].probes).size(), 4u);
    EXPECT_EQ((results[{id, sample}].ends), 1);
  }
}

// While samples wait, probes take the places that were set aside for them and no others.
TEST(Probes, LeavePlacesToSamples) {
  for (uint32_t places : {0u, 1u}) {
    BackendLimits limits = smallLimits();
    limits.maxSequences = 4;
    ToyBackend backend(limits);
    EngineOptions options = plainOptions(backend);
    options.probePlaces = places;
    Engine engine(backend, options);
    Request request = probed();
    request.samples = 12;
    uint64_t id;
    ASSERT_TRUE(engine.submit(request, &id).ok());
    uint32_t mostSamples = 0;
    Results results;
    while (!engine.idle()) {
      ASSERT_TRUE(engine.step().ok());
      collect(engine, results);
      mostSamples = std::max(mostSamples, engine.runningSamples());
      if (places == 0 && engine.waitingSamples() > 0)
        ASSERT_EQ(engine.stats().probes, 0u);
    }
    EXPECT_EQ(mostSamples, places ? 2u : 3u); // the prompt has one, too
    EXPECT_GT(engine.stats().probes, 0u);
    for (uint32_t sample = 0; sample < request.samples; ++sample)
      EXPECT_EQ((results[{id, sample}].tokens), alone(request, sample, limits));
    expectNothingLeft(backend);
  }
}

/// Steps until a probe is on its way.
void runIntoAProbe(Engine &engine, Results &results) {
  while (engine.stats().probes == 0) {
    ASSERT_TRUE(engine.step().ok());
    collect(engine, results);
  }
}

// Cancelled in the middle of a probe, a sample or the whole request leaves nothing behind, and no
// news of the probe follows.
TEST(Probes, EndWithTheirSample) {
  for (bool ahead : {false, true})
    for (bool all : {false, true}) {
      BackendLimits limits = smallLimits();
      limits.maxSequences = 12;
      limits.asynchronous = ahead;
      ToyBackend backend(limits);
      Engine engine(backend, plainOptions(backend));
      const Request request = probed();
      uint64_t id;
      ASSERT_TRUE(engine.submit(request, &id).ok());
      Results results;
      runIntoAProbe(engine, results);
      all ? engine.cancel(id) : engine.cancelSample(id, 1);
      runToEnd(engine, results);
      EXPECT_TRUE((results[{id, 1}].probes).empty());
      EXPECT_EQ((results[{id, 1}].reason), FinishReason::cancelled);
      EXPECT_EQ((results[{id, 0}].reason), all ? FinishReason::cancelled : FinishReason::length);
      if (!all)
        EXPECT_EQ((results[{id, 0}].probes).size(), 4u);
      EXPECT_GE(engine.stats().probesDropped, all ? 3u : 1u);
      // a step that is in flight is taken in with the next request
      Request last = probed();
      last.probeEvery = 0;
      ASSERT_TRUE(engine.submit(last, &id).ok());
      runToEnd(engine, results);
      EXPECT_EQ((results[{id, 0}].tokens), alone(last, 0, limits));
      expectNothingLeft(backend);
    }
}

// A deadline in the middle of a probe drops it; the sample closes, or ends, as it does without.
TEST(Probes, GiveWayToDeadlines) {
  for (DeadlineAction action : {DeadlineAction::drop, DeadlineAction::close}) {
    BackendLimits limits = smallLimits();
    limits.maxSequences = 12;
    ToyBackend backend(limits);
    EngineOptions options = plainOptions(backend);
    options.planBudgets = false;
    Engine engine(backend, options);
    Request request = probed();
    request.maxNewTokens = 100;
    request.atDeadline = action;
    request.closeTokens = {9};
    request.closeMaxTokens = 3;
    request.timeBudget = 1;
    uint64_t id;
    ASSERT_TRUE(engine.submit(request, &id).ok());
    Results results;
    runIntoAProbe(engine, results);
    backend.time += std::chrono::milliseconds(action == DeadlineAction::close ? 985 : 1000);
    ASSERT_TRUE(engine.step().ok());
    collect(engine, results);
    EXPECT_EQ(engine.stats().probesDropped, 3u);
    runToEnd(engine, results);
    for (uint32_t sample = 0; sample < request.samples; ++sample) {
      EXPECT_TRUE((results[{id, sample}].probes).empty());
      EXPECT_EQ((results[{id, sample}].forced), action == DeadlineAction::close);
    }
    expectNothingLeft(backend);
  }
}

// When pages run out, probes go before any sample is preempted.
TEST(Probes, GiveTheirPagesToSamples) {
  BackendLimits limits = smallLimits();
  limits.maxSequences = 12;
  limits.pageSize = 4;
  limits.maxContext = 60;
  limits.kvPages = 36;
  auto preemptions = [&](bool withProbes, uint64_t *outDropped) {
    ToyBackend backend(limits);
    Engine engine(backend, plainOptions(backend));
    Request request = probed();
    request.probeEvery = withProbes ? 2 : 0;
    uint64_t id;
    Results results;
    EXPECT_TRUE(engine.submit(request, &id).ok());
    runToEnd(engine, results);
    for (uint32_t sample = 0; sample < request.samples; ++sample) {
      EXPECT_EQ((results[{id, sample}].tokens), alone(request, sample, limits));
      expectProbesAlone(request, sample, results[{id, sample}], limits);
    }
    expectNothingLeft(backend);
    *outDropped = engine.stats().probes;
    return engine.stats().preemptions;
  };
  uint64_t none = 0, some = 0;
  EXPECT_EQ(preemptions(false, &none), preemptions(true, &some));
  EXPECT_EQ(none, 0u);
  EXPECT_GT(some, 0u);
}

// A probe without tokens, or of a sample whose grammar says what follows, is refused by name.
TEST(Probes, AreChecked) {
  ToyBackend backend(smallLimits());
  Engine engine(backend, {});
  Request request = probed();
  request.probeTokens = {};
  EXPECT_NE(engine.check(request).message().find("probes: expected at least one token"),
            std::string::npos);
  request.probeTokens = {50};
  EXPECT_NE(engine.check(request).message().find("probe tokens: token 50, expected 0 to 49"),
            std::string::npos);
  request.probeTokens = {1};
  request.probeEvery = 0;
  request.probeOnEnd = true;
  EXPECT_TRUE(engine.check(request).ok());
  request.filters = [] { return std::unique_ptr<TokenFilter>(); };
  EXPECT_NE(engine.check(request).message().find("grammar"), std::string::npos);
}

} // namespace
