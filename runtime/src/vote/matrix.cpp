#include "vote/matrix.h"

#include <algorithm>

namespace m1rt::vote {
namespace {

using Kind = Value::Kind;
using E = Expression::Kind;

constexpr size_t kLargest = 2000; // nodes of an entry

size_t nodesOf(const Expression &e) {
  size_t nodes = 1;
  for (const ExpressionPtr &kid : e.kids)
    nodes += nodesOf(*kid);
  return nodes;
}

bool isMatrix(const Value &v) {
  return v.kind == Kind::matrix && v.columns > 0 && v.items.size() % v.columns == 0 &&
         std::all_of(v.items.begin(), v.items.end(),
                     [](const auto &item) { return item->kind == Kind::expression; });
}

// Numbers are computed; null for what grows too large.
std::shared_ptr<const Value> entry(ExpressionPtr e) {
  if (auto exact = exactValue(*e))
    e = toExpression(*exact);
  else if (nodesOf(*e) > kLargest)
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

// Along the first of the rows that are left, over the columns that are left.
ExpressionPtr expanded(const Value &m, size_t row, const std::vector<size_t> &columns) {
  auto at = [&](size_t k) { return copyOf(*m.items[row * m.columns + columns[k]]->expression); };
  if (columns.size() == 1)
    return at(0);
  ExpressionPtr all;
  for (size_t k = 0; k < columns.size(); ++k) {
    std::vector<size_t> others = columns;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(k));
    ExpressionPtr term = node(E::multiply, at(k), expanded(m, row + 1, others));
    if (k % 2)
      term = node(E::negate, std::move(term));
    all = all ? node(E::add, std::move(all), std::move(term)) : std::move(term);
  }
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
  constexpr size_t largest = 4;
  if (!isMatrix(m) || m.items.size() != m.columns * m.columns || m.columns > largest)
    return nullptr;
  std::vector<size_t> columns(m.columns);
  for (size_t k = 0; k < columns.size(); ++k)
    columns[k] = k;
  return entry(expanded(m, 0, columns));
}

} // namespace m1rt::vote
