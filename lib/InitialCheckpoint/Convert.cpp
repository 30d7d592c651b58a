// Plans the tensors of the M1 (each a row of pieces: parts of the source, or drawn), then streams
// them to one file.
#include "m1c/InitialCheckpoint.h"

#include "Draw.h"
#include "base/output_file.h"
#include "m1c/InputFile.h"
#include "m1c/Weights.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

#include <cmath>
#include <map>

using namespace mlir;
using namespace m1c;

using EmitError = llvm::function_ref<InFlightDiagnostic()>;

namespace {

/// d_state and d_conv of M1's Mamba-1 layers.
constexpr int64_t stateSize = 16, convWidth = 4;

constexpr StringLiteral copiedFiles[] = {
    "config.json",           "generation_config.json",  "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
    "chat_template.json"};

struct Piece {
  explicit Piece(const SourceTensor *source) : source(source) {}
  Piece(std::string name, Drawing drawing, int64_t count)
      : drawing(drawing), drawnName(std::move(name)), drawnCount(count) {}

  const SourceTensor *source = nullptr; // or drawn:
  Drawing drawing{Drawing::Rule::one};
  std::string drawnName;
  int64_t drawnCount = 0;
};

struct OutputTensor {
  StoredType type;
  SmallVector<int64_t> shape;
  SmallVector<Piece, 5> pieces;
};

/// The tensors of the M1 by name, which is also their order in the file.
class Outputs {
public:
  Outputs(const ModelConfig &config, const TransformerSizes &sizes, const ConvertOptions &options,
          const CheckpointData &data, EmitError emitError)
      : config(config), data(data), emitError(emitError), qRows(sizes.heads * sizes.headDim),
        kvRows(sizes.kvHeads * sizes.headDim), dtRank((config.hiddenSize + 15) / 16) {
    keepsAttention.assign(config.layers, false);
    for (int64_t layer : options.attentionLayers)
      keepsAttention[layer] = true;
  }

  LogicalResult build() {
    for (int64_t layer = 0; layer < config.layers; ++layer)
      if (failed(addMixer(layer)))
        return failure();
    for (const SourceTensor &tensor : data.getTensors())
      if (failed(copyOther(tensor)))
        return failure();
    return success();
  }

  std::map<std::string, OutputTensor> tensors;
  int64_t droppedBiases = 0;

private:
  /// Null, and an error, when it is missing or of another shape.
  const SourceTensor *require(const std::string &name, int64_t rows, int64_t columns) {
    const SourceTensor *tensor = data.find(name);
    if (!tensor) {
      emitError() << data.getFiles().front().path << ": missing tensor '" << name << "'";
      return nullptr;
    }
    if (tensor->shape != SmallVector<int64_t>{rows, columns}) {
      emitError() << data.getFiles()[tensor->file].path << ": tensor '" << name
                  << "': expected shape [" << rows << ", " << columns << "], got [" << tensor->shape
                  << "]";
      return nullptr;
    }
    return tensor;
  }

  void addDrawn(const std::string &name, StoredType type, SmallVector<int64_t> shape,
                Drawing drawing) {
    tensors[name] = {type, shape, {Piece(name, drawing, llvm::product_of(shape))}};
  }

  LogicalResult addMixer(int64_t layer) {
    std::string at = "model.layers." + std::to_string(layer) + ".", from = at + "self_attn.";
    const SourceTensor *q = require(from + "q_proj.weight", qRows, config.hiddenSize);
    const SourceTensor *k =
        q ? require(from + "k_proj.weight", kvRows, config.hiddenSize) : nullptr;
    const SourceTensor *v =
        k ? require(from + "v_proj.weight", kvRows, config.hiddenSize) : nullptr;
    const SourceTensor *o = v ? require(from + "o_proj.weight", config.hiddenSize, qRows) : nullptr;
    if (!o)
      return failure();
    StoredType type = q->type;
    for (const SourceTensor *tensor : {k, v})
      if (tensor->type != type) {
        emitError() << data.getFiles()[tensor->file].path << ": tensor '" << tensor->name
                    << "' is not of the type of the layer's q_proj, with which it is to be joined";
        return failure();
      }
    if (keepsAttention[layer]) {
      tensors[at + "mha.in_proj.weight"] = {
          type, {qRows + 2 * kvRows, config.hiddenSize}, {Piece{q}, Piece{k}, Piece{v}}};
      tensors[at + "mha.out_proj.weight"] = {o->type, o->shape, {Piece{o}}};
      return success();
    }
    at += "mamba.";
    Drawing inProj{Drawing::Rule::uniform, 1 / std::sqrt(static_cast<double>(config.hiddenSize))};
    Drawing conv{Drawing::Rule::uniform, 1 / std::sqrt(static_cast<double>(convWidth))};
    Drawing dtProj{Drawing::Rule::uniform, 1 / std::sqrt(static_cast<double>(dtRank))};
    Piece z(at + "in_proj.weight.z", inProj, qRows * config.hiddenSize);
    Piece dt(at + "in_proj.weight.dt", inProj, dtRank * config.hiddenSize);
    // Rows z, x, B, C, dt.
    tensors[at + "in_proj.weight"] = {type,
                                      {2 * qRows + 2 * kvRows + dtRank, config.hiddenSize},
                                      {z, Piece{v}, Piece{k}, Piece{q}, dt}};
    tensors[at + "out_proj.weight"] = {o->type, o->shape, {Piece{o}}};
    addDrawn(at + "conv1d.weight", type, {qRows, 1, convWidth}, conv);
    addDrawn(at + "conv1d.bias", type, {qRows}, conv);
    addDrawn(at + "dt_proj.weight", type, {qRows, dtRank}, dtProj);
    addDrawn(at + "dt_proj.bias", type, {qRows}, {Drawing::Rule::stepBias});
    addDrawn(at + "A_log", type, {qRows, stateSize}, {Drawing::Rule::logRow, 0, stateSize});
    addDrawn(at + "D", type, {qRows}, {Drawing::Rule::one});
    return success();
  }

  LogicalResult copyOther(const SourceTensor &tensor) {
    StringRef name = tensor.name;
    auto [before, part] = name.split(".self_attn.");
    if (part.empty()) {
      tensors[tensor.name] = {tensor.type, tensor.shape, {Piece{&tensor}}};
      return success();
    }
    StringRef projection = part.split('.').first;
    bool known = llvm::is_contained(
        {StringRef("q_proj"), StringRef("k_proj"), StringRef("v_proj"), StringRef("o_proj")},
        projection);
    if (known && part.ends_with(".bias")) {
      ++droppedBiases;
      return success();
    }
    // Older checkpoints store the rotary frequencies, which follow from rope_theta.
    if ((known && part.ends_with(".weight")) || part == "rotary_emb.inv_freq")
      return success();
    emitError() << data.getFiles()[tensor.file].path << ": tensor '" << name
                << "' has no place in an M1 layer";
    return failure();
  }

  const ModelConfig &config;
  const CheckpointData &data;
  EmitError emitError;
  int64_t qRows, kvRows, dtRank;
  std::vector<bool> keepsAttention;
};

StringRef typeName(StoredType type) {
  return type == StoredType::f32 ? "F32" : type == StoredType::bf16 ? "BF16" : "F16";
}

uint64_t byteSize(const OutputTensor &tensor) {
  return llvm::product_of(tensor.shape) * byteWidth(tensor.type);
}

/// The 8-byte length and the JSON header, padded to a multiple of 8.
std::string makeHeader(const std::map<std::string, OutputTensor> &tensors) {
  std::string header = "{\"__metadata__\":{\"format\":\"pt\"}";
  uint64_t offset = 0;
  for (const auto &[name, tensor] : tensors) {
    std::string shape;
    for (int64_t size : tensor.shape)
      shape += (shape.empty() ? "" : ",") + std::to_string(size);
    uint64_t end = offset + byteSize(tensor);
    llvm::raw_string_ostream(header)
        << ",\"" << llvm::json::fixUTF8(name) << "\":{\"dtype\":\"" << typeName(tensor.type)
        << "\",\"shape\":[" << shape << "],\"data_offsets\":[" << offset << "," << end << "]}";
    offset = end;
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  char length[8];
  llvm::support::endian::write64le(length, header.size());
  return std::string(length, 8) + header;
}

/// The elements of one piece, a few megabytes at a time.
m1rt::Status writePiece(const Piece &piece, StoredType type, uint64_t seed,
                        const CheckpointData &data, m1rt::OutputFile &file,
                        llvm::function_ref<void(uint64_t)> advanced) {
  if (piece.source && piece.source->code) {
    const SourceTensor &source = *piece.source;
    const int64_t columns = std::max<int64_t>(source.shape.back(), 1),
                  rows = source.countElements() / columns,
                  step = std::max<int64_t>(1, (int64_t(1) << 18) / columns);
    std::vector<float> values(std::min(rows, step) * columns);
    SmallVector<char, 0> bytes;
    for (int64_t first = 0; first < rows; first += step) {
      const int64_t count = std::min(step, rows - first);
      source.code->decode(first, count, values.data());
      bytes.clear();
      storeValues(ArrayRef<float>(values).take_front(count * columns), type, bytes);
      M1_TRY(file.write(bytes.data(), bytes.size()));
      advanced(bytes.size());
    }
    data.release(source);
    return m1rt::Status();
  }
  if (piece.source) {
    M1_TRY(file.write(piece.source->data.data(), piece.source->data.size()));
    data.release(*piece.source);
    advanced(piece.source->data.size());
    return m1rt::Status();
  }
  constexpr int64_t chunk = 1 << 20;
  SmallVector<char, 0> bytes;
  for (int64_t begin = 0; begin < piece.drawnCount; begin += chunk) {
    bytes.clear();
    draw(piece.drawing, piece.drawnName, seed, begin, std::min(piece.drawnCount, begin + chunk),
         type, bytes);
    M1_TRY(file.write(bytes.data(), bytes.size()));
    advanced(bytes.size());
  }
  return m1rt::Status();
}

/// The files of a checkpoint that convertCheckpoint writes or leaves out; what else the directory
/// holds stays.
bool isOfCheckpoint(StringRef name) {
  return llvm::is_contained(copiedFiles, name) || name == "mamba_config.json" ||
         name == "model.safetensors" || name == "model.safetensors.index.json" ||
         (name.starts_with("model-") && name.ends_with(".safetensors")) || name.ends_with(".tmp");
}

LogicalResult check(const m1rt::Status &status, EmitError emitError) {
  return status.ok() ? success() : LogicalResult(emitError() << status.message());
}

LogicalResult copyFile(StringRef from, const std::string &to, EmitError emitError) {
  FailureOr<std::unique_ptr<llvm::MemoryBuffer>> buffer = mapFile(from, emitError);
  if (failed(buffer))
    return failure();
  StringRef bytes = (*buffer)->getBuffer();
  return check(m1rt::writeFile(to, {bytes.data(), bytes.size()}), emitError);
}

/// The shortest decimal that reads back as `value`.
std::string shortest(double value) {
  char text[32];
  for (int precision = 1; precision <= 17; ++precision) {
    std::snprintf(text, sizeof(text), "%.*g", precision, value);
    if (std::strtod(text, nullptr) == value)
      break;
  }
  return text;
}

std::string mambaConfig(const ModelConfig &config, const ConvertOptions &options) {
  const TransformerSizes &sizes = *config.transformer;
  SmallVector<int64_t> layers = options.attentionLayers;
  llvm::sort(layers);
  std::string text;
  llvm::raw_string_ostream out(text);
  out << "{\n  \"d_model\": " << config.hiddenSize
      << ",\n  \"ssm_cfg\": {\n    \"expand\": 1\n  },\n  \"rms_norm_eps\": "
      << shortest(sizes.rmsNormEps)
      << ",\n  \"vocab_size\": null,\n  \"d_inner\": " << sizes.heads * sizes.headDim
      << ",\n  \"d_xb\": " << sizes.kvHeads * sizes.headDim
      << ",\n  \"intermediate_size\": " << sizes.intermediateSize
      << ",\n  \"hidden_act\": \"silu\",\n  \"n_layer\": " << config.layers
      << ",\n  \"attn_layers\": [";
  llvm::interleaveComma(layers, out);
  out << "]\n}\n";
  return text;
}

LogicalResult check(const ModelConfig &config, const ConvertOptions &options, EmitError emitError) {
  if (StringRef(config.architecture).starts_with("m1-"))
    return emitError() << options.source << ": is an M1 already";
  if (!config.transformer)
    return emitError() << options.source << "/config.json: field 'model_type': expected a plain "
                       << "transformer (llama, mistral or qwen2, without a sliding window), got "
                       << config.architecture;
  const TransformerSizes &sizes = *config.transformer;
  if (sizes.mlpBias)
    return emitError() << options.source
                       << "/config.json: field 'mlp_bias': M1's MLP has no biases";
  int64_t inner = sizes.heads * sizes.headDim, shared = sizes.kvHeads * sizes.headDim;
  if (inner % stateSize || shared % stateSize)
    return emitError() << options.source
                       << "/config.json: heads times head_dim: expected multiples of d_state "
                       << stateSize << ", got " << inner << " for q and " << shared
                       << " for k and v";
  std::vector<bool> seen(config.layers, false);
  for (int64_t layer : options.attentionLayers) {
    if (layer < 0 || layer >= config.layers)
      return emitError() << "--attention-layers: expected layers from 0 to " << config.layers - 1
                         << ", got " << layer;
    if (seen[layer])
      return emitError() << "--attention-layers: layer " << layer << " is there twice";
    seen[layer] = true;
  }
  return success();
}

} // namespace

LogicalResult m1c::convertCheckpoint(const ConvertOptions &options,
                                     llvm::function_ref<void(uint64_t, uint64_t)> written,
                                     EmitError emitError, EmitError emitWarning) {
  CheckpointData data;
  if (failed(checkDirectory(options.source, emitError)) ||
      failed(data.open(options.source, emitError)))
    return failure();
  FailureOr<ModelConfig> config = readConfig(options.source, data, emitError, emitWarning);
  if (failed(config) || failed(check(*config, options, emitError)))
    return failure();
  Outputs outputs(*config, *config->transformer, options, data, emitError);
  if (failed(outputs.build()))
    return failure();
  if (!data.getQuantisation().empty())
    emitWarning() << options.source << ": quantised by " << data.getQuantisation()
                  << "; the weights are written as the values that these stand for";
  if (outputs.droppedBiases)
    emitWarning() << options.source << ": " << outputs.droppedBiases
                  << " biases of attention projections are dropped: M1's layers have none";
  if (config->transformer->scaledRotary)
    emitWarning()
        << options.source
        << "/config.json: rope_scaling is without effect from here: M1's attention has none";

  bool same = false;
  if (!llvm::sys::fs::equivalent(options.source, options.output, same) && same)
    return emitError() << options.output << ": is the directory of the source";
  for (const char *name : {"model.safetensors", "model.safetensors.index.json"}) {
    SmallString<256> there(options.output);
    llvm::sys::path::append(there, name);
    if (!options.overwrite && isNamed(there))
      return emitError() << options.output
                         << ": holds a checkpoint already; --overwrite replaces it";
  }

  m1rt::OutputDirectory output;
  if (failed(check(output.open(options.output), emitError)) ||
      failed(check(output.keepOld([](const std::string &name) { return !isOfCheckpoint(name); }),
                   emitError)))
    return failure();
  auto writeModel = [&]() -> m1rt::Status {
    uint64_t total = 0, done = 0;
    for (const auto &entry : outputs.tensors)
      total += byteSize(entry.second);
    m1rt::OutputFile model;
    M1_TRY(model.open(output / "model.safetensors"));
    M1_TRY(model.write(makeHeader(outputs.tensors)));
    for (const auto &[name, tensor] : outputs.tensors)
      for (const Piece &piece : tensor.pieces)
        M1_TRY(writePiece(piece, tensor.type, options.seed, data, model,
                          [&](uint64_t bytes) { written(done += bytes, total); }));
    M1_TRY(checkUnchanged(data));
    M1_TRY(model.commit());
    return m1rt::writeFile(output / "mamba_config.json", mambaConfig(*config, options));
  };
  if (failed(check(writeModel(), emitError)))
    return failure();
  for (StringRef name : copiedFiles) {
    SmallString<256> from(options.source);
    llvm::sys::path::append(from, name);
    if (!isNamed(from))
      continue;
    if (name == "config.json" && !data.getQuantisation().empty()) {
      FailureOr<std::string> plain = readPlainConfig(options.source, emitError);
      if (failed(plain) || failed(check(m1rt::writeFile(output / name.str(), *plain), emitError)))
        return failure();
    } else if (failed(copyFile(from, output / name.str(), emitError))) {
      return failure();
    }
  }
  return check(output.commit(), emitError);
}
