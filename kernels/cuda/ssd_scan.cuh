// Prefill scan of Mamba-2 on tensor cores, for bf16 activations, in two launches over segments of
// kSegment tokens of the step.
//
// ssd_states: grid (heads, ceil(T / kSegment)). Where a sequence goes on beyond a segment, the
// state that the segment's tokens of it add up
//   to, and the sum of their Δ·A, go to the segment's record in `temporary`; if the sequence begins
//     in the
//   segment, its state before the step is included, and kept in the record as well, because the
//     second launch
//   overwrites the slot.
// ssd_scan: the same grid. A block takes each sequence's part of its segment: the state before it
// is read from the slot or put together from
//   the records of the segments before, then chunks of kChunk tokens follow one another with the
//     state in
//   registers.
// So a single long sequence fills the chip, and the additional work is one of the four products
// below.
//
// With c_i the sum of Δ·A over the chunk's tokens up to i, a chunk is four products:
//   G = C·Bᵀ            16 tokens a warp, only tiles on or below the diagonal
//   Y = 2^c_i · (C·Sᵀ) + (G_ij · 2^(c_i - c_j) · Δ_j, j <= i) · X      16 tokens and half of the
//     columns a
//   warp S = 2^c_last · S + (X_j · Δ_j · 2^(c_last - c_j))ᵀ · B      all rows, a share of the N
//     columns a
//   warp
// Exponents are differences taken before the exponential, so large decays underflow to 0 and never
// overflow. S is f32 in registers and bf16 in shared memory as an operand; the masked products and
// scaled X are rounded to bf16.
//
// Facts F: DT, ST; kHeads, kP, kN, kXShare, kBShare, kCShare (heads that one head of x, B, C
// serves), strides, kHasD, kHasDtBias, kSoftplus; kRecord (floats of a segment's record: states
// [heads][P][N], states before the step likewise, sums [heads]); tuning: kSegment, kRows (rows of P
// a block owns; the grid has P / kRows blocks a head).
#ifndef M1K_SSD_SCAN_CUH
#define M1K_SSD_SCAN_CUH

#include "common.cuh"

namespace m1k {

template <class F, bool outputs> struct SsdTraits {
  static constexpr int kChunk = 64;
  static constexpr int kHalves =
      F::kRows % 32 == 0 ? 2 : 1; // warps that share 16 tokens, each with part of the columns
  static constexpr int kWarps = 4 * kHalves, kThreads = 32 * kWarps;
  static constexpr int kSplits = F::kP / F::kRows;
  static constexpr int kWideRow = F::kN + 8,
                       // odd numbers of 16-byte pieces: rows fall in different banks
      kXRow = F::kRows + 8;
  static constexpr int kSteps = F::kN / 16;
  // pairs of 8-column tiles of S that a warp owns
  static constexpr int kPairs = ceil_div(kSteps, kWarps);
  static constexpr int kRowTiles = F::kRows / 16;
  static constexpr int kWideElements = kChunk * kWideRow, kXElements = kChunk * kXRow;
  static constexpr int kStageElements = (outputs ? 2 : 1) * kWideElements + kXElements;
  static constexpr int kSharedBytes = 2 * kStageElements * 2 +
                                      (outputs ? F::kRows * kWideRow * 2 : 0) + kXElements * 2 +
                                      kWarps * kChunk * 8;
  static constexpr long long kStateSize = static_cast<long long>(F::kHeads) * F::kP * F::kN;
  static_assert(F::kN % 16 == 0 && F::kP % F::kRows == 0 && F::kRows % 16 == 0 &&
                    F::kSegment % kChunk == 0,
                "whole tiles");
  static_assert(kSharedBytes <= F::kSharedBytes, "the launch reserves too little shared memory");
};

// The state of one head's rows, and what a block does with a run of tokens of one sequence.
template <class F, bool outputs> struct Ssd {
  using R = SsdTraits<F, outputs>;
  static constexpr int kChunk = R::kChunk, kN = F::kN, kRows = F::kRows, kWideRow = R::kWideRow,
                       kXRow = R::kXRow, kSteps = R::kSteps;
  static constexpr int kColumns = kRows / 8 / R::kHalves; // tiles of 8 output columns of a warp
  int head, row0, warp, lane, g, t;
  bf16 *stages, *operand, *scaled;
  float *sums, *deltas; // each warp its own
  float rate, bias, skip;
  // Tile (m, pair, half) of a warp holds rows m·16 + g, + 8 and columns column_of(pair, half), + 1.
  float s[R::kRowTiles][R::kPairs][2][4];

  M1K_DEVICE Ssd(const float *a, const float *dt_bias, const float *d) {
    head = blockIdx.x / R::kSplits, row0 = blockIdx.x % R::kSplits * kRows;
    warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    stages = reinterpret_cast<bf16 *>(m1k_shared);
    scaled = stages + 2 * R::kStageElements; // X_j · Δ_j · 2^(c_last - c_j)
    operand = scaled + R::kXElements;        // S
    sums =
        reinterpret_cast<float *>(operand + (outputs ? kRows * kWideRow : 0)) + warp * 2 * kChunk;
    deltas = sums + kChunk;
    rate = a[head] * kLog2E, bias = F::kHasDtBias ? dt_bias[head] : 0.0f,
    skip = outputs && F::kHasD ? d[head] : 0.0f;
  }

  M1K_DEVICE int column_of(int pair, int half) const {
    return (warp * R::kPairs + pair) * 16 + half * 8 + 2 * t;
  }
  M1K_DEVICE bool owns(int pair) const { return warp * R::kPairs + pair < kSteps; }
  // function(value, element of [P][N] of the head)
  template <class Function> M1K_DEVICE void each(Function function) {
#pragma unroll
    for (int m = 0; m < R::kRowTiles; ++m)
#pragma unroll
      for (int p = 0; p < R::kPairs; ++p)
        if (owns(p))
#pragma unroll
          for (int h = 0; h < 2; ++h)
#pragma unroll
            for (int i = 0; i < 4; ++i)
              function(s[m][p][h][i],
                       (row0 + m * 16 + g + i / 2 * 8) * kN + column_of(p, h) + i % 2);
  }
  M1K_DEVICE void clear() {
#pragma unroll
    for (int m = 0; m < R::kRowTiles; ++m)
#pragma unroll
      for (int p = 0; p < R::kPairs; ++p)
#pragma unroll
        for (int h = 0; h < 2; ++h)
          s[m][p][h][0] = s[m][p][h][1] = s[m][p][h][2] = s[m][p][h][3] = 0.0f;
  }
  M1K_DEVICE void write_operand() {
#pragma unroll
    for (int m = 0; m < R::kRowTiles; ++m)
#pragma unroll
      for (int p = 0; p < R::kPairs; ++p)
        if (owns(p))
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            bf16 *to = operand + (m * 16 + g) * kWideRow + column_of(p, h);
            *reinterpret_cast<u32 *>(to) = pack_bf16(s[m][p][h][0], s[m][p][h][1]);
            *reinterpret_cast<u32 *>(to + 8 * kWideRow) = pack_bf16(s[m][p][h][2], s[m][p][h][3]);
          }
  }

  // Takes the state over tokens [from, to) of a sequence; returns the sum of their Δ·A in units of
  // log2.
  M1K_DEVICE float run(const bf16 *x, const typename F::DT *dt, const bf16 *b, const bf16 *c,
                       bf16 *out, int from, int to) {
    constexpr int kThreads = R::kThreads;
    int chunks = (to - from + kChunk - 1) / kChunk;
    auto stage_b = [&](int chunk) { return stages + (chunk & 1) * R::kStageElements; };
    auto stage_x = [&](int chunk) { return stage_b(chunk) + R::kWideElements; };
    auto stage_c = [&](int chunk) { return stage_x(chunk) + R::kXElements; };
    auto same = [](int j) { return j; };
    TileCopy<kChunk, kWideRow, kN, F::kBStride % 8 == 0, kThreads, bf16> copy_b(
        threadIdx.x, b + head / F::kBShare * kN, F::kBStride, kN, same);
    TileCopy<kChunk, kXRow, kRows, F::kXStride % 8 == 0, kThreads, bf16> copy_x(
        threadIdx.x, x + head / F::kXShare * F::kP + row0, F::kXStride, kRows, same);
    TileCopy<kChunk, kWideRow, kN, F::kCStride % 8 == 0, kThreads, bf16> copy_c(
        threadIdx.x, outputs ? c + head / F::kCShare * kN : b, F::kCStride, kN, same);
    auto copy = [&](int chunk) {
      int first = from + chunk * kChunk;
      if constexpr (outputs)
        copy_c(threadIdx.x, stage_c(chunk), first, to, kN, same);
      copy_b(threadIdx.x, stage_b(chunk), first, to, kN, same);
      copy_x(threadIdx.x, stage_x(chunk), first, to, kRows, same);
      copy_async_commit();
    };
    // Δ of two tokens a lane, one chunk ahead; not widened before it is used, so that nothing waits
    // for it.
    typename F::DT next_delta[2];
    auto fetch_delta = [&](int chunk) {
#pragma unroll
      for (int k = 0; k < 2; ++k)
        next_delta[k] = dt[min(from + chunk * kChunk + 2 * lane + k, to - 1) *
                               static_cast<long long>(F::kDtStride) +
                           head];
    };
    copy(0);
    fetch_delta(0);
    if constexpr (outputs)
      write_operand();
    float total = 0.0f;
    for (int chunk = 0; chunk < chunks; ++chunk) {
      int first = from + chunk * kChunk, rows = min(kChunk, to - first);
      // Sums of Δ·A; tokens past the end have Δ = 0 and change nothing.
      {
        float delta[2], sum[2];
#pragma unroll
        for (int k = 0; k < 2; ++k) {
          delta[k] = to_float(next_delta[k]) + bias;
          if (F::kSoftplus)
            delta[k] = softplus(delta[k]);
          delta[k] = 2 * lane + k < rows ? delta[k] : 0.0f;
        }
        sum[0] = delta[0] * rate;
        sum[1] = sum[0] + delta[1] * rate;
        float inclusive = sum[1];
#pragma unroll
        for (int distance = 1; distance < 32; distance <<= 1) {
          float below = __shfl_up_sync(0xffffffffu, inclusive, distance);
          inclusive += lane >= distance ? below : 0.0f;
        }
        float before = inclusive - sum[1];
        __syncwarp();
        reinterpret_cast<float2 *>(sums)[lane] = make_float2(before + sum[0], before + sum[1]);
        reinterpret_cast<float2 *>(deltas)[lane] = make_float2(delta[0], delta[1]);
        __syncwarp();
      }
      copy_async_wait<0>();
      __syncthreads(); // the chunk has arrived, S is written, the previous chunk's buffers are free
      if (chunk + 1 < chunks) {
        copy(chunk + 1);
        fetch_delta(chunk + 1);
      }
      const bf16 *tile_b = stage_b(chunk), *tile_x = stage_x(chunk);
      float last = sums[kChunk - 1];
      total += last;
      constexpr int kPieces = kRows / 8;
      for (int i = threadIdx.x; i < kChunk * kPieces; i += kThreads) {
        int j = i / kPieces, k = i % kPieces * 8;
        float factor = deltas[j] * ex2(last - sums[j]), v[8];
        load_floats<8>(v, tile_x + j * kXRow + k);
#pragma unroll
        for (int e = 0; e < 8; ++e)
          v[e] *= factor;
        store_floats<8>(scaled + j * kXRow + k, v);
      }
      if constexpr (outputs)
        output(stage_c(chunk), tile_b, tile_x, out, first, rows);

      __syncthreads(); // scaled is written; every warp has read S
      float decay = ex2(last);
#pragma unroll
      for (int m = 0; m < R::kRowTiles; ++m)
#pragma unroll
        for (int p = 0; p < R::kPairs; ++p)
#pragma unroll
          for (int h = 0; h < 2; ++h)
#pragma unroll
            for (int i = 0; i < 4; ++i)
              s[m][p][h][i] *= decay;
#pragma unroll
      for (int k = 0; k < kChunk / 16; ++k) {
        u32 bf[R::kPairs][4];
#pragma unroll
        for (int p = 0; p < R::kPairs; ++p)
          if (owns(p))
            load_matrices_transposed(bf[p], tile_b +
                                                (k * 16 + lane / 8 % 2 * 8 + lane % 8) * kWideRow +
                                                (warp * R::kPairs + p) * 16 + lane / 16 * 8);
#pragma unroll
        for (int m = 0; m < R::kRowTiles; ++m) {
          u32 af[4];
          load_matrices_transposed(af, scaled + (k * 16 + lane / 16 * 8 + lane % 8) * kXRow +
                                           m * 16 + lane / 8 % 2 * 8);
#pragma unroll
          for (int p = 0; p < R::kPairs; ++p)
            if (owns(p)) {
              mma_bf16(s[m][p][0], af, bf[p][0], bf[p][1]);
              mma_bf16(s[m][p][1], af, bf[p][2], bf[p][3]);
            }
        }
      }
      if constexpr (outputs)
        write_operand();
    }
    __syncthreads(); // before another run copies over the last chunk
    return total;
  }

  // The chunk's results for 16 tokens and this warp's columns.
  M1K_DEVICE void output(const bf16 *tile_c, const bf16 *tile_b, const bf16 *tile_x, bf16 *out,
                         int first, int rows) {
    int band = warp % 4, column0 = warp / 4 * (kColumns * 8);
    if (band * 16 >= rows)
      return;
    u32 cf[kSteps][4];
#pragma unroll
    for (int k = 0; k < kSteps; ++k)
      load_matrices(cf[k], tile_c + (band * 16 + lane % 16) * kWideRow + k * 16 + lane / 16 * 8);
    int i0 = band * 16 + g;
    float sum0 = sums[i0], sum1 = sums[i0 + 8];

    // What the state before the chunk gives.
    float y[kColumns][4];
#pragma unroll
    for (int n = 0; n < kColumns; ++n)
      y[n][0] = y[n][1] = y[n][2] = y[n][3] = 0.0f;
#pragma unroll
    for (int k = 0; k < kSteps; ++k)
#pragma unroll
      for (int n = 0; n < kColumns; n += 2) {
        u32 sf[4];
        load_matrices(sf, operand + (column0 + n * 8 + lane / 16 * 8 + lane % 8) * kWideRow +
                              k * 16 + lane / 8 % 2 * 8);
        mma_bf16(y[n], cf[k], sf[0], sf[1]);
        mma_bf16(y[n + 1], cf[k], sf[2], sf[3]);
      }
    float grow0 = ex2(sum0), grow1 = ex2(sum1);
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
      y[n][0] *= grow0, y[n][1] *= grow0;
      y[n][2] *= grow1, y[n][3] *= grow1;
    }

    // What the chunk's own tokens give, 16 of them at a time.
#pragma unroll 1
    for (int j0 = 0; j0 <= band; ++j0) {
      // Two sums of alternate depths, or the products would wait for one another.
      float product[2][4] = {}, odd_product[2][4] = {};
#pragma unroll
      for (int k = 0; k < kSteps; ++k) {
        u32 bf[4];
        load_matrices(bf, tile_b + (j0 * 16 + lane / 16 * 8 + lane % 8) * kWideRow + k * 16 +
                              lane / 8 % 2 * 8);
        mma_bf16(k % 2 ? odd_product[0] : product[0], cf[k], bf[0], bf[1]);
        mma_bf16(k % 2 ? odd_product[1] : product[1], cf[k], bf[2], bf[3]);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        product[0][i] += odd_product[0][i];
        product[1][i] += odd_product[1][i];
      }
      u32 af[4];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        int j = j0 * 16 + h * 8 + 2 * t;
        float2 sum_j = *reinterpret_cast<const float2 *>(sums + j),
               delta_j = *reinterpret_cast<const float2 *>(deltas + j);
        float p0 = j <= i0 ? product[h][0] * ex2(sum0 - sum_j.x) * delta_j.x : 0.0f;
        float p1 = j + 1 <= i0 ? product[h][1] * ex2(sum0 - sum_j.y) * delta_j.y : 0.0f;
        float p2 = j <= i0 + 8 ? product[h][2] * ex2(sum1 - sum_j.x) * delta_j.x : 0.0f;
        float p3 = j + 1 <= i0 + 8 ? product[h][3] * ex2(sum1 - sum_j.y) * delta_j.y : 0.0f;
        af[2 * h] = pack_bf16(p0, p1);
        af[2 * h + 1] = pack_bf16(p2, p3);
      }
#pragma unroll
      for (int n = 0; n < kColumns; n += 2) {
        u32 xf[4];
        load_matrices_transposed(xf, tile_x + (j0 * 16 + lane / 8 % 2 * 8 + lane % 8) * kXRow +
                                         column0 + n * 8 + lane / 16 * 8);
        mma_bf16(y[n], af, xf[0], xf[1]);
        mma_bf16(y[n + 1], af, xf[2], xf[3]);
      }
    }

    // Skip; then pairs of lanes exchange halves of their tiles, so that a lane stores 8 bytes of
    // one row.
    bf16 *to = out + head * F::kP + row0 + column0;
    bool wide = F::kOutStride % 4 == 0 && (reinterpret_cast<u64>(out) & 7) == 0;
#pragma unroll
    for (int n = 0; n < kColumns; n += 2) {
      u32 packed[2][2];
#pragma unroll
      for (int e = 0; e < 2; ++e)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          float v[2];
          load_floats<2>(v, tile_x + (i0 + h * 8) * kXRow + column0 + (n + e) * 8 + 2 * t);
          packed[e][h] =
              pack_bf16(y[n + e][2 * h] + skip * v[0], y[n + e][2 * h + 1] + skip * v[1]);
        }
      // Lane 2i keeps tile n, lane 2i + 1 tile n + 1, four columns each.
      bool odd = t & 1;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        u32 other = __shfl_xor_sync(0xffffffffu, odd ? packed[0][h] : packed[1][h], 1);
        uint2 four = odd ? make_uint2(other, packed[1][h]) : make_uint2(packed[0][h], other);
        int row = i0 + h * 8;
        if (row < rows) {
          bf16 *place = to + (first + row) * static_cast<long long>(F::kOutStride) + (n + odd) * 8 +
                        t / 2 * 4;
          if (wide) {
            *reinterpret_cast<uint2 *>(place) = four;
          } else {
            place[0].bits = static_cast<unsigned short>(four.x),
            place[1].bits = static_cast<unsigned short>(four.x >> 16);
            place[2].bits = static_cast<unsigned short>(four.y),
            place[3].bits = static_cast<unsigned short>(four.y >> 16);
          }
        }
      }
    }
  }
};

template <class F>
M1K_DEVICE void ssd_states(const bf16 *x, const typename F::DT *dt, const float *a, const bf16 *b,
                           const float *dt_bias, const typename F::ST *state,
                           const int *sequence_starts, const int *slots, const int *positions,
                           float *temporary, m1_dims dims) {
  using R = SsdTraits<F, false>;
  int segment = blockIdx.y, begin = segment * F::kSegment, end = begin + F::kSegment;
  if (end >= dims.tokens)
    return;
  int sequence = find_sequence(sequence_starts, dims.sequences, end),
      start = sequence_starts[sequence];
  if (start >= end)
    return; // no sequence goes on from this segment
  Ssd<F, false> ssd(a, dt_bias, nullptr);
  float *record = temporary + static_cast<long long>(segment) * F::kRecord;
  long long head_offset = static_cast<long long>(ssd.head) * F::kP * F::kN;
  ssd.clear();
  if (start >= begin && positions[start] != 0) {
    const typename F::ST *from = state + slots[sequence] * R::kStateSize + head_offset;
    float *before = record + R::kStateSize + head_offset;
    ssd.each([&](float &value, int element) { before[element] = value = to_float(from[element]); });
  }
  float sum = ssd.run(x, dt, b, nullptr, nullptr, max(start, begin), end);
  float *states = record + head_offset;
  ssd.each([&](float &value, int element) { states[element] = value; });
  if (threadIdx.x == 0 && ssd.row0 == 0)
    record[2 * R::kStateSize + ssd.head] = sum;
}

template <class F>
M1K_DEVICE void ssd_scan(const bf16 *x, const typename F::DT *dt, const float *a, const bf16 *b,
                         const bf16 *c, const float *d, const float *dt_bias, typename F::ST *state,
                         const int *sequence_starts, const int *slots, const int *positions,
                         bf16 *out, const float *temporary, m1_dims dims) {
  using R = SsdTraits<F, true>;
  int segment = blockIdx.y, begin = segment * F::kSegment,
      end = min(begin + F::kSegment, dims.tokens);
  if (begin >= dims.tokens)
    return;
  Ssd<F, true> ssd(a, dt_bias, d);
  long long head_offset = static_cast<long long>(ssd.head) * F::kP * F::kN;
  for (int sequence = find_sequence(sequence_starts, dims.sequences, begin);
       sequence < dims.sequences && sequence_starts[sequence] < end; ++sequence) {
    int start = sequence_starts[sequence], stop = sequence_starts[sequence + 1];
    if (stop <= begin || stop == start)
      continue;
    typename F::ST *slot = state + slots[sequence] * R::kStateSize + head_offset;
    ssd.clear();
    if (start < begin) {
      float exponent = 0.0f;
      // Beyond 2^-126 nothing is left of a state.
      for (int s = segment - 1; s >= start / F::kSegment && exponent > -126.0f; --s) {
        const float *record = temporary + static_cast<long long>(s) * F::kRecord;
        float weight = ex2(exponent);
        ssd.each(
            [&](float &value, int element) { value += weight * record[head_offset + element]; });
        exponent += record[2 * R::kStateSize + ssd.head];
      }
    } else if (positions[start] != 0) {
      const float *before =
          temporary + static_cast<long long>(segment) * F::kRecord + R::kStateSize + head_offset;
      bool goes_on = stop > end;
      ssd.each([&](float &value, int element) {
        value = goes_on ? before[element] : to_float(slot[element]);
      });
    }
    ssd.run(x, dt, b, c, out, max(start, begin), min(stop, end));
    if (stop <= end)
      ssd.each(
          [&](float &value, int element) { slot[element] = from_float<typename F::ST>(value); });
  }
}

} // namespace m1k

#endif
