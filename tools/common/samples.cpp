#include "samples.h"
#include "vote/vote.h"
#include <algorithm>

using namespace m1rt;

namespace m1tool {

bool SampleResult::take(Event &event) {
  if (event.probeAfter) {
    probes.push_back(
        {event.probeAfter, boxedAnswer(event.text), uint32_t(event.tokens.size()), false});
    return false;
  }
  if (event.forced && !forced)
    closedAt = text.size();
  text += event.text;
  for (SampledToken &token : event.tokens)
    tokens.push_back(std::move(token));
  forced |= event.forced;
  if (event.reason != FinishReason::running) {
    reason = answered ? FinishReason::stopString : event.reason;
    error = event.error;
    return false;
  }
  if (!forced || answered || !extractBoxed(text.substr(closedAt)))
    return false;
  return answered = true;
}

void Counts::add(const SampleResult &sample) {
  if (sample.notNeeded) {
    ++notNeeded;
    return;
  }
  switch (sample.reason) {
  case FinishReason::failed:
    ++failed;
    break;
  case FinishReason::dropped:
  case FinishReason::cancelled:
    ++(sample.forced ? forced : dropped);
    break;
  case FinishReason::stopToken:
  case FinishReason::stopString:
    ++(sample.forced ? forced : finished);
    break;
  default:
    ++(sample.forced ? forced : length);
  }
}

Counts countEnds(const std::vector<SampleResult> &samples) {
  Counts counts;
  for (const SampleResult &sample : samples)
    counts.add(sample);
  return counts;
}

nlohmann::json jsonOf(const Counts &counts) {
  return {{"finished", counts.finished}, {"length", counts.length},
          {"forced", counts.forced},     {"dropped", counts.dropped},
          {"failed", counts.failed},     {"not_needed", counts.notNeeded}};
}

nlohmann::json jsonOf(const std::vector<SampledToken> &tokens) {
  nlohmann::json out = nlohmann::json::array();
  for (const SampledToken &token : tokens) {
    nlohmann::json entry = {{"token", token.token}, {"logprob", token.logprob}};
    for (const TokenLogprob &other : token.top)
      entry["top"].push_back({{"token", other.token}, {"logprob", other.logprob}});
    out.push_back(std::move(entry));
  }
  return out;
}

nlohmann::json jsonOf(const std::vector<ProbeResult> &probes) {
  nlohmann::json out = nlohmann::json::array();
  for (const ProbeResult &probe : probes)
    out.push_back({{"after", probe.after},
                   {"answer", probe.answer ? nlohmann::json(*probe.answer) : nlohmann::json()},
                   {"tokens", probe.tokens}});
  return out;
}

nlohmann::json jsonOf(const SampleResult &sample, bool withText, bool withLogprobs) {
  nlohmann::json out;
  if (withText)
    out["text"] = sample.text;
  nlohmann::json ids = nlohmann::json::array();
  for (const SampledToken &token : sample.tokens)
    ids.push_back(token.token);
  out["tokens"] = std::move(ids);
  if (withLogprobs)
    out["logprobs"] = jsonOf(sample.tokens);
  out["finish_reason"] = finishReasonName(sample.reason);
  out["forced"] = sample.forced;
  if (!sample.error.empty())
    out["error"] = sample.error;
  if (!sample.probes.empty())
    out["probes"] = jsonOf(sample.probes);
  return out;
}

nlohmann::json probesOf(const EngineStats &stats) {
  return {{"begun", stats.probes},
          {"dropped", stats.probesDropped},
          {"tokens", stats.probeTokens},
          {"seconds", stats.probeSeconds}};
}

std::string dumped(const nlohmann::json &json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

} // namespace m1tool
