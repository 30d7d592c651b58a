#include "engine/engine.h"
#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <unordered_map>
#include <unordered_set>

namespace m1rt {

const char *finishReasonName(FinishReason reason) {
  switch (reason) {
  case FinishReason::running:
    return "running";
  case FinishReason::stopToken:
    return "stop_token";
  case FinishReason::stopString:
    return "stop_string";
  case FinishReason::length:
    return "length";
  case FinishReason::cancelled:
    return "cancelled";
  case FinishReason::dropped:
    return "dropped";
  case FinishReason::failed:
    return "failed";
  }
  return "unknown";
}

constexpr uint32_t parentIndex = UINT32_MAX;

/// A parent or a sample, from its start to its end. Preempted when it holds no sequence.
struct Engine::Track {
  RequestState *request = nullptr;
  uint32_t sample = parentIndex;
  std::vector<int32_t> tokens; // a parent: the prompt but its last token
  size_t computed = 0;         // leading tokens that the sequence has computed
  size_t everComputed = 0;     // the most it ever had: below it, work is recomputation
  SequenceId sequence = 0;
  std::vector<size_t> snapshots; // lengths at which to snapshot, ascending

  size_t generated = 0;
  size_t limit = 0;      // of `generated`
  uint32_t inFlight = 0; // tokens chosen for it that have not been taken; they follow `tokens`
  uint32_t row = 0;      // logits row of the last step that it was sampled from
  bool closed = false;
  bool ended = false;
  std::vector<SeenToken> seen;                // when there is a penalty
  std::unordered_map<int32_t, size_t> seenAt; // token to its place there
  std::unique_ptr<TokenFilter> filter;        // null: every token may follow
  std::unique_ptr<TokenDecoder> decoder;
  StopMatcher stops{{}};

  size_t event = 0; // index in Engine::events while eventEpoch is current
  uint64_t eventEpoch = UINT64_MAX;

  bool isParent() const { return sample == parentIndex; }
  void see(int32_t token, bool said);
  size_t pending() const { return tokens.size() + inFlight - computed; }
  /// A parent that has computed everything only waits to be forked.
  bool idle() const { return isParent() && pending() == 0; }
  /// Sampling parameters that running ahead does not go with.
  bool needsLogitsOnHost() const;
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
  bool closing = false; // its samples close, or were dropped; what is left ends at the deadline
  bool cancelled = false;
  uint32_t reusedTokens = 0; // of the prompt, when it was first begun

  std::unique_ptr<Track> parent;              // when there are several samples
  std::vector<std::unique_ptr<Track>> active; // started samples that have not ended, by index
  uint32_t nextSample = 0;                    // first sample not started
  std::unordered_set<uint32_t> withdrawn;     // cancelled before they started; never nextSample
  uint32_t unstarted() const { return request.samples - nextSample; }
  void advance() {
    do
      ++nextSample;
    while (withdrawn.count(nextSample));
  }
  bool closesAtDeadline() const {
    return request.atDeadline == DeadlineAction::close && !request.closeTokens.empty();
  }
};

bool Engine::Track::needsLogitsOnHost() const {
  const Request &wish = request->request;
  SamplingRow row;
  row.parameters = wish.sampling;
  row.wantLogprob = wish.wantLogprobs;
  return row.needsLogitsOnHost() || !wish.bias.empty() || filter;
}

/// Counts a token of the prompt or, said, of the answer, for the penalties.
void Engine::Track::see(int32_t token, bool said) {
  const auto [place, isNew] = seenAt.try_emplace(token, seen.size());
  if (isNew)
    seen.push_back({token, 0});
  seen[place->second].said += said;
}

bool Engine::Track::closesAt(size_t count) const {
  const Request &wish = request->request;
  return !closed && !wish.closeTokens.empty() &&
         (request->closing || (wish.maxThinkTokens && count >= wish.maxThinkTokens));
}

bool Engine::Track::endsWithFlight(uint32_t maxContext) const {
  if (inFlight == 0)
    return false;
  const size_t then = generated + inFlight;
  return then >= limit || tokens.size() + inFlight > maxContext || closesAt(then);
}

Engine::Engine(SequenceBackend &backend, const EngineOptions &options, DecoderFactory decoders)
    : backend(backend), options(options), decoders(std::move(decoders)), limits(backend.limits()),
      prefixes(backend, limits.maxSequences > 1
                            ? std::min(options.prefixCacheSlots, limits.maxSequences - 1)
                            : 0) {
  uint32_t cacheSlots =
      limits.maxSequences > 1 ? std::min(options.prefixCacheSlots, limits.maxSequences - 1) : 0;
  uint32_t rest = limits.maxSequences - cacheSlots;
  this->options.maxRunning = options.maxRunning ? std::min(options.maxRunning, rest) : rest;
  this->options.prefixCacheSlots = cacheSlots;
  this->options.prefixBlock = std::max(options.prefixBlock, 1u);
  this->options.shortestPrefix = std::max(options.shortestPrefix, 1u);
}

Engine::~Engine() {
  try {
    for (Flight &flight : flights) { // the backend may serve another engine
      std::vector<SampledToken> tokens(flight.sampled.size());
      (void)backend.takeChosen(tokens.data());
    }
  } catch (const std::bad_alloc &) {
    // The backend then serves no other.
  }
  for (auto &request : requests) {
    for (auto &track : request->active)
      release(*track);
    if (request->parent)
      release(*request->parent);
  }
}

// ---- Requests
// -------------------------------------------------------------------------------------------------

static uint32_t pagesOf(size_t tokens, uint32_t pageSize) {
  return uint32_t((tokens + pageSize - 1) / pageSize);
}

Status Engine::check(const Request &request) const {
  auto bad = [](const std::string &message) {
    return Status(StatusCode::invalidArgument, message);
  };
  if (request.prompt.empty())
    return bad("prompt: expected at least one token");
  for (size_t i = 0; i < request.prompt.size(); ++i)
    if (request.prompt[i] < 0 || uint32_t(request.prompt[i]) >= limits.vocabulary)
      return bad(formatted("prompt: token %zu is %d, expected 0 to %u", i, request.prompt[i],
                           limits.vocabulary - 1));
  if (request.prompt.size() > limits.maxContext)
    return bad(formatted("prompt: %zu tokens do not fit the context of %u tokens",
                         request.prompt.size(), limits.maxContext));
  for (int32_t token : request.closeTokens)
    if (token < 0 || uint32_t(token) >= limits.vocabulary)
      return bad(
          formatted("close tokens: token %d, expected 0 to %u", token, limits.vocabulary - 1));
  if (request.samples == 0)
    return bad("samples: expected at least 1");
  if (request.maxNewTokens == 0)
    return bad("max new tokens: expected at least 1");
  const SamplingParameters &sampling = request.sampling;
  if (!(sampling.temperature >= 0) || sampling.temperature > 100)
    return bad(formatted("temperature: expected 0 to 100, got %g", sampling.temperature));
  if (!(sampling.topP > 0 && sampling.topP <= 1))
    return bad(formatted("top-p: expected more than 0 and at most 1, got %g", sampling.topP));
  if (!(sampling.minP >= 0 && sampling.minP <= 1))
    return bad(formatted("min-p: expected 0 to 1, got %g", sampling.minP));
  if (!(sampling.repetitionPenalty > 0) || std::isinf(sampling.repetitionPenalty))
    return bad(formatted("repetition penalty: expected a number above 0, got %g",
                         sampling.repetitionPenalty));
  if (!std::isfinite(sampling.frequencyPenalty))
    return bad(
        formatted("frequency penalty: expected a number, got %g", sampling.frequencyPenalty));
  if (!std::isfinite(sampling.presencePenalty))
    return bad(formatted("presence penalty: expected a number, got %g", sampling.presencePenalty));
  for (const TokenBias &bias : request.bias) {
    if (bias.token < 0 || uint32_t(bias.token) >= limits.vocabulary)
      return bad(
          formatted("logit bias: token %d, expected 0 to %u", bias.token, limits.vocabulary - 1));
    if (!(bias.bias < std::numeric_limits<float>::infinity()))
      return bad(formatted("logit bias of token %d: expected a number, or minus infinity, got %g",
                           bias.token, bias.bias));
  }
  if (request.firstSample > UINT32_MAX - request.samples)
    return bad(formatted("first sample: %u with %u samples is beyond 32 bits", request.firstSample,
                         request.samples));
  if (!(request.timeBudget >= 0))
    return bad(formatted("time budget: expected 0 or more seconds, got %g", request.timeBudget));
  for (const std::string &stop : request.stopStrings) {
    if (stop.empty())
      return bad("stop string: an empty string cannot match");
    if (!decoders)
      return bad("stop string: the model has no tokenizer, so it cannot match");
  }
  size_t longest =
      std::min<size_t>(request.prompt.size() + request.maxNewTokens, limits.maxContext);
  if (limits.kvPages && pagesOf(longest, limits.pageSize) > limits.kvPages)
    return bad(
        formatted("prompt of %zu tokens and %u new tokens: need %u KV pages, the pool has %u",
                  request.prompt.size(), request.maxNewTokens, pagesOf(longest, limits.pageSize),
                  limits.kvPages));
  return {};
}

Status Engine::submit(Request request, uint64_t *outRequest) {
  M1_TRY(check(request));
  auto state = std::make_unique<RequestState>();
  state->id = nextRequest;
  state->submitted = Clock::now();
  if (request.timeBudget > 0) {
    state->hasDeadline = true;
    state->deadline = state->submitted + std::chrono::duration_cast<Clock::duration>(
                                             std::chrono::duration<double>(request.timeBudget));
  }
  if (request.samples > 1 && request.prompt.size() > 1) {
    state->parent = std::make_unique<Track>();
    state->parent->request = state.get();
    state->parent->tokens.assign(request.prompt.begin(), request.prompt.end() - 1);
  }
  state->request = std::move(request);
  requests.push_back(std::move(state)); // what may fail for want of memory is done
  const RequestState &accepted = *requests.back();
  counters.promptTokens += accepted.request.prompt.size();
  if (live == 0)
    landed =
        // a step that outlasted the last sample is not taken in before the next one begins
        accepted.submitted;
  live += accepted.request.samples;
  nextRequest = accepted.id + 1;
  *outRequest = accepted.id;
  return {};
}

void Engine::cancel(uint64_t id) {
  for (auto &request : requests)
    if (request->id == id) {
      for (auto &track : request->active)
        finish(*track, FinishReason::cancelled);
      dropUnstarted(*request, FinishReason::cancelled);
    }
  retireEnded();
}

void Engine::cancelSample(uint64_t id, uint32_t sample) {
  for (auto &request : requests) {
    if (request->id != id)
      continue;
    for (auto &track : request->active)
      if (track->sample == sample)
        finish(*track, FinishReason::cancelled);
    if (sample >= request->nextSample && sample < request->request.samples &&
        request->withdrawn.insert(sample).second) {
      endUnstarted(*request, sample, FinishReason::cancelled);
      if (sample == request->nextSample)
        request->advance();
    }
  }
  retireEnded();
}

std::vector<Event> Engine::takeEvents() {
  ++eventEpoch;
  return std::exchange(events, {});
}

Event &Engine::eventFor(Track &track) {
  if (track.eventEpoch != eventEpoch) {
    track.eventEpoch = eventEpoch;
    track.event = events.size();
    events.emplace_back();
    events.back().request = track.request->id;
    events.back().sample = track.sample;
    events.back().forced = track.closed;
    events.back().reusedTokens = track.request->reusedTokens;
  }
  return events[track.event];
}

uint32_t Engine::runningSamples() const {
  uint32_t count = 0;
  for (auto &request : requests)
    for (auto &track : request->active)
      count += track->sequence != 0;
  return count;
}

uint32_t Engine::waitingSamples() const { return uint32_t(live - runningSamples()); }

// ---- Ends
// -------------------------------------------------------------------------------------------------

void Engine::release(Track &track) {
  if (!track.sequence)
    return;
  (void)backend.destroy(track.sequence); // of a sequence that exists: cannot fail
  track.sequence = 0;
  track.computed = 0;
  --holding;
}

void Engine::preempt(Track &track) {
  release(track);
  ++counters.preemptions;
}

void Engine::finish(Track &track, FinishReason reason, std::string message) {
  if (track.ended)
    return;
  Event &event = eventFor(track);
  if (track.decoder && reason != FinishReason::stopString) {
    std::string rest, text;
    track.decoder->finish(&rest);
    if (!track.stops.append(rest, &text))
      track.stops.finish(&text);
    event.text += text;
  }
  event.reason = reason;
  event.error = std::move(message);
  track.ended = true;
  --live;

  bool keep = prefixes.enabled() && track.sequence && track.request->request.samples == 1 &&
              reason != FinishReason::failed && track.computed >= options.shortestPrefix &&
              !prefixes.contains(track.tokens, track.computed);
  if (keep) { // a following turn of a conversation starts from here
    prefixes.insert(track.sequence, track.tokens, track.computed);
    track.sequence = 0;
    --holding;
  }
  release(track);
}

void Engine::endUnstarted(const RequestState &request, uint32_t sample, FinishReason reason) {
  events.emplace_back();
  events.back().request = request.id;
  events.back().sample = sample;
  events.back().reason = reason;
  --live;
}

void Engine::dropUnstarted(RequestState &request, FinishReason reason) {
  for (; request.unstarted() > 0; request.advance())
    endUnstarted(request, request.nextSample, reason);
}

void Engine::retireEnded() {
  for (auto &request : requests) {
    auto &active = request->active;
    active.erase(std::remove_if(active.begin(), active.end(),
                                [](auto &track) { return track->ended && track->inFlight == 0; }),
                 active.end());
    if (request->unstarted() == 0 && request->parent) {
      bool keep = request->parent->idle() && request->parent->sequence && prefixes.enabled() &&
                  request->parent->computed >= options.shortestPrefix &&
                  !prefixes.contains(request->parent->tokens, request->parent->computed);
      if (keep) {
        prefixes.insert(request->parent->sequence, request->parent->tokens,
                        request->parent->computed);
        request->parent->sequence = 0;
        --holding;
      }
      release(*request->parent);
      request->parent.reset();
    }
  }
  requests.erase(std::remove_if(requests.begin(), requests.end(),
                                [](auto &request) {
                                  return request->active.empty() && request->unstarted() == 0;
                                }),
                 requests.end());
}

// ---- Deadlines and forced closes
// ---------------------------------------------------------------------------------

void Engine::close(Track &track) {
  const Request &request = track.request->request;
  track.closed = true;
  track.limit = SIZE_MAX;
  eventFor(track).forced = true;
  for (int32_t token : request.closeTokens) {
    SampledToken forced;
    forced.token = token;
    append(track, std::move(forced));
    if (track.ended)
      return;
  }
  track.limit = track.generated + request.closeMaxTokens;
}

/// When the request's samples must be closed: before the deadline by the steps that closing takes
/// and a fiftieth of the budget, because some steps take longer than most, but never by more than
/// half of it. When they must be dropped: at the deadline.
Engine::Clock::time_point Engine::closingTime(const RequestState &request) const {
  if (!request.closesAtDeadline())
    return request.deadline;
  const Request &wish = request.request;
  size_t fed = request.active.size() * wish.closeTokens.size();
  double steps = wish.closeMaxTokens + 1 + double(fed) / limits.maxTokensPerStep;
  double margin = std::min(stepSeconds * steps + wish.timeBudget / 50, wish.timeBudget / 2);
  return request.deadline -
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(margin));
}

Status Engine::applyDeadlines() {
  Clock::time_point now = Clock::now();
  auto due = [&](auto &request) {
    return request->hasDeadline &&
           now >= (request->closing ? request->deadline : closingTime(*request));
  };
  if (std::none_of(requests.begin(), requests.end(), due))
    return {};
  while (!flights.empty()) // what is fed to close a sample comes after its last token
    M1_TRY(land());
  now = Clock::now();
  for (auto &request : requests) {
    if (!due(request))
      continue;
    // A sample closes once it has said something, now or later (accept); whatever is there at the
    // deadline ends.
    const bool over = now >= request->deadline;
    request->closing = true;
    for (auto &track : request->active) {
      if (over)
        finish(*track, track->closed ? FinishReason::length : FinishReason::dropped);
      else if (!track->ended && !track->closed && track->generated > 0)
        close(*track);
    }
    dropUnstarted(*request, FinishReason::dropped);
  }
  retireEnded();
  return {};
}

// ---- Admission
// -------------------------------------------------------------------------------------------------

bool Engine::mayStart(const Track &track) const {
  if (holding >= options.maxRunning)
    return false;
  if (!limits.kvPages)
    return true;
  // Room for the first chunk and a page of growth for everyone that runs, unless nothing runs.
  uint32_t chunk = std::min<uint32_t>(uint32_t(track.tokens.size()), limits.maxTokensPerStep);
  return holding == 0 || backend.freePages() >= pagesOf(chunk, limits.pageSize) + holding;
}

/// Whether whatever holds a sequence waits to be forked, so that no step would free anything.
bool Engine::onlyIdleParents() const {
  return std::none_of(requests.begin(), requests.end(), [](auto &request) {
    return (request->parent && request->parent->sequence && !request->parent->idle()) ||
           std::any_of(request->active.begin(), request->active.end(),
                       [](auto &t) { return t->sequence != 0; });
  });
}

/// Takes the sequence of the youngest idle parent, which later computes its prompt again, when
/// nothing else could ever make room for the track: an older request whose own parent was given up
/// would wait for it forever. False when there is none.
bool Engine::releaseIdleParent(const Track &track) {
  if (!onlyIdleParents())
    return false;
  for (auto request = requests.rbegin(); request != requests.rend(); ++request) {
    Track *parent = (*request)->parent.get();
    if (parent && parent != &track && parent->sequence) {
      preempt(*parent);
      return true;
    }
  }
  return false;
}

/// Gives the track a sequence: of the longest known prefix, or empty.
Status Engine::startFresh(Track &track, bool *outStarted) {
  *outStarted = false;
  while (!mayStart(track))
    if ((holding >= options.maxRunning || !prefixes.evict()) && !releaseIdleParent(track))
      return {};
  bool first = track.everComputed == 0;
  // A sample needs logits of its last token, so that one is always computed.
  size_t limit = track.tokens.size() - (track.isParent() ? 0 : 1);
  PrefixCache::Hit hit =
      prefixes.enabled() ? prefixes.find(track.tokens, limit) : PrefixCache::Hit{};
  bool partialPage = limits.kvPages && hit.length % limits.pageSize != 0;
  if (hit.sequence && (!partialPage || backend.freePages() > 0)) {
    M1_TRY(backend.fork(hit.sequence, &track.sequence));
    track.computed = hit.length;
  } else {
    M1_TRY(backend.create(&track.sequence));
    track.computed = 0;
  }
  ++holding;
  if (first && prefixes.enabled()) {
    ++(track.computed ? counters.prefixHits : counters.prefixMisses);
    counters.reusedTokens += track.computed;
    track.request->reusedTokens = uint32_t(track.computed);
    const size_t common = std::min(prefixes.commonWithRecent(track.tokens), limit);
    for (size_t length : {common, limit - limit % options.prefixBlock}) {
      if (length > track.computed && length >= options.shortestPrefix &&
          (track.snapshots.empty() || length > track.snapshots.back()) &&
          !prefixes.contains(track.tokens, length))
        track.snapshots.push_back(length);
    }
  }
  *outStarted = true;
  return {};
}

/// Starts a sample by forking the parent (or taking it over, when nobody needs it any more), or on
/// its own.
Status Engine::start(Track &track, bool *outStarted) {
  *outStarted = false;
  RequestState &request = *track.request;
  Track *parent = request.parent.get();
  if (!parent || !parent->sequence || !parent->idle())
    return startFresh(track, outStarted);
  size_t length = parent->computed;
  bool fits = holding < options.maxRunning && (!limits.kvPages || backend.freePages() > holding);
  if (fits) {
    M1_TRY(backend.fork(parent->sequence, &track.sequence));
    ++holding;
  } else if (onlyIdleParents()) {
    track.sequence = std::exchange(parent->sequence, 0);
    parent->computed = 0;
  } else {
    return Status();
  }
  track.computed = length;
  counters.sharedTokens += length;
  *outStarted = true;
  return {};
}

Status Engine::admit() {
  for (auto &owned : requests) {
    RequestState &request = *owned;
    bool started = true;
    if (request.parent && !request.parent->sequence && request.unstarted() > 0 &&
        request.active.empty()) {
      M1_TRY(startFresh(*request.parent, &started));
      if (!started)
        return {};
    }
    for (auto &track : request.active)
      if (!track->sequence && !track->ended && track->inFlight == 0) {
        M1_TRY(start(*track, &started));
        if (!started)
          return {};
      }
    while (request.unstarted() > 0) {
      if (request.parent && !(request.parent->sequence && request.parent->idle()))
        break; // being computed, or given up until the running samples end
      auto track = std::make_unique<Track>();
      track->request = &request;
      track->sample = request.nextSample;
      track->tokens = request.request.prompt;
      track->limit = request.request.maxNewTokens;
      M1_TRY(start(*track, &started));
      if (!started)
        return {};
      if (decoders) {
        track->decoder = decoders();
        track->stops = StopMatcher(request.request.stopStrings);
      }
      if (request.request.sampling.penalised())
        for (int32_t token : track->tokens)
          track->see(token, /*said=*/false);
      if (request.request.filters)
        track->filter = request.request.filters();
      request.advance();
      request.active.push_back(std::move(track));
    }
  }
  return {};
}

// ---- Steps
// -------------------------------------------------------------------------------------------------

/// Frees pages until `pages` more than the planned ones are free: cached prefixes, idle parents,
/// then the youngest track after `keep` that is not yet planned. False when nothing is left to
/// give.
bool Engine::makeRoom(const Track &keep, uint32_t pages, const std::vector<PlannedEntry> &planned) {
  auto enough = [&] { return backend.freePages() >= reservedPages + pages; };
  while (!enough() && prefixes.evict()) {
  }
  for (auto request = requests.rbegin(); request != requests.rend() && !enough(); ++request)
    if ((*request)->parent && (*request)->parent.get() != &keep && (*request)->parent->idle() &&
        !(*request)->active.empty())
      release(*(*request)->parent);
  auto isPlanned = [&](const Track &track) {
    return std::any_of(planned.begin(), planned.end(),
                       [&](const PlannedEntry &e) { return e.track == &track; });
  };
  for (auto request = requests.rbegin(); request != requests.rend() && !enough(); ++request) {
    auto &active = (*request)->active;
    for (auto track = active.rbegin(); track != active.rend() && !enough(); ++track) {
      if (track->get() == &keep)
        return enough();
      if ((*track)->sequence && !isPlanned(**track))
        preempt(**track);
    }
    Track *parent = (*request)->parent.get();
    if (parent == &keep)
      return enough();
    if (parent && parent->sequence && !enough() && !isPlanned(*parent))
      preempt(*parent);
  }
  return enough();
}

/// Chooses what the step feeds: decoding samples first, oldest first, then prompts.
Status Engine::plan(std::vector<PlannedEntry> *out) {
  reservedPages = 0;
  uint32_t tokensLeft = limits.maxTokensPerStep, rowsLeft = limits.maxLogitRows;
  auto consider = [&](Track &track, bool decoding) {
    if (!track.sequence || track.ended || track.pending() == 0 ||
        (track.pending() == 1 && !track.isParent()) != decoding ||
        track.endsWithFlight(limits.maxContext))
      return;
    uint32_t count = uint32_t(std::min<size_t>(track.pending(), tokensLeft));
    if (options.prefillChunk)
      count = std::min(count, options.prefillChunk);
    if (!track.snapshots.empty())
      count = uint32_t(std::min<size_t>(count, track.snapshots.front() - track.computed));
    bool wantsLogits = !track.isParent() && count == track.pending();
    if (count == 0 || (wantsLogits && rowsLeft == 0))
      return;
    if (limits.kvPages) {
      auto needed = [&] {
        return pagesOf(track.computed + count, limits.pageSize) -
               pagesOf(track.computed, limits.pageSize);
      };
      if (backend.freePages() < reservedPages + needed() && !makeRoom(track, needed(), *out)) {
        uint32_t fits =
            pagesOf(track.computed, limits.pageSize) + (backend.freePages() - reservedPages);
        if (fits * size_t(limits.pageSize) > track.computed && !wantsLogits && !decoding) {
          count =
              uint32_t(std::min<size_t>(count, fits * size_t(limits.pageSize) - track.computed));
        } else {
          preempt(track);
          return;
        }
      }
      reservedPages += needed();
    }
    tokensLeft -= count;
    rowsLeft -= wantsLogits;
    out->push_back({&track, count, wantsLogits});
  };
  for (bool decoding : {true, false})
    for (auto &request : requests) {
      if (request->parent)
        consider(*request->parent, decoding);
      for (auto &track : request->active)
        consider(*track, decoding);
    }
  return {};
}

Status Engine::snapshot(Track &track) {
  while (!track.snapshots.empty() && track.snapshots.front() <= track.computed) {
    bool here = track.snapshots.front() == track.computed;
    track.snapshots.erase(track.snapshots.begin());
    if (!here || prefixes.contains(track.tokens, track.computed))
      continue;
    if (prefixes.full())
      prefixes.evict();
    if (limits.kvPages && track.computed % limits.pageSize && backend.freePages() == 0)
      continue;
    SequenceId copy;
    M1_TRY(backend.fork(track.sequence, &copy));
    prefixes.insert(copy, track.tokens, track.computed);
  }
  return {};
}

/// Starts a step and the sampling of its logits rows.
Status Engine::launch(const std::vector<PlannedEntry> &planned) {
  std::vector<BackendEntry> entries(planned.size());
  std::vector<SamplingRow> rows;
  Flight flight;
  flight.begin = Clock::now();
  bool decodes = true;
  for (size_t i = 0; i < planned.size(); ++i) {
    Track &track = *planned[i].track;
    entries[i].sequence = track.sequence;
    entries[i].tokenCount = planned[i].tokens;
    entries[i].logitCount = planned[i].wantsLogits ? 1 : 0;
    if (track.computed < track.tokens.size())
      entries[i].tokens = track.tokens.data() + track.computed;
    else
      entries[i].chosenRow = track.row;
    decodes &= planned[i].tokens == 1;
  }
  M1_TRY(backend.step(entries.data(), uint32_t(entries.size())));
  for (const PlannedEntry &entry : planned) {
    Track &track = *entry.track;
    size_t old = std::min<size_t>(
        track.everComputed > track.computed ? track.everComputed - track.computed : 0,
        entry.tokens);
    counters.recomputedTokens += old;
    counters.computedTokens += entry.tokens;
    track.computed += entry.tokens;
    track.everComputed = std::max(track.everComputed, track.computed);
    if (!entry.wantsLogits)
      continue;
    const Request &request = track.request->request;
    SamplingRow row;
    row.row = track.row = uint32_t(rows.size());
    row.parameters = request.sampling;
    row.parameters.seed = sampleSeed(request.sampling.seed, request.firstSample + track.sample);
    row.counter = uint32_t(track.generated + track.inFlight);
    row.seen = track.seen.data();
    row.seenCount = uint32_t(track.seen.size());
    row.bias = request.bias.data();
    row.biasCount = uint32_t(request.bias.size());
    row.allowed = track.filter ? track.filter->allowed() : nullptr;
    row.wantLogprob = request.wantLogprobs;
    rows.push_back(row);
    flight.sampled.push_back(&track);
  }
  M1_TRY(backend.sample(rows.data(), uint32_t(rows.size())));
  for (Track *track : flight.sampled)
    ++track->inFlight;
  if (decodes)
    flight.decodeTokens = uint32_t(planned.size());
  flights.push_back(std::move(flight));
  ++counters.steps;
  for (const PlannedEntry &entry : planned)
    M1_TRY(snapshot(*entry.track));
  return {};
}

/// Takes in the tokens of the oldest step in flight.
Status Engine::land() {
  Flight flight = std::move(flights.front());
  flights.pop_front();
  std::vector<SampledToken> tokens(flight.sampled.size());
  M1_TRY(backend.takeChosen(tokens.data()));
  Clock::time_point now = Clock::now();
  double seconds = std::chrono::duration<double>(now - std::max(flight.begin, landed)).count();
  landed = now;
  counters.modelSeconds += seconds;
  if (flight.decodeTokens) {
    ++counters.decodeSteps;
    counters.decodeTokens += flight.decodeTokens;
    counters.decodeSeconds += seconds;
    stepSeconds = stepSeconds ? 0.9 * stepSeconds + 0.1 * seconds : seconds;
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    Track &track = *flight.sampled[i];
    --track.inFlight;
    if (track.ended)
      continue;
    if (tokens[i].token == noToken)
      finish(track, FinishReason::failed,
             formatted("no token to choose at position %zu (token %zu of the answer): the model's "
                       "logits there hold a NaN or an infinite value%s",
                       track.tokens.size(), track.generated + 1,
                       track.filter || !track.request->request.bias.empty()
                           ? ", or every token is forbidden"
                           : ""));
    else
      accept(track, std::move(tokens[i]));
  }
  return {};
}

/// Whether the next step can be started before the tokens of the last one are there.
bool Engine::mayRunAhead() const {
  return limits.asynchronous &&
         std::none_of(flights.back().sampled.begin(), flights.back().sampled.end(),
                      [](const Track *track) { return track->needsLogitsOnHost(); });
}

/// A token of the sample, sampled or forced: text, stop strings, limits of length.
void Engine::append(Track &track, SampledToken token) {
  int32_t id = token.token;
  Event &event = eventFor(track);
  event.tokens.push_back(std::move(token));
  track.tokens.push_back(id);
  ++track.generated;
  if (track.request->request.sampling.penalised())
    track.see(id, /*said=*/true);
  if (track.filter)
    track.filter->accept(id);
  if (track.decoder) {
    std::string piece;
    track.decoder->append(id, &piece);
    if (track.stops.append(piece, &event.text)) {
      finish(track, FinishReason::stopString);
      return;
    }
  }
  // The last token needs no room in the context: it is never fed.
  if (track.generated >= track.limit || track.tokens.size() > limits.maxContext)
    finish(track, FinishReason::length);
}

void Engine::accept(Track &track, SampledToken token) {
  const Request &request = track.request->request;
  ++counters.generatedTokens;
  if (std::find(request.stopTokens.begin(), request.stopTokens.end(), token.token) !=
      request.stopTokens.end()) {
    track.tokens.push_back(token.token); // running ahead, the sequence has computed it
    eventFor(track).tokens.push_back(std::move(token));
    finish(track, FinishReason::stopToken);
    return;
  }
  append(track, std::move(token));
  if (!track.ended && track.closesAt(track.generated))
    close(track);
}

Status Engine::step() {
  Clock::time_point begin = Clock::now();
  M1_TRY(applyDeadlines());
  std::vector<PlannedEntry> planned;
  if (!requests.empty()) {
    M1_TRY(admit());
    M1_TRY(plan(&planned));
    // An entry planned early may not be preempted later (makeRoom spares planned ones), so every
    // entry still holds its sequence.
    if (!planned.empty())
      M1_TRY(launch(planned));
  }
  size_t ahead = !planned.empty() && mayRunAhead() ? 1 : 0;
  while (flights.size() > ahead)
    M1_TRY(land());
  retireEnded();
  counters.elapsedSeconds += std::chrono::duration<double>(Clock::now() - begin).count();
  return {};
}

} // namespace m1rt
