// m1-eval: accuracy of a compiled model on a dataset of problems with answers.
#include "dataset.h"
#include "engine_sampler.h"
#include "interrupt.h"
#include "model/sizing.h"
#include "plot.h"
#include "progress.h"
#include "seed.h"
#include "statistics.h"
#include "tool.h"
#include "trust.h"
#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

using namespace m1rt;
using namespace m1tool;

namespace {

struct Arguments {
  std::string artifact, dataset, grade, out = "m1-eval-out", device = "cpu";
  uint32_t threads = 0, limit = 0;
  TrustFlags trust;
  EvaluationOptions evaluation;
  EngineSamplerOptions engine;
};

std::string hex(const uint8_t *bytes, size_t size) {
  std::string out;
  for (size_t i = 0; i < size; ++i)
    out += formatted("%02x", bytes[i]);
  return out;
}

Status writeFile(const std::string &path, const std::string &text) {
  OutputFile file;
  M1_TRY(file.open(path));
  M1_TRY(file.write(text.data(), text.size()));
  return file.commit();
}

Status report(const Arguments &arguments, const std::vector<Problem> &problems,
              const RecordFile &records, uint64_t newTokens, double seconds) {
  std::map<std::string, ProblemSamples> byProblem;
  for (const Problem &problem : problems)
    byProblem[problem.id];
  for (const SampleRecord &r : records.records()) {
    auto it = byProblem.find(r.problem);
    if (it != byProblem.end() && r.sample < arguments.evaluation.samples)
      it->second.samples.push_back(&r);
  }
  std::vector<ProblemSamples> all;
  for (auto &[id, problem] : byProblem) {
    std::sort(problem.samples.begin(), problem.samples.end(),
              [](const SampleRecord *a, const SampleRecord *b) { return a->sample < b->sample; });
    all.push_back(std::move(problem));
  }
  Summary s = summarize(all, arguments.evaluation.samples);
  double rate = seconds > 0 ? double(newTokens) / seconds : 0;

  std::printf("problems        %zu of %zu\n", s.problems, problems.size());
  std::printf(
      "samples         %zu (%zu with an answer, %zu closed by force, %zu dropped, %zu refused)\n",
      s.samples, s.answered, s.forced, s.dropped, s.refused);
  std::printf("tokens          %llu\n", (unsigned long long)s.tokens);
  if (newTokens)
    std::printf("tokens/s        %.1f (%llu tokens in %.1f s of this run)\n", rate,
                (unsigned long long)newTokens, seconds);
  std::printf("pass@1          %.1f %%   95 %% interval %.1f … %.1f %%\n", 100 * s.passAt1.mean,
              100 * s.passAt1.low, 100 * s.passAt1.high);
  std::printf("%8s %10s %12s\n", "k", "maj@k", "coverage@k");
  nlohmann::ordered_json json = {
      {"problems", s.problems},       {"samples", s.samples},     {"answered", s.answered},
      {"forced", s.forced},           {"dropped", s.dropped},     {"refused", s.refused},
      {"tokens", s.tokens},           {"run_tokens", newTokens},  {"run_seconds", seconds},
      {"tokens_per_second", rate},    {"pass@1", s.passAt1.mean}, {"pass@1_low", s.passAt1.low},
      {"pass@1_high", s.passAt1.high}};
  auto points = [](const std::vector<CurvePoint> &curve, const char *x) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const CurvePoint &p : curve)
      list.push_back({{x, p.x}, {"majority", p.majority}, {"coverage", p.coverage}});
    return list;
  };
  for (const CurvePoint &p : s.overSamples)
    std::printf("%8.0f %8.1f %% %10.1f %%\n", p.x, 100 * p.majority, 100 * p.coverage);
  json["over_samples"] = points(s.overSamples, "k");
  json["over_seconds"] = points(s.overSeconds, "seconds");
  M1_TRY(writeFile(arguments.out + "/summary.json", json.dump(1) + "\n"));
  std::string name = arguments.dataset.substr(arguments.dataset.rfind('/') + 1);
  M1_TRY(writeFile(arguments.out + "/curve.svg",
                   drawCurves(s, name + formatted(": pass@1 %.1f %%, %zu problems, %zu samples",
                                                  100 * s.passAt1.mean, s.problems, s.samples))));
  std::printf("written         %s/{samples.jsonl,summary.json,curve.svg}\n", arguments.out.c_str());
  return {};
}

Status run(Arguments &arguments) {
  std::vector<Problem> problems;
  M1_TRY(readDataset(arguments.dataset, arguments.limit, &problems));
  ModelOptions modelOptions;
  modelOptions.device = arguments.device;
  modelOptions.deviceOptions.threads = arguments.threads;
  std::unique_ptr<Model> model;
  M1_TRY(applyTrustFlags(arguments.trust, arguments.artifact, &modelOptions));
  M1_TRY(Model::load(arguments.artifact, modelOptions, &model));

  EngineSamplerOptions &engine = arguments.engine;
  if (engine.slots == 0)
    engine.slots = fastestBatch(*model, arguments.threads);
  // What a sample depends on; more samples or problems may be added to a directory.
  const std::vector<std::pair<std::string, std::string>> settings = {
      {"artifact",
       hex(model->artifact().header().digest, sizeof model->artifact().header().digest)},
      {"system", engine.system},
      {"instruction", engine.instruction},
      {"raw", engine.raw ? "yes" : "no"},
      {"max-new-tokens", std::to_string(engine.maxNewTokens)},
      {"temperature", formatted("%g", engine.sampling.temperature)},
      {"top-k", std::to_string(engine.sampling.topK)},
      {"top-p", formatted("%g", engine.sampling.topP)},
      {"min-p", formatted("%g", engine.sampling.minP)},
      {"seed", std::to_string(arguments.evaluation.seed)},
      {"max-think-tokens", std::to_string(engine.maxThinkTokens)},
      {"time-budget-per-problem", formatted("%g", engine.timeBudget)},
      {"at-deadline", engine.dropAtDeadline ? "drop" : "close"},
      {"close-text", engine.closeText}};
  RecordFile records;
  M1_TRY(records.open(arguments.out, settings));

  std::unique_ptr<Sampler> sampler;
  M1_TRY(createEngineSampler(*model, engine, problems, &sampler));
  arguments.evaluation.oneAtATime = engine.timeBudget > 0;
  // Enough to refill places as they come free, few enough that a problem starts soon after its
  // clock does.
  arguments.evaluation.maxWaiting = std::max(1u, engine.slots / 8);
  catchInterrupts();
  Progress progress(true);
  bool complete = false;
  uint64_t tokens = 0;
  auto began = std::chrono::steady_clock::now();
  Status status = evaluate(
      problems, arguments.evaluation, *sampler, records, takeInterrupt,
      [&](const EvaluationProgress &p) {
        tokens = p.tokens;
        progress.show(p.done, p.all, p.tokens, 0);
      },
      &complete);
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  progress.clear();
  M1_TRY(std::move(status));
  M1_TRY(report(arguments, problems, records, tokens, seconds));
  if (std::fflush(stdout) != 0)
    return error(StatusCode::ioError, "cannot write the output: %s", std::strerror(errno));
  const std::vector<SampleRecord> &all = records.records();
  if (!all.empty() && std::all_of(all.begin(), all.end(),
                                  [](const SampleRecord &r) { return r.finish == "refused"; }))
    return error(StatusCode::invalidArgument, "every problem was refused");
  if (!complete)
    return error(StatusCode::cancelled, "stopped; the same command goes on from here");
  return {};
}

} // namespace

int main(int argc, char **argv) {
  Arguments arguments;
  EngineSamplerOptions &engine = arguments.engine;
  engine.maxNewTokens = 4096;
  engine.sampling.temperature = 0.7f;
  engine.closeText = "\n\nThe final answer is \\boxed{";
  CLI::App app{"Measures a compiled model on problems with answers: pass@1, majority votes and "
               "coverage over samples "
               "and time.\n"
               "Samples are recorded as they finish; the same command continues a run that was "
               "stopped or killed.",
               "m1-eval"};
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.set_version_flag("--version", std::string("m1-eval ") + M1_VERSION);
  app.footer("Example:\n  m1-eval model.m1a --dataset aime2024.jsonl --samples 64 --out aime \\\n"
             "    --instruction 'Please reason step by step, and put your final answer within "
             "\\boxed{}.'");
  auto *artifact =
      app.add_option("artifact", arguments.artifact, "The compiled model")->type_name("OUT.m1a");
  auto *dataset =
      app.add_option("--dataset", arguments.dataset, "Lines of {\"id\", \"problem\", \"answer\"}")
          ->type_name("FILE.jsonl");
  auto *grade =
      app.add_option("--grade", arguments.grade,
                     "Only compare answers: lines of {\"given\", \"expected\"} in, {\"equal\"} out")
          ->type_name("FILE.jsonl");
  grade->excludes(dataset)->excludes(artifact);
  app.add_option("--samples", arguments.evaluation.samples, "Samples a problem")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1u << 20));
  app.add_option("--limit", arguments.limit, "Only the first K problems; 0: all")
      ->capture_default_str()
      ->type_name("K");
  app.add_option("--out", arguments.out, "Directory of samples.jsonl, summary.json and curve.svg")
      ->capture_default_str()
      ->type_name("DIR");
  app.add_option("--device", arguments.device, "cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--threads", arguments.threads, "CPU threads; 0: one a physical core")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
  addTrustFlags(app, &arguments.trust);
  app.add_option("--max-new-tokens", engine.maxNewTokens, "Tokens of a sample at most")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1u << 24));
  app.add_option("--slots", engine.slots,
                 "Samples at once; 0: as many as make it fast, if they fit")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
  app.add_option("--context", engine.context,
                 "Longest prompt with its answer; 0: what the problems need")
      ->capture_default_str();
  app.add_option("--prefill-chunk", engine.prefillChunk, "Prompt tokens of one step")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--system", engine.system, "System message")->type_name("TEXT");
  app.add_option("--instruction", engine.instruction, "Text after each problem")->type_name("TEXT");
  app.add_flag("--raw", engine.raw, "Problems as they are, without the chat template");
  app.add_option("--temperature", engine.sampling.temperature, "0: always the likeliest token")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 100.0));
  app.add_option("--top-k", engine.sampling.topK, "Keep the K likeliest tokens; 0: all")
      ->capture_default_str();
  app.add_option("--top-p", engine.sampling.topP,
                 "Keep the likeliest tokens of this total probability")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--min-p", engine.sampling.minP,
                 "Drop tokens less likely than this share of the likeliest")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--seed", arguments.evaluation.seed, "Same seed, same samples")
      ->capture_default_str()
      ->check(isSeed);
  app.add_option("--time-budget-per-problem", engine.timeBudget,
                 "Seconds; running samples are then closed by force. One problem at a time")
      ->type_name("S")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--max-think-tokens", engine.maxThinkTokens,
                 "Tokens after which an answer is closed by force; 0: never")
      ->capture_default_str();
  app.add_option("--close-text", engine.closeText, "What closes an answer by force")
      ->capture_default_str();
  app.add_flag("--drop-at-deadline", engine.dropAtDeadline,
               "At the end of the time budget end samples instead of closing them");
  CLI11_PARSE(app, argc, argv);

  auto fails = [](const Status &status) { return status.ok() ? 0 : fail("m1-eval", status); };
  try {
    if (!grade->empty())
      return fails(gradeFile(arguments.grade));
    if (artifact->empty() || dataset->empty())
      return fails(error(StatusCode::invalidArgument,
                         "give OUT.m1a and --dataset FILE.jsonl, or --grade FILE.jsonl"));
    return fails(run(arguments));
  } catch (const std::bad_alloc &) {
    return fails(error(StatusCode::outOfMemory, "out of memory"));
  }
}
