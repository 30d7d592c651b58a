// m1-eval: accuracy of a compiled model on a dataset of problems with answers.
#include "base/counted.h"
#include "command_line.h"
#include "dataset.h"
#include "devices.h"
#include "engine_sampler.h"
#include "html.h"
#include "input.h"
#include "interrupt.h"
#include "model/sizing.h"
#include "plot.h"
#include "progress.h"
#include "ranks.h"
#include "statistics.h"
#include "tool.h"
#include "trust.h"
#include <algorithm>

using namespace m1rt;
using namespace m1tool;

namespace {

struct Arguments {
  std::string artifact, dataset, grade, fewShot, out = "m1-eval-out";
  uint32_t limit = 0, shots = 0;
  DeviceFlags devices;
  TrustFlags trust;
  DatasetFields fields;
  EvaluationOptions evaluation;
  EngineSamplerOptions engine;
  VoteOptions voting;
  RecordDetail detail;
};

std::string hex(const uint8_t *bytes, size_t size) {
  std::string out;
  for (size_t i = 0; i < size; ++i)
    out += formatted("%02x", bytes[i]);
  return out;
}

std::string joined(const std::vector<std::string> &parts) {
  std::string out;
  for (const std::string &part : parts)
    out += (out.empty() ? "" : ", ") + part;
  return out;
}

/// What a sample depends on. More samples or problems may be added to a directory; anything else
/// must be as it was.
std::vector<std::pair<std::string, std::string>> settingsOf(const Arguments &arguments,
                                                            const Model &model) {
  const EngineSamplerOptions &engine = arguments.engine;
  const GenerationOptions &generation = engine.generation;
  const SamplingParameters &sampling = generation.sampling;
  std::string examples;
  for (const Problem &example : engine.examples)
    examples += example.text + '\0' + example.solution + '\0';
  std::vector<std::string> stopTokens;
  for (int32_t token : generation.stopTokens)
    stopTokens.push_back(std::to_string(token));
  const m1_artifact_header &header = model.artifact().header();
  const bool votesStop = arguments.voting.stop.kind != StopRule::Kind::off;
  std::vector<std::pair<std::string, std::string>> settings = {
      {"artifact", hex(header.digest, sizeof header.digest)},
      {"weights", digestText(model.artifact().weightsDigest().data())},
      {"system", engine.prompt.system},
      {"instruction", engine.instruction},
      {"raw", engine.prompt.raw ? "yes" : "no"},
      {"template-arg", joined(engine.prompt.templateArgs)},
      {"parse-special", engine.prompt.parseSpecial ? "yes" : "no"},
      {"prefill", engine.prompt.prefill},
      {"few-shot",
       examples.empty() ? "none" : formatted("%016llx", (unsigned long long)hashOf(examples))},
      {"max-new-tokens", std::to_string(generation.maxNewTokens)},
      {"temperature", formatted("%g", sampling.temperature)},
      {"top-k", std::to_string(sampling.topK)},
      {"top-p", formatted("%g", sampling.topP)},
      {"min-p", formatted("%g", sampling.minP)},
      {"repetition-penalty", formatted("%g", sampling.repetitionPenalty)},
      {"presence-penalty", formatted("%g", sampling.presencePenalty)},
      {"frequency-penalty", formatted("%g", sampling.frequencyPenalty)},
      {"logit-bias", joined(generation.logitBias)},
      {"stop", joined(generation.stop)},
      {"stop-token", joined(stopTokens)},
      {"ignore-eos", generation.ignoreEos ? "yes" : "no"},
      {"seed", std::to_string(sampling.seed)},
      {"max-think-tokens", std::to_string(generation.maxThinkTokens)},
      {"time-budget-per-problem", formatted("%g", generation.timeBudget)},
      {"at-deadline", generation.dropAtDeadline ? "drop" : "close"},
      {"close-text", generation.closeText},
      {"close-max-tokens", std::to_string(generation.closeMaxTokens)},
      {"stop-early", arguments.voting.stopText},
      {"least-ballots", votesStop ? std::to_string(arguments.voting.stop.leastBallots) : "none"},
      {"vote-weight", arguments.voting.weightText}};
  if (generation.probeEvery) // directories from before there were probes go on without
    settings.push_back({"probe-every", std::to_string(generation.probeEvery)});
  if (generation.probeOnEnd)
    settings.push_back({"probe-on-end", "yes"});
  return settings;
}

std::vector<ProblemSamples> samplesOf(const Arguments &arguments,
                                      const std::vector<Problem> &problems,
                                      const RecordFile &records) {
  std::map<std::string, size_t> places;
  for (size_t i = 0; i < problems.size(); ++i)
    places[problems[i].id] = i;
  std::vector<ProblemSamples> out(problems.size());
  for (const SampleRecord &r : records.records()) {
    auto it = places.find(r.problem);
    if (it != places.end() && r.sample < arguments.evaluation.samples)
      out[it->second].samples.push_back(&r);
  }
  for (ProblemSamples &problem : out)
    std::sort(problem.samples.begin(), problem.samples.end(),
              [](const SampleRecord *a, const SampleRecord *b) { return a->sample < b->sample; });
  return out;
}

std::string percent(double share) { return formatted("%.1f %%", 100 * share); }

std::string withInterval(const Interval &interval) {
  return percent(interval.mean) +
         formatted("   95 %% interval %.1f … %.1f %%", 100 * interval.low, 100 * interval.high);
}

/// The lines of the summary, name and value.
std::vector<std::pair<std::string, std::string>> factsOf(const Summary &s, size_t problems,
                                                         uint64_t newTokens, double seconds,
                                                         const EngineStats &stats) {
  std::string ends = formatted("%zu (%zu with an answer, %zu cut by length, %zu closed by force, "
                               "%zu dropped, %zu refused",
                               s.samples, s.answered, s.length, s.forced, s.dropped, s.refused);
  if (s.notNeeded)
    ends += formatted(", %zu not needed", s.notNeeded);
  std::string silent;
  for (const auto &[reason, count] : s.silent)
    silent += (silent.empty() ? "" : ", ") + std::to_string(count) + " " + reason;
  std::vector<std::pair<std::string, std::string>> out = {
      {"problems", formatted("%zu of %zu", s.problems, problems)},
      {"samples", ends + ")"},
      {"no ballot", silent.empty() ? "none" : silent},
      {"tokens", std::to_string(s.tokens)}};
  if (newTokens)
    out.push_back({"tokens/s", formatted("%.1f (%s in %.1f s of this run)",
                                         seconds > 0 ? double(newTokens) / seconds : 0.0,
                                         counted(newTokens, "token").c_str(), seconds)});
  if (stats.probes)
    out.push_back(
        {"probes",
         formatted("%llu (%llu dropped): %s, %.1f s of this run", (unsigned long long)stats.probes,
                   (unsigned long long)stats.probesDropped,
                   counted(stats.probeTokens, "token").c_str(), stats.probeSeconds)});
  out.push_back({"pass@1", withInterval(s.passAt1)});
  out.push_back({"vote of all", withInterval(s.vote)});
  return out;
}

std::string jsonText(const Summary &s, uint64_t newTokens, double seconds,
                     const EngineStats &stats) {
  nlohmann::ordered_json json = {
      {"problems", s.problems},
      {"samples", s.samples},
      {"answered", s.answered},
      {"length", s.length},
      {"forced", s.forced},
      {"dropped", s.dropped},
      {"refused", s.refused},
      {"not_needed", s.notNeeded},
      {"no_ballot", s.silent},
      {"tokens", s.tokens},
      {"run_tokens", newTokens},
      {"run_seconds", seconds},
      {"tokens_per_second", seconds > 0 ? double(newTokens) / seconds : 0.0},
      {"pass@1", s.passAt1.mean},
      {"pass@1_low", s.passAt1.low},
      {"pass@1_high", s.passAt1.high},
      {"vote", s.vote.mean},
      {"vote_low", s.vote.low},
      {"vote_high", s.vote.high},
      {"ended_per_problem", s.endedPerProblem}};
  if (stats.probes)
    json["run_probes"] = nlohmann::ordered_json(probesOf(stats));
  auto points = [](const std::vector<CurvePoint> &curve, const char *x) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const CurvePoint &p : curve)
      list.push_back({{x, p.x}, {"majority", p.majority}, {"coverage", p.coverage}});
    return list;
  };
  json["over_samples"] = points(s.overSamples, "k");
  json["over_seconds"] = points(s.overSeconds, "seconds");
  return json.dump(1) + "\n";
}

Status report(const Arguments &arguments, const std::vector<Problem> &problems,
              const RecordFile &records, uint64_t newTokens, double seconds,
              const EngineStats &stats) {
  const std::vector<ProblemSamples> samples = samplesOf(arguments, problems, records);
  SummaryOptions options;
  options.samples = arguments.evaluation.samples;
  options.byConfidence = arguments.voting.byConfidence;
  options.stoppedEarly = arguments.voting.stop.kind != StopRule::Kind::off;
  const Summary s = summarize(samples, options);
  const auto facts = factsOf(s, problems.size(), newTokens, seconds, stats);
  for (const auto &[name, value] : facts)
    std::printf("%-15s %s\n", name.c_str(), value.c_str());
  std::printf("%8s %10s %12s\n", "k", "maj@k", "coverage@k");
  for (const CurvePoint &p : s.overSamples)
    std::printf("%8.0f %8.1f %% %10.1f %%\n", p.x, 100 * p.majority, 100 * p.coverage);
  if (options.stoppedEarly)
    std::printf("(votes stopped early: problems have as many samples as their votes needed)\n");
  else if (s.overSamples.size() && s.overSamples.back().x < options.samples)
    std::printf("(%.1f of %u samples a problem ended: there is no larger k)\n", s.endedPerProblem,
                options.samples);
  M1_TRY(writeFile(arguments.out + "/summary.json", jsonText(s, newTokens, seconds, stats)));
  const std::string name = inputName(arguments.dataset.substr(arguments.dataset.rfind('/') + 1));
  const std::string title = name + formatted(": pass@1 %s, %s, %s", percent(s.passAt1.mean).c_str(),
                                             counted(s.problems, "problem").c_str(),
                                             counted(s.samples, "sample").c_str());
  const std::string curve = drawCurves(s, title);
  M1_TRY(writeFile(arguments.out + "/curve.svg", curve));
  M1_TRY(writeFile(arguments.out + "/report.html",
                   htmlReport(title, facts, curve, problems, samples, options.byConfidence)));
  std::printf("written         %s/{samples.jsonl,summary.json,curve.svg,report.html}\n",
              arguments.out.c_str());
  return {};
}

/// How many samples run at once on each of the devices, and how many problems are open for them.
void planWork(Model &model, size_t devices, size_t problems, Ranks &ranks, Arguments *arguments) {
  EngineSamplerOptions &engine = arguments->engine;
  EvaluationOptions &evaluation = arguments->evaluation;
  engine.planBudgets = engine.slots == 0;
  if (engine.slots == 0)
    engine.slots = fastestBatch(model, arguments->devices.threads);
  evaluation.seed = engine.generation.sampling.seed;
  evaluation.stop = arguments->voting.stop;
  evaluation.weighByConfidence = arguments->voting.byConfidence;
  evaluation.oneAtATime = engine.generation.timeBudget > 0;
  // Enough to refill places as they come free, few enough that a problem starts soon after its
  // clock does.
  const uint32_t places = engine.slots * uint32_t(devices);
  evaluation.maxWaiting = std::max(1u, places / 8);
  // As many problems as fill the places with a few ballots each, and some to follow.
  const uint32_t filling = places / evaluation.ballotsAtOnce;
  evaluation.begunTogether = std::max(1u, filling / 16);
  evaluation.openProblems = filling + evaluation.begunTogether;
  if (evaluation.stop.kind != StopRule::Kind::off && !evaluation.oneAtATime)
    engine.openJobs = engine.slots / evaluation.ballotsAtOnce + evaluation.begunTogether;
  if (ranks.size() > 1) { // none takes more than its share at the beginning
    evaluation.draw = [&ranks] { return ranks.draw(); };
    evaluation.mostOpen = uint32_t((problems + ranks.size() - 1) / ranks.size());
  }
}

Status run(Arguments &arguments) {
  EngineSamplerOptions &engine = arguments.engine;
  Ranks ranks;
  M1_TRY(ranks.join());
  for (const char *name : {"summary.json", "curve.svg", "report.html"}) // known before the work
    M1_TRY(checkOwnFile(arguments.out + "/" + name));
  std::vector<Problem> problems;
  M1_TRY(readDataset(arguments.dataset, arguments.limit, &problems, arguments.fields));
  if (!arguments.fewShot.empty())
    M1_TRY(readDataset(arguments.fewShot, arguments.shots, &engine.examples, arguments.fields));
  ModelOptions modelOptions;
  M1_TRY(applyTrustFlags(arguments.trust, arguments.artifact, &modelOptions));
  std::vector<std::unique_ptr<Model>> models;
  M1_TRY(loadModels(arguments.artifact, arguments.devices, modelOptions, &models));
  Model &model = *models[0];
  applyModelDefaults("m1-eval", model, &engine.generation);

  planWork(model, models.size(), problems.size(), ranks, &arguments);
  RecordFile records;
  if (ranks.rank() > 0)
    ranks.wait(); // rank 0 writes down what samples depend on, or refuses
  M1_TRY(records.open(arguments.out, settingsOf(arguments, model), arguments.detail, ranks.rank()));
  if (ranks.rank() == 0)
    ranks.wait();

  std::unique_ptr<Sampler> sampler;
  M1_TRY(createEngineSampler(pointersTo(models), engine, problems, &sampler));
  catchInterrupts();
  SampleProgress progress(ranks.rank() == 0);
  bool complete = false;
  uint64_t tokens = 0;
  auto began = std::chrono::steady_clock::now();
  Status status = evaluate(
      problems, arguments.evaluation, *sampler, records,
      [&] {
        ranks.progress();
        return takeInterrupt();
      },
      [&](const EvaluationProgress &p) {
        tokens = p.tokens;
        progress.show(p.done, p.all, p.tokens, 0);
      },
      &complete);
  progress.clear();
  M1_TRY(std::move(status));
  tokens = ranks.leave(tokens);
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  Status stopped =
      complete ? Status()
               : error(StatusCode::cancelled, "stopped; the same command goes on from here");
  if (ranks.rank() > 0)
    return stopped;
  M1_TRY(records.readOthers());
  M1_TRY(report(arguments, problems, records, tokens, seconds, sampler->stats()));
  if (std::fflush(stdout) != 0)
    return outputError();
  const std::vector<SampleRecord> &all = records.records();
  if (!all.empty() && std::all_of(all.begin(), all.end(),
                                  [](const SampleRecord &r) { return r.finish == "refused"; }))
    return error(StatusCode::invalidArgument, "every problem was refused");
  return stopped;
}

/// What CLI11's option checks cannot say; empty when there is nothing to say.
std::string check(const CLI::App &app, const Arguments &arguments) {
  auto given = [&](const char *option) { return app.count(option) > 0; };
  if (given("--grade")) {
    for (const CLI::Option *option : app.get_options())
      if (option->count() > 0 && option->get_name() != "--grade")
        return option->get_name() + " is without effect beside --grade, which runs no model";
    return "";
  }
  if (!given("artifact") || !given("--dataset"))
    return "give OUT.m1a and --dataset FILE, or --grade FILE.jsonl";
  for (const char *name : {"samples.jsonl", "summary.json", "curve.svg", "report.html"})
    if (std::string mistake =
            overwrites("--out", arguments.out + "/" + name,
                       {arguments.artifact, arguments.dataset, arguments.fewShot});
        !mistake.empty())
      return mistake;
  if (arguments.dataset == "-" && arguments.fewShot == "-")
    return "--dataset and --few-shot cannot both be read from standard input";
  if (arguments.engine.prompt.raw)
    for (const char *option : {"--system", "--template-arg", "--parse-special"})
      if (given(option))
        return std::string(option) + " is about the chat template: not with --raw";
  if (given("--shots") && !given("--few-shot"))
    return "--shots needs --few-shot";
  if (given("--ballots-at-once") && arguments.voting.stop.kind == StopRule::Kind::off)
    return "--ballots-at-once needs --stop-early";
  if (given("--least-ballots") && arguments.voting.stop.kind != StopRule::Kind::confident)
    return leastBallotsNeedConfident;
  if (arguments.engine.generation.probes() && arguments.voting.byConfidence)
    return probesHaveNoWeight;
  return checkGeneration(app, arguments.engine.generation, "--time-budget-per-problem");
}

void addOptions(CLI::App &app, Arguments *out) {
  Arguments &arguments = *out;
  EngineSamplerOptions &engine = arguments.engine;
  GenerationOptions &generation = engine.generation;
  auto *artifact =
      app.add_option("artifact", arguments.artifact, "The compiled model")->type_name("OUT.m1a");
  auto *dataset = app.add_option("--dataset", arguments.dataset,
                                 "Problems with answers: JSON lines, a JSON array, or CSV with a "
                                 "line of names")
                      ->type_name("FILE");
  auto *grade =
      app.add_option("--grade", arguments.grade,
                     "Only compare answers: lines of {\"given\", \"expected\"} in, {\"equal\"} out")
          ->type_name("FILE.jsonl");
  grade->excludes(dataset)->excludes(artifact);
  app.add_option("--question-field", arguments.fields.question, "Field that holds the problem")
      ->capture_default_str()
      ->type_name("NAME");
  app.add_option("--answer-field", arguments.fields.answer,
                 "Field that holds the answer, or a solution that ends in \"#### answer\"")
      ->capture_default_str()
      ->type_name("NAME");
  app.add_option("--few-shot", arguments.fewShot,
                 "Solved problems, in the same form, that precede each problem")
      ->type_name("FILE");
  app.add_option("--shots", arguments.shots, "Only the first K of them; 0: all")
      ->type_name("K")
      ->check(CLI::Range(0, INT32_MAX));
  app.add_option("--samples", arguments.evaluation.samples, "Samples a problem")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1u << 20));
  app.add_option("--limit", arguments.limit, "Only the first K problems; 0: all")
      ->capture_default_str()
      ->type_name("K")
      ->check(CLI::Range(0, INT32_MAX));
  app.add_option("--out", arguments.out,
                 "Directory of samples.jsonl, summary.json, curve.svg and report.html")
      ->capture_default_str()
      ->type_name("DIR");
  app.add_flag("--record-tokens", arguments.detail.tokens, "Token ids in samples.jsonl, too");
  app.add_option("--logprobs", generation.sampling.topLogprobs,
                 "In samples.jsonl also log probabilities of the tokens and of "
                 "this many alternatives")
      ->check(CLI::Range(0, 64));
  addDeviceFlags(app, &arguments.devices);
  addTrustFlags(app, &arguments.trust);
  app.add_option("--slots", engine.slots,
                 "Samples at once on each device; 0: as many as make it fast, if they fit")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
  app.add_option("--context", engine.context,
                 "Longest prompt with its answer; 0: what the problems need")
      ->capture_default_str()
      ->check(CLI::Range(0, INT32_MAX));
  app.add_option("--prefill-chunk", engine.prefillChunk, "Prompt tokens of one step")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  addPromptOptions(app, &engine.prompt);
  app.add_option("--instruction", engine.instruction, "Text after each problem")
      ->group("Prompt")
      ->type_name("TEXT");
  app.add_option("--max-new-tokens", generation.maxNewTokens, "Tokens of a sample at most")
      ->group("Generation")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1u << 24));
  addGenerationOptions(app, &generation);
  app.add_option("--time-budget-per-problem", generation.timeBudget,
                 "Seconds; running samples are then closed by force. One problem at a time")
      ->group("Many samples")
      ->type_name("S")
      ->check(numberIn(0.0, 1e9));
  addVoteOptions(app, &arguments.voting);
  addProbeOptions(app, &generation);
  app.add_option("--ballots-at-once", arguments.evaluation.ballotsAtOnce,
                 "Samples of a problem that run at once, so that its vote stops in time")
      ->group("Many samples")
      ->capture_default_str()
      ->check(CLI::Range(1, 4096));
}

} // namespace

int main(int argc, char **argv) {
  prepareProcess();
  Arguments arguments;
  GenerationOptions &generation = arguments.engine.generation;
  generation.maxNewTokens = 4096;
  generation.sampling.temperature = 0.7f;
  arguments.voting.stopText = "off";
  CLI::App app{"Measures a compiled model on problems with answers: pass@1, majority votes and "
               "coverage over samples "
               "and time.\n"
               "Samples are recorded as they finish; the same command continues a run that was "
               "stopped or killed.\n"
               "Started by mpirun or srun, its processes share the problems.",
               "m1-eval"};
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.set_version_flag("--version", std::string("m1-eval ") + M1_VERSION);
  app.footer("Files named - are standard input.\n"
             "Example:\n  m1-eval model.m1a --dataset aime2024.jsonl --samples 64 --out aime \\\n"
             "    --instruction 'Please reason step by step, and put your final answer within "
             "\\boxed{}.'");
  addOptions(app, &arguments);
  int exitCode = 0;
  if (!parseCommandLine(app, argc, argv, &exitCode))
    return exitCode;
  std::string mistake = readVoteOptions(&arguments.voting);
  if (mistake.empty())
    mistake = check(app, arguments);
  if (!mistake.empty())
    return usageError("m1-eval", mistake);
  arguments.detail.logprobs = app.count("--logprobs") > 0;
  generation.wantLogprobs = arguments.detail.logprobs || arguments.voting.byConfidence;

  try {
    Status status = arguments.grade.empty() ? run(arguments) : gradeFile(arguments.grade);
    return status.ok() ? 0 : fail("m1-eval", status);
  } catch (const std::bad_alloc &) {
    return fail("m1-eval", error(StatusCode::outOfMemory, "out of memory"));
  }
}
