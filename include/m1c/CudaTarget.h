// The CUDA target: which kernels it takes, and their code for each GPU generation.
#ifndef M1C_CUDATARGET_H
#define M1C_CUDATARGET_H

#include "m1c/Artifact.h"
#include "m1c/KernelSelector.h"
#include "llvm/Support/Error.h"
#include <map>
#include <string>
#include <vector>

namespace m1k::cuda {
struct Description;
}

namespace m1c {

/// What `--target cuda[:sm_80,sm_90,…]` asks for.
struct CudaOptions {
  // ascending; PTX for the first is kept for GPUs newer than all
  std::vector<std::string> chips = {"sm_90"};
};

/// Resolves the part behind "cuda": empty, or ":" and chips between commas. The error names the
/// value and what is accepted.
llvm::Expected<CudaOptions> parseCudaTarget(llvm::StringRef suffix);

/// A kernel whose code has to be produced: generated from its spec, or hand-tuned source for NVRTC.
struct CudaKernel {
  std::string symbol;
  std::string source; // empty: generated
  KernelSpec spec;
  unsigned width = 1, blockSize = 32, gridX = 1; // of generated kernels
};

/// Matrix products become gemm commands, in functions of few rows (KernelSpec::maxRows) launches
/// that stream the weights; scans, convolutions, attention, gated norms and argmax take the
/// hand-tuned families of kernels/cuda; all else is generated.
class CudaSelector : public KernelSelector {
public:
  llvm::StringRef targetName() const override { return "cuda"; }
  llvm::SmallVector<uint32_t> smallBatches() const override { return {8}; }
  bool canShare(const KernelSpec &spec) const override;
  mlir::LogicalResult select(const KernelSpec &spec, PlanEmitter &emitter) override;
  llvm::ArrayRef<CudaKernel> kernels() const { return collected; }
  /// Merges launches of decode functions that one kernel does together. After the conversion,
  /// before buffers are placed.
  void fuseLaunches(mlir::plan::TargetOp target);

private:
  mlir::LogicalResult selectGemm(const KernelSpec &spec, PlanEmitter &emitter);
  mlir::LogicalResult selectGenerated(const KernelSpec &spec, PlanEmitter &emitter);
  mlir::LogicalResult selectHandTuned(const KernelSpec &spec, PlanEmitter &emitter);
  void declareSampler(const KernelSpec &spec, PlanEmitter &emitter);
  bool replaceLaunches(mlir::plan::LaunchOp writer, mlir::plan::LaunchOp reader,
                       const std::string &key, const KernelSpec &spec,
                       llvm::function_ref<m1k::cuda::Description(const std::string &)> describe,
                       llvm::function_ref<mlir::Value(llvm::StringRef)> find);
  std::string stemFor(const KernelSpec &spec, const std::string &key);

  std::vector<CudaKernel> collected;
  std::map<std::string, std::string> stems; // of a kernel's key: unique symbols
  std::map<std::string, int> uses;          // of a readable name
};

/// Code objects of all kernels: per chip one cubin of the generated kernels and one for each
/// hand-tuned source, then the same as PTX for the first chip. Every object is loaded for the GPU
/// it fits; symbols are unique among those of a chip. Needs the CUDA toolkit's NVRTC and nvJitLink
/// at run time. Errors name kernel and chip, or what of the toolkit is missing.
llvm::Expected<std::vector<CodeObject>> compileCudaKernels(mlir::MLIRContext *context,
                                                           llvm::ArrayRef<CudaKernel> kernels,
                                                           const CudaOptions &options);

} // namespace m1c

#endif
