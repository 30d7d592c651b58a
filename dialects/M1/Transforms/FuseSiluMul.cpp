// m1-fuse-silu-mul: a product with a silu becomes one operation.
#include "M1/Transforms/Passes.h"
#include "Support/PassStatistic.h"

#include "mlir/IR/PatternMatch.h"

namespace mlir::m1 {
#define GEN_PASS_DEF_FUSESILUMULPASS
#include "M1/Transforms/Passes.h.inc"
} // namespace mlir::m1

#define DEBUG_TYPE "m1-fuse-silu-mul"

using namespace mlir;
using namespace mlir::m1;

namespace {

struct FuseSiluMul : m1::impl::FuseSiluMulPassBase<FuseSiluMul> {
  void runOnOperation() override {
    IRRewriter rewriter(&getContext());
    SmallVector<MulOp> worklist;
    getOperation().walk([&](MulOp mul) { worklist.push_back(mul); });
    for (MulOp mul : worklist) {
      Value other = mul.getB();
      auto silu = mul.getA().getDefiningOp<SiluOp>();
      if (!silu || !silu->hasOneUse()) {
        silu = mul.getB().getDefiningOp<SiluOp>();
        other = mul.getA();
      }
      if (!silu || !silu->hasOneUse())
        continue;
      rewriter.setInsertionPoint(mul);
      rewriter.replaceOpWithNewOp<SiluMulOp>(mul, mul.getType(), silu.getA(), other);
      rewriter.eraseOp(silu);
      ++gates;
    }
  }

  PassStatistic gates{*this, "gates"};
};

} // namespace
