// Writes an artifact (.m1a): header, module, code, tokenizer, weights. See runtime/schema.
#ifndef M1C_ARTIFACT_H
#define M1C_ARTIFACT_H

#include "Plan/Plan.h"
#include "m1c/Checkpoint.h"
#include "llvm/Support/Error.h"
#include <functional>
#include <string>
#include <vector>

namespace m1c {

/// A code object; plan.kernel's `code` is an index into its target's list.
struct CodeObject {
  std::string format; // elf, cubin, ptx
  std::string chip;   // sm_90, empty for elf
  std::string bytes;
};

struct ArtifactTarget {
  mlir::plan::TargetOp plan; // placed
  std::vector<CodeObject> code;
};

enum class WeightStorage { embed, external, dummy };

struct ArtifactOptions {
  std::string producer;
  WeightStorage weights = WeightStorage::embed;
  uint64_t dummySeed = 0;
  /// Prepared tokenizer; empty: none.
  std::string tokenizer, chatTemplate, bosToken, eosToken;
  GenerationDefaults generation;
  std::vector<std::pair<std::string, std::string>> properties;
  /// Called with the bytes of weights done and the total, now and then; may be empty.
  std::function<void(uint64_t, uint64_t)> progress;
};

struct ArtifactSizes {
  uint64_t file = 0, module = 0, code = 0, weights = 0;
};

/// Writes `path` from the m1.model, m1.weight and m1.state of `module` and the targets' plans: to a
/// temporary file beside it, renamed when all is well (base/output_file.h). With external weights,
/// those that a checkpoint file holds as they are stay there, the rest goes to
/// `path`.<digest>.weights, named by its content: one that an older artifact refers to is neither
/// changed nor removed. The same input gives the same bytes. Dummy weights keep constants and
/// rotary tables. Errors name the file; nothing is left behind.
llvm::Expected<ArtifactSizes> writeArtifact(llvm::StringRef path, mlir::ModuleOp module,
                                            llvm::ArrayRef<ArtifactTarget> targets,
                                            const CheckpointData &data,
                                            const ArtifactOptions &options);

} // namespace m1c

#endif
