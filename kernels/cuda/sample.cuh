// The next token of each row: greedy, or drawn after temperature, top-k, top-p and min-p.
//
// Grid (1, L), one row a block. Everything that decides between tokens is exact and the same on
// every GPU: exponentials are an FMA polynomial, probabilities 31-bit fixed point summed in 64
// bits, so the order of the sums does not matter; ties go to the lower index. top-k and top-p each
// keep a prefix of the tokens in descending order. The prefix's last token is found without sorting
// the row: a histogram over equal ranges of the logit says which range holds it, that range is
// divided again until it fits a list in shared memory, and only the list is sorted. The row is read
// once to draw, and twice more for each of top-k and top-p.
//
// Facts F: kV, kStride; kThreads = 1024.
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

// 2^31 · 2^x rounded, for x <= 0. The series of 2^f on |f| <= 1/2 to f^7: relative error 5e-9
// before float rounding.
M1K_DEVICE u32 fixed_exp2(float x) {
  if (!(x > -32.0f))
    return 0;
  float n = rintf(x), f = x - n;
  float p = 1.5252733804e-5f;
  p = fmaf(p, f, 1.5403530393e-4f);
  p = fmaf(p, f, 1.3333558146e-3f);
  p = fmaf(p, f, 9.6181291076e-3f);
  p = fmaf(p, f, 5.5504108665e-2f);
  p = fmaf(p, f, 2.4022650696e-1f);
  p = fmaf(p, f, 6.9314718056e-1f);
  p = fmaf(p, f, 1.0f);
  return __float2uint_rn(p * __uint_as_float(u32(int(n) + 31 + 127) << 23));
}

template <class F> struct Sampler {
  static constexpr int kThreads = F::kThreads, kBins = 2048, kList = 4096, kWarps = kThreads / 32;
  static_assert(kThreads == 1024, "the scans take two bins and four entries a thread");

  struct Shared {
    union {
      struct {
        u64 measure[kBins];
        u32 count[kBins];
      } bins;
      u64 list[kList];
    };
    u64 scan[kWarps + 1];
    float low[kWarps], high[kWarps];
    int where[kWarps];
    u64 result[2];
    int entries, bin;
  };
  Shared &shared = *reinterpret_cast<Shared *>(m1k_shared);
  const float *row;
  float peak, rate;        // largest logit; log2(e) / temperature
  float cut = -infinity(); // kept so far: above the cut, or at it with an index up to cut_index
  int cut_index = F::kV;
  u32 least = 0; // and a weight of at least this

  M1K_DEVICE Sampler(const float *row) : row(row) {}

  template <class Function> M1K_DEVICE void each(Function function) {
    // Loads of a round come before its work, which may store.
    constexpr int kRound = 8;
    int i = threadIdx.x;
    for (; i + (kRound - 1) * kThreads < F::kV; i += kRound * kThreads) {
      float values[kRound];
#pragma unroll
      for (int k = 0; k < kRound; ++k)
        values[k] = row[i + k * kThreads];
#pragma unroll
      for (int k = 0; k < kRound; ++k)
        function(i + k * kThreads, values[k]);
    }
    for (; i < F::kV; i += kThreads)
      function(i, row[i]);
  }
  M1K_DEVICE bool kept(int i, float logit) const {
    return logit > cut || (logit == cut && i <= cut_index);
  }
  M1K_DEVICE u32 weight(float logit) const { return fixed_exp2((logit - peak) * rate); }

  // Exclusive prefix sum over the block's threads, and the sum of all.
  M1K_DEVICE u64 prefix(u64 mine, u64 &total) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
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
      u64 sum = shared.scan[lane], before = sum;
#pragma unroll
      for (int d = 1; d < 32; d <<= 1) {
        u64 below = __shfl_up_sync(0xffffffffu, sum, d);
        sum += lane >= d ? below : 0;
      }
      shared.scan[lane] = sum - before;
      if (lane == 31)
        shared.scan[kWarps] = sum;
    }
    __syncthreads();
    total = shared.scan[kWarps];
    return shared.scan[warp] + inclusive - mine;
  }

  // Smallest and largest of the values that threads hold.
  M1K_DEVICE void extremes(float &low, float &high) {
    low = -lane_max<32>(-low);
    high = lane_max<32>(high);
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
      shared.low[threadIdx.x / 32] = low;
      shared.high[threadIdx.x / 32] = high;
    }
    __syncthreads();
    low = -lane_max<32>(-shared.low[threadIdx.x % 32]);
    high = lane_max<32>(shared.high[threadIdx.x % 32]);
  }

  // The first index of the largest logit; -1 when one is NaN or the largest is not finite.
  M1K_DEVICE int argmax() {
    float best = -infinity();
    int index = F::kV;
    each([&](int i, float logit) {
      logit = logit == logit ? logit : infinity();
      if (logit > best || (logit == best && i < index)) {
        best = logit;
        index = i;
      }
    });
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
    if (threadIdx.x % 32 == 0) {
      shared.high[threadIdx.x / 32] = best;
      shared.where[threadIdx.x / 32] = index;
    }
    __syncthreads();
    best = shared.high[threadIdx.x % 32];
    index = shared.where[threadIdx.x % 32];
    join();
    __syncthreads();
    peak = best;
    return best > -infinity() && best < infinity() ? index : -1;
  }

  // In index order, the first index at which the running sum of value(i, logit) exceeds target(sum
  // of all); the last with a value if none does.
  template <class Target, class Value> M1K_DEVICE int find_in_order(Target target_of, Value value) {
    constexpr int kShare = (F::kV + kWarps - 1) / kWarps;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, begin = warp * kShare,
        end = min(begin + kShare, F::kV);
    u64 mine = 0;
#pragma unroll 8
    for (int i = begin + lane; i < end; i += 32)
      mine += value(i, row[i]);
#pragma unroll
    for (int d = 16; d > 0; d >>= 1)
      mine += __shfl_xor_sync(0xffffffffu, mine, d);
    if (threadIdx.x == 0) { // what is found when nothing has a value
      shared.where[0] = 0;
      shared.result[1] = 0;
    }
    u64 total, before = prefix(lane == 0 ? mine : 0, total);
    before = __shfl_sync(0xffffffffu, before, 0);
    u64 target = target_of(total);
    if (target >= total)
      target = total > 0 ? total - 1 : 0;
    // The warp whose share holds it names the share; then all threads search that, a few neighbours
    // each.
    if (lane == 0 && target >= before && target < before + mine) {
      shared.where[0] = begin;
      shared.result[1] = before;
    }
    __syncthreads();
    begin = shared.where[0];
    before = shared.result[1];
    end = min(begin + kShare, F::kV);
    constexpr int kFew = (kShare + kThreads - 1) / kThreads;
    u64 values[kFew], sum = 0;
#pragma unroll
    for (int k = 0; k < kFew; ++k) {
      int i = begin + threadIdx.x * kFew + k;
      values[k] = i < end ? value(i, row[i]) : 0;
      sum += values[k];
    }
    u64 share, running = before + prefix(sum, share);
#pragma unroll
    for (int k = 0; k < kFew; ++k) {
      if (target >= running && target < running + values[k])
        shared.where[0] = begin + threadIdx.x * kFew + k;
      running += values[k];
    }
    __syncthreads();
    int found = shared.where[0];
    __syncthreads();
    return found;
  }

  // Ascending, in shared.list; `size` is a power of two.
  M1K_DEVICE void sort(int size) {
    for (int span = 2; span <= size; span *= 2)
      for (int step = span / 2; step > 0; step /= 2) {
        __syncthreads();
        for (int i = threadIdx.x; i < size; i += kThreads) {
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

  // Moves the cut up so that what is kept is the shortest prefix, in descending order, whose
  // measure (1 each, or weights) reaches need_of(measure of all). Tokens without weight, below
  // 2^-32 of the likeliest, are left out of account: they are never drawn.
  template <bool by_weight, class Need> M1K_DEVICE void cut_at(Need need_of) {
    auto measure = [&](float logit) -> u64 { return by_weight ? weight(logit) : 1; };
    float low = peak - 33.0f / rate, high = peak; // a margin for rounding
    u64 before = 0, need = 0;
    for (bool first = true;; first = false) {
      // Values next to each other may leave no finite scale: the largest is then in the first bin
      // (0 · inf counts as 0) and all others in the last. So every round parts the largest from the
      // smallest, and the loop ends.
      float scale = kBins / (high - low);
      auto bin = [&](float logit) {
        return min(__float2int_rz((high - logit) * scale), kBins - 1); // NaN gives 0, inf INT_MAX
      };
      auto inside = [&](int i, float logit) {
        return logit >= low && logit <= high && kept(i, logit);
      };
      __syncthreads();
      for (int i = threadIdx.x; i < kBins; i += kThreads)
        shared.bins.measure[i] = 0, shared.bins.count[i] = 0;
      __syncthreads();
      each([&](int i, float logit) {
        if (inside(i, logit)) {
          int b = bin(logit);
          atomicAdd(&shared.bins.count[b], 1u);
          atomicAdd(&shared.bins.measure[b], measure(logit));
        }
      });
      __syncthreads();
      u64 a = shared.bins.measure[2 * threadIdx.x], b = shared.bins.measure[2 * threadIdx.x + 1],
          total;
      u64 sum = before + prefix(a + b, total);
      if (first)
        need = need_of(total);
      if (before + total < need)
        return; // everything is not enough: all stay
      if (threadIdx.x == 0)
        shared.bin = kBins;
      __syncthreads();
      if (sum < need && sum + a + b >= need) {
        bool second = sum + a < need;
        shared.bin = 2 * threadIdx.x + second;
        shared.result[0] = second ? sum + a : sum;
      }
      __syncthreads();
      int chosen = shared.bin;
      before = shared.result[0];
      u32 count = shared.bins.count[chosen];
      __syncthreads();
      if (count <= kList) {
        if (threadIdx.x == 0)
          shared.entries = 0;
        __syncthreads();
        each([&](int i, float logit) {
          if (inside(i, logit) && bin(logit) == chosen) {
            u32 bits = __float_as_uint(logit + 0.0f); // -0 sorts as 0
            u32 ascending = bits >> 31 ? ~bits : bits | 0x80000000u;
            shared.list[atomicAdd(&shared.entries, 1)] =
                static_cast<u64>(~ascending) << 32 | u32(i);
          }
        });
        int size = 1;
        while (size < int(count))
          size *= 2;
        __syncthreads();
        for (int i = count + threadIdx.x; i < size; i += kThreads)
          shared.list[i] = ~0ull;
        sort(size);
        u64 values[kList / kThreads], sum_here = 0;
#pragma unroll
        for (int k = 0; k < kList / kThreads; ++k) {
          int at = threadIdx.x * (kList / kThreads) + k;
          values[k] = at < int(count) ? measure(row[u32(shared.list[at])]) : 0;
          sum_here += values[k];
        }
        u64 running = before + prefix(sum_here, total);
#pragma unroll
        for (int k = 0; k < kList / kThreads; ++k) {
          int at = threadIdx.x * (kList / kThreads) + k;
          if (at < int(count) && running < need && running + values[k] >= need)
            shared.where[0] = int(u32(shared.list[at]));
          running += values[k];
        }
        __syncthreads();
        cut_index = shared.where[0];
        cut = row[cut_index];
        __syncthreads();
        return;
      }
      float narrow_low = infinity(), narrow_high = -infinity();
      each([&](int i, float logit) {
        if (inside(i, logit) && bin(logit) == chosen) {
          narrow_low = fminf(narrow_low, logit);
          narrow_high = fmaxf(narrow_high, logit);
        }
      });
      extremes(narrow_low, narrow_high);
      low = narrow_low;
      high = narrow_high;
      if (low == high) { // equal logits: the first of them by index
        u64 each_one = measure(low),
            wanted = each_one > 0 ? (need - before + each_one - 1) / each_one : 1;
        int index = find_in_order(
            [&](u64) { return wanted - 1; },
            [&](int i, float logit) -> u64 { return logit == low && kept(i, logit); });
        cut = low;
        cut_index = index;
        return;
      }
    }
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
  int k = top_k[row];
  float p = top_p[row], least = min_p[row];
  if (k > 0 && k < F::kV)
    sampler.template cut_at<false>([&](u64) { return u64(k); });
  if (p < 1.0f) {
    // At least one token stays. One rounding in double (p has 24 bits, the sum up to 49), the same
    // everywhere.
    sampler.template cut_at<true>([&](u64 total) {
      u64 need =
          static_cast<u64>(ceil(static_cast<double>(fmaxf(p, 0.0f)) * static_cast<double>(total)));
      return need > 0 ? need : 1;
    });
  }
  if (least > 0.0f)
    sampler.least = static_cast<u32>(fminf(least, 1.0f) * 2147483648.0f);
  u32 word0, word1;
  philox(seed[row], u32(position[row]), word0, word1);
  u64 fraction = static_cast<u64>(word0) << 21 | word1 >> 11; // of 2^53
  int token = sampler.find_in_order([&](u64 total) { return __umul64hi(fraction << 11, total); },
                                    [&](int i, float logit) -> u64 {
                                      u32 w = sampler.kept(i, logit) ? sampler.weight(logit) : 0;
                                      return w >= sampler.least ? w : 0;
                                    });
  if (threadIdx.x == 0)
    out[row] = token;
}

} // namespace m1k

#endif
