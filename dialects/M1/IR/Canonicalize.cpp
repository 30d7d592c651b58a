// Folders and canonicalisation patterns of the m1 operations.
#include "M1/IR/M1.h"

#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace mlir::m1;

LogicalResult SplitOp::fold(FoldAdaptor, SmallVectorImpl<OpFoldResult> &results) {
  if (getNumResults() != 1 || getX().getType() != getResult(0).getType())
    return failure();
  results.push_back(getX());
  return success();
}

namespace {

/// A split of a split's piece becomes pieces of the outer split.
struct MergeNestedSplit : OpRewritePattern<SplitOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(SplitOp inner, PatternRewriter &rewriter) const override {
    auto outer = inner.getX().getDefiningOp<SplitOp>();
    if (!outer || !inner.getX().hasOneUse())
      return failure();
    unsigned position = cast<OpResult>(inner.getX()).getResultNumber();
    SmallVector<Type> types(outer->getResultTypes());
    types.erase(types.begin() + position);
    types.insert(types.begin() + position, inner->getResultTypes().begin(),
                 inner->getResultTypes().end());
    rewriter.setInsertionPoint(outer);
    auto merged = SplitOp::create(rewriter, outer.getLoc(), types, outer.getX());
    unsigned count = inner.getNumResults();
    rewriter.replaceOp(inner, merged->getResults().slice(position, count));
    for (unsigned i = 0; i < outer.getNumResults(); ++i)
      if (i != position)
        rewriter.replaceAllUsesWith(outer.getResult(i),
                                    merged.getResult(i < position ? i : i + count - 1));
    rewriter.eraseOp(outer);
    return success();
  }
};

} // namespace

void SplitOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *context) {
  patterns.add<MergeNestedSplit>(context);
}

OpFoldResult RepeatHeadsOp::fold(FoldAdaptor) {
  return getRepeat() == 1 && getX().getType() == getType() ? getX() : OpFoldResult();
}
