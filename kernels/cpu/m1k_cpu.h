// Hand-tuned CPU kernels: entry points that code generation calls from the body of a plan kernel.
//
// Compiled twice from the same sources: to a static library (m1_kernels_cpu, for tests) and to LLVM
// bitcode (M1_CPU_KERNEL_BITCODE) that the compiler links into the module it generates. There every
// argument after `group_y` is a constant, the entry is inlined, and the constants specialise it.
// Hence no dependence on libc, libm or the C++ library. The bitcode carries the target attributes
// of a generic x86-64; who links it replaces them by those of the module.
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

// Channels that one group of a scan or convolution should own: enough work to pay for the call,
// enough groups to share out.
#define M1K_CPU_CHANNEL_BLOCK 128
// Tokens that one group of attention should own in prefill (a multiple shares the loads of K and
// V); 1 for decode.
#define M1K_CPU_ATTENTION_TOKENS 4

#ifdef __cplusplus
extern "C" {
#endif

// Mamba-1 scan. Domain: sequences, one a group; grid_x = ceil(d_inner / channel_block), a group
// owns channels [group_x * channel_block, …). For channel c of group g = c / d_state, s[c,n] =
// exp(Δ A[c,n]) s[c,n] + Δ B[g',n] x[c], y[c] = Σ_n s[c,n] C[g,n] + d[c] x[c], gated by silu(z[c]),
// where B (d_xb columns, heads of d_state) repeats each head d_inner / d_xb times: g' = g /
// (d_inner / d_xb). x has x_columns columns: d_inner, or d_xb, then it repeats as B does. Δ = dt +
// dt_bias, through softplus if delta_softplus. a is [d_inner, d_state], negative. d, z, dt_bias may
// be null. state: [slots][d_inner][d_state] of state_type. d_inner and d_xb are multiples of
// d_state. Stack: 64 * d_state bytes.
void m1k_cpu_selective_scan(void *out, const void *x, const void *dt, const float *a, const void *b,
                            const void *c, const float *d, const void *z, const float *dt_bias,
                            void *state, const int *sequence_starts, const int *slots,
                            const int *positions, const m1_dims *dims, int group_x, int group_y,
                            // constants
                            int d_inner, int d_xb, int x_columns, int d_state, int delta_softplus,
                            int channel_block, //
                            int state_type, int out_type, long out_stride, int x_type,
                            long x_stride, int dt_type, long dt_stride, int b_type, long b_stride,
                            int c_type, long c_stride, int z_type, long z_stride);

// Mamba-2 scan. Heads of size P = N = d_state; d_inner = heads * d_state. Domain: sequences, one a
// group; grid_x = ceil(d_inner / channel_block), channel c = h * P + p. s[h,p,n] = exp(Δ[h] A[h])
// s[h,p,n] + Δ[h] x[h',p] B[h',n], y[h,p] = Σ_n s[h,p,n] C[h,n] + d[h] x[h',p], h' = h / (d_inner /
// d_xb): x and B have d_xb columns, C d_inner. Δ = softplus(dt + dt_bias) if delta_softplus, else
// dt + dt_bias; dt has `heads` columns. a, d, dt_bias: [heads]; d and dt_bias may be null. state:
// [slots][heads][P][N] of state_type. Stack: 64 * d_state bytes.
void m1k_cpu_ssd_scan(void *out, const void *x, const void *dt, const float *a, const void *b,
                      const void *c, const float *d, const float *dt_bias, void *state,
                      const int *sequence_starts, const int *slots, const int *positions,
                      const m1_dims *dims, int group_x, int group_y,
                      // constants
                      int heads, int d_xb, int d_state, int delta_softplus, int channel_block, //
                      int state_type, int out_type, long out_stride, int x_type, long x_stride,
                      int dt_type, long dt_stride, int b_type, long b_stride, int c_type,
                      long c_stride);

// Depthwise causal convolution of width d_conv, y[t,c] = bias[c] + Σ_j w[c,j] x[t - (d_conv - 1) +
// j, i(c)], then silu if `silu`. Input has in_channels columns, output in_channels * repeat: each
// input head of head_size channels serves `repeat` consecutive output heads. head_size is not read
// when repeat is 1. Domain: sequences, one a group; grid_x = ceil(in_channels / channel_block), a
// group owns *input* channels. w: [in_channels * repeat, d_conv]; bias may be null. state:
// [slots][d_conv - 1][in_channels] of state_type, oldest row first. Stack: 128 * d_conv bytes.
void m1k_cpu_causal_conv1d(void *out, const void *x, const float *w, const float *bias, void *state,
                           const int *sequence_starts, const int *slots, const int *positions,
                           const m1_dims *dims, int group_x, int group_y,
                           // constants
                           int in_channels, int d_conv, int repeat, int head_size, int silu,
                           int channel_block, //
                           int state_type, int out_type, long out_stride, int x_type,
                           long x_stride);

// Causal grouped-query attention over a paged cache that already holds this step's K and V. Domain:
// tokens, tokens_per_group a group (they may belong to several sequences); grid_x = kv_heads, a
// group owns the heads / kv_heads query heads of KV head group_x. The token t of sequence s has
// position context_lengths[s] - (sequence_starts[s + 1] - t) and sees positions up to its own. q,
// out: [T, heads * head_dim]. cache: [pages][2 (K, V)][kv_heads][M1_PAGE_SIZE][head_dim] of
// kv_type. block_tables: [S][dims->max_pages]. Stack: 8 * tokens_per_group * (heads / kv_heads) *
// (head_dim + 16) bytes.
void m1k_cpu_attention(void *out, const void *q, const void *cache, const int *sequence_starts,
                       const int *context_lengths, const int *block_tables, const m1_dims *dims,
                       int group_x, int group_y,
                       // constants
                       int heads, int kv_heads, int head_dim, float scale, int tokens_per_group, //
                       int kv_type, int out_type, long out_stride, int q_type, long q_stride);

#ifdef __cplusplus
}
#endif
#endif
