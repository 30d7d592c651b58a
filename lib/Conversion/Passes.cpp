// The passes that know the targets; the conversion itself does not.
#include "Support/PassStatistic.h"
#include "m1c/M1ToPlan.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassManager.h"

namespace m1c {

using namespace mlir;

#define GEN_PASS_DECL
#define GEN_PASS_DEF_CONVERTTOPLANPASS
#define GEN_PASS_DEF_GENERATEKERNELSPASS
#define GEN_PASS_REGISTRATION
#include "Conversion/ConversionPasses.h.inc"

namespace {

struct ConvertToPlanPass : impl::ConvertToPlanPassBase<ConvertToPlanPass> {
  using ConvertToPlanPassBase::ConvertToPlanPassBase;
  m1::PassStatistic numLaunches{*this, "launches"};
  m1::PassStatistic numKernels{*this, "kernels"};
  void runOnOperation() override {
    auto targets = createTargets(target);
    if (!targets) {
      getOperation().emitError(llvm::toString(targets.takeError()));
      return signalPassFailure();
    }
    for (auto &device : *targets) {
      auto plan = convertM1ToPlan(getOperation(), *device);
      if (failed(plan))
        return signalPassFailure();
      plan->walk([&](plan::LaunchOp) { ++numLaunches; });
      numKernels += llvm::range_size(plan->getOps<plan::KernelOp>());
    }
    for (Operation &op : llvm::make_early_inc_range(*getOperation().getBody()))
      if (isa<func::FuncOp>(op))
        op.erase();
  }
};

struct GenerateKernelsPass : impl::GenerateKernelsPassBase<GenerateKernelsPass> {
  m1::PassStatistic numKernels{*this, "kernels"};
  void runOnOperation() override {
    auto plans = llvm::to_vector(getOperation().getOps<plan::TargetOp>());
    for (plan::TargetOp plan : plans) {
      if (findKernelBodies(plan))
        continue;
      auto target = createTargetOf(plan);
      if (!target) {
        plan.emitOpError(llvm::toString(target.takeError()));
        return signalPassFailure();
      }
      OpBuilder builder = OpBuilder::atBlockEnd(getOperation().getBody());
      auto bodies = (*target)->generateKernels(plan, builder);
      if (failed(bodies))
        return signalPassFailure();
      if (!*bodies)
        continue;
      (*bodies)->setAttr(kernelsAttribute, plan.getSymNameAttr());
      numKernels += llvm::count_if((*bodies)->getRegion(0).front(), [](Operation &op) {
        return isa<FunctionOpInterface>(op) && !cast<FunctionOpInterface>(op).isExternal();
      });
    }
  }
};

} // namespace

std::unique_ptr<Pass> createConvertToPlanPass(llvm::StringRef targets) {
  ConvertToPlanPassOptions options;
  options.target = targets.str();
  return createConvertToPlanPass(options);
}

Operation *findKernelBodies(plan::TargetOp plan) {
  for (Operation &op : *plan->getBlock())
    if (op.getAttr(kernelsAttribute) == plan.getSymNameAttr())
      return &op;
  return nullptr;
}

void buildPlanPipeline(OpPassManager &passes) {
  OpPassManager &target = passes.nest<plan::TargetOp>();
  addPlanPasses(target);
  target.addNestedPass<plan::FunctionOp>(plan::createPlacePlanBuffersPass());
}

void registerConversionPasses() {
  registerConvertToPlanPass();
  registerGenerateKernelsPass();
  PassPipelineRegistration<>("m1-plan",
                             "launches fused as the devices like it, buffers placed: what follows "
                             "m1-convert-to-plan",
                             buildPlanPipeline);
  (void)describeTargets(); // devices register their passes with themselves
}

} // namespace m1c
