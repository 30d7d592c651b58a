// m1-fuse-rotary-kv-write: one operation rotates q and k and writes k and v.
#include "M1/Transforms/Passes.h"
#include "Support/PassStatistic.h"

#include "mlir/IR/PatternMatch.h"

namespace mlir::m1 {
#define GEN_PASS_DEF_FUSEROTARYKVWRITEPASS
#include "M1/Transforms/Passes.h.inc"
} // namespace mlir::m1

#define DEBUG_TYPE "m1-fuse-rotary-kv-write"

using namespace mlir;
using namespace mlir::m1;

namespace {

struct FuseRotaryKVWrite : m1::impl::FuseRotaryKVWritePassBase<FuseRotaryKVWrite> {
  void runOnOperation() override {
    IRRewriter rewriter(&getContext());
    SmallVector<KVWriteOp> worklist;
    getOperation().walk([&](KVWriteOp write) { worklist.push_back(write); });
    for (KVWriteOp write : worklist) {
      auto headDim = static_cast<uint64_t>(write.getCache().getType().getShape()[2]);
      auto rotatedK = write.getK().getDefiningOp<RotaryEmbeddingOp>();
      if (!rotatedK || !rotatedK->hasOneUse() || rotatedK.getHeadDim() != headDim)
        continue;
      RotaryEmbeddingOp rotatedQ = findRotatedQuery(write, rotatedK);
      if (!rotatedQ)
        continue;
      rewriter.setInsertionPoint(write);
      Value q = RotaryKVWriteOp::create(rewriter, write.getLoc(), rotatedQ.getType(),
                                        rotatedQ.getX(), rotatedK.getX(), write.getV(),
                                        rotatedK.getTable(), write.getBatch(), write.getCache());
      rewriter.eraseOp(write);
      rewriter.eraseOp(rotatedK);
      rewriter.replaceOp(rotatedQ, q);
      ++writes;
    }
  }

  /// The rotation of the q of the first attention that reads what `write` writes; null when it does
  /// not fuse.
  RotaryEmbeddingOp findRotatedQuery(KVWriteOp write, RotaryEmbeddingOp rotatedK) {
    for (Operation *op = write->getNextNode(); op; op = op->getNextNode()) {
      auto attention = dyn_cast<AttentionOp>(op);
      if (!attention || attention.getCache() != write.getCache())
        continue;
      auto rotation = attention.getQ().getDefiningOp<RotaryEmbeddingOp>();
      if (!rotation || rotation.getTable() != rotatedK.getTable() ||
          rotation.getHeadDim() != rotatedK.getHeadDim() ||
          rotation->getBlock() != write->getBlock() || !rotation->isBeforeInBlock(write))
        return {};
      for (Operation *user : rotation->getUsers())
        if (user->getBlock() != write->getBlock() || user->isBeforeInBlock(write))
          return {};
      return rotation;
    }
    return {};
  }

  PassStatistic writes{*this, "writes"};
};

} // namespace
