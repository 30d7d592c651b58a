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

/// Integer tests, which compilers vectorise at memory speed.
bool holdsNan(StoredType type, const char *source, size_t count) {
  uint32_t found = 0;
  if (type == StoredType::f32) {
    for (size_t i = 0; i < count; ++i)
      found |= (llvm::support::endian::read32le(source + 4 * i) & 0x7fffffff) > 0x7f800000;
  } else {
    uint32_t infinity = type == StoredType::bf16 ? 0x7f80 : 0x7c00;
    for (size_t i = 0; i < count; ++i)
      found |= uint32_t(llvm::support::endian::read16le(source + 2 * i) & 0x7fff) > infinity;
  }
  return found;
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
  bool nan = false;
  size_t released = 0;
  for (size_t begin = 0; begin < count; begin += chunkElements) {
    size_t size = std::min(chunkElements, count - begin);
    const char *source = tensor.data.data() + begin * width;
    // 32 MiB: few calls, and far below the size of the largest tensors.
    if (constexpr size_t window = size_t(32) << 20; begin * width >= released + window) {
      data.release(tensor, released, begin * width - released);
      released = begin * width;
    }
    nan |= holdsNan(tensor.type, source, size);
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
  if (nan)
    weight.emitWarning() << "checkpoint tensor '" << tensor.name << "' holds NaN";
  return success();
}

LogicalResult writeAngles(WeightOp weight, RotaryAnglesAttr angles, WeightSink sink) {
  ArrayRef<int64_t> shape = weight.getTensorType().getShape();
  int64_t rows = shape[0], pairs = shape[1];
  std::vector<double> frequencies(pairs);
  for (int64_t i = 0; i < pairs; ++i) {
    double f = std::pow(angles.getTheta().getValueAsDouble(), -double(i) / double(pairs));
    double factor = angles.getFactor().getValueAsDouble();
    if (angles.getScaling() == RotaryScaling::Linear) {
      f /= factor;
    } else if (angles.getScaling() == RotaryScaling::Llama3) {
      double low = angles.getLow().getValueAsDouble(), high = angles.getHigh().getValueAsDouble();
      double original = angles.getOriginal().getValueAsDouble(), wavelength = 2 * M_PI / f;
      if (wavelength > original / low) {
        f /= factor;
      } else if (wavelength >= original / high) {
        double s = (original / wavelength - low) / (high - low);
        f = (1 - s) * f / factor + s * f;
      }
    }
    frequencies[i] = f;
  }
  Writer write(weight.getTensorType().getElementType(), sink);
  std::vector<float> row(pairs * 2);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < pairs; ++i) {
      double angle = double(r * angles.getStep()) * frequencies[i];
      row[2 * i] = float(std::cos(angle));
      row[2 * i + 1] = float(std::sin(angle));
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
  SmallVector<const SourceTensor *> sources;
  for (auto name : weight.getSourcesAttr().getAsRange<StringAttr>()) {
    const SourceTensor *tensor = data.find(name);
    if (!tensor)
      return weight.emitOpError() << "the checkpoint holds no tensor '" << name.getValue() << "'";
    count += tensor->data.size() / byteWidth(tensor->type);
    sources.push_back(tensor);
  }
  if (count != weight.getTensorType().getNumElements())
    return weight.emitOpError() << "expected sources of " << weight.getTensorType().getNumElements()
                                << " elements together, got " << count;
  for (const SourceTensor *tensor : sources) {
    if (failed(writeSource(weight, data, *tensor, sink)))
      return failure();
  }
  return success();
}
