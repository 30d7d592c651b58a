// Measures whole steps and each kernel of a compiled model, and compares them with the time that
// moving their bytes would take.
#include "bandwidth.h"
#include "command_line.h"
#include "measure.h"
#include "serve_load.h"
#include "tool.h"
#include "trust.h"
#include "weight_types.h"
#include <nlohmann/json.hpp>

using namespace m1rt;
using namespace m1tool;
using namespace m1bench;
using nlohmann::json;

namespace {

struct Arguments {
  std::string artifact, device = "cpu", jsonPath, tune, tuning;
  std::vector<uint32_t> batches, contexts;
  std::vector<std::string> prefills, mixed;
  uint32_t repeat = 9, threads = 0, shared = 0;
  bool kernels = false;
  TrustFlags trust;
};

/// What is wrong with the pair, or empty.
std::string parsePair(const char *flag, const std::string &text, uint32_t *sequences,
                      uint32_t *tokens) {
  char tail = 0;
  if (std::sscanf(text.c_str(), "%ux%u%c", sequences, tokens, &tail) != 2 || *sequences == 0 ||
      *tokens == 0 || *sequences > (1u << 20) || *tokens > (1u << 24))
    return std::string(flag) + " " + text + ": expected SEQUENCESxTOKENS, as in 8x4096";
  return "";
}

struct Mixed {
  uint32_t sequences = 0, chunk = 0;
};

/// What is wrong with the lists, or empty.
std::string readCases(const Arguments &arguments, std::vector<Case> *out,
                      std::vector<Mixed> *outMixed) {
  for (uint32_t batch : arguments.batches)
    for (uint32_t context : arguments.contexts)
      out->push_back({true, batch, context, arguments.shared});
  for (const std::string &text : arguments.prefills) {
    Case what;
    what.decode = false;
    if (std::string mistake = parsePair("--prefill", text, &what.sequences, &what.context);
        !mistake.empty())
      return mistake;
    out->push_back(what);
  }
  for (const std::string &text : arguments.mixed) {
    Mixed mixed;
    if (std::string mistake = parsePair("--mixed", text, &mixed.sequences, &mixed.chunk);
        !mistake.empty())
      return mistake;
    if (arguments.contexts.empty())
      return "--mixed: needs --context";
    outMixed->push_back(mixed);
  }
  const bool some = !out->empty() || !outMixed->empty();
  if (!some && arguments.tune.empty())
    return "nothing to measure: give --batch and --context, --prefill, --mixed or --tune";
  // What would be without effect.
  if (!arguments.batches.empty() && arguments.contexts.empty())
    return "--batch: needs --context";
  if (!arguments.contexts.empty() && arguments.batches.empty() && arguments.mixed.empty())
    return "--context: needs --batch or --mixed";
  if (arguments.shared && arguments.batches.empty())
    return "--shared: needs --batch";
  if (arguments.kernels && out->empty())
    return "--kernels: needs --batch or --prefill";
  if (!arguments.jsonPath.empty() && !some)
    return "--json: needs --batch, --prefill or --mixed";
  if (!arguments.jsonPath.empty() && arguments.jsonPath == arguments.tune)
    return "--json and --tune: expected different files, got " + arguments.tune;
  for (const auto &[flag, path] :
       {std::pair("--json", &arguments.jsonPath), std::pair("--tune", &arguments.tune)})
    if (std::string mistake = overwrites(flag, *path, {arguments.artifact, arguments.tuning});
        !mistake.empty())
      return mistake;
  return "";
}

std::string label(const Case &what) {
  if (what.shared)
    return formatted("decode  batch %-4u context %-6u shared %-6u", what.sequences, what.context,
                     what.shared);
  return what.decode ? formatted("decode  batch %-4u context %-6u", what.sequences, what.context)
                     : formatted("prefill %u x %-17u", what.sequences, what.context);
}

json costJson(const Cost &cost) {
  return {{"weight_bytes", cost.weightBytes},
          {"state_bytes", cost.stateBytes},
          {"kv_bytes", cost.kvBytes},
          {"activation_bytes", cost.activationBytes},
          {"flops", cost.flops}};
}

/// `speed`: of memory, for the step's weights, states and caches. What goes from one kernel to the
/// next was just written: its floor is at the speed of a working set of its size.
Status printKernels(const std::map<std::string, KernelTimes> &kernels, double speed,
                    Bandwidth &bandwidth, json &out) {
  std::vector<std::pair<std::string, KernelTimes>> sorted(kernels.begin(), kernels.end());
  std::sort(sorted.begin(), sorted.end(),
            [](auto &a, auto &b) { return a.second.time.median > b.second.time.median; });
  double total = 0;
  for (auto &entry : sorted)
    total += entry.second.time.median;
  std::printf("  %-46s %8s %10s %21s %10s %6s %10s %10s %7s %9s\n", "kernel", "launches",
              "total ms", "(low .. high)", "each us", "share", "MB", "floor us", "floor/t",
              "TFLOP/s");
  for (auto &[name, kernel] : sorted) {
    const Times &time = kernel.time;
    double activationSpeed = 0;
    M1_TRY(bandwidth.measure(kernel.cost.activationBytes / kernel.launches, &activationSpeed));
    double bytes = kernel.cost.bytes() + kernel.cost.activationBytes;
    double floor = kernel.cost.bytes() / speed + kernel.cost.activationBytes / activationSpeed;
    std::printf("  %-46s %8u %10.3f (%8.3f .. %8.3f) %10.2f %5.1f%% %10.2f %10.2f %6.0f%% %9.1f\n",
                name.c_str(), kernel.launches, time.median * 1e3, time.lowest * 1e3,
                time.highest * 1e3, time.median / kernel.launches * 1e6, 100 * time.median / total,
                bytes / kernel.launches * 1e-6, floor / kernel.launches * 1e6,
                100 * floor / time.median, kernel.cost.flops / time.median * 1e-12);
    json entry = costJson(kernel.cost);
    entry["kernel"] = name;
    entry["launches"] = kernel.launches;
    entry["median_seconds"] = time.median;
    entry["lowest_seconds"] = time.lowest;
    entry["highest_seconds"] = time.highest;
    entry["bytes"] = bytes;
    entry["floor_seconds"] = floor;
    out.push_back(entry);
  }
  return {};
}

Status measureCase(Model &model, const Case &what, const Arguments &arguments, Bandwidth &bandwidth,
                   json &results) {
  std::unique_ptr<Workload> load;
  M1_TRY(Workload::create(model, what, &load));
  StepTimes times;
  uint32_t checksum = 0;
  M1_TRY(load->run());
  M1_TRY(load->finish());
  M1_TRY(load->checksum(&checksum));
  M1_TRY(measureSteps(*load, arguments.repeat, &times));
  Cost cost = load->stepCost();
  double speed = 0;
  M1_TRY(bandwidth.measure(cost.bytes(), &speed));
  double floor = cost.bytes() / speed;
  double rate = what.tokens() / times.step.median;
  std::printf("%s %9.3f ms  (%.3f .. %.3f, %u samples)  %10.1f tokens/s  %8.3f GB  floor %8.3f ms  "
              "floor/measured %5.1f%%  %7.1f TFLOP/s  checksum %08x\n",
              label(what).c_str(), times.step.median * 1e3, times.step.lowest * 1e3,
              times.step.highest * 1e3, times.step.samples, rate, cost.bytes() * 1e-9, floor * 1e3,
              100 * floor / times.step.median, cost.flops / times.step.median * 1e-12, checksum);
  json entry = costJson(cost);
  entry["kind"] = what.decode ? "decode" : "prefill";
  entry["sequences"] = what.sequences;
  entry["context"] = what.context;
  entry["shared"] = what.shared;
  entry["checksum"] = checksum;
  entry["median_seconds"] = times.step.median;
  entry["lowest_seconds"] = times.step.lowest;
  entry["highest_seconds"] = times.step.highest;
  entry["first_step_seconds"] = times.firstStep;
  entry["samples"] = times.step.samples;
  entry["tokens_per_second"] = rate;
  entry["bytes"] = cost.bytes();
  entry["floor_seconds"] = floor;
  entry["memory_bytes_per_second"] = speed;
  if (arguments.kernels) {
    std::map<std::string, KernelTimes> kernels;
    M1_TRY(measureKernels(*load, arguments.repeat, &kernels));
    entry["kernels"] = json::array();
    M1_TRY(printKernels(kernels, speed, bandwidth, entry["kernels"]));
  }
  results.push_back(entry);
  std::fflush(stdout);
  return {};
}

/// Rows that decode steps are padded to; above 256 only products of f8e4m3 are measured, for which
/// the heuristics propose one algorithm alone. Up to 256 weights are streamed; larger products are
/// bound by the GPU's power, and what is fastest when repeated alone is not so among other kernels
/// (M1-3B at 512 rows on an H100: 17.69 ms a step with tuned products, 17.58 without).
Status tune(Model &model, const std::string &path) {
  OutputFile file;
  M1_TRY(file.open(path));
  std::vector<uint32_t> rows;
  for (uint32_t count = 16; count <= 512; count += count < 64 ? 8 : 16)
    rows.push_back(count);
  std::string table;
  M1_TRY(model.program().tune(
      rows, [](const std::string &line) { std::printf("%s\n", line.c_str()); }, &table));
  M1_TRY(file.write(table.data(), table.size()));
  return file.commit();
}

Status run(const Arguments &arguments, const std::vector<Case> &cases,
           const std::vector<Mixed> &mixed) {
  ModelOptions options;
  options.device = arguments.device;
  options.deviceOptions.threads = arguments.threads;
  options.deviceOptions.tuning = arguments.tuning;
  M1_TRY(applyTrustFlags(arguments.trust, arguments.artifact, &options));
  std::unique_ptr<Model> model;
  M1_TRY(Model::load(arguments.artifact, options, &model));
  OutputFile file; // what cannot be written is to be known before anything is measured
  if (!arguments.jsonPath.empty())
    M1_TRY(file.open(arguments.jsonPath));
  if (!arguments.tune.empty())
    M1_TRY(tune(*model, arguments.tune));
  if (cases.empty() && mixed.empty())
    return {};
  Bandwidth bandwidth(model->device(), arguments.threads);
  double copySpeed = 0;
  M1_TRY(bandwidth.measure(Bandwidth::large, &copySpeed));
  const auto types = weightTypes(model->artifact());
  std::printf("%s: %s, %s of weights (%s); memory speed %.1f GB/s (%s)\n",
              arguments.artifact.c_str(), model->device().info().name.c_str(),
              bytesText(model->weightBytes()).c_str(), weightTypesText(types).c_str(),
              copySpeed * 1e-9,
              model->device().readsHostMemory() ? "threads reading a mapped file"
                                                : "device copy, bytes read and written");
  const double tokenBytes = double(model->pageBytes()) / model->module().page_size();
  if (tokenBytes > 0)
    std::printf("keys and values: %s, %.0f bytes a token\n", elementName(model->module().kv_type()),
                tokenBytes);
  if (const std::string tuning = model->program().tuning(); !tuning.empty())
    std::printf("products: %s\n", tuning.c_str());
  json report = {{"artifact", arguments.artifact},
                 {"device", model->device().info().name},
                 {"copy_bytes_per_second", copySpeed},
                 {"weight_bytes", model->weightBytes()},
                 {"weight_types", types},
                 {"kv_type", elementName(model->module().kv_type())},
                 {"kv_bytes_per_token", tokenBytes},
                 {"cases", json::array()}};
  for (const Case &what : cases) {
    Status status = measureCase(*model, what, arguments, bandwidth, report["cases"]);
    // Memory that does not suffice for one case says nothing about the others.
    if (status.code() != StatusCode::outOfMemory)
      M1_TRY(std::move(status));
    else
      std::printf("%s skipped: %s\n", label(what).c_str(), status.message().c_str());
  }
  for (const auto [sequences, chunk] : mixed)
    for (uint32_t context : arguments.contexts) {
      MixedTimes times;
      M1_TRY(measureMixed(*model, sequences, context, chunk, arguments.repeat, &times));
      std::printf("mixed   %u decoding at context %u: %.3f ms (%.3f .. %.3f), with %u tokens of a "
                  "prompt %.3f ms (%.3f .. %.3f)\n",
                  sequences, context, times.plain.median * 1e3, times.plain.lowest * 1e3,
                  times.plain.highest * 1e3, chunk, times.mixed.median * 1e3,
                  times.mixed.lowest * 1e3, times.mixed.highest * 1e3);
      report["cases"].push_back({{"kind", "mixed"},
                                 {"sequences", sequences},
                                 {"context", context},
                                 {"chunk", chunk},
                                 {"plain_median_seconds", times.plain.median},
                                 {"median_seconds", times.mixed.median},
                                 {"highest_seconds", times.mixed.highest}});
    }
  if (arguments.jsonPath.empty())
    return {};
  std::string text = report.dump(1) + "\n";
  M1_TRY(file.write(text.data(), text.size()));
  return file.commit();
}

} // namespace

/// What --serve goes with.
static void addLoadOptions(CLI::App &app, LoadOptions *load) {
  auto group = [](CLI::Option *option) { return option->group("Load on a server"); };
  auto *serve = group(app.add_option("--serve", load->url,
                                     "Drive a server with OpenAI's interface by streaming clients"))
                    ->type_name("URL");
  auto with = [&](CLI::Option *option) {
    return group(option)->needs(serve)->capture_default_str();
  };
  with(app.add_option("--requests", load->requests, "How many"))->check(CLI::Range(1, 1 << 24));
  with(app.add_option("--concurrency", load->concurrency,
                      "Requests at once at most; 0: with --rate no bound, otherwise 1"))
      ->check(CLI::Range(0, 1 << 16));
  with(app.add_option("--rate", load->rate, "Requests a second; 0: as soon as one has ended"))
      ->check(numberIn(0.0, 1e6));
  with(app.add_flag("--even", load->evenly,
                    "Arrivals evenly spaced instead of at random (Poisson)"));
  with(app.add_option("--dataset", load->dataset,
                      "Questions: lines of {\"problem\"} or {\"prompt\"}; by default one"))
      ->type_name("FILE.jsonl");
  with(app.add_option("--max-tokens", load->maxTokens, "Of each answer"))
      ->check(CLI::Range(1, 1 << 24));
  with(app.add_option("--temperature", load->temperature, "Of each request"))
      ->check(numberIn(0.0, 100.0));
  with(app.add_option("--seed", load->seed, "Of the arrivals; request i asks for seed + i"))
      ->check(isSeed);
  with(app.add_flag("--ignore-eos", load->ignoreEos, "Answers of the full length"));
  with(app.add_option("--model", load->model, "The model that requests name"));
  with(app.add_option("--api-key-file", load->apiKeyFile, "The key is its first line"))
      ->type_name("FILE");
  with(app.add_option("--client-threads", load->threads,
                      "Threads that read streams; 0: one for every four cores, at most 8"))
      ->check(CLI::Range(0, 256));
  with(app.add_option("--timeout", load->timeout, "Seconds of one request"))
      ->check(numberIn(1.0, 1e6));
}

int main(int argc, char **argv) {
  prepareProcess();
  Arguments arguments;
  CLI::App app{
      "Measures decode steps and prefills of a compiled model, whole and by kernel, against the "
      "time that moving their bytes takes.",
      "m1-bench"};
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.set_version_flag("--version", std::string("m1-bench ") + M1_VERSION);
  app.footer(
      "Example:\n  m1-bench model.m1a --device cuda --batch 1,64,512 --context 256,2304 --prefill "
      "8x4096 --kernels");
  auto all = CLI::MultiOptionPolicy::TakeAll;
  app.add_option("artifact", arguments.artifact, "The compiled model")->type_name("OUT.m1a");
  app.add_option("--device", arguments.device, "cpu, cuda or cuda:N")
      ->capture_default_str()
      ->check(isDevice);
  addTrustFlags(app, &arguments.trust);
  app.add_option("--batch", arguments.batches, "Sequences of a decode step")
      ->delimiter(',')
      ->multi_option_policy(all)
      ->check(CLI::Range(1, 65535));
  app.add_option("--context", arguments.contexts, "Tokens of each sequence after the step")
      ->delimiter(',')
      ->multi_option_policy(all)
      ->check(CLI::Range(1, 1 << 30));
  app.add_option("--prefill", arguments.prefills, "Prefills, each SEQUENCESxTOKENS")
      ->delimiter(',')
      ->multi_option_policy(all)
      ->type_name("LIST");
  app.add_option("--shared", arguments.shared,
                 "Tokens of one prompt that all sequences of a decode step begin with")
      ->check(CLI::Range(0, 1 << 30));
  app.add_option("--mixed", arguments.mixed,
                 "Decode steps without and with a prompt's chunk, each SEQUENCESxTOKENS")
      ->delimiter(',')
      ->multi_option_policy(all)
      ->type_name("LIST");
  app.add_option("--tune", arguments.tune,
                 "Measure which algorithms compute the model's products fastest on this GPU, and "
                 "write the table")
      ->type_name("FILE");
  app.add_option("--tuning", arguments.tuning, "Use the table that --tune wrote")
      ->type_name("FILE");
  app.add_flag("--kernels", arguments.kernels, "Also the time of each kernel");
  app.add_option("--repeat", arguments.repeat, "Samples of each measurement")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  app.add_option("--threads", arguments.threads, "CPU threads; 0: one a physical core")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
  app.add_option("--json", arguments.jsonPath, "Write the figures")->type_name("FILE");
  LoadOptions load;
  addLoadOptions(app, &load);
  int exitCode = 0;
  if (!parseCommandLine(app, argc, argv, &exitCode))
    return exitCode;
  if (load.url.empty() == arguments.artifact.empty())
    return usageError("m1-bench", "expected one of OUT.m1a and --serve URL");
  if (!load.url.empty())
    for (const char *flag : {"--device", "--batch", "--context", "--prefill", "--shared", "--mixed",
                             "--tune", "--tuning", "--kernels", "--repeat", "--threads",
                             "--allow-external", "--require-digest", "--trust"})
      if (app.count(flag) > 0)
        return usageError("m1-bench", std::string(flag) + ": is of a model that is measured here: "
                                                          "not with --serve");
  if (std::string mistake =
          overwrites("--json", arguments.jsonPath, {load.dataset, load.apiKeyFile});
      !mistake.empty())
    return usageError("m1-bench", mistake);
  std::vector<Case> cases;
  std::vector<Mixed> mixed;
  if (load.url.empty())
    if (std::string mistake = readCases(arguments, &cases, &mixed); !mistake.empty())
      return usageError("m1-bench", mistake);
  try {
    load.jsonPath = arguments.jsonPath;
    Status status = load.url.empty() ? run(arguments, cases, mixed) : runServeLoad(load);
    return status.ok() ? 0 : fail("m1-bench", status);
  } catch (const std::bad_alloc &) {
    return fail("m1-bench", error(StatusCode::outOfMemory, "out of memory"));
  }
}
