// Where the boxes of a text stand, and which of them are its answer.
#include "vote/boxes.h"

#include "vote/extraction.h"
#include "vote/prose.h"
#include "vote/vote.h"
#include "vote/wording.h"

#include <algorithm>
#include <set>
#include <string_view>

namespace m1rt {
namespace {

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

} // namespace

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
          isDenied(text, name) ||
          saysWrongOf(std::string_view(text).substr(brace + 1, std::min<size_t>(i - brace - 1, 40)),
                      sentenceFrom(text, i + 1)))
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

std::optional<std::string> extractBoxed(const std::string &text) {
  auto box = lastBox(text);
  return box ? std::optional(std::move(box->content)) : std::nullopt;
}

} // namespace m1rt
