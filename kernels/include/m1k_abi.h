// What every kernel receives, on every device. Plain C: compiled by clang, nvcc and NVRTC alike.
#ifndef M1K_ABI_H
#define M1K_ABI_H

// Sizes of one step that only the run knows.
typedef struct m1_dims {
  int tokens;     // T
  int sequences;  // S
  int logit_rows; // L
  int max_pages;  // row stride of block_tables
} m1_dims;

// CPU kernels: operands in the order of the launch; called once for each group of the grid.
//   void kernel(void *const *operands, const m1_dims *dims, int group_x, int group_y);
// CUDA kernels: kernel(op0, op1, ..., m1_dims dims) with blockIdx.x = group_x, blockIdx.y =
// group_y.

// CUDA: samples one row of logits a block. (logits f32[L, V], likeliest i32[L], temperature f32[L],
// top_k i32[L], top_p f32[L], min_p f32[L], seed u64[L], position i32[L], out i32[L], m1_dims),
// grid (1, L), block_size · 2^n <= 1024 threads. In every cuda target; the runtime launches it.
#define M1_SAMPLE_KERNEL "m1_draw_tokens"

#define M1_PAGE_SIZE 64 // positions of one KV page

// Leading KV pages that sequences of a step share (batch array prefix_items): the number of items,
// then M1_PREFIX_ITEM numbers for each of at most M1_PREFIX_ITEMS: first sequence, end sequence,
// first page, end page, rank among the items of those sequences. prefix_slots [S + 1] counts the
// items of the sequences before, at most M1_PREFIX_SLOTS in all; prefix_pages [S] the pages that a
// sequence's items cover, always fewer than it has.
#define M1_PREFIX_ITEM 5
#define M1_PREFIX_ITEMS 128
#define M1_PREFIX_SLOTS 2048

#endif
