// Runs a compiled model: text or token ids in; a streamed answer, many samples and their vote, or a
// conversation out.
#include "arguments.h"
#include "interrupt.h"
#include "logits_run.h"
#include "seed.h"
#include "text_run.h"
#include "tool.h"
#include <CLI/CLI.hpp>
#include <chrono>

using namespace m1rt;
using namespace m1tool;

namespace {

Status run(const Arguments &arguments) {
  auto began = std::chrono::steady_clock::now();
  ModelOptions options;
  options.device = arguments.device;
  options.deviceOptions.threads = arguments.threads;
  options.interrupted = [] { return interruptFlag().load(); };
  M1_TRY(applyTrustFlags(arguments.trust, arguments.artifact, &options));
  std::unique_ptr<Model> model;
  M1_TRY(Model::load(arguments.artifact, options, &model));
  const double loadSeconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  if (arguments.chat)
    return runChat(*model, arguments, loadSeconds);
  if (!arguments.dumpLogits.empty())
    return runWithLogits(*model, arguments, loadSeconds);
  return runPrompt(*model, arguments, loadSeconds);
}

/// What CLI11's option checks cannot say: which options contradict each other, or would be without
/// effect.
Status check(const CLI::App &app, const Arguments &arguments) {
  auto bad = [](const std::string &message) {
    return Status(StatusCode::invalidArgument, message);
  };
  auto given = [&](const char *option) { return app.count(option) > 0; };
  auto firstGiven = [&](std::initializer_list<const char *> options) -> std::string {
    for (const char *option : options)
      if (given(option))
        return option;
    return "";
  };
  if (given("--prompt") + given("--prompt-file") + given("--input-ids") + arguments.chat != 1)
    return bad("give one of --prompt TEXT, --prompt-file FILE, --input-ids FILE and --chat");
  if (given("--system") && (arguments.raw || given("--input-ids")))
    return bad("--system goes through the chat template: not with --raw or --input-ids");
  if (arguments.raw && (arguments.chat || given("--input-ids")))
    return bad("--raw is for --prompt and --prompt-file");
  if (arguments.chat)
    if (std::string other = firstGiven(
            {"--samples", "--vote", "--json", "--slots", "--logprobs", "--trace", "--dump-logits"});
        !other.empty())
      return bad("--chat answers once, as text: not with " + other);
  if (given("--dump-logits")) {
    if (!given("--input-ids"))
      return bad("--dump-logits needs --input-ids");
    if (arguments.temperature != 0 || arguments.samples != 1 || arguments.repetitionPenalty != 1)
      return bad("--dump-logits is for one greedy sample: --temperature 0, --samples 1, no "
                 "--repetition-penalty");
    if (std::string other =
            firstGiven({"--vote", "--json", "--stop", "--stop-token", "--time-budget",
                        "--max-think-tokens", "--trace", "--slots", "--logprobs"});
        !other.empty())
      return bad("--dump-logits is for one greedy sample of token ids: not with " + other);
  }
  if (arguments.wantLogprobs && !arguments.json)
    return bad("--logprobs needs --json");
  if (arguments.dropAtDeadline && arguments.timeBudget == 0)
    return bad("--drop-at-deadline needs --time-budget");
  const bool closes =
      arguments.maxThinkTokens > 0 || (arguments.timeBudget > 0 && !arguments.dropAtDeadline);
  if (std::string other = firstGiven({"--close-text", "--close-max-tokens"});
      !closes && !other.empty())
    return bad(
        other +
        " is for samples that are closed by force: by --max-think-tokens, or by --time-budget "
        "without --drop-at-deadline");
  if (closes && arguments.closeText.empty())
    return bad("--close-text: an empty text closes nothing");
  if (arguments.maxThinkTokens >= arguments.maxNewTokens)
    return bad("--max-think-tokens " + std::to_string(arguments.maxThinkTokens) +
               " is never reached: samples end after --max-new-tokens " +
               std::to_string(arguments.maxNewTokens));
  if (arguments.samples > 1 && arguments.temperature == 0)
    std::fprintf(stderr, "m1-run: warning: at --temperature 0 all %u samples are the same\n",
                 arguments.samples);
  return {};
}

} // namespace

int main(int argc, char **argv) {
  reserveStandardStreams();
  Arguments arguments;
  CLI::App app{"Runs a compiled model (.m1a) and prints what it generates.", "m1-run"};
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.set_version_flag("--version", std::string("m1-run ") + M1_VERSION);
  app.footer(
      "Example: 32 samples at once, the answer most of them agree on, in ten seconds\n"
      "  m1-run model.m1a --prompt \"What is 17 * 23?\" --samples 32 --vote --temperature 0.7 "
      "--time-budget 10");
  app.add_option("artifact", arguments.artifact, "The compiled model")
      ->required()
      ->type_name("OUT.m1a");
  app.add_option("--device", arguments.device, "cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--threads", arguments.threads, "CPU threads; 0: one a physical core")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));

  addTrustFlags(app, &arguments.trust);

  app.add_option("--prompt", arguments.prompt, "The user's message")
      ->group("Prompt")
      ->type_name("TEXT");
  app.add_option("--prompt-file", arguments.promptFile, "File with the user's message")
      ->group("Prompt")
      ->type_name("FILE");
  app.add_option("--input-ids", arguments.inputIds, "File of token ids separated by blanks")
      ->group("Prompt")
      ->type_name("FILE");
  app.add_option("--system", arguments.system, "System message")
      ->group("Prompt")
      ->type_name("TEXT");
  app.add_flag("--raw", arguments.raw, "The prompt as it is, without the chat template")
      ->group("Prompt");
  app.add_flag("--chat", arguments.chat,
               "Converse: turns are read from standard input; Ctrl-C stops an answer")
      ->group("Prompt");

  auto *maxNewTokens =
      app.add_option("--max-new-tokens", arguments.maxNewTokens,
                     "Tokens of a sample at most; when not given, no more than the context leaves")
          ->group("Generation")
          ->capture_default_str()
          ->check(CLI::Range(1, 1 << 24));
  app.add_option("--temperature", arguments.temperature, "0: always the likeliest token")
      ->group("Generation")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 100.0));
  app.add_option("--top-k", arguments.topK, "Sample from the k likeliest tokens; 0: all")
      ->group("Generation")
      ->capture_default_str();
  app.add_option("--top-p", arguments.topP,
                 "Sample from the likeliest tokens that hold this much probability")
      ->group("Generation")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--min-p", arguments.minP,
                 "Drop tokens less likely than this share of the likeliest")
      ->group("Generation")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--repetition-penalty", arguments.repetitionPenalty,
                 "Of tokens already seen; 1: none")
      ->group("Generation")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 100.0));
  app.add_option("--seed", arguments.seed, "Same seed, same samples")
      ->group("Generation")
      ->capture_default_str()
      ->check(isSeed);
  app.add_option("--first-sample", arguments.firstSample,
                 "Number of the first sample in the seed's samples: draws one of them again")
      ->group("Generation")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 30));
  app.add_option("--stop", arguments.stop,
                 "End a sample before this text; may be given several times")
      ->group("Generation")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->type_name("TEXT")
      ->expected(1)
      ->allow_extra_args(false); // which would take [a,b] for two texts
  app.add_option("--stop-token", arguments.stopTokens,
                 "End a sample with this token id, too; may be given several times")
      ->group("Generation")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->type_name("ID")
      ->expected(1);
  app.add_flag("--ignore-eos", arguments.ignoreEos, "Go on after an end-of-sequence token")
      ->group("Generation");
  auto *logprobs =
      app.add_option("--logprobs", arguments.logprobs,
                     "With --json: log probabilities of the tokens and of this many alternatives")
          ->group("Generation")
          ->check(CLI::Range(0, 64));
  app.add_option("--prefill-chunk", arguments.prefillChunk, "Prompt tokens of one step")
      ->group("Generation")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));

  app.add_option("--samples", arguments.samples, "Samples of the prompt")
      ->group("Many samples")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--slots", arguments.slots,
                 "Sequences at once at most; 0: as many as keep the device busy and fit")
      ->group("Many samples")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 16));
  app.add_flag("--vote", arguments.vote, "The answer in \\boxed{} that most samples agree on")
      ->group("Many samples");
  app.add_option("--time-budget", arguments.timeBudget, "Seconds for all samples; 0: no limit")
      ->group("Many samples")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e9));
  app.add_option("--max-think-tokens", arguments.maxThinkTokens,
                 "Close a sample by force after this many tokens; 0: never")
      ->group("Many samples")
      ->capture_default_str();
  app.add_option("--close-text", arguments.closeText,
                 "What a sample that is closed by force is made to say")
      ->group("Many samples")
      ->capture_default_str()
      ->type_name("TEXT");
  app.add_option("--close-max-tokens", arguments.closeMaxTokens,
                 "Tokens that a sample may add to that at most")
      ->group("Many samples")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 16));
  app.add_flag("--drop-at-deadline", arguments.dropAtDeadline,
               "Drop running samples at the end of the budget instead of closing them")
      ->group("Many samples");

  app.add_option("--dump-logits", arguments.dumpLogits,
                 "Write prefill_logits, output_ids and decode_logits")
      ->group("Output")
      ->type_name("FILE.safetensors");
  app.add_flag("--json", arguments.json, "Print one JSON object")->group("Output");
  app.add_flag("--stats", arguments.stats, "Print times, rates and memory to standard error")
      ->group("Output");
  app.add_option("--trace", arguments.trace, "Write a Chrome/Perfetto trace of steps and launches")
      ->group("Output")
      ->type_name("FILE.json");
  CLI11_PARSE(app, argc, argv);
  arguments.wantLogprobs = logprobs->count() > 0;
  arguments.maxNewTokensGiven = maxNewTokens->count() > 0;
  if (!arguments.maxNewTokensGiven)
    arguments.maxNewTokens =
        arguments.chat ? 1 << 24 : std::max(arguments.maxNewTokens, arguments.maxThinkTokens + 1);

  try {
    Status status = check(app, arguments);
    catchInterrupts();
    if (status.ok())
      status = run(arguments);
    return status.ok() ? 0 : fail("m1-run", status);
  } catch (const std::bad_alloc &) {
    return fail("m1-run", error(StatusCode::outOfMemory, "out of memory"));
  }
}
