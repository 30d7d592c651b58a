#include "engine/budget.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace m1rt {

namespace {

// Stretches of length: from `firstEdge` tokens on each is an eighth longer than the one before.
constexpr double firstEdge = 8, growth = 1.125;
constexpr size_t stretches = 128; // to 8 · 1.125^127 = 25 million tokens
// A stretch counts as if so many samples had come to it with the chance that is assumed beforehand.
constexpr double priorSamples = 1;
// Of each sample when another one is added: about the last 200 count.
constexpr double memory = 0.995;
constexpr double newestShare = 0.3; // of a step's time in its size's average
constexpr uint32_t measuredSteps = 2;
// The first steps of a size may load code or capture a graph: their least time counts. A later one
// counts as no more than so many times the average.
constexpr uint32_t settlingSteps = 4;
constexpr double mostOfAverage = 4;
constexpr double cells = 2048; // of a table

double edge(size_t stretch) {
  return stretch == 0 ? 0 : firstEdge * std::pow(growth, double(stretch) - 1);
}

size_t stretchOf(double length) {
  if (length < firstEdge)
    return 0;
  return std::min(stretches - 1, size_t(std::log(length / firstEdge) / std::log(growth)) + 1);
}

} // namespace

void StepTimes::add(uint32_t sequences, double seconds) {
  Entry &entry = sizes[sequences];
  if (entry.steps == 0)
    entry.seconds = seconds;
  else if (entry.steps < settlingSteps)
    entry.seconds = std::min(entry.seconds, seconds);
  else
    entry.seconds +=
        newestShare * (std::min(seconds, mostOfAverage * entry.seconds) - entry.seconds);
  ++entry.steps;
}

double StepTimes::estimate(uint32_t sequences) const {
  if (sizes.empty())
    return 0;
  if (sizes.size() == 1) {
    const auto &[size, entry] = *sizes.begin();
    return entry.seconds * std::max(1.0, double(sequences) / size);
  }
  double seconds = 0;
  auto above = sizes.lower_bound(sequences);
  if (above != sizes.end() && above->first == sequences) {
    seconds = above->second.seconds;
  } else {
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
    const double slope = std::max(0.0, above->second.seconds - below->second.seconds) /
                         (double(above->first) - below->first);
    seconds = std::max(below->second.seconds + slope * (double(sequences) - below->first),
                       0.1 * std::min(below->second.seconds, above->second.seconds));
  }
  for (auto larger = sizes.upper_bound(sequences); larger != sizes.end(); ++larger)
    if (larger->second.steps >= measuredSteps)
      seconds = std::min(seconds, larger->second.seconds);
  return seconds;
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

void Lengths::add(size_t tokens, bool ended) {
  came.resize(stretches);
  ends.resize(stretches);
  const size_t last = stretchOf(double(tokens));
  for (size_t i = 0; i < stretches; ++i) {
    // Someone cut within a stretch has seen half of it.
    came[i] = came[i] * memory + (i < last ? 1 : i == last ? (ended ? 1 : 0.5) : 0);
    ends[i] = ends[i] * memory + (i == last && ended);
  }
}

Lengths::Table Lengths::table(const std::vector<size_t> &runningAges, size_t limit,
                              double horizon) const {
  std::vector<double> through(stretches, 0);
  for (size_t age : runningAges) {
    const size_t last = stretchOf(double(age));
    for (size_t i = 0; i < last; ++i)
      through[i] += 1;
    through[last] += 0.5;
  }
  const double most = std::max(double(limit), firstEdge);
  Table table;
  const double length = std::min(most, horizon + 1);
  table.width = std::max(1.0, length / cells);
  table.survival.reserve(cells + 2);
  double log = 0, begin = 0; // of survival, to the beginning of the stretch
  for (size_t i = 0; i < stretches && begin < length; ++i) {
    const double end = std::min(edge(i + 1), most);
    // log-uniform lengths between the first edge and the limit
    const double prior = i == 0        ? 0
                         : end >= most ? 1
                                       : std::log(end / begin) / std::log(most / begin);
    const double seen = through[i] + (came.empty() ? 0 : came[i]);
    const double ended = ends.empty() ? 0 : ends[i];
    const double chance = (ended + priorSamples * prior) / (seen + priorSamples);
    const double slope = std::log(std::max(1 - chance, 1e-6)) / (end - begin);
    for (double x; (x = double(table.survival.size()) * table.width) < std::min(end, length);)
      table.survival.push_back(std::exp(log + slope * (x - begin)));
    log += slope * (end - begin);
    begin = end;
  }
  return table;
}

double Lengths::Table::expectedMore(double age) const {
  const size_t first = size_t(age / width);
  if (first >= survival.size())
    return 0;
  return std::accumulate(survival.begin() + ptrdiff_t(first), survival.end(), 0.0) * width /
         survival[first];
}

namespace {

// The time left is looked at in so many parts.
constexpr int parts = 32;

/// Expected ends in one place within some steps: of the sample there, and of those that follow it.
class Place {
public:
  Place(const Lengths::Table &table, double steps, bool refilled)
      : table(table), part(steps / parts), refilled(refilled) {
    if (!refilled)
      return;
    const std::vector<double> fresh = endsByPart(0);
    for (int j = 1; j <= parts; ++j)
      for (int i = 1; i <= j; ++i)
        renewals[j] += fresh[size_t(i)] * (1 + renewals[j - i]);
  }

  double ends(double age) const {
    const std::vector<double> first = endsByPart(age);
    double sum = 0;
    for (int i = 1; i <= parts; ++i)
      sum += first[size_t(i)] * (1 + (refilled ? renewals[parts - i] : 0));
    return sum;
  }

  /// What `sure` ends are worth together with those of new samples in so many places, all of them
  /// equally long.
  double worth(double sure, double places) const {
    const std::vector<double> fresh = endsByPart(0);
    double sum = 0, chance = 0;
    for (int i = 1; i <= parts; ++i) {
      sum += fresh[size_t(i)] * worthOfEnds(sure + places * (refilled ? parts / i : 1));
      chance += fresh[size_t(i)];
    }
    return sum + (1 - chance) * worthOfEnds(sure);
  }

private:
  /// The chance that a sample of this age ends in each part.
  std::vector<double> endsByPart(double age) const {
    std::vector<double> out(parts + 1, 0);
    double before = 1;
    for (int i = 1; i <= parts; ++i) {
      const double after = table.survives(age, part * i);
      out[size_t(i)] = before - after;
      before = after;
    }
    return out;
  }

  const Lengths::Table &table;
  double part;
  bool refilled;
  double renewals[parts + 1] = {};
};

} // namespace

double worthOfEnds(double ends) {
  constexpr double ofOne = 5.0 / 6;
  return ends < 1 ? ofOne * ends : 1 - (1 - ofOne) * std::pow(ends, -0.75);
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
  const Lengths::Table table =
      lengths.table(situation.ages, situation.limit, double(oldest) + stepsWith(1));

  // The running samples that are likeliest to end first, then new ones.
  std::vector<size_t> order(running);
  std::iota(order.begin(), order.end(), 0);
  const double nominal = stepsWith(std::max<uint32_t>(1, uint32_t(running)));
  std::vector<double> chance;
  for (size_t age : situation.ages)
    chance.push_back(1 - table.survives(double(age), nominal));
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return chance[a] != chance[b] ? chance[a] > chance[b] : a < b;
  });

  uint32_t best = std::min(most, times.toMeasure(most));
  if (best == 0) {
    double bestWorth = -1;
    for (uint32_t count = 1, last = 0; count > last;
         last = count, count = std::min(most, count + std::max(1u, count / 4))) {
      const double steps = stepsWith(count);
      const Place place(table, steps, situation.unstarted > startable);
      double ends = 0;
      for (uint32_t i = 0; i < std::min<uint32_t>(count, uint32_t(running)); ++i)
        ends += place.ends(double(situation.ages[order[i]]));
      double worth = worthOfEnds(situation.ended + ends);
      if (count > running) {
        if (1 - table.survives(0, steps) < leastChance)
          break;
        const double fresh = count - double(running);
        worth = place.worth(situation.ended + ends, fresh);
        ends += fresh * place.ends(0);
      }
      if (worth > bestWorth) {
        bestWorth = worth;
        plan.ends = ends;
        best = count;
      }
    }
  }
  if (running > 0) // the clock goes on, whether something ends or not
    best = std::max(best, 1u);
  for (size_t i = 0; i < std::min<size_t>(best, running); ++i)
    plan.runs[order[i]] = true;
  plan.starts = best > running ? best - uint32_t(running) : 0;
  return plan;
}

bool worthClosing(const BudgetSituation &situation, const StepTimes &times, const Lengths &lengths,
                  double closingSteps, double answering) {
  const size_t oldest =
      situation.ages.empty() ? 0 : *std::max_element(situation.ages.begin(), situation.ages.end());
  const Lengths::Table table =
      lengths.table(situation.ages, situation.limit, double(oldest) + closingSteps);
  const double seconds = times.estimate(uint32_t(situation.ages.size()) + situation.others);
  const double steps =
      seconds > 0 ? std::min(situation.secondsLeft / seconds, closingSteps) : closingSteps;
  double ends = 0;
  for (size_t age : situation.ages)
    ends += 1 - table.survives(double(age), steps);
  return ends < (situation.ended ? closedWorth : 1) * answering * double(situation.ages.size());
}

} // namespace m1rt
