// Passes of the m1 dialect and the pipeline that runs them; see docs/passes.md.
#ifndef M1_TRANSFORMS_PASSES_H
#define M1_TRANSFORMS_PASSES_H

#include "M1/IR/M1.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"

namespace mlir::m1 {

#define GEN_PASS_DECL
#include "M1/Transforms/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "M1/Transforms/Passes.h.inc"

/// Takes an imported module to the fused form; nothing of gated_mlp, mul, skip or
/// kv_write remains where a fused form exists.
void buildOptimizePipeline(OpPassManager &manager);

/// Registers buildOptimizePipeline as --m1-optimize.
void registerOptimizePipeline();

} // namespace mlir::m1

#endif
