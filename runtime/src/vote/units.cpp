#include "vote/units.h"

#include "vote/letters.h"
#include "vote/wording.h"

#include <algorithm>
#include <map>
#include <vector>

namespace m1rt::vote {
namespace {

// Words that say what a number counts; with \text{…} any word does.
const std::set<std::string> kUnits = {
    "cm",        "mm",      "km",      "inch",    "inches",     "foot",        "feet",
    "ft",        "degree",  "degrees", "unit",    "units",      "dollar",      "dollars",
    "cent",      "cents",   "meter",   "meters",  "metre",      "metres",      "hour",
    "hours",     "minute",  "minutes", "second",  "seconds",    "day",         "days",
    "week",      "weeks",   "month",   "months",  "year",       "years",       "square",
    "cubic",     "sq",      "mph",     "mile",    "miles",      "pound",       "pounds",
    "kg",        "gram",    "grams",   "yards",   "yard",       "liters",      "litres",
    "radians",   "ways",    "per",     "points",  "people",     "students",    "in",
    "yd",        "mi",      "lb",      "lbs",     "oz",         "ounce",       "ounces",
    "gallon",    "gallons", "mg",      "mL",      "ml",         "sec",         "min",
    "hr",        "hrs",     "kph",     "rpm",     "kilometers", "centimeters", "millimeters",
    "kilograms", "tons",    "times",   "USD",     "EUR",        "GBP",         "rad",
    "rads",      "acres",   "joules",  "newtons", "watts",      "volts",       "rupees",
    "cup",       "cups",    "euros",   "pence",   "yen",        "yuan",        "apiece",
    "INR",       "deg"};

// Abbreviations, as they are spelled, and the names that they stand for.
const std::map<std::string, std::string> kSymbols = {
    {"nm", "nanometer"},    {"µm", "micrometer"},    {"mm", "millimeter"},
    {"cm", "centimeter"},   {"dm", "decimeter"},     {"m", "meter"},
    {"km", "kilometer"},    {"in", "inch"},          {"ft", "foot"},
    {"yd", "yard"},         {"mi", "mile"},          {"ms", "millisecond"},
    {"s", "second"},        {"sec", "second"},       {"secs", "second"},
    {"min", "minute"},      {"mins", "minute"},      {"h", "hour"},
    {"hr", "hour"},         {"hrs", "hour"},         {"mg", "milligram"},
    {"g", "gram"},          {"kg", "kilogram"},      {"lb", "pound"},
    {"lbs", "pound"},       {"oz", "ounce"},         {"l", "liter"},
    {"L", "liter"},         {"ml", "milliliter"},    {"mL", "milliliter"},
    {"mph", "mph"},         {"kph", "kph"},          {"kmh", "kph"},
    {"Hz", "hertz"},        {"N", "newton"},         {"J", "joule"},
    {"kJ", "kilojoule"},    {"kWh", "kWh"},          {"W", "watt"},
    {"kW", "kilowatt"},     {"Pa", "pascal"},        {"kPa", "kilopascal"},
    {"A", "ampere"},        {"V", "volt"},           {"Ω", "ohm"},
    {"mol", "mole"},        {"K", "kelvin"},         {"USD", "dollar"},
    {"eV", "electronvolt"}, {"keV", "keV"},          {"MeV", "MeV"},
    {"GeV", "GeV"},         {"kHz", "kilohertz"},    {"MHz", "megahertz"},
    {"GHz", "gigahertz"},   {"mA", "milliampere"},   {"mV", "millivolt"},
    {"kV", "kilovolt"},     {"MPa", "megapascal"},   {"GPa", "gigapascal"},
    {"MJ", "megajoule"},    {"kN", "kilonewton"},    {"MW", "megawatt"},
    {"mW", "milliwatt"},    {"kcal", "kilocalorie"}, {"atm", "atmosphere"},
    {"¢", "cent"},          {"EUR", "euro"},         {"GBP", "GBP"},
    {"INR", "rupee"}};
// Without a plural s, in lower case.
const std::set<std::string> kNames = {
    "millimeter", "millimetre", "centimeter", "centimetre", "decimeter", "meter",   "metre",
    "kilometer",  "kilometre",  "inch",       "foot",       "yard",      "mile",    "second",
    "minute",     "hour",       "day",        "week",       "month",     "year",    "milligram",
    "gram",       "kilogram",   "pound",      "ounce",      "liter",     "litre",   "milliliter",
    "millilitre", "gallon",     "quart",      "pint",       "acre",      "hectare", "newton",
    "joule",      "watt",       "volt",       "ohm",        "kelvin",    "dollar",  "buck",
    "cent",       "euro",       "pence",      "rupee",      "yen",       "yuan"};
// Behind "°" or "degrees".
const std::set<std::string> kScales = {"c", "celsius", "f", "fahrenheit"};

// The name of a unit of measure, in the singular; "" for other words.
std::string nameOf(const std::string &word) {
  if (auto it = kSymbols.find(word); it != kSymbols.end())
    return it->second;
  std::string name = lowerCase(word);
  if (name == "feet")
    return "foot";
  if (name == "inches")
    return "inch";
  if (!kNames.count(name) && name.size() > 1 && name.back() == 's')
    name.pop_back();
  return kNames.count(name) ? name : std::string();
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
           ((more.count(word) || !nameOf(word).empty()) && (quotient || word.size() > 1));
  };
  const std::string signs = " /^23.abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  return !all.empty() && words[0] == ' ' && words.find_first_not_of(signs) == std::string::npos &&
         std::all_of(all.begin(), all.end(), known);
}

bool isMeasure(const std::string &unit) {
  const std::vector<std::string> parts = partsOf(unit);
  size_t units = 0, times = 0;
  bool complete = true; // no sign or word that another unit must follow
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string word = lowerCase(parts[i]);
    if (word == "/" || word == "per" || word == "square" || word == "sq" || word == "cubic" ||
        word == "cu") {
      complete = false;
      continue;
    }
    if (word == "*" && units > 0)
      continue;
    if ((word == "°" || word == "degree" || word == "degrees" || word == "deg") &&
        i + 2 == parts.size() && units == 0)
      return kScales.count(lowerCase(parts[i + 1])) != 0;
    if (word.size() > 2 && parts.size() == 1 && kScales.count(word)) // Celsius
      return true;
    const std::string name = nameOf(parts[i]);
    if (name.empty())
      return false;
    if (i + 1 < parts.size() && parts[i + 1][0] == '^') {
      const std::string &exponent = parts[++i];
      const bool negative = exponent.size() == 3 && exponent[1] == '-';
      if ((exponent.size() != 2 && !negative) || !isDigit(exponent.back()))
        return false;
    } else if (i + 1 < parts.size() && (parts[i + 1] == "squared" || parts[i + 1] == "cubed")) {
      ++i;
    }
    static const std::set<std::string> ofTime = {"millisecond", "second", "minute", "hour",
                                                 "day",         "week",   "month",  "year"};
    times += ofTime.count(name);
    ++units;
    complete = true;
  }
  // "8 hours per day" may be said of hours
  return units > 0 && complete && !(times > 1 && times == units);
}

bool isMeasureOf(const std::string &number, const std::string &unit) {
  const std::vector<std::string> parts = partsOf(unit);
  const bool letter = parts.size() == 1 && parts[0].size() == 1;
  const bool measured = number.find('.') != number.npos || number.find("10^") != number.npos ||
                        (letter && parts[0][0] >= 'A' && parts[0][0] <= 'Z');
  const bool coulomb = letter && parts[0] == "C" && number.find("10^") != number.npos;
  return !unit.empty() && (measured || !letter) && (coulomb || isMeasure(unit));
}

bool isSameUnit(const std::string &a, const std::string &b) {
  auto names = [](const std::string &unit) {
    std::string all;
    for (const std::string &part : partsOf(unit)) {
      const std::string name = nameOf(part);
      all += name.empty() ? part.substr(0, part.find_last_not_of('s') + 1) : name;
    }
    return all;
  };
  return names(a) == names(b);
}

std::optional<std::string> severalUnits(const std::string &latex) {
  constexpr size_t longest = 80;
  if (latex.size() > longest || latex.empty() || !(isDigit(latex[0]) || latex[0] == '\\'))
    return std::nullopt;
  std::string all;
  size_t amounts = 0, at = 0;
  std::set<std::string> units;
  auto skip = [&] {
    for (bool found = true; found;) {
      found = false;
      for (const std::string_view each :
           {" ", "~", "\\,", "\\ ", "\\text{", "\\mathrm{", "}", ",", "$", "."})
        if (latex.compare(at, each.size(), each) == 0) {
          at += each.size();
          found = true;
        }
    }
    return at;
  };
  while (skip() < latex.size()) {
    if (amounts > 0 && latex.compare(at, 4, "and ") == 0)
      at += 4;
    size_t end = skip();
    while (end < latex.size() && isDigit(latex[end]))
      ++end;
    if (end == at)
      return std::nullopt;
    all += latex.substr(at, end - at);
    at = end;
    skip();
    for (end = at; end < latex.size() && isLetter(latex[end]);)
      ++end;
    const std::string unit = latex.compare(at, 1, "'") == 0    ? "foot"
                             : latex.compare(at, 1, "\"") == 0 ? "inch"
                                                               : nameOf(latex.substr(at, end - at));
    if (unit.empty() || !units.insert(unit).second)
      return std::nullopt;
    at = std::max(end, at + 1);
    all += unit;
    ++amounts;
  }
  // 2h 30m
  if (units.count("meter") && (units.count("hour") || units.count("second")))
    all.replace(all.find("meter"), 5, "minute");
  return amounts > 1 ? std::optional(all) : std::nullopt;
}

} // namespace m1rt::vote
