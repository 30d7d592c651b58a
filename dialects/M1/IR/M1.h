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

#define GET_ATTRDEF_CLASSES
#include "M1/IR/M1Attrs.h.inc"

#define GET_TYPEDEF_CLASSES
#include "M1/IR/M1Types.h.inc"

#define GET_OP_CLASSES
#include "M1/IR/M1Ops.h.inc"

namespace mlir::m1 {

/// Positions are split as p = rotaryStep * hi + lo; see m1.rotary_table.
constexpr int64_t rotaryStep = 256;

/// Shape and element type of a state type: one slot, or [kv_heads, page_size, head_dim] of a cache.
ArrayRef<int64_t> getStateShape(Type stateType);
Type getStateElementType(Type stateType);

/// The model facts of a module; null when it has none.
ModelOp getModel(ModuleOp module);

} // namespace mlir::m1

#endif
