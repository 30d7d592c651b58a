// Runs a compiled model on a prompt.
#include "generate.h"
#include "safetensors_writer.h"
#include "tool.h"
#include <CLI/CLI.hpp>
#include <chrono>
#include <fstream>
#include <iterator>
#include <sys/resource.h>

using namespace m1rt;
using namespace m1tool;

namespace {

struct Arguments {
  std::string artifact, prompt, inputIds, device = "cpu", dumpLogits;
  uint32_t maxNewTokens = 128, threads = 0, prefillChunk = 512;
  double temperature = 0;
  bool ignoreEos = false, stats = false;
};

/// Token ids separated by blanks.
Status readIds(const std::string &path, std::vector<int32_t> *out) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return error(StatusCode::notFound, "%s: cannot open: %s", path.c_str(), std::strerror(errno));
  std::string word;
  while (file >> word) {
    char *end = nullptr;
    errno = 0;
    long value = std::strtol(word.c_str(), &end, 10);
    if (*end != '\0' || errno != 0 || value < INT32_MIN || value > INT32_MAX)
      return error(StatusCode::invalidArgument, "%s: token %zu: \"%.40s\" is not a token id", path.c_str(), out->size(), word.c_str());
    out->push_back(int32_t(value));
  }
  if (out->empty())
    return error(StatusCode::invalidArgument, "%s: holds no token ids", path.c_str());
  return Status();
}

Status dump(const std::string &path, const GenerateResult &result, size_t promptTokens, uint64_t vocabulary) {
  return writeSafetensors(
      path, {{"prefill_logits", "F32", {promptTokens, vocabulary}, result.prefillLogits.data(), result.prefillLogits.size() * 4},
             {"output_ids", "I32", {result.tokens.size()}, result.tokens.data(), result.tokens.size() * 4},
             {"decode_logits", "F32", {result.tokens.size(), vocabulary}, result.decodeLogits.data(), result.decodeLogits.size() * 4}});
}

double rate(size_t count, double seconds) { return seconds > 0 ? double(count) / seconds : 0; }

void printStats(Model &model, const GenerateResult &result, size_t promptTokens, double loadSeconds) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  std::fprintf(stderr, "device          %s\n", model.device().info().name.c_str());
  std::fprintf(stderr, "weights         %s\n", bytesText(model.weightBytes()).c_str());
  std::fprintf(stderr, "load            %.3f s\n", loadSeconds);
  std::fprintf(stderr, "prefill         %zu tokens in %.3f s, %.1f tokens/s\n", promptTokens, result.prefillSeconds,
               rate(promptTokens, result.prefillSeconds));
  std::fprintf(stderr, "decode          %u tokens in %.3f s, %.1f tokens/s\n", result.decodeSteps, result.decodeSeconds,
               rate(result.decodeSteps, result.decodeSeconds));
  std::fprintf(stderr, "largest memory  %s\n", bytesText(uint64_t(usage.ru_maxrss) * 1024).c_str());
}

Status run(const Arguments &arguments) {
  if (arguments.temperature != 0)
    return error(StatusCode::unsupported, "--temperature %g: only greedy decoding (0) with --input-ids", arguments.temperature);
  if (!arguments.prompt.empty())
    return error(StatusCode::unsupported, "--prompt needs a tokenizer, which this version does not have yet; use --input-ids");
  std::vector<int32_t> prompt;
  M1_TRY(readIds(arguments.inputIds, &prompt));

  auto began = std::chrono::steady_clock::now();
  ModelOptions modelOptions;
  modelOptions.device = arguments.device;
  modelOptions.deviceOptions.threads = arguments.threads;
  std::unique_ptr<Model> model;
  M1_TRY(Model::load(arguments.artifact, modelOptions, &model));
  double loadSeconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();

  GenerateOptions options;
  options.maxNewTokens = arguments.maxNewTokens;
  options.ignoreEos = arguments.ignoreEos;
  options.keepLogits = !arguments.dumpLogits.empty();
  options.prefillChunk = arguments.prefillChunk;
  GenerateResult result;
  bool first = true;
  M1_TRY(generate(
      *model, prompt, options,
      [&](int32_t token) {
        std::printf(first ? "%d" : " %d", token);
        std::fflush(stdout);
        first = false;
      },
      &result));
  if (!first)
    std::printf("\n");
  if (options.keepLogits)
    M1_TRY(dump(arguments.dumpLogits, result, prompt.size(), model->module().vocab_size()));
  if (arguments.stats)
    printStats(*model, result, prompt.size(), loadSeconds);
  if (std::fflush(stdout) != 0 || std::ferror(stdout))
    return error(StatusCode::ioError, "cannot write the output: %s", std::strerror(errno));
  return Status();
}

} // namespace

int main(int argc, char **argv) {
  Arguments arguments;
  CLI::App app{"Runs a compiled model (.m1a) on a prompt and prints what it generates.", "m1-run"};
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.set_version_flag("--version", std::string("m1-run ") + M1_VERSION);
  app.footer("Example:\n  m1-run model.m1a --input-ids prompt.txt --max-new-tokens 64 --stats");
  app.add_option("artifact", arguments.artifact, "The compiled model")->required()->type_name("OUT.m1a");
  auto *prompt = app.add_option("--prompt", arguments.prompt, "Text to continue")->type_name("TEXT");
  auto *ids = app.add_option("--input-ids", arguments.inputIds, "File of token ids separated by blanks")->type_name("FILE");
  prompt->excludes(ids);
  app.add_option("--device", arguments.device, "cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--max-new-tokens", arguments.maxNewTokens, "Tokens to generate at most")->capture_default_str();
  app.add_option("--temperature", arguments.temperature, "0: always the likeliest token")->capture_default_str()->check(CLI::Range(0.0, 100.0));
  app.add_flag("--ignore-eos", arguments.ignoreEos, "Go on after an end-of-sequence token");
  app.add_option("--threads", arguments.threads, "CPU threads; 0: one a physical core")->capture_default_str()->check(CLI::Range(0, 4096));
  app.add_option("--prefill-chunk", arguments.prefillChunk, "Prompt tokens of one step")->capture_default_str()->check(CLI::Range(1, 1 << 20));
  app.add_option("--dump-logits", arguments.dumpLogits, "Write prefill_logits, output_ids and decode_logits")->type_name("FILE.safetensors");
  app.add_flag("--stats", arguments.stats, "Print times, rates and memory to standard error");
  CLI11_PARSE(app, argc, argv);
  if (prompt->empty() && ids->empty())
    return fail("m1-run", error(StatusCode::invalidArgument, "give --prompt TEXT or --input-ids FILE"));

  try {
    Status status = run(arguments);
    return status.ok() ? 0 : fail("m1-run", status);
  } catch (const std::bad_alloc &) {
    return fail("m1-run", error(StatusCode::outOfMemory, "out of memory"));
  }
}
