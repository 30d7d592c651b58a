// Kernels of the toy model (ToyModel.h), in the ABI of kernels/include/m1k_abi.h. Every sum runs in
// a fixed order per token, so results do not depend on how tokens are batched, to the last bit.
#include "m1k_abi.h"
#include "toy_shape.h"

#define EXPORT __attribute__((visibility("default")))

static int smaller(int a, int b) { return a < b ? a : b; }

// tokens, table [V, D] -> x [T, D]; 3 rows a group
EXPORT void toy_embed(void *const *operands, const m1_dims *dims, int x, int y) {
  const int *tokens = operands[0];
  const float *table = operands[1];
  float *out = operands[2];
  for (int t = y * 3; t < smaller(y * 3 + 3, dims->tokens); ++t)
    for (int d = 0; d < TOY_WIDTH; ++d)
      out[t * TOY_WIDTH + d] = table[tokens[t] * TOY_WIDTH + d];
}

// x, state [D], sequence_starts, slots, positions -> out: s = 0.75 s + x; one group a sequence
EXPORT void toy_scan(void *const *operands, const m1_dims *dims, int x, int y) {
  const float *in = operands[0];
  const int *starts = operands[2], *slots = operands[3], *positions = operands[4];
  float *state = (float *)operands[1] + (long)slots[y] * TOY_WIDTH, *out = operands[5];
  for (int d = 0; d < TOY_WIDTH; ++d) {
    float s = positions[starts[y]] == 0 ? 0 : state[d];
    for (int t = starts[y]; t < starts[y + 1]; ++t)
      out[t * TOY_WIDTH + d] = s = 0.75f * s + in[t * TOY_WIDTH + d];
    state[d] = s;
  }
}

// The same for steps of one token a sequence: T = S.
EXPORT void toy_scan_decode(void *const *operands, const m1_dims *dims, int x, int y) {
  const float *in = operands[0];
  const int *slots = operands[3], *positions = operands[4];
  float *state = (float *)operands[1] + (long)slots[y] * TOY_WIDTH, *out = operands[5];
  for (int d = 0; d < TOY_WIDTH; ++d)
    out[y * TOY_WIDTH + d] = state[d] =
        0.75f * (positions[y] == 0 ? 0 : state[d]) + in[y * TOY_WIDTH + d];
}

static float *row(float *cache, const int *tables, const m1_dims *dims, int sequence,
                  int position) {
  long page = tables[(long)sequence * dims->max_pages + position / TOY_PAGE];
  return cache + page * TOY_PAGE * TOY_WIDTH + position % TOY_PAGE * TOY_WIDTH;
}

// x, cache [page][D], positions, token_sequence, block_tables
EXPORT void toy_cache_write(void *const *operands, const m1_dims *dims, int x, int t) {
  const float *in = operands[0];
  const int *positions = operands[2], *sequence = operands[3], *tables = operands[4];
  float *to = row(operands[1], tables, dims, sequence[t], positions[t]);
  for (int d = 0; d < TOY_WIDTH; ++d)
    to[d] = in[t * TOY_WIDTH + d];
}

// cache, positions, token_sequence, block_tables -> out [T, D]: weighted sum over all positions up
// to the token's own
EXPORT void toy_attend(void *const *operands, const m1_dims *dims, int x, int t) {
  const int *positions = operands[1], *sequence = operands[2], *tables = operands[3];
  float *out = (float *)operands[4] + t * TOY_WIDTH;
  for (int d = 0; d < TOY_WIDTH; ++d)
    out[d] = 0;
  for (int p = 0; p <= positions[t]; ++p) {
    const float *from = row(operands[0], tables, dims, sequence[t], p);
    for (int d = 0; d < TOY_WIDTH; ++d)
      out[d] += from[d] / (float)(1 + positions[t] - p);
  }
}

// x [T, D], logit_rows -> out [L, D]
EXPORT void toy_gather(void *const *operands, const m1_dims *dims, int x, int y) {
  const float *in = operands[0];
  const int *rows = operands[1];
  float *out = operands[2];
  for (int d = 0; d < TOY_WIDTH; ++d)
    out[y * TOY_WIDTH + d] = in[rows[y] * TOY_WIDTH + d];
}

// x [L, D], w [V, D] -> logits [L, V]; 16 columns and 2 rows a group
EXPORT void toy_logits(void *const *operands, const m1_dims *dims, int x, int y) {
  const float *in = operands[0], *w = operands[1];
  float *out = operands[2];
  for (int r = y * 2; r < smaller(y * 2 + 2, dims->logit_rows); ++r)
    for (int v = x * 16; v < smaller(x * 16 + 16, TOY_VOCABULARY); ++v) {
      float sum = 0;
      for (int d = 0; d < TOY_WIDTH; ++d)
        sum += in[r * TOY_WIDTH + d] * w[v * TOY_WIDTH + d];
      out[r * TOY_VOCABULARY + v] = sum;
    }
}

// logits -> next_tokens; -1 when one is NaN or the largest is not finite
EXPORT void toy_argmax(void *const *operands, const m1_dims *dims, int x, int y) {
  const float *logits = (const float *)operands[0] + (long)y * TOY_VOCABULARY;
  int best = 0, number = 1;
  for (int v = 0; v < TOY_VOCABULARY; ++v) {
    number &= logits[v] == logits[v];
    if (logits[v] > logits[best])
      best = v;
  }
  number &= logits[best] - logits[best] == 0;
  ((int *)operands[1])[y] = number ? best : -1;
}
