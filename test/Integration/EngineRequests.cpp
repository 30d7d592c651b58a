#include "EngineRequests.h"

#include "engine/engine.h"
#include "model/session.h"

#include <cmath>
#include <gtest/gtest.h>
#include <map>

using namespace m1rt;

namespace m1test {
namespace {

/// One sample by itself: the whole prompt in one step, then token by token.
std::vector<int32_t> alone(Model &model, const Request &request, uint32_t sample) {
  SessionOptions options;
  options.maxContext = static_cast<uint32_t>(request.prompt.size()) + request.maxNewTokens;
  std::unique_ptr<Session> session;
  SequenceId sequence = 0;
  EXPECT_TRUE(Session::create(model, options, &session).ok());
  EXPECT_TRUE(session->create(&sequence).ok());
  std::vector<int32_t> input = request.prompt, output;
  while (output.size() < request.maxNewTokens) {
    BackendEntry entry{sequence, input.data(), static_cast<uint32_t>(input.size()), 1};
    SamplingRow row;
    row.parameters = request.sampling;
    row.parameters.seed = sampleSeed(request.sampling.seed, sample);
    row.counter = static_cast<uint32_t>(output.size());
    SampledToken token;
    Status status = session->step(&entry, 1);
    if (status.ok())
      status = session->sample(&row, 1);
    if (status.ok())
      status = session->takeChosen(&token);
    EXPECT_TRUE(status.ok()) << status.message();
    if (!status.ok())
      break;
    output.push_back(token.token);
    input = {token.token};
  }
  return output;
}

/// The scores of a prompt are the log softmax, in double precision, of the logits of a step that
/// takes the whole of it.
void expectScores(Model &model, const std::vector<int32_t> &prompt,
                  const std::vector<SampledToken> &scores) {
  ASSERT_EQ(scores.size() + 1, prompt.size());
  SessionOptions options;
  const uint32_t count = static_cast<uint32_t>(prompt.size());
  options.maxContext = options.maxTokensPerStep = options.maxLogitRows = count;
  std::unique_ptr<Session> session;
  BackendEntry entry;
  ASSERT_TRUE(Session::create(model, options, &session).ok());
  ASSERT_TRUE(session->create(&entry.sequence).ok());
  entry.tokens = prompt.data();
  entry.tokenCount = entry.logitCount = count;
  ASSERT_TRUE(session->step(&entry, 1).ok());
  const size_t vocabulary = model.module().vocab_size();
  std::vector<float> logits(count * vocabulary);
  ASSERT_TRUE(session->logits(0, count, logits.data()).ok());
  for (size_t i = 0; i + 1 < prompt.size(); ++i) {
    const float *row = logits.data() + i * vocabulary;
    double sum = 0;
    for (size_t token = 0; token < vocabulary; ++token)
      sum += std::exp(double(row[token]));
    EXPECT_EQ(scores[i].token, prompt[i + 1]);
    EXPECT_NEAR(scores[i].logprob, double(row[prompt[i + 1]]) - std::log(sum), 1e-4) << i;
  }
}

} // namespace

void runRequests(Model &model, Random &random, size_t requests, int leastPages, int mostPages,
                 EngineSeen &seen) {
  const int32_t vocabulary = static_cast<int32_t>(model.module().vocab_size());
  SessionOptions limits;
  limits.maxSequences = static_cast<uint32_t>(random.integer(2, 9));
  limits.maxTokensPerStep = static_cast<uint32_t>(random.integer(limits.maxSequences, 80));
  limits.maxContext = 260;
  limits.kvPages = static_cast<uint32_t>(random.integer(leastPages, mostPages));
  std::unique_ptr<Session> session;
  Status created = Session::create(model, limits, &session);
  ASSERT_TRUE(created.ok()) << created.message();
  EngineOptions options;
  options.prefixCacheSlots = static_cast<uint32_t>(random.integer(0, 4));
  options.prefixBlock = static_cast<uint32_t>(random.integer(4, 64));
  options.shortestPrefix = static_cast<uint32_t>(random.integer(1, 16));
  options.prefillChunk = random.chance(0.5) ? static_cast<uint32_t>(random.integer(1, 40)) : 0;
  Engine engine(*session, options);

  std::vector<int32_t> shared = random.tokens(random.integer(20, 120), vocabulary);
  std::map<uint64_t, Request> submitted;
  std::map<std::pair<uint64_t, uint32_t>, std::vector<int32_t>> got;
  std::map<std::pair<uint64_t, uint32_t>, FinishReason> ends;
  std::map<uint64_t, std::vector<SampledToken>> scores;
  for (int step = 0; submitted.size() < requests || !engine.idle(); ++step) {
    ASSERT_LT(step, 20000) << "no progress: " << submitted.size() << " requests, "
                           << engine.runningSamples() << " running, " << engine.waitingSamples()
                           << " waiting, sequences " << limits.maxSequences << ", pages "
                           << limits.kvPages << ", free " << session->freePages()
                           << ", prefix slots " << options.prefixCacheSlots << " tokens per step "
                           << limits.maxTokensPerStep << " steps " << engine.stats().steps
                           << " generated " << engine.stats().generatedTokens << " recomputed "
                           << engine.stats().recomputedTokens << " preempted "
                           << engine.stats().preemptions;
    if (submitted.size() < requests && random.chance(0.3)) {
      Request request;
      if (random.chance(0.6))
        request.prompt = shared;
      auto own = random.tokens(random.integer(1, 60), vocabulary);
      request.prompt.insert(request.prompt.end(), own.begin(), own.end());
      request.samples = static_cast<uint32_t>(random.chance(0.5) ? random.integer(2, 5) : 1);
      request.maxNewTokens = static_cast<uint32_t>(random.integer(1, 40));
      request.sampling.temperature = random.chance(0.5) ? 0.8f : 0.0f;
      request.sampling.topK = random.chance(0.3) ? 20 : 0;
      request.sampling.topP = random.chance(0.3) ? 0.9f : 1.0f;
      request.sampling.seed = static_cast<uint64_t>(random.integer(0, 1 << 30));
      request.scorePrompt = submitted.size() % 3 == 1;
      uint64_t id = 0;
      Status status = engine.submit(request, &id);
      ASSERT_TRUE(status.ok()) << status.message();
      submitted[id] = request;
    }
    if (!submitted.empty() && random.chance(0.01))
      engine.cancel(submitted.begin()->first);
    Status status = engine.step();
    ASSERT_TRUE(status.ok()) << status.message();
    for (const Event &event : engine.takeEvents()) {
      if (event.promptScores)
        scores[event.request] = *event.promptScores;
      for (const SampledToken &token : event.tokens)
        got[{event.request, event.sample}].push_back(token.token);
      if (event.reason != FinishReason::running)
        ends[{event.request, event.sample}] = event.reason;
    }
  }
  for (const auto &[id, request] : submitted)
    for (uint32_t sample = 0; sample < request.samples; ++sample) {
      auto reason = ends[{id, sample}];
      ASSERT_TRUE(reason == FinishReason::length || reason == FinishReason::cancelled);
      std::vector<int32_t> want = alone(model, request, sample);
      if (reason == FinishReason::cancelled)
        want.resize(std::min(want.size(), got[{id, sample}].size()));
      ASSERT_EQ((got[{id, sample}]), want) << "request " << id << " sample " << sample;
    }
  for (const auto &[id, found] : scores)
    expectScores(model, submitted[id].prompt, found);
  seen.preemptions += engine.stats().preemptions;
  seen.reused += engine.stats().reusedTokens;
}

} // namespace m1test
