// The planning of time budgets, on a clock that only the test moves: steps cost what a table says,
// and samples get as long as a distribution says.
#include "../Support/Sanitized.h"
#include "engine/budget.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <random>

using namespace m1rt;

namespace {

/// A machine and a model.
struct World {
  double first, each;       // seconds of a step: first + each · sequences
  double median, spread;    // tokens of a sample: log-normal
  size_t limit;             // of a sample
  uint32_t places, samples; // at once; a problem
  int problems;
  double prompt = 0;    // seconds before the first step of a problem
  double firstUse = 0;  // seconds more that the first two steps of a multiple of 8 sequences take
  double between = 0;   // spread of the median from problem to problem
  double planning = 0;  // seconds that a plan takes
  double longSteps = 0; // the share of steps that other work makes four times as long
};

struct Outcome {
  double ended = 0, begun = 0; // samples a problem
  double worth = 0;            // of the votes
};

/// Runs `problems` one after another for `budget` seconds each. `slots` 0: as planned, learning all
/// the while; otherwise so many samples at once.
Outcome simulate(const World &world, double budget, uint32_t slots, int problems, uint32_t seed) {
  std::mt19937 noises(seed), others(seed + 1);
  StepTimes times;
  Lengths lengths;
  std::map<size_t, int> used; // steps by size, in multiples of 8
  Outcome out;
  struct Sample {
    size_t age, end;
    bool runs;
  };
  for (int problem = 0; problem < problems; ++problem) {
    std::vector<Sample> running;
    LifeTable own;
    uint32_t unstarted = world.samples, ended = 0;
    // The same lengths whatever is planned.
    std::mt19937 random(seed + 7919 * uint32_t(problem));
    const double factor = std::exp(world.between * std::normal_distribution<double>()(random));
    std::lognormal_distribution<double> length(std::log(factor * world.median), world.spread);
    double now = world.prompt;
    PlanPace pace;
    auto begin = [&] {
      running.push_back({0, std::min(world.limit, size_t(1 + length(random))), true});
      --unstarted;
      out.begun += 1.0 / problems;
    };
    for (int step = 0; now < budget; ++step) {
      if (slots) {
        while (unstarted && running.size() < slots)
          begin();
      } else if (pace.due(uint64_t(step), ended, now)) {
        BudgetSituation situation;
        situation.secondsLeft = budget - now;
        for (const Sample &sample : running)
          situation.ages.push_back(sample.age);
        situation.unstarted = unstarted;
        situation.places = world.places;
        situation.limit = world.limit;
        situation.ended = ended;
        situation.lengths = own;
        const BudgetPlan plan = planBudget(situation, times, lengths);
        pace.planned(uint64_t(step), ended, now, world.planning);
        now += world.planning;
        for (size_t i = 0; i < running.size(); ++i)
          running[i].runs = plan.runs[i];
        for (uint32_t i = 0; i < plan.starts; ++i)
          begin();
      }
      const size_t count =
          size_t(std::count_if(running.begin(), running.end(), [](auto &s) { return s.runs; }));
      if (count == 0)
        break;
      const double noise = 0.9 + 0.2 * double(noises() % 1000) / 1000;
      const double busy = others() % 1000 < 1000 * world.longSteps ? 4 : 1;
      const double seconds = (world.first + world.each * double(count)) * noise * busy +
                             (used[(count + 7) / 8]++ < 2 ? world.firstUse : 0);
      now += seconds;
      times.add(uint32_t(count), seconds);
      if (now > budget)
        break;
      for (Sample &sample : running)
        sample.age += sample.runs;
      for (size_t i = 0; i < running.size();)
        if (running[i].runs && running[i].age >= running[i].end) {
          lengths.add(running[i].age, true);
          own.add(running[i].age, true);
          out.ended += 1.0 / problems;
          ++ended;
          running.erase(running.begin() + std::ptrdiff_t(i));
        } else {
          ++i;
        }
    }
    for (const Sample &sample : running) {
      lengths.add(sample.age, false);
      own.add(sample.age, false);
    }
    lengths.addProblem(own);
    out.worth += worthOfEnds(ended) / problems;
  }
  return out;
}

// A CPU on which every sequence costs, a GPU on which few do, one that a small model leaves idle
// and that first has to load the code of each size, a machine in between, and a CPU with much other
// work; budgets from one that a single sample hardly keeps to one in which all places are used many
// times. The plan comes close to the best fixed number of samples at once everywhere, which no
// fixed number does.
TEST(Budget, AsGoodAsTheBestFixedNumber) {
  const World worlds[] = {{0.9e-3, 0.28e-3, 110, 0.35, 400, 64, 128, 16},
                          {3e-3, 0.03e-3, 800, 0.4, 4096, 256, 256, 8},
                          {0.18e-3, 0.7e-6, 110, 0.2, 400, 256, 128, 60, 1e-3, 1e-3, 0.5, 60e-6},
                          {1e-3, 1e-3, 300, 0.6, 2000, 64, 128, 40},
                          {1e-3, 1e-3, 300, 0.3, 2000, 64, 128, 80, 0, 0, 0.7},
                          {0.9e-3, 0.28e-3, 110, 0.35, 400, 64, 128, 40, 0, 0, 0, 0, 0.25}};
  for (size_t i = 0; i < m1test::repeated(std::size(worlds), size_t(1)); ++i)
    for (double share : {1.2, 2.5, 5.0, 10.0, 25.0}) {
      const World &world = worlds[i];
      const double budget =
          share * world.median * (world.first + world.each) * (1 + 3 * world.longSteps);
      const int problems = share > 5 ? (world.problems + 3) / 4 : world.problems;
      Outcome best;
      uint32_t bestSlots = 0;
      for (uint32_t slots : {1, 2, 4, 8, 16, 32, 64, 256}) {
        const Outcome fixed = simulate(world, budget, std::min(slots, world.places), problems, 5);
        if (fixed.worth > best.worth) {
          best = fixed;
          bestSlots = slots;
        }
      }
      const Outcome planned = simulate(world, budget, 0, problems, 5);
      std::printf("budget %.2f s: worth %.3f as planned (%.2f begun, %.2f ended), %.3f with %u at "
                  "once (%.2f ended)\n",
                  budget, planned.worth, planned.begun, planned.ended, best.worth, bestSlots,
                  best.ended);
      EXPECT_GT(planned.worth, best.worth - 0.08);
    }
}

/// A problem whose samples end after `least`, `least` + 1, … tokens.
void addProblem(Lengths &lengths, int samples, size_t least) {
  LifeTable problem;
  for (int i = 0; i < samples; ++i) {
    lengths.add(least + size_t(i), true);
    problem.add(least + size_t(i), true);
  }
  lengths.addProblem(problem);
}

// With nothing known lengths are log-uniform up to the limit; the table follows what was seen, and
// samples that were cut or still run count as far as they came.
TEST(Budget, LengthsAreLearned) {
  Lengths lengths;
  const auto prior = lengths.table({}, 8000, 8000);
  EXPECT_NEAR(prior.survives(0, 80), 2.0 / 3, 0.02);
  EXPECT_NEAR(prior.survives(80, 720), 0.5, 0.02);
  EXPECT_EQ(prior.survives(0, 8000), 0);
  for (int i = 0; i < 100; ++i)
    lengths.add(size_t(90 + i % 20), true);
  const auto learned = lengths.table({}, 8000, 8000);
  EXPECT_GT(learned.survives(0, 80), 0.9);
  EXPECT_LT(learned.survives(0, 120), 0.1);
  for (int i = 0; i < 100; ++i)
    lengths.add(200, false); // cut there: half of all do get longer
  EXPECT_NEAR(lengths.table({}, 8000, 8000).survives(0, 150), 0.6, 0.12);
  const auto running = Lengths().table(std::vector<size_t>(50, 1000), 8000, 8000);
  EXPECT_GT(running.survives(0, 900), 0.9);
}

// Step times are interpolated, extrapolated along the last slope, and never below what fewer
// sequences take: of a larger size that took less both are noise.
TEST(Budget, StepTimesAreLearned) {
  StepTimes times;
  EXPECT_EQ(times.estimate(3), 0);
  EXPECT_EQ(times.toMeasure(8), 4u);
  times.add(4, 0.4);
  EXPECT_DOUBLE_EQ(times.estimate(8), 0.8);
  EXPECT_DOUBLE_EQ(times.estimate(2), 0.4);
  times.add(4, 0.4);
  EXPECT_EQ(times.toMeasure(8), 1u);
  times.add(1, 0.1);
  times.add(1, 0.1);
  EXPECT_EQ(times.toMeasure(8), 0u);
  EXPECT_NEAR(times.estimate(2), 0.2, 1e-9);
  EXPECT_NEAR(times.estimate(9), 0.9, 1e-9);
  times.add(16, 0.1); // one step, which counts a thousandth of a measured one; two count a fifth
  EXPECT_NEAR(times.estimate(32), (0.2 * 0.4 + 0.001 * 0.1) / 0.201, 1e-9);
  EXPECT_NEAR(times.estimate(4), times.estimate(32), 1e-9);
  times.add(16, 0.1);
  EXPECT_NEAR(times.estimate(4), (0.4 + 0.1) / 2, 1e-9);
  EXPECT_EQ(StepTimes().toMeasure(1), 1u);
}

// A step in a thousand takes twenty times as long. Its size would look dear, and as it is not
// chosen then and so not measured again, it would stay so.
TEST(Budget, OneLongStepDoesNotMakeItsSizeDear) {
  StepTimes times;
  for (int i = 0; i < 40; ++i)
    for (uint32_t size : {1, 4, 8, 16})
      times.add(size, size <= 8 ? 160e-6 : 200e-6);
  auto expectSizes = [&](double eight, double most) {
    EXPECT_NEAR(times.estimate(8) / times.estimate(16), eight / 200e-6, 1e-6);
    EXPECT_GE(times.estimate(8), eight * 0.999);
    EXPECT_LE(times.estimate(8), eight * most);
  };
  times.add(8, 1.0); // a standstill
  expectSizes(160e-6, 1.05);
  times.add(8, 3e-3);
  times.add(8, 160e-6);
  expectSizes(160e-6, 1.1);
  for (int i = 0; i < 500; ++i)
    times.add(4, 160e-6);
  expectSizes(160e-6, 1.03);
  for (int i = 0; i < 40; ++i) // where it really takes longer now, half of its last steps say so
    times.add(8, 190e-6);
  expectSizes(190e-6, 1.05);
}

// Where other work makes every tenth step ten times as long, what a step takes is the average, and
// sizes are compared by what they take without that.
TEST(Budget, FrequentLongStepsCount) {
  std::mt19937 random(3);
  StepTimes times;
  for (int i = 0; i < 2000; ++i) {
    const uint32_t size = 1u << random() % 5;
    times.add(size, (1e-3 + 1e-4 * size) * (random() % 10 ? 1 : 10));
  }
  for (uint32_t size : {1, 2, 4, 8, 16})
    EXPECT_NEAR(times.estimate(size), 1.9 * (1e-3 + 1e-4 * size), 0.2e-3) << size;
  EXPECT_NEAR(times.estimate(16) / times.estimate(1), 2.6 / 1.1, 1e-6);
  for (int i = 0; i < 3000; ++i) // the other work is done
    times.add(8, 1.8e-3);
  EXPECT_NEAR(times.estimate(8), 1.8e-3, 0.1e-3);
}

// Tokens that are taken late make their step look long and the next one short. Many sizes of which
// few steps were measured so do not make those look short that were measured often.
TEST(Budget, StepTimesAreOfNoNoise) {
  std::mt19937 random(1);
  std::exponential_distribution<double> late(1 / 40e-6);
  StepTimes times;
  double before = 0;
  auto step = [&](uint32_t size, double seconds) {
    const double now = late(random);
    times.add(size, seconds + now - before);
    before = now;
  };
  for (int i = 0; i < 400; ++i)
    step(8, 165e-6);
  for (uint32_t size = 32; size < 96; ++size)
    for (int i = 0; i < 4; ++i)
      step(size, 200e-6);
  for (int i = 0; i < 400; ++i)
    step(16, 190e-6);
  EXPECT_NEAR(times.estimate(8), 165e-6, 16e-6);
  EXPECT_NEAR(times.estimate(16), 190e-6, 16e-6);
  EXPECT_NEAR(times.estimate(64), 200e-6, 20e-6);
}

// The shortest samples of a problem are no fair draw: that few at once get to the length that most
// need is better than many ends of the shortest.
TEST(Budget, DepthIsWorthMoreThanTheShortest) {
  EXPECT_DOUBLE_EQ(worthOfVote(20, 1), worthOfEnds(20));
  EXPECT_NEAR(worthOfVote(1000, 0), worthOfVote(5, 0), 1e-9);
  EXPECT_GT(worthOfVote(6, 0.8), worthOfVote(40, 0.4));
  StepTimes times;
  for (int i = 0; i < 8; ++i)
    for (uint32_t size : {1, 4, 8, 16, 64, 128})
      times.add(size, size <= 8 ? 165e-6 : size <= 64 ? 210e-6 : 240e-6);
  Lengths lengths;
  for (int i = 0; i < 20; ++i)
    addProblem(lengths, 40, 110); // to 149
  BudgetSituation situation;
  situation.places = situation.unstarted = 128;
  situation.limit = 400;
  situation.secondsLeft = 0.0245; // 148 steps of 8, 117 of 64, 102 of 128
  const BudgetPlan plan = planBudget(situation, times, lengths);
  EXPECT_GE(plan.starts, 4u);
  EXPECT_LE(plan.starts, 8u);
}

// What all samples were cut short of is not taken to be as long as the limit allows.
TEST(Budget, LengthsGoOnBeyondWhatWasSeen) {
  Lengths lengths;
  for (int i = 0; i < 100; ++i) { // from 60 to 110, but none was let run beyond 90
    const size_t length = size_t(60 + i / 2);
    lengths.add(std::min<size_t>(length, 90), length <= 90);
  }
  EXPECT_GT(1 - lengths.table({}, 4000, 1000).survives(90, 60), 0.6);
}

// Samples of a problem get about as long as each other: those that have ended, and those that still
// run, say how long the others get, which samples of other problems do not.
TEST(Budget, SamplesOfAProblemAreAlike) {
  Lengths lengths;
  for (int i = 0; i < 8; ++i) {
    addProblem(lengths, 20, 50);
    addProblem(lengths, 20, 500);
  }
  auto chance = [&](const LifeTable &ended, const std::vector<size_t> &ages, double age,
                    double more) {
    double sum = 0, chances = 0;
    for (const Lengths::Way &way : lengths.ways(ended, ages, 4000, 1000)) {
      sum += way.chance * (1 - way.table.survives(age, more));
      chances += way.chance;
    }
    EXPECT_NEAR(chances, 1, 1e-9);
    return sum;
  };
  EXPECT_NEAR(chance({}, {}, 0, 100), 0.5, 0.05);
  EXPECT_NEAR(chance({}, {}, 0, 600), 1, 0.05);
  EXPECT_LT(chance({}, std::vector<size_t>(8, 90), 0, 100), 0.05);
  LifeTable brief;
  brief.add(60, true);
  brief.add(65, true);
  EXPECT_GT(chance(brief, {}, 0, 100), 0.9);
  // A kind of problem that was not there before: its own samples say what there is to know.
  LifeTable between;
  for (int i = 0; i < 40; ++i)
    between.add(size_t(180 + i), true);
  EXPECT_LT(chance(between, {}, 0, 150), 0.15);
  EXPECT_GT(chance(between, {}, 0, 250), 0.85);
}

// Near the end new samples are not begun; when time suffices for a few, the others wait.
TEST(Budget, LateSamplesAreNotBegun) {
  StepTimes times;
  for (int i = 0; i < 3; ++i)
    for (uint32_t size : {1, 4, 16})
      times.add(size, 1e-3 + 1e-4 * size);
  Lengths lengths;
  for (int i = 0; i < 10; ++i)
    addProblem(lengths, 10, 95);
  BudgetSituation situation;
  situation.places = 16;
  situation.unstarted = 100;
  situation.limit = 400;
  situation.secondsLeft = 0.025; // 19 steps of three
  EXPECT_EQ(planBudget(situation, times, lengths).starts, 0u);
  situation.ages = {10, 20, 80, 90, 85, 30};
  const BudgetPlan plan = planBudget(situation, times, lengths);
  EXPECT_EQ(plan.runs, (std::vector<bool>{false, false, true, true, true, false}));
  EXPECT_EQ(plan.starts, 0u);
  // One past its limit, closed by force, disturbs nobody.
  situation.ages[0] = situation.limit + 12;
  const BudgetPlan beside = planBudget(situation, times, lengths);
  EXPECT_TRUE(beside.runs[2] && beside.runs[3] && beside.runs[4]);
  EXPECT_GT(beside.ends, 2); // of the three that may end in time: a number, at least
  situation.ages.clear();
  situation.secondsLeft = 5;
  EXPECT_GT(planBudget(situation, times, lengths).starts, 4u);
}

// Plans are made every eight steps and at ends, if they take little of the time; one that took long
// is followed by another all the same.
TEST(Budget, PlanningTakesLittleOfTheTime) {
  PlanPace pace;
  EXPECT_TRUE(pace.due(0, 0, 5));
  pace.planned(0, 0, 5, 1e-3);
  EXPECT_FALSE(pace.due(8, 0, 5.019));
  EXPECT_TRUE(pace.due(8, 0, 5.021));
  EXPECT_FALSE(pace.due(7, 0, 5.021));
  EXPECT_TRUE(pace.due(7, 1, 5.021));
  EXPECT_FALSE(pace.due(63, 1, 5.019));
  EXPECT_TRUE(pace.due(64, 0, 5.001));
}

// Closing is worth it where thoughts are long against it, or where nothing has ended.
TEST(Budget, ClosingIsWeighed) {
  StepTimes times;
  times.add(4, 1e-3);
  Lengths brief, lengthy;
  for (int i = 0; i < 10; ++i) {
    addProblem(brief, 80, 60);
    addProblem(lengthy, 100, size_t(1000 + 200 * i));
  }
  BudgetSituation situation;
  situation.secondsLeft = 0.05;
  situation.limit = 4000;
  situation.ages = {70, 80, 90};
  EXPECT_TRUE(worthClosing(situation, times, brief, 33, 1));
  EXPECT_FALSE(worthClosing(situation, times, brief, 33, 0.05)); // closed ones say nothing
  situation.ended = 2;
  EXPECT_FALSE(worthClosing(situation, times, brief, 33, 1));
  situation.ages = {500, 600, 700};
  EXPECT_TRUE(worthClosing(situation, times, lengthy, 33, 1));
  situation.secondsLeft = 0.016; // the deadline would cut the closing
  EXPECT_FALSE(worthClosing(situation, times, lengthy, 33, 1));
  situation.ended = 0;
  EXPECT_FALSE(worthClosing(situation, times, lengthy, 33, 1));
}

} // namespace
