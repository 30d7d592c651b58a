// Prefill of the gated delta rule as in delta_chunks.cuh, with Hopper's warpgroup products; code
// for other GPUs, as PTX for newer ones is, does what delta_chunks does in the same launch.
//
// delta_warpgroup: grid (heads · V / 64, sequences). A sequence is a chain of tiles, whose products
// wait for one another, so one warpgroup does nothing but those two: it takes 64 columns of the
// state over the tiles, transposed (Sᵀ, δᵀ), so that the results of one product are the operand in
// registers of the next. While they run it leaves Sᵀ and δᵀ in shared memory, where a second
// warpgroup takes them for the outputs, Sᵀ·Qᵀ and δᵀ·Pᵀ. A third one copies the tiles to come into
// stages. Barriers say that a stage, or what is left, is full or may be written again.
//
// Rounding is that of delta_chunks. P is a whole tile here, with zeros above the diagonal.
//
// Facts F: as in delta_chunks.cuh, kK 128, kWarps 4.
#ifndef M1K_DELTA_WARPGROUP_CUH
#define M1K_DELTA_WARPGROUP_CUH

#include "warpgroup.cuh"

#include "delta_chunks.cuh"

namespace m1k {

#ifdef M1K_WARPGROUPS

template <class F> struct DeltaWarpgroup {
  using R = DeltaTraits<F>;
  static constexpr int kTile = R::kTile, kSteps = R::kSteps, kColumns = 64, kVRow = kColumns + 8;
  static constexpr int kHalfBytes = kTile * kSwizzledRow, kHalves = F::kK / 64;
  static constexpr int kKeyBytes = kHalves * kHalfBytes;
  // A stage of input: K and W in parts of 64 columns; U; the factors of δ and of the state.
  static constexpr int kInputs = 3, kRightSide = 2 * kKeyBytes,
                       kFactors = kRightSide + kTile * kVRow * 2,
                       kInputStage = round_up(kFactors + 2 * R::kFactorBytes, kSwizzledRows);
  // Of output: Q; P; the factor of Q·S.
  static constexpr int kOutputs = 2, kOutputFactor = kKeyBytes + kHalfBytes,
                       kOutputStage = round_up(kOutputFactor + R::kFactorBytes, kSwizzledRows);
  // What the first warpgroup leaves to the second, 16 bytes a lane and step: S, δ.
  static constexpr int kLefts = 2, kLeft = 4 * (kSteps + 4) * 512;
  static constexpr int kOutput = kInputs * kInputStage, kLeftAt = kOutput + kOutputs * kOutputStage,
                       kBarriers = kLeftAt + kLefts * kLeft;
  static constexpr int kBytes = kSwizzledRows + kBarriers + (kInputs + kOutputs + kLefts) * 16;
  static_assert(F::kK == 128, "the state's rows are those of one product");
  static_assert(kBytes <= F::kSharedBytes, "the launch reserves too little shared memory");

  unsigned char *shared;
  u32 address;          // of `shared`
  int lane, g, t, warp; // the last of the warpgroup

  M1K_DEVICE DeltaWarpgroup()
      : lane(threadIdx.x % 32), g(lane / 4), t(lane % 4), warp(threadIdx.x / 32 % 4) {
    shared = m1k_shared + (-shared_address(m1k_shared) & (kSwizzledRows - 1));
    address = shared_address(shared);
  }

  // The places of a ring in turn, with the parity of their phase.
  template <int count, int first_barrier, int offset, int bytes> struct Ring {
    int index = 0, parity = 0;
    M1K_DEVICE int barrier() const { return kBarriers + (first_barrier + index) * 16; }
    M1K_DEVICE int place() const { return offset + index * bytes; }
    M1K_DEVICE void next() {
      if (++index == count)
        index = 0, parity ^= 1;
    }
  };
  using InputRing = Ring<kInputs, 0, 0, kInputStage>;
  using OutputRing = Ring<kOutputs, kInputs, kOutput, kOutputStage>;
  using LeftRing = Ring<kLefts, kInputs + kOutputs, kLeftAt, kLeft>;
  // Barriers of a place: it is full; it may be written.
  template <class At> M1K_DEVICE u32 full(const At &at) const { return address + at.barrier(); }
  template <class At> M1K_DEVICE u32 empty(const At &at) const { return full(at) + 8; }
  M1K_DEVICE uint4 *left(const LeftRing &at) const {
    return reinterpret_cast<uint4 *>(shared + at.place() + warp * kLeft / 4) + lane;
  }
  // By a warpgroup that copies or reads: waits until it may, says that it did.
  template <class At> M1K_DEVICE void wait_full(const At &at) const {
    barrier_wait(full(at), at.parity);
  }
  template <class At> M1K_DEVICE void wait_empty(const At &at) const {
    barrier_wait(empty(at), at.parity ^ 1);
  }
  template <class At> M1K_DEVICE void release(At &at) const { // of each warp
    __syncwarp();
    if (lane == 0)
      barrier_arrive(empty(at));
    at.next();
  }

  // By all threads of the block, before it meets.
  M1K_DEVICE void begin() const {
    if (threadIdx.x == 0)
      for (int i = 0; i < kInputs + kOutputs + kLefts; ++i) {
        u32 barrier = address + kBarriers + i * 16;
        barrier_init(barrier, 128);
        barrier_init(barrier + 8, 4); // a warp's first lane each
      }
    // Blocks of P above the diagonal are never copied.
    if (threadIdx.x < 128)
      for (int stage = 0; stage < kOutputs; ++stage)
#pragma unroll 4
        for (int i = threadIdx.x; i < kHalfBytes / 16; i += 128)
          *reinterpret_cast<uint4 *>(shared + kOutput + stage * kOutputStage + kKeyBytes + i * 16) =
              make_uint4(0, 0, 0, 0);
  }

  // By the warps that copy, thread 0 to 127 of them: rows [low, high) of a tile, zeros elsewhere.
  template <bool vectors>
  M1K_DEVICE static void copy_swizzled(int thread, unsigned char *to, const bf16 *from, int stride,
                                       int low, int high) {
    constexpr int kPieces = F::kK / 8, kRows = 128 / kPieces; // at once
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
      for (int i = thread; i < kTile * F::kK; i += 128) {
        int t = i / F::kK, j = i % F::kK;
        *reinterpret_cast<bf16 *>(to + j / 64 * kHalfBytes + t * kSwizzledRow +
                                  ((j / 8 % 8 ^ t % 8) << 4) + j % 8 * 2) =
            t >= low && t < high ? from[t * stride + j] : from_float<bf16>(0.0f);
      }
    }
  }
  M1K_DEVICE void copy_products(int thread, unsigned char *to, const unsigned char *record) const {
#pragma unroll
    for (int i = 0; i < R::kBlocks; i += 4) {
      int n = i + thread / 32;
      if (n < R::kBlocks) {
        int row = n >= 6 ? 3 : n >= 3 ? 2 : n >= 1 ? 1 : 0, column = n - R::block_of(row, 0);
        int r = lane / 2, piece = column * 2 + lane % 2;
        copy_async16(to + (row * 16 + r) * kSwizzledRow + ((piece ^ r % 8) << 4),
                     record + R::kSystemBytes + n * R::kBlockBytes + lane * 16, true);
      }
    }
  }
  M1K_DEVICE static void copy_bytes(int thread, unsigned char *to, const unsigned char *from,
                                    int bytes) {
    if (thread * 16 < bytes)
      copy_async16(to + thread * 16, from + thread * 16, true);
  }

  // sums (+)= operandᵀ · rowsᵀ over the state's rows, of W or Q.
  M1K_DEVICE static void multiply_rows(float (&sums)[32], u32 (&operand)[kSteps][4], u32 rows,
                                       bool add) {
    keep(sums);
    keep(operand);
    products_begin();
#pragma unroll
    for (int k = 0; k < kSteps; ++k)
      product(sums, operand[k], product_operand(rows + k / 4 * kHalfBytes + k % 4 * 32),
              add || k > 0);
    products_commit();
  }

  // The first warpgroup's: takes s over `count` tiles of which tile(i) says the sequence's tokens.
  // Element 4n + i of s is of column g + i / 2 · 8 of the warp's 16 and row n · 8 + 2t + i % 2.
  template <class Tile> M1K_DEVICE void take_state(float (&s)[F::kK / 2], int count, Tile tile) {
    float x[32];
    u32 sf[kSteps][4], plain[4][4], decayed[4][4];
    auto element = [&](int n, int i) -> float & { return x[4 * n + i]; };
    InputRing at;
    LeftRing to;
    auto load = [&] {
      wait_full(at);
      fence_async();
      DeltaTile<F>::template load_right_side<kVRow>(
          reinterpret_cast<const bf16 *>(shared + at.place() + kRightSide) + warp * 16, element);
    };
    auto pack = [&] {
#pragma unroll
      for (int k = 0; k < kSteps; ++k)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          sf[k][e] = pack_bf16(s[8 * k + 2 * e], s[8 * k + 2 * e + 1]);
    };
    load();
    pack();
    for (int i = 0; i < count; ++i) {
      const DeltaTile<F> tokens = tile(i);
      const u32 stage = address + at.place();
      const float *factors = reinterpret_cast<const float *>(shared + at.place() + kFactors);
      multiply_rows(x, sf, stage + kKeyBytes, true);
      wait_empty(to);
      uint4 *leaves = left(to);
#pragma unroll
      for (int k = 0; k < kSteps; ++k)
        leaves[k * 32] = make_uint4(sf[k][0], sf[k][1], sf[k][2], sf[k][3]);
      const float kept = factors[kTile + tokens.high - 1];
#pragma unroll
      for (int n = 0; n < F::kK / 2; ++n)
        s[n] *= kept;
      products_wait<0>();
      keep(x);
      keep(sf);

      tokens.round(element, factors, plain, decayed);
      keep(s);
      keep(decayed);
      products_begin();
#pragma unroll
      for (int k = 0; k < 4; ++k)
        product_by_rows(s, decayed[k], product_operand(stage + k * 16 * kSwizzledRow, kHalfBytes));
      products_commit();
#pragma unroll
      for (int n = 0; n < 4; ++n)
        leaves[(kSteps + n) * 32] = make_uint4(plain[n][0], plain[n][1], plain[n][2], plain[n][3]);
      barrier_arrive(full(to));
      to.next();
      InputRing taken = at;
      at.next();
      if (i + 1 < count)
        load();
      products_wait<0>();
      keep(s);
      keep(decayed);
      release(taken);
      pack();
    }
  }

  // The second one's; `out` is the first tile's first row.
  template <class Tile> M1K_DEVICE void write_outputs(bf16 *out, int count, Tile tile) {
    float y[32];
#pragma unroll
    for (int i = 0; i < 32; ++i)
      y[i] = 0.0f;
    u32 sf[kSteps][4], plain[4][4];
    OutputRing at;
    LeftRing from;
    auto take = [](u32(&operand)[4], uint4 four) {
      operand[0] = four.x, operand[1] = four.y, operand[2] = four.z, operand[3] = four.w;
    };
    for (int i = 0; i < count; ++i) {
      const u32 stage = address + at.place();
      const float *factors = reinterpret_cast<const float *>(shared + at.place() + kOutputFactor);
      wait_full(from);
      const uint4 *leaves = left(from);
#pragma unroll
      for (int k = 0; k < kSteps; ++k)
        take(sf[k], leaves[k * 32]);
#pragma unroll
      for (int k = 0; k < 4; ++k)
        take(plain[k], leaves[(kSteps + k) * 32]);
      release(from);
      wait_full(at);
      fence_async();
      multiply_rows(y, sf, stage, false);
      products_wait<0>();
      keep(y);
      keep(sf);
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        float2 factor = *reinterpret_cast<const float2 *>(factors + n * 8 + 2 * t);
        y[4 * n] *= factor.x, y[4 * n + 1] *= factor.y;
        y[4 * n + 2] *= factor.x, y[4 * n + 3] *= factor.y;
      }
      keep(y);
      keep(plain);
      products_begin();
#pragma unroll
      for (int k = 0; k < 4; ++k)
        product(y, plain[k], product_operand(stage + kKeyBytes + k * 32), true);
      products_commit();
      products_wait<0>();
      keep(y);
      keep(plain);
      release(at);
      tile(i).write(out + i * (static_cast<long long>(kTile) * F::kOutStride) + warp * 16,
                    [&](int n, int i) { return y[4 * n + i]; });
    }
  }
};

#endif

template <class F>
M1K_DEVICE void delta_warpgroup(const bf16 *q, const bf16 *k, typename F::ST *state,
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
  if (sequence >= dims.sequences)
    return;
  int start = sequence_starts[sequence], end = sequence_starts[sequence + 1];
  if (start >= end)
    return;
  D block;
  int head = blockIdx.x / kSlices, column0 = blockIdx.x % kSlices * D::kColumns;
  int first = start / kTile, count = (end - 1) / kTile - first + 1;
  auto tile = [&](int i) {
    return DeltaTile<F>{max(start - (first + i) * kTile, 0), min(end - (first + i) * kTile, kTile)};
  };
  block.begin();
  fence_async();
  __syncthreads();

  // 384 threads begin with 168 registers each.
  if (threadIdx.x >= 256) {
    leave_registers<104>();
    int thread = threadIdx.x - 256;
    const bf16 *keys = k + head / F::kShare * F::kK, *queries = q + head / F::kShare * F::kK;
    typename D::InputRing input;
    typename D::OutputRing output;
    for (int i = 0; i < count; ++i) {
      const DeltaTile<F> tokens = tile(i);
      const long long row = (first + i) * static_cast<long long>(kTile);
      const unsigned char *record =
          R::record(const_cast<unsigned char *>(temporary), const_cast<unsigned char *>(workspace),
                    first + i, head, dims.tokens);
      block.wait_empty(input);
      unsigned char *stage = block.shared + input.place();
      D::template copy_swizzled<F::kKStride % 8 == 0>(thread, stage, keys + row * F::kKStride,
                                                      F::kKStride, tokens.low, tokens.high);
      D::template copy_swizzled<true>(thread, stage + D::kKeyBytes,
                                      reinterpret_cast<const bf16 *>(record), F::kK, 0, kTile);
      copy_rows<D::kColumns, D::kVRow, true, 128>(
          thread, reinterpret_cast<bf16 *>(stage + D::kRightSide),
          reinterpret_cast<const bf16 *>(record + R::kRightSide) + column0, F::kV, 0, kTile);
      D::copy_bytes(thread, stage + D::kFactors, record + R::kFactors, 2 * R::kFactorBytes);
      barrier_arrive_after_copies(block.full(input));
      input.next();

      block.wait_empty(output);
      stage = block.shared + output.place();
      D::template copy_swizzled<F::kQStride % 8 == 0>(thread, stage, queries + row * F::kQStride,
                                                      F::kQStride, tokens.low, tokens.high);
      block.copy_products(thread, stage + D::kKeyBytes, record);
      D::copy_bytes(thread, stage + D::kOutputFactor, record + R::kRecordBytes - R::kFactorBytes,
                    R::kFactorBytes);
      barrier_arrive_after_copies(block.full(output));
      output.next();
    }
    return;
  }
  if (threadIdx.x >= 128) {
    leave_registers<152>();
    block.write_outputs(out + first * static_cast<long long>(kTile) * F::kOutStride + head * F::kV +
                            column0,
                        count, tile);
    return;
  }

  take_registers<240>();
  ST *place = state + (static_cast<long long>(slots[sequence]) * F::kHeads + head) * F::kK * F::kV +
              column0 + block.warp * 16 + block.g;
  float s[F::kK / 2];
  auto each = [&](auto function) {
#pragma unroll
    for (int n = 0; n < F::kK / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        function(s[4 * n + i], (n * 8 + 2 * block.t + i % 2) * F::kV + i / 2 * 8);
  };
  bool fresh = positions[start] == 0;
  each([&](float &value, int at) { value = fresh ? 0.0f : to_float(place[at]); });
  block.take_state(s, count, tile);
  each([&](float &value, int at) { place[at] = from_float<ST>(value); });
#else
  if (threadIdx.x >= 64 * F::kWarps + 32)
    return;
  delta_chunks<F>(q, k, state, sequence_starts, slots, positions, out, workspace, temporary, dims);
#endif
}

} // namespace m1k

#endif
