// nemotron_h: one operator a layer, Mamba-2, attention without positions, an MLP of two matrices
// with relu², or a mixture of such experts beside one that all tokens share.
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
    if (config.hasFailed())
      return;
    readCommon(source, int64_t(operators.size()));
    if (int64_t(operators.size()) != model.layers)
      config.conflict("num_hidden_layers") << "expected " << operators.size()
                                           << " as the pattern of layers has, got " << model.layers;
    eps = readEps(config, "layer_norm_epsilon");
    attention = readAttention(config, model.hiddenSize,
                              config.has("attention_head_dim") ? "attention_head_dim" : "head_dim");
    if (config.has("head_dim") && config.has("attention_head_dim"))
      if (std::optional<int64_t> other = config.integer("head_dim", 1, largestHead);
          other && *other != attention.headDim)
        config.error("head_dim") << "differs from 'attention_head_dim' " << attention.headDim;
    // transformers 5.17 has no biases there whatever it says, its authors' code has: what is stored
    // counts.
    const bool hasBias = llvm::any_of(source.data.getTensors(), [](const SourceTensor &tensor) {
      return llvm::StringRef(tensor.name).ends_with(".mixer.q_proj.bias");
    });
    attention.bias = attention.outputBias =
        config.flag("attention_bias") && (hasBias || source.data.getTensors().empty());
    // As the class, which never ties a head that is stored.
    if (source.data.find("lm_head.weight"))
      model.tied = false;
    intermediateSize = config.size("intermediate_size");
    mlpBias = config.flag("mlp_bias");
    activation = readActivation(config, "mlp_hidden_act");
    // Four fields have a second name, which counts where both are there.
    auto nameOf = [&](llvm::StringRef other, llvm::StringRef name) {
      if (!config.has(other))
        return name;
      config.ignore({name});
      return other;
    };
    mamba = readMamba2(config,
                       {"mamba_num_heads", "mamba_head_dim", nameOf("mamba_n_groups", "n_groups"),
                        "ssm_state_size", nameOf("mamba_d_conv", "conv_kernel"),
                        nameOf("mamba_conv_bias", "use_conv_bias"), "use_bias",
                        nameOf("mamba_dt_limit", "time_step_limit")});
    mamba.norm = Mamba2Config::Norm::grouped;
    mamba.activation = readActivation(config, "mamba_hidden_act");
    mamba.normEps = eps;
    if (llvm::is_contained(operators, Operator::experts))
      readMixture(config);
    else
      config.ignore({"moe_intermediate_size", "moe_latent_size",
                     "moe_shared_expert_intermediate_size", "n_group", "topk_group",
                     "n_routed_experts", "n_shared_experts", "norm_topk_prob",
                     "num_experts_per_tok", "routed_scaling_factor", "scoring_func"});
    // Of other implementations and of training.
    config.ignore({"mamba_proj_bias",
                   "head_dim",
                   "norm_eps",
                   "rms_norm_eps",
                   "time_step_rank",
                   "expand",
                   "chunk_size",
                   "residual_in_fp32",
                   "time_step_min",
                   "time_step_max",
                   "time_step_floor",
                   "use_mamba_kernels",
                   "mamba_ssm_cache_dtype",
                   "hidden_dropout",
                   "moe_shared_expert_overlap",
                   "mtp_layers_block_type",
                   "mtp_hybrid_override_pattern",
                   "mamba_expand",
                   "mamba_chunk_size",
                   "mamba_dt_min",
                   "mamba_dt_max",
                   "mamba_dt_init_floor",
                   "num_nextn_predict_layers",
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
        return buildMlp(layer, x, "", "mixer", intermediateSize);
      case Operator::experts:
        return buildMixture(layer, x);
      }
      llvm_unreachable("all operators are built");
    });
  }

  std::string embeddings() const override { return "backbone.embeddings.weight"; }
  std::string finalNorm() const override { return "backbone.norm_f.weight"; }
  /// Layers that predict further tokens.
  bool isForeignTensor(llvm::StringRef name) const override { return name.starts_with("mtp."); }

private:
  enum class Operator { mamba, mlp, attention, experts };

  void add(const Fields &config, llvm::StringRef field, llvm::StringRef word) {
    if (word == "M" || word == "mamba" || word == "linear_attention")
      operators.push_back(Operator::mamba);
    else if (word == "-" || word == "mlp")
      operators.push_back(Operator::mlp);
    else if (word == "*" || word == "attention" || word == "full_attention")
      operators.push_back(Operator::attention);
    else if (word == "E" || word == "moe")
      operators.push_back(Operator::experts);
    else
      config.error(field)
          << "expected mamba (M), mlp (-), attention (*) or moe (E) in every layer, got " << word
          << " in layer " << operators.size();
  }

  void readMixture(const Fields &config) {
    experts = readExperts(config, "n_routed_experts", config.size("moe_intermediate_size"));
    sharedSize = config.size("moe_shared_expert_intermediate_size");
    latentSize = config.integer("moe_latent_size", 1, largestSize).value_or(0);
    experts.sigmoid = true;
    config.expectWord("scoring_func", {"sigmoid"});
    experts.normalize = config.flag("norm_topk_prob");
    experts.scale = config.multiplier("routed_scaling_factor");
    experts.groups = config.integer("n_group", 1, mostExperts).value_or(1);
    experts.keptGroups = config.integer("topk_group", 1, mostExperts).value_or(1);
    if (experts.count % experts.groups ||
        (experts.groups > 1 && experts.count / experts.groups < 2))
      config.conflict("n_group") << "expected n_routed_experts " << experts.count
                                 << " in equal groups of two or more, got " << experts.groups;
    else if (experts.keptGroups > experts.groups)
      config.conflict("topk_group")
          << "expected at most n_group " << experts.groups << ", got " << experts.keptGroups;
    else if (experts.chosen > experts.count / experts.groups * experts.keptGroups)
      config.conflict("num_experts_per_tok")
          << "expected at most the " << experts.count / experts.groups * experts.keptGroups
          << " experts of topk_group groups, got " << experts.chosen;
    // Several shared experts are stored as one of their common width.
    config.integer("n_shared_experts");
  }

  Value buildMlp(Layer &layer, Value x, llvm::StringRef part, llvm::StringRef module,
                 int64_t size) const {
    Value up = layer.project(x, part + "up", module + ".up_proj", size, mlpBias);
    return layer.project(layer.activate(activation, up), part + "down", module + ".down_proj",
                         layer.model.config.hiddenSize, mlpBias);
  }

  Value buildMixture(Layer &layer, Value x) const {
    ExpertNames names;
    names.router = "mixer.gate";
    names.correction = "mixer.gate.e_score_correction_bias";
    names.experts = "mixer.experts";
    names.gate = "";
    Value inner = latentSize
                      ? layer.project(x, "latent_in", "mixer.fc1_latent_proj", latentSize, mlpBias)
                      : x;
    Value routed = layer.experts(inner, x, experts, names, activation);
    if (latentSize)
      routed = layer.project(routed, "latent_out", "mixer.fc2_latent_proj",
                             layer.model.config.hiddenSize, mlpBias);
    return layer.sum(routed, buildMlp(layer, x, "shared_", "mixer.shared_experts", sharedSize));
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
  ExpertsConfig experts;
  std::vector<Operator> operators;
  int64_t intermediateSize = 0, sharedSize = 0, latentSize = 0;
  bool mlpBias = false;
  m1::ScalarFormula activation = m1::scalars::relu2;
};

} // namespace

std::unique_ptr<Family> m1c::createNemotronH(llvm::StringRef) {
  return std::make_unique<NemotronH>();
}
