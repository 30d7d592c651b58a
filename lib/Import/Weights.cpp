// Streams the elements of weights out of the mapped checkpoint, or computes them.
#include "m1c/Weights.h"

#include "llvm/ADT/APFloat.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/Endian.h"

#include <cmath>

using namespace mlir;
using namespace mlir::m1;
using namespace m1c;

namespace {

constexpr size_t chunkElements = 1 << 18; // 1 MiB of f32

float widenBf16(uint16_t bits) { return llvm::bit_cast<float>(uint32_t(bits) << 16); }

float widenF16(uint16_t bits) {
  uint32_t sign = uint32_t(bits & 0x8000) << 16, exponent = bits >> 10 & 31,
           mantissa = bits & 0x3ff;
  if (exponent == 31)
    return llvm::bit_cast<float>(sign | 0x7f800000 | mantissa << 13);
  if (exponent)
    return llvm::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  // Subnormal: mantissa · 2^-24, exact in f32.
  float value = std::ldexp(float(mantissa), -24);
  return sign ? -value : value;
}

/// To nearest even; NaN stays a (quiet) NaN.
uint16_t roundToBf16(float value) {
  uint32_t bits = llvm::bit_cast<uint32_t>(value);
  if (std::isnan(value))
    return bits >> 16 | 0x40;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

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

/// Rounds chunks of f32 values to the weight's element type and passes them on.
class Writer {
public:
  Writer(Type elementType, WeightSink sink) : narrow(elementType.isBF16()), sink(sink) {}

  LogicalResult operator()(ArrayRef<float> values) {
    if (!narrow)
      return sink({reinterpret_cast<const char *>(values.data()), values.size() * 4});
    rounded.resize(values.size());
    for (size_t i = 0; i < values.size(); ++i)
      rounded[i] = roundToBf16(values[i]);
    return sink({reinterpret_cast<const char *>(rounded.data()), rounded.size() * 2});
  }

private:
  bool narrow;
  WeightSink sink;
  std::vector<uint16_t> rounded;
};

void transformValues(Transform transform, MutableArrayRef<float> values) {
  switch (transform) {
  case Transform::None:
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

LogicalResult writeSource(WeightOp weight, const CheckpointData &data, const SourceTensor &tensor,
                          WeightSink sink) {
  Type elementType = weight.getTensorType().getElementType();
  bool copy = weight.getTransform() == Transform::None &&
              ((tensor.type == StoredType::f32 && elementType.isF32()) ||
               (tensor.type == StoredType::bf16 && elementType.isBF16()));
  size_t width = byteWidth(tensor.type), count = tensor.data.size() / width;
  Writer write(elementType, sink);
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
  if (largest >= infinityBits(tensor.type))
    weight.emitWarning() << "checkpoint tensor '" << tensor.name << "' holds "
                         << (largest > infinityBits(tensor.type) ? "NaN" : "infinite values");
  return success();
}

LogicalResult writeAngles(WeightOp weight, RotaryAnglesAttr angles, WeightSink sink) {
  ArrayRef<int64_t> shape = weight.getTensorType().getShape();
  int64_t rows = shape[0], pairs = shape[1];
  ArrayRef<double> frequencies = angles.getFrequencies().asArrayRef();
  double scale = angles.getScale().getValueAsDouble();
  Writer write(weight.getTensorType().getElementType(), sink);
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
  if (!isa<Float32Type, BFloat16Type>(elementType) && !elementType.isInteger(32))
    return weight.emitOpError() << "expected a constant of f32, bf16 or i32, got " << elementType;
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

} // namespace

int64_t m1c::getWeightBytes(WeightOp weight) {
  RankedTensorType type = weight.getTensorType();
  return type.getNumElements() * type.getElementTypeBitWidth() / 8;
}

LogicalResult m1c::writeWeight(WeightOp weight, const CheckpointData &data, WeightSink sink) {
  if (RotaryAnglesAttr angles = weight.getAnglesAttr())
    return writeAngles(weight, angles, sink);
  if (ElementsAttr value = weight.getValueAttr())
    return writeConstant(weight, value, sink);
  Type elementType = weight.getTensorType().getElementType();
  if (!isa<Float32Type, BFloat16Type>(elementType))
    return weight.emitOpError() << "expected elements of f32 or bf16 from the checkpoint, got "
                                << elementType;
  int64_t count = 0;
  SmallVector<SourceTensor> sources;
  for (auto [i, name] : llvm::enumerate(weight.getSourcesAttr().getAsRange<StringAttr>())) {
    const SourceTensor *tensor = data.find(name);
    if (!tensor)
      return weight.emitOpError() << "the checkpoint holds no tensor '" << name.getValue() << "'";
    SourceTensor &source = sources.emplace_back(*tensor);
    if (std::optional<ArrayRef<int64_t>> rows = weight.getRows()) {
      int64_t first = (*rows)[2 * i], taken = (*rows)[2 * i + 1];
      if (tensor->shape.empty() || taken > tensor->shape[0] || first > tensor->shape[0] - taken)
        return weight.emitOpError() << "tensor '" << name.getValue() << "' has no rows " << first
                                    << " to " << first + taken;
      uint64_t row = tensor->data.size() / tensor->shape[0];
      source.data = tensor->data.slice(first * row, taken * row);
      source.offset += first * row;
    }
    count += source.data.size() / byteWidth(tensor->type);
  }
  if (count != weight.getTensorType().getNumElements())
    return weight.emitOpError() << "expected sources of " << weight.getTensorType().getNumElements()
                                << " elements together, got " << count;
  for (const SourceTensor &source : sources)
    if (failed(writeSource(weight, data, source, sink)))
      return failure();
  return success();
}
