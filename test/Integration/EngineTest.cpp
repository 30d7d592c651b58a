// The engine on compiled models: whatever else is in the batch, every sample's tokens are those of
// a run alone.
#include "engine/engine.h"
#include "CompiledModel.h"
#include "RandomCheckpoint.h"
#include "model/session.h"
#include "model/sizing.h"

#include "llvm/ADT/StringRef.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <sstream>

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

/// hf-llama with attention over a window: Mistral's, whose tensors have the same names.
void writeWindowed(const std::string &directory, uint32_t window) {
  const std::string from = std::string(M1_GOLDENS) + "/hf-llama";
  for (const auto &file : std::filesystem::directory_iterator(from))
    if (file.path().extension() == ".safetensors")
      std::filesystem::create_symlink(file.path(), directory / file.path().filename());
  std::stringstream config;
  config << std::ifstream(from + "/config.json").rdbuf();
  std::string text = config.str();
  auto replace = [&](const std::string &what, const std::string &by) {
    const size_t at = text.find(what);
    ASSERT_NE(at, std::string::npos) << what;
    text.replace(at, what.size(), by);
  };
  replace("LlamaForCausalLM", "MistralForCausalLM");
  replace("\"model_type\": \"llama\"",
          "\"model_type\": \"mistral\", \"sliding_window\": " + std::to_string(window));
  std::ofstream(directory + "/config.json") << text;
}

class EngineOnModel : public testing::TestWithParam<const char *> {};

// Random arrivals, prompts that share beginnings, several samples, greedy and drawn tokens,
// cancellations, chunked prefill, and pools so small that samples are preempted: tokens equal those
// of a run alone, in f32.
TEST_P(EngineOnModel, TokensEqualThoseOfARunAlone) {
  TemporaryDirectory directory;
  const auto [name, kvType] = llvm::StringRef(GetParam()).split('/');
  std::string checkpoint = std::string(M1_GOLDENS) + "/" + name.str();
  const bool windowed = name == "window";
  Types types;
  if (!kvType.empty())
    types.kv = kvType.str();
  if (windowed) {
    writeWindowed(directory.path, 70);
    checkpoint = directory.path;
  }
  ASSERT_EQ(compileModel(checkpoint, directory / "model.m1a", types), "");
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
    // of 64 positions: five hold one longest sequence, three one whose window moves on
    limits.kvPages = static_cast<uint32_t>(windowed ? random.integer(3, 7) : random.integer(5, 12));
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
    std::map<uint64_t, std::vector<SampledToken>> scores;
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
        std::vector<int32_t> want = alone(*model, request, sample);
        if (reason == FinishReason::cancelled)
          want.resize(std::min(want.size(), got[{id, sample}].size()));
        ASSERT_EQ((got[{id, sample}]), want) << "request " << id << " sample " << sample;
      }
    for (const auto &[id, found] : scores)
      expectScores(*model, submitted[id].prompt, found);
    preemptions += engine.stats().preemptions;
    reused += engine.stats().reusedTokens;
  }
  std::cout << preemptions << " preemptions, " << reused << " tokens of prefixes reused\n";
}

INSTANTIATE_TEST_SUITE_P(All, EngineOnModel,
                         testing::Values("m1-mamba1-f32", "m1-mamba2-f32", "hf-llama", "window",
                                         "hf-llama/int8", "window/fp8"),
                         [](const testing::TestParamInfo<const char *> &info) {
                           std::string name = info.param;
                           for (char &c : name)
                             if (c == '-' || c == '/')
                               c = '_';
                           return name;
                         });

// A window of 70 positions takes three pages of 64 however long the sample: the tokens are those
// that the whole sequence gives in one step, where no page has been given back.
TEST(EngineOnWindow, LongDecodeInThePagesOfTheWindow) {
  TemporaryDirectory directory;
  writeWindowed(directory.path, 70);
  ASSERT_EQ(compileModel(directory.path, directory / "model.m1a", {}), "");
  ModelOptions modelOptions;
  modelOptions.deviceOptions.threads = 2;
  std::unique_ptr<Model> model;
  Status loaded = Model::load(directory / "model.m1a", modelOptions, &model);
  ASSERT_TRUE(loaded.ok()) << loaded.message();
  EXPECT_EQ(model->window(), 70u);

  SizeWish wish;
  wish.sequences = 1;
  wish.context = 900;
  SessionOptions limits;
  ASSERT_TRUE(sizeSession(*model, wish, &limits).ok());
  EXPECT_LE(limits.kvPages, 3 + 2 + limits.maxTokensPerStep / 64); // not the 15 of 900 tokens
  limits.kvPages = 3;
  limits.maxTokensPerStep = 200;
  std::unique_ptr<Session> session;
  ASSERT_TRUE(Session::create(*model, limits, &session).ok());
  Request request;
  request.prompt = Random(5).tokens(230, static_cast<int32_t>(model->module().vocab_size()));
  request.maxNewTokens = 600;
  std::vector<int32_t> sequence = request.prompt;
  {
    EngineOptions options;
    options.prefixCacheSlots = 0;
    Engine engine(*session, options);
    uint64_t id = 0;
    ASSERT_TRUE(engine.submit(request, &id).ok());
    for (int step = 0; !engine.idle(); ++step) {
      ASSERT_LT(step, 2000) << "no progress";
      ASSERT_TRUE(engine.step().ok());
      for (const Event &event : engine.takeEvents())
        for (const SampledToken &token : event.tokens)
          sequence.push_back(token.token);
    }
    EXPECT_EQ(engine.stats().preemptions, 0u);
  }
  EXPECT_EQ(session->freePages(), 3u);
  ASSERT_EQ(sequence.size(), 830u);

  SessionOptions whole;
  whole.maxContext = whole.maxTokensPerStep = whole.maxLogitRows = 900;
  whole.kvPages = 15;
  ASSERT_TRUE(Session::create(*model, whole, &session).ok());
  BackendEntry entry;
  ASSERT_TRUE(session->create(&entry.sequence).ok());
  entry.tokens = sequence.data();
  entry.tokenCount = 829;
  entry.logitCount = 600;
  ASSERT_TRUE(session->step(&entry, 1).ok());
  std::vector<float> logits(size_t(600) * model->module().vocab_size());
  ASSERT_TRUE(session->logits(0, 600, logits.data()).ok());
  for (size_t row = 0; row < 600; ++row) {
    const float *first = logits.data() + row * model->module().vocab_size();
    // Two sums in different orders may disagree about a tie.
    EXPECT_GE(first[sequence[230 + row]],
              *std::max_element(first, first + model->module().vocab_size()) - 1e-4f)
        << "token " << row;
  }
}

} // namespace
