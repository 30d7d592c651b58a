// Runs artifacts that hold a cpu and a cuda target on both and compares logits: the devices with
// each other, chunked prefill with whole, batched sequences with single ones, and a repetition with
// itself (bit by bit). Tokens are drawn at random and forced, so that one rounding does not change
// what follows.
//
// usage: device_agreement [--seed N] [--tolerance X] ARTIFACT...       (X: max |difference| /
// standard deviation of the CPU's logits)
#include "model/session.h"
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

using namespace m1rt;

namespace {

using Logits = std::vector<float>; // [tokens of one sequence, vocabulary]

struct Plan {
  std::vector<std::vector<int32_t>> sequences; // prompt and forced tokens
  std::vector<uint32_t> prompts;               // length of each prompt
  uint32_t longest = 0, total = 0;
};

void check(const Status &status, const std::string &what) {
  if (status.ok())
    return;
  std::printf("%s: %s\n", what.c_str(), status.message().c_str());
  std::exit(1);
}

Plan drawPlan(std::mt19937_64 &random, uint32_t vocabulary, uint32_t maxPositions, uint32_t count) {
  constexpr uint32_t decodeSteps = 5; // the third and later ones of a batch size run as a graph
  Plan plan;
  for (uint32_t i = 0; i < count; ++i) {
    uint32_t limit = std::min(150u, maxPositions - decodeSteps);
    uint32_t length = i == 0 ? 1 : 1 + uint32_t(random() % limit);
    plan.prompts.push_back(length);
    std::vector<int32_t> tokens(length + decodeSteps);
    for (int32_t &token : tokens)
      token = int32_t(random() % vocabulary);
    plan.longest = std::max<uint32_t>(plan.longest, uint32_t(tokens.size()));
    plan.total += length;
    plan.sequences.push_back(std::move(tokens));
  }
  return plan;
}

std::unique_ptr<Session> open(Model &model, const Plan &plan) {
  SessionOptions options;
  options.maxSequences = uint32_t(plan.sequences.size());
  options.maxTokensPerStep = options.maxLogitRows = std::max(plan.total, plan.longest);
  options.maxContext = plan.longest;
  std::unique_ptr<Session> session;
  check(Session::create(model, options, &session), "session");
  return session;
}

/// Steps the sequences `which` by `counts` tokens from `done`, and appends their logits.
void step(Session &session, Model &model, const Plan &plan, const std::vector<SequenceId> &ids,
          const std::vector<uint32_t> &which, const std::vector<uint32_t> &counts,
          std::vector<uint32_t> &done, std::vector<Logits> &out) {
  std::vector<BackendEntry> entries;
  uint32_t rows = 0;
  for (size_t i = 0; i < which.size(); ++i) {
    uint32_t s = which[i];
    entries.push_back({ids[s], plan.sequences[s].data() + done[s], counts[i], counts[i]});
    rows += counts[i];
  }
  check(session.step(entries.data(), uint32_t(entries.size())), "step");
  size_t vocabulary = model.module().vocab_size();
  std::vector<float> logits(rows * vocabulary);
  check(session.logits(0, rows, logits.data()), "logits");
  const float *next = logits.data();
  for (size_t i = 0; i < which.size(); ++i) {
    out[which[i]].insert(out[which[i]].end(), next, next + counts[i] * vocabulary);
    next += counts[i] * vocabulary;
    done[which[i]] += counts[i];
  }
}

/// Each sequence on its own; prompts in pieces of `chunk` tokens.
std::vector<Logits> runAlone(Model &model, const Plan &plan, uint32_t chunk) {
  auto session = open(model, plan);
  std::vector<Logits> out(plan.sequences.size());
  std::vector<SequenceId> ids(plan.sequences.size());
  std::vector<uint32_t> done(plan.sequences.size());
  for (uint32_t s = 0; s < plan.sequences.size(); ++s) {
    check(session->create(&ids[s]), "sequence");
    while (done[s] < plan.sequences[s].size()) {
      uint32_t count = done[s] < plan.prompts[s] ? std::min(chunk, plan.prompts[s] - done[s]) : 1;
      step(*session, model, plan, ids, {s}, {count}, done, out);
    }
    check(session->destroy(ids[s]), "sequence");
  }
  return out;
}

/// All sequences together. `staggered`: half of the prompts enter while the others already decode.
std::vector<Logits> runTogether(Model &model, const Plan &plan, bool staggered) {
  auto session = open(model, plan);
  const uint32_t count = uint32_t(plan.sequences.size());
  std::vector<Logits> out(count);
  std::vector<SequenceId> ids(count);
  std::vector<uint32_t> done(count);
  for (SequenceId &id : ids)
    check(session->create(&id), "sequence");
  for (bool first = true;; first = false) {
    std::vector<uint32_t> which, counts;
    for (uint32_t s = 0; s < count; ++s) {
      if (done[s] == plan.sequences[s].size() || (staggered && first && s % 2))
        continue;
      which.push_back(s);
      counts.push_back(done[s] < plan.prompts[s] ? plan.prompts[s] - done[s] : 1);
    }
    if (which.empty() && !first)
      return out;
    step(*session, model, plan, ids, which, counts, done, out);
  }
}

enum class Measure { worstValue, norm };

/// Over all sequences, as docs/numerics.md defines the measures. Infinite when either side holds a
/// NaN.
double difference(const std::vector<Logits> &got, const std::vector<Logits> &want,
                  Measure measure) {
  double worst = 0;
  for (size_t s = 0; s < want.size(); ++s) {
    double sum = 0, squares = 0, most = 0, distance = 0;
    for (size_t i = 0; i < want[s].size(); ++i) {
      double d = std::fabs(double(got[s][i]) - want[s][i]);
      if (!std::isfinite(d))
        return INFINITY;
      sum += want[s][i];
      squares += double(want[s][i]) * want[s][i];
      most = std::max(most, d);
      distance += d * d;
    }
    double n = double(want[s].size()),
           deviation = std::sqrt(std::max(squares / n - sum / n * sum / n, 1e-30));
    worst =
        std::max(worst, measure == Measure::norm ? std::sqrt(distance / std::max(squares, 1e-30))
                                                 : most / deviation);
  }
  return worst;
}

bool same(const std::vector<Logits> &a, const std::vector<Logits> &b) {
  for (size_t s = 0; s < a.size(); ++s)
    if (a[s].size() != b[s].size() ||
        std::memcmp(a[s].data(), b[s].data(), a[s].size() * sizeof(float)))
      return false;
  return true;
}

bool compare(const char *path, uint64_t seed, double tolerance, Measure measure) {
  ModelOptions cpuOptions, cudaOptions;
  cudaOptions.device = "cuda";
  std::unique_ptr<Model> cpu, cuda;
  check(Model::load(path, cpuOptions, &cpu), path);
  check(Model::load(path, cudaOptions, &cuda), path);
  std::mt19937_64 random(seed);
  bool allHold = true;
  // Few sequences take the decode function for few rows, more the general one.
  for (uint32_t count : {3u, 11u}) {
    Plan plan = drawPlan(random, cpu->module().vocab_size(), cpu->module().max_positions(), count);
    auto want = runAlone(*cpu, plan, UINT32_MAX);
    auto alone = runAlone(*cuda, plan, UINT32_MAX);
    auto error = [&](const std::vector<Logits> &got, const std::vector<Logits> &reference) {
      return difference(got, reference, measure);
    };
    struct Result {
      const char *name;
      double error;
    } results[] = {{"cpu", error(alone, want)},
                   {"chunks of 7", error(runAlone(*cuda, plan, 7), alone)},
                   {"chunks of 1", error(runAlone(*cuda, plan, 1), alone)},
                   {"batched", error(runTogether(*cuda, plan, false), alone)},
                   {"staggered", error(runTogether(*cuda, plan, true), alone)}};
    bool repeats = same(runAlone(*cuda, plan, UINT32_MAX), alone) &&
                   same(runTogether(*cuda, plan, true), runTogether(*cuda, plan, true));
    bool holds = repeats;
    std::printf("%-28s %2u sequences:", path, count);
    for (const Result &result : results) {
      holds &= result.error <= tolerance;
      std::printf("  %s %.1e", result.name, result.error);
    }
    std::printf("  repetition %s  %s\n", repeats ? "equal" : "DIFFERS", holds ? "ok" : "FAILED");
    std::fflush(stdout);
    allHold &= holds;
  }
  return allHold;
}

} // namespace

int main(int argc, char **argv) {
  uint64_t seed = 1;
  double tolerance = 1e-3;
  Measure measure = Measure::worstValue;
  std::vector<const char *> paths;
  for (int i = 1; i < argc; ++i) {
    if (!std::strcmp(argv[i], "--seed") && i + 1 < argc)
      seed = std::strtoull(argv[++i], nullptr, 10);
    else if (!std::strcmp(argv[i], "--tolerance") && i + 1 < argc)
      tolerance = std::atof(argv[++i]);
    else if (!std::strcmp(argv[i], "--norm"))
      measure = Measure::norm;
    else
      paths.push_back(argv[i]);
  }
  size_t hold = 0;
  for (const char *path : paths)
    hold += compare(path, seed, tolerance, measure);
  std::printf("%zu of %zu artifacts agree within %g\n", hold, paths.size(), tolerance);
  return hold == paths.size() ? 0 : 1;
}
