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
#define M1K_I8 2 // of weights and caches
// Of weights: 128 columns of int4 are 32 words of 16 bits, of which word w holds column 32 * p + w
// in bits 4 * p to 4 * p + 3; a row is whole blocks of these.
#define M1K_I4 3
#define M1K_E4M3 4 // of weights and caches
#define M1K_F16 5  // of states and scales
// Of scales of groups: f32, behind each a minimum of f32. Weights are code * scale - minimum; int4
// are from 0 to 15.
#define M1K_F32_MINIMUM 6

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

#ifdef __cplusplus
extern "C" {
#endif

// Mamba-1 scan. Domain: sequences, one a group; grid_x = ceil(d_inner / channel_block), a group
// owns channels [group_x * channel_block, …). s[c,n] = exp(Δ A[c,n]) s[c,n] + Δ B[b,n] x[c], y[c] =
// Σ_n s[c,n] C[k,n] + d[c] x[c], gated by silu(z[c]). B has b_columns, heads of d_state, each for
// as many neighbouring channels: b = c / (d_inner / heads); so has C. x has x_columns columns:
// d_inner, or fewer, then heads of d_state that stand d_inner / x_columns times in a row. Δ = dt +
// dt_bias, through softplus if delta_softplus. a is [d_inner, d_state], negative. d, z, dt_bias may
// be null. state: [slots][d_inner][d_state] of state_type. `share`: neighbouring channels from a
// multiple of it on read one head of B and of C, and neighbouring columns of x. Stack: 64 * d_state
// bytes.
void m1k_cpu_selective_scan(void *out, const void *x, const void *dt, const float *a, const void *b,
                            const void *c, const float *d, const void *z, const float *dt_bias,
                            void *state, const int *sequence_starts, const int *slots,
                            const int *positions, const m1_dims *dims, int group_x, int group_y,
                            // constants
                            int d_inner, int x_columns, int b_columns, int c_columns, int d_state,
                            int share, int delta_softplus, int channel_block, //
                            int state_type, int out_type, long out_stride, int x_type,
                            long x_stride, int dt_type, long dt_stride, int b_type, long b_stride,
                            int c_type, long c_stride, int z_type, long z_stride);

// Mamba-2 scan of `heads` heads of P = head_dim rows by N = d_state. Domain: sequences, one a
// group; grid_x = ceil(heads * P / channel_block), channel c = h * P + p. s[h,p,n] = exp(Δ[h] A[h])
// s[h,p,n] + Δ[h] x[hx,p] B[hb,n], y[h,p] = Σ_n s[h,p,n] C[hc,n] + d[h] x[hx,p]. x has x_heads
// heads of P columns, each for as many neighbouring heads: hx = h / (heads / x_heads); so have B
// and C with heads of N columns. Δ = softplus(dt + dt_bias) if delta_softplus, else dt + dt_bias;
// dt has `heads` columns. a, d, dt_bias: [heads]; d and dt_bias may be null. state:
// [slots][heads][P][N] of state_type. Stack: 64 * d_state bytes.
void m1k_cpu_ssd_scan(void *out, const void *x, const void *dt, const float *a, const void *b,
                      const void *c, const float *d, const float *dt_bias, void *state,
                      const int *sequence_starts, const int *slots, const int *positions,
                      const m1_dims *dims, int group_x, int group_y,
                      // constants
                      int heads, int head_dim, int d_state, int x_heads, int b_heads, int c_heads,
                      int delta_softplus, int channel_block, //
                      int state_type, int out_type, long out_stride, int x_type, long x_stride,
                      int dt_type, long dt_stride, int b_type, long b_stride, int c_type,
                      long c_stride);

// Gated delta rule of `heads` value heads, states S of key_size rows by value_size columns. Domain:
// sequences, one a group; grid_x = ceil(heads * value_size / channel_block), a group owns columns
// [group_x * channel_block, …) of the states and of out. q and k have key_heads heads of key_size
// columns, each for as many neighbouring value heads, normalised here: q̂ = scale q / sqrt(Σq² +
// eps), k̂ = k / sqrt(Σk² + eps). S ← exp(decay[h] softplus(a[h] + dt_bias[h])) S, S ← S + k̂ ⊗
// sigmoid(b[h]) (v[h] - Sᵀ k̂), out[h] = Sᵀ q̂. decay, dt_bias: [heads]; dt_bias may be null.
// state: [slots][heads][key_size][value_size] of state_type. Stack: 72 * key_size bytes.
void m1k_cpu_gated_delta(void *out, const void *q, const void *k, const void *v, const void *a,
                         const void *b, const float *decay, const float *dt_bias, void *state,
                         const int *sequence_starts, const int *slots, const int *positions,
                         const m1_dims *dims, int group_x, int group_y,
                         // constants
                         int heads, int key_heads, int key_size, int value_size, float eps,
                         float scale, int channel_block, //
                         int state_type, int out_type, long out_stride, int q_type, long q_stride,
                         int k_type, long k_stride, int v_type, long v_stride, int a_type,
                         long a_stride, int b_type, long b_stride);

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
// position context_lengths[s] - (sequence_starts[s + 1] - t) and sees positions up to its own, the
// last `window` of them if window > 0; pages before those are not read. q, out: [T, heads *
// head_dim]. cache: [pages][2 (K, V)][kv_heads][M1_PAGE_SIZE][head_dim] of kv_type; of M1K_I8 and
// M1K_E4M3 the M1_PAGE_SIZE scales, float, of a head's keys, or values, in a page follow their
// codes. block_tables: [S][dims->max_pages]. Stack: 8 * tokens_per_group * (heads / kv_heads) *
// (head_dim + 16) bytes.
void m1k_cpu_attention(void *out, const void *q, const void *cache, const int *sequence_starts,
                       const int *context_lengths, const int *block_tables, const m1_dims *dims,
                       int group_x, int group_y,
                       // constants
                       int heads, int kv_heads, int head_dim, float scale, int window,
                       int tokens_per_group, //
                       int kv_type, int out_type, long out_stride, int q_type, long q_stride);

// Writes the rows [begin, end) of k and v, [T, kv_heads * head_dim], into a cache as above of
// M1K_I8 or M1K_E4M3, at their positions: codes and scales as m1.kv_cache says. With a table
// [T, turned] of cosines, then sines, the first `turned` columns of each head of k turn before, and
// those of q [T, heads * head_dim] on the way to out; without one q and out are null. Stack: 4 *
// head_dim bytes.
void m1k_cpu_kv_write(void *out, const void *q, const void *k, const void *v, const float *table,
                      void *cache, const int *positions, const int *token_sequence,
                      const int *block_tables, const m1_dims *dims, long begin, long end,
                      // constants
                      int heads, int kv_heads, int head_dim, int turned, int kv_type, int out_type,
                      long out_stride, int q_type, long q_stride, int k_type, long k_stride,
                      int v_type, long v_stride, long table_stride);

// Of each row of logits [T, count]: scores are its softmax, or sigmoid; the `chosen` experts of
// largest score + correction, the smaller index among equals, and their scores, divided by (their
// sum + 1e-20) if `normalize`, times scale. With groups > 1, experts are out in all but the
// kept_groups groups of count / groups >= 2 experts whose two largest have the largest sum.
// Rows that hold a NaN have valid experts and weights of no meaning. correction: [count] or null. A
// group owns rows [begin, end). Stack: 8 * count + 4 * groups bytes.
void m1k_cpu_router(float *weights, int *experts, const float *logits, const float *correction,
                    long begin, long end,
                    // constants
                    int count, int chosen, int sigmoid_scores, int normalize, float scale,
                    int groups, int kept_groups, long weights_stride, long experts_stride,
                    long logits_stride);

// out[t, j * n + i] = Σ_c x[t, c] weight[experts[t, j] * rows + first + i, c], j < chosen; with
// own_columns x has `chosen` ranges of k columns, of which the j-th is meant. weight:
// [experts * rows, k]. grid_x = experts * ceil(n / block): a group owns `block` rows of one expert
// and those of the rows [begin, end) of x that name it; no row names an expert twice. Weights of
// experts that no row names are not read. scale: [experts * rows] f32, by which the sums of a row
// of weights are multiplied; null: 1. With `group` > 0 it is [experts * rows, ceil(k / group)] of
// scale_type, for the weights of `group` columns (a multiple of 16), always so with weights of
// int4.
void m1k_cpu_expert_linear(void *out, const void *x, const int *experts, const void *weight,
                           const void *scale, int group_x, long begin, long end,
                           // constants
                           int rows, int first, int n, int k, int chosen, int own_columns,
                           int block, int group, int weight_type, int scale_type, int out_type,
                           long out_stride, int x_type, long x_stride, long experts_stride);

// out[t, c] = Σ_j weights[t, j] x[t, j * columns + c], j < parts. A group owns rows [begin, end).
void m1k_cpu_combine(void *out, const void *x, const void *weights, long begin, long end,
                     // constants
                     int columns, int parts, int out_type, long out_stride, int x_type,
                     long x_stride, int weights_type, long weights_stride);

// out[t, i] = Σ_c x[t, c] weight[i, c] (· scale[i] (· row_scale[t])) (+ bias[i]), x bf16, by the
// tile registers of a CPU with amx_bf16: products of bf16 summed in f32, of i8 and e4m3 exactly, of
// weights in groups after they were multiplied by their scale and rounded. A group owns rows
// [begin, end), at most `tokens`, and weight rows [first, last), at most `block`. weight: [n, k];
// scale: [n] f32; with `group` > 0, 16 or a multiple of 32, [n, ceil(k / group)] of scale_type for
// so many columns, always so with weights of int4, never of 16; row_scale: [T] or null; bias: [n] or null. Weights
// become tiles `chunk` columns, a multiple of 128, at a time; of integers and at most 32 rows of x,
// those rows do. The process must have the system's permission. Stack: 2 * block * chunk +
// 4 * block * tokens + 64 * tokens bytes, block and tokens rounded up to 32, and 20 KiB.
void m1k_cpu_tile_linear(void *out, const void *x, const void *weight, const void *scale,
                         const float *row_scale, const float *bias, long first, long last,
                         long begin, long end,
                         // constants
                         int k, int block, int tokens, int chunk, int group, int weight_type,
                         int scale_type, int out_type, long out_stride, long x_stride);

#ifdef __cplusplus
}
#endif
#endif
