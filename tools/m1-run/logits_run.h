// One greedy sequence with every row of its logits: for comparing with other implementations.
#ifndef M1_TOOLS_RUN_LOGITS_RUN_H
#define M1_TOOLS_RUN_LOGITS_RUN_H

#include "arguments.h"
#include "model/session.h"

namespace m1tool {

/// --dump-logits: prints the new tokens and writes prefill_logits [L, V], output_ids [N] and
/// decode_logits [N, V] (row i: after feeding output_ids[i]).
m1rt::Status runWithLogits(m1rt::Model &model, const Arguments &arguments, double loadSeconds);

} // namespace m1tool

#endif
