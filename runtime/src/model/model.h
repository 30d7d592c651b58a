// An artifact on a device: its code loaded and its weights placed.
#ifndef M1RT_MODEL_MODEL_H
#define M1RT_MODEL_MODEL_H

#include "artifact/artifact.h"
#include "device.h"
#include <memory>
#include <string>
#include <vector>

namespace m1rt {

struct ModelOptions {
  std::string device = "cpu";
  DeviceOptions deviceOptions;
  bool verifyWeights = false; // SHA-256 of external weight files, besides the checks of all weights
  std::vector<std::string> allowExternal; // as in ArtifactOptions
  // Asked before the artifact's code is mapped, with Artifact::digest(); reads all weights first.
  std::function<Status(const Digest &)> approve;
  Interrupted interrupted;
};

class Model {
public:
  static Status load(const std::string &path, const ModelOptions &options,
                     std::unique_ptr<Model> *out);
  ~Model();
  Model(const Model &) = delete;
  Model &operator=(const Model &) = delete;

  const Artifact &artifact() const { return *file; }
  const schema::Module &module() const { return file->module(); }
  const schema::Target &target() const { return *chosen; }
  Device &device() { return *hardware; }
  Program &program() { return *loaded; }

  const std::string &deviceName() const { return hardware->info().name; }
  uint64_t weightBytes() const { return allWeightBytes; }
  /// Ids from 0 that stand for a token of the tokenizer, at most vocab_size: embeddings may have
  /// more rows than that. Without a tokenizer all of them.
  uint32_t tokenIds() const;
  /// Scan and convolution state of one sequence; one KV page over all layers.
  uint64_t slotBytes() const { return bytesPerSlot; }
  uint64_t pageBytes() const { return bytesPerPage; }
  /// Positions that attention sees at most, in whichever layer; 0: all. The layers share one table
  /// of pages.
  uint32_t window() const { return seenPositions; }

  /// An error when files that weights are read from at every step have been changed.
  Status filesUnchanged() const { return usesFiles ? file->unchanged() : Status(); }

  /// The function for a step of T tokens: the one of this name with the smallest sufficient
  /// max_rows, of these with the largest min_rows that T reaches. -1 when there is none.
  int functionFor(const char *name, uint32_t tokens) const;

private:
  friend class WeightUpdate;
  Model() = default;
  Status placeWeights(const Interrupted &interrupted);

  std::unique_ptr<Artifact> file;
  std::unique_ptr<Device> hardware;
  const schema::Target *chosen = nullptr;
  std::vector<void *> allocations;     // of weights
  std::vector<void *> weightAddresses; // on the device
  std::vector<bool> inFile;            // of each weight: whether it is used where it is mapped
  std::unique_ptr<Program> loaded;
  bool usesFiles = false; // some weight is used where it is mapped
  uint64_t allWeightBytes = 0, bytesPerSlot = 0, bytesPerPage = 0;
  uint32_t seenPositions = 0;
};

} // namespace m1rt

#endif
