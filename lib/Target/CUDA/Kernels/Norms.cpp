// RMS norms: one block a row, which stays in registers between its two uses.
#include "../GeneratedKernels.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace m1c::cuda {
namespace {

/// rms_norm, of x or, where there is one, of the sum of x and a residual, which it leaves.
void writeNorm(KernelWriter &k, const Unit &unit) {
  const KernelSpec &spec = k.spec;
  int64_t size = columns(spec.operands.back()), stride = int64_t(k.shape.blockSize) * k.shape.width;
  int64_t chunks = llvm::divideCeil(size, stride);
  float eps = float(spec.real("eps"));
  Value row = unit.row;
  // Of x; a norm may take the rows that a gather would take for it.
  Value source = spec.find("logit_rows") < 0 ? row : k.loadIndex("logit_rows", row);
  SmallVector<Value> values, inRange, columnsOf;
  Value partial = k.f32(0);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    Value column = k.add(k.mul(k.thread, k.i32(k.shape.width)), k.i32(chunk * stride));
    Value guard = (chunk + 1) * stride > size ? k.less(column, k.i32(size)) : Value();
    auto read = [&]() -> Value {
      if (spec.find("residual") < 0)
        return k.load("x", source, column);
      Value x = k.load("x", row, column);
      if (spec.flag("factor"))
        x = arith::MulFOp::create(k.b, x, k.splat(float(spec.real("factor"))));
      Value sum = arith::AddFOp::create(k.b, k.load("residual", row, column), x);
      k.store("sum", row, column, sum);
      return sum;
    };
    Value value = guard ? k.select(guard, read, k.splat(0.0f)) : read();
    values.push_back(value);
    inRange.push_back(guard);
    columnsOf.push_back(column);
    partial = arith::AddFOp::create(k.b, partial, k.sum(arith::MulFOp::create(k.b, value, value)));
  }
  Value total = k.blockSum(partial);
  Value mean = arith::MulFOp::create(k.b, total, k.f32(1.0f / float(size)));
  Value scale = k.splat(k.rsqrt(arith::AddFOp::create(k.b, mean, k.f32(eps))));
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    auto write = [&] {
      Value weight = k.load("weight", {}, columnsOf[chunk]);
      Value normed = arith::MulFOp::create(k.b, values[chunk], scale);
      k.store(spec.operands.back().role, row, columnsOf[chunk],
              arith::MulFOp::create(k.b, normed, weight));
    };
    if (inRange[chunk])
      k.when(inRange[chunk], write);
    else
      write();
  }
}

} // namespace

std::vector<GeneratedFamily> normsFamilies() {
  std::vector<GeneratedFamily> families = {{"rms_norm", writeNorm}, {"add_rms_norm", writeNorm}};
  for (GeneratedFamily &family : families) {
    family.blockPerRow = true;
    family.run = [](const KernelSpec &spec) { return columns(spec.operands.back()); };
  }
  return families;
}

} // namespace m1c::cuda
