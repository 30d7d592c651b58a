// recurrent_gemma: in each layer a block around a real-gated linear recurrent unit, or attention
// over a window, then a gated MLP. Norms store the distance of their weights from 1.
#include "Models.h"

#include "Elements.h"

#include <cmath>

using namespace mlir;
using namespace mlir::m1;
using namespace m1c;

namespace {

class RecurrentGemma : public Family {
public:
  void read(ConfigSource &source) override {
    const Fields &config = source.config;
    const int64_t hidden = source.model.hiddenSize = config.size("hidden_size");
    readCommon(source);
    eps = readEps(config);
    zeroCentredNorms = true;
    config.expectFlag("embeddings_scale_by_sqrt_dim", true);
    // The authors' factor is a bf16.
    embeddingMultiplier = nearestBf16(float(std::sqrt(double(hidden))));
    logitsCap = config.require("logits_soft_cap", config.number("logits_soft_cap"));

    attention = readAttention(config, hidden);
    if (attention.heads * attention.headDim != hidden)
      config.conflict("head_dim") << "expected hidden_size / num_attention_heads, got "
                                  << attention.headDim;
    attention.bias = config.flag("attention_bias");
    attention.outputBias = true;
    attention.window = config.size("attention_window_size", Fields::largest);
    rotary = readRotary(source, attention.headDim);
    if (rotary->scaled)
      config.error("rope_parameters") << "expected rope_type default";

    width = config.integer("lru_width", 1, largestSize).value_or(hidden);
    if (attention.heads && width % attention.heads)
      config.conflict("lru_width")
          << "expected a multiple of num_attention_heads " << attention.heads << ", got " << width;
    convWidth = config.size("conv1d_width", widestConv);
    intermediateSize = config.size("intermediate_size") / 2;
    activation = readActivation(config, "hidden_activation");
    config.ignore({"final_w_init_variance_scale", "w_init_variance_scale"});
    readLayers(config, source.model.layers);
    if (!llvm::is_contained(isAttention, true))
      rotary.reset();
  }

  Value buildLayer(ModelBuilder &model, int64_t index, Value h) const override {
    Layer layer(model, index);
    h = layer.residual(h, "temporal_pre_norm", [&](Value x) {
      return isAttention[index]
                 ? layer.attention(x, attention,
                                   {"temporal_block.q_proj", "temporal_block.k_proj",
                                    "temporal_block.v_proj", "temporal_block.o_proj"})
                 : buildRecurrent(layer, x);
    });
    return layer.residual(h, "channel_pre_norm", [&](Value x) {
      return layer.gatedMlp(x, intermediateSize, true,
                            {"mlp_block.gate_proj", "mlp_block.up_proj", "mlp_block.down_proj"},
                            activation);
    });
  }

  std::string finalNorm() const override { return "model.final_norm.weight"; }

private:
  /// The pattern of `block_types`, over and over.
  void readLayers(const Fields &config, int64_t layers) {
    const llvm::json::Value *value = config.find("block_types");
    const llvm::json::Array *list = value ? value->getAsArray() : nullptr;
    SmallVector<std::string> types = config.words("block_types", list ? int64_t(list->size()) : 0);
    if (types.empty() && !config.hasFailed())
      config.error("block_types") << "expected recurrent or attention, at least once";
    for (auto [index, type] : llvm::enumerate(types))
      if (type != "recurrent" && type != "attention")
        config.error("block_types")
            << "expected recurrent or attention, got " << type << " in place " << index;
    isAttention.assign(layers, false);
    for (int64_t index = 0; index < layers && !types.empty(); ++index)
      isAttention[index] = types[size_t(index) % types.size()] == "attention";
  }

  Value buildRecurrent(Layer &layer, Value normed) const {
    ModelBuilder &model = layer.model;
    const std::string at = "temporal_block.", lru = at + "rg_lru.";
    Value y = layer.activate(activation,
                             layer.project(normed, "linear_y", at + "linear_y", width, true)),
          x = layer.project(normed, "linear_x", at + "linear_x", width, true);
    x = layer.causalConv(x, {at + "conv_1d", convWidth, true, nullptr});
    auto gate = [&](const std::string &name) {
      Value bias = model.weight(
          layer.symbol(name + "_bias"), {width},
          {{layer.tensor(lru + name + "_bias"), {attention.heads, width / attention.heads}}},
          /*matrix=*/false);
      // CheckpointData has the blocks on the diagonal of a matrix.
      return model.linear(x, layer.matrix(name, lru + name + "_weight", width, width), bias);
    };
    Value inputGate = gate("input_gate"), recurrentGate = gate("recurrent_gate"),
          lambda = layer.vector("lambda", lru + "recurrent_param", width);
    Value state = model.state(
        layer.symbol("lru_state"),
        ScanStateType::get(model.builder.getContext(), {width}, model.options.stateType));
    x = RgLruOp::create(model.builder, model.loc, x.getType(), x, inputGate, recurrentGate, lambda,
                        model.batch, state);
    return layer.project(layer.mul(x, y), "linear_out", at + "linear_out", model.config.hiddenSize,
                         true);
  }

  AttentionConfig attention;
  std::vector<bool> isAttention;
  int64_t width = 0, convWidth = 4, intermediateSize = 0;
  ScalarFormula activation = nullptr;
};

} // namespace

std::unique_ptr<Family> m1c::createRecurrentGemma(llvm::StringRef) {
  return std::make_unique<RecurrentGemma>();
}
