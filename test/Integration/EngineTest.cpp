// The engine on compiled models: whatever else is in the batch, every sample's tokens are those of
// a run alone.
#include "engine/engine.h"
#include "CompiledModel.h"
#include "EngineRequests.h"
#include "RandomCheckpoint.h"
#include "model/session.h"
#include "model/sizing.h"

#include "llvm/ADT/StringRef.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

using namespace m1rt;
using namespace m1test;

namespace {

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

// In f32.
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

  EngineSeen seen;
  for (int round = 0; round < 6; ++round) {
    SCOPED_TRACE(testing::Message() << "M1_TEST_SEED=" << testSeed() << " round " << round);
    Random random(testSeed() + round);
    // Of 64 positions: five hold one longest sequence, three one whose window moves on.
    runRequests(*model, random, 7, windowed ? 3 : 5, windowed ? 7 : 12, seen);
    if (HasFatalFailure())
      return;
  }
  std::cout << seen.preemptions << " preemptions, " << seen.reused
            << " tokens of prefixes reused\n";
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
