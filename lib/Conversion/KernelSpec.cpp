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

} // namespace m1c
