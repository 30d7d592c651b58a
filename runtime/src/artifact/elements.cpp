#include "artifact/elements.h"

namespace m1rt {

uint32_t elementSize(schema::ElementType type) {
  switch (type) {
  case schema::ElementType::f32:
  case schema::ElementType::i32:
    return 4;
  case schema::ElementType::bf16:
  case schema::ElementType::f16:
    return 2;
  case schema::ElementType::u8:
  case schema::ElementType::i8:
  case schema::ElementType::i4x2:
  case schema::ElementType::f8e4m3:
    return 1;
  }
  return 0;
}

const char *elementName(schema::ElementType type) { return schema::EnumNameElementType(type); }

} // namespace m1rt
