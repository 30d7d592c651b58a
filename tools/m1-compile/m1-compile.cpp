// m1-compile: a checkpoint directory, a module of the m1 or plan dialect, or an artifact whose code
// is made anew, to an artifact.
#include "command_line.h"
#include "llvm_errors.h"
#include "m1c/Compiler.h"
#include "printable.h"
#include "progress.h"
#include <cstdint>
#include <cstdio>
#include <map>
#include <unistd.h>

namespace {

/// The stage at hand, and how much of the weights is written.
class Progress {
public:
  void stage(llvm::StringRef name) {
    current = name.str();
    if (isatty(STDERR_FILENO) || line.due())
      line.show(current + " ...");
  }
  void weights(uint64_t done, uint64_t total) {
    if (!line.due())
      return;
    char text[96];
    std::snprintf(text, sizeof(text), "%s ... %3.0f %% of %.2f GB", current.c_str(),
                  100.0 * done / total, total * 1e-9);
    line.show(text);
  }
  void clear() { line.clear(); }

private:
  m1tool::ProgressLine line;
  std::string current;
};

const std::map<std::string, m1c::Emit> emits = {{"m1", m1c::Emit::m1},
                                                {"m1-optimized", m1c::Emit::m1Optimized},
                                                {"plan", m1c::Emit::plan},
                                                {"kernels", m1c::Emit::kernels},
                                                {"llvm", m1c::Emit::llvm},
                                                {"asm", m1c::Emit::assembly},
                                                {"artifact", m1c::Emit::artifact}};

struct Arguments {
  m1c::CompileOptions options;
  std::string weights = "embed", emit = "artifact";
  bool timing = false, remarks = false;
};

/// Which flags contradict each other, or would be without effect; takes --weights apart. Empty when
/// there is nothing to say.
std::string check(const CLI::App &app, Arguments *arguments) {
  m1c::CompileOptions &options = arguments->options;
  const std::string &weights = arguments->weights;
  if (m1c::isArtifact(options.model))
    for (const char *flag : {"--activation-type", "--state-type", "--kv-type", "--max-context"})
      if (app.count(flag) > 0)
        return std::string(flag) + ": is that of the module which the artifact " + options.model +
               " holds";
  if (weights.rfind("dummy:", 0) == 0) {
    const std::string seed = weights.substr(6);
    if (seed.empty() || seed.size() > 19 ||
        seed.find_first_not_of("0123456789") != std::string::npos)
      return "--weights: the seed in '" + weights + "' is not a number";
    options.weights = m1c::WeightStorage::dummy;
    options.dummySeed = std::stoull(seed);
  } else if (weights == "external") {
    options.weights = m1c::WeightStorage::external;
  } else if (weights != "embed") {
    return "--weights: unknown mode '" + weights + "'; known are embed, external, dummy:SEED";
  }
  if (app.count("--quantize-keep") > 0 && options.quantize.empty())
    return "--quantize-keep needs --quantize";
  if (!options.calibrate.empty() && options.quantize.rfind("int4", 0) != 0)
    return "--calibrate needs --quantize int4: the scales of int8 and fp8 follow from the largest "
           "value of a row";
  if (!options.calibrate.empty() &&
      (options.weights == m1c::WeightStorage::dummy || m1c::isArtifact(options.model)))
    return "--calibrate runs the model of a checkpoint, with its weights and tokenizer";
  if (!options.quantize.empty() && !options.passPipeline.empty())
    return "--quantize has no effect with --pass-pipeline; name m1-quantize-weights there";
  for (const char *flag : {"--target", "--cpu"})
    if (app.count(flag) > 0 && !options.passPipeline.empty())
      return std::string(flag) + " has no effect with --pass-pipeline; name it in " +
             "m1-convert-to-plan there";
  for (const char *flag :
       {"--activation-type", "--state-type", "--kv-type", "--max-context", "--target", "--cpu"})
    if (app.count(flag) > 0)
      options.given.push_back(flag);
  if (!options.tuning.empty() && options.emit != m1c::Emit::artifact)
    return "--tuning needs --emit artifact, which is what holds the table";
  if (options.emit == m1c::Emit::artifact && (options.output.empty() || options.output == "-"))
    return "an artifact needs -o OUT.m1a";
  return "";
}

bool run(const Arguments &arguments) {
  Progress progress;
  std::vector<std::pair<std::string, double>> times;
  auto say = [&](const char *kind, llvm::StringRef message) {
    progress.clear();
    m1tool::say("m1-compile", kind, message);
  };
  m1c::CompileListener listener;
  listener.stageBegins = [&](llvm::StringRef stage) { progress.stage(stage); };
  listener.stageEnds = [&](llvm::StringRef stage, double seconds) {
    times.push_back({stage.str(), seconds});
  };
  listener.weightsWritten = [&](uint64_t done, uint64_t total) { progress.weights(done, total); };
  listener.diagnostic = [&](bool isWarning, llvm::StringRef message) {
    say(isWarning ? "warning" : "error", message);
  };
  listener.note = [&](llvm::StringRef message) { say("note", message); };
  if (arguments.remarks)
    listener.remark = [&](llvm::StringRef message) { say("remark", message); };
  m1c::ArtifactSizes sizes;
  const bool ok = m1c::compile(arguments.options, listener, &sizes);
  progress.clear();
  if (arguments.timing) {
    double total = 0;
    for (auto &[stage, seconds] : times) {
      std::fprintf(stderr, "%-10s %8.3f s\n", stage.c_str(), seconds);
      total += seconds;
    }
    std::fprintf(stderr, "%-10s %8.3f s\n", "total", total);
    if (ok && arguments.options.emit == m1c::Emit::artifact)
      std::fprintf(stderr, "module %llu, code %llu, weights %llu, file %llu bytes\n",
                   (unsigned long long)sizes.module, (unsigned long long)sizes.code,
                   (unsigned long long)sizes.weights, (unsigned long long)sizes.file);
  }
  return ok;
}

void addOptions(CLI::App &app, Arguments *out) {
  m1c::CompileOptions &options = out->options;
  app.add_option(
         "model", options.model,
         "Directory with config.json, safetensors, tokenizer.json; a GGUF file; a file of m1 "
         "or plan operations (.mlir); or an artifact (.m1a), of which the module, weights and text "
         "are taken and all code is made anew")
      ->required()
      ->type_name("MODEL");
  app.add_option(
         "--checkpoint", options.checkpoint,
         "Directory, or GGUF file, with the weights and the tokenizer of a MODEL of operations")
      ->type_name("CHECKPOINT");
  app.add_option("-o,--output", options.output,
                 "File to write; - is standard output unless an artifact is emitted")
      ->type_name("OUT.m1a");
  app.add_option("--target", options.target,
                 "Devices to compile for, separated by commas: cpu, cuda (sm_90), cuda:sm_80,sm_90")
      ->type_name("LIST");
  app.add_option(
         "--cpu", options.cpu,
         "Instruction sets, separated by commas, of which the best is taken where the artifact "
         "is run: native, x86-64-v3, x86-64-v4, cooperlake, sapphirerapids; all: all of these "
         "but native")
      ->type_name("LIST");
  app.add_option("--activation-type", options.activationType,
                 "Type of activations; f32 computes everything in f32")
      ->check(CLI::IsMember({"bf16", "f32"}));
  app.add_option("--state-type", options.stateType, "Type of the scan states")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}));
  app.add_option("--kv-type", options.kvType,
                 "Type of cached keys and values (default: that of the activations); int8 and fp8 "
                 "have a scale for each head of each token")
      ->check(CLI::IsMember({"bf16", "f32", "int8", "fp8"}));
  app.add_option(
         "--quantize", options.quantize,
         "Store the weights of linear layers as int8 or fp8 with a scale for each row, or as int8 "
         "or int4 with a scale for each group of 32 (int8:32, int4), 64 or 128 columns. With fp8 "
         "(e4m3) the activations that they multiply are rounded to e4m3, too. stored: integers in "
         "groups that the checkpoint holds stay as they are. Default: as bf16")
      ->check(CLI::IsMember({"int8", "int8:32", "int8:64", "int8:128", "fp8", "int4", "int4:32",
                             "int4:64", "int4:128", "stored"}))
      ->default_str("");
  app.add_option("--quantize-keep", options.quantizeKeep,
                 "Regular expression of names of weights that --quantize leaves as they are")
      ->type_name("REGEX")
      ->default_str("");
  app.add_option("--calibrate", options.calibrate,
                 "Text that the model is to be good at, for the scales of int4: a JSON object a "
                 "line with \"prompt\", \"messages\" or \"text\". An error in a column counts by "
                 "what the column is multiplied by there")
      ->type_name("FILE.jsonl")
      ->default_str("");
  app.add_option(
         "--weights", out->weights,
         "embed, external (checkpoint files stay where they are) or dummy:SEED (for benchmarks)")
      ->type_name("MODE");
  app.add_option("--allow-external", options.allowExternal,
                 "Directory outside that of a MODEL that is an artifact where its weights may lie; "
                 "may be given several times")
      ->type_name("DIR")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->default_str("");
  app.add_option("--max-context", options.maxContext,
                 "Longest context in tokens; 0: max_position_embeddings of config.json")
      ->check(CLI::Range(0, INT32_MAX));
  app.add_option("--emit", out->emit,
                 "Stage to write: m1, m1-optimized, plan, kernels, llvm, asm, artifact")
      ->check(CLI::IsMember(emits));
  app.add_option("--pass-pipeline", options.passPipeline,
                 "Passes in the place of those between import and kernels, as m1-opt takes them")
      ->type_name("PIPELINE");
  app.add_option("--print-ir-after", options.printIrAfter,
                 "Print the module to standard error after this pass; may be given several times")
      ->type_name("PASS")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->default_str("");
  app.add_flag("--print-ir-after-all", options.printIrAfterAll, "The same after every pass")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.add_flag("--remarks", out->remarks, "Say what could not be fused, and why")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.add_option("--tuning", options.tuning,
                 "Table that m1-bench --tune wrote, for the artifact to hold; several times for "
                 "several GPUs")
      ->type_name("FILE")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->default_str("");
  app.add_option("--cache", options.cache,
                 "Directory of compiled kernels, which later compilations take from there")
      ->type_name("DIR")
      ->envname("M1_CACHE");
  app.add_option("--save-temps", options.saveTemps, "Directory for the text of every stage")
      ->type_name("DIR");
  app.add_flag("--timing", out->timing, "Print the time of every stage")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

} // namespace

int main(int argc, char **argv) {
  m1tool::prepareProcess();
  m1tool::reportLlvmErrors();
  CLI::App app("Compiles a checkpoint in Hugging Face layout to an artifact that m1-run loads.\n\n"
               "Example: m1-compile examples/tiny-reasoner/model -o tiny.m1a --cpu x86-64-v3\n",
               "m1-compile");
  app.set_version_flag("--version", "m1-compile " M1_VERSION);
  // Scripts append flags to override earlier ones.
  app.option_defaults()
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)
      ->always_capture_default();

  Arguments arguments;
  m1c::CompileOptions &options = arguments.options;
  options.producer = "m1-compile " M1_VERSION;
  addOptions(app, &arguments);
  int exitCode = 0;
  if (!m1tool::parseCommandLine(app, argc, argv, &exitCode))
    return exitCode;

  options.emit = emits.at(arguments.emit);
  if (std::string mistake = check(app, &arguments); !mistake.empty())
    return m1tool::usageError("m1-compile", mistake);
  if (options.output.empty())
    options.output = "-";
  m1tool::workedOn() = options.model.c_str();
  return run(arguments) ? 0 : 1;
}
