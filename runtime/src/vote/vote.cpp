#include "vote/vote.h"

#include "vote/value.h"

#include <algorithm>
#include <map>

namespace m1rt {

std::optional<std::string> extractBoxed(const std::string &text) {
  size_t from = std::string::npos;
  while (true) {
    size_t at = text.rfind("\\boxed", from);
    if (at == std::string::npos)
      return std::nullopt;
    size_t open = text.find_first_not_of(" \t\r\n", at + 6);
    if (open != std::string::npos && text[open] == '{') {
      int depth = 0;
      for (size_t i = open; i < text.size(); ++i) {
        if (text[i] == '\\') {
          ++i; // an escaped brace is none
          continue;
        }
        depth += text[i] == '{' ? 1 : text[i] == '}' ? -1 : 0;
        if (depth == 0) {
          size_t begin = text.find_first_not_of(" \t\r\n", open + 1),
                 end = text.find_last_not_of(" \t\r\n", i - 1);
          return begin > end || begin >= i ? std::string() : text.substr(begin, end - begin + 1);
        }
      }
    }
    if (at == 0)
      return std::nullopt;
    from = at - 1;
  }
}

Answer::Answer(std::string text)
    : original(std::move(text)), value(vote::readAnswer(extractBoxed(original).value_or(original))) {}

bool Answer::equals(const Answer &other) const {
  return original == other.original || vote::equalValues(*value, *other.value);
}

bool answersEqual(const std::string &a, const std::string &b) { return Answer(a).equals(Answer(b)); }

VoteResult majorityVote(const std::vector<std::optional<Answer>> &answers) {
  VoteResult result;
  std::vector<int> firsts;
  std::map<std::string, int> known; // most samples repeat an answer letter for letter
  std::vector<size_t> counts(answers.size());
  for (size_t i = 0; i < answers.size(); ++i) {
    int group = -1;
    if (answers[i]) {
      auto [it, isNew] = known.emplace(answers[i]->text(), static_cast<int>(i));
      if (isNew) {
        auto first = std::find_if(firsts.begin(), firsts.end(),
                                  [&](int f) { return answers[f]->equals(*answers[i]); });
        if (first != firsts.end())
          it->second = *first;
        else
          firsts.push_back(static_cast<int>(i));
      }
      group = it->second;
      ++counts[group];
    }
    result.group.push_back(group);
  }
  for (int first : firsts)
    if (counts[first] > result.votes) {
      result.votes = counts[first];
      result.winner = first;
    }
  return result;
}

} // namespace m1rt
