// Walks a function of the m1 dialect and evaluates each operation by its formula.
#include "m1c/Reference.h"

#include "Evaluation.h"
#include "M1/IR/Int4.h"
#include "m1c/Weights.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>
#include <cstring>
#include <limits>

using namespace mlir;
using namespace m1c::reference;

namespace m1c {

/// Sign, four bits of exponent of bias 7, three of mantissa.
static double valueOfE4m3(uint8_t code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  const double size = (code & 0x7f) == 0x7f ? std::numeric_limits<double>::quiet_NaN()
                      : exponent            ? std::ldexp(8 + mantissa, exponent - 10)
                                            : std::ldexp(mantissa, -9);
  return code & 0x80 ? -size : size;
}

static double valueOfF16(uint16_t bits) {
  return APFloat(APFloat::IEEEhalf(), APInt(16, bits)).convertToDouble();
}

/// The elements of a weight as rows: [a, b, c, …] is a rows of b·c·… columns, a vector one row.
/// Pairs of int4 are bytes.
static FailureOr<Rows> readWeight(m1::WeightOp op, const CheckpointData &data) {
  auto type = op.getTensorType();
  std::string bytes;
  if (failed(writeWeight(op, data, [&](llvm::ArrayRef<char> chunk) {
        bytes.append(chunk.data(), chunk.size());
        return success();
      })))
    return failure();
  int64_t count = type.getNumElements();
  Rows rows(type.getRank() < 2 ? 1 : type.getDimSize(0), 0);
  rows.columns = rows.rows ? count / rows.rows : 0;
  rows.values.resize(count);
  Type element = type.getElementType();
  int64_t width = element.getIntOrFloatBitWidth() / 8;
  bool isPairs = m1::isInt4Pairs(element), isE4m3 = isa<Float8E4M3FNType>(element);
  if (!(element.isF32() || element.isBF16() || element.isF16() || element.isSignlessInteger(8) ||
        isPairs || isE4m3))
    return op.emitOpError("cannot be evaluated: expected elements of f32, bf16, f16, i8, ui8 or "
                          "f8E4M3FN, got ")
           << element;
  assert(static_cast<int64_t>(bytes.size()) == count * width && "writeWeight writes all elements");
  for (int64_t i = 0; i < count; ++i) {
    if (width == 1) {
      auto byte = static_cast<uint8_t>(bytes[i]);
      rows.values[i] = isE4m3 ? valueOfE4m3(byte) : isPairs ? byte : static_cast<int8_t>(byte);
      continue;
    }
    uint32_t bits = 0;
    if (element.isF16()) {
      uint16_t half;
      std::memcpy(&half, bytes.data() + i * 2, 2);
      rows.values[i] = valueOfF16(half);
      continue;
    }
    if (width == 2)
      std::memcpy(reinterpret_cast<char *>(&bits) + 2, bytes.data() + i * 2, 2);
    else
      std::memcpy(&bits, bytes.data() + i * 4, 4);
    float value;
    std::memcpy(&value, &bits, 4);
    rows.values[i] = value;
  }
  return rows;
}

struct Reference::Implementation {
  explicit Implementation(ModuleOp module) : module(module) {}
  ModuleOp module;
  llvm::StringMap<Rows> weights;
  llvm::StringMap<Pool> states;
  llvm::StringMap<ReferenceInputs> *observed = nullptr;
};

namespace reference {

FailureOr<ReferenceResult> Evaluation::run(func::FuncOp function) {
  for (Operation &op : function.getBody().front()) {
    if (auto terminator = dyn_cast<func::ReturnOp>(op)) {
      ReferenceResult result;
      const Rows &logits = get(terminator.getOperand(0));
      result.vocabSize = logits.columns;
      result.logits = logits.values;
      result.nextTokens = tokens[terminator.getOperand(1)];
      return result;
    }
    if (failed(evaluate(&op)))
      return failure();
  }
  llvm_unreachable("what ends a block is a return or has no evaluation");
}

static CacheShape cacheShape(Value cache) {
  auto type = cast<m1::KVCacheType>(cache.getType());
  CacheCode code = !type.isQuantised()                  ? CacheCode::none
                   : type.getElementType().isInteger(8) ? CacheCode::i8
                                                        : CacheCode::e4m3;
  return {type.getShape()[0], type.getShape()[1], type.getShape()[2], code};
}

/// Scale, and minimum or 0, of each group of columns.
static std::vector<std::pair<double, double>> scalesOf(const Rows &scales, RankedTensorType type) {
  std::vector<std::pair<double, double>> result;
  const std::vector<double> &values = scales.values;
  if (!m1::isTwoLevels(type.getElementType())) {
    const size_t width = m1::hasMinimums(type) ? 2 : 1;
    for (size_t i = 0; i < values.size(); i += width)
      result.emplace_back(values[i], width == 2 ? values[i + 1] : 0.0);
    return result;
  }
  // Bytes were read as i8.
  auto byte = [&](size_t i) { return static_cast<uint8_t>(static_cast<int>(values[i])); };
  auto half = [&](size_t i) {
    return valueOfF16(static_cast<uint16_t>(byte(i) | byte(i + 1) << 8));
  };
  if (m1::hasMinimums(type))
    for (size_t i = 0; i < values.size(); i += m1::pairedBlockBytes)
      for (size_t g = 0; g < 4; ++g)
        result.emplace_back(half(i) * byte(i + 4 + g), half(i + 2) * byte(i + 8 + g));
  else
    for (size_t i = 0; i < values.size(); i += m1::fineBlockBytes)
      for (size_t g = 0; g < 8; ++g)
        result.emplace_back(half(i) * values[i + 2 + g], 0.0);
  return result;
}

/// The weight of a linear with rows of `columns`; quantised: its elements times the scale of
/// their row or group.
Rows Evaluation::weightOf(Value weight, Value scale, int64_t columns) const {
  Rows rows = get(weight);
  if (scale && m1::isOfGroups(cast<RankedTensorType>(scale.getType()))) {
    const auto type = cast<RankedTensorType>(scale.getType());
    const bool hasMinimums = m1::hasMinimums(type);
    const auto scales = scalesOf(get(scale), type);
    const int64_t group = *m1::groupOf(columns, type.getShape(), type.getElementType()),
                  groups = m1::groupsOf(columns, group);
    const bool isPairs = m1::isInt4Pairs(cast<RankedTensorType>(weight.getType()).getElementType());
    Rows wide(rows.rows, columns);
    for (int64_t n = 0; n < rows.rows; ++n)
      for (int64_t k = 0; k < columns; ++k) {
        m1::Int4Place place = m1::int4Place(k);
        int bits = isPairs ? static_cast<int>(rows.at(n, place.byte)) >> place.shift & 15 : 0;
        double code = !isPairs ? rows.at(n, k) : bits < 8 || hasMinimums ? bits : bits - 16;
        const auto [factor, minimum] = scales[static_cast<size_t>(n * groups + k / group)];
        wide.at(n, k) = code * factor - minimum;
      }
    return wide;
  }
  if (scale)
    for (int64_t n = 0; n < rows.rows; ++n)
      for (int64_t k = 0; k < rows.columns; ++k)
        rows.at(n, k) *= get(scale)[n];
  return rows;
}

/// Rows that a weight with rows of `columns` is multiplied by; a row of x may hold several.
void Evaluation::observe(Value weight, const Rows &x, int64_t columns) {
  auto get = weight.getDefiningOp<m1::GetWeightOp>();
  if (!observed || !get)
    return;
  ReferenceInputs &inputs = (*observed)[get.getWeight()];
  inputs.squares.resize(static_cast<size_t>(columns));
  inputs.rows += x.rows * (x.columns / columns);
  for (int64_t t = 0; t < x.rows; ++t)
    for (int64_t c = 0; c < x.columns; ++c)
      inputs.squares[static_cast<size_t>(c % columns)] += x.at(t, c) * x.at(t, c);
}

/// One instruction of scalar code in float64; false counts as 0.
static double evaluateScalar(StringRef name, DictionaryAttr attributes, ArrayRef<double> v) {
  if (name == arith::ConstantOp::getOperationName())
    return cast<FloatAttr>(attributes.get("value")).getValueAsDouble();
  if (name == arith::CmpFOp::getOperationName())
    return double(arith::applyCmpPredicate(
        cast<arith::CmpFPredicateAttr>(attributes.get("predicate")).getValue(), APFloat(v[0]),
        APFloat(v[1])));
  using Function = double (*)(ArrayRef<double>);
  static const llvm::StringMap<Function> functions = {
      {arith::AddFOp::getOperationName(), [](ArrayRef<double> v) { return v[0] + v[1]; }},
      {arith::SubFOp::getOperationName(), [](ArrayRef<double> v) { return v[0] - v[1]; }},
      {arith::MulFOp::getOperationName(), [](ArrayRef<double> v) { return v[0] * v[1]; }},
      {arith::DivFOp::getOperationName(), [](ArrayRef<double> v) { return v[0] / v[1]; }},
      {arith::NegFOp::getOperationName(), [](ArrayRef<double> v) { return -v[0]; }},
      {arith::MaximumFOp::getOperationName(),
       [](ArrayRef<double> v) { return std::max(v[0], v[1]); }},
      {arith::MinimumFOp::getOperationName(),
       [](ArrayRef<double> v) { return std::min(v[0], v[1]); }},
      {arith::SelectOp::getOperationName(),
       [](ArrayRef<double> v) { return v[0] != 0 ? v[1] : v[2]; }},
      {math::ErfOp::getOperationName(), [](ArrayRef<double> v) { return std::erf(v[0]); }},
      {math::ExpOp::getOperationName(), [](ArrayRef<double> v) { return std::exp(v[0]); }},
      {math::FmaOp::getOperationName(), [](ArrayRef<double> v) { return v[0] * v[1] + v[2]; }},
      {math::Log1pOp::getOperationName(), [](ArrayRef<double> v) { return std::log1p(v[0]); }},
      {math::SqrtOp::getOperationName(), [](ArrayRef<double> v) { return std::sqrt(v[0]); }},
      {math::TanhOp::getOperationName(), [](ArrayRef<double> v) { return std::tanh(v[0]); }},
  };
  auto found = functions.find(name);
  assert(found != functions.end() && "all that m1::isScalarOp allows is here");
  return found->second(v);
}

LogicalResult Evaluation::evaluateMap(m1::MapInterface op) {
  Value out = op->getResult(0);
  int64_t columns = cast<RankedTensorType>(out.getType()).getDimSize(1), count = 0;
  llvm::SmallVector<const Rows *> inputs;
  for (Value input : op->getOperands()) {
    inputs.push_back(&get(input));
    if (cast<RankedTensorType>(input.getType()).getRank() == 2)
      count = inputs.back()->rows;
  }
  ArrayAttr code = op.getCode();
  Rows result(count, columns);
  llvm::SmallVector<double> values, operands;
  for (int64_t t = 0; t < count; ++t)
    for (int64_t c = 0; c < columns; ++c) {
      values.clear();
      for (auto [input, rows] : llvm::zip_equal(op->getOperands(), inputs))
        values.push_back(cast<RankedTensorType>(input.getType()).getRank() == 2
                             ? rows->at(t, c)
                             : (*rows)[c / (columns / rows->columns)]);
      for (auto instruction : code.getAsRange<ArrayAttr>()) {
        operands.clear();
        for (int64_t number : cast<DenseI64ArrayAttr>(instruction[1]).asArrayRef())
          operands.push_back(values[number]);
        StringRef name = cast<StringAttr>(instruction[0]).getValue();
        if (name == m1::YieldOp::getOperationName()) {
          result.at(t, c) = operands[0];
          break;
        }
        values.push_back(evaluateScalar(
            name, instruction.size() > 2 ? cast<DictionaryAttr>(instruction[2]) : DictionaryAttr(),
            operands));
      }
    }
  return set(out, std::move(result));
}

LogicalResult Evaluation::embedding(m1::EmbeddingOp op) {
  const Rows &table = get(op.getTable());
  Rows result(batch.tokenCount(), table.columns);
  for (int64_t t = 0; t < result.rows; ++t) {
    int32_t token = batch.tokens[t];
    if (token < 0 || token >= table.rows)
      return op.emitOpError("token id ") << token << " is outside the vocabulary of " << table.rows;
    for (int64_t c = 0; c < table.columns; ++c)
      result.at(t, c) = table.at(token, c);
  }
  return set(op.getResult(), result);
}

LogicalResult Evaluation::evaluate(Operation *op) {
  auto siluTimes = [](double a, double b) { return silu(a) * b; };
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](m1::GetWeightOp op) {
        auto found = weights.find(op.getWeight());
        assert(found != weights.end() && "the verifier looks for the m1.weight");
        return set(op.getResult(), found->second);
      })
      .Case([&](m1::GetStateOp) { return success(); })
      .Case([&](m1::EmbeddingOp op) { return embedding(op); })
      .Case([&](m1::LinearOp op) {
        const Rows &x = get(op.getX());
        observe(op.getWeight(), x, x.columns);
        if (op.getRowScale())
          return set(op.getResult(), linear(scaled(x, get(op.getRowScale())),
                                            weightOf(op.getWeight(), op.getScale(), x.columns),
                                            getOptional(op.getBias())));
        if (isa<Float8E4M3FNType>(op.getWeight().getType().getElementType())) {
          QuantisedRows codes = quantizeRows(x);
          return set(op.getResult(), linear(scaled(std::move(codes.codes), codes.scale),
                                            weightOf(op.getWeight(), op.getScale(), x.columns),
                                            getOptional(op.getBias())));
        }
        return set(op.getResult(), linear(x, weightOf(op.getWeight(), op.getScale(), x.columns),
                                          getOptional(op.getBias())));
      })
      .Case([&](m1::QuantizeRowsOp op) {
        QuantisedRows result = quantizeRows(get(op.getX()));
        (void)set(op.getCodes(), std::move(result.codes));
        return set(op.getScale(), std::move(result.scale));
      })
      .Case([&](m1::RmsNormOp op) {
        return set(op.getResult(), rmsNorm(get(op.getX()), getOptional(op.getWeight()),
                                           op.getEps().convertToDouble(), op.getGroups()));
      })
      .Case([&](m1::AddRmsNormOp op) {
        const double factor = op.getFactor() ? op.getFactor()->convertToDouble() : 1;
        Rows sum = map(get(op.getResidual()), get(op.getX()),
                       [&](double residual, double x) { return residual + factor * x; });
        Rows normed = rmsNorm(sum, get(op.getWeight()), op.getEps().convertToDouble());
        (void)set(op.getSum(), std::move(sum));
        return set(op.getNormed(), std::move(normed));
      })
      .Case([&](m1::SplitOp op) {
        const Rows x = get(op.getX());
        int64_t begin = 0;
        for (Value piece : op.getPieces()) {
          int64_t count = cast<RankedTensorType>(piece.getType()).getDimSize(1);
          (void)set(piece, columns(x, begin, count));
          begin += count;
        }
        return success();
      })
      .Case([&](m1::RepeatHeadsOp op) {
        return set(op.getResult(), repeatHeads(get(op.getX()), op.getHeadSize(), op.getRepeat()));
      })
      .Case([&](m1::MapInterface op) { return evaluateMap(op); })
      .Case([&](m1::GatedRmsNormOp op) {
        auto normed = [&](const Rows &x) {
          return rmsNorm(x, get(op.getWeight()), op.getEps().convertToDouble(), op.getGroups());
        };
        if (op.getNormFirst())
          return set(op.getResult(), map(get(op.getZ()), normed(get(op.getY())), siluTimes));
        return set(op.getResult(), normed(map(get(op.getZ()), get(op.getY()), siluTimes)));
      })
      .Case([&](m1::GatedMlpOp op) {
        Rows inner = map(linear(get(op.getX()), get(op.getGate()), nullptr),
                         linear(get(op.getX()), get(op.getUp()), nullptr), siluTimes);
        return set(op.getResult(), linear(inner, get(op.getDown()), nullptr));
      })
      .Case([&](m1::GatherRowsOp op) {
        const Rows &x = get(op.getX());
        Rows result(static_cast<int64_t>(batch.logitRows.size()), x.columns);
        for (int64_t l = 0; l < result.rows; ++l)
          for (int64_t c = 0; c < x.columns; ++c)
            result.at(l, c) = x.at(batch.logitRows[l], c);
        return set(op.getResult(), std::move(result));
      })
      .Case([&](m1::SampleOp op) {
        const Rows &logits = get(op.getLogits());
        tokens[op.getResult()] =
            greatest(logits, static_cast<int64_t>(op.getIds().value_or(logits.columns)));
        return success();
      })
      .Case([&](m1::RouterOp op) {
        int64_t chosen = cast<RankedTensorType>(op.getWeights().getType()).getDimSize(1);
        Rows ofRows, names;
        route(get(op.getLogits()), getOptional(op.getCorrection()),
              {op.getSigmoid(), op.getNormalize(), op.getScale().convertToDouble(),
               static_cast<int64_t>(op.getGroups()), static_cast<int64_t>(op.getKeptGroups()),
               chosen},
              ofRows, names);
        (void)set(op.getWeights(), std::move(ofRows));
        return set(op.getExperts(), std::move(names));
      })
      .Case([&](m1::ExpertLinearOp op) {
        const Rows &experts = get(op.getExperts());
        const Rows weight = weightOf(op.getWeight(), op.getScale(), m1::columnsOfExperts(op));
        observe(op.getWeight(), get(op.getX()), weight.columns);
        int64_t n = cast<RankedTensorType>(op.getOut().getType()).getDimSize(1) / experts.columns;
        return set(op.getResult(), expertLinear(get(op.getX()), experts, weight,
                                                weight.rows / static_cast<int64_t>(op.getCount()),
                                                static_cast<int64_t>(op.getFirst()), n));
      })
      .Case([&](m1::CombineOp op) {
        return set(op.getResult(), combine(get(op.getX()), get(op.getWeights())));
      })
      .Case([&](m1::RotaryTableOp op) {
        int64_t served = get(op.getHi()).rows * get(op.getLo()).rows;
        for (int32_t position : batch.positions)
          if (position >= served)
            return LogicalResult(op.emitOpError("position ") << position << " is beyond the "
                                                             << served << " that the tables serve");
        return set(op.getResult(), rotaryTable(get(op.getHi()), get(op.getLo()), batch));
      })
      .Case([&](m1::RotaryEmbeddingOp op) {
        return set(op.getResult(), rotate(get(op.getX()), get(op.getTable()), op.getHeadDim()));
      })
      .Case([&](m1::KVWriteOp op) {
        writeCache(get(op.getK()), get(op.getV()), batch, cacheShape(op.getCache()),
                   pool(op.getCache()));
        return success();
      })
      .Case([&](m1::RotaryKVWriteOp op) {
        CacheShape shape = cacheShape(op.getCache());
        const Rows &table = get(op.getTable());
        writeCache(rotate(get(op.getK()), table, shape.headDim), get(op.getV()), batch, shape,
                   pool(op.getCache()));
        return set(op.getResult(), rotate(get(op.getQ()), table, shape.headDim));
      })
      .Case([&](m1::AttentionOp op) {
        Rows result;
        if (!attention(get(op.getQ()), op.getScale().convertToDouble(),
                       static_cast<int64_t>(op.getWindow()), batch, cacheShape(op.getCache()),
                       pool(op.getCache()), result))
          return unwritten(op);
        return set(op.getResult(), std::move(result));
      })
      .Default([&](Operation *op) { return mixer(op); });
}

} // namespace reference

Reference::Reference(std::unique_ptr<Implementation> implementation)
    : implementation(std::move(implementation)) {}
Reference::~Reference() = default;
void Reference::clearStates() { implementation->states.clear(); }
void Reference::observe(llvm::StringMap<ReferenceInputs> *inputs) {
  implementation->observed = inputs;
}

FailureOr<std::unique_ptr<Reference>> Reference::create(ModuleOp module,
                                                        const CheckpointData &data) {
  auto implementation = std::make_unique<Implementation>(module);
  for (auto op : module.getOps<m1::WeightOp>()) {
    auto rows = readWeight(op, data);
    if (failed(rows))
      return failure();
    implementation->weights[op.getSymName()] = std::move(*rows);
  }
  return std::unique_ptr<Reference>(new Reference(std::move(implementation)));
}

FailureOr<ReferenceResult> Reference::run(llvm::StringRef function, const ReferenceBatch &batch) {
  auto op = implementation->module.lookupSymbol<func::FuncOp>(function);
  if (!op)
    return implementation->module.emitError("has no function '") << function << "'";
  if (op.isExternal())
    return op.emitOpError("cannot be evaluated: it has no body");
  FunctionType type = op.getFunctionType();
  auto isTensor = [](Type type, int64_t rank, bool isFloat) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    return tensor && tensor.getRank() == rank && isa<FloatType>(tensor.getElementType()) == isFloat;
  };
  if (type.getNumInputs() != 2 || !isTensor(type.getInput(0), 1, false) ||
      !isa<m1::BatchType>(type.getInput(1)) || type.getNumResults() != 2 ||
      !isTensor(type.getResult(0), 2, true) || !isTensor(type.getResult(1), 1, false))
    return op.emitOpError("cannot be evaluated: expected (tokens, batch) -> (logits, next tokens), "
                          "got ")
           << type;
  return Evaluation(implementation->weights, implementation->states, batch,
                    implementation->observed)
      .run(op);
}

} // namespace m1c
