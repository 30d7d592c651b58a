// Tensors of a GGUF file under the names, in the shapes and with the orders of rows that they have
// in a directory.
#include "GgufModel.h"

#include <cmath>
#include <map>

using namespace mlir;
using namespace m1c;

namespace {

/// Rows of a GGUF tensor.
struct GgufRows {
  GgmlType type;
  llvm::ArrayRef<char> data;
  int64_t rows, columns;

  int64_t rowBytes() const {
    const GgmlBlock block = blockOf(type);
    return columns / block.values * block.bytes;
  }
  void decode(int64_t row, int64_t count, float *out) const {
    decodeBlocks(type, data.data() + row * rowBytes(), count * columns / blockOf(type).values, out);
  }
};

/// Values in a GGUF file: rows of one tensor, or of two that take turns.
class GgufCode : public TensorCode {
public:
  /// `groups`: how often the tensors take turns.
  GgufCode(std::vector<SourceTensor> parts, std::vector<GgufRows> pieces, int64_t groups)
      : TensorCode(std::move(parts)), pieces(std::move(pieces)), groups(groups) {}

  void decode(int64_t first, int64_t count, float *out) const override {
    if (pieces.size() == 1)
      return pieces[0].decode(first, count, out);
    const int64_t upper = pieces[0].rows / groups, lower = pieces[1].rows / groups;
    for (int64_t row = first; row < first + count; ++row, out += pieces[0].columns) {
      const int64_t group = row / (upper + lower), inGroup = row % (upper + lower);
      if (inGroup < upper)
        pieces[0].decode(group * upper + inGroup, 1, out);
      else
        pieces[1].decode(group * lower + inGroup - upper, 1, out);
    }
  }

private:
  const std::vector<GgufRows> pieces;
  const int64_t groups;
};

/// Heads whose two halves take turns, which llama.cpp's rotation of neighbours needs: element j of
/// half h of a head lies at 2·j + h.
class TurnedHeads : public TensorCode {
public:
  TurnedHeads(std::vector<SourceTensor> parts, const GgufRows &lying, int64_t headDim)
      : TensorCode(std::move(parts)), lying(lying), headDim(headDim) {}

  void decode(int64_t first, int64_t count, float *out) const override {
    if (parts[0].shape.size() > 1) {
      for (int64_t row = first; row < first + count; ++row, out += lying.columns)
        lying.decode(placeOf(row), 1, out);
      return;
    }
    std::vector<float> values(static_cast<size_t>(lying.columns));
    lying.decode(0, 1, values.data());
    for (int64_t i = 0; i < lying.columns; ++i)
      out[i] = values[static_cast<size_t>(placeOf(i))];
  }

private:
  int64_t placeOf(int64_t row) const {
    const int64_t half = headDim / 2, inHead = row % headDim;
    return row - inHead + inHead % half * 2 + inHead / half;
  }

  const GgufRows lying;
  const int64_t headDim;
};

class TensorReader {
public:
  TensorReader(const GgufFile &file, const GgufLayout &layout, int64_t headDim, EmitError emitError,
               GgufModel &out)
      : file(file), layout(layout), headDim(headDim), emitError(emitError), out(out) {}

  LogicalResult read() {
    for (const GgufTensor &tensor : file.tensors) {
      if (tensor.shape.size() > 1)
        ++types[nameOf(tensor.type)];
      if (failed(add(tensor)))
        return failure();
    }
    for (auto &[name, halves] : joined)
      if (!halves.first || !halves.second)
        return error(halves.first ? *halves.first : *halves.second)
               << "the other half of '" << name << "' is missing";
      else if (failed(join(name, *halves.first, *halves.second)))
        return failure();
    for (const auto &[type, count] : types)
      out.types += (out.types.empty() ? "" : ", ") + std::to_string(count) + " of " + type.str();
    return success();
  }

private:
  InFlightDiagnostic error(const GgufTensor &tensor) const {
    InFlightDiagnostic diagnostic = emitError();
    diagnostic << file.path << ": tensor '" << tensor.name << "': ";
    return diagnostic;
  }

  LogicalResult add(const GgufTensor &tensor) {
    if (tensor.name == "rope_freqs.weight" && layout.hasRotaryFactors)
      return readFactors(tensor);
    if (tensor.name == "token_embd.weight")
      return place(tensor, layout.embeddings.str(), GgufForm::same);
    if (tensor.name == "output.weight")
      return place(tensor, "lm_head.weight", GgufForm::same);
    if (tensor.name == layout.norm)
      return place(tensor, layout.finalNorm.str(), GgufForm::same);
    if (StringRef name = tensor.name; name.consume_front("blk.")) {
      auto [layer, part] = name.split('.');
      for (ArrayRef<GgufRule> rules : layout.rules)
        for (const GgufRule &rule : rules)
          if (rule.from == part)
            return place(tensor, (layout.layers + "." + layer + "." + rule.to).str(), rule.form);
    }
    return error(tensor) << "has no place in this architecture";
  }

  LogicalResult place(const GgufTensor &tensor, const std::string &name, GgufForm form) {
    switch (form) {
    case GgufForm::same:
      push(name, tensor, tensor.shape);
      return success();
    case GgufForm::heads:
      return turn(name, tensor);
    case GgufForm::flat:
    case GgufForm::flatTransformed:
      push(name, tensor, {llvm::product_of(tensor.shape)});
      out.tensors.back().isTransformed = form == GgufForm::flatTransformed;
      return success();
    case GgufForm::transformed:
      push(name, tensor, tensor.shape);
      out.tensors.back().isTransformed = true;
      return success();
    case GgufForm::conv:
      if (tensor.shape.size() != 2)
        return error(tensor) << "expected shape [channels, width], got [" << tensor.shape << "]";
      push(name, tensor, {tensor.shape[0], 1, tensor.shape[1]});
      return success();
    case GgufForm::experts:
      return split(name, tensor);
    case GgufForm::upperRows:
    case GgufForm::lowerRows: {
      const GgufTensor *&half =
          form == GgufForm::upperRows ? joined[name].first : joined[name].second;
      if (half)
        return error(tensor) << "'" << half->name << "' has its place";
      half = &tensor;
      return success();
    }
    }
    llvm_unreachable("all forms are handled");
  }

  static SourceTensor lying(const std::string &name, const GgufTensor &tensor) {
    const StoredType type = tensor.type == GgmlType::f16    ? StoredType::f16
                            : tensor.type == GgmlType::bf16 ? StoredType::bf16
                                                            : StoredType::f32;
    return {name, type, tensor.shape, tensor.data, 0, tensor.offset, nullptr};
  }

  static GgufRows rowsOf(const GgufTensor &tensor) {
    const int64_t columns = tensor.shape.empty() ? 1 : tensor.shape.back();
    return {tensor.type, tensor.data, llvm::product_of(tensor.shape) / columns, columns};
  }

  /// Where each value lies on its own the file's bytes are the tensor's.
  void push(const std::string &name, const GgufTensor &tensor, SmallVector<int64_t> shape) {
    SourceTensor source = lying(name, tensor);
    if (blockOf(tensor.type).values > 1) {
      auto code = std::make_shared<GgufCode>(std::vector{source}, std::vector{rowsOf(tensor)}, 1);
      source.data = {};
      source.code = std::move(code);
    }
    source.shape = std::move(shape);
    out.tensors.push_back(std::move(source));
  }

  void pushCode(const SourceTensor &like, SmallVector<int64_t> shape,
                std::shared_ptr<const TensorCode> code) {
    out.tensors.push_back(
        {like.name, like.type, std::move(shape), {}, 0, like.offset, std::move(code)});
  }

  LogicalResult turn(const std::string &name, const GgufTensor &tensor) {
    if (!layout.turnsHeads) {
      push(name, tensor, tensor.shape);
      return success();
    }
    if (tensor.shape.empty() || tensor.shape.size() > 2 || tensor.shape[0] % headDim)
      return error(tensor) << "expected rows of whole heads of " << headDim << ", got shape ["
                           << tensor.shape << "]";
    const SourceTensor source = lying(name, tensor);
    pushCode(source, tensor.shape,
             std::make_shared<TurnedHeads>(std::vector{source}, rowsOf(tensor), headDim));
    return success();
  }

  LogicalResult split(const std::string &name, const GgufTensor &tensor) {
    if (tensor.shape.size() != 3 || tensor.shape[0] > mostExperts)
      return error(tensor) << "expected shape [experts, rows, columns] of at most " << mostExperts
                           << " experts, got [" << tensor.shape << "]";
    const auto bytes = static_cast<int64_t>(tensor.data.size()) / tensor.shape[0];
    const auto [front, back] = StringRef(name).split("{}");
    for (int64_t expert = 0; expert < tensor.shape[0]; ++expert) {
      GgufTensor one = tensor;
      one.shape = {tensor.shape[1], tensor.shape[2]};
      one.data = tensor.data.slice(expert * bytes, bytes);
      one.offset += expert * bytes;
      push((front + std::to_string(expert) + back).str(), one, one.shape);
    }
    return success();
  }

  LogicalResult join(const std::string &name, const GgufTensor &upper, const GgufTensor &lower) {
    const size_t rank = upper.shape.size();
    if (rank < 2 || rank > 3 || upper.shape != lower.shape)
      return error(lower) << "expected a matrix, or several, of the shape of '" << upper.name
                          << "', got [" << upper.shape << "] and [" << lower.shape << "]";
    SmallVector<int64_t> shape = upper.shape;
    shape[rank - 2] *= 2;
    std::vector<SourceTensor> parts{lying(name, upper), lying(name, lower)};
    SourceTensor like = parts[0];
    if (parts[1].type != like.type)
      like.type = StoredType::f32;
    pushCode(like, shape,
             std::make_shared<GgufCode>(std::move(parts), std::vector{rowsOf(upper), rowsOf(lower)},
                                        rank == 3 ? upper.shape[0] : 1));
    return success();
  }

  LogicalResult readFactors(const GgufTensor &tensor) {
    if (tensor.type != GgmlType::f32 || tensor.shape != SmallVector<int64_t>{headDim / 2})
      return error(tensor) << "expected shape [" << headDim / 2 << "] of F32, got [" << tensor.shape
                           << "] of " << nameOf(tensor.type);
    out.rotaryFactors.resize(headDim / 2);
    decodeBlocks(tensor.type, tensor.data.data(), headDim / 2, out.rotaryFactors.data());
    for (float factor : out.rotaryFactors)
      if (!(factor > 0) || std::isinf(factor))
        return error(tensor) << "expected positive numbers, got " << factor;
    return success();
  }

  const GgufFile &file;
  const GgufLayout &layout;
  const int64_t headDim;
  EmitError emitError;
  GgufModel &out;
  std::map<StringRef, int> types;
  /// Matrices of which the file holds two halves.
  std::map<std::string, std::pair<const GgufTensor *, const GgufTensor *>> joined;
};

} // namespace

LogicalResult m1c::readGgufTensors(const GgufFile &file, const GgufLayout &layout, int64_t headDim,
                                   EmitError emitError, GgufModel &out) {
  return TensorReader(file, layout, headDim, emitError, out).read();
}
