// Steps: what they feed, and what comes back.
#include "engine/engine_state.h"

namespace m1rt {

/// As many of the next `count` tokens that the track feeds as are scored by at most `most` rows of
/// logits. A row stands for the token after the one that is fed, so the prompt's last has none; a
/// track that recovers scores nothing twice. What is scored are the last ones that are fed, but for
/// the prompt's last.
uint32_t Engine::withinScores(const Track &track, uint32_t count, uint32_t most,
                              uint32_t *outScores) {
  *outScores = 0;
  const RequestState &request = *track.request;
  if (track.isProbe() || !request.scoresMissing())
    return count;
  const size_t known = request.scores->size(), from = std::max(known, track.computed),
               last = request.request.prompt.size() - 1;
  auto scores = [&](size_t end) {
    end = std::min(end, last);
    return end > from ? end - from : 0; // what went on with other weights may be past the prompt
  };
  if (scores(track.computed + count) > most)
    count = uint32_t(from + most - track.computed);
  *outScores = uint32_t(scores(track.computed + count));
  return count;
}

/// Chooses what the step feeds: decoding samples first, oldest first, then prompts.
Status Engine::plan() {
  reservedPages = 0;
  planned.clear();
  prompts.clear();
  uint32_t tokensLeft = limits.maxTokensPerStep, rowsLeft = limits.maxLogitRows;
  uint32_t scoresLeft = UINT32_MAX;
  auto consider = [&](Track &track, bool decoding) {
    if (!track.sequence || track.ended || track.paused || track.pending() == 0 ||
        (track.pending() == 1 && !track.isParent()) != decoding ||
        track.endsWithFlight(limits.maxContext))
      return;
    uint32_t count = uint32_t(std::min<size_t>(track.pending(), tokensLeft));
    if (options.prefillChunk)
      count = std::min(count, options.prefillChunk);
    if (!track.snapshots.empty())
      count = uint32_t(std::min<size_t>(count, track.snapshots.front() - track.computed));
    uint32_t scores = 0;
    count = withinScores(track, count, std::min(scoresLeft, rowsLeft), &scores);
    bool wantsLogits = !track.isParent() && count == track.pending();
    if (wantsLogits && scores > 0 && scores == rowsLeft) {
      --count; // no row is left for what follows the prompt
      wantsLogits = false;
    }
    if (count == 0 || (wantsLogits && rowsLeft == 0))
      return;
    if (limits.kvPages) {
      auto needed = [&] {
        return limits.pagesOf(track.computed + count) - limits.pagesOf(track.computed);
      };
      const bool tooFew = backend.freePages() < reservedPages + needed();
      if (tooFew && track.isProbe()) {
        dropProbe(track);
        return;
      }
      if (tooFew && !makeRoom(track, needed())) {
        uint32_t fits = limits.pagesOf(track.computed) + (backend.freePages() - reservedPages);
        // With a window a smaller part may do: its pages come back before the next.
        if (fits * size_t(limits.pageSize) > track.computed && (!wantsLogits || limits.window) &&
            !decoding) {
          count =
              uint32_t(std::min<size_t>(count, fits * size_t(limits.pageSize) - track.computed));
          wantsLogits = !track.isParent() && count == track.pending();
        } else {
          preempt(track);
          return;
        }
      }
      reservedPages += needed();
    }
    withinScores(track, count, scores, &scores); // pages may have made it less
    tokensLeft -= count;
    rowsLeft -= scores + wantsLogits;
    scoresLeft -= scores;
    planned.push_back({&track, count, scores, wantsLogits});
  };
  for (auto &request : requests) {
    if (request->parent && request->parent->sequence)
      prompts.push_back(request->parent.get());
    for (auto &track : request->active)
      if (track->sequence && track->pending() > 1)
        prompts.push_back(track.get());
      else
        consider(*track, /*decoding=*/true);
  }
  if (!planned.empty()) {
    if (options.prefillBesideDecoding)
      tokensLeft = std::min(tokensLeft, options.prefillBesideDecoding);
    scoresLeft = options.scoresBesideDecoding;
  }
  for (Track *prompt : prompts)
    consider(*prompt, /*decoding=*/false);
  for (auto &request : requests)
    for (auto &probe : request->probes)
      consider(*probe, /*decoding=*/probe->pending() == 1);
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
Status Engine::launch() {
  std::vector<BackendEntry> &entries = stepEntries;
  std::vector<SamplingRow> &rows = stepRows;
  entries.assign(planned.size(), BackendEntry());
  rows.clear();
  Flight flight;
  flight.rows = std::move(spareRows);
  flight.rows.clear();
  flight.begin = options.now();
  bool decodes = true;
  uint32_t all = 0, ofProbes = 0; // tokens
  for (size_t i = 0; i < planned.size(); ++i) {
    Track &track = *planned[i].track;
    entries[i].sequence = track.sequence;
    entries[i].tokenCount = planned[i].tokens;
    entries[i].logitCount = planned[i].scores + (planned[i].wantsLogits ? 1 : 0);
    if (track.computed < track.tokens.size())
      entries[i].tokens = track.tokens.data() + track.computed;
    else
      entries[i].chosenRow = track.row;
    decodes &= planned[i].tokens == 1;
    all += planned[i].tokens;
    ofProbes += track.isProbe() ? planned[i].tokens : 0;
  }
  flight.probeShare = double(ofProbes) / double(all);
  M1_TRY(backend.step(entries.data(), uint32_t(entries.size())));
  counters.probeTokens += ofProbes;
  for (const PlannedEntry &entry : planned) {
    Track &track = *entry.track;
    const Request &request = track.request->request;
    for (uint32_t i = 0; i < entry.scores; ++i) {
      const size_t place = track.computed + entry.tokens - entry.scores - entry.wantsLogits + i + 1;
      SamplingRow row;
      row.row = uint32_t(rows.size());
      row.given = request.prompt[place];
      row.wantLogprob = true;
      row.parameters.topLogprobs = request.sampling.topLogprobs;
      rows.push_back(row);
      flight.rows.push_back({&track, place});
      flight.awaited = true;
    }
    size_t old = std::min<size_t>(
        track.everComputed > track.computed ? track.everComputed - track.computed : 0,
        entry.tokens);
    counters.recomputedTokens += old;
    counters.computedTokens += entry.tokens;
    track.computed += entry.tokens;
    track.everComputed = std::max(track.everComputed, track.computed);
    if (!entry.wantsLogits)
      continue;
    SamplingRow row;
    row.row = track.row = uint32_t(rows.size());
    row.parameters = track.sampling();
    row.parameters.seed = sampleSeed(request.sampling.seed, request.firstSample + track.sample);
    row.counter = uint32_t(track.generated + track.inFlight);
    row.seen = track.seen.data();
    row.seenCount = uint32_t(track.seen.size());
    row.bias = request.bias.data();
    row.biasCount = uint32_t(request.bias.size());
    row.allowed = track.filter ? track.filter->allowed() : nullptr;
    row.wantLogprob = request.wantLogprobs && !track.isProbe();
    flight.awaited |= row.needsLogitsOnHost() || track.filter;
    rows.push_back(row);
    flight.rows.push_back({&track});
  }
  M1_TRY(backend.sample(rows.data(), uint32_t(rows.size())));
  for (const Flight::Row &row : flight.rows)
    row.track->inFlight += row.scored == 0;
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
  std::vector<SampledToken> &tokens = chosen;
  tokens.resize(flight.rows.size());
  M1_TRY(backend.takeChosen(tokens.data()));
  Clock::time_point now = options.now();
  double seconds = std::chrono::duration<double>(now - std::max(flight.begin, landed)).count();
  landed = now;
  counters.modelSeconds += seconds;
  counters.probeSeconds += seconds * flight.probeShare;
  if (flight.decodeTokens) {
    ++counters.decodeSteps;
    counters.decodeTokens += flight.decodeTokens;
    counters.decodeSeconds += seconds;
    stepTimes.add(flight.decodeTokens, seconds);
    stepSeconds = stepSeconds ? 0.9 * stepSeconds + 0.1 * seconds : seconds;
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    Track &track = *flight.rows[i].track;
    const size_t scored = flight.rows[i].scored;
    track.inFlight -= scored == 0;
    if (track.ended)
      continue;
    if (scored)
      score(track, scored, std::move(tokens[i]));
    else if (track.isProbe())
      acceptProbe(track, tokens[i]);
    else if (tokens[i].token == noToken)
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
  spareRows = std::move(flight.rows);
  return {};
}

} // namespace m1rt
