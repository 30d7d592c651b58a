// The families that there are, by the model_type of config.json.
#include "Models.h"

using namespace m1c;

namespace {

struct KnownFamily {
  llvm::StringLiteral modelType;
  std::unique_ptr<Family> (*create)(llvm::StringRef modelType);
};
const KnownFamily families[] = {
    {"bamba", createBamba},           {"falcon_h1", createFalconH1},
    {"falcon_mamba", createMamba},    {"granitemoehybrid", createGraniteHybrid},
    {"jamba", createJamba},           {"lfm2", createLfm2},
    {"lfm2_moe", createLfm2},         {"llama", createTransformer},
    {"mamba", createMamba},           {"mamba2", createMamba},
    {"ministral", createTransformer}, {"mistral", createTransformer},
    {"nemotron_h", createNemotronH},  {"qwen2", createTransformer},
    {"qwen3", createTransformer},     {"qwen3_5", createQwen35},
    {"qwen3_5_text", createQwen35},   {"qwen3_moe", createTransformer},
    {"qwen3_next", createQwen35},     {"recurrent_gemma", createRecurrentGemma},
    {"zamba2", createZamba2},
};

} // namespace

std::unique_ptr<Family> m1c::createFamily(llvm::StringRef modelType) {
  for (const KnownFamily &family : families)
    if (family.modelType == modelType)
      return family.create(modelType);
  return nullptr;
}

std::string m1c::knownModelTypes() {
  std::string text;
  for (size_t i = 0; i < std::size(families); ++i)
    text += (i == 0                         ? ""
             : i + 1 == std::size(families) ? " or "
                                            : ", ") +
            families[i].modelType.str();
  return text;
}
