// The flags about votes, and what tools print of one.
#ifndef M1_TOOLS_COMMON_VOTING_H
#define M1_TOOLS_COMMON_VOTING_H

#include "samples.h"
#include "vote/ballots.h"
#include <map>

namespace CLI {
class App;
}

namespace m1tool {

struct VoteOptions {
  m1rt::StopRule stop{m1rt::StopRule::Kind::exact};
  bool byConfidence = false; // a ballot weighs what its sample's tokens were worth to the model

  std::string stopText = "exact", weightText = "none"; // as written on the command line
};

constexpr const char *probesHaveNoWeight =
    "probes: provisional ballots have no weight: not with --vote-weight confidence";

constexpr const char *leastBallotsNeedConfident = "--least-ballots needs --stop-early confident";

void addVoteOptions(CLI::App &app, VoteOptions *out);
/// After parsing; what is wrong with the flags, or empty.
std::string readVoteOptions(VoteOptions *options);

/// The answer that a sample votes for, if it casts a ballot.
std::optional<std::string> ballotOf(const SampleResult &sample);
/// What the last probe said of a sample that was ended before it could answer: it stands for its
/// ballot.
std::optional<std::string> provisionalOf(const SampleResult &sample);
/// Why a sample casts no ballot: "cut" (by length), "dropped" (or cancelled), "not_needed",
/// "failed", "open_box", "empty_box", "no_answer".
const char *silenceOf(const SampleResult &sample);
/// How many of the samples are silent, by reason; those that the vote did not need are not.
std::map<std::string, uint32_t> silencesOf(const std::vector<SampleResult> &samples);
/// The geometric mean of the probabilities of the tokens that the sample chose, in (0, 1]; needs
/// log probabilities.
double confidenceOf(const SampleResult &sample);

/// What the sample's news, once it has taken them in, means to its vote.
void tellBallots(const SampleResult &sample, uint32_t number, const VoteOptions &options,
                 m1rt::Ballots *ballots);

/// {answer, tally}, with what stands in docs/m1-run.md.
nlohmann::json jsonOf(const std::vector<m1rt::Ballots::Entry> &tally, const VoteOptions &options,
                      bool stoppedEarly);

} // namespace m1tool

#endif
