#include "vote/vote.h"

#include "vote/extraction.h"
#include "vote/value.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

namespace m1rt {

// LaTeX that was escaped for JSON once too often, \\\\frac12, as it was before: all its backslashes
// come in pairs, which part rows elsewhere, or are line ends and quotation marks, and some pairs
// begin a command.
static std::string withoutDoubledEscapes(const std::string &text) {
  static const std::set<std::string_view> commands = {
      "frac", "dfrac", "tfrac", "sqrt", "left", "boxed", "begin", "text", "pi",    "cdot",
      "le",   "leq",   "ge",    "geq",  "in",   "infty", "cup",   "cap",  "times", "pm"};
  // Single ones that begin with an n.
  static const std::set<std::string_view> single = {
      "ne", "neq", "neg", "nu", "ni", "not", "notin", "nabla", "newline", "nmid", "n"};
  auto nameAt = [&](size_t begin) {
    size_t end = begin;
    while (end < text.size() &&
           ((text[end] >= 'a' && text[end] <= 'z') || (text[end] >= 'A' && text[end] <= 'Z')))
      ++end;
    return std::string_view(text).substr(begin, end - begin);
  };
  std::string halved;
  bool doubled = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      halved += text[i];
      continue;
    }
    if (++i >= text.size())
      return text;
    if (text[i] == '"' || (text[i] == 'n' && (nameAt(i) == "n" || !single.count(nameAt(i))))) {
      halved += text[i] == 'n' ? '\n' : '"';
      continue;
    }
    if (text[i] != '\\')
      return text;
    halved += '\\';
    doubled |= commands.count(nameAt(i + 1)) != 0;
  }
  return doubled ? halved : text;
}

// Without the signs of bold text or code around it all.
static std::string withoutMarkup(std::string text) {
  for (const std::string_view mark : {"**", "__", "`", "*"})
    if (text.size() > 2 * mark.size() && text.compare(0, mark.size(), mark) == 0 &&
        text.compare(text.size() - mark.size(), mark.size(), mark) == 0)
      text = text.substr(mark.size(), text.size() - 2 * mark.size());
  return text;
}

// What has no value is its letters.
Answer::Answer(std::string text) : original(std::move(text)) {
  vote::beginReading();
  const std::string answer = withoutMarkup(trimmed(answerIn(withoutDoubledEscapes(original))));
  auto value = vote::canonical(vote::readAnswer(answer));
  using Kind = vote::Value::Kind;
  if (value->kind == Kind::set && value->items.size() == 1 &&
      value->items[0]->kind == Kind::expression) // {5}, as x = 5 is
    value = value->items[0];
  key = value->key;
  if (key.empty())
    key = "L" + answer;
}

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
