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
    "millimeters", "kilograms", "tons",    "times",  "USD",     "EUR",        "GBP"};
const std::map<std::string, std::string> kMagnitudes = {
    {"hundred", "100"}, {"thousand", "1000"}, {"million", "1000000"}, {"billion", "1000000000"}};

// Little words that are no products of variables. (at, by, in, it, an may be.)
const std::set<std::string> kLittleWords = {
    "if",  "of",  "on",  "or",  "so",  "to",  "no",  "we",  "and", "any", "are",
    "but", "for", "has", "its", "not", "per", "the", "was", "all", "let", "get",
    "how", "out", "one", "two", "six", "ten", "nor", "now", "our", "can", "had",
    "may", "who", "via", "yes", "iff", "off", "odd", "nth", "is"};
// Words that change what the value beside them says: the value alone is not the answer.
const std::set<std::string> kModifiers = {
    "not",     "no",         "never",      "neither",     "nor",       "cannot",    "without",
    "except",  "unless",     "if",         "when",        "where",     "for",       "while",
    "until",   "or",         "more",       "less",        "fewer",     "greater",   "larger",
    "smaller", "than",       "least",      "most",        "over",      "under",     "above",
    "below",   "about",      "across",     "through",     "between",   "to",        "minus",
    "plus",    "choose",     "divided",    "squared",     "cubed",     "factorial", "reciprocal",
    "inverse", "opposite",   "negative",   "any",         "every",     "all",       "false",
    "wrong",   "incorrect",  "impossible", "either",      "some",      "root",      "log",
    "from",    "reflection", "rotation",   "translation", "excluding", "including", "instead",
    "rather",  "isn",        "doesn",      "don",         "won",       "aren",      "isnt",
    "unlike",  "undefined",  "defined",    "twice",       "symmetric"};
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
    "so",       "thus",      "hence",    "therefore", "then", "we",       "get",
    "have",     "find",      "obtain",   "that",      "the",  "answer",   "final",
    "solution", "solutions", "value",    "values",    "of",   "is",       "are",
    "line",     "equation",  "function", "result",    "our",  "required", "desired",
    "conclude", "finally",   "sum",      "total",     "usd",  "eur",      "gbp"};
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
bool hasModifier(const Token &t) { return hasOneOf(t, kModifiers) || t.text == "…"; }

// A word that is no product of variables and no function.
bool isProseToken(const Token &t) {
  return isText(t) || (t.kind == Token::Kind::word && isProse(t.text));
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
  bool within = false;
  Tokens kept;
  for (size_t i = 0; i < tokens.size(); ++i) {
    Token &t = tokens[i];
    if (aligned.count(t.text) && i >= 2 && isOp(tokens[i - 1], "{") &&
        tokens[i - 2].kind == Token::Kind::command &&
        (tokens[i - 2].text == "begin" || tokens[i - 2].text == "end")) {
      within = tokens[i - 2].text == "begin";
      t.text = "cases";
    }
    if (!(within && isOp(t, "&")))
      kept.push_back(t);
  }
  tokens = std::move(kept);
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

namespace {

// Small letters, Greek ones too, that stand beside one another outside brackets.
struct Products {
  size_t longest = 0; // of the terms of a sum
  bool sum = false, coordinates = false;
};
Products productsOf(const Tokens &tokens, size_t begin, size_t end) {
  Products all;
  size_t factors = 0;
  int depth = 0;
  auto add = [&](const std::string &name) {
    const bool greek = name[0] == '\\' && name != "\\angle" && name != "\\triangle";
    if (depth > 0 || !(greek || (name[0] >= 'a' && name[0] <= 'z')))
      return;
    all.longest = std::max(all.longest, ++factors);
    all.coordinates |= name == "x" || name == "y" || name == "z";
  };
  for (size_t i = begin; i < end; ++i) {
    const Token &t = tokens[i];
    if (isOp(t, "_")) {
      if (++i < end && isOp(tokens[i], "{"))
        while (i < end && !isOp(tokens[i], "}"))
          ++i;
    } else if (t.kind == Token::Kind::letter) {
      if (i + 1 < end && isOp(tokens[i + 1], "(")) // f(x)
        continue;
      add(t.text);
    } else if (t.kind == Token::Kind::word && !isProse(t.text) &&
               !(t.text.size() == 3 && t.text.find_first_of("aeiou") != std::string::npos)) {
      for (const char c : t.text) // but max, tax
        add(std::string(1, c));
    } else if (isOp(t, "(") || isOp(t, ")")) {
      depth += isOp(t, "(") ? 1 : -1;
    } else if (depth == 0 && (isOp(t, "+") || isOp(t, "-"))) {
      all.sum = true;
      factors = 0;
    }
  }
  return all;
}

} // namespace

bool isProduct(const Tokens &tokens, size_t begin, size_t end) {
  return productsOf(tokens, begin, end).longest > 1;
}

bool isName(const Tokens &tokens, size_t begin, size_t end) {
  const Products products = productsOf(tokens, begin, end);
  if (products.longest > 1 && (products.sum || products.coordinates))
    return false;
  bool letters = false;
  int depth = 0;
  bool arguments = false; // within brackets: of a function, which may have sums
  size_t first = begin;   // behind words
  for (; first < end && isProseToken(tokens[first]); ++first)
    if (hasModifier(tokens[first]))
      return false;
  const bool words = first > begin;
  if (words && first == end)
    return true;
  for (size_t i = first; i < end; ++i) {
    const Token &t = tokens[i];
    // Words name a quantity alone, or one of a figure.
    const bool small =
        (t.kind == Token::Kind::letter && t.text[0] != '\\') || t.kind == Token::Kind::word;
    if (isProseToken(t) || (words && small && std::any_of(t.text.begin(), t.text.end(), [](char c) {
                              return c < 'A' || c > 'Z';
                            })))
      return false;
    if (isOp(t, "_")) { // its subscript may be anything
      if (++i < end && isOp(tokens[i], "{"))
        while (i < end && !isOp(tokens[i], "}"))
          ++i;
    } else if (t.kind == Token::Kind::letter || t.kind == Token::Kind::word) {
      static const std::set<std::string> functions = {"sin", "cos", "tan", "cot", "sec",
                                                      "csc", "log", "ln",  "exp", "sqrt"};
      if (functions.count(t.text))
        return false;
      letters = true;
    } else if (t.kind == Token::Kind::command &&
               (t.text == "gcd" || t.text == "lcm" || t.text == "max" || t.text == "min")) {
      letters = true;
    } else if (t.kind == Token::Kind::command && t.text == "overline") {
      while (i < end && !isOp(tokens[i], "}"))
        ++i;
      letters = true;
    } else if (isOp(t, "(")) {
      // f(x + 1), P(2), (x, y); x(x + 1) and (x - 1)(x + 2) are products.
      static const std::string names = "fghFGHpqPQ";
      const bool ofLetter = i > begin && tokens[i - 1].kind == Token::Kind::letter;
      arguments = ofLetter && names.find(tokens[i - 1].text[0]) != std::string::npos;
      if (depth++ > 0 || (i == begin && !isOp(tokens[end - 1], ")")) ||
          (i > begin && isOp(tokens[i - 1], ")")))
        return false;
    } else if (isOp(t, ")")) {
      --depth;
    } else if (isOp(t, "+") || isOp(t, "-")) {
      if (i == begin || (depth > 0 && !arguments)) // -x is no name
        return false;
    } else if (depth == 0 || !(t.kind == Token::Kind::number || isOp(t, ","))) { // P(2)
      return false;
    }
  }
  bool constant = end - begin == 1 && (tokens[begin].text == "e" || tokens[begin].text == "i" ||
                                       tokens[begin].text == "\\pi");
  return letters && !constant;
}

Tokens withoutRemarks(Tokens tokens) {
  nameDerivatives(tokens);
  alignedAsCases(tokens);
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
    return isWord(i) &&
           (kUnits.count(tokens[i].text) ||
            (isText(tokens[i]) && !hasModifier(tokens[i]) && !hasOneOf(tokens[i], kOpposites)));
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
        if (!kept.empty() && !isOp(kept.back(), ","))
          kept.push_back({Token::Kind::op, ","});
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
      if (afterValue && isUnit(i)) {
        size_t last = i;
        // cm^2, inches^3: the exponent belongs to the unit
        if (is(last + 1, "^")) {
          last += 2;
          if (is(last, "{"))
            while (last < tokens.size() && !isOp(tokens[last], "}"))
              ++last;
        }
        while (is(last + 1, "/") && isUnit(last + 2))
          last += 2;
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
  while (!kept.empty() && (isOp(kept.back(), ",") || isOp(kept.back(), ";") ||
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
  return hasModifier(token) || hasOneOf(token, kOpposites);
}

const std::set<std::string> &closingWords() {
  static const std::set<std::string> words = {
      "is",       "are",   "the",       "our",      "a",       "answer", "answers",
      "solution", "final", "solutions", "required", "desired", "result", "correct"};
  return words;
}

} // namespace m1rt::vote
