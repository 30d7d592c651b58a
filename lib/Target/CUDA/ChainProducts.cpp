// The part of plan-fuse-launches that makes one launch of products that follow one another.
#include "LaunchFusion.h"
#include "artifact_header.h"

using namespace mlir;
namespace mk = m1k::cuda;

namespace m1c {

// One more counts the blocks that have arrived.
static constexpr size_t mostOperands = M1_CUDA_OPERANDS - 1;

bool ProductChains::append(Run &run, const Product &product) {
  const mk::Tuning tuning = cuda::tuningFor(chip);
  mk::Description description = cuda::describeLinear(product.facts, "product", chip);
  if (!description.error.empty() || !mk::refusal_of_chain(product.facts, tuning).empty() ||
      product.facts.leaves_largest ||
      (!run.facts.products.empty() &&
       run.facts.products.front().facts.domain != product.facts.domain))
    return false;
  Run longer = run;
  mk::LinearChain::Product part;
  part.facts = product.facts;
  std::string wiring;
  for (const std::string &role : description.kernels.front().operands) {
    const Operand &operand = product.fusion.operands.find(role)->second;
    const plan::BufferBase base = plan::resolveBuffer(operand.buffer);
    // The operand of the chain that it is, or lies in.
    std::pair<std::string, Operand> *same = nullptr;
    int64_t column = 0;
    for (auto &entry : longer.operands) {
      const plan::BufferBase other = plan::resolveBuffer(entry.second.buffer);
      if (base.base != other.base)
        continue;
      if (base.offset == other.offset) {
        same = &entry;
        column = 0;
        break;
      }
      if (operand.access == plan::Access::ro && entry.second.access == plan::Access::ro)
        continue; // two places that nobody writes
      if (role != "x" || base.offset < other.offset || (base.offset - other.offset) % 2)
        return false;
      same = &entry;
      column = (base.offset - other.offset) / 2;
    }
    if (!same) {
      if (longer.operands.size() == mostOperands)
        return false;
      same = &longer.operands.emplace_back(
          "a" + std::to_string(longer.operands.size()) + "_" + role, operand);
    } else {
      Operand &known = same->second;
      if (known.extent.size() != 2 || operand.extent.size() != 2 ||
          known.extent[1] != operand.extent[1])
        return false;
      known.extent[0] = std::max(known.extent[0], 2 * column + operand.extent[0]);
      // What the chain has written before it reads it, it need not find there.
      if (known.access == plan::Access::ro && operand.access != plan::Access::ro)
        known.access = plan::Access::rw;
    }
    if (role == "x")
      part.x_column = int(column);
    part.operands.emplace_back(role, same->first);
    wiring += " " + same->first + (column ? "+" + std::to_string(column) : "");
  }
  longer.facts.products.push_back(part);
  longer.fusion.key += " [" + product.fusion.key + wiring + "]";
  longer.fusion.parts.push_back(product.launch);
  if (longer.fusion.label.empty())
    longer.fusion.label = product.fusion.label;
  if (!cuda::describeLinearChain(longer.facts, "chain", chip).error.empty())
    return false;
  run = std::move(longer);
  return true;
}

int ProductChains::chain(std::deque<Product> &products) {
  llvm::DenseMap<Operation *, Product *> standing;
  for (Product &product : products)
    standing[product.launch] = &product;
  std::vector<Run> runs(1);
  for (Operation &op : *function.getBody().begin()) {
    if (isa<plan::TemporaryOp, plan::ViewOp, plan::WeightOp, plan::StateOp, plan::PortOp>(op))
      continue; // no command
    Product *product = standing.lookup(&op);
    if (product && append(runs.back(), *product))
      continue;
    if (!runs.back().facts.products.empty())
      runs.emplace_back();
    if (product)
      append(runs.back(), *product);
  }
  // Longer ones were all faster than their products, of 1 to 560 MB of weights (H200,
  // docs/performance.md).
  llvm::erase_if(runs, [](const Run &run) { return run.facts.products.size() < 2; });
  if (runs.empty())
    return 0;
  const int64_t stride = int64_t(4) * int64_t(runs.size());
  Value cleared = clearCounters(pass, function, int(runs.size()), chip);
  for (size_t i = 0; i < runs.size(); ++i) {
    Run &run = runs[i];
    plan::LaunchOp last = run.fusion.parts.back();
    OpBuilder b(last);
    Value arrived = cleared;
    if (i > 0)
      arrived = plan::ViewOp::create(b, last.getLoc(), cleared.getType(), cleared, 4 * int64_t(i));
    run.fusion.operands["arrived"] = {arrived, plan::Access::rw, {4, stride}};
    for (const auto &[name, operand] : run.operands)
      run.fusion.operands[name] = operand;
    run.fusion.origin = "linear_chain";
    run.fusion.name = "linear_chain_" + std::to_string(run.facts.products.size());
    run.fusion.key = "chain of" + run.fusion.key + " of " + std::to_string(runs.size());
    [[maybe_unused]] std::string error = pass.replace(run.fusion, [&](const std::string &symbol) {
      return cuda::describeLinearChain(run.facts, symbol, chip);
    });
    assert(error.empty() && "each product was appended to a chain that has a kernel");
  }
  return int(runs.size());
}

} // namespace m1c
