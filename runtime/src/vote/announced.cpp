#include "vote/announced.h"

#include "vote/cleaning.h"
#include "vote/extraction.h"
#include "vote/letters.h"
#include "vote/markers.h"
#include "vote/prose.h"
#include "vote/spoken.h"
#include "vote/statements.h"
#include "vote/units.h"
#include "vote/wording.h"

#include <algorithm>
#include <set>
#include <string_view>

namespace m1rt {
namespace {

// What stands behind a marker. `says` becomes false where that is only a comment.
std::optional<std::string> markedAnswer(const std::string &text, size_t begin, bool &says) {
  if (text.find('}', begin) < text.find('{', begin)) { // in \text{…}
    begin = text.find_first_not_of(' ', begin);
    static const std::set<std::string> leading = {"the", "final", "so",    "our",       "answer",
                                                  "is",  "thus",  "hence", "therefore", "correct"};
    const size_t open = text.rfind('{', begin),
                 name = open == std::string::npos ? open : text.rfind('\\', open);
    const bool upright = name != std::string::npos &&
                         std::string_view(text).substr(name, 5) == "\\text" && open - name < 9;
    const std::vector<std::string> words =
        wordsOf(std::string_view(text).substr(0, begin).substr(upright ? open + 1 : begin));
    if (text[begin] != '}' || words.empty() ||
        !std::all_of(words.begin(), words.end(),
                     [](const std::string &word) { return leading.count(word) != 0; }))
      return std::nullopt;
    ++begin; // \text{Answer: } 12
  }
  std::string_view all = withoutFillers(std::string_view(text).substr(begin));
  if (const size_t line = text.find_first_not_of(" \t*:", begin);
      line != std::string::npos && text[line] == '\n') {
    if (all.substr(0, 3) == "1. " && all.find("\n2. ") != all.npos) { // items that are several
      says = false;
      return std::nullopt;
    }
    if (all.substr(0, 2) == "- " || all.substr(0, 2) == "> ")
      all.remove_prefix(2); // an item of a list
  }
  if (all.compare(0, 2, "| ") == 0) // the next cell of a table
    all = withoutFillers(all.substr(2));
  bool described = false;
  if (auto value = valueOfDescription(bare(firstSentence(all)), described); described) {
    says = value.has_value();
    return value;
  }
  std::string_view sentence = withoutReason(firstSentence(all));
  if (sentence.size() > 2 && sentence.substr(sentence.size() - 2) == " |")
    sentence.remove_suffix(2);
  const size_t lead = begin ? text.find_last_not_of(" *_", begin - 1) : text.npos;
  const bool label = lead != text.npos && text[lead] == ':'; // "Answer: 8!" is a factorial
  return cleanedAnswer(bare(label ? sentence : withoutExclamation(sentence)), says);
}

// The value of "answer" in a JSON object that ends a text: {"answer": "\\frac{1}{2}"}.
std::optional<std::string> jsonAnswer(const std::string &text) {
  const size_t close = text.find_last_of('}');
  if (close == std::string::npos ||
      text.find_first_not_of(" \t\r\n`", close + 1) != std::string::npos)
    return std::nullopt;
  for (const std::string_view key :
       {"\"answer\"", "\"final_answer\"", "\"finalAnswer\"", "\"result\""}) {
    size_t at = text.rfind(key);
    at = at == std::string::npos ? at : text.find_first_not_of(" \t\r\n", at + key.size());
    if (at == std::string::npos || text[at] != ':')
      continue;
    at = text.find_first_not_of(" \t\r\n", at + 1);
    if (text[at] == '[' && text.find(']', at) != std::string::npos)
      return text.substr(at, text.find(']', at) + 1 - at);
    if (text[at] != '"') {
      const std::string value = trimmed(text.substr(at, text.find_first_of(",}\n", at) - at));
      return value == "null" ? std::string() : value;
    }
    std::string value;
    for (++at; at < close && text[at] != '"'; ++at)
      if (text[at] != '\\' || (text[at + 1] != '\\' && text[at + 1] != '"'))
        value += text[at];
      else
        value += text[++at];
    return trimmed(value);
  }
  return std::nullopt;
}

// The value in a last line that says "Result: 50" or "**Solution:** x = 50".
std::optional<std::string> labelledAnswer(const std::string &text) {
  static const std::set<std::string> nouns = {"result", "solution",  "conclusion", "value",
                                              "total",  "final",     "output",     "hence",
                                              "thus",   "therefore", "so"};
  const size_t end = text.find_last_not_of(" \t\r\n");
  if (end == std::string::npos)
    return std::nullopt;
  const size_t before = text.rfind('\n', end);
  size_t begin = before == std::string::npos ? 0 : before + 1;
  if (const std::string_view all = std::string_view(text).substr(begin, end + 1 - begin),
      last = lastSentence(all);
      last.find(':') < last.find('=')) // of a line of several sentences the last may have a label
    begin += all.size() - last.size();
  const std::string line = text.substr(begin, end + 1 - begin);
  const size_t colon = line.find(':');
  if (const size_t sign = line.find('='); sign != std::string::npos && colon == std::string::npos) {
    // Total = 3 + 4 = 7: words that name a quantity
    const std::string name = line.substr(0, sign);
    const std::vector<std::string> words = wordsOf(name);
    const bool named =
        !words.empty() && words.size() < 5 &&
        name.find_first_not_of(" *-ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwx"
                               "yz") == std::string::npos &&
        std::all_of(
            words.begin(), words.end(),
            [](const std::string &word) { return vote::isProse(word); });
    const std::string value = bare(line.substr(line.rfind('=') + 1));
    const size_t above = begin > 1 ? text.rfind('\n', begin - 2) + 1 : 0; // the line above
    const std::string_view lineAbove = std::string_view(text).substr(above, begin - above);
    const bool computes = line.find_first_of("=+*/", sign + 1) != line.npos ||
                          (!words.empty() && words[0] == "total");
    const bool several =
        begin > 0 && !computes && isLetter(text[above]) && lineAbove.find(" = ") != lineAbove.npos;
    if (several || (line[0] == '-' && begin > 0 && text[above] == '-')) // one item of several
      return std::nullopt;
    if (!named || value.empty() ||
        (vote::changesValue(name) && value.back() != '%' && !amountNouns().count(words.back())))
      return std::nullopt;
    const size_t blank = value.find(' ');
    return isFormula(value) || (blank != std::string::npos && vote::isUnit(value.substr(blank)))
               ? std::optional(value)
               : std::nullopt;
  }
  if (colon == std::string::npos)
    return std::nullopt;
  // Q: What is 3 + 4?
  // A: 7
  const size_t question = line.compare(0, 3, "A: ") == 0 ? text.rfind("Q: ", begin) : text.npos;
  if (question != text.npos && (question == 0 || text[question - 1] == '\n') &&
      isFormula(bare(line.substr(3))))
    return bare(line.substr(3));
  const std::vector<std::string> label = wordsOf(line.substr(0, colon));
  // "Number of solutions: 12", but not one of several such lines
  const size_t top = begin > 1 ? text.find_last_not_of(" \n", begin - 1) : text.npos,
               above = top == text.npos || top == 0 ? 0 : text.rfind('\n', top - 1) + 1;
  const bool several = top != text.npos && text.substr(above, top - above).find(": ") != text.npos;
  constexpr size_t longest = 6;
  const bool amount = !label.empty() && label.size() < longest &&
                      line.find_first_of("\\{$") > colon && !denies(label) &&
                      (amountNouns().count(label[0]) || amountNouns().count(label.back()) ||
                       label[0] == "total" || label[0] == "remaining") &&
                      (!several || label[0] == "total" || line.find('=', colon) != line.npos);
  if (amount && line.find('=', colon) != line.npos) {
    const std::string value = bare(line.substr(line.rfind('=') + 1));
    const size_t number = numberLength(value, 0);
    const std::string unit = value.substr(number);
    return number && (unit.empty() || (unit[0] == ' ' && wordsOf(unit).size() == 1))
               ? std::optional(value)
               : std::nullopt;
  }
  if (!amount && (label.empty() || label.size() > 2 || !nouns.count(label.back()) ||
                  (label.size() == 2 && label[0] != "final" && label[0] != "the")))
    return std::nullopt;
  std::string rest = bare(withoutReason(std::string_view(line).substr(colon + 1)));
  if (auto said = spoken(rest, true))
    return said;
  if (const size_t blank = rest.find(' '); // 7 apples
      wordsOf(rest).size() == 1 && blank != rest.npos && isFormula(rest.substr(0, blank)) &&
      isLetter(rest[blank + 1]) && !vote::changesValue(rest.substr(blank)))
    return rest;
  const bool numbers = [&] { // 3 4
    for (size_t i = 1; i + 1 < rest.size(); ++i)
      if (rest[i] == ' ' && isDigit(rest[i - 1]) && isDigit(rest[i + 1]))
        return true;
    return false;
  }();
  return isFormula(rest) && !numbers ? std::optional(rest) : std::nullopt;
}

// Whether what was said behind a marker is taken back by the words behind it.
bool isTakenBack(const std::string &text, size_t marker, const std::string &said) {
  const size_t at = text.find(said, marker), comma = said.find(", ");
  return (at != text.npos && saysWrongOf(said, std::string_view(text).substr(at + said.size()))) ||
         (comma != said.npos && saysWrong(std::string_view(said).substr(comma)));
}

} // namespace

std::optional<std::string> announcedAnswer(const std::string &text) {
  if (const size_t hashes = text.rfind("####"); hashes != std::string::npos) {
    const size_t end = std::min(text.find('\n', hashes), text.size());
    std::string said = trimmed(text.substr(hashes + 4, end - hashes - 4));
    // "#### Step 3" with more below it is a heading.
    if (said.empty() || !isLetter(said[0]) ||
        text.find_first_not_of(" \t\r\n", end) == std::string::npos)
      return said;
  }
  if (auto said = jsonAnswer(text))
    return said;
  constexpr size_t most = 8;
  const std::vector<size_t> markers = behindMarkers(lowerCase(text));
  for (size_t k = markers.size(); k > 0 && markers.size() - k < most; --k) {
    bool says = true;
    if (auto said = markedAnswer(text, markers[k - 1], says))
      return isTakenBack(text, markers[k - 1], *said) ? std::nullopt : said;
    if (says) // words behind the last one that are no answer to give way to the one before
      break;
  }
  return markers.empty() ? labelledAnswer(text) : std::nullopt;
}

} // namespace m1rt
