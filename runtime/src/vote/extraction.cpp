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

// Without what only says why or to whom behind a comma or in brackets: ", as desired", "because …".
std::string_view withoutReason(std::string_view part) {
  size_t end = part.size();
  for (const std::string_view begins :
       {" because ", ", because", ", since", " (since", " (because", " (as ", ", as desired",
        ", as required", ", as claimed", ", as expected", ", as needed", ", which ", ", so "})
    end = std::min(end, part.find(begins));
  return part.substr(0, end);
}

// Without blanks, quotation marks and the signs of bold text and code around it, and the
// punctuation behind it.
std::string bare(std::string_view part) {
  const size_t first = part.find_first_not_of(" \t\r\n*`_\"");
  if (first == std::string_view::npos)
    return {};
  const size_t last = part.find_last_not_of(" \t\r\n*`\".,;:");
  return std::string(part.substr(first, last == std::string_view::npos ? 0 : last + 1 - first));
}

// Length of the number that begins here: 12, 1,234.50, 2/3, -7, \$5; 0 if none does.
size_t numberLength(std::string_view text, size_t at) {
  auto isDigit = [&](size_t i) { return i < text.size() && text[i] >= '0' && text[i] <= '9'; };
  size_t i = at;
  i += i < text.size() && (text[i] == '-' || text[i] == '+');
  i += i < text.size() && text[i] == '\\';
  i += i < text.size() && text[i] == '$';
  if (!isDigit(i) && !(i < text.size() && text[i] == '.' && isDigit(i + 1)))
    return 0;
  while (isDigit(i) || (i < text.size() && (text[i] == ',' || text[i] == '.' || text[i] == '/') &&
                        isDigit(i + 1)))
    ++i;
  i += i < text.size() && text[i] == '%';
  return i - at;
}

// The number, and a word or a unit behind it, that the last "is", "are" or "equals" of a sentence
// leads to.
std::optional<std::string> statedNumber(std::string_view sentence) {
  size_t begin = std::string_view::npos;
  for (const std::string_view verb :
       {" is ", " are ", " equals ", " get ", " gives ", " obtain ", " it's "}) {
    const size_t at = sentence.rfind(verb);
    if (at != std::string_view::npos &&
        (begin == std::string_view::npos || at + verb.size() > begin))
      begin = at + verb.size();
  }
  if (begin == std::string_view::npos)
    return std::nullopt;
  std::string_view before = sentence.substr(0, begin); // "is not 10 which is 12" denies 10
  if (const size_t clause = before.rfind(" which is "); clause != std::string_view::npos)
    before.remove_prefix(clause);
  if (denies(wordsOf(before)))
    return std::nullopt;
  const std::string value = bare(sentence.substr(begin));
  const size_t digit = value.find_first_not_of("-+$(");
  if (digit == std::string::npos || value[digit] < '0' || value[digit] > '9')
    return std::nullopt;
  const size_t number = numberLength(value, 0);
  const std::string unit = value.substr(number);
  if (number && (vote::isUnit(unit) || unit == "m²" || unit == "m³"))
    return value.substr(0, number);
  return wordsOf(value).size() > 1 ? std::nullopt : std::optional(value);
}

// The only number of a sentence that concludes with it: "so she needs 12 apples". None where a word
// before or behind it makes another of it: "a multiple of 3", "case 2", "5 dozen", "at least 5".
std::optional<std::string> onlyNumber(std::string_view sentence, bool concludes) {
  static const std::set<std::string> conclusions = {"so",        "thus",    "hence",
                                                    "therefore", "finally", "consequently"};
  static const std::set<std::string> references = {
      "of",      "by",       "case",    "step", "equation", "part",   "problem", "number",
      "theorem", "lemma",    "figure",  "line", "page",     "modulo", "mod",     "base",
      "power",   "with",     "on",      "for",  "and",      "or",     "level",   "question",
      "section", "exercise", "example", "term", "digit",    "in",     "at",      "option"};
  const std::vector<std::string> words = wordsOf(sentence);
  if (words.size() < 3 || !(concludes || conclusions.count(words[0])) || denies(words) ||
      vote::changesValue(std::string(sentence)) ||
      sentence.find_first_of("=+*^<>\\{}()[]") != std::string_view::npos)
    return std::nullopt;
  std::optional<std::string> found;
  for (size_t i = 0; i < sentence.size();) {
    const size_t length = numberLength(sentence, i);
    if (!length) {
      ++i;
      continue;
    }
    const std::vector<std::string> before = wordsOf(sentence.substr(0, i));
    const std::string number(sentence.substr(i, length));
    const bool joined =
        (i > 0 && sentence[i - 1] != ' ') ||
        (i + length < sentence.size() &&
         std::string_view(" .,").find(sentence[i + length]) == std::string_view::npos);
    const bool share = number.back() == '%' && !before.empty() && before.back() == "by";
    if (found || before.empty() || joined || (references.count(before.back()) && !share))
      return std::nullopt;
    found = number;
    i += length;
  }
  return found;
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
  std::string tail = trimmed(std::string(withoutReason(text.substr(formulas.back().after) + " ")));
  while (!tail.empty() && std::string_view(".,;:!*").find(tail.back()) != std::string_view::npos)
    tail.pop_back();
  if (closes(wordsOf(tail)) && !denies(wordsOf(lastSentence(prose))))
    return all;
  // a word behind it that is no unit
  const bool joined = !tail.empty() && formulas.back().after < text.size() &&
                      text[formulas.back().after] != ' ' && tail.find_first_not_of(".,;:!*") == 0;
  if (announces(prose) && !joined && vote::isUnit(' ' + tail))
    return all;
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

namespace {

// The last box, and those before it that belong to it; where it ends.
struct Boxed {
  std::string content;
  size_t end;
};

// Where the \boxed, \fbox or \framebox begins whose name ends here; npos for others.
size_t nameOfBox(const std::string &text, size_t end) {
  for (const std::string_view name : {"\\boxed", "\\fbox", "\\framebox"})
    if (end >= name.size() && text.compare(end - name.size(), name.size(), name) == 0)
      return end - name.size();
  return std::string::npos;
}

std::optional<Boxed> lastBox(const std::string &text) {
  // One pass, as samples that repeat "\boxed{" to the end of their tokens are not rare.
  constexpr std::string_view blanks = " \t\r\n";
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
      const size_t name = before == std::string::npos ? before : nameOfBox(text, before + 1);
      if (name == std::string::npos || (!boxes.empty() && boxes.back().before > name))
        continue; // of boxes within one another the innermost counts
      boxes.push_back({name, brace + 1, i});
    }
  }
  if (boxes.empty())
    return std::nullopt;
  auto content = [&](size_t k) {
    return trimmed(text.substr(boxes[k].begin, boxes[k].end - boxes[k].begin));
  };
  size_t first = boxes.size() - 1;
  std::string all = content(first);
  while (first > 0 && joins(text, boxes[first - 1].end + 1, boxes[first].before) && !all.empty() &&
         !content(first - 1).empty())
    --first;
  if (first + 1 < boxes.size())
    all = content(first);
  for (size_t k = first + 1; k < boxes.size(); ++k)
    all += ", " + content(k);
  return Boxed{all, boxes.back().end + 1};
}

// Before the control token that ends the turn (<|im_end|>, <|eot_id|>, </s>), and the sentence that
// some prompts teach.
std::string ownTurn(const std::string &whole) {
  size_t end = whole.size();
  auto isName = [&](size_t at) { // 2<|x| is none
    size_t letters = at;
    while (letters < whole.size() && (isLetter(whole[letters]) || whole[letters] == '_'))
      ++letters;
    return letters > at + 3;
  };
  const size_t first = whole.find_first_not_of(" \t\r\n"); // a token there begins the turn
  for (const std::string_view token : {"<|", "</s>", "<end_of_turn>", "<\uFF5Cend"})
    for (size_t at = whole.find(token); at != std::string::npos && at < end;
         at = whole.find(token, at + 1))
      if (first < at && (token != "<|" || isName(at + 2)))
        end = at;
  std::string text = trimmed(whole.substr(0, end));
  constexpr std::string_view hope = "I hope it is correct.";
  if (text.size() > hope.size() && text.compare(text.size() - hope.size(), hope.size(), hope) == 0)
    text = trimmed(text.substr(0, text.size() - hope.size()));
  return text;
}

std::string lowerCase(std::string text) {
  for (char &c : text)
    if (c >= 'A' && c <= 'Z')
      c = static_cast<char>(c | 0x20);
  return text;
}

// Behind the last "answer is", "answer:", "correct option is", "answer =", or heading that says
// "Answer"; npos where there is none.
size_t behindMarker(const std::string &lower) {
  auto isMarkup = [](char c) { return c == '*' || c == '_' || c == '`'; };
  size_t begin = std::string::npos;
  for (const std::string_view noun : {"answer", "answers", "option", "choice"}) {
    size_t line = 0; // where that of the last one begins
    for (size_t at = lower.find(noun), last = 0; at != std::string::npos;
         last = at, at = lower.find(noun, at + 1)) {
      size_t end = at + noun.size();
      bool markup = false;
      for (; end < lower.size() && isMarkup(lower[end]); ++end)
        markup = true;
      if (const size_t end = std::string_view(lower).substr(0, at).substr(last).rfind('\n');
          end != std::string_view::npos)
        line = last + end + 1;
      // "## Answer", and "Final Answer" alone in its line.
      const std::string_view before =
          std::string_view(lower).substr(line, std::min<size_t>(at - line, 16));
      const bool heading =
          noun[0] == 'a' &&
          (lower[line] == '#' || std::all_of(before.begin(), before.end(), isMarkup) ||
           (before.size() < 16 && before.substr(before.find_first_not_of("*_`")) == "final "));
      if (heading && (end >= lower.size() || lower[end] == '\n')) {
        begin = begin == std::string::npos ? end : std::max(begin, end);
        continue;
      }
      const size_t sign = lower.find_first_not_of(' ', end);
      size_t behind = std::string::npos;
      if (noun[0] == 'a' && sign != std::string::npos && (lower[sign] == ':' || lower[sign] == '='))
        behind = sign + 1;
      else if (noun[0] == 'a' && markup)
        behind = end;
      else if (sign != std::string::npos && sign > end &&
               (lower.compare(sign, 2, "is") == 0 || lower.compare(sign, 3, "are") == 0) &&
               !isLetter(lower[std::min(sign + (lower[sign] == 'i' ? 2 : 3), lower.size() - 1)]))
        behind = sign + (lower[sign] == 'i' ? 2 : 3);
      if (behind != std::string::npos)
        begin = begin == std::string::npos ? behind : std::max(begin, behind);
    }
  }
  return begin;
}

// Without "simply", "therefore", "given by", "option" and the like in front of a value.
std::string_view withoutFillers(std::string_view part) {
  static const std::set<std::string> fillers = {
      "therefore", "thus",    "then",  "simply", "just",    "hence",
      "option",    "choice",  "given", "by",     "exactly", "approximately",
      "roughly",   "clearly", "now",   "indeed", "equal",   "to"};
  constexpr std::string_view blanks = " \t\r\n:,*`_";
  while (true) {
    const size_t first = part.find_first_not_of(blanks);
    if (first == std::string_view::npos)
      return {};
    part.remove_prefix(first);
    size_t end = 0;
    while (end < part.size() && isLetter(part[end]))
      ++end;
    if (!end || end >= part.size() || !fillers.count(lowerCase(std::string(part.substr(0, end)))))
      return part;
    part.remove_prefix(end);
  }
}

// To the end of its sentence or line, but not within a formula.
std::string_view firstSentence(std::string_view part) {
  size_t from = 0;
  for (const auto &[open, close] :
       {std::pair<std::string_view, std::string_view>{"$$", "$$"}, {"\\[", "\\]"}, {"\\(", "\\)"}})
    if (part.compare(0, open.size(), open) == 0)
      if (const size_t end = part.find(close, open.size()); end != std::string_view::npos)
        from = end;
  part = part.substr(0, part.find('\n', from));
  return part.substr(0, part.find(". ", from));
}

std::optional<std::string> spoken(const std::string &part, bool concludes) {
  if (auto formula = lastFormula(part))
    return formula;
  std::string_view sentence = withoutReason(lastSentence(part));
  if (auto number = statedNumber(sentence))
    return number;
  for (const std::string_view sign : {"$$ ", "\\] "}) // a formula of its own ends a sentence, too
    if (const size_t at = sentence.rfind(sign); at != std::string_view::npos)
      sentence.remove_prefix(at + sign.size());
  return onlyNumber(sentence, concludes);
}

// What a text without a box says; nothing where no word of it announces an answer.
std::optional<std::string> announcedAnswer(const std::string &text) {
  if (const size_t hashes = text.rfind("####"); hashes != std::string::npos) {
    const size_t end = std::min(text.find('\n', hashes), text.size());
    std::string said = trimmed(text.substr(hashes + 4, end - hashes - 4));
    // "#### Step 3" with more below it is a heading.
    if (said.empty() || !isLetter(said[0]) ||
        text.find_first_not_of(" \t\r\n", end) == std::string::npos)
      return said;
  }
  const size_t begin = behindMarker(lowerCase(text));
  if (begin == std::string::npos || text.find('}', begin) < text.find('{', begin)) // in \text{…}
    return std::nullopt;
  const std::string_view all = withoutFillers(std::string_view(text).substr(begin));
  std::string rest = bare(withoutReason(firstSentence(all)));
  if (rest.empty())
    return std::nullopt;
  // B because the slope is 3, (C).
  const size_t letter = rest[0] == '(' ? 1 : 0;
  if (rest.size() == 1 + 2 * letter && rest[letter] >= 'A' && rest[letter] <= 'J')
    return rest;
  // 3 × 10^8 m/s
  constexpr size_t longestUnit = 40;
  for (size_t blank = rest.rfind(' '); blank != std::string::npos && blank > 0;
       blank = rest.rfind(' ', blank - 1)) {
    if (rest.size() - blank > longestUnit || !vote::isUnit(rest.substr(blank)))
      break;
    if (rest[blank - 1] >= '0' && rest[blank - 1] <= '9')
      return spoken(rest.substr(0, blank), true).value_or(rest.substr(0, blank));
  }
  return spoken(rest, true).value_or(rest);
}

} // namespace

std::optional<std::string> extractBoxed(const std::string &text) {
  auto box = lastBox(text);
  return box ? std::optional(std::move(box->content)) : std::nullopt;
}

namespace {

// The last part of a text that is too long to be looked through as a whole, from a line's begin.
std::string lastPart(const std::string &text) {
  constexpr size_t longest = 16384;
  if (text.size() <= longest)
    return text;
  const size_t line = text.find('\n', text.size() - longest);
  return text.substr(line == std::string::npos ? text.size() - longest : line + 1);
}

// Of a text without thoughts and tags: its box, or what it announces.
std::optional<std::string> plainAnswer(const std::string &whole) {
  const auto box = lastBox(whole);
  if (!box) {
    const std::string part = lastPart(ownTurn(whole));
    auto said = announcedAnswer(part);
    return said ? said : spoken(part, false);
  }
  // "Final Answer: The final answer is $5$" behind a box says it once more, or says another.
  const std::string behind = lastPart(ownTurn(whole.substr(std::min(box->end, whole.size()))));
  const bool final =
      box->content.empty() || lowerCase(behind).find("final answer is $") != std::string::npos;
  if (final)
    if (auto said = announcedAnswer(behind))
      return said;
  return box->content;
}

// The part of a text that its answer stands in, and whether tags say that all of it is the answer.
std::pair<std::string, bool> answeringPart(const std::string &whole) {
  std::string text = whole;
  // What was thought counts where nothing is said behind it.
  constexpr std::string_view thought = "</think>";
  if (const size_t at = whole.rfind(thought); at != std::string::npos) {
    const std::string said = whole.substr(at + thought.size()), part = lastPart(ownTurn(said));
    const bool says = !part.empty() && (lastBox(said) || announcedAnswer(part) ||
                                        spoken(part, false) || part[0] == '<');
    text = says || (!part.empty() && !lastBox(whole)) ? said : whole.substr(0, at);
  }
  constexpr std::string_view open = "<answer>", close = "</answer>";
  if (const size_t end = text.rfind(close); end != std::string::npos)
    if (const size_t begin = text.rfind(open, end); begin != std::string::npos) {
      const size_t first = begin + open.size();
      if (std::string content = trimmed(text.substr(first, end - first)); !content.empty())
        return {std::move(content), true};
    }
  return {std::move(text), false};
}

} // namespace

std::string answerIn(const std::string &whole) {
  const std::string text = answeringPart(whole).first;
  return plainAnswer(text).value_or(ownTurn(text));
}

std::optional<std::string> extractAnswer(const std::string &whole) {
  const auto [text, tagged] = answeringPart(whole);
  std::optional<std::string> answer = plainAnswer(text);
  // A box that is open to the end would have been the answer.
  if (!lastBox(text) && text.rfind("\\boxed{") != std::string::npos)
    return std::nullopt;
  if (!answer && tagged)
    answer = text;
  return answer && !answer->empty() ? answer : std::nullopt;
}

} // namespace m1rt
