// falcon_h1: in every layer attention and Mamba-2 side by side on the same normed rows, then an
// MLP; multipliers on nearly every linear map.
#include "Models.h"

using namespace mlir;
using namespace m1c;

namespace {

class FalconH1 : public Family {
public:
  void read(ConfigSource &source) override {
    const Fields &config = source.config;
    const ModelConfig &model = source.model;
    readCommon(source);
    eps = readEps(config);
    attention = readAttention(config, model.hiddenSize);
    attention.bias = attention.outputBias = config.flag("attention_bias");
    // (m·k)·q = m·(k·q): the factor of the keys is one of the products.
    attention.scale *= config.number("key_multiplier").value_or(1);
    attentionIn = config.multiplier("attention_in_multiplier");
    attentionOut = config.multiplier("attention_out_multiplier");
    rotary = readRotary(source, attention.headDim);

    // mamba_expand counts only where this is null; it is ignored below.
    const std::optional<int64_t> stated = config.integer("mamba_d_ssm", 1, largestHeads);
    const int64_t inner = stated ? *stated : readExpanded(config, model.hiddenSize, "mamba_expand");
    mamba = readHybridMamba2(config, inner);
    mamba.normEps = eps;
    mamba.columnMultipliers = config.multipliers("ssm_multipliers", 5);
    mambaIn = config.multiplier("ssm_in_multiplier");
    mambaOut = config.multiplier("ssm_out_multiplier");
    bool normFirst = config.flag("mamba_norm_before_gate");
    mamba.norm = !config.flag("mamba_rms_norm") ? Mamba2Config::Norm::none
                 : normFirst                    ? Mamba2Config::Norm::groupedFirst
                                                : Mamba2Config::Norm::grouped;
    if (inner != mamba.inner())
      config.conflict("mamba_d_ssm")
          << "expected mamba_n_heads * mamba_d_head = " << mamba.inner() << ", got " << inner;
    mamba.outputBias = config.flag("projectors_bias");
    config.expectFlag("mamba_use_mlp", true);

    intermediateSize = config.size("intermediate_size");
    mlpBias = config.flag("mlp_bias");
    mamba.activation = readActivation(config);
    mlpMultipliers = config.multipliers("mlp_multipliers", 2);
    embeddingMultiplier = config.multiplier("embedding_multiplier");
    logitsMultiplier = config.multiplier("lm_head_multiplier");
    config.ignore(
        {"mamba_chunk_size", "mamba_expand", "mlp_expansion_factor", "attn_layer_indices"});
  }

  Value buildLayer(ModelBuilder &model, int64_t index, Value h) const override {
    Layer layer(model, index);
    Value x = layer.rmsNorm(h, "input_layernorm");
    h = layer.add(h, model.scale(layer.mamba2(model.scale(x, mambaIn), mamba, "mamba"), mambaOut));
    h = layer.add(
        h, model.scale(layer.attention(model.scale(x, attentionIn), attention), attentionOut));
    return layer.residual(h, "pre_ff_layernorm", [&](Value x) {
      Value gate = layer.project(x, "gate", "feed_forward.gate_proj", intermediateSize, mlpBias),
            up = layer.project(x, "up", "feed_forward.up_proj", intermediateSize, mlpBias);
      Value hidden = layer.gate(mamba.activation, model.scale(gate, mlpMultipliers[0]), up);
      return model.scale(
          layer.project(hidden, "down", "feed_forward.down_proj", model.config.hiddenSize, mlpBias),
          mlpMultipliers[1]);
    });
  }

  std::string finalNorm() const override { return "model.final_layernorm.weight"; }

private:
  AttentionConfig attention;
  Mamba2Config mamba;
  int64_t intermediateSize = 0;
  bool mlpBias = false;
  double attentionIn = 1, attentionOut = 1, mambaIn = 1, mambaOut = 1;
  SmallVector<double> mlpMultipliers;
};

} // namespace

std::unique_ptr<Family> m1c::createFalconH1(llvm::StringRef) {
  return std::make_unique<FalconH1>();
}
