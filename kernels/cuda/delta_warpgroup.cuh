// Prefill of the gated delta rule as in delta_chunks.cuh, with Hopper's warpgroup products; code
// for other GPUs, as PTX for newer ones is, does what delta_chunks does in the same launch.
//
// delta_warpgroup: grid (heads · V / 64, sequences). A sequence is a chain of tiles, whose products
// wait for one another. One warpgroup takes 64 columns of the state over the tiles, transposed (Sᵀ,
// δᵀ), so that the results of one product are the operand in registers of the next: Sᵀ·Kᵀ, the
// right side, times T, δᵀ, S. While those run or their results are worked on, the products of the
// outputs do, Sᵀ·Qᵀ and δᵀ·Pᵀ; the last tile's outputs are stored under the first product. A second
// warpgroup copies the tiles to come into stages, whose barriers say that one is full or empty
// again; a third only gives its registers to the first.
//
// Rounding is that of delta_chunks. T and P are whole tiles here, with zeros above the diagonal.
//
// Facts F: as in delta_chunks.cuh, kK 128, kWarps 4; kStages.
#ifndef M1K_DELTA_WARPGROUP_CUH
#define M1K_DELTA_WARPGROUP_CUH

#include "warpgroup.cuh"

#include "delta_chunks.cuh"

namespace m1k {

#ifdef M1K_WARPGROUPS

// By threads 0 to 127: rows [low, high) of a tile as products take them, in parts of 64 columns,
// zeros elsewhere.
template <int columns, bool vectors>
M1K_DEVICE void copy_swizzled(int thread, unsigned char *to, const bf16 *from, int stride, int low,
                              int high) {
  constexpr int kTile = 64, kHalfBytes = kTile * kSwizzledRow; // 64 columns
  constexpr int kPieces = columns / 8, kRows = 128 / kPieces;  // at once
  int first = thread / kPieces, piece = thread % kPieces;
  if (vectors && aligned16(from)) {
    to += piece / 8 * kHalfBytes + first * kSwizzledRow + ((piece % 8 ^ first % 8) << 4);
    const bf16 *row = from + first * stride + piece * 8;
#pragma unroll
    for (int i = 0; i < kTile; i += kRows) {
      bool valid = first + i >= low && first + i < high;
      copy_async16(to + i * kSwizzledRow, valid ? row : from, valid);
      row += kRows * stride;
    }
  } else {
    for (int i = thread; i < kTile * columns; i += 128) {
      int t = i / columns, j = i % columns;
      *reinterpret_cast<bf16 *>(to + j / 64 * kHalfBytes + t * kSwizzledRow +
                                ((j / 8 % 8 ^ t % 8) << 4) + j % 8 * 2) =
          t >= low && t < high ? from[t * stride + j] : from_float<bf16>(0.0f);
    }
  }
}

template <class F> struct DeltaWarpgroup {
  using R = DeltaTraits<F>;
  static constexpr int kTile = R::kTile, kSteps = R::kSteps, kColumns = 64, kVRow = kColumns + 8;
  static constexpr int kHalfBytes = kTile * kSwizzledRow, kHalves = F::kK / 64;
  // A stage: K and Q in parts of 64 columns; T's first and second parts and P; V; the factors.
  static constexpr int kKeyBytes = kHalves * kHalfBytes, kValueBytes = kTile * kVRow * 2;
  static constexpr int kSystem = 2 * kKeyBytes, kValues = kSystem + 3 * kHalfBytes,
                       kFactors = kValues + kValueBytes,
                       kStageBytes = kFactors + 4 * R::kFactorBytes;
  static constexpr int kBytes = kSwizzledRows + F::kStages * (kStageBytes + 16);
  static_assert(F::kK == 128, "the state's rows are those of one product");
  static_assert(kStageBytes % kSwizzledRows == 0, "tiles begin at whole swizzles");
  static_assert(kBytes <= F::kSharedBytes, "the launch reserves too little shared memory");

  unsigned char *stages;
  u32 address, barriers; // of the stages
  int lane, g, t, warp;  // the last of the warpgroup

  M1K_DEVICE DeltaWarpgroup()
      : lane(threadIdx.x % 32), g(lane / 4), t(lane % 4), warp(threadIdx.x / 32 % 4) {
    stages = m1k_shared + (-shared_address(m1k_shared) & (kSwizzledRows - 1));
    address = shared_address(stages);
    barriers = address + F::kStages * kStageBytes;
  }
  M1K_DEVICE u32 full(int stage) const { return barriers + stage * 16; }
  M1K_DEVICE u32 empty(int stage) const { return full(stage) + 8; }

  // By all threads of the block, before it meets.
  M1K_DEVICE void begin() const {
    if (threadIdx.x == 0)
      for (int stage = 0; stage < F::kStages; ++stage) {
        barrier_init(full(stage), 128);
        barrier_init(empty(stage), 4); // a warp's first lane each
      }
    // Blocks above the diagonal of T and P are never copied.
    if (threadIdx.x < 128)
      for (int stage = 0; stage < F::kStages; ++stage)
#pragma unroll 4
        for (int i = threadIdx.x; i < 3 * kHalfBytes / 16; i += 128)
          *reinterpret_cast<uint4 *>(stages + stage * kStageBytes + kSystem + i * 16) =
              make_uint4(0, 0, 0, 0);
  }

  M1K_DEVICE void copy_record(int thread, unsigned char *stage, const unsigned char *record) const {
#pragma unroll
    for (int i = 0; i < 3 * R::kBlocks; i += 4) {
      int block = i + thread / 32; // of T's first part, its second part, P
      if (block < 3 * R::kBlocks) {
        int part = block / R::kBlocks, n = block % R::kBlocks;
        int row = n >= 6 ? 3 : n >= 3 ? 2 : n >= 1 ? 1 : 0, column = n - R::block_of(row, 0);
        int r = lane / 2, piece = column * 2 + lane % 2;
        copy_async16(stage + kSystem + part * kHalfBytes + (row * 16 + r) * kSwizzledRow +
                         ((piece ^ r % 8) << 4),
                     record + block * R::kBlockBytes + (part == 2 ? 3 * R::kFactorBytes : 0) +
                         lane * 16,
                     true);
      }
    }
    // Of the four factors the last one is behind P.
    constexpr int kPieces = R::kFactorBytes / 16;
    if (thread < 4 * kPieces)
      copy_async16(stage + kFactors + thread * 16,
                   record + 2 * R::kBlocks * R::kBlockBytes + thread * 16 +
                       (thread >= 3 * kPieces ? R::kBlocks * R::kBlockBytes : 0),
                   true);
  }

  // The outputs of tokens [low, high) of the tile before; `out` is its first row.
  M1K_DEVICE void write(bf16 *out, int low, int high) const {
    bool wide = F::kOutStride % 2 == 0 && (reinterpret_cast<u64>(out) & 3) == 0;
    out += warp * 16 + 2 * t;
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      int token = n * 8 + g;
      bf16 *place = out + token * F::kOutStride;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        u32 two = transpose_matrix(last[n][h]);
        if (token < low || token >= high)
          continue;
        if (wide) {
          *reinterpret_cast<u32 *>(place + h * 8) = two;
        } else {
          place[h * 8].bits = static_cast<unsigned short>(two);
          place[h * 8 + 1].bits = static_cast<unsigned short>(two >> 16);
        }
      }
    }
  }

  // Columns and rows of the state that a lane holds: element 4n + i of s, and of the others below,
  // is of column g + i / 2 · 8 of the warp's 16 and row (token) n · 8 + 2t + i % 2.
  float s[F::kK / 2], x[32], y[32];
  // S as an operand, and the tile's y when it is done: of registers that products are summed in
  // the compiler has all others wait.
  u32 sf[kSteps][4], last[8][2];

  M1K_DEVICE void pack() {
#pragma unroll
    for (int k = 0; k < kSteps; ++k)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        sf[k][e] = pack_bf16(s[8 * k + 4 * (e / 2) + 2 * (e % 2)],
                             s[8 * k + 4 * (e / 2) + 2 * (e % 2) + 1]);
  }
  // sums = Sᵀ · rowsᵀ, of K or Q.
  M1K_DEVICE void multiply_rows(float (&sums)[32], u32 rows) {
    const u64 first = product_operand(rows);
    keep(sums);
    keep(sf);
    products_begin();
#pragma unroll
    for (int k = 0; k < kSteps; ++k)
      product(sums, sf[k], operand_after(first, k / 4 * kHalfBytes + k % 4 * 32), k > 0);
    products_commit();
  }

  // Takes s over tokens [low, high) of the stage's tile, and leaves their outputs. Under the first
  // product write_last() stores those of the tile before.
  template <class Write> M1K_DEVICE void advance(int index, int low, int high, Write write_last) {
    u32 stage = address + index * kStageBytes;
    const unsigned char *bytes = stages + index * kStageBytes;
    const bf16 *values = reinterpret_cast<const bf16 *>(bytes + kValues);
    const float *factors = reinterpret_cast<const float *>(bytes + kFactors);
    bool partial = low > 0 || high < kTile;
    auto inside = [&](int token) { return !partial || (token >= low && token < high); };

    multiply_rows(x, stage);
    write_last();
    multiply_rows(y, stage + kKeyBytes);
    products_wait<1>();
    keep(x);

    // The right side, as two operands whose sum it is.
    u32 rh[4][4], rl[4][4];
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      u32 vf[4];
      load_matrices_transposed(vf, values + (n * 16 + lane / 16 * 8 + lane % 8) * kVRow +
                                       warp * 16 + lane / 8 % 2 * 8);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        int token = n * 16 + h * 8 + 2 * t;
        float2 factor = *reinterpret_cast<const float2 *>(factors + token);
        factor.x = inside(token) ? factor.x : 0.0f;
        factor.y = inside(token + 1) ? factor.y : 0.0f;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          u32 v = vf[2 * h + r];
          const float *seen = x + 4 * (2 * n + h) + 2 * r;
          float r0 = __uint_as_float(v << 16) - factor.x * seen[0],
                r1 = __uint_as_float(v & 0xffff0000u) - factor.y * seen[1];
          split_bf16(r0, r1, rh[n][2 * h + r], rl[n][2 * h + r]);
        }
      }
    }
    products_wait<0>();
    keep(y);
    keep(sf);

    // δ
    const u64 solution = product_operand(stage + kSystem);
    keep(x);
    keep(rh);
    keep(rl);
    products_begin();
#pragma unroll
    for (int k = 0; k < 4; ++k)
      product(x, rh[k], operand_after(solution, k * 32), k > 0);
#pragma unroll
    for (int k = 0; k < 4; ++k)
      product(x, rl[k], operand_after(solution, k * 32), true);
#pragma unroll
    for (int k = 0; k < 4; ++k)
      product(x, rh[k], operand_after(solution, kHalfBytes + k * 32), true);
    products_commit();
    float kept = factors[2 * kTile + high - 1];
#pragma unroll
    for (int i = 0; i < F::kK / 2; ++i)
      s[i] *= kept;
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      float2 factor = *reinterpret_cast<const float2 *>(factors + 3 * kTile + n * 8 + 2 * t);
      y[4 * n] *= factor.x, y[4 * n + 1] *= factor.y;
      y[4 * n + 2] *= factor.x, y[4 * n + 3] *= factor.y;
    }
    products_wait<0>();
    keep(x);
    keep(rh);
    keep(rl);

    u32 df[4][4], plain[4][4];
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        int token = n * 16 + h * 8 + 2 * t;
        float2 factor = *reinterpret_cast<const float2 *>(factors + kTile + token);
        bool first = inside(token), second = inside(token + 1);
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const float *delta = x + 4 * (2 * n + h) + 2 * r;
          plain[n][2 * h + r] = pack_bf16(first ? delta[0] : 0.0f, second ? delta[1] : 0.0f);
          df[n][2 * h + r] =
              pack_bf16(first ? delta[0] * factor.x : 0.0f, second ? delta[1] * factor.y : 0.0f);
        }
      }
    keep(s);
    keep(y);
    keep(df);
    keep(plain);
    const u64 keys = product_operand(stage, kHalfBytes);
    products_begin();
#pragma unroll
    for (int k = 0; k < 4; ++k)
      product_by_rows(s, df[k], operand_after(keys, k * 16 * kSwizzledRow));
    products_commit();
#pragma unroll
    for (int k = 0; k < 4; ++k)
      product(y, plain[k], operand_after(solution, 2 * kHalfBytes + k * 32), true);
    products_commit();
    products_wait<1>();
    keep(s);
    keep(df);
    pack();
    products_wait<0>();
    keep(y);
    keep(plain);
#pragma unroll
    for (int n = 0; n < 8; ++n)
#pragma unroll
      for (int h = 0; h < 2; ++h)
        last[n][h] = pack_bf16(y[4 * n + 2 * h], y[4 * n + 2 * h + 1]);
  }
};

#endif

template <class F>
M1K_DEVICE void delta_warpgroup(const bf16 *q, const bf16 *k, const bf16 *v, typename F::ST *state,
                                const int *sequence_starts, const int *slots, const int *positions,
                                bf16 *out, const unsigned char *workspace,
                                const unsigned char *temporary, m1_dims dims) {
#ifdef M1K_WARPGROUPS
  using R = DeltaTraits<F>;
  using D = DeltaWarpgroup<F>;
  using ST = typename F::ST;
  constexpr int kTile = R::kTile, kSlices = F::kV / D::kColumns;
  static_assert(F::kV % D::kColumns == 0, "whole tiles");
  int sequence = blockIdx.y;
  if (sequence >= dims.sequences || R::passes(dims))
    return;
  int start = sequence_starts[sequence], end = sequence_starts[sequence + 1];
  if (start >= end)
    return;
  D block;
  int head = blockIdx.x / kSlices, column0 = blockIdx.x % kSlices * D::kColumns;
  int first = start / kTile, count = (end - 1) / kTile - first + 1;
  auto low_of = [&](int tile) { return max(start - (first + tile) * kTile, 0); };
  auto high_of = [&](int tile) { return min(end - (first + tile) * kTile, kTile); };
  auto row_of = [&](int tile) { return (first + tile) * static_cast<long long>(kTile); };
  block.begin();
  fence_async();
  __syncthreads();

  // 384 threads begin with 168 registers each.
  if (threadIdx.x >= 256) {
    leave_registers<24>();
    return;
  }
  if (threadIdx.x >= 128) {
    int thread = threadIdx.x - 128;
    const bf16 *keys = k + head / F::kShare * F::kK, *queries = q + head / F::kShare * F::kK,
               *values = v + head * F::kV + column0;
    for (int i = 0, index = 0, parity = 1; i < count; ++i) {
      barrier_wait(block.empty(index), parity);
      unsigned char *stage = block.stages + index * D::kStageBytes;
      int low = low_of(i), high = high_of(i);
      copy_swizzled<F::kK, F::kKStride % 8 == 0>(thread, stage, keys + row_of(i) * F::kKStride,
                                                 F::kKStride, low, high);
      copy_swizzled<F::kK, F::kQStride % 8 == 0>(
          thread, stage + D::kKeyBytes, queries + row_of(i) * F::kQStride, F::kQStride, low, high);
      copy_rows<D::kColumns, D::kVRow, F::kVStride % 8 == 0, 128>(
          thread, reinterpret_cast<bf16 *>(stage + D::kValues), values + row_of(i) * F::kVStride,
          F::kVStride, low, high);
      block.copy_record(thread, stage,
                        R::record(const_cast<unsigned char *>(temporary),
                                  const_cast<unsigned char *>(workspace), first + i, head,
                                  dims.tokens));
      barrier_arrive_after_copies(block.full(index));
      if (++index == F::kStages)
        index = 0, parity ^= 1;
    }
    return;
  }

  take_registers<240>();
  ST *place = state + (static_cast<long long>(slots[sequence]) * F::kHeads + head) * F::kK * F::kV +
              column0 + block.warp * 16 + block.g;
  auto each = [&](auto function) {
#pragma unroll
    for (int n = 0; n < F::kK / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        function(block.s[4 * n + i], (n * 8 + 2 * block.t + i % 2) * F::kV + i / 2 * 8);
  };
  bool fresh = positions[start] == 0;
  each([&](float &value, int at) { value = fresh ? 0.0f : to_float(place[at]); });
#pragma unroll
  for (int i = 0; i < 32; ++i)
    block.x[i] = block.y[i] = 0.0f;
  block.pack();
  out += head * F::kV + column0;
  auto write = [&](int tile) {
    block.write(out + row_of(tile) * F::kOutStride, low_of(tile), high_of(tile));
  };
  for (int i = 0, index = 0, parity = 0; i < count; ++i) {
    barrier_wait(block.full(index), parity);
    fence_async();
    block.advance(index, low_of(i), high_of(i), [&] {
      if (i > 0)
        write(i - 1);
    });
    __syncwarp();
    if (block.lane == 0)
      barrier_arrive(block.empty(index));
    if (++index == F::kStages)
      index = 0, parity ^= 1;
  }
  write(count - 1);
  each([&](float &value, int at) { place[at] = from_float<ST>(value); });
#else
  if (threadIdx.x >= 64 * F::kWarps + 32)
    return;
  delta_chunks<F>(q, k, v, state, sequence_starts, slots, positions, out, workspace, temporary,
                  dims);
#endif
}

} // namespace m1k

#endif
