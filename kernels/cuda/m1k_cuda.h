// The hand-tuned CUDA kernels seen from a host program: which families there are, what a kernel's
// static facts are, and for each set of facts the CUDA C++ source to give to NVRTC (or nvcc), the
// operands in order and the launch. Needs neither CUDA nor LLVM.
//
//   Description d = describe(SelectiveScan{...}, "scan_3072x16");
//   if (!d.error.empty()) ...                         // the facts contradict each other; names the
//     field
//   for (const Kernel &k : d.kernels)                 // launch in this order
//     compile(k.source, headers = cuda_sources()), then launch k.symbol with k.operands, k.grid_x,
//       k.threads,
//     k.shared_bytes
//
// Every kernel is `extern "C" void symbol(op0 *, op1 *, ..., m1_dims dims)`, grid (grid_x,
// ceil(rows(domain) / rows_per_group)), `threads` threads a block, `shared_bytes` of dynamic shared
// memory (above 48 KB the loader must raise the function's limit). Operand names are the roles of
// m1c::KernelSpec, in its order: inputs, states, batch arrays, outputs; what a kernel adds
// ("workspace", "temporary") comes after the outputs. Names in [brackets] below are there only when
// the facts say so.
//
// Activations are token-major rows with a static stride in elements; columns are contiguous. Fast
// paths need rows and base pointers that are multiples of 16 bytes; rows are checked here, base
// pointers by the kernel, which takes a slower path that is as right. Weights and workspaces are
// 256-byte aligned. What a kernel writes overlaps none of its other operands. Batch arrays are
// int32 as in docs/architecture.md. Vectors (A, D, dt_bias, convolution, norms, biases) are f32.
// All arithmetic is f32 (never TF32) but the tensor-core products of bf16 operands, which sum in
// f32.
#ifndef M1K_CUDA_H
#define M1K_CUDA_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace m1k::cuda {

/// i8, i4x2 (two int4 to a byte, rows as M1/IR/Int4.h describes) and e4m3: weights of products;
/// e4m3 also what rows are rounded to. i8 and e4m3: codes of KV caches, with a scale for each row
/// (m1.kv_cache).
enum class Type : uint8_t { f32, bf16, f16, i8, i4x2, e4m3 };
enum class Domain : uint8_t { one, tokens, sequences, logit_rows };

/// An operand that the kernel takes not as a pointer but as a tensor map by value: a matrix of
/// 16-bit elements in boxes of `box_rows` rows of 64 columns, which lie in shared memory as
/// warpgroup.cuh says; nothing outside is read or written.
struct TensorMap {
  int operand = 0; // its place among the operands
  int rows = 0;    // 0: as many as the step has
  int columns = 0;
  int64_t row_bytes = 0; // from row to row, a multiple of 16
  int box_rows = 0;      // at most 256
};

/// A kernel of a family, for some facts, and how it is launched.
struct Kernel {
  std::string symbol;
  std::string source; // a translation unit; its includes are found among cuda_sources()
  std::vector<std::string> operands;
  int threads = 0;
  int shared_bytes = 0;
  Domain domain = Domain::one;
  int grid_x = 1;
  int rows_per_group = 1;
  /// From sm_90 on, the kernel itself waits for the launches before it: it may be launched before
  /// they have ended (programmatic stream serialization).
  bool launch_early = false;
  /// Its blocks wait for one another: a cooperative launch, of fewer blocks than grid_x where the
  /// device has fewer multiprocessors, and of rows_per_group rows at most.
  bool cooperative = false;
  /// A kernel with tensor maps is machine code for sm_90 alone: in PTX it has no body.
  std::vector<TensorMap> tensor_maps;
};

struct Description {
  std::string error; // empty when the facts are consistent
  std::vector<Kernel> kernels;
  /// Operand "workspace": bytes of scratch, whatever the batch. Contents need not be kept or
  /// cleared between launches of the sequence.
  int64_t workspace_bytes = 0;
  /// Operand "temporary": bytes of scratch for each token of the step, likewise.
  int64_t temporary_bytes_per_row = 0;
};

/// What shapes depend on but the result does not.
struct Tuning {
  // The chip, here an H100: its multiprocessors, and the bytes of shared memory that a block may
  // have and that the blocks of a multiprocessor share (1 KB of it is the system's for each).
  // Shapes fit the former; where none does, the kernels ask for more and the caller refuses.
  int multiprocessors = 132;
  int block_shared_bytes = 227 * 1024;
  int multiprocessor_shared_bytes = 228 * 1024;
  // It is Hopper's: it has warpgroup products (see architecture_of), and chains of products were
  // measured on it.
  bool warpgroups = true;
  // of a decode step; prefill has kernels for few and for many
  int expected_sequences = 8;
  /// Shape of the Mamba-1 scan for any number of sequences; zeros: chosen from the sizes, for few
  /// and for many.
  struct ScanShape {
    int lanes = 0, main_warps = 0, helper_warps = 0, tile = 0, unroll = 0;
  } scan;
};

/// Mamba-1 scan of m1.selective_scan: softplus, skip and gate inside, any mix of sequences, state
/// by slot (zero state where positions[sequence_starts[s]] == 0).
///   x, dt, a, b, c, [d], [z], [dt_bias], state, sequence_starts, slots, positions → out
/// `b` holds b_heads heads of N = d_state columns, each for d_inner / b_heads neighbouring
/// channels; so does `c`. `x` holds d_inner columns, or fewer: then heads of N columns, each
/// d_inner / x_columns times in a row. `a` is A itself (negative). d_state 1..256. `decode`
/// promises one token a sequence and picks the state-update kernel.
struct SelectiveScan {
  Type x_type = Type::bf16, dt_type = Type::bf16, b_type = Type::bf16, c_type = Type::bf16,
       z_type = Type::bf16, out_type = Type::bf16;
  Type state_type = Type::f32;
  int d_inner = 0, d_state = 16, x_columns = 0, b_heads = 1, c_heads = 1;
  int64_t x_stride = 0, dt_stride = 0, b_stride = 0, c_stride = 0, z_stride = 0, out_stride = 0;
  bool has_d = true, has_z = true, has_dt_bias = true, delta_softplus = true;
  bool decode = false;
};
Description describe(const SelectiveScan &facts, const std::string &symbol,
                     const Tuning &tuning = {});

/// What the decode step of a scan does for its neighbours in the same launch.
struct ScanNeighbours {
  /// The convolution before it: x is what the projection left, conv_w is [channels, width], its
  /// state [slots][width - 1][inputs]. silu follows it. Of Mamba-1 x_columns are its inputs, and
  /// channels are these (repeat after it) or d_inner (before). Of Mamba-2 x, b and c are columns of
  /// it, which are its inputs.
  struct Convolution {
    int width = 0; // 0: there is none
    int channels = 0, x_column = 0, b_column = -1, c_column = -1;
    bool has_bias = true, silu = true;
    Type state_type = Type::bf16;
  } conv;
  /// RMS norms of whole rows, of B and C with one head each.
  struct Norm {
    bool present = false, has_weight = true;
    float eps = 1e-5f;
  } dt_norm, b_norm, c_norm;
  /// The projection of dt, whose input of this many columns takes dt's place; 0: there is none.
  int dt_rank = 0;
  Type dt_w_type = Type::bf16;
  /// Of Mamba-2 the gate behind it, of rows z.
  bool has_z = false;
  Type z_type = Type::bf16;
  int64_t z_stride = 0;
  /// And the RMS norm of the gated values in so many groups of neighbouring channels; 0: none. With
  /// one group, out is the gated values times the weight, and squares_out has sums of their squares
  /// for each row: squares_of(grid_x) floats, as a Linear takes them.
  int norm_groups = 0;
  bool has_norm_weight = true, shared_norm_weight = false;
  float norm_eps = 1e-5f;
  /// Counters from one sequence to the next, where counters_of() is not 0; cleared before.
  int counters = 0;
  /// Shaped for steps of few sequences.
  bool few = false;
};

/// The decode steps of scans with neighbours; scan.decode = true.
///   x, [conv_w], [conv_bias], dt, [dt_w], [dt_norm], a, [b], [b_norm], [c], [c_norm], [d], [z],
///     [dt_bias], [norm_w], [conv_state], state, sequence_starts, slots, positions → out,
///     [squares_out], [counters]
Description describe(const SelectiveScan &scan, const ScanNeighbours &neighbours,
                     const std::string &symbol, const Tuning &tuning = {});

/// m1.causal_conv1d: depthwise, then bias, then silu; the last width - 1 inputs of each sequence
/// stay in the state. Channel c reads input channel (c / (head_size · repeat)) · head_size + c %
/// head_size.
///   x, w, [bias], state, sequence_starts, slots, positions → out
struct CausalConv1d {
  Type x_type = Type::bf16, state_type = Type::bf16, out_type = Type::bf16;
  int channels = 0, width = 4, repeat = 1, head_size = 1;
  int64_t x_stride = 0, out_stride = 0;
  bool has_bias = true, silu = true, decode = false;
};
Description describe(const CausalConv1d &facts, const std::string &symbol,
                     const Tuning &tuning = {});

/// Mamba-2 scan of m1.ssd_scan: softplus and skip inside.
///   x, dt, a, b, c, [d], [dt_bias], state, sequence_starts, slots, positions → out, [temporary]
/// With x, b, c and out in bf16 and sizes that tensor cores take, prefill is two launches; before
/// the one above
///   x, dt, a, b, [dt_bias], state, sequence_starts, slots, positions → temporary
/// H heads of P = head_dim rows by N = d_state; x has x_heads heads of P columns, each for H /
/// x_heads neighbouring heads, b and c likewise heads of N columns; dt, a, d, dt_bias have H. state
/// [slots][H][P][N].
struct SsdScan {
  Type x_type = Type::bf16, dt_type = Type::bf16, b_type = Type::bf16, c_type = Type::bf16,
       out_type = Type::bf16;
  Type state_type = Type::f32;
  int heads = 0, head_dim = 0, d_state = 0, x_heads = 0, b_heads = 1, c_heads = 1;
  int64_t x_stride = 0, dt_stride = 0, b_stride = 0, c_stride = 0, out_stride = 0;
  bool has_d = true, has_dt_bias = true, delta_softplus = true;
  bool decode = false;
};
Description describe(const SsdScan &facts, const std::string &symbol, const Tuning &tuning = {});
Description describe(const SsdScan &scan, const ScanNeighbours &neighbours,
                     const std::string &symbol, const Tuning &tuning = {});
/// The counters of a sequence that this launch needs.
int counters_of(const SsdScan &scan, const ScanNeighbours &neighbours);

/// Clears counters of every sequence: one to three buffers, with so many of each.
///   → counters, [counters_1], [counters_2]
struct ClearCounters {
  std::vector<int> counts;
};
Description describe(const ClearCounters &facts, const std::string &symbol, const Tuning & = {});

/// m1.gated_rms_norm: out = rmsnorm over each of `groups` (y · silu(z)) · w, or with norm_first
/// rmsnorm(y) · w · silu(z).
///   y, z, weight → out
/// m1.rms_norm in groups (`gated` false): rmsnorm(x) · w.
///   x, [weight] → out
/// The weight has a value a column, or with shared_weight one a column of a group.
struct GatedRmsNorm {
  Type y_type = Type::bf16, z_type = Type::bf16, out_type = Type::bf16; // y: x
  int features = 0, groups = 1;
  int64_t y_stride = 0, z_stride = 0, out_stride = 0;
  bool gated = true, norm_first = false, has_weight = true, shared_weight = false;
  float eps = 1e-5f;
  Domain domain = Domain::tokens;
};
Description describe(const GatedRmsNorm &facts, const std::string &symbol,
                     const Tuning &tuning = {});

/// m1.gated_delta: the gated delta rule, q and k normalised inside. One launch, token by token:
///   q, k, v, a, b, decay, [dt_bias], state, sequence_starts, slots, positions → out
/// Prefill with q, k, v and out in bf16 and sizes that tensor cores take is two launches, over
/// tiles of 64 tokens:
///   prepare: q, k, a, b, decay, [dt_bias], sequence_starts → workspace, temporary
///   chunks:  q, k, v, state, sequence_starts, slots, positions, workspace, temporary → out
/// With warpgroup products, where keys have 128 columns and values whole blocks of 64, two more
/// stand before them for steps of few sequences, of which chunks begins while prepare runs; these
/// and those pass each other's steps by:
///   prepare: q, k, v, a, b, decay, [dt_bias], sequence_starts → workspace, temporary
///   chunks:  q, k, state, sequence_starts, slots, positions, workspace, temporary → out
/// `heads` value heads; q and k have key_heads heads of key_size columns, each for heads /
/// key_heads neighbouring value heads. a, b, decay, dt_bias have `heads`. state
/// [slots][heads][key_size][value_size]. key_size 1..256.
struct GatedDelta {
  Type q_type = Type::bf16, k_type = Type::bf16, v_type = Type::bf16, a_type = Type::bf16,
       b_type = Type::bf16, out_type = Type::bf16;
  Type state_type = Type::f32;
  int heads = 0, key_heads = 0, key_size = 0, value_size = 0;
  int64_t q_stride = 0, k_stride = 0, v_stride = 0, a_stride = 0, b_stride = 0, out_stride = 0;
  bool has_dt_bias = true, decode = false;
  float eps = 1e-6f, scale = 1.0f;
};
Description describe(const GatedDelta &facts, const std::string &symbol, const Tuning &tuning = {});

/// Its decode step for few sequences with the convolution before it, of which q, k and v are
/// columns, and the gated norm of its heads behind it.
///   x, conv_w, [conv_bias], a, b, decay, [dt_bias], [z], [norm_w], conv_state, state,
///     sequence_starts, slots, positions → out, [counters]
/// x, of conv_channels columns, is the convolution's input; conv_state [slots][width - 1][columns].
struct DeltaUpdate {
  GatedDelta delta; // without q's, k's and v's types and strides
  Type x_type = Type::bf16, conv_state_type = Type::bf16, z_type = Type::bf16;
  int conv_width = 4, conv_channels = 0, q_column = 0, k_column = 0, v_column = 0;
  bool has_conv_bias = false, conv_silu = true;
  int64_t x_stride = 0, z_stride = 0;
  bool has_norm = true, norm_first = true, has_norm_weight = true, shared_norm_weight = true;
  float norm_eps = 1e-6f;
  /// Counters from one sequence to the next, where counters_of() is not 0; cleared before.
  int counters = 0;
};
Description describe(const DeltaUpdate &facts, const std::string &symbol,
                     const Tuning &tuning = {});
int counters_of(const DeltaUpdate &facts);

/// m1.attention: causal softmax(scale · q kᵀ) v over the paged cache, which already holds this
/// step's keys and values. With a window only the last `window` positions up to the token's own
/// are seen, and pages that none of a block's tokens sees are not read.
///   split, prefill: q, cache, sequence_starts, context_lengths, block_tables → out, [workspace]
///   combine:        sequence_starts, context_lengths → out, workspace
/// `decode`: two launches, split over the context and combine in fixed order. Otherwise on tensor
/// cores (bf16, the cache that or codes, head_dim a multiple of 16 up to 256) these two for the
/// sequences of one token, then prefill for the others, with warpgroup products where the cache is
/// bf16 and head_dim 64 or 128; else one launch for all tokens. head_dim 1..512, scale > 0.
/// `shared` (decode on tensor cores, no window) reads pages that sequences have in common once for
/// all of them: a launch before the others, and split and combine pass over those pages.
///   prefix:  q, cache, sequence_starts, block_tables, prefix_items, prefix_slots → workspace
///   split:   q, cache, sequence_starts, context_lengths, block_tables, prefix_slots, prefix_pages
///            → out, workspace
///   combine: sequence_starts, context_lengths, prefix_pages → out, workspace
struct Attention {
  Type type = Type::bf16; // q, out
  Type kv_type = Type::bf16;
  int heads = 0, kv_heads = 0, head_dim = 0;
  int64_t q_stride = 0, out_stride = 0;
  float scale = 1.0f;
  int window = 0; // 0: everything is seen
  bool decode = false;
  bool shared = false; // decode only: prefix_items of the batch arrays are read (m1k_abi.h)
};
Description describe(const Attention &facts, const std::string &symbol, const Tuning &tuning = {});
/// Whether facts of these types and sizes may be `shared`.
bool can_share_prefixes(const Attention &facts);

/// Decode attention for few sequences, on tensor cores with a cache of bf16, and the write of the
/// step's keys and values before it in one launch. With `turned` > 0 so many columns of each head
/// of q and k turn first (m1.rotary_kv_write), else none do (m1.kv_write).
///   q, k, v, [table], cache, sequence_starts, context_lengths, block_tables → out, workspace,
///     counters
struct AttentionStep {
  Attention attention;
  int turned = 0;
  int64_t k_stride = 0, v_stride = 0, table_stride = 0;
  /// From one sequence to the next, of which counters_of() are its own; cleared before.
  int counters = 0;
};
Description describe(const AttentionStep &facts, const std::string &symbol,
                     const Tuning &tuning = {});
int counters_of(const AttentionStep &facts);

/// m1.kv_write and m1.rotary_kv_write into a cache of i8 or e4m3, which is [kv_heads, page_size,
/// head_dim] twice a page, scales behind the codes. With `rotates` the first `turned` columns of
/// each head of k turn before, and those of q on the way to out.
///   [q], k, v, [table], cache, positions, token_sequence, block_tables → [out]
struct KvWrite {
  Type q_type = Type::bf16, k_type = Type::bf16, v_type = Type::bf16, out_type = Type::bf16;
  Type kv_type = Type::i8;
  int heads = 0, kv_heads = 0, head_dim = 0, turned = 0;
  int64_t q_stride = 0, k_stride = 0, v_stride = 0, table_stride = 0, out_stride = 0;
  bool rotates = false;
  Domain domain = Domain::tokens;
};
Description describe(const KvWrite &facts, const std::string &symbol, const Tuning &tuning = {});

/// m1.router: the experts of each row of logits f32 [rows, experts], and their weights. Scores are
/// the row's softmax, or sigmoids; chosen are the largest score + correction, the smaller index
/// among equals; weights are the scores of those, divided by (their sum + 1e-20) if `normalize`,
/// times scale. With groups, experts are out in all but the kept_groups groups whose two largest
/// score + correction have the largest sum. Rows that hold a NaN name experts that exist, each
/// once.
///   logits, [correction] → weights f32, experts i32
struct Router {
  int experts = 0, chosen = 0, groups = 1, kept_groups = 1;
  bool sigmoid = false, normalize = false, has_correction = false;
  float scale = 1.0f;
  int64_t logits_stride = 0, weights_stride = 0, experts_stride = 0;
  Domain domain = Domain::tokens;
};
Description describe(const Router &facts, const std::string &symbol, const Tuning &tuning = {});

/// m1.expert_linear: out[t, j·n + i] = x[t, :] · w[experts[t, j] · rows_per_expert + first + i, :]
/// for each of the `chosen` experts of a row, which names none twice; with own_columns x has
/// `chosen` ranges of k columns, of which the j-th is meant. In bf16 on tensor cores, by expert:
/// weights are read once for up to 64 rows. Otherwise, and for `few_rows`, once for each row.
/// Weights of i8 stand for w · scale of their rows; with `group`, which those of i4x2 have, for w ·
/// scale, of scale_type, of their groups of so many columns; others have no scale.
///   x, experts, weight, [scale] → out
struct ExpertLinear {
  Type x_type = Type::bf16, w_type = Type::bf16, out_type = Type::bf16;
  int group = 0;                // 32, 64 or 128 with i4x2, also 0 with i8
  Type scale_type = Type::bf16; // of groups: bf16 or f16
  int experts = 0, chosen = 0, rows_per_expert = 0, first = 0, n = 0, k = 0;
  bool own_columns = false, few_rows = false;
  int64_t x_stride = 0, experts_stride = 0, out_stride = 0;
  Domain domain = Domain::tokens;
};
Description describe(const ExpertLinear &facts, const std::string &symbol,
                     const Tuning &tuning = {});

/// m1.combine: out[t, c] = Σ_j weights[t, j] · x[t, j·columns + c].
///   x, weights → out
struct Combine {
  Type x_type = Type::bf16, weights_type = Type::f32, out_type = Type::bf16;
  int columns = 0, parts = 0;
  int64_t x_stride = 0, weights_stride = 0, out_stride = 0;
  Domain domain = Domain::tokens;
};
Description describe(const Combine &facts, const std::string &symbol, const Tuning &tuning = {});

/// m1.linear for few rows, streaming the weights once per max_rows rows of x, and what it does for
/// its neighbours: out[m, n] = map(norm[m] · x[m, :] · w[n, :] (+ bias[n])) (+ residual[m, n]).
///   x, weight, [scale], [bias], [map_vector], [squares], [largest], [residual], [norm_weight]
///     → out, [normed], [squares_out], [largest_out]
/// Weights of i8 stand for w[n, :] · scale[n]; with `group`, which those of i4x2 have, for w[n, k]
/// · scale[n, k / group] of scale_type [n][ceil(k / group)]; others have no scale. Of e4m3, from
/// sm_89 on, they stand for w[n, :] · scale[n] too, and x for its rows rounded as by QuantizeRows.
/// `map`: the body of a function in CUDA C++ of v0, and of v2 = map_vector[n / map_share] with a
/// map_share > 0; empty: v0 itself. `gated`: w is [2·n, k], v0 = norm · x·w[0..n)ᵀ, and the map has
/// v1 = norm · x·w[n..2n)ᵀ too, and is silu(v0) · v1 if empty; with neither bias nor residual nor a
/// norm after it.
/// An RMS norm of n columns between two linears is split between them. With `leaves_norm` the first
/// also writes normed = out ∘ norm_weight and squares_out f32 [rows][squares_of(grid_x)], which add
/// up to the row's Σ out². With `squares` > 0, their number, the second takes these as x and
/// `squares`: norm[m] = rsqrt(Σ squares[m, :] / k + eps). Without, norm is 1.
/// So are the largest values of rows that are rounded: with `leaves_largest` the first also writes
/// largest_out [rows][largest_of(grid_x)], of the type of normed or else out, the largest of which
/// is that of the row's absolute values there; with `largest` > 0, their number, a second with
/// weights of e4m3 takes them in the type of x, which it then need not search.
struct Linear {
  Type x_type = Type::bf16, w_type = Type::bf16, out_type = Type::bf16;
  int n = 0, k = 0;
  int64_t x_stride = 0, out_stride = 0;
  int group = 0;                // 32, 64 or 128 with i4x2, also 0 with i8
  Type scale_type = Type::bf16; // of groups: bf16 or f16
  int max_rows = 8;             // 1..16, with groups 1..32
  bool has_bias = false, gated = false;
  std::string map; // "return v0 * 0.5f;"
  int map_share = 0;
  Domain domain = Domain::tokens;
  int squares = 0;
  float eps = 0;
  bool has_residual = false; // f32
  int64_t residual_stride = 0;
  bool leaves_norm = false;
  Type normed_type = Type::bf16;
  int64_t normed_stride = 0;
  int largest = 0;
  bool leaves_largest = false;
};
/// One for each block of the kernel's grid, and zeros up to a multiple of 16 bytes.
constexpr int squares_of(int blocks) { return (blocks + 3) / 4 * 4; }
constexpr int largest_of(int blocks) { return (blocks + 7) / 8 * 8; }
Description describe(const Linear &facts, const std::string &symbol, const Tuning &tuning = {});

/// Linears one after another in one launch, on Hopper: the blocks, of one row group, wait for one
/// another between them.
///   operands of the products, each once, arrived
/// `arrived` is a u32, 0 when the launch begins.
struct LinearChain {
  struct Product {
    Linear facts;
    /// Where x begins in its operand's rows.
    int x_column = 0;
    /// The launch's operand in each role of the product. One that a product writes and one behind
    /// it reads has one name.
    std::vector<std::pair<std::string, std::string>> operands;
    /// The decode step of a convolution whose x are the first outputs; of no channels: there is
    /// none. Its roles are conv_w, [conv_bias], conv_state, slots, positions and conv_out.
    CausalConv1d conv;
  };
  std::vector<Product> products;
};
/// Why a chain cannot have this product; empty: it can. One that can leaves sums of squares of 8
/// columns each also by itself.
std::string refusal_of_chain(const Linear &facts, const Tuning &tuning = {});
Description describe(const LinearChain &facts, const std::string &symbol,
                     const Tuning &tuning = {});

/// The products of a gated MLP for many rows, in bf16 on warpgroup products: weight is [2·n, k],
/// out = map(x·weight[0..n)ᵀ, x·weight[n..2n)ᵀ), map as that of Linear with `gated`. n, k and the
/// strides are multiples of 8, x and out begin at multiples of 16 bytes. All three are tensor maps.
///   x, weight → out
struct GatedProduct {
  std::string map;
  int n = 0, k = 0;
  int64_t x_stride = 0, out_stride = 0;
  Domain domain = Domain::tokens;
};
Description describe(const GatedProduct &facts, const std::string &symbol,
                     const Tuning &tuning = {});

/// m1.linear for tens of rows of bf16 and weights of i8, k a multiple of 16: weights are read once
/// for up to 64 rows.
///   x, weight, scale, [bias] → out
struct TiledLinear {
  Type out_type = Type::bf16;
  int n = 0, k = 0;
  int64_t x_stride = 0, out_stride = 0;
  bool has_bias = false;
  Domain domain = Domain::tokens;
};
Description describe(const TiledLinear &facts, const std::string &symbol,
                     const Tuning &tuning = {});

/// Weights of i8, e4m3 or i4x2 as f32 or bf16: out[n, k] = weight[n, k] · scale[n], or, with
/// `group`, · scale[n, k / group].
///   weight, scale → workspace, of n · k elements
struct Dequantize {
  Type w_type = Type::i8, out_type = Type::bf16;
  int n = 0, k = 0;
  int group = 0;                // 32, 64 or 128 with i4x2, also 0 with i8
  Type scale_type = Type::bf16; // of groups: bf16 or f16
};
Description describe(const Dequantize &facts, const std::string &symbol, const Tuning &tuning = {});

/// m1.quantize_rows, from sm_89 on: rows rounded to e4m3, with the scale that takes the largest
/// absolute value of each to 448. Codes and scales; with another `out_type` what they stand for,
/// rounded to it.
///   x → out, [scale f32 [rows]]; rows of out are k elements apart
/// Codes also of rows that are made in the same launch, k a multiple of 8 up to 16384, and rounded
/// to x_type before. Those of silu·mul:
///   a, b → out, scale
/// and of a residual's sum and its RMS norm, as of m1.add_rms_norm:
///   residual, x, weight → sum, out, scale
struct QuantizeRows {
  enum class Of : uint8_t { rows, gate, norm };
  Of of = Of::rows;
  Type x_type = Type::bf16, out_type = Type::e4m3;
  int k = 0;
  int64_t x_stride = 0; // of rows
  Domain domain = Domain::tokens;
  // a and b, or residual and x; sum
  Type first_type = Type::bf16, second_type = Type::bf16, sum_type = Type::f32;
  int64_t first_stride = 0, second_stride = 0, sum_stride = 0;
  float eps = 0, factor = 1; // of x in the residual's sum
};
Description describe(const QuantizeRows &facts, const std::string &symbol,
                     const Tuning &tuning = {});

/// Greedy choice: the first index of the largest logit.                             logits → out
/// A row that holds a NaN, or whose largest logit is not finite, gives -1.
/// With `random`, each row samples as its parameters say:
///   logits, likeliest i32[L] (the greedy choice), temperature f32[L], top_k i32[L], top_p f32[L],
///     min_p
///   f32[L], seed u64[L], position i32[L] → out
/// temperature <= 0, or -1 in likeliest: what is there. Otherwise p = softmax(logits /
/// temperature); keep the top_k largest (<= 0 or >= V: all; ties at the border go to the lower
/// index); of those, renormalised, the fewest of the largest that hold at least top_p (>= 1: all);
/// of those the ones of at least min_p times the largest p (<= 0: all). The draw is
/// Philox4x32-10(key = seed, counter = position), its first two words the 53-bit fraction; ids in
/// index order. Same logits and parameters give the same id on any GPU: probabilities are summed in
/// fixed point.
struct Sample {
  int vocabulary = 0;
  int64_t logits_stride = 0;
  bool random = false;
};
Description describe(const Sample &facts, const std::string &symbol, const Tuning &tuning = {});

/// A header that the sources include.
struct SourceFile {
  const char *name;
  const char *text;
};
/// All headers, m1k_abi.h among them. `count` gets their number.
const SourceFile *cuda_sources(size_t *count);
/// What NVRTC compiles a source for to get machine code for `chip` ("sm_90"): the chip itself, but
/// sm_90a for sm_90 where the source has a body of Hopper's own instructions. There is no other GPU
/// that machine code for sm_90 runs on. PTX for newer GPUs has the other body: compute_90.
std::string architecture_of(const std::string &source, const std::string &chip);
/// Options for NVRTC apart from --gpu-architecture.
std::vector<std::string> nvrtc_options();

} // namespace m1k::cuda

#endif
