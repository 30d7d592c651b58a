// What an answer says beside its value: sentences around it, reasons, units.
#include "vote/wording.h"

#include "vote/extraction.h"
#include "vote/number_words.h"
#include "vote/units.h"

#include <algorithm>
#include <map>
#include <set>

namespace m1rt::vote {
namespace {

const std::map<std::string, std::string> kMagnitudeDigits = {{"hundred", "100"},
                                                             {"thousand", "1000"},
                                                             {"million", "1000000"},
                                                             {"billion", "1000000000"},
                                                             {"trillion", "1000000000000"}};

// Words that lead to a value and say nothing of it.
const std::set<std::string> kLeading = {
    "so",      "thus",  "hence",    "therefore",     "then",     "we",
    "get",     "have",  "find",     "obtain",        "that",     "the",
    "answer",  "final", "solution", "solutions",     "value",    "values",
    "of",      "is",    "are",      "line",          "equation", "function",
    "result",  "our",   "required", "desired",       "conclude", "finally",
    "sum",     "total", "usd",      "eur",           "gbp",      "rs",
    "inr",     "cad",   "aud",      "approximately", "roughly",  "approx",
    "exactly", "only",  "vertex",   "center",        "centre",   "point",
    "about"};
// Signs that lead to a result, at its beginning.
const std::set<std::string> kLeadingSigns = {"=", "\\Rightarrow", "\\therefore", "\\rightarrow"};

// Whether a value may end with this token, so that a word after it says what it counts.
bool endsValue(const Token &t) {
  static const std::set<std::string> ops = {")", "]", "}", "\\}", "|", "%", "!", "°"};
  return !isText(t) && (t.kind != Token::Kind::op || ops.count(t.text));
}

// Without "so we get" or "answer:" in front of a formula, and without "is the answer" behind it.
void dropSentence(Tokens &tokens) {
  size_t lead = 0;
  auto isAbout = [&](size_t i) { // \sim 5; \sim p is "not p"
    return isOp(tokens[i], "\\sim") && i + 1 < tokens.size() &&
           tokens[i + 1].kind == Token::Kind::number;
  };
  while (lead < tokens.size() &&
         (consistsOf(tokens[lead], kLeading) || isAbout(lead) ||
          (tokens[lead].kind == Token::Kind::op && kLeadingSigns.count(tokens[lead].text)) ||
          (lead > 0 && (isOp(tokens[lead], ",") || isOp(tokens[lead], ":")))))
    ++lead;
  static const std::set<std::string> begins = {"(", "[", "{", "\\{", "|", "-", "+", "±"};
  if (lead > 0 && lead < tokens.size() && !isProseToken(tokens[lead]) &&
      (tokens[lead].kind != Token::Kind::op || begins.count(tokens[lead].text)))
    tokens.erase(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(lead));
  // both 2 and 3, either 2 or 3
  const bool both = !tokens.empty() && isWordToken(tokens[0]) && consistsOf(tokens[0], {"both"}),
             either =
                 !tokens.empty() && isWordToken(tokens[0]) && consistsOf(tokens[0], {"either"});
  if ((both || either) && std::any_of(tokens.begin() + 1, tokens.end(), [&](const Token &t) {
        return isWordToken(t) && trimmed(t.text) == (both ? "and" : "or");
      }))
    tokens.erase(tokens.begin());
  if (tokens.size() > 1 && isWordToken(tokens.back()) && consistsOf(tokens.back(), {"only"}))
    tokens.pop_back(); // II and III only
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

// dy/dx, d/dx, \frac{dy}{dx} and \frac{d^2y}{dx^2} are one symbol each: their d are no factor that
// goes.
void nameDerivatives(Tokens &tokens) {
  auto is = [&](size_t i, const char *op) { return i < tokens.size() && isOp(tokens[i], op); };
  auto isKind = [&](size_t i, Token::Kind kind) {
    return i < tokens.size() && tokens[i].kind == kind;
  };
  std::string name;
  auto take = [&](size_t from, size_t to) {
    for (; from < to; ++from)
      name += tokens[from].text;
    return to;
  };
  auto order = [&](size_t i) { // past ^2
    return is(i, "^") && isKind(i + 1, Token::Kind::number) ? take(i, i + 2) : i;
  };
  // Past dy; where it is `above`, also d, d^2 and d^2y.
  auto differential = [&](size_t i, bool above) {
    if (isKind(i, Token::Kind::word) && tokens[i].text.size() == 2 && tokens[i].text[0] == 'd')
      return above ? take(i, i + 1) : order(take(i, i + 1));
    if (!above || !isKind(i, Token::Kind::letter) || tokens[i].text != "d")
      return i;
    const size_t function = order(take(i, i + 1));
    return function > i + 1 && isKind(function, Token::Kind::letter) ? take(function, function + 1)
                                                                     : function;
  };
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool fraction =
        isKind(i, Token::Kind::command) && tokens[i].text == "frac" && is(i + 1, "{");
    name.clear();
    const size_t first = i + (fraction ? 2 : 0), above = differential(first, true);
    const bool divided = fraction ? is(above, "}") && is(above + 1, "{") : is(above, "/");
    if (above == first || !divided)
      continue;
    name += "/";
    const size_t second = above + (fraction ? 2 : 1), below = differential(second, false);
    if (below == second || (fraction && !is(below, "}")))
      continue;
    tokens[i] = {Token::Kind::letter, name, tokens[i].spaceBefore};
    const auto begin = tokens.begin();
    tokens.erase(begin + ptrdiff_t(i) + 1, begin + ptrdiff_t(below + fraction));
  }
}

// k\pi, k \in \mathbb{Z}, k\pi \text{ for any integer } k, cx \text{ for some constant } c and
// f(x) = 0 \text{ for all real } x without these conditions: a letter of the value that stands for
// all integers, for a constant or for the argument is what one thinks anyway.
void dropQuantifiers(Tokens &tokens) {
  static const std::set<std::string> words = {
      "for",    "where",   "with",      "and",      "all",      "any",  "every",
      "some",   "each",    "is",        "are",      "a",        "an",   "being",
      "that",   "integer", "integers",  "integral", "constant", "real", "reals",
      "number", "numbers", "constants", "arbitrary"};
  // What it consists of, and where it may begin.
  size_t begin = tokens.size(), from = tokens.size();
  for (; from > 1; --from) {
    const Token &t = tokens[from - 1];
    const bool opens = consistsOf(t, words) || isOp(t, ",") || isOp(t, "(");
    if (!opens && !isOp(t, ")") && !isOp(t, "∈") && t.text != "\\mathbbZ" &&
        t.text != "\\mathbbR" && !(t.kind == Token::Kind::letter && t.text.size() == 1))
      break;
    if (opens)
      begin = from - 1;
  }
  // A bracket, words, letters, ∈ and Z or words again; the letters may come last.
  size_t at = begin;
  std::set<std::string> letters;
  bool integers = false, constants = false, reals = false;
  auto skipWords = [&] {
    for (; at < tokens.size() && consistsOf(tokens[at], words); ++at) {
      integers |= hasOneOf(tokens[at], {"integer", "integers"});
      reals |= hasOneOf(tokens[at], {"real", "reals", "all", "any", "every"});
      constants |= hasOneOf(tokens[at], {"constant", "constants", "arbitrary"});
    }
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
  if (at + 1 < tokens.size() && isOp(tokens[at], "∈") && tokens[at + 1].text[0] == '\\') {
    (tokens[at + 1].text == "\\mathbbZ" ? integers : reals) = true;
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
  // n is an integer where nothing is said of it, x and c are none.
  const bool function = tokens.size() > 4 && tokens[0].kind == Token::Kind::letter &&
                        isOp(tokens[1], "(") && isOp(tokens[3], ")") && isOp(tokens[4], "=");
  auto isReal = [&](const std::string &letter) { // or the argument of f(n) = n + 1
    return std::string("xytcCabAB").find(letter) != std::string::npos ||
           (function && tokens[2].text == letter);
  };
  if (!letters.empty() && at == tokens.size() &&
      (integers || constants || (reals && std::all_of(letters.begin(), letters.end(), isReal))) &&
      std::all_of(letters.begin(), letters.end(), inValue))
    tokens.resize(begin);
}

// "all real numbers greater than or equal to 3" is x ≥ 3.
void writeComparison(Tokens &tokens) {
  static const std::map<std::vector<std::string>, const char *> known = {
      {{"greater", "than"}, ">"},
      {{"larger", "than"}, ">"},
      {{"more", "than"}, ">"},
      {{"less", "than"}, "<"},
      {{"smaller", "than"}, "<"},
      {{"greater", "than", "or", "equal", "to"}, "≥"},
      {{"less", "than", "or", "equal", "to"}, "≤"},
      {{"at", "least"}, "≥"},
      {{"at", "most"}, "≤"}};
  static const std::set<std::string> numbers = {"all",     "any",    "every", "real", "reals",
                                                "numbers", "number", "the",   "set",  "of",
                                                "x",       "that",   "are"};
  std::vector<std::string> words;
  size_t begin = 0;
  for (; begin < tokens.size() && (isWordToken(tokens[begin]) || tokens[begin].text == "x");
       ++begin)
    for (const std::string &word : wordsOf(tokens[begin]))
      words.push_back(word);
  const auto first = std::find_if(words.begin(), words.end(),
                                  [](const std::string &word) { return !numbers.count(word); });
  const auto sign = known.find({first, words.end()});
  const bool all = std::any_of(words.begin(), first, [](const std::string &word) {
    return word == "all" || word == "any" || word == "every" || word == "reals";
  });
  if (!all || sign == known.end() || begin == tokens.size() ||
      std::any_of(tokens.begin() + ptrdiff_t(begin), tokens.end(), isWordToken))
    return;
  tokens.erase(tokens.begin(), tokens.begin() + ptrdiff_t(begin));
  tokens.insert(tokens.begin(), {{Token::Kind::letter, "x"}, {Token::Kind::op, sign->second}});
}

// "all real numbers x except 2 and 3" is x ≠ 2, 3; "all x such that x > 2" is x > 2.
void writeExceptions(Tokens &tokens) {
  static const std::set<std::string> words = {
      "all",  "any",  "every", "real",   "reals", "number", "numbers",    "value",     "values",
      "of",   "the",  "set",   "except", "for",   "where",  "that",       "excluding", "other",
      "than", "such", "but",   "not",    "x",     "which",  "satisfying", "with"};
  bool all = false, except = false;
  size_t at = 0;
  for (; at < tokens.size(); ++at) {
    const Token &t = tokens[at];
    if (t.text == "\\mathbbR" || isOp(t, ",") || (t.text == "x" && at > 0)) {
      if (t.text == "x" && at + 1 < tokens.size() && tokens[at + 1].kind == Token::Kind::op)
        break; // x ≠ 2
      all |= t.text == "\\mathbbR";
      continue;
    }
    if (!consistsOf(t, words))
      break;
    all |= hasOneOf(t, {"all", "any", "every", "reals"});
    except |= hasOneOf(t, {"except", "excluding", "other", "but"});
  }
  if (!all || at >= tokens.size())
    return;
  const bool relation =
      std::any_of(tokens.begin() + ptrdiff_t(at), tokens.end(), [](const Token &t) {
        return isOp(t, "<") || isOp(t, ">") || isOp(t, "≤") || isOp(t, "≥") || isOp(t, "≠");
      });
  const Tokens rest(tokens.begin() + ptrdiff_t(at), tokens.end());
  const bool named = rest.size() > 2 && rest[0].text == "x" && rest[1].kind == Token::Kind::op;
  if (relation && !except && named)
    tokens = rest;
  if (!except || std::any_of(rest.begin(), rest.end(), [&](const Token &t) {
        return isWordToken(t) && !consistsOf(t, {"and", "or"});
      }))
    return;
  Tokens kept = {{Token::Kind::letter, "x"}, {Token::Kind::op, "≠"}};
  for (size_t i = 0; i < rest.size(); ++i)
    if (rest[i].text == "x" && i + 1 < rest.size() &&
        (isOp(rest[i + 1], "=") || isOp(rest[i + 1], "≠")))
      ++i;
    else if (isWordToken(rest[i]))
      kept.push_back({Token::Kind::op, ","});
    else if (!(isOp(rest[i], ",") && i + 1 < rest.size() && isWordToken(rest[i + 1])))
      kept.push_back(rest[i]);
  tokens = std::move(kept);
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

// A remark behind a value: (\approx 0.67), \text{ (since } x > 0), (five), \text{, since } x > 0.
void dropReasons(Tokens &tokens) {
  static const std::set<std::string> reasons = {"since",         "because", "as",
                                                "approximately", "approx",  "about"};
  static const std::set<std::string> repeated = {"(double root)", "(repeated root)", "(repeated)"};
  if (tokens.size() > 1 && isText(tokens.back()) && repeated.count(trimmed(tokens.back().text)))
    tokens.pop_back();
  if (tokens.size() == 4 && tokens[0].kind == Token::Kind::number && isOp(tokens[1], "(") &&
      isWordToken(tokens[2]) && isOp(tokens[3], ")") && numeralsForWords(tokens[2].text)) {
    tokens.resize(1); // 5 (five)
    return;
  }
  const auto reason = std::find_if(tokens.begin(), tokens.end(), [](const Token &t) {
    const std::vector<std::string> words = isWordToken(t) ? wordsOf(t) : std::vector<std::string>();
    return !words.empty() && (words[0] == "since" || words[0] == "because") &&
           trimmed(t.text)[0] != '(';
  });
  if (reason != tokens.begin() && reason != tokens.end()) {
    tokens.erase(reason, tokens.end()); // a comma in front of it goes with those at the end
    return;
  }
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

namespace {

// The units behind the values of an answer.
class Units {
public:
  explicit Units(const Tokens &tokens) : tokens(tokens) {}

  // Past the unit that begins here, behind a value or a number; `i` where none does.
  size_t end(size_t i, bool afterNumber) const {
    if (const size_t last = measureEnd(i, afterNumber); last > i)
      return last;
    if (afterNumber && is(i, "/") && isWord(i + 1) && isMeasure(tokens[i + 1].text))
      return wordEnd(i + 1); // 5/\text{hour}
    if (afterNumber && isThings(i))
      return itemEnd(i, tokens.size());
    return isUnit(i) ? wordEnd(i) : i;
  }
  // As isMeasure() reads it.
  std::string textOf(size_t begin, size_t end) const;

private:
  bool is(size_t i, const char *op) const { return i < tokens.size() && isOp(tokens[i], op); }
  bool isWord(size_t i) const { return i < tokens.size() && isWordToken(tokens[i]); }
  bool isUnit(size_t i) const {
    if (i > 0 && isOp(tokens[i - 1], "°") && isWord(i) && trimmed(tokens[i].text).size() == 1)
      return false; // 30° N
    return isWord(i) &&
           (isUnitWord(tokens[i].text) ||
            (isText(tokens[i]) && tokens[i].text[0] != '\xE2' && !hasOneOf(tokens[i], {"by"}) &&
             !hasModifier(tokens[i]) && !isOpposite(tokens[i])));
  }
  // Looks no further than past `most` tokens.
  size_t itemEnd(size_t i, size_t most) const {
    const size_t last = i + std::min(most + 1, tokens.size() - i);
    while (i < last && !isOp(tokens[i], ",") && !isOp(tokens[i], ";"))
      ++i;
    return i;
  }
  size_t measureEnd(size_t i, bool afterNumber) const;
  bool isLetterOfUnit(size_t i) const;
  bool isThings(size_t i) const;
  size_t wordEnd(size_t i) const;
  bool isFactor(size_t i) const;

  const Tokens &tokens;
};

std::string Units::textOf(size_t begin, size_t end) const {
  std::string text;
  for (size_t i = begin; i < end; ++i) {
    const Token &t = tokens[i];
    const bool quotient = i > begin && isOp(t, "{") && isOp(tokens[i - 1], "}");
    if (isWordToken(t) || t.kind == Token::Kind::letter)
      text += " " + (t.text == "\\Omega" ? "Ω" : t.text == "\\mu" ? "µ" : t.text);
    else if (quotient) // \frac{\text{km}}{\text{h}}
      text += " /";
    else if (t.kind == Token::Kind::op || t.kind == Token::Kind::number)
      text += t.text;
  }
  for (size_t micro; (micro = text.find("µ ")) != std::string::npos;)
    text.erase(micro + 2, 1);
  return text;
}

// The letter behind a blank in "40 N", "-8 h" and "3 \mu m", where nothing else stands in the
// answer: a unit. "5 m" may as well be a product.
bool Units::isLetterOfUnit(size_t i) const {
  static const std::set<std::string> letters = {"N", "J", "W", "V", "K",
                                                "L", "h", "s", "g", "\\ell"},
                                     ofMicro = {"m", "s", "g", "F", "A", "V"};
  const size_t number = !tokens.empty() && (isOp(tokens[0], "-") || isOp(tokens[0], "+"));
  if (i != number + 1 || !tokens[i].spaceBefore || tokens[i].kind != Token::Kind::letter)
    return false;
  if (tokens[i].text == "\\mu")
    return tokens.size() == i + 2 && ofMicro.count(tokens[i + 1].text) != 0;
  return tokens.size() == i + 1 && letters.count(tokens[i].text) != 0;
}

// What measures something, to the end of its item: km/h, m s^{-2}, N·m, °C. Letters alone are a
// unit in a quotient, as they may be factors.
size_t Units::measureEnd(size_t i, bool afterNumber) const {
  constexpr size_t longest = 24;
  const bool begins = i < tokens.size() && tokens[i].kind != Token::Kind::op &&
                      tokens[i].kind != Token::Kind::number;
  const size_t end = begins ? itemEnd(i, longest) : i;
  if (!begins || end - i > longest)
    return i;
  bool upright = false, quotient = false;
  for (size_t k = i; k < end; ++k) {
    const Token &t = tokens[k];
    if (t.kind == Token::Kind::number && t.spaceBefore) // 5 feet 3 inches
      return i;
    static const std::set<std::string> signs = {"/", "*", "^", "{", "}", "-"};
    if (t.kind == Token::Kind::op && !signs.count(t.text))
      return i;
    upright |= isText(t) || t.kind == Token::Kind::word || t.text == "\\Omega";
    quotient |= isOp(t, "/");
  }
  const bool letters = quotient && afterNumber && tokens[i].spaceBefore;
  const bool degrees = i > 0 && isOp(tokens[i - 1], "°");
  const std::string unit = textOf(i, end);
  if (afterNumber && isLetterOfUnit(i) && end == tokens.size())
    return end;
  return (upright || letters || degrees) && isMeasure((degrees ? "°" : "") + unit) ? end : i;
}

// "apples" or "years old" to the end, or to a comma: words that say what a number counts.
bool Units::isThings(size_t i) const {
  const size_t begin = i;
  for (; i < tokens.size() && !isOp(tokens[i], ","); ++i)
    if (tokens[i].kind != Token::Kind::word || hasModifier(tokens[i]) || isOpposite(tokens[i]) ||
        kMagnitudeDigits.count(tokens[i].text) || tokens[i].text == "and" ||
        tokens[i].text == "is" || tokens[i].text == "are" || tokens[i].text == "percent")
      return false;
  return i > begin && isProseToken(tokens[begin]) && tokens[begin].text.size() > 3;
}

// Behind a unit stands no factor: "x over y" is no product.
bool Units::isFactor(size_t i) const {
  if (i >= tokens.size() || isText(tokens[i]))
    return false;
  return tokens[i].kind != Token::Kind::op
             ? !(isUnit(i) || isProseToken(tokens[i]) || tokens[i].text == "frac")
             : isOp(tokens[i], "(") || isOp(tokens[i], "[") || isOp(tokens[i], "\\{");
}

size_t Units::wordEnd(size_t i) const {
  // m and s and the like, where a quotient of two is a unit.
  auto isUnitLetter = [&](size_t k) {
    return k < tokens.size() && tokens[k].kind == Token::Kind::letter &&
           std::string("hsmgLlNJWVK").find(tokens[k].text) != std::string::npos;
  };
  size_t last = i;
  // cm^2, inches^3: the exponent belongs to the unit
  if (is(last + 1, "^")) {
    last += 2;
    if (is(last, "{"))
      while (last < tokens.size() && !isOp(tokens[last], "}"))
        ++last;
  } else if (last + 1 < tokens.size() && tokens[last + 1].kind == Token::Kind::number &&
             !tokens[last + 1].spaceBefore && tokens[last].text.back() != ' ' &&
             isMeasure(tokens[last].text) &&
             (tokens[last + 1].text == "2" || tokens[last + 1].text == "3"))
    ++last; // cm2
  while (is(last + 1, "/") && (isUnit(last + 2) || isUnitLetter(last + 2))) {
    last += 2;
    if (is(last + 1, "^") && last + 2 < tokens.size() && !is(last + 2, "{"))
      last += 2;
  }
  return isFactor(last + 1) ? i : std::min(last + 1, tokens.size());
}

// Whether items have units that differ: 5 feet and 3 inches are no list of 5 and 3.
bool differ(const std::vector<std::string> &units) {
  std::string first;
  for (const std::string &unit : units) {
    if (first.empty())
      first = unit;
    if (!unit.empty() && !isSameUnit(first, unit))
      return true;
  }
  return false;
}

} // namespace

Tokens withoutRemarks(Tokens tokens) {
  nameDerivatives(tokens);
  alignedAsCases(tokens);
  writeBases(tokens);
  dropReasons(tokens);
  dropSentence(tokens);
  dropQuantifiers(tokens);
  writeExceptions(tokens);
  writeComparison(tokens);
  const Units unitsBehind(tokens);
  Tokens kept;
  std::vector<std::string> units(1); // of each item
  const bool inequalities = std::any_of(tokens.begin(), tokens.end(), [](const Token &t) {
    return isOp(t, "<") || isOp(t, ">") || isOp(t, "≤") || isOp(t, "≥");
  });
  auto isWord = [&](size_t i) { return i < tokens.size() && isWordToken(tokens[i]); };
  auto is = [&](size_t i, const char *op) { return i < tokens.size() && isOp(tokens[i], op); };
  for (size_t i = 0; i < tokens.size(); ++i) {
    const Token &t = tokens[i];
    const bool afterValue = !kept.empty() && endsValue(kept.back());
    const bool afterNumber = !kept.empty() && kept.back().kind == Token::Kind::number;
    if (afterNumber && isOp(t, "^")) { // 3^{rd}
      size_t word = i + 1 + is(i + 1, "{");
      if (isWord(word) && isOrdinal(tokens[word].text)) {
        i = word + (word > i + 1);
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
      if (afterNumber && isOrdinal(word) && !isWord(i + 1)) // but "21st century"
        continue;
      // \text{The answer is } and \text{Answer: }
      if (kept.empty() && isText(t) && i + 1 < tokens.size() && !hasModifier(t) &&
          (word.back() == ':' || (word.size() > 3 && word.compare(word.size() - 3, 3, " is") == 0)))
        continue;
      auto magnitude = kMagnitudeDigits.find(word.substr(0, word.find(' ')));
      if (afterValue && magnitude != kMagnitudeDigits.end()) {
        kept.push_back({Token::Kind::op, "*"});
        kept.push_back({Token::Kind::number, magnitude->second});
        continue;
      }
    }
    if (afterValue) {
      // \frac{1}{2} apples
      const bool fraction = isWord(i) && isOp(kept.back(), "}") &&
                            std::none_of(kept.begin(), kept.end(), [](const Token &k) {
                              return k.kind == Token::Kind::letter || isWordToken(k);
                            });
      const size_t end = unitsBehind.end(i, afterNumber || fraction);
      if (end > i) {
        units.back() += (isOp(kept.back(), "°") ? "°" : "") + unitsBehind.textOf(i, end);
        i = end - 1;
        continue;
      }
    }
    if (isOp(t, ",") || isOp(t, ";"))
      units.emplace_back();
    kept.push_back(t);
  }
  if (differ(units))
    return {{Token::Kind::text, ""}, {Token::Kind::text, ""}};
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

} // namespace m1rt::vote
