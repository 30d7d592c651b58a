#include "KernelWriter.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;

namespace m1c::cuda {

namespace {
constexpr unsigned maxWarps = 32; // of a block of 1024 threads

unsigned bytesOf(Type element) { return element.getIntOrFloatBitWidth() / 8; }
} // namespace

KernelWriter::KernelWriter(OpBuilder &builder, gpu::GPUModuleOp module, StringRef symbol,
                           const KernelSpec &spec, const KernelShape &shape, bool reduces)
    : spec(spec), shape(shape), b(module.getLoc(), builder) {
  b.setInsertionPointToEnd(module.getBody());
  MLIRContext *context = module.getContext();
  Type pointer = LLVM::LLVMPointerType::get(context, /*addressSpace=*/1);
  SmallVector<Type> arguments(spec.operands.size(), pointer);
  // m1_dims as one 16-byte parameter: the same bytes at the same offset as the struct passed by
  // value.
  arguments.push_back(VectorType::get({4}, b.getI32Type()));
  SmallVector<Type> shared;
  if (reduces) {
    auto workgroup = gpu::AddressSpaceAttr::get(context, gpu::AddressSpace::Workgroup);
    shared.push_back(
        MemRefType::get({2 * maxWarps}, b.getF32Type(), MemRefLayoutAttrInterface(), workgroup));
  }
  function = gpu::GPUFuncOp::create(b, symbol, b.getFunctionType(arguments, {}), shared);
  function->setAttr(gpu::GPUDialect::getKernelFuncAttrName(), b.getUnitAttr());
  function.setKnownBlockSizeAttr(b.getDenseI32ArrayAttr({int32_t(shape.blockSize), 1, 1}));
  b.setInsertionPointToStart(&function.getBody().front());
  auto asI32 = [&](Value index) {
    return arith::IndexCastOp::create(b, b.getI32Type(), index).getResult();
  };
  groupX = asI32(gpu::BlockIdOp::create(b, gpu::Dimension::x));
  groupY = asI32(gpu::BlockIdOp::create(b, gpu::Dimension::y));
  thread = asI32(gpu::ThreadIdOp::create(b, gpu::Dimension::x));
}

void KernelWriter::finish() { gpu::ReturnOp::create(b); }

Value KernelWriter::i32(int64_t value) { return arith::ConstantIntOp::create(b, value, 32); }
Value KernelWriter::f32(float value) {
  return arith::ConstantFloatOp::create(b, b.getF32Type(), APFloat(value));
}
Value KernelWriter::add(Value a, Value c) { return arith::AddIOp::create(b, a, c); }
Value KernelWriter::mul(Value a, Value c) { return arith::MulIOp::create(b, a, c); }
Value KernelWriter::div(Value a, int64_t c) { return arith::DivUIOp::create(b, a, i32(c)); }
Value KernelWriter::rem(Value a, int64_t c) { return arith::RemUIOp::create(b, a, i32(c)); }
Value KernelWriter::less(Value a, Value c) {
  return arith::CmpIOp::create(b, arith::CmpIPredicate::slt, a, c);
}
Value KernelWriter::maxPages() {
  return vector::ExtractOp::create(b, function.getArgument(spec.operands.size()),
                                   ArrayRef<int64_t>{3});
}

void KernelWriter::when(Value condition, llvm::function_ref<void()> body) {
  auto ifOp = scf::IfOp::create(b, condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(&ifOp.getThenRegion().front());
  body();
}

Value KernelWriter::select(Value condition, llvm::function_ref<Value()> body, Value otherwise) {
  auto ifOp =
      scf::IfOp::create(b, TypeRange{otherwise.getType()}, condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(&ifOp.getThenRegion().front());
  Value value = body();
  scf::YieldOp::create(b, value);
  b.setInsertionPointToStart(&ifOp.getElseRegion().front());
  scf::YieldOp::create(b, otherwise);
  return ifOp.getResult(0);
}

SmallVector<Value> KernelWriter::forRange(Value begin, Value end, int64_t step, ValueRange initial,
                                          CarryBody body) {
  auto loop = scf::ForOp::create(b, begin, end, i32(step), initial);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  SmallVector<Value> next = body(loop.getInductionVar(), loop.getRegionIterArgs());
  scf::YieldOp::create(b, next);
  return SmallVector<Value>(loop.getResults());
}

Type KernelWriter::vectorType(Type element, unsigned width) {
  return VectorType::get({width}, element);
}

unsigned KernelWriter::accessAlignment(Type element, unsigned width) {
  return std::min(16u, bytesOf(element) * width);
}

Value KernelWriter::i64(Value value) {
  return value.getType().isInteger(64)
             ? value
             : arith::ExtUIOp::create(b, b.getI64Type(), value).getResult();
}

Value KernelWriter::offset(Value row, int64_t stride, Value column) {
  Value wide = i64(column);
  if (!row)
    return wide;
  Value rows = arith::MulIOp::create(b, i64(row), arith::ConstantIntOp::create(b, stride, 64));
  return arith::AddIOp::create(b, rows, wide);
}

static Value elementPointer(ImplicitLocOpBuilder &b, Value base, Type element, Value index) {
  return LLVM::GEPOp::create(b, base.getType(), element, base, ValueRange{index});
}

Value KernelWriter::loadIndex(StringRef role, Value index) {
  int position = spec.find(role);
  assert(position >= 0 && "no such operand");
  return LLVM::LoadOp::create(
      b, b.getI32Type(),
      elementPointer(b, function.getArgument(position), b.getI32Type(), i64(index)), 4);
}

void KernelWriter::storeIndex(StringRef role, Value index, Value value) {
  int position = spec.find(role);
  assert(position >= 0 && "no such operand");
  LLVM::StoreOp::create(
      b, value, elementPointer(b, function.getArgument(position), b.getI32Type(), i64(index)), 4);
}

Value KernelWriter::loadAt(StringRef role, Value element, unsigned width) {
  int position = spec.find(role);
  assert(position >= 0 && "no such operand");
  return loadAt(size_t(position), element, width);
}

Value KernelWriter::loadAt(size_t position, Value element, unsigned width) {
  width = width ? width : shape.width;
  Type type = spec.operands[position].element;
  Value raw = LLVM::LoadOp::create(b, vectorType(type, width),
                                   elementPointer(b, function.getArgument(position), type, element),
                                   accessAlignment(type, width));
  return type.isF32()
             ? raw
             : arith::ExtFOp::create(b, vectorType(b.getF32Type(), width), raw).getResult();
}

Value KernelWriter::loadInput(size_t position, Value row, Value column, int64_t columns) {
  const OperandSpec &operand = spec.operands[position];
  if (operand.rowStride)
    return loadAt(position, offset(row, operand.rowStride, column));
  int64_t share = columns / operand.dims.back();
  if (share == 1)
    return loadAt(position, i64(column));
  auto element = [&](Value at) -> Value {
    return vector::ExtractOp::create(b, loadAt(position, i64(div(at, share)), 1),
                                     ArrayRef<int64_t>{0});
  };
  if (share % shape.width == 0)
    return splat(element(column));
  SmallVector<Value> elements;
  for (unsigned i = 0; i < shape.width; ++i)
    elements.push_back(element(add(column, i32(i))));
  return vector::FromElementsOp::create(b, vectorType(b.getF32Type(), shape.width), elements);
}

void KernelWriter::storeAt(StringRef role, Value element, Value value) {
  int position = spec.find(role);
  assert(position >= 0 && "no such operand");
  Type type = spec.operands[position].element;
  unsigned width = cast<VectorType>(value.getType()).getDimSize(0);
  if (!type.isF32())
    value = arith::TruncFOp::create(b, vectorType(type, width), value);
  LLVM::StoreOp::create(b, value, elementPointer(b, function.getArgument(position), type, element),
                        accessAlignment(type, width));
}

Value KernelWriter::load(StringRef role, Value row, Value column, unsigned width) {
  return loadAt(role, offset(row, row ? spec.get(role).rowStride : 0, column), width);
}

void KernelWriter::store(StringRef role, Value row, Value column, Value value) {
  storeAt(role, offset(row, row ? spec.get(role).rowStride : 0, column), value);
}

Value KernelWriter::splat(Value scalar, unsigned width) {
  return vector::BroadcastOp::create(b, vectorType(scalar.getType(), width ? width : shape.width),
                                     scalar);
}
Value KernelWriter::splat(float value, unsigned width) { return splat(f32(value), width); }

static Value like(KernelWriter &k, float value, Value x) {
  auto type = dyn_cast<VectorType>(x.getType());
  return type ? k.splat(value, type.getDimSize(0)) : k.f32(value);
}

// An NVVM intrinsic of one f32, for every element of x.
static Value perElement(ImplicitLocOpBuilder &b, StringRef intrinsic, Value x) {
  auto call = [&](Value scalar) -> Value {
    return LLVM::CallIntrinsicOp::create(b, b.getF32Type(), b.getStringAttr(intrinsic),
                                         ValueRange{scalar})
        .getResults();
  };
  auto type = dyn_cast<VectorType>(x.getType());
  if (!type)
    return call(x);
  SmallVector<Value> elements;
  for (int64_t i = 0; i < type.getDimSize(0); ++i)
    elements.push_back(call(vector::ExtractOp::create(b, x, ArrayRef<int64_t>{i})));
  return vector::FromElementsOp::create(b, type, elements);
}
static Value exp2(ImplicitLocOpBuilder &b, Value x) {
  return perElement(b, "llvm.nvvm.ex2.approx", x);
}
static Value log2(ImplicitLocOpBuilder &b, Value x) {
  return perElement(b, "llvm.nvvm.lg2.approx.f", x);
}

// arith's fast-math flags on a division become div.approx / rcp.approx.
static Value divide(ImplicitLocOpBuilder &b, Value x, Value y) {
  return arith::DivFOp::create(b, x, y, arith::FastMathFlags::afn | arith::FastMathFlags::arcp);
}

/// a·m + n
static Value multiplyAdd(ImplicitLocOpBuilder &b, Value a, Value m, Value n) {
  return arith::AddFOp::create(b, arith::MulFOp::create(b, a, m, arith::FastMathFlags::contract), n,
                               arith::FastMathFlags::contract);
}

Value KernelWriter::exp(Value x) {
  return exp2(b, arith::MulFOp::create(b, x, like(*this, 1.44269504f, x)));
}

static Value absolute(ImplicitLocOpBuilder &b, Value x) {
  return arith::MaximumFOp::create(b, x, arith::NegFOp::create(b, x));
}

Value KernelWriter::log1p(Value x) {
  auto c = [&](float value) { return like(*this, value, x); };
  Value large =
      arith::MulFOp::create(b, log2(b, arith::AddFOp::create(b, x, c(1.0f))), c(0.693147181f));
  // Below 1/32, where lg2's absolute error would show: log1p's series, exact to 1e-8 relative.
  Value series = multiplyAdd(b, x, c(0.2f), c(-0.25f));
  series = multiplyAdd(b, series, x, c(1.0f / 3));
  series = multiplyAdd(b, series, x, c(-0.5f));
  series = multiplyAdd(b, series, x, c(1.0f));
  Value small = arith::MulFOp::create(b, series, x);
  Value isSmall = arith::CmpFOp::create(b, arith::CmpFPredicate::OLT, absolute(b, x), c(0.03125f));
  return arith::SelectOp::create(b, isSmall, small, large);
}

/// 1 - 2/(e^2x + 1), and its series to x⁷ near 0, where the difference would lose digits.
static Value tanh(KernelWriter &k, Value x) {
  ImplicitLocOpBuilder &b = k.b;
  auto c = [&](float value) { return like(k, value, x); };
  Value e = k.exp(arith::AddFOp::create(b, x, x));
  Value large =
      arith::SubFOp::create(b, c(1.0f), divide(b, c(2.0f), arith::AddFOp::create(b, e, c(1.0f))));
  Value square = arith::MulFOp::create(b, x, x);
  Value series = multiplyAdd(b, square, c(-17.0f / 315), c(2.0f / 15));
  series = multiplyAdd(b, series, square, c(-1.0f / 3));
  series = multiplyAdd(b, series, square, c(1.0f));
  Value isSmall = arith::CmpFOp::create(b, arith::CmpFPredicate::OLT, absolute(b, x), c(0.15f));
  return arith::SelectOp::create(b, isSmall, arith::MulFOp::create(b, series, x), large);
}

/// Abramowitz and Stegun, 7.1.26: within 1.5e-7.
static Value erf(KernelWriter &k, Value x) {
  ImplicitLocOpBuilder &b = k.b;
  auto c = [&](float value) { return like(k, value, x); };
  Value size = absolute(b, x);
  Value t = divide(b, c(1.0f), multiplyAdd(b, size, c(0.3275911f), c(1.0f)));
  Value polynomial = multiplyAdd(b, t, c(1.061405429f), c(-1.453152027f));
  for (float coefficient : {1.421413741f, -0.284496736f, 0.254829592f})
    polynomial = multiplyAdd(b, polynomial, t, c(coefficient));
  Value tail = k.exp(arith::NegFOp::create(b, arith::MulFOp::create(b, x, x)));
  Value y = arith::SubFOp::create(
      b, c(1.0f), arith::MulFOp::create(b, arith::MulFOp::create(b, polynomial, t), tail));
  Value isNegative = arith::CmpFOp::create(b, arith::CmpFPredicate::OLT, x, c(0.0f));
  return arith::SelectOp::create(b, isNegative, arith::NegFOp::create(b, y), y);
}

Value KernelWriter::scalar(StringRef op, ValueRange v) {
  if (op == arith::DivFOp::getOperationName())
    return divide(b, v[0], v[1]);
  if (op == math::ExpOp::getOperationName())
    return exp(v[0]);
  if (op == math::Log1pOp::getOperationName())
    return log1p(v[0]);
  if (op == math::SqrtOp::getOperationName())
    return perElement(b, "llvm.nvvm.sqrt.approx.f", v[0]);
  if (op == math::TanhOp::getOperationName())
    return tanh(*this, v[0]);
  if (op == math::ErfOp::getOperationName())
    return erf(*this, v[0]);
  if (op == math::FmaOp::getOperationName())
    return LLVM::FMAOp::create(b, TypeRange{v[0].getType()}, v);
  return {};
}

Value KernelWriter::rsqrt(Value x) { return perElement(b, "llvm.nvvm.rsqrt.approx.f", x); }

Value KernelWriter::sum(Value vector) {
  return vector::ReductionOp::create(b, vector::CombiningKind::ADD, vector,
                                     arith::FastMathFlags::reassoc);
}

Value KernelWriter::shuffleDown(Value v, unsigned distance) {
  return gpu::ShuffleOp::create(b, v, distance, warpSize, gpu::ShuffleMode::XOR).getShuffleResult();
}

Value KernelWriter::sharedSlot(unsigned word, Value index) {
  return arith::IndexCastOp::create(b, b.getIndexType(), add(index, i32(word)));
}

Value KernelWriter::blockSum(Value scalar) {
  for (unsigned distance = warpSize / 2; distance; distance /= 2)
    scalar = arith::AddFOp::create(b, scalar, shuffleDown(scalar, distance));
  unsigned warps = shape.blockSize / warpSize;
  if (warps == 1)
    return scalar;
  Value memory = function.getWorkgroupAttributions()[0];
  Value lane = rem(thread, warpSize), warp = div(thread, warpSize);
  when(arith::CmpIOp::create(b, arith::CmpIPredicate::eq, lane, i32(0)),
       [&] { memref::StoreOp::create(b, scalar, memory, sharedSlot(0, warp)); });
  gpu::BarrierOp::create(b);
  Value mine = select(
      less(lane, i32(warps)),
      [&]() -> Value { return memref::LoadOp::create(b, memory, sharedSlot(0, lane)); }, f32(0));
  for (unsigned distance = warpSize / 2; distance; distance /= 2)
    mine = arith::AddFOp::create(b, mine, shuffleDown(mine, distance));
  return mine;
}

std::pair<Value, Value> KernelWriter::blockArgmax(Value best, Value index) {
  auto merge = [&](Value otherBest, Value otherIndex) {
    Value greater = arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, otherBest, best);
    Value equal = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, otherBest, best);
    Value earlier = less(otherIndex, index);
    Value take = arith::OrIOp::create(b, greater, arith::AndIOp::create(b, equal, earlier));
    best = arith::SelectOp::create(b, take, otherBest, best);
    index = arith::SelectOp::create(b, take, otherIndex, index);
  };
  auto acrossWarp = [&] {
    for (unsigned distance = warpSize / 2; distance; distance /= 2) {
      Value otherBest = shuffleDown(best, distance), otherIndex = shuffleDown(index, distance);
      merge(otherBest, otherIndex);
    }
  };
  acrossWarp();
  unsigned warps = shape.blockSize / warpSize;
  if (warps == 1)
    return {best, index};
  Value memory = function.getWorkgroupAttributions()[0];
  Value lane = rem(thread, warpSize), warp = div(thread, warpSize);
  when(arith::CmpIOp::create(b, arith::CmpIPredicate::eq, lane, i32(0)), [&] {
    memref::StoreOp::create(b, best, memory, sharedSlot(0, warp));
    memref::StoreOp::create(b, arith::BitcastOp::create(b, b.getF32Type(), index), memory,
                            sharedSlot(maxWarps, warp));
  });
  gpu::BarrierOp::create(b);
  // Lanes past the last warp repeat warp 0, which changes neither maximum nor index.
  Value source = arith::SelectOp::create(b, less(lane, i32(warps)), lane, i32(0));
  best = memref::LoadOp::create(b, memory, sharedSlot(0, source));
  Value indexBits = memref::LoadOp::create(b, memory, sharedSlot(maxWarps, source));
  index = arith::BitcastOp::create(b, b.getI32Type(), indexBits);
  acrossWarp();
  return {best, index};
}

} // namespace m1c::cuda
