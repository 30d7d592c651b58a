// What the engine does when the model gets other weights.
#include "engine/engine_state.h"

namespace m1rt {

/// Runs what has begun to its end. Parents give their room to it.
Status Engine::finishRunning() {
  for (auto &request : requests) {
    for (auto &track : request->active)
      track->paused = false; // none of them may wait for others to begin
    if (request->parent) {
      release(*request->parent);
      request->renewParent = true;
    }
  }
  auto hasBegun = [](const auto &request) { return request->running() > 0; };
  Status status;
  draining = true;
  while (status.ok() && std::any_of(requests.begin(), requests.end(), hasBegun))
    status = step();
  draining = false;
  return status;
}

Status Engine::forgetWeights(RunningSamples running) {
  if (running == RunningSamples::finish)
    M1_TRY(finishRunning());
  while (!flights.empty())
    M1_TRY(land());
  retireEnded();
  prefixes.clear();
  for (auto &request : requests) {
    request->reusedTokens = 0;
    if (running == RunningSamples::restart || request->parent)
      request->scores = std::make_shared<std::vector<SampledToken>>();
    if (request->parent) {
      release(*request->parent);
      request->parent->snapshots.clear();
      request->renewParent = true;
    }
    if (running == RunningSamples::restart)
      dropProbes(*request);
    for (auto &track : request->active) {
      track->snapshots.clear();
      if (running == RunningSamples::restart)
        restart(*track);
      else
        track->stale = track->sequence != 0;
    }
  }
  retireEnded();
  return {};
}

/// The sample as if it had not begun; its place among the running ones stays its own.
void Engine::restart(Track &track) {
  release(track);
  RequestState *request = track.request;
  const uint32_t sample = track.sample;
  const size_t event = track.event;
  const uint64_t epoch = track.eventEpoch;
  track = Track();
  track.request = request;
  track.sample = sample;
  track.event = event;
  track.eventEpoch = epoch;
  track.tokens = request->request.prompt;
  track.limit = request->request.maxNewTokens;
  begin(track);
  Event &news = eventFor(track);
  news.tokens.clear();
  news.text.clear();
  news.forced = false;
  news.promptScores.reset();
  news.restarted = true;
}

} // namespace m1rt
