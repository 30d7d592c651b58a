// Weights made of the values of a checkpoint, on the CPU.
#ifndef M1RT_CPU_WRITE_WEIGHTS_H
#define M1RT_CPU_WRITE_WEIGHTS_H

#include "device.h"

namespace m1rt {

/// Elements begin … end of the part, bit for bit those that m1-compile writes.
void writeWeightRange(const WeightPart &part, uint64_t begin, uint64_t end);

} // namespace m1rt

#endif
