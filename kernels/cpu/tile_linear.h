// Products of matrices by tile registers, over whoever implements these: the processor (linear.cpp)
// or, in tests, plain code.
#ifndef M1K_TILE_LINEAR_H
#define M1K_TILE_LINEAR_H

#include "vector.h"

// Functions that use tile registers, and those they are inlined into.
#define M1K_AMX __attribute__((target("amx-tile,amx-bf16")))

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

/// What m1k_cpu_tile_linear is given, of the weight rows first … first+count and the tokens begin …
/// end, and its scratch: `packed` for `chunk` columns of the weight rows, `sums` of these by the
/// tokens, `tails` of 64 bytes a token; rows and tokens rounded up to two tiles.
template <class Tiles> struct TileLinear {
  void *out;
  const void *x, *weight, *scale;
  const float *rowScale, *bias;
  long begin, end, first;
  int count, k, chunk, group, weightType, scaleType, outType;
  long outStride, xStride;
  char *packed, *sums, *tails;
  Tiles tiles;

  typedef unsigned short Pairs __attribute__((ext_vector_type(32)));
  static constexpr int pair = 2 * tileRows; // tokens, or weight rows, of two tiles
  static M1K_BODY int pairsOf(int rows) { return (rows + pair - 1) / pair; }
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
  /// their scale and rounded. `width` of them are there; the others are zeros, or, of int4, some
  /// numbers.
  M1K_BODY Pairs weights32(long row, int column, int width) const {
    const char *at = static_cast<const char *>(weight) + row * rowBytes();
    Floats v[2];
    for (int half = 0; half < 2; ++half) {
      const int from = column + half * lanes, present = least(lanes, width - half * lanes);
      if (weightType == M1K_I4)
        v[half] = loadInt4(at, from);
      else
        v[half] = present > 0 ? load(at, weightType, from, present) : Floats(0.0f);
    }
    if (group) {
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

  M1K_AMX M1K_BODY void run() {
    const int tokens = static_cast<int>(end - begin);
    const int whole = tokens / pair * pair, rest = tokens - whole;
    if (k % tileDepth)
      copyTails();
    for (int from = 0; from < k; from += chunk) {
      const bool isLast = k - from <= chunk;
      const int steps = ((isLast ? k - from : chunk) + tileDepth - 1) / tileDepth;
      for (int n = 0; n < count; n += pair)
        for (int i = 0; i < 2 * steps; ++i)
          packTile(n / tileRows + i % 2, from + i / 2 * tileDepth,
                   packed + (n / pair * 2L * steps + i) * tileBytes);
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
