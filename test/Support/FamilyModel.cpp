// What each family computes, one token at a time.
#include "RandomFamily.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

namespace m1test {
namespace {

using Row = std::vector<double>;
using Json = nlohmann::json;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double silu(double x) { return x * sigmoid(x); }
double gelu(double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2))); }
double geluTanh(double x) {
  return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * std::pow(x, 3))));
}

using Activation = double (*)(double);
/// As in src/transformers/activations.py.
Activation activation(const std::string &name) {
  static const std::map<std::string, Activation> known = {
      {"gelu", gelu},
      {"gelu_10", [](double x) { return std::clamp(gelu(x), -10.0, 10.0); }},
      {"gelu_fast", geluTanh},
      {"gelu_new", geluTanh},
      {"gelu_pytorch_tanh", geluTanh},
      {"laplace",
       [](double x) { return (1 + std::erf((x - 0.707107) / (0.282095 * std::sqrt(2)))) / 2; }},
      {"leaky_relu", [](double x) { return x > 0 ? x : 0.01 * x; }},
      {"linear", [](double x) { return x; }},
      {"mish", [](double x) { return x * std::tanh(std::log1p(std::exp(x))); }},
      {"quick_gelu", [](double x) { return x * sigmoid(1.702 * x); }},
      {"relu", [](double x) { return std::max(x, 0.0); }},
      {"relu2", [](double x) { return x > 0 ? x * x : 0; }},
      {"relu6", [](double x) { return std::clamp(x, 0.0, 6.0); }},
      {"sigmoid", sigmoid},
      {"silu", silu},
      {"swish", silu},
      {"tanh", [](double x) { return std::tanh(x); }},
  };
  return known.at(name);
}
double softplus(double x) { return std::log1p(std::exp(-std::abs(x))) + std::max(x, 0.0); }

Row part(const Row &x, size_t begin, size_t count) {
  return Row(x.begin() + begin, x.begin() + begin + count);
}
Row scaled(Row x, double factor) {
  for (double &v : x)
    v *= factor;
  return x;
}
Row times(
    Row x, const Row &y, const std::function<double(double)> &f = [](double v) { return v; }) {
  for (size_t i = 0; i < x.size(); ++i)
    x[i] *= f(y[i]);
  return x;
}
void addTo(Row &h, const Row &x) {
  for (size_t i = 0; i < h.size(); ++i)
    h[i] += x[i];
}

/// Each of `groups` ranges on its own; the weight repeats, or is absent.
Row rmsNorm(const Row &x, const Row &weight, double eps, size_t groups = 1, double centre = 0) {
  size_t n = x.size() / groups;
  Row y(x.size());
  for (size_t g = 0; g < groups; ++g) {
    double sum = 0;
    for (size_t i = 0; i < n; ++i)
      sum += x[g * n + i] * x[g * n + i];
    double factor = 1 / std::sqrt(sum / double(n) + eps);
    for (size_t i = 0; i < n; ++i)
      y[g * n + i] = x[g * n + i] * factor *
                     (weight.empty() ? 1 : centre + weight[(g * n + i) % weight.size()]);
  }
  return y;
}

/// What a layer carries from token to token.
struct Memory {
  std::vector<Row> inputs, keys, values; // of the convolution; of attention
  Row state;
};

class FamilyModel {
public:
  explicit FamilyModel(const FamilyCheckpoint &c)
      : c(c), config(c.config.contains("text_config") ? c.config["text_config"] : c.config),
        type(c.config["model_type"]),
        memory(config.contains("num_hidden_layers") ? size("num_hidden_layers")
                                                    : config["layers_block_type"].size()) {}

  Row step(int32_t token) {
    bool backbone = c.tensors.count("backbone.embeddings.weight");
    prefix = backbone                           ? "backbone"
             : c.config.contains("text_config") ? "model.language_model"
                                                : "model";
    const Tensor &table =
        c.tensors.at(prefix + (backbone ? ".embeddings.weight" : ".embed_tokens.weight"));
    size_t d = table.shape[1];
    Row h(table.values.begin() + token * d, table.values.begin() + (token + 1) * d);
    h = scaled(h, type == "recurrent_gemma" ? roundTo(Stored::bf16, std::sqrt(double(d)))
                                            : number("embedding_multiplier", 1));
    embedded = h;
    uses = 0;
    for (layer = 0; layer < memory.size(); ++layer)
      runLayer(h);
    const char *norms[] = {".norm.weight", ".norm_f.weight", ".final_layernorm.weight",
                           ".embedding_norm.weight", ".final_norm.weight"};
    for (const char *name : norms)
      if (c.tensors.count(prefix + name))
        h = rmsNorm(h, c.tensors.at(prefix + name).values, eps(), 1, centre());
    const Tensor *head =
        c.tensors.count("lm_head.weight") ? &c.tensors.at("lm_head.weight") : &table;
    Row logits =
        scaled(multiply(*head, h), number("lm_head_multiplier", 1) / number("logits_scaling", 1));
    if (double cap = number("logits_soft_cap", 0))
      for (double &logit : logits)
        logit = cap * std::tanh(logit / cap);
    ++position;
    return logits;
  }

private:
  // ---- configuration and weights

  double number(const char *name, double absent) const {
    return config.contains(name) && config[name].is_number() ? config[name].get<double>() : absent;
  }
  size_t size(const char *name) const { return config[name].get<size_t>(); }
  bool flag(const char *name, bool absent = false) const { return config.value(name, absent); }
  double eps() const {
    for (const char *name : {"rms_norm_eps", "layer_norm_epsilon", "norm_eps"})
      if (config.contains(name))
        return config[name];
    return 1e-6;
  }
  double centre() const {
    return type.rfind("qwen3_5", 0) == 0 || type == "qwen3_next" || type == "recurrent_gemma";
  }
  const Tensor *find(const std::string &name) const {
    if (name.rfind("shared_transformer.", 0) == 0) { // of zamba2: by any layer that uses the block
      size_t use = 0, blocks = size("num_mem_blocks");
      for (size_t other = 0; other < memory.size(); ++other)
        if (config["layers_block_type"][other] == "hybrid" && use++ % blocks == uses % blocks)
          if (const Tensor *held = find(other, name))
            return held;
      return nullptr;
    }
    return find(layer, name);
  }
  const Tensor *find(size_t holder, const std::string &name) const {
    auto at = c.tensors.find(prefix + ".layers." + std::to_string(holder) + "." + name);
    return at == c.tensors.end() ? nullptr : &at->second;
  }
  Row vector(const std::string &name) const { return find(name)->values; }
  static Row multiply(const Tensor &w, const Row &x) {
    size_t n = w.shape[0], k = w.shape[1];
    Row y(n);
    for (size_t i = 0; i < n; ++i)
      for (size_t j = 0; j < k; ++j)
        y[i] += w.values[i * k + j] * x[j];
    return y;
  }
  Row linear(const std::string &module, const Row &x) const {
    Row y = multiply(*find(module + ".weight"), x);
    if (const Tensor *bias = find(module + ".bias"))
      addTo(y, bias->values);
    return y;
  }

  // ---- layers

  Row norm(const std::string &name, const Row &h) const {
    return rmsNorm(h, vector(name + ".weight"), eps(), 1, centre());
  }
  void branch(Row &h, const std::string &norm, const std::function<Row(const Row &)> &f) {
    addTo(h, scaled(f(this->norm(norm, h)), number("residual_multiplier", 1)));
  }

  void runLayer(Row &h) {
    if (type == "mamba" || type == "falcon_mamba")
      return branch(h, "norm", [&](const Row &x) { return mamba1(x, "mixer."); });
    if (type == "mamba2")
      return branch(h, "norm", [&](const Row &x) { return mamba2(x, "mixer."); });
    if (type == "nemotron_h")
      return branch(h, "norm", [&](const Row &x) {
        if (find("mixer.A_log"))
          return mamba2(x, "mixer.");
        if (find("mixer.q_proj.weight"))
          return attention(x, "mixer.");
        if (find("mixer.gate.weight"))
          return nemotronExperts(x);
        return plainMlp(x, "mixer.");
      });
    if (type == "falcon_h1") {
      Row u = norm("input_layernorm", h);
      addTo(h, scaled(mamba2(scaled(u, number("ssm_in_multiplier", 1)), "mamba."),
                      number("ssm_out_multiplier", 1)));
      addTo(h, scaled(attention(scaled(u, number("attention_in_multiplier", 1)), "self_attn."),
                      number("attention_out_multiplier", 1)));
      return branch(h, "pre_ff_layernorm", [&](const Row &x) {
        Row gate = scaled(linear("feed_forward.gate_proj", x), config["mlp_multipliers"][0]);
        return scaled(
            linear("feed_forward.down_proj", times(linear("feed_forward.up_proj", x), gate, act())),
            config["mlp_multipliers"][1]);
      });
    }
    if (type == "lfm2" || type == "lfm2_moe") {
      branch(h, "operator_norm", [&](const Row &x) {
        return find("conv.conv.weight") ? shortConv(x) : attention(x, "self_attn.");
      });
      return branch(h, "ffn_norm", [&](const Row &x) {
        return find("feed_forward.gate.weight") ? lfm2Experts(x) : lfm2Mlp(x, "feed_forward.");
      });
    }
    if (type == "recurrent_gemma") {
      branch(h, "temporal_pre_norm", [&](const Row &x) {
        return find("temporal_block.conv_1d.weight") ? recurrent(x, "temporal_block.")
                                                     : attention(x, "temporal_block.");
      });
      return branch(h, "channel_pre_norm", [&](const Row &x) { return gatedMlp(x, "mlp_block."); });
    }
    if (type == "zamba2")
      return runZamba2(h);
    branch(h, "input_layernorm", [&](const Row &x) {
      return find("linear_attn.A_log")     ? deltaNet(x)
             : find("mamba.x_proj.weight") ? mamba1(x, "mamba.")
             : find("mamba.A_log")         ? mamba2(x, "mamba.")
                                           : attention(x, "self_attn.");
    });
    const char *second =
        find("pre_ff_layernorm.weight") ? "pre_ff_layernorm" : "post_attention_layernorm";
    branch(h, second, [&](const Row &x) {
      if (find("shared_mlp.input_linear.weight")) {
        Row both = linear("shared_mlp.input_linear", x);
        size_t f = both.size() / 2;
        Row y =
            linear("shared_mlp.output_linear", times(part(both, f, f), part(both, 0, f), act()));
        if (find("block_sparse_moe.router.layer.weight"))
          addTo(y, graniteExperts(x));
        return y;
      }
      if (find("mlp.gate.weight")) {
        Row y = gatedExperts(x, "mlp.", "gate", flag("norm_topk_prob", type == "qwen3_next"));
        if (find("mlp.shared_expert_gate.weight"))
          addTo(y, scaled(gatedMlp(x, "mlp.shared_expert."),
                          sigmoid(linear("mlp.shared_expert_gate", x)[0])));
        return y;
      }
      if (find("feed_forward.router.weight"))
        return gatedExperts(x, "feed_forward.", "router", false);
      return gatedMlp(x, find("mlp.gate_proj.weight") ? "mlp." : "feed_forward.");
    });
  }

  void runZamba2(Row &h) {
    if (!find("linear.weight"))
      return branch(h, "input_layernorm", [&](const Row &x) { return mamba2(x, "mamba."); });
    const std::string at = "shared_transformer.";
    Row both = h, x = h;
    both.insert(both.end(), embedded.begin(), embedded.end());
    Row y = norm(at + "pre_ff_layernorm",
                 attention(norm(at + "input_layernorm", both), at + "self_attn."));
    const std::string up = at + "feed_forward.gate_up_proj";
    Row inner = linear(up, y);
    addAdapter(inner, up, y);
    const size_t f = inner.size() / 2;
    y = linear(at + "feed_forward.down_proj", times(part(inner, f, f), part(inner, 0, f), act()));
    addTo(x, linear("linear", y));
    addTo(h, mamba2(norm("mamba_decoder.input_layernorm", x), "mamba_decoder.mamba."));
    ++uses;
  }
  /// That of this use of a shared block, if there is one.
  void addAdapter(Row &y, const std::string &name, const Row &x) const {
    const std::string list = name + "_adapter_list." + std::to_string(uses);
    if (find(list + ".0.weight"))
      addTo(y, linear(list + ".1", linear(list + ".0", x)));
  }

  Activation act() const {
    return activation(
        config.value(type == "recurrent_gemma" ? "hidden_activation" : "hidden_act", "silu"));
  }
  /// Of convolutions.
  Activation mixerAct() const {
    return type == "nemotron_h" ? activation(config.value("mamba_hidden_act", "silu"))
           : type == "zamba2"   ? silu
                                : act();
  }
  Row gatedMlp(const Row &x, const std::string &module) const {
    return linear(module + "down_proj",
                  times(linear(module + "up_proj", x), linear(module + "gate_proj", x), act()));
  }

  // ---- experts

  static Row softmax(Row x) {
    double largest = *std::max_element(x.begin(), x.end()), sum = 0;
    for (double &v : x)
      sum += v = std::exp(v - largest);
    return scaled(x, 1 / sum);
  }
  /// Indices of the `count` largest values.
  static std::vector<size_t> best(const Row &values, size_t count) {
    std::vector<size_t> order(values.size());
    for (size_t i = 0; i < order.size(); ++i)
      order[i] = i;
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return values[a] != values[b] ? values[a] > values[b] : a < b;
    });
    order.resize(count);
    return order;
  }
  Row gatedExperts(const Row &x, const std::string &at, const std::string &router,
                   bool normalize) const {
    Row p = softmax(linear(at + router, x)), y(x.size());
    std::vector<size_t> chosen = best(p, size("num_experts_per_tok"));
    double sum = 0;
    for (size_t e : chosen)
      sum += p[e];
    for (size_t e : chosen)
      addTo(y, scaled(find(at + "experts.down_proj")
                          ? joinedMlp(x, at + "experts.gate_up_proj", at + "experts.down_proj", e)
                          : gatedMlp(x, at + "experts." + std::to_string(e) + "."),
                      normalize ? p[e] / sum : p[e]));
    return y;
  }
  /// Of expert e of the tensors' first dimension; gate and up are halves of one matrix.
  Row joinedMlp(const Row &x, const std::string &input, const std::string &output, size_t e) const {
    auto slice = [&](const std::string &name) {
      const Tensor &all = *find(name);
      Tensor one;
      one.shape = {all.shape[1], all.shape[2]};
      auto count = all.shape[1] * all.shape[2];
      one.values.assign(all.values.begin() + int64_t(e) * count,
                        all.values.begin() + int64_t(e + 1) * count);
      return one;
    };
    Row both = multiply(slice(input), x);
    size_t f = both.size() / 2;
    return multiply(slice(output), times(part(both, f, f), part(both, 0, f), act()));
  }
  Row graniteExperts(const Row &x) const {
    const std::string at = "block_sparse_moe.";
    Row logits = linear(at + "router.layer", x), y(x.size()), of;
    std::vector<size_t> chosen = best(logits, size("num_experts_per_tok"));
    for (size_t e : chosen)
      of.push_back(logits[e]);
    of = softmax(of);
    for (size_t i = 0; i < chosen.size(); ++i)
      addTo(y,
            scaled(joinedMlp(x, at + "input_linear.weight", at + "output_linear.weight", chosen[i]),
                   of[i]));
    return y;
  }
  Row plainMlp(const Row &x, const std::string &at) const {
    Row y = linear(at + "up_proj", x);
    for (double &v : y)
      v = activation(config.value("mlp_hidden_act", "relu2"))(v);
    return linear(at + "down_proj", y);
  }
  Row lfm2Mlp(const Row &x, const std::string &at) const {
    return linear(at + "w2", times(linear(at + "w3", x), linear(at + "w1", x), silu));
  }
  Row lfm2Experts(const Row &x) const {
    const std::string at = "feed_forward.", joined = at + "experts.gate_up_proj";
    Row s = linear(at + "gate", x), y(x.size());
    for (double &v : s)
      v = sigmoid(v);
    Row choice = s;
    if (flag("use_expert_bias", true))
      addTo(choice, vector(at + "expert_bias"));
    std::vector<size_t> chosen = best(choice, size("num_experts_per_tok"));
    double sum = 1e-6;
    for (size_t e : chosen)
      sum += s[e];
    for (size_t e : chosen)
      addTo(y, scaled(find(joined) ? joinedMlp(x, joined, at + "experts.down_proj", e)
                                   : lfm2Mlp(x, at + "experts." + std::to_string(e) + "."),
                      s[e] / (flag("norm_topk_prob", true) ? sum : 1) *
                          number("routed_scaling_factor", 1)));
    return y;
  }
  Row nemotronExperts(const Row &x) const {
    Row s = linear("mixer.gate", x);
    for (double &v : s)
      v = sigmoid(v);
    Row choice = s;
    addTo(choice, vector("mixer.gate.e_score_correction_bias"));
    size_t groups = size("n_group"), each = s.size() / groups;
    if (groups > 1) {
      Row sums;
      for (size_t g = 0; g < groups; ++g) {
        Row mine = part(choice, g * each, each);
        std::sort(mine.rbegin(), mine.rend());
        sums.push_back(mine[0] + mine[1]);
      }
      std::vector<size_t> kept = best(sums, size("topk_group"));
      for (size_t e = 0; e < s.size(); ++e)
        if (std::find(kept.begin(), kept.end(), e / each) == kept.end())
          choice[e] = -INFINITY;
    }
    std::vector<size_t> chosen = best(choice, size("num_experts_per_tok"));
    double sum = 1e-20;
    for (size_t e : chosen)
      sum += s[e];
    bool isLatent = find("mixer.fc1_latent_proj.weight");
    Row inner = isLatent ? linear("mixer.fc1_latent_proj", x) : x, y(inner.size());
    for (size_t e : chosen)
      addTo(y, scaled(plainMlp(inner, "mixer.experts." + std::to_string(e) + "."),
                      s[e] / (flag("norm_topk_prob", true) ? sum : 1) *
                          number("routed_scaling_factor", 1)));
    if (isLatent)
      y = linear("mixer.fc2_latent_proj", y);
    addTo(y, plainMlp(x, "mixer.shared_experts."));
    return y;
  }

  /// y_t = bias + Σ_j w[j] · x_{t-K+1+j}.
  Row convolve(const Row &x, const std::string &module, bool activate) {
    const Tensor &w = *find(module + ".weight");
    size_t width = w.shape[2];
    std::vector<Row> &inputs = memory[layer].inputs;
    inputs.push_back(x);
    Row y = find(module + ".bias") ? vector(module + ".bias") : Row(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      for (size_t j = 0; j < width && j < inputs.size(); ++j)
        y[i] += w.values[i * width + width - 1 - j] * inputs[inputs.size() - 1 - j][i];
      y[i] = activate ? mixerAct()(y[i]) : y[i];
    }
    return y;
  }

  Row mamba1(const Row &u, const std::string &at) {
    Row both = linear(at + "in_proj", u);
    size_t inner = both.size() / 2, n = find(at + "A_log")->shape[1];
    Row x = convolve(part(both, 0, inner), at + "conv1d", true), z = part(both, inner, inner);
    Row p = linear(at + "x_proj", x);
    size_t rank = p.size() - 2 * n;
    Row dt = part(p, 0, rank), B = part(p, rank, n), C = part(p, rank + n, n);
    if (find(at + "dt_layernorm.weight")) {
      dt = rmsNorm(dt, vector(at + "dt_layernorm.weight"), eps());
      B = rmsNorm(B, vector(at + "b_layernorm.weight"), eps());
      C = rmsNorm(C, vector(at + "c_layernorm.weight"), eps());
    } else if (type == "falcon_mamba") {
      for (Row *row : {&dt, &B, &C})
        *row = rmsNorm(*row, {}, number("mixer_rms_eps", 1e-6));
    }
    dt = linear(at + "dt_proj", dt);
    Row A = vector(at + "A_log"), D = vector(at + "D"), y(inner), &s = memory[layer].state;
    s.resize(inner * n);
    for (size_t i = 0; i < inner; ++i) {
      double delta = softplus(dt[i]);
      for (size_t j = 0; j < n; ++j) {
        double &state = s[i * n + j];
        state = std::exp(-delta * std::exp(A[i * n + j])) * state + delta * x[i] * B[j];
        y[i] += state * C[j];
      }
      y[i] = (y[i] + D[i] * x[i]) * silu(z[i]);
    }
    return linear(at + "out_proj", y);
  }

  Row mamba2(const Row &u, const std::string &at) {
    auto pick = [&](std::initializer_list<const char *> names) {
      for (const char *name : names)
        if (config.contains(name))
          return size(name);
      return size_t(0);
    };
    size_t H = pick({"mamba_n_heads", "mamba_num_heads", "num_heads", "n_mamba_heads"}),
           P = pick({"mamba_d_head", "mamba_head_dim", "mamba_headdim", "head_dim"}),
           G = pick({"mamba_n_groups", "n_groups", "mamba_ngroups"}),
           N = pick({"mamba_d_state", "ssm_state_size", "state_size"}), inner = H * P;
    Row p = linear(at + "in_proj", u);
    if (config.contains("ssm_multipliers")) {
      size_t ends[] = {inner, 2 * inner, 2 * inner + G * N, 2 * inner + 2 * G * N, p.size()};
      for (size_t i = 0, r = 0; i < p.size(); ++i) {
        r += i == ends[r];
        p[i] *= config["ssm_multipliers"][r].get<double>();
      }
    }
    Row z = part(p, 0, inner), dt = part(p, p.size() - H, H);
    Row xbc = convolve(part(p, inner, inner + 2 * G * N), at + "conv1d", true);
    Row A = vector(at + "A_log"), D = vector(at + "D"), bias = vector(at + "dt_bias"), y(inner);
    Row &s = memory[layer].state;
    s.resize(H * P * N);
    for (size_t h = 0; h < H; ++h) {
      double delta = softplus(dt[h] + bias[h]);
      if (config.contains("time_step_limit") && config["time_step_limit"][1].is_number())
        delta = std::clamp(delta, config["time_step_limit"][0].get<double>(),
                           config["time_step_limit"][1].get<double>());
      const double decay = std::exp(-delta * std::exp(A[h]));
      const double *B = &xbc[inner + h / (H / G) * N], *C = B + G * N;
      for (size_t i = h * P; i < (h + 1) * P; ++i) {
        for (size_t j = 0; j < N; ++j) {
          double &state = s[i * N + j];
          state = decay * state + delta * xbc[i] * B[j];
          y[i] += state * C[j];
        }
        y[i] += D[h] * xbc[i];
      }
    }
    if (!find(at + "norm.weight"))
      return linear(at + "out_proj", times(y, z, silu));
    bool first = type == "falcon_h1" && flag("mamba_norm_before_gate", true),
         grouped = type == "falcon_h1" || type == "nemotron_h" || type == "zamba2";
    const double eps = type == "zamba2" ? 1e-5 : this->eps();
    Row w = vector(at + "norm.weight");
    y = first ? times(rmsNorm(y, w, eps, G), z, silu)
              : rmsNorm(times(y, z, silu), w, eps, grouped ? G : 1);
    return linear(at + "out_proj", y);
  }

  Row shortConv(const Row &u) {
    Row p = linear("conv.in_proj", u);
    size_t d = p.size() / 3;
    Row x = convolve(times(part(p, 0, d), part(p, 2 * d, d)), "conv.conv", false);
    return linear("conv.out_proj", times(part(p, d, d), x));
  }

  Row deltaNet(const Row &u) {
    size_t Hk = size("linear_num_key_heads"), Hv = size("linear_num_value_heads"),
           Dk = size("linear_key_head_dim"), Dv = size("linear_value_head_dim");
    Row qkv, z, a, b;
    if (find("linear_attn.in_proj_qkvz.weight")) { // head by head
      Row all = linear("linear_attn.in_proj_qkvz", u), both = linear("linear_attn.in_proj_ba", u);
      size_t share = Hv / Hk, values = share * Dv, head = 2 * Dk + 2 * values;
      auto gather = [&](Row &to, const Row &from, size_t stride, size_t first, size_t count) {
        for (size_t h = 0; h < Hk; ++h)
          to.insert(to.end(), from.begin() + int64_t(h * stride + first),
                    from.begin() + int64_t(h * stride + first + count));
      };
      gather(qkv, all, head, 0, Dk);
      gather(qkv, all, head, Dk, Dk);
      gather(qkv, all, head, 2 * Dk, values);
      gather(z, all, head, 2 * Dk + values, values);
      gather(b, both, 2 * share, 0, share);
      gather(a, both, 2 * share, share, share);
    } else {
      qkv = linear("linear_attn.in_proj_qkv", u);
      z = linear("linear_attn.in_proj_z", u);
      b = linear("linear_attn.in_proj_b", u);
      a = linear("linear_attn.in_proj_a", u);
    }
    Row x = convolve(qkv, "linear_attn.conv1d", true);
    Row A = vector("linear_attn.A_log"), bias = vector("linear_attn.dt_bias"), o(Hv * Dv),
        &s = memory[layer].state;
    s.resize(Hv * Dk * Dv);
    auto unit = [&](size_t begin) {
      Row v = part(x, begin, Dk);
      double sum = 1e-6;
      for (double e : v)
        sum += e * e;
      return scaled(v, 1 / std::sqrt(sum));
    };
    for (size_t h = 0; h < Hv; ++h) {
      size_t source = h / (Hv / Hk);
      Row q = scaled(unit(source * Dk), 1 / std::sqrt(double(Dk))), k = unit((Hk + source) * Dk);
      const double *v = &x[2 * Hk * Dk + h * Dv];
      double decay = std::exp(-std::exp(A[h]) * softplus(a[h] + bias[h])), beta = sigmoid(b[h]);
      double *S = &s[h * Dk * Dv];
      for (size_t j = 0; j < Dv; ++j) {
        double seen = 0;
        for (size_t i = 0; i < Dk; ++i)
          seen += (S[i * Dv + j] *= decay) * k[i];
        for (size_t i = 0; i < Dk; ++i) {
          S[i * Dv + j] += k[i] * beta * (v[j] - seen);
          o[h * Dv + j] += S[i * Dv + j] * q[i];
        }
      }
    }
    return linear("linear_attn.out_proj",
                  times(rmsNorm(o, vector("linear_attn.norm.weight"), eps(), Hv), z, silu));
  }

  /// The real-gated linear recurrent unit between a convolution and a gate.
  Row recurrent(const Row &u, const std::string &at) {
    Row y = linear(at + "linear_y", u),
        x = convolve(linear(at + "linear_x", u), at + "conv_1d", false);
    const Row lambda = vector(at + "rg_lru.recurrent_param");
    // Of one block for each head, whose first dimension is that of x.
    auto gate = [&](const std::string &name) {
      const Tensor &w = *find(at + "rg_lru." + name + "_weight");
      Row result = vector(at + "rg_lru." + name + "_bias");
      size_t b = w.shape[1];
      for (size_t i = 0; i < x.size(); ++i)
        for (size_t j = 0; j < b; ++j)
          result[i / b * b + j] += x[i] * w.values[i * b + j];
      return result;
    };
    Row input = gate("input_gate"), forget = gate("recurrent_gate"), &h = memory[layer].state;
    h.resize(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      double a = std::exp(-8 * sigmoid(forget[i]) * softplus(lambda[i]));
      h[i] = a * h[i] + (position ? std::sqrt(1 - a * a) : 1) * sigmoid(input[i]) * x[i];
    }
    return linear(at + "linear_out", times(h, y, act()));
  }

  // ---- attention

  double rotated() const {
    const Json rope = config.value("rope_parameters", Json::object());
    if (type == "bamba")
      return config.value("partial_rotary_factor", 0.5);
    return rope.value("partial_rotary_factor", 1.0);
  }
  bool rotates() const {
    return type != "jamba" && type != "nemotron_h" && (type != "zamba2" || flag("use_mem_rope")) &&
           (type != "granitemoehybrid" || config["position_embedding_type"] == "rope");
  }
  Row rotate(Row x, size_t width) const {
    const Json rope = config.value("rope_parameters", Json::object());
    double theta = rope.value("rope_theta", 10000.0), magnitude = 1;
    bool yarn = rope.value("rope_type", "default") == "yarn";
    size_t R = size_t(double(width) * rotated());
    for (size_t i = 0; i < R / 2; ++i) {
      double f = std::pow(theta, -2.0 * double(i) / double(R));
      if (yarn) {
        double factor = rope["factor"], original = rope["original_max_position_embeddings"];
        auto c = [&](double r) {
          return double(R) * std::log(original / (2 * M_PI * r)) / (2 * std::log(theta));
        };
        double low = std::max(std::floor(c(32)), 0.0),
               high = std::min(std::ceil(c(1)), double(R - 1));
        double ramp = std::clamp((double(i) - low) / (high == low ? 0.001 : high - low), 0.0, 1.0);
        f = f / factor * ramp + f * (1 - ramp);
        magnitude = 0.1 * std::log(factor) + 1;
      }
      double cosine = magnitude * std::cos(double(position) * f),
             sine = magnitude * std::sin(double(position) * f);
      for (size_t at = 0; at < x.size(); at += width) {
        double u = x[at + i], v = x[at + i + R / 2];
        x[at + i] = u * cosine - v * sine;
        x[at + i + R / 2] = v * cosine + u * sine;
      }
    }
    return x;
  }

  Row attention(const Row &u, const std::string &at) {
    size_t H = size("num_attention_heads"), G = size("num_key_value_heads");
    Row q = linear(at + "q_proj", u), k = linear(at + "k_proj", u), v = linear(at + "v_proj", u);
    size_t width = k.size() / G;
    if (type == "zamba2") {
      addAdapter(q, at + "linear_q", u);
      addAdapter(k, at + "linear_k", u);
      addAdapter(v, at + "linear_v", u);
    }
    Row gate;
    if (q.size() == 2 * H * width) {
      Row both = q;
      q.clear();
      for (size_t h = 0; h < H; ++h) {
        Row mine = part(both, 2 * h * width, width), other = part(both, (2 * h + 1) * width, width);
        q.insert(q.end(), mine.begin(), mine.end());
        gate.insert(gate.end(), other.begin(), other.end());
      }
    }
    for (const char *name : {"norm", "layernorm"})
      if (find(at + "q_" + name + ".weight")) {
        q = rmsNorm(q, vector(at + "q_" + name + ".weight"), eps(), H, centre());
        k = rmsNorm(k, vector(at + "k_" + name + ".weight"), eps(), G, centre());
      }
    k = scaled(k, number("key_multiplier", 1));
    if (rotates()) {
      q = rotate(q, width);
      k = rotate(k, width);
    }
    Memory &m = memory[layer];
    m.keys.push_back(k);
    m.values.push_back(v);
    double scale =
        number("attention_multiplier", 1 / std::sqrt(double(width) / (type == "zamba2" ? 2 : 1)));
    size_t window = type == "mistral"           ? size_t(number("sliding_window", 1e9))
                    : type == "recurrent_gemma" ? size("attention_window_size")
                                                : m.keys.size(),
           first = m.keys.size() - std::min(window, m.keys.size());
    Row y(H * width);
    for (size_t h = 0; h < H; ++h) {
      size_t shared = h / (H / G) * width;
      Row p;
      for (size_t t = first; t < m.keys.size(); ++t) {
        double dot = 0;
        for (size_t i = 0; i < width; ++i)
          dot += q[h * width + i] * m.keys[t][shared + i];
        p.push_back(scale * dot);
      }
      double largest = *std::max_element(p.begin(), p.end()), sum = 0;
      for (double &e : p)
        sum += e = std::exp(e - largest);
      for (size_t t = 0; t < p.size(); ++t)
        for (size_t i = 0; i < width; ++i)
          y[h * width + i] += p[t] / sum * m.values[first + t][shared + i];
    }
    if (!gate.empty())
      y = times(y, gate, sigmoid);
    return linear(at + (find(at + "o_proj.weight") ? "o_proj" : "out_proj"), y);
  }

  const FamilyCheckpoint &c;
  const Json config;
  const std::string type;
  std::vector<Memory> memory;
  std::string prefix;
  size_t layer = 0, position = 0, uses = 0; // of shared blocks
  Row embedded;
};

} // namespace

std::vector<double> familyLogits(const FamilyCheckpoint &checkpoint,
                                 const std::vector<int32_t> &tokens) {
  FamilyModel model(checkpoint);
  std::vector<double> logits;
  for (int32_t token : tokens) {
    Row row = model.step(token);
    logits.insert(logits.end(), row.begin(), row.end());
  }
  return logits;
}

} // namespace m1test
