// What a sentence in words says: its number, its equation, a time, a name, the letter of a choice.
#include "vote/statements.h"

#include "vote/extraction.h"
#include "vote/formulas.h"
#include "vote/number_words.h"
#include "vote/prose.h"
#include "vote/units.h"
#include "vote/wording.h"

#include <algorithm>
#include <set>

namespace m1rt {

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
  // 12 1/2
  if (size_t k = i + 1; i > at && isDigit(i - 1) && i < text.size() && text[i] == ' ' &&
                        text.substr(at, i - at).find_first_of("/.") == text.npos && isDigit(k)) {
    while (isDigit(k))
      ++k;
    if (k < text.size() && text[k] == '/' && isDigit(k + 1)) {
      for (++k; isDigit(k);)
        ++k;
      i = k;
    }
  }
  const size_t percent = text.compare(i, 1, "%") == 0 ? 1 : text.compare(i, 2, " %") == 0 ? 2 : 0;
  return i + percent - at;
}

namespace {

// Without the signs of currencies but $.
std::string withoutCurrency(const std::string &text) {
  std::string kept;
  for (size_t i = 0; i < text.size(); ++i) {
    size_t sign = 0;
    for (const std::string_view each : {"€", "£", "¥", "₹"})
      if (text.compare(i, each.size(), each) == 0)
        sign = each.size();
    if (sign)
      i += sign - 1;
    else
      kept += text[i];
  }
  return kept;
}

// The number, and a word or a unit behind it, that the last "is", "are" or "equals" of a sentence
// leads to, or "so".
std::optional<std::string> statedNumber(std::string_view given) {
  std::string plain(given); // is **24** square units
  for (size_t at;
       (at = plain.find("**")) != std::string::npos &&
       (at + 2 == plain.size() || !isLetter(plain[at + 2]) || at == 0 || plain[at - 1] == ' ');)
    plain.erase(at, 2);
  plain = withoutCurrency(plain);
  const std::string_view sentence = plain;
  const std::vector<std::string> all = wordsOf(sentence);
  if (all.size() == 1 && isConclusion(all[0])) // So, 42.
    if (const size_t digit = sentence.find_first_of("-0123456789");
        digit != std::string_view::npos && numberLength(sentence, digit) &&
        numberLength(sentence, digit) == bare(sentence.substr(digit)).size())
      return bare(sentence.substr(digit));
  size_t begin = std::string_view::npos;
  for (const std::string_view verb :
       {" is ", " are ", " equals ", " get ", " gives ", " obtain ", " it's ", " beträgt ",
        " must be ", " has to be ", " will be ", " a total of "}) {
    const size_t at = sentence.rfind(verb);
    if (at != std::string_view::npos &&
        (begin == std::string_view::npos || at + verb.size() > begin))
      begin = at + verb.size();
  }
  if (begin == std::string_view::npos)
    return std::nullopt;
  if (const size_t number = numberLength(sentence, 0); // "4 is the answer"
      number && closes(wordsOf(sentence.substr(number))))
    return std::string(sentence.substr(0, number));
  std::string_view before = sentence.substr(0, begin); // "is not 10 which is 12" denies 10
  if (const size_t clause = before.rfind(" which is "); clause != std::string_view::npos)
    before.remove_prefix(clause);
  // "it's not 10, it's 12" denies 10, too
  constexpr std::string_view instead = " it's ", notThis = "t's not ";
  if (const size_t denied = before.rfind(notThis); denied != std::string_view::npos) {
    std::string_view other = before.substr(denied + notThis.size());
    if (other.size() > instead.size() && other.substr(other.size() - instead.size()) == instead) {
      other.remove_suffix(instead.size());
      other = other.substr(0, other.find_last_not_of(" ,;") + 1);
      if (!other.empty() && numberLength(other, 0) == other.size())
        before = {};
    }
  }
  const std::vector<std::string> leading = wordsOf(before);
  const size_t comma = before.rfind(", ");
  const std::string_view clause = before.substr(comma == before.npos ? 0 : comma);
  if (denies(leading) || among(wordsOf(clause), {"says"})) // the problem says there are 10
    return std::nullopt;
  // "the height is 3 m and the width is 2 m", "A is 3, B is 5": no one number
  for (const std::string_view joint : {" and ", ", "})
    if (const size_t other = before.rfind(joint); other != before.npos)
      if (const size_t first = before.rfind(" is ", other);
          first != before.npos && numberLength(before, first + 4))
        return std::nullopt;
  const bool exist = leading.size() > 1 && leading[leading.size() - 2] == "there";
  std::string value = bare(sentence.substr(begin));
  for (const std::string_view filler :
       {"approximately ", "roughly ", "exactly ", "indeed ", "therefore ", "thus ", "then ",
        "hence ", "about ", "around ", "nearly ", "simply ", "just ", "equal to ", "us "})
    if (value.compare(0, filler.size(), filler) == 0)
      value.erase(0, filler.size());
  if (const size_t sign = value.rfind(" = "); // is 120 km / 2 h = 60 km/h
      sign != std::string::npos && numberLength(value, 0) && numberLength(value, sign + 3))
    value.erase(0, sign + 3);
  if (const auto numerals = vote::numeralsForWords(value)) // is three hundred
    return value;
  if (value == "e" || value == "i" || value == "∞")
    return !leading.empty() && isConclusion(leading[0]) ? std::optional(value) : std::nullopt;
  const size_t digit = value.find_first_not_of("-+$(\\");
  const bool symbol = value.compare(0, 2, "π") == 0 || value.compare(0, 3, "√") == 0;
  if (digit == std::string::npos || (!isDigit(value[digit]) && !symbol) || !isBalanced(value) ||
      (exist && countsParts(wordsOf(value))))
    return std::nullopt;
  const size_t number = numberLength(value, 0);
  const std::string unit = value.substr(number);
  if (number &&
      (vote::isUnit(unit) ||
       (!unit.empty() && unit[0] == ' ' && vote::isMeasureOf(value.substr(0, number), unit)) ||
       unit == "m²" || unit == "m³"))
    return value.substr(0, number);
  const std::vector<std::string> letters = wordsOf(value); // 2i + 3j
  const bool sum = value.find(" + ") != value.npos || value.find(" - ") != value.npos;
  if (letters.size() <= 1 ||
      (sum && std::all_of(letters.begin(), letters.end(),
                          [](const std::string &word) { return word.size() == 1; })))
    return value;
  // 36π square units
  for (size_t blank = value.find(' '); blank != std::string::npos;
       blank = value.find(' ', blank + 1))
    if (vote::isUnit(value.substr(blank)))
      return isFormula(value.substr(0, blank)) ? std::optional(value.substr(0, blank))
                                               : std::nullopt;
  return std::nullopt;
}

// Whether a unit of measure begins here, with a blank before it, and ends the sentence.
bool isUnitBehind(std::string_view text, size_t at) {
  const std::string words(text.substr(at, text.find_last_not_of(" .!\n") + 1 - at));
  constexpr size_t longest = 40;
  return words.size() > 1 && words.size() < longest && vote::isUnit(words) &&
         vote::isMeasure(words);
}

// The time of day that a sentence concludes with: "so the train arrives at 4:35 PM".
std::optional<std::string> statedTime(std::string_view sentence) {
  const std::vector<std::string> words = wordsOf(sentence);
  const size_t colon = sentence.find(':');
  if (words.size() < 4 || !isConclusion(words[0]) || denies(words) || colon < 3 ||
      colon == std::string_view::npos)
    return std::nullopt;
  const size_t begin = sentence.rfind(' ', colon) + 1;
  const std::string time = trimmed(std::string(sentence.substr(begin)));
  const std::vector<std::string> before = wordsOf(sentence.substr(0, begin));
  if (before.empty() || sentence.find_first_of("0123456789") != begin || begin == 0 ||
      !among({before.back()}, {"at", "is"}))
    return std::nullopt;
  size_t digits = 0;
  while (digits < time.size() &&
         ((time[digits] >= '0' && time[digits] <= '9') || time[digits] == ':'))
    ++digits;
  const std::vector<std::string> half = wordsOf(std::string_view(time).substr(digits));
  const bool known = half.size() == 1
                         ? half[0] == "am" || half[0] == "pm"
                         : half.size() == 2 && half[1] == "m" && (half[0] == "a" || half[0] == "p");
  return (digits == 4 || digits == 5) && time[digits - 3] == ':' && known
             ? std::optional(time.substr(0, digits) + " " + half[0][0] + "m")
             : std::nullopt;
}

// "so p = 3 and q = 8, so p + q = 11": the last conclusion of several.
std::optional<std::string> lastConclusion(std::string_view sentence) {
  const size_t so = sentence.rfind(", so ");
  return so == std::string_view::npos || denies(wordsOf(sentence))
             ? std::nullopt
             : statedEquation(sentence.substr(so + 2));
}

// The end of a chain of numbers in a sentence that concludes: "so she paid 20 + 30 = 50 dollars".
std::optional<std::string> chainEnd(std::string_view sentence) {
  const std::vector<std::string> words = wordsOf(sentence);
  const size_t sign = sentence.rfind('=');
  const bool sums = words.size() > 1 && words[0] == "in" && words[1] == "total";
  if (words.empty() || sign == std::string_view::npos || sign == 0 ||
      !(sums || isConclusion(words[0])) || denies(words) ||
      sentence.find_first_of("<>\\{}^") != std::string_view::npos ||
      formulasOf(std::string(sentence)).size() > 1)
    return std::nullopt;
  const size_t last = sentence.find_last_not_of(' ', sign - 1);
  if (last == std::string_view::npos || sentence[last] < '0' || sentence[last] > '9')
    return std::nullopt;
  const std::string value = bare(sentence.substr(sign + 1));
  const size_t number = numberLength(value, 0);
  std::string rest = value.substr(number);
  for (const std::string_view ending :
       {" left", " in total", " a day", " a week", " a month", " a year", " an hour", " per day",
        " per week", " per month", " per year", " each day", " each week"})
    if (rest.size() >= ending.size() &&
        rest.compare(rest.size() - ending.size(), ending.size(), ending) == 0)
      return number && wordsOf(rest).size() - wordsOf(ending).size() < 2 &&
                     !vote::changesValue(rest.substr(0, rest.size() - ending.size()))
                 ? std::optional(value.substr(0, number))
                 : std::nullopt;
  return number && (wordsOf(rest).size() < 2 || vote::isUnit(rest)) && !vote::changesValue(rest)
             ? std::optional(value)
             : std::nullopt;
}

// The bold words that a sentence ends with: "so the day is **Monday**".
std::optional<std::string> boldWords(std::string_view sentence) {
  constexpr size_t longest = 40;
  size_t end = sentence.find_last_not_of(" .!\n");
  if (end == std::string_view::npos || end < 4 || sentence.substr(end - 1, 2) != "**")
    return std::nullopt;
  const size_t begin = sentence.rfind("**", end - 2);
  if (begin == std::string_view::npos || end - begin > longest)
    return std::nullopt;
  const std::string words = bare(sentence.substr(begin + 2, end - begin - 3));
  const std::string_view before = sentence.substr(0, begin);
  const std::vector<std::string> lead = wordsOf(before);
  const bool is = !lead.empty() && (lead.back() == "is" || lead.back() == "are");
  if (words.empty() || !is || !announces(before))
    return std::nullopt;
  const size_t number = numberLength(words, 0); // **1200 J**
  const bool measured = number && number < words.size() && words[number] == ' ' &&
                        vote::isMeasureOf(words.substr(0, number), words.substr(number));
  return measured ? words.substr(0, number) : words;
}

// "so the statement is false"
std::optional<std::string> statedTruth(std::string_view sentence) {
  const std::vector<std::string> words = wordsOf(sentence);
  const size_t n = words.size();
  const bool says = n > 3 && isConclusion(words[0]) && words[n - 2] == "is" &&
                    (words[n - 1] == "true" || words[n - 1] == "false") &&
                    among({words[n - 3]}, {"statement", "claim", "proposition", "conjecture",
                                           "assertion", "answer"});
  return says && !denies({words.begin(), words.end() - 1}) ? std::optional(words[n - 1])
                                                           : std::nullopt;
}

// Two values that are one amount, at the end of a conclusion: "so it takes 3 hours and 20 minutes".
std::optional<std::string> statedAmounts(std::string_view sentence) {
  static const std::set<std::string> larger = {"hours",  "hour", "feet", "minutes",
                                               "minute", "days", "day",  "weeks",
                                               "pounds", "foot", "years"},
                                     smaller = {"minutes", "minute", "inches", "inch",   "seconds",
                                                "hours",   "hour",   "days",   "ounces", "months"};
  const std::vector<std::string> words = wordsOf(sentence);
  const size_t n = words.size(), first = sentence.find_first_of("0123456789");
  if (n < 4 || first == sentence.npos || !isConclusion(words[0]) || denies(words))
    return std::nullopt;
  const std::string value = bare(sentence.substr(first));
  const std::vector<std::string> units = wordsOf(value);
  const size_t second = value.find_first_of("0123456789", value.find(' '));
  const bool both = (units.size() == 2 || (units.size() == 3 && units[1] == "and")) &&
                    larger.count(units[0]) && smaller.count(units.back()) && second != value.npos;
  if (!both || numberLength(value, 0) != value.find(' ') || sentence[first - 1] != ' ' ||
      numberLength(value, second) != value.find(' ', second) - second)
    return std::nullopt;
  const std::vector<std::string> before = wordsOf(sentence.substr(0, first));
  return vote::changesValue(before.back()) ? std::nullopt : std::optional(value);
}

// The letter of "Hence, option B is correct" and "so (D) is the correct answer".
std::optional<std::string> chosenLetter(std::string_view sentence) {
  static const std::set<std::string> nouns = {"the", "option", "choice", "answer", "statement"},
                                     closing = {"the",    "correct", "right", "answer",
                                                "option", "choice",  "one"};
  const std::vector<std::string> words = wordsOf(sentence);
  size_t i = !words.empty() && isConclusion(words[0]);
  const bool bracketed = sentence.size() > 3 && sentence[0] == '(' && sentence[2] == ')';
  const bool alone = words.size() == 5 && words[0].size() == 1 &&
                     sentence[0] == (words[0][0] & 0x5F) && words[1] == "is" &&
                     words[2] == "the"; // A is the correct option
  if (i == 0 && !bracketed && !alone &&
      (words.size() < 4 || !nouns.count(words[0]) || words[0] == "the"))
    return std::nullopt;
  const size_t bracket = sentence.find('(');
  if (i == 1 && words.size() == 2 && bracket != sentence.npos && bracket + 3 <= sentence.size() &&
      sentence[bracket + 2] == ')' && sentence[bracket + 1] >= 'A' &&
      sentence[bracket + 1] <= 'J') // Hence (C).
    return std::string(1, sentence[bracket + 1]);
  while (i < words.size() && nouns.count(words[i]))
    ++i;
  if (i + 2 >= words.size() || words[i].size() != 1 || words[i][0] > 'j' || words[i + 1] != "is" ||
      !std::all_of(words.begin() + ptrdiff_t(i) + 2, words.end(),
                   [](const std::string &word) { return closing.count(word) != 0; }))
    return std::nullopt;
  const char letter = static_cast<char>(words[i][0] - 'a' + 'A');
  for (size_t k = 1; k + 1 < sentence.size(); ++k) // a capital of its own, or (c)
    if (alone ||
        (sentence[k] == letter && !isLetter(sentence[k - 1]) && !isLetter(sentence[k + 1])) ||
        ((sentence[k] | 0x20) == (letter | 0x20) && sentence[k - 1] == '(' &&
         sentence[k + 1] == ')'))
      return std::string(1, letter);
  return std::nullopt;
}

// The name that a conclusion ends with: "so the winner is Bob", "hence it is on a Tuesday".
std::optional<std::string> statedName(std::string_view sentence) {
  // What is also a verb or an adjective is none.
  static const std::set<std::string> otherWords = {"march", "may", "august"};
  const std::vector<std::string> words = wordsOf(sentence);
  const bool dayOrMonth = !words.empty() && !otherWords.count(words.back()) &&
                          (vote::isWeekday(words.back()) || vote::isMonth(words.back()));
  std::string last = bare(sentence.substr(sentence.rfind(' ') + 1));
  const bool article = words.size() > 3 && words[words.size() - 2] == "a";
  const std::string verb = words.size() > 3 ? words[words.size() - 2 - article] : std::string();
  if (words.size() > 2 && (verb == "is" || verb == "be" || words[words.size() - 2] == "is") &&
      dayOrMonth && !denies(words) && last[0] >= 'A' && last[0] <= 'Z') // The day is Friday.
    return last;
  // So Alice is the tallest.
  const size_t n = words.size();
  if (n == 5 && isConclusion(words[0]) && words[2] == "is" && words[3] == "the" &&
      (words[4] == "winner" ||
       (words[4].size() > 3 && words[4].compare(words[4].size() - 3, 3, "est") == 0))) {
    const size_t name = sentence.find(' ') + 1;
    if (sentence[name] >= 'A' && sentence[name] <= 'Z' && words[1].size() > 1)
      return std::string(sentence.substr(name, words[1].size()));
  }
  if (words.size() < 4 || !isConclusion(words[0]) || denies(words) || last.size() < 2 ||
      last[0] < 'A' || last[0] > 'Z' ||
      !std::all_of(last.begin() + 1, last.end(), [](char c) { return c >= 'a' && c <= 'z'; }))
    return std::nullopt;
  const std::string &before = words[words.size() - 2];
  return before == "is" || dayOrMonth ? std::optional(last) : std::nullopt;
}

} // namespace

std::optional<std::string> pickedLetter(std::string_view sentence) {
  const std::string_view end = sentence.substr(0, sentence.find_last_not_of(" .!*)\n") + 1);
  const std::vector<std::string> words = wordsOf(end);
  if (end.size() < 2 || words.size() < 3 || denies(words) || end.back() < 'A' || end.back() > 'J' ||
      std::string_view(" (*").find(end[end.size() - 2]) == end.npos)
    return std::nullopt;
  const std::string &before = words[words.size() - 2];
  const bool noun = among({before}, {"option", "choice", "answer"}) &&
                    among(words, {"go", "choose", "pick", "select", "matches", "match",
                                  "corresponds", "correspond", "guess"});
  const bool chosen =
      (isConclusion(words[0]) && among({before}, {"choose", "pick", "select"})) ||
      (before == "with" && words[words.size() - 3] == "go" && among(words, {"i"})) ||
      (among({before}, {"option", "choice"}) && words[words.size() - 3] == "is" &&
       among(words, {"answer"})) ||
      (words.size() == 3 && isConclusion(words[0]) && among({before}, {"option", "choice"}));
  const bool right = before == "is" && end[end.size() - 2] == '(' &&
                     among({words.begin(), words.end() - 2}, {"correct", "right"});
  const bool it = words.size() == 4 && isConclusion(words[0]) && words[1] == "it" && // so it's A
                  (words[2] == "s" || words[2] == "is");
  return noun || chosen || right || it ? std::optional(std::string(1, end.back())) : std::nullopt;
}

std::optional<std::string> statedEquation(std::string_view sentence) {
  static const std::set<std::string> leading = {
      "so",        "thus",   "hence", "therefore",   "then",   "we",      "get",   "have",
      "find",      "obtain", "that",  "conclude",    "is",     "are",     "the",   "solution",
      "solutions", "answer", "value", "finally",     "it",     "follows", "gives", "means",
      "solving",   "yields", "this",  "simplifying", "giving", "us",      "now",   "dividing"};
  std::string all = bare(sentence);
  bool closed = false; // "x = 6 is the answer"
  if (const size_t is = all.rfind(" is ");
      is != std::string::npos && closes(wordsOf(all.substr(is)))) {
    all.resize(is);
    closed = true;
  }
  size_t sign = all.find('=');
  for (const std::string_view relation : {" < ", " > ", " ≤ ", " ≥ "})
    if (const size_t at = all.find(relation); at != all.npos) // -8 < x ≤ 2
      sign = std::min(sign, at + 1);
  if (sign == std::string::npos || sign == 0 || all.find_first_of("\\${}*") != std::string::npos)
    return std::nullopt;
  size_t begin = all.find_last_not_of(' ', sign - 1);
  if (begin == std::string::npos)
    return std::nullopt;
  int depth = 0; // (x, y)
  for (++begin; begin > 0 && (all[begin - 1] != ' ' || depth > 0); --begin)
    depth += all[begin - 1] == ')' ? 1 : all[begin - 1] == '(' ? -1 : 0;
  while (begin > 3 &&
         (all.compare(begin - 3, 3, " + ") == 0 || all.compare(begin - 3, 3, " - ") == 0))
    begin = all.rfind(' ', begin - 4) + 1; // a + b
  const std::string prefix = all.substr(0, begin), equation = all.substr(begin);
  const std::vector<std::string> before = wordsOf(prefix);
  const bool therefore = prefix.find("∴") != std::string::npos;
  const bool leads =
      therefore || (closed && before.empty()) ||
      (!before.empty() && std::all_of(before.begin(), before.end(), [](const std::string &word) {
        return leading.count(word) != 0;
      }));
  if ((!leads && !announces(prefix)) || denies(before))
    return std::nullopt;
  std::string value = equation;
  for (size_t blank = value.find(' '); blank != std::string::npos;
       blank = value.find(' ', blank + 1))
    if (vote::isUnit(value.substr(blank))) {
      value.resize(blank);
      break;
    }
  return isFormula(value) && isBalanced(value) ? std::optional(value) : std::nullopt;
}

std::optional<std::string> statedNumbers(std::string_view sentence) {
  for (const std::string_view verb : {" is ", " are "})
    for (const std::string_view all :
         {"all real numbers", "all reals", "the set of all real numbers"}) {
      const size_t at = sentence.rfind(std::string(verb) + std::string(all));
      if (at != sentence.npos && !denies(wordsOf(sentence.substr(0, at))))
        return bare(sentence.substr(at + verb.size()));
    }
  return std::nullopt;
}

std::string withoutEmphasis(std::string_view sentence) {
  std::string plain;
  for (size_t i = 0; i < sentence.size(); ++i)
    if (sentence.substr(i, 2) == "**")
      ++i;
    else if (sentence.substr(i, 2) != "\\$")
      plain += sentence[i];
  return plain;
}

std::optional<std::string> statedIn(std::string_view sentence) {
  for (const auto say :
       {statedNumber, statedTime, statedEquation, lastConclusion, chainEnd, boldWords, chosenLetter,
        pickedLetter, statedName, statedTruth, statedAmounts})
    if (auto said = say(sentence))
      return said;
  const std::string plain = withoutEmphasis(sentence);
  for (const auto say : {statedEquation, chainEnd, statedTruth})
    if (auto said = plain == sentence ? std::nullopt : say(plain))
      return said;
  return std::nullopt;
}

std::optional<std::string> statedNone(std::string_view sentence) {
  const std::vector<std::string> words = wordsOf(sentence);
  const size_t n = words.size();
  if (n < 5)
    return std::nullopt;
  const auto begin = words.begin() + isConclusion(words[0]), end = words.end();
  auto ends = [&](const std::vector<std::string> &with) {
    return size_t(end - begin) > with.size() &&
           std::equal(with.begin(), with.end(), end - ptrdiff_t(with.size()));
  };
  if ((begin != words.begin() || among(words, {"limit"})) && ends({"does", "not", "exist"}) &&
      size_t(end - begin) < 8)
    return "does not exist";
  if (begin != words.begin() && ends({"is", "undefined"}) && size_t(end - begin) < 8)
    return "undefined";
  static const std::set<std::string> kinds = {"real", "integer", "valid", "such", "possible"};
  const bool solution = words.back() == "solution" || words.back() == "solutions";
  if (begin != words.begin() && solution && words[n - 2] == "many" &&
      words[n - 3] == "infinitely" && !denies(words) && size_t(end - begin) < 8)
    return "infinitely many solutions";
  const auto no = end - 2 - (kinds.count(words[n - 2]) != 0);
  if (begin == words.begin() || !solution || no <= begin + 1 || *no != "no")
    return std::nullopt;
  const bool exist =
      no == begin + 2 && *begin == "there" && (begin[1] == "is" || begin[1] == "are");
  const bool has = no[-1] == "has" && no - begin < 6; // so the equation has no solution
  const bool real = words[n - 2] == "real";
  return exist || has ? std::optional<std::string>(real ? "no real solutions" : "no solution")
                      : std::nullopt;
}

std::optional<std::string> onlyNumber(std::string_view sentence, bool concludes) {
  static const std::set<std::string> comparisons = {
      "more", "less", "fewer", "greater", "larger",  "smaller", "than",    "least",
      "most", "half", "twice", "thrice",  "double",  "triple",  "between", "every",
      "each", "ago",  "later", "earlier", "another", "either",  "unless",  "except"};
  // "so 3 is too small"
  static const std::set<std::string> properties = {
      "too", "even", "odd", "prime", "also", "composite", "divisible", "possible", "always"};
  std::string plain = withoutEmphasis(sentence);
  if (const size_t ways = plain.find(" ways to ");
      ways != plain.npos && plain.find_first_of("0123456789", ways) == plain.npos)
    plain.resize(ways + 5); // to choose two of five
  if (const size_t left = plain.find(" left to ");
      left != plain.npos && plain.find_first_of("0123456789", left) == plain.npos)
    plain.resize(left + 5); // left to read
  const std::vector<std::string> words = wordsOf(plain);
  const bool makes = words.size() > 1 && (words[0] == "that" || words[0] == "this") &&
                     (words[1] == "makes" || words[1] == "s");
  static const std::set<std::string> remarks = {"sense", "why",     "correct", "right",
                                                "sure",  "certain", "because", "since"};
  if (makes && among(words, remarks)) // that's 100% correct
    return std::nullopt;
  const bool sums =
      makes || (words.size() > 2 && words[0] == "all" && words[1] == "in" && words[2] == "all") ||
      (words.size() > 2 && (words[0] == "in" || words[0] == "as") &&
       (words[1] == "conclusion" || words[1] == "total" || words[2] == "result"));
  if ((words.size() < 3 && !makes) || !(concludes || sums || isConclusion(words[0])) ||
      denies(words) || tellsWhatIsDone(words) ||
      plain.find_first_of("=+*^<>\\{}()[]") != std::string::npos)
    return std::nullopt;
  std::optional<std::string> found;
  for (size_t i = 0; i < plain.size();) {
    const size_t length = numberLength(plain, i);
    if (!length) {
      ++i;
      continue;
    }
    const std::vector<std::string> before = wordsOf(plain.substr(0, i)),
                                   behind = wordsOf(plain.substr(i + length));
    const std::string number = plain.substr(i, length);
    const bool joined = (i > 0 && plain[i - 1] != ' ') ||
                        (i + length < plain.size() && plain.compare(i + length, 2, "°") != 0 &&
                         std::string_view(" .,").find(plain[i + length]) == std::string_view::npos);
    const size_t n = before.size();
    if (found || n == 0 || joined)
      return std::nullopt;
    const bool share = number.back() == '%' && before.back() == "by";
    if (vote::isMonth(before.back())) { // the deadline is March 15
      const std::string date = bare(plain.substr(plain.rfind(' ', i - 2) + 1));
      return n > 1 && among({before[n - 2]}, {"is", "be", "on"}) && behind.empty()
                 ? std::optional(date)
                 : std::nullopt;
    }
    const bool remaining = n > 1 && before.back() == "with" &&
                           among({before[n - 2]}, {"up", "left", "us", "him", "her", "them",
                                                   "started", "starts", "began", "begins"});
    const bool fraction = !behind.empty() && behind[0] == "of" &&
                          (number.find('/') != number.npos || // of the cake, of them
                           (behind.size() == 2 && behind[1] == "them"));
    const bool amount = // a total of 3, a grand total of 3
        n > 2 && before.back() == "of" && amountNouns().count(before[n - 2]) &&
        among({before.begin() + ptrdiff_t(n - std::min<size_t>(n, 4)), before.end() - 2},
              {"a", "an"});
    // "So Ann, who is left, has 3": only words beside the number change it.
    const std::string near =
        n > 1 && before[n - 2] != "to" ? before[n - 2] + " " + before[n - 1] : before[n - 1];
    const bool has = among(before, {"has", "have", "had", "are", "is"});
    const bool left = behind.size() > (has ? 0 : 1) && behind.size() < 4 && behind.back() == "left";
    const bool each = n > 2 && before[1] == "each"; // "so each person pays"
    // "at 60 km/h", "in 3 hours"
    const bool measured =
        isUnitBehind(plain, i + length) && among({before.back()}, {"at", "in", "for"});
    const bool reduced = // after the discount, after two years
        behind.size() > 1 && ((isTimeUnit(behind.back()) && among(behind, {"after"})) ||
                              among({behind.back()}, {"discount", "discounts", "tax", "taxes",
                                                      "tip", "sale", "coupon"}));
    if ((isReference(before.back()) && !share && !amount && !measured && !remaining) ||
        (vote::changesValue(near) && !amount && !remaining) ||
        among({before.begin() + ptrdiff_t(std::min<size_t>(n, each ? 2 : 0)), before.end()},
              comparisons) ||
        (!behind.empty() && behind[0] != "every" && !left && !reduced &&
         (vote::changesValue(behind[0]) ||
          (behind[0] == "of" && number.back() != '%' && !fraction))) ||
        (behind.size() > 1 && behind[0] == "is" && properties.count(behind[1])))
      return std::nullopt;
    for (size_t k = 0; k < behind.size(); ++k)
      if (comparisons.count(behind[k]) && !(behind[k] == "every" && k < 2) &&
          !(behind[k] == "each" && k < 3))
        return std::nullopt;
    if (!left && !reduced && among(behind, {"left", "right", "dozen", "before", "after"}))
      return std::nullopt;
    if (makes && (behind.size() > 2 || among(behind, {"times"}))) // that's 3 times what we need
      return std::nullopt;
    if (countsParts(behind))
      return std::nullopt;
    found = number;
    i += length;
  }
  return found;
}

std::optional<std::string> onlyNumberOfHan(std::string_view sentence, bool concludes) {
  while (!sentence.empty() && (sentence.back() == ' ' || sentence.back() == '.'))
    sentence.remove_suffix(1);
  constexpr std::string_view stop = "。";
  if (sentence.size() > stop.size() && sentence.substr(sentence.size() - stop.size()) == stop)
    sentence.remove_suffix(stop.size());
  if (const size_t end = sentence.rfind(stop); end != std::string_view::npos)
    sentence.remove_prefix(end + stop.size());
  for (const std::string_view lead :
       {"所以", "因此", "故", "综上", "答：", "よって", "したがって", "따라서"})
    concludes |= sentence.substr(0, lead.size()) == lead;
  auto has = [&](std::string_view word) { return sentence.find(word) != sentence.npos; };
  if (!concludes || std::any_of(sentence.begin(), sentence.end(), isLetter) ||
      sentence.find_first_of("=<>\\$^*()") != sentence.npos || has("不") || has("第") ||
      has("如果") || has("至少") || has("至多") || has("个步骤") || has("种情况"))
    return std::nullopt;
  std::optional<std::string> found;
  bool other = false;
  for (size_t i = 0; i < sentence.size(); ++i)
    if (const size_t length = numberLength(sentence, i)) {
      if (found)
        return std::nullopt;
      found = std::string(sentence.substr(i, length));
      i += length - 1;
    } else {
      other |= static_cast<unsigned char>(sentence[i]) >= 0xE3; // of a script without blanks
    }
  return other ? found : std::nullopt;
}

} // namespace m1rt
