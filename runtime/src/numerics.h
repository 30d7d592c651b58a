// Looking for the first launch whose results are not numbers.
#ifndef M1RT_NUMERICS_H
#define M1RT_NUMERICS_H

#include "module_generated.h"
#include "status.h"
#include <cstdint>
#include <functional>

namespace m1rt {

namespace schema = ::m1::schema;

/// Gives `bytes` of operand `operand` of the launch at hand, in host memory.
using FetchOperand = std::function<Status(uint32_t operand, uint64_t bytes, const void **outBytes)>;

/// What rows there are in a step: T and L; and the bytes of a row of logits.
struct RowCounts {
  uint64_t tokens = 0, logitRows = 0, logitBytes = 0;
};

/// `unsupported` when no launch of the function says what it writes.
Status checkable(const schema::Function &function);

/// An error that names the launch, row and column when one of the rows it has just written holds a
/// NaN or an infinite value. Kernels' own scratch memory and states are not looked at, nor what two
/// launches that were merged keep between them: what is wrong there shows in the next rows.
Status checkNumerics(const schema::Function &function, uint32_t command, const RowCounts &rows,
                     const FetchOperand &fetch);

} // namespace m1rt

#endif
