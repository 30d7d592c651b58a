#include "vote/vote.h"

#include "vote/value.h"

#include <algorithm>
#include <map>
#include <string_view>

namespace m1rt {

std::optional<std::string> extractBoxed(const std::string &text) {
  // One pass, as samples that repeat "\boxed{" to the end of their tokens are not rare.
  constexpr std::string_view name = "\\boxed", blanks = " \t\r\n";
  std::vector<size_t> open;
  std::optional<size_t> last; // where the last complete box begins
  size_t begin = 0, end = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i; // an escaped brace is none
    } else if (text[i] == '{') {
      open.push_back(i);
    } else if (text[i] == '}' && !open.empty()) {
      size_t brace = open.back();
      open.pop_back();
      size_t before = brace ? text.find_last_not_of(blanks, brace - 1) : std::string::npos;
      if (before == std::string::npos || before + 1 < name.size() ||
          text.compare(before + 1 - name.size(), name.size(), name) != 0 ||
          (last && *last > before))
        continue;
      last = before;
      begin = brace + 1;
      end = i;
    }
  }
  if (!last)
    return std::nullopt;
  std::string content = text.substr(begin, end - begin);
  size_t first = content.find_first_not_of(blanks);
  return first == std::string::npos
             ? std::string()
             : content.substr(first, content.find_last_not_of(blanks) - first + 1);
}

Answer::Answer(std::string text)
    : original(std::move(text)),
      value(vote::readAnswer(extractBoxed(original).value_or(original))) {}

bool Answer::equals(const Answer &other) const {
  return original == other.original || vote::equalValues(*value, *other.value);
}

bool answersEqual(const std::string &a, const std::string &b) {
  return Answer(a).equals(Answer(b));
}

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
