// From a gpu.module to PTX: gpu, scf, vector, arith → NVVM → LLVM IR → LLVM's NVPTX backend.
#ifndef M1C_TARGET_CUDA_PTX_H
#define M1C_TARGET_CUDA_PTX_H

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include <string>

namespace m1c::cuda {

/// 90 of "sm_90" and "sm_90a".
int chipNumber(llvm::StringRef chip);

/// Lowers `module` in place and returns its PTX for `chip` ("sm_90"); `outLlvm`, unless null, gets
/// the LLVM IR that it comes from, optimised. Fails with a diagnostic.
mlir::FailureOr<std::string> emitPtx(mlir::gpu::GPUModuleOp module, llvm::StringRef chip,
                                     std::string *outLlvm = nullptr);

} // namespace m1c::cuda

#endif
