// One sequence, greedy: prefill in chunks, then one token after another.
#ifndef M1_TOOLS_M1_RUN_GENERATE_H
#define M1_TOOLS_M1_RUN_GENERATE_H

#include "model/session.h"
#include <functional>
#include <vector>

namespace m1tool {

struct GenerateOptions {
  uint32_t maxNewTokens = 0;
  bool ignoreEos = false;
  bool keepLogits = false;
  uint32_t prefillChunk = 512; // prompt tokens of one step
};

struct GenerateResult {
  std::vector<int32_t> tokens;
  std::vector<float> prefillLogits; // [prompt, V] when kept
  std::vector<float> decodeLogits;  // [tokens, V] when kept: row i after feeding tokens[i]
  double prefillSeconds = 0;
  double decodeSeconds = 0;
  uint32_t decodeSteps = 0;
};

/// `onToken` is called for every new token as it comes. The result is filled as far as it got when an error is returned.
m1rt::Status generate(m1rt::Model &model, const std::vector<int32_t> &prompt, const GenerateOptions &options,
                      const std::function<void(int32_t)> &onToken, GenerateResult *out);

} // namespace m1tool

#endif
