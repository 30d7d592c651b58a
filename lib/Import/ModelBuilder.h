// Emits the m1 operations of a configured model: the frame around the layers, weights, states and
// small pieces. Layers.h builds mixers and MLPs of them.
#ifndef M1C_LIB_IMPORT_MODELBUILDER_H
#define M1C_LIB_IMPORT_MODELBUILDER_H

#include "ConfigParts.h"
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
  /// tensors that are missing or wrong are reported one by one, the others by their number.
  mlir::OwningOpRef<mlir::ModuleOp> build();

  bool failed() const { return wrongTensors; }
  const llvm::StringSet<> &getUsedTensors() const { return used; }

  // ---- for layers

  /// A checkpoint tensor and the shape that the configuration gives it; `count` of its rows from
  /// `first` on, or all.
  struct Source {
    std::string name;
    llvm::SmallVector<int64_t> shape;
    int64_t first = 0, count = 0;
    int64_t rows() const { return count ? count : shape[0]; }
  };
  using Sources = llvm::SmallVector<Source>;

  // Weights: declared on first use, then read by m1.get_weight.
  mlir::Value weight(llvm::StringRef symbol, llvm::ArrayRef<int64_t> shape, const Sources &sources,
                     bool matrix, mlir::m1::Transform transform = mlir::m1::Transform::None);
  /// Sources are [N_i, K], joined to [ΣN_i, K].
  mlir::Value matrix(llvm::StringRef symbol, const Sources &sources);
  mlir::Value vector(llvm::StringRef symbol, const Source &source,
                     mlir::m1::Transform transform = mlir::m1::Transform::None);
  mlir::Value state(llvm::StringRef symbol, mlir::Type type);
  /// Whether the checkpoint, if there is one, holds the tensor.
  bool holds(llvm::StringRef name) const;
  /// The first of these names of one tensor that the checkpoint holds, else the first of all. What
  /// it holds under later ones has to be the same.
  std::string oneOf(llvm::ArrayRef<std::string> names);

  mlir::Location named(llvm::StringRef name);
  mlir::RankedTensorType rows(int64_t columns, mlir::Type elementType) const;
  /// Rows of the type of activations.
  mlir::RankedTensorType activations(int64_t columns) const {
    return rows(columns, options.activationType);
  }
  mlir::Value linear(mlir::Value x, mlir::Value weight, mlir::Value bias = {});
  llvm::SmallVector<mlir::Value> split(mlir::Value x, llvm::ArrayRef<int64_t> columns);

  /// x · factor, in f32.
  mlir::Value scale(mlir::Value x, double factor);
  /// Ranges of columns, of so many each, times a factor each; `symbol` names the vector of factors.
  mlir::Value scaleColumns(mlir::Value x, llvm::StringRef symbol, llvm::ArrayRef<int64_t> columns,
                           llvm::ArrayRef<double> factors);

  /// The columns of a, then those of b, which has as many.
  mlir::Value concatenate(mlir::Value a, mlir::Value b);

  static int64_t columnsOf(mlir::Value rows) {
    return llvm::cast<mlir::RankedTensorType>(rows.getType()).getDimSize(1);
  }

  const ModelConfig &config;
  const ImportOptions &options;
  mlir::OpBuilder builder;
  mlir::Location loc;
  mlir::Type f32;
  /// Of the function that is being built; the table is null when nothing rotates.
  mlir::Value batch, table;
  /// What the first layer takes, which later ones may take beside the stream.
  mlir::Value embedded;

private:
  mlir::Type matrixElementType(const Sources &sources) const;
  mlir::Value constant(llvm::StringRef symbol, llvm::ArrayRef<float> values);
  void checkSource(const Source &source);
  void checkCopy(const SourceTensor &copy, const SourceTensor &tensor);
  void declareModel();
  void buildFunction(llvm::StringRef name);
  mlir::Value rotaryTable(const RotaryConfig &rotary);

  const CheckpointData &data;
  mlir::ModuleOp module;
  /// Where the next symbol is declared: before the functions.
  mlir::OpBuilder symbols;
  llvm::StringSet<> declared, used;
  int wrongTensors = 0;
};

} // namespace m1c

#endif
