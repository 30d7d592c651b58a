// m1-hoist-gather-rows: what only feeds the wanted rows is computed for those rows only.
#include "M1/Transforms/Passes.h"
#include "Support/PassStatistic.h"

#include "mlir/IR/PatternMatch.h"

namespace mlir::m1 {
#define GEN_PASS_DEF_HOISTGATHERROWSPASS
#include "M1/Transforms/Passes.h.inc"
} // namespace mlir::m1

#define DEBUG_TYPE "m1-hoist-gather-rows"

using namespace mlir;
using namespace mlir::m1;

namespace {

struct HoistGatherRows : m1::impl::HoistGatherRowsPassBase<HoistGatherRows> {
  void runOnOperation() override {
    if (getOperation().isExternal() || getOperation().getSymName() == "decode")
      return;
    IRRewriter rewriter(&getContext());
    bool changed = true;
    while (changed) {
      changed = false;
      // A hoist erases gathers and makes others: look again from the start.
      getOperation().walk([&](GatherRowsOp gather) {
        Operation *producer = gather.getX().getDefiningOp();
        if (!producer || !canHoist(producer, gather))
          return WalkResult::advance();
        hoist(rewriter, producer, gather);
        changed = true;
        return WalkResult::interrupt();
      });
    }
  }

  /// Whether every result of `producer` is read by gathers of the same batch only.
  bool canHoist(Operation *producer, GatherRowsOp gather) {
    return producer->hasTrait<RowsIndependent>() &&
           llvm::all_of(producer->getUsers(), [&](Operation *user) {
             auto other = dyn_cast<GatherRowsOp>(user);
             return other && other.getBatch() == gather.getBatch() &&
                    other->getBlock() == producer->getBlock();
           });
  }

  void hoist(IRRewriter &rewriter, Operation *producer, GatherRowsOp gather) {
    int64_t rows = gather.getResult().getType().getDimSize(0);
    auto gathered = [&](Type type) {
      return RankedTensorType::get({rows, cast<RankedTensorType>(type).getDimSize(1)},
                                   cast<RankedTensorType>(type).getElementType());
    };
    SmallVector<Value> operands(producer->getOperands());
    for (Value &operand : operands)
      if (isRows(operand))
        operand = gatherAtDefinition(rewriter, operand, gather, gathered(operand.getType()));
    rewriter.setInsertionPoint(producer);
    Operation *narrow = rewriter.clone(*producer);
    narrow->setOperands(operands);
    for (auto [result, wide] : llvm::zip_equal(narrow->getResults(), producer->getResults())) {
      result.setType(gathered(wide.getType()));
      for (Operation *user : llvm::make_early_inc_range(wide.getUsers()))
        rewriter.replaceOp(user, result);
    }
    rewriter.eraseOp(producer);
    ++operations;
  }

  /// The gather of `value` right after its definition, so that all uses of it can share it.
  Value gatherAtDefinition(IRRewriter &rewriter, Value value, GatherRowsOp like, Type type) {
    rewriter.setInsertionPointAfterValue(value);
    auto next = rewriter.getInsertionPoint();
    if (next != rewriter.getInsertionBlock()->end())
      if (auto there = dyn_cast<GatherRowsOp>(*next))
        if (there.getX() == value && there.getBatch() == like.getBatch() && there.getType() == type)
          return there;
    // The batch is an argument of the function, or read before the rows that it describes.
    return GatherRowsOp::create(rewriter, like.getLoc(), type, value, like.getBatch());
  }

  PassStatistic operations{*this, "operations"};
};

} // namespace
