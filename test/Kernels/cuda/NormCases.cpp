// Norms of groups, gated before or behind them.
#include "Harness.h"

#include <cmath>

namespace m1k::test {
namespace {

using namespace cuda;

/// What of the norm differs from the plain gated one.
struct NormKind {
  bool gated = true, norm_first = false, has_weight = true, shared_weight = false;
};

Case norm_case(bool smoke, Type y_type, Type z_type, Type out_type, int features, int groups,
               int rows, int padding, int offset, NormKind kind = {}) {
  std::string name = std::string(kind.gated ? "gated_rms_norm " : "rms_norm ") +
                     (kind.norm_first ? "norm first " : "") +
                     (!kind.has_weight     ? "no weight "
                      : kind.shared_weight ? "shared weight "
                                           : "") +
                     type_name(y_type) + " " + type_name(z_type) + " " + type_name(out_type) + " " +
                     std::to_string(features) + " in " + std::to_string(groups);
  return {name, smoke, [=](Context &context) {
            GatedRmsNorm f;
            f.y_type = y_type;
            f.z_type = z_type;
            f.out_type = out_type;
            f.features = features;
            f.groups = groups;
            f.y_stride = f.z_stride = f.out_stride = features + padding + offset;
            f.gated = kind.gated;
            f.norm_first = kind.norm_first;
            f.has_weight = kind.has_weight;
            f.shared_weight = kind.shared_weight;
            if (!context.prepare(describe(f, "kernel")))
              return;
            Random random(3);
            int size = features / groups;
            std::vector<double> y = random_values(random, size_t(rows) * features, -2, 2, y_type);
            std::vector<double> z = random_values(random, size_t(rows) * features, -3, 3, z_type);
            std::vector<double> w =
                random_values(random, kind.shared_weight ? size : features, 0.5, 1.5, Type::f32);
            const char *in = kind.gated ? "y" : "x";
            context.values(in, in_rows(y, rows, features, int(f.y_stride), offset), y_type);
            context.values("z", in_rows(z, rows, features, int(f.z_stride), offset), z_type);
            context.values("weight", w, Type::f32);
            context.poison("out", size_t(rows) * f.out_stride * size_of(out_type));
            context.upload();
            context.shift(in, offset * size_of(y_type));
            context.shift("z", offset * size_of(z_type));
            context.shift("out", offset * size_of(out_type));
            context.launch({rows, 0, 0, 0});
            std::vector<double> expected(y.size());
            for (int r = 0; r < rows; ++r)
              for (int g = 0; g < groups; ++g) {
                double sum = 0;
                size_t at = size_t(r) * features + size_t(g) * size;
                for (int i = 0; i < size; ++i) {
                  double &value = expected[at + i] = y[at + i];
                  if (kind.gated && !kind.norm_first)
                    value *= silu(z[at + i]);
                  sum += value * value;
                }
                for (int i = 0; i < size; ++i) {
                  expected[at + i] /= std::sqrt(sum / size + 1e-5);
                  if (kind.has_weight)
                    expected[at + i] *= w[kind.shared_weight ? i : g * size + i];
                  if (kind.norm_first)
                    expected[at + i] *= silu(z[at + i]);
                }
              }
            std::vector<double> stored = context.read("out", out_type), actual(y.size());
            for (int r = 0; r < rows; ++r)
              for (int i = 0; i < features; ++i)
                actual[size_t(r) * features + i] = stored[size_t(r) * f.out_stride + offset + i];
            context.compare("out", actual, expected, tolerance(out_type, 1e-7));
          }};
}

} // namespace

std::vector<Case> norm_cases() {
  std::vector<Case> cases;
  const Type f32 = Type::f32, bf16 = Type::bf16;
  const NormKind first = {true, true, true, false}, first_shared = {true, true, true, true},
                 heads = {false, false, true, true}, bare = {false, false, false, false};

  cases.push_back(norm_case(true, bf16, bf16, bf16, 384, 3, 7, 0, 0));
  cases.push_back(norm_case(true, f32, f32, f32, 384, 6, 7, 8, 8));
  cases.push_back(norm_case(false, f32, bf16, bf16, 90, 6, 7, 1, 1));
  cases.push_back(norm_case(false, bf16, bf16, f32, 4096, 1, 3, 0, 0));
  cases.push_back(norm_case(false, bf16, bf16, bf16, 3072, 3, 3, 8, 3));
  cases.push_back(norm_case(true, bf16, bf16, bf16, 384, 3, 7, 0, 0, first));
  cases.push_back(norm_case(true, f32, bf16, bf16, 512, 4, 5, 8, 8, first_shared));
  cases.push_back(norm_case(false, f32, f32, f32, 90, 6, 7, 1, 1, first_shared));
  cases.push_back(norm_case(true, bf16, bf16, bf16, 3072, 24, 5, 16, 8, heads));
  cases.push_back(norm_case(false, f32, f32, bf16, 60, 5, 7, 1, 1, heads));
  cases.push_back(norm_case(true, bf16, bf16, bf16, 256, 1, 5, 0, 0, bare));
  cases.push_back(norm_case(false, bf16, bf16, f32, 16, 1, 5, 3, 1, bare));
  return cases;
}

} // namespace m1k::test
