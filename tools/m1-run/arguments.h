// What the command line of m1-run asks for.
#ifndef M1_TOOLS_RUN_ARGUMENTS_H
#define M1_TOOLS_RUN_ARGUMENTS_H

#include "trust.h"
#include <cstdint>
#include <string>
#include <vector>

namespace m1tool {

struct Arguments {
  std::string artifact, device = "cpu";
  uint32_t threads = 0;
  TrustFlags trust;

  std::string prompt, promptFile, inputIds, system;
  bool raw = false; // the prompt as it is, without the chat template
  bool chat = false;

  uint32_t maxNewTokens = 1024;
  bool maxNewTokensGiven =
      false; // otherwise no more than the context leaves; of a conversation's answer, all of it
  uint32_t samples = 1, firstSample = 0, slots = 0, prefillChunk = 512, prefixCache = 4;
  bool ignoreEos = false;
  double temperature = 0, topP = 1, minP = 0, repetitionPenalty = 1;
  uint32_t topK = 0;
  uint64_t seed = 0;
  std::vector<std::string> stop;
  std::vector<int32_t> stopTokens; // beside the model's own, which ignoreEos turns off
  uint32_t logprobs = 0;           // alternatives to report; needs json
  bool wantLogprobs = false;

  bool vote = false;
  double timeBudget = 0;
  uint32_t maxThinkTokens = 0;
  std::string closeText = "\n\nThe final answer is \\boxed{";
  uint32_t closeMaxTokens = 32; // that a sample may add to it
  bool dropAtDeadline = false;

  std::string dumpLogits, trace;
  bool stats = false, json = false;
};

} // namespace m1tool

#endif
