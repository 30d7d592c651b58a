// Recurrences of one number a channel, over the tokens of each sequence.
#include "../KernelWriter.h"
#include "M1/IR/Scalars.h"
#include "m1k_cpu.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace m1c {

static constexpr int64_t block = M1K_CPU_CHANNEL_BLOCK; // channels of a group: whole registers

/// Grid (ceil(C / block), S). A group walks its sequence's tokens once for each register of its
/// channels, whose state stays there. An empty sequence leaves its slot alone.
static void writeRgLru(KernelWriter &w) {
  const OperandSpec &state = w.operand("state"), &out = w.operand("out");
  const int64_t channels = w.columns("out");
  ArrayAttr rateOf = m1::RgLruOp::getRate(w.b.getContext()),
            step = m1::RgLruOp::getStep(w.b.getContext());
  auto isBelow = [&](Value x, Value y) -> Value {
    return arith::CmpIOp::create(w.b, arith::CmpIPredicate::slt, x, y);
  };
  Value begin = w.loadIndex(w.pointer("sequence_starts"), w.groupY),
        end = w.loadIndex(w.pointer("sequence_starts"), w.add(w.groupY, 1));
  w.ifTrue(isBelow(begin, end), [&] {
    Value starts = isBelow(w.loadIndex(w.pointer("positions"), begin), w.constant(1));
    Value slot = w.elementPointer(w.pointer("state"), state.element,
                                  w.mul(w.loadIndex(w.pointer("slots"), w.groupY), channels));
    auto walk = [&](Value column, int64_t width) {
      Value rate = m1::buildScalars(
          w.b, rateOf, w.load(w.pointer("lambda"), w.operand("lambda").element, column, width));
      Value none = w.splat(0.0, width), kept = w.load(slot, state.element, column, width);
      Value before = arith::SelectOp::create(w.b, starts, none, kept);
      Value isStart = arith::SelectOp::create(w.b, starts, w.splat(1.0, width), none);
      auto last = w.forRange(begin, end, 1, {before, isStart},
                             [&](Value row, ValueRange carried) -> llvm::SmallVector<Value> {
                               llvm::SmallVector<Value> inputs;
                               for (StringRef role : {"x", "input_gate", "recurrence_gate"})
                                 inputs.push_back(w.load(w.rowPointer(role, row),
                                                         w.operand(role).element, column, width));
                               inputs.append({rate, carried[0], carried[1]});
                               Value h = m1::buildScalars(w.b, step, inputs);
                               w.store(w.rowPointer("out", row), out.element, column, h);
                               return {h, none};
                             });
      w.store(slot, state.element, column, last[0]);
    };
    const int64_t whole = channels / w.lanes * w.lanes;
    Value first = w.mul(w.groupX, block), next = w.add(first, block);
    w.forRange(first, w.minimum(next, w.constant(whole)), w.lanes,
               [&](Value column) { walk(column, w.lanes); });
    if (whole == channels)
      return;
    w.ifTrue(isBelow(w.constant(channels - 1), next), [&] { // the last group
      int64_t column = whole;
      for (int64_t width : tailWidths(channels - whole)) {
        walk(w.constant(column), width);
        column += width;
      }
    });
  });
}

std::vector<CpuFamily> recurrencesFamilies() {
  CpuFamily rgLru{"generated", {"rg_lru"}, writeRgLru};
  rgLru.isPerSequence = true;
  rgLru.gridX = [](const KernelSpec &spec) {
    return uint32_t(llvm::divideCeil(spec.get("out").dims[0], block));
  };
  return {rgLru};
}

} // namespace m1c
