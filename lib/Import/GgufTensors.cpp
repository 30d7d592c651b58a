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
  void readGroups(int64_t row, int8_t *codes, char *scales) const {
    m1c::readGroups(type, data.data() + row * rowBytes(), columns / blockOf(type).values, codes,
                    scales);
  }
};

/// What all pieces hold.
std::optional<StoredGroups> groupsOfAll(llvm::ArrayRef<GgufRows> pieces) {
  return llvm::all_equal(llvm::map_range(pieces, [](const GgufRows &rows) { return rows.type; }))
             ? groupsOf(pieces[0].type)
             : std::nullopt;
}

/// Values in a GGUF file: rows of one tensor, or of two that take turns.
class GgufCode : public TensorCode {
public:
  /// `groups`: how often the tensors take turns.
  GgufCode(std::vector<SourceTensor> parts, std::vector<GgufRows> pieces, int64_t groups)
      : TensorCode(std::move(parts)), pieces(std::move(pieces)), groups(groups) {}

  void decode(int64_t first, int64_t count, float *out) const override {
    if (pieces.size() == 1)
      return pieces[0].decode(first, count, out);
    for (int64_t row = first; row < first + count; ++row, out += pieces[0].columns) {
      auto [piece, place] = placeOf(row);
      piece->decode(place, 1, out);
    }
  }

  std::optional<StoredGroups> storedGroups() const override { return groupsOfAll(pieces); }
  void readGroups(int64_t row, int8_t *codes, char *scales) const override {
    auto [piece, place] = placeOf(row);
    piece->readGroups(place, codes, scales);
  }

private:
  std::pair<const GgufRows *, int64_t> placeOf(int64_t row) const {
    if (pieces.size() == 1)
      return {&pieces[0], row};
    const int64_t upper = pieces[0].rows / groups, lower = pieces[1].rows / groups,
                  group = row / (upper + lower), inGroup = row % (upper + lower);
    if (inGroup < upper)
      return {&pieces[0], group * upper + inGroup};
    return {&pieces[1], group * lower + inGroup - upper};
  }

  const std::vector<GgufRows> pieces;
  const int64_t groups;
};

/// Rows, elements of a vector, or columns that lie in another order.
class MovedCode : public TensorCode {
public:
  /// `places`: where each row lies, counted through all pieces; or each element, or column.
  MovedCode(std::vector<SourceTensor> parts, std::vector<GgufRows> pieces, bool movesRows,
            std::vector<int64_t> places)
      : TensorCode(std::move(parts)), pieces(std::move(pieces)), movesRows(movesRows),
        places(std::move(places)) {}

  void decode(int64_t first, int64_t count, float *out) const override {
    const int64_t columns = pieces[0].columns;
    std::vector<float> values(static_cast<size_t>(movesRows ? 0 : columns));
    for (int64_t row = first; row < first + count; ++row, out += columns) {
      if (movesRows) {
        auto [piece, place] = placeOf(row);
        piece->decode(place, 1, out);
        continue;
      }
      pieces[0].decode(row, 1, values.data());
      for (int64_t i = 0; i < columns; ++i)
        out[i] = values[static_cast<size_t>(places[static_cast<size_t>(i)])];
    }
  }

  /// Of columns where whole groups, or what has scales together, move.
  std::optional<StoredGroups> storedGroups() const override {
    std::optional<StoredGroups> groups = groupsOfAll(pieces);
    if (groups && !movesRows)
      for (size_t i = 0, size = size_t(groups->scaleColumns()); i < places.size(); ++i)
        if (i % size ? places[i] != places[i - 1] + 1 : places[i] % groups->scaleColumns() != 0)
          return std::nullopt;
    return groups;
  }
  void readGroups(int64_t row, int8_t *codes, char *scales) const override {
    if (movesRows) {
      auto [piece, place] = placeOf(row);
      return piece->readGroups(place, codes, scales);
    }
    const StoredGroups groups = *groupsOfAll(pieces);
    const int64_t columns = pieces[0].columns, size = groups.scaleColumns(),
                  bytes = groups.scaleBytes();
    std::vector<int8_t> allCodes(static_cast<size_t>(columns));
    std::vector<char> allScales(static_cast<size_t>(columns / size * bytes));
    pieces[0].readGroups(row, allCodes.data(), allScales.data());
    for (int64_t i = 0; i < columns; i += size) {
      const int64_t from = places[static_cast<size_t>(i)];
      std::copy_n(&allCodes[static_cast<size_t>(from)], size, codes + i);
      std::copy_n(&allScales[static_cast<size_t>(from / size * bytes)], bytes,
                  scales + i / size * bytes);
    }
  }

private:
  std::pair<const GgufRows *, int64_t> placeOf(int64_t row) const {
    const int64_t place = places[static_cast<size_t>(row)];
    if (place < pieces[0].rows)
      return {&pieces[0], place};
    return {&pieces[1], place - pieces[0].rows};
  }

  const std::vector<GgufRows> pieces;
  const bool movesRows;
  const std::vector<int64_t> places;
};

class TensorReader {
public:
  TensorReader(const GgufFile &file, const GgufLayout &layout, const GgufSizes &sizes,
               EmitError emitError, GgufModel &out)
      : file(file), layout(layout), sizes(sizes), emitError(emitError), out(out) {}

  LogicalResult read() {
    for (const GgufTensor &tensor : file.tensors) {
      if (tensor.shape.size() > 1)
        ++types[nameOf(tensor.type)];
      if (failed(add(tensor)))
        return failure();
    }
    for (bool isOfHeads : {false, true})
      for (auto &[name, halves] : isOfHeads ? qkvz : joined)
        if (!halves.first || !halves.second)
          return error(halves.first ? *halves.first : *halves.second)
                 << "the other half of '" << name << "' is missing";
        else if (failed(isOfHeads ? joinHeads(name, *halves.first, *halves.second)
                                  : join(name, *halves.first, *halves.second)))
          return failure();
    for (const auto &[type, count] : types)
      out.types += (out.types.empty() ? "" : ", ") + std::to_string(count) + " of " + type.str();
    return success();
  }

private:
  /// Of the rows of heads: the two halves of each take turns, which llama.cpp's rotation of
  /// neighbours needs; or heads of values, the first of every key head first.
  enum class Order { halves, values };

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
      return place(tensor, layout.finalNorm.str(),
                   layout.hasWholeNorms ? GgufForm::transformed : GgufForm::same);
    if (StringRef name = tensor.name; name.consume_front("blk.")) {
      auto [layer, part] = name.split('.');
      // Layers behind the last, which predict further tokens.
      if (int64_t index; !layer.getAsInteger(10, index) && index >= sizes.layers &&
                         index < sizes.layers + sizes.further)
        return success();
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
      if (!layout.turnsHeads) {
        push(name, tensor, tensor.shape);
        return success();
      }
      return move(name, tensor, tensor.shape, /*movesRows=*/true, 0, sizes.headDim, Order::halves);
    case GgufForm::valueHeads:
      return move(name, tensor, tensor.shape, true, 0, sizes.valueDim, Order::values);
    case GgufForm::valueRows:
    case GgufForm::valueRowsTransformed:
      if (failed(move(name, tensor, tensor.shape, true, 0, 1, Order::values)))
        return failure();
      out.tensors.back().isTransformed = form == GgufForm::valueRowsTransformed;
      return success();
    case GgufForm::qkvRows:
      return move(name, tensor, tensor.shape, true, 2 * sizes.keyHeads * sizes.keyDim,
                  sizes.valueDim, Order::values);
    case GgufForm::qkvChannels:
      if (tensor.shape.size() != 2)
        return error(tensor) << "expected shape [channels, width], got [" << tensor.shape << "]";
      return move(name, tensor, {tensor.shape[0], 1, tensor.shape[1]}, true,
                  2 * sizes.keyHeads * sizes.keyDim, sizes.valueDim, Order::values);
    case GgufForm::valueColumns:
      return move(name, tensor, tensor.shape, false, 0, sizes.valueDim, Order::values);
    case GgufForm::qkvOfHeads:
      qkvz[name].first = &tensor;
      return success();
    case GgufForm::gateOfHeads:
      qkvz[name].second = &tensor;
      return success();
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
    case GgufForm::row:
      push(name, tensor, {1, llvm::product_of(tensor.shape)});
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

  /// `first` rows, or columns, lie where they belong; behind them are heads of `width` each.
  LogicalResult move(const std::string &name, const GgufTensor &tensor, SmallVector<int64_t> shape,
                     bool movesRows, int64_t first, int64_t width, Order order) {
    const int64_t share = sizes.keyHeads ? sizes.valueHeads / sizes.keyHeads : 1;
    const size_t rank = tensor.shape.size();
    const int64_t count = rank == 0 ? 0 : movesRows ? tensor.shape[0] : tensor.shape.back();
    const bool fits =
        order == Order::halves ? count % width == 0 : count - first == sizes.valueHeads * width;
    if (rank < 1 || rank > 2 || !fits)
      return error(tensor) << "expected " << (movesRows ? "rows" : "columns")
                           << " of whole heads of " << width << ", got shape [" << tensor.shape
                           << "]";
    if (order == Order::values && share == 1) {
      push(name, tensor, std::move(shape));
      return success();
    }
    std::vector<int64_t> places(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      const int64_t head = (i - first) / width, inHead = (i - first) % width, half = width / 2;
      places[static_cast<size_t>(i)] =
          i < first ? i
          : order == Order::halves
              ? head * width + inHead % half * 2 + inHead / half
              : first + (head % share * sizes.keyHeads + head / share) * width + inHead;
    }
    const SourceTensor source = lying(name, tensor);
    pushCode(source, std::move(shape),
             std::make_shared<MovedCode>(std::vector{source}, std::vector{rowsOf(tensor)},
                                         movesRows && rank > 1, std::move(places)));
    return success();
  }

  LogicalResult joinHeads(const std::string &name, const GgufTensor &qkv, const GgufTensor &z) {
    const int64_t keys = sizes.keyDim, values = sizes.valueHeads / sizes.keyHeads * sizes.valueDim,
                  ofKeys = sizes.keyHeads * keys, ofValues = sizes.keyHeads * values;
    if (qkv.shape.size() != 2 || z.shape.size() != 2 || qkv.shape[1] != z.shape[1] ||
        qkv.shape[0] != 2 * ofKeys + ofValues || z.shape[0] != ofValues)
      return error(qkv) << "expected " << 2 * ofKeys + ofValues << " rows, and " << ofValues
                        << " of '" << z.name << "', got shapes [" << qkv.shape << "] and ["
                        << z.shape << "]";
    std::vector<int64_t> places;
    auto add = [&](int64_t first, int64_t count) {
      for (int64_t i = 0; i < count; ++i)
        places.push_back(first + i);
    };
    for (int64_t head = 0; head < sizes.keyHeads; ++head) {
      add(head * keys, keys);
      add(ofKeys + head * keys, keys);
      add(2 * ofKeys + head * values, values);
      add(2 * ofKeys + ofValues + head * values, values);
    }
    std::vector<SourceTensor> parts{lying(name, qkv), lying(name, z)};
    SourceTensor like = parts[0];
    if (parts[1].type != like.type)
      like.type = StoredType::f32;
    const SmallVector<int64_t> shape{int64_t(places.size()), qkv.shape[1]};
    pushCode(like, shape,
             std::make_shared<MovedCode>(std::move(parts), std::vector{rowsOf(qkv), rowsOf(z)},
                                         /*movesRows=*/true, std::move(places)));
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
    const int64_t half = sizes.headDim / 2;
    if (tensor.type != GgmlType::f32 || tensor.shape != SmallVector<int64_t>{half})
      return error(tensor) << "expected shape [" << half << "] of F32, got [" << tensor.shape
                           << "] of " << nameOf(tensor.type);
    out.rotaryFactors.resize(half);
    decodeBlocks(tensor.type, tensor.data.data(), half, out.rotaryFactors.data());
    for (float factor : out.rotaryFactors)
      if (!(factor > 0) || std::isinf(factor))
        return error(tensor) << "expected positive numbers, got " << factor;
    return success();
  }

  const GgufFile &file;
  const GgufLayout &layout;
  const GgufSizes &sizes;
  EmitError emitError;
  GgufModel &out;
  std::map<StringRef, int> types;
  /// Matrices of which the file holds two parts.
  std::map<std::string, std::pair<const GgufTensor *, const GgufTensor *>> joined, qkvz;
};

} // namespace

LogicalResult m1c::readGgufTensors(const GgufFile &file, const GgufLayout &layout,
                                   const GgufSizes &sizes, EmitError emitError, GgufModel &out) {
  return TensorReader(file, layout, sizes, emitError, out).read();
}
