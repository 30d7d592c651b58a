// m1-fold-doubled-bias: the bias of dt, which M1 adds twice, becomes one bias of twice the value.
#include "M1/Transforms/Passes.h"
#include "M1/Transforms/WeightUtils.h"
#include "Support/PassStatistic.h"

#include "mlir/IR/PatternMatch.h"

namespace mlir::m1 {
#define GEN_PASS_DEF_FOLDDOUBLEDBIASPASS
#include "M1/Transforms/Passes.h.inc"
} // namespace mlir::m1

#define DEBUG_TYPE "m1-fold-doubled-bias"

using namespace mlir;
using namespace mlir::m1;

namespace {

struct FoldDoubledBias : m1::impl::FoldDoubledBiasPassBase<FoldDoubledBias> {
  void runOnOperation() override {
    SymbolTable symbols(getOperation());
    IRRewriter rewriter(&getContext());
    SmallVector<SoftplusOp> worklist;
    getOperation().walk([&](SoftplusOp softplus) { worklist.push_back(softplus); });
    for (SoftplusOp softplus : worklist)
      foldDoubledBias(rewriter, symbols, softplus);
  }

  void foldDoubledBias(IRRewriter &rewriter, SymbolTable &symbols, SoftplusOp softplus) {
    auto linear = softplus.getX().getDefiningOp<LinearOp>();
    if (!linear || !linear->hasOneUse())
      return;
    WeightOp bias = lookUpWeight(symbols, softplus.getBias());
    if (!bias || bias != lookUpWeight(symbols, linear.getBias()) || !bias.getSourcesAttr() ||
        bias.getRowsAttr() || bias.getTransform() != Transform::None)
      return;
    WeightOp doubled =
        getOrCreateWeight(symbols, bias, (bias.getSymName() + "_doubled").str(),
                          bias.getTensorType(), bias.getSourcesAttr(), Transform::Double);
    rewriter.setInsertionPoint(softplus);
    Value value = GetWeightOp::create(rewriter, softplus.getLoc(), doubled.getTensorType(),
                                      doubled.getSymName());
    rewriter.modifyOpInPlace(softplus, [&] { softplus.getBiasMutable().assign(value); });
    rewriter.modifyOpInPlace(linear, [&] { linear.getBiasMutable().clear(); });
    ++biases;
  }

  PassStatistic biases{*this, "biases"};
};

} // namespace
