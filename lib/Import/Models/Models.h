// What makes each family, for the table in Families.cpp.
#ifndef M1C_LIB_IMPORT_MODELS_MODELS_H
#define M1C_LIB_IMPORT_MODELS_MODELS_H

#include "Family.h"

#include "Layers.h"

namespace m1c {

/// The mixtures of qwen3_moe and qwen3_next: which layers have one, and of what.
struct QwenExperts {
  ExpertsConfig config;
  std::vector<bool> layers;
  void read(const Fields &fields, int64_t layerCount);
  bool isIn(int64_t layer) const { return !layers.empty() && layers[layer]; }
};

std::unique_ptr<Family> createBamba(llvm::StringRef modelType);
std::unique_ptr<Family> createFalconH1(llvm::StringRef modelType);
std::unique_ptr<Family> createGraniteHybrid(llvm::StringRef modelType);
std::unique_ptr<Family> createJamba(llvm::StringRef modelType);
std::unique_ptr<Family> createLfm2(llvm::StringRef modelType);
std::unique_ptr<Family> createNemotronH(llvm::StringRef modelType);
std::unique_ptr<Family> createQwen35(llvm::StringRef modelType);
std::unique_ptr<Family> createMamba(llvm::StringRef modelType);
std::unique_ptr<Family> createRecurrentGemma(llvm::StringRef modelType);
std::unique_ptr<Family> createTransformer(llvm::StringRef modelType);
std::unique_ptr<Family> createZamba2(llvm::StringRef modelType);

} // namespace m1c

#endif
