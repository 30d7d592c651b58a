// Values of expressions.
#include "vote/evaluate.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

namespace m1rt::vote {
namespace {

using E = Expression::Kind;
using Integer = __int128;

// What reading an answer may cost: a unit takes about a tenth of a microsecond. Beyond it there are
// no values, so that what takes too long is equal to the same text alone.
constexpr size_t kMostWork = 60000;
thread_local size_t work = 0;

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

// A number of size 0.3 to 2.5 that depends on the variable's name and the point: an odd number of
// 256ths, so that polynomials of a degree up to about 15 have exact values there.
Rational sample(const std::string &name, int point) {
  uint64_t h = 0x9E3779B97F4A7C15u * static_cast<uint64_t>(point + 1);
  for (char c : name)
    h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  h ^= h >> 29;
  h *= 0xBF58476D1CE4E5B9u;
  h ^= h >> 32;
  const auto size = static_cast<Integer>(77 + 2 * ((h >> 11) % 281));
  if (point < kPoints)
    return {size, 256};
  // In pairs of either sign, each pair eight times as far as the one before.
  const int pair = (point - kPoints) / 2;
  uint64_t side = static_cast<uint64_t>(pair + point % 2);
  for (char c : name)
    side += static_cast<unsigned char>(c) >> pair;
  return {(side & 1 ? -size : size) * (Integer(1) << (3 * pair)), 256};
}

constexpr long double kPi = 3.141592653589793238462643383279502884L,
                      kE = 2.718281828459045235360287471352662498L;

} // namespace

long double approximate(const Rational &r) {
  return static_cast<long double>(r.numerator) / static_cast<long double>(r.denominator);
}

bool isFinite(const Complex &a) { return std::isfinite(a.real()) && std::isfinite(a.imag()); }

Complex withoutNoise(Complex a, long double scale) {
  constexpr long double noise = 1e-17L;
  if (!std::isfinite(scale))
    return a;
  if (std::fabs(a.real()) <= noise * scale)
    a.real(0);
  if (std::fabs(a.imag()) <= noise * scale)
    a.imag(0);
  return a;
}

void beginReading() { work = 0; }

bool spend(size_t units) {
  work += units;
  return work <= kMostWork;
}

namespace {

// Of a function that has rational values and no variables.
std::optional<Rational> exactFunction(const Expression &e, const std::vector<Rational> &kids,
                                      int point) {
  const std::string &f = e.text;
  const bool rounds = f == "floor" || f == "ceil", divides = f == "gcd" || f == "lcm";
  const bool chooses = f == "max" || f == "min";
  if (!(rounds || divides || chooses || f == "mod") || (point >= 0 && hasVariables(e)))
    return std::nullopt;
  auto floorOf = [](Integer n, Integer d) { return n / d - (n % d < 0); };
  if (rounds) {
    const Integer n = kids[0].numerator, d = kids[0].denominator, below = floorOf(n, d);
    return Rational{f == "floor" || n % d == 0 ? below : below + 1, 1};
  }
  if (chooses) {
    Rational all = kids[0];
    for (const Rational &each : kids) {
      auto difference = add(each, {-all.numerator, all.denominator});
      if (!difference)
        return std::nullopt;
      if (f == "max" ? difference->numerator > 0 : difference->numerator < 0)
        all = each;
    }
    return all;
  }
  if (!std::all_of(kids.begin(), kids.end(), [](const Rational &r) { return r.denominator == 1; }))
    return std::nullopt;
  if (f == "mod") {
    const Integer a = kids[0].numerator, m = kids[1].numerator;
    return m > 0 ? std::optional(Rational{(a % m + m) % m, 1}) : std::nullopt;
  }
  Integer all = kids[0].numerator < 0 ? -kids[0].numerator : kids[0].numerator;
  for (const Rational &each : kids) {
    const Integer common = gcd(all, each.numerator), a = all;
    all = common;
    if (f == "lcm" && (common == 0 || __builtin_mul_overflow(a / common, each.numerator, &all)))
      return std::nullopt;
    all = all < 0 ? -all : all;
  }
  return reduced(all, 1);
}

// Stands for a function of variables of which no more is known than its name and its arguments,
// perhaps in any order: no other formula has its values.
Complex unknownValue(const std::string &name, const std::vector<Complex> &arguments, bool ordered) {
  uint64_t h = 0xCBF29CE484222325u;
  for (const char c : name)
    h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  const long double own = 1 + static_cast<long double>(h >> 40) / static_cast<long double>(1 << 24);
  Complex all = own;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const Complex x = std::isinf(arguments[i].real()) ? Complex(kPi * kE) : arguments[i];
    const long double place = ordered ? static_cast<long double>(i + 1) : 1;
    all += std::sqrt(x * x + x * own / 3.0L + place * kPi) * (place + own * kE);
  }
  return all;
}

} // namespace

std::optional<Rational> exactValue(const Expression &e, int point) {
  if (!spend(1 + e.text.size() / 4))
    return std::nullopt;
  std::vector<Rational> kids;
  for (const ExpressionPtr &kid : e.kids) {
    auto value = exactValue(*kid, point);
    if (!value)
      return std::nullopt;
    kids.push_back(*value);
  }
  switch (e.kind) {
  case E::number:
    return decimal(e.text);
  case E::variable:
    return point >= 0 && hasVariables(e) ? std::optional(sample(e.text, point)) : std::nullopt;
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
    const Integer step = e.text == "!!" ? 2 : 1;
    for (Integer i = kids[0].numerator; i > 1; i -= step)
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
  case E::function:
    return exactFunction(e, kids, point);
  default:
    return std::nullopt;
  }
}

namespace {

// Of functions that round, of those of several arguments, and of sums and products whose bounds are
// no numbers.
Complex functionValue(const Expression &e, int point) {
  const std::string &f = e.text;
  std::vector<Complex> kids;
  for (const ExpressionPtr &kid : e.kids)
    kids.push_back(numericValue(*kid, point));
  if (f.compare(0, 3, "sum") == 0 || f.compare(0, 4, "prod") == 0)
    return unknownValue(f, kids, true);
  if (hasVariables(e)) {
    // Samples are no integers, and positive: they know neither of rounding nor of larger ones.
    if (f == "ceil") // ⌈x⌉ is -⌊-x⌋
      return -unknownValue("floor", {-kids[0]}, true);
    return unknownValue(f, kids, f == "floor" || f == "mod");
  }
  if (f == "floor" || f == "ceil") { // \lfloor 10·0.7 \rfloor is 7
    const long double x = kids[0].real(), near = std::round(x);
    return std::fabs(x - near) <= 1e-15L * std::fabs(x) ? near
           : f == "floor"                               ? std::floor(x)
                                                        : std::ceil(x);
  }
  if (f == "norm")
    return std::abs(kids[0]);
  const bool real = std::all_of(kids.begin(), kids.end(), [](Complex x) { return x.imag() == 0; });
  if (!real || (f != "max" && f != "min"))
    return std::numeric_limits<long double>::quiet_NaN();
  Complex all = kids[0];
  for (const Complex x : kids)
    if (f == "max" ? x.real() > all.real() : x.real() < all.real())
      all = x;
  return all;
}

} // namespace

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
    return approximate(sample(e.text, point));
  case E::add: {
    Complex x = kid(0), y = kid(1);
    return withoutNoise(x + y, std::max(std::abs(x), std::abs(y)));
  }
  case E::multiply: {
    Complex x = kid(0), y = kid(1);
    if (std::isinf(x.real()) || std::isinf(y.real()))
      return x.imag() == 0 && y.imag() == 0 ? Complex(x.real() * y.real()) : Complex(nan);
    return x * y;
  }
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
    // as \sqrt[3]{-8}
    const auto exact = base.imag() == 0 && base.real() < 0 && !hasVariables(*e.kids[1])
                           ? exactValue(*e.kids[1])
                           : std::nullopt;
    if (exact && exact->denominator % 2 == 1) {
      const long double size = std::pow(-base.real(), exponent.real());
      return exact->numerator % 2 == 0 ? size : -size;
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
    if (e.text == "!!")
      return unknownValue("!!", {x}, true);
    const bool pole = x.real() < 0 && x.real() == std::floor(x.real());
    return x.imag() == 0 && !pole && x.real() > -30 && x.real() < 1000
               ? Complex(std::tgamma(x.real() + 1))
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
    const long double rest = n.real() - k.real();
    if (n.imag() != 0 || k.imag() != 0)
      return nan;
    if (k.real() >= 0 && rest >= 0)
      return std::exp(std::lgamma(n.real() + 1) - std::lgamma(k.real() + 1) -
                      std::lgamma(rest + 1));
    auto isPole = [](long double x) { return x < 0 && x == std::floor(x); };
    if (isPole(n.real()) || std::max({-n.real(), -k.real(), -rest}) > 30)
      return nan;
    return isPole(k.real()) || isPole(rest)
               ? Complex(0)
               : Complex(std::tgamma(n.real() + 1) / std::tgamma(k.real() + 1) /
                         std::tgamma(rest + 1));
  }
  case E::function: {
    const std::string &f = e.text;
    const bool known = e.kids.size() == 1 && f != "floor" && f != "ceil" && f != "norm";
    if (!known)
      return functionValue(e, point);
    Complex x = kid(0);
    // At their zeros and poles, multiples of π/2, these are as wrong as their argument is.
    if (f == "sin" || f == "cos" || f == "tan" || f == "cot" || f == "sec" || f == "csc") {
      const Complex sine = withoutNoise(std::sin(x), std::abs(x)),
                    cosine = withoutNoise(std::cos(x), std::abs(x)),
                    top = f == "sin" || f == "tan"   ? sine
                          : f == "cos" || f == "cot" ? cosine
                                                     : Complex(1),
                    below = f == "tan" || f == "sec"   ? cosine
                            : f == "cot" || f == "csc" ? sine
                                                       : Complex(1);
      return below == Complex(0) ? Complex(nan) : top / below;
    }
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
      return x == Complex(0) ? Complex(nan) : withoutNoise(std::log(x), 1);
    if (f == "exp")
      return std::exp(x);
    if (f == "coth")
      return x == Complex(0) ? Complex(nan) : Complex(1) / std::tanh(x);
    if (f == "sech")
      return Complex(1) / std::cosh(x);
    if (f == "csch")
      return x == Complex(0) ? Complex(nan) : Complex(1) / std::sinh(x);
    if (f == "arccot") // between 0 and π
      return Complex(kPi / 2) - std::atan(x);
    if (f == "arcsec")
      return x == Complex(0) ? Complex(nan) : std::acos(Complex(1) / x);
    if (f == "arccsc")
      return x == Complex(0) ? Complex(nan) : std::asin(Complex(1) / x);
    if (f == "arcsinh")
      return std::asinh(x);
    if (f == "arccosh")
      return std::acosh(x);
    if (f == "conj")
      return std::conj(x);
    if (f == "arctanh")
      return std::atanh(x);
    return nan;
  }
  case E::plusMinus:
    return nan;
  }
  return nan;
}

} // namespace m1rt::vote
