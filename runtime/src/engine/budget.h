// How many samples should run at once so that as many as possible end within a time budget. Pure
// arithmetic over what was measured: how long steps take by the number of sequences, and how long
// samples get. Knows no clock, no model and no engine.
#ifndef M1RT_ENGINE_BUDGET_H
#define M1RT_ENGINE_BUDGET_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <vector>

namespace m1rt {

/// Seconds of a decode step by its number of sequences, learned as steps are measured: the median
/// of the last ones of each size, times what steps of all sizes take of their medians on average. A
/// step in a thousand takes ten times as long, and a size that looks dear because of it would not
/// be chosen, and so not be measured, any more; where other work makes many steps long, it does so
/// whatever their size.
class StepTimes {
public:
  void add(uint32_t sequences, double seconds);
  /// Interpolated between measured sizes, extrapolated along the line through the largest and one
  /// of half its size, from one alone in proportion upwards; no less than a smaller size takes.
  /// 0 when nothing was measured.
  double estimate(uint32_t sequences) const;
  /// A size whose time should be measured before estimates mean much, at most `most`; 0: none.
  uint32_t toMeasure(uint32_t most) const;

private:
  struct Entry {
    std::array<double, 64> last; // steps' seconds; the newest takes the place of the oldest
    double seconds = 0;
    uint32_t steps = 0;
  };
  /// Sizes next to each other that are taken to need as long.
  struct Run {
    uint32_t last; // size
    double seconds, weight;
  };
  void fit();
  double median(uint32_t sequences) const;
  std::map<uint32_t, Entry> sizes;
  std::vector<Run> fitted;           // of all sizes; more sequences take longer
  double ofMedian = 1, measured = 0; // what steps take of their size's median, a moving average
};

/// Samples by stretch of length, each an eighth longer than the one before: how many came to it,
/// and how many of those ended in it. Samples that were cut count as far as they came.
class LifeTable {
public:
  /// A sample that got this long; `ended`: by itself.
  void add(size_t tokens, bool ended);
  void forget(double share); // of every sample's weight
  bool empty() const { return came.empty(); }
  double cameTo(size_t stretch) const { return empty() ? 0 : came[stretch]; }
  double endedIn(size_t stretch) const { return empty() ? 0 : ends[stretch]; }

private:
  std::vector<double> came, ends;
};

/// How long samples get, in tokens: a life table of the samples of all problems, for forecasts of
/// one sample, and one of each of the last problems, for forecasts of many samples of a problem,
/// which get about as long as each other. Where nothing is known, lengths are spread evenly over
/// the orders of magnitude up to the limit.
class Lengths {
public:
  /// A sample that got this long; `ended`: by itself.
  void add(size_t tokens, bool ended);
  /// A problem of which no more samples come; the last 24 that had any are kept.
  void addProblem(const LifeTable &samples);

  /// How long samples get, up to a horizon.
  class Table {
  public:
    /// The chance that a sample of this age gets longer than `age + more`.
    /// 0 for one that is past the limit already, as closed ones may be.
    double survives(double age, double more) const {
      const double now = at(age);
      return now > 0 ? at(age + more) / now : 0;
    }
    /// Tokens that a sample of this age says yet on average, within the horizon.
    double expectedMore(double age) const;

  private:
    friend class Lengths;
    double at(double length) const {
      const double cell = length * perToken;
      return cell >= double(survival.size()) ? 0 : survival[size_t(cell)];
    }
    std::vector<double> survival; // by cell; beyond the last one nothing survives
    double perToken = 1;          // cells
  };
  /// What all samples say, together with those that still run at these ages, for lengths up to
  /// `horizon`. `limit`: tokens of a sample at most.
  Table table(const std::vector<size_t> &runningAges, size_t limit, double horizon) const;

  /// A way that a problem's samples may go, and the chance of it; given that way they are
  /// independent of each other.
  struct Way {
    double chance;
    Table table;
  };
  /// The ways of a problem of which samples have ended and others run at these ages: those of the
  /// last problems and, in the place of one more, a length within each doubling up to the limit.
  /// Chances are by Bayes' rule; they add up to 1.
  std::vector<Way> ways(const LifeTable &ofEnded, const std::vector<size_t> &runningAges,
                        size_t limit, double horizon) const;

private:
  LifeTable all;
  std::deque<LifeTable> problems;
};

/// What a plan depends on.
struct BudgetSituation {
  double secondsLeft = 0;
  std::vector<size_t> ages; // tokens of the request's samples that run
  uint32_t unstarted = 0;   // samples of it that have not begun
  uint32_t places = 0;      // samples that may run at once, running ones included
  uint32_t others = 0;      // sequences of other requests in each step
  size_t limit = 0;         // tokens of a sample at most
  uint32_t ended = 0;       // samples of it that have ended by themselves
  LifeTable lengths;        // of its samples that have ended or were cut
};

struct BudgetPlan {
  std::vector<bool> runs; // by running sample: whether it takes part in the next steps
  uint32_t starts = 0;    // samples to begin
  double ends = 0;        // samples that end in time, as expected
};

/// The plan whose ends are worth most to a vote (worthOfVote), averaged over the ways that the
/// problem's samples may go: where the time is too short for any, more of them at once do not help,
/// and where it is for the most, fewer at once, whose steps are shorter, get further.
/// A place that comes free is taken by another sample as long as there are some. Samples that run
/// go before new ones, and none is begun that would end in time with a chance below leastChance:
/// nothing runs and nothing starts when it is too late for any.
BudgetPlan planBudget(const BudgetSituation &situation, const StepTimes &times,
                      const Lengths &lengths);
constexpr double leastChance = 0.05;

/// When a request is planned anew: every eight steps and when a sample of it has ended, but so that
/// planning takes no more than a twentieth of the time, which counts where steps are short. After
/// 64 steps it is in any case: a plan may have taken long because the processor was busy.
class PlanPace {
public:
  /// `steps` taken so far, samples of the request `ended`, `now` in seconds from any moment on.
  bool due(uint64_t steps, uint32_t ended, double now) const;
  /// A plan was made, begun at `now` and done `seconds` later.
  void planned(uint64_t steps, uint32_t ended, double now, double seconds);

private:
  bool any = false;
  uint64_t atSteps = 0;
  uint32_t atEnded = 0;
  double notBefore = 0;
};

/// What a vote of so many samples is worth, of 1: a single one five sixths, eight 0.965. Shares of
/// maj@32 that maj@k has on the tiny reasoner's problems: 0.84, 0.91, 0.96 and 0.98 at 1, 4, 8 and
/// 16.
double worthOfEnds(double ends);

/// The same when they are this share of the samples that have begun: those that end first are no
/// fair draw. The shortest alone, many or few, are worth 0.65, and the more of all are among them
/// the closer it comes to worthOfEnds. Votes of all samples of the tiny reasoner that were among
/// the shortest 1, 5, 10, 30, 50, 70 and 90 % of their problem's: 0.61, 0.65, 0.67, 0.75, 0.87,
/// 0.94 and 0.98.
double worthOfVote(double ends, double share);

/// Whether samples that still run should be closed by force now, in `closingSteps` steps, instead
/// of being left to end by themselves until then: an answer cut short counts as closedWorth of one
/// that was thought to its end, or as much as that when none has ended yet. `answering`: the share
/// of closed samples that say one when there is time for all those steps; in half of it none does.
bool worthClosing(const BudgetSituation &situation, const StepTimes &times, const Lengths &lengths,
                  double closingSteps, double answering);
constexpr double closedWorth = 0.25;

} // namespace m1rt

#endif
