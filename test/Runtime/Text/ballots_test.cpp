// Votes that stop early: the winner is that of the whole vote, and the confident stop is the one
// that its formula says.
#include "../../Support/Sanitized.h"
#include "../../Support/TestSeed.h"
#include "vote/ballots.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

using namespace m1rt;

namespace {

using Cast = std::vector<std::optional<std::string>>;

/// The winner by the definition: most weight, then the least index of an equal answer.
std::string winnerOf(const Cast &answers, const std::vector<double> &weights) {
  const std::vector<std::optional<Answer>> read = [&] {
    std::vector<std::optional<Answer>> out;
    for (const auto &answer : answers)
      out.push_back(answer ? std::optional<Answer>(*answer) : std::nullopt);
    return out;
  }();
  const VoteResult groups = majorityVote(read);
  std::vector<double> sums(answers.size(), 0);
  for (size_t i = 0; i < answers.size(); ++i)
    if (groups.group[i] >= 0)
      sums[size_t(groups.group[i])] += weights[i];
  int best = -1;
  for (size_t i = 0; i < answers.size(); ++i)
    if (groups.group[i] == int(i) && (best < 0 || sums[i] > sums[size_t(best)]))
      best = int(i);
  return best < 0 ? "none" : *answers[size_t(best)];
}

std::string leaderOf(const Ballots &ballots) {
  const auto tally = ballots.tally();
  return tally.empty() ? "none" : tally.front().answer;
}

// Random ballots, silent samples and orders of arrival, with and without weights: wherever the
// exact rule says that the vote may stop, its leader equals the winner of all ballots, and it is as
// early as it can be: one sample sooner some continuation would have had another winner.
TEST(Ballots, ExactStopKeepsTheWinner) {
  std::mt19937 random(m1test::testSeed());
  auto pick = [&](uint32_t n) { return random() % n; };
  int stopped = 0;
  const int rounds = m1test::repeated(4000, 400);
  for (int round = 0; round < rounds; ++round) {
    const uint32_t samples = 1 + pick(12), kinds = 1 + pick(4);
    const bool weighted = pick(3) == 0;
    // Two spellings of each answer.
    auto spell = [&](uint32_t kind) {
      return pick(2) ? std::to_string(kind) : std::to_string(kind) + ".0";
    };
    Cast answers;
    std::vector<double> weights;
    for (uint32_t i = 0; i < samples; ++i) {
      answers.push_back(pick(5) ? std::optional(spell(pick(kinds))) : std::nullopt);
      weights.push_back(weighted ? (1 + pick(8)) / 8.0 : 1);
    }
    std::vector<uint32_t> order(samples);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    StopRule rule;
    rule.kind = StopRule::Kind::exact;
    Ballots ballots(samples, rule);
    const std::string winner = winnerOf(answers, weights);
    size_t arrived = 0;
    for (; arrived < samples && !ballots.decided(); ++arrived)
      ballots.add(order[arrived], answers[order[arrived]], weights[order[arrived]]);
    if (arrived == samples) {
      EXPECT_FALSE(ballots.decided()); // there is nothing left to stop
      EXPECT_TRUE(answersEqual(leaderOf(ballots), winner)) << leaderOf(ballots) << " " << winner;
      continue;
    }
    ++stopped;
    EXPECT_TRUE(answersEqual(leaderOf(ballots), winner)) << leaderOf(ballots) << " " << winner;
    if (weighted)
      continue;
    // Without the last arrival it was open: all of the missing ones for one other answer, known or
    // new, would have changed the winner.
    const std::string leader = leaderOf(ballots);
    bool changes = arrived == 0;
    for (uint32_t kind = 0; kind <= kinds && !changes; ++kind) {
      Cast other = answers;
      for (size_t i = arrived - 1; i < samples; ++i)
        other[order[i]] = std::to_string(kind);
      Cast before = other;
      for (size_t i = arrived - 1; i < samples; ++i)
        before[order[i]] = std::nullopt;
      changes = !answersEqual(winnerOf(other, weights), winnerOf(before, weights));
    }
    EXPECT_TRUE(changes) << "it could have stopped a sample sooner";
  }
  EXPECT_GT(stopped, rounds / 4);
}

// Of equally many ballots the answer of the earlier sample wins, whatever arrived first; a missing
// sample before the leader's first keeps the vote open.
TEST(Ballots, TiesGoToTheEarlierSample) {
  StopRule rule;
  rule.kind = StopRule::Kind::exact;
  Ballots ballots(4, rule);
  ballots.add(3, "7");
  ballots.add(2, "7");
  EXPECT_FALSE(ballots.decided()); // 0 and 1 could both say something else, and be earlier
  ballots.add(1, "8");
  EXPECT_FALSE(ballots.decided());
  ballots.add(0, "8");
  EXPECT_EQ(leaderOf(ballots), "8");
  Ballots other(4, rule);
  other.add(0, "7");
  other.add(1, "7");
  EXPECT_TRUE(other.decided()); // a tie would be the leader's
}

// Samples without an answer cast no ballot, and a vote without ballots never stops.
TEST(Ballots, SilentSamplesAreNoBallots) {
  StopRule rule;
  rule.kind = StopRule::Kind::confident;
  rule.leastBallots = 1;
  Ballots ballots(10, rule);
  for (uint32_t i = 0; i < 9; ++i)
    ballots.add(i, std::nullopt);
  EXPECT_FALSE(ballots.decided());
  EXPECT_EQ(ballots.cast(), 0u);
  EXPECT_EQ(ballots.ended(), 9u);
  ballots.add(9, "1");
  EXPECT_EQ(leaderOf(ballots), "1");
}

// The probability equals the integral of Beta(a + 1, b + 1) over (1/2, 1).
TEST(Ballots, LeadProbabilityIsTheIntegral) {
  for (uint32_t a : {0u, 1u, 3u, 7u, 20u})
    for (uint32_t b : {0u, 1u, 2u, 6u}) {
      double above = 0, all = 0;
      constexpr int steps = 200000;
      for (int i = 0; i < steps; ++i) { // the midpoint rule
        const double p = (i + 0.5) / steps, density = std::pow(p, a) * std::pow(1 - p, b);
        all += density;
        above += p > 0.5 ? density : 0;
      }
      EXPECT_NEAR(leadProbability(a, b), above / all, 1e-6) << a << " " << b;
    }
  EXPECT_NEAR(leadProbability(3, 0), 15.0 / 16, 1e-12);
}

// The confident rule stops at its probability and not before its least number of ballots: four
// ballots of one answer reach 0.95 (31/32), three do not (15/16).
TEST(Ballots, ConfidentStop) {
  StopRule rule;
  ASSERT_TRUE(parseStopRule("confident", &rule));
  Ballots ballots(100, rule);
  for (uint32_t i = 0; i < 3; ++i)
    ballots.add(i, "5");
  EXPECT_FALSE(ballots.decided());
  ballots.add(3, "5.0");
  EXPECT_TRUE(ballots.decided());
  rule.leastBallots = 8;
  Ballots later(100, rule);
  for (uint32_t i = 0; i < 7; ++i)
    later.add(i, "5");
  EXPECT_FALSE(later.decided());
  later.add(7, "5");
  EXPECT_TRUE(later.decided());
}

// What the rule's flag accepts.
TEST(Ballots, RulesAreParsed) {
  StopRule rule;
  EXPECT_TRUE(parseStopRule("off", &rule) && rule.kind == StopRule::Kind::off);
  EXPECT_TRUE(parseStopRule("exact", &rule) && rule.kind == StopRule::Kind::exact);
  EXPECT_TRUE(parseStopRule("confident:0.8", &rule) && rule.confidence == 0.8);
  for (const char *bad : {"", "sure", "confident:", "confident:0.5", "confident:1", "confident:x",
                          "confident0.9", "exact:1", "confident:0.9x", "confident:nan"})
    EXPECT_FALSE(parseStopRule(bad, &rule)) << bad;
}

// Provisional ballots are replaced by later probes and by the sample's own ballot, stay where a
// sample was ended before it could answer, and are told in the tally.
TEST(Ballots, ProvisionalOnesGiveWay) {
  Ballots ballots(4);
  ballots.probe(2, "7");
  ballots.probe(3, "8");
  ballots.probe(3, "7.0");
  ASSERT_EQ(ballots.tally().size(), 1u);
  EXPECT_EQ(ballots.tally()[0].votes, 2u);
  EXPECT_EQ(ballots.tally()[0].provisional, 2u);
  EXPECT_EQ(ballots.tally()[0].answer, "7"); // of the earlier sample
  EXPECT_EQ(ballots.cast(), 0u);
  ballots.probe(3, std::nullopt);
  ballots.add(2, "9");
  ballots.probe(2, "7"); // too late
  ASSERT_EQ(ballots.tally().size(), 1u);
  EXPECT_EQ(ballots.tally()[0].answer, "9");
  ballots.probe(0, "7");
  ballots.probe(1, "7");
  ballots.addUnfinished(0);
  ballots.add(1, std::nullopt); // cut: it has no answer
  ASSERT_EQ(ballots.tally().size(), 2u);
  EXPECT_EQ(ballots.tally()[0].answer, "7"); // a tie: the least index
  EXPECT_EQ(ballots.tally()[0].provisional, 1u);
  EXPECT_EQ(ballots.ended(), 3u);
}

// The exact rule is the same with and without provisional ballots, whatever they say; the confident
// one counts them.
TEST(Ballots, OnlyConfidenceCountsProvisionalOnes) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    const uint32_t samples = 1 + random() % 9;
    Ballots plain(samples, {StopRule::Kind::exact}), probed(samples, {StopRule::Kind::exact});
    std::vector<uint32_t> order(samples);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    for (uint32_t sample : order) {
      for (int n = 0; n < 3; ++n)
        probed.probe(random() % samples, std::to_string(random() % 3));
      const std::string answer = std::to_string(random() % 3);
      plain.add(sample, answer);
      probed.add(sample, answer);
      EXPECT_EQ(plain.decided(), probed.decided());
    }
    EXPECT_EQ(plain.tally()[0].answer, probed.tally()[0].answer);
  }
  Ballots confident(32, {StopRule::Kind::confident, 0.95, 3});
  for (uint32_t sample = 0; sample < 3; ++sample)
    confident.probe(sample, "5");
  EXPECT_FALSE(confident.decided()); // 15/16
  confident.probe(3, "5");
  EXPECT_TRUE(confident.decided()); // 31/32
  confident.add(0, "6");
  EXPECT_FALSE(confident.decided());
}

} // namespace
