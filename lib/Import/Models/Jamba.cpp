// jamba: attention without positions in one layer of a period, Mamba in the others; an MLP in each,
// or a mixture of experts in one layer of a period of its own.
#include "Models.h"

using namespace mlir;
using namespace m1c;

namespace {

class Jamba : public Family {
public:
  void read(ConfigSource &source) override {
    const Fields &config = source.config;
    const ModelConfig &model = source.model;
    readCommon(source, /*tied=*/false, 262144);
    eps = config.number("rms_norm_eps", /*mayBeZero=*/true).value_or(1e-6);
    attention = readAttention(config, model.hiddenSize);
    intermediateSize = config.size("intermediate_size");
    expectSilu(config);
    attentionPeriod = config.integer("attn_layer_period", 1, mostLayers).value_or(8);
    attentionOffset = readOffset(config, "attn_layer_offset", 4, attentionPeriod);
    int64_t expand = config.integer("mamba_expand").value_or(2);
    mamba.inner = std::min(expand * model.hiddenSize, largestSize);
    mamba.states = config.integer("mamba_d_state", 1, largestHead).value_or(16);
    mamba.convWidth = config.integer("mamba_d_conv", 1, widestConv).value_or(4);
    mamba.rank = readRank(config, "mamba_dt_rank", model.hiddenSize);
    mamba.convBias = config.flag("mamba_conv_bias", true);
    mamba.bias = config.flag("mamba_proj_bias", false);
    mamba.norms = Mamba1Config::Norms::weighted;
    mamba.normEps = eps;
    // A single expert is an MLP.
    if (config.integer("num_experts", 1, mostExperts).value_or(16) > 1) {
      experts = readExperts(config, "num_experts", 16, 2, intermediateSize);
      expertPeriod = config.integer("expert_layer_period", 1, mostLayers).value_or(2);
      expertOffset = readOffset(config, "expert_layer_offset", 1, expertPeriod);
    }
    config.ignore({"num_experts_per_tok", "expert_layer_period", "expert_layer_offset",
                   "use_mamba_kernels", "use_mambapy", "use_associative_scan", "rope_parameters"});
  }

  Value buildLayer(ModelBuilder &model, int64_t index, Value h) const override {
    Layer layer(model, index);
    h = layer.residual(h, "input_layernorm", [&](Value x) {
      return index % attentionPeriod == attentionOffset ? layer.attention(x, attention)
                                                        : layer.mamba1(x, mamba, "mamba");
    });
    return layer.residual(h, "pre_ff_layernorm", [&](Value x) -> Value {
      if (experts.count && index % expertPeriod == expertOffset) {
        ExpertNames names;
        names.router = "feed_forward.router";
        names.experts = "feed_forward.experts";
        return layer.experts(x, x, experts, names);
      }
      return layer.gatedMlp(
          x, intermediateSize, false,
          {"feed_forward.gate_proj", "feed_forward.up_proj", "feed_forward.down_proj"});
    });
  }

  std::string finalNorm() const override { return "model.final_layernorm.weight"; }

private:
  /// One that no layer has is an error, as in transformers.
  static int64_t readOffset(const Fields &config, llvm::StringRef name, int64_t absent,
                            int64_t period) {
    int64_t offset = config.integer(name, 0, mostLayers).value_or(absent);
    if (offset >= period)
      config.error(name) << "expected less than the period " << period << ", got " << offset;
    return offset;
  }

  AttentionConfig attention;
  Mamba1Config mamba;
  ExpertsConfig experts;
  int64_t intermediateSize = 0, attentionPeriod = 1, attentionOffset = 0, expertPeriod = 1,
          expertOffset = 0;
};

} // namespace

std::unique_ptr<Family> m1c::createJamba(llvm::StringRef) { return std::make_unique<Jamba>(); }
