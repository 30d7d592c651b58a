#include "template/chat_template.h"

#include "template/builtins.h"
#include "template/syntax.h"
#include "tokenizer/unicode.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace m1rt {
namespace jinja {
namespace {

using E = Expression::Kind;
using S = Statement::Kind;
using Kind = Value::Kind;

constexpr int kMaxDepth = 1200; // of statements, operators and macros within one another

struct Scope {
  std::map<std::string, Value, std::less<>, Charged<std::pair<const std::string, Value>>> variables;
  std::shared_ptr<Scope> parent;
};
using ScopePtr = std::shared_ptr<Scope>;

enum class Flow { next, breakLoop, continueLoop };

class Interpreter {
public:
  Interpreter(Budget &budget, std::time_t now) : budget(budget), now(now) {}

  Flow run(const Body &body, const ScopePtr &scope, String &out) {
    for (const auto &statement : body) {
      Flow flow = at(statement->line, [&] { return execute(*statement, scope, out); });
      if (flow != Flow::next)
        return flow;
    }
    return Flow::next;
  }

private:
  // Errors that do not know their line yet get that of the innermost construct.
  template <typename F> auto at(int line, F f) -> decltype(f()) {
    struct Level {
      int &depth;
      explicit Level(int &d) : depth(++d) {}
      ~Level() { --depth; }
    } level(depth);
    try {
      budget.spend(1);
      budget.checkStack();
      if (depth > kMaxDepth)
        throw TemplateError("evaluation is nested deeper than " + std::to_string(kMaxDepth) +
                            " levels");
      return f();
    } catch (const TemplateError &e) {
      if (e.line)
        throw;
      throw TemplateError(e.what(), line);
    }
  }

  Flow execute(const Statement &s, const ScopePtr &scope, String &out);
  Flow loop(const Statement &s, const ScopePtr &scope, String &out);
  Value makeMacro(const Statement &s, const ScopePtr &scope);
  Flow loopOver(const Statement &s, List items, int64_t level, const ScopePtr &scope, String &out);
  void assign(const Target &target, const Value &value, const ScopePtr &scope);
  Value lookUp(const std::string &name, const Scope *scope);
  Value formatTime(const String &format) const;

  Value evaluate(const Expression &e, const ScopePtr &scope) {
    return at(e.line, [&] { return evaluateNode(e, scope); });
  }
  Value evaluateNode(const Expression &e, const ScopePtr &scope);
  Value callValue(const Value &f, const Arguments &a);
  Value binary(const std::string &op, const Value &a, const Value &b);
  bool compareBy(const std::string &op, const Value &a, const Value &b);
  Arguments arguments(const Expression &e, const ScopePtr &scope);
  // Filters of a block: `e` is a chain whose innermost operand is the block's text.
  Value filterText(const Expression *e, const String &text, const ScopePtr &scope) {
    if (!e)
      return text;
    return at(e->line, [&] {
      return applyFilter(e->text, filterText(e->kids[0].get(), text, scope), arguments(*e, scope));
    });
  }

  Budget &budget;
  std::time_t now;
  int depth = 0;
};

ScopePtr inner(const ScopePtr &scope) {
  auto s = std::make_shared<Scope>();
  s->parent = scope;
  return s;
}

// With the C locale's names of days and months.
Value Interpreter::formatTime(const String &format) const {
  static const locale_t plainLocale = newlocale(LC_ALL_MASK, "C", nullptr);
  char text[512];
  std::tm local;
  localtime_r(&now, &local);
  size_t n = strftime_l(text, sizeof text, format.c_str(), &local, plainLocale);
  if (n == 0 && !format.empty())
    throw TemplateError("strftime_now: the time is longer than 511 bytes");
  return String(text, n);
}

Value Interpreter::lookUp(const std::string &name, const Scope *scope) {
  for (; scope; scope = scope->parent.get()) {
    auto it = scope->variables.find(name);
    if (it != scope->variables.end())
      return it->second;
  }
  if (name == "strftime_now")
    return Value::function(name, Value(), [this](const Value &, const Arguments &a) {
      if (a.positional.size() != 1 || !a.positional[0].is(Kind::string) || !a.named.empty())
        throw TemplateError("strftime_now takes one format string");
      return formatTime(a.positional[0].text());
    });
  if (name == "self")
    throw TemplateError("'self' is not supported");
  Value global = globalFunction(name);
  return global.is(Kind::undefined) ? Value::undefined("'" + name + "' is undefined") : global;
}

void Interpreter::assign(const Target &target, const Value &value, const ScopePtr &scope) {
  if (!target.parts.empty()) {
    List items = iterate(value);
    if (items.size() != target.parts.size())
      throw TemplateError("cannot unpack " + std::to_string(items.size()) + " values into " +
                          std::to_string(target.parts.size()) + " names");
    for (size_t i = 0; i < items.size(); ++i)
      assign(target.parts[i], items[i], scope);
    return;
  }
  if (target.attribute.empty()) {
    scope->variables[target.name] = value;
    return;
  }
  Value object = lookUp(target.name, scope.get());
  if (!object.is(Kind::nameSpace))
    throw TemplateError("cannot assign attribute '" + target.attribute + "' of '" + target.name +
                        "', which is not a namespace");
  object.fields().set(target.attribute, value);
}

Flow Interpreter::execute(const Statement &s, const ScopePtr &scope, String &out) {
  switch (s.kind) {
  case S::text:
    out += s.text;
    return Flow::next;
  case S::output:
    out += evaluate(*s.value, scope).str();
    return Flow::next;
  case S::condition:
    for (const auto &[condition, body] : s.branches)
      if (!condition || evaluate(*condition, scope).truth())
        return run(body, scope, out);
    return Flow::next;
  case S::loop:
    return loop(s, scope, out);
  case S::set:
    assign(s.target, evaluate(*s.value, scope), scope);
    return Flow::next;
  case S::setBlock: {
    String text;
    run(s.body, inner(scope), text);
    assign(s.target, filterText(s.value.get(), text, scope), scope);
    return Flow::next;
  }
  case S::filter: {
    String text;
    run(s.body, inner(scope), text);
    out += filterText(s.value.get(), text, scope).str();
    return Flow::next;
  }
  case S::macro:
    scope->variables[s.text] = makeMacro(s, scope);
    return Flow::next;
  case S::call: {
    Value f = evaluate(*s.value->kids[0], scope);
    Arguments a = arguments(*s.value, scope);
    a.named.emplace_back("caller", makeMacro(s, scope));
    out += callValue(f, a).str();
    return Flow::next;
  }
  case S::block: {
    ScopePtr body = inner(scope);
    for (const auto &[name, value] : s.parameters)
      body->variables[name] = evaluate(*value, scope);
    return run(s.body, body, out);
  }
  case S::breakLoop:
    return Flow::breakLoop;
  case S::continueLoop:
    return Flow::continueLoop;
  }
  return Flow::next;
}

Flow Interpreter::loop(const Statement &s, const ScopePtr &scope, String &out) {
  return loopOver(s, iterate(evaluate(*s.value, scope)), 1, scope, out);
}

Flow Interpreter::loopOver(const Statement &s, List items, int64_t level, const ScopePtr &scope,
                           String &out) {
  if (s.filter) {
    List kept;
    for (const Value &item : items) {
      ScopePtr body = inner(scope);
      assign(s.target, item, body);
      if (evaluate(*s.filter, body).truth())
        kept.push_back(item);
    }
    items = std::move(kept);
  }
  Value state = Value::loop(std::move(items));
  Loop &loop = state.loopState();
  loop.depth = level;
  if (s.recursive)
    loop.recurse = [this, &s, level, weak = std::weak_ptr<Scope>(scope)](const Value &inside) {
      ScopePtr outer = weak.lock();
      if (!outer)
        throw TemplateError("a loop is called outside the block that holds it");
      String text;
      at(s.line, [&] { return loopOver(s, iterate(inside), level + 1, outer, text); });
      return Value(text);
    };
  // As in Jinja2, a round that ends in break or continue is none to the else of the loop.
  bool reachedEnd = false;
  for (size_t i = 0; i < loop.items.size(); ++i) {
    ScopePtr body = inner(scope);
    loop.at = static_cast<int64_t>(i);
    body->variables["loop"] = state;
    assign(s.target, loop.items[i], body);
    const Flow flow = run(s.body, body, out);
    reachedEnd |= flow == Flow::next;
    if (flow == Flow::breakLoop)
      break;
  }
  return reachedEnd ? Flow::next : run(s.otherwise, inner(scope), out);
}

Value Interpreter::makeMacro(const Statement &s, const ScopePtr &scope) {
  // The scope that defines a macro outlives it: a value in it would otherwise keep its own scope
  // alive.
  std::weak_ptr<Scope> weak = scope;
  auto call = [this, &s, weak](const Value &, const Arguments &a) {
    ScopePtr outer = weak.lock();
    if (!outer)
      throw TemplateError("macro '" + s.text + "' is called outside the block that defines it");
    if (a.positional.size() > s.parameters.size() && !s.uses.varargs)
      throw TemplateError("macro '" + s.text + "' takes not more than " +
                          std::to_string(s.parameters.size()) + " arguments");
    ScopePtr body = inner(outer);
    std::vector<bool> given(s.parameters.size());
    Dict others;
    if (s.uses.caller)
      body->variables["caller"] = Value::undefined("no caller is defined");
    for (const auto &argument : a.named) {
      const std::string &name = argument.first;
      auto it = std::find_if(s.parameters.begin(), s.parameters.end(),
                             [&](const auto &p) { return p.first == name; });
      size_t i = static_cast<size_t>(it - s.parameters.begin());
      if (i == s.parameters.size() && s.uses.caller && name == "caller") {
        body->variables[name] = argument.second;
        continue;
      }
      if (s.uses.kwargs && (i == s.parameters.size() || i < a.positional.size())) {
        others.set(Value(name), argument.second);
        continue;
      }
      if (i == s.parameters.size() || i < a.positional.size())
        throw TemplateError("macro '" + s.text + "' has no argument '" + name + "' left to set");
      body->variables[name] = argument.second;
      given[i] = true;
    }
    for (size_t i = 0; i < s.parameters.size(); ++i) {
      const auto &[name, value] = s.parameters[i];
      if (i < a.positional.size())
        body->variables[name] = a.positional[i];
      else if (!given[i])
        body->variables[name] = value
                                    ? evaluate(*value, body)
                                    : Value::undefined("parameter '" + name + "' was not provided");
    }
    if (s.uses.kwargs)
      body->variables["kwargs"] = Value(std::move(others));
    if (s.uses.varargs)
      body->variables["varargs"] = Value::tuple(
          List(a.positional.begin() +
                   static_cast<std::ptrdiff_t>(std::min(a.positional.size(), s.parameters.size())),
               a.positional.end()));
    String text;
    run(s.body, body, text);
    return Value(text);
  };
  return Value::function(s.text, Value(), call);
}

Value Interpreter::callValue(const Value &f, const Arguments &a) {
  if (f.is(Kind::undefined))
    throw TemplateError(f.message());
  if (f.is(Kind::loop)) {
    if (!f.loopState().recurse)
      throw TemplateError("a loop that is not recursive cannot be called");
    if (a.positional.size() != 1 || !a.named.empty())
      throw TemplateError("a recursive loop takes one argument");
    return f.loopState().recurse(a.positional[0]);
  }
  if (!f.is(Kind::function))
    throw TemplateError(std::string("a value of type ") + f.typeName() + " cannot be called");
  return f.call(a);
}

Arguments Interpreter::arguments(const Expression &e, const ScopePtr &scope) {
  Arguments a;
  for (size_t i = 1; i < e.kids.size(); ++i)
    if (e.kids[i]->kind == E::spread)
      for (const Value &item : iterate(evaluate(*e.kids[i]->kids[0], scope)))
        a.positional.push_back(item);
    else
      a.positional.push_back(evaluate(*e.kids[i], scope));
  for (const auto &[name, value] : e.named) {
    Value v = evaluate(*value, scope);
    if (!name.empty()) {
      a.named.emplace_back(name, v);
      continue;
    }
    if (!v.is(Kind::dict))
      throw TemplateError(std::string("'**' needs a dict, got ") + v.typeName());
    for (const auto &[key, item] : v.entries().items()) {
      if (!key.is(Kind::string))
        throw TemplateError(std::string("the name of an argument is a ") + key.typeName());
      a.named.emplace_back(plain(key.text()), item);
    }
  }
  for (size_t i = 0; i < a.named.size(); ++i)
    for (size_t j = 0; j < i; ++j) {
      budget.spend(1);
      if (a.named[i].first == a.named[j].first)
        throw TemplateError("argument '" + a.named[i].first + "' is given twice");
    }
  return a;
}

Value Interpreter::evaluateNode(const Expression &e, const ScopePtr &scope) {
  auto kid = [&](size_t i) { return evaluate(*e.kids[i], scope); };
  switch (e.kind) {
  case E::constant:
    return e.value;
  case E::name:
    return lookUp(e.text, scope.get());
  case E::list:
  case E::tuple: {
    List items;
    for (size_t i = 0; i < e.kids.size(); ++i)
      items.push_back(kid(i));
    return e.kind == E::list ? Value(items) : Value::tuple(items);
  }
  case E::dict: {
    Dict d;
    for (size_t i = 0; i < e.kids.size(); i += 2) {
      Value key = kid(i);
      if (key.is(Kind::list) || key.is(Kind::dict))
        throw TemplateError(std::string("a ") + key.typeName() + " cannot be the key of a dict");
      d.set(key, kid(i + 1));
    }
    return d;
  }
  case E::unary: {
    Value v = kid(0);
    if (e.text == "not")
      return !v.truth();
    if (v.is(Kind::undefined))
      throw TemplateError(v.message());
    if (!v.isNumber())
      throw TemplateError("bad operand of type " + std::string(v.typeName()) + " for '" + e.text +
                          "'");
    if (v.is(Kind::real))
      return e.text == "-" ? -v.floating : v.floating;
    if (v.number == INT64_MIN && e.text == "-")
      throw TemplateError("an integer grows past 64 bits");
    return e.text == "-" ? -v.number : v.number;
  }
  case E::binary: {
    Value a = kid(0);
    if (e.text == "and")
      return a.truth() ? kid(1) : a;
    if (e.text == "or")
      return a.truth() ? a : kid(1);
    return binary(e.text, a, kid(1));
  }
  case E::comparison: {
    Value left = kid(0);
    for (size_t i = 0; i < e.operators.size(); ++i) {
      Value right = kid(i + 1);
      if (!compareBy(e.operators[i], left, right))
        return false;
      left = right;
    }
    return true;
  }
  case E::conditional:
    if (kid(0).truth())
      return kid(1);
    return e.kids[2]
               ? kid(2)
               : Value::undefined(
                     "the inline if-expression evaluated to false and no else section was defined");
  case E::attribute:
    return attributeOf(kid(0), e.text);
  case E::subscript: {
    Value object = kid(0);
    return itemOf(object, kid(1));
  }
  case E::slice: {
    Value parts[3] = {nullptr, nullptr, nullptr}, object = kid(0);
    for (size_t i = 0; i < 3; ++i)
      if (e.kids[i + 1])
        parts[i] = kid(i + 1);
    return sliceOf(object, parts[0], parts[1], parts[2]);
  }
  case E::call: {
    Value f = kid(0);
    return callValue(f, arguments(e, scope));
  }
  case E::spread:
    break; // among the arguments of a call only
  case E::filter: {
    Value v = kid(0);
    return applyFilter(e.text, v, arguments(e, scope));
  }
  case E::test: {
    Value v = kid(0);
    return applyTest(e.text, v, arguments(e, scope));
  }
  }
  return Value();
}

bool Interpreter::compareBy(const std::string &op, const Value &a, const Value &b) {
  if (op == "==")
    return equal(a, b);
  if (op == "!=")
    return !equal(a, b);
  if (op == "in")
    return contains(b, a);
  if (op == "not in")
    return !contains(b, a);
  int c = compare(a, b, op.c_str());
  if (std::isnan(a.isNumber() ? a.asDouble() : 0) || std::isnan(b.isNumber() ? b.asDouble() : 0))
    return false;
  return op == "<" ? c < 0 : op == "<=" ? c <= 0 : op == ">" ? c > 0 : c >= 0;
}

Value Interpreter::binary(const std::string &op, const Value &a, const Value &b) {
  if (op == "~")
    return a.str() + b.str();
  if (op == "%" && a.isMarkup())
    return Value::markup(formatPercent(a.text(), escapedStrings(b)));
  if (op == "%" && a.is(Kind::string))
    return formatPercent(a.text(), b);
  for (const Value *v : {&a, &b})
    if (v->is(Kind::undefined))
      throw TemplateError(v->message());
  auto wrong = [&] {
    return TemplateError("unsupported operand types for '" + op + "': " + a.typeName() + " and " +
                         b.typeName());
  };
  const bool range = a.asRange() || b.asRange();
  if (op == "+") {
    if (a.is(Kind::string) && b.is(Kind::string))
      return a.isMarkup() || b.isMarkup() ? Value::markup(markupText(a) + markupText(b))
                                          : Value(a.text() + b.text());
    if (a.isSequence() && a.kind == b.kind && !range) {
      List items = a.items();
      items.insert(items.end(), b.items().begin(), b.items().end());
      return a.is(Kind::tuple) ? Value::tuple(items) : Value(items);
    }
  }
  if (op == "*" &&
      ((a.is(Kind::string) && b.isIntegral()) || (b.is(Kind::string) && a.isIntegral()))) {
    const String &text = a.is(Kind::string) ? a.text() : b.text();
    size_t times = static_cast<size_t>(
        std::clamp<int64_t>(a.is(Kind::string) ? b.number : a.number, 0, kMaxBytes + 1));
    String out;
    out.reserve(text.size() * (text.empty() ? 0 : times));
    for (size_t i = 0; i < times && !text.empty(); ++i)
      out += text;
    return a.isMarkup() || b.isMarkup() ? Value::markup(out) : Value(out);
  }
  if (op == "*" && !range &&
      ((a.isSequence() && b.isIntegral()) || (b.isSequence() && a.isIntegral()))) {
    const Value &sequence = a.isSequence() ? a : b;
    const int64_t times = a.isSequence() ? b.number : a.number;
    List items;
    for (int64_t i = 0; i < times && !sequence.items().empty(); ++i) {
      budget.spend(sequence.items().size());
      items.insert(items.end(), sequence.items().begin(), sequence.items().end());
    }
    return sequence.is(Kind::tuple) ? Value::tuple(items) : Value(items);
  }
  if (!a.isNumber() || !b.isNumber())
    throw wrong();
  bool integral = a.isIntegral() && b.isIntegral();
  if ((op == "/" || op == "//" || op == "%") && b.asDouble() == 0)
    throw TemplateError("division by zero");
  int64_t x = a.number, y = b.number, r = 0;
  double u = a.asDouble(), v = b.asDouble();
  if (op == "/")
    return u / v;
  if (!integral) {
    if (op == "+")
      return u + v;
    if (op == "-")
      return u - v;
    if (op == "*")
      return u * v;
    if (op == "//")
      return std::floor(u / v);
    if (op == "%") {
      double m = std::fmod(u, v);
      return m != 0 && (m < 0) != (v < 0) ? m + v : m;
    }
    return std::pow(u, v);
  }
  bool overflow = false;
  if (op == "+")
    overflow = __builtin_add_overflow(x, y, &r);
  else if (op == "-")
    overflow = __builtin_sub_overflow(x, y, &r);
  else if (op == "*")
    overflow = __builtin_mul_overflow(x, y, &r);
  else if (op == "//" || op == "%") {
    overflow = y == -1 && x == INT64_MIN;
    if (!overflow) {
      int64_t m = x % y;
      bool adjust = m != 0 && (m < 0) != (y < 0);
      r = op == "//" ? x / y - adjust : m + (adjust ? y : 0);
    }
  } else { // **
    if (y < 0)
      return std::pow(u, v);
    r = 1;
    for (int64_t i = 0; i < y && !overflow && r != 0 && !(r == 1 && x == 1); ++i)
      overflow = __builtin_mul_overflow(r, x, &r) || i > 100;
  }
  if (overflow)
    throw TemplateError("an integer grows past 64 bits");
  return r;
}

} // namespace
} // namespace jinja

using jinja::Value;

ChatTemplate::ChatTemplate() = default;
ChatTemplate::~ChatTemplate() = default;

namespace {
std::string located(const jinja::TemplateError &e) {
  return "chat template" + (e.line ? " line " + std::to_string(e.line) : std::string()) + ": " +
         e.what();
}
} // namespace

std::unique_ptr<ChatTemplate> ChatTemplate::parse(const std::string &source, std::string &error) {
  size_t invalid = findInvalidUtf8(source);
  if (invalid != std::string::npos) {
    error = "chat template: not valid UTF-8 at offset " + std::to_string(invalid);
    return nullptr;
  }
  try {
    std::unique_ptr<ChatTemplate> result(new ChatTemplate);
    result->body = jinja::parse(source);
    return result;
  } catch (const jinja::TemplateError &e) {
    error = located(e);
    return nullptr;
  }
}

bool ChatTemplate::render(const Value &variables, std::time_t now, std::string &out,
                          std::string &error) const {
  try {
    jinja::Budget budget;
    auto scope = std::make_shared<jinja::Scope>();
    for (const auto &[name, value] : variables.entries().items())
      scope->variables[jinja::plain(name.text())] = value;
    // Top-level names of the template are in a scope of their own, above the variables.
    jinja::String text;
    jinja::Interpreter(budget, now).run(body, jinja::inner(scope), text);
    out = jinja::plain(text);
    return true;
  } catch (const jinja::TemplateError &e) {
    error = located(e);
    return false;
  }
}

bool ChatTemplate::apply(const std::vector<ChatMessage> &messages, bool addGenerationPrompt,
                         const std::string &bosToken, const std::string &eosToken, std::string &out,
                         std::string &error, const jinja::Dict *extra) const {
  jinja::List list;
  for (const ChatMessage &m : messages) {
    for (const std::string *text : {&m.role, &m.content})
      if (findInvalidUtf8(*text) != std::string::npos) {
        error = "a message is not valid UTF-8 at offset " + std::to_string(findInvalidUtf8(*text));
        return false;
      }
    jinja::Dict d;
    d.set("role", m.role);
    d.set("content", m.content);
    list.push_back(d);
  }
  jinja::Dict variables;
  variables.set("messages", list);
  variables.set("add_generation_prompt", addGenerationPrompt);
  variables.set("bos_token", bosToken);
  variables.set("eos_token", eosToken);
  variables.set("tools", nullptr);
  variables.set("documents", nullptr);
  if (extra)
    for (const auto &[name, value] : extra->items())
      variables.set(name, value);
  return render(variables, std::time(nullptr), out, error);
}

} // namespace m1rt
