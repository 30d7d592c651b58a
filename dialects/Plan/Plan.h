// The plan dialect: ops, types, lifetimes and passes. See PlanOps.td.
#ifndef M1_DIALECTS_PLAN_PLAN_H
#define M1_DIALECTS_PLAN_PLAN_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/RegionKindInterface.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Pass/Pass.h"
#include "llvm/ADT/MapVector.h"

#include "Plan/PlanDialect.h.inc"
#include "Plan/PlanEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "Plan/PlanAttributes.h.inc"
#define GET_TYPEDEF_CLASSES
#include "Plan/PlanTypes.h.inc"
#define GET_OP_CLASSES
#include "Plan/PlanOps.h.inc"

namespace mlir::plan {

#define GEN_PASS_DECL
#include "Plan/PlanPasses.h.inc"
#define GEN_PASS_REGISTRATION
#include "Plan/PlanPasses.h.inc"

/// Arenas and offsets in them are multiples of this many bytes per row.
constexpr int64_t kArenaAlignment = 256;

/// An entry of a launch's written_rows.
struct WrittenRows {
  int64_t operand;
  Type element;
  int64_t columns, stride;
};
/// Nothing when the attribute is none.
std::optional<WrittenRows> readWrittenRows(Attribute entry);

/// An operand that a kernel takes as a tensor map; see plan.kernel.
struct TensorMap {
  int64_t operand, rows, columns, rowBytes, boxRows;
};
/// Those of a kernel's `tensor_maps`, five numbers each.
llvm::SmallVector<TensorMap> readTensorMaps(llvm::ArrayRef<int64_t> numbers);

/// A buffer reduced to the op that defines it and a byte offset into it.
struct BufferBase {
  Operation *base;
  int64_t offset;
};
BufferBase resolveBuffer(Value buffer);

/// Commands of a function are numbered in order; a temporary lives in [first, last], both included.
struct Lifetime {
  int64_t first;
  int64_t last;
  bool overlaps(const Lifetime &other) const { return first <= other.last && other.first <= last; }
};

/// Lifetimes of all temporaries that a command uses, in the order of their definition.
llvm::MapVector<TemporaryOp, Lifetime> computeLifetimes(FunctionOp function);

} // namespace mlir::plan

#endif
