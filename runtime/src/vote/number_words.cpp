#include "vote/number_words.h"

#include "vote/letters.h"
#include "vote/units.h"
#include "vote/wording.h"

#include <algorithm>
#include <array>
#include <map>
#include <vector>

namespace m1rt::vote {
namespace {

const std::map<std::string, int64_t> kSmall = {
    {"zero", 0},     {"one", 1},      {"two", 2},        {"three", 3},     {"four", 4},
    {"five", 5},     {"six", 6},      {"seven", 7},      {"eight", 8},     {"nine", 9},
    {"ten", 10},     {"eleven", 11},  {"twelve", 12},    {"thirteen", 13}, {"fourteen", 14},
    {"fifteen", 15}, {"sixteen", 16}, {"seventeen", 17}, {"eighteen", 18}, {"nineteen", 19},
    {"twenty", 20},  {"thirty", 30},  {"forty", 40},     {"fourty", 40},   {"fifty", 50},
    {"sixty", 60},   {"seventy", 70}, {"eighty", 80},    {"ninety", 90}};
const std::map<std::string, int64_t> kMagnitudes = {
    {"thousand", 1000}, {"million", 1000000}, {"billion", 1000000000}, {"trillion", 1000000000000}};
const std::map<std::string, int64_t> kParts = {
    {"half", 2},     {"third", 3},      {"quarter", 4},     {"fourth", 4},       {"fifth", 5},
    {"sixth", 6},    {"seventh", 7},    {"eighth", 8},      {"ninth", 9},        {"tenth", 10},
    {"twelfth", 12}, {"twentieth", 20}, {"hundredth", 100}, {"thousandth", 1000}};

// Words and numbers, in lower case; none where there is anything else.
std::vector<std::string> wordsIn(const std::string &latex) {
  std::vector<std::string> words;
  for (size_t i = 0; i < latex.size();) {
    const size_t begin = i;
    if (latex.compare(i, 6, "\\text{") == 0) {
      i += 6;
    } else if (isLetter(latex[i])) {
      while (i < latex.size() && isLetter(latex[i]))
        ++i;
      std::string word = latex.substr(begin, i - begin);
      for (char &c : word)
        c = static_cast<char>(c | 0x20);
      words.push_back(word);
    } else if (isDigit(latex[i])) {
      while (i < latex.size() && isDigit(latex[i]))
        ++i;
      words.push_back(latex.substr(begin, i - begin));
    } else if (std::string(" {}$~-.\\,").find(latex[i]) != std::string::npos) {
      // a point between digits is a decimal one, a comma may be anything
      if (i > 0 && isDigit(latex[i - 1]) && latex[i] != ' ' && latex[i] != '}')
        return {};
      ++i;
    } else {
      return {};
    }
  }
  return words;
}

class Numerals {
public:
  explicit Numerals(std::vector<std::string> words) : words(std::move(words)) {}

  std::optional<std::string> run() {
    if (words.size() > 1 && (is("minus") || is("negative"))) {
      words.erase(words.begin());
      spelled = true;
      auto value = run();
      return value && words[0] != "minus" && words[0] != "negative" ? std::optional("-" + *value)
                                                                    : std::nullopt;
    }
    std::string value;
    if (is("half") || (is("a") && is("half", 1)) || (is("a") && is("quarter", 1)) ||
        (is("a") && partAt(1, 1))) {
      at += is("a");
      spelled = true;
      above = 1;
      below = partAt(0, 1);
      ++at;
      at += is("of") && is("a", 1) ? 2 : (is("a") || is("an")) && at + 1 < words.size();
    } else if ((is("a") || is("an")) && (is("hundred", 1) || is("dozen", 1) || magnitudeAt(1))) {
      words[at] = "one";
      if (!cardinal())
        return std::nullopt;
    } else if (!cardinal()) {
      return std::nullopt;
    } else if (const int64_t part = partAt(0, above);
               part && (spelled || (part != 2 && part != 4))) { // two thirds; 3 quarters are coins
      below = part;
      ++at;
    } else if (const int64_t count = is("and") ? (is("a", 1) ? 1 : find(kSmall, 1, false)) : 0;
               count && partAt(2, count)) { // three and three quarters
      below = partAt(2, count);
      above = above * below + count;
      at += 3;
    } else if (is("in") || (is("out") && is("of", 1))) {
      return second(is("in") ? 1 : 2, "\\frac{", "}{", "}");
    } else if (is("to")) {
      return second(1, "", ":", "");
    }
    if (is("dozen")) {
      above *= 12;
      ++at;
    }
    value = below == 1 ? std::to_string(above)
                       : "\\frac{" + std::to_string(above) + "}{" + std::to_string(below) + "}";
    if (at == words.size())
      return spelled || at > 1 ? std::optional(value) : std::nullopt;
    // a unit, or what is counted, behind a number that is more than digits
    if (at == 1 && !spelled)
      return std::nullopt;
    std::string unit;
    for (; at < words.size(); ++at)
      unit += " " + words[at];
    const bool things = unit.find(' ', 1) == std::string::npos && unit.size() > 4 &&
                        unit.back() == 's' && !isOpposite({Token::Kind::text, unit}) &&
                        !hasModifier({Token::Kind::text, unit});
    return isUnit(unit) || things || unit == " percent"
               ? std::optional(value + "\\text{" + unit + "}")
               : std::nullopt;
  }

private:
  bool is(const char *word, size_t ahead = 0) const {
    return at + ahead < words.size() && words[at + ahead] == word;
  }
  int64_t find(const std::map<std::string, int64_t> &among, size_t ahead, bool plural) const {
    if (at + ahead >= words.size())
      return 0;
    std::string word = words[at + ahead];
    if (word == "halves")
      word = "half";
    else if (plural && word.size() > 3 && word.back() == 's')
      word.pop_back();
    const auto it = among.find(word);
    return it == among.end() ? 0 : it->second;
  }
  // How many parts make a whole.
  int64_t partAt(size_t ahead, int64_t count) const { return find(kParts, ahead, count != 1); }
  int64_t magnitudeAt(size_t ahead) const { return find(kMagnitudes, ahead, true); }

  // two hundred and five thousand, 3 hundreds; digits are read as they are.
  bool cardinal() {
    const size_t begin = at;
    int64_t total = 0, current = 0, smallest = INT64_MAX;
    for (; at < words.size(); ++at) {
      const std::string &word = words[at];
      const auto small = kSmall.find(word);
      if (isDigit(word[0])) {
        if (at > begin || word.size() > 9)
          break;
        current = std::stoll(word);
      } else if (small != kSmall.end()) {
        const bool follows =
            at == begin ||
            (small->second < 10 && small->second > 0 && current % 100 >= 20 && current % 10 == 0) ||
            (current % 100 == 0 && small->second > 0 && !isDigit(words[begin][0]));
        if (!follows)
          return false;
        current += small->second;
        spelled = true;
      } else if (word == "hundred" || word == "hundreds" || word == "tens") {
        if (at == begin || current == 0 || current > 99)
          return false;
        current *= word == "tens" ? 10 : 100;
        more = true;
      } else if (const int64_t size = magnitudeAt(0)) {
        if (at == begin || current == 0 || current > 999999 || size >= smallest)
          return false;
        total += current * size;
        smallest = size;
        current = 0;
        more = true;
      } else if (word == "and" && more && at + 1 < words.size() && kSmall.count(words[at + 1])) {
      } else {
        break;
      }
    }
    above = total + current;
    return at > begin;
  }

  // What stands behind "in" or "to" ends the answer.
  std::optional<std::string> second(size_t skip, const char *open, const char *between,
                                    const char *close) {
    const int64_t first = above;
    at += skip;
    if (!cardinal() || at != words.size())
      return std::nullopt;
    return open + std::to_string(first) + between + std::to_string(above) + close;
  }

  std::vector<std::string> words;
  size_t at = 0;
  int64_t above = 0, below = 1;
  bool spelled = false, more = false; // a word was a number; a magnitude was read
};

} // namespace

std::optional<std::string> numeralsForWords(const std::string &latex) {
  constexpr size_t longest = 100;
  if (latex.size() > longest)
    return std::nullopt;
  std::vector<std::string> words = wordsIn(latex);
  if (words.empty() || words.size() > 12)
    return std::nullopt;
  return Numerals(std::move(words)).run();
}

int baseOf(const std::string &subscript) {
  static const std::map<std::string, int> names = {
      {"two", 2},   {"three", 3}, {"four", 4}, {"five", 5},    {"six", 6},     {"seven", 7},
      {"eight", 8}, {"nine", 9},  {"ten", 10}, {"eleven", 11}, {"twelve", 12}, {"sixteen", 16}};
  std::string base;
  for (char c : subscript)
    if (c != ' ' && c != '(' && c != ')')
      base += c;
  if (base.compare(0, 4, "base") == 0)
    base.erase(0, 4);
  auto named = names.find(base);
  if (named != names.end())
    return named->second;
  bool digits = !base.empty() && base.size() <= 2 &&
                base.find_first_not_of("0123456789") == std::string::npos;
  return digits ? std::stoi(base) : 0;
}

} // namespace m1rt::vote
