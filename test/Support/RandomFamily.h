// Checkpoints of the families that docs/models.md lists, drawn at random, and what they compute.
#ifndef M1_TEST_SUPPORT_RANDOMFAMILY_H
#define M1_TEST_SUPPORT_RANDOMFAMILY_H

#include "Safetensors.h"
#include <nlohmann/json.hpp>

namespace m1test {

struct FamilyCheckpoint {
  nlohmann::json config;
  Tensors tensors;
  int64_t vocabulary() const { return config["vocab_size"]; }
  /// config.json and model.safetensors into an existing directory.
  void write(const std::string &directory) const;
};

/// The model types that can be drawn.
const std::vector<std::string> &familyNames();
/// The same seed draws the same checkpoint: sizes that are no powers of two, groups, biases.
FamilyCheckpoint drawFamily(const std::string &modelType, uint64_t seed);

/// Logits [T, V] of a whole sequence in float64 on the stored weights, token by token with states
/// carried, from each family's mathematics alone: nothing of the compiler's is used.
std::vector<double> familyLogits(const FamilyCheckpoint &checkpoint,
                                 const std::vector<int32_t> &tokens);

} // namespace m1test

#endif
