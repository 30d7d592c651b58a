// Builds one generated GPU kernel: addresses, vector accesses, f32 arithmetic and reductions over a
// block, in the gpu, vector, arith and LLVM dialects. Values are vectors of `width` f32; a width of
// 1 gives vector<1xf32>, so that every size takes the same path.
#ifndef M1C_TARGET_CUDA_KERNELWRITER_H
#define M1C_TARGET_CUDA_KERNELWRITER_H

#include "m1c/KernelSelector.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace m1c::cuda {

constexpr unsigned warpSize = 32;

/// How a generated kernel shares its rows among threads and blocks: with the spec, all that its
/// code follows from.
struct KernelShape {
  unsigned width = 1;      // elements a thread handles at once
  unsigned blockSize = 32; // threads; a multiple of warpSize
  unsigned gridX = 1;
};

class KernelWriter {
public:
  using Value = mlir::Value;

  /// Starts `gpu.func @symbol(one pointer an operand, m1_dims)`. `reduces` reserves the shared
  /// memory of blockSum and blockArgmax.
  KernelWriter(mlir::OpBuilder &builder, mlir::gpu::GPUModuleOp module, llvm::StringRef symbol,
               const KernelSpec &spec, const KernelShape &shape, bool reduces);
  /// Ends the kernel.
  void finish();

  const KernelSpec &spec;
  const KernelShape shape;
  mlir::ImplicitLocOpBuilder b;
  Value groupX, groupY, thread; // i32: blockIdx.x, blockIdx.y, threadIdx.x

  Value i32(int64_t value);
  Value f32(float value);
  Value add(Value a, Value c);
  Value mul(Value a, Value c);
  Value div(Value a, int64_t c); // of values that are never negative
  Value rem(Value a, int64_t c);
  Value less(Value a, Value c);
  Value maxPages(); // row stride of block_tables

  /// Runs `body` where `condition` holds.
  void when(Value condition, llvm::function_ref<void()> body);
  /// `body` where `condition` holds, else `otherwise`.
  Value select(Value condition, llvm::function_ref<Value()> body, Value otherwise);

  /// Runs `body` for `begin`, `begin` + step … below `end` (i32) with what it carries from one to
  /// the next, at first `initial`; returns what the last one carries on.
  using CarryBody = llvm::function_ref<llvm::SmallVector<Value>(Value, mlir::ValueRange)>;
  llvm::SmallVector<Value> forRange(Value begin, Value end, int64_t step, mlir::ValueRange initial,
                                    CarryBody body);

  /// An i32 of a batch array.
  Value loadIndex(llvm::StringRef role, Value index);
  void storeIndex(llvm::StringRef role, Value index, Value value);

  /// Elements row * stride + column … + width of an operand, widened to f32. Rows are those of the
  /// operand's row stride; an operand without rows takes row = {}. `width` 0 means the shape's.
  Value load(llvm::StringRef role, Value row, Value column, unsigned width = 0);
  void store(llvm::StringRef role, Value row, Value column, Value value);
  /// Columns column … column + width of the input at a position: of row `row`, or of a vector of
  /// which `columns` columns share the values in equal runs.
  Value loadInput(size_t position, Value row, Value column, int64_t columns);
  /// The same at an element offset (i64) from the operand's base.
  Value loadAt(llvm::StringRef role, Value element, unsigned width = 0);
  Value loadAt(size_t position, Value element, unsigned width = 0);
  void storeAt(llvm::StringRef role, Value element, Value value);
  Value i64(Value i32Value);
  Value offset(Value row, int64_t stride, Value column); // i64: row * stride + column

  // f32 arithmetic, scalars or vectors. Approximate instructions: ex2 and lg2 to 2 ulp (lg2 to
  // 2^-22 absolute), rcp, sqrt and rsqrt to 1 ulp.
  Value splat(Value scalar, unsigned width = 0);
  Value splat(float value, unsigned width = 0);
  /// What scalar code (m1::buildScalars) says otherwise than in the arith dialect; null for the
  /// rest. exp and log1p as above, tanh and erf within 2e-7 absolute.
  Value scalar(llvm::StringRef op, mlir::ValueRange operands);
  Value exp(Value x);
  Value log1p(Value x); // relative error below 1e-5
  Value rsqrt(Value x);
  Value sum(Value vector); // of its elements

  /// Sum of a scalar over the threads of the block, in a fixed order; every thread gets it.
  Value blockSum(Value scalar);
  /// Largest value and its smallest index over the block, valid in thread 0.
  std::pair<Value, Value> blockArgmax(Value scalar, Value index);

private:
  Value shuffleDown(Value v, unsigned distance);
  Value sharedSlot(unsigned word, Value index);
  mlir::Type vectorType(mlir::Type element, unsigned width);
  unsigned accessAlignment(mlir::Type element, unsigned width);

  mlir::gpu::GPUFuncOp function;
};

} // namespace m1c::cuda

#endif
