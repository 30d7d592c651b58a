#include "GeneratedKernels.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace m1c::cuda {

namespace {

// small blocks spread small batches over more multiprocessors
constexpr unsigned elementwiseBlock = 128;
constexpr unsigned maxBlock = 1024;

int64_t runsPerRow(const GeneratedFamily &family, const KernelSpec &spec) {
  return family.runsPerRow ? family.runsPerRow(spec) : columns(spec.get("out")) / family.run(spec);
}

bool widthFits(const GeneratedFamily &family, const KernelSpec &spec, ArrayRef<unsigned> alignments,
               unsigned width) {
  if (width > family.widest || family.run(spec) % width ||
      (family.takesWidth && !family.takesWidth(spec, width)))
    return false;
  for (auto [operand, alignment] : llvm::zip_equal(spec.operands, alignments)) {
    // Batch arrays, too, are read one by one.
    if (operand.element.isInteger() || (family.readsSingly && family.readsSingly(spec, operand)))
      continue;
    unsigned size = operand.element.getIntOrFloatBitWidth() / 8;
    unsigned access = std::min(16u, size * width);
    int64_t rowStride = operand.rowStride ? operand.rowStride : columns(operand);
    if (alignment % access || (rowStride * size) % access)
      return false;
  }
  return true;
}

/// Blocks and threads for a width.
KernelShape shapeOfWidth(const GeneratedFamily &family, const KernelSpec &spec, unsigned width) {
  KernelShape shape;
  shape.width = width;
  const int64_t run = family.run(spec);
  if (family.blockPerRow) {
    shape.blockSize =
        std::min<int64_t>(maxBlock, llvm::alignTo(llvm::divideCeil(run, width), warpSize));
    return shape;
  }
  const int64_t units = run / width * runsPerRow(family, spec);
  shape.blockSize = std::min<int64_t>(elementwiseBlock, llvm::alignTo(units, warpSize));
  shape.gridX = llvm::divideCeil(units, shape.blockSize);
  return shape;
}

/// The columns of a thread: those of `width` that its number among the threads of the row names.
void writeByColumns(KernelWriter &k, const GeneratedFamily &family) {
  const int64_t width = k.shape.width, unitsPerRun = family.run(k.spec) / width,
                units = unitsPerRun * runsPerRow(family, k.spec);
  Value number = k.add(k.mul(k.groupX, k.i32(k.shape.blockSize)), k.thread);
  auto body = [&] {
    Unit unit;
    unit.row = k.groupY;
    unit.run = k.div(number, unitsPerRun);
    unit.inRun = k.mul(k.rem(number, unitsPerRun), k.i32(width));
    unit.column = k.mul(number, k.i32(width));
    family.write(k, unit);
  };
  if (units % k.shape.blockSize)
    k.when(k.less(number, k.i32(units)), body);
  else
    body();
}

} // namespace

#include "GeneratedFamilies.inc"

const GeneratedFamily *findGeneratedFamily(StringRef op) {
  static const std::vector<GeneratedFamily> families = allFamilies();
  auto found = llvm::find_if(families, [&](const GeneratedFamily &f) { return f.op == op; });
  return found == families.end() ? nullptr : &*found;
}

KernelShape shapeGeneratedKernel(const KernelSpec &spec, ArrayRef<unsigned> alignments) {
  const GeneratedFamily &family = *findGeneratedFamily(spec.op);
  unsigned width = family.widest;
  while (width > 1 && !widthFits(family, spec, alignments, width))
    width /= 2;
  return shapeOfWidth(family, spec, width);
}

bool isShapeOf(const KernelSpec &spec, const KernelShape &shape) {
  const GeneratedFamily &family = *findGeneratedFamily(spec.op);
  // 32: a thread's accesses are of at most so many bytes.
  const SmallVector<unsigned> aligned(spec.operands.size(), 32);
  if (!llvm::isPowerOf2_32(shape.width) ||
      (shape.width > 1 && !widthFits(family, spec, aligned, shape.width)))
    return false;
  const KernelShape expected = shapeOfWidth(family, spec, shape.width);
  return shape.width == expected.width && shape.blockSize == expected.blockSize &&
         shape.gridX == expected.gridX;
}

void buildGeneratedKernel(OpBuilder &builder, gpu::GPUModuleOp module, StringRef symbol,
                          const KernelSpec &spec, const KernelShape &shape) {
  const GeneratedFamily &family = *findGeneratedFamily(spec.op);
  OpBuilder::InsertionGuard guard(builder);
  KernelWriter k(builder, module, symbol, spec, shape, family.blockPerRow);
  if (family.blockPerRow) {
    Unit unit;
    unit.row = k.groupY;
    family.write(k, unit);
  } else {
    writeByColumns(k, family);
  }
  k.finish();
}

} // namespace m1c::cuda
