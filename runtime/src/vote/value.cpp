#include "vote/value.h"

#include "vote/matrix.h"
#include "vote/wording.h"

#include <algorithm>
#include <map>
#include <set>

namespace m1rt::vote {
namespace {

using Kind = Value::Kind;
using ValuePtr = std::shared_ptr<const Value>;

constexpr size_t kLongestAnswer = 4000;
constexpr int kMaxDepth = 30;

class Reader {
public:
  explicit Reader(const std::string &latex) : latex(latex) {}

  std::shared_ptr<Value> run() {
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

private:
  std::shared_ptr<Value> textValue() const {
    auto v = std::make_shared<Value>();
    v->text = plainText(latex);
    return v;
  }

  ValuePtr readMatrices(size_t begin, size_t end, int depth);
  ValuePtr readMatrixTerm(size_t begin, size_t end, bool negative, int depth);
  // Positions of a separator outside all brackets; nothing when brackets do not match.
  std::vector<size_t> findTop(size_t begin, size_t end, const std::set<std::string> &ops) const;
  ValuePtr read(size_t begin, size_t end, int depth);
  ValuePtr readRelation(size_t begin, size_t end, const std::vector<size_t> &at, int depth);
  ValuePtr relationValue(size_t begin, size_t end, const std::vector<size_t> &at, int depth);
  ValuePtr readCases(size_t begin, size_t end, int depth);
  ValuePtr readBrackets(size_t begin, size_t end, int depth);
  ValuePtr readMatrix(size_t begin, size_t end, int depth);
  bool readItems(size_t begin, size_t end, const std::vector<size_t> &at, int depth, Value &out);
  ValuePtr readExpression(size_t begin, size_t end);
  bool isName(size_t begin, size_t end) const { return vote::isName(tokens, begin, end); }

  std::string latex;
  Tokens tokens;
};

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

ValuePtr Reader::read(size_t begin, size_t end, int depth) {
  if (begin >= end || depth > kMaxDepth)
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

// \begin{pmatrix} a & b \\ c & d \end{pmatrix}, whatever its brackets; between bars, its
// determinant.
ValuePtr Reader::readMatrix(size_t begin, size_t end, int depth) {
  if (end - begin < 8 || !isOp(tokens[begin + 1], "{") || !isOp(tokens[begin + 3], "}") ||
      tokens[end - 4].kind != Token::Kind::command || tokens[end - 4].text != "end" ||
      !isOp(tokens[end - 3], "{") || !isOp(tokens[end - 1], "}"))
    return nullptr;
  bool isArray = tokens[begin + 2].text == "array";
  if (!isArray && tokens[begin + 2].text.find("matrix") == std::string::npos)
    return nullptr;
  size_t from = begin + 4;
  if (isArray && isOp(tokens[from], "{")) // its columns: {cc}, {c|c}
    while (from < end - 4 && !isOp(tokens[from++], "}")) {
    }
  size_t last = end - 4;
  if (isOp(tokens[last - 1], "\\\\"))
    --last;
  auto v = std::make_shared<Value>();
  v->kind = Kind::matrix;
  size_t inRow = 0;
  int level = 0;
  for (size_t i = from; i <= last; ++i) {
    bool rowEnds = i == last || (level == 0 && isOp(tokens[i], "\\\\"));
    if (!rowEnds && !(level == 0 && isOp(tokens[i], "&"))) {
      level += isOp(tokens[i], "{") ? 1 : isOp(tokens[i], "}") ? -1 : 0;
      continue;
    }
    ValuePtr item = read(from, i, depth + 1);
    if (!item)
      return nullptr;
    v->items.push_back(item);
    ++inRow;
    from = i + 1;
    if (rowEnds) {
      if (v->columns && v->columns != inRow)
        return nullptr;
      v->columns = inRow;
      inRow = 0;
    }
  }
  return tokens[begin + 2].text == "vmatrix" ? determinant(*v) : v;
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
    return nullptr;
  ValuePtr point = namedValues(rows);
  const bool named = std::all_of(rows.items.begin(), rows.items.end(),
                                 [](const ValuePtr &row) { return !row->of.empty(); });
  return point ? point : named ? conditions(rows.items) : nullptr;
}

// A matrix in brackets, a determinant, or matrices that are added, multiplied and raised:
// \left[\begin{array}…\end{array}\right], \det\begin{pmatrix}…, \frac13\begin{pmatrix}…, A + B.
ValuePtr Reader::readMatrices(size_t begin, size_t end, int depth) {
  auto isBegin = [&](size_t i) {
    return tokens[i].kind == Token::Kind::command && tokens[i].text == "begin";
  };
  size_t at = begin;
  while (at < end && !isBegin(at))
    ++at;
  if (at == end)
    return nullptr;
  if (at == begin + 1 && (isOp(tokens[begin], "(") || isOp(tokens[begin], "[")) &&
      (isOp(tokens[end - 1], ")") || isOp(tokens[end - 1], "]")))
    return readMatrix(at, end - 1, depth);
  if (at == begin + 1 && tokens[begin].text == "\\det") {
    ValuePtr matrix = readMatrix(at, end, depth);
    return matrix ? determinant(*matrix) : nullptr;
  }
  std::vector<size_t> signs = findTop(begin, end, {"+", "-"});
  if (signs.empty() || signs[0] != begin)
    signs.insert(signs.begin(), begin);
  ValuePtr all;
  for (size_t i = 0; i < signs.size(); ++i) {
    const bool isSign = isOp(tokens[signs[i]], "+") || isOp(tokens[signs[i]], "-");
    ValuePtr term = readMatrixTerm(signs[i] + isSign, i + 1 < signs.size() ? signs[i + 1] : end,
                                   isOp(tokens[signs[i]], "-"), depth);
    all = term && all ? sum(*all, *term) : term;
    if (!all)
      return nullptr;
  }
  return all;
}

// Factors and matrices, perhaps raised to small powers, in a row.
ValuePtr Reader::readMatrixTerm(size_t begin, size_t end, bool negative, int depth) {
  constexpr int largestPower = 8;
  auto isCommand = [&](size_t i, const char *name) {
    return tokens[i].kind == Token::Kind::command && tokens[i].text == name;
  };
  ValuePtr all;
  for (size_t at = begin; at < end;) {
    size_t from = at;
    while (at < end && !isCommand(at, "begin"))
      ++at;
    if (at == end || (all && at > from + isOp(tokens[from], "*")))
      return nullptr; // a factor stands first
    if (!all && at > from) {
      ExpressionPtr factor = parseExpression(tokens, from, at - isOp(tokens[at - 1], "*"));
      if (!factor || hasPlusMinus(*factor))
        return nullptr;
      auto v = std::make_shared<Value>();
      v->kind = Kind::expression;
      v->expression = std::move(factor);
      all = v;
    }
    from = at;
    while (at < end && !isCommand(at, "end"))
      ++at;
    at += 4; // \end{…}
    ValuePtr matrix = at <= end ? readMatrix(from, at, depth) : nullptr;
    if (!matrix)
      return nullptr;
    ValuePtr power = matrix;
    if (at + 1 < end && isOp(tokens[at], "^")) {
      const size_t braces = isOp(tokens[at + 1], "{"), digits = at + 1 + braces;
      const bool turned =
          digits < end && (tokens[digits].text == "T" || tokens[digits].text == "\\top");
      if (turned) {
        power = transposed(*power);
      } else if (digits >= end || tokens[digits].text.size() != 1 || tokens[digits].text[0] < '1' ||
                 tokens[digits].text[0] > '0' + largestPower)
        return nullptr;
      for (char k = '1'; !turned && power && k < tokens[digits].text[0]; ++k)
        power = product(*power, *matrix);
      at = digits + 1 + braces;
    }
    if (!power)
      return nullptr;
    all = !all                            ? power
          : all->kind == Kind::expression ? scaled(*all->expression, *power)
                                          : product(*all, *power);
    if (!all)
      return nullptr;
  }
  if (!negative || !all)
    return all;
  Expression one, minusOne;
  one.kind = Expression::Kind::number;
  one.text = "1";
  minusOne.kind = Expression::Kind::negate;
  minusOne.kids.push_back(std::make_unique<Expression>(std::move(one)));
  return scaled(minusOne, *all);
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

} // namespace

std::shared_ptr<const Value> readAnswer(const std::string &latex) { return Reader(latex).run(); }

} // namespace m1rt::vote
