#include "RandomCheckpoint.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace m1test {

double relativeError(const double *got, const std::vector<double> &want) {
  double mean = 0, variance = 0, worst = 0;
  for (double v : want)
    mean += v / static_cast<double>(want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    variance += (want[i] - mean) * (want[i] - mean) / static_cast<double>(want.size());
    double error = std::abs(got[i] - want[i]);
    worst = std::isnan(error) ? std::numeric_limits<double>::infinity() : std::max(worst, error);
  }
  return worst / std::sqrt(variance);
}

double relativeError(const std::vector<double> &got, const std::vector<double> &want) {
  return got.size() == want.size() ? relativeError(got.data(), want)
                                   : std::numeric_limits<double>::infinity();
}

double normError(const std::vector<double> &got, const std::vector<double> &want) {
  if (got.size() != want.size())
    return std::numeric_limits<double>::infinity();
  double difference = 0, size = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    difference += (got[i] - want[i]) * (got[i] - want[i]);
    size += want[i] * want[i];
  }
  return std::isnan(difference) ? std::numeric_limits<double>::infinity()
                                : std::sqrt(difference / size);
}

namespace {

std::string layerName(int64_t layer, const std::string &part) {
  return "model.layers." + std::to_string(layer) + "." + part;
}

/// Sizes first, then weights; each weight with a spread that keeps activations near 1, as trained
/// models do.
class Draw {
public:
  explicit Draw(uint64_t seed) : random(seed) {}

  Checkpoint run() {
    c.kind =
        random.pick({Checkpoint::Kind::mamba1, Checkpoint::Kind::mamba1, Checkpoint::Kind::mamba1,
                     Checkpoint::Kind::mamba2, Checkpoint::Kind::mamba2, Checkpoint::Kind::llama,
                     Checkpoint::Kind::qwen2});
    drawSizes();
    if (c.isM1())
      drawMamba();
    drawFiles();
    drawWeights();
    return std::move(c);
  }

private:
  void drawSizes() {
    // Now and then sizes beyond any block of any kernel.
    large = random.chance(0.05);
    c.layers = random.integer(1, large ? 2 : 4);
    c.headDim = 2 * random.integer(1, large ? 80 : 20);
    c.kvHeads = random.integer(1, 3);
    c.heads = c.kvHeads * random.integer(1, 4);
    // Half of the time the usual relation, which lets config.json leave head_dim out.
    c.hidden = random.chance(0.5) && c.heads * c.headDim >= 8 ? c.heads * c.headDim
                                                              : random.integer(8, large ? 700 : 90);
    c.intermediate = random.integer(1, large ? 1200 : 120);
    c.vocabulary = random.integer(2, large ? 2000 : 300);
    c.maxPositions = random.integer(400, 1500);
    c.eps = random.pick({1e-6, 1e-5, 1e-3});
    c.theta = random.pick({10000.0, 500000.0, 1e6});
    c.tied = random.chance(0.5);
    c.scaled = c.kind != Checkpoint::Kind::qwen2 && random.chance(0.5);
    c.linearlyScaled = c.scaled && random.chance(0.2);
    c.factor = random.pick({2.0, 8.0, 32.0});
    c.low = random.pick({1.0, 2.0});
    c.high = c.low + random.pick({1.0, 3.0});
    c.original = static_cast<double>(random.integer(16, 200));
    c.isAttention.assign(c.layers, true);
    if (c.kind == Checkpoint::Kind::qwen2)
      c.attentionBias = true;
    else if (c.kind == Checkpoint::Kind::llama) {
      c.attentionBias = c.outputBias = random.chance(0.3);
      c.mlpBias = random.chance(0.3);
    }
  }

  void drawMamba() {
    // One more case than attention everywhere: kind is told from Mamba weights, so a model without
    // them is called Mamba-1.
    double attention = random.pick({0.0, 0.3, 0.3, 0.5, 1.0});
    for (int64_t layer = 0; layer < c.layers; ++layer)
      c.isAttention[layer] = random.chance(attention);
    if (std::find(c.isAttention.begin(), c.isAttention.end(), false) == c.isAttention.end())
      c.kind = Checkpoint::Kind::mamba1;
    c.dState = c.kind == Checkpoint::Kind::mamba1
                   ? random.pick<int64_t>({16, 16, 16, 1, 3, 8, 20, 32})
                   : random.integer(1, large ? 128 : 40);
    int64_t repeat = random.integer(1, 4), groups = random.integer(1, large ? 8 : 3);
    c.dXb = groups * c.dState;
    c.dInner = c.dXb * repeat;
    // Without d_inner in the file it is expand * d_model, and dt_rank is d_model / 16, rounded up.
    c.expand = random.pick<int64_t>({2, 2, 2, 1, 3, 4});
    c.stateDefaults = c.dInner % c.expand == 0 && c.dInner / c.expand >= 8 && random.chance(0.4);
    if (c.stateDefaults)
      c.hidden = c.dInner / c.expand;
    c.dConv = random.pick<int64_t>({4, 4, 4, 1, 2, 3, 7});
    c.dtRank = c.stateDefaults ? (c.hidden + 15) / 16 : random.integer(1, 9);
    c.convBias = random.chance(0.8);
    c.repeatBeforeConv = c.kind == Checkpoint::Kind::mamba2 || random.chance(0.6);
  }

  void drawFiles() {
    c.stored = random.pick({Stored::f32, Stored::f32, Stored::bf16, Stored::f16});
    c.storedRates = random.pick({Stored::f32, c.stored});
    c.splitNames = c.isM1() && random.chance(0.3);
    c.sharded = random.chance(0.25);
    c.newConfig = random.chance(0.5);
  }

  void add(const std::string &name, std::vector<int64_t> shape, Stored type,
           const std::function<double()> &value) {
    Tensor tensor;
    tensor.type = type;
    tensor.shape = std::move(shape);
    tensor.values.resize(tensor.count());
    for (double &v : tensor.values)
      v = roundTo(type, value());
    c.tensors[name] = std::move(tensor);
  }
  void matrix(const std::string &name, int64_t n, int64_t k) {
    add(name, {n, k}, c.stored,
        [&] { return random.normal(1.0 / std::sqrt(static_cast<double>(k))); });
  }
  void norm(const std::string &name, int64_t n) {
    add(name, {n}, c.stored, [&] { return 1.0 + random.normal(0.2); });
  }
  void bias(const std::string &name, int64_t n) {
    add(name, {n}, c.stored, [&] { return random.normal(0.3); });
  }

  void drawWeights() {
    add("model.embed_tokens.weight", {c.vocabulary, c.hidden}, c.stored,
        [&] { return random.normal(); });
    for (int64_t layer = 0; layer < c.layers; ++layer) {
      norm(layerName(layer, "input_layernorm.weight"), c.hidden);
      norm(layerName(layer, "post_attention_layernorm.weight"), c.hidden);
      for (auto [part, n, k] : {std::tuple{"gate", c.intermediate, c.hidden},
                                {"up", c.intermediate, c.hidden},
                                {"down", c.hidden, c.intermediate}}) {
        matrix(layerName(layer, std::string("mlp.") + part + "_proj.weight"), n, k);
        if (c.mlpBias)
          bias(layerName(layer, std::string("mlp.") + part + "_proj.bias"), n);
      }
      if (c.isAttention[layer])
        drawAttention(layer);
      else
        drawMixer(layer);
    }
    norm("model.norm.weight", c.hidden);
    if (!c.tied)
      matrix("lm_head.weight", c.vocabulary, c.hidden);
  }

  void drawAttention(int64_t layer) {
    int64_t q = c.heads * c.headDim, kv = c.kvHeads * c.headDim;
    if (c.isM1() && !c.splitNames) {
      matrix(layerName(layer, "mha.in_proj.weight"), q + 2 * kv, c.hidden);
      matrix(layerName(layer, "mha.out_proj.weight"), c.hidden, q);
      return;
    }
    for (auto [part, n] : {std::pair{"q", q}, {"k", kv}, {"v", kv}}) {
      matrix(layerName(layer, std::string("self_attn.") + part + "_proj.weight"), n, c.hidden);
      if (c.attentionBias)
        bias(layerName(layer, std::string("self_attn.") + part + "_proj.bias"), n);
    }
    matrix(layerName(layer, "self_attn.o_proj.weight"), c.hidden, q);
    if (c.outputBias)
      bias(layerName(layer, "self_attn.o_proj.bias"), c.hidden);
  }

  void drawMixer(int64_t layer) {
    auto name = [&](const std::string &part) { return layerName(layer, "mamba." + part); };
    bool mamba2 = c.kind == Checkpoint::Kind::mamba2;
    int64_t H = c.dInner / c.dState, dt = mamba2 ? H : c.dtRank;
    if (c.splitNames && !mamba2) {
      matrix(name("in_proj_z.weight"), c.dInner, c.hidden);
      matrix(name("in_proj_x.weight"), c.dXb, c.hidden);
      matrix(name("B_proj.weight"), c.dXb, c.hidden);
      matrix(name("C_proj.weight"), c.dInner, c.hidden);
      matrix(name("dt_proj_down.weight"), dt, c.hidden);
    } else {
      matrix(name("in_proj.weight"), 2 * c.dInner + 2 * c.dXb + dt, c.hidden);
    }
    int64_t convolved = mamba2 ? 2 * c.dXb + c.dInner : c.repeatBeforeConv ? c.dInner : c.dXb;
    add(name("conv1d.weight"), {convolved, 1, c.dConv}, c.stored,
        [&] { return random.normal(0.6); });
    if (c.convBias)
      bias(name("conv1d.bias"), convolved);
    // Steps Δ from about 0.01 to 1, so that states remember a few to a hundred tokens.
    auto step = [&] { return random.uniform(-2.2, 0.3); };
    std::vector<int64_t> rates =
        mamba2 ? std::vector<int64_t>{H} : std::vector<int64_t>{c.dInner, c.dState};
    if (mamba2) {
      add(name("dt_bias"), {H}, c.stored, [&] { return 2 * step(); });
      norm(name("norm.weight"), c.dInner);
    } else {
      matrix(name("dt_proj.weight"), c.dInner, dt);
      add(name("dt_proj.bias"), {c.dInner}, c.stored, step);
    }
    add(name("A_log"), rates, c.storedRates, [&] { return random.uniform(-1.0, 2.5); });
    add(name("D"), {mamba2 ? H : c.dInner}, c.storedRates,
        [&] { return 1.0 + random.normal(0.3); });
    matrix(name("out_proj.weight"), c.hidden, c.dInner);
  }

  Random random;
  Checkpoint c;
  bool large = false;
};

} // namespace

Checkpoint drawCheckpoint(uint64_t seed) { return Draw(seed).run(); }

std::string Checkpoint::describe() const {
  const char *kinds[] = {"mamba1", "mamba2", "llama", "qwen2"}, *types[] = {"f32", "bf16", "f16"};
  std::string pattern;
  for (bool attention : isAttention)
    pattern += attention ? 'a' : 'm';
  nlohmann::json j = {{"kind", kinds[static_cast<int>(kind)]},
                      {"layers", pattern},
                      {"hidden", hidden},
                      {"intermediate", intermediate},
                      {"vocabulary", vocabulary},
                      {"heads", heads},
                      {"kv_heads", kvHeads},
                      {"head_dim", headDim},
                      {"tied", tied},
                      {"scaled", linearlyScaled ? "linear"
                                 : scaled       ? "llama3"
                                                : "no"},
                      {"stored", types[static_cast<int>(stored)]},
                      {"split", splitNames},
                      {"sharded", sharded},
                      {"mlp_bias", mlpBias},
                      {"attention_bias", attentionBias}};
  if (isM1())
    j.update({{"d_inner", dInner},
              {"d_xb", dXb},
              {"d_state", dState},
              {"d_conv", dConv},
              {"dt_rank", dtRank},
              {"expand", stateDefaults ? expand : 0},
              {"conv_bias", convBias},
              {"repeat_before_conv", repeatBeforeConv}});
  return j.dump();
}

void Checkpoint::write(const std::string &directory) const {
  const char *types[] = {"float32", "bfloat16", "float16"};
  bool qwen2 = kind == Kind::qwen2;
  nlohmann::json config = {{"architectures", {qwen2 ? "Qwen2ForCausalLM" : "LlamaForCausalLM"}},
                           {"model_type", qwen2 ? "qwen2" : "llama"},
                           {"hidden_size", hidden},
                           {"num_hidden_layers", layers},
                           {"num_attention_heads", heads},
                           {"num_key_value_heads", kvHeads},
                           {"intermediate_size", intermediate},
                           {"hidden_act", "silu"},
                           {"rms_norm_eps", eps},
                           {"max_position_embeddings", maxPositions},
                           {"vocab_size", vocabulary},
                           {"tie_word_embeddings", tied},
                           {"bos_token_id", 1},
                           {"eos_token_id", 0}};
  if (heads * headDim != hidden)
    config["head_dim"] = headDim;
  if (kvHeads == heads && newConfig && kind == Kind::llama) // what its absence means there
    config.erase("num_key_value_heads");
  if (kind == Kind::llama)
    config.update({{"attention_bias", attentionBias}, {"mlp_bias", mlpBias}});
  nlohmann::json scaling = {{"rope_type", "llama3"},
                            {"factor", factor},
                            {"low_freq_factor", low},
                            {"high_freq_factor", high},
                            {"original_max_position_embeddings", original}};
  if (linearlyScaled)
    scaling = {{"rope_type", "linear"}, {"factor", factor}};
  if (newConfig) {
    config["rope_parameters"] = scaled ? scaling : nlohmann::json{{"rope_type", "default"}};
    config["rope_parameters"]["rope_theta"] = theta;
    config["dtype"] = types[static_cast<int>(stored)];
  } else {
    config["rope_theta"] = theta;
    config["rope_scaling"] = scaled ? scaling : nlohmann::json();
    config["torch_dtype"] = types[static_cast<int>(stored)];
  }
  writeFile(directory + "/config.json", config.dump(2));

  if (isM1()) {
    nlohmann::json ssm, attention = nlohmann::json::array();
    for (int64_t layer = 0; layer < layers; ++layer)
      if (isAttention[layer])
        attention.push_back(layer);
    ssm["d_state"] = dState;
    if (dConv != 4)
      ssm["d_conv"] = dConv;
    if (!convBias)
      ssm["conv_bias"] = false;
    if (kind == Kind::mamba1 && !repeatBeforeConv)
      ssm["repeat_kv_before_conv"] = false;
    // can be left out: the weights tell the kind, d_state the groups
    if (kind == Kind::mamba2 && !newConfig)
      ssm["ngroups"] = dInner / dState;
    else if (kind == Kind::mamba1 && !stateDefaults)
      ssm["dt_rank"] = dtRank;
    nlohmann::json mamba = {{"d_model", hidden},     {"d_xb", dXb},
                            {"n_layer", layers},     {"attn_layers", attention},
                            {"ssm_cfg", ssm},        {"rms_norm_eps", eps},
                            {"vocab_size", nullptr}, {"intermediate_size", intermediate},
                            {"hidden_act", "silu"}};
    if (!stateDefaults)
      mamba["d_inner"] = dInner;
    else if (expand != 2)
      mamba["ssm_cfg"]["expand"] = expand;
    writeFile(directory + "/mamba_config.json", mamba.dump(2));
  }

  if (!sharded)
    return writeSafetensors(directory + "/model.safetensors", tensors);
  Tensors shards[2];
  nlohmann::json map;
  size_t i = 0;
  for (const auto &[name, tensor] : tensors) {
    map[name] = "model-0000" + std::to_string(i % 2 + 1) + "-of-00002.safetensors";
    shards[i++ % 2][name] = tensor;
  }
  for (int s = 0; s < 2; ++s)
    writeSafetensors(directory + "/model-0000" + std::to_string(s + 1) + "-of-00002.safetensors",
                     shards[s]);
  writeFile(directory + "/model.safetensors.index.json",
            nlohmann::json{{"metadata", {{"total_size", 0}}}, {"weight_map", map}}.dump());
}

} // namespace m1test
