// A transformer checkpoint as the M1 that distillation starts from.
//
// In every layer that becomes a Mamba-1 layer q, k and v take the places of C, B and x in in_proj,
// and o that of out_proj; the layers that keep attention, the MLPs, norms and embeddings are
// copied. What attention has no counterpart for (the rows of z and dt in in_proj, convolution,
// dt_proj, A_log, D) is drawn deterministically by (seed, tensor name, index), as in
// examples/tiny-reasoner/m1_init.py, which a test holds this to, byte for byte.
#ifndef M1C_INITIALCHECKPOINT_H
#define M1C_INITIALCHECKPOINT_H

#include "m1c/Checkpoint.h"

namespace m1c {

struct ConvertOptions {
  /// A llama or qwen2 checkpoint in Hugging Face layout, and the directory to make.
  std::string source, output;
  /// Layers that keep their attention, in any order.
  llvm::SmallVector<int64_t> attentionLayers;
  uint64_t seed = 0;
  /// Replace a checkpoint that the output directory holds; otherwise that is an error: it may have
  /// been trained.
  bool overwrite = false;
};

/// Writes model.safetensors (one file, streamed, every tensor in the type of the source),
/// mamba_config.json and copies of config.json and the tokenizer's files to a new directory, which
/// takes the place of the old one when it is complete; what else the old one holds stays. On an
/// error, which names file and tensor or field, nothing has changed. Biases of the attention
/// layers, which M1 has no place for, are dropped with a warning.
mlir::LogicalResult
convertCheckpoint(const ConvertOptions &options,
                  llvm::function_ref<void(uint64_t done, uint64_t total)> written,
                  llvm::function_ref<mlir::InFlightDiagnostic()> emitError,
                  llvm::function_ref<mlir::InFlightDiagnostic()> emitWarning);

} // namespace m1c

#endif
