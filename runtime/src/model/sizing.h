// How large a session a model can have on its device.
#ifndef M1RT_MODEL_SIZING_H
#define M1RT_MODEL_SIZING_H

#include "model/session.h"

namespace m1rt {

struct SizeWish {
  uint32_t sequences = 1; // that should run at once
  uint32_t context = 0;   // longest sequence; 0: the model's max_positions
  // prompt tokens a step beside the decoding sequences; 0: what suits the device
  uint32_t prefillTokens = 0;
  // prompt tokens a step whose log probabilities are wanted, beside the sequences' own logits
  uint32_t scoreRows = 0;
  uint32_t cacheSequences = 0; // further sequences, for prefix snapshots
};

/// The largest session up to the wish that fits the device's free memory: first fewer KV pages (the
/// engine preempts when they run out), never fewer than one sequence of full length needs; then
/// fewer sequences. Error, with the sizes, when not even one sequence fits.
Status sizeSession(Model &model, const SizeWish &wish, SessionOptions *out);

/// Prompt tokens that may share a step with decoding sequences (EngineOptions): the wish, or what
/// keeps the step short on the device.
uint32_t prefillBesideDecoding(Model &model, const SizeWish &wish);

/// Sequences at once that give the most tokens a second, or nearly. More would not make a run
/// faster, and under a time budget fewer of them would get to their answers. `threads` as in
/// DeviceOptions.
uint32_t fastestBatch(Model &model, uint32_t threads);

} // namespace m1rt

#endif
