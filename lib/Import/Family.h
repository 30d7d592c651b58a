// A family of models: one file in Models/ that reads its configuration and builds its layers over
// the shared pieces of ConfigParts.h and Layers.h, and a line in Models/Families.cpp.
#ifndef M1C_LIB_IMPORT_FAMILY_H
#define M1C_LIB_IMPORT_FAMILY_H

#include "ConfigParts.h"
#include "Layers.h"

#include <memory>

namespace m1c {

class Family {
public:
  virtual ~Family() = default;

  /// Reads the family's fields, and `source.model`'s where they have other names or defaults than
  /// readCommon's. What changes the maths and is not understood is an error that names the field;
  /// fields that are neither read nor ignored are judged by the caller.
  virtual void read(ConfigSource &source) = 0;

  /// The residual stream after a layer.
  virtual mlir::Value buildLayer(ModelBuilder &model, int64_t layer, mlir::Value h) const = 0;

  // Tensors outside of the layers.
  virtual std::string embeddings() const { return "model.embed_tokens.weight"; }
  virtual std::string finalNorm() const { return "model.norm.weight"; }
  virtual std::string head() const { return "lm_head.weight"; }
  /// Tensors of parts of the checkpoint that are no part of the language model.
  virtual bool isForeignTensor(llvm::StringRef) const { return false; }

  /// Null when no layer rotates.
  const RotaryConfig *getRotary() const { return rotary ? &*rotary : nullptr; }
  double getEps() const { return eps; }
  /// Whether norms outside of mixers store the distance of their weights from 1.
  bool hasZeroCentredNorms() const { return zeroCentredNorms; }
  double getEmbeddingMultiplier() const { return embeddingMultiplier; }
  double getLogitsMultiplier() const { return logitsMultiplier; }
  /// Of cap · tanh(logit / cap); 0: none.
  double getLogitsCap() const { return logitsCap; }

  /// The sizes and flags that shapes follow from, and whence, for messages.
  std::string sizes;
  /// Whether the end of a text is that of the class, which no file of the checkpoint states.
  bool assumesEnd = false;

protected:
  double eps = 0, embeddingMultiplier = 1, logitsMultiplier = 1, logitsCap = 0;
  bool zeroCentredNorms = false;
  std::optional<RotaryConfig> rotary;
};

/// A new family for the model_type of config.json; null for an unknown one.
std::unique_ptr<Family> createFamily(llvm::StringRef modelType);
/// What fields are that config.json does not have.
const llvm::json::Object &classDefaults(llvm::StringRef modelType);
/// The family of M1 checkpoints, whose layers mamba_config.json describes.
std::unique_ptr<Family> createM1Family();
/// All model types, for messages.
std::string knownModelTypes();

} // namespace m1c

#endif
