// What makes each family, for the table in Families.cpp.
#ifndef M1C_LIB_IMPORT_MODELS_MODELS_H
#define M1C_LIB_IMPORT_MODELS_MODELS_H

#include "Family.h"

namespace m1c {

std::unique_ptr<Family> createBamba(llvm::StringRef modelType);
std::unique_ptr<Family> createFalconH1(llvm::StringRef modelType);
std::unique_ptr<Family> createGraniteHybrid(llvm::StringRef modelType);
std::unique_ptr<Family> createJamba(llvm::StringRef modelType);
std::unique_ptr<Family> createLfm2(llvm::StringRef modelType);
std::unique_ptr<Family> createNemotronH(llvm::StringRef modelType);
std::unique_ptr<Family> createQwen35(llvm::StringRef modelType);
std::unique_ptr<Family> createMamba(llvm::StringRef modelType);
std::unique_ptr<Family> createTransformer(llvm::StringRef modelType);

} // namespace m1c

#endif
