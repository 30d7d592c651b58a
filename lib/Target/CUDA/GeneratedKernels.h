// Kernels that the compiler writes itself for the cuda target. Families of them are in Kernels/.
#ifndef M1C_TARGET_CUDA_GENERATEDKERNELS_H
#define M1C_TARGET_CUDA_GENERATEDKERNELS_H

#include "KernelWriter.h"
#include "m1c/CudaTarget.h"
#include <vector>

namespace m1c::cuda {

/// What one thread does in a row.
struct Unit {
  mlir::Value row; // or the sequence, of families that walk them
  // Where threads share a row by columns: the first of its `width` columns of the result, and the
  // same as a run (see GeneratedFamily::run) and a column within it.
  mlir::Value column, run, inRun;
};

/// Kernels that are written alike. The file that writes them, Kernels/NAME.cpp, says what they
/// serve in nameFamilies(), which CMakeLists.txt finds by that name.
struct GeneratedFamily {
  llvm::StringRef op;
  void (*write)(KernelWriter &, const Unit &); // the unit's part of the row
  /// A block has the row to itself, and its threads share it as they like. Otherwise each has
  /// `width` columns, of as many blocks as that takes.
  bool blockPerRow = false;
  /// Rows are the sequences of the batch, whose tokens the unit walks.
  bool isPerSequence = false;
  bool differsInDecode = false; // code for one token a sequence
  /// Length of the runs of contiguous elements that the op maps to contiguous elements.
  int64_t (*run)(const KernelSpec &) = nullptr;
  int64_t (*runsPerRow)(const KernelSpec &) = nullptr; // as many as the result holds, without
  unsigned widest = 8;                                 // columns of a thread
  bool (*takesWidth)(const KernelSpec &, unsigned width) = nullptr;
  /// Operands whose values are read one by one, whatever the width; none without.
  bool (*readsSingly)(const KernelSpec &, const OperandSpec &) = nullptr;
  /// A kernel that the runtime launches by itself beside the op's; none without.
  KernelChoice (*companion)(const KernelSpec &, const CudaChip &) = nullptr;
};

/// The family that serves the op, or null.
const GeneratedFamily *findGeneratedFamily(llvm::StringRef op);

/// Columns of an activation or elements of a vector.
inline int64_t columns(const OperandSpec &operand) { return operand.dims.back(); }

/// Shape of the kernel for `spec`. `alignments[i]` is what operand i's base is a multiple of, in
/// bytes; accesses are as wide as it, the row strides and the sizes allow, at most 16 bytes (two of
/// them for f32 beside bf16).
KernelShape shapeGeneratedKernel(const KernelSpec &spec, llvm::ArrayRef<unsigned> alignments);

/// Whether it can be the shape of the kernel for `spec`, with operands of some alignment.
bool isShapeOf(const KernelSpec &spec, const KernelShape &shape);

/// Writes the kernel into `module`; a family serves spec.op. Launch: one block row a row of
/// spec.domain, or a sequence, shape.gridX blocks of shape.blockSize threads.
void buildGeneratedKernel(mlir::OpBuilder &builder, mlir::gpu::GPUModuleOp module,
                          llvm::StringRef symbol, const KernelSpec &spec, const KernelShape &shape);

} // namespace m1c::cuda

#endif
