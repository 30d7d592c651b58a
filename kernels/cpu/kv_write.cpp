// Keys and values of codes with scales on their way into the paged cache, and the rotation of q and
// k before.
#include "vector.h"

using namespace m1k;

namespace {

/// A head from element `from` of x to element `target` of `to`; its first `turned` columns turn by
/// the angles of `table`: cosines, then sines.
M1K_INLINE void turn(void *to, int to_type, long target, const void *x, int type, long from,
                     const float *table, int turned, int head_dim) {
  int half = turned / 2;
  forVectors(half, [&](int i, int width) M1K_BODY {
    Floats u = load(x, type, from + i, width), v = load(x, type, from + half + i, width),
           cosine = load(table, M1K_F32, i, width), sine = load(table, M1K_F32, half + i, width);
    store(to, to_type, target + i, width, u * cosine - v * sine);
    store(to, to_type, target + half + i, width, v * cosine + u * sine);
  });
  forVectors(head_dim - turned, [&](int i, int width) M1K_BODY {
    store(to, to_type, target + turned + i, width, load(x, type, from + turned + i, width));
  });
}

/// The codes of a row, and its scale.
M1K_INLINE void quantise(const float *row, int head_dim, int type, char *codes, float *scale) {
#pragma clang fp contract(off)
  Bits sizes = 0;
  forVectors(head_dim, [&](int i, int width) M1K_BODY {
    Bits size = bits<Bits>(load(row, M1K_F32, i, width)) & 0x7fffffffu;
    sizes = size > sizes ? size : sizes;
  });
  unsigned size = 0; // of numbers that are none more than of all others
  for (int i = 0; i < lanes; ++i)
    size = sizes[i] > size ? sizes[i] : size;
  const float most = type == M1K_I8 ? 127.0f : 448.0f, largest = bits<float>(size);
  const bool finite = size < 0x7f800000u, counts = finite && largest >= 0x1p-100f;
  *scale = counts ? largest / most : finite ? 0.0f : __builtin_nanf("");
  const float factor = counts ? most / largest : 0.0f;
  forVectors(head_dim, [&](int i, int width) M1K_BODY {
    Floats wide = counts ? load(row, M1K_F32, i, width) * factor : Floats(0.0f);
    Octets octets;
    if (type == M1K_I8) {
      const float magic = 12582912.0f; // its last place is 1
      octets =
          bits<Octets>(__builtin_convertvector(bits<Ints>(wide + magic) - bits<int>(magic), Bytes));
    } else {
      octets = narrowE4m3(wide);
    }
    if (width == lanes)
      __builtin_memcpy(codes + i, &octets, sizeof(octets));
    else
      for (int j = 0; j < width; ++j)
        codes[i + j] = static_cast<char>(octets[j]);
  });
}

} // namespace

// Writes the rows [begin, end) of k and v, [T, kv_heads * head_dim], into a cache of M1K_I8 or
// M1K_E4M3 as m1k_cpu_attention reads it, at their positions: codes and scales as m1.kv_cache says.
// With a table [T, turned] of cosines, then sines, the first `turned` columns of each head of k
// turn before, and those of q [T, heads * head_dim] on the way to out; without one q and out are
// null. Stack: 4 * head_dim bytes.
M1K_ENTRY void m1k_cpu_kv_write(void *out, const void *q, const void *k, const void *v,
                                const float *table, void *cache, const int *positions,
                                const int *token_sequence, const int *block_tables,
                                const m1_dims *dims, long begin, long end, int heads, int kv_heads,
                                int head_dim, int turned, int kv_type, int out_type,
                                long out_stride, int q_type, long q_stride, int k_type,
                                long k_stride, int v_type, long v_stride, long table_stride) {
  const long codeBytes = static_cast<long>(M1_PAGE_SIZE) * head_dim,
             plane = codeBytes + M1_PAGE_SIZE * static_cast<long>(sizeof(float));
  float *buffer = M1K_STACK(head_dim);
  for (long row = begin; row < end; ++row) {
    const float *angles = turned ? table + row * table_stride : nullptr;
    for (int head = 0; head < heads; ++head)
      turn(out, out_type, row * out_stride + static_cast<long>(head) * head_dim, q, q_type,
           row * q_stride + static_cast<long>(head) * head_dim, angles, turned, head_dim);
    int position = positions[row], place = position % M1_PAGE_SIZE;
    long page = block_tables[static_cast<long>(token_sequence[row]) * dims->max_pages +
                             position / M1_PAGE_SIZE];
    for (int head = 0; head < 2 * kv_heads; ++head) { // keys, then values
      bool isKey = head < kv_heads;
      long column = static_cast<long>(head % kv_heads) * head_dim;
      if (isKey)
        turn(buffer, M1K_F32, 0, k, k_type, row * k_stride + column, angles, turned, head_dim);
      else
        turn(buffer, M1K_F32, 0, v, v_type, row * v_stride + column, angles, 0, head_dim);
      char *base = static_cast<char *>(cache) + (page * 2 * kv_heads + head) * plane;
      quantise(buffer, head_dim, kv_type, base + static_cast<long>(place) * head_dim,
               reinterpret_cast<float *>(base + codeBytes) + place);
    }
  }
}
