#include "Plan/Plan.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::plan;

#include "Plan/PlanDialect.cpp.inc"
#include "Plan/PlanEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "Plan/PlanAttributes.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "Plan/PlanTypes.cpp.inc"

void PlanDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "Plan/PlanAttributes.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "Plan/PlanTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "Plan/PlanOps.cpp.inc"
      >();
}

static ParseResult parseBytes(OpAsmParser &parser, IntegerAttr &bytes) {
  int64_t value;
  if (parser.parseInteger(value))
    return failure();
  bytes = parser.getBuilder().getI64IntegerAttr(value);
  return success();
}
static void printBytes(OpAsmPrinter &printer, Operation *, IntegerAttr bytes) {
  printer << bytes.getInt();
}

static ParseResult parseCount(OpAsmParser &parser, IntegerAttr &count) {
  int32_t value;
  if (parser.parseInteger(value))
    return failure();
  count = parser.getBuilder().getI32IntegerAttr(value);
  return success();
}
static void printCount(OpAsmPrinter &printer, Operation *, IntegerAttr count) {
  printer << count.getInt();
}

#define GET_OP_CLASSES
#include "Plan/PlanOps.cpp.inc"

BufferBase plan::resolveBuffer(Value buffer) {
  int64_t offset = 0;
  while (auto view = buffer.getDefiningOp<ViewOp>()) {
    offset += view.getOffset();
    buffer = view.getSource();
  }
  return {buffer.getDefiningOp(), offset};
}

llvm::MapVector<TemporaryOp, Lifetime> plan::computeLifetimes(FunctionOp function) {
  llvm::MapVector<TemporaryOp, Lifetime> lifetimes;
  int64_t command = 0;
  for (Operation &op : *function.getBody().begin()) {
    if (!isa<LaunchOp, GemmOp>(op))
      continue;
    for (Value operand : op.getOperands()) {
      auto temporary = dyn_cast_or_null<TemporaryOp>(resolveBuffer(operand).base);
      if (!temporary)
        continue;
      auto [it, isNew] = lifetimes.insert({temporary, {command, command}});
      it->second.last = command;
    }
    ++command;
  }
  return lifetimes;
}

LogicalResult TargetOp::verifyRegions() {
  llvm::StringMap<KernelOp> keys;
  for (Operation &op : *getBody().begin()) {
    if (!isa<KernelOp, FunctionOp>(op))
      return op.emitOpError("is neither a kernel nor a function of the target");
    if (auto kernel = dyn_cast<KernelOp>(op)) {
      auto [it, isNew] = keys.try_emplace(kernel.getKey(), kernel);
      if (!isNew)
        return kernel.emitOpError("has the key of kernel @") << it->second.getSymName();
    }
  }
  return success();
}

LogicalResult KernelOp::verify() {
  if (getKey().empty())
    return emitOpError("expected a key");
  for (auto [name, value] : {std::pair("code", getCode()), std::pair("block_size", getBlockSize()),
                             std::pair("shared_bytes", getSharedBytes())})
    if (static_cast<int32_t>(value) < 0)
      return emitOpError("expected ")
             << name << " of at least 0, got " << static_cast<int32_t>(value);
  if (getBlockSize() > 1024)
    return emitOpError("expected a block of at most 1024 threads, got ") << getBlockSize();
  return success();
}

/// The size of the arena that `rows` belongs to, or nothing when the function is not placed.
static std::optional<int64_t> arenaBytes(FunctionOp function, RowDomain rows) {
  switch (rows) {
  case RowDomain::one:
    return function.getWorkspaceBytes();
  case RowDomain::tokens:
    return function.getTemporaryBytesPerRow();
  case RowDomain::logit_rows:
    return function.getRowTemporaryBytesPerRow();
  case RowDomain::sequences:
    break;
  }
  return std::nullopt;
}

/// Commands write states, temporaries and the ports of results, and no temporary is read before a
/// command wrote it.
static LogicalResult verifyAccesses(FunctionOp function) {
  llvm::DenseSet<Operation *> written;
  for (Operation &command : *function.getBody().begin()) {
    if (!isa<LaunchOp, GemmOp>(command))
      continue;
    auto launch = dyn_cast<LaunchOp>(command);
    size_t outputs = launch ? launch.getOutputs().size() : 1;
    for (Value input : command.getOperands().drop_back(outputs)) {
      auto temporary = dyn_cast_or_null<TemporaryOp>(resolveBuffer(input).base);
      if (temporary && !written.contains(temporary))
        return command.emitOpError("reads a temporary that no command before it writes")
                   .attachNote(temporary.getLoc())
               << "the temporary";
    }
    for (Value output : command.getOperands().take_back(outputs)) {
      Operation *base = resolveBuffer(output).base;
      if (auto weight = dyn_cast_or_null<WeightOp>(base))
        return command.emitOpError("expected outputs other than weights, got ")
               << weight.getWeight();
      auto port = dyn_cast_or_null<PortOp>(base);
      if (port && port.getPort() != Port::logits && port.getPort() != Port::next_tokens)
        return command.emitOpError("expected outputs other than inputs of the step, got ")
               << stringifyPort(port.getPort());
      written.insert(base);
    }
  }
  return success();
}

LogicalResult FunctionOp::verifyRegions() {
  bool placed = isPlaced();
  if (getRowTemporaryBytesPerRow().has_value() != placed ||
      getWorkspaceBytes().has_value() != placed)
    return emitOpError("expected all three arena sizes or none");
  for (Operation &op : *getBody().begin()) {
    if (op.getDialect() != (*this)->getDialect())
      return op.emitOpError("is not a command or buffer of a plan");
    if (auto temporary = dyn_cast<TemporaryOp>(op);
        temporary && temporary.getOffset().has_value() != placed)
      return temporary.emitOpError("expected an offset exactly when the function has arena sizes");
  }
  if (failed(verifyAccesses(*this)))
    return failure();
  if (!placed)
    return success();
  for (RowDomain rows : {RowDomain::tokens, RowDomain::logit_rows})
    if (int64_t bytes = *arenaBytes(*this, rows); bytes < 0 || bytes % kArenaAlignment != 0)
      return emitOpError("expected arenas of a multiple of ")
             << kArenaAlignment << " bytes per row, got " << bytes;

  auto lifetimes = computeLifetimes(*this).takeVector();
  for (size_t i = 0; i < lifetimes.size(); ++i) {
    auto [a, lifeA] = lifetimes[i];
    int64_t beginA = *a.getOffset(), endA = beginA + static_cast<int64_t>(a.getBytes());
    if (endA > *arenaBytes(*this, a.getRows()))
      return a.emitOpError("ends at byte ")
             << endA << " of an arena of " << *arenaBytes(*this, a.getRows());
    for (size_t j = 0; j < i; ++j) {
      auto [b, lifeB] = lifetimes[j];
      int64_t beginB = *b.getOffset(), endB = beginB + static_cast<int64_t>(b.getBytes());
      if (a.getRows() == b.getRows() && lifeA.overlaps(lifeB) && beginA < endB && beginB < endA)
        return (a.emitOpError("overlaps another temporary that lives at the same time: bytes ")
                << beginA << " to " << endA << " and " << beginB << " to " << endB << ", commands "
                << lifeA.first << " to " << lifeA.last << " and " << lifeB.first << " to "
                << lifeB.last)
                   .attachNote(b.getLoc())
               << "the other temporary";
    }
  }
  return success();
}

LogicalResult TemporaryOp::verify() {
  if (getRows() == RowDomain::sequences)
    return emitOpError("expected rows to be tokens, logit_rows or one");
  if (static_cast<int64_t>(getBytes()) <= 0)
    return emitOpError("expected a positive number of bytes, got ")
           << static_cast<int64_t>(getBytes());
  if (getOffset() &&
      (static_cast<int64_t>(*getOffset()) < 0 || *getOffset() % kArenaAlignment != 0))
    return emitOpError("expected an offset that is a multiple of ")
           << kArenaAlignment << ", got " << static_cast<int64_t>(*getOffset());
  return success();
}

LogicalResult ViewOp::verify() {
  if (static_cast<int64_t>(getOffset()) < 0)
    return emitOpError("expected an offset of at least 0, got ")
           << static_cast<int64_t>(getOffset());
  BufferBase base = resolveBuffer(getResult());
  if (auto temporary = dyn_cast_or_null<TemporaryOp>(base.base);
      temporary && base.offset >= static_cast<int64_t>(temporary.getBytes()))
    return emitOpError("begins at byte ")
           << base.offset << " of a temporary of " << temporary.getBytes() << " bytes per row";
  return success();
}

OpFoldResult ViewOp::fold(FoldAdaptor) {
  if (getOffset() == 0)
    return getSource();
  if (auto inner = getSource().getDefiningOp<ViewOp>()) {
    setOffset(getOffset() + inner.getOffset());
    setOperand(inner.getSource());
    return getResult();
  }
  return {};
}

LogicalResult LaunchOp::verify() {
  if (static_cast<int32_t>(getGridX()) < 1 || static_cast<int32_t>(getRowsPerGroup()) < 1)
    return emitOpError("expected a grid of at least one group and one row per group, got ")
           << static_cast<int32_t>(getGridX()) << " and "
           << static_cast<int32_t>(getRowsPerGroup());
  return success();
}

LogicalResult LaunchOp::verifySymbolUses(SymbolTableCollection &symbols) {
  if (!symbols.lookupNearestSymbolFrom<KernelOp>((*this)->getParentOfType<TargetOp>(),
                                                 getKernelAttr()))
    return emitOpError("expected ") << getKernelAttr() << " to be a kernel of the target";
  return success();
}

LogicalResult GemmOp::verify() {
  for (auto [name, value] : {std::pair("n", getN()), std::pair("k", getK()),
                             std::pair("lda", getLda()), std::pair("ldo", getLdo())})
    if (static_cast<int32_t>(value) < 1)
      return emitOpError("expected ")
             << name << " to be positive, got " << static_cast<int32_t>(value);
  if (getLda() < getK())
    return emitOpError("expected lda of at least k = ") << getK() << ", got " << getLda();
  if (getLdo() < getN())
    return emitOpError("expected ldo of at least n = ") << getN() << ", got " << getLdo();
  return success();
}
