#include "vote/value.h"

#include "vote/extraction.h"
#include "vote/number_words.h"
#include "vote/reader.h"
#include "vote/relations.h"
#include "vote/units.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string_view>
#include <vector>

namespace m1rt::vote {
namespace {

using Kind = Value::Kind;
constexpr size_t kLongestAnswer = 4000;

} // namespace

// Words: "Alice and Bob" is a list, "option B" the letter, "a circle" a circle.
static std::shared_ptr<Value> wordsValue(const std::string &text) {
  auto v = std::make_shared<Value>();
  v->text = plainText(text);
  const std::vector<std::string> items = namedThings(text);
  if (items.size() == 1)
    v->text = plainText(items[0]);
  if (items.size() < 2)
    return v;
  v->kind = Kind::list;
  for (const std::string &item : items) {
    auto each = std::make_shared<Value>();
    each->text = plainText(item);
    v->items.push_back(each);
  }
  return v;
}

// (C) 12, \textbf{(C) } 12, C) 12, \text{(C) 12}: the choice C and what it says. Null for others.
static std::shared_ptr<Value> readChoice(const std::string &given) {
  const bool formula =
      given.size() > 2 && given[0] == '$' && given.find('$', 1) == given.size() - 1;
  const std::string latex = formula ? given.substr(1, given.size() - 2) : given;
  size_t at = 0;
  bool upright = false;
  for (const std::string_view name :
       {"\\textbf{", "\\text{", "\\textrm{", "\\mathrm{", "\\mathbf{"})
    if (latex.compare(0, name.size(), name) == 0) {
      upright = true;
      at = name.size();
    }
  at += at < latex.size() && latex[at] == '(';
  const bool bracket = at > 0 && latex[at - 1] == '(';
  if (at + 3 >= latex.size() || latex[at] < 'A' || latex[at] > 'J' ||
      !(latex[at + 1] == ')' || (latex[at + 1] == '.' && !bracket) ||
        (latex[at + 1] == ':' && !bracket && latex[at] < 'F')))
    return nullptr;
  const std::string letter(1, latex[at]);
  std::string rest = latex.substr(at + 2);
  const bool apart = std::string(" ~\\").find(rest[0]) != std::string::npos;
  const size_t first = rest.find_first_not_of(" ~");
  if (upright && first != std::string::npos && rest[first] == '}')
    rest.erase(0, first + 1);
  else if (!apart)
    return nullptr;
  else if (upright && rest.find('{') == std::string::npos && rest.back() == '}')
    rest.pop_back();
  else if (upright)
    return nullptr;
  while (!rest.empty()) { // \ and \, and \quad, too
    if (rest[0] == ' ' || rest[0] == '~')
      rest.erase(0, 1);
    else if (rest == "\\") // a blank was cut behind it
      rest.clear();
    else if (rest[0] == '\\' && rest.size() > 1 && std::string(" ,;:!").find(rest[1]) < 5)
      rest.erase(0, 2);
    else if (rest.compare(0, 5, "\\quad") == 0)
      rest.erase(0, 5);
    else
      break;
  }
  const bool continues = rest.empty() || std::string("+*/^=<>)_").find(rest[0]) < 9 ||
                         (rest[0] == '-' && rest.size() > 1 && rest[1] == ' ');
  if (continues || rest.compare(0, 4, "and ") == 0 || rest.compare(0, 3, "or ") == 0)
    return nullptr;
  auto v = std::make_shared<Value>();
  v->kind = Kind::tuple;
  v->open = "choice";
  auto name = std::make_shared<Value>();
  name->text = letter;
  v->items = {name, Reader(rest).run(/*choices=*/false)};
  return v;
}

std::shared_ptr<Value> Reader::run(bool choices) {
  if (choices)
    if (auto choice = readChoice(latex))
      return choice;
  for (const auto wording : {timeOfDay, dateIn, remainderIn, severalUnits})
    if (auto usual = wording(latex)) {
      auto v = std::make_shared<Value>();
      v->text = *usual;
      return v;
    }
  if (auto numerals = numeralsForWords(latex))
    return Reader(*numerals).run();
  auto all = latex.size() > kLongestAnswer ? std::nullopt : tokenize(latex);
  if (!all)
    return textValue();
  if (ValuePtr integers = readIntegers(*all))
    return std::make_shared<Value>(*integers);
  tokens = withoutRemarks(withUsualInteger(withoutIndex(withWordedConditions(*all))));
  // Rows without an environment are a list.
  const bool environment =
      std::any_of(tokens.begin(), tokens.end(), [](const Token &t) { return t.text == "begin"; });
  for (Token &t : tokens)
    if (!environment && isOp(t, "\\\\"))
      t.text = ",";
  // x ≡ 3 \bmod 5 is written \pmod 5.
  const bool congruent =
      std::any_of(tokens.begin(), tokens.end(), [](const Token &t) { return isOp(t, "≡"); });
  for (Token &t : tokens) {
    if (congruent && isOp(t, "\\bmod"))
      t.text = "\\pmod";
    if (isOp(t, "≡"))
      t.text = "=";
  }
  writeOpenIntervals(tokens);
  dropRepetition(tokens);
  ValuePtr v = tokens.empty() ? nullptr : read(0, tokens.size(), 0);
  if (!v)
    return textValue();
  return std::make_shared<Value>(*v);
}

std::shared_ptr<Value> Reader::textValue() const {
  const bool words = std::all_of(latex.begin(), latex.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string(" ,.()'-").find(c) != std::string::npos;
  });
  if (words)
    return wordsValue(latex);
  auto v = std::make_shared<Value>();
  v->text = plainText(latex);
  return v;
}

std::vector<size_t> Reader::findTop(size_t begin, size_t end,
                                    const std::set<std::string> &ops) const {
  std::vector<size_t> found;
  int depth = 0;
  for (size_t i = begin; i < end; ++i) {
    const Token &t = tokens[i];
    if (t.kind == Token::Kind::command && t.text == "begin")
      ++depth;
    if (t.kind == Token::Kind::command && t.text == "end")
      --depth;
    if (t.kind != Token::Kind::op)
      continue;
    bool opens = t.text == "(" || t.text == "[" || t.text == "{" || t.text == "\\{";
    bool closes = t.text == ")" || t.text == "]" || t.text == "}" || t.text == "\\}";
    depth += opens ? 1 : closes ? -1 : 0;
    if (depth == 0 && !closes && ops.count(t.text))
      found.push_back(i);
  }
  return found;
}

// x ≡ 10 (mod 7) and 3 \pmod 7: the class of a remainder, or of several. Null for others.
ValuePtr Reader::readCongruence(size_t begin, size_t end, int depth) {
  std::vector<size_t> at = findTop(begin, end, {"\\pmod"});
  size_t last = end;                                                 // of the modulus
  if (at.empty() && end - begin > 4 && isOp(tokens[end - 1], ")")) { // (mod 7)
    size_t open = end - 1;
    while (open > begin && !isOp(tokens[open], "("))
      --open;
    if (open > begin && (isOp(tokens[open + 1], "\\bmod") || isOp(tokens[open + 1], "\\pmod"))) {
      at = {open};
      last = end - 1;
    }
  }
  if (at.size() != 1 || at[0] == begin)
    return nullptr;
  const size_t first = at[0] + (last == end ? 1 : 2);
  if (first >= last || !findTop(first, last, {",", ";", "=", "<", ">", "≤", "≥"}).empty())
    return nullptr;
  const std::vector<size_t> equals = findTop(begin, at[0], {"="});
  size_t from = begin;
  if (equals.size() == 1 && isName(begin, equals[0]))
    from = equals[0] + 1;
  ValuePtr modulus = read(first, last, depth + 1), residues = read(from, at[0], depth + 1);
  const bool known = modulus && residues && modulus->kind == Kind::expression;
  if (!known)
    return nullptr;
  const auto m = exactValue(*modulus->expression);
  auto classOf = [&](const ValuePtr &residue) -> ValuePtr {
    auto v = std::make_shared<Value>();
    v->kind = Kind::tuple;
    v->open = "≡";
    v->items = {residue, modulus};
    const auto exact =
        residue->kind == Kind::expression ? exactValue(*residue->expression) : std::nullopt;
    if (exact && m && exact->denominator == 1 && m->denominator == 1 && m->numerator > 0)
      v->items[0] = rational({(exact->numerator % m->numerator + m->numerator) % m->numerator, 1});
    if (residue->kind == Kind::equation) // 2x ≡ 4 is not x ≡ 2
      v->items = {residue->items[0], residue->items[1], modulus};
    return v;
  };
  if (residues->kind != Kind::list)
    return classOf(residues);
  auto all = std::make_shared<Value>();
  all->kind = Kind::list;
  for (const ValuePtr &residue : residues->items)
    all->items.push_back(classOf(residue));
  return all;
}

ValuePtr Reader::read(size_t begin, size_t end, int depth) {
  if (begin >= end || depth > kMaxDepth || !spend(2 * (end - begin))) // looks through all of it
    return nullptr;
  if (end - begin == 1 && isText(tokens[begin])) {
    const std::string &text = tokens[begin].text;
    // \text{42}
    if (text.size() < latex.size() && text.find_first_of("0123456789") != std::string::npos)
      return Reader(text).run();
    return wordsValue(text);
  }
  if (end - begin == 1 && tokens[begin].text == "\\mathbbR")
    return interval("(", infinity(true), infinity(false), ")");
  if (ValuePtr part = readPartOfNumbers(begin, end))
    return part;
  if (end - begin == 1 && tokens[begin].text == "\\varnothing") {
    auto v = std::make_shared<Value>();
    v->kind = Kind::set;
    return v;
  }
  if (ValuePtr congruence = readCongruence(begin, end, depth))
    return congruence;
  std::vector<size_t> at = findTop(begin, end, {"∨"});
  if (!at.empty()) {
    auto v = std::make_shared<Value>();
    v->kind = Kind::list;
    return readItems(begin, end, at, depth, *v) ? alternatives(v) : nullptr;
  }
  at = findTop(begin, end, {",", ";"});
  if (!at.empty()) {
    auto v = std::make_shared<Value>();
    v->kind = Kind::list;
    if (!readItems(begin, end, at, depth, *v))
      return nullptr;
    if (v->items.size() == 1)
      return v->items[0];
    if (ValuePtr roots = numberedValues(*v))
      return roots;
    if (ValuePtr point = namedValues(*v))
      return point;
    if (ValuePtr all = listedConditions(*v))
      return all;
    return v;
  }
  auto joined = [&](const char *text) -> ValuePtr {
    auto v = std::make_shared<Value>();
    v->kind = Kind::joined;
    v->text = text;
    return readItems(begin, end, at, depth, *v) ? v : nullptr;
  };
  at = findTop(begin, end, {"∧"});
  if (!at.empty()) {
    ValuePtr all = joined("∩");
    return all ? conditions(all->items) : nullptr;
  }
  at = findTop(begin, end, {"∪"});
  const std::set<std::string> order = {"<", ">", "≤", "≥", "≠"};
  bool relations = !at.empty(); // -2 < x < 1 ∪ x > 3
  for (size_t i = 0, from = begin; relations && i <= at.size(); ++i) {
    const size_t to = i < at.size() ? at[i] : end;
    relations = !findTop(from, to, order).empty();
    from = to + 1;
  }
  if (relations) {
    ValuePtr all = joined("∪");
    return all ? alternatives(all) : nullptr;
  }
  at = findTop(begin, end, {"=", "<", ">", "≤", "≥", "≠", "∈"});
  if (!at.empty())
    return readRelation(begin, end, at, depth);
  if (ValuePtr without = readDifference(begin, end, depth))
    return without;
  for (const char *op : {"∪", "∩"}) {
    at = findTop(begin, end, {op});
    if (!at.empty())
      return joined(op);
  }
  at = findTop(begin, end, {":"});
  if (!at.empty()) { // a ratio, or a time of day
    auto v = std::make_shared<Value>();
    v->kind = Kind::tuple;
    v->open = v->close = ":";
    const Token &minutes = tokens[at[0] + 1 < end ? at[0] + 1 : at[0]];
    v->columns =
        minutes.kind == Token::Kind::number && minutes.text.size() == 2 && minutes.text[0] < '6';
    return readItems(begin, end, at, depth, *v) ? v : nullptr;
  }
  if (tokens[begin].kind == Token::Kind::command && tokens[begin].text == "begin")
    if (ValuePtr v = readCases(begin, end, depth))
      return v;
  if (tokens[begin].kind == Token::Kind::command && tokens[begin].text == "begin")
    if (ValuePtr v = readMatrix(begin, end, depth))
      return v;
  if (ValuePtr v = readMatrices(begin, end, depth))
    return v;
  if (ValuePtr v = readBrackets(begin, end, depth))
    return v;
  if (ValuePtr v = readMultiple(begin, end, depth))
    return v;
  if (ValuePtr v = readTransposed(begin, end, depth))
    return v;
  if (ValuePtr v = readPoint(begin, end, depth))
    return v;
  return readExpression(begin, end);
}

// \frac13(1, -2, 2), a number times a point. Null for others.
ValuePtr Reader::readMultiple(size_t begin, size_t end, int depth) {
  if (end - begin < 6 || !isOp(tokens[end - 1], ")"))
    return nullptr;
  size_t open = end - 1;
  for (int level = 0; open > begin; --open) {
    level += isOp(tokens[open], ")") ? 1 : isOp(tokens[open], "(") ? -1 : 0;
    if (level == 0)
      break;
  }
  const bool point = open > begin && !findTop(open + 1, end - 1, {","}).empty() &&
                     std::all_of(tokens.begin() + ptrdiff_t(begin),
                                 tokens.begin() + ptrdiff_t(open), [](const Token &t) {
                                   return t.kind == Token::Kind::number || t.text == "frac" ||
                                          t.text == "sqrt" || isOp(t, "{") || isOp(t, "}") ||
                                          isOp(t, "/") || isOp(t, "-") || isOp(t, "*");
                                 });
  const size_t factorEnd = point && isOp(tokens[open - 1], "*") ? open - 1 : open;
  const bool minus = point && factorEnd == begin + 1 && isOp(tokens[begin], "-");
  ExpressionPtr factor = minus   ? toExpression({-1, 1})
                         : point ? parseExpression(tokens, begin, factorEnd)
                                 : nullptr;
  ValuePtr of = factor ? readBrackets(open, end, depth) : nullptr;
  if (!of || of->kind != Kind::tuple || of->open != "(" || of->close != ")")
    return nullptr;
  auto v = std::make_shared<Value>(*of);
  for (ValuePtr &item : v->items) {
    if (item->kind != Kind::expression)
      return nullptr;
    item = expressionValue(
        node(Expression::Kind::multiply, copyOf(*factor), copyOf(*item->expression)));
  }
  return v;
}

// (3, 4)^T and [3, 4]^\top: a column. Null for others.
ValuePtr Reader::readTransposed(size_t begin, size_t end, int depth) {
  if (end - begin < 7)
    return nullptr;
  const bool group = isOp(tokens[end - 1], "}");
  const size_t last = end - 1 - group, sign = last - 1 - group;
  if ((tokens[last].text != "T" && tokens[last].text != "\\top") || !isOp(tokens[sign], "^"))
    return nullptr;
  ValuePtr row = readBrackets(begin, sign, depth);
  if (!row || row->kind != Kind::tuple || (row->open != "(" && row->open != "["))
    return nullptr;
  auto column = std::make_shared<Value>();
  column->kind = Kind::matrix;
  column->columns = 1;
  column->items = row->items;
  return column;
}

// Whether a minus stands between sets: \mathbb{R} - \{2\}, (0, 2) - \{1\}, \{1, 2\} - \{1\}, but
// not in \{x\} - \{y\} and (x + 1) - \{x\}, which may be fractional parts.
bool Reader::isBetweenSets(size_t begin, size_t sign, size_t end) const {
  if (sign == begin || sign + 1 == end)
    return false;
  const Token &left = tokens[sign - 1];
  if (tokens[begin].text == "\\mathbbR")
    return sign == begin + 1;
  if (!isOp(tokens[sign + 1], "\\{"))
    return false;
  const bool interval = (isOp(left, ")") || isOp(left, "]")) &&
                        (isOp(tokens[begin], "(") || isOp(tokens[begin], "["));
  return (interval || (isOp(tokens[begin], "\\{") && isOp(left, "\\}"))) &&
         !findTop(begin + 1, sign - 1, {","}).empty();
}

// A \setminus B, or with a minus. Null for others.
ValuePtr Reader::readDifference(size_t begin, size_t end, int depth) {
  std::vector<size_t> at = findTop(begin, end, {"\\setminus"});
  if (at.empty()) {
    at = findTop(begin, end, {"-"});
    if (at.size() != 1 || !isBetweenSets(begin, at[0], end))
      return nullptr;
  }
  auto v = std::make_shared<Value>();
  v->kind = Kind::tuple;
  v->open = "∖";
  return readItems(begin, end, at, depth, *v) ? v : nullptr;
}

// \mathbb{R}^+, \mathbb{R}_{>0} and the like as intervals, and \mathbb{Z}^+. Null for others.
ValuePtr Reader::readPartOfNumbers(size_t begin, size_t end) {
  constexpr size_t longest = 7;
  const std::string &all = tokens[begin].text;
  if (end - begin < 2 || end - begin > longest || (all != "\\mathbbR" && all != "\\mathbbZ"))
    return nullptr;
  std::string part;
  for (size_t i = begin + 1; i < end; ++i)
    if (!isOp(tokens[i], "{") && !isOp(tokens[i], "}"))
      part += tokens[i].text;
  const bool positive = part == "^+" || part == "_>0" || part == "^>0";
  if (all == "\\mathbbZ") {
    auto v = std::make_shared<Value>();
    v->text = "ℤ⁺";
    return positive ? v : nullptr;
  }
  if (positive)
    return interval("(", rational({0, 1}), infinity(false), ")");
  if (part == "^*") {
    auto zero = std::make_shared<Value>(), v = std::make_shared<Value>();
    zero->kind = Kind::set;
    zero->items = {rational({0, 1})};
    v->kind = Kind::tuple;
    v->open = "∖";
    v->items = {interval("(", infinity(true), infinity(false), ")"), zero};
    return v;
  }
  if (part == "_≥0" || part == "^≥0")
    return interval("[", rational({0, 1}), infinity(false), ")");
  if (part == "^-" || part == "_<0" || part == "^<0")
    return interval("(", infinity(true), rational({0, 1}), ")");
  if (part == "_≤0" || part == "^≤0")
    return interval("(", infinity(true), rational({0, 1}), "]");
  return nullptr;
}

// P(2, 3) as P = (2, 3), and C(8, 3) as a binomial. Null for others, and for distributions.
ValuePtr Reader::readPoint(size_t begin, size_t end, int depth) {
  const Token &name = tokens[begin];
  const bool letter = name.kind == Token::Kind::letter && name.text.size() == 1 &&
                      name.text[0] >= 'A' && name.text[0] <= 'Z';
  if (end - begin < 6 || !letter || std::string("NUX").find(name.text) != std::string::npos ||
      !isOp(tokens[begin + 1], "("))
    return nullptr;
  ValuePtr point = readBrackets(begin + 1, end, depth);
  if (!point || point->kind != Kind::tuple || point->open != "(" || point->close != ")")
    return nullptr;
  auto isNatural = [](const ValuePtr &item) {
    const auto exact =
        item->kind == Kind::expression ? exactValue(*item->expression) : std::nullopt;
    const bool count = item->kind == Kind::expression && isVariable(*item->expression) &&
                       std::string("nkrm").find(item->expression->text) < 4;
    return count || (exact && exact->denominator == 1 && exact->numerator >= 0);
  };
  if (name.text == "C" && point->items.size() == 2 &&
      std::all_of(point->items.begin(), point->items.end(), isNatural)) {
    auto v = std::make_shared<Value>();
    v->kind = Kind::expression;
    v->expression = node(Expression::Kind::binomial, copyOf(*point->items[0]->expression),
                         copyOf(*point->items[1]->expression));
    return v;
  }
  auto v = std::make_shared<Value>();
  v->kind = Kind::equation;
  v->named = true;
  v->items = {readExpression(begin, begin + 1), point};
  return v;
}

bool Reader::readItems(size_t begin, size_t end, const std::vector<size_t> &at, int depth,
                       Value &out) {
  size_t from = begin;
  for (size_t i = 0; i <= at.size(); ++i) {
    size_t to = i < at.size() ? at[i] : end;
    ValuePtr item = read(from, to, depth + 1);
    if (!item)
      return false;
    // An item with ± is two; they join the others.
    if (item->kind == Kind::list && out.kind != Kind::tuple)
      out.items.insert(out.items.end(), item->items.begin(), item->items.end());
    else
      out.items.push_back(item);
    from = to + 1;
  }
  return true;
}

// (a, b), [a, b), \{ … \}; nothing if the first bracket does not close at the end or holds no
// separator.
ValuePtr Reader::readBrackets(size_t begin, size_t end, int depth) {
  if (end - begin < 2 || tokens[begin].kind != Token::Kind::op ||
      tokens[end - 1].kind != Token::Kind::op)
    return nullptr;
  std::string open = tokens[begin].text, close = tokens[end - 1].text;
  bool group = open == "{" && close == "}", set = group || (open == "\\{" && close == "\\}");
  if (!set && !((open == "(" || open == "[") && (close == ")" || close == "]")))
    return nullptr;
  int level = 0;
  for (size_t i = begin; i + 1 < end; ++i) {
    const Token &t = tokens[i];
    if (t.kind != Token::Kind::op)
      continue;
    level += t.text == "(" || t.text == "[" || t.text == "{" || t.text == "\\{"   ? 1
             : t.text == ")" || t.text == "]" || t.text == "}" || t.text == "\\}" ? -1
                                                                                  : 0;
    if (level == 0)
      return nullptr; // closed before the end
  }
  auto v = std::make_shared<Value>();
  std::vector<size_t> at = findTop(begin + 1, end - 1, {",", ";"});
  if (group && at.empty())
    return read(begin + 1, end - 1, depth + 1);
  if (set) {
    v->kind = Kind::set;
    if (end - begin == 2)
      return v;
    // \{x \mid x > 2\} and \{x \in \mathbb{R} \mid x > 2\}: what the condition says
    const bool real =
        end - begin > 6 && isOp(tokens[begin + 2], "∈") && tokens[begin + 3].text == "\\mathbbR";
    const size_t bar = begin + (real ? 4 : 2);
    if (end > bar + 2 && tokens[begin + 1].kind == Token::Kind::letter &&
        (isOp(tokens[bar], "|") || isOp(tokens[bar], ":"))) {
      // x \ne k\pi, k \in \mathbb{Z}
      const bool integer = end > bar + 6 && tokens[end - 2].text == "\\mathbbZ" &&
                           isOp(tokens[end - 3], "∈") && isOp(tokens[end - 5], ",") &&
                           tokens[end - 4].text != tokens[begin + 1].text;
      if (ValuePtr condition = read(bar + 1, integer ? end - 5 : end - 1, depth + 1)) {
        const std::vector<ValuePtr> &each = condition->items; // x < 0 or x > 1
        if (condition->kind == Kind::tuple || condition->kind == Kind::joined ||
            (integer && condition->kind == Kind::relation) ||
            (condition->kind == Kind::list &&
             std::none_of(each.begin(), each.end(),
                          [](const ValuePtr &item) { return item->of.empty(); })))
          return condition;
      }
    }
    // \{n\pi \mid n \in \mathbb{Z}\} is n\pi for all integers n
    const std::vector<size_t> bars = findTop(begin + 1, end - 1, {"|", ":"});
    if (bars.size() == 1 && end == bars[0] + 5 && isOp(tokens[bars[0] + 2], "∈") &&
        tokens[bars[0] + 3].text == "\\mathbbZ")
      return read(begin + 1, bars[0], depth + 1);
    // \{(x, y) : y = 2x\} and \{x \in \mathbb{Z} \mid x > 2\}
    if (!bars.empty() &&
        !findTop(bars[0] + 1, end - 1, {"=", "<", ">", "≤", "≥", "≠", "∈"}).empty()) {
      v->kind = Kind::tuple;
      v->open = "\\{|";
      v->items = {read(begin + 1, bars[0], depth + 1), read(bars[0] + 1, end - 1, depth + 1)};
      return v->items[0] && v->items[1] ? v : nullptr;
    }
    if (!readItems(begin + 1, end - 1, at, depth, *v))
      return nullptr;
    ValuePtr point = v->items.size() > 1 ? namedValues(*v) : nullptr;
    return point ? point : v;
  }
  if (at.empty()) {
    // (C) is the choice C; (x) and [x] are x.
    return read(begin + 1, end - 1, depth + 1);
  }
  v->kind = Kind::tuple;
  v->open = open;
  v->close = close;
  if (!readItems(begin + 1, end - 1, at, depth, *v))
    return nullptr;
  // [[1, 2], [3, 4]], as programs write matrices
  const size_t columns = v->items[0]->items.size();
  if (open == "[" && close == "]" && columns > 0 &&
      std::all_of(v->items.begin(), v->items.end(), [&](const ValuePtr &row) {
        return row->kind == Kind::tuple && row->open == "[" && row->close == "]" &&
               row->of.empty() && row->items.size() == columns;
      })) {
    auto matrix = std::make_shared<Value>();
    matrix->kind = Kind::matrix;
    matrix->columns = columns;
    for (const ValuePtr &row : v->items)
      matrix->items.insert(matrix->items.end(), row->items.begin(), row->items.end());
    return matrix;
  }
  // (±2, 3) are two points, (±1, ±2) four.
  constexpr size_t mostPoints = 16;
  auto points = std::make_shared<Value>();
  points->kind = Kind::list;
  points->items = {v};
  for (size_t i = 0; open == "(" && close == ")" && i < v->items.size(); ++i) {
    if (v->items[i]->kind != Kind::list)
      continue;
    std::vector<ValuePtr> all;
    for (const ValuePtr &point : points->items)
      for (const ValuePtr &each : v->items[i]->items) {
        auto one = std::make_shared<Value>(*point);
        one->items[i] = each;
        all.push_back(one);
      }
    if (all.size() > mostPoints)
      return v;
    points->items = std::move(all);
  }
  return points->items.size() == 1 ? points->items[0] : points;
}

// A row of cases: x^2, & \text{if } x > 0. Null for others.
ValuePtr Reader::readCase(size_t begin, size_t end, int depth) {
  const std::vector<size_t> columns = findTop(begin, end, {"&"});
  if (columns.size() != 1)
    return nullptr;
  size_t last = columns[0], first = last + 1;
  last -= last > begin + 1 && isOp(tokens[last - 1], ",");
  end -= end > first + 1 && isOp(tokens[end - 1], ",");
  while (first + 1 < end && isWordToken(tokens[first]) &&
         consistsOf(tokens[first], {"if", "for", "when", "where"}))
    ++first;
  auto v = std::make_shared<Value>();
  v->kind = Kind::tuple;
  v->open = "case";
  v->items = {read(begin, last, depth + 1), read(first, end, depth + 1)};
  return v->items[0] && v->items[1] ? v : nullptr;
}

// \begin{cases} x = 1 \\ y = 2 \end{cases}: a point, or conditions that hold together; or values
// with their conditions. Null for others.
ValuePtr Reader::readCases(size_t begin, size_t end, int depth) {
  if (end - begin < 9 || tokens[begin + 2].text != "cases" || !isOp(tokens[begin + 3], "}") ||
      tokens[end - 4].text != "end")
    return nullptr;
  const bool columns = !findTop(begin + 4, end - 4, {"&"}).empty();
  Value rows;
  for (size_t from = begin + 4, i = from; i <= end - 4; ++i) {
    if (i < end - 4 && !isOp(tokens[i], "\\\\") && !(isOp(tokens[i], ",") && !columns))
      continue;
    if (i > from) {
      ValuePtr row = columns ? readCase(from, i, depth) : read(from, i, depth + 1);
      if (!row)
        return nullptr;
      rows.items.push_back(row);
    }
    from = i + 1;
  }
  if (columns) {
    rows.kind = Kind::set;
    return std::make_shared<Value>(std::move(rows));
  }
  if (rows.items.size() < 2)
    return rows.items.empty() ? nullptr : rows.items[0];
  ValuePtr point = namedValues(rows);
  const bool named = std::all_of(rows.items.begin(), rows.items.end(),
                                 [](const ValuePtr &row) { return !row->of.empty(); });
  if (point || named)
    return point ? point : conditions(rows.items);
  const bool equations = std::all_of(rows.items.begin(), rows.items.end(), [](const ValuePtr &row) {
    return row->kind == Kind::equation && row->items[0]->kind == Kind::expression &&
           (!row->named || row->items[0]->expression->kind == Expression::Kind::add);
  });
  if (!equations)
    return nullptr;
  rows.kind = Kind::list;
  return std::make_shared<Value>(std::move(rows));
}

// 2\hat{i} - \hat{j} is (2, -1), and of \hat{k}, too, a vector of three. Null for others.
static ValuePtr unitVectors(const Expression &e) {
  static const std::array<const char *, 3> names = {"\\hati", "\\hatj", "\\hatk"};
  std::set<std::string> variables;
  collectVariables(e, variables);
  const size_t size = variables.count(names[2]) ? 3 : 2;
  if (!variables.count(names[0]) && !variables.count(names[1]) && size == 2)
    return nullptr;
  auto at = [&](std::array<__int128, 3> point) {
    ExpressionPtr value = copyOf(e);
    for (size_t i = 0; i < names.size(); ++i)
      value = substitute(*value, names[i], *toExpression({point[i], 1}));
    return value;
  };
  auto v = std::make_shared<Value>();
  v->kind = Kind::tuple;
  v->open = "(";
  v->close = ")";
  ExpressionPtr sum = toExpression({0, 1});
  for (size_t i = 0; i < size; ++i) {
    std::array<__int128, 3> point = {0, 0, 0};
    point[i] = 1;
    auto item = std::make_shared<Value>();
    item->kind = Kind::expression;
    item->expression = at(point);
    v->items.push_back(item);
    sum = node(Expression::Kind::add, std::move(sum),
               node(Expression::Kind::multiply, at(point),
                    toExpression({static_cast<__int128>(i) + 2, 1})));
  }
  return agree(*at({2, 3, 4}), *sum) && agree(*at({0, 0, 0}), *toExpression({0, 1})) ? v : nullptr;
}

ValuePtr Reader::readExpression(size_t begin, size_t end) {
  ExpressionPtr e = parseExpression(tokens, begin, end);
  if (!e)
    return nullptr;
  if (!hasPlusMinus(*e))
    if (ValuePtr vector = unitVectors(*e))
      return vector;
  auto v = std::make_shared<Value>();
  if (!hasPlusMinus(*e)) {
    v->kind = Kind::expression;
    v->expression = std::move(e);
    // Letters alone may also be text: C for \text{(C)}, yes for \text{Yes}.
    std::string letters;
    for (size_t i = begin; i < end; ++i) {
      bool plain = tokens[i].kind == Token::Kind::letter || tokens[i].kind == Token::Kind::word;
      letters =
          plain && (i == begin || !letters.empty()) ? letters + tokens[i].text : std::string();
    }
    v->text = letters;
    return v;
  }
  v->kind = Kind::list;
  for (ExpressionPtr &each : allSigns(*e)) {
    auto item = std::make_shared<Value>();
    item->kind = Kind::expression;
    item->expression = std::move(each);
    v->items.push_back(item);
  }
  return v->items.empty() ? nullptr : v;
}

// Without braces around all of it that are no set's: {5 \text{ cents}}. One pass, however many.
static std::string withoutGroups(const std::string &latex) {
  if (latex.empty() || latex[0] != '{' || latex.find(',') != std::string::npos)
    return latex;
  std::vector<size_t> open, closing(latex.size(), std::string::npos);
  for (size_t i = 0; i < latex.size(); ++i) {
    if (latex[i] == '\\') {
      ++i; // an escaped brace is none
    } else if (latex[i] == '{') {
      open.push_back(i);
    } else if (latex[i] == '}' && !open.empty()) {
      closing[open.back()] = i;
      open.pop_back();
    }
  }
  size_t begin = 0, end = latex.size();
  while (begin < end && latex[begin] == '{' && closing[begin] + 1 == end) {
    ++begin;
    --end;
  }
  return latex.substr(begin, end - begin);
}

std::shared_ptr<const Value> readAnswer(const std::string &latex) {
  std::string given = latex;
  if (given.size() <= kLongestAnswer)
    for (size_t at = given.find("per cent"); at < given.size(); at = given.find("per cent", at))
      given.erase(at + 3, 1);
  constexpr std::string_view blanks = " \t\r\n";
  if (const size_t last = given.find_last_not_of(blanks);
      last > 0 && last < given.size() && given.compare(last - 1, 2, "}.") == 0)
    given.resize(last); // \text{(B)}.
  return Reader(withoutGroups(given)).run();
}

} // namespace m1rt::vote
