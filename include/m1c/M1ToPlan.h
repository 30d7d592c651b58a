// From the fused m1 dialect to the plan of one target.
#ifndef M1C_M1TOPLAN_H
#define M1C_M1TOPLAN_H

#include "Plan/Plan.h"
#include "m1c/KernelSelector.h"

namespace m1c {

/// Appends to `module` the plan.target of `selector`: for each function of the m1 dialect a
/// plan.function whose commands the selector chose, temporaries not placed yet. The functions
/// themselves stay, for further targets. Weights and states keep their symbols. Fails with an error
/// on the operation that has no kernel, or that must be expanded first (m1.gated_mlp).
mlir::FailureOr<mlir::plan::TargetOp> convertM1ToPlan(mlir::ModuleOp module,
                                                      KernelSelector &selector);

/// Registers m1-convert-to-plan for m1-opt.
void registerConversionPasses();

} // namespace m1c

#endif
