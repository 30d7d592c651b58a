// config.json: refused with a message, or a module that verifies, with dummy weights.
#include "../Support/TemporaryDirectory.h"
#include "fuzz.h"
#include "m1c/Import.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"

using namespace mlir;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const m1test::TemporaryDirectory directory;
  directory.write("config.json", fuzz::text(data, size));
  MLIRContext context(MLIRContext::Threading::DISABLED);
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
