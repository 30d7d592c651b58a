// What an evaluation says: accuracy of single samples, of majority votes and of the best of k, over
// samples and over time.
#ifndef M1_TOOLS_EVAL_STATISTICS_H
#define M1_TOOLS_EVAL_STATISTICS_H

#include "records.h"
#include <cstdint>
#include <map>

namespace m1tool {

struct Interval {
  double mean = 0, low = 0, high = 0;
};

struct CurvePoint {
  double x = 0; // samples or seconds
  double majority = 0, coverage = 0;
};

struct Summary {
  size_t problems = 0, samples = 0, answered = 0, forced = 0, dropped = 0;
  size_t length = 0;    // cut by the token limit or the context
  size_t refused = 0;   // requests that could not run, such as a prompt longer than the context
  size_t notNeeded = 0; // ended, or never begun, because their vote was decided
  std::map<std::string, size_t> silent; // samples without a ballot, by reason
  uint64_t tokens = 0;
  // 95 %: Wilson's interval with as many trials as give the observed spread between problems
  Interval passAt1;
  // Of all samples of each problem, provisional ballots included; Wilson's interval over the
  // problems.
  Interval vote;
  // Samples a problem that ended, on average: curves go no further.
  double endedPerProblem = 0;
  std::vector<CurvePoint> overSamples; // k = 1, 2, 4 … of those that ended
  std::vector<CurvePoint> overSeconds; // from the start of each problem
};

/// Samples of one problem, in the order of their index.
struct ProblemSamples {
  std::vector<const SampleRecord *> samples;
};

struct SummaryOptions {
  uint32_t samples = 1;      // the N of the run
  bool byConfidence = false; // ballots weigh their samples' confidence
  // Votes stopped early: a problem has as many samples as its vote needed, and there is no curve
  // over k.
  bool stoppedEarly = false;
};

/// maj@k: mean over subsets of k samples (all if they are at most 2000, else 200 or more seeded
/// draws); ties go to the earlier sample. coverage@k: the unbiased 1 − C(n−c, k)/C(n, k). Problems
/// with fewer than k samples count with those they have. Samples that never began before a
/// deadline do not count; one that it cut while it ran counts as drawn, without a ballot. No k is
/// larger than the mean number of samples that ended.
Summary summarize(const std::vector<ProblemSamples> &problems, const SummaryOptions &options);

/// The index among these samples of the one whose answer wins their vote; -1 when none has one.
int voteOf(const std::vector<const SampleRecord *> &samples, bool byConfidence);

/// Wilson's score interval at 95 %.
Interval wilson(double mean, double trials);

} // namespace m1tool

#endif
