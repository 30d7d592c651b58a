// From a checkpoint to a module of the m1 dialect.
#ifndef M1C_IMPORT_H
#define M1C_IMPORT_H

#include "m1c/Checkpoint.h"

#include "mlir/IR/OwningOpRef.h"

namespace m1c {

struct ImportOptions {
  /// f32 or bf16: the type of all activations but the residual stream, and of convolution states.
  mlir::Type activationType;
  /// f32, bf16 or f16: the type of scan states.
  mlir::Type stateType;
  /// f32, bf16, f16, i8 or f8E4M3FN: the type of cached keys and values.
  mlir::Type kvType;
  /// Only the configuration is read; weights keep their source names, and `data` stays empty.
  bool dummy = false;
  /// What will become of the weights of linears (CompileOptions::quantize), and whether for CPUs
  /// alone: for the remark.
  std::string quantize;
  bool isForCpus = false;
  /// All matrices in f32, whatever their stored type.
  bool widenMatrices = false;
  /// Longest context that the rotary tables serve; 0: what config.json says.
  int64_t maxPositions = 0;
  /// How many ids the tokenizer has, the only ones that are ever chosen; more than the model has
  /// are an error. 0: not known.
  int64_t tokenizerIds = 0;
  /// An end token besides those of the configuration, and where it was found; -1: none.
  int64_t endToken = -1;
  std::string endTokenSource;
};

/// Whether the path names a GGUF file, which stands for a checkpoint.
bool isGgufFile(llvm::StringRef path);

/// What tokenizer.json and tokenizer_config.json would say of the tokenizer of a GGUF file; empty
/// without one.
struct TokenizerTexts {
  std::string tokenizer, config;
};
mlir::FailureOr<TokenizerTexts>
readGgufTokenizer(llvm::StringRef path, llvm::function_ref<mlir::InFlightDiagnostic()> emitError);

/// Imports the checkpoint in `directory`, or a GGUF file, in unfused form: one m1.model, the
/// weights, the states, and the functions `prefill` and `decode`, both `(tokens: tensor<?xi32>,
/// batch: !m1.batch) -> (logits: tensor<?xVxf32>, next tokens: tensor<?xi32>)`. Errors are reported
/// to the context's diagnostic handler: what readConfig and CheckpointData::open report, tensors
/// that are missing, surplus, or of a wrong shape; what is quantised, as a remark. `data` then
/// holds the mapped tensors that m1.weight refers to; `generation`, when given, how the model's
/// authors sample.
mlir::FailureOr<mlir::OwningOpRef<mlir::ModuleOp>>
importCheckpoint(mlir::MLIRContext &context, llvm::StringRef directory,
                 const ImportOptions &options, CheckpointData &data,
                 GenerationDefaults *generation = nullptr);

/// Registers --m1-import, which puts an imported model in the place of m1-opt's input module.
void registerImportPass();

} // namespace m1c

#endif
