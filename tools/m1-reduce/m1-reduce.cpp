// m1-reduce: shrinks a module while a script still finds it interesting.
#include "M1/IR/M1.h"
#include "M1/Transforms/Passes.h"
#include "Plan/Plan.h"
#include "m1c/Import.h"
#include "m1c/M1ToPlan.h"
#include "m1c/ReadableText.h"

#include "mlir/InitAllDialects.h"
#include "mlir/InitAllPasses.h"
#include "mlir/Tools/mlir-reduce/MlirReduceMain.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"

/// The input is whatever argument names a file: MLIR's command line is read behind mlirReduceMain.
static bool isReadable(llvm::StringRef argument) {
  auto text = llvm::MemoryBuffer::getFile(argument);
  if (argument.starts_with("-") || !text || !m1c::holdsIndexArray((*text)->getBuffer()))
    return true;
  llvm::errs() << "m1-reduce: " << argument << ": " << m1c::indexArrayMessage << "\n";
  return false;
}

int main(int argc, char **argv) {
  if (!llvm::all_of(llvm::ArrayRef(argv + 1, argv + argc), isReadable))
    return 1;
  llvm::cl::SetVersionPrinter(
      [](llvm::raw_ostream &stream) { stream << "m1-reduce " M1_VERSION "\n"; });
  llvm::cl::extrahelp example(
      "\nExample: what is left of a module that m1-opt crashes on. The script exits 1 while its\n"
      "argument, a file, is interesting:\n"
      "  m1-reduce bad.mlir -reduction-tree='traversal-mode=0 test=./crashes.sh'\n");
  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  registry.insert<mlir::m1::M1Dialect, mlir::plan::PlanDialect>();
  mlir::registerAllPasses();
  mlir::m1::registerM1Passes();
  mlir::m1::registerOptimizePipeline();
  m1c::registerImportPass();
  mlir::plan::registerPlanPasses();
  m1c::registerConversionPasses();
  mlir::MLIRContext context(registry);
  return mlir::failed(mlir::mlirReduceMain(argc, argv, context)) ? 1 : 0;
}
