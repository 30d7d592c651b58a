// Values of chat templates, with Python's rules for truth, equality, printing and JSON.
//
// A value is immutable but for namespaces and the state of loops, and is shared, not copied. Lists,
// tuples, dicts and bound functions know how deep they are and are never deeper than
// kMaxValueDepth, so that walks over them may recurse; freeing them does not.
#ifndef M1RT_TEMPLATE_VALUE_H
#define M1RT_TEMPLATE_VALUE_H

#include "template/budget.h"

#include <atomic>
#include <functional>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

namespace m1rt::jinja {

class Value;
class Dict;
struct Loop;
using List = std::vector<Value, Charged<Value>>;

struct Arguments {
  List positional;
  std::vector<std::pair<std::string, Value>> named;
};
// `self` is what the function is bound to; a closure must not hold values itself.
using Function = std::function<Value(const Value &self, const Arguments &)>;

// What values share: a text, items, entries or a function.
struct Node {
  Node() = default;
  Node(const Node &) = delete;
  virtual ~Node() = default;
  static void *operator new(size_t n);
  static void operator delete(void *p, size_t n);

  std::atomic<uint32_t> references{1};
  uint32_t depth = 0;
  Node *nextDead = nullptr;
};

class Value {
public:
  enum class Kind : uint8_t {
    undefined,
    none,
    boolean,
    integer,
    real,
    string,
    list,
    tuple,
    dict,
    nameSpace,
    loop,
    function
  };

  Value() : number(0) {} // undefined
  Value(std::nullptr_t) : kind(Kind::none), number(0) {}
  Value(bool b) : kind(Kind::boolean), number(b) {}
  Value(int64_t i) : kind(Kind::integer), number(i) {}
  Value(int i) : Value(static_cast<int64_t>(i)) {}
  Value(double d) : kind(Kind::real), floating(d) {}
  Value(String s);
  Value(std::string_view s) : Value(String(s)) {}
  Value(const std::string &s) : Value(String(s)) {}
  Value(const char *s) : Value(String(s)) {}
  Value(List items);
  Value(Dict d);
  Value(const Value &other) : kind(other.kind), number(other.number), node(other.node) {
    if (node)
      node->references.fetch_add(1, std::memory_order_relaxed);
  }
  Value(Value &&other) noexcept : kind(other.kind), number(other.number), node(other.node) {
    other.kind = Kind::undefined;
    other.node = nullptr;
  }
  Value &operator=(Value other) noexcept {
    std::swap(kind, other.kind);
    std::swap(number, other.number);
    std::swap(node, other.node);
    return *this;
  }
  ~Value() {
    if (node)
      release(node);
  }
  static Value tuple(List items);
  // A string in which + and % escape what they add, as Markup does; `| e` leaves it as it is.
  static Value markup(String s);
  // What range() gives: the integers, a sequence that is neither a list nor a tuple.
  static Value range(int64_t start, int64_t stop, int64_t step);
  // What groupby lists: a tuple whose items have the names `grouper` and `list`.
  static Value group(Value key, List items);
  static Value nameSpace(Dict fields);
  static Value loop(List items); // at its first item
  static Value function(std::string_view name, Value self, Function call);
  // `what` is the message of an error that using it raises: "'x' is undefined".
  static Value undefined(std::string_view what);

  Kind kind = Kind::undefined;
  union {
    int64_t number; // boolean, integer; of a string 1 where it is markup
    double floating;
  };

  bool is(Kind k) const { return kind == k; }
  bool isSequence() const { return kind == Kind::list || kind == Kind::tuple; }
  bool isGroup() const; // of a tuple
  bool isMarkup() const { return kind == Kind::string && number == 1; }
  // Of a tuple: start, stop and step of a range; null for others.
  struct Range {
    int64_t start, stop, step;
  };
  const Range *asRange() const;
  bool isNumber() const {
    return kind == Kind::boolean || kind == Kind::integer || kind == Kind::real;
  }
  bool isIntegral() const { return kind == Kind::boolean || kind == Kind::integer; }
  double asDouble() const { return kind == Kind::real ? floating : static_cast<double>(number); }
  uint32_t depth() const { return node ? node->depth : 0; }

  const String &text() const; // of a string; the message of an undefined
  std::string message() const { return plain(node ? text() : String("a value is undefined")); }
  const List &items() const;           // of a list or tuple
  const Dict &entries() const;         // of a dict or namespace
  Dict &fields() const;                // of a namespace
  Loop &loopState() const;             // of a loop
  Value call(const Arguments &) const; // of a function
  bool same(const Value &other) const { return kind == other.kind && node == other.node; }

  bool truth() const;
  // str() and repr() of Python; undefined prints as nothing.
  String str() const;
  String repr() const;
  const char *typeName() const; // as Python names it
  // json.dumps with ensure_ascii=False. indent < 0: one line. Throws on what JSON cannot hold.
  struct JsonStyle {
    int indent = -1;
    String itemSeparator = ", ", keySeparator = ": ";
    bool sortKeys = false, asciiOnly = false;
  };
  String json(const JsonStyle &style) const;

private:
  static void release(Node *node);
  Node *node = nullptr;
};

String escapeHtml(std::string_view text);
// Of Markup: a string that is none is escaped.
String markupText(const Value &value);
// What Markup formats or joins: strings, and those in a list or tuple, escaped.
Value escapedStrings(const Value &value);

bool equal(const Value &a, const Value &b);
size_t hash(const Value &value); // equal values have equal hashes
// Negative, zero, positive; NaN after all numbers. Throws for types that Python does not order.
int compare(const Value &a, const Value &b, const char *operation);
String formatReal(double value); // Python's repr

// Keeps insertion order, as Python does.
class Dict {
public:
  using Entries = std::vector<std::pair<Value, Value>, Charged<std::pair<Value, Value>>>;
  const Value *find(const Value &key) const;
  const Value *find(std::string_view key) const;
  void set(Value key, Value value);
  const Entries &items() const { return entries; }

private:
  template <typename Matches> size_t position(size_t hash, Matches matches) const;
  Entries entries;
  // By hash, once there are more entries than a scan should visit.
  std::unordered_multimap<size_t, size_t, std::hash<size_t>, std::equal_to<>,
                          Charged<std::pair<const size_t, size_t>>>
      index;
};

// A node that can come to hold itself.
class Mutable : public Node {
public:
  Mutable();
  ~Mutable() override;
  virtual void clear() = 0;

private:
  friend class Budget;
  Budget *owner;
  Mutable *before = nullptr, *after = nullptr;
};

// What `loop` is in the body of a loop.
struct Loop : Mutable {
  List items;
  int64_t at = 0, depth = 1;
  std::function<Value(const Value &items)> recurse; // of a recursive loop: its text
  Value lastChanged; // what loop.changed was called with; undefined before
  void clear() override;
};

} // namespace m1rt::jinja

#endif
