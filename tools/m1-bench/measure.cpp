#include "measure.h"
#include "model/session.h"

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

Status measureMixed(Model &model, uint32_t sequences, uint32_t context, uint32_t chunk,
                    uint32_t repeat, MixedTimes *out) {
  constexpr uint32_t warmUp = 3;
  const uint32_t steps = repeat + warmUp, fill = 4096; // prompt tokens a step, to begin with
  SessionOptions options;
  options.maxSequences = sequences + 1;
  options.maxTokensPerStep = std::max(fill, sequences + chunk);
  options.maxLogitRows = sequences + 1;
  options.maxContext = std::max(context + 2 * steps, chunk * steps) + 1;
  if (options.maxContext > model.module().max_positions())
    return error(StatusCode::invalidArgument,
                 "context %u and chunks of %u: the model was compiled for %u tokens", context,
                 chunk, model.module().max_positions());
  const uint32_t page = model.module().page_size();
  auto pagesFor = [&](uint32_t tokens) { return (tokens + page - 1) / page; };
  options.kvPages = sequences * pagesFor(context + 2 * steps) + pagesFor(chunk * steps);
  std::unique_ptr<Session> session;
  M1_TRY(Session::create(model, options, &session));
  std::vector<int32_t> tokens(std::max({context, chunk, 1u}));
  uint64_t random = 0x6d31;
  for (int32_t &token : tokens) {
    random = random * 6364136223846793005ull + 1442695040888963407ull; // Knuth's MMIX generator
    token = int32_t((random >> 33) % model.module().vocab_size());
  }
  std::vector<BackendEntry> entries(sequences + 1);
  for (BackendEntry &entry : entries)
    M1_TRY(session->create(&entry.sequence));
  const uint32_t perSequence = std::max(1u, std::min(context, fill / std::min(fill, sequences)));
  for (uint32_t done = 0; done < context; done += perSequence)
    for (uint32_t first = 0; first < sequences;) {
      std::vector<BackendEntry> group;
      const uint32_t count = std::min(perSequence, context - done);
      for (; first < sequences && (group.size() + 1) * count <= fill; ++first) {
        group.push_back(entries[first]);
        group.back().tokens = tokens.data() + done;
        group.back().tokenCount = count;
      }
      M1_TRY(session->step(group.data(), uint32_t(group.size())));
    }
  for (uint32_t i = 0; i <= sequences; ++i) {
    entries[i].tokens = tokens.data();
    entries[i].tokenCount = i < sequences ? 1 : chunk;
    entries[i].logitCount = i < sequences ? 1 : 0;
  }
  std::vector<int32_t> next(sequences + 1);
  for (bool mixed : {false, true}) {
    std::vector<double> seconds;
    for (uint32_t i = 0; i < steps; ++i) {
      const double began = now();
      M1_TRY(session->step(entries.data(), sequences + (mixed ? 1 : 0)));
      M1_TRY(session->nextTokens(next.data()));
      if (i >= warmUp)
        seconds.push_back(now() - began);
    }
    (mixed ? out->mixed : out->plain) = summarize(seconds);
  }
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
