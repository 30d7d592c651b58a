// The reference evaluator: against the formulas applied straight to checkpoints drawn at random, and against
// the golden files.
#include "m1c/Reference.h"
#include "M1/IR/M1.h"
#include "M1/Transforms/Passes.h"
#include "RandomCheckpoint.h"
#include "m1c/Import.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include <filesystem>
#include <gtest/gtest.h>

using namespace mlir;
using namespace m1test;

namespace {

/// A checkpoint as m1 IR, after the passes named in `pipeline`, ready to evaluate.
struct Loaded {
  explicit Loaded(const std::string &directory, const std::string &pipeline = "") {
    context.loadDialect<m1::M1Dialect, func::FuncDialect>();
    m1c::ImportOptions options;
    options.activationType = options.stateType = options.kvType = Float32Type::get(&context);
    auto imported = m1c::importCheckpoint(context, directory, options, data);
    if (failed(imported))
      return;
    module = std::move(*imported);
    if (!pipeline.empty()) {
      PassManager passes(&context);
      if (failed(parsePassPipeline(pipeline, passes)) || failed(passes.run(*module)))
        return;
    }
    auto created = m1c::Reference::create(*module, data);
    if (succeeded(created))
      reference = std::move(*created);
  }
  std::vector<double> logits(llvm::StringRef function, const std::vector<m1c::ReferenceSequence> &sequences) {
    auto result = reference->run(function, m1c::makeReferenceBatch(sequences));
    return failed(result) ? std::vector<double>() : result->logits;
  }
  MLIRContext context;
  m1c::CheckpointData data;
  OwningOpRef<ModuleOp> module;
  std::unique_ptr<m1c::Reference> reference;
};

std::vector<int32_t> slice(const std::vector<int32_t> &tokens, size_t begin, size_t end) {
  return std::vector<int32_t>(tokens.begin() + begin, tokens.begin() + end);
}
std::vector<double> slice(const std::vector<double> &rows, size_t columns, size_t begin, size_t end) {
  return std::vector<double>(rows.begin() + begin * columns, rows.begin() + end * columns);
}

/// What the passes may leave behind, in the order of the pipeline; the evaluation must not change under any
/// of them.
const char *const pipelines[] = {"", "builtin.module(func.func(m1-expand-hybrid-layers))",
                                 "builtin.module(m1-optimize)"};

// Checkpoints drawn at random, imported and evaluated step by step (ragged, in chunks, decoding), give what
// the specification's formulas give for each whole sequence. 1e-5: A, D and the rotary tables of the module
// are f32.
TEST(Reference, AgreesWithSpecification) {
  m1::registerM1Passes();
  m1::registerOptimizePipeline();
  for (int i = 0; i < 60; ++i) {
    uint64_t seed = testSeed() + i;
    Checkpoint checkpoint = drawCheckpoint(seed);
    SCOPED_TRACE(testing::Message() << "M1_TEST_SEED=" << seed << " " << checkpoint.describe());
    TemporaryDirectory directory;
    checkpoint.write(directory.path);
    Random random(seed ^ 1);
    // One long sequence now and then, so that positions beyond 256 occur.
    auto a = random.tokens(random.chance(0.05) ? 300 : random.integer(4, 30), checkpoint.vocabulary),
         b = random.tokens(9, checkpoint.vocabulary);
    auto wantA = directLogits(checkpoint, a), wantB = directLogits(checkpoint, b);
    size_t v = checkpoint.vocabulary, cut = random.integer(1, a.size() - 2), end = a.size();
    for (const char *pipeline : pipelines) {
      Loaded model(directory.path, pipeline);
      ASSERT_TRUE(model.reference) << pipeline;
      // First chunk of a with three tokens of b; the rest of a but one, with five of b; last tokens together
      // as decode.
      auto first = model.logits("prefill", {{5, 0, slice(a, 0, cut)}, {2, 0, slice(b, 0, 3)}});
      ASSERT_EQ(first.size(), (cut + 3) * v);
      EXPECT_LE(relativeError(slice(first, v, 0, cut), slice(wantA, v, 0, cut)), 1e-4);
      auto second =
          model.logits("prefill", {{2, 3, slice(b, 3, 8)}, {5, int32_t(cut), slice(a, cut, end - 1)}});
      ASSERT_EQ(second.size(), (end - 1 - cut + 5) * v);
      EXPECT_LE(relativeError(slice(second, v, 0, 5), slice(wantB, v, 3, 8)), 1e-4);
      EXPECT_LE(relativeError(slice(second, v, 5, 5 + end - 1 - cut), slice(wantA, v, cut, end - 1)), 1e-4);
      auto last =
          model.logits("decode", {{5, int32_t(end) - 1, slice(a, end - 1, end)}, {2, 8, slice(b, 8, 9)}});
      ASSERT_EQ(last.size(), 2 * v);
      EXPECT_LE(relativeError(slice(last, v, 0, 1), slice(wantA, v, end - 1, end)), 1e-4);
      EXPECT_LE(relativeError(slice(last, v, 1, 2), slice(wantB, v, 8, 9)), 1e-4);
    }
    if (HasFailure())
      break;
  }
}

// The golden files, computed by the authors' code in f32, agree with the evaluator to 1e-4 and in every
// greedy token.
TEST(Reference, Goldens) {
  if (!std::filesystem::exists(M1_GOLDENS))
    GTEST_SKIP() << M1_GOLDENS << " is not there";
  for (const auto &entry : std::filesystem::directory_iterator(M1_GOLDENS)) {
    if (!std::filesystem::exists(entry.path() / "golden.safetensors"))
      continue;
    SCOPED_TRACE(entry.path().filename().string());
    Tensors golden = readSafetensors((entry.path() / "golden.safetensors").string());
    Loaded model(entry.path().string());
    ASSERT_TRUE(model.reference);
    double worst = 0;
    for (const auto &[name, ids] : golden) {
      size_t dot = name.find(".input_ids");
      if (dot == std::string::npos)
        continue;
      std::string prefix = name.substr(0, dot);
      std::vector<int32_t> tokens(ids.values.begin(), ids.values.end());
      model.reference->clearStates();
      auto prefill = model.logits("prefill", {{0, 0, tokens}});
      worst = std::max(worst, relativeError(prefill, golden[prefix + ".prefill_logits"].values));
      std::vector<double> decode;
      for (double token : golden[prefix + ".greedy_ids"].values) {
        auto row = decode.empty() ? prefill : decode;
        size_t v = golden[prefix + ".prefill_logits"].shape[1];
        EXPECT_EQ(std::max_element(row.end() - v, row.end()) - (row.end() - v), token);
        auto next = model.logits("decode", {{0, int32_t(tokens.size()), {int32_t(token)}}});
        tokens.push_back(int32_t(token));
        decode.insert(decode.end(), next.begin(), next.end());
      }
      if (golden.count(prefix + ".decode_logits")) {
        worst = std::max(worst, relativeError(decode, golden[prefix + ".decode_logits"].values));
      } else {
        const auto &all = golden[prefix + ".all_logits"].values;
        decode.insert(decode.begin(), prefill.begin(), prefill.end());
        decode.resize(all.size()); // the golden's last token may not have been fed
        worst = std::max(worst, relativeError(decode, all));
      }
    }
    std::cout << entry.path().filename().string() << ": worst relative error " << worst << "\n";
    EXPECT_LE(worst, 1e-4);
  }
}

} // namespace
