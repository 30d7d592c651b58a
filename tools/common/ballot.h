// What counts as a sample's ballot; docs/votes.md says why.
#ifndef M1_TOOLS_COMMON_BALLOT_H
#define M1_TOOLS_COMMON_BALLOT_H

#include "engine/engine.h"
#include "vote/vote.h"
#include <optional>
#include <string>

namespace m1tool {

/// What stands in the last box of a probe's text; an empty box says nothing.
inline std::optional<std::string> boxedAnswer(const std::string &text) {
  std::optional<std::string> answer = m1rt::extractBoxed(text);
  return answer && !answer->empty() ? answer : std::nullopt;
}

/// The answer that a sample votes for, if it casts a ballot: that of one that ended by itself or
/// was closed by force. Empty and open boxes, texts that announce no answer, and samples that were
/// cut, dropped or failed, cast none.
inline std::optional<std::string> ballotOf(m1rt::FinishReason reason, bool forced,
                                           const std::string &text) {
  const bool ended =
      reason == m1rt::FinishReason::stopToken || reason == m1rt::FinishReason::stopString || forced;
  if (!ended || reason == m1rt::FinishReason::failed)
    return std::nullopt;
  return m1rt::extractAnswer(text);
}

/// Whether a sample was ended before it could answer: by the deadline, or because its vote was
/// decided. Its provisional ballot then stays.
inline bool wasUnfinished(m1rt::FinishReason reason, bool forced) {
  return !forced &&
         (reason == m1rt::FinishReason::dropped || reason == m1rt::FinishReason::cancelled);
}

} // namespace m1tool

#endif
