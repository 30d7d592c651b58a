// Filters and tests.
#include "base/numbers.h"
#include "template/arguments.h"
#include "template/builtins.h"
#include "template/text.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>

namespace m1rt::jinja {
namespace {

// As soft_str() keeps markup.
Value likeInput(const Value &input, String text) {
  return input.isMarkup() ? Value::markup(std::move(text)) : Value(std::move(text));
}

using Kind = Value::Kind;

// `attribute` of map, sort, join and the like: "a.b.0".
Value lookUp(const Value &value, const Value &path) {
  if (path.isIntegral())
    return itemOf(value, path);
  Value v = value;
  for (const String &part : splitBy(path.str(), ".", -1, false)) {
    bool isIndex =
        !part.empty() && part.find_first_not_of("0123456789") == String::npos && part.size() < 10;
    v = itemOf(v, isIndex ? Value(static_cast<int64_t>(std::atoll(part.c_str()))) : Value(part));
  }
  return v;
}

const Value &requireDefined(const Value &v) {
  if (v.is(Kind::undefined))
    throw TemplateError(v.message());
  return v;
}

int64_t lengthOf(const Value &v) {
  switch (v.kind) {
  case Kind::undefined:
    return 0;
  case Kind::string:
    return static_cast<int64_t>(length(v.text()));
  case Kind::list:
  case Kind::tuple:
    return static_cast<int64_t>(v.items().size());
  case Kind::dict:
    return static_cast<int64_t>(v.entries().items().size());
  default:
    throw TemplateError(std::string("a value of type ") + v.typeName() + " has no length");
  }
}

Value foldCase(const Value &v, bool caseSensitive) {
  return !caseSensitive && v.is(Kind::string) ? Value(lower(v.text())) : v;
}

Value lengthFilter(const Value &v, const Arguments &a) {
  Bound b("length", a, {});
  return lengthOf(v);
}

Value trimFilter(const Value &v, const Arguments &a) {
  Bound b("trim", a, {"chars"});
  return likeInput(v,
                   b.has(0) ? strip(v.str(), Side::both, b.string(0)) : strip(v.str(), Side::both));
}

Value tojsonFilter(const Value &v, const Arguments &a) {
  Bound b("tojson", a, {"ensure_ascii", "indent", "separators", "sort_keys"});
  Value::JsonStyle style;
  style.asciiOnly = b.truth(0, false);
  style.indent = static_cast<int>(std::min<int64_t>(b.integer(1, -1), 100));
  if (style.indent >= 0)
    style.itemSeparator = ",";
  if (b.has(2)) {
    List parts = iterate(b[2]);
    if (parts.size() != 2)
      throw TemplateError("tojson: separators must be two strings");
    style.itemSeparator = parts[0].str();
    style.keySeparator = parts[1].str();
  }
  style.sortKeys = b.truth(3, false);
  return v.json(style);
}

Value defaultFilter(const Value &v, const Arguments &a) {
  Bound b("default", a, {"default_value", "boolean"});
  bool use = v.is(Kind::undefined) || (b.truth(1, false) && !v.truth());
  if (!use)
    return v;
  return a.positional.empty() && (a.named.empty() || a.named[0].first != "default_value")
             ? Value("")
             : b[0];
}

Value joinFilter(const Value &v, const Arguments &a) {
  Bound b("join", a, {"d", "attribute"});
  String out, separator = b.has(0) ? b[0].str() : String();
  bool first = true;
  for (const Value &item : iterate(v)) {
    if (!first)
      out += separator;
    out += (b.has(1) ? lookUp(item, b[1]) : item).str();
    first = false;
  }
  return out;
}

Value replaceFilter(const Value &v, const Arguments &a) {
  Bound b("replace", a, {"old", "new", "count"}, 2);
  return replaceAll(v.str(), b[0].str(), b[1].str(), b.integer(2, -1));
}

template <String (*F)(std::string_view)> Value textFilter(const Value &v, const Arguments &a) {
  Bound b("this filter", a, {});
  return v.isMarkup() ? Value::markup(F(v.str())) : Value(F(v.str()));
}

String titleWords(std::string_view text) { // words begin after blanks and - ( { [ <
  String out, word;
  auto flush = [&] {
    size_t first = 0; // the first upper, not capitalized: ß is SS
    if (!word.empty())
      nextCodePoint(word, first);
    out += upper(std::string_view(word).substr(0, first)) +
           lower(std::string_view(word).substr(first));
    word.clear();
  };
  for (size_t at = 0; at < text.size();) {
    uint32_t c = nextCodePoint(text, at);
    if (isSpace(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<') {
      flush();
      appendCodePoint(c, out);
    } else {
      appendCodePoint(c, word);
    }
  }
  flush();
  return out;
}

Value escapeFilter(const Value &v, const Arguments &a) {
  Bound b("escape", a, {});
  return Value::markup(markupText(v));
}

Value forceescapeFilter(const Value &v, const Arguments &a) {
  Bound b("forceescape", a, {});
  return Value::markup(escapeHtml(v.str()));
}

template <bool Last> Value endFilter(const Value &v, const Arguments &a) {
  Bound b(Last ? "last" : "first", a, {});
  List items = iterate(v); // none of what is undefined
  if (items.empty())
    return Value::undefined(std::string("the ") + (Last ? "last" : "first") +
                            " item of an empty sequence is undefined");
  return Last ? items.back() : items.front();
}

Value listFilter(const Value &v, const Arguments &a) {
  Bound b("list", a, {});
  return iterate(v);
}

Value stringFilter(const Value &v, const Arguments &a) {
  Bound b("string", a, {});
  return likeInput(v, v.str());
}

Value safeFilter(const Value &v, const Arguments &a) {
  Bound b("safe", a, {});
  return Value::markup(v.str());
}

// Those between two digits, as Python reads numbers.
void dropUnderscores(String &text) {
  auto isDigit = [&](size_t i) { return i < text.size() && text[i] >= '0' && text[i] <= '9'; };
  String out;
  for (size_t i = 0; i < text.size(); ++i)
    if (text[i] != '_' || i == 0 || !isDigit(i - 1) || !isDigit(i + 1))
      out += text[i];
  text = std::move(out);
}

bool parseReal(const String &text, double &out) {
  String number = strip(text, Side::both);
  dropUnderscores(number);
  return parseDouble(number, out);
}

Value intFilter(const Value &v, const Arguments &a) {
  Bound b("int", a, {"default", "base"});
  if (b.integer(1, 10) != 10)
    throw TemplateError("int: other bases than ten are not supported");
  Value absent = b.has(0) ? b[0] : Value(0);
  double real = 0;
  (void)requireDefined(v);
  if (v.isIntegral())
    return v.number;
  if (v.is(Kind::real))
    real = v.floating;
  else if (v.is(Kind::string)) {
    String t = strip(v.text(), Side::both);
    dropUnderscores(t);
    size_t sign = !t.empty() && (t[0] == '-' || t[0] == '+');
    if (t.size() > sign && t.size() - sign <= 18 &&
        t.find_first_not_of("0123456789", sign) == String::npos)
      return static_cast<int64_t>(std::atoll(t.c_str()));
    if (!parseReal(t, real))
      return absent;
  } else {
    return absent;
  }
  if (std::isnan(real))
    return absent;
  if (!(std::fabs(real) < 9e18))
    throw TemplateError(std::isinf(real) ? "int: infinity is no integer"
                                         : "an integer grows past 64 bits");
  return static_cast<int64_t>(real);
}

Value floatFilter(const Value &v, const Arguments &a) {
  Bound b("float", a, {"default"});
  double real = 0;
  if (requireDefined(v).isNumber())
    return v.asDouble();
  if (v.is(Kind::string) && parseReal(v.text(), real))
    return real;
  return b.has(0) ? b[0] : Value(0.0);
}

Value absFilter(const Value &v, const Arguments &a) {
  Bound b("abs", a, {});
  if (!requireDefined(v).isNumber())
    throw TemplateError(std::string("abs: expected a number, got ") + v.typeName());
  if (v.is(Kind::integer) && v.number == INT64_MIN)
    throw TemplateError("an integer grows past 64 bits");
  return v.is(Kind::real) ? Value(std::fabs(v.floating))
                          : Value(v.number < 0 ? -v.number : v.number);
}

Value roundFilter(const Value &v, const Arguments &a) {
  Bound b("round", a, {"precision", "method"});
  if (!requireDefined(v).isNumber())
    throw TemplateError(std::string("round: expected a number, got ") + v.typeName());
  String method = b.string(1, "common");
  if (b.integer(0, 0) < 0)
    throw TemplateError("round: a negative precision is not supported");
  double scale = std::pow(10.0, static_cast<double>(b.integer(0, 0))), x = v.asDouble();
  if (method == "common" && v.isIntegral())
    return v.number;
  if (method == "common") { // Python rounds halves of the exact decimal value to even
    char text[400];
    int64_t digits = b.integer(0, 0);
    if (digits >= 0 && digits < 40 && std::isfinite(x)) {
      auto [end, code] = std::to_chars(text, text + sizeof text, x, std::chars_format::fixed,
                                       static_cast<int>(digits));
      double rounded = 0;
      parseDouble(std::string_view(text, static_cast<size_t>(end - text)), rounded);
      return rounded;
    }
    return std::nearbyint(x * scale) / scale;
  }
  if (method == "ceil")
    return std::ceil(x * scale) / scale;
  if (method == "floor")
    return std::floor(x * scale) / scale;
  throw TemplateError("round: method '" + plain(method) + "' is not known");
}

// Lists of `size` items each; the last is filled up where there is something to fill it with.
Value batchFilter(const Value &v, const Arguments &a) {
  Bound b("batch", a, {"linecount", "fill_with"}, 1);
  const int64_t size = b.integer(0, 0);
  if (size < 1)
    throw TemplateError("batch: expected a positive number of items");
  List out, part;
  for (const Value &item : iterate(v)) {
    part.push_back(item);
    if (static_cast<int64_t>(part.size()) == size) {
      out.push_back(std::move(part));
      part = List();
    }
  }
  if (!part.empty()) {
    for (int64_t i = static_cast<int64_t>(part.size()); b.has(1) && i < size; ++i)
      part.push_back(b[1]);
    out.push_back(std::move(part));
  }
  return out;
}

Value itemsFilter(const Value &v, const Arguments &a) {
  Bound b("items", a, {});
  if (v.is(Kind::undefined))
    return List();
  if (!v.is(Kind::dict))
    throw TemplateError(std::string("items: expected a dict, got ") + v.typeName());
  List out;
  for (const auto &[key, value] : v.entries().items())
    out.push_back(Value::tuple({key, value}));
  return out;
}

// What to sort by, with the place of each item.
using Keys = std::vector<std::pair<Value, size_t>, Charged<std::pair<Value, size_t>>>;

void sortKeys(Keys &keys, bool reverse) {
  std::sort(keys.begin(), keys.end(), [&](const auto &x, const auto &y) {
    int c = compare(x.first, y.first, "<");
    return c ? (reverse ? c > 0 : c < 0) : x.second < y.second;
  });
}

Value dictsortFilter(const Value &v, const Arguments &a) {
  Bound b("dictsort", a, {"case_sensitive", "by", "reverse"});
  if (!requireDefined(v).is(Kind::dict))
    throw TemplateError(std::string("dictsort: expected a dict, got ") + v.typeName());
  bool sensitive = b.truth(0, false), byValue = b.string(1, "key") == "value",
       reverse = b.truth(2, false);
  auto entries = v.entries().items();
  Keys keys;
  for (size_t i = 0; i < entries.size(); ++i)
    keys.emplace_back(foldCase(byValue ? entries[i].second : entries[i].first, sensitive), i);
  sortKeys(keys, reverse);
  List out;
  for (const auto &key : keys)
    out.push_back(Value::tuple({entries[key.second].first, entries[key.second].second}));
  return out;
}

// map('name'), map(attribute='x', default=…)
Value mapFilter(const Value &v, const Arguments &a) {
  List out;
  if (!v.truth()) // none, too
    return out;
  if (a.positional.empty()) {
    Bound b("map", a, {"attribute", "default"}, 1);
    for (const Value &item : iterate(v)) {
      Value found = lookUp(item, b[0]);
      out.push_back(found.is(Kind::undefined) && b.has(1) ? b[1] : found);
    }
    return out;
  }
  std::string name = plain(a.positional[0].str());
  if (!isFilter(name))
    throw TemplateError("map: filter '" + name + "' is not supported");
  Arguments rest{List(a.positional.begin() + 1, a.positional.end()), a.named};
  for (const Value &item : iterate(v))
    out.push_back(applyFilter(name, item, rest));
  return out;
}

template <bool ByAttribute, bool Keep> Value selectFilter(const Value &v, const Arguments &a) {
  if (!v.truth()) // none, too
    return List();
  size_t used = ByAttribute ? 1 : 0;
  if (a.positional.size() < used)
    throw TemplateError("selectattr and rejectattr need an attribute");
  bool hasTest = a.positional.size() > used;
  std::string name = hasTest ? plain(a.positional[used].str()) : "";
  if (hasTest && !isTest(name))
    throw TemplateError("test '" + name + "' is not supported");
  Arguments rest;
  if (hasTest)
    rest.positional.assign(a.positional.begin() + used + 1, a.positional.end());
  List out;
  for (const Value &item : iterate(v)) {
    Value subject = ByAttribute ? lookUp(item, a.positional[0]) : item;
    bool passes = hasTest ? applyTest(name, subject, rest) : subject.truth();
    if (passes == Keep)
      out.push_back(item);
  }
  return out;
}

Value sortFilter(const Value &v, const Arguments &a) {
  Bound b("sort", a, {"reverse", "case_sensitive", "attribute"});
  List items = iterate(v);
  bool reverse = b.truth(0, false), sensitive = b.truth(1, false);
  Keys keys;
  for (size_t i = 0; i < items.size(); ++i)
    keys.emplace_back(foldCase(b.has(2) ? lookUp(items[i], b[2]) : items[i], sensitive), i);
  sortKeys(keys, reverse);
  List out;
  for (const auto &key : keys)
    out.push_back(items[key.second]);
  return out;
}

// Groups of the items with the same attribute, by that.
Value groupbyFilter(const Value &v, const Arguments &a) {
  Bound b("groupby", a, {"attribute", "default", "case_sensitive"}, 1);
  List items = iterate(v), values;
  Keys keys;
  for (const Value &item : items) {
    Value found = lookUp(item, b[0]);
    values.push_back(found.is(Kind::undefined) && b.has(1) ? b[1] : found);
    keys.emplace_back(foldCase(values.back(), b.truth(2, false)), keys.size());
  }
  sortKeys(keys, false);
  List out;
  for (size_t i = 0; i < keys.size();) {
    const size_t first = i;
    List group;
    for (; i < keys.size() && equal(keys[i].first, keys[first].first); ++i)
      group.push_back(items[keys[i].second]);
    if (i == first) // NaN, which does not equal itself
      group.push_back(items[keys[i++].second]);
    out.push_back(Value::group(values[keys[first].second], std::move(group)));
  }
  return out;
}

Value attrFilter(const Value &v, const Arguments &a) {
  Bound b("attr", a, {"name"}, 1);
  return attributeOf(v, plain(b[0].str()), /*keys=*/false);
}

Value formatFilter(const Value &v, const Arguments &a) {
  if (!a.positional.empty() && !a.named.empty())
    throw TemplateError("format: expected either positional or named arguments");
  auto filled = [&](const Value &arguments) {
    return v.isMarkup() ? Value::markup(formatPercent(v.text(), escapedStrings(arguments)))
                        : Value(formatPercent(v.str(), arguments));
  };
  if (a.named.empty())
    return filled(Value::tuple(a.positional));
  Dict named;
  for (const auto &[name, value] : a.named)
    named.set(Value(name), v.isMarkup() ? escapedStrings(value) : value);
  return filled(named);
}

Value centerFilter(const Value &v, const Arguments &a) {
  return center(v.str(), Bound("center", a, {"width"}).integer(0, 80));
}

// So many lists of one length, or one more in the first ones.
Value sliceFilter(const Value &v, const Arguments &a) {
  Bound b("slice", a, {"slices", "fill_with"}, 1);
  const int64_t count = b.integer(0, 0);
  if (count < 1)
    throw TemplateError("slice: expected a positive number of lists");
  const List items = iterate(v);
  const auto size = static_cast<int64_t>(items.size());
  List out;
  auto next = items.begin();
  for (int64_t i = 0; i < count; ++i) {
    const bool longer = i < size % count;
    List part(next, next + size / count + longer);
    next += size / count + longer;
    if (b.has(1) && !longer)
      part.push_back(b[1]);
    out.push_back(std::move(part));
  }
  return out;
}

Value uniqueFilter(const Value &v, const Arguments &a) {
  Bound b("unique", a, {"case_sensitive", "attribute"});
  List out;
  Dict seen;
  for (const Value &item : iterate(v)) {
    Value key = foldCase(b.has(1) ? lookUp(item, b[1]) : item, b.truth(0, false));
    if (!seen.find(key)) {
      seen.set(key, nullptr);
      out.push_back(item);
    }
  }
  return out;
}

Value reverseFilter(const Value &v, const Arguments &a) {
  Bound b("reverse", a, {});
  if (v.is(Kind::string)) {
    CodePoints chars = codePoints(v.text());
    String out;
    for (auto c = chars.rbegin(); c != chars.rend(); ++c)
      appendCodePoint(*c, out);
    return out;
  }
  List items = iterate(v);
  std::reverse(items.begin(), items.end());
  return items;
}

template <int Sign> Value extremeFilter(const Value &v, const Arguments &a) {
  Bound b(Sign < 0 ? "min" : "max", a, {"case_sensitive", "attribute"});
  Value best = Value::undefined("no item of an empty sequence"), bestKey;
  for (const Value &item : iterate(v)) {
    Value key = foldCase(b.has(1) ? lookUp(item, b[1]) : item, b.truth(0, false));
    if (best.is(Kind::undefined) || compare(key, bestKey, "<") * Sign > 0) {
      best = item;
      bestKey = key;
    }
  }
  return best;
}

Value sumFilter(const Value &v, const Arguments &a) {
  Bound b("sum", a, {"attribute", "start"});
  Value total = b.has(1) ? b[1] : Value(0);
  for (const Value &item : iterate(v)) {
    Value x = b.has(0) ? lookUp(item, b[0]) : item;
    if (!x.isNumber() || !total.isNumber())
      throw TemplateError(std::string("sum: expected numbers, found ") + x.typeName());
    int64_t sum = 0;
    if (!total.isIntegral() || !x.isIntegral())
      total = total.asDouble() + x.asDouble();
    else if (__builtin_add_overflow(total.number, x.number, &sum))
      throw TemplateError("an integer grows past 64 bits");
    else
      total = sum;
  }
  return total;
}

Value indentFilter(const Value &v, const Arguments &a) {
  Bound b("indent", a, {"width", "first", "blank"});
  if (!requireDefined(v).is(Kind::string))
    throw TemplateError(std::string("indent: expected a string, got ") + v.typeName());
  String by = b.has(0) && b[0].is(Kind::string)
                  ? b[0].text()
                  : String(static_cast<size_t>(std::clamp<int64_t>(b.integer(0, 4), 0, 1000)), ' ');
  bool blank = b.truth(2, false), first = true;
  String out, text = v.str();
  if (b.truth(1, false))
    out += by;
  // Jinja appends a newline so that a final one is not lost.
  for (const String &line : splitLines(text + "\n", false)) {
    if (!first)
      out += '\n';
    if (!first && (blank || !line.empty()))
      out += by;
    out += line;
    first = false;
  }
  return out;
}

Value wordcountFilter(const Value &v, const Arguments &a) {
  Bound b("wordcount", a, {});
  int64_t words = 0;
  bool inWord = false;
  String text = v.str();
  for (size_t at = 0; at < text.size();) {
    uint32_t c = nextCodePoint(text, at);
    bool word = isAlphabetic(c) || isDigit(c) || c == '_';
    words += word && !inWord;
    inWord = word;
  }
  return words;
}

using Filter = Value (*)(const Value &, const Arguments &);
const std::map<std::string, Filter> &filterTable() {
  static const std::map<std::string, Filter> table = {
      {"abs", absFilter},
      {"attr", attrFilter},
      {"batch", batchFilter},
      {"capitalize", textFilter<capitalize>},
      {"center", centerFilter},
      {"count", lengthFilter},
      {"d", defaultFilter},
      {"default", defaultFilter},
      {"dictsort", dictsortFilter},
      {"e", escapeFilter},
      {"escape", escapeFilter},
      {"first", endFilter<false>},
      {"float", floatFilter},
      {"forceescape", forceescapeFilter},
      {"format", formatFilter},
      {"groupby", groupbyFilter},
      {"indent", indentFilter},
      {"int", intFilter},
      {"items", itemsFilter},
      {"join", joinFilter},
      {"last", endFilter<true>},
      {"length", lengthFilter},
      {"list", listFilter},
      {"lower", textFilter<lower>},
      {"map", mapFilter},
      {"max", extremeFilter<1>},
      {"min", extremeFilter<-1>},
      {"reject", selectFilter<false, false>},
      {"rejectattr", selectFilter<true, false>},
      {"replace", replaceFilter},
      {"reverse", reverseFilter},
      {"round", roundFilter},
      {"safe", safeFilter},
      {"select", selectFilter<false, true>},
      {"selectattr", selectFilter<true, true>},
      {"slice", sliceFilter},
      {"sort", sortFilter},
      {"string", stringFilter},
      {"sum", sumFilter},
      {"title", textFilter<titleWords>},
      {"tojson", tojsonFilter},
      {"trim", trimFilter},
      {"unique", uniqueFilter},
      {"upper", textFilter<upper>},
      {"wordcount", wordcountFilter},
  };
  return table;
}

// Tests: `argument` is null when there is none.
using Test = bool (*)(const Value &, const Value *argument);

template <bool (*F)(uint32_t), bool (*Other)(uint32_t)>
bool caseTest(const Value &v, const Value *) {
  CodePoints chars = codePoints(v.str());
  return std::any_of(chars.begin(), chars.end(), F) &&
         std::none_of(chars.begin(), chars.end(), Other);
}

int64_t integerOf(const Value &v, const char *test) {
  if (!requireDefined(v).isIntegral())
    throw TemplateError(std::string("test '") + test + "' needs an int, got " + v.typeName());
  return v.number;
}

// Identity, where it is that of values.
bool isSame(const Value &v, const Value &other) {
  for (const Value *value : {&v, &other})
    if (value->is(Kind::none) || value->is(Kind::boolean))
      return v.kind == other.kind && v.number == other.number;
  throw TemplateError("sameas: expected none, true or false");
}

bool divisible(const Value &v, const Value *by) {
  int64_t divisor = integerOf(*by, "divisibleby");
  if (divisor == 0)
    throw TemplateError("division by zero");
  return integerOf(v, "divisibleby") % divisor == 0;
}

struct TestEntry {
  Test test;
  bool takesArgument;
};

const std::map<std::string, TestEntry> &testTable() {
#define M1_TEST(expression)                                                                        \
  [](const Value &v, const Value *argument) -> bool {                                              \
    (void)argument;                                                                                \
    (void)v;                                                                                       \
    return expression;                                                                             \
  }
  static const TestEntry eq{M1_TEST(equal(v, *argument)), true},
      ne{M1_TEST(!equal(v, *argument)), true}, lt{M1_TEST(compare(v, *argument, "<") < 0), true},
      le{M1_TEST(compare(v, *argument, "<=") <= 0), true},
      gt{M1_TEST(compare(v, *argument, ">") > 0), true},
      ge{M1_TEST(compare(v, *argument, ">=") >= 0), true};
  static const std::map<std::string, TestEntry> table = {
      {"defined", {M1_TEST(!v.is(Kind::undefined)), false}},
      {"undefined", {M1_TEST(v.is(Kind::undefined)), false}},
      {"none", {M1_TEST(v.is(Kind::none)), false}},
      {"boolean", {M1_TEST(v.is(Kind::boolean)), false}},
      {"true", {M1_TEST(v.is(Kind::boolean) && v.number), false}},
      {"false", {M1_TEST(v.is(Kind::boolean) && !v.number), false}},
      {"integer", {M1_TEST(v.is(Kind::integer)), false}},
      {"float", {M1_TEST(v.is(Kind::real)), false}},
      {"number", {M1_TEST(v.isNumber()), false}},
      {"string", {M1_TEST(v.is(Kind::string)), false}},
      {"mapping", {M1_TEST(v.is(Kind::dict)), false}},
      {"iterable",
       {M1_TEST(v.isSequence() || v.is(Kind::string) || v.is(Kind::dict) || v.is(Kind::undefined)),
        false}},
      {"sequence",
       {M1_TEST(v.isSequence() || v.is(Kind::string) || v.is(Kind::dict) || v.is(Kind::undefined)),
        false}},
      {"callable", {M1_TEST(v.is(Kind::function)), false}},
      {"odd",
       {M1_TEST(v.is(Kind::real) ? std::fabs(std::fmod(v.floating, 2)) == 1
                                 : integerOf(v, "odd") % 2 != 0),
        false}},
      {"even",
       {M1_TEST(v.is(Kind::real) ? std::fmod(v.floating, 2) == 0 : integerOf(v, "even") % 2 == 0),
        false}},
      {"upper", {caseTest<isUpper, isLower>, false}},
      {"lower", {caseTest<isLower, isUpper>, false}},
      {"filter", {M1_TEST(v.is(Kind::string) && isFilter(plain(v.text()))), false}},
      {"test", {M1_TEST(v.is(Kind::string) && isTest(plain(v.text()))), false}},
      {"divisibleby", {divisible, true}},
      {"in", {M1_TEST(contains(*argument, v)), true}},
      {"sameas", {M1_TEST(isSame(v, *argument)), true}},
      {"eq", eq},
      {"equalto", eq},
      {"==", eq},
      {"ne", ne},
      {"!=", ne},
      {"lt", lt},
      {"lessthan", lt},
      {"<", lt},
      {"le", le},
      {"<=", le},
      {"gt", gt},
      {"greaterthan", gt},
      {">", gt},
      {"ge", ge},
      {">=", ge},
  };
#undef M1_TEST
  return table;
}

} // namespace

// map, select and reject call others.
static void enterBuiltin() {
  if (Budget *budget = Budget::current()) {
    budget->spend(1);
    budget->checkStack();
  }
}

bool isFilter(const std::string &name) { return filterTable().count(name) != 0; }
bool isTest(const std::string &name) { return testTable().count(name) != 0; }

Value applyFilter(const std::string &name, const Value &value, const Arguments &arguments) {
  enterBuiltin();
  return filterTable().at(name)(value, arguments);
}

bool applyTest(const std::string &name, const Value &value, const Arguments &arguments) {
  const TestEntry &entry = testTable().at(name);
  size_t expected = entry.takesArgument ? 1 : 0;
  if (arguments.positional.size() != expected || !arguments.named.empty())
    throw TemplateError("test '" + name + "' takes " + std::to_string(expected) + " arguments");
  enterBuiltin();
  return entry.test(value, expected ? &arguments.positional[0] : nullptr);
}

} // namespace m1rt::jinja
