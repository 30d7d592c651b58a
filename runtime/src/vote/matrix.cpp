#include "vote/matrix.h"

#include <algorithm>

namespace m1rt::vote {
namespace {

using Kind = Value::Kind;
using E = Expression::Kind;

constexpr size_t kLargest = 2000; // nodes of an entry

bool isMatrix(const Value &v) {
  return v.kind == Kind::matrix && v.columns > 0 && v.items.size() % v.columns == 0 &&
         std::all_of(v.items.begin(), v.items.end(),
                     [](const auto &item) { return item->kind == Kind::expression; });
}

// Numbers are computed; null for what grows too large.
std::shared_ptr<const Value> entry(ExpressionPtr e) {
  if (auto exact = exactValue(*e))
    e = toExpression(*exact);
  else if (const size_t nodes = nodesOf(*e); nodes > kLargest || !spend(nodes))
    return nullptr;
  auto v = std::make_shared<Value>();
  v->kind = Kind::expression;
  v->expression = std::move(e);
  return v;
}

MatrixPtr matrix(std::vector<ExpressionPtr> entries, size_t columns) {
  auto v = std::make_shared<Value>();
  v->kind = Kind::matrix;
  v->columns = columns;
  for (ExpressionPtr &e : entries) {
    v->items.push_back(entry(std::move(e)));
    if (!v->items.back())
      return nullptr;
  }
  return v;
}

// Along the first of these rows, over these columns.
ExpressionPtr expanded(const Value &m, const std::vector<size_t> &rows,
                       const std::vector<size_t> &columns) {
  auto at = [&](size_t k) {
    return copyOf(*m.items[rows[0] * m.columns + columns[k]]->expression);
  };
  if (columns.size() == 1)
    return at(0);
  const std::vector<size_t> below(rows.begin() + 1, rows.end());
  ExpressionPtr all;
  for (size_t k = 0; k < columns.size(); ++k) {
    std::vector<size_t> others = columns;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(k));
    ExpressionPtr term = node(E::multiply, at(k), expanded(m, below, others));
    if (k % 2)
      term = node(E::negate, std::move(term));
    all = all ? node(E::add, std::move(all), std::move(term)) : std::move(term);
  }
  return all;
}

constexpr size_t kLargestDeterminant = 4;

bool isSquare(const Value &m) {
  return isMatrix(m) && m.items.size() == m.columns * m.columns && m.columns <= kLargestDeterminant;
}

// 0, 1, … without one of them.
std::vector<size_t> indices(size_t count, size_t without) {
  std::vector<size_t> all;
  for (size_t k = 0; k < count; ++k)
    if (k != without)
      all.push_back(k);
  return all;
}

} // namespace

MatrixPtr sum(const Value &a, const Value &b) {
  if (!isMatrix(a) || !isMatrix(b) || a.columns != b.columns || a.items.size() != b.items.size())
    return nullptr;
  std::vector<ExpressionPtr> entries;
  for (size_t i = 0; i < a.items.size(); ++i)
    entries.push_back(
        node(E::add, copyOf(*a.items[i]->expression), copyOf(*b.items[i]->expression)));
  return matrix(std::move(entries), a.columns);
}

MatrixPtr product(const Value &a, const Value &b) {
  if (!isMatrix(a) || !isMatrix(b) || a.columns != b.items.size() / b.columns)
    return nullptr;
  std::vector<ExpressionPtr> entries;
  for (size_t row = 0; row < a.items.size() / a.columns; ++row)
    for (size_t column = 0; column < b.columns; ++column) {
      size_t nodes = 0; // looked at before it is built
      for (size_t k = 0; k < a.columns; ++k)
        nodes += nodesOf(*a.items[row * a.columns + k]->expression) +
                 nodesOf(*b.items[k * b.columns + column]->expression);
      if (nodes > kLargest || !spend(4 * nodes))
        return nullptr;
      ExpressionPtr all;
      for (size_t k = 0; k < a.columns; ++k) {
        ExpressionPtr term = node(E::multiply, copyOf(*a.items[row * a.columns + k]->expression),
                                  copyOf(*b.items[k * b.columns + column]->expression));
        all = all ? node(E::add, std::move(all), std::move(term)) : std::move(term);
      }
      entries.push_back(std::move(all));
    }
  return matrix(std::move(entries), b.columns);
}

MatrixPtr transposed(const Value &m) {
  if (!isMatrix(m))
    return nullptr;
  auto v = std::make_shared<Value>(m);
  v->columns = m.items.size() / m.columns;
  for (size_t i = 0; i < m.items.size(); ++i)
    v->items[i % m.columns * v->columns + i / m.columns] = m.items[i];
  return v;
}

MatrixPtr scaled(const Expression &factor, const Value &m) {
  if (!isMatrix(m))
    return nullptr;
  std::vector<ExpressionPtr> entries;
  entries.reserve(m.items.size());
  for (const auto &item : m.items)
    entries.push_back(node(E::multiply, copyOf(factor), copyOf(*item->expression)));
  return matrix(std::move(entries), m.columns);
}

std::shared_ptr<const Value> determinant(const Value &m) {
  if (!isSquare(m))
    return nullptr;
  const std::vector<size_t> all = indices(m.columns, m.columns);
  return entry(expanded(m, all, all));
}

// By cofactors.
MatrixPtr inverse(const Value &m) {
  const auto whole = isSquare(m) ? determinant(m) : nullptr;
  const auto exact = whole ? exactValue(*whole->expression) : std::nullopt;
  if (!whole || (exact && exact->numerator == 0))
    return nullptr;
  std::vector<ExpressionPtr> entries;
  for (size_t row = 0; row < m.columns; ++row)
    for (size_t column = 0; column < m.columns; ++column) {
      ExpressionPtr minor = m.columns == 1
                                ? toExpression({1, 1})
                                : expanded(m, indices(m.columns, column), indices(m.columns, row));
      if ((row + column) % 2)
        minor = node(E::negate, std::move(minor));
      entries.push_back(node(E::divide, std::move(minor), copyOf(*whole->expression)));
    }
  return matrix(std::move(entries), m.columns);
}

} // namespace m1rt::vote
