// Products of matrices by tile registers, over whoever implements these: the processor (linear.cpp)
// or, in tests, plain code.
#ifndef M1K_TILE_LINEAR_H
#define M1K_TILE_LINEAR_H

#include "vector.h"

// Functions that use tile registers, and those they are inlined into.
#define M1K_AMX __attribute__((target("amx-tile,amx-bf16")))
// Functions of instructions that every processor with amx_bf16 has; no vectors cross their calls.
#define M1K_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

namespace m1k {

// A tile register holds 16 rows of 64 bytes.
constexpr int tileRows = 16, tileDepth = 32; // rows; bf16 of a row
constexpr long tileBytes = tileRows * tileDepth * 2;

/// Which tile registers hold what: sums of two tiles of tokens by two of weight rows, and the
/// operands, every one of which is used twice.
constexpr int sumTile = 0, tokenTile = 4, weightTile = 6;

/// 16 rows of 32 bf16, `stride` bytes apart, to the second operand of a tile product: pairs of
/// columns become rows. Of 16 rows of 16 pairs, a 4×4 block of pairs is transposed within each
/// quarter of a register.
M1K_INLINE void transposePairs(const char *from, long stride, char *to) {
  typedef unsigned Quad __attribute__((ext_vector_type(4)));
  for (int q = 0; q < 4; ++q) {
    Bits rows[4];
    for (int i = 0; i < 4; ++i) {
      Quad part[4];
      for (int p = 0; p < 4; ++p)
        __builtin_memcpy(&part[p], from + (4 * p + i) * stride + 16 * q, sizeof(Quad));
      rows[i] =
          __builtin_shufflevector(__builtin_shufflevector(part[0], part[1], 0, 1, 2, 3, 4, 5, 6, 7),
                                  __builtin_shufflevector(part[2], part[3], 0, 1, 2, 3, 4, 5, 6, 7),
                                  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    }
    auto low = [](Bits a, Bits b) M1K_BODY {
      return __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13,
                                     29);
    };
    auto high = [](Bits a, Bits b) M1K_BODY {
      return __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15,
                                     31);
    };
    Bits a = low(rows[0], rows[2]), b = low(rows[1], rows[3]), c = high(rows[0], rows[2]),
         d = high(rows[1], rows[3]);
    Bits result[4] = {low(a, b), high(a, b), low(c, d), high(c, d)};
    __builtin_memcpy(to + 256 * q, result, sizeof(result));
  }
}

constexpr int unpackColumns = 128; // of a row that are unpacked at a time
constexpr long unpackBytes = 2 * unpackColumns;

/// Weights of integers, `rows` times unpackColumns columns from `from` on, a row every `stride`
/// bytes. With `group` the columns of a row have a scale for each so many, some scaleTypes a
/// minimum, which lie together; those of the next row are `scalesOfRow` further.
/// `ahead`: where, from what is read, the memory lies that is asked for on the way.
struct PackedWeights {
  const char *from;
  long stride;
  int rows, group;
  const void *scale;
  int scaleType;
  long scaleAt, scalesOfRow;
  long ahead;
};

/// Makes bf16 of integers, or of their products with scales, less minimums, which it rounds:
/// unpackBytes a row, one row after another, by instructions of AVX512-BF16. What has minimums has
/// functions of its own, which are called; the others are inlined, as the hint has it.
struct VectorUnpacker {
  typedef float V __attribute__((vector_size(64)));
  typedef short Words __attribute__((vector_size(64)));
  typedef signed char Quarter __attribute__((vector_size(16)));

  /// Pairs of 16 numbers rounded to bf16.
  M1K_AVX512 M1K_BODY static void round(const V &first, const V &second, char *to) {
    const auto words = __builtin_ia32_cvtne2ps2bf16_512(second, first);
    __builtin_memcpy(to, &words, sizeof(words));
  }
  /// All scales of `w` in f32, of groups after another.
  M1K_BODY static void loadScales(const PackedWeights &w, float *to) {
    const int groups = unpackColumns / w.group;
    for (int r = 0; r < w.rows; ++r)
      for (int g = 0; g < groups; ++g)
        to[r * groups + g] = loadOne(w.scale, w.scaleType, w.scaleAt + r * w.scalesOfRow + g);
  }

  /// Scales in f32 of a row's groups, four or eight, and behind four of them their minimums, of
  /// types that have f32 of these or two levels.
  M1K_AVX512 M1K_BODY static void loadScalesOfRow(const PackedWeights &w, int r, float *to) {
    const long place = w.scaleAt + r * w.scalesOfRow;
    typedef float F8 __attribute__((vector_size(32)));
    typedef unsigned char U8 __attribute__((vector_size(8)));
    typedef signed char S8 __attribute__((vector_size(8)));
    if (w.scaleType == M1K_PAIRED_LEVELS) {
      const char *block = static_cast<const char *>(w.scale) + place / 4 * 12;
      U8 levels;
      __builtin_memcpy(&levels, block + 4, sizeof(levels));
      const float s = loadOne(block, M1K_F16, 0), m = loadOne(block, M1K_F16, 1);
      const F8 values = __builtin_convertvector(levels, F8) * F8{s, s, s, s, m, m, m, m};
      __builtin_memcpy(to, &values, sizeof(values));
    } else if (w.scaleType == M1K_FINE_LEVELS) {
      const char *block = static_cast<const char *>(w.scale) + place / 8 * 10;
      S8 levels;
      __builtin_memcpy(&levels, block + 2, sizeof(levels));
      const F8 values = __builtin_convertvector(levels, F8) * loadOne(block, M1K_F16, 0);
      __builtin_memcpy(to, &values, sizeof(values));
    } else {
      const int groups = unpackColumns / w.group;
      for (int g = 0; g < groups; ++g) {
        to[g] = loadScale(w.scale, w.scaleType, place + g);
        to[4 + g] = loadMinimum(w.scale, w.scaleType, place + g);
      }
    }
  }

  M1K_AVX512 inline static void int4(const PackedWeights &w, char *to) {
    const V codes = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};
    alignas(64) float scales[tileRows * 4];
    loadScales(w, scales);
    for (int r = 0; r < w.rows; ++r, to += unpackBytes) {
      const char *at = w.from + r * w.stride;
      __builtin_prefetch(at + w.ahead, 0, 2);
      Words words;
      __builtin_memcpy(&words, at, sizeof(words));
      // A table of 32 holds the values of two groups; an index's bits above the fifth count for
      // nothing.
      Words tables[2], index[4] = {words, words >> 4, words >> 8, words >> 12};
      const bool isWhole = w.group == unpackColumns, isHalf = w.group == unpackColumns / 2;
      const float *scale = scales + r * (unpackColumns / w.group);
      for (int t = 0; t < (isWhole || isHalf ? 1 : 2); ++t)
        round(codes * scale[2 * t], codes * scale[isWhole ? 0 : 2 * t + 1],
              reinterpret_cast<char *>(&tables[t]));
      for (int plane = 0; plane < 4; ++plane) {
        const bool isUpper = isHalf ? plane >= 2 : plane % 2 == 1;
        const Words value = reinterpret_cast<Words>(__builtin_ia32_permvarhi512(
            tables[isWhole || isHalf ? 0 : plane / 2], isWhole   ? index[plane]
                                                       : isUpper ? index[plane] | 16
                                                                 : index[plane] & 15));
        __builtin_memcpy(to + 64 * plane, &value, sizeof(value));
      }
    }
  }

  M1K_AVX512 __attribute__((noinline)) static void int4WithMinimums(const PackedWeights &w,
                                                                    char *to) {
    const V codes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int r = 0; r < w.rows; ++r, to += unpackBytes) {
      const char *at = w.from + r * w.stride;
      __builtin_prefetch(at + w.ahead, 0, 2);
      alignas(32) float scales[8];
      loadScalesOfRow(w, r, scales);
      Words words, table;
      __builtin_memcpy(&words, at, sizeof(words));
      for (int plane = 0; plane < 4; ++plane) {
        if (plane % (w.group / 32) == 0) {
          const int g = plane * 32 / w.group;
          const V numbers = codes * scales[g] - scales[4 + g];
          round(numbers, numbers, reinterpret_cast<char *>(&table));
        }
        // Twice the same sixteen: an index's bits above the fourth count for nothing.
        const Words value = reinterpret_cast<Words>(
            __builtin_ia32_permvarhi512(table, words >> static_cast<short>(4 * plane)));
        __builtin_memcpy(to + 64 * plane, &value, sizeof(value));
      }
    }
  }

  /// Of groups of 16, and of groups with minimums.
  M1K_AVX512 __attribute__((noinline)) static void int8OfAnyGroups(const PackedWeights &w,
                                                                   char *to) {
    const bool withMinimums = hasMinimums(w.scaleType);
    for (int r = 0; r < w.rows; ++r, to += unpackBytes) {
      const char *at = w.from + r * w.stride;
      alignas(32) float scales[8];
      loadScalesOfRow(w, r, scales);
      for (int line = 0; line < unpackColumns; line += 64)
        __builtin_prefetch(at + w.ahead + line, 0, 2);
      for (int c = 0; c < unpackColumns; c += 32) {
        V numbers[2];
        for (int half = 0; half < 2; ++half) {
          Quarter codes;
          __builtin_memcpy(&codes, at + c + 16 * half, sizeof(codes));
          const int g = (c + 16 * half) / w.group;
          numbers[half] = __builtin_convertvector(codes, V) * scales[g];
          if (withMinimums)
            numbers[half] = numbers[half] - scales[4 + g];
        }
        round(numbers[0], numbers[1], to + 2 * c);
      }
    }
  }

  M1K_AVX512 inline static void int8(const PackedWeights &w, char *to) {
    alignas(64) float scales[tileRows * 4];
    if (w.group)
      loadScales(w, scales);
    for (int r = 0; r < w.rows; ++r, to += unpackBytes) {
      const char *at = w.from + r * w.stride;
      for (int line = 0; line < unpackColumns; line += 64)
        __builtin_prefetch(at + w.ahead + line, 0, 2);
      for (int c = 0; c < unpackColumns; c += 32) {
        Quarter first, second;
        __builtin_memcpy(&first, at + c, sizeof(first));
        __builtin_memcpy(&second, at + c + 16, sizeof(second));
        V a = __builtin_convertvector(first, V), b = __builtin_convertvector(second, V);
        if (w.group) {
          const float scale = scales[r * (unpackColumns / w.group) + c / w.group];
          a = a * scale, b = b * scale;
        }
        round(a, b, to + 2 * c);
      }
    }
  }
};

/// Rows of memory to ask for on the way, `step` bytes further at each step.
struct Ahead {
  const char *at;
  long stride, step;
  int rows;
};

/// The products of up to two tiles of tokens, at `x`, with two of weights, step by step at
/// `weights`, added to `sums`, or in their place where these are new. The columns after the whole
/// steps of x are at `tail`, whose rows are of 64 bytes; null where there are none.
template <int Tokens, class Tiles>
M1K_AMX M1K_INLINE void multiplyTiles(Tiles &tiles, const char *x, long xStride, const char *tail,
                                      const char *weights, int steps, char *sums, bool isNew,
                                      const Ahead &next) {
  if (isNew) {
    tiles.template zero<sumTile>(), tiles.template zero<sumTile + 1>();
    if (Tokens == 2)
      tiles.template zero<sumTile + 2>(), tiles.template zero<sumTile + 3>();
  } else {
    tiles.template load<sumTile>(sums, 64);
    tiles.template load<sumTile + 1>(sums + tileBytes, 64);
    if (Tokens == 2) {
      tiles.template load<sumTile + 2>(sums + 2 * tileBytes, 64);
      tiles.template load<sumTile + 3>(sums + 3 * tileBytes, 64);
    }
  }
  for (int i = 0; i < steps; ++i) {
    const bool atTail = tail && i == steps - 1;
    const char *rows = atTail ? tail : x + i * 64;
    const long stride = atTail ? 64 : xStride;
    tiles.template load<weightTile>(weights, 64);
    tiles.template load<tokenTile>(rows, stride);
    tiles.template multiplyAdd<sumTile, tokenTile, weightTile>();
    tiles.template load<weightTile + 1>(weights + tileBytes, 64);
    tiles.template multiplyAdd<sumTile + 1, tokenTile, weightTile + 1>();
    if (Tokens == 2) {
      tiles.template load<tokenTile + 1>(rows + tileRows * stride, stride);
      tiles.template multiplyAdd<sumTile + 2, tokenTile + 1, weightTile>();
      tiles.template multiplyAdd<sumTile + 3, tokenTile + 1, weightTile + 1>();
    }
    weights += 2 * tileBytes;
    for (int r = 0; r < next.rows; ++r)
      __builtin_prefetch(next.at + r * next.stride + i * next.step, 0, 2);
  }
  tiles.template store<sumTile>(sums, 64);
  tiles.template store<sumTile + 1>(sums + tileBytes, 64);
  if (Tokens == 2) {
    tiles.template store<sumTile + 2>(sums + 2 * tileBytes, 64);
    tiles.template store<sumTile + 3>(sums + 3 * tileBytes, 64);
  }
}

/// The products of two tiles of unpacked weights with the pairs of columns of up to two of tokens,
/// which lie as packTokens leaves them, step by step.
template <int Tokens, class Tiles>
M1K_AMX M1K_INLINE void multiplyFew(Tiles &tiles, const char *weights, const char *tokens,
                                    int steps) {
  for (int i = 0; i < steps; ++i) {
    tiles.template load<tokenTile>(tokens, 64);
    tiles.template load<weightTile>(weights, unpackBytes);
    tiles.template multiplyAdd<sumTile, weightTile, tokenTile>();
    tiles.template load<weightTile + 1>(weights + tileRows * unpackBytes, unpackBytes);
    tiles.template multiplyAdd<sumTile + 1, weightTile + 1, tokenTile>();
    if (Tokens == 2) {
      tiles.template load<tokenTile + 1>(tokens + tileBytes, 64);
      tiles.template multiplyAdd<sumTile + 2, weightTile, tokenTile + 1>();
      tiles.template multiplyAdd<sumTile + 3, weightTile + 1, tokenTile + 1>();
    }
    weights += 64, tokens += 2 * tileBytes;
  }
}

/// What m1k_cpu_tile_linear is given, of the weight rows first … first+count and the tokens begin …
/// end, and its scratch: `packed` for `chunk` columns of the weight rows, `sums` of these by the
/// tokens, `tails` of 64 bytes a token, `unpacked`, of integers, for unpackColumns of four tiles of
/// weights; rows and tokens rounded up to two tiles.
template <class Tiles> struct TileLinear {
  void *out;
  const void *x, *weight, *scale;
  const float *rowScale, *bias;
  long begin, end, first;
  int count, k, chunk, group, weightType, scaleType, outType;
  long outStride, xStride;
  char *packed, *sums, *tails, *unpacked;
  Tiles tiles;

  typedef unsigned short Pairs __attribute__((ext_vector_type(32)));
  static constexpr int pair = 2 * tileRows; // tokens, or weight rows, of two tiles
  static M1K_BODY int pairsOf(int rows) { return (rows + pair - 1) / pair; }
  M1K_BODY bool withMinimums() const { return hasMinimums(scaleType); }
  M1K_BODY bool isInteger() const { return weightType == M1K_I4 || weightType == M1K_I8; }
  M1K_BODY const char *token(int t, int column) const {
    return static_cast<const char *>(x) + ((begin + t) * xStride + column) * 2;
  }
  M1K_BODY long rowBytes() const {
    return weightType == M1K_I4 ? int4RowBytes(k) : k * size(weightType);
  }

  /// Where a weight, or the word that holds it, lies.
  M1K_BODY const char *weightAt(long row, int column) const {
    return static_cast<const char *>(weight) + row * rowBytes() +
           (weightType == M1K_I4 ? column / 128 * 64L + column % 32 * 2
                                 : column * size(weightType));
  }

  /// The columns after the last whole step, of every token, and zeros behind them.
  M1K_BODY void copyTails() {
    const int whole = k / tileDepth * tileDepth;
    for (int t = 0; t < end - begin; ++t)
      for (int c = 0; c < tileDepth; c += lanes) {
        const int width = least(lanes, k - whole - c);
        store(tails, M1K_BF16, t * tileDepth + c, lanes,
              width > 0 ? load(token(t, whole), M1K_BF16, c, width) : Floats(0.0f));
      }
  }

  /// 32 columns of a weight row as bf16: exact, but for those of groups, which are multiplied by
  /// their scale, less a minimum where there is one, and rounded. `width` of them are there; the
  /// others are zeros, or, of int4 and with minimums, some numbers.
  M1K_BODY Pairs weights32(long row, int column, int width) const {
    const char *at = static_cast<const char *>(weight) + row * rowBytes();
    Floats v[2];
    for (int half = 0; half < 2; ++half) {
      const int from = column + half * lanes, present = least(lanes, width - half * lanes);
      if (weightType == M1K_I4)
        v[half] = loadInt4(at, from, withMinimums());
      else
        v[half] = present > 0 ? load(at, weightType, from, present) : Floats(0.0f);
    }
    if (withMinimums() || (group && group < tileDepth)) {
      for (int half = 0; half < 2; ++half) {
        const int from = least(column + half * lanes, k - 1);
        const long place = row * ((k + group - 1) / group) + from / group;
        v[half] = v[half] * loadScale(scale, scaleType, place);
        if (withMinimums())
          v[half] = v[half] - loadMinimum(scale, scaleType, place);
        const Bits u = bits<Bits>(v[half]);
        v[half] = bits<Floats>(u + 0x7fffu + ((u >> 16) & 1u));
      }
    } else if (group) {
      const float factor =
          loadOne(scale, scaleType, row * ((k + group - 1) / group) + column / group);
      for (Floats &values : v) {
        const Bits u = bits<Bits>(values * factor);
        values = bits<Floats>(u + 0x7fffu + ((u >> 16) & 1u));
      }
    }
    // The upper halves.
    return __builtin_shufflevector(bits<Pairs>(v[0]), bits<Pairs>(v[1]), 1, 3, 5, 7, 9, 11, 13, 15,
                                   17, 19, 21, 23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43, 45, 47,
                                   49, 51, 53, 55, 57, 59, 61, 63);
  }

  /// Of 16 rows of integers unpackColumns columns from `column` on as bf16, unpackBytes a row. What
  /// is past the end is zeros, or meets zeros of the tokens.
  M1K_BODY void unpackTile(int tile, int column, long ahead, char *to) {
    const int rows = least(tileRows, count - tile * tileRows);
    const long row = first + tile * tileRows;
    int done = 0;
    if (rows > 0 && k - column >= unpackColumns) {
      const long groups = group ? (k + group - 1) / group : 0;
      const PackedWeights w{weightAt(row, column),
                            rowBytes(),
                            rows,
                            group,
                            scale,
                            scaleType,
                            group ? row * groups + column / group : 0,
                            groups,
                            ahead};
      if (withMinimums() || (group && group < tileDepth))
        weightType == M1K_I4 ? tiles.int4WithMinimums(w, to) : tiles.int8OfAnyGroups(w, to);
      else
        weightType == M1K_I4 ? tiles.int4(w, to) : tiles.int8(w, to);
      done = rows;
    }
    for (int r = done; r < tileRows; ++r)
      for (int c = 0; c < unpackColumns; c += tileDepth) {
        const int width = least(tileDepth, k - column - c);
        const Pairs value =
            r < rows && width > 0 ? weights32(row + r, column + c, width) : Pairs(0);
        __builtin_memcpy(to + r * unpackBytes + 2 * c, &value, sizeof(value));
      }
  }

  /// A tile of 16 weight rows, 32 columns from `column` on. What is past the end is zeros, or meets
  /// zeros of the tokens.
  M1K_BODY void packTile(int tile, int column, char *to) const {
    const int rows = least(tileRows, count - tile * tileRows), width = least(tileDepth, k - column);
    const long row = first + tile * tileRows;
    const bool isWhole = rows == tileRows && width == tileDepth;
    if (weightType == M1K_BF16 && isWhole)
      return transposePairs(weightAt(row, column), rowBytes(), to);
    alignas(64) Pairs block[tileRows];
    if (isWhole)
      for (int r = 0; r < tileRows; ++r)
        block[r] = weights32(row + r, column, tileDepth);
    else
      for (int r = 0; r < tileRows; ++r)
        block[r] = r < rows ? weights32(row + r, column, width) : Pairs(0);
    transposePairs(reinterpret_cast<const char *>(block), 64, to);
  }

  /// `steps` pairs of tiles of the weight rows from n on, from column `from` on.
  M1K_BODY void packTiles(int n, int from, int steps, char *to) {
    if (!isInteger()) {
      for (int i = 0; i < 2 * steps; ++i)
        packTile(n / tileRows + i % 2, from + i / 2 * tileDepth, to + i * tileBytes);
      return;
    }
    constexpr int stepsOfBlock = unpackColumns / tileDepth;
    for (int i = 0; i < steps; i += stepsOfBlock)
      for (int half = 0; half < 2; ++half) {
        unpackTile(n / tileRows + half, from + i * tileDepth, 0, unpacked);
        for (int j = 0; j < least(stepsOfBlock, steps - i); ++j)
          transposePairs(unpacked + j * 64, unpackBytes, to + (2 * (i + j) + half) * tileBytes);
      }
  }

  /// Sums of a pair of tiles of tokens by one of weight rows, to their rows of `out`.
  M1K_BODY void finish(int t, int n, const char *from) {
    const bool scaled = scale && !group;
    for (int half = 0; half < 2; ++half) {
      const int column = n + half * tileRows, width = least(tileRows, count - column);
      if (width <= 0)
        return;
      Floats factor = scaled ? load(scale, M1K_F32, first + column, width) : Floats(1.0f);
      Floats offset = bias ? load(bias, M1K_F32, first + column, width) : Floats(0.0f);
      for (int i = 0; i < least(pair, static_cast<int>(end - begin) - t); ++i) {
        const int tile = i / tileRows * 2 + half;
        Floats v = load(from, M1K_F32, (tile * tileRows + i % tileRows) * lanes, lanes);
        if (scaled)
          v = v * factor;
        if (rowScale)
          v = v * rowScale[begin + t + i];
        if (bias)
          v = v + offset;
        store(out, outType, (begin + t + i) * outStride + first + column, width, v);
      }
    }
  }

  /// What the products of a pair of tiles each ask for on the way: the next tokens, the first time
  /// these columns of them are needed; else their share of the next columns of weights.
  M1K_BODY Ahead aheadOf(int t, int n, int from, bool isLast) const {
    const int tokens = static_cast<int>(end - begin);
    if (n == 0 && t + pair < tokens)
      return {token(t + pair, from), xStride * 2, 64, least(pair, tokens - t - pair)};
    if (isLast)
      return {nullptr, 0, 0, 0};
    const int share = (pair + pairsOf(tokens) - 1) / pairsOf(tokens), row = n + t / pair * share;
    return {weightAt(first + row, from + chunk), rowBytes(),
            weightType == M1K_I4 ? 16 : 32 * size(weightType), least(share, count - row)};
  }

  /// The tokens' pairs of columns as rows, `steps` pairs of tiles from column `from` on.
  M1K_BODY void packTokens(int from, int steps) {
    const int tokens = static_cast<int>(end - begin);
    for (int i = 0; i < steps; ++i)
      for (int t = 0; t < tokens; t += tileRows) {
        const int column = from + i * tileDepth;
        const bool atTail = k - column < tileDepth;
        const char *at = atTail ? tails + t * 64L : token(t, column);
        const long stride = atTail ? 64 : xStride * 2;
        char *to = packed + (2L * i + t / tileRows) * tileBytes;
        if (tokens - t >= tileRows) {
          transposePairs(at, stride, to);
          continue;
        }
        alignas(64) Pairs block[tileRows];
        for (int r = 0; r < tileRows; ++r) {
          block[r] = Pairs(0);
          if (r < tokens - t)
            __builtin_memcpy(&block[r], at + r * stride, 64);
        }
        transposePairs(reinterpret_cast<const char *>(block), 64, to);
      }
  }

  /// Unpacks unpackColumns columns from `column` on of the pair of weight rows from n on, to one
  /// half of `unpacked` and the other by turns; returns where. What comes `distance` later is asked
  /// for: columns of these rows or, past `stop`, those of the next rows from `start` on.
  M1K_BODY const char *unpackPair(int n, int column, int start, int stop) {
    constexpr int distance = 4 * unpackColumns;
    constexpr long tile = tileRows * unpackBytes;
    const int later = column + distance;
    const long ahead =
        (later < stop ? weightAt(0, later) : weightAt(pair, least(start + later - stop, stop))) -
        weightAt(0, column);
    char *to = unpacked + (column - start) / unpackColumns % 2 * 2 * tile;
    for (int half = 0; half < 2; ++half)
      unpackTile(n / tileRows + half, column, ahead, to + half * tile);
    return to;
  }

  /// Of up to two tiles of tokens the products of the columns from … stop with a pair of weight
  /// rows, which are the first operand.
  template <int Tokens> M1K_AMX M1K_BODY void multiplyRows(int n, int from, int stop) {
    char *rowSums = sums + n / pair * 4 * tileBytes;
    if (from == 0) {
      tiles.template zero<sumTile>(), tiles.template zero<sumTile + 1>();
      if (Tokens == 2)
        tiles.template zero<sumTile + 2>(), tiles.template zero<sumTile + 3>();
    } else {
      tiles.template load<sumTile>(rowSums, 64);
      tiles.template load<sumTile + 1>(rowSums + tileBytes, 64);
      if (Tokens == 2) {
        tiles.template load<sumTile + 2>(rowSums + 2 * tileBytes, 64);
        tiles.template load<sumTile + 3>(rowSums + 3 * tileBytes, 64);
      }
    }
    // A block is unpacked before the one before it is multiplied.
    const char *now = unpackPair(n, from, from, stop), *next = nullptr;
    for (int column = from; column < stop; column += unpackColumns, now = next) {
      if (column + unpackColumns < stop)
        next = unpackPair(n, column + unpackColumns, from, stop);
      multiplyFew<Tokens>(tiles, now, packed + (column - from) / tileDepth * 2L * tileBytes,
                          (least(unpackColumns, stop - column) + tileDepth - 1) / tileDepth);
    }
    tiles.template store<sumTile>(rowSums, 64);
    tiles.template store<sumTile + 1>(rowSums + tileBytes, 64);
    if (Tokens == 2) {
      tiles.template store<sumTile + 2>(rowSums + 2 * tileBytes, 64);
      tiles.template store<sumTile + 3>(rowSums + 3 * tileBytes, 64);
    }
    if (stop < k)
      return;
    alignas(64) char turned[4 * tileBytes];
    for (int tile = 0; tile < 2 * Tokens; ++tile)
      transposePairs(rowSums + tile * tileBytes, 64, turned + tile * tileBytes);
    finish(0, n, turned);
  }

  /// Integers by up to two tiles of tokens: these are packed, not the weights.
  M1K_AMX M1K_BODY void runFew() {
    const int tokens = static_cast<int>(end - begin), span = pairsOf(count) * chunk;
    if (k % tileDepth)
      copyTails();
    tiles.configureFew(least(tokens, tileRows), tokens > tileRows ? tokens - tileRows : tokens);
    for (int from = 0; from < k; from += span) {
      const int stop = least(k, from + span);
      packTokens(from, (stop - from + tileDepth - 1) / tileDepth);
      for (int n = 0; n < count; n += pair)
        if (tokens > tileRows)
          multiplyRows<2>(n, from, stop);
        else
          multiplyRows<1>(n, from, stop);
    }
    tiles.release();
  }

  M1K_AMX M1K_BODY void run() {
    const int tokens = static_cast<int>(end - begin);
    if (isInteger() && tokens <= pair)
      return runFew();
    const int whole = tokens / pair * pair, rest = tokens - whole;
    if (k % tileDepth)
      copyTails();
    for (int from = 0; from < k; from += chunk) {
      const bool isLast = k - from <= chunk;
      const int steps = ((isLast ? k - from : chunk) + tileDepth - 1) / tileDepth;
      for (int n = 0; n < count; n += pair)
        packTiles(n, from, steps, packed + n / pair * 2L * steps * tileBytes);
      for (int n = 0; n < count; n += pair)
        for (int t = 0; t < tokens; t += pair) {
          if (t == 0 || t == whole)
            tiles.configure(t < whole ? tileRows : least(rest, tileRows),
                            t < whole || rest <= tileRows ? tileRows : rest - tileRows);
          const char *rows = token(t, from), *weights = packed + n / pair * 2L * steps * tileBytes;
          const char *tail = isLast && k % tileDepth ? tails + t * 64L : nullptr;
          char *blockSums = sums + (n / pair * pairsOf(tokens) + t / pair) * 4 * tileBytes;
          const Ahead next = aheadOf(t, n, from, isLast);
          if (tokens - t > tileRows)
            multiplyTiles<2>(tiles, rows, xStride * 2, tail, weights, steps, blockSums, from == 0,
                             next);
          else
            multiplyTiles<1>(tiles, rows, xStride * 2, tail, weights, steps, blockSums, from == 0,
                             next);
          if (isLast)
            finish(t, n, blockSums);
        }
    }
    tiles.release();
  }
};

} // namespace m1k

#endif
