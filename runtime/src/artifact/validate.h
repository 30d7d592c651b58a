// Bounds and consistency of an artifact's module, after FlatBuffers' own verifier has passed it.
#ifndef M1RT_ARTIFACT_VALIDATE_H
#define M1RT_ARTIFACT_VALIDATE_H

#include "module_generated.h"
#include "status.h"

namespace m1rt {

/// `fileSize`: of the artifact; `digestedSize`: its part that the digest covers, where code and
/// tokenizer must lie.
Status validateModule(const ::m1::schema::Module &module, uint64_t fileSize, uint64_t digestedSize);

} // namespace m1rt

#endif
