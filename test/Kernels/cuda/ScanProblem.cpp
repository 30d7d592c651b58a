#include "ScanProblem.h"

#include <algorithm>
#include <cmath>

namespace m1k::test {

using namespace cuda;

template <class Real> static Real softplus(Real x) { return x > 20 ? x : std::log1p(std::exp(x)); }

ScanNeighbours ScanProblem::neighbours() const {
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

void ScanProblem::fill(uint64_t seed) {
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
  conv_state = random_values(random, size_t(batch.slot_count) * (conv_width - 1) * inputs(), -2, 2,
                             window_type);
  const double scale = dt_rank ? 1 / std::sqrt(double(dt_rank)) : 1;
  dt_w = random_values(random, size_t(channels) * dt_rank, -scale, scale, dt_w_type);
  dt_norm = random_values(random, dt_rank, 0.5, 1.5, Type::f32);
  b_norm = random_values(random, states, 0.5, 1.5, Type::f32);
  c_norm = random_values(random, states, 0.5, 1.5, Type::f32);
  norm_w = random_values(random, channels, 0.5, 1.5, Type::f32);
}

template <class Real>
std::vector<Real> ScanProblem::normed(const std::vector<double> &rows, int columns,
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

template <class Real> std::vector<Real> ScanProblem::deltas() const {
  if (!dt_rank)
    return std::vector<Real>(dt.begin(), dt.end());
  std::vector<Real> rows = normed<Real>(dt, dt_rank, dt_norm), out(size_t(batch.tokens) * channels);
  for (int t = 0; t < batch.tokens; ++t)
    for (int ch = 0; ch < channels; ++ch)
      for (int k = 0; k < dt_rank; ++k)
        out[size_t(t) * channels + ch] +=
            rows[size_t(t) * dt_rank + k] * Real(dt_w[size_t(ch) * dt_rank + k]);
  return out;
}

template <class Real> Real ScanProblem::convolved(int s, int column, int filter, Real value) const {
  const int taps = conv_width - 1;
  Real sum = Real(conv_bias[filter]) + Real(conv_w[filter * conv_width + taps]) * value;
  for (int k = 0; k < taps && batch.positions[batch.starts[s]] != 0; ++k)
    sum += Real(conv_w[filter * conv_width + k]) *
           Real(conv_state[(size_t(batch.slots[s]) * taps + k) * inputs() + column]);
  return silu(sum);
}

template <class Real>
std::vector<Real> ScanProblem::heads_of(const std::vector<double> &rows, int columns, int first,
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
void ScanProblem::evaluate(std::vector<double> &y, std::vector<double> &end_state,
                           std::vector<double> &end_window, std::vector<double> *squares) const {
  const std::vector<Real> delta_rows = deltas<Real>(),
                          b_rows = heads_of<Real>(b, b_columns(), x_columns, b_norm),
                          c_rows = heads_of<Real>(c, c_columns(), x_columns + b_columns(), c_norm);
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
        Real delta =
            delta_rows[size_t(t) * dt_columns() + vi] + (has_dt_bias ? Real(dt_bias[vi]) : Real(0));
        delta = softplus(delta);
        Real sum = 0;
        for (int n = 0; n < states; ++n) {
          Real rate = Real(headwise ? a[head] : a[size_t(ch) * states + n]);
          h[n] =
              std::exp(delta * rate) * h[n] +
              delta * xv * b_rows[size_t(t) * b_columns() + ch / (channels / b_heads) * states + n];
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

double ScanProblem::input(int t, int column) const {
  if (column < x_columns)
    return x[size_t(t) * x_columns + column];
  column -= x_columns;
  return column < b_columns() ? b[size_t(t) * b_columns() + column]
                              : c[size_t(t) * c_columns() + column - b_columns()];
}

void ScanProblem::put(Context &context) const {
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

void ScanProblem::launch(Context &context) const {
  std::vector<std::pair<std::string, int>> shifted = {
      {"x", size_of(x_type)},   {"b", size_of(b_type)}, {"c", size_of(c_type)},
      {"dt", size_of(dt_type)}, {"z", size_of(z_type)}, {"out", size_of(out_type)}};
  for (auto &entry : shifted)
    context.shift(entry.first, entry.second * offset);
  context.launch({batch.tokens, batch.sequences, 0, 0});
}

void ScanProblem::verify(Context &context, double extra) const {
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

template void ScanProblem::evaluate<double>(std::vector<double> &, std::vector<double> &,
                                            std::vector<double> &, std::vector<double> *) const;
template void ScanProblem::evaluate<float>(std::vector<double> &, std::vector<double> &,
                                           std::vector<double> &, std::vector<double> *) const;

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

static ScanProblem problem(Type type, Type state_type) {
  ScanProblem p;
  p.x_type = p.dt_type = p.b_type = p.c_type = p.z_type = p.out_type = p.window_type = type;
  p.state_type = state_type;
  return p;
}

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

Case scan_case(const std::string &label, bool smoke, ScanProblem p, const std::vector<int> &lengths,
               const std::vector<int> &past, bool decode, int expected_sequences, double extra) {
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

} // namespace m1k::test
