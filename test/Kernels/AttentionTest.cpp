// Paged causal attention on the CPU against softmax in float64.
#include "KernelTest.h"

using namespace m1k::test;

namespace {

bool isCode(int type) { return type == M1K_I8 || type == M1K_E4M3; }

/// What a code of a cache is, times its scale.
double codeValue(unsigned char code, int type) {
  if (type == M1K_I8)
    return static_cast<signed char>(code);
  int exponent = code >> 3 & 15, fraction = code & 7;
  double size = exponent ? std::ldexp(8 + fraction, exponent - 10) : std::ldexp(fraction, -9);
  return code & 0x80 ? -size : size;
}

struct Attention {
  int heads = 6, kvHeads = 2, headDim = 32;
  int activation = M1K_F32, kv = M1K_F32;
  int tokensPerGroup = M1K_CPU_ATTENTION_TOKENS, padding = 0;
  int window = 0;      // 0: none
  double spread = 1.0; // scale of q: large values make softmax pick one key
  double scale() const { return 1.0 / std::sqrt(headDim); }
  /// The first position that the token at `position` sees.
  int firstSeen(int position) const { return window ? std::max(0, position + 1 - window) : 0; }
};

/// A cache whose pages are handed out at random; pages that no sequence owns, positions beyond a
/// context and those that no token sees hold NaN. Pages before the window have no number.
struct Cache {
  Cache(const Attention &p, const Batch &batch, Random &random) {
    for (int context : batch.contexts)
      maxPages = std::max(maxPages, (context + M1_PAGE_SIZE - 1) / M1_PAGE_SIZE);
    maxPages += 1;
    std::vector<int> free(batch.sequences() * maxPages + 3);
    std::iota(free.begin(), free.end(), 0);
    random.shuffle(free);
    const long planes = static_cast<long>(free.size()) * 2 * p.kvHeads;
    values = Matrix(isCode(p.kv) ? M1K_F32 : p.kv, planes * M1_PAGE_SIZE, p.headDim);
    if (isCode(p.kv)) // as they are poisoned, scales are NaN
      codes.assign(static_cast<size_t>(planes) * M1_PAGE_SIZE * (p.headDim + 4), 0xff);
    table.assign(batch.sequences() * maxPages, -1);
    for (int s = 0; s < batch.sequences(); ++s)
      for (int t = p.firstSeen(batch.contexts[s] - (batch.starts[s + 1] - batch.starts[s]));
           t < batch.contexts[s]; ++t) {
        int &page = table[s * maxPages + t / M1_PAGE_SIZE];
        if (page < 0) {
          page = free.back();
          free.pop_back();
        }
        for (int which = 0; which < 2; ++which)
          for (int h = 0; h < p.kvHeads; ++h) {
            if (isCode(p.kv))
              drawCodes(p, row(p, s, which, h, t), random);
            else
              for (int i = 0; i < p.headDim; ++i)
                values.set(row(p, s, which, h, t), i, random.normal());
          }
      }
  }
  /// All codes but -128 and what is no number.
  void drawCodes(const Attention &p, long row, Random &random) {
    unsigned char *base = codes.data() + row / M1_PAGE_SIZE * M1_PAGE_SIZE * (p.headDim + 4);
    const long place = row % M1_PAGE_SIZE;
    const auto scale = static_cast<float>(random.uniform(0.2, 2) / (p.kv == M1K_I8 ? 127 : 448));
    std::memcpy(base + M1_PAGE_SIZE * p.headDim + place * 4, &scale, 4);
    for (int i = 0; i < p.headDim; ++i) {
      const int drawn = random.integer(-127, 127);
      const auto code = static_cast<unsigned char>(
          p.kv == M1K_I8 ? drawn : std::abs(drawn) % 127 | (drawn < 0 ? 0x80 : 0));
      base[place * p.headDim + i] = code;
      values.set(row, i, codeValue(code, p.kv) * scale);
    }
  }
  void *data(const Attention &p) { return isCode(p.kv) ? codes.data() : values.data(); }
  long row(const Attention &p, int s, int which, int head, int t) const {
    long page = table[s * maxPages + t / M1_PAGE_SIZE];
    return ((page * 2 + which) * p.kvHeads + head) * M1_PAGE_SIZE + t % M1_PAGE_SIZE;
  }
  int maxPages = 0;
  std::vector<int> table;
  Matrix values; // what codes stand for
  std::vector<unsigned char> codes;
};

void runKernel(const Attention &p, Matrix &out, Matrix &q, Cache &cache, Batch batch,
               Random &random) {
  batch.dims.max_pages = cache.maxPages;
  launch(random, p.kvHeads, (batch.tokens() + p.tokensPerGroup - 1) / p.tokensPerGroup,
         [&](int gx, int gy) {
           m1k_cpu_attention(out.data(), q.data(), cache.data(p), batch.starts.data(),
                             batch.contexts.data(), cache.table.data(), &batch.dims, gx, gy,
                             p.heads, p.kvHeads, p.headDim, static_cast<float>(p.scale()), p.window,
                             p.tokensPerGroup, p.kv, p.activation, out.stride, p.activation,
                             q.stride);
         });
}

/// One output row in precision Real.
template <typename Real>
std::vector<Real> naive(const Attention &p, const Matrix &q, const Cache &cache, int s, int t,
                        int position, int head) {
  int kv = head / (p.heads / p.kvHeads), first = p.firstSeen(position);
  std::vector<Real> score(position + 1), y(p.headDim, 0);
  Real top = -std::numeric_limits<Real>::infinity(), total = 0;
  for (int k = first; k <= position; ++k) {
    Real sum = 0;
    for (int i = 0; i < p.headDim; ++i)
      sum += static_cast<Real>(q.get(t, head * p.headDim + i)) *
             static_cast<Real>(cache.values.get(cache.row(p, s, 0, kv, k), i));
    score[k] = sum * static_cast<Real>(p.scale());
    top = std::max(top, score[k]);
  }
  for (int k = first; k <= position; ++k)
    total += score[k] = std::exp(score[k] - top);
  for (int k = first; k <= position; ++k)
    for (int i = 0; i < p.headDim; ++i)
      y[i] += score[k] / total * static_cast<Real>(cache.values.get(cache.row(p, s, 1, kv, k), i));
  return y;
}

void checkAgainstOracle(const Attention &p, const std::vector<int> &lengths,
                        const std::vector<int> &before, Random &random) {
  std::vector<int> slots(lengths.size());
  Batch batch(lengths, before, slots);
  Cache cache(p, batch, random);
  long columns = p.heads * p.headDim;
  Matrix q = Matrix::filled(p.activation, batch.tokens(), columns, columns + p.padding,
                            [&] { return random.normal(p.spread); });
  Matrix out(p.activation, batch.tokens(), columns, columns + p.padding);
  runKernel(p, out, q, cache, batch, random);
  Errors errors;
  for (int s = 0; s < batch.sequences(); ++s)
    for (int t = batch.starts[s]; t < batch.starts[s + 1]; ++t)
      for (int h = 0; h < p.heads; ++h) {
        auto exact = naive<double>(p, q, cache, s, t, batch.positions[t], h);
        auto single = naive<float>(p, q, cache, s, t, batch.positions[t], h);
        for (int i = 0; i < p.headDim; ++i)
          errors.add(out.get(t, h * p.headDim + i), exact[i], single[i]);
      }
  // A score s carries an error of some s * 2^-24, and a softmax weight as much of itself.
  errors.slack = 8.0 * std::ldexp(p.spread * 5.0, -24);
  errors.check(p.activation);
  EXPECT_TRUE(out.surroundingsIntact());
}

// Prompts, chunks on a longer context and single tokens side by side; contexts that end inside, at
// and just behind a page.
TEST(Attention, AgreesWithSoftmax) {
  Random random(40);
  checkAgainstOracle({}, {1}, {0}, random);
  checkAgainstOracle({}, {70, 1, 9, 0, 1, 1, 2}, {0, 63, 120, 5, 64, 200, 127}, random);
}

// Head sizes that do not fill vectors, all ratios of query to KV heads.
TEST(Attention, HeadShapes) {
  Random random(41);
  for (int headDim : {1, 6, 16, 20, 64, 80, 96, 128})
    for (int kvHeads : {1, 2, 6}) {
      SCOPED_TRACE(testing::Message() << "head_dim " << headDim << " kv heads " << kvHeads);
      Attention p;
      p.headDim = headDim, p.kvHeads = kvHeads;
      checkAgainstOracle(p, {5, 1}, {0, 70}, random);
    }
}

// bf16 queries and bf16 cache, with rows that lie apart.
TEST(Attention, Bf16AndStrided) {
  Random random(42);
  for (int mask = 0; mask < 4; ++mask) {
    Attention p;
    p.activation = mask & 1, p.kv = mask >> 1, p.padding = 11, p.headDim = 40;
    checkAgainstOracle(p, {9, 1, 1}, {0, 100, 3}, random);
  }
}

// Windows of one position, within a page, of a page, over several and longer than the context; what
// lies before them is not read.
TEST(Attention, Window) {
  Random random(46);
  for (int window : {1, 2, 8, 63, 64, 65, 100, 1000}) {
    SCOPED_TRACE(testing::Message() << "window " << window);
    Attention p;
    p.window = window, p.kv = random.integer(0, 1), p.headDim = random.pick({20, 32});
    checkAgainstOracle(p, {70, 1, 9, 0, 1, 1, 2}, {0, 63, 120, 5, 64, 200, 127}, random);
  }
}

// Caches of codes, with windows, head sizes that do not fill vectors and bf16 queries among them.
TEST(Attention, Codes) {
  Random random(47);
  for (int kv : {M1K_I8, M1K_E4M3})
    for (int headDim : {6, 16, 40, 128})
      for (int window : {0, 70}) {
        SCOPED_TRACE(testing::Message()
                     << "type " << kv << " head_dim " << headDim << " window " << window);
        Attention p;
        p.kv = kv, p.headDim = headDim, p.window = window;
        p.activation = headDim == 40 ? M1K_BF16 : M1K_F32;
        checkAgainstOracle(p, {70, 1, 9, 0, 1, 1, 2}, {0, 63, 120, 5, 64, 200, 127}, random);
      }
}

// Codes and scales as m1.kv_cache defines them, in float64: scales to two roundings, codes to half
// a step. Among the rows are zeros, what is too small to count, infinity and NaN; q turns along.
TEST(KvWrite, WritesCodesOfItsNumbers) {
  Random random(48);
  for (int kv : {M1K_I8, M1K_E4M3})
    for (int headDim : {6, 16, 50, 128})
      for (bool rotates : {false, true}) {
        SCOPED_TRACE(testing::Message()
                     << "type " << kv << " head_dim " << headDim << " rotates " << rotates);
        const int heads = 4, kvHeads = 2, turned = rotates ? headDim / 4 * 2 : 0;
        const int activation = headDim == 50 ? M1K_BF16 : M1K_F32;
        Batch batch({70, 1, 3}, {0, 63, 130}, {0, 1, 2});
        const int maxPages = 4;
        batch.dims.max_pages = maxPages;
        std::vector<int> table(batch.sequences() * maxPages), sequences;
        std::iota(table.begin(), table.end(), 0);
        random.shuffle(table);
        for (int s = 0; s < batch.sequences(); ++s)
          sequences.insert(sequences.end(), batch.starts[s + 1] - batch.starts[s], s);
        auto rows = [&](long columns) {
          return Matrix::filled(activation, batch.tokens(), columns, columns + 3,
                                [&] { return random.normal(); });
        };
        Matrix q = rows(heads * headDim), k = rows(kvHeads * headDim), v = rows(kvHeads * headDim);
        Matrix angles = Matrix::filled(M1K_F32, batch.tokens(), std::max(turned, 1), 0,
                                       [&] { return random.uniform(-1, 1); });
        for (int i = 0; i < headDim; ++i) {
          v.set(0, i, 0);
          k.set(1, i, k.get(1, i) * 0x1p-110);
        }
        if (activation == M1K_F32) {
          v.set(2, 1, std::nan(""));
          k.set(3, headDim - 1, HUGE_VAL);
        }
        const long plane = M1_PAGE_SIZE * (headDim + 4);
        std::vector<unsigned char> cache(table.size() * 2 * kvHeads * plane, 0xff);
        Matrix out(activation, batch.tokens(), heads * headDim, heads * headDim + 5);
        for (long begin = 0; begin < batch.tokens(); begin += 7)
          m1k_cpu_kv_write(rotates ? out.data() : nullptr, rotates ? q.data() : nullptr, k.data(),
                           v.data(), rotates ? angles.floats() : nullptr, cache.data(),
                           batch.positions.data(), sequences.data(), table.data(), &batch.dims,
                           begin, std::min<long>(begin + 7, batch.tokens()), rotates ? heads : 0,
                           kvHeads, headDim, turned, kv, activation, out.stride, activation,
                           q.stride, activation, k.stride, activation, v.stride, angles.stride);
        auto headOf = [&](const Matrix &x, long t, int head, bool turns) {
          std::vector<double> row(headDim);
          for (int i = 0; i < headDim; ++i)
            row[i] = x.get(t, head * headDim + i);
          for (int i = 0; i < (turns ? turned / 2 : 0); ++i) {
            double c = angles.get(t, i), s = angles.get(t, turned / 2 + i), a = row[i],
                   b = row[turned / 2 + i];
            row[i] = a * c - b * s;
            row[turned / 2 + i] = b * c + a * s;
          }
          return row;
        };
        for (long t = 0; t < batch.tokens(); ++t) {
          for (int head = 0; head < (rotates ? heads : 0); ++head) {
            auto want = headOf(q, t, head, true);
            for (int i = 0; i < headDim; ++i)
              EXPECT_NEAR(out.get(t, head * headDim + i), want[i],
                          activation == M1K_F32 ? 2e-6 : 2e-2);
          }
          long page = table[sequences[t] * maxPages + batch.positions[t] / M1_PAGE_SIZE],
               place = batch.positions[t] % M1_PAGE_SIZE;
          for (int which = 0; which < 2; ++which)
            for (int head = 0; head < kvHeads; ++head) {
              auto row = headOf(which ? v : k, t, head, !which);
              const unsigned char *base =
                  cache.data() + ((page * 2 + which) * kvHeads + head) * plane;
              float scale;
              std::memcpy(&scale, base + M1_PAGE_SIZE * headDim + place * 4, 4);
              double largest = 0;
              bool finite = true;
              for (double value : row) {
                finite &= std::isfinite(value);
                largest = std::max(largest, std::abs(value));
              }
              bool counts = finite && largest >= 0x1p-100;
              double want = largest / (kv == M1K_I8 ? 127 : 448);
              if (counts)
                EXPECT_NEAR(scale, want, 1e-6 * want);
              else
                EXPECT_TRUE(finite ? scale == 0 : std::isnan(scale)) << scale;
              for (int i = 0; i < headDim; ++i) {
                unsigned char code = base[place * headDim + i];
                if (!counts) {
                  EXPECT_EQ(code & 0x7f, 0);
                  continue;
                }
                // Half a step, of e4m3 at most a sixteenth of the number, and some roundings.
                double step =
                    kv == M1K_I8 ? 0.5 * scale : std::max(std::abs(row[i]) / 16, scale * 0x1p-10);
                EXPECT_NEAR(codeValue(code, kv) * scale, row[i], step + 1e-5 * largest);
              }
            }
        }
      }
}

// Scores in the thousands: the running maximum keeps exp in range.
TEST(Attention, LargeScores) {
  Random random(43);
  Attention p;
  p.spread = 1000;
  checkAgainstOracle(p, {3, 1}, {90, 130}, random);
}

// The number of tokens a group owns and the way a prompt is cut change nothing, bit for bit.
TEST(Attention, GroupingAndChunksAreExact) {
  for (int window : {0, 40}) {
    Random random(44);
    Attention p;
    p.window = window;
    Batch batch({75, 12}, {0, 60}, {0, 1});
    Cache cache(p, batch, random);
    Matrix q = Matrix::filled(M1K_F32, batch.tokens(), p.heads * p.headDim, 0,
                              [&] { return random.normal(); });
    Matrix whole(M1K_F32, batch.tokens(), p.heads * p.headDim);
    runKernel(p, whole, q, cache, batch, random);
    for (int tokensPerGroup : {1, 3, 16}) {
      p.tokensPerGroup = tokensPerGroup;
      Matrix out(M1K_F32, batch.tokens(), p.heads * p.headDim);
      runKernel(p, out, q, cache, batch, random);
      EXPECT_TRUE(out == whole) << tokensPerGroup << " of a window of " << window;
    }
  }
}

// Configurations drawn at random.
TEST(Attention, Random) {
  Random random(45);
  for (int i = 0; i < 40; ++i) {
    Attention p;
    p.kvHeads = random.integer(1, 3), p.heads = p.kvHeads * random.integer(1, 4),
    p.headDim = random.integer(1, 90);
    p.activation = random.integer(0, 1), p.kv = random.integer(0, 1),
    p.tokensPerGroup = random.integer(1, 9);
    p.padding = random.integer(0, 9);
    SCOPED_TRACE(testing::Message() << "case " << i << " heads " << p.heads << " kv " << p.kvHeads
                                    << " head_dim " << p.headDim);
    checkAgainstOracle(p, {random.integer(1, 10), random.integer(0, 2), 1},
                       {0, random.integer(1, 150), random.integer(1, 150)}, random);
  }
}

} // namespace
