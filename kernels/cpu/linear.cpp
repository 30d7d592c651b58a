// Products of matrices by the processor's tile registers (AMX).
#include "tile_linear.h"

using namespace m1k;

namespace {

struct AmxTiles : VectorUnpacker {
  /// All registers full, but for the rows of those that hold tokens and their sums.
  M1K_AMX M1K_BODY void configure(int first, int second) {
    struct {
      unsigned char palette = 1, startRow = 0, reserved[14] = {};
      unsigned short rowBytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      unsigned char rows[16] = {};
    } config;
    for (int i = 0; i < 8; ++i)
      config.rows[i] = static_cast<unsigned char>(i >= weightTile                     ? tileRows
                                                  : i < sumTile + 2 || i == tokenTile ? first
                                                                                      : second);
    __builtin_ia32_tile_loadconfig(&config);
  }
  /// All rows; of registers of tokens, and of their sums, so many columns as are tokens.
  M1K_AMX M1K_BODY void configureFew(int first, int second) {
    struct {
      unsigned char palette = 1, startRow = 0, reserved[14] = {};
      unsigned short rowBytes[16] = {};
      unsigned char rows[16] = {tileRows, tileRows, tileRows, tileRows,
                                tileRows, tileRows, tileRows, tileRows};
    } config;
    for (int i = 0; i < 8; ++i)
      config.rowBytes[i] =
          static_cast<unsigned short>(i >= weightTile                     ? 64
                                      : i < sumTile + 2 || i == tokenTile ? 4 * first
                                                                          : 4 * second);
    __builtin_ia32_tile_loadconfig(&config);
  }
  template <int Tile> M1K_AMX M1K_BODY void zero() { __builtin_ia32_tilezero(Tile); }
  template <int Tile> M1K_AMX M1K_BODY void load(const char *from, long stride) {
    __builtin_ia32_tileloadd64(Tile, from, stride);
  }
  template <int Tile> M1K_AMX M1K_BODY void store(char *to, long stride) {
    __builtin_ia32_tilestored64(Tile, to, stride);
  }
  template <int Sum, int A, int B> M1K_AMX M1K_BODY void multiplyAdd() {
    __builtin_ia32_tdpbf16ps(Sum, A, B);
  }
  M1K_AMX M1K_BODY void release() { __builtin_ia32_tilerelease(); }
};

} // namespace

// out[t, i] = Σ_c x[t, c] weight[i, c] (· scale[i] (· row_scale[t])) (+ bias[i]), x bf16, by the
// tile registers of a CPU with amx_bf16: products of bf16 summed in f32, of i8 and e4m3 exactly, of
// weights in groups after they were multiplied by their scale and rounded. A group owns rows
// [begin, end), at most `tokens`, and weight rows [first, last), at most `block`. weight: [n, k];
// scale: [n] f32; with `group` > 0, 16 or a multiple of 32, [n, ceil(k / group)] of scale_type for
// so many columns, always so with weights of int4, which have none of 16; row_scale: [T] or null;
// bias: [n] or null. Weights become tiles `chunk` columns, a multiple of 128, at a time; of
// integers and at most 32 rows of x, those rows do. The process must have the system's permission.
// Stack: 2 * block * chunk + 4 * block * tokens + 64 * tokens bytes, block and tokens rounded up to
// 32, and 20 KiB.
M1K_AMX M1K_ENTRY void m1k_cpu_tile_linear(void *out, const void *x, const void *weight,
                                           const void *scale, const float *row_scale,
                                           const float *bias, long first, long last, long begin,
                                           long end, int k, int block, int tokens, int chunk,
                                           int group, int weight_type, int scale_type, int out_type,
                                           long out_stride, long x_stride) {
  using Linear = TileLinear<AmxTiles>;
  const int pairs = Linear::pairsOf(block), tokenPairs = Linear::pairsOf(tokens);
  float *packed = M1K_STACK(pairs * Linear::pair * chunk / 2),
        *sums = M1K_STACK(pairs * tokenPairs * Linear::pair * Linear::pair),
        *tails = M1K_STACK(k % tileDepth ? tokenPairs * Linear::pair * tileDepth / 2 : 0),
        *unpacked = M1K_STACK(weight_type == M1K_I4 || weight_type == M1K_I8
                                  ? 4 * tileRows * unpackBytes / sizeof(float)
                                  : 0);
  Linear{out,
         x,
         weight,
         scale,
         row_scale,
         bias,
         begin,
         end,
         first,
         static_cast<int>(last - first),
         k,
         chunk,
         group,
         weight_type,
         scale_type,
         out_type,
         out_stride,
         x_stride,
         reinterpret_cast<char *>(packed),
         reinterpret_cast<char *>(sums),
         reinterpret_cast<char *>(tails),
         reinterpret_cast<char *>(unpacked),
         {}}
      .run();
}
