// What the kernel tests share: seeded random data, matrices with poisoned surroundings, ragged
// batches, and the tolerance.
#ifndef M1_TEST_KERNELS_KERNELTEST_H
#define M1_TEST_KERNELS_KERNELTEST_H

#include "../Support/Sanitized.h"
#include "../Support/TestSeed.h"
#include "m1k_cpu.h"
#include "m1k_cpu_entries.h"
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace m1k::test {

class Random {
public:
  explicit Random(uint64_t salt) : engine(m1test::testSeed() * 0x9E3779B97F4A7C15ull + salt) {}
  double normal(double scale = 1.0) { return std::normal_distribution<double>(0.0, scale)(engine); }
  double uniform(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(engine);
  }
  int integer(int low, int high) { return std::uniform_int_distribution<int>(low, high)(engine); }
  template <typename T> T pick(std::initializer_list<T> values) {
    return values.begin()[integer(0, static_cast<int>(values.size()) - 1)];
  }
  template <typename T> void shuffle(std::vector<T> &values) {
    std::shuffle(values.begin(), values.end(), engine);
  }

private:
  std::mt19937_64 engine;
};

inline float fromBf16(uint16_t h) {
  uint32_t u = static_cast<uint32_t>(h) << 16;
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}
/// To nearest, ties to even; finite values only.
inline uint16_t toBf16(float f) {
  uint32_t u;
  std::memcpy(&u, &f, 4);
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

inline float fromF16(uint16_t bits) {
  _Float16 value;
  std::memcpy(&value, &bits, 2);
  return value;
}
inline uint16_t toF16(float f) {
  const auto value = static_cast<_Float16>(f);
  uint16_t bits;
  std::memcpy(&bits, &value, 2);
  return bits;
}

/// rows × columns inside rows of `stride` elements, a margin before and behind. Every element
/// starts as the NaN that `poison` recognises.
class Matrix {
public:
  Matrix() = default;
  Matrix(int type, long rows, long columns, long stride = 0)
      : type(type), rows(rows), columns(columns), stride(stride ? stride : columns) {
    count = margin + (rows ? (rows - 1) * this->stride + columns : 0) + margin;
    if (type == M1K_F32)
      single.assign(count, std::numeric_limits<float>::quiet_NaN());
    else
      half.assign(count, poisonHalf);
  }
  template <typename Fill>
  static Matrix filled(int type, long rows, long columns, long stride, Fill fill) {
    Matrix m(type, rows, columns, stride);
    for (long r = 0; r < rows; ++r)
      for (long c = 0; c < columns; ++c)
        m.set(r, c, fill());
    return m;
  }
  void set(long r, long c, double v) {
    if (type == M1K_F32)
      single[index(r, c)] = static_cast<float>(v);
    else
      half[index(r, c)] =
          type == M1K_F16 ? toF16(static_cast<float>(v)) : toBf16(static_cast<float>(v));
  }
  double get(long r, long c) const {
    return type == M1K_F32   ? single[index(r, c)]
           : type == M1K_F16 ? fromF16(half[index(r, c)])
                             : fromBf16(half[index(r, c)]);
  }
  void *data() {
    return type == M1K_F32 ? static_cast<void *>(single.data() + margin) : half.data() + margin;
  }
  const float *floats() const { return single.data() + margin; }

  /// True when nothing outside the rows' columns was written.
  bool surroundingsIntact() const {
    std::vector<bool> inside(count, false);
    for (long r = 0; r < rows; ++r)
      for (long c = 0; c < columns; ++c)
        inside[index(r, c)] = true;
    for (long i = 0; i < count; ++i)
      if (!inside[i] && (type == M1K_F32 ? !std::isnan(single[i]) : half[i] != poisonHalf))
        return false;
    return true;
  }
  bool operator==(const Matrix &other) const {
    return half == other.half && single.size() == other.single.size() &&
           (single.empty() ||
            std::memcmp(single.data(), other.single.data(), single.size() * sizeof(float)) == 0);
  }

  int type = M1K_F32;
  long rows = 0, columns = 0, stride = 0;

private:
  static constexpr long margin = 32;
  static constexpr uint16_t poisonHalf = 0x7fff;
  long index(long r, long c) const { return margin + r * stride + c; }
  long count = 0;
  std::vector<float> single;
  std::vector<uint16_t> half;
};

/// Scales of groups in two levels, `blocks` times 128 columns a row, drawn at random.
class Levels {
public:
  Levels(int scaleType, int rows, int blocks, Random &random)
      : paired(scaleType == M1K_PAIRED_LEVELS), blocks(blocks),
        bytes(static_cast<size_t>(rows) * blocks * blockBytes()) {
    for (size_t at = 0; at < bytes.size(); at += blockBytes()) {
      for (int i = 0; i < head(); i += 2) {
        const uint16_t half = toF16(static_cast<float>(random.normal()));
        std::memcpy(&bytes[at + i], &half, 2);
      }
      for (int i = head(); i < blockBytes(); ++i)
        bytes[at + i] = static_cast<uint8_t>(random.integer(0, paired ? 63 : 255));
    }
  }
  double scale(int row, int group) const {
    const uint8_t *block = find(row, group);
    const uint8_t level = block[head() + group % groups()];
    return half(block) * (paired ? level : static_cast<int8_t>(level));
  }
  double minimum(int row, int group) const {
    const uint8_t *block = find(row, group);
    return half(block + 2) * block[8 + group % 4];
  }
  const void *data() const { return bytes.data(); }

private:
  int head() const { return paired ? 4 : 2; }
  int groups() const { return paired ? 4 : 8; }
  int blockBytes() const { return paired ? 12 : 10; }
  static double half(const uint8_t *at) {
    uint16_t value;
    std::memcpy(&value, at, 2);
    return fromF16(value);
  }
  const uint8_t *find(int row, int group) const {
    return &bytes[(static_cast<size_t>(row) * blocks + group / groups()) * blockBytes()];
  }
  bool paired;
  int blocks;
  std::vector<uint8_t> bytes;
};

/// The batch arrays of a step: sequence s brings lengths[s] tokens after the before[s] it already
/// has.
struct Batch {
  Batch(const std::vector<int> &lengths, const std::vector<int> &before,
        const std::vector<int> &slotOf)
      : slots(slotOf) {
    starts.push_back(0);
    for (size_t s = 0; s < lengths.size(); ++s) {
      for (int i = 0; i < lengths[s]; ++i)
        positions.push_back(before[s] + i);
      starts.push_back(starts.back() + lengths[s]);
      contexts.push_back(before[s] + lengths[s]);
    }
    dims = {starts.back(), static_cast<int>(lengths.size()), 0, 0};
  }
  int sequences() const { return dims.sequences; }
  int tokens() const { return dims.tokens; }
  bool fresh(int s) const { return positions[starts[s]] == 0; }
  std::vector<int> starts, slots, positions, contexts;
  m1_dims dims;
};

/// Calls run(group_x, group_y) for the whole grid in random order: groups must not depend on each
/// other.
template <typename Run> void launch(Random &random, int gridX, int gridY, Run run) {
  std::vector<int> order(gridX * gridY);
  std::iota(order.begin(), order.end(), 0);
  random.shuffle(order);
  for (int i : order)
    run(i % gridX, i / gridX);
}

/// Largest differences of `got` from the float64 result and of a plain float32 run from it, and the
/// size of the values.
struct Errors {
  double got = 0, naive = 0, scale = 0;
  /// Further error, relative to scale, that roundings inside allow but a naive run of few values
  /// may not show.
  double slack = 0;
  void add(double value, double exact, double single) {
    double error = std::abs(value - exact);
    got = std::isnan(error) ? std::numeric_limits<double>::infinity() : std::max(got, error);
    naive = std::max(naive, std::abs(single - exact));
    scale = std::max(scale, std::abs(exact));
  }
  /// What the same precision cannot avoid: a few times the naive run's error, a rounding of the
  /// functions used (4 ulp), and half a unit of bf16 (2^-9, of f16 2^-11, of the value; twice where
  /// a rounded state feeds back) for results stored so.
  void check(int storedType, double feedback = 1.0) const {
    double limit = 4.0 * naive + 4.0 * std::ldexp(scale, -23) + slack * scale;
    if (storedType == M1K_BF16)
      limit += feedback * std::ldexp(scale, -8);
    else if (storedType == M1K_F16)
      limit += feedback * std::ldexp(scale, -11);
    EXPECT_LE(got, limit) << "naive float32 error " << naive << ", largest value " << scale;
  }
};

/// A step of sequences of these lengths, every second of which goes on, on slots in any order, of
/// random Data of problem `p`: outputs and states that `run(data, batch)` leaves agree with
/// `exact(data, batch)`, in float64, as `single(data, batch)`, in float32, does, and nothing else
/// is written. `slack`: Errors::slack of both.
template <typename Data, typename Problem, typename Run, typename Exact, typename Single>
void checkBatch(const Problem &p, const std::vector<int> &lengths, double slack, Random &random,
                Run run, Exact exact, Single single) {
  const int sequences = static_cast<int>(lengths.size()), slots = sequences + 2;
  std::vector<int> slotOf(slots), before;
  std::iota(slotOf.begin(), slotOf.end(), 0);
  random.shuffle(slotOf);
  slotOf.resize(sequences);
  for (int s = 0; s < sequences; ++s)
    before.push_back(s % 2 ? random.integer(1, 100) : 0);
  const Batch batch(lengths, before, slotOf);
  Data data(p, batch.tokens(), slots, random);
  const auto wanted = exact(data, batch);
  const auto naive = single(data, batch);
  const Matrix stateBefore = data.state;
  run(data, batch);

  Errors out, state;
  out.slack = state.slack = slack;
  for (long t = 0; t < batch.tokens(); ++t)
    for (long c = 0; c < data.out.columns; ++c) {
      const long i = t * data.out.columns + c;
      out.add(data.out.get(t, c), wanted.out[i], naive.out[i]);
    }
  for (int s = 0; s < slots; ++s) {
    const bool named = std::find(slotOf.begin(), slotOf.end(), s) != slotOf.end();
    for (long i = 0; i < data.state.columns; ++i) {
      const long at = s * data.state.columns + i;
      state.add(data.state.get(s, i), wanted.state[at], naive.state[at]);
      if (!named)
        ASSERT_EQ(data.state.get(s, i), stateBefore.get(s, i))
            << "a slot that the batch does not name was written";
    }
  }
  out.check(data.out.type);
  state.check(data.state.type);
  EXPECT_TRUE(data.out.surroundingsIntact());
  EXPECT_TRUE(data.state.surroundingsIntact());
}

/// A decode of 100,000 tokens of one sequence, token by token, in blocks of random Data of problem
/// `p`, whose weights `keep(data, first)` takes over from the first. `run(data, batch, token)` is
/// the kernel, `exact(data, batch, state)` outputs and state in float64. Prints the largest error
/// relative to the largest value of a block, which must stay within `limit`. With a limit of
/// infinity it only prints. With sanitizers a tenth of it.
template <typename Data, typename Problem, typename Keep, typename Run, typename Exact>
void checkDrift(const char *name, double limit, const Problem &p, Random &random, Keep keep,
                Run run, Exact exact) {
  constexpr int blocks = m1test::repeated(100, 10);
  constexpr int block = 1000;
  Data first(p, 1, 1, random); // weights and the state, all along
  std::vector<double> carried, errors;
  for (int b = 0; b < blocks; ++b) {
    Data data(p, block, 1, random);
    keep(data, first);
    std::swap(data.state, first.state);
    for (int t = 0; t < block; ++t)
      run(data, Batch({1}, {b * block + t}, {0}), t);
    std::swap(data.state, first.state);
    const auto wanted = exact(data, Batch({block}, {b ? block : 0}, {0}), b ? &carried : nullptr);
    carried = wanted.state;
    double error = 0, scale = 0;
    for (size_t i = 0; i < wanted.out.size(); ++i) {
      const long columns = data.out.columns;
      error = std::max(error, std::abs(data.out.get(i / columns, i % columns) - wanted.out[i]));
      scale = std::max(scale, std::abs(wanted.out[i]));
    }
    errors.push_back(error / scale);
  }
  const double early = *std::max_element(errors.begin(), errors.begin() + blocks / 10),
               late = *std::max_element(errors.end() - blocks / 10, errors.end()),
               worst = *std::max_element(errors.begin(), errors.end());
  std::printf("%s: error of the first tenth %.2g, of the last %.2g, worst %.2g\n", name, early,
              late, worst);
  EXPECT_LE(worst, limit);
}

} // namespace m1k::test

#endif
