// The element types of an artifact.
#ifndef M1RT_ARTIFACT_ELEMENTS_H
#define M1RT_ARTIFACT_ELEMENTS_H

#include "module_generated.h"
#include <cstdint>

namespace m1rt {

namespace schema = ::m1::schema;

/// Bytes of one element; 0 of an unknown type.
uint32_t elementSize(schema::ElementType type);
const char *elementName(schema::ElementType type);

} // namespace m1rt

#endif
