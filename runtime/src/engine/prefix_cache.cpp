#include "engine/prefix_cache.h"
#include <algorithm>

namespace m1rt {

constexpr size_t recentPrompts = 16;

PrefixCache::Hit PrefixCache::find(const std::vector<int32_t> &tokens, size_t limit) {
  auto best = entries.end();
  for (auto it = entries.begin(); it != entries.end(); ++it) {
    size_t length = it->tokens.size();
    if (length > std::min(limit, tokens.size()) ||
        (best != entries.end() && length <= best->tokens.size()))
      continue;
    if (std::equal(it->tokens.begin(), it->tokens.end(), tokens.begin()))
      best = it;
  }
  if (best == entries.end())
    return {};
  entries.splice(entries.begin(), entries, best);
  return {best->sequence, uint32_t(best->tokens.size())};
}

size_t PrefixCache::tokens() const {
  size_t sum = 0;
  for (const Entry &entry : entries)
    sum += entry.tokens.size();
  return sum;
}

bool PrefixCache::contains(const std::vector<int32_t> &tokens, size_t length) const {
  return std::any_of(entries.begin(), entries.end(), [&](const Entry &entry) {
    return entry.tokens.size() == length &&
           std::equal(entry.tokens.begin(), entry.tokens.end(), tokens.begin());
  });
}

size_t PrefixCache::commonWithRecent(const std::vector<int32_t> &prompt) {
  size_t common = 0;
  for (const std::vector<int32_t> &other : recent) {
    size_t length = std::min(other.size(), prompt.size());
    common = std::max<size_t>(
        common, std::mismatch(prompt.begin(), prompt.begin() + length, other.begin()).first -
                    prompt.begin());
  }
  recent.push_back(prompt);
  if (recent.size() > recentPrompts)
    recent.pop_front();
  return common;
}

void PrefixCache::insert(SequenceId sequence, const std::vector<int32_t> &tokens, size_t length) {
  if (entries.size() >= slots)
    evict();
  entries.push_front({std::vector<int32_t>(tokens.begin(), tokens.begin() + length), sequence});
}

bool PrefixCache::evict() {
  if (entries.empty())
    return false;
  // Destroying a sequence that exists cannot fail.
  (void)backend.destroy(entries.back().sequence);
  entries.pop_back();
  return true;
}

void PrefixCache::clear() {
  while (evict()) {
  }
}

} // namespace m1rt
