#include "vote/extraction.h"

#include "vote/vote.h"
#include "vote/wording.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <string_view>

namespace m1rt {
namespace {

// Whether nothing but commas, "and" or "or" and signs of formulas stand between two boxes, or
// nothing at all.
bool joins(const std::string &text, size_t begin, size_t end) {
  constexpr size_t longest = 60;
  if (begin == end)
    return true;
  if (begin > end || end - begin > longest)
    return false;
  std::string words;
  for (size_t i = begin; i < end; ++i) {
    size_t sign = 0; // spaces of TeX, signs of formulas
    for (const char *each : {"\\quad", "\\qquad", "\\ ", "\\,", "\\;", "\\[", "\\]", "\\(", "\\)"})
      if (text.compare(i, std::strlen(each), each) == 0)
        sign = std::strlen(each);
    if (sign)
      i += sign - 1;
    else if (text[i] != ' ' && text[i] != '\n' && text[i] != '$')
      words += text[i];
  }
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

bool among(const std::vector<std::string> &words, const std::set<std::string> &known) {
  return std::any_of(words.begin(), words.end(),
                     [&](const std::string &word) { return known.count(word) != 0; });
}

// Whether these words deny what they lead to, or give no more than a bound of it.
bool denies(const std::vector<std::string> &words) {
  return among(words, {"not", "never", "cannot", "no", "isn", "doesn", "don", "impossible", "wrong",
                       "incorrect", "false", "unless", "if", "except", "neither", "nor"});
}

// Behind the last end of a sentence.
std::string_view lastSentence(std::string_view prose) {
  for (size_t i = prose.size(); i-- > 1;)
    if (prose[i] == '\n' || (prose[i] == ' ' && prose[i - 1] == '.'))
      return prose.substr(i + 1);
  return prose;
}

// Whether what follows this prose is what the sentence says: "the sum is", "hence", "equal to",
// "we find that", "matrix:".
bool announces(std::string_view prose) {
  static const std::set<std::string> last = {"is",        "are",    "equals", "gives", "get",
                                             "obtain",    "have",   "thus",   "hence", "so",
                                             "therefore", "answer", "total"};
  static const std::set<std::string> told = {"find",  "see",    "conclude", "have",
                                             "get",   "obtain", "follows",  "implies",
                                             "shows", "deduce", "means",    "found"};
  prose = lastSentence(prose);
  const std::vector<std::string> words = wordsOf(prose);
  if (words.empty() || denies(words))
    return false;
  const std::string before = words.size() > 1 ? words[words.size() - 2] : std::string();
  const size_t end = prose.find_last_not_of(" \n");
  return last.count(words.back()) || (words.back() == "to" && before == "equal") ||
         (words.back() == "that" && told.count(before)) || prose[end] == ':';
}

// "is the solution", "is our answer"
bool closes(const std::vector<std::string> &words) {
  return words.size() > 1 && (words[0] == "is" || words[0] == "are") &&
         std::all_of(words.begin(), words.end(),
                     [](const std::string &word) { return vote::closingWords().count(word) != 0; });
}

// The number, and a word behind it, that the last "is", "are" or "equals" of a sentence leads to.
std::optional<std::string> statedNumber(std::string_view sentence) {
  size_t begin = std::string_view::npos;
  for (const std::string_view verb : {" is ", " are ", " equals "}) {
    const size_t at = sentence.rfind(verb);
    if (at != std::string_view::npos &&
        (begin == std::string_view::npos || at + verb.size() > begin))
      begin = at + verb.size();
  }
  if (begin == std::string_view::npos || denies(wordsOf(sentence.substr(0, begin))))
    return std::nullopt;
  std::string value = trimmed(std::string(sentence.substr(begin)));
  while (!value.empty() && (value.back() == '.' || value.back() == '*'))
    value.pop_back();
  const size_t digit = value.find_first_not_of("-+$(");
  if (digit == std::string::npos || value[digit] < '0' || value[digit] > '9' ||
      wordsOf(value).size() > 1)
    return std::nullopt;
  return value;
}

// A formula in a text: $…$, $$…$$, \(…\) or \[…\].
struct Formula {
  size_t before, begin, end, after; // of its signs and its content
};

// Of "$ x $" that begins here: its last sign; npos where there is none in this line, no blank
// before it, or a word or nothing between the two.
size_t paddedEnd(const std::string &text, size_t begin) {
  for (size_t i = begin + 1; i < text.size() && text[i] != '\n'; ++i) {
    if (text[i] == '\\') { // a command's name is no word
      while (i + 1 < text.size() && isLetter(text[i + 1]))
        ++i;
    } else if (text[i] == '$') {
      return i > begin + 2 && text[i - 1] == ' ' ? i : std::string::npos;
    } else if (isLetter(text[i]) && i + 1 < text.size() && isLetter(text[i + 1]) &&
               text[i - 1] == ' ') {
      return std::string::npos;
    }
  }
  return std::string::npos;
}

// Those outside all braces, in order; none when the signs of one do not close. A single $ opens
// before what is no blank, and closes behind what is none and before no digit, or both have blanks
// and no words stand between them: others are dollars.
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
    } else if (text[i] == '$' && (!isBlankAt(i + 1) || paddedEnd(text, i) != std::string::npos)) {
      open = close = "$";
    }
    if (open.empty() || depth > 0) {
      depth += text[i] == '{' ? 1 : text[i] == '}' ? -1 : 0;
      i += text[i] == '\\' ? 2 : 1; // \$ is none
      continue;
    }
    const size_t begin = i + open.size();
    size_t end = text.find(close, begin);
    if (open == "$" && isBlankAt(begin))
      end = paddedEnd(text, i);
    while (open == "$" && !isBlankAt(begin) && end != std::string::npos &&
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
  const auto prose = std::string_view(text).substr(before, formulas[first].before - before);
  std::string tail = trimmed(text.substr(formulas.back().after));
  while (!tail.empty() && std::string_view(".,;:!*").find(tail.back()) != std::string_view::npos)
    tail.pop_back();
  if (closes(wordsOf(tail)) && !denies(wordsOf(lastSentence(prose))))
    return all;
  // a word behind it that is no unit
  const bool joined = !tail.empty() && formulas.back().after < text.size() &&
                      text[formulas.back().after] != ' ' && tail.find_first_not_of(".,;:!*") == 0;
  if (!announces(prose) || joined || wordsOf(tail).size() > 1)
    return std::nullopt;
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

std::string statedAnswer(const std::string &whole) {
  // Another turn, and the sentence that some prompts teach, are no part of the answer.
  std::string text = trimmed(whole.substr(0, whole.find("<|im_")));
  constexpr std::string_view hope = "I hope it is correct.";
  if (text.size() > hope.size() && text.compare(text.size() - hope.size(), hope.size(), hope) == 0)
    text = trimmed(text.substr(0, text.size() - hope.size()));
  const size_t hashes = text.rfind("####");
  if (hashes != std::string::npos)
    return trimmed(text.substr(hashes + 4, text.find('\n', hashes) - hashes - 4));
  std::string lower = text;
  for (char &c : lower)
    if (c >= 'A' && c <= 'Z')
      c = static_cast<char>(c | 0x20);
  size_t begin = 0;
  for (const std::string_view said : {"answer is", "answer:", "answer**"})
    if (const size_t at = lower.rfind(said); at != std::string::npos)
      begin = std::max(begin, at + said.size());
  auto spoken = [](const std::string &part) {
    if (auto formula = lastFormula(part))
      return *formula;
    return statedNumber(lastSentence(part)).value_or(part);
  };
  if (begin == 0 || text.find('}', begin) < text.find('{', begin)) // within \text{…}
    return spoken(text);
  begin = std::min(text.find_first_not_of(" \t\r\n:*", begin), text.size());
  std::string rest = text.substr(begin, text.find('\n', begin) - begin);
  rest = trimmed(rest.substr(0, rest.find(". ")));
  return rest.empty() ? text : spoken(rest);
}

} // namespace m1rt
