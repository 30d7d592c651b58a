// Parts of a configuration that families share.
#ifndef M1C_LIB_IMPORT_CONFIGPARTS_H
#define M1C_LIB_IMPORT_CONFIGPARTS_H

#include "Fields.h"
#include "M1/IR/Scalars.h"
#include "m1c/Checkpoint.h"

#include <limits>
#include <vector>

namespace m1c {

/// What a family reads from.
struct ConfigSource {
  /// config.json, or the part of it that describes the language model.
  Fields config;
  /// Whether config.json describes more than the language model.
  bool isNested;
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
  /// RMSNorm of each head of q and k before they turn, with the model's eps; weights that are
  /// stored as the distance from 1.
  bool qkNorm = false, zeroCentredNorm = false;
  /// Rows of q_proj are, head by head, those of q and those of a gate; o_proj takes
  /// y·sigmoid(gate).
  bool gated = false;
  /// A token sees itself and the window - 1 before it; 0: all before it.
  int64_t window = 0;
};

/// A mixture of experts in the place of an MLP.
struct ExpertsConfig {
  int64_t count = 0, chosen = 0, size = 0;
  /// Scores are sigmoids, not the softmax of all; weights are divided by their sum, times scale.
  bool sigmoid = false, normalize = false;
  double scale = 1;
  /// Of the choice, whose bias is part of the checkpoint.
  int64_t groups = 1, keptGroups = 1;
};

/// A layer of Mamba (arXiv 2312.00752).
struct Mamba1Config {
  int64_t inner = 0, states = 16, rank = 0, convWidth = 4;
  bool convBias = true, bias = false;
  /// Of the convolution; the gate's is silu.
  mlir::m1::ScalarFormula activation = mlir::m1::scalars::silu;
  /// RMSNorm of dt, B and C between x_proj and what they are for.
  enum class Norms { none, weightless, weighted } norms = Norms::none;
  double normEps = 0;
};
/// A layer of Mamba-2 (arXiv 2405.21060): heads of headDim channels, each group of them with its B
/// and C.
struct Mamba2Config {
  int64_t heads = 0, headDim = 64, groups = 1, states = 128, convWidth = 4;
  bool convBias = true, bias = false, outputBias = false;
  /// Of the convolution; the gate's is silu.
  mlir::m1::ScalarFormula activation = mlir::m1::scalars::silu;
  /// Gate alone; RMSNorm over all channels of what is gated; over each group; over each group
  /// before the gate.
  enum class Norm { none, full, grouped, groupedFirst } norm = Norm::full;
  double normEps = 0;
  /// Factors of the columns of in_proj's result: z, x, B, C, dt; empty: none.
  llvm::SmallVector<double> columnMultipliers;
  /// The time step is kept between these, after softplus.
  double leastStep = 0, largestStep = std::numeric_limits<double>::infinity();
  int64_t inner() const { return heads * headDim; }
};

/// What a family calls the sizes of its Mamba-2 layers.
struct Mamba2Names {
  llvm::StringRef heads, headDim, groups, states, convWidth, convBias, bias;
  llvm::StringRef limit = "time_step_limit";
};

/// As in bamba, granitemoehybrid and falcon_h1.
constexpr Mamba2Names hybridMamba2Names{"mamba_n_heads",  "mamba_d_head", "mamba_n_groups",
                                        "mamba_d_state",  "mamba_d_conv", "mamba_conv_bias",
                                        "mamba_proj_bias"};

/// Fields that nearly every family has under the same names: sizes, tokens, types. `layers`: their
/// number where num_hidden_layers may be absent.
void readCommon(const ConfigSource &source, int64_t layers = 0);
/// A norm's eps.
double readEps(const Fields &config, llvm::StringRef name = "rms_norm_eps");
/// num_attention_heads, num_key_value_heads, head_dim; scale 1/√head_dim, no biases. Without a
/// value the number of key heads is that of all heads, and a head has what hidden_size leaves.
AttentionConfig readAttention(const Fields &config, int64_t hiddenSize,
                              llvm::StringRef headDim = "head_dim");
/// rope_theta, rope_scaling, rope_parameters; refuses the two when they differ. Without `scaling`
/// only theta is taken, and what scales it is ignored. A family whose class has a default of
/// partial_rotary_factor may have others; the others rotate whole heads. `ignored` are fields of
/// rope_parameters without meaning for text; `theta` is another name of rope_theta at top level.
/// May lower source.model.maxPositions.
RotaryConfig readRotary(const ConfigSource &source, int64_t headDim, bool scaling = true,
                        llvm::ArrayRef<llvm::StringRef> ignored = {},
                        llvm::StringRef theta = "rope_theta");
/// Numbers of experts under these names, and the width of each.
ExpertsConfig readExperts(const Fields &config, llvm::StringRef experts, int64_t size);
/// Sizes of Mamba-2 layers and time_step_limit. The output's bias is the input's.
Mamba2Config readMamba2(const Fields &config, const Mamba2Names &names);
/// The same where heads may be as wide as `inner` channels leave: without a value, or "auto".
Mamba2Config readHybridMamba2(const Fields &config, int64_t inner,
                              const Mamba2Names &names = hybridMamba2Names);
/// mamba_expand · hidden_size.
int64_t readExpanded(const Fields &config, int64_t hiddenSize, llvm::StringRef name);
/// A size that may be "auto": hidden_size / 16, rounded up.
int64_t readRank(const Fields &config, llvm::StringRef name, int64_t hiddenSize);
/// hidden_act and its like; silu without a value.
mlir::m1::ScalarFormula readActivation(const Fields &fields, llvm::StringRef name = "hidden_act");

} // namespace m1c

#endif
