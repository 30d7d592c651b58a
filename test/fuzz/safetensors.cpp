// model.safetensors: refused with a message that names it, or tensors that lie within the file.
#include "fuzz.h"
#include "m1c/Checkpoint.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include <fstream>

using namespace mlir;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const fuzz::Directory directory;
  std::ofstream(directory.path() + "/model.safetensors", std::ios::binary)
      << fuzz::text(data, size);
  static MLIRContext context(MLIRContext::Threading::DISABLED);
  std::string message;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    message += diagnostic.str();
    return success();
  });
  m1c::CheckpointData checkpoint;
  auto emitError = [&] { return mlir::emitError(UnknownLoc::get(&context)); };
  if (failed(checkpoint.open(directory.path(), emitError))) {
    FUZZ_CHECK(message.find("model.safetensors") != std::string::npos);
    return 0;
  }
  char sum = 0;
  for (const m1c::SourceTensor &tensor : checkpoint.getTensors()) {
    FUZZ_CHECK(tensor.offset + tensor.data.size() <= size);
    for (char byte : tensor.data)
      sum = char(sum + byte);
    FUZZ_CHECK(checkpoint.find(tensor.name));
  }
  (void)sum;
  return 0;
}
