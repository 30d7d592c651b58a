// The reference evaluator: what a module of the m1 dialect computes, operation by operation, in
// float64.
//
// The oracle of tests. It reads the same weights as the compiler and shares nothing else with it:
// no kernel, no lowering, no plan. Roundings to bf16 and f32 between operations and in caches are
// left out on purpose; weights are as they are stored, states of scans and convolutions are rounded
// to their type where a step ends (those of f32 are not), caches of codes hold codes. Slow and
// simple.
#ifndef M1C_REFERENCE_H
#define M1C_REFERENCE_H

#include "m1c/Checkpoint.h"
#include "m1c/ReferenceBatch.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringMap.h"
#include <memory>
#include <vector>

namespace m1c {

struct ReferenceResult {
  int64_t vocabSize = 0;
  std::vector<double> logits;      // [L, V]
  std::vector<int32_t> nextTokens; // [L]
};

/// What the columns of a weight of linears were multiplied by: the sum of squares of each, and of
/// how many rows.
struct ReferenceInputs {
  std::vector<double> squares;
  int64_t rows = 0;
};

/// Evaluates functions `(tokens, !m1.batch) -> (logits, next tokens)` of a module, before or after
/// the passes of the dialect. States live from step to step, slots and pages come into being when
/// first written.
class Reference {
public:
  /// `module` and `data` must outlive the evaluator. Reads all weights: 8 bytes an element.
  /// Fails, with an error on the weight, where writeWeight fails (dummy weights, for one).
  static mlir::FailureOr<std::unique_ptr<Reference>> create(mlir::ModuleOp module,
                                                            const CheckpointData &data);
  ~Reference();

  /// One step. Fails, with an error on the operation at fault, for an operation without evaluation,
  /// a token id outside the vocabulary, or a state that is read before it was written.
  mlir::FailureOr<ReferenceResult> run(llvm::StringRef function, const ReferenceBatch &batch);

  /// Forgets all states.
  void clearStates();

  /// From now on steps add what the weights of m1.linear and m1.expert_linear are multiplied by to
  /// `inputs`, by the weight's name; null: no more.
  void observe(llvm::StringMap<ReferenceInputs> *inputs);

private:
  struct Implementation;
  explicit Reference(std::unique_ptr<Implementation> implementation);
  std::unique_ptr<Implementation> implementation;
};

} // namespace m1c

#endif
