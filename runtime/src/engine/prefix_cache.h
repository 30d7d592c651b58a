// Snapshots of sequences by the tokens they have computed, so that a prompt with a known beginning
// starts from there. A snapshot holds a sequence of the backend: one state slot, and KV pages that
// it shares with the sequences it came from and those that continue it.
#ifndef M1RT_ENGINE_PREFIX_CACHE_H
#define M1RT_ENGINE_PREFIX_CACHE_H

#include "engine/backend.h"
#include <cstdint>
#include <deque>
#include <list>
#include <vector>

namespace m1rt {

class PrefixCache {
public:
  /// `slots`: snapshots at most; 0 turns the cache off.
  PrefixCache(SequenceBackend &backend, uint32_t slots) : backend(backend), slots(slots) {}
  ~PrefixCache() { clear(); }

  bool enabled() const { return slots > 0; }
  size_t size() const { return entries.size(); }
  /// Of all snapshots, those that they share counted once for each.
  size_t tokens() const;
  bool full() const { return entries.size() >= slots; }

  /// The longest snapshot that is a prefix of the first `limit` of `tokens`; null sequence when
  /// there is none. Marks it used.
  struct Hit {
    SequenceId sequence = 0;
    uint32_t length = 0;
  };
  Hit find(const std::vector<int32_t> &tokens, size_t limit);
  /// Whether exactly these first `length` tokens are there.
  bool contains(const std::vector<int32_t> &tokens, size_t length) const;

  /// Remembers the prompt, and says how many leading tokens it shares with the recent prompt most
  /// like it. Prompts with one beginning (a system prompt, few-shot examples) thus get a snapshot
  /// where they part, the second time it is seen.
  size_t commonWithRecent(const std::vector<int32_t> &prompt);

  /// Takes over `sequence`, which has computed the first `length` of `tokens`; drops the least
  /// recently used snapshot when full.
  void insert(SequenceId sequence, const std::vector<int32_t> &tokens, size_t length);
  /// Drops the least recently used snapshot. False when there is none.
  bool evict();
  void clear();

private:
  struct Entry {
    std::vector<int32_t> tokens;
    SequenceId sequence;
  };

  SequenceBackend &backend;
  uint32_t slots;
  std::list<Entry> entries; // most recently used first; few, so a search compares all
  std::deque<std::vector<int32_t>> recent;
};

} // namespace m1rt

#endif
