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
      value(
          (vote::beginComparison(), vote::readAnswer(extractBoxed(original).value_or(original)))) {}

bool Answer::equals(const Answer &other) const {
  if (original == other.original)
    return true;
  vote::beginComparison();
  return vote::equalValues(*value, *other.value);
}

bool answersEqual(const std::string &a, const std::string &b) {
  return Answer(a).equals(Answer(b));
}

VoteResult majorityVote(const std::vector<std::optional<Answer>> &answers) {
  VoteResult result;
  result.group.assign(answers.size(), -1);
  // Most samples repeat an answer letter for letter.
  std::map<std::string, size_t> texts;
  std::vector<size_t> distinct, parent;
  auto rootOf = [&](size_t i) {
    while (parent[i] != i)
      i = parent[i];
    return i;
  };
  std::vector<size_t> textOf(answers.size());
  for (size_t i = 0; i < answers.size(); ++i) {
    if (!answers[i])
      continue;
    auto [it, isNew] = texts.emplace(answers[i]->text(), distinct.size());
    textOf[i] = it->second;
    if (!isNew)
      continue;
    parent.push_back(distinct.size());
    distinct.push_back(i);
    // A class is all that a chain of equal answers connects, in whatever order they came.
    size_t mine = parent.back();
    for (size_t k = 0; k < mine; ++k) {
      size_t other = rootOf(k), own = rootOf(mine);
      if (other != own && answers[distinct[k]]->equals(*answers[i]))
        parent[std::max(other, own)] = std::min(other, own);
    }
  }
  std::vector<size_t> counts(distinct.size());
  for (size_t i = 0; i < answers.size(); ++i)
    if (answers[i]) {
      size_t root = rootOf(textOf[i]);
      result.group[i] = static_cast<int>(distinct[root]);
      ++counts[root];
    }
  for (size_t root = 0; root < distinct.size(); ++root)
    if (counts[root] > result.votes) {
      result.votes = counts[root];
      result.winner = static_cast<int>(distinct[root]);
    }
  return result;
}

} // namespace m1rt
