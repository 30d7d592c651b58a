// Rows of matrices as integers or e4m3 numbers with scales. What the transforms of m1.weight mean,
// in numbers.
#ifndef M1C_IMPORT_QUANTIZE_H
#define M1C_IMPORT_QUANTIZE_H

#include "llvm/ADT/ArrayRef.h"
#include <cstdint>

namespace m1c {

/// The largest absolute value / 127; NaN for a row with a NaN or an infinite value.
float int8Scale(llvm::ArrayRef<float> row);

/// One integer for each value: what int8_rows says.
void quantizeInt8(llvm::ArrayRef<float> row, int8_t *out);

/// The largest absolute value / 448; NaN for a row with a NaN or an infinite value.
float fp8Scale(llvm::ArrayRef<float> row);

/// One e4m3 number for each value: what fp8_rows says.
void quantizeFp8(llvm::ArrayRef<float> row, uint8_t *out);

/// One scale, a bf16, for each `group` (32, 64 or 128) values, the last ones fewer: what
/// int8_groups_… says.
void int8GroupScales(llvm::ArrayRef<float> row, int64_t group, uint16_t *out);

/// One integer for each value, with those scales.
void quantizeInt8Groups(llvm::ArrayRef<float> row, int64_t group, int8_t *out);

/// Columns of int4 in the place that they have in a row's int4RowBytes.
void packInt4(llvm::ArrayRef<int8_t> codes, uint8_t *out);

/// One scale, a bf16, for each `group` (32, 64 or 128) values, the last ones fewer: what
/// int4_groups_… says. `importance`: what the squared error of each column counts; empty: all the
/// same.
void int4Scales(llvm::ArrayRef<float> row, llvm::ArrayRef<float> importance, int64_t group,
                uint16_t *out);

/// The row's int4RowBytes, with those scales.
void quantizeInt4(llvm::ArrayRef<float> row, llvm::ArrayRef<float> importance, int64_t group,
                  uint8_t *out);

} // namespace m1c

#endif
