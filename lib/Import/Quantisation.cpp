#include "Quantisation.h"

#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace m1c;

namespace {

/// The words of a list of any length.
std::vector<std::string> wordsOf(const Fields &fields, StringRef name) {
  std::vector<std::string> words;
  const llvm::json::Value *value = fields.find(name);
  if (!value)
    return words;
  const llvm::json::Array *list = value->getAsArray();
  for (const llvm::json::Value &word : list ? *list : llvm::json::Array()) {
    if (std::optional<StringRef> text = word.getAsString())
      words.push_back(text->str());
  }
  if (!list || words.size() != list->size())
    fields.error(name) << "expected a list of strings, got " << Fields::text(*value);
  return words;
}

/// Refuses what nobody has read: it could change the maths.
void refuseUnread(const Fields &fields) {
  fields.forEachUnread([&](StringRef name, const llvm::json::Value &value) {
    fields.error(name) << "not understood, got " << Fields::text(value);
  });
}

/// A field whose only value that is understood is none at all.
void expectNothing(const Fields &fields, StringRef name, const Twine &why) {
  const llvm::json::Value *value = fields.find(name);
  const bool isEmpty = !value || (value->getAsObject() && value->getAsObject()->empty()) ||
                       (value->getAsArray() && value->getAsArray()->empty()) ||
                       value->getAsBoolean() == std::optional<bool>(false);
  if (!isEmpty)
    fields.error(name) << "expected null, got " << Fields::text(*value) << why.str();
}

class QuantisationReader {
public:
  explicit QuantisationReader(const Fields &fields) : fields(fields) {}

  Quantisation read() {
    out.methodName = fields.require("quant_method", fields.string("quant_method"));
    if (out.methodName == "compressed-tensors")
      readCompressedTensors();
    else if (out.methodName == "fp8" || out.methodName == "fbgemm_fp8")
      readFp8();
    else if (out.methodName == "gptq")
      readGptq();
    else if (out.methodName == "awq")
      readAwq();
    else if (!fields.hasFailed())
      fields.error("quant_method") << "expected compressed-tensors, fp8, fbgemm_fp8, gptq or awq, "
                                      "got "
                                   << out.methodName;
    if (!fields.hasFailed())
      refuseUnread(fields);
    return out;
  }

private:
  void addRuntime(const Twine &text) {
    out.runtime += (out.runtime.empty() ? "" : " and ") + text.str();
  }

  void readCompressedTensors() {
    out.method = QuantMethod::compressedTensors;
    // "frozen" is how the library's first versions wrote compressed weights; what is compressed the
    // tensors say.
    fields.expectWord("quantization_status", {"compressed", "frozen"});
    Fields sparsity = fields.child("sparsity_config");
    if (std::optional<std::string> format = sparsity.string("format"); format && *format != "dense")
      sparsity.error("format") << "expected dense, got " << *format;
    Fields transform = fields.child("transform_config");
    expectNothing(transform, "config_groups", "; rotations of activations are not supported");
    // Names of modules that are not quantised, which their tensors say, too, and notes.
    fields.ignore({"ignore", "global_compression_ratio", "version", "run_compressed", "provider"});
    const std::string format = fields.string("format").value_or("");
    if (fields.has("kv_cache_scheme"))
      addRuntime("caches");
    Fields groups = fields.child("config_groups");
    int count = 0;
    groups.forEach([&](StringRef name, const llvm::json::Value &) {
      count += groups.child(name).has("weights");
    });
    bool quantisesActivations = false;
    groups.forEach([&](StringRef name, const llvm::json::Value &) {
      readGroup(groups.child(name), format, count > 1, quantisesActivations);
    });
    if (quantisesActivations)
      addRuntime("activations");
    if (out.schemes.empty() && out.runtime.empty() && !fields.hasFailed())
      fields.error("config_groups") << "expected at least one group with 'weights'";
  }

  /// Patterns are compiled where there are several groups: nothing depends on those of one alone.
  static std::vector<QuantTarget> readTargets(const Fields &group, bool several) {
    std::vector<QuantTarget> targets;
    for (const std::string &text : wordsOf(group, "targets")) {
      QuantTarget &target = targets.emplace_back(QuantTarget{text, nullptr});
      std::string problem;
      if (StringRef pattern = text; several && pattern.consume_front("re:"))
        target.pattern = m1rt::Regex::compile(pattern, problem);
      if (!problem.empty())
        group.error("targets") << problem;
    }
    return targets;
  }

  void readGroup(const Fields &group, std::string format, bool several,
                 bool &quantisesActivations) {
    QuantScheme scheme;
    scheme.targets = readTargets(group, several);
    format = group.string("format").value_or(format);
    expectNothing(group, "output_activations", "; quantised results are not supported");
    if (Fields inputs = group.child("input_activations"))
      quantisesActivations = true;
    Fields weights = group.child("weights");
    if (fields.hasFailed() || !weights)
      return;
    static constexpr StringLiteral formats[] = {"pack-quantized", "int-quantized",
                                                "float-quantized", "naive-quantized"};
    if (!llvm::is_contained(formats, format)) {
      (group.has("format") ? group : fields).error("format")
          << "expected pack-quantized, int-quantized, float-quantized or naive-quantized, got "
          << (format.empty() ? "none" : format);
      return;
    }
    const std::string type = weights.string("type").value_or("int");
    scheme.isFloat = type == "float";
    weights.expectWord("type", {"int", "float"});
    scheme.bits = weights.require("num_bits", weights.integer("num_bits", 1, 64));
    if (fields.hasFailed())
      return;
    if (scheme.bits != 8 && (scheme.bits != 4 || scheme.isFloat)) {
      weights.error("num_bits") << "expected " << (scheme.isFloat ? "8" : "4 or 8") << ", got "
                                << scheme.bits;
      return;
    }
    scheme.isPacked = format == "pack-quantized";
    if ((scheme.isFloat && format != "float-quantized" && format != "naive-quantized") ||
        (!scheme.isFloat && format == "float-quantized"))
      weights.error("type") << "does not fit format " << format << ", got " << type;
    scheme.isSymmetric = weights.flag("symmetric", true);
    if (scheme.isFloat && !scheme.isSymmetric)
      weights.error("symmetric") << "expected true for float weights, got false";
    weights.expectFlag("dynamic", false);
    const int64_t size = weights.integer("group_size", -1).value_or(0);
    const std::string strategy = weights.string("strategy")
                                     .value_or(size > 0   ? "group"
                                               : size < 0 ? "channel"
                                                          : "tensor");
    if (strategy == "group") {
      if (size <= 0 && !fields.hasFailed())
        weights.error("group_size") << "expected a positive number with strategy group, got "
                                    << (size ? std::to_string(size) : "none");
      scheme.groupSize = size;
    } else if (strategy == "block" && scheme.isFloat) {
      readBlock(weights, "block_structure", scheme);
    } else if (strategy == "tensor") {
      scheme.isPerTensor = true;
    } else if (strategy != "channel") {
      weights.error("strategy") << "expected tensor, channel, group"
                                << (scheme.isFloat ? " or block" : "") << ", got " << strategy;
    }
    if (size > 0 && strategy != "group" && !fields.hasFailed())
      weights.error("group_size") << "expected none with strategy " << strategy << ", got " << size;
    if (weights.has("block_structure") && strategy != "block" && !fields.hasFailed())
      weights.error("block_structure") << "expected null with strategy " << strategy << ", got "
                                       << Fields::text(*weights.find("block_structure"));
    // Columns in order, sorted for the quantisation alone, or in groups out of order.
    const llvm::json::Value *order = weights.find("actorder");
    if (order && order->getAsBoolean())
      scheme.hasIndex = *order->getAsBoolean();
    else if (std::optional<std::string> word = weights.string("actorder")) {
      weights.expectWord("actorder", {"group", "dynamic", "weight", "static"});
      scheme.hasIndex = *word == "group" || *word == "dynamic";
    }
    if (scheme.hasIndex && strategy != "group" && !fields.hasFailed())
      weights.error("actorder") << "expected strategy group, got " << strategy;
    weights.ignore({"block_structure", "observer", "observer_kwargs", "scale_dtype", "zp_dtype"});
    refuseUnread(weights);
    refuseUnread(group);
    out.schemes.push_back(scheme);
  }

  /// [128, 128], or, as the first versions of compressed-tensors wrote it, "128x128".
  void readBlock(const Fields &from, StringRef name, QuantScheme &scheme) {
    const llvm::json::Value *value = from.find(name);
    const llvm::json::Array *list = value ? value->getAsArray() : nullptr;
    std::optional<int64_t> rows, columns;
    if (list && list->size() == 2) {
      rows = wholeNumber((*list)[0]);
      columns = wholeNumber((*list)[1]);
    } else if (std::optional<StringRef> text = value ? value->getAsString() : std::nullopt) {
      auto [first, second] = text->split('x');
      int64_t sizes[2];
      if (!first.getAsInteger(10, sizes[0]) && !second.getAsInteger(10, sizes[1])) {
        rows = sizes[0];
        columns = sizes[1];
      }
    }
    if (!rows || !columns || *rows < 1 || *columns < 1 || *rows > Fields::largest ||
        *columns > Fields::largest) {
      from.error(name) << "expected a list of two sizes of a block, got "
                       << (value ? Fields::text(*value) : "none");
      return;
    }
    scheme.blockRows = *rows;
    scheme.blockColumns = *columns;
  }

  void readFp8() {
    out.method = out.methodName == "fp8" ? QuantMethod::fp8 : QuantMethod::fbgemmFp8;
    QuantScheme scheme;
    scheme.isFloat = true;
    fields.expectWord("fmt", {"e4m3", "float8_e4m3fn"});
    fields.expectWord("activation_scheme", {"dynamic", "static"});
    if (fields.has("weight_block_size"))
      readBlock(fields, "weight_block_size", scheme);
    scheme.mayBeBlocks = !fields.mentions("weight_block_size");
    // Scales that are powers of two are stored as numbers, too.
    fields.ignore({"modules_to_not_convert", "ignored_layers", "activation_scale_ub", "scale_fmt",
                   "dequantize"});
    if (fields.has("kv_cache_scheme"))
      addRuntime("caches");
    addRuntime("activations");
    out.schemes.push_back(scheme);
  }

  /// Whether a tool of this name is said to have quantised: "gptqmodel:2.0.0", or a list of such.
  bool isWrittenBy(StringRef tool) const {
    const llvm::json::Value *meta = fields.find("meta");
    const llvm::json::Object *object = meta ? meta->getAsObject() : nullptr;
    const llvm::json::Value *said = object ? object->get("quantizer") : nullptr;
    if (!said)
      return false;
    auto names = [&](const llvm::json::Value &value) {
      return value.getAsString() && value.getAsString()->split(':').first == tool;
    };
    const llvm::json::Array *all = said->getAsArray();
    return all ? llvm::any_of(*all, names) : names(*said);
  }

  void readGptq() {
    out.method = QuantMethod::gptq;
    QuantScheme scheme;
    scheme.isSymmetric = false; // zero points are stored even where all are equal
    scheme.bits = fields.require("bits", fields.integer("bits", 1, 64));
    if (scheme.bits != 4 && scheme.bits != 8 && !fields.hasFailed())
      fields.error("bits") << "expected 4 or 8, got " << scheme.bits;
    readGroupSize("group_size", scheme);
    scheme.hasIndex = fields.flag("desc_act") && scheme.groupSize > 0;
    const StringRef formatField = fields.has("checkpoint_format") ? "checkpoint_format" : "format";
    fields.expectWord("checkpoint_format", {"gptq", "gptq_v2"});
    fields.expectWord("format", {"gptq", "gptq_v2"});
    out.isSecondGptq = fields.string(formatField).value_or("") == "gptq_v2";
    out.isGptqModels = isWrittenBy("gptqmodel");
    fields.expectWord("pack_dtype", {"int32"});
    fields.expectFlag("is_marlin_format", false);
    // Patterns behind "-:" name modules that stay as they are, which their tensors say, too.
    const Fields dynamic = fields.child("dynamic");
    dynamic.forEach([&](StringRef name, const llvm::json::Value &value) {
      if (!name.starts_with("-:"))
        dynamic.error(name) << "settings for single modules are not supported, got "
                            << Fields::text(value);
    });
    expectNothing(fields, "rotation", "; rotations of activations are not supported");
    expectNothing(fields, "adapter", "; adapters are not supported");
    // Of the quantisation, which is over, and of how the library runs it.
    fields.ignore({"act_group_aware",
                   "sym",
                   "static_groups",
                   "true_sequential",
                   "damp_percent",
                   "damp_auto_increment",
                   "mse",
                   "model_name_or_path",
                   "model_file_base_name",
                   "lm_head",
                   "dataset",
                   "tokenizer",
                   "batch_size",
                   "block_name_to_quantize",
                   "modules_in_block_to_quantize",
                   "cache_block_outputs",
                   "module_name_preceding_first_block",
                   "exllama_config",
                   "use_exllama",
                   "disable_exllama",
                   "use_cuda_fp16",
                   "max_input_length",
                   "model_seqlen",
                   "pad_token_id",
                   "backend",
                   "uuid",
                   "quantizer",
                   "hyb_act",
                   "gptaq",
                   "offload_to_disk",
                   "offload_to_disk_path",
                   "pack_impl",
                   "v2",
                   "v2_alpha"});
    ignoreAutoRound();
    out.schemes.push_back(scheme);
  }

  void readAwq() {
    out.method = QuantMethod::awq;
    QuantScheme scheme;
    scheme.isSymmetric = false;
    StringRef bits = fields.has("w_bit") ? "w_bit" : "bits";
    scheme.bits = fields.require(bits, fields.integer(bits, 1, 64));
    if (scheme.bits != 4 && !fields.hasFailed())
      fields.error(bits) << "expected 4, got " << scheme.bits;
    fields.ignore({"bits", "w_bit"});
    readGroupSize(fields.has("q_group_size") ? "q_group_size" : "group_size", scheme);
    // False where AutoRound's weights are symmetric: zero points are stored and read there, too.
    fields.flag("zero_point");
    std::string version = fields.string("version").value_or("gemm");
    if (StringRef(version).lower() != "gemm")
      fields.error("version") << "expected gemm, got " << version;
    fields.expectWord("backend", {"autoawq"});
    fields.ignore({"modules_to_not_convert", "do_fuse", "fuse_max_seq_len", "modules_to_fuse",
                   "exllama_config", "group_size", "q_group_size", "sym"});
    ignoreAutoRound();
    out.schemes.push_back(scheme);
  }

  /// How AutoRound, which writes the forms of gptq and awq, too, has found the codes.
  void ignoreAutoRound() {
    fields.expectWord("data_type", {"int"});
    fields.ignore({"amp",
                   "autoround_version",
                   "batch_size",
                   "block_name_to_quantize",
                   "dataset",
                   "enable_minmax_tuning",
                   "enable_norm_bias_tuning",
                   "enable_quanted_input",
                   "gradient_accumulate_steps",
                   "iters",
                   "low_cpu_mem_usage",
                   "low_gpu_mem_usage",
                   "lr",
                   "minmax_lr",
                   "model_free",
                   "nsamples",
                   "provider",
                   "scale_dtype",
                   "seqlen",
                   "to_quant_block_names"});
  }

  /// -1: whole rows.
  void readGroupSize(StringRef name, QuantScheme &scheme) {
    int64_t size = fields.require(name, fields.integer(name, -1));
    if (size == 0 && !fields.hasFailed())
      fields.error(name) << "expected a positive number or -1, got 0";
    scheme.groupSize = std::max<int64_t>(size, 0);
  }

  const Fields &fields;
  Quantisation out{};
};

} // namespace

std::string QuantScheme::describe() const {
  std::string text = isFloat ? "float8" : "int" + std::to_string(bits);
  if (blockRows)
    text += " in blocks of " + std::to_string(blockRows) + "x" + std::to_string(blockColumns);
  else if (groupSize)
    text += " in groups of " + std::to_string(groupSize);
  else if (isPerTensor)
    text += " with one scale";
  else
    text += " with scales of rows";
  return text;
}

std::optional<Quantisation> m1c::readQuantisation(const Fields &config, const Fields &text) {
  std::optional<Quantisation> result;
  const llvm::json::Value *first = nullptr;
  for (const Fields *fields : {&config, &text})
    for (StringRef name : {"quantization_config", "compression_config"}) {
      const Fields found = fields->child(name);
      if (!found || config.hasFailed())
        continue;
      const llvm::json::Value *value = fields->find(name);
      if (!result) {
        result = QuantisationReader(found).read();
        first = value;
      } else if (*value != *first) {
        fields->error(name) << "expected one description of how weights are quantised, got two "
                               "that differ";
      }
    }
  return config.hasFailed() ? std::nullopt : result;
}
