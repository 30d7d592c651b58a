#include "RandomFamily.h"

#include "RandomCheckpoint.h"

#include <cmath>
#include <functional>

namespace m1test {
namespace {

using Json = nlohmann::json;

class FamilyDraw {
public:
  FamilyDraw(const std::string &type, uint64_t seed) : type(type), random(seed) {}

  FamilyCheckpoint run() {
    hidden = 4 * random.integer(3, 20);
    layers = random.integer(2, 4);
    vocabulary = random.integer(20, 200);
    intermediate = random.integer(5, 90);
    kvHeads = random.integer(1, 3);
    heads = kvHeads * random.integer(1, 3);
    stored = random.pick({Stored::f32, Stored::bf16});
    config = {{"model_type", type},
              {"hidden_size", hidden},
              {"num_hidden_layers", layers},
              {"vocab_size", vocabulary},
              {"max_position_embeddings", 400},
              {"bos_token_id", 1},
              {"eos_token_id", 0},
              {"dtype", stored == Stored::f32 ? "float32" : "bfloat16"}};
    if (type == "mamba" || type == "falcon_mamba" || type == "mamba2")
      drawMamba();
    else if (type == "nemotron_h")
      drawNemotron();
    else if (type == "lfm2" || type == "lfm2_moe")
      drawLfm2();
    else if (type == "recurrent_gemma")
      drawRecurrentGemma();
    else if (type == "zamba2")
      drawZamba2();
    else if (type == "qwen3_5" || type == "qwen3_5_text" || type == "qwen3_next")
      drawQwen35();
    else
      drawHybrid();
    if (type == "qwen3_5") // the language model of a model that also sees
      config = {{"model_type", type},
                {"text_config", config},
                {"tie_word_embeddings", config["tie_word_embeddings"]}};
    if (type == "qwen3_5")
      config["vocab_size"] = vocabulary;
    return {config, std::move(tensors)};
  }

private:
  // ---- tensors

  void add(const std::string &name, std::vector<int64_t> shape,
           const std::function<double()> &value) {
    Tensor tensor;
    tensor.type = stored;
    tensor.shape = std::move(shape);
    tensor.values.resize(tensor.count());
    for (double &v : tensor.values)
      v = roundTo(stored, value());
    tensors[name] = std::move(tensor);
  }
  void matrix(const std::string &module, int64_t n, int64_t k, bool bias = false) {
    add(module + ".weight", {n, k},
        [&] { return random.normal(1.0 / std::sqrt(static_cast<double>(k))); });
    if (bias)
      add(module + ".bias", {n}, [&] { return random.normal(0.3); });
  }
  void norm(const std::string &module, int64_t n, bool zeroCentred = false) {
    add(module + ".weight", {n}, [&] { return (zeroCentred ? 0.0 : 1.0) + random.normal(0.2); });
  }
  void frame(const std::string &embeddings, const std::string &last, bool tied,
             bool zeroCentred = false) {
    add(embeddings + ".weight", {vocabulary, hidden}, [&] { return random.normal(); });
    norm(last, hidden, zeroCentred);
    if (!tied)
      matrix("lm_head", vocabulary, hidden);
    config["tie_word_embeddings"] = tied;
  }
  void convolution(const std::string &module, int64_t channels, int64_t width, bool bias) {
    add(module + ".weight", {channels, 1, width}, [&] { return random.normal(0.6); });
    if (bias)
      add(module + ".bias", {channels}, [&] { return random.normal(0.3); });
  }
  /// Steps from about 0.01 to 1.
  double step() { return random.uniform(-4.4, 0.6); }
  double rate() { return random.uniform(-1.0, 2.5); }

  void attention(const std::string &at, const std::string &output, bool bias = false,
                 bool gated = false) {
    matrix(at + "q_proj", (gated ? 2 : 1) * heads * headDim, hidden, bias);
    matrix(at + "k_proj", kvHeads * headDim, hidden, bias);
    matrix(at + "v_proj", kvHeads * headDim, hidden, bias);
    matrix(at + output, hidden, heads * headDim, bias);
  }
  void gatedMlp(const std::string &at, bool bias = false, int64_t size = 0) {
    size = size ? size : intermediate;
    matrix(at + "gate_proj", size, hidden, bias);
    matrix(at + "up_proj", size, hidden, bias);
    matrix(at + "down_proj", hidden, size, bias);
  }
  struct Experts {
    int64_t count = 0, chosen = 0, size = 0;
  };
  Experts drawExperts() {
    Experts e;
    e.count = random.integer(2, 9);
    e.chosen = random.integer(1, int(std::min<int64_t>(e.count, 4)));
    e.size = random.integer(3, 70);
    config["num_experts_per_tok"] = e.chosen;
    return e;
  }
  void gatedExperts(const std::string &at, const std::string &router, const Experts &e) {
    matrix(at + router, e.count, hidden);
    if (random.chance(0.3)) { // as one tensor
      auto value = [&] { return random.normal(0.2); };
      add(at + "experts.gate_up_proj", {e.count, 2 * e.size, hidden}, value);
      add(at + "experts.down_proj", {e.count, hidden, e.size}, value);
      return;
    }
    for (int64_t i = 0; i < e.count; ++i)
      gatedMlp(at + "experts." + std::to_string(i) + ".", false, e.size);
  }
  /// The layers of qwen3_moe and qwen3_next that have experts.
  std::vector<bool> drawSparse(Experts &e) {
    e = drawExperts();
    int64_t step = random.integer(1, 2);
    config.update({{random.chance(0.5) ? "num_experts" : "num_local_experts", e.count},
                   {"moe_intermediate_size", e.size},
                   {"norm_topk_prob", random.chance(0.5)},
                   {"decoder_sparse_step", step},
                   {"mlp_only_layers", Json::array()}});
    std::vector<bool> sparse;
    for (int64_t layer = 0; layer < layers; ++layer)
      sparse.push_back((layer + 1) % step == 0);
    if (random.chance(0.3)) {
      config["mlp_only_layers"].push_back(1);
      sparse[1] = false;
    }
    return sparse;
  }
  void mamba1(const std::string &at, int64_t inner, int64_t n, int64_t rank, int64_t width,
              bool convBias, bool bias) {
    matrix(at + "in_proj", 2 * inner, hidden, bias);
    convolution(at + "conv1d", inner, width, convBias);
    matrix(at + "x_proj", rank + 2 * n, inner);
    matrix(at + "dt_proj", inner, rank);
    add(at + "dt_proj.bias", {inner}, [&] { return step(); });
    add(at + "A_log", {inner, n}, [&] { return rate(); });
    add(at + "D", {inner}, [&] { return 1 + random.normal(0.3); });
    matrix(at + "out_proj", hidden, inner, bias);
  }
  struct Ssd {
    int64_t heads, width, groups, states, conv;
    bool convBias, bias;
  };
  Ssd drawSsd() {
    int64_t groups = random.integer(1, 3);
    return {groups * random.integer(1, 3),
            random.integer(2, 20),
            groups,
            random.integer(2, 24),
            random.integer(2, 5),
            random.chance(0.7),
            random.chance(0.3)};
  }
  void mamba2(const std::string &at, const Ssd &s, bool hasNorm) {
    int64_t inner = s.heads * s.width, shared = s.groups * s.states;
    matrix(at + "in_proj", 2 * inner + 2 * shared + s.heads, hidden, s.bias);
    convolution(at + "conv1d", inner + 2 * shared, s.conv, s.convBias);
    add(at + "dt_bias", {s.heads}, [&] { return step(); });
    add(at + "A_log", {s.heads}, [&] { return rate(); });
    add(at + "D", {s.heads}, [&] { return 1 + random.normal(0.3); });
    if (hasNorm)
      norm(at + "norm", inner);
    matrix(at + "out_proj", hidden, inner, s.bias);
  }

  std::string layerName(int64_t layer, const std::string &rest = "") const {
    return prefix + ".layers." + std::to_string(layer) + "." + rest;
  }
  /// The family's own every other time.
  std::string activation(const std::string &usual) {
    std::string other = random.pick<std::string>(
        {"gelu", "gelu_10", "gelu_fast", "gelu_new", "gelu_pytorch_tanh", "laplace", "leaky_relu",
         "linear", "mish", "quick_gelu", "relu", "relu2", "relu6", "sigmoid", "swish", "tanh"});
    return random.chance(0.5) ? usual : other;
  }
  double multiplier() { return random.pick({1.0, 0.5, 1.7, 0.3}); }

  // ---- families

  void drawMamba() {
    prefix = "backbone";
    frame("backbone.embeddings", "backbone.norm_f", random.chance(0.5));
    config.update({{"layer_norm_epsilon", 1e-5}, {"hidden_act", activation("silu")}});
    bool second = type == "mamba2";
    Ssd s = drawSsd();
    int64_t inner = random.integer(3, 60), n = random.pick<int64_t>({16, 16, 5, 8}),
            rank = random.integer(1, 6);
    if (second)
      config.update({{"num_heads", s.heads},
                     {"head_dim", s.width},
                     {"n_groups", s.groups},
                     {"state_size", s.states},
                     {"time_step_limit", random.chance(0.5)
                                             ? Json::array({0.02, 0.3})
                                             : Json::array({0.0, {{"__float__", "Infinity"}}})}});
    else
      config.update({{"intermediate_size", inner},
                     {"expand", 16},
                     {"state_size", n},
                     {"time_step_rank", rank}});
    if (type == "falcon_mamba" && random.chance(0.5))
      config["mixer_rms_eps"] = 1e-3;
    config.update({{"conv_kernel", s.conv}, {"use_conv_bias", s.convBias}, {"use_bias", s.bias}});
    for (int64_t layer = 0; layer < layers; ++layer) {
      norm(layerName(layer, "norm"), hidden);
      if (second)
        mamba2(layerName(layer, "mixer."), s, true);
      else
        mamba1(layerName(layer, "mixer."), inner, n, rank, s.conv, s.convBias, s.bias);
    }
  }

  void drawNemotron() {
    prefix = "backbone";
    headDim = random.integer(2, 18);
    frame("backbone.embeddings", "backbone.norm_f", false);
    config["tie_word_embeddings"] = random.chance(0.3); // comes to nothing beside a head
    Ssd s = drawSsd();
    bool bias = random.chance(0.3), mlpBias = random.chance(0.3);
    config.update({{"layer_norm_epsilon", 1e-5},
                   {"mlp_hidden_act", activation("relu2")},
                   {"mamba_hidden_act", activation("silu")},
                   {"mamba_num_heads", s.heads},
                   {"mamba_head_dim", s.width},
                   {"n_groups", s.groups},
                   {"ssm_state_size", s.states},
                   {"conv_kernel", s.conv},
                   {"use_conv_bias", s.convBias},
                   {"use_bias", s.bias},
                   {"attention_bias", bias || random.chance(0.2)}, // nor without biases
                   {"mlp_bias", mlpBias},
                   {"intermediate_size", intermediate},
                   {"num_attention_heads", heads},
                   {"num_key_value_heads", kvHeads},
                   {random.chance(0.5) ? "head_dim" : "attention_head_dim", headDim}});
    Experts experts = drawExperts();
    int64_t groups = random.integer(1, 3), kept = random.integer(1, int(groups)),
            latent = random.chance(0.3) ? random.integer(3, 40) : 0;
    if (groups > 1)
      experts.count = groups * random.integer(2, 4);
    experts.chosen = std::min(experts.chosen, experts.count / groups * kept);
    config.update({{"n_routed_experts", experts.count},
                   {"num_experts_per_tok", experts.chosen},
                   {"moe_intermediate_size", experts.size},
                   {"moe_shared_expert_intermediate_size", intermediate + 3},
                   {"n_shared_experts", 1},
                   {"n_group", groups},
                   {"topk_group", kept},
                   {"norm_topk_prob", random.chance(0.5)},
                   {"routed_scaling_factor", random.pick({1.0, 2.5})}});
    if (latent)
      config["moe_latent_size"] = latent;
    const double shift = random.pick({0.0, 1.0}); // perhaps below nothing
    std::string pattern;
    for (int64_t layer = 0; layer < layers; ++layer) {
      pattern += random.pick({'M', '-', '*', 'E'});
      norm(layerName(layer, "norm"), hidden);
      std::string at = layerName(layer, "mixer.");
      if (pattern.back() == 'M') {
        mamba2(at, s, true);
      } else if (pattern.back() == '*') {
        attention(at, "o_proj", bias);
      } else if (pattern.back() == 'E') {
        matrix(at + "gate", experts.count, hidden);
        add(at + "gate.e_score_correction_bias", {experts.count},
            [&] { return random.normal(0.3) - shift; });
        if (latent) {
          matrix(at + "fc1_latent_proj", latent, hidden, mlpBias);
          matrix(at + "fc2_latent_proj", hidden, latent, mlpBias);
        }
        for (int64_t i = 0; i < experts.count; ++i) {
          std::string expert = at + "experts." + std::to_string(i) + ".";
          matrix(expert + "up_proj", experts.size, latent ? latent : hidden);
          matrix(expert + "down_proj", latent ? latent : hidden, experts.size);
        }
        matrix(at + "shared_experts.up_proj", intermediate + 3, hidden, mlpBias);
        matrix(at + "shared_experts.down_proj", hidden, intermediate + 3, mlpBias);
      } else {
        matrix(at + "up_proj", intermediate, hidden, mlpBias);
        matrix(at + "down_proj", hidden, intermediate, mlpBias);
      }
    }
    config["hybrid_override_pattern"] = pattern;
  }

  /// Sigmoids choose, with a bias or without; an expert's matrices are called as the MLP's.
  void lfm2Experts(const std::string &at, const Experts &e) {
    matrix(at + "gate", e.count, hidden);
    if (config["use_expert_bias"])
      add(at + "expert_bias", {e.count}, [&] { return random.normal(0.3); });
    if (random.chance(0.3)) { // as one tensor
      auto value = [&] { return random.normal(0.2); };
      add(at + "experts.gate_up_proj", {e.count, 2 * e.size, hidden}, value);
      add(at + "experts.down_proj", {e.count, hidden, e.size}, value);
      return;
    }
    for (int64_t i = 0; i < e.count; ++i) {
      const std::string expert = at + "experts." + std::to_string(i) + ".w";
      matrix(expert + "1", e.size, hidden);
      matrix(expert + "3", e.size, hidden);
      matrix(expert + "2", hidden, e.size);
    }
  }

  void drawLfm2() {
    headDim = 2 * random.integer(1, 9);
    config["head_dim"] = headDim;
    frame("model.embed_tokens", "model.embedding_norm", true);
    config.erase("tie_word_embeddings");
    int64_t width = random.integer(2, 4);
    bool bias = random.chance(0.4);
    config.update({{"norm_eps", 1e-5},
                   {"conv_L_cache", width},
                   {"conv_bias", bias},
                   {"num_attention_heads", heads},
                   {"num_key_value_heads", kvHeads},
                   {"rope_theta", 1e6}});
    Experts experts;
    int64_t dense = layers;
    if (type == "lfm2_moe") {
      experts = drawExperts();
      dense = random.integer(0, int(layers) - 1);
      config.update({{"intermediate_size", intermediate},
                     {"num_dense_layers", dense},
                     {"num_experts", experts.count},
                     {"moe_intermediate_size", experts.size},
                     {"use_expert_bias", random.chance(0.7)},
                     {"norm_topk_prob", random.chance(0.5)},
                     {"routed_scaling_factor", random.pick({1.0, 2.5})}});
    } else if (random.chance(0.5)) {
      // Two thirds, rounded up to a multiple.
      config.update({{"block_ff_dim", intermediate},
                     {"block_auto_adjust_ff_dim", true},
                     {"block_multiple_of", 8},
                     {"block_ffn_dim_multiplier", 1.3}});
      intermediate = (int64_t(1.3 * double(2 * intermediate / 3)) + 7) / 8 * 8;
      if (!intermediate)
        intermediate = 8;
    } else {
      config.update({{"intermediate_size", intermediate}, {"block_auto_adjust_ff_dim", false}});
    }
    config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 1e6}};
    Json types = Json::array();
    for (int64_t layer = 0; layer < layers; ++layer) {
      bool attends = random.chance(0.4);
      types.push_back(attends ? "full_attention" : "conv");
      norm(layerName(layer, "operator_norm"), hidden);
      norm(layerName(layer, "ffn_norm"), hidden);
      if (attends) {
        attention(layerName(layer, "self_attn."), "out_proj");
        norm(layerName(layer, "self_attn.q_layernorm"), headDim);
        norm(layerName(layer, "self_attn.k_layernorm"), headDim);
      } else {
        matrix(layerName(layer, "conv.in_proj"), 3 * hidden, hidden, bias);
        convolution(layerName(layer, "conv.conv"), hidden, width, bias);
        matrix(layerName(layer, "conv.out_proj"), hidden, hidden, bias);
      }
      if (layer >= dense) {
        lfm2Experts(layerName(layer, "feed_forward."), experts);
        continue;
      }
      matrix(layerName(layer, "feed_forward.w1"), intermediate, hidden);
      matrix(layerName(layer, "feed_forward.w3"), intermediate, hidden);
      matrix(layerName(layer, "feed_forward.w2"), hidden, intermediate);
    }
    config["layer_types"] = types;
  }

  void drawRecurrentGemma() {
    headDim = 4 * random.integer(1, 4);
    hidden = heads * headDim;
    const int64_t block = random.integer(1, 9), width = heads * block, conv = random.integer(2, 5);
    const bool bias = random.chance(0.3);
    frame("model.embed_tokens", "model.final_norm", random.chance(0.7), true);
    const Json types =
        random.pick({Json::array({"recurrent", "recurrent", "attention"}),
                     Json::array({"attention", "recurrent"}), Json::array({"recurrent"})});
    config.update(
        {{"hidden_size", hidden},
         {"rms_norm_eps", 1e-6},
         {"hidden_activation", activation("gelu_pytorch_tanh")},
         {"intermediate_size", 2 * intermediate + 1},
         {"num_attention_heads", heads},
         {"num_key_value_heads", kvHeads},
         {"attention_bias", bias},
         {"attention_window_size", random.pick<int64_t>({3, 9, 100})},
         {"lru_width", width},
         {"conv1d_width", conv},
         {"logits_soft_cap", random.pick({30.0, 3.0})},
         {"block_types", types},
         {"rope_parameters",
          {{"rope_type", "default"}, {"rope_theta", 1e4}, {"partial_rotary_factor", 0.5}}}});
    for (int64_t layer = 0; layer < layers; ++layer) {
      const std::string at = layerName(layer, "temporal_block.");
      norm(layerName(layer, "temporal_pre_norm"), hidden, true);
      norm(layerName(layer, "channel_pre_norm"), hidden, true);
      gatedMlp(layerName(layer, "mlp_block."), true);
      if (types[size_t(layer) % types.size()] == "attention") {
        attention(at, "o_proj", bias);
        add(at + "o_proj.bias", {hidden}, [&] { return random.normal(0.3); });
        continue;
      }
      for (const char *name : {"linear_y", "linear_x"})
        matrix(at + name, width, hidden, true);
      convolution(at + "conv_1d", width, conv, true);
      add(at + "rg_lru.recurrent_param", {width}, [&] { return random.uniform(-6.0, 0.5); });
      for (const std::string gate : {"input_gate", "recurrent_gate"}) {
        add(at + "rg_lru." + gate + "_weight", {heads, block, block},
            [&] { return random.normal(1 / std::sqrt(double(block))); });
        add(at + "rg_lru." + gate + "_bias", {heads, block}, [&] { return random.normal(0.3); });
      }
      matrix(at + "linear_out", hidden, width, true);
    }
  }

  void drawZamba2() {
    headDim = 2 * random.integer(1, 9);
    hidden = heads * headDim / 2; // attention is over twice as many
    layers = random.integer(3, 5);
    const bool adapts = random.chance(0.5), bias = random.chance(0.3), tied = random.chance(0.5);
    if (adapts)
      kvHeads = heads;
    const int64_t blocks = random.integer(1, 2), rank = random.integer(1, 7),
                  expand = random.integer(1, 3), inner = expand * hidden;
    Ssd s = drawSsd();
    s.convBias = true;
    s.bias = bias;
    for (s.heads = random.integer(1, 6); inner % s.heads;)
      --s.heads;
    s.groups = s.heads % 2 ? 1 : random.integer(1, 2);
    s.width = inner / s.heads;
    frame("model.embed_tokens", "model.final_layernorm", tied);
    Json types = Json::array();
    std::vector<int64_t> hybrids;
    for (int64_t layer = 0; layer < layers; ++layer) {
      const bool isHybrid = random.chance(0.6) || (layer + 1 == layers && hybrids.empty());
      types.push_back(isHybrid ? "hybrid" : "mamba");
      if (isHybrid)
        hybrids.push_back(layer);
    }
    config.update({{"hidden_size", hidden},
                   {"num_hidden_layers", layers},
                   {"layers_block_type", types},
                   {"rms_norm_eps", random.pick({1e-5, 1e-3})}, // the gated norm's is its own
                   {"hidden_act", activation("gelu")},
                   {"intermediate_size", intermediate},
                   {"num_attention_heads", heads},
                   {"num_key_value_heads", kvHeads},
                   {"num_mem_blocks", blocks},
                   {"use_shared_attention_adapter", adapts},
                   {"use_shared_mlp_adapter", random.chance(0.5)}, // they are stored
                   {"adapter_rank", rank},
                   {"use_mem_rope", random.chance(0.5)},
                   {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 1e3}}},
                   {"add_bias_linear", bias},
                   {"mamba_expand", expand},
                   {"n_mamba_heads", s.heads},
                   {"mamba_headdim", s.width},
                   {"mamba_ngroups", s.groups},
                   {"mamba_d_state", s.states},
                   {"mamba_d_conv", s.conv}});
    for (size_t use = 0; use < hybrids.size(); ++use) {
      const std::string at = layerName(hybrids[use % size_t(blocks)], "shared_transformer.");
      auto adapter = [&](const std::string &name, int64_t n, int64_t k) {
        const std::string list = at + name + "_adapter_list." + std::to_string(use);
        matrix(list + ".0", rank, k);
        matrix(list + ".1", n, rank);
      };
      adapter("feed_forward.gate_up_proj", 2 * intermediate, hidden);
      if (adapts)
        for (const char *part : {"q", "k", "v"})
          adapter(std::string("self_attn.linear_") + part, heads * headDim, 2 * hidden);
      if (int64_t(use) >= blocks)
        continue;
      norm(at + "input_layernorm", 2 * hidden);
      norm(at + "pre_ff_layernorm", hidden);
      matrix(at + "self_attn.q_proj", heads * headDim, 2 * hidden);
      for (const char *part : {"k", "v"})
        matrix(at + "self_attn." + part + "_proj", kvHeads * headDim, 2 * hidden);
      matrix(at + "self_attn.o_proj", hidden, heads * headDim);
      matrix(at + "feed_forward.gate_up_proj", 2 * intermediate, hidden, bias);
      matrix(at + "feed_forward.down_proj", hidden, intermediate, bias);
    }
    // As some writers have it: with another layer of the block as well, or only there.
    const bool copies = random.chance(0.3), moves = random.chance(0.3);
    if (int64_t(hybrids.size()) > blocks && (copies || moves)) {
      const std::string from = layerName(hybrids[0], "shared_transformer."),
                        to = layerName(hybrids[size_t(blocks)], "shared_transformer.");
      for (auto at = tensors.begin(); at != tensors.end();) {
        const bool isOfBlock = at->first.rfind(from, 0) == 0;
        if (isOfBlock)
          tensors[to + at->first.substr(from.size())] = at->second;
        at = isOfBlock && moves ? tensors.erase(at) : std::next(at);
      }
    }
    for (int64_t layer = 0; layer < layers; ++layer) {
      const bool isHybrid = types[size_t(layer)] == "hybrid";
      const std::string at = layerName(layer, isHybrid ? "mamba_decoder." : "");
      if (isHybrid)
        matrix(layerName(layer, "linear"), hidden, hidden);
      norm(at + "input_layernorm", hidden);
      mamba2(at + "mamba.", s, true);
    }
  }

  void drawQwen35() {
    headDim = 8 * random.integer(1, 4);
    if (type == "qwen3_5")
      prefix = "model.language_model";
    frame(prefix + ".embed_tokens", prefix + ".norm", random.chance(0.5), true);
    int64_t Hk = random.integer(1, 3), Hv = Hk * random.integer(1, 3), Dk = random.integer(2, 20),
            Dv = random.integer(2, 20), width = random.integer(2, 5);
    // Laplace's small values are what is left of 1 + erf, and the norms of q and k make them large:
    // in f32 they are noise, whoever computes them.
    std::string act = activation("silu");
    if (act == "laplace")
      act = "silu";
    config.update({{"rms_norm_eps", 1e-6},
                   {"head_dim", headDim},
                   {"hidden_act", act},
                   {"intermediate_size", intermediate},
                   {"num_attention_heads", heads},
                   {"num_key_value_heads", kvHeads},
                   {"linear_num_key_heads", Hk},
                   {"linear_num_value_heads", Hv},
                   {"linear_key_head_dim", Dk},
                   {"linear_value_head_dim", Dv},
                   {"linear_conv_kernel_dim", width},
                   {"full_attention_interval", 2},
                   {"rope_parameters",
                    {{"rope_type", "default"},
                     {"rope_theta", 1e4},
                     {"partial_rotary_factor", random.pick({0.25, 0.5})}}}});
    // As transformers writes it, whatever the parameters say.
    if (random.chance(0.5))
      config["partial_rotary_factor"] = 0.25;
    const bool bias = random.chance(0.3);
    config["attention_bias"] = bias;
    bool next = type == "qwen3_next";
    Experts experts;
    std::vector<bool> sparse(layers);
    if (next) {
      sparse = drawSparse(experts);
      config["shared_expert_intermediate_size"] = intermediate + 2;
    }
    for (int64_t layer = 0; layer < layers; ++layer) {
      norm(layerName(layer, "input_layernorm"), hidden, true);
      norm(layerName(layer, "post_attention_layernorm"), hidden, true);
      if (sparse[layer]) {
        gatedExperts(layerName(layer, "mlp."), "gate", experts);
        gatedMlp(layerName(layer, "mlp.shared_expert."), false, intermediate + 2);
        matrix(layerName(layer, "mlp.shared_expert_gate"), 1, hidden);
      } else {
        gatedMlp(layerName(layer, "mlp."));
      }
      if (layer % 2) {
        attention(layerName(layer, "self_attn."), "o_proj", bias, true);
        norm(layerName(layer, "self_attn.q_norm"), headDim, true);
        norm(layerName(layer, "self_attn.k_norm"), headDim, true);
        continue;
      }
      std::string at = layerName(layer, "linear_attn.");
      if (next) {
        matrix(at + "in_proj_qkvz", 2 * Hk * Dk + 2 * Hv * Dv, hidden);
        matrix(at + "in_proj_ba", 2 * Hv, hidden);
      } else {
        matrix(at + "in_proj_qkv", 2 * Hk * Dk + Hv * Dv, hidden);
        matrix(at + "in_proj_z", Hv * Dv, hidden);
        matrix(at + "in_proj_b", Hv, hidden);
        matrix(at + "in_proj_a", Hv, hidden);
      }
      convolution(at + "conv1d", 2 * Hk * Dk + Hv * Dv, width, false);
      add(at + "A_log", {Hv}, [&] { return rate(); });
      add(at + "dt_bias", {Hv}, [&] { return step(); });
      norm(at + "norm", Dv);
      matrix(at + "out_proj", hidden, Hv * Dv);
    }
  }

  /// Those with an attention or Mamba mixer and an MLP in every layer.
  void drawHybrid() {
    bool falcon = type == "falcon_h1", granite = type == "granitemoehybrid",
         jamba = type == "jamba", bamba = type == "bamba";
    bool plain = type == "qwen3" || type == "qwen3_moe" || type == "mistral" || type == "llama";
    // Whole heads where their size follows from the hidden size.
    if (granite || jamba || bamba) {
      headDim = 4 * random.integer(1, 5);
      hidden = heads * headDim;
      config["hidden_size"] = hidden;
    } else {
      headDim = 2 * random.integer(2, 9);
      config["head_dim"] = headDim;
    }
    bool hasFinal = falcon || jamba || bamba;
    frame("model.embed_tokens", hasFinal ? "model.final_layernorm" : "model.norm",
          random.chance(0.5));
    bool bias = !jamba && type != "mistral" && random.chance(0.3),
         mlpBias = (bamba || falcon || type == "llama") && random.chance(0.3);
    config.update({{"rms_norm_eps", 1e-5},
                   {"hidden_act", activation("silu")},
                   {"intermediate_size", intermediate},
                   {"num_attention_heads", heads},
                   {"num_key_value_heads", kvHeads}});
    if (!jamba && type != "mistral")
      config["attention_bias"] = bias;
    if (bamba || falcon || type == "llama")
      config["mlp_bias"] = mlpBias;
    Json rope = {{"rope_type", "default"}, {"rope_theta", 1e4}};
    if (bamba)
      config["partial_rotary_factor"] = 0.5;
    if (plain && random.chance(0.4))
      rope = {{"rope_type", "yarn"},
              {"rope_theta", 1e4},
              {"factor", 4.0},
              {"original_max_position_embeddings", 16}};
    if (!jamba)
      config["rope_parameters"] = rope;
    if (type == "mistral")
      config["sliding_window"] =
          random.chance(0.7) ? random.integer(2, 12) : random.integer(60, 140);
    Ssd s = drawSsd();
    if (falcon) { // the norm before the gate as well
      bool normed = random.chance(0.7);
      config.update({{"mamba_rms_norm", normed},
                     {"mamba_norm_before_gate", random.chance(0.5)},
                     {"mamba_d_ssm", s.heads * s.width},
                     {"projectors_bias", s.bias},
                     {"key_multiplier", multiplier()},
                     {"lm_head_multiplier", multiplier()},
                     {"attention_in_multiplier", multiplier()},
                     {"attention_out_multiplier", multiplier()},
                     {"ssm_in_multiplier", multiplier()},
                     {"ssm_out_multiplier", multiplier()},
                     {"mlp_multipliers", {multiplier(), multiplier()}},
                     {"ssm_multipliers",
                      {multiplier(), multiplier(), multiplier(), multiplier(), multiplier()}}});
    }
    if (falcon || granite)
      config["embedding_multiplier"] = random.pick({1.0, 3.0});
    if (granite)
      config.update({{"residual_multiplier", multiplier()},
                     {"logits_scaling", 3.0},
                     {"attention_multiplier", 0.2},
                     {"num_local_experts", 0},
                     {"position_embedding_type", random.pick({"rope", "nope"})}});
    if (falcon || granite || bamba)
      config.update({{"mamba_n_heads", s.heads},
                     {"mamba_d_head", s.width},
                     {"mamba_n_groups", s.groups},
                     {"mamba_d_state", s.states},
                     {"mamba_d_conv", s.conv},
                     {"mamba_conv_bias", s.convBias},
                     {"mamba_proj_bias", s.bias}});
    int64_t n = random.integer(3, 17), rank = random.integer(1, 6);
    if (jamba)
      config.update({{"mamba_d_state", n},
                     {"mamba_dt_rank", rank},
                     {"mamba_d_conv", s.conv},
                     {"mamba_conv_bias", s.convBias},
                     {"mamba_proj_bias", s.bias},
                     {"mamba_expand", 2},
                     {"num_experts", 1},
                     {"attn_layer_period", 2},
                     {"attn_layer_offset", 1}});
    Experts experts;
    std::vector<bool> sparse(layers);
    if (type == "qwen3_moe") {
      sparse = drawSparse(experts);
    } else if ((jamba || granite) && random.chance(0.6)) {
      experts = drawExperts();
      experts.size = intermediate;
      int64_t period = jamba ? random.integer(1, 3) : 1,
              offset = random.integer(0, int(period) - 1);
      for (int64_t layer = 0; layer < layers; ++layer)
        sparse[layer] = layer % period == offset;
      if (jamba)
        config.update({{"num_experts", experts.count},
                       {"expert_layer_period", period},
                       {"expert_layer_offset", offset}});
      else
        config["num_local_experts"] = experts.count;
    }
    if (granite && random.chance(0.5))
      intermediate += 5; // of the shared MLP
    if (granite)
      config["shared_intermediate_size"] = intermediate;
    Json types = Json::array(), indices = Json::array();
    for (int64_t layer = 0; layer < layers; ++layer) {
      bool attends = plain || falcon || (jamba ? layer % 2 == 1 : random.chance(0.4));
      types.push_back(attends ? "attention" : "mamba");
      if (attends)
        indices.push_back(layer);
      norm(layerName(layer, "input_layernorm"), hidden);
      norm(layerName(layer, hasFinal ? "pre_ff_layernorm" : "post_attention_layernorm"), hidden);
      if (attends)
        attention(layerName(layer, "self_attn."), "o_proj", bias);
      if (type == "qwen3" || type == "qwen3_moe") {
        norm(layerName(layer, "self_attn.q_norm"), headDim);
        norm(layerName(layer, "self_attn.k_norm"), headDim);
      }
      std::string at = layerName(layer, "mamba.");
      if (jamba && !attends) {
        mamba1(at, 2 * hidden, n, rank, s.conv, s.convBias, s.bias);
        norm(at + "dt_layernorm", rank);
        norm(at + "b_layernorm", n);
        norm(at + "c_layernorm", n);
      } else if (falcon || (!plain && !attends)) {
        mamba2(at, s, !falcon || config["mamba_rms_norm"]);
      }
      if (granite) {
        matrix(layerName(layer, "shared_mlp.input_linear"), 2 * intermediate, hidden);
        matrix(layerName(layer, "shared_mlp.output_linear"), hidden, intermediate);
        if (sparse[layer]) {
          std::string moe = layerName(layer, "block_sparse_moe.");
          matrix(moe + "router.layer", experts.count, hidden);
          auto value = [&] { return random.normal(0.2); };
          add(moe + "input_linear.weight", {experts.count, 2 * experts.size, hidden}, value);
          add(moe + "output_linear.weight", {experts.count, hidden, experts.size}, value);
        }
      } else if (sparse[layer]) {
        gatedExperts(layerName(layer, plain ? "mlp." : "feed_forward."), plain ? "gate" : "router",
                     experts);
      } else {
        gatedMlp(layerName(layer, plain ? "mlp." : "feed_forward."), mlpBias);
      }
    }
    if (granite)
      config["layer_types"] = types;
    if (bamba)
      config["attn_layer_indices"] = indices;
  }

  const std::string type;
  Random random;
  Json config;
  Tensors tensors;
  Stored stored = Stored::f32;
  std::string prefix = "model";
  int64_t hidden = 0, layers = 0, vocabulary = 0, intermediate = 0, heads = 0, kvHeads = 0,
          headDim = 0;
};

} // namespace

const std::vector<std::string> &familyNames() {
  static const std::vector<std::string> names = {
      "bamba",    "falcon_h1", "falcon_mamba", "granitemoehybrid", "jamba",      "lfm2",
      "lfm2_moe", "llama",     "mamba",        "mamba2",           "mistral",    "nemotron_h",
      "qwen3",    "qwen3_5",   "qwen3_5_text", "qwen3_moe",        "qwen3_next", "recurrent_gemma",
      "zamba2"};
  return names;
}

FamilyCheckpoint drawFamily(const std::string &modelType, uint64_t seed) {
  return FamilyDraw(modelType, seed).run();
}

void FamilyCheckpoint::write(const std::string &directory) const {
  writeFile(directory + "/config.json", config.dump(2));
  writeSafetensors(directory + "/model.safetensors", tensors);
}

} // namespace m1test
