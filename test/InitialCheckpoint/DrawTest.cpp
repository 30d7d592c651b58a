// The numbers that m1-convert draws: the sequence, and their rounding to the stored types.
#include "../../lib/InitialCheckpoint/Draw.h"

#include <cmath>
#include <cstring>
#include <gtest/gtest.h>

using namespace m1c;

namespace {

std::vector<float> drawFloats(const Drawing &drawing, const char *name, uint64_t seed,
                              int64_t begin, int64_t end) {
  llvm::SmallVector<char> bytes;
  draw(drawing, name, seed, begin, end, StoredType::f32, bytes);
  std::vector<float> values(bytes.size() / 4);
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// The sequence is the one that test/Examples/tiny_reasoner_test.py pins for the training script.
TEST(Draw, AgreesWithTheTrainingScript) {
  const float expected[] = {-0.486375064f, -0.186223119f, -0.295436889f};
  std::vector<float> drawn =
      drawFloats({Drawing::Rule::uniform, 0.5}, "model.layers.0.mamba.D", 0, 0, 3);
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(drawn[i], expected[i]);
  const float biases[] = {-2.90369f, -2.16787f, -2.15909f};
  drawn = drawFloats({Drawing::Rule::stepBias}, "a", 7, 0, 3);
  for (int i = 0; i < 3; ++i)
    EXPECT_NEAR(drawn[i], biases[i], 1e-5);
}

// A tensor drawn in pieces is the tensor drawn at once.
TEST(Draw, PiecesJoin) {
  Drawing uniform{Drawing::Rule::uniform, 0.25};
  std::vector<float> whole = drawFloats(uniform, "x", 3, 0, 100),
                     first = drawFloats(uniform, "x", 3, 0, 37),
                     second = drawFloats(uniform, "x", 3, 37, 100);
  first.insert(first.end(), second.begin(), second.end());
  EXPECT_EQ(whole, first);
}

// Mean and spread are those of the uniform distribution, and no value reaches the bound.
TEST(Draw, IsUniform) {
  double sum = 0, squares = 0;
  const int count = 100000;
  for (float value : drawFloats({Drawing::Rule::uniform, 1.0}, "spread", 1, 0, count)) {
    sum += value, squares += value * value;
    ASSERT_LT(std::fabs(value), 1.0f);
  }
  EXPECT_NEAR(sum / count, 0, 0.01);
  EXPECT_NEAR(squares / count, 1.0 / 3, 0.01);
}

// A_log's rows are log(1), log(2), ... log(d_state).
TEST(Draw, RowsOfLogarithms) {
  std::vector<float> values = drawFloats({Drawing::Rule::logRow, 0, 5}, "A_log", 0, 0, 15);
  for (int i = 0; i < 15; ++i)
    EXPECT_FLOAT_EQ(values[i], std::log(i % 5 + 1.0f));
}

// Half and bf16 are the nearest values of their kind to the float, ties to even, down to half's
// subnormals.
TEST(Draw, RoundsToNearest) {
  for (double bound : {1.0, 0.02, 1e-5, 3e-7}) {
    Drawing uniform{Drawing::Rule::uniform, bound};
    std::vector<float> exact = drawFloats(uniform, "r", 9, 0, 5000);
    llvm::SmallVector<char> half, bf16;
    draw(uniform, "r", 9, 0, 5000, StoredType::f16, half);
    draw(uniform, "r", 9, 0, 5000, StoredType::bf16, bf16);
    for (int i = 0; i < 5000; ++i) {
      _Float16 want = static_cast<_Float16>(exact[i]), got;
      std::memcpy(&got, &half[2 * i], 2);
      ASSERT_EQ(static_cast<float>(got), static_cast<float>(want)) << exact[i];
      uint16_t high;
      std::memcpy(&high, &bf16[2 * i], 2);
      uint32_t bits = uint32_t(high) << 16;
      float rounded;
      std::memcpy(&rounded, &bits, 4);
      // 2^-8: half a unit in the last of 8 significant bits.
      ASSERT_LE(std::fabs(rounded - exact[i]), std::fabs(exact[i]) * 0.00390625f);
    }
  }
}

} // namespace
