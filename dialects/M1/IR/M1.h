// The m1 dialect: operations, types and attributes. See docs/dialects/M1.md.
#ifndef M1_IR_M1_H
#define M1_IR_M1_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "M1/IR/M1Dialect.h.inc"
#include "M1/IR/M1Enums.h.inc"

namespace mlir::m1 {

/// Each row of the results depends on the same row of the operands only, not on the batch.
// Op<ConcreteOp, traits...> constructs its traits, not ConcreteOp itself.
// NOLINTBEGIN(bugprone-crtp-constructor-accessibility)
template <typename ConcreteOp>
struct RowsIndependent : OpTrait::TraitBase<ConcreteOp, RowsIndependent> {};
// NOLINTEND(bugprone-crtp-constructor-accessibility)

} // namespace mlir::m1

#include "M1/IR/M1OpInterfaces.h.inc"
#include "M1/IR/M1TypeInterfaces.h.inc"

#define GET_ATTRDEF_CLASSES
#include "M1/IR/M1Attrs.h.inc"

namespace mlir::m1 {
/// Whether a KV cache of this element type holds codes, with scales behind them.
bool isCacheCode(Type element);
} // namespace mlir::m1

#define GET_TYPEDEF_CLASSES
#include "M1/IR/M1Types.h.inc"

#define GET_OP_CLASSES
#include "M1/IR/M1Ops.h.inc"

namespace mlir::m1 {

/// Positions are split as p = rotaryStep * hi + lo; see m1.rotary_table.
constexpr int64_t rotaryStep = 256;

/// Whether weights of such elements have scales: i8, pairs of int4 (ui8), f8E4M3FN.
inline bool isQuantisedElement(Type element) {
  return element.isInteger(8) || isa<Float8E4M3FNType>(element);
}

/// Whether the value is rows of a step, of which only the run knows how many.
bool isRows(Value value);
/// Columns of rows or of a matrix.
inline int64_t columnsOf(Value rows) {
  return cast<RankedTensorType>(rows.getType()).getDimSize(1);
}

/// The model facts of a module; null when it has none.
ModelOp getModel(ModuleOp module);

/// The layer or tensor that a location names; empty when it names none.
StringRef nameOf(Location loc);
/// The location of what is done with the value: its name, as of a weight, else `otherwise`.
Location locationOf(Value value, Location otherwise);

} // namespace mlir::m1

#endif
