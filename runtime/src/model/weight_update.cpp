#include "model/weight_update.h"

#include "base/size.h"
#include <algorithm>
#include <cstring>
#include <unordered_map>

namespace m1rt {

namespace {

using schema::ElementType;
using schema::WeightTransform;

std::string shapeText(const std::vector<int64_t> &shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

std::vector<int64_t> shapeOf(const schema::CheckpointTensor &tensor) {
  return tensor.shape() ? std::vector<int64_t>(tensor.shape()->begin(), tensor.shape()->end())
                        : std::vector<int64_t>();
}

uint64_t elementsOf(const std::vector<int64_t> &shape) {
  uint64_t count = 1; // validated
  for (int64_t size : shape)
    count *= uint64_t(size);
  return count;
}

Status bad(const CheckpointTensor &tensor, const std::string &message) {
  return {StatusCode::invalidArgument, "tensor '" + tensor.name + "': " + message};
}

} // namespace

Status WeightUpdate::prepare(Model &model, const std::vector<CheckpointTensor> &tensors,
                             std::unique_ptr<WeightUpdate> *out) {
  std::unique_ptr<WeightUpdate> update(new WeightUpdate(model));
  update->addresses = model.weightAddresses;
  M1_TRY(update->addParts(tensors));
  M1_TRY(update->makePrivate());
  *out = std::move(update);
  return Status();
}

WeightUpdate::~WeightUpdate() { model.hardware->free(memory); }

Status WeightUpdate::addParts(const std::vector<CheckpointTensor> &tensors) {
  const schema::Module &module = model.module();
  if (!module.checkpoint_tensors() || module.checkpoint_tensors()->size() == 0)
    return error(
        StatusCode::unsupported,
        "%s: does not say which tensors its weights are made of, as an artifact with dummy "
        "weights or of an older m1-compile: compile its checkpoint",
        model.artifact().path().c_str());
  std::unordered_map<std::string, uint32_t> places;
  for (uint32_t i = 0; i < module.checkpoint_tensors()->size(); ++i)
    places[module.checkpoint_tensors()->Get(i)->name()->str()] = i;

  std::vector<const CheckpointTensor *> given(places.size()); // by place
  for (const CheckpointTensor &tensor : tensors) {
    auto found = places.find(tensor.name);
    if (found == places.end())
      return bad(tensor, "no weight of the model is made of it");
    if (given[found->second])
      return bad(tensor, "is given twice");
    given[found->second] = &tensor;
    const std::vector<int64_t> wanted = shapeOf(*module.checkpoint_tensors()->Get(found->second));
    if (tensor.shape != wanted)
      return bad(tensor,
                 "expected shape " + shapeText(wanted) + ", got " + shapeText(tensor.shape));
    if (tensor.element != ElementType::f32 && tensor.element != ElementType::bf16 &&
        tensor.element != ElementType::f16)
      return bad(tensor, formatted("expected elements of f32, bf16 or f16, got %s",
                                   elementName(tensor.element)));
    if (!tensor.data)
      return bad(tensor, "its data is null");
    if (tensor.onDevice)
      M1_TRY(
          model.hardware->checkDeviceMemory(tensor.data).prefixed("tensor '" + tensor.name + "'"));
  }

  for (uint32_t i = 0; i < module.weights()->size(); ++i) {
    const schema::Weight &weight = *module.weights()->Get(i);
    if (!weight.sources())
      continue;
    const uint64_t width = elementSize(weight.type()->element());
    uint64_t offset = 0, written = 0;
    bool touched = false;
    for (const schema::TensorRows *rows : *weight.sources()) {
      const std::vector<int64_t> shape = shapeOf(*module.checkpoint_tensors()->Get(rows->tensor()));
      const uint64_t all = shape.empty() ? 1 : uint64_t(shape[0]);
      const uint64_t row = all ? elementsOf(shape) / all : 0, count = row * rows->count();
      if (const CheckpointTensor *tensor = given[rows->tensor()]) {
        if (weight.transform() > WeightTransform::plus_one)
          return error(StatusCode::unsupported,
                       "tensor '%s': the model holds it quantised, as weight '%s' (%s), which "
                       "cannot be updated",
                       tensor->name.c_str(), weight.name()->c_str(),
                       schema::EnumNameWeightTransform(weight.transform()));
        if (weight.type()->element() != ElementType::f32 &&
            weight.type()->element() != ElementType::bf16)
          return error(StatusCode::unsupported,
                       "tensor '%s': weight '%s' has elements of %s, which cannot be updated",
                       tensor->name.c_str(), weight.name()->c_str(),
                       elementName(weight.type()->element()));
        touched = true;
        if (count) {
          WeightPart part;
          part.targetType = weight.type()->element();
          part.source = static_cast<const char *>(tensor->data) +
                        rows->first() * row * elementSize(tensor->element);
          part.sourceType = tensor->element;
          part.sourceOnDevice = tensor->onDevice;
          part.count = count;
          part.transform = weight.transform();
          parts.push_back(part);
          partWeights.push_back(i);
          partOffsets.push_back(offset * width);
          written += count;
        }
      }
      offset += count;
    }
    if (touched) {
      changed.push_back(i);
      whole.push_back(written == elementCount(*weight.type()));
    }
  }
  return Status();
}

/// Weights that steps read where the artifact is mapped get memory of their own.
Status WeightUpdate::makePrivate() {
  auto bytesOf = [&](uint32_t weight) {
    return Size(model.file->weightBytes(weight)).alignedTo(M1_ARTIFACT_WEIGHT_ALIGN);
  };
  Size needed = 0;
  for (uint32_t weight : changed)
    if (model.inFile[weight])
      needed += bytesOf(weight);
  if (needed.get())
    M1_TRY(model.hardware->allocate(needed.get(), "weights that are updated", &memory));
  char *next = static_cast<char *>(memory);
  bool copied = false;
  for (size_t i = 0; i < changed.size(); ++i) {
    const uint32_t weight = changed[i];
    if (!model.inFile[weight])
      continue;
    if (!whole[i]) { // what is not given stays
      M1_TRY(model.hardware->copy(next, addresses[weight], model.file->weightBytes(weight)));
      copied = true;
    }
    addresses[weight] = next;
    next += bytesOf(weight).get();
  }
  if (copied)
    M1_TRY(model.file->unchanged());
  for (size_t i = 0; i < parts.size(); ++i)
    parts[i].target = static_cast<char *>(addresses[partWeights[i]]) + partOffsets[i];
  return Status();
}

Status WeightUpdate::write() {
  model.allocations.reserve(model.allocations.size() + 1);
  M1_TRY(model.hardware->writeWeights(parts));
  M1_TRY(model.loaded->weightsWritten(addresses, changed));
  M1_TRY(model.hardware->synchronize());
  model.weightAddresses = addresses;
  if (memory)
    model.allocations.push_back(std::exchange(memory, nullptr));
  for (uint32_t weight : changed)
    model.inFile[weight] = false;
  model.usesFiles = std::find(model.inFile.begin(), model.inFile.end(), true) != model.inFile.end();
  return Status();
}

} // namespace m1rt
