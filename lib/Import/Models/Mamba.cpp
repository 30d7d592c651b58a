// mamba, falcon_mamba, mamba2: a mixer in every layer and nothing beside it.
#include "Models.h"

using namespace mlir;
using namespace m1c;

namespace {

class Mamba : public Family {
public:
  explicit Mamba(llvm::StringRef modelType) : modelType(modelType) {}

  void read(ConfigSource &source) override {
    const Fields &config = source.config;
    readCommon(source);
    eps = readEps(config, "layer_norm_epsilon");
    config.expectFlag("rms_norm", true);
    // Of training, of how transformers computes, and names of the same size. norm_before_gate is
    // read by no implementation of the published models.
    config.ignore({"residual_in_fp32", "fused_add_norm", "time_step_min", "time_step_max",
                   "time_step_floor", "time_step_scale", "time_step_init_scheme", "n_layer",
                   "use_mambapy", "use_associative_scan", "pad_vocab_size_multiple", "chunk_size",
                   "norm_before_gate", "d_model", "d_inner", "ssm_cfg"});
    if (source.data.find("backbone.embedding.weight"))
      embeddingName = "backbone.embedding.weight"; // in the authors' own files
    if (modelType == "mamba2")
      readMamba2(source);
    else
      readMamba1(source);
    first.activation = second.activation = readActivation(config);
  }

  Value buildLayer(ModelBuilder &model, int64_t index, Value h) const override {
    Layer layer(model, index, "backbone.layers");
    return layer.residual(h, "norm", [&](Value x) {
      return modelType == "mamba2" ? layer.mamba2(x, second, "mixer")
                                   : layer.mamba1(x, first, "mixer");
    });
  }

  std::string embeddings() const override { return embeddingName; }
  std::string finalNorm() const override { return "backbone.norm_f.weight"; }

private:
  void readMamba1(const ConfigSource &source) {
    const Fields &config = source.config;
    int64_t hidden = source.model.hiddenSize;
    // Where both are there, intermediate_size is right.
    first.inner = config.integer("intermediate_size", 1, largestSize)
                      .value_or(readExpanded(config, hidden, "expand"));
    first.states = config.size("state_size", largestHead);
    first.convWidth = config.size("conv_kernel", widestConv);
    first.convBias = config.flag("use_conv_bias");
    first.bias = config.flag("use_bias");
    first.rank = readRank(config, "time_step_rank", hidden);
    if (modelType == "falcon_mamba") {
      first.norms = Mamba1Config::Norms::weightless;
      first.normEps = readEps(config, "mixer_rms_eps");
    }
  }

  void readMamba2(const ConfigSource &source) {
    second = m1c::readMamba2(source.config, {"num_heads", "head_dim", "n_groups", "state_size",
                                             "conv_kernel", "use_conv_bias", "use_bias"});
    // Heads say how wide the layer is.
    source.config.ignore({"expand", "intermediate_size", "time_step_rank"});
    second.normEps = eps;
  }

  std::string modelType, embeddingName = "backbone.embeddings.weight";
  Mamba1Config first;
  Mamba2Config second;
};

} // namespace

std::unique_ptr<Family> m1c::createMamba(llvm::StringRef modelType) {
  return std::make_unique<Mamba>(modelType);
}
