#include "measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>

using namespace m1rt;

namespace m1bench {

namespace {

constexpr double groupSeconds = 0.02; // a group of steps lasts at least this long

} // namespace

double now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

Times summarize(std::vector<double> seconds) {
  Times times;
  if (seconds.empty())
    return times;
  std::sort(seconds.begin(), seconds.end());
  times.samples = uint32_t(seconds.size());
  times.lowest = seconds.front();
  times.highest = seconds.back();
  size_t middle = seconds.size() / 2;
  times.median = seconds.size() % 2 ? seconds[middle] : (seconds[middle - 1] + seconds[middle]) / 2;
  return times;
}

Status measureSteps(Workload &load, uint32_t repeat, StepTimes *out) {
  double began = now();
  M1_TRY(load.run());
  M1_TRY(load.finish());
  out->firstStep = now() - began;
  // The second step makes the graph, the third is the first that tells how long one takes.
  for (int i = 0; i < 2; ++i) {
    began = now();
    M1_TRY(load.run());
    M1_TRY(load.finish());
  }
  const uint32_t group =
      uint32_t(std::clamp(std::ceil(groupSeconds / std::max(now() - began, 1e-6)), 1.0, 1000.0));
  std::vector<double> seconds;
  for (uint32_t sample = 0; sample < repeat; ++sample) {
    began = now();
    for (uint32_t i = 0; i < group; ++i)
      M1_TRY(load.run());
    M1_TRY(load.finish());
    seconds.push_back((now() - began) / group);
  }
  out->step = summarize(seconds);
  return {};
}

Status measureKernels(Workload &load, uint32_t repeat, std::map<std::string, KernelTimes> *out) {
  std::vector<std::vector<double>> durations(load.function().commands()->size());
  std::vector<CommandTime> profile;
  for (uint32_t sample = 0; sample < repeat + 1; ++sample) {
    M1_TRY(load.run(&profile));
    M1_TRY(load.finish());
    if (sample > 0)
      for (const CommandTime &time : profile)
        durations[time.command].push_back(time.duration * 1e-6);
  }
  std::map<std::string, std::vector<double>> sums; // of each kernel's launches, by repetition
  for (uint32_t i = 0; i < durations.size(); ++i) {
    KernelTimes &kernel = (*out)[load.kernelOf(i)];
    std::vector<double> &sum = sums[load.kernelOf(i)];
    sum.resize(durations[i].size());
    for (size_t sample = 0; sample < sum.size(); ++sample)
      sum[sample] += durations[i][sample];
    Cost cost = load.costOf(i);
    ++kernel.launches;
    kernel.cost.weightBytes += cost.weightBytes;
    kernel.cost.stateBytes += cost.stateBytes;
    kernel.cost.kvBytes += cost.kvBytes;
    kernel.cost.activationBytes += cost.activationBytes;
    kernel.cost.flops += cost.flops;
  }
  for (auto &[name, kernel] : *out)
    kernel.time = summarize(sums[name]);
  return {};
}

} // namespace m1bench
