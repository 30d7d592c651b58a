// m1-fuse-conv-silu: convolutions take over the silu after them and the repetition of heads before
// them.
#include "M1/Transforms/Passes.h"
#include "Support/PassStatistic.h"

#include "mlir/IR/PatternMatch.h"
#include "llvm/ADT/MapVector.h"

namespace mlir::m1 {
#define GEN_PASS_DEF_FUSECONVSILUPASS
#include "M1/Transforms/Passes.h.inc"
} // namespace mlir::m1

#define DEBUG_TYPE "m1-fuse-conv-silu"

using namespace mlir;
using namespace mlir::m1;

namespace {

struct FuseConvSilu : m1::impl::FuseConvSiluPassBase<FuseConvSilu> {
  void runOnOperation() override {
    IRRewriter rewriter(&getContext());
    SmallVector<CausalConv1dOp> convs;
    getOperation().walk([&](CausalConv1dOp conv) { convs.push_back(conv); });
    for (CausalConv1dOp conv : convs)
      fuseActivation(rewriter, conv);

    // By state symbol, because the state's type follows the repetition in every function.
    llvm::MapVector<StringAttr, SmallVector<GetStateOp>> reads;
    getOperation().walk(
        [&](GetStateOp get) { reads[get.getStateAttr().getAttr()].push_back(get); });
    SymbolTable symbols(getOperation());
    for (auto &[name, gets] : reads)
      if (isa<ConvStateType>(gets.front().getType()))
        fuseRepeat(rewriter, symbols.lookup<StateOp>(name), gets);
  }

  void fuseActivation(IRRewriter &rewriter, CausalConv1dOp conv) {
    if (!conv->hasOneUse() || conv.getActivation() != Activation::None)
      return;
    auto silu = dyn_cast<SiluOp>(*conv->getUsers().begin());
    if (!silu)
      return;
    rewriter.modifyOpInPlace(conv, [&] {
      conv.setActivation(Activation::Silu);
      conv.getResult().setType(silu.getResult().getType());
    });
    rewriter.replaceOp(silu, conv.getResult());
    ++activations;
  }

  void fuseRepeat(IRRewriter &rewriter, StateOp state, ArrayRef<GetStateOp> gets) {
    SmallVector<std::pair<CausalConv1dOp, RepeatHeadsOp>> matches;
    for (GetStateOp get : gets)
      for (Operation *user : get->getUsers()) {
        auto conv = dyn_cast<CausalConv1dOp>(user);
        auto repeat = conv && conv.getRepeat() == 1 ? conv.getX().getDefiningOp<RepeatHeadsOp>()
                                                    : RepeatHeadsOp();
        if (!repeat || !repeat->hasOneUse())
          return;
        matches.push_back({conv, repeat});
      }
    if (matches.empty())
      return;
    RepeatHeadsOp first = matches.front().second;
    for (auto [conv, repeat] : matches)
      if (repeat.getRepeat() != first.getRepeat() || repeat.getHeadSize() != first.getHeadSize())
        return;

    auto old = cast<ConvStateType>(state.getType());
    auto type = ConvStateType::get(
        &getContext(),
        {old.getShape()[0], old.getShape()[1] / static_cast<int64_t>(first.getRepeat())},
        old.getElementType());
    rewriter.modifyOpInPlace(state, [&] { state.setType(type); });
    for (GetStateOp get : gets)
      rewriter.modifyOpInPlace(get, [&] { get.getResult().setType(type); });
    for (auto [conv, repeat] : matches) {
      rewriter.modifyOpInPlace(conv, [&, conv = conv, repeat = repeat]() mutable {
        conv.getXMutable().assign(repeat.getX());
        conv.setRepeat(repeat.getRepeat());
        conv.setHeadSize(repeat.getHeadSize());
      });
      rewriter.eraseOp(repeat);
      ++repeats;
    }
  }

  PassStatistic activations{*this, "activations"};
  PassStatistic repeats{*this, "repeats"};
};

} // namespace
