// The next token of each row: greedy, or drawn after temperature, top-k, top-p and min-p.
//
// Grid (1, L), one row a block of 256, 512 or 1024 threads. Everything that decides between tokens
// is exact and the same on every GPU: exponentials are an FMA polynomial, probabilities 31-bit
// fixed point summed in 64 bits, so the order of the sums does not matter; ties go to the lower
// index. top-k and top-p each keep a prefix of the tokens in descending order, whose last token is
// found without sorting the row. The row is read once; that says which of the bins, 64 to a factor
// of two, holds the token, and of every tile of 128 logits the bin of its largest. Only tiles that
// reach up to that bin are read again: the bin's tokens go into a list in shared memory, which is
// sorted, and where they are few so do all above it; else the weights above are summed in the same
// pass. A bin too full for the list is divided again. What is drawn is found from sums of chunks of
// 512 logits and one chunk.
//
// Facts F: kV, kStride, kSharedBytes.
#ifndef M1K_SAMPLE_CUH
#define M1K_SAMPLE_CUH

#include "common.cuh"

namespace m1k {

M1K_DEVICE float infinity() { return __uint_as_float(0x7f800000u); }

// Philox4x32-10; the first two words of the block at counter (position, 0, 0, 0).
M1K_DEVICE void philox(u64 seed, u32 position, u32 &word0, u32 &word1) {
  u32 c0 = position, c1 = 0, c2 = 0, c3 = 0, k0 = u32(seed), k1 = u32(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    u32 high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0,
        high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  word0 = c0;
  word1 = c1;
}

// 2^31 · 2^x rounded, for x <= 0; of NaN 0. The series of 2^f on |f| <= 1/2 to f^7: relative error
// 5e-9 before float rounding.
M1K_DEVICE u32 fixed_exp2(float x) {
  x = fmaxf(x, -32.0f); // whose half is rounded to 0
  // Adding 1.5 · 2^23 rounds to an integer, which is then in the low bits.
  float shifted = x + 12582912.0f, f = x - (shifted - 12582912.0f);
  float p = 1.5252733804e-5f;
  p = fmaf(p, f, 1.5403530393e-4f);
  p = fmaf(p, f, 1.3333558146e-3f);
  p = fmaf(p, f, 9.6181291076e-3f);
  p = fmaf(p, f, 5.5504108665e-2f);
  p = fmaf(p, f, 2.4022650696e-1f);
  p = fmaf(p, f, 6.9314718056e-1f);
  p = fmaf(p, f, 1.0f);
  return __float2uint_rn(p * __uint_as_float((__float_as_uint(shifted) + 31 + 127) << 23));
}

// The sum of what the lanes hold, each less than 2^53.
M1K_DEVICE u64 lane_sum_64(u64 value) {
  u32 low = __reduce_add_sync(0xffffffffu, u32(value) & 0x3ffffffu),
      high = __reduce_add_sync(0xffffffffu, u32(value >> 26));
  return (static_cast<u64>(high) << 26) + low;
}

template <class F> struct Sampler {
  static constexpr int kV = F::kV, kTile = 128, kChunk = 4 * kTile,
                       kChunks = (kV + kChunk - 1) / kChunk, kTiles = 4 * kChunks;
  static constexpr int kBins = 2048, kList = 2048, kMaxWarps = 32;
  static constexpr u32 kNone = 0xffff;     // no bin
  static constexpr u64 kFew = 1024;        // so many tokens are listed rather than summed
  static constexpr float kPerTwo = 63.96f; // bins to a factor of two: 32 factors fit
  static_assert(kTiles <= 65536, "tiles are numbered in 16 bits");

  // A sum of 64 bits in two words: shared memory adds 32.
  template <int size> struct Sums {
    u32 low[size], high[size];
    M1K_DEVICE void clear() {
      for (int i = threadIdx.x; i < size; i += blockDim.x)
        low[i] = high[i] = 0;
    }
    M1K_DEVICE void add(int i, u64 value) {
      u32 word = u32(value), old = atomicAdd(&low[i], word),
          carry = u32(value >> 32) + (old + word < old);
      if (carry)
        atomicAdd(&high[i], carry);
    }
    M1K_DEVICE u64 at(int i) const { return static_cast<u64>(high[i]) << 32 | low[i]; }
  };
  struct Shared {
    union {
      Sums<kBins> bins;
      u64 list[kList];
    };
    u64 scan[kMaxWarps + 1];
    u64 result;
    Sums<kChunks> chunks;
    unsigned short first_bin[kTiles]; // of the tile's largest logit
    unsigned short tiles[kTiles];     // those to be read again
    float smallest[kMaxWarps], largest[kMaxWarps];
    int index[kMaxWarps];
    int entries, tile_count, where;
    float low, high, scale; // of a bin that is divided: its logits' extremes, bins to one
  };
  Shared &shared = *reinterpret_cast<Shared *>(m1k_shared);
  const float *row;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  float peak, rate;        // largest logit; log2(e) / temperature
  float cut = -infinity(); // kept so far: above the cut, or at it with an index up to cut_index
  int cut_index = kV;
  u32 least = 0;         // and a weight of at least this
  bool summed = false;   // whether shared.chunks holds the weights of what is kept
  float bottom = -32.0f; // of the bins, as a power of two of the likeliest's weight

  M1K_DEVICE Sampler(const float *row) : row(row) {}

  // A tile's values that this lane holds; what is past the row counts as forbidden.
  static constexpr bool kVectors = F::kStride % 4 == 0;
  M1K_DEVICE int index_of(int tile, int k) const {
    return tile * kTile + (kVectors ? lane * 4 + k : k * 32 + lane);
  }
  M1K_DEVICE void load(int tile, float (&values)[4]) const {
    if constexpr (kVectors) {
      int i = index_of(tile, 0);
      float4 four = {-infinity(), -infinity(), -infinity(), -infinity()};
      if (i < kV)
        four = *reinterpret_cast<const float4 *>(row + i);
      values[0] = four.x, values[1] = four.y, values[2] = four.z, values[3] = four.w;
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        values[k] = index_of(tile, k) < kV ? row[index_of(tile, k)] : -infinity();
    }
    if (kVectors && kV % 4 != 0)
#pragma unroll
      for (int k = 1; k < 4; ++k)
        values[k] = index_of(tile, k) < kV ? values[k] : -infinity();
  }
  // function(tile_of(n), values) for n from 0 to count - 1; so many tiles are asked for ahead of
  // their turn. A pass with little to compute waits for memory, others have no registers for it.
#if __CUDA_ARCH__ >= 900
  static constexpr int kLight = 4, kHeavy = 1;
#else
  static constexpr int kLight = 1, kHeavy = 1; // ptxas needs more registers there
#endif
  template <int kAhead, class Tile, class Function>
  M1K_DEVICE void each(int count, Tile tile_of, Function function) const {
    float ahead[kAhead][4];
#pragma unroll
    for (int a = 0; a < kAhead; ++a)
      if (a < count)
        load(tile_of(a), ahead[a]);
#pragma unroll 1
    for (int n = 0; n < count; n += kAhead)
#pragma unroll
      for (int a = 0; a < kAhead; ++a)
        if (n + a < count) {
          float values[4];
#pragma unroll
          for (int k = 0; k < 4; ++k)
            values[k] = ahead[a][k];
          if (n + a + kAhead < count)
            load(tile_of(n + a + kAhead), ahead[a]);
          function(tile_of(n + a), values);
        }
  }
  // All tiles, those of a chunk one after another.
  template <int kAhead, class Function> M1K_DEVICE void each_tile(Function function) const {
    each<kAhead>((kChunks - warp + warps - 1) / warps * 4,
                 [&](int n) { return ((n >> 2) * warps + warp) * 4 + (n & 3); }, function);
  }

  M1K_DEVICE bool kept(int i, float logit) const {
    return logit > cut || (logit == cut && i <= cut_index);
  }
  M1K_DEVICE float power(float logit) const { return (logit - peak) * rate; }
  M1K_DEVICE u32 weight(float logit) const { return fixed_exp2(power(logit)); }
  M1K_DEVICE u32 counts(u32 weight) const { return weight >= least ? weight : 0; }

  // Exclusive prefix sum over the block's threads, and the sum of all.
  M1K_DEVICE u64 prefix(u64 mine, u64 &total) {
    u64 inclusive = mine;
#pragma unroll
    for (int d = 1; d < 32; d <<= 1) {
      u64 below = __shfl_up_sync(0xffffffffu, inclusive, d);
      inclusive += lane >= d ? below : 0;
    }
    __syncthreads();
    if (lane == 31)
      shared.scan[warp] = inclusive;
    __syncthreads();
    if (warp == 0) {
      u64 own = lane < warps ? shared.scan[lane] : 0, sum = own;
#pragma unroll
      for (int d = 1; d < 32; d <<= 1) {
        u64 below = __shfl_up_sync(0xffffffffu, sum, d);
        sum += lane >= d ? below : 0;
      }
      shared.scan[lane] = sum - own;
      if (lane == 31)
        shared.scan[kMaxWarps] = sum;
    }
    __syncthreads();
    total = shared.scan[kMaxWarps];
    return shared.scan[warp] + inclusive - mine;
  }

  // Smallest and largest of the values that threads hold, to shared.low and shared.high.
  M1K_DEVICE void extremes(float smallest, float largest) {
    smallest = -lane_max<32>(-smallest);
    largest = lane_max<32>(largest);
    if (lane == 0) {
      shared.smallest[warp] = smallest;
      shared.largest[warp] = largest;
    }
    __syncthreads();
    if (warp == 0) {
      smallest = -lane_max<32>(-shared.smallest[lane % warps]);
      largest = lane_max<32>(shared.largest[lane % warps]);
      if (lane == 0) {
        shared.low = smallest;
        shared.high = largest;
        shared.scale = kBins / (largest - smallest);
      }
    }
    __syncthreads();
  }

  // The first index of the largest logit; -1 when one is NaN or the largest is not finite.
  M1K_DEVICE int argmax() {
    float best = -infinity();
    int index = kV;
    auto take = [&](int i, float logit) {
      logit = logit == logit ? logit : infinity();
      if (logit > best || (logit == best && i < index)) {
        best = logit;
        index = i;
      }
    };
    // In single words, which take the fewest registers: a multiprocessor holds 2048 threads.
    constexpr int kRound = 8;
    const int threads = blockDim.x;
    int i = threadIdx.x;
    for (; i + (kRound - 1) * threads < kV; i += kRound * threads) {
      float values[kRound];
#pragma unroll
      for (int k = 0; k < kRound; ++k)
        values[k] = row[i + k * threads];
#pragma unroll
      for (int k = 0; k < kRound; ++k)
        take(i + k * threads, values[k]);
    }
    for (; i < kV; i += threads)
      take(i, row[i]);
    auto join = [&] {
#pragma unroll
      for (int d = 16; d > 0; d >>= 1) {
        float other = __shfl_xor_sync(0xffffffffu, best, d);
        int other_index = __shfl_xor_sync(0xffffffffu, index, d);
        if (other > best || (other == best && other_index < index)) {
          best = other;
          index = other_index;
        }
      }
    };
    join();
    if (lane == 0) {
      shared.largest[warp] = best;
      shared.index[warp] = index;
    }
    __syncthreads();
    best = shared.largest[lane % warps];
    index = shared.index[lane % warps];
    join();
    return best > -infinity() && best < infinity() ? index : -1;
  }

  // What a token adds to the sums of chunks: its weight if it is kept; or, if `equal`, one when its
  // logit is shared.low.
  M1K_DEVICE u32 value_of(bool equal, int i, float logit) const {
    if (!kept(i, logit))
      return 0;
    return equal ? logit == shared.low : counts(weight(logit));
  }
  // With `all`, of weights of which nothing is cut.
  template <bool all> M1K_DEVICE void sum_chunks(bool equal) {
    __syncthreads();
    u64 sum = 0;
    each_tile<all ? kLight : kHeavy>([&](int tile, const float (&values)[4]) {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        sum += all ? weight(values[k]) : value_of(equal, index_of(tile, k), values[k]);
      if (tile % 4 < 3)
        return;
      sum = lane_sum_64(sum);
      if (lane == 0) {
        shared.chunks.low[tile / 4] = u32(sum);
        shared.chunks.high[tile / 4] = u32(sum >> 32);
      }
      sum = 0;
    });
  }
  // In index order, the first index at which the running sum of values exceeds target(sum of all).
  // The chunks' sums are in shared.chunks, and exceed it.
  template <class Target> M1K_DEVICE int locate(bool equal, Target target_of) {
    __syncthreads();
    int per = (kChunks + blockDim.x - 1) / blockDim.x, begin = threadIdx.x * per,
        end = min(begin + per, kChunks);
    u64 mine = 0, total;
#pragma unroll 1
    for (int chunk = begin; chunk < end; ++chunk)
      mine += shared.chunks.at(chunk);
    u64 running = prefix(mine, total), target = target_of(total);
#pragma unroll 1
    for (int chunk = begin; chunk < end; ++chunk) {
      u64 sum = shared.chunks.at(chunk);
      if (target >= running && target < running + sum) {
        shared.where = chunk;
        shared.result = running;
      }
      running += sum;
    }
    __syncthreads();
    int first = shared.where * kChunk;
    u64 before = shared.result;
    // Then a few neighbours a thread.
    int few = (kChunk + blockDim.x - 1) / blockDim.x;
    begin = min(first + int(threadIdx.x) * few, kV);
    end = min(min(begin + few, first + kChunk), kV);
    mine = 0;
#pragma unroll 1
    for (int i = begin; i < end; ++i)
      mine += value_of(equal, i, row[i]);
    running = before + prefix(mine, total);
#pragma unroll 1
    for (int i = begin; i < end; ++i) {
      u32 here = value_of(equal, i, row[i]);
      if (target >= running && target < running + here)
        shared.where = i;
      running += here;
    }
    __syncthreads();
    return shared.where;
  }

  // Ascending, in shared.list; `size` is a power of two.
  M1K_DEVICE void sort(int size) {
#pragma unroll 1
    for (int span = 2; span <= size; span *= 2)
#pragma unroll 1
      for (int step = span / 2; step > 0; step /= 2) {
        __syncthreads();
#pragma unroll 1
        for (int i = threadIdx.x; i < size; i += blockDim.x) {
          int j = i ^ step;
          if (j > i) {
            u64 a = shared.list[i], b = shared.list[j];
            if ((a > b) == ((i & span) == 0)) {
              shared.list[i] = b;
              shared.list[j] = a;
            }
          }
        }
      }
    __syncthreads();
  }
  // Entries of the list ascend as logits descend and, where those are equal, indices ascend.
  M1K_DEVICE static u64 entry_of(int i, float logit) {
    u32 bits = __float_as_uint(logit + 0.0f); // -0 sorts as 0
    u32 ascending = bits >> 31 ? ~bits : bits | 0x80000000u;
    return static_cast<u64>(~ascending) << 32 | u32(i);
  }
  M1K_DEVICE static float logit_of(u64 entry) {
    u32 ascending = ~u32(entry >> 32);
    return __uint_as_float(ascending >> 31 ? ascending & 0x7fffffffu : ~ascending);
  }

  // What bins hold: the weights or the number of tokens, or the number of tiles by their largest
  // logits. Bins are of the weight, 64 to a factor of two; divided, of logits from low to high.
  enum Measure { weights, tokens, tiles };
  struct Look {
    Measure measure;
    bool divided;
  };

  // The bin of a logit, or kNone: bins ascend as logits descend. Tokens without weight, below 2^-32
  // of the likeliest, are left out of account, as they are never drawn.
  template <bool plain> M1K_DEVICE u32 bin_of(Look look, int i, float logit, float x) const {
    if (!plain && look.divided) {
      // Values next to each other may leave no finite scale: the largest is then in the first bin
      // (0 · inf is NaN, which gives 0) and all others in the last (inf gives INT_MAX). So every
      // round parts the largest from the smallest, and the loop ends.
      int bin = min(__float2int_rz((shared.high - logit) * shared.scale), kBins - 1);
      return logit >= shared.low && logit <= shared.high && kept(i, logit) ? bin : kNone;
    }
    // The nearest integer to -x · kPerTwo is in the low bits.
    u32 bin = __float_as_uint(fmaf(x, -kPerTwo, 8388608.0f)) - 0x4b000000u;
    return x > bottom && (plain || kept(i, logit)) ? bin : kNone;
  }

  // Fills shared.bins and shared.first_bin. Gives the weight below the bottom of the bins. `plain`:
  // nothing is cut, and no bin divided.
  template <bool plain, int kAhead> M1K_DEVICE u64 fill_bins(const Look look) {
    u64 rest = 0;
    each_tile<kAhead>([&](int tile, const float (&values)[4]) {
      u32 bins[4], numbers[4], first = kNone;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        float x = power(values[k]);
        int i = index_of(tile, k);
        bins[k] = bin_of<plain>(look, i, values[k], x);
        numbers[k] = look.measure == weights ? fixed_exp2(x) : 1;
        first = min(first, bins[k]);
        if (look.measure == weights && (plain || !look.divided))
          rest += bins[k] == kNone && (plain || kept(i, values[k])) ? numbers[k] : 0;
      }
      first = __reduce_min_sync(0xffffffffu, first);
      if (lane == 0)
        shared.first_bin[tile] = first;
      if (first == kNone)
        return;
      if (look.measure == tiles) {
        if (lane == 0)
          shared.bins.add(first, 1);
        return;
      }
      bool same = true;
#pragma unroll
      for (int k = 0; k < 4; ++k)
        same &= bins[k] == first;
      if (__all_sync(0xffffffffu, same)) { // else all lanes would wait for one word
        u64 sum = 0;
#pragma unroll
        for (int k = 0; k < 4; ++k)
          sum += numbers[k];
        sum = lane_sum_64(sum);
        if (lane == 0)
          shared.bins.add(first, sum);
        return;
      }
      // As Sums::add, but all four on their way before the first carry is looked at.
      u32 old[4];
      bool carries = false;
#pragma unroll
      for (int k = 0; k < 4; ++k)
        old[k] = bins[k] != kNone ? atomicAdd(&shared.bins.low[bins[k]], numbers[k]) : 0;
#pragma unroll
      for (int k = 0; k < 4; ++k)
        carries |= old[k] + numbers[k] < old[k];
      if (carries)
#pragma unroll
        for (int k = 0; k < 4; ++k)
          if (old[k] + numbers[k] < old[k])
            atomicAdd(&shared.bins.high[bins[k]], 1u);
    });
    return rest;
  }

  // Lists the tokens of bins from `from` to `to`, and with `sums` adds the weights of those before
  // to shared.chunks. The tiles that reach up to these bins are in shared.tiles.
  template <bool plain, bool sums>
  M1K_DEVICE void list_tokens(const Look look, u32 from, u32 to, float &smallest, float &largest) {
    each<kHeavy>((shared.tile_count - warp + warps - 1) / warps,
                 [&](int n) -> int { return shared.tiles[n * warps + warp]; },
                 [&](int tile, const float (&values)[4]) {
                   u64 sum = 0;
                   u32 masks[4];
                   int number = 0;
#pragma unroll
                   for (int k = 0; k < 4; ++k) {
                     float x = power(values[k]);
                     u32 bin = bin_of<plain>(look, index_of(tile, k), values[k], x);
                     if (sums) {
                       u32 here = counts(fixed_exp2(x));
                       sum += bin < from ? here : 0;
                     }
                     masks[k] = __ballot_sync(0xffffffffu, bin >= from && bin <= to);
                     number += __popc(masks[k]);
                   }
                   if (number > 0) {
                     int place = 0;
                     if (lane == 0)
                       place = atomicAdd(&shared.entries, number);
                     place = __shfl_sync(0xffffffffu, place, 0);
#pragma unroll
                     for (int k = 0; k < 4; ++k) {
                       if (masks[k] >> lane & 1) {
                         smallest = fminf(smallest, values[k]);
                         largest = fmaxf(largest, values[k]);
                         int at = place + __popc(masks[k] & ((1u << lane) - 1));
                         if (at < kList)
                           shared.list[at] = entry_of(index_of(tile, k), values[k]);
                       }
                       place += __popc(masks[k]);
                     }
                   }
                   if (sums) {
                     sum = lane_sum_64(sum);
                     if (lane == 0 && sum > 0)
                       shared.chunks.add(tile / 4, sum);
                   }
                 });
  }
  // False when they are more than the list holds; shared.low and shared.high are then theirs.
  M1K_DEVICE bool list(const Look look, bool plain, u32 from, u32 to) {
    __syncthreads();
    if (threadIdx.x == 0)
      shared.entries = shared.tile_count = 0;
    shared.chunks.clear();
    __syncthreads();
#pragma unroll 1
    for (int tile = threadIdx.x; tile < kTiles; tile += blockDim.x)
      if (shared.first_bin[tile] <= to)
        shared.tiles[atomicAdd(&shared.tile_count, 1)] = tile;
    __syncthreads();
    float smallest = infinity(), largest = -infinity();
    if (plain && from == 0)
      list_tokens<true, false>(look, from, to, smallest, largest);
    else if (plain)
      list_tokens<true, true>(look, from, to, smallest, largest);
    else
      list_tokens<false, true>(look, from, to, smallest, largest);
    extremes(smallest, largest); // waits for all entries
    return shared.entries <= kList;
  }

  // The place in the sorted list at which the running sum of weights, from `before`, reaches
  // need_of(sum of the first `count`).
  template <class Need> M1K_DEVICE int place_of_weight(int count, u64 before, Need need_of) {
    int per = (count + blockDim.x - 1) / blockDim.x, begin = threadIdx.x * per,
        end = min(begin + per, count);
    u64 mine = 0, total;
#pragma unroll 1
    for (int at = begin; at < end; ++at)
      mine += weight(logit_of(shared.list[at]));
    u64 running = before + prefix(mine, total), need = need_of(total);
#pragma unroll 1
    for (int at = begin; at < end; ++at) {
      u32 here = weight(logit_of(shared.list[at]));
      if (running < need && running + here >= need)
        shared.where = at;
      running += here;
    }
    __syncthreads();
    return shared.where;
  }

  M1K_DEVICE void sort_list() {
    int count = shared.entries, size = 1;
    while (size < count)
      size *= 2;
#pragma unroll 1
    for (int i = count + threadIdx.x; i < size; i += blockDim.x)
      shared.list[i] = ~0ull;
    sort(size);
  }
  // The cut is at this place of the sorted list. What is kept of the list goes to the sums.
  M1K_DEVICE void cut_list(int place) {
    cut = logit_of(shared.list[place]);
    cut_index = int(u32(shared.list[place]));
#pragma unroll 1
    for (int at = threadIdx.x; at <= place; at += blockDim.x)
      if (u32 here = counts(weight(logit_of(shared.list[at]))))
        shared.chunks.add(u32(shared.list[at]) / kChunk, here);
  }

  // The least sum of a prefix that holds p of `total`: at least one token stays. One rounding in
  // double (p has 24 bits, the sum up to 49), the same everywhere.
  M1K_DEVICE static u64 share_of(float p, u64 total) {
    u64 need =
        static_cast<u64>(ceil(static_cast<double>(fmaxf(p, 0.0f)) * static_cast<double>(total)));
    return need > 0 ? need : 1;
  }

  // Moves the cut up so that what is kept is the shortest prefix, in descending order, of k tokens
  // or, if k is 0, of the share p of the weight. True when p, too, has been seen to: k tokens are
  // few, and p is of those.
  M1K_DEVICE bool cut_at(int k, float p) {
    Look look = {k == 0 ? weights : k <= kFew ? tiles : tokens, false};
    const bool uncut = cut == -infinity();
    u64 before = 0, need = k;
    bool few = false;
    for (bool first = true;; first = false) {
      __syncthreads();
      shared.bins.clear();
      __syncthreads();
      u64 rest = 0;
      const bool plain = uncut && !look.divided;
      if (plain && look.measure == weights)
        rest = fill_bins<true, kHeavy>({weights, false});
      else if (look.measure == tiles)
        fill_bins<true, kLight>({tiles, false});
      else
        rest = fill_bins<false, kHeavy>(look);
      __syncthreads();
      // The bin at which the running sum reaches what is needed.
      int per = kBins / blockDim.x, begin = threadIdx.x * per;
      u64 mine = 0, total, all_rest;
#pragma unroll 1
      for (int bin = begin; bin < begin + per; ++bin)
        mine += shared.bins.at(bin);
      prefix(rest, all_rest);
      u64 running = before + prefix(mine, total);
      if (first && look.measure == weights)
        need = share_of(p, total + all_rest);
      if (before + total < need) {
        if (look.measure != tiles)
          return false; // everything is not enough: all stay
        look.measure = tokens;
        continue;
      }
#pragma unroll 1
      for (int bin = begin; bin < begin + per; ++bin) {
        u64 sum = shared.bins.at(bin);
        if (running < need && running + sum >= need) {
          shared.where = bin;
          shared.result = running;
        }
        running += sum;
      }
      __syncthreads();
      int chosen = shared.where;
      before = shared.result;
      // Where few tokens are likely up to it, all are listed. A wrong guess costs a division. At
      // least k tiles have a largest logit up to the bin that is chosen of tiles, so k tokens.
      if (first && look.measure != tiles) {
        float likely = 0;
#pragma unroll 1
        for (int bin = begin; bin < min(begin + per, chosen + 1); ++bin)
          likely += float(shared.bins.at(bin)) *
                    (look.measure == weights ? exp2f(bin * (1 / kPerTwo) - 31.0f) : 1.0f);
        u64 up_to;
        prefix(static_cast<u64>(likely + 0.5f), up_to);
        few = up_to <= kFew;
      }
      bool from_top = look.measure == tiles || (first && few);
      if (from_top)
        before = 0;
      if (list(look, plain, from_top ? 0 : chosen, chosen)) {
        summed = !look.divided;
        break;
      }
      if (look.measure == tiles) {
        look.measure = tokens;
        continue;
      }
      look.divided = true;
      float low = shared.low;
      if (low == shared.high) { // equal logits: the first of them by index
        u64 each_one = look.measure == weights ? weight(low) : 1,
            wanted = each_one > 0 ? (need - before + each_one - 1) / each_one : 1;
        sum_chunks<false>(true);
        cut_index = locate(true, [&](u64) { return wanted - 1; });
        cut = low;
        summed = false;
        return false;
      }
    }
    sort_list();
    int place = int(need - before) - 1;
    bool both = look.measure == tiles && p < 1.0f;
    if (look.measure == weights || both)
      place = place_of_weight(both ? k : shared.entries, both ? 0 : before,
                              [&](u64 total) { return both ? share_of(p, total) : need; });
    cut_list(place);
    return look.measure == tiles;
  }

  // Cuts, and sums what is left.
  M1K_DEVICE void keep(int k, float p) {
    bool cuts_number = k > 0 && k < kV;
#pragma unroll 1
    for (int part = cuts_number ? 0 : 1; part < 2; ++part) {
      if (part == 1 && !(p < 1.0f))
        break;
      // The last token that p keeps and those after it hold 1 - p of the sum, which is at least the
      // likeliest's weight, and none of them, of which there are at most kV, weighs more than it.
      // So it is not below this: 2^-32 is the half that a weight is rounded up by at most, a tenth
      // is for other rounding. Of what is not positive the logarithm is no bottom.
      if (part == 1)
        bottom =
            fmaxf(bottom, log2f((1.0f - fmaxf(p, 0.0f)) * (1.0f / kV) - 2.3283064365e-10f) - 0.1f);
      if (cut_at(part == 0 ? k : 0, p))
        break;
    }
    if (!summed && cut == -infinity() && least == 0)
      sum_chunks<true>(false);
    else if (!summed)
      sum_chunks<false>(false);
  }
};

template <class F> M1K_DEVICE void sample_greedy(const float *logits, int *out, m1_dims dims) {
  int row = blockIdx.y;
  if (row >= dims.logit_rows)
    return;
  Sampler<F> sampler(logits + row * static_cast<long long>(F::kStride));
  int token = sampler.argmax();
  if (threadIdx.x == 0)
    out[row] = token;
}

// `likeliest`: what sample_greedy gives for the rows. What is -1 there is -1 here.
template <class F>
M1K_DEVICE void sample_random(const float *logits, const int *likeliest, const float *temperature,
                              const int *top_k, const float *top_p, const float *min_p,
                              const u64 *seed, const int *position, int *out, m1_dims dims) {
  static_assert(sizeof(typename Sampler<F>::Shared) <= F::kSharedBytes,
                "the launch reserves too little shared memory");
  int row = blockIdx.y;
  if (row >= dims.logit_rows)
    return;
  float heat = temperature[row];
  int best = likeliest[row];
  if (!(heat > 0) || best < 0) {
    if (threadIdx.x == 0)
      out[row] = best;
    return;
  }
  Sampler<F> sampler(logits + row * static_cast<long long>(F::kStride));
  sampler.peak = sampler.row[best];
  // So small a temperature that the rate is not finite leaves the likeliest token alone.
  sampler.rate = fminf(kLog2E / heat, 1e30f);
  if (float smallest = min_p[row]; smallest > 0.0f)
    sampler.least = static_cast<u32>(fminf(smallest, 1.0f) * 2147483648.0f);
  sampler.keep(top_k[row], top_p[row]);
  u32 word0, word1;
  philox(seed[row], u32(position[row]), word0, word1);
  u64 fraction = static_cast<u64>(word0) << 21 | word1 >> 11; // of 2^53
  int token = sampler.locate(false, [&](u64 total) { return __umul64hi(fraction << 11, total); });
  if (threadIdx.x == 0)
    out[row] = token;
}

} // namespace m1k

#endif
