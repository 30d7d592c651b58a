// plan-fuse-launches: launches of a decode step that one hand-tuned kernel does together.
#include "FuseLaunches.h"
#include "LaunchFusion.h"
#include "M1/IR/Scalars.h"
#include "Support/PassStatistic.h"
#include "mlir/IR/Remarks.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
namespace mk = m1k::cuda;

namespace m1c {

#define GEN_PASS_DECL
#define GEN_PASS_DEF_FUSELAUNCHESPASS
#define GEN_PASS_REGISTRATION
#include "Target/CUDA/CudaPasses.h.inc"

std::string nameOf(StringRef op, const KernelSpec &spec, StringRef out) {
  std::string name = op.str();
  for (int64_t dim : spec.get(out).dims)
    name += "_" + std::to_string(dim);
  return name;
}

const void *memoryOf(Value buffer) {
  Operation *base = plan::resolveBuffer(buffer).base;
  if (auto state = dyn_cast<plan::StateOp>(base))
    return state.getStateAttr().getAsOpaquePointer();
  if (auto port = dyn_cast<plan::PortOp>(base))
    return port.getPortAttr().getAsOpaquePointer();
  return base;
}

bool writes(Operation *command, size_t operand) {
  if (auto launch = dyn_cast<plan::LaunchOp>(command))
    return launch.getAccess(operand) != plan::Access::ro;
  return operand + 1 == command->getNumOperands(); // plan.gemm
}

/// Whether one of two commands writes what the other uses.
static bool areOrdered(Operation *a, Operation *b) {
  for (auto [i, ofA] : llvm::enumerate(a->getOperands()))
    for (auto [j, ofB] : llvm::enumerate(b->getOperands()))
      if ((writes(a, i) || writes(b, j)) && memoryOf(ofA) == memoryOf(ofB))
        return true;
  return false;
}

bool canBeOne(ArrayRef<Operation *> parts) {
  Operation *place = parts.back();
  for (Operation *part : parts.drop_back()) {
    const bool isBefore = part->isBeforeInBlock(place);
    Operation *end = isBefore ? place : part;
    for (Operation *op = (isBefore ? part : place)->getNextNode(); op != end;
         op = op->getNextNode())
      if (isa<plan::LaunchOp, plan::GemmOp>(op) && !llvm::is_contained(parts, op) &&
          areOrdered(part, op))
        return false;
  }
  return true;
}

Operation *onlyReader(Value buffer, plan::LaunchOp writer) {
  Operation *reader = nullptr;
  for (Operation *user : buffer.getUsers()) {
    if (user == writer)
      continue;
    if (reader && reader != user)
      return nullptr;
    reader = user;
  }
  return reader;
}

namespace {

class FuseLaunchesPass : public impl::FuseLaunchesPassBase<FuseLaunchesPass>, LaunchFuser {
public:
  using FuseLaunchesPassBase::FuseLaunchesPassBase;
  void runOnOperation() override;

private:
  bool readKernels();
  const KernelSpec *specOf(plan::LaunchOp launch) const override {
    auto found = specs.find(launch.getKernel());
    return found == specs.end() ? nullptr : &found->second;
  }
  Step stepOf(Operation *op) const override;
  Operand operandAt(const Step &step, size_t position) override;
  bool fuseRounding(Step step);
  bool fuseGather(Step gather);
  bool missed(Step step, StringRef reason) override {
    remark::missed(step.launch.getLoc(), remark::RemarkOpts::name("launch").category(getArgument()))
        << remark::reason("@{0}: {1}", step.launch.getKernel().str(), reason.str());
    return false;
  }
  std::string replace(const Fusion &fusion,
                      llvm::function_ref<mk::Description(const std::string &symbol)> describe,
                      plan::LaunchOp *made = nullptr) override;
  /// Unless it is there.
  void createKernel(Location loc, const mk::Kernel &kernel, const std::string &key,
                    const std::string &origin, ArrayRef<Operand> operands);
  Value scaleReaders(Step norm, int squares) override {
    return products->scaleReaders(norm, squares);
  }
  /// The launch of `symbol` in the place of the parts.
  plan::LaunchOp launch(const Fusion &fusion, StringRef symbol, ArrayRef<Operand> operands,
                        RowDomain domain, uint32_t gridX, uint32_t rowsPerGroup);
  /// As in plan.kernel; null where one of the operands has none.
  DenseI64ArrayAttr extentsOf(ArrayRef<Operand> operands);
  /// A symbol of its own for the kernels of `key`.
  std::string symbolFor(const std::string &key, const std::string &name);
  Value clearCounters(plan::FunctionOp function, int counters) override;
  /// All that the function's launches count with.
  void launchClear(plan::FunctionOp function);

  const CudaChip *chip = nullptr;
  llvm::StringMap<KernelSpec> specs; // of kernels with facts, by symbol
  llvm::StringMap<std::string> symbols;
  llvm::StringSet<> replaced; // kernels that lost a launch
  // Of the function at hand.
  ProductFuser *products = nullptr;
  SmallVector<Operand, 3> cleared;

  m1::PassStatistic numAttentions{*this, "attentions"};
  m1::PassStatistic numConvolutions{*this, "convolutions"};
  m1::PassStatistic numProjections{*this, "projections"};
  m1::PassStatistic numScanNorms{*this, "scan-norms"};
  m1::PassStatistic numScanGates{*this, "scan-gates"};
  m1::PassStatistic numChains{*this, "chains"};
  m1::PassStatistic numGates{*this, "gates"};
  m1::PassStatistic numGathers{*this, "gathers"};
  m1::PassStatistic numLargest{*this, "largest"};
  m1::PassStatistic numMaps{*this, "maps"};
  m1::PassStatistic numNorms{*this, "norms"};
  m1::PassStatistic numResiduals{*this, "residuals"};
  m1::PassStatistic numRoundings{*this, "roundings"};
  m1::PassStatistic numKernels{*this, "kernels-erased"};
};

/// By which a norm multiplies what it adds to the residual.
float factorOf(const KernelSpec &norm) {
  return norm.flag("factor") ? float(norm.real("factor")) : 1.0f;
}

bool FuseLaunchesPass::readKernels() {
  for (auto kernel : getOperation().getOps<plan::KernelOp>()) {
    if (!kernel.getFactsAttr())
      continue;
    auto spec = KernelSpec::fromAttribute(kernel.getFactsAttr(), [&] {
      return kernel.emitOpError() << "@" << kernel.getSymName() << ": ";
    });
    if (failed(spec))
      return false;
    specs[kernel.getSymName()] = std::move(*spec);
  }
  return true;
}

Step FuseLaunchesPass::stepOf(Operation *op) const {
  auto launch = dyn_cast_or_null<plan::LaunchOp>(op);
  const KernelSpec *spec = launch ? specOf(launch) : nullptr;
  if (!spec || spec->operands.size() != launch.getBuffers().size())
    return {};
  return {launch, spec};
}

Operand FuseLaunchesPass::operandAt(const Step &step, size_t position) {
  plan::LaunchOp launch = step.launch;
  Operand operand = {
      launch.getBuffers()[position], static_cast<plan::Access>(launch.getAccesses()[position]), {}};
  auto kernel = getOperation().lookupSymbol<plan::KernelOp>(launch.getKernelAttr());
  if (std::optional<ArrayRef<int64_t>> extents = kernel.getExtents())
    operand.extent.assign(extents->slice(2 * position, 2));
  return operand;
}

std::string FuseLaunchesPass::symbolFor(const std::string &key, const std::string &name) {
  auto [entry, isNew] = symbols.try_emplace(key, name);
  for (int use = 1; isNew && SymbolTable::lookupSymbolIn(getOperation(), entry->second); ++use)
    entry->second = name + "_v" + std::to_string(use);
  return entry->second;
}

std::string
FuseLaunchesPass::replace(const Fusion &fusion,
                          llvm::function_ref<mk::Description(const std::string &symbol)> describe,
                          plan::LaunchOp *made) {
  mk::Description description = describe(symbolFor(fusion.key, fusion.name));
  if (!description.error.empty())
    return description.error;
  assert(description.kernels.size() == 1 && "what is described here is one kernel");
  const mk::Kernel &kernel = description.kernels.front();
  SmallVector<Operand> operands;
  for (const std::string &role : kernel.operands)
    operands.push_back(fusion.operands.find(role)->second);
  createKernel(plan::LaunchOp(fusion.parts.back()).getLoc(), kernel, fusion.key, fusion.origin,
               operands);
  plan::LaunchOp op = launch(fusion, kernel.symbol, operands, cuda::rowsOf(kernel.domain),
                             uint32_t(kernel.grid_x), uint32_t(kernel.rows_per_group));
  if (made)
    *made = op;
  return {};
}

void FuseLaunchesPass::createKernel(Location loc, const mk::Kernel &kernel, const std::string &key,
                                    const std::string &origin, ArrayRef<Operand> operands) {
  if (getOperation().lookupSymbol(kernel.symbol))
    return;
  OpBuilder b = OpBuilder::atBlockBegin(&getOperation().getBody().front());
  plan::KernelOp::create(b, loc, kernel.symbol, key, origin, 0u, uint32_t(kernel.threads),
                         uint32_t(kernel.shared_bytes), kernel.launch_early, kernel.cooperative,
                         DictionaryAttr(), b.getStringAttr(kernel.source), extentsOf(operands),
                         DenseI64ArrayAttr());
}

DenseI64ArrayAttr FuseLaunchesPass::extentsOf(ArrayRef<Operand> operands) {
  SmallVector<int64_t> extents;
  for (const Operand &operand : operands)
    llvm::append_range(extents, operand.extent);
  return extents.size() == 2 * operands.size() ? DenseI64ArrayAttr::get(&getContext(), extents)
                                               : DenseI64ArrayAttr();
}

plan::LaunchOp FuseLaunchesPass::launch(const Fusion &fusion, StringRef symbol,
                                        ArrayRef<Operand> operands, RowDomain domain,
                                        uint32_t gridX, uint32_t rowsPerGroup) {
  SmallVector<Value> buffers;
  SmallVector<int32_t> accesses;
  for (const Operand &operand : operands) {
    buffers.push_back(operand.buffer);
    accesses.push_back(static_cast<int32_t>(operand.access));
  }
  uint64_t tokenBytes = 0, logitRowBytes = 0;
  for (plan::LaunchOp part : fusion.parts) {
    tokenBytes += part.getTokenBytes();
    logitRowBytes += part.getLogitRowBytes();
  }
  (domain == RowDomain::logit_rows ? logitRowBytes : tokenBytes) -= fusion.saved;
  plan::LaunchOp last = fusion.parts.back();
  OpBuilder b(last);
  auto made =
      plan::LaunchOp::create(b, last.getLoc(), symbol, buffers, accesses, domain, gridX,
                             rowsPerGroup, fusion.label, tokenBytes, logitRowBytes, ArrayAttr());
  for (plan::LaunchOp part : fusion.parts) {
    replaced.insert(part.getKernel());
    part.erase();
  }
  return made;
}

/// silu·mul, or a sum and its norm, whose rows are read to become e4m3 alone: they become it there.
bool FuseLaunchesPass::fuseRounding(Step step) {
  const KernelSpec &spec = *step.spec;
  const bool norm = spec.op == "add_rms_norm";
  if (!norm && (spec.op != "map" ||
                spec.params.get("body") != m1::encodeGate(&getContext(), m1::scalars::silu)))
    return false;
  Value made = step.launch.getBuffers().back();
  Step rounding = stepOf(onlyReader(made, step.launch));
  auto temporary = made.getDefiningOp<plan::TemporaryOp>();
  if (!temporary || !rounding || rounding.spec->op != "quantize_rows")
    return false; // other products read it
  const OperandSpec &x = spec.operands.back(), &first = spec.operands[0],
                    &second = spec.operands[1];
  if (first.dims != x.dims || second.dims != x.dims || !first.rowStride || !second.rowStride ||
      step.launch.getDomain() != rounding.launch.getDomain())
    return missed(step, "what becomes e4m3 is not made of whole rows");
  if (!canBeOne({rounding.launch, step.launch}))
    return missed(step, orderMatters);
  std::string error;
  mk::QuantizeRows facts;
  facts.of = norm ? mk::QuantizeRows::Of::norm : mk::QuantizeRows::Of::gate;
  facts.x_type = cuda::typeOf(spec, x.role, error);
  facts.k = int(x.dims.back());
  facts.domain = static_cast<mk::Domain>(step.launch.getDomain());
  facts.first_type = cuda::typeOf(spec, first.role, error);
  facts.second_type = cuda::typeOf(spec, second.role, error);
  facts.first_stride = first.rowStride;
  facts.second_stride = second.rowStride;
  Fusion fusion;
  if (norm) {
    facts.factor = factorOf(spec);
    facts.sum_type = cuda::typeOf(spec, "sum", error);
    facts.sum_stride = spec.get("sum").rowStride;
    facts.eps = float(spec.real("eps"));
    for (const char *role : {"residual", "x", "weight", "sum"})
      fusion.operands[role] = operandOf(step, role);
  } else {
    fusion.operands["a"] = operandAt(step, 0);
    fusion.operands["b"] = operandAt(step, 1);
  }
  fusion.operands["out"] = operandOf(rounding, "codes");
  fusion.operands["scale"] = operandOf(rounding, "scale");
  fusion.origin = norm ? "quantize_norm" : "quantize_gate";
  fusion.name = nameOf(fusion.origin, spec, x.role);
  fusion.key =
      spec.key() + " in e4m3 over " + plan::stringifyRowDomain(step.launch.getDomain()).str();
  // Between the two the sum may be read: the launch stands where the first one does.
  fusion.parts = {rounding.launch, step.launch};
  for (const char *role : {"out", "scale"})
    fusion.operands[role].buffer.getDefiningOp()->moveBefore(step.launch);
  fusion.label = step.launch.getLabel();
  fusion.saved = 2 * temporary.getBytes();
  if (error.empty())
    error = replace(fusion, [&](const std::string &symbol) {
      return cuda::describeQuantizeRows(facts, symbol, *chip);
    });
  return error.empty() || missed(step, error);
}

/// The norm takes the rows that a gather takes for it.
bool FuseLaunchesPass::fuseGather(Step gather) {
  Value out = gather.buffer("out");
  Step norm = stepOf(onlyReader(out, gather.launch));
  if (!norm || norm.spec->op != "rms_norm" || norm.buffer("x") != out)
    return missed(gather, "no RMS norm is its only reader");
  auto kernel = getOperation().lookupSymbol<plan::KernelOp>(norm.launch.getKernelAttr());
  OperandSpec x = gather.spec->get("x");
  // Of temporaries that are alike, the kernel's vectors fit one as well as the other.
  if (kernel.getSource() || !gather.buffer("x").getDefiningOp<plan::TemporaryOp>() ||
      x.rowStride != norm.spec->get("x").rowStride)
    return missed(gather, "the norm does not read rows like it");
  if (!canBeOne({gather.launch, norm.launch}))
    return missed(gather, orderMatters);
  KernelSpec spec = *norm.spec;
  spec.name = "gathered_rms_norm";
  spec.operands.insert(spec.operands.end() - 1, gather.spec->get("logit_rows"));
  Fusion fusion;
  fusion.key = "gathered " + kernel.getKey().str();
  fusion.name = nameOf(spec.name, spec, "out");
  llvm::SmallVector<Operand> operands;
  for (const OperandSpec &operand : spec.operands)
    operands.push_back(operandOf(
        operand.role == "x" || operand.role == "logit_rows" ? gather : norm, operand.role));
  std::string symbol = symbolFor(fusion.key, fusion.name);
  if (!getOperation().lookupSymbol(symbol)) {
    OpBuilder b = OpBuilder::atBlockBegin(&getOperation().getBody().front());
    NamedAttrList facts = spec.toAttribute(&getContext());
    for (const char *shape : {"width", "grid_x"})
      facts.set(shape, kernel.getFactsAttr().get(shape));
    auto gathered = cast<plan::KernelOp>(b.clone(*kernel));
    gathered.setSymName(symbol);
    gathered.setKey(fusion.key);
    gathered.setFactsAttr(facts.getDictionary(&getContext()));
    gathered.setExtentsAttr(extentsOf(operands));
  }
  fusion.parts = {gather.launch, norm.launch};
  fusion.label = norm.launch.getLabel();
  launch(fusion, symbol, operands, norm.launch.getDomain(), norm.launch.getGridX(),
         norm.launch.getRowsPerGroup());
  return true;
}

Value FuseLaunchesPass::clearCounters(plan::FunctionOp function, int counters) {
  const int64_t bytes = int64_t(4) * counters;
  OpBuilder b = OpBuilder::atBlockBegin(&function.getBody().front());
  Value buffer =
      plan::TemporaryOp::create(b, function.getLoc(), plan::BufferType::get(&getContext()),
                                RowDomain::tokens, uint64_t(bytes), IntegerAttr());
  cleared.push_back({buffer, plan::Access::wo, {bytes, bytes}});
  return buffer;
}

void FuseLaunchesPass::launchClear(plan::FunctionOp function) {
  if (cleared.empty())
    return;
  SmallVector<int> counts;
  SmallVector<Value> buffers;
  std::string name = "clear_counters";
  int64_t bytes = 0;
  for (const Operand &operand : cleared) {
    buffers.push_back(operand.buffer);
    bytes += operand.extent[0];
    counts.push_back(int(operand.extent[0] / 4));
    name += "_" + std::to_string(counts.back());
  }
  mk::Description description = cuda::describeClearCounters(counts, symbolFor(name, name), *chip);
  assert(description.error.empty() && "there are counters");
  const mk::Kernel &kernel = description.kernels.front();
  createKernel(function.getLoc(), kernel, name, "clear_counters", cleared);
  // Temporaries begin the function, the last of them first.
  OpBuilder b(&getContext());
  b.setInsertionPointAfterValue(buffers.front());
  const SmallVector<int32_t> accesses(buffers.size(), static_cast<int32_t>(plan::Access::wo));
  plan::LaunchOp::create(b, function.getLoc(), kernel.symbol, buffers, accesses,
                         cuda::rowsOf(kernel.domain), uint32_t(kernel.grid_x),
                         uint32_t(kernel.rows_per_group), "counters", uint64_t(bytes), uint64_t(0),
                         ArrayAttr());
  cleared.clear();
}

void FuseLaunchesPass::runOnOperation() {
  plan::TargetOp target = getOperation();
  chip = findCudaChip(target.getChip().value_or(""));
  if (!chip)
    return; // another device
  specs.clear();
  symbols.clear();
  replaced.clear();
  if (!readKernels())
    return signalPassFailure();
  for (auto function : target.getOps<plan::FunctionOp>()) {
    if (function.isPlaced())
      continue; // for the lifetimes that it has
    SmallVector<Step> gathers, makers;
    ScanFuser scans(*this, function, *chip);
    for (auto launch : function.getOps<plan::LaunchOp>())
      if (Step step = stepOf(launch)) {
        if (step.spec->op == "gather_rows")
          gathers.push_back(step);
        else if (step.spec->op == "map" || step.spec->op == "add_rms_norm")
          makers.push_back(step);
      }
    for (const Step &gather : gathers)
      numGathers += fuseGather(gather);
    for (const Step &maker : makers)
      if (!scans.hasTaken(maker.launch))
        numRoundings += fuseRounding(maker);
    ProductFuser productFuser(*this, function, *chip, scans);
    products = &productFuser;
    scans.finish();
    std::deque<Product> &launched = productFuser.finish();
    numAttentions += AttentionFuser(*this, function, *chip).fuse();
    if (chains)
      numChains += ProductChains(*this, function, *chip).chain(launched);
    launchClear(function);
    numConvolutions += scans.convolutions;
    numProjections += scans.projections;
    numScanNorms += scans.norms;
    numScanGates += scans.gates;
    numGates += productFuser.gates;
    numMaps += productFuser.maps;
    numNorms += productFuser.norms;
    numResiduals += productFuser.residuals;
    numLargest += productFuser.largest;
    for (auto view : llvm::make_early_inc_range(function.getOps<plan::ViewOp>()))
      if (view.use_empty())
        view.erase();
  }
  target.walk([&](plan::LaunchOp launch) { replaced.erase(launch.getKernel()); });
  for (auto kernel : llvm::make_early_inc_range(target.getOps<plan::KernelOp>()))
    if (replaced.contains(kernel.getSymName())) {
      kernel.erase();
      ++numKernels;
    }
}

} // namespace

void registerCudaPasses() {
  registerFuseLaunchesPass();
  registerFuseGatedProductsPass();
}

} // namespace m1c
