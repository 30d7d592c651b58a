// m1-lsp-server: the dialects in an editor (completion, diagnostics, navigation of .mlir files).
#include "M1/IR/M1.h"
#include "Plan/Plan.h"

#include "mlir/InitAllDialects.h"
#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  registry.insert<mlir::m1::M1Dialect, mlir::plan::PlanDialect>();
  return mlir::failed(mlir::MlirLspServerMain(argc, argv, registry)) ? 1 : 0;
}
