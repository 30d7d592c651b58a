// What the end of a text says: its last formula, its last line, its last sentence.
#include "vote/spoken.h"

#include "vote/cleaning.h"
#include "vote/conclusions.h"
#include "vote/extraction.h"
#include "vote/formulas.h"
#include "vote/prose.h"
#include "vote/statements.h"
#include "vote/units.h"
#include "vote/wording.h"

#include <algorithm>
#include <cstring>
#include <set>

namespace m1rt {
namespace {

// Whether letters stand in it beside the names of commands.
bool hasLetters(const std::string &latex) {
  for (size_t i = 0; i < latex.size(); ++i)
    if (latex[i] == '\\')
      while (i + 1 < latex.size() && isLetter(latex[i + 1]))
        ++i;
    else if (isLetter(latex[i]))
      return true;
  return false;
}

// "The area is $\pi r^2 = 9\pi$" says 9\pi: what a chain ends with, if it is a constant and what
// the sentence is about is an amount.
std::string valueOfChain(std::string_view prose, const std::string &formula) {
  if (std::string rounding = valueOfRounding(formula); rounding != formula)
    return among(wordsOf(lastSentence(prose)), amountNouns()) ? rounding : formula;
  const size_t sign = formula.rfind('=');
  if (sign == std::string::npos || !among(wordsOf(lastSentence(prose)), amountNouns()))
    return formula;
  const std::string last = trimmed(formula.substr(sign + 1));
  const bool constant = !hasLetters(last) && last.find(',') == std::string::npos;
  return last.empty() || !constant || !isBalanced(last) ? formula : last;
}

// "The center is $(3, -2)$ and the radius is $5$": no one thing.
bool saysTwoThings(const std::string &text) {
  const std::vector<Formula> formulas = formulasOf(text);
  if (formulas.size() < 2)
    return false;
  const Formula &one = formulas[formulas.size() - 2], &other = formulas.back();
  const auto between = std::string_view(text).substr(one.after, other.before - one.after);
  return between.compare(0, 9, " and the ") == 0 && announces(between) &&
         announces(std::string_view(text).substr(0, one.before)) &&
         text.find(" is ", other.after) == std::string::npos;
}

// Whether a formula is a constant, or its last side is.
bool endsConstant(const std::string &formula) {
  const std::string last = formula.substr(formula.rfind('=') + 1);
  return !hasLetters(last) && last.find_first_of("0123456789") != last.npos;
}

// What the last sentence of prose says: its last formula, with those before it that only commas,
// "and" or "or" part from it, and a word behind it, its unit. Nothing when the words before it do
// not announce it ("the square root of $9$"), or when more follows ("$5$ at most").
std::optional<std::string> lastFormula(const std::string &text) {
  const std::vector<Formula> formulas = formulasOf(text);
  if (formulas.empty())
    return std::nullopt;
  auto content = [&](size_t k) { return conclusionOf(contentOf(text, formulas[k])); };
  size_t first = formulas.size() - 1;
  std::string all = content(first);
  if (all.empty())
    return std::nullopt;
  // m = 100, n = 7, m + n = 107 says 107
  auto isSum = [](const std::string &formula) {
    const size_t sign = formula.find('=');
    return sign != std::string::npos && formula.find_first_of("+-/") < sign;
  };
  // AB^2 = 48, AB = 4\sqrt{3} says the latter
  auto isSquareOf = [](const std::string &formula, const std::string &name) {
    return formula.compare(0, name.size(), name) == 0 &&
           formula.find_first_not_of(" {", name.size()) == formula.find('^') &&
           formula.find('^') < formula.find('=');
  };
  if (all.find("\\ne") != all.npos &&
      among(wordsOf(lastSentence(text.substr(0, formulas[first].before))), {"contradiction"}))
    return std::nullopt;
  const std::string named = trimmed(all.substr(0, std::min(all.find('='), all.size())));
  const bool sum = isSum(all);
  for (; first > 0 && joins(text, formulas[first - 1].after, formulas[first].before); --first)
    if (const std::string each = content(first - 1);
        (!sum || isSum(each)) && !isSquareOf(each, named)) // x + y = 5, x - y = 1
      all.insert(0, each + ", ");
  const size_t before = first > 0 ? formulas[first - 1].after : 0;
  const auto prose = std::string_view(text).substr(before, formulas[first].before - before);
  std::string tail = trimmed(std::string(withoutReason(text.substr(formulas.back().after) + " ")));
  if (tail == "。")
    tail.clear();
  while (!tail.empty() && std::string_view(".,;:!*").find(tail.back()) != std::string_view::npos)
    tail.pop_back();
  for (const char *sign : {"\\therefore", "\\Rightarrow", "\\implies"})
    if (tail.empty() && all.compare(0, std::strlen(sign), sign) == 0)
      return all;
  if (closes(wordsOf(tail)) && !denies(wordsOf(lastSentence(prose))))
    return all;
  // "there are $120$ such arrangements"
  const std::vector<std::string> things = wordsOf(tail);
  std::vector<std::string> exist = wordsOf(lastSentence(prose));
  while (!exist.empty() && among({exist.back()}, {"exactly", "a", "total", "of", "only"}))
    exist.pop_back();
  const bool such = !things.empty() && things[0] == "such";
  const bool counted =
      such || (!exist.empty() && isConclusion(exist[0]) && !vote::changesValue(tail));
  if (things.size() == 2 && counted && isLetter(tail[0]) && exist.size() > 1 &&
      exist[exist.size() - 2] == "there" && exist.back() == "are" && !denies(exist) &&
      !countsParts(things))
    return all;
  if (things == std::vector<std::string>{"of", "them"} && exist.size() > 1 &&
      exist[exist.size() - 2] == "there" && exist.back() == "are")
    return all;
  // "thus $n = 42$ is the smallest such number"
  static const std::set<std::string> nouns = {
      "smallest",   "largest",  "least",    "greatest", "only",    "minimum",  "maximum",  "unique",
      "required",   "desired",  "final",    "correct",  "such",    "possible", "positive", "number",
      "integer",    "value",    "solution", "answer",   "prime",   "one",      "root",     "to",
      "of",         "the",      "equation", "system",   "problem", "given",    "original", "real",
      "inequality", "function", "we",       "want",     "seek",    "need"};
  if (things.size() > 2 && things[0] == "is" && (things[1] == "the" || things[1] == "our") &&
      exist.size() == 1 && isConclusion(exist[0]) && all.find('=') != std::string::npos &&
      std::all_of(things.begin() + 2, things.end(),
                  [](const std::string &word) { return nouns.count(word) != 0; }))
    return all;
  // "the term is given by $a_{10} = 91$"
  const bool given =
      exist.size() > 1 &&
      ((exist.back() == "by" && exist[exist.size() - 2] == "given") ||
       (exist.back() == "as" && among({exist[exist.size() - 2]}, {"written", "expressed"})));
  if (tail.empty() && endsConstant(all) && given && !denies(exist))
    return all;
  // "solving, we find $n = 8$"
  if (tail.empty() && all.find('=') != std::string::npos && exist.size() > 1 &&
      exist.back() == "find" && exist[exist.size() - 2] == "we")
    return all;
  // a word behind it that is no unit
  const bool joined = !tail.empty() && formulas.back().after < text.size() &&
                      text[formulas.back().after] != ' ' && tail.find_first_not_of(".,;:!*") == 0;
  const bool degrees = all.size() > 5 && all.find("circ", all.size() - 5) != std::string::npos;
  // "the vertex is at $(2, -3)$"
  const std::vector<std::string> lead = wordsOf(lastSentence(prose));
  if (tail.empty() && all[0] == '(' && lead.size() > 2 && lead.back() == "at" &&
      among({lead[lead.size() - 2]},
            {"is", "are", "intersect", "intersects", "meet", "meets", "located", "occurs"}) &&
      !denies(lead))
    return all;
  if (announces(prose) && degrees && (tail == "C" || tail == "F"))
    return all;
  if (announces(prose) && !joined && (vote::isUnit(' ' + tail) || vote::isMeasureOf(all, tail)))
    return valueOfChain(prose, all);
  if (!announces(prose) || joined || wordsOf(tail).size() > 1)
    return std::nullopt;
  return tail.empty() ? valueOfChain(prose, all) : all + " " + tail;
}

// Whether this line of bold text is the head of an item that was cut: "**2.**" behind "**1. …".
bool isHead(const std::string &text, std::string_view line, const std::string &value) {
  if (value.empty() || value.size() > 2 || line.find(value + ".**") == line.npos ||
      value.find_first_not_of("0123456789") != value.npos)
    return false;
  const int number = std::stoi(value);
  return number == 1 || bare(text) == value ||
         text.find("**" + std::to_string(number - 1) + ".") != text.npos;
}

} // namespace

namespace {

// Whether the line that begins here solves the one above it: "x = 30" below "2x = 60", but not
// below "y = 5" or "x = 5", which say more.
bool isDerived(const std::string &text, size_t line) {
  const size_t end = line ? text.find_last_not_of(" \n$", line - 1) : text.npos;
  if (end == text.npos)
    return false;
  const size_t begin = text.rfind('\n', end) + 1;
  const auto sides = [](std::string_view equation) {
    const size_t sign = std::min(equation.find('='), equation.size());
    return std::pair(
        bare(equation.substr(0, sign).substr(std::min(equation.find_first_not_of(" $"), sign))),
        bare(equation.substr(sign)));
  };
  const auto above = sides(std::string_view(text).substr(begin, end + 1 - begin)),
             last = sides(std::string_view(text).substr(line));
  const bool named = last.first.size() == 1 && isLetter(last.first[0]);
  const bool other = std::any_of(above.first.begin(), above.first.end(),
                                 [&](char c) { return isLetter(c) && c != last.first[0]; });
  const bool computes = above.second.find_first_of("+*/", 1) != std::string::npos;
  return named && !other && above.first.find(last.first) != std::string::npos &&
         (above.first != last.first || computes);
}

} // namespace

std::optional<std::string> lastLine(const std::string &text, bool whole) {
  constexpr size_t longest = 200;
  constexpr std::string_view blanks = " \t\r\n";
  const size_t last = text.find_last_not_of(blanks);
  if (last == std::string::npos)
    return std::nullopt;
  const std::vector<Formula> formulas = formulasOf(text);
  size_t line = text.rfind('\n', last) + 1; // 0 where there is none
  if (!formulas.empty() && formulas.back().before < line && formulas.back().after > line)
    line = text.rfind('\n', formulas.back().before) + 1;
  const bool alone = text.find_first_not_of(blanks) >= line;
  if (alone ? !whole : isFormula(text.substr(0, line)) && !isDerived(text, line)) // of one answer
    return std::nullopt;
  // "Suppose" and "So x is not" above it
  std::string_view above = std::string_view(text).substr(0, line);
  while (!above.empty() && std::string_view(" \t\r\n*_:,").find(above.back()) != above.npos)
    above.remove_suffix(1);
  if (!above.empty() && std::string_view(".!?").find(above.back()) == above.npos) {
    const std::vector<std::string> leading = wordsOf(lastSentence(above));
    if (denies(leading) ||
        among(leading, {"let", "where", "define", "recall", "consider", "assuming", "supposing"}))
      return std::nullopt;
  }
  std::string_view rest = std::string_view(text).substr(line, last + 1 - line);
  bool leads = false; // a sign leads to the value
  for (bool found = true; found;) {
    found = false;
    rest.remove_prefix(std::min(rest.find_first_not_of(" >"), rest.size()));
    for (const std::string_view sign : {"=>", "=", "→", "⇒", "∴", "⟹", "👉", "➡\uFE0F", "➡",
                                        "\\therefore ", "\\Rightarrow ", "\\implies "})
      if (rest.substr(0, sign.size()) == sign) {
        rest.remove_prefix(sign.size());
        leads = found = true;
      }
  }
  const bool bold = rest.substr(0, 2) == "**";
  if (const size_t sign = rest.rfind("= **");
      sign != rest.npos && rest.size() > sign + 4 && rest.size() <= longest)
    if (std::string result = bare(rest.substr(sign + 4)); // 60 + 96 = **156**
        numberLength(result, 0) == result.size() && isFormula(std::string(rest)))
      return result;
  std::string value = bare(rest);
  if (bold) // **x = 2** and **x = 3**
    for (size_t at; (at = value.find("**")) != value.npos;)
      value.erase(at, 2);
  if (const size_t number = numberLength(value, 0); // → 156 muffins
      leads && number && number < value.size() && value[number] == ' ' &&
      wordsOf(value).size() == 1 && isLetter(value[number + 1]) && !vote::changesValue(value))
    return value.substr(0, number);
  if (value.empty() || value.size() > longest || (bold && isHead(text, rest, value)))
    return std::nullopt;
  const bool bracket = value.size() == 3 && value[0] == '(' && value[2] == ')';
  if (bracket || (bold && (value.size() == 1 || (value.size() == 2 && value[1] == ')')))) {
    const char letter = value[bracket];
    if (letter >= 'A' && letter <= 'J')
      return value;
  }
  // One formula, or words without any.
  const std::vector<Formula> own = formulasOf(value);
  const bool formula = !own.empty() && own[0].before == 0 && own.back().after == value.size();
  const bool script = std::any_of(value.begin(), value.end(), [](char c) { // of another language
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0xE3 || (byte >= 0xD0 && byte < 0xE0);
  });
  if (script || (!formula && (!own.empty() || !isFormula(value) || !isBalanced(value))))
    return std::nullopt;
  std::string content = formula ? conclusionOf(contentOf(value, own[0])) : value;
  for (size_t k = 1; k < own.size(); ++k) // $x = 2$ or $x = 3$
    if (joins(value, own[k - 1].after, own[k].before))
      content += ", " + contentOf(value, own[k]);
    else
      return std::nullopt;
  const size_t sign = content.find('=');
  if (sign == std::string::npos)
    return (leads || bold) && content.find_first_of("0123456789\\") != std::string::npos &&
                   content.find_first_of("<>?:") == std::string::npos
               ? std::optional(content)
               : std::nullopt;
  const std::string name = trimmed(content.substr(0, sign));
  const bool named = hasLetters(name) && name.find_first_of("+-*/^<>") == std::string::npos;
  const bool chain = content.find('=', sign + 1) != content.npos; // m + n = 25 + 8 = 33
  static const std::set<std::string> quantities = {"int", "sum", "prod", "lim", "iint", "oint"};
  if (name[0] == '\\' && endsConstant(content) && quantities.count(wordsOf(name)[0]))
    return bare(content.substr(content.rfind('=') + 1));               // \\int_0^2 x dx = 2
  const bool says = named ? formula || statedEquation("so " + content) // x = 7, or 3 + 4 = 7
                          : formula && (chain || !hasLetters(name)) &&
                                !hasLetters(content.substr(content.rfind('=')));
  if (says && chain && endsConstant(content) && content.find(", ") == content.npos &&
      !among(wordsOf(content), {"or", "and", "quad", "text"})) // A = \int_0^3 x dx = \frac{9}{2}
    return bare(content.substr(content.rfind('=') + 1));
  return says ? std::optional(content) : std::nullopt;
}

std::string valueOfRounding(const std::string &formula) {
  constexpr std::string_view about = "\\approx";
  const size_t sign = formula.find('='), at = formula.rfind(about);
  if (sign == formula.npos || at == formula.npos || at < sign ||
      !hasLetters(formula.substr(sign, at - sign)))
    return formula;
  const std::string value = trimmed(formula.substr(at + about.size()));
  std::string number = value; // without its unit
  for (const std::string_view upright : {"\\text{", "\\mathrm{", "\\textrm{"})
    number.resize(std::min(number.find(upright), number.size()));
  return number.empty() || hasLetters(number) || number.find(',') != number.npos ||
                 !isBalanced(value)
             ? formula
             : value;
}

bool concludes(const std::string &text) {
  const std::vector<std::string> words = wordsOf(lastSentence(text));
  return !words.empty() && isConclusion(words[0]);
}

namespace {

// What its last sentence says as it stands.
std::optional<std::string> spokenAsIs(const std::string &given, bool concludes) {
  // Without the reason, where that does not cut a formula.
  std::string part = given;
  const std::string_view ending = lastSentence(given);
  if (const size_t kept = withoutReason(ending).size(); kept < ending.size()) {
    const std::string cut = given.substr(0, given.size() - ending.size() + kept);
    if (std::count(cut.begin(), cut.end(), '$') % 2 == 0 && isBalanced(cut))
      part = cut;
  }
  part = withoutBracketedRemark(std::string(withoutExclamation(part)));
  if (saysTwoThings(part))
    return std::nullopt;
  if (auto numbers = statedNumbers(lastSentence(part)))
    return numbers;
  if (auto formula = lastFormula(part))
    return formula;
  std::string_view sentence = withoutReason(lastSentence(part));
  if (auto said = statedIn(sentence))
    return said;
  if (auto letter = pickedLetter(ending)) // 18, which matches option C
    return letter;
  if (auto none = statedNone(ending))
    return none;
  for (const std::string_view sign : {"$$ ", "\\] "}) // a formula of its own ends a sentence, too
    if (const size_t at = sentence.rfind(sign); at != std::string_view::npos)
      sentence.remove_prefix(at + sign.size());
  auto number = onlyNumber(sentence, concludes);
  if (!number)
    number = onlyNumberOfHan(lastSentence(part), concludes);
  if (number || among(wordsOf(ending), {"contradicts", "contradiction", "contradicting"}))
    return number;
  return plainStatement(part);
}

} // namespace

std::optional<std::string> spoken(const std::string &text, bool concludes) {
  std::string given = text; // with a hyphen for each sign of minus
  constexpr std::string_view minus = "\u2212";
  for (size_t at; (at = given.find(minus)) != given.npos;)
    given.replace(at, minus.size(), "-");
  const size_t end = given.find_last_not_of(" \t\r\n*");
  if (end != std::string::npos && given[end] == '?')
    return std::nullopt;
  const std::string ending(lastSentence(given));
  const size_t kept = withoutReason(ending).size(), answer = lowerCase(ending).find(" answer");
  if ((kept < ending.size() && saysWrong(std::string_view(ending).substr(kept))) ||
      (answer != ending.npos && isSupposed(std::string_view(ending).substr(0, answer))))
    return std::nullopt;
  if (auto said = spokenAsIs(given, concludes))
    return said;
  for (const std::string_view verdict : {"**Yes**", "**No**", "**True**", "**False**"})
    if (ending.compare(0, verdict.size(), verdict) == 0) // "**Yes**, since ..."
      return bare(verdict);
  if (concludes && ending.size() == given.size() && given.size() > 1 && isLetter(given[0]) &&
      isLetter(given[1]))
    if (auto said = spokenAsIs("So " + given, concludes))
      return said;
  given.resize(given.size() - ending.size());
  for (const std::string &other : asConclusions(ending))
    if (auto said = spokenAsIs(given + other, concludes))
      return said;
  return std::nullopt;
}

} // namespace m1rt
