// m1-opt: runs passes and pipelines on textual IR.
#include "M1/IR/M1.h"
#include "M1/Transforms/Passes.h"
#include "Plan/Plan.h"
#include "Support/PassStatistic.h"
#include "command_line.h"
#include "llvm_errors.h"
#include "llvm_options.h"
#include "m1c/Import.h"
#include "m1c/M1ToPlan.h"
#include "m1c/ReadableText.h"
#include "tool.h"

#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/InitAllPasses.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "llvm/Support/InitLLVM.h"

static constexpr const char *overview =
    R"(Runs passes and pipelines of the m1 and plan dialects (and MLIR's own) on textual IR.

Example: import a checkpoint, fuse it, and print what the passes did:
  echo 'module {}' | m1-opt --m1-import=directory=MODEL_DIR --m1-optimize --m1-statistics
)";

using namespace mlir;

static llvm::cl::opt<bool>
    statistics("m1-statistics",
               llvm::cl::desc("print what the m1 passes counted, one count a line"));

/// mlir-opt's work on `input`, with our own ends: text that its parser cannot read is refused, and
/// the output file is whole or not there (standard output gets what there is after an error, too).
static LogicalResult optimize(StringRef input, StringRef output, DialectRegistry &registry,
                              const MlirOptMainConfig &config) {
  auto fail = [](const llvm::Twine &message) {
    m1tool::say("m1-opt", "error", message.str());
    return failure();
  };
  if (std::string mistake = m1tool::overwrites("--output", output.str(), {input.str()});
      !mistake.empty())
    return fail(mistake);
  const std::string name = input.str();
  m1tool::workedOn() = name.c_str();
  auto buffer = m1c::readModuleText(input);
  if (!buffer)
    return fail(llvm::toString(buffer.takeError()));
  m1rt::OutputFile file;
  if (m1rt::Status status = file.open(output.str()); !status.ok())
    return fail(status.message());
  std::string text;
  llvm::raw_string_ostream stream(text);
  LogicalResult result = MlirOptMain(stream, std::move(*buffer), registry, config);
  if (failed(result) && output != "-")
    return failure();
  m1rt::Status status = file.write(text);
  if (status.ok())
    status = file.commit();
  return status.ok() ? result : fail(status.message());
}

int main(int argc, char **argv) {
  m1tool::prepareProcess();
  llvm::InitLLVM init(argc, argv);
  m1tool::reportLlvmErrors();
  m1tool::hideLlvmOptions();
  llvm::cl::SetVersionPrinter(
      [](llvm::raw_ostream &stream) { stream << "m1-opt " M1_VERSION "\n"; });
  DialectRegistry registry;
  registerAllDialects(registry);
  registerAllExtensions(registry);
  registerAllPasses();
  registry.insert<m1::M1Dialect, plan::PlanDialect>();
  m1::registerM1Passes();
  m1::registerOptimizePipeline();
  m1c::registerImportPass();
  plan::registerPlanPasses();
  m1c::registerConversionPasses();
  auto [input, output] = registerAndParseCLIOptions(argc, argv, overview, registry);
  auto config = MlirOptMainConfig::createFromCLOptions();
  LogicalResult result = config.shouldShowDialects() || config.shouldListPasses()
                             ? MlirOptMain(argc, argv, input, output, registry)
                             : optimize(input, output, registry, config);
  if (statistics)
    m1::printStatistics(llvm::errs());
  return asMainReturnCode(result);
}
