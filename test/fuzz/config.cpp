// config.json: refused with a message, or a module that verifies, with dummy weights.
#include "../Support/TemporaryDirectory.h"
#include "fuzz.h"
#include "json_mutator.h"
#include "m1c/Import.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include <optional>

using namespace mlir;

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t largest,
                                          unsigned seed) {
  return fuzz::mutateJson(data, size, largest, seed);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const m1test::TemporaryDirectory directory;
  directory.write("config.json", fuzz::text(data, size));
  // Dialects take longer to load than a file to import; names and types stay in a context, so that
  // each serves some hundred files.
  static std::optional<MLIRContext> reused;
  static unsigned uses = 0;
  if (uses++ % 256 == 0)
    reused.emplace(MLIRContext::Threading::DISABLED);
  MLIRContext &context = *reused;
  std::string message;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    message += diagnostic.str();
    return success();
  });
  m1c::ImportOptions options;
  options.activationType = options.stateType = options.kvType = Float32Type::get(&context);
  options.dummy = true;
  m1c::CheckpointData checkpoint;
  auto module = m1c::importCheckpoint(context, directory.path, options, checkpoint);
  if (failed(module))
    FUZZ_CHECK(!message.empty());
  else
    FUZZ_CHECK(succeeded(verify(**module)));
  return 0;
}
