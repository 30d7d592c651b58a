// What the engine needs of a session: sequences that hold state and KV pages, steps, and sampling.
// model/session implements it on a device; tests implement it by a toy language model whose every
// token is a hash of all tokens before it.
#ifndef M1RT_ENGINE_BACKEND_H
#define M1RT_ENGINE_BACKEND_H

#include "sampling.h"
#include "status.h"
#include <algorithm>
#include <cstdint>

namespace m1rt {

using SequenceId = uint64_t; // 0 is never a sequence

/// The tokens that one sequence takes in a step; logits are wanted for the last `logitCount` of
/// them.
struct BackendEntry {
  SequenceId sequence = 0;
  // Null: one token, the one that the last sample() chose for the logits row `chosenRow`; none of
  // its rows may have needed its logits on the host.
  const int32_t *tokens = nullptr;
  uint32_t tokenCount = 0;
  uint32_t logitCount = 0;
  uint32_t chosenRow = 0;
};

struct BackendLimits {
  uint32_t maxSequences = 0; // sequences that can exist at once
  uint32_t maxTokensPerStep = 0;
  uint32_t maxLogitRows = 0;
  uint32_t maxContext = 0; // tokens of the longest sequence
  uint32_t pageSize = 0;
  uint32_t kvPages = 0; // 0: the model has no attention layer, pages do not count
  // Positions that attention sees at most, a token's own included: a sequence gives back the pages
  // before those that its next token sees. 0: all
  uint32_t window = 0;
  uint32_t vocabulary = 0;
  // step() and sample() return before the device is done: running ahead pays
  bool asynchronous = false;

  uint32_t pagesOf(uint64_t tokens) const { return uint32_t((tokens + pageSize - 1) / pageSize); }
  /// Leading pages that a sequence of so many tokens has given back.
  uint32_t pagesBehind(uint64_t tokens) const {
    return window && tokens >= window ? uint32_t((tokens + 1 - window) / pageSize) : 0;
  }
  /// Pages that a sequence holds at most on its way to so many tokens, one a step.
  uint32_t mostPages(uint64_t tokens) const {
    return window ? std::min(pagesOf(tokens), pagesOf(window - 1) + 1) : pagesOf(tokens);
  }
};

class SequenceBackend {
public:
  virtual ~SequenceBackend() = default;
  virtual BackendLimits limits() const = 0;
  virtual uint32_t freePages() const = 0;

  virtual Status create(SequenceId *out) = 0;
  /// A copy that continues on its own; shares full pages, takes one page when the last page of the
  /// source is partly filled.
  virtual Status fork(SequenceId source, SequenceId *out) = 0;
  virtual Status destroy(SequenceId sequence) = 0;

  /// One forward pass over entries of distinct sequences. On error (other than deviceError) no
  /// sequence has changed.
  virtual Status step(const BackendEntry *entries, uint32_t count) = 0;
  /// Chooses a token from each of these logits rows of the last step; rows count up in the order of
  /// the entries. An asynchronous backend may return before they are chosen, unless a row
  /// needsLogitsOnHost(). Without rows it only marks the step, for takeChosen() to wait for.
  virtual Status sample(const SamplingRow *rows, uint32_t count) = 0;
  /// Waits for the oldest sample() whose tokens were not taken yet and gives them, [count] of it.
  /// At most maxUntaken samplings may be waiting to be taken.
  virtual Status takeChosen(SampledToken *out) = 0;
  static constexpr uint32_t maxUntaken = 2;
};

} // namespace m1rt

#endif
