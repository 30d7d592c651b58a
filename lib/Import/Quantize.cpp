#include "Quantize.h"
#include "Elements.h"

#include "M1/IR/Int4.h"
#include "m1k_e4m3.h"
#include "llvm/ADT/bit.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

using llvm::ArrayRef;

namespace m1c {
namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
// Adding 1.5 · 2^23 rounds a float of a few digits to an integer, to nearest even.
constexpr float magic = 12582912.0f;

/// The bits of the largest absolute value. In their order infinity is above every number, NaN above
/// infinity.
uint32_t largestMagnitude(ArrayRef<float> values) {
  uint32_t largest = 0;
  for (float value : values)
    largest = std::max(largest, llvm::bit_cast<uint32_t>(value) & 0x7fffffff);
  return largest;
}
constexpr uint32_t infinity = 0x7f800000;

// Sixteen values whatever the CPU has, so that sums are the same on each.
typedef float Floats __attribute__((vector_size(64)));
constexpr int lanes = 16, mostVectors = mlir::m1::int4Block / lanes;

// Scales that are tried: those that take a group's value of the largest magnitude to -7 … -11, past
// -8 cut off there, so that the others become finer. Normal values are then off by 8.1, 9.0 and
// 9.6 % of their deviation in groups of 32, 64 and 128 (8.6, 9.5 and 10.3 % with -8 alone); steps
// that are finer or go further, and the other sign, gain less than a hundredth of that.
constexpr float firstTried = 7.0f, stepTried = 0.25f;
constexpr int countTried = 17;

/// The squared errors that `scale` leaves; `importance`: what each counts, null: all the same.
inline __attribute__((always_inline)) float errorOf(const Floats *values, const Floats *importance,
                                                    int vectors, float scale) {
#pragma STDC FP_CONTRACT OFF
  const float inverse = 1.0f / scale;
  Floats sums = {};
  for (int i = 0; i < vectors; ++i) {
    Floats q = values[i] * inverse;
    q = q < -8.0f ? Floats{} - 8.0f : q;
    q = q > 7.0f ? Floats{} + 7.0f : q;
    Floats error = values[i] - (q + magic - magic) * scale;
    sums += importance ? error * error * importance[i] : error * error;
  }
  float sum = 0;
  for (int i = 0; i < lanes; ++i)
    sum += sums[i];
  return sum;
}

inline __attribute__((always_inline)) float
leastError(const Floats *values, const Floats *importance, int vectors, float largest) {
  float best = 0, least = std::numeric_limits<float>::infinity();
  for (int i = 0; i < countTried; ++i) {
    float scale = nearestBf16(largest / -(firstTried + stepTried * float(i)));
    float error = errorOf(values, importance, vectors, scale);
    if (error < least) {
      least = error;
      best = scale;
    }
  }
  return best;
}

inline __attribute__((always_inline)) float
bestScale(const Floats *values, const Floats *importance, int vectors, float largest) {
  return importance ? leastError(values, importance, vectors, largest)
                    : leastError(values, nullptr, vectors, largest);
}

float bestScalePlain(const Floats *values, const Floats *importance, int vectors, float largest) {
  return bestScale(values, importance, vectors, largest);
}
#if defined(__x86_64__)
__attribute__((target("avx2"))) float bestScaleAvx2(const Floats *values, const Floats *importance,
                                                    int vectors, float largest) {
  return bestScale(values, importance, vectors, largest);
}
__attribute__((target("avx512f"))) float
bestScaleAvx512(const Floats *values, const Floats *importance, int vectors, float largest) {
  return bestScale(values, importance, vectors, largest);
}
#endif

using BestScale = float (*)(const Floats *, const Floats *, int, float);
BestScale chooseBestScale() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f"))
    return bestScaleAvx512;
  if (__builtin_cpu_supports("avx2"))
    return bestScaleAvx2;
#endif
  return bestScalePlain;
}

/// The scale of one group: a bf16, 0 where it is subnormal, NaN where a value is not finite.
float int4Scale(ArrayRef<float> group, ArrayRef<float> importance) {
  static const BestScale best = chooseBestScale();
  const uint32_t magnitude = largestMagnitude(group);
  if (magnitude >= infinity)
    return nan;
  const float largest = llvm::bit_cast<float>(magnitude);
  if (largest / 16 < std::numeric_limits<float>::min())
    return 0;
  alignas(sizeof(Floats)) float values[mostVectors * lanes] = {}, counts[mostVectors * lanes] = {};
  std::copy(group.begin(), group.end(), values);
  std::copy(importance.begin(), importance.end(), counts);
  const bool isNegative = std::find(group.begin(), group.end(), largest) == group.end();
  return best(reinterpret_cast<const Floats *>(values),
              importance.empty() ? nullptr : reinterpret_cast<const Floats *>(counts),
              static_cast<int>((group.size() + lanes - 1) / lanes),
              isNegative ? -largest : largest);
}

/// Calls body(first column, values, scale) for each group of int4.
template <typename Body>
void forGroups(ArrayRef<float> row, ArrayRef<float> importance, int64_t group, Body body) {
  const auto size = static_cast<size_t>(group);
  for (size_t begin = 0; begin < row.size(); begin += size) {
    ArrayRef<float> values = row.slice(begin).take_front(size), counts = importance;
    if (!importance.empty())
      counts = importance.slice(begin).take_front(size);
    body(begin, values, int4Scale(values, counts));
  }
}

/// The same of int8, with scales that are bf16.
template <typename Body> void forGroups(ArrayRef<float> row, int64_t group, Body body) {
  const auto size = static_cast<size_t>(group);
  for (size_t begin = 0; begin < row.size(); begin += size) {
    ArrayRef<float> values = row.slice(begin).take_front(size);
    const float scale = int8Scale(values);
    body(values, std::isnan(scale) ? nan : nearestBf16(scale));
  }
}

/// Multiples of a scale, as integers.
void quantizeInt8By(float scale, ArrayRef<float> values, int8_t *out) {
  if (!(scale > 0)) { // zeros, or NaN
    std::fill_n(out, values.size(), int8_t(0));
    return;
  }
  // Quotients may be above 127: by a scale that is rounded, or subnormal.
  for (size_t i = 0; i < values.size(); ++i)
    out[i] = int8_t(std::clamp(values[i] / scale, -127.0f, 127.0f) + magic - magic);
}

uint16_t bf16Bits(float scale) { return uint16_t(llvm::bit_cast<uint32_t>(scale) >> 16); }

} // namespace

float int8Scale(ArrayRef<float> row) {
  const uint32_t largest = largestMagnitude(row);
  return largest < infinity ? llvm::bit_cast<float>(largest) / 127.0f : nan;
}

void quantizeInt8(ArrayRef<float> row, int8_t *out) { quantizeInt8By(int8Scale(row), row, out); }

void int8GroupScales(ArrayRef<float> row, int64_t group, uint16_t *out) {
  forGroups(row, group, [&](ArrayRef<float>, float scale) { *out++ = bf16Bits(scale); });
}

void quantizeInt8Groups(ArrayRef<float> row, int64_t group, int8_t *out) {
  forGroups(row, group, [&](ArrayRef<float> values, float scale) {
    quantizeInt8By(scale, values, out);
    out += values.size();
  });
}

float fp8Scale(ArrayRef<float> row) {
  const uint32_t largest = largestMagnitude(row);
  return largest < infinity ? llvm::bit_cast<float>(largest) / M1K_E4M3_LARGEST : nan;
}

void quantizeFp8(ArrayRef<float> row, uint8_t *out) {
  const float scale = fp8Scale(row);
  if (!(scale > 0)) { // zeros, or NaN
    std::fill_n(out, row.size(), uint8_t(0));
    return;
  }
  // With a scale that is subnormal quotients may be above 448, which is where numbers end.
  for (size_t i = 0; i < row.size(); ++i)
    out[i] = m1k_e4m3_of(row[i] / scale);
}

void int4Scales(ArrayRef<float> row, ArrayRef<float> importance, int64_t group, uint16_t *out) {
  forGroups(row, importance, group,
            [&](size_t, ArrayRef<float>, float scale) { *out++ = bf16Bits(scale); });
}

void quantizeInt4(ArrayRef<float> row, ArrayRef<float> importance, int64_t group, uint8_t *out) {
  std::vector<int8_t> codes(row.size());
  forGroups(row, importance, group, [&](size_t begin, ArrayRef<float> values, float scale) {
    if (scale == 0 || std::isnan(scale))
      return;
    for (size_t i = 0; i < values.size(); ++i)
      codes[begin + i] = int8_t(std::clamp(values[i] / scale, -8.0f, 7.0f) + magic - magic);
  });
  packInt4(codes, out);
}

void packInt4(ArrayRef<int8_t> codes, uint8_t *out) {
  std::memset(out, 0, static_cast<size_t>(mlir::m1::int4RowBytes(int64_t(codes.size()))));
  for (size_t i = 0; i < codes.size(); ++i) {
    mlir::m1::Int4Place place = mlir::m1::int4Place(static_cast<int64_t>(i));
    out[place.byte] |= uint8_t((codes[i] & 15) << place.shift);
  }
}

} // namespace m1c
