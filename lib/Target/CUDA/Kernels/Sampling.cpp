// Greedy sampling: one block a row; the smallest index among equal logits. A NaN counts as
// infinity, and a row whose largest logit is not finite has no token, -1.
#include "../GeneratedKernels.h"
#include "../HandTuned.h"
#include "m1k_abi.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include <tuple>

using namespace mlir;

namespace m1c::cuda {
namespace {

void writeArgmax(KernelWriter &k, const Unit &unit) {
  ImplicitLocOpBuilder &b = k.b;
  // The last vector may reach over the ids, but not over the row.
  int64_t size = k.spec.ids();
  unsigned width = k.shape.width;
  const float infinity = std::numeric_limits<float>::infinity();
  int64_t stride = int64_t(k.shape.blockSize) * width;
  constexpr int32_t none = std::numeric_limits<int32_t>::max();
  Value lowest = k.splat(-infinity);
  Value noIndex =
      vector::BroadcastOp::create(b, VectorType::get({width}, b.getI32Type()), k.i32(none));
  Value first = k.mul(k.thread, k.i32(width));
  SmallVector<Value> found = k.forRange(
      first, k.i32(size), stride, {lowest, noIndex},
      [&](Value column, ValueRange carried) -> SmallVector<Value> {
        Value best = carried[0], index = carried[1];
        Value logit = k.load("logits", unit.row, column);
        Value isNan = arith::CmpFOp::create(b, arith::CmpFPredicate::UNO, logit, logit);
        Value value = arith::SelectOp::create(b, isNan, k.splat(infinity), logit);
        SmallVector<int32_t> lanes(width);
        for (unsigned i = 0; i < width; ++i)
          lanes[i] = i;
        auto type = VectorType::get({width}, b.getI32Type());
        Value lane =
            arith::ConstantOp::create(b, DenseElementsAttr::get(type, ArrayRef<int32_t>(lanes)));
        Value here = arith::AddIOp::create(b, vector::BroadcastOp::create(b, type, column), lane);
        if (size % width) {
          Value end = vector::BroadcastOp::create(b, type, k.i32(size));
          Value counts = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, here, end);
          value = arith::SelectOp::create(b, counts, value, k.splat(-infinity));
        }
        Value greater = arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, value, best);
        return {arith::SelectOp::create(b, greater, value, best),
                arith::SelectOp::create(b, greater, here, index)};
      });
  Value best, index;
  for (unsigned i = 0; i < width; ++i) {
    Value otherBest = vector::ExtractOp::create(b, found[0], ArrayRef<int64_t>{i});
    Value otherIndex = vector::ExtractOp::create(b, found[1], ArrayRef<int64_t>{i});
    if (!best) {
      best = otherBest, index = otherIndex;
      continue;
    }
    Value greater = arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, otherBest, best);
    Value equal = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, otherBest, best);
    Value take = arith::OrIOp::create(b, greater,
                                      arith::AndIOp::create(b, equal, k.less(otherIndex, index)));
    best = arith::SelectOp::create(b, take, otherBest, best);
    index = arith::SelectOp::create(b, take, otherIndex, index);
  }
  std::tie(best, index) = k.blockArgmax(best, index);
  Value isFinite = arith::AndIOp::create(
      b, arith::CmpFOp::create(b, arith::CmpFPredicate::OLT, best, k.f32(infinity)),
      arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, best, k.f32(-infinity)));
  Value token = arith::SelectOp::create(b, isFinite, index, k.i32(-1));
  k.when(arith::CmpIOp::create(b, arith::CmpIPredicate::eq, k.thread, k.i32(0)),
         [&] { k.storeIndex("out", unit.row, token); });
}

/// The kernel with which the runtime samples rows that are not greedy (docs/architecture.md,
/// "Sampling").
KernelChoice samplerFor(const KernelSpec &spec, const CudaChip &chip) {
  m1k::cuda::Sample facts;
  facts.vocabulary = int(spec.ids());
  facts.logits_stride = spec.get("logits").rowStride;
  facts.random = true;
  const m1k::cuda::Kernel kernel =
      m1k::cuda::describe(facts, M1_SAMPLE_KERNEL, tuningFor(chip)).kernels.front();
  KernelChoice choice;
  choice.key = kernel.symbol;
  choice.name = kernel.symbol;
  choice.origin = spec.op;
  choice.blockSize = uint32_t(kernel.threads);
  choice.sharedBytes = uint32_t(kernel.shared_bytes);
  choice.source = kernel.source;
  return choice;
}

} // namespace

std::vector<GeneratedFamily> samplingFamilies() {
  GeneratedFamily argmax{"sample", writeArgmax};
  argmax.blockPerRow = true;
  argmax.companion = samplerFor;
  argmax.run = [](const KernelSpec &spec) { return columns(spec.get("logits")); };
  return {argmax};
}

} // namespace m1c::cuda
