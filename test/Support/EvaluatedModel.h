// A checkpoint in the reference evaluator.
#ifndef M1_TEST_SUPPORT_EVALUATEDMODEL_H
#define M1_TEST_SUPPORT_EVALUATEDMODEL_H

#include "RandomCheckpoint.h"
#include "m1c/Reference.h"

#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"
#include <string>
#include <vector>

namespace m1test {

/// A checkpoint as m1 IR, all types f32 but that of the caches, which `kvType` names as m1-compile
/// does, after the passes of a module named in `pipeline`, ready to evaluate.
struct EvaluatedModel {
  explicit EvaluatedModel(const std::string &directory, const std::string &pipeline = "",
                          llvm::StringRef kvType = "f32");

  /// Logits of every token of one step; empty when the evaluation failed.
  std::vector<double> logits(llvm::StringRef function,
                             const std::vector<m1c::ReferenceSequence> &sequences);

  /// The checkpoint with what its integers and scales stand for in the place of the tensors that
  /// linears of this module take as int8 or int4. Those of fp8 stay.
  Checkpoint quantised(Checkpoint checkpoint);

  mlir::MLIRContext context;
  m1c::CheckpointData data;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::unique_ptr<m1c::Reference> reference; // null when import or passes failed
};

} // namespace m1test

#endif
