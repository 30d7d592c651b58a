#include "engine/budget.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

namespace m1rt {

namespace {

// Stretches of length: from `firstEdge` tokens on each is an eighth longer than the one before.
constexpr double firstEdge = 8, growth = 1.125;
constexpr size_t stretches = 128; // to 8 · 1.125^127 = 25 million tokens
// A stretch counts as if so many samples had come to it with the chance that is assumed beforehand.
constexpr double priorSamples = 1;
// Of each sample's weight when another one is added: about the last 200 count.
constexpr double forgotten = 0.005;
constexpr uint32_t mostWeight = 16; // steps of a size, beside those of others
constexpr uint32_t measuredSteps = 2;
// The first steps of a size may load code or capture a graph: their least time counts, and once
// there are so many the median, which of four is the second least, for a step whose predecessor's
// tokens were taken late looks short.
constexpr uint32_t settlingSteps = 4;
// Of what steps take of their medians about the last thousand count, at first beside so many that
// take as long, and none for more than so many medians: a standstill is no step.
constexpr double lastSteps = 1000, assumedSteps = 64, mostOfMedian = 10;
constexpr double cells = 2048; // of a table
// Ways of a problem. Chosen on simulated problems of seven kinds at four budgets (docs/votes.md):
// other numbers lost up to 0.008 of what their votes are worth, taking all problems for one 0.037.
constexpr size_t keptProblems = 24;
constexpr double samplesOfAll = 0.25; // what all samples say counts as so many of a problem's own
constexpr double samplesOfWay = 3;    // as a way's hazard does beside what is seen of this problem
constexpr double mostEvidence = 6;    // samples at most: this problem is quite like none before
constexpr double nearlyAll = 0.9;     // end in the last stretch of a doubling, or behind it
constexpr double leastWay = 0.02;     // less likely ways are left out
constexpr double wayCells = 256;      // of a way's table
// Planning anew.
constexpr uint64_t stepsBetweenPlans = 8, mostStepsBetweenPlans = 64;
constexpr double planningShare = 0.05; // of the time, at most

double edge(size_t stretch) {
  static const auto edges = [] {
    std::array<double, stretches + 1> out = {0};
    for (size_t i = 1; i <= stretches; ++i)
      out[i] = firstEdge * std::pow(growth, double(i) - 1);
    return out;
  }();
  return edges[stretch];
}

size_t stretchOf(double length) {
  if (length < firstEdge)
    return 0;
  return std::min(stretches - 1, size_t(std::log(length / firstEdge) / std::log(growth)) + 1);
}

} // namespace

void StepTimes::add(uint32_t sequences, double seconds) {
  Entry &entry = sizes[sequences];
  if (entry.steps >= settlingSteps && entry.seconds > 0) {
    measured = std::min(measured + 1, lastSteps - assumedSteps);
    ofMedian +=
        (std::min(seconds / entry.seconds, mostOfMedian) - ofMedian) / (assumedSteps + measured);
  }
  entry.last[entry.steps++ % entry.last.size()] = seconds;
  auto sorted = entry.last;
  const size_t known = std::min<size_t>(entry.steps, sorted.size());
  const size_t middle = entry.steps < settlingSteps ? 0 : (known - 1) / 2;
  std::nth_element(sorted.begin(), sorted.begin() + middle, sorted.begin() + known);
  entry.seconds = sorted[middle];
  fit();
}

/// Sizes whose times fall are one another's noise: each run of them has its mean, by how often each
/// was measured. The least of the larger ones would be the one that chance made shortest.
void StepTimes::fit() {
  fitted.clear();
  for (const auto &[size, entry] : sizes) {
    // Least, and hardly anything where it may be of code that was loaded.
    const double weight = entry.steps < measuredSteps   ? 1e-3
                          : entry.steps < settlingSteps ? 0.1 * entry.steps
                                                        : std::min(entry.steps, mostWeight);
    Run run{size, entry.seconds, weight};
    for (; !fitted.empty() && fitted.back().seconds >= run.seconds; fitted.pop_back()) {
      const Run &before = fitted.back();
      const double both = run.weight + before.weight;
      run.seconds = (run.seconds * run.weight + before.seconds * before.weight) / both;
      run.weight = both;
    }
    fitted.push_back(run);
  }
}

double StepTimes::estimate(uint32_t sequences) const { return ofMedian * median(sequences); }

double StepTimes::median(uint32_t sequences) const {
  if (sizes.empty())
    return 0;
  if (sizes.size() == 1) {
    const auto &[size, entry] = *sizes.begin();
    return entry.seconds * std::max(1.0, double(sequences) / size);
  }
  auto at = [&](uint32_t size) {
    return std::lower_bound(fitted.begin(), fitted.end(), size,
                            [](const Run &run, uint32_t size) { return run.last < size; })
        ->seconds;
  };
  auto above = sizes.lower_bound(sequences);
  if (above != sizes.end() && above->first == sequences)
    return at(sequences);
  auto below = above;
  if (above == sizes.begin()) { // below all
    ++above;
  } else if (above == sizes.end()) { // above all: along a line too long for noise to tilt
    --above;
    below = sizes.upper_bound(above->first / 2);
    if (below != sizes.begin())
      --below;
  } else {
    --below;
  }
  const double low = at(below->first), high = at(above->first);
  const double slope = (high - low) / (double(above->first) - below->first);
  return std::max(low + slope * (double(sequences) - below->first), 0.1 * low);
}

uint32_t StepTimes::toMeasure(uint32_t most) const {
  // Four and one: a slope, without many samples begun before it is known what they cost.
  for (uint32_t size : {std::min(4u, most), 1u}) {
    auto known = sizes.find(size);
    if (known == sizes.end() || known->second.steps < measuredSteps)
      return size;
  }
  return 0;
}

void LifeTable::add(size_t tokens, bool ended) {
  came.resize(stretches);
  ends.resize(stretches);
  const size_t last = stretchOf(double(tokens));
  for (size_t i = 0; i < last; ++i)
    came[i] += 1;
  came[last] += ended ? 1 : 0.5; // who is cut within a stretch has seen half of it
  ends[last] += ended;
}

void LifeTable::forget(double share) {
  for (double &samples : came)
    samples *= 1 - share;
  for (double &samples : ends)
    samples *= 1 - share;
}

void Lengths::add(size_t tokens, bool ended) {
  all.forget(forgotten);
  all.add(tokens, ended);
}

void Lengths::addProblem(const LifeTable &samples) {
  if (samples.empty())
    return;
  problems.push_back(samples);
  if (problems.size() > keptProblems)
    problems.pop_front();
}

namespace {

/// The chance that lengths which are log-uniform between two bounds end in a stretch that they
/// reach.
double logUniformHazard(size_t stretch, double from, double to) {
  const double begin = std::max(edge(stretch), from), end = std::min(edge(stretch + 1), to);
  return end <= begin ? 0 : std::log(end / begin) / std::log(to / begin);
}

/// Survival by cell of `width` tokens up to `length`, from the chance of an end in each stretch up
/// to `most`.
std::vector<double> survivalOf(const std::vector<double> &hazards, double most, double length,
                               double width) {
  std::vector<double> survival;
  survival.reserve(size_t(length / width) + 2);
  double before = 1, begin = 0; // survival to the beginning of the stretch
  for (size_t i = 0; i < hazards.size() && begin < length; ++i) {
    const double end = std::min(edge(i + 1), most);
    const double slope = std::log(std::max(1 - hazards[i], 1e-6)) / (end - begin);
    double x = double(survival.size()) * width;
    double now = before * std::exp(slope * (x - begin));
    for (const double perCell = std::exp(slope * width); x < std::min(end, length);
         now *= perCell) {
      survival.push_back(now);
      x = double(survival.size()) * width;
    }
    before *= std::max(1 - hazards[i], 1e-6);
    begin = end;
  }
  return survival;
}

/// The chance of an end in each stretch below `length`, by what was seen and, beforehand,
/// log-uniform lengths up to `most`, but no less than in the stretch before: where none has come
/// yet, because all were cut before, they go on to end as they did.
std::vector<double> hazardsOf(const LifeTable &seen, double most, double length) {
  std::vector<double> hazards;
  double before = 0;
  for (size_t i = 0; i < stretches && edge(i) < length; ++i) {
    const double assumed = std::max(logUniformHazard(i, firstEdge, most), before);
    before = (seen.endedIn(i) + priorSamples * assumed) / (seen.cameTo(i) + priorSamples);
    hazards.push_back(before);
  }
  return hazards;
}

/// With samples that still run: they are cut where they are. One past its limit, closed by force,
/// says nothing.
LifeTable withRunning(LifeTable table, const std::vector<size_t> &ages, size_t limit) {
  for (size_t age : ages)
    if (age <= limit)
      table.add(age, false);
  return table;
}

} // namespace

Lengths::Table Lengths::table(const std::vector<size_t> &runningAges, size_t limit,
                              double horizon) const {
  const double most = std::max(double(limit), firstEdge);
  const double length = std::min(most, horizon + 1);
  const std::vector<double> hazards = hazardsOf(withRunning(all, runningAges, limit), most, length);
  Table table;
  const double width = std::max(1.0, length / cells);
  table.perToken = 1 / width;
  table.survival = survivalOf(hazards, most, length, width);
  return table;
}

std::vector<Lengths::Way> Lengths::ways(const LifeTable &ofEnded,
                                        const std::vector<size_t> &runningAges, size_t limit,
                                        double horizon) const {
  const double most = std::max(double(limit), firstEdge);
  const double length = std::min(most, horizon + 1);
  const std::vector<double> ofAll = hazardsOf(all, most, length);
  const size_t reached = ofAll.size(); // stretches within the horizon

  // The chance of an end in each stretch, and of the way before anything is seen of the problem.
  struct Candidate {
    std::vector<double> hazards;
    double log;
  };
  std::vector<Candidate> candidates;
  for (const LifeTable &problem : problems) {
    Candidate way{{}, 0};
    for (size_t i = 0; i < reached; ++i)
      way.hazards.push_back((problem.endedIn(i) + samplesOfAll * ofAll[i]) /
                            (problem.cameTo(i) + samplesOfAll));
    candidates.push_back(std::move(way));
  }
  if (problems.empty() && !all.empty())
    candidates.push_back({ofAll, 0}); // of those that still run
  const double doublings = std::max(1.0, std::ceil(std::log2(most / firstEdge)));
  for (double to = most; to > firstEdge || to == most; to /= 2) {
    Candidate way{{}, -std::log(doublings)};
    for (size_t i = 0; i < reached; ++i)
      way.hazards.push_back(
          edge(i) >= to
              ? nearlyAll
              : std::min(nearlyAll, logUniformHazard(i, std::max(firstEdge, to / 2), to)));
    candidates.push_back(std::move(way));
  }

  const LifeTable seen = withRunning(ofEnded, runningAges, limit);
  const double evidence = std::min(1.0, mostEvidence / std::max(1.0, seen.cameTo(0)));
  double best = -std::numeric_limits<double>::infinity();
  for (Candidate &way : candidates) {
    for (size_t i = 0; i < reached; ++i) {
      const double ended = seen.endedIn(i), through = seen.cameTo(i) - ended;
      const double hazard = std::clamp(way.hazards[i], 1e-3, 1 - 1e-3);
      way.log += evidence * ((through > 0 ? through * std::log(1 - hazard) : 0) +
                             (ended > 0 ? ended * std::log(hazard) : 0));
    }
    best = std::max(best, way.log);
  }
  double sum = 0;
  for (const Candidate &way : candidates)
    sum += std::exp(way.log - best);

  std::vector<Way> out;
  double kept = 0;
  for (Candidate &way : candidates) {
    const double chance = std::exp(way.log - best) / sum;
    if (chance < leastWay && way.log < best)
      continue;
    for (size_t i = 0; i < reached; ++i)
      way.hazards[i] =
          (seen.endedIn(i) + samplesOfWay * way.hazards[i]) / (seen.cameTo(i) + samplesOfWay);
    Way &known = out.emplace_back();
    known.chance = chance;
    const double width = std::max(1.0, length / wayCells);
    known.table.perToken = 1 / width;
    known.table.survival = survivalOf(way.hazards, most, length, width);
    kept += chance;
  }
  for (Way &way : out)
    way.chance /= kept;
  return out;
}

double Lengths::Table::expectedMore(double age) const {
  const size_t first = size_t(age * perToken);
  if (first >= survival.size())
    return 0;
  return std::accumulate(survival.begin() + ptrdiff_t(first), survival.end(), 0.0) /
         (survival[first] * perToken);
}

namespace {

// The time left is looked at in so many parts.
constexpr int parts = 8;

/// Expected ends in one place within some steps: of the sample there, and of those that follow it.
class Place {
public:
  Place(const Lengths::Table &table, double steps, bool refilled)
      : table(table), steps(steps), refilled(refilled) {
    if (!refilled)
      return;
    const std::array<double, parts + 1> fresh = endsByPart(0);
    for (int j = 1; j <= parts; ++j)
      for (int i = 1; i <= j; ++i)
        renewals[j] += fresh[size_t(i)] * (1 + renewals[j - i]);
  }

  double ends(double age) const {
    if (!refilled)
      return 1 - table.survives(age, steps);
    const std::array<double, parts + 1> first = endsByPart(age);
    double sum = 0;
    for (int i = 1; i <= parts; ++i)
      sum += first[size_t(i)] * (1 + renewals[parts - i]);
    return sum;
  }

private:
  /// The chance that a sample of this age ends in each part.
  std::array<double, parts + 1> endsByPart(double age) const {
    std::array<double, parts + 1> out = {};
    double before = 1;
    for (int i = 1; i <= parts; ++i) {
      const double after = table.survives(age, steps / parts * i);
      out[size_t(i)] = before - after;
      before = after;
    }
    return out;
  }

  const Lengths::Table &table;
  double steps;
  bool refilled;
  double renewals[parts + 1] = {};
};

/// Samples of about one age.
struct Group {
  double age = 0;
  std::vector<size_t> samples;
  double chance = 0; // that one of them ends in time
};

/// Running samples by stretch of length, those that are likeliest to end first.
std::vector<Group> groupsOf(const std::vector<size_t> &ages, const std::vector<Lengths::Way> &ways,
                            double steps) {
  std::map<size_t, Group> byStretch;
  for (size_t i = 0; i < ages.size(); ++i) {
    Group &group = byStretch[stretchOf(double(ages[i]))];
    group.age += double(ages[i]);
    group.samples.push_back(i);
  }
  std::vector<Group> groups;
  for (auto &[stretch, group] : byStretch) {
    group.age /= double(group.samples.size());
    for (const Lengths::Way &way : ways)
      group.chance += way.chance * (1 - way.table.survives(group.age, steps));
    groups.push_back(std::move(group));
  }
  std::sort(groups.begin(), groups.end(), [](const Group &a, const Group &b) {
    return a.chance != b.chance ? a.chance > b.chance : a.age > b.age;
  });
  return groups;
}

/// What a vote is worth when so many samples run at once, and how many ends that is.
struct Prospect {
  double worth = 0, ends = 0;
};

/// The first `count` samples of the groups, and new ones beside them if there are not as many.
Prospect prospectOf(const std::vector<Group> &groups, uint32_t count, double steps, bool refilled,
                    uint32_t ended, const std::vector<Lengths::Way> &ways) {
  Prospect out;
  double begun = ended;
  for (const Group &group : groups)
    begun += double(group.samples.size());
  for (const Lengths::Way &way : ways) {
    const Place place(way.table, steps, refilled);
    double ends = 0, none = 1; // the chance of none
    double endsOfBegun = ended;
    uint32_t left = count;
    auto add = [&](double age, uint32_t samples) {
      ends += samples * place.ends(age);
      none *= std::pow(way.table.survives(age, steps), samples);
      left -= samples;
    };
    for (const Group &group : groups) {
      const uint32_t samples = std::min(left, uint32_t(group.samples.size()));
      endsOfBegun += samples * (1 - way.table.survives(group.age, steps));
      add(group.age, samples);
    }
    add(0, left);
    const double share = begun > 0 ? endsOfBegun / begun : 1 - way.table.survives(0, steps);
    out.ends += way.chance * ends;
    if (ended > 0)
      out.worth += way.chance * worthOfVote(ended + ends, share);
    else if (none < 1)
      out.worth += way.chance * (1 - none) * worthOfVote(std::max(1.0, ends / (1 - none)), share);
  }
  return out;
}

} // namespace

double worthOfEnds(double ends) {
  constexpr double ofOne = 5.0 / 6;
  return ends < 1 ? ofOne * ends : 1 - (1 - ofOne) * std::pow(ends, -0.75);
}

double worthOfVote(double ends, double share) {
  constexpr double ofShortest = 0.65;
  const double whole = worthOfEnds(ends), least = std::min(whole, ofShortest);
  return least + (whole - least) * share;
}

BudgetPlan planBudget(const BudgetSituation &situation, const StepTimes &times,
                      const Lengths &lengths) {
  const size_t running = situation.ages.size();
  const uint32_t startable = std::min(
      situation.unstarted, situation.places > running ? situation.places - uint32_t(running) : 0);
  const uint32_t most = uint32_t(running) + startable;
  BudgetPlan plan;
  plan.runs.assign(running, false);
  if (most == 0)
    return plan;
  auto stepsWith = [&](uint32_t count) {
    const double seconds = times.estimate(count + situation.others);
    return seconds > 0 ? situation.secondsLeft / seconds : 0;
  };

  const size_t oldest =
      running ? *std::max_element(situation.ages.begin(), situation.ages.end()) : 0;
  const std::vector<Lengths::Way> ways = lengths.ways(
      situation.lengths, situation.ages, situation.limit, double(oldest) + stepsWith(1));
  const std::vector<Group> groups =
      groupsOf(situation.ages, ways, stepsWith(std::max<uint32_t>(1, uint32_t(running))));

  uint32_t best = std::min(most, times.toMeasure(most));
  if (best == 0) {
    double bestWorth = -1;
    for (uint32_t count = 1, last = 0; count > last;
         last = count, count = std::min(most, count + std::max(1u, count / 3))) {
      const double steps = stepsWith(count);
      if (count > running) {
        double chance = 0;
        for (const Lengths::Way &way : ways)
          chance += way.chance * (1 - way.table.survives(0, steps));
        if (chance < leastChance)
          break;
      }
      const Prospect prospect =
          prospectOf(groups, count, steps, situation.unstarted > startable, situation.ended, ways);
      if (prospect.worth > bestWorth) {
        bestWorth = prospect.worth;
        plan.ends = prospect.ends;
        best = count;
      }
    }
  }
  if (running > 0) // the clock goes on, whether something ends or not
    best = std::max(best, 1u);
  uint32_t left = best;
  for (const Group &group : groups)
    for (size_t sample : group.samples)
      if (left > 0) {
        plan.runs[sample] = true;
        --left;
      }
  plan.starts = left;
  return plan;
}

bool PlanPace::due(uint64_t steps, uint32_t ended, double now) const {
  if (!any || steps >= atSteps + mostStepsBetweenPlans)
    return true;
  return (steps >= atSteps + stepsBetweenPlans || ended != atEnded) && now >= notBefore;
}

void PlanPace::planned(uint64_t steps, uint32_t ended, double now, double seconds) {
  any = true;
  atSteps = steps;
  atEnded = ended;
  notBefore = now + seconds / planningShare;
}

bool worthClosing(const BudgetSituation &situation, const StepTimes &times, const Lengths &lengths,
                  double closingSteps, double answering) {
  const size_t oldest =
      situation.ages.empty() ? 0 : *std::max_element(situation.ages.begin(), situation.ages.end());
  const std::vector<Lengths::Way> ways = lengths.ways(
      situation.lengths, situation.ages, situation.limit, double(oldest) + closingSteps);
  const double seconds = times.estimate(uint32_t(situation.ages.size()) + situation.others);
  const double left = seconds > 0 ? situation.secondsLeft / seconds : closingSteps;
  double ends = 0;
  for (const Group &group : groupsOf(situation.ages, ways, std::min(left, closingSteps)))
    ends += double(group.samples.size()) * group.chance;
  // Closing takes so many steps on average: late, the deadline cuts it, and all that it ended.
  const double said = answering * std::clamp(2 * left / closingSteps - 1, 0.0, 1.0);
  return ends < (situation.ended ? closedWorth : 1) * said * double(situation.ages.size());
}

} // namespace m1rt
