#include "vote/formulas.h"

#include "vote/extraction.h"
#include "vote/prose.h"

#include <string_view>
#include <utility>

namespace m1rt {
namespace {

constexpr std::pair<std::string_view, std::string_view> kEnvironments[] = {
    {"\\begin{align*}", "\\end{align*}"},
    {"\\begin{align}", "\\end{align}"},
    {"\\begin{equation*}", "\\end{equation*}"},
    {"\\begin{equation}", "\\end{equation}"},
    {"\\begin{gather*}", "\\end{gather*}"}};

// Of "$ x $" that begins here: its last sign; npos where there is none in this line, no blank
// before it, or a word or nothing between the two.
size_t paddedEnd(const std::string &text, size_t begin) {
  for (size_t i = begin + 1; i < text.size() && text[i] != '\n'; ++i) {
    if (text[i] == '\\') { // a command's name is no word
      while (i + 1 < text.size() && isLetter(text[i + 1]))
        ++i;
    } else if (text[i] == '$') {
      return i > begin + 2 && text[i - 1] == ' ' ? i : std::string::npos;
    } else if (isLetter(text[i]) && i + 1 < text.size() && isLetter(text[i + 1]) &&
               text[i - 1] == ' ') {
      return std::string::npos;
    }
  }
  return std::string::npos;
}

} // namespace

std::string contentOf(const std::string &text, const Formula &formula) {
  std::string content = trimmed(text.substr(formula.begin, formula.end - formula.begin));
  if (formula.begin - formula.before <= 2)
    return content;
  std::string chain;
  bool derivation = true;
  for (size_t i = 0; i < content.size(); ++i) {
    if (content.compare(i, 2, "\\\\") == 0) {
      const size_t next = content.find_first_not_of(" \t\r\n&", i + 2);
      derivation &= next == std::string::npos || content[next] == '=';
      chain += ' ';
      ++i;
    } else if (content[i] != '&') {
      chain += content[i];
    }
  }
  return derivation ? chain : "\\begin{aligned}" + content + "\\end{aligned}";
}

std::vector<Formula> formulasOf(const std::string &text) {
  std::vector<Formula> found;
  int depth = 0;
  auto isBlankAt = [&](size_t i) { return i >= text.size() || text[i] == ' ' || text[i] == '\n'; };
  for (size_t i = 0; i < text.size();) {
    const std::string_view two = std::string_view(text).substr(i, 2);
    std::string_view open, close;
    for (const auto &[begins, ends] : kEnvironments)
      if (depth == 0 && two == "\\b" && text.compare(i, begins.size(), begins) == 0) {
        open = begins;
        close = ends;
      }
    if (!open.empty()) {
    } else if (two == "$$" || two == "\\(" || two == "\\[") {
      open = two;
      close = two == "\\(" ? "\\)" : two == "\\[" ? "\\]" : two;
    } else if (text[i] == '$' && (!isBlankAt(i + 1) || paddedEnd(text, i) != std::string::npos)) {
      open = close = "$";
    }
    if (open.empty() || depth > 0) {
      depth += text[i] == '{' ? 1 : text[i] == '}' ? -1 : 0;
      i += text[i] == '\\' ? 2 : 1; // \$ is none
      continue;
    }
    const size_t begin = i + open.size();
    size_t end = text.find(close, begin);
    if (open == "$" && isBlankAt(begin))
      end = paddedEnd(text, i);
    while (open == "$" && !isBlankAt(begin) && end != std::string::npos &&
           (text[end - 1] == '\\' || isBlankAt(end - 1) ||
            (end + 1 < text.size() && text[end + 1] >= '0' && text[end + 1] <= '9')))
      end = text.find(close, end + 1);
    if (end == std::string::npos)
      return {};
    found.push_back({i, begin, end, end + close.size()});
    i = end + close.size();
  }
  return found;
}

std::string conclusionOf(const std::string &formula) {
  for (const std::string_view sign :
       {"\\implies", "\\Rightarrow", "\\Longrightarrow", "\\iff", "\\Leftrightarrow"})
    if (const size_t at = formula.rfind(sign); at != formula.npos && at > 0) {
      const std::string last = trimmed(formula.substr(at + sign.size()));
      if (last.find('=') != last.npos && formula.find('=') < at &&
          formula.find('&') == formula.npos)
        return last;
    }
  return formula;
}

} // namespace m1rt
