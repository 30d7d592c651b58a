// The answer of a text: its passage is found (passage.h); then its candidates, boxes (boxes.h),
// what is announced (announced.h) and what the last sentence says (spoken.h), each cleaned where it
// is found (cleaning.h); and here they are ranked.
#include "vote/extraction.h"

#include "vote/announced.h"
#include "vote/boxes.h"
#include "vote/cleaning.h"
#include "vote/formulas.h"
#include "vote/passage.h"
#include "vote/prose.h"
#include "vote/spoken.h"
#include "vote/vote.h"

#include <algorithm>
#include <string_view>

namespace m1rt {

std::string trimmed(const std::string &s) {
  constexpr std::string_view blanks = " \t\r\n";
  const size_t first = s.find_first_not_of(blanks);
  return first == std::string::npos ? std::string()
                                    : s.substr(first, s.find_last_not_of(blanks) - first + 1);
}

namespace {

// Whether a text that follows a box takes it back: "Wait, that's not right".
bool takesBack(const std::string &lower) {
  // "A common mistake is that the answer is 12" takes nothing back, nor does a waiter.
  for (const std::string_view words :
       {"not right", "not correct", "is incorrect", "was incorrect", "'s incorrect",
        "made a mistake", "my mistake", "a mistake in", "the mistake", "that's wrong", "is wrong",
        "was wrong", "let me re", "let me check again", "correction:", "actually,",
        "on second thought", "but the correct"})
    if (lower.find(words) != std::string::npos)
      return true;
  const std::vector<std::string> all = wordsOf(lower);
  return std::find(all.begin(), all.end(), "wait") != all.end();
}

// Whether a thought doubts the answer that it has said last: "The answer is 24. But wait,".
bool isReconsidered(const std::string &lower) {
  const size_t answer = lower.rfind("answer");
  return answer != lower.npos &&
         among(wordsOf(std::string_view(lower).substr(answer)), {"wait", "hmm", "alternatively"});
}

// Of a text without thoughts and tags: its box, or what it announces. Of one that is `thinking` on,
// no more than that counts.
std::optional<std::string> plainAnswer(const std::string &whole, bool thinking) {
  const auto box = lastBox(whole);
  if (!box) {
    const std::string part = lastPart(ownTurn(whole));
    if (auto said = bareBox(part))
      return said;
    if (thinking && isReconsidered(lowerCase(part)))
      return std::nullopt;
    if (auto said = announcedAnswer(part); said || thinking)
      return said;
    return spoken(part, false);
  }
  // "Final Answer: The final answer is $5$" behind a box says it once more, or says another.
  const std::string behind = lastPart(ownTurn(whole.substr(std::min(box->end, whole.size()))));
  const std::string lower = lowerCase(behind);
  const bool final = isPlaceholder(box->content) || takesBack(lower) ||
                     lower.find("final answer is $") != std::string::npos;
  if (!final && lower.find("final answer") != lower.npos &&
      box->content.find('=') == box->content.npos)
    if (auto said = announcedAnswer(behind); // a box of a step, and "Final Answer: $5$" behind it
        said && isFormula(*said) && said->find_first_of("0123456789\\") != said->npos)
      return said;
  if (final) {
    auto said = announcedAnswer(behind);
    if (!said &&
        (concludes(behind) || isPlaceholder(box->content))) // "Let me recheck. So it is 5."
      said = spoken(behind, false);
    if (!said && isPlaceholder(box->content)) // an empty box behind the answer
      said = announcedAnswer(lastPart(whole.substr(0, whole.rfind("\\boxed", box->end))));
    if (said && !isComment(*said, /*praise=*/false))
      return said;
  }
  return box->content;
}

} // namespace

std::string answerIn(const std::string &whole) {
  const std::string text = answeringPart(whole).first;
  const bool thinking = isThinking(whole);
  if (auto said = plainAnswer(text, thinking))
    return *said;
  const std::string own = ownTurn(text);
  if (const auto formulas = formulasOf(own); formulas.size() == 1 && formulas[0].before == 0 &&
                                             formulas[0].after == own.size() &&
                                             formulas[0].begin > 2)
    return contentOf(own, formulas[0]); // \begin{equation}…\end{equation}
  const auto last = thinking ? std::nullopt : lastLine(lastPart(own), false);
  return last.value_or(own);
}

std::optional<std::string> extractAnswer(const std::string &whole) {
  const auto [text, tagged] = answeringPart(whole);
  std::optional<std::string> answer = plainAnswer(text, isThinking(whole));
  // A box that is open to the end would have been the answer.
  if (!lastBox(text) && endsWithinBox(text))
    return std::nullopt;
  if (!answer && tagged)
    answer = text;
  if (!answer && !isThinking(whole))
    answer = lastLine(lastPart(ownTurn(text)), true);
  return answer && !isPlaceholder(*answer) && !isComment(*answer, /*praise=*/false) ? answer
                                                                                    : std::nullopt;
}

} // namespace m1rt
