#include "template/value.h"

#include "template/text.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace m1rt::jinja {

const Value *Dict::find(const Value &key) const {
  for (const auto &entry : entries)
    if (equal(entry.first, key))
      return &entry.second;
  return nullptr;
}

const Value *Dict::find(const std::string &key) const {
  for (const auto &entry : entries)
    if (entry.first.is(Value::Kind::string) && entry.first.text == key)
      return &entry.second;
  return nullptr;
}

void Dict::set(Value key, Value value) {
  for (auto &entry : entries)
    if (equal(entry.first, key)) {
      entry.second = std::move(value);
      return;
    }
  entries.emplace_back(std::move(key), std::move(value));
}

Value Value::tuple(List items) {
  Value v(std::move(items));
  v.kind = Kind::tuple;
  return v;
}

Value Value::nameSpace(Dict fields) {
  Value v(std::move(fields));
  v.kind = Kind::nameSpace;
  return v;
}

Value Value::function(std::string name, Function call) {
  Value v;
  v.kind = Kind::function;
  v.text = std::move(name);
  v.call = std::make_shared<Function>(std::move(call));
  return v;
}

Value Value::undefined(std::string what) {
  Value v;
  v.text = std::move(what);
  return v;
}

bool Value::truth() const {
  switch (kind) {
  case Kind::undefined:
  case Kind::none:
    return false;
  case Kind::boolean:
  case Kind::integer:
    return number != 0;
  case Kind::real:
    return floating != 0;
  case Kind::string:
    return !text.empty();
  case Kind::list:
  case Kind::tuple:
    return !items->empty();
  case Kind::dict:
    return !mapping->items().empty();
  case Kind::nameSpace:
  case Kind::function:
    return true;
  }
  return false;
}

std::string formatReal(double value) {
  if (std::isnan(value))
    return "nan";
  if (std::isinf(value))
    return value < 0 ? "-inf" : "inf";
  char buffer[40];
  int precision = 1;
  for (; precision <= 17; ++precision) { // the shortest digits that read back as the same number
    snprintf(buffer, sizeof buffer, "%.*e", precision - 1, value);
    if (std::strtod(buffer, nullptr) == value)
      break;
  }
  std::string text = buffer;
  size_t e = text.find('e');
  int exponent = std::atoi(text.c_str() + e + 1);
  if (exponent >= -4 && exponent < 16) {
    snprintf(buffer, sizeof buffer, "%.*f", std::max(precision - 1 - exponent, 0), value);
    text = buffer;
    return text.find('.') == std::string::npos ? text + ".0" : text;
  }
  std::string sign = exponent < 0 ? "-" : "+", digits = std::to_string(std::abs(exponent));
  return text.substr(0, e) + "e" + sign + (digits.size() < 2 ? "0" : "") + digits;
}

namespace {

std::string quote(const std::string &text) { // Python's repr of a string
  char mark =
      text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, mark);
  for (char c : text) {
    if (c == mark || c == '\\')
      out += std::string("\\") + c;
    else if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      char escape[8];
      snprintf(escape, sizeof escape, "\\x%02x", c);
      out += escape;
    } else
      out += c;
  }
  return out + mark;
}

std::string quoteJson(const std::string &text, bool asciiOnly) {
  std::string out = "\"";
  char escape[16];
  for (uint32_t c : codePoints(text)) {
    switch (c) {
    case '"':
      out += "\\\"";
      break;
    case '\\':
      out += "\\\\";
      break;
    case '\n':
      out += "\\n";
      break;
    case '\r':
      out += "\\r";
      break;
    case '\t':
      out += "\\t";
      break;
    case '\b':
      out += "\\b";
      break;
    case '\f':
      out += "\\f";
      break;
    default:
      if (c < 0x20 || (asciiOnly && c >= 0x7F && c < 0x10000)) {
        snprintf(escape, sizeof escape, "\\u%04x", c);
        out += escape;
      } else if (asciiOnly && c >= 0x10000) {
        snprintf(escape, sizeof escape, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10),
                 0xDC00 + ((c - 0x10000) & 0x3FF));
        out += escape;
      } else {
        appendCodePoint(c, out);
      }
    }
  }
  return out + "\"";
}

void writeJson(const Value &v, const Value::JsonStyle &style, int depth, std::string &out) {
  using Kind = Value::Kind;
  if (depth > 200)
    throw TemplateError("tojson: nested deeper than 200 levels");
  auto line = [&](int level) {
    if (style.indent >= 0)
      out += "\n" + std::string(static_cast<size_t>(style.indent) * level, ' ');
  };
  switch (v.kind) {
  case Kind::none:
    out += "null";
    return;
  case Kind::boolean:
    out += v.number ? "true" : "false";
    return;
  case Kind::integer:
    out += std::to_string(v.number);
    return;
  case Kind::real:
    out += std::isnan(v.floating)   ? "NaN"
           : std::isinf(v.floating) ? (v.floating < 0 ? "-Infinity" : "Infinity")
                                    : formatReal(v.floating);
    return;
  case Kind::string:
    out += quoteJson(v.text, style.asciiOnly);
    return;
  case Kind::list:
  case Kind::tuple: {
    out += "[";
    bool first = true;
    for (const Value &item : *v.items) {
      if (!first)
        out += style.itemSeparator;
      first = false;
      line(depth + 1);
      writeJson(item, style, depth + 1, out);
    }
    if (!first)
      line(depth);
    out += "]";
    return;
  }
  case Kind::dict: {
    auto entries = v.mapping->items();
    if (style.sortKeys)
      std::sort(entries.begin(), entries.end(),
                [](const auto &a, const auto &b) { return compare(a.first, b.first, "<") < 0; });
    out += "{";
    bool first = true;
    for (const auto &[key, value] : entries) {
      if (!first)
        out += style.itemSeparator;
      first = false;
      line(depth + 1);
      if (key.is(Kind::string)) {
        out += quoteJson(key.text, style.asciiOnly);
      } else {
        std::string text;
        writeJson(key, style, depth + 1, text);
        out += "\"" + text + "\"";
      }
      out += style.keySeparator;
      writeJson(value, style, depth + 1, out);
    }
    if (!first)
      line(depth);
    out += "}";
    return;
  }
  default:
    throw TemplateError(std::string("tojson: a value of type ") + v.typeName() + " cannot be JSON");
  }
}

} // namespace

std::string Value::str() const {
  return kind == Kind::string ? text : kind == Kind::undefined ? std::string() : repr();
}

std::string Value::repr() const {
  switch (kind) {
  case Kind::undefined:
    return "Undefined";
  case Kind::none:
    return "None";
  case Kind::boolean:
    return number ? "True" : "False";
  case Kind::integer:
    return std::to_string(number);
  case Kind::real:
    return formatReal(floating);
  case Kind::string:
    return quote(text);
  case Kind::list:
  case Kind::tuple: {
    std::string out = kind == Kind::list ? "[" : "(";
    for (size_t i = 0; i < items->size(); ++i)
      out += (i ? ", " : "") + (*items)[i].repr();
    if (kind == Kind::tuple && items->size() == 1)
      out += ",";
    return out + (kind == Kind::list ? "]" : ")");
  }
  case Kind::dict: {
    std::string out = "{";
    for (const auto &[key, value] : mapping->items())
      out += (out.size() > 1 ? ", " : "") + key.repr() + ": " + value.repr();
    return out + "}";
  }
  case Kind::nameSpace:
  case Kind::function:
    // Python prints an address here; nothing can depend on it.
    throw TemplateError(std::string("a ") + typeName() + " cannot be printed");
  }
  return {};
}

const char *Value::typeName() const {
  switch (kind) {
  case Kind::undefined:
    return "Undefined";
  case Kind::none:
    return "None";
  case Kind::boolean:
    return "bool";
  case Kind::integer:
    return "int";
  case Kind::real:
    return "float";
  case Kind::string:
    return "str";
  case Kind::list:
    return "list";
  case Kind::tuple:
    return "tuple";
  case Kind::dict:
    return "dict";
  case Kind::nameSpace:
    return "namespace";
  case Kind::function:
    return "function";
  }
  return "";
}

std::string Value::json(const JsonStyle &style) const {
  std::string out;
  writeJson(*this, style, 0, out);
  return out;
}

bool equal(const Value &a, const Value &b) {
  using Kind = Value::Kind;
  if (a.isNumber() && b.isNumber())
    return a.isIntegral() && b.isIntegral() ? a.number == b.number : a.asDouble() == b.asDouble();
  if (a.kind != b.kind)
    return false;
  switch (a.kind) {
  case Kind::undefined:
  case Kind::none:
    return true;
  case Kind::string:
    return a.text == b.text;
  case Kind::list:
  case Kind::tuple:
    return std::equal(a.items->begin(), a.items->end(), b.items->begin(), b.items->end(), equal);
  case Kind::dict: {
    if (a.mapping->items().size() != b.mapping->items().size())
      return false;
    for (const auto &[key, value] : a.mapping->items()) {
      const Value *other = b.mapping->find(key);
      if (!other || !equal(value, *other))
        return false;
    }
    return true;
  }
  case Kind::nameSpace:
    return a.mapping == b.mapping;
  case Kind::function:
    return a.call == b.call;
  default:
    return false;
  }
}

int compare(const Value &a, const Value &b, const char *operation) {
  using Kind = Value::Kind;
  if (a.isNumber() && b.isNumber()) {
    if (a.isIntegral() && b.isIntegral())
      return a.number < b.number ? -1 : a.number > b.number;
    double x = a.asDouble(), y = b.asDouble();
    return x < y ? -1 : x > y;
  }
  if (a.is(Kind::string) && b.is(Kind::string))
    return a.text.compare(b.text); // bytes of UTF-8 order as code points do
  if (a.isSequence() && a.kind == b.kind) {
    for (size_t i = 0; i < a.items->size() && i < b.items->size(); ++i)
      if (!equal((*a.items)[i], (*b.items)[i]))
        return compare((*a.items)[i], (*b.items)[i], operation);
    return static_cast<int>(a.items->size()) - static_cast<int>(b.items->size());
  }
  for (const Value *v : {&a, &b})
    if (v->is(Kind::undefined))
      throw TemplateError(v->text);
  throw TemplateError(std::string("'") + operation + "' not supported between " + a.typeName() +
                      " and " + b.typeName());
}

} // namespace m1rt::jinja
