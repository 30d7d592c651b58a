// The elements of m1.weight operations, streamed.
#ifndef M1C_WEIGHTS_H
#define M1C_WEIGHTS_H

#include "m1c/Checkpoint.h"

namespace m1c {

/// Takes the next bytes of a weight; failure stops the writing.
using WeightSink = llvm::function_ref<mlir::LogicalResult(llvm::ArrayRef<char> bytes)>;

/// An attribute of a weight of int4, [K] f32: what the squared error of each column of the rows
/// counts when their scales are searched (--calibrate). Without it all count the same.
constexpr llvm::StringLiteral columnImportanceName = "m1.column_importance";

/// Sets m1::storedCodesName and m1::storedScalesName on every weight all of whose sources hold such
/// groups (TensorCode::storedGroups), or, if `onlyPlain`, plain ones. Whether there is one.
bool markStoredGroups(mlir::ModuleOp module, const CheckpointData &data, bool onlyPlain);

/// Bytes of all elements of the weight.
int64_t getWeightBytes(mlir::m1::WeightOp weight);

/// Passes the weight's elements to `sink`, row-major and little-endian in the weight's element type
/// (f32, bf16, f16, i8, e4m3 or pairs of int4 of quantised ones, or i32 constants), in chunks of at
/// most 1 MiB: sources joined, transformed in f32, and rounded to nearest even. Memory use does not
/// depend on the weight's size, but on the length of a row of a quantised one. Warns once per
/// source tensor that holds NaN. Fails, with an error on the operation, when a source is not in
/// `data` (always so for dummy weights with sources) or the sources do not hold as many elements as
/// the weight. An artifact's weights are passed as they are; for one that it does not hold, or
/// whose bytes do not have their checks, it fails without a word.
mlir::LogicalResult writeWeight(mlir::m1::WeightOp weight, const CheckpointData &data,
                                WeightSink sink);

/// Appends values as elements of f32, bf16 or f16, rounded to nearest even, little-endian.
void storeValues(llvm::ArrayRef<float> values, StoredType type, llvm::SmallVectorImpl<char> &bytes);

} // namespace m1c

#endif
