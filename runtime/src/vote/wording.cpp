#include "vote/wording.h"

#include "vote/letters.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

namespace m1rt::vote {
namespace {

// Little words that are no products of variables. (at, by, in, it, an may be.)
const std::set<std::string> kLittleWords = {
    "if",  "of",  "on",  "or",  "so",  "to",  "no",  "we",  "and", "any", "are",
    "but", "for", "has", "its", "not", "per", "the", "was", "all", "let", "get",
    "how", "out", "one", "two", "six", "ten", "nor", "now", "our", "can", "had",
    "may", "who", "via", "yes", "iff", "off", "odd", "nth", "is"};
// Words that change what the value beside them says: the value alone is not the answer.
const std::set<std::string> kModifiers = {
    "not",       "no",        "never",     "neither",    "nor",       "cannot",
    "without",   "except",    "unless",    "if",         "when",      "where",
    "for",       "while",     "until",     "or",         "more",      "less",
    "fewer",     "greater",   "larger",    "smaller",    "than",      "least",
    "most",      "over",      "under",     "above",      "below",     "about",
    "across",    "through",   "between",   "to",         "minus",     "plus",
    "choose",    "divided",   "squared",   "cubed",      "factorial", "reciprocal",
    "inverse",   "opposite",  "negative",  "any",        "every",     "all",
    "false",     "wrong",     "incorrect", "impossible", "either",    "some",
    "root",      "log",       "from",      "reflection", "rotation",  "translation",
    "excluding", "including", "instead",   "rather",     "isn",       "doesn",
    "don",       "won",       "aren",      "isnt",       "unlike",    "undefined",
    "defined",   "twice",     "symmetric", "extraneous", "rejected",  "modulo",
    "base",      "remainder", "repeating", "recurring",  "thrice",    "perpendicular",
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
                                          "matrix",
                                          "grid",
                                          "board",
                                          "rectangle",
                                          "array",
                                          "score",
                                          "noon",
                                          "midnight",
                                          "tens",
                                          "hundreds",
                                          "thousands",
                                          "millions",
                                          "billions",
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
                                          "increase",
                                          "decrease",
                                          "faster",
                                          "slower",
                                          "higher",
                                          "lower",
                                          "above",
                                          "below",
                                          "ago",
                                          "later",
                                          "earlier",
                                          "before",
                                          "after"};
bool isBlank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

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

// The month of a name or its first letters: "sep" and "sept"; "" for other words.
std::string monthNamed(const std::string &word) {
  constexpr size_t shortest = 3;
  for (const char *month : {"january", "february", "march", "april", "may", "june", "july",
                            "august", "september", "october", "november", "december"})
    if (word.size() >= shortest && std::string(month).rfind(word, 0) == 0)
      return month;
  return {};
}

// "4July1776" and "July4th1776" as "july 4 1776"; nothing for what is no date with a month's name.
std::optional<std::string> namedDate(const std::string &plain) {
  std::string text; // without "the" and "on" in front of it
  for (const char c : plain)
    text += c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  for (const char *lead : {"on", "the"})
    if (text.rfind(lead, 0) == 0)
      text.erase(0, std::string(lead).size());
  std::string words[2], numbers[2]; // beside a number: the words before and behind it
  size_t at = 0;
  auto take = [&](bool digits) {
    const size_t begin = at;
    while (at < text.size() && (digits ? isDigit(text[at]) : isLetter(text[at])))
      ++at;
    return text.substr(begin, at - begin);
  };
  for (int k = 0; k < 2; ++k) {
    words[k] = take(false);
    at += k == 1 && at < text.size() && (text[at] == ' ' || text[at] == ',');
    numbers[k] = take(true);
  }
  if (at != text.size() || numbers[0].empty() || numbers[0].size() > 2)
    return std::nullopt;
  std::string &month = words[0].empty() ? words[1] : words[0], &behind = words[1];
  for (const char *ending : {"st", "nd", "rd", "th"}) // 4th July, July 4th
    if (behind.rfind(ending, 0) == 0)
      behind.erase(0, 2);
  if (behind.rfind("of", 0) == 0)
    behind.erase(0, 2);
  month = monthNamed(month);
  if (month.empty() || (&month != &behind && !behind.empty()) ||
      (!numbers[1].empty() && numbers[1].size() != 4))
    return std::nullopt;
  return month + " " + numbers[0] + " " + numbers[1];
}

} // namespace

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

bool isProseToken(const Token &t) {
  return isText(t) || (t.kind == Token::Kind::word && isProse(t.text));
}

bool isOpposite(const Token &t) {
  const std::vector<std::string> words = wordsOf(t);
  return hasOneOf(t, kOpposites) || std::any_of(words.begin(), words.end(), isShare);
}

bool consistsOf(const Token &t, const std::set<std::string> &allowed) {
  const std::vector<std::string> words = isWordToken(t) ? wordsOf(t) : std::vector<std::string>();
  return !words.empty() && std::all_of(words.begin(), words.end(), [&](const std::string &word) {
    return allowed.count(word) != 0;
  }) && t.text.find_first_of("0123456789") == std::string::npos;
}

bool isProse(const std::string &word) {
  static const std::set<std::string> mathematical = {
      "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan", "asin",     "acos", "atan",
      "sqrt", "cbrt", "inf",  "infty",  "theta",  "alpha",  "infinity", "beta"};
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
      out += usualName(name);
      if (latex.compare(i, 2, "\\%") == 0)
        out += '%';
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
    out = out.substr(1, out.size() - 2);  // (C) is the choice C
  if (out.size() == 2 && out[1] == ')') { // and so are C) and c)
    out.pop_back();
    if (out[0] >= 'a' && out[0] <= 'j')
      out[0] = static_cast<char>(out[0] - 'a' + 'A');
  }
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
  const bool sentence = words.size() > 1 && words[1][0] >= 'a' && words[1][0] <= 'z'; // A circle
  const bool article = words[0] == "a" || words[0] == "an" || first == "the" ||
                       (sentence && (words[0] == "A" || words[0] == "An"));
  if (article && words.size() == 2 && isProse(lower(words[1])))
    return {words[1]};
  if (article && words.size() == 3 && isProse(lower(words[1])) && isProse(lower(words[2])) &&
      !kModifiers.count(lower(words[1])) && isLetter(words[1].back())) // a right triangle
    return {words[1] + " " + words[2]};
  if (words.size() > 1 && words.back() == "only") // II only
    words.pop_back();
  if (words.size() > 1 && first == "only")
    words.erase(words.begin());
  if (words.size() == 1)
    return {words[0]};
  if (words.size() == 4 && first == "it" && words[1] == "is" && words[2] == "a")
    return {words[3]};
  if (first == "both" && words.size() > 3) // both A and B
    words.erase(words.begin());
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

bool isWeekday(const std::string &word) {
  static const std::set<std::string> days = {"monday", "tuesday",  "wednesday", "thursday",
                                             "friday", "saturday", "sunday"};
  return days.count(word) != 0;
}

bool isMonth(const std::string &word) { return !word.empty() && monthNamed(word) == word; }

std::optional<std::string> dateIn(const std::string &text) {
  constexpr size_t longest = 12, longestNamed = 40;
  if (text.size() < longestNamed)
    if (auto date = namedDate(plainText(text)))
      return date;
  if (text.size() > longest)
    return std::nullopt;
  std::string date, lengths; // lengths: of its numbers
  size_t digits = 0;
  for (const char c : text + " ")
    if (c == '$') {
      continue;
    } else if (isDigit(c)) {
      if (digits == 1 && date.back() == '0')
        date.pop_back();
      date += c;
      ++digits;
    } else {
      lengths += std::to_string(digits) + c;
      date += c;
      digits = 0;
    }
  date.pop_back();
  constexpr size_t yearDigits = 4;
  auto is = [&](size_t at, const char *known) {
    return lengths.size() == 6 && std::string(known).find(lengths[at]) != std::string::npos;
  };
  const bool year = is(0, "4") && is(1, "-") && is(2, "12") && is(3, "-") && is(4, "12");
  const bool american = is(0, "12") && is(1, "/") && is(2, "12") && is(3, "/") && is(4, "4");
  const size_t dash = year ? date.find('-', yearDigits + 1) : date.npos;
  if (dash != date.npos && text.back() != ' ') { // as February 29, 2024
    static const std::array<const char *, 13> months = {
        "",     "january", "february",  "march",   "april",    "may",     "june",
        "july", "august",  "september", "october", "november", "december"};
    const size_t month = std::stoul(date.substr(yearDigits + 1, dash - yearDigits - 1));
    if (month > 0 && month < months.size())
      return std::string(months[month]) + " " + date.substr(dash + 1) + " " +
             date.substr(0, yearDigits);
  }
  return (year || american) && text.back() != ' ' ? std::optional(date) : std::nullopt;
}

std::optional<std::string> remainderIn(const std::string &latex) {
  constexpr size_t longest = 60;
  if (latex.size() > longest)
    return std::nullopt;
  std::string parts[3]; // digits, letters, digits
  size_t part = 0;
  bool apart = false, ended = false; // something stands behind the first digits; behind the last
  for (size_t i = 0; i < latex.size(); ++i) {
    const char c = latex[i];
    const size_t name = latex.compare(i, 6, "\\text{") == 0     ? 6
                        : latex.compare(i, 8, "\\mathrm{") == 0 ? 8
                                                                : 0;
    if (name || isBlank(c) || std::string("$~}\\,").find(c) != std::string::npos) {
      apart |= part == 0 && !parts[0].empty();
      ended |= part == 2;
      i += name ? name - 1 : 0;
      continue;
    }
    if (!isDigit(c) && !isLetter(c))
      return std::nullopt;
    part += isDigit(c) == (part == 1);
    if (part > 2 || ended || (part == 0 && apart && isDigit(c))) // R 3, 4 is not R 34
      return std::nullopt;
    parts[part] += c;
  }
  const std::string word = parts[1] == "R" ? parts[1] : lowerCase(parts[1]);
  const bool known = word == "remainder" || word == "withremainder" || word == "witharemainderof" ||
                     ((word == "r" || word == "R") && apart) || word == "R";
  return known && !parts[2].empty() ? std::optional(parts[0] + "remainder" + parts[2])
                                    : std::nullopt;
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
  for (const char *twelve : {"", "12", "12:00"}) {
    if (time == twelve + std::string("noon"))
      return "12:00pm";
    if (time == twelve + std::string("midnight"))
      return "12:00am";
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
  if (time.size() == 5 && time[2] == ':' && digitsUpTo(0, 2) && digitsUpTo(3, 5) &&
      time[3] < '6') { // 15:45
    const int hour = std::stoi(time.substr(0, 2));
    if (hour > 12 && hour < 24)
      return std::to_string(hour - 12) + time.substr(2) + "pm";
  }
  const size_t end = time.size() - 2, colon = time.find(':'), hour = std::min(colon, end);
  if ((time.compare(end, 2, "am") != 0 && time.compare(end, 2, "pm") != 0) ||
      !digitsUpTo(0, hour) || (hour < end && (!digitsUpTo(hour + 1, end) || end - hour != 3)))
    return std::nullopt;
  std::string text = time.substr(time[0] == '0' && hour == 2);
  if (hour == end)
    text.insert(text.size() - 2, ":00");
  return text;
}

bool changesValue(const std::string &words) {
  const Token token = {Token::Kind::text, words};
  return hasModifier(token) || isOpposite(token);
}

const std::set<std::string> &closingWords() {
  static const std::set<std::string> words = {
      "is",       "are",    "the",       "our",      "a",       "answer", "answers",
      "solution", "final",  "solutions", "required", "desired", "result", "correct",
      "only",     "unique", "real",      "integer",  "valid"};
  return words;
}

} // namespace m1rt::vote
