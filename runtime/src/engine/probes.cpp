// Probes: what samples would answer now. A sample is forked, its copy is fed the closing text and
// read for a few tokens, and dropped.
#include "engine/engine_state.h"

namespace m1rt {

/// Whether a sample could use another place.
bool Engine::samplesWait() const {
  return std::any_of(requests.begin(), requests.end(), [](const auto &request) {
    return (request->unstarted() > 0 && request->running() < request->wanted) ||
           std::any_of(request->active.begin(), request->active.end(),
                       [](const auto &track) { return !track->ended && !track->sequence; });
  });
}

/// Forks the samples that are due, oldest first, while there are places and pages for their probes.
/// A sample that finds none stays due. Steps that are in flight have taken only tokens that are
/// known here, so that the copy holds exactly a prefix of the sample.
Status Engine::startProbes() {
  std::optional<bool> waiting; // samples, for a place
  for (auto &request : requests) {
    const Request &wish = request->request;
    if (!wish.probes() || request->closing)
      continue;
    for (auto &track : request->active) {
      const size_t longest = track->tokens.size() + wish.probeLength();
      if (track->ended || !track->sequence || track->paused || track->closed ||
          track->generated < std::min(track->nextProbe, track->nextEndProbe) ||
          track->computed + 1 < track->tokens.size() || longest > limits.maxContext + size_t(1))
        continue;
      const bool busy = std::any_of(request->probes.begin(), request->probes.end(), [&](auto &p) {
        return p->sample == track->sample && !p->ended;
      });
      if (busy || holding + probing >= options.maxRunning)
        continue;
      if (probing >= options.probePlaces && !waiting)
        waiting = samplesWait();
      if (probing >= options.probePlaces && *waiting)
        continue;
      // Room for the whole probe, and a page of growth for everyone that runs.
      if (limits.kvPages &&
          backend.freePages() <
              std::min(limits.mostPages(longest),
                       limits.pagesOf(longest) - uint32_t(track->computed / limits.pageSize)) +
                  holding + probing)
        continue;
      auto probe = std::make_unique<Track>();
      probe->request = request.get();
      probe->sample = track->sample;
      probe->probeAfter = uint32_t(track->generated);
      probe->tokens = track->tokens;
      probe->tokens.insert(probe->tokens.end(), wish.probeTokens.begin(), wish.probeTokens.end());
      probe->limit = wish.probeMaxTokens;
      probe->closed = true;
      if (decoders)
        probe->decoder = decoders();
      request->probes.reserve(request->probes.size() + 1);
      M1_TRY(backend.fork(track->sequence, &probe->sequence));
      ++probing;
      ++counters.probes;
      probe->computed = probe->everComputed = probe->shared = track->computed;
      if (wish.probeEvery) {
        const size_t least = track->generated < track->nextProbe // it came on an end
                                 ? std::min<size_t>(wish.probeEvery, wish.probeLength())
                                 : 1;
        track->nextProbe =
            (track->generated + least + wish.probeEvery - 1) / wish.probeEvery * wish.probeEvery;
      }
      track->nextEndProbe = SIZE_MAX;
      track->probedAt = track->generated;
      request->probes.push_back(std::move(probe));
    }
  }
  return {};
}

/// Makes the samples that run beside one that has ended due.
void Engine::probeOthers(const Track &ended) {
  const Request &wish = ended.request->request;
  if (!wish.probeOnEnd)
    return;
  for (auto &track : ended.request->active)
    if (!track->ended && !track->closed)
      track->nextEndProbe =
          std::min(track->nextEndProbe,
                   std::max<size_t>(track->generated, track->probedAt + wish.probeLength()));
}

/// A token of a probe; its news is told when it has ended, as a whole.
void Engine::acceptProbe(Track &probe, const SampledToken &token) {
  const Request &wish = probe.request->request;
  if (token.token == noToken) {
    dropProbe(probe);
    return;
  }
  probe.tokens.push_back(token.token);
  ++probe.generated;
  const bool stopped = std::count(wish.stopTokens.begin(), wish.stopTokens.end(), token.token) > 0;
  if (!stopped && probe.generated < probe.limit && probe.tokens.size() <= limits.maxContext)
    return;
  Event event;
  event.request = probe.request->id;
  event.sample = probe.sample;
  event.probeAfter = probe.probeAfter;
  const size_t own = wish.probeTokens.size() + probe.generated;
  for (size_t i = probe.tokens.size() - own; i < probe.tokens.size(); ++i) {
    event.tokens.emplace_back();
    event.tokens.back().token = probe.tokens[i];
    if (probe.decoder && !(stopped && i + 1 == probe.tokens.size()))
      probe.decoder->append(probe.tokens[i], &event.text);
  }
  if (probe.decoder)
    probe.decoder->finish(&event.text);
  newEvent() = std::move(event);
  for (auto &track : probe.request->active) // what the sample says from here on comes after this
    if (track->sample == probe.sample)
      track->eventEpoch = UINT64_MAX;
  endProbe(probe);
}

void Engine::endProbe(Track &probe) {
  (void)backend.destroy(probe.sequence); // of a sequence that exists: cannot fail
  probe.sequence = 0;
  probe.ended = true;
  --probing;
}

/// Ends it without news.
void Engine::dropProbe(Track &probe) {
  if (probe.ended)
    return;
  ++counters.probesDropped;
  endProbe(probe);
}

/// Drops the youngest probe of the youngest request; false when there is none.
bool Engine::dropYoungestProbe() {
  for (auto request = requests.rbegin(); request != requests.rend(); ++request)
    for (auto probe = (*request)->probes.rbegin(); probe != (*request)->probes.rend(); ++probe)
      if (!(*probe)->ended) {
        dropProbe(**probe);
        return true;
      }
  return false;
}

/// Drops the probes of one of its samples, or of all.
void Engine::dropProbes(RequestState &request, const Track *of) {
  for (auto &probe : request.probes)
    if (!of || probe->sample == of->sample)
      dropProbe(*probe);
}

} // namespace m1rt
