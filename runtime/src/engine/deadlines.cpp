// Time budgets: how many samples run, when they are closed by force, and when they end.
#include "engine/engine_state.h"

namespace m1rt {

static double seconds(std::chrono::steady_clock::time_point time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

void Engine::close(Track &track) {
  const Request &request = track.request->request;
  track.closed = true;
  track.thought = track.generated;
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
  double steps = closingTokens(wish) + 1 + double(fed) / limits.maxTokensPerStep;
  // All that are closed take part in those steps, also those that a plan lets wait now.
  double each = std::max(stepSeconds, stepTimes.estimate(uint32_t(request.active.size())));
  double margin = std::min(each * steps + wish.timeBudget / 50, wish.timeBudget / 2);
  return request.deadline -
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(margin));
}

/// Tokens that a sample adds when it is closed: as many as they did, or else as it may.
double Engine::closingTokens(const Request &wish) const {
  return closings ? std::min(double(wish.closeMaxTokens), closingLength) : wish.closeMaxTokens;
}

BudgetSituation Engine::situationOf(const RequestState &request, Clock::time_point now) const {
  BudgetSituation situation;
  situation.secondsLeft =
      std::max(0.0, std::chrono::duration<double>(request.deadline - now).count());
  for (const auto &track : request.active)
    if (!track->ended)
      situation.ages.push_back(track->generated);
  situation.unstarted = request.unstarted();
  const uint32_t places = options.maxRunning - options.probePlaces;
  situation.places = places - std::min(places, request.parent ? 1u : 0u);
  for (const auto &other : requests)
    if (other.get() != &request)
      situation.others += other->running();
  situation.places -= std::min(situation.places, situation.others);
  situation.limit = request.request.maxNewTokens;
  situation.ended = request.ends;
  situation.lengths = request.lengths;
  return situation;
}

/// Whether the request's samples, whose closing time has come, are closed now. That is weighed as
/// seldom as plans are made: it costs as much.
bool Engine::closesNow(RequestState &request, Clock::time_point now) {
  const bool alone = request.request.samples == 1; // there is no other whose end would do
  if (!request.closesAtDeadline() || !options.planBudgets || alone)
    return true;
  if (!request.closingPace.due(counters.steps, request.ends, seconds(now)))
    return false;
  const bool worth = m1rt::worthClosing(situationOf(request, now), stepTimes, lengths,
                                        closingTokens(request.request) + 1,
                                        (double(answers) + 2) / (double(closings) + 2));
  request.closingPace.planned(counters.steps, request.ends, seconds(now),
                              seconds(options.now()) - seconds(now));
  return worth;
}

/// Decides, for every request with a time budget, which of its samples take part in the next steps
/// and how many may run.
void Engine::planBudgets() {
  if (!options.planBudgets)
    return;
  for (auto &request : requests) {
    if (!request->hasDeadline || request->closing)
      continue;
    // Those that a plan let run may all be gone, cancelled for instance. Steps and ends bring the
    // next plan; until then whatever is left runs.
    auto &active = request->active;
    if (std::none_of(active.begin(), active.end(),
                     [](const auto &track) { return !track->ended && !track->paused; }))
      for (auto &track : active)
        track->paused = false;
    if (request->parent && !request->parent->idle())
      continue;
    const Clock::time_point now = options.now();
    if (!request->pace.due(counters.steps, request->ends, seconds(now)))
      continue;
    const BudgetPlan plan = planBudget(situationOf(*request, now), stepTimes, lengths);
    request->pace.planned(counters.steps, request->ends, seconds(now),
                          seconds(options.now()) - seconds(now));
    uint32_t running = 0;
    size_t next = 0;
    for (auto &track : request->active)
      if (!track->ended) {
        track->paused = !plan.runs[next++];
        ++running;
      }
    request->wanted = running + plan.starts;
    if (request->wanted == 0 && request->nextSample == 0)
      request->wanted = 1; // one tries, whatever the odds
    else if (request->wanted == 0)
      dropUnstarted(*request, FinishReason::dropped); // too late for any
  }
}

Status Engine::applyDeadlines() {
  const Clock::time_point now = options.now();
  std::vector<RequestState *> due;
  for (auto &request : requests)
    if (request->hasDeadline &&
        (now >= request->deadline ||
         (!request->closing && now >= closingTime(*request) && closesNow(*request, now))))
      due.push_back(request.get());
  if (due.empty())
    return {};
  while (!flights.empty()) // what is fed to close a sample comes after its last token
    M1_TRY(land());
  const Clock::time_point then = options.now();
  for (RequestState *request : due) {
    // A sample closes once it has said something, now or later (accept); whatever is there at the
    // deadline ends.
    const bool over = then >= request->deadline;
    request->closing = true;
    dropProbes(*request);
    for (auto &track : request->active)
      track->paused = false;
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

} // namespace m1rt
