// Prefill of the gated delta rule as in delta_chunks.cuh for steps of few sequences, whose chains
// leave much of the chip idle: two launches, of which the second begins early and takes tiles as
// the first makes them. For Hopper's warpgroup products; code for other GPUs, as PTX for newer ones
// is, leaves all steps to the launches for many sequences.
//
// In the names of delta_chunks.cuh: δ = U - W S with U = T V and W = T 2^g K (the chunked form of
// arXiv 2406.06484), so that of a tile's three products that wait for one another two are left in
// the chain.
//
// delta_records: grid (multiprocessors). A record is -W, U and P in bf16, three factors a token and
//   a word that says that the rest is written. Memory is anything before: the words are cleared
//   before the chain is let begin. It begins when all blocks here have said so, which are then on
//   the chip and wait for nothing: however few of its blocks find a place beside them, none waits
//   for a record that nobody makes.
// delta_chain: grid (kMost · heads · V / 64). One warpgroup does nothing but a sequence's two
//   products a tile: it takes 64 columns of the state over the tiles, transposed (Sᵀ, δᵀ), so that
//   the results of one product are the operand in registers of the next. While they run it leaves
//   Sᵀ and δᵀ in shared memory, where a second warpgroup takes them for the outputs, Sᵀ·Qᵀ and
//   δᵀ·Pᵀ. A third one copies the tiles to come into stages. Barriers say that a stage, or what is
//   left, is full or may be written again. What delta_records reads may not lie where outputs do:
//   the launches for many sequences, which come later in the plan, read it too.
//
// Rounded to bf16: W and U, S where it meets W and Q, 2^(g_last - g_j) δ_j where it meets K, δ
// where it meets P. A row of W is a product of contractions, β_t k_tᵀ Π 2^α (I - β k kᵀ), so its
// rounding weighs as that of a key. P is a whole tile here, with zeros above the diagonal. What is
// no number stays in its sequence; in a tile that is not all one sequence's, one such value of V
// spoils its token's whole head from there on.
//
// Facts F: as in delta_chunks.cuh, kK 128, without kWarps; kMost, sequences of a step; kGroups and
// kChains of delta_records.
#ifndef M1K_DELTA_OVERLAP_WARPGROUP_CUH
#define M1K_DELTA_OVERLAP_WARPGROUP_CUH

#include "warpgroup.cuh"

#include "delta_chunks.cuh"
#include "delta_warpgroup.cuh"

namespace m1k {

#ifdef M1K_WARPGROUPS

template <class F> struct DeltaRecord {
  using Tiles = DeltaTraits<F>;
  static constexpr int kTile = Tiles::kTile, kRow = Tiles::kRow, kSteps = Tiles::kSteps,
                       kBlocks = Tiles::kBlocks, kBlockBytes = Tiles::kBlockBytes,
                       kFactorBytes = Tiles::kFactorBytes;
  // The record: -W and U in parts of 64 columns, as products take them; factors of δ in the state,
  // of the state; P; the factor of Q·S; 1 when all of it is written.
  static constexpr int kRightSide = kTile * F::kK * 2, kFactors = kRightSide + kTile * F::kV * 2,
                       kSystemBytes = kFactors + 2 * kFactorBytes,
                       kOutputBytes = kBlocks * kBlockBytes + kFactorBytes,
                       kReady = kSystemBytes + kOutputBytes, kRecordBytes = kReady + 16;
  // Of a group of threads that makes one.
  static constexpr int kThreads = Tiles::kPrepareThreads, kVRow = F::kV + 8;
  static constexpr int kRowsBytes = Tiles::kRowsBytes,
                       kValues = kRowsBytes + max_of(kRowsBytes, Tiles::kPartsBytes),
                       kTokens = kValues + kTile * kVRow * 2,
                       kGroupBytes = kTokens + 7 * kFactorBytes;

  M1K_DEVICE static unsigned char *record(unsigned char *temporary, unsigned char *workspace,
                                          int tile, int head, int tokens) {
    if ((tile + 1) * kTile <= tokens)
      return temporary + (static_cast<long long>(tile) * F::kHeads + head) * kRecordBytes;
    return workspace + static_cast<long long>(head) * kRecordBytes;
  }
  // Bytes before an element of W or U.
  M1K_DEVICE static constexpr int place(int row, int column) {
    return column / 64 * (kTile * kSwizzledRow) + row * kSwizzledRow +
           ((column / 8 % 8 ^ row % 8) << 4) + column % 8 * 2;
  }
};

// What the chain does with a warp's 16 columns of a tile. Element i of tile n of x,
// which x(n, i) names, is of column g + i / 2 · 8 and token n · 8 + 2t + i % 2.
template <class F> struct DeltaTile {
  using R = DeltaRecord<F>;
  int low, high; // the sequence's tokens

  // x = Uᵀ; place(row, piece): of 8 columns of U from the warp's first one.
  template <class X, class Place> M1K_DEVICE static void load_right_side(X x, Place place) {
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      u32 u[4];
      load_matrices_transposed(u, place(n * 16 + lane / 16 * 8 + lane % 8, lane / 8 % 2));
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        x(2 * n + e / 2, e % 2 * 2) = __uint_as_float(u[e] << 16);
        x(2 * n + e / 2, e % 2 * 2 + 1) = __uint_as_float(u[e] & 0xffff0000u);
      }
    }
  }

  // Half of the tokens' δᵀ as operands, plain and with the factors of the state; 0 for tokens of
  // other sequences.
  template <int half, class X>
  M1K_DEVICE void round(X x, const float *factors, u32 (&plain)[2][4], u32 (&decayed)[2][4]) const {
    auto of_all = [&](auto inside) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        int token = (half * 4 + n) * 8 + threadIdx.x % 4 * 2;
        float2 factor = *reinterpret_cast<const float2 *>(factors + token);
        bool first = inside(token), second = inside(token + 1);
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          float d0 = x(half * 4 + n, 2 * r), d1 = x(half * 4 + n, 2 * r + 1);
          plain[n / 2][n % 2 * 2 + r] = pack_bf16(first ? d0 : 0.0f, second ? d1 : 0.0f);
          decayed[n / 2][n % 2 * 2 + r] =
              pack_bf16(first ? d0 * factor.x : 0.0f, second ? d1 * factor.y : 0.0f);
        }
      }
    };
    if (low == 0 && high == R::kTile)
      of_all([](int) { return true; });
    else
      of_all([&](int token) { return token >= low && token < high; });
  }
};

// The record of a tile and head, by 128 threads that meet at the barrier `barrier`.
template <class F>
M1K_DEVICE void delta_record(unsigned char *shared, int thread, bool from_end, int barrier,
                             const bf16 *q, const bf16 *k, const bf16 *v, const typename F::AT *a,
                             const typename F::BT *b, const float *decay, const float *dt_bias,
                             const int *sequence_starts, unsigned char *record, int tile, int head,
                             m1_dims dims) {
  using R = DeltaRecord<F>;
  constexpr int kTile = R::kTile, kRow = R::kRow;
  // A warp has 16 rows, the last ones four blocks for the first ones' one. Warps share a scheduler
  // by their number: some count rows from the end.
  int begin = tile * kTile, rows = min(kTile, dims.tokens - begin);
  int role = thread / 32, lane = thread % 32, g = lane / 4, t = lane % 4,
      warp = from_end ? 3 - role : role;
  auto meet = [&] { asm volatile("bar.sync %0, 128;" ::"r"(barrier) : "memory"); };
  bf16 *keys = reinterpret_cast<bf16 *>(shared), *queries = keys + kTile * kRow,
       *values = reinterpret_cast<bf16 *>(shared + R::kValues);
  DeltaInverse<F> inverse{shared + R::kRowsBytes, warp, lane};
  float *sums = reinterpret_cast<float *>(shared + R::kTokens), *betas = sums + kTile,
        *key_factors = betas + kTile, *query_factors = key_factors + kTile,
        *seen_factors = query_factors + kTile; // of keys where they meet S
  int *starts = reinterpret_cast<int *>(seen_factors + kTile), *ends = starts + kTile;

  copy_rows<F::kK, kRow, F::kKStride % 8 == 0, R::kThreads>(
      thread, keys, k + begin * static_cast<long long>(F::kKStride) + head / F::kShare * F::kK,
      F::kKStride, 0, rows);
  copy_rows<F::kK, kRow, F::kQStride % 8 == 0, R::kThreads>(
      thread, queries, q + begin * static_cast<long long>(F::kQStride) + head / F::kShare * F::kK,
      F::kQStride, 0, rows);
  copy_rows<F::kV, R::kVRow, F::kVStride % 8 == 0, R::kThreads>(
      thread, values, v + begin * static_cast<long long>(F::kVStride) + head * F::kV, F::kVStride,
      0, rows);
  copy_async_commit();
  delta_tokens<F>(thread, sums, betas, starts, ends, a, b, decay, dt_bias, sequence_starts,
                  dims.sequences, begin, rows, head);
  copy_async_wait<0>();
  meet();
  uint4 *outputs = reinterpret_cast<uint4 *>(record + R::kSystemBytes);
  {
    // Sums of squares: the diagonal of a product of the warp's rows with themselves.
    auto square = [&](float *sums_of, const bf16 *rows) {
      float products[2][4] = {};
#pragma unroll
      for (int n = 0; n < R::kSteps; ++n) {
        u32 af[4], bf[4];
        load_matrices(af, rows + (warp * 16 + lane % 16) * kRow + n * 16 + lane / 16 * 8);
        load_matrices(bf, rows + (warp * 16 + lane / 16 * 8 + lane % 8) * kRow + n * 16 +
                              lane / 8 % 2 * 8);
        mma_bf16(products[0], af, bf[0], bf[1]);
        mma_bf16(products[1], af, bf[2], bf[3]);
      }
      if (t == g / 2) {
        sums_of[warp * 16 + g] = g % 2 ? products[0][1] : products[0][0];
        sums_of[warp * 16 + g + 8] = g % 2 ? products[1][3] : products[1][2];
      }
    };
    square(key_factors, keys);
    square(query_factors, queries);
    __syncwarp();
    const bool of_query = lane >= 16;
    const int token = warp * 16 + lane % 16;
    bf16 *row = (of_query ? queries : keys) + token * kRow;
    const float squares = (of_query ? query_factors : key_factors)[token];
    float factor = rsqrtf(squares + F::eps()) * (of_query ? F::scale() : 1.0f);
    // What is no number would spoil other sequences' tokens in products with T: zeros go there, and
    // β, which T's column is multiplied by, spoils those of its own.
    const bool mixed = starts[0] != starts[kTile - 1];
    float rest = of_query || !mixed ? 0.0f : squares - squares;
    if (of_query && mixed) {
      row = values + token * R::kVRow;
#pragma unroll 4
      for (int i = 0; i < F::kV; i += 8) {
        float x[8];
        load_floats<8>(x, row + i);
#pragma unroll
        for (int e = 0; e < 8; ++e)
          rest = fmaf(x[e], 0.0f, rest);
      }
    }
    if (rest != 0.0f) {
      for (int i = 0; i < (of_query ? F::kV : F::kK); ++i)
        row[i] = from_float<bf16>(0.0f);
      betas[token] = rest;
      factor = of_query ? factor : rest;
    }
    (of_query ? query_factors : key_factors)[token] = factor;
    // Sums before the sequence's first token here and at its last one.
    int first = starts[token], last = min(ends[token], rows) - 1;
    bool valid = token < rows;
    float sum = sums[token], grown = valid ? ex2(sum - (first > 0 ? sums[first - 1] : 0.0f)) : 0.0f;
    float *factors = reinterpret_cast<float *>(record + R::kFactors);
    if (of_query) {
      factors[kTile + token] = grown;
      reinterpret_cast<float *>(outputs + R::kBlocks * 32)[token] = grown * factor;
    } else {
      seen_factors[token] = grown * factor;
      factors[token] = valid ? ex2(sums[last] - sum) * factor : 0.0f;
    }
  }
  meet();

  delta_products(inverse, outputs, keys, queries, sums, betas, key_factors, query_factors, starts,
                 meet);
  inverse.invert_diagonal();
  meet();
  // T's blocks from the diagonal to the left.
  u32 solution[4][2][4];
  auto column_of = [&](int d, int e) { return (warp - d) * 16 + e / 2 * 8 + 2 * t; };
  inverse.solve(starts, betas, [&](int d, const u32(&parts)[2][4]) {
#pragma unroll
    for (int part = 0; part < 2; ++part)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        solution[d][part][e] = parts[part][e];
  });
  // to = T · rows, 16 rows a warp.
  auto apply = [&](unsigned char *to, const bf16 *rows, int row, int columns) {
#pragma unroll 2
    for (int column = 0; column < columns; column += 16) {
      float sums[2][4] = {};
#pragma unroll
      for (int d = 0; d < 4; ++d)
        if (d <= warp) {
          u32 bf[4];
          load_matrices_transposed(bf, rows + ((warp - d) * 16 + lane % 16) * row + column +
                                           lane / 16 * 8);
#pragma unroll
          for (int part = 0; part < 2; ++part)
#pragma unroll
            for (int h = 0; h < 2; ++h)
              mma_bf16(sums[h], solution[d][part], bf[2 * h], bf[2 * h + 1]);
        }
      // Two lanes exchange halves, so that each has four columns.
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        u32 first = pack_bf16(sums[0][2 * r], sums[0][2 * r + 1]),
            second = pack_bf16(sums[1][2 * r], sums[1][2 * r + 1]);
        u32 other = __shfl_xor_sync(0xffffffffu, t % 2 ? first : second, 1);
        *reinterpret_cast<uint2 *>(
            to + R::place(warp * 16 + g + 8 * r, column + t % 2 * 8 + t / 2 * 4)) =
            t % 2 ? make_uint2(other, second) : make_uint2(first, other);
      }
    }
  };
  apply(record + R::kRightSide, values, R::kVRow, F::kV);
#pragma unroll
  for (int d = 0; d < 4; ++d)
    if (d <= warp)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        u32 high = solution[d][0][e], low = solution[d][1][e];
        const float *factors = seen_factors + column_of(d, e);
        // Also where the factor of another sequence's token is no number.
        auto scaled = [](float x, float factor) { return x == 0.0f ? 0.0f : -x * factor; };
        split_bf16(scaled(__uint_as_float(high << 16) + __uint_as_float(low << 16), factors[0]),
                   scaled(__uint_as_float(high & 0xffff0000u) + __uint_as_float(low & 0xffff0000u),
                          factors[1]),
                   solution[d][0][e], solution[d][1][e]);
      }
  apply(record, keys, kRow, F::kK);
}

template <class F> struct DeltaChain {
  using R = DeltaRecord<F>;
  static constexpr int kTile = R::kTile, kSteps = R::kSteps, kColumns = 64;
  static constexpr int kHalfBytes = kTile * kSwizzledRow, kHalves = F::kK / 64;
  static constexpr int kKeyBytes = kHalves * kHalfBytes;
  // A stage of input: K and W in parts of 64 columns; U; the factors of δ and of the state.
  static constexpr int kInputs = 3, kRightSide = 2 * kKeyBytes, kFactors = kRightSide + kHalfBytes,
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

  M1K_DEVICE DeltaChain()
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
        barrier_init(barrier, i < kInputs ? 129 : 128);
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

  // By the warps that copy, thread 0 to 127 of them.
  M1K_DEVICE void copy_products(int thread, unsigned char *to, const unsigned char *record) const {
#pragma unroll
    for (int i = 0; i < R::kBlocks; i += 4) {
      int n = i + thread / 32;
      if (n < R::kBlocks) {
        int row = n >= 6 ? 3 : n >= 3 ? 2 : n >= 1 ? 1 : 0, column = n - R::Tiles::block_of(row, 0);
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
    const u64 first = product_operand(rows);
    keep(sums);
    keep(operand);
    products_begin();
#pragma unroll
    for (int k = 0; k < kSteps; ++k)
      product(sums, operand[k], operand_after(first, k / 4 * kHalfBytes + k % 4 * 32),
              add || k > 0);
    products_commit();
  }

  // The first warpgroup's: takes s over `count` tiles of which tile(i) says the sequence's tokens.
  // Element 4n + i of s is of column g + i / 2 · 8 of the warp's 16 and row n · 8 + 2t + i % 2.
  // K·δ is begun with the first half of the tokens, while the second half is worked on.
  template <class Tile> M1K_DEVICE void take_state(float (&s)[F::kK / 2], int count, Tile tile) {
    float x[32];
    u32 sf[kSteps][4], plain[2][2][4], decayed[2][2][4];
    InputRing at;
    LeftRing to;
    auto element = [&](int n, int i) -> float & { return x[4 * n + i]; };
    auto load = [&] {
      wait_full(at);
      fence_async();
      const unsigned char *rows = shared + at.place() + kRightSide;
      DeltaTile<F>::load_right_side(element, [&](int row, int piece) {
        return rows + row * kSwizzledRow + ((warp * 2 + piece ^ row % 8) << 4);
      });
    };
    auto factors = [&] { return reinterpret_cast<const float *>(shared + at.place() + kFactors); };
    auto pack = [&] { // S as an operand
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
      const float kept = factors()[kTile + tokens.high - 1];
      multiply_rows(x, sf, stage + kKeyBytes, true);
      wait_empty(to);
      uint4 *leaves = left(to);
      auto leave = [&](int step, const u32(&four)[4]) {
        leaves[step * 32] = make_uint4(four[0], four[1], four[2], four[3]);
      };
#pragma unroll
      for (int k = 0; k < kSteps; ++k)
        leave(k, sf[k]);
      const u64 keys = product_operand(stage, kHalfBytes);
      auto update = [&](int half) {
        keep(s);
        keep(decayed[half]);
        products_begin();
#pragma unroll
        for (int k = 0; k < 2; ++k)
          product_by_rows(s, decayed[half][k],
                          operand_after(keys, (2 * half + k) * 16 * kSwizzledRow));
        products_commit();
      };
      products_wait<0>();
      keep(x);
      keep(sf);
      tokens.template round<0>(element, factors(), plain[0], decayed[0]);
#pragma unroll
      for (int j = 0; j < F::kK / 2; ++j)
        s[j] *= kept;
      update(0);
      tokens.template round<1>(element, factors(), plain[1], decayed[1]);
      update(1);
#pragma unroll
      for (int n = 0; n < 4; ++n)
        leave(kSteps + n, plain[n / 2][n % 2]);
      barrier_arrive(full(to));
      to.next();
      InputRing taken = at;
      at.next();
      if (i + 1 < count)
        load();
      products_wait<0>();
      keep(s);
      keep(decayed[0]);
      keep(decayed[1]);
      release(taken);
      pack();
    }
  }

  // Among the second warpgroup.
  M1K_DEVICE static void meet() { asm volatile("bar.sync 1, 128;" ::: "memory"); }

  M1K_DEVICE void write_rows(bf16 *out, const unsigned char *rows, DeltaTile<F> tokens) const {
    const bool wide = F::kOutStride % 8 == 0 && aligned16(out);
    const int piece = threadIdx.x % 8;
    out += piece * 8;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int row = threadIdx.x % 128 / 8 + j * 16;
      const uint4 eight =
          *reinterpret_cast<const uint4 *>(rows + row * kSwizzledRow + ((piece ^ row % 8) << 4));
      if (row < tokens.low || row >= tokens.high)
        continue;
      bf16 *to = out + row * static_cast<long long>(F::kOutStride);
      if (wide) {
        *reinterpret_cast<uint4 *>(to) = eight;
      } else {
        const u32 two[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
        for (int e = 0; e < 8; ++e)
          to[e].bits = static_cast<unsigned short>(two[e / 2] >> e % 2 * 16);
      }
    }
  }

  // The second one's; `out` is the first tile's first row.
  template <class Tile> M1K_DEVICE void write_outputs(bf16 *out, int count, Tile tile) {
    float y[32], z[32]; // Sᵀ·Qᵀ, δᵀ·Pᵀ
#pragma unroll
    for (int i = 0; i < 32; ++i)
      y[i] = z[i] = 0.0f;
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
      keep(z);
      keep(plain);
      multiply_rows(y, sf, stage, false);
      const u64 products = product_operand(stage + kKeyBytes);
#pragma unroll
      for (int k = 0; k < 4; ++k)
        product(z, plain[k], operand_after(products, k * 32), k > 0);
      products_commit();
      products_wait<0>();
      keep(y);
      keep(z);
      keep(sf);
      keep(plain);
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        float2 factor = *reinterpret_cast<const float2 *>(factors + n * 8 + 2 * t);
#pragma unroll
        for (int e = 0; e < 4; ++e)
          y[4 * n + e] = fmaf(y[4 * n + e], e % 2 ? factor.y : factor.x, z[4 * n + e]);
      }
      // By rows in the place of Q, for whole rows to leave at once.
      meet();
#pragma unroll
      for (int n = 0; n < 8; n += 2) {
        const int row = n * 8 + lane / 16 * 8 + lane % 8, piece = warp * 2 + lane / 8 % 2;
        store_matrices_transposed(
            stage + row * kSwizzledRow + ((piece ^ row % 8) << 4),
            pack_bf16(y[4 * n], y[4 * n + 1]), pack_bf16(y[4 * n + 2], y[4 * n + 3]),
            pack_bf16(y[4 * n + 4], y[4 * n + 5]), pack_bf16(y[4 * n + 6], y[4 * n + 7]));
      }
      meet();
      write_rows(out + i * (static_cast<long long>(kTile) * F::kOutStride), shared + at.place(),
                 tile(i));
      release(at);
    }
  }
};

#endif

// By blocks of kGroups times 128 threads, one a multiprocessor. The chain begins as soon as some
// blocks of this launch have made room for it: kChains is its blocks a sequence.
template <class F>
M1K_DEVICE void delta_records(const bf16 *q, const bf16 *k, const bf16 *v, const typename F::AT *a,
                              const typename F::BT *b, const float *decay, const float *dt_bias,
                              const int *sequence_starts, unsigned char *workspace,
                              unsigned char *temporary, m1_dims dims) {
#ifdef M1K_WARPGROUPS
  using R = DeltaRecord<F>;
  static_assert(F::kGroups * R::kGroupBytes <= F::kSharedBytes,
                "the launch reserves too little memory");
  if (dims.sequences > F::kMost)
    return;
  const int group = threadIdx.x / R::kThreads, thread = threadIdx.x % R::kThreads;
  const int tiles = ceil_div(dims.tokens, R::kTile), blocks = gridDim.x;
  int leaving = F::kChains * dims.sequences;
  if (leaving > blocks / 2) // on another chip than the one meant
    leaving = 0;
  const int staying = blocks - leaving;
  // Those that stay need 4 times as long for a record as a chain for a tile: the last tiles are
  // theirs, as many as they prepare while the chains run.
  const int rest = leaving ? min(tiles, tiles * staying / (4 * F::kHeads * dims.sequences)) : 0;
  const int records = tiles * F::kHeads, shared_records = (tiles - rest) * F::kHeads;
  // function(tile, head) of a group's records.
  auto each = [&](auto function) {
    const int first = static_cast<int>(blockIdx.x) * F::kGroups + group;
    int i = first, step = blocks * F::kGroups, end = shared_records;
    while (true) {
      if (i >= end) {
        if (end == records || static_cast<int>(blockIdx.x) >= staying)
          break;
        i = end + first, step = staying * F::kGroups, end = records;
        continue;
      }
      function(i / F::kHeads, i % F::kHeads);
      i += step;
    }
  };
  auto ready = [&](int tile, int head) {
    return reinterpret_cast<u32 *>(R::record(temporary, workspace, tile, head, dims.tokens) +
                                   R::kReady);
  };
  if (thread == 0)
    each([&](int tile, int head) {
      asm volatile("st.release.gpu.global.u32 [%0], 0;" ::"l"(ready(tile, head)) : "memory");
    });
  __threadfence();
  __syncthreads();
  launch_successor();
  each([&](int tile, int head) {
    delta_record<F>(m1k_shared + group * R::kGroupBytes, thread, group % 2 == 1, 1 + group, q, k, v,
                    a, b, decay, dt_bias, sequence_starts,
                    R::record(temporary, workspace, tile, head, dims.tokens), tile, head, dims);
    asm volatile("bar.sync %0, 128;" ::"r"(1 + group) : "memory");
    if (thread == 0) {
      __threadfence();
      asm volatile("st.release.gpu.global.u32 [%0], 1;" ::"l"(ready(tile, head)) : "memory");
    }
  });
#endif
}

template <class F>
M1K_DEVICE void delta_chain(const bf16 *q, const bf16 *k, typename F::ST *state,
                            const int *sequence_starts, const int *slots, const int *positions,
                            bf16 *out, const unsigned char *workspace,
                            const unsigned char *temporary, m1_dims dims) {
#ifdef M1K_WARPGROUPS
  using R = DeltaRecord<F>;
  using D = DeltaChain<F>;
  using ST = typename F::ST;
  constexpr int kTile = R::kTile, kSlices = F::kV / D::kColumns;
  static_assert(F::kV % D::kColumns == 0, "whole tiles");
  constexpr int kChains = F::kHeads * kSlices;
  int sequence = blockIdx.x / kChains;
  const bool has_sequence = sequence < dims.sequences && dims.sequences <= F::kMost;
  int start = has_sequence ? sequence_starts[sequence] : 0,
      end = has_sequence ? sequence_starts[sequence + 1] : 0;
  if (start >= end) {
    wait_for_predecessors(out); // as one must that is launched early
    return;
  }
  D block;
  int head = blockIdx.x % kChains / kSlices, column0 = blockIdx.x % kSlices * D::kColumns;
  int first = start / kTile, count = (end - 1) / kTile - first + 1;
  auto tile = [&](int i) {
    return DeltaTile<F>{max(start - (first + i) * kTile, 0), min(end - (first + i) * kTile, kTile)};
  };
  block.begin();
  fence_async();
  fence_barriers();
  __syncthreads();

  // 384 threads begin with 168 registers each.
  if (threadIdx.x >= 256) {
    leave_registers<104>();
    int thread = threadIdx.x - 256;
    const bf16 *keys = k + head / F::kShare * F::kK, *queries = q + head / F::kShare * F::kK;
    typename D::InputRing input;
    typename D::OutputRing output;
    auto row_of = [&](int i) { return (first + i) * static_cast<long long>(kTile); };
    auto record_of = [&](int i) {
      return R::record(const_cast<unsigned char *>(temporary),
                       const_cast<unsigned char *>(workspace), first + i, head, dims.tokens);
    };
    auto copy_input = [&](int i) {
      if (i % 8 == 0) { // a lane a record
        if (block.lane < 8 && i + block.lane < count) {
          u32 ready;
          do
            asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
                         : "=r"(ready)
                         : "l"(record_of(i + block.lane) + R::kReady)
                         : "memory");
          while (!ready);
        }
        __syncwarp();
      }
      const DeltaTile<F> tokens = tile(i);
      block.wait_empty(input);
      unsigned char *stage = block.shared + input.place();
      copy_swizzled<F::kK, F::kKStride % 8 == 0>(thread, stage, keys + row_of(i) * F::kKStride,
                                                 F::kKStride, tokens.low, tokens.high);
      if (thread == 0) {
        fence_async_global();
        const unsigned char *record = record_of(i);
        const u32 to = block.address + input.place(), barrier = block.full(input);
        barrier_arrive_expecting(barrier, D::kKeyBytes + D::kHalfBytes + 2 * R::kFactorBytes);
        copy_bulk(to + D::kKeyBytes, record, D::kKeyBytes, barrier);
        copy_bulk(to + D::kRightSide, record + R::kRightSide + column0 / 64 * D::kHalfBytes,
                  D::kHalfBytes, barrier);
        copy_bulk(to + D::kFactors, record + R::kFactors, 2 * R::kFactorBytes, barrier);
      }
      barrier_arrive_after_copies(block.full(input));
      input.next();
    };
    auto copy_output = [&](int i) {
      const DeltaTile<F> tokens = tile(i);
      block.wait_empty(output);
      unsigned char *stage = block.shared + output.place();
      const unsigned char *record = record_of(i);
      copy_swizzled<F::kK, F::kQStride % 8 == 0>(thread, stage, queries + row_of(i) * F::kQStride,
                                                 F::kQStride, tokens.low, tokens.high);
      block.copy_products(thread, stage + D::kKeyBytes, record);
      D::copy_bytes(thread, stage + D::kOutputFactor, record + R::kReady - R::kFactorBytes,
                    R::kFactorBytes);
      barrier_arrive_after_copies(block.full(output));
      output.next();
    };
    // Outputs are a tile behind the state: what those wait for shall not keep the state waiting.
    copy_input(0);
    for (int i = 0; i < count; ++i) {
      if (i + 1 < count)
        copy_input(i + 1);
      copy_output(i);
    }
    wait_for_predecessors(out);
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
  wait_for_predecessors(out);
#endif
}

} // namespace m1k

#endif
