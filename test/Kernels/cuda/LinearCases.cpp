// Products of few rows, and with quantised weights, against float64.
#include "Harness.h"

#include <cmath>

namespace m1k::test {
namespace {

using namespace cuda;

/// What a product does for its neighbours.
struct Neighbours {
  bool bias = false, gated = false, residual = false, norm = false, leaves_largest = false;
  int squares = 0, largest = 0; // of a row of x
  int map_share = 0;            // with a map, of a vector too
};

/// Quantised weights [n, k] in all their values, and scales that make them as large as others.
struct QuantisedWeights {
  std::vector<double> codes, scale;
  int k, group; // columns of a scale
  Type scales;
  double scale_of(size_t row, int column) const {
    return scale[row * size_t((k + group - 1) / group) + column / group];
  }
  QuantisedWeights(Random &random, int n, int k, Type type, int group_or_row, Type of_groups)
      : k(k), group(group_or_row ? group_or_row : k), scales(group_or_row ? of_groups : Type::f32) {
    const double most = type == Type::i8 ? 128 : type == Type::e4m3 ? 448 : 8;
    codes = random_values(random, size_t(n) * k, -most - 0.4, most - 0.6, type);
    scale = random_values(random, size_t(n) * ((k + group - 1) / group), 0.5 / most, 1.5 / most,
                          scales);
  }
  void put(Context &context, Type type) const {
    if (type == Type::i4x2)
      context.raw("weight", int4_rows(codes, int(codes.size() / size_t(k)), k));
    else
      context.values("weight", codes, type);
    context.values("scale", scale, scales);
  }
};

/// Rows rounded to e4m3, as m1.quantize_rows says: their codes, and the scale of each. Quotients
/// and products are those of f32, so that no code is another one.
struct RoundedRows {
  std::vector<double> codes, scale;
  RoundedRows(const std::vector<double> &x, int rows, int k) : codes(x.size()), scale(rows) {
    for (int m = 0; m < rows; ++m) {
      float largest = 0;
      for (int i = 0; i < k; ++i)
        largest = std::max(largest, std::abs(float(x[size_t(m) * k + i])));
      const bool zero = largest < 0x1p-100f;
      scale[m] = zero ? 0 : double(largest / 448.0f);
      const float inverse = zero ? 0 : 448.0f / largest;
      for (int i = 0; i < k; ++i)
        codes[size_t(m) * k + i] = rounded(float(x[size_t(m) * k + i]) * inverse, Type::e4m3);
    }
  }
  /// What they stand for.
  std::vector<double> values(int k) const {
    std::vector<double> values(codes);
    for (size_t i = 0; i < values.size(); ++i)
      values[i] *= scale[i / size_t(k)];
    return values;
  }
};

Case linear_case(bool smoke, Type x_type, Type w_type, Type out_type, int rows, int max_rows, int n,
                 int k, int padding = 0, int offset = 0, Neighbours with = {}, int group = 0,
                 Type scales = Type::bf16) {
  std::string name =
      "linear " + type_name(x_type) + "·" + type_name(w_type) + "→" + type_name(out_type) + " " +
      std::to_string(rows) + "/" + std::to_string(max_rows) + "×" + std::to_string(n) + "×" +
      std::to_string(k) + (group ? " in " + std::to_string(group) : "") +
      (scales == Type::f16 ? " of f16" : "") + (with.bias ? " bias" : "") +
      (with.gated ? " gated" : "") + (with.squares ? " scaled" : "") +
      (with.residual ? " residual" : "") + (with.norm ? " norm" : "") +
      (with.map_share ? " mapped" : "") + (with.largest ? " with largest" : "") +
      (with.leaves_largest ? " leaving largest" : "") + (offset ? " misaligned" : "");
  return {
      name, smoke, [=](Context &context) {
        Linear f;
        f.x_type = x_type;
        f.w_type = w_type;
        f.out_type = out_type;
        f.n = n;
        f.k = k;
        f.group = group;
        f.scale_type = scales;
        f.x_stride = k + padding + offset;
        f.out_stride = n + padding;
        f.max_rows = max_rows;
        f.has_bias = with.bias;
        f.gated = with.gated;
        f.map_share = with.map_share;
        if (with.map_share)
          f.map = with.gated ? "return v2 * v0 * v1;"
                             : "const float t = v0 > 0.0f ? v0 : 0.25f * v0; return v2 * t;";
        f.squares = with.squares;
        f.eps = 1e-3f;
        f.has_residual = with.residual;
        f.residual_stride = n + 2 * padding;
        f.leaves_norm = with.norm;
        f.normed_type = x_type;
        f.normed_stride = n + 3 * padding;
        f.largest = with.largest;
        f.leaves_largest = with.leaves_largest;
        Description description = describe(f, "kernel");
        if (!context.prepare(description))
          return;
        int parts = squares_of(description.kernels[0].grid_x);
        Random random(17);
        int weights = with.gated ? 2 * n : n;
        std::vector<double> x = random_values(random, size_t(rows) * k, -1, 1, x_type);
        const bool quantised = w_type == Type::i8 || w_type == Type::i4x2 || w_type == Type::e4m3;
        std::vector<double> w;
        if (quantised) {
          QuantisedWeights q(random, weights, k, w_type, group, scales);
          q.put(context, w_type);
          w = q.codes;
          for (int j = 0; j < weights; ++j)
            for (int i = 0; i < k; ++i)
              w[size_t(j) * k + i] *= q.scale_of(j, i);
        } else {
          w = random_values(random, size_t(weights) * k, -1, 1, w_type);
          context.values("weight", w, w_type);
        }
        std::vector<double> b = random_values(random, n, -3, 3, Type::f32);
        std::vector<double> of_columns =
            random_values(random, with.map_share ? n / with.map_share : 0, 0.5, 2, Type::f32);
        std::vector<double> before = random_values(random, size_t(rows) * n, -5, 5, Type::f32);
        std::vector<double> v = random_values(random, n, -2, 2, Type::f32);
        std::vector<double> squares =
            random_values(random, size_t(rows) * with.squares, 0, 3, Type::f32);
        context.values("x", in_rows(x, rows, k, int(f.x_stride), offset), x_type);
        // Of each row, its largest value among smaller ones.
        std::vector<double> largest(size_t(rows) * with.largest);
        for (size_t i = 0; i < largest.size(); ++i)
          for (int j = 0, m = int(i / with.largest); j < k; ++j)
            if (int(i % with.largest) == (m * 7 + 3) % with.largest || j % 5 == int(i % 5))
              largest[i] = std::max(largest[i], std::abs(x[size_t(m) * k + j]));
        context.values("largest", largest, x_type);
        context.values("bias", b, Type::f32);
        context.values("map_vector", of_columns, Type::f32);
        context.values("squares", squares, Type::f32);
        context.values("residual", in_rows(before, rows, n, int(f.residual_stride)), Type::f32);
        context.values("norm_weight", v, Type::f32);
        context.poison("out", size_t(rows) * f.out_stride * size_of(out_type));
        if (with.norm) {
          context.poison("normed", size_t(rows) * f.normed_stride * size_of(x_type));
          context.poison("squares_out", size_t(rows) * parts * 4);
        }
        const Type left_type = with.norm ? x_type : out_type;
        const int left_parts = largest_of(description.kernels[0].grid_x);
        if (with.leaves_largest)
          context.poison("largest_out", size_t(rows) * left_parts * size_of(left_type));
        context.upload();
        context.shift("x", offset * size_of(x_type));
        context.launch({rows, 0, 0, 0});
        if (w_type == Type::e4m3)
          x = RoundedRows(x, rows, k).values(k);
        std::vector<double> y(size_t(rows) * n);
        std::vector<double> y32(y.size());
        for (int m = 0; m < rows; ++m) {
          double sum = 0;
          for (int i = 0; i < with.squares; ++i)
            sum += squares[size_t(m) * with.squares + i];
          double scale = with.squares ? 1 / std::sqrt(sum / k + double(f.eps)) : 1;
          for (int j = 0; j < n; ++j) {
            double sums[2] = {0, 0};
            float sums32[2] = {0, 0};
            for (int side = 0; side < (with.gated ? 2 : 1); ++side) {
              for (int i = 0; i < k; ++i) {
                double a = x[size_t(m) * k + i], c = w[size_t(side * n + j) * k + i];
                sums[side] += a * c;
                sums32[side] += float(a) * float(c);
              }
            }
            auto end = [&](double value, double up) {
              value = value * scale + (with.bias ? b[j] : 0);
              up *= scale;
              if (with.map_share)
                value = of_columns[j / with.map_share] *
                        (with.gated ? value * up : std::max(value, 0.25 * value));
              else if (with.gated)
                value = value / (1 + std::exp(-value)) * up;
              return value + (with.residual ? before[size_t(m) * n + j] : 0);
            };
            y[size_t(m) * n + j] = end(sums[0], sums[1]);
            y32[size_t(m) * n + j] = end(sums32[0], sums32[1]);
          }
        }
        double error = relative_error(y32, y);
        context.compare("out",
                        out_of_rows(context.read("out", out_type), rows, n, int(f.out_stride)), y,
                        tolerance(out_type, error));
        if (with.leaves_largest) { // those of what is written, to the bit
          const char *role = with.norm ? "normed" : "out";
          const std::vector<double> written =
              out_of_rows(context.read(role, left_type), rows, n,
                          int(with.norm ? f.normed_stride : f.out_stride));
          const std::vector<double> parted = context.read("largest_out", left_type);
          std::vector<double> found(rows), wanted(rows);
          for (int m = 0; m < rows; ++m) {
            for (int i = 0; i < left_parts; ++i)
              found[m] = std::max(found[m], parted[size_t(m) * left_parts + i]);
            for (int i = 0; i < n; ++i)
              wanted[m] = std::max(wanted[m], std::abs(written[size_t(m) * n + i]));
          }
          context.compare("largest_out", found, wanted, 0);
        }
        if (!with.norm)
          return;
        std::vector<double> normed = y, sums(rows), expected(rows);
        std::vector<double> left = context.read("squares_out", Type::f32);
        for (int m = 0; m < rows; ++m) {
          for (int j = 0; j < n; ++j) {
            normed[size_t(m) * n + j] *= v[j];
            expected[m] += y[size_t(m) * n + j] * y[size_t(m) * n + j];
          }
          for (int i = 0; i < parts; ++i)
            sums[m] += left[size_t(m) * parts + i];
        }
        context.compare("normed",
                        out_of_rows(context.read("normed", x_type), rows, n, int(f.normed_stride)),
                        normed, tolerance(x_type, error));
        context.compare("squares_out", sums, expected, tolerance(Type::f32, 2 * error));
      }};
}

/// `multiprocessors` decides how many outputs a block has, `shared_bytes` how many warps.
Case tiled_case(bool smoke, Type out_type, int rows, int n, int k, int padding = 0, int offset = 0,
                bool bias = false, int multiprocessors = 132, int shared_bytes = 227 * 1024) {
  std::string name = "linear bf16·i8→" + type_name(out_type) + " tiled " + std::to_string(rows) +
                     "×" + std::to_string(n) + "×" + std::to_string(k) + (bias ? " bias" : "") +
                     (offset ? " misaligned" : "") + " for " + std::to_string(multiprocessors);
  return {name, smoke, [=](Context &context) {
            TiledLinear f;
            f.out_type = out_type;
            f.n = n;
            f.k = k;
            f.x_stride = k + padding + offset;
            f.out_stride = n + padding;
            f.has_bias = bias;
            Tuning tuning;
            tuning.multiprocessors = multiprocessors;
            tuning.block_shared_bytes = shared_bytes;
            if (!context.prepare(describe(f, "kernel", tuning)))
              return;
            Random random(19);
            std::vector<double> x = random_values(random, size_t(rows) * k, -1, 1, Type::bf16);
            std::vector<double> w = random_values(random, size_t(n) * k, -128.4, 127.4, Type::i8);
            std::vector<double> scale = random_values(random, n, 0.5 / 128, 1.5 / 128, Type::f32);
            std::vector<double> b = random_values(random, n, -3, 3, Type::f32);
            context.values("x", in_rows(x, rows, k, int(f.x_stride), offset), Type::bf16);
            context.values("weight", w, Type::i8);
            context.values("scale", scale, Type::f32);
            context.values("bias", b, Type::f32);
            context.poison("out", size_t(rows) * f.out_stride * size_of(out_type));
            context.upload();
            context.shift("x", offset * size_of(Type::bf16));
            context.launch({rows, 0, 0, 0});
            std::vector<double> y(size_t(rows) * n), y32(y.size());
            for (int m = 0; m < rows; ++m)
              for (int j = 0; j < n; ++j) {
                double sum = 0;
                float sum32 = 0;
                for (int i = 0; i < k; ++i) {
                  sum += x[size_t(m) * k + i] * w[size_t(j) * k + i];
                  sum32 += float(x[size_t(m) * k + i]) * float(w[size_t(j) * k + i]);
                }
                y[size_t(m) * n + j] = sum * scale[j] + (bias ? b[j] : 0);
                y32[size_t(m) * n + j] = double(sum32) * scale[j] + (bias ? b[j] : 0);
              }
            context.compare("out",
                            out_of_rows(context.read("out", out_type), rows, n, int(f.out_stride)),
                            y, tolerance(out_type, relative_error(y32, y)));
          }};
}

Case quantize_rows_case(bool smoke, Type x_type, Type out_type, int rows, int k, int padding = 0,
                        int offset = 0) {
  std::string name = "quantize rows " + type_name(x_type) + "→" + type_name(out_type) + " " +
                     std::to_string(rows) + "×" + std::to_string(k) + (offset ? " misaligned" : "");
  return {name, smoke, [=](Context &context) {
            QuantizeRows f;
            f.x_type = x_type;
            f.out_type = out_type;
            f.k = k;
            f.x_stride = k + padding + offset;
            if (!context.prepare(describe(f, "kernel")))
              return;
            Random random(31);
            std::vector<double> x = random_values(random, size_t(rows) * k, -1, 1, x_type);
            for (int m = 0; m < rows; ++m) // of every size, and zeros
              for (int i = 0; i < k; ++i)
                x[size_t(m) * k + i] *= m % 7 == 3 ? 0 : std::ldexp(1.0, m * 5 % 60 - 30);
            const bool codes = out_type == Type::e4m3;
            context.values("x", in_rows(x, rows, k, int(f.x_stride), offset), x_type);
            context.poison("out", size_t(rows) * k * size_of(out_type));
            if (codes)
              context.poison("scale", size_t(rows) * 4);
            context.upload();
            context.shift("x", offset * size_of(x_type));
            context.launch({rows, 0, 0, 0});
            RoundedRows wanted(x, rows, k);
            if (!codes) {
              context.compare("out", context.read("out", out_type), wanted.values(k),
                              tolerance(out_type, 1e-7));
              return;
            }
            // Codes are the same, and none is NaN.
            context.compare("out", context.read("out", out_type), wanted.codes, 0);
            context.compare("scale", context.read("scale", Type::f32), wanted.scale, 1e-7);
          }};
}

/// Rows that are made and rounded in one launch: of silu·mul, or of a residual's sum and its norm.
Case made_rows_case(bool smoke, bool norm, int rows, int k, int padding = 0) {
  std::string name = std::string("quantize ") + (norm ? "norm " : "gate ") + std::to_string(rows) +
                     "×" + std::to_string(k) + (padding ? " apart" : "");
  return {name, smoke, [=](Context &context) {
            QuantizeRows f;
            f.of = norm ? QuantizeRows::Of::norm : QuantizeRows::Of::gate;
            f.k = k;
            f.first_type = norm ? Type::f32 : Type::bf16;
            f.first_stride = k + padding;
            f.second_stride = k + 2 * padding;
            f.sum_stride = k + 3 * padding;
            f.eps = 1e-3f;
            f.factor = padding ? 0.25f : 1;
            if (!context.prepare(describe(f, "kernel")))
              return;
            Random random(37);
            std::vector<double> a = random_values(random, size_t(rows) * k, -4, 4, f.first_type);
            std::vector<double> b = random_values(random, size_t(rows) * k, -2, 2, Type::bf16);
            std::vector<double> v = random_values(random, k, -2, 2, Type::f32);
            context.values(norm ? "residual" : "a", in_rows(a, rows, k, int(f.first_stride)),
                           f.first_type);
            context.values(norm ? "x" : "b", in_rows(b, rows, k, int(f.second_stride)), Type::bf16);
            if (norm) {
              context.values("weight", v, Type::f32);
              context.poison("sum", size_t(rows) * f.sum_stride * 4);
            }
            context.poison("out", size_t(rows) * k);
            context.poison("scale", size_t(rows) * 4);
            context.upload();
            context.launch({rows, 0, 0, 0});
            std::vector<double> x(a.size()), sum(a.size());
            for (int m = 0; m < rows; ++m) {
              double squares = 0;
              for (size_t i = size_t(m) * k; i < size_t(m + 1) * k; ++i) {
                sum[i] = double(float(a[i]) + f.factor * float(b[i]));
                squares += sum[i] * sum[i];
              }
              for (int j = 0; j < k; ++j) {
                const size_t i = size_t(m) * k + j;
                const double made = norm ? sum[i] / std::sqrt(squares / k + double(f.eps)) * v[j]
                                         : a[i] / (1 + std::exp(-a[i])) * b[i];
                x[i] = rounded(float(made), Type::bf16);
              }
            }
            // A number between two bf16, one in thousands, may fall to the other, and then a code.
            RoundedRows wanted(x, rows, k);
            context.compare("out", context.read("out", Type::e4m3), wanted.codes, 4e-3);
            context.compare("scale", context.read("scale", Type::f32), wanted.scale, 4e-3);
            if (norm)
              context.compare(
                  "sum", out_of_rows(context.read("sum", Type::f32), rows, k, int(f.sum_stride)),
                  sum, 1e-6);
          }};
}

Case dequantize_case(bool smoke, Type out_type, int n, int k, int group = 0, Type w_type = Type::i8,
                     Type scales = Type::bf16) {
  std::string name = "dequantize " + (w_type == Type::i8 ? "" : type_name(w_type) + "→") +
                     type_name(out_type) + " " + std::to_string(n) + "×" + std::to_string(k) +
                     (group ? " in " + std::to_string(group) : "") +
                     (scales == Type::f16 ? " of f16" : "");
  return {name, smoke, [=](Context &context) {
            Dequantize f;
            f.w_type = w_type;
            f.out_type = out_type;
            f.n = n;
            f.k = k;
            f.group = group;
            f.scale_type = scales;
            Description description = describe(f, "kernel");
            if (!context.prepare(description))
              return;
            Random random(29);
            QuantisedWeights q(random, n, k, w_type, group, scales);
            q.put(context, w_type);
            context.poison("workspace", size_t(description.workspace_bytes));
            context.upload();
            context.launch({1, 0, 0, 0});
            std::vector<double> y(q.codes.size()), y32(y.size());
            for (size_t i = 0; i < y.size(); ++i) {
              const double scale = q.scale_of(i / size_t(k), int(i % size_t(k)));
              y[i] = q.codes[i] * scale;
              y32[i] = float(q.codes[i]) * float(scale);
            }
            context.compare("workspace", context.read("workspace", out_type), y,
                            tolerance(out_type, relative_error(y32, y)));
          }};
}

} // namespace

std::vector<Case> linear_cases() {
  std::vector<Case> cases;
  const Type f32 = Type::f32, bf16 = Type::bf16;
  cases.push_back(linear_case(true, bf16, bf16, bf16, 1, 8, 96, 256));
  Neighbours bias, gated, residual, norm, scaled, scaled_gated, all, mapped, mapped_gated;
  bias.bias = gated.gated = residual.residual = scaled_gated.gated = true;
  norm.residual = norm.norm = all.bias = all.residual = all.norm = true;
  scaled.squares = 384;
  scaled_gated.squares = all.squares = 8;
  mapped = all;
  mapped.map_share = 4;
  mapped_gated = scaled_gated;
  mapped_gated.map_share = 1;
  cases.push_back(linear_case(true, bf16, bf16, f32, 8, 8, 100, 1000, 8, 0, bias));
  cases.push_back(linear_case(true, bf16, bf16, f32, 3, 8, 100, 256, 8, 0, mapped));
  cases.push_back(linear_case(false, bf16, bf16, bf16, 8, 8, 200, 320, 0, 0, mapped_gated));
  cases.push_back(linear_case(false, f32, f32, f32, 2, 8, 36, 40, 0, 0, mapped));
  cases.push_back(linear_case(false, bf16, Type::i8, bf16, 4, 8, 72, 256, 0, 0, mapped_gated));
  cases.push_back(linear_case(false, bf16, bf16, bf16, 5, 8, 4096, 512));
  cases.push_back(linear_case(false, bf16, bf16, bf16, 13, 16, 4096, 200));
  cases.push_back(linear_case(false, bf16, bf16, bf16, 16, 16, 200, 320, 0, 0, gated));
  cases.push_back(linear_case(false, bf16, bf16, bf16, 7, 2, 67, 264));
  cases.push_back(linear_case(true, bf16, bf16, f32, 3, 8, 256, 3072, 0, 0, residual));
  cases.push_back(linear_case(true, bf16, bf16, bf16, 8, 8, 200, 320, 0, 0, gated));
  cases.push_back(linear_case(false, bf16, bf16, bf16, 3, 8, 40, 256, 5, 3));
  cases.push_back(linear_case(false, bf16, bf16, bf16, 3, 8, 40, 77));
  cases.push_back(linear_case(true, f32, f32, f32, 3, 8, 100, 1000, 4, 0, bias));
  cases.push_back(linear_case(false, f32, f32, f32, 13, 16, 33, 77, 0, 1));
  cases.push_back(linear_case(false, f32, f32, f32, 2, 8, 64, 512, 0, 0, residual));
  cases.push_back(linear_case(false, f32, bf16, f32, 8, 8, 100, 1024));
  cases.push_back(linear_case(false, f32, f32, f32, 8, 8, 72, 96, 0, 0, gated));
  cases.push_back(linear_case(false, bf16, f32, bf16, 8, 8, 72, 96));
  cases.push_back(linear_case(true, bf16, bf16, f32, 3, 8, 256, 3072, 0, 0, norm));
  cases.push_back(linear_case(true, bf16, bf16, bf16, 8, 8, 200, 320, 0, 0, scaled));
  cases.push_back(linear_case(true, bf16, bf16, bf16, 5, 8, 72, 64, 0, 0, scaled_gated));
  cases.push_back(linear_case(false, bf16, bf16, f32, 16, 16, 4099, 320, 8, 0, norm));
  cases.push_back(linear_case(false, bf16, bf16, f32, 7, 2, 67, 264, 8, 0, all));
  cases.push_back(linear_case(false, f32, f32, f32, 8, 8, 100, 77, 3, 1, all));
  cases.push_back(linear_case(false, f32, f32, f32, 13, 16, 40, 32, 0, 0, all));

  const Type i8 = Type::i8;
  cases.push_back(linear_case(true, bf16, i8, bf16, 1, 8, 96, 256));
  cases.push_back(linear_case(true, bf16, i8, f32, 8, 8, 100, 1008, 8, 0, bias));
  cases.push_back(linear_case(false, bf16, i8, bf16, 5, 8, 4096, 512));
  cases.push_back(linear_case(false, bf16, i8, bf16, 13, 16, 4096, 208));
  cases.push_back(linear_case(false, bf16, i8, bf16, 16, 16, 200, 320, 0, 0, gated));
  cases.push_back(linear_case(false, bf16, i8, bf16, 7, 2, 67, 272));
  cases.push_back(linear_case(false, bf16, i8, f32, 3, 8, 256, 3072, 0, 0, residual));
  cases.push_back(linear_case(false, bf16, i8, bf16, 3, 8, 40, 256, 5, 3));
  cases.push_back(linear_case(false, bf16, i8, bf16, 3, 8, 40, 77));
  cases.push_back(linear_case(false, bf16, i8, bf16, 3, 8, 40, 72, 0, 0, gated));
  cases.push_back(linear_case(true, f32, i8, f32, 3, 8, 100, 1000, 4, 0, bias));
  cases.push_back(linear_case(false, f32, i8, f32, 13, 16, 33, 77, 0, 1));
  cases.push_back(linear_case(false, f32, i8, f32, 8, 8, 72, 96, 0, 0, gated));
  cases.push_back(linear_case(false, bf16, i8, f32, 3, 8, 256, 3072, 0, 0, norm));
  cases.push_back(linear_case(true, bf16, i8, bf16, 8, 8, 200, 320, 0, 0, scaled));
  cases.push_back(linear_case(true, bf16, i8, bf16, 5, 8, 72, 64, 0, 0, scaled_gated));
  cases.push_back(linear_case(false, bf16, i8, f32, 7, 2, 67, 272, 8, 0, all));
  cases.push_back(linear_case(false, f32, i8, f32, 8, 8, 100, 77, 3, 1, all));
  cases.push_back(tiled_case(true, bf16, 9, 96, 256));
  cases.push_back(tiled_case(true, f32, 64, 100, 1008, 8, 0, true));
  cases.push_back(tiled_case(false, bf16, 33, 40, 1552));
  cases.push_back(tiled_case(false, bf16, 130, 200, 80, 0, 0, true));
  cases.push_back(tiled_case(false, bf16, 128, 3072, 3072));
  cases.push_back(tiled_case(false, bf16, 32, 8384, 3072));
  cases.push_back(tiled_case(false, bf16, 64, 16384, 1024));
  cases.push_back(tiled_case(false, bf16, 40, 48, 272, 5, 3));
  cases.push_back(tiled_case(false, bf16, 12, 48, 272, 8, 3));
  cases.push_back(tiled_case(true, bf16, 50, 400, 304, 0, 0, false, 2));
  cases.push_back(tiled_case(true, bf16, 20, 300, 1040, 0, 0, false, 4));
  cases.push_back(tiled_case(false, bf16, 50, 100, 1040, 0, 0, false, 132, 99 * 1024));
  cases.push_back(tiled_case(false, bf16, 31, 300, 528, 0, 0, false, 4, 99 * 1024));
  cases.push_back(tiled_case(false, bf16, 64, 400, 528, 0, 0, false, 2, 99 * 1024));
  cases.push_back(tiled_case(false, bf16, 1, 70, 16));
  cases.push_back(dequantize_case(true, bf16, 33, 64));
  cases.push_back(dequantize_case(true, f32, 200, 96));
  cases.push_back(dequantize_case(false, bf16, 7, 77));
  cases.push_back(dequantize_case(false, f32, 5, 6));

  const Type e4m3 = Type::e4m3;
  cases.push_back(linear_case(true, bf16, e4m3, bf16, 1, 8, 96, 256));
  cases.push_back(linear_case(true, bf16, e4m3, f32, 8, 8, 100, 1008, 8, 0, bias));
  cases.push_back(linear_case(true, bf16, e4m3, bf16, 1, 1, 96, 256)); // rounded by whole warps
  cases.push_back(linear_case(false, bf16, e4m3, bf16, 1, 1, 200, 3072, 0, 0, gated));
  cases.push_back(linear_case(false, bf16, e4m3, bf16, 5, 8, 4096, 512));
  cases.push_back(linear_case(false, bf16, e4m3, bf16, 13, 16, 4096, 208));
  cases.push_back(linear_case(false, bf16, e4m3, bf16, 16, 16, 200, 320, 0, 0, gated));
  cases.push_back(linear_case(false, bf16, e4m3, bf16, 7, 2, 67, 272));
  cases.push_back(linear_case(true, bf16, e4m3, bf16, 1, 8, 200, 3072, 0, 0, gated));
  cases.push_back(linear_case(false, bf16, e4m3, f32, 3, 8, 256, 3072, 0, 0, residual));
  cases.push_back(linear_case(false, bf16, e4m3, bf16, 3, 8, 40, 256, 5, 3));
  cases.push_back(linear_case(false, bf16, e4m3, bf16, 3, 8, 40, 77));
  cases.push_back(linear_case(false, bf16, e4m3, bf16, 3, 8, 40, 72, 0, 0, gated));
  cases.push_back(linear_case(true, f32, e4m3, f32, 3, 8, 100, 1000, 4, 0, bias));
  cases.push_back(linear_case(false, f32, e4m3, f32, 13, 16, 33, 77, 0, 1));
  cases.push_back(linear_case(false, f32, e4m3, f32, 8, 8, 72, 96, 0, 0, gated));
  cases.push_back(linear_case(false, bf16, e4m3, f32, 3, 8, 256, 3072, 0, 0, norm));
  cases.push_back(linear_case(true, bf16, e4m3, bf16, 8, 8, 200, 320, 0, 0, scaled));
  cases.push_back(linear_case(true, bf16, e4m3, bf16, 5, 8, 72, 64, 0, 0, scaled_gated));
  cases.push_back(linear_case(false, bf16, e4m3, f32, 7, 2, 67, 272, 8, 0, all));
  cases.push_back(linear_case(false, f32, e4m3, f32, 8, 8, 100, 77, 3, 1, all));
  Neighbours given = scaled, given_gated = scaled_gated, leaving = norm;
  given.largest = 8;
  given.leaves_largest = given_gated.leaves_largest = leaving.leaves_largest = true;
  given_gated.largest = 192;
  leaving.largest = 1024;
  cases.push_back(linear_case(true, bf16, e4m3, bf16, 8, 8, 200, 320, 0, 0, given));
  cases.push_back(linear_case(true, bf16, e4m3, bf16, 5, 8, 72, 3072, 0, 0, given_gated));
  cases.push_back(linear_case(true, bf16, e4m3, f32, 3, 8, 256, 8192, 8, 0, leaving));
  cases.push_back(linear_case(true, bf16, e4m3, bf16, 1, 1, 72, 3072, 0, 0, given_gated));
  cases.push_back(linear_case(true, bf16, e4m3, f32, 1, 1, 4096, 1040, 0, 0, leaving));
  cases.push_back(linear_case(false, bf16, e4m3, f32, 13, 8, 4096, 272, 0, 0, leaving));
  cases.push_back(linear_case(false, bf16, e4m3, f32, 3, 8, 40, 256, 5, 3, leaving));
  cases.push_back(linear_case(false, f32, e4m3, f32, 8, 8, 100, 77, 3, 1, leaving));
  for (bool is_norm : {false, true}) {
    cases.push_back(made_rows_case(true, is_norm, 13, 3072));
    cases.push_back(made_rows_case(false, is_norm, 5, 8192, 8));
    cases.push_back(made_rows_case(false, is_norm, 9, 200, 3));
  }
  cases.push_back(dequantize_case(true, bf16, 33, 64, 0, e4m3));
  cases.push_back(dequantize_case(false, f32, 7, 333, 0, e4m3));
  cases.push_back(quantize_rows_case(true, bf16, e4m3, 13, 256));
  cases.push_back(quantize_rows_case(false, bf16, e4m3, 70, 3072, 8));
  cases.push_back(quantize_rows_case(false, bf16, e4m3, 5, 77));
  cases.push_back(quantize_rows_case(false, bf16, e4m3, 9, 256, 5, 3));
  cases.push_back(quantize_rows_case(false, f32, e4m3, 13, 1000));
  cases.push_back(quantize_rows_case(true, bf16, bf16, 13, 8192));
  cases.push_back(quantize_rows_case(false, f32, f32, 13, 333, 1));

  const Type i4 = Type::i4x2;
  auto int4 = [&](bool smoke, Type x_type, Type out_type, int rows, int max_rows, int n, int k,
                  int group, int padding = 0, int offset = 0, Neighbours with = {}) {
    cases.push_back(linear_case(smoke, x_type, i4, out_type, rows, max_rows, n, k, padding, offset,
                                with, group));
  };
  int4(true, bf16, bf16, 1, 8, 96, 256, 32);
  int4(true, bf16, f32, 8, 8, 100, 1008, 64, 8, 0, bias);
  int4(false, bf16, bf16, 5, 8, 7000, 512, 128);
  int4(false, bf16, bf16, 13, 16, 4096, 208, 32);
  int4(true, bf16, bf16, 32, 32, 200, 328, 64, 0, 0, bias);
  int4(false, bf16, bf16, 25, 32, 3072, 3072, 32);
  int4(false, bf16, f32, 18, 32, 40, 1000, 128, 16);
  int4(false, bf16, bf16, 40, 32, 40, 96, 32);
  int4(false, bf16, bf16, 16, 16, 200, 320, 32, 0, 0, gated);
  int4(false, bf16, bf16, 7, 2, 67, 272, 128);
  int4(false, bf16, f32, 3, 8, 256, 3072, 32, 0, 0, residual);
  int4(false, bf16, bf16, 3, 8, 40, 256, 64, 5, 3);
  int4(false, bf16, bf16, 3, 8, 40, 77, 32);
  int4(false, bf16, bf16, 3, 8, 40, 72, 64, 0, 0, gated);
  int4(true, f32, f32, 3, 8, 100, 1000, 32, 4, 0, bias);
  int4(false, f32, f32, 13, 16, 33, 77, 128, 0, 1);
  int4(false, f32, f32, 8, 8, 72, 96, 64, 0, 0, gated);
  int4(false, bf16, f32, 3, 8, 256, 3072, 128, 0, 0, norm);
  int4(true, bf16, bf16, 8, 8, 200, 320, 32, 0, 0, scaled);
  int4(true, bf16, bf16, 5, 8, 72, 64, 64, 0, 0, scaled_gated);
  int4(false, bf16, f32, 7, 2, 67, 272, 32, 8, 0, all);
  int4(false, bf16, f32, 8, 8, 8384, 1024, 32, 0, 0, norm);
  int4(false, f32, f32, 8, 8, 100, 77, 32, 3, 1, all);
  cases.push_back(dequantize_case(true, bf16, 33, 64, 32, i4));
  cases.push_back(dequantize_case(true, f32, 200, 200, 64, i4));
  cases.push_back(dequantize_case(false, bf16, 7, 333, 128, i4));
  cases.push_back(dequantize_case(false, f32, 70, 1024, 32, i4));

  // Of groups, with scales of either type; rows of i8 end with their columns.
  const Type f16 = Type::f16;
  auto groups = [&](bool smoke, Type w_type, Type scales, Type x_type, Type out_type, int rows,
                    int max_rows, int n, int k, int group, int padding = 0, int offset = 0,
                    Neighbours with = {}) {
    cases.push_back(linear_case(smoke, x_type, w_type, out_type, rows, max_rows, n, k, padding,
                                offset, with, group, scales));
  };
  groups(true, i8, bf16, bf16, bf16, 1, 8, 96, 256, 32);
  groups(true, i8, f16, bf16, f32, 8, 8, 100, 1008, 64, 8, 0, bias);
  groups(false, i8, bf16, bf16, bf16, 5, 8, 7000, 512, 128);
  groups(false, i8, f16, bf16, bf16, 13, 16, 4096, 208, 32);
  groups(true, i8, bf16, bf16, bf16, 32, 32, 200, 336, 64, 0, 0, bias);
  groups(false, i8, f16, bf16, bf16, 25, 32, 3072, 3072, 32);
  groups(false, i8, bf16, bf16, bf16, 40, 32, 40, 96, 32);
  groups(true, i8, bf16, bf16, bf16, 16, 16, 200, 320, 32, 0, 0, gated);
  groups(false, i8, bf16, bf16, bf16, 7, 2, 67, 272, 128);
  groups(false, i8, f16, bf16, f32, 3, 8, 256, 3072, 32, 0, 0, residual);
  groups(false, i8, bf16, bf16, bf16, 3, 8, 40, 256, 64, 5, 3);
  groups(false, i8, f16, bf16, bf16, 3, 8, 40, 72, 32);
  groups(true, i8, f16, f32, f32, 3, 8, 100, 1000, 32, 4, 0, bias);
  groups(false, i8, bf16, f32, f32, 13, 16, 33, 77, 128, 0, 1);
  groups(false, i8, bf16, bf16, f32, 3, 8, 256, 3072, 128, 0, 0, norm);
  groups(true, i8, bf16, bf16, bf16, 8, 8, 200, 320, 32, 0, 0, scaled);
  groups(true, i8, f16, bf16, bf16, 5, 8, 72, 64, 64, 0, 0, scaled_gated);
  groups(false, i8, bf16, bf16, f32, 7, 2, 67, 272, 32, 8, 0, all);
  groups(false, i8, bf16, f32, f32, 8, 8, 100, 77, 32, 3, 1, all);
  groups(true, i4, f16, bf16, bf16, 8, 8, 200, 328, 32);
  groups(false, i4, f16, f32, f32, 3, 8, 100, 1000, 64, 4, 0, bias);
  cases.push_back(dequantize_case(true, bf16, 33, 64, 32, i8, f16));
  cases.push_back(dequantize_case(true, f32, 200, 200, 64, i8));
  cases.push_back(dequantize_case(false, bf16, 7, 333, 128, i8));
  cases.push_back(dequantize_case(false, bf16, 70, 1024, 32, i4, f16));
  return cases;
}

} // namespace m1k::test
