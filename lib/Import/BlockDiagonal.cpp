#include "BlockDiagonal.h"

#include "Elements.h"

#include <cstring>

using namespace m1c;

namespace {

class BlockDiagonal : public TensorCode {
public:
  explicit BlockDiagonal(const SourceTensor &blocks) : TensorCode({blocks}) {}

  void decode(int64_t first, int64_t count, float *out) const override {
    const SourceTensor &blocks = parts[0];
    const int64_t b = blocks.shape[2], columns = blocks.shape[0] * b;
    std::fill_n(out, count * columns, 0.0f);
    for (int64_t row = first; row < first + count; ++row, out += columns)
      for (int64_t i = 0, from = row / b * b; i < b; ++i)
        out[from + i] = value((from + i) * b + row % b);
  }

private:
  float value(int64_t index) const {
    const char *at = parts[0].data.data() + index * byteWidth(parts[0].type);
    if (parts[0].type == StoredType::f32) {
      float result;
      std::memcpy(&result, at, sizeof(result));
      return result;
    }
    uint16_t bits;
    std::memcpy(&bits, at, sizeof(bits));
    return parts[0].type == StoredType::bf16 ? widenBf16(bits) : widenF16(bits);
  }
};

} // namespace

void m1c::expandBlockDiagonals(llvm::MutableArrayRef<SourceTensor> tensors) {
  for (SourceTensor &tensor : tensors) {
    llvm::StringRef name = tensor.name;
    if (tensor.code || tensor.shape.size() != 3 || tensor.shape[1] != tensor.shape[2] ||
        !(name.ends_with(".rg_lru.input_gate_weight") ||
          name.ends_with(".rg_lru.recurrent_gate_weight")))
      continue;
    tensor.code = std::make_shared<BlockDiagonal>(tensor);
    const int64_t width = tensor.shape[0] * tensor.shape[1];
    tensor.shape = {width, width};
    tensor.data = {};
  }
}
