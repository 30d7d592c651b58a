// Sixteen rows of queries a warp against pages of the cache on tensor cores, softmax running in
// registers: what attention_prefill and attention_prefix share. bf16, head sizes of 16's multiple
// up to 256. Codes of a cache become bf16 in shared memory first, which every one of them is; their
// scales go to scores and probabilities.
//
// A lane (g, t) of a warp holds rows g and g + 8: in an accumulator of 8 columns, columns 2t, 2t +
// 1.
#ifndef M1K_ATTENTION_TILE_CUH
#define M1K_ATTENTION_TILE_CUH

#include "attention.cuh"

namespace m1k {

// With `keep` the queries stay in registers, 32 for 128 columns; otherwise they are read again for
// every page.
template <class F, bool keep = F::kD <= 128> struct AttentionTile {
  static constexpr int kD = F::kD, kRow = AttentionTraits<F>::kRow, kSteps = kD / 16;
  static constexpr int kScores = kPage / 8; // tiles of 8 positions
  static_assert(kD % 16 == 0, "tensor cores need whole tiles");

  const bf16 *queries; // rows of kRow in shared memory, this warp's first
  u32 query[keep ? kSteps : 1][4];
  float output[2 * kSteps][4], top[2], mass[2]; // unnormalised; maxima of unscaled scores

  M1K_DEVICE void load_query(u32 (&a)[4], int k) const {
    int lane = threadIdx.x % 32;
    load_matrices(a, queries + lane % 16 * kRow + k * 16 + lane / 16 * 8);
  }
  M1K_DEVICE explicit AttentionTile(const bf16 *queries) : queries(queries) {
    if constexpr (keep) {
#pragma unroll
      for (int k = 0; k < kSteps; ++k)
        load_query(query[k], k);
    }
  }
  M1K_DEVICE void reset() {
    top[0] = top[1] = kNever;
    mass[0] = mass[1] = 0.0f;
#pragma unroll
    for (int n = 0; n < 2 * kSteps; ++n)
      output[n][0] = output[n][1] = output[n][2] = output[n][3] = 0.0f;
  }
  M1K_DEVICE static float scale() { return F::scale() * kLog2E; }

  // Takes in a page, whose K and V lie in rows of kRow. With `cuts`, row g sees its first limit0
  // positions and row g + 8 its first limit1, the last kWindow of them where there is a window;
  // otherwise both see all. The scales are of codes alone.
  M1K_DEVICE void attend(const bf16 *k_page, const bf16 *v_page, bool cuts, int limit0, int limit1,
                         const float *key_scales, const float *value_scales) {
    constexpr bool kCodes = AttentionTraits<F>::kCodes;
    int lane = threadIdx.x % 32, t = lane % 4;
    auto sees = [](int limit, int p) {
      return p < limit && (F::kWindow == 0 || p >= limit - F::kWindow);
    };
    float score[kScores][4];
#pragma unroll
    for (int n = 0; n < kScores; ++n)
      score[n][0] = score[n][1] = score[n][2] = score[n][3] = 0.0f;
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      u32(&a)[4] = query[keep ? k : 0];
      if constexpr (!keep)
        load_query(a, k);
#pragma unroll
      for (int n = 0; n < kScores; n += 2) {
        u32 b[4]; // positions n·8 .. +8 at depth k·16 and +8, then the next 8 positions
        load_matrices(b, k_page + (n * 8 + lane / 16 * 8 + lane % 8) * kRow + k * 16 +
                             lane / 8 % 2 * 8);
        mma_bf16(score[n], a, b[0], b[1]);
        mma_bf16(score[n + 1], a, b[2], b[3]);
      }
    }
    if constexpr (kCodes) {
#pragma unroll
      for (int n = 0; n < kScores; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float factor = key_scales[n * 8 + t * 2 + i];
          score[n][i] *= factor;
          score[n][2 + i] *= factor;
        }
    }
    float peak0 = kNever, peak1 = kNever;
#pragma unroll
    for (int n = 0; n < kScores; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        int p = n * 8 + t * 2 + i;
        if (cuts) {
          score[n][i] = sees(limit0, p) ? score[n][i] : kNever;
          score[n][2 + i] = sees(limit1, p) ? score[n][2 + i] : kNever;
        }
        peak0 = fmaxf(peak0, score[n][i]);
        peak1 = fmaxf(peak1, score[n][2 + i]);
      }
    }
    peak0 = fmaxf(peak0, __shfl_xor_sync(0xffffffffu, peak0, 1));
    peak0 = fmaxf(peak0, __shfl_xor_sync(0xffffffffu, peak0, 2));
    peak1 = fmaxf(peak1, __shfl_xor_sync(0xffffffffu, peak1, 1));
    peak1 = fmaxf(peak1, __shfl_xor_sync(0xffffffffu, peak1, 2));
    const float scale = this->scale();
    // Maxima are of unscaled scores when the scale is positive, which is the only case
    // described.
    float now0 = fmaxf(top[0], peak0), now1 = fmaxf(top[1], peak1);
    float keep0 = ex2((top[0] - now0) * scale), keep1 = ex2((top[1] - now1) * scale);
    top[0] = now0, top[1] = now1;
    float shift0 = now0 * scale, shift1 = now1 * scale, sum0 = 0.0f, sum1 = 0.0f;
    u32 probability[kScores][2];
#pragma unroll
    for (int n = 0; n < kScores; ++n) {
      float a0 = ex2(score[n][0] * scale - shift0), a1 = ex2(score[n][1] * scale - shift0);
      float b0 = ex2(score[n][2] * scale - shift1), b1 = ex2(score[n][3] * scale - shift1);
      // a row that sees nothing yet has only kNever, whose exponential against itself is 1
      if (cuts) {
        int p = n * 8 + t * 2;
        a0 = sees(limit0, p) ? a0 : 0.0f, a1 = sees(limit0, p + 1) ? a1 : 0.0f;
        b0 = sees(limit1, p) ? b0 : 0.0f, b1 = sees(limit1, p + 1) ? b1 : 0.0f;
      }
      sum0 += a0 + a1;
      sum1 += b0 + b1;
      if constexpr (kCodes) {
        float factor0 = value_scales[n * 8 + t * 2], factor1 = value_scales[n * 8 + t * 2 + 1];
        a0 *= factor0, a1 *= factor1;
        b0 *= factor0, b1 *= factor1;
      }
      probability[n][0] = pack_bf16(a0, a1);
      probability[n][1] = pack_bf16(b0, b1);
    }
    mass[0] = mass[0] * keep0 + sum0;
    mass[1] = mass[1] * keep1 + sum1;
#pragma unroll
    for (int n = 0; n < 2 * kSteps; ++n) {
      output[n][0] *= keep0, output[n][1] *= keep0;
      output[n][2] *= keep1, output[n][3] *= keep1;
    }
#pragma unroll
    for (int k = 0; k < kPage / 16; ++k) {
      u32 a[4] = {probability[2 * k][0], probability[2 * k][1], probability[2 * k + 1][0],
                  probability[2 * k + 1][1]};
#pragma unroll
      for (int n = 0; n < 2 * kSteps; n += 2) {
        u32 b[4]; // columns n·8 .. +8 at positions k·16 and +8, then the next 8 columns
        load_matrices_transposed(b, v_page + (k * 16 + lane / 8 % 2 * 8 + lane % 8) * kRow + n * 8 +
                                        lane / 16 * 8);
        mma_bf16(output[n], a, b[0], b[1]);
        mma_bf16(output[n + 1], a, b[2], b[3]);
      }
    }
  }

  // Sum of the exponentials of row g (half 0) or g + 8.
  M1K_DEVICE float total(int half) const {
    float sum = mass[half];
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    return sum + __shfl_xor_sync(0xffffffffu, sum, 2);
  }
};

// Pages on their way through shared memory, two stages of them: bf16, of which a stage is K's rows,
// then V's; or codes, of which the page at hand becomes bf16 behind the stages.
template <class F, int threads> struct PageStages {
  static constexpr bool kCodes = AttentionTraits<F>::kCodes;
  static constexpr int kRow = AttentionTraits<F>::kRow, kPageElements = 2 * kPage * kRow;
  // In units of two bytes.
  static constexpr int kStageElements = kCodes ? CodeStage<F>::kBytes / 2 : kPageElements;
  static constexpr int kElements = 2 * kStageElements + (kCodes ? kPageElements : 0);
  bf16 *stages;

  M1K_DEVICE PageStages() { stages = reinterpret_cast<bf16 *>(m1k_shared); }
  M1K_DEVICE bf16 *behind() const { return stages + kElements; }
  M1K_DEVICE bf16 *stage(int number) const { return stages + (number & 1) * kStageElements; }
  M1K_DEVICE CodeStage<F> codes(int number) const {
    return {reinterpret_cast<unsigned char *>(stage(number))};
  }
  // Positions [hidden, valid) of K and V of a kv head in a page, to a stage.
  M1K_DEVICE static void copy(bf16 *to, const typename F::KT *cache, int page, int kv_head,
                              int valid, int hidden = 0) {
    if constexpr (kCodes) {
      CodeStage<F>{reinterpret_cast<unsigned char *>(to)}.template copy<threads>(
          cache, page, kv_head, valid, hidden);
    } else {
      copy_page<F, threads>(to, page_rows<F>(cache, page, 0, kv_head), valid, hidden);
      copy_page<F, threads>(to + kPage * kRow, page_rows<F>(cache, page, 1, kv_head), valid,
                            hidden);
    }
  }
  // By the whole block, when the stage is full and the one before it is read.
  M1K_DEVICE void unpack(int number) const {
    if constexpr (kCodes) {
      constexpr int kPieces = F::kD / 16;
      bf16 *rows = stages + 2 * kStageElements;
      const unsigned char *base = codes(number).base;
#pragma unroll 2
      for (int i = threadIdx.x; i < 2 * kPage * kPieces; i += threads) {
        int r = i / kPieces, j = i % kPieces * 16;
        uint4 codes = *reinterpret_cast<const uint4 *>(base + r * CodeStage<F>::kRow + j);
        uint4 first, second;
        Codes<typename F::KT>::unpack_bf16(codes.x, first.x, first.y);
        Codes<typename F::KT>::unpack_bf16(codes.y, first.z, first.w);
        Codes<typename F::KT>::unpack_bf16(codes.z, second.x, second.y);
        Codes<typename F::KT>::unpack_bf16(codes.w, second.z, second.w);
        uint4 *to = reinterpret_cast<uint4 *>(rows + r * kRow + j);
        to[0] = first;
        to[1] = second;
      }
      __syncthreads();
    }
  }
  template <class Tile>
  M1K_DEVICE void attend(Tile &tile, int number, bool cuts, int limit0, int limit1) const {
    const bf16 *rows = kCodes ? stages + 2 * kStageElements : stage(number);
    tile.attend(rows, rows + kPage * kRow, cuts, limit0, limit1, codes(number).key_scales(),
                codes(number).value_scales());
  }
};

} // namespace m1k

#endif
