// An artifact whose digest was computed anew: it is refused, or it loads, runs a prompt and a few
// single tokens. Where its code and what it says of its kernels are as they were made, every access
// of a step was proved by the loader; other code is a program and not run.
#include "ToyModel.h"
#include "fuzz.h"
#include "model/session.h"
#include <algorithm>
#include <cstring>

using namespace m1rt;

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t largest);

namespace {

const std::vector<uint8_t> &original() {
  static const std::vector<uint8_t> bytes = toy::artifact();
  return bytes;
}

m1_artifact_header headerOf(const uint8_t *data) {
  m1_artifact_header header;
  std::memcpy(&header, data, sizeof header);
  return header;
}

std::string codeOf(const Artifact &artifact) {
  std::string all;
  for (const schema::Target *target : *artifact.module().targets())
    for (const schema::Code *code : *target->code()) {
      Bytes bytes = artifact.segment(*code->data());
      all.append(reinterpret_cast<const char *>(bytes.data), bytes.size);
    }
  return all;
}

/// What the kernels are and say of themselves.
std::string kernelsOf(const Artifact &artifact) {
  std::string all;
  for (const schema::Target *target : *artifact.module().targets()) {
    if (!target->kernels())
      continue;
    for (const schema::Kernel *kernel : *target->kernels()) {
      schema::KernelT copy;
      kernel->UnPackTo(&copy);
      flatbuffers::FlatBufferBuilder builder;
      builder.Finish(schema::Kernel::Pack(builder, &copy));
      all.append(reinterpret_cast<const char *>(builder.GetBufferPointer()), builder.GetSize());
    }
  }
  return all;
}

void run(Model &model) {
  SessionOptions options;
  options.maxSequences = 2;
  options.maxTokensPerStep = 24;
  options.maxContext = std::min(model.module().max_positions(), 40u);
  options.kvPages = 12;
  std::unique_ptr<Session> session;
  if (model.slotBytes() > (1 << 20) || model.pageBytes() > (1 << 20) ||
      model.module().vocab_size() > (1 << 16) || !Session::create(model, options, &session).ok())
    return;
  SequenceId sequence = 0;
  FUZZ_CHECK(session->create(&sequence).ok());
  int32_t prompt[19];
  for (int i = 0; i < 19; ++i)
    prompt[i] = i * 5;
  BackendEntry entry;
  entry.sequence = sequence;
  entry.tokens = prompt;
  entry.tokenCount = 19;
  entry.logitCount = 1;
  int32_t next = 0;
  for (int step = 0; step < 4; ++step) {
    if (!session->step(&entry, 1).ok() || !session->nextTokens(&next).ok())
      return;
    next = std::max(next, 0);
    entry.tokens = &next;
    entry.tokenCount = 1;
  }
}

} // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t largest,
                                          unsigned seed) {
  const std::vector<uint8_t> &whole = original();
  if (size < whole.size()) { // nothing to begin with
    if (largest < whole.size())
      return size;
    std::copy(whole.begin(), whole.end(), data);
    size = whole.size();
  }
  const m1_artifact_header header = headerOf(data);
  size_t begin = sizeof header, end = std::min<size_t>(size, sizeof header + header.module_size);
  if (seed % 16 == 0) { // the header
    begin = 0;
    end = sizeof header;
  } else if (seed % 16 == 1) { // code and what follows
    begin = std::min<size_t>(size - 1, 16384);
    end = size;
  }
  if (end <= begin)
    return size;
  std::vector<uint8_t> part(data + begin, data + end);
  LLVMFuzzerMutate(part.data(), part.size(), part.size());
  std::copy(part.begin(), part.end(), data + begin);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static fuzz::MemoryFile file;
  static const std::pair<std::string, std::string> made = [] {
    file.set(fuzz::text(original().data(), original().size()));
    std::unique_ptr<Artifact> artifact;
    FUZZ_CHECK(Artifact::open(file.path(), {}, &artifact).ok());
    return std::pair(codeOf(*artifact), kernelsOf(*artifact));
  }();
  std::vector<uint8_t> bytes(data, data + size);
  if (size >= sizeof(m1_artifact_header))
    toy::fixDigest(bytes);
  file.set(fuzz::text(bytes.data(), bytes.size()));
  ModelOptions options;
  options.deviceOptions.threads = 1;
  std::unique_ptr<Model> model;
  Status status = Model::load(file.path(), options, &model);
  if (!status.ok()) {
    FUZZ_CHECK(!status.message().empty());
    return 0;
  }
  if (codeOf(model->artifact()) == made.first && kernelsOf(model->artifact()) == made.second)
    run(*model);
  return 0;
}
