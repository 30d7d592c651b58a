// A GGUF file as a checkpoint in Hugging Face layout: configuration, tensors under the names of
// that layout, tokenizer.
#ifndef M1C_LIB_IMPORT_GGUFMODEL_H
#define M1C_LIB_IMPORT_GGUFMODEL_H

#include "Gguf.h"
#include "m1c/Import.h"

namespace m1c {

struct GgufModel {
  /// As config.json would have it.
  llvm::json::Object config;
  std::vector<SourceTensor> tensors;
  /// What divides the frequencies of rotations; empty: nothing.
  std::vector<float> rotaryFactors;
  /// The types of the matrices, for a note: "84 of Q4_K, 29 of Q6_K".
  std::string types;
};

/// How a tensor lies, where it does not lie as in a directory.
enum class GgufForm {
  same,
  /// Rows of the halves of each head take turns, where the layout turns heads.
  heads,
  /// With dimensions of 1, or in two dimensions: it is a vector.
  flat,
  /// Behind the weight's transform; the same as a vector.
  transformed,
  flatTransformed,
  /// [channels, width] in the place of [channels, 1, width].
  conv,
  /// [count, rows, columns] in the place of `count` matrices; {} in their name is the number.
  experts,
  /// The first rows of a matrix (of each of several matrices), and those behind them.
  upperRows,
  lowerRows,
  /// Of gated delta nets: heads of values (of their gates; one row of each), which lie in another
  /// order: the first of every key head, then the second of every one. Behind q and k; as columns.
  valueHeads,
  valueRows,
  valueRowsTransformed,
  qkvRows,
  qkvChannels,
  valueColumns,
  /// Rows of q, k and v, each of all key heads, which in a directory lie head by head with those of
  /// z, which are the other part.
  qkvOfHeads,
  gateOfHeads,
  /// A matrix of one row.
  row,
};

/// A tensor of a layer: its name behind "blk.<layer>." and that behind "<layers>.<layer>." in a
/// directory.
struct GgufRule {
  llvm::StringLiteral from, to;
  GgufForm form = GgufForm::same;
};

/// Where the tensors of an architecture are.
struct GgufLayout {
  llvm::StringLiteral layers, embeddings, finalNorm;
  llvm::ArrayRef<llvm::ArrayRef<GgufRule>> rules;
  bool turnsHeads = false, hasRotaryFactors = false;
  /// The norm behind the last layer, in the file.
  llvm::StringLiteral norm = "output_norm.weight";
  /// Norms hold 1 more than in a directory.
  bool hasWholeNorms = false;
};

/// What `general.architecture` says, and what the model is in a directory.
struct GgufArchitecture {
  llvm::StringLiteral name, modelType;
  GgufLayout layout;
};
/// All that are read, by their names.
llvm::ArrayRef<GgufArchitecture> ggufArchitectures();

/// What the orders of rows depend on.
struct GgufSizes {
  int64_t headDim = 0;                                            // of attention
  int64_t keyHeads = 0, valueHeads = 0, keyDim = 0, valueDim = 0; // of gated delta nets
  /// `further` layers behind the others predict further tokens, and are left out.
  int64_t layers = 0, further = 0;
};

/// Fills in all but the configuration.
mlir::LogicalResult readGgufTensors(const GgufFile &file, const GgufLayout &layout,
                                    const GgufSizes &sizes, EmitError emitError, GgufModel &out);

/// An error names the file and the field or tensor, and what is supported.
mlir::FailureOr<GgufModel> readGgufModel(const GgufFile &file, EmitError emitError);

mlir::FailureOr<TokenizerTexts> readGgufTokenizer(const GgufFile &file, EmitError emitError);

} // namespace m1c

#endif
