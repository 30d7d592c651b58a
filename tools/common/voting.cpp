#include "voting.h"
#include "command_line.h"
#include <cmath>

using namespace m1rt;

namespace m1tool {

void addVoteOptions(CLI::App &app, VoteOptions *out) {
  const char *group = "Many samples";
  app.add_option("--stop-early", out->stopText,
                 "When a vote ends before its samples: off, exact (no other answer can win any "
                 "more) or confident[:P] (the leader would win a vote without end with probability "
                 "P; 0.95)")
      ->group(group)
      ->capture_default_str()
      ->type_name("RULE");
  app.add_option("--least-ballots", out->stop.leastBallots,
                 "Ballots before which --stop-early confident never stops")
      ->group(group)
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--vote-weight", out->weightText,
                 "What a ballot weighs: none (1) or confidence (the mean probability of its "
                 "sample's tokens)")
      ->group(group)
      ->capture_default_str()
      ->check(CLI::IsMember({"none", "confidence"}));
}

std::string readVoteOptions(VoteOptions *options) {
  options->byConfidence = options->weightText == "confidence";
  if (!parseStopRule(options->stopText, &options->stop))
    return "--stop-early " + options->stopText +
           ": expected off, exact, confident or confident:P with P between 0.5 and 1";
  if (options->byConfidence && options->stop.kind == StopRule::Kind::confident)
    return "--stop-early confident counts ballots: not with --vote-weight confidence";
  return "";
}

std::optional<std::string> ballotOf(const SampleResult &sample) {
  return ballotOf(sample.reason, sample.forced, sample.text);
}

std::optional<std::string> provisionalOf(const SampleResult &sample) {
  return sample.unfinished() && !sample.probes.empty() ? sample.probes.back().answer : std::nullopt;
}

const char *silenceOf(const SampleResult &sample) {
  if (sample.notNeeded)
    return "not_needed";
  if (sample.reason == FinishReason::failed || !sample.ended())
    return "failed";
  const std::optional<std::string> answer = extractBoxed(sample.text);
  if (!sample.forced && sample.reason == FinishReason::length)
    return "cut";
  if (!sample.forced &&
      (sample.reason == FinishReason::dropped || sample.reason == FinishReason::cancelled))
    return "dropped";
  if (answer && answer->empty())
    return "empty_box";
  return sample.text.rfind("\\boxed{") == std::string::npos ? "no_answer" : "open_box";
}

std::map<std::string, uint32_t> silencesOf(const std::vector<SampleResult> &samples) {
  std::map<std::string, uint32_t> out;
  for (const SampleResult &sample : samples)
    if (!sample.notNeeded && !ballotOf(sample))
      ++out[silenceOf(sample)];
  return out;
}

double confidenceOf(const SampleResult &sample) {
  double sum = 0;
  size_t count = 0;
  for (const SampledToken &token : sample.tokens)
    if (!sample.forced || token.logprob != 0) { // tokens that were fed by force have 0
      sum += token.logprob;
      ++count;
    }
  return count ? std::exp(sum / double(count)) : 1;
}

void tellBallots(const SampleResult &sample, uint32_t number, const VoteOptions &options,
                 Ballots *ballots) {
  if (!sample.ended() && !sample.probes.empty())
    ballots->probe(number, sample.probes.back().answer);
  else if (sample.ended() && sample.unfinished())
    ballots->addUnfinished(number);
  else if (sample.ended())
    ballots->add(number, ballotOf(sample), options.byConfidence ? confidenceOf(sample) : 1);
}

nlohmann::json jsonOf(const std::vector<Ballots::Entry> &tally, const VoteOptions &options,
                      bool stoppedEarly) {
  nlohmann::json entries = nlohmann::json::array();
  for (const Ballots::Entry &entry : tally) {
    entries.push_back({{"answer", entry.answer}, {"votes", entry.votes}});
    if (options.byConfidence)
      entries.back()["weight"] = entry.weight;
    if (entry.provisional)
      entries.back()["provisional"] = entry.provisional;
  }
  nlohmann::json out = {
      {"answer", tally.empty() ? nlohmann::json() : nlohmann::json(tally.front().answer)},
      {"tally", entries}};
  if (stoppedEarly)
    out["stopped_early"] = true;
  return out;
}

} // namespace m1tool
