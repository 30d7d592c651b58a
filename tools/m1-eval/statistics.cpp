#include "statistics.h"
#include "vote/ballots.h"
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace m1tool {

namespace {

constexpr double kNormal95 = 1.959964;
constexpr size_t kDraws = 200, kMostDraws = 2000; // few samples a draw allow more draws
constexpr size_t kMostSubsets = 2000;             // up to here all are taken
constexpr int kTimePoints = 64;

/// What votes need of a problem: the group of each sample's answer, and which samples are right.
struct Graded {
  std::vector<int> group; // -1: no answer
  std::vector<double> weight;
  std::vector<bool> correct;
  std::vector<double> seconds;
  size_t right = 0;
};

/// Whether the majority of these samples (increasing indices) is right.
bool majorityRight(const Graded &graded, const std::vector<size_t> &subset,
                   std::vector<double> &counts) {
  counts.assign(graded.group.size(), 0);
  int best = -1;
  for (size_t i : subset)
    if (graded.group[i] >= 0)
      counts[size_t(graded.group[i])] += graded.weight[i];
  for (size_t i : subset) // in order, so that the earlier answer keeps a tie
    if (graded.group[i] >= 0 &&
        (best < 0 || counts[size_t(graded.group[i])] > counts[size_t(graded.group[size_t(best)])]))
      best = int(i);
  return best >= 0 && graded.correct[size_t(best)];
}

double majorityAt(const Graded &graded, size_t k, std::mt19937_64 &random) {
  size_t n = graded.group.size();
  std::vector<size_t> order(n), subset;
  std::vector<double> counts;
  std::iota(order.begin(), order.end(), 0);
  if (k >= n)
    return majorityRight(graded, order, counts);
  if (k == 1)
    return double(graded.right) / double(n);
  double subsets = 1;
  for (size_t i = 0; i < k && subsets <= kMostSubsets; ++i)
    subsets = subsets * double(n - i) / double(i + 1);
  size_t right = 0, count = 0;
  if (subsets <= kMostSubsets) {
    subset.assign(order.begin(), order.begin() + std::ptrdiff_t(k));
    // the next one: the last index that can grow does, those behind it follow
    for (size_t i = k; i > 0;) {
      right += majorityRight(graded, subset, counts);
      ++count;
      for (i = k; i > 0 && subset[i - 1] == n - k + i - 1; --i) {
      }
      if (i > 0)
        std::iota(subset.begin() + std::ptrdiff_t(i) - 1, subset.end(), subset[i - 1] + 1);
    }
    return double(right) / double(count);
  }
  size_t draws = std::max(kDraws, kMostDraws / k);
  for (size_t draw = 0; draw < draws; ++draw) {
    // a partial shuffle; by remainder, so that it is the same everywhere
    for (size_t i = 0; i < k; ++i)
      std::swap(order[i], order[i + random() % (n - i)]);
    subset.assign(order.begin(), order.begin() + std::ptrdiff_t(k));
    std::sort(subset.begin(), subset.end());
    right += majorityRight(graded, subset, counts);
  }
  return double(right) / double(draws);
}

// A sample that a time budget left no place for, or that a decided vote did not need, says nothing
// about the model.
bool isStarted(const SampleRecord *r) {
  return r->finish != "not_needed" && (r->finish != "dropped" || r->tokens > 0);
}

bool hasEnded(const SampleRecord *r) {
  return r->forced || r->finish == "stop_token" || r->finish == "stop_string" ||
         r->finish == "length";
}

double coverageAt(size_t n, size_t right, size_t k) {
  double missing = 1;
  for (size_t i = 0; i < std::min(k, n); ++i) // C(n-c, k) / C(n, k)
    missing *= n - right > i ? double(n - right - i) / double(n - i) : 0;
  return 1 - missing;
}

} // namespace

Interval wilson(double mean, double trials) {
  if (trials <= 0)
    return {mean, 0, 1};
  double z2 = kNormal95 * kNormal95, centre = (mean + z2 / (2 * trials)) / (1 + z2 / trials);
  double half = kNormal95 / (1 + z2 / trials) *
                std::sqrt(mean * (1 - mean) / trials + z2 / (4 * trials * trials));
  return {mean, std::max(0.0, centre - half), std::min(1.0, centre + half)};
}

int voteOf(const std::vector<const SampleRecord *> &samples, bool byConfidence) {
  m1rt::Ballots ballots(uint32_t(samples.size()));
  for (size_t i = 0; i < samples.size(); ++i)
    if (samples[i]->provisional) {
      ballots.probe(uint32_t(i), samples[i]->provisional);
      ballots.addUnfinished(uint32_t(i));
    } else {
      ballots.add(uint32_t(i), samples[i]->answer, byConfidence ? samples[i]->confidence : 1);
    }
  const std::vector<m1rt::Ballots::Entry> tally = ballots.tally();
  return tally.empty() ? -1 : int(tally.front().first);
}

Summary summarize(const std::vector<ProblemSamples> &problems, const SummaryOptions &options) {
  Summary out;
  std::vector<Graded> all;
  double lastSecond = 0;
  size_t ended = 0, votesRight = 0;
  for (const ProblemSamples &problem : problems) {
    if (problem.samples.empty())
      continue;
    Graded graded;
    std::vector<std::optional<m1rt::Answer>> answers;
    bool anyStarted = std::any_of(problem.samples.begin(), problem.samples.end(), isStarted);
    for (const SampleRecord *r : problem.samples) {
      out.tokens += r->tokens;
      out.forced += r->forced;
      out.dropped += !r->answer && r->finish == "dropped";
      out.length += !r->forced && r->finish == "length";
      out.notNeeded += r->finish == "not_needed";
      if (!r->silence.empty() && r->finish != "not_needed")
        ++out.silent[r->silence];
      ended += hasEnded(r);
      out.refused += r->finish == "refused" || r->finish == "failed";
      out.answered += r->answer.has_value();
      if (anyStarted && !isStarted(r))
        continue;
      answers.push_back(r->answer ? std::optional<m1rt::Answer>(*r->answer) : std::nullopt);
      graded.weight.push_back(options.byConfidence ? r->confidence : 1);
      graded.correct.push_back(r->correct);
      graded.seconds.push_back(r->seconds);
      graded.right += r->correct;
      lastSecond = std::max(lastSecond, r->seconds);
    }
    graded.group = m1rt::majorityVote(answers).group;
    const int winner = voteOf(problem.samples, options.byConfidence);
    if (winner >= 0) {
      const SampleRecord &r = *problem.samples[size_t(winner)];
      votesRight += r.provisional ? r.provisionalCorrect : r.correct;
    }
    out.samples += problem.samples.size();
    all.push_back(std::move(graded));
  }
  out.problems = all.size();
  if (all.empty())
    return out;
  double m = double(all.size()), mean = 0, spread = 0;
  for (const Graded &g : all)
    mean += double(g.right) / double(g.correct.size()) / m;
  for (const Graded &g : all)
    spread += std::pow(double(g.right) / double(g.correct.size()) - mean, 2);
  // The spread between problems' rates is what uncertainty there is, if problems are drawn from a
  // larger set.
  double variance = m > 1 ? spread / (m * (m - 1)) : 0;
  double trials = variance > 0 ? std::min(mean * (1 - mean) / variance, double(out.samples)) : m;
  out.passAt1 = wilson(mean, trials);

  out.vote = wilson(double(votesRight) / m, m);
  out.endedPerProblem = double(ended) / m;

  std::mt19937_64 random(1);
  std::vector<uint32_t> sizes;
  const uint32_t most =
      options.stoppedEarly
          ? 1
          : uint32_t(std::clamp(std::floor(out.endedPerProblem), 1.0, double(options.samples)));
  for (uint32_t k = 1; k < most; k *= 2)
    sizes.push_back(k);
  sizes.push_back(most);
  for (uint32_t k : sizes) {
    CurvePoint point{double(k), 0, 0};
    for (const Graded &g : all) {
      point.majority += majorityAt(g, k, random) / m;
      point.coverage += coverageAt(g.correct.size(), g.right, k) / m;
    }
    out.overSamples.push_back(point);
  }
  std::vector<size_t> finished;
  std::vector<double> counts;
  for (int i = 1; i <= kTimePoints && lastSecond > 0; ++i) {
    CurvePoint point{lastSecond * i / kTimePoints, 0, 0};
    for (const Graded &g : all) {
      finished.clear();
      for (size_t s = 0; s < g.seconds.size(); ++s)
        if (g.seconds[s] <= point.x)
          finished.push_back(s);
      point.majority += majorityRight(g, finished, counts) / m;
      point.coverage +=
          std::any_of(finished.begin(), finished.end(), [&](size_t s) { return g.correct[s]; }) / m;
    }
    out.overSeconds.push_back(point);
  }
  return out;
}

} // namespace m1tool
