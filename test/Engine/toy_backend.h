// A backend whose language model is a hash: the next token after a sequence is a function of all
// its tokens, of the seed and of the counter. It checks everything that the engine promises a
// session: distinct live sequences, pool sizes, step bounds, tokens fed from the last sampling. One
// with asynchronous limits is run ahead. Its time passes by its steps alone.
#ifndef M1_TEST_TOY_BACKEND_H
#define M1_TEST_TOY_BACKEND_H

#include "engine/backend.h"
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <vector>

namespace m1rt::test {

inline uint64_t mix(uint64_t h, uint64_t v) {
  h ^= v + 0x9e3779b97f4a7c15ull + (h << 6) + (h >> 2);
  return h * 0xff51afd7ed558ccdull ^ (h >> 29);
}

inline uint64_t hashOf(const std::vector<int32_t> &tokens) {
  uint64_t h = 17;
  for (int32_t t : tokens)
    h = mix(h, uint64_t(t));
  return h;
}

class ToyBackend : public SequenceBackend {
public:
  explicit ToyBackend(BackendLimits limits) : bounds(limits) {}
  ToyBackend(const ToyBackend &) = delete; // its pages know where it is

  BackendLimits limits() const override { return bounds; }
  uint32_t freePages() const override { return bounds.kvPages - uint32_t(usedPages()); }

  Status create(SequenceId *out) override {
    if (sequences.size() >= bounds.maxSequences)
      return error(StatusCode::outOfMemory, "no slot is free");
    sequences[ *out = next++] = {};
    return {};
  }
  Status fork(SequenceId source, SequenceId *out) override {
    auto it = sequences.find(source);
    if (it == sequences.end())
      return error(StatusCode::invalidArgument, "fork of an unknown sequence");
    if (sequences.size() >= bounds.maxSequences)
      return error(StatusCode::outOfMemory, "no slot is free");
    Sequence copy = it->second;
    if (bounds.kvPages && copy.tokens.size() % bounds.pageSize) {
      if (freePages() == 0)
        return error(StatusCode::outOfMemory, "no page is free");
      copy.pages.back() = takePage();
    }
    sequences[ *out = next++] = std::move(copy);
    return {};
  }
  Status destroy(SequenceId sequence) override {
    if (!sequences.erase(sequence))
      return error(StatusCode::invalidArgument, "destruction of an unknown sequence");
    return {};
  }

  Status step(const BackendEntry *entries, uint32_t count) override {
    std::set<SequenceId> ids;
    uint32_t tokens = 0, rows = 0, pages = 0;
    for (uint32_t i = 0; i < count; ++i) {
      auto it = sequences.find(entries[i].sequence);
      if (it == sequences.end() || !ids.insert(entries[i].sequence).second ||
          entries[i].tokenCount == 0 || entries[i].logitCount > entries[i].tokenCount ||
          (!entries[i].tokens &&
           (entries[i].tokenCount != 1 || !chosen.count(entries[i].chosenRow))))
        return error(StatusCode::invalidArgument, "bad entry %u", i);
      tokens += entries[i].tokenCount;
      rows += entries[i].logitCount;
      size_t length = it->second.tokens.size() + entries[i].tokenCount;
      if (length > bounds.maxContext)
        return error(StatusCode::invalidArgument, "context too long");
      if (bounds.kvPages)
        pages += bounds.pagesOf(length) - uint32_t(it->second.behind + it->second.pages.size());
    }
    if (tokens > bounds.maxTokensPerStep || rows > bounds.maxLogitRows)
      return error(StatusCode::invalidArgument, "step too large");
    if (bounds.kvPages && pages > freePages())
      return error(StatusCode::outOfMemory, "step needs %u pages, %u are free", pages, freePages());
    logits.clear();
    for (uint32_t i = 0; i < count; ++i) {
      Sequence &sequence = sequences[entries[i].sequence];
      for (uint32_t t = 0; t < entries[i].tokenCount; ++t) {
        fed += !entries[i].tokens;
        sequence.tokens.push_back(entries[i].tokens ? entries[i].tokens[t]
                                                    : chosen[entries[i].chosenRow]);
        if (bounds.kvPages &&
            sequence.tokens.size() > (sequence.behind + sequence.pages.size()) * bounds.pageSize)
          sequence.pages.push_back(takePage());
        sequence.hash = mix(sequence.hash, uint64_t(sequence.tokens.back()));
        if (t + entries[i].logitCount >= entries[i].tokenCount)
          logits.push_back(sequence.hash);
      }
      for (; bounds.kvPages && sequence.behind < bounds.pagesBehind(sequence.tokens.size());
           ++sequence.behind)
        sequence.pages.erase(sequence.pages.begin());
    }
    ++steps;
    time += std::chrono::duration_cast<std::chrono::nanoseconds>(stepTime + tokens * tokenTime);
    return {};
  }

  static int32_t draw(uint64_t hash, uint64_t seed, uint64_t counter, uint32_t vocabulary) {
    return int32_t(mix(mix(hash, seed), counter) % vocabulary);
  }

  /// Of a given token after tokens with this hash.
  static float logprob(uint64_t hash, int32_t token) {
    return -float(mix(hash, uint64_t(token)) % 1024) / 64;
  }

  Status sample(const SamplingRow *rows, uint32_t count) override {
    if (untaken.size() == maxUntaken)
      return error(StatusCode::invalidArgument, "too many samplings wait to be taken");
    chosen.clear();
    untaken.emplace_back(count);
    for (uint32_t i = 0; i < count; ++i) {
      const SamplingRow &row = rows[i];
      if (row.row >= logits.size())
        return error(StatusCode::invalidArgument, "no such row");
      int32_t token = draw(logits[row.row], row.parameters.seed, row.counter, bounds.vocabulary);
      if (poisoned.count(logits[row.row]))
        token = noToken;
      if (row.given >= 0 && token != noToken) {
        token = row.given;
        untaken.back()[i].logprob = logprob(logits[row.row], token);
      }
      untaken.back()[i].token = token;
      if (!row.needsLogitsOnHost())
        chosen[row.row] = std::max(token, 0);
    }
    return {};
  }
  Status takeChosen(SampledToken *out) override {
    if (untaken.empty())
      return error(StatusCode::invalidArgument, "no sampling waits to be taken");
    std::move(untaken.front().begin(), untaken.front().end(), out);
    untaken.pop_front();
    return {};
  }

  size_t liveSequences() const { return sequences.size(); }
  size_t usedPages() const { return livePages; }

  /// For EngineOptions::now; the backend outlives the engine.
  std::function<std::chrono::steady_clock::time_point()> clock() const {
    return [this] { return time; };
  }

  using Seconds = std::chrono::duration<double>;
  Seconds stepTime{1e-3}, tokenTime{1e-5}; // a step takes the one, and the other for each token
  std::chrono::steady_clock::time_point time;
  uint64_t steps = 0;
  uint64_t fed = 0;            // tokens that steps took from a sampling
  std::set<uint64_t> poisoned; // hashes of token sequences whose logits are not numbers

private:
  using Page = std::shared_ptr<void>; // held by all sequences that share it
  struct Sequence {
    std::vector<int32_t> tokens;
    uint64_t hash = hashOf({}); // of the tokens
    size_t behind = 0;          // pages given back
    std::vector<Page> pages;
  };
  Page takePage() {
    ++livePages;
    return Page(nullptr, [this](void *) { --livePages; });
  }

  BackendLimits bounds;
  size_t livePages = 0;
  std::map<SequenceId, Sequence> sequences;
  SequenceId next = 1;
  std::vector<uint64_t> logits;
  std::map<uint32_t, int32_t> chosen; // of the last sampling, by logits row
  std::deque<std::vector<SampledToken>> untaken;
};

} // namespace m1rt::test

#endif
