// Emits the m1 operations of a configured model.
#ifndef M1C_LIB_IMPORT_MODELBUILDER_H
#define M1C_LIB_IMPORT_MODELBUILDER_H

#include "m1c/Import.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Verifier.h"
#include "llvm/ADT/StringSet.h"

namespace m1c {

class ModelBuilder {
public:
  ModelBuilder(mlir::MLIRContext &context, const ModelConfig &config, const ImportOptions &options,
               const CheckpointData &data);

  /// The whole module. After an error failed() holds and the module is not complete. The first few
  /// tensors that are missing or of a wrong shape are reported one by one, the others by their
  /// number.
  mlir::OwningOpRef<mlir::ModuleOp> build();

  bool failed() const { return wrongTensors; }
  const llvm::StringSet<> &getUsedTensors() const { return used; }

private:
  /// A checkpoint tensor and the shape that the configuration gives it.
  struct Source {
    std::string name;
    llvm::SmallVector<int64_t> shape;
  };
  using Sources = llvm::SmallVector<Source>;

  // Weights: declared on first use, then read by m1.get_weight.
  mlir::Value weight(llvm::StringRef symbol, llvm::ArrayRef<int64_t> shape, const Sources &sources,
                     bool matrix, mlir::m1::Transform transform = mlir::m1::Transform::None);
  mlir::Value matrix(llvm::StringRef symbol, const Sources &sources);
  mlir::Value vector(llvm::StringRef symbol, const Source &source,
                     mlir::m1::Transform transform = mlir::m1::Transform::None);
  mlir::Type matrixElementType(const Sources &sources) const;
  void checkSource(const Source &source);
  /// Whether the checkpoint, if there is one, holds the tensor.
  bool holds(llvm::StringRef name) const;
  mlir::Value state(llvm::StringRef symbol, mlir::Type type);

  mlir::RankedTensorType rows(int64_t columns, mlir::Type elementType) const;
  mlir::Value linear(mlir::Value x, mlir::Value weight, mlir::Value bias = {});
  llvm::SmallVector<mlir::Value> split(mlir::Value x, llvm::ArrayRef<int64_t> columns);

  void declareModel();
  void buildFunction(llvm::StringRef name);
  mlir::Value buildLayer(int64_t layer, mlir::Value h);
  mlir::Value buildMamba1(int64_t layer, mlir::Value x);
  mlir::Value buildMamba2(int64_t layer, mlir::Value x);
  mlir::Value buildAttention(int64_t layer, mlir::Value x);
  mlir::Value buildMlp(int64_t layer, mlir::Value x);
  /// in_proj of a Mamba layer, merged or split, and its pieces.
  mlir::Value mambaProjection(int64_t layer, mlir::Value x,
                              llvm::ArrayRef<std::pair<llvm::StringRef, int64_t>> parts);
  mlir::Value causalConv(int64_t layer, mlir::Value x);
  mlir::Value repeatHeads(mlir::Value x);
  mlir::Value rotaryTable();

  const ModelConfig &config;
  const ImportOptions &options;
  const CheckpointData &data;
  mlir::OpBuilder builder;
  mlir::Location loc;
  mlir::Type f32;
  mlir::ModuleOp module;
  /// Where the next symbol is declared: before the functions.
  mlir::OpBuilder symbols;
  llvm::StringSet<> declared, used;
  mlir::Value batch, table;
  int wrongTensors = 0;
};

} // namespace m1c

#endif
