#include "Support/PassStatistic.h"
#include "m1c/CpuTarget.h"
#include "m1c/M1ToPlan.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"

namespace m1c {

using namespace mlir;

#define GEN_PASS_DECL
#define GEN_PASS_DEF_M1CONVERTTOPLANPASS
#define GEN_PASS_REGISTRATION
#include "Conversion/ConversionPasses.h.inc"

namespace {

struct M1ConvertToPlanPass : impl::M1ConvertToPlanPassBase<M1ConvertToPlanPass> {
  using M1ConvertToPlanPassBase::M1ConvertToPlanPassBase;
  m1::PassStatistic numLaunches{*this, "launches"};
  m1::PassStatistic numKernels{*this, "kernels"};
  void runOnOperation() override {
    auto info = resolveCpu(cpu);
    if (!info) {
      getOperation().emitError(llvm::toString(info.takeError()));
      return signalPassFailure();
    }
    CpuSelector selector(*info);
    auto target = convertM1ToPlan(getOperation(), selector);
    if (failed(target))
      return signalPassFailure();
    for (Operation &op : llvm::make_early_inc_range(*getOperation().getBody()))
      if (isa<func::FuncOp>(op))
        op.erase();
    target->walk([&](plan::LaunchOp) { ++numLaunches; });
    numKernels += selector.kernels().size();
  }
};

} // namespace

void registerConversionPasses() { registerM1ConvertToPlanPass(); }

} // namespace m1c
