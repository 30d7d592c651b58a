// The tensors that hold quantised weights, put together: of module M the weight M.weight.
#include "Quantisation.h"
#include "QuantisedMatrix.h"
#include "m1c/InputFile.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <map>

using namespace mlir;
using namespace m1c;

namespace {

StringRef dtypeName(StoredType type) {
  switch (type) {
  case StoredType::f32:
    return "F32";
  case StoredType::bf16:
    return "BF16";
  case StoredType::f16:
    return "F16";
  case StoredType::e4m3:
    return "F8_E4M3";
  case StoredType::i8:
    return "I8";
  case StoredType::i32:
    return "I32";
  case StoredType::i64:
    return "I64";
  }
  llvm_unreachable("all types are handled");
}

bool isFloat(StoredType type) {
  return type == StoredType::f32 || type == StoredType::bf16 || type == StoredType::f16;
}

/// Whether a module is among those that a group of compressed-tensors names, and how closely: by
/// its name (3), a pattern (2), or its class (1). `problem` says which pattern takes too long.
int closeness(const QuantScheme &scheme, StringRef module, std::string &problem) {
  int best = 0;
  const bool isEmbedding = module.rsplit('.').second.starts_with("embed");
  for (const QuantTarget &target : scheme.targets) {
    std::vector<m1rt::Regex::Span> matches;
    if (target.text == module)
      best = std::max(best, 3);
    else if (target.pattern && target.pattern->findAll(module, matches, problem) &&
             !matches.empty() && matches[0].begin == 0)
      best = std::max(best, 2);
    else if (target.text == (isEmbedding ? "Embedding" : "Linear"))
      best = std::max(best, 1);
  }
  return best;
}

class Resolver {
public:
  Resolver(const CheckpointData &data, const Quantisation &quantisation, EmitError emitError)
      : data(data), quantisation(quantisation), emitError(emitError) {}

  /// Into `whole`, by the place of their codes, the weights; into `used` the names of what they are
  /// made of and of what says nothing any more.
  LogicalResult resolve(std::map<size_t, SourceTensor> &whole, llvm::StringSet<> &used) {
    for (auto [index, tensor] : llvm::enumerate(data.getTensors())) {
      StringRef module = tensor.name;
      FailureOr<SourceTensor> weight = failure();
      if (isRuntimeScale(module)) {
        used.insert(module);
        continue;
      }
      const bool isWeight = module.consume_back(".weight");
      if (isWeight && isFloat(tensor.type) && data.find((module + ".weight_scale").str()))
        return emitError() << pathOf(tensor) << ": tensor '" << tensor.name << "': expected codes, "
                           << "as there is '" << module << ".weight_scale', got "
                           << dtypeName(tensor.type);
      if (quantisation.method == QuantMethod::gptq || quantisation.method == QuantMethod::awq) {
        if (!module.consume_back(".qweight"))
          continue;
        weight = readIntegers(module, tensor);
      } else if (isWeight && !isFloat(tensor.type)) {
        weight = readPlain(module, tensor);
      } else if (quantisation.method == QuantMethod::compressedTensors &&
                 module.consume_back(".weight_packed")) {
        weight = readPacked(module, tensor);
      } else {
        continue;
      }
      if (failed(weight))
        return failure();
      for (const SourceTensor &part : weight->code->getParts())
        used.insert(part.name);
      whole.emplace(index, std::move(*weight));
    }
    for (const auto &entry : superseded)
      used.insert(entry.getKey());
    return success();
  }

  /// How many matrices are quantised in each way.
  std::string describe() const {
    std::string text;
    for (const auto &[way, count] : ways)
      text += (text.empty() ? "" : ", ") + std::to_string(count) +
              (count == 1 ? " matrix of " : " matrices of ") + way;
    return text;
  }

private:
  using Shape = SmallVector<int64_t>;

  /// Scales of activations and caches, which are not quantised here.
  static bool isRuntimeScale(StringRef name) {
    static constexpr StringLiteral ends[] = {
        ".input_scale",  ".input_zero_point", ".activation_scale", ".input_scale_ub",
        ".output_scale", ".k_scale",          ".v_scale",          ".q_scale",
        ".k_zero_point", ".v_zero_point",     ".kv_scale"};
    return llvm::any_of(ends, [&](StringRef end) { return name.ends_with(end); });
  }

  StringRef pathOf(const SourceTensor &tensor) const { return data.getFiles()[tensor.file].path; }

  LogicalResult check(const SourceTensor &tensor, ArrayRef<StoredType> types,
                      ArrayRef<Shape> shapes) const {
    auto words = [](auto &&list, auto &&text) {
      std::string result;
      for (size_t i = 0; i < list.size(); ++i)
        result += (i == 0 ? "" : i + 1 == list.size() ? " or " : ", ") + text(list[i]);
      return result;
    };
    if (!llvm::is_contained(types, tensor.type))
      return emitError() << pathOf(tensor) << ": tensor '" << tensor.name << "': expected dtype "
                         << words(types, [](StoredType type) { return dtypeName(type).str(); })
                         << ", got " << dtypeName(tensor.type);
    if (!llvm::is_contained(shapes, tensor.shape))
      return emitError() << pathOf(tensor) << ": tensor '" << tensor.name << "': expected shape "
                         << words(shapes,
                                  [](const Shape &shape) {
                                    std::string text;
                                    for (int64_t size : shape)
                                      text += (text.empty() ? "" : ", ") + std::to_string(size);
                                    return "[" + text + "]";
                                  })
                         << ", got [" << tensor.shape << "]";
    return success();
  }

  /// A part of `module`, of which `codes` is there; null and an error when it is missing or of
  /// another type or shape.
  const SourceTensor *require(StringRef module, StringRef part, const SourceTensor &codes,
                              ArrayRef<StoredType> types, ArrayRef<Shape> shapes) const {
    std::string name = (module + "." + part).str();
    const SourceTensor *tensor = data.find(name);
    if (!tensor)
      emitError() << pathOf(codes) << ": tensor '" << codes.name << "' is there, but not '" << name
                  << "' with the " << (types[0] == StoredType::i32 ? "integers" : "numbers")
                  << " that belong to it";
    return tensor && succeeded(check(*tensor, types, shapes)) ? tensor : nullptr;
  }

  FailureOr<SourceTensor> finish(StringRef module, const MatrixFormat &format,
                                 const QuantScheme &scheme, const SourceTensor &codes,
                                 const SourceTensor &scales, const SourceTensor *zeros,
                                 const SourceTensor *index) {
    bool isInOrder = true;
    for (int64_t c = 0; index && c < format.columns; ++c) {
      const uint32_t group = llvm::support::endian::read32le(index->data.data() + 4 * c);
      if (group >= uint64_t(format.groups))
        return emitError() << pathOf(*index) << ": tensor '" << index->name
                           << "': expected groups from 0 to " << format.groups - 1 << ", got "
                           << int32_t(group) << " of column " << c;
      isInOrder &= group == (format.groupSize ? c / format.groupSize : 0);
    }
    if (index && isInOrder) { // as the columns are without it
      superseded.insert(index->name);
      index = nullptr;
    }
    ++ways[scheme.describe()];
    return SourceTensor{(module + ".weight").str(),
                        scales.type,
                        {format.rows, format.columns},
                        {},
                        codes.file,
                        codes.offset,
                        createQuantisedMatrix(format, codes, scales, zeros, index)};
  }

  /// The first of the closest group.
  const QuantScheme *schemeOf(StringRef module, const SourceTensor &codes) const {
    if (quantisation.schemes.size() == 1)
      return &quantisation.schemes.front();
    const QuantScheme *found = nullptr;
    int best = 0;
    std::string problem;
    for (const QuantScheme &scheme : quantisation.schemes)
      if (int here = closeness(scheme, module, problem); here > best) {
        best = here;
        found = &scheme;
      }
    if (found && problem.empty())
      return found;
    if (!problem.empty())
      emitError() << pathOf(codes) << ": tensor '" << codes.name
                  << "': its group of 'quantization_config.config_groups' is not found: "
                  << problem;
    else
      emitError() << pathOf(codes) << ": tensor '" << codes.name
                  << "': no group of 'quantization_config.config_groups' targets module '" << module
                  << "'";
    return nullptr;
  }

  LogicalResult checkGroups(const SourceTensor &codes, int64_t columns, int64_t size) const {
    if (columns % size == 0)
      return success();
    return emitError() << pathOf(codes) << ": tensor '" << codes.name << "': its " << columns
                       << " columns are no whole number of groups of " << size;
  }

  /// Codes in elements of their own: M.weight, M.weight_scale or M.weight_scale_inv.
  FailureOr<SourceTensor> readPlain(StringRef module, const SourceTensor &codes) {
    const QuantScheme *chosen = schemeOf(module, codes);
    if (!chosen)
      return failure();
    QuantScheme scheme = *chosen;
    if (scheme.isPacked)
      return emitError() << pathOf(codes) << ": tensor '" << codes.name
                         << "': expected 'weight_packed' of format pack-quantized";
    if (codes.shape.size() != 2)
      return emitError() << pathOf(codes) << ": tensor '" << codes.name
                         << "': expected a matrix, got shape [" << codes.shape << "]";
    if (failed(check(codes, {scheme.isFloat ? StoredType::e4m3 : StoredType::i8}, {codes.shape})))
      return failure();
    MatrixFormat format;
    format.packing = scheme.isFloat ? CodePacking::e4m3 : CodePacking::int8;
    format.rows = codes.shape[0];
    format.columns = codes.shape[1];
    const bool isInverse = data.find((module + ".weight_scale_inv").str());
    const SourceTensor *scales = requireScales(
        module, isInverse ? "weight_scale_inv" : "weight_scale", codes, scheme, format);
    const SourceTensor *zeros = nullptr;
    if (scales && !scheme.isSymmetric) {
      format.zeros = ZeroPacking::int8;
      zeros = require(module, "weight_zero_point", codes, {StoredType::i8}, {scales->shape});
    }
    if (!scales || (!scheme.isSymmetric && !zeros))
      return failure();
    return finishIndexed(module, format, scheme, codes, *scales, zeros);
  }

  /// With the index of groups, where there is one: -1 in it says that it was never filled in.
  FailureOr<SourceTensor> finishIndexed(StringRef module, const MatrixFormat &format,
                                        const QuantScheme &scheme, const SourceTensor &codes,
                                        const SourceTensor &scales, const SourceTensor *zeros) {
    const std::string zeroName = (module + ".weight_zero_point").str();
    if (const SourceTensor *none = data.find(zeroName); none && scheme.isSymmetric) {
      if (llvm::any_of(none->data, [](char byte) { return byte != 0; }))
        return emitError() << pathOf(*none) << ": tensor '" << zeroName
                           << "': expected zeros where the weights are symmetric";
      superseded.insert(zeroName);
    }
    const std::string indexName = (module + ".weight_g_idx").str();
    const SourceTensor *index = nullptr;
    if (scheme.hasIndex || data.find(indexName)) {
      index = require(module, "weight_g_idx", codes, {StoredType::i32}, {{format.columns}});
      if (!index)
        return failure();
      for (int64_t c = 0; index && c < format.columns; ++c)
        if (llvm::support::endian::read32le(index->data.data() + 4 * c) == UINT32_MAX)
          index = nullptr;
      superseded.insert(indexName);
    }
    return finish(module, format, scheme, codes, scales, zeros, index);
  }

  /// Their shape says how many columns and rows share one, within what the scheme allows.
  const SourceTensor *requireScales(StringRef module, StringRef part, const SourceTensor &codes,
                                    QuantScheme &scheme, MatrixFormat &format) const {
    const int64_t rows = format.rows, columns = format.columns;
    SmallVector<Shape> shapes;
    if (scheme.mayBeBlocks) {
      const Shape blocks{int64_t(llvm::divideCeil(rows, 128)),
                         int64_t(llvm::divideCeil(columns, 128))};
      const SourceTensor *scales = data.find((module + "." + part).str());
      if (scales && scales->shape == blocks && scales->shape[0] != rows)
        scheme.blockRows = scheme.blockColumns = 128;
    }
    if (scheme.blockRows) {
      shapes = {{int64_t(llvm::divideCeil(rows, scheme.blockRows)),
                 int64_t(llvm::divideCeil(columns, scheme.blockColumns))}};
    } else if (scheme.groupSize) {
      if (failed(checkGroups(codes, columns, scheme.groupSize)))
        return nullptr;
      shapes = {{rows, columns / scheme.groupSize}};
    } else if (scheme.isPerTensor) {
      shapes = {{}, {1}, {1, 1}};
    } else if (quantisation.method == QuantMethod::fp8) { // both are usual, and nothing says which
      shapes = {{}, {1}, {rows, 1}, {rows}};
    } else {
      shapes = {{rows, 1}, {rows}};
    }
    const SourceTensor *scales =
        require(module, part, codes, {StoredType::f32, StoredType::bf16, StoredType::f16}, shapes);
    if (!scales)
      return nullptr;
    if (scheme.blockRows) {
      format.rowBlock = scheme.blockRows;
      format.rowStride = format.groups = shapes[0][1];
      format.groupStride = 1;
      format.groupSize = scheme.blockColumns;
    } else if (scheme.groupSize) {
      format.rowStride = format.groups = shapes[0][1];
      format.groupStride = 1;
      format.groupSize = scheme.groupSize;
    } else {
      scheme.isPerTensor = scheme.isPerTensor || scales->countElements() != rows;
      format.rowStride = scheme.isPerTensor ? 0 : 1;
    }
    return scales;
  }

  /// Several codes in an i32: M.weight_packed, M.weight_scale, M.weight_shape.
  FailureOr<SourceTensor> readPacked(StringRef module, const SourceTensor &codes) {
    const QuantScheme *chosen = schemeOf(module, codes);
    if (!chosen)
      return failure();
    QuantScheme scheme = *chosen;
    if (!scheme.isPacked)
      return emitError() << pathOf(codes) << ": tensor '" << codes.name
                         << "': expected 'weight' of a format that is not pack-quantized";
    const SourceTensor *shape =
        require(module, "weight_shape", codes, {StoredType::i64, StoredType::i32}, {{2}});
    if (!shape)
      return failure();
    MatrixFormat format;
    format.packing = CodePacking::packed;
    format.bits = int(scheme.bits);
    auto sizeAt = [&](int64_t i) {
      const char *at = shape->data.data() + i * byteWidth(shape->type);
      return shape->type == StoredType::i64 ? int64_t(llvm::support::endian::read64le(at))
                                            : int64_t(int32_t(llvm::support::endian::read32le(at)));
    };
    format.rows = sizeAt(0);
    format.columns = sizeAt(1);
    if (format.rows < 0 || format.columns < 0 || format.rows > Fields::largest ||
        format.columns > Fields::largest)
      return emitError() << pathOf(*shape) << ": tensor '" << shape->name
                         << "': expected the sizes of a matrix, got " << format.rows << " and "
                         << format.columns;
    superseded.insert(shape->name);
    const int64_t n = format.perWord();
    if (failed(check(codes, {StoredType::i32},
                     {{format.rows, int64_t(llvm::divideCeil(format.columns, n))}})))
      return failure();
    const SourceTensor *scales = requireScales(module, "weight_scale", codes, scheme, format);
    const SourceTensor *zeros = nullptr;
    if (scales && !scheme.isSymmetric) {
      // Of the matrix' only scale it is a number; others are packed, but by the library's first
      // versions.
      const SourceTensor *found = data.find((module + ".weight_zero_point").str());
      const bool areNumbers = scheme.isPerTensor || (found && found->type == StoredType::i8);
      format.zeros = areNumbers ? ZeroPacking::int8 : ZeroPacking::packed;
      zeros = areNumbers
                  ? require(module, "weight_zero_point", codes, {StoredType::i8}, {scales->shape})
                  : require(module, "weight_zero_point", codes, {StoredType::i32},
                            {{int64_t(llvm::divideCeil(format.rows, n)), format.groups}});
    }
    if (!scales || (!scheme.isSymmetric && !zeros))
      return failure();
    return finishIndexed(module, format, scheme, codes, *scales, zeros);
  }

  /// GPTQ and AWQ: M.qweight, M.qzeros, M.scales.
  FailureOr<SourceTensor> readIntegers(StringRef module, const SourceTensor &codes) {
    const QuantScheme &scheme = quantisation.schemes.front();
    const bool isGptq = quantisation.method == QuantMethod::gptq;
    if (codes.shape.size() != 2)
      return emitError() << pathOf(codes) << ": tensor '" << codes.name
                         << "': expected a matrix, got shape [" << codes.shape << "]";
    if (failed(check(codes, {StoredType::i32}, {codes.shape})))
      return failure();
    MatrixFormat format;
    format.bits = int(scheme.bits);
    const int64_t n = format.perWord();
    format.packing = isGptq ? CodePacking::gptq : CodePacking::awq;
    format.zeros = !isGptq                     ? ZeroPacking::awq
                   : quantisation.isSecondGptq ? ZeroPacking::gptqSecond
                   : quantisation.isGptqModels ? ZeroPacking::gptqWords
                                               : ZeroPacking::gptq;
    int64_t sizes[] = {codes.shape[0], codes.shape[1]};
    if (__builtin_mul_overflow(sizes[isGptq ? 0 : 1], n, &sizes[isGptq ? 0 : 1]) ||
        sizes[0] > Fields::largest || sizes[1] > Fields::largest)
      return emitError() << pathOf(codes) << ": tensor '" << codes.name << "': too large: shape ["
                         << codes.shape << "]";
    format.columns = sizes[0];
    format.rows = sizes[1];
    if (format.rows % n)
      return emitError() << pathOf(codes) << ": tensor '" << codes.name
                         << "': expected a multiple of " << n << " rows of its zero points, got "
                         << format.rows;
    format.groupSize = scheme.groupSize ? scheme.groupSize : format.columns;
    if (!isGptq && scheme.groupSize && failed(checkGroups(codes, format.columns, scheme.groupSize)))
      return failure();
    if (format.columns) {
      // GPTQ's last group may be shorter.
      format.groups = int64_t(llvm::divideCeil(format.columns, format.groupSize));
    }
    format.rowStride = 1;
    format.groupStride = format.rows;
    const SourceTensor *scales =
        require(module, "scales", codes, {StoredType::f16, StoredType::bf16, StoredType::f32},
                {{format.groups, format.rows}});
    const SourceTensor *zeros = scales ? require(module, "qzeros", codes, {StoredType::i32},
                                                 {{format.groups, format.rows / n}})
                                       : nullptr;
    if (!zeros)
      return failure();
    const SourceTensor *index = nullptr;
    if (isGptq && (scheme.hasIndex || data.find((module + ".g_idx").str()))) {
      index = require(module, "g_idx", codes, {StoredType::i32}, {{format.columns}});
      if (!index)
        return failure();
    }
    return finish(module, format, scheme, codes, *scales, zeros, index);
  }

  const CheckpointData &data;
  const Quantisation &quantisation;
  EmitError emitError;
  std::map<std::string, int> ways;
  llvm::StringSet<> superseded;
};

} // namespace

FailureOr<std::optional<Quantisation>> m1c::readQuantisation(StringRef directory,
                                                             EmitError emitError) {
  SmallString<256> path(directory);
  llvm::sys::path::append(path, "config.json");
  if (!isNamed(path))
    return std::optional<Quantisation>();
  FailureOr<llvm::json::Value> json = readJson(path, emitError);
  if (failed(json))
    return failure();
  bool bad = false;
  Fields config(path.str().str(), json->getAsObject(), emitError, bad);
  std::optional<Quantisation> found = readQuantisation(config, config.child("text_config"));
  if (bad)
    return failure();
  return found;
}

LogicalResult CheckpointData::resolveQuantised(StringRef directory, EmitError emitError) {
  FailureOr<std::optional<Quantisation>> read = readQuantisation(directory, emitError);
  if (failed(read))
    return failure();
  const std::optional<Quantisation> &found = *read;
  std::map<size_t, SourceTensor> whole;
  llvm::StringSet<> used;
  if (found) {
    Resolver resolver(*this, *found, emitError);
    if (failed(resolver.resolve(whole, used)))
      return failure();
    if (!whole.empty() || found->schemes.empty())
      quantisation = found->methodName + ": " + (whole.empty() ? "no matrix" : resolver.describe());
    if (!quantisation.empty() && !found->runtime.empty())
      quantisation += "; " + found->runtime + ", which the library quantises, too, are not";
  }
  std::vector<SourceTensor> kept;
  llvm::StringMap<size_t> places;
  for (auto [i, tensor] : llvm::enumerate(tensors)) {
    auto weight = whole.find(i);
    if (weight == whole.end() && used.contains(tensor.name))
      continue;
    SourceTensor &here =
        kept.emplace_back(weight == whole.end() ? std::move(tensor) : std::move(weight->second));
    if (!isFloat(here.type))
      return emitError() << files[here.file].path << ": tensor '" << here.name
                         << "': expected dtype F32, BF16 or F16, got " << dtypeName(here.type)
                         << (found ? "" : "; config.json has no field 'quantization_config'");
    if (auto [at, inserted] = places.try_emplace(here.name, kept.size() - 1); !inserted)
      return emitError() << files[here.file].path << ": tensor '" << here.name
                         << "' is there quantised and as it is";
  }
  tensors = std::move(kept);
  index = std::move(places);
  return success();
}
