// What the commands of a target do with memory, against what there is.
#ifndef M1RT_ARTIFACT_EXTENTS_H
#define M1RT_ARTIFACT_EXTENTS_H

#include "module_generated.h"
#include "status.h"

namespace m1rt {

// No tensor, state or file of an artifact is larger; products of checked sizes stay below 2^64.
constexpr uint64_t largestBytes = uint64_t(1) << 48;
constexpr uint64_t largestOffset = uint64_t(1) << 40;

__attribute__((format(printf, 1, 2))) Status corrupt(const char *format, ...);

template <typename T> uint32_t count(const flatbuffers::Vector<T> *vector) {
  return vector ? vector->size() : 0;
}

/// For a target whose indices and offsets are in range. Every launch gives its kernel the operands
/// that it works on: their number, kinds, types and sizes, and its grid; every product has its
/// rows and weights. No command reads what none before it has written, and every function writes
/// its outputs. What a kernel works on is what its parameters say; a target made before there were
/// any is checked for its products alone.
Status checkExtents(const ::m1::schema::Module &module, const ::m1::schema::Target &target);

} // namespace m1rt

#endif
