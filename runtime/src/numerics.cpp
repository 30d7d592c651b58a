#include "numerics.h"

#include "device.h"
#include <algorithm>
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

/// Bytes that each row of the operand has from its first one on.
uint64_t roomOf(const schema::Function &function, const schema::Operand &operand,
                uint64_t logitBytes) {
  uint64_t bytes = 0;
  if (operand.kind() == schema::OperandKind::temporary)
    bytes = function.temporary_bytes_per_row();
  else if (operand.kind() == schema::OperandKind::row_temporary)
    bytes = function.row_temporary_bytes_per_row();
  else
    bytes = logitBytes;
  return bytes - std::min(bytes, operand.arena_offset());
}

Status checkRows(const schema::Function &function, const char *label, uint32_t command,
                 uint32_t index, const Written &what, const RowCounts &rows,
                 const FetchOperand &fetch) {
  const uint64_t count = countRows(*what.operand, rows), size = elementSize(what.element);
  const bool isFloat =
      what.element == schema::ElementType::f32 || what.element == schema::ElementType::bf16;
  if (count == 0 || !isFloat || what.bytes == 0)
    return Status();
  const uint64_t offset = what.operand->offset();
  if (what.stride > roomOf(function, *what.operand, rows.logitBytes) || offset > what.stride ||
      what.bytes > what.stride - offset)
    return error(StatusCode::corrupt,
                 "\"%s\" (command %u): operand %u has no room for the rows that it is said to "
                 "have: %llu bytes every %llu",
                 label, command, index, (unsigned long long)what.bytes,
                 (unsigned long long)what.stride);
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

Status checkable(const schema::Function &function) {
  for (const schema::CommandHolder *command : *function.commands())
    if (const schema::Launch *launch = command->command_as_Launch(); launch && launch->written())
      return Status();
  return error(StatusCode::unsupported,
               "the artifact does not say what its kernels write: compile it again");
}

Status checkNumerics(const schema::Function &function, uint32_t command, const RowCounts &rows,
                     const FetchOperand &fetch) {
  const schema::CommandHolder &holder = *function.commands()->Get(command);
  if (const schema::Gemm *gemm = holder.command_as_Gemm()) {
    const uint64_t size = elementSize(gemm->out_type());
    return checkRows(function, gemm->name() ? gemm->name()->c_str() : "a product", command, 0,
                     {gemm->out(), gemm->out_type(), gemm->n() * size, gemm->ldo() * size}, rows,
                     fetch);
  }
  const schema::Launch &launch = *holder.command_as_Launch();
  const char *label = launch.name() ? launch.name()->c_str() : "a launch";
  for (uint32_t i = 0; launch.written() && i < launch.written()->size(); ++i) {
    const schema::WrittenRows &written = *launch.written()->Get(i);
    if (!launch.operands() || written.operand() >= launch.operands()->size() ||
        written.element() > schema::ElementType::MAX)
      return error(StatusCode::corrupt,
                   "\"%s\" (command %u): rows of an operand that it does not have", label, command);
    M1_TRY(checkRows(function, label, command, written.operand(),
                     {launch.operands()->Get(written.operand()), written.element(), written.bytes(),
                      written.stride()},
                     rows, fetch));
  }
  return Status();
}

} // namespace m1rt
