#include "vote/intervals.h"

#include "vote/relations.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace m1rt::vote {
namespace {

using Kind = Value::Kind;
using ValuePtr = std::shared_ptr<const Value>;

struct Bound {
  long double value; // or an infinity
  ValuePtr item;
  bool open;
};
struct Piece {
  Bound low, high;
};
using Pieces = std::vector<Piece>;

std::optional<Bound> boundOf(const ValuePtr &item, bool open) {
  if (item->kind != Kind::expression || item->key.empty() || hasVariables(*item->expression))
    return std::nullopt;
  const Complex x = numericValue(*item->expression, 0);
  if (x.imag() != 0 || std::isnan(x.real()))
    return std::nullopt;
  return Bound{x.real(), item, open};
}

// Less than, equal to or greater than 0; nothing where nobody can tell.
std::optional<int> compare(const Bound &a, const Bound &b) {
  if (a.item->key == b.item->key)
    return 0;
  const long double difference = a.value - b.value;
  if (std::isfinite(difference) &&
      std::fabs(difference) <= 1e-11L * std::max(std::fabs(a.value), std::fabs(b.value)))
    return std::nullopt;
  return a.value < b.value ? -1 : 1;
}

// Whether nothing lies between the two; nothing where nobody can tell.
std::optional<bool> isEmpty(const Bound &low, const Bound &high) {
  const auto order = compare(low, high);
  if (!order)
    return std::nullopt;
  return *order > 0 || (*order == 0 && (low.open || high.open));
}

bool addPieces(const ValuePtr &item, Pieces &out) {
  if (item->kind == Kind::set)
    return std::all_of(item->items.begin(), item->items.end(),
                       [&](const ValuePtr &each) { return addPieces(each, out); });
  if (item->kind == Kind::expression) {
    auto at = boundOf(item, false);
    if (!at || std::isinf(at->value))
      return false;
    out.push_back({*at, *at});
    return true;
  }
  const bool brackets = item->kind == Kind::tuple && item->items.size() == 2 &&
                        (item->open == "(" || item->open == "[") &&
                        (item->close == ")" || item->close == "]");
  if (!brackets)
    return false;
  const auto low = boundOf(item->items[0], item->open == "("),
             high = boundOf(item->items[1], item->close == ")");
  const auto empty = low && high ? isEmpty(*low, *high) : std::nullopt;
  if (!empty || *empty)
    return false;
  out.push_back({*low, *high});
  return true;
}

ValuePtr toValue(const Pieces &pieces) {
  auto v = std::make_shared<Value>();
  v->kind = Kind::set;
  for (const Piece &piece : pieces) {
    if (piece.low.item->key == piece.high.item->key) {
      v->items.push_back(piece.low.item);
      continue;
    }
    auto item = std::make_shared<Value>();
    item->kind = Kind::tuple;
    item->open = piece.low.open ? "(" : "[";
    item->close = piece.high.open ? ")" : "]";
    item->items = {piece.low.item, piece.high.item};
    v->items.push_back(canonical(item));
  }
  return v->items.size() == 1 ? v->items[0] : v;
}

// Those that touch become one. False where bounds cannot be told apart.
bool merge(Pieces &pieces) {
  std::sort(pieces.begin(), pieces.end(), [](const Piece &a, const Piece &b) {
    return a.low.value != b.low.value ? a.low.value < b.low.value : a.low.open < b.low.open;
  });
  Pieces merged;
  for (const Piece &piece : pieces) {
    if (!merged.empty()) {
      Piece &last = merged.back();
      const auto order = compare(piece.low, last.high), longer = compare(piece.high, last.high);
      if (!order || !longer || !compare(piece.low, last.low))
        return false;
      if (*order < 0 || (*order == 0 && !(piece.low.open && last.high.open))) {
        if (*longer > 0)
          last.high = piece.high;
        else if (*longer == 0)
          last.high.open = last.high.open && piece.high.open;
        continue;
      }
    }
    merged.push_back(piece);
  }
  pieces = std::move(merged);
  return true;
}

// What lies in both; nothing where bounds cannot be told apart.
std::optional<Pieces> intersection(const Pieces &first, const Pieces &second) {
  constexpr size_t most = 200; // pieces
  Pieces both;
  for (const Piece &a : first)
    for (const Piece &b : second) {
      const auto low = compare(a.low, b.low), high = compare(a.high, b.high);
      if (!low || !high || !spend(20))
        return std::nullopt;
      Piece piece = {*low < 0 ? b.low : a.low, *high > 0 ? b.high : a.high};
      if (*low == 0)
        piece.low.open = a.low.open || b.low.open;
      if (*high == 0)
        piece.high.open = a.high.open || b.high.open;
      const auto empty = isEmpty(piece.low, piece.high);
      if (!empty)
        return std::nullopt;
      if (!*empty)
        both.push_back(piece);
    }
  return both.size() <= most && merge(both) ? std::optional(std::move(both)) : std::nullopt;
}

// The real numbers between and around pieces that are in order and do not touch.
Pieces complement(const Pieces &pieces) {
  auto infinite = [](bool negative) {
    return *boundOf(canonical(infinity(negative)), /*open=*/true);
  };
  Pieces rest;
  Bound low = infinite(true);
  for (const Piece &piece : pieces) {
    Bound high = piece.low;
    high.open = !high.open || std::isinf(high.value);
    if (!std::isinf(high.value))
      rest.push_back({low, high});
    low = piece.high;
    low.open = !low.open || std::isinf(low.value);
  }
  if (low.value < std::numeric_limits<long double>::infinity())
    rest.push_back({low, infinite(false)});
  return rest;
}

} // namespace

ValuePtr unionOf(const std::vector<ValuePtr> &items) {
  Pieces all;
  for (const ValuePtr &item : items)
    if (!spend(20) || !addPieces(item, all))
      return nullptr;
  return merge(all) ? toValue(all) : nullptr;
}

ValuePtr intersectionOf(const std::vector<ValuePtr> &items) {
  std::optional<Pieces> common;
  for (const ValuePtr &item : items) {
    Pieces next;
    if (!addPieces(item, next) || !merge(next))
      return nullptr;
    common = common ? intersection(*common, next) : std::move(next);
    if (!common)
      return nullptr;
  }
  return common ? toValue(*common) : nullptr;
}

ValuePtr differenceOf(const std::vector<ValuePtr> &items) {
  Pieces first, others;
  for (size_t i = 0; i < items.size(); ++i)
    if (!spend(20) || !addPieces(items[i], i ? others : first))
      return nullptr;
  if (!merge(first) || !merge(others))
    return nullptr;
  const auto rest = intersection(first, complement(others));
  return rest ? toValue(*rest) : nullptr;
}

} // namespace m1rt::vote
