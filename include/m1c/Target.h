// A device to compile for: its kernel table, and the code of the kernels that the table chose.
#ifndef M1C_TARGET_H
#define M1C_TARGET_H

#include "Plan/Plan.h"
#include "m1c/Artifact.h"
#include "m1c/KernelSelector.h"
#include "llvm/Support/Error.h"
#include <memory>

namespace m1c {

/// Texts of a target's code on the way to the artifact; only those asked for are made.
struct CodeTexts {
  bool wantLlvm = false, wantAssembly = false, wantCode = true;
  std::string llvm, assembly;
};

class Target {
public:
  virtual ~Target() = default;
  virtual KernelSelector &selector() = 0;
  /// Changes the converted plan as the device likes it; before buffers are placed.
  virtual void optimize(mlir::plan::TargetOp plan) {}
  /// The code of all kernels that the selector chose, with what the loader must know of it put on
  /// `plan` (cpu and its features, each kernel's code index). Called once, after conversion and
  /// placement. Without `wantCode` the list may be empty. Errors name the kernel or the stage.
  virtual llvm::Expected<std::vector<CodeObject>> generate(mlir::plan::TargetOp plan,
                                                           CodeTexts &texts) = 0;
};

/// `cpu` as for resolveCpu.
llvm::Expected<std::unique_ptr<Target>> createCpuTarget(llvm::StringRef cpu);
/// `suffix` is what follows "cuda": empty, or ":sm_80,sm_90". Fails when it names no GPU or the
/// CUDA toolkit's compilers are missing.
llvm::Expected<std::unique_ptr<Target>> createCudaTarget(llvm::StringRef suffix);

} // namespace m1c

#endif
