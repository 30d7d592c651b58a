// The m1 ops whose GPU kernels the compiler writes itself: elementwise, norms, rotary, cache
// writes, embedding, gather, argmax.
#ifndef M1C_TARGET_CUDA_GENERATEDKERNELS_H
#define M1C_TARGET_CUDA_GENERATEDKERNELS_H

#include "KernelBuilder.h"
#include <optional>

namespace m1c::cuda {

/// Whether buildGeneratedKernel knows this op.
bool isGeneratedOp(llvm::StringRef op);

/// Shape of the kernel for `spec`. `alignments[i]` is what operand i's base is a multiple of, in
/// bytes; accesses are as wide as it, the row strides and the sizes allow, at most 16 bytes (two of
/// them for f32 beside bf16).
KernelShape shapeGeneratedKernel(const KernelSpec &spec, llvm::ArrayRef<unsigned> alignments);

/// Whether it can be the shape of the kernel for `spec`, with operands of some alignment.
bool isShapeOf(const KernelSpec &spec, const KernelShape &shape);

/// Writes the kernel into `module`. Launch: one block row a row of spec.domain, shape.gridX blocks
/// of shape.blockSize threads.
mlir::LogicalResult buildGeneratedKernel(mlir::OpBuilder &builder, mlir::gpu::GPUModuleOp module,
                                         llvm::StringRef symbol, const KernelSpec &spec,
                                         const KernelShape &shape);

} // namespace m1c::cuda

#endif
