#include "../Support/TestSeed.h"
#include "engine/engine.h"
#include "toy_backend.h"
#include "toy_run.h"
#include <gtest/gtest.h>
#include <random>

using namespace m1rt;
using namespace m1rt::test;

namespace {

/// One character a token: the letters a to z and back.
struct LetterDecoder : TokenDecoder {
  void append(int32_t token, std::string *out) override { out->push_back(char('a' + token % 26)); }
  void finish(std::string *) override {}
};

// Random pools, arrivals, lengths, sample counts, shared beginnings, forced closes, probes and
// cancellations, run ahead or not: every sample's tokens, and every probe's, are those of a run
// alone, every sample ends exactly once, and nothing is left behind.
TEST(Engine, TokensEqualThoseOfARunAlone) {
  const uint32_t seed = uint32_t(m1test::testSeed());
  for (int round = 0; round < 300; ++round) {
    std::mt19937 random(seed + round);
    auto pick = [&](uint32_t low, uint32_t high) { return low + random() % (high - low + 1); };
    BackendLimits limits = smallLimits();
    limits.maxSequences = pick(1, 9);
    limits.maxTokensPerStep = pick(limits.maxSequences, 40);
    limits.maxLogitRows = pick(1, 9);
    limits.pageSize = pick(1, 9);
    limits.maxContext = pick(20, 120);
    limits.window = pick(0, 2) ? 0 : pick(1, limits.maxContext);
    const uint32_t whole = limits.mostPages(limits.maxContext);
    limits.kvPages = pick(0, 4) == 0 ? 0 : whole + pick(0, 2 * whole);
    limits.asynchronous = pick(0, 2) > 0;
    ToyBackend backend(limits);
    EngineOptions options;
    options.prefixCacheSlots = pick(0, 3);
    options.prefixBlock = pick(1, 12);
    options.prefillChunk = pick(0, 1) ? pick(1, 10) : 0;
    options.prefillBesideDecoding = pick(0, 1) ? pick(1, 10) : 0;
    options.maxRunning = pick(0, 1) ? pick(1, 9) : 0;
    options.probePlaces = pick(0, 2);
    options.scoresBesideDecoding = pick(1, 9);
    Results results;
    std::map<uint64_t, Request> submitted;
    std::set<uint64_t> cancelled;
    {
      Engine engine(backend, options);
      std::vector<int32_t> shared(pick(0, limits.maxContext / 2));
      for (int32_t &t : shared)
        t = int32_t(pick(0, limits.vocabulary - 1));
      uint32_t requests = pick(1, 8);
      for (uint32_t step = 0; submitted.size() < requests || !engine.idle(); ++step) {
        ASSERT_LT(step, 200000u) << "no progress in round " << round;
        if (submitted.size() < requests && pick(0, 5) == 0) {
          Request request;
          if (pick(0, 1))
            request.prompt = shared;
          for (uint32_t i = pick(1, std::max(1u, limits.maxContext / 3)); i > 0; --i)
            request.prompt.push_back(int32_t(pick(0, limits.vocabulary - 1)));
          request.samples = pick(0, 2) ? pick(1, 12) : 1;
          request.sampling.seed = random();
          request.maxNewTokens = pick(1, 40);
          if (pick(0, 1))
            request.stopTokens = {int32_t(pick(0, limits.vocabulary - 1))};
          request.wantLogprobs = pick(0, 7) == 0;
          if (pick(0, 3) == 0) {
            request.maxThinkTokens = pick(1, 30);
            request.closeTokens.assign(pick(1, 4), int32_t(pick(0, limits.vocabulary - 1)));
            request.closeMaxTokens = pick(1, 6);
          }
          if (pick(0, 2) == 0) {
            request.probeEvery = pick(0, 12);
            request.probeOnEnd = request.probeEvery == 0 || pick(0, 1);
            request.probeTokens.assign(pick(1, 4), int32_t(pick(0, limits.vocabulary - 1)));
            request.probeMaxTokens = pick(1, 6);
          }
          if (pick(0, 3) == 0) {
            request.scorePrompt = true;
            if (pick(0, 3) == 0) {
              request.maxNewTokens = request.maxThinkTokens = request.probeEvery = 0;
              request.probeOnEnd = false;
            }
          }
          uint64_t id;
          Status status = engine.submit(request, &id);
          if (request.prompt.size() > limits.maxContext) {
            ASSERT_FALSE(status.ok());
            continue;
          }
          ASSERT_TRUE(status.ok()) << status.message();
          submitted[id] = request;
        }
        if (!submitted.empty() && pick(0, 60) == 0) {
          uint64_t id = pick(1, uint32_t(submitted.size()));
          if (pick(0, 1))
            engine.cancel(id);
          else
            engine.cancelSample(id, pick(0, submitted[id].samples - 1));
          cancelled.insert(id);
        }
        Status status = engine.step();
        ASSERT_TRUE(status.ok()) << status.message() << " in round " << round;
        collect(engine, results);
      }
    }
    EXPECT_EQ(backend.liveSequences(), 0u);
    for (auto &[id, request] : submitted)
      for (uint32_t sample = 0; sample < request.samples; ++sample) {
        Result &got = results[{id, sample}];
        ASSERT_EQ(got.ends, 1) << "request " << id << " sample " << sample << " round " << round;
        std::vector<int32_t> want = alone(request, sample, limits);
        if (got.reason == FinishReason::cancelled) {
          ASSERT_TRUE(cancelled.count(id));
          ASSERT_LE(got.tokens.size(), want.size());
          want.resize(got.tokens.size());
        }
        ASSERT_EQ(got.tokens, want)
            << "request " << id << " sample " << sample << " round " << round;
        expectProbesAlone(request, sample, got, limits);
        if (request.scorePrompt && (got.promptScores || got.reason != FinishReason::cancelled))
          expectScores(request, got);
        else
          ASSERT_FALSE(got.promptScores);
      }
  }
}

// A prompt is scored a few tokens a step beside samples that decode, which have their token in
// every step all the same; alone, as many as there are rows of logits.
TEST(Engine, ScoringStallsNobody) {
  BackendLimits limits = smallLimits();
  limits.maxLogitRows = 12;
  ToyBackend backend(limits);
  EngineOptions options;
  options.scoresBesideDecoding = 3;
  Engine engine(backend, options);
  Request decoding, scored;
  decoding.prompt = {1};
  decoding.maxNewTokens = 60;
  for (int32_t i = 0; i < 61; ++i)
    scored.prompt.push_back(i % 50);
  scored.scorePrompt = true;
  scored.maxNewTokens = 0;
  uint64_t first, second;
  ASSERT_TRUE(engine.submit(decoding, &first).ok());
  ASSERT_TRUE(engine.step().ok());
  ASSERT_TRUE(engine.submit(scored, &second).ok());
  Results results;
  collect(engine, results);
  for (size_t said = 1; !results[{second, 0}].ends; ++said) {
    ASSERT_EQ((results[{first, 0}].tokens.size()), said);
    ASSERT_TRUE(engine.step().ok());
    collect(engine, results);
  }
  EXPECT_EQ((results[{first, 0}].tokens.size()), 21u); // 60 scores, three a step
  expectScores(scored, results[{second, 0}]);
  EXPECT_EQ((results[{second, 0}].reason), FinishReason::length);
  runToEnd(engine, results);
  EXPECT_EQ((results[{first, 0}].tokens), alone(decoding, 0, limits));

  const uint64_t before = backend.steps;
  ASSERT_TRUE(engine.submit(scored, &second).ok());
  runToEnd(engine, results);
  expectScores(scored, results[{second, 0}]);
  EXPECT_EQ(backend.steps - before, 6u); // 12 rows each, the last for what follows the prompt, too
}

// A prompt that is scored takes nothing from the prefix cache, and leaves to it what others leave.
TEST(Engine, ScoredPromptsAndPrefixes) {
  BackendLimits limits = smallLimits();
  limits.kvPages = 200;
  ToyBackend backend(limits);
  Engine engine(backend, {});
  Results results;
  auto ask = [&](bool score, uint32_t samples) {
    Request request;
    request.prompt.assign(100, 7);
    request.samples = samples;
    request.maxNewTokens = 3;
    request.scorePrompt = score;
    uint64_t id;
    const uint64_t before = engine.stats().reusedTokens;
    EXPECT_TRUE(engine.submit(request, &id).ok());
    runToEnd(engine, results);
    for (uint32_t sample = 0; sample < samples; ++sample) {
      EXPECT_EQ((results[{id, sample}].tokens), alone(request, sample, limits));
      if (score)
        expectScores(request, results[{id, sample}]);
    }
    return engine.stats().reusedTokens - before;
  };
  EXPECT_EQ(ask(true, 1), 0u);
  EXPECT_EQ(ask(true, 3), 0u);
  EXPECT_EQ(ask(false, 1), 99u);
  EXPECT_EQ(ask(true, 1), 0u);
}

// Logits of a prompt that are no numbers end all samples of the request, and nobody else's.
TEST(Engine, APromptThatCannotBeScored) {
  for (uint32_t samples : {1, 3}) {
    BackendLimits limits = smallLimits();
    ToyBackend backend(limits);
    Engine engine(backend, {});
    Request good, bad;
    good.prompt = {1, 2, 3};
    bad.prompt = {4, 5, 6, 7};
    good.maxNewTokens = 10;
    bad.samples = samples;
    bad.scorePrompt = true;
    backend.poisoned.insert(hashOf({4, 5}));
    uint64_t goodId, badId;
    ASSERT_TRUE(engine.submit(good, &goodId).ok());
    ASSERT_TRUE(engine.submit(bad, &badId).ok());
    Results results;
    runToEnd(engine, results);
    for (uint32_t sample = 0; sample < samples; ++sample) {
      EXPECT_EQ((results[{badId, sample}].reason), FinishReason::failed);
      EXPECT_EQ((results[{badId, sample}].error),
                "no log probability of token 2 of the prompt: the model's logits there hold a NaN "
                "or an infinite value");
    }
    EXPECT_EQ((results[{goodId, 0}].tokens), alone(good, 0, limits));
  }
}

// New weights in the middle of a prompt: what begins again is scored again, as a whole.
TEST(Engine, ScoresBeginAgainWithTheirSamples) {
  for (uint32_t samples : {1, 3}) {
    BackendLimits limits = smallLimits();
    ToyBackend backend(limits);
    Engine engine(backend, {});
    Request request;
    for (int32_t i = 0; i < 40; ++i)
      request.prompt.push_back(i);
    request.samples = samples;
    request.maxNewTokens = 4;
    request.scorePrompt = true;
    uint64_t id;
    ASSERT_TRUE(engine.submit(request, &id).ok());
    for (int i = 0; i < 2; ++i)
      ASSERT_TRUE(engine.step().ok());
    ASSERT_TRUE(engine.forgetWeights(RunningSamples::restart).ok());
    Results results;
    runToEnd(engine, results);
    for (uint32_t sample = 0; sample < samples; ++sample) {
      expectScores(request, results[{id, sample}]);
      EXPECT_EQ((results[{id, sample}].tokens), alone(request, sample, limits));
    }
  }
}

// Samples that go on with new weights keep their scores; those that begin later have their own, of
// a prompt that is computed again.
TEST(Engine, ScoresOfSamplesThatGoOn) {
  BackendLimits limits = smallLimits();
  limits.maxSequences = 4;
  ToyBackend backend(limits);
  EngineOptions options;
  options.prefixCacheSlots = 0;
  Engine engine(backend, options);
  Request request;
  for (int32_t i = 0; i < 20; ++i)
    request.prompt.push_back(i);
  request.samples = 6; // three run beside their parent
  request.maxNewTokens = 12;
  request.scorePrompt = true;
  uint64_t id;
  ASSERT_TRUE(engine.submit(request, &id).ok());
  Results results;
  while (results[{id, 0}].tokens.size() < 3) {
    ASSERT_TRUE(engine.step().ok());
    collect(engine, results);
  }
  ASSERT_GT(engine.waitingSamples(), 0u);
  ASSERT_TRUE(engine.forgetWeights(RunningSamples::keep).ok());
  runToEnd(engine, results);
  for (uint32_t sample = 0; sample < request.samples; ++sample) {
    expectScores(request, results[{id, sample}]);
    EXPECT_EQ((results[{id, sample}].tokens), alone(request, sample, limits));
  }
}

// Nothing to say is a request only where there is something to score.
TEST(Engine, PromptsThatAreScoredAlone) {
  ToyBackend backend(smallLimits());
  Engine engine(backend, {});
  Request request;
  request.prompt = {1, 2};
  request.maxNewTokens = 0;
  EXPECT_EQ(engine.check(request).message(), "max new tokens: expected at least 1");
  request.scorePrompt = true;
  EXPECT_TRUE(engine.check(request).ok());
  request.timeBudget = 1;
  EXPECT_EQ(engine.check(request).message(),
            "max new tokens: 0 goes without a time budget, a limit of thought and probes");
}

// Events whose vector is given back cost no allocation: two vectors go to and fro, with what their
// events hold. An event that takes the place of another shows nothing of it.
TEST(Engine, EventsComeInTheMemoryOfOlderOnes) {
  ToyBackend backend(smallLimits());
  Engine engine(backend, {});
  Request request;
  request.prompt = {1, 2, 3};
  request.samples = 3;
  request.maxNewTokens = 30;
  request.maxThinkTokens = 28;
  request.closeTokens = {9};
  request.closeMaxTokens = 1;
  uint64_t id;
  ASSERT_TRUE(engine.submit(request, &id).ok());
  std::vector<Event> events;
  std::set<const void *> vectors, tokens;
  size_t steps = 0;
  for (; !engine.idle(); ++steps) {
    ASSERT_TRUE(engine.step().ok());
    engine.takeEvents(&events);
    if (events.size() != 3)
      continue;
    vectors.insert(events.data());
    for (const Event &event : events) {
      tokens.insert(event.tokens.data());
      EXPECT_EQ(event.forced, event.reason != FinishReason::running || event.tokens.size() > 1);
    }
  }
  EXPECT_GT(steps, 20u);
  EXPECT_LE(vectors.size(), 2u + 2u); // two, each of which grew once
  EXPECT_LE(tokens.size(), 2u * 3u + 2u * 3u);
  request.samples = 1;
  request.maxThinkTokens = 0;
  ASSERT_TRUE(engine.submit(request, &id).ok());
  do {
    ASSERT_TRUE(engine.step().ok());
    engine.takeEvents(&events);
  } while (events.empty());
  EXPECT_EQ(events[0].request, id);
  EXPECT_EQ(events[0].tokens.size(), 1u);
  EXPECT_FALSE(events[0].forced);
  EXPECT_EQ(events[0].reason, FinishReason::running);
}

// On an asynchronous backend every step but the first starts before the tokens of the one before
// are known, and known lengths cost no step too many. Where sampling needs logits on the host,
// nothing runs ahead.
TEST(Engine, RunsOneStepAhead) {
  BackendLimits limits = smallLimits();
  limits.asynchronous = true;
  ToyBackend backend(limits);
  Engine engine(backend, {});
  Request request;
  request.prompt = {1, 2, 3};
  request.maxNewTokens = 20;
  uint64_t id;
  ASSERT_TRUE(engine.submit(request, &id).ok());
  ASSERT_TRUE(engine.step().ok());
  EXPECT_TRUE(engine.takeEvents().empty());
  Results results;
  runToEnd(engine, results);
  EXPECT_EQ((results[{id, 0}].tokens), alone(request, 0, limits));
  EXPECT_EQ(backend.steps, 20u);
  EXPECT_EQ(backend.fed, 19u);

  request.wantLogprobs = true;
  ASSERT_TRUE(engine.submit(request, &id).ok());
  runToEnd(engine, results);
  EXPECT_EQ((results[{id, 0}].tokens), alone(request, 0, limits));
  EXPECT_EQ(backend.steps, 40u);
  EXPECT_EQ(backend.fed, 19u);
}

// A step is still under way when the last sample has ended by a stop token: the next request goes
// on from there, also in another engine, and the time between them is no step's.
TEST(Engine, GoesOnAfterTheStepBeyondTheEnd) {
  BackendLimits limits = smallLimits();
  limits.asynchronous = true;
  ToyBackend backend(limits);
  Request request;
  request.prompt = {1, 2, 3};
  request.maxNewTokens = 20;
  request.stopTokens = {alone(request, 0, limits)[4]};
  for (int round = 0; round < 2; ++round) {
    EngineOptions options;
    options.now = backend.clock();
    Engine engine(backend, options);
    for (int turn = 0; turn < 2; ++turn) {
      uint64_t id;
      ASSERT_TRUE(engine.submit(request, &id).ok());
      Results results;
      runToEnd(engine, results);
      EXPECT_EQ((results[{id, 0}].tokens), alone(request, 0, limits));
      EXPECT_EQ((results[{id, 0}].reason), FinishReason::stopToken);
      backend.time += std::chrono::seconds(1);
    }
    EXPECT_LT(engine.stats().modelSeconds, 0.1); // ten steps of a millisecond
  }
}

// n samples compute their prompt once: the model is fed the prompt, not n times the prompt.
TEST(Engine, SamplesShareTheirPrompt) {
  BackendLimits limits = smallLimits();
  limits.maxSequences = 20;
  limits.kvPages = 400;
  limits.maxLogitRows = limits.maxTokensPerStep = 32;
  ToyBackend backend(limits);
  Engine engine(backend, {});
  Request request;
  request.prompt.assign(100, 3);
  request.samples = 16;
  request.maxNewTokens = 5;
  uint64_t id;
  ASSERT_TRUE(engine.submit(request, &id).ok());
  Results results;
  runToEnd(engine, results);
  EXPECT_EQ(engine.stats().computedTokens,
            99u + 16 * 5); // the parent, then each sample's last prompt token and 4 of its own
  EXPECT_EQ(engine.stats().sharedTokens, 16u * 99);
}

// A prompt that was seen before starts at its last snapshot, and a beginning that two prompts share
// is snapshotted for the third.
TEST(Engine, PrefixesAreReused) {
  BackendLimits limits = smallLimits();
  limits.maxSequences = 14;
  limits.kvPages = 200;
  ToyBackend backend(limits);
  EngineOptions options;
  options.prefixCacheSlots = 12;
  options.prefixBlock = 8;
  Engine engine(backend, options);
  Results results;
  auto ask = [&](std::vector<int32_t> prompt) {
    Request request;
    request.prompt = std::move(prompt);
    request.maxNewTokens = 3;
    uint64_t id, before = engine.stats().reusedTokens;
    EXPECT_TRUE(engine.submit(request, &id).ok());
    runToEnd(engine, results);
    EXPECT_EQ((results[{id, 0}].tokens), alone(request, 0, limits));
    return engine.stats().reusedTokens - before;
  };
  std::vector<int32_t> system(40, 7), a = system, b = system, c = system;
  for (int i = 0; i < 20; ++i) {
    a.push_back(i);
    b.push_back(i + 5);
    c.push_back(i + 9);
  }
  EXPECT_EQ(ask(a), 0u);
  EXPECT_EQ(ask(b), 0u); // leaves a snapshot at the 40 tokens that a and b share
  EXPECT_EQ(ask(c), 40u);
  EXPECT_EQ(ask(a), 56u); // its own snapshot, at the last block boundary before the last token
}

// Prompts that share less than a block are reused, too: from exactly where they part.
TEST(Engine, ShortPrefixesAreReused) {
  BackendLimits limits = smallLimits();
  limits.maxSequences = 8;
  limits.kvPages = 200;
  ToyBackend backend(limits);
  Engine engine(backend, {});
  uint64_t reused = 0;
  for (int32_t turn = 0; turn < 3; ++turn) {
    Request request;
    request.prompt.assign(24, 7);
    request.prompt.insert(request.prompt.end(), {turn, 9, 9});
    request.maxNewTokens = 2;
    uint64_t id;
    ASSERT_TRUE(engine.submit(request, &id).ok());
    Results results;
    runToEnd(engine, results);
    EXPECT_EQ((results[{id, 0}].tokens), alone(request, 0, limits));
    reused = engine.stats().reusedTokens;
  }
  EXPECT_EQ(reused, 24u);
}

// A sample of a request is the same drawn alone, by its number; neighbouring seeds share none.
TEST(Engine, SamplesHaveNumbers) {
  BackendLimits limits = smallLimits();
  ToyBackend backend(limits);
  Engine engine(backend, {});
  auto draw = [&](uint64_t seed, uint32_t first, uint32_t count) {
    Request request;
    request.prompt = {1, 2};
    request.maxNewTokens = 12;
    request.samples = count;
    request.firstSample = first;
    request.sampling.seed = seed;
    request.sampling.temperature = 1;
    uint64_t id;
    EXPECT_TRUE(engine.submit(request, &id).ok());
    Results results;
    runToEnd(engine, results);
    std::vector<std::vector<int32_t>> tokens;
    for (uint32_t j = 0; j < count; ++j)
      tokens.push_back(results[{id, j}].tokens);
    return tokens;
  };
  const auto many = draw(0, 0, 4);
  for (uint32_t j = 0; j < 4; ++j)
    EXPECT_EQ(draw(0, j, 1)[0], many[j]);
  for (const auto &tokens : draw(1, 0, 4))
    EXPECT_EQ(std::count(many.begin(), many.end(), tokens), 0);
}

// A row whose logits are not numbers ends its own sample with an error and leaves its neighbours as
// they would have been alone.
TEST(Engine, ABadSampleLeavesItsNeighboursAlone) {
  BackendLimits limits = smallLimits();
  limits.asynchronous = true;
  ToyBackend backend(limits);
  Engine engine(backend, {});
  Request good, bad;
  good.prompt = {1, 2, 3};
  bad.prompt = {4, 5};
  good.maxNewTokens = bad.maxNewTokens = 10;
  backend.poisoned.insert(hashOf(bad.prompt));
  uint64_t goodId, badId;
  ASSERT_TRUE(engine.submit(good, &goodId).ok());
  ASSERT_TRUE(engine.submit(bad, &badId).ok());
  Results results;
  runToEnd(engine, results);
  EXPECT_EQ((results[{badId, 0}].reason), FinishReason::failed);
  EXPECT_EQ(
      (results[{badId, 0}].error),
      "no token to choose at position 2 (token 1 of the answer): the model's logits there hold a "
      "NaN or an infinite value");
  EXPECT_EQ((results[{goodId, 0}].tokens), alone(good, 0, limits));
}

// A sample that thinks too long is fed the closing tokens and may then add closeMaxTokens of its
// own.
TEST(Engine, LongThoughtsAreClosedByForce) {
  BackendLimits limits = smallLimits();
  ToyBackend backend(limits);
  Engine engine(backend, {});
  Request request;
  request.prompt = {9, 8};
  request.maxThinkTokens = 6;
  request.maxNewTokens = 50;
  request.closeTokens = {40, 41, 42};
  request.closeMaxTokens = 4;
  uint64_t id;
  ASSERT_TRUE(engine.submit(request, &id).ok());
  Results results;
  runToEnd(engine, results);
  Result &result = results[{id, 0}];
  EXPECT_TRUE(result.forced);
  EXPECT_EQ(result.reason, FinishReason::length);
  ASSERT_EQ(result.tokens.size(), 6u + 3 + 4);
  EXPECT_EQ(std::vector<int32_t>(result.tokens.begin() + 6, result.tokens.begin() + 9),
            request.closeTokens);
  std::vector<int32_t> all = request.prompt;
  all.insert(all.end(), result.tokens.begin(), result.tokens.end() - 1);
  EXPECT_EQ(result.tokens.back(),
            ToyBackend::draw(hashOf(all), sampleSeed(0, 0), 12,
                             limits.vocabulary)); // it has read what was forced
}

// Text stops right before the stop string, also when it spans tokens, and text that only looks like
// its beginning is given in the end.
TEST(Engine, StopStringsEndTheText) {
  BackendLimits limits = smallLimits();
  limits.asynchronous = true;
  ToyBackend backend(limits);
  auto decoders = [] { return std::make_unique<LetterDecoder>(); };
  Engine engine(backend, {}, decoders);
  Request request;
  request.prompt = {5, 6};
  request.maxNewTokens = 30;
  std::string text;
  for (int32_t token : alone(request, 0, limits))
    text.push_back(char('a' + token % 26));
  request.stopStrings = {text.substr(10, 3), "never, ever"};
  uint64_t id;
  ASSERT_TRUE(engine.submit(request, &id).ok());
  Results results;
  runToEnd(engine, results);
  EXPECT_EQ((results[{id, 0}].reason), FinishReason::stopString);
  EXPECT_EQ((results[{id, 0}].text), text.substr(0, text.find(request.stopStrings[0])));

  request.stopStrings = {text.substr(28, 2) + "!"};
  ASSERT_TRUE(engine.submit(request, &id).ok());
  runToEnd(engine, results);
  EXPECT_EQ((results[{id, 0}].text), text);
}

/// Two requests of six samples each, with a share of the places.
struct TwoShares {
  ToyBackend backend{limits()};
  Engine engine;
  uint64_t ids[2] = {};
  Results results;

  /// `running` counts the two parents.
  TwoShares(uint32_t samplesAtOnce, uint32_t running) : engine(backend, options(running)) {
    for (int i = 0; i < 2; ++i) {
      Request request;
      request.prompt = {1, 2, i};
      request.samples = 6;
      request.samplesAtOnce = samplesAtOnce;
      request.maxNewTokens = 20;
      EXPECT_TRUE(engine.submit(request, &ids[i]).ok());
    }
  }
  void run(int steps) {
    for (int step = 0; step < steps; ++step) {
      ASSERT_TRUE(engine.step().ok());
      collect(engine, results);
    }
  }

private:
  static BackendLimits limits() {
    BackendLimits limits = smallLimits();
    limits.maxSequences = 10;
    limits.kvPages = 0;
    return limits;
  }
  static EngineOptions options(uint32_t running) {
    EngineOptions options;
    options.prefixCacheSlots = 0;
    options.maxRunning = running;
    return options;
  }
};

// A request with a share of places leaves the others to requests that wait; when none wait, it
// takes them.
TEST(Engine, SamplesAtOnceLeavePlacesToOthers) {
  TwoShares shares(2, 6);
  shares.run(10);
  ASSERT_EQ(shares.results.size(), 4u);
  for (uint64_t id : shares.ids)
    for (uint32_t sample : {0, 1})
      EXPECT_FALSE((shares.results[{id, sample}].tokens.empty()));
  shares.engine.cancel(shares.ids[1]);
  shares.run(5);
  EXPECT_FALSE((shares.results[{shares.ids[0], 4}].tokens.empty()));
  runToEnd(shares.engine, shares.results);
}

// Places that no request's share wants go round among those that have one.
TEST(Engine, SamplesAtOnceShareWhatIsLeft) {
  TwoShares shares(1, 9);
  shares.run(5);
  EXPECT_EQ(shares.results.size(), 7u);
  EXPECT_EQ((shares.results.count({shares.ids[0], 3})), 1u);
  EXPECT_EQ((shares.results.count({shares.ids[1], 2})), 1u);
  runToEnd(shares.engine, shares.results);
}

// Requests that cannot be served are refused with the name of what is wrong.
TEST(Engine, ImpossibleRequestsAreRefused) {
  BackendLimits limits = smallLimits();
  limits.kvPages = 4;
  ToyBackend backend(limits);
  Engine engine(backend, {});
  uint64_t id;
  auto refuse = [&](const char *part, auto change) {
    Request request;
    request.prompt = {1, 2};
    request.maxNewTokens = 4;
    change(request);
    Status status = engine.submit(request, &id);
    EXPECT_FALSE(status.ok()) << part;
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  };
  refuse("prompt: expected at least one token", [](Request &r) { r.prompt.clear(); });
  refuse("prompt: token 1 is 50", [](Request &r) { r.prompt[1] = 50; });
  refuse("do not fit the context of 200", [](Request &r) { r.prompt.assign(201, 1); });
  refuse("need 6 KV pages, the pool has 4", [](Request &r) { r.maxNewTokens = 40; });
  refuse("samples", [](Request &r) { r.samples = 0; });
  refuse("temperature", [](Request &r) { r.sampling.temperature = -1; });
  refuse("top-p", [](Request &r) { r.sampling.topP = 0; });
  refuse("min-p", [](Request &r) { r.sampling.minP = 2; });
  refuse("repetition penalty: expected a number above 0, got 0",
         [](Request &r) { r.sampling.repetitionPenalty = 0; });
  refuse("frequency penalty: expected a number, got inf",
         [](Request &r) { r.sampling.frequencyPenalty = INFINITY; });
  refuse("presence penalty: expected a number, got nan",
         [](Request &r) { r.sampling.presencePenalty = NAN; });
  refuse("logit bias: token 50, expected 0 to 49", [](Request &r) { r.bias = {{50, 1}}; });
  refuse("logit bias of token 3: expected a number, or minus infinity, got inf",
         [](Request &r) { r.bias = {{3, INFINITY}}; });
  refuse("first sample: 4294967294 with 2 samples is beyond 32 bits", [](Request &r) {
    r.samples = 2;
    r.firstSample = UINT32_MAX - 1;
  });
  refuse("time budget: expected 0 to 1e9 seconds, got -1", [](Request &r) { r.timeBudget = -1; });
  refuse("stop string: an empty string cannot match", [](Request &r) { r.stopStrings = {""}; });
  refuse("stop string: the model has no tokenizer, so it cannot match",
         [](Request &r) { r.stopStrings = {"x"}; });
  EXPECT_TRUE(engine.idle());
}

} // namespace
