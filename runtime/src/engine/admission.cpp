// Who gets a sequence: admission, and preemption when KV pages run out.
#include "engine/engine_state.h"
#include <utility>

namespace m1rt {

bool Engine::mayStart(const Track &track) const {
  if (holding >= options.maxRunning - options.probePlaces ||
      holding + probing >= options.maxRunning)
    return false;
  if (!limits.kvPages)
    return true;
  // Room for the first chunk and a page of growth for everyone that runs, unless nothing runs.
  uint32_t chunk = std::min<uint32_t>(uint32_t(track.tokens.size()), limits.maxTokensPerStep);
  return holding == 0 || backend.freePages() >= limits.mostPages(chunk) + holding;
}

/// What a sequence that holds `computed` tokens of the track will want.
PageForecast::Sequence Engine::growthOf(const Track &track, size_t computed) {
  PageForecast::Sequence growth;
  growth.atOnce = limits.pagesOf(track.tokens.size()) - limits.pagesOf(computed);
  if (track.sequence)
    growth.held = limits.pagesOf(computed) -
                  std::max<size_t>(track.shared / limits.pageSize, limits.pagesBehind(computed));
  else if (computed % limits.pageSize)
    ++growth.atOnce; // the copy of the page that it begins in
  // With a window: what it still takes until it holds the most, and then gives back as it takes.
  auto windowed = [&](size_t end) {
    const size_t most = limits.mostPages(end),
                 now = limits.pagesOf(computed) - limits.pagesBehind(computed);
    growth.atOnce = most - std::min(most, now);
  };
  if (track.isParent()) {
    growth.held = 0; // its samples go on with its pages
    if (limits.window)
      windowed(track.tokens.size());
    return growth;
  }
  growth.more = track.limit - std::min(track.limit, track.generated);
  if (growth.more > 0 && track.mayEndEarly()) {
    auto [table, isNew] = lengthsToLimit.try_emplace(track.limit);
    if (isNew) {
      std::vector<size_t> ages;
      for (const auto &request : requests)
        for (const auto &running : request->active)
          if (running->sequence)
            ages.push_back(running->generated);
      table->second = lengths.table(ages, track.limit, double(track.limit));
    }
    growth.more =
        std::min(growth.more, size_t(table->second.expectedMore(double(track.generated))));
  }
  growth.more = std::min(growth.more, limits.maxContext -
                                          std::min<size_t>(limits.maxContext, track.tokens.size()));
  if (limits.window)
    windowed(track.tokens.size() + growth.more);
  return growth;
}

/// Samples begin until their expected peak is this many times the pages that are free. Those that
/// begin together peak together; some of them, preempted once, then run staggered, and more fit at
/// once. In a simulation of 512 samples of 4096 tokens on pages for 131 (a step of 3.2 ms and 0.038
/// µs a token of context, recomputation at 85,000 tokens/s) 1 takes 246 s and computes nothing
/// twice, 1.5 takes 240 s and 17 %, no bound 239 s and 33 %; with lengths that are learned 1 wastes
/// a quarter of the steps, 1.5 none.
constexpr double overcommitment = 1.5;

/// Whether the track can begin, with `computed` tokens of another sequence, without making too many
/// others wait for pages later.
bool Engine::pagesWillLast(const Track &track, size_t computed) {
  const bool enoughForAll =
      limits.kvPages / limits.mostPages(limits.maxContext) >= limits.maxSequences;
  if (holding == 0 || !limits.kvPages || enoughForAll)
    return true;
  if (!forecast) {
    forecast.emplace(limits.window ? 0 : limits.pageSize);
    for (const auto &request : requests) {
      if (request->parent && request->parent->sequence)
        forecast->add(growthOf(*request->parent, request->parent->computed));
      for (const auto &running : request->active)
        if (running->sequence && !running->ended)
          forecast->add(growthOf(*running, running->computed));
    }
  }
  size_t cached = prefixes.tokens() / limits.pageSize; // evict() gives them back
  if (limits.window)
    cached = std::min<size_t>(cached, prefixes.size() * limits.mostPages(limits.maxContext));
  const size_t free = backend.freePages() + cached;
  return double(forecast->peakWith(growthOf(track, computed))) <= overcommitment * double(free);
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
  const uint32_t places = options.maxRunning - options.probePlaces;
  while (!mayStart(track))
    if ((holding >= places || !(dropYoungestProbe() || prefixes.evict())) &&
        !releaseIdleParent(track))
      return {};
  // A sample needs logits of its last token, so that one is always computed.
  size_t limit = track.tokens.size() - (track.isParent() ? 0 : 1);
  const RequestState &request = *track.request;
  const size_t most = request.scoresMissing() ? std::min(limit, request.scores->size()) : limit;
  PrefixCache::Hit hit =
      prefixes.enabled() ? prefixes.find(track.tokens, most) : PrefixCache::Hit{};
  while (!pagesWillLast(track, hit.length))
    if (!releaseIdleParent(track))
      return {};
  bool first = track.everComputed == 0;
  bool partialPage = limits.kvPages && hit.length % limits.pageSize != 0;
  if (hit.sequence && (!partialPage || backend.freePages() > 0)) {
    M1_TRY(backend.fork(hit.sequence, &track.sequence));
    track.computed = hit.length;
  } else {
    M1_TRY(backend.create(&track.sequence));
    track.computed = 0;
  }
  track.shared = track.computed;
  ++holding;
  if (forecast)
    forecast->add(growthOf(track, track.computed));
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
  auto placed = [&] {
    return holding + probing < options.maxRunning &&
           (!limits.kvPages || backend.freePages() > holding);
  };
  const bool mayHold = holding < options.maxRunning - options.probePlaces;
  while (mayHold && !placed() && dropYoungestProbe()) {
  }
  if (mayHold && placed() && pagesWillLast(track, length)) {
    M1_TRY(backend.fork(parent->sequence, &track.sequence));
    ++holding;
    track.shared = length;
  } else if (onlyIdleParents()) {
    track.sequence = std::exchange(parent->sequence, 0);
    parent->computed = 0;
    track.shared = 0;
  } else {
    return Status();
  }
  track.computed = length;
  if (forecast)
    forecast->add(growthOf(track, length));
  counters.sharedTokens += length;
  *outStarted = true;
  return {};
}

/// What goes with a sample's tokens, before its first one.
void Engine::begin(Track &track) {
  const Request &request = track.request->request;
  if (decoders) {
    track.decoder = decoders();
    track.stops = StopMatcher(request.stopStrings);
  }
  if (request.sampling.penalised())
    for (int32_t token : track.tokens)
      track.see(token, /*said=*/false);
  if (request.filters)
    track.filter = request.filters();
  if (request.probeEvery)
    track.nextProbe = request.probeEvery;
}

Status Engine::admit() {
  forecast.reset();
  lengthsToLimit.clear();
  bool more = true;
  for (uint32_t beyond = 0; more; ++beyond)
    M1_TRY(admit(beyond, &more));
  return {};
}

/// Starts what has a place, first come, first served, but of a request with samplesAtOnce no more
/// than these and so many beyond them: places that nobody else wants go round, so that a vote that
/// may stop early does not take them all. outMore: some are left, and requests that want them.
Status Engine::admit(uint32_t beyond, bool *outMore) {
  *outMore = false;
  bool bounded = false;
  for (auto &owned : requests) {
    RequestState &request = *owned;
    bool started = true;
    if (request.parent && !request.parent->sequence && request.unstarted() > 0 && !draining &&
        (request.active.empty() || request.renewParent)) {
      M1_TRY(startFresh(*request.parent, &started));
      if (started)
        request.renewParent = false;
      else if (request.active.empty())
        return {};
    }
    const bool parentComputes =
        request.parent && request.parent->sequence && !request.parent->idle();
    for (auto &track : request.active)
      if (!track->sequence && !track->ended && track->inFlight == 0) {
        if (parentComputes && track->generated == 0)
          continue; // it begins again, soon, from there
        M1_TRY(start(*track, &started));
        if (!started)
          return {};
      }
    if (draining)
      continue;
    const uint32_t atOnce = request.request.samplesAtOnce, share = atOnce ? atOnce + beyond : 0;
    for (uint32_t running = request.running(); request.unstarted() > 0 && running < request.wanted;
         ++running) {
      if (request.parent && !(request.parent->sequence && request.parent->idle()))
        break; // being computed, or given up until the running samples end
      if (share && running >= share) {
        bounded = true;
        break;
      }
      auto track = std::make_unique<Track>();
      track->request = &request;
      track->sample = request.nextSample;
      track->tokens = request.request.prompt;
      track->limit = request.request.maxNewTokens;
      M1_TRY(start(*track, &started));
      if (!started)
        return {};
      begin(*track);
      request.advance();
      request.active.push_back(std::move(track));
    }
  }
  *outMore = bounded;
  return {};
}

/// Frees pages until `pages` more than the planned ones are free: probes, cached prefixes, idle
/// parents, then the youngest track after `keep` that is not yet planned. False when nothing is
/// left to give.
bool Engine::makeRoom(const Track &keep, uint32_t pages) {
  auto enough = [&] { return backend.freePages() >= reservedPages + pages; };
  while (!enough() && dropYoungestProbe()) { // those that are planned come after all samples
  }
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

} // namespace m1rt
