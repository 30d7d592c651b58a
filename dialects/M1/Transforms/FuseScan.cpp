// m1-fuse-scan: scans take over the softplus before them, the repetition of x, and the skip and
// gate after them.
#include "M1/Transforms/Passes.h"
#include "Support/PassStatistic.h"

#include "mlir/IR/PatternMatch.h"

namespace mlir::m1 {
#define GEN_PASS_DEF_FUSESCANPASS
#include "M1/Transforms/Passes.h.inc"
} // namespace mlir::m1

#define DEBUG_TYPE "m1-fuse-scan"

using namespace mlir;
using namespace mlir::m1;

namespace {

/// Columns of one head of x.
int64_t headSize(SelectiveScanOp scan) { return columnsOf(scan.getA()); }
int64_t headSize(SsdScanOp scan) { return scan.getState().getType().getShape()[1]; }

/// Values of D: one a channel or one a head.
int64_t skipLength(SelectiveScanOp scan) { return columnsOf(scan.getDt()); }
int64_t skipLength(SsdScanOp scan) { return columnsOf(scan.getDt()); }

bool hasGate(SelectiveScanOp scan) { return bool(scan.getZ()); }
bool hasGate(SsdScanOp) { return false; }

/// The only user of the scan's result, if it is of type Op.
template <typename Op> Op onlyUser(Operation *scan) {
  return scan->hasOneUse() ? dyn_cast<Op>(*scan->getUsers().begin()) : Op();
}

struct FuseScan : m1::impl::FuseScanPassBase<FuseScan> {
  void runOnOperation() override {
    IRRewriter rewriter(&getContext());
    SmallVector<Operation *> scans;
    getOperation().walk([&](Operation *op) {
      if (isa<SelectiveScanOp, SsdScanOp>(op))
        scans.push_back(op);
    });
    for (Operation *op : scans) {
      if (auto scan = dyn_cast<SelectiveScanOp>(op)) {
        fuseCommon(rewriter, scan);
        fuseGate(rewriter, scan);
      } else {
        fuseCommon(rewriter, cast<SsdScanOp>(op));
      }
    }
  }

  template <typename ScanOp> void fuseCommon(IRRewriter &rewriter, ScanOp scan) {
    fuseSoftplus(rewriter, scan);
    fuseSkip(rewriter, scan);
    fuseRepeat(rewriter, scan);
  }

  template <typename ScanOp> void fuseSoftplus(IRRewriter &rewriter, ScanOp scan) {
    auto producer = scan.getDt().template getDefiningOp<SoftplusOp>();
    if (!producer || !producer->hasOneUse() || scan.getDeltaSoftplus())
      return;
    rewriter.modifyOpInPlace(scan, [&] {
      scan.getDtMutable().assign(producer.getX());
      if (producer.getBias())
        scan.getDtBiasMutable().assign(producer.getBias());
      scan.setDeltaSoftplus(true);
    });
    rewriter.eraseOp(producer);
    ++softplus;
  }

  /// Whether `value` holds the heads of the scan's x, as the scan sees them: once per head of C.
  template <typename ScanOp> bool isScannedInput(ScanOp scan, Value value) {
    if (value == scan.getX())
      return columnsOf(value) == columnsOf(scan.getResult());
    auto repeat = value.getDefiningOp<RepeatHeadsOp>();
    return repeat && repeat.getX() == scan.getX() &&
           static_cast<int64_t>(repeat.getHeadSize()) == headSize(scan);
  }

  template <typename ScanOp> void fuseSkip(IRRewriter &rewriter, ScanOp scan) {
    auto skip = onlyUser<SkipOp>(scan);
    if (!skip || skip.getY() != scan.getResult() || scan.getD() || hasGate(scan) ||
        !isScannedInput(scan, skip.getX()) ||
        skip.getD().getType().getDimSize(0) != skipLength(scan))
      return;
    // The scan moves to the skip, where D is known to be computed; nothing between them can touch
    // its state.
    if (!moveTo(rewriter, scan, skip))
      return;
    Operation *repeat = skip.getX().template getDefiningOp<RepeatHeadsOp>();
    rewriter.modifyOpInPlace(scan, [&] {
      scan.getDMutable().assign(skip.getD());
      scan.getResult().setType(skip.getResult().getType());
    });
    rewriter.replaceOp(skip, scan.getResult());
    if (repeat && repeat->use_empty())
      rewriter.eraseOp(repeat);
    ++skips;
  }

  void fuseGate(IRRewriter &rewriter, SelectiveScanOp scan) {
    auto gate = onlyUser<SiluMulOp>(scan);
    if (!gate || gate.getB() != scan.getResult() || gate.getA() == scan.getResult() ||
        scan.getZ() || !moveTo(rewriter, scan, gate))
      return;
    rewriter.modifyOpInPlace(scan, [&] {
      scan.getZMutable().assign(gate.getA());
      scan.getResult().setType(gate.getResult().getType());
    });
    rewriter.replaceOp(gate, scan.getResult());
    ++gates;
  }

  template <typename ScanOp> void fuseRepeat(IRRewriter &rewriter, ScanOp scan) {
    auto repeat = scan.getX().template getDefiningOp<RepeatHeadsOp>();
    if (!repeat || !repeat->hasOneUse() ||
        static_cast<int64_t>(repeat.getHeadSize()) != headSize(scan) ||
        columnsOf(scan.getX()) != columnsOf(scan.getResult()))
      return;
    rewriter.modifyOpInPlace(scan, [&] { scan.getXMutable().assign(repeat.getX()); });
    rewriter.eraseOp(repeat);
    ++repeats;
  }

  /// Moves the scan down to its only user, unless an operation between them uses its state.
  bool moveTo(IRRewriter &rewriter, Operation *scan, Operation *user) {
    if (scan->getBlock() != user->getBlock())
      return false;
    for (Operation *op = scan->getNextNode(); op != user; op = op->getNextNode())
      if (!isMemoryEffectFree(op))
        return false;
    rewriter.moveOpBefore(scan, user);
    return true;
  }

  PassStatistic softplus{*this, "softplus"};
  PassStatistic skips{*this, "skips"};
  PassStatistic gates{*this, "gates"};
  PassStatistic repeats{*this, "repeats"};
};

} // namespace
