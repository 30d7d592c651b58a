// Scans, state updates, convolution and gated norm against float64, over the sizes that break
// kernels: lengths 1, odd, longer than tiles, chunked against whole, strided rows at odd offsets,
// N, widths and heads of every divisibility, large decay.
#include "Harness.h"

#include <algorithm>
#include <cmath>

namespace m1k::test {
namespace {

using namespace cuda;

template <class Real> Real silu(Real x) { return x / (Real(1) + std::exp(-x)); }
template <class Real> Real softplus(Real x) { return x > 20 ? x : std::log1p(std::exp(x)); }

// Both kinds of scan, by the formulas of the model's specification.
struct ScanProblem {
  Type x_type = Type::bf16, dt_type = Type::bf16, b_type = Type::bf16, c_type = Type::bf16,
       z_type = Type::bf16, out_type = Type::bf16, state_type = Type::f32, window_type = Type::bf16;
  // group: channels of a head, N in Mamba-1, P in Mamba-2.
  int channels = 0, group = 0, states = 0, x_columns = 0, b_heads = 1, c_heads = 1;
  bool headwise = false, has_d = true, has_z = true, has_dt_bias = true;
  double decay = 1;  // scale of A
  int offset = 0;    // column where each activation begins in its row
  int padding = 0;   // columns after
  bool conv = false; // decode only: x before the convolution
  int conv_width = 4, conv_channels = 0;
  // Decode only, what a step does for neighbours: dt from a row of so many columns, norms of that
  // row, of B and of C (0: none, 1: without a weight, 2: with one), B and C columns of the
  // convolution behind x, a norm of the results.
  int dt_rank = 0, input_norms = 0, norm_groups = 0;
  Type dt_w_type = Type::bf16;
  bool wide = false, few = false;
  int squares_columns = 0, counters = 0; // of the launch

  Batch batch;
  std::vector<double> x, dt, a, b, c, d, z, dt_bias, state, conv_w, conv_bias, conv_state;
  std::vector<double> dt_w, dt_norm, b_norm, c_norm, norm_w;
  int heads() const { return channels / group; }
  int repeat() const { return channels / x_columns; }
  int b_columns() const { return b_heads * states; }
  int c_columns() const { return c_heads * states; }
  int dt_columns() const { return headwise ? heads() : channels; }
  int stride(int columns) const { return columns + offset + padding; }
  int dt_inputs() const { return dt_rank ? dt_rank : dt_columns(); }
  int inputs() const { return x_columns + (wide ? b_columns() + c_columns() : 0); }
  ScanNeighbours neighbours() const {
    ScanNeighbours n;
    if (conv) {
      n.conv.width = conv_width;
      n.conv.channels = conv_channels;
      n.conv.state_type = window_type;
    }
    if (wide) {
      n.conv.b_column = x_columns;
      n.conv.c_column = x_columns + b_columns();
    }
    for (ScanNeighbours::Norm *norm : {&n.dt_norm, &n.b_norm, &n.c_norm}) {
      norm->present = input_norms > 0;
      norm->has_weight = input_norms == 2;
    }
    n.dt_rank = dt_rank;
    n.dt_w_type = dt_w_type;
    n.has_z = headwise && has_z;
    n.z_type = z_type;
    n.z_stride = stride(channels);
    n.norm_groups = norm_groups;
    n.few = few;
    return n;
  }

  void fill(uint64_t seed) {
    Random random(seed);
    int T = batch.tokens;
    x = random_values(random, size_t(T) * x_columns, -2, 2, x_type);
    dt = random_values(random, size_t(T) * dt_inputs(), -4, 3, dt_type);
    b = random_values(random, size_t(T) * b_columns(), -1, 1, b_type);
    c = random_values(random, size_t(T) * c_columns(), -1, 1, c_type);
    z = random_values(random, size_t(T) * channels, -3, 3, z_type);
    a = random_values(random, headwise ? heads() : size_t(channels) * states, -decay, -0.01 * decay,
                      Type::f32);
    d = random_values(random, dt_columns(), -1, 1, Type::f32);
    dt_bias = random_values(random, dt_columns(), -2, 0.5, Type::f32);
    state = random_values(random, size_t(batch.slot_count) * channels * states, -1, 1, state_type);
    conv_w = random_values(random, size_t(conv_channels) * conv_width, -0.7, 0.7, Type::f32);
    conv_bias = random_values(random, conv_channels, -0.5, 0.5, Type::f32);
    conv_state = random_values(random, size_t(batch.slot_count) * (conv_width - 1) * inputs(), -2,
                               2, window_type);
    const double scale = dt_rank ? 1 / std::sqrt(double(dt_rank)) : 1;
    dt_w = random_values(random, size_t(channels) * dt_rank, -scale, scale, dt_w_type);
    dt_norm = random_values(random, dt_rank, 0.5, 1.5, Type::f32);
    b_norm = random_values(random, states, 0.5, 1.5, Type::f32);
    c_norm = random_values(random, states, 0.5, 1.5, Type::f32);
    norm_w = random_values(random, channels, 0.5, 1.5, Type::f32);
  }

  /// Rows of `columns` values, normed as the inputs are.
  template <class Real>
  std::vector<Real> normed(const std::vector<double> &rows, int columns,
                           const std::vector<double> &weight) const {
    std::vector<Real> out(rows.begin(), rows.end());
    for (size_t at = 0; input_norms && at < rows.size(); at += columns) {
      Real sum = 0;
      for (int i = 0; i < columns; ++i)
        sum += out[at + i] * out[at + i];
      for (int i = 0; i < columns; ++i)
        out[at + i] *= (input_norms == 2 ? Real(weight[i]) : Real(1)) /
                       std::sqrt(sum / Real(columns) + Real(1e-5));
    }
    return out;
  }
  /// dt of every channel.
  template <class Real> std::vector<Real> deltas() const {
    if (!dt_rank)
      return std::vector<Real>(dt.begin(), dt.end());
    std::vector<Real> rows = normed<Real>(dt, dt_rank, dt_norm),
                      out(size_t(batch.tokens) * channels);
    for (int t = 0; t < batch.tokens; ++t)
      for (int ch = 0; ch < channels; ++ch)
        for (int k = 0; k < dt_rank; ++k)
          out[size_t(t) * channels + ch] +=
              rows[size_t(t) * dt_rank + k] * Real(dt_w[size_t(ch) * dt_rank + k]);
    return out;
  }
  /// The convolution's step of input column `column`, whose value is `value`.
  template <class Real> Real convolved(int s, int column, int filter, Real value) const {
    const int taps = conv_width - 1;
    Real sum = Real(conv_bias[filter]) + Real(conv_w[filter * conv_width + taps]) * value;
    for (int k = 0; k < taps && batch.positions[batch.starts[s]] != 0; ++k)
      sum += Real(conv_w[filter * conv_width + k]) *
             Real(conv_state[(size_t(batch.slots[s]) * taps + k) * inputs() + column]);
    return silu(sum);
  }
  /// B or C, `columns` of them from column `first` of the convolution on.
  template <class Real>
  std::vector<Real> heads_of(const std::vector<double> &rows, int columns, int first,
                             const std::vector<double> &weight) const {
    std::vector<Real> out = normed<Real>(rows, columns, weight);
    for (int s = 0; wide && s < batch.sequences; ++s)
      for (int i = 0; i < columns; ++i) {
        Real &value = out[size_t(batch.starts[s]) * columns + i];
        value = convolved(s, first + i, first + i, value);
      }
    return out;
  }

  template <class Real>
  void evaluate(std::vector<double> &y, std::vector<double> &end_state,
                std::vector<double> &end_window, std::vector<double> *squares = nullptr) const {
    const std::vector<Real> delta_rows = deltas<Real>(),
                            b_rows = heads_of<Real>(b, b_columns(), x_columns, b_norm),
                            c_rows =
                                heads_of<Real>(c, c_columns(), x_columns + b_columns(), c_norm);
    y.assign(size_t(batch.tokens) * channels, 0);
    end_state = state;
    end_window = conv_state;
    int taps = conv_width - 1;
    for (int s = 0; s < batch.sequences; ++s) {
      if (batch.starts[s] == batch.starts[s + 1])
        continue;
      bool fresh = batch.positions[batch.starts[s]] == 0;
      double *window = conv ? &end_window[size_t(batch.slots[s]) * taps * inputs()] : nullptr;
      if (conv && fresh)
        std::fill(window, window + size_t(taps) * inputs(), 0.0);
      for (int ch = 0; ch < channels; ++ch) {
        int head = ch / group;
        int source = head / repeat() * group + ch % group;
        double *saved = &end_state[(size_t(batch.slots[s]) * channels + ch) * states];
        std::vector<Real> h(states);
        for (int n = 0; n < states; ++n)
          h[n] = fresh ? Real(0) : Real(saved[n]);
        for (int t = batch.starts[s]; t < batch.starts[s + 1]; ++t) {
          Real xv = Real(x[size_t(t) * x_columns + source]);
          if (conv)
            xv = convolved(s, source, !wide && conv_channels == channels ? ch : source, xv);
          int vi = headwise ? head : ch;
          Real delta = delta_rows[size_t(t) * dt_columns() + vi] +
                       (has_dt_bias ? Real(dt_bias[vi]) : Real(0));
          delta = softplus(delta);
          Real sum = 0;
          for (int n = 0; n < states; ++n) {
            Real rate = Real(headwise ? a[head] : a[size_t(ch) * states + n]);
            h[n] = std::exp(delta * rate) * h[n] +
                   delta * xv *
                       b_rows[size_t(t) * b_columns() + ch / (channels / b_heads) * states + n];
            sum += h[n] * c_rows[size_t(t) * c_columns() + ch / (channels / c_heads) * states + n];
          }
          if (has_d)
            sum += Real(d[vi]) * xv;
          if (has_z)
            sum *= silu(Real(z[size_t(t) * channels + ch]));
          y[size_t(t) * channels + ch] = double(sum);
        }
        for (int n = 0; n < states; ++n)
          saved[n] = double(h[n]);
      }
      if (conv) {
        for (int column = 0; column < inputs(); ++column) {
          for (int k = 0; k + 1 < taps; ++k)
            window[size_t(k) * inputs() + column] = window[size_t(k + 1) * inputs() + column];
          if (taps > 0)
            window[size_t(taps - 1) * inputs() + column] =
                rounded(input(batch.starts[s], column), window_type);
        }
      }
    }
    for (int t = 0; t < batch.tokens && norm_groups > 0; ++t)
      for (int g = 0; g < norm_groups; ++g) {
        const int size = channels / norm_groups;
        double *values = &y[size_t(t) * channels + size_t(g) * size];
        Real sum = 0;
        for (int i = 0; i < size; ++i)
          sum += Real(values[i]) * Real(values[i]);
        const Real factor =
            norm_groups == 1 ? Real(1) : Real(1) / std::sqrt(sum / Real(size) + Real(1e-5));
        for (int i = 0; i < size; ++i)
          values[i] = double(Real(values[i]) * factor * Real(norm_w[g * size + i]));
        if (squares)
          squares->push_back(double(sum));
      }
  }
  double input(int t, int column) const {
    if (column < x_columns)
      return x[size_t(t) * x_columns + column];
    column -= x_columns;
    return column < b_columns() ? b[size_t(t) * b_columns() + column]
                                : c[size_t(t) * c_columns() + column - b_columns()];
  }

  void put(Context &context) const {
    int T = batch.tokens;
    auto rows = [&](const std::vector<double> &v, int columns) {
      return in_rows(v, T, columns, stride(columns), offset);
    };
    std::vector<double> convolution(size_t(T) * inputs());
    for (int t = 0; t < T; ++t)
      for (int column = 0; column < inputs(); ++column)
        convolution[size_t(t) * inputs() + column] = input(t, column);
    context.values("x", rows(convolution, inputs()), x_type);
    context.values("dt", rows(dt, dt_inputs()), dt_type);
    context.values("b", rows(b, b_columns()), b_type);
    context.values("c", rows(c, c_columns()), c_type);
    context.values("dt_w", dt_w, dt_w_type);
    context.values("dt_norm", dt_norm, Type::f32);
    context.values("b_norm", b_norm, Type::f32);
    context.values("c_norm", c_norm, Type::f32);
    context.values("norm_w", norm_w, Type::f32);
    context.poison("squares_out", size_t(T) * squares_columns * 4);
    context.integers("counters", std::vector<int>(size_t(batch.sequences) * counters));
    if (has_z)
      context.values("z", rows(z, channels), z_type);
    context.values("a", a, Type::f32);
    context.values("d", d, Type::f32);
    context.values("dt_bias", dt_bias, Type::f32);
    context.values("state", state, state_type);
    context.values("conv_w", conv_w, Type::f32);
    context.values("conv_bias", conv_bias, Type::f32);
    context.values("conv_state", conv_state, window_type);
    context.poison("out", size_t(T) * stride(channels) * size_of(out_type));
    put_batch(context, batch);
  }

  // Operands that begin `offset` columns into their rows.
  void launch(Context &context) const {
    std::vector<std::pair<std::string, int>> shifted = {
        {"x", size_of(x_type)},   {"b", size_of(b_type)}, {"c", size_of(c_type)},
        {"dt", size_of(dt_type)}, {"z", size_of(z_type)}, {"out", size_of(out_type)}};
    for (auto &entry : shifted)
      context.shift(entry.first, entry.second * offset);
    context.launch({batch.tokens, batch.sequences, 0, 0});
  }

  void verify(Context &context, double extra = 0) const {
    std::vector<double> y, end, window, y32, end32, window32;
    std::vector<double> squares;
    evaluate<double>(y, end, window, &squares);
    evaluate<float>(y32, end32, window32);
    std::vector<double> rows = context.read("out", out_type);
    std::vector<double> actual(size_t(batch.tokens) * channels);
    bool untouched = true;
    int columns = stride(channels);
    for (int t = 0; t < batch.tokens; ++t)
      for (int j = 0; j < columns; ++j) {
        double v = rows[size_t(t) * columns + j];
        if (j >= offset && j < offset + channels)
          actual[size_t(t) * channels + j - offset] = v;
        else
          untouched &= std::isnan(v);
      }
    context.require(untouched, "columns beside the output were written");
    context.compare("out", actual, y, tolerance(out_type, relative_error(y32, y)) + extra);
    context.compare("state", context.read("state", state_type), end,
                    tolerance(state_type, relative_error(end32, end)) + extra);
    if (conv)
      context.compare("conv_state", context.read("conv_state", window_type), window, 1e-7);
    if (norm_groups == 1) {
      std::vector<double> parts = context.read("squares_out", Type::f32), sums(batch.tokens);
      for (size_t i = 0; i < parts.size(); ++i)
        sums[i / squares_columns] += parts[i];
      context.compare("squares_out", sums, squares, tolerance(Type::f32, 1e-6) + 2 * extra);
    }
  }
};

SelectiveScan mamba1(const ScanProblem &p, bool decode) {
  SelectiveScan f;
  f.x_type = p.x_type;
  f.dt_type = p.dt_type;
  f.b_type = p.b_type;
  f.c_type = p.c_type;
  f.z_type = p.z_type;
  f.out_type = p.out_type;
  f.state_type = p.state_type;
  f.d_inner = p.channels;
  f.d_state = p.states;
  f.x_columns = p.x_columns;
  f.b_heads = p.b_heads;
  f.c_heads = p.c_heads;
  f.x_stride = p.stride(p.x_columns);
  f.dt_stride = p.stride(p.dt_inputs());
  f.b_stride = p.stride(p.b_columns());
  f.c_stride = p.stride(p.c_columns());
  f.z_stride = p.stride(p.channels);
  f.out_stride = p.stride(p.channels);
  f.has_d = p.has_d;
  f.has_z = p.has_z;
  f.has_dt_bias = p.has_dt_bias;
  f.decode = decode;
  return f;
}

SsdScan mamba2(const ScanProblem &p, bool decode) {
  SsdScan f;
  f.x_type = p.x_type;
  f.dt_type = p.dt_type;
  f.b_type = p.b_type;
  f.c_type = p.c_type;
  f.out_type = p.out_type;
  f.state_type = p.state_type;
  f.heads = p.heads();
  f.head_dim = p.group;
  f.d_state = p.states;
  f.x_heads = p.x_columns / p.group;
  f.b_heads = p.b_heads;
  f.c_heads = p.c_heads;
  f.x_stride = p.stride(p.inputs());
  f.dt_stride = p.stride(p.heads());
  f.b_stride = p.stride(p.b_columns());
  f.c_stride = p.stride(p.c_columns());
  f.out_stride = p.stride(p.channels);
  f.has_d = p.has_d;
  f.has_dt_bias = p.has_dt_bias;
  f.decode = decode;
  return f;
}

ScanProblem problem(Type type, Type state_type) {
  ScanProblem p;
  p.x_type = p.dt_type = p.b_type = p.c_type = p.z_type = p.out_type = p.window_type = type;
  p.state_type = state_type;
  return p;
}

// M1's kind of heads: B repeated as x is, C one a head.
ScanProblem problem1(Type type, Type state_type, int channels, int repeat, int states,
                     bool x_repeated) {
  ScanProblem p = problem(type, state_type);
  p.channels = channels;
  p.group = states;
  p.states = states;
  p.x_columns = x_repeated ? channels / repeat : channels;
  p.b_heads = p.heads() / repeat;
  p.c_heads = p.heads();
  return p;
}

ScanProblem problem2(Type type, Type state_type, int heads, int repeat, int head_dim, int states) {
  ScanProblem p = problem(type, state_type);
  p.channels = heads * head_dim;
  p.group = head_dim;
  p.states = states;
  p.x_columns = p.channels / repeat;
  p.b_heads = heads / repeat;
  p.c_heads = heads;
  p.headwise = true;
  p.has_z = false;
  return p;
}

// Mamba's own kind: `groups` heads of B and of C.
ScanProblem grouped1(Type type, Type state_type, int channels, int groups, int states) {
  ScanProblem p = problem(type, state_type);
  p.channels = p.x_columns = channels;
  p.group = 1;
  p.states = states;
  p.b_heads = p.c_heads = groups;
  return p;
}

ScanProblem grouped2(Type type, Type state_type, int heads, int groups, int head_dim, int states) {
  ScanProblem p = problem2(type, state_type, heads, 1, head_dim, states);
  p.b_heads = p.c_heads = groups;
  return p;
}

// Runs the problem whole. With hundreds of expected sequences a prefill's are many, whatever their
// number: one multiprocessor has enough of them.
Case scan_case(const std::string &label, bool smoke, ScanProblem p, const std::vector<int> &lengths,
               const std::vector<int> &past, bool decode, int expected_sequences = 8,
               double extra = 0) {
  p.batch = make_batch(lengths, past);
  std::string name = std::string(p.headwise ? "ssd_" : "selective_") +
                     (decode ? "update " : "scan ") + label + " " + type_name(p.x_type) + "/" +
                     type_name(p.state_type) + " C" + std::to_string(p.channels) + " N" +
                     std::to_string(p.states) + " B" + std::to_string(p.b_heads) + " C" +
                     std::to_string(p.c_heads) +
                     (p.conv ? " conv" + std::to_string(p.conv_width) : "") +
                     (p.dt_rank ? " dt" + std::to_string(p.dt_rank) : "");
  return {name, smoke, [p, decode, expected_sequences, extra](Context &context) mutable {
            Tuning tuning;
            tuning.expected_sequences = expected_sequences;
            if (!decode && expected_sequences >= 256)
              tuning.multiprocessors = 1;
            Description description;
            ScanNeighbours n = p.neighbours();
            if (p.headwise && !p.few) {
              description = describe(mamba2(p, decode), "kernel", tuning);
            } else if (p.headwise) {
              p.counters = n.counters = counters_of(mamba2(p, true), n);
              description = describe(mamba2(p, true), n, "kernel", tuning);
            } else if (p.conv || p.few) {
              description = describe(mamba1(p, true), n, "kernel", tuning);
            } else {
              description = describe(mamba1(p, decode), "kernel", tuning);
            }
            if (p.norm_groups == 1 && description.error.empty())
              p.squares_columns = squares_of(description.kernels.front().grid_x);
            if (!context.prepare(description))
              return;
            p.fill(7);
            p.put(context);
            context.upload();
            p.launch(context);
            p.verify(context, extra);
          }};
}

// States of f16 beyond 65504 become infinite, of their sign, when a step ends; others do not.
Case overflow_case(bool smoke, ScanProblem p, const std::vector<int> &lengths,
                   const std::vector<int> &past, bool decode) {
  p.batch = make_batch(lengths, past);
  std::string name = std::string(p.headwise ? "ssd_" : "selective_") +
                     (decode ? "update" : "scan") + " beyond f16 " + type_name(p.x_type);
  return {name, smoke, [p, decode](Context &context) mutable {
            Description description = p.headwise ? describe(mamba2(p, decode), "kernel")
                                                 : describe(mamba1(p, decode), "kernel");
            if (!context.prepare(description))
              return;
            p.fill(13);
            for (double &x : p.x)
              x = rounded(x * 3e4, p.x_type);
            p.put(context);
            context.upload();
            p.launch(context);
            std::vector<double> y, end, window, got, want;
            p.evaluate<double>(y, end, window);
            const std::vector<double> state = context.read("state", p.state_type);
            int beyond = 0;
            for (size_t i = 0; i < end.size(); ++i) {
              const double size = std::abs(end[i]), is = end[i] < 0 ? -1 : 1;
              if (std::abs(size / 65504 - 1) < 3e-2)
                continue; // either, by roundings before
              want.push_back(size > 65504 ? is : 0);
              got.push_back(std::isnan(state[i])   ? state[i]
                            : std::isinf(state[i]) ? (state[i] < 0 ? -1 : 1)
                                                   : 0);
              beyond += size > 65504;
            }
            context.require(beyond > 10 && beyond < int(want.size()) / 2,
                            "some states are beyond f16, most are not");
            context.compare("infinite", got, want, 1e-9);
          }};
}

// Three chunks of a sequence give what the whole gives, to the tolerance of one run.
Case chunked_case(bool smoke, ScanProblem p, int length, int cut1, int cut2, double extra = 0) {
  std::string name = std::string(p.headwise ? "ssd_" : "selective_") + "scan chunked = whole " +
                     type_name(p.x_type) + " C" + std::to_string(p.channels) + " N" +
                     std::to_string(p.states);
  return {name, smoke, [=](Context &context) mutable {
            p.batch = make_batch({length}, {0});
            Description description = p.headwise ? describe(mamba2(p, false), "kernel")
                                                 : describe(mamba1(p, false), "kernel");
            if (!context.prepare(description))
              return;
            p.fill(11);
            std::vector<double> y, end, window, y32, end32;
            p.evaluate<double>(y, end, window);
            p.evaluate<float>(y32, end32, window);
            std::vector<double> joined;
            int cuts[] = {0, cut1, cut2, length};
            p.put(context);
            context.upload();
            for (int i = 0; i < 3; ++i) {
              ScanProblem part = p;
              part.batch = make_batch({cuts[i + 1] - cuts[i]}, {cuts[i]});
              part.batch.slots = p.batch.slots;
              part.batch.slot_count = p.batch.slot_count;
              auto piece = [&](const std::vector<double> &v, int columns) {
                return std::vector<double>(v.begin() + size_t(cuts[i]) * columns,
                                           v.begin() + size_t(cuts[i + 1]) * columns);
              };
              part.x = piece(p.x, p.x_columns);
              part.dt = piece(p.dt, p.dt_columns());
              part.b = piece(p.b, p.b_columns());
              part.c = piece(p.c, p.c_columns());
              part.z = piece(p.z, p.channels);
              std::vector<char> state = context.read_raw("state");
              context.clear();
              part.put(context);
              context.raw("state", state);
              context.upload();
              part.launch(context);
              std::vector<double> rows = context.read("out", p.out_type);
              joined.insert(joined.end(), rows.begin(), rows.end());
            }
            context.compare("out", joined, y,
                            tolerance(p.out_type, relative_error(y32, y)) + extra);
            context.compare("state", context.read("state", p.state_type), end,
                            3 * tolerance(p.state_type, relative_error(end32, end)) + extra);
          }};
}

struct ConvTypes {
  ConvTypes(Type type) : x(type), state(type), out(type) {}
  ConvTypes(Type x, Type state, Type out) : x(x), state(state), out(out) {}
  Type x, state, out;
};

Case conv_case(const std::string &label, bool smoke, ConvTypes types, int channels, int width,
               int repeat, int head_size, bool has_bias, int padding, int offset,
               const std::vector<int> &lengths, const std::vector<int> &past, bool decode,
               int multiprocessors = 132) {
  std::string name = "causal_conv1d " + label + " " + type_name(types.x) + " C" +
                     std::to_string(channels) + " width " + std::to_string(width) + " repeat " +
                     std::to_string(repeat);
  return {name, smoke, [=](Context &context) {
            CausalConv1d f;
            int sources = channels / repeat, taps = width - 1;
            f.x_type = types.x;
            f.state_type = types.state;
            f.out_type = types.out;
            f.channels = channels;
            f.width = width;
            f.repeat = repeat;
            f.head_size = head_size;
            f.x_stride = sources + offset + padding;
            f.out_stride = channels + offset + padding;
            f.has_bias = has_bias;
            f.decode = decode;
            Tuning tuning;
            tuning.multiprocessors = multiprocessors;
            if (!context.prepare(describe(f, "kernel", tuning)))
              return;
            Batch batch = make_batch(lengths, past);
            Random random(5);
            int T = batch.tokens;
            std::vector<double> x = random_values(random, size_t(T) * sources, -2, 2, types.x);
            std::vector<double> w =
                random_values(random, size_t(channels) * width, -0.7, 0.7, Type::f32);
            std::vector<double> bias = random_values(random, channels, -0.5, 0.5, Type::f32);
            std::vector<double> state = random_values(
                random, size_t(batch.slot_count) * taps * sources, -2, 2, types.state);
            context.values("x", in_rows(x, T, sources, int(f.x_stride), offset), types.x);
            context.values("weight", w, Type::f32);
            context.values("bias", bias, Type::f32);
            context.values("state", state, types.state);
            context.poison("out", size_t(T) * f.out_stride * size_of(types.out));
            put_batch(context, batch);
            context.upload();
            context.shift("x", offset * size_of(types.x));
            context.shift("out", offset * size_of(types.out));
            context.launch({batch.tokens, batch.sequences, 0, 0});

            std::vector<double> y(size_t(T) * channels), end = state;
            for (int s = 0; s < batch.sequences; ++s) {
              int start = batch.starts[s], stop = batch.starts[s + 1];
              if (start == stop)
                continue;
              bool fresh = batch.positions[start] == 0;
              const double *old = state.data() + size_t(batch.slots[s]) * taps * sources;
              // token relative to the sequence's start in this step
              auto at = [&](int token, int source) {
                if (token >= 0)
                  return x[size_t(start + token) * sources + source];
                return fresh ? 0.0 : old[size_t(taps + token) * sources + source];
              };
              for (int t = 0; t < stop - start; ++t)
                for (int c = 0; c < channels; ++c) {
                  int source = c / (head_size * repeat) * head_size + c % head_size;
                  double sum = has_bias ? bias[c] : 0;
                  for (int k = 0; k < width; ++k)
                    sum += w[c * width + k] * at(t - taps + k, source);
                  y[size_t(start + t) * channels + c] = silu(sum);
                }
              for (int k = 0; k < taps; ++k)
                for (int c = 0; c < sources; ++c)
                  end[(size_t(batch.slots[s]) * taps + k) * sources + c] =
                      rounded(at(stop - start - taps + k, c), types.state);
            }
            std::vector<double> rows = context.read("out", types.out);
            std::vector<double> actual(size_t(T) * channels);
            for (int t = 0; t < T; ++t)
              for (int c = 0; c < channels; ++c)
                actual[size_t(t) * channels + c] = rows[size_t(t) * f.out_stride + offset + c];
            context.compare("out", actual, y, tolerance(types.out, 1e-7));
            if (taps > 0)
              context.compare("state", context.read("state", types.state), end, 1e-7);
          }};
}

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

std::vector<Case> mamba_cases() {
  std::vector<Case> cases;
  const std::vector<int> ragged = {1, 37, 64, 3, 0, 130}, past = {5, 0, 9, 0, 4, 64};
  const Type f32 = Type::f32, bf16 = Type::bf16, f16 = Type::f16;
  // M1's proportions in small, in every type and both places of the repetition.
  cases.push_back(
      scan_case("ragged", true, problem1(bf16, f32, 96, 3, 16, false), ragged, past, false));
  cases.push_back(
      scan_case("ragged", true, problem1(f32, f32, 96, 3, 16, true), ragged, past, false));
  cases.push_back(scan_case("few sequences", false, problem1(bf16, bf16, 96, 3, 16, true), ragged,
                            past, false, 1));
  cases.push_back(scan_case("f16 state", false, problem1(bf16, f16, 64, 1, 16, false), ragged, past,
                            false, 512));
  // Sizes that divide nothing: N odd, one head, more lanes than channels, a state count at the
  // limit.
  cases.push_back(scan_case("odd", true, problem1(f32, f32, 45, 3, 15, true), ragged, past, false));
  cases.push_back(
      scan_case("odd", false, problem1(bf16, f32, 35, 1, 7, false), ragged, past, false, 1));
  cases.push_back(
      scan_case("N 1", false, problem1(bf16, f32, 40, 2, 1, true), ragged, past, false));
  cases.push_back(
      scan_case("N 24", false, problem1(bf16, f32, 144, 3, 24, false), ragged, past, false, 512));
  cases.push_back(
      scan_case("N 64", false, problem1(f32, f32, 128, 2, 64, false), ragged, past, false));
  cases.push_back(
      scan_case("N 128", false, problem1(bf16, f32, 256, 2, 128, true), ragged, past, false));
  cases.push_back(
      scan_case("N 256", false, problem1(f32, f32, 256, 1, 256, false), {1, 40}, {3, 0}, false));
  {
    // Columns of a wider row, at an offset that is not a multiple of 16 bytes: the slow path of the
    // copies.
    ScanProblem p = problem1(bf16, f32, 96, 3, 16, false);
    p.offset = 3;
    p.padding = 5;
    cases.push_back(scan_case("misaligned", true, p, ragged, past, false));
    p.offset = 8;
    p.padding = 24;
    cases.push_back(scan_case("strided", false, p, ragged, past, false));
    p = problem1(bf16, f32, 96, 3, 16, false);
    p.dt_type = f32;
    p.has_d = p.has_z = p.has_dt_bias = false;
    cases.push_back(scan_case("bare, f32 dt", false, p, ragged, past, false));
    p = problem1(f32, f32, 96, 3, 16, false);
    p.decay = 60;
    cases.push_back(scan_case("large decay", false, p, ragged, past, false));
  }
  cases.push_back(chunked_case(true, problem1(f32, f32, 96, 3, 16, false), 150, 1, 77));
  cases.push_back(chunked_case(false, problem1(bf16, f32, 96, 3, 16, true), 150, 64, 67));

  // State updates.
  const std::vector<int> ones(9, 1), decoded = {4, 0, 7, 1, 90, 0, 3, 2, 1};
  cases.push_back(scan_case("", true, problem1(bf16, f32, 96, 3, 16, false), ones, decoded, true));
  cases.push_back(
      scan_case("many", false, problem1(bf16, bf16, 96, 3, 16, true), ones, decoded, true, 4096));
  cases.push_back(
      scan_case("", true, problem1(f32, f32, 45, 3, 15, true), ones, decoded, true, 4096));
  cases.push_back(scan_case("", false, problem1(bf16, f16, 96, 3, 16, false), ones, decoded, true));
  cases.push_back(
      scan_case("", false, problem1(f32, bf16, 256, 1, 256, false), ones, decoded, true, 4096));
  cases.push_back(
      scan_case("", false, problem1(bf16, f32, 250, 1, 250, false), ones, decoded, true));
  for (int width : {4, 1, 2, 7}) {
    ScanProblem p = problem1(bf16, f32, 96, 3, 16, true);
    p.conv = true;
    p.conv_width = width;
    p.conv_channels = 96;
    cases.push_back(scan_case("", width == 4, p, ones, decoded, true));
  }
  {
    ScanProblem p = problem1(f32, f32, 45, 3, 15, true);
    p.conv = true;
    p.conv_channels = 15;
    p.offset = 1;
    cases.push_back(scan_case("", true, p, ones, decoded, true, 4096));
    p = problem1(bf16, bf16, 384, 3, 16, true);
    p.conv = true;
    p.conv_channels = 384;
    cases.push_back(
        scan_case("", false, p, std::vector<int>(70, 1), std::vector<int>(70, 3), true, 512));
  }

  for (Type type : {f32, bf16}) {
    cases.push_back(overflow_case(type == bf16, problem1(type, f16, 96, 3, 16, false), ragged, past,
                                  /*decode=*/false));
    cases.push_back(overflow_case(type == bf16, problem1(type, f16, 96, 3, 16, false), ones,
                                  decoded, /*decode=*/true));
    cases.push_back(overflow_case(false, problem2(type, f16, 6, 3, 64, 64), ragged, past,
                                  /*decode=*/false));
    cases.push_back(overflow_case(type == bf16, problem2(type, f16, 6, 3, 64, 64), ones, decoded,
                                  /*decode=*/true));
  }

  // With what they do for neighbours where sequences are few: dt's projection, from bf16 and f32,
  // of ranks that are no whole vectors and rows at odd offsets; norms of the inputs.
  {
    ScanProblem p = problem1(bf16, f32, 96, 3, 16, true);
    p.conv = p.few = true;
    p.conv_channels = 96;
    p.dt_rank = 192;
    cases.push_back(scan_case("few", true, p, ones, decoded, true));
    p.dt_rank = 36;
    p.offset = 3;
    p.padding = 5;
    cases.push_back(scan_case("few, misaligned", true, p, ones, decoded, true));
    p = problem1(f32, f32, 45, 3, 15, true);
    p.conv = p.few = true;
    p.conv_channels = 15;
    p.dt_rank = 3;
    p.dt_w_type = f32;
    cases.push_back(scan_case("few", true, p, ones, decoded, true));
    p = grouped1(bf16, f32, 96, 1, 16);
    p.few = true;
    p.dt_rank = 160;
    cases.push_back(scan_case("few", false, p, ones, decoded, true));
    p.input_norms = 1;
    cases.push_back(scan_case("few, norms", true, p, ones, decoded, true));
    p = grouped1(f32, bf16, 70, 1, 7);
    p.few = true;
    p.input_norms = 2;
    p.dt_rank = 256;
    p.dt_type = bf16;
    cases.push_back(scan_case("few, norms with weights", true, p, ones, decoded, true));
    p = grouped1(bf16, f32, 40, 1, 5);
    p.few = true;
    p.input_norms = 2;
    p.dt_rank = 9;
    p.dt_w_type = f32;
    cases.push_back(scan_case("few, mixed types", false, p, ones, decoded, true));
  }

  // Mamba-2 in f32 and odd sizes (the kernel without tensor cores), then bf16 on tensor cores.
  cases.push_back(scan_case("ragged", true, problem2(f32, f32, 6, 3, 16, 16), ragged, past, false));
  cases.push_back(
      scan_case("ragged", false, problem2(f32, f32, 4, 2, 128, 128), ragged, past, false));
  cases.push_back(scan_case("odd", false, problem2(bf16, f32, 3, 3, 20, 12), ragged, past, false));
  cases.push_back(chunked_case(false, problem2(f32, f32, 6, 3, 32, 32), 150, 1, 77));
  // 6e-3: x·Δ·decay, the masked products and the carried state are rounded to bf16 before they meet
  // in a product.
  for (int n : {128, 64, 32, 16})
    cases.push_back(scan_case("ragged", n == 128, problem2(bf16, f32, 6, 3, n, n), ragged, past,
                              false, 8, 6e-3));
  {
    ScanProblem p = problem2(bf16, bf16, 6, 3, 64, 128);
    p.offset = 8;
    p.padding = 8;
    cases.push_back(scan_case("strided", false, p, ragged, past, false, 1, 6e-3));
    p = problem2(bf16, f32, 2, 1, 128, 64);
    p.dt_type = f32;
    p.has_d = p.has_dt_bias = false;
    cases.push_back(scan_case("bare", false, p, ragged, past, false, 1, 6e-3));
    p = problem2(bf16, f32, 6, 3, 128, 128);
    p.offset = 3;
    p.padding = 5;
    cases.push_back(scan_case("misaligned", false, p, ragged, past, false, 8, 6e-3));
    p = problem2(bf16, f32, 2, 1, 64, 64);
    p.decay = 60;
    cases.push_back(scan_case("large decay", false, p, ragged, past, false, 8, 6e-3));
  }
  // Sequences over several segments, some begun in an earlier step, and many within one segment.
  cases.push_back(scan_case("segments", true, problem2(bf16, f32, 3, 3, 32, 32),
                            {700, 2500, 3, 0, 1100, 40}, {9, 64, 0, 0, 0, 5}, false, 8, 6e-3));
  cases.push_back(scan_case("segments", false, problem2(bf16, bf16, 2, 1, 64, 64), {1024, 2048, 1},
                            {7, 3, 2}, false, 8, 6e-3));
  {
    ScanProblem p = problem2(bf16, f32, 2, 1, 16, 48);
    p.decay = 0.02;
    cases.push_back(scan_case("segments, slow decay", false, p, {3000, 1}, {5, 0}, false, 8, 6e-3));
  }
  cases.push_back(chunked_case(false, problem2(bf16, f32, 6, 3, 128, 128), 200, 1, 77, 6e-3));
  cases.push_back(scan_case("", true, problem2(bf16, f32, 6, 3, 128, 128), ones, decoded, true));
  cases.push_back(
      scan_case("", false, problem2(bf16, bf16, 6, 3, 128, 128), ones, decoded, true, 512));
  cases.push_back(scan_case("", false, problem2(f32, f32, 3, 3, 20, 12), ones, decoded, true));

  // Mamba's and Mamba-2's own heads of B and C: one, or some that no power of two counts; head
  // sizes that are not the state's.
  cases.push_back(
      scan_case("one B and C", true, grouped1(bf16, f32, 96, 1, 16), ragged, past, false));
  cases.push_back(
      scan_case("one B and C", false, grouped1(f32, f32, 70, 1, 16), ragged, past, false, 512));
  cases.push_back(scan_case("groups", false, grouped1(bf16, f32, 84, 3, 8), ragged, past, false));
  {
    ScanProblem p = grouped1(f32, f32, 120, 4, 16);
    p.c_heads = 6;
    cases.push_back(scan_case("4 of B, 6 of C", false, p, ragged, past, false));
    cases.push_back(scan_case("4 of B, 6 of C", false, p, ones, decoded, true));
    p = grouped1(bf16, f32, 96, 1, 16);
    p.conv = true;
    p.conv_channels = 96;
    cases.push_back(scan_case("one B and C", true, p, ones, decoded, true));
  }
  cases.push_back(
      scan_case("one B and C", true, grouped1(f32, bf16, 70, 1, 16), ones, decoded, true, 4096));
  cases.push_back(
      scan_case("groups", true, grouped2(bf16, f32, 8, 2, 64, 128), ragged, past, false, 8, 6e-3));
  cases.push_back(
      scan_case("groups", false, grouped2(bf16, bf16, 6, 3, 80, 32), ragged, past, false, 8, 6e-3));
  cases.push_back(scan_case("one head", false, grouped2(bf16, f32, 1, 1, 64, 256), ragged, past,
                            false, 8, 6e-3));
  cases.push_back(scan_case("groups", true, grouped2(f32, f32, 6, 3, 20, 12), ragged, past, false));
  cases.push_back(
      scan_case("groups", false, grouped2(f32, f32, 8, 1, 64, 128), ragged, past, false));
  cases.push_back(scan_case("groups, segments", false, grouped2(bf16, f32, 4, 2, 32, 64),
                            {700, 2500, 3, 0, 1100, 40}, {9, 64, 0, 0, 0, 5}, false, 8, 6e-3));
  cases.push_back(
      scan_case("groups", true, grouped2(bf16, f32, 8, 2, 64, 128), ones, decoded, true));
  cases.push_back(
      scan_case("groups", false, grouped2(bf16, bf16, 6, 3, 80, 32), ones, decoded, true, 512));
  cases.push_back(
      scan_case("one head", false, grouped2(f32, f32, 1, 1, 20, 12), ones, decoded, true));
  // Mamba-2 with the convolution of all inputs, the gate and a norm: B and C of all channels or of
  // groups, of as many blocks; x and B that repeat; norms of all, of a block's channels, of none.
  auto wide = [&](const std::string &label, bool smoke, ScanProblem p, int norm_groups) {
    p.conv = p.few = p.wide = p.has_z = true;
    p.conv_channels = p.inputs();
    p.norm_groups = norm_groups;
    cases.push_back(scan_case("few, " + label, smoke, p, ones, decoded, true));
  };
  wide("norm of all", true, grouped2(bf16, f32, 8, 1, 64, 128), 1);
  wide("norm of all", true, grouped2(f32, f32, 6, 3, 20, 12), 1);
  wide("groups", false, grouped2(bf16, bf16, 6, 3, 80, 32), 0);
  wide("norms of heads", true, problem2(bf16, f32, 6, 3, 128, 128), 6);
  wide("norms of heads", false, problem2(f32, f32, 6, 3, 20, 12), 6);
  wide("x repeated", true, problem2(bf16, f32, 6, 3, 64, 32), 0);
  wide("one head", false, grouped2(f32, f32, 1, 1, 20, 12), 1);
  {
    ScanProblem p = grouped2(bf16, f32, 4, 2, 64, 64);
    p.out_type = p.dt_type = p.z_type = p.window_type = f32;
    p.offset = 3;
    p.padding = 5;
    p.conv_width = 2;
    wide("mixed types, misaligned", true, p, 1);
    p.conv_width = 3;
    p.c_heads = 4;
    wide("2 of B, 4 of C", false, p, 4);
  }
  cases.push_back(chunked_case(false, grouped1(bf16, f32, 96, 1, 16), 150, 64, 67));
  cases.push_back(chunked_case(false, grouped2(bf16, f32, 4, 1, 64, 128), 200, 1, 77, 6e-3));
  // Every operand of a type of its own.
  {
    ScanProblem p = problem1(bf16, f32, 96, 3, 16, true);
    p.dt_type = p.c_type = p.out_type = f32;
    p.offset = 3;
    p.padding = 5;
    cases.push_back(scan_case("mixed types", false, p, ragged, past, false));
    p.offset = p.padding = 0;
    cases.push_back(scan_case("mixed types", true, p, ragged, past, false));
    cases.push_back(scan_case("mixed types", false, p, ones, decoded, true));
    p.conv = true;
    p.conv_channels = 96;
    p.window_type = f32;
    cases.push_back(scan_case("mixed types", true, p, ones, decoded, true));
    p = problem1(f32, f32, 96, 3, 16, false);
    p.b_type = p.z_type = p.out_type = bf16;
    cases.push_back(scan_case("mixed types", false, p, ragged, past, false, 1));
    p = grouped2(bf16, f32, 4, 2, 64, 64);
    p.out_type = p.b_type = f32;
    cases.push_back(scan_case("mixed types", true, p, ragged, past, false));
    cases.push_back(scan_case("mixed types", false, p, ones, decoded, true));
  }

  // Convolution: sequences that begin at a tile's last token, are shorter than the window, or both.
  const std::vector<int> awkward = {15, 5, 1, 2, 9, 3, 70, 0, 1, 40},
                         seen = {0, 3, 0, 7, 1, 0, 2, 5, 9, 0};
  cases.push_back(conv_case("ragged", true, bf16, 96, 4, 1, 1, true, 0, 0, awkward, seen, false));
  cases.push_back(conv_case("ragged", true, f32, 96, 4, 3, 16, true, 0, 0, awkward, seen, false));
  cases.push_back(
      conv_case("ragged", false, bf16, 192, 4, 3, 16, false, 8, 8, awkward, seen, false));
  cases.push_back(
      conv_case("misaligned", true, bf16, 45, 3, 3, 5, true, 2, 1, awkward, seen, false));
  cases.push_back(
      conv_case("ragged", false, bf16, 1536, 8, 1, 1, true, 0, 0, awkward, seen, false));
  cases.push_back(conv_case("ragged", false, f32, 40, 1, 2, 20, true, 0, 0, awkward, seen, false));
  cases.push_back(conv_case("ragged", false, bf16, 64, 16, 1, 1, true, 0, 0, awkward, seen, false));
  // So many tokens for one multiprocessor that tiles are twice and four times as long.
  cases.push_back(conv_case("long tiles", true, bf16, 96, 4, 3, 16, true, 0, 0, {1000, 3, 200},
                            {0, 7, 1}, false, 1));
  cases.push_back(conv_case("long tiles", false, f32, 96, 4, 1, 1, true, 0, 0, {1500, 2, 700},
                            {5, 0, 1}, false, 1));
  cases.push_back(conv_case("decode", true, bf16, 96, 4, 3, 16, true, 0, 0, ones, decoded, true));
  cases.push_back(conv_case("mixed types", true, ConvTypes(bf16, f32, f32), 96, 4, 1, 1, true, 0, 0,
                            awkward, seen, false));
  cases.push_back(conv_case("mixed types", false, ConvTypes(f32, bf16, bf16), 90, 3, 3, 6, true, 2,
                            1, awkward, seen, false));
  cases.push_back(conv_case("decode, mixed types", false, ConvTypes(f32, bf16, f32), 96, 4, 1, 1,
                            true, 0, 0, ones, decoded, true));
  cases.push_back(
      conv_case("decode", false, bf16, 1280, 4, 1, 1, true, 16, 0, ones, decoded, true));

  cases.push_back(norm_case(true, bf16, bf16, bf16, 384, 3, 7, 0, 0));
  cases.push_back(norm_case(true, f32, f32, f32, 384, 6, 7, 8, 8));
  cases.push_back(norm_case(false, f32, bf16, bf16, 90, 6, 7, 1, 1));
  cases.push_back(norm_case(false, bf16, bf16, f32, 4096, 1, 3, 0, 0));
  cases.push_back(norm_case(false, bf16, bf16, bf16, 3072, 3, 3, 8, 3));
  const NormKind first = {true, true, true, false}, first_shared = {true, true, true, true},
                 heads = {false, false, true, true}, bare = {false, false, false, false};
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
