// The part of plan-fuse-launches that makes one launch of products that follow one another.
#include "LaunchFusion.h"
#include "artifact_header.h"

using namespace mlir;
namespace mk = m1k::cuda;

namespace m1c {

// One more counts the blocks that have arrived.
static constexpr size_t mostOperands = M1_CUDA_OPERANDS - 1;

static bool isCommand(Operation &op) {
  return !isa<plan::TemporaryOp, plan::ViewOp, plan::WeightOp, plan::StateOp, plan::PortOp>(op);
}

/// `column`: where the operand may begin in one that the run has, in elements of 2 bytes.
std::optional<std::string> ProductChains::take(Run &run, const std::string &role,
                                               const Operand &operand, int64_t *column) {
  const plan::BufferBase base = plan::resolveBuffer(operand.buffer);
  // The operand of the chain that it is, or lies in.
  std::pair<std::string, Operand> *same = nullptr;
  int64_t begin = 0;
  for (auto &entry : run.operands) {
    const plan::BufferBase other = plan::resolveBuffer(entry.second.buffer);
    const bool isReadAlone =
        operand.access == plan::Access::ro && entry.second.access == plan::Access::ro;
    if (base.base != other.base || (isReadAlone && base.offset != other.offset))
      continue; // elsewhere, or another place that nobody writes
    // One operand is all that a chain writes of a buffer; what it then reads may begin within.
    const int64_t behind = base.offset - other.offset;
    if (same || (behind && (!column || behind < 0 || behind % 2)))
      return std::nullopt;
    same = &entry;
    begin = behind / 2;
  }
  if (column)
    *column = begin;
  if (!same) {
    if (run.operands.size() == mostOperands)
      return std::nullopt;
    return run.operands
        .emplace_back("a" + std::to_string(run.operands.size()) + "_" + role, operand)
        .first;
  }
  Operand &known = same->second;
  if (known.extent.size() != 2 || operand.extent.size() != 2 ||
      known.extent[1] != operand.extent[1])
    return std::nullopt;
  known.extent[0] = std::max(known.extent[0], 2 * begin + operand.extent[0]);
  // What the chain has written before it reads it, it need not find there.
  if (known.access == plan::Access::ro && operand.access != plan::Access::ro)
    known.access = plan::Access::rw;
  return same->first;
}

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
    int64_t column = 0;
    const std::optional<std::string> name = take(
        longer, role, product.fusion.operands.find(role)->second, role == "x" ? &column : nullptr);
    if (!name)
      return false;
    if (role == "x")
      part.x_column = int(column);
    part.operands.emplace_back(role, *name);
    wiring += " " + *name + (column ? "+" + std::to_string(column) : "");
  }
  longer.facts.products.push_back(part);
  longer.products.push_back(product.launch);
  longer.fusion.key += " [" + product.fusion.key + wiring + "]";
  longer.fusion.parts.push_back(product.launch);
  if (longer.fusion.label.empty())
    longer.fusion.label = product.fusion.label;
  if (!cuda::describeLinearChain(longer.facts, "chain", chip).error.empty())
    return false;
  run = std::move(longer);
  return true;
}

bool ProductChains::append(Run &run, const Step &convolution) {
  Run longer = run;
  const std::optional<std::string> x = take(longer, "x", pass.operandOf(convolution, "x"));
  const auto writer = llvm::find_if(longer.facts.products, [&](auto &product) {
    return x &&
           llvm::is_contained(product.operands, std::pair<std::string, std::string>("out", *x));
  });
  std::string error;
  plan::LaunchOp launch = convolution.launch;
  if (writer == longer.facts.products.end() || writer->conv.channels ||
      cuda::rowsOf(writer->facts.domain) != launch.getDomain())
    return false;
  // It is done where its product is, before those that follow that.
  const auto at = size_t(writer - longer.facts.products.begin());
  if (!canBeOne({launch, longer.products[at]}))
    return pass.missed(convolution, orderMatters);
  mk::LinearChain::Product &part = *writer;
  part.conv = cuda::convolutionOf(*convolution.spec, error);
  if (!error.empty())
    return false;
  std::string wiring = " of " + *x;
  for (auto [role, theirs] : {std::pair("conv_w", "weight"),
                              {"conv_bias", "bias"},
                              {"slots", "slots"},
                              {"positions", "positions"},
                              {"conv_state", "state"},
                              {"conv_out", "out"}}) {
    if (convolution.spec->find(theirs) < 0)
      continue;
    const std::optional<std::string> name = take(longer, role, pass.operandOf(convolution, theirs));
    if (!name)
      return false;
    part.operands.emplace_back(role, *name);
    wiring += " " + *name;
  }
  longer.fusion.key += " [" + convolution.spec->key() + wiring + "]";
  longer.fusion.parts.push_back(launch);
  if (!cuda::describeLinearChain(longer.facts, "chain", chip).error.empty())
    return false;
  run = std::move(longer);
  return true;
}

/// Of each command those before it that it must stay behind, as positions in `commands`.
static std::vector<SmallVector<size_t>> dependencesOf(ArrayRef<Operation *> commands) {
  struct Uses {
    std::optional<size_t> writer;
    SmallVector<size_t> readers; // since
  };
  llvm::DenseMap<const void *, Uses> uses; // by memory
  std::vector<SmallVector<size_t>> dependences(commands.size());
  for (auto [at, command] : llvm::enumerate(commands)) {
    for (auto [position, buffer] : llvm::enumerate(command->getOperands())) {
      Uses &of = uses[memoryOf(buffer)];
      if (of.writer && *of.writer != at)
        dependences[at].push_back(*of.writer);
      if (!writes(command, position)) {
        of.readers.push_back(at);
        continue;
      }
      for (size_t reader : of.readers)
        if (reader != at)
          dependences[at].push_back(reader);
      of = {at, {}};
    }
  }
  return dependences;
}

/// What defines the buffer stands before `place`.
static void moveDefinition(Value buffer, Operation *place) {
  Operation *definition = buffer.getDefiningOp();
  if (definition->isBeforeInBlock(place))
    return;
  for (Value source : definition->getOperands())
    moveDefinition(source, place);
  definition->moveBefore(place);
}

void ProductChains::gather(llvm::function_ref<bool(Operation *)> isPart) {
  SmallVector<Operation *> commands;
  for (Operation &op : *function.getBody().begin())
    if (isCommand(op))
      commands.push_back(&op);
  if (llvm::none_of(commands, isPart))
    return;
  std::vector<SmallVector<size_t>> dependences = dependencesOf(commands);
  // All others that can, then all parts that can, and so on, each in the order that they had.
  std::vector<bool> stands(commands.size());
  SmallVector<Operation *> order;
  for (bool parts = false; order.size() < commands.size(); parts = !parts)
    for (size_t at = 0; at < commands.size(); ++at)
      if (!stands[at] && isPart(commands[at]) == parts &&
          llvm::all_of(dependences[at], [&](size_t before) { return bool(stands[before]); })) {
        stands[at] = true;
        order.push_back(commands[at]);
      }
  Operation *place = commands.front();
  for (Operation *command : order) {
    if (command != place) {
      for (Value buffer : command->getOperands())
        moveDefinition(buffer, place);
      command->moveBefore(place);
      continue;
    }
    do
      place = place->getNextNode();
    while (place && !isCommand(*place));
    if (!place)
      break; // the last of them
  }
}

int ProductChains::chain(std::deque<Product> &products) {
  llvm::DenseMap<Operation *, Product *> standing;
  for (Product &product : products)
    standing[product.launch] = &product;
  auto convolutionOf = [&](Operation *op) {
    const Step step = pass.stepOf(op);
    return step && step.spec->op == "causal_conv1d" && step.spec->decode ? step : Step();
  };
  gather([&](Operation *op) {
    if (convolutionOf(op))
      return true;
    const Product *product = standing.lookup(op);
    return product && mk::refusal_of_chain(product->facts, cuda::tuningFor(chip)).empty();
  });
  std::vector<Run> runs(1);
  for (Operation &op : *function.getBody().begin()) {
    if (!isCommand(op))
      continue;
    Product *product = standing.lookup(&op);
    if (product && append(runs.back(), *product))
      continue;
    if (const Step convolution = convolutionOf(&op);
        convolution && append(runs.back(), convolution))
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
  Value cleared = pass.clearCounters(function, int(runs.size()));
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
