// Launches of decode functions that one hand-tuned kernel does together: a convolution's step with
// the state update that reads it, and a streamed gate·up product with its silu·mul. Prefill kernels
// keep their own launches: there a launch costs nothing.
#include "HandTuned.h"
#include "M1/IR/Scalars.h"
#include "Plan/Plan.h"
#include "m1c/CudaTarget.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;

namespace m1c {

namespace {

using SpecMap = llvm::StringMap<const KernelSpec *>;

const KernelSpec *specOf(Operation *op, const SpecMap &specs) {
  auto launch = dyn_cast<plan::LaunchOp>(op);
  return launch ? specs.lookup(launch.getKernel()) : nullptr;
}

/// The buffers of a launch by the roles of its spec, whose order its operands have.
Value bufferOf(plan::LaunchOp launch, const KernelSpec &spec, StringRef role) {
  int position = spec.find(role);
  size_t inputs = launch.getInputs().size();
  if (position < 0)
    return {};
  return size_t(position) < inputs ? launch.getInputs()[position]
                                   : launch.getOutputs()[position - inputs];
}

/// The one launch besides `writer` that touches `buffer` (through `buffer` itself), or null.
plan::LaunchOp onlyReader(Value buffer, plan::LaunchOp writer) {
  plan::LaunchOp reader;
  for (Operation *user : buffer.getUsers()) {
    if (user == writer)
      continue;
    auto launch = dyn_cast<plan::LaunchOp>(user);
    if (!launch || (reader && reader != launch))
      return {};
    reader = launch;
  }
  return reader;
}

} // namespace

/// Puts the one kernel that `describe` gives in the place of `reader`; `find` gives the buffer of
/// each operand. False, and nothing changed, when the family does not cover these facts.
bool CudaSelector::replaceLaunches(
    plan::LaunchOp writer, plan::LaunchOp reader, const std::string &key, const KernelSpec &spec,
    llvm::function_ref<m1k::cuda::Description(const std::string &)> describe,
    llvm::function_ref<Value(StringRef)> find) {
  auto target = reader->getParentOfType<plan::TargetOp>();
  bool isNew = stems.find(key) == stems.end();
  m1k::cuda::Description description = describe(stemFor(spec, key));
  if (!description.error.empty() || description.kernels.size() != 1)
    return false;
  const m1k::cuda::Kernel &kernel = description.kernels.front();
  OpBuilder b(reader);
  if (isNew) {
    CudaKernel fused;
    fused.symbol = kernel.symbol;
    fused.source = kernel.source;
    fused.spec = spec;
    collected.push_back(std::move(fused));
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(&target.getBody().front());
    plan::KernelOp::create(b, reader.getLoc(), kernel.symbol, key, spec.op, 0u,
                           uint32_t(kernel.threads), uint32_t(kernel.shared_bytes),
                           kernel.launch_early);
  }
  // The scan, or the product: what moves the bytes.
  StringRef label = spec.op == "gated_linear" ? writer.getLabel() : reader.getLabel();
  SmallVector<Value> inputs, outputs;
  for (const std::string &role : kernel.operands)
    (role == "out" ? outputs : inputs).push_back(find(role));
  // What the writer wrote and the reader read again stays in registers.
  uint64_t between = writer.getOutputs().front().getDefiningOp<plan::TemporaryOp>().getBytes();
  plan::LaunchOp::create(b, reader.getLoc(), kernel.symbol, inputs, outputs,
                         cuda::rowsOf(kernel.domain), uint32_t(kernel.grid_x),
                         uint32_t(kernel.rows_per_group), label,
                         writer.getTokenBytes() + reader.getTokenBytes() - 2 * between, 0);
  writer.erase();
  reader.erase();
  return true;
}

void CudaSelector::fuseLaunches(plan::TargetOp target) {
  // Copies: collected grows meanwhile.
  std::vector<std::pair<std::string, KernelSpec>> kernels;
  for (const CudaKernel &kernel : collected)
    kernels.emplace_back(kernel.symbol, kernel.spec);
  SpecMap specs;
  for (auto &[symbol, spec] : kernels)
    specs[symbol] = &spec;

  Attribute siluMul = m1::encodeGate(target.getContext(), m1::scalars::silu);
  SmallVector<plan::LaunchOp> launches;
  target.walk([&](plan::LaunchOp launch) { launches.push_back(launch); });
  llvm::DenseSet<Operation *> gone;
  llvm::StringSet<> replaced;
  for (plan::LaunchOp writer : launches) {
    if (gone.contains(writer))
      continue;
    const KernelSpec *first = specOf(writer, specs);
    if (!first || !first->decode)
      continue;
    Value out = bufferOf(writer, *first, "out");
    plan::LaunchOp reader;
    std::string writerKernel = writer.getKernel().str(), readerKernel;
    if (first->op == "causal_conv1d") {
      reader = onlyReader(out, writer);
      const KernelSpec *second = reader ? specOf(reader, specs) : nullptr;
      if (!second || second->op != "selective_scan" || bufferOf(reader, *second, "x") != out)
        continue;
      readerKernel = reader.getKernel().str();
      KernelSpec spec = *second;
      spec.op = spec.name = "conv_selective_scan";
      gone.insert(reader);
      if (!replaceLaunches(
              writer, reader, first->key() + " + " + second->key() + " decode", spec,
              [&](const std::string &stem) {
                return cuda::describeUpdateConv(*first, *second, stem);
              },
              [&](StringRef role) {
                if (role == "x")
                  return bufferOf(writer, *first, "x");
                if (role == "conv_w")
                  return bufferOf(writer, *first, "weight");
                if (role == "conv_bias")
                  return bufferOf(writer, *first, "bias");
                if (role == "conv_state")
                  return bufferOf(writer, *first, "state");
                return bufferOf(reader, *second, role);
              }))
        continue;
    } else if (first->op == "linear" && first->maxRows && first->find("bias") < 0) {
      // out = [gate | up]: read as a from its start and as b from its middle.
      plan::ViewOp up;
      for (Operation *user : out.getUsers())
        if (auto view = dyn_cast<plan::ViewOp>(user))
          up = up ? plan::ViewOp() : view;
      if (!up || !up->hasOneUse())
        continue;
      reader = dyn_cast<plan::LaunchOp>(*up->user_begin());
      const KernelSpec *second = reader ? specOf(reader, specs) : nullptr;
      uint64_t bytes =
          first->get("out").dims.back() * (first->get("out").element.getIntOrFloatBitWidth() / 8);
      if (!second || second->op != "map" || second->params.get("body") != siluMul ||
          reader.getInputs()[0] != out || reader.getInputs()[1] != up.getResult() ||
          uint64_t(up.getOffset()) * 2 != bytes || llvm::range_size(out.getUsers()) != 3)
        continue;
      readerKernel = reader.getKernel().str();
      KernelSpec spec = *first;
      spec.op = spec.name = "gated_linear";
      gone.insert(reader);
      if (!replaceLaunches(
              writer, reader,
              first->key() + " + " + second->key() + " rows " + std::to_string(first->maxRows),
              spec,
              [&](const std::string &stem) {
                return cuda::describeGatedLinear(*first, *second, stem);
              },
              [&](StringRef role) {
                return role == "out" ? bufferOf(reader, *second, "out")
                                     : bufferOf(writer, *first, role);
              }))
        continue;
      if (up->use_empty())
        up.erase();
    } else {
      continue;
    }
    replaced.insert(writerKernel);
    replaced.insert(readerKernel);
    if (auto temporary = out.getDefiningOp<plan::TemporaryOp>();
        temporary && temporary->use_empty())
      temporary.erase();
  }
  // Kernels that no launch is left of.
  target.walk([&](plan::LaunchOp launch) { replaced.erase(launch.getKernel()); });
  for (plan::KernelOp kernel : llvm::make_early_inc_range(target.getOps<plan::KernelOp>()))
    if (replaced.contains(kernel.getSymName()))
      kernel.erase();
  llvm::erase_if(collected,
                 [&](const CudaKernel &kernel) { return replaced.contains(kernel.symbol); });
}

} // namespace m1c
