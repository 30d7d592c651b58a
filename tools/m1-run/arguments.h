// What the command line of m1-run asks for.
#ifndef M1_TOOLS_RUN_ARGUMENTS_H
#define M1_TOOLS_RUN_ARGUMENTS_H

#include "devices.h"
#include "generation.h"
#include "trust.h"
#include "voting.h"

namespace m1tool {

struct Arguments {
  std::string artifact;
  DeviceFlags devices;
  TrustFlags trust;

  std::string promptText, promptFile, inputIds, promptsFile;
  PromptOptions prompt;
  bool chat = false;

  GenerationOptions generation;
  // otherwise no more than the context leaves; of a conversation's answer, all of it
  bool maxNewTokensGiven = false;
  uint32_t samples = 1, firstSample = 0, slots = 0, prefillChunk = 512;
  bool vote = false;
  VoteOptions voting;

  std::string dumpLogits, trace;
  bool stats = false, json = false, jsonStream = false, checkNumerics = false;
};

} // namespace m1tool

#endif
