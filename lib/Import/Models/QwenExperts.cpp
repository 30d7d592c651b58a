// What qwen3_moe and qwen3_next say about their mixtures of experts.
#include "Models.h"

using namespace m1c;

void QwenExperts::read(const Fields &fields, int64_t layerCount) {
  // transformers takes the one for the other.
  const bool other = !fields.has("num_experts") && fields.has("num_local_experts");
  llvm::StringRef name = other ? "num_local_experts" : "num_experts";
  int64_t count = fields.integer(name, 0, mostExperts).value_or(0);
  if (int64_t also = fields.integer("num_local_experts", 0, mostExperts).value_or(count);
      also != count)
    fields.conflict("num_local_experts") << "expected num_experts " << count << ", got " << also;
  int64_t size = fields.size("moe_intermediate_size"),
          step = fields.size("decoder_sparse_step", mostLayers);
  layers.assign(layerCount, false);
  for (int64_t index = step - 1; step && count > 0 && index < layerCount; index += step)
    layers[index] = true;
  for (int64_t index : fields.integers("mlp_only_layers"))
    if (index < layerCount)
      layers[index] = false;
  if (count > 0)
    config = readExperts(fields, name, size);
  else
    fields.ignore({"num_experts_per_tok"});
  config.normalize = fields.flag("norm_topk_prob");
}
