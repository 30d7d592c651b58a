// The numbers that start the parameters attention has no counterpart for.
#ifndef M1C_LIB_INITIALCHECKPOINT_DRAW_H
#define M1C_LIB_INITIALCHECKPOINT_DRAW_H

#include "m1c/Checkpoint.h"

namespace m1c {

/// How the elements of a drawn tensor follow from their index and the uniform numbers of the
/// tensor's name.
struct Drawing {
  enum class Rule {
    uniform, // bound * u, with u in (-1, 1) and exact in float32
    // half of softplus^-1(step), step log-uniform in [0.001, 0.1]: M1 adds dt_proj's bias twice
    stepBias,
    logRow, // log(1 + index mod columns): A = -1 .. -columns in every channel
    one
  };
  Rule rule;
  double bound = 0;
  int64_t columns = 1;
};

/// Appends elements [begin, end) in `type` to `bytes`.
void draw(const Drawing &drawing, llvm::StringRef name, uint64_t seed, int64_t begin, int64_t end,
          StoredType type, llvm::SmallVectorImpl<char> &bytes);

} // namespace m1c

#endif
