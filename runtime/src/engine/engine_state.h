// What the engine knows of requests and samples.
#ifndef M1RT_ENGINE_ENGINE_STATE_H
#define M1RT_ENGINE_ENGINE_STATE_H

#include "engine/engine.h"
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

namespace m1rt {

inline constexpr uint32_t parentIndex = UINT32_MAX;

/// A parent or a sample, from its start to its end. Preempted when it holds no sequence.
struct Engine::Track {
  RequestState *request = nullptr;
  uint32_t sample = parentIndex;
  std::vector<int32_t> tokens; // a parent: the prompt but its last token
  size_t computed = 0;         // leading tokens that the sequence has computed
  size_t everComputed = 0;     // the most it ever had: below it, work is recomputation
  size_t shared = 0;           // leading tokens whose pages are not its own: it was forked there
  SequenceId sequence = 0;
  std::vector<size_t> snapshots; // lengths at which to snapshot, ascending

  size_t generated = 0;
  size_t limit = 0;      // of `generated`
  uint32_t inFlight = 0; // tokens chosen for it that have not been taken; they follow `tokens`
  uint32_t row = 0;      // logits row of the last step that it was sampled from
  bool closed = false;
  bool ended = false;
  bool stale = false; // its sequence holds states of other weights than the model has now
  bool toldScores = false;
  bool paused = false; // takes no part in steps: others of its request are likelier to end in time
  size_t thought = 0;  // when closed: tokens it had generated before
  size_t nextProbe = SIZE_MAX;    // `generated` at which it is probed, by probeEvery
  size_t nextEndProbe = SIZE_MAX; // and by probeOnEnd
  size_t probedAt = 0;            // `generated` at its last probe
  uint32_t probeAfter = 0;        // of a probe: tokens that its sample had generated; else 0
  std::vector<SeenToken> seen;    // when there is a penalty
  std::unordered_map<int32_t, size_t> seenAt; // token to its place there
  std::unique_ptr<TokenFilter> filter;        // null: every token may follow
  std::unique_ptr<TokenDecoder> decoder;
  StopMatcher stops{{}};

  size_t event = 0; // index in Engine::events while eventEpoch is current
  uint64_t eventEpoch = UINT64_MAX;

  bool isParent() const { return sample == parentIndex; }
  bool isProbe() const { return probeAfter != 0; }
  /// What its tokens are drawn with, but for the seed.
  SamplingParameters sampling() const;
  void see(int32_t token, bool said);
  size_t pending() const { return tokens.size() + inFlight - computed; }
  /// A parent that has computed everything only waits to be forked.
  bool idle() const { return isParent() && pending() == 0; }
  /// Whether it may end before its limit.
  bool mayEndEarly() const;
  /// Whether it is closed by force when it has generated so many tokens.
  bool closesAt(size_t count) const;
  /// Whether the token in flight is its last one, or the last before its thought is closed: nothing
  /// may follow before that token is there.
  bool endsWithFlight(uint32_t maxContext) const;
};

struct Engine::RequestState {
  uint64_t id = 0;
  Request request;
  bool hasDeadline = false;
  Clock::time_point deadline;
  Clock::time_point submitted;
  // How many samples should run at once under its time budget, and when that was planned; see
  // planBudgets().
  uint32_t wanted = UINT32_MAX;
  PlanPace pace, closingPace; // of planBudgets() and of closesNow()
  uint32_t ends = 0;          // samples that ended by themselves
  LifeTable lengths;          // of samples that ended or were cut
  bool closing = false; // its samples close, or were dropped; what is left ends at the deadline
  bool cancelled = false;
  uint32_t reusedTokens = 0; // of the prompt, when it was first begun

  // Of the prompt's tokens after the first, as far as they are known.
  std::shared_ptr<std::vector<SampledToken>> scores = std::make_shared<std::vector<SampledToken>>();
  bool scoresMissing() const {
    return request.scorePrompt && scores->size() + 1 < request.prompt.size();
  }

  bool renewParent = false; // the parent was given up for new weights and not for want of room

  std::unique_ptr<Track> parent;              // when there are several samples
  std::vector<std::unique_ptr<Track>> active; // started samples that have not ended, by index
  std::vector<std::unique_ptr<Track>> probes; // of them, in the order in which they began
  uint32_t nextSample = 0;                    // first sample not started
  std::unordered_set<uint32_t> withdrawn;     // cancelled before they started; never nextSample
  uint32_t unstarted() const { return request.samples - nextSample; }
  uint32_t running() const {
    return uint32_t(std::count_if(active.begin(), active.end(),
                                  [](const auto &track) { return !track->ended; }));
  }
  void advance() {
    do
      ++nextSample;
    while (withdrawn.count(nextSample));
  }
  bool closesAtDeadline() const {
    return request.atDeadline == DeadlineAction::close && !request.closeTokens.empty();
  }
};

inline SamplingParameters Engine::Track::sampling() const {
  SamplingParameters greedy;
  greedy.temperature = 0;
  return isProbe() ? greedy : request->request.sampling;
}

inline bool Engine::Track::mayEndEarly() const {
  const Request &wish = request->request;
  return !wish.stopTokens.empty() || !wish.stopStrings.empty() || !wish.closeTokens.empty();
}

/// Counts a token of the prompt or, said, of the answer, for the penalties.
inline void Engine::Track::see(int32_t token, bool said) {
  const auto [place, isNew] = seenAt.try_emplace(token, seen.size());
  if (isNew)
    seen.push_back({token, 0});
  seen[place->second].said += said;
}

inline bool Engine::Track::closesAt(size_t count) const {
  const Request &wish = request->request;
  return !closed && !wish.closeTokens.empty() &&
         (request->closing || (wish.maxThinkTokens && count >= wish.maxThinkTokens));
}

inline bool Engine::Track::endsWithFlight(uint32_t maxContext) const {
  if (inFlight == 0)
    return false;
  const size_t then = generated + inFlight;
  return then >= limit || tokens.size() + inFlight > maxContext || closesAt(then);
}

} // namespace m1rt

#endif
