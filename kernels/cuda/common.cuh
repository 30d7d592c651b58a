// What the CUDA kernels share: element types, vector accesses, approximate f32 functions with their
// errors, asynchronous copies and tensor-core products. Needs no header of the CUDA toolkit, so
// NVRTC compiles it anywhere.
#ifndef M1K_COMMON_CUH
#define M1K_COMMON_CUH

#include "m1k_abi.h"

#define M1K_DEVICE __device__ __forceinline__

namespace m1k {

typedef unsigned int u32;
typedef unsigned long long u64;

// 16-bit floats as bits; arithmetic is f32.
struct bf16 {
  unsigned short bits;
};
struct f16 {
  unsigned short bits;
};

// Elements of weights that have a scale for each row, and codes of caches.
struct i8 {
  signed char value;
};

// Numbers of float8_e4m3fn (four bits of exponent, bias 7, three of mantissa, no infinities):
// weights that have a scale for each row, rows that have one (e4m3.cuh), and codes of caches.
struct e4m3 {
  unsigned char bits;
};

// Bytes of weights of int4, two to a byte, which have a scale for each group of columns of a row.
// A row is blocks of 128 columns, 64 bytes, the last one filled up; bits 4·p … 4·p+3 of word w, of
// 16 bits, of a block are its column 32·p + w in two's complement (M1/IR/Int4.h).
struct i4x2 {
  unsigned char pair;
};

M1K_DEVICE float to_float(float v) { return v; }
M1K_DEVICE float to_float(i8 v) { return float(v.value); }
M1K_DEVICE float to_float(bf16 v) { return __uint_as_float(u32(v.bits) << 16); }
M1K_DEVICE float to_float(f16 v) {
  float r;
  asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(v.bits));
  return r;
}

// Not of NaN. With its exponent in the place of f16's, whose bias is 8 more, a number is 2^8 times
// less.
M1K_DEVICE float to_float(e4m3 v) {
  u32 bits = (v.bits & 0x80u) << 8 | (v.bits & 0x7fu) << 7;
  return to_float(f16{static_cast<unsigned short>(bits)}) * 256.0f;
}

template <class T> M1K_DEVICE T from_float(float v);
template <> M1K_DEVICE float from_float<float>(float v) { return v; }
template <> M1K_DEVICE bf16 from_float<bf16>(float v) {
  bf16 r;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r.bits) : "f"(v));
  return r;
}
template <> M1K_DEVICE f16 from_float<f16>(float v) {
  f16 r;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r.bits) : "f"(v));
  return r;
}
// low in bits 0..15
M1K_DEVICE u32 pack_bf16(float low, float high) {
  u32 r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}

M1K_DEVICE u32 pack_f16(float low, float high) {
  u32 r;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}

// a · b + c of pairs.
M1K_DEVICE u32 fma_bf16(u32 a, u32 b, u32 c) {
  u32 r;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
  return r;
}
// (a & mask) ^ bits of two constants as one instruction: by itself the compiler makes two.
M1K_DEVICE u32 mask_xor(u32 a, u32 mask, u32 bits) {
  u32 r;
  asm("lop3.b32 %0, %1, %2, %3, 0x6a;" : "=r"(r) : "r"(a), "r"(mask), "r"(bits));
  return r;
}
// Four i8 as pairs of bf16, which every i8 is. The lower seven bits of one in the fraction of 128
// are 128 more than they are; the sign bit in the exponent's place below makes 256 of the 128 that
// is taken away. All three numbers are exact.
M1K_DEVICE void unpack_i8(u32 four, u32 &low, u32 &high) {
  const u32 bytes[2] = {__byte_perm(four, 0, 0x4140), __byte_perm(four, 0, 0x4342)};
  u32 pairs[2];
#pragma unroll
  for (int i = 0; i < 2; ++i)
    pairs[i] = fma_bf16(mask_xor(bytes[i], 0x00800080u, 0x43004300u), 0xbf80bf80u, // -1
                        mask_xor(bytes[i], 0x007f007fu, 0x43004300u));
  low = pairs[0];
  high = pairs[1];
}

// Of eight words of int4 those of plane p: columns 32·p + 0 … 7 from that of the first word in
// plane 0 on, as bf16, which every int4 is. With its sign bit turned an int4 is 8 more than it is
// and stands in the fraction of 128.
M1K_DEVICE u32 unpack_i4(u32 two, int p) {
  return fma_bf16(mask_xor(two >> (4 * p), 0x000f000fu, 0x43084308u), 0x3f803f80u, // 1
                  0xc308c308u);                                                    // -136
}
M1K_DEVICE uint4 unpack_i4(uint4 words, int p) {
  return make_uint4(unpack_i4(words.x, p), unpack_i4(words.y, p), unpack_i4(words.z, p),
                    unpack_i4(words.w, p));
}

// Meets the other warps of `threads` threads of the block at barrier `id`, 1 to 15, from anywhere
// in the code: for roles of warps that branch apart, where __syncthreads() is not allowed.
template <int id, int threads> M1K_DEVICE void named_barrier() {
  static_assert(id > 0 && id < 16 && threads % 32 == 0, "barrier 0 is that of __syncthreads()");
  // bar.sync is barrier.sync.aligned: the lanes of a warp must execute the same one, warps need
  // not. Plain barrier.sync makes the scans 2 to 4 % slower.
  asm volatile("bar.sync %0, %1;" ::"n"(id), "n"(threads) : "memory");
}

// Programmatic dependent launch, on sm_90 and newer. Kernels let their successor be launched at
// once, products with scales of rows when they have their sums (linear.cuh), decode steps of scans
// and of attention with their neighbours when their inputs are there (update.cuh, delta_update.cuh,
// attention_decode.cuh). A successor that is (m1k::cuda::Kernel::launch_early) may do what depends
// on no earlier kernel of the step, whose first one is never early, and then waits until all of
// them have ended and what they wrote is there.
M1K_DEVICE void launch_successor() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}
// What is read through the pointer that comes back is read after the wait: without that dependency
// the compiler may move loads of operands that nobody writes before it.
template <class T> M1K_DEVICE T *wait_for_predecessors(T *operand) {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" : "+l"(operand) : : "memory");
#endif
  return operand;
}

// What another block of this launch has written: from where all see it, not from a first cache.
M1K_DEVICE float load_shared(const float *from) {
  float v;
  asm volatile("ld.relaxed.gpu.global.f32 %0, [%1];" : "=f"(v) : "l"(from));
  return v;
}

// 16 bytes that this kernel does not write. Unlike __ldg it may follow wait_for_predecessors(): the
// data need not have been constant before. Unlike a plain load it may be moved past stores.
M1K_DEVICE uint4 load_16(const void *from) {
  uint4 v;
  asm("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(from));
  return v;
}

template <class A, class B> struct same_type {
  static constexpr bool value = false;
};
template <class A> struct same_type<A, A> {
  static constexpr bool value = true;
};

template <bool first, class A, class B> struct select_type {
  using type = A;
};
template <class A, class B> struct select_type<false, A, B> {
  using type = B;
};

template <class To, class From> M1K_DEVICE To convert(From v) {
  if constexpr (same_type<To, From>::value)
    return v;
  else
    return from_float<To>(to_float(v));
}

template <int v> struct constant {
  static constexpr int value = v;
};

constexpr int min_of(int a, int b) { return a < b ? a : b; }
constexpr int max_of(int a, int b) { return a > b ? a : b; }
constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }
constexpr int round_up(int a, int b) { return ceil_div(a, b) * b; }
constexpr int int4_row_bytes(int columns) { return ceil_div(columns, 128) * 64; }
// Where the words of int4 of the eight columns from `column`, a multiple of 8, on begin in a row,
// and in which plane they are.
M1K_DEVICE int int4_byte(int column) { return column / 128 * 64 + column % 32 * 2; }
M1K_DEVICE int int4_plane(int column) { return column % 128 / 32; }
constexpr int common_divisor(int a, int b) { return b == 0 ? a : common_divisor(b, a % b); }

// Most runs of `length` neighbours that `count` of `total` ones touch which begin at a multiple of
// `count`.
constexpr int runs_of(int count, int length, int total) {
  return min_of((length - common_divisor(count, length) + count - 1) / length + 1,
                ceil_div(total, length));
}

// N elements moved as one access (or several of 16 bytes).
template <class T, int N> struct alignas(N * sizeof(T) > 16 ? 16 : N * sizeof(T)) Pack {
  T v[N];
};
// Reads N elements as f32; `p` is a multiple of min(16, N * sizeof(T)) bytes.
template <int N, class T> M1K_DEVICE void load_floats(float (&out)[N], const T *p) {
  if constexpr ((N & (N - 1)) == 0) {
    Pack<T, N> pack = *reinterpret_cast<const Pack<T, N> *>(p);
#pragma unroll
    for (int i = 0; i < N; ++i)
      out[i] = to_float(pack.v[i]);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i)
      out[i] = to_float(p[i]);
  }
}
template <int N> M1K_DEVICE void load_floats(float (&out)[N], const i8 *p) {
  if constexpr (N % 4 == 0) {
    Pack<u32, N / 4> pack = *reinterpret_cast<const Pack<u32, N / 4> *>(p);
#pragma unroll
    for (int i = 0; i < N / 4; ++i) {
      u32 pairs[2];
      unpack_i8(pack.v[i], pairs[0], pairs[1]);
#pragma unroll
      for (int j = 0; j < 4; ++j)
        out[4 * i + j] = __uint_as_float(j % 2 ? pairs[j / 2] & 0xffff0000u : pairs[j / 2] << 16);
    }
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i)
      out[i] = to_float(p[i]);
  }
}
// Eight bf16 as f32.
M1K_DEVICE void widen_bf16(float (&out)[8], uint4 pairs) {
  const u32 words[4] = {pairs.x, pairs.y, pairs.z, pairs.w};
#pragma unroll
  for (int i = 0; i < 8; ++i)
    out[i] = __uint_as_float(i % 2 ? words[i / 2] & 0xffff0000u : words[i / 2] << 16);
}
// N columns, 8 or 1, from `column`, a multiple of N, on of a row of int4.
template <int N> M1K_DEVICE void load_int4(float (&out)[N], const i4x2 *row, int column) {
  static_assert(N == 8 || N == 1, "a run of words, or one");
  if constexpr (N == 8) {
    widen_bf16(out, unpack_i4(*reinterpret_cast<const uint4 *>(row + int4_byte(column)),
                              int4_plane(column)));
  } else {
    int plane = int4_plane(column);
    int bits = row[int4_byte(column) + plane / 2].pair >> plane % 2 * 4 & 15;
    out[0] = float((bits ^ 8) - 8);
  }
}
// Rows of weights of facts F: WT, kK columns; with kGroup > 0 so many of them have a scale, of ST.
template <class F> struct QuantisedRows {
  static constexpr bool kInt4 = same_type<typename F::WT, i4x2>::value;
  static constexpr bool kGrouped = F::kGroup > 0;
  using Scale = typename select_type<kGrouped, typename F::ST, float>::type;
  // From row to row, of weights and of scales.
  static constexpr int kRow = kInt4 ? int4_row_bytes(F::kK) : F::kK;
  static constexpr bool kByte =
      same_type<typename F::WT, i8>::value || same_type<typename F::WT, e4m3>::value;
  static constexpr bool kRowScales = kByte && !kGrouped;
  static constexpr int kScales = kGrouped     ? ceil_div(F::kK, max_of(F::kGroup, 1))
                                 : kRowScales ? 1
                                              : 0;

  // N columns, at most 16, from k on of row n; of groups times their scale.
  template <int N>
  static M1K_DEVICE void load(float (&out)[N], const typename F::WT *w, const Scale *scale,
                              long long n, int k) {
    if constexpr (kInt4)
      load_int4<N>(out, w + n * kRow, k);
    else
      load_floats<N>(out, w + n * kRow + k);
    if constexpr (kGrouped) {
      const float factor = to_float(scale[n * kScales + k / F::kGroup]);
#pragma unroll
      for (int i = 0; i < N; ++i)
        out[i] *= factor;
    }
  }
};
template <int N, class T> M1K_DEVICE void store_floats(T *p, const float (&in)[N]) {
  if constexpr ((N & (N - 1)) == 0) {
    Pack<T, N> pack;
#pragma unroll
    for (int i = 0; i < N; ++i)
      pack.v[i] = from_float<T>(in[i]);
    *reinterpret_cast<Pack<T, N> *>(p) = pack;
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i)
      p[i] = from_float<T>(in[i]);
  }
}
// load_floats, and store_floats, from and to wherever the elements lie.
template <int N, class T> M1K_DEVICE void load_anywhere(float (&out)[N], const T *from) {
  if (reinterpret_cast<u64>(from) % alignof(Pack<T, N>) == 0) {
    load_floats(out, from);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i)
      out[i] = to_float(from[i]);
  }
}
template <int N, class T> M1K_DEVICE void store_anywhere(T *to, const float (&in)[N]) {
  if (reinterpret_cast<u64>(to) % alignof(Pack<T, N>) == 0) {
    store_floats(to, in);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i)
      to[i] = from_float<T>(in[i]);
  }
}

M1K_DEVICE bool aligned16(const void *p) { return (reinterpret_cast<u64>(p) & 15) == 0; }

// 2^x to 2 ulp, denormals to zero.
M1K_DEVICE float ex2(float x) {
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
// log2 to 2^-22, absolute in (0.5, 2), relative elsewhere.
M1K_DEVICE float lg2(float x) {
  float r;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
// 1 / x to 1 ulp.
M1K_DEVICE float rcp(float x) {
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
constexpr float kLog2E = 1.4426950408889634f;

M1K_DEVICE float silu(float x) { return x * rcp(1.0f + ex2(-x * kLog2E)); }
// log(1 + e^x) = max(x, 0) + log1p(e^-|x|); log1p(e) / e on [0, 1] is a polynomial of degree 7
// (Chebyshev nodes), relative error 3.2e-7.
M1K_DEVICE float softplus(float x) {
  float e = ex2(-fabsf(x) * kLog2E);
  float p = -8.371152552e-3f;
  p = p * e + 4.349389982e-2f;
  p = p * e - 1.068500286e-1f;
  p = p * e + 1.768747670e-1f;
  p = p * e - 2.447477418e-1f;
  p = p * e + 3.327192838e-1f;
  p = p * e - 4.999717452e-1f;
  p = p * e + 9.999997808e-1f;
  return p * e + fmaxf(x, 0.0f);
}

// Rows of a launch: of domain 0 tokens, 1 sequences, 2 logit rows, 3 one.
template <int domain> M1K_DEVICE int rows_of(const m1_dims &dims) {
  return domain == 0   ? dims.tokens
         : domain == 1 ? dims.sequences
         : domain == 2 ? dims.logit_rows
                       : 1;
}

// Sum over the aligned group of `width` lanes (a power of two); every lane gets it.
template <int width> M1K_DEVICE float lane_sum(float v) {
#pragma unroll
  for (int d = width / 2; d > 0; d >>= 1)
    v += __shfl_xor_sync(0xffffffffu, v, d);
  return v;
}
template <int width> M1K_DEVICE float lane_max(float v) {
#pragma unroll
  for (int d = width / 2; d > 0; d >>= 1)
    v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, d));
  return v;
}

// The sequence whose tokens include `token`; called by whole warps with a warp-uniform token <
// sequence_starts[sequences].
M1K_DEVICE int find_sequence(const int *sequence_starts, int sequences, int token) {
  int lane = threadIdx.x & 31, below = 0;
  for (int i = lane; i < sequences; i += 32)
    below += sequence_starts[i] <= token;
#pragma unroll
  for (int d = 16; d > 0; d >>= 1)
    below += __shfl_xor_sync(0xffffffffu, below, d);
  return below - 1;
}

M1K_DEVICE u32 shared_address(const void *p) {
  return static_cast<u32>(__cvta_generic_to_shared(p));
}
// 16 bytes from global to shared memory, or 16 zero bytes when !valid.
M1K_DEVICE void copy_async16(void *shared, const void *global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
               "l"(global), "r"(valid ? 16 : 0)
               : "memory");
}
// 4 or 8 bytes likewise.
template <int bytes> M1K_DEVICE void copy_async(void *shared, const void *global) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(shared_address(shared)),
               "l"(global), "n"(bytes)
               : "memory");
}
M1K_DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int pending> M1K_DEVICE void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// Copies tiles of `tile` rows of `columns` columns to shared memory, one after another, by
// `threads` threads; zeros from row `end` on. column(j) gives the source column of tile column j,
// limit the number of valid tile columns. Where each piece comes from and goes to is worked out
// once. 16-byte pieces when the layout allows (static) and the base is aligned (run time).
template <int tile, int row, int columns, bool vectors, int threads, class T> struct TileCopy {
  static constexpr int kVector = 16 / int(sizeof(T)), kPieces = vectors ? columns / kVector : 1;
  static constexpr int kItems = vectors ? ceil_div(tile * kPieces, threads) : 1;
  const T *base;
  long long stride;
  bool whole;
  int source[kItems]; // elements from the tile's first row, < 0 for zeros
  int packed[kItems]; // element of the shared tile · 256 + row

  template <class Column>
  M1K_DEVICE TileCopy(int thread, const T *base, long long stride, int limit, Column column)
      : base(base), stride(stride) {
    static_assert(tile <= 256, "the row is kept in eight bits");
    whole = vectors && aligned16(base);
    if constexpr (vectors) {
#pragma unroll
      for (int k = 0; k < kItems; ++k) {
        int i = thread + k * threads, t = i / kPieces, j = i % kPieces * kVector;
        source[k] = j < limit ? t * int(stride) + column(j) : -1;
        packed[k] = (t * row + j) << 8 | t;
      }
    }
  }
  template <class Column>
  M1K_DEVICE void operator()(int thread, T *shared, int first, int end, int limit,
                             Column column) const {
    const T *from = base + first * stride; // within a tile 32-bit offsets do
    int rows = end - first;
    if (whole) {
      if constexpr (vectors) {
#pragma unroll
        for (int k = 0; k < kItems; ++k)
          if (tile * kPieces % threads == 0 || thread + k * threads < tile * kPieces) {
            bool valid = source[k] >= 0 && (packed[k] & 255) < rows;
            copy_async16(shared + (packed[k] >> 8), from + (valid ? source[k] : 0), valid);
          }
      }
    } else {
#pragma unroll 1
      for (int i = thread; i < tile * columns; i += threads) {
        int t = i / columns, j = i % columns;
        bool valid = t < rows && j < limit;
        shared[t * row + j] = valid ? from[t * int(stride) + column(j)] : from_float<T>(0.0f);
      }
    }
  }
};

// function(row, column) for every element of a tile, by `threads` threads.
template <int rows, int columns, int threads, class Function>
M1K_DEVICE void walk_tile(int thread, Function function) {
  if constexpr (threads % columns == 0) {
    int j = thread % columns;
#pragma unroll 2
    for (int t = thread / columns; t < rows; t += threads / columns)
      function(t, j);
  } else {
#pragma unroll 2
    for (int i = thread; i < rows * columns; i += threads)
      function(i / columns, i % columns);
  }
}

// Four 8x8 matrices of 16-bit elements; lane i gives the address of row i % 8 of matrix i / 8.
M1K_DEVICE void load_matrices(u32 (&r)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
M1K_DEVICE void load_matrices_transposed(u32 (&r)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
M1K_DEVICE u32 transpose_matrix(u32 r) {
  u32 t;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(t) : "r"(r));
  return t;
}
// d = a (16x16, row) * b (16x8, column), bf16 products summed in f32.
M1K_DEVICE void mma_bf16_first(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%10, %10, %10, %10};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(0.0f));
}
// d += a (16x16, row) * b (16x8, column), likewise.
M1K_DEVICE void mma_bf16(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// The same of f16.
M1K_DEVICE void mma_f16(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

extern __shared__ __align__(16) unsigned char m1k_shared[];

} // namespace m1k

#endif
