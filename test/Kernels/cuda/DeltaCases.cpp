// The gated delta rule against float64: lengths 1, odd and longer than tiles, chunked against
// whole, strided rows at odd offsets, sizes that no vector divides, every type; prefill in tiles on
// tensor cores and token by token.
#include "Harness.h"

#include <algorithm>
#include <cmath>

namespace m1k::test {
namespace {

using namespace cuda;

struct DeltaProblem {
  Type type = Type::bf16, gate_type = Type::bf16, out_type = Type::bf16, state_type = Type::f32;
  int heads = 4, key_heads = 2, key_size = 32, value_size = 32;
  double decay = 1;
  int offset = 0, padding = 0; // columns before and after in each row
  bool has_dt_bias = true;
  int multiprocessors = 132;
  bool warpgroups = true; // where the GPU has them
  double gate_low = -4, gate_high = 3;

  Batch batch;
  std::vector<double> q, k, v, a, b, decays, dt_bias, state;
  int keys() const { return key_heads * key_size; }
  int columns() const { return heads * value_size; }
  int stride(int columns) const { return columns + offset + padding; }

  void fill(uint64_t seed) {
    Random random(seed);
    size_t T = batch.tokens;
    q = random_values(random, T * keys(), -2, 2, type);
    k = random_values(random, T * keys(), -2, 2, type);
    v = random_values(random, T * columns(), -2, 2, type);
    a = random_values(random, T * heads, gate_low, gate_high, gate_type);
    b = random_values(random, T * heads, -4, 4, gate_type);
    decays = random_values(random, heads, -decay, -0.01 * decay, Type::f32);
    dt_bias = random_values(random, heads, -2, 0.5, Type::f32);
    state =
        random_values(random, size_t(batch.slot_count) * columns() * key_size, -1, 1, state_type);
  }

  template <class Real>
  void evaluate(std::vector<double> &y, std::vector<double> &end_state) const {
    y.assign(size_t(batch.tokens) * columns(), 0);
    end_state = state;
    auto unit = [&](const std::vector<double> &x, int t, int head) {
      std::vector<Real> u(key_size);
      Real sum = Real(1e-6);
      for (int i = 0; i < key_size; ++i) {
        u[i] = Real(x[size_t(t) * keys() + head * key_size + i]);
        sum += u[i] * u[i];
      }
      for (Real &value : u)
        value /= std::sqrt(sum);
      return u;
    };
    for (int s = 0; s < batch.sequences; ++s) {
      if (batch.starts[s] == batch.starts[s + 1])
        continue;
      bool fresh = batch.positions[batch.starts[s]] == 0;
      for (int h = 0; h < heads; ++h) {
        double *saved = &end_state[(size_t(batch.slots[s]) * heads + h) * key_size * value_size];
        std::vector<Real> S(size_t(key_size) * value_size);
        for (size_t i = 0; i < S.size(); ++i)
          S[i] = fresh ? Real(0) : Real(saved[i]);
        for (int t = batch.starts[s]; t < batch.starts[s + 1]; ++t) {
          std::vector<Real> query = unit(q, t, h / (heads / key_heads)),
                            key = unit(k, t, h / (heads / key_heads));
          Real x = Real(a[size_t(t) * heads + h]) + (has_dt_bias ? Real(dt_bias[h]) : Real(0));
          Real keep = std::exp(Real(decays[h]) * std::log1p(std::exp(x)));
          Real beta = 1 / (1 + std::exp(-Real(b[size_t(t) * heads + h])));
          for (int j = 0; j < value_size; ++j) {
            Real seen = 0, sum = 0;
            for (int i = 0; i < key_size; ++i)
              seen += keep * S[i * value_size + j] * key[i];
            Real change = beta * (Real(v[size_t(t) * columns() + h * value_size + j]) - seen);
            for (int i = 0; i < key_size; ++i) {
              Real &value = S[i * value_size + j];
              value = keep * value + key[i] * change;
              sum += value * query[i];
            }
            y[size_t(t) * columns() + h * value_size + j] = double(sum / std::sqrt(Real(key_size)));
          }
        }
        for (size_t i = 0; i < S.size(); ++i)
          saved[i] = double(S[i]);
      }
    }
  }

  GatedDelta facts(bool decode) const {
    GatedDelta f;
    f.q_type = f.k_type = f.v_type = type;
    f.a_type = f.b_type = gate_type;
    f.out_type = out_type;
    f.state_type = state_type;
    f.heads = heads;
    f.key_heads = key_heads;
    f.key_size = key_size;
    f.value_size = value_size;
    f.q_stride = f.k_stride = stride(keys());
    f.v_stride = f.out_stride = stride(columns());
    f.a_stride = f.b_stride = stride(heads);
    f.has_dt_bias = has_dt_bias;
    f.decode = decode;
    f.scale = float(1 / std::sqrt(double(key_size)));
    return f;
  }

  Description description(bool decode) const {
    Tuning tuning;
    tuning.multiprocessors = multiprocessors;
    tuning.warpgroups = warpgroups;
    return describe(facts(decode), "kernel", tuning);
  }
  // Tiles round the carried state, δ and the masked products to bf16 before they meet another
  // operand: 2.7e-3 of the state and 3.5e-3 of the output in a simulation on the CPU.
  double extra(bool decode) const { return description(decode).kernels.size() > 1 ? 5e-3 : 0; }

  void put(Context &context) const {
    int T = batch.tokens;
    auto rows = [&](const std::vector<double> &values, int columns) {
      return in_rows(values, T, columns, stride(columns), offset);
    };
    context.values("q", rows(q, keys()), type);
    context.values("k", rows(k, keys()), type);
    context.values("v", rows(v, columns()), type);
    context.values("a", rows(a, heads), gate_type);
    context.values("b", rows(b, heads), gate_type);
    context.values("decay", decays, Type::f32);
    context.values("dt_bias", dt_bias, Type::f32);
    context.values("state", state, state_type);
    context.poison("out", size_t(T) * stride(columns()) * size_of(out_type));
    put_batch(context, batch);
  }
  void launch(Context &context) const {
    for (const char *role : {"q", "k", "v"})
      context.shift(role, offset * size_of(type));
    for (const char *role : {"a", "b"})
      context.shift(role, offset * size_of(gate_type));
    context.shift("out", offset * size_of(out_type));
    context.launch({batch.tokens, batch.sequences, 0, 0});
  }
  /// What was written, and that nothing was beside it.
  std::vector<double> result(Context &context) const {
    std::vector<double> rows = context.read("out", out_type);
    std::vector<double> actual(size_t(batch.tokens) * columns());
    bool untouched = true;
    int wide = stride(columns());
    for (int t = 0; t < batch.tokens; ++t)
      for (int j = 0; j < wide; ++j) {
        double value = rows[size_t(t) * wide + j];
        if (j >= offset && j < offset + columns())
          actual[size_t(t) * columns() + j - offset] = value;
        else
          untouched &= std::isnan(value);
      }
    context.require(untouched, "columns beside the output were written");
    return actual;
  }
};

std::string name_of(const DeltaProblem &p) {
  auto type = [](Type t) { return t == Type::f32 ? "f32" : t == Type::bf16 ? "bf16" : "f16"; };
  return std::string(type(p.type)) + "/" + type(p.state_type) + " " + std::to_string(p.heads) +
         "/" + std::to_string(p.key_heads) + " of " + std::to_string(p.key_size) + "×" +
         std::to_string(p.value_size) +
         (!p.warpgroups             ? ", no warpgroups"
          : p.multiprocessors > 132 ? ", overlapped"
                                    : "");
}

Case delta_case(const std::string &label, bool smoke, DeltaProblem p,
                const std::vector<int> &lengths, const std::vector<int> &past, bool decode) {
  p.batch = make_batch(lengths, past);
  return {"gated_delta " + label + (decode ? " decode " : " ") + name_of(p), smoke,
          [p, decode](Context &context) mutable {
            if (!context.prepare(p.description(decode)))
              return;
            p.fill(7);
            p.put(context);
            context.upload();
            p.launch(context);
            std::vector<double> y, end, y32, end32;
            p.evaluate<double>(y, end);
            p.evaluate<float>(y32, end32);
            context.compare("out", p.result(context), y,
                            tolerance(p.out_type, relative_error(y32, y)) + p.extra(decode));
            context.compare("state", context.read("state", p.state_type), end,
                            tolerance(p.state_type, relative_error(end32, end)) + p.extra(decode));
          }};
}

// A decode step with the convolution of q, k and v inside and, unless `norm` is 0, a norm of gated
// values (1) or before the gate (2).
Case update_case(const std::string &label, bool smoke, DeltaProblem p, int norm, int width,
                 Type window_type) {
  p.batch = make_batch(std::vector<int>(9, 1), {4, 0, 7, 1, 90, 0, 3, 2, 1});
  return {"delta_update " + label + " norm " + std::to_string(norm) + " width " +
              std::to_string(width) + " " + name_of(p),
          smoke, [=](Context &context) mutable {
            const int T = p.batch.tokens, taps = width - 1, keys = p.keys(), columns = p.columns(),
                      inputs = 2 * keys + columns;
            DeltaUpdate f;
            f.delta = p.facts(true);
            f.x_type = p.type;
            f.conv_state_type = window_type;
            f.z_type = p.gate_type;
            f.conv_width = width;
            f.conv_channels = inputs;
            f.k_column = keys;
            f.v_column = 2 * keys;
            f.has_conv_bias = width != 4;
            f.x_stride = p.stride(inputs);
            f.z_stride = p.stride(columns);
            f.has_norm = norm > 0;
            f.norm_first = norm == 2;
            f.shared_norm_weight = norm == 2;
            f.counters = counters_of(f);
            if (!context.prepare(describe(f, "kernel")))
              return;
            p.fill(17);
            Random random(19);
            std::vector<double> rows(size_t(T) * inputs),
                w = random_values(random, size_t(inputs) * width, -0.7, 0.7, Type::f32),
                bias = random_values(random, inputs, -0.5, 0.5, Type::f32),
                z = random_values(random, size_t(T) * columns, -3, 3, p.gate_type),
                norm_w = random_values(random, columns, 0.5, 1.5, Type::f32),
                window = random_values(random, size_t(p.batch.slot_count) * taps * inputs, -2, 2,
                                       window_type),
                moved = window;
            for (int t = 0; t < T; ++t)
              for (int c = 0; c < inputs; ++c) {
                double &value = c < keys       ? p.q[size_t(t) * keys + c]
                                : c < 2 * keys ? p.k[size_t(t) * keys + c - keys]
                                               : p.v[size_t(t) * columns + c - 2 * keys];
                rows[size_t(t) * inputs + c] = value;
                const size_t at = size_t(p.batch.slots[t]) * taps * inputs + c;
                const bool fresh = p.batch.positions[t] == 0;
                double sum = (f.has_conv_bias ? bias[c] : 0) + w[c * width + taps] * value;
                for (int k = 0; k < taps; ++k) {
                  sum += fresh ? 0 : w[c * width + k] * window[at + size_t(k) * inputs];
                  moved[at + size_t(k) * inputs] =
                      k + 1 == taps ? rounded(value, window_type)
                                    : (fresh ? 0 : window[at + size_t(k + 1) * inputs]);
                }
                value = sum / (1 + std::exp(-sum));
              }
            p.put(context);
            context.values("x", in_rows(rows, T, inputs, p.stride(inputs), p.offset), p.type);
            context.values("z", in_rows(z, T, columns, p.stride(columns), p.offset), p.gate_type);
            context.values("conv_w", w, Type::f32);
            context.values("conv_bias", bias, Type::f32);
            context.values("norm_w", norm_w, Type::f32);
            context.values("conv_state", window, window_type);
            context.integers("counters", std::vector<int>(size_t(T) * f.counters));
            context.upload();
            context.shift("x", p.offset * size_of(p.type));
            context.shift("z", p.offset * size_of(p.gate_type));
            p.launch(context);
            std::vector<double> y, end, y32, end32;
            p.evaluate<double>(y, end);
            p.evaluate<float>(y32, end32);
            const double error = relative_error(y32, y);
            for (int t = 0; t < T && norm > 0; ++t)
              for (int h = 0; h < p.heads; ++h) {
                double *values = &y[size_t(t) * columns + size_t(h) * p.value_size], sum = 0;
                auto gate = [&](int j) {
                  const double g = z[size_t(t) * columns + size_t(h) * p.value_size + j];
                  return g / (1 + std::exp(-g));
                };
                for (int j = 0; j < p.value_size; ++j) {
                  values[j] *= norm == 1 ? gate(j) : 1;
                  sum += values[j] * values[j];
                }
                for (int j = 0; j < p.value_size; ++j)
                  values[j] *= norm_w[norm == 2 ? j : h * p.value_size + j] *
                               (norm == 2 ? gate(j) : 1) / std::sqrt(sum / p.value_size + 1e-6);
              }
            context.compare("out", p.result(context), y, tolerance(p.out_type, error + 1e-6));
            context.compare("state", context.read("state", p.state_type), end,
                            tolerance(p.state_type, relative_error(end32, end) + 1e-6));
            if (taps > 0)
              context.compare("conv_state", context.read("conv_state", window_type), moved, 1e-7);
          }};
}

// What is no number in one sequence stays there, also where others share its tile.
Case separate_case(DeltaProblem p, const std::vector<int> &lengths, int broken) {
  p.batch = make_batch(lengths, std::vector<int>(lengths.size(), 3));
  return {"gated_delta NaN in one sequence " + name_of(p), false, [=](Context &context) mutable {
            if (!context.prepare(p.description(false)))
              return;
            p.fill(13);
            std::vector<double> y, end;
            p.evaluate<double>(y, end);
            int from = p.batch.starts[broken], to = p.batch.starts[broken + 1];
            auto spoil = [&](std::vector<double> &values, int columns) {
              std::fill(values.begin() + size_t(from) * columns,
                        values.begin() + size_t(to) * columns, std::nan(""));
            };
            spoil(p.q, p.keys());
            spoil(p.k, p.keys());
            spoil(p.v, p.columns());
            spoil(p.a, p.heads);
            spoil(p.b, p.heads);
            p.put(context);
            context.upload();
            p.launch(context);
            std::vector<double> actual = p.result(context),
                                state = context.read("state", p.state_type);
            size_t size = size_t(p.columns()) * p.key_size, slot = p.batch.slots[broken];
            bool spoiled = true;
            for (size_t i = size_t(from) * p.columns(); i < size_t(to) * p.columns(); ++i) {
              spoiled &= std::isnan(actual[i]);
              actual[i] = y[i] = 0;
            }
            for (size_t i = slot * size; i < (slot + 1) * size; ++i) {
              spoiled &= std::isnan(state[i]);
              state[i] = end[i] = 0;
            }
            context.require(spoiled, "a number came of what is none");
            context.compare("out", actual, y, tolerance(p.out_type, 1e-7) + p.extra(false));
            context.compare("state", state, end, tolerance(p.state_type, 1e-7) + p.extra(false));
          }};
}

// Three chunks of a sequence give what the whole gives.
Case chunked_case(DeltaProblem p, int length, int cut1, int cut2) {
  return {"gated_delta chunked = whole " + name_of(p), false, [=](Context &context) mutable {
            p.batch = make_batch({length}, {0});
            if (!context.prepare(p.description(false)))
              return;
            p.fill(11);
            std::vector<double> y, end, y32, end32, joined;
            p.evaluate<double>(y, end);
            p.evaluate<float>(y32, end32);
            int cuts[] = {0, cut1, cut2, length};
            p.put(context);
            context.upload();
            for (int i = 0; i < 3; ++i) {
              DeltaProblem part = p;
              part.batch = make_batch({cuts[i + 1] - cuts[i]}, {cuts[i]});
              part.batch.slots = p.batch.slots;
              part.batch.slot_count = p.batch.slot_count;
              auto piece = [&](const std::vector<double> &values, int columns) {
                return std::vector<double>(values.begin() + size_t(cuts[i]) * columns,
                                           values.begin() + size_t(cuts[i + 1]) * columns);
              };
              part.q = piece(p.q, p.keys());
              part.k = piece(p.k, p.keys());
              part.v = piece(p.v, p.columns());
              part.a = piece(p.a, p.heads);
              part.b = piece(p.b, p.heads);
              std::vector<char> state = context.read_raw("state");
              context.clear();
              part.put(context);
              if (int64_t bytes = p.description(false).workspace_bytes)
                context.poison("workspace", size_t(bytes));
              context.raw("state", state);
              context.upload();
              part.launch(context);
              std::vector<double> rows = part.result(context);
              joined.insert(joined.end(), rows.begin(), rows.end());
            }
            context.compare("out", joined, y,
                            tolerance(p.out_type, relative_error(y32, y)) + p.extra(false));
            context.compare("state", context.read("state", p.state_type), end,
                            3 * tolerance(p.state_type, relative_error(end32, end)) +
                                p.extra(false));
          }};
}

// However the launches happen to overlap, and whatever is in their memory, every bit is the same.
Case repeated_case(DeltaProblem p, const std::vector<int> &lengths) {
  p.batch = make_batch(lengths, std::vector<int>(lengths.size(), 3));
  return {"gated_delta again and again " + name_of(p), false, [=](Context &context) mutable {
            if (!context.prepare(p.description(false)))
              return;
            p.fill(19);
            p.put(context);
            std::vector<char> out, state;
            for (int i = 0; i < 50; ++i) {
              context.upload();
              p.launch(context);
              std::vector<char> out_now = context.read_raw("out"),
                                state_now = context.read_raw("state");
              context.require(i == 0 || (out_now == out && state_now == state),
                              "launch " + std::to_string(i) + " differs from the one before");
              out = std::move(out_now);
              state = std::move(state_now);
            }
          }};
}

DeltaProblem problem(Type type, Type state_type, int heads, int key_heads, int key_size,
                     int value_size) {
  DeltaProblem p;
  p.type = p.gate_type = p.out_type = type;
  p.state_type = state_type;
  p.heads = heads;
  p.key_heads = key_heads;
  p.key_size = key_size;
  p.value_size = value_size;
  return p;
}

} // namespace

std::vector<Case> delta_cases() {
  std::vector<Case> cases;
  const std::vector<int> ragged = {1, 37, 64, 3, 0, 130}, past = {5, 0, 9, 0, 4, 64};
  const std::vector<int> ones(9, 1), decoded = {4, 0, 7, 1, 90, 0, 3, 2, 1};
  const Type f32 = Type::f32, bf16 = Type::bf16;
  cases.push_back(delta_case("ragged", true, problem(f32, f32, 6, 2, 32, 48), ragged, past, false));
  cases.push_back(delta_case("odd", false, problem(f32, f32, 3, 1, 13, 45), ragged, past, false));
  cases.push_back(
      delta_case("wide", false, problem(bf16, bf16, 2, 2, 256, 64), ragged, past, false));
  cases.push_back(delta_case("one", false, problem(f32, f32, 1, 1, 1, 1), ragged, past, false));
  {
    DeltaProblem p = problem(bf16, f32, 4, 2, 64, 64);
    p.offset = 3;
    p.padding = 5;
    cases.push_back(delta_case("misaligned", true, p, ragged, past, false));
    p.gate_type = f32;
    p.has_dt_bias = false;
    cases.push_back(delta_case("gates in f32, bare", false, p, ragged, past, false));
    p.out_type = f32;
    cases.push_back(delta_case("mixed types, bare", false, p, ragged, past, false));
    p = problem(f32, f32, 4, 2, 32, 32);
    p.decay = 60;
    cases.push_back(delta_case("large decay", false, p, ragged, past, false));
  }
  // Tiles: around their length, all of one sequence, many sequences in one. For a chip so small
  // that a block takes many columns, with warpgroup products and without, and for one so large that
  // the sequences are few on it.
  struct Chip {
    bool warpgroups;
    int multiprocessors;
  };
  for (Chip chip : {Chip{true, 6}, Chip{false, 6}, Chip{true, 1200}}) {
    DeltaProblem p = problem(bf16, f32, 4, 2, 128, 128), two = problem(bf16, f32, 2, 1, 128, 64),
                 small_state = problem(bf16, bf16, 2, 2, 128, 192);
    for (DeltaProblem *each : {&p, &two, &small_state}) {
      each->warpgroups = chip.warpgroups;
      each->multiprocessors = chip.multiprocessors;
    }
    DeltaProblem misaligned = p;
    misaligned.offset = 3;
    misaligned.padding = 5;
    cases.push_back(delta_case("wide blocks", true, p, ragged, past, false));
    cases.push_back(delta_case("tiles", true, p, {1, 63, 64, 65, 200}, {0, 7, 0, 100, 64}, false));
    cases.push_back(delta_case("", true, small_state, ragged, past, false));
    cases.push_back(delta_case("misaligned", true, misaligned, ragged, past, false));
    cases.push_back(separate_case(two, {20, 15, 70, 9}, 1));
    cases.push_back(chunked_case(two, 250, 1, 77));
    std::vector<int> many(70, 1), seen(70, 5);
    many[20] = 90, seen[20] = 0, many[50] = 3;
    cases.push_back(delta_case("tokens among prompts", true, p, many, seen, false));
    p.decay = 60;
    cases.push_back(delta_case("large decay", false, p, ragged, past, false));
    p.decay = 0.05, p.gate_low = -9, p.gate_high = -3;
    cases.push_back(delta_case("slow decay", false, p, {700, 40}, {5, 0}, false));
  }
  {
    DeltaProblem p = problem(bf16, f32, 4, 2, 128, 128);
    cases.push_back(delta_case("one tile", false, p, {64}, {0}, false));
    cases.push_back(delta_case("few tokens", false, p, {5}, {2}, false));
    cases.push_back(delta_case("ragged", true, p, ragged, past, false));
    cases.push_back(delta_case("many", false, p, std::vector<int>(9, 33), decoded, false));
    cases.push_back(delta_case("long", false, p, {3000}, {0}, false));
    cases.push_back(repeated_case(p, {700, 40, 333}));
    cases.push_back(
        delta_case("narrow values", false, problem(bf16, bf16, 6, 3, 64, 48), ragged, past, false));
    cases.push_back(separate_case(problem(bf16, f32, 2, 1, 64, 64), {20, 15, 70, 9}, 1));
  }
  cases.push_back(separate_case(problem(f32, f32, 2, 1, 64, 64), {20, 15, 70, 9}, 1));
  cases.push_back(chunked_case(problem(f32, f32, 4, 2, 64, 32), 150, 1, 77));
  cases.push_back(chunked_case(problem(bf16, f32, 4, 2, 64, 32), 250, 1, 77));
  cases.push_back(delta_case("", true, problem(bf16, f32, 4, 2, 128, 128), ones, decoded, true));
  cases.push_back(delta_case("", false, problem(f32, bf16, 3, 3, 20, 12), ones, decoded, true));
  cases.push_back(update_case("", true, problem(bf16, f32, 4, 2, 128, 128), 2, 4, bf16));
  cases.push_back(update_case("", true, problem(bf16, f32, 2, 2, 128, 128), 2, 4, bf16));
  cases.push_back(update_case("", true, problem(f32, bf16, 6, 2, 20, 12), 1, 3, f32));
  cases.push_back(update_case("", false, problem(f32, f32, 1, 1, 1, 1), 0, 1, f32));
  {
    DeltaProblem p = problem(bf16, f32, 6, 2, 32, 45);
    p.offset = 3;
    p.padding = 5;
    p.gate_type = p.out_type = f32;
    cases.push_back(update_case("mixed types, misaligned", true, p, 2, 2, f32));
  }
  return cases;
}

} // namespace m1k::test
