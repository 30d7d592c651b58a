// What qwen3_moe and qwen3_next say about their mixtures of experts.
#include "Models.h"

using namespace m1c;

void QwenExperts::read(const Fields &fields, int64_t layerCount, const Absent &absent) {
  // transformers takes the one for the other.
  llvm::StringRef name = fields.has("num_experts") ? "num_experts" : "num_local_experts";
  int64_t count = fields.integer(name, 0, mostExperts).value_or(absent.count);
  if (int64_t other = fields.integer("num_local_experts", 0, mostExperts).value_or(count);
      other != count)
    fields.error("num_local_experts") << "expected num_experts " << count << ", got " << other;
  int64_t size = fields.integer("moe_intermediate_size", 1, largestSize).value_or(absent.size),
          step = fields.integer("decoder_sparse_step", 1, mostLayers).value_or(1);
  layers.assign(layerCount, false);
  for (int64_t index = step - 1; count > 0 && index < layerCount; index += step)
    layers[index] = true;
  for (int64_t index : fields.integers("mlp_only_layers"))
    if (index < layerCount)
      layers[index] = false;
  if (count > 0)
    config = readExperts(fields, name, absent.count, absent.chosen, size);
  else
    fields.ignore({"num_experts_per_tok"});
  config.normalize = fields.flag("norm_topk_prob", absent.normalize);
}
