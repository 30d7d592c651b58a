// The device's own kernels: dummy weights, conversions of weights, and weights made of tensors of a
// checkpoint. Compiled ahead into support_ptx.h (see generate_support_ptx.sh), so that the runtime
// needs neither a CUDA toolkit nor an artifact to have them.
#define __CUDACC__
#define __host__ __attribute__((host))
#define __device__ __attribute__((device))
#include "../../../kernels/include/m1k_e4m3.h"
#include "../../schema/dummy_weights.h"
#include "support_exp.h"

#define KERNEL extern "C" __attribute__((global)) void
typedef unsigned short bf16_bits;

static __device__ inline unsigned long long first_index() {
  return (unsigned long long)__nvvm_read_ptx_sreg_ctaid_x() * __nvvm_read_ptx_sreg_ntid_x() +
         __nvvm_read_ptx_sreg_tid_x();
}
static __device__ inline unsigned long long index_stride() {
  return (unsigned long long)__nvvm_read_ptx_sreg_nctaid_x() * __nvvm_read_ptx_sreg_ntid_x();
}

// Round to nearest even; NaN stays NaN.
static __device__ inline bf16_bits to_bf16(float value) {
  unsigned bits = __builtin_bit_cast(unsigned, value);
  if ((bits & 0x7fffffffu) > 0x7f800000u)
    return (bf16_bits)((bits >> 16) | 0x40);
  return (bf16_bits)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static __device__ inline float dummy(unsigned long long key, unsigned long long i, float scale,
                                     float offset) {
  return __builtin_fmaf((float)m1_dummy_integer(key, i), scale, offset);
}

// scale is dummy_scale * M1_DUMMY_INVERSE_DEVIATION.
KERNEL m1_fill_dummy_f32(float *out, unsigned long long count, unsigned long long key, float scale,
                         float offset) {
  for (unsigned long long i = first_index(); i < count; i += index_stride())
    out[i] = dummy(key, i, scale, offset);
}
KERNEL m1_fill_dummy_bf16(bf16_bits *out, unsigned long long count, unsigned long long key,
                          float scale, float offset) {
  for (unsigned long long i = first_index(); i < count; i += index_stride())
    out[i] = to_bf16(dummy(key, i, scale, offset));
}
KERNEL m1_fill_dummy_i8(signed char *out, unsigned long long count, unsigned long long key,
                        float scale, float offset) {
  for (unsigned long long i = first_index(); i < count; i += index_stride())
    out[i] = m1_dummy_i8(dummy(key, i, scale, offset));
}
KERNEL m1_fill_dummy_i4x2(unsigned char *out, unsigned long long count, unsigned long long key,
                          float scale, float offset) {
  for (unsigned long long i = first_index(); i < count; i += index_stride())
    out[i] = m1_dummy_i4x2(dummy(key, 2 * i, scale, offset), dummy(key, 2 * i + 1, scale, offset));
}
KERNEL m1_fill_dummy_f8e4m3(unsigned char *out, unsigned long long count, unsigned long long key,
                            float scale, float offset) {
  for (unsigned long long i = first_index(); i < count; i += index_stride())
    out[i] = m1k_e4m3_of(dummy(key, i, scale, offset));
}
KERNEL m1_convert_bf16_f32(float *out, const bf16_bits *in, unsigned long long count) {
  for (unsigned long long i = first_index(); i < count; i += index_stride())
    out[i] = __builtin_bit_cast(float, (unsigned)in[i] << 16);
}
// One row of the grid copies one range, 16 bytes at a time where its ends allow.
struct Range {
  char *target;
  const char *source;
  unsigned long long bytes;
};
struct Ranges {
  Range of[64];
};
KERNEL m1_copy_ranges(const Ranges ranges) {
  const Range range = ranges.of[__nvvm_read_ptx_sreg_ctaid_y()];
  unsigned long long ends =
      (unsigned long long)range.target | (unsigned long long)range.source | range.bytes;
  if (ends % 16 == 0) {
    typedef unsigned vector __attribute__((ext_vector_type(4)));
    for (unsigned long long i = first_index(); i < range.bytes / 16; i += index_stride())
      ((vector *)range.target)[i] = ((const vector *)range.source)[i];
  } else {
    for (unsigned long long i = first_index(); i < range.bytes; i += index_stride())
      range.target[i] = range.source[i];
  }
}

// Tokens that a sampling on the device has chosen, by logits row, become a step's input. A row
// without a token (-1) feeds 0; what follows it is dropped.
KERNEL m1_take_chosen(int *tokens, const int *rows, const int *chosen, unsigned long long count) {
  for (unsigned long long i = first_index(); i < count; i += index_stride())
    if (rows[i] >= 0)
      tokens[i] = chosen[rows[i]] < 0 ? 0 : chosen[rows[i]];
}
KERNEL m1_convert_f32_bf16(bf16_bits *out, const float *in, unsigned long long count) {
  for (unsigned long long i = first_index(); i < count; i += index_stride())
    out[i] = to_bf16(in[i]);
}

// Elements of a weight, made of those of a checkpoint. Types and transforms are the numbers of the
// schema's ElementType and WeightTransform.
enum { F32 = 0, BF16 = 1 };
enum { NEG_EXP = 1, TWICE = 2, PLUS_ONE = 3 };

static __device__ inline float from_f16(bf16_bits bits) {
  const unsigned sign = (unsigned)(bits & 0x8000) << 16, exponent = bits >> 10 & 31,
                 mantissa = bits & 0x3ff;
  if (exponent == 31)
    return __builtin_bit_cast(float, sign | 0x7f800000 | mantissa << 13);
  if (exponent)
    return __builtin_bit_cast(float, sign | (exponent + 112) << 23 | mantissa << 13);
  const float value = (float)mantissa * 0x1p-24f; // subnormal: exact
  return sign ? -value : value;
}

KERNEL m1_write_weight(void *out, const void *in, unsigned long long count, int out_type,
                       int in_type, int transform) {
  for (unsigned long long i = first_index(); i < count; i += index_stride()) {
    float value;
    if (in_type == F32)
      value = ((const float *)in)[i];
    else if (in_type == BF16)
      value = __builtin_bit_cast(float, (unsigned)((const bf16_bits *)in)[i] << 16);
    else
      value = from_f16(((const bf16_bits *)in)[i]);
    if (transform == NEG_EXP)
      value = m1_neg_exp(value);
    else if (transform == TWICE)
      value *= 2;
    else if (transform == PLUS_ONE)
      value += 1;
    if (out_type == F32)
      ((float *)out)[i] = value;
    else
      ((bf16_bits *)out)[i] = to_bf16(value);
  }
}
