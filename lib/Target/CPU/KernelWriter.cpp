#include "KernelWriter.h"
#include "M1/IR/Scalars.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace m1c {

llvm::SmallVector<int64_t> tailWidths(int64_t n) {
  llvm::SmallVector<int64_t> widths;
  for (int64_t width = llvm::bit_floor(static_cast<uint64_t>(n)); width > 0; width /= 2)
    if (n & width)
      widths.push_back(width);
  return widths;
}

KernelWriter::KernelWriter(ModuleOp module, const CpuInfo &cpu, const CpuKernel &kernel)
    : cpu(cpu), spec(kernel.spec), b(UnknownLoc::get(module.getContext()), module.getContext()),
      lanes(cpu.avx512 ? 16 : 8) {
  b.setInsertionPointToEnd(module.getBody());
  Type ptr = LLVM::LLVMPointerType::get(b.getContext()), i32 = b.getI32Type();
  auto function =
      func::FuncOp::create(b, kernel.symbol, b.getFunctionType({ptr, ptr, i32, i32}, {}));
  b.setInsertionPointToStart(function.addEntryBlock());
  operands = function.getArgument(0);
  dims = function.getArgument(1);
  groupX = arith::ExtSIOp::create(b, b.getI64Type(), function.getArgument(2));
  groupY = arith::ExtSIOp::create(b, b.getI64Type(), function.getArgument(3));
  for (size_t i = 0; i < spec.operands.size(); ++i) {
    Value slot =
        LLVM::GEPOp::create(b, ptr, ptr, operands, ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(i)});
    pointers.push_back(LLVM::LoadOp::create(b, ptr, slot, 8));
  }
}

KernelWriter::~KernelWriter() { func::ReturnOp::create(b); }

Value KernelWriter::pointer(StringRef role) {
  int index = spec.find(role);
  assert(index >= 0 && "operand of the spec");
  return pointers[index];
}

Value KernelWriter::rowPointer(StringRef role, Value row) {
  const OperandSpec &o = spec.get(role);
  return elementPointer(pointer(role), o.element, mul(row, o.rowStride));
}

Value KernelWriter::rowPointer(size_t position, Value row) {
  const OperandSpec &o = spec.operands[position];
  return o.rowStride ? elementPointer(pointers[position], o.element, mul(row, o.rowStride))
                     : pointers[position];
}

Value KernelWriter::rowCount(RowDomain rows) {
  if (rows == RowDomain::one)
    return constant(1);
  int32_t field = rows == RowDomain::tokens ? 0 : rows == RowDomain::sequences ? 1 : 2; // m1_dims
  return loadIndex(dims, constant(field));
}

Value KernelWriter::maxPages() { return loadIndex(dims, constant(3)); }

Value KernelWriter::constant(int64_t value) {
  return arith::ConstantOp::create(b, b.getI64IntegerAttr(value));
}

Value KernelWriter::loadIndex(Value pointer, Value index) {
  Value value =
      LLVM::LoadOp::create(b, b.getI32Type(), elementPointer(pointer, b.getI32Type(), index), 4);
  return arith::ExtSIOp::create(b, b.getI64Type(), value);
}

void KernelWriter::storeI32(Value pointer, Value index, Value i32) {
  LLVM::StoreOp::create(b, i32, elementPointer(pointer, b.getI32Type(), index), 4);
}

VectorType KernelWriter::f32Vector(int64_t width) { return VectorType::get(width, b.getF32Type()); }

Value KernelWriter::splat(double value, int64_t width) {
  return arith::ConstantOp::create(
      b, DenseElementsAttr::get(f32Vector(width), static_cast<float>(value)));
}

Value KernelWriter::splat(Value f32, int64_t width) {
  return vector::BroadcastOp::create(b, f32Vector(width), f32);
}

Value KernelWriter::elementPointer(Value pointer, Type element, Value index) {
  if (isa<Float8E4M3FNType>(element)) // no type of LLVM's
    element = b.getI8Type();
  return LLVM::GEPOp::create(b, pointer.getType(), element, pointer, ArrayRef<LLVM::GEPArg>{index});
}

void KernelWriter::prefetch(Value pointer, Type element, Value index) {
  LLVM::Prefetch::create(b, elementPointer(pointer, element, index), /*rw=*/0, /*hint=*/3,
                         /*cache=*/1);
}

Value KernelWriter::load(Value pointer, Type element, Value index, int64_t width) {
  Value address = elementPointer(pointer, element, index);
  unsigned alignment = element.getIntOrFloatBitWidth() / 8;
  if (element.isBF16()) { // bf16 is the upper half of an f32
    auto i16s = VectorType::get(width, b.getI16Type()),
         i32s = VectorType::get(width, b.getI32Type());
    Value bits = arith::ExtUIOp::create(b, i32s, LLVM::LoadOp::create(b, i16s, address, alignment));
    Value shift = arith::ConstantOp::create(b, DenseElementsAttr::get(i32s, int32_t(16)));
    return arith::BitcastOp::create(b, f32Vector(width), arith::ShLIOp::create(b, bits, shift));
  }
  if (isa<Float8E4M3FNType>(element)) {
    // With its exponent in the place of f16's, whose bias is 8 more, a number is 2^8 times less
    // than it is; the conversion heeds denormal f16, whatever the mode of the processor. No code
    // is NaN.
    auto i16s = VectorType::get(width, b.getI16Type());
    auto splat16 = [&](int16_t x) -> Value {
      return arith::ConstantOp::create(b, DenseElementsAttr::get(i16s, x));
    };
    Value codes =
        LLVM::LoadOp::create(b, VectorType::get(width, b.getI8Type()), address, alignment);
    Value shifted = arith::ShLIOp::create(b, arith::ExtSIOp::create(b, i16s, codes), splat16(7));
    Value half = arith::BitcastOp::create(
        b, VectorType::get(width, b.getF16Type()),
        arith::AndIOp::create(b, shifted, splat16(static_cast<int16_t>(0xbf80))));
    return mulf(arith::ExtFOp::create(b, f32Vector(width), half), splat(256.0, width));
  }
  Value value = LLVM::LoadOp::create(b, VectorType::get(width, element), address, alignment);
  if (element.isInteger(8)) {
    auto i32s = VectorType::get(width, b.getI32Type());
    return arith::SIToFPOp::create(b, f32Vector(width), arith::ExtSIOp::create(b, i32s, value));
  }
  return element.isF32() ? value : arith::ExtFOp::create(b, f32Vector(width), value);
}

/// f32 to bf16 bits, to nearest even, in integer arithmetic: for CPUs without the instruction. NaNs
/// stay NaNs.
static Value roundToBf16(ImplicitLocOpBuilder &b, Value value) {
  int64_t width = cast<VectorType>(value.getType()).getDimSize(0);
  auto i32s = VectorType::get(width, b.getI32Type());
  auto splat = [&](int32_t x) -> Value {
    return arith::ConstantOp::create(b, DenseElementsAttr::get(i32s, x));
  };
  Value bits = arith::BitcastOp::create(b, i32s, value);
  Value odd = arith::AndIOp::create(b, arith::ShRUIOp::create(b, bits, splat(16)), splat(1));
  Value rounded = arith::AddIOp::create(b, bits, arith::AddIOp::create(b, odd, splat(0x7fff)));
  Value isNan = arith::CmpFOp::create(b, arith::CmpFPredicate::UNO, value, value);
  rounded = arith::SelectOp::create(b, isNan, splat(0x7fc00000), rounded);
  return arith::TruncIOp::create(b, VectorType::get(width, b.getI16Type()),
                                 arith::ShRUIOp::create(b, rounded, splat(16)));
}

void KernelWriter::store(Value pointer, Type element, Value index, Value vector) {
  Value address = elementPointer(pointer, element, index);
  int64_t width = cast<VectorType>(vector.getType()).getDimSize(0);
  if (element.isBF16() && (!cpu.avx512Bf16 || width < 8))
    vector = roundToBf16(b, vector);
  else if (!element.isF32())
    vector = arith::TruncFOp::create(b, VectorType::get(width, element), vector);
  LLVM::StoreOp::create(b, vector, address, element.getIntOrFloatBitWidth() / 8);
}

Value KernelWriter::sum(Value vector) {
  return vector::ReductionOp::create(b, vector::CombiningKind::ADD, vector);
}

Value KernelWriter::silu(Value x) { return m1::scalars::silu(b, x); }

void KernelWriter::forRange(Value begin, Value end, int64_t step, Body body) {
  auto loop = scf::ForOp::create(b, begin, end, constant(step));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  body(loop.getInductionVar());
}

llvm::SmallVector<Value> KernelWriter::forRange(Value begin, Value end, int64_t step,
                                                ValueRange initial, CarryBody body) {
  auto loop = scf::ForOp::create(b, begin, end, constant(step), initial);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  llvm::SmallVector<Value> next = body(loop.getInductionVar(), loop.getRegionIterArgs());
  scf::YieldOp::create(b, next);
  return llvm::SmallVector<Value>(loop.getResults());
}

void KernelWriter::ifTrue(Value condition, llvm::function_ref<void()> body) {
  auto branch = scf::IfOp::create(b, condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(branch.thenBlock());
  body();
}

std::pair<Value, Value> KernelWriter::groupRows() {
  int64_t rows = rowsPerGroup(spec, cpu);
  Value begin = mul(groupY, rows);
  return {begin, minimum(add(begin, rows), rowCount(spec.domain))};
}

void KernelWriter::forGroupRows(Body body) {
  auto [begin, end] = groupRows();
  forRange(begin, end, 1, body);
}

void KernelWriter::forColumns(int64_t n, ColumnBody body) {
  int64_t whole = n / lanes * lanes;
  if (whole > 0)
    forRange(constant(0), constant(whole), lanes, [&](Value column) { body(column, lanes); });
  for (int64_t width : tailWidths(n - whole)) {
    body(constant(whole), width);
    whole += width;
  }
}

Value KernelWriter::sumColumns(int64_t n, ColumnValue body) {
  // Four sums hide the latency of the addition.
  constexpr int64_t kUnroll = 4;
  int64_t done = n / (lanes * kUnroll) * (lanes * kUnroll);
  llvm::SmallVector<Value> sums(kUnroll, splat(0.0, lanes));
  if (done > 0)
    sums = forRange(constant(0), constant(done), lanes * kUnroll, sums,
                    [&](Value column, ValueRange carried) {
                      llvm::SmallVector<Value> next;
                      for (int64_t i = 0; i < kUnroll; ++i)
                        next.push_back(addf(carried[i], body(add(column, i * lanes), lanes)));
                      return next;
                    });
  for (int64_t i = 0; done + lanes <= n; ++i, done += lanes)
    sums[i] = addf(sums[i], body(constant(done), lanes));
  Value total = sum(addf(addf(sums[0], sums[1]), addf(sums[2], sums[3])));
  for (int64_t width : tailWidths(n - done)) {
    total = addf(total, sum(body(constant(done), width)));
    done += width;
  }
  return total;
}

} // namespace m1c
