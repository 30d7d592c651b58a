// The part of plan-fuse-launches that gives products which stream their weights what stands around
// them: gates, maps, norms, residuals.
#include "LaunchFusion.h"
#include "M1/IR/Scalars.h"

using namespace mlir;
namespace mk = m1k::cuda;

namespace m1c {

namespace {

ArrayAttr bodyOf(const KernelSpec &map) { return cast<ArrayAttr>(map.params.get("body")); }

/// Whether it is y + f(x) of rows.
bool isSum(const KernelSpec &map) {
  return map.operands.size() == 3 && map.operands[0].rowStride && map.operands[1].rowStride &&
         (m1::splitSum(bodyOf(map), 0) || m1::splitSum(bodyOf(map), 1));
}

/// Whether the product can be done where `next` stands.
bool canTake(const Product &product, plan::LaunchOp next) {
  SmallVector<Operation *> parts(product.fusion.parts.begin(), product.fusion.parts.end());
  parts.push_back(next);
  return canBeOne(parts);
}

/// The product's sums become `code` of them, if it has a text and they are nothing else yet.
bool takeMap(mk::Linear &facts, ArrayAttr code, ArrayRef<StringRef> names) {
  std::optional<std::string> text = cuda::writeScalars(code, names);
  if (!text || !facts.map.empty())
    return false;
  facts.map = *text;
  return true;
}

} // namespace

std::string ProductFuser::refusal(const mk::Linear &facts) const {
  return cuda::describeLinear(facts, "linear", chip).error;
}

void ProductFuser::addProduct(Step linear) {
  std::string error;
  mk::Linear facts = cuda::linearOf(*linear.spec, error);
  if (!error.empty()) {
    pass.missed(linear, error);
    return;
  }
  Product &product = products.emplace_back();
  product.facts = facts;
  product.fusion.key = linear.spec->key() + " rows " + std::to_string(linear.spec->maxRows) +
                       " over " + plan::stringifyRowDomain(linear.spec->domain).str();
  product.fusion.parts = {linear.launch};
  product.fusion.label = linear.launch.getLabel();
  for (const OperandSpec &operand : linear.spec->operands)
    product.fusion.operands[operand.role] = pass.operandOf(linear, operand.role);
  readers[linear.launch] = &product;
  if (fuseGate(product, linear))
    ++gates;
  else
    maps += fuseMap(product, linear);
  writers[product.fusion.operands["out"].buffer] = &product;
}

/// The product's sums go through a map of `names`, and what that writes is what it writes.
bool ProductFuser::endWith(Product &product, mk::Linear facts, Step map,
                           ArrayRef<StringRef> names) {
  const Step linear = pass.stepOf(product.fusion.parts.front());
  std::string error;
  facts.out_type = cuda::typeOf(*map.spec, "out", error);
  facts.out_stride = map.spec->get("out").rowStride;
  if (!takeMap(facts, bodyOf(*map.spec), names))
    return pass.missed(linear, "its map has no text");
  if (error.empty())
    error = refusal(facts);
  if (error.empty() && !canTake(product, map.launch))
    error = orderMatters;
  if (!error.empty())
    return pass.missed(linear, error);
  Fusion &fusion = product.fusion;
  auto sums = fusion.operands["out"].buffer.getDefiningOp<plan::TemporaryOp>();
  fusion.saved += 2 * sums.getBytes();
  product.facts = facts;
  fusion.key += " + " + map.spec->key();
  fusion.parts.push_back(map.launch);
  fusion.operands["out"] = pass.operandOf(map, "out");
  return true;
}

bool ProductFuser::fuseGate(Product &product, Step linear) {
  // out = [gate | up]: read from its start and from its middle.
  Value out = linear.buffer("out");
  auto temporary = out.getDefiningOp<plan::TemporaryOp>();
  plan::ViewOp up;
  for (Operation *user : out.getUsers())
    if (auto view = dyn_cast<plan::ViewOp>(user))
      up = up ? plan::ViewOp() : view;
  Step gate = pass.stepOf(up && up->hasOneUse() ? *up->user_begin() : nullptr);
  if (!temporary || !gate || gate.spec->op != "map")
    return false; // most products have no gate
  SmallVector<StringRef> names;
  for (Value input : plan::LaunchOp(gate.launch).getBuffers().drop_back())
    names.push_back(input == out ? "v0" : input == up.getResult() ? "v1" : "");
  if (names.size() != 2 || names[0] == names[1] || llvm::is_contained(names, ""))
    return false; // a map of other rows, too
  if (uint64_t(up.getOffset()) * 2 != temporary.getBytes() || llvm::range_size(out.getUsers()) != 3)
    return pass.missed(linear, "no map alone reads both halves");
  mk::Linear facts = product.facts;
  facts.n /= 2;
  facts.gated = true;
  return endWith(product, facts, gate, names);
}

/// A map of the product alone, and of at most one vector.
bool ProductFuser::fuseMap(Product &product, Step linear) {
  Value out = linear.buffer("out");
  auto temporary = out.getDefiningOp<plan::TemporaryOp>();
  Step map = pass.stepOf(onlyReader(out, linear.launch));
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
      vector = pass.operandAt(map, position);
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

Product *ProductFuser::writerFor(Value buffer, Step reader) {
  Product *writer = writers.lookup(buffer);
  if (!writer || writer->facts.has_residual || writer->facts.gated ||
      cuda::rowsOf(writer->facts.domain) != reader.launch.getDomain() ||
      !buffer.getDefiningOp<plan::TemporaryOp>() ||
      onlyReader(buffer, writer->fusion.parts.back()) != reader.launch)
    return nullptr;
  return writer;
}

/// The products that read `normed`, if nothing else does; empty: something does.
SmallVector<Product *> ProductFuser::usersOf(Value normed, Step norm) {
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

/// `users` apply the scale of a norm, as `scaled` says: to each the sums of squares are given.
Operand ProductFuser::leaveScale(Step norm, ArrayRef<Product *> users,
                                 ArrayRef<mk::Linear> scaled) {
  const int squares = scaled.front().squares;
  const int64_t bytes = int64_t(4) * squares;
  OpBuilder b(norm.launch);
  Value sums = plan::TemporaryOp::create(b, norm.launch.getLoc(),
                                         plan::LaunchOp(norm.launch).getBuffers().front().getType(),
                                         norm.launch.getDomain(), uint64_t(bytes), IntegerAttr());
  const Operand read = {sums, plan::Access::ro, {bytes, bytes}};
  for (auto [user, its] : llvm::zip_equal(users, scaled)) {
    user->facts = its;
    user->fusion.key += " scaled by " + std::to_string(squares) + " " + norm.spec->key();
    user->fusion.operands["squares"] = read;
  }
  return read;
}

/// add_rms_norm(residual, x) of a product x, read by products: the first adds the residual to its
/// sums, times the norm's factor, and leaves the parts of the norm, the others apply its scale.
bool ProductFuser::fuseNorm(Step norm) {
  const KernelSpec &spec = *norm.spec;
  Value x = norm.buffer("x");
  Product *writer = writerFor(x, norm);
  if (!writer)
    return pass.missed(norm, "no streamed product writes what is added, for the norm alone");
  SmallVector<Product *> users = usersOf(norm.buffer("normed"), norm);
  if (users.empty())
    return pass.missed(norm, "not only streamed products read the norm");
  std::string error;
  mk::Linear facts = writer->facts;
  facts.has_residual = facts.leaves_norm = true;
  facts.residual_stride = spec.get("residual").rowStride;
  facts.out_type = cuda::typeOf(spec, "sum", error);
  facts.out_stride = spec.get("sum").rowStride;
  facts.normed_type = cuda::typeOf(spec, "normed", error);
  facts.normed_stride = spec.get("normed").rowStride;
  if (spec.flag("factor") &&
      !takeMap(facts, m1::encodeScale(norm.launch->getContext(), spec.real("factor")), {"v0"}))
    return pass.missed(norm, "what the norm multiplies is a map already");
  mk::Description description = cuda::describeLinear(facts, "linear", chip);
  if (error.empty())
    error = description.error;
  if (error.empty() && !canTake(*writer, norm.launch))
    error = orderMatters;
  if (!error.empty())
    return pass.missed(norm, error);
  const int squares = mk::squares_of(description.kernels.front().grid_x);
  SmallVector<mk::Linear> scaled;
  for (Product *user : users) {
    mk::Linear &its = scaled.emplace_back(user->facts);
    its.squares = squares;
    its.eps = float(spec.real("eps"));
    if (error = refusal(its); !error.empty())
      return pass.missed(norm, error);
  }

  Operand sums = leaveScale(norm, users, scaled);
  writer->facts = facts;
  Fusion &fusion = writer->fusion;
  fusion.key += " + " + spec.key();
  fusion.parts.push_back(norm.launch);
  fusion.operands["residual"] = pass.operandOf(norm, "residual");
  fusion.operands["norm_weight"] = pass.operandOf(norm, "weight");
  fusion.operands["out"] = pass.operandOf(norm, "sum");
  fusion.operands["normed"] = pass.operandOf(norm, "normed");
  sums.access = plan::Access::wo;
  fusion.operands["squares_out"] = sums;
  fusion.saved += 2 * x.getDefiningOp<plan::TemporaryOp>().getBytes();
  return true;
}

Value ProductFuser::scaleReaders(Step norm, int squares) {
  Value normed = norm.buffer("out");
  SmallVector<Product *> users = usersOf(normed, norm);
  if (users.empty()) {
    pass.missed(norm, "not only streamed products read the norm");
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
      pass.missed(norm, error);
      return {};
    }
  }
  return leaveScale(norm, users, scaled).buffer;
}

/// residual + f(x) of a product x.
bool ProductFuser::fuseResidual(Step sum) {
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
      return pass.missed(sum, "what it adds is a map already, or has no text");
    facts.has_residual = true;
    facts.residual_stride = residual.rowStride;
    facts.out_type = cuda::typeOf(*sum.spec, "out", error);
    facts.out_stride = sum.spec->get("out").rowStride;
    if (error.empty())
      error = refusal(facts);
    if (error.empty() && !canTake(*writer, sum.launch))
      error = orderMatters;
    if (!error.empty())
      return pass.missed(sum, error);
    Fusion &fusion = writer->fusion;
    writer->facts = facts;
    fusion.key += " + " + sum.spec->key();
    fusion.parts.push_back(sum.launch);
    fusion.operands["residual"] = pass.operandAt(sum, 1 - i);
    fusion.operands["out"] = pass.operandOf(sum, "out");
    fusion.saved += 2 * inputs[i].getDefiningOp<plan::TemporaryOp>().getBytes();
    return true;
  }
  return pass.missed(sum, "no streamed product writes what is added, for the sum alone");
}

/// What other products read of this one.
static Value rowsLeftBy(const Product &product) {
  return product.fusion.operands.find(product.facts.leaves_norm ? "normed" : "out")->second.buffer;
}

/// Rows that become e4m3 in one product: another that writes them leaves their largest values.
bool ProductFuser::fuseLargest(Product &reader, Product *writer) {
  if (reader.facts.w_type != mk::Type::e4m3 || !writer || writer->facts.n != reader.facts.k ||
      writer->facts.domain != reader.facts.domain)
    return false; // most rows come from elsewhere
  mk::Linear left = writer->facts, read = reader.facts;
  left.leaves_largest = true;
  mk::Description description = cuda::describeLinear(left, "linear", chip);
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

void ProductFuser::launch(Product &product) {
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
  [[maybe_unused]] std::string error = pass.replace(
      fusion, [&](const std::string &symbol) { return cuda::describeLinear(facts, symbol, chip); },
      &product.launch);
  assert(error.empty() && "each fusion has described its facts");
}

ProductFuser::ProductFuser(LaunchFuser &pass, plan::FunctionOp function, const CudaChip &chip,
                           const ScanFuser &scans)
    : pass(pass), chip(chip) {
  if (!function.getMaxRows() || function.getMaxRows() > streamedRows)
    return; // many rows: other products
  SmallVector<Step> steps;
  for (auto launch : function.getOps<plan::LaunchOp>())
    if (Step step = pass.stepOf(launch))
      steps.push_back(step);
  for (const Step &step : steps)
    if (step.spec->op == "linear" && step.spec->maxRows && !scans.hasTaken(step.launch))
      addProduct(step);
  for (const Step &step : steps)
    if (step.spec->op == "add_rms_norm")
      norms += fuseNorm(step);
    else if (step.spec->op == "map" && isSum(*step.spec))
      residuals += fuseResidual(step);
  llvm::DenseMap<Value, Product *> left;
  for (Product &product : products)
    left[rowsLeftBy(product)] = &product;
  for (Product &product : products)
    largest += fuseLargest(product, left.lookup(product.fusion.operands["x"].buffer));
}

std::deque<Product> &ProductFuser::finish() {
  for (Product &product : products)
    launch(product);
  return products;
}

} // namespace m1c
