// m1-expand-hybrid-layers: a layer becomes its norms, regions and additions.
#include "M1/Transforms/Passes.h"
#include "Support/PassStatistic.h"

#include "mlir/IR/PatternMatch.h"

namespace mlir::m1 {
#define GEN_PASS_DEF_EXPANDHYBRIDLAYERSPASS
#include "M1/Transforms/Passes.h.inc"
} // namespace mlir::m1

#define DEBUG_TYPE "m1-expand-hybrid-layers"

using namespace mlir;
using namespace mlir::m1;

namespace {

/// Normalises `h`, inlines `region` on it and adds what the region yields to `h`.
Value expandBranch(IRRewriter &rewriter, HybridLayerOp layer, Region &region, Value h, Value norm) {
  Location loc = layer.getLoc();
  Block &body = region.front();
  Value normed =
      RmsNormOp::create(rewriter, loc, body.getArgument(0).getType(), h, norm, layer.getEpsAttr());
  auto yield = cast<YieldOp>(body.getTerminator());
  rewriter.inlineBlockBefore(&body, layer, normed);
  Value sum = AddOp::create(rewriter, loc, h.getType(), h, yield.getX());
  rewriter.eraseOp(yield);
  return sum;
}

struct ExpandHybridLayers : m1::impl::ExpandHybridLayersPassBase<ExpandHybridLayers> {
  void runOnOperation() override {
    IRRewriter rewriter(&getContext());
    SmallVector<HybridLayerOp> worklist;
    getOperation().walk([&](HybridLayerOp layer) { worklist.push_back(layer); });
    for (HybridLayerOp layer : worklist) {
      rewriter.setInsertionPoint(layer);
      Value mixed =
          expandBranch(rewriter, layer, layer.getMixer(), layer.getH(), layer.getMixerNorm());
      Value out = expandBranch(rewriter, layer, layer.getMlp(), mixed, layer.getMlpNorm());
      rewriter.replaceOp(layer, out);
      ++layers;
    }
  }

  PassStatistic layers{*this, "layers"};
};

} // namespace
