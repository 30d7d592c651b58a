// Runs of an engine over the toy backend, and what it should say.
#ifndef M1_TEST_TOY_RUN_H
#define M1_TEST_TOY_RUN_H

#include "engine/engine.h"
#include "toy_backend.h"
#include <algorithm>
#include <gtest/gtest.h>

namespace m1rt::test {

struct Result {
  std::vector<int32_t> tokens;
  std::string text, error;
  bool forced = false;
  FinishReason reason = FinishReason::running;
  int ends = 0;
  std::shared_ptr<const std::vector<SampledToken>> promptScores;
  std::map<uint32_t, std::vector<int32_t>> probes; // their tokens, by the sample's before them
};
using Results = std::map<std::pair<uint64_t, uint32_t>, Result>;

inline void collect(Engine &engine, Results &results) {
  static thread_local std::vector<Event> events; // what is old in them must not show
  engine.takeEvents(&events);
  for (Event &event : events) {
    Result &result = results[{event.request, event.sample}];
    EXPECT_EQ(result.ends, 0) << "an event after the end of a sample";
    if (event.probeAfter) {
      EXPECT_EQ(result.probes.count(event.probeAfter), 0u);
      EXPECT_LE(event.probeAfter, result.tokens.size());
      for (SampledToken &token : event.tokens)
        result.probes[event.probeAfter].push_back(token.token);
      continue;
    }
    if (event.promptScores) {
      EXPECT_TRUE(!result.promptScores && result.tokens.empty()) << "scores come once, and first";
      result.promptScores = event.promptScores;
    }
    for (SampledToken &token : event.tokens)
      result.tokens.push_back(token.token);
    result.text += event.text;
    result.forced |= event.forced;
    if (event.reason != FinishReason::running) {
      result.reason = event.reason;
      result.error = event.error;
      ++result.ends;
    }
  }
}

inline void runToEnd(Engine &engine, Results &results, int bound = 100000) {
  for (int i = 0; !engine.idle(); ++i) {
    ASSERT_LT(i, bound) << "the engine makes no progress";
    Status status = engine.step();
    ASSERT_TRUE(status.ok()) << status.message();
    collect(engine, results);
  }
  collect(engine, results);
}

/// What the toy model says to this prompt when it is alone.
inline std::vector<int32_t> alone(const Request &request, uint32_t sample,
                                  const BackendLimits &limits) {
  std::vector<int32_t> tokens = request.prompt, out;
  size_t limit = request.maxNewTokens;
  bool closed = false;
  if (limit == 0)
    return out;
  auto say = [&](int32_t token) {
    out.push_back(token);
    tokens.push_back(token);
    return out.size() < limit && tokens.size() <= limits.maxContext;
  };
  for (;;) {
    int32_t token = ToyBackend::draw(
        hashOf(tokens), sampleSeed(request.sampling.seed, request.firstSample + sample), out.size(),
        limits.vocabulary);
    bool goesOn =
        say(token) && !std::count(request.stopTokens.begin(), request.stopTokens.end(), token);
    if (goesOn && !closed && request.maxThinkTokens && out.size() >= request.maxThinkTokens) {
      closed = true;
      limit = SIZE_MAX;
      for (size_t i = 0; i < request.closeTokens.size() && goesOn; ++i)
        goesOn = say(request.closeTokens[i]);
      limit = out.size() + request.closeMaxTokens;
    }
    if (!goesOn)
      return out;
  }
}

/// The scores of the prompt are those of each of its tokens after the ones before it.
inline void expectScores(const Request &request, const Result &got) {
  ASSERT_TRUE(got.promptScores);
  ASSERT_EQ(got.promptScores->size() + 1, request.prompt.size());
  for (size_t place = 1; place < request.prompt.size(); ++place) {
    const SampledToken &score = (*got.promptScores)[place - 1];
    EXPECT_EQ(score.token, request.prompt[place]) << place;
    EXPECT_EQ(score.logprob,
              ToyBackend::logprob(hashOf({request.prompt.begin(), request.prompt.begin() + place}),
                                  request.prompt[place]))
        << place;
  }
}

inline BackendLimits smallLimits() {
  BackendLimits limits;
  limits.maxSequences = 6;
  limits.maxTokensPerStep = 16;
  limits.maxLogitRows = 8;
  limits.maxContext = 200;
  limits.pageSize = 8;
  limits.kvPages = 40;
  limits.vocabulary = 50;
  return limits;
}

/// Each probe says what the toy model says to the sample's prefix and the probe's tokens alone.
inline void expectProbesAlone(const Request &request, uint32_t sample, const Result &got,
                              const BackendLimits &limits) {
  for (const auto &[after, tokens] : got.probes) {
    ASSERT_LE(after, got.tokens.size());
    std::vector<int32_t> all = request.prompt, want = request.probeTokens;
    all.insert(all.end(), got.tokens.begin(), got.tokens.begin() + after);
    all.insert(all.end(), want.begin(), want.end());
    for (uint32_t said = 0; said < request.probeMaxTokens && all.size() <= limits.maxContext;
         ++said) {
      want.push_back(ToyBackend::draw(
          hashOf(all), sampleSeed(request.sampling.seed, request.firstSample + sample), said,
          limits.vocabulary));
      all.push_back(want.back());
      if (std::count(request.stopTokens.begin(), request.stopTokens.end(), want.back()))
        break;
    }
    EXPECT_EQ(tokens, want) << "probe of sample " << sample << " after " << after;
  }
}

} // namespace m1rt::test

#endif
