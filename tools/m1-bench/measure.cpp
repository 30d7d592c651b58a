#include "measure.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <memory>
#include <thread>

using namespace m1rt;

namespace m1bench {

namespace {

double now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

constexpr double groupSeconds = 0.02;      // a group of steps lasts at least this long
constexpr uint64_t copyBytes = 1ull << 30; // far larger than any L2
constexpr int copyRepeats = 7;

double readSpeed(uint32_t threads) {
  constexpr uint64_t bytes = 512ull << 20;
  std::unique_ptr<uint64_t[]> buffer(new uint64_t[bytes / 8]);
  std::memset(buffer.get(), 1, bytes);
  threads = threads ? threads : std::max(1u, std::thread::hardware_concurrency());
  std::vector<double> speeds;
  std::atomic<uint64_t> sink{0};
  for (int repeat = 0; repeat < copyRepeats; ++repeat) {
    double began = now();
    std::vector<std::thread> workers;
    for (uint32_t t = 0; t < threads; ++t)
      workers.emplace_back([&, t] {
        const uint64_t words = bytes / 8, first = words * t / threads,
                       last = words * (t + 1) / threads;
        uint64_t sums[8] = {};
        for (uint64_t i = first; i + 8 <= last; i += 8)
          for (int k = 0; k < 8; ++k)
            sums[k] += buffer[i + k];
        for (uint64_t sum : sums)
          sink += sum;
      });
    for (std::thread &worker : workers)
      worker.join();
    speeds.push_back(double(bytes) / (now() - began));
  }
  return summarize(speeds).median;
}

} // namespace

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

Status measureCopySpeed(Device &device, uint32_t threads, double *out) {
  if (device.readsHostMemory()) {
    *out = readSpeed(threads);
    return {};
  }
  void *from = nullptr, *to = nullptr;
  M1_TRY(device.allocate(copyBytes, "the copy speed test", &from));
  Status status = device.allocate(copyBytes, "the copy speed test", &to);
  if (status.ok())
    status = device.fillDummy(from, schema::ElementType::f32, copyBytes / 4, 1, 0, 1.0f, 0.0f);
  std::vector<double> seconds;
  constexpr int copiesPerSample = 8; // so that launch and wait do not count
  for (int repeat = -1; repeat < copyRepeats && status.ok(); ++repeat) {
    status = device.synchronize();
    double began = now();
    for (int i = 0; i < copiesPerSample && status.ok(); ++i)
      status = device.copy(to, from, copyBytes);
    if (status.ok())
      status = device.synchronize();
    if (repeat >= 0) // the first is the warm-up
      seconds.push_back((now() - began) / copiesPerSample);
  }
  device.free(from);
  device.free(to);
  M1_TRY(std::move(status));
  *out = 2.0 * double(copyBytes) / summarize(seconds).median;
  return {};
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
