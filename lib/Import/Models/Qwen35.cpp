// qwen3_5, the text model of it, and qwen3_next: gated delta nets in most layers, gated attention
// in the others, an MLP in each or, in qwen3_next, a mixture of experts beside a gated one that all
// tokens share. Norms store the distance of their weights from 1.
#include "Models.h"

#include <cmath>

using namespace mlir;
using namespace mlir::m1;
using namespace m1c;

namespace {

class Qwen35 : public Family {
public:
  explicit Qwen35(llvm::StringRef modelType) : isNext(modelType == "qwen3_next") {}

  void read(ConfigSource &source) override {
    const Fields &config = source.config;
    const ModelConfig &model = source.model;
    readCommon(source);
    eps = readEps(config);
    zeroCentredNorms = true;
    attention = readAttention(config, model.hiddenSize);
    attention.bias = attention.outputBias = config.flag("attention_bias");
    attention.qkNorm = attention.zeroCentredNorm = true;
    attention.gated = config.flag("attn_output_gate");
    // The three positions of text are one, so that sections of them say nothing.
    rotary = readRotary(source, attention.headDim, true, {"mrope_section", "mrope_interleaved"});
    intermediateSize = config.size("intermediate_size");
    activation = readActivation(config);

    keyHeads = config.size("linear_num_key_heads", mostHeads);
    valueHeads = config.size("linear_num_value_heads", mostHeads);
    keyDim = config.size("linear_key_head_dim", largestHead);
    valueDim = config.size("linear_value_head_dim", largestHead);
    convWidth = config.size("linear_conv_kernel_dim", widestConv);
    if (keyHeads && valueHeads % keyHeads)
      config.conflict("linear_num_value_heads")
          << "expected a multiple of linear_num_key_heads " << keyHeads << ", got " << valueHeads;
    if (isNext) {
      experts.read(config, model.layers);
      sharedSize = config.size("shared_expert_intermediate_size");
    } else if (const llvm::json::Value *only = config.find("mlp_only_layers");
               only && !(only->getAsArray() && only->getAsArray()->empty()))
      config.error("mlp_only_layers") << "expected [], got " << Fields::text(*only);
    // Layers that predict further tokens, and the type of the state, which m1-compile chooses.
    config.ignore({"mtp_num_hidden_layers", "mtp_use_dedicated_embeddings", "mamba_ssm_dtype"});
    // In the files of models that also see, the language model has a prefix of its own.
    if (source.isNested ? !source.data.find("model.embed_tokens.weight")
                        : bool(source.data.find("model.language_model.embed_tokens.weight")))
      prefix = "model.language_model";
    readLayers(config, model.layers);
    if (!llvm::is_contained(isAttention, true))
      rotary.reset();
  }

  Value buildLayer(ModelBuilder &model, int64_t index, Value h) const override {
    Layer layer(model, index, prefix + ".layers");
    h = layer.residual(h, "input_layernorm", [&](Value x) {
      return isAttention[index] ? layer.attention(x, attention) : buildDeltaNet(layer, x);
    });
    return layer.residual(h, "post_attention_layernorm", [&](Value x) {
      return experts.isIn(index) ? buildMixture(layer, x)
                                 : layer.gatedMlp(x, intermediateSize, false, {}, activation);
    });
  }

  std::string embeddings() const override { return prefix + ".embed_tokens.weight"; }
  std::string finalNorm() const override { return prefix + ".norm.weight"; }
  bool isForeignTensor(llvm::StringRef name) const override {
    return name.starts_with("mtp.") || name.starts_with("model.visual.");
  }

private:
  void readLayers(const Fields &config, int64_t layers) {
    isAttention.assign(layers, false);
    int64_t interval = config.size("full_attention_interval", mostLayers);
    if (!config.has("layer_types")) {
      for (int64_t index = interval - 1; interval && index < layers; index += interval)
        isAttention[index] = true;
      return;
    }
    for (auto [index, word] : llvm::enumerate(config.words("layer_types", layers)))
      if (word == "full_attention")
        isAttention[index] = true;
      else if (word != "linear_attention")
        config.error("layer_types")
            << "expected linear_attention or full_attention, got " << word << " in layer " << index;
  }

  Value buildDeltaNet(Layer &layer, Value x) const {
    ModelBuilder &model = layer.model;
    OpBuilder &builder = model.builder;
    Location loc = model.loc;
    int64_t keys = keyHeads * keyDim, values = valueHeads * valueDim;
    Value qkv, z, b, a;
    if (isNext) {
      // Rows of each key head lie together: q, k, v, z and b, a.
      int64_t share = valueHeads / keyHeads, ofValues = share * valueDim;
      auto parts = [&](llvm::StringRef part, llvm::StringRef module,
                       llvm::ArrayRef<std::pair<int64_t, int64_t>> ranges, int64_t rows) {
        ModelBuilder::Sources sources;
        for (auto [first, count] : ranges)
          for (int64_t head = 0; head < keyHeads; ++head)
            sources.push_back({layer.tensor("linear_attn." + module + ".weight"),
                               {keyHeads * rows, model.config.hiddenSize},
                               head * rows + first,
                               count});
        return model.linear(x, model.matrix(layer.symbol(part), sources));
      };
      int64_t rows = 2 * keyDim + 2 * ofValues;
      qkv = parts("qkv", "in_proj_qkvz", {{0, keyDim}, {keyDim, keyDim}, {2 * keyDim, ofValues}},
                  rows);
      z = parts("z", "in_proj_qkvz", {{2 * keyDim + ofValues, ofValues}}, rows);
      b = parts("b", "in_proj_ba", {{0, share}}, 2 * share);
      a = parts("a", "in_proj_ba", {{share, share}}, 2 * share);
    } else {
      qkv = layer.project(x, "qkv", "linear_attn.in_proj_qkv", 2 * keys + values);
      z = layer.project(x, "z", "linear_attn.in_proj_z", values);
      b = layer.project(x, "b", "linear_attn.in_proj_b", valueHeads);
      a = layer.project(x, "a", "linear_attn.in_proj_a", valueHeads);
    }
    qkv = layer.causalConv(qkv, {"linear_attn.conv1d", convWidth, false, activation});
    SmallVector<Value> parts = model.split(qkv, {keys, keys, values});
    Value state =
        model.state(layer.symbol("delta_state"),
                    ScanStateType::get(builder.getContext(), {valueHeads, keyDim, valueDim},
                                       model.options.stateType));
    Value decay = layer.vector("A", "linear_attn.A_log", valueHeads, Transform::NegExp),
          dtBias = layer.vector("dt_bias", "linear_attn.dt_bias", valueHeads);
    Value y = GatedDeltaOp::create(builder, loc, model.activations(values), parts[0], parts[1],
                                   parts[2], a, b, decay, dtBias, model.batch, state, APFloat(1e-6),
                                   APFloat(1 / std::sqrt(double(keyDim))));
    // Each head is normalised, by the same weights, before its gate.
    y = GatedRmsNormOp::create(builder, loc, model.activations(values), y, z,
                               layer.vector("gate_norm", "linear_attn.norm.weight", valueDim),
                               valueHeads, APFloat(eps), /*norm_first=*/true);
    return layer.project(y, "out_proj", "linear_attn.out_proj", model.config.hiddenSize);
  }

  Value buildMixture(Layer &layer, Value x) const {
    Value routed = layer.experts(x, x, experts.config, {}, activation);
    Value shared = layer.gatedMlp(
        x, sharedSize, false,
        {"mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj", "mlp.shared_expert.down_proj"},
        activation);
    Value gate = layer.sigmoid(layer.project(x, "shared_gate", "mlp.shared_expert_gate", 1));
    return layer.sum(routed, layer.combine(shared, gate));
  }

  const bool isNext;
  AttentionConfig attention;
  QwenExperts experts;
  std::vector<bool> isAttention;
  m1::ScalarFormula activation = m1::scalars::silu;
  std::string prefix = "model";
  int64_t intermediateSize = 0, sharedSize = 0, keyHeads = 0, valueHeads = 0, keyDim = 0,
          valueDim = 0, convWidth = 4;
};

} // namespace

std::unique_ptr<Family> m1c::createQwen35(llvm::StringRef modelType) {
  return std::make_unique<Qwen35>(modelType);
}
