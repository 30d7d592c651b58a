// A last sentence that announces nothing and says one value: "Janet makes $18 every day."
#include "vote/statements.h"

#include "vote/extraction.h"
#include "vote/formulas.h"
#include "vote/prose.h"
#include "vote/wording.h"

#include <algorithm>
#include <map>
#include <set>

namespace m1rt {
namespace {

using Words = std::vector<std::string>;

struct OnlyValue {
  size_t begin, end; // with the signs around it
  std::string content;
  bool formula, time;
};

// Of a formula, what no command says: without their names, and without upright text.
std::string withoutCommands(const std::string &latex) {
  std::string plain;
  for (size_t i = 0; i < latex.size(); ++i) {
    if (latex[i] != '\\') {
      plain += latex[i];
      continue;
    }
    const size_t name = i + 1;
    while (i + 1 < latex.size() && isLetter(latex[i + 1]))
      ++i;
    const std::string command = latex.substr(name, i + 1 - name);
    if (command == "text" || command == "mathrm")
      i = std::min(latex.find('}', i), latex.size());
    plain += ' ';
  }
  return plain + ' ';
}

// "15 - 7 = 8 apples" as "8 apples": of numbers that are computed what they come to.
std::string withoutSteps(std::string sentence) {
  for (const auto &[sign, plain] :
       {std::pair<std::string_view, char>{"×", '*'}, {"·", '*'}, {"÷", '/'}})
    for (size_t at; (at = sentence.find(sign)) != sentence.npos;)
      sentence.replace(at, sign.size(), 1, plain);

  auto skip = [&](size_t at) {
    while (at < sentence.size() && sentence[at] == ' ')
      ++at;
    return at;
  };
  for (size_t begin = 0; begin < sentence.size();) {
    size_t length = numberLength(sentence, begin), at = begin + length, steps = 0;
    if (!length) {
      ++begin;
      continue;
    }
    steps += sentence.substr(begin, length).find('/') != std::string::npos; // 40/8
    for (size_t sign = skip(at);
         sign < sentence.size() && std::string_view("+-*/x").find(sentence[sign]) < 5;
         sign = skip(at), ++steps) {
      const size_t next = skip(sign + 1), more = numberLength(sentence, next);
      if (!more)
        break;
      at = next + more;
    }
    const size_t sign = skip(at), value = skip(sign + 1);
    if (steps && sign < sentence.size() && sentence[sign] == '=' && numberLength(sentence, value))
      return sentence.substr(0, begin) + sentence.substr(value);
    begin = at;
  }
  return sentence;
}

// The only formula, number or time of day of a sentence; nothing where there are several.
std::optional<OnlyValue> onlyValueOf(const std::string &sentence) {
  auto isDigit = [&](size_t at) {
    return at < sentence.size() && sentence[at] >= '0' && sentence[at] <= '9';
  };
  if (const std::vector<Formula> formulas = formulasOf(sentence); !formulas.empty()) {
    const Formula &one = formulas[0];
    const std::string content = trimmed(contentOf(sentence, one)),
                      others = sentence.substr(0, one.before) + sentence.substr(one.after);
    if (formulas.size() > 1 || (content.size() == 1 && !isDigit(one.begin)) ||
        !isFormula(withoutCommands(content)) ||
        others.find_first_of("0123456789$\\") != others.npos)
      return std::nullopt;
    return OnlyValue{one.before, one.after, content, true, false};
  }
  std::optional<OnlyValue> found;
  for (size_t i = 0; i < sentence.size();) {
    size_t length = numberLength(sentence, i);
    if (!length) {
      ++i;
      continue;
    }
    const bool time = length < 3 && sentence[i + length - 1] != '%' &&
                      sentence.compare(i + length, 1, ":") == 0 && isDigit(i + length + 1) &&
                      isDigit(i + length + 2) && !isDigit(i + length + 3);
    length += time ? 3 : 0;
    const size_t end = i + length;
    const bool begins = i == 0 || sentence[i - 1] == ' ',
               ends = end == sentence.size() || sentence[end] == ' ' || sentence[end] == ',' ||
                      sentence.compare(end, 2, "°") == 0;
    if (found || !begins || !ends)
      return std::nullopt;
    found = OnlyValue{i, end, sentence.substr(i, length), false, time};
    i = end;
  }
  return found;
}

// Digits alone: 1200 of \$1,200 and $1200.
std::string digitsOf(std::string_view number) {
  std::string digits;
  for (const char c : number)
    if (isDigit(c) || c == '.' || c == '/' || c == '-' || c == '%')
      digits += c;
  return digits;
}

// What the last equation of a text comes to: 8 of "So 15 - 7 = $8$ in all."; nothing where it is no
// number.
std::string lastResult(std::string_view text) {
  constexpr size_t longest = 400;
  text.remove_prefix(text.size() - std::min(text.size(), longest));
  const size_t sign = text.find_last_of('=');
  if (sign == text.npos)
    return {};
  const size_t begin = text.find_first_not_of(" \n*{$\\", sign + 1),
               length = begin == text.npos ? 0 : numberLength(text, begin);
  return length ? digitsOf(text.substr(begin, length)) : std::string();
}

// The only number of a sentence that is this one, among others of another value.
std::optional<OnlyValue> valueAmong(const std::string &sentence, const std::string &result) {
  std::optional<OnlyValue> found;
  for (size_t i = 0; i < sentence.size();) {
    const size_t length = numberLength(sentence, i), end = i + length;
    if (length && digitsOf(std::string_view(sentence).substr(i, length)) == result) {
      if (found || (i > 0 && sentence[i - 1] != ' ') ||
          (end < sentence.size() && sentence[end] != ' ' && sentence[end] != ','))
        return std::nullopt;
      found = OnlyValue{i, end, sentence.substr(i, length), false, false};
    }
    i += std::max<size_t>(length, 1);
  }
  return found;
}

// Whether a formula computes a number: 2^{10} = 1024.
bool isComputation(const std::string &formula) {
  const size_t sign = formula.rfind('=');
  return sign != formula.npos && sign > 0 && isFormula(withoutCommands(formula)) &&
         withoutCommands(formula).find_first_of("abcdefghijklmnopqrstuvwxyz") == formula.npos &&
         numberLength(formula, formula.find_first_not_of(' ', sign + 1)) > 0;
}

// Where the value of a sentence comes from: this sentence alone, a computation in it, or a result
// above it, which it restates.
enum class Source { sentence, computation, result };

// Doubts, conditions, comparisons, other numbers, and what a step of a derivation says. Where a
// value was computed, other numbers and who speaks do not matter; where it is restated, order and
// duty do not either.
bool saysMore(const Words &words, Source source = Source::sentence) {
  static const std::set<std::string> besides = {
      "two",   "three", "four",      "five",       "six",   "seven",  "eight", "nine",
      "ten",   "one",   "other",     "we",         "our",   "us",     "i",     "you",
      "both",  "for",   "by",        "per",        "as",    "also",   "still", "each",
      "every", "who",   "which",     "another",    "where", "values", "from",  "start",
      "more",  "at",    "beginning", "additional", "extra"};
  static const std::set<std::string> duties = {"should", "would", "can",   "could",  "when",
                                               "while",  "until", "after", "before", "first",
                                               "then",   "next",  "times", "given"};
  static const std::set<std::string> more = {
      "could",    "should",  "may",      "can",        "let",        "consider", "check",
      "try",      "when",    "while",    "until",      "before",     "after",    "ago",
      "than",     "least",   "most",     "between",    "more",       "less",     "fewer",
      "from",     "case",    "step",     "note",       "recall",     "example",  "however",
      "wait",     "but",     "first",    "second",     "next",       "then",     "each",
      "every",    "because", "since",    "given",      "times",      "twice",    "thrice",
      "half",     "third",   "quarter",  "double",     "triple",     "two",      "three",
      "four",     "five",    "six",      "seven",      "eight",      "nine",     "ten",
      "dozen",    "hundred", "thousand", "million",    "billion",    "one",      "another",
      "other",    "either",  "or",       "where",      "which",      "who",      "originally",
      "extra",    "already", "usually",  "initially",  "additional", "still",    "i",
      "we",       "you",     "my",       "our",        "us",         "also",     "both",
      "for",      "by",      "minus",    "plus",       "hmm",        "question", "problem",
      "formula",  "rule",    "theorem",  "as",         "digits",     "values",   "degree",
      "answer",   "per",     "start",    "beginning",  "nobody",     "none",     "nothing",
      "hardly",   "barely",  "assuming", "assumption", "hypothesis", "imagine",  "forgot",
      "remember", "thinks",  "thought",  "believes",   "says",       "said",     "claims",
      "claimed",  "guess",   "mistake",  "naive",      "why",        "sense",    "correct",
      "sure",     "certain"};
  return denies(words) || countsParts(words) ||
         std::any_of(words.begin(), words.end(), [&](const std::string &word) {
           return more.count(word) && !(source != Source::sentence && besides.count(word)) &&
                  !(source == Source::result && duties.count(word));
         });
}

// What the words in front of a value end with, if that leads to it: "makes", "made a profit of",
// "drops to", "is left with", "arrives at".
bool leads(Words words, bool time) {
  static const std::set<std::string> verbs = {
      "makes",    "made",     "earns",     "earned",   "takes",    "took",     "gets",     "got",
      "has",      "had",      "have",      "needs",    "needed",   "pays",     "paid",     "spends",
      "spent",    "saves",    "saved",     "costs",    "sells",    "sold",     "buys",     "bought",
      "receives", "received", "walks",     "walked",   "runs",     "ran",      "eats",     "ate",
      "equals",   "gives",    "gave",      "totals",   "weighs",   "weighed",  "travels",  "drives",
      "traveled", "drove",    "scored",    "scores",   "owes",     "collects", "produces", "raised",
      "charges",  "lasts",    "collected", "produced", "contains", "holds",    "was",      "were",
      "covers",   "covered",  "drinks",    "uses",     "used",     "consumes", "requires", "are",
      "leaves",   "means",    "becomes",   "measures", "is",       "reads",    "make",     "earn",
      "spend",    "cost",     "pay"};
  static const std::set<std::string> future = {"take", "be", "last", "weigh", "have"};
  static const std::map<std::string, std::set<std::string>> particles = {
      {"to",
       {"drops", "dropped", "rises", "rose", "falls", "fell", "increases", "increased", "comes",
        "came", "amounts", "up", "adds", "converges", "grows", "grew", "decreases", "decreased",
        "tends"}},
      {"with", {"up", "left"}}};
  static const std::set<std::string> ofTime = {
      "arrives", "arrived", "leaves",   "ends",     "home",   "begins",   "starts",  "departs",
      "lands",   "returns", "finishes", "finish",   "meet",   "school",   "work",    "leave",
      "arrive",  "ended",   "started",  "finished", "landed", "departed", "returned"};
  static const std::set<std::string> fillers = {
      "about", "exactly", "approximately", "roughly", "around", "only", "now"};
  const auto n = [&] { return words.size(); };
  while (n() > 1 && (fillers.count(words.back()) || words.back() == "him" ||
                     words.back() == "her" || words.back() == "them"))
    words.pop_back();
  if (n() > 3 && words.back() == "of" && amountNouns().count(words[n() - 2]) &&
      (words[n() - 3] == "a" || words[n() - 3] == "an"))
    words.resize(n() - 3);
  if (n() < 2)
    return false;
  if (time)
    return (words.back() == "at" && ofTime.count(words[n() - 2])) ||
           among({words.back()}, {"show", "shows", "read", "reads"});
  if (const auto particle = particles.find(words.back()); particle != particles.end())
    return particle->second.count(words[n() - 2]) != 0;
  if (words[n() - 2] == "her" || words[n() - 2] == "him" || words[n() - 2] == "them")
    words.erase(words.end() - 2);
  if (amountNouns().count(words.back()) && among({words[n() - 2]}, {"has", "have"}))
    return true; // has length 10
  return verbs.count(words.back()) != 0 ||
         (n() > 1 && (words[n() - 2] == "will" || words[n() - 2] == "would") &&
          future.count(words.back()));
}

// "12.5% of the water remains.", "12 apples remain."
bool isRemainder(const OnlyValue &value, const Words &behind) {
  constexpr size_t most = 3;
  const bool share = value.content.back() == '%' && behind.size() > 2 && behind[0] == "of";
  const bool left = behind.size() > 1 && behind.back() == "left" &&
                    among({behind[behind.size() - 2]}, {"are", "is", "were"});
  return !behind.empty() && (share || behind[0] != "of") && (share || behind.size() <= most) &&
         (left || among({behind.back()}, {"remains", "remain"}));
}

// Without "every day", "per hour" and "a week", which say how long.
Words withoutPeriods(const Words &behind) {
  static const std::set<std::string> leading = {"every", "each", "per", "a", "an"},
                                     periods = {"day",  "days",  "week",   "month", "year",
                                                "hour", "night", "minute", "second"};
  Words kept;
  for (size_t i = 0; i < behind.size(); ++i)
    if (leading.count(behind[i]) && i + 1 < behind.size() && periods.count(behind[i + 1]))
      ++i;
    else
      kept.push_back(behind[i]);
  return kept;
}

// "21 more", "13 years younger than Bob", "5 dollars more to buy it": a conclusion says how much
// two differ. Only these are left to a conclusion; `behind` is then without them.
bool leadsToDifference(Words &behind) {
  static const std::set<std::string> comparatives = {
      "more",    "fewer",   "less",    "younger", "older",  "taller", "longer",
      "shorter", "heavier", "lighter", "faster",  "slower", "cheaper"};
  const auto at = std::find_if(behind.begin(), behind.end(), [](const std::string &word) {
    return comparatives.count(word) != 0;
  });
  if (at == behind.end() || at - behind.begin() > 2)
    return false;
  const auto than = std::find_if(
      at, behind.end(), [](const std::string &word) { return word == "than" || word == "to"; });
  Words kept(behind.begin(), at);
  kept.insert(kept.end(), at + 1, than);
  const Words compared(than, behind.end());
  if (among(compared, {"half", "twice", "times", "if", "what"}))
    return false;
  behind = kept;
  return true;
}

// The value of a sentence that restates or computes it. What computes it may be a step of more:
// "Each box has 3 * 4 = 12 pens."
std::optional<std::string> computedStatement(const std::string &sentence, const OnlyValue &value,
                                             Source source) {
  constexpr size_t mostBefore = 20, mostBehind = 14;
  static const std::set<std::string> general = {"a",  "an",   "any", "some", "no",
                                                "if", "what", "how", "here", "and"};
  const std::string lead = sentence.substr(0, value.begin), rest = sentence.substr(value.end);
  Words before = wordsOf(lead), behind = wordsOf(rest);
  if (rest.find(" May") != rest.npos) // the month
    behind.erase(std::remove(behind.begin(), behind.end(), "may"), behind.end());
  if (before.size() > 1 && before[0] == "after" && before[1].size() > 4 &&
      before[1].compare(before[1].size() - 3, 3, "ing") == 0) // After buying it he has
    before.erase(before.begin());
  const bool restates = source == Source::result,
             shared = before.size() > 1 && (before[0] == "each" || before[0] == "every") &&
                      before[1] != "of";
  if (before.size() < (restates ? 1 : 2) || before.size() > mostBefore ||
      behind.size() > mostBehind || general.count(before[0]) || (!restates && shared) ||
      tellsWhatIsDone(before) ||
      among({before.back()}, {"step", "case", "by", "equation", "number", "from"}) ||
      saysMore(before, source) || saysMore(behind, source) ||
      (!behind.empty() && vote::changesValue(behind[0]) &&
       !among({behind[0]}, {"more", "left", "for", "each", "every", "per"})) ||
      (lead + rest).find_first_of("=<>#|;:\"[]{}()+*^\\`") != std::string::npos)
    return std::nullopt;
  const size_t sign = value.formula ? value.content.rfind('=') : std::string::npos;
  return sign == std::string::npos ? value.content : trimmed(value.content.substr(sign + 1));
}

} // namespace

std::optional<std::string> plainStatement(std::string_view text) {
  constexpr size_t longest = 160, mostBefore = 12, mostBehind = 8;
  static const std::set<std::string> general = {"a",   "an",   "any", "all",   "some",
                                                "no",  "if",   "in",  "there", "here",
                                                "and", "with", "to",  "what",  "how"};
  const size_t last = text.find_last_not_of(" \t\r\n*.!");
  if (last == text.npos)
    return std::nullopt;
  std::string_view own = lastSentence(text.substr(0, last + 1));
  const size_t clause = own.rfind(", so ");
  const bool so = clause != own.npos; // of two clauses the last
  if (so)
    own.remove_prefix(clause + 2);
  const size_t first = own.find_first_not_of(" *_");
  const bool plain =
      own.size() < longest && first != own.npos && own.find('?') == own.npos &&
      own.find("...") == own.npos &&
      (so || (own[first] >= 'A' && own[first] <= 'Z') || (own[first] >= '0' && own[first] <= '9'));
  if (!plain)
    return std::nullopt;
  const std::string whole = withoutEmphasis(own.substr(first)), sentence = withoutSteps(whole);
  // A sentence that restates what was computed above it, or computes it, says that.
  const std::string result = lastResult(text.substr(0, size_t(own.data() - text.data()) + first));
  auto value = onlyValueOf(sentence);
  if (!value && !result.empty())
    value = valueAmong(sentence, result);
  if (!value)
    return std::nullopt;
  const bool restates = !result.empty() && digitsOf(value->content) == result;
  if (restates || whole != sentence || (value->formula && isComputation(value->content)))
    return computedStatement(sentence, *value, restates ? Source::result : Source::computation);
  const std::string lead = sentence.substr(0, value->begin), rest = sentence.substr(value->end);
  const Words before = wordsOf(lead), behind = wordsOf(rest);
  if (before.size() > mostBefore || behind.size() > mostBehind ||
      (lead + rest).find_first_of("=<>#|;:\"[]{}()+*^\\`") != std::string::npos)
    return std::nullopt;
  if (!value->formula && isRemainder(*value, behind) && !saysMore(behind) &&
      (value->begin == 0 || (before.size() == 1 && isConclusion(before[0]))))
    return value->content;
  Words said = withoutPeriods(behind), subject = before;
  static const std::set<std::string> shares = {"a", "an", "each", "every", "any"};
  if (const auto purpose = std::find(said.begin(), said.end(), "for"); // for the pool to fill
      purpose != said.end() && purpose + 1 != said.end() && !shares.count(purpose[1]))
    said.erase(purpose);
  if (value->time)
    subject.erase(std::remove(subject.begin(), subject.end(), "should"), subject.end());
  // Any verb may lead to the number that ends a derivation, of what will be and of a total.
  const Words around = wordsOf(sentence);
  const bool ends = !result.empty() || among(around, {"will", "altogether"}) ||
                    sentence.find("in total") != sentence.npos ||
                    sentence.find("in all") != sentence.npos;
  const bool says = ends && !value->formula && !value->time && before.size() > 1;
  const bool needs = so && !before.empty() && among({before.back()}, {"need", "needs"});
  const bool concludes = !before.empty() && isConclusion(before[0]);
  if (concludes)
    subject.erase(subject.begin());
  if (concludes && !leadsToDifference(said) && !so && before.back() != "to" && !value->formula &&
      !value->time)
    return std::nullopt; // onlyNumber() knows why
  if (before.size() == 2 && before[0] == "there" && before[1] == "are" && !said.empty() &&
      among(said, {"left", "remaining", "total", "altogether"}) && !saysMore(said))
    return value->content;
  if (subject.size() > 3 && subject[0] == "each" && subject[1] == "of") // each of them
    subject.erase(subject.begin());
  // Dogs have 4 legs.
  const bool kind = subject.size() == 2 && subject[0].back() == 's' && subject[1] == "have";
  if (subject.empty() || kind || general.count(subject[0]) || subject[0].size() == 1 ||
      saysMore(subject) || saysMore(said) ||
      (!said.empty() && said[0] != "left" && vote::changesValue(said[0])) ||
      !(needs || leads(before, value->time) ||
        (says && (!isReference(before.back()) ||
                  (before.back() == "in" && !behind.empty() && isTimeUnit(behind[0]))))))
    return std::nullopt;
  if (const bool half = value->time && !behind.empty(); half) {
    const std::string &named = behind[0]; // PM, p.m.
    const bool am = named == "am" || named == "a", pm = named == "pm" || named == "p";
    return am || pm ? std::optional(value->content + (am ? " am" : " pm")) : std::nullopt;
  }
  return value->formula ? valueOfRounding(value->content) : value->content;
}

} // namespace m1rt
