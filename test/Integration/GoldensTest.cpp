// The golden checkpoints, compiled and fed the golden tokens, against the logits that the authors'
// code computed.
#include "CompiledModel.h"
#include "RandomCheckpoint.h"

#include <algorithm>
#include <filesystem>
#include <gtest/gtest.h>
#include <iostream>

using namespace m1test;

namespace {

/// Logits of every token of every prompt and its golden continuation, wanted and got.
struct Comparison {
  std::vector<double> want, got;
  bool sameTokens = true; // greedy tokens agree with the golden ones
  double worst = 0;       // relativeError of each group of logits that the golden file holds
};

Comparison compare(const std::string &directory, const Types &types) {
  Comparison result;
  TemporaryDirectory temporary;
  std::string artifact = temporary / "model.m1a";
  EXPECT_EQ(compileModel(directory, artifact, types), "");
  CompiledModel model(artifact, 16, 128, 256);
  EXPECT_EQ(model.problem, "");
  Tensors golden = readSafetensors(directory + "/golden.safetensors");
  auto add = [&](std::vector<double> got, const std::vector<double> &want) {
    got.resize(std::min(got.size(), want.size())); // a golden's last token may not have been fed
    result.worst = std::max(result.worst, relativeError(got, want));
    result.got.insert(result.got.end(), got.begin(), got.end());
    result.want.insert(result.want.end(), want.begin(), want.end());
  };
  for (const auto &[name, ids] : golden) {
    size_t dot = name.find(".input_ids");
    if (dot == std::string::npos || !model.problem.empty())
      continue;
    std::string prefix = name.substr(0, dot);
    m1_sequence sequence = model.newSequence();
    auto step =
        model.step({{sequence, std::vector<int32_t>(ids.values.begin(), ids.values.end())}});
    std::vector<double> prefill = step.logits, decode;
    for (double token : golden[prefix + ".greedy_ids"].values) {
      result.sameTokens &= !step.nextTokens.empty() && step.nextTokens.back() == token;
      step = model.step({{sequence, {static_cast<int32_t>(token)}}});
      decode.insert(decode.end(), step.logits.begin(), step.logits.end());
    }
    auto decoded = golden.find(prefix + ".decode_logits");
    add(prefill, golden[prefix + ".prefill_logits"].values);
    if (decoded != golden.end()) {
      add(decode, decoded->second.values);
    } else {
      prefill.insert(prefill.end(), decode.begin(), decode.end());
      add(prefill, golden[prefix + ".all_logits"].values);
    }
  }
  EXPECT_EQ(model.problem, "");
  EXPECT_FALSE(result.want.empty());
  return result;
}

class Goldens : public testing::TestWithParam<std::string> {};

// With everything in f32, logits agree to 1e-3 of their spread and every greedy token is the golden
// one.
TEST_P(Goldens, Float32) {
  Comparison result = compare(GetParam(), {"f32", "f32", "f32"});
  std::cout << "worst relative error " << result.worst << std::endl;
  EXPECT_LE(result.worst, 1e-3);
  EXPECT_TRUE(result.sameTokens);
}

// With bf16 weights, activations and cache, logits stay within 3e-2 of the golden ones in the
// Euclidean norm, the reason being in docs/numerics.md.
TEST_P(Goldens, Bf16) {
  Comparison result = compare(GetParam(), {"bf16", "f32", "bf16"});
  double error = normError(result.got, result.want);
  std::cout << "relative error " << error << ", worst value " << result.worst << " of the spread"
            << std::endl;
  EXPECT_LE(error, 3e-2);
}

std::vector<std::string> goldens() {
  std::vector<std::string> result;
  std::error_code missing;
  for (const auto &entry : std::filesystem::directory_iterator(M1_GOLDENS, missing))
    if (std::filesystem::exists(entry.path() / "golden.safetensors"))
      result.push_back(entry.path().string());
  std::sort(result.begin(), result.end());
  return result;
}
std::string nameOf(const testing::TestParamInfo<std::string> &info) {
  std::string name = std::filesystem::path(info.param).filename().string();
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(All, Goldens, testing::ValuesIn(goldens()), nameOf);

} // namespace
