// Timing of repeated steps and of their kernels.
#ifndef M1_BENCH_MEASURE_H
#define M1_BENCH_MEASURE_H

#include "workload.h"
#include <map>

namespace m1bench {

double now(); // seconds of a steady clock

struct Times {
  double median = 0;              // seconds
  double lowest = 0, highest = 0; // the spread
  uint32_t samples = 0;
};
Times summarize(std::vector<double> seconds);

struct StepTimes {
  Times step;
  double firstStep = 0; // seconds, with code loading and algorithm choice
};
/// Steps run back to back in groups long enough for the clock, a wait after each group; one sample
/// is a group's mean.
Status measureSteps(Workload &load, uint32_t repeat, StepTimes *out);

/// Steps of a session in which `chunk` tokens of a prompt join decoding sequences, beside steps
/// without.
struct MixedTimes {
  Times plain, mixed;
};
Status measureMixed(m1rt::Model &model, uint32_t sequences, uint32_t context, uint32_t chunk,
                    uint32_t repeat, MixedTimes *out);

struct KernelTimes {
  uint32_t launches = 0;
  Times time; // of all launches of a step together
  Cost cost;  // likewise
};
/// By kernel; commands run one by one, so gaps between them are not in it.
Status measureKernels(Workload &load, uint32_t repeat, std::map<std::string, KernelTimes> *out);

} // namespace m1bench

#endif
