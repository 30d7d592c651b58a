// From kernel specs to the facts of the hand-tuned families in kernels/cuda.
#ifndef M1C_TARGET_CUDA_HANDTUNED_H
#define M1C_TARGET_CUDA_HANDTUNED_H

#include "m1c/CudaTarget.h"
#include "m1k_cuda.h"

namespace m1c::cuda {

/// Whether a hand-tuned family serves this op.
bool isHandTuned(const KernelSpec &spec);
/// Whether the family of the op reads pages that sequences share once for all of them.
bool canSharePrefixes(const KernelSpec &spec, const CudaChip &chip);

/// The family's kernels for this spec on a chip; symbols begin with `stem`. Its error says what the
/// family does not cover, or the chip does not hold.
m1k::cuda::Description describeHandTuned(const KernelSpec &spec, const std::string &stem,
                                         const CudaChip &chip);

/// One kernel for a decode step's convolution and the scan that reads it.
m1k::cuda::Description describeUpdateConv(const KernelSpec &conv, const KernelSpec &scan,
                                          const std::string &stem, const CudaChip &chip);
/// One kernel for few rows of silu(x · gateᵀ) · (x · upᵀ), w being [gate; up].
m1k::cuda::Description describeGatedLinear(const KernelSpec &linear, const KernelSpec &siluMul,
                                           const std::string &stem, const CudaChip &chip);

/// The tuning that depends on nothing but the chip.
m1k::cuda::Tuning tuningFor(const CudaChip &chip);

RowDomain rowsOf(m1k::cuda::Domain domain);

} // namespace m1c::cuda

#endif
