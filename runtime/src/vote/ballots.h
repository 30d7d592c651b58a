// A vote while its samples end: who leads, and whether the samples that are still missing can
// matter. docs/votes.md defines ballots, ties and the two ways to stop early.
#ifndef M1RT_VOTE_BALLOTS_H
#define M1RT_VOTE_BALLOTS_H

#include "vote/vote.h"
#include <cstdint>
#include <map>

namespace m1rt {

struct StopRule {
  enum class Kind {
    off,      // every sample is waited for
    exact,    // until no other answer can win any more
    confident // until the leader would probably win a vote without end
  };
  Kind kind = Kind::off;
  double confidence = 0.95;  // confident: stop at this probability
  uint32_t leastBallots = 3; // confident: and never before so many ballots
};

/// Reads "off", "exact", "confident" or "confident:P" with P of (0.5, 1); false for anything else.
bool parseStopRule(const std::string &text, StopRule *out);

/// The probability that the leader of two answers is the likelier one, after `leader` and `other`
/// ballots for them, when a share that is uniform in [0, 1] beforehand would give the leader's:
/// P(p > 1/2) under Beta(leader + 1, other + 1).
double leadProbability(uint32_t leader, uint32_t other);

class Ballots {
public:
  /// `samples`: how many will end. Ballots weigh at most 1.
  explicit Ballots(uint32_t samples, const StopRule &rule = {}) : samples(samples), rule(rule) {}

  /// A sample has ended, each once, in any order. One without an answer casts no ballot.
  void add(uint32_t sample, const std::optional<std::string> &answer, double weight = 1);
  /// What a sample that has not ended would answer now: its provisional ballot, of weight 1, until
  /// it is probed again or ends. The exact rule takes no notice of these, the confident one and the
  /// tally count them.
  void probe(uint32_t sample, const std::optional<std::string> &answer);
  /// A sample was ended before it could answer: its provisional ballot stays.
  void addUnfinished(uint32_t sample);

  /// Whether the vote may stop here by its rule; false once every sample has ended.
  bool decided() const;

  struct Entry {
    std::string answer;       // as the first of its samples, by index, put it
    uint32_t votes = 0;       // ballots
    double weight = 0;        // of these ballots together; without weights their number
    uint32_t first = 0;       // least index of its samples
    uint32_t provisional = 0; // of its votes
  };
  /// Most weight first; of equal weight the answer of the earlier sample.
  std::vector<Entry> tally() const;

  uint32_t ended() const { return uint32_t(has.size()); }
  uint32_t cast() const { return ballots; }

private:
  struct Group {
    Answer answer;
    Entry entry;
  };
  size_t groupOf(uint32_t sample, const std::string &answer);
  std::vector<Entry> sorted(bool withProvisional) const;
  bool decidedExactly() const;
  bool decidedConfidently() const;

  uint32_t samples;
  StopRule rule;
  uint32_t ballots = 0;
  std::map<uint32_t, bool> has; // samples that have ended
  uint32_t firstMissing = 0;    // least index of those that have not
  std::vector<Group> groups;
  std::map<std::string, size_t> known; // spelling to group
  // Of samples that have not answered: the answer as the last probe put it, and its group.
  std::map<uint32_t, std::pair<std::string, size_t>> provisional;
};

} // namespace m1rt

#endif
