// Verifiers of the m1 operations: shapes that must agree, said with what was expected and what was
// found.
#include "M1/IR/Int4.h"
#include "M1/IR/Scalars.h"

using namespace mlir;
using namespace mlir::m1;

static std::string shapeText(ArrayRef<int64_t> shape) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  stream << "[";
  llvm::interleaveComma(shape, stream, [&](int64_t size) {
    ShapedType::isDynamic(size) ? stream << "?" : stream << size;
  });
  stream << "]";
  return text;
}

/// `names` spells the expected shape, as in "[d_inner, d_state]".
static LogicalResult expectShape(Operation *op, StringRef operand, Value value, StringRef names,
                                 ArrayRef<int64_t> expected) {
  if (!value)
    return success();
  ArrayRef<int64_t> shape = cast<RankedTensorType>(value.getType()).getShape();
  if (shape == expected)
    return success();
  return op->emitOpError() << "expected " << operand << " of shape " << names << " = "
                           << shapeText(expected) << ", got " << shapeText(shape);
}

static LogicalResult expectState(Operation *op, StringRef operand, Type type, StringRef names,
                                 ArrayRef<int64_t> expected) {
  ArrayRef<int64_t> shape = cast<StateTypeInterface>(type).getShape();
  if (shape == expected)
    return success();
  return op->emitOpError() << "expected " << operand << " of shape " << names << " = "
                           << shapeText(expected) << ", got " << shapeText(shape);
}

/// Rows are [T, features]: `features` columns and the row count of `like`.
static LogicalResult expectRows(Operation *op, StringRef operand, Value value, Value like,
                                StringRef features, int64_t expected) {
  if (!value)
    return success();
  int64_t rows = cast<RankedTensorType>(like.getType()).getDimSize(0);
  std::string names = ("[rows, " + features + "]").str();
  return expectShape(op, operand, value, names, {rows, expected});
}

static LogicalResult expectPositive(Operation *op, StringRef attribute, int64_t value) {
  if (value > 0)
    return success();
  return op->emitOpError() << "expected positive " << attribute << ", got " << value;
}

/// Finite and at least zero: what every eps must be.
static LogicalResult expectEps(Operation *op, const APFloat &eps) {
  if (eps.isFinite() && !eps.isNegative())
    return success();
  return op->emitOpError() << "expected a finite eps of at least 0, got " << eps.convertToDouble();
}

LogicalResult ModelOp::verify() {
  for (auto [name, value] : {std::pair<StringRef, int64_t>{"vocab_size", getVocabSize()},
                             {"hidden_size", getHiddenSize()},
                             {"layers", getLayers()},
                             {"max_positions", getMaxPositions()},
                             {"page_size", getPageSize()}})
    if (failed(expectPositive(*this, name, value)))
      return failure();
  if (!isa<Float32Type, BFloat16Type>(getActivationType()))
    return emitOpError() << "expected activation_type f32 or bf16, got " << getActivationType();
  if (!isa<Float32Type, BFloat16Type, Float16Type>(getStateType()))
    return emitOpError() << "expected state_type f32, bf16 or f16, got " << getStateType();
  if (!isa<Float32Type, BFloat16Type, Float16Type>(getKvType()) && !isCacheCode(getKvType()))
    return emitOpError() << "expected kv_type f32, bf16, f16, i8 or f8E4M3FN, got " << getKvType();
  return success();
}

/// What holds for the module as a whole.
LogicalResult ModelOp::verifySymbolUses(SymbolTableCollection &) {
  Operation *module = (*this)->getParentOp();
  for (Operation &op : module->getRegion(0).front()) {
    if (auto other = dyn_cast<ModelOp>(op); other && other->isBeforeInBlock(*this))
      return emitOpError() << "expected one m1.model in a module, got a second beside @"
                           << other.getSymName();
    auto state = dyn_cast<StateOp>(op);
    auto cache = state ? dyn_cast<KVCacheType>(state.getType()) : KVCacheType();
    if (cache && cache.getShape()[1] != static_cast<int64_t>(getPageSize()))
      return state.emitOpError() << "expected pages of page_size = " << getPageSize()
                                 << " positions, as @" << getSymName() << " says, got "
                                 << cache.getShape()[1];
  }
  WalkResult result = module->walk([&](RotaryTableOp table) -> WalkResult {
    int64_t blocks = table.getHi().getType().getDimSize(0);
    if ((static_cast<int64_t>(getMaxPositions()) - 1) / rotaryStep < blocks)
      return WalkResult::advance();
    return table.emitOpError() << "expected hi for max_positions = " << getMaxPositions()
                               << " positions, got " << blocks << " blocks of " << rotaryStep;
  });
  return failure(result.wasInterrupted());
}

LogicalResult WeightOp::verify() {
  RankedTensorType type = getTensorType();
  if (!type.hasStaticShape())
    return emitOpError() << "expected a static shape, got " << type;
  int initialisers = bool(getSourcesAttr()) + bool(getValueAttr()) + bool(getAnglesAttr()) +
                     bool(getScalesOfAttr());
  if (initialisers != 1)
    return emitOpError() << "expected exactly one of sources, scales_of, value and angles, got "
                         << initialisers;
  if (getSourcesAttr() && getSourcesAttr().empty())
    return emitOpError() << "expected at least one source";
  if (!getSourcesAttr() && getTransform() != Transform::None)
    return emitOpError() << "expected transform only with sources, got "
                         << stringifyTransform(getTransform());
  const std::optional<GroupForm> form = groupFormOf(getTransform());
  if ((getTransform() == Transform::Int8Rows || (form && form->bits == 8)) &&
      (type.getRank() != 2 || !type.getElementType().isSignlessInteger(8)))
    return emitOpError() << "expected a matrix of i8 with transform "
                         << stringifyTransform(getTransform()) << ", got " << type;
  if (getTransform() == Transform::Fp8Rows &&
      (type.getRank() != 2 || !isa<Float8E4M3FNType>(type.getElementType())))
    return emitOpError() << "expected a matrix of f8E4M3FN with transform fp8_rows, got " << type;
  if (form && form->bits == 4 &&
      (type.getRank() != 2 || !isInt4Pairs(type.getElementType()) ||
       type.getDimSize(1) % int4BlockBytes))
    return emitOpError() << "expected a matrix of ui8 with rows of whole blocks of "
                         << int4BlockBytes << " bytes with transform "
                         << stringifyTransform(getTransform()) << ", got " << type;
  if (getSourcesAttr() && !isQuantised() && isQuantisedElement(type.getElementType()))
    return emitOpError() << "expected transform "
                         << (isInt4Pairs(type.getElementType())             ? "int4_groups_…"
                             : isa<Float8E4M3FNType>(type.getElementType()) ? "fp8_rows"
                                                                            : "int8_rows or "
                                                                              "int8_groups_…")
                         << " for elements of " << type.getElementType() << ", got "
                         << stringifyTransform(getTransform());
  const Type element = type.getElementType();
  const bool isPlain = element.isF32() || element.isBF16();
  if (getSourcesAttr() && !isQuantised() && !isPlain)
    return emitOpError() << "expected elements of f32 or bf16 from the checkpoint, got " << element;
  if (getValueAttr() && !isPlain && !element.isSignlessInteger(32))
    return emitOpError() << "expected a constant of f32, bf16 or i32, got " << element;
  if (std::optional<ArrayRef<int64_t>> rows = getRows()) {
    if (!getSourcesAttr() || rows->size() != 2 * getSourcesAttr().size())
      return emitOpError() << "expected rows as a pair for each of "
                           << (getSourcesAttr() ? getSourcesAttr().size() : 0) << " sources, got "
                           << rows->size() << " numbers";
    for (size_t i = 0; i < rows->size(); i += 2)
      if ((*rows)[i] < 0 || (*rows)[i + 1] < 1)
        return emitOpError() << "expected rows from 0 on and at least one, got " << (*rows)[i + 1]
                             << " from " << (*rows)[i];
  }
  if (ElementsAttr value = getValueAttr(); value && value.getShapedType() != type)
    return emitOpError() << "expected value of type " << type << ", got " << value.getShapedType();
  if (getAnglesAttr() &&
      (type.getRank() != 3 || type.getDimSize(2) != 2 || !type.getElementType().isF32()))
    return emitOpError() << "expected angles in a tensor of shape [rows, pairs, 2] of f32, got "
                         << type;
  if (getAnglesAttr() && getAnglesAttr().getFrequencies().size() != type.getDimSize(1))
    return emitOpError() << "expected " << type.getDimSize(1) << " frequencies, got "
                         << getAnglesAttr().getFrequencies().size();
  return success();
}

LogicalResult StateOp::verify() {
  if (!isa<StateTypeInterface>(getType()))
    return emitOpError() << "expected the type of a state, got " << getType();
  if (getWindow() && !isa<KVCacheType>(getType()))
    return emitOpError() << "expected a window of a KV cache, got one of " << getType();
  if (getWindow() && (*getWindow() < 1 || *getWindow() > std::numeric_limits<int32_t>::max()))
    return emitOpError() << "expected a window of at least one position that fits 32 bits, got "
                         << *getWindow();
  return success();
}

LogicalResult EmbeddingOp::verify() {
  return expectShape(
      *this, "result", getResult(), "[tokens, D]",
      {cast<RankedTensorType>(getTokens().getType()).getDimSize(0), columnsOf(getTable())});
}

/// A scale for each row of a weight of i8 or f8E4M3FN or for each group of one of i8 or int4 in
/// rows of `k`, none with other weights. `rows` is the dimension's name.
static LogicalResult expectScale(Operation *op, Value weight, Value scale, StringRef rows,
                                 int64_t k) {
  auto type = cast<RankedTensorType>(weight.getType());
  Type element = type.getElementType();
  if (bool(scale) != isQuantisedElement(element))
    return op->emitOpError() << (scale ? "expected scale only with a weight of i8, ui8 or "
                                         "f8E4M3FN, got one with "
                                       : "expected scale with a weight of i8, ui8 or f8E4M3FN, "
                                         "got none with ")
                             << type;
  if (!scale)
    return success();
  auto scales = cast<RankedTensorType>(scale.getType());
  if (isa<Float8E4M3FNType>(element) || (!isInt4Pairs(element) && !isOfGroups(scales))) {
    if (!scales.getElementType().isF32())
      return op->emitOpError() << "expected scale of f32 with a weight of " << element << ", got "
                               << scales;
    return expectShape(op, "scale", scale, ("[" + rows + "]").str(), {type.getDimSize(0)});
  }
  std::optional<int64_t> group;
  if (isOfGroups(scales) && scales.getDimSize(0) == type.getDimSize(0))
    group = groupOf(k, scales.getShape(), scales.getElementType());
  Type ofGroup = group ? scaleOfGroups(scales) : Type();
  if (!ofGroup || !isGroupScale(ofGroup, *group) || (*group == fineGroup && isInt4Pairs(element)))
    return op->emitOpError() << "expected scale [" << rows << ", groups] of bf16 or f16 or ["
                             << rows << ", groups, 2] of f32, groups of 32, 64 or 128 of " << k
                             << " columns, or [" << rows << ", " << k << " / 128, 12"
                             << (isInt4Pairs(element) ? "" : " or 10") << "] of i8, with " << type
                             << ", got " << scales;
  return success();
}

LogicalResult LinearOp::verify() {
  RankedTensorType weight = getWeight().getType();
  int64_t n = weight.getDimSize(0), k = columnsOf(getX());
  bool isInt4 = isInt4Pairs(weight.getElementType());
  if (failed(expectShape(*this, "weight", getWeight(),
                         isInt4 ? "[N, bytes of K columns of int4]" : "[N, K]",
                         {n, isInt4 ? int4RowBytes(k) : k})) ||
      failed(expectScale(*this, getWeight(), getScale(), "N", k)) ||
      failed(expectShape(*this, "bias", getBias(), "[N]", {n})))
    return failure();
  Type rows = getX().getType().getElementType();
  if (getRowScale() && !isa<Float8E4M3FNType>(weight.getElementType()))
    return emitOpError() << "expected row_scale only with a weight of f8E4M3FN, got one with "
                         << weight;
  if (isa<Float8E4M3FNType>(rows) && !getRowScale())
    return emitOpError() << "expected row_scale with x of f8E4M3FN, got none";
  if (getRowScale() && rows.isF32())
    return emitOpError() << "expected x of f8E4M3FN or bf16 with row_scale, got "
                         << getX().getType();
  if (failed(expectShape(*this, "row_scale", getRowScale(), "[rows]",
                         {getX().getType().getDimSize(0)})))
    return failure();
  return expectRows(*this, "result", getResult(), getX(), "N", n);
}

LogicalResult QuantizeRowsOp::verify() {
  if (failed(expectRows(*this, "codes", getCodes(), getX(), "K", columnsOf(getX()))))
    return failure();
  return expectShape(*this, "scale", getScale(), "[rows]", {getX().getType().getDimSize(0)});
}

/// `groups` ranges of as many of the `total` columns each.
static LogicalResult expectGroups(Operation *op, StringRef totalName, int64_t total,
                                  int64_t groups) {
  if (failed(expectPositive(op, "groups", groups)))
    return failure();
  if (total % groups)
    return op->emitOpError() << "expected groups to divide " << totalName << " = " << total
                             << ", got " << groups;
  return success();
}

/// A weight a column, or one for each column of a group.
static LogicalResult expectGroupWeight(Operation *op, Value weight, StringRef totalName,
                                       int64_t total, int64_t groups) {
  if (!weight || cast<RankedTensorType>(weight.getType()).getDimSize(0) == total / groups)
    return success();
  return expectShape(op, "weight", weight, ("[" + totalName + "]").str(), {total});
}

LogicalResult RmsNormOp::verify() {
  int64_t d = columnsOf(getX());
  if (failed(expectEps(*this, getEps())) || failed(expectGroups(*this, "D", d, getGroups())) ||
      failed(expectGroupWeight(*this, getWeight(), "D", d, getGroups())))
    return failure();
  return expectRows(*this, "result", getResult(), getX(), "D", d);
}

LogicalResult AddOp::verify() {
  if (failed(expectRows(*this, "x", getX(), getResidual(), "D", columnsOf(getResidual()))))
    return failure();
  return expectRows(*this, "result", getResult(), getResidual(), "D", columnsOf(getResidual()));
}

LogicalResult AddRmsNormOp::verify() {
  int64_t d = columnsOf(getResidual());
  if (std::optional<APFloat> factor = getFactor(); factor && !factor->isFinite())
    return emitOpError() << "expected a finite factor, got " << getFactorAttr();
  if (failed(expectEps(*this, getEps())) ||
      failed(expectRows(*this, "x", getX(), getResidual(), "D", d)) ||
      failed(expectShape(*this, "weight", getWeight(), "[D]", {d})) ||
      failed(expectRows(*this, "sum", getSum(), getResidual(), "D", d)))
    return failure();
  return expectRows(*this, "normed", getNormed(), getResidual(), "D", d);
}

LogicalResult SplitOp::verify() {
  int64_t sum = 0;
  for (auto [index, piece] : llvm::enumerate(getPieces())) {
    sum += columnsOf(piece);
    if (failed(expectRows(*this, ("piece " + Twine(index)).str(), piece, getX(), "N",
                          columnsOf(piece))))
      return failure();
    if (getElementTypeOrSelf(piece) != getElementTypeOrSelf(getX()))
      return emitOpError() << "expected pieces of x's element type " << getElementTypeOrSelf(getX())
                           << ", got " << getElementTypeOrSelf(piece);
  }
  if (sum != columnsOf(getX()))
    return emitOpError() << "expected pieces of " << columnsOf(getX()) << " columns together, got "
                         << sum;
  return success();
}

LogicalResult RepeatHeadsOp::verify() {
  if (failed(expectPositive(*this, "head_size", getHeadSize())) ||
      failed(expectPositive(*this, "repeat", getRepeat())))
    return failure();
  if (columnsOf(getX()) % getHeadSize())
    return emitOpError() << "expected x of whole heads of " << getHeadSize() << " columns, got "
                         << columnsOf(getX()) << " columns";
  return expectRows(*this, "result", getResult(), getX(), "repeat·columns",
                    columnsOf(getX()) * getRepeat());
}

LogicalResult SoftplusOp::verify() {
  if (failed(expectShape(*this, "bias", getBias(), "[C]", {columnsOf(getX())})))
    return failure();
  return expectRows(*this, "result", getResult(), getX(), "C", columnsOf(getX()));
}

LogicalResult SiluOp::verify() {
  return expectRows(*this, "result", getResult(), getA(), "C", columnsOf(getA()));
}

template <typename BinaryOp> static LogicalResult verifyBinary(BinaryOp op) {
  if (failed(expectRows(op, "b", op.getB(), op.getA(), "C", columnsOf(op.getA()))))
    return failure();
  return expectRows(op, "result", op.getResult(), op.getA(), "C", columnsOf(op.getA()));
}

LogicalResult MulOp::verify() { return verifyBinary(*this); }

LogicalResult SiluMulOp::verify() { return verifyBinary(*this); }

LogicalResult SkipOp::verify() {
  int64_t c = columnsOf(getY()), d = getD().getType().getDimSize(0);
  if (failed(expectRows(*this, "x", getX(), getY(), "C", c)))
    return failure();
  if (d <= 0 || c % d)
    return emitOpError() << "expected D of a length that divides C = " << c << ", got " << d;
  return expectRows(*this, "result", getResult(), getY(), "C", c);
}

LogicalResult MapOp::verifyRegions() {
  auto type = cast<RankedTensorType>(getOut().getType());
  int64_t c = type.getDimSize(1);
  for (auto [index, input] : llvm::enumerate(getInputs())) {
    std::string name = ("input " + Twine(index)).str();
    auto shape = cast<RankedTensorType>(input.getType()).getShape();
    if (shape.size() == 2) {
      if (failed(expectRows(*this, name, input, getOut(), "C", c)))
        return failure();
    } else if (shape[0] <= 0 || c % shape[0]) {
      return emitOpError() << "expected " << name << " of a length that divides C = " << c
                           << ", got " << shape[0];
    }
  }
  if (llvm::none_of(getInputs(), [](Value input) {
        return cast<RankedTensorType>(input.getType()).getRank() == 2;
      }))
    return emitOpError() << "expected an input of rows";
  return verifyScalars(*this, getBody(), getInputs().size());
}

LogicalResult GatedRmsNormOp::verify() {
  int64_t c = columnsOf(getY());
  if (failed(expectEps(*this, getEps())) || failed(expectGroups(*this, "C", c, getGroups())) ||
      failed(expectRows(*this, "z", getZ(), getY(), "C", c)) ||
      failed(expectGroupWeight(*this, getWeight(), "C", c, getGroups())))
    return failure();
  return expectRows(*this, "result", getResult(), getY(), "C", c);
}

LogicalResult GatedMlpOp::verify() {
  int64_t d = columnsOf(getX()), i = getGate().getType().getDimSize(0),
          out = getDown().getType().getDimSize(0);
  if (failed(expectShape(*this, "gate", getGate(), "[I, D]", {i, d})) ||
      failed(expectShape(*this, "up", getUp(), "[I, D]", {i, d})) ||
      failed(expectShape(*this, "down", getDown(), "[D, I]", {out, i})))
    return failure();
  return expectRows(*this, "result", getResult(), getX(), "D", out);
}

LogicalResult GatherRowsOp::verify() {
  if (columnsOf(getResult()) != columnsOf(getX()))
    return emitOpError() << "expected result of " << columnsOf(getX()) << " columns, got "
                         << columnsOf(getResult());
  return success();
}

LogicalResult RouterOp::verify() {
  int64_t count = columnsOf(getLogits()), chosen = columnsOf(getWeights());
  if (failed(expectRows(*this, "weights", getWeights(), getLogits(), "k", chosen)) ||
      failed(expectRows(*this, "experts", getExperts(), getLogits(), "k", chosen)) ||
      failed(expectShape(*this, "correction", getCorrection(), "[experts]", {count})) ||
      failed(expectPositive(*this, "groups", getGroups())) ||
      failed(expectPositive(*this, "kept_groups", getKeptGroups())))
    return failure();
  if (!getScale().isFinite())
    return emitOpError() << "expected a finite scale, got " << getScale().convertToDouble();
  int64_t groups = getGroups(), kept = getKeptGroups();
  if (count % groups || (groups > 1 && count / groups < 2))
    return emitOpError() << "expected " << count << " experts in equal groups of two or more, got "
                         << groups << " groups";
  if (kept > groups)
    return emitOpError() << "expected kept_groups of at most " << groups << ", got " << kept;
  if (chosen < 1 || chosen > count / groups * kept)
    return emitOpError() << "expected from 1 to " << count / groups * kept << " experts a row, got "
                         << chosen;
  return success();
}

int64_t mlir::m1::columnsOfExperts(ExpertLinearOp op) {
  auto weight = cast<RankedTensorType>(op.getWeight().getType());
  if (!isInt4Pairs(weight.getElementType()))
    return weight.getDimSize(1);
  Value scale = op.getScale();
  auto scales = scale ? cast<RankedTensorType>(scale.getType()) : RankedTensorType();
  return int4ColumnsOf(columnsOf(op.getX()), columnsOf(op.getExperts()), weight.getDimSize(1),
                       scales && isOfGroups(scales) ? scales.getDimSize(1) : 0)
      .value_or(0);
}

LogicalResult ExpertLinearOp::verify() {
  auto weight = cast<RankedTensorType>(getWeight().getType());
  int64_t count = getCount(), chosen = columnsOf(getExperts()), k = columnsOfExperts(*this);
  if (k < 1)
    return emitOpError()
           << "expected weight and scale of int4 for rows of K columns with x of K or "
           << "k·K = " << columnsOf(getX()) << ", got " << weight;
  if (failed(expectPositive(*this, "count", count)) ||
      failed(expectRows(*this, "experts", getExperts(), getX(), "k", chosen)) ||
      failed(expectScale(*this, getWeight(), getScale(), "E·R", k)))
    return failure();
  if (weight.getDimSize(0) % count)
    return emitOpError() << "expected rows of weight that are a multiple of count = " << count
                         << ", got " << weight.getDimSize(0);
  if (columnsOf(getX()) != k && failed(expectRows(*this, "x", getX(), getX(), "k·K", chosen * k)))
    return failure();
  int64_t rows = weight.getDimSize(0) / count, first = getFirst(), n = columnsOf(getOut()) / chosen;
  if (failed(expectRows(*this, "result", getOut(), getX(), "k·N", n * chosen)))
    return failure();
  if (first < 0 || n < 1 || first + n > rows)
    return emitOpError() << "expected first and N within the " << rows << " rows of an expert, got "
                         << first << " and " << n;
  return success();
}

LogicalResult CombineOp::verify() {
  int64_t parts = columnsOf(getWeights()), c = columnsOf(getOut());
  return success(succeeded(expectRows(*this, "weights", getWeights(), getX(), "k", parts)) &&
                 succeeded(expectRows(*this, "result", getOut(), getX(), "C", c)) &&
                 succeeded(expectRows(*this, "x", getX(), getX(), "k·C", parts * c)));
}

LogicalResult CausalConv1dOp::verify() {
  int64_t c = getWeight().getType().getDimSize(0), width = columnsOf(getWeight()),
          ci = columnsOf(getX());
  if (failed(expectPositive(*this, "repeat", getRepeat())) ||
      failed(expectPositive(*this, "head_size", getHeadSize())))
    return failure();
  if (width < 1)
    return emitOpError() << "expected weight of shape [C, K] with positive K, got K = " << width;
  if (ci * static_cast<int64_t>(getRepeat()) != c)
    return emitOpError() << "expected x of C / repeat = " << c << " / " << getRepeat()
                         << " columns, got " << ci;
  if (ci % getHeadSize())
    return emitOpError() << "expected x of whole heads of " << getHeadSize() << " columns, got "
                         << ci << " columns";
  if (failed(expectShape(*this, "bias", getBias(), "[C]", {c})) ||
      failed(expectState(*this, "state", getState().getType(), "[K - 1, columns of x]",
                         {width - 1, ci})))
    return failure();
  return expectRows(*this, "result", getResult(), getX(), "C", c);
}

/// Rows of heads of `size` columns, each of which serves as many of `total` neighbours.
static LogicalResult expectSharedHeads(Operation *op, StringRef operand, Value value,
                                       StringRef sizeName, int64_t size, StringRef totalName,
                                       int64_t total) {
  int64_t count = columnsOf(value);
  if (count > 0 && count % size == 0 && total % (count / size) == 0)
    return success();
  return op->emitOpError() << "expected " << operand << " of heads of " << sizeName << " = " << size
                           << " columns whose number divides " << totalName << " = " << total
                           << ", got " << count << " columns";
}

LogicalResult SelectiveScanOp::verify() {
  int64_t inner = columnsOf(getDt()), n = columnsOf(getA()), xColumns = columnsOf(getX());
  if (failed(expectShape(*this, "A", getA(), "[d_inner, d_state]", {inner, n})))
    return failure();
  if (n <= 0)
    return emitOpError() << "expected A of positive d_state, got " << n;
  if (failed(expectSharedHeads(*this, "B", getB(), "d_state", n, "d_inner", inner)) ||
      failed(expectSharedHeads(*this, "C", getC(), "d_state", n, "d_inner", inner)))
    return failure();
  if (xColumns != inner && (xColumns <= 0 || xColumns % n || inner % xColumns))
    return emitOpError() << "expected x of d_inner = " << inner
                         << " columns, or of whole heads of d_state = " << n
                         << " columns that repeat to them, got " << xColumns << " columns";
  if (getDtBias() && !getDeltaSoftplus())
    return emitOpError() << "expected delta_softplus with dt_bias";
  if (failed(expectRows(*this, "x", getX(), getDt(), "columns", xColumns)) ||
      failed(expectRows(*this, "B", getB(), getDt(), "columns", columnsOf(getB()))) ||
      failed(expectRows(*this, "C", getC(), getDt(), "columns", columnsOf(getC()))) ||
      failed(expectShape(*this, "D", getD(), "[d_inner]", {inner})) ||
      failed(expectRows(*this, "z", getZ(), getDt(), "d_inner", inner)) ||
      failed(expectShape(*this, "dt_bias", getDtBias(), "[d_inner]", {inner})) ||
      failed(expectState(*this, "state", getState().getType(), "[d_inner, d_state]", {inner, n})))
    return failure();
  return expectRows(*this, "result", getResult(), getDt(), "d_inner", inner);
}

LogicalResult SsdScanOp::verify() {
  int64_t heads = columnsOf(getDt());
  ArrayRef<int64_t> state = getState().getType().getShape();
  if (state.size() != 3 || state[0] != heads)
    return emitOpError() << "expected state of shape [H, P, N] with H = " << heads << ", got "
                         << shapeText(state);
  int64_t p = state[1], n = state[2];
  if (failed(expectSharedHeads(*this, "x", getX(), "P", p, "H", heads)) ||
      failed(expectSharedHeads(*this, "B", getB(), "N", n, "H", heads)) ||
      failed(expectSharedHeads(*this, "C", getC(), "N", n, "H", heads)))
    return failure();
  if (getDtBias() && !getDeltaSoftplus())
    return emitOpError() << "expected delta_softplus with dt_bias";
  if (failed(expectRows(*this, "dt", getDt(), getX(), "H", heads)) ||
      failed(expectShape(*this, "A", getA(), "[H]", {heads})) ||
      failed(expectRows(*this, "B", getB(), getX(), "columns", columnsOf(getB()))) ||
      failed(expectRows(*this, "C", getC(), getX(), "columns", columnsOf(getC()))) ||
      failed(expectShape(*this, "D", getD(), "[H]", {heads})) ||
      failed(expectShape(*this, "dt_bias", getDtBias(), "[H]", {heads})))
    return failure();
  return expectRows(*this, "result", getResult(), getX(), "H·P", heads * p);
}

LogicalResult GatedDeltaOp::verify() {
  int64_t heads = columnsOf(getA());
  ArrayRef<int64_t> state = getState().getType().getShape();
  if (state.size() != 3 || state[0] != heads)
    return emitOpError() << "expected state of shape [Hv, Dk, Dv] with Hv = " << heads << ", got "
                         << shapeText(state);
  if (failed(expectEps(*this, getEps())) ||
      failed(expectSharedHeads(*this, "q", getQ(), "Dk", state[1], "Hv", heads)) ||
      failed(expectRows(*this, "k", getK(), getQ(), "columns of q", columnsOf(getQ()))) ||
      failed(expectRows(*this, "v", getV(), getQ(), "Hv·Dv", heads * state[2])) ||
      failed(expectRows(*this, "a", getA(), getQ(), "Hv", heads)) ||
      failed(expectRows(*this, "b", getB(), getQ(), "Hv", heads)) ||
      failed(expectShape(*this, "decay", getDecay(), "[Hv]", {heads})) ||
      failed(expectShape(*this, "dt_bias", getDtBias(), "[Hv]", {heads})))
    return failure();
  return expectRows(*this, "result", getResult(), getQ(), "Hv·Dv", heads * state[2]);
}

LogicalResult RgLruOp::verify() {
  int64_t c = columnsOf(getX());
  if (failed(expectRows(*this, "input_gate", getInputGate(), getX(), "C", c)) ||
      failed(expectRows(*this, "recurrence_gate", getRecurrenceGate(), getX(), "C", c)) ||
      failed(expectShape(*this, "lambda", getLambda(), "[C]", {c})) ||
      failed(expectState(*this, "state", getState().getType(), "[C]", {c})))
    return failure();
  return expectRows(*this, "result", getResult(), getX(), "C", c);
}

LogicalResult RotaryTableOp::verify() {
  int64_t d = columnsOf(getResult());
  if (d <= 0 || d % 2)
    return emitOpError() << "expected result of an even number of columns, got " << d;
  if (failed(expectShape(*this, "hi", getHi(), "[blocks, d/2, 2]",
                         {getHi().getType().getDimSize(0), d / 2, 2})))
    return failure();
  return expectShape(*this, "lo", getLo(), "[256, d/2, 2]", {rotaryStep, d / 2, 2});
}

LogicalResult SampleOp::verify() {
  const int64_t all = columnsOf(getLogits());
  if (int64_t ids = static_cast<int64_t>(getIds().value_or(all)); ids < 1 || ids > all)
    return emitOpError() << "expected ids from 1 to " << all << ", the columns of logits, got "
                         << ids;
  return expectShape(*this, "result", getResult(), "[rows]",
                     {cast<RankedTensorType>(getLogits().getType()).getDimSize(0)});
}

/// Rows of whole heads of `headDim` columns.
static LogicalResult expectHeads(Operation *op, StringRef operand, Value value, int64_t headDim) {
  if (columnsOf(value) > 0 && columnsOf(value) % headDim == 0)
    return success();
  return op->emitOpError() << "expected " << operand << " of whole heads of " << headDim
                           << " columns, got " << columnsOf(value) << " columns";
}

/// Angles for the rows of `like`: an even number of columns, at most a head's.
static LogicalResult expectAngles(Operation *op, Value table, Value like, int64_t headDim) {
  if (headDim <= 0 || headDim % 2)
    return op->emitOpError() << "expected an even positive head_dim, got " << headDim;
  int64_t turned = columnsOf(table);
  if (turned <= 0 || turned % 2 || turned > headDim)
    return op->emitOpError() << "expected table of an even number of columns, at most head_dim = "
                             << headDim << ", got " << turned;
  return expectRows(op, "table", table, like, "columns", turned);
}

LogicalResult RotaryEmbeddingOp::verify() {
  int64_t d = getHeadDim();
  if (failed(expectAngles(*this, getTable(), getX(), d)) ||
      failed(expectHeads(*this, "x", getX(), d)))
    return failure();
  return expectRows(*this, "result", getResult(), getX(), "columns", columnsOf(getX()));
}

static LogicalResult expectKeysAndValues(Operation *op, Value k, Value v, KVCacheType cache) {
  int64_t width = cache.getShape()[0] * cache.getShape()[2];
  if (failed(expectRows(op, "k", k, k, "kv_heads·head_dim", width)))
    return failure();
  return expectRows(op, "v", v, k, "kv_heads·head_dim", width);
}

LogicalResult KVWriteOp::verify() {
  return expectKeysAndValues(*this, getK(), getV(), getCache().getType());
}

LogicalResult RotaryKVWriteOp::verify() {
  int64_t d = getCache().getType().getShape()[2];
  if (failed(expectAngles(*this, getTable(), getQ(), d)) ||
      failed(expectHeads(*this, "q", getQ(), d)) ||
      failed(expectKeysAndValues(*this, getK(), getV(), getCache().getType())) ||
      failed(expectRows(*this, "k", getK(), getQ(), "kv_heads·head_dim", columnsOf(getK()))))
    return failure();
  return expectRows(*this, "result", getResult(), getQ(), "columns", columnsOf(getQ()));
}

LogicalResult AttentionOp::verify() {
  if (!getScale().isFiniteNonZero() || getScale().isNegative())
    return emitOpError() << "expected a finite positive scale, got "
                         << getScale().convertToDouble();
  int64_t kvHeads = getCache().getType().getShape()[0], d = getCache().getType().getShape()[2];
  if (failed(expectHeads(*this, "q", getQ(), d)))
    return failure();
  if (auto window = static_cast<int64_t>(getWindow()); window < 0)
    return emitOpError() << "expected a window of at least 0, got " << window;
  if (columnsOf(getQ()) / d % kvHeads)
    return emitOpError() << "expected a number of query heads that is a multiple of kv_heads = "
                         << kvHeads << ", got " << columnsOf(getQ()) / d;
  return expectRows(*this, "result", getResult(), getQ(), "columns", columnsOf(getQ()));
}
