#include "numerics.h"

#include "device.h"
#include <cmath>
#include <cstring>

namespace m1rt {

namespace {

float valueAt(const uint8_t *at, schema::ElementType type) {
  if (type == schema::ElementType::f32) {
    float value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, at, sizeof half);
  const uint32_t bits = uint32_t(half) << 16; // bf16: the upper half of a float
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// Of an operand that is rows: how many there are.
uint64_t countRows(const schema::Operand &operand, const RowCounts &rows) {
  switch (operand.kind()) {
  case schema::OperandKind::temporary:
    return rows.tokens;
  case schema::OperandKind::row_temporary:
    return rows.logitRows;
  case schema::OperandKind::port:
    return schema::Port(operand.index()) == schema::Port::logits ? rows.logitRows : 0;
  default:
    return 0;
  }
}

struct Written {
  const schema::Operand *operand;
  schema::ElementType element;
  uint64_t bytes, stride;
};

Status checkRows(const char *label, uint32_t command, uint32_t index, const Written &what,
                 const RowCounts &rows, const FetchOperand &fetch) {
  const uint64_t count = countRows(*what.operand, rows), size = elementSize(what.element);
  const bool isFloat =
      what.element == schema::ElementType::f32 || what.element == schema::ElementType::bf16;
  if (count == 0 || !isFloat || what.bytes == 0)
    return Status();
  const void *memory = nullptr;
  M1_TRY(fetch(index, (count - 1) * what.stride + what.bytes, &memory));
  for (uint64_t row = 0; row < count; ++row) {
    const uint8_t *begin = static_cast<const uint8_t *>(memory) + row * what.stride;
    for (uint64_t column = 0; column < what.bytes / size; ++column) {
      const float value = valueAt(begin + column * size, what.element);
      if (!std::isfinite(value))
        return error(StatusCode::deviceError,
                     "\"%s\" (command %u) is the first to write what is no number: %g in row %llu, "
                     "column %llu",
                     label, command, value, (unsigned long long)row, (unsigned long long)column);
    }
  }
  return Status();
}

} // namespace

Status checkNumerics(const schema::Target &target, const schema::Function &function,
                     uint32_t command, const RowCounts &rows, const FetchOperand &fetch) {
  const schema::CommandHolder &holder = *function.commands()->Get(command);
  if (const schema::Gemm *gemm = holder.command_as_Gemm()) {
    const uint64_t size = elementSize(gemm->out_type());
    return checkRows(gemm->name() ? gemm->name()->c_str() : "a product", command, 0,
                     {gemm->out(), gemm->out_type(), gemm->n() * size, gemm->ldo() * size}, rows,
                     fetch);
  }
  const schema::Launch &launch = *holder.command_as_Launch();
  const schema::Kernel &kernel = *target.kernels()->Get(launch.kernel());
  if (!kernel.parameters() && launch.operands() && launch.operands()->size())
    return error(StatusCode::unsupported,
                 "the artifact does not say what its kernels write: compile it again");
  for (uint32_t i = 0; kernel.parameters() && i < kernel.parameters()->size(); ++i) {
    const schema::Parameter &parameter = *kernel.parameters()->Get(i);
    if (parameter.access() != schema::Access::read)
      M1_TRY(checkRows(
          launch.name() ? launch.name()->c_str() : kernel.symbol()->c_str(), command, i,
          {launch.operands()->Get(i), parameter.element(), parameter.bytes(), parameter.stride()},
          rows, fetch));
  }
  return Status();
}

} // namespace m1rt
