// The float32 functions of the CPU kernels against the C library in float64, with the errors that
// m1k_cpu.h states.
#include "KernelTest.h"
#include "vector.h"

using namespace m1k::test;

namespace {

/// Largest error in units of the last place of float32 over `count` values spread evenly over [low,
/// high].
template <typename Got, typename Exact>
double worstUlp(double low, double high, Got got, Exact exact) {
  const int count = 400000;
  double worst = 0;
  for (int i = 0; i < count; i += m1k::lanes) {
    m1k::Floats x = 0.0f;
    for (int k = 0; k < m1k::lanes; ++k)
      x[k] = static_cast<float>(low + (high - low) * (i + k) / count);
    m1k::Floats y = got(x);
    for (int k = 0; k < m1k::lanes; ++k) {
      double want = exact(static_cast<double>(x[k]));
      int exponent;
      std::frexp(want, &exponent);
      worst = std::max(worst, std::abs(y[k] - want) / std::ldexp(1.0, exponent - 24));
    }
  }
  return worst;
}
double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// exp stays within its stated error on the range where results are normal, and is exactly 1 at 0.
TEST(Functions, Exp) {
  auto got = [](m1k::Floats x) { return m1k::exp(x); };
  EXPECT_LE(worstUlp(-87.3, 88.3, got, [](double x) { return std::exp(x); }), 2.0);
  EXPECT_LE(worstUlp(-1.0, 1.0, got, [](double x) { return std::exp(x); }), 2.0);
  EXPECT_EQ(m1k::exp(m1k::Floats(0.0f))[3], 1.0f);
}

// Outside that range exp goes to 0, saturates finitely, and passes NaN on.
TEST(Functions, ExpExtremes) {
  EXPECT_EQ(m1k::exp(m1k::Floats(-1e30f))[0], 0.0f);
  EXPECT_EQ(m1k::exp(m1k::Floats(-std::numeric_limits<float>::infinity()))[0], 0.0f);
  EXPECT_TRUE(std::isfinite(m1k::exp(m1k::Floats(1e30f))[0]));
  EXPECT_GT(m1k::exp(m1k::Floats(1e30f))[0], 2e38f);
  EXPECT_TRUE(std::isnan(m1k::exp(m1k::Floats(std::numeric_limits<float>::quiet_NaN()))[0]));
}

// softplus keeps its relative accuracy on both sides of 0, where the plain formula loses it.
TEST(Functions, Softplus) {
  auto got = [](m1k::Floats x) { return m1k::softplus(x); };
  auto exact = [](double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); };
  EXPECT_LE(worstUlp(-87.0, 100.0, got, exact), 3.0);
  EXPECT_LE(worstUlp(-2.0, 2.0, got, exact), 3.0);
  EXPECT_TRUE(std::isnan(m1k::softplus(m1k::Floats(std::numeric_limits<float>::quiet_NaN()))[0]));
}

// sigmoid and silu hold their stated error, and far out neither overflows.
TEST(Functions, SigmoidAndSilu) {
  EXPECT_LE(worstUlp(-87.0, 87.0, [](m1k::Floats x) { return m1k::sigmoid(x); }, sigmoid), 4.0);
  EXPECT_LE(worstUlp(
                -87.0, 87.0, [](m1k::Floats x) { return m1k::silu(x); },
                [](double x) { return x * sigmoid(x); }),
            4.0);
  EXPECT_EQ(m1k::silu(m1k::Floats(1e30f))[0], 1e30f);
  EXPECT_NEAR(m1k::silu(m1k::Floats(-1e4f))[0], 0.0, 1e-30);
}

// float32 to bf16 rounds to nearest, ties to even, and keeps NaN a NaN.
TEST(Functions, Bf16) {
  Random random(1);
  for (int i = 0; i < 20000; ++i) {
    float f = static_cast<float>(random.normal(std::exp(random.uniform(-40, 40))));
    if (i % 8 == 0) { // a tie
      uint32_t u;
      std::memcpy(&u, &f, 4);
      u = (u & 0xffff0000u) | 0x8000u;
      std::memcpy(&f, &u, 4);
    }
    ASSERT_EQ(m1k::narrow(m1k::Floats(f))[i % 16], toBf16(f)) << f;
  }
  uint32_t tricky = 0x7f800001u; // a NaN whose payload a plain rounding would lose
  float f;
  std::memcpy(&f, &tricky, 4);
  EXPECT_TRUE(std::isnan(fromBf16(m1k::narrow(m1k::Floats(f))[0])));
}

// Numbers of f16, which states may be, end at 65504: what rounds to more becomes infinite, of its
// sign.
TEST(Functions, F16Ends) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (auto [value, want] : {std::pair(65504.0f, 65504.0f),
                             {65519.0f, 65504.0f},
                             {65520.0f, infinity},
                             {-65520.0f, -infinity},
                             {-1e30f, -infinity},
                             {infinity, infinity}}) {
    Matrix m(M1K_F16, 1, 16);
    m1k::store(m.data(), M1K_F16, 0, 16, m1k::Floats(value));
    EXPECT_EQ(m.get(0, 7), want) << value;
    EXPECT_EQ(m1k::load(m.data(), M1K_F16, 0, 16)[7], want) << value;
  }
}

// Loads and stores of fewer than 16 elements touch exactly those.
TEST(Functions, PartialAccess) {
  for (int type : {M1K_F32, M1K_BF16, M1K_F16})
    for (int count = 1; count <= m1k::lanes; ++count) {
      Matrix m = Matrix::filled(type, 1, count, 0, [n = 0]() mutable { return ++n; });
      m1k::Floats v = m1k::load(m.data(), type, 0, count);
      for (int i = 0; i < m1k::lanes; ++i)
        EXPECT_EQ(v[i], i < count ? i + 1 : 0);
      m1k::store(m.data(), type, 0, count, v + 1.0f);
      EXPECT_TRUE(m.surroundingsIntact());
      EXPECT_EQ(m.get(0, count - 1), count + 1);
    }
}

} // namespace
