// Registration, types, attributes and symbol uses of the m1 dialect.
#include "M1/IR/M1.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::m1;

#include "M1/IR/M1Dialect.cpp.inc"
#include "M1/IR/M1Enums.cpp.inc"
#include "M1/IR/M1OpInterfaces.cpp.inc"
#include "M1/IR/M1TypeInterfaces.cpp.inc"

void M1Dialect::initialize() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "M1/IR/M1Types.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "M1/IR/M1Attrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "M1/IR/M1Ops.cpp.inc"
      >();
}

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

static ParseResult parseStateShape(AsmParser &parser, SmallVector<int64_t> &shape,
                                   Type &elementType) {
  return failure(parser.parseDimensionList(shape, /*allowDynamic=*/false) ||
                 parser.parseType(elementType));
}

static void printStateShape(AsmPrinter &printer, ArrayRef<int64_t> shape, Type elementType) {
  for (int64_t size : shape)
    printer << size << 'x';
  printer << elementType;
}

static LogicalResult verifyState(function_ref<InFlightDiagnostic()> emitError,
                                 ArrayRef<int64_t> shape, Type elementType, size_t minRank,
                                 size_t maxRank, StringRef dimensions, unsigned mayBeZero = -1u) {
  if (!isa<Float32Type, BFloat16Type, Float16Type>(elementType))
    return emitError() << "expected element type f32, bf16 or f16, got " << elementType;
  if (shape.size() < minRank || shape.size() > maxRank)
    return emitError() << "expected dimensions " << dimensions << ", got " << shape.size()
                       << " of them";
  for (auto [index, size] : llvm::enumerate(shape))
    if (size < 0 || (size == 0 && index != mayBeZero))
      return emitError() << "expected positive dimensions " << dimensions << ", got [" << shape
                         << "]";
  return success();
}

LogicalResult ScanStateType::verify(function_ref<InFlightDiagnostic()> emitError,
                                    ArrayRef<int64_t> shape, Type elementType) {
  return verifyState(emitError, shape, elementType, 2, 3, "[d_inner, N] or [H, P, N]");
}

LogicalResult ConvStateType::verify(function_ref<InFlightDiagnostic()> emitError,
                                    ArrayRef<int64_t> shape, Type elementType) {
  return verifyState(emitError, shape, elementType, 2, 2, "[width - 1, channels]", /*mayBeZero=*/0);
}

LogicalResult KVCacheType::verify(function_ref<InFlightDiagnostic()> emitError,
                                  ArrayRef<int64_t> shape, Type elementType) {
  return verifyState(emitError, shape, elementType, 3, 3, "[kv_heads, page_size, head_dim]");
}

#define GET_TYPEDEF_CLASSES
#include "M1/IR/M1Types.cpp.inc"

bool mlir::m1::isRows(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && type.getRank() > 0 && type.isDynamicDim(0);
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

Attribute RotaryAnglesAttr::parse(AsmParser &parser, Type) {
  double theta = 0, factor = 1, low = 1, high = 4, original = 0;
  int64_t step = 1;
  RotaryScaling scaling = RotaryScaling::None;
  SMLoc loc = parser.getCurrentLocation();
  auto field = [&]() -> ParseResult {
    StringRef key, word;
    if (parser.parseKeyword(&key) || parser.parseEqual())
      return failure();
    if (key == "step")
      return parser.parseInteger(step);
    if (key == "scaling") {
      if (parser.parseKeyword(&word))
        return failure();
      std::optional<RotaryScaling> value = symbolizeRotaryScaling(word);
      if (!value)
        return parser.emitError(loc, "unknown scaling '") << word << "'";
      scaling = *value;
      return success();
    }
    double *target = llvm::StringSwitch<double *>(key)
                         .Case("theta", &theta)
                         .Case("factor", &factor)
                         .Case("low", &low)
                         .Case("high", &high)
                         .Case("original", &original)
                         .Default(nullptr);
    if (!target)
      return parser.emitError(loc, "unknown field '") << key << "'";
    return parser.parseFloat(*target);
  };
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::LessGreater, field))
    return {};
  Type f64 = Float64Type::get(parser.getContext());
  auto number = [&](double value) { return FloatAttr::get(f64, value); };
  return parser.getChecked<RotaryAnglesAttr>(loc, parser.getContext(), number(theta), step, scaling,
                                             number(factor), number(low), number(high),
                                             number(original));
}

void RotaryAnglesAttr::print(AsmPrinter &printer) const {
  auto number = [&](FloatAttr value) { printer << value.getValue(); };
  printer << "<theta = ";
  number(getTheta());
  printer << ", step = " << getStep();
  if (getScaling() != RotaryScaling::None) {
    printer << ", scaling = " << stringifyRotaryScaling(getScaling()) << ", factor = ";
    number(getFactor());
  }
  if (getScaling() == RotaryScaling::Llama3) {
    printer << ", low = ";
    number(getLow());
    printer << ", high = ";
    number(getHigh());
    printer << ", original = ";
    number(getOriginal());
  }
  printer << ">";
}

LogicalResult RotaryAnglesAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                       FloatAttr thetaAttr, int64_t step, RotaryScaling scaling,
                                       FloatAttr factorAttr, FloatAttr lowAttr, FloatAttr highAttr,
                                       FloatAttr originalAttr) {
  double theta = thetaAttr.getValueAsDouble(), factor = factorAttr.getValueAsDouble(),
         low = lowAttr.getValueAsDouble();
  double high = highAttr.getValueAsDouble(), original = originalAttr.getValueAsDouble();
  if (!(theta > 0))
    return emitError() << "expected positive theta, got " << theta;
  if (step < 1)
    return emitError() << "expected positive step, got " << step;
  if (scaling != RotaryScaling::None && !(factor > 0))
    return emitError() << "expected positive factor, got " << factor;
  if (scaling == RotaryScaling::Llama3 && !(low > 0 && high > low && original > 0))
    return emitError() << "expected 0 < low < high and original > 0, got low " << low << ", high "
                       << high << ", original " << original;
  return success();
}

#define GET_ATTRDEF_CLASSES
#include "M1/IR/M1Attrs.cpp.inc"

//===----------------------------------------------------------------------===//
// Symbols
//===----------------------------------------------------------------------===//

ModelOp mlir::m1::getModel(ModuleOp module) {
  auto models = module.getOps<ModelOp>();
  return models.empty() ? ModelOp() : *models.begin();
}

LogicalResult GetWeightOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto weight = symbols.lookupNearestSymbolFrom<WeightOp>(*this, getWeightAttr());
  if (!weight)
    return emitOpError() << "refers to " << getWeightAttr() << ", which is no m1.weight";
  if (weight.getTensorType() != getType())
    return emitOpError() << "expected the weight's type " << weight.getTensorType() << ", got "
                         << getType();
  return success();
}

LogicalResult GetStateOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto state = symbols.lookupNearestSymbolFrom<StateOp>(*this, getStateAttr());
  if (!state)
    return emitOpError() << "refers to " << getStateAttr() << ", which is no m1.state";
  if (state.getType() != getType())
    return emitOpError() << "expected the state's type " << state.getType() << ", got "
                         << getType();
  return success();
}

//===----------------------------------------------------------------------===//
// Operations
//===----------------------------------------------------------------------===//

static ParseResult parseMixerKind(OpAsmParser &parser, MixerKindAttr &kind) {
  SMLoc loc = parser.getCurrentLocation();
  StringRef word;
  if (parser.parseKeyword(&word))
    return failure();
  std::optional<MixerKind> value = symbolizeMixerKind(word);
  if (!value)
    return parser.emitError(loc, "expected mamba1, mamba2 or attention, got ") << word;
  kind = MixerKindAttr::get(parser.getContext(), *value);
  return success();
}

static void printMixerKind(OpAsmPrinter &printer, Operation *, MixerKindAttr kind) {
  printer << stringifyMixerKind(kind.getValue());
}

#define GET_OP_CLASSES
#include "M1/IR/M1Ops.cpp.inc"
