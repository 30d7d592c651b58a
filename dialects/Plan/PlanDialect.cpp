#include "Plan/Plan.h"
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

static ParseResult parseAccesses(OpAsmParser &parser,
                                 SmallVectorImpl<OpAsmParser::UnresolvedOperand> &buffers,
                                 DenseI32ArrayAttr &accesses) {
  SmallVector<int32_t> values;
  auto operand = [&]() -> ParseResult {
    SMLoc loc = parser.getCurrentLocation();
    StringRef word;
    if (parser.parseKeyword(&word))
      return failure();
    std::optional<Access> access = symbolizeAccess(word);
    if (!access)
      return parser.emitError(loc, "expected ro, wo or rw, got '") << word << "'";
    values.push_back(static_cast<int32_t>(*access));
    return parser.parseOperand(buffers.emplace_back());
  };
  if (parser.parseCommaSeparatedList(operand))
    return failure();
  accesses = DenseI32ArrayAttr::get(parser.getContext(), values);
  return success();
}
static void printAccesses(OpAsmPrinter &printer, Operation *, OperandRange buffers,
                          DenseI32ArrayAttr accesses) {
  llvm::interleaveComma(llvm::zip(buffers, accesses.asArrayRef()), printer, [&](auto entry) {
    auto [buffer, access] = entry;
    printer << stringifyAccess(static_cast<Access>(access)) << ' ' << buffer;
  });
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

SmallVector<TensorMap> plan::readTensorMaps(ArrayRef<int64_t> numbers) {
  SmallVector<TensorMap> maps;
  for (; numbers.size() >= 5; numbers = numbers.drop_front(5))
    maps.push_back({numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]});
  return maps;
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

std::optional<WrittenRows> mlir::plan::readWrittenRows(Attribute entry) {
  auto parts = dyn_cast<ArrayAttr>(entry);
  if (!parts || parts.size() != 4)
    return std::nullopt;
  auto type = dyn_cast<TypeAttr>(parts[1]);
  IntegerAttr numbers[] = {dyn_cast<IntegerAttr>(parts[0]), dyn_cast<IntegerAttr>(parts[2]),
                           dyn_cast<IntegerAttr>(parts[3])};
  if (!type || !llvm::all_of(numbers, [](IntegerAttr number) {
        return number && number.getType().isInteger(64);
      }))
    return std::nullopt;
  return WrittenRows{numbers[0].getInt(), type.getValue(), numbers[1].getInt(),
                     numbers[2].getInt()};
}

void LaunchOp::getEffects(SmallVectorImpl<MemoryEffects::EffectInstance> &effects) {
  for (OpOperand &buffer : getBuffersMutable()) {
    Access access = getAccess(buffer.getOperandNumber());
    if (access != Access::wo)
      effects.emplace_back(MemoryEffects::Read::get(), &buffer);
    if (access != Access::ro)
      effects.emplace_back(MemoryEffects::Write::get(), &buffer);
  }
}
