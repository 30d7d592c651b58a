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

  uint64_t weightBytes() const { return allWeightBytes; }
  /// Scan and convolution state of one sequence; one KV page over all layers.
  uint64_t slotBytes() const { return bytesPerSlot; }
  uint64_t pageBytes() const { return bytesPerPage; }

  /// The function for a step of T tokens: the one of this name with the smallest sufficient
  /// max_rows. -1 when there is none.
  int functionFor(const char *name, uint32_t tokens) const;

private:
  Model() = default;
  Status placeWeights(std::vector<void *> *out);

  std::unique_ptr<Artifact> file;
  std::unique_ptr<Device> hardware;
  const schema::Target *chosen = nullptr;
  std::vector<void *> allocations; // of weights
  std::unique_ptr<Program> loaded;
  uint64_t allWeightBytes = 0, bytesPerSlot = 0, bytesPerPage = 0;
};

} // namespace m1rt

#endif
