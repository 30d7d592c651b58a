#include "vote/value.h"

#include "vote/reader.h"

#include <algorithm>
#include <map>
#include <set>

namespace m1rt::vote {
namespace {

using Kind = Value::Kind;
using ValuePtr = std::shared_ptr<const Value>;

constexpr size_t kLongestAnswer = 4000;

} // namespace

std::shared_ptr<Value> Reader::run() {
  if (auto time = timeOfDay(latex)) {
    auto v = std::make_shared<Value>();
    v->text = *time;
    return v;
  }
  auto all = latex.size() > kLongestAnswer ? std::nullopt : tokenize(latex);
  if (!all)
    return textValue();
  tokens = withoutRemarks(std::move(*all));
  // ]0, 1[ is (0, 1)
  if (tokens.size() > 3 && (isOp(tokens[0], "]") || isOp(tokens.back(), "[")) &&
      (isOp(tokens[0], "]") || isOp(tokens[0], "[")) &&
      (isOp(tokens.back(), "]") || isOp(tokens.back(), "["))) {
    tokens[0].text = isOp(tokens[0], "]") ? "(" : "[";
    tokens.back().text = isOp(tokens.back(), "[") ? ")" : "]";
  }
  ValuePtr v = tokens.empty() ? nullptr : read(0, tokens.size(), 0);
  return v ? std::make_shared<Value>(*v) : textValue();
}

std::shared_ptr<Value> Reader::textValue() const {
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

namespace {

ValuePtr interval(const char *open, ValuePtr low, ValuePtr high, const char *close) {
  auto v = std::make_shared<Value>();
  v->kind = Kind::tuple;
  v->open = open;
  v->close = close;
  v->items = {std::move(low), std::move(high)};
  return v;
}

ValuePtr infinity(bool negative) {
  auto e = std::make_shared<Expression>();
  e->kind = Expression::Kind::variable;
  e->text = "\\infty";
  if (negative) {
    auto outer = std::make_shared<Expression>();
    outer->kind = Expression::Kind::negate;
    outer->kids.push_back(std::make_unique<Expression>(std::move(*e)));
    e = outer;
  }
  auto v = std::make_shared<Value>();
  v->kind = Kind::expression;
  v->expression = e;
  return v;
}

// p = 5, q = 2 with names that differ: the point (5, 2), by order of the names. Null for others.
ValuePtr namedValues(const Value &list) {
  std::map<std::string, ValuePtr> values;
  for (const ValuePtr &item : list.items) {
    if (item->kind != Kind::equation || !item->named || item->items[0]->kind != Kind::expression ||
        !isVariable(*item->items[0]->expression) ||
        !values.emplace(item->items[0]->expression->text, item->items[1]).second)
      return nullptr;
  }
  auto v = std::make_shared<Value>();
  v->kind = Kind::tuple;
  v->open = "(";
  v->close = ")";
  for (const auto &[name, value] : values)
    v->items.push_back(value);
  return v;
}

ValuePtr rational(const Rational &value) {
  auto v = std::make_shared<Value>();
  v->kind = Kind::expression;
  v->expression = toExpression(value);
  return v;
}

// Conditions that must hold together: those of one variable as they are, without its being real;
// of several, each with its variable.
ValuePtr conditions(const std::vector<ValuePtr> &items) {
  std::set<std::string> names;
  for (const ValuePtr &item : items)
    names.insert(item->of);
  auto v = std::make_shared<Value>();
  v->kind = Kind::joined;
  v->text = "∩";
  for (const ValuePtr &item : items) {
    if (names.size() == 1) {
      v->items.push_back(item);
      continue;
    }
    auto named = std::make_shared<Value>();
    named->kind = Kind::tuple;
    named->open = item->of;
    named->close = "∈";
    named->items = {item};
    v->items.push_back(named);
  }
  return v;
}

bool isRealLine(const Value &v) {
  auto infinite = [](const Value &bound) {
    return bound.kind == Kind::expression &&
           (bound.expression->kind == Expression::Kind::negate ? *bound.expression->kids[0]
                                                               : *bound.expression)
                   .text == "\\infty";
  };
  return v.kind == Kind::tuple && v.open == "(" && v.close == ")" && v.items.size() == 2 &&
         infinite(*v.items[0]) && infinite(*v.items[1]);
}

// A list of conditions: x > 1, y < 2 hold together; x ∈ ℝ adds nothing to x ≠ 1. Null for others.
ValuePtr listedConditions(const Value &list) {
  std::set<std::string> names;
  for (const ValuePtr &item : list.items)
    names.insert(item->of);
  if (names.count("") || list.items.size() < 2)
    return nullptr;
  if (names.size() > 1)
    return conditions(list.items);
  return list.items.size() == 2 && isRealLine(*list.items[0]) ? list.items[1] : nullptr;
}

// ℝ without some rational numbers. Null for others.
ValuePtr realsWithout(const Value &numbers) {
  std::vector<Rational> holes;
  if (numbers.kind != Kind::set)
    return nullptr;
  for (const ValuePtr &item : numbers.items) {
    auto exact = item->kind == Kind::expression ? exactValue(*item->expression) : std::nullopt;
    if (!exact)
      return nullptr;
    holes.push_back(*exact);
  }
  auto real = [](const Rational &r) {
    return static_cast<long double>(r.numerator) / static_cast<long double>(r.denominator);
  };
  std::sort(holes.begin(), holes.end(),
            [&](const Rational &a, const Rational &b) { return real(a) < real(b); });
  auto same = [](const Rational &a, const Rational &b) {
    return a.numerator == b.numerator && a.denominator == b.denominator;
  };
  holes.erase(std::unique(holes.begin(), holes.end(), same), holes.end());
  auto v = std::make_shared<Value>();
  v->kind = Kind::joined;
  v->text = "∪";
  ValuePtr from = infinity(true);
  for (size_t i = 0; i <= holes.size(); ++i) {
    ValuePtr to = i < holes.size() ? rational(holes[i]) : infinity(false);
    v->items.push_back(interval("(", from, to, ")"));
    from = to;
  }
  return v;
}

} // namespace

// x ≡ 10 (mod 7) and 3 \pmod 7: the class of a remainder, or of several. Null for others.
ValuePtr Reader::readCongruence(size_t begin, size_t end, int depth) {
  std::vector<size_t> at = findTop(begin, end, {"\\pmod"});
  size_t last = end;                                                 // of the modulus
  if (at.empty() && end - begin > 4 && isOp(tokens[end - 1], ")")) { // (mod 7)
    size_t open = end - 1;
    while (open > begin && !isOp(tokens[open], "("))
      --open;
    if (open > begin && isOp(tokens[open + 1], "\\bmod")) {
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
    auto v = std::make_shared<Value>();
    v->text = plainText(text);
    return v;
  }
  if (end - begin == 1 && tokens[begin].text == "\\mathbbR")
    return interval("(", infinity(true), infinity(false), ")");
  if (end - begin == 1 && tokens[begin].text == "\\varnothing") {
    auto v = std::make_shared<Value>();
    v->kind = Kind::set;
    return v;
  }
  if (ValuePtr congruence = readCongruence(begin, end, depth))
    return congruence;
  std::vector<size_t> at = findTop(begin, end, {",", ";"});
  if (!at.empty()) {
    auto v = std::make_shared<Value>();
    v->kind = Kind::list;
    if (!readItems(begin, end, at, depth, *v))
      return nullptr;
    if (v->items.size() == 1)
      return v->items[0];
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
  at = findTop(begin, end, {"=", "<", ">", "≤", "≥", "≠", "∈"});
  if (!at.empty())
    return readRelation(begin, end, at, depth);
  at = findTop(begin, end, {"\\setminus"});
  if (at.size() == 1 && at[0] == begin + 1 && tokens[begin].text == "\\mathbbR") {
    ValuePtr without = read(at[0] + 1, end, depth + 1);
    return without ? realsWithout(*without) : nullptr;
  }
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
  return readExpression(begin, end);
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

namespace {

ValuePtr joinedIntervals(ValuePtr a, ValuePtr b) {
  auto v = std::make_shared<Value>();
  v->kind = Kind::joined;
  v->text = "∪";
  v->items = {std::move(a), std::move(b)};
  return v;
}

// What a relation that is linear in one variable, or whose left side is the absolute value of such
// a form, leaves for the variable: -x > -1 is (-∞, 1), x ≠ 1 two intervals, |x - 3| < 2 is (1, 5).
// Null for others.
ValuePtr solve(const Value &left, const std::string &op, const Value &right) {
  if (left.kind != Kind::expression || right.kind != Kind::expression)
    return nullptr;
  bool strict = op == "<" || op == ">" || op == "≠";
  const char *open = strict ? "(" : "[", *close = strict ? ")" : "]";
  // slope·x + constant against zero
  auto root = [](const Linear &form, const Rational &value) -> std::optional<Rational> {
    auto difference = add(value, {-form.constant.numerator, form.constant.denominator});
    auto by = inverse(form.slope);
    return difference && by ? multiply(*difference, *by) : std::nullopt;
  };
  if (left.expression->kind == Expression::Kind::absolute) {
    auto form = linearForm(*left.expression->kids[0]);
    auto bound = exactValue(*right.expression);
    if (!form || !bound || bound->numerator <= 0 || op == "≠")
      return nullptr;
    auto first = root(*form, {-bound->numerator, bound->denominator}), second = root(*form, *bound);
    if (!first || !second)
      return nullptr;
    if (form->slope.numerator < 0)
      std::swap(first, second);
    if (op == "<" || op == "≤")
      return interval(open, rational(*first), rational(*second), close);
    return joinedIntervals(interval("(", infinity(true), rational(*first), close),
                           interval(open, rational(*second), infinity(false), ")"));
  }
  Expression difference;
  difference.kind = Expression::Kind::add;
  difference.kids.push_back(resolvePlusMinus(*left.expression, false)); // copies
  auto negated = std::make_unique<Expression>();
  negated->kind = Expression::Kind::negate;
  negated->kids.push_back(resolvePlusMinus(*right.expression, false));
  difference.kids.push_back(std::move(negated));
  auto form = linearForm(difference);
  auto at = form ? root(*form, {0, 1}) : std::nullopt;
  if (!at)
    return nullptr;
  if (op == "≠")
    return joinedIntervals(interval("(", infinity(true), rational(*at), ")"),
                           interval("(", rational(*at), infinity(false), ")"));
  bool below = (op == "<" || op == "≤") == (form->slope.numerator > 0);
  return below ? interval("(", infinity(true), rational(*at), close)
               : interval(open, rational(*at), infinity(false), ")");
}

} // namespace

ValuePtr Reader::readRelation(size_t begin, size_t end, const std::vector<size_t> &at, int depth) {
  ValuePtr v = relationValue(begin, end, at, depth);
  const bool intervals = v && (v->kind == Kind::tuple || v->kind == Kind::joined);
  if (!intervals || isOp(tokens[at[0]], "="))
    return v;
  std::set<std::string> names;
  const size_t last = isOp(tokens[at[0]], "∈") ? at[0] : end;
  if (ExpressionPtr one = last < end ? parseExpression(tokens, begin, last) : nullptr)
    collectVariables(*one, names);
  for (size_t i = 0, from = begin; last == end && i <= at.size(); ++i) {
    const size_t to = i < at.size() ? at[i] : end;
    if (ExpressionPtr side = parseExpression(tokens, from, to))
      collectVariables(*side, names);
    from = to + 1;
  }
  if (names.size() != 1)
    return v;
  auto named = std::make_shared<Value>(*v);
  named->of = *names.begin();
  return named;
}

ValuePtr Reader::relationValue(size_t begin, size_t end, const std::vector<size_t> &at, int depth) {
  const std::string &op = tokens[at[0]].text;
  if (op == "∈")
    return isName(begin, at[0]) ? read(at[0] + 1, end, depth + 1) : nullptr;
  std::vector<ValuePtr> sides;
  size_t from = begin;
  for (size_t i = 0; i <= at.size(); ++i) {
    size_t to = i < at.size() ? at[i] : end;
    ValuePtr side = read(from, to, depth + 1);
    if (!side && i == 0 && isName(from, to)) {
      auto words = std::make_shared<Value>();
      for (size_t k = from; k < to; ++k)
        words->text += plainText(tokens[k].text);
      side = words;
    }
    if (!side)
      return nullptr;
    sides.push_back(side);
    from = to + 1;
  }
  auto v = std::make_shared<Value>();
  if (op == "=") { // of a = b = c the last side counts
    // 21 + 49 = 70 says 70
    auto isConstant = [](const ValuePtr &s) {
      return s->kind == Kind::expression && !hasVariables(*s->expression);
    };
    if (std::all_of(sides.begin(), sides.end(), isConstant)) {
      auto last = valueKey(*sides.back()->expression);
      if (last && std::all_of(sides.begin(), sides.end(),
                              [&](const ValuePtr &s) { return valueKey(*s->expression) == last; }))
        return sides.back();
    }
    v->kind = Kind::equation;
    v->items = {sides.front(), sides.back()};
    v->named = isName(begin, at[0]);
    // xy = k says something of three quantities, mn = 12 names a number.
    if (v->named && isProduct(tokens, begin, at[0]) && !isConstant(sides.back()))
      v->named = false;
    if (!v->named && at.size() == 1 && isName(at[0] + 1, end)) { // 5 = x
      v->named = true;
      std::swap(v->items[0], v->items[1]);
    }
    return v;
  }
  // 2 < |x| is |x| > 2
  auto isAbsolute = [](const ValuePtr &s) {
    return s->kind == Kind::expression && s->expression->kind == Expression::Kind::absolute;
  };
  static const std::map<std::string, std::string> mirrored = {
      {"<", ">"}, {">", "<"}, {"≤", "≥"}, {"≥", "≤"}, {"≠", "≠"}};
  if (at.size() == 1 && isAbsolute(sides[1]) && !isAbsolute(sides[0]))
    if (ValuePtr solved = solve(*sides[1], mirrored.at(op), *sides[0]))
      return solved;
  auto isVariableValue = [](const ValuePtr &s) {
    return s->kind == Kind::expression && isVariable(*s->expression) &&
           s->expression->text[0] != '\\';
  };
  auto less = [](const std::string &o) { return o == "<" || o == "≤"; };
  auto strict = [](const std::string &o) { return o == "<" || o == ">"; };
  // x < a and a < x < b are intervals.
  if (at.size() == 1 && op != "≠" && isVariableValue(sides[0]) != isVariableValue(sides[1])) {
    bool variableLeft = isVariableValue(sides[0]), upper = less(op) == variableLeft;
    ValuePtr bound = variableLeft ? sides[1] : sides[0];
    return upper ? interval("(", infinity(true), bound, strict(op) ? ")" : "]")
                 : interval(strict(op) ? "(" : "[", bound, infinity(false), ")");
  }
  if (at.size() == 2 && isVariableValue(sides[1]) && op != "≠" &&
      less(op) == less(tokens[at[1]].text)) {
    const std::string &second = tokens[at[1]].text;
    if (less(op))
      return interval(strict(op) ? "(" : "[", sides[0], sides[2], strict(second) ? ")" : "]");
    return interval(strict(second) ? "(" : "[", sides[2], sides[0], strict(op) ? ")" : "]");
  }
  if (at.size() != 1)
    return nullptr;
  if (ValuePtr solved = solve(*sides[0], op, *sides[1]))
    return solved;
  v->kind = Kind::relation;
  bool swap = op == ">" || op == "≥";
  v->text = op == ">" ? "<" : op == "≥" ? "≤" : op;
  v->items = {sides[swap], sides[!swap]};
  return v;
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
        (isOp(tokens[bar], "|") || isOp(tokens[bar], ":")))
      if (ValuePtr condition = read(bar + 1, end - 1, depth + 1))
        if (condition->kind == Kind::tuple || condition->kind == Kind::joined)
          return condition;
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
  return readItems(begin + 1, end - 1, at, depth, *v) ? v : nullptr;
}

// \begin{cases} x = 1 \\ y = 2 \end{cases}: a point, or conditions that hold together. Null for
// others.
ValuePtr Reader::readCases(size_t begin, size_t end, int depth) {
  if (end - begin < 9 || tokens[begin + 2].text != "cases" || !isOp(tokens[begin + 3], "}") ||
      tokens[end - 4].text != "end")
    return nullptr;
  Value rows;
  for (size_t from = begin + 4, i = from; i <= end - 4; ++i) {
    if (i < end - 4 && !isOp(tokens[i], "\\\\") && !isOp(tokens[i], ","))
      continue;
    if (i > from) {
      ValuePtr row = read(from, i, depth + 1);
      if (!row)
        return nullptr;
      rows.items.push_back(row);
    }
    from = i + 1;
  }
  if (rows.items.size() < 2)
    return rows.items.empty() ? nullptr : rows.items[0];
  ValuePtr point = namedValues(rows);
  const bool named = std::all_of(rows.items.begin(), rows.items.end(),
                                 [](const ValuePtr &row) { return !row->of.empty(); });
  return point ? point : named ? conditions(rows.items) : nullptr;
}

ValuePtr Reader::readExpression(size_t begin, size_t end) {
  ExpressionPtr e = parseExpression(tokens, begin, end);
  if (!e)
    return nullptr;
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
  for (bool second : {false, true}) {
    auto item = std::make_shared<Value>();
    item->kind = Kind::expression;
    item->expression = resolvePlusMinus(*e, second);
    v->items.push_back(item);
  }
  return v;
}

std::shared_ptr<const Value> readAnswer(const std::string &latex) { return Reader(latex).run(); }

} // namespace m1rt::vote
