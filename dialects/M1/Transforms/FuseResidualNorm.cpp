// m1-fuse-residual-norm: the residual addition and the norm of its sum become one operation.
#include "M1/Transforms/Passes.h"
#include "Support/PassStatistic.h"

#include "mlir/IR/PatternMatch.h"

namespace mlir::m1 {
#define GEN_PASS_DEF_FUSERESIDUALNORMPASS
#include "M1/Transforms/Passes.h.inc"
} // namespace mlir::m1

#define DEBUG_TYPE "m1-fuse-residual-norm"

using namespace mlir;
using namespace mlir::m1;

namespace {

struct FuseResidualNorm : m1::impl::FuseResidualNormPassBase<FuseResidualNorm> {
  void runOnOperation() override {
    IRRewriter rewriter(&getContext());
    SmallVector<RmsNormOp> worklist;
    getOperation().walk([&](RmsNormOp norm) { worklist.push_back(norm); });
    for (RmsNormOp norm : worklist) {
      auto add = norm.getX().getDefiningOp<AddOp>();
      if (!add || add->getBlock() != norm->getBlock() || !norm.getWeight() ||
          norm.getGroups() != 1 || !hoistWeight(rewriter, norm.getWeight(), add))
        continue;
      rewriter.setInsertionPoint(add);
      auto fused = AddRmsNormOp::create(
          rewriter, add.getLoc(), TypeRange{add.getType(), norm.getType()}, add.getResidual(),
          add.getX(), norm.getWeight(), norm.getEpsAttr(), FloatAttr());
      rewriter.replaceOp(norm, fused.getNormed());
      rewriter.replaceOp(add, fused.getSum());
      ++norms;
    }
  }

  /// Makes the norm's weight available at `add`; false when it is computed in between.
  bool hoistWeight(IRRewriter &rewriter, Value weight, AddOp add) {
    Operation *definition = weight.getDefiningOp();
    if (!definition || definition->getBlock() != add->getBlock() ||
        definition->isBeforeInBlock(add))
      return true;
    if (!isa<GetWeightOp>(definition))
      return false;
    rewriter.moveOpBefore(definition, add);
    return true;
  }

  PassStatistic norms{*this, "norms"};
};

} // namespace
