#include "template/value.h"

#include "base/numbers.h"
#include "template/text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>

namespace m1rt::jinja {
namespace {

using Kind = Value::Kind;

constexpr size_t kScannedEntries = 8; // of a dict without an index

struct TextNode : Node {
  String text;
};
struct ListNode : Node {
  List items;
  bool isGroup = false;
  std::optional<Value::Range> range;
};
struct DictNode : Node {
  Dict entries;
};
struct NameSpaceNode : Mutable {
  Dict fields;
  void clear() override { Dict dropped = std::exchange(fields, Dict()); }
};
struct FunctionNode : Node {
  String name;
  Value self;
  Function code;
};

void deepen(Node &node, const Value &child) {
  node.depth = std::max(node.depth, child.depth() + 1);
  if (node.depth > kMaxValueDepth)
    throw TemplateError("a value is nested deeper than " + std::to_string(kMaxValueDepth) +
                        " levels");
}

size_t mix(size_t seed, size_t h) { return seed * 0x9E3779B97F4A7C15u + h; }

size_t hashText(std::string_view text) { return std::hash<std::string_view>()(text); }

// The integer that equals `x`, if there is one.
bool exactInteger(double x, int64_t &out) {
  if (!(x >= -0x1p63 && x < 0x1p63) || x != std::trunc(x))
    return false;
  out = static_cast<int64_t>(x);
  return true;
}

// -1, 0, 1, by exact value. NaN comes after all others, so that sorting is defined.
int compareNumbers(const Value &a, const Value &b) {
  if (a.isIntegral() && b.isIntegral())
    return a.number < b.number ? -1 : a.number > b.number;
  double x = a.asDouble(), y = b.asDouble();
  if (std::isnan(x) || std::isnan(y))
    return std::isnan(x) - std::isnan(y);
  int64_t i = 0, j = 0;
  bool xi = a.isIntegral() ? (i = a.number, true) : exactInteger(x, i);
  bool yi = b.isIntegral() ? (j = b.number, true) : exactInteger(y, j);
  if (xi && yi)
    return i < j ? -1 : i > j;
  return x < y ? -1 : x > y;
}

} // namespace

void *Node::operator new(size_t n) { return Charged<char>().allocate(n); }
void Node::operator delete(void *p, size_t n) {
  Charged<char>().deallocate(static_cast<char *>(p), n);
}

// A node that dies while another is being freed waits in a list, so that chains of any length do
// not recurse.
void Value::release(Node *node) {
  if (node->references.fetch_sub(1, std::memory_order_acq_rel) != 1)
    return;
  thread_local Node *dead = nullptr;
  thread_local bool draining = false;
  node->nextDead = dead;
  dead = node;
  if (draining)
    return;
  draining = true;
  while (dead) {
    Node *next = dead;
    dead = next->nextDead;
    delete next;
  }
  draining = false;
}

template <typename Matches> size_t Dict::position(size_t hash, Matches matches) const {
  if (entries.size() <= kScannedEntries) {
    for (size_t i = 0; i < entries.size(); ++i)
      if (matches(entries[i].first))
        return i;
    return SIZE_MAX;
  }
  auto [first, last] = index.equal_range(hash);
  for (auto it = first; it != last; ++it)
    if (matches(entries[it->second].first))
      return it->second;
  return SIZE_MAX;
}

const Value *Dict::find(const Value &key) const {
  size_t i = position(entries.size() <= kScannedEntries ? 0 : hash(key),
                      [&](const Value &k) { return equal(k, key); });
  return i == SIZE_MAX ? nullptr : &entries[i].second;
}

const Value *Dict::find(std::string_view key) const {
  size_t i = position(entries.size() <= kScannedEntries ? 0 : hashText(key), [&](const Value &k) {
    spend(1);
    return k.is(Kind::string) && k.text() == key;
  });
  return i == SIZE_MAX ? nullptr : &entries[i].second;
}

void Dict::set(Value key, Value value) {
  if (const Value *found = find(key)) {
    const_cast<Value &>(*found) = std::move(value);
    return;
  }
  entries.emplace_back(std::move(key), std::move(value));
  if (entries.size() == kScannedEntries + 1)
    for (size_t i = 0; i < entries.size(); ++i)
      index.emplace(hash(entries[i].first), i);
  else if (entries.size() > kScannedEntries)
    index.emplace(hash(entries.back().first), entries.size() - 1);
}

void Loop::clear() {
  List dropped = std::exchange(items, List());
  lastChanged = Value();
  recurse = nullptr;
}

Value::Value(String s) : kind(Kind::string), number(0) {
  auto *made = new TextNode;
  node = made;
  made->text = std::move(s);
}

Value::Value(List items) : kind(Kind::list), number(0) {
  auto made = std::make_unique<ListNode>();
  for (const Value &item : items)
    deepen(*made, item);
  made->items = std::move(items);
  node = made.release();
}

Value::Value(Dict d) : kind(Kind::dict), number(0) {
  auto made = std::make_unique<DictNode>();
  for (const auto &[key, value] : d.items()) {
    deepen(*made, key);
    deepen(*made, value);
  }
  made->entries = std::move(d);
  node = made.release();
}

Value Value::tuple(List items) {
  Value v(std::move(items));
  v.kind = Kind::tuple;
  return v;
}

Value Value::markup(String s) {
  Value v(std::move(s));
  v.number = 1;
  return v;
}

Value Value::range(int64_t start, int64_t stop, int64_t step) {
  List items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    items.push_back(i);
    if (__builtin_add_overflow(i, step, &i))
      break;
  }
  Value v = tuple(std::move(items));
  static_cast<ListNode *>(v.node)->range = Range{start, stop, step};
  return v;
}
const Value::Range *Value::asRange() const {
  const auto *list = kind == Kind::tuple ? static_cast<const ListNode *>(node) : nullptr;
  return list && list->range ? &*list->range : nullptr;
}

Value Value::group(Value key, List items) {
  Value v = tuple({std::move(key), Value(std::move(items))});
  static_cast<ListNode *>(v.node)->isGroup = true;
  return v;
}
bool Value::isGroup() const { return static_cast<const ListNode *>(node)->isGroup; }

Value Value::nameSpace(Dict fields) {
  auto *made = new NameSpaceNode;
  Value v;
  v.kind = Kind::nameSpace;
  v.node = made;
  made->fields = std::move(fields);
  return v;
}

Value Value::loop(List items) {
  auto *made = new Loop;
  Value v;
  v.kind = Kind::loop;
  v.node = made;
  made->items = std::move(items);
  return v;
}

Value Value::function(std::string_view name, Value self, Function call) {
  auto made = std::make_unique<FunctionNode>();
  made->name = name;
  deepen(*made, self);
  made->self = std::move(self);
  made->code = std::move(call);
  Value v;
  v.kind = Kind::function;
  v.node = made.release();
  return v;
}

Value Value::undefined(std::string_view what) {
  Value v(what);
  v.kind = Kind::undefined;
  return v;
}

const String &Value::text() const {
  static const String empty;
  return node ? static_cast<const TextNode *>(node)->text : empty;
}
const List &Value::items() const { return static_cast<const ListNode *>(node)->items; }
const Dict &Value::entries() const {
  return kind == Kind::dict ? static_cast<const DictNode *>(node)->entries : fields();
}
Dict &Value::fields() const { return static_cast<NameSpaceNode *>(node)->fields; }
Loop &Value::loopState() const { return *static_cast<Loop *>(node); }
Value Value::call(const Arguments &arguments) const {
  auto *function = static_cast<const FunctionNode *>(node);
  return function->code(function->self, arguments);
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
    return !text().empty();
  case Kind::list:
  case Kind::tuple:
    return !items().empty();
  case Kind::dict:
    return !entries().items().empty();
  case Kind::nameSpace:
  case Kind::loop:
  case Kind::function:
    return true;
  }
  return false;
}

String formatReal(double value) {
  if (std::isnan(value))
    return "nan";
  if (std::isinf(value))
    return value < 0 ? "-inf" : "inf";
  char buffer[40];
  // The shortest digits that read back as the same number: d.ddde±dd.
  auto scientific =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  std::string_view text(buffer, static_cast<size_t>(scientific.ptr - buffer));
  size_t e = text.find('e');
  int exponent = 0;
  std::from_chars(text.data() + e + 1 + (text[e + 1] == '+'), text.data() + text.size(), exponent);
  if (exponent < -4 || exponent >= 16)
    return String(text);
  auto fixed = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed);
  String out(buffer, static_cast<size_t>(fixed.ptr - buffer));
  return out.find('.') == String::npos ? out + ".0" : out;
}

namespace {

void appendNumber(int64_t number, String &out) {
  char buffer[24];
  out.append(buffer, std::to_chars(buffer, buffer + sizeof buffer, number).ptr);
}

void appendQuoted(const String &text, String &out) { // Python's repr of a string
  char mark = text.find('\'') != String::npos && text.find('"') == String::npos ? '"' : '\'';
  out += mark;
  for (char c : text) {
    if (c == mark || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      char escape[8];
      snprintf(escape, sizeof escape, "\\x%02x", c);
      out += escape;
    } else {
      out += c;
    }
  }
  out += mark;
}

void appendRepr(const Value &v, String &out) {
  spend(1);
  switch (v.kind) {
  case Kind::undefined:
    out += "Undefined";
    return;
  case Kind::none:
    out += "None";
    return;
  case Kind::boolean:
    out += v.number ? "True" : "False";
    return;
  case Kind::integer:
    appendNumber(v.number, out);
    return;
  case Kind::real:
    out += formatReal(v.floating);
    return;
  case Kind::string:
    out += v.isMarkup() ? "Markup(" : "";
    appendQuoted(v.text(), out);
    out += v.isMarkup() ? ")" : "";
    return;
  case Kind::list:
  case Kind::tuple: {
    if (const Value::Range *range = v.asRange()) {
      out += "range(";
      appendNumber(range->start, out);
      out += ", ";
      appendNumber(range->stop, out);
      if (range->step != 1) {
        out += ", ";
        appendNumber(range->step, out);
      }
      out += ')';
      return;
    }
    out += v.is(Kind::list) ? '[' : '(';
    bool first = true;
    for (const Value &item : v.items()) {
      if (!first)
        out += ", ";
      first = false;
      appendRepr(item, out);
    }
    if (v.is(Kind::tuple) && v.items().size() == 1)
      out += ',';
    out += v.is(Kind::list) ? ']' : ')';
    return;
  }
  case Kind::dict: {
    out += '{';
    bool first = true;
    for (const auto &[key, value] : v.entries().items()) {
      if (!first)
        out += ", ";
      first = false;
      appendRepr(key, out);
      out += ": ";
      appendRepr(value, out);
    }
    out += '}';
    return;
  }
  case Kind::nameSpace:
  case Kind::loop:
  case Kind::function:
    // Python prints an address here; nothing can depend on it.
    throw TemplateError(std::string("a ") + v.typeName() + " cannot be printed");
  }
}

void appendJsonString(const String &text, bool asciiOnly, String &out) {
  out += '"';
  char escape[16];
  for (size_t at = 0; at < text.size();) {
    uint32_t c = nextCodePoint(text, at);
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
  out += '"';
}

void writeJson(const Value &v, const Value::JsonStyle &style, int depth, String &out) {
  spend(1);
  auto line = [&](int level) {
    if (style.indent >= 0)
      out.append("\n").append(static_cast<size_t>(style.indent) * static_cast<size_t>(level), ' ');
  };
  switch (v.kind) {
  case Kind::none:
    out += "null";
    return;
  case Kind::boolean:
    out += v.number ? "true" : "false";
    return;
  case Kind::integer:
    appendNumber(v.number, out);
    return;
  case Kind::real:
    out += std::isnan(v.floating)   ? "NaN"
           : std::isinf(v.floating) ? (v.floating < 0 ? "-Infinity" : "Infinity")
                                    : formatReal(v.floating);
    return;
  case Kind::string:
    appendJsonString(v.text(), style.asciiOnly, out);
    return;
  case Kind::list:
  case Kind::tuple: {
    if (v.asRange())
      throw TemplateError("tojson: a value of type range cannot be JSON");
    out += "[";
    bool first = true;
    for (const Value &item : v.items()) {
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
    auto entries = v.entries().items();
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
        appendJsonString(key.text(), style.asciiOnly, out);
      } else {
        out += '"';
        writeJson(key, style, depth + 1, out);
        out += '"';
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

String Value::str() const {
  return kind == Kind::string ? text() : kind == Kind::undefined ? String() : repr();
}

String Value::repr() const {
  String out;
  appendRepr(*this, out);
  return out;
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
    return asRange() ? "range" : "tuple";
  case Kind::dict:
    return "dict";
  case Kind::nameSpace:
    return "namespace";
  case Kind::loop:
    return "LoopContext";
  case Kind::function:
    return "function";
  }
  return "";
}

String Value::json(const JsonStyle &style) const {
  String out;
  writeJson(*this, style, 0, out);
  return out;
}

String escapeHtml(std::string_view text) {
  String out;
  for (const char &c : text)
    out += c == '&'    ? std::string_view("&amp;")
           : c == '<'  ? std::string_view("&lt;")
           : c == '>'  ? std::string_view("&gt;")
           : c == '"'  ? std::string_view("&#34;")
           : c == '\'' ? std::string_view("&#39;")
                       : std::string_view(&c, 1);
  return out;
}

String markupText(const Value &value) {
  return value.isMarkup() ? value.text() : escapeHtml(value.str());
}

Value escapedStrings(const Value &value) {
  if (value.is(Value::Kind::string))
    return markupText(value);
  if (!value.isSequence() || value.asRange())
    return value;
  List items;
  for (const Value &item : value.items())
    items.push_back(item.is(Value::Kind::string) ? Value(markupText(item)) : item);
  return value.is(Value::Kind::tuple) ? Value::tuple(items) : Value(items);
}

bool equal(const Value &a, const Value &b) {
  spend(1);
  if (a.isNumber() && b.isNumber())
    return compareNumbers(a, b) == 0 && !std::isnan(a.asDouble());
  if (a.kind != b.kind)
    return false;
  switch (a.kind) {
  case Kind::undefined:
  case Kind::none:
    return true;
  case Kind::string:
    spend(0, std::min(a.text().size(), b.text().size()));
    return a.text() == b.text();
  case Kind::list:
  case Kind::tuple:
    return !a.asRange() == !b.asRange() && std::equal(a.items().begin(), a.items().end(),
                                                      b.items().begin(), b.items().end(), equal);
  case Kind::dict: {
    if (a.entries().items().size() != b.entries().items().size())
      return false;
    for (const auto &[key, value] : a.entries().items()) {
      const Value *other = b.entries().find(key);
      if (!other || !equal(value, *other))
        return false;
    }
    return true;
  }
  default:
    return a.same(b);
  }
}

size_t hash(const Value &value) {
  spend(1);
  switch (value.kind) {
  case Kind::boolean:
  case Kind::integer:
    return static_cast<size_t>(value.number);
  case Kind::real: {
    int64_t integer = 0;
    return exactInteger(value.floating, integer) ? static_cast<size_t>(integer)
                                                 : std::hash<double>()(value.floating);
  }
  case Kind::string:
    spend(0, value.text().size());
    return hashText(value.text());
  case Kind::list:
  case Kind::tuple: {
    size_t h = value.items().size();
    for (const Value &item : value.items())
      h = mix(h, hash(item));
    return h;
  }
  case Kind::dict: { // whose equality does not see the order
    size_t h = value.entries().items().size();
    for (const auto &[key, item] : value.entries().items())
      h += mix(hash(key), hash(item));
    return h;
  }
  default:
    return static_cast<size_t>(value.kind);
  }
}

int compare(const Value &a, const Value &b, const char *operation) {
  spend(1);
  if (a.isNumber() && b.isNumber())
    return compareNumbers(a, b);
  if (a.is(Kind::string) && b.is(Kind::string)) {
    spend(0, std::min(a.text().size(), b.text().size()));
    return a.text().compare(b.text()); // bytes of UTF-8 order as code points do
  }
  if (a.isSequence() && a.kind == b.kind && !a.asRange() && !b.asRange()) {
    size_t n = std::min(a.items().size(), b.items().size());
    for (size_t i = 0; i < n; ++i)
      if (!equal(a.items()[i], b.items()[i]))
        return compare(a.items()[i], b.items()[i], operation);
    return a.items().size() < b.items().size() ? -1 : a.items().size() > b.items().size();
  }
  for (const Value *v : {&a, &b})
    if (v->is(Kind::undefined))
      throw TemplateError(v->message());
  throw TemplateError(std::string("'") + operation + "' not supported between " + a.typeName() +
                      " and " + b.typeName());
}

} // namespace m1rt::jinja
