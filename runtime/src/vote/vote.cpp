#include "vote/vote.h"

#include "vote/value.h"

#include <algorithm>
#include <map>
#include <string_view>

namespace m1rt {

static std::string trimmed(const std::string &s) {
  constexpr std::string_view blanks = " \t\r\n";
  const size_t first = s.find_first_not_of(blanks);
  return first == std::string::npos ? std::string()
                                    : s.substr(first, s.find_last_not_of(blanks) - first + 1);
}

// Whether nothing but commas and "and" or "or" stands between two boxes.
static bool joins(const std::string &text, size_t begin, size_t end) {
  constexpr size_t longest = 40;
  if (begin >= end || end - begin > longest)
    return false;
  std::string words;
  for (size_t i = begin; i < end; ++i)
    if (text[i] != ' ' && text[i] != '\n' && text[i] != '$')
      words += text[i];
  return words == "," || words == "and" || words == "or" || words == ",and" || words == ",or" ||
         words == "\\text{and}" || words == "\\text{or}";
}

std::optional<std::string> extractBoxed(const std::string &text) {
  // One pass, as samples that repeat "\boxed{" to the end of their tokens are not rare.
  constexpr std::string_view name = "\\boxed", blanks = " \t\r\n";
  struct Box {
    size_t before, begin, end; // the backslash, the content, its closing brace
  };
  std::vector<size_t> open;
  std::vector<Box> boxes; // complete ones, none within another
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
          (!boxes.empty() && boxes.back().before > before + 1 - name.size()))
        continue; // of boxes within one another the innermost counts
      boxes.push_back({before + 1 - name.size(), brace + 1, i});
    }
  }
  if (boxes.empty())
    return std::nullopt;
  auto content = [&](size_t k) {
    return trimmed(text.substr(boxes[k].begin, boxes[k].end - boxes[k].begin));
  };
  std::string all = content(boxes.size() - 1);
  for (size_t k = boxes.size() - 1; k > 0 && joins(text, boxes[k - 1].end + 1, boxes[k].before) &&
                                    !all.empty() && !content(k - 1).empty();
       --k)
    all.insert(0, content(k - 1) + ", ");
  return all;
}

// What stands behind "####" or "the answer is", to the end of its line or sentence; the whole text
// where neither does.
static std::string statedAnswer(const std::string &text) {
  const size_t hashes = text.rfind("####");
  if (hashes != std::string::npos)
    return trimmed(text.substr(hashes + 4, text.find('\n', hashes) - hashes - 4));
  constexpr std::string_view said = "answer is";
  const size_t at = text.rfind(said);
  if (at == std::string::npos || text.find('}', at) < text.find('{', at)) // within \text{…}
    return text;
  std::string rest = text.substr(at + said.size(), text.find('\n', at) - at - said.size());
  rest = trimmed(rest.substr(0, rest.find(". ")));
  if (!rest.empty() && rest[0] == ':')
    rest = trimmed(rest.substr(1));
  return rest.empty() ? text : rest;
}

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
