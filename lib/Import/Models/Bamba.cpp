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
    if (llvm::is_contained(isAttention, true))
      readRotation(source);
    config.ignore({"rope_theta", "rope_parameters", "rope_scaling", "partial_rotary_factor",
                   "attn_rotary_emb"});
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
  /// The class in transformers rotates half of each head, whatever stands outside of
  /// rope_parameters; other implementations read that.
  void readRotation(const ConfigSource &source) {
    const Fields &config = source.config;
    const llvm::StringRef share = "partial_rotary_factor";
    if (double stated = config.number(share).value_or(0.5);
        stated != 0.5 && !config.child("rope_parameters").has(share))
      config.error(share) << "expected 0.5, or another within 'rope_parameters', got "
                          << Fields::text(stated);
    rotary = readRotary(source, attention.headDim);
    // The published files give the number of rotated elements instead of their share.
    const llvm::StringRef count = "attn_rotary_emb";
    if (int64_t width = config.integer(count, 1, largestHead).value_or(rotary->width);
        width != rotary->width && !config.hasFailed())
      config.error(count) << "expected " << rotary->width << " rotated elements of the "
                          << attention.headDim << " of a head, got " << width;
  }

  AttentionConfig attention;
  Mamba2Config mamba;
  std::vector<bool> isAttention;
  int64_t intermediateSize = 0;
  bool mlpBias = false;
  m1::ScalarFormula activation = m1::scalars::silu;
};

} // namespace

std::unique_ptr<Family> m1c::createBamba(llvm::StringRef) { return std::make_unique<Bamba>(); }
