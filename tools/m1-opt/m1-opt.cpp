// m1-opt: runs passes and pipelines on textual IR.
#include "M1/IR/M1.h"
#include "M1/Transforms/Passes.h"
#include "Plan/Plan.h"
#include "Support/PassStatistic.h"
#include "m1c/Import.h"
#include "m1c/M1ToPlan.h"

#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/InitAllPasses.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include <csignal>

static constexpr const char *overview =
    R"(Runs passes and pipelines of the m1 and plan dialects (and MLIR's own) on textual IR.

Example: import a checkpoint, fuse it, and print what the passes did:
  echo 'module {}' | m1-opt --m1-import=directory=MODEL_DIR --m1-optimize --m1-statistics
)";

static llvm::cl::opt<bool>
    statistics("m1-statistics",
               llvm::cl::desc("print what the m1 passes counted, one count a line"));

int main(int argc, char **argv) {
  // A file that grows past the process's limit is an error of write(), not a death without a word.
  std::signal(SIGXFSZ, SIG_IGN);
  llvm::cl::SetVersionPrinter(
      [](llvm::raw_ostream &stream) { stream << "m1-opt " M1_VERSION "\n"; });
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
  mlir::LogicalResult result = mlir::MlirOptMain(argc, argv, overview, registry);
  if (statistics)
    mlir::m1::printStatistics(llvm::errs());
  return mlir::asMainReturnCode(result);
}
