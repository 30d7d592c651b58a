// New values for a loaded model's weights, given as tensors of its checkpoint.
#ifndef M1RT_MODEL_WEIGHT_UPDATE_H
#define M1RT_MODEL_WEIGHT_UPDATE_H

#include "model/model.h"

namespace m1rt {

/// A tensor by its checkpoint's name, row-major.
struct CheckpointTensor {
  std::string name;
  std::vector<int64_t> shape;
  schema::ElementType element = schema::ElementType::f32; // f32, bf16, f16
  const void *data = nullptr;
  bool onDevice = false; // else in host memory
};

/// An update, checked and with all the memory that it takes: prepared first, then written, between
/// steps.
class WeightUpdate {
public:
  /// Changes nothing of the model. The tensors' memory is borrowed until write() has returned.
  /// `model` outlives the update.
  static Status prepare(Model &model, const std::vector<CheckpointTensor> &tensors,
                        std::unique_ptr<WeightUpdate> *out);
  ~WeightUpdate();
  WeightUpdate(const WeightUpdate &) = delete;

  /// After a failure other than deviceError the model has its old weights.
  Status write();

private:
  explicit WeightUpdate(Model &model) : model(model) {}
  Status addParts(const std::vector<CheckpointTensor> &tensors);
  Status makePrivate();

  Model &model;
  std::vector<WeightPart> parts;
  std::vector<uint32_t> partWeights; // of each part its weight
  std::vector<uint64_t> partOffsets; // and where in it the part begins, in bytes
  std::vector<uint32_t> changed;     // weights, ascending
  std::vector<bool> whole;           // of each of these: whether all its elements are given
  std::vector<void *> addresses;     // of all weights, once written
  void *memory = nullptr;            // of weights that were read from files until now
};

} // namespace m1rt

#endif
