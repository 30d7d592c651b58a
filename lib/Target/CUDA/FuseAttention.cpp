// The part of plan-fuse-launches that makes one launch of a decode step's attention.
#include "LaunchFusion.h"

using namespace mlir;
namespace mk = m1k::cuda;

namespace m1c {

/// The launches besides `launch` that use the buffer; null: a command of another kind.
static SmallVector<plan::LaunchOp> othersOf(Value buffer, plan::LaunchOp launch) {
  SmallVector<plan::LaunchOp> others;
  for (Operation *user : buffer.getUsers())
    if (user != launch && !llvm::is_contained(others, user))
      others.push_back(dyn_cast<plan::LaunchOp>(user));
  return others;
}

/// split and combine of attention, and what writes its keys and values; null: they are not alone
/// with one another's results.
AttentionSteps AttentionFuser::find(plan::LaunchOp split) {
  const KernelSpec *spec = pass.specOf(split);
  // q, cache, arrays, out, and the workspace.
  if (!spec || spec->op != "attention" || !spec->decode || spec->shared ||
      split.getBuffers().size() != spec->operands.size() + 1)
    return {};
  AttentionSteps steps;
  steps.split = {split, spec};
  auto cache = steps.split.buffer("cache").getDefiningOp<plan::StateOp>();
  const auto joins = othersOf(split.getBuffers().back(), split);
  if (!cache || joins.size() != 1 || !joins[0])
    return {};
  // What is written is read here alone, and behind that.
  SmallVector<plan::LaunchOp> writers;
  for (auto state : function.getOps<plan::StateOp>())
    if (state.getState() == cache.getState())
      writers.append(othersOf(state, split));
  if (writers.size() != 1 || !writers[0] || !writers[0]->isBeforeInBlock(split))
    return {};
  steps.combine = joins[0];
  steps.write = pass.stepOf(writers[0]);
  if (!steps.write ||
      (steps.write.spec->op != "rotary_kv_write" && steps.write.spec->op != "kv_write"))
    return {};
  if (steps.write.spec->op == "rotary_kv_write") {
    const Value turned = steps.write.buffer("out");
    const auto readers = othersOf(turned, steps.write.launch);
    if (turned != steps.split.buffer("q") || !turned.getDefiningOp<plan::TemporaryOp>() ||
        readers.size() != 1)
      return {};
  }
  return steps;
}

int AttentionFuser::fuse() {
  if (!function.getMaxRows() || function.getMaxRows() > streamedRows)
    return 0;
  // Cooperative launches and early ones were measured there.
  if (!cuda::tuningFor(chip).warpgroups)
    return 0;
  SmallVector<AttentionSteps> all;
  SmallVector<int> own;
  int counters = 0;
  for (auto launch : function.getOps<plan::LaunchOp>()) {
    AttentionSteps steps = find(launch);
    if (!steps.write)
      continue;
    mk::Description description = describe(steps, 0, "attention");
    if (description.error.empty() &&
        !canBeOne({steps.write.launch, steps.split.launch, steps.combine}))
      description.error = orderMatters;
    if (!description.error.empty()) {
      pass.missed(steps.split, description.error);
      continue;
    }
    all.push_back(steps);
    own.push_back(counters);
    counters += cuda::countersOf(*steps.write.spec, *steps.split.spec);
  }
  if (all.empty())
    return 0;
  Value cleared = pass.clearCounters(function, counters);
  for (auto [steps, first] : llvm::zip_equal(all, own))
    replace(steps, cleared, first, counters);
  return int(all.size());
}

mk::Description AttentionFuser::describe(const AttentionSteps &steps, int counters,
                                         const std::string &symbol) const {
  return cuda::describeAttentionStep(*steps.write.spec, *steps.split.spec, counters, symbol, chip);
}

void AttentionFuser::replace(const AttentionSteps &steps, Value cleared, int first, int counters) {
  const bool turns = steps.write.spec->op == "rotary_kv_write";
  Step split = steps.split;
  Fusion fusion;
  for (StringRef role : {"k", "v", "cache"})
    fusion.operands[role] = pass.operandOf(steps.write, role);
  fusion.operands["cache"].access = plan::Access::rw;
  if (turns)
    fusion.operands["table"] = pass.operandOf(steps.write, "table");
  fusion.operands["q"] = pass.operandOf(turns ? steps.write : split, "q");
  for (StringRef role : {"sequence_starts", "context_lengths", "block_tables", "out"})
    fusion.operands[role] = pass.operandOf(split, role);
  fusion.operands["workspace"] = pass.operandAt(split, split.spec->operands.size());
  OpBuilder b(steps.combine);
  Value own = cleared;
  if (first)
    own = plan::ViewOp::create(b, split.launch.getLoc(), cleared.getType(), cleared,
                               int64_t(4) * first);
  const int64_t bytes = int64_t(4) * cuda::countersOf(*steps.write.spec, *split.spec);
  fusion.operands["counters"] = {own, plan::Access::rw, {bytes, int64_t(4) * counters}};
  fusion.origin = turns ? "rotary_attention" : "write_attention";
  fusion.name = nameOf(fusion.origin, *split.spec, "out") + "_decode";
  fusion.key =
      steps.write.spec->key() + " + " + split.spec->key() + " counters " + std::to_string(counters);
  fusion.parts = {steps.write.launch, split.launch, steps.combine};
  fusion.label = split.launch.getLabel();
  if (turns)
    fusion.saved = 2 * split.buffer("q").getDefiningOp<plan::TemporaryOp>().getBytes();
  [[maybe_unused]] std::string error = pass.replace(
      fusion, [&](const std::string &symbol) { return describe(steps, counters, symbol); });
  assert(error.empty() && "it was described before");
}

} // namespace m1c
