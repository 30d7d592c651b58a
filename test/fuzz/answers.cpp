// Two answers, on two lines: an answer equals itself, equality is symmetric, and a box is what is
// in it.
#include "fuzz.h"
#include "vote/vote.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const std::string_view text = fuzz::text(data, size);
  const size_t cut = text.find('\n');
  const std::string first(text.substr(0, cut)),
      second(cut == std::string_view::npos ? "" : text.substr(cut + 1));
  (void)m1rt::extractBoxed(std::string(text));
  (void)m1rt::extractAnswer(std::string(text)); // of several lines
  const m1rt::Answer a(first), b(second);
  FUZZ_CHECK(a.text() == first);
  FUZZ_CHECK(a.equals(b) == b.equals(a));
  if (size % 4 == 0) // half of the time when for each
    FUZZ_CHECK(a.equals(m1rt::Answer(first)));
  const m1rt::VoteResult vote = m1rt::majorityVote({a, std::nullopt, b, a});
  FUZZ_CHECK(vote.winner == 0 && vote.votes >= 2 && vote.group[1] == -1);
  return 0;
}
