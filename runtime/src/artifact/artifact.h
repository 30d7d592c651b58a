// An artifact, mapped and verified. After open() every index, offset, size and name in the module
// can be used without further checks.
#ifndef M1RT_ARTIFACT_ARTIFACT_H
#define M1RT_ARTIFACT_ARTIFACT_H

#include "artifact_header.h"
#include "base/bytes.h"
#include "base/mapped_file.h"
#include "module_generated.h"
#include "status.h"
#include <memory>
#include <string>
#include <vector>

namespace m1rt {

namespace schema = ::m1::schema;

struct ArtifactOptions {
  // read external weight files in full; their size is always checked
  bool checkExternalDigests = false;
  bool openExternalFiles = true; // false: metadata only (m1-dump)
};

class Artifact {
public:
  /// Maps the file and checks, in this order: header, digest, FlatBuffers structure, version,
  /// bounds and consistency.
  static Status open(const std::string &path, const ArtifactOptions &options,
                     std::unique_ptr<Artifact> *out);

  const std::string &path() const { return file.path(); }
  uint64_t fileSize() const { return file.bytes().size; }
  const m1_artifact_header &header() const {
    return *reinterpret_cast<const m1_artifact_header *>(file.bytes().data);
  }
  const schema::Module &module() const { return *root; }

  /// A segment of this file (code, tokenizer).
  Bytes segment(const schema::Segment &segment) const;
  /// The mapped bytes of a weight; empty for a dummy weight.
  Bytes weightData(uint32_t index) const;
  /// The file that a weight lies in.
  const std::string &weightFile(uint32_t index) const;
  /// Checks of the weights' pieces (weight_check.h); empty in artifacts made before there were any.
  std::vector<uint64_t> weightChecks() const;
  /// Asks the system to start reading the weights' files into memory.
  void prefetchWeights() const;
  /// Bytes of a weight, from its type.
  uint64_t weightBytes(uint32_t index) const;

  /// The target of this name, or null.
  const schema::Target *findTarget(const std::string &name) const;
  /// Index into target.functions, or -1.
  static int findFunction(const schema::Target &target, const char *name);

private:
  Artifact() = default;
  MappedFile file;
  std::vector<MappedFile> externalFiles;
  const schema::Module *root = nullptr;
};

/// Number of elements of a static shape. Validated artifacts do not overflow.
uint64_t elementCount(const schema::TensorType &type);

} // namespace m1rt

#endif
