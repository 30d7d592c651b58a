// Families of models drawn at random, compiled and run, against the reference evaluator and each
// family's mathematics, both in float64; and the engine on them.
//
// M1_RANDOM_FAMILIES: how many of each (3). M1_TEST_SEED=N repeats a failure: it becomes case 0.
#include "CompiledModel.h"
#include "EngineRequests.h"
#include "EvaluatedModel.h"
#include "RandomCheckpoint.h"
#include "RandomFamily.h"

#include <cstdlib>
#include <gtest/gtest.h>
#include <iostream>
#include <set>

using namespace m1test;

namespace {

class RandomFamilies : public testing::TestWithParam<std::string> {};

// How far a model carries roundings of f32, which by chance may be far (a choice of experts that is
// nearly a tie, a norm of nearly nothing): the largest error of its mathematics where every weight
// is off by up to 2^-23 of it, in eight draws.
double carriedRoundings(const FamilyCheckpoint &checkpoint, const std::vector<int32_t> &tokens,
                        const std::vector<double> &want, Random &random) {
  double largest = 0;
  for (int draw = 0; draw < 8; ++draw) {
    FamilyCheckpoint rounded = checkpoint;
    for (auto &[name, tensor] : rounded.tensors)
      for (double &value : tensor.values)
        value *= 1 + random.uniform(-0x1p-23, 0x1p-23);
    largest = std::max(largest, relativeError(familyLogits(rounded, tokens), want));
  }
  return largest;
}

TEST_P(RandomFamilies, CompiledAgreesWithMathematics) {
  const char *given = std::getenv("M1_RANDOM_FAMILIES");
  for (int i = 0; i < (given ? std::atoi(given) : 3); ++i) {
    uint64_t seed = testSeed() + i;
    FamilyCheckpoint checkpoint = drawFamily(GetParam(), seed);
    SCOPED_TRACE(testing::Message() << "M1_TEST_SEED=" << seed << " " << checkpoint.config.dump());
    Random random(seed ^ 5);
    TemporaryDirectory directory;
    checkpoint.write(directory.path);
    std::vector<int32_t> tokens = random.tokens(random.integer(6, 40), checkpoint.vocabulary());
    std::vector<double> want = familyLogits(checkpoint, tokens);

    // 1e-4: constants of the module (A, D, rotary tables) are f32.
    for (const char *pipeline : {"", "m1-optimize"}) {
      EvaluatedModel evaluated(directory.path, pipeline);
      ASSERT_TRUE(evaluated.reference);
      EXPECT_LE(relativeError(evaluated.logits("prefill", {{0, 0, tokens}}), want), 1e-4)
          << pipeline;
    }

    // In two chunks and then token by token.
    ASSERT_EQ(compileModel(directory.path, directory / "model.m1a", {}), "");
    CompiledModel model(directory / "model.m1a", 2, 64, 128);
    ASSERT_EQ(model.problem, "");
    m1_sequence sequence = model.newSequence();
    std::vector<double> got;
    size_t cut = random.integer(1, int64_t(tokens.size()) - 4);
    std::vector<size_t> ends = {cut, tokens.size() - 3, tokens.size() - 2, tokens.size() - 1,
                                tokens.size()};
    size_t done = 0;
    for (size_t end : ends) {
      if (end <= done)
        continue;
      auto result = model.step({{sequence, {tokens.begin() + done, tokens.begin() + end}}});
      ASSERT_EQ(model.problem, "");
      got.insert(got.end(), result.logits.begin(), result.logits.end());
      done = end;
    }
    const double error = relativeError(got, want);
    if (error > 1e-3) {
      const double carried = carriedRoundings(checkpoint, tokens, want, random);
      std::cout << "off by " << error << ", weights off by a rounding by " << carried << "\n";
      EXPECT_LE(error, 4 * carried);
    }

    // States of all kinds are slots and pages, which the engine shares, forks and takes away.
    if (i > 0)
      continue;
    std::unique_ptr<m1rt::Model> loaded;
    ASSERT_TRUE(m1rt::Model::load(directory / "model.m1a", {}, &loaded).ok());
    EngineSeen seen;
    runRequests(*loaded, random, 8, 5, 5, seen);
    std::cout << seen.preemptions << " preemptions, " << seen.reused
              << " tokens of prefixes reused\n";
  }
}

INSTANTIATE_TEST_SUITE_P(All, RandomFamilies, testing::ValuesIn(familyNames()),
                         [](const auto &info) { return info.param; });

/// A tensor of a shared block that the checkpoint holds with a second layer, too; empty: none.
std::string findCopy(const FamilyCheckpoint &checkpoint) {
  std::set<std::string> parts;
  for (const auto &[name, tensor] : checkpoint.tensors)
    if (size_t at = name.find(".shared_transformer.");
        at != std::string::npos && !parts.insert(name.substr(at)).second)
      return name;
  return "";
}

// What layers share has the same values wherever a checkpoint holds it.
TEST(SharedBlocks, CopiesThatDifferAreRefused) {
  uint64_t seed = testSeed();
  FamilyCheckpoint checkpoint = drawFamily("zamba2", seed);
  while (findCopy(checkpoint).empty() || checkpoint.config["num_mem_blocks"] != 1)
    checkpoint = drawFamily("zamba2", ++seed);
  const std::string copy = findCopy(checkpoint);
  TemporaryDirectory directory;
  double &value = checkpoint.tensors.at(copy).values[0];
  value = value == 0 ? 1 : -value;
  checkpoint.write(directory.path);
  const std::string said = compileModel(directory.path, directory / "model.m1a", {});
  EXPECT_NE(said.find("' differs from '"), std::string::npos) << said;
  EXPECT_NE(said.find("tensor '"), std::string::npos) << said;
}

} // namespace
