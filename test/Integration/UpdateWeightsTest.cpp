// m1_model_update_weights on compiled models: with another checkpoint's tensors a model computes
// bit for bit what that checkpoint compiles to, whatever the passes have made of its weights.
#include "CompiledModel.h"
#include "RandomCheckpoint.h"

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>

using namespace m1test;

namespace {

/// Elements as a file stores them.
std::vector<char> stored(const Tensor &tensor) {
  std::vector<char> bytes;
  for (double value : tensor.values) {
    const float single = float(value); // exact: the values are of the stored type
    uint32_t bits;
    std::memcpy(&bits, &single, 4);
    const _Float16 half = _Float16(single);
    char element[4];
    size_t width = 2;
    if (tensor.type == Stored::f32) {
      std::memcpy(element, &bits, width = 4);
    } else if (tensor.type == Stored::bf16) {
      const auto upper = uint16_t(bits >> 16);
      std::memcpy(element, &upper, 2);
    } else {
      std::memcpy(element, &half, 2);
    }
    bytes.insert(bytes.end(), element, element + width);
  }
  return bytes;
}

std::string update(CompiledModel &model, const Tensors &tensors) {
  std::vector<std::vector<char>> data;
  std::vector<m1_tensor> list;
  for (const auto &[name, tensor] : tensors) {
    data.push_back(stored(tensor));
    list.push_back({name.c_str(), data.back().data(), M1_MEMORY_HOST,
                    tensor.type == Stored::f32    ? M1_ELEMENT_F32
                    : tensor.type == Stored::bf16 ? M1_ELEMENT_BF16
                                                  : M1_ELEMENT_F16,
                    tensor.shape.data(), tensor.shape.size()});
  }
  m1_status *status =
      m1_model_update_weights(model.get(), list.data(), list.size(), M1_RUNNING_KEEP);
  std::string problem = m1_status_message(status);
  m1_status_destroy(status);
  return problem;
}

class UpdateWeights : public testing::TestWithParam<int> {};

TEST_P(UpdateWeights, MakeTheOtherCheckpoint) {
  const uint64_t seed = testSeed() + GetParam();
  Checkpoint checkpoint = drawCheckpoint(seed);
  Random random(seed ^ 5);
  Types types;
  types.activation = random.pick({"f32", "bf16"});
  SCOPED_TRACE(testing::Message() << "M1_TEST_SEED=" << seed << " activation " << types.activation
                                  << " " << checkpoint.describe());
  Checkpoint other = checkpoint;
  for (auto &[name, tensor] : other.tensors) // other values of the same distribution
    std::reverse(tensor.values.begin(), tensor.values.end());
  TemporaryDirectory own, others;
  checkpoint.write(own.path);
  other.write(others.path);
  ASSERT_EQ(compileModel(own.path, own / "model.m1a", types), "");
  ASSERT_EQ(compileModel(others.path, others / "model.m1a", types), "");

  const std::vector<int32_t> tokens = random.tokens(40, checkpoint.vocabulary);
  auto logits = [&](CompiledModel &model) {
    return model.step({{model.newSequence(), tokens}}).logits;
  };
  CompiledModel model(own / "model.m1a", 4, 64, 64), wanted(others / "model.m1a", 4, 64, 64);
  const std::vector<double> before = logits(model), target = logits(wanted);
  ASSERT_EQ(model.problem + wanted.problem, "");
  ASSERT_EQ(before.size(), target.size());
  ASSERT_NE(before, target);
  EXPECT_EQ(update(model, other.tensors), "");
  EXPECT_EQ(logits(model), target);
  EXPECT_EQ(update(model, checkpoint.tensors), "");
  EXPECT_EQ(logits(model), before);
}

INSTANTIATE_TEST_SUITE_P(Drawn, UpdateWeights, testing::Range(0, 4));

} // namespace
