// Which leading KV pages the sequences of a step share: samples of one prompt, forks of forks. The
// device then reads each shared page once for all of them (batch arrays prefix_items, prefix_slots
// and prefix_pages, described in m1k_abi.h).
#ifndef M1RT_MODEL_SHARED_PREFIXES_H
#define M1RT_MODEL_SHARED_PREFIXES_H

#include "device.h"
#include <cstdint>
#include <vector>

namespace m1rt {

/// The KV pages of a sequence in the order of its positions, and how many of the leading ones may
/// be shared: whole pages before the one that takes the step's token.
struct SequencePages {
  const uint32_t *pages = nullptr;
  uint32_t sharable = 0;
};

/// How the device shares out the work; affects its time only.
struct PrefixWork {
  uint32_t blocks = 1;      // that run at once
  uint32_t kvHeads = 1;     // each is work of its own
  uint32_t tileMembers = 1; // sequences whose queries one block takes at a time
};

PrefixWork prefixWorkOf(const schema::Module &module, const StepTraits &traits);

struct SharedPrefixes {
  std::vector<int32_t> items, slots, pages; // the batch arrays; items has the length of a full list
  uint64_t savedPages = 0;                  // reads of a page that sharing saves
};

/// Finds runs of leading pages that neighbours have in common. Two sequences that hold the same
/// page in the same place are forks of one: all their pages before it are the same, too. Long runs
/// are cut into parts, so that all blocks have work, longest parts first. What exceeds the arrays
/// is left unshared: the smaller savings. `out` is reused.
void findSharedPrefixes(const std::vector<SequencePages> &sequences, const PrefixWork &work,
                        SharedPrefixes *out);

} // namespace m1rt

#endif
