// The FlatBuffers module of an artifact, from IR and a layout of the file.
#ifndef M1C_ARTIFACT_MODULETABLE_H
#define M1C_ARTIFACT_MODULETABLE_H

#include "artifact/tuning_table.h"
#include "m1c/Artifact.h"
#include "module_generated.h"

namespace m1c {

namespace fbs = m1::schema;

/// Rows of a checkpoint tensor, as in the schema.
struct SourceRows {
  llvm::StringRef tensor;
  llvm::ArrayRef<int64_t> shape; // of the whole tensor
  uint64_t first = 0, count = 0;
};

struct WeightEntry {
  mlir::m1::WeightOp op;
  bool dummy = false;
  int file = -1; // as in the schema
  uint64_t offset = 0, size = 0;
  std::vector<SourceRows> sources; // none where they or their shapes are not known
};

struct ExternalFileEntry {
  std::string name; // relative to the artifact
  uint64_t size = 0;
  std::vector<uint8_t> digest;
};

/// Where everything but the module lies.
struct Layout {
  std::vector<WeightEntry> weights; // in the order of the plan's indices
  std::vector<ExternalFileEntry> files;
  // per target and code object: offset, size
  std::vector<std::vector<std::pair<uint64_t, uint64_t>>> code;
  uint64_t tokenizerOffset = 0;
  uint64_t moduleTextOffset = 0;
  uint64_t checksOffset = 0, checksSize = 0;          // of the weights, in bytes
  std::vector<std::vector<m1rt::TuningTable>> tuning; // per target
};

/// Serialises the module, which has an m1.model. The size does not depend on the offsets in
/// `layout`.
std::string buildModuleTable(mlir::ModuleOp module, llvm::ArrayRef<ArtifactTarget> targets,
                             const Layout &layout, const ArtifactOptions &options);

} // namespace m1c

#endif
