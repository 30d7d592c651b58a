#include "Draw.h"

#include "m1c/Weights.h"

#include <cmath>
#include <vector>

using namespace m1c;

namespace {

/// splitmix64's finaliser.
uint64_t mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
  return value ^ (value >> 31);
}

constexpr uint64_t step = 0x9E3779B97F4A7C15u;

/// The start of a tensor's sequence: FNV-1a of the name, mixed with the seed.
uint64_t keyOf(uint64_t seed, llvm::StringRef name) {
  uint64_t key = 0xCBF29CE484222325u;
  for (unsigned char byte : name)
    key = (key ^ byte) * 0x100000001B3u;
  return mix(key + mix(seed + step));
}

/// 24 bits, centred: never -1, 0 or 1.
double uniformAt(uint64_t key, uint64_t index) {
  int64_t bits = mix(key + (index + 1) * step) >> 40;
  return (bits * 2 + 1 - (int64_t(1) << 24)) / 16777216.0;
}

double valueAt(const Drawing &drawing, uint64_t key, int64_t index) {
  switch (drawing.rule) {
  case Drawing::Rule::uniform:
    return uniformAt(key, index) * drawing.bound;
  case Drawing::Rule::stepBias: {
    // The uniform number passes through float32, as everywhere.
    double low = std::log(0.001), high = std::log(0.1);
    double u = static_cast<float>(uniformAt(key, index));
    double size = std::exp(low + (u + 1) / 2 * (high - low));
    return (size + std::log(-std::expm1(-size))) / 2;
  }
  case Drawing::Rule::logRow:
    return std::log(static_cast<double>(index % drawing.columns + 1));
  case Drawing::Rule::one:
    return 1;
  }
  llvm_unreachable("all rules are handled");
}

} // namespace

void m1c::draw(const Drawing &drawing, llvm::StringRef name, uint64_t seed, int64_t begin,
               int64_t end, StoredType type, llvm::SmallVectorImpl<char> &bytes) {
  uint64_t key = keyOf(seed, name);
  std::vector<float> values;
  values.reserve(end - begin);
  for (int64_t index = begin; index < end; ++index)
    values.push_back(static_cast<float>(valueAt(drawing, key, index)));
  storeValues(values, type, bytes);
}
