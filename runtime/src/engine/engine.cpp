#include "engine/engine_state.h"
#include <cmath>
#include <limits>
#include <new>

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
  this->options.probePlaces = std::min(options.probePlaces, this->options.maxRunning - 1);
  this->options.prefixBlock = std::max(options.prefixBlock, 1u);
  this->options.shortestPrefix = std::max(options.shortestPrefix, 1u);
}

Engine::~Engine() {
  try {
    for (Flight &flight : flights) { // the backend may serve another engine
      std::vector<SampledToken> tokens(flight.rows.size());
      (void)backend.takeChosen(tokens.data());
    }
    for (auto &request : requests) {
      dropProbes(*request);
      for (auto &track : request->active)
        release(*track);
      if (request->parent)
        release(*request->parent);
    }
  } catch (const std::bad_alloc &) {
    // The backend then serves no other.
  }
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
  if (request.maxNewTokens == 0 && !request.scorePrompt)
    return bad("max new tokens: expected at least 1");
  if (request.maxNewTokens == 0 &&
      (request.timeBudget > 0 || request.maxThinkTokens || request.probes()))
    return bad("max new tokens: 0 goes without a time budget, a limit of thought and probes");
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
  if (!(request.timeBudget >= 0 && request.timeBudget <= 1e9)) // what a clock holds, with room
    return bad(formatted("time budget: expected 0 to 1e9 seconds, got %g", request.timeBudget));
  if (request.probes()) {
    if (request.probeTokens.empty() || request.probeMaxTokens == 0)
      return bad("probes: expected at least one token to feed and one to read");
    if (request.filters)
      return bad("probes: not with a grammar, which says what may follow at each token");
    for (int32_t token : request.probeTokens)
      if (token < 0 || uint32_t(token) >= limits.vocabulary)
        return bad(
            formatted("probe tokens: token %d, expected 0 to %u", token, limits.vocabulary - 1));
  }
  for (const std::string &stop : request.stopStrings) {
    if (stop.empty())
      return bad("stop string: an empty string cannot match");
    if (!decoders)
      return bad("stop string: the model has no tokenizer, so it cannot match");
  }
  size_t longest =
      std::min<size_t>(request.prompt.size() + request.maxNewTokens, limits.maxContext);
  if (limits.kvPages && limits.mostPages(longest) > limits.kvPages)
    return bad(formatted(
        "prompt of %zu tokens and %u new tokens: need %u KV pages, the pool has %u",
        request.prompt.size(), request.maxNewTokens, limits.mostPages(longest), limits.kvPages));
  return {};
}

Status Engine::submit(Request request, uint64_t *outRequest) {
  M1_TRY(check(request));
  auto state = std::make_unique<RequestState>();
  state->id = nextRequest;
  state->submitted = options.now();
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
  if (live == 0) // a step that outlasted the last sample is not taken in before the next one begins
    landed = accepted.submitted;
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

void Engine::takeEvents(std::vector<Event> *out) {
  ++eventEpoch;
  events.erase(events.begin() + ptrdiff_t(told), events.end());
  events.swap(*out);
  told = 0;
}

Event &Engine::newEvent() {
  if (told == events.size())
    events.emplace_back();
  else
    events[told].renew();
  return events[told++];
}

Event &Engine::eventFor(Track &track) {
  if (track.eventEpoch != eventEpoch) {
    Event &event = newEvent();
    event.request = track.request->id;
    event.sample = track.sample;
    event.forced = track.closed;
    event.reusedTokens = track.request->reusedTokens;
    track.eventEpoch = eventEpoch;
    track.event = told - 1;
  }
  Event &event = events[track.event];
  if (track.request->request.scorePrompt && !track.toldScores && !track.request->scoresMissing()) {
    event.promptScores = track.request->scores;
    track.toldScores = true;
  }
  return event;
}

uint32_t Engine::runningSamples() const {
  uint32_t parents = 0;
  for (auto &request : requests)
    parents += request->parent && request->parent->sequence;
  return holding - parents;
}

uint32_t Engine::waitingSamples() const { return uint32_t(live - runningSamples()); }

void Engine::release(Track &track) {
  if (!track.sequence)
    return;
  (void)backend.destroy(track.sequence); // of a sequence that exists: cannot fail
  track.sequence = 0;
  track.computed = 0;
  track.stale = false;
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
  learnLength(track, reason);
  track.ended = true;
  --live;
  dropProbes(*track.request, &track);
  if (track.closed || reason == FinishReason::stopToken || reason == FinishReason::stopString ||
      reason == FinishReason::length)
    probeOthers(track);

  bool keep = prefixes.enabled() && track.sequence && track.request->request.samples == 1 &&
              !track.stale && reason != FinishReason::failed &&
              track.computed >= options.shortestPrefix &&
              !prefixes.contains(track.tokens, track.computed);
  if (keep) { // a following turn of a conversation starts from here
    prefixes.insert(track.sequence, track.tokens, track.computed);
    track.sequence = 0;
    --holding;
  }
  release(track);
}

/// What an end says about the lengths of samples, and of what they say when they are closed.
void Engine::learnLength(Track &track, FinishReason reason) {
  if (track.limit == 0)
    return;
  const bool byItself = reason == FinishReason::stopToken || reason == FinishReason::stopString ||
                        reason == FinishReason::length;
  auto learn = [&](size_t tokens, bool ended) {
    lengths.add(tokens, ended);
    track.request->lengths.add(tokens, ended);
  };
  if (track.closed) {
    learn(track.thought, false);
    const Request &wish = track.request->request;
    const double said =
        std::max(1.0, double(track.generated - track.thought) - double(wish.closeTokens.size()));
    // One that was cut says only that closing takes longer. Taken at its word it would leave the
    // next ones less time, so that they were cut, too.
    const bool answered = reason == FinishReason::stopToken || reason == FinishReason::stopString ||
                          reason == FinishReason::cancelled;
    const bool cut = !answered && track.generated < track.limit && // as the deadline does
                     track.tokens.size() <= limits.maxContext;
    double length = said;
    if (cut) {
      const double most = std::max(1.0, double(wish.closeMaxTokens));
      const double longer = std::max(said, closingLength) + 1;
      length = closings ? std::max(closingLength, std::min(longer, most)) : most;
    }
    constexpr double newestShare = 0.1;
    closingLength = closings ? (1 - newestShare) * closingLength + newestShare * length : length;
    ++closings;
    answers += answered;
  } else if (byItself) {
    learn(track.generated, true);
    ++track.request->ends;
  } else if (track.generated > 0) {
    learn(track.generated, false);
  }
}

void Engine::endUnstarted(const RequestState &request, uint32_t sample, FinishReason reason,
                          const std::string &error) {
  Event &event = newEvent();
  event.request = request.id;
  event.sample = sample;
  event.reason = reason;
  event.error = error;
  --live;
}

void Engine::dropUnstarted(RequestState &request, FinishReason reason, const std::string &error) {
  for (; request.unstarted() > 0; request.advance())
    endUnstarted(request, request.nextSample, reason, error);
}

void Engine::retireEnded() {
  for (auto &request : requests) {
    auto &active = request->active;
    active.erase(std::remove_if(active.begin(), active.end(),
                                [](auto &track) { return track->ended && track->inFlight == 0; }),
                 active.end());
    auto &probes = request->probes;
    probes.erase(std::remove_if(probes.begin(), probes.end(),
                                [](auto &probe) { return probe->ended && probe->inFlight == 0; }),
                 probes.end());
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
  auto over = [](auto &request) {
    return request->active.empty() && request->probes.empty() && request->unstarted() == 0;
  };
  for (auto &request : requests) // before any is moved: there may be no memory for it
    if (over(request))
      lengths.addProblem(request->lengths);
  requests.erase(std::remove_if(requests.begin(), requests.end(), over), requests.end());
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
    if (track.stops.any()) {
      std::string piece;
      track.decoder->append(id, &piece);
      if (track.stops.append(piece, &event.text)) {
        finish(track, FinishReason::stopString);
        return;
      }
    } else {
      track.decoder->append(id, &event.text);
    }
  }
  // The last token needs no room in the context: it is never fed.
  if (track.generated >= track.limit || track.tokens.size() > limits.maxContext)
    finish(track, FinishReason::length);
}

/// A log probability of the prompt. Samples that began again together may bring the same ones.
void Engine::score(Track &track, size_t place, SampledToken token) {
  RequestState &request = *track.request;
  if (token.token == noToken) {
    const std::string message = formatted("no log probability of token %zu of the prompt: the "
                                          "model's logits there hold a NaN or an infinite value",
                                          place);
    for (auto &sample : request.active)
      finish(*sample, FinishReason::failed, message);
    dropUnstarted(request, FinishReason::failed, message);
    return;
  }
  if (place == request.scores->size() + 1)
    request.scores->push_back(std::move(token));
}

void Engine::accept(Track &track, SampledToken token) {
  const Request &request = track.request->request;
  if (track.limit == 0) { // it came with the prompt's last token, and nobody asked
    finish(track, FinishReason::length);
    return;
  }
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
  Clock::time_point begin = options.now();
  M1_TRY(applyDeadlines());
  planned.clear();
  if (!requests.empty()) {
    planBudgets();
    M1_TRY(admit());
    M1_TRY(startProbes());
    M1_TRY(plan());
    // An entry planned early may not be preempted later (makeRoom spares planned ones), so every
    // entry still holds its sequence.
    if (!planned.empty())
      M1_TRY(launch());
  }
  size_t ahead = !planned.empty() && limits.asynchronous && !flights.back().awaited ? 1 : 0;
  while (flights.size() > ahead)
    M1_TRY(land());
  retireEnded();
  counters.elapsedSeconds += std::chrono::duration<double>(options.now() - begin).count();
  return {};
}

} // namespace m1rt
