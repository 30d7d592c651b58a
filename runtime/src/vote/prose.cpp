#include "vote/prose.h"

#include "vote/number_words.h"
#include "vote/wording.h"

#include <algorithm>
#include <cstring>

namespace m1rt {

bool joins(const std::string &text, size_t begin, size_t end) {
  constexpr size_t longest = 60;
  if (begin == end)
    return true;
  if (begin > end || end - begin > longest)
    return false;
  std::string words;
  for (size_t i = begin; i < end; ++i) {
    if (text.compare(i, 2, "\\\\") == 0) { // the end of a row
      words += ',';
      ++i;
      continue;
    }
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

const std::set<std::string> &amountNouns() {
  static const std::set<std::string> nouns = {
      "median",      "mode",          "range",      "count",      "acceleration", "age",
      "amount",      "angle",         "answer",     "area",       "average",      "balance",
      "charge",      "circumference", "cost",       "current",    "degree",       "density",
      "depth",       "determinant",   "diameter",   "difference", "dimension",    "distance",
      "energy",      "expectation",   "force",      "frequency",  "height",       "length",
      "magnitude",   "mass",          "maximum",    "mean",       "minimum",      "number",
      "order",       "perimeter",     "population", "power",      "pressure",     "price",
      "probability", "product",       "profit",     "radius",     "rank",         "remainder",
      "resistance",  "salary",        "score",      "slope",      "speed",        "sum",
      "temperature", "time",          "total",      "trace",      "value",        "variance",
      "velocity",    "voltage",       "volume",     "wavelength", "ways",         "weight",
      "width",       "work"};
  return nouns;
}

bool among(const std::vector<std::string> &words, const std::set<std::string> &known) {
  return std::any_of(words.begin(), words.end(),
                     [&](const std::string &word) { return known.count(word) != 0; });
}

bool denies(const std::vector<std::string> &words) {
  return among(
      words, {"not",    "never",      "cannot",    "no",          "isn",           "doesn",
              "don",    "impossible", "wrong",     "incorrect",   "false",         "unless",
              "if",     "except",     "neither",   "nor",         "whether",       "suppose",
              "assume", "assuming",   "supposing", "contradicts", "contradiction", "contradicting",
              "might",  "maybe",      "perhaps",   "probably"});
}

bool countsParts(const std::vector<std::string> &words) {
  static const std::set<std::string> clauses = {"that",       "which", "who",  "satisfying",
                                                "fulfilling", "for",   "with", "under"};
  const auto clause = std::find_if(
      words.begin(), words.end(), [](const std::string &word) { return clauses.count(word) != 0; });
  return among({words.begin(), clause},
               {"cases", "unknowns", "equations", "steps", "conditions", "variables"});
}

bool isReference(const std::string &word) {
  static const std::set<std::string> references = {
      "of",      "by",       "case",    "step", "equation", "part",   "problem", "number",
      "theorem", "lemma",    "figure",  "line", "page",     "modulo", "mod",     "base",
      "power",   "with",     "on",      "for",  "and",      "or",     "level",   "question",
      "section", "exercise", "example", "term", "digit",    "in",     "at",      "option"};
  return references.count(word) != 0;
}

bool tellsWhatIsDone(const std::vector<std::string> &words) {
  static const std::set<std::string> actions = {
      "add",    "subtract", "multiply", "divide", "consider",   "try",  "check",
      "choose", "let",      "suppose",  "assume", "substitute", "split"};
  return among(words, actions);
}

bool isTimeUnit(const std::string &word) {
  static const std::set<std::string> units = {"second", "minute", "hour",    "day",     "week",
                                              "month",  "year",   "seconds", "minutes", "hours",
                                              "days",   "weeks",  "months",  "years"};
  return units.count(word) != 0;
}

bool isConclusion(const std::string &word) {
  static const std::set<std::string> conclusions = {
      "donc",     "portanto",     "quindi",  "dunque",     "somit",      "daher",
      "folglich", "ergo",         "so",      "thus",       "hence",      "therefore",
      "finally",  "consequently", "overall", "altogether", "ultimately", "accordingly"};
  return conclusions.count(word) != 0;
}

bool endsSentence(std::string_view prose, size_t period) {
  static const std::set<std::string> abbreviations = {"sq", "cu", "approx", "mr", "mrs",
                                                      "dr", "vs", "eq",     "fig"};
  size_t begin = period;
  while (begin > 0 && isLetter(prose[begin - 1]))
    --begin;
  constexpr size_t longest = 6;
  const std::string_view before = prose.substr(0, period);
  const auto endsIn = [&](std::string_view word) {
    return before.size() >= word.size() && before.substr(before.size() - word.size()) == word;
  };
  if (endsIn(" i.e") || endsIn(" e.g"))
    return false;
  return period - begin > longest ||
         !abbreviations.count(lowerCase(std::string(prose.substr(begin, period - begin))));
}

std::string_view lastSentence(std::string_view prose) {
  for (size_t i = prose.size(); i-- > 1;)
    if (prose[i] == '\n' || (prose[i] == ' ' && prose[i - 1] == '.' && endsSentence(prose, i - 1)))
      return prose.substr(i + 1);
  return prose;
}

bool announces(std::string_view prose) {
  static const std::set<std::string> last = {
      "is",       "are",    "equals",  "gives",     "get",      "obtain", "have",
      "thus",     "hence",  "so",      "therefore", "answer",   "total",  "yields",
      "yielding", "giving", "becomes", "equal",     "measures", "costs",  "totals",
      "es",       "est",    "ist",     "lautet"};
  static const std::set<std::string> certain = {"must", "should", "would", "will", "to"};
  static const std::set<std::string> amounts = {"total",  "answer", "answers", "profit",
                                                "result", "value",  "average", "probability"};
  static const std::set<std::string> told = {"find",   "see",     "conclude", "have",  "get",
                                             "obtain", "follows", "implies",  "shows", "deduce",
                                             "means",  "found",   "clear"};
  constexpr std::string_view comma = "，";
  for (bool more = true; more;) {
    more = false;
    while (!prose.empty() &&
           std::string_view(" \t\r\n*_").find(prose.back()) != std::string_view::npos)
      prose.remove_suffix(1);
    if (prose.size() > comma.size() && prose.substr(prose.size() - comma.size()) == comma) {
      prose.remove_suffix(comma.size());
      more = true;
    }
  }
  prose = lastSentence(prose);
  for (const std::string_view verb : {"范围是", "范围为", "的值为", "的值是", "面积为", "面积是"})
    if (prose.size() >= verb.size() && prose.substr(prose.size() - verb.size()) == verb)
      return true;
  for (const std::string_view conclusion : {"所以", "因此", "故", "综上", "综上所述"})
    if (prose.substr(0, conclusion.size()) == conclusion)
      for (const std::string_view verb :
           {conclusion, std::string_view("是"), std::string_view("为"), std::string_view("等于")})
        if (prose.size() >= verb.size() && prose.substr(prose.size() - verb.size()) == verb)
          return prose == conclusion || verb != conclusion;
  if (prose.find("beträgt") != prose.npos) // die Fläche
    return true;
  std::vector<std::string> words = wordsOf(prose);
  if (words.size() == 1 && prose.back() == ',' &&
      among(words, {"solving", "simplifying", "evaluating", "rearranging"}))
    return true;
  while (words.size() > 1 && among({words.back()}, {"about", "approximately", "roughly", "around",
                                                    "nearly", "exactly"}))
    words.pop_back();
  if (words.empty() || denies(words))
    return false;
  const std::string before = words.size() > 1 ? words[words.size() - 2] : std::string();
  const size_t end = prose.find_last_not_of(" \n");
  if (among(words, {"formula"}) && !isConclusion(words[0])) // what is known
    return false;
  return last.count(words.back()) || isConclusion(words.back()) ||
         (amountNouns().count(words.back()) && among({before}, {"has", "have"})) ||
         (words.back() == "s" && among({before}, {"that", "it"})) ||
         (words.back() == "to" &&
          (before == "equal" || before == "simplifies" || before == "evaluates")) ||
         (words.back() == "as" && before == "factors") ||
         (before == "we" && among({words.back()}, {"conclude", "deduce"})) ||
         (words.back() == "that" && told.count(before)) ||
         (words.back() == "be" && (certain.count(before) || before == "only")) ||
         (words.back() == "us" && (before == "gives" || before == "giving")) ||
         (words.back() == "of" && amounts.count(before) && words.size() > 2 &&
          (words[words.size() - 3] == "a" || words[words.size() - 3] == "an" ||
           words[words.size() - 3] == "final")) ||
         (prose[end] == ',' && // "has exactly one solution, x = 16"
          among({words.back()}, {"solution", "solutions", "answer", "root", "roots"})) ||
         (prose[end] == ':' &&
          !among(words, {"given", "consider", "where", "need", "look", "recall"}));
}

bool closes(const std::vector<std::string> &words) {
  return words.size() > 1 && (words[0] == "is" || words[0] == "are") &&
         std::all_of(words.begin(), words.end(),
                     [](const std::string &word) { return vote::closingWords().count(word) != 0; });
}

bool isSupposed(std::string_view clause) {
  static const std::set<std::string> doubts = {"maybe", "perhaps", "possibly"},
                                     may = {"might", "may",    "could",    "people",
                                            "some",  "others", "students", "many"},
                                     think = {"think",  "guess",   "say",     "assume",  "claim",
                                              "expect", "believe", "suppose", "conclude"};
  const std::vector<std::string> words = wordsOf(clause);
  const size_t n = words.size();
  for (size_t i = 0; i < n; ++i)
    if (words[i] == "tempted" || (doubts.count(words[i]) && i + 3 > n) ||
        (i + 1 < n && ((may.count(words[i]) && think.count(words[i + 1])) ||
                       (words[i] == "possible" && words[i + 1] == "that"))))
      return true;
  return false;
}

bool saysWrong(std::string_view behind) {
  constexpr size_t longest = 80;
  static const std::set<std::string> leading = {
      "but",  "which", "this", "that",  "it",      "the",    "answer", "i",   "think",
      "no",   "wait",  "hmm",  "sorry", "oh",      "of",     "course", "now", "obviously",
      "s",    "also",  "is",   "was",   "are",     "can",    "could",  "did", "does",
      "must", "seems", "be",   "a",     "clearly", "however"};
  static const std::set<std::string> wrong = {"wrong", "incorrect", "false", "mistaken"},
                                     right = {"right", "correct", "true", "work", "valid"},
                                     denials = {"not", "cannot", "t", "never"},
                                     verbs = {"is", "was", "are", "s", "be", "seems"},
                                     denied = {"doesn", "isn", "wasn", "couldn", "didn"};
  behind = behind.substr(0, longest);
  const std::vector<std::string> words =
      wordsOf(behind.substr(0, behind.find_first_of("0123456789=<>{")));
  bool no = false, verb = false;
  if (words.size() > 1 && words[0] == "i" && verbs.count(words[1])) // I was wrong before
    return false;
  for (const std::string &word : words)
    if (wrong.count(word))
      return verb && !no;
    else if (right.count(word))
      return no && behind.find("not true that") == behind.npos;
    else if (denials.count(word) || denied.count(word))
      no = true;
    else if (no && word == "answer") // is not the answer
      return &word == &words.back();
    else if (leading.count(word))
      verb |= verbs.count(word) != 0;
    else
      return false;
  return false;
}

bool saysWrongOf(std::string_view said, std::string_view behind) {
  constexpr size_t longest = 24; // \text{(B)}
  if (said.size() > longest || std::none_of(said.begin(), said.end(), isLetter))
    return saysWrong(behind);
  const std::string value = lowerCase(bare(said));
  const std::vector<std::string> words = wordsOf(value);
  const bool letter = words.size() <= 2 && !words.empty() && words.back().size() == 1 &&
                      words.back()[0] <= 'j' && value.find_first_of("0123456789=+^") == value.npos;
  const bool verdict =
      !words.empty() && among({words.back()}, {"yes", "no", "true", "false"}) && words.size() <= 2;
  if (!letter && !verdict)
    return saysWrong(behind);
  constexpr size_t near = 80;
  const std::vector<std::string> lead = wordsOf(behind.substr(0, near));
  return !lead.empty() && saysWrong(behind) &&
         among({lead[0]}, {"wait", "no", "but", "hmm", "sorry", "oh", "actually", "which"});
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

std::string_view withoutReason(std::string_view part) {
  static const std::string_view kReasons[] = {
      " because ", ", because", ", since", " (since", " (because", " (as ",
      // to whom
      ", as ",
      // where, or the same again
      ", not ", ", nicht ", ", pas ", "; it's ", "; it is ", " rather than ", " instead of ",
      ", approximately ", ", roughly ", ", about ", " (≈", " (\\approx", ", which ", ", attained ",
      ", achieved ", ", occurring ", ", where ", ", or about ", ", or approximately ", " or about ",
      " or approximately ", ", or equivalently", " or equivalently", ", equivalently",
      " (equivalently", " (approximately", " (about", " (or ", ", i.e", " i.e. ", " (i.e.",
      " (not ",
      // what is thought of it
      ", I think", ", I believe", ", I guess", ", if I ", ", unless I ", ", if my ", ", assuming ",
      " assuming ", " (assuming ", " (I think", ", provided that ", ", but I'm ", ", but I am ",
      " but I'm not ", " but I am not ", ", but I can", ", but I have", ", but I did",
      ", but I don"};
  size_t end = part.size();
  for (const std::string_view begins : kReasons) {
    size_t at = part.find(begins);
    auto goesOn = [&] { // one more, or what follows from it
      static const std::string_view more[] = {", as well ", ", which gives ", ", which yields ",
                                              ", which means ", ", which implies "};
      return std::any_of(std::begin(more), std::end(more), [&](std::string_view words) {
        return part.compare(at, words.size(), words) == 0;
      });
    };
    while (at != std::string_view::npos && goesOn())
      at = part.find(begins, at + 1);
    end = std::min(end, at);
  }
  // "9 when $x = 3$", but "the remainder when $9$ is divided by 7 is"
  for (const std::string_view begins :
       {" when $", " when x", ", when ", " at $x", " when divided by ", " when rounded "})
    if (const size_t at = part.find(begins); at != std::string_view::npos &&
                                             part.find(" is ", at) == std::string_view::npos &&
                                             part.find("giving ", at) == part.npos)
      end = std::min(end, at);
  // "8 for $n = 2$"
  if (const size_t at = part.find(" for $"); at != part.npos && at > 0 && isDigit(part[at - 1])) {
    const std::string_view formula = part.substr(at + 6, part.find('$', at + 6) - at - 6);
    if (formula.size() > 2 && isLetter(formula[0]) && (formula[1] == '=' || formula[2] == '='))
      end = std::min(end, at);
  }
  // "$f(x) = 2x + 1$ for all $x$"
  for (const std::string_view begins : {"$ for all ", "$ for every ", "$ for any "})
    if (const size_t at = part.find(begins); at != std::string_view::npos) {
      const size_t open = at ? part.rfind('$', at - 1) : std::string_view::npos;
      if (open != std::string_view::npos && open + 4 < at && part[open + 2] == '(' &&
          part.substr(open, at - open).find('=') != std::string_view::npos)
        end = std::min(end, at + 1);
    }
  // ", so we are done" is a reason, ", so x = 3" is none
  const std::string last(part.substr(part.rfind(' ', end - (end > 0)) + 1));
  const bool numeral = vote::numeralsForWords(bare(last)).has_value(); // ", so it is zero"
  for (const std::string_view begins : {" – ", " — ", ": ", ", so ", ", including ", ", counting ",
                                        ", though ", ", although ", ", but this ", ", but that "})
    if (const size_t at = part.find(begins);
        at != std::string_view::npos &&
        part.find_first_of("0123456789$\\=", at) == std::string_view::npos && !numeral)
      end = std::min(end, at);
  return part.substr(0, end);
}

std::string_view withoutExclamation(std::string_view sentence) {
  const size_t last = sentence.find_last_not_of(" \t\r\n*_`");
  if (last == sentence.npos || last == 0 || sentence[last] != '!' || sentence[last - 1] == '!')
    return sentence;
  size_t begin = last;
  while (begin > 0 && isDigit(sentence[begin - 1]))
    --begin;
  constexpr size_t digits = 2; // nobody leaves the factorial of more than 20 as it is
  const std::string number(sentence.substr(begin, last - begin));
  return number.empty() || number.size() > digits || (number.size() == digits && number > "20")
             ? sentence.substr(0, last)
             : sentence;
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
  if (value.size() > 2 && value.front() == '\'' && value.back() == '\'') // 'B'
    value = value.substr(1, value.size() - 2);
  const size_t digits = value.find_last_not_of("0123456789");
  if (digits < last - first && value[digits] == '.' && part.compare(last + 1, 3, "...") == 0)
    value += "..."; // 0.1666...
  return value;
}

} // namespace m1rt
