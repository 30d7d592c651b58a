#include "m1c/Compiler.h"
#include "Calibration.h"
#include "M1/IR/Groups.h"
#include "M1/Transforms/Passes.h"
#include "artifact/tuning_table.h"
#include "artifact_header.h"
#include "base/counted.h"
#include "base/foreign_file.h"
#include "base/mapped_file.h"
#include "base/output_file.h"
#include "m1c/Import.h"
#include "m1c/InputFile.h"
#include "m1c/M1ToPlan.h"
#include "m1c/ReadableText.h"
#include "m1c/Target.h"
#include "m1c/Weights.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Remarks.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"
#include "template/chat_template.h"
#include "tokenizer/prepare.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Regex.h"
#include "llvm/Support/SourceMgr.h"
#include <chrono>

using namespace mlir;

namespace m1c {

namespace m1 = mlir::m1; // not the schema's
namespace {

/// "layers.3.in_proj: " or "model.mlir:4:7: ", as the location says; empty when it says nothing.
std::string prefixOf(Location loc) {
  if (StringRef name = m1::nameOf(loc); !name.empty())
    return (name + ": ").str();
  if (auto file = dyn_cast<FileLineColLoc>(loc))
    return (file.getFilename().getValue() + ":" + Twine(file.getLine()) + ":" +
            Twine(file.getColumn()) + ": ")
        .str();
  return "";
}

class RemarkStreamer : public remark::detail::MLIRRemarkStreamerBase {
public:
  explicit RemarkStreamer(const CompileListener &listener) : listener(listener) {}
  void streamOptimizationRemark(const remark::detail::Remark &remark) override {
    std::string text = prefixOf(remark.getLocation()) + remark.getCombinedCategoryName().str();
    for (const remark::detail::Remark::Arg &part : remark.getArgs())
      text += ": " + part.val;
    listener.remark(text);
  }

private:
  const CompileListener &listener;
};

/// Every pass that a pipeline may name.
void registerPasses() {
  static const bool registered = [] {
    m1::registerM1Passes();
    m1::registerOptimizePipeline();
    plan::registerPlanPasses();
    registerConversionPasses();
    registerTransformsPasses();
    return true;
  }();
  (void)registered;
}

class Compilation {
public:
  Compilation(const CompileOptions &options, const CompileListener &listener)
      : options(options), listener(listener), context(MLIRContext::Threading::DISABLED),
        handler(&context, [this](Diagnostic &diagnostic) { report(diagnostic); }) {
    context.loadDialect<m1::M1Dialect, plan::PlanDialect, func::FuncDialect>();
    context.printOpOnDiagnostic(false); // locations say which operation it is
    registerPasses();
  }

  bool run(ArtifactSizes *outSizes);

private:
  void report(Diagnostic &diagnostic) {
    if (diagnostic.getSeverity() == DiagnosticSeverity::Remark && listener.note)
      listener.note(prefixOf(diagnostic.getLocation()) + diagnostic.str());
    if (diagnostic.getSeverity() != DiagnosticSeverity::Error &&
        diagnostic.getSeverity() != DiagnosticSeverity::Warning)
      return;
    std::string message = prefixOf(diagnostic.getLocation()) + diagnostic.str();
    for (Diagnostic &note : diagnostic.getNotes())
      message += "\n  note: " + prefixOf(note.getLocation()) + note.str();
    say(diagnostic.getSeverity() == DiagnosticSeverity::Warning, message);
  }
  void say(bool isWarning, llvm::StringRef message) {
    hadError |= !isWarning;
    if (listener.diagnostic)
      listener.diagnostic(isWarning, message);
  }
  /// An error without a message has been reported as a diagnostic.
  bool fail(llvm::Error error) {
    if (std::string message = llvm::toString(std::move(error)); !message.empty())
      say(false, message);
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

  bool checkOptions();
  bool readTuning();
  bool readModel();
  bool importModel();
  bool checkOutput(llvm::StringRef what);
  bool parseModel();
  bool readArtifact();
  bool runPasses(llvm::function_ref<void(PassManager &)> build);
  bool isPlanned() { return !module->getOps<plan::TargetOp>().empty(); }
  bool refuseGiven(llvm::ArrayRef<llvm::StringRef> flags, const Twine &why);
  bool optimize();
  bool calibrate(llvm::StringMap<std::vector<float>> &importance);
  void keepModule();
  bool lowerToPlan();
  bool checkStage();
  bool runPipeline();
  bool generateCode();
  bool prepareTokenizer();
  void keepText();
  void warn();
  void warnOfGguf();
  /// A directory or a GGUF file; empty when the model is a module without a checkpoint.
  const std::string &checkpointDirectory() const {
    return llvm::sys::fs::is_directory(options.model) || isGgufFile(options.model)
               ? options.model
               : options.checkpoint;
  }
  /// A file of the model's directory.
  std::string inModel(llvm::StringRef name) const {
    llvm::SmallString<256> path(checkpointDirectory());
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
    if (name == "int8")
      return IntegerType::get(&context, 8);
    if (name == "fp8")
      return Float8E4M3FNType::get(&context);
    if (name == "f16")
      return Float16Type::get(&context);
    return name == "bf16" ? Type(BFloat16Type::get(&context)) : Type(Float32Type::get(&context));
  }

  const CompileOptions &options;
  const CompileListener &listener;
  MLIRContext context;
  ScopedDiagnosticHandler handler;
  bool hadError = false;
  CheckpointData data;
  OwningOpRef<ModuleOp> module;
  std::string targetList; // with the --cpu
  bool isForCpus = true;  // alone
  std::vector<ArtifactTarget> artifactTargets;
  CodeRequest request;
  m1rt::PreparedTokenizer tokenizer; // of the checkpoint
  ArtifactOptions artifact;
};

bool Compilation::writeText(llvm::StringRef path,
                            llvm::function_ref<void(llvm::raw_ostream &)> print) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  print(stream);
  m1rt::Status status = m1rt::writeFile(path.str(), text);
  return status.ok() || fail(llvm::createStringError(status.message()));
}

/// What is wrong with the options is said before any work is done.
bool Compilation::checkOptions() {
  llvm::SmallVector<StringRef> words;
  StringRef(options.target).split(words, ',');
  isForCpus = llvm::all_of(words, [](StringRef word) { return word.starts_with("cpu"); });
  for (StringRef word : words)
    targetList += (targetList.empty() ? "" : ",") + word.str() +
                  (word == "cpu" ? ":" + options.cpu : std::string());
  auto targets = createTargets(targetList);
  if (!targets)
    return fail(targets.takeError());
  if (std::string error;
      !options.quantizeKeep.empty() && !llvm::Regex(options.quantizeKeep).isValid(error))
    return fail(llvm::createStringError("--quantize-keep '" + options.quantizeKeep +
                                        "' is no regular expression: " + error));
  for (const std::string &name : options.printIrAfter)
    if (!PassInfo::lookup(name))
      return fail(llvm::createStringError("--print-ir-after: no pass is named '" + name + "'"));
  return true;
}

/// An error for a flag that was given and would be without effect.
bool Compilation::refuseGiven(llvm::ArrayRef<llvm::StringRef> flags, const Twine &why) {
  for (const std::string &flag : options.given)
    if (llvm::is_contained(flags, flag))
      return fail(llvm::createStringError(flag + ": " + options.model + " " + why));
  return true;
}

bool Compilation::readTuning() {
  for (const std::string &path : options.tuning) {
    m1rt::MappedFile file;
    m1rt::TuningTable table;
    std::string text;
    m1rt::Status status = m1rt::MappedFile::open(path, &file);
    if (status.ok()) {
      text.assign(reinterpret_cast<const char *>(file.bytes().data), file.bytes().size);
      status = m1rt::parseTuningTable(text, path, &table);
    }
    if (!status.ok())
      return fail(llvm::createStringError("--tuning: " + status.message()));
    if (table.chip.empty())
      return fail(llvm::createStringError(
          "--tuning: " + path +
          ": names no chip, as tables of an older m1-bench do not: tune again"));
    artifact.tuning.push_back({"--tuning: " + path, std::move(text)});
  }
  return true;
}

/// A file that is no module but something of a checkpoint, or in its place; the import says what.
static bool isForeign(llvm::StringRef path) {
  return path.ends_with(".safetensors") || path.ends_with(".json") || isGgufFile(path) ||
         !m1rt::describeForeignFile(readBeginning(path, 64)).empty();
}

bool Compilation::readModel() {
  if (!llvm::sys::fs::is_directory(options.model) && isArtifact(options.model))
    return stage("read", [&] { return readArtifact(); });
  if (!llvm::sys::fs::is_directory(options.model) && llvm::sys::fs::exists(options.model) &&
      !isForeign(options.model))
    return stage("parse", [&] { return parseModel(); });
  return stage("import", [&] { return importModel(); });
}

/// The text of a module, unless the file is another one by its name or empty.
static llvm::Expected<std::unique_ptr<llvm::MemoryBuffer>> readModelText(const std::string &path) {
  auto refuse = [&](const Twine &what) { return llvm::createStringError(path + ": " + what); };
  auto text = readModuleText(path);
  if (!text)
    return text.takeError();
  if ((*text)->getBuffer().trim().empty())
    return refuse("the file is empty");
  if (llvm::StringRef(path).ends_with(".gguf"))
    return refuse("no GGUF file: the first 4 bytes are not \"GGUF\"");
  if (llvm::StringRef(path).ends_with(".m1a"))
    return refuse("not an M1 artifact: the first 8 bytes are not \"" M1_ARTIFACT_MAGIC "\"");
  return std::move(*text);
}

bool Compilation::parseModel() {
  auto text = readModelText(options.model);
  if (!text)
    return fail(text.takeError());
  // A text may hold the kernels.
  DialectRegistry registry;
  createGenerateKernelsPass()->getDependentDialects(registry);
  context.appendDialectRegistry(registry);
  llvm::SourceMgr source;
  source.AddNewSourceBuffer(std::move(*text), llvm::SMLoc());
  module = parseSourceFile<ModuleOp>(source, &context);
  if (!module || !refuseGiven({"--activation-type", "--state-type", "--kv-type", "--max-context"},
                              "is a module, which says it"))
    return false;
  if (isPlanned() &&
      !refuseGiven({"--target", "--cpu"}, "is a plan already, whose kernels are chosen"))
    return false;
  if (options.emit != Emit::artifact)
    return save("1-m1.mlir");
  if (!options.checkpoint.empty()) {
    const int64_t vocabulary = m1::getModel(*module) ? m1::getModel(*module).getVocabSize() : 0;
    if (vocabulary && tokenizer.ids > vocabulary)
      return fail(llvm::createStringError(options.checkpoint + ": the tokenizer has " +
                                          Twine(tokenizer.ids) + " ids, more than vocab_size " +
                                          Twine(vocabulary) + " of " + options.model +
                                          ": it is another model's"));
    return succeeded(data.open(options.checkpoint,
                               [&] { return emitError(UnknownLoc::get(&context)); })) &&
           save("1-m1.mlir");
  }
  if (options.weights != WeightStorage::dummy)
    return fail(llvm::createStringError(
        options.model + ": its weights are in no file; give --checkpoint DIR or --weights "
                        "dummy:SEED"));
  return save("1-m1.mlir");
}

/// Of an artifact nothing is taken but its module, weights and text: all code is made anew.
bool Compilation::readArtifact() {
  if (!options.checkpoint.empty())
    return fail(llvm::createStringError("--checkpoint: the weights are those of the artifact " +
                                        options.model));
  const WeightStorage asked = artifact.weights;
  const uint64_t seed = artifact.dummySeed;
  auto read = m1c::readArtifact(options.model, options.allowExternal, context, data, artifact);
  if (!read)
    return fail(read.takeError());
  module = std::move(*read);
  if (asked == WeightStorage::dummy)
    artifact.dummySeed = seed;
  if (!options.quantize.empty() && options.emit == Emit::artifact &&
      artifact.weights != WeightStorage::dummy)
    return fail(llvm::createStringError("--quantize: the weights of the artifact " + options.model +
                                        " are taken as they lie in it; compile its checkpoint"));
  return checkOutput("belongs to the artifact that is read") && save("1-m1.mlir");
}

/// The files that weights come from are still to be read.
bool Compilation::checkOutput(llvm::StringRef what) {
  for (const CheckpointData::File &file : data.getFiles())
    if (llvm::sys::fs::equivalent(file.path, options.output))
      return fail(llvm::createStringError("-o " + options.output + ": " + what));
  return true;
}

bool Compilation::runPasses(llvm::function_ref<void(PassManager &)> build) {
  PassManager passes(&context);
  if (options.printIrAfterAll || !options.printIrAfter.empty())
    passes.enableIRPrinting([](Pass *, Operation *) { return false; },
                            [&](Pass *pass, Operation *) {
                              return options.printIrAfterAll ||
                                     llvm::is_contained(options.printIrAfter, pass->getArgument());
                            },
                            /*printModuleScope=*/true, /*printAfterOnlyOnChange=*/false);
  build(passes);
  return succeeded(passes.run(*module));
}

bool Compilation::importModel() {
  ImportOptions import;
  import.activationType = elementType(options.activationType);
  import.stateType = elementType(options.stateType);
  import.kvType = elementType(options.kvType.empty() ? options.activationType : options.kvType);
  import.dummy = options.weights == WeightStorage::dummy;
  import.quantize = options.quantize;
  import.isForCpus = isForCpus;
  import.maxPositions = options.maxContext;
  import.tokenizerIds = tokenizer.ids;
  import.endToken = tokenizer.eosId;
  import.endTokenSource = isGgufFile(options.model)
                              ? options.model + ": field 'tokenizer.ggml.eos_token_id'"
                              : inModel("tokenizer_config.json") + ": field 'eos_token'";
  auto imported = importCheckpoint(context, options.model, import, data, &artifact.generation);
  if (failed(imported))
    return false;
  module = std::move(*imported);
  return checkOutput("is a file of the checkpoint") && save("1-m1.mlir");
}

bool Compilation::optimize() {
  if (options.quantize == "stored") // so that weights of different forms are not joined
    markStoredGroups(*module, data, /*onlyPlain=*/!isForCpus);
  if (!stage("optimize", [&] { return runPasses(m1::buildOptimizePipeline); }))
    return false;
  llvm::StringMap<std::vector<float>> importance;
  if (!options.calibrate.empty() && !stage("calibrate", [&] { return calibrate(importance); }))
    return false;
  if (!options.quantize.empty()) {
    const bool hasGroups = markStoredGroups(*module, data, /*onlyPlain=*/!isForCpus);
    if (options.quantize == "stored" && !hasGroups)
      return fail(
          llvm::createStringError("--quantize stored: " + options.model +
                                  " holds no weights of linears as int8 or int4 in groups that " +
                                  (isForCpus ? "CPUs" : "GPUs") + " have kernels for"));
    if (!stage("quantize", [&] {
          return runPasses([&](PassManager &passes) {
            passes.addPass(m1::createQuantizeWeightsPass({options.quantize, options.quantizeKeep}));
          });
        }))
      return false;
  }
  setColumnImportance(*module, importance);
  return save("2-m1-optimized.mlir");
}

/// Runs the model, whose weights are still those of the checkpoint.
bool Compilation::calibrate(llvm::StringMap<std::vector<float>> &importance) {
  auto sequences = readCalibration(options.calibrate, tokenizer, *module);
  if (!sequences)
    return fail(sequences.takeError());
  auto measured = measureColumns(*module, data, *sequences);
  if (failed(measured))
    return false;
  importance = std::move(*measured);
  size_t tokens = 0;
  for (const std::vector<int32_t> &sequence : *sequences)
    tokens += sequence.size();
  if (listener.note)
    listener.note("calibrated with " + m1rt::counted(tokens, "token") + " of " +
                  m1rt::counted(sequences->size(), "prompt"));
  return true;
}

/// For the artifact, so that its code can be made anew.
void Compilation::keepModule() {
  // The weights lie in the artifact as they became.
  OwningOpRef<ModuleOp> kept = module->clone();
  for (auto weight : kept->getOps<m1::WeightOp>()) {
    weight->removeAttr(columnImportanceName);
    weight->removeAttr(m1::storedScalesName);
  }
  artifact.moduleText = packModule(*kept);
}

bool Compilation::lowerToPlan() {
  bool planned = isPlanned(); // a file may be
  bool ok = runPasses([&](PassManager &passes) {
    if (!planned)
      passes.addPass(createConvertToPlanPass(targetList));
    buildPlanPipeline(passes);
  });
  return ok && save("3-plan.mlir");
}

/// Whether the stage to write is not behind the model, which may be text of any.
bool Compilation::checkStage() {
  if (!isPlanned())
    return true;
  const bool hasKernels =
      llvm::any_of(*module->getBody(), [](Operation &op) { return op.hasAttr(kernelsAttribute); });
  if (options.emit == Emit::m1 || options.emit == Emit::m1Optimized)
    return fail(llvm::createStringError(
        "--emit " + StringRef(options.emit == Emit::m1 ? "m1" : "m1-optimized") + ": " +
        options.model + " is a plan already"));
  if (options.emit == Emit::plan && hasKernels)
    return fail(llvm::createStringError("--emit plan: " + options.model +
                                        " holds the kernels of its plan already"));
  return true;
}

static llvm::Error noPlan() {
  return llvm::createStringError("no plan was made: --pass-pipeline has to convert to one");
}

bool Compilation::runPipeline() {
  std::string text;
  llvm::raw_string_ostream errors(text);
  FailureOr<OpPassManager> parsed = parsePassPipeline(options.passPipeline, errors);
  if (failed(parsed))
    return fail(llvm::createStringError("--pass-pipeline: " + StringRef(text).rtrim()));
  if (parsed->getOpAnchorName() != ModuleOp::getOperationName())
    return fail(llvm::createStringError("--pass-pipeline: expected builtin.module(…)"));
  return runPasses(
      [&](PassManager &passes) { static_cast<OpPassManager &>(passes) = std::move(*parsed); });
}

bool Compilation::generateCode() {
  bool saves = !options.saveTemps.empty();
  request.wantLlvm = saves || options.emit == Emit::llvm;
  request.wantAssembly = saves || options.emit == Emit::assembly;
  request.wantCode = options.emit == Emit::artifact;
  if (!isPlanned())
    return fail(noPlan());
  if (!runPasses([](PassManager &passes) { passes.addPass(createGenerateKernelsPass()); }) ||
      !save("4-kernels.mlir"))
    return false;
  if (options.emit == Emit::kernels)
    return true;
  for (auto plan : module->getOps<plan::TargetOp>()) {
    for (auto function : plan.getOps<plan::FunctionOp>())
      if (!function.isPlaced())
        return fail(llvm::createStringError("the buffers of plan.function @" +
                                            function.getSymName() +
                                            " have no places: plan-place-buffers has to run"));
    auto target = createTargetOf(plan);
    if (!target)
      return fail(target.takeError());
    auto code = (*target)->generateCode(plan, findKernelBodies(plan), request);
    if (!code)
      return fail(code.takeError());
    artifactTargets.push_back({plan, std::move(*code)});
  }
  return !saves || (writeText(tempPath("4-kernels.ll"),
                              [&](llvm::raw_ostream &out) { out << request.llvm; }) &&
                    writeText(tempPath("5-kernels.s"),
                              [&](llvm::raw_ostream &out) { out << request.assembly; }));
}

bool Compilation::prepareTokenizer() {
  if (checkpointDirectory().empty())
    return true;
  if (const std::string &path = checkpointDirectory(); isGgufFile(path)) {
    auto texts = readGgufTokenizer(path, [&] { return emitError(UnknownLoc::get(&context)); });
    if (failed(texts))
      return false;
    std::string error;
    if (!texts->tokenizer.empty() &&
        !m1rt::prepareTokenizerText(path, texts->tokenizer, texts->config, tokenizer, error))
      return fail(llvm::createStringError(error));
    keepText();
    return true;
  }
  std::string file = inModel("tokenizer.json");
  if (!isNamed(file))
    return true;
  std::string error;
  if (!m1rt::prepareTokenizer(file, inModel("tokenizer_config.json"), tokenizer, error))
    return fail(llvm::createStringError(error));
  keepText();
  return true;
}

void Compilation::keepText() {
  artifact.tokenizer = tokenizer.data;
  artifact.chatTemplate = tokenizer.chatTemplate;
  artifact.bosToken = tokenizer.bosToken;
  artifact.eosToken = tokenizer.eosToken;
}

/// What an artifact will lack that its user may miss.
void Compilation::warn() {
  auto model = m1::getModel(*module);
  if (model.getEosIds().empty())
    say(true, checkpointDirectory() +
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
    say(true, checkpointDirectory() + ": no tokenizer.json" +
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
    say(true, checkpointDirectory() +
                  ": no chat template in tokenizer_config.json, chat_template.jinja or "
                  "chat_template.json: prompts can only be given as they are (--raw)");
  else if (!m1rt::ChatTemplate::parse(tokenizer.chatTemplate, error))
    say(true, checkpointDirectory() + ": the chat template cannot be used: " + error +
                  "; prompts can only be given as they are (--raw)");
  // Embeddings are padded to a round number of rows; more is another vocabulary.
  const auto vocabulary = static_cast<int64_t>(model.getVocabSize());
  if (int64_t missing = vocabulary - tokenizer.ids; missing > vocabulary / 16)
    say(true, inModel("tokenizer.json") + ": has ids up to " + std::to_string(tokenizer.ids - 1) +
                  ", the model's vocabulary has " + std::to_string(vocabulary) +
                  ": is it this model's? The " + std::to_string(missing) +
                  " ids that it lacks are never drawn");
}

void Compilation::warnOfGguf() {
  const std::string &file = checkpointDirectory();
  if (m1::getModel(*module).getEosIds().empty())
    say(true, file + ": no end token in 'tokenizer.ggml.eos_token_id': answers end at "
                     "their length limit or a stop string alone");
  if (options.weights == WeightStorage::dummy)
    return;
  std::string error;
  if (tokenizer.data.empty())
    say(true, file + ": no tokenizer; the artifact takes and gives token ids alone");
  else if (tokenizer.chatTemplate.empty())
    say(true, file + ": no 'tokenizer.chat_template': prompts can only be given as they "
                     "are (--raw)");
  else if (!m1rt::ChatTemplate::parse(tokenizer.chatTemplate, error))
    say(true, file + ": the chat template cannot be used: " + error +
                  "; prompts can only be given as they are (--raw)");
}

bool Compilation::run(ArtifactSizes *outSizes) {
  if (!options.saveTemps.empty())
    if (auto error = llvm::sys::fs::create_directories(options.saveTemps))
      return fail(llvm::createStringError(error, "cannot create " + options.saveTemps + ": " +
                                                     error.message()));
  if (listener.remark) {
    remark::RemarkCategories categories;
    categories.missed = ".*";
    [[maybe_unused]] LogicalResult enabled = remark::enableOptimizationRemarks(
        context, std::make_unique<RemarkStreamer>(listener),
        std::make_unique<remark::RemarkEmittingPolicyAll>(), categories);
    assert(succeeded(enabled) && "the category is a regular expression");
  }
  if (!options.cache.empty()) {
    auto cache = KernelCache::open(options.cache, [this](StringRef text) { say(true, text); });
    if (!cache)
      return fail(cache.takeError());
    request.cache = std::move(*cache);
  }
  artifact.weights = options.weights;
  artifact.dummySeed = options.dummySeed;
  if (!checkOptions() || !readTuning() || !stage("tokenizer", [&] { return prepareTokenizer(); }) ||
      !readModel())
    return false;
  if (options.emit == Emit::artifact && !m1::getModel(*module))
    return fail(
        llvm::createStringError(options.model + ": holds no m1.model, which an artifact needs"));
  if (options.emit == Emit::artifact && isGgufFile(checkpointDirectory()))
    warnOfGguf();
  else if (options.emit == Emit::artifact && !checkpointDirectory().empty())
    warn();
  if (!checkStage())
    return false;
  if (options.emit == Emit::m1)
    return writeModule(options.output);
  if (!options.passPipeline.empty()) {
    if (!stage("passes", [&] { return runPipeline(); }))
      return false;
    if (options.emit == Emit::plan && !isPlanned())
      return fail(noPlan());
  } else {
    if (isPlanned() && !options.quantize.empty())
      return fail(llvm::createStringError("--quantize: " + options.model +
                                          " is a plan already, whose kernels are chosen"));
    if (!isPlanned() && !optimize())
      return false;
    if (options.emit == Emit::m1Optimized)
      return writeModule(options.output);
    if (!isPlanned() && options.emit == Emit::artifact)
      keepModule();
    if (!stage("plan", [&] { return lowerToPlan(); }))
      return false;
  }
  if (options.emit == Emit::plan || options.emit == Emit::m1Optimized)
    return writeModule(options.output);
  if (!stage("kernels", [&] { return generateCode(); }))
    return false;
  if (options.emit == Emit::kernels)
    return writeModule(options.output);
  if (options.emit == Emit::llvm || options.emit == Emit::assembly) {
    const std::string &text = options.emit == Emit::llvm ? request.llvm : request.assembly;
    return writeText(options.output, [&](llvm::raw_ostream &out) { out << text; });
  }
  return stage("write", [&] {
    artifact.producer = options.producer;
    artifact.progress = listener.weightsWritten;
    artifact.warn = [this](StringRef text) { say(true, text); };
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
