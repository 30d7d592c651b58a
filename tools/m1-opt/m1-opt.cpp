// m1-opt: runs passes and pipelines on textual IR.
#include "M1/IR/M1.h"
#include "M1/Transforms/Passes.h"
#include "Support/PassStatistic.h"
#include "Plan/Plan.h"
#include "m1c/Import.h"
#include "m1c/M1ToPlan.h"

#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/InitAllPasses.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"

static llvm::cl::opt<bool> statistics("m1-statistics",
                                      llvm::cl::desc("print what the m1 passes counted, one count a line"));

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  mlir::registerAllExtensions(registry);
  mlir::registerAllPasses();
  registry.insert<mlir::m1::M1Dialect, mlir::plan::PlanDialect>();
  mlir::m1::registerM1Passes();
  mlir::m1::registerOptimizePipeline();
  m1c::registerImportPass();
  mlir::plan::registerPlanPasses();
  m1c::registerConversionPasses();
  mlir::LogicalResult result = mlir::MlirOptMain(argc, argv, "M1 optimizer driver\n", registry);
  if (statistics)
    mlir::m1::printStatistics(llvm::errs());
  return mlir::asMainReturnCode(result);
}
