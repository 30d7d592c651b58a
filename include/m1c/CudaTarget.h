// The CUDA target: which kernels it takes on a chip, and their code.
#ifndef M1C_CUDATARGET_H
#define M1C_CUDATARGET_H

#include "m1c/Artifact.h"
#include "m1c/Target.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "llvm/Support/Error.h"
#include <map>
#include <string>
#include <vector>

namespace m1k::cuda {
struct Kernel;
}

namespace m1c {

/// What kernels are shaped for. Shared memory in bytes, of blocks that ask for more than 48 KB.
struct CudaChip {
  llvm::StringLiteral name; // "sm_90"
  int multiprocessors;      // of the card named in the table
  int blockSharedBytes;     // most that a block may have
  int multiprocessorSharedBytes;
};

/// The chip of this name, or null.
const CudaChip *findCudaChip(llvm::StringRef name);
/// Resolves the part behind "cuda:", chips between commas; empty is sm_90. Ascending, each once.
/// The error names the value and what is accepted.
llvm::Expected<std::vector<const CudaChip *>> parseCudaChips(llvm::StringRef suffix);

/// A kernel of a plan on the way to its code: generated from its spec and shape, or hand-tuned
/// source for NVRTC.
struct CudaKernel {
  std::string symbol;
  std::string source; // empty: generated
  KernelSpec spec;
  unsigned width = 1, blockSize = 32, gridX = 1; // of generated kernels
};

/// Decode steps of at most so many rows stream the weights of their products.
constexpr uint32_t streamedRows = 8;
/// Those of at most so many multiply bf16 rows with weights of i8 as they are; above, making bf16
/// of the weights for a library's product takes less time than reading them once for 64 rows.
constexpr uint32_t tiledRows = 64;
/// Those of at most so many stream weights of int8 or int4 in groups into products with bf16 rows.
constexpr uint32_t streamedGroupRows = 32;

/// Prompt steps have the products of gated MLPs in kernels of Hopper's own instructions, silu·mul
/// inside, where rows are at least so many (fewer were not measured to gain), where what is left of
/// the last round of units of work costs at most such a part of the whole (silu·mul alone is 8 % of
/// both), and where weights of each half have so many elements (docs/performance.md).
constexpr uint32_t manyRows = 512;
constexpr double mostIdle = 0.06;
constexpr int64_t leastGatedProduct = int64_t(1) << 20;

/// Matrix products become gemm commands, in functions of few rows (KernelSpec::maxRows) launches
/// that stream the weights. Other ops take the family of kernels that serves them
/// (lib/Target/CUDA/Kernels), hand-tuned ones of kernels/cuda first.
class CudaSelector : public KernelSelector {
public:
  explicit CudaSelector(const CudaChip &chip) : chip(chip) {}
  llvm::SmallVector<uint32_t> smallBatches(mlir::func::FuncOp decode) const override;
  bool canShare(const KernelSpec &spec) const override;
  mlir::LogicalResult select(const KernelSpec &spec, PlanEmitter &emitter) override;

private:
  mlir::LogicalResult selectLibraryProduct(const KernelSpec &spec, PlanEmitter &emitter);
  /// Rows in the place of the spec's x, k elements apart, and their scales; null: x itself, none.
  struct RoundedRows {
    mlir::Value values, scales;
  };
  mlir::LogicalResult selectGemm(const KernelSpec &spec, PlanEmitter &emitter, mlir::Value weight,
                                 mlir::Type element, RoundedRows rows);
  /// The rows of a linear rounded to e4m3: codes and scales where `element` is f8E4M3FN, else what
  /// these stand for.
  mlir::FailureOr<RoundedRows> roundRows(const KernelSpec &spec, PlanEmitter &emitter,
                                         mlir::Type element);
  mlir::LogicalResult selectGenerated(const KernelSpec &spec, PlanEmitter &emitter);
  mlir::LogicalResult selectHandTuned(const KernelSpec &spec, PlanEmitter &emitter);
  /// One kernel of a hand-tuned family, of which the last `outputs` operands are written.
  void launchHandTuned(PlanEmitter &emitter, const std::string &key,
                       const m1k::cuda::Kernel &kernel, const std::string &origin,
                       llvm::ArrayRef<mlir::Value> operands, size_t outputs,
                       const KernelSpec *spec = nullptr);
  std::string stemFor(const KernelSpec &spec, const std::string &key);

  const CudaChip &chip;
  std::map<std::string, std::string> stems; // of a kernel's key: unique symbols
  std::map<std::string, int> uses;          // of a readable name
};

/// The bodies of those of `kernels` that are generated, as a gpu.module that `builder` inserts;
/// null when there are none.
mlir::gpu::GPUModuleOp generateCudaKernels(mlir::OpBuilder &builder,
                                           llvm::ArrayRef<CudaKernel> kernels,
                                           const CudaChip &chip);

/// Code objects of all kernels: one cubin of `bodies` (generateCudaKernels; consumed; may be null)
/// and one for each hand-tuned source, then, if asked for, the same as PTX. Needs the CUDA
/// toolkit's NVRTC and nvJitLink at run time. Errors name kernel and chip, or what is missing.
/// Of the texts that `request` wants, it makes the generated kernels' LLVM IR, after optimisation.
llvm::Expected<std::vector<CodeObject>> compileCudaKernels(mlir::gpu::GPUModuleOp bodies,
                                                           llvm::ArrayRef<CudaKernel> kernels,
                                                           const CudaChip &chip, bool wantPtx,
                                                           CodeRequest &request);

} // namespace m1c

#endif
