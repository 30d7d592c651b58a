// Both scans on the CPU against the formulas of the model page in float64.
#include "KernelTest.h"

using namespace m1k::test;

namespace {

struct Scan {
  bool ssd = false;
  int dState = 16, heads = 4, repeat = 2; // x has, or may have, d_inner / repeat columns
  int headSize = 0;                       // channels of a head; 0: dState
  int bHeads = 0, cHeads = 0;             // 0: M1's, heads / repeat and heads
  int activation = M1K_F32, state = M1K_F32;
  bool repeatX = false; // x has d_xb columns (always for ssd)
  bool softplus = true, skip = true, gate = true, bias = true;
  int channelBlock = M1K_CPU_CHANNEL_BLOCK;
  int padding = 0;    // elements between rows
  double decay = 1.0; // scale of A
  int size() const { return headSize ? headSize : dState; }
  int dInner() const { return heads * size(); }
  int xColumns() const { return ssd || repeatX ? dInner() / repeat : dInner(); }
  int headsOfB() const { return bHeads ? bHeads : heads / repeat; }
  int headsOfC() const { return cHeads ? cHeads : heads; }
  int share() const {
    int both = std::gcd(dInner() / headsOfB(), dInner() / headsOfC());
    return xColumns() == dInner() ? both : std::gcd(both, dState);
  }
  int deltaColumns() const { return ssd ? heads : dInner(); }
  long stateValues() const { return static_cast<long>(dInner()) * dState; }
};

struct Data {
  Data(const Scan &p, int tokens, int slots, Random &random)
      : x(activation(p, tokens, p.xColumns(), random)),
        dt(activation(p, tokens, p.deltaColumns(), random)),
        b(activation(p, tokens, p.headsOfB() * p.dState, random)),
        c(activation(p, tokens, p.headsOfC() * p.dState, random)),
        z(activation(p, tokens, p.dInner(), random)),
        a(Matrix::filled(M1K_F32, p.ssd ? 1 : p.dInner(), p.ssd ? p.heads : p.dState, 0,
                         [&] { return -p.decay * std::exp(random.normal()); })),
        d(Matrix::filled(M1K_F32, 1, p.deltaColumns(), 0, [&] { return random.normal(); })),
        bias(Matrix::filled(M1K_F32, 1, p.deltaColumns(), 0, [&] { return random.normal(); })),
        state(Matrix::filled(p.state, slots, p.stateValues(), 0, [&] { return random.normal(); })),
        out(p.activation, tokens, p.dInner(), p.dInner() + p.padding) {}
  static Matrix activation(const Scan &p, int rows, int columns, Random &random) {
    return Matrix::filled(p.activation, rows, columns, columns + p.padding,
                          [&] { return random.normal(); });
  }
  Matrix x, dt, b, c, z, a, d, bias, state, out;
};

/// The kernel on all groups; `data` holds the whole step, its rows shifted by firstRow.
void runKernel(const Scan &p, Data &data, const Batch &batch, Random &random, long firstRow = 0) {
  auto row = [&](Matrix &m) -> void * {
    return static_cast<char *>(m.data()) + firstRow * m.stride * (m.type == M1K_F32 ? 4 : 2);
  };
  const float *d = p.skip ? data.d.floats() : nullptr,
              *bias = p.bias ? data.bias.floats() : nullptr;
  int gridX = (p.dInner() + p.channelBlock - 1) / p.channelBlock;
  launch(random, gridX, batch.sequences(), [&](int gx, int gy) {
    if (p.ssd)
      m1k_cpu_ssd_scan(row(data.out), row(data.x), row(data.dt), data.a.floats(), row(data.b),
                       row(data.c), d, bias, data.state.data(), batch.starts.data(),
                       batch.slots.data(), batch.positions.data(), &batch.dims, gx, gy, p.heads,
                       p.size(), p.dState, p.xColumns() / p.size(), p.headsOfB(), p.headsOfC(),
                       p.softplus, p.channelBlock, p.state, p.activation, data.out.stride,
                       p.activation, data.x.stride, p.activation, data.dt.stride, p.activation,
                       data.b.stride, p.activation, data.c.stride);
    else
      m1k_cpu_selective_scan(
          row(data.out), row(data.x), row(data.dt), data.a.floats(), row(data.b), row(data.c), d,
          p.gate ? row(data.z) : nullptr, bias, data.state.data(), batch.starts.data(),
          batch.slots.data(), batch.positions.data(), &batch.dims, gx, gy, p.dInner(), p.xColumns(),
          p.headsOfB() * p.dState, p.headsOfC() * p.dState, p.dState, p.share(), p.softplus,
          p.channelBlock, p.state, p.activation, data.out.stride, p.activation, data.x.stride,
          p.activation, data.dt.stride, p.activation, data.b.stride, p.activation, data.c.stride,
          p.activation, data.z.stride);
  });
}

template <typename Real> struct Result {
  std::vector<Real> out, state; // [T, d_inner], [slots, d_inner, d_state]
};

/// The model page's formulas, one value after the other. `carried`: the state before, where it is
/// not that of `data`.
template <typename Real>
Result<Real> naive(const Scan &p, const Data &data, const Batch &batch,
                   const std::vector<Real> *carried = nullptr) {
  Result<Real> r;
  r.out.resize(static_cast<size_t>(batch.tokens()) * p.dInner());
  for (long s = 0; s < data.state.rows; ++s)
    for (long i = 0; i < data.state.columns; ++i)
      r.state.push_back(static_cast<Real>(data.state.get(s, i)));
  if (carried)
    r.state = *carried;
  for (int s = 0; s < batch.sequences(); ++s)
    for (int channel = 0; channel < p.dInner() && batch.starts[s] < batch.starts[s + 1];
         ++channel) {
      int head = channel / p.size();
      int xColumn =
          p.xColumns() == p.dInner() ? channel : head / p.repeat * p.size() + channel % p.size();
      int bColumn = channel / (p.dInner() / p.headsOfB()) * p.dState;
      int cColumn = channel / (p.dInner() / p.headsOfC()) * p.dState;
      int deltaColumn = p.ssd ? head : channel;
      Real *state =
          &r.state[batch.slots[s] * p.stateValues() + static_cast<long>(channel) * p.dState];
      if (batch.fresh(s))
        std::fill(state, state + p.dState, Real(0));
      for (int t = batch.starts[s]; t < batch.starts[s + 1]; ++t) {
        Real delta = static_cast<Real>(data.dt.get(t, deltaColumn));
        if (p.bias)
          delta += static_cast<Real>(data.bias.get(0, deltaColumn));
        if (p.softplus)
          delta = delta > 20 ? delta : std::log1p(std::exp(delta));
        Real x = static_cast<Real>(data.x.get(t, xColumn)), y = 0;
        for (int n = 0; n < p.dState; ++n) {
          Real a = static_cast<Real>(p.ssd ? data.a.get(0, head) : data.a.get(channel, n));
          state[n] = std::exp(delta * a) * state[n] +
                     delta * x * static_cast<Real>(data.b.get(t, bColumn + n));
          y += state[n] * static_cast<Real>(data.c.get(t, cColumn + n));
        }
        if (p.skip)
          y += x * static_cast<Real>(data.d.get(0, deltaColumn));
        if (!p.ssd && p.gate) {
          Real z = static_cast<Real>(data.z.get(t, channel));
          y *= z / (1 + std::exp(-z));
        }
        r.out[static_cast<size_t>(t) * p.dInner() + channel] = y;
      }
    }
  return r;
}

void checkLongDecode(const char *name, const Scan &p, double limit, Random &random) {
  checkDrift<Data>(
      name, limit, p, random,
      [](Data &data, const Data &first) {
        data.a = first.a, data.d = first.d, data.bias = first.bias;
      },
      [&](Data &data, const Batch &batch, int token) { runKernel(p, data, batch, random, token); },
      [&](const Data &data, const Batch &batch, const std::vector<double> *state) {
        return naive<double>(p, data, batch, state);
      });
}

void checkAgainstOracle(const Scan &p, const std::vector<int> &lengths, Random &random) {
  checkBatch<Data>(
      p, lengths, /*slack=*/0, random,
      [&](Data &data, const Batch &batch) { runKernel(p, data, batch, random); },
      [&](const Data &data, const Batch &batch) { return naive<double>(p, data, batch); },
      [&](const Data &data, const Batch &batch) { return naive<float>(p, data, batch); });
}

/// One sequence in pieces must give, bit for bit, what it gives at once: state is carried exactly
/// (f32) and steps are the same arithmetic.
void checkChunks(const Scan &p, const std::vector<int> &pieces, Random &random) {
  int total = std::accumulate(pieces.begin(), pieces.end(), 0);
  Data whole(p, total, 2, random), chunked = whole;
  runKernel(p, whole, Batch({total}, {0}, {1}), random);
  int done = 0;
  for (int piece : pieces) {
    runKernel(p, chunked, Batch({piece}, {done}, {1}), random, done);
    done += piece;
  }
  EXPECT_TRUE(whole.out == chunked.out);
  EXPECT_TRUE(whole.state == chunked.state);
}

Scan mamba1(void (*change)(Scan &) = nullptr) {
  Scan p;
  if (change)
    change(p);
  return p;
}

// The sizes of M1-3B's layer (fewer groups) agree with the formulas: one token, odd and many
// tokens, several sequences, an empty one.
TEST(SelectiveScan, AgreesWithFormulas) {
  Random random(10);
  checkAgainstOracle(mamba1(), {1}, random);
  checkAgainstOracle(mamba1(), {7}, random);
  checkAgainstOracle(mamba1(), {130, 1, 33, 0, 2}, random);
  checkAgainstOracle(mamba1([](Scan &p) { p.heads = 24, p.repeat = 3; }), {5, 64}, random);
}

// Each optional part (softplus, bias, skip, gate) may be absent.
TEST(SelectiveScan, OptionalParts) {
  Random random(11);
  for (int mask = 0; mask < 16; ++mask) {
    SCOPED_TRACE(mask);
    Scan p;
    p.softplus = mask & 1, p.bias = mask & 2, p.skip = mask & 4, p.gate = mask & 8;
    p.decay = p.softplus ? 1.0 : 0.01; // without softplus Δ may be negative and the state grows
    checkAgainstOracle(p, {3, 9}, random);
  }
}

// State sizes that are not 16, also odd and larger than a vector, with blocks that do not divide
// the channels.
TEST(SelectiveScan, StateSizes) {
  Random random(12);
  for (int n : {1, 3, 5, 8, 15, 17, 24, 33, 64})
    for (int block : {1, 7, 16, 128}) {
      SCOPED_TRACE(testing::Message() << "d_state " << n << " block " << block);
      Scan p;
      p.dState = n, p.heads = 6, p.repeat = 3, p.channelBlock = block;
      checkAgainstOracle(p, {4, 3}, random);
    }
}

// x before repetition (d_xb columns) and after it, one kv head, no repetition at all.
TEST(SelectiveScan, Repetition) {
  Random random(13);
  for (bool repeatX : {false, true})
    for (int repeat : {1, 2, 6}) {
      Scan p;
      p.heads = 6, p.repeat = repeat, p.repeatX = repeatX;
      checkAgainstOracle(p, {5, 1}, random);
    }
}

// Rows that lie apart (columns of a wider projection) are read and written without touching what
// lies between.
TEST(SelectiveScan, Strided) {
  Random random(14);
  Scan p;
  p.padding = 37;
  checkAgainstOracle(p, {6, 2}, random);
  p.activation = M1K_BF16;
  checkAgainstOracle(p, {6, 2}, random);
}

// Decay so strong that exp underflows leaves no NaN and no remainder.
TEST(SelectiveScan, LargeDecay) {
  Random random(15);
  Scan p;
  p.decay = 1e4;
  checkAgainstOracle(p, {50}, random);
}

// bf16 activations, bf16 and f16 states: read exactly, computed in f32, rounded once.
TEST(SelectiveScan, RoundedTypes) {
  Random random(16);
  for (int activation : {M1K_F32, M1K_BF16})
    for (int state : {M1K_F32, M1K_BF16, M1K_F16}) {
      Scan p;
      p.activation = activation, p.state = state;
      checkAgainstOracle(p, {40, 1, 5}, random);
    }
}

// Any split into chunks gives the bits of the whole.
TEST(SelectiveScan, ChunkedIsWhole) {
  Random random(17);
  Scan p;
  checkChunks(p, {1, 1, 5, 64, 2}, random);
  p.dState = 10, p.activation = M1K_BF16;
  checkChunks(p, {3, 1, 20}, random);
}

// Configurations drawn at random.
TEST(SelectiveScan, Random) {
  Random random(18);
  for (int i = 0; i < 40; ++i) {
    Scan p;
    p.dState = random.integer(1, 40), p.repeat = random.integer(1, 4),
    p.heads = p.repeat * random.integer(1, 3);
    p.activation = random.integer(0, 1), p.state = random.integer(0, 1),
    p.repeatX = random.integer(0, 1);
    p.bias = random.integer(0, 1), p.skip = random.integer(0, 1), p.gate = random.integer(0, 1);
    p.channelBlock = random.integer(1, 100), p.padding = random.integer(0, 5);
    SCOPED_TRACE(testing::Message() << "case " << i << " d_state " << p.dState << " heads "
                                    << p.heads << " repeat " << p.repeat);
    checkAgainstOracle(p, {random.integer(1, 20), random.integer(0, 5), 1}, random);
  }
}

// Mamba's own heads: B and C shared by all channels, or by groups of any size, x not repeated.
TEST(SelectiveScan, SharedHeads) {
  Random random(19);
  for (int heads : {1, 3, 4})
    for (int other : {1, 2, 6})
      for (int channels : {12, 60, 96, 132}) {
        SCOPED_TRACE(testing::Message()
                     << heads << " of B, " << other << " of C, " << channels << " channels");
        Scan p;
        p.headSize = 1, p.heads = channels, p.repeat = 1, p.bHeads = heads, p.cHeads = other;
        p.dState = random.pick({5, 16}), p.activation = random.integer(0, 1);
        checkAgainstOracle(p, {random.integer(1, 20), 1}, random);
      }
  Scan p; // x repeated another number of times than B and C are
  p.heads = 6, p.repeat = 3, p.repeatX = true, p.bHeads = 3, p.cHeads = 1;
  checkAgainstOracle(p, {7, 1}, random);
  p.bHeads = p.cHeads = 1;
  checkChunks(p, {3, 1, 20}, random);
}

Scan mamba2() {
  Scan p;
  p.ssd = true, p.dState = 32;
  return p;
}

// The Mamba-2 scan agrees with the formulas on several sequences of different lengths.
TEST(SsdScan, AgreesWithFormulas) {
  Random random(20);
  checkAgainstOracle(mamba2(), {1}, random);
  checkAgainstOracle(mamba2(), {70, 1, 0, 5}, random);
  Scan p = mamba2();
  p.dState = 128, p.heads = 3, p.repeat = 3;
  checkAgainstOracle(p, {6}, random);
}

// Head sizes that are odd or small, blocks that cut heads, each optional part absent, large decay,
// strides.
TEST(SsdScan, Variants) {
  Random random(21);
  for (int i = 0; i < 40; ++i) {
    Scan p = mamba2();
    p.dState = random.integer(1, 40), p.repeat = random.integer(1, 4),
    p.heads = p.repeat * random.integer(1, 3);
    p.activation = random.integer(0, 1), p.state = random.integer(0, 1),
    p.bias = random.integer(0, 1), p.skip = random.integer(0, 1);
    p.channelBlock = random.integer(1, 100), p.padding = random.integer(0, 5),
    p.decay = random.pick({0.1, 1.0, 1e4});
    SCOPED_TRACE(testing::Message() << "case " << i << " d_state " << p.dState << " heads "
                                    << p.heads << " repeat " << p.repeat);
    checkAgainstOracle(p, {random.integer(1, 20), random.integer(0, 5), 1}, random);
  }
}

// Heads of another size than the state, B and C in groups: sizes of published models, one head, and
// such that no power of two divides.
TEST(SsdScan, GroupsAndHeadSizes) {
  Random random(23);
  struct Sizes {
    int heads, headSize, dState, groups;
  };
  for (Sizes s : {Sizes{4, 64, 128, 1}, Sizes{4, 80, 128, 2}, Sizes{6, 5, 7, 3},
                  Sizes{1, 33, 16, 1}, Sizes{9, 12, 256, 3}}) {
    SCOPED_TRACE(testing::Message() << s.heads << " heads of " << s.headSize << " by " << s.dState
                                    << " in " << s.groups);
    Scan p = mamba2();
    p.heads = s.heads, p.headSize = s.headSize, p.dState = s.dState, p.repeat = 1;
    p.bHeads = p.cHeads = s.groups;
    checkAgainstOracle(p, {9, 1, 0, 3}, random);
    checkChunks(p, {2, 1, 6}, random);
  }
  for (int i = 0; i < 20; ++i) {
    Scan p = mamba2();
    p.heads = random.pick({1, 2, 6, 12}), p.headSize = random.integer(1, 40);
    p.dState = random.integer(1, 40), p.repeat = p.heads % 2 ? 1 : random.integer(1, 2);
    p.bHeads = p.heads % 3 ? 1 : random.pick({1, 3}), p.cHeads = random.pick({1, p.heads});
    p.activation = random.integer(0, 1), p.padding = random.integer(0, 5);
    p.channelBlock = random.integer(1, 100);
    SCOPED_TRACE(testing::Message() << "case " << i);
    checkAgainstOracle(p, {random.integer(1, 20), random.integer(0, 5), 1}, random);
  }
}

// Any split into chunks gives the bits of the whole.
TEST(SsdScan, ChunkedIsWhole) {
  Random random(22);
  checkChunks(mamba2(), {1, 7, 1, 30}, random);
}

// Errors of a step are forgotten as the state decays: they are those of the n tokens that a state
// remembers, rounded at random, so about sqrt(n) units of 2^-24 (of 2^-9 for a state in bf16, of
// 2^-12 in f16). Fast decay remembers tens of tokens. Slow decay remembers up to all 100,000, 300
// units of 6e-8: 2e-5, and five times that for the worst of thousands of values.
TEST(SelectiveScan, LongDecode) {
  Random random(90);
  Scan p = mamba1([](Scan &p) { p.heads = p.repeat = 1; });
  checkLongDecode("selective scan, f32", p, 2e-6, random);
  p.state = M1K_BF16;
  checkLongDecode("selective scan, bf16", p, 2e-2, random);
  p.state = M1K_F16;
  checkLongDecode("selective scan, f16", p, 2.5e-3, random);
  p.decay = 1e-3;
  checkLongDecode("selective scan, slow, f16", p, std::numeric_limits<double>::infinity(), random);
  p.state = M1K_BF16;
  checkLongDecode("selective scan, slow, bf16", p, std::numeric_limits<double>::infinity(),
                  random); // as large as the values: such states need f32
  p.state = M1K_F32;
  checkLongDecode("selective scan, slow, f32", p, 1e-4, random);
}

TEST(SsdScan, LongDecode) {
  Random random(91);
  Scan p = mamba1([](Scan &p) { p.heads = p.repeat = 1, p.ssd = true; });
  checkLongDecode("ssd scan, f32", p, 2e-6, random);
  p.decay = 1e-3;
  checkLongDecode("ssd scan, slow, f32", p, 1e-4, random);
  p.state = M1K_BF16, p.decay = 1;
  checkLongDecode("ssd scan, bf16", p, 2e-2, random);
  p.state = M1K_F16;
  checkLongDecode("ssd scan, f16", p, 2.5e-3, random);
}

} // namespace
