#include "cpu/dummy_fill.h"

#include "dummy_weights.h"
#include "m1k_e4m3.h"
#include <cmath>
#include <cstring>

namespace m1rt {

namespace {

using ::m1::schema::ElementType;

inline __attribute__((always_inline)) uint16_t roundFiniteToBf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline __attribute__((always_inline)) void fill(void *target, ElementType type, uint64_t begin,
                                                uint64_t end, uint64_t key, float factor,
                                                float offset) {
  auto value = [=](uint64_t i) __attribute__((always_inline)) {
    return __builtin_fmaf(float(m1_dummy_integer(key, i)), factor, offset);
  };
  switch (type) {
  case ElementType::f32:
    for (uint64_t i = begin; i < end; ++i)
      static_cast<float *>(target)[i] = value(i);
    break;
  case ElementType::bf16:
    for (uint64_t i = begin; i < end; ++i)
      static_cast<uint16_t *>(target)[i] = roundFiniteToBf16(value(i));
    break;
  case ElementType::f16:
    for (uint64_t i = begin; i < end; ++i)
      static_cast<_Float16 *>(target)[i] = _Float16(value(i));
    break;
  case ElementType::i8:
    for (uint64_t i = begin; i < end; ++i)
      static_cast<int8_t *>(target)[i] = m1_dummy_i8(value(i));
    break;
  case ElementType::i4x2:
    for (uint64_t i = begin; i < end; ++i)
      static_cast<uint8_t *>(target)[i] = m1_dummy_i4x2(value(2 * i), value(2 * i + 1));
    break;
  case ElementType::f8e4m3:
    for (uint64_t i = begin; i < end; ++i)
      static_cast<uint8_t *>(target)[i] = m1k_e4m3_of(value(i));
    break;
  default: // refused by validateModule
    break;
  }
}

// Without fused multiply-add in hardware fmaf is a function call: 20 times slower, the same bits.
void fillPlain(void *target, ElementType type, uint64_t begin, uint64_t end, uint64_t key,
               float factor, float offset) {
  fill(target, type, begin, end, key, factor, offset);
}
#if defined(__x86_64__)
__attribute__((target("avx2,fma,f16c"))) void fillAvx2(void *target, ElementType type,
                                                       uint64_t begin, uint64_t end, uint64_t key,
                                                       float factor, float offset) {
  fill(target, type, begin, end, key, factor, offset);
}
__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma,f16c"))) void
fillAvx512(void *target, ElementType type, uint64_t begin, uint64_t end, uint64_t key, float factor,
           float offset) {
  fill(target, type, begin, end, key, factor, offset);
}
#endif

} // namespace

void fillDummyRange(void *target, ElementType type, uint64_t begin, uint64_t end, uint64_t key,
                    float factor, float offset) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl"))
    return fillAvx512(target, type, begin, end, key, factor, offset);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("f16c"))
    return fillAvx2(target, type, begin, end, key, factor, offset);
#endif
  fillPlain(target, type, begin, end, key, factor, offset);
}

} // namespace m1rt
