// Builds the m1 module of a checkpoint, in unfused form.
#include "m1c/Import.h"

#include "Family.h"

using namespace mlir;
using namespace mlir::m1;
using namespace m1c;

namespace {

/// Buffers that old exports of transformers left in checkpoints; they are recomputed from the
/// configuration.
bool isDerived(StringRef name) { return name.ends_with(".rotary_emb.inv_freq"); }

LogicalResult refuseSurplus(const CheckpointData &data, const ModelConfig &config,
                            const llvm::StringSet<> &used, Location loc) {
  constexpr int shown = 5;
  int surplus = 0;
  for (const SourceTensor &tensor : data.getTensors()) {
    if (used.contains(tensor.name) || isDerived(tensor.name))
      continue;
    const Family &family = *config.family;
    if (family.isForeignTensor(tensor.name))
      continue;
    const SourceTensor *embedding = data.find(family.embeddings());
    if (tensor.name == family.head() && config.tied) {
      if (embedding && tensor.type == embedding->type && !tensor.code && !embedding->code &&
          tensor.data == embedding->data)
        continue;
      emitError(loc) << "tensor '" << tensor.name
                     << "' differs from the embeddings, but tie_word_embeddings is true";
      ++surplus;
    } else if (++surplus <= shown) {
      emitError(loc) << "surplus tensor '" << tensor.name << "' in "
                     << data.getFiles()[tensor.file].path;
    }
  }
  if (surplus > shown)
    emitError(loc) << surplus - shown << " further surplus tensors";
  return failure(surplus);
}

/// Whether this format of m1-quantize-weights makes such groups.
bool makes(StringRef format, const StoredGroups &groups) {
  const std::string name = "int" + std::to_string(groups.bits);
  return format == name + ":" + std::to_string(groups.group) ||
         (format == "int4" && groups.bits == 4 && groups.group == 32);
}

/// What becomes of the matrices of a checkpoint that is quantised.
std::string fateOf(const CheckpointData &data, const ImportOptions &options) {
  const bool isStored = options.quantize == "stored";
  bool any = false, keeps = false, anyLost = false;
  for (const SourceTensor &tensor : data.getTensors())
    if (std::optional<StoredGroups> groups =
            tensor.code ? tensor.code->storedGroups() : std::nullopt) {
      any = true;
      if (!isStored && !makes(options.quantize, *groups))
        continue;
      (options.isForCpus || groups->isPlain() ? keeps : anyLost) = true;
    }
  std::string text = "the weights";
  if (isStored && keeps)
    text = "int8 and int4 in groups stay as they are in linears, other weights";
  else if (!options.quantize.empty() && !isStored)
    text = "linears get weights of " + options.quantize +
           (keeps ? ", from such groups with their codes and scales" : "") + ", other weights";
  text += " are imported as ";
  text += options.widenMatrices || options.activationType.isF32()
              ? "f32, or bf16 where that holds their values"
              : "bf16";
  if (anyLost)
    text += "; groups of 16 columns and groups with minimums stay as they are only without GPUs "
            "among the targets";
  else if (any && options.quantize.empty())
    text += "; --quantize stored keeps int8 and int4 in groups as they are";
  return text;
}

LogicalResult checkOptions(const ImportOptions &options, const ModelConfig &config, Location loc) {
  // 2^31: positions are int32.
  if (options.maxPositions < 0 || options.maxPositions >= (int64_t(1) << 31))
    return emitError(loc) << "expected a number of positions from 1 to 2147483647, got "
                          << options.maxPositions;
  if (options.endToken >= config.vocabSize)
    return emitError(loc) << options.endTokenSource << ": the end token has id " << options.endToken
                          << ", vocab_size of config.json is " << config.vocabSize;
  if (options.tokenizerIds > config.vocabSize)
    return emitError(loc) << "the tokenizer has " << options.tokenizerIds
                          << " ids, more than vocab_size " << config.vocabSize
                          << " of config.json: it is another model's";
  if (options.maxPositions > config.maxPositions && !config.extends)
    return emitError(loc) << "the context is limited to " << config.maxPositions
                          << " positions by rotary scaling, whose angles depend on the length of "
                             "a sequence beyond, got "
                          << options.maxPositions;
  if (!isa<Float32Type, BFloat16Type>(options.activationType))
    return emitError(loc) << "expected activation type f32 or bf16, got " << options.activationType;
  return success();
}

} // namespace

FailureOr<OwningOpRef<ModuleOp>> m1c::importCheckpoint(MLIRContext &context, StringRef directory,
                                                       const ImportOptions &options,
                                                       CheckpointData &data,
                                                       GenerationDefaults *generation) {
  context.loadDialect<M1Dialect, func::FuncDialect>();
  Location loc = UnknownLoc::get(&context);
  auto error = [&] { return emitError(loc); };
  auto warning = [&] { return emitWarning(loc); };
  FailureOr<ModelConfig> config = failure();
  if (isGgufFile(directory)) {
    llvm::json::Object fields;
    if (failed(data.openGguf(directory, fields, error)))
      return failure();
    config = readConfig(directory, fields, data, error, warning);
  } else {
    if (failed(checkDirectory(directory, error)) ||
        (!options.dummy && failed(data.open(directory, error))))
      return failure();
    config = readConfig(directory, data, error, warning);
  }
  if (failed(config) || failed(checkOptions(options, *config, loc)))
    return failure();

  ModelBuilder builder(context, *config, options, data);
  OwningOpRef<ModuleOp> module = builder.build();
  if (builder.failed())
    return failure();
  if (!options.dummy && failed(refuseSurplus(data, *config, builder.getUsedTensors(), loc)))
    return failure();
  if (failed(verify(*module)))
    return failure();
  if (StringRef quantisation = data.getQuantisation(); !quantisation.empty())
    emitRemark(loc) << directory << (isGgufFile(directory) ? ": matrices: " : ": quantised by ")
                    << quantisation << "; " << fateOf(data, options);
  if (generation)
    *generation = config->generation;
  return module;
}
