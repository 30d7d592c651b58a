// bamba: attention with half of each head rotated in some layers, Mamba-2 in the others, an MLP in
// each.
#include "Models.h"

using namespace mlir;
using namespace m1c;

namespace {

class Bamba : public Family {
public:
  void read(ConfigSource &source) override {
    const Fields &config = source.config;
    const ModelConfig &model = source.model;
    readCommon(source);
    eps = readEps(config);
    attention = readAttention(config, model.hiddenSize);
    attention.bias = attention.outputBias = config.flag("attention_bias");
    intermediateSize = config.size("intermediate_size");
    mlpBias = config.flag("mlp_bias");
    activation = readActivation(config);
    mamba = readHybridMamba2(config, readExpanded(config, model.hiddenSize, "mamba_expand"));
    mamba.normEps = eps;
    mamba.activation = activation;
    config.ignore({"mamba_chunk_size", "mamba_dt_rank", "use_mamba_kernels"});
    isAttention.assign(model.layers, false);
    for (int64_t index : config.integers("attn_layer_indices", std::max<int64_t>(model.layers, 1)))
      if (index < model.layers)
        isAttention[index] = true;
    // The published files give the number of rotated elements instead of their share.
    double partial = 0.5;
    if (std::optional<int64_t> width = config.integer("attn_rotary_emb", 2, largestHead))
      partial = double(*width) / double(std::max<int64_t>(attention.headDim, 1));
    if (llvm::is_contained(isAttention, true))
      rotary = readRotary(source, attention.headDim, partial);
    config.ignore({"rope_theta", "rope_parameters", "rope_scaling", "partial_rotary_factor"});
  }

  Value buildLayer(ModelBuilder &model, int64_t index, Value h) const override {
    Layer layer(model, index);
    h = layer.residual(h, "input_layernorm", [&](Value x) {
      return isAttention[index] ? layer.attention(x, attention) : layer.mamba2(x, mamba, "mamba");
    });
    return layer.residual(h, "pre_ff_layernorm", [&](Value x) {
      return layer.gatedMlp(
          x, intermediateSize, mlpBias,
          {"feed_forward.gate_proj", "feed_forward.up_proj", "feed_forward.down_proj"}, activation);
    });
  }

  std::string finalNorm() const override { return "model.final_layernorm.weight"; }

private:
  AttentionConfig attention;
  Mamba2Config mamba;
  std::vector<bool> isAttention;
  int64_t intermediateSize = 0;
  bool mlpBias = false;
  m1::ScalarFormula activation = m1::scalars::silu;
};

} // namespace

std::unique_ptr<Family> m1c::createBamba(llvm::StringRef) { return std::make_unique<Bamba>(); }
