// Mixers and MLPs that families share, one layer at a time.
#ifndef M1C_LIB_IMPORT_LAYERS_H
#define M1C_LIB_IMPORT_LAYERS_H

#include "ModelBuilder.h"

namespace m1c {

// What the modules of a layer are called.
struct MlpNames {
  std::string gate = "mlp.gate_proj", up = "mlp.up_proj", down = "mlp.down_proj";
};
struct ExpertNames {
  /// Modules; those of expert e are `experts`.e.up and the like. One tensor for all is called
  /// `experts`.down_proj, and `experts`.gate_up_proj or `experts`.up. An empty gate: the activation
  /// of up alone.
  std::string router = "mlp.gate", experts = "mlp.experts", gate = "gate_proj", up = "up_proj",
              down = "down_proj";
  /// Tensor of a bias of the choice; empty: none.
  std::string correction;
};
struct AttentionNames {
  std::string q = "self_attn.q_proj", k = "self_attn.k_proj", v = "self_attn.v_proj",
              output = "self_attn.o_proj", qNorm = "self_attn.q_norm", kNorm = "self_attn.k_norm";
};
struct ConvNames {
  std::string module;
  int64_t width = 4;
  bool bias = true;
  mlir::m1::ScalarFormula activation = mlir::m1::scalars::silu; // null: none
};

/// One layer of a model that is being built: names of its weights, small and large pieces. Rows go
/// in and come out; nothing is computed before the artifact runs.
class Layer {
public:
  /// Tensors of the checkpoint are named `prefix`.<layer>.<part>, weights layers.<layer>.<part>.
  Layer(ModelBuilder &model, int64_t index, llvm::StringRef prefix = "model.layers")
      : model(model), index(index), prefix(prefix.str()) {}

  std::string symbol(const llvm::Twine &part) const {
    return ("layers." + llvm::Twine(index) + "." + part).str();
  }
  std::string tensor(const llvm::Twine &part) const {
    return (llvm::Twine(prefix) + "." + llvm::Twine(index) + "." + part).str();
  }
  bool holds(const llvm::Twine &part) const { return model.holds(tensor(part)); }

  // Weights by the layer's names.
  mlir::Value matrix(const llvm::Twine &part, const llvm::Twine &source, int64_t n, int64_t k);
  mlir::Value vector(const llvm::Twine &part, const llvm::Twine &source, int64_t n,
                     mlir::m1::Transform transform = mlir::m1::Transform::None);

  /// h + multiplier · branch(rms_norm(h)); `norm` is the norm's module.
  mlir::Value residual(mlir::Value h, const llvm::Twine &norm,
                       llvm::function_ref<mlir::Value(mlir::Value)> branch, double multiplier = 1);
  mlir::Value rmsNorm(mlir::Value h, const llvm::Twine &norm);

  // Element by element.
  mlir::Value add(mlir::Value h, mlir::Value branch);
  mlir::Value mul(mlir::Value a, mlir::Value b);
  mlir::Value sum(mlir::Value a, mlir::Value b); // of two branches
  mlir::Value siluMul(mlir::Value a, mlir::Value b);
  /// activation(a) · b
  mlir::Value gate(mlir::m1::ScalarFormula activation, mlir::Value a, mlir::Value b);
  mlir::Value sigmoidMul(mlir::Value a, mlir::Value b); // sigmoid(a) · b
  mlir::Value sigmoid(mlir::Value x);
  mlir::Value activate(mlir::m1::ScalarFormula activation, mlir::Value x);

  /// x · `module`.weightᵀ (+ `module`.bias); the weight is called `part`.
  mlir::Value project(mlir::Value x, const llvm::Twine &part, const llvm::Twine &module, int64_t n,
                      bool bias = false);

  /// down(activation(gate x) · up x); the modules are called `names`.
  mlir::Value gatedMlp(mlir::Value x, int64_t intermediateSize, bool bias = false,
                       const MlpNames &names = {},
                       mlir::m1::ScalarFormula activation = mlir::m1::scalars::silu);

  /// Σ weight · expert(x) over the experts that the router chooses by the logits of `routed`.
  mlir::Value experts(mlir::Value x, mlir::Value routed, const ExpertsConfig &config,
                      const ExpertNames &names,
                      mlir::m1::ScalarFormula activation = mlir::m1::scalars::silu);
  /// The same with gate and up in one tensor `input` [count, 2·size, K] and `output` [count, K,
  /// size]; `correction` is the tensor of a bias of the choice, or empty.
  mlir::Value joinedExperts(mlir::Value x, const ExpertsConfig &config, const std::string &router,
                            const std::string &input, const std::string &output,
                            mlir::m1::ScalarFormula activation = mlir::m1::scalars::silu,
                            const std::string &correction = {});
  /// x [T, parts·C], weights [T, parts] → Σ weights · parts.
  mlir::Value combine(mlir::Value x, mlir::Value weights);

  /// Rotates q and k where the model rotates, keeps k and v, attends, projects.
  mlir::Value attention(mlir::Value x, const AttentionConfig &config,
                        const AttentionNames &names = {});
  /// From q, k and v on, up to what o_proj takes.
  mlir::Value attend(mlir::Value q, mlir::Value k, mlir::Value v, const AttentionConfig &config,
                     const AttentionNames &names = {});

  /// Depthwise convolution over the tokens of each sequence, with its state.
  mlir::Value causalConv(mlir::Value x, const ConvNames &conv);

  mlir::Value mamba1(mlir::Value x, const Mamba1Config &config, const llvm::Twine &module);
  mlir::Value mamba2(mlir::Value x, const Mamba2Config &config, const llvm::Twine &module);

  /// A = -exp(A_log) [n, states].
  mlir::Value rates(int64_t n, int64_t states, const llvm::Twine &source);

  ModelBuilder &model;
  const int64_t index;

private:
  struct Route {
    mlir::Value weights, experts;
  };
  Route route(mlir::Value x, const ExpertsConfig &config, const std::string &router,
              const std::string &correction);
  /// `columns` from row `first` of each of its experts on.
  mlir::Value expertLinear(mlir::Value x, mlir::Value experts, mlir::Value weight, int64_t count,
                           int64_t columns, int64_t first = 0);

  std::string prefix; // its own: callers pass temporaries
};

} // namespace m1c

#endif
