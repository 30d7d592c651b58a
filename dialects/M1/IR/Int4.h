// How weights of int4 lie in memory: a tensor of ui8 [N, int4RowBytes(K)] holds a matrix [N, K] of
// integers from -8 to 7, whose scales are those of groups (Groups.h); with minimums, from 0 to 15.
//
// A row is blocks of 128 columns, 64 bytes, the last one filled up with zeros. Block b is 32 words
// of 16 bits, little-endian; bits 4·p … 4·p+3 of word w are column 128·b + 32·p + w, in two's
// complement where they may be negative: one load, and shifts of whole words give four runs of 32
// neighbouring columns, each of one group.
#ifndef M1_IR_INT4_H
#define M1_IR_INT4_H

#include "M1/IR/Groups.h"

namespace mlir::m1 {

constexpr int64_t int4Block = 128, int4BlockBytes = int4Block / 2, int4Plane = 32;

constexpr int64_t int4RowBytes(int64_t columns) {
  return (columns + int4Block - 1) / int4Block * int4BlockBytes;
}

/// Where column `column` of a row lies: in bits shift … shift+3 of a byte.
struct Int4Place {
  int64_t byte;
  unsigned shift;
};
constexpr Int4Place int4Place(int64_t column) {
  int64_t plane = column % int4Block / int4Plane, word = column % int4Plane;
  return {column / int4Block * int4BlockBytes + 2 * word + plane / 2,
          static_cast<unsigned>(plane % 2 * 4)};
}

/// The columns K of a weight whose rows take `rowBytes` and have `groups` scales, for an x of K
/// columns, or of K for each of `chosen` experts; none if neither fits. Of two that fit (chosen · K
/// columns in one block) the first.
inline std::optional<int64_t> int4ColumnsOf(int64_t xColumns, int64_t chosen, int64_t rowBytes,
                                            int64_t groups) {
  for (int64_t columns : {xColumns, chosen > 0 && xColumns % chosen == 0 ? xColumns / chosen : 0})
    if (columns > 0 && int4RowBytes(columns) == rowBytes && groupOf(columns, groups))
      return columns;
  return std::nullopt;
}

/// The columns K of the op's weight; 0 where weight and scale of int4 do not fit x.
int64_t columnsOfExperts(ExpertLinearOp op);

/// Whether elements are bytes of two int4 each.
inline bool isInt4Pairs(Type element) { return element.isUnsignedInteger(8); }

} // namespace mlir::m1

#endif
