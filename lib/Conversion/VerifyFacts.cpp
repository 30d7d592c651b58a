// Facts of a kernel come from text too. They say what an operation of the m1 dialect is: it is put
// together from them, and its own verifier judges it.
#include "VerifyFacts.h"
#include "M1/IR/M1.h"
#include "M1/IR/Scalars.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include <thread>

using namespace mlir;

namespace m1c {
namespace {

/// The operation of a spec, in a block of its own whose arguments are the operands.
class SpecOperation {
public:
  SpecOperation(KernelSpec &spec, MLIRContext *context,
                llvm::function_ref<InFlightDiagnostic()> emitError)
      : spec(spec), context(context), emitError(emitError), isMap(spec.op == "map"),
        name(isMap ? m1::MapOp::getOperationName().str() : "m1." + spec.op, context) {}

  LogicalResult verify();

private:
  LogicalResult checkRoles();
  FailureOr<Type> typeOf(const OperandSpec &operand) const;
  LogicalResult checkArrays(ArrayRef<StringRef> arrays, size_t &at);
  LogicalResult checkOperation();
  LogicalResult readScalars(Region &body, size_t inputs);

  KernelSpec &spec;
  MLIRContext *context;
  llvm::function_ref<InFlightDiagnostic()> emitError;
  const bool isMap;
  OperationName name;
  SmallVector<Type> inputs, results;
  SmallVector<int32_t> segments; // operands of each name
};

/// The type of an input or an output.
FailureOr<Type> SpecOperation::typeOf(const OperandSpec &o) const {
  constexpr int64_t dynamic = ShapedType::kDynamic;
  if (o.role == "state" || o.role == "cache") {
    auto refused = [&] { return emitError() << "operand '" << o.role << "': "; };
    Type type = name.getInterface<m1::KernelOpInterface>()->getStateType(refused, context, o.dims,
                                                                         o.element);
    return type ? FailureOr<Type>(type) : FailureOr<Type>(failure());
  }
  if (o.dims.empty()) // a value a row
    return Type(RankedTensorType::get({dynamic}, o.element));
  if (o.rowStride == 0)
    return Type(RankedTensorType::get(o.dims, o.element));
  if (o.dims.size() != 1 || o.rowStride < o.dims[0])
    return emitError() << "expected operand '" << o.role
                       << "' of rows that are no longer than their stride, " << o.rowStride;
  return Type(RankedTensorType::get({dynamic, o.dims[0]}, o.element));
}

LogicalResult SpecOperation::checkArrays(ArrayRef<StringRef> arrays, size_t &at) {
  for (StringRef array : arrays) {
    if (at == spec.operands.size() || spec.operands[at].role != array)
      return emitError() << "expected operand " << at << " to be '" << array << "' for '" << spec.op
                         << "', got '"
                         << (at == spec.operands.size() ? "none" : spec.operands[at].role) << "'";
    const OperandSpec &o = spec.operands[at++];
    if (!o.element.isInteger(32) || !o.dims.empty() || o.rowStride)
      return emitError() << "expected operand '" << array << "' to be an array of i32";
  }
  return success();
}

/// Sorts the operands by the names of the operation: inputs, arrays of the batch, outputs.
LogicalResult SpecOperation::checkRoles() {
  const auto *kernel = name.getInterface<m1::KernelOpInterface>();
  if (!kernel)
    return emitError() << "no kernel is of op '" << spec.op << "'";
  std::optional<RowDomain> rows = plan::symbolizeRowDomain(kernel->getRowDomain());
  if (rows ? spec.domain != *rows
           : spec.domain != RowDomain::tokens && spec.domain != RowDomain::logit_rows)
    return emitError() << "expected rows that '" << spec.op << "' can have, got "
                       << plan::stringifyRowDomain(spec.domain);
  if (spec.shared && kernel->getSharedArrays().empty())
    return emitError() << "'" << spec.op << "' does not concern itself with shared prefixes";
  for (const OperandSpec &o : spec.operands)
    if (failed(checkSizes(o, emitError)))
      return failure();

  // All maps are of one op, whose inputs keep the names that they had in theirs.
  size_t at = 0, outputs = spec.operands.size() - spec.outputs;
  if (isMap) {
    for (; at < outputs; ++at)
      if (auto type = typeOf(spec.operands[at]); succeeded(type))
        inputs.push_back(*type);
      else
        return failure();
  } else {
    for (StringRef role : kernel->getOperandNames()) {
      segments.push_back(0);
      if (role == "batch") {
        inputs.push_back(m1::BatchType::get(context));
        segments.back() = 1;
      } else if (at < outputs && spec.operands[at].role == role) {
        auto type = typeOf(spec.operands[at++]);
        if (failed(type))
          return failure();
        inputs.push_back(*type);
        segments.back() = 1;
      }
    }
    SmallVector<StringRef> arrays(kernel->getBatchArrays());
    if (spec.shared)
      llvm::append_range(arrays, kernel->getSharedArrays());
    if (failed(checkArrays(arrays, at)))
      return failure();
    ArrayRef<StringRef> gather = kernel->getGatherArrays();
    if (!gather.empty() && at < outputs && spec.operands[at].role == gather.front() &&
        failed(checkArrays(gather, at)))
      return failure();
  }
  if (at != outputs)
    return emitError() << "operand " << at << ", '" << spec.operands[at].role << "', is none of '"
                       << spec.op << "' or not in its place";
  ArrayRef<StringRef> names = kernel->getResultNames();
  if (names.size() != spec.outputs)
    return emitError() << "expected " << names.size() << " outputs of '" << spec.op << "', got "
                       << spec.outputs;
  for (StringRef role : names) {
    const OperandSpec &o = spec.operands[at++];
    if (!isMap && o.role != role)
      return emitError() << "expected output '" << role << "' of '" << spec.op << "', got '"
                         << o.role << "'";
    if (o.dims.empty() ? o.rowStride != 1 : o.rowStride == 0)
      return emitError() << "expected output '" << o.role << "' to have rows";
    auto type = typeOf(o);
    if (failed(type))
      return failure();
    results.push_back(*type);
  }
  return success();
}

/// A map's code (m1::encodeScalars), put back into a region.
LogicalResult SpecOperation::readScalars(Region &body, size_t count) {
  auto code = spec.params ? spec.params.getAs<ArrayAttr>("body") : ArrayAttr();
  if (!code || code.empty())
    return emitError() << "expected the code of a map as parameter 'body'";
  OpBuilder b(context);
  Location loc = b.getUnknownLoc();
  Block *block = b.createBlock(&body);
  SmallVector<Value> values;
  for (size_t i = 0; i < count; ++i)
    values.push_back(block->addArgument(b.getF32Type(), loc));
  for (size_t index = 0; index < code.size(); ++index) {
    Attribute entry = code[index];
    auto malformed = [&] {
      return emitError() << "instruction " << index << " of parameter 'body': ";
    };
    auto parts = dyn_cast<ArrayAttr>(entry);
    auto opName = parts && parts.size() >= 2 ? dyn_cast<StringAttr>(parts[0]) : StringAttr();
    auto numbers = opName ? dyn_cast<DenseI64ArrayAttr>(parts[1]) : DenseI64ArrayAttr();
    auto attributes = numbers && parts.size() == 3 ? dyn_cast<DictionaryAttr>(parts[2])
                                                   : DictionaryAttr::get(context);
    if (!numbers || !attributes || parts.size() > 3)
      return malformed() << "expected [operation, numbers of operands, attributes], got " << entry;
    SmallVector<Value> operands;
    for (int64_t number : numbers.asArrayRef()) {
      if (number < 0 || number >= static_cast<int64_t>(values.size()))
        return malformed() << "value " << number << " is none of those before it";
      operands.push_back(values[number]);
    }
    const bool isLast = index + 1 == code.size();
    const bool isYield = opName == m1::YieldOp::getOperationName();
    if (isLast != isYield || (isYield && operands.size() != 1))
      return malformed() << "expected m1.yield of one value as the last, and only there";
    SmallVector<Type> types;
    if (opName == arith::CmpFOp::getOperationName())
      types.push_back(b.getI1Type());
    else if (!isYield)
      types.push_back(b.getF32Type());
    OperationName scalar(opName.getValue(), context);
    if (!scalar.isRegistered())
      return malformed() << "unknown operation '" << opName.getValue() << "'";
    OperationState state(loc, scalar);
    state.addOperands(operands);
    state.addTypes(types);
    state.addAttributes(attributes.getValue());
    Operation *op = b.create(state);
    if (!isYield && !m1::isScalarOp(op))
      return malformed() << "'" << opName.getValue() << "' is no scalar arithmetic";
    for (Value result : op->getResults())
      values.push_back(result);
  }
  return success();
}

/// The operation's verifier, whose message becomes ours, and its defaults for absent parameters.
LogicalResult SpecOperation::checkOperation() {
  const auto *kernel = name.getInterface<m1::KernelOpInterface>();
  Block block;
  OpBuilder b(context);
  b.setInsertionPointToStart(&block);
  Location loc = b.getUnknownLoc();
  OperationState state(loc, name);
  for (Type type : inputs)
    state.addOperands(block.addArgument(type, loc));
  state.addTypes(results);
  if (name.hasTrait<OpTrait::AttrSizedOperandSegments>())
    state.addAttribute("operandSegmentSizes", b.getDenseI32ArrayAttr(segments));
  for (NamedAttribute param : spec.params ? spec.params.getValue() : ArrayRef<NamedAttribute>()) {
    if (isMap && param.getName() == "body")
      continue;
    if (!llvm::is_contained(kernel->getParameterNames(), param.getName().getValue()))
      return emitError() << "'" << spec.op << "' has no parameter '" << param.getName().getValue()
                         << "'";
    state.addAttribute(param.getName(), param.getValue());
  }
  if (isMap && failed(readScalars(*state.addRegion(), inputs.size())))
    return failure();
  Operation *op = b.create(state);

  std::string message;
  bool ok;
  {
    ScopedDiagnosticHandler handler(
        context, [&, thread = std::this_thread::get_id()](Diagnostic &diagnostic) {
          if (std::this_thread::get_id() != thread)
            return failure(); // of another pass
          if (message.empty() && diagnostic.getSeverity() == DiagnosticSeverity::Error)
            message = diagnostic.str();
          return success();
        });
    ok = succeeded(mlir::verify(op));
  }
  if (ok) {
    NamedAttrList params;
    for (StringRef parameter : kernel->getParameterNames())
      if (Attribute value = op->getAttr(parameter))
        params.set(parameter, value);
    if (isMap)
      params.set("body", spec.params.get("body"));
    spec.params = params.getDictionary(context);
  }
  op->erase();
  return ok ? success() : LogicalResult(emitError() << "facts: " << message);
}

LogicalResult SpecOperation::verify() {
  return failure(failed(checkRoles()) || failed(checkOperation()));
}

} // namespace

LogicalResult checkSizes(const OperandSpec &operand,
                         llvm::function_ref<InFlightDiagnostic()> emitError) {
  constexpr int64_t largest = std::numeric_limits<int32_t>::max();
  auto fits = [](int64_t size) { return size >= 0 && size <= largest; };
  if (!llvm::all_of(operand.dims, fits) || !fits(operand.rowStride))
    return emitError() << "expected operand '" << operand.role << "' of sizes below 2^31";
  // An empty one only as the state of a convolution of width 1.
  if (operand.role != "state" && llvm::is_contained(operand.dims, 0))
    return emitError() << "expected operand '" << operand.role << "' not to be empty";
  return success();
}

LogicalResult verifyFacts(KernelSpec &spec, MLIRContext *context,
                          llvm::function_ref<InFlightDiagnostic()> emitError) {
  context->getOrLoadDialect<m1::M1Dialect>();
  return SpecOperation(spec, context, emitError).verify();
}

} // namespace m1c
