// model.safetensors: refused with a message that names it, or tensors that lie within the file.
#include "../Support/TemporaryDirectory.h"
#include "checkpoint.h"
#include "json_mutator.h"

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t largest,
                                          unsigned seed) {
  return fuzz::mutateSafetensors(data, size, largest, seed);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const m1test::TemporaryDirectory directory;
  directory.write("model.safetensors", fuzz::text(data, size));
  m1c::CheckpointData checkpoint;
  if (!fuzz::opens(directory.path, checkpoint))
    return 0;
  char sum = 0;
  for (const m1c::SourceTensor &tensor : checkpoint.getTensors()) {
    FUZZ_CHECK(tensor.offset + tensor.data.size() <= size);
    for (char byte : tensor.data)
      sum = char(sum + byte);
    FUZZ_CHECK(checkpoint.find(tensor.name));
  }
  (void)sum;
  return 0;
}
