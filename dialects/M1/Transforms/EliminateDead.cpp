// m1-eliminate-dead: states that influence no result, and weights that nothing reads, go.
#include "M1/Transforms/Passes.h"
#include "Support/PassStatistic.h"

#include "mlir/IR/PatternMatch.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/MapVector.h"

namespace mlir::m1 {
#define GEN_PASS_DEF_ELIMINATEDEADPASS
#include "M1/Transforms/Passes.h.inc"
} // namespace mlir::m1

#define DEBUG_TYPE "m1-eliminate-dead"

using namespace mlir;
using namespace mlir::m1;

namespace {

/// Whether all effects of the operation are on one state.
bool touchesOneState(Operation *op) {
  auto interface = dyn_cast<MemoryEffectOpInterface>(op);
  if (!interface)
    return false;
  SmallVector<MemoryEffects::EffectInstance> effects;
  interface.getEffects(effects);
  return !effects.empty() && llvm::all_of(effects, [&](auto &effect) {
    return effect.getValue() && isa<StateTypeInterface>(effect.getValue().getType()) &&
           effect.getValue() == effects.front().getValue();
  });
}

struct EliminateDead : m1::impl::EliminateDeadPassBase<EliminateDead> {
  void runOnOperation() override {
    while (erasePureOperations() || eraseDeadStateOperations()) {
    }
    // Whatever names a symbol uses it, functions that are converted to a plan included.
    llvm::DenseSet<StringAttr> used;
    getOperation().walk([&](Operation *op) {
      op->getAttrDictionary().walk(
          [&](SymbolRefAttr name) { used.insert(name.getRootReference()); });
    });
    eraseUnusedSymbols<StateOp>(used, states);
    eraseUnusedSymbols<WeightOp>(used, weights);
  }

  bool erasePureOperations() {
    bool changed = false;
    SmallVector<Operation *> all;
    getOperation().walk<WalkOrder::PreOrder>([&](Operation *op) { all.push_back(op); });
    // Users come after what they use, so one sweep backwards follows whole chains.
    for (Operation *op : llvm::reverse(all))
      if (isOpTriviallyDead(op) && !isa<SymbolOpInterface>(op)) {
        op->erase();
        ++operations;
        changed = true;
      }
    return changed;
  }

  bool eraseDeadStateOperations() {
    llvm::MapVector<StringAttr, SmallVector<Operation *>> users;
    getOperation().walk([&](GetStateOp get) {
      llvm::append_range(users[get.getStateAttr().getAttr()], get->getUsers());
    });
    bool changed = false;
    for (auto &[name, ops] : users) {
      if (!llvm::all_of(ops, [](Operation *op) { return op->use_empty() && touchesOneState(op); }))
        continue;
      for (Operation *op : ops) {
        op->erase();
        ++operations;
        changed = true;
      }
    }
    return changed;
  }

  template <typename SymbolOp>
  void eraseUnusedSymbols(const llvm::DenseSet<StringAttr> &used, PassStatistic &count) {
    for (SymbolOp symbol : llvm::make_early_inc_range(getOperation().getOps<SymbolOp>()))
      if (!used.contains(symbol.getSymNameAttr())) {
        symbol.erase();
        ++count;
      }
  }

  PassStatistic states{*this, "states"};
  PassStatistic weights{*this, "weights"};
  PassStatistic operations{*this, "operations"};
};

} // namespace
