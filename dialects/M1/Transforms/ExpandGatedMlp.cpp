// m1-expand-gated-mlp: a gated MLP becomes its linears and the gate.
#include "M1/Transforms/Passes.h"
#include "Support/PassStatistic.h"

#include "mlir/IR/PatternMatch.h"

namespace mlir::m1 {
#define GEN_PASS_DEF_EXPANDGATEDMLPPASS
#include "M1/Transforms/Passes.h.inc"
} // namespace mlir::m1

#define DEBUG_TYPE "m1-expand-gated-mlp"

using namespace mlir;
using namespace mlir::m1;

namespace {

struct ExpandGatedMlp : m1::impl::ExpandGatedMlpPassBase<ExpandGatedMlp> {
  void runOnOperation() override {
    IRRewriter rewriter(&getContext());
    SmallVector<GatedMlpOp> worklist;
    getOperation().walk([&](GatedMlpOp mlp) { worklist.push_back(mlp); });
    for (GatedMlpOp mlp : worklist) {
      rewriter.setInsertionPoint(mlp);
      Location loc = mlp.getLoc();
      auto x = cast<RankedTensorType>(mlp.getX().getType());
      auto inner = RankedTensorType::get({x.getDimSize(0), mlp.getGate().getType().getDimSize(0)},
                                         x.getElementType());
      Value gate = LinearOp::create(rewriter, locationOf(mlp.getGate(), loc), inner, mlp.getX(),
                                    mlp.getGate(), Value());
      Value up = LinearOp::create(rewriter, locationOf(mlp.getUp(), loc), inner, mlp.getX(),
                                  mlp.getUp(), Value());
      Value hidden = SiluMulOp::create(rewriter, loc, inner, gate, up);
      rewriter.replaceOp(mlp, LinearOp::create(rewriter, locationOf(mlp.getDown(), loc),
                                               mlp.getType(), hidden, mlp.getDown(), Value()));
      ++mlps;
    }
  }

  PassStatistic mlps{*this, "mlps"};
};

} // namespace
