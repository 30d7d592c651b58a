// Artifacts (.m1a), written and read: header, module, code, tokenizer, weights. See runtime/schema.
#ifndef M1C_ARTIFACT_H
#define M1C_ARTIFACT_H

#include "Plan/Plan.h"
#include "m1c/Checkpoint.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
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

/// The m1 module that code is made from, as an artifact carries it.
struct ModuleText {
  std::string packed; // zstd
  uint64_t bytes = 0; // of the text
  bool empty() const { return packed.empty(); }
};

/// The module's text, whose locations are the names of layers and weights alone.
ModuleText packModule(mlir::ModuleOp module);

struct ArtifactOptions {
  std::string producer;
  WeightStorage weights = WeightStorage::embed;
  uint64_t dummySeed = 0;
  /// Prepared tokenizer; empty: none.
  std::string tokenizer, chatTemplate, bosToken, eosToken;
  GenerationDefaults generation;
  std::vector<std::pair<std::string, std::string>> properties;
  ModuleText moduleText; // empty: none, the code can't be made anew
  /// Tables of measured products as m1-bench --tune writes them, and where each comes from. A
  /// target must have code for its chip, and its products must be those of that target's plan.
  std::vector<std::pair<std::string, std::string>> tuning;
  /// Those of the artifact that is made anew: what still holds stays, unless `tuning` has one for
  /// the same GPU and library.
  std::vector<std::string> keptTuning;
  /// What its user may miss; may be empty.
  std::function<void(llvm::StringRef)> warn;
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
/// rotary tables. Errors name the file, and are empty where a diagnostic of the weight at fault
/// says it all; nothing is left behind.
llvm::Expected<ArtifactSizes> writeArtifact(llvm::StringRef path, mlir::ModuleOp module,
                                            llvm::ArrayRef<ArtifactTarget> targets,
                                            const CheckpointData &data,
                                            const ArtifactOptions &options);

/// Whether the file begins as an artifact.
bool isArtifact(llvm::StringRef path);

/// What an artifact gives to make its code anew: its m1 module, its weights, which become those of
/// `data`, and its text, which goes to `options`; of an artifact with dummy weights also their
/// storage and seed. Its code and plans are checked like everything and not used. Weights outside
/// its directory have to lie in one of `allowExternal`. They are mapped; pieces are checked as they
/// are read. Strangers' artifacts get an error: one that names the file and what is wrong with it.
llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>>
readArtifact(llvm::StringRef path, llvm::ArrayRef<std::string> allowExternal,
             mlir::MLIRContext &context, CheckpointData &data, ArtifactOptions &options);

} // namespace m1c

#endif
