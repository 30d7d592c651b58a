#include "Plan/Plan.h"
#include "Support/PassStatistic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Debug.h"
#include "llvm/Support/MathExtras.h"

#define DEBUG_TYPE "plan-place-buffers"

namespace mlir::plan {

#define GEN_PASS_DEF_PLACEPLANBUFFERSPASS
#include "Plan/PlanPasses.h.inc"

namespace {

struct Placed {
  int64_t begin, end;
};

/// Places one arena's temporaries, largest first (ties by definition), each at the lowest free
/// offset. Returns the arena's size.
int64_t placeArena(llvm::ArrayRef<std::pair<TemporaryOp, Lifetime>> temporaries) {
  // Each with its rank, so that equal sizes keep their order.
  llvm::SmallVector<std::pair<int64_t, size_t>> order;
  int64_t commands = 0, size = 0;
  for (auto [rank, entry] : llvm::enumerate(temporaries)) {
    TemporaryOp temporary = entry.first;
    order.push_back({-static_cast<int64_t>(temporary.getBytes()), rank});
    commands = std::max(commands, entry.second.last + 1);
  }
  llvm::sort(order);
  llvm::SmallVector<Placed> placed;
  // Those placed that live at each command: few, however long the function is.
  std::vector<llvm::SmallVector<size_t, 8>> liveAt(commands);
  for (auto [_, rank] : order) {
    auto [temporary, life] = temporaries[rank];
    int64_t bytes = llvm::alignTo(temporary.getBytes(), kArenaAlignment), begin = 0;
    llvm::SmallVector<size_t> conflicts;
    for (int64_t command = life.first; command <= life.last; ++command)
      llvm::append_range(conflicts, liveAt[command]);
    llvm::sort(conflicts, [&](size_t a, size_t b) {
      return std::pair(placed[a].begin, a) < std::pair(placed[b].begin, b);
    });
    conflicts.erase(llvm::unique(conflicts), conflicts.end());
    // The first gap between them that is wide enough is the lowest.
    for (size_t other : conflicts) {
      if (placed[other].end <= begin)
        continue;
      if (placed[other].begin >= begin + bytes)
        break;
      begin = placed[other].end;
    }
    for (int64_t command = life.first; command <= life.last; ++command)
      liveAt[command].push_back(placed.size());
    placed.push_back({begin, begin + bytes});
    temporary.setOffset(begin);
    size = std::max(size, begin + bytes);
    LLVM_DEBUG(llvm::dbgs() << "bytes " << begin << " to " << begin + bytes << ": " << temporary
                            << "\n");
  }
  return size;
}

struct PlacePlanBuffersPass : impl::PlacePlanBuffersPassBase<PlacePlanBuffersPass> {
  m1::PassStatistic numPlaced{*this, "temporaries-placed"};
  m1::PassStatistic numErased{*this, "temporaries-erased"};
  m1::PassStatistic bytesSaved{*this, "bytes-per-row-saved"};
  void runOnOperation() override {
    FunctionOp function = getOperation();
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(*function.getBody().begin())))
      if (isa<ViewOp, TemporaryOp>(op) && op.use_empty()) {
        numErased += isa<TemporaryOp>(op);
        op.erase();
      }
    llvm::SmallVector<std::pair<TemporaryOp, Lifetime>> arenas[4];
    int64_t sum = 0, total = 0, sizes[4] = {};
    for (auto &[temporary, life] : computeLifetimes(function)) {
      arenas[static_cast<int>(temporary.getRows())].push_back({temporary, life});
      sum += llvm::alignTo(temporary.getBytes(), kArenaAlignment);
      ++numPlaced;
    }
    for (int i = 0; i < 4; ++i)
      total += sizes[i] = placeArena(arenas[i]);
    bytesSaved += sum - total;
    function.setTemporaryBytesPerRow(sizes[static_cast<int>(RowDomain::tokens)]);
    function.setRowTemporaryBytesPerRow(sizes[static_cast<int>(RowDomain::logit_rows)]);
    function.setWorkspaceBytes(sizes[static_cast<int>(RowDomain::one)]);
  }
};

} // namespace
} // namespace mlir::plan
