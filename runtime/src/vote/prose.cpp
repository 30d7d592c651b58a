#include "vote/prose.h"

#include "vote/extraction.h"
#include "vote/formulas.h"
#include "vote/units.h"
#include "vote/wording.h"

#include <algorithm>
#include <cstring>
#include <set>

namespace m1rt {

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

bool isFormula(const std::string &part) {
  const std::vector<std::string> words = wordsOf(part);
  return !part.empty() && std::none_of(words.begin(), words.end(), [](const std::string &word) {
    return vote::isProse(word) && word != "and" && word != "or";
  });
}

namespace {

bool among(const std::vector<std::string> &words, const std::set<std::string> &known) {
  return std::any_of(words.begin(), words.end(),
                     [&](const std::string &word) { return known.count(word) != 0; });
}

// Whether these words deny what they lead to, or give no more than a bound of it.
bool denies(const std::vector<std::string> &words) {
  return among(words, {"not",    "never",      "cannot",  "no",        "isn",     "doesn",
                       "don",    "impossible", "wrong",   "incorrect", "false",   "unless",
                       "if",     "except",     "neither", "nor",       "whether", "suppose",
                       "assume", "might",      "maybe",   "perhaps",   "probably"});
}

// Whether a number before these counts parts of what is being done, and is no answer: "3 cases",
// but not "12 numbers that meet both conditions".
bool countsParts(const std::vector<std::string> &words) {
  static const std::set<std::string> clauses = {"that",       "which", "who",  "satisfying",
                                                "fulfilling", "for",   "with", "under"};
  const auto clause = std::find_if(
      words.begin(), words.end(), [](const std::string &word) { return clauses.count(word) != 0; });
  return among({words.begin(), clause},
               {"cases", "unknowns", "equations", "steps", "conditions", "variables"});
}

// Whether a sentence that begins with this word is a conclusion.
bool isConclusion(const std::string &word) {
  static const std::set<std::string> conclusions = {
      "so",           "thus",    "hence",      "therefore",  "finally",
      "consequently", "overall", "altogether", "ultimately", "accordingly"};
  return conclusions.count(word) != 0;
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
  static const std::set<std::string> last = {
      "is",       "are",    "equals",  "gives",     "get",      "obtain", "have",
      "thus",     "hence",  "so",      "therefore", "answer",   "total",  "yields",
      "yielding", "giving", "becomes", "equal",     "measures", "costs",  "totals"};
  static const std::set<std::string> certain = {"must", "should", "would", "will", "to"};
  static const std::set<std::string> amounts = {"total",  "answer", "answers", "profit",
                                                "result", "value",  "average"};
  static const std::set<std::string> told = {"find",  "see",    "conclude", "have",
                                             "get",   "obtain", "follows",  "implies",
                                             "shows", "deduce", "means",    "found"};
  while (!prose.empty() &&
         std::string_view(" \t\r\n*_").find(prose.back()) != std::string_view::npos)
    prose.remove_suffix(1);
  prose = lastSentence(prose);
  for (const std::string_view conclusion : {"所以", "因此", "故", "综上"})
    if (prose.substr(0, conclusion.size()) == conclusion)
      for (const std::string_view verb :
           {conclusion, std::string_view("是"), std::string_view("为"), std::string_view("等于")})
        if (prose.size() >= verb.size() && prose.substr(prose.size() - verb.size()) == verb)
          return prose == conclusion || verb != conclusion;
  const std::vector<std::string> words = wordsOf(prose);
  if (words.empty() || denies(words))
    return false;
  const std::string before = words.size() > 1 ? words[words.size() - 2] : std::string();
  const size_t end = prose.find_last_not_of(" \n");
  return last.count(words.back()) ||
         (words.back() == "to" &&
          (before == "equal" || before == "simplifies" || before == "evaluates")) ||
         (words.back() == "that" && told.count(before)) ||
         (words.back() == "be" && certain.count(before)) ||
         (words.back() == "us" && (before == "gives" || before == "giving")) ||
         (words.back() == "of" && amounts.count(before) && words.size() > 2 &&
          (words[words.size() - 3] == "a" || words[words.size() - 3] == "an" ||
           words[words.size() - 3] == "final")) ||
         (prose[end] == ':' && !among(words, {"given", "consider", "where", "need"}));
}

// "is the solution", "is our answer"
bool closes(const std::vector<std::string> &words) {
  return words.size() > 1 && (words[0] == "is" || words[0] == "are") &&
         std::all_of(words.begin(), words.end(),
                     [](const std::string &word) { return vote::closingWords().count(word) != 0; });
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

bool isBalanced(const std::string &part) {
  int depth = 0;
  for (size_t i = 0; i < part.size() && depth >= 0; ++i)
    if (part[i] == '\\')
      ++i;
    else
      depth += part[i] == '{' ? 1 : part[i] == '}' ? -1 : 0;
  return depth == 0;
}

// The number, and a word or a unit behind it, that the last "is", "are" or "equals" of a sentence
// leads to.
std::optional<std::string> statedNumber(std::string_view sentence) {
  size_t begin = std::string_view::npos;
  for (const std::string_view verb : {" is ", " are ", " equals ", " get ", " gives ", " obtain ",
                                      " it's ", " must be ", " has to be "}) {
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
  const std::vector<std::string> leading = wordsOf(before);
  if (denies(leading))
    return std::nullopt;
  const bool exist = leading.size() > 1 && leading[leading.size() - 2] == "there";
  std::string value = bare(sentence.substr(begin));
  for (const std::string_view filler : {"approximately ", "roughly ", "exactly ", "indeed "})
    if (value.compare(0, filler.size(), filler) == 0)
      value.erase(0, filler.size());
  const size_t digit = value.find_first_not_of("-+$(\\");
  if (digit == std::string::npos || value[digit] < '0' || value[digit] > '9' ||
      !isBalanced(value) || (exist && countsParts(wordsOf(value))))
    return std::nullopt;
  const size_t number = numberLength(value, 0);
  const std::string unit = value.substr(number);
  if (number && (vote::isUnit(unit) || unit == "m²" || unit == "m³"))
    return value.substr(0, number);
  if (wordsOf(value).size() <= 1)
    return value;
  // 36π square units
  for (size_t blank = value.find(' '); blank != std::string::npos;
       blank = value.find(' ', blank + 1))
    if (vote::isUnit(value.substr(blank)))
      return isFormula(value.substr(0, blank)) ? std::optional(value.substr(0, blank))
                                               : std::nullopt;
  return std::nullopt;
}

// "x = 7", "f(x) = 2x + 3" and "x = 1 and x = 2" at the end of a sentence whose other words only
// lead to it: "therefore", "the solution is".
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
  const size_t sign = all.find('=');
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

// Whether a unit of measure begins here, with a blank before it, and ends the sentence.
bool isUnitBehind(std::string_view text, size_t at) {
  const std::string words(text.substr(at, text.find_last_not_of(" .!\n") + 1 - at));
  constexpr size_t longest = 40;
  return words.size() > 1 && words.size() < longest && vote::isUnit(words) &&
         vote::isMeasure(words);
}

// The only number of a sentence that concludes with it: "so she needs 12 apples". None where a word
// before or behind it makes another of it, "a multiple of 3", "case 2", "5 dozen", "at least 5", or
// where the sentence tells what is done: "so we multiply by 3".
std::optional<std::string> onlyNumber(std::string_view sentence, bool concludes) {
  static const std::set<std::string> references = {
      "of",      "by",       "case",    "step", "equation", "part",   "problem", "number",
      "theorem", "lemma",    "figure",  "line", "page",     "modulo", "mod",     "base",
      "power",   "with",     "on",      "for",  "and",      "or",     "level",   "question",
      "section", "exercise", "example", "term", "digit",    "in",     "at",      "option"};
  static const std::set<std::string> actions = {
      "add",    "subtract", "multiply", "divide", "consider",   "try",  "check",
      "choose", "let",      "suppose",  "assume", "substitute", "split"};
  // Whose "of" leads to the amount itself: "a total of 3 bolts".
  static const std::set<std::string> amounts = {"total", "profit", "average",  "cost",   "answer",
                                                "sum",   "amount", "distance", "salary", "balance"};
  static const std::set<std::string> comparisons = {
      "more", "less", "fewer", "greater", "larger",  "smaller", "than",    "least",
      "most", "half", "twice", "thrice",  "double",  "triple",  "between", "every",
      "each", "ago",  "later", "earlier", "another", "either",  "unless",  "except"};
  std::string plain; // without the signs of bold text, and with $ for \$
  for (size_t i = 0; i < sentence.size(); ++i)
    if (sentence.substr(i, 2) != "**" && sentence.substr(i, 2) != "\\$")
      plain += sentence[i];
    else if (sentence[i] == '*')
      ++i;
  const std::vector<std::string> words = wordsOf(plain);
  const bool sums = words.size() > 2 && (words[0] == "in" || words[0] == "as") &&
                    (words[1] == "conclusion" || words[1] == "total" || words[2] == "result");
  if (words.size() < 3 || !(concludes || sums || isConclusion(words[0])) || denies(words) ||
      among(words, actions) || plain.find_first_of("=+*^<>\\{}()[]") != std::string::npos)
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
                        (i + length < plain.size() &&
                         std::string_view(" .,").find(plain[i + length]) == std::string_view::npos);
    const size_t n = before.size();
    if (found || n == 0 || joined)
      return std::nullopt;
    const bool share = number.back() == '%' && before.back() == "by";
    const bool amount = n > 2 && before.back() == "of" && amounts.count(before[n - 2]) &&
                        (before[n - 3] == "a" || before[n - 3] == "an");
    // "So Ann, who is left, has 3": only words beside the number change it.
    const std::string near =
        n > 1 && before[n - 2] != "to" ? before[n - 2] + " " + before[n - 1] : before[n - 1];
    const bool has = among(before, {"has", "have", "had", "are", "is"});
    const bool left = behind.size() > (has ? 0 : 1) && behind.size() < 4 && behind.back() == "left";
    const bool each = n > 2 && before[1] == "each"; // "so each person pays"
    // "at 60 km/h", "in 3 hours"
    const bool measured =
        isUnitBehind(plain, i + length) && among({before.back()}, {"at", "in", "for"});
    if ((references.count(before.back()) && !share && !amount && !measured) ||
        (vote::changesValue(near) && !amount) ||
        among({before.begin() + ptrdiff_t(std::min<size_t>(n, each ? 2 : 0)), before.end()},
              comparisons) ||
        (!behind.empty() && behind[0] != "every" && !left &&
         (vote::changesValue(behind[0]) || behind[0] == "of")))
      return std::nullopt;
    for (size_t k = 0; k < behind.size(); ++k)
      if (comparisons.count(behind[k]) && !(behind[k] == "every" && k < 2) &&
          !(behind[k] == "each" && k < 3))
        return std::nullopt;
    if (!left && among(behind, {"left", "right", "dozen", "before", "after"}))
      return std::nullopt;
    if (countsParts(behind))
      return std::nullopt;
    found = number;
    i += length;
  }
  return found;
}

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
  static const std::set<std::string> amounts = {
      "area",   "volume", "perimeter", "sum",     "total",         "probability", "length",
      "number", "value",  "cost",      "product", "circumference", "average",     "mean",
      "answer", "radius", "distance",  "angle",   "difference",    "remainder",   "ways"};
  const size_t sign = formula.rfind('=');
  if (sign == std::string::npos || !among(wordsOf(lastSentence(prose)), amounts))
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

// What the last sentence of prose says: its last formula, with those before it that only commas,
// "and" or "or" part from it, and a word behind it, its unit. Nothing when the words before it do
// not announce it ("the square root of $9$"), or when more follows ("$5$ at most").
std::optional<std::string> lastFormula(const std::string &text) {
  const std::vector<Formula> formulas = formulasOf(text);
  if (formulas.empty())
    return std::nullopt;
  auto content = [&](size_t k) { return contentOf(text, formulas[k]); };
  size_t first = formulas.size() - 1;
  std::string all = content(first);
  if (all.empty())
    return std::nullopt;
  // m = 100, n = 7, m + n = 107 says 107
  auto isSum = [](const std::string &formula) {
    const size_t sign = formula.find('=');
    return sign != std::string::npos && formula.find_first_of("+-/") < sign;
  };
  const bool sum = isSum(all);
  for (; first > 0 && joins(text, formulas[first - 1].after, formulas[first].before); --first)
    if (const std::string each = content(first - 1); !sum || isSum(each)) // x + y = 5, x - y = 1
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
      (lead[lead.size() - 2] == "is" || lead[lead.size() - 2] == "are") && !denies(lead))
    return all;
  if (announces(prose) && degrees && (tail == "C" || tail == "F"))
    return all;
  if (announces(prose) && !joined && vote::isUnit(' ' + tail))
    return all;
  if (!announces(prose) || joined || wordsOf(tail).size() > 1)
    return std::nullopt;
  return tail.empty() ? valueOfChain(prose, all) : all + " " + tail;
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
      sentence.find_first_of("<>\\{}") != std::string_view::npos)
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
    if (rest.size() > ending.size() &&
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
  return !words.empty() && is && announces(before) ? std::optional(words) : std::nullopt;
}

// The letter of "Hence, option B is correct" and "so (D) is the correct answer".
std::optional<std::string> chosenLetter(std::string_view sentence) {
  static const std::set<std::string> nouns = {"the", "option", "choice", "answer"},
                                     closing = {"the",    "correct", "right",
                                                "answer", "option",  "choice"};
  const std::vector<std::string> words = wordsOf(sentence);
  size_t i = !words.empty() && isConclusion(words[0]);
  if (i == 0 && (words.size() < 4 || !nouns.count(words[0]) || words[0] == "the"))
    return std::nullopt;
  const size_t bracket = sentence.find('(');
  if (i == 1 && words.size() == 2 && bracket + 3 <= sentence.size() &&
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
  for (size_t k = 1; k + 1 < sentence.size(); ++k) // a capital of its own
    if (sentence[k] == letter && !isLetter(sentence[k - 1]) && !isLetter(sentence[k + 1]))
      return std::string(1, letter);
  return std::nullopt;
}

} // namespace

std::string_view withoutReason(std::string_view part) {
  static const std::string_view kReasons[] = {
      " because ", ", because", ", since", " (since", " (because", " (as ",
      // to whom
      ", as ",
      // where, or the same again
      ", not ", "; it's ", "; it is ", " rather than ", " instead of ", ", approximately ",
      ", roughly ", ", about ", " (≈", " (\\approx", ", which ", ", attained ", ", achieved ",
      ", occurring ", ", where ", ", or about ", ", or approximately ", " or about ",
      " or approximately ", " (approximately", " (about", " (or ", ", i.e", " i.e. ", " (i.e.",
      " (not "};
  size_t end = part.size();
  for (const std::string_view begins : kReasons) {
    size_t at = part.find(begins);
    while (at != std::string_view::npos && part.compare(at, 10, ", as well ") == 0) // one more
      at = part.find(begins, at + 1);
    end = std::min(end, at);
  }
  // "9 when $x = 3$", but "the remainder when $9$ is divided by 7 is"
  for (const std::string_view begins : {" when $", " when x", ", when ", " at $x"})
    if (const size_t at = part.find(begins);
        at != std::string_view::npos && part.find(" is ", at) == std::string_view::npos)
      end = std::min(end, at);
  // ", so we are done" is a reason, ", so x = 3" is none
  if (const size_t so = part.find(", so ");
      so != std::string_view::npos &&
      part.find_first_of("0123456789$\\=", so) == std::string_view::npos)
    end = std::min(end, so);
  return part.substr(0, end);
}

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
  if (alone ? !whole : isFormula(text.substr(0, line))) // lines of one answer
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
    for (const std::string_view sign : {"=>", "=", "→", "⇒", "∴"})
      if (rest.substr(0, sign.size()) == sign) {
        rest.remove_prefix(sign.size());
        leads = found = true;
      }
  }
  const bool bold = rest.substr(0, 2) == "**";
  std::string value = bare(rest);
  if (value.empty() || value.size() > longest)
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
  std::string content = formula ? contentOf(value, own[0]) : value;
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
  const bool says =
      named ? formula || statedEquation("so " + content) // x = 7, or 3 + 4 = 7
            : formula && !hasLetters(name) && !hasLetters(content.substr(content.rfind('=')));
  return says ? std::optional(content) : std::nullopt;
}

std::string bare(std::string_view part) {
  const size_t first = part.find_first_not_of(" \t\r\n*`_\"");
  if (first == std::string_view::npos)
    return {};
  for (bool marked = true; marked;) { // a tick behind the answer
    const size_t end = part.find_last_not_of(" \t\r\n*`_\".,;:");
    marked = false;
    for (const std::string_view tick : {"✅", "✓", "✔", "∎", "□", "■", "🎉", "\uFE0F"})
      if (end != std::string_view::npos && end + 1 >= first + tick.size() &&
          part.substr(0, end + 1).substr(end + 1 - tick.size()) == tick) {
        part = part.substr(0, end + 1 - tick.size());
        marked = true;
        break; // `end` is that of the part before
      }
  }
  const size_t last = part.find_last_not_of(" \t\r\n*`_\".,;:");
  if (last == std::string_view::npos || last < first)
    return {};
  std::string value(part.substr(first, last + 1 - first));
  const size_t digits = value.find_last_not_of("0123456789");
  if (digits < last - first && value[digits] == '.' && part.compare(last + 1, 3, "...") == 0)
    value += "..."; // 0.1666...
  return value;
}

namespace {

// The only number of a conclusion without Latin letters: 所以一共有8个苹果。
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

} // namespace

std::optional<std::string> spoken(const std::string &given, bool concludes) {
  const size_t end = given.find_last_not_of(" \t\r\n*");
  if (end != std::string::npos && given[end] == '?')
    return std::nullopt;
  // Without the reason, where that does not cut a formula.
  std::string part = given;
  const std::string_view ending = lastSentence(given);
  if (const size_t kept = withoutReason(ending).size(); kept < ending.size()) {
    const std::string cut = given.substr(0, given.size() - ending.size() + kept);
    if (std::count(cut.begin(), cut.end(), '$') % 2 == 0 && isBalanced(cut))
      part = cut;
  }
  if (saysTwoThings(part))
    return std::nullopt;
  if (auto formula = lastFormula(part))
    return formula;
  std::string_view sentence = withoutReason(lastSentence(part));
  for (const auto say : {statedNumber, statedTime, statedEquation, lastConclusion, chainEnd,
                         boldWords, chosenLetter})
    if (auto said = say(sentence))
      return said;
  for (const std::string_view sign : {"$$ ", "\\] "}) // a formula of its own ends a sentence, too
    if (const size_t at = sentence.rfind(sign); at != std::string_view::npos)
      sentence.remove_prefix(at + sign.size());
  auto number = onlyNumber(sentence, concludes);
  return number ? number : onlyNumberOfHan(lastSentence(part), concludes);
}

} // namespace m1rt
