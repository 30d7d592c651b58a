#include "VerifyFacts.h"
#include "m1c/KernelSelector.h"
#include "llvm/Support/raw_ostream.h"

namespace m1c {

int KernelSpec::find(llvm::StringRef role) const {
  for (size_t i = 0; i < operands.size(); ++i)
    if (operands[i].role == role)
      return static_cast<int>(i);
  return -1;
}

const OperandSpec &KernelSpec::get(llvm::StringRef role) const {
  int index = find(role);
  assert(index >= 0 && "operand of the spec");
  return operands[index];
}

int64_t KernelSpec::integer(llvm::StringRef param) const {
  return llvm::cast<mlir::IntegerAttr>(params.get(param)).getInt();
}

int64_t KernelSpec::integer(llvm::StringRef param, int64_t absent) const {
  return flag(param) ? integer(param) : absent;
}

double KernelSpec::real(llvm::StringRef param) const {
  return llvm::cast<mlir::FloatAttr>(params.get(param)).getValueAsDouble();
}

std::string KernelSpec::key() const {
  std::string text;
  llvm::raw_string_ostream stream(text);
  stream << op;
  if (params && !params.empty())
    stream << ' ' << params;
  for (size_t i = 0; i < operands.size(); ++i) {
    const OperandSpec &o = operands[i];
    stream << (i + outputs == operands.size() ? " -> " : " ") << o.role << ':';
    for (int64_t dim : o.dims)
      stream << dim << 'x';
    stream << o.element;
    if (o.rowStride)
      stream << '/' << o.rowStride;
  }
  return text;
}

mlir::DictionaryAttr KernelSpec::toAttribute(mlir::MLIRContext *context) const {
  mlir::Builder b(context);
  llvm::SmallVector<mlir::Attribute> list;
  for (const OperandSpec &operand : operands)
    list.push_back(b.getArrayAttr(
        {b.getStringAttr(operand.role),
         mlir::TypeAttr::get(mlir::RankedTensorType::get(operand.dims, operand.element)),
         b.getI64IntegerAttr(operand.rowStride)}));
  llvm::SmallVector<mlir::NamedAttribute> entries = {
      b.getNamedAttr("op", b.getStringAttr(op)), b.getNamedAttr("operands", b.getArrayAttr(list)),
      b.getNamedAttr("outputs", b.getI64IntegerAttr(static_cast<int64_t>(outputs))),
      b.getNamedAttr("rows", b.getI64IntegerAttr(static_cast<int64_t>(domain))),
      b.getNamedAttr("max_rows", b.getI64IntegerAttr(maxRows))};
  if (params && !params.empty())
    entries.push_back(b.getNamedAttr("params", params));
  if (decode)
    entries.push_back(b.getNamedAttr("decode", b.getUnitAttr()));
  if (shared)
    entries.push_back(b.getNamedAttr("shared", b.getUnitAttr()));
  if (!name.empty() && name != op)
    entries.push_back(b.getNamedAttr("name", b.getStringAttr(name)));
  return b.getDictionaryAttr(entries);
}

mlir::FailureOr<KernelSpec>
KernelSpec::fromAttribute(mlir::DictionaryAttr facts,
                          llvm::function_ref<mlir::InFlightDiagnostic()> emitError) {
  KernelSpec spec;
  auto integer = [&](llvm::StringRef name) {
    auto value = facts.getAs<mlir::IntegerAttr>(name);
    return value && value.getType().isInteger(64) ? std::optional(value.getInt()) : std::nullopt;
  };
  auto op = facts.getAs<mlir::StringAttr>("op");
  auto operands = facts.getAs<mlir::ArrayAttr>("operands");
  auto outputs = integer("outputs"), rows = integer("rows"), maxRows = integer("max_rows");
  if (!op || !operands || !outputs || !rows || !maxRows)
    return emitError() << "expected facts with op, operands, outputs, rows and max_rows";
  if (*outputs < 0 || *outputs > static_cast<int64_t>(operands.size()) || *rows < 0 ||
      *rows > mlir::plan::getMaxEnumValForRowDomain() || *maxRows < 0 || *maxRows > UINT32_MAX)
    return emitError()
           << "expected facts within bounds: outputs among the operands, rows of 0 to 3, "
              "max_rows of 32 bits";
  spec.op = op.str();
  spec.params = facts.getAs<mlir::DictionaryAttr>("params");
  spec.outputs = static_cast<size_t>(*outputs);
  spec.domain = static_cast<RowDomain>(*rows);
  spec.maxRows = static_cast<uint32_t>(*maxRows);
  spec.decode = facts.contains("decode");
  spec.shared = facts.contains("shared");
  auto name = facts.getAs<mlir::StringAttr>("name");
  spec.name = name ? name.str() : spec.op;
  for (mlir::Attribute entry : operands) {
    auto parts = llvm::dyn_cast<mlir::ArrayAttr>(entry);
    auto role = parts && parts.size() == 3 ? llvm::dyn_cast<mlir::StringAttr>(parts[0])
                                           : mlir::StringAttr();
    auto type = role ? llvm::dyn_cast<mlir::TypeAttr>(parts[1]) : mlir::TypeAttr();
    auto stride = type ? llvm::dyn_cast<mlir::IntegerAttr>(parts[2]) : mlir::IntegerAttr();
    auto tensor =
        stride ? llvm::dyn_cast<mlir::RankedTensorType>(type.getValue()) : mlir::RankedTensorType();
    if (!tensor || !tensor.hasStaticShape() || !tensor.getElementType().isIntOrFloat() ||
        !stride.getType().isInteger(64))
      return emitError() << "expected operands as [role, tensor type, row stride] in facts, got "
                         << entry;
    spec.operands.push_back({role.str(), tensor.getElementType(),
                             llvm::SmallVector<int64_t>(tensor.getShape()), stride.getInt()});
  }
  if (failed(verifyFacts(spec, facts.getContext(), emitError)))
    return mlir::failure();
  return spec;
}

} // namespace m1c
