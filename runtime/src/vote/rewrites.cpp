// What the tokens of an answer become before they are read.
#include "vote/extraction.h"
#include "vote/reader.h"

namespace m1rt::vote {

Tokens withWordedConditions(const Tokens &tokens) {
  Tokens all;
  bool cases = false;
  for (size_t i = 0; i < tokens.size(); ++i) {
    all.push_back(tokens[i]);
    const bool environment = tokens[i].kind == Token::Kind::command && i + 2 < tokens.size();
    if (environment && tokens[i + 2].text == "cases")
      cases = tokens[i].text == "begin";
    if (!cases || !isOp(tokens[i], "&"))
      continue;
    size_t end = i + 1;
    bool words = false, relation = false;
    std::string text;
    for (; end < tokens.size() && !isOp(tokens[end], "\\\\") && !isOp(tokens[end], "&") &&
           tokens[end].text != "end";
         ++end) {
      static const std::set<std::string> signs = {"=", "<", ">", "≤", "≥", "≠", "∈", "≡"};
      const Token &t = tokens[end];
      words |= isWordToken(t) || isOp(t, "\\notin");
      relation |= t.kind == Token::Kind::op && signs.count(t.text) != 0;
      text += (text.empty() ? "" : " ") + trimmed(t.text);
    }
    if (const size_t is = text.find(" is "); is != std::string::npos) // n even
      text.erase(is, 3);
    for (const std::string_view lead : {"if ", "when ", "for ", "where "})
      if (text.compare(0, lead.size(), lead) == 0)
        text.erase(0, lead.size());
    if (!words || relation)
      continue;
    all.push_back({Token::Kind::text, text});
    i = end - 1;
  }
  return all;
}

void dropRepetition(Tokens &tokens) {
  if (tokens.size() < 4 || !isOp(tokens.back(), ")"))
    return;
  size_t open = tokens.size() - 2;
  bool other = false; // than a factor
  for (; open > 0 && !isOp(tokens[open], "("); --open) {
    const Token &t = tokens[open];
    other |= isOp(t, "%") || (t.kind == Token::Kind::number && t.text.find('.') != t.text.npos);
  }
  if (!open || !tokens[open].spaceBefore || !other)
    return;
  const ExpressionPtr value = parseExpression(tokens, 0, open),
                      again = parseExpression(tokens, open + 1, tokens.size() - 1);
  if (!value || !again || hasVariables(*value) || hasVariables(*again))
    return;
  const bool same = value->kind == again->kind && value->text == again->text && value->kids.empty();
  const auto key = same ? std::nullopt : valueKey(*value);
  if (key && valueKey(*again) == key)
    tokens.resize(open);
}

void writeOpenIntervals(Tokens &tokens) {
  static const std::set<std::string> beside = {"∈", "∪", "∩", "\\setminus", "=", "∨"};
  bool within = false;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool left = isOp(tokens[i], "["), right = isOp(tokens[i], "]");
    if (!left && !right)
      continue;
    const bool first = i == 0 || beside.count(tokens[i - 1].text) != 0;
    const bool last = i + 1 == tokens.size() || beside.count(tokens[i + 1].text) != 0;
    if (!within && right && first)
      tokens[i].text = "(";
    else if (within && left && last)
      tokens[i].text = ")";
    within = within ? !(right || (left && last)) : left || first;
  }
}

} // namespace m1rt::vote
