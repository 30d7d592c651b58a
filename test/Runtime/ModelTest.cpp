// Loading a model onto the CPU: weights of every origin, processor features, code.
#include "ToyModel.h"
#include "cpu/cpu_features.h"
#include "dummy_weights.h"
#include "model/session.h"
#include "weight_check.h"
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <unistd.h>

using namespace m1rt;

namespace {

Status load(const toy::ArtifactOptions &options, std::unique_ptr<Model> *out,
            const ModelOptions &modelOptions = {}) {
  static int files = 0; // a file that a model has mapped must not be written again
  const std::string path = toy::temporaryPath("model" + std::to_string(files++) + ".m1a");
  toy::writeFile(path, toy::artifact(options));
  return Model::load(path, modelOptions, out);
}

int32_t firstToken(Model &model) {
  std::unique_ptr<Session> session;
  EXPECT_TRUE(Session::create(model, {}, &session).ok());
  SequenceId sequence = 0;
  EXPECT_TRUE(session->create(&sequence).ok());
  const int32_t tokens[] = {3, 1, 4, 1, 5};
  BackendEntry entry{sequence, tokens, 5, 1};
  EXPECT_TRUE(session->step(&entry, 1).ok());
  int32_t next = -1;
  EXPECT_TRUE(session->nextTokens(&next).ok());
  return next;
}

// Embedded, external and dummy weights of the same values give the same token; the toy's embedded
// values are its dummy ones.
TEST(Model, WeightsOfEveryOrigin) {
  const int32_t expected = toy::argmax(toy::referenceLogits({3, 1, 4, 1, 5}));
  for (toy::Weights weights : {toy::Weights::embedded, toy::Weights::external, toy::Weights::dummy})
    for (unsigned threads : {1u, 3u}) {
      toy::ArtifactOptions options;
      options.weights = weights;
      options.externalPath = toy::temporaryPath("external.bin");
      ModelOptions modelOptions;
      modelOptions.deviceOptions.threads = threads;
      std::unique_ptr<Model> model;
      Status status = load(options, &model, modelOptions);
      ASSERT_TRUE(status.ok()) << status.message();
      EXPECT_EQ(firstToken(*model), expected);
    }
}

// Of several functions of a name a step takes the one with the smallest max_rows that suffices,
// then with the largest min_rows that it reaches, in whatever order they stand.
TEST(Model, FunctionForRows) {
  toy::ArtifactOptions options;
  options.change = [](schema::ModuleT &module) {
    auto &functions = module.targets[0]->functions; // prefill, decode
    for (auto [least, most] : {std::pair(9u, 0u), std::pair(5u, 0u), std::pair(0u, 3u)}) {
      auto copy = std::make_unique<schema::FunctionT>(*functions[0]);
      copy->min_rows = least;
      copy->max_rows = most;
      functions.push_back(std::move(copy));
    }
  };
  std::unique_ptr<Model> model;
  Status status = load(options, &model);
  ASSERT_TRUE(status.ok()) << status.message();
  const std::pair<uint32_t, int> expected[] = {{1, 4}, {3, 4}, {4, 0},   {5, 3},
                                               {8, 3}, {9, 2}, {4096, 2}};
  for (auto [tokens, function] : expected)
    EXPECT_EQ(model->functionFor("prefill", tokens), function) << tokens;
  EXPECT_EQ(model->functionFor("decode_shared", 2), -1);
}

// Somebody cuts off or overwrites a file whose weights are in use (cp does both): the step at hand
// ends with an error that names it, and other models go on.
TEST(Model, FilesChangedInUse) {
  for (toy::Weights kind : {toy::Weights::embedded, toy::Weights::external})
    for (bool cut : {true, false})
      for (unsigned threads : {1u, 3u}) {
        const std::string path = toy::temporaryPath("changed.m1a");
        toy::ArtifactOptions options;
        options.weights = kind;
        options.externalPath = toy::temporaryPath("changed.bin");
        const std::string &victim = kind == toy::Weights::external ? options.externalPath : path;
        const std::vector<uint8_t> bytes = toy::artifact(options);
        toy::writeFile(path, bytes);
        ModelOptions modelOptions;
        modelOptions.deviceOptions.threads = threads;
        std::unique_ptr<Model> model, other;
        ASSERT_TRUE(Model::load(path, modelOptions, &model).ok());
        ASSERT_TRUE(load({}, &other, modelOptions).ok());
        std::unique_ptr<Session> session;
        SequenceId sequence = 0;
        ASSERT_TRUE(Session::create(*model, {}, &session).ok());
        ASSERT_TRUE(session->create(&sequence).ok());
        const int32_t token = 3;
        BackendEntry entry{sequence, &token, 1, 1};
        ASSERT_TRUE(session->step(&entry, 1).ok());
        if (cut) {
          ASSERT_EQ(truncate(victim.c_str(), 100), 0);
        } else {
          std::fstream file(victim, std::ios::in | std::ios::out | std::ios::binary);
          file.seekp(-9, std::ios::end);
          file.put(1);
        }
        Status status = session->step(&entry, 1);
        EXPECT_EQ(status.code(), StatusCode::deviceError);
        EXPECT_NE(status.message().find(victim + ": was changed while in use"), std::string::npos)
            << status.message();
        EXPECT_EQ(firstToken(*other), toy::argmax(toy::referenceLogits({3, 1, 4, 1, 5})));
      }
}

namespace {

/// A step of these tokens that looks at all that launches write; the next token.
Status checkedStep(const toy::ArtifactOptions &options, const std::vector<int32_t> &tokens,
                   int32_t *outNext) {
  std::unique_ptr<Model> model;
  std::unique_ptr<Session> session;
  SequenceId sequence = 0;
  M1_TRY(load(options, &model));
  M1_TRY(Session::create(*model, {}, &session));
  M1_TRY(session->create(&sequence));
  session->setCheckNumerics(true);
  const BackendEntry entry{sequence, tokens.data(), uint32_t(tokens.size()), 1};
  M1_TRY(session->step(&entry, 1));
  return session->nextTokens(outNext);
}

} // namespace

// The first launch that writes what is no number is named, with its row and column; sound steps
// compute what they compute otherwise.
TEST(Model, NamesTheFirstLaunchWithoutNumbers) {
  const char *const wanted[] = {"\"toy_embed\" (command 0)", "\"toy_logits\" (command 5)", nullptr};
  for (int broken = 0; broken < 3; ++broken) {
    toy::ArtifactOptions options;
    options.weights = toy::Weights::dummy;
    options.change = [&](toy::schema::ModuleT &module) {
      if (broken < 2)
        module.weights[size_t(broken)]->dummy_scale = 3e38f; // overflows
    };
    int32_t next = -1;
    const Status status = checkedStep(options, {3, 1, 4, 1, 5}, &next);
    if (!wanted[broken]) {
      ASSERT_TRUE(status.ok()) << status.message();
      EXPECT_EQ(next, toy::argmax(toy::referenceLogits({3, 1, 4, 1, 5})));
      continue;
    }
    EXPECT_EQ(status.code(), StatusCode::deviceError);
    EXPECT_NE(status.message().find(wanted[broken]), std::string::npos) << status.message();
    EXPECT_NE(status.message().find("is the first to write what is no number: "), std::string::npos)
        << status.message();
  }
}

// An artifact that does not say what its launches write, and one that says it wrongly, are errors.
TEST(Model, NumericsNeedTheRowsThatLaunchesWrite) {
  const auto eachLaunch = [](toy::schema::ModuleT &module, auto change) {
    for (auto &function : module.targets[0]->functions)
      for (auto &command : function->commands)
        if (toy::schema::LaunchT *launch = command->command.AsLaunch())
          change(*launch);
  };
  struct Case {
    StatusCode code;
    const char *says;
    std::function<void(toy::schema::LaunchT &)> change;
  };
  const Case cases[] = {
      {StatusCode::unsupported, "compile it again", [](auto &launch) { launch.written.clear(); }},
      {StatusCode::corrupt, "rows of an operand that it does not have",
       [](auto &launch) {
         for (auto &rows : launch.written)
           rows->operand = 77;
       }},
      {StatusCode::corrupt, "has no room for the rows", [](auto &launch) {
         for (auto &rows : launch.written)
           rows->bytes += 4;
       }}};
  for (const Case &wrong : cases) {
    toy::ArtifactOptions options;
    options.change = [&](toy::schema::ModuleT &module) { eachLaunch(module, wrong.change); };
    int32_t next = -1;
    const Status status = checkedStep(options, {3, 1}, &next);
    EXPECT_EQ(status.code(), wrong.code);
    EXPECT_NE(status.message().find(wrong.says), std::string::npos) << status.message();
  }
}

// A flipped bit in a weight, or in the checks, is an error that names the file and the weight; what
// was made without checks still loads.
TEST(Model, NoticesDamagedWeights) {
  for (toy::Weights kind : {toy::Weights::embedded, toy::Weights::external})
    for (unsigned threads : {1u, 3u}) {
      toy::ArtifactOptions options;
      options.weights = kind;
      options.externalPath = toy::temporaryPath("damaged.bin");
      std::vector<uint8_t> bytes = toy::artifact(options);
      const std::string path = toy::temporaryPath("damaged" + std::to_string(int(kind)) +
                                                  std::to_string(threads) + ".m1a");
      ModelOptions modelOptions;
      modelOptions.deviceOptions.threads = threads;
      auto message = [&](const std::vector<uint8_t> &content) {
        std::remove(path.c_str());
        toy::writeFile(path, content);
        std::unique_ptr<Model> model;
        Status status = Model::load(path, modelOptions, &model);
        EXPECT_EQ(status.code(), status.ok() ? StatusCode::ok : StatusCode::corrupt);
        return status.message();
      };
      EXPECT_EQ(message(bytes), "");
      std::vector<uint8_t> damaged = bytes;
      damaged.back() ^= 0x80; // the check of the second weight
      EXPECT_NE(message(damaged).find("damaged or changed"), std::string::npos);
      std::string file = path;
      if (kind == toy::Weights::embedded) {
        damaged = bytes;
        damaged[damaged.size() - 300] ^=
            1; // in the second weight, which ends 256 bytes at most before the checks
        EXPECT_NE(message(damaged).find("\"output\""), std::string::npos) << message(damaged);
      } else {
        file = options.externalPath;
        std::vector<uint8_t> weights(64 + 2 * toy::table().size() * sizeof(float));
        std::ifstream(file, std::ios::binary)
            .read(reinterpret_cast<char *>(weights.data()), std::streamsize(weights.size()));
        weights[64] ^= 1;
        std::remove(file.c_str());
        toy::writeFile(file, weights);
        EXPECT_NE(message(bytes).find("\"table\""), std::string::npos) << message(bytes);
        EXPECT_EQ(message(bytes).find(file), 0u) << message(bytes);
      }
    }
  toy::ArtifactOptions options;
  options.change = [](schema::ModuleT &module) { module.weight_checks.reset(); };
  std::unique_ptr<Model> model;
  EXPECT_TRUE(load(options, &model).ok());
  options.change = [](schema::ModuleT &module) {
    *module.weight_checks = schema::Segment(module.weight_checks->offset(), 8);
  };
  EXPECT_NE(
      load(options, &model).message().find("weight checks: have 8 bytes, the weights need 16"),
      std::string::npos);
}

// Every piece of a weight has a check that depends on its length and on every bit.
TEST(Model, ChecksSeeEveryBit) {
  EXPECT_EQ(m1_weight_pieces(0), 0u);
  EXPECT_EQ(m1_weight_pieces(M1_WEIGHT_PIECE), 1u);
  EXPECT_EQ(m1_weight_pieces(M1_WEIGHT_PIECE + 1), 2u);
  std::vector<uint8_t> bytes(203);
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = uint8_t(i * 37);
  const uint64_t whole = m1_weight_check(bytes.data(), bytes.size());
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= uint8_t(1 << bit % 8);
    EXPECT_NE(m1_weight_check(bytes.data(), bytes.size()), whole) << bit;
    bytes[bit / 8] ^= uint8_t(1 << bit % 8);
  }
  bytes.push_back(0);
  EXPECT_NE(m1_weight_check(bytes.data(), bytes.size()), whole);
}

// Dummy values have the mean and deviation asked for, follow their published formula, and differ
// between weights.
TEST(Model, DummyValues) {
  std::unique_ptr<Device> device;
  ASSERT_TRUE(createDevice("cpu", {}, &device).ok());
  const size_t count = 200000;
  std::vector<float> values(count), others(count);
  std::vector<uint16_t> rounded(count);
  ASSERT_TRUE(
      device->fillDummy(values.data(), schema::ElementType::f32, count, 5, 2, 0.5f, 3.0f).ok());
  ASSERT_TRUE(
      device->fillDummy(others.data(), schema::ElementType::f32, count, 5, 3, 0.5f, 3.0f).ok());
  ASSERT_TRUE(
      device->fillDummy(rounded.data(), schema::ElementType::bf16, count, 5, 2, 0.5f, 3.0f).ok());
  double sum = 0, squares = 0;
  for (float value : values)
    sum += value, squares += double(value) * value;
  EXPECT_NEAR(sum / count, 3.0, 0.01);
  EXPECT_NEAR(std::sqrt(squares / count - sum / count * sum / count), 0.5, 0.005);
  EXPECT_EQ(values[77], std::fmaf(float(m1_dummy_integer(m1_dummy_key(5, 2), 77)),
                                  0.5f * M1_DUMMY_INVERSE_DEVIATION, 3.0f));
  EXPECT_NE(values, others);
  for (size_t i = 0; i < count; i += 997) {
    uint32_t bits = uint32_t(rounded[i]) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    EXPECT_NEAR(value, values[i], std::fabs(values[i]) / 256);
  }
}

// Code for a processor with more than this one has is refused, naming what is missing.
TEST(Model, RefusesForeignProcessor) {
  toy::ArtifactOptions options;
  options.change = [](schema::ModuleT &module) {
    module.targets[0]->cpu = "sapphirerapids";
    module.targets[0]->cpu_features = {"sse2", "no_such_feature"};
  };
  std::unique_ptr<Model> model;
  Status status = load(options, &model);
  EXPECT_EQ(status.code(), StatusCode::unsupported);
  EXPECT_NE(status.message().find("--cpu sapphirerapids"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("lacks no_such_feature"), std::string::npos) << status.message();
}

// Of several instruction sets the loader takes the one that asks most of the processor, of those
// that it has.
TEST(Model, TakesTheBestInstructionSet) {
  toy::ArtifactOptions options;
  options.change = [](schema::ModuleT &module) {
    schema::TargetT &first = *module.targets[0];
    first.cpu_features = {"sse2", "ssse3"};
    for (auto features : {std::vector<std::string>{"sse2"}, {"no_such_feature", "sse2", "ssse3"}}) {
      auto other = std::make_unique<schema::TargetT>(first);
      other->name = "cpu:" + features[0];
      other->cpu_features = features;
      other->kernels[1]->symbol = "absent";
      module.targets.insert(module.targets.begin(), std::move(other));
    }
  };
  std::unique_ptr<Model> model;
  Status status = load(options, &model);
  EXPECT_TRUE(status.ok()) << status.message();
}

// Unknown devices, devices without code in the artifact, missing symbols and commands that the CPU
// does not run are errors with their names.
TEST(Model, RefusesWhatItCannotRun) {
  std::unique_ptr<Model> model;
  ModelOptions modelOptions;
  modelOptions.device = "tpu";
  EXPECT_NE(load({}, &model, modelOptions).message().find("unknown device \"tpu\""),
            std::string::npos);
  modelOptions.device = "cuda:x";
  EXPECT_NE(load({}, &model, modelOptions).message().find("expected cuda:N"), std::string::npos);

  toy::ArtifactOptions options;
  options.change = [](schema::ModuleT &module) { module.targets[0]->name = "cuda"; };
  EXPECT_NE(load(options, &model).message().find("no code for device cpu (targets: cuda)"),
            std::string::npos);
  options.change = [](schema::ModuleT &module) {
    module.targets[0]->kernels[1]->symbol = "absent";
  };
  EXPECT_NE(load(options, &model).message().find("code 0 has no symbol \"absent\""),
            std::string::npos);
  options.change = [](schema::ModuleT &module) { module.targets[0]->code[0]->format = "cubin"; };
  EXPECT_NE(load(options, &model).message().find("format \"cubin\""), std::string::npos);
  options.change = [](schema::ModuleT &module) {
    schema::GemmT gemm;
    for (auto *operand : {&gemm.a, &gemm.w, &gemm.out})
      *operand = std::make_unique<schema::OperandT>();
    gemm.a->kind = gemm.out->kind = schema::OperandKind::temporary;
    gemm.out->arena_offset = 256;
    gemm.domain = schema::RowDomain::tokens;
    gemm.n = gemm.k = gemm.lda = gemm.ldo = TOY_WIDTH;
    auto holder = std::make_unique<schema::CommandHolderT>();
    holder->command.Set(std::move(gemm));
    module.targets[0]->functions[0]->commands.push_back(std::move(holder));
  };
  EXPECT_NE(load(options, &model).message().find("command 7: the cpu device runs launches only"),
            std::string::npos);
}

// A product's weights in the workspace are there as a whole, where arenas may begin, in the type of
// its rows and written by a command before.
TEST(Model, ChecksWeightsInTheWorkspace) {
  auto refusal = [](const std::function<void(schema::GemmT &, schema::FunctionT &)> &change) {
    toy::ArtifactOptions options;
    options.change = [&](schema::ModuleT &module) {
      schema::FunctionT &function = *module.targets[0]->functions[0];
      function.workspace_bytes = 8 * TOY_WIDTH * TOY_WIDTH + 256;
      schema::GemmT gemm;
      for (auto *operand : {&gemm.a, &gemm.w, &gemm.out})
        *operand = std::make_unique<schema::OperandT>();
      gemm.a->kind = gemm.out->kind = schema::OperandKind::temporary;
      gemm.w->kind = schema::OperandKind::workspace;
      gemm.out->arena_offset = 256;
      gemm.domain = schema::RowDomain::tokens;
      gemm.n = gemm.k = gemm.lda = gemm.ldo = TOY_WIDTH;
      change(gemm, function);
      auto holder = std::make_unique<schema::CommandHolderT>();
      holder->command.Set(std::move(gemm));
      function.commands.push_back(std::move(holder));
    };
    std::unique_ptr<Model> model;
    return load(options, &model).message();
  };
  EXPECT_NE(refusal([](auto &, auto &function) {
              function.workspace_bytes = 256;
            }).find("gemm's w: the kernel touches"),
            std::string::npos);
  EXPECT_NE(refusal([](auto &gemm, auto &) {
              gemm.w->offset = 16;
            }).find("gemm's w: begins at byte 16 of the workspace, expected a multiple of 256"),
            std::string::npos);
  EXPECT_NE(refusal([](auto &gemm, auto &) {
              gemm.w_type = schema::ElementType::bf16;
            }).find("gemm's w: is in the workspace in another type than a's"),
            std::string::npos);
  EXPECT_NE(refusal([](auto &, auto &) {}).find("gemm's w: reads what no command before it writes"),
            std::string::npos);
}

// Two models loaded at once keep their own code: the loader must not take the second for the first.
TEST(Model, TwoModelsAtOnce) {
  toy::ArtifactOptions without;
  without.withPages = false;
  std::unique_ptr<Model> first, second;
  ASSERT_TRUE(load({}, &first).ok());
  ASSERT_TRUE(load(without, &second).ok());
  EXPECT_EQ(firstToken(*first), toy::argmax(toy::referenceLogits({3, 1, 4, 1, 5})));
  EXPECT_EQ(firstToken(*second), toy::argmax(toy::referenceLogits({3, 1, 4, 1, 5}, false)));
}

// A session that needs more memory than there is says so with the sizes.
TEST(Model, SaysWhenMemoryDoesNotSuffice) {
  std::unique_ptr<Model> model;
  ASSERT_TRUE(load({}, &model).ok());
  SessionOptions options;
  options.kvPages = 0x7ffffff0;
  options.maxContext = 100;
  std::unique_ptr<Session> session;
  Status status = Session::create(*model, options, &session);
  EXPECT_EQ(status.code(), StatusCode::outOfMemory);
  EXPECT_NE(status.message().find("824.6 GB for 2147483632 KV pages"), std::string::npos)
      << status.message();
}

} // namespace
