// The evaluation of one call, to the files that evaluate its operations.
#ifndef M1C_LIB_REFERENCE_EVALUATION_H
#define M1C_LIB_REFERENCE_EVALUATION_H

#include "Formulas.h"
#include "M1/IR/M1.h"
#include "m1c/Reference.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"

namespace m1c::reference {

/// One call of one function.
class Evaluation {
public:
  Evaluation(const llvm::StringMap<Rows> &weights, llvm::StringMap<Pool> &states,
             const ReferenceBatch &batch, llvm::StringMap<ReferenceInputs> *observed)
      : weights(weights), states(states), batch(batch), observed(observed) {}

  mlir::FailureOr<ReferenceResult> run(mlir::func::FuncOp function);

private:
  const Rows &get(mlir::Value value) const {
    auto found = rows.find(value);
    assert(found != rows.end() && "operations are evaluated in order");
    return found->second;
  }
  const Rows *getOptional(mlir::Value value) const { return value ? &get(value) : nullptr; }
  mlir::LogicalResult set(mlir::Value value, Rows result) {
    rows[value] = std::move(result);
    return mlir::success();
  }
  Pool &pool(mlir::Value state) {
    return states[state.getDefiningOp<mlir::m1::GetStateOp>().getState()];
  }
  static mlir::LogicalResult unwritten(mlir::Operation *op) {
    return op->emitOpError("reads the state of a sequence that did not start in any step before");
  }

  mlir::LogicalResult evaluate(mlir::Operation *op);
  mlir::LogicalResult evaluateMap(mlir::m1::MapInterface op);
  mlir::LogicalResult embedding(mlir::m1::EmbeddingOp op);
  Rows weightOf(mlir::Value weight, mlir::Value scale, int64_t columns) const;
  void observe(mlir::Value weight, const Rows &x, int64_t columns);

  // Mixers.cpp
  /// The operation, if it reads and writes a state of slots.
  mlir::LogicalResult mixer(mlir::Operation *op);
  /// Its result and its state, as the state's type keeps it, unless states could not be read.
  mlir::LogicalResult leave(mlir::Operation *op, mlir::Value state, bool hasRead, Rows result);
  Rows delta(mlir::Value dt, mlir::Value bias, bool apply) const;

  const llvm::StringMap<Rows> &weights;
  llvm::StringMap<Pool> &states;
  const ReferenceBatch &batch;
  llvm::StringMap<ReferenceInputs> *observed;
  llvm::DenseMap<mlir::Value, Rows> rows;
  llvm::DenseMap<mlir::Value, std::vector<int32_t>> tokens;
};

} // namespace m1c::reference

#endif
