#include "artifact/artifact.h"

#include "artifact/validate.h"
#include "base/foreign_file.h"
#include "base/joining_threads.h"
#include "base/sha256.h"
#include "cpu/host_limits.h"
#include "device.h"
#include "weight_check.h"
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace m1rt {

static Status cancelled(const std::string &path) {
  return error(StatusCode::cancelled, "%s: loading was cancelled", path.c_str());
}

/// Hashes in pieces; false when interrupted.
static bool hash(Sha256 &sha, Bytes bytes, const Interrupted &interrupted) {
  constexpr size_t piece = 16 << 20;
  for (size_t at = 0; at < bytes.size; at += piece) {
    if (interrupted && interrupted())
      return false;
    sha.update(bytes.data + at, std::min(piece, bytes.size - at));
  }
  return true;
}

/// What may be meant by a path that cannot be opened as a file; begins with "; ", or is empty.
static std::string adviceOn(const std::string &path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    return "; a model in Hugging Face layout is compiled first: m1-compile " + path + " -o OUT.m1a";
  return describeMissingPath(path);
}

static Status checkHeader(const m1_artifact_header &header, uint64_t fileSize) {
  if (std::string foreign =
          describeForeignFile({reinterpret_cast<const char *>(&header), sizeof header});
      !foreign.empty())
    return error(StatusCode::corrupt, "%s", foreign.c_str());
  // A safetensors file: the length of its header, and the JSON of that.
  if (reinterpret_cast<const char *>(&header)[8] == '{')
    return error(StatusCode::corrupt,
                 "is a safetensors file; the directory that holds it is compiled first: m1-compile "
                 "DIR -o OUT.m1a");
  if (std::memcmp(header.magic, M1_ARTIFACT_MAGIC, sizeof(header.magic)) != 0)
    return error(StatusCode::corrupt, "not an M1 artifact: the first 8 bytes are not \"%s\"",
                 M1_ARTIFACT_MAGIC);
  if (header.version > M1_ARTIFACT_VERSION)
    return error(StatusCode::unsupported,
                 "artifact version %u is newer than version %u, the newest that this program reads",
                 header.version, M1_ARTIFACT_VERSION);
  if (header.version == 0)
    return error(StatusCode::corrupt, "artifact version 0 does not exist");
  const uint64_t digested = uint64_t(header.digested_pages) * M1_ARTIFACT_PAGE;
  if (digested == 0)
    return error(StatusCode::corrupt, "header: the digest covers nothing");
  if (digested > fileSize)
    return error(StatusCode::corrupt,
                 "truncated: %llu bytes, the part before the weights alone has %llu",
                 (unsigned long long)fileSize, (unsigned long long)digested);
  if (header.module_offset % 64 != 0 || header.module_offset < sizeof(m1_artifact_header) ||
      header.module_offset > digested || header.module_size > digested - header.module_offset ||
      header.module_size < 16)
    return error(StatusCode::corrupt,
                 "header: the module's bytes (offset %llu, size %llu) are out of range",
                 (unsigned long long)header.module_offset, (unsigned long long)header.module_size);
  return Status();
}

/// Copies the part before the weights out of the mapping, so that what is checked is what is used,
/// and checks its digest.
Status Artifact::readVerifiedPart(const Interrupted &interrupted) {
  const uint64_t fileSize = own.bytes().size;
  m1_artifact_header first;
  if (fileSize < sizeof first)
    return error(StatusCode::corrupt, "%s: truncated: %llu bytes, the header alone needs %zu",
                 path().c_str(), (unsigned long long)fileSize, sizeof first);
  M1_TRY(own.read(0, &first, sizeof first));
  M1_TRY(checkHeader(first, fileSize).prefixed(path()));
  const size_t size = size_t(first.digested_pages) * M1_ARTIFACT_PAGE;
  verified.reset(static_cast<uint8_t *>(std::aligned_alloc(M1_ARTIFACT_PAGE, size)));
  if (!verified)
    return error(StatusCode::outOfMemory, "%s: no memory for %s of code and tables", path().c_str(),
                 bytesText(size).c_str());
  M1_TRY(own.read(0, verified.get(), size));
  std::memcpy(verified.get(), &first, sizeof first); // what was checked

  const size_t field = offsetof(m1_artifact_header, digest);
  static const uint8_t zeros[sizeof first.digest] = {};
  Sha256 sha;
  sha.update(verified.get(), field);
  sha.update(zeros, sizeof zeros);
  if (!hash(sha, {verified.get() + sizeof first, size - sizeof first}, interrupted))
    return cancelled(path());
  const Digest digest = sha.finish();
  if (std::memcmp(digest.data(), first.digest, digest.size()) != 0)
    return error(StatusCode::corrupt,
                 "%s: damaged: SHA-256 of the first %zu bytes is %s, the header says %s",
                 path().c_str(), size, digestText(digest.data()).c_str(),
                 digestText(first.digest).c_str());
  return Status();
}

/// Where an external file lies. Beside the artifact, or where the caller allows it.
static Status placeExternal(const std::string &artifact, const std::string &name,
                            const std::vector<std::string> &allowed, std::string *out) {
  const std::string directory = artifact.substr(0, artifact.find_last_of('/') + 1);
  *out = name[0] == '/' ? name : directory + name;
  bool beside = name[0] != '/';
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('/', begin), name.size());
    beside &= name.compare(begin, end - begin, "..") != 0;
    begin = end + 1;
  }
  if (beside)
    return Status();
  auto resolved = [](const std::string &path) {
    char *real = realpath(path.c_str(), nullptr);
    std::string result = real ? real : "";
    std::free(real);
    return result;
  };
  const std::string file = resolved(*out);
  if (file.empty())
    return error(StatusCode::notFound, "%s: external weights %s: %s", artifact.c_str(),
                 out->c_str(), std::strerror(errno));
  for (const std::string &parent : allowed) {
    std::string within = resolved(parent);
    if (!within.empty() && within.back() != '/')
      within += '/';
    if (!within.empty() && file.compare(0, within.size(), within) == 0)
      return Status();
  }
  return error(StatusCode::invalidArgument,
               "%s: its weights lie in another directory, %s: allow it (--allow-external %s) or "
               "put them beside the artifact",
               artifact.c_str(), file.c_str(), file.substr(0, file.find_last_of('/') + 1).c_str());
}

Status Artifact::open(const std::string &path, const ArtifactOptions &options,
                      std::unique_ptr<Artifact> *out) {
  std::unique_ptr<Artifact> artifact(new Artifact());
  if (Status opened = MappedFile::open(path, &artifact->own); !opened.ok())
    return Status(opened.code(), opened.message() + adviceOn(path));
  M1_TRY(artifact->readVerifiedPart(options.interrupted));

  const m1_artifact_header &header = artifact->header();
  const uint8_t *moduleData = artifact->verified.get() + header.module_offset;
  if (!schema::ModuleBufferHasIdentifier(moduleData))
    return error(StatusCode::corrupt, "%s: the module at offset %llu is not of kind \"%s\"",
                 path.c_str(), (unsigned long long)header.module_offset,
                 schema::ModuleIdentifier());
  // Depth 16: the schema nests 6 deep. Tables: a plan has a few for each operand of each launch.
  flatbuffers::Verifier verifier(moduleData, header.module_size, 16, 16 * 1024 * 1024);
  if (!schema::VerifyModuleBuffer(verifier))
    return error(StatusCode::corrupt,
                 "%s: the module at offset %llu (%llu bytes) is not valid FlatBuffers data",
                 path.c_str(), (unsigned long long)header.module_offset,
                 (unsigned long long)header.module_size);
  artifact->root = schema::GetModule(moduleData);
  if (artifact->root->version() > M1_ARTIFACT_VERSION)
    return error(
        StatusCode::unsupported,
        "%s: module version %u is newer than version %u, the newest that this program reads",
        path.c_str(), artifact->root->version(), M1_ARTIFACT_VERSION);
  M1_TRY(validateModule(*artifact->root, artifact->fileSize(),
                        uint64_t(header.digested_pages) * M1_ARTIFACT_PAGE)
             .prefixed(path));
  if (const schema::Segment *where = artifact->root->weight_checks()) {
    artifact->checks.resize(size_t(where->size() / sizeof(uint64_t)));
    M1_TRY(artifact->own.read(where->offset(), artifact->checks.data(), where->size()));
  }

  if (options.openExternalFiles && artifact->root->external_files()) {
    for (const schema::ExternalFile *external : *artifact->root->external_files()) {
      std::string place;
      M1_TRY(placeExternal(path, external->name()->str(), options.allowExternal, &place));
      MappedFile mapped;
      M1_TRY(MappedFile::open(place, &mapped).prefixed(path + ": external weights"));
      if (mapped.bytes().size != external->size())
        return error(StatusCode::corrupt,
                     "%s: external weights %s: has %zu bytes, the artifact was made with %llu",
                     path.c_str(), mapped.path().c_str(), mapped.bytes().size,
                     (unsigned long long)external->size());
      if (options.checkExternalDigests) {
        Sha256 sha;
        if (!hash(sha, mapped.bytes(), options.interrupted))
          return cancelled(path);
        Digest digest = sha.finish();
        if (std::memcmp(digest.data(), external->digest()->data(), digest.size()) != 0)
          return error(StatusCode::corrupt,
                       "%s: external weights %s: SHA-256 is %s, the artifact was made with %s",
                       path.c_str(), mapped.path().c_str(), digestText(digest.data()).c_str(),
                       digestText(external->digest()->data()).c_str());
      }
      artifact->externalFiles.push_back(std::move(mapped));
    }
  }
  *out = std::move(artifact);
  return Status();
}

GenerationDefaults Artifact::generationDefaults() const {
  GenerationDefaults defaults;
  if (const schema::GenerationDefaults *table = root->generation_defaults()) {
    defaults.temperature = table->temperature();
    defaults.topK = table->top_k();
    defaults.topP = table->top_p();
    defaults.minP = table->min_p();
    defaults.repetitionPenalty = table->repetition_penalty();
  }
  return defaults;
}

Bytes Artifact::segment(const schema::Segment &segment) const {
  return {verified.get() + segment.offset(), size_t(segment.size())};
}

Bytes Artifact::weightData(uint32_t index) const {
  const schema::Weight &weight = *root->weights()->Get(index);
  if (weight.dummy() || weight.file() >= int64_t(externalFiles.size()))
    return Bytes();
  return {file(weight.file()).bytes().data + weight.data()->offset(),
          size_t(weight.data()->size())};
}

const std::string &Artifact::weightFile(uint32_t index) const {
  return file(root->weights()->Get(index)->file()).path();
}

Status Artifact::unchanged() const {
  M1_TRY(own.unchanged());
  for (const MappedFile &external : externalFiles)
    M1_TRY(external.unchanged());
  return Status();
}

Digest Artifact::weightsDigest() const {
  Sha256 sha;
  auto number = [&](uint64_t value) { sha.update(&value, sizeof value); };
  size_t check = 0;
  for (uint32_t i = 0; root->weights() && i < root->weights()->size(); ++i) {
    const schema::Weight &weight = *root->weights()->Get(i);
    sha.update(weight.name()->c_str(), weight.name()->size() + 1);
    number(uint64_t(weight.type()->element()));
    number(weight.type()->shape() ? weight.type()->shape()->size() : 0);
    for (uint32_t d = 0; weight.type()->shape() && d < weight.type()->shape()->size(); ++d)
      number(uint64_t(weight.type()->shape()->Get(d)));
    if (weight.dummy()) {
      const float values[] = {weight.dummy_scale(), weight.dummy_offset()};
      number(root->dummy_seed());
      sha.update(values, sizeof values);
      continue;
    }
    if (checks.empty() && weight.file() >= 0) {
      sha.update(root->external_files()->Get(uint32_t(weight.file()))->digest()->data(), 32);
      number(weight.data()->offset());
      continue;
    }
    const uint64_t size = weight.data()->size();
    const uint8_t *data = weightData(i).data; // null where it is not needed
    for (uint64_t offset = 0; offset < size; offset += M1_WEIGHT_PIECE)
      number(checks.empty() ? m1_weight_check(data + offset,
                                              std::min<uint64_t>(size - offset, M1_WEIGHT_PIECE))
                            : checks[check++]);
  }
  return sha.finish();
}

Status Artifact::digest(unsigned threads, const Interrupted &interrupted, Digest *out) const {
  struct Piece {
    Bytes bytes;
    Digest digest;
  };
  std::vector<Piece> pieces;
  for (uint32_t i = 0; root->weights() && i < root->weights()->size(); ++i) {
    const Bytes data = weightData(i);
    for (size_t at = 0; at < data.size; at += M1_WEIGHT_PIECE)
      pieces.push_back(
          {{data.data + at, std::min<size_t>(data.size - at, M1_WEIGHT_PIECE)}, Digest()});
  }
  std::atomic<bool> stop{false};
  std::atomic<size_t> next{0};
  auto work = [&](bool asks) {
    for (size_t i = next++; i < pieces.size() && !stop; i = next++) {
      Sha256 sha;
      sha.update(pieces[i].bytes.data, pieces[i].bytes.size);
      pieces[i].digest = sha.finish();
      if (asks && interrupted && interrupted())
        stop = true;
    }
  };
  {
    JoiningThreads helpers;
    const size_t wanted = std::min<size_t>(threads ? threads : usableCores(), pieces.size());
    while (helpers.size() + 1 < wanted && helpers.start([&] { work(false); }))
      ;
    work(true);
  }
  if (stop)
    return cancelled(path());
  Sha256 sha;
  sha.update(header().digest, sizeof header().digest);
  for (const Piece &piece : pieces)
    sha.update(piece.digest.data(), piece.digest.size());
  *out = sha.finish();
  return unchanged();
}

void Artifact::prefetchWeights() const {
  const uint64_t metadata = uint64_t(header().digested_pages) * M1_ARTIFACT_PAGE;
  own.prefetch(metadata, fileSize() - metadata);
  for (const MappedFile &external : externalFiles)
    external.prefetch(0, external.bytes().size);
}

uint64_t Artifact::weightBytes(uint32_t index) const {
  const schema::TensorType &type = *root->weights()->Get(index)->type();
  return elementCount(type) * elementSize(type.element());
}

std::vector<const schema::Target *> Artifact::findTargets(const std::string &device) const {
  std::vector<const schema::Target *> found;
  if (root->targets())
    for (const schema::Target *target : *root->targets())
      if (std::string name = target->name()->str(); name.substr(0, name.find(':')) == device)
        found.push_back(target);
  return found;
}

int Artifact::findFunction(const schema::Target &target, const char *name) {
  if (target.functions())
    for (uint32_t i = 0; i < target.functions()->size(); ++i)
      if (target.functions()->Get(i)->name()->str() == name)
        return int(i);
  return -1;
}

uint64_t elementCount(const schema::TensorType &type) {
  uint64_t elements = 1;
  if (type.shape())
    for (int64_t size : *type.shape())
      elements *= uint64_t(size);
  return elements;
}

} // namespace m1rt
