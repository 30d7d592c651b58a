// What an evaluation says: accuracy of single samples, of majority votes and of the best of k, over
// samples and over time.
#ifndef M1_TOOLS_EVAL_STATISTICS_H
#define M1_TOOLS_EVAL_STATISTICS_H

#include "records.h"
#include <cstdint>

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
  size_t refused = 0; // requests that could not run, such as a prompt longer than the context
  uint64_t tokens = 0;
  Interval
      // 95 %: Wilson's interval with as many trials as give the observed spread between problems
      passAt1;
  std::vector<CurvePoint> overSamples; // k = 1, 2, 4 … N
  std::vector<CurvePoint> overSeconds; // from the start of each problem
};

/// Samples of one problem, in the order of their index.
struct ProblemSamples {
  std::vector<const SampleRecord *> samples;
};

/// maj@k: mean over subsets of k samples (all if they are at most 2000, else 200 or more seeded
/// draws); ties go to the earlier sample. coverage@k: the unbiased 1 − C(n−c, k)/C(n, k). Problems
/// with fewer than k samples count with those they have, and samples that never began before a
/// deadline do not count. `wanted`: the N of the run.
Summary summarize(const std::vector<ProblemSamples> &problems, uint32_t wanted);

/// Wilson's score interval at 95 %.
Interval wilson(double mean, double trials);

} // namespace m1tool

#endif
