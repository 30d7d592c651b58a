// An artifact, verified. After open() every index, offset, size and name in the module can be used
// without further checks: it lies in memory of its own, whatever becomes of the file. Weights are
// mapped.
#ifndef M1RT_ARTIFACT_ARTIFACT_H
#define M1RT_ARTIFACT_ARTIFACT_H

#include "artifact_header.h"
#include "base/bytes.h"
#include "base/mapped_file.h"
#include "base/sha256.h"
#include "module_generated.h"
#include "status.h"
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace m1rt {

namespace schema = ::m1::schema;

/// Asked now and then by long work; true ends it with the status `cancelled`. May be empty.
using Interrupted = std::function<bool()>;

struct ArtifactOptions {
  // read external weight files in full; their size is always checked
  bool checkExternalDigests = false;
  bool openExternalFiles = true; // false: metadata only (m1-dump)
  // directories that external files may lie in, besides the artifact's own and those below it
  std::vector<std::string> allowExternal;
  Interrupted interrupted;
};

/// How the model's authors would have it sampled; what they leave open is absent.
struct GenerationDefaults {
  std::optional<float> temperature; // 0: always the likeliest token
  std::optional<uint32_t> topK;     // 0: all tokens
  std::optional<float> topP, minP, repetitionPenalty;

  bool empty() const { return !temperature && !topK && !topP && !minP && !repetitionPenalty; }
};

class Artifact {
public:
  /// Reads the file and checks, in this order: header, digest, FlatBuffers structure, version,
  /// bounds and consistency.
  static Status open(const std::string &path, const ArtifactOptions &options,
                     std::unique_ptr<Artifact> *out);

  const std::string &path() const { return own.path(); }
  uint64_t fileSize() const { return own.bytes().size; }
  const m1_artifact_header &header() const {
    return *reinterpret_cast<const m1_artifact_header *>(verified.get());
  }
  const schema::Module &module() const { return *root; }
  GenerationDefaults generationDefaults() const;

  /// A segment of this file (code, tokenizer).
  Bytes segment(const schema::Segment &segment) const;
  /// The mapped bytes of a weight; empty for a dummy weight, and without external files for theirs.
  Bytes weightData(uint32_t index) const;
  /// The file that a weight lies in.
  const std::string &weightFile(uint32_t index) const;
  /// As schema::Weight::file counts them: -1 is the artifact. Only with external files.
  const MappedFile &file(int32_t index) const {
    return index < 0 ? own : externalFiles[size_t(index)];
  }
  /// Checks of the weights' pieces (weight_check.h); empty in artifacts made before there were any.
  const std::vector<uint64_t> &weightChecks() const { return checks; }
  /// Whether the files are still those that were opened. Cheap enough for every step.
  Status unchanged() const;
  /// SHA-256 over the weights' names, types and checks: tells other weights apart without reading
  /// them (artifacts made before there were checks are read). It guards against mistakes and not
  /// against forgery, as the checks do not.
  Digest weightsDigest() const;
  /// SHA-256 over the header's digest, which covers everything but the weights, and over the
  /// SHA-256 of each weight's pieces of M1_WEIGHT_PIECE bytes: what the artifact is, down to the
  /// last bit. Reads all weights, on `threads` threads (0: one a core).
  Status digest(unsigned threads, const Interrupted &interrupted, Digest *out) const;
  /// Asks the system to start reading the weights' files into memory.
  void prefetchWeights() const;
  /// Bytes of a weight, from its type.
  uint64_t weightBytes(uint32_t index) const;

  /// The targets for a device: those named by it, or by it, a colon and what tells them apart.
  std::vector<const schema::Target *> findTargets(const std::string &device) const;
  /// Index into target.functions, or -1.
  static int findFunction(const schema::Target &target, const char *name);

private:
  Artifact() = default;
  Status readVerifiedPart(const Interrupted &interrupted);

  struct Free {
    void operator()(uint8_t *memory) const { std::free(memory); }
  };
  MappedFile own;
  std::unique_ptr<uint8_t[], Free> verified; // header, module, code, tokenizer
  std::vector<uint64_t> checks;
  std::vector<MappedFile> externalFiles;
  const schema::Module *root = nullptr;
};

/// Number of elements of a static shape. Validated artifacts do not overflow.
uint64_t elementCount(const schema::TensorType &type);

} // namespace m1rt

#endif
