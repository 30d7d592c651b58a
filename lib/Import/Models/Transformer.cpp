// llama, mistral, ministral, qwen2, qwen3, qwen3_moe: attention in every layer, and a gated MLP or,
// in most layers of qwen3_moe, a mixture of experts.
#include "Models.h"

using namespace mlir;
using namespace m1c;

namespace {

class Transformer : public Family {
public:
  explicit Transformer(llvm::StringRef modelType) : modelType(modelType) {}

  void read(ConfigSource &source) override {
    const Fields &config = source.config;
    readCommon(source);
    eps = readEps(config);
    attention = readAttention(config, source.model.hiddenSize);
    intermediateSize = config.size("intermediate_size");
    activation = readActivation(config);
    if (modelType == "qwen2") {
      attention.bias = config.flag("attention_bias");
    } else if (!isMistral()) {
      attention.bias = attention.outputBias = config.flag("attention_bias");
      if (modelType == "llama")
        mlpBias = config.flag("mlp_bias");
    }
    attention.qkNorm = llvm::StringRef(modelType).starts_with("qwen3");
    if (modelType == "qwen3_moe")
      experts.read(config, source.model.layers);
    readWindows(config, source.model.layers);
    rotary = readRotary(source, attention.headDim);
    bool windowed = llvm::any_of(windows, [](int64_t window) { return window > 0; });
    if (!windowed && !attention.qkNorm && activation == m1::scalars::silu)
      source.model.transformer = TransformerSizes{
          attention.heads, attention.kvHeads, attention.headDim, intermediateSize, eps,
          mlpBias,         rotary->scaled};
  }

  Value buildLayer(ModelBuilder &model, int64_t index, Value h) const override {
    Layer layer(model, index);
    AttentionConfig ofLayer = attention;
    ofLayer.window = windows[index];
    h = layer.residual(h, "input_layernorm", [&](Value x) { return layer.attention(x, ofLayer); });
    return layer.residual(h, "post_attention_layernorm", [&](Value x) {
      return experts.isIn(index) ? layer.experts(x, x, experts.config, {}, activation)
                                 : layer.gatedMlp(x, intermediateSize, mlpBias, {}, activation);
    });
  }

private:
  bool isMistral() const { return modelType == "mistral" || modelType == "ministral"; }

  /// Of each layer; 0: it sees everything before a token.
  void readWindows(const Fields &config, int64_t layers) {
    windows.assign(layers, 0);
    if (modelType == "llama") {
      for (auto [index, word] : llvm::enumerate(config.words("layer_types", layers)))
        if (word != "full_attention")
          config.error("layer_types")
              << "expected full_attention in every layer, got " << word << " in layer " << index;
      return;
    }
    // Qwen states a window that it uses only with use_sliding_window, in layers from
    // max_window_layers on, but qwen3_moe in every layer.
    std::optional<int64_t> window = config.integer("sliding_window");
    if (!isMistral() && !config.flag("use_sliding_window"))
      window.reset();
    int64_t first = 0;
    if (config.findDefault("max_window_layers"))
      first = config.require("max_window_layers", config.integer("max_window_layers", 0));
    for (int64_t index = first; window && index < layers; ++index)
      windows[index] = *window;
    for (auto [index, word] : llvm::enumerate(config.words("layer_types", layers))) {
      if (word == "full_attention")
        windows[index] = 0;
      else if (word == "sliding_attention" && window)
        windows[index] = *window;
      else
        config.error("layer_types")
            << "expected full_attention" << (window ? " or sliding_attention" : " in every layer")
            << ", got " << word << " in layer " << index;
    }
  }

  std::string modelType;
  AttentionConfig attention;
  QwenExperts experts;
  std::vector<int64_t> windows;
  int64_t intermediateSize = 0;
  bool mlpBias = false;
  m1::ScalarFormula activation = m1::scalars::silu;
};

} // namespace

std::unique_ptr<Family> m1c::createTransformer(llvm::StringRef modelType) {
  return std::make_unique<Transformer>(modelType);
}
