// Samples from a compiled model through the engines of its devices.
#ifndef M1_TOOLS_EVAL_ENGINE_SAMPLER_H
#define M1_TOOLS_EVAL_ENGINE_SAMPLER_H

#include "evaluation.h"
#include "generation.h"
#include "model/model.h"
#include <memory>

namespace m1tool {

struct EngineSamplerOptions {
  PromptOptions prompt;
  std::string instruction;       // appended to each problem after a blank line
  std::vector<Problem> examples; // solved ones that the model sees before each problem
  GenerationOptions generation;
  uint32_t slots = 0;      // samples at once on each device
  bool planBudgets = true; // time budgets choose how many of them run
  // jobs that may have samples to start at once on a device; each holds its prompt
  uint32_t openJobs = 0;
  uint32_t context = 0; // longest prompt with its answer; 0: what the problems need
  uint32_t prefillChunk = 512;
};

/// Sized for these problems. The models, one artifact on each device, outlive the sampler.
m1rt::Status createEngineSampler(const std::vector<m1rt::Model *> &models,
                                 const EngineSamplerOptions &options,
                                 const std::vector<Problem> &problems,
                                 std::unique_ptr<Sampler> *out);

} // namespace m1tool

#endif
