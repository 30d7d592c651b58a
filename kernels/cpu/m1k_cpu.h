// Hand-tuned CPU kernels: entry points that code generation calls from the body of a plan kernel.
//
// Each file of this directory is some of them, each with its contract above it. Compiled twice from
// the same sources: to a static library (m1_kernels_cpu, for tests, with what the build collects of
// their declarations, m1k_cpu_entries.h) and to LLVM bitcode (M1_CPU_KERNEL_BITCODE) that the
// compiler links into the module it generates. There every argument after `group_y`, or the rows
// [begin, end), is a constant, the entry is inlined, and the constants specialise it. Hence no
// dependence on libc, libm or the C++ library. The bitcode carries the target attributes of a
// generic x86-64; who links it replaces them by those of the module.
//
// Conventions
// - Activations are rows of `*_stride` elements of type `*_type` (M1K_F32 or M1K_BF16), aligned to
//   their element. Pointers to optional operands may be null. `a`, `d`, `bias`, `dt_bias` and
//   convolution weights are float.
// - State is addressed by slots[sequence]; a sequence whose first token in this step has position 0
//   starts from zeros. Every sequence writes its slot back, including one that ends inside the
//   step's first d_conv - 1 tokens. Sequences without tokens are left alone.
// - group_y and group_x are those of the launch grid. Groups write disjoint memory and may run in
//   any order, at once.
// - Everything is computed in float32. Errors of the functions used, against exact values rounded
//   to float32: exp 2 ulp on [-87.3, 88.3] (0 below, saturated above), softplus 3 ulp where the
//   result is normal, sigmoid 4 ulp.
// - Stack: under 8 KiB plus what the entry states.
#ifndef M1K_CPU_H
#define M1K_CPU_H

#include "m1k_abi.h"

#define M1K_F32 0
#define M1K_BF16 1
#define M1K_I8 2 // of weights and caches
// Of weights: 128 columns of int4 are 32 words of 16 bits, of which word w holds column 32 * p + w
// in bits 4 * p to 4 * p + 3; a row is whole blocks of these.
#define M1K_I4 3
#define M1K_E4M3 4 // of weights and caches
#define M1K_F16 5  // of states and scales
// Of scales of groups: f32, behind each a minimum of f32. Weights are code * scale - minimum; int4
// are from 0 to 15.
#define M1K_F32_MINIMUM 6
// Of scales of groups: two levels, blocks for 128 columns. Of groups of 32 with minimums 12 bytes:
// f16 s, f16 m, four unsigned char times s, four times m; of groups of 16 ten: f16 s, eight signed
// char times s.
#define M1K_PAIRED_LEVELS 7
#define M1K_FINE_LEVELS 8

// Channels that one group of a scan or convolution should own: enough work to pay for the call,
// enough groups to share out.
#define M1K_CPU_CHANNEL_BLOCK 128
// Tokens that one group of attention should own in prefill (a multiple shares the loads of K and
// V); 1 for decode.
#define M1K_CPU_ATTENTION_TOKENS 4
// Rows of an expert's weights that one group of expert_linear should own, and tokens: weights come
// from memory once for so many.
#define M1K_CPU_EXPERT_BLOCK 64
#define M1K_CPU_EXPERT_TOKENS 512

#endif
