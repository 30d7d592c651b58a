// lfm2, lfm2_moe: short convolutions between gates in most layers, attention in the others, an MLP
// in each, or, in lfm2_moe behind the first few, a mixture of experts that sigmoids choose.
#include "Models.h"

using namespace mlir;
using namespace mlir::m1;
using namespace m1c;

namespace {

class Lfm2 : public Family {
public:
  explicit Lfm2(llvm::StringRef modelType) : hasExperts(modelType == "lfm2_moe") {}

  void read(ConfigSource &source) override {
    const Fields &config = source.config;
    ModelConfig &model = source.model;
    readCommon(source);
    // Older files write tie_embedding, and of lfm2 theta and block_ff_dim; the first counts where
    // both are there.
    model.tied = config.flag("tie_embedding", model.tied);
    eps = readEps(config, "norm_eps");
    attention = readAttention(config, model.hiddenSize);
    attention.qkNorm = true;
    std::optional<double> theta = config.number("rope_theta"), older;
    if (!hasExperts)
      older = config.number("theta");
    if (older && theta && config.has("rope_theta") && *older != *theta)
      config.error("theta") << "differs from 'rope_theta'";
    rotary =
        readRotary(source, attention.headDim, /*scaling=*/true, {}, older ? "theta" : "rope_theta");
    convWidth = config.size("conv_L_cache", widestConv);
    convBias = config.flag("conv_bias");
    if (hasExperts)
      readMixtures(config);
    else
      readMlpSize(config);
    config.expectFlag("block_use_swiglu", true);
    config.expectFlag("use_pos_enc", true);
    for (llvm::StringRef name : {"block_dim", "conv_dim", "conv_dim_out"})
      if (int64_t size = config.integer(name, 1, largestSize).value_or(model.hiddenSize);
          size != model.hiddenSize)
        config.conflict(name) << "expected hidden_size " << model.hiddenSize << ", got " << size;
    if (int64_t heads = config.integer("num_heads", 1, mostHeads).value_or(attention.heads);
        heads != attention.heads)
      config.conflict("num_heads")
          << "expected num_attention_heads " << attention.heads << ", got " << heads;
    config.ignore({"block_norm_eps", "block_use_xavier_init", "conv_use_xavier_init"});
    readLayers(config, model.layers);
    if (!llvm::is_contained(isAttention, true))
      rotary.reset();
  }

  Value buildLayer(ModelBuilder &model, int64_t index, Value h) const override {
    Layer layer(model, index);
    h = layer.residual(h, "operator_norm", [&](Value x) {
      return isAttention[index]
                 ? layer.attention(x, attention,
                                   {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                    "self_attn.out_proj", "self_attn.q_layernorm",
                                    "self_attn.k_layernorm"})
                 : buildConv(layer, x);
    });
    return layer.residual(h, "ffn_norm", [&](Value x) {
      return hasExperts && index >= denseLayers
                 ? layer.experts(x, x, experts, expertNames)
                 : layer.gatedMlp(x, intermediateSize, false,
                                  {"feed_forward.w1", "feed_forward.w3", "feed_forward.w2"});
    });
  }

  std::string finalNorm() const override { return "model.embedding_norm.weight"; }

private:
  /// Here the width of MLPs is as it is written.
  void readMixtures(const Fields &config) {
    intermediateSize = config.size("intermediate_size");
    denseLayers = config.require("num_dense_layers", config.integer("num_dense_layers", 0));
    experts = readExperts(config, "num_experts", config.size("moe_intermediate_size"));
    experts.sigmoid = true;
    config.expectWord("scoring_func", {"sigmoid"});
    experts.normalize = config.flag("norm_topk_prob");
    experts.scale = config.multiplier("routed_scaling_factor");
    expertNames.router = "feed_forward.gate";
    expertNames.experts = "feed_forward.experts";
    expertNames.gate = "w1";
    expertNames.up = "w3";
    expertNames.down = "w2";
    if (config.flag("use_expert_bias"))
      expertNames.correction = "feed_forward.expert_bias";
  }

  void readMlpSize(const Fields &config) {
    bool older = config.has("block_ff_dim");
    intermediateSize = config.size(older ? "block_ff_dim" : "intermediate_size");
    config.ignore({"intermediate_size"});
    std::optional<double> multiplier = config.number("block_ffn_dim_multiplier");
    int64_t multiple = config.size("block_multiple_of");
    if (!config.flag("block_auto_adjust_ff_dim"))
      return;
    intermediateSize = 2 * intermediateSize / 3;
    if (!multiplier || !multiple) // null: nor is it rounded up
      return;
    auto size = int64_t(*multiplier * double(intermediateSize));
    intermediateSize = (size + multiple - 1) / multiple * multiple;
  }

  void readLayers(const Fields &config, int64_t layers) {
    isAttention.assign(layers, false);
    if (!config.has("layer_types")) {
      if (hasExperts) { // whose class knows no other way
        config.error("layer_types") << "missing";
        return;
      }
      if (!config.has("full_attn_idxs")) // as the class in transformers
        isAttention.assign(layers, true);
      for (int64_t index : config.integers("full_attn_idxs", std::max<int64_t>(layers, 1)))
        if (index < layers)
          isAttention[index] = true;
      return;
    }
    config.ignore({"full_attn_idxs"});
    for (auto [index, word] : llvm::enumerate(config.words("layer_types", layers)))
      if (word == "full_attention")
        isAttention[index] = true;
      else if (word != "conv")
        config.error("layer_types")
            << "expected conv or full_attention, got " << word << " in layer " << index;
  }

  /// C ⊙ conv(B ⊙ x); B, C and x are thirds of one projection.
  Value buildConv(Layer &layer, Value normed) const {
    int64_t d = layer.model.config.hiddenSize;
    SmallVector<Value> parts = layer.model.split(
        layer.project(normed, "in_proj", "conv.in_proj", 3 * d, convBias), {d, d, d});
    Value x = layer.causalConv(layer.mul(parts[0], parts[2]),
                               {"conv.conv", convWidth, convBias, nullptr});
    return layer.project(layer.mul(parts[1], x), "out_proj", "conv.out_proj", d, convBias);
  }

  const bool hasExperts;
  AttentionConfig attention;
  ExpertsConfig experts;
  ExpertNames expertNames;
  std::vector<bool> isAttention;
  int64_t intermediateSize = 0, denseLayers = 0, convWidth = 3;
  bool convBias = false;
};

} // namespace

std::unique_ptr<Family> m1c::createLfm2(llvm::StringRef modelType) {
  return std::make_unique<Lfm2>(modelType);
}
