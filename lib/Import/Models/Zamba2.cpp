// zamba2: Mamba-2 in each layer. Before it, some layers have one of a few shared blocks, which take
// turns: attention and an MLP over the stream beside the embeddings, with adapters of low rank for
// each use. What a block yields is added to what the layer's Mamba-2 takes, not to the stream.
#include "Models.h"

#include <cmath>

using namespace mlir;
using namespace mlir::m1;
using namespace m1c;

namespace {

constexpr llvm::StringLiteral shared = "shared_transformer.";

class Zamba2 : public Family {
public:
  void read(ConfigSource &source) override {
    const Fields &config = source.config;
    const ModelConfig &model = source.model;
    readCommon(source);
    eps = readEps(config);
    readLayers(config, model.layers);
    readAttention(config, 2 * model.hiddenSize);
    if (useCount() && config.flag("use_mem_rope"))
      rotary = readRotary(source, attention.headDim);
    config.ignore({"use_mem_rope", "rope_theta", "rope_parameters", "rope_scaling"});
    config.expectFlag("use_long_context", false); // versions differ in what it does
    intermediateSize = config.integer("intermediate_size", 1, largestSize)
                           .value_or(std::min(4 * model.hiddenSize, largestSize));
    activation = readActivation(config);
    bias = config.flag("add_bias_linear");
    readAdapters(source);
    readMamba(config, model.hiddenSize);
    for (llvm::StringRef field :
         {"lora_rank", "use_shared_block_lora", "use_shared_attention_lora"})
      if (config.has(field))
        config.error(field) << "expected adapter_rank, use_shared_mlp_adapter and "
                               "use_shared_attention_adapter, as transformers calls them";
    // Of training and of other implementations; sizes that follow from others.
    config.ignore({"attention_dropout", "chunk_size", "time_step_min", "time_step_max",
                   "time_step_floor", "use_mamba_kernels", "use_mem_eff_path", "num_logits_to_keep",
                   "kv_channels", "num_query_groups"});
  }

  Value buildLayer(ModelBuilder &model, int64_t index, Value h) const override {
    Layer layer(model, index);
    const auto *use = llvm::find(hybrids, index);
    if (use == hybrids.end())
      return layer.residual(h, "input_layernorm",
                            [&](Value x) { return layer.mamba2(x, mamba, "mamba"); });
    const std::string at = "mamba_decoder.";
    Value x = layer.add(h, buildShared(model, use - hybrids.begin(), h));
    return layer.add(h,
                     layer.mamba2(layer.rmsNorm(x, at + "input_layernorm"), mamba, at + "mamba"));
  }

  std::string finalNorm() const override { return "model.final_layernorm.weight"; }

private:
  int64_t useCount() const { return int64_t(hybrids.size()); }

  void readLayers(const Fields &config, int64_t layers) {
    const bool renamed = config.has("layer_types");
    const llvm::StringRef field = renamed ? "layer_types" : "layers_block_type";
    for (auto [index, word] : llvm::enumerate(config.words(field, layers)))
      if (word == "hybrid")
        hybrids.push_back(int64_t(index));
      else if (word != "mamba" && word != "linear_attention")
        config.error(field) << "expected mamba or hybrid, got " << word << " in layer " << index;
    if (config.mentions(field) && !config.has(field))
      config.error(field) << "expected a value, got null";
    if (renamed && config.has("layers_block_type") &&
        *config.find("layers_block_type") != *config.find(field))
      config.error(field) << "differs from 'layers_block_type'";
    if (config.has("hybrid_layer_ids") && !config.hasFailed() &&
        llvm::ArrayRef(config.integers("hybrid_layer_ids")) != llvm::ArrayRef(hybrids))
      config.error("hybrid_layer_ids") << "expected the hybrid layers of '" << field << "', got "
                                       << Fields::text(*config.find("hybrid_layer_ids"));
    blocks = config.size("num_mem_blocks", mostLayers);
  }

  /// Of the stream and the embeddings, `width` columns together.
  void readAttention(const Fields &config, int64_t width) {
    auto expectWidth = [&](llvm::StringRef field, int64_t expected, llvm::StringRef what) {
      if (std::optional<int64_t> stated = config.integer(field, 1, Fields::largest);
          stated && *stated != expected)
        config.conflict(field) << "expected " << what << " " << expected << ", got " << *stated;
    };
    const int64_t heads = config.size("num_attention_heads", mostHeads);
    if (heads && width % heads) {
      config.conflict("num_attention_heads")
          << "expected a divisor of 2 · hidden_size " << width << ", got " << heads;
      return;
    }
    attention = m1c::readAttention(config, width, "attention_head_dim");
    expectWidth("attention_hidden_size", width, "2 · hidden_size");
    for (llvm::StringRef field : {"attention_head_dim", "head_dim"})
      expectWidth(field, width / std::max<int64_t>(heads, 1),
                  "2 · hidden_size / num_attention_heads");
    // Not of the head's size: the half of it that the stream alone would have.
    attention.scale = std::sqrt(2 / double(std::max<int64_t>(attention.headDim, 1)));
  }

  /// The class has adapters of the MLP whatever the field says: those that are stored count.
  void readAdapters(const ConfigSource &source) {
    const Fields &config = source.config;
    const bool stored = llvm::any_of(source.data.getTensors(), [](const SourceTensor &tensor) {
      return llvm::StringRef(tensor.name).contains(".gate_up_proj_adapter_list.");
    });
    adaptsMlp = config.flag("use_shared_mlp_adapter") || stored;
    adaptsAttention = config.flag("use_shared_attention_adapter");
    rank = config.size("adapter_rank");
    if (adaptsAttention && attention.kvHeads != attention.heads)
      config.conflict("num_key_value_heads")
          << "expected num_attention_heads " << attention.heads
          << " with use_shared_attention_adapter, got " << attention.kvHeads;
  }

  void readMamba(const Fields &config, int64_t hidden) {
    const int64_t inner = readExpanded(config, hidden, "mamba_expand");
    mamba = readHybridMamba2(config, inner,
                             {"n_mamba_heads", "mamba_headdim", "mamba_ngroups", "mamba_d_state",
                              "mamba_d_conv", "use_conv_bias", "add_bias_linear"});
    if (!config.hasFailed() && mamba.inner() != inner)
      config.conflict("mamba_headdim") << "expected mamba_expand · hidden_size / n_mamba_heads "
                                       << inner / mamba.heads << ", got " << mamba.headDim;
    // The class has a bias without it, too, which it leaves out of single tokens.
    config.expectFlag("use_conv_bias", true);
    mamba.norm = Mamba2Config::Norm::grouped;
    mamba.normEps = 1e-5; // not rms_norm_eps
  }

  /// What the block of the given use makes of the stream.
  Value buildShared(ModelBuilder &model, int64_t use, Value h) const {
    // Weights of the block are called after the first layer that uses it. A checkpoint may hold
    // them with any such layer, or with several.
    const int64_t block = use % blocks;
    Layer layer(model, hybrids[use]), first(model, hybrids[block]);
    auto tensor = [&](const std::string &part) {
      llvm::SmallVector<std::string> names;
      for (int64_t other = block; other < useCount(); other += blocks)
        names.push_back(Layer(model, hybrids[other]).tensor(shared + part));
      return model.oneOf(names);
    };
    auto norm = [&](Value x, const std::string &module) -> Value {
      int64_t n = ModelBuilder::columnsOf(x);
      return RmsNormOp::create(
          model.builder, model.loc, model.activations(n), x,
          model.vector(first.symbol(module), {tensor(module + ".weight"), {n}}), APFloat(eps),
          /*groups=*/1);
    };
    auto linear = [&](Value x, const std::string &symbol, const std::string &source, int64_t n,
                      bool hasBias) {
      int64_t k = ModelBuilder::columnsOf(x);
      Value weight = model.matrix(symbol, {{tensor(source + ".weight"), {n, k}}});
      return model.linear(x, weight,
                          hasBias ? model.vector(symbol + "_bias", {tensor(source + ".bias"), {n}})
                                  : Value());
    };
    /// With the use's adapter beside it, if it has one.
    auto project = [&](Value x, const std::string &part, const std::string &module, int64_t n,
                       const std::string &adapter = "", bool hasBias = false) {
      Value y = linear(x, first.symbol(part), module, n, hasBias);
      if (adapter.empty())
        return y;
      const std::string source = adapter + "_adapter_list." + std::to_string(use);
      Value low = linear(x, layer.symbol(part + "_adapter_in"), source + ".0", rank, false);
      return layer.sum(y,
                       linear(low, layer.symbol(part + "_adapter_out"), source + ".1", n, false));
    };
    auto projectHeads = [&](Value x, const std::string &part, int64_t heads) {
      return project(x, part, "self_attn." + part + "_proj", heads * attention.headDim,
                     adaptsAttention ? "self_attn.linear_" + part : "");
    };
    const int64_t d = model.config.hiddenSize;
    Value x = norm(model.concatenate(h, model.embedded), "input_layernorm");
    Value y =
        layer.attend(projectHeads(x, "q", attention.heads), projectHeads(x, "k", attention.kvHeads),
                     projectHeads(x, "v", attention.kvHeads), attention);
    y = norm(project(y, "o", "self_attn.o_proj", d), "pre_ff_layernorm");
    SmallVector<Value> both =
        model.split(project(y, "gate_up", "feed_forward.gate_up_proj", 2 * intermediateSize,
                            adaptsMlp ? "feed_forward.gate_up_proj" : "", bias),
                    {intermediateSize, intermediateSize});
    y = project(layer.gate(activation, both[0], both[1]), "down", "feed_forward.down_proj", d, "",
                bias);
    return layer.project(y, "linear", "linear", d);
  }

  AttentionConfig attention;
  Mamba2Config mamba;
  llvm::SmallVector<int64_t> hybrids; // layers that use a block
  int64_t blocks = 1, intermediateSize = 0, rank = 0;
  bool bias = false, adaptsMlp = true, adaptsAttention = false;
  ScalarFormula activation = scalars::gelu;
};

} // namespace

std::unique_ptr<Family> m1c::createZamba2(llvm::StringRef) { return std::make_unique<Zamba2>(); }
