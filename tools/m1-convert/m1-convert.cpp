// m1-convert: the M1 that distillation starts from, of a llama or qwen2 checkpoint.
#include "command_line.h"
#include "llvm_errors.h"
#include "m1c/InitialCheckpoint.h"
#include "printable.h"
#include "progress.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include <cstdio>

int main(int argc, char **argv) {
  m1tool::prepareProcess();
  m1tool::reportLlvmErrors();
  CLI::App app("Turns a transformer checkpoint into the M1 that distillation starts from: q, k, v "
               "and o become C, B, "
               "x and out_proj of\n"
               "Mamba-1 layers, everything else is copied, what has no counterpart is drawn.\n\n"
               "Example: m1-convert Llama-3.2-3B-Instruct -o M1-3B-start --attention-layers "
               "3,8,13,18,23,27\n",
               "m1-convert");
  app.set_version_flag("--version", "m1-convert " M1_VERSION);
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);

  m1c::ConvertOptions options;
  std::string layers;
  app.add_option("model", options.source, "Directory with config.json and safetensors")
      ->required()
      ->type_name("MODEL_DIR");
  app.add_option("-o,--output", options.output, "Directory to make")
      ->required()
      ->type_name("M1_DIR");
  app.add_option("--attention-layers", layers,
                 "Layers that keep attention, counted from 0, separated by commas; none")
      ->required()
      ->type_name("LIST");
  app.add_option("--seed", options.seed, "Seed of what is drawn")
      ->capture_default_str()
      ->check(m1tool::isSeed);
  app.add_flag("--overwrite", options.overwrite, "Replace a checkpoint that M1_DIR holds");
  int exitCode = 0;
  if (!m1tool::parseCommandLine(app, argc, argv, &exitCode))
    return exitCode;

  if (layers != "none")
    for (const std::string &part : CLI::detail::split(layers, ',')) {
      int64_t layer;
      if (llvm::StringRef(part).trim().getAsInteger(10, layer)) {
        return m1tool::usageError(
            "m1-convert",
            "--attention-layers: expected numbers separated by commas, or none; got '" + layers +
                "'");
      }
      options.attentionLayers.push_back(layer);
    }

  m1tool::ProgressLine progress;
  mlir::MLIRContext context;
  context.getDiagEngine().registerHandler([&](mlir::Diagnostic &diagnostic) {
    progress.clear();
    m1tool::say("m1-convert",
                diagnostic.getSeverity() == mlir::DiagnosticSeverity::Error ? "error" : "warning",
                diagnostic.str());
  });
  mlir::Location location = mlir::UnknownLoc::get(&context);
  mlir::LogicalResult result = m1c::convertCheckpoint(
      options,
      [&](uint64_t done, uint64_t total) {
        char text[64];
        std::snprintf(text, sizeof text, "write ... %3.0f %% of %.2f GB", 100.0 * done / total,
                      total * 1e-9);
        if (progress.due())
          progress.show(text);
      },
      [&] { return mlir::emitError(location); }, [&] { return mlir::emitWarning(location); });
  progress.clear();
  return mlir::succeeded(result) ? 0 : 1;
}
