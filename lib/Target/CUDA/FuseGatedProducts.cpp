// plan-fuse-gated-products: prefill once more, for many rows, with silu·mul inside the products
// before it.
#include "FuseLaunches.h"
#include "LaunchFusion.h"
#include "M1/IR/Scalars.h"
#include "Support/PassStatistic.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Remarks.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;
namespace mk = m1k::cuda;

namespace m1c {

#define GEN_PASS_DEF_FUSEGATEDPRODUCTSPASS
#include "Target/CUDA/CudaPasses.h.inc"

namespace {

/// out = [gate | up] of a product, and the launch that alone reads both.
struct GatedMlp {
  plan::GemmOp product;
  plan::LaunchOp gate;
  mk::GatedProduct facts;
};

/// From how many rows on, whatever their number, the multiprocessors are busy but for mostIdle of
/// the time. They take units of 128 rows by 128 columns round by round, and in a last round that
/// has work for half of them or fewer, halves of units (kernels/cuda/linear_warpgroup.cuh).
uint32_t rowsThatPay(int64_t n, const CudaChip &chip) {
  constexpr int64_t tile = 128;
  const int64_t blocks = chip.multiprocessors, across = llvm::divideCeil(n, tile);
  auto pays = [&](int64_t high) {
    const int64_t units = high * across, rest = units % blocks;
    const int64_t halfRounds = units / blocks * 2 + (!rest ? 0 : 2 * rest <= blocks ? 1 : 2);
    return double(2 * units) >= (1 - mostIdle) * double(halfRounds * blocks);
  };
  // Half a round is less than mostIdle of so many units and more.
  int64_t high = llvm::divideCeil(int64_t(double(blocks) / (2 * mostIdle)) + blocks, across);
  while (high > manyRows / tile && pays(high - 1))
    --high;
  return uint32_t(std::max<int64_t>(high * tile, manyRows));
}

class FuseGatedProductsPass : public impl::FuseGatedProductsPassBase<FuseGatedProductsPass> {
public:
  void runOnOperation() override;

private:
  std::optional<GatedMlp> match(plan::GemmOp product);
  /// The spec of the launch's kernel; null: it has none.
  const KernelSpec *specOf(plan::LaunchOp launch);
  plan::KernelOp kernelFor(const GatedMlp &mlp);
  void replace(GatedMlp mlp);
  /// Says why a product stays as it is.
  std::nullopt_t missed(plan::GemmOp product, StringRef reason) {
    remark::missed(product.getLoc(), remark::RemarkOpts::name("product").category(getArgument()))
        << remark::reason("{0}", reason.str());
    return std::nullopt;
  }

  const CudaChip *chip = nullptr;
  llvm::StringMap<std::optional<KernelSpec>> specs; // by symbol
  llvm::StringMap<plan::KernelOp> kernels;          // by key

  m1::PassStatistic numGates{*this, "gates"};
  m1::PassStatistic numFunctions{*this, "functions"};
};

const KernelSpec *FuseGatedProductsPass::specOf(plan::LaunchOp launch) {
  auto [entry, isNew] = specs.try_emplace(launch.getKernel());
  if (isNew) {
    auto kernel = getOperation().lookupSymbol<plan::KernelOp>(launch.getKernelAttr());
    if (kernel.getFactsAttr()) {
      auto spec = KernelSpec::fromAttribute(kernel.getFactsAttr(), [&] {
        return kernel.emitOpError() << "@" << kernel.getSymName() << ": ";
      });
      if (failed(spec))
        signalPassFailure();
      else
        entry->second = std::move(*spec);
    }
  }
  return entry->second ? &*entry->second : nullptr;
}

std::optional<GatedMlp> FuseGatedProductsPass::match(plan::GemmOp product) {
  Value out = product.getOut();
  auto temporary = out.getDefiningOp<plan::TemporaryOp>();
  plan::ViewOp up;
  for (Operation *user : out.getUsers())
    if (auto view = dyn_cast<plan::ViewOp>(user))
      up = up ? plan::ViewOp() : view;
  auto gate = dyn_cast_or_null<plan::LaunchOp>(up && up->hasOneUse() ? *up->user_begin() : nullptr);
  const KernelSpec *spec = gate ? specOf(gate) : nullptr;
  if (!temporary || !spec || spec->op != "map")
    return std::nullopt; // most products have no gate
  if (gate.getBuffers().size() != 3 || gate.getBuffers()[0] != out ||
      gate.getBuffers()[1] != up.getResult())
    return std::nullopt; // a map of other rows, too
  if (product.getLdo() != product.getN() || uint64_t(up.getOffset()) * 2 != temporary.getBytes() ||
      llvm::range_size(out.getUsers()) != 3)
    return missed(product, "no map alone reads both halves in order");
  Type results = spec->get("out").element;
  if (!product.getAType().isBF16() || !product.getWType().isBF16() ||
      !product.getOutType().isBF16() || !results.isBF16() || product.getBias() ||
      !product.getW().getDefiningOp<plan::WeightOp>())
    return missed(product, "it is none of bf16 rows and weights without a bias");
  if (product.getDomain() != plan::RowDomain::tokens)
    return missed(product, "only rows of logits pass it");
  std::optional<std::string> map =
      cuda::writeScalars(cast<ArrayAttr>(spec->params.get("body")), {"v0", "v1"});
  if (!map)
    return missed(product, "its map has no text");
  GatedMlp mlp = {product, gate, {}};
  mlp.facts.map = *map;
  mlp.facts.n = int(product.getN() / 2);
  mlp.facts.k = int(product.getK());
  mlp.facts.x_stride = product.getLda();
  mlp.facts.out_stride = spec->get("out").rowStride;
  if (!canBeOne({product, gate}))
    return missed(product, orderMatters);
  if (int64_t(mlp.facts.n) * mlp.facts.k < leastGatedProduct)
    return missed(product, "it is too small to gain");
  mk::Description description = cuda::describeGatedProduct(mlp.facts, "gated_product", *chip);
  if (!description.error.empty())
    return missed(product, description.error);
  return mlp;
}

plan::KernelOp FuseGatedProductsPass::kernelFor(const GatedMlp &mlp) {
  const mk::GatedProduct &facts = mlp.facts;
  auto text = [](int64_t number) { return std::to_string(number); };
  std::string stem = "gated_product_" + text(facts.n) + "x" + text(facts.k),
              key = stem + " " + text(facts.x_stride) + " " + text(facts.out_stride) + " " +
                    facts.map;
  plan::KernelOp &kernel = kernels[key];
  if (kernel)
    return kernel;
  std::string symbol = stem;
  for (int use = 1; SymbolTable::lookupSymbolIn(getOperation(), symbol); ++use)
    symbol = stem + "_v" + std::to_string(use);
  const mk::Kernel described = cuda::describeGatedProduct(facts, symbol, *chip).kernels.front();
  SmallVector<int64_t> maps;
  for (const mk::TensorMap &map : described.tensor_maps)
    maps.append({map.operand, map.rows, map.columns, map.row_bytes, map.box_rows});
  const int64_t n = facts.n, k = facts.k;
  OpBuilder b = OpBuilder::atBlockBegin(&getOperation().getBody().front());
  kernel = plan::KernelOp::create(
      b, plan::LaunchOp(mlp.gate).getLoc(), symbol, key, "gated_product", 0u,
      uint32_t(described.threads), uint32_t(described.shared_bytes), described.launch_early,
      /*cooperative=*/false, DictionaryAttr(), b.getStringAttr(described.source),
      b.getDenseI64ArrayAttr(
          {2 * k, 2 * facts.x_stride, 4 * n * k, 0, 2 * n, 2 * facts.out_stride}),
      b.getDenseI64ArrayAttr(maps));
  return kernel;
}

void FuseGatedProductsPass::replace(GatedMlp mlp) {
  plan::KernelOp kernel = kernelFor(mlp);
  const mk::Kernel described =
      cuda::describeGatedProduct(mlp.facts, kernel.getSymName().str(), *chip).kernels.front();
  OpBuilder b(mlp.gate);
  const SmallVector<int32_t> accesses = {int32_t(plan::Access::ro), int32_t(plan::Access::ro),
                                         int32_t(plan::Access::wo)};
  auto written =
      b.getArrayAttr({b.getI64IntegerAttr(2), TypeAttr::get(b.getBF16Type()),
                      b.getI64IntegerAttr(mlp.facts.n), b.getI64IntegerAttr(mlp.facts.out_stride)});
  plan::LaunchOp::create(
      b, mlp.product.getLoc(), kernel.getSymName(),
      ValueRange{mlp.product.getA(), mlp.product.getW(), mlp.gate.getBuffers()[2]}, accesses,
      plan::RowDomain::tokens, uint32_t(described.grid_x), uint32_t(described.rows_per_group),
      mlp.product.getLabel(), uint64_t(2) * (mlp.facts.k + mlp.facts.n), uint64_t(0),
      b.getArrayAttr({written}));
  auto up = mlp.gate.getBuffers()[1].getDefiningOp<plan::ViewOp>();
  mlp.gate.erase();
  up.erase();
  mlp.product.erase();
}

void FuseGatedProductsPass::runOnOperation() {
  plan::TargetOp target = getOperation();
  chip = findCudaChip(target.getChip().value_or(""));
  if (!chip || !cuda::tuningFor(*chip).warpgroups)
    return; // another device or chip
  if (llvm::any_of(target.getOps<plan::FunctionOp>(),
                   [](plan::FunctionOp function) { return function.getMinRows() > 0; }))
    return; // it has been here
  specs.clear();
  kernels.clear();
  for (auto function : llvm::make_early_inc_range(target.getOps<plan::FunctionOp>())) {
    if (function.getEntryName() != "prefill" || function.getMaxRows() || function.isPlaced())
      continue;
    SmallVector<GatedMlp> mlps;
    for (auto product : function.getOps<plan::GemmOp>())
      if (std::optional<GatedMlp> mlp = match(product))
        mlps.push_back(*mlp);
    if (mlps.empty())
      continue;
    OpBuilder b(function);
    b.setInsertionPointAfter(function);
    IRMapping copies;
    auto many = cast<plan::FunctionOp>(b.clone(*function, copies));
    uint32_t least = manyRows;
    for (const GatedMlp &mlp : mlps)
      least = std::max(least, rowsThatPay(mlp.facts.n, *chip));
    many.setSymName((function.getSymName() + "_" + Twine(least)).str());
    many.setEntry(function.getEntryName());
    many.setMinRows(least);
    for (GatedMlp &mlp : mlps) {
      mlp.product = cast<plan::GemmOp>(copies.lookup(mlp.product.getOperation()));
      mlp.gate = cast<plan::LaunchOp>(copies.lookup(mlp.gate.getOperation()));
      replace(mlp);
    }
    numGates += mlps.size();
    ++numFunctions;
  }
}

} // namespace

} // namespace m1c
