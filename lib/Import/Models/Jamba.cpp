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
    readCommon(source);
    eps = readEps(config);
    attention = readAttention(config, model.hiddenSize);
    intermediateSize = config.size("intermediate_size");
    mamba.activation = readActivation(config);
    attentionPeriod = config.size("attn_layer_period", mostLayers);
    attentionOffset = readOffset(config, "attn_layer_offset", attentionPeriod);
    mamba.inner = readExpanded(config, model.hiddenSize, "mamba_expand");
    mamba.states = config.size("mamba_d_state", largestHead);
    mamba.convWidth = config.size("mamba_d_conv", widestConv);
    mamba.rank = readRank(config, "mamba_dt_rank", model.hiddenSize);
    mamba.convBias = config.flag("mamba_conv_bias");
    mamba.bias = config.flag("mamba_proj_bias");
    mamba.norms = Mamba1Config::Norms::weighted;
    mamba.normEps = eps;
    config.expectFlag("mamba_inner_layernorms", true); // of the authors' own class
    // A single expert is an MLP.
    if (config.size("num_experts", mostExperts) > 1) {
      experts = readExperts(config, "num_experts", intermediateSize);
      expertPeriod = config.size("expert_layer_period", mostLayers);
      expertOffset = readOffset(config, "expert_layer_offset", expertPeriod);
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
        return layer.experts(x, x, experts, names, mamba.activation);
      }
      return layer.gatedMlp(
          x, intermediateSize, false,
          {"feed_forward.gate_proj", "feed_forward.up_proj", "feed_forward.down_proj"},
          mamba.activation);
    });
  }

  std::string finalNorm() const override { return "model.final_layernorm.weight"; }

private:
  /// One that no layer has is an error, as in transformers.
  static int64_t readOffset(const Fields &config, llvm::StringRef name, int64_t period) {
    int64_t offset = config.require(name, config.integer(name, 0, mostLayers));
    if (period && offset >= period)
      config.conflict(name) << "expected less than the period " << period << ", got " << offset;
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
