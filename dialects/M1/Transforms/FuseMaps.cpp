// m1-fuse-maps: what stands alone between operations joins its neighbours: multipliers move through
// linears and into residual sums, and maps that read maps become one.
#include "M1/IR/Scalars.h"
#include "M1/Transforms/Passes.h"
#include "Support/PassStatistic.h"

#include "mlir/IR/PatternMatch.h"

namespace mlir::m1 {
#define GEN_PASS_DEF_FUSEMAPSPASS
#include "M1/Transforms/Passes.h.inc"
} // namespace mlir::m1

#define DEBUG_TYPE "m1-fuse-maps"

using namespace mlir;
using namespace mlir::m1;

namespace {

/// Of one map: devices bound the operands of a launch, the CUDA runtime to 32.
constexpr unsigned mostInputs = 16;

/// The map that makes `value` for one reader, in the block of `user`; null: there is none.
MapInterface onlyMapBefore(Value value, Operation *user) {
  auto map = value.getDefiningOp<MapInterface>();
  return map && map->hasOneUse() && map->getBlock() == user->getBlock() ? map : MapInterface();
}

struct FuseMaps : m1::impl::FuseMapsPassBase<FuseMaps> {
  void runOnOperation() override {
    IRRewriter rewriter(&getContext());
    SmallVector<MapOp> scales;
    getOperation().walk([&](MapOp map) {
      if (getMultiplier(map))
        scales.push_back(map);
    });
    for (MapOp scale : scales)
      moveThroughLinears(rewriter, scale);
    getOperation().walk([&](AddRmsNormOp norm) { takeMultiplier(rewriter, norm); });
    // Producers first: a map has its own before it joins the next.
    SmallVector<MapInterface> readers;
    getOperation().walk([&](MapInterface map) { readers.push_back(map); });
    for (MapInterface reader : readers)
      while (MapInterface fused = fuseOneInto(rewriter, reader))
        reader = fused;
  }

  /// c · (x · wᵀ) = (c · x) · wᵀ: the multiplier of a linear's rows becomes one of its results,
  /// where it costs less or joins what reads these.
  void moveThroughLinears(IRRewriter &rewriter, MapOp scale) {
    const Value x = scale.getInputs().front();
    int64_t wide = 0;
    for (Operation *user : scale->getUsers()) {
      auto linear = dyn_cast<LinearOp>(user);
      if (!linear || linear.getX() != scale.getResult() || linear.getBias() ||
          linear.getRowScale() || linear.getX().getType() != x.getType())
        return;
      wide += takesMultipliers(linear.getResult()) ? 0 : columnsOf(linear.getResult());
    }
    if (scale->use_empty() || wide > columnsOf(x))
      return;
    const double factor = *getMultiplier(scale);
    for (Operation *user : llvm::make_early_inc_range(scale->getUsers())) {
      auto linear = cast<LinearOp>(user);
      rewriter.setInsertionPointAfter(linear);
      Value result = linear.getResult();
      Value scaled = createScale(rewriter, scale.getLoc(), result.getType(), result, factor);
      rewriter.modifyOpInPlace(linear, [&] { linear.getXMutable().assign(x); });
      rewriter.replaceAllUsesExcept(result, scaled, scaled.getDefiningOp());
    }
    rewriter.eraseOp(scale);
    ++multipliers;
  }

  /// Whether a multiplier of these rows goes into what reads them.
  static bool takesMultipliers(Value rows) {
    if (!rows.hasOneUse())
      return false;
    Operation *user = *rows.getUsers().begin();
    auto norm = dyn_cast<AddRmsNormOp>(user);
    return isa<MapInterface>(user) || (norm && norm.getX() == rows);
  }

  /// The multiplier of a branch becomes the residual sum's.
  void takeMultiplier(IRRewriter &rewriter, AddRmsNormOp norm) {
    auto scale = norm.getX().getDefiningOp<MapOp>();
    std::optional<double> factor = scale ? getMultiplier(scale) : std::nullopt;
    if (!factor || norm.getFactor())
      return;
    rewriter.modifyOpInPlace(norm, [&] {
      norm.getXMutable().assign(scale.getInputs().front());
      norm.setFactor(APFloat(*factor));
    });
    if (scale->use_empty())
      rewriter.eraseOp(scale);
    ++multipliers;
  }

  /// One of the maps that only `reader` reads goes into it; the map in its place, or null.
  MapInterface fuseOneInto(IRRewriter &rewriter, MapInterface reader) {
    const Value out = reader->getResult(0);
    for (unsigned index = 0; index < reader->getNumOperands(); ++index) {
      const Value input = reader->getOperand(index);
      MapInterface producer = onlyMapBefore(input, reader);
      // Residual sums stay apart: each is taken on by the linear whose branch it adds.
      if (!producer || columnsOf(input) != columnsOf(out) || isResidualSum(producer) ||
          reader->getNumOperands() - 1 + producer->getNumOperands() > mostInputs)
        continue;
      SmallVector<Value> inputs(reader->getOperands());
      inputs.erase(inputs.begin() + index);
      inputs.insert(inputs.begin() + index, producer->operand_begin(), producer->operand_end());
      const size_t count = producer->getNumOperands();
      rewriter.setInsertionPoint(reader);
      auto kernel = cast<KernelOpInterface>(reader.getOperation());
      MapOp fused = createMap(rewriter, reader->getLoc(), kernel.getKernelName(), out.getType(),
                              inputs, [&](ImplicitLocOpBuilder &b, ValueRange all) {
                                Value made =
                                    buildScalars(b, producer.getCode(), all.slice(index, count));
                                SmallVector<Value> its(all.take_front(index));
                                its.push_back(made);
                                llvm::append_range(its, all.drop_front(index + count));
                                return buildScalars(b, reader.getCode(), its);
                              });
      rewriter.replaceOp(reader, fused.getResult());
      rewriter.eraseOp(producer);
      ++maps;
      return cast<MapInterface>(fused.getOperation());
    }
    return {};
  }

  static bool isResidualSum(MapInterface map) {
    const ArrayAttr code = map.getCode();
    return map->getNumOperands() == 2 && llvm::all_of(map->getOperands(), isRows) &&
           (splitSum(code, 0) || splitSum(code, 1));
  }

  PassStatistic maps{*this, "maps"};
  PassStatistic multipliers{*this, "multipliers"};
};

} // namespace
