#include "vote/extraction.h"

#include "vote/formulas.h"
#include "vote/letters.h"
#include "vote/markers.h"
#include "vote/prose.h"
#include "vote/spoken.h"
#include "vote/units.h"
#include "vote/vote.h"
#include "vote/wording.h"

#include <algorithm>
#include <set>
#include <string_view>

namespace m1rt {

std::string trimmed(const std::string &s) {
  constexpr std::string_view blanks = " \t\r\n";
  const size_t first = s.find_first_not_of(blanks);
  return first == std::string::npos ? std::string()
                                    : s.substr(first, s.find_last_not_of(blanks) - first + 1);
}

namespace {

// The last box, and those before it that belong to it; where it ends.
struct Boxed {
  std::string content;
  size_t end;
};

// Where the \boxed, \fbox or \framebox begins whose name ends here; npos for others.
size_t nameOfBox(const std::string &text, size_t end) {
  for (const std::string_view name : {"\\boxed", "\\fbox", "\\framebox"})
    if (end >= name.size() && text.compare(end - name.size(), name.size(), name) == 0)
      return end - name.size();
  return std::string::npos;
}

constexpr std::string_view kDenials[] = {"not", "rather than", "instead of"};

// "not \boxed{6}", "rather than \boxed{6}"
bool isDenied(const std::string &text, size_t box) {
  const size_t end = box ? text.find_last_not_of(" $*(\\", box - 1) + 1 : 0;
  return std::any_of(std::begin(kDenials), std::end(kDenials), [&](std::string_view no) {
    return end >= no.size() && lowerCase(text.substr(end - no.size(), no.size())) == no &&
           (end == no.size() || !isLetter(text[end - no.size() - 1]));
  });
}

// To the end of the sentence that goes on there.
std::string_view sentenceFrom(const std::string &text, size_t at) {
  constexpr size_t longest = 120;
  const auto rest = std::string_view(text).substr(at, longest);
  return rest.substr(0, rest.find_first_of(".\n"));
}

// Whether the last box of a text has no end.
bool endsWithinBox(const std::string &text) {
  const size_t box = text.rfind("\\boxed{");
  int depth = box != text.npos;
  for (size_t i = box + 7; depth > 0 && i < text.size(); ++i)
    if (text[i] == '\\')
      ++i;
    else
      depth += text[i] == '{' ? 1 : text[i] == '}' ? -1 : 0;
  return depth > 0;
}

std::optional<Boxed> lastBox(const std::string &text) {
  // One pass, as samples that repeat "\boxed{" to the end of their tokens are not rare.
  constexpr std::string_view blanks = " \t\r\n";
  struct Box {
    size_t before, begin, end; // the backslash, the content, its closing brace
  };
  std::vector<size_t> open;
  std::vector<Box> boxes; // complete ones, none within another
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i; // an escaped brace is none
    } else if (text[i] == '{') {
      open.push_back(i);
    } else if (text[i] == '}' && !open.empty()) {
      size_t brace = open.back();
      open.pop_back();
      size_t before = brace ? text.find_last_not_of(blanks, brace - 1) : std::string::npos;
      const size_t name = before == std::string::npos ? before : nameOfBox(text, before + 1);
      if (name == std::string::npos || (!boxes.empty() && boxes.back().before > name) ||
          isDenied(text, name) || saysWrong(sentenceFrom(text, i + 1)))
        continue; // of boxes within one another the innermost counts
      boxes.push_back({name, brace + 1, i});
    }
  }
  if (boxes.empty())
    return std::nullopt;
  auto content = [&](size_t k) {
    return trimmed(text.substr(boxes[k].begin, boxes[k].end - boxes[k].begin));
  };
  size_t first = boxes.size() - 1;
  std::string all = content(first);
  // Where the name begins that "x = " gives a box; where the box does, if it has none.
  auto nameBefore = [&](size_t k) {
    constexpr std::string_view blanks = " &\t\r\n"; // & of columns
    const size_t box = boxes[k].before, sign = text.find_last_not_of(blanks, box ? box - 1 : 0);
    if (box == 0 || sign == std::string::npos || text[sign] != '=' || sign == 0)
      return box;
    const size_t last = text.find_last_not_of(blanks, sign - 1);
    const bool name =
        last != std::string::npos && isLetter(text[last]) &&
        (last == 0 || std::string_view(" $(,\n\t").find(text[last - 1]) != std::string_view::npos);
    return name ? last : box;
  };
  auto joined = [&](size_t k) { // the box before with this one
    const size_t begin = nameBefore(k);
    return (begin == boxes[k].before || nameBefore(k - 1) < boxes[k - 1].before) &&
           joins(text, boxes[k - 1].end + 1, begin);
  };
  while (first > 0 && joined(first) && !all.empty() && !content(first - 1).empty())
    --first;
  if (first + 1 < boxes.size()) {
    all.clear();
    for (size_t k = first; k < boxes.size(); ++k) {
      const size_t begin = nameBefore(k);
      all += (k > first ? ", " : "") +
             (begin < boxes[k].before ? text.substr(begin, 1) + " = " : std::string()) + content(k);
    }
  }
  return Boxed{all, boxes.back().end + 1};
}

// Where the last sentence begins, if it is none of an answer: "Let me know if you have questions!".
// 0 for others, and where nothing stands before it.
size_t behindGreeting(const std::string &text) {
  if (text.empty() || std::string_view(".!?").find(text.back()) == std::string_view::npos)
    return 0;
  size_t begin = text.size() - 1;
  while (begin > 0 && text[begin - 1] != '\n' &&
         !(text[begin - 1] == ' ' && begin > 1 &&
           std::string_view(".!?").find(text[begin - 2]) != std::string_view::npos))
    --begin;
  const std::string sentence = lowerCase(text.substr(begin, 40));
  for (const std::string_view lead :
       {"let me know", "please let me know", "i hope th", "hope th", "feel free", "if you have any",
        "is there anything else", "would you like", "do you have any"})
    if (sentence.compare(0, lead.size(), lead) == 0)
      return begin;
  return 0;
}

// Before the control token that ends the turn (<|im_end|>, <|eot_id|>, </s>), and the sentence that
// some prompts teach.
std::string ownTurn(const std::string &whole) {
  size_t end = whole.size();
  auto isName = [&](size_t at) { // 2<|x| is none
    size_t letters = at;
    while (letters < whole.size() && (isLetter(whole[letters]) || whole[letters] == '_'))
      ++letters;
    return letters > at + 3;
  };
  const size_t first = whole.find_first_not_of(" \t\r\n"); // a token there begins the turn
  for (const std::string_view token : {"<|", "</s>", "<end_of_turn>", "<\uFF5Cend"})
    for (size_t at = whole.find(token); at != std::string::npos && at < end;
         at = whole.find(token, at + 1))
      if (first < at && (token != "<|" || isName(at + 2)))
        end = at;
  std::string text = trimmed(whole.substr(0, end));
  constexpr std::string_view hope = "I hope it is correct.";
  if (text.size() > hope.size() && text.compare(text.size() - hope.size(), hope.size(), hope) == 0)
    text = trimmed(text.substr(0, text.size() - hope.size()));
  for (const std::string_view mark :
       {"$\\blacksquare$", "$\\square$", "$\\Box$", "$\\qed$", "\\qed", "Q.E.D.", "QED", "QED."})
    if (text.size() > mark.size() &&
        text.compare(text.size() - mark.size(), mark.size(), mark) == 0)
      text = trimmed(text.substr(0, text.size() - mark.size()));
  for (int sentences = 0; sentences < 4; ++sentences)
    if (const size_t kept = behindGreeting(text))
      text = trimmed(text.substr(0, kept));
  return text;
}

// Without the kind of a value in front of its number or formula: "the interval $(1, 2)$".
std::string_view withoutKind(std::string_view part) {
  static const std::set<std::string> kinds = {
      "the",     "a",        "an",     "interval", "set",      "point",    "product",  "sum",
      "pair",    "ordered",  "number", "function", "value",    "vector",   "equation", "expression",
      "integer", "fraction", "triple", "matrix",   "constant", "solution", "line",     "formula"};
  size_t at = 0;
  while (at < part.size()) {
    size_t end = at;
    while (end < part.size() && isLetter(part[end]))
      ++end;
    if (end == at || !kinds.count(lowerCase(std::string(part.substr(at, end - at)))))
      break;
    at = std::min(part.find_first_not_of(" ,:", end), part.size());
  }
  const bool value = at < part.size() && ((part[at] >= '0' && part[at] <= '9') ||
                                          std::string_view("$([{-").find(part[at]) < 5 ||
                                          part.compare(at, 2, "\\(") == 0);
  return value ? part.substr(at) : part;
}

// Without "simply", "therefore", "given by", "option" and the like in front of a value.
std::string_view withoutFillers(std::string_view part) {
  static const std::set<std::string> fillers = {
      "therefore", "thus",  "then",    "simply",        "just",    "hence",   "option", "choice",
      "given",     "by",    "exactly", "approximately", "roughly", "clearly", "donc",   "now",
      "indeed",    "equal", "to",      "actually",      "about",   "around",  "still",  "again"};
  constexpr std::string_view blanks = " \t\r\n:,*`_";
  while (true) {
    const size_t first = part.find_first_not_of(blanks);
    if (first == std::string_view::npos)
      return {};
    part.remove_prefix(first);
    for (const std::string_view way :
         {"found to be ", "calculated to be ", "computed to be ", "calculated as ", "computed as ",
          "determined to be ", "as follows: ", "the following: "})
      if (part.compare(0, way.size(), way) == 0)
        part.remove_prefix(way.size());
    size_t end = 0;
    while (end < part.size() && isLetter(part[end]))
      ++end;
    if (!end || end >= part.size() || !fillers.count(lowerCase(std::string(part.substr(0, end)))))
      return withoutKind(part);
    part.remove_prefix(end);
  }
}

// To the end of its sentence or line, but not within a formula.
std::string_view firstSentence(std::string_view part) {
  size_t from = 0;
  for (const auto &[open, close] : {std::pair<std::string_view, std::string_view>{"$$", "$$"},
                                    {"\\[", "\\]"},
                                    {"\\(", "\\)"},
                                    {"\\begin{", "\\end{"}})
    if (part.compare(0, open.size(), open) == 0)
      if (const size_t end = part.find(close, open.size()); end != std::string_view::npos)
        from = end;
  for (const std::string_view end : {"\n", ". ", "。"})
    part = part.substr(0, part.find(end, from));
  return part;
}

// Words that say of an answer that it holds: "the answer is correct".
const std::set<std::string> kPraise = {
    "correct", "right", "reasonable", "clear",   "consistent", "valid",   "verified", "below",
    "above",   "here",  "as",         "follows", "obvious",    "trivial", "later",    "hidden"};

// Whether these are words that say something of an answer and are none.
bool isComment(const std::string &words, bool praise) {
  static const std::set<std::string> doubts = {"incorrect", "wrong",     "unclear", "unknown",
                                               "not",       "ambiguous", "possible"};
  const std::vector<std::string> all = wordsOf(words);
  // "obtained by adding 3 and 4"
  static const std::set<std::string> ways = {
      "first",     "let",      "consider",   "note",     "obtained",  "found",
      "checked",   "computed", "calculated", "written",  "expressed", "determined",
      "derived",   "based",    "shown",      "easy",     "hard",      "difficult",
      "different", "going",    "probably",   "perhaps",  "maybe",     "supposed",
      "needed",    "asked",    "wanted",     "expected", "therefore"};
  if (!all.empty() && ways.count(all[0]) && isLetter(words[0]))
    return true;
  static const std::set<std::string> kinds = {"number", "integer", "fraction", "numbers"};
  if (all.size() > 1 && (all[0] == "a" || all[0] == "an") && kinds.count(all.back()) &&
      words.find_first_of("0123456789$\\") == std::string::npos) // a prime number
    return true;
  // What it is like, and not what it is.
  if (all.size() > 3 && (all[0] == "a" || all[0] == "an") && kinds.count(all[1]) &&
      among({all[2]}, {"between", "from", "that", "which", "less", "greater", "of", "in"}))
    return true; // an integer between 0 and 999
  if (all.size() > 1 && (all[0] == "be" || (among({all[0]}, {"on", "in", "at"}) &&
                                            among({all[1]}, {"page", "line", "chapter", "section",
                                                             "table", "figure", "step"}))))
    return true; // be rounded, on page 5
  for (const std::string_view like :
       {"a multiple of ", "in the form", "of the form", "between ", "left to ", "a factor of ",
        "a divisor of ", "at most ", "at least ", "greater than ", "less than ", "more than ",
        "fewer than ", "no more than ", "no less than ", "larger than ", "smaller than "})
    if (words.compare(0, like.size(), like) == 0)
      return true;
  if (words.find("not sure") != words.npos)
    return true;
  static const std::set<std::string> places = {"left",   "in",        "given",    "listed", "shown",
                                               "stated", "displayed", "provided", "written"};
  if (all.size() > 1 && places.count(all[0]) && isLetter(words[0]) &&
      words.find_first_of("0123456789$\\") == std::string::npos) // left as an exercise
    return true;
  return !all.empty() && words.find_first_of("0123456789$\\") == std::string::npos &&
         std::all_of(all.begin(), all.end(), [&](const std::string &word) {
           return kPraise.count(word) || (!praise && doubts.count(word));
         });
}

// What an answer that is described says in the end: "the sum of 3 and 4, which is 7", "the number
// of subsets, $2^5 = 32$". `described` tells whether it is.
std::optional<std::string> valueOfDescription(const std::string &sentence, bool &described) {
  described = false;
  for (const std::string_view amount :
       {"the sum of ", "the product of ", "the difference ", "the number of ", "the value of "})
    described |= sentence.compare(0, amount.size(), amount) == 0;
  if (const size_t clause = sentence.rfind(", which is "); // the larger one, which is 7
      clause != sentence.npos && sentence.compare(0, 4, "the ") == 0)
    described |= startOfValue(sentence, clause + 11) == clause + 11;
  if (!described)
    return std::nullopt;
  constexpr std::string_view which = ", which is ";
  if (const size_t at = sentence.rfind(which); at != sentence.npos)
    return bare(std::string_view(sentence).substr(at + which.size()));
  for (const std::string_view lead : {": ", ", namely "}) // the number of ways: 12
    if (const size_t at = sentence.rfind(lead); at != sentence.npos) {
      std::string value = bare(std::string_view(sentence).substr(at + lead.size()));
      if (isFormula(value) && startOfValue(value, 0) == 0)
        return value;
    }
  const auto formulas = formulasOf(sentence);
  if (formulas.empty() || formulas.back().after != sentence.size())
    return std::nullopt;
  const auto before = std::string_view(sentence).substr(0, formulas.back().before);
  auto endsWith = [&](std::string_view said) {
    return before.size() > said.size() && before.substr(before.size() - said.size()) == said;
  };
  return endsWith(", ") || endsWith(" is ") ? std::optional(contentOf(sentence, formulas.back()))
                                            : std::nullopt;
}

// Without the names of upright text.
std::string withoutNames(std::string latex) {
  for (const std::string_view name : {"\\textbf", "\\text", "\\mathrm", "\\mathbf"})
    for (size_t at; (at = latex.find(name)) != std::string::npos;)
      latex.erase(at, name.size());
  return latex;
}

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
  std::string rest = bare(sentence);
  if (rest.size() > 3 && rest.compare(rest.size() - 3, 3, "**!") == 0) // **5**!
    rest.resize(rest.size() - 3);
  for (const std::string_view tag : {"<b>", "</b>", "<strong>", "</strong>", "<i>", "</i>"})
    for (size_t at; (at = rest.find(tag)) != rest.npos;)
      rest.erase(at, tag.size());
  if (rest.size() > 3 && rest[0] >= 'A' && rest[0] <= 'J' && rest[1] == ':' && rest[2] == ' ' &&
      rest.find_first_of("0123456789$\\") == rest.npos)
    rest.resize(1); // A: the mitochondria
  if (const size_t bold = rest.find("** "); bold != rest.npos && rest.find("**") == bold)
    rest.erase(bold, 2); // **(C)** $\frac{1}{2}$
  if (const size_t but = rest.find(" but "); rest.compare(0, 4, "not ") == 0 && but != rest.npos)
    if (const size_t value = startOfValue(rest, but + 5); value != rest.npos)
      rest.erase(0, value); // not 20 but 21
  if (const size_t since = rest.find(" since ");
      since != rest.npos && std::count(rest.begin(), rest.begin() + ptrdiff_t(since), '$') % 2 == 0)
    rest.resize(since);
  for (const std::string_view guess : {"probably ", "likely ", "most likely ", "presumably "})
    if (rest.compare(0, guess.size(), guess) == 0 && rest.find(" or ") == rest.npos &&
        startOfValue(rest, guess.size()) != rest.npos)
      rest.erase(0, guess.size());
  if (rest.find("? ") != rest.npos || (!rest.empty() && rest.back() == '?')) { // "is 9? Wait, no"
    says = false;
    return std::nullopt;
  }
  auto count = [&](char c) { return std::count(rest.begin(), rest.end(), c); };
  if (!rest.empty() && (rest.back() == ')' || rest.back() == ']') &&
      count(')') + count(']') > count('(') + count('[')) {
    const size_t first = rest.find_first_of("()[]");
    if (first + 1 == rest.size() || rest[first] != ']') // ]0, 1] is an interval
      rest.pop_back();                                  // (Answer: 7)
  }
  if (std::count(rest.begin(), rest.end(), '$') == 1 && rest.back() == '$')
    rest.pop_back(); // of the formula that begins before the marker
  says = !isComment(rest, /*praise=*/true);
  for (const std::string_view no :
       {"not ", "no longer ", "nicht ", "pas ", "no es ", "no se ", "não ", "non ", "不", "我",
        "no lo s", "わかり", "分かり", "모르", "ich ", "je ne "})
    says &= rest.compare(0, no.size(), no) != 0;
  if (rest.empty() || !says)
    return std::nullopt;
  if (const auto own = formulasOf(rest);
      own.size() == 1 && own[0].before == 0 && own[0].after == rest.size() && own[0].begin > 2)
    return contentOf(rest, own[0]);            // \begin{equation}…\end{equation}
  if (const size_t bracket = rest.rfind(" ("); // 7 (seven), 7 (see above)
      bracket != rest.npos && rest.back() == ')' && bracket > 0 && isDigit(rest[bracket - 1])) {
    const std::string remark = rest.substr(bracket + 2, rest.size() - bracket - 3);
    if (remark.find_first_of("0123456789$\\") == remark.npos && wordsOf(remark).size() > 0 &&
        !vote::changesValue(remark) && !isFormula(remark) && remark != "percent")
      rest.resize(bracket);
  }
  // B because the slope is 3, (C).
  const size_t letter = rest[0] == '(' ? 1 : 0;
  if (rest.size() == 1 + 2 * letter && rest[letter] >= 'A' && rest[letter] <= 'J')
    return rest;
  constexpr size_t longestUnit = 40;
  // $504 - 224 = 280$, or $\textbf{(D)}$
  if (const size_t otherwise = rest.rfind(", or ");
      otherwise != rest.npos && rest.size() - otherwise < longestUnit) {
    std::string letters;
    for (const char c : withoutNames(rest.substr(otherwise + 5)))
      if (std::string_view("$(){}. ").find(c) == std::string_view::npos)
        letters += c;
    if (letters.size() == 1 && letters[0] >= 'A' && letters[0] <= 'J' && rest.back() == '$')
      return letters;
  }
  // 3 × 10^8 m/s
  for (size_t blank = rest.rfind(' '); blank != std::string::npos && blank > 0;
       blank = rest.rfind(' ', blank - 1)) {
    const std::string unit = rest.substr(blank);
    if (rest.size() - blank > longestUnit ||
        !(vote::isUnit(unit) || vote::isMeasureOf(rest.substr(0, blank), unit)))
      break;
    const std::vector<std::string> before = wordsOf(std::string_view(rest).substr(0, blank));
    const bool several = std::any_of(before.begin(), before.end(), [](const std::string &word) {
      return word.size() > 1 && vote::isUnit(' ' + word); // 2 hours and 30 minutes
    });
    if (rest[blank - 1] >= '0' && rest[blank - 1] <= '9' && !several)
      return spoken(rest.substr(0, blank), true).value_or(rest.substr(0, blank));
  }
  // "5/6 of the pizza"
  if (const size_t of = rest.find(" of "); of != std::string::npos && of > 0) {
    const char last = rest[of - 1];
    const bool value = (last >= '0' && last <= '9') || last == '$' || last == '%';
    if (value && !isLetter(rest[0]) && rest.find_first_of("0123456789$\\", of) == std::string::npos)
      rest.resize(of);
  }
  return spoken(rest, true).value_or(rest);
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
  const size_t before = text.rfind('\n', end), begin = before == std::string::npos ? 0 : before + 1;
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
    if (line[0] == '-' && begin > 0 && text[above] == '-')                // one item of several
      return std::nullopt;
    if (!named || value.empty() || vote::changesValue(name))
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
  if (label.empty() || label.size() > 2 || !nouns.count(label.back()) ||
      (label.size() == 2 && label[0] != "final" && label[0] != "the"))
    return std::nullopt;
  std::string rest = bare(withoutReason(std::string_view(line).substr(colon + 1)));
  if (auto said = spoken(rest, true))
    return said;
  if (const size_t blank = rest.find(' '); // 7 apples
      wordsOf(rest).size() == 1 && blank != rest.npos && isFormula(rest.substr(0, blank)) &&
      isLetter(rest[blank + 1]) && !vote::changesValue(rest.substr(blank)))
    return rest;
  const bool several = [&] { // 3 4
    for (size_t i = 1; i + 1 < rest.size(); ++i)
      if (rest[i] == ' ' && isDigit(rest[i - 1]) && isDigit(rest[i + 1]))
        return true;
    return false;
  }();
  return isFormula(rest) && !several ? std::optional(rest) : std::nullopt;
}

// Whether what was said behind a marker is taken back by the words behind it.
bool isTakenBack(const std::string &text, size_t marker, const std::string &said) {
  const size_t at = text.find(said, marker), comma = said.find(", ");
  return (at != text.npos && saysWrong(std::string_view(text).substr(at + said.size()))) ||
         (comma != said.npos && saysWrong(std::string_view(said).substr(comma)));
}

// What a text without a box says; nothing where no word of it announces an answer.
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

} // namespace

std::optional<std::string> extractBoxed(const std::string &text) {
  auto box = lastBox(text);
  return box ? std::optional(std::move(box->content)) : std::nullopt;
}

namespace {

// The last part of a text that is too long to be looked through as a whole, from a line's begin.
std::string lastPart(const std::string &text) {
  constexpr size_t longest = 16384;
  if (text.size() <= longest)
    return text;
  const size_t line = text.find('\n', text.size() - longest);
  return text.substr(line == std::string::npos ? text.size() - longest : line + 1);
}

// What stands in a box that says nothing: \boxed{?}, \boxed{\text{answer}}, \boxed{\ldots}.
bool isPlaceholder(const std::string &content) {
  static const std::set<std::string> words = {
      "",      "?",     "…",      "ldots", "dots",  "answer",        "youranswer", "finalanswer",
      "cdots", "boxed", "square", "text",  "blank", "youranswerhere"};
  const std::string plain = lowerCase(vote::plainText(content));
  constexpr size_t longest = 40;
  const size_t digits = content.find_first_not_of("0123456789 "); // 5\ldots
  static const std::set<std::string> open = {"\\ldots", "\\dots", "...", "…", "\\cdots"};
  const bool phantom = content.compare(0, 9, "\\phantom{") == 0 && content.back() == '}';
  return content.size() < longest &&
         (words.count(plain) || plain.find("answerhere") != plain.npos || phantom ||
          (digits != content.npos && open.count(content.substr(digits))));
}

// "\boxed 3" and "\boxed\frac12" in a text without braces behind \boxed: to the end of the formula
// or line.
std::optional<std::string> bareBox(const std::string &text) {
  constexpr std::string_view name = "\\boxed";
  const size_t box = text.rfind(name);
  if (box == std::string::npos)
    return std::nullopt;
  const size_t begin = text.find_first_not_of(' ', box + name.size());
  if (begin == std::string::npos || text[begin] == '{' || text[begin] == '$' ||
      (begin == box + name.size() && isLetter(text[begin])))
    return std::nullopt;
  const std::string rest = text.substr(begin, text.find_first_of("$\n", begin) - begin);
  size_t end = rest.size();
  for (const std::string_view close : {"\\)", "\\]", ". "})
    end = std::min(end, rest.find(close));
  std::string content = bare(rest.substr(0, end));
  return content.empty() || !isFormula(content) ? std::nullopt : std::optional(content);
}

// Whether a text that follows a box takes it back: "Wait, that's not right".
bool takesBack(const std::string &lower) {
  // "A common mistake is that the answer is 12" takes nothing back, nor does a waiter.
  for (const std::string_view words :
       {"not right", "not correct", "is incorrect", "was incorrect", "'s incorrect",
        "made a mistake", "my mistake", "a mistake in", "the mistake", "that's wrong", "is wrong",
        "was wrong", "let me re", "let me check again", "correction:", "actually,",
        "on second thought", "but the correct"})
    if (lower.find(words) != std::string::npos)
      return true;
  const std::vector<std::string> all = wordsOf(lower);
  return std::find(all.begin(), all.end(), "wait") != all.end();
}

// Whether a thought doubts the answer that it has said last: "The answer is 24. But wait,".
bool isReconsidered(const std::string &lower) {
  const size_t answer = lower.rfind("answer");
  return answer != lower.npos &&
         among(wordsOf(std::string_view(lower).substr(answer)), {"wait", "hmm", "alternatively"});
}

// Of a text without thoughts and tags: its box, or what it announces. Of one that is `thinking` on,
// no more than that counts.
std::optional<std::string> plainAnswer(const std::string &whole, bool thinking) {
  const auto box = lastBox(whole);
  if (!box) {
    const std::string part = lastPart(ownTurn(whole));
    if (auto said = bareBox(part))
      return said;
    if (thinking && isReconsidered(lowerCase(part)))
      return std::nullopt;
    if (auto said = announcedAnswer(part); said || thinking)
      return said;
    return spoken(part, false);
  }
  // "Final Answer: The final answer is $5$" behind a box says it once more, or says another.
  const std::string behind = lastPart(ownTurn(whole.substr(std::min(box->end, whole.size()))));
  const std::string lower = lowerCase(behind);
  const bool final = isPlaceholder(box->content) || takesBack(lower) ||
                     lower.find("final answer is $") != std::string::npos;
  if (final) {
    auto said = announcedAnswer(behind);
    if (!said &&
        (concludes(behind) || isPlaceholder(box->content))) // "Let me recheck. So it is 5."
      said = spoken(behind, false);
    if (!said && isPlaceholder(box->content)) // an empty box behind the answer
      said = announcedAnswer(lastPart(whole.substr(0, whole.rfind("\\boxed", box->end))));
    if (said && !isComment(*said, /*praise=*/false))
      return said;
  }
  return box->content;
}

// Whether a text is nothing but a short value or the letter of a choice with what it says.
bool isBareAnswer(const std::string &text) {
  constexpr size_t longest = 60;
  const std::string value = bare(text);
  if (value.empty() || value.size() > longest || value.find('\n') != value.npos)
    return false;
  const bool bracketed = value.size() > 4 && value[0] == '(' && value[2] == ')';
  const bool letter =
      value.size() == 1 || (value.size() == 3 && value[0] == '(' && value[2] == ')');
  if ((letter || bracketed) && value[value[0] == '('] >= 'A' && value[value[0] == '('] <= 'J')
    return true;
  const auto formulas = formulasOf(value);
  const bool formula =
      formulas.size() == 1 && formulas[0].before == 0 && formulas[0].after == value.size();
  return formula || (formulas.empty() && isFormula(value) && startOfValue(value, 0) == 0);
}

// Signs that models think between.
constexpr std::pair<std::string_view, std::string_view> kThoughts[] = {
    {"<think>", "</think>"},     {"<thinking>", "</thinking>"},
    {"<thought>", "</thought>"}, {"<reasoning>", "</reasoning>"},
    {"[THINK]", "[/THINK]"},     {"<|channel|>analysis<|message|>", "<|channel|>final<|message|>"}};

// Where a model that has answered goes on with a question of its own; npos where it does not.
size_t nextQuestion(const std::string &text) {
  size_t first = std::string::npos;
  for (const std::string_view head : {"\nQuestion:", "\nQ:", "\nProblem:", "\nHuman:", "\nUser:"})
    first = std::min(first, text.find(head));
  if (first == std::string::npos)
    return first;
  const std::string before = text.substr(0, first);
  const auto box = lastBox(before); // "put your answer in \boxed{}" says none
  const bool boxed = box && !isPlaceholder(box->content);
  const auto said = boxed ? std::nullopt : announcedAnswer(lastPart(before));
  return boxed || (said && !isPlaceholder(*said)) ? first : std::string::npos;
}

// The part of a text that its answer stands in, and whether all of it is the answer: tags say so,
// or it is nothing but a value behind thoughts.
std::pair<std::string, bool> answeringPart(const std::string &whole) {
  std::string text = whole;
  // What was thought counts where nothing is said behind it.
  size_t at = std::string::npos, begin = 0;
  for (const auto &[open, close] : kThoughts)
    if (const size_t found = whole.rfind(close);
        found != std::string::npos && found + close.size() > begin) {
      at = found;
      begin = found + close.size();
    }
  if (at != std::string::npos) {
    const std::string said = whole.substr(begin), part = lastPart(ownTurn(said));
    const bool says =
        !part.empty() && (lastBox(said) || announcedAnswer(part) || spoken(part, false) ||
                          lastLine(part, true) || part[0] == '<');
    text = says || (!part.empty() && !lastBox(whole)) ? said : whole.substr(0, at);
    if (!says && isBareAnswer(part))
      return {bare(part), true};
  }
  for (const auto &[open, close] :
       {std::pair<std::string_view, std::string_view>{"<answer>", "</answer>"},
        {"<final_answer>", "</final_answer>"},
        {"<|begin_of_box|>", "<|end_of_box|>"},
        {"[ANSWER]", "[/ANSWER]"}})
    if (const size_t end = text.rfind(close); end != std::string::npos)
      if (const size_t begin = text.rfind(open, end); begin != std::string::npos) {
        const size_t first = begin + open.size();
        if (std::string content = trimmed(text.substr(first, end - first)); !content.empty())
          return {std::move(content), true};
      }
  text.resize(std::min(text.size(), nextQuestion(text)));
  return {std::move(text), false};
}

// Whether a text ends within its thoughts.
bool isThinking(const std::string &whole) {
  return std::any_of(std::begin(kThoughts), std::end(kThoughts), [&](const auto &signs) {
    const size_t open = whole.rfind(signs.first);
    return open != std::string::npos && whole.find(signs.second, open) == std::string::npos;
  });
}

} // namespace

std::string answerIn(const std::string &whole) {
  const std::string text = answeringPart(whole).first;
  const bool thinking = isThinking(whole);
  if (auto said = plainAnswer(text, thinking))
    return *said;
  const std::string own = ownTurn(text);
  if (const auto formulas = formulasOf(own); formulas.size() == 1 && formulas[0].before == 0 &&
                                             formulas[0].after == own.size() &&
                                             formulas[0].begin > 2)
    return contentOf(own, formulas[0]); // \begin{equation}…\end{equation}
  const auto last = thinking ? std::nullopt : lastLine(lastPart(own), false);
  return last.value_or(own);
}

std::optional<std::string> extractAnswer(const std::string &whole) {
  const auto [text, tagged] = answeringPart(whole);
  std::optional<std::string> answer = plainAnswer(text, isThinking(whole));
  // A box that is open to the end would have been the answer.
  if (!lastBox(text) && endsWithinBox(text))
    return std::nullopt;
  if (!answer && tagged)
    answer = text;
  if (!answer && !isThinking(whole))
    answer = lastLine(lastPart(ownTurn(text)), true);
  return answer && !isPlaceholder(*answer) && !isComment(*answer, /*praise=*/false) ? answer
                                                                                    : std::nullopt;
}

} // namespace m1rt
