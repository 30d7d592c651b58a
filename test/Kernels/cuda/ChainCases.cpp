// Products one after another in one launch, each against float64 of the rows that the ones before
// it wrote.
#include "Harness.h"

#include <cmath>

namespace m1k::test {
namespace {

using namespace cuda;

/// A layer's MLP between two mixers, as plans have it: a product with residual, one beside it with
/// the residual that the first leaves and a norm, one with both halves, another with residual and
/// norm, two for the next mixers, and a narrow one of some of the first one's columns. `times`: the
/// launch is repeated, and every bit of it.
Case chain_case(bool smoke, int rows, int from, int hidden, int wide, int next, int padding = 0,
                int times = 1) {
  std::string name = "chain " + std::to_string(rows) + "×" + std::to_string(from) + "→" +
                     std::to_string(hidden) + "→" + std::to_string(wide) + "→" +
                     std::to_string(next) + (padding ? " apart" : "") +
                     (times > 1 ? ", " + std::to_string(times) + " times" : "");
  return {
      name, smoke, [=](Context &context) {
        if (!context.warpgroups())
          return; // another chip
        const int squares = squares_of((hidden + 7) / 8), column = 24, columns = 64,
                  z_stride = (next + 2 * padding + 7) / 8 * 8;
        auto product = [&](int n, int k, int x_stride, int out_stride) {
          Linear f;
          f.n = n;
          f.k = k;
          f.x_stride = x_stride;
          f.out_stride = out_stride;
          f.eps = 1e-3f;
          return f;
        };
        auto with_norm = [&](Linear f) {
          f.out_type = Type::f32;
          f.has_residual = f.leaves_norm = true;
          f.residual_stride = hidden + 3 * padding;
          f.normed_stride = hidden + padding;
          return f;
        };
        LinearChain chain;
        auto add = [&](const Linear &facts,
                       std::vector<std::pair<std::string, std::string>> operands) {
          chain.products.push_back({facts, 0, std::move(operands), {}});
          return &chain.products.back().facts;
        };
        Linear *beside = add(product(hidden, from, from + padding, hidden + 3 * padding),
                             {{"x", "x"}, {"weight", "w0"}, {"residual", "before"}, {"out", "h0"}});
        beside->out_type = Type::f32;
        beside->has_residual = true;
        beside->residual_stride = hidden + 2 * padding;
        add(with_norm(product(hidden, from, from + padding, hidden + 3 * padding)),
            {{"x", "x"},
             {"weight", "w1"},
             {"residual", "h0"},
             {"norm_weight", "v1"},
             {"out", "h1"},
             {"normed", "n1"},
             {"squares_out", "s1"}});
        Linear *gate = add(product(wide, hidden, hidden + padding, wide),
                           {{"x", "n1"}, {"weight", "w2"}, {"squares", "s1"}, {"out", "y"}});
        gate->gated = true;
        gate->squares = squares;
        add(with_norm(product(hidden, wide, wide, hidden + 3 * padding)), {{"x", "y"},
                                                                           {"weight", "w3"},
                                                                           {"residual", "h1"},
                                                                           {"norm_weight", "v3"},
                                                                           {"out", "h2"},
                                                                           {"normed", "n2"},
                                                                           {"squares_out", "s2"}});
        add(product(next, hidden, hidden + padding, z_stride),
            {{"x", "n2"}, {"weight", "w4"}, {"squares", "s2"}, {"out", "z"}})
            ->squares = squares;
        add(product(from, hidden, hidden + padding, from),
            {{"x", "n2"}, {"weight", "w5"}, {"squares", "s2"}, {"out", "also"}})
            ->squares = squares;
        Linear *narrow = add(
            product(40, columns, z_stride, 40),
            {{"x", "z"}, {"weight", "w6"}, {"bias", "b"}, {"map_vector", "m"}, {"out", "last"}});
        narrow->out_type = Type::f32;
        narrow->has_bias = true;
        narrow->map = "return v2 * (v0 > 0.0f ? v0 : 0.25f * v0);";
        narrow->map_share = 4;
        chain.products.back().x_column = column;
        if (!context.prepare(describe(chain, "kernel")))
          return;

        Random random(23);
        std::vector<std::vector<double>> weights;
        for (size_t i = 0; i < chain.products.size(); ++i) {
          const Linear &f = chain.products[i].facts;
          const double size = 2 / std::sqrt(f.k);
          weights.push_back(
              random_values(random, size_t(f.gated ? 2 : 1) * f.n * f.k, -size, size, Type::bf16));
          context.values("w" + std::to_string(i), weights.back(), Type::bf16);
        }
        const std::vector<double> bias = random_values(random, 40, -1, 1, Type::f32),
                                  shares = random_values(random, 10, 0.5, 2, Type::f32);
        context.values("b", bias, Type::f32);
        context.values("m", shares, Type::f32);
        std::vector<double> v[4];
        for (int i : {1, 3}) {
          v[i] = random_values(random, hidden, 0.5, 1.5, Type::f32);
          context.values("v" + std::to_string(i), v[i], Type::f32);
        }
        context.values("x",
                       in_rows(random_values(random, size_t(rows) * from, -1, 1, Type::bf16), rows,
                               from, from + padding),
                       Type::bf16);
        context.values("before",
                       in_rows(random_values(random, size_t(rows) * hidden, -1, 1, Type::f32), rows,
                               hidden, hidden + 2 * padding),
                       Type::f32);
        const std::vector<std::pair<std::string, size_t>> written = {
            {"h0", size_t(hidden + 3 * padding) * 4},
            {"h1", size_t(hidden + 3 * padding) * 4},
            {"n1", size_t(hidden + padding) * 2},
            {"s1", size_t(squares) * 4},
            {"y", size_t(wide) * 2},
            {"h2", size_t(hidden + 3 * padding) * 4},
            {"n2", size_t(hidden + padding) * 2},
            {"s2", size_t(squares) * 4},
            {"z", size_t(z_stride) * 2},
            {"also", size_t(from) * 2},
            {"last", 160}};
        std::vector<std::vector<char>> first;
        int other = 0;
        for (int time = 0; time < times; ++time) {
          for (const auto &[role, bytes] : written)
            context.poison(role, rows * bytes);
          context.integers("arrived", {0});
          context.upload();
          context.launch({rows, rows, rows, 0});
          for (size_t i = 0; i < written.size(); ++i)
            if (time == 0)
              first.push_back(context.read_raw(written[i].first));
            else
              other += first[i] != context.read_raw(written[i].first);
        }
        context.require(other == 0, std::to_string(other) + " results of repetitions differ");

        for (size_t p = 0; p < chain.products.size(); ++p) {
          const LinearChain::Product &part = chain.products[p];
          const Linear &f = part.facts;
          auto named = [&](const char *role) {
            for (const auto &[its, name] : part.operands)
              if (its == role)
                return name;
            return std::string();
          };
          const std::vector<double> x = context.read(named("x"), Type::bf16);
          const std::vector<double> parts =
              f.squares ? context.read(named("squares"), Type::f32) : std::vector<double>();
          const std::vector<double> before =
              f.has_residual ? context.read(named("residual"), Type::f32) : std::vector<double>();
          std::vector<double> y(size_t(rows) * f.n), y32(y.size()), normed, sums(rows);
          for (int r = 0; r < rows; ++r) {
            double scale = 1;
            if (f.squares) {
              double sum = 0;
              for (int i = 0; i < f.squares; ++i)
                sum += parts[size_t(r) * f.squares + i];
              scale = 1 / std::sqrt(sum / f.k + double(f.eps));
            }
            for (int j = 0; j < f.n; ++j) {
              double of[2] = {0, 0};
              float of32[2] = {0, 0};
              for (int side = 0; side < (f.gated ? 2 : 1); ++side)
                for (int i = 0; i < f.k; ++i) {
                  const double a = x[size_t(r) * f.x_stride + part.x_column + i],
                               w = weights[p][size_t(side * f.n + j) * f.k + i];
                  of[side] += a * w;
                  of32[side] += float(a) * float(w);
                }
              auto end = [&](double value, double up) {
                value *= scale;
                if (f.gated)
                  value = silu(value) * up * scale;
                if (f.has_bias)
                  value += bias[j];
                if (f.map_share)
                  value = shares[j / f.map_share] * std::max(value, 0.25 * value);
                return value + (f.has_residual ? before[size_t(r) * f.residual_stride + j] : 0);
              };
              y[size_t(r) * f.n + j] = end(of[0], of[1]);
              y32[size_t(r) * f.n + j] = end(of32[0], of32[1]);
              sums[r] += y[size_t(r) * f.n + j] * y[size_t(r) * f.n + j];
              if (f.leaves_norm)
                normed.push_back(y[size_t(r) * f.n + j] * v[p][j]);
            }
          }
          const double error = relative_error(y32, y);
          context.compare(
              named("out"),
              out_of_rows(context.read(named("out"), f.out_type), rows, f.n, int(f.out_stride)), y,
              tolerance(f.out_type, error));
          if (!f.leaves_norm)
            continue;
          context.compare(named("normed"),
                          out_of_rows(context.read(named("normed"), Type::bf16), rows, f.n,
                                      int(f.normed_stride)),
                          normed, tolerance(Type::bf16, error));
          const std::vector<double> left = context.read(named("squares_out"), Type::f32);
          std::vector<double> added(rows);
          for (size_t i = 0; i < left.size(); ++i)
            added[i / size_t(squares)] += left[i];
          context.compare(named("squares_out"), added, sums, tolerance(Type::f32, 2 * error));
        }
      }};
}

/// A product whose first outputs go through a convolution's step, and one of what that leaves, as
/// a Mamba layer has them. Some sequences begin.
Case convolution_case(bool smoke, int rows, int from, int channels, int n, int next, int width,
                      Type state_type, bool has_bias, int padding, int times) {
  std::string name = "chain " + std::to_string(rows) + "×" + std::to_string(from) + "→" +
                     std::to_string(n) + ", convolution of " + std::to_string(channels) + " by " +
                     std::to_string(width) + " → " + std::to_string(next) +
                     (has_bias ? "" : " without bias");
  return {
      name, smoke, [=](Context &context) {
        if (!context.warpgroups())
          return; // another chip
        LinearChain chain;
        Linear first, second;
        first.n = n;
        first.k = first.x_stride = from;
        first.out_stride = n + padding;
        second.n = second.out_stride = next;
        second.k = channels;
        second.x_stride = channels + 8 * padding;
        second.out_type = Type::f32;
        CausalConv1d conv;
        conv.state_type = state_type;
        conv.channels = channels;
        conv.width = width;
        conv.x_stride = first.out_stride;
        conv.out_stride = second.x_stride;
        conv.has_bias = has_bias;
        conv.decode = true;
        chain.products.push_back({first,
                                  0,
                                  {{"x", "x"},
                                   {"weight", "w0"},
                                   {"out", "z"},
                                   {"conv_w", "filter"},
                                   {"slots", "slots"},
                                   {"positions", "positions"},
                                   {"conv_state", "state"},
                                   {"conv_out", "y"}},
                                  conv});
        if (has_bias)
          chain.products[0].operands.push_back({"conv_bias", "add"});
        chain.products.push_back({second, 0, {{"x", "y"}, {"weight", "w1"}, {"out", "last"}}, {}});
        if (!context.prepare(describe(chain, "kernel")))
          return;

        Random random(29);
        const int taps = width - 1, window = taps * channels, places = 2 * rows + 1;
        auto weights = [&](const char *role, int outputs, int k) {
          std::vector<double> w = random_values(random, size_t(outputs) * k, -2 / std::sqrt(k),
                                                2 / std::sqrt(k), Type::bf16);
          context.values(role, w, Type::bf16);
          return w;
        };
        const std::vector<double> w0 = weights("w0", n, from), w1 = weights("w1", next, channels),
                                  x = random_values(random, size_t(rows) * from, -1, 1, Type::bf16),
                                  filter = random_values(random, size_t(channels) * width, -1, 1,
                                                         Type::f32),
                                  add = random_values(random, channels, -1, 1, Type::f32),
                                  state = random_values(random, size_t(places) * window, -1, 1,
                                                        state_type);
        context.values("x", x, Type::bf16);
        context.values("filter", filter, Type::f32);
        if (has_bias)
          context.values("add", add, Type::f32);
        std::vector<int> slots, positions;
        for (int r = 0; r < rows; ++r) {
          slots.push_back(2 * (rows - r) - 1);
          positions.push_back(r % 3 == 1 ? 0 : 5 + r);
        }
        context.integers("slots", slots);
        context.integers("positions", positions);
        std::vector<std::vector<char>> left;
        int other = 0;
        const std::pair<const char *, size_t> written[] = {
            {"z", size_t(rows) * first.out_stride * 2},
            {"y", size_t(rows) * conv.out_stride * 2},
            {"last", size_t(rows) * next * 4}};
        for (int time = 0; time < times; ++time) {
          for (auto [role, bytes] : written)
            context.poison(role, bytes);
          context.values("state", state, state_type);
          context.integers("arrived", {0});
          context.upload();
          context.launch({rows, rows, rows, 0});
          size_t at = 0;
          for (const char *role : {"z", "y", "last", "state"})
            if (time == 0)
              left.push_back(context.read_raw(role));
            else
              other += left[at++] != context.read_raw(role);
        }
        context.require(other == 0, std::to_string(other) + " results of repetitions differ");

        auto product = [&](const char *role, const std::vector<double> &of, const Linear &f,
                           const std::vector<double> &w) {
          std::vector<double> y(size_t(rows) * f.n), y32(y.size());
          for (int r = 0; r < rows; ++r)
            for (int j = 0; j < f.n; ++j) {
              double sum = 0;
              float sum32 = 0;
              for (int i = 0; i < f.k; ++i) {
                const double a = of[size_t(r) * f.x_stride + i], b = w[size_t(j) * f.k + i];
                sum += a * b;
                sum32 += float(a) * float(b);
              }
              y[size_t(r) * f.n + j] = sum;
              y32[size_t(r) * f.n + j] = sum32;
            }
          context.compare(role,
                          out_of_rows(context.read(role, f.out_type), rows, f.n, int(f.out_stride)),
                          y, tolerance(f.out_type, relative_error(y32, y)));
        };
        product("z", x, first, w0);
        const std::vector<double> z = context.read("z", Type::bf16),
                                  y = context.read("y", Type::bf16);
        std::vector<double> convolved, convolved32, after = state;
        for (int r = 0; r < rows; ++r)
          for (int c = 0; c < channels; ++c) {
            double *taps_of = &after[size_t(slots[r]) * window + c];
            double sum = has_bias ? add[c] : 0;
            float sum32 = float(sum);
            for (int t = 0; t < width; ++t) {
              const double value = t == taps           ? z[size_t(r) * first.out_stride + c]
                                   : positions[r] == 0 ? 0
                                                       : taps_of[t * channels];
              sum += filter[size_t(c) * width + t] * value;
              sum32 += float(filter[size_t(c) * width + t]) * float(value);
              if (t > 0)
                taps_of[(t - 1) * channels] = value;
            }
            convolved.push_back(silu(sum));
            convolved32.push_back(silu(double(sum32)));
          }
        context.compare("y", out_of_rows(y, rows, channels, int(conv.out_stride)), convolved,
                        tolerance(Type::bf16, relative_error(convolved32, convolved)));
        // Inputs of bf16 are exact in either type; slots of no sequence stay as they are.
        context.require(context.read("state", state_type) == after, "other windows");
        product("last", y, second, w1);
      }};
}

} // namespace

std::vector<Case> chain_cases() {
  return {
      convolution_case(true, 3, 64, 40, 88, 24, 4, Type::f32, true, 0, 1),
      convolution_case(true, 8, 72, 1032, 1288, 200, 3, Type::bf16, false, 1, 2),
      convolution_case(false, 8, 2560, 5120, 10240, 192, 4, Type::bf16, true, 0, 20),
      convolution_case(false, 1, 4096, 8192, 16384, 288, 4, Type::f32, true, 0, 20),
      chain_case(true, 3, 64, 136, 264, 203),
      chain_case(true, 8, 72, 128, 192, 1064, 8),
      chain_case(false, 1, 1024, 1024, 2048, 4096, 0, 20),
      chain_case(false, 8, 1544, 1288, 5128, 2051, 8, 20),
      chain_case(false, 8, 3072, 3072, 8192, 2048, 0, 20),
      chain_case(false, 5, 192, 4480, 1096, 520),
      chain_case(false, 8, 3072, 1536, 4096, 6448, 8, 20), // slots of 1536 columns
      chain_case(false, 3, 4096, 2560, 9728, 6144, 0, 20), // of 1280
  };
}

} // namespace m1k::test
