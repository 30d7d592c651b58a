// Mathematical expressions in LaTeX: tokens, syntax tree, exact and numeric values.
#ifndef M1RT_VOTE_EXPRESSION_H
#define M1RT_VOTE_EXPRESSION_H

#include <complex>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace m1rt::vote {

struct Token {
  enum class Kind : uint8_t {
    number,  // text: digits, perhaps with a point; thousands separators are gone
    letter,  // one letter, a Greek letter or another symbol by its command's name
    word,    // two or more letters in a row: a function, a unit or just text
    text,    // \text{…} and the like
    command, // \frac, \sqrt, … by name
    // one of + - * / ^ _ ! % | ‖ , ; : = < > ( ) [ ] { } ± ∓ ≤ ≥ ≠ ≈ ≡ ∪ ∩ ∧ ∨ ∈ ° and "\{" "\}"
    // "&" "\\" "\bmod" "\pmod"
    op,
  };
  Kind kind;
  std::string text;
  bool spaceBefore = false; // in the same line
};

// Spacing, \left, \right and currency signs go; variants of a command become one. Nothing for
// braces that do not match. 1,234 is one number, outside brackets.
std::optional<std::vector<Token>> tokenize(const std::string &latex);

// The one name of commands that mean the same; "" for those that only say how to print.
std::string usualName(const std::string &command);

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  enum class Kind : uint8_t {
    number,
    variable,
    add,
    multiply,
    divide,
    power,
    negate,
    root,
    function,
    factorial,
    percent,
    absolute,
    binomial,
    plusMinus
  };
  Kind kind;
  std::string text; // number's digits, variable's or function's name; plusMinus: "±" or "∓"
  std::vector<ExpressionPtr> kids;
};

// The tokens [begin, end) as one expression; null when they are none.
ExpressionPtr parseExpression(const std::vector<Token> &tokens, size_t begin, size_t end);

// An expression of this kind, of one or two others.
ExpressionPtr node(Expression::Kind kind, ExpressionPtr first, ExpressionPtr second = nullptr);
// Of an expression without ±.
ExpressionPtr copyOf(const Expression &e);
bool hasPlusMinus(const Expression &e);
// The expression with every ± taken as its first or second sign.
ExpressionPtr resolvePlusMinus(const Expression &e, bool second);
// All that an expression with ± stands for: a ∓ takes the other sign of every ±; without one each ±
// takes either sign. None where those were more than eight.
std::vector<ExpressionPtr> allSigns(const Expression &e);
size_t nodesOf(const Expression &e); // how many expressions it consists of
bool isVariable(const Expression &e);
bool hasVariables(const Expression &e); // π, e, i and ∞ are none
void collectVariables(const Expression &e, std::set<std::string> &out);
// A copy with `value` for a variable.
ExpressionPtr substitute(const Expression &e, const std::string &variable, const Expression &value);
// slope·x + constant = e, if e has one variable x and is so with rational numbers; slope ≠ 0.
struct Linear;
std::optional<Linear> linearForm(const Expression &e);

struct Rational {
  __int128 numerator = 0, denominator = 1; // lowest terms, denominator > 0
};
struct Linear {
  Rational slope, constant;
};
// The same of square·x² + slope·x + constant; square ≠ 0.
struct Quadratic {
  Rational square, slope, constant;
};
std::optional<Quadratic> quadraticForm(const Expression &e);
// The value as an expression, in lowest terms.
ExpressionPtr toExpression(const Rational &value);
std::optional<Rational> add(const Rational &a, const Rational &b);
std::optional<Rational> multiply(const Rational &a, const Rational &b);
std::optional<Rational> inverse(const Rational &a);
// Exact value, if it is rational and its parts fit 128 bits; with variables only at a point.
std::optional<Rational> exactValue(const Expression &e, int point = -1);

// Numeric value with variables set to numbers that depend on their names and on `point`; may be
// infinite or not a number.
using Complex = std::complex<long double>;
Complex numericValue(const Expression &e, int point);

// Gives the values that follow on this thread their time: some milliseconds. What goes beyond has
// no value.
void beginReading();
// Takes some of it, in tenths of a microsecond; false when none is left.
bool spend(size_t units);

// What all expressions of one value (for all values of their variables, tested at several points)
// have in common, and no other; nothing for what has no value. Rational values are told apart
// exactly, others, and functions, by twelve digits.
std::optional<std::string> valueKey(const Expression &e);
// The same of "e = 0", which any factor but 0 leaves as it is, or of "e > 0", which positive
// factors do.
std::optional<std::string> ratioKey(const Expression &e, bool anyFactor);
// Whether two expressions have the same value to 1e-12, at a few points.
bool agree(const Expression &a, const Expression &b);

} // namespace m1rt::vote

#endif
