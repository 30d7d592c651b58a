// m1-reference: what a checkpoint computes, by the reference evaluator in float64. The oracle for
// compiled models; takes minutes where they take milliseconds.
#include "M1/IR/M1.h"
#include "M1/Transforms/Passes.h"
#include "command_line.h"
#include "input.h"
#include "llvm_errors.h"
#include "m1c/Import.h"
#include "m1c/InputFile.h"
#include "m1c/Reference.h"
#include "safetensors_writer.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace m1rt;
using namespace m1tool;

namespace {

struct Arguments {
  std::string model, inputIds, dumpLogits, pipeline, stateType = "f32", kvType = "f32";
  uint32_t maxNewTokens = 16, prefillChunk = 512;
};

Status run(const Arguments &arguments) {
  std::vector<int32_t> prompt;
  // the evaluator knows the vocabulary
  M1_TRY(readTokenIds(arguments.inputIds, INT32_MAX, &prompt));

  MLIRContext context;
  context.loadDialect<m1::M1Dialect, func::FuncDialect>();
  std::string reason; // the first error that MLIR tells
  context.getDiagEngine().registerHandler([&](Diagnostic &diagnostic) {
    if (diagnostic.getSeverity() != DiagnosticSeverity::Error)
      say("m1-reference", "warning", diagnostic.str());
    else if (reason.empty())
      reason = diagnostic.str();
  });
  auto told = [&](const std::string &what) {
    return error(StatusCode::invalidArgument, "%s", (reason.empty() ? what : reason).c_str());
  };
  m1c::CheckpointData data;
  m1c::ImportOptions options;
  // Whose rounding is left out.
  options.activationType = options.stateType = options.kvType = Float32Type::get(&context);
  if (arguments.stateType == "f16")
    options.stateType = Float16Type::get(&context);
  else if (arguments.stateType == "bf16")
    options.stateType = BFloat16Type::get(&context);
  if (arguments.kvType == "int8")
    options.kvType = IntegerType::get(&context, 8);
  else if (arguments.kvType == "fp8")
    options.kvType = Float8E4M3FNType::get(&context);
  auto module = m1c::importCheckpoint(context, arguments.model, options, data);
  if (failed(module))
    return told(arguments.model + ": import failed");
  if (!arguments.pipeline.empty()) {
    std::string text;
    llvm::raw_string_ostream errors(text);
    FailureOr<OpPassManager> parsed = parsePassPipeline(arguments.pipeline, errors);
    if (failed(parsed))
      return error(StatusCode::invalidArgument, "--pass-pipeline: %s",
                   StringRef(text).rtrim().str().c_str());
    if (parsed->getOpAnchorName() != ModuleOp::getOperationName())
      return error(StatusCode::invalidArgument, "--pass-pipeline: expected builtin.module(…)");
    PassManager passes(&context);
    static_cast<OpPassManager &>(passes) = std::move(*parsed);
    if (failed(passes.run(**module)))
      return told("it fails").prefixed("--pass-pipeline");
  }
  auto reference = m1c::Reference::create(**module, data);
  if (failed(reference))
    return told(arguments.model + ": cannot be evaluated");

  std::vector<float> prefill, decode;
  std::vector<int32_t> output;
  int32_t next = 0, done = 0, vocabulary = 0;
  auto step = [&](const char *function, std::vector<int32_t> tokens,
                  std::vector<float> *logits) -> Status {
    int32_t count = static_cast<int32_t>(tokens.size());
    auto result =
        (*reference)->run(function, m1c::makeReferenceBatch({{0, done, std::move(tokens)}}));
    if (failed(result))
      return told(std::string("evaluation of '") + function + "' failed");
    logits->insert(logits->end(), result->logits.begin(), result->logits.end());
    next = result->nextTokens.back();
    vocabulary = static_cast<int32_t>(result->vocabSize);
    done += count;
    return Status();
  };
  for (size_t begin = 0; begin < prompt.size(); begin += arguments.prefillChunk) {
    size_t end = std::min(prompt.size(), begin + arguments.prefillChunk);
    M1_TRY(step("prefill", std::vector<int32_t>(prompt.begin() + begin, prompt.begin() + end),
                &prefill));
  }
  while (output.size() < arguments.maxNewTokens) {
    output.push_back(next);
    std::printf(output.size() > 1 ? " %d" : "%d", next);
    std::fflush(stdout);
    M1_TRY(step("decode", {next}, &decode));
  }
  std::printf("\n");
  M1_TRY(m1c::checkUnchanged(data));
  if (arguments.dumpLogits.empty())
    return Status();
  uint64_t width = static_cast<uint64_t>(vocabulary);
  return writeSafetensors(
      arguments.dumpLogits,
      {{"prefill_logits", "F32", {prompt.size(), width}, prefill.data(), prefill.size() * 4},
       {"output_ids", "I32", {output.size()}, output.data(), output.size() * 4},
       {"decode_logits", "F32", {output.size(), width}, decode.data(), decode.size() * 4}});
}

} // namespace

int main(int argc, char **argv) {
  prepareProcess();
  reportLlvmErrors();
  Arguments arguments;
  m1::registerM1Passes();
  m1::registerOptimizePipeline();
  registerTransformsPasses();
  CLI::App app{"Evaluates a checkpoint in float64, operation by operation, and prints the greedy "
               "continuation of a prompt.",
               "m1-reference"};
  app.set_version_flag("--version", std::string("m1-reference ") + M1_VERSION);
  app.footer(
      "Example:\n  m1-reference MODEL_DIR --input-ids prompt.txt --max-new-tokens 8 --dump-logits "
      "reference.safetensors");
  app.add_option("model", arguments.model, "The checkpoint's directory, or a GGUF file")
      ->required()
      ->type_name("MODEL_DIR");
  app.add_option("--input-ids", arguments.inputIds, "File of token ids separated by blanks")
      ->required()
      ->type_name("FILE");
  app.add_option("--max-new-tokens", arguments.maxNewTokens, "Tokens to generate")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 24));
  app.add_option("--prefill-chunk", arguments.prefillChunk, "Prompt tokens of one step")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--state-type", arguments.stateType,
                 "Type of the scan states, rounded to it where a step ends (f32: not at all)")
      ->capture_default_str()
      ->check(CLI::IsMember({"f32", "f16", "bf16"}));
  app.add_option("--kv-type", arguments.kvType,
                 "Type of cached keys and values; int8 and fp8: codes, with a scale for each head "
                 "of each token (f32: no rounding)")
      ->capture_default_str()
      ->check(CLI::IsMember({"f32", "int8", "fp8"}));
  app.add_option("--dump-logits", arguments.dumpLogits,
                 "Write prefill_logits, output_ids and decode_logits, as m1-run does")
      ->type_name("FILE.safetensors");
  auto *pipeline = app.add_option("--pass-pipeline", arguments.pipeline,
                                  "Passes to run on the imported module first")
                       ->type_name("PIPELINE");
  app.add_flag_callback(
         "--optimized", [&] { arguments.pipeline = "builtin.module(m1-optimize)"; },
         "Evaluate the module as m1-optimize leaves it")
      ->excludes(pipeline);
  int exitCode = 0;
  if (!m1tool::parseCommandLine(app, argc, argv, &exitCode))
    return exitCode;
  Status status = run(arguments);
  return status.ok() ? 0 : fail("m1-reference", status);
}
