// Runs artifacts that hold a cpu and a cuda target on both and compares logits: the devices with
// each other, chunked prefill with whole, batched sequences with single ones, and a repetition with
// itself (bit by bit). With --large, hundreds of forks of one long prompt, among them forks of
// forks, in steps whose number of sequences changes and that a second prompt joins, are compared
// with single runs and with a repetition. Tokens are drawn at random and forced, so that one
// rounding does not change what follows.
//
// usage: device_agreement [--seed N] [--tolerance X] [--norm] [--prompts N] [--large] ARTIFACT...
// (X: max |difference| / standard deviation of the CPU's logits, or with --norm of Euclidean norms;
// --prompts: tokens of the longest prompt, 150)
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

Plan drawPlan(std::mt19937_64 &random, uint32_t vocabulary, uint32_t maxPositions, uint32_t count,
              uint32_t longestPrompt) {
  constexpr uint32_t decodeSteps = 5; // the third and later ones of a batch size run as a graph
  Plan plan;
  for (uint32_t i = 0; i < count; ++i) {
    uint32_t limit = std::min(longestPrompt, maxPositions - decodeSteps);
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
        std::memcmp(a[s].data(), b[s].data(), a[s].size() * sizeof(float)) != 0)
      return false;
  return true;
}

bool compare(const char *path, uint64_t seed, double tolerance, Measure measure,
             uint32_t longestPrompt) {
  ModelOptions cpuOptions, cudaOptions;
  cudaOptions.device = "cuda";
  std::unique_ptr<Model> cpu, cuda;
  check(Model::load(path, cpuOptions, &cpu), path);
  check(Model::load(path, cudaOptions, &cuda), path);
  std::mt19937_64 random(seed);
  bool allHold = true;
  // Few sequences take the decode function for few rows, more the general one.
  for (uint32_t count : {3u, 11u}) {
    Plan plan = drawPlan(random, cpu->module().vocab_size(), cpu->module().max_positions(), count,
                         longestPrompt);
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

/// What decides a --large run: a prompt, a part of it at which some fork again, tokens of each
/// sample.
struct Forest {
  std::vector<int32_t> prompt, other;       // the second prompt joins later
  std::vector<std::vector<int32_t>> forced; // [samples][steps]
  uint32_t steps = 12;
};

Forest drawForest(std::mt19937_64 &random, const Model &model, uint32_t samples) {
  Forest forest;
  const uint32_t vocabulary = model.module().vocab_size(),
                 room = model.module().max_positions() - forest.steps - 1;
  forest.prompt.resize(std::min(3100u, room));
  forest.other.resize(std::min(700u, room));
  forest.forced.assign(samples, std::vector<int32_t>(forest.steps));
  for (auto *tokens : {&forest.prompt, &forest.other})
    for (int32_t &token : *tokens)
      token = int32_t(random() % vocabulary);
  for (auto &tokens : forest.forced)
    for (int32_t &token : tokens)
      token = int32_t(random() % vocabulary);
  // Samples 1, 5, 9, … go on with the tokens of the sample before for half of their steps.
  for (uint32_t s = 1; s < samples; s += 4)
    std::copy_n(forest.forced[s - 1].begin(), forest.steps / 2, forest.forced[s].begin());
  return forest;
}

/// Logits of all samples' steps, and whether a step shared prefixes.
std::vector<Logits> runForest(Model &model, const Forest &forest, uint32_t firstSample,
                              uint32_t samples, bool *outShared) {
  SessionOptions options;
  options.maxSequences = samples + 2;
  options.maxContext = uint32_t(forest.prompt.size()) + forest.steps;
  options.maxTokensPerStep = uint32_t(forest.prompt.size()) + samples;
  options.maxLogitRows = samples + 1;
  options.sharedBytesFrom = 1;
  std::unique_ptr<Session> session;
  check(Session::create(model, options, &session), "session");
  const size_t vocabulary = model.module().vocab_size();
  SequenceId parent = 0, other = 0;
  check(session->create(&parent), "sequence");
  check(session->create(&other), "sequence");
  BackendEntry prompt{parent, forest.prompt.data(), uint32_t(forest.prompt.size()), 0};
  check(session->step(&prompt, 1), "prompt");
  std::vector<SequenceId> ids(samples);
  std::vector<Logits> out(samples);
  const uint32_t half = forest.steps / 2, chunk = uint32_t(forest.other.size()) / 3;
  for (uint32_t i = 0; i < forest.steps; ++i) {
    std::vector<BackendEntry> entries;
    std::vector<uint32_t> which;
    for (uint32_t s = 0; s < samples; ++s) {
      const uint32_t sample = firstSample + s;
      const bool forksLater = sample % 4 == 1 && s > 0;
      if (i == 0 && !forksLater)
        check(session->fork(parent, &ids[s]), "fork");
      if (i == half && forksLater)
        check(session->fork(ids[s - 1], &ids[s]), "fork of a fork");
      // Every seventh ends early, so that the number of sequences falls to another bucket.
      const bool ended = sample % 7 == 3 && i >= half + 2;
      if (ids[s] && !ended) {
        entries.push_back({ids[s], forest.forced[sample].data() + i, 1, 1});
        which.push_back(s);
      }
    }
    if (i >= 3 && i < 6)
      entries.push_back({other, forest.other.data() + (i - 3) * chunk, chunk, 0});
    if (entries.empty())
      continue;
    check(session->step(entries.data(), uint32_t(entries.size())), "step");
    if (outShared && i != 3)
      *outShared |= model.target().functions()->Get(session->lastFunction())->name()->str() ==
                    "decode_shared";
    std::vector<float> logits(which.size() * vocabulary);
    check(session->logits(0, uint32_t(which.size()), logits.data()), "logits");
    for (size_t row = 0; row < which.size(); ++row)
      out[which[row]].insert(out[which[row]].end(), logits.begin() + ptrdiff_t(row * vocabulary),
                             logits.begin() + ptrdiff_t((row + 1) * vocabulary));
  }
  return out;
}

bool compareLarge(const char *path, uint64_t seed, double tolerance, Measure measure) {
  ModelOptions options;
  options.device = "cuda";
  std::unique_ptr<Model> model;
  check(Model::load(path, options, &model), path);
  std::mt19937_64 random(seed);
  bool allHold = true;
  for (uint32_t samples : {64u, 512u}) {
    const Forest forest = drawForest(random, *model, samples);
    bool shared = false;
    auto together = runForest(*model, forest, 0, samples, &shared);
    const bool repeats = same(runForest(*model, forest, 0, samples, nullptr), together);
    double worst = 0;
    for (uint32_t sample = 0; sample < samples; sample += samples / 16 + 1) {
      const uint32_t before = sample % 4 == 1; // it forks from the one before
      auto alone = runForest(*model, forest, sample - before, 1 + before, nullptr);
      worst = std::max(worst, difference({together[sample]}, {alone[before]}, measure));
    }
    const bool shares = model->functionFor("decode_shared", samples) >= 0,
               holds = repeats && worst <= tolerance && shares == shared;
    std::printf("%-28s %3u samples of %zu tokens: alone %.1e  repetition %s  prefixes %s  %s\n",
                path, samples, forest.prompt.size(), worst, repeats ? "equal" : "DIFFERS",
                shared ? "shared" : "read anew", holds ? "ok" : "FAILED");
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
  bool large = false;
  uint32_t longestPrompt = 150;
  std::vector<const char *> paths;
  for (int i = 1; i < argc; ++i) {
    if (!std::strcmp(argv[i], "--seed") && i + 1 < argc)
      seed = std::strtoull(argv[++i], nullptr, 10);
    else if (!std::strcmp(argv[i], "--tolerance") && i + 1 < argc)
      tolerance = std::atof(argv[++i]);
    else if (!std::strcmp(argv[i], "--prompts") && i + 1 < argc)
      longestPrompt = uint32_t(std::strtoul(argv[++i], nullptr, 10));
    else if (!std::strcmp(argv[i], "--norm"))
      measure = Measure::norm;
    else if (!std::strcmp(argv[i], "--large"))
      large = true;
    else
      paths.push_back(argv[i]);
  }
  size_t hold = 0;
  for (const char *path : paths)
    hold += large ? compareLarge(path, seed, tolerance, measure)
                  : compare(path, seed, tolerance, measure, longestPrompt);
  std::printf("%zu of %zu artifacts agree within %g\n", hold, paths.size(), tolerance);
  return hold == paths.size() ? 0 : 1;
}
