#include "artifact/artifact.h"

#include "artifact/validate.h"
#include "base/sha256.h"
#include "device.h"
#include <algorithm>
#include <cstddef>
#include <cstring>

namespace m1rt {

static Digest digestOf(Bytes file, uint64_t size) {
  static const uint8_t zeros[32] = {};
  const size_t field = offsetof(m1_artifact_header, digest);
  Sha256 sha;
  sha.update(file.data, field);
  sha.update(zeros, sizeof(zeros));
  sha.update(file.data + sizeof(m1_artifact_header), size - sizeof(m1_artifact_header));
  return sha.finish();
}

static Status checkHeader(Bytes file) {
  if (file.size < sizeof(m1_artifact_header))
    return error(StatusCode::corrupt, "truncated: %zu bytes, the header alone needs %zu", file.size,
                 sizeof(m1_artifact_header));
  const m1_artifact_header &header = *reinterpret_cast<const m1_artifact_header *>(file.data);
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
  if (digested > file.size)
    return error(StatusCode::corrupt,
                 "truncated: %zu bytes, the part before the weights alone has %llu", file.size,
                 (unsigned long long)digested);
  Digest digest = digestOf(file, digested);
  if (std::memcmp(digest.data(), header.digest, digest.size()) != 0)
    return error(StatusCode::corrupt,
                 "damaged: SHA-256 of the first %llu bytes is %s, the header says %s",
                 (unsigned long long)digested, digestText(digest.data()).c_str(),
                 digestText(header.digest).c_str());
  if (header.module_offset % 64 != 0 || header.module_offset < sizeof(m1_artifact_header) ||
      header.module_offset > digested || header.module_size > digested - header.module_offset ||
      header.module_size < 16)
    return error(StatusCode::corrupt,
                 "header: the module's bytes (offset %llu, size %llu) are out of range",
                 (unsigned long long)header.module_offset, (unsigned long long)header.module_size);
  return Status();
}

Status Artifact::open(const std::string &path, const ArtifactOptions &options,
                      std::unique_ptr<Artifact> *out) {
  std::unique_ptr<Artifact> artifact(new Artifact());
  M1_TRY(MappedFile::open(path, &artifact->file));
  Bytes file = artifact->file.bytes();
  M1_TRY(checkHeader(file).prefixed(path));

  const m1_artifact_header &header = artifact->header();
  const uint8_t *moduleData = file.data + header.module_offset;
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
  M1_TRY(
      validateModule(*artifact->root, file.size, uint64_t(header.digested_pages) * M1_ARTIFACT_PAGE)
          .prefixed(path));

  if (options.openExternalFiles && artifact->root->external_files()) {
    std::string directory = path.substr(0, path.find_last_of('/') + 1);
    for (const schema::ExternalFile *external : *artifact->root->external_files()) {
      std::string name = external->name()->str();
      MappedFile mapped;
      M1_TRY(MappedFile::open(name[0] == '/' ? name : directory + name, &mapped)
                 .prefixed(path + ": external weights"));
      if (mapped.bytes().size != external->size())
        return error(StatusCode::corrupt,
                     "%s: external weights %s: has %zu bytes, the artifact was made with %llu",
                     path.c_str(), mapped.path().c_str(), mapped.bytes().size,
                     (unsigned long long)external->size());
      if (options.checkExternalDigests) {
        Sha256 sha;
        sha.update(mapped.bytes().data, mapped.bytes().size);
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

Bytes Artifact::segment(const schema::Segment &segment) const {
  return {file.bytes().data + segment.offset(), size_t(segment.size())};
}

Bytes Artifact::weightData(uint32_t index) const {
  const schema::Weight &weight = *root->weights()->Get(index);
  if (weight.dummy())
    return Bytes();
  const MappedFile &source = weight.file() < 0 ? file : externalFiles[size_t(weight.file())];
  return {source.bytes().data + weight.data()->offset(), size_t(weight.data()->size())};
}

const std::string &Artifact::weightFile(uint32_t index) const {
  const int32_t external = root->weights()->Get(index)->file();
  return external < 0 ? file.path() : externalFiles[size_t(external)].path();
}

std::vector<uint64_t> Artifact::weightChecks() const {
  std::vector<uint64_t> checks;
  if (const schema::Segment *where = root->weight_checks()) {
    Bytes bytes = segment(*where);
    checks.resize(bytes.size / sizeof(uint64_t));
    std::memcpy(checks.data(), bytes.data, bytes.size);
  }
  return checks;
}

void Artifact::prefetchWeights() const {
  const uint64_t metadata = uint64_t(header().digested_pages) * M1_ARTIFACT_PAGE;
  file.prefetch(metadata, fileSize() - metadata);
  for (const MappedFile &external : externalFiles)
    external.prefetch(0, external.bytes().size);
}

uint64_t Artifact::weightBytes(uint32_t index) const {
  const schema::TensorType &type = *root->weights()->Get(index)->type();
  return elementCount(type) * elementSize(type.element());
}

const schema::Target *Artifact::findTarget(const std::string &name) const {
  if (root->targets())
    for (const schema::Target *target : *root->targets())
      if (target->name()->str() == name)
        return target;
  return nullptr;
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
