// What --calibrate does: a model runs over texts, and what its linears are multiplied by says how
// much an error in each column of their weights counts.
#ifndef M1C_COMPILER_CALIBRATION_H
#define M1C_COMPILER_CALIBRATION_H

#include "m1c/Checkpoint.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Error.h"
#include <string>
#include <vector>

namespace m1rt {
struct PreparedTokenizer;
}

namespace m1c {

using TokenSequences = std::vector<std::vector<int32_t>>;

/// The lines of a file as token ids: "prompt", text of a user, and "messages", both through the
/// chat template, or "text", as it is. Errors name the line.
llvm::Expected<TokenSequences> readCalibration(const std::string &path,
                                               const m1rt::PreparedTokenizer &tokenizer,
                                               mlir::ModuleOp module);

/// Runs the module, in float64, over the sequences and gives what the squared error of each column
/// of each weight of linears counts, by the weight's name: the mean square of what it is multiplied
/// by, and a hundredth of the mean of those of all columns, so that none counts nothing.
mlir::FailureOr<llvm::StringMap<std::vector<float>>>
measureColumns(mlir::ModuleOp module, const CheckpointData &data, const TokenSequences &sequences);

/// Hangs them on the weights of int4 (columnImportanceName).
void setColumnImportance(mlir::ModuleOp module,
                         const llvm::StringMap<std::vector<float>> &importance);

} // namespace m1c

#endif
