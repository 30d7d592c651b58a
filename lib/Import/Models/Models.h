// What makes each family, for the table in Families.cpp.
#ifndef M1C_LIB_IMPORT_MODELS_MODELS_H
#define M1C_LIB_IMPORT_MODELS_MODELS_H

#include "Family.h"

namespace m1c {

std::unique_ptr<Family> createTransformer(llvm::StringRef modelType);

} // namespace m1c

#endif
