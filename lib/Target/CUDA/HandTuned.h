// From kernel specs to the facts of the hand-tuned families in kernels/cuda.
#ifndef M1C_TARGET_CUDA_HANDTUNED_H
#define M1C_TARGET_CUDA_HANDTUNED_H

#include "m1c/CudaTarget.h"
#include "m1k_cuda.h"
#include <optional>

namespace m1c::cuda {

/// Whether a hand-tuned family serves this op.
bool isHandTuned(const KernelSpec &spec);
/// Whether spec.maxRows, too, decides on its kernels.
bool dependsOnMaxRows(const KernelSpec &spec);
/// Whether it is a product of more rows than kernels are for, which is cuBLASLt's.
bool isLibraryProduct(const KernelSpec &spec);
/// Bounds of a decode step's rows for which its products have kernels (KernelSelector).
llvm::SmallVector<uint32_t> boundsOfRows(mlir::func::FuncOp decode);
/// Whether the family of the op reads pages that sequences share once for all of them.
bool canSharePrefixes(const KernelSpec &spec, const CudaChip &chip);

/// The family's kernels for this spec on a chip; symbols begin with `stem`. Its error says what the
/// family does not cover, or the chip does not hold.
m1k::cuda::Description describeHandTuned(const KernelSpec &spec, const std::string &stem,
                                         const CudaChip &chip);

/// A scan in a decode step and what stands around it; null: it is not there, or apart.
struct UpdateParts {
  const KernelSpec *scan = nullptr, *conv = nullptr;
  /// dt's projection, and the norms of its input, of b and of c.
  const KernelSpec *dt = nullptr, *dtNorm = nullptr, *bNorm = nullptr, *cNorm = nullptr;
  /// silu·mul by z, or the gated norm that reads what the scan leaves.
  const KernelSpec *gate = nullptr, *norm = nullptr;
  /// Of ssd_scan the columns of the convolution where x, b and c begin, of gated_delta those of v,
  /// q and k.
  int64_t xColumn = 0, bColumn = 0, cColumn = 0;
  int counters = 0; // of a sequence
  bool few = false; // for few sequences
};
/// One kernel for all of them.
m1k::cuda::Description describeUpdate(const UpdateParts &parts, const std::string &stem,
                                      const CudaChip &chip);
/// The counters of a sequence that it needs.
int countersOf(const UpdateParts &parts);
/// One kernel for decode attention and the write of keys and values before it, and the counters of
/// a sequence that it needs.
m1k::cuda::Description describeAttentionStep(const KernelSpec &write, const KernelSpec &attention,
                                             int counters, const std::string &stem,
                                             const CudaChip &chip);
int countersOf(const KernelSpec &write, const KernelSpec &attention);
/// A kernel that clears counters of each sequence, so many in each of its buffers.
m1k::cuda::Description describeClearCounters(llvm::ArrayRef<int> counts, const std::string &stem,
                                             const CudaChip &chip);
/// What a `linear` for few rows is by itself; `describeLinear` takes it with what it does for its
/// neighbours.
m1k::cuda::Linear linearOf(const KernelSpec &linear, std::string &error);
m1k::cuda::Description describeLinear(const m1k::cuda::Linear &facts, const std::string &stem,
                                      const CudaChip &chip);
m1k::cuda::CausalConv1d convolutionOf(const KernelSpec &conv, std::string &error);
m1k::cuda::Description describeLinearChain(const m1k::cuda::LinearChain &facts,
                                           const std::string &stem, const CudaChip &chip);
/// One kernel that makes numbers of `element` of the quantised weights of this `linear`.
m1k::cuda::Description describeDequantize(const KernelSpec &linear, mlir::Type element,
                                          const std::string &stem, const CudaChip &chip);
/// One kernel for the products of a gated MLP in steps of many rows.
m1k::cuda::Description describeGatedProduct(const m1k::cuda::GatedProduct &facts,
                                            const std::string &stem, const CudaChip &chip);
/// One kernel that rounds the rows of this `linear` to e4m3: to codes and scales where `element` is
/// f8E4M3FN, else to what these stand for.
m1k::cuda::Description describeQuantizeRows(const KernelSpec &linear, mlir::Type element,
                                            const std::string &stem, const CudaChip &chip);
/// The same of any facts.
m1k::cuda::Description describeQuantizeRows(const m1k::cuda::QuantizeRows &facts,
                                            const std::string &stem, const CudaChip &chip);
/// The type of the operand in a role; an error when kernels have none like it.
m1k::cuda::Type typeOf(const KernelSpec &spec, llvm::StringRef role, std::string &error);

/// The body of a function in CUDA C++ that computes the scalar code (m1::encodeScalars) of values
/// of these names, for kernels of kernels/cuda; null: something of it has no such text.
std::optional<std::string> writeScalars(mlir::ArrayAttr code,
                                        llvm::ArrayRef<llvm::StringRef> inputs);

/// The tuning that depends on nothing but the chip.
m1k::cuda::Tuning tuningFor(const CudaChip &chip);

RowDomain rowsOf(m1k::cuda::Domain domain);

} // namespace m1c::cuda

#endif
