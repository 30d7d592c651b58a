// config.json and mamba_config.json. Fields that change the maths are honoured or refused by name;
// absent fields take the defaults of transformers (llama, qwen2) or of M1's layers.
#include "Json.h"
#include "m1c/Checkpoint.h"

#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/Path.h"

#include <array>
#include <cmath>

using namespace mlir;
using namespace mlir::m1;
using namespace m1c;

using EmitError = llvm::function_ref<InFlightDiagnostic()>;

namespace {

// Far beyond any model: products of sizes fit in 64 bits, and what kernels keep on the stack stays
// small.
constexpr int64_t mostLayers = 10000, largestSize = int64_t(1) << 24, mostHeads = int64_t(1) << 16,
                  largestHead = int64_t(1) << 12, largestHeads = int64_t(1) << 18, widestConv = 256;

/// An object of a JSON file. Readers report what is wrong with a field under its full name and
/// remember that it failed.
class Fields {
public:
  Fields(std::string file, std::string prefix, const llvm::json::Object *object,
         EmitError emitError, bool &failed)
      : file(std::move(file)), prefix(std::move(prefix)), object(object), emitError(emitError),
        failed(failed) {}

  /// A field that is null counts as absent.
  const llvm::json::Value *find(StringRef name) const {
    const llvm::json::Value *value = object ? object->get(name) : nullptr;
    return value && value->kind() != llvm::json::Value::Null ? value : nullptr;
  }
  bool has(StringRef name) const { return find(name); }
  explicit operator bool() const { return object; }
  /// Whether any reader of the same file or another has reported an error.
  bool hasFailed() const { return failed; }

  InFlightDiagnostic error(StringRef name) const {
    failed = true;
    return emitError() << file << ": field '" << prefix << name << "': ";
  }

  /// The largest size: the batch arrays are int32.
  static constexpr int64_t largest = INT32_MAX;

  std::optional<int64_t> integer(StringRef name, int64_t minimum = 1,
                                 int64_t maximum = largest) const {
    const llvm::json::Value *value = find(name);
    if (!value)
      return std::nullopt;
    std::optional<int64_t> number = value->getAsInteger();
    if (!number || *number < minimum || *number > maximum) {
      error(name) << "expected an integer from " << minimum << " to " << maximum << ", got "
                  << text(*value);
      return std::nullopt;
    }
    return number;
  }

  std::optional<double> number(StringRef name, bool mayBeZero = false) const {
    const llvm::json::Value *value = find(name);
    if (!value)
      return std::nullopt;
    std::optional<double> number = value->getAsNumber();
    if (!number || !std::isfinite(*number) || *number < 0 || (*number == 0 && !mayBeZero)) {
      error(name) << "expected a " << (mayBeZero ? "non-negative" : "positive") << " number, got "
                  << text(*value);
      return std::nullopt;
    }
    return number;
  }

  bool flag(StringRef name, bool absent) const {
    const llvm::json::Value *value = find(name);
    if (!value)
      return absent;
    if (std::optional<bool> flag = value->getAsBoolean())
      return *flag;
    error(name) << "expected true or false, got " << text(*value);
    return absent;
  }

  std::optional<std::string> string(StringRef name) const {
    const llvm::json::Value *value = find(name);
    if (!value)
      return std::nullopt;
    if (std::optional<StringRef> word = value->getAsString())
      return word->str();
    error(name) << "expected a string, got " << text(*value);
    return std::nullopt;
  }

  /// Integers of a list, or of a single number.
  SmallVector<int64_t> integers(StringRef name) const {
    SmallVector<int64_t> result;
    const llvm::json::Value *value = find(name);
    if (!value)
      return result;
    llvm::json::Array one{*value};
    for (const llvm::json::Value &element : value->getAsArray() ? *value->getAsArray() : one) {
      std::optional<int64_t> number = element.getAsInteger();
      if (!number || *number < 0 || *number > largest) {
        error(name) << "expected integers from 0 to " << largest << ", got " << text(*value);
        return {};
      }
      result.push_back(*number);
    }
    return result;
  }

  Fields child(StringRef name) const {
    const llvm::json::Value *value = find(name);
    if (value && !value->getAsObject())
      error(name) << "expected an object, got " << text(*value);
    return Fields(file, prefix + name.str() + ".", value ? value->getAsObject() : nullptr,
                  emitError, failed);
  }

  /// For a field that must be there.
  template <typename T> T require(StringRef name, const std::optional<T> &value) const {
    if (!value && !has(name))
      error(name) << "missing";
    return value.value_or(T());
  }

  template <typename Callback> void forEach(Callback callback) const {
    if (object)
      for (const auto &[key, value] : *object)
        if (value.kind() != llvm::json::Value::Null)
          callback(StringRef(key), value);
  }

  static std::string text(const llvm::json::Value &value) {
    std::string result;
    llvm::raw_string_ostream stream(result);
    stream << value;
    return result;
  }

  const std::string &getFile() const { return file; }

private:
  std::string file, prefix;
  const llvm::json::Object *object;
  EmitError emitError;
  bool &failed;
};

FailureOr<llvm::json::Value> readJson(StringRef path, EmitError emitError) {
  auto buffer = llvm::MemoryBuffer::getFile(path);
  if (!buffer) {
    emitError() << path << ": " << buffer.getError().message();
    return failure();
  }
  llvm::Expected<llvm::json::Value> value = parseJson((*buffer)->getBuffer());
  if (!value) {
    emitError() << path << ": " << llvm::toString(value.takeError());
    return failure();
  }
  if (!value->getAsObject()) {
    emitError() << path << ": expected an object";
    return failure();
  }
  return std::move(*value);
}

/// Fields of other architectures that change what a decoder computes, and the value at which they
/// do not ("" when every value does).
struct Neutral {
  StringLiteral field, value;
};
constexpr Neutral neutralFields[] = {
    {"partial_rotary_factor", "1"},
    {"rotary_pct", "1"},
    {"rotary_dim", ""},
    {"rope_interleaved", "false"},
    {"mrope_section", ""},
    {"no_rope_layers", ""},
    {"attn_logit_softcapping", ""},
    {"final_logit_softcapping", ""},
    {"query_pre_attn_scalar", ""},
    {"attention_multiplier", ""},
    {"embedding_multiplier", "1"},
    {"residual_multiplier", "1"},
    {"logits_scaling", "1"},
    {"logit_scale", "1"},
    {"qk_layernorm", "false"},
    {"use_qk_norm", "false"},
    {"qk_norm", "false"},
    {"clip_qkv", ""},
    {"use_mrope", "false"},
    {"parallel_attn", "false"},
    {"alibi", "false"},
    {"use_alibi", "false"},
    {"attention_chunk_size", ""},
    {"quantization_config", ""},
    {"compression_config", ""},
    {"num_experts", "0"},
    {"num_local_experts", "0"},
    {"n_routed_experts", "0"},
    {"v_head_dim", ""},
    {"q_lora_rank", ""},
    {"kv_lora_rank", ""},
};

void refuseOtherArchitectures(const Fields &config) {
  for (const Neutral &entry : neutralFields) {
    const llvm::json::Value *value = config.find(entry.field);
    if (!value || Fields::text(*value) == entry.value)
      continue;
    std::optional<double> number = value->getAsNumber();
    double neutral;
    if (number && !entry.value.getAsDouble(neutral) && *number == neutral)
      continue;
    config.error(entry.field) << "value " << Fields::text(*value)
                              << " changes the maths and is not supported";
  }
}

/// Fields that config.json may hold besides those that are read or refused, without meaning for
/// inference.
bool isHarmlessField(StringRef name) {
  return name.starts_with("_") || name.starts_with("output_") || name.ends_with("_dropout") ||
         name.ends_with("_token_id") ||
         llvm::StringSwitch<bool>(name)
             .Cases({"architectures", "initializer_range", "pretraining_tp", "transformers_version",
                     "use_cache"},
                    true)
             .Cases({"max_window_layers", "auto_map", "return_dict", "torchscript", "use_bfloat16",
                     "task_specific_params"},
                    true)
             .Cases({"is_llama_config", "id2label", "label2id", "problem_type", "tokenizer_class"},
                    true)
             .Cases({"name_or_path", "is_decoder", "is_encoder_decoder", "chunk_size_feed_forward"},
                    true)
             .Default(false);
}

void warnAboutUnknownFields(const Fields &config, EmitError emitWarning) {
  config.forEach([&](StringRef name, const llvm::json::Value &) {
    bool read =
        llvm::StringSwitch<bool>(name)
            .Cases({"model_type", "hidden_size", "intermediate_size", "num_hidden_layers",
                    "vocab_size"},
                   true)
            .Cases({"num_attention_heads", "num_key_value_heads", "head_dim", "rms_norm_eps"}, true)
            .Cases(
                {"max_position_embeddings", "tie_word_embeddings", "bos_token_id", "eos_token_id"},
                true)
            .Cases({"attention_bias", "mlp_bias", "hidden_act", "dtype", "torch_dtype"}, true)
            .Cases({"rope_theta", "rope_scaling", "rope_parameters"}, true)
            .Cases({"use_sliding_window", "sliding_window", "layer_types"}, true)
            .Default(false);
    bool judged =
        llvm::any_of(neutralFields, [&](const Neutral &entry) { return entry.field == name; });
    if (!read && !judged && !isHarmlessField(name))
      emitWarning() << config.getFile() << ": unknown field '" << name << "' is ignored";
  });
}

void readActivation(const Fields &fields) {
  std::optional<std::string> act = fields.string("hidden_act");
  if (act && *act != "silu" && *act != "swish")
    fields.error("hidden_act") << "expected silu, got " << *act;
}

void readTypes(const Fields &config, ModelConfig &out) {
  StringRef name = config.has("dtype") ? "dtype" : "torch_dtype";
  std::optional<std::string> type = config.string(name);
  if (!type)
    return;
  StringRef word = *type;
  word.consume_front("torch.");
  out.storedType = llvm::StringSwitch<std::optional<StoredType>>(word)
                       .Case("float32", StoredType::f32)
                       .Case("bfloat16", StoredType::bf16)
                       .Case("float16", StoredType::f16)
                       .Default(std::nullopt);
  if (!out.storedType)
    config.error(name) << "expected float32, bfloat16 or float16, got " << *type;
}

/// Generation 1: rope_theta and rope_scaling at top level; generation 2: rope_parameters holds
/// both.
void readRotary(const Fields &config, ModelConfig &out) {
  Fields parameters = config.child("rope_parameters");
  Fields scaling = parameters ? parameters : config.child("rope_scaling");
  if (parameters)
    refuseOtherArchitectures(parameters);
  scaling.forEach([&](StringRef name, const llvm::json::Value &value) {
    if (value.getAsObject())
      scaling.error(name) << "expected one set of rotary parameters for all layers, got "
                          << Fields::text(value);
  });
  // 10000: the default of transformers.
  out.ropeTheta = (parameters && parameters.has("rope_theta") ? parameters : config)
                      .number("rope_theta")
                      .value_or(10000.0);
  // M1's attention module has no scaling, whatever the base transformer's config says.
  if (!scaling || out.isM1())
    return;
  StringRef key = scaling.has("rope_type") ? "rope_type" : "type";
  std::string type = scaling.string(key).value_or("default");
  if (type == "default")
    return;
  if (type == "linear") {
    out.ropeScaling = RotaryScaling::Linear;
    out.ropeFactor = scaling.require("factor", scaling.number("factor"));
  } else if (type == "llama3") {
    out.ropeScaling = RotaryScaling::Llama3;
    out.ropeFactor = scaling.require("factor", scaling.number("factor"));
    out.ropeLow = scaling.require("low_freq_factor", scaling.number("low_freq_factor"));
    out.ropeHigh = scaling.require("high_freq_factor", scaling.number("high_freq_factor"));
    out.ropeOriginal = scaling.require("original_max_position_embeddings",
                                       scaling.number("original_max_position_embeddings"));
    if (out.ropeHigh <= out.ropeLow)
      scaling.error("high_freq_factor")
          << "expected more than low_freq_factor, got " << out.ropeHigh << " and " << out.ropeLow;
  } else {
    scaling.error(key) << "expected default, linear or llama3, got " << type;
  }
}

void refuseSlidingWindow(const Fields &config, StringRef modelType) {
  // Qwen2 states a window that it uses only with use_sliding_window.
  bool used = config.flag("use_sliding_window", modelType != "qwen2");
  if (used && config.has("sliding_window"))
    config.error("sliding_window") << "attention over a window is not supported";
  else if (used && config.has("use_sliding_window"))
    config.error("use_sliding_window") << "attention over a window is not supported";
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

void readTransformer(const Fields &config, StringRef modelType, ModelConfig &out) {
  auto size = [&](StringRef name, int64_t maximum = largestSize) {
    return config.require(name, config.integer(name, 1, maximum));
  };
  out.hiddenSize = size("hidden_size");
  out.intermediateSize = size("intermediate_size");
  out.layers = size("num_hidden_layers", mostLayers);
  out.vocabSize = size("vocab_size");
  out.heads = size("num_attention_heads", mostHeads);
  out.kvHeads = config.integer("num_key_value_heads", 1, mostHeads).value_or(out.heads);
  // 1e-6, 2048 and 32768: the defaults of transformers.
  out.rmsNormEps = config.number("rms_norm_eps", /*mayBeZero=*/true).value_or(1e-6);
  out.maxPositions =
      config.integer("max_position_embeddings").value_or(modelType == "qwen2" ? 32768 : 2048);
  out.tied = config.flag("tie_word_embeddings", false);
  out.bosId = config.integer("bos_token_id", 0).value_or(-1);
  out.eosIds = config.integers("eos_token_id");
  if (std::optional<int64_t> dim = config.integer("head_dim", 1, largestHead))
    out.headDim = *dim;
  else if (out.heads && out.hiddenSize % out.heads)
    config.error("num_attention_heads")
        << "expected a divisor of hidden_size " << out.hiddenSize << ", got " << out.heads;
  else if (out.heads)
    out.headDim = out.hiddenSize / out.heads;
  if (out.kvHeads && out.heads % out.kvHeads)
    config.error("num_key_value_heads")
        << "expected a divisor of num_attention_heads " << out.heads << ", got " << out.kvHeads;
  if (out.headDim % 2)
    config.error("head_dim") << "expected an even number, which rotary embeddings need, got "
                             << out.headDim;
  if (out.heads * out.headDim > largestHeads)
    config.error("num_attention_heads")
        << "expected at most " << largestHeads << " values in all heads, got " << out.heads
        << " heads of " << out.headDim;
  if (modelType == "qwen2") {
    out.attentionBias = config.flag("attention_bias", true);
  } else {
    out.attentionBias = out.outputBias = config.flag("attention_bias", false);
    out.mlpBias = config.flag("mlp_bias", false);
  }
  refuseSlidingWindow(config, modelType);
}

/// Both files state some sizes; where both do, they must agree.
template <typename T>
void expectEqual(const Fields &mamba, StringRef name, std::optional<T> value, const Fields &config,
                 StringRef configName, T expected) {
  if (value && config.has(configName) && *value != expected)
    mamba.error(name) << "expected " << expected << " as '" << configName << "' of "
                      << config.getFile() << ", got " << *value;
}

/// Arguments of the Mamba layers that only matter for training or for how they are computed.
bool isHarmlessArgument(StringRef name) {
  return llvm::StringSwitch<bool>(name)
      .Cases(
          {"dt_min", "dt_max", "dt_init", "dt_scale", "dt_init_floor", "A_init_range", "conv_init"},
          true)
      .Cases({"use_fast_path", "use_mem_eff_path", "chunk_size", "layer_idx", "device", "dtype"},
             true)
      .Cases({"process_group", "sequence_parallel"}, true)
      .Default(false);
}

bool isReadArgument(StringRef name) {
  return llvm::StringSwitch<bool>(name)
      .Cases({"layer", "d_model", "expand", "d_inner", "d_xb", "d_state", "d_conv", "dt_rank",
              "conv_bias"},
             true)
      .Cases({"repeat_kv_before_conv", "ngroups", "headdim"}, true)
      .Default(false);
}

/// Without weights to look at: Mamba-2 is configured with ngroups, a head size or its default state
/// size 128; Mamba-1 has none of them.
bool looksLikeMamba2(const Fields &ssm, const Fields &mamba) {
  if (std::optional<std::string> layer = ssm.string("layer"))
    return *layer == "Mamba2";
  return llvm::any_of(std::array{&ssm, &mamba}, [](const Fields *fields) {
    return fields->has("ngroups") || fields->has("headdim") ||
           fields->integer("d_state") == std::optional<int64_t>(128);
  });
}

std::optional<bool> holdsMamba2(const CheckpointData &data) {
  for (const SourceTensor &tensor : data.getTensors()) {
    StringRef name = tensor.name;
    if (name.ends_with(".mamba.dt_bias") || name.ends_with(".mamba.norm.weight"))
      return true;
    if (name.ends_with(".mamba.dt_proj.weight"))
      return false;
  }
  return std::nullopt;
}

void warnAboutUnknownMambaFields(const Fields &mamba, EmitError emitWarning) {
  mamba.forEach([&](StringRef name, const llvm::json::Value &) {
    bool known =
        isReadArgument(name) || isHarmlessArgument(name) ||
        llvm::StringSwitch<bool>(name)
            .Cases({"ssm_cfg", "rms_norm_eps", "vocab_size", "intermediate_size", "hidden_act"},
                   true)
            .Cases({"n_layer", "attn_layers", "rms_norm", "residual_in_fp32", "fused_add_norm"},
                   true)
            .Default(false);
    if (!known)
      emitWarning() << mamba.getFile() << ": unknown field '" << name << "' is ignored";
  });
  if (!mamba.flag("rms_norm", true))
    mamba.error("rms_norm") << "expected true, got false";
}

void checkArguments(const Fields &ssm, bool mamba2) {
  ssm.forEach([&](StringRef name, const llvm::json::Value &value) {
    if (isHarmlessArgument(name) || isReadArgument(name))
      return;
    std::string text = Fields::text(value);
    // Arguments with one supported value.
    StringRef supported =
        llvm::StringSwitch<StringRef>(name)
            .Cases({"bias", "proj_x_bias", "proj_z_bias", "out_proj_bias"}, "false")
            .Cases({"D_has_hdim", "norm_before_gate", "learnable_init_states"}, "false")
            .Case("rmsnorm", "true")
            .Cases({"activation", "hidden_act"}, "\"silu\"")
            .Default("");
    if (supported.empty())
      ssm.error(name) << "unknown argument of the Mamba layers";
    else if (text != supported && !(name == "activation" && text == "\"swish\""))
      ssm.error(name) << "expected " << supported << ", got " << text;
  });
  if (!mamba2 && ssm.has("headdim"))
    ssm.error("headdim") << "not an argument of Mamba-1 layers";
}

void readMamba(const Fields &mamba, const Fields &config, const CheckpointData &data,
               ModelConfig &out, EmitError emitWarning) {
  Fields ssm = mamba.child("ssm_cfg");
  bool mamba2 = holdsMamba2(data).value_or(looksLikeMamba2(ssm, mamba));
  out.kind = mamba2 ? ModelConfig::Kind::m1Mamba2 : ModelConfig::Kind::m1Mamba1;
  StringRef layer = mamba2 ? "Mamba2" : "Mamba1";
  if (std::optional<std::string> stated = ssm.string("layer"); stated && *stated != layer)
    ssm.error("layer") << "expected " << layer << " as the rest of the checkpoint says, got "
                       << *stated;
  checkArguments(ssm, mamba2);
  warnAboutUnknownMambaFields(mamba, emitWarning);
  readActivation(mamba);

  expectEqual<int64_t>(mamba, "d_model", mamba.integer("d_model"), config, "hidden_size",
                       out.hiddenSize);
  expectEqual<int64_t>(ssm, "d_model", ssm.integer("d_model"), config, "hidden_size",
                       out.hiddenSize);
  expectEqual<int64_t>(mamba, "n_layer", mamba.integer("n_layer"), config, "num_hidden_layers",
                       out.layers);
  expectEqual<int64_t>(mamba, "intermediate_size", mamba.integer("intermediate_size"), config,
                       "intermediate_size", out.intermediateSize);
  expectEqual<int64_t>(mamba, "vocab_size", mamba.integer("vocab_size"), config, "vocab_size",
                       out.vocabSize);
  expectEqual<double>(mamba, "rms_norm_eps", mamba.number("rms_norm_eps", true), config,
                      "rms_norm_eps", out.rmsNormEps);
  if (std::optional<double> eps = mamba.number("rms_norm_eps", true))
    out.rmsNormEps = *eps;

  out.isAttention.assign(out.layers, false);
  if (!mamba.has("attn_layers"))
    mamba.error("attn_layers") << "missing";
  for (int64_t layer : mamba.integers("attn_layers")) {
    if (layer >= out.layers)
      mamba.error("attn_layers") << "expected layers below " << out.layers << ", got " << layer;
    else
      out.isAttention[layer] = true;
  }

  ssm.forEach([&](StringRef name, const llvm::json::Value &value) {
    const llvm::json::Value *other = isReadArgument(name) ? mamba.find(name) : nullptr;
    if (other && *other != value)
      ssm.error(name) << "expected " << Fields::text(*other) << " as '" << name
                      << "' of the file itself, got " << Fields::text(value);
  });
  auto at = [&](StringRef name) -> const Fields & { return ssm.has(name) ? ssm : mamba; };
  auto size = [&](StringRef name, int64_t maximum = largestSize) {
    return at(name).integer(name, 1, maximum);
  };
  out.dState = size("d_state", largestHead).value_or(mamba2 ? 128 : 16);
  out.dConv = size("d_conv", widestConv).value_or(4);
  out.dInner = size("d_inner").value_or(size("expand").value_or(2) * out.hiddenSize);
  if (out.dInner > largestSize)
    at("expand").error("expand") << "expected d_inner = expand * d_model of at most " << largestSize
                                 << ", got " << out.dInner;
  out.dXb = mamba.require("d_xb", size("d_xb"));
  out.convBias = at("conv_bias").flag("conv_bias", true);
  out.repeatBeforeConv = at("repeat_kv_before_conv").flag("repeat_kv_before_conv", true);
  const llvm::json::Value *rank = at("dt_rank").find("dt_rank");
  bool automatic = !rank || rank->getAsString() == std::optional<StringRef>("auto");
  out.dtRank = automatic ? (out.hiddenSize + 15) / 16 : size("dt_rank").value_or(0);
  // What follows compares these sizes.
  if (mamba.hasFailed())
    return;
  if (out.dInner % out.dState) {
    mamba.error("d_inner") << "expected a multiple of d_state " << out.dState << ", got "
                           << out.dInner;
    return;
  }
  if (out.dXb % out.dState) {
    mamba.error("d_xb") << "expected a multiple of d_state " << out.dState << ", got " << out.dXb;
    return;
  }
  if (out.dInner % out.dXb) {
    mamba.error("d_xb") << "expected a divisor of d_inner " << out.dInner << ", got " << out.dXb;
    return;
  }
  int64_t groups = out.dInner / out.dState;
  if (int64_t stated = size("ngroups").value_or(groups); stated != groups)
    at("ngroups").error("ngroups")
        << "expected d_inner / d_state = " << groups << ", got " << stated;
  if (int64_t stated = size("headdim").value_or(out.dState); mamba2 && stated != out.dState)
    at("headdim").error("headdim") << "expected d_state = " << out.dState << ", got " << stated;
}

} // namespace

StringRef ModelConfig::getArchitecture() const {
  switch (kind) {
  case Kind::llama:
    return "llama";
  case Kind::qwen2:
    return "qwen2";
  case Kind::m1Mamba1:
    return "m1-mamba1";
  case Kind::m1Mamba2:
    return "m1-mamba2";
  }
  llvm_unreachable("all kinds are named");
}

FailureOr<ModelConfig> m1c::readConfig(StringRef directory, const CheckpointData &data,
                                       EmitError emitError, EmitError emitWarning) {
  SmallString<256> configPath(directory), mambaPath(directory);
  llvm::sys::path::append(configPath, "config.json");
  llvm::sys::path::append(mambaPath, "mamba_config.json");
  FailureOr<llvm::json::Value> configJson = readJson(configPath, emitError);
  if (failed(configJson))
    return failure();

  bool bad = false;
  ModelConfig out;
  Fields config(configPath.str().str(), "", configJson->getAsObject(), emitError, bad);
  std::string modelType = config.require("model_type", config.string("model_type"));
  if (bad)
    return failure();
  if (modelType != "llama" && modelType != "qwen2") {
    config.error("model_type") << "expected llama or qwen2, got " << modelType;
    return failure();
  }
  out.kind = modelType == "llama" ? ModelConfig::Kind::llama : ModelConfig::Kind::qwen2;
  refuseOtherArchitectures(config);
  warnAboutUnknownFields(config, emitWarning);
  readActivation(config);
  readTypes(config, out);
  readTransformer(config, modelType, out);
  // What follows builds on these sizes.
  if (bad)
    return failure();
  out.isAttention.assign(out.layers, true);

  if (llvm::sys::fs::exists(mambaPath)) {
    FailureOr<llvm::json::Value> mambaJson = readJson(mambaPath, emitError);
    if (failed(mambaJson))
      return failure();
    Fields mamba(mambaPath.str().str(), "", mambaJson->getAsObject(), emitError, bad);
    readMamba(mamba, config, data, out, emitWarning);
    // M1's attention and MLP modules have no biases.
    out.attentionBias = out.outputBias = out.mlpBias = false;
  } else if (holdsMamba2(data)) {
    emitError() << mambaPath.str() << ": missing, but the checkpoint holds Mamba layers";
    bad = true;
  }
  readRotary(config, out);
  if (bad)
    return failure();
  return out;
}
