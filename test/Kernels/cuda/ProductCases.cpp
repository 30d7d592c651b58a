// Products of many rows on warpgroup products, against float64.
#include "Harness.h"

#include <cmath>

namespace m1k::test {
namespace {

using namespace cuda;

/// x and out lie `padding` columns apart; on a GPU of so many multiprocessors the blocks have one
/// unit of work, or several.
Case gated_product_case(bool smoke, int rows, int n, int k, int padding = 0,
                        int multiprocessors = 132) {
  std::string name = "gated product " + std::to_string(rows) + "×" + std::to_string(n) + "×" +
                     std::to_string(k) + (padding ? " strided" : "") + " for " +
                     std::to_string(multiprocessors);
  return {name, smoke, [=](Context &context) {
            if (!context.warpgroups())
              return;
            GatedProduct f;
            f.n = n;
            f.k = k;
            f.x_stride = k + padding;
            f.out_stride = n + 2 * padding;
            const bool mapped = padding > 0;
            if (mapped)
              f.map = "return v0 * (v1 > 0.0f ? v1 : 0.25f * v1);";
            Tuning tuning;
            tuning.multiprocessors = multiprocessors;
            if (!context.prepare(describe(f, "kernel", tuning)))
              return;
            Random random(41);
            const Type type = Type::bf16;
            const double most = 3 / std::sqrt(double(k)); // silu in its bend
            std::vector<double> x = random_values(random, size_t(rows) * k, -2, 2, type);
            std::vector<double> w = random_values(random, size_t(2) * n * k, -most, most, type);
            // Rows past the step's are NaN and must neither matter nor change.
            const int past = 70;
            std::vector<double> all = in_rows(x, rows, k, int(f.x_stride));
            all.resize(size_t(rows + past) * f.x_stride, NAN);
            context.values("x", all, type);
            context.values("weight", w, type);
            context.poison("out", size_t(rows + past) * f.out_stride * size_of(type));
            context.upload();
            context.launch({rows, 0, 0, 0});
            std::vector<double> y(size_t(rows) * n), y32(y.size());
            for (int m = 0; m < rows; ++m)
              for (int j = 0; j < n; ++j) {
                double sums[2] = {0, 0};
                float sums32[2] = {0, 0};
                for (int side = 0; side < 2; ++side)
                  for (int i = 0; i < k; ++i) {
                    double a = x[size_t(m) * k + i], b = w[size_t(side * n + j) * k + i];
                    sums[side] += a * b;
                    sums32[side] += float(a) * float(b);
                  }
                auto gated = [=](double gate, double up) {
                  return mapped ? gate * std::max(up, 0.25 * up)
                                : gate / (1 + std::exp(-gate)) * up;
                };
                y[size_t(m) * n + j] = gated(sums[0], sums[1]);
                y32[size_t(m) * n + j] = gated(sums32[0], sums32[1]);
              }
            std::vector<double> out = context.read("out", type);
            size_t touched = 0;
            for (size_t i = 0; i < out.size(); ++i)
              touched += (i / f.out_stride >= size_t(rows) || i % f.out_stride >= size_t(n)) &&
                         !std::isnan(out[i]);
            context.require(touched == 0, "writes what is not its own");
            out.resize(size_t(rows) * f.out_stride);
            context.compare("out", out_of_rows(out, rows, n, int(f.out_stride)), y,
                            tolerance(type, relative_error(y32, y)));
          }};
}

} // namespace

std::vector<Case> product_cases() {
  std::vector<Case> cases;
  cases.push_back(gated_product_case(true, 300, 264, 520));
  cases.push_back(gated_product_case(true, 1, 24, 8));
  cases.push_back(gated_product_case(false, 256, 128, 64));
  cases.push_back(gated_product_case(false, 127, 136, 1096, 8));
  cases.push_back(gated_product_case(false, 1025, 72, 200, 24));
  // Several units a block, several strips, the last one short.
  cases.push_back(gated_product_case(true, 2700, 200, 136, 0, 4));
  cases.push_back(gated_product_case(false, 513, 1000, 328, 0, 7));
  // The last round has work for fewer than half of the blocks: whole units, then halves, of which
  // some begin past the end of 72 columns.
  cases.push_back(gated_product_case(true, 600, 1000, 72, 0, 9));
  cases.push_back(gated_product_case(true, 1400, 72, 136, 8, 9));
  return cases;
}

} // namespace m1k::test
