// plan-fuse-launches: pairs of launches of a decode step that one hand-tuned kernel does together.
#include "FuseLaunches.h"
#include "HandTuned.h"
#include "M1/IR/Scalars.h"
#include "Support/PassStatistic.h"
#include "m1c/CudaTarget.h"
#include "mlir/IR/Remarks.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;

namespace m1c {

#define GEN_PASS_DECL
#define GEN_PASS_DEF_FUSELAUNCHESPASS
#define GEN_PASS_REGISTRATION
#include "Target/CUDA/CudaPasses.h.inc"

namespace {

/// A launch and the spec of its kernel, whose operands are the launch's in order.
struct Step {
  plan::LaunchOp launch;
  const KernelSpec *spec = nullptr;

  Step() = default;
  Step(plan::LaunchOp launch, const KernelSpec *spec) : launch(launch), spec(spec) {}
  explicit operator bool() const { return spec != nullptr; }
  Value buffer(StringRef role) const {
    int position = spec->find(role);
    plan::LaunchOp op = launch;
    return position < 0 ? Value() : op.getBuffers()[position];
  }
};

/// What the one kernel in the place of two is.
struct Fusion {
  std::string op, key, suffix; // the suffix is its symbol's
  llvm::function_ref<m1k::cuda::Description(const std::string &stem)> describe;
  /// The launch of the two that has the operand of this role, and its role there.
  llvm::function_ref<std::pair<const Step *, StringRef>(StringRef role)> find;
  StringRef label;
  uint64_t between; // bytes a row that one wrote and the other read: they stay in registers
};

class FuseLaunchesPass : public impl::FuseLaunchesPassBase<FuseLaunchesPass> {
public:
  void runOnOperation() override;

private:
  bool readKernels();
  Step stepOf(Operation *op) const;
  bool fuseConvolution(Step conv);
  bool fuseGate(Step linear);
  /// Says why a pair stays two launches; always false.
  bool missed(Step step, StringRef reason) {
    remark::missed(step.launch.getLoc(), remark::RemarkOpts::name("launch").category(getArgument()))
        << remark::reason("{0}", reason.str());
    return false;
  }
  bool replace(const Step &writer, const Step &reader, const Fusion &fusion);
  /// A symbol of its own for the kernels of `key`.
  std::string stemFor(const std::string &key, const std::string &name);

  const CudaChip *chip = nullptr;
  llvm::StringMap<KernelSpec> specs; // of kernels with facts, by symbol
  llvm::StringMap<std::string> stems;
  llvm::StringSet<> replaced; // kernels that lost a launch
  llvm::DenseSet<Operation *> gone;

  m1::PassStatistic numConvolutions{*this, "convolutions"};
  m1::PassStatistic numGates{*this, "gates"};
  m1::PassStatistic numKernels{*this, "kernels-erased"};
};

/// The one command besides `writer` that uses `buffer` itself, or null.
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

bool FuseLaunchesPass::readKernels() {
  for (auto kernel : getOperation().getOps<plan::KernelOp>()) {
    if (!kernel.getFactsAttr())
      continue;
    auto spec =
        KernelSpec::fromAttribute(kernel.getFactsAttr(), [&] { return kernel.emitOpError(); });
    if (failed(spec))
      return false;
    specs[kernel.getSymName()] = std::move(*spec);
  }
  return true;
}

Step FuseLaunchesPass::stepOf(Operation *op) const {
  auto launch = dyn_cast_or_null<plan::LaunchOp>(op);
  auto found = launch ? specs.find(launch.getKernel()) : specs.end();
  if (found == specs.end() || found->second.operands.size() != launch.getBuffers().size())
    return {};
  return {launch, &found->second};
}

std::string FuseLaunchesPass::stemFor(const std::string &key, const std::string &name) {
  auto [entry, isNew] = stems.try_emplace(key, name);
  for (int use = 1; isNew && SymbolTable::lookupSymbolIn(getOperation(), entry->second); ++use)
    entry->second = name + "_v" + std::to_string(use);
  return entry->second;
}

bool FuseLaunchesPass::replace(const Step &writer, const Step &reader, const Fusion &fusion) {
  std::string name = fusion.op;
  for (int64_t dim : reader.spec->get("out").dims)
    name += "_" + std::to_string(dim);
  name += fusion.suffix;
  bool isNew = !stems.count(fusion.key);
  m1k::cuda::Description description = fusion.describe(stemFor(fusion.key, name));
  if (description.error.empty() && description.kernels.size() != 1)
    description.error = "the kernels are not one";
  if (!description.error.empty())
    return missed(writer, description.error);
  const m1k::cuda::Kernel &kernel = description.kernels.front();
  plan::LaunchOp first = writer.launch, second = reader.launch;
  OpBuilder b(second);
  SmallVector<Value> buffers;
  SmallVector<int32_t> accesses;
  SmallVector<int64_t> extents;
  for (const std::string &role : kernel.operands) {
    auto [step, itsRole] = fusion.find(role);
    plan::LaunchOp launch = step->launch;
    int position = step->spec->find(itsRole);
    buffers.push_back(launch.getBuffers()[position]);
    accesses.push_back(launch.getAccesses()[position]);
    auto replacedKernel = getOperation().lookupSymbol<plan::KernelOp>(launch.getKernelAttr());
    if (std::optional<ArrayRef<int64_t>> its = replacedKernel.getExtents())
      llvm::append_range(extents, its->slice(2 * position, 2));
  }
  if (isNew) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(&getOperation().getBody().front());
    plan::KernelOp::create(b, second.getLoc(), kernel.symbol, fusion.key, fusion.op, 0u,
                           uint32_t(kernel.threads), uint32_t(kernel.shared_bytes),
                           kernel.launch_early, DictionaryAttr(), b.getStringAttr(kernel.source),
                           extents.size() == 2 * buffers.size() ? b.getDenseI64ArrayAttr(extents)
                                                                : DenseI64ArrayAttr());
  }
  plan::LaunchOp::create(
      b, second.getLoc(), kernel.symbol, buffers, accesses, cuda::rowsOf(kernel.domain),
      uint32_t(kernel.grid_x), uint32_t(kernel.rows_per_group), fusion.label,
      first.getTokenBytes() + second.getTokenBytes() - 2 * fusion.between, 0, ArrayAttr());
  replaced.insert(first.getKernel());
  replaced.insert(second.getKernel());
  for (plan::LaunchOp launch : {first, second}) {
    gone.insert(launch);
    launch.erase();
  }
  return true;
}

bool FuseLaunchesPass::fuseConvolution(Step conv) {
  Value out = conv.buffer("out");
  Step scan = stepOf(onlyReader(out, conv.launch));
  auto temporary = out.getDefiningOp<plan::TemporaryOp>();
  if (!temporary || !scan || scan.spec->op != "selective_scan" || scan.buffer("x") != out)
    return missed(conv, "no selective scan is its only reader");
  Fusion fusion;
  fusion.op = "conv_selective_scan";
  fusion.key = conv.spec->key() + " + " + scan.spec->key() + " decode";
  fusion.suffix = "_decode";
  auto describe = [&](const std::string &stem) {
    return cuda::describeUpdateConv(*conv.spec, *scan.spec, stem, *chip);
  };
  auto find = [&](StringRef role) -> std::pair<const Step *, StringRef> {
    if (role == "x")
      return {&conv, role};
    if (role == "conv_w")
      return {&conv, "weight"};
    if (role.consume_front("conv_"))
      return {&conv, role};
    return {&scan, role};
  };
  fusion.describe = describe;
  fusion.find = find;
  fusion.label = scan.launch.getLabel(); // it moves the bytes
  fusion.between = temporary.getBytes();
  return replace(conv, scan, fusion);
}

bool FuseLaunchesPass::fuseGate(Step linear) {
  // out = [gate | up]: read as a from its start and as b from its middle.
  Value out = linear.buffer("out");
  auto temporary = out.getDefiningOp<plan::TemporaryOp>();
  plan::ViewOp up;
  for (Operation *user : out.getUsers())
    if (auto view = dyn_cast<plan::ViewOp>(user))
      up = up ? plan::ViewOp() : view;
  Step gate = stepOf(up && up->hasOneUse() ? *up->user_begin() : nullptr);
  if (!temporary || !gate || gate.spec->op != "map" ||
      gate.spec->params.get("body") !=
          m1::encodeGate(linear.launch.getContext(), m1::scalars::silu))
    return false; // most products have no gate
  if (gate.launch.getBuffers()[0] != out || gate.launch.getBuffers()[1] != up.getResult() ||
      uint64_t(up.getOffset()) * 2 != temporary.getBytes() || llvm::range_size(out.getUsers()) != 3)
    return missed(linear, "silu·mul does not alone read both halves in order");
  if (linear.spec->find("bias") >= 0)
    return missed(linear, "a gated product has no bias");
  Fusion fusion;
  fusion.op = "gated_linear";
  fusion.key = linear.spec->key() + " + " + gate.spec->key() + " rows " +
               std::to_string(linear.spec->maxRows);
  auto describe = [&](const std::string &stem) {
    return cuda::describeGatedLinear(*linear.spec, *gate.spec, stem, *chip);
  };
  auto find = [&](StringRef role) -> std::pair<const Step *, StringRef> {
    return {role == "out" ? &gate : &linear, role};
  };
  fusion.describe = describe;
  fusion.find = find;
  fusion.label = linear.launch.getLabel();
  fusion.between = temporary.getBytes();
  if (!replace(linear, gate, fusion))
    return false;
  up.erase();
  return true;
}

void FuseLaunchesPass::runOnOperation() {
  plan::TargetOp target = getOperation();
  chip = findCudaChip(target.getChip().value_or(""));
  if (!chip)
    return; // another device
  specs.clear();
  stems.clear();
  replaced.clear();
  gone.clear();
  if (!readKernels())
    return signalPassFailure();
  SmallVector<plan::LaunchOp> launches;
  target.walk([&](plan::LaunchOp launch) { launches.push_back(launch); });
  for (plan::LaunchOp launch : launches) {
    Step step = gone.contains(launch) ? Step() : stepOf(launch);
    if (!step || !step.spec->decode)
      continue;
    if (step.spec->op == "causal_conv1d")
      numConvolutions += fuseConvolution(step);
    else if (step.spec->op == "linear" && step.spec->maxRows)
      numGates += fuseGate(step);
  }
  target.walk([&](plan::LaunchOp launch) { replaced.erase(launch.getKernel()); });
  for (auto kernel : llvm::make_early_inc_range(target.getOps<plan::KernelOp>()))
    if (replaced.contains(kernel.getSymName())) {
      kernel.erase();
      ++numKernels;
    }
}

} // namespace

void registerCudaPasses() { registerFuseLaunchesPass(); }

} // namespace m1c
