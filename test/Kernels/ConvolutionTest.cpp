// The causal convolution on the CPU against its formula in float64.
#include "KernelTest.h"

using namespace m1k::test;

namespace {

struct Convolution {
  int heads = 3, headSize = 16, width = 4, repeat = 1;
  int activation = M1K_F32, state = M1K_F32;
  bool silu = true, bias = true;
  int channelBlock = M1K_CPU_CHANNEL_BLOCK, padding = 0;
  int in() const { return heads * headSize; }
  int out() const { return in() * repeat; }
  int source(int channel) const {
    return channel / (headSize * repeat) * headSize + channel % headSize;
  }
};

struct Data {
  Data(const Convolution &p, int tokens, int slots, Random &random)
      : x(Matrix::filled(p.activation, tokens, p.in(), p.in() + p.padding,
                         [&] { return random.normal(); })),
        w(Matrix::filled(M1K_F32, p.out(), p.width, 0, [&] { return random.normal(0.5); })),
        bias(Matrix::filled(M1K_F32, 1, p.out(), 0, [&] { return random.normal(); })),
        state(Matrix::filled(p.state, slots * (p.width - 1), p.in(), 0,
                             [&] { return random.normal(); })),
        out(p.activation, tokens, p.out(), p.out() + p.padding) {}
  Matrix x, w, bias, state, out;
};

void runKernel(const Convolution &p, Data &data, const Batch &batch, Random &random,
               long firstRow = 0) {
  auto row = [&](Matrix &m) -> void * {
    return static_cast<char *>(m.data()) + firstRow * m.stride * (m.type == M1K_F32 ? 4 : 2);
  };
  launch(random, (p.in() + p.channelBlock - 1) / p.channelBlock, batch.sequences(),
         [&](int gx, int gy) {
           m1k_cpu_causal_conv1d(
               row(data.out), row(data.x), data.w.floats(), p.bias ? data.bias.floats() : nullptr,
               data.state.data(), batch.starts.data(), batch.slots.data(), batch.positions.data(),
               &batch.dims, gx, gy, p.in(), p.width, p.repeat, p.headSize, p.silu, p.channelBlock,
               p.state, p.activation, data.out.stride, p.activation, data.x.stride);
         });
}

void checkAgainstOracle(const Convolution &p, const std::vector<int> &lengths, Random &random) {
  int sequences = static_cast<int>(lengths.size()), slots = sequences + 1, history = p.width - 1;
  std::vector<int> slotOf(sequences), before;
  std::iota(slotOf.begin(), slotOf.end(), 1);
  random.shuffle(slotOf);
  for (int s = 0; s < sequences; ++s)
    before.push_back(s % 2 ? random.integer(1, 9) : 0);
  Batch batch(lengths, before, slotOf);
  Data data(p, batch.tokens(), slots, random);
  Matrix old = data.state;
  runKernel(p, data, batch, random);

  // Input of sequence s at step i, counted from the start of this batch: negative ones are in the
  // state.
  auto input = [&](int s, int i, int channel) {
    if (i >= 0)
      return data.x.get(batch.starts[s] + i, channel);
    return batch.fresh(s) ? 0.0 : old.get(slotOf[s] * history + history + i, channel);
  };
  Errors errors;
  for (int s = 0; s < sequences; ++s) {
    if (!lengths[s])
      continue;
    for (int c = 0; c < p.out(); ++c)
      for (int i = 0; i < lengths[s]; ++i) {
        double y = p.bias ? data.bias.get(0, c) : 0.0;
        float single = static_cast<float>(y);
        for (int j = 0; j < p.width; ++j) {
          double v = input(s, i - history + j, p.source(c));
          y += data.w.get(c, j) * v;
          single += static_cast<float>(data.w.get(c, j)) * static_cast<float>(v);
        }
        if (p.silu) {
          y = y / (1 + std::exp(-y));
          single = single / (1 + std::exp(-single));
        }
        errors.add(data.out.get(batch.starts[s] + i, c), y, single);
      }
    for (int j = 0; j < history; ++j)
      for (int c = 0; c < p.in(); ++c) {
        float v = static_cast<float>(input(s, lengths[s] - history + j, c));
        ASSERT_EQ(data.state.get(slotOf[s] * history + j, c),
                  p.state == M1K_BF16 ? fromBf16(toBf16(v)) : v);
      }
  }
  errors.check(p.activation);
  EXPECT_TRUE(data.out.surroundingsIntact());
  EXPECT_TRUE(data.state.surroundingsIntact());
  for (int j = 0; j < history; ++j)
    for (int c = 0; c < p.in(); ++c)
      ASSERT_EQ(data.state.get(j, c), old.get(j, c))
          << "a slot that the batch does not name was written";
}

// Widths from 1 on, sequences shorter than the width, an empty one, carried and fresh state.
TEST(CausalConv1d, AgreesWithFormula) {
  Random random(30);
  for (int width : {1, 2, 3, 4, 7}) {
    SCOPED_TRACE(width);
    Convolution p;
    p.width = width;
    checkAgainstOracle(p, {1}, random);
    checkAgainstOracle(p, {2, 2, 1, 1, 0, 0, 50, 3, 8}, random);
  }
}

// Each input head serves `repeat` output heads, for head sizes that fill vectors and that do not.
TEST(CausalConv1d, Repeat) {
  Random random(31);
  for (int headSize : {1, 5, 16, 20, 128})
    for (int block : {16, 50, 128}) {
      SCOPED_TRACE(testing::Message() << headSize << " block " << block);
      Convolution p;
      p.headSize = headSize, p.repeat = 3, p.channelBlock = block;
      checkAgainstOracle(p, {5, 1, 2}, random);
    }
}

// Configurations drawn at random: types, strides, blocks, with and without bias and silu.
TEST(CausalConv1d, Random) {
  Random random(32);
  for (int i = 0; i < 60; ++i) {
    Convolution p;
    p.heads = random.integer(1, 4), p.headSize = random.integer(1, 40),
    p.width = random.integer(1, 6), p.repeat = random.integer(1, 3);
    p.activation = random.integer(0, 1), p.state = random.integer(0, 1),
    p.silu = random.integer(0, 1), p.bias = random.integer(0, 1);
    p.channelBlock = random.integer(1, 70), p.padding = random.integer(0, 9);
    SCOPED_TRACE(testing::Message() << "case " << i << " head size " << p.headSize << " width "
                                    << p.width << " repeat " << p.repeat);
    checkAgainstOracle(p, {random.integer(1, 12), random.integer(0, 3), 1, 1}, random);
  }
}

// Any split into chunks, also into chunks shorter than the width, gives the bits of the whole.
TEST(CausalConv1d, ChunkedIsWhole) {
  Random random(33);
  for (int activation : {M1K_F32, M1K_BF16}) {
    Convolution p;
    p.width = 5, p.repeat = 2, p.activation = p.state = activation;
    std::vector<int> pieces = {1, 1, 2, 9, 3, 1};
    Data whole(p, 17, 1, random), chunked = whole;
    runKernel(p, whole, Batch({17}, {0}, {0}), random);
    int done = 0;
    for (int piece : pieces) {
      runKernel(p, chunked, Batch({piece}, {done}, {0}), random, done);
      done += piece;
    }
    EXPECT_TRUE(whole.out == chunked.out);
    EXPECT_TRUE(whole.state == chunked.state);
  }
}

} // namespace
