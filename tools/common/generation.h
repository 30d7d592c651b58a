// What a sample depends on beside its model: the flags about prompts, sampling, ends and forced
// closes, with one meaning in every tool that draws samples.
#ifndef M1_TOOLS_COMMON_GENERATION_H
#define M1_TOOLS_COMMON_GENERATION_H

#include "engine/engine.h"
#include "model/model.h"
#include "text/model_text.h"
#include <algorithm>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace m1tool {

struct PromptOptions {
  std::string system;
  bool raw = false;                      // prompts as they are, without the chat template
  bool parseSpecial = false;             // control tokens written in messages count as such
  std::vector<std::string> templateArgs; // NAME=VALUE
  std::string prefill;                   // how the answer begins, in the prompt's last tokens
};

struct GenerationOptions {
  uint32_t maxNewTokens = 1024;
  m1rt::SamplingParameters sampling;
  std::vector<std::string> logitBias; // ID=VALUE
  std::vector<std::string> stop;
  std::vector<int32_t> stopTokens; // beside the model's own, which ignoreEos turns off
  bool ignoreEos = false;
  bool wantLogprobs = false;
  // Sampling that generation_config.json asked for, where no flag says otherwise.
  bool modelDefaults = false;
  const CLI::App *flags = nullptr; // those that were parsed

  double timeBudget = 0; // seconds
  bool dropAtDeadline = false;
  uint32_t maxThinkTokens = 0;
  std::string closeText = "\\n\\nThe final answer is \\boxed{"; // as written on a command line
  uint32_t closeMaxTokens = 32;                                 // that a sample may add to it

  uint32_t probeEvery = 0; // tokens of a sample between its probes; 0: none
  bool probeOnEnd = false; // probes of the others when a sample ends
  bool probes() const { return probeEvery > 0 || probeOnEnd; }

  /// Whether samples can be closed by force.
  bool closes() const { return maxThinkTokens > 0 || (timeBudget > 0 && !dropAtDeadline); }
};

void addPromptOptions(CLI::App &app, PromptOptions *out);
void addGenerationOptions(CLI::App &app, GenerationOptions *out);
/// Of tools that let samples vote.
void addProbeOptions(CLI::App &app, GenerationOptions *out);
/// Places for probes beside so many samples at once.
inline uint32_t probePlacesOf(const GenerationOptions &options, uint32_t samples) {
  return options.probes() ? std::max(1u, samples / 8) : 0;
}

/// Contradictions between the flags, and flags without effect; empty when there are none.
/// `timeBudgetFlag`: what the tool calls the time budget.
std::string checkGeneration(const CLI::App &app, const GenerationOptions &options,
                            const std::string &timeBudgetFlag);

/// With modelDefaults: takes over what the artifact holds of generation_config.json, and says so on
/// standard error under the tool's name.
void applyModelDefaults(const char *tool, const m1rt::Model &model, GenerationOptions *options);

/// The part of a request that does not depend on the prompt. `text` may be null when nothing needs
/// it.
m1rt::Status fillRequest(const m1rt::Model &model, const m1rt::ModelText *text,
                         const GenerationOptions &options, m1rt::Request *out);

/// A conversation that ends in a user's message, or with `raw` that message alone, and the
/// beginning of the answer.
m1rt::Status encodePrompt(const m1rt::ModelText &text, const PromptOptions &options,
                          const std::vector<m1rt::ChatMessage> &messages,
                          std::vector<int32_t> *out);

} // namespace m1tool

#endif
