// Tensors that hold the blocks on the diagonal of a matrix.
#ifndef M1C_LIB_IMPORT_BLOCKDIAGONAL_H
#define M1C_LIB_IMPORT_BLOCKDIAGONAL_H

#include "m1c/Checkpoint.h"

namespace m1c {

/// Puts the whole matrix [C, C] in the place of each tensor of blocks [C / b, b, b], inputs before
/// outputs, that a real-gated linear recurrent unit has.
void expandBlockDiagonals(llvm::MutableArrayRef<SourceTensor> tensors);

} // namespace m1c

#endif
