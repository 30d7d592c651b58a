// Parts of a configuration that families share.
#ifndef M1C_LIB_IMPORT_CONFIGPARTS_H
#define M1C_LIB_IMPORT_CONFIGPARTS_H

#include "Fields.h"
#include "m1c/Checkpoint.h"

#include <vector>

namespace m1c {

/// What a family reads from.
struct ConfigSource {
  /// config.json, or the part of it that describes the language model.
  Fields config;
  /// mamba_config.json of an M1; false without one.
  Fields mamba;
  const CheckpointData &data;
  EmitError emitError, emitWarning;
  ModelConfig &model;
};

/// A rotation of the first `width` elements of each head.
struct RotaryConfig {
  int64_t width = 0;
  /// Of each of the width/2 pairs, in radians a position; what scales them is worked in.
  std::vector<double> frequencies;
  /// Factor of cosines and sines.
  double scale = 1;
  bool scaled = false;
};

struct AttentionConfig {
  int64_t heads = 0, kvHeads = 0, headDim = 0;
  bool bias = false, outputBias = false;
  double scale = 0; // of the products of queries and keys
};

/// A layer of Mamba (arXiv 2312.00752).
struct Mamba1Config {
  int64_t inner = 0, states = 16, rank = 0, convWidth = 4;
  bool convBias = true, bias = false;
  /// RMSNorm of dt, B and C between x_proj and what they are for.
  enum class Norms { none, weightless, weighted } norms = Norms::none;
  double normEps = 0;
};
/// A layer of Mamba-2 (arXiv 2405.21060): heads of headDim channels, each group of them with its B
/// and C.
struct Mamba2Config {
  int64_t heads = 0, headDim = 64, groups = 1, states = 128, convWidth = 4;
  bool convBias = true, bias = false;
  /// Gate alone; RMSNorm over all channels of what is gated; over each group.
  enum class Norm { none, full, grouped } norm = Norm::full;
  double normEps = 0;
  int64_t inner() const { return heads * headDim; }
};

/// What a family calls the sizes of its Mamba-2 layers.
struct Mamba2Names {
  llvm::StringRef heads, headDim, groups, states, convWidth, convBias, bias;
};

/// Fields that nearly every family has under the same names: sizes, tokens, types. `tied` and
/// `positions` are the defaults of the family's class in transformers.
void readCommon(const ConfigSource &source, bool tied, int64_t positions);
/// num_attention_heads, num_key_value_heads, head_dim; scale 1/√head_dim, no biases.
AttentionConfig readAttention(const Fields &config, int64_t hiddenSize);
/// rope_theta, rope_scaling, rope_parameters; refuses the two when they differ. Without `scaling`
/// only theta is taken, and what scales it is ignored. `partial` is the default of
/// partial_rotary_factor; 1: the family has no other value. `ignored` are fields of
/// rope_parameters without meaning for text. May lower source.model.maxPositions.
RotaryConfig readRotary(const ConfigSource &source, int64_t headDim, double partial = 1,
                        bool scaling = true, llvm::ArrayRef<llvm::StringRef> ignored = {});
/// Sizes of Mamba-2 layers and time_step_limit; absent ones are those of `absent`.
Mamba2Config readMamba2(const Fields &config, const Mamba2Names &names, Mamba2Config absent);
/// A size that may be "auto": hidden_size / 16, rounded up.
int64_t readRank(const Fields &config, llvm::StringRef name, int64_t hiddenSize);
/// hidden_act and its like: refuses what is not silu.
void expectSilu(const Fields &fields, llvm::StringRef name = "hidden_act");

} // namespace m1c

#endif
