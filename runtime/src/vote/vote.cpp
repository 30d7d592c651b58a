#include "vote/vote.h"

#include "vote/extraction.h"
#include "vote/value.h"

#include <map>

namespace m1rt {

// Equal for equal values; what has none is its letters.
static std::string keyOf(const std::string &text) {
  vote::beginReading();
  const std::string answer = extractBoxed(text).value_or(statedAnswer(text)),
                    key = vote::canonical(vote::readAnswer(answer))->key;
  return key.empty() ? "L" + trimmed(answer) : key;
}

Answer::Answer(std::string text) : original(std::move(text)), key(keyOf(original)) {}

bool Answer::equals(const Answer &other) const { return key == other.key; }

bool answersEqual(const std::string &a, const std::string &b) {
  return Answer(a).equals(Answer(b));
}

VoteResult majorityVote(const std::vector<std::optional<Answer>> &answers) {
  VoteResult result;
  result.group.assign(answers.size(), -1);
  std::map<std::string, size_t> known; // by key
  std::vector<size_t> classes, counts; // a class is known by its first sample
  for (size_t i = 0; i < answers.size(); ++i) {
    if (!answers[i])
      continue;
    auto [it, isNew] = known.emplace(answers[i]->classKey(), classes.size());
    if (isNew) {
      classes.push_back(i);
      counts.push_back(0);
    }
    result.group[i] = static_cast<int>(classes[it->second]);
    ++counts[it->second];
  }
  for (size_t k = 0; k < classes.size(); ++k)
    if (counts[k] > result.votes) {
      result.votes = counts[k];
      result.winner = static_cast<int>(classes[k]);
    }
  return result;
}

} // namespace m1rt
