#include "M1/IR/Scalars.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include <cmath>

using namespace mlir;
using namespace mlir::m1;

bool mlir::m1::isScalarOp(Operation *op) {
  return isa<arith::AddFOp, arith::SubFOp, arith::MulFOp, arith::DivFOp, arith::NegFOp,
             arith::MaximumFOp, arith::MinimumFOp, arith::CmpFOp, arith::SelectOp,
             arith::ConstantOp, math::ErfOp, math::ExpOp, math::FmaOp, math::Log1pOp, math::SqrtOp,
             math::TanhOp>(op);
}

LogicalResult mlir::m1::verifyScalars(Operation *op, Region &body, size_t inputs) {
  auto isScalar = [](Type type) { return type.isF32() || type.isInteger(1); };
  if (body.getNumArguments() != inputs)
    return op->emitOpError() << "expected " << inputs << " arguments of the region, got "
                             << body.getNumArguments();
  for (BlockArgument argument : body.getArguments())
    if (!argument.getType().isF32())
      return op->emitOpError() << "expected arguments of the region of type f32, got "
                               << argument.getType();
  for (Operation &inner : body.front().without_terminator()) {
    if (!isScalarOp(&inner))
      return op->emitOpError() << "expected scalar arithmetic in the region, got '"
                               << inner.getName() << "'";
    if (!llvm::all_of(inner.getResultTypes(), isScalar) ||
        (isa<arith::ConstantOp>(inner) && !inner.getResult(0).getType().isF32()))
      return op->emitOpError() << "expected f32 arithmetic in the region, got '" << inner.getName()
                               << "' of type " << inner.getResult(0).getType();
    for (Value operand : inner.getOperands())
      if (operand.getParentRegion() != &body)
        return op->emitOpError() << "expected operands of '" << inner.getName()
                                 << "' from the region itself";
  }
  auto yield = dyn_cast<YieldOp>(body.front().getTerminator());
  if (!yield || !yield.getX().getType().isF32() || yield.getX().getParentRegion() != &body)
    return op->emitOpError() << "expected the region to end in m1.yield of its own f32";
  return success();
}

//===----------------------------------------------------------------------===//
// Code
//===----------------------------------------------------------------------===//

ArrayAttr mlir::m1::encodeScalars(Region &body) {
  // Not the region's context: it may stand in no operation.
  Builder b(body.front().getTerminator()->getContext());
  DenseMap<Value, int64_t> numbers;
  for (BlockArgument argument : body.getArguments())
    numbers.try_emplace(argument, static_cast<int64_t>(numbers.size()));
  SmallVector<Attribute> code;
  for (Operation &op : body.front()) {
    SmallVector<int64_t> operands;
    for (Value operand : op.getOperands())
      operands.push_back(numbers.lookup(operand));
    SmallVector<Attribute> instruction = {b.getStringAttr(op.getName().getStringRef()),
                                          b.getDenseI64ArrayAttr(operands)};
    NamedAttrList attributes(op.getAttrDictionary());
    if (auto flags = dyn_cast_or_null<arith::FastMathFlagsAttr>(attributes.get("fastmath")))
      if (flags.getValue() == arith::FastMathFlags::none)
        attributes.erase("fastmath");
    if (!attributes.empty())
      instruction.push_back(attributes.getDictionary(b.getContext()));
    code.push_back(b.getArrayAttr(instruction));
    for (Value result : op.getResults())
      numbers.try_emplace(result, static_cast<int64_t>(numbers.size()));
  }
  return b.getArrayAttr(code);
}

/// The scalar type, or a vector of it in the shape of `like`.
static Type shapedLike(Type scalar, Type like) {
  auto vector = dyn_cast<VectorType>(like);
  return vector ? Type(vector.clone(scalar)) : scalar;
}

Value mlir::m1::buildScalars(ImplicitLocOpBuilder &b, ArrayAttr code, ValueRange inputs,
                             SpecialScalar special) {
  SmallVector<Value> values(inputs);
  Type like = inputs.empty() ? b.getF32Type() : inputs.front().getType();
  for (auto instruction : code.getAsRange<ArrayAttr>()) {
    StringRef name = cast<StringAttr>(instruction[0]).getValue();
    SmallVector<Value> operands;
    for (int64_t number : cast<DenseI64ArrayAttr>(instruction[1]).asArrayRef())
      operands.push_back(values[number]);
    if (name == YieldOp::getOperationName())
      return operands.front();
    auto attributes = instruction.size() > 2 ? cast<DictionaryAttr>(instruction[2])
                                             : DictionaryAttr::get(b.getContext());
    if (auto value = dyn_cast_or_null<FloatAttr>(attributes.get("value"))) {
      Type type = shapedLike(b.getF32Type(), like);
      TypedAttr shaped = value;
      if (auto vector = dyn_cast<VectorType>(type))
        shaped = DenseElementsAttr::get(vector, Attribute(value));
      values.push_back(arith::ConstantOp::create(b, shaped));
      continue;
    }
    if (Value value = special ? special(name, operands) : Value()) {
      values.push_back(value);
      continue;
    }
    OperationState state(b.getLoc(), name, operands,
                         {name == arith::CmpFOp::getOperationName()
                              ? shapedLike(b.getI1Type(), like)
                              : operands.back().getType()},
                         attributes.getValue());
    values.push_back(b.create(state)->getResult(0));
  }
  llvm_unreachable("scalar code ends in m1.yield");
}

//===----------------------------------------------------------------------===//
// Formulas
//===----------------------------------------------------------------------===//

Value scalars::constant(ImplicitLocOpBuilder &b, double value, Value like) {
  FloatAttr scalar = b.getF32FloatAttr(static_cast<float>(value));
  if (auto vector = dyn_cast<VectorType>(like.getType()))
    return arith::ConstantOp::create(b, DenseElementsAttr::get(vector, Attribute(scalar)));
  return arith::ConstantOp::create(b, scalar);
}

/// 1 + exp(-x)
static Value onePlusExp(ImplicitLocOpBuilder &b, Value x) {
  return arith::AddFOp::create(b, scalars::constant(b, 1, x),
                               math::ExpOp::create(b, arith::NegFOp::create(b, x)));
}

Value scalars::sigmoid(ImplicitLocOpBuilder &b, Value x) {
  return arith::DivFOp::create(b, constant(b, 1, x), onePlusExp(b, x));
}

Value scalars::silu(ImplicitLocOpBuilder &b, Value x) {
  return arith::DivFOp::create(b, x, onePlusExp(b, x));
}

Value scalars::softplus(ImplicitLocOpBuilder &b, Value x) {
  // 20: beyond it log1p(exp(x)) equals x in f32.
  Value isLarge = arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, x, constant(b, 20, x));
  return arith::SelectOp::create(b, isLarge, x,
                                 math::Log1pOp::create(b, math::ExpOp::create(b, x)));
}

Value scalars::relu2(ImplicitLocOpBuilder &b, Value x) {
  Value positive = arith::MaximumFOp::create(b, x, constant(b, 0, x));
  return arith::MulFOp::create(b, positive, positive);
}

/// x/2 · (1 + y)
static Value halfTimes(ImplicitLocOpBuilder &b, Value x, Value y) {
  return arith::MulFOp::create(b, arith::MulFOp::create(b, scalars::constant(b, 0.5, x), x),
                               arith::AddFOp::create(b, scalars::constant(b, 1, x), y));
}

Value scalars::gelu(ImplicitLocOpBuilder &b, Value x) {
  Value scaled = arith::MulFOp::create(b, x, constant(b, std::sqrt(0.5), x));
  return halfTimes(b, x, math::ErfOp::create(b, scaled));
}

Value scalars::geluTanh(ImplicitLocOpBuilder &b, Value x) {
  Value square = arith::MulFOp::create(b, x, x);
  Value factor = arith::AddFOp::create(b, constant(b, 1, x),
                                       arith::MulFOp::create(b, constant(b, 0.044715, x), square));
  Value inner = arith::MulFOp::create(
      b, arith::MulFOp::create(b, constant(b, std::sqrt(2 / M_PI), x), x), factor);
  return halfTimes(b, x, math::TanhOp::create(b, inner));
}

Value scalars::softCap(ImplicitLocOpBuilder &b, Value x, double cap) {
  Value scaled = arith::MulFOp::create(b, x, constant(b, 1 / cap, x));
  return arith::MulFOp::create(b, constant(b, cap, x), math::TanhOp::create(b, scaled));
}

static Value linear(ImplicitLocOpBuilder &, Value x) { return x; }

static Value relu(ImplicitLocOpBuilder &b, Value x) {
  return arith::MaximumFOp::create(b, x, scalars::constant(b, 0, x));
}

/// max(x, least) and below `most`
static Value clip(ImplicitLocOpBuilder &b, Value x, double least, double most) {
  Value raised = arith::MaximumFOp::create(b, x, scalars::constant(b, least, x));
  return arith::MinimumFOp::create(b, raised, scalars::constant(b, most, x));
}

static Value gelu10(ImplicitLocOpBuilder &b, Value x) {
  return clip(b, scalars::gelu(b, x), -10, 10);
}

/// x / (1 + exp(-1.702·x))
static Value quickGelu(ImplicitLocOpBuilder &b, Value x) {
  Value scaled = arith::MulFOp::create(b, x, scalars::constant(b, 1.702, x));
  return arith::DivFOp::create(b, x, onePlusExp(b, scaled));
}

/// Ma et al., arXiv 2209.10655: 1/2 · (1 + erf((x - μ) / (σ·√2))) with μ = √(1/2), σ = √(1/(4π)),
/// both to six digits
static Value laplace(ImplicitLocOpBuilder &b, Value x) {
  Value centred = arith::SubFOp::create(b, x, scalars::constant(b, 0.707107, x));
  Value scaled =
      arith::MulFOp::create(b, centred, scalars::constant(b, 1 / (0.282095 * std::sqrt(2.0)), x));
  return halfTimes(b, scalars::constant(b, 1, x), math::ErfOp::create(b, scaled));
}

static Value leakyRelu(ImplicitLocOpBuilder &b, Value x) {
  return arith::MaximumFOp::create(b, x,
                                   arith::MulFOp::create(b, x, scalars::constant(b, 0.01, x)));
}

static Value mish(ImplicitLocOpBuilder &b, Value x) {
  return arith::MulFOp::create(b, x, math::TanhOp::create(b, scalars::softplus(b, x)));
}

static Value relu6(ImplicitLocOpBuilder &b, Value x) { return clip(b, x, 0, 6); }

static Value tanh(ImplicitLocOpBuilder &b, Value x) { return math::TanhOp::create(b, x); }

/// Activations by the names of transformers' ACT2FN; those that it has beside them, prelu and
/// xielu, have weights.
static const std::pair<StringLiteral, ScalarFormula> activations[] = {
    {"gelu", scalars::gelu},
    {"gelu_10", gelu10},
    {"gelu_accurate", scalars::geluTanh},
    {"gelu_fast", scalars::geluTanh},
    {"gelu_new", scalars::geluTanh},
    {"gelu_python", scalars::gelu},
    {"gelu_python_tanh", scalars::geluTanh},
    {"gelu_pytorch_tanh", scalars::geluTanh},
    {"laplace", laplace},
    {"leaky_relu", leakyRelu},
    {"linear", linear},
    {"mish", mish},
    {"quick_gelu", quickGelu},
    {"relu", relu},
    {"relu2", scalars::relu2},
    {"relu6", relu6},
    {"sigmoid", scalars::sigmoid},
    {"silu", scalars::silu},
    {"swish", scalars::silu},
    {"tanh", tanh},
};

ScalarFormula mlir::m1::findActivation(StringRef name) {
  for (const auto &[known, formula] : activations)
    if (known == name)
      return formula;
  return nullptr;
}

std::string mlir::m1::activationNames() {
  std::string text;
  for (const auto &[index, entry] : llvm::enumerate(activations))
    text += (index == 0                            ? ""
             : index + 1 == std::size(activations) ? " or "
                                                   : ", ") +
            entry.first.str();
  return text;
}

//===----------------------------------------------------------------------===//
// Maps
//===----------------------------------------------------------------------===//

/// Puts a block of `inputs` arguments with the body into the region.
static void fillBody(OpBuilder &b, Location loc, Region &region, unsigned inputs, ScalarBody body) {
  OpBuilder::InsertionGuard guard(b);
  SmallVector<Type> types(inputs, b.getF32Type());
  SmallVector<Location> locations(inputs, loc);
  Block *block = b.createBlock(&region, {}, types, locations);
  ImplicitLocOpBuilder inner(loc, b);
  YieldOp::create(inner, body(inner, block->getArguments()));
}

ArrayAttr mlir::m1::encodeBody(MLIRContext *context, unsigned inputs, ScalarBody body) {
  OpBuilder b(context);
  Region region;
  fillBody(b, b.getUnknownLoc(), region, inputs, body);
  return encodeScalars(region);
}

static Value multiply(ImplicitLocOpBuilder &b, ValueRange v) {
  return arith::MulFOp::create(b, v[0], v[1]);
}

ArrayAttr mlir::m1::encodeGate(MLIRContext *context, ScalarFormula formula) {
  return encodeBody(context, 2, [&](ImplicitLocOpBuilder &b, ValueRange v) {
    return multiply(b, {formula(b, v[0]), v[1]});
  });
}

ArrayAttr mlir::m1::encodeSum(MLIRContext *context) {
  return encodeBody(context, 2, [](ImplicitLocOpBuilder &b, ValueRange v) -> Value {
    return arith::AddFOp::create(b, v[0], v[1]);
  });
}

/// factor · x
static Value scaled(ImplicitLocOpBuilder &b, Value x, double factor) {
  return multiply(b, {x, scalars::constant(b, factor, x)});
}

ArrayAttr mlir::m1::encodeScale(MLIRContext *context, double factor) {
  return encodeBody(context, 1,
                    [&](ImplicitLocOpBuilder &b, ValueRange v) { return scaled(b, v[0], factor); });
}

std::optional<double> mlir::m1::getMultiplier(MapOp map) {
  auto yield = cast<YieldOp>(map.getBody().front().getTerminator());
  auto product = yield.getX().getDefiningOp<arith::MulFOp>();
  if (!product || map.getInputs().size() != 1 || !isRows(map.getInputs().front()))
    return std::nullopt;
  const Value x = map.getBody().getArgument(0);
  const Value other = product.getLhs() == x ? product.getRhs() : product.getLhs();
  auto constant = other.getDefiningOp<arith::ConstantOp>();
  if (!constant || (product.getLhs() != x && product.getRhs() != x))
    return std::nullopt;
  const double factor = cast<FloatAttr>(constant.getValue()).getValueAsDouble();
  return std::isfinite(factor) ? std::optional(factor) : std::nullopt;
}

std::optional<ArrayAttr> mlir::m1::splitSum(ArrayAttr code, unsigned branch) {
  const int64_t inputs = 2, residual = 1 - int64_t(branch);
  auto numbersOf = [&](size_t i) {
    return cast<DenseI64ArrayAttr>(cast<ArrayAttr>(code[i])[1]).asArrayRef();
  };
  const size_t sum = code.size() - 2; // before the yield
  if (code.size() < 2 ||
      cast<StringAttr>(cast<ArrayAttr>(code[sum])[0]) != arith::AddFOp::getOperationName() ||
      numbersOf(sum + 1).front() != int64_t(sum) + inputs)
    return std::nullopt;
  int64_t left = numbersOf(sum)[0], right = numbersOf(sum)[1];
  if (left != residual)
    std::swap(left, right);
  if (left != residual || right == residual)
    return std::nullopt;
  auto renumbered = [&](int64_t number) { return number < inputs ? 0 : number - 1; };
  Builder b(code.getContext());
  SmallVector<Attribute> rest;
  for (size_t i = 0; i < sum; ++i) {
    SmallVector<int64_t> numbers;
    for (int64_t number : numbersOf(i)) {
      if (number == residual)
        return std::nullopt;
      numbers.push_back(renumbered(number));
    }
    SmallVector<Attribute> instruction(cast<ArrayAttr>(code[i]).getValue());
    instruction[1] = b.getDenseI64ArrayAttr(numbers);
    rest.push_back(b.getArrayAttr(instruction));
  }
  rest.push_back(b.getArrayAttr(
      {b.getStringAttr(YieldOp::getOperationName()), b.getDenseI64ArrayAttr({renumbered(right)})}));
  return b.getArrayAttr(rest);
}

ArrayAttr MapOp::getCode() { return encodeScalars(getBody()); }

ArrayAttr AddOp::getCode() { return encodeSum(getContext()); }

ArrayAttr MulOp::getCode() { return encodeBody(getContext(), 2, multiply); }

ArrayAttr SiluOp::getCode() {
  return encodeBody(getContext(), 1,
                    [](ImplicitLocOpBuilder &b, ValueRange v) { return scalars::silu(b, v[0]); });
}

ArrayAttr SiluMulOp::getCode() { return encodeGate(getContext(), scalars::silu); }

ArrayAttr SoftplusOp::getCode() {
  return encodeBody(getContext(), getNumOperands(), [](ImplicitLocOpBuilder &b, ValueRange v) {
    return scalars::softplus(b, v.size() > 1 ? Value(arith::AddFOp::create(b, v[0], v[1])) : v[0]);
  });
}

ArrayAttr SkipOp::getCode() {
  return encodeBody(getContext(), 3, [](ImplicitLocOpBuilder &b, ValueRange v) -> Value {
    return math::FmaOp::create(b, v[2], v[1], v[0]);
  });
}

ArrayAttr RgLruOp::getRate(MLIRContext *context) {
  return encodeBody(context, 1, [](ImplicitLocOpBuilder &b, ValueRange v) {
    return multiply(b, {scalars::constant(b, 8, v[0]), scalars::softplus(b, v[0])});
  });
}

ArrayAttr RgLruOp::getStep(MLIRContext *context) {
  return encodeBody(context, 6, [](ImplicitLocOpBuilder &b, ValueRange v) -> Value {
    auto constant = [&](double value) { return scalars::constant(b, value, v[0]); };
    Value one = constant(1);
    Value decay = multiply(b, {v[3], scalars::sigmoid(b, v[2])}); // -log a
    Value a = math::ExpOp::create(b, arith::NegFOp::create(b, decay));
    // 1 - a² = 1 - exp(-u). Below 1/4, where the difference would lose digits: its series to u⁶,
    // within 6e-8 relative.
    Value u = arith::AddFOp::create(b, decay, decay), series = one;
    for (int n = 6; n > 1; --n)
      series =
          arith::SubFOp::create(b, one, multiply(b, {multiply(b, {u, constant(1.0 / n)}), series}));
    Value isSmall = arith::CmpFOp::create(b, arith::CmpFPredicate::OLT, u, constant(0.25));
    Value square = arith::SelectOp::create(b, isSmall, multiply(b, {u, series}),
                                           arith::SubFOp::create(b, one, multiply(b, {a, a})));
    Value isStart = arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, v[5], constant(0.5));
    Value factor = arith::SelectOp::create(b, isStart, one, math::SqrtOp::create(b, square));
    Value input = multiply(b, {scalars::sigmoid(b, v[1]), v[0]});
    return math::FmaOp::create(b, a, v[4], multiply(b, {factor, input}));
  });
}

MapOp mlir::m1::createMap(OpBuilder &b, Location loc, StringRef label, Type type, ValueRange inputs,
                          ScalarBody body) {
  auto map = MapOp::create(b, loc, type, inputs, b.getStringAttr(label));
  fillBody(b, loc, map.getBody(), inputs.size(), body);
  return map;
}

Value mlir::m1::createScale(OpBuilder &b, Location loc, Type type, Value x, double factor) {
  return createMap(b, loc, "scale", type, x,
                   [&](ImplicitLocOpBuilder &b, ValueRange v) { return scaled(b, v[0], factor); });
}

Value mlir::m1::createUnary(OpBuilder &b, Location loc, StringRef label, Type type, Value x,
                            ScalarFormula formula) {
  return createMap(b, loc, label, type, x,
                   [&](ImplicitLocOpBuilder &b, ValueRange v) { return formula(b, v[0]); });
}

Value mlir::m1::createGate(OpBuilder &b, Location loc, StringRef label, Type type, Value x, Value y,
                           ScalarFormula formula) {
  return createMap(b, loc, label, type, {x, y}, [&](ImplicitLocOpBuilder &b, ValueRange v) {
    return multiply(b, {formula(b, v[0]), v[1]});
  });
}
