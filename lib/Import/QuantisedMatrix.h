// Matrices that a checkpoint holds quantised: integers or float8 numbers, times scales.
#ifndef M1C_LIB_IMPORT_QUANTISEDMATRIX_H
#define M1C_LIB_IMPORT_QUANTISEDMATRIX_H

#include "m1c/Checkpoint.h"

namespace m1c {

/// How the codes of a matrix [rows, columns] lie in a tensor.
enum class CodePacking {
  int8,   // [rows, columns] of i8
  e4m3,   // [rows, columns] of e4m3
  packed, // [rows, ⌈columns / n⌉] of i32, each of n neighbours of a row, the first lowest, stored
          // plus half the range of codes
  gptq,   // [columns / n, rows] of i32, each of n neighbours of a row, the first lowest
  awq,    // [columns, rows / 8] of i32, each of 8 neighbours of a column: 0 2 4 6 1 3 5 7
};

/// How the zero points lie, one for each scale.
enum class ZeroPacking {
  none,
  int8,       // as the scales, of i8
  packed,     // as `packed` codes, but of neighbouring rows: [⌈rows / n⌉, groups]
  gptq,       // [groups, rows / n] of i32, each of n neighbours, less 1 without a borrow
  gptqWords,  // the same, of words less a word of ones, with borrows
  gptqSecond, // the same, not less 1
  awq,        // [groups, rows / 8] of i32, in the order of awq codes
};

/// value = (code - zero) · scale, computed in f32 and rounded to the type of the scales.
struct MatrixFormat {
  CodePacking packing = CodePacking::int8;
  ZeroPacking zeros = ZeroPacking::none;
  int bits = 8;
  int64_t rows = 0, columns = 0;
  /// Scale of row r and group g: scales[r / rowBlock · rowStride + g · groupStride]. Columns c
  /// belong to group c / groupSize, where no index says otherwise.
  int64_t rowBlock = 1, rowStride = 0, groupStride = 0, groups = 1, groupSize = 0;

  int64_t perWord() const { return 32 / bits; }
};

/// Of codes, scales and, where the format has them, zero points and the group of each column, i32
/// from 0 to below `groups`; of the shapes that the format says.
std::shared_ptr<const TensorCode> createQuantisedMatrix(const MatrixFormat &format,
                                                        const SourceTensor &codes,
                                                        const SourceTensor &scales,
                                                        const SourceTensor *zeros,
                                                        const SourceTensor *groupIndex);

} // namespace m1c

#endif
