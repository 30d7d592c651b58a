// nemotron_h without experts: one operator a layer, Mamba-2, attention without positions or an MLP
// of two matrices with relu².
#include "Models.h"

using namespace mlir;
using namespace m1c;

namespace {

class NemotronH : public Family {
public:
  void read(ConfigSource &source) override {
    const Fields &config = source.config;
    ModelConfig &model = source.model;
    // layers_block_type may be all that says how many layers there are.
    readPattern(config);
    readCommon(source, /*tied=*/false, 4096, int64_t(operators.size()));
    if (!config.hasFailed() && int64_t(operators.size()) != model.layers)
      config.error("num_hidden_layers") << "expected " << operators.size()
                                        << " as the pattern of layers has, got " << model.layers;
    eps = config.number("layer_norm_epsilon", /*mayBeZero=*/true).value_or(1e-5);
    attention =
        readAttention(config, model.hiddenSize,
                      config.has("attention_head_dim") ? "attention_head_dim" : "head_dim", 128);
    attention.bias = attention.outputBias = config.flag("attention_bias", false);
    intermediateSize = config.size("intermediate_size");
    mlpBias = config.flag("mlp_bias", false);
    config.expectWord("mlp_hidden_act", {"relu2"});
    expectSilu(config, "mamba_hidden_act");
    Mamba2Config absent;
    absent.heads = 128;
    absent.groups = 8;
    mamba = readMamba2(config,
                       {"mamba_num_heads", "mamba_head_dim", "n_groups", "ssm_state_size",
                        "conv_kernel", "use_conv_bias", "use_bias"},
                       absent);
    mamba.norm = Mamba2Config::Norm::grouped;
    mamba.normEps = eps;
    // Of other implementations, of training, and of experts, which no layer here has.
    config.ignore({"mamba_proj_bias",
                   "expand",
                   "chunk_size",
                   "residual_in_fp32",
                   "time_step_min",
                   "time_step_max",
                   "time_step_floor",
                   "use_mamba_kernels",
                   "mamba_ssm_cache_dtype",
                   "hidden_dropout",
                   "moe_intermediate_size",
                   "moe_latent_size",
                   "moe_shared_expert_intermediate_size",
                   "moe_shared_expert_overlap",
                   "mtp_layers_block_type",
                   "n_group",
                   "topk_group",
                   "n_routed_experts",
                   "n_shared_experts",
                   "norm_topk_prob",
                   "num_experts_per_tok",
                   "num_nextn_predict_layers",
                   "routed_scaling_factor",
                   "rope_theta",
                   "rope_parameters",
                   "partial_rotary_factor"});
  }

  Value buildLayer(ModelBuilder &model, int64_t index, Value h) const override {
    Layer layer(model, index, "backbone.layers");
    return layer.residual(h, "norm", [&](Value x) -> Value {
      switch (operators[index]) {
      case Operator::mamba:
        return layer.mamba2(x, mamba, "mixer");
      case Operator::attention:
        return layer.attention(x, attention,
                               {"mixer.q_proj", "mixer.k_proj", "mixer.v_proj", "mixer.o_proj"});
      case Operator::mlp:
        return layer.project(
            layer.squaredRelu(layer.project(x, "up", "mixer.up_proj", intermediateSize, mlpBias)),
            "down", "mixer.down_proj", model.config.hiddenSize, mlpBias);
      }
      llvm_unreachable("all operators are built");
    });
  }

  std::string embeddings() const override { return "backbone.embeddings.weight"; }
  std::string finalNorm() const override { return "backbone.norm_f.weight"; }
  /// Layers that predict further tokens.
  bool isForeignTensor(llvm::StringRef name) const override { return name.starts_with("mtp."); }

private:
  enum class Operator { mamba, mlp, attention };

  void add(const Fields &config, llvm::StringRef field, llvm::StringRef word) {
    if (word == "M" || word == "mamba" || word == "linear_attention")
      operators.push_back(Operator::mamba);
    else if (word == "-" || word == "mlp")
      operators.push_back(Operator::mlp);
    else if (word == "*" || word == "attention" || word == "full_attention")
      operators.push_back(Operator::attention);
    else
      config.error(field) << "expected mamba (M), mlp (-) or attention (*) in every layer, got "
                          << word << " in layer " << operators.size();
  }

  void readPattern(const Fields &config) {
    bool stated = config.has("layers_block_type") || config.has("layer_types");
    llvm::StringRef field = config.has("layers_block_type") ? "layers_block_type" : "layer_types";
    if (!stated) {
      field = "hybrid_override_pattern";
      std::string pattern = config.require(field, config.string(field));
      for (size_t i = 0; i < pattern.size() && !config.hasFailed(); ++i)
        add(config, field, llvm::StringRef(pattern).substr(i, 1));
      return;
    }
    config.ignore({"hybrid_override_pattern", "layer_types"});
    const llvm::json::Array *list = config.find(field)->getAsArray();
    for (const std::string &word : config.words(field, list ? int64_t(list->size()) : 0))
      if (!config.hasFailed())
        add(config, field, word);
  }

  AttentionConfig attention;
  Mamba2Config mamba;
  std::vector<Operator> operators;
  int64_t intermediateSize = 0;
  bool mlpBias = false;
};

} // namespace

std::unique_ptr<Family> m1c::createNemotronH(llvm::StringRef) {
  return std::make_unique<NemotronH>();
}
