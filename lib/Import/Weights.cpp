// Streams the elements of weights out of the mapped checkpoint, or computes them.
#include "m1c/Weights.h"

#include "Elements.h"
#include "M1/IR/Int4.h"
#include "Quantize.h"
#include "weight_check.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/Endian.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace mlir;
using namespace mlir::m1;
using namespace m1c;

namespace {

constexpr size_t chunkElements = 1 << 18; // 1 MiB of f32

void widen(StoredType type, const char *source, size_t count, float *out) {
  if (type == StoredType::f32)
    std::memcpy(out, source, count * 4);
  else
    for (size_t i = 0; i < count; ++i) {
      uint16_t bits = llvm::support::endian::read16le(source + 2 * i);
      out[i] = type == StoredType::bf16 ? widenBf16(bits) : widenF16(bits);
    }
}

/// Largest absolute value in the order of the bits: infinity is above every number, NaN above
/// infinity. Compilers vectorise this at memory speed.
uint32_t largestBits(StoredType type, const char *source, size_t count) {
  uint32_t largest = 0;
  if (type == StoredType::f32)
    for (size_t i = 0; i < count; ++i)
      largest = std::max(largest, llvm::support::endian::read32le(source + 4 * i) & 0x7fffffff);
  else
    for (size_t i = 0; i < count; ++i)
      largest =
          std::max(largest, uint32_t(llvm::support::endian::read16le(source + 2 * i) & 0x7fff));
  return largest;
}

uint32_t infinityBits(StoredType type) {
  return type == StoredType::f32 ? 0x7f800000 : type == StoredType::bf16 ? 0x7f80 : 0x7c00;
}

/// What the f32 values of a weight become.
enum class WeightForm { f32, bf16, int8Rows, int8Scales, fp8Rows, fp8Scales, groups, groupScales };

/// Whether it is of rows with one scale each, whose codes a checkpoint may hold itself.
bool isOfRows(WeightForm form) {
  return form == WeightForm::int8Rows || form == WeightForm::int8Scales ||
         form == WeightForm::fp8Rows || form == WeightForm::fp8Scales;
}
bool isScales(WeightForm form) {
  return form == WeightForm::int8Scales || form == WeightForm::fp8Scales ||
         form == WeightForm::groupScales;
}

/// Takes the f32 values of a weight in chunks of any size and passes on what they become. Rows of
/// `columns` values count where the form is one of rows.
class Writer {
public:
  /// `groups`: of the forms of groups; `importance`: of those of int4.
  Writer(WeightForm form, int64_t columns, WeightSink sink, GroupForm groups = {},
         std::vector<float> importance = {})
      : form(form), columns(static_cast<size_t>(columns)), groups(groups),
        importance(std::move(importance)), sink(sink) {}

  static WeightForm formOf(Type elementType) {
    return elementType.isBF16() ? WeightForm::bf16 : WeightForm::f32;
  }
  WeightForm getForm() const { return form; }
  GroupForm getGroups() const { return groups; }

  LogicalResult operator()(ArrayRef<float> values) {
    switch (form) {
    case WeightForm::f32:
      return sink({reinterpret_cast<const char *>(values.data()), values.size() * 4});
    case WeightForm::bf16:
      rounded.resize(values.size());
      for (size_t i = 0; i < values.size(); ++i)
        rounded[i] = roundToBf16(values[i]);
      return sink({reinterpret_cast<const char *>(rounded.data()), rounded.size() * 2});
    case WeightForm::int8Rows:
    case WeightForm::int8Scales:
    case WeightForm::fp8Rows:
    case WeightForm::fp8Scales:
    case WeightForm::groups:
    case WeightForm::groupScales:
      return writeRows(values);
    }
    llvm_unreachable("all forms are handled");
  }

private:
  LogicalResult writeRows(ArrayRef<float> values) {
    std::vector<char> bytes;
    while (!values.empty()) {
      size_t count = std::min(values.size(), columns - begun.size());
      ArrayRef<float> row = values.take_front(count);
      values = values.drop_front(count);
      if (count < columns) { // the row goes on, or began in an earlier chunk
        llvm::append_range(begun, row);
        if (begun.size() < columns)
          break;
        row = begun;
      }
      appendRow(row, bytes);
      begun.clear();
    }
    return bytes.empty() ? success() : sink(bytes);
  }

  void appendRow(ArrayRef<float> row, std::vector<char> &bytes) const {
    auto extend = [&](int64_t count) {
      bytes.resize(bytes.size() + static_cast<size_t>(count));
      return bytes.data() + bytes.size() - count;
    };
    const auto length = static_cast<int64_t>(columns);
    if (form == WeightForm::int8Scales || form == WeightForm::fp8Scales) {
      float scale = form == WeightForm::int8Scales ? int8Scale(row) : fp8Scale(row);
      std::memcpy(extend(sizeof(scale)), &scale, sizeof(scale));
    } else if (form == WeightForm::int8Rows) {
      quantizeInt8(row, reinterpret_cast<int8_t *>(extend(length)));
    } else if (form == WeightForm::fp8Rows) {
      quantizeFp8(row, reinterpret_cast<uint8_t *>(extend(length)));
    } else if (form == WeightForm::groups && groups.bits == 8) {
      quantizeInt8Groups(row, groups.group, reinterpret_cast<int8_t *>(extend(length)));
    } else if (form == WeightForm::groups) {
      quantizeInt4(row, importance, groups.group,
                   reinterpret_cast<uint8_t *>(extend(int4RowBytes(length))));
    } else {
      std::vector<uint16_t> scales(static_cast<size_t>(groupsOf(length, groups.group)));
      if (groups.bits == 8)
        int8GroupScales(row, groups.group, scales.data());
      else
        int4Scales(row, importance, groups.group, scales.data());
      std::memcpy(extend(int64_t(scales.size() * 2)), scales.data(), scales.size() * 2);
    }
  }

  WeightForm form;
  size_t columns;
  GroupForm groups;
  std::vector<float> importance; // of each column; empty: all the same
  WeightSink sink;
  std::vector<uint16_t> rounded;
  std::vector<float> begun; // the values of a row that is not whole yet
};

void transformValues(Transform transform, MutableArrayRef<float> values) {
  switch (transform) {
  case Transform::None:
  case Transform::Int8Rows: // the writer's
  case Transform::Fp8Rows:
  case Transform::Int4Groups32:
  case Transform::Int4Groups64:
  case Transform::Int4Groups128:
  case Transform::Int8Groups16:
  case Transform::Int8Groups32:
  case Transform::Int8Groups64:
  case Transform::Int8Groups128:
    break;
  case Transform::NegExp:
    for (float &value : values)
      value = float(-std::exp(double(value)));
    break;
  case Transform::Double:
    for (float &value : values)
      value *= 2;
    break;
  case Transform::PlusOne:
    for (float &value : values)
      value += 1;
    break;
  }
}

/// Rows of a source, counted along its first dimension.
struct Part {
  const SourceTensor *tensor;
  int64_t first, rows;

  int64_t countElements() const {
    int64_t all = tensor->shape.empty() ? 1 : tensor->shape[0];
    return all ? tensor->countElements() / all * rows : 0;
  }
};

void warnOfBits(WeightOp weight, const SourceTensor &tensor, StoredType type, uint32_t largest,
                WeightForm form) {
  // Of scales the weight itself has said it.
  if (largest >= infinityBits(type) && !isScales(form))
    weight.emitWarning() << "checkpoint tensor '" << tensor.name << "' holds "
                         << (largest > infinityBits(type) ? "NaN" : "infinite values");
}

/// Of a source with a code. `columns` is the length of the weight's rows.
LogicalResult writeCoded(WeightOp weight, const CheckpointData &data, const Part &part,
                         int64_t columns, Writer &write, WeightSink sink) {
  const SourceTensor &tensor = *part.tensor;
  const bool isVector = tensor.shape.size() < 2;
  const int64_t length = isVector ? tensor.countElements() : tensor.shape.back();
  if (part.countElements() == 0)
    return success();
  const int64_t inner = isVector ? 1 : tensor.countElements() / (tensor.shape[0] * length);
  const int64_t begin = isVector ? 0 : part.first * inner,
                end = isVector ? 1 : (part.first + part.rows) * inner;
  const WeightForm form = write.getForm();
  const bool isQuantised = isOfRows(form),
             isFp8 = form == WeightForm::fp8Rows || form == WeightForm::fp8Scales;
  const int64_t step = std::max<int64_t>(1, int64_t(chunkElements) / length);
  std::vector<float> values(std::min(step, end - begin) * length);
  std::vector<uint8_t> codes(isQuantised ? length : 0);
  uint32_t largest = 0;
  for (int64_t row = begin; row < end;) {
    float scale;
    if (isQuantised && length == columns &&
        (isFp8 ? tensor.code->readE4m3Row(row, codes.data(), &scale)
               : tensor.code->readInt8Row(row, reinterpret_cast<int8_t *>(codes.data()), &scale))) {
      // No value is rounded anew.
      const char *bytes = isScales(form) ? reinterpret_cast<const char *>(&scale)
                                         : reinterpret_cast<const char *>(codes.data());
      if (failed(sink({bytes, isScales(form) ? sizeof(scale) : codes.size()})))
        return failure();
      largest = std::max(largest, llvm::bit_cast<uint32_t>(scale) & 0x7fffffff);
      ++row;
      continue;
    }
    const int64_t count = isQuantised ? 1 : std::min(step, end - row);
    MutableArrayRef<float> chunk(values.data(), count * length);
    tensor.code->decode(row, count, chunk.data());
    largest =
        std::max(largest, largestBits(StoredType::f32, reinterpret_cast<const char *>(chunk.data()),
                                      chunk.size()));
    if (isVector)
      chunk = chunk.slice(part.first, part.rows);
    transformValues(weight.getTransform(), chunk);
    if (failed(write(chunk)))
      return failure();
    row += count;
  }
  data.release(tensor);
  warnOfBits(weight, tensor, StoredType::f32, largest, form);
  return success();
}

/// Of the scales of a row; of two levels those of 128 columns each.
uint32_t largestBits(const StoredGroups &stored, ArrayRef<char> scales) {
  if (!stored.isTwoLevels())
    return largestBits(stored.scales, scales.data(), scales.size() / byteWidth(stored.scales));
  uint32_t largest = 0;
  for (size_t at = 0; at < scales.size(); at += stored.scaleBytes())
    largest =
        std::max(largest, largestBits(StoredType::f16, &scales[at], stored.hasMinimums ? 2 : 1));
  return largest;
}

/// Integers or scales of groups that the checkpoint holds itself, as they are.
LogicalResult writeStoredGroups(WeightOp weight, const CheckpointData &data, const Part &part,
                                int64_t columns, const Writer &write, const StoredGroups &stored,
                                WeightSink sink) {
  const SourceTensor &tensor = *part.tensor;
  const GroupForm groups = write.getGroups();
  const int64_t inner = tensor.countElements() / (tensor.shape[0] * columns),
                begin = part.first * inner, end = (part.first + part.rows) * inner;
  const bool ofScales = isScales(write.getForm()), isInt4 = groups.bits == 4;
  std::vector<int8_t> codes(columns);
  std::vector<char> scales(groupsOf(columns, stored.scaleColumns()) * stored.scaleBytes());
  const size_t rowBytes = ofScales ? scales.size() : isInt4 ? int4RowBytes(columns) : columns;
  std::vector<char> bytes;
  uint32_t largest = 0;
  for (int64_t row = begin; row < end; ++row) {
    tensor.code->readGroups(row, codes.data(), scales.data());
    largest = std::max(largest, largestBits(stored, scales));
    const size_t at = bytes.size();
    bytes.resize(at + rowBytes);
    if (ofScales)
      std::memcpy(&bytes[at], scales.data(), rowBytes);
    else if (isInt4)
      packInt4(codes, reinterpret_cast<uint8_t *>(&bytes[at]));
    else
      std::memcpy(&bytes[at], codes.data(), rowBytes);
    if (bytes.size() >= chunkElements || row + 1 == end) {
      if (failed(sink(bytes)))
        return failure();
      bytes.clear();
    }
  }
  data.release(tensor);
  warnOfBits(weight, tensor, stored.isTwoLevels() ? StoredType::f16 : stored.scales, largest,
             write.getForm());
  return success();
}

/// Whether the tensor holds rows of `columns` as such groups.
bool holdsGroups(const SourceTensor &tensor, int64_t columns, const StoredGroups &groups) {
  return tensor.code && tensor.shape.size() > 1 && tensor.shape.back() == columns &&
         tensor.code->storedGroups() == groups;
}

LogicalResult writeSource(WeightOp weight, const CheckpointData &data, const SourceTensor &tensor,
                          Writer &write, WeightSink sink) {
  WeightForm form = write.getForm();
  bool copy = weight.getTransform() == Transform::None &&
              ((tensor.type == StoredType::f32 && form == WeightForm::f32) ||
               (tensor.type == StoredType::bf16 && form == WeightForm::bf16));
  size_t width = byteWidth(tensor.type), count = tensor.data.size() / width;
  std::vector<float> values(copy ? 0 : std::min(count, chunkElements));
  uint32_t largest = 0;
  size_t released = 0;
  for (size_t begin = 0; begin < count; begin += chunkElements) {
    size_t size = std::min(chunkElements, count - begin);
    const char *source = tensor.data.data() + begin * width;
    // 32 MiB: few calls, and far below the size of the largest tensors.
    if (constexpr size_t window = size_t(32) << 20; begin * width >= released + window) {
      data.release(tensor, released, begin * width - released);
      released = begin * width;
    }
    largest = std::max(largest, largestBits(tensor.type, source, size));
    if (copy) {
      if (failed(sink({source, size * width})))
        return failure();
      continue;
    }
    widen(tensor.type, source, size, values.data());
    MutableArrayRef<float> chunk(values.data(), size);
    transformValues(weight.getTransform(), chunk);
    if (failed(write(chunk)))
      return failure();
  }
  data.release(tensor, released, tensor.data.size() - released);
  warnOfBits(weight, tensor, tensor.type, largest, form);
  return success();
}

LogicalResult writeAngles(WeightOp weight, RotaryAnglesAttr angles, WeightSink sink) {
  ArrayRef<int64_t> shape = weight.getTensorType().getShape();
  int64_t rows = shape[0], pairs = shape[1];
  ArrayRef<double> frequencies = angles.getFrequencies().asArrayRef();
  double scale = angles.getScale().getValueAsDouble();
  Writer write(Writer::formOf(weight.getTensorType().getElementType()), 2 * pairs, sink);
  std::vector<float> row(pairs * 2);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < pairs; ++i) {
      double angle = double(r * angles.getStep()) * frequencies[i];
      row[2 * i] = float(scale * std::cos(angle));
      row[2 * i + 1] = float(scale * std::sin(angle));
    }
    if (failed(write(row)))
      return failure();
  }
  return success();
}

LogicalResult writeConstant(WeightOp weight, ElementsAttr value, WeightSink sink) {
  Type elementType = weight.getTensorType().getElementType();
  unsigned width = elementType.getIntOrFloatBitWidth() / 8;
  std::vector<char> bytes;
  auto flush = [&] {
    LogicalResult result = bytes.empty() ? success() : sink(bytes);
    bytes.clear();
    return result;
  };
  auto append = [&](const APInt &bits) {
    uint64_t word = llvm::support::endian::byte_swap(bits.getZExtValue(), llvm::endianness::little);
    bytes.insert(bytes.end(), reinterpret_cast<char *>(&word),
                 reinterpret_cast<char *>(&word) + width);
    return bytes.size() < chunkElements * 4 ? success() : flush();
  };
  if (elementType.isInteger(32)) {
    for (const APInt &element : value.getValues<APInt>())
      if (failed(append(element)))
        return failure();
  } else {
    for (const APFloat &element : value.getValues<APFloat>())
      if (failed(append(element.bitcastToAPInt())))
        return failure();
  }
  return flush();
}

LogicalResult writeStored(const StoredWeight *stored, WeightSink sink) {
  if (!stored)
    return failure();
  std::vector<char> piece;
  for (size_t i = 0, begin = 0; begin < stored->data.size(); ++i, begin += M1_WEIGHT_PIECE) {
    ArrayRef<char> bytes = stored->data.slice(begin).take_front(
        std::min<size_t>(M1_WEIGHT_PIECE, stored->data.size() - begin));
    piece.assign(bytes.begin(), bytes.end());
    if (m1_weight_check(piece.data(), piece.size()) != stored->checks[i])
      return failure();
    for (size_t at = 0; at < piece.size(); at += chunkElements * 4)
      if (failed(sink(ArrayRef<char>(piece).slice(at).take_front(chunkElements * 4))))
        return failure();
  }
  return success();
}

/// The rows of tensors that the weight is made of, one part for each of its sources.
LogicalResult findParts(WeightOp weight, WeightOp source, const CheckpointData &data,
                        SmallVectorImpl<Part> &parts) {
  for (auto [i, name] : llvm::enumerate(source.getSourcesAttr().getAsRange<StringAttr>())) {
    const SourceTensor *tensor = data.find(name);
    if (!tensor)
      return weight.emitOpError() << "the checkpoint holds no tensor '" << name.getValue() << "'";
    Part &part = parts.emplace_back(Part{tensor, 0, tensor->shape.empty() ? 1 : tensor->shape[0]});
    if (std::optional<ArrayRef<int64_t>> rows = source.getRows()) {
      int64_t first = (*rows)[2 * i], taken = (*rows)[2 * i + 1];
      if (tensor->shape.empty() || taken > tensor->shape[0] || first > tensor->shape[0] - taken)
        return weight.emitOpError() << "tensor '" << name.getValue() << "' has no rows " << first
                                    << " to " << first + taken;
      part.first = first;
      part.rows = taken;
    }
  }
  return success();
}

/// How long the rows are that the parts make; those of int4 are as long as the sources', not as the
/// bytes that they take.
FailureOr<int64_t> columnsOf(WeightOp weight, WeightOp source, ArrayRef<Part> parts) {
  int64_t count = 0;
  for (const Part &part : parts)
    count += part.countElements();
  RankedTensorType type = source.getTensorType();
  const std::optional<GroupForm> groups = groupFormOf(source.getTransform());
  if (groups && groups->bits == 4) {
    const int64_t n = type.getDimSize(0), columns = count / n;
    const RankedTensorType scales = weight.getTensorType(); // where they are asked for
    if (count % n || int4RowBytes(columns) != type.getDimSize(1) ||
        (source != weight &&
         groupsOf(columns, columnsOfScale(scaleOfGroups(scales), groups->group)) !=
             scales.getDimSize(1)))
      return weight.emitOpError() << "expected sources of " << n << " rows whose int4 take "
                                  << type.getDimSize(1) << " bytes, got " << count << " elements";
    return columns;
  }
  if (count != type.getNumElements())
    return weight.emitOpError() << "expected sources of " << type.getNumElements()
                                << " elements together, got " << count;
  return type.getRank() ? type.getShape().back() : 1;
}

/// What `weight` becomes: its elements as they are, or codes or scales of `source`.
WeightForm formOf(WeightOp weight, WeightOp source) {
  const bool ofScales = source != weight;
  if (!source.isQuantised())
    return Writer::formOf(weight.getTensorType().getElementType());
  if (groupFormOf(source.getTransform()))
    return ofScales ? WeightForm::groupScales : WeightForm::groups;
  if (source.getTransform() == Transform::Fp8Rows)
    return ofScales ? WeightForm::fp8Scales : WeightForm::fp8Rows;
  return ofScales ? WeightForm::int8Scales : WeightForm::int8Rows;
}

/// How much an error in each column counts; nothing where all count alike.
LogicalResult readImportance(WeightOp source, int64_t columns, std::vector<float> &importance) {
  Attribute given = source->getAttr(columnImportanceName);
  if (!given)
    return success();
  const std::optional<GroupForm> groups = groupFormOf(source.getTransform());
  auto values = dyn_cast<DenseFPElementsAttr>(given);
  if (!groups || groups->bits != 4 || !values ||
      values.getType() != RankedTensorType::get({columns}, Float32Type::get(source.getContext())))
    return source.emitOpError() << "expected " << columnImportanceName
                                << " with transform int4_groups_…, " << columns
                                << " numbers of f32";
  llvm::append_range(importance, values.getValues<float>());
  return success();
}

/// Codes or scales that the checkpoint holds itself, as the weight says.
LogicalResult writeStoredGroups(WeightOp weight, WeightOp source, const CheckpointData &data,
                                ArrayRef<Part> parts, int64_t columns, Writer &write,
                                WeightSink sink) {
  const GroupForm groups = *groupFormOf(source.getTransform());
  const Type scales = source->getAttrOfType<TypeAttr>(storedScalesName).getValue(),
             element = getElementTypeOrSelf(scales);
  const StoredGroups expected{groups.bits, groups.group,
                              isTwoLevels(scales) ? StoredType::i8
                              : element.isF32()   ? StoredType::f32
                              : element.isF16()   ? StoredType::f16
                                                  : StoredType::bf16,
                              isa<VectorType>(scales) && groups.group != fineGroup};
  for (const Part &part : parts) {
    if (!holdsGroups(*part.tensor, columns, expected))
      return weight.emitOpError() << "expected tensor '" << part.tensor->name << "' to hold int"
                                  << groups.bits << " in groups of " << groups.group
                                  << " with scales of " << scales << ", as " << storedScalesName
                                  << " says";
    if (failed(writeStoredGroups(source, data, part, columns, write, expected, sink)))
      return failure();
  }
  return success();
}

} // namespace

void m1c::storeValues(ArrayRef<float> values, StoredType type, SmallVectorImpl<char> &bytes) {
  size_t at = bytes.size();
  const int64_t width = byteWidth(type);
  bytes.resize_for_overwrite(at + values.size() * width);
  for (float value : values) {
    if (type == StoredType::f32)
      llvm::support::endian::write32le(&bytes[at], llvm::bit_cast<uint32_t>(value));
    else
      llvm::support::endian::write16le(&bytes[at], type == StoredType::bf16 ? roundToBf16(value)
                                                                            : roundToF16(value));
    at += width;
  }
}

/// What isGroupScale takes.
static Type typeOfScales(const StoredGroups &groups, MLIRContext *context) {
  if (groups.isTwoLevels())
    return VectorType::get(groups.scaleBytes(), IntegerType::get(context, 8));
  if (groups.hasMinimums)
    return VectorType::get(2, Float32Type::get(context));
  return groups.scales == StoredType::f16 ? Type(Float16Type::get(context))
                                          : BFloat16Type::get(context);
}

bool m1c::markStoredGroups(ModuleOp module, const CheckpointData &data, bool onlyPlain) {
  bool any = false;
  MLIRContext *context = module.getContext();
  for (auto weight : module.getOps<WeightOp>()) {
    const RankedTensorType type = weight.getTensorType();
    if (!weight.getSourcesAttr() || weight.getTransform() != Transform::None || type.getRank() != 2)
      continue;
    std::optional<StoredGroups> groups;
    bool ofAll = true;
    for (auto name : weight.getSourcesAttr().getAsRange<StringAttr>()) {
      const SourceTensor *tensor = data.find(name);
      if (!groups && tensor && tensor->code)
        groups = tensor->code->storedGroups();
      ofAll &= tensor && groups && holdsGroups(*tensor, type.getDimSize(1), *groups);
    }
    std::optional<Transform> codes =
        ofAll ? transformTo({groups->bits, groups->group}) : std::nullopt;
    if (!codes || (onlyPlain && !groups->isPlain()))
      continue;
    weight->setAttr(storedCodesName, TransformAttr::get(context, *codes));
    weight->setAttr(storedScalesName, TypeAttr::get(typeOfScales(*groups, context)));
    any = true;
  }
  return any;
}

int64_t m1c::getWeightBytes(WeightOp weight) {
  RankedTensorType type = weight.getTensorType();
  return type.getNumElements() * type.getElementTypeBitWidth() / 8;
}

LogicalResult m1c::writeWeight(WeightOp weight, const CheckpointData &data, WeightSink sink) {
  if (data.isStored())
    return writeStored(data.findStored(weight.getSymName()), sink);
  if (RotaryAnglesAttr angles = weight.getAnglesAttr())
    return writeAngles(weight, angles, sink);
  if (ElementsAttr value = weight.getValueAttr())
    return writeConstant(weight, value, sink);
  // Whose sources are read: for scales those of the weight that they belong to.
  WeightOp source = weight.getScalesOfAttr() ? weight.getScaled() : weight;
  assert(source && "the verifier looks for the weight of scales_of");
  SmallVector<Part> parts;
  if (failed(findParts(weight, source, data, parts)))
    return failure();
  const FailureOr<int64_t> columns = columnsOf(weight, source, parts);
  if (failed(columns))
    return failure();
  std::vector<float> importance;
  if (failed(readImportance(source, *columns, importance)))
    return failure();
  const std::optional<GroupForm> groups = groupFormOf(source.getTransform());
  Writer write(formOf(weight, source), *columns, sink, groups.value_or(GroupForm()),
               std::move(importance));
  if (groups && source->getAttrOfType<TypeAttr>(storedScalesName))
    return writeStoredGroups(weight, source, data, parts, *columns, write, sink);
  if (RankedTensorType type = weight.getTensorType();
      groups && source != weight && !scaleOfGroups(type).isBF16())
    return weight.emitOpError() << "expected scales of bf16 where the checkpoint holds none, got "
                                << type;
  for (const Part &part : parts) {
    if (part.tensor->code) {
      if (failed(writeCoded(source, data, part, *columns, write, sink)))
        return failure();
      continue;
    }
    SourceTensor lying = *part.tensor;
    if (source.getRows()) {
      uint64_t row = lying.data.size() / lying.shape[0];
      lying.data = lying.data.slice(part.first * row, part.rows * row);
      lying.offset += part.first * row;
    }
    if (failed(writeSource(source, data, lying, write, sink)))
      return failure();
  }
  return success();
}
