// The gated delta rule on the CPU against its formulas in float64.
#include "KernelTest.h"

using namespace m1k::test;

namespace {

struct Delta {
  int heads = 4, keyHeads = 2, keySize = 16, valueSize = 32;
  int activation = M1K_F32, state = M1K_F32;
  bool bias = true;
  int channelBlock = M1K_CPU_CHANNEL_BLOCK, padding = 0;
  double decay = 1.0;
  double eps = 1e-6;
  int columns() const { return heads * valueSize; }
  double scale() const { return 1.0 / std::sqrt(keySize); }
};

struct Data {
  Data(const Delta &p, int tokens, int slots, Random &random)
      : q(activation(p, tokens, p.keyHeads * p.keySize, random)),
        k(activation(p, tokens, p.keyHeads * p.keySize, random)),
        v(activation(p, tokens, p.columns(), random)), a(activation(p, tokens, p.heads, random)),
        b(activation(p, tokens, p.heads, random)),
        decay(Matrix::filled(M1K_F32, 1, p.heads, 0,
                             [&] { return -p.decay * std::exp(random.normal()); })),
        bias(Matrix::filled(M1K_F32, 1, p.heads, 0, [&] { return random.normal(); })),
        state(Matrix::filled(p.state, slots, static_cast<long>(p.columns()) * p.keySize, 0,
                             [&] { return random.normal(); })),
        out(p.activation, tokens, p.columns(), p.columns() + p.padding) {}
  static Matrix activation(const Delta &p, int rows, int columns, Random &random) {
    return Matrix::filled(p.activation, rows, columns, columns + p.padding,
                          [&] { return random.normal(); });
  }
  Matrix q, k, v, a, b, decay, bias, state, out;
};

/// The kernel on all groups; rows begin at firstRow of `data`.
void runKernel(const Delta &p, Data &data, const Batch &batch, Random &random, long firstRow = 0) {
  auto row = [&](Matrix &m) -> void * {
    return static_cast<char *>(m.data()) + firstRow * m.stride * (m.type == M1K_F32 ? 4 : 2);
  };
  launch(random, (p.columns() + p.channelBlock - 1) / p.channelBlock, batch.sequences(),
         [&](int gx, int gy) {
           m1k_cpu_gated_delta(
               row(data.out), row(data.q), row(data.k), row(data.v), row(data.a), row(data.b),
               data.decay.floats(), p.bias ? data.bias.floats() : nullptr, data.state.data(),
               batch.starts.data(), batch.slots.data(), batch.positions.data(), &batch.dims, gx, gy,
               p.heads, p.keyHeads, p.keySize, p.valueSize, static_cast<float>(p.eps),
               static_cast<float>(p.scale()), p.channelBlock, p.state, p.activation,
               data.out.stride, p.activation, data.q.stride, p.activation, data.k.stride,
               p.activation, data.v.stride, p.activation, data.a.stride, p.activation,
               data.b.stride);
         });
}

template <typename Real> struct Result {
  std::vector<Real> out, state;
};

/// `carried`: the state before, where it is not that of `data`.
template <typename Real>
Result<Real> naive(const Delta &p, const Data &data, const Batch &batch,
                   const std::vector<Real> *carried = nullptr) {
  Result<Real> r;
  r.out.resize(static_cast<size_t>(batch.tokens()) * p.columns());
  for (long s = 0; s < data.state.rows; ++s)
    for (long i = 0; i < data.state.columns; ++i)
      r.state.push_back(static_cast<Real>(data.state.get(s, i)));
  if (carried)
    r.state = *carried;
  auto unit = [&](const Matrix &x, int t, int head) {
    std::vector<Real> y(p.keySize);
    Real sum = static_cast<Real>(p.eps);
    for (int i = 0; i < p.keySize; ++i) {
      y[i] = static_cast<Real>(x.get(t, head * p.keySize + i));
      sum += y[i] * y[i];
    }
    for (Real &value : y)
      value /= std::sqrt(sum);
    return y;
  };
  for (int s = 0; s < batch.sequences(); ++s)
    for (int h = 0; h < p.heads && batch.starts[s] < batch.starts[s + 1]; ++h) {
      Real *S = &r.state[batch.slots[s] * data.state.columns +
                         static_cast<long>(h) * p.keySize * p.valueSize];
      if (batch.fresh(s))
        std::fill(S, S + static_cast<long>(p.keySize) * p.valueSize, Real(0));
      for (int t = batch.starts[s]; t < batch.starts[s + 1]; ++t) {
        int source = h / (p.heads / p.keyHeads);
        auto query = unit(data.q, t, source), key = unit(data.k, t, source);
        Real x = static_cast<Real>(data.a.get(t, h)) +
                 (p.bias ? static_cast<Real>(data.bias.get(0, h)) : Real(0));
        Real step = x > 20 ? x : std::log1p(std::exp(x));
        Real keep = std::exp(static_cast<Real>(data.decay.get(0, h)) * step);
        Real beta = 1 / (1 + std::exp(-static_cast<Real>(data.b.get(t, h))));
        for (int j = 0; j < p.valueSize; ++j) {
          Real seen = 0, y = 0;
          for (int i = 0; i < p.keySize; ++i)
            seen += keep * S[i * p.valueSize + j] * key[i];
          Real change = beta * (static_cast<Real>(data.v.get(t, h * p.valueSize + j)) - seen);
          for (int i = 0; i < p.keySize; ++i) {
            Real &value = S[i * p.valueSize + j];
            value = keep * value + key[i] * change;
            y += value * query[i];
          }
          r.out[static_cast<size_t>(t) * p.columns() + h * p.valueSize + j] =
              static_cast<Real>(p.scale()) * y;
        }
      }
    }
  return r;
}

void checkLongDecode(const char *name, const Delta &p, double limit, Random &random) {
  checkDrift<Data>(
      name, limit, p, random,
      [](Data &data, const Data &first) { data.decay = first.decay, data.bias = first.bias; },
      [&](Data &data, const Batch &batch, int token) { runKernel(p, data, batch, random, token); },
      [&](const Data &data, const Batch &batch, const std::vector<double> *state) {
        return naive<double>(p, data, batch, state);
      });
}

void checkAgainstOracle(const Delta &p, const std::vector<int> &lengths, Random &random) {
  // Slack: a rounding of the factors that a naive run of few tokens may not show.
  checkBatch<Data>(
      p, lengths, 16.0 * std::ldexp(1.0, -24), random,
      [&](Data &data, const Batch &batch) { runKernel(p, data, batch, random); },
      [&](const Data &data, const Batch &batch) { return naive<double>(p, data, batch); },
      [&](const Data &data, const Batch &batch) { return naive<float>(p, data, batch); });
}

// Published proportions, one token, odd and many tokens, several sequences, an empty one.
TEST(GatedDelta, AgreesWithFormulas) {
  Random random(60);
  checkAgainstOracle({}, {1}, random);
  checkAgainstOracle({}, {130, 1, 33, 0, 2}, random);
  Delta p;
  p.heads = 4, p.keyHeads = 2, p.keySize = p.valueSize = 128;
  checkAgainstOracle(p, {5, 1}, random);
}

// Sizes that no vector divides, one head, key and value sizes apart, blocks that cut heads, strong
// and weak decay, rows that lie apart, both types of each.
TEST(GatedDelta, Random) {
  Random random(61);
  for (int i = 0; i < 40; ++i) {
    Delta p;
    p.keyHeads = random.integer(1, 3), p.heads = p.keyHeads * random.integer(1, 3);
    p.keySize = random.integer(1, 40), p.valueSize = random.integer(1, 40);
    p.activation = random.integer(0, 1), p.state = random.integer(0, 1);
    p.bias = random.integer(0, 1), p.padding = random.integer(0, 5);
    p.channelBlock = random.integer(1, 100), p.decay = random.pick({0.01, 1.0, 1e4});
    SCOPED_TRACE(testing::Message() << "case " << i << " heads " << p.heads << "/" << p.keyHeads
                                    << " of " << p.keySize << " by " << p.valueSize);
    checkAgainstOracle(p, {random.integer(1, 20), random.integer(0, 5), 1}, random);
  }
}

// Any split into chunks gives the bits of the whole.
TEST(GatedDelta, ChunkedIsWhole) {
  Random random(62);
  Delta p;
  Data whole(p, 39, 2, random), chunked = whole;
  runKernel(p, whole, Batch({39}, {0}, {1}), random);
  int done = 0;
  for (int piece : {1, 7, 1, 30}) {
    runKernel(p, chunked, Batch({piece}, {done}, {1}), random, done);
    done += piece;
  }
  EXPECT_TRUE(whole.out == chunked.out);
  EXPECT_TRUE(whole.state == chunked.state);
}

// Errors of a step are forgotten as the state decays, so that 100,000 tokens of decode sum up those
// of the few that a state remembers. A state in bf16 or f16 is rounded at every token. Limits: a
// few times what was seen, in f16 an eighth of bf16's.
TEST(GatedDelta, LongDecode) {
  Random random(92);
  Delta p;
  p.heads = p.keyHeads = 1, p.valueSize = 16;
  checkLongDecode("gated delta, f32", p, 2e-6, random);
  p.state = M1K_BF16;
  checkLongDecode("gated delta, bf16", p, 2e-2, random);
  p.state = M1K_F16;
  checkLongDecode("gated delta, f16", p, 2.5e-3, random);
}

} // namespace
