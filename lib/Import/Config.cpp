// config.json, mamba_config.json and generation_config.json: what all families have in common, and
// a judgement of the fields that none has read.
#include "Family.h"
#include "Quantisation.h"
#include "m1c/InputFile.h"

#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace m1c;

namespace {

/// Fields that change what a decoder computes, and the value at which they do not ("" when every
/// value does), for families that do not read them.
struct Neutral {
  StringLiteral field, value;
};
constexpr Neutral neutralFields[] = {
    {"partial_rotary_factor", "1"},
    {"rotary_pct", "1"},
    {"rotary_percent", "1"},
    {"rotary_dim", ""},
    {"rotary_emb_dim", ""},
    {"rotary_emb_base", ""},
    {"rotary_base", ""},
    {"rope_ratio", "1"},
    {"rope_local_base_freq", ""},
    {"use_rope", "true"},
    {"use_mem_rope", "false"},
    {"attn_rotary_emb", ""},
    {"rope_interleaved", "false"},
    {"rope_parameters", ""},
    {"rope_scaling", ""},
    {"mrope_section", ""},
    {"no_rope_layers", ""},
    {"no_rope_layer_interval", ""},
    {"position_embedding_type", ""},
    {"attn_logit_softcapping", ""},
    {"final_logit_softcapping", ""},
    {"logit_softcapping", ""},
    {"logits_soft_cap", ""},
    {"attention_logit_cap", ""},
    {"softmax_scale", ""},
    {"attention_scale", ""},
    {"attn_temperature_tuning", "false"},
    {"attention_sinks", "false"},
    {"use_attention_sinks", "false"},
    {"query_pre_attn_scalar", ""},
    {"attention_multiplier", ""},
    {"embedding_multiplier", "1"},
    {"residual_multiplier", "1"},
    {"logits_scaling", "1"},
    {"logit_scale", "1"},
    {"logits_multiplier", "1"},
    {"output_multiplier", "1"},
    {"output_multiplier_scale", "1"},
    {"embedding_multiplier_scale", "1"},
    {"embedding_scale", "1"},
    {"scale_embedding", "false"},
    {"scale_emb", "1"},
    {"scale_depth", ""},
    {"dim_model_base", ""},
    {"residual_scale", "1"},
    {"lm_head_multiplier", "1"},
    {"key_multiplier", "1"},
    {"attention_in_multiplier", "1"},
    {"attention_out_multiplier", "1"},
    {"ssm_in_multiplier", "1"},
    {"ssm_out_multiplier", "1"},
    {"ssm_multipliers", ""},
    {"mlp_multipliers", ""},
    {"attn_output_gate", "false"},
    {"qk_layernorm", "false"},
    {"use_qk_norm", "false"},
    {"qk_norm", "false"},
    {"use_post_norm", "false"},
    {"sandwich_norm", "false"},
    {"norm_before_gate", "false"},
    {"mamba_rms_norm", "true"},
    {"mamba_norm_before_gate", "false"},
    {"rms_norm", "true"},
    {"clip_qkv", ""},
    {"swiglu_limit", ""},
    {"use_mrope", "false"},
    {"parallel_attn", "false"},
    {"use_parallel_residual", "false"},
    {"alibi", "false"},
    {"use_alibi", "false"},
    {"attention_chunk_size", ""},
    {"attention_bias", "false"},
    {"mlp_bias", "false"},
    {"use_bias", "false"},
    {"bias", "false"},
    {"qkv_bias", "false"},
    {"use_qkv_bias", "false"},
    {"add_qkv_bias", "false"},
    {"add_bias_linear", "false"},
    {"attention_out_bias", "false"},
    {"lm_head_bias", "false"},
    {"projectors_bias", "false"},
    {"hidden_activation", "\"silu\""},
    {"activation_function", "\"silu\""},
    {"time_step_limit", ""},
    {"mamba_dt_limit", ""},
    {"sliding_window", ""},
    {"sliding_window_size", ""},
    {"sliding_window_pattern", ""},
    {"attention_window", ""},
    {"local_attention", "false"},
    {"use_sliding_window", "false"},
    {"layer_types", ""},
    {"hybrid_override_pattern", ""},
    {"hybrid_layer_ids", ""},
    {"attn_layer_indices", ""},
    {"attention_layers_idx", ""},
    {"attn_layer_idx", ""},
    {"attn_layer_period", ""},
    {"full_attn_idxs", ""},
    {"full_attention_interval", ""},
    {"num_experts", "0"},
    {"moe_num_experts", "0"},
    {"num_local_experts", "0"},
    {"n_routed_experts", "0"},
    {"n_shared_experts", "0"},
    {"num_shared_experts", "0"},
    {"n_group", "1"},
    {"topk_group", "1"},
    {"moe_latent_size", ""},
    {"routed_scaling_factor", "1"},
    {"use_expert_bias", "false"},
    {"scoring_func", "\"softmax\""},
    {"v_head_dim", ""},
    {"q_lora_rank", ""},
    {"kv_lora_rank", ""},
};

/// Fields without meaning for inference.
bool isHarmlessField(StringRef name) {
  return name.starts_with("_") || name.ends_with("_dropout") || name.ends_with("_token_id") ||
         name.ends_with("_init_scale") ||
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
             .Cases({"output_attentions", "output_hidden_states", "output_router_logits",
                     "output_scores"},
                    true)
             .Cases({"num_logits_to_keep", "z_loss_coefficient", "router_aux_loss_coef",
                     "rescale_prenorm_residual", "init_method", "max_sequence_length"},
                    true)
             .Default(false);
}

void judgeUnread(const Fields &config, EmitError emitWarning) {
  config.forEachUnread([&](StringRef name, const llvm::json::Value &value) {
    if (isHarmlessField(name))
      return;
    const auto *neutral =
        llvm::find_if(neutralFields, [&](const Neutral &entry) { return entry.field == name; });
    if (neutral == std::end(neutralFields)) {
      emitWarning() << config.getFile() << ": unknown field '" << name << "' is ignored";
      return;
    }
    if (Fields::text(value) == neutral->value)
      return;
    std::optional<double> number = value.getAsNumber();
    double harmless;
    if (number && !neutral->value.getAsDouble(harmless) && *number == harmless)
      return;
    config.error(name) << "value " << Fields::text(value)
                       << " changes the maths and is not supported";
  });
}

bool holdsMambaOfM1(const CheckpointData &data) {
  return llvm::any_of(data.getTensors(), [](const SourceTensor &tensor) {
    StringRef name = tensor.name;
    return name.ends_with(".mamba.dt_bias") || name.ends_with(".mamba.norm.weight") ||
           name.ends_with(".mamba.dt_proj.weight");
  });
}

/// End tokens and sampling of generation_config.json, where there is one.
LogicalResult readGeneration(StringRef directory, ModelConfig &out, EmitError emitError,
                             bool &bad) {
  SmallString<256> path(directory);
  llvm::sys::path::append(path, "generation_config.json");
  if (!isNamed(path))
    return success();
  FailureOr<llvm::json::Value> json = readJson(path, emitError);
  if (failed(json))
    return failure();
  Fields fields(path.str().str(), json->getAsObject(), emitError, bad);
  if (fields.has("eos_token_id") && out.family->assumesEnd)
    out.eosIds.clear();
  for (int64_t id : fields.integersOrOne("eos_token_id", out.vocabSize))
    if (!llvm::is_contained(out.eosIds, id))
      out.eosIds.push_back(id);
  auto upToOne = [&](StringRef name) {
    std::optional<double> value = fields.number(name, /*mayBeZero=*/true);
    if (value && *value > 1)
      fields.error(name) << "expected a number from 0 to 1, got " << *value;
    return value;
  };
  out.generation.temperature = fields.number("temperature", /*mayBeZero=*/true);
  if (!fields.flag("do_sample", true))
    out.generation.temperature = 0;
  // -1 is another word for all tokens.
  if (std::optional<int64_t> k = fields.integer("top_k", -1))
    out.generation.topK = std::max<int64_t>(*k, 0);
  out.generation.topP = upToOne("top_p");
  out.generation.minP = upToOne("min_p");
  out.generation.repetitionPenalty = fields.number("repetition_penalty");
  return success();
}

} // namespace

namespace {

/// config.json and mamba_config.json, or what stands for them.
struct ConfigFiles {
  std::string path, mambaPath;
  const llvm::json::Object *config, *mamba; // no mamba_config.json: null
};

FailureOr<ModelConfig> readFiles(const ConfigFiles &files, const CheckpointData &data,
                                 EmitError emitError, EmitError emitWarning) {
  bool bad = false;
  ModelConfig out;
  Fields whole(files.path, files.config, emitError, bad);
  if (!whole.has("model_type") && whole.has("d_model") && whole.has("n_layer")) {
    whole.error("model_type") << "missing: this is the authors' own configuration of Mamba; "
                                 "convert the checkpoint with transformers first, or take the one "
                                 "whose name ends in -hf";
    return failure();
  }
  std::string modelType = whole.require("model_type", whole.string("model_type"));
  if (bad)
    return failure();
  std::shared_ptr<Family> family = createFamily(modelType);
  if (!family) {
    whole.error("model_type") << "expected " << knownModelTypes() << ", got " << modelType;
    return failure();
  }
  // M1's layers stand in a file of their own; config.json describes the transformer that it was
  // made from.
  if (files.mamba) {
    family = createM1Family();
  } else if (modelType == "llama" && holdsMambaOfM1(data)) {
    emitError() << files.mambaPath << ": missing, but the checkpoint holds Mamba layers";
    return failure();
  }
  out.architecture = modelType;
  out.family = family;

  // Models that also see or hear keep what concerns the language model in an object of its own.
  Fields text = whole.child("text_config");
  Fields mamba(files.mambaPath, files.mamba, emitError, bad);
  (void)readQuantisation(whole, text); // of the tensors; here it is checked where there are none
  const Fields language = (text ? text : whole).withDefaults(classDefaults(modelType));
  ConfigSource source{language, bool(text), mamba, data, emitError, emitWarning, out};
  family->read(source);
  for (const Fields &fields : {language, mamba})
    if (std::string sizes = fields.describeSizes(); !sizes.empty())
      family->sizes += (family->sizes.empty() ? "" : "; ") + sizes;
  family->assumesEnd = !language.mentions("eos_token_id");
  if (text) {
    bool tied = whole.flag("tie_word_embeddings", out.tied);
    if (!text.mentions("tie_word_embeddings"))
      out.tied = tied;
    else if (tied != out.tied)
      whole.error("tie_word_embeddings") << "differs from 'text_config.tie_word_embeddings'";
    int64_t ids = out.vocabSize ? out.vocabSize : Fields::largest + 1;
    if (whole.has("eos_token_id") && family->assumesEnd) {
      out.eosIds.clear();
      family->assumesEnd = false;
    }
    for (int64_t id : whole.integersOrOne("eos_token_id", ids))
      if (!llvm::is_contained(out.eosIds, id))
        out.eosIds.push_back(id);
    std::optional<int64_t> bos = whole.integer("bos_token_id", -1, ids - 1);
    if (out.bosId < 0 || !text.mentions("bos_token_id"))
      out.bosId = bos.value_or(out.bosId);
    text.ignore({"model_type"});
    whole.ignore({"vision_config", "dtype", "torch_dtype"});
    if (!bad)
      judgeUnread(text, emitWarning);
  }
  if (!bad) // else what was not read may only not have been reached
    judgeUnread(whole, emitWarning);
  if (bad)
    return failure();
  return out;
}

} // namespace

FailureOr<ModelConfig> m1c::readConfig(StringRef directory, const CheckpointData &data,
                                       EmitError emitError, EmitError emitWarning) {
  SmallString<256> configPath(directory), mambaPath(directory);
  llvm::sys::path::append(configPath, "config.json");
  llvm::sys::path::append(mambaPath, "mamba_config.json");
  FailureOr<llvm::json::Value> config = readJson(configPath, emitError), mamba = failure();
  if (failed(config))
    return failure();
  if (isNamed(mambaPath)) {
    mamba = readJson(mambaPath, emitError);
    if (failed(mamba))
      return failure();
  }
  FailureOr<ModelConfig> out =
      readFiles({configPath.str().str(), mambaPath.str().str(), config->getAsObject(),
                 succeeded(mamba) ? mamba->getAsObject() : nullptr},
                data, emitError, emitWarning);
  bool bad = false;
  if (failed(out) || failed(readGeneration(directory, *out, emitError, bad)) || bad)
    return failure();
  return out;
}

FailureOr<ModelConfig> m1c::readConfig(StringRef file, const llvm::json::Object &config,
                                       const CheckpointData &data, EmitError emitError,
                                       EmitError emitWarning) {
  return readFiles({file.str(), file.str(), &config, nullptr}, data, emitError, emitWarning);
}

FailureOr<std::string> m1c::readPlainConfig(StringRef directory, EmitError emitError) {
  SmallString<256> path(directory);
  llvm::sys::path::append(path, "config.json");
  FailureOr<llvm::json::Value> config = readJson(path, emitError);
  if (failed(config))
    return failure();
  llvm::json::Object *fields = config->getAsObject();
  for (llvm::json::Object *object : {fields, fields->getObject("text_config")})
    for (const char *name : {"quantization_config", "compression_config"})
      if (object)
        object->erase(name);
  std::string text;
  llvm::raw_string_ostream(text) << llvm::formatv("{0:2}\n", *config);
  return text;
}
