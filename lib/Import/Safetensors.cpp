// Safetensors files, mapped: an 8-byte little-endian header length, a JSON header, then the
// elements.
#include "BlockDiagonal.h"
#include "Fields.h"
#include "Json.h"
#include "Quantisation.h"
#include "base/foreign_file.h"
#include "m1c/Checkpoint.h"
#include "m1c/Import.h"
#include "m1c/InputFile.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/Path.h"

#include <algorithm>
#include <sys/mman.h>
#include <unistd.h>

using namespace mlir;
using namespace m1c;

using EmitError = llvm::function_ref<InFlightDiagnostic()>;

namespace {

/// What one entry of a safetensors header says.
struct HeaderEntry {
  std::string type;
  SmallVector<int64_t> shape;
  uint64_t begin = 0, end = 0;
};

FailureOr<HeaderEntry> parseEntry(StringRef path, StringRef name, const llvm::json::Value &value,
                                  EmitError emitError) {
  const llvm::json::Object *object = value.getAsObject();
  if (!object) {
    emitError() << path << ": tensor '" << name << "': expected an object, got "
                << Fields::text(value);
    return failure();
  }
  auto malformed = [&](const char *field, const char *expected) {
    const llvm::json::Value *got = object->get(field);
    emitError() << path << ": tensor '" << name << "': field '" << field << "': "
                << (got ? std::string("expected ") + expected + ", got " + Fields::text(*got)
                        : "missing");
    return failure();
  };
  HeaderEntry entry;
  std::optional<StringRef> type = object->getString("dtype");
  if (!type)
    return malformed("dtype", "a string");
  entry.type = type->str();
  const char *sizes = "a list of integers from 0 to 2^63 - 1";
  const llvm::json::Array *shape = object->getArray("shape");
  if (!shape)
    return malformed("shape", sizes);
  for (const llvm::json::Value &size : *shape) {
    std::optional<uint64_t> number = size.getAsUINT64(); // none of 64.0
    if (!number || *number > INT64_MAX)
      return malformed("shape", sizes);
    entry.shape.push_back(static_cast<int64_t>(*number));
  }
  const llvm::json::Array *range = object->getArray("data_offsets");
  if (!range || range->size() != 2)
    return malformed("data_offsets", "two integers, where the tensor begins and ends");
  std::optional<uint64_t> begin = (*range)[0].getAsUINT64(), end = (*range)[1].getAsUINT64();
  if (!begin || !end || *begin > *end)
    return malformed("data_offsets", "two integers, where the tensor begins and ends");
  entry.begin = *begin;
  entry.end = *end;
  return entry;
}

/// Number of elements; nullopt when it does not fit in 62 bits.
std::optional<int64_t> countElements(ArrayRef<int64_t> shape) {
  int64_t count = 1;
  for (int64_t size : shape)
    if (__builtin_mul_overflow(count, size, &count) || count > (int64_t(1) << 60))
      return std::nullopt;
  return count;
}

std::optional<StoredType> parseType(StringRef name) {
  return llvm::StringSwitch<std::optional<StoredType>>(name)
      .Case("F32", StoredType::f32)
      .Case("BF16", StoredType::bf16)
      .Case("F16", StoredType::f16)
      .Case("F8_E4M3", StoredType::e4m3)
      .Case("I8", StoredType::i8)
      .Case("I32", StoredType::i32)
      .Case("I64", StoredType::i64)
      .Default(std::nullopt);
}

/// What a path names that is no checkpoint directory; empty when it is a directory.
std::string describeNoDirectory(StringRef path) {
  llvm::sys::fs::file_status status;
  if (std::error_code error = llvm::sys::fs::status(path, status);
      error && error != std::errc::no_such_file_or_directory)
    return "cannot read: " + error.message();
  if (!llvm::sys::fs::exists(status))
    return "no such directory" + m1rt::describeMissingPath({path.data(), path.size()});
  if (llvm::sys::fs::is_directory(path))
    return {};
  const std::string bytes = readBeginning(path, 64);
  if (std::string foreign = m1rt::describeForeignFile(bytes); !foreign.empty())
    return foreign;
  if (StringRef(bytes).starts_with("M1ARTIFA"))
    return "is an artifact, compiled already: m1-run runs it";
  if (path.ends_with(".safetensors") || path.ends_with(".json"))
    return "not a directory: give the one that holds the file";
  return "not a directory";
}

/// What a directory without safetensors holds instead, for a message.
std::string describeOtherWeights(StringRef directory) {
  std::error_code error;
  std::string found;
  for (llvm::sys::fs::directory_iterator at(directory, error), end; !error && at != end;
       at.increment(error)) {
    StringRef name = llvm::sys::path::filename(at->path());
    if (name.starts_with("pytorch_model") || name.ends_with(".pth") || name.ends_with(".pt"))
      found = "; " + name.str() +
              " holds the weights as a pickle of PyTorch: convert it to safetensors, for instance "
              "with save_pretrained(DIR, safe_serialization=True)";
    else if (name.ends_with(".gguf") && found.empty())
      found = "; " + name.str() + " is a GGUF file: give the file itself to m1-compile";
    else if (name.ends_with(".zip") && found.empty())
      found = "; " + name.str() + " is a zip archive: unpack it";
    else if (name == "adapter_config.json" && found.empty())
      found = "; it is an adapter (LoRA): merge it into its base model";
  }
  return error ? "; what else it holds cannot be listed: " + error.message() : found;
}

} // namespace

/// As the format's own reader: sorted by their offsets, tensors fill the data without a gap or an
/// overlap.
LogicalResult CheckpointData::checkCoverage(StringRef path, size_t first, uint64_t begin,
                                            uint64_t end, EmitError emitError) const {
  uint64_t at = begin;
  const SourceTensor *before = nullptr;
  for (const SourceTensor &tensor : ArrayRef<SourceTensor>(tensors).drop_front(first)) {
    if (tensor.offset < at)
      return emitError() << path << ": tensors '" << before->name << "' and '" << tensor.name
                         << "' overlap: bytes " << tensor.offset - begin << " to " << at - begin
                         << " of the data belong to both";
    if (tensor.offset > at)
      return emitError() << path << ": bytes " << at - begin << " to " << tensor.offset - begin
                         << " of the data, before tensor '" << tensor.name
                         << "', belong to no tensor";
    at = tensor.offset + tensor.data.size();
    before = &tensor;
  }
  if (at == end)
    return success();
  InFlightDiagnostic error = emitError();
  error << path << ": " << end - at << " bytes at the end belong to no tensor";
  if (before)
    error << ": the last is '" << before->name << "'";
  return error;
}

LogicalResult CheckpointData::openFile(StringRef path, EmitError emitError) {
  FailureOr<std::unique_ptr<llvm::MemoryBuffer>> buffer = mapFile(path, emitError);
  if (failed(buffer))
    return failure();
  StringRef bytes = (*buffer)->getBuffer();
  if (std::string foreign = m1rt::describeForeignFile({bytes.data(), bytes.size()});
      !foreign.empty()) {
    emitError() << path << ": " << foreign;
    return failure();
  }
  if (bytes.size() < 8) {
    emitError() << path << ": truncated: " << bytes.size() << " bytes hold no safetensors header";
    return failure();
  }
  uint64_t headerSize = llvm::support::endian::read64le(bytes.data());
  if (headerSize > bytes.size() - 8) {
    emitError() << path << ": truncated: the header takes " << headerSize << " bytes, the file has "
                << bytes.size() - 8 << " after its length";
    return failure();
  }
  llvm::Expected<llvm::json::Value> header = parseJson(bytes.substr(8, headerSize));
  if (!header) {
    emitError() << path << ": malformed safetensors header: " << llvm::toString(header.takeError());
    return failure();
  }
  const llvm::json::Object *object = header->getAsObject();
  if (!object) {
    emitError() << path << ": malformed safetensors header: expected an object";
    return failure();
  }
  StringRef body = bytes.substr(8 + headerSize);
  unsigned file = files.size();
  size_t first = tensors.size();
  for (const auto &[key, value] : *object) {
    StringRef name = key;
    if (name == "__metadata__")
      continue;
    FailureOr<HeaderEntry> entry = parseEntry(path, name, value, emitError);
    if (failed(entry))
      return failure();
    std::optional<StoredType> type = parseType(entry->type);
    if (!type) {
      emitError() << path << ": tensor '" << name << "': expected dtype F32, BF16 or F16, got "
                  << entry->type;
      return failure();
    }
    std::optional<int64_t> count = countElements(entry->shape);
    uint64_t size = entry->end - entry->begin;
    if (!count || static_cast<uint64_t>(*count) * byteWidth(*type) != size) {
      emitError() << path << ": tensor '" << name << "': data_offsets span " << size
                  << " bytes, shape [" << entry->shape << "] of " << entry->type << " needs "
                  << (count ? std::to_string(uint64_t(*count) * byteWidth(*type)) : "more");
      return failure();
    }
    if (entry->end > body.size()) {
      emitError() << path << ": truncated: tensor '" << name << "' ends at byte "
                  << 8 + headerSize + entry->end << ", the file at " << bytes.size();
      return failure();
    }
    tensors.push_back({name.str(), *type, entry->shape,
                       ArrayRef<char>(body.data() + entry->begin, size), file,
                       8 + headerSize + entry->begin, nullptr});
  }
  std::sort(tensors.begin() + first, tensors.end(),
            [](const SourceTensor &a, const SourceTensor &b) {
              return std::tuple(a.offset, a.data.size(), a.name) <
                     std::tuple(b.offset, b.data.size(), b.name);
            });
  if (failed(checkCoverage(path, first, 8 + headerSize, bytes.size(), emitError)))
    return failure();
  for (size_t i = first; i < tensors.size(); ++i)
    if (auto [at, inserted] = index.try_emplace(tensors[i].name, i); !inserted) {
      emitError() << path << ": tensor '" << tensors[i].name << "' is also in "
                  << files[tensors[at->second].file].path;
      return failure();
    }
  files.push_back({path.str(), std::move(*buffer)});
  return success();
}

LogicalResult m1c::checkDirectory(StringRef path, EmitError emitError) {
  std::string problem = describeNoDirectory(path);
  return problem.empty() ? success() : LogicalResult(emitError() << path << ": " << problem);
}

/// Which class of transformers saved a model decides what stands before its tensors' names: that
/// without the head nothing, one around a language model that model's name, and authors' classes
/// call it in their own way. Gives tensors the names that families know; whether any has changed.
static bool giveUsualNames(std::vector<SourceTensor> &tensors) {
  std::optional<std::pair<StringRef, StringRef>> change; // from, to
  for (const SourceTensor &tensor : tensors)
    for (StringRef embeddings : {"embed_tokens.weight", "embeddings.weight", "embedding.weight"}) {
      StringRef prefix = tensor.name;
      if (!prefix.consume_back(embeddings))
        continue;
      StringRef usual = embeddings == "embed_tokens.weight" ? "model." : "backbone.";
      if (prefix == usual || prefix == "model.language_model.")
        return false;
      if (llvm::is_contained<StringRef>({"", "model.", "backbone.", "language_model.",
                                         "language_model.model.", "model.backbone."},
                                        prefix))
        change = {prefix, usual};
    }
  if (!change)
    return false;
  const std::string from = change->first.str(), to = change->second.str();
  for (SourceTensor &tensor : tensors) {
    StringRef head = tensor.name, rest = tensor.name;
    head.consume_front("language_model.");
    if (head.starts_with("lm_head."))
      tensor.name = head.str();
    else if (rest.consume_front(from))
      tensor.name = to + rest.str();
  }
  return true;
}

LogicalResult CheckpointData::open(StringRef directory, EmitError emitError) {
  if (llvm::json::Object config; isGgufFile(directory))
    return openGguf(directory, config, emitError);
  // A method that is not supported is named before its tensors, which may be of any type.
  if (failed(checkDirectory(directory, emitError)) ||
      failed(readQuantisation(directory, emitError)) || failed(openFiles(directory, emitError)))
    return failure();
  if (giveUsualNames(tensors)) {
    index.clear();
    for (const auto &[i, tensor] : llvm::enumerate(tensors))
      if (!index.try_emplace(tensor.name, i).second)
        return emitError() << files[tensor.file].path << ": two tensors are '" << tensor.name
                           << "' of the language model";
  }
  if (failed(resolveQuantised(directory, emitError)))
    return failure();
  expandBlockDiagonals(tensors);
  return success();
}

LogicalResult CheckpointData::openFiles(StringRef directory, EmitError emitError) {
  SmallString<256> single(directory), indexPath(directory);
  llvm::sys::path::append(single, "model.safetensors");
  llvm::sys::path::append(indexPath, "model.safetensors.index.json");
  if (isNamed(single))
    return openFile(single, emitError);

  if (!isNamed(indexPath)) {
    emitError() << directory
                << ": neither model.safetensors nor model.safetensors.index.json can be read"
                << describeOtherWeights(directory);
    return failure();
  }
  FailureOr<std::unique_ptr<llvm::MemoryBuffer>> buffer = mapFile(indexPath, emitError);
  if (failed(buffer))
    return failure();
  StringRef indexText = (*buffer)->getBuffer();
  if (std::string foreign = m1rt::describeForeignFile({indexText.data(), indexText.size()});
      !foreign.empty()) {
    emitError() << indexPath.str() << ": " << foreign;
    return failure();
  }
  llvm::Expected<llvm::json::Value> parsed = parseJson(indexText);
  if (!parsed) {
    emitError() << indexPath.str() << ": " << llvm::toString(parsed.takeError());
    return failure();
  }
  const llvm::json::Object *object = parsed->getAsObject();
  const llvm::json::Object *map = object ? object->getObject("weight_map") : nullptr;
  if (const llvm::json::Value *there = object ? object->get("weight_map") : nullptr;
      !map || map->empty()) {
    auto diagnostic = emitError() << indexPath.str();
    if (there)
      diagnostic << ": field 'weight_map': expected an object that names the file of every tensor, "
                    "got "
                 << Fields::text(*there);
    else
      diagnostic << ": missing field 'weight_map'";
    return failure();
  }
  llvm::StringMap<std::string> shardOf;
  std::vector<std::string> shards;
  for (const auto &[key, value] : *map) {
    std::optional<StringRef> shard = value.getAsString();
    auto noName = [](char c) { return c == '/' || static_cast<unsigned char>(c) < 0x20; };
    if (!shard || shard->empty() || *shard == "." || *shard == ".." ||
        llvm::any_of(*shard, noName)) {
      emitError() << indexPath.str() << ": expected the name of a file in the same directory for '"
                  << StringRef(key) << "', got " << Fields::text(value);
      return failure();
    }
    shardOf[StringRef(key)] = shard->str();
    shards.push_back(shard->str());
  }
  llvm::sort(shards);
  shards.erase(std::unique(shards.begin(), shards.end()), shards.end());
  for (const std::string &shard : shards) {
    SmallString<256> path(directory);
    llvm::sys::path::append(path, shard);
    if (failed(openFile(path, emitError)))
      return failure();
  }
  std::vector<StringRef> names;
  for (const auto &entry : shardOf)
    names.push_back(entry.getKey());
  llvm::sort(names);
  for (StringRef name : names) {
    const SourceTensor *tensor = find(name);
    if (!tensor || llvm::sys::path::filename(files[tensor->file].path) != shardOf[name]) {
      emitError() << indexPath.str() << ": tensor '" << name << "' is not in " << shardOf[name];
      return failure();
    }
  }
  return success();
}

const SourceTensor *CheckpointData::find(StringRef name) const {
  auto at = index.find(name);
  return at == index.end() ? nullptr : &tensors[at->second];
}

void CheckpointData::setStored(std::vector<File> ofArtifact, llvm::StringMap<StoredWeight> weights,
                               llvm::StringMap<SmallVector<int64_t>> shapes,
                               std::shared_ptr<const void> owner) {
  files = std::move(ofArtifact);
  stored = std::move(weights);
  storedShapes = std::move(shapes);
  storedOwner = std::move(owner);
}

const StoredWeight *CheckpointData::findStored(StringRef weight) const {
  auto at = stored.find(weight);
  return at == stored.end() ? nullptr : &at->second;
}

std::optional<ArrayRef<int64_t>> CheckpointData::findShape(StringRef tensor) const {
  if (const SourceTensor *source = find(tensor))
    return ArrayRef<int64_t>(source->shape);
  auto at = storedShapes.find(tensor);
  return at == storedShapes.end() ? std::nullopt : std::optional(ArrayRef<int64_t>(at->second));
}

void CheckpointData::release(const SourceTensor &tensor) const {
  release(tensor, 0, tensor.data.size());
  if (tensor.code)
    for (const SourceTensor &part : tensor.code->getParts())
      release(part);
}

void CheckpointData::release(unsigned file, uint64_t begin, uint64_t size) const {
  const llvm::MemoryBuffer &buffer = *files[file].buffer;
  // Those of an artifact are not ours.
  if (buffer.getBufferKind() != llvm::MemoryBuffer::MemoryBuffer_MMap)
    return;
  // Whole pages only: neighbours may still be read.
  uintptr_t page = sysconf(_SC_PAGESIZE);
  uintptr_t first = reinterpret_cast<uintptr_t>(buffer.getBufferStart()) + begin;
  uintptr_t from = (first + page - 1) / page * page, to = (first + size) / page * page;
  if (from < to)
    madvise(reinterpret_cast<void *>(from), to - from, MADV_DONTNEED);
}
