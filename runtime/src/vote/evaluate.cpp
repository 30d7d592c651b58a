// Values of expressions.
#include "vote/expression.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

namespace m1rt::vote {
namespace {

using E = Expression::Kind;
using Integer = __int128;

// What a comparison may cost: a unit takes about a tenth of a microsecond. Beyond it there are no
// values, so that what takes too long is equal to the same text alone.
constexpr size_t kMostWork = 60000;
thread_local size_t work = 0;

bool spend(size_t units) {
  work += units;
  return work <= kMostWork;
}

Integer gcd(Integer a, Integer b) {
  a = a < 0 ? -a : a;
  b = b < 0 ? -b : b;
  while (b) {
    Integer r = a % b;
    a = b;
    b = r;
  }
  return a;
}

std::optional<Rational> reduced(Integer n, Integer d) {
  constexpr Integer limit = static_cast<Integer>(1) << 125;
  if (d == 0 || n > limit || n < -limit || d > limit || d < -limit)
    return std::nullopt;
  Integer g = gcd(n, d);
  if (d < 0)
    g = -g;
  return Rational{n / g, d / g};
}

} // namespace

std::optional<Rational> multiply(const Rational &a, const Rational &b) {
  if (!spend(30))
    return std::nullopt;
  Integer g = gcd(a.numerator, b.denominator), h = gcd(b.numerator, a.denominator), n, d;
  g = g ? g : 1;
  h = h ? h : 1;
  if (__builtin_mul_overflow(a.numerator / g, b.numerator / h, &n) ||
      __builtin_mul_overflow(a.denominator / h, b.denominator / g, &d))
    return std::nullopt;
  return reduced(n, d);
}

std::optional<Rational> add(const Rational &a, const Rational &b) {
  if (!spend(30))
    return std::nullopt;
  Integer x, y, n, d;
  if (__builtin_mul_overflow(a.numerator, b.denominator, &x) ||
      __builtin_mul_overflow(b.numerator, a.denominator, &y) || __builtin_add_overflow(x, y, &n) ||
      __builtin_mul_overflow(a.denominator, b.denominator, &d))
    return std::nullopt;
  return reduced(n, d);
}

std::optional<Rational> inverse(const Rational &a) { return reduced(a.denominator, a.numerator); }

namespace {

std::optional<Rational> integerPower(Rational base, Integer exponent) {
  if (exponent < 0) {
    auto i = inverse(base);
    if (!i)
      return std::nullopt;
    base = *i;
    exponent = -exponent;
  }
  bool unit = base.denominator == 1 && base.numerator >= -1 && base.numerator <= 1;
  if (exponent > 1000)
    exponent = unit ? 2 + exponent % 2 : exponent;
  if (exponent > 1000)
    return std::nullopt;
  Rational result{1, 1};
  for (Integer i = 0; i < exponent; ++i) {
    auto next = multiply(result, base);
    if (!next)
      return std::nullopt;
    result = *next;
  }
  return result;
}

std::optional<Integer> exactRoot(Integer n, Integer degree) {
  if (n < 0 || degree < 1 || degree > 100)
    return std::nullopt;
  auto guess = static_cast<Integer>(std::llroundl(
      std::pow(static_cast<long double>(n), 1.0L / static_cast<long double>(degree))));
  for (Integer r = guess > 1 ? guess - 1 : 0; r <= guess + 1; ++r) {
    auto p = integerPower({r, 1}, degree);
    if (p && p->numerator == n)
      return r;
  }
  return std::nullopt;
}

std::optional<Rational> rationalRoot(const Rational &a, Integer degree) {
  if (a.numerator > (static_cast<Integer>(1) << 62) ||
      a.denominator > (static_cast<Integer>(1) << 62))
    return std::nullopt;
  bool negative = a.numerator < 0;
  if (negative && degree % 2 == 0)
    return std::nullopt;
  auto n = exactRoot(negative ? -a.numerator : a.numerator, degree),
       d = exactRoot(a.denominator, degree);
  if (!n || !d)
    return std::nullopt;
  return Rational{negative ? -*n : *n, *d};
}

std::optional<Rational> decimal(const std::string &text) {
  Integer n = 0, d = 1;
  bool point = false;
  for (char c : text) {
    if (c == '.') {
      point = true;
      continue;
    }
    if (__builtin_mul_overflow(n, static_cast<Integer>(10), &n) ||
        __builtin_add_overflow(n, static_cast<Integer>(c - '0'), &n) ||
        (point && __builtin_mul_overflow(d, static_cast<Integer>(10), &d)))
      return std::nullopt;
  }
  return reduced(n, d);
}

// An answer is too short for digits beyond long double's range.
long double decimalValue(const std::string &text) {
  long double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// Points at which variables are positive, so that roots and logarithms are those of real numbers,
// and as many more, of either sign, where |x| is to differ from x.
constexpr int kPoints = 6;

// A number of size 0.3 to 2.5 that depends on the variable's name and the point.
long double sample(const std::string &name, int point) {
  uint64_t h = 0x9E3779B97F4A7C15u * static_cast<uint64_t>(point + 1);
  for (char c : name)
    h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  h ^= h >> 29;
  h *= 0xBF58476D1CE4E5B9u;
  h ^= h >> 32;
  long double size = 0.3L + 2.2L * static_cast<long double>(h >> 11) / 9007199254740992.0L;
  return point >= kPoints && (h & 1) ? -size : size;
}

constexpr long double kPi = 3.141592653589793238462643383279502884L,
                      kE = 2.718281828459045235360287471352662498L;

bool near(const Complex &a, const Complex &b) {
  if (std::isinf(a.real()) || std::isinf(b.real()))
    return a.real() == b.real();
  long double scale = std::max(std::abs(a), std::abs(b));
  return std::abs(a - b) <= std::max(1e-12L * scale, 1e-16L);
}

bool isFinite(const Complex &a) { return std::isfinite(a.real()) && std::isfinite(a.imag()); }

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
    for (uint64_t i = 2; i <= static_cast<uint64_t>(n->numerator); ++i)
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

bool hasAbsolute(const Expression &e) {
  return e.kind == E::absolute ||
         std::any_of(e.kids.begin(), e.kids.end(),
                     [](const ExpressionPtr &kid) { return hasAbsolute(*kid); });
}

} // namespace

void beginComparison() { work = 0; }

void collectVariables(const Expression &e, std::set<std::string> &out) {
  if (e.kind == E::variable && hasVariables(e))
    out.insert(e.text);
  for (const ExpressionPtr &kid : e.kids)
    collectVariables(*kid, out);
}

ExpressionPtr substitute(const Expression &e, const std::string &variable,
                         const Expression &value) {
  const bool is = e.kind == E::variable && e.text == variable;
  const Expression &from = is ? value : e;
  auto copy = std::make_unique<Expression>();
  copy->kind = from.kind;
  copy->text = from.text;
  for (const ExpressionPtr &kid : from.kids)
    copy->kids.push_back(is ? resolvePlusMinus(*kid, false) : substitute(*kid, variable, value));
  return copy;
}

bool hasVariables(const Expression &e) {
  if (e.kind == E::variable && e.text != "\\pi" && e.text != "e" && e.text != "i" &&
      e.text != "\\infty")
    return true;
  for (const ExpressionPtr &kid : e.kids)
    if (hasVariables(*kid))
      return true;
  return false;
}

namespace {

// The name of the only variable; nothing for none or several.
bool onlyVariable(const Expression &e, std::string &name) {
  if (e.kids.empty() && hasVariables(e)) {
    if (!name.empty() && name != e.text)
      return false;
    name = e.text;
  }
  return std::all_of(e.kids.begin(), e.kids.end(),
                     [&](const ExpressionPtr &kid) { return onlyVariable(*kid, name); });
}

} // namespace

std::optional<Linear> linearForm(const Expression &e) {
  std::string name;
  if (!onlyVariable(e, name) || name.empty())
    return std::nullopt;
  std::optional<Rational> at[4]; // at 0, 1, 2, 5: no other low polynomial has equal slopes there
  const char *const points[] = {"0", "1", "2", "5"};
  for (size_t i = 0; i < 4; ++i) {
    Expression point;
    point.kind = E::number;
    point.text = points[i];
    if (!(at[i] = exactValue(*substitute(e, name, point))))
      return std::nullopt;
  }
  auto difference = [&](size_t i, size_t k) {
    return add(*at[k], {-at[i]->numerator, at[i]->denominator});
  };
  auto same = [](const Rational &a, const Rational &b) {
    return a.numerator == b.numerator && a.denominator == b.denominator;
  };
  auto slope = difference(0, 1), next = difference(1, 2), far = difference(2, 3);
  auto three = slope ? multiply(*slope, {3, 1}) : std::nullopt;
  if (!slope || !next || !far || !three || slope->numerator == 0 || !same(*slope, *next) ||
      !same(*three, *far))
    return std::nullopt;
  return Linear{*slope, *at[0]};
}

ExpressionPtr toExpression(const Rational &value) {
  auto number = [](Integer n) {
    auto e = std::make_unique<Expression>();
    e->kind = E::number;
    for (; n > 0; n /= 10)
      e->text.insert(e->text.begin(), static_cast<char>('0' + static_cast<int>(n % 10)));
    if (e->text.empty())
      e->text = "0";
    return e;
  };
  bool negative = value.numerator < 0;
  auto quotient = std::make_unique<Expression>();
  quotient->kind = E::divide;
  quotient->kids.push_back(number(negative ? -value.numerator : value.numerator));
  quotient->kids.push_back(number(value.denominator));
  if (!negative)
    return quotient;
  auto negated = std::make_unique<Expression>();
  negated->kind = E::negate;
  negated->kids.push_back(std::move(quotient));
  return negated;
}

bool isVariable(const Expression &e) { return e.kind == E::variable; }

bool hasPlusMinus(const Expression &e) {
  if (e.kind == E::plusMinus)
    return true;
  for (const ExpressionPtr &kid : e.kids)
    if (hasPlusMinus(*kid))
      return true;
  return false;
}

ExpressionPtr resolvePlusMinus(const Expression &e, bool second) {
  auto copy = std::make_unique<Expression>();
  copy->kind = e.kind;
  copy->text = e.text;
  for (const ExpressionPtr &kid : e.kids)
    copy->kids.push_back(resolvePlusMinus(*kid, second));
  if (e.kind == E::plusMinus) {
    copy->kind = E::add;
    if ((e.text == "±") == second) { // minus
      auto negated = std::make_unique<Expression>();
      negated->kind = E::negate;
      negated->kids.push_back(std::move(copy->kids[1]));
      copy->kids[1] = std::move(negated);
    }
  }
  return copy;
}

std::optional<Rational> exactValue(const Expression &e) {
  if (!spend(1 + e.text.size() / 4))
    return std::nullopt;
  std::vector<Rational> kids;
  for (const ExpressionPtr &kid : e.kids) {
    auto value = exactValue(*kid);
    if (!value)
      return std::nullopt;
    kids.push_back(*value);
  }
  switch (e.kind) {
  case E::number:
    return decimal(e.text);
  case E::add:
    return add(kids[0], kids[1]);
  case E::multiply:
    return multiply(kids[0], kids[1]);
  case E::divide: {
    auto i = inverse(kids[1]);
    return i ? multiply(kids[0], *i) : std::nullopt;
  }
  case E::negate:
    return Rational{-kids[0].numerator, kids[0].denominator};
  case E::percent:
    return multiply(kids[0], {1, 100});
  case E::absolute:
    return Rational{kids[0].numerator < 0 ? -kids[0].numerator : kids[0].numerator,
                    kids[0].denominator};
  case E::power: {
    if (kids[1].denominator == 1)
      return kids[0].numerator == 0 && kids[1].numerator <= 0
                 ? std::nullopt
                 : integerPower(kids[0], kids[1].numerator);
    if (kids[0].numerator < 0)
      return std::nullopt;
    auto root = rationalRoot(kids[0], kids[1].denominator);
    return root ? integerPower(*root, kids[1].numerator) : std::nullopt;
  }
  case E::root:
    if (kids.size() == 1)
      return rationalRoot(kids[0], 2);
    return kids[1].denominator == 1 ? rationalRoot(kids[0], kids[1].numerator) : std::nullopt;
  case E::factorial: {
    if (kids[0].denominator != 1 || kids[0].numerator < 0 || kids[0].numerator > 33)
      return std::nullopt;
    Rational r{1, 1};
    for (Integer i = 2; i <= kids[0].numerator; ++i)
      r.numerator *= i;
    return r;
  }
  case E::binomial: {
    if (kids[0].denominator != 1 || kids[1].denominator != 1 || kids[1].numerator < 0 ||
        kids[0].numerator < kids[1].numerator || kids[0].numerator > 1000)
      return std::nullopt;
    Rational r{1, 1};
    for (Integer i = 1; i <= kids[1].numerator; ++i) {
      auto next = multiply(r, {kids[0].numerator - kids[1].numerator + i, i});
      if (!next)
        return std::nullopt;
      r = *next;
    }
    return r;
  }
  case E::function: {
    if (e.text != "floor" && e.text != "ceil")
      return std::nullopt;
    Integer n = kids[0].numerator, d = kids[0].denominator, below = n / d - (n % d < 0);
    return Rational{e.text == "floor" || n % d == 0 ? below : below + 1, 1};
  }
  default:
    return std::nullopt;
  }
}

Complex numericValue(const Expression &e, int point) {
  constexpr long double nan = std::numeric_limits<long double>::quiet_NaN(),
                        infinity = std::numeric_limits<long double>::infinity();
  bool costly = e.kind == E::power || e.kind == E::root || e.kind == E::function ||
                e.kind == E::binomial || e.kind == E::factorial;
  if (!spend(costly ? 15 : 2))
    return nan;
  auto kid = [&](size_t i) {
    Complex x = numericValue(*e.kids[i], point);
    return x.imag() == 0 ? Complex(x.real(), 0)
                         : x; // -0 would be the other side of the cut of roots and logarithms
  };
  switch (e.kind) {
  case E::number:
    return decimalValue(e.text);
  case E::variable:
    if (e.text == "\\pi")
      return kPi;
    if (e.text == "e")
      return kE;
    if (e.text == "i")
      return Complex(0, 1);
    if (e.text == "\\infty")
      return infinity;
    return sample(e.text, point);
  case E::add:
    return kid(0) + kid(1);
  case E::multiply:
    return kid(0) * kid(1);
  case E::divide: {
    Complex below = kid(1);
    return below == Complex(0) ? Complex(nan) : kid(0) / below;
  }
  case E::negate: {
    Complex x = kid(0);
    return std::isinf(x.real()) ? Complex(-x.real(), 0) : -x;
  }
  case E::percent:
    return kid(0) / 100.0L;
  case E::absolute:
    return std::abs(kid(0));
  case E::power: {
    Complex base = kid(0), exponent = kid(1);
    if (base == Complex(0))
      return exponent.real() > 0 ? Complex(0) : Complex(nan);
    long double n = exponent.real();
    // exact signs for negative bases
    if (exponent.imag() == 0 && n == std::floor(n) && std::fabs(n) <= 64) {
      Complex r = 1;
      for (int i = 0; i < static_cast<int>(std::fabs(n)); ++i)
        r *= base;
      return n < 0 ? Complex(1) / r : r;
    }
    return std::pow(base, exponent);
  }
  case E::root: {
    Complex x = kid(0);
    if (e.kids.size() == 1)
      return std::sqrt(x);
    Complex degree = kid(1);
    if (x.imag() == 0 && x.real() < 0 && degree.imag() == 0 &&
        std::fmod(degree.real(), 2) == 1) // the real root
      return -std::pow(-x.real(), 1 / degree.real());
    return x == Complex(0) ? Complex(0) : std::pow(x, Complex(1) / degree);
  }
  case E::factorial: {
    Complex x = kid(0);
    return x.imag() == 0 && x.real() >= 0 && x.real() < 1000 ? Complex(std::tgamma(x.real() + 1))
                                                             : Complex(nan);
  }
  case E::binomial: {
    Complex n = kid(0), k = kid(1);
    if (k.imag() == 0 && k.real() >= 0 && k.real() <= 64 && k.real() == std::floor(k.real())) {
      Complex product = 1;
      for (int i = 0; i < static_cast<int>(k.real()); ++i)
        product *= (n - static_cast<long double>(i)) / static_cast<long double>(i + 1);
      return product;
    }
    return n.imag() == 0 && k.imag() == 0 && k.real() >= 0 && n.real() >= k.real()
               ? Complex(std::exp(std::lgamma(n.real() + 1) - std::lgamma(k.real() + 1) -
                                  std::lgamma(n.real() - k.real() + 1)))
               : Complex(nan);
  }
  case E::function: {
    Complex x = kid(0);
    const std::string &f = e.text;
    if (f == "sin")
      return std::sin(x);
    if (f == "cos")
      return std::cos(x);
    if (f == "tan")
      return std::tan(x);
    if (f == "cot")
      return Complex(1) / std::tan(x);
    if (f == "sec")
      return Complex(1) / std::cos(x);
    if (f == "csc")
      return Complex(1) / std::sin(x);
    if (f == "arcsin")
      return std::asin(x);
    if (f == "arccos")
      return std::acos(x);
    if (f == "arctan")
      return std::atan(x);
    if (f == "sinh")
      return std::sinh(x);
    if (f == "cosh")
      return std::cosh(x);
    if (f == "tanh")
      return std::tanh(x);
    if (f == "ln")
      return x == Complex(0) ? Complex(nan) : std::log(x);
    if (f == "exp")
      return std::exp(x);
    if (f == "floor")
      return std::floor(x.real());
    if (f == "ceil")
      return std::ceil(x.real());
    return nan;
  }
  case E::plusMinus:
    return nan;
  }
  return nan;
}

bool equalExpressions(const Expression &a, const Expression &b) {
  if (a.kind == E::number && b.kind == E::number && a.text.find('.') == std::string::npos &&
      b.text.find('.') == std::string::npos) {
    auto digits = [](const std::string &text) {
      return text.substr(std::min(text.find_first_not_of('0'), text.size() - 1));
    };
    return digits(a.text) == digits(b.text); // of any length
  }
  bool variables = hasVariables(a) || hasVariables(b);
  if (!variables) {
    auto x = exactValue(a), y = exactValue(b);
    if (x && y)
      return x->numerator == y->numerator && x->denominator == y->denominator;
    // 2^1000 + 1 is not 2^1000, though no floating-point number shows it.
    constexpr uint64_t primes[] = {(uint64_t(1) << 61) - 1, 2305843009213693921u};
    auto first = residue(a, primes[0]), second = residue(b, primes[0]);
    if (first && second)
      return *first == *second && residue(a, primes[1]) == residue(b, primes[1]);
  }
  int agreed = 0, points = !variables                         ? 1
                           : hasAbsolute(a) || hasAbsolute(b) ? 2 * kPoints
                                                              : kPoints;
  for (int point = 0; point < points; ++point) {
    Complex x = numericValue(a, point), y = numericValue(b, point);
    bool infinite = std::isinf(x.real()) && std::isinf(y.real());
    if (!infinite && (!isFinite(x) || !isFinite(y))) {
      if (isFinite(x) != isFinite(y))
        return false;
      continue;
    }
    if (!near(x, y))
      return false;
    ++agreed;
  }
  return agreed > 0;
}

bool proportional(const Expression &a, const Expression &b) {
  Complex ratio;
  for (int point = 0; point < kPoints; ++point) {
    Complex x = numericValue(a, point), y = numericValue(b, point);
    if (!isFinite(x) || !isFinite(y) || std::abs(y) < 1e-9L || std::abs(x) < 1e-9L)
      return false;
    if (point == 0)
      ratio = x / y;
    else if (!near(x / y, ratio))
      return false;
  }
  return true;
}

} // namespace m1rt::vote
