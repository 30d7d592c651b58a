#include "vote/wording.h"

#include <algorithm>
#include <map>
#include <set>

namespace m1rt::vote {
namespace {

// Words that say what a number counts; with \text{…} any word does.
const std::set<std::string> kUnits = {
    "cm",          "mm",        "km",      "inch",   "inches",  "foot",       "feet",
    "ft",          "degree",    "degrees", "unit",   "units",   "dollar",     "dollars",
    "cent",        "cents",     "meter",   "meters", "metre",   "metres",     "hour",
    "hours",       "minute",    "minutes", "second", "seconds", "day",        "days",
    "week",        "weeks",     "month",   "months", "year",    "years",      "square",
    "cubic",       "sq",        "mph",     "mile",   "miles",   "pound",      "pounds",
    "percent",     "kg",        "gram",    "grams",  "yards",   "yard",       "liters",
    "litres",      "radians",   "ways",    "per",    "points",  "people",     "students",
    "in",          "yd",        "mi",      "lb",     "lbs",     "oz",         "ounce",
    "ounces",      "gallon",    "gallons", "mg",     "mL",      "ml",         "sec",
    "min",         "hr",        "hrs",     "kph",    "rpm",     "kilometers", "centimeters",
    "millimeters", "kilograms", "tons",    "times",  "USD",     "EUR",        "GBP",
    "rad",         "rads",      "acres",   "joules", "newtons", "watts",      "volts",
    "rupees",      "euros",     "pence",   "yen",    "yuan",    "apiece",     "INR"};
const std::map<std::string, std::string> kMagnitudes = {{"hundred", "100"},
                                                        {"thousand", "1000"},
                                                        {"million", "1000000"},
                                                        {"billion", "1000000000"},
                                                        {"trillion", "1000000000000"}};

// Little words that are no products of variables. (at, by, in, it, an may be.)
const std::set<std::string> kLittleWords = {
    "if",  "of",  "on",  "or",  "so",  "to",  "no",  "we",  "and", "any", "are",
    "but", "for", "has", "its", "not", "per", "the", "was", "all", "let", "get",
    "how", "out", "one", "two", "six", "ten", "nor", "now", "our", "can", "had",
    "may", "who", "via", "yes", "iff", "off", "odd", "nth", "is"};
// Words that change what the value beside them says: the value alone is not the answer.
const std::set<std::string> kModifiers = {"not",       "no",
                                          "never",     "neither",
                                          "nor",       "cannot",
                                          "without",   "except",
                                          "unless",    "if",
                                          "when",      "where",
                                          "for",       "while",
                                          "until",     "or",
                                          "more",      "less",
                                          "fewer",     "greater",
                                          "larger",    "smaller",
                                          "than",      "least",
                                          "most",      "over",
                                          "under",     "above",
                                          "below",     "about",
                                          "across",    "through",
                                          "between",   "to",
                                          "minus",     "plus",
                                          "choose",    "divided",
                                          "squared",   "cubed",
                                          "factorial", "reciprocal",
                                          "inverse",   "opposite",
                                          "negative",  "any",
                                          "every",     "all",
                                          "false",     "wrong",
                                          "incorrect", "impossible",
                                          "either",    "some",
                                          "root",      "log",
                                          "from",      "reflection",
                                          "rotation",  "translation",
                                          "excluding", "including",
                                          "instead",   "rather",
                                          "isn",       "doesn",
                                          "don",       "won",
                                          "aren",      "isnt",
                                          "unlike",    "undefined",
                                          "defined",   "twice",
                                          "symmetric", "extraneous",
                                          "rejected",  "modulo",
                                          "base",      "remainder",
                                          "thrice",    "perpendicular",
                                          "parallel",  "tangent"};
// The same behind a value, as units do; in a name they are harmless ("percent loss").
const std::set<std::string> kOpposites = {"half",
                                          "halves",
                                          "third",
                                          "thirds",
                                          "quarter",
                                          "quarters",
                                          "fourth",
                                          "fourths",
                                          "fifths",
                                          "sixths",
                                          "tenth",
                                          "tenths",
                                          "hundredths",
                                          "dozen",
                                          "dozens",
                                          "pairs",
                                          "score",
                                          "left",
                                          "right",
                                          "up",
                                          "down",
                                          "north",
                                          "south",
                                          "east",
                                          "west",
                                          "bc",
                                          "bce",
                                          "ad",
                                          "ce",
                                          "clockwise",
                                          "counterclockwise",
                                          "anticlockwise",
                                          "loss",
                                          "gain",
                                          "debt",
                                          "profit",
                                          "ago",
                                          "later",
                                          "earlier",
                                          "before",
                                          "after"};
// Words that lead to a value and say nothing of it.
const std::set<std::string> kLeading = {
    "so",      "thus",  "hence",    "therefore",     "then",     "we",
    "get",     "have",  "find",     "obtain",        "that",     "the",
    "answer",  "final", "solution", "solutions",     "value",    "values",
    "of",      "is",    "are",      "line",          "equation", "function",
    "result",  "our",   "required", "desired",       "conclude", "finally",
    "sum",     "total", "usd",      "eur",           "gbp",      "rs",
    "inr",     "cad",   "aud",      "approximately", "roughly",  "approx",
    "exactly", "only"};
// Signs that lead to a result, at its beginning.
const std::set<std::string> kLeadingSigns = {"=",           "\\Rightarrow", "\\implies",
                                             "\\therefore", "\\rightarrow", "\\Longrightarrow"};
// ASCII's alone, whatever the locale.
bool isLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool isBlank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

std::string trimmed(const std::string &s) {
  size_t begin = s.find_first_not_of(" \t\r\n"), end = s.find_last_not_of(" \t\r\n");
  return begin == std::string::npos ? std::string() : s.substr(begin, end - begin + 1);
}

// Whether a value may end with this token, so that a word after it says what it counts.
bool endsValue(const Token &t) {
  static const std::set<std::string> ops = {")", "]", "}", "\\}", "|", "%", "!", "°"};
  return !isText(t) && (t.kind != Token::Kind::op || ops.count(t.text));
}

bool isWordToken(const Token &t) { return isText(t) || t.kind == Token::Kind::word; }

// The words of a token, in lower case.
std::vector<std::string> wordsOf(const Token &t) {
  std::vector<std::string> words(1);
  for (const char c : t.text)
    if (isLetter(c))
      words.back() += static_cast<char>(c | 0x20);
    else if (!words.back().empty())
      words.emplace_back();
  if (words.back().empty())
    words.pop_back();
  return words;
}

bool hasOneOf(const Token &t, const std::set<std::string> &known) {
  const std::vector<std::string> words = wordsOf(t);
  return std::any_of(words.begin(), words.end(),
                     [&](const std::string &word) { return known.count(word) != 0; });
}
// Parts of a whole that is not there: eighths, twelfths; 12th has no letters before its ending.
bool isShare(const std::string &word) {
  static const std::set<std::string> others = {
      "month", "months", "cloth", "cloths", "booth",  "booths", "math", "maths", "moth",  "moths",
      "path",  "paths",  "tooth", "width",  "length", "depth",  "with", "both",  "worth", "earth"};
  auto ends = [&](const std::string &with) {
    return word.size() > with.size() + 1 &&
           word.compare(word.size() - with.size(), with.size(), with) == 0;
  };
  return (ends("th") || ends("ths")) && !others.count(word);
}

} // namespace

bool hasModifier(const Token &t) { return hasOneOf(t, kModifiers) || t.text == "…"; }

bool isProseToken(const Token &t) {
  return isText(t) || (t.kind == Token::Kind::word && isProse(t.text));
}

namespace {

bool isOpposite(const Token &t) {
  const std::vector<std::string> words = wordsOf(t);
  return hasOneOf(t, kOpposites) || std::any_of(words.begin(), words.end(), isShare);
}

// A token of words that are all among these.
bool consistsOf(const Token &t, const std::set<std::string> &allowed) {
  const std::vector<std::string> words = isWordToken(t) ? wordsOf(t) : std::vector<std::string>();
  return !words.empty() && std::all_of(words.begin(), words.end(), [&](const std::string &word) {
    return allowed.count(word) != 0;
  }) && t.text.find_first_of("0123456789") == std::string::npos;
}

// Without "so we get" or "answer:" in front of a formula, and without "is the answer" behind it.
void dropSentence(Tokens &tokens) {
  size_t lead = 0;
  while (lead < tokens.size() &&
         (consistsOf(tokens[lead], kLeading) ||
          (tokens[lead].kind == Token::Kind::op && kLeadingSigns.count(tokens[lead].text)) ||
          (lead > 0 && (isOp(tokens[lead], ",") || isOp(tokens[lead], ":")))))
    ++lead;
  static const std::set<std::string> begins = {"(", "[", "{", "\\{", "|", "-", "+", "±"};
  if (lead > 0 && lead < tokens.size() && !isProseToken(tokens[lead]) &&
      (tokens[lead].kind != Token::Kind::op || begins.count(tokens[lead].text)))
    tokens.erase(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(lead));
  // "Option B", and nothing behind it.
  if (tokens.size() == 2 && isWordToken(tokens[0]) && consistsOf(tokens[0], {"option", "choice"}) &&
      tokens[1].kind == Token::Kind::letter)
    tokens.erase(tokens.begin());
  size_t last = tokens.size();
  while (last > 1 && (consistsOf(tokens[last - 1], closingWords()) || tokens[last - 1].text == "a"))
    --last;
  if (last < tokens.size()) {
    const std::vector<std::string> words = wordsOf(tokens[last]);
    if (!words.empty() && (words[0] == "is" || words[0] == "are") &&
        !(tokens.size() == last + 1 && words.size() == 1))
      tokens.resize(last);
  }
}

// dy/dx and \frac{dy}{dx} are one symbol each: their d are no factor that goes.
void nameDerivatives(Tokens &tokens) {
  auto is = [&](size_t i, const char *op) { return i < tokens.size() && isOp(tokens[i], op); };
  auto differential = [&](size_t i) {
    return i < tokens.size() && tokens[i].kind == Token::Kind::word && tokens[i].text.size() == 2 &&
           tokens[i].text[0] == 'd';
  };
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool fraction = tokens[i].kind == Token::Kind::command && tokens[i].text == "frac" &&
                          is(i + 1, "{") && differential(i + 2) && is(i + 3, "}") &&
                          is(i + 4, "{") && differential(i + 5) && is(i + 6, "}");
    const bool quotient = differential(i) && is(i + 1, "/") && differential(i + 2);
    if (!fraction && !quotient)
      continue;
    const size_t above = fraction ? i + 2 : i, below = fraction ? i + 5 : i + 2;
    tokens[i].kind = Token::Kind::letter;
    tokens[i].text = tokens[above].text + "/" + tokens[below].text;
    const auto next = tokens.begin() + static_cast<std::ptrdiff_t>(i + 1);
    tokens.erase(next, next + (fraction ? 6 : 2));
  }
}

// k\pi, k \in \mathbb{Z} and k\pi \text{ for any integer } k are k\pi: a letter of the value that
// stands for all integers is what one thinks anyway.
void dropIntegerParameters(Tokens &tokens) {
  static const std::set<std::string> words = {
      "for", "where", "with", "and", "all",     "any",      "every", "some", "each",
      "is",  "are",   "a",    "an",  "integer", "integers", "being", "that", "integral"};
  // What it consists of, and where it may begin.
  size_t begin = tokens.size(), from = tokens.size();
  for (; from > 1; --from) {
    const Token &t = tokens[from - 1];
    const bool opens = consistsOf(t, words) || isOp(t, ",") || isOp(t, "(");
    if (!opens && !isOp(t, ")") && !isOp(t, "∈") && t.text != "\\mathbbZ" &&
        !(t.kind == Token::Kind::letter && t.text.size() == 1 && t.text[0] >= 'a'))
      break;
    if (opens)
      begin = from - 1;
  }
  // A bracket, words, letters, ∈ and Z or words again; the letters may come last.
  size_t at = begin;
  std::set<std::string> letters;
  bool integers = false;
  auto skipWords = [&] {
    for (; at < tokens.size() && consistsOf(tokens[at], words); ++at)
      integers |= hasOneOf(tokens[at], {"integer", "integers"});
  };
  while (at < tokens.size() && isOp(tokens[at], ","))
    ++at;
  const bool bracket = at < tokens.size() && isOp(tokens[at], "(");
  at += bracket;
  skipWords();
  while (at < tokens.size() && tokens[at].kind == Token::Kind::letter) {
    letters.insert(tokens[at++].text);
    skipWords();
    if (at + 1 < tokens.size() && isOp(tokens[at], ",") &&
        tokens[at + 1].kind == Token::Kind::letter)
      ++at;
  }
  if (at + 1 < tokens.size() && isOp(tokens[at], "∈") && tokens[at + 1].text == "\\mathbbZ") {
    integers = true;
    at += 2;
  }
  if (bracket && at < tokens.size() && isOp(tokens[at], ")"))
    ++at;
  auto inValue = [&](const std::string &letter) {
    return std::any_of(tokens.begin(), tokens.begin() + ptrdiff_t(begin), [&](const Token &t) {
      return (t.kind == Token::Kind::letter || t.kind == Token::Kind::word) &&
             t.text.find(letter) != std::string::npos;
    });
  };
  if (!letters.empty() && integers && at == tokens.size() &&
      std::all_of(letters.begin(), letters.end(), inValue))
    tokens.resize(begin);
}

// \begin{aligned} x &= 1 \\ y &= 2 \end{aligned}, and without columns, is written as cases are.
void alignedAsCases(Tokens &tokens) {
  static const std::set<std::string> aligned = {"aligned", "align", "gathered", "split"};
  bool within = false, cases = false;
  Tokens kept;
  for (size_t i = 0; i < tokens.size(); ++i) {
    Token &t = tokens[i];
    if (aligned.count(t.text) && i >= 2 && isOp(tokens[i - 1], "{") &&
        tokens[i - 2].kind == Token::Kind::command &&
        (tokens[i - 2].text == "begin" || tokens[i - 2].text == "end")) {
      within = tokens[i - 2].text == "begin";
      t.text = "cases";
    }
    // \left\{\begin{array}{l} x = 1 \\ y = 2 \end{array}\right.
    const bool array = t.text == "array" && i >= 2 && isOp(tokens[i - 1], "{");
    if (array && tokens[i - 2].text == "begin" && kept.size() > 2 &&
        isOp(kept[kept.size() - 3], "\\{") && i + 2 < tokens.size() && isOp(tokens[i + 2], "{")) {
      cases = within = true;
      kept.erase(kept.end() - 3);
      t.text = "cases";
      kept.push_back(t);
      kept.push_back(tokens[i + 1]);
      for (i += 2; i < tokens.size() && !isOp(tokens[i], "}");) // its columns
        ++i;
      continue;
    }
    if (array && cases && tokens[i - 2].text == "end") {
      cases = within = false;
      t.text = "cases";
    }
    if (!(within && isOp(t, "&")))
      kept.push_back(t);
  }
  tokens = std::move(kept);
}

// 1101 \text{ (base 2)} and 1101 base 2 are 1101_{2}.
void writeBases(Tokens &tokens) {
  auto isNumber = [&](size_t i) {
    return i < tokens.size() && tokens[i].kind == Token::Kind::number;
  };
  for (size_t i = 1; i < tokens.size(); ++i) {
    if (!isNumber(i - 1))
      continue;
    const bool bracket = isOp(tokens[i], "(");
    const size_t at = i + bracket;
    if (at >= tokens.size() || !isWordToken(tokens[at]))
      continue;
    const std::vector<std::string> words = wordsOf(tokens[at]);
    if (words.empty() || words[0] != "base" || words.size() > 2)
      continue;
    std::string base;
    for (const char c : tokens[at].text)
      if (c >= '0' && c <= '9')
        base += c;
    if (words.size() == 2)
      base = words[1];
    size_t end = at + 1;
    if (base.empty() && isNumber(end))
      base = tokens[end++].text;
    end += bracket && end < tokens.size() && isOp(tokens[end], ")");
    if (base.empty())
      continue;
    const auto first = tokens.begin() + static_cast<std::ptrdiff_t>(i);
    const bool named = base[0] > '9';
    const Tokens subscript = {{Token::Kind::op, "_"},
                              {Token::Kind::op, "{"},
                              {named ? Token::Kind::text : Token::Kind::number, base},
                              {Token::Kind::op, "}"}};
    tokens.erase(first, tokens.begin() + static_cast<std::ptrdiff_t>(end));
    tokens.insert(tokens.begin() + static_cast<std::ptrdiff_t>(i), subscript.begin(),
                  subscript.end());
  }
}

// A remark in brackets behind a value: (\approx 0.67), \text{ (since } x > 0).
void dropBrackets(Tokens &tokens) {
  static const std::set<std::string> reasons = {"since",         "because", "as",
                                                "approximately", "approx",  "about"};
  static const std::set<std::string> repeated = {"(double root)", "(repeated root)", "(repeated)"};
  if (tokens.size() > 1 && isText(tokens.back()) && repeated.count(trimmed(tokens.back().text)))
    tokens.pop_back();
  for (size_t i = 1; i + 1 < tokens.size(); ++i) {
    const bool opened = isOp(tokens[i], "("), text = isText(tokens[i]);
    const std::string words = trimmed(tokens[i].text);
    const bool remark =
        (opened && (isOp(tokens[i + 1], "≈") ||
                    (isWordToken(tokens[i + 1]) && consistsOf(tokens[i + 1], reasons)))) ||
        (text && words.size() > 1 && words[0] == '(' && words.back() != ')' &&
         consistsOf(tokens[i], reasons));
    if (!remark)
      continue;
    const Token &last = tokens.back();
    if (isOp(last, ")") || (isText(last) && trimmed(last.text) == ")"))
      tokens.resize(i);
    return;
  }
}

bool isOrdinal(const std::string &word) {
  return word == "st" || word == "nd" || word == "rd" || word == "th";
}

} // namespace

bool isProse(const std::string &word) {
  static const std::set<std::string> mathematical = {
      "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan", "asin",     "acos",
      "atan", "sqrt", "inf",  "infty",  "theta",  "alpha",  "infinity", "beta"};
  return !mathematical.count(word) && (word.size() > 3 || kLittleWords.count(word));
}

std::string plainText(const std::string &latex) {
  std::string out;
  bool spaces = false;
  auto isDigit = [](char c) { return c >= '0' && c <= '9'; };
  auto isPunctuation = [](char c) { return std::string(".,;:!?").find(c) != std::string::npos; };
  for (size_t i = 0; i < latex.size(); ++i) {
    if (latex[i] == '\\') { // a command's name is no text
      size_t end = i + 1;
      while (end < latex.size() && isLetter(latex[end]))
        ++end;
      std::string name = latex.substr(i + 1, end - i - 1);
      static const std::set<std::string> dropped = {
          "text",   "mbox",         "textbf", "textrm", "textit", "mathrm",     "mathbf",
          "mathit", "operatorname", "left",   "right",  "quad",   "textnormal", "rm"};
      if (!dropped.count(name))
        out += name;
      spaces |= name.empty();
      i = std::max(end, i + 2) - 1;
      continue;
    }
    unsigned char c = static_cast<unsigned char>(latex[i]);
    if (isBlank(latex[i]) || c == '~') {
      spaces = true;
      continue;
    }
    // Between digits both spaces and points matter: "1 2 foo" is neither "12 foo" nor "1.2 foo".
    if (isPunctuation(c) &&
        !(!out.empty() && isDigit(out.back()) && i + 1 < latex.size() && isDigit(latex[i + 1])))
      continue;
    if (c < 0x20 || std::string("{}$\"'`").find(latex[i]) != std::string::npos)
      continue;
    if (spaces && isDigit(latex[i]) && !out.empty() && isDigit(out.back()))
      out += ' ';
    spaces = false;
    out += latex[i];
  }
  if (out.size() > 2 && out.find_first_of("()", 1) == out.size() - 1 && out[0] == '(' &&
      out.back() == ')')
    out = out.substr(1, out.size() - 2); // (C) is the choice C
  if (out.size() == 2 && out[1] == ')')  // and so is C)
    out.pop_back();
  return out;
}

std::vector<std::string> namedThings(const std::string &text) {
  constexpr size_t longest = 200, wordsOfItem = 2;
  if (text.size() > longest || text.find_first_of("0123456789\\${}") != std::string::npos)
    return {};
  std::vector<std::string> words; // with the punctuation that follows them
  for (const char c : text + " ") {
    if (words.empty() || isBlank(c))
      words.resize(words.size() + (words.empty() || !words.back().empty()));
    if (!isBlank(c))
      words.back() += c;
  }
  while (!words.empty() && words.back().empty())
    words.pop_back();
  if (words.empty())
    return {};
  auto lower = [](std::string word) {
    for (char &c : word)
      c = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
    return word;
  };
  static const std::set<std::string> labels = {"option", "choice", "answer:", "option:", "choice:"};
  const std::string first = lower(words[0]);
  if (words.size() == 2 && labels.count(first)) {
    std::string letter;
    for (const char c : words[1])
      if (isLetter(c) || std::string("().:").find(c) == std::string::npos)
        letter += c;
    return letter.size() == 1 ? std::vector<std::string>{letter} : std::vector<std::string>();
  }
  if (words.size() == 2 && (words[0] == "a" || words[0] == "an" || first == "the") &&
      isProse(lower(words[1])))
    return {words[1]};
  std::vector<std::string> items(1);
  size_t inItem = 0;
  for (std::string word : words) {
    const bool comma = word.back() == ',';
    if (comma)
      word.pop_back();
    const bool joint = word == "and" || word == "&";
    if (word.empty() || (joint && comma) || kModifiers.count(lower(word)))
      return {};
    if (!joint) {
      items.back() += (items.back().empty() ? "" : " ") + word;
      if (++inItem > wordsOfItem)
        return {};
    }
    if ((comma || joint) && !items.back().empty()) {
      items.emplace_back();
      inItem = 0;
    }
  }
  if (items.back().empty() || items.size() < 2)
    return {};
  return items;
}

std::optional<std::string> timeOfDay(const std::string &latex) {
  constexpr size_t longest = 40;
  if (latex.size() > longest)
    return std::nullopt;
  std::string time;
  for (size_t i = 0; i < latex.size(); ++i) {
    if (latex.compare(i, 6, "\\text{") == 0)
      i += 5;
    else if (!isBlank(latex[i]) && std::string("\\,.{}$~!;").find(latex[i]) == std::string::npos)
      time += latex[i] >= 'A' && latex[i] <= 'Z' ? static_cast<char>(latex[i] + 32) : latex[i];
  }
  auto digitsUpTo = [&](size_t from, size_t to) {
    return from < to && to - from <= 2 &&
           std::all_of(
               time.begin() + static_cast<std::ptrdiff_t>(from),
               time.begin() + static_cast<std::ptrdiff_t>(to),
               [](char c) { return c >= '0' && c <= '9'; });
  };
  if (time.size() < 3)
    return std::nullopt;
  const size_t end = time.size() - 2, colon = time.find(':'), hour = std::min(colon, end);
  if ((time.compare(end, 2, "am") != 0 && time.compare(end, 2, "pm") != 0) ||
      !digitsUpTo(0, hour) || (hour < end && (!digitsUpTo(hour + 1, end) || end - hour != 3)))
    return std::nullopt;
  std::string text = time.substr(time[0] == '0' && hour == 2);
  if (hour == end)
    text.insert(text.size() - 2, ":00");
  return text;
}

Tokens withoutRemarks(Tokens tokens) {
  nameDerivatives(tokens);
  alignedAsCases(tokens);
  writeBases(tokens);
  dropBrackets(tokens);
  dropSentence(tokens);
  dropIntegerParameters(tokens);
  Tokens kept;
  std::vector<std::string> units(1); // of each item
  const bool inequalities = std::any_of(tokens.begin(), tokens.end(), [](const Token &t) {
    return isOp(t, "<") || isOp(t, ">") || isOp(t, "≤") || isOp(t, "≥");
  });
  auto isWord = [&](size_t i) { return i < tokens.size() && isWordToken(tokens[i]); };
  auto is = [&](size_t i, const char *op) { return i < tokens.size() && isOp(tokens[i], op); };
  auto isUnit = [&](size_t i) {
    return isWord(i) && (kUnits.count(tokens[i].text) ||
                         (isText(tokens[i]) && !hasModifier(tokens[i]) && !isOpposite(tokens[i])));
  };
  // m and s and the like, where a quotient of two is a unit.
  auto isUnitLetter = [&](size_t i) {
    static const std::string letters = "hsmgLlNJWVK";
    return i < tokens.size() && tokens[i].kind == Token::Kind::letter &&
           tokens[i].text.size() == 1 && letters.find(tokens[i].text[0]) != std::string::npos;
  };
  // "apples" or "years old" to the end, or to a comma: words that say what a number counts.
  auto isThings = [&](size_t i) {
    const size_t begin = i;
    for (; i < tokens.size() && !isOp(tokens[i], ","); ++i)
      if (tokens[i].kind != Token::Kind::word || hasModifier(tokens[i]) || isOpposite(tokens[i]) ||
          kMagnitudes.count(tokens[i].text) || tokens[i].text == "and" || tokens[i].text == "is" ||
          tokens[i].text == "are" || tokens[i].text == "percent")
        return false;
    return i > begin && isProseToken(tokens[begin]) && tokens[begin].text.size() > 3;
  };
  // Behind a unit stands no factor: "x over y" is no product.
  auto isFactor = [&](size_t i) {
    if (i >= tokens.size() || isText(tokens[i]))
      return false;
    return tokens[i].kind != Token::Kind::op
               ? !(isUnit(i) || isProseToken(tokens[i]) || tokens[i].text == "frac")
               : isOp(tokens[i], "(") || isOp(tokens[i], "[") || isOp(tokens[i], "\\{");
  };
  for (size_t i = 0; i < tokens.size(); ++i) {
    Token &t = tokens[i];
    bool afterValue = !kept.empty() && endsValue(kept.back());
    bool afterNumber = !kept.empty() && kept.back().kind == Token::Kind::number;
    if (afterNumber && isOp(t, "^")) { // 3^{rd}
      size_t word = i + 1 + is(i + 1, "{");
      if (isWord(word) && isOrdinal(tokens[word].text)) {
        i = word + (word > i + 1);
        continue;
      }
    }
    // \frac{\text{km}}{\text{h}}, \frac{\text{m}}{\text{s}^2}
    if (afterValue && t.kind == Token::Kind::command && t.text == "frac" && is(i + 1, "{") &&
        is(i + 3, "}") && is(i + 4, "{") && i + 6 < tokens.size() && isText(tokens[i + 2]) &&
        isText(tokens[i + 5])) {
      const size_t close = is(i + 6, "^") ? i + 8 : i + 6;
      if (is(close, "}")) {
        i = close;
        continue;
      }
    }
    // 20^\circ C
    if (!kept.empty() && isOp(kept.back(), "°") && (t.text == "C" || t.text == "F") &&
        (i + 1 == tokens.size() || is(i + 1, ",")))
      continue;
    // 9.8 m/s^2
    if (afterNumber && t.spaceBefore && isUnitLetter(i) && is(i + 1, "/") && isUnitLetter(i + 2)) {
      const size_t end = is(i + 3, "^") ? i + 5 : i + 3;
      if (end == tokens.size() || is(end, ",")) {
        units.back() += t.text + "/" + tokens[i + 2].text;
        i = end - 1;
        continue;
      }
    }
    if (afterNumber && t.text == "x" && i + 1 < tokens.size() && tokens[i + 1].text == "10" &&
        is(i + 2, "^")) {
      kept.push_back({Token::Kind::op, "*"}); // 6.72 x 10^5
      continue;
    }
    if (isWord(i)) {
      std::string word = trimmed(t.text);
      const bool both = word == "and" || word == ", and";
      if (both && inequalities) {
        kept.push_back({Token::Kind::op, "∧"});
        continue;
      }
      if (both || word == "or" || word == "," || word == ", or") {
        while (!kept.empty() && isOp(kept.back(), ","))
          kept.pop_back();
        if (!kept.empty())
          kept.push_back({Token::Kind::op, word != "," && !both ? "∨" : ","});
        units.emplace_back();
        continue;
      }
      // "x is 5"
      if (afterValue && (word == "is" || word == "equals") && i + 1 < tokens.size() &&
          !isWord(i + 1)) {
        kept.push_back({Token::Kind::op, "="});
        continue;
      }
      if (word == "%" || word == "\\%" || word == "percent" ||
          (afterNumber && (word == "percentage" || word == "pct"))) {
        kept.push_back({Token::Kind::op, "%"});
        continue;
      }
      if (afterNumber && isOrdinal(word))
        continue;
      // \text{The answer is } and \text{Answer: }
      if (kept.empty() && isText(t) && i + 1 < tokens.size() && !hasModifier(t) &&
          (word.back() == ':' || (word.size() > 3 && word.compare(word.size() - 3, 3, " is") == 0)))
        continue;
      auto magnitude = kMagnitudes.find(word.substr(0, word.find(' ')));
      if (afterValue && magnitude != kMagnitudes.end()) {
        kept.push_back({Token::Kind::op, "*"});
        kept.push_back({Token::Kind::number, magnitude->second});
        continue;
      }
      if (afterNumber && isThings(i)) {
        for (; i < tokens.size() && !isOp(tokens[i], ","); ++i)
          for (const std::string &part : wordsOf(tokens[i]))
            units.back() += part.substr(0, part.find_last_not_of('s') + 1);
        --i;
        continue;
      }
      if (afterValue && isUnit(i)) {
        size_t last = i;
        // cm^2, inches^3: the exponent belongs to the unit
        if (is(last + 1, "^")) {
          last += 2;
          if (is(last, "{"))
            while (last < tokens.size() && !isOp(tokens[last], "}"))
              ++last;
        } else if (last + 1 < tokens.size() && tokens[last + 1].kind == Token::Kind::number &&
                   !tokens[last + 1].spaceBefore &&
                   (tokens[last + 1].text == "2" || tokens[last + 1].text == "3"))
          ++last; // cm2
        while (is(last + 1, "/") && (isUnit(last + 2) || isUnitLetter(last + 2))) {
          last += 2;
          if (is(last + 1, "^") && last + 2 < tokens.size() && !is(last + 2, "{"))
            last += 2;
        }
        if (!isFactor(last + 1)) {
          for (const std::string &part : wordsOf(t)) // foot and feet, one inch and two inches
            units.back() +=
                part == "feet" ? "foot" : part.substr(0, part.find_last_not_of('s') + 1);
          i = last;
          continue;
        }
      }
    }
    if (isOp(t, ",") || isOp(t, ";"))
      units.emplace_back();
    kept.push_back(std::move(t));
  }
  // 5 feet and 3 inches are no list of 5 and 3.
  std::string unit;
  for (const std::string &each : units) {
    if (!each.empty() && !unit.empty() && each != unit)
      return {{Token::Kind::text, ""}, {Token::Kind::text, ""}};
    unit = each.empty() ? unit : each;
  }
  while (!kept.empty() &&
         (isOp(kept.back(), ",") || isOp(kept.back(), "∨") || isOp(kept.back(), ";") ||
          isOp(kept.back(), ":") || isOp(kept.back(), "\\\\")))
    kept.pop_back();
  tokens = std::move(kept);
  // "x ≈ 3.14" is an equation; in "22/7 ≈ 3.14" and "x = 22/7 ≈ 3.14" the value stands before the
  // sign.
  auto about =
      std::find_if(tokens.begin(), tokens.end(), [](const Token &t) { return isOp(t, "≈"); });
  if (about == tokens.end())
    return tokens;
  if (about == tokens.begin())
    tokens.erase(about);
  else if (isName(tokens, 0, static_cast<size_t>(about - tokens.begin())))
    about->text = "=";
  else
    tokens.erase(about, tokens.end());
  return tokens;
}

bool isUnit(const std::string &words) {
  static const std::set<std::string> more = {
      "m",          "s",           "g",          "h",          "l",         "n",
      "j",          "w",           "v",          "k",          "hz",        "kwh",
      "kw",         "mol",         "centimeter", "millimeter", "kilometer", "centimetres",
      "kilometres", "millimetres", "kilogram",   "total",      "liter",     "litre"};
  const Token token = {Token::Kind::text, words};
  const std::vector<std::string> all = wordsOf(token);
  const bool quotient = words.find('/') != std::string::npos; // m/s; 5 m may be a product
  auto known = [&](const std::string &word) {
    return kUnits.count(word) || (more.count(word) && (quotient || word.size() > 1));
  };
  const std::string signs = " /^23.abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  return !all.empty() && words[0] == ' ' && words.find_first_not_of(signs) == std::string::npos &&
         std::all_of(all.begin(), all.end(), known);
}

bool changesValue(const std::string &words) {
  const Token token = {Token::Kind::text, words};
  return hasModifier(token) || isOpposite(token);
}

const std::set<std::string> &closingWords() {
  static const std::set<std::string> words = {
      "is",       "are",   "the",       "our",      "a",       "answer", "answers",
      "solution", "final", "solutions", "required", "desired", "result", "correct"};
  return words;
}

} // namespace m1rt::vote
