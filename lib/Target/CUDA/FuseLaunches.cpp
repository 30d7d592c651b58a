// plan-fuse-launches: launches of a decode step that one hand-tuned kernel does together.
#include "FuseLaunches.h"
#include "LaunchFusion.h"
#include "M1/IR/Scalars.h"
#include "Support/PassStatistic.h"
#include "mlir/IR/Remarks.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"
#include <deque>

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
  void fuseProducts(plan::FunctionOp function);
  void addProduct(Step linear);
  bool endWith(Product &product, mk::Linear facts, Step map, ArrayRef<StringRef> names);
  bool fuseGate(Product &product, Step linear);
  bool fuseMap(Product &product, Step linear);
  llvm::SmallVector<Product *> usersOf(Value normed, Step norm);
  bool fuseNorm(Step norm);
  bool fuseGather(Step gather);
  bool fuseResidual(Step sum);
  bool fuseLargest(Product &reader, Product *writer);
  /// The product that writes `buffer` for `reader` alone and can still add a residual to it; null:
  /// there is none.
  Product *writerFor(Value buffer, Step reader);
  /// Why there is no kernel of these facts; empty: there is one.
  std::string refusal(const mk::Linear &facts) {
    return cuda::describeLinear(facts, "linear", *chip).error;
  }
  void replaceProduct(Product &product);
  bool missed(Step step, StringRef reason) override {
    remark::missed(step.launch.getLoc(), remark::RemarkOpts::name("launch").category(getArgument()))
        << remark::reason("@{0}: {1}", step.launch.getKernel().str(), reason.str());
    return false;
  }
  std::string replace(const Fusion &fusion,
                      llvm::function_ref<mk::Description(const std::string &symbol)> describe,
                      plan::LaunchOp *made = nullptr) override;
  void createKernel(Location loc, const mk::Kernel &kernel, const std::string &key,
                    const std::string &origin, ArrayRef<Operand> operands) override;
  Value scaleReaders(Step norm, int squares) override;
  /// The launch of `symbol` in the place of the parts.
  plan::LaunchOp launch(const Fusion &fusion, StringRef symbol, ArrayRef<Operand> operands,
                        RowDomain domain, uint32_t gridX, uint32_t rowsPerGroup);
  /// As in plan.kernel; null where one of the operands has none.
  DenseI64ArrayAttr extentsOf(ArrayRef<Operand> operands);
  std::string symbolFor(const std::string &key, const std::string &name) override;

  const CudaChip *chip = nullptr;
  llvm::StringMap<KernelSpec> specs; // of kernels with facts, by symbol
  llvm::StringMap<std::string> symbols;
  llvm::StringSet<> replaced; // kernels that lost a launch
  // Of the function at hand.
  const ScanFuser *scans = nullptr;
  std::deque<Product> products;
  llvm::DenseMap<Value, Product *> writers;
  llvm::DenseMap<Operation *, Product *> readers; // by the product's own launch

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

/// By which a norm multiplies what it adds to the residual.
float factorOf(const KernelSpec &norm) {
  return norm.flag("factor") ? float(norm.real("factor")) : 1.0f;
}

ArrayAttr bodyOf(const KernelSpec &map) { return cast<ArrayAttr>(map.params.get("body")); }

/// Whether it is y + f(x) of rows.
bool isSum(const KernelSpec &map) {
  return map.operands.size() == 3 && map.operands[0].rowStride && map.operands[1].rowStride &&
         (m1::splitSum(bodyOf(map), 0) || m1::splitSum(bodyOf(map), 1));
}

/// The product's sums become `code` of them, if it has a text and they are nothing else yet.
bool takeMap(mk::Linear &facts, ArrayAttr code, ArrayRef<StringRef> names) {
  std::optional<std::string> text = cuda::writeScalars(code, names);
  if (!text || !facts.map.empty())
    return false;
  facts.map = *text;
  return true;
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
  if (description.error.empty() && description.kernels.size() != 1)
    description.error = "the kernels are not one";
  if (!description.error.empty())
    return description.error;
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

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

void FuseLaunchesPass::addProduct(Step linear) {
  std::string error;
  mk::Linear facts = cuda::linearOf(*linear.spec, error);
  if (!error.empty()) {
    missed(linear, error);
    return;
  }
  Product &product = products.emplace_back();
  product.facts = facts;
  product.fusion.key = linear.spec->key() + " rows " + std::to_string(linear.spec->maxRows) +
                       " over " + plan::stringifyRowDomain(linear.spec->domain).str();
  product.fusion.parts = {linear.launch};
  product.fusion.label = linear.launch.getLabel();
  for (const OperandSpec &operand : linear.spec->operands)
    product.fusion.operands[operand.role] = operandOf(linear, operand.role);
  readers[linear.launch] = &product;
  if (fuseGate(product, linear))
    ++numGates;
  else
    numMaps += fuseMap(product, linear);
  writers[product.fusion.operands["out"].buffer] = &product;
}

/// The product's sums go through a map of `names`, and what that writes is what it writes.
bool FuseLaunchesPass::endWith(Product &product, mk::Linear facts, Step map,
                               ArrayRef<StringRef> names) {
  const Step linear = stepOf(product.fusion.parts.front());
  std::string error;
  facts.out_type = cuda::typeOf(*map.spec, "out", error);
  facts.out_stride = map.spec->get("out").rowStride;
  if (!takeMap(facts, bodyOf(*map.spec), names))
    return missed(linear, "its map has no text");
  if (error.empty())
    error = refusal(facts);
  if (!error.empty())
    return missed(linear, error);
  Fusion &fusion = product.fusion;
  auto sums = fusion.operands["out"].buffer.getDefiningOp<plan::TemporaryOp>();
  fusion.saved += 2 * sums.getBytes();
  product.facts = facts;
  fusion.key += " + " + map.spec->key();
  fusion.parts.push_back(map.launch);
  fusion.operands["out"] = operandOf(map, "out");
  return true;
}

bool FuseLaunchesPass::fuseGate(Product &product, Step linear) {
  // out = [gate | up]: read from its start and from its middle.
  Value out = linear.buffer("out");
  auto temporary = out.getDefiningOp<plan::TemporaryOp>();
  plan::ViewOp up;
  for (Operation *user : out.getUsers())
    if (auto view = dyn_cast<plan::ViewOp>(user))
      up = up ? plan::ViewOp() : view;
  Step gate = stepOf(up && up->hasOneUse() ? *up->user_begin() : nullptr);
  if (!temporary || !gate || gate.spec->op != "map")
    return false; // most products have no gate
  SmallVector<StringRef> names;
  for (Value input : plan::LaunchOp(gate.launch).getBuffers().drop_back())
    names.push_back(input == out ? "v0" : input == up.getResult() ? "v1" : "");
  if (names.size() != 2 || names[0] == names[1] || llvm::is_contained(names, ""))
    return false; // a map of other rows, too
  if (uint64_t(up.getOffset()) * 2 != temporary.getBytes() || llvm::range_size(out.getUsers()) != 3)
    return missed(linear, "no map alone reads both halves");
  mk::Linear facts = product.facts;
  facts.n /= 2;
  facts.gated = true;
  return endWith(product, facts, gate, names);
}

/// A map of the product alone, and of at most one vector.
bool FuseLaunchesPass::fuseMap(Product &product, Step linear) {
  Value out = linear.buffer("out");
  auto temporary = out.getDefiningOp<plan::TemporaryOp>();
  Step map = stepOf(onlyReader(out, linear.launch));
  if (!temporary || !map || map.spec->op != "map")
    return false; // most products have none
  mk::Linear facts = product.facts;
  SmallVector<StringRef> names;
  Operand vector;
  for (auto [position, input] :
       llvm::enumerate(plan::LaunchOp(map.launch).getBuffers().drop_back())) {
    const OperandSpec &spec = map.spec->operands[position];
    if (input == out) {
      names.push_back("v0");
    } else if (!spec.rowStride && !vector.buffer && input.getDefiningOp<plan::WeightOp>()) {
      names.push_back("v2");
      vector = operandAt(map, position);
      facts.map_share = facts.n / int(spec.dims.back());
    } else {
      return false; // a sum, say
    }
  }
  if (!endWith(product, facts, map, names))
    return false;
  if (vector.buffer)
    product.fusion.operands["map_vector"] = vector;
  return true;
}

Product *FuseLaunchesPass::writerFor(Value buffer, Step reader) {
  Product *writer = writers.lookup(buffer);
  if (!writer || writer->facts.has_residual || writer->facts.gated ||
      cuda::rowsOf(writer->facts.domain) != reader.launch.getDomain() ||
      !buffer.getDefiningOp<plan::TemporaryOp>() ||
      onlyReader(buffer, writer->fusion.parts.back()) != reader.launch)
    return nullptr;
  return writer;
}

/// The products that read `normed`, if nothing else does; empty: something does.
SmallVector<Product *> FuseLaunchesPass::usersOf(Value normed, Step norm) {
  SmallVector<Product *> users;
  for (Operation *user : normed.getUsers()) {
    if (user == norm.launch)
      continue;
    Product *product = readers.lookup(user);
    if (!product || product->fusion.operands["x"].buffer != normed ||
        llvm::count(user->getOperands(), normed) != 1)
      return {};
    users.push_back(product);
  }
  return users;
}

/// add_rms_norm(residual, x) of a product x, read by products: the first adds the residual to its
/// sums, times the norm's factor, and leaves the parts of the norm, the others apply its scale.
bool FuseLaunchesPass::fuseNorm(Step norm) {
  const KernelSpec &spec = *norm.spec;
  Value x = norm.buffer("x");
  Product *writer = writerFor(x, norm);
  if (!writer)
    return missed(norm, "no streamed product writes what is added, for the norm alone");
  SmallVector<Product *> users = usersOf(norm.buffer("normed"), norm);
  if (users.empty())
    return missed(norm, "not only streamed products read the norm");
  std::string error;
  mk::Linear facts = writer->facts;
  facts.has_residual = facts.leaves_norm = true;
  facts.residual_stride = spec.get("residual").rowStride;
  facts.out_type = cuda::typeOf(spec, "sum", error);
  facts.out_stride = spec.get("sum").rowStride;
  facts.normed_type = cuda::typeOf(spec, "normed", error);
  facts.normed_stride = spec.get("normed").rowStride;
  if (spec.flag("factor") &&
      !takeMap(facts, m1::encodeScale(&getContext(), spec.real("factor")), {"v0"}))
    return missed(norm, "what the norm multiplies is a map already");
  mk::Description description = cuda::describeLinear(facts, "linear", *chip);
  if (error.empty())
    error = description.error;
  if (!error.empty())
    return missed(norm, error);
  const int squares = mk::squares_of(description.kernels.front().grid_x);
  SmallVector<mk::Linear> scaled;
  for (Product *user : users) {
    mk::Linear &its = scaled.emplace_back(user->facts);
    its.squares = squares;
    its.eps = float(spec.real("eps"));
    if (error = refusal(its); !error.empty())
      return missed(norm, error);
  }

  OpBuilder b(norm.launch);
  const int64_t bytes = int64_t(4) * squares;
  Value sums = plan::TemporaryOp::create(b, norm.launch.getLoc(), x.getType(),
                                         norm.launch.getDomain(), uint64_t(bytes), IntegerAttr());
  writer->facts = facts;
  Fusion &fusion = writer->fusion;
  fusion.key += " + " + spec.key();
  fusion.parts.push_back(norm.launch);
  fusion.operands["residual"] = operandOf(norm, "residual");
  fusion.operands["norm_weight"] = operandOf(norm, "weight");
  fusion.operands["out"] = operandOf(norm, "sum");
  fusion.operands["normed"] = operandOf(norm, "normed");
  fusion.operands["squares_out"] = {sums, plan::Access::wo, {bytes, bytes}};
  fusion.saved += 2 * x.getDefiningOp<plan::TemporaryOp>().getBytes();
  for (auto [user, its] : llvm::zip_equal(users, scaled)) {
    user->facts = its;
    user->fusion.key += " scaled by " + std::to_string(squares) + " " + spec.key();
    user->fusion.operands["squares"] = {sums, plan::Access::ro, {bytes, bytes}};
  }
  return true;
}

/// Of a norm whose scale its readers apply themselves.
Value FuseLaunchesPass::scaleReaders(Step norm, int squares) {
  Value normed = norm.buffer("out");
  SmallVector<Product *> users = usersOf(normed, norm);
  if (users.empty()) {
    missed(norm, "not only streamed products read the norm");
    return {};
  }
  SmallVector<mk::Linear> scaled;
  for (Product *user : users) {
    mk::Linear &its = scaled.emplace_back(user->facts);
    const bool fits = !its.squares && cuda::rowsOf(its.domain) == norm.launch.getDomain();
    its.squares = squares;
    its.eps = float(norm.spec->real("eps"));
    std::string error = fits ? refusal(its) : "a product that reads it has a norm, or other rows";
    if (!error.empty()) {
      missed(norm, error);
      return {};
    }
  }
  OpBuilder b(norm.launch);
  const int64_t bytes = int64_t(4) * squares;
  Value sums = plan::TemporaryOp::create(b, norm.launch.getLoc(), normed.getType(),
                                         norm.launch.getDomain(), uint64_t(bytes), IntegerAttr());
  for (auto [user, its] : llvm::zip_equal(users, scaled)) {
    user->facts = its;
    user->fusion.key += " scaled by " + std::to_string(squares) + " " + norm.spec->key();
    user->fusion.operands["squares"] = {sums, plan::Access::ro, {bytes, bytes}};
  }
  return sums;
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

/// residual + f(x) of a product x.
bool FuseLaunchesPass::fuseResidual(Step sum) {
  ValueRange inputs = sum.launch.getBuffers();
  for (size_t i : {1, 0}) {
    const OperandSpec &residual = sum.spec->operands[1 - i];
    Product *writer = writerFor(inputs[i], sum);
    std::optional<ArrayAttr> branch = m1::splitSum(bodyOf(*sum.spec), unsigned(i));
    if (!writer || !branch || inputs[i] == inputs[1 - i] || !residual.element.isF32() ||
        !residual.rowStride)
      continue;
    std::string error;
    mk::Linear facts = writer->facts;
    if (branch->size() > 1 && !takeMap(facts, *branch, {"v0"}))
      return missed(sum, "what it adds is a map already, or has no text");
    facts.has_residual = true;
    facts.residual_stride = residual.rowStride;
    facts.out_type = cuda::typeOf(*sum.spec, "out", error);
    facts.out_stride = sum.spec->get("out").rowStride;
    if (error.empty())
      error = refusal(facts);
    if (!error.empty())
      return missed(sum, error);
    Fusion &fusion = writer->fusion;
    writer->facts = facts;
    fusion.key += " + " + sum.spec->key();
    fusion.parts.push_back(sum.launch);
    fusion.operands["residual"] = operandAt(sum, 1 - i);
    fusion.operands["out"] = operandOf(sum, "out");
    fusion.saved += 2 * inputs[i].getDefiningOp<plan::TemporaryOp>().getBytes();
    return true;
  }
  return missed(sum, "no streamed product writes what is added, for the sum alone");
}

/// What other products read of this one.
Value rowsLeftBy(const Product &product) {
  return product.fusion.operands.find(product.facts.leaves_norm ? "normed" : "out")->second.buffer;
}

/// Rows that become e4m3 in one product: another that writes them leaves their largest values.
bool FuseLaunchesPass::fuseLargest(Product &reader, Product *writer) {
  if (reader.facts.w_type != mk::Type::e4m3 || !writer || writer->facts.n != reader.facts.k ||
      writer->facts.domain != reader.facts.domain)
    return false; // most rows come from elsewhere
  mk::Linear left = writer->facts, read = reader.facts;
  left.leaves_largest = true;
  mk::Description description = cuda::describeLinear(left, "linear", *chip);
  if (!description.error.empty())
    return false;
  read.largest = mk::largest_of(description.kernels.front().grid_x);
  if (!refusal(read).empty())
    return false;
  const int64_t bytes = int64_t(read.largest) * (read.x_type == mk::Type::f32 ? 4 : 2);
  if (!writer->facts.leaves_largest) {
    plan::LaunchOp last = writer->fusion.parts.back();
    OpBuilder b(last);
    Value largest = plan::TemporaryOp::create(b, last.getLoc(), rowsLeftBy(*writer).getType(),
                                              last.getDomain(), uint64_t(bytes), IntegerAttr());
    writer->facts = left;
    writer->fusion.key += " leaving the largest";
    writer->fusion.operands["largest_out"] = {largest, plan::Access::wo, {bytes, bytes}};
  }
  reader.facts = read;
  reader.fusion.key += " with the largest of " + std::to_string(read.largest);
  reader.fusion.operands["largest"] = {
      writer->fusion.operands["largest_out"].buffer, plan::Access::ro, {bytes, bytes}};
  return true;
}

void FuseLaunchesPass::replaceProduct(Product &product) {
  const mk::Linear &facts = product.facts;
  Fusion &fusion = product.fusion;
  product.launch = fusion.parts.back();
  if (!facts.gated && !facts.has_residual && !facts.squares && !facts.largest &&
      !facts.leaves_largest && facts.map.empty())
    return;
  fusion.origin = std::string(facts.squares ? "scaled_" : "") +
                  (facts.gated         ? "gated_"
                   : facts.map.empty() ? ""
                                       : "mapped_") +
                  (facts.has_residual ? "residual_" : "") + "linear" +
                  (facts.leaves_norm ? "_norm" : "");
  fusion.name = fusion.origin + "_" + std::to_string(facts.n);
  [[maybe_unused]] std::string error = replace(
      fusion, [&](const std::string &symbol) { return cuda::describeLinear(facts, symbol, *chip); },
      &product.launch);
  assert(error.empty() && "each fusion has described its facts");
}

void FuseLaunchesPass::fuseProducts(plan::FunctionOp function) {
  products.clear();
  writers.clear();
  readers.clear();
  if (!function.getMaxRows() || function.getMaxRows() > streamedRows)
    return; // many rows: other products
  SmallVector<Step> steps;
  for (auto launch : function.getOps<plan::LaunchOp>())
    if (Step step = stepOf(launch))
      steps.push_back(step);
  for (const Step &step : steps)
    if (step.spec->op == "linear" && step.spec->maxRows && !scans->hasTaken(step.launch))
      addProduct(step);
  for (const Step &step : steps)
    if (step.spec->op == "add_rms_norm")
      numNorms += fuseNorm(step);
    else if (step.spec->op == "map" && isSum(*step.spec))
      numResiduals += fuseResidual(step);
  llvm::DenseMap<Value, Product *> left;
  for (Product &product : products)
    left[rowsLeftBy(product)] = &product;
  for (Product &product : products)
    numLargest += fuseLargest(product, left.lookup(product.fusion.operands["x"].buffer));
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
    ScanFuser scanFuser(*this, function, *chip);
    scans = &scanFuser;
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
      if (!scans->hasTaken(maker.launch))
        numRoundings += fuseRounding(maker);
    fuseProducts(function);
    scanFuser.finish();
    for (Product &product : products)
      replaceProduct(product);
    numAttentions += AttentionFuser(*this, function, *chip).fuse();
    if (chains)
      numChains += ProductChains(*this, function, *chip).chain(products);
    numConvolutions += scanFuser.convolutions;
    numProjections += scanFuser.projections;
    numScanNorms += scanFuser.norms;
    numScanGates += scanFuser.gates;
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
