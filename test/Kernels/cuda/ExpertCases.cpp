// Mixtures of experts against float64: which experts a row has, products with the weights of those
// and their sum, for one row, for more than a block takes, for sizes that no vector divides.
#include "Harness.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

namespace m1k::test {
namespace {

using namespace cuda;

enum class Logits { normal, constant, broken };

/// Every choice that the kernel made is as good as the k-th best; 1e-5 of a score: f32.
Case router_case(bool smoke, Router f, int rows, Logits shape = Logits::normal) {
  f.logits_stride = f.experts + 3;
  f.weights_stride = f.chosen + 1;
  f.experts_stride = f.chosen + 2;
  std::string name = "router " + std::to_string(f.chosen) + " of " + std::to_string(f.experts) +
                     (f.sigmoid ? " sigmoid" : "") + (f.normalize ? " normalized" : "") +
                     (f.has_correction ? " corrected" : "") +
                     (f.groups > 1 ? " in " + std::to_string(f.groups) + " groups" : "") +
                     (shape == Logits::constant ? " constant" : "") +
                     (shape == Logits::broken ? " broken" : "");
  return {
      name, smoke, [=](Context &context) {
        if (!context.prepare(describe(f, "kernel")))
          return;
        Random random(41);
        const size_t count = f.experts;
        std::vector<double> logits(rows * count), correction(count);
        for (size_t i = 0; i < logits.size(); ++i) {
          logits[i] = shape == Logits::constant ? 0.5 : 2 * random.normal();
          if (shape == Logits::broken && random.next() % 3 == 0)
            logits[i] = std::nan("");
          logits[i] = rounded(logits[i], Type::f32);
        }
        for (double &value : correction)
          value = rounded(0.3 * random.normal(), Type::f32);
        context.values("logits", in_rows(logits, rows, f.experts, int(f.logits_stride)), Type::f32);
        context.values("correction", correction, Type::f32);
        context.poison("weights", size_t(rows) * f.weights_stride * 4);
        context.poison("experts", size_t(rows) * f.experts_stride * 4);
        context.upload();
        context.launch({rows, 0, 0, 0});
        std::vector<double> weights =
            out_of_rows(context.read("weights", Type::f32), rows, f.chosen, int(f.weights_stride));
        std::vector<int> experts = context.read_integers("experts");
        std::vector<double> expected(weights.size());
        for (int t = 0; t < rows; ++t) {
          const double *row = &logits[t * count];
          const int *named = &experts[t * size_t(f.experts_stride)];
          std::set<int> distinct(named, named + f.chosen);
          context.require(int(distinct.size()) == f.chosen && *distinct.begin() >= 0 &&
                              *distinct.rbegin() < f.experts,
                          "row " + std::to_string(t) + " names experts that exist, each once");
          if (shape == Logits::broken || int(distinct.size()) != f.chosen ||
              *distinct.begin() < 0 || *distinct.rbegin() >= f.experts)
            continue;
          std::vector<double> score(count), choice(count);
          double top = *std::max_element(row, row + count), total = 0;
          for (size_t e = 0; e < count; ++e)
            total += std::exp(row[e] - top);
          for (size_t e = 0; e < count; ++e) {
            score[e] = f.sigmoid ? 1 / (1 + std::exp(-row[e])) : std::exp(row[e] - top) / total;
            choice[e] = score[e] + (f.has_correction ? correction[e] : 0);
          }
          auto order = [](const std::vector<double> &values) {
            std::vector<int> result(values.size());
            std::iota(result.begin(), result.end(), 0);
            std::sort(result.begin(), result.end(), [&](int i, int j) {
              return values[i] != values[j] ? values[i] > values[j] : i < j;
            });
            return result;
          };
          const size_t size = count / f.groups;
          if (f.groups > 1) {
            std::vector<double> sums;
            for (int g = 0; g < f.groups; ++g) {
              std::vector<double> members(choice.begin() + g * size,
                                          choice.begin() + (g + 1) * size);
              std::sort(members.rbegin(), members.rend());
              sums.push_back(members[0] + members[1]);
            }
            std::vector<int> groups = order(sums);
            for (int i = f.kept_groups; i < f.groups; ++i)
              std::fill_n(choice.begin() + groups[i] * size, size,
                          -std::numeric_limits<double>::infinity());
          }
          std::vector<int> best = order(choice);
          double sum = 0;
          for (int j = 0; j < f.chosen; ++j) {
            sum += score[named[j]];
            context.require(shape == Logits::constant ? named[j] == best[j]
                                                      : choice[named[j]] >= choice[best[j]] - 1e-5,
                            "row " + std::to_string(t) + " names the best experts in order");
          }
          for (int j = 0; j < f.chosen; ++j)
            expected[size_t(t) * f.chosen + j] =
                score[named[j]] * f.scale / (f.normalize ? sum + 1e-20 : 1);
        }
        if (shape != Logits::broken)
          context.compare("weights", weights, expected, 1e-5);
      }};
}

struct Product {
  Type type = Type::bf16;
  int tokens = 9, experts = 6, chosen = 2, rows_per_expert = 10, first = 0, n = 10, k = 16;
  bool own_columns = false, few_rows = false;
  int offset = 0;           // columns before x's
  bool one_for_all = false; // every row names expert 0
  bool quantised = false;
  int group = 0;            // quantised: with so many columns a scale, else a row's
  bool bytes = true;        // quantised: of i8, else int4
  Type scales = Type::bf16; // of groups
};

/// Experts that no row names, and rows of weights that are not meant, hold NaN, as such or as their
/// scales.
Case expert_linear_case(bool smoke, const Product &p) {
  std::string name =
      std::string("expert_linear ") + (p.type == Type::f32 ? "f32 " : "bf16 ") +
      std::to_string(p.tokens) + " × " + std::to_string(p.chosen) + " of " +
      std::to_string(p.experts) + ", " + std::to_string(p.n) + "×" + std::to_string(p.k) +
      (p.own_columns ? " own columns" : "") + (p.few_rows ? " few rows" : "") +
      (p.offset ? " misaligned" : "") + (p.one_for_all ? " one for all" : "") +
      (p.quantised ? p.bytes ? " i8" : " i4" : "") +
      (p.group ? " in " + std::to_string(p.group) : "") + (p.scales == Type::f16 ? " of f16" : "");
  return {name, smoke, [=](Context &context) {
            const int columns = p.own_columns ? p.chosen * p.k : p.k;
            ExpertLinear f;
            f.x_type = f.out_type = p.type;
            f.w_type = !p.quantised ? p.type : p.bytes ? Type::i8 : Type::i4x2;
            f.group = p.group;
            f.scale_type = p.scales;
            f.experts = p.experts;
            f.chosen = p.chosen;
            f.rows_per_expert = p.rows_per_expert;
            f.first = p.first;
            f.n = p.n;
            f.k = p.k;
            f.own_columns = p.own_columns;
            f.few_rows = p.few_rows;
            f.x_stride = (columns + p.offset + 8) / 8 * 8;
            f.experts_stride = p.chosen + 1;
            f.out_stride = p.chosen * p.n + 3;
            Description description = describe(f, "kernel");
            if (!context.prepare(description))
              return;
            // Many rows multiply with weights of groups times their scale, as bf16.
            const bool rounds = p.group && description.kernels[0].rows_per_group > 1;
            Random random(43);
            std::vector<int> experts(size_t(p.tokens) * f.experts_stride, -1);
            std::set<int> named;
            const int living = std::max(p.chosen, p.experts - 1);
            for (int t = 0; t < p.tokens; ++t) {
              int at = p.one_for_all ? 0 : int(random.next() % living);
              for (int j = 0; j < p.chosen; ++j) {
                experts[size_t(t) * f.experts_stride + j] = (at + j) % living;
                named.insert((at + j) % living);
              }
            }
            std::vector<double> x =
                random_values(random, size_t(p.tokens) * columns, -1, 1, p.type);
            std::vector<double> weight(size_t(p.experts) * p.rows_per_expert * p.k, std::nan(""));
            auto row_of = [&](int e, int i) {
              return (size_t(e) * p.rows_per_expert + p.first + i) * p.k;
            };
            for (int e : named)
              for (size_t i = row_of(e, 0); i < row_of(e, p.n); ++i)
                weight[i] = rounded(random.uniform(-1, 1) * (!p.quantised ? 1
                                                             : p.bytes    ? 127
                                                                          : 8),
                                    f.w_type);
            const int per_scale = p.group ? p.group : p.k,
                      scales = (p.k + per_scale - 1) / per_scale; // of a row
            const Type scale_type = p.group ? p.scales : Type::f32;
            std::vector<double> scale(size_t(p.experts) * p.rows_per_expert * scales, std::nan(""));
            for (int e : named)
              for (int i = 0; i < p.n * scales; ++i)
                scale[row_of(e, 0) / p.k * scales + i] =
                    rounded(random.uniform(0.004, 0.012), scale_type);
            context.values("x", in_rows(x, p.tokens, columns, int(f.x_stride), p.offset), p.type);
            context.integers("experts", experts);
            if (p.quantised && !p.bytes) {
              for (double &value : weight)
                if (std::isnan(value))
                  value = 0;
              context.raw("weight", int4_rows(weight, p.experts * p.rows_per_expert, p.k));
            } else {
              context.values("weight", weight, f.w_type);
            }
            context.values("scale", scale, scale_type);
            context.poison("out", size_t(p.tokens) * f.out_stride * size_of(p.type));
            context.upload();
            context.shift("x", p.offset * size_of(p.type));
            context.launch({p.tokens, 0, 0, 0});
            const int width = p.chosen * p.n;
            std::vector<double> y(size_t(p.tokens) * width), y32(y.size());
            for (int t = 0; t < p.tokens; ++t)
              for (int j = 0; j < p.chosen; ++j)
                for (int i = 0; i < p.n; ++i) {
                  const size_t row = row_of(experts[size_t(t) * f.experts_stride + j], i);
                  const double *a = &x[size_t(t) * columns + (p.own_columns ? j * p.k : 0)],
                               *b = &weight[row];
                  double sum = 0;
                  float sum32 = 0;
                  for (int c = 0; c < p.k; ++c) {
                    const double factor =
                        p.quantised ? scale[row / p.k * scales + c / per_scale] : 1;
                    const double exact = b[c] * factor,
                                 value = rounds ? rounded(exact, Type::bf16) : exact;
                    sum += a[c] * value;
                    sum32 += float(a[c]) * float(value);
                  }
                  y[size_t(t) * width + j * p.n + i] = sum;
                  y32[size_t(t) * width + j * p.n + i] = sum32;
                }
            context.compare(
                "out", out_of_rows(context.read("out", p.type), p.tokens, width, int(f.out_stride)),
                y, tolerance(p.type, relative_error(y32, y)));
          }};
}

Case combine_case(bool smoke, Type type, int rows, int columns, int parts) {
  std::string name = std::string("combine ") + (type == Type::f32 ? "f32 " : "bf16 ") +
                     std::to_string(rows) + " × " + std::to_string(parts) + " × " +
                     std::to_string(columns);
  return {
      name, smoke, [=](Context &context) {
        Combine f;
        f.x_type = f.out_type = type;
        f.columns = columns;
        f.parts = parts;
        f.x_stride = parts * columns + 5;
        f.weights_stride = parts + 1;
        f.out_stride = columns + 3;
        if (!context.prepare(describe(f, "kernel")))
          return;
        Random random(47);
        std::vector<double> x = random_values(random, size_t(rows) * parts * columns, -1, 1, type);
        std::vector<double> weights = random_values(random, size_t(rows) * parts, 0, 1, Type::f32);
        context.values("x", in_rows(x, rows, parts * columns, int(f.x_stride)), type);
        context.values("weights", in_rows(weights, rows, parts, int(f.weights_stride)), Type::f32);
        context.poison("out", size_t(rows) * f.out_stride * size_of(type));
        context.upload();
        context.launch({rows, 0, 0, 0});
        std::vector<double> y(size_t(rows) * columns), y32(y.size());
        for (int t = 0; t < rows; ++t)
          for (int c = 0; c < columns; ++c) {
            float sum32 = 0;
            for (int j = 0; j < parts; ++j) {
              double a = x[(size_t(t) * parts + j) * columns + c],
                     b = weights[size_t(t) * parts + j];
              y[size_t(t) * columns + c] += a * b;
              sum32 += float(a) * float(b);
            }
            y32[size_t(t) * columns + c] = sum32;
          }
        context.compare("out",
                        out_of_rows(context.read("out", type), rows, columns, int(f.out_stride)), y,
                        tolerance(type, relative_error(y32, y)));
      }};
}

Router router(int experts, int chosen) {
  Router f;
  f.experts = experts;
  f.chosen = chosen;
  return f;
}

} // namespace

std::vector<Case> expert_cases() {
  std::vector<Case> cases;
  const Type f32 = Type::f32, bf16 = Type::bf16;
  Router f = router(8, 2);
  cases.push_back(router_case(true, f, 1));
  f = router(512, 10);
  f.normalize = true;
  cases.push_back(router_case(false, f, 37));
  cases.push_back(router_case(false, router(17, 17), 37));
  cases.push_back(router_case(false, router(1, 1), 5));
  cases.push_back(router_case(false, router(3000, 40), 6));
  f = router(130, 8);
  f.sigmoid = f.has_correction = true;
  f.scale = 2.5f;
  cases.push_back(router_case(true, f, 37));
  f = router(160, 6);
  f.sigmoid = f.has_correction = f.normalize = true;
  f.groups = 40;
  f.kept_groups = 3;
  cases.push_back(router_case(true, f, 37));
  f = router(12, 2);
  f.groups = 6;
  cases.push_back(router_case(false, f, 37));
  cases.push_back(router_case(true, router(70, 7), 9, Logits::constant));
  cases.push_back(router_case(true, router(70, 7), 37, Logits::broken));
  f = router(12, 3);
  f.sigmoid = true;
  f.groups = 3;
  f.kept_groups = 2;
  cases.push_back(router_case(false, f, 37, Logits::broken));

  // One row, rows of several blocks, an expert with more rows than a tile; outputs and depths that
  // no tile divides; the second half of an expert's rows; x at odd addresses.
  for (Type type : {f32, bf16})
    for (bool few : {false, true}) {
      cases.push_back(expert_linear_case(true, {type, 9, 6, 2, 10, 0, 10, 16, false, few}));
      cases.push_back(expert_linear_case(true, {type, 5, 4, 3, 200, 100, 100, 136, true, few}));
      cases.push_back(expert_linear_case(false, {type, 7, 3, 3, 131, 1, 129, 20, false, few}));
      cases.push_back(expert_linear_case(false, {type, 1, 5, 1, 7, 0, 7, 33, true, few}));
      cases.push_back(expert_linear_case(false, {type, 6, 5, 2, 70, 3, 65, 72, true, few, 1}));
    }
  cases.push_back(expert_linear_case(true, {bf16, 1100, 7, 2, 128, 64, 64, 128}));
  cases.push_back(expert_linear_case(false, {bf16, 1100, 7, 3, 100, 0, 100, 200, true}));
  cases.push_back(
      expert_linear_case(false, {bf16, 700, 40, 1, 64, 0, 64, 64, false, false, 0, true}));
  cases.push_back(expert_linear_case(false, {bf16, 513, 3, 2, 64, 0, 64, 1000, true, false, 8}));
  cases.push_back(expert_linear_case(false, {f32, 300, 7, 2, 96, 0, 96, 128}));
  auto quantised = [&](bool smoke, Product product) {
    product.quantised = true;
    for (auto [bytes, grouped] : {std::pair(true, false), {false, true}, {true, true}}) {
      product.bytes = bytes;
      product.group = grouped ? 32 << cases.size() % 3 : 0;
      product.scales = grouped && cases.size() % 2 ? Type::f16 : Type::bf16;
      cases.push_back(expert_linear_case(smoke, product));
    }
  };
  for (Type type : {f32, bf16})
    for (bool few : {true, false}) {
      quantised(true, {type, 5, 4, 3, 200, 100, 100, 144, true, few});
      quantised(false, {type, 7, 3, 3, 131, 1, 129, 20, false, few});
      quantised(false, {type, 6, 5, 2, 70, 3, 65, 72, true, few, 1});
    }
  quantised(true, {bf16, 1100, 7, 2, 128, 64, 64, 128});
  quantised(false, {bf16, 1100, 7, 3, 100, 0, 100, 200, true});
  quantised(false, {bf16, 513, 3, 2, 64, 0, 64, 1000, true, false, 8});

  cases.push_back(combine_case(true, bf16, 5, 300, 8));
  cases.push_back(combine_case(true, f32, 300, 37, 2));
  cases.push_back(combine_case(false, f32, 1, 1, 1));
  cases.push_back(combine_case(false, bf16, 3, 2048, 10));
  return cases;
}

} // namespace m1k::test
