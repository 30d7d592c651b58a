// What all expressions of one value have in common.
#include "vote/evaluate.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace m1rt::vote {
namespace {

using E = Expression::Kind;
using Integer = __int128;

// Arithmetic modulo a prime p < 2^62: values of any size, equal with near certainty if they agree
// modulo two.
uint64_t multiplyModulo(uint64_t a, uint64_t b, uint64_t p) {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(a) * b % p);
}

uint64_t powerModulo(uint64_t base, unsigned __int128 exponent, uint64_t p) {
  uint64_t result = 1;
  for (; exponent; exponent >>= 1) {
    if (exponent & 1)
      result = multiplyModulo(result, base, p);
    base = multiplyModulo(base, base, p);
  }
  return result;
}

// The residue of a rational value; nothing for others, and where a divisor is zero.
std::optional<uint64_t> residue(const Expression &e, uint64_t p) {
  if (!spend(1 + e.text.size()))
    return std::nullopt;
  auto inverseOf = [&](uint64_t a) {
    return a ? std::optional(powerModulo(a, p - 2, p)) : std::nullopt;
  };
  auto kid = [&](size_t i) { return residue(*e.kids[i], p); };
  switch (e.kind) {
  case E::number: {
    uint64_t n = 0, scale = 1;
    bool point = false;
    for (char c : e.text) {
      point |= c == '.';
      if (c == '.')
        continue;
      n = (multiplyModulo(n, 10, p) + static_cast<uint64_t>(c - '0')) % p;
      scale = point ? multiplyModulo(scale, 10, p) : scale;
    }
    return multiplyModulo(n, *inverseOf(scale), p);
  }
  case E::add:
  case E::multiply: {
    auto a = kid(0), b = kid(1);
    if (!a || !b)
      return std::nullopt;
    return e.kind == E::add ? (*a + *b) % p : multiplyModulo(*a, *b, p);
  }
  case E::divide: {
    auto a = kid(0), b = kid(1), i = b ? inverseOf(*b) : std::nullopt;
    return a && i ? std::optional(multiplyModulo(*a, *i, p)) : std::nullopt;
  }
  case E::negate: {
    auto a = kid(0);
    return a ? std::optional((p - *a) % p) : std::nullopt;
  }
  case E::percent: {
    auto a = kid(0);
    return a ? std::optional(multiplyModulo(*a, *inverseOf(100), p)) : std::nullopt;
  }
  case E::power: {
    auto base = kid(0);
    auto exponent = exactValue(*e.kids[1]);
    if (!base || !*base || !exponent || exponent->denominator != 1)
      return std::nullopt;
    bool negative = exponent->numerator < 0;
    auto size =
        static_cast<unsigned __int128>(negative ? -exponent->numerator : exponent->numerator);
    return powerModulo(negative ? *inverseOf(*base) : *base, size, p);
  }
  case E::factorial: {
    auto n = exactValue(*e.kids[0]);
    if (!n || n->denominator != 1 || n->numerator < 0 || n->numerator > 20000 ||
        !spend(static_cast<size_t>(n->numerator) / 2))
      return std::nullopt;
    uint64_t product = 1;
    const uint64_t step = e.text == "!!" ? 2 : 1;
    for (auto i = static_cast<uint64_t>(n->numerator); i > 1; i = i > step ? i - step : 0)
      product = multiplyModulo(product, i, p);
    return product;
  }
  case E::binomial: {
    auto n = exactValue(*e.kids[0]), k = exactValue(*e.kids[1]);
    if (!n || !k || n->denominator != 1 || k->denominator != 1 || k->numerator < 0 ||
        n->numerator < k->numerator || n->numerator > 20000 ||
        !spend(static_cast<size_t>(k->numerator)))
      return std::nullopt;
    uint64_t product = 1, below = 1;
    for (uint64_t i = 1; i <= static_cast<uint64_t>(k->numerator); ++i) {
      product = multiplyModulo(product, static_cast<uint64_t>(n->numerator - k->numerator) + i, p);
      below = multiplyModulo(below, i, p);
    }
    return multiplyModulo(product, *inverseOf(below), p);
  }
  default:
    return std::nullopt;
  }
}

bool isSquare(const Expression &e) {
  return e.kind == E::power && e.kids[1]->kind == E::number && e.kids[1]->text == "2";
}

// x + 1 of x^2 + 2x + 1: the base of what is the square of a linear form. Null for others.
ExpressionPtr squareRoot(const Expression &e) {
  if (isSquare(e))
    return copyOf(*e.kids[0]);
  std::set<std::string> names;
  collectVariables(e, names);
  if (names.size() != 1)
    return nullptr;
  const std::string &name = *names.begin();
  auto at = [&](const Rational &point) {
    return exactValue(*substitute(e, name, *toExpression(point)));
  };
  const auto constant = at({0, 1}), above = constant ? at({1, 1}) : std::nullopt,
             below = above ? at({-1, 1}) : std::nullopt;
  if (!below)
    return nullptr;
  auto rooted = [](const Rational &r) { return exactValue(*node(E::root, toExpression(r))); };
  auto half = [](const Rational &a, const Rational &b) {
    const auto sum = add(a, b);
    return sum ? multiply(*sum, {1, 2}) : std::nullopt;
  };
  const auto mean = half(*above, *below),
             square =
                 mean ? add(*mean, {-constant->numerator, constant->denominator}) : std::nullopt,
             slope = square && square->numerator > 0 ? rooted(*square) : std::nullopt,
             linear = slope ? half(*above, {-below->numerator, below->denominator}) : std::nullopt,
             by = linear ? inverse({2 * slope->numerator, slope->denominator}) : std::nullopt,
             rest = by ? multiply(*linear, *by) : std::nullopt;
  if (!rest)
    return nullptr;
  auto variable = std::make_unique<Expression>();
  variable->kind = E::variable;
  variable->text = name;
  ExpressionPtr base = node(E::add, node(E::multiply, toExpression(*slope), std::move(variable)),
                            toExpression(*rest));
  for (const Rational point : {Rational{0, 1}, {2, 1}, {5, 1}, {-3, 1}, {9, 4}}) {
    const auto value = at(point),
               root = value ? exactValue(*substitute(*base, name, *toExpression(point)))
                            : std::nullopt,
               again = root ? multiply(*root, *root) : std::nullopt;
    if (!again || again->numerator != value->numerator || again->denominator != value->denominator)
      return nullptr;
  }
  return base;
}

// The x of |x|, and of \sqrt{x^2}, which is the same. Null for others.
ExpressionPtr absoluteOf(const Expression &e) {
  if (e.kind == E::absolute)
    return copyOf(*e.kids[0]);
  bool root = e.kind == E::root && e.kids.size() == 1;
  if (e.kind == E::power && !hasVariables(*e.kids[1])) { // (x^2)^{1/2}
    const auto exponent = exactValue(*e.kids[1]);
    root = exponent && exponent->numerator == 1 && exponent->denominator == 2;
  }
  return root ? squareRoot(*e.kids[0]) : nullptr;
}

bool hasAbsolute(const Expression &e) {
  return e.kind == E::absolute || absoluteOf(e) ||
         std::any_of(e.kids.begin(), e.kids.end(),
                     [](const ExpressionPtr &kid) { return hasAbsolute(*kid); });
}

// With x for |x|.
ExpressionPtr withoutAbsolute(const Expression &e) {
  if (ExpressionPtr inner = absoluteOf(e))
    return withoutAbsolute(*inner);
  auto copy = std::make_unique<Expression>();
  copy->kind = e.kind;
  copy->text = e.text;
  for (const ExpressionPtr &kid : e.kids)
    copy->kids.push_back(withoutAbsolute(*kid));
  return copy;
}

// The fraction with a small denominator that a value stands for, if it is one but for rounding
// errors: \sin 30° is 1/2. The larger the value, the fewer denominators, so that a number that is
// no fraction is near one by a chance of about 1e-8 at most.
std::optional<Rational> nearFraction(long double x) {
  const long double size = std::fabs(x);
  if (size == 0)
    return Rational{0, 1};
  if (size >= 1e12L || size < 1e-6L)
    return std::nullopt;
  const long double largest = std::min(1e4L, std::sqrt(1e8L / size));
  long double rest = size;
  Integer n = 1, d = 0, n1 = 0, d1 = 1; // convergents of the continued fraction
  for (int i = 0; i < 20; ++i) {
    const long double whole = std::floor(rest);
    if (whole > 1e13L)
      return std::nullopt;
    const auto digit = static_cast<Integer>(whole);
    const Integer n2 = digit * n + n1, d2 = digit * d + d1;
    n1 = n, d1 = d, n = n2, d = d2;
    if (d > 1 && static_cast<long double>(d) > largest)
      return std::nullopt;
    if (std::fabs(approximate({n, d}) - size) <= 1e-16L * size)
      return Rational{x < 0 ? -n : n, d};
    rest = 1 / (rest - whole);
  }
  return std::nullopt;
}

constexpr uint64_t kPrimes[] = {(uint64_t(1) << 61) - 1, 2305843009213693921u};

// Of a rational value: its residues, which those of no other value are but by a chance of 2^-122.
std::string residuesKey(uint64_t first, uint64_t second) {
  return "r" + std::to_string(first) + "," + std::to_string(second);
}

std::optional<std::string> rationalKey(const Expression &e) {
  auto first = residue(e, kPrimes[0]), second = first ? residue(e, kPrimes[1]) : std::nullopt;
  if (!second)
    return std::nullopt;
  return residuesKey(*first, *second);
}

// To twelve digits.
std::string rounded(long double x) {
  char text[32];
  auto [end, error] =
      std::to_chars(std::begin(text), std::end(text), x, std::chars_format::scientific, 11);
  return x == 0 ? "0" : std::string(text, end);
}

std::string rounded(Complex x) {
  if (std::isinf(x.real()))
    return x.real() > 0 ? "inf" : "-inf";
  x = withoutNoise(x, 1e3L * std::abs(x));
  return x.imag() == 0 ? rounded(x.real()) : rounded(x.real()) + "i" + rounded(x.imag());
}

Complex valueAt(const Expression &e, int point) {
  auto exact = exactValue(e, point);
  return exact ? Complex(approximate(*exact)) : numericValue(e, point);
}

// Infinities without sense are no values.
bool isValue(const Complex &a) {
  return isFinite(a) || (std::isinf(a.real()) && !std::isnan(a.imag()));
}

// A power of a product or quotient of rational values and their roots that is rational: the
// sixtieth. Nothing for others.
std::optional<uint64_t> radicalPower(const Expression &e, uint64_t p) {
  constexpr unsigned sixty = 60;
  auto raised = [&](const std::optional<uint64_t> &base, unsigned exponent) {
    return base ? std::optional(powerModulo(*base, exponent, p)) : std::nullopt;
  };
  switch (e.kind) {
  case E::root: {
    const auto degree = e.kids.size() == 1 ? std::optional(Rational{2, 1}) : exactValue(*e.kids[1]);
    if (!degree || degree->denominator != 1 || degree->numerator < 2 || degree->numerator > sixty ||
        sixty % static_cast<unsigned>(degree->numerator) != 0)
      return std::nullopt;
    return raised(residue(*e.kids[0], p), sixty / static_cast<unsigned>(degree->numerator));
  }
  case E::power: {
    const auto exponent = exactValue(*e.kids[1]);
    if (!exponent || exponent->denominator == 1 || exponent->denominator > sixty ||
        sixty % static_cast<unsigned>(exponent->denominator) != 0 || exponent->numerator < 1 ||
        exponent->numerator > sixty)
      break;
    return raised(residue(*e.kids[0], p),
                  static_cast<unsigned>(exponent->numerator) *
                      (sixty / static_cast<unsigned>(exponent->denominator)));
  }
  case E::negate:
    return radicalPower(*e.kids[0], p);
  case E::multiply:
  case E::divide: {
    const auto a = radicalPower(*e.kids[0], p), by = radicalPower(*e.kids[1], p);
    if (!a || !by || (e.kind == E::divide && *by == 0))
      return std::nullopt;
    return multiplyModulo(*a, e.kind == E::divide ? powerModulo(*by, p - 2, p) : *by, p);
  }
  default:
    break;
  }
  return raised(residue(e, p), sixty);
}

// Of a real value that only such a power tells from a rational one: \sqrt{10^{20}+1} is 10^{10} to
// twenty digits. Nothing for others.
std::optional<std::string> radicalKey(const Expression &e, long double value) {
  constexpr long double large = 1e9L, largest = 1e18L;
  const auto fraction = nearFraction(value);
  if (!fraction && std::fabs(value) < large)
    return std::nullopt;
  const auto first = radicalPower(e, kPrimes[0]),
             second = first ? radicalPower(e, kPrimes[1]) : std::nullopt;
  if (!second)
    return std::nullopt;
  std::vector<ExpressionPtr> near; // what it may be
  if (fraction)
    near.push_back(toExpression(*fraction));
  constexpr int mostParts = 12;
  for (int parts = 1; parts <= mostParts && std::fabs(value) * parts < largest; ++parts)
    near.push_back(node(E::divide,
                        toExpression({static_cast<Integer>(std::roundl(value * parts)), 1}),
                        toExpression({parts, 1})));
  for (const ExpressionPtr &exact : near) {
    if (radicalPower(*exact, kPrimes[0]) == first && radicalPower(*exact, kPrimes[1]) == second)
      return rationalKey(*exact);
  }
  return (value < 0 ? "w-" : "w") + residuesKey(*first, *second);
}

// The key of a value that does not depend on variables; as they are at the first point.
std::optional<std::string> constantKey(const Expression &e) {
  if (auto exact = exactValue(e, 0))
    return rationalKey(*toExpression(*exact));
  if (!hasVariables(e))
    if (auto key = rationalKey(e))
      return key;
  Complex x = numericValue(e, 0);
  if (!isValue(x))
    return std::nullopt;
  if (!isFinite(x))
    return rounded(x);
  x = withoutNoise(x, 1e3L * std::abs(x));
  if (x.imag() == 0 && !hasVariables(e))
    if (auto key = radicalKey(e, x.real()))
      return key;
  auto part = [](long double value) {
    auto fraction = nearFraction(value);
    auto key = fraction ? rationalKey(*toExpression(*fraction)) : std::nullopt;
    return key.value_or(rounded(value));
  };
  return x.imag() == 0 ? part(x.real()) : part(x.real()) + "i" + part(x.imag());
}

// Values at several points; nothing where none is finite.
std::optional<std::vector<std::string>> pointKeys(const Expression &e, int points) {
  std::vector<std::string> keys;
  bool any = false;
  for (int point = 0; point < points; ++point) {
    Complex x = valueAt(e, point);
    keys.push_back(isValue(x) ? rounded(x) : "none");
    any |= isFinite(x);
  }
  return any ? std::optional(keys) : std::nullopt;
}

} // namespace

std::optional<std::string> valueKey(const Expression &e) {
  std::optional<std::string> key;
  if (hasVariables(e)) {
    auto keys = pointKeys(e, kPoints);
    if (keys && hasAbsolute(e)) { // |x| is not x, but |x|^2 is x^2
      auto all = pointKeys(e, 2 * kPoints), other = pointKeys(*withoutAbsolute(e), 2 * kPoints);
      if (all != other)
        keys = all;
    }
    if (!keys)
      return std::nullopt;
    if (std::all_of(keys->begin(), keys->end(), [&](auto &k) { return k == keys->front(); })) {
      key = constantKey(e);
    } else {
      key = "f";
      for (const std::string &k : *keys)
        *key += k + ";";
    }
  } else {
    key = constantKey(e);
  }
  return spend(0) ? key : std::nullopt;
}

std::optional<std::string> ratioKey(const Expression &e, bool anyFactor) {
  auto at = [&](const Expression &of, int points) -> std::optional<std::string> {
    Complex first;
    std::string key;
    for (int point = 0; point < points; ++point) {
      Complex x = valueAt(of, point);
      if (!isFinite(x) || std::abs(x) < 1e-9L)
        return std::nullopt;
      if (point == 0)
        first = anyFactor ? x : Complex(std::abs(x));
      key += rounded(x / first) + ";";
    }
    return key;
  };
  auto key = at(e, kPoints);
  if (key && hasAbsolute(e)) { // y ≥ |x| is not y ≥ x
    const auto all = at(e, 2 * kPoints), other = at(*withoutAbsolute(e), 2 * kPoints);
    if (all != other)
      key = all;
  }
  return spend(0) ? key : std::nullopt;
}

bool agree(const Expression &a, const Expression &b) {
  constexpr int points = 3;
  for (int point = 0; point < points; ++point) {
    Complex x = numericValue(a, point), y = numericValue(b, point);
    if (!isFinite(x) || !isFinite(y) ||
        std::abs(x - y) > std::max(1e-12L * std::max(std::abs(x), std::abs(y)), 1e-16L))
      return false;
  }
  return true;
}

} // namespace m1rt::vote
