#include "ModuleTable.h"
#include "artifact_header.h"
#include "m1c/Weights.h"
#include "weight_check.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/SHA256.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;

namespace m1c {

namespace m1 = mlir::m1; // not the schema's
namespace {

uint64_t alignTo(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

/// A file under a temporary name until it is kept; removed otherwise. What exists and is no regular
/// file (a pipe, a device) is written as it is, never replaced.
class OutputFile {
public:
  static llvm::Expected<OutputFile> create(llvm::StringRef path) {
    llvm::sys::fs::file_status status;
    if (!llvm::sys::fs::status(path, status) && !llvm::sys::fs::is_regular_file(status)) {
      std::error_code error;
      auto stream =
          std::make_unique<llvm::raw_fd_ostream>(path, error, llvm::sys::fs::CD_OpenExisting,
                                                 llvm::sys::fs::FA_Write, llvm::sys::fs::OF_None);
      if (error)
        return llvm::createStringError(error, "cannot write " + path + ": " + error.message());
      return OutputFile(path, nullptr, std::move(stream));
    }
    auto file = llvm::sys::fs::TempFile::create(path + ".%%%%%%.tmp",
                                                llvm::sys::fs::all_read | llvm::sys::fs::all_write);
    if (!file)
      return llvm::createStringError("cannot write " + path + ": " +
                                     llvm::toString(file.takeError()));
    auto temporary = std::make_unique<llvm::sys::fs::TempFile>(std::move(*file));
    auto stream = std::make_unique<llvm::raw_fd_ostream>(temporary->FD, /*shouldClose=*/false);
    return OutputFile(path, std::move(temporary), std::move(stream));
  }
  OutputFile(OutputFile &&) = default;
  ~OutputFile() {
    if (stream)
      stream->clear_error();
    stream.reset();
    if (file)
      llvm::consumeError(file->discard());
  }

  /// False once a write failed; `finish` tells why.
  bool write(llvm::StringRef bytes) {
    *stream << bytes;
    position += bytes.size();
    if (sha)
      sha->update(bytes);
    return !stream->has_error();
  }
  bool padTo(uint64_t offset) {
    static constexpr char kZeros[4096] = {};
    bool ok = true;
    while (ok && position < offset)
      ok = write(
          {kZeros, static_cast<size_t>(std::min<uint64_t>(sizeof(kZeros), offset - position))});
    return ok;
  }
  uint64_t tell() const { return position; }
  /// From now on what is written also goes to `hash`.
  void hashTo(llvm::SHA256 &hash) { sha = &hash; }

  llvm::Error finish() {
    stream->flush();
    if (stream->has_error()) {
      std::error_code error = stream->error();
      stream->clear_error();
      return llvm::createStringError(error, "cannot write " + path + ": " + error.message());
    }
    stream.reset();
    if (!file)
      return llvm::Error::success();
    auto kept = std::move(*file);
    file.reset();
    if (auto error = kept.keep(path))
      return llvm::createStringError("cannot rename to " + path + ": " +
                                     llvm::toString(std::move(error)));
    return llvm::Error::success();
  }

private:
  OutputFile(llvm::StringRef path, std::unique_ptr<llvm::sys::fs::TempFile> file,
             std::unique_ptr<llvm::raw_fd_ostream> stream)
      : path(path.str()), file(std::move(file)), stream(std::move(stream)) {
    this->stream->SetBufferSize(1 << 20);
  }
  std::string path;
  std::unique_ptr<llvm::sys::fs::TempFile> file; // null when written in place
  std::unique_ptr<llvm::raw_fd_ostream> stream;
  uint64_t position = 0;
  llvm::SHA256 *sha = nullptr;
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
  if (!weight.getSources() || weight.getSources()->size() != 1 ||
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
  std::string sidecarPath() const { return (path + ".weights").str(); }
  llvm::Error collectWeights();
  uint64_t layOut(uint64_t moduleSize);
  llvm::Error streamWeight(size_t index, llvm::function_ref<bool(llvm::ArrayRef<char>)> take);
  llvm::Error writeWeights(OutputFile &file, int fileIndex);
  llvm::Error checkVerbatimWeights();
  llvm::Error writeSidecar();

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
      used.insert(op.getWeight().getLeafReference());
    });
  llvm::DenseMap<unsigned, int> externalIndex;
  llvm::StringRef directory = llvm::sys::path::parent_path(path);
  uint64_t sidecarEnd = 0;
  for (auto op : module.getOps<m1::WeightOp>()) {
    if (!used.contains(op.getSymNameAttr()))
      continue;
    WeightEntry entry{op};
    entry.size = static_cast<uint64_t>(getWeightBytes(op));
    entry.dummy = options.weights == WeightStorage::dummy && op.getSources();
    if (entry.dummy)
      entry.size = 0;
    else if (options.weights == WeightStorage::external && op.getSources()) {
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
              {llvm::sys::path::filename(sidecarPath()).str(), 0, std::vector<uint8_t>(32)});
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
  at = weightsBegin = alignTo(at + options.tokenizer.size(), M1_ARTIFACT_PAGE);
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
  uint64_t size = 0;
  bool taken = true;
  auto sink = [&](llvm::ArrayRef<char> bytes) {
    taken = take(bytes);
    check.add(bytes);
    size += bytes.size();
    weightBytesDone += bytes.size();
    if (options.progress)
      options.progress(weightBytesDone, weightBytesTotal);
    return success(taken);
  };
  if (failed(writeWeight(entry.op, data, sink)) && taken)
    return llvm::createStringError("cannot read weight '" + m1::WeightOp(entry.op).getSymName() +
                                   "'");
  check.finish();
  if (taken && size != entry.size)
    return llvm::createStringError("weight '" + m1::WeightOp(entry.op).getSymName() +
                                   "' has another size than its type says");
  return llvm::Error::success();
}

llvm::Error ArtifactWriter::writeWeights(OutputFile &file, int fileIndex) {
  for (auto [index, entry] : llvm::enumerate(layout.weights)) {
    if (entry.dummy || entry.file != fileIndex)
      continue;
    file.padTo(entry.offset);
    bool stored = true;
    auto write = [&](llvm::ArrayRef<char> bytes) {
      return stored = file.write({bytes.data(), bytes.size()});
    };
    if (auto error = streamWeight(index, write))
      return error;
    if (!stored)
      return file.finish();
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

llvm::Error ArtifactWriter::writeSidecar() {
  if (sidecar < 0)
    return llvm::Error::success();
  std::string name = sidecarPath();
  auto file = OutputFile::create(name);
  if (!file)
    return file.takeError();
  llvm::SHA256 sha;
  file->hashTo(sha);
  if (auto error = writeWeights(*file, sidecar))
    return error;
  if (auto error = file->finish())
    return error;
  layout.files[sidecar].digest = finish(sha);
  return llvm::Error::success();
}

llvm::Expected<ArtifactSizes> ArtifactWriter::write() {
  if (auto error = collectWeights())
    return std::move(error);
  layOut(0);
  auto draft = buildModuleTable(module, targets, layout, options);
  if (!draft)
    return draft.takeError();
  ArtifactSizes sizes;
  sizes.module = alignTo(draft->size(), 64);
  sizes.file = std::max(layOut(draft->size()), weightsBegin);

  auto file = OutputFile::create(path);
  if (!file)
    return file.takeError();
  bool keepsSidecar = false;
  auto removeSidecar = llvm::scope_exit([&] {
    if (sidecar >= 0 && !keepsSidecar)
      llvm::sys::fs::remove(sidecarPath());
  });
  if (auto error = checkVerbatimWeights())
    return std::move(error);
  if (auto error = writeSidecar())
    return std::move(error);
  auto table = buildModuleTable(module, targets, layout, options);
  if (!table)
    return table.takeError();
  if (table->size() != draft->size())
    return llvm::createStringError("the size of the module table depends on its offsets");

  // Everything that the digest covers is small; put together in memory.
  std::string head(weightsBegin, '\0');
  m1_artifact_header header = {};
  std::copy_n(M1_ARTIFACT_MAGIC, sizeof(header.magic), header.magic);
  header.version = M1_ARTIFACT_VERSION;
  header.digested_pages = static_cast<uint32_t>(weightsBegin / M1_ARTIFACT_PAGE);
  header.module_offset = sizeof(header);
  header.module_size = table->size();
  auto put = [&](uint64_t offset, llvm::StringRef bytes) {
    std::copy(bytes.begin(), bytes.end(), head.begin() + offset);
  };
  put(0, {reinterpret_cast<const char *>(&header), sizeof(header)});
  put(header.module_offset, *table);
  for (auto [target, segments] : llvm::zip_equal(targets, layout.code))
    for (auto [object, segment] : llvm::zip_equal(target.code, segments)) {
      put(segment.first, object.bytes);
      sizes.code += object.bytes.size();
    }
  put(layout.tokenizerOffset, options.tokenizer);
  std::vector<uint8_t> digest = digestOf(head);
  std::copy(digest.begin(), digest.end(), header.digest);
  put(0, {reinterpret_cast<const char *>(&header), sizeof(header)});

  if (!file->write(head))
    return file->finish();
  if (auto error = writeWeights(*file, -1))
    return std::move(error);
  file->padTo(layout.checksOffset);
  for (const std::vector<uint64_t> &ofWeight : checks)
    file->write(
        {reinterpret_cast<const char *>(ofWeight.data()), ofWeight.size() * sizeof(uint64_t)});
  if (auto error = file->finish())
    return std::move(error);
  keepsSidecar = true;
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
