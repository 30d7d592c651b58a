// Checks of the weights' bytes, by which a loader notices damage. Plain C.
#ifndef M1_SCHEMA_WEIGHT_CHECK_H
#define M1_SCHEMA_WEIGHT_CHECK_H

#include <stdint.h>
#include <string.h>

// A weight has one check for every started piece of this many bytes.
#define M1_WEIGHT_PIECE (UINT64_C(4) << 20)

static inline uint64_t m1_weight_pieces(uint64_t bytes) {
  return bytes / M1_WEIGHT_PIECE + (bytes % M1_WEIGHT_PIECE != 0);
}

// A bijection of `state` for every word and of the word for every state.
static inline uint64_t m1_weight_check_step(uint64_t state, uint64_t word) {
  uint64_t product = (state ^ word) * UINT64_C(0x9e3779b97f4a7c15);
  return product << 29 | product >> 35;
}

// The check of one piece: its little-endian 64-bit words, zeros appended to a multiple of 64 bytes,
// go to eight lanes in turn, and the lanes are joined. As every step is a bijection, damage within
// one word never goes unnoticed; eight lanes keep the multiplier busy (8 bytes a cycle).
static inline uint64_t m1_weight_check(const void *piece, uint64_t bytes) {
  const unsigned char *at = (const unsigned char *)piece;
  uint64_t lanes[8] = {1, 2, 3, 4, 5, 6, 7, 8}, words[8], check = bytes;
  int i;
  for (; bytes >= sizeof(words); bytes -= sizeof(words), at += sizeof(words)) {
    memcpy(words, at, sizeof(words));
    for (i = 0; i < 8; ++i)
      lanes[i] = m1_weight_check_step(lanes[i], words[i]);
  }
  if (bytes) {
    memset(words, 0, sizeof(words));
    memcpy(words, at, bytes);
    for (i = 0; i < 8; ++i)
      lanes[i] = m1_weight_check_step(lanes[i], words[i]);
  }
  for (i = 0; i < 8; ++i)
    check = m1_weight_check_step(check, lanes[i]);
  return check;
}

#endif
