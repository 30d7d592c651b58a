// llama, mistral, qwen2: attention and a gated MLP in every layer.
#include "Models.h"

using namespace mlir;
using namespace m1c;

namespace {

class Transformer : public Family {
public:
  explicit Transformer(llvm::StringRef modelType) : modelType(modelType) {}

  void read(ConfigSource &source) override {
    const Fields &config = source.config;
    bool qwen = StringRef(modelType).starts_with("qwen");
    // Of the model's classes in transformers.
    readCommon(source, /*tied=*/false, qwen ? 32768 : modelType == "mistral" ? 131072 : 2048);
    eps = config.number("rms_norm_eps", /*mayBeZero=*/true).value_or(1e-6);
    attention = readAttention(config, source.model.hiddenSize);
    intermediateSize = config.size("intermediate_size");
    expectSilu(config);
    if (modelType == "qwen2") {
      attention.bias = config.flag("attention_bias", true);
    } else if (modelType == "llama") {
      attention.bias = attention.outputBias = config.flag("attention_bias", false);
      mlpBias = config.flag("mlp_bias", false);
    }
    refuseSlidingWindow(config);
    rotary = readRotary(source, attention.headDim);
    source.model.transformer = TransformerSizes{
        attention.heads, attention.kvHeads, attention.headDim, intermediateSize, eps,
        mlpBias,         rotary->scaled};
  }

  Value buildLayer(ModelBuilder &model, int64_t index, Value h) const override {
    Layer layer(model, index);
    h = layer.residual(h, "input_layernorm",
                       [&](Value x) { return layer.attention(x, attention); });
    return layer.residual(h, "post_attention_layernorm",
                          [&](Value x) { return layer.gatedMlp(x, intermediateSize, mlpBias); });
  }

private:
  void refuseSlidingWindow(const Fields &config) const {
    // Qwen2 states a window that it uses only with use_sliding_window.
    bool used = config.flag("use_sliding_window", !StringRef(modelType).starts_with("qwen"));
    if (used && config.has("sliding_window"))
      config.error("sliding_window") << "attention over a window is not supported";
    else if (used && config.has("use_sliding_window"))
      config.error("use_sliding_window") << "attention over a window is not supported";
    config.ignore({"sliding_window"});
    const llvm::json::Value *types = config.find("layer_types");
    if (!types)
      return;
    const llvm::json::Array *list = types->getAsArray();
    if (!list)
      config.error("layer_types") << "expected a list, got " << Fields::text(*types);
    for (size_t i = 0; list && i < list->size(); ++i)
      if ((*list)[i].getAsString() != std::optional<StringRef>("full_attention")) {
        config.error("layer_types") << "expected full_attention in every layer, got "
                                    << Fields::text((*list)[i]) << " in layer " << i;
        return;
      }
  }

  std::string modelType;
  AttentionConfig attention;
  int64_t intermediateSize = 0;
  bool mlpBias = false;
};

} // namespace

std::unique_ptr<Family> m1c::createTransformer(llvm::StringRef modelType) {
  return std::make_unique<Transformer>(modelType);
}
