#include "cpu/write_weights.h"

#include <cmath>
#include <cstring>

namespace m1rt {

namespace {

using ::m1::schema::ElementType;
using ::m1::schema::WeightTransform;

float fromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

float widenF16(uint16_t bits) {
  const uint32_t sign = uint32_t(bits & 0x8000) << 16, exponent = bits >> 10 & 31,
                 mantissa = bits & 0x3ff;
  if (exponent == 31)
    return fromBits(sign | 0x7f800000 | mantissa << 13);
  if (exponent)
    return fromBits(sign | (exponent + 112) << 23 | mantissa << 13);
  const float value = std::ldexp(float(mantissa), -24); // subnormal: exact in f32
  return sign ? -value : value;
}

/// To nearest even; NaN stays a (quiet) NaN.
uint16_t roundToBf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if (std::isnan(value))
    return uint16_t(bits >> 16 | 0x40);
  return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

uint16_t halfAt(const char *source, uint64_t i) {
  uint16_t bits;
  std::memcpy(&bits, source + 2 * i, sizeof bits);
  return bits;
}

void widen(ElementType type, const char *source, uint64_t begin, uint64_t count, float *out) {
  if (type == ElementType::f32)
    std::memcpy(out, source + 4 * begin, 4 * count);
  else if (type == ElementType::bf16)
    for (uint64_t i = 0; i < count; ++i)
      out[i] = fromBits(uint32_t(halfAt(source, begin + i)) << 16);
  else
    for (uint64_t i = 0; i < count; ++i)
      out[i] = widenF16(halfAt(source, begin + i));
}

void transformValues(WeightTransform transform, float *values, uint64_t count) {
  switch (transform) {
  case WeightTransform::neg_exp:
    for (uint64_t i = 0; i < count; ++i)
      values[i] = float(-std::exp(double(values[i])));
    break;
  case WeightTransform::twice:
    for (uint64_t i = 0; i < count; ++i)
      values[i] *= 2;
    break;
  case WeightTransform::plus_one:
    for (uint64_t i = 0; i < count; ++i)
      values[i] += 1;
    break;
  default:
    break;
  }
}

} // namespace

void writeWeightRange(const WeightPart &part, uint64_t begin, uint64_t end) {
  const char *source = static_cast<const char *>(part.source);
  char *target = static_cast<char *>(part.target);
  if (part.sourceType == part.targetType && part.transform == WeightTransform::none) {
    const uint64_t size = elementSize(part.targetType);
    std::memcpy(target + begin * size, source + begin * size, (end - begin) * size);
    return;
  }
  constexpr uint64_t chunk = 1024; // values in the first-level cache
  float values[chunk];
  for (; begin < end; begin += chunk) {
    const uint64_t count = std::min(chunk, end - begin);
    widen(part.sourceType, source, begin, count, values);
    transformValues(part.transform, values, count);
    if (part.targetType == ElementType::f32) {
      std::memcpy(target + 4 * begin, values, 4 * count);
      continue;
    }
    for (uint64_t i = 0; i < count; ++i) {
      const uint16_t rounded = roundToBf16(values[i]);
      std::memcpy(target + 2 * (begin + i), &rounded, sizeof rounded);
    }
  }
}

} // namespace m1rt
