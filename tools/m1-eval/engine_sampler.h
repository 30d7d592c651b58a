// Samples from a compiled model through the engine.
#ifndef M1_TOOLS_EVAL_ENGINE_SAMPLER_H
#define M1_TOOLS_EVAL_ENGINE_SAMPLER_H

#include "evaluation.h"
#include "model/model.h"
#include "sampling.h"
#include <memory>

namespace m1tool {

struct EngineSamplerOptions {
  std::string system, instruction; // instruction: appended to each problem after a blank line
  bool raw = false;                // without the chat template
  m1rt::SamplingParameters sampling;
  uint32_t maxNewTokens = 0;
  uint32_t slots = 0;   // samples at once
  uint32_t context = 0; // longest prompt with its answer; 0: what the problems need
  uint32_t prefillChunk = 512;
  uint32_t maxThinkTokens = 0;
  double timeBudget = 0; // seconds a problem
  bool dropAtDeadline = false;
  std::string closeText;
};

/// Sized for these problems. The model outlives the sampler.
m1rt::Status createEngineSampler(m1rt::Model &model, const EngineSamplerOptions &options,
                                 const std::vector<Problem> &problems,
                                 std::unique_ptr<Sampler> *out);

} // namespace m1tool

#endif
