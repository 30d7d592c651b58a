#include "m1c/M1ToPlan.h"
#include "M1/IR/M1.h"
#include "VerifyFacts.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;

namespace m1c {
namespace {

/// Where a value of the m1 dialect lies.
struct Place {
  Value buffer;
  Type element;
  llvm::SmallVector<int64_t> dims; // as in OperandSpec
  int64_t rowStride = 0;
  RowDomain rows = RowDomain::one;

  uint64_t columns() const { return dims.empty() ? 1 : static_cast<uint64_t>(dims.back()); }
};

/// One kernel.key() → symbol table for all functions of a target.
struct KernelTable {
  llvm::StringMap<std::string> symbolOfKey;
  llvm::StringMap<int> uses; // of a readable name
};

class FunctionConverter : public PlanEmitter {
public:
  FunctionConverter(func::FuncOp source, plan::TargetOp target, KernelSelector &selector,
                    KernelTable &table, uint32_t maxRows = 0, bool shared = false)
      : source(source), target(target), selector(selector), table(table), maxRows(maxRows),
        shared(shared), b(source.getContext()) {}

  /// Of a function that isStep.
  LogicalResult convert() {
    b.setInsertionPointToEnd(&target.getBody().front());
    std::string entry = source.getSymName().str() + (shared ? "_shared" : ""),
                symbol = maxRows ? entry + "_" + std::to_string(maxRows) : entry;
    function = plan::FunctionOp::create(b, source.getLoc(), symbol, IntegerAttr(), IntegerAttr(),
                                        IntegerAttr(), maxRows,
                                        maxRows ? b.getStringAttr(entry) : StringAttr());
    b.setInsertionPointToStart(&function.getBody().emplaceBlock());

    places[source.getArgument(0)] = {
        port(plan::Port::tokens), b.getI32Type(), {}, 0, RowDomain::tokens};
    Operation *terminator = source.getBody().front().getTerminator();
    Value logits = terminator->getOperand(0), next = terminator->getOperand(1);
    results[logits] = plan::Port::logits;
    results[next] = plan::Port::next_tokens;
    for (Operation &current : source.getBody().front().without_terminator())
      if (failed(convert(&current)))
        return failure();
    for (Value result : terminator->getOperands())
      if (!written.contains(result))
        return source.emitOpError("expected results that kernels write");
    // The ports are arrays of the runtime, of these rows and types.
    return failure(failed(checkPort(terminator, "logits", logits, 2, b.getF32Type())) ||
                   failed(checkPort(terminator, "next tokens", next, 1, b.getI32Type())));
  }

  /// With `shared`: convert() failed because the target has no such kernel for an op. Takes back
  /// what it added.
  bool takeBack() {
    if (unsharable)
      function.erase();
    return unsharable;
  }

  // PlanEmitter.
  Value operand(size_t i) const override { return buffers[i]; }
  Value temporary(RowDomain rows, uint64_t bytes) override {
    Value buffer =
        plan::TemporaryOp::create(b, op->getLoc(), bufferType(), rows, bytes, IntegerAttr());
    activations[buffer] = {rows, bytes};
    accesses[buffer] = plan::Access::wo; // of the first launch
    noteExtent(buffer, bytes, rows == RowDomain::one ? 0 : bytes);
    return buffer;
  }
  std::string launch(const KernelChoice &choice, ArrayRef<Value> operands,
                     size_t outputs) override {
    auto [entry, inserted] = table.symbolOfKey.try_emplace(choice.key);
    if (inserted) {
      int use = table.uses[choice.name]++;
      entry->second = use == 0 ? choice.name : choice.name + "_v" + std::to_string(use);
      llvm::SmallVector<int64_t> numbers;
      for (Value buffer : operands) {
        Extent extent = extents.lookup(buffer);
        numbers.append({int64_t(extent.bytes), int64_t(extent.stride)});
      }
      createKernel(choice, entry->second, numbers);
    }
    auto bytesOf = [&](RowDomain rows) {
      uint64_t bytes = 0;
      for (Value buffer : operands)
        if (auto found = activations.find(buffer);
            found != activations.end() && found->second.rows == rows)
          bytes += found->second.bytes;
      return bytes;
    };
    llvm::SmallVector<int32_t> access;
    for (Value buffer : operands) {
      auto found = accesses.find(buffer);
      access.push_back(
          static_cast<int32_t>(found == accesses.end() ? plan::Access::ro : found->second));
    }
    plan::LaunchOp::create(b, op->getLoc(), entry->second, operands, access, choice.domain,
                           choice.gridX, choice.rowsPerGroup, label(), bytesOf(RowDomain::tokens),
                           bytesOf(RowDomain::logit_rows), writtenRows(operands));
    // Scratch of this op is read by its later launches, if at all.
    for (Value buffer : operands.take_back(outputs))
      if (!llvm::is_contained(buffers, buffer))
        accesses[buffer] = plan::Access::rw;
    return entry->second;
  }
  void gemm(const GemmChoice &c) override {
    plan::GemmOp::create(b, op->getLoc(), c.a, c.w, c.aScale, c.wScale, c.bias, c.out, c.domain,
                         c.n, c.k, c.lda, c.ldo, c.aType, c.wType, c.outType, label());
  }
  bool declare(const KernelChoice &choice) override {
    auto [entry, inserted] = table.symbolOfKey.try_emplace(choice.key, choice.name);
    if (inserted) {
      ++table.uses[choice.name];
      createKernel(choice, entry->second, {});
    }
    return inserted;
  }
  InFlightDiagnostic error() override { return op->emitOpError(); }

private:
  /// `extents` are empty when no command launches it.
  void createKernel(const KernelChoice &choice, StringRef symbol, ArrayRef<int64_t> extents) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPoint(firstFunction());
    NamedAttrList facts = (choice.spec ? choice.spec : spec)->toAttribute(b.getContext());
    for (auto [name, value] : choice.shape)
      facts.set(name, b.getI64IntegerAttr(value));
    plan::KernelOp::create(b, op->getLoc(), symbol, choice.key, choice.origin, uint32_t(0),
                           choice.blockSize, choice.sharedBytes, choice.launchEarly, false,
                           facts.getDictionary(b.getContext()),
                           choice.source.empty() ? StringAttr() : b.getStringAttr(choice.source),
                           extents.empty() ? DenseI64ArrayAttr() : b.getDenseI64ArrayAttr(extents),
                           DenseI64ArrayAttr());
  }
  /// The rows of the op's results that a launch on these operands leaves; null: none.
  ArrayAttr writtenRows(ArrayRef<Value> operands) {
    llvm::SmallVector<Attribute> list;
    for (auto [index, buffer] : llvm::enumerate(operands))
      if (auto found = rowsOfResults.find(buffer); found != rowsOfResults.end()) {
        const Place &place = found->second;
        list.push_back(b.getArrayAttr(
            {b.getI64IntegerAttr(static_cast<int64_t>(index)), TypeAttr::get(place.element),
             b.getI64IntegerAttr(place.columns()), b.getI64IntegerAttr(place.rowStride)}));
      }
    return list.empty() ? ArrayAttr() : b.getArrayAttr(list);
  }
  Type bufferType() { return plan::BufferType::get(b.getContext()); }
  Operation *firstFunction() {
    return *target.getBody().front().getOps<plan::FunctionOp>().begin();
  }

  Value port(plan::Port which) {
    Value &value = ports[which];
    if (!value) {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(&function.getBody().front());
      value = plan::PortOp::create(b, source.getLoc(), bufferType(), which);
    }
    return value;
  }

  /// The op, and the name of its layer or tensor if its location has one.
  std::string label() {
    std::string text = cast<m1::KernelOpInterface>(op).getKernelName().str();
    StringRef name = m1::nameOf(op->getLoc());
    return name.empty() ? text : text + " " + name.str();
  }

  LogicalResult checkPort(Operation *terminator, StringRef name, Value result, int64_t rank,
                          Type element) {
    auto type = cast<RankedTensorType>(result.getType());
    if (type.getRank() != rank || type.getElementType() != element)
      return terminator->emitOpError("expected ")
             << name << " of " << rank << " dimensions and type " << element << ", got " << type;
    auto model = m1::getModel(source->getParentOfType<ModuleOp>());
    if (model && rank == 2 && type.getDimSize(1) != static_cast<int64_t>(model.getVocabSize()))
      return terminator->emitOpError("expected ")
             << name << " of vocab_size = " << model.getVocabSize() << " columns, got "
             << type.getDimSize(1);
    if (places[result].rows != RowDomain::logit_rows)
      return terminator->emitOpError("expected ")
             << name << " of the rows that m1.gather_rows takes, got all rows of the step";
    return success();
  }

  /// What the op does with a state.
  plan::Access accessOf(Value state) {
    auto effects = dyn_cast<MemoryEffectOpInterface>(op);
    bool reads = !effects || effects.getEffectOnValue<MemoryEffects::Read>(state).has_value(),
         writes = !effects || effects.getEffectOnValue<MemoryEffects::Write>(state).has_value();
    return !writes ? plan::Access::ro : reads ? plan::Access::rw : plan::Access::wo;
  }

  LogicalResult convert(Operation *current);
  LogicalResult convertSplit(m1::SplitOp split);
  LogicalResult describe(m1::KernelOpInterface kernel, KernelSpec &spec);

  void use(KernelSpec &spec, StringRef role, Value value) {
    const Place &place = places[value];
    spec.operands.push_back({role.str(), place.element, place.dims, place.rowStride});
    buffers.push_back(place.buffer);
    if (!isa<RankedTensorType>(value.getType()))
      accesses[place.buffer] = accessOf(value);
    noteExtentOf(place, value);
  }
  /// What kernels touch of a buffer: of several pieces that begin at one byte the widest.
  void noteExtent(Value buffer, uint64_t bytes, uint64_t stride) {
    Extent &extent = extents[buffer];
    extent = {std::max(extent.bytes, bytes), stride};
  }
  void noteExtentOf(const Place &place, Value value) {
    uint64_t size = place.element.getIntOrFloatBitWidth() / 8;
    if (place.rowStride)
      return noteExtent(place.buffer, place.columns() * size, place.rowStride * size);
    // A weight or the slot of a state; the tokens, an array of the batch, have no size of their
    // own.
    auto state = dyn_cast<m1::StateTypeInterface>(value.getType());
    llvm::SmallVector<int64_t> dims = state ? state.getStorageShape() : place.dims;
    if (!state && dims.empty() && place.rows != RowDomain::one)
      return;
    for (int64_t dim : dims)
      size *= uint64_t(dim);
    noteExtent(place.buffer, size, 0);
  }
  /// Notes what the op moves of an activation: `rows` rows of it.
  void touch(const Place &place, RowDomain rows) {
    activations[place.buffer] = {rows,
                                 place.columns() * (place.element.getIntOrFloatBitWidth() / 8)};
  }

  func::FuncOp source;
  plan::TargetOp target;
  KernelSelector &selector;
  KernelTable &table;
  uint32_t maxRows;
  bool shared, unsharable = false;
  OpBuilder b;
  plan::FunctionOp function;
  DenseMap<Value, Place> places;
  DenseMap<Value, plan::Port> results;
  DenseSet<Value> written;
  std::map<plan::Port, Value> ports;
  // Of the op at hand.
  Operation *op = nullptr;
  const KernelSpec *spec = nullptr;
  llvm::SmallVector<Value> buffers;
  struct RowBytes {
    RowDomain rows;
    uint64_t bytes;
  };
  DenseMap<Value, RowBytes> activations;  // what it moves of buffers with rows
  DenseMap<Value, plan::Access> accesses; // where not ro
  struct Extent {
    uint64_t bytes = 0, stride = 0;
  };
  DenseMap<Value, Extent> extents; // of all but arrays of the batch
  DenseMap<Value, Place> rowsOfResults;
};

LogicalResult FunctionConverter::convertSplit(m1::SplitOp split) {
  Place place = places[split.getX()];
  int64_t column = 0;
  for (Value piece : split.getPieces()) {
    int64_t columns = cast<RankedTensorType>(piece.getType()).getDimSize(1),
            bytes = place.element.getIntOrFloatBitWidth() / 8;
    Place part = place;
    part.dims = {columns};
    if (column > 0)
      part.buffer =
          plan::ViewOp::create(b, split.getLoc(), bufferType(), place.buffer, column * bytes);
    places[piece] = part;
    column += columns;
  }
  return success();
}

/// All but the results: operands in order, then the arrays of the batch, and the attributes.
LogicalResult FunctionConverter::describe(m1::KernelOpInterface kernel, KernelSpec &spec) {
  std::optional<RowDomain> rows = plan::symbolizeRowDomain(kernel.getRowDomain());
  const bool takesAnyRows = rows.has_value(); // the op says itself which rows it has
  bool readsBatch = false;
  for (auto [index, role] : llvm::enumerate(kernel.getOperandNames()))
    for (Value value : kernel.getOperandsOfName(index)) {
      if (isa<m1::BatchType>(value.getType())) {
        readsBatch = true;
        continue;
      }
      use(spec, role, value);
      if (!rows && places[value].rows != RowDomain::one)
        rows = places[value].rows;
      if (!takesAnyRows && places[value].rowStride && places[value].rows != *rows)
        return op->emitOpError("expected operands of the same rows, got some of all rows of the "
                               "step and some of those that m1.gather_rows takes");
    }
  // What has no rows of its own has one for each token of the batch.
  if (!rows && readsBatch)
    rows = RowDomain::tokens;
  if (!rows)
    return op->emitOpError("expected an operand with rows");
  spec.domain = *rows;
  auto useArrays = [&](ArrayRef<StringRef> arrays) {
    for (StringRef array : arrays) {
      std::optional<plan::Port> which = plan::symbolizePort(array);
      assert(which && "the batch's arrays are ports");
      spec.operands.push_back({array.str(), b.getI32Type(), {}, 0});
      buffers.push_back(port(*which));
    }
  };
  useArrays(kernel.getBatchArrays());
  spec.shared = shared && !kernel.getSharedArrays().empty();
  if (spec.shared)
    useArrays(kernel.getSharedArrays());
  // Of operands with rows the launch reads as many as it has, of tables one a row.
  for (auto [index, role] : llvm::enumerate(kernel.getOperandNames()))
    for (Value value : kernel.getOperandsOfName(index))
      if (const Place &place = places[value];
          place.rowStride || llvm::is_contained(kernel.getLookedUp(), role))
        touch(place, *rows);
  NamedAttrList params;
  for (StringRef name : kernel.getParameterNames())
    if (Attribute value = kernel->getAttr(name))
      params.set(name, value);
  if (auto map = dyn_cast<m1::MapInterface>(op)) {
    spec.op = "map";
    params.set("body", map.getCode());
  }
  spec.params = params.getDictionary(op->getContext());
  return success();
}

LogicalResult FunctionConverter::convert(Operation *current) {
  op = current;
  if (auto weight = dyn_cast<m1::GetWeightOp>(op)) {
    auto type = cast<RankedTensorType>(weight.getType());
    Value buffer = plan::WeightOp::create(b, op->getLoc(), bufferType(), weight.getWeightAttr(),
                                          TypeAttr::get(type));
    places[weight] = {buffer, type.getElementType(), llvm::SmallVector<int64_t>(type.getShape()), 0,
                      RowDomain::one};
    return success();
  }
  if (auto state = dyn_cast<m1::GetStateOp>(op)) {
    auto type = cast<m1::StateTypeInterface>(state.getType());
    Value buffer = plan::StateOp::create(b, op->getLoc(), bufferType(), state.getStateAttr(),
                                         TypeAttr::get(state.getType()));
    places[state] = {buffer, type.getElementType(), llvm::SmallVector<int64_t>(type.getShape()), 0,
                     RowDomain::one};
    return success();
  }
  if (auto split = dyn_cast<m1::SplitOp>(op))
    return convertSplit(split);

  buffers.clear();
  activations.clear();
  accesses.clear();
  extents.clear();
  rowsOfResults.clear();
  auto kernel = dyn_cast<m1::KernelOpInterface>(op);
  if (!kernel)
    return op->emitOpError("has no kernel: it has to be expanded before the conversion to a plan");
  KernelSpec spec;
  spec.op = op->getName().stripDialect().str();
  spec.name = kernel.getKernelName().str();
  spec.decode = source.getSymName() == "decode";
  spec.maxRows = maxRows;
  if (failed(describe(kernel, spec)))
    return failure();
  spec.outputs = op->getNumResults();
  for (auto [i, result] : llvm::enumerate(op->getResults())) {
    auto type = cast<RankedTensorType>(result.getType());
    Place place{Value(), type.getElementType(), {}, 1, spec.domain};
    const auto port = results.find(result);
    if (type.getRank() == 2) {
      place.dims = {type.getDimSize(1)};
      place.rowStride = port != results.end()
                            ? type.getDimSize(1) // the batch's arrays have no gaps
                            : selector.rowStride(type.getDimSize(1), place.element);
    }
    if (port != results.end())
      place.buffer = this->port(port->second);
    else
      place.buffer =
          temporary(spec.domain, place.rowStride * (place.element.getIntOrFloatBitWidth() / 8));
    written.insert(result);
    places[result] = place;
    spec.operands.push_back(
        {kernel.getResultNames()[i].str(), place.element, place.dims, place.rowStride});
    buffers.push_back(place.buffer);
    accesses[place.buffer] = plan::Access::wo;
    noteExtentOf(place, result);
    if (place.rowStride)
      touch(place, place.rows);
    if (!place.dims.empty())
      rowsOfResults[place.buffer] = place;
  }
  for (const OperandSpec &operand : spec.operands)
    if (failed(checkSizes(operand, [&] { return op->emitOpError(); })))
      return failure();
  this->spec = &spec;
  unsharable = spec.shared && !selector.canShare(spec);
  return unsharable ? failure() : selector.select(spec, *this);
}

/// Whether the function is a step of a model; a declaration is none.
bool isStep(func::FuncOp function) {
  return function.getBody().hasOneBlock() && function.getNumArguments() == 2 &&
         function.getNumResults() == 2 && isa<m1::BatchType>(function.getArgument(1).getType());
}

/// Whether an op of the function concerns itself with pages that sequences share.
bool concernsSharing(func::FuncOp function) {
  return llvm::any_of(function.getBody().front(), [](Operation &op) {
    auto kernel = dyn_cast<m1::KernelOpInterface>(op);
    return kernel && !kernel.getSharedArrays().empty();
  });
}

/// Notes at each KV cache how many of its positions are seen at most: the operations that see them
/// do not outlive the conversion.
void noteWindows(ModuleOp module) {
  llvm::StringMap<int64_t> windows; // 0: all positions
  module.walk([&](m1::CacheReaderInterface reader) {
    auto cache = reader.getCache().getDefiningOp<m1::GetStateOp>();
    if (!cache)
      return;
    const int64_t window = reader.getWindow();
    auto [known, isNew] = windows.try_emplace(cache.getState(), window);
    if (!isNew)
      known->second = window && known->second ? std::max(window, known->second) : 0;
  });
  for (auto state : module.getOps<m1::StateOp>())
    if (int64_t window = windows.lookup(state.getSymName());
        window > 0 && window <= std::numeric_limits<int32_t>::max())
      state.setWindow(window);
}

} // namespace

FailureOr<plan::TargetOp> convertM1ToPlan(ModuleOp module, Target &device) {
  noteWindows(module);
  module.getContext()->loadDialect<plan::PlanDialect>();
  OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
  auto target = plan::TargetOp::create(b, module.getLoc(), device.name(), StringAttr(), ArrayAttr(),
                                       StringAttr());
  device.describe(target);
  target.getBody().emplaceBlock();
  KernelSelector &selector = device.selector();
  KernelTable table;
  for (auto function : module.getOps<func::FuncOp>()) {
    if (!isStep(function)) {
      target.erase();
      return function.emitOpError(
          "expected a function (tokens, batch) -> (logits, next tokens) of one block");
    }
    const bool decode = function.getSymName() == "decode";
    llvm::SmallVector<uint32_t> bounds = {0};
    if (decode)
      bounds.append(selector.smallBatches(function));
    for (bool shared : {false, true})
      for (uint32_t maxRows : bounds) {
        // A single row has none to share a prefix with.
        if (shared && (maxRows == 1 || !(decode && concernsSharing(function))))
          continue;
        FunctionConverter converter(function, target, selector, table, maxRows, shared);
        if (failed(converter.convert()) && !converter.takeBack()) {
          target.erase();
          return failure();
        }
      }
  }
  return target;
}

} // namespace m1c
