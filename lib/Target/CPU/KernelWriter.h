// Writes the body of one CPU kernel: pointers through the llvm dialect, everything else scf, arith,
// math and vector. Offsets and counts are i64; values are f32 vectors of any width, converted from
// and to the buffer's element type when loaded and stored.
#ifndef M1C_TARGET_CPU_KERNELWRITER_H
#define M1C_TARGET_CPU_KERNELWRITER_H

#include "m1c/CpuTarget.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace m1c {

using mlir::Type;
using mlir::Value;
using mlir::ValueRange;

class KernelWriter {
public:
  /// Opens the function `kernel.symbol` in `module`.
  KernelWriter(mlir::ModuleOp module, const CpuInfo &cpu, const CpuKernel &kernel);
  ~KernelWriter(); // returns from the function

  const CpuInfo &cpu;
  const KernelSpec &spec;
  mlir::ImplicitLocOpBuilder b;
  Value groupX, groupY; // i64
  const int lanes;      // f32 lanes of one register

  // Operands.
  bool has(llvm::StringRef role) const { return spec.find(role) >= 0; }
  const OperandSpec &operand(llvm::StringRef role) const { return spec.get(role); }
  /// Columns of an activation or elements of a vector.
  int64_t columns(llvm::StringRef role) const { return spec.get(role).dims.back(); }
  Value pointer(llvm::StringRef role);
  /// Pointer to row `row` of an activation.
  Value rowPointer(llvm::StringRef role, Value row);
  /// The same of the operand at a position; where it has no rows, to its begin.
  Value rowPointer(size_t position, Value row);
  Value rowCount(RowDomain rows);
  Value maxPages();
  int64_t integer(llvm::StringRef param) const { return spec.integer(param); }
  double real(llvm::StringRef param) const { return spec.real(param); }

  // Scalars.
  Value constant(int64_t value); // i64
  Value add(Value x, Value y) { return mlir::arith::AddIOp::create(b, x, y); }
  Value add(Value x, int64_t y) { return y == 0 ? x : add(x, constant(y)); }
  Value mul(Value x, Value y) { return mlir::arith::MulIOp::create(b, x, y); }
  Value mul(Value x, int64_t y) { return y == 1 ? x : mul(x, constant(y)); }
  Value minimum(Value x, Value y) { return mlir::arith::MinSIOp::create(b, x, y); }
  /// Element `index` of an int32 array, as i64.
  Value loadIndex(Value pointer, Value index);
  void storeI32(Value pointer, Value index, Value i32);

  // Vectors.
  mlir::VectorType f32Vector(int64_t width);
  Value splat(double value, int64_t width);
  Value splat(Value f32, int64_t width);
  Value elementPointer(Value pointer, Type element, Value index);
  /// Asks for the line of element `index`, which may lie past the end of the buffer.
  void prefetch(Value pointer, Type element, Value index);
  /// `width` elements from `index`, as f32.
  Value load(Value pointer, Type element, Value index, int64_t width);
  void store(Value pointer, Type element, Value index, Value f32Vector);
  Value addf(Value x, Value y) { return mlir::arith::AddFOp::create(b, x, y); }
  Value subf(Value x, Value y) { return mlir::arith::SubFOp::create(b, x, y); }
  Value mulf(Value x, Value y) { return mlir::arith::MulFOp::create(b, x, y); }
  Value divf(Value x, Value y) { return mlir::arith::DivFOp::create(b, x, y); }
  Value fma(Value x, Value y, Value z) { return mlir::math::FmaOp::create(b, x, y, z); }
  Value sum(Value vector); // horizontal, f32
  Value silu(Value x);     // x / (1 + exp(-x))

  // Loops.
  using Body = llvm::function_ref<void(Value)>;
  using CarryBody = llvm::function_ref<llvm::SmallVector<Value>(Value, ValueRange)>;
  void forRange(Value begin, Value end, int64_t step, Body body);
  llvm::SmallVector<Value> forRange(Value begin, Value end, int64_t step, ValueRange initial,
                                    CarryBody body);
  void ifTrue(Value condition, llvm::function_ref<void()> body);
  /// The rows of this group: group_y · rowsPerGroup up to the next group or the end of the domain.
  std::pair<Value, Value> groupRows();
  void forGroupRows(Body body);
  /// Columns 0..n in registers of `lanes`, then ever narrower ones: never a byte past the end.
  using ColumnBody = llvm::function_ref<void(Value column, int64_t width)>;
  void forColumns(int64_t n, ColumnBody body);
  /// Sum over columns 0..n of the vectors that `body` returns, as an f32 scalar.
  using ColumnValue = llvm::function_ref<Value(Value column, int64_t width)>;
  Value sumColumns(int64_t n, ColumnValue body);

private:
  Value operands, dims;
  std::vector<Value> pointers;
};

/// Widths (powers of two, descending) that make up `n` < 2·lanes columns after whole registers.
llvm::SmallVector<int64_t> tailWidths(int64_t n);

/// Kernels that are written alike. The file that writes them, Kernels/NAME.cpp, says what they
/// serve in nameFamilies(), which CMakeLists.txt finds by that name.
struct CpuFamily {
  const char *origin; // generated, or the file of kernels/cpu
  std::vector<llvm::StringRef> ops;
  void (*write)(KernelWriter &);                   // the whole kernel
  bool isPerSequence = false;                      // grid_y is sequences, not rows
  bool differsInDecode = false;                    // code for one token a sequence
  uint32_t (*gridX)(const KernelSpec &) = nullptr; // 1 without
  // Some, by the width of a row, without.
  int64_t (*rowsPerGroup)(const KernelSpec &, const CpuInfo &) = nullptr;
  /// What is not covered; empty when all is well.
  std::string (*unsupported)(const KernelSpec &) = nullptr;
};

/// The family that serves the op, or null.
const CpuFamily *findCpuFamily(llvm::StringRef op);

/// Rows of one group, for the launch and the kernel alike.
int64_t rowsPerGroup(const KernelSpec &spec, const CpuInfo &cpu);

} // namespace m1c

#endif
