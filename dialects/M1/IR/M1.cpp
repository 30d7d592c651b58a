// Registration, types, attributes and symbol uses of the m1 dialect.
#include "M1/IR/M1.h"

#include "M1/IR/Int4.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/DialectImplementation.h"
#include "mlir/Interfaces/FoldInterfaces.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace mlir::m1;

#include "M1/IR/M1Dialect.cpp.inc"
#include "M1/IR/M1Enums.cpp.inc"
#include "M1/IR/M1OpInterfaces.cpp.inc"
#include "M1/IR/M1TypeInterfaces.cpp.inc"

namespace {

/// Constants of a map's code stay in its region, which may not use values from around it.
struct MapConstants : DialectFoldInterface {
  using DialectFoldInterface::DialectFoldInterface;
  bool shouldMaterializeInto(Region *region) const final {
    return isa<MapOp>(region->getParentOp());
  }
};

} // namespace

void M1Dialect::initialize() {
  addInterfaces<MapConstants>();
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
  return verifyState(emitError, shape, elementType, 1, 3, "[C], [d_inner, N] or [H, P, N]");
}

LogicalResult ConvStateType::verify(function_ref<InFlightDiagnostic()> emitError,
                                    ArrayRef<int64_t> shape, Type elementType) {
  return verifyState(emitError, shape, elementType, 2, 2, "[width - 1, channels]", /*mayBeZero=*/0);
}

LogicalResult KVCacheType::verify(function_ref<InFlightDiagnostic()> emitError,
                                  ArrayRef<int64_t> shape, Type elementType) {
  // Of codes only the shape is left to say.
  if (isCacheCode(elementType))
    elementType = Float32Type::get(elementType.getContext());
  else if (!isa<Float32Type, BFloat16Type, Float16Type>(elementType))
    return emitError() << "expected element type f32, bf16, f16, i8 or f8E4M3FN, got "
                       << elementType;
  return verifyState(emitError, shape, elementType, 3, 3, "[kv_heads, page_size, head_dim]");
}

#define GET_TYPEDEF_CLASSES
#include "M1/IR/M1Types.cpp.inc"

bool mlir::m1::isCacheCode(Type type) {
  return type.isSignlessInteger(8) || isa<Float8E4M3FNType>(type);
}

bool mlir::m1::isRows(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && type.getRank() > 0 && type.isDynamicDim(0);
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

Attribute RotaryAnglesAttr::parse(AsmParser &parser, Type) {
  double scale = 1;
  int64_t step = 1;
  SmallVector<double> frequencies;
  SMLoc loc = parser.getCurrentLocation();
  auto field = [&]() -> ParseResult {
    StringRef key;
    if (parser.parseKeyword(&key) || parser.parseEqual())
      return failure();
    if (key == "step")
      return parser.parseInteger(step);
    if (key == "scale")
      return parser.parseFloat(scale);
    if (key == "frequencies")
      return parser.parseCommaSeparatedList(AsmParser::Delimiter::Square, [&]() -> ParseResult {
        return parser.parseFloat(frequencies.emplace_back());
      });
    return parser.emitError(loc, "unknown field '") << key << "'";
  };
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::LessGreater, field))
    return {};
  MLIRContext *context = parser.getContext();
  return parser.getChecked<RotaryAnglesAttr>(loc, context, step,
                                             DenseF64ArrayAttr::get(context, frequencies),
                                             FloatAttr::get(Float64Type::get(context), scale));
}

void RotaryAnglesAttr::print(AsmPrinter &printer) const {
  printer << "<step = " << getStep() << ", frequencies = [";
  llvm::interleaveComma(getFrequencies().asArrayRef(), printer.getStream(),
                        [&](double value) { printer.printFloat(APFloat(value)); });
  printer << "], scale = ";
  printer.printFloat(getScale().getValue());
  printer << ">";
}

LogicalResult RotaryAnglesAttr::verify(function_ref<InFlightDiagnostic()> emitError, int64_t step,
                                       DenseF64ArrayAttr frequencies, FloatAttr scale) {
  if (step < 1)
    return emitError() << "expected positive step, got " << step;
  for (double frequency : frequencies.asArrayRef())
    if (!std::isfinite(frequency))
      return emitError() << "expected finite frequencies, got " << frequency;
  if (!std::isfinite(scale.getValueAsDouble()))
    return emitError() << "expected a finite scale, got " << scale.getValueAsDouble();
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

StringRef mlir::m1::nameOf(Location loc) {
  if (auto name = dyn_cast<NameLoc>(loc))
    return name.getName();
  if (auto fused = dyn_cast<FusedLoc>(loc))
    for (Location part : fused.getLocations())
      if (StringRef name = nameOf(part); !name.empty())
        return name;
  return "";
}

Location mlir::m1::locationOf(Value value, Location otherwise) {
  return nameOf(value.getLoc()).empty() ? otherwise : value.getLoc();
}

WeightOp WeightOp::getScaled() {
  return getScalesOfAttr()
             ? SymbolTable::lookupNearestSymbolFrom<WeightOp>(*this, getScalesOfAttr())
             : WeightOp();
}

LogicalResult WeightOp::verifySymbolUses(SymbolTableCollection &symbols) {
  if (!getScalesOfAttr())
    return success();
  auto scaled = symbols.lookupNearestSymbolFrom<WeightOp>(*this, getScalesOfAttr());
  if (!scaled || !scaled.isQuantised())
    return emitOpError() << "refers to " << getScalesOfAttr()
                         << ", which is no m1.weight with transform int8_rows, fp8_rows, "
                            "int8_groups_… or int4_groups_…";
  RankedTensorType type = getTensorType(), matrix = scaled.getTensorType();
  int64_t n = matrix.getDimSize(0);
  if (std::optional<GroupForm> form = groupFormOf(scaled.getTransform())) {
    // The bytes of a row of int4 tell its columns but for the last block.
    int64_t most = matrix.getDimSize(1), least = most;
    if (form->bits == 4) {
      most = most / int4BlockBytes * int4Block;
      least = most - int4Block + 1;
    }
    Type ofGroup = isOfGroups(type) ? scaleOfGroups(type) : Type();
    const int64_t size = ofGroup ? columnsOfScale(ofGroup, form->group) : form->group;
    if (!ofGroup || !isGroupScale(ofGroup, form->group) || type.getDimSize(0) != n ||
        type.getDimSize(1) < groupsOf(least, size) || type.getDimSize(1) > groupsOf(most, size))
      return emitOpError() << "expected scales [" << n << ", groups of " << form->group
                           << " columns] of "
                           << (form->group == fineGroup ? "two levels, […, 10] of i8"
                                                        : "bf16 or f16, or […, 2] of f32")
                           << (form->group == pairedGroup ? ", or two levels, […, 12] of i8" : "")
                           << ", got " << type;
    return success();
  }
  auto expected = RankedTensorType::get({n}, Float32Type::get(getContext()));
  if (type != expected)
    return emitOpError() << "expected scales of type " << expected << ", got " << getTensorType();
  return success();
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

#define GET_OP_CLASSES
#include "M1/IR/M1Ops.cpp.inc"
