#include "vote/units.h"

#include "vote/wording.h"

#include <algorithm>
#include <vector>

namespace m1rt::vote {
namespace {

// Words that say what a number counts; with \text{…} any word does.
const std::set<std::string> kUnits = {
    "cm",          "mm",        "km",      "inch",   "inches",  "foot",       "feet",
    "ft",          "degree",    "degrees", "unit",   "units",   "dollar",     "dollars",
    "cent",        "cents",     "meter",   "meters", "metre",   "metres",     "hour",
    "hours",       "minute",    "minutes", "second", "seconds", "day",        "days",
    "week",        "weeks",     "month",   "months", "year",    "years",      "square",
    "cubic",       "sq",        "mph",     "mile",   "miles",   "pound",      "pounds",
    "percent",     "kg",        "gram",    "grams",  "yards",   "yard",       "liters",
    "litres",      "radians",   "ways",    "per",    "points",  "people",     "students",
    "in",          "yd",        "mi",      "lb",     "lbs",     "oz",         "ounce",
    "ounces",      "gallon",    "gallons", "mg",     "mL",      "ml",         "sec",
    "min",         "hr",        "hrs",     "kph",    "rpm",     "kilometers", "centimeters",
    "millimeters", "kilograms", "tons",    "times",  "USD",     "EUR",        "GBP",
    "rad",         "rads",      "acres",   "joules", "newtons", "watts",      "volts",
    "rupees",      "euros",     "pence",   "yen",    "yuan",    "apiece",     "INR"};

struct Known {
  const char *dimension; // base units and their powers, those below 1 behind a slash: "kg m/s2"
  int64_t above, below;  // size in these
};

// By abbreviation, as it is spelled.
const std::map<std::string, Known> kSymbols = {{"nm", {"m", 1, 1000000000}},
                                               {"µm", {"m", 1, 1000000}},
                                               {"mm", {"m", 1, 1000}},
                                               {"cm", {"m", 1, 100}},
                                               {"dm", {"m", 1, 10}},
                                               {"m", {"m", 1, 1}},
                                               {"km", {"m", 1000, 1}},
                                               {"in", {"m", 127, 5000}},
                                               {"ft", {"m", 381, 1250}},
                                               {"yd", {"m", 1143, 1250}},
                                               {"mi", {"m", 201168, 125}},
                                               {"ms", {"s", 1, 1000}},
                                               {"s", {"s", 1, 1}},
                                               {"sec", {"s", 1, 1}},
                                               {"secs", {"s", 1, 1}},
                                               {"min", {"s", 60, 1}},
                                               {"mins", {"s", 60, 1}},
                                               {"h", {"s", 3600, 1}},
                                               {"hr", {"s", 3600, 1}},
                                               {"hrs", {"s", 3600, 1}},
                                               {"mg", {"kg", 1, 1000000}},
                                               {"g", {"kg", 1, 1000}},
                                               {"kg", {"kg", 1, 1}},
                                               {"lb", {"kg", 45359237, 100000000}},
                                               {"lbs", {"kg", 45359237, 100000000}},
                                               {"oz", {"kg", 45359237, 1600000000}},
                                               {"l", {"m3", 1, 1000}},
                                               {"L", {"m3", 1, 1000}},
                                               {"ml", {"m3", 1, 1000000}},
                                               {"mL", {"m3", 1, 1000000}},
                                               {"mph", {"m/s", 1397, 3125}},
                                               {"kph", {"m/s", 5, 18}},
                                               {"kmh", {"m/s", 5, 18}},
                                               {"Hz", {"1/s", 1, 1}},
                                               {"N", {"kg m/s2", 1, 1}},
                                               {"J", {"kg m2/s2", 1, 1}},
                                               {"kJ", {"kg m2/s2", 1000, 1}},
                                               {"kWh", {"kg m2/s2", 3600000, 1}},
                                               {"W", {"kg m2/s3", 1, 1}},
                                               {"kW", {"kg m2/s3", 1000, 1}},
                                               {"Pa", {"kg/m s2", 1, 1}},
                                               {"kPa", {"kg/m s2", 1000, 1}},
                                               {"A", {"A", 1, 1}},
                                               {"V", {"kg m2/A s3", 1, 1}},
                                               {"Ω", {"kg m2/A2 s3", 1, 1}},
                                               {"mol", {"mol", 1, 1}},
                                               {"K", {"K", 1, 1}},
                                               {"USD", {"USD", 1, 1}},
                                               {"¢", {"USD", 1, 100}},
                                               {"EUR", {"EUR", 1, 1}},
                                               {"GBP", {"GBP", 1, 1}},
                                               {"INR", {"INR", 1, 1}}};
// By name, without a plural s and in lower case.
const std::map<std::string, Known> kNames = {{"millimeter", {"m", 1, 1000}},
                                             {"millimetre", {"m", 1, 1000}},
                                             {"centimeter", {"m", 1, 100}},
                                             {"centimetre", {"m", 1, 100}},
                                             {"decimeter", {"m", 1, 10}},
                                             {"meter", {"m", 1, 1}},
                                             {"metre", {"m", 1, 1}},
                                             {"kilometer", {"m", 1000, 1}},
                                             {"kilometre", {"m", 1000, 1}},
                                             {"inch", {"m", 127, 5000}},
                                             {"inche", {"m", 127, 5000}},
                                             {"foot", {"m", 381, 1250}},
                                             {"feet", {"m", 381, 1250}},
                                             {"yard", {"m", 1143, 1250}},
                                             {"mile", {"m", 201168, 125}},
                                             {"second", {"s", 1, 1}},
                                             {"minute", {"s", 60, 1}},
                                             {"hour", {"s", 3600, 1}},
                                             {"day", {"s", 86400, 1}},
                                             {"week", {"s", 604800, 1}},
                                             {"month", {"month", 1, 1}},
                                             {"year", {"month", 12, 1}},
                                             {"milligram", {"kg", 1, 1000000}},
                                             {"gram", {"kg", 1, 1000}},
                                             {"kilogram", {"kg", 1, 1}},
                                             {"pound", {"kg", 45359237, 100000000}},
                                             {"ounce", {"kg", 45359237, 1600000000}},
                                             {"liter", {"m3", 1, 1000}},
                                             {"litre", {"m3", 1, 1000}},
                                             {"milliliter", {"m3", 1, 1000000}},
                                             {"millilitre", {"m3", 1, 1000000}},
                                             {"gallon", {"m3", 473176473, 125000000000}},
                                             {"quart", {"m3", 473176473, 500000000000}},
                                             {"pint", {"m3", 473176473, 1000000000000}},
                                             {"acre", {"m2", 40468564224, 10000000}},
                                             {"hectare", {"m2", 10000, 1}},
                                             {"newton", {"kg m/s2", 1, 1}},
                                             {"joule", {"kg m2/s2", 1, 1}},
                                             {"watt", {"kg m2/s3", 1, 1}},
                                             {"volt", {"kg m2/A s3", 1, 1}},
                                             {"ohm", {"kg m2/A2 s3", 1, 1}},
                                             {"kelvin", {"K", 1, 1}},
                                             {"dollar", {"USD", 1, 1}},
                                             {"buck", {"USD", 1, 1}},
                                             {"cent", {"USD", 1, 100}},
                                             {"euro", {"EUR", 1, 1}},
                                             {"pence", {"GBP", 1, 100}},
                                             {"rupee", {"INR", 1, 1}},
                                             {"yen", {"JPY", 1, 1}},
                                             {"yuan", {"CNY", 1, 1}}};
// Behind "°" or "degrees".
const std::map<std::string, std::pair<Rational, Rational>> kTemperatures = {
    {"c", {{1, 1}, {5463, 20}}},
    {"celsius", {{1, 1}, {5463, 20}}},
    {"f", {{5, 9}, {45967, 180}}},
    {"fahrenheit", {{5, 9}, {45967, 180}}}};

bool isLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool isDigit(char c) { return c >= '0' && c <= '9'; }

std::string lowerCase(std::string text) {
  for (char &c : text)
    c = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  return text;
}

const Known *knownUnit(const std::string &word) {
  if (auto it = kSymbols.find(word); it != kSymbols.end())
    return &it->second;
  std::string name = lowerCase(word);
  auto it = kNames.find(name);
  if (it == kNames.end() && name.size() > 1 && name.back() == 's') {
    name.pop_back();
    it = kNames.find(name);
  }
  return it == kNames.end() ? nullptr : &it->second;
}

// Parts of a unit: words, "^2", "^-1", "/", "*" and "°" as they follow each other.
std::vector<std::string> partsOf(const std::string &unit) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < unit.size();) {
    const size_t begin = i;
    const bool special = static_cast<unsigned char>(unit[i]) >= 0x80;
    if (unit.compare(i, 5, "\\circ") == 0) {
      parts.emplace_back("°");
      i += 5;
      continue;
    }
    if (isLetter(unit[i]) || special) {
      while (i < unit.size() && (isLetter(unit[i]) || static_cast<unsigned char>(unit[i]) >= 0x80))
        ++i;
      std::string word = unit.substr(begin, i - begin);
      if (word.compare(0, 2, "°") == 0 && word.size() > 2) { // °C
        parts.emplace_back("°");
        word.erase(0, 2);
      }
      parts.push_back(word);
      if (i < unit.size() && (unit[i] == '2' || unit[i] == '3')) // cm2
        parts.push_back(std::string("^") + unit[i++]);
    } else if (unit[i] == '^') {
      std::string power = "^";
      for (++i; i < unit.size() && (isDigit(unit[i]) || std::string("{}- ").find(unit[i]) < 4); ++i)
        if (unit[i] != '{' && unit[i] != '}' && unit[i] != ' ')
          power += unit[i];
        else if (unit[i] != '{' && power.size() > 1)
          break;
      parts.push_back(power);
    } else {
      if (std::string(" {}.").find(unit[i]) == std::string::npos)
        parts.emplace_back(1, unit[i]);
      ++i;
    }
  }
  return parts;
}

// The power of a base unit to a measure: false where it grows too large.
bool multiplyBy(Measure &measure, const Known &unit, int power) {
  if (power < -6 || power > 6)
    return false;
  int side = 1;
  for (const char *c = unit.dimension; *c;) {
    if (*c == '/')
      side = -1;
    if (!isLetter(*c)) {
      ++c;
      continue;
    }
    std::string name;
    while (isLetter(*c))
      name += *c++;
    const int exponent = isDigit(*c) ? *c++ - '0' : 1;
    if ((measure.dimension[name] += side * power * exponent) == 0)
      measure.dimension.erase(name);
  }
  const Rational size =
      power > 0 ? Rational{unit.above, unit.below} : Rational{unit.below, unit.above};
  const auto base = multiply(size, {1, 1});
  for (int n = std::abs(power); base && n > 0; --n) {
    const auto product = multiply(measure.size, *base);
    if (!product)
      return false;
    measure.size = *product;
  }
  return base.has_value();
}

} // namespace

bool isUnitWord(const std::string &word) { return kUnits.count(word) != 0; }

bool isUnit(const std::string &words) {
  static const std::set<std::string> more = {
      "m",          "s",           "g",          "h",          "l",         "n",
      "j",          "w",           "v",          "k",          "hz",        "kwh",
      "kw",         "mol",         "centimeter", "millimeter", "kilometer", "centimetres",
      "kilometres", "millimetres", "kilogram",   "total",      "liter",     "litre"};
  const Token token = {Token::Kind::text, words};
  const std::vector<std::string> all = wordsOf(token);
  const bool quotient = words.find('/') != std::string::npos; // m/s; 5 m may be a product
  auto known = [&](const std::string &word) {
    return isUnitWord(word) ||
           ((more.count(word) || knownUnit(word)) && (quotient || word.size() > 1));
  };
  const std::string signs = " /^23.abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  return !all.empty() && words[0] == ' ' && words.find_first_not_of(signs) == std::string::npos &&
         std::all_of(all.begin(), all.end(), known);
}

bool Measure::operator==(const Measure &other) const {
  auto same = [](const Rational &a, const Rational &b) {
    return a.numerator == b.numerator && a.denominator == b.denominator;
  };
  return dimension == other.dimension && same(size, other.size) && same(zero, other.zero);
}

std::optional<Measure> measureOf(const std::string &unit) {
  const std::vector<std::string> parts = partsOf(unit);
  Measure measure;
  size_t units = 0, times = 0;
  int side = 1, next = 1;
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string word = lowerCase(parts[i]);
    if (word == "/" || word == "per") {
      side = -1;
      continue;
    }
    if (word == "*" && units > 0)
      continue;
    if (word == "square" || word == "sq" || word == "cubic" || word == "cu") {
      next = word[0] == 's' ? 2 : 3;
      continue;
    }
    if ((word == "°" || word == "degree" || word == "degrees" || word == "deg") &&
        i + 2 == parts.size() && units == 0) {
      const auto scale = kTemperatures.find(lowerCase(parts[i + 1]));
      if (scale == kTemperatures.end())
        return std::nullopt;
      measure.dimension["K"] = 1;
      measure.size = scale->second.first;
      measure.zero = scale->second.second;
      return measure;
    }
    if (word.size() > 2 && i == 0 && parts.size() == 1) // Celsius
      if (const auto scale = kTemperatures.find(word); scale != kTemperatures.end())
        return measureOf("degrees " + word);
    const Known *known = knownUnit(parts[i]);
    if (!known)
      return std::nullopt;
    int power = next;
    if (i + 1 < parts.size() && parts[i + 1][0] == '^') {
      const std::string &exponent = parts[++i];
      const bool negative = exponent.size() == 3 && exponent[1] == '-';
      if ((exponent.size() != 2 && !negative) || !isDigit(exponent.back()))
        return std::nullopt;
      power *= (exponent.back() - '0') * (negative ? -1 : 1);
    } else if (i + 1 < parts.size() && (parts[i + 1] == "squared" || parts[i + 1] == "cubed")) {
      power *= parts[++i][0] == 's' ? 2 : 3;
    }
    if (!multiplyBy(measure, *known, side * power))
      return std::nullopt;
    times += std::string(known->dimension) == "s" || std::string(known->dimension) == "month";
    ++units;
    side = next = 1;
  }
  if (units == 0 || side < 0 || next > 1 || (times > 1 && times == units))
    return std::nullopt; // "8 hours per day" may be said of hours
  return measure;
}

std::string dimensionOf(const Measure &measure) {
  std::string text;
  for (const auto &[base, power] : measure.dimension)
    text += base + std::to_string(power) + " ";
  return text;
}

ExpressionPtr inBaseUnits(const Expression &value, const Measure &measure) {
  ExpressionPtr scaled =
      node(Expression::Kind::multiply, toExpression(measure.size), copyOf(value));
  return measure.zero.numerator == 0
             ? std::move(scaled)
             : node(Expression::Kind::add, std::move(scaled), toExpression(measure.zero));
}

std::optional<Quantity> compoundQuantity(const std::string &latex) {
  constexpr size_t longest = 100;
  if (latex.size() > longest || std::count_if(latex.begin(), latex.end(), isDigit) < 2)
    return std::nullopt;
  // Without the signs around words, and without commas and "and" between the parts.
  std::vector<std::string> words;
  for (size_t i = 0; i < latex.size();) {
    if (latex.compare(i, 6, "\\text{") == 0 || latex.compare(i, 8, "\\mathrm{") == 0) {
      i += latex[i + 1] == 't' ? 6 : 8;
    } else if (isLetter(latex[i]) || isDigit(latex[i])) {
      const bool number = isDigit(latex[i]);
      const size_t begin = i;
      while (i < latex.size() &&
             (number ? isDigit(latex[i]) || (latex[i] == '.' && i > begin && i + 1 < latex.size() &&
                                             isDigit(latex[i + 1]))
                     : isLetter(latex[i])))
        ++i;
      if (const std::string word = latex.substr(begin, i - begin); word != "and")
        words.push_back(word);
    } else if (std::string("{}$ ~,.\\").find(latex[i]) != std::string::npos) {
      ++i;
    } else {
      return std::nullopt;
    }
  }
  if (words.size() < 4 || words.size() % 2)
    return std::nullopt;
  std::optional<Quantity> sum;
  std::optional<Rational> size;
  for (size_t i = 0; i < words.size(); i += 2) {
    const auto measure =
        isDigit(words[i][0]) && isLetter(words[i + 1][0]) ? measureOf(words[i + 1]) : std::nullopt;
    if (!measure || measure->zero.numerator != 0)
      return std::nullopt;
    Expression number;
    number.kind = Expression::Kind::number;
    number.text = words[i];
    ExpressionPtr part = inBaseUnits(number, *measure);
    if (!sum) {
      sum.emplace();
      sum->measure.dimension = measure->dimension;
      sum->value = std::move(part);
    } else {
      const auto step = size ? multiply(measure->size, *inverse(*size)) : std::nullopt;
      if (measure->dimension != sum->measure.dimension || !step ||
          step->numerator >= step->denominator)
        return std::nullopt;
      sum->value = node(Expression::Kind::add, std::move(sum->value), std::move(part));
    }
    size = measure->size;
  }
  return sum;
}

std::string currencyOf(const std::string &latex) {
  constexpr size_t longest = 60;
  if (latex.size() > longest)
    return {};
  if (latex.find("¢") != std::string::npos)
    return "cent";
  for (const auto &[sign, name] : {std::pair<const char *, const char *>{"\\$", "dollar"},
                                   {"€", "euro"},
                                   {"\\euro", "euro"},
                                   {"£", "GBP"},
                                   {"\\pounds", "GBP"},
                                   {"₹", "rupee"}})
    if (latex.find(sign) != std::string::npos)
      return name;
  // $12.50 and -$5: the sign alone
  const size_t sign = latex.find('$');
  return sign != std::string::npos && latex.find('$', sign + 1) == std::string::npos &&
                 sign + 1 < latex.size() && isDigit(latex[sign + 1])
             ? "dollar"
             : std::string();
}

} // namespace m1rt::vote
