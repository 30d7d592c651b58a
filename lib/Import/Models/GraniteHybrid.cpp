// granitemoehybrid (Granite 4 H): attention in some layers, Mamba-2 in the others, an MLP in each,
// beside a mixture of experts where there are any; multipliers on embeddings, branches and logits.
#include "Models.h"

using namespace mlir;
using namespace m1c;

namespace {

class GraniteHybrid : public Family {
public:
  void read(ConfigSource &source) override {
    const Fields &config = source.config;
    const ModelConfig &model = source.model;
    readCommon(source);
    eps = readEps(config);
    attention = readAttention(config, model.hiddenSize);
    attention.bias = attention.outputBias = config.flag("attention_bias");
    attention.scale = config.number("attention_multiplier").value_or(1);
    // intermediate_size is that of experts.
    intermediateSize = config.size("shared_intermediate_size");
    config.expectWord("normalization_function", {"rmsnorm"});
    embeddingMultiplier = config.multiplier("embedding_multiplier");
    residualMultiplier = config.multiplier("residual_multiplier");
    logitsMultiplier = 1 / config.number("logits_scaling").value_or(1);
    mamba = readHybridMamba2(config, readExpanded(config, model.hiddenSize, "mamba_expand"));
    mamba.normEps = eps;
    mamba.activation = readActivation(config);
    if (config.integer("num_local_experts", 0, mostExperts).value_or(0)) {
      experts = readExperts(config, "num_local_experts", config.size("intermediate_size"));
      experts.normalize = true; // the softmax of the chosen alone
    }
    config.ignore({"intermediate_size", "num_experts_per_tok", "mamba_chunk_size"});
    readLayers(config, model.layers);
    // Without rotation rope_theta and its like say nothing.
    std::string positions = config.string("position_embedding_type").value_or("nope");
    if (positions == "rope")
      rotary = readRotary(source, attention.headDim);
    else if (positions != "nope")
      config.error("position_embedding_type") << "expected rope or nope, got " << positions;
    config.ignore({"rope_theta", "rope_parameters", "rope_scaling"});
    if (!llvm::is_contained(isAttention, true))
      rotary.reset();
  }

  Value buildLayer(ModelBuilder &model, int64_t index, Value h) const override {
    Layer layer(model, index);
    h = layer.residual(
        h, "input_layernorm",
        [&](Value x) {
          return isAttention[index] ? layer.attention(x, attention)
                                    : layer.mamba2(x, mamba, "mamba");
        },
        residualMultiplier);
    return layer.residual(
        h, "post_attention_layernorm",
        [&](Value x) -> Value {
          Value shared = buildMlp(layer, x);
          if (!experts.count)
            return shared;
          return layer.sum(shared, layer.joinedExperts(x, experts, "block_sparse_moe.router.layer",
                                                       "block_sparse_moe.input_linear.weight",
                                                       "block_sparse_moe.output_linear.weight",
                                                       mamba.activation));
        },
        residualMultiplier);
  }

private:
  void readLayers(const Fields &config, int64_t layers) {
    isAttention.assign(layers, false);
    llvm::StringRef field = config.has("layer_types") ? "layer_types" : "layers_block_type";
    for (auto [index, word] : llvm::enumerate(config.words(field, layers)))
      if (word == "attention" || word == "full_attention")
        isAttention[index] = true;
      else if (word != "mamba" && word != "linear_attention")
        config.error(field) << "expected mamba or attention, got " << word << " in layer " << index;
  }

  /// Gate and up are the halves of one matrix.
  Value buildMlp(Layer &layer, Value x) const {
    SmallVector<Value> parts = layer.model.split(
        layer.project(x, "gate_up", "shared_mlp.input_linear", 2 * intermediateSize),
        {intermediateSize, intermediateSize});
    return layer.project(layer.gate(mamba.activation, parts[0], parts[1]), "down",
                         "shared_mlp.output_linear", layer.model.config.hiddenSize);
  }

  AttentionConfig attention;
  Mamba2Config mamba;
  ExpertsConfig experts;
  std::vector<bool> isAttention;
  int64_t intermediateSize = 0;
  double residualMultiplier = 1;
};

} // namespace

std::unique_ptr<Family> m1c::createGraniteHybrid(llvm::StringRef) {
  return std::make_unique<GraniteHybrid>();
}
