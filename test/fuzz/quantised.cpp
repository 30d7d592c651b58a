// model.safetensors of quantised weights: refused with a message, or every row of what is accepted
// can be dequantised. The first byte chooses what config.json says.
#include "../Support/TemporaryDirectory.h"
#include "checkpoint.h"
#include "json_mutator.h"
#include <vector>

namespace {

constexpr const char *configs[] = {
    R"({"quant_method": "gptq", "bits": 4, "group_size": 8})",
    R"({"quant_method": "awq", "bits": 4, "group_size": 8, "zero_point": true})",
    R"({"quant_method": "fp8", "weight_block_size": [4, 6]})",
    R"({"quant_method": "fp8"})",
    R"({"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"a":
        {"targets": ["Linear"], "weights": {"num_bits": 4, "strategy": "group", "group_size": 8,
         "symmetric": false, "actorder": "group"}}}})",
    R"({"quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": {"a":
        {"targets": ["Linear"], "weights": {"num_bits": 8, "strategy": "channel"}}}})",
};

} // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t largest,
                                          unsigned seed) {
  return size > 1 && largest > 1 && seed % 8
             ? 1 + fuzz::mutateSafetensors(data + 1, size - 1, largest - 1, seed)
             : LLVMFuzzerMutate(data, size, largest);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0)
    return 0;
  static m1test::TemporaryDirectory directories[std::size(configs)];
  static const bool written = [] {
    for (size_t i = 0; i < std::size(configs); ++i)
      directories[i].write("config.json",
                           std::string(R"({"quantization_config": )") + configs[i] + "}");
    return true;
  }();
  (void)written;
  const m1test::TemporaryDirectory &directory = directories[data[0] % std::size(configs)];
  directory.write("model.safetensors", fuzz::text(data + 1, size - 1));
  m1c::CheckpointData checkpoint;
  if (!fuzz::opens(directory.path, checkpoint))
    return 0;
  for (const m1c::SourceTensor &tensor : checkpoint.getTensors()) {
    if (!tensor.code)
      continue;
    const int64_t rows = tensor.shape[0], columns = tensor.shape[1];
    // Codes of 4 bits are the smallest, of an empty tensor rows or columns may be many.
    FUZZ_CHECK(rows * columns <= int64_t(2 * size));
    std::vector<float> values(rows * columns);
    if (columns > 0)
      tensor.code->decode(0, rows, values.data());
    std::vector<int8_t> codes(columns);
    float scale;
    for (int64_t row = 0; columns > 0 && row < rows; ++row)
      (void)tensor.code->readInt8Row(row, codes.data(), &scale);
    if (auto groups = tensor.code->storedGroups()) {
      std::vector<char> scales((columns + groups->group - 1) / groups->group *
                               groups->scaleBytes());
      for (int64_t row = 0; row < rows; ++row)
        tensor.code->readGroups(row, codes.data(), scales.data());
    }
  }
  return 0;
}
