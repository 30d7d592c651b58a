// Runs a compiled model: text or token ids in; a streamed answer, many samples and their vote, or a
// conversation out.
#include "command_line.h"
#include "devices.h"
#include "interrupt.h"
#include "logits_run.h"
#include "text_run.h"
#include "tool.h"
#include <chrono>

using namespace m1rt;
using namespace m1tool;

namespace {

Status run(Arguments arguments) {
  catchInterrupts();
  auto began = std::chrono::steady_clock::now();
  ModelOptions options;
  options.interrupted = [] { return interruptFlag().load(); };
  M1_TRY(applyTrustFlags(arguments.trust, arguments.artifact, &options));
  std::vector<std::unique_ptr<Model>> models;
  M1_TRY(loadModels(arguments.artifact, arguments.devices, options, &models));
  Model &model = *models[0];
  const double loadSeconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  applyModelDefaults("m1-run", model, &arguments.generation);
  if (arguments.samples > 1 && arguments.generation.sampling.temperature == 0)
    std::fprintf(stderr, "m1-run: warning: at --temperature 0 all %u samples are the same\n",
                 arguments.samples);
  if (arguments.chat)
    return runChat(model, arguments, loadSeconds);
  if (!arguments.dumpLogits.empty())
    return runWithLogits(model, arguments, loadSeconds);
  if (!arguments.promptsFile.empty())
    return runPrompts(pointersTo(models), arguments, loadSeconds);
  return runPrompt(pointersTo(models), arguments, loadSeconds);
}

/// What CLI11's option checks cannot say: which options contradict each other, or would be without
/// effect. Empty when there is nothing to say.
std::string check(const CLI::App &app, const Arguments &arguments) {
  auto given = [&](const char *option) { return app.count(option) > 0; };
  auto firstGiven = [&](std::initializer_list<const char *> options) -> std::string {
    for (const char *option : options)
      if (given(option))
        return option;
    return "";
  };
  if (given("--prompt") + given("--prompt-file") + given("--input-ids") + given("--prompts") +
          arguments.chat !=
      1)
    return "give one of --prompt TEXT, --prompt-file FILE, --input-ids FILE, --prompts FILE and "
           "--chat";
  if (given("--system") && (arguments.prompt.raw || given("--input-ids")))
    return "--system goes through the chat template: not with --raw or --input-ids";
  if (arguments.prompt.raw && (arguments.chat || given("--input-ids")))
    return "--raw is for --prompt, --prompt-file and --prompts";
  if (std::string other = firstGiven({"--template-arg", "--parse-special"});
      !other.empty() && (arguments.prompt.raw || given("--input-ids")))
    return other + " is about the chat template: not with --raw or --input-ids";
  if (given("--prefill") && given("--input-ids"))
    return "--prefill is text: not with --input-ids";
  if (arguments.chat)
    if (std::string other =
            firstGiven({"--samples", "--vote", "--json", "--json-stream", "--slots", "--logprobs",
                        "--trace", "--dump-logits", "--first-sample"});
        !other.empty())
      return "--chat answers once, as text: not with " + other;
  if (given("--prompts"))
    if (std::string other = firstGiven({"--json-stream", "--time-budget", "--trace"});
        !other.empty())
      return other + " is for one prompt: not with --prompts";
  if (const std::string &device = arguments.devices.device; !isDevice(device).empty())
    if (std::string other = firstGiven({"--chat", "--trace", "--dump-logits"}); !other.empty())
      return other + " is for one device: not with --device " + device;
  if (given("--trace") && arguments.checkNumerics)
    return "--check-numerics waits after every launch: not with --trace";
  if (given("--dump-logits")) {
    if (!given("--input-ids"))
      return "--dump-logits needs --input-ids";
    const SamplingParameters &sampling = arguments.generation.sampling;
    if (sampling.temperature != 0 || arguments.samples != 1 || sampling.repetitionPenalty != 1)
      return "--dump-logits is for one greedy sample: --temperature 0, --samples 1, no "
             "--repetition-penalty";
    if (std::string other = firstGiven(
            {"--vote", "--json", "--json-stream", "--stop", "--stop-token", "--time-budget",
             "--max-think-tokens", "--trace", "--slots", "--logprobs", "--presence-penalty",
             "--frequency-penalty", "--logit-bias", "--first-sample", "--model-defaults"});
        !other.empty())
      return "--dump-logits is for one greedy sample of token ids: not with " + other;
  }
  for (const auto &[flag, path] :
       {std::pair("--dump-logits", &arguments.dumpLogits), std::pair("--trace", &arguments.trace)})
    if (std::string mistake =
            overwrites(flag, *path,
                       {arguments.artifact, arguments.promptFile, arguments.inputIds,
                        arguments.promptsFile, arguments.devices.tuning});
        !mistake.empty())
      return mistake;
  if (arguments.json && arguments.jsonStream)
    return "--json-stream prints as it goes, --json at the end: give one of them";
  if (arguments.generation.wantLogprobs && !arguments.json && !arguments.jsonStream &&
      arguments.promptsFile.empty())
    return "--logprobs needs --json, --json-stream or --prompts";
  if (!arguments.vote)
    if (std::string other = firstGiven({"--stop-early", "--least-ballots", "--vote-weight",
                                        "--probe-every", "--probe-on-end"});
        !other.empty())
      return other + " needs --vote";
  if (given("--least-ballots") && arguments.voting.stop.kind != StopRule::Kind::confident)
    return leastBallotsNeedConfident;
  if (arguments.generation.probes() && arguments.voting.byConfidence)
    return probesHaveNoWeight;
  return checkGeneration(app, arguments.generation, "--time-budget");
}

void addOptions(CLI::App &app, Arguments *out) {
  Arguments &arguments = *out;
  app.add_option("artifact", arguments.artifact, "The compiled model")
      ->required()
      ->type_name("OUT.m1a");
  addDeviceFlags(app, &arguments.devices);
  addTrustFlags(app, &arguments.trust);

  app.add_option("--prompt", arguments.promptText, "The user's message")
      ->group("Prompt")
      ->type_name("TEXT");
  app.add_option("--prompt-file", arguments.promptFile, "File with the user's message")
      ->group("Prompt")
      ->type_name("FILE");
  app.add_option("--input-ids", arguments.inputIds, "File of token ids separated by blanks")
      ->group("Prompt")
      ->type_name("FILE");
  app.add_option(
         "--prompts", arguments.promptsFile,
         "Many prompts: lines of {\"prompt\"} or {\"messages\"}, and \"id\"; one JSON object "
         "a line as samples end")
      ->group("Prompt")
      ->type_name("FILE.jsonl");
  app.add_flag("--chat", arguments.chat,
               "Converse: turns are read from standard input; Ctrl-C stops an answer")
      ->group("Prompt");
  addPromptOptions(app, &arguments.prompt);

  GenerationOptions &generation = arguments.generation;
  app.add_option("--max-new-tokens", generation.maxNewTokens,
                 "Tokens of a sample at most; when not given, no more than the context leaves")
      ->group("Generation")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 24));
  addGenerationOptions(app, &generation);
  app.add_option("--logprobs", generation.sampling.topLogprobs,
                 "With JSON: log probabilities of the tokens and of this many "
                 "alternatives")
      ->group("Generation")
      ->check(CLI::Range(0, 64));
  app.add_option("--first-sample", arguments.firstSample,
                 "Number of the first sample in the seed's samples: draws one of them again")
      ->group("Generation")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 30));
  app.add_option("--prefill-chunk", arguments.prefillChunk, "Prompt tokens of one step")
      ->group("Generation")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));

  app.add_option("--samples", arguments.samples, "Samples of the prompt")
      ->group("Many samples")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--slots", arguments.slots,
                 "Sequences at once at most on each device; 0: as many as keep it busy and fit")
      ->group("Many samples")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 16));
  app.add_flag("--vote", arguments.vote, "The answer in \\boxed{} that most samples agree on")
      ->group("Many samples");
  addVoteOptions(app, &arguments.voting);
  addProbeOptions(app, &generation);
  app.add_option("--time-budget", generation.timeBudget, "Seconds for all samples; 0: no limit")
      ->group("Many samples")
      ->capture_default_str()
      ->check(numberIn(0.0, 1e9));

  app.add_option("--dump-logits", arguments.dumpLogits,
                 "Write prefill_logits, output_ids and decode_logits")
      ->group("Output")
      ->type_name("FILE.safetensors");
  app.add_flag("--json", arguments.json, "Print one JSON object")->group("Output");
  app.add_flag("--json-stream", arguments.jsonStream,
               "Print JSON objects, one a line, as tokens arrive")
      ->group("Output");
  app.add_flag("--stats", arguments.stats, "Print times, rates and memory to standard error")
      ->group("Output");
  app.add_option("--trace", arguments.trace, "Write a Chrome/Perfetto trace of steps and launches")
      ->group("Output")
      ->type_name("FILE.json");
  app.add_flag("--check-numerics", arguments.checkNumerics,
               "Look at all that is computed, and fail at the first that is no number, naming the "
               "layer; slow")
      ->group("Output");
}

} // namespace

int main(int argc, char **argv) {
  prepareProcess();
  Arguments arguments;
  CLI::App app{"Runs a compiled model (.m1a) and prints what it generates.", "m1-run"};
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.set_version_flag("--version", std::string("m1-run ") + M1_VERSION);
  app.footer(
      "Files named - are standard input.\n"
      "Example: 32 samples at once, the answer most of them agree on, in ten seconds\n"
      "  m1-run model.m1a --prompt \"What is 17 * 23?\" --samples 32 --vote --temperature 0.7 "
      "--time-budget 10");
  addOptions(app, &arguments);
  int exitCode = 0;
  if (!parseCommandLine(app, argc, argv, &exitCode))
    return exitCode;
  GenerationOptions &generation = arguments.generation;
  arguments.maxNewTokensGiven = app.count("--max-new-tokens") > 0;
  if (!arguments.maxNewTokensGiven)
    generation.maxNewTokens =
        arguments.chat ? 1 << 24 : std::max(generation.maxNewTokens, generation.maxThinkTokens + 1);
  std::string mistake = readVoteOptions(&arguments.voting);
  generation.wantLogprobs = app.count("--logprobs") > 0;
  if (mistake.empty())
    mistake = check(app, arguments);
  if (!mistake.empty())
    return usageError("m1-run", mistake);
  generation.wantLogprobs |= arguments.vote && arguments.voting.byConfidence;

  try {
    Status status = run(arguments);
    return status.ok() ? 0 : fail("m1-run", status);
  } catch (const std::bad_alloc &) {
    return fail("m1-run", error(StatusCode::outOfMemory, "out of memory"));
  }
}
