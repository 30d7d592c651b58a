// What an artifact gives to make its code anew, and the text of the module in it. The artifact may
// be a stranger's: the runtime's loader checks it, its text is held to what packModule() writes
// before MLIR's parser, which recurses with the text, sees it.
#include "artifact/artifact.h"
#include "artifact/tuning_table.h"
#include "m1c/Artifact.h"
#include "m1c/InputFile.h"
#include "m1c/ReadableText.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"
#include "tokenizer/tokenizer.h"
#include "weight_check.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Compression.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;

namespace m1c {

namespace m1 = mlir::m1; // not the schema's
namespace fbs = m1rt::schema;
namespace {

// 300 times the text of a model of 28 layers.
constexpr uint64_t largestText = uint64_t(64) << 20;
// What packModule() writes nests to 8 or so; the parser needs a few kilobytes of stack a level.
constexpr int deepest = 64;

llvm::Error malformed(const llvm::Twine &what) {
  return llvm::createStringError("the module in it: " + what);
}

/// Whether the text has nothing that the parser and what works on its result recurse into without
/// bound: deep brackets, chains of aliases, of signs. Resources, a section in {-# … #-}, begin with
/// a sign too.
llvm::Error checkLexically(llvm::StringRef text) {
  int depth = 0;
  bool atLineStart = true;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i], next = i + 1 < text.size() ? text[i + 1] : '\0';
    switch (c) {
    case '"':
      for (++i; i < text.size() && text[i] != '"'; ++i)
        if (text[i] == '\\')
          ++i;
      break;
    case '(':
    case '[':
    case '{':
    case '<':
      if (++depth > deepest)
        return malformed("nests deeper than " + llvm::Twine(deepest));
      break;
    case ')':
    case ']':
    case '}':
      --depth;
      break;
    case '>':
      depth -= i > 0 && text[i - 1] != '-';
      break;
    case '-':
      if (next != '>' && !llvm::isDigit(next))
        return malformed("a '-' without a number");
      break;
    case '/':
      if (next == '/')
        return malformed("has a comment");
      break;
    case '#':
    case '!':
      if (atLineStart)
        return malformed("has an alias");
      break;
    default:
      break;
    }
    atLineStart = c == '\n' || (atLineStart && (c == ' ' || c == '\t' || c == '\r'));
  }
  return llvm::Error::success();
}

/// A program could hide in the plan's operations: kernels with their source.
llvm::Error checkOperations(ModuleOp module) {
  Operation *other = nullptr;
  module.walk([&](Operation *op) {
    if (op != module &&
        !isa_and_present<m1::M1Dialect, func::FuncDialect, arith::ArithDialect, math::MathDialect>(
            op->getDialect()))
      other = op;
  });
  if (other)
    return malformed("holds '" + other->getName().getStringRef() +
                     "', which is no operation of m1");
  if (!m1::getModel(module))
    return malformed("has no m1.model");
  return llvm::Error::success();
}

llvm::Expected<std::string> unpack(const m1rt::Artifact &artifact) {
  const fbs::ModuleText *from = artifact.module().module_text();
  if (!from)
    return llvm::createStringError(
        "holds no module to make code from: it was made by an older m1-compile, from a plan, or "
        "with --pass-pipeline; compile its checkpoint");
  if (from->bytes() > largestText)
    return malformed("says that it has " + llvm::Twine(from->bytes()) + " bytes, more than " +
                     llvm::Twine(largestText));
  const m1rt::Bytes packed = artifact.segment(*from->data());
  llvm::SmallVector<uint8_t> text;
  if (auto error = llvm::compression::zstd::decompress({packed.data, packed.size}, text,
                                                       size_t(from->bytes())))
    return malformed("damaged: " + llvm::toString(std::move(error)));
  if (text.size() != from->bytes())
    return malformed("has " + llvm::Twine(text.size()) + " bytes, not " +
                     llvm::Twine(from->bytes()));
  return std::string(text.begin(), text.end());
}

llvm::Expected<OwningOpRef<ModuleOp>> parse(llvm::StringRef text, MLIRContext &context) {
  if (auto error = checkLexically(text))
    return std::move(error);
  if (holdsIndexArray(text))
    return malformed("has an array of index");
  std::string message;
  // The first error says what is wrong; its place is one in a text that nobody sees.
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    if (message.empty() && diagnostic.getSeverity() == DiagnosticSeverity::Error) {
      StringRef name = m1::nameOf(diagnostic.getLocation());
      message = (name.empty() ? "" : name.str() + ": ") + diagnostic.str();
    }
    return success();
  });
  OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(text, ParserConfig(&context));
  if (!module)
    return malformed(message);
  if (auto error = checkOperations(*module))
    return std::move(error);
  return std::move(module);
}

Type elementOf(fbs::ElementType type, MLIRContext *context) {
  switch (type) {
  case fbs::ElementType::f32:
    return Float32Type::get(context);
  case fbs::ElementType::bf16:
    return BFloat16Type::get(context);
  case fbs::ElementType::f16:
    return Float16Type::get(context);
  case fbs::ElementType::i32:
    return IntegerType::get(context, 32);
  case fbs::ElementType::u8:
  case fbs::ElementType::i8:
    return IntegerType::get(context, 8);
  case fbs::ElementType::i4x2:
    return IntegerType::get(context, 8, IntegerType::Unsigned);
  case fbs::ElementType::f8e4m3:
    return Float8E4M3FNType::get(context);
  }
  return Type();
}

std::string textOf(Type type) {
  std::string text;
  llvm::raw_string_ostream(text) << type;
  return text;
}

/// The weights, of the types that the module declares for them.
llvm::Error takeWeights(std::shared_ptr<const m1rt::Artifact> artifact, ModuleOp module,
                        CheckpointData &data, ArtifactOptions &options) {
  const fbs::Module &table = artifact->module();
  std::vector<CheckpointData::File> files;
  auto addFile = [&](const std::string &path, m1rt::Bytes bytes) {
    files.push_back({path, llvm::MemoryBuffer::getMemBuffer(
                               {reinterpret_cast<const char *>(bytes.data), bytes.size}, path,
                               /*RequiresNullTerminator=*/false)});
  };
  addFile(artifact->path(), artifact->file(-1).bytes());
  for (uint32_t i = 0; table.external_files() && i < table.external_files()->size(); ++i)
    addFile(artifact->file(int32_t(i)).path(), artifact->file(int32_t(i)).bytes());

  SymbolTable symbols(module);
  llvm::StringMap<StoredWeight> weights;
  size_t piece = 0;
  for (uint32_t i = 0; table.weights() && i < table.weights()->size(); ++i) {
    const fbs::Weight &weight = *table.weights()->Get(i);
    const std::string name = weight.name()->str();
    SmallVector<int64_t> shape;
    if (weight.type()->shape())
      shape.assign(weight.type()->shape()->begin(), weight.type()->shape()->end());
    Type type =
        RankedTensorType::get(shape, elementOf(weight.type()->element(), module.getContext()));
    auto op = symbols.lookup<m1::WeightOp>(name);
    if (!op || op.getTensorType() != type)
      return malformed("weight '" + name + "': expected " +
                       (op ? textOf(op.getTensorType()) : "none") + ", the artifact holds " +
                       textOf(type));
    if (weight.dummy()) {
      options.weights = WeightStorage::dummy;
      options.dummySeed = table.dummy_seed();
      continue;
    }
    const m1rt::Bytes bytes = artifact->weightData(i);
    const size_t pieces = m1_weight_pieces(bytes.size);
    if (piece + pieces > artifact->weightChecks().size())
      return llvm::createStringError("its weights have no checks");
    const int32_t file = weight.file();
    // What no checkpoint held as it is goes where the new artifact's own weights are.
    bool stays = file >= 0 && !StringRef(artifact->file(file).path()).ends_with(".weights");
    bool isNew =
        weights
            .try_emplace(name,
                         StoredWeight{{reinterpret_cast<const char *>(bytes.data), bytes.size},
                                      ArrayRef(artifact->weightChecks()).slice(piece, pieces),
                                      unsigned(file + 1),
                                      weight.data()->offset(),
                                      stays})
            .second;
    if (!isNew)
      return llvm::createStringError("two weights are named '" + name + "'");
    piece += pieces;
  }
  llvm::StringMap<SmallVector<int64_t>> shapes;
  if (table.checkpoint_tensors())
    for (const fbs::CheckpointTensor *tensor : *table.checkpoint_tensors()) {
      SmallVector<int64_t> &shape = shapes[tensor->name()->str()];
      if (tensor->shape())
        shape.assign(tensor->shape()->begin(), tensor->shape()->end());
    }
  data.setStored(std::move(files), std::move(weights), std::move(shapes), std::move(artifact));
  return llvm::Error::success();
}

llvm::Error takeTuning(const m1rt::Artifact &artifact, ArtifactOptions &options) {
  for (const fbs::Target *target : *artifact.module().targets())
    for (uint32_t i = 0; target->tuning() && i < target->tuning()->size(); ++i) {
      m1rt::TuningTable table;
      if (m1rt::Status status = m1rt::readTuningTable(*target->tuning()->Get(i), &table);
          !status.ok())
        return llvm::createStringError(status.message());
      options.keptTuning.push_back(m1rt::tuningTableText(table));
    }
  return llvm::Error::success();
}

llvm::Error takeText(const m1rt::Artifact &artifact, ArtifactOptions &options) {
  if (const fbs::Tokenizer *from = artifact.module().tokenizer(); from && from->data()) {
    const m1rt::Bytes bytes = artifact.segment(*from->data());
    options.tokenizer.assign(reinterpret_cast<const char *>(bytes.data), bytes.size);
    std::string error;
    if (!m1rt::Tokenizer::load(options.tokenizer, error))
      return llvm::createStringError("its tokenizer: " + error);
    auto text = [](const flatbuffers::String *string) { return string ? string->str() : ""; };
    options.chatTemplate = text(from->chat_template());
    options.bosToken = text(from->bos_token());
    options.eosToken = text(from->eos_token());
  }
  const m1rt::GenerationDefaults from = artifact.generationDefaults();
  options.generation.temperature = from.temperature;
  options.generation.topK = from.topK;
  options.generation.topP = from.topP;
  options.generation.minP = from.minP;
  options.generation.repetitionPenalty = from.repetitionPenalty;
  return llvm::Error::success();
}

} // namespace

ModuleText packModule(ModuleOp module) {
  OwningOpRef<ModuleOp> copy = module.clone();
  // Places in files are of this machine, and no part of the program.
  auto keepName = [](Location loc) -> Location {
    StringRef name = m1::nameOf(loc);
    return name.empty() ? Location(UnknownLoc::get(loc.getContext()))
                        : Location(NameLoc::get(StringAttr::get(loc.getContext(), name)));
  };
  copy->walk([&](Operation *op) {
    op->setLoc(keepName(op->getLoc()));
    for (Region &region : op->getRegions())
      for (Block &block : region)
        for (BlockArgument argument : block.getArguments())
          argument.setLoc(keepName(argument.getLoc()));
  });
  std::string text;
  llvm::raw_string_ostream out(text);
  // Without aliases, which checkLexically() would have to follow.
  copy->print(out, OpPrintingFlags().enableDebugInfo().useLocalScope());
  llvm::SmallVector<uint8_t> packed;
  llvm::compression::zstd::compress(llvm::arrayRefFromStringRef(text), packed,
                                    llvm::compression::zstd::BestSizeCompression);
  return ModuleText{std::string(packed.begin(), packed.end()), text.size()};
}

bool isArtifact(llvm::StringRef path) { return readBeginning(path, 8) == M1_ARTIFACT_MAGIC; }

llvm::Expected<OwningOpRef<ModuleOp>> readArtifact(llvm::StringRef path,
                                                   llvm::ArrayRef<std::string> allowExternal,
                                                   MLIRContext &context, CheckpointData &data,
                                                   ArtifactOptions &options) {
  m1rt::ArtifactOptions opening;
  opening.allowExternal = allowExternal.vec();
  std::unique_ptr<m1rt::Artifact> opened;
  if (m1rt::Status status = m1rt::Artifact::open(path.str(), opening, &opened); !status.ok())
    return llvm::createStringError(status.message());
  std::shared_ptr<const m1rt::Artifact> artifact = std::move(opened);
  auto prefixed = [&](llvm::Error error) {
    return llvm::createStringError(path + ": " + llvm::toString(std::move(error)));
  };
  auto text = unpack(*artifact);
  if (!text)
    return prefixed(text.takeError());
  auto module = parse(*text, context);
  if (!module)
    return prefixed(module.takeError());
  if (auto error = takeWeights(artifact, **module, data, options))
    return prefixed(std::move(error));
  if (auto error = takeTuning(*artifact, options))
    return prefixed(std::move(error));
  if (auto error = takeText(*artifact, options))
    return prefixed(std::move(error));
  return module;
}

} // namespace m1c
