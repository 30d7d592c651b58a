// Recurrences of one number a channel, over the tokens of each sequence.
#include "../GeneratedKernels.h"
#include "M1/IR/Scalars.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;

namespace m1c::cuda {
namespace {

// Tokens whose inputs are asked for before the first is worked on: their steps wait for one
// another, but not for the memory.
constexpr int64_t tokensAtOnce = 16;

/// A thread has `width` channels of a sequence, whose state it keeps in registers over the tokens.
/// An empty sequence leaves its slot alone.
void writeRgLru(KernelWriter &k, const Unit &unit) {
  const KernelSpec &spec = k.spec;
  ImplicitLocOpBuilder &b = k.b;
  ArrayAttr rateOf = m1::RgLruOp::getRate(b.getContext()),
            step = m1::RgLruOp::getStep(b.getContext());
  auto build = [&](ArrayAttr code, ValueRange inputs) {
    return m1::buildScalars(b, code, inputs,
                            [&](StringRef op, ValueRange v) { return k.scalar(op, v); });
  };
  Value sequence = unit.row, column = unit.column;
  auto walk = [&](Value begin, Value end) {
    Value continues = k.less(k.i32(0), k.loadIndex("positions", begin));
    Value slot = k.offset(k.loadIndex("slots", sequence), columns(spec.get("out")), column);
    Value none = k.splat(0.0f), rate = build(rateOf, k.load("lambda", {}, column));
    Value before = arith::SelectOp::create(b, continues, k.loadAt("state", slot), none);
    Value isStart = arith::SelectOp::create(b, continues, none, k.splat(1.0f));
    auto load = [&](Value token) -> SmallVector<Value> {
      return {k.load("x", token, column), k.load("input_gate", token, column),
              k.load("recurrence_gate", token, column)};
    };
    // The token's result, which is the next h.
    auto take = [&](Value token, SmallVector<Value> inputs, Value h, Value isStart) {
      inputs.append({rate, h, isStart});
      Value next = build(step, inputs);
      k.store("out", token, column, next);
      return next;
    };
    if (spec.decode)
      return k.storeAt("state", slot, take(begin, load(begin), before, isStart));
    Value count = arith::SubIOp::create(b, end, begin);
    Value whole = k.add(begin, k.mul(k.div(count, tokensAtOnce), k.i32(tokensAtOnce)));
    SmallVector<Value> kept =
        k.forRange(begin, whole, tokensAtOnce, {before, isStart},
                   [&](Value first, ValueRange carried) -> SmallVector<Value> {
                     SmallVector<std::pair<Value, SmallVector<Value>>> tokens;
                     for (int64_t i = 0; i < tokensAtOnce; ++i) {
                       Value token = k.add(first, k.i32(i));
                       tokens.push_back({token, load(token)});
                     }
                     Value h = carried[0], isStart = carried[1];
                     for (const auto &[token, inputs] : tokens) {
                       h = take(token, inputs, h, isStart);
                       isStart = none;
                     }
                     return {h, none};
                   });
    kept =
        k.forRange(whole, end, 1, kept, [&](Value token, ValueRange carried) -> SmallVector<Value> {
          return {take(token, load(token), carried[0], carried[1]), none};
        });
    k.storeAt("state", slot, kept[0]);
  };
  if (spec.decode) // one token a sequence: no bounds to wait for
    return walk(sequence, {});
  Value begin = k.loadIndex("sequence_starts", sequence),
        end = k.loadIndex("sequence_starts", k.add(sequence, k.i32(1)));
  k.when(k.less(begin, end), [&] { walk(begin, end); });
}

} // namespace

std::vector<GeneratedFamily> recurrencesFamilies() {
  GeneratedFamily rgLru{"rg_lru", writeRgLru};
  rgLru.isPerSequence = true;
  rgLru.differsInDecode = true;
  rgLru.run = [](const KernelSpec &spec) { return columns(spec.get("out")); };
  // Where a thread walks many tokens there are too few of them as it is.
  rgLru.takesWidth = [](const KernelSpec &spec, unsigned) { return spec.decode; };
  return {rgLru};
}

} // namespace m1c::cuda
