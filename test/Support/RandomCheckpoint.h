// Small checkpoints drawn at random from all that the specification allows, and what they compute.
#ifndef M1_TEST_SUPPORT_RANDOMCHECKPOINT_H
#define M1_TEST_SUPPORT_RANDOMCHECKPOINT_H

#include "Safetensors.h"
#include "TemporaryDirectory.h"
#include "TestSeed.h"
#include <random>

namespace m1test {

class Random {
public:
  explicit Random(uint64_t seed) : engine(seed) {}
  int64_t integer(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(engine);
  }
  double uniform(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(engine);
  }
  double normal(double scale = 1.0) { return std::normal_distribution<double>(0.0, scale)(engine); }
  bool chance(double p) { return uniform(0, 1) < p; }
  template <typename T> T pick(std::initializer_list<T> values) {
    return values.begin()[integer(0, static_cast<int64_t>(values.size()) - 1)];
  }
  std::vector<int32_t> tokens(int64_t count, int64_t vocabulary) {
    std::vector<int32_t> result(count);
    for (int32_t &token : result)
      token = static_cast<int32_t>(integer(0, vocabulary - 1));
    return result;
  }

private:
  std::mt19937_64 engine;
};

struct Checkpoint {
  enum class Kind { mamba1, mamba2, llama, qwen2 };
  Kind kind = Kind::mamba1;
  int64_t layers = 1, hidden = 16, intermediate = 16, vocabulary = 32, maxPositions = 512;
  int64_t heads = 1, kvHeads = 1, headDim = 2;
  double eps = 1e-5, theta = 10000;
  bool tied = false, attentionBias = false, outputBias = false, mlpBias = false;
  std::vector<bool> isAttention;
  int64_t dInner = 16, dXb = 16, dState = 16, dConv = 4, dtRank = 1, expand = 2;
  bool convBias = true, repeatBeforeConv = true;
  /// llama3 scaling, or linear; M1 checkpoints state it too and ignore it.
  bool scaled = false, linearlyScaled = false;
  double factor = 8, low = 1, high = 4, original = 64;

  // all tensors but A_log and D; A_log and D
  Stored stored = Stored::f32, storedRates = Stored::f32;
  bool splitNames = false, sharded = false, newConfig = false, stateDefaults = false;

  Tensors tensors;

  bool isM1() const { return kind == Kind::mamba1 || kind == Kind::mamba2; }
  /// One line that names everything drawn.
  std::string describe() const;
  /// config.json, mamba_config.json and the weights into an existing directory.
  void write(const std::string &directory) const;
};

/// The same seed draws the same checkpoint.
Checkpoint drawCheckpoint(uint64_t seed);

/// What plain code rounds to bf16: matrices, every activation but the residual stream, scan states
/// after each token, keys and values. With a seed, values are off by up to a rounding before it, so
/// that each seed is another draw of what code may compute that sums in another order.
struct Roundings {
  bool matrices = false, activations = false, states = false, cache = false;
  uint64_t seed = 0;
};

/// Logits [T, V] of a whole sequence, straight from the specification, in float64 on the stored
/// weights; roundings apart, exact.
std::vector<double> directLogits(const Checkpoint &checkpoint, const std::vector<int32_t> &tokens,
                                 const Roundings &roundings = {});

/// max |difference| / standard deviation of `want`: the measure of the golden files. Infinite for
/// NaN.
double relativeError(const double *got, const std::vector<double> &want);
double relativeError(const std::vector<double> &got, const std::vector<double> &want);

/// |got - want| / |want| in the Euclidean norm: for roundings, whose largest of many values says
/// more about how many there are.
double normError(const std::vector<double> &got, const std::vector<double> &want);

} // namespace m1test

#endif
