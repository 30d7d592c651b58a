// The table of op cases: every operation of the m1 dialect by itself, against float64.
//
// A case is a func.func of a .mlir file of this directory, the operations under test in its body.
// Its arguments say what it needs and are made here:
//
// | argument | becomes |
// | --- | --- |
// | `tensor<?xCxT>` | rows of random values, by token; several of a type are pieces of one |
// | `tensor<…>` of static shape | a weight of random values; `m1.transform` is the weight's |
// | `!m1.batch` | the batch |
// | a state | a state of the module |
//
// The one result, rows of f32 or bf16, becomes the logits of a model whose prefill and decode are
// the case, so that whatever compiles, runs and measures models does so with cases. What else a
// file declares, every model of it has. Attributes: `m1.quantize` quantises the weights, `m1.bench`
// is a case of a real size for measuring only.
#ifndef M1_TEST_OPS_OPCASES_H
#define M1_TEST_OPS_OPCASES_H

#include "Safetensors.h"

#include "mlir/IR/BuiltinOps.h"
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace m1test {

struct OpCase {
  std::string name;
  bool forBench = false;
  bool rounds = false;       // something is bf16 or f16
  bool roundsStates = false; // states of f16, all else f32: as the reference rounds them
  int64_t vocabulary = 0;
  mlir::OwningOpRef<mlir::ModuleOp> model;
  Tensors tensors; // of its weights; none of a case for measuring
};

struct OpTable {
  std::vector<OpCase> cases;
  std::set<std::string> ops; // names of all operations under test
};

/// Reads the table. Values are drawn anew for each case, the same in every run. False after an
/// error, which the context reports.
bool readOpCases(mlir::MLIRContext &context, OpTable &table);

/// A case's steps in float64, on the directory that writeOpCase wrote.
class OpEvaluator {
public:
  OpEvaluator(const OpCase &test, const std::string &directory);
  ~OpEvaluator();

  struct Entry {
    int32_t sequence; // 0, 1, …
    std::vector<int32_t> tokens;
  };
  struct Result {
    std::vector<double> logits;      // of all rows
    std::vector<int32_t> nextTokens; // of all rows
  };
  /// Empty after an error, which the context reports.
  Result step(const std::vector<Entry> &entries);

private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation;
};

/// Writes the model's text and its weights into a directory: `model.mlir`, `model.safetensors`.
void writeOpCase(const OpCase &test, const std::string &directory);

/// Compiles what writeOpCase wrote, operation by operation: none is fused with others. The messages
/// of the compiler, or empty.
std::string compileOpCase(const OpCase &test, const std::string &directory,
                          const std::string &target, const std::string &artifact);

/// Whether a message of the compiler says that the target has no kernel for the type of weights.
bool lacksKernel(const std::string &message);

} // namespace m1test

#endif
