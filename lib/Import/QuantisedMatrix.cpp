// The formulas are those of the libraries that write these checkpoints: compressed-tensors
// (quantization/lifecycle/forward.py: dequantize), AutoGPTQ and GPTQModel (the torch kernel),
// AutoAWQ (utils/packing_utils.py), DeepSeek-V3 (inference/kernel.py: weight_dequant). All of them
// subtract and multiply in the type of the scales. The difference of two codes is exact in each
// such type, hence one rounding of the product is the same.
#include "QuantisedMatrix.h"

#include "Elements.h"
#include "M1/IR/Groups.h"

#include "llvm/Support/Endian.h"

#include <array>

using namespace mlir;
using namespace m1c;

namespace {

/// The place in its word of each of 8 neighbours.
constexpr int awqPlaces[8] = {0, 4, 1, 5, 2, 6, 3, 7};

uint32_t wordAt(const SourceTensor &tensor, int64_t index) {
  return llvm::support::endian::read32le(tensor.data.data() + 4 * index);
}

float floatAt(const SourceTensor &tensor, int64_t index) {
  const char *data = tensor.data.data() + byteWidth(tensor.type) * index;
  if (tensor.type == StoredType::f32)
    return llvm::bit_cast<float>(llvm::support::endian::read32le(data));
  uint16_t bits = llvm::support::endian::read16le(data);
  return tensor.type == StoredType::bf16 ? widenBf16(bits) : widenF16(bits);
}

class QuantisedMatrix : public TensorCode {
public:
  QuantisedMatrix(const MatrixFormat &format, std::vector<SourceTensor> parts, int zeros, int index)
      : TensorCode(std::move(parts)), format(format), codes(this->parts[0]), scales(this->parts[1]),
        zeros(zeros ? &this->parts[zeros] : nullptr),
        groupIndex(index ? &this->parts[index] : nullptr), isCentred(hasCentredZeros()) {}

  void decode(int64_t first, int64_t count, float *out) const override {
    unpack(first, count, out);
    std::vector<float> scale(format.groups), zero(format.groups);
    for (int64_t row = first; row < first + count; ++row, out += format.columns) {
      for (int64_t group = 0; group < format.groups; ++group) {
        scale[group] = floatAt(scales, placeOf(row, group));
        zero[group] = zeros ? zeroAt(row, group) : 0;
      }
      if (groupIndex) {
        for (int64_t c = 0; c < format.columns; ++c) {
          uint32_t group = wordAt(*groupIndex, c);
          scaleValues({out + c, 1}, zero[group], scale[group]);
        }
        continue;
      }
      const int64_t size = format.groups > 1 ? format.groupSize : format.columns;
      for (int64_t begin = 0, group = 0; begin < format.columns; begin += size, ++group)
        scaleValues({out + begin, size_t(std::min(size, format.columns - begin))}, zero[group],
                    scale[group]);
    }
  }

  bool readInt8Row(int64_t row, int8_t *out, float *scale) const override {
    const bool isPacked = format.packing == CodePacking::packed && format.bits == 8;
    if ((format.packing != CodePacking::int8 && !isPacked) || zeros || format.groups > 1)
      return false;
    // Packed codes are bytes, too, plus 128.
    const int64_t stride = isPacked ? llvm::alignTo(format.columns, 4) : format.columns;
    const char *data = codes.data.data() + row * stride;
    for (int64_t c = 0; c < format.columns; ++c)
      out[c] = int8_t(data[c] ^ (isPacked ? 0x80 : 0));
    // Kernels take -127 to 127.
    if (llvm::is_contained(ArrayRef<int8_t>(out, format.columns), int8_t(-128)))
      return false;
    *scale = floatAt(scales, placeOf(row, 0));
    return true;
  }

  bool readE4m3Row(int64_t row, uint8_t *out, float *scale) const override {
    if (format.packing != CodePacking::e4m3 || zeros || format.groups > 1)
      return false;
    std::memcpy(out, codes.data.data() + row * format.columns, size_t(format.columns));
    // Kernels take numbers only.
    if (llvm::any_of(ArrayRef<uint8_t>(out, format.columns),
                     [](uint8_t code) { return (code & 0x7f) == 0x7f; }))
      return false;
    *scale = floatAt(scales, placeOf(row, 0));
    return true;
  }

  /// By scales of rows of groups: codes less no zero point, or all less half their range; or with
  /// the minimums zero · scale, which f32 holds.
  std::optional<StoredGroups> storedGroups() const override {
    const int bits = format.packing == CodePacking::int8 ? 8 : int(format.bits);
    if (format.packing == CodePacking::e4m3 || groupIndex || format.rowBlock != 1 ||
        format.groups < 2 || !llvm::is_contained(m1::groupSizes, format.groupSize) ||
        format.groups != m1::groupsOf(format.columns, format.groupSize) ||
        (scales.type != StoredType::bf16 && scales.type != StoredType::f16))
      return std::nullopt;
    if (zeros && !isCentred)
      return StoredGroups{bits, format.groupSize, StoredType::f32, /*hasMinimums=*/true};
    return StoredGroups{bits, format.groupSize, scales.type};
  }
  void readGroups(int64_t row, int8_t *out, char *outScales) const override {
    const StoredGroups groups = *storedGroups();
    std::vector<float> values(format.columns);
    unpack(row, 1, values.data());
    // Codes are counted from 0, or from half their range below it.
    const int half = 1 << (groups.bits - 1), first = isCounted() ? 0 : -half,
              shift = first - (groups.hasMinimums && groups.bits == 4 ? 0 : -half);
    for (int64_t c = 0; c < format.columns; ++c)
      out[c] = int8_t(int(values[c]) - shift);
    for (int64_t group = 0; group < format.groups; ++group, outScales += groups.scaleBytes()) {
      if (!groups.hasMinimums) {
        std::memcpy(outScales, scales.data.data() + 2 * placeOf(row, group), 2);
        continue;
      }
      const float scale = floatAt(scales, placeOf(row, group)),
                  minimum = (zeroAt(row, group) - float(shift)) * scale;
      llvm::support::endian::write32le(outScales, llvm::bit_cast<uint32_t>(scale));
      llvm::support::endian::write32le(outScales + 4, llvm::bit_cast<uint32_t>(minimum));
    }
  }

private:
  int64_t placeOf(int64_t row, int64_t group) const {
    return row / format.rowBlock * format.rowStride + group * format.groupStride;
  }

  /// Whether codes are from 0 up.
  bool isCounted() const {
    return format.packing == CodePacking::gptq || format.packing == CodePacking::awq;
  }

  /// Whether these all have half their range as zero point, as GPTQ's `sym` makes them.
  bool hasCentredZeros() const {
    if (!isCounted())
      return false;
    for (int64_t row = 0; row < format.rows; ++row)
      for (int64_t group = 0; group < format.groups; ++group)
        if (zeroAt(row, group) != float(1 << (format.bits - 1)))
          return false;
    return true;
  }

  void scaleValues(MutableArrayRef<float> values, float zero, float scale) const {
    if (zeros)
      for (float &value : values)
        value -= zero;
    switch (scales.type) {
    case StoredType::bf16:
      for (float &value : values)
        value = nearestBf16(value * scale);
      break;
    case StoredType::f16:
      for (float &value : values)
        value = widenF16(roundToF16(value * scale));
      break;
    default:
      for (float &value : values)
        value *= scale;
    }
  }

  /// As the codes are counted in unpack.
  float zeroAt(int64_t row, int64_t group) const {
    const int64_t perWord = format.perWord();
    const uint32_t mask = (1u << format.bits) - 1;
    switch (format.zeros) {
    case ZeroPacking::int8:
      return float(int8_t(zeros->data[placeOf(row, group)]));
    case ZeroPacking::packed: {
      uint32_t word = wordAt(*zeros, row / perWord * format.groups + group);
      return float(int(word >> row % perWord * format.bits & mask) - (1 << (format.bits - 1)));
    }
    case ZeroPacking::gptq:
    case ZeroPacking::gptqWords:
    case ZeroPacking::gptqSecond: {
      uint32_t word = wordAt(*zeros, group * (format.rows / perWord) + row / perWord);
      if (format.zeros == ZeroPacking::gptqWords)
        word += UINT32_MAX / mask;
      // A zero point of 0 less 1 is all ones (AutoGPTQ: `zeros + 1`, then the mask).
      const uint32_t less = format.zeros == ZeroPacking::gptq ? 1 : 0;
      return float(((word >> row % perWord * format.bits) + less) & mask);
    }
    case ZeroPacking::awq: {
      uint32_t word = wordAt(*zeros, group * (format.rows / 8) + row / 8);
      return float(word >> 4 * awqPlaces[row % 8] & 15);
    }
    case ZeroPacking::none:
      break;
    }
    llvm_unreachable("a format without zero points has none");
  }

  /// The codes as numbers.
  void unpack(int64_t first, int64_t count, float *out) const {
    const int64_t columns = format.columns, rows = format.rows, perWord = format.perWord();
    const uint32_t mask = (1u << format.bits) - 1;
    switch (format.packing) {
    case CodePacking::int8:
      for (int64_t i = 0; i < count * columns; ++i)
        out[i] = float(int8_t(codes.data[first * columns + i]));
      break;
    case CodePacking::e4m3: {
      static const std::array<float, 256> values = [] {
        std::array<float, 256> table;
        for (int bits = 0; bits < 256; ++bits)
          table[bits] = widenE4m3(uint8_t(bits));
        return table;
      }();
      for (int64_t i = 0; i < count * columns; ++i)
        out[i] = values[uint8_t(codes.data[first * columns + i])];
      break;
    }
    case CodePacking::packed: {
      const int64_t words = llvm::divideCeil(columns, perWord);
      for (int64_t row = first; row < first + count; ++row, out += columns)
        for (int64_t i = 0; i < words; ++i) {
          uint32_t word = wordAt(codes, row * words + i);
          for (int64_t c = i * perWord; c < std::min((i + 1) * perWord, columns); ++c) {
            out[c] = float(int(word & mask) - (1 << (format.bits - 1)));
            word >>= format.bits;
          }
        }
      break;
    }
    case CodePacking::gptq: // words of neighbouring rows lie side by side
      for (int64_t i = 0; i < columns / perWord; ++i)
        for (int64_t row = 0; row < count; ++row) {
          uint32_t word = wordAt(codes, i * rows + first + row);
          for (int64_t k = 0; k < perWord; ++k)
            out[row * columns + i * perWord + k] = float(word >> k * format.bits & mask);
        }
      break;
    case CodePacking::awq:
      for (int64_t c = 0; c < columns; ++c)
        for (int64_t row = 0; row < count; ++row) {
          const int64_t at = first + row;
          uint32_t word = wordAt(codes, c * (rows / 8) + at / 8);
          out[row * columns + c] = float(word >> 4 * awqPlaces[at % 8] & 15);
        }
      break;
    }
  }

  const MatrixFormat format;
  const SourceTensor &codes, &scales;
  const SourceTensor *zeros, *groupIndex;
  const bool isCentred;
};

} // namespace

std::shared_ptr<const TensorCode> m1c::createQuantisedMatrix(const MatrixFormat &format,
                                                             const SourceTensor &codes,
                                                             const SourceTensor &scales,
                                                             const SourceTensor *zeros,
                                                             const SourceTensor *groupIndex) {
  std::vector<SourceTensor> parts{codes, scales};
  auto add = [&](const SourceTensor *part) {
    if (part)
      parts.push_back(*part);
    return part ? int(parts.size()) - 1 : 0;
  };
  const int zerosAt = add(zeros), indexAt = add(groupIndex);
  return std::make_shared<QuantisedMatrix>(format, std::move(parts), zerosAt, indexAt);
}
