// Products by tile registers against float64: the blocking with registers of plain code anywhere,
// the processor's where it has them.
#include "KernelTest.h"
#include "m1k_e4m3.h"
#include "tile_linear.h"
#include <fstream>
#include <iterator>
#include <sys/syscall.h>
#include <unistd.h>

using namespace m1k::test;

namespace {

/// What unpacks integers, by plain code.
struct PlainUnpacker {
  template <typename Code> static void unpack(const m1k::PackedWeights &w, char *to, Code code) {
    for (int r = 0; r < w.rows; ++r)
      for (int c = 0; c < m1k::unpackColumns; ++c) {
        float value = static_cast<float>(code(w.from + r * w.stride, c));
        const long place = w.group ? w.scaleAt + r * w.scalesOfRow + c / w.group : 0;
        if (w.group)
          value *= m1k::loadScale(w.scale, w.scaleType, place);
        if (m1k::hasMinimums(w.scaleType))
          value -= m1k::loadMinimum(w.scale, w.scaleType, place);
        const uint16_t half = toBf16(value);
        std::memcpy(to + r * m1k::unpackBytes + 2 * c, &half, 2);
      }
  }
  static void int4(const m1k::PackedWeights &w, char *to) {
    unpack(w, to, [](const char *row, int c) {
      const int code = codeAt(row, c);
      return code < 8 ? code : code - 16;
    });
  }
  static void int4WithMinimums(const m1k::PackedWeights &w, char *to) { unpack(w, to, codeAt); }
  static void int8OfAnyGroups(const m1k::PackedWeights &w, char *to) { int8(w, to); }
  static int codeAt(const char *row, int c) {
    uint16_t word;
    std::memcpy(&word, row + c % 32 * 2, 2);
    return word >> c / 32 * 4 & 15;
  }
  static void int8(const m1k::PackedWeights &w, char *to) {
    unpack(w, to, [](const char *row, int c) { return static_cast<signed char>(row[c]); });
  }
};

/// The registers as the manual defines them, but for rounding. What was not loaded, or lies past
/// the configured rows, is NaN.
template <class Unpacker> struct PlainTiles : Unpacker {
  int first = 0, second = 0;
  bool isFew = false; // they are columns
  unsigned char bytes[8][16][64];

  int tokens(int tile) const {
    if (tile >= m1k::weightTile)
      return 16;
    return tile < m1k::sumTile + 2 || tile == m1k::tokenTile ? first : second;
  }
  int rows(int tile) const { return isFew ? 16 : tokens(tile); }
  size_t width(int tile) const { return isFew ? 4 * static_cast<size_t>(tokens(tile)) : 64; }
  void configureFew(int newFirst, int newSecond) {
    configure(newFirst, newSecond);
    isFew = true;
  }
  void configure(int newFirst, int newSecond) {
    isFew = false;
    ASSERT_TRUE(newFirst >= 1 && newFirst <= 16 && newSecond >= 1 && newSecond <= 16);
    first = newFirst, second = newSecond;
    std::memset(bytes, 0xff, sizeof(bytes));
  }
  template <int Tile> void zero() {
    for (int r = 0; r < rows(Tile); ++r)
      std::memset(bytes[Tile][r], 0, width(Tile));
  }
  template <int Tile> void load(const char *from, long stride) {
    for (int r = 0; r < rows(Tile); ++r)
      std::memcpy(bytes[Tile][r], from + r * stride, width(Tile));
  }
  template <int Tile> void store(char *to, long stride) {
    for (int r = 0; r < rows(Tile); ++r)
      std::memcpy(to + r * stride, bytes[Tile][r], width(Tile));
  }
  template <int Sum, int A, int B> void multiplyAdd() {
    for (int m = 0; m < rows(Sum); ++m)
      for (int k = 0; k < 16; ++k)
        for (size_t n = 0; n < width(Sum) / 4; ++n) {
          float sum;
          uint16_t a[2], b[2];
          std::memcpy(&sum, bytes[Sum][m] + 4 * n, 4);
          std::memcpy(a, bytes[A][m] + 4 * k, 4);
          std::memcpy(b, bytes[B][k] + 4 * n, 4);
          sum += fromBf16(a[0]) * fromBf16(b[0]) + fromBf16(a[1]) * fromBf16(b[1]);
          std::memcpy(bytes[Sum][m] + 4 * n, &sum, 4);
        }
  }
  void release() { first = second = 0; }
};

struct Case {
  int tokens, n, k, weightType;
  int group; // columns of a scale; 0: rows
  int scaleType;
  bool biased;
  int outType;
};

constexpr int block = 64, tokensOfGroup = 48, chunk = 512;

class Product {
public:
  explicit Product(const Case &c)
      : c(c), x(Matrix::filled(M1K_BF16, c.tokens, c.k, c.k + 5, [&] { return random.normal(); })),
        weight(c.weightType == M1K_I4 ? c.n * int4Stride() : long(c.n) * c.k * (isBf16() ? 2 : 1)),
        values(static_cast<size_t>(c.n) * c.k), levels(c.scaleType, c.n, c.k / 128, random),
        scale(Matrix::filled(
            hasMinimums() || twoLevels() ? M1K_F32 : c.scaleType, c.n,
            (c.group ? (c.k + c.group - 1) / c.group : 1) * (hasMinimums() ? 2 : 1), 0,
            [&] {
              const double value = random.normal();
              // Products with codes are exact, as those of checkpoints.
              return c.group ? fromBf16(toBf16(static_cast<float>(value))) : value;
            })),
        bias(Matrix::filled(M1K_F32, 1, c.n, 0, [&] { return random.normal(); })),
        rowScale(Matrix::filled(M1K_F32, 1, c.tokens, 0, [&] { return random.normal(); })),
        out(c.outType, c.tokens, c.n, c.n + 3) {
    for (int i = 0; i < c.n; ++i)
      for (int column = 0; column < c.k; ++column)
        values[static_cast<size_t>(i) * c.k + column] = draw(i, column);
  }

  const void *scales() { return isBf16() ? nullptr : twoLevels() ? levels.data() : scale.data(); }
  const float *rowScales() const { return isE4m3() ? rowScale.floats() : nullptr; }
  const float *biases() const { return c.biased ? bias.floats() : nullptr; }

  /// 2e-6: sums of up to some thousand terms in f32, of both signs. 4e-3: the result in bf16.
  void check() {
    for (int t = 0; t < c.tokens; ++t)
      for (int i = 0; i < c.n; ++i) {
        double sum = c.biased ? bias.get(0, i) : 0.0, size = 0;
        const double factor = isE4m3() ? rowScale.get(0, t) : 1.0;
        for (int column = 0; column < c.k; ++column) {
          const double product =
              factor * x.get(t, column) * values[static_cast<size_t>(i) * c.k + column];
          sum += product;
          size += std::abs(product);
        }
        ASSERT_NEAR(out.get(t, i), sum,
                    2e-6 * size + (c.outType == M1K_BF16 ? 4e-3 * std::abs(sum) : 1e-6))
            << c.tokens << " tokens, " << c.n << "x" << c.k << " of type " << c.weightType << ": "
            << t << ", " << i;
      }
    EXPECT_TRUE(out.surroundingsIntact());
  }

  Case c;
  Random random{7};
  Matrix x;
  std::vector<char> weight;
  std::vector<double> values; // what the weights are
  Levels levels;
  Matrix scale, bias, rowScale, out;

private:
  bool isBf16() const { return c.weightType == M1K_BF16; }
  bool hasMinimums() const { return m1k::hasMinimums(c.scaleType); }
  bool twoLevels() const {
    return c.scaleType == M1K_PAIRED_LEVELS || c.scaleType == M1K_FINE_LEVELS;
  }
  /// What an integer of a group stands for.
  double scaled(int i, int column, int code) const {
    const int g = column / c.group;
    const double factor = twoLevels()     ? levels.scale(i, g)
                          : hasMinimums() ? scale.get(i, 2 * g)
                                          : scale.get(i, g),
                 minimum = !hasMinimums() ? 0
                           : twoLevels()  ? levels.minimum(i, g)
                                          : scale.get(i, 2 * g + 1);
    return fromBf16(toBf16(static_cast<float>(code * factor - minimum)));
  }
  bool isE4m3() const { return c.weightType == M1K_E4M3; }
  long int4Stride() const { return (c.k + 127) / 128 * 64; }
  /// Writes a random weight; returns its value.
  double draw(int i, int column) {
    const long at = static_cast<long>(i) * c.k + column;
    if (isBf16()) {
      const uint16_t half = toBf16(static_cast<float>(random.normal()));
      std::memcpy(&weight[2 * at], &half, 2);
      return fromBf16(half);
    }
    if (c.weightType == M1K_I8) {
      const int code = random.integer(-127, 127);
      weight[at] = static_cast<char>(code);
      return c.group ? scaled(i, column, code) : code * scale.get(i, 0);
    }
    if (isE4m3()) {
      const int code = random.integer(0, 0x7e) | random.integer(0, 1) << 7;
      weight[at] = static_cast<char>(code);
      return m1k_e4m3_value(static_cast<unsigned char>(code)) * scale.get(i, 0);
    }
    const int code = hasMinimums() ? random.integer(0, 15) : random.integer(-8, 7);
    const long word = i * int4Stride() + column / 128 * 64 + column % 32 * 2;
    uint16_t codes;
    std::memcpy(&codes, &weight[word], 2);
    codes = static_cast<uint16_t>(codes | (code & 15) << column % 128 / 32 * 4);
    std::memcpy(&weight[word], &codes, 2);
    return scaled(i, column, code);
  }
};

/// Tokens, rows and columns that fill registers, fall short of one and go beyond one.
std::vector<Case> cases() {
  std::vector<Case> all;
  int number = 0;
  for (int tokens : {1, 8, 16, 17, 32, 33, 70})
    for (int n : {1, 15, 32, 40, 64, 130})
      for (int k : {1, 31, 64, 100, 544, 1100}) {
        ++number;
        struct Weights {
          int type, group, scaleType;
        };
        constexpr Weights types[] = {
            {M1K_BF16, 0, M1K_F32},         {M1K_I8, 0, M1K_F32},
            {M1K_I4, 32, M1K_BF16},         {M1K_E4M3, 0, M1K_F32},
            {M1K_I8, 32, M1K_F16},          {M1K_I8, 128, M1K_BF16},
            {M1K_I4, 64, M1K_F16},          {M1K_I8, 16, M1K_FINE_LEVELS},
            {M1K_I4, 32, M1K_F32_MINIMUM},  {M1K_I8, 64, M1K_F32_MINIMUM},
            {M1K_I4, 128, M1K_F32_MINIMUM}, {M1K_I4, 32, M1K_PAIRED_LEVELS},
            {M1K_I8, 32, M1K_PAIRED_LEVELS}};
        const Weights &w = types[number % 13];
        const bool twoLevels = w.scaleType == M1K_FINE_LEVELS || w.scaleType == M1K_PAIRED_LEVELS;
        const int columns = twoLevels ? (k + 127) / 128 * 128 : k;
        all.push_back({tokens, n, columns, w.type, w.group, w.scaleType, number % 3 == 0,
                       number % 5 == 0 ? M1K_BF16 : M1K_F32});
      }
  return all;
}

template <class Unpacker = PlainUnpacker>
M1K_AMX void multiplyPlainly(Product &p, long first, long begin, long end) {
  // Scratch begins as NaN.
  using Linear = m1k::TileLinear<PlainTiles<Unpacker>>;
  std::vector<char> packed(block * chunk * 2, -1), sums(block * 64 * 4, -1), tails(64 * 64, -1),
      unpacked(4 * m1k::tileRows * m1k::unpackBytes, -1);
  Linear{p.out.data(),
         p.x.data(),
         p.weight.data(),
         p.scales(),
         p.rowScales(),
         p.biases(),
         begin,
         end,
         first,
         std::min<int>(block, p.c.n - static_cast<int>(first)),
         p.c.k,
         chunk,
         p.c.group,
         p.c.weightType,
         p.c.scaleType,
         p.c.outType,
         p.out.stride,
         p.x.stride,
         packed.data(),
         sums.data(),
         tails.data(),
         unpacked.data(),
         {}}
      .run();
}

template <typename Multiply> void checkAll(Multiply multiply) {
  const std::vector<Case> all = cases();
  // 11: every value of each of a case's properties is among them.
  for (size_t i = 0; i < all.size(); i += m1test::repeated(1, 11)) {
    const Case &c = all[i];
    Product p(c);
    for (long first = 0; first < c.n; first += block)
      for (long begin = 0; begin < c.tokens; begin += tokensOfGroup)
        multiply(p, first, begin, std::min<long>(begin + tokensOfGroup, c.tokens));
    p.check();
    if (testing::Test::HasFatalFailure())
      return;
  }
}

// Blocking, packing and edges are right whatever multiplies the tiles.
TEST(TileLinear, PlainTilesAgreeWithFloat64) { checkAll(multiplyPlainly<>); }

// Integers unpacked by the processor's vectors.
TEST(TileLinear, UnpackersAgreeWithFloat64) {
  if (!__builtin_cpu_supports("avx512bf16") || !__builtin_cpu_supports("avx512bw"))
    GTEST_SKIP() << "this processor has no avx512_bf16";
  checkAll(multiplyPlainly<m1k::VectorUnpacker>);
}

/// Why this process cannot use tile registers; empty when it can.
std::string whyNoTiles() {
  std::ifstream file("/proc/cpuinfo");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  if (text.find(" amx_bf16") == std::string::npos)
    return "this processor has no amx_bf16";
  constexpr int requestPermission = 0x1023, tileData = 18; // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, requestPermission, tileData) == 0 ? "" : "the system denies AMX";
}

// The processor's registers, on the same cases.
TEST(TileLinear, ProcessorAgreesWithFloat64) {
  if (std::string why = whyNoTiles(); !why.empty())
    GTEST_SKIP() << why;
  checkAll([](Product &p, long first, long begin, long end) {
    m1k_cpu_tile_linear(p.out.data(), p.x.data(), p.weight.data(), p.scales(), p.rowScales(),
                        p.biases(), first, std::min<long>(first + block, p.c.n), begin, end, p.c.k,
                        block, tokensOfGroup, chunk, p.c.group, p.c.weightType, p.c.scaleType,
                        p.c.outType, p.out.stride, p.x.stride);
  });
}

// A token's result is the same bits whatever tokens are multiplied with it, and so are the operands
// that are packed.
TEST(TileLinear, ResultIsIndependentOfOtherTokens) {
  for (int type : {M1K_BF16, M1K_I8, M1K_I4}) {
    const bool isGrouped = type == M1K_I4; // scales of rows are f32
    Product p(
        {40, 48, 1100, type, isGrouped ? 32 : 0, isGrouped ? M1K_BF16 : M1K_F32, false, M1K_F32});
    multiplyPlainly<>(p, 0, 0, 40);
    Matrix all = p.out;
    for (long begin = 0; begin < 40; begin += 9)
      multiplyPlainly<>(p, 0, begin, std::min<long>(begin + 9, 40));
    EXPECT_TRUE(p.out == all) << type;
  }
}

} // namespace
