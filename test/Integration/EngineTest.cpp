// The engine on compiled models: whatever else is in the batch, every sample's tokens are those of
// a run alone.
#include "engine/engine.h"
#include "CompiledModel.h"
#include "RandomCheckpoint.h"
#include "model/session.h"

#include <gtest/gtest.h>
#include <map>

using namespace m1rt;
using namespace m1test;

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

class EngineOnModel : public testing::TestWithParam<const char *> {};

// Random arrivals, prompts that share beginnings, several samples, greedy and drawn tokens,
// cancellations, chunked prefill, and pools so small that samples are preempted: tokens equal those
// of a run alone, in f32.
TEST_P(EngineOnModel, TokensEqualThoseOfARunAlone) {
  TemporaryDirectory directory;
  ASSERT_EQ(compileModel(std::string(M1_GOLDENS) + "/" + GetParam(), directory / "model.m1a", {}),
            "");
  ModelOptions modelOptions;
  modelOptions.deviceOptions.threads = 2;
  std::unique_ptr<Model> model;
  Status loaded = Model::load(directory / "model.m1a", modelOptions, &model);
  ASSERT_TRUE(loaded.ok()) << loaded.message();
  int32_t vocabulary = static_cast<int32_t>(model->module().vocab_size());

  uint64_t preemptions = 0, reused = 0;
  for (int round = 0; round < 6; ++round) {
    SCOPED_TRACE(testing::Message() << "M1_TEST_SEED=" << testSeed() << " round " << round);
    Random random(testSeed() + round);
    SessionOptions limits;
    limits.maxSequences = static_cast<uint32_t>(random.integer(2, 9));
    limits.maxTokensPerStep = static_cast<uint32_t>(random.integer(limits.maxSequences, 80));
    limits.maxContext = 260;
    limits.kvPages =
        // of 64 positions: five hold one longest sequence
        static_cast<uint32_t>(random.integer(5, 12));
    std::unique_ptr<Session> session;
    Status created = Session::create(*model, limits, &session);
    ASSERT_TRUE(created.ok()) << created.message();
    EngineOptions options;
    options.prefixCacheSlots = static_cast<uint32_t>(random.integer(0, 1));
    options.prefixBlock = static_cast<uint32_t>(random.integer(4, 64));
    options.shortestPrefix = static_cast<uint32_t>(random.integer(1, 16));
    options.prefillChunk = random.chance(0.5) ? static_cast<uint32_t>(random.integer(1, 40)) : 0;
    Engine engine(*session, options);

    std::vector<int32_t> shared = random.tokens(random.integer(20, 120), vocabulary);
    std::map<uint64_t, Request> submitted;
    std::map<std::pair<uint64_t, uint32_t>, std::vector<int32_t>> got;
    std::map<std::pair<uint64_t, uint32_t>, FinishReason> ends;
    for (int step = 0; submitted.size() < 7 || !engine.idle(); ++step) {
      ASSERT_LT(step, 20000) << "no progress: " << submitted.size() << " requests, "
                             << engine.runningSamples() << " running, " << engine.waitingSamples()
                             << " waiting, sequences " << limits.maxSequences << ", pages "
                             << limits.kvPages << ", free " << session->freePages()
                             << ", prefix slots " << options.prefixCacheSlots << " tokens per step "
                             << limits.maxTokensPerStep << " steps " << engine.stats().steps
                             << " generated " << engine.stats().generatedTokens << " recomputed "
                             << engine.stats().recomputedTokens << " preempted "
                             << engine.stats().preemptions;
      if (submitted.size() < 7 && random.chance(0.3)) {
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
        std::vector<int32_t> want = alone(*model, request, sample);
        if (reason == FinishReason::cancelled)
          want.resize(std::min(want.size(), got[{id, sample}].size()));
        ASSERT_EQ((got[{id, sample}]), want) << "request " << id << " sample " << sample;
      }
    preemptions += engine.stats().preemptions;
    reused += engine.stats().reusedTokens;
  }
  std::cout << preemptions << " preemptions, " << reused << " tokens of prefixes reused\n";
}

INSTANTIATE_TEST_SUITE_P(All, EngineOnModel,
                         testing::Values("m1-mamba1-f32", "m1-mamba2-f32", "hf-llama"),
                         [](const testing::TestParamInfo<const char *> &info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

} // namespace
