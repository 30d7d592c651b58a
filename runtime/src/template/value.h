// Values of chat templates, with Python's rules for truth, equality, printing and JSON.
#ifndef M1RT_TEMPLATE_VALUE_H
#define M1RT_TEMPLATE_VALUE_H

#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace m1rt::jinja {

// Thrown inside the template library only; ChatTemplate turns it into a message.
struct TemplateError : std::runtime_error {
  explicit TemplateError(const std::string &message, int line = 0)
      : std::runtime_error(message), line(line) {}
  int line; // 0: not known yet
};

class Value;
using List = std::vector<Value>;

// Keeps insertion order, as Python does.
class Dict {
public:
  const Value *find(const Value &key) const;
  const Value *find(const std::string &key) const;
  void set(Value key, Value value);
  const std::vector<std::pair<Value, Value>> &items() const { return entries; }

private:
  std::vector<std::pair<Value, Value>> entries;
};

struct Arguments {
  List positional;
  std::vector<std::pair<std::string, Value>> named;
};
using Function = std::function<Value(const Arguments &)>;

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
    function
  };

  Value() = default; // undefined
  Value(std::nullptr_t) : kind(Kind::none) {}
  Value(bool b) : kind(Kind::boolean), number(b) {}
  Value(int64_t i) : kind(Kind::integer), number(i) {}
  Value(int i) : Value(static_cast<int64_t>(i)) {}
  Value(double d) : kind(Kind::real), floating(d) {}
  Value(std::string s) : kind(Kind::string), text(std::move(s)) {}
  Value(const char *s) : Value(std::string(s)) {}
  Value(List items) : kind(Kind::list), items(std::make_shared<List>(std::move(items))) {}
  Value(Dict d) : kind(Kind::dict), mapping(std::make_shared<Dict>(std::move(d))) {}
  static Value tuple(List items);
  static Value nameSpace(Dict fields);
  static Value function(std::string name, Function call);
  // `what` is the message of an error that using it raises: "'x' is undefined".
  static Value undefined(std::string what);

  Kind kind = Kind::undefined;
  int64_t number = 0; // boolean, integer
  double floating = 0;
  std::string text; // string; name of a function; message of an undefined
  std::shared_ptr<List> items;
  std::shared_ptr<Dict> mapping;
  std::shared_ptr<Function> call;

  bool is(Kind k) const { return kind == k; }
  bool isSequence() const { return kind == Kind::list || kind == Kind::tuple; }
  bool isNumber() const {
    return kind == Kind::boolean || kind == Kind::integer || kind == Kind::real;
  }
  bool isIntegral() const { return kind == Kind::boolean || kind == Kind::integer; }
  double asDouble() const { return kind == Kind::real ? floating : static_cast<double>(number); }
  bool truth() const;
  // str() and repr() of Python; undefined prints as nothing.
  std::string str() const;
  std::string repr() const;
  const char *typeName() const; // as Python names it
  // json.dumps with ensure_ascii=False. indent < 0: one line. Throws on what JSON cannot hold.
  struct JsonStyle {
    int indent = -1;
    std::string itemSeparator = ", ", keySeparator = ": ";
    bool sortKeys = false, asciiOnly = false;
  };
  std::string json(const JsonStyle &style) const;
};

bool equal(const Value &a, const Value &b);
// Negative, zero, positive. Throws for types that Python does not order.
int compare(const Value &a, const Value &b, const char *operation);
std::string formatReal(double value); // Python's repr

} // namespace m1rt::jinja

#endif
