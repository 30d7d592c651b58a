// Samples as they grow out of an engine's events, and what is said about them.
#ifndef M1_TOOLS_COMMON_SAMPLES_H
#define M1_TOOLS_COMMON_SAMPLES_H

#include "ballot.h"
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace m1tool {

/// What a probe of a sample said.
struct ProbeResult {
  uint32_t after = 0;                // tokens of the sample before it
  std::optional<std::string> answer; // in a box
  uint32_t tokens = 0;               // of the probe, the text that it was fed included
  bool correct = false;              // where the right answer is known
};

struct SampleResult {
  std::vector<m1rt::SampledToken> tokens;
  std::string text, error;
  bool forced = false;
  size_t closedAt = 0;    // when forced: offset in `text` of what came with the closing text
  bool answered = false;  // the box that the closing text opened has closed: the rest is not wanted
  bool notNeeded = false; // cancelled because its vote was decided
  m1rt::FinishReason reason = m1rt::FinishReason::running;
  std::vector<ProbeResult> probes; // that have ended, in order

  /// Takes in what is new, of it or of a probe. True when the sample should be ended, because it
  /// was closed by force and has given its answer; its end then counts as that of a stop string.
  bool take(m1rt::Event &event);
  bool ended() const { return reason != m1rt::FinishReason::running; }
  /// Whether it was ended before it could answer: by the deadline, or because its vote was decided.
  bool unfinished() const { return wasUnfinished(reason, forced); }
};

/// How samples ended; the counts add up to their number.
struct Counts {
  uint32_t finished = 0; // by themselves
  uint32_t length = 0;   // cut by the token limit or the context
  uint32_t forced = 0;   // closed by force
  uint32_t dropped = 0;  // by the deadline or Ctrl-C
  uint32_t failed = 0;
  uint32_t notNeeded = 0; // the vote was decided without them

  void add(const SampleResult &sample);
};
Counts countEnds(const std::vector<SampleResult> &samples);

nlohmann::json jsonOf(const Counts &counts);
/// docs/m1-run.md lists the fields. Tokens carry log probabilities when asked.
nlohmann::json jsonOf(const SampleResult &sample, bool withText, bool withLogprobs);
nlohmann::json jsonOf(const std::vector<m1rt::SampledToken> &tokens); // log probabilities
nlohmann::json jsonOf(const std::vector<ProbeResult> &probes);
/// Of an engine's probes: {begun, dropped, tokens, seconds}.
nlohmann::json probesOf(const m1rt::EngineStats &stats);
/// On one line; what is not UTF-8 becomes U+FFFD.
std::string dumped(const nlohmann::json &json);

} // namespace m1tool

#endif
