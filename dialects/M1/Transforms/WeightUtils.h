// Weights that passes make out of others.
#ifndef M1_TRANSFORMS_WEIGHTUTILS_H
#define M1_TRANSFORMS_WEIGHTUTILS_H

#include "M1/IR/M1.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"

namespace mlir::m1 {

/// The weight that a value reads; null when the value is no m1.get_weight.
WeightOp lookUpWeight(SymbolTable &symbols, Value value);

/// A weight of these sources, transform and type: one that is there, or a new one next to `like`,
/// named `name` (made unique).
WeightOp getOrCreateWeight(SymbolTable &symbols, WeightOp like, StringRef name,
                           RankedTensorType type, ArrayAttr sources, Transform transform);

} // namespace mlir::m1

#endif
