// The C API's new weights: of the model, and what its engines make of them.
#include "api/engine_handle.h"
#include "m1/runtime.h"
#include "model/weight_update.h"
#include <cstring>

using namespace m1rt;

static_assert(int(RunningSamples::finish) == M1_RUNNING_FINISH &&
                  int(RunningSamples::restart) == M1_RUNNING_RESTART &&
                  int(RunningSamples::keep) == M1_RUNNING_KEEP,
              "the C API's numbers are the engine's");

namespace {

/// C may have put any number into an enumeration.
template <typename Enumeration> unsigned numberOf(const Enumeration &value) {
  static_assert(sizeof(unsigned) == sizeof value, "the size of C's enumerations");
  unsigned number = 0;
  std::memcpy(&number, &value, sizeof number);
  return number;
}

Status convert(const m1_tensor &source, size_t index, CheckpointTensor *out) {
  if (!source.name)
    return error(StatusCode::invalidArgument, "tensor %zu: its name is null", index);
  out->name = source.name;
  auto bad = [&](const std::string &message) {
    return Status(StatusCode::invalidArgument, "tensor '" + out->name + "': " + message);
  };
  const schema::ElementType elements[] = {schema::ElementType::f32, schema::ElementType::bf16,
                                          schema::ElementType::f16};
  if (const unsigned element = numberOf(source.element); element < std::size(elements))
    out->element = elements[element];
  else
    return bad(formatted("%u is no m1_element_type", element));
  if (const unsigned memory = numberOf(source.memory); memory > M1_MEMORY_CUDA)
    return bad(formatted("%u is no m1_memory", memory));
  out->onDevice = source.memory == M1_MEMORY_CUDA;
  if (source.rank && !source.shape)
    return bad(formatted("its shape is null but its rank is %zu", source.rank));
  out->shape.assign(source.shape, source.shape + source.rank);
  out->data = source.data;
  return Status();
}

} // namespace

m1_status *m1_model_update_weights(m1_model *model, const m1_tensor *tensors, size_t tensor_count,
                                   m1_running_samples running) {
  return guardedOn(model, [&]() -> Status {
    M1_TRY(requireArguments("m1_model_update_weights", {{"model", model}}));
    if (tensor_count && !tensors)
      return error(StatusCode::invalidArgument, "tensors is null but its count is %zu",
                   tensor_count);
    const unsigned mode = numberOf(running);
    if (mode > M1_RUNNING_KEEP)
      return error(StatusCode::invalidArgument, "running: %u is no m1_running_samples", mode);
    std::vector<CheckpointTensor> given(tensor_count);
    for (size_t i = 0; i < tensor_count; ++i)
      M1_TRY(convert(tensors[i], i, &given[i]));

    LoadedModel &loaded = *model->loaded;
    std::unique_ptr<WeightUpdate> update;
    M1_TRY(WeightUpdate::prepare(*loaded.model, given, &update));
    for (m1_engine *engine : loaded.engines) {
      if (engine->lost)
        continue;
      engine->lost = true; // also when something is thrown
      M1_TRY(engine->engine->forgetWeights(RunningSamples(mode)));
      engine->lost = false;
    }
    return update->write();
  });
}
