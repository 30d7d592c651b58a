#include "m1c/M1ToPlan.h"
#include "M1/IR/M1.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace m1c {
namespace {

/// Where a value of the m1 dialect lies.
struct Place {
  Value buffer;
  Type element;
  llvm::SmallVector<int64_t> dims; // as in OperandSpec
  int64_t rowStride = 0;
  Rows rows = Rows::one;

  uint64_t columns() const { return dims.empty() ? 1 : static_cast<uint64_t>(dims.back()); }
};

plan::Rows toPlan(Rows rows) { return static_cast<plan::Rows>(rows); }

/// One kernel.key() → symbol table for all functions of a target.
struct KernelTable {
  llvm::StringMap<std::string> symbolOfKey;
  llvm::StringMap<int> uses; // of a readable name
};

class FunctionConverter : public PlanEmitter {
public:
  FunctionConverter(func::FuncOp source, plan::TargetOp target, KernelSelector &selector,
                    KernelTable &table, uint32_t maxRows = 0)
      : source(source), target(target), selector(selector), table(table), maxRows(maxRows),
        b(source.getContext()) {}

  LogicalResult convert() {
    if (source.getNumArguments() != 2 || !isa<m1::BatchType>(source.getArgument(1).getType()) ||
        source.getNumResults() != 2 || !source.getBody().hasOneBlock())
      return source.emitOpError(
          "expected a function (tokens, batch) -> (logits, next tokens) of one block");
    b.setInsertionPointToEnd(&target.getBody().front());
    std::string symbol = source.getSymName().str();
    if (maxRows)
      symbol += "_" + std::to_string(maxRows);
    function = plan::FunctionOp::create(b, source.getLoc(), symbol, IntegerAttr(), IntegerAttr(),
                                        IntegerAttr(), maxRows,
                                        maxRows ? source.getSymNameAttr() : StringAttr());
    b.setInsertionPointToStart(&function.getBody().emplaceBlock());

    places[source.getArgument(0)] = {port(plan::Port::tokens), b.getI32Type(), {}, 0, Rows::tokens};
    Operation *terminator = source.getBody().front().getTerminator();
    results[terminator->getOperand(0)] = plan::Port::logits;
    results[terminator->getOperand(1)] = plan::Port::next_tokens;
    for (Operation &current : source.getBody().front().without_terminator())
      if (failed(convert(&current)))
        return failure();
    for (Value result : terminator->getOperands())
      if (!written.contains(result))
        return source.emitOpError("expected results that kernels write");
    return success();
  }

  // PlanEmitter.
  Value operand(size_t i) const override { return buffers[i]; }
  Value temporary(Rows rows, uint64_t bytes) override {
    Value buffer = plan::TemporaryOp::create(b, op->getLoc(), bufferType(), toPlan(rows), bytes,
                                             IntegerAttr());
    activations[buffer] = {rows, bytes};
    return buffer;
  }
  std::string launch(const KernelChoice &choice, ArrayRef<Value> operands, size_t outputs,
                     bool *isNew) override {
    auto [entry, inserted] = table.symbolOfKey.try_emplace(choice.key);
    if (inserted) {
      int use = table.uses[choice.name]++;
      entry->second = use == 0 ? choice.name : choice.name + "_v" + std::to_string(use);
      createKernel(choice, entry->second);
    }
    if (isNew)
      *isNew = inserted;
    auto bytesOf = [&](Rows rows) {
      uint64_t bytes = 0;
      for (Value buffer : operands)
        if (auto found = activations.find(buffer);
            found != activations.end() && found->second.rows == rows)
          bytes += found->second.bytes;
      return bytes;
    };
    plan::LaunchOp::create(b, op->getLoc(), entry->second, operands.drop_back(outputs),
                           operands.take_back(outputs), toPlan(choice.domain), choice.gridX,
                           choice.rowsPerGroup, label(), bytesOf(Rows::tokens),
                           bytesOf(Rows::logitRows));
    return entry->second;
  }
  void gemm(const GemmChoice &c) override {
    plan::GemmOp::create(b, op->getLoc(), c.a, c.w, c.bias, c.out, toPlan(c.domain), c.n, c.k,
                         c.lda, c.ldo, c.aType, c.wType, c.outType, label());
  }
  bool declare(const KernelChoice &choice) override {
    auto [entry, inserted] = table.symbolOfKey.try_emplace(choice.key, choice.name);
    if (inserted) {
      ++table.uses[choice.name];
      createKernel(choice, entry->second);
    }
    return inserted;
  }
  InFlightDiagnostic error() override { return op->emitOpError(); }

private:
  void createKernel(const KernelChoice &choice, StringRef symbol) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPoint(firstFunction());
    plan::KernelOp::create(b, op->getLoc(), symbol, choice.key, choice.origin, uint32_t(0),
                           choice.blockSize, choice.sharedBytes, choice.launchEarly);
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

  /// The op, and the weight or state that tells its layer.
  std::string label() {
    std::string text = op->getName().stripDialect().str();
    for (Value value : op->getOperands())
      if (Operation *definition = value.getDefiningOp()) {
        if (auto weight = dyn_cast<m1::GetWeightOp>(definition))
          return text + " " + weight.getWeight().str();
        if (auto state = dyn_cast<m1::GetStateOp>(definition))
          return text + " " + state.getState().str();
      }
    return text;
  }

  LogicalResult convert(Operation *current);
  LogicalResult convertSplit(m1::SplitOp split);
  void describe(KernelSpec &spec);

  // Parts of a spec.
  void use(KernelSpec &spec, StringRef role, Value value) {
    if (!value)
      return;
    const Place &place = places[value];
    spec.operands.push_back({role.str(), place.element, place.dims, place.rowStride});
    buffers.push_back(place.buffer);
    touch(place, place.rows);
    if (place.rowStride && !rows)
      rows = place.rows;
  }
  /// Notes what the op moves of an activation: `of` rows of it.
  void touch(const Place &place, Rows of) {
    if (place.rowStride)
      activations[place.buffer] = {of,
                                   place.columns() * (place.element.getIntOrFloatBitWidth() / 8)};
  }
  void use(KernelSpec &spec, std::initializer_list<plan::Port> batchArrays) {
    for (plan::Port array : batchArrays) {
      spec.operands.push_back({plan::stringifyPort(array).str(), b.getI32Type(), {}, 0});
      buffers.push_back(port(array));
    }
  }
  void param(StringRef name, Attribute value) { params.set(name, value); }
  void param(StringRef name, int64_t value) { params.set(name, b.getI64IntegerAttr(value)); }

  func::FuncOp source;
  plan::TargetOp target;
  KernelSelector &selector;
  KernelTable &table;
  uint32_t maxRows;
  OpBuilder b;
  plan::FunctionOp function;
  DenseMap<Value, Place> places;
  DenseMap<Value, plan::Port> results;
  DenseSet<Value> written;
  std::map<plan::Port, Value> ports;
  // Of the op at hand.
  Operation *op = nullptr;
  llvm::SmallVector<Value> buffers;
  struct RowBytes {
    Rows rows;
    uint64_t bytes;
  };
  DenseMap<Value, RowBytes> activations; // what it moves of buffers with rows
  NamedAttrList params;
  std::optional<Rows> rows;
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

/// Operands and parameters in the order that KernelSpec documents.
void FunctionConverter::describe(KernelSpec &spec) {
  using P = plan::Port;
  llvm::TypeSwitch<Operation *>(op)
      .Case([&](m1::EmbeddingOp o) {
        use(spec, "tokens", o.getTokens());
        use(spec, "table", o.getTable());
        rows = Rows::tokens;
        const Place &table = places[o.getTable()];
        activations[table.buffer] = {*rows,
                                     table.columns() * (table.element.getIntOrFloatBitWidth() / 8)};
      })
      .Case([&](m1::LinearOp o) {
        use(spec, "x", o.getX());
        use(spec, "w", o.getWeight());
        use(spec, "bias", o.getBias());
      })
      .Case([&](m1::RmsNormOp o) {
        use(spec, "x", o.getX());
        use(spec, "w", o.getWeight());
        param("eps", o.getEpsAttr());
      })
      .Case([&](m1::AddOp o) {
        use(spec, "a", o.getResidual());
        use(spec, "b", o.getX());
      })
      .Case([&](m1::AddRmsNormOp o) {
        use(spec, "residual", o.getResidual());
        use(spec, "x", o.getX());
        use(spec, "w", o.getWeight());
        param("eps", o.getEpsAttr());
      })
      .Case([&](m1::RepeatHeadsOp o) {
        use(spec, "x", o.getX());
        param("head_size", o.getHeadSizeAttr());
        param("repeat", o.getRepeatAttr());
      })
      .Case([&](m1::CausalConv1dOp o) {
        use(spec, "x", o.getX());
        use(spec, "w", o.getWeight());
        use(spec, "bias", o.getBias());
        use(spec, "state", o.getState());
        use(spec, {P::sequence_starts, P::slots, P::positions});
        param("activation", b.getStringAttr(m1::stringifyActivation(o.getActivation())));
        param("repeat", static_cast<int64_t>(o.getRepeat()));
        param("head_size", static_cast<int64_t>(o.getHeadSize()));
      })
      .Case([&](m1::SoftplusOp o) {
        use(spec, "x", o.getX());
        use(spec, "bias", o.getBias());
      })
      .Case([&](m1::SiluOp o) { use(spec, "a", o.getA()); })
      .Case<m1::MulOp, m1::SiluMulOp>([&](auto o) {
        use(spec, "a", o.getA());
        use(spec, "b", o.getB());
      })
      .Case<m1::SelectiveScanOp, m1::SsdScanOp>([&](auto o) {
        use(spec, "x", o.getX());
        use(spec, "dt", o.getDt());
        use(spec, "a", o.getA());
        use(spec, "b", o.getB());
        use(spec, "c", o.getC());
        use(spec, "d", o.getD());
        if constexpr (std::is_same_v<decltype(o), m1::SelectiveScanOp>)
          use(spec, "z", o.getZ());
        use(spec, "dt_bias", o.getDtBias());
        use(spec, "state", o.getState());
        use(spec, {P::sequence_starts, P::slots, P::positions});
        param("delta_softplus", o.getDeltaSoftplus());
      })
      .Case([&](m1::SkipOp o) {
        use(spec, "y", o.getY());
        use(spec, "x", o.getX());
        use(spec, "d", o.getD());
      })
      .Case([&](m1::GatedRmsNormOp o) {
        use(spec, "y", o.getY());
        use(spec, "z", o.getZ());
        use(spec, "w", o.getWeight());
        param("groups", o.getGroupsAttr());
        param("eps", o.getEpsAttr());
      })
      .Case([&](m1::RotaryTableOp o) {
        use(spec, {P::positions});
        use(spec, "hi", o.getHi());
        use(spec, "lo", o.getLo());
        param("head_dim", cast<RankedTensorType>(o.getType()).getDimSize(1));
        rows = Rows::tokens;
      })
      .Case([&](m1::RotaryEmbeddingOp o) {
        use(spec, "x", o.getX());
        use(spec, "table", o.getTable());
        param("head_dim", o.getHeadDimAttr());
      })
      .Case([&](m1::KVWriteOp o) {
        use(spec, "k", o.getK());
        use(spec, "v", o.getV());
        use(spec, "cache", o.getCache());
        use(spec, {P::positions, P::token_sequence, P::block_tables});
        param("head_dim", places[o.getCache()].dims[2]);
      })
      .Case([&](m1::RotaryKVWriteOp o) {
        use(spec, "q", o.getQ());
        use(spec, "k", o.getK());
        use(spec, "v", o.getV());
        use(spec, "table", o.getTable());
        use(spec, "cache", o.getCache());
        use(spec, {P::positions, P::token_sequence, P::block_tables});
        param("head_dim", places[o.getCache()].dims[2]);
      })
      .Case([&](m1::AttentionOp o) {
        use(spec, "q", o.getQ());
        use(spec, "cache", o.getCache());
        use(spec, {P::sequence_starts, P::context_lengths, P::block_tables});
        param("scale", o.getScaleAttr());
        param("head_dim", places[o.getCache()].dims[2]);
      })
      .Case([&](m1::GatherRowsOp o) {
        use(spec, "x", o.getX());
        use(spec, {P::logit_rows});
        rows = Rows::logitRows;
        touch(places[o.getX()], *rows); // no other rows of it
      })
      .Case([&](m1::SampleOp o) { use(spec, "logits", o.getLogits()); });
}

LogicalResult FunctionConverter::convert(Operation *current) {
  op = current;
  if (auto weight = dyn_cast<m1::GetWeightOp>(op)) {
    auto type = cast<RankedTensorType>(weight.getType());
    Value buffer = plan::WeightOp::create(b, op->getLoc(), bufferType(), weight.getWeightAttr());
    places[weight] = {buffer, type.getElementType(), llvm::SmallVector<int64_t>(type.getShape()), 0,
                      Rows::one};
    return success();
  }
  if (auto state = dyn_cast<m1::GetStateOp>(op)) {
    Value buffer = plan::StateOp::create(b, op->getLoc(), bufferType(), state.getStateAttr());
    places[state] = {buffer, m1::getStateElementType(state.getType()),
                     llvm::SmallVector<int64_t>(m1::getStateShape(state.getType())), 0, Rows::one};
    return success();
  }
  if (auto split = dyn_cast<m1::SplitOp>(op))
    return convertSplit(split);

  buffers.clear();
  activations.clear();
  params.clear();
  rows.reset();
  KernelSpec spec;
  spec.op = op->getName().stripDialect().str();
  spec.decode = source.getSymName() == "decode";
  spec.maxRows = maxRows;
  describe(spec);
  if (spec.operands.empty())
    return op->emitOpError("has no kernel: it has to be expanded before the conversion to a plan");
  if (!rows)
    return op->emitOpError("expected an operand with rows");
  spec.params = params.getDictionary(op->getContext());
  spec.domain = *rows;
  spec.outputs = op->getNumResults();
  for (auto [i, result] : llvm::enumerate(op->getResults())) {
    auto type = cast<RankedTensorType>(result.getType());
    Place place{Value(), type.getElementType(), {}, 1, *rows};
    if (type.getRank() == 2) {
      place.dims = {type.getDimSize(1)};
      place.rowStride = type.getDimSize(1);
    }
    if (auto port = results.find(result); port != results.end())
      place.buffer = this->port(port->second);
    else
      place.buffer =
          temporary(*rows, place.rowStride * (place.element.getIntOrFloatBitWidth() / 8));
    written.insert(result);
    places[result] = place;
    StringRef role = op->getNumResults() == 2 && i == 0 ? "sum" : "out";
    spec.operands.push_back({role.str(), place.element, place.dims, place.rowStride});
    buffers.push_back(place.buffer);
    touch(place, place.rows);
  }
  return selector.select(spec, *this);
}

} // namespace

FailureOr<plan::TargetOp> convertM1ToPlan(ModuleOp module, KernelSelector &selector) {
  module.getContext()->loadDialect<plan::PlanDialect>();
  OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
  auto target =
      plan::TargetOp::create(b, module.getLoc(), selector.targetName(), StringAttr(), ArrayAttr());
  target.getBody().emplaceBlock();
  KernelTable table;
  for (auto function : module.getOps<func::FuncOp>()) {
    llvm::SmallVector<uint32_t> bounds = {0};
    if (function.getSymName() == "decode")
      bounds.append(selector.smallBatches());
    for (uint32_t maxRows : bounds)
      if (failed(FunctionConverter(function, target, selector, table, maxRows).convert())) {
        target.erase();
        return failure();
      }
  }
  return target;
}

} // namespace m1c
