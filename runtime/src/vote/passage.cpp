#include "vote/passage.h"

#include "vote/announced.h"
#include "vote/boxes.h"
#include "vote/extraction.h"
#include "vote/formulas.h"
#include "vote/letters.h"
#include "vote/markers.h"
#include "vote/prose.h"
#include "vote/spoken.h"

#include <algorithm>
#include <set>
#include <string_view>

namespace m1rt {
namespace {

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
  for (const std::string_view lead : {"let me know",
                                      "please let me know",
                                      "i hope th",
                                      "hope th",
                                      "feel free",
                                      "if you have any",
                                      "is there anything else",
                                      "would you like",
                                      "do you have any",
                                      "done.",
                                      "we are done",
                                      "we're done",
                                      "and we are done",
                                      "and we're done",
                                      "this completes",
                                      "that completes",
                                      "this is our",
                                      "this is the final",
                                      "this is the answer",
                                      "that is our",
                                      "that's our",
                                      "that is the final",
                                      "that's the final",
                                      "that's the answer",
                                      "that's it",
                                      "this makes sense",
                                      "that makes sense",
                                      "thank",
                                      "happy ",
                                      "good luck"})
    if (sentence.compare(0, lead.size(), lead) == 0)
      return begin;
  return 0;
}

// Where the last paragraph begins, if it is a note behind the answer: "**Key takeaway:** ...",
// "---". 0 for others, and where nothing stands before it.
size_t behindNote(const std::string &text) {
  static const std::set<std::string> labels = {
      "note",       "notes",      "remark",      "key takeaway", "takeaway",   "explanation",
      "reference",  "references", "sources",     "tip",          "confidence", "disclaimer",
      "key points", "reasoning",  "key concept", "caution"};
  constexpr size_t longest = 600;
  const size_t from = text.size() - std::min(text.size(), longest);
  const size_t blank = std::string_view(text).substr(from).rfind("\n\n");
  if (blank == std::string_view::npos)
    return 0;
  const size_t paragraph = from + blank;
  const std::string_view last = std::string_view(text).substr(paragraph + 2);
  if (last.find_first_not_of("-*_= \n") == last.npos)
    return paragraph;
  const size_t first = last.find_first_not_of("*_#> "), end = last.find(':');
  if (first == last.npos || end == last.npos || end < first)
    return 0;
  const std::string label = lowerCase(bare(last.substr(first, end - first)));
  return labels.count(label) ? paragraph : 0;
}

} // namespace

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
    if (const size_t kept = std::max(behindGreeting(text), behindNote(text)))
      text = trimmed(text.substr(0, kept));
  return text;
}

std::string lastPart(const std::string &text) {
  constexpr size_t longest = 16384;
  if (text.size() <= longest)
    return text;
  const size_t line = text.find('\n', text.size() - longest);
  return text.substr(line == std::string::npos ? text.size() - longest : line + 1);
}

namespace {

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

// Where a model that has answered ends its turn or goes on with a question of its own; npos where
// it does not.
size_t nextQuestion(const std::string &text) {
  auto next = [&](size_t from) {
    size_t first = std::string::npos;
    for (const std::string_view head :
         {"\nQuestion:", "\nQ:", "\nProblem:", "\nHuman:", "\nUser:", "<|eot_id|>", "<|im_end|>",
          "<|end|>", "<|endoftext|>", "<|end_of_text|>", "</s>", "<end_of_turn>"})
      first = std::min(first, text.find(head, from));
    return first;
  };
  constexpr int most = 4; // the first may be that of the text's own question
  size_t at = next(0);
  for (int heads = 0; at != std::string::npos && heads < most; ++heads, at = next(at + 1)) {
    const std::string before = text.substr(0, at);
    const auto box = lastBox(before); // "put your answer in \boxed{}" says none
    const bool boxed = box && !isPlaceholder(box->content);
    const auto said = boxed ? std::nullopt : announcedAnswer(lastPart(before));
    if (boxed || (said && !isPlaceholder(*said)))
      return at;
  }
  return std::string::npos;
}

} // namespace

namespace {

// Without the annotations of a calculator: "48+24 = <<48+24=72>>72".
std::string withoutAnnotations(const std::string &text) {
  std::string kept;
  size_t from = 0;
  for (size_t open; (open = text.find("<<", from)) != text.npos;) {
    const size_t close = text.find_first_not_of("0123456789+-*/=.,()% ", open + 2);
    const bool closes = close != text.npos && text.compare(close, 2, ">>") == 0;
    kept.append(text, from, (closes ? open : open + 2) - from);
    from = closes ? close + 2 : open + 2;
  }
  return from ? kept.append(text, from) : text;
}

// Without what is struck out, "~~9~~ 8", and without annotations.
std::string withoutStruck(const std::string &text) {
  constexpr std::string_view sign = "~~";
  std::string kept;
  size_t from = 0;
  for (size_t open; (open = text.find(sign, from)) != text.npos;) {
    const size_t close = text.find(sign, open + sign.size());
    if (close == text.npos)
      break;
    const bool oneLine =
        std::string_view(text).substr(open, close - open).find('\n') == std::string_view::npos;
    kept.append(text, from, (oneLine ? open : close) - from);
    from = oneLine ? close + sign.size() : close;
  }
  if (from)
    kept.append(text, from);
  return withoutAnnotations(from ? kept : text);
}

} // namespace

std::pair<std::string, bool> answeringPart(const std::string &given) {
  const std::string whole = withoutStruck(given);
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

bool isThinking(const std::string &whole) {
  return std::any_of(std::begin(kThoughts), std::end(kThoughts), [&](const auto &signs) {
    const size_t open = whole.rfind(signs.first);
    return open != std::string::npos && whole.find(signs.second, open) == std::string::npos;
  });
}

} // namespace m1rt
