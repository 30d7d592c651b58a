// Every case of the table on the CPU's instruction sets, against float64; every operation has a
// case, and every case a plan for CUDA. test/gpu/run.sh runs them there.
#include "OpCases.h"
#include "../Integration/CompiledModel.h"
#include "RandomCheckpoint.h"

#include "M1/IR/M1.h"
#include "M1/Transforms/Passes.h"
#include "m1c/CpuTarget.h"
#include "m1c/M1ToPlan.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "llvm/ADT/STLExtras.h"
#include <gtest/gtest.h>

using namespace m1test;

namespace {

/// The table, read once.
const OpTable &table() {
  static mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  static OpTable table;
  static const bool read = readOpCases(context, table);
  EXPECT_TRUE(read);
  return table;
}

/// Two sequences that begin, of nine and four tokens; one that goes on beside one of more than a
/// page and a tile; all by one token; one of them again.
std::vector<std::vector<OpEvaluator::Entry>> stepsOf(const OpCase &test) {
  Random random(test.name.size());
  auto tokens = [&](int64_t count) { return random.tokens(count, test.vocabulary); };
  return {{{0, tokens(9)}, {1, tokens(4)}},
          {{0, tokens(3)}, {2, tokens(70)}},
          {{0, tokens(1)}, {1, tokens(1)}, {2, tokens(1)}},
          {{1, tokens(1)}}};
}

class OpCases : public testing::TestWithParam<const char *> {};

TEST_P(OpCases, AgreeWithFloat64) {
  auto native = m1c::resolveCpu("native"), wanted = m1c::resolveCpu(GetParam());
  ASSERT_TRUE(bool(native) && bool(wanted));
  for (const std::string &feature : wanted->requiredFeatures)
    if (!llvm::is_contained(native->requiredFeatures, feature))
      GTEST_SKIP() << "this CPU lacks " << feature;
  for (const OpCase &test : table().cases) {
    if (test.forBench)
      continue;
    SCOPED_TRACE(test.name);
    TemporaryDirectory directory;
    writeOpCase(test, directory.path);
    const std::string artifact = directory / "case.m1a";
    ASSERT_EQ(compileOpCase(test, directory.path, std::string("cpu:") + GetParam(), artifact), "");
    CompiledModel model(artifact, 4, 128, 128);
    OpEvaluator reference(test, directory.path);
    std::vector<m1_sequence> sequences;
    for (int i = 0; i < 3; ++i)
      sequences.push_back(model.newSequence());
    std::vector<double> got, want;
    for (const auto &entries : stepsOf(test)) {
      std::vector<CompiledModel::Entry> step;
      for (const OpEvaluator::Entry &entry : entries)
        step.push_back({sequences[static_cast<size_t>(entry.sequence)], entry.tokens});
      auto result = model.step(step);
      ASSERT_EQ(model.problem, "");
      auto expected = reference.step(entries);
      ASSERT_EQ(result.logits.size(), expected.logits.size());
      ASSERT_FALSE(result.logits.empty());
      got.insert(got.end(), result.logits.begin(), result.logits.end());
      want.insert(want.end(), expected.logits.begin(), expected.logits.end());
      // In f32 no two of a row are as near as a rounding.
      if (!test.rounds) {
        EXPECT_EQ(result.nextTokens, expected.nextTokens);
      }
    }
    // One operation in f32: a hundred roundings. In bf16: that of the result, 2^-9 at most, and two
    // between operations or of a state. States of f16 are what the reference rounds them to, but
    // for one in a thousand that lies in the middle to within a rounding of f32; left as they are,
    // or of bf16, they would be off by more than that.
    const double error = test.rounds ? normError(got, want) : relativeError(got, want);
    EXPECT_LE(error, test.roundsStates ? 3e-5 : test.rounds ? 6e-3 : 1e-5);
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, OpCases, testing::Values("x86-64-v3", "x86-64-v4", "native"),
                         [](const auto &info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// An operation without a case, or a case that no one reads, is a mistake.
TEST(OpTable, HoldsEveryOperation) {
  mlir::MLIRContext context;
  context.loadDialect<mlir::m1::M1Dialect>();
  for (mlir::RegisteredOperationName name :
       context.getRegisteredOperationsByDialect(mlir::m1::M1Dialect::getDialectNamespace()))
    EXPECT_TRUE(table().ops.count(name.getStringRef().str())) << name.getStringRef().str();
  EXPECT_FALSE(table().ops.empty());
}

TEST(OpTable, HasPlansForCuda) {
  mlir::m1::registerM1Passes();
  m1c::registerConversionPasses();
  for (const OpCase &test : table().cases) {
    SCOPED_TRACE(test.name);
    mlir::ModuleOp model = *test.model;
    mlir::OwningOpRef<mlir::ModuleOp> module = model.clone();
    mlir::PassManager passes(module->getContext(), mlir::ModuleOp::getOperationName());
    ASSERT_TRUE(succeeded(mlir::parsePassPipeline(
        "func.func(m1-expand-gated-mlp),m1-convert-to-plan{target=cuda:sm_80,sm_90},m1-plan",
        passes)));
    std::string problem;
    mlir::ScopedDiagnosticHandler handler(module->getContext(), [&](mlir::Diagnostic &diagnostic) {
      problem += diagnostic.str();
      return mlir::success();
    });
    EXPECT_TRUE(succeeded(passes.run(*module)) || lacksKernel(problem)) << problem;
  }
}

} // namespace
