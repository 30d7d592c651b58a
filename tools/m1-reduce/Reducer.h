// Shrinks a module while it stays interesting.
#ifndef M1_TOOLS_M1_REDUCE_REDUCER_H
#define M1_TOOLS_M1_REDUCE_REDUCER_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/DenseSet.h"

namespace m1tool {

/// Takes away as much of a module as it can: operations (what they made is replaced by an earlier
/// value of its type, or by an argument of the function), results and arguments of functions,
/// attributes. Every list is tried in large pieces first, in halves of them next, so that the
/// number of trials grows with what stays and not with what goes.
///
/// A trial is a copy in memory, which must verify if the module did, and is then printed for the
/// test. No text is tested twice.
class Reducer {
public:
  /// Whether a module of this text is interesting.
  using Test = std::function<bool(llvm::StringRef text)>;

  Reducer(mlir::OwningOpRef<mlir::ModuleOp> module, Test test);

  /// Until nothing more can be taken away. False if the module, printed anew, is not interesting.
  bool run();
  /// The text of what is left.
  const std::string &getText() const { return bestText; }
  size_t countOperations() const;
  size_t countTests() const { return tests; }

private:
  /// What can be taken away: an operation, an attribute of one or an argument of a function.
  struct Part {
    mlir::Operation *operation;
    mlir::StringAttr attribute;
    mlir::BlockArgument argument;
  };
  /// Takes parts out of a module, and out of the list those that it took.
  using Removal = llvm::function_ref<void(llvm::SmallVectorImpl<Part> &)>;

  bool shrink(llvm::SmallVector<Part> parts, Removal remove);
  bool shrinkBlocks();
  bool shrinkFunctions();
  bool shrinkAttributes();
  bool accept(mlir::OwningOpRef<mlir::ModuleOp> &candidate);
  std::string print(mlir::ModuleOp module) const;

  Test test;
  mlir::OwningOpRef<mlir::ModuleOp> best;
  std::string bestText;
  bool verifies;
  size_t tests = 0;
  llvm::DenseSet<uint64_t> tested; // hashes of texts
};

} // namespace m1tool

#endif
