// Fields as llama.cpp's conversion writes them (conversion/, gguf-py's constants.py).
#include "GgufModel.h"

#include "llvm/ADT/StringMap.h"

#include <cmath>
#include <tuple>

using namespace mlir;
using namespace m1c;

namespace {

class ModelReader {
public:
  ModelReader(const GgufFile &file, EmitError emitError)
      : file(file), emitError(emitError), fields(file.path, &file.metadata, emitError, bad) {
    for (const GgufTensor &tensor : file.tensors)
      tensors[tensor.name] = &tensor;
  }

  FailureOr<GgufModel> read();

  // What an architecture's fields say beside the common ones.
  void readTransformer();
  void readExperts();
  void readLfm2();
  void readMamba1();
  void readMamba2();
  void readFalconH1();
  void readGraniteHybrid();
  void readNemotronH();
  void readJamba();
  void readQwen35();
  void readQwen3Next();

private:
  std::string key(StringRef name) const { return architecture + "." + name.str(); }

  bool holds(int64_t layer, StringRef part) const {
    return tensors.contains("blk." + std::to_string(layer) + "." + part.str());
  }
  bool holds(StringRef part) const {
    return llvm::any_of(llvm::seq(layers), [&](int64_t layer) { return holds(layer, part); });
  }

  void refuseOthers();
  void readCommon();
  void readIds(int64_t vocabulary);
  double eps() const {
    const std::string name = key("attention.layer_norm_rms_epsilon");
    return fields.require(name, fields.number(name, /*mayBeZero=*/true));
  }
  SmallVector<int64_t> perLayer(StringRef name, int64_t most);
  /// Returns for each layer whether it attends.
  SmallVector<int64_t> readAttention();
  void expectHeadDim(StringRef name);
  void readRotary();
  void refuseRotation();
  void readMamba2Sizes(StringRef heads, StringRef headDim, StringRef groups, StringRef states,
                       StringRef width, StringRef convBias);
  void readExpertSizes();
  void refuseExpertGroups();
  void readDeltaNets();
  /// "<name>_layer_period" and "…_offset" of the layers of which this holds.
  void writePeriod(const std::string &name, ArrayRef<bool> holds);
  void refuseUnread();

  const GgufFile &file;
  EmitError emitError;
  bool bad = false;
  Fields fields;
  std::string architecture;
  llvm::StringMap<const GgufTensor *> tensors;
  int64_t layers = 0, hidden = 0;
  GgufSizes sizes;
  GgufModel out;
};

/// What reads the other fields of an architecture.
struct ArchitectureReader {
  llvm::StringLiteral architecture;
  void (ModelReader::*read)();
};
constexpr ArchitectureReader architectureReaders[] = {
    {"falcon-h1", &ModelReader::readFalconH1},  {"granitehybrid", &ModelReader::readGraniteHybrid},
    {"jamba", &ModelReader::readJamba},         {"lfm2", &ModelReader::readLfm2},
    {"llama", &ModelReader::readTransformer},   {"mamba", &ModelReader::readMamba1},
    {"mamba2", &ModelReader::readMamba2},       {"nemotron_h", &ModelReader::readNemotronH},
    {"qwen2", &ModelReader::readTransformer},   {"qwen3", &ModelReader::readTransformer},
    {"qwen35", &ModelReader::readQwen35},       {"qwen3moe", &ModelReader::readExperts},
    {"qwen3next", &ModelReader::readQwen3Next},
};

std::string knownArchitectures() {
  std::string text;
  const ArrayRef<GgufArchitecture> architectures = ggufArchitectures();
  for (const GgufArchitecture &known : architectures)
    text += (text.empty()                      ? ""
             : &known == &architectures.back() ? " or "
                                               : ", ") +
            known.name.str();
  return text;
}

FailureOr<GgufModel> ModelReader::read() {
  refuseOthers(); // of which some say nothing more
  if (bad)
    return failure();
  architecture = fields.require("general.architecture", fields.string("general.architecture"));
  const GgufArchitecture *known = llvm::find_if(
      ggufArchitectures(), [&](const GgufArchitecture &one) { return one.name == architecture; });
  if (!bad && known == ggufArchitectures().end())
    fields.error("general.architecture")
        << "expected " << knownArchitectures() << ", got " << architecture;
  if (bad)
    return failure();
  out.config["model_type"] = known->modelType;
  readCommon();
  if (!bad)
    (this->*llvm::find_if(architectureReaders, [&](const ArchitectureReader &one) {
              return one.architecture == architecture;
            })->read)();
  if (!bad)
    refuseUnread();
  sizes.layers = layers;
  if (bad || failed(readGgufTensors(file, known->layout, sizes, emitError, out)))
    return failure();
  return std::move(out);
}

/// Files that hold part of a model, or something else.
void ModelReader::refuseOthers() {
  if (std::optional<int64_t> parts = fields.integer("split.count", 0); !bad && parts > 1)
    fields.error("split.count") << "the file is one of " << *parts
                                << " parts: join them with llama-gguf-split --merge";
  if (std::optional<std::string> type = fields.string("general.type");
      !bad && type && *type != "model")
    fields.error("general.type") << "expected model, got " << *type;
}

void ModelReader::readCommon() {
  llvm::json::Object &config = out.config;
  config["hidden_size"] = hidden = fields.size(key("embedding_length"));
  config["num_hidden_layers"] = layers = fields.size(key("block_count"), mostLayers);
  config["max_position_embeddings"] = fields.size(key("context_length"), Fields::largest);
  fields.expectFlag(key("attention.causal"), true);
  const GgufTensor *embeddings = tensors.lookup("token_embd.weight");
  if (!embeddings || embeddings->shape.size() != 2) {
    emitError() << file.path << ": tensor 'token_embd.weight': "
                << (embeddings ? "expected a matrix" : "missing");
    bad = true;
    return;
  }
  const int64_t vocabulary = embeddings->shape[0];
  if (std::optional<int64_t> stated = fields.integer(key("vocab_size"));
      stated && *stated != vocabulary)
    fields.error(key("vocab_size"))
        << "expected the rows of 'token_embd.weight' " << vocabulary << ", got " << *stated;
  config["vocab_size"] = vocabulary;
  config["tie_word_embeddings"] = !tensors.contains("output.weight");
  readIds(vocabulary);
  // Norms of mean and variance there are none; how the file was written.
  fields.ignore({key("attention.layer_norm_epsilon"), key("tensor_data_layout")});
}

/// Texts of tokens that end an answer or a turn. Files name one or two ends; llama.cpp, as the
/// models' own generation_config.json, knows the others (llama_vocab::impl::load, special_eog_ids).
constexpr llvm::StringLiteral endTexts[] = {"<|eot_id|>",
                                            "<|im_end|>",
                                            "<|end|>",
                                            "<|return|>",
                                            "<|call|>",
                                            "<|flush|>",
                                            "<|calls|>",
                                            "<end_of_turn>",
                                            "<|endoftext|>",
                                            "</s>",
                                            "<|eom_id|>",
                                            "<EOT>",
                                            "_<EOT>",
                                            "[EOT]",
                                            "[EOS]",
                                            "<|end_of_text|>",
                                            "<end_of_utterance>",
                                            "<eos>",
                                            "<turn|>",
                                            "<|tool_response>",
                                            "<\uff5cend\u2581of\u2581sentence\uff5c>"};

void ModelReader::readIds(int64_t vocabulary) {
  // No defaults of classes here: a file without an id has none.
  out.config["bos_token_id"] = out.config["eos_token_id"] = nullptr;
  if (std::optional<int64_t> bos = fields.integer("tokenizer.ggml.bos_token_id", 0, vocabulary - 1))
    out.config["bos_token_id"] = *bos;
  llvm::json::Array ends;
  auto add = [&](int64_t id) {
    if (!llvm::is_contained(ends, llvm::json::Value(id)))
      ends.push_back(id);
  };
  for (const char *name : {"eos", "eot", "eom"})
    if (std::optional<int64_t> id =
            fields.integer("tokenizer.ggml." + std::string(name) + "_token_id", 0, vocabulary - 1))
      add(*id);
  llvm::StringMap<int64_t> known;
  const llvm::json::Value *value = fields.find("tokenizer.ggml.tokens");
  if (const llvm::json::Array *tokens = value ? value->getAsArray() : nullptr)
    for (auto [id, token] : llvm::enumerate(*tokens))
      if (std::optional<StringRef> text = token.getAsString();
          text && int64_t(id) < vocabulary && llvm::is_contained(endTexts, *text))
        known.try_emplace(*text, int64_t(id));
  // Messages of gpt-oss end with <|end|>, its turns do not.
  if ((known.contains("<|return|>") && known.contains("<|call|>")) ||
      (known.contains("<|calls|>") && known.contains("<|flush|>")))
    known.erase("<|end|>");
  if (known.contains("<|tool_response>"))
    known.erase("</s>");
  for (StringRef text : endTexts)
    if (auto found = known.find(text); found != known.end())
      add(found->second);
  if (!ends.empty())
    out.config["eos_token_id"] = std::move(ends);
}

/// A number for all layers, or a list of one for each.
SmallVector<int64_t> ModelReader::perLayer(StringRef name, int64_t most) {
  SmallVector<int64_t> values = fields.integersOrOne(name, most + 1);
  if (values.size() == 1)
    values.assign(layers, values[0]);
  if (!fields.has(name))
    fields.error(name) << "missing";
  if (!bad && int64_t(values.size()) != layers)
    fields.error(name) << "expected a number, or " << layers << " of them, got " << values.size();
  values.resize(layers);
  return values;
}

SmallVector<int64_t> ModelReader::readAttention() {
  llvm::json::Object &config = out.config;
  auto largest = [](ArrayRef<int64_t> values) {
    return values.empty() ? 0 : *llvm::max_element(values);
  };
  const SmallVector<int64_t> all = perLayer(key("attention.head_count"), mostHeads);
  const int64_t heads = largest(all);
  SmallVector<int64_t> ofKeys = fields.has(key("attention.head_count_kv"))
                                    ? perLayer(key("attention.head_count_kv"), mostHeads)
                                    : all;
  const int64_t kvHeads = largest(ofKeys);
  for (auto [name, values, most] :
       {std::tuple("attention.head_count", ArrayRef(all), heads),
        std::tuple("attention.head_count_kv", ArrayRef(ofKeys), kvHeads)})
    if (!bad && (most < 1 ||
                 llvm::any_of(
                     values, [most = most](int64_t value) { return value != 0 && value != most; })))
      fields.error(key(name)) << "expected the same positive number in every layer that attends";
  if (!bad && !fields.has(key("attention.key_length")) && hidden % heads)
    fields.error(key("attention.head_count"))
        << "expected a divisor of embedding_length " << hidden << ", got " << heads;
  if (bad)
    return ofKeys;
  sizes.headDim =
      fields.integer(key("attention.key_length"), 1, largestHead).value_or(hidden / heads);
  if (sizes.headDim % 2)
    fields.error(key("attention.key_length")) << "expected an even number, got " << sizes.headDim;
  expectHeadDim("attention.value_length");
  config["num_attention_heads"] = heads;
  config["num_key_value_heads"] = kvHeads;
  config["head_dim"] = sizes.headDim;
  return ofKeys;
}

void ModelReader::expectHeadDim(StringRef name) {
  if (std::optional<int64_t> other = fields.integer(key(name));
      !bad && other && *other != sizes.headDim)
    fields.error(key(name)) << "expected the size of a head " << sizes.headDim << ", got "
                            << *other;
}

void ModelReader::readRotary() {
  expectHeadDim("rope.dimension_count");
  llvm::json::Object rotary{{"rope_theta", fields.number(key("rope.freq_base")).value_or(10000)}};
  std::optional<double> factor = fields.number(key("rope.scaling.factor"));
  if (std::optional<double> old = fields.number(key("rope.scale_linear")); old && !factor)
    factor = old;
  const std::string type =
      fields.string(key("rope.scaling.type")).value_or(factor && *factor != 1 ? "linear" : "none");
  std::optional<int64_t> original = fields.integer(key("rope.scaling.original_context_length"));
  fields.ignore({key("rope.scaling.finetuned")});
  rotary["rope_type"] = type == "none" ? "default" : type;
  if (type == "linear" || type == "yarn") {
    rotary["factor"] = fields.require(key("rope.scaling.factor"), factor);
    if (type == "yarn" && original)
      rotary["original_max_position_embeddings"] = *original;
  } else if (type != "none") {
    fields.error(key("rope.scaling.type")) << "expected none, linear or yarn, got " << type;
  }
  for (const char *name : {"beta_fast", "beta_slow"})
    if (std::optional<double> beta = fields.number(key("rope.scaling.yarn_" + std::string(name)));
        beta && type == "yarn")
      rotary[name] = *beta;
  for (const char *name : {"yarn_ext_factor", "yarn_attn_factor", "attn_factor"})
    if (std::optional<double> other = fields.number(key("rope.scaling." + std::string(name)));
        other && *other != 1)
      fields.error(key("rope.scaling." + std::string(name))) << "expected 1, got " << *other;
  out.config["rope_parameters"] = std::move(rotary);
}

/// Of hybrids, where this flag says whether there is one.
void ModelReader::refuseRotation() {
  fields.expectFlag(key("rope.scaling.finetuned"), false);
  fields.ignore({key("rope.freq_base"), key("rope.dimension_count")});
}

void ModelReader::readTransformer() {
  llvm::json::Object &config = out.config;
  (void)readAttention();
  readRotary();
  config["intermediate_size"] = fields.size(key("feed_forward_length"));
  config["rms_norm_eps"] = eps();
  if (architecture == "llama") {
    config["attention_bias"] = holds("attn_q.bias");
    config["mlp_bias"] = holds("ffn_up.bias");
  }
  if (architecture != "qwen3moe")
    for (const char *name : {"expert_count", "expert_used_count"})
      if (std::optional<int64_t> count = fields.integer(key(name), 0); count && *count > 0)
        fields.error(key(name)) << "expected no experts, got " << *count;
}

void ModelReader::readExperts() {
  readTransformer();
  readExpertSizes();
}

void ModelReader::readExpertSizes() {
  llvm::json::Object &config = out.config;
  config["num_experts"] = fields.size(key("expert_count"), mostExperts);
  config["num_experts_per_tok"] = fields.size(key("expert_used_count"), mostExperts);
  config["moe_intermediate_size"] = fields.size(key("expert_feed_forward_length"));
  config["norm_topk_prob"] = true; // as llama.cpp computes
  fields.expectFlag(key("expert_weights_norm"), true);
  refuseExpertGroups();
  llvm::json::Array plain;
  for (int64_t layer = 0; layer < layers; ++layer)
    if (!holds(layer, "ffn_gate_inp.weight"))
      plain.push_back(layer);
  config["mlp_only_layers"] = std::move(plain);
}

void ModelReader::refuseExpertGroups() {
  for (const char *name : {"expert_group_count", "expert_group_used_count"})
    if (std::optional<int64_t> groups = fields.integer(key(name), 0); groups && *groups > 1)
      fields.error(key(name)) << "expected experts in one group, got " << *groups;
}

void ModelReader::readLfm2() {
  llvm::json::Object &config = out.config;
  llvm::json::Array types;
  for (int64_t heads : readAttention())
    types.push_back(heads ? "full_attention" : "conv");
  config["layer_types"] = std::move(types);
  readRotary();
  config["intermediate_size"] = fields.size(key("feed_forward_length"));
  config["block_auto_adjust_ff_dim"] = false;
  config["norm_eps"] = eps();
  config["conv_L_cache"] = fields.size(key("shortconv.l_cache"), widestConv);
}

void ModelReader::readMamba1() {
  llvm::json::Object &config = out.config;
  config["layer_norm_epsilon"] = eps();
  config["intermediate_size"] = fields.size(key("ssm.inner_size"));
  config["state_size"] = fields.size(key("ssm.state_size"), largestHead);
  config["conv_kernel"] = fields.size(key("ssm.conv_kernel"), widestConv);
  config["time_step_rank"] = fields.size(key("ssm.time_step_rank"));
  config["use_conv_bias"] = holds("ssm_conv1d.bias");
  if (fields.flag(key("ssm.dt_b_c_rms"), false))
    config["model_type"] = "falcon_mamba";
  fields.ignore({key("feed_forward_length"), key("attention.head_count")}); // 0
}

void ModelReader::readMamba2Sizes(StringRef heads, StringRef headDim, StringRef groups,
                                  StringRef states, StringRef width, StringRef convBias) {
  llvm::json::Object &config = out.config;
  const int64_t inner = fields.size(key("ssm.inner_size")),
                count = fields.size(key("ssm.time_step_rank"), mostHeads);
  if (!bad && inner % count)
    fields.error(key("ssm.inner_size"))
        << "expected a multiple of the " << count << " heads, got " << inner;
  if (bad)
    return;
  config[heads] = count;
  config[headDim] = inner / count;
  config[groups] = fields.size(key("ssm.group_count"), mostHeads);
  config[states] = fields.size(key("ssm.state_size"), largestHead);
  config[width] = fields.size(key("ssm.conv_kernel"), widestConv);
  config[convBias] = holds("ssm_conv1d.bias");
}

void ModelReader::readMamba2() {
  out.config["layer_norm_epsilon"] = eps();
  readMamba2Sizes("num_heads", "head_dim", "n_groups", "state_size", "conv_kernel",
                  "use_conv_bias");
  // llama.cpp norms each group, transformers' Mamba-2 all channels at once.
  if (std::optional<int64_t> groups = fields.integer(key("ssm.group_count")); groups && *groups > 1)
    fields.error(key("ssm.group_count")) << "expected 1, got " << *groups;
  fields.ignore({key("feed_forward_length"), key("attention.head_count")}); // 0
}

/// The model's multipliers are factors of the weights.
void ModelReader::readFalconH1() {
  llvm::json::Object &config = out.config;
  (void)readAttention();
  readRotary();
  config["intermediate_size"] = fields.size(key("feed_forward_length"));
  config["rms_norm_eps"] = eps();
  config["mamba_d_ssm"] = fields.size(key("ssm.inner_size"), largestHeads);
  readMamba2Sizes("mamba_n_heads", "mamba_d_head", "mamba_n_groups", "mamba_d_state",
                  "mamba_d_conv", "mamba_conv_bias");
  config["mamba_rms_norm"] = holds("ssm_norm.weight");
  config["mamba_norm_before_gate"] = false;
}

void ModelReader::readGraniteHybrid() {
  llvm::json::Object &config = out.config;
  llvm::json::Array types;
  for (int64_t heads : readAttention())
    types.push_back(heads ? "attention" : "mamba");
  config["layer_types"] = std::move(types);
  config["rms_norm_eps"] = eps();
  // There is none in Granite 4; in Bamba there is, and in llama.cpp where nothing is said.
  if (!fields.has(key("rope.scaling.finetuned")))
    fields.error(key("rope.scaling.finetuned")) << "missing; expected false";
  refuseRotation();
  config["attention_multiplier"] =
      fields.number(key("attention.scale"))
          .value_or(1 / std::sqrt(double(std::max<int64_t>(sizes.headDim, 1))));
  config["embedding_multiplier"] = fields.number(key("embedding_scale")).value_or(1);
  config["residual_multiplier"] = fields.number(key("residual_scale")).value_or(1);
  config["logits_scaling"] = fields.number(key("logit_scale")).value_or(1);
  const int64_t size = fields.size(key("feed_forward_length"));
  config["intermediate_size"] = size;
  config["shared_intermediate_size"] =
      fields.integer(key("expert_shared_feed_forward_length"), 1, largestSize).value_or(size);
  const int64_t experts = fields.integer(key("expert_count"), 0, mostExperts).value_or(0);
  config["num_local_experts"] = experts;
  refuseExpertGroups();
  if (std::optional<int64_t> used = fields.integer(key("expert_used_count"), 0, mostExperts);
      used && experts)
    config["num_experts_per_tok"] = *used;
  readMamba2Sizes("mamba_n_heads", "mamba_d_head", "mamba_n_groups", "mamba_d_state",
                  "mamba_d_conv", "mamba_conv_bias");
}

void ModelReader::readNemotronH() {
  llvm::json::Object &config = out.config;
  const SmallVector<int64_t> heads = readAttention(),
                             sizes = perLayer(key("feed_forward_length"), largestSize);
  std::string pattern;
  int64_t size = 1;
  for (int64_t layer = 0; layer < layers; ++layer) {
    pattern += heads[layer] ? '*' : sizes[layer] ? '-' : 'M';
    size = std::max(size, sizes[layer]);
  }
  config["hybrid_override_pattern"] = pattern;
  config["intermediate_size"] = size;
  config["layer_norm_epsilon"] = eps();
  config["attention_bias"] = holds("attn_q.bias");
  config["mlp_bias"] = holds("ffn_up.bias");
  readMamba2Sizes("mamba_num_heads", "mamba_head_dim", "n_groups", "ssm_state_size", "conv_kernel",
                  "use_conv_bias");
  refuseRotation();
}

/// What qwen35 and qwen3next have in common.
void ModelReader::readDeltaNets() {
  llvm::json::Object &config = out.config;
  const int64_t further = fields.integer(key("nextn_predict_layers"), 0, mostLayers).value_or(0);
  if (!bad && further >= layers)
    fields.error(key("nextn_predict_layers"))
        << "expected less than block_count " << layers << ", got " << further;
  if (bad)
    return;
  config["num_hidden_layers"] = layers -= further;
  sizes.further = further;
  (void)readAttention();
  config["rms_norm_eps"] = eps();
  config["full_attention_interval"] =
      fields.integer(key("full_attention_interval"), 1, mostLayers).value_or(4);
  config["linear_conv_kernel_dim"] = fields.size(key("ssm.conv_kernel"), widestConv);
  config["linear_key_head_dim"] = sizes.keyDim = fields.size(key("ssm.state_size"), largestHead);
  config["linear_num_key_heads"] = sizes.keyHeads = fields.size(key("ssm.group_count"), mostHeads);
  config["linear_num_value_heads"] = sizes.valueHeads =
      fields.size(key("ssm.time_step_rank"), mostHeads);
  const int64_t inner = fields.size(key("ssm.inner_size"));
  for (auto [name, whole, part] :
       {std::tuple("ssm.time_step_rank", sizes.valueHeads, sizes.keyHeads),
        std::tuple("ssm.inner_size", inner, sizes.valueHeads)})
    if (!bad && whole % part)
      fields.error(key(name)) << "expected a multiple of " << part << ", got " << whole;
  if (bad)
    return;
  config["linear_value_head_dim"] = sizes.valueDim = inner / sizes.valueHeads;
  // The product with the size of a head is rounded down.
  const double turned = double(fields.size(key("rope.dimension_count"), largestHead)) + 0.5;
  config["rope_parameters"] =
      llvm::json::Object{{"rope_theta", fields.number(key("rope.freq_base")).value_or(10000)},
                         {"rope_type", "default"},
                         {"partial_rotary_factor", std::min(1.0, turned / double(sizes.headDim))}};
  fields.ignore({key("rope.dimension_sections")}); // the three positions of text are one
}

void ModelReader::readQwen35() {
  readDeltaNets();
  out.config["intermediate_size"] = fields.size(key("feed_forward_length"));
}

void ModelReader::readQwen3Next() {
  llvm::json::Object &config = out.config;
  readDeltaNets();
  readExpertSizes();
  config["shared_expert_intermediate_size"] = fields.size(key("expert_shared_feed_forward_length"));
  // Of layers without experts, which there are none.
  config["intermediate_size"] =
      std::max<int64_t>(1, fields.integer(key("feed_forward_length"), 0).value_or(1));
}

void ModelReader::writePeriod(const std::string &name, ArrayRef<bool> holds) {
  const auto *first = llvm::find(holds, true),
             *second = first == holds.end() ? first : std::find(first + 1, holds.end(), true);
  const int64_t offset = first - holds.begin(),
                period = second == holds.end() ? layers : second - first;
  for (auto [layer, is] : llvm::enumerate(holds))
    if (!bad && is != (int64_t(layer) % period == offset)) {
      bad = true;
      emitError() << file.path << ": expected one " << name << " layer in a period of layers, got "
                  << "another pattern at layer " << layer;
    }
  out.config[name + "_layer_period"] = period;
  out.config[name + "_layer_offset"] = offset;
}

void ModelReader::readJamba() {
  llvm::json::Object &config = out.config;
  SmallVector<bool> attends, chooses;
  for (auto [layer, heads] : llvm::enumerate(readAttention())) {
    attends.push_back(heads > 0);
    chooses.push_back(holds(int64_t(layer), "ffn_gate_inp.weight"));
  }
  writePeriod("attn", attends);
  const int64_t experts = fields.integer(key("expert_count"), 0, mostExperts).value_or(0);
  config["num_experts"] = std::max<int64_t>(experts, 1);
  if (std::optional<int64_t> used = fields.integer(key("expert_used_count"), 0, mostExperts);
      used && experts > 1) {
    config["num_experts_per_tok"] = *used;
    writePeriod("expert", chooses);
  }
  config["intermediate_size"] = fields.size(key("feed_forward_length"));
  config["rms_norm_eps"] = eps();
  const int64_t inner = fields.size(key("ssm.inner_size"));
  if (!bad && inner % hidden)
    fields.error(key("ssm.inner_size"))
        << "expected a multiple of embedding_length " << hidden << ", got " << inner;
  if (bad)
    return;
  config["mamba_expand"] = inner / hidden;
  config["mamba_d_state"] = fields.size(key("ssm.state_size"), largestHead);
  config["mamba_d_conv"] = fields.size(key("ssm.conv_kernel"), widestConv);
  config["mamba_dt_rank"] = fields.size(key("ssm.time_step_rank"));
  config["mamba_conv_bias"] = holds("ssm_conv1d.bias");
  refuseRotation();
}

void ModelReader::refuseUnread() {
  fields.forEachUnread([&](StringRef name, const llvm::json::Value &value) {
    if (name.starts_with(architecture + "."))
      fields.error(name) << "not understood, got " << Fields::text(value);
  });
}

} // namespace

FailureOr<GgufModel> m1c::readGgufModel(const GgufFile &file, EmitError emitError) {
  return ModelReader(file, emitError).read();
}

LogicalResult CheckpointData::openGguf(StringRef path, llvm::json::Object &config,
                                       EmitError emitError) {
  FailureOr<GgufFile> file = m1c::openGguf(path, emitError);
  if (failed(file))
    return failure();
  FailureOr<GgufModel> model = readGgufModel(*file, emitError);
  if (failed(model))
    return failure();
  config = std::move(model->config);
  quantisation = model->types;
  tensors = std::move(model->tensors);
  rotaryFactors = std::move(model->rotaryFactors);
  for (auto [i, tensor] : llvm::enumerate(tensors))
    if (!index.try_emplace(tensor.name, i).second)
      return emitError() << path << ": two tensors have the place of '" << tensor.name << "'";
  files.push_back({path.str(), std::move(file->buffer)});
  return success();
}
