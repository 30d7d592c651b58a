#include "ModuleTable.h"
#include "artifact_header.h"
#include "base/output_file.h"
#include "m1c/InputFile.h"
#include "m1c/Weights.h"
#include "weight_check.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/SHA256.h"
#include "llvm/Support/raw_ostream.h"
#include <set>

using namespace mlir;

namespace m1c {

namespace m1 = mlir::m1; // not the schema's
namespace {

uint64_t alignTo(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

llvm::Error toError(const m1rt::Status &status) {
  return status.ok() ? llvm::Error::success() : llvm::createStringError(status.message());
}

/// An output file and the hash of what is written to it.
class HashedFile {
public:
  llvm::Error open(llvm::StringRef path) { return toError(file.open(path.str())); }
  llvm::Error write(llvm::StringRef bytes) {
    sha.update(bytes);
    return toError(file.write(bytes.data(), bytes.size()));
  }
  llvm::Error padTo(uint64_t offset) {
    static constexpr char zeros[4096] = {};
    while (file.size() < offset)
      if (auto error = write({zeros, size_t(std::min<uint64_t>(4096, offset - file.size()))}))
        return error;
    return llvm::Error::success();
  }

  m1rt::OutputFile file;
  llvm::SHA256 sha;
};

std::vector<uint8_t> finish(llvm::SHA256 &sha) {
  auto result = sha.final();
  return {result.begin(), result.end()};
}

std::vector<uint8_t> digestOf(llvm::StringRef bytes) {
  llvm::SHA256 sha;
  sha.update(bytes);
  return finish(sha);
}

/// The digest of a whole file of the checkpoint, which does not stay in memory.
std::vector<uint8_t> digestOfFile(const CheckpointData &data, unsigned file) {
  constexpr uint64_t window = uint64_t(32) << 20;
  llvm::StringRef bytes = data.getFiles()[file].buffer->getBuffer();
  llvm::SHA256 sha;
  for (uint64_t begin = 0; begin < bytes.size(); begin += window) {
    llvm::StringRef part = bytes.substr(begin, window);
    sha.update(part);
    data.release(file, begin, part.size());
  }
  return finish(sha);
}

/// Computes the checks of a weight (weight_check.h) from its bytes as they come.
class PieceChecks {
public:
  explicit PieceChecks(std::vector<uint64_t> &checks) : checks(checks) {}
  void add(llvm::ArrayRef<char> bytes) {
    while (!bytes.empty()) {
      size_t count = std::min<size_t>(bytes.size(), M1_WEIGHT_PIECE - piece.size());
      piece.append(bytes.begin(), bytes.begin() + count);
      bytes = bytes.drop_front(count);
      if (piece.size() == M1_WEIGHT_PIECE)
        finishPiece();
    }
  }
  void finish() {
    if (!piece.empty())
      finishPiece();
  }

private:
  void finishPiece() {
    checks.push_back(m1_weight_check(piece.data(), piece.size()));
    piece.clear();
  }
  std::vector<uint64_t> &checks;
  std::string piece;
};

/// The file of the checkpoint that holds the weight's bytes as they are, and where.
std::optional<std::pair<unsigned, uint64_t>> findVerbatim(m1::WeightOp weight,
                                                          const CheckpointData &data) {
  if (const StoredWeight *stored = data.findStored(weight.getSymName()))
    return stored->stays ? std::optional(std::pair(stored->file, stored->offset)) : std::nullopt;
  if (!weight.getSources() || weight.getSources()->size() != 1 || weight.getRowsAttr() ||
      weight.getTransform() != m1::Transform::None)
    return std::nullopt;
  const SourceTensor *source = data.find(cast<StringAttr>((*weight.getSources())[0]).getValue());
  Type element = weight.getTensorType().getElementType();
  if (!source || (source->type == StoredType::f32    ? !element.isF32()
                  : source->type == StoredType::bf16 ? !element.isBF16()
                                                     : true))
    return std::nullopt;
  if (source->data.size() != static_cast<size_t>(getWeightBytes(weight)) ||
      source->offset % byteWidth(source->type) != 0)
    return std::nullopt;
  return std::pair(source->file, source->offset);
}

/// What a weight, or the one whose scales it holds, is made of, as far as the shapes of its tensors
/// are known.
std::vector<SourceRows> findSources(m1::WeightOp weight, const CheckpointData &data) {
  m1::WeightOp source = weight.getScalesOfAttr() ? weight.getScaled() : weight;
  if (!source || !source.getSourcesAttr())
    return {};
  std::vector<SourceRows> all;
  for (auto [i, name] : llvm::enumerate(source.getSourcesAttr().getAsRange<StringAttr>())) {
    std::optional<llvm::ArrayRef<int64_t>> shape = data.findShape(name.getValue());
    if (!shape)
      return {};
    SourceRows rows{name.getValue(), *shape, 0, shape->empty() ? 1 : uint64_t(shape->front())};
    if (std::optional<llvm::ArrayRef<int64_t>> some = source.getRows()) {
      rows.first = uint64_t((*some)[2 * i]);
      rows.count = uint64_t((*some)[2 * i + 1]);
    }
    all.push_back(rows);
  }
  return all;
}

/// The way from a directory to a file. Directories are resolved first: ".." does not lead back
/// through a link.
llvm::Expected<std::string> relativePath(llvm::StringRef file, llvm::StringRef directory) {
  llvm::SmallString<256> from, to, relative;
  for (auto [path, resolved] :
       {std::pair(directory, &from), std::pair(llvm::sys::path::parent_path(file), &to)})
    if (auto error = llvm::sys::fs::real_path(path.empty() ? "." : path, *resolved))
      return llvm::createStringError(error, "cannot resolve " + path + ": " + error.message());
  llvm::sys::path::append(to, llvm::sys::path::filename(file));
  auto a = llvm::sys::path::begin(to), aEnd = llvm::sys::path::end(to);
  auto b = llvm::sys::path::begin(from), bEnd = llvm::sys::path::end(from);
  while (a != aEnd && b != bEnd && *a == *b)
    ++a, ++b;
  for (; b != bEnd; ++b)
    llvm::sys::path::append(relative, "..");
  for (; a != aEnd; ++a)
    llvm::sys::path::append(relative, *a);
  return relative.str().str();
}

class ArtifactWriter {
public:
  ArtifactWriter(llvm::StringRef path, ModuleOp module, llvm::ArrayRef<ArtifactTarget> targets,
                 const CheckpointData &data, const ArtifactOptions &options)
      : path(path), module(module), targets(targets), data(data), options(options) {}
  llvm::Expected<ArtifactSizes> write();

private:
  /// Of the weights that no file of the checkpoint holds as they are: named by its content, so that
  /// an artifact that is being replaced keeps its own.
  std::string sidecarName(llvm::ArrayRef<uint8_t> digest) const {
    return (llvm::sys::path::filename(path) + "." +
            llvm::StringRef(llvm::toHex(digest, /*LowerCase=*/true)).take_front(12) + ".weights")
        .str();
  }
  llvm::Error collectWeights();
  llvm::Error fitTuning(const fbs::Module &draft);
  uint64_t layOut(uint64_t moduleSize);
  llvm::Error streamWeight(size_t index, llvm::function_ref<bool(llvm::ArrayRef<char>)> take);
  llvm::Error writeWeights(HashedFile &file, int fileIndex);
  llvm::Error checkVerbatimWeights();
  llvm::Error writeSidecar(HashedFile &file);
  llvm::Error commit(HashedFile &sidecarFile, HashedFile &file);

  llvm::StringRef path;
  ModuleOp module;
  llvm::ArrayRef<ArtifactTarget> targets;
  const CheckpointData &data;
  const ArtifactOptions &options;
  Layout layout;
  std::vector<std::vector<uint64_t>> checks; // per weight of the layout
  // index of the file for external weights that have to be made
  int sidecar = -1;
  uint64_t weightsBegin = 0, weightBytesDone = 0, weightBytesTotal = 0;
};

/// The weights that a plan uses, and the file that each goes to or comes from.
llvm::Error ArtifactWriter::collectWeights() {
  llvm::DenseSet<StringAttr> used;
  for (const ArtifactTarget &target : targets)
    plan::TargetOp(target.plan).walk([&](plan::WeightOp op) {
      used.insert(op.getWeightAttr().getAttr());
    });
  llvm::DenseMap<unsigned, int> externalIndex;
  llvm::StringRef directory = llvm::sys::path::parent_path(path);
  uint64_t sidecarEnd = 0;
  for (auto op : module.getOps<m1::WeightOp>()) {
    if (!used.contains(op.getSymNameAttr()))
      continue;
    WeightEntry entry;
    entry.op = op;
    entry.size = static_cast<uint64_t>(getWeightBytes(op));
    entry.dummy = options.weights == WeightStorage::dummy && op.isOfCheckpoint();
    if (!entry.dummy)
      entry.sources = findSources(op, data);
    if (entry.dummy)
      entry.size = 0;
    else if (options.weights == WeightStorage::external && op.isOfCheckpoint()) {
      if (auto verbatim = findVerbatim(op, data)) {
        auto [it, isNew] =
            externalIndex.try_emplace(verbatim->first, static_cast<int>(layout.files.size()));
        if (isNew) {
          const CheckpointData::File &file = data.getFiles()[verbatim->first];
          auto relative = relativePath(file.path, directory);
          if (!relative)
            return relative.takeError();
          layout.files.push_back(
              {*relative, file.buffer->getBufferSize(), digestOfFile(data, verbatim->first)});
        }
        entry.file = it->second;
        entry.offset = verbatim->second;
      } else {
        if (sidecar < 0) {
          sidecar = static_cast<int>(layout.files.size());
          layout.files.push_back(
              {sidecarName(std::vector<uint8_t>(32)), 0, std::vector<uint8_t>(32)});
        }
        entry.file = sidecar;
        entry.offset = alignTo(sidecarEnd, M1_ARTIFACT_WEIGHT_ALIGN);
        sidecarEnd = entry.offset + entry.size;
      }
    }
    if (!entry.dummy)
      weightBytesTotal += entry.size;
    layout.checksSize += m1_weight_pieces(entry.size) * sizeof(uint64_t);
    layout.weights.push_back(entry);
  }
  checks.resize(layout.weights.size());
  if (sidecar >= 0)
    layout.files[sidecar].size = sidecarEnd;
  return llvm::Error::success();
}

/// Gives everything its offset, for a module of this size. Returns the size of the file.
uint64_t ArtifactWriter::layOut(uint64_t moduleSize) {
  uint64_t at = sizeof(m1_artifact_header) + moduleSize;
  layout.code.clear();
  for (const ArtifactTarget &target : targets) {
    auto &segments = layout.code.emplace_back();
    for (const CodeObject &object : target.code) {
      at = alignTo(at, M1_ARTIFACT_PAGE);
      segments.push_back({at, object.bytes.size()});
      at += object.bytes.size();
    }
  }
  layout.tokenizerOffset = at = alignTo(at, M1_ARTIFACT_PAGE);
  layout.moduleTextOffset = at += options.tokenizer.size();
  at = weightsBegin = alignTo(at + options.moduleText.packed.size(), M1_ARTIFACT_PAGE);
  for (WeightEntry &entry : layout.weights)
    if (!entry.dummy && entry.file < 0) {
      entry.offset = alignTo(at, M1_ARTIFACT_WEIGHT_ALIGN);
      at = entry.offset + entry.size;
    }
  layout.checksOffset = alignTo(at, sizeof(uint64_t));
  return layout.checksOffset + layout.checksSize;
}

/// Passes a weight's bytes to `take` until it returns false, and computes their checks.
llvm::Error ArtifactWriter::streamWeight(size_t index,
                                         llvm::function_ref<bool(llvm::ArrayRef<char>)> take) {
  const WeightEntry &entry = layout.weights[index];
  PieceChecks check(checks[index]);
  bool taken = true;
  auto sink = [&](llvm::ArrayRef<char> bytes) {
    taken = take(bytes);
    check.add(bytes);
    weightBytesDone += bytes.size();
    if (options.progress)
      options.progress(weightBytesDone, weightBytesTotal);
    return success(taken);
  };
  const bool failed = mlir::failed(writeWeight(entry.op, data, sink)) && taken;
  if (failed && data.isStored()) {
    StringRef name = m1::WeightOp(entry.op).getSymName();
    return llvm::createStringError(data.getFiles().front().path +
                                   (data.findStored(name)
                                        ? ": damaged or changed: weight '" + name +
                                              "' is not the one that the artifact was made with"
                                        : ": holds no weight '" + name + "'"));
  }
  if (failed) // as writeWeight has reported
    return llvm::createStringError("");
  check.finish();
  return llvm::Error::success();
}

llvm::Error ArtifactWriter::writeWeights(HashedFile &file, int fileIndex) {
  for (auto [index, entry] : llvm::enumerate(layout.weights)) {
    if (entry.dummy || entry.file != fileIndex)
      continue;
    if (auto error = file.padTo(entry.offset))
      return error;
    llvm::Error stored = llvm::Error::success();
    (void)!stored; // checked, so that it may be assigned to
    auto write = [&](llvm::ArrayRef<char> bytes) {
      stored = file.write({bytes.data(), bytes.size()});
      return !stored;
    };
    if (auto error = streamWeight(index, write))
      return llvm::joinErrors(std::move(stored), std::move(error));
    if (stored)
      return stored;
  }
  return llvm::Error::success();
}

/// Weights that stay where they are in the checkpoint are read for their checks alone.
llvm::Error ArtifactWriter::checkVerbatimWeights() {
  for (auto [index, entry] : llvm::enumerate(layout.weights))
    if (!entry.dummy && entry.file >= 0 && entry.file != sidecar)
      if (auto error = streamWeight(index, [](llvm::ArrayRef<char>) { return true; }))
        return error;
  return llvm::Error::success();
}

llvm::Error ArtifactWriter::writeSidecar(HashedFile &file) {
  if (sidecar < 0)
    return llvm::Error::success();
  if (auto error = file.open(path))
    return error;
  if (auto error = writeWeights(file, sidecar))
    return error;
  if (auto error = toError(file.file.finish()))
    return error;
  ExternalFileEntry &entry = layout.files[sidecar];
  entry.digest = finish(file.sha);
  entry.name = sidecarName(entry.digest);
  return llvm::Error::success();
}

/// The sidecar's name comes first: until the artifact's own rename nothing refers to it.
llvm::Error ArtifactWriter::commit(HashedFile &sidecarFile, HashedFile &file) {
  if (auto error = toError(checkUnchanged(data)))
    return error;
  if (auto error = toError(file.file.finish()))
    return error;
  if (sidecar < 0)
    return toError(file.file.commit());
  llvm::SmallString<256> target(llvm::sys::path::parent_path(path));
  llvm::sys::path::append(target, layout.files[sidecar].name);
  if (auto error = toError(sidecarFile.file.commit(target.str().str())))
    return error;
  // A failure may come after the renaming, in the directory's synchronisation: the weights stay, as
  // the artifact in place may be the one that needs them.
  return toError(file.file.commit());
}

/// Gives every target its tables of measured products.
llvm::Error ArtifactWriter::fitTuning(const fbs::Module &draft) {
  // Puts the table into the target that a GPU of its chip takes. Returns how many of its products
  // that one's plan lacks, or nothing when there is no code for the chip.
  auto fit = [&](m1rt::TuningTable table) -> std::optional<size_t> {
    const int capability = m1rt::capabilityOf(table.chip, nullptr);
    int best = -1;
    uint32_t taken = 0;
    for (uint32_t i = 0; i < draft.targets()->size(); ++i)
      for (const fbs::Code *code : *draft.targets()->Get(i)->code())
        if (int suits = m1rt::suitabilityOf(*code, capability); suits > best)
          best = suits, taken = i;
    if (best < 0)
      return std::nullopt;
    const auto products = m1rt::productsOf(*draft.targets()->Get(taken));
    const size_t all = table.products.size();
    for (auto it = table.products.begin(); it != table.products.end();) {
      m1rt::GemmShape shape = it->first;
      shape.m = 0;
      it = products.count(shape) ? std::next(it) : table.products.erase(it);
    }
    const size_t lost = all - table.products.size();
    if (!table.products.empty())
      layout.tuning[taken].push_back(std::move(table));
    return lost;
  };
  std::set<std::string> machines;
  for (const auto &[source, text] : options.tuning) {
    m1rt::TuningTable table;
    if (auto error = toError(m1rt::parseTuningTable(text, source, &table)))
      return error;
    if (!machines.insert(m1rt::machineOf(table)).second)
      return llvm::createStringError(source + ": a second table for " + m1rt::machineOf(table));
    const std::optional<size_t> foreign = fit(table);
    if (!foreign)
      return llvm::createStringError(source + ": measured on " + table.gpu + " (" + table.chip +
                                     "), for which --target makes no code");
    if (*foreign)
      return llvm::createStringError(
          source + ": " + std::to_string(*foreign) + " of its " +
          std::to_string(table.products.size()) +
          " products are none of this model's plan: tune with an artifact of the same model, types "
          "and --quantize");
  }
  for (const std::string &text : options.keptTuning) {
    m1rt::TuningTable table;
    if (auto error = toError(m1rt::parseTuningTable(text, "the artifact", &table)))
      return error;
    if (!machines.insert(m1rt::machineOf(table)).second)
      continue;
    const std::optional<size_t> foreign = fit(table);
    if (foreign.value_or(0) && options.warn)
      options.warn("the artifact's tuning table for " + m1rt::machineOf(table) + ": " +
                   std::to_string(*foreign) + " of its " + std::to_string(table.products.size()) +
                   " products are none of the new plan and are left out: tune again");
  }
  return llvm::Error::success();
}

llvm::Expected<ArtifactSizes> ArtifactWriter::write() {
  // Before all else: what cannot be written needs no weights.
  HashedFile file, sidecarFile;
  if (auto error = file.open(path))
    return std::move(error);
  if (auto error = collectWeights())
    return std::move(error);
  layOut(0);
  layout.tuning.resize(targets.size());
  std::string draft = buildModuleTable(module, targets, layout, options);
  if (!options.tuning.empty() || !options.keptTuning.empty()) {
    if (auto error = fitTuning(*fbs::GetModule(draft.data())))
      return std::move(error);
    draft = buildModuleTable(module, targets, layout, options);
  }
  ArtifactSizes sizes;
  sizes.module = alignTo(draft.size(), 64);
  sizes.file = std::max(layOut(draft.size()), weightsBegin);

  if (auto error = checkVerbatimWeights())
    return std::move(error);
  if (auto error = writeSidecar(sidecarFile))
    return std::move(error);
  const std::string table = buildModuleTable(module, targets, layout, options);
  assert(table.size() == draft.size() && "every scalar is stored");

  // Everything that the digest covers is small; put together in memory.
  std::string head(weightsBegin, '\0');
  m1_artifact_header header = {};
  std::copy_n(M1_ARTIFACT_MAGIC, sizeof(header.magic), header.magic);
  header.version = fbs::GetModule(table.data())->version();
  header.digested_pages = static_cast<uint32_t>(weightsBegin / M1_ARTIFACT_PAGE);
  header.module_offset = sizeof(header);
  header.module_size = table.size();
  auto put = [&](uint64_t offset, llvm::StringRef bytes) {
    std::copy(bytes.begin(), bytes.end(), head.begin() + offset);
  };
  put(0, {reinterpret_cast<const char *>(&header), sizeof(header)});
  put(header.module_offset, table);
  for (auto [target, segments] : llvm::zip_equal(targets, layout.code))
    for (auto [object, segment] : llvm::zip_equal(target.code, segments)) {
      put(segment.first, object.bytes);
      sizes.code += object.bytes.size();
    }
  put(layout.tokenizerOffset, options.tokenizer);
  put(layout.moduleTextOffset, options.moduleText.packed);
  std::vector<uint8_t> digest = digestOf(head);
  std::copy(digest.begin(), digest.end(), header.digest);
  put(0, {reinterpret_cast<const char *>(&header), sizeof(header)});

  if (auto error = file.write(head))
    return std::move(error);
  if (auto error = writeWeights(file, -1))
    return std::move(error);
  if (auto error = file.padTo(layout.checksOffset))
    return std::move(error);
  for (const std::vector<uint64_t> &ofWeight : checks)
    if (auto error = file.write(
            {reinterpret_cast<const char *>(ofWeight.data()), ofWeight.size() * sizeof(uint64_t)}))
      return std::move(error);
  if (auto error = commit(sidecarFile, file))
    return std::move(error);
  sizes.weights = weightBytesTotal;
  return sizes;
}

} // namespace

llvm::Expected<ArtifactSizes> writeArtifact(llvm::StringRef path, ModuleOp module,
                                            llvm::ArrayRef<ArtifactTarget> targets,
                                            const CheckpointData &data,
                                            const ArtifactOptions &options) {
  return ArtifactWriter(path, module, targets, data, options).write();
}

} // namespace m1c
