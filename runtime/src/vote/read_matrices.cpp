// Matrices and what is computed of them.
#include "vote/matrix.h"
#include "vote/reader.h"
#include "vote/relations.h"

#include <algorithm>

namespace m1rt::vote {
namespace {

using Kind = Value::Kind;
using ValuePtr = std::shared_ptr<const Value>;

ExpressionPtr number(int n) { return toExpression({n, 1}); }

// Of matrices and numbers; null where they have none.
ValuePtr sumOf(const Value &a, const Value &b) {
  if (a.kind != Kind::expression || b.kind != Kind::expression)
    return sum(a, b);
  return expressionValue(node(Expression::Kind::add, copyOf(*a.expression), copyOf(*b.expression)));
}
ValuePtr productOf(const Value &a, const Value &b) {
  const bool left = a.kind == Kind::expression, right = b.kind == Kind::expression;
  if (left && right)
    return expressionValue(
        node(Expression::Kind::multiply, copyOf(*a.expression), copyOf(*b.expression)));
  return left ? scaled(*a.expression, b) : right ? scaled(*b.expression, a) : product(a, b);
}

// By squaring; negative powers are those of the inverse.
ValuePtr powerOf(ValuePtr base, int exponent) {
  if (base->kind == Kind::expression)
    return expressionValue(
        node(Expression::Kind::power, copyOf(*base->expression), number(exponent)));
  if (exponent < 0)
    base = inverse(*base);
  ValuePtr all;
  for (unsigned rest = static_cast<unsigned>(std::abs(exponent)); rest && base; rest /= 2) {
    if (rest % 2)
      all = all ? product(*all, *base) : base;
    if ((rest % 2 && !all) || rest == 1)
      break;
    base = product(*base, *base);
  }
  return base ? all : nullptr;
}

} // namespace

// \begin{pmatrix} a & b \\ c & d \end{pmatrix}, whatever its brackets; between bars, its
// determinant.
std::shared_ptr<const Value> Reader::readMatrix(size_t begin, size_t end, int depth) {
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

// Of a bracket: where it closes; end where it does not.
size_t Reader::closing(size_t open, size_t end) const {
  int depth = 0;
  for (size_t i = open; i < end; ++i) {
    if (tokens[i].kind != Token::Kind::op)
      continue;
    const std::string &t = tokens[i].text;
    depth += t == "(" || t == "[" || t == "{" || t == "\\{"   ? 1
             : t == ")" || t == "]" || t == "}" || t == "\\}" ? -1
                                                              : 0;
    if (depth == 0)
      return i;
  }
  return end;
}

// A matrix, or what is computed of matrices: sums, products, powers, transposes, inverses,
// determinants, with numbers as factors and divisors. Null where there is no matrix.
std::shared_ptr<const Value> Reader::readMatrices(size_t begin, size_t end, int depth) {
  for (size_t i = begin; i < end; ++i)
    if (isCommand(i, "begin"))
      return readMatrixSum(begin, end, depth);
  return nullptr;
}

std::shared_ptr<const Value> Reader::readMatrixSum(size_t begin, size_t end, int depth) {
  if (begin >= end || depth > kMaxDepth || !spend(4 * (end - begin)))
    return nullptr;
  std::vector<size_t> signs = findTop(begin, end, {"+", "-"});
  signs.erase(std::remove_if(signs.begin(), signs.end(),
                             [&](size_t at) { // A^-1
                               return at > begin &&
                                      (isOp(tokens[at - 1], "^") || isOp(tokens[at - 1], "*"));
                             }),
              signs.end());
  if (signs.empty() || signs[0] != begin)
    signs.insert(signs.begin(), begin);
  ValuePtr all;
  for (size_t i = 0; i < signs.size(); ++i) {
    const bool minus = isOp(tokens[signs[i]], "-"), sign = minus || isOp(tokens[signs[i]], "+");
    ValuePtr term =
        readMatrixTerm(signs[i] + sign, i + 1 < signs.size() ? signs[i + 1] : end, depth);
    if (term && minus)
      term = productOf(*expressionValue(number(-1)), *term);
    all = term && all ? sumOf(*all, *term) : term;
    if (!all)
      return nullptr;
  }
  return all;
}

// Matrices and numbers in a row, perhaps with a divisor at the end.
std::shared_ptr<const Value> Reader::readMatrixTerm(size_t begin, size_t end, int depth) {
  ValuePtr all;
  for (size_t at = begin; at < end;) {
    at += all && isOp(tokens[at], "*");
    const bool divide = all && at < end && isOp(tokens[at], "/");
    at += divide;
    ValuePtr factor = readMatrixFactor(at, end, depth + 1);
    if (!factor || (divide && (factor->kind != Kind::expression || at < end)))
      return nullptr;
    if (divide)
      factor =
          expressionValue(node(Expression::Kind::divide, number(1), copyOf(*factor->expression)));
    all = all ? productOf(*all, *factor) : factor;
    if (!all)
      return nullptr;
  }
  return all;
}

// One of them, with its exponent; a row of numbers and variables is one.
std::shared_ptr<const Value> Reader::readMatrixFactor(size_t &at, size_t end, int depth) {
  constexpr int largestPower = 10000;
  if (at >= end || depth > kMaxDepth || !spend(end - at))
    return nullptr;
  auto hasMatrix = [&](size_t from, size_t to) {
    for (size_t i = from; i < to; ++i)
      if (isCommand(i, "begin"))
        return true;
    return false;
  };
  auto isGroup = [&](size_t i) {
    return isOp(tokens[i], "(") || isOp(tokens[i], "[") || isOp(tokens[i], "{");
  };
  auto environmentEnd = [&](size_t i) { // behind \end{…}
    int level = 0;
    for (; i < end; ++i) {
      level += isCommand(i, "begin") ? 1 : isCommand(i, "end") ? -1 : 0;
      if (level == 0)
        return std::min(i + 4, end);
    }
    return end;
  };
  auto isDeterminant = [&](size_t i) { return tokens[i].text == "\\det"; };
  auto isBars = [&](size_t i) {
    return isOp(tokens[i], "|") && i + 1 < end && isCommand(i + 1, "begin");
  };
  ValuePtr v;
  if (isCommand(at, "begin")) {
    const size_t close = environmentEnd(at);
    v = readMatrix(at, close, depth);
    at = close;
  } else if (isBars(at)) {
    const size_t close = environmentEnd(at + 1);
    ValuePtr matrix =
        close < end && isOp(tokens[close], "|") ? readMatrix(at + 1, close, depth) : nullptr;
    v = matrix ? determinant(*matrix) : nullptr;
    at = close + 1;
  } else if (isDeterminant(at)) {
    ++at;
    ValuePtr matrix = readMatrixFactor(at, end, depth + 1);
    return matrix ? determinant(*matrix) : nullptr;
  } else if (isGroup(at) && hasMatrix(at, closing(at, end))) {
    const size_t close = closing(at, end);
    v = readMatrixSum(at + 1, close, depth + 1);
    at = close + 1;
  } else {
    size_t to = at;
    while (to < end && !isCommand(to, "begin") && !isBars(to) && !isDeterminant(to) &&
           !(isGroup(to) && hasMatrix(to, closing(to, end))))
      to = isGroup(to) ? std::min(closing(to, end) + 1, end) : to + 1;
    const size_t last = to < end && to > at && isOp(tokens[to - 1], "*") ? to - 1 : to;
    ExpressionPtr e = parseExpression(tokens, at, last);
    at = to;
    return e && !hasPlusMinus(*e) ? expressionValue(std::move(e)) : nullptr;
  }
  if (!v || at >= end || !isOp(tokens[at], "^"))
    return v;
  const bool braces = at + 1 < end && isOp(tokens[at + 1], "{");
  size_t first = at + 1 + braces;
  const bool minus = first < end && isOp(tokens[first], "-");
  first += minus;
  if (first >= end || (braces && (first + 1 >= end || !isOp(tokens[first + 1], "}"))))
    return nullptr;
  const std::string &exponent = tokens[first].text;
  at = first + 1 + braces;
  if (!minus &&
      (exponent == "T" || exponent == "t" || exponent == "\\top" || exponent == "\\intercal"))
    return transposed(*v);
  if (tokens[first].kind != Token::Kind::number || exponent.size() > 5 ||
      exponent.find('.') != std::string::npos)
    return nullptr;
  const int power = std::stoi(exponent);
  if (power < 1 || power > largestPower)
    return nullptr;
  return powerOf(v, minus ? -power : power);
}

} // namespace m1rt::vote
