// The part of plan-fuse-launches that gathers launches of a decode step around scans.
#include "LaunchFusion.h"
#include "M1/IR/Scalars.h"

using namespace mlir;
namespace mk = m1k::cuda;

namespace m1c {

/// The one command besides `writer` that uses `buffer` or what is a view of it, none of them in two
/// roles, or null.
static Operation *onlyReaderOfAll(Value buffer, plan::LaunchOp writer) {
  Operation *reader = nullptr;
  SmallVector<Value> buffers = {buffer};
  while (!buffers.empty()) {
    const Value part = buffers.pop_back_val();
    for (Operation *user : part.getUsers()) {
      if (auto view = dyn_cast<plan::ViewOp>(user)) {
        buffers.push_back(view.getResult());
        continue;
      }
      if (user == writer)
        continue;
      if ((reader && reader != user) || llvm::count(user->getOperands(), part) != 1)
        return nullptr;
      reader = user;
    }
  }
  return reader;
}

/// The launch that writes `buffer`, a temporary as a whole.
Step ScanFuser::writerOf(Value buffer) const {
  if (!buffer || !buffer.getDefiningOp<plan::TemporaryOp>())
    return {};
  for (Operation *user : buffer.getUsers())
    if (Step step = pass.stepOf(user))
      for (auto [operand, access] :
           llvm::zip_equal(step.launch.getBuffers(), step.launch.getAccesses()))
        if (operand == buffer && static_cast<plan::Access>(access) == plan::Access::wo)
          return step;
  return {};
}

bool ScanFuser::extend(Update &update, Step step, llvm::function_ref<void(Update &)> take) {
  Update extended = update;
  take(extended);
  std::string error = cuda::describeUpdate(extended.parts(), "update", chip).error;
  if (error.empty() && !extended.canBeOne())
    error = orderMatters;
  if (!error.empty())
    return pass.missed(step, error);
  update = extended;
  return true;
}

bool ScanFuser::takeConvolution(Update &update) {
  Step scan = update.scan;
  const bool delta = scan.spec->op == "gated_delta", all = delta || scan.spec->op == "ssd_scan";
  plan::BufferBase base = plan::resolveBuffer(scan.buffer(delta ? "v" : "x"));
  Step conv = writerOf(isa<plan::TemporaryOp>(base.base) ? base.base->getResult(0) : Value());
  if (!conv || conv.spec->op != "causal_conv1d" || !conv.spec->decode)
    return false; // most scans that have none before them are models without
  if (all && !update.few)
    return pass.missed(conv, "of many sequences what several blocks read is convolved once before");
  if (onlyReaderOfAll(conv.buffer("out"), conv.launch) != scan.launch)
    return pass.missed(conv, "no scan is its only reader");
  const OperandSpec &out = conv.spec->get("out");
  const int64_t size = out.element.getIntOrFloatBitWidth() / 8;
  SmallVector<int64_t> columns;
  for (StringRef role : {"x", "b", "c"}) {
    if (delta)
      role = role == "x" ? "v" : role == "b" ? "q" : "k";
    plan::BufferBase of = plan::resolveBuffer(scan.buffer(role));
    const bool inside = of.base == base.base;
    if (all ? !inside || of.offset % size : inside != (role == "x") || base.offset)
      return pass.missed(conv, all ? "not all inputs of the scan are columns of it"
                                   : "not x alone of the scan is what it leaves");
    columns.push_back(of.offset / size);
  }
  if (llvm::count_if(scan.launch.getBuffers(), [&](Value buffer) {
        return plan::resolveBuffer(buffer).base == base.base;
      }) != (all ? 3 : 1))
    return pass.missed(conv, "another input of the scan is a column of it");
  if (all && conv.spec->integer("repeat") != 1)
    return pass.missed(conv, "it repeats heads");
  return extend(update, conv, [&](Update &to) {
    to.conv = conv;
    to.xColumn = columns[0], to.bColumn = columns[1], to.cColumn = columns[2];
  });
}

/// dt's projection, and a norm before it.
bool ScanFuser::takeProjection(Update &update) {
  Step dt = writerOf(update.scan.buffer("dt"));
  if (!dt || dt.spec->op != "linear")
    return false; // dt is a column of a wider product
  if (onlyReaderOfAll(dt.buffer("out"), dt.launch) != update.scan.launch)
    return pass.missed(dt, "no scan is its only reader");
  if (dt.spec->find("bias") >= 0 || !isa<FloatType>(dt.spec->get("weight").element) ||
      dt.spec->find("scale") >= 0)
    return pass.missed(dt, "a scan projects dt with plain weights and no bias of their own");
  if (!extend(update, dt, [&](Update &to) { to.dt = dt; }))
    return false;
  Step norm = writerOf(dt.buffer("x"));
  if (norm && norm.spec->op == "rms_norm" && norm.spec->integer("groups") == 1 &&
      onlyReaderOfAll(norm.buffer("out"), norm.launch) == dt.launch)
    norms += extend(update, norm, [&](Update &to) { to.dtNorm = norm; });
  return true;
}

bool ScanFuser::takeInputNorm(Update &update, StringRef role, Step Update::*member) {
  Step norm = writerOf(update.scan.buffer(role));
  if (!norm || norm.spec->op != "rms_norm" || norm.spec->integer("groups") != 1 ||
      onlyReaderOfAll(norm.buffer("out"), norm.launch) != update.scan.launch)
    return false; // most have none
  return extend(update, norm, [&](Update &to) { to.*member = norm; });
}

/// silu·mul behind an SSD scan, or a gated norm of whole groups behind that or a gated delta rule.
bool ScanFuser::takeGate(Update &update) {
  const bool delta = update.scan.spec->op == "gated_delta";
  Value out = update.scan.buffer("out");
  Step reader = pass.stepOf(onlyReaderOfAll(out, update.scan.launch));
  if (delta && !update.conv)
    return false; // there is no kernel for the norm alone
  if (!reader || !out.getDefiningOp<plan::TemporaryOp>())
    return false;
  if (!delta && reader.spec->op == "map" &&
      reader.spec->params.get("body") == m1::encodeGate(function.getContext(), m1::scalars::silu) &&
      reader.launch.getBuffers()[1] == out && reader.spec->operands[0].rowStride) // z is rows
    return extend(update, reader, [&](Update &to) { to.gate = reader; });
  if (reader.spec->op != "gated_rms_norm" || reader.buffer("y") != out ||
      (!delta && reader.spec->integer("groups") == 1)) // takeNorm
    return false;
  return extend(update, reader, [&](Update &to) { to.norm = reader; });
}

void ScanFuser::addUpdate(Step scan) {
  Update update;
  update.scan = scan;
  update.few = few;
  const bool mamba1 = scan.spec->op == "selective_scan";
  convolutions += takeConvolution(update);
  if (few && mamba1) {
    projections += takeProjection(update);
    norms += takeInputNorm(update, "b", &Update::bNorm);
    norms += takeInputNorm(update, "c", &Update::cNorm);
  }
  if (few && !mamba1)
    gates += takeGate(update);
  for (const Step &step : update.steps())
    taken.insert(step.launch);
  updates.push_back(update);
}

/// A gated norm of all channels that products alone read: the scan leaves its parts, and they apply
/// its scale.
bool ScanFuser::takeNorm(Update &update) {
  Value out = update.scan.buffer("out");
  Step norm = pass.stepOf(onlyReaderOfAll(out, update.scan.launch));
  if (update.gate || update.norm || update.scan.spec->op != "ssd_scan" || !norm ||
      norm.spec->op != "gated_rms_norm" || norm.buffer("y") != out ||
      norm.spec->integer("groups") != 1)
    return false; // another model
  Update extended = update;
  extended.norm = norm;
  mk::Description description = cuda::describeUpdate(extended.parts(), "update", chip);
  if (description.error.empty() && !extended.canBeOne())
    description.error = orderMatters;
  if (!description.error.empty())
    return pass.missed(norm, description.error);
  extended.squares = pass.scaleReaders(norm, mk::squares_of(description.kernels.front().grid_x));
  if (!extended.squares)
    return false;
  update = extended;
  taken.insert(norm.launch);
  return true;
}

void ScanFuser::replace(const Update &update, Value cleared, int counters) {
  const SmallVector<Step> steps = update.steps();
  cuda::UpdateParts parts = update.parts();
  parts.counters = update.counters ? counters : 0;
  Step scan = update.scan;
  Fusion fusion;
  for (const OperandSpec &operand : scan.spec->operands)
    fusion.operands[operand.role] = pass.operandOf(scan, operand.role);
  auto take = [&](StringRef role, Step from, StringRef theirs) {
    if (from && from.spec->find(theirs) >= 0)
      fusion.operands[role] = pass.operandOf(from, theirs);
  };
  take("x", update.conv, "x");
  take("conv_w", update.conv, "weight");
  take("conv_bias", update.conv, "bias");
  take("conv_state", update.conv, "state");
  take("dt", update.dt, "x");
  take("dt_w", update.dt, "weight");
  take("dt", update.dtNorm, "x");
  take("dt_norm", update.dtNorm, "weight");
  take("b", update.bNorm, "x");
  take("b_norm", update.bNorm, "weight");
  take("c", update.cNorm, "x");
  take("c_norm", update.cNorm, "weight");
  if (update.gate)
    fusion.operands["z"] = pass.operandAt(update.gate, 0);
  take("out", update.gate, "out");
  take("z", update.norm, "z");
  take("norm_w", update.norm, "weight");
  take("out", update.norm, "out");
  if (update.squares) {
    auto temporary = update.squares.getDefiningOp<plan::TemporaryOp>();
    const int64_t size = int64_t(temporary.getBytes());
    fusion.operands["squares_out"] = {update.squares, plan::Access::wo, {size, size}};
  }
  if (update.counters) {
    OpBuilder b(steps.back().launch);
    Value own = cleared;
    if (update.firstCounter)
      own = plan::ViewOp::create(b, scan.launch.getLoc(), cleared.getType(), cleared,
                                 int64_t(4) * update.firstCounter);
    fusion.operands["counters"] = {
        own, plan::Access::rw, {int64_t(4) * update.counters, int64_t(4) * counters}};
  }
  fusion.origin = std::string(update.dt ? "dt_" : "") + (update.conv ? "conv_" : "") +
                  scan.spec->op +
                  (update.gate   ? "_gate"
                   : update.norm ? "_norm"
                                 : "");
  fusion.name = nameOf(fusion.origin, *scan.spec, "out") + "_decode";
  for (Step step : steps) {
    fusion.key += step.spec->key() + " + ";
    fusion.parts.push_back(step.launch);
    Value written = step.launch.getBuffers().back();
    if (auto temporary = written.getDefiningOp<plan::TemporaryOp>();
        temporary && step.launch != steps.back().launch)
      fusion.saved += 2 * temporary.getBytes();
  }
  // Norms of B and of C may be alike.
  fusion.key += "decode" + std::string(update.few ? " few" : "") + (update.bNorm ? " b" : "") +
                (update.cNorm ? " c" : "") + " columns " + std::to_string(parts.xColumn) + " " +
                std::to_string(parts.bColumn) + " " + std::to_string(parts.cColumn) + " counters " +
                std::to_string(parts.counters);
  fusion.label = scan.launch.getLabel(); // it moves the bytes
  [[maybe_unused]] std::string error = pass.replace(
      fusion, [&](const std::string &symbol) { return cuda::describeUpdate(parts, symbol, chip); });
  assert(error.empty() && "each extension has described its parts");
}

ScanFuser::ScanFuser(LaunchFuser &pass, plan::FunctionOp function, const CudaChip &chip)
    : pass(pass), function(function), chip(chip),
      few(function.getMaxRows() && function.getMaxRows() <= streamedRows) {
  for (auto launch : function.getOps<plan::LaunchOp>())
    if (Step step = pass.stepOf(launch);
        step && step.spec->decode &&
        (step.spec->op == "selective_scan" || step.spec->op == "ssd_scan" ||
         step.spec->op == "gated_delta"))
      addUpdate(step);
}

void ScanFuser::finish() {
  int counters = 0;
  for (Update &update : updates) {
    if (few)
      norms += takeNorm(update);
    update.firstCounter = counters;
    counters += update.counters = cuda::countersOf(update.parts());
  }
  Value cleared = counters ? pass.clearCounters(function, counters) : Value();
  for (const Update &update : updates)
    if (update.steps().size() > 1)
      replace(update, cleared, counters);
}

} // namespace m1c
