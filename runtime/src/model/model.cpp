#include "model/model.h"

#include "base/size.h"
#include "model/verify_weights.h"
#include "tokenizer/tokenizer.h"
#include <algorithm>
#include <cstring>

namespace m1rt {

static Size alignUp(uint64_t bytes) { return Size(bytes).alignedTo(M1_ARTIFACT_WEIGHT_ALIGN); }

Model::~Model() {
  loaded.reset();
  for (void *allocation : allocations)
    hardware->free(allocation);
}

Status Model::load(const std::string &path, const ModelOptions &options,
                   std::unique_ptr<Model> *out) {
  std::unique_ptr<Model> model(new Model());
  ArtifactOptions artifactOptions;
  artifactOptions.checkExternalDigests = options.verifyWeights;
  artifactOptions.allowExternal = options.allowExternal;
  artifactOptions.interrupted = options.interrupted;
  M1_TRY(Artifact::open(path, artifactOptions, &model->file));
  if (options.approve) {
    Digest digest;
    M1_TRY(model->file->digest(options.deviceOptions.threads, options.interrupted, &digest));
    M1_TRY(options.approve(digest).prefixed(path));
  }
  M1_TRY(createDevice(options.device, options.deviceOptions, &model->hardware));

  const std::string &targetName = model->hardware->info().target;
  for (const schema::Target *target : model->file->findTargets(targetName))
    if (!model->chosen ||
        model->hardware->suitability(*target) > model->hardware->suitability(*model->chosen))
      model->chosen = target;
  if (!model->chosen) {
    std::string present;
    if (model->module().targets())
      for (const schema::Target *target : *model->module().targets())
        present += (present.empty() ? "" : ", ") + target->name()->str();
    return error(StatusCode::unsupported,
                 "%s: has no code for device %s (targets: %s); name one of these as the device, or "
                 "compile with --target %s",
                 path.c_str(), options.device.c_str(), present.empty() ? "none" : present.c_str(),
                 targetName.c_str());
  }
  bool seesAll = false; // some layer
  if (model->module().states())
    for (const schema::State *state : *model->module().states()) {
      const bool kv = state->kind() == schema::StateKind::kv;
      (kv ? model->bytesPerPage : model->bytesPerSlot) += state->bytes();
      seesAll |= kv && state->window() == 0;
      model->seenPositions = std::max(model->seenPositions, state->window());
    }
  if (seesAll)
    model->seenPositions = 0;

  // Not when they would push each other out of memory again.
  if (model->file->fileSize() < model->hardware->info().totalMemory)
    model->file->prefetchWeights();
  WeightCheck check(*model->file, options.deviceOptions.threads);
  M1_TRY(model->placeWeights(options.interrupted).prefixed(path));
  M1_TRY(model->hardware
             ->createProgram(*model->file, *model->chosen, model->weightAddresses, &model->loaded)
             .prefixed(path + ": target \"" + targetName + "\""));
  M1_TRY(model->hardware->synchronize());
  M1_TRY(check.finish(options.interrupted));
  *out = std::move(model);
  return Status();
}

Status Model::placeWeights(const Interrupted &interrupted) {
  const uint32_t count = module().weights() ? module().weights()->size() : 0;
  weightAddresses.assign(count, nullptr);
  inFile.assign(count, false);

  // Weights that the device can read where the file is mapped stay there; all others share one
  // allocation.
  auto inPlace = [&](uint32_t i) {
    Bytes data = file->weightData(i);
    return data.data && hardware->readsHostMemory() && uintptr_t(data.data) % 64 == 0;
  };
  Size needed = 0, all = 0;
  for (uint32_t i = 0; i < count; ++i) {
    all += file->weightBytes(i);
    if (!inPlace(i))
      needed += alignUp(file->weightBytes(i));
  }
  allWeightBytes = all.get();
  char *next = nullptr;
  if (needed.get()) {
    void *memory = nullptr;
    M1_TRY(hardware->allocate(needed.get(), "weights", &memory));
    allocations.push_back(memory);
    next = static_cast<char *>(memory);
  }
  for (uint32_t i = 0; i < count; ++i) {
    if (interrupted && interrupted())
      return error(StatusCode::cancelled, "loading was cancelled");
    Bytes data = file->weightData(i);
    if (inPlace(i)) {
      usesFiles = inFile[i] = true;
      weightAddresses[i] = const_cast<uint8_t *>(data.data);
      continue;
    }
    const schema::Weight &weight = *module().weights()->Get(i);
    if (weight.dummy())
      M1_TRY(hardware->fillDummy(next, weight.type()->element(), elementCount(*weight.type()),
                                 module().dummy_seed(), i, weight.dummy_scale(),
                                 weight.dummy_offset()));
    else
      M1_TRY(hardware->upload(next, data.data, data.size));
    weightAddresses[i] = next;
    next += alignUp(file->weightBytes(i)).get();
  }
  return Status();
}

uint32_t Model::tokenIds() const {
  const uint32_t all = module().vocab_size();
  const schema::Tokenizer *tokenizer = module().tokenizer();
  if (!tokenizer || !tokenizer->data())
    return all;
  const Bytes prepared = file->segment(*tokenizer->data());
  const uint32_t known =
      Tokenizer::countIds({reinterpret_cast<const char *>(prepared.data), prepared.size});
  return known ? std::min(known, all) : all;
}

int Model::functionFor(const char *name, uint32_t tokens) const {
  int best = -1;
  uint32_t bestRows = 0, bestLeast = 0;
  for (uint32_t i = 0; i < chosen->functions()->size(); ++i) {
    const schema::Function &function = *chosen->functions()->Get(i);
    const uint32_t rows = function.max_rows() ? function.max_rows() : UINT32_MAX;
    const uint32_t least = function.min_rows();
    if (std::strcmp(function.name()->c_str(), name) == 0 && tokens >= least && tokens <= rows &&
        (best < 0 || rows < bestRows || (rows == bestRows && least > bestLeast)) &&
        (!least || loaded->runs(i))) {
      best = int(i);
      bestRows = rows;
      bestLeast = least;
    }
  }
  return best;
}

} // namespace m1rt
