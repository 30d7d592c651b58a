#include "m1c/Compiler.h"
#include "M1/Transforms/Passes.h"
#include "base/foreign_file.h"
#include "base/output_file.h"
#include "m1c/Import.h"
#include "m1c/M1ToPlan.h"
#include "m1c/Target.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "template/chat_template.h"
#include "tokenizer/prepare.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <chrono>

using namespace mlir;

namespace m1c {
namespace {

class Compilation {
public:
  Compilation(const CompileOptions &options, const CompileListener &listener)
      : options(options), listener(listener), context(MLIRContext::Threading::DISABLED),
        handler(&context, [this](Diagnostic &diagnostic) { report(diagnostic); }) {
    context.loadDialect<m1::M1Dialect, plan::PlanDialect, func::FuncDialect>();
  }

  bool run(ArtifactSizes *outSizes);

private:
  void report(Diagnostic &diagnostic) {
    if (diagnostic.getSeverity() == DiagnosticSeverity::Error ||
        diagnostic.getSeverity() == DiagnosticSeverity::Warning)
      say(diagnostic.getSeverity() == DiagnosticSeverity::Warning, diagnostic.str());
  }
  void say(bool isWarning, llvm::StringRef message) {
    hadError |= !isWarning;
    if (listener.diagnostic)
      listener.diagnostic(isWarning, message);
  }
  bool fail(llvm::Error error) {
    say(false, llvm::toString(std::move(error)));
    return false;
  }

  /// Runs a stage and tells the listener. False when it failed; a failure that nothing explained is
  /// explained by the stage's name.
  bool stage(llvm::StringRef name, llvm::function_ref<bool()> body) {
    if (listener.stageBegins)
      listener.stageBegins(name);
    auto begin = std::chrono::steady_clock::now();
    bool ok = body();
    std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    if (listener.stageEnds)
      listener.stageEnds(name, elapsed.count());
    if (!ok && !hadError)
      say(false, (name + " failed").str());
    return ok;
  }

  bool createTargets();
  bool importModel();
  bool optimize();
  bool lowerToPlan();
  bool generateCode();
  bool prepareTokenizer();
  void warn();
  /// A file of the model's directory.
  std::string inModel(llvm::StringRef name) const {
    llvm::SmallString<256> path(options.modelDirectory);
    llvm::sys::path::append(path, name);
    return path.str().str();
  }
  bool writeText(llvm::StringRef path, llvm::function_ref<void(llvm::raw_ostream &)> print);
  bool writeModule(llvm::StringRef path) {
    return writeText(path, [&](llvm::raw_ostream &out) { out << *module << "\n"; });
  }
  /// Keeps a stage's module when asked to; `name` like "1-m1.mlir".
  bool save(llvm::StringRef name) {
    return options.saveTemps.empty() || writeModule(tempPath(name));
  }
  std::string tempPath(llvm::StringRef name) {
    llvm::SmallString<128> path(options.saveTemps);
    llvm::sys::path::append(path, name);
    return path.str().str();
  }
  Type elementType(llvm::StringRef name) {
    return name == "bf16" ? Type(BFloat16Type::get(&context)) : Type(Float32Type::get(&context));
  }

  const CompileOptions &options;
  const CompileListener &listener;
  MLIRContext context;
  ScopedDiagnosticHandler handler;
  bool hadError = false;
  CheckpointData data;
  OwningOpRef<ModuleOp> module;
  std::vector<std::unique_ptr<Target>> targets;
  std::vector<ArtifactTarget> artifactTargets;
  CodeTexts texts;
  m1rt::PreparedTokenizer tokenizer;
  GenerationDefaults generation;
};

bool Compilation::writeText(llvm::StringRef path,
                            llvm::function_ref<void(llvm::raw_ostream &)> print) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  print(stream);
  m1rt::Status status = m1rt::writeFile(path.str(), text);
  return status.ok() || fail(llvm::createStringError(status.message()));
}

bool Compilation::createTargets() {
  llvm::StringSet<> devices;
  for (llvm::StringRef name : options.targets) {
    if (!devices.insert(name.split(':').first).second)
      return fail(
          llvm::createStringError("--target: '" + name.split(':').first +
                                  "' is named twice; give the chips of cuda as cuda:sm_80,sm_90"));
    if (name == "cpu") {
      auto target = createCpuTarget(options.cpu);
      if (!target)
        return fail(target.takeError());
      targets.push_back(std::move(*target));
    } else if (llvm::StringRef suffix = name;
               suffix.consume_front("cuda") && (suffix.empty() || suffix.starts_with(":"))) {
      auto target = createCudaTarget(suffix);
      if (!target)
        return fail(target.takeError());
      targets.push_back(std::move(*target));
    } else {
      return fail(llvm::createStringError("--target: unknown target '" + name +
                                          "'; known are cpu, cuda and cuda:sm_N,…"));
    }
  }
  return true;
}

bool Compilation::importModel() {
  ImportOptions import;
  import.activationType = elementType(options.activationType);
  import.stateType = elementType(options.stateType);
  import.kvType = elementType(options.kvType.empty() ? options.activationType : options.kvType);
  import.dummy = options.weights == WeightStorage::dummy;
  import.maxPositions = options.maxContext;
  import.tokenizerIds = tokenizer.ids;
  import.endToken = tokenizer.eosId;
  import.endTokenSource = inModel("tokenizer_config.json") + ": field 'eos_token'";
  auto imported = importCheckpoint(context, options.modelDirectory, import, data, &generation);
  if (failed(imported))
    return false;
  module = std::move(*imported);
  // Their bytes are still to be read.
  for (const CheckpointData::File &file : data.getFiles())
    if (llvm::sys::fs::equivalent(file.path, options.output))
      return fail(
          llvm::createStringError("-o " + options.output + ": is a file of the checkpoint"));
  return save("1-m1.mlir");
}

bool Compilation::optimize() {
  PassManager passes(&context);
  m1::buildOptimizePipeline(passes);
  return succeeded(passes.run(*module)) && save("2-m1-optimized.mlir");
}

bool Compilation::lowerToPlan() {
  for (auto &target : targets) {
    auto plan = convertM1ToPlan(*module, target->selector());
    if (failed(plan))
      return false;
    target->optimize(*plan);
    artifactTargets.push_back({*plan, {}});
  }
  for (Operation &op : llvm::make_early_inc_range(*module->getBody()))
    if (isa<func::FuncOp>(op))
      op.erase();
  PassManager passes(&context);
  passes.nest<plan::TargetOp>().addNestedPass<plan::FunctionOp>(plan::createPlacePlanBuffersPass());
  return succeeded(passes.run(*module)) && save("3-plan.mlir");
}

bool Compilation::generateCode() {
  bool saves = !options.saveTemps.empty();
  texts.wantLlvm = saves || options.emit == Emit::llvm;
  texts.wantAssembly = saves || options.emit == Emit::assembly;
  texts.wantCode = options.emit == Emit::artifact;
  for (auto [target, entry] : llvm::zip_equal(targets, artifactTargets)) {
    auto code = target->generate(entry.plan, texts);
    if (!code)
      return fail(code.takeError());
    entry.code = std::move(*code);
  }
  return !saves ||
         (writeText(tempPath("4-kernels.ll"), [&](llvm::raw_ostream &out) { out << texts.llvm; }) &&
          writeText(tempPath("5-kernels.s"),
                    [&](llvm::raw_ostream &out) { out << texts.assembly; }));
}

bool Compilation::prepareTokenizer() {
  std::string file = inModel("tokenizer.json");
  if (!llvm::sys::fs::exists(file))
    return true;
  std::string error;
  if (!m1rt::prepareTokenizer(file, inModel("tokenizer_config.json"), tokenizer, error))
    return fail(llvm::createStringError(error));
  return true;
}

/// What an artifact will lack that its user may miss.
void Compilation::warn() {
  auto model = m1::getModel(*module);
  if (model.getEosIds().empty())
    say(true, options.modelDirectory +
                  ": no end token in config.json, generation_config.json or tokenizer_config.json: "
                  "answers end at their length limit or a stop string alone");
  // Benchmarks have no text.
  if (options.weights == WeightStorage::dummy)
    return;
  if (tokenizer.data.empty()) {
    const char *other = nullptr;
    for (const char *name : {"tokenizer.model", "vocab.json", "tekken.json"})
      if (!other && llvm::sys::fs::exists(inModel(name)))
        other = name;
    say(true, options.modelDirectory + ": no tokenizer.json" +
                  (other ? std::string(", only ") + other +
                               ": make one with transformers (AutoTokenizer.from_pretrained(DIR), "
                               "save_pretrained(DIR))"
                         : std::string()) +
                  "; the artifact takes and gives token ids alone");
    return;
  }
  if (!tokenizer.eosToken.empty() && tokenizer.eosId < 0)
    say(true, inModel("tokenizer_config.json") + ": field 'eos_token': '" + tokenizer.eosToken +
                  "' is no token of tokenizer.json, and ends no answer");
  std::string error;
  if (tokenizer.chatTemplate.empty())
    say(true, options.modelDirectory +
                  ": no chat template in tokenizer_config.json, chat_template.jinja or "
                  "chat_template.json: prompts can only be given as they are (--raw)");
  else if (!m1rt::ChatTemplate::parse(tokenizer.chatTemplate, error))
    say(true, options.modelDirectory + ": the chat template cannot be used: " + error +
                  "; prompts can only be given as they are (--raw)");
  // Embeddings are padded to a round number of rows; more is another vocabulary.
  const auto vocabulary = static_cast<int64_t>(model.getVocabSize());
  if (int64_t missing = vocabulary - tokenizer.ids; missing > vocabulary / 16)
    say(true, inModel("tokenizer.json") + ": has ids up to " + std::to_string(tokenizer.ids - 1) +
                  ", the model's vocabulary has " + std::to_string(vocabulary) +
                  ": is it this model's? The " + std::to_string(missing) +
                  " ids that it lacks are never drawn");
}

bool Compilation::run(ArtifactSizes *outSizes) {
  if (!options.saveTemps.empty())
    if (auto error = llvm::sys::fs::create_directories(options.saveTemps))
      return fail(llvm::createStringError(error, "cannot create " + options.saveTemps + ": " +
                                                     error.message()));
  if (!createTargets() || !stage("tokenizer", [&] { return prepareTokenizer(); }) ||
      !stage("import", [&] { return importModel(); }))
    return false;
  if (options.emit == Emit::artifact)
    warn();
  if (options.emit == Emit::m1)
    return writeModule(options.output);
  if (!stage("optimize", [&] { return optimize(); }))
    return false;
  if (options.emit == Emit::m1Optimized)
    return writeModule(options.output);
  if (!stage("plan", [&] { return lowerToPlan(); }))
    return false;
  if (options.emit == Emit::plan)
    return writeModule(options.output);
  if (!stage("kernels", [&] { return generateCode(); }))
    return false;
  if (options.emit == Emit::llvm || options.emit == Emit::assembly) {
    const std::string &text = options.emit == Emit::llvm ? texts.llvm : texts.assembly;
    return writeText(options.output, [&](llvm::raw_ostream &out) { out << text; });
  }
  return stage("write", [&] {
    ArtifactOptions artifact;
    artifact.producer = options.producer;
    artifact.weights = options.weights;
    artifact.dummySeed = options.dummySeed;
    artifact.tokenizer = tokenizer.data;
    artifact.chatTemplate = tokenizer.chatTemplate;
    artifact.bosToken = tokenizer.bosToken;
    artifact.eosToken = tokenizer.eosToken;
    artifact.generation = generation;
    artifact.progress = listener.weightsWritten;
    auto sizes = writeArtifact(options.output, *module, artifactTargets, data, artifact);
    if (!sizes)
      return fail(sizes.takeError());
    if (outSizes)
      *outSizes = *sizes;
    return true;
  });
}

} // namespace

bool compile(const CompileOptions &options, const CompileListener &listener,
             ArtifactSizes *outSizes) {
  return Compilation(options, listener).run(outSizes);
}

} // namespace m1c
