// Dummy weight values on the CPU, with the widest vectors that it has.
#ifndef M1RT_CPU_DUMMY_FILL_H
#define M1RT_CPU_DUMMY_FILL_H

#include "module_generated.h"
#include <cstdint>

namespace m1rt {

/// Writes elements [begin, end) of a weight's dummy values to target[begin, end). `key` and the
/// formula: runtime/schema/dummy_weights.h.
void fillDummyRange(void *target, ::m1::schema::ElementType type, uint64_t begin, uint64_t end,
                    uint64_t key, float factor, float offset);

} // namespace m1rt

#endif
