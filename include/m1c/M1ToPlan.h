// From the fused m1 dialect to the plan of one target.
#ifndef M1C_M1TOPLAN_H
#define M1C_M1TOPLAN_H

#include "Plan/Plan.h"
#include "m1c/Target.h"

namespace m1c {

/// Appends to `module` the plan.target of `device`: for each function of the m1 dialect a
/// plan.function whose commands its selector chose, temporaries not placed yet. The functions
/// themselves stay, for further targets. Weights and states keep their symbols. Fails with an error
/// on the operation that has no kernel, or that must be expanded first (m1.gated_mlp).
mlir::FailureOr<mlir::plan::TargetOp> convertM1ToPlan(mlir::ModuleOp module, Target &device);

/// --m1-convert-to-plan: the plans of `targets` (as for createTargets) in the place of the
/// functions.
std::unique_ptr<mlir::Pass> createConvertToPlanPass(llvm::StringRef targets);
/// --m1-generate-kernels: beside each plan.target, the bodies of the kernels that the compiler
/// writes itself.
std::unique_ptr<mlir::Pass> createGenerateKernelsPass();
/// What m1-generate-kernels wrote for a plan, or null.
mlir::Operation *findKernelBodies(mlir::plan::TargetOp plan);
/// The attribute that names the plan.target whose kernels an operation holds.
constexpr llvm::StringLiteral kernelsAttribute = "m1.kernels_of";

/// What follows m1-convert-to-plan: launches fused as the devices like it, buffers placed.
void buildPlanPipeline(mlir::OpPassManager &passes);

/// Registers both passes, those of the targets, and the pipeline as --m1-plan.
void registerConversionPasses();

} // namespace m1c

#endif
