#include "vote/extraction.h"

#include "vote/vote.h"

#include <set>
#include <string_view>

namespace m1rt {
namespace {

// Whether nothing but commas and "and" or "or" stands between two boxes.
bool joins(const std::string &text, size_t begin, size_t end) {
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

bool isLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// Words of ASCII letters, in lower case, in order.
std::vector<std::string> wordsOf(std::string_view prose) {
  std::vector<std::string> words;
  for (size_t i = 0; i < prose.size(); ++i) {
    std::string word;
    for (; i < prose.size() && isLetter(prose[i]); ++i)
      word += static_cast<char>(prose[i] | 0x20);
    if (!word.empty())
      words.push_back(word);
  }
  return words;
}

// Whether what follows this prose is what the sentence says: "the sum is", "hence", "equal to".
bool announces(std::string_view prose) {
  static const std::set<std::string> last = {"is",        "are",    "equals", "gives", "get",
                                             "obtain",    "have",   "thus",   "hence", "so",
                                             "therefore", "answer", "total"};
  const std::vector<std::string> words = wordsOf(prose);
  return !words.empty() && (last.count(words.back()) || (words.size() > 1 && words.back() == "to" &&
                                                         words[words.size() - 2] == "equal"));
}

// A formula in a text: $…$, $$…$$, \(…\) or \[…\].
struct Formula {
  size_t before, begin, end, after; // of its signs and its content
};

// Those outside all braces, in order; none when the signs of one do not close. A single $ opens
// before what is no blank, and closes behind what is none and before no digit: others are dollars.
std::vector<Formula> formulasOf(const std::string &text) {
  std::vector<Formula> found;
  int depth = 0;
  auto isBlankAt = [&](size_t i) { return i >= text.size() || text[i] == ' ' || text[i] == '\n'; };
  for (size_t i = 0; i < text.size();) {
    const std::string_view two = std::string_view(text).substr(i, 2);
    std::string_view open, close;
    if (two == "$$" || two == "\\(" || two == "\\[") {
      open = two;
      close = two == "\\(" ? "\\)" : two == "\\[" ? "\\]" : two;
    } else if (text[i] == '$' && !isBlankAt(i + 1)) {
      open = close = "$";
    }
    if (open.empty() || depth > 0) {
      depth += text[i] == '{' ? 1 : text[i] == '}' ? -1 : 0;
      i += text[i] == '\\' ? 2 : 1; // \$ is none
      continue;
    }
    const size_t begin = i + open.size();
    size_t end = text.find(close, begin);
    while (open == "$" && end != std::string::npos &&
           (text[end - 1] == '\\' || isBlankAt(end - 1) ||
            (end + 1 < text.size() && text[end + 1] >= '0' && text[end + 1] <= '9')))
      end = text.find(close, end + 1);
    if (end == std::string::npos)
      return {};
    found.push_back({i, begin, end, end + close.size()});
    i = end + close.size();
  }
  return found;
}

// What the last sentence of prose says: its last formula, with those before it that only commas,
// "and" or "or" part from it, and a word behind it, its unit. Nothing when the words before it do
// not announce it ("the square root of $9$"), or when more follows ("$5$ at most").
std::optional<std::string> lastFormula(const std::string &text) {
  const std::vector<Formula> formulas = formulasOf(text);
  if (formulas.empty())
    return std::nullopt;
  auto content = [&](size_t k) {
    return trimmed(text.substr(formulas[k].begin, formulas[k].end - formulas[k].begin));
  };
  size_t first = formulas.size() - 1;
  std::string all = content(first);
  if (all.empty())
    return std::nullopt;
  for (; first > 0 && joins(text, formulas[first - 1].after, formulas[first].before); --first)
    all.insert(0, content(first - 1) + ", ");
  const size_t before = first > 0 ? formulas[first - 1].after : 0;
  if (!announces(std::string_view(text).substr(before, formulas[first].before - before)))
    return std::nullopt;
  std::string tail = trimmed(text.substr(formulas.back().after));
  const bool joined = !tail.empty() && formulas.back().after < text.size() &&
                      text[formulas.back().after] != ' ' && tail.find_first_not_of(".,;:!*") == 0;
  if (joined || wordsOf(tail).size() > 1)
    return std::nullopt;
  while (!tail.empty() && std::string_view(".,;:!*").find(tail.back()) != std::string_view::npos)
    tail.pop_back();
  return tail.empty() ? all : all + " " + tail;
}

} // namespace

std::string trimmed(const std::string &s) {
  constexpr std::string_view blanks = " \t\r\n";
  const size_t first = s.find_first_not_of(blanks);
  return first == std::string::npos ? std::string()
                                    : s.substr(first, s.find_last_not_of(blanks) - first + 1);
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

std::string statedAnswer(const std::string &text) {
  const size_t hashes = text.rfind("####");
  if (hashes != std::string::npos)
    return trimmed(text.substr(hashes + 4, text.find('\n', hashes) - hashes - 4));
  constexpr std::string_view said = "answer is";
  const size_t at = text.rfind(said);
  if (at == std::string::npos || text.find('}', at) < text.find('{', at)) // within \text{…}
    return lastFormula(text).value_or(text);
  std::string rest = text.substr(at + said.size(), text.find('\n', at) - at - said.size());
  rest = trimmed(rest.substr(0, rest.find(". ")));
  if (!rest.empty() && rest[0] == ':')
    rest = trimmed(rest.substr(1));
  return rest.empty() ? text : rest;
}

} // namespace m1rt
