// The batch that the reference evaluator and the formulas work on. Needs no MLIR.
#ifndef M1C_REFERENCEBATCH_H
#define M1C_REFERENCEBATCH_H

#include <cstdint>
#include <vector>

namespace m1c {

/// The batch arrays of a step, as docs/architecture.md defines them.
struct ReferenceBatch {
  std::vector<int32_t> tokens, positions, sequenceStarts, slots, contextLengths, blockTables,
      logitRows;
  int64_t maxPages = 0; // columns of blockTables
  int64_t tokenCount() const { return static_cast<int64_t>(tokens.size()); }
  int64_t sequenceCount() const { return static_cast<int64_t>(slots.size()); }
  /// True when sequence s starts in this step, hence from zero state.
  bool isFresh(int64_t s) const { return positions[sequenceStarts[s]] == 0; }
};

/// The next tokens of one sequence: `before` tokens came in earlier steps under the same slot.
struct ReferenceSequence {
  int32_t slot = 0;
  int32_t before = 0;
  std::vector<int32_t> tokens;
};

/// Lays the sequences end to end, gives every slot pages of its own, and asks for the logits of
/// every row.
ReferenceBatch makeReferenceBatch(const std::vector<ReferenceSequence> &sequences);

} // namespace m1c

#endif
