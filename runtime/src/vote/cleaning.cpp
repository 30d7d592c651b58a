#include "vote/cleaning.h"

#include "vote/extraction.h"
#include "vote/formulas.h"
#include "vote/letters.h"
#include "vote/markers.h"
#include "vote/prose.h"
#include "vote/spoken.h"
#include "vote/units.h"
#include "vote/wording.h"

#include <algorithm>
#include <set>

namespace m1rt {
namespace {

// Without the kind of a value in front of its number or formula: "the interval $(1, 2)$".
std::string_view withoutKind(std::string_view part) {
  static const std::set<std::string> kinds = {
      "the",     "a",        "an",     "interval", "set",      "point",    "product",  "sum",
      "pair",    "ordered",  "number", "function", "value",    "vector",   "equation", "expression",
      "integer", "fraction", "triple", "matrix",   "constant", "solution", "line",     "formula"};
  size_t at = 0;
  while (at < part.size()) {
    size_t end = at;
    while (end < part.size() && isLetter(part[end]))
      ++end;
    if (end == at || !kinds.count(lowerCase(std::string(part.substr(at, end - at)))))
      break;
    at = std::min(part.find_first_not_of(" ,:", end), part.size());
  }
  const bool value = at < part.size() && ((part[at] >= '0' && part[at] <= '9') ||
                                          std::string_view("$([{-").find(part[at]) < 5 ||
                                          part.compare(at, 2, "\\(") == 0);
  return value ? part.substr(at) : part;
}

} // namespace

std::string_view withoutFillers(std::string_view part) {
  static const std::set<std::string> fillers = {
      "therefore", "thus",     "then",   "simply",     "just",          "hence",   "option",
      "choice",    "given",    "by",     "exactly",    "approximately", "roughly", "clearly",
      "donc",      "now",      "indeed", "definitely", "certainly",     "surely",  "equal",
      "to",        "actually", "about",  "around",     "still",         "again"};
  constexpr std::string_view blanks = " \t\r\n:,*`_";
  while (true) {
    const size_t first = part.find_first_not_of(blanks);
    if (first == std::string_view::npos)
      return {};
    part.remove_prefix(first);
    for (const std::string_view way :
         {"found to be ", "calculated to be ", "computed to be ", "calculated as ", "computed as ",
          "determined to be ", "as follows: ", "the following: "})
      if (part.compare(0, way.size(), way) == 0)
        part.remove_prefix(way.size());
    size_t end = 0;
    while (end < part.size() && isLetter(part[end]))
      ++end;
    if (!end || end >= part.size() || !fillers.count(lowerCase(std::string(part.substr(0, end)))))
      return withoutKind(part);
    part.remove_prefix(end);
  }
}

std::string_view firstSentence(std::string_view part) {
  size_t from = 0;
  for (const auto &[open, close] : {std::pair<std::string_view, std::string_view>{"$$", "$$"},
                                    {"\\[", "\\]"},
                                    {"\\(", "\\)"},
                                    {"\\begin{", "\\end{"}})
    if (part.compare(0, open.size(), open) == 0)
      if (const size_t end = part.find(close, open.size()); end != std::string_view::npos)
        from = end;
  for (const std::string_view end : {"\n", "。"})
    part = part.substr(0, part.find(end, from));
  for (size_t at = from; (at = part.find_first_of(".!", at)) != part.npos; ++at) {
    // "It is 5! Let me check", but "5! + 1" and "5! = 120"
    const bool next = at + 3 < part.size() && part[at + 1] == ' ' && part[at + 2] >= 'A' &&
                      part[at + 2] <= 'Z' && isLetter(part[at + 3]);
    if (part[at] == '.' ? part.compare(at, 2, ". ") == 0 && endsSentence(part, at) : next)
      return part.substr(0, at + (part[at] == '!'));
  }
  return part;
}

namespace {

// Words that say of an answer that it holds: "the answer is correct".
const std::set<std::string> kPraise = {
    "correct", "right", "reasonable", "clear",   "consistent", "valid",   "verified", "below",
    "above",   "here",  "as",         "follows", "obvious",    "trivial", "later",    "hidden"};

} // namespace

bool isComment(const std::string &words, bool praise) {
  static const std::set<std::string> doubts = {"incorrect", "wrong",     "unclear", "unknown",
                                               "not",       "ambiguous", "possible"};
  const std::vector<std::string> all = wordsOf(words);
  // "obtained by adding 3 and 4"
  static const std::set<std::string> ways = {
      "first",     "let",      "consider",   "note",     "obtained",  "found",
      "checked",   "computed", "calculated", "written",  "expressed", "determined",
      "derived",   "based",    "shown",      "easy",     "hard",      "difficult",
      "different", "going",    "probably",   "perhaps",  "maybe",     "supposed",
      "needed",    "asked",    "wanted",     "expected", "therefore"};
  if (!all.empty() && ways.count(all[0]) && isLetter(words[0]))
    return true;
  static const std::set<std::string> kinds = {"number", "integer", "fraction", "numbers"};
  if (all.size() > 1 && (all[0] == "a" || all[0] == "an") && kinds.count(all.back()) &&
      words.find_first_of("0123456789$\\") == std::string::npos) // a prime number
    return true;
  // What it is like, and not what it is.
  if (all.size() > 3 && (all[0] == "a" || all[0] == "an") && kinds.count(all[1]) &&
      among({all[2]}, {"between", "from", "that", "which", "less", "greater", "of", "in"}))
    return true; // an integer between 0 and 999
  if (all.size() > 1 && (all[0] == "be" || (among({all[0]}, {"on", "in", "at"}) &&
                                            among({all[1]}, {"page", "line", "chapter", "section",
                                                             "table", "figure", "step"}))))
    return true; // be rounded, on page 5
  for (const std::string_view like :
       {"a multiple of ", "in the form", "of the form", "between ", "left to ", "a factor of ",
        "a divisor of ", "at most ", "at least ", "greater than ", "less than ", "more than ",
        "fewer than ", "no more than ", "no less than ", "larger than ", "smaller than "})
    if (words.compare(0, like.size(), like) == 0)
      return true;
  if (words.find("not sure") != words.npos)
    return true;
  static const std::set<std::string> places = {"left",   "in",        "given",    "listed", "shown",
                                               "stated", "displayed", "provided", "written"};
  if (all.size() > 1 && places.count(all[0]) && isLetter(words[0]) &&
      words.find_first_of("0123456789$\\") == std::string::npos) // left as an exercise
    return true;
  return !all.empty() && words.find_first_of("0123456789$\\") == std::string::npos &&
         std::all_of(all.begin(), all.end(), [&](const std::string &word) {
           return kPraise.count(word) || (!praise && doubts.count(word));
         });
}

std::optional<std::string> valueOfDescription(const std::string &sentence, bool &described) {
  described = false;
  for (const std::string_view amount :
       {"the sum of ", "the product of ", "the difference ", "the number of ", "the value of "})
    described |= sentence.compare(0, amount.size(), amount) == 0;
  if (const size_t clause = sentence.rfind(", which is "); // the larger one, which is 7
      clause != sentence.npos && sentence.compare(0, 4, "the ") == 0)
    described |= startOfValue(sentence, clause + 11) == clause + 11;
  if (!described)
    return std::nullopt;
  constexpr std::string_view which = ", which is ";
  if (const size_t at = sentence.rfind(which); at != sentence.npos)
    return bare(std::string_view(sentence).substr(at + which.size()));
  for (const std::string_view lead : {": ", ", namely "}) // the number of ways: 12
    if (const size_t at = sentence.rfind(lead); at != sentence.npos) {
      std::string value = bare(std::string_view(sentence).substr(at + lead.size()));
      if (isFormula(value) && startOfValue(value, 0) == 0)
        return value;
    }
  const auto formulas = formulasOf(sentence);
  if (formulas.empty() || formulas.back().after != sentence.size())
    return std::nullopt;
  const auto before = std::string_view(sentence).substr(0, formulas.back().before);
  auto endsWith = [&](std::string_view said) {
    return before.size() > said.size() && before.substr(before.size() - said.size()) == said;
  };
  return endsWith(", ") || endsWith(" is ") ? std::optional(contentOf(sentence, formulas.back()))
                                            : std::nullopt;
}

namespace {

// Without the names of upright text.
std::string withoutNames(std::string latex) {
  for (const std::string_view name : {"\\textbf", "\\text", "\\mathrm", "\\mathbf"})
    for (size_t at; (at = latex.find(name)) != std::string::npos;)
      latex.erase(at, name.size());
  return latex;
}

} // namespace

std::string withoutBracketedRemark(const std::string &value) {
  const size_t bracket = value.rfind(" ("), last = value.find_last_not_of(" .");
  if (bracket == value.npos || value[last] != ')' || bracket == 0 || isLetter(value[bracket - 1]))
    return value;
  const std::string remark = value.substr(bracket + 2, last - bracket - 2);
  const bool words = remark.find_first_of("0123456789$\\") == remark.npos &&
                     !wordsOf(remark).empty() && !isFormula(remark);
  return words && !vote::changesValue(remark) && remark != "percent" ? value.substr(0, bracket)
                                                                     : value;
}

std::optional<std::string> cleanedAnswer(std::string rest, bool &says) {
  if (rest.size() > 3 && rest.compare(rest.size() - 3, 3, "**!") == 0) // **5**!
    rest.resize(rest.size() - 3);
  for (const std::string_view tag : {"<b>", "</b>", "<strong>", "</strong>", "<i>", "</i>"})
    for (size_t at; (at = rest.find(tag)) != rest.npos;)
      rest.erase(at, tag.size());
  if (rest.size() > 3 && rest[0] >= 'A' && rest[0] <= 'J' && rest[1] == ':' && rest[2] == ' ' &&
      rest.find_first_of("0123456789$\\") == rest.npos)
    rest.resize(1);                                                         // A: the mitochondria
  for (const std::string_view other : {", but ", ", while ", ", whereas "}) // A, but B is wrong
    if (rest.size() > 1 && rest[0] >= 'A' && rest[0] <= 'J' &&
        rest.compare(1, other.size(), other) == 0)
      rest.resize(1);
  for (const std::string_view verdict : {"yes", "no", "true", "false"}) // No, it is not possible
    if (rest.size() > verdict.size() + 1 && lowerCase(rest.substr(0, verdict.size())) == verdict &&
        std::string_view(",*;").find(rest[verdict.size()]) != std::string_view::npos)
      rest.resize(verdict.size());
  if (const size_t bold = rest.find("** "); bold != rest.npos && rest.find("**") == bold)
    rest.erase(bold, 2); // **(C)** $\frac{1}{2}$
  if (const size_t but = rest.find(" but "); rest.compare(0, 4, "not ") == 0 && but != rest.npos)
    if (const size_t value = startOfValue(rest, but + 5); value != rest.npos)
      rest.erase(0, value); // not 20 but 21
  if (const size_t since = rest.find(" since ");
      since != rest.npos && std::count(rest.begin(), rest.begin() + ptrdiff_t(since), '$') % 2 == 0)
    rest.resize(since);
  for (const std::string_view guess : {"probably ", "likely ", "most likely ", "presumably "})
    if (rest.compare(0, guess.size(), guess) == 0 && rest.find(" or ") == rest.npos &&
        startOfValue(rest, guess.size()) != rest.npos)
      rest.erase(0, guess.size());
  if (rest.find("? ") != rest.npos || (!rest.empty() && rest.back() == '?')) { // "is 9? Wait, no"
    says = false;
    return std::nullopt;
  }
  auto count = [&](char c) { return std::count(rest.begin(), rest.end(), c); };
  if (!rest.empty() && (rest.back() == ')' || rest.back() == ']') &&
      count(')') + count(']') > count('(') + count('[')) {
    const size_t first = rest.find_first_of("()[]");
    if (first + 1 == rest.size() || rest[first] != ']') // ]0, 1] is an interval
      rest.pop_back();                                  // (Answer: 7)
  }
  if (std::count(rest.begin(), rest.end(), '$') == 1 && rest.back() == '$')
    rest.pop_back(); // of the formula that begins before the marker
  says = !isComment(rest, /*praise=*/true);
  for (const std::string_view no :
       {"not ", "no longer ", "nicht ", "pas ", "no es ", "no se ", "não ", "non ", "不", "我",
        "no lo s", "わかり", "分かり", "모르", "ich ", "je ne "})
    says &= rest.compare(0, no.size(), no) != 0;
  const size_t digit = rest.find_first_of("0123456789$");
  says &= digit == rest.npos || !among(wordsOf(rest.substr(0, digit)), {"not"}); // certainly not 5
  if (rest.empty() || !says)
    return std::nullopt;
  if (const auto own = formulasOf(rest);
      own.size() == 1 && own[0].before == 0 && own[0].after == rest.size() && own[0].begin > 2)
    return contentOf(rest, own[0]); // \begin{equation}…\end{equation}
  rest = withoutBracketedRemark(rest);
  // B because the slope is 3, (C).
  const size_t letter = rest[0] == '(' ? 1 : 0;
  if (rest.size() == 1 + 2 * letter && rest[letter] >= 'A' && rest[letter] <= 'J')
    return rest;
  constexpr size_t longestUnit = 40;
  // $504 - 224 = 280$, or $\textbf{(D)}$
  if (const size_t otherwise = rest.rfind(", or ");
      otherwise != rest.npos && rest.size() - otherwise < longestUnit) {
    std::string letters;
    for (const char c : withoutNames(rest.substr(otherwise + 5)))
      if (std::string_view("$(){}. ").find(c) == std::string_view::npos)
        letters += c;
    if (letters.size() == 1 && letters[0] >= 'A' && letters[0] <= 'J' && rest.back() == '$')
      return letters;
  }
  // 3 × 10^8 m/s
  for (size_t blank = rest.rfind(' '); blank != std::string::npos && blank > 0;
       blank = rest.rfind(' ', blank - 1)) {
    const std::string unit = rest.substr(blank);
    if (rest.size() - blank > longestUnit ||
        !(vote::isUnit(unit) || vote::isMeasureOf(rest.substr(0, blank), unit)))
      break;
    const std::vector<std::string> before = wordsOf(std::string_view(rest).substr(0, blank));
    const bool several = std::any_of(before.begin(), before.end(), [](const std::string &word) {
      return word.size() > 1 && vote::isUnit(' ' + word); // 2 hours and 30 minutes
    });
    if (rest[blank - 1] >= '0' && rest[blank - 1] <= '9' && !several)
      return spoken(rest.substr(0, blank), true).value_or(rest.substr(0, blank));
  }
  // "5/6 of the pizza"
  if (const size_t of = rest.find(" of "); of != std::string::npos && of > 0) {
    const char last = rest[of - 1];
    const bool value = (last >= '0' && last <= '9') || last == '$' || last == '%';
    if (value && !isLetter(rest[0]) && rest.find_first_of("0123456789$\\", of) == std::string::npos)
      rest.resize(of);
  }
  return spoken(rest, true).value_or(rest);
}

} // namespace m1rt
