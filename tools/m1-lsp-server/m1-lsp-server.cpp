// m1-lsp-server: the dialects in an editor (completion, diagnostics, navigation of .mlir files).
#include "M1/IR/M1.h"
#include "Plan/Plan.h"

#include "mlir/InitAllDialects.h"
#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/raw_ostream.h"

int main(int argc, char **argv) {
  llvm::cl::SetVersionPrinter(
      [](llvm::raw_ostream &stream) { stream << "m1-lsp-server " M1_VERSION "\n"; });
  llvm::cl::extrahelp example("\nExample, for an editor that starts language servers by command "
                              "(here VS Code's MLIR extension):\n"
                              "  \"mlir.server_path\": \"BUILD/bin/m1-lsp-server\"\n");
  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  registry.insert<mlir::m1::M1Dialect, mlir::plan::PlanDialect>();
  return mlir::failed(mlir::MlirLspServerMain(argc, argv, registry)) ? 1 : 0;
}
