// Opens checkpoints of malformed weights.
#ifndef M1_TEST_FUZZ_CHECKPOINT_H
#define M1_TEST_FUZZ_CHECKPOINT_H

#include "fuzz.h"
#include "m1c/Checkpoint.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"

namespace fuzz {

/// Whether the weights are accepted; a refusal names their file.
inline bool opens(const std::string &directory, m1c::CheckpointData &out) {
  static mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  std::string message;
  mlir::ScopedDiagnosticHandler handler(&context, [&](mlir::Diagnostic &diagnostic) {
    message += diagnostic.str();
    return mlir::success();
  });
  auto emitError = [&] { return mlir::emitError(mlir::UnknownLoc::get(&context)); };
  if (succeeded(out.open(directory, emitError)))
    return true;
  FUZZ_CHECK(message.find("model.safetensors") != std::string::npos);
  return false;
}

} // namespace fuzz

#endif
