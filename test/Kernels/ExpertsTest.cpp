// Mixtures of experts on the CPU against their formulas in float64.
#include "KernelTest.h"

using namespace m1k::test;

namespace {

struct Router {
  int count = 8, chosen = 2;
  bool sigmoid = false, normalize = true, corrected = false;
  float scale = 1.0f;
  int groups = 1, kept = 1;
};

/// The chosen experts of a row and their weights.
void route(const Router &p, const float *logits, const float *correction,
           std::vector<double> &weights, std::vector<int> &experts) {
  std::vector<double> score(p.count), choice(p.count);
  double top = *std::max_element(logits, logits + p.count), total = 0;
  for (int e = 0; e < p.count; ++e)
    total += std::exp(logits[e] - top);
  for (int e = 0; e < p.count; ++e) {
    score[e] =
        p.sigmoid ? 1 / (1 + std::exp(-double(logits[e]))) : std::exp(logits[e] - top) / total;
    choice[e] = score[e] + (p.corrected ? correction[e] : 0.0);
  }
  auto order = [](const std::vector<double> &values) {
    std::vector<int> result(values.size());
    std::iota(result.begin(), result.end(), 0);
    std::sort(result.begin(), result.end(),
              [&](int i, int j) { return values[i] != values[j] ? values[i] > values[j] : i < j; });
    return result;
  };
  int size = p.count / p.groups;
  if (p.groups > 1) {
    std::vector<double> sums;
    for (int g = 0; g < p.groups; ++g) {
      std::vector<double> members(choice.begin() + g * size, choice.begin() + (g + 1) * size);
      std::sort(members.rbegin(), members.rend());
      sums.push_back(members[0] + members[1]);
    }
    std::vector<int> groups = order(sums);
    for (int i = p.kept; i < p.groups; ++i)
      std::fill_n(choice.begin() + groups[i] * size, size,
                  -std::numeric_limits<double>::infinity());
  }
  experts = order(choice);
  experts.resize(p.chosen);
  double sum = 0;
  for (int e : experts)
    sum += score[e];
  weights.clear();
  for (int e : experts)
    weights.push_back(score[e] * p.scale / (p.normalize ? sum + 1e-20 : 1.0));
}

// Every way to choose experts; values lie far enough apart that rounding changes no choice.
TEST(Experts, RouterAgreesWithItsFormula) {
  Random random(1);
  for (const Router &p :
       {Router{}, Router{6, 2, false, false}, Router{17, 17}, Router{1, 1},
        Router{8, 3, true, true, true, 2.5f}, Router{16, 4, true, true, true, 1.0f, 4, 2},
        Router{12, 2, false, true, false, 1.0f, 6, 1}, Router{130, 8, true, false, true, 0.5f}}) {
    constexpr int rows = 37;
    Matrix logits =
        Matrix::filled(M1K_F32, rows, p.count, p.count + 3, [&] { return 2 * random.normal(); });
    Matrix correction = Matrix::filled(M1K_F32, 1, p.count, 0, [&] {
      return 0.3 * random.normal() - (p.groups > 1 ? 1 : 0); // no score wins by being none
    });
    std::vector<float> weights(rows * p.chosen, NAN);
    std::vector<int> experts(rows * p.chosen, -1);
    for (auto [begin, end] : {std::pair<long, long>{0, 20}, {20, rows}})
      m1k_cpu_router(weights.data(), experts.data(), logits.floats(),
                     p.corrected ? correction.floats() : nullptr, begin, end, p.count, p.chosen,
                     p.sigmoid, p.normalize, p.scale, p.groups, p.kept, p.chosen, p.chosen,
                     logits.stride);
    for (int t = 0; t < rows; ++t) {
      std::vector<double> expected;
      std::vector<int> names;
      route(p, logits.floats() + t * logits.stride, correction.floats(), expected, names);
      for (int j = 0; j < p.chosen; ++j) {
        ASSERT_EQ(experts[t * p.chosen + j], names[j]) << p.count << " experts, row " << t;
        // 1e-5: exp and the sum of a row in f32.
        ASSERT_NEAR(weights[t * p.chosen + j], expected[j], 1e-5 * std::abs(expected[j]) + 1e-7);
      }
    }
  }
}

// Rows that hold a NaN name experts that exist, each once.
TEST(Experts, RouterOfNaNNamesExperts) {
  std::vector<float> logits = {1, NAN, 2, NAN}, weights(3);
  std::vector<int> experts(3, -1);
  for (int sigmoid : {0, 1}) {
    m1k_cpu_router(weights.data(), experts.data(), logits.data(), nullptr, 0, 1, 4, 3, sigmoid, 1,
                   1.0f, 1, 1, 3, 3, 4);
    std::sort(experts.begin(), experts.end());
    EXPECT_TRUE(std::adjacent_find(experts.begin(), experts.end()) == experts.end());
    EXPECT_GE(experts.front(), 0);
    EXPECT_LT(experts.back(), 4);
  }
}

// Weights of i8 with a scale for each row of every expert.
TEST(Experts, QuantisedLinearAgreesWithItsFormula) {
  Random random(4);
  constexpr int experts = 3, chosen = 2, rows = 9, first = 2, n = 5, k = 37, tokens = 11;
  Matrix x = Matrix::filled(M1K_BF16, tokens, k, k + 3, [&] { return random.normal(); });
  std::vector<int8_t> weight(experts * rows * k);
  std::vector<float> scale(experts * rows);
  for (int8_t &value : weight)
    value = static_cast<int8_t>(std::clamp(40 * random.normal(), -127.0, 127.0));
  for (float &value : scale)
    value = static_cast<float>(random.normal());
  std::vector<int> names;
  for (int t = 0; t < tokens; ++t)
    for (int j = 0; j < chosen; ++j)
      names.push_back((t + j) % experts);
  Matrix out(M1K_F32, tokens, chosen * n, chosen * n + 1);
  for (int group = 0; group < experts; ++group)
    m1k_cpu_expert_linear(out.data(), x.data(), names.data(), weight.data(), scale.data(), group, 0,
                          tokens, rows, first, n, k, chosen, 0, M1K_CPU_EXPERT_BLOCK, 0, M1K_I8,
                          M1K_F32, M1K_F32, out.stride, M1K_BF16, x.stride, chosen);
  for (int t = 0; t < tokens; ++t)
    for (int j = 0; j < chosen; ++j)
      for (int i = 0; i < n; ++i) {
        const int row = names[t * chosen + j] * rows + first + i;
        double sum = 0, size = 0;
        for (int c = 0; c < k; ++c) {
          sum += x.get(t, c) * weight[row * k + c] * scale[row];
          size += std::abs(x.get(t, c) * weight[row * k + c] * scale[row]);
        }
        ASSERT_NEAR(out.get(t, j * n + i), sum, 1e-6 * size) << t << " " << j << " " << i;
      }
  EXPECT_TRUE(out.surroundingsIntact());
}

// Weights of int4 and int8 with scales of groups, of which the last is short, of any type, and with
// minimums; each expert has columns of its own.
TEST(Experts, LinearOfGroupsAgreesWithItsFormula) {
  Random random(5);
  constexpr int experts = 3, chosen = 2, rows = 9, first = 2, n = 5, tokens = 11;
  struct Weights {
    int type, scaleType;
  };
  for (auto [type, scaleType] :
       {Weights{M1K_I4, M1K_BF16}, Weights{M1K_I4, M1K_F16}, Weights{M1K_I8, M1K_F16},
        Weights{M1K_I8, M1K_FINE_LEVELS}, Weights{M1K_I4, M1K_F32_MINIMUM},
        Weights{M1K_I8, M1K_F32_MINIMUM}, Weights{M1K_I4, M1K_PAIRED_LEVELS},
        Weights{M1K_I8, M1K_PAIRED_LEVELS}})
    for (int k : {13, 128, 217, 250, 384})
      for (int columns : {16, 32, 64, 128}) {
        const bool isFine = scaleType == M1K_FINE_LEVELS,
                   twoLevels = isFine || scaleType == M1K_PAIRED_LEVELS;
        if ((columns == 16) != isFine || (twoLevels && (k % 128 || columns > 32)))
          continue;
        SCOPED_TRACE(testing::Message() << k << " columns, " << columns << " a scale");
        const bool isInt4 = type == M1K_I4,
                   hasMinimums = scaleType == M1K_F32_MINIMUM || scaleType == M1K_PAIRED_LEVELS;
        const int groups = (k + columns - 1) / columns,
                  rowBytes = isInt4 ? (k + 127) / 128 * 64 : k;
        Matrix x = Matrix::filled(M1K_BF16, tokens, chosen * k, chosen * k + 3,
                                  [&] { return random.normal(); });
        std::vector<uint8_t> weight(experts * rows * rowBytes);
        for (uint8_t &byte : weight)
          byte = static_cast<uint8_t>(random.integer(0, 255));
        Matrix scale =
            Matrix::filled(hasMinimums || twoLevels ? M1K_F32 : scaleType, experts * rows,
                           hasMinimums ? 2 * groups : groups, hasMinimums ? 2 * groups : groups,
                           [&] { return random.normal(); });
        const Levels levels(scaleType, experts * rows, k / 128, random);
        auto element = [&](int row, int c) {
          auto scaled = [&](int code) {
            const int g = c / columns;
            if (twoLevels)
              return code * levels.scale(row, g) - (hasMinimums ? levels.minimum(row, g) : 0.0);
            return hasMinimums ? code * scale.get(row, 2 * g) - scale.get(row, 2 * g + 1)
                               : code * scale.get(row, g);
          };
          if (!isInt4)
            return scaled(static_cast<int8_t>(weight[row * rowBytes + c]));
          int words = row * rowBytes + c / 128 * 64 + c % 32 * 2, plane = c % 128 / 32;
          int bits = (weight[words] | weight[words + 1] << 8) >> (4 * plane) & 15;
          return scaled(bits < 8 || hasMinimums ? bits : bits - 16);
        };
        std::vector<int> names;
        for (int t = 0; t < tokens; ++t)
          for (int j = 0; j < chosen; ++j)
            names.push_back((t + j) % experts);
        Matrix out(M1K_F32, tokens, chosen * n, chosen * n + 1);
        for (int group = 0; group < experts; ++group)
          m1k_cpu_expert_linear(out.data(), x.data(), names.data(), weight.data(),
                                twoLevels ? levels.data() : scale.data(), group, 0, tokens, rows,
                                first, n, k, chosen, 1, M1K_CPU_EXPERT_BLOCK, columns, type,
                                scaleType, M1K_F32, out.stride, M1K_BF16, x.stride, chosen);
        for (int t = 0; t < tokens; ++t)
          for (int j = 0; j < chosen; ++j)
            for (int i = 0; i < n; ++i) {
              double sum = 0, size = 0;
              for (int c = 0; c < k; ++c) {
                double product =
                    x.get(t, j * k + c) * element(names[t * chosen + j] * rows + first + i, c);
                sum += product;
                size += std::abs(product);
              }
              ASSERT_NEAR(out.get(t, j * n + i), sum, 1e-6 * size) << t << " " << j << " " << i;
            }
        EXPECT_TRUE(out.surroundingsIntact());
      }
}

struct Product {
  int experts, chosen, rows, first, n, k, own, type, tokens;
};

// Any number of rows and columns, strided, f32 and bf16; experts that nobody names hold NaN.
TEST(Experts, LinearAgreesWithItsFormula) {
  Random random(2);
  for (const Product &p :
       {Product{6, 2, 10, 0, 10, 16, 0, M1K_F32, 9}, Product{6, 2, 10, 4, 5, 33, 1, M1K_F32, 40},
        Product{3, 3, 131, 1, 129, 20, 0, M1K_BF16, 7},
        Product{5, 1, 7, 0, 7, 64, 1, M1K_BF16, 1}}) {
    int xColumns = p.own ? p.chosen * p.k : p.k, block = M1K_CPU_EXPERT_BLOCK;
    Matrix x =
        Matrix::filled(p.type, p.tokens, xColumns, xColumns + 5, [&] { return random.normal(); });
    // The last expert is left out where there are more than a row names.
    int named = p.experts > p.chosen ? p.experts - 1 : p.experts;
    long element = 0, living = static_cast<long>(named) * p.rows * p.k;
    Matrix weight = Matrix::filled(p.type, p.experts * p.rows, p.k, p.k,
                                   [&] { return element++ < living ? random.normal() : NAN; });
    std::vector<int> experts;
    for (int t = 0; t < p.tokens; ++t)
      for (int j = 0; j < p.chosen; ++j)
        experts.push_back((t * 7 + j) % named);
    Matrix out(p.type, p.tokens, p.chosen * p.n, p.chosen * p.n + 2);
    int blocks = (p.n + block - 1) / block;
    for (int group = 0; group < p.experts * blocks; ++group)
      m1k_cpu_expert_linear(out.data(), x.data(), experts.data(), weight.data(), nullptr, group, 0,
                            p.tokens, p.rows, p.first, p.n, p.k, p.chosen, p.own, block, 0, p.type,
                            M1K_F32, p.type, out.stride, p.type, x.stride, p.chosen);
    for (int t = 0; t < p.tokens; ++t)
      for (int j = 0; j < p.chosen; ++j)
        for (int i = 0; i < p.n; ++i) {
          double sum = 0, size = 0;
          for (int c = 0; c < p.k; ++c) {
            double term = x.get(t, (p.own ? j * p.k : 0) + c) *
                          weight.get(experts[t * p.chosen + j] * p.rows + p.first + i, c);
            sum += term;
            size += std::abs(term);
          }
          // A sum in f32, rounded to the type.
          double bound = 1e-6 * size + (p.type == M1K_BF16 ? std::abs(sum) / 256 : 0);
          ASSERT_NEAR(out.get(t, j * p.n + i), sum, bound) << t << " " << j << " " << i;
        }
    EXPECT_TRUE(out.surroundingsIntact());
  }
}

TEST(Experts, CombineAgreesWithItsFormula) {
  Random random(3);
  for (int parts : {1, 2, 8})
    for (int columns : {1, 16, 37}) {
      Matrix x = Matrix::filled(M1K_F32, 5, parts * columns, parts * columns + 1,
                                [&] { return random.normal(); });
      Matrix weights =
          Matrix::filled(M1K_F32, 5, parts, parts + 2, [&] { return random.normal(); });
      Matrix out(M1K_F32, 5, columns, columns + 3);
      m1k_cpu_combine(out.data(), x.data(), weights.data(), 0, 5, columns, parts, M1K_F32,
                      out.stride, M1K_F32, x.stride, M1K_F32, weights.stride);
      for (int t = 0; t < 5; ++t)
        for (int c = 0; c < columns; ++c) {
          double sum = 0;
          for (int j = 0; j < parts; ++j)
            sum += weights.get(t, j) * x.get(t, j * columns + c);
          ASSERT_NEAR(out.get(t, c), sum, 1e-5); // sums of up to eight products in f32
        }
      EXPECT_TRUE(out.surroundingsIntact());
    }
}

} // namespace
