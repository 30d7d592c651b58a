// The syntax tree of a template.
#ifndef M1RT_TEMPLATE_SYNTAX_H
#define M1RT_TEMPLATE_SYNTAX_H

#include "template/value.h"

namespace m1rt::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  enum class Kind : uint8_t {
    constant,    // value
    name,        // text
    list,        // kids
    tuple,       // kids
    dict,        // kids: key, value, key, value …
    unary,       // text: - + not
    binary,      // text: + - * / // % ** ~ and or
    comparison,  // kids[0], then (operators[i], kids[i + 1]): == != < <= > >= in "not in"
    conditional, // kids: condition, then, else (null: undefined)
    attribute,   // kids[0].text
    subscript,   // kids[0][kids[1]]
    slice,       // kids[0][kids[1]:kids[2]:kids[3]], each but the first may be null
    call,        // kids[0](kids[1]…, named…)
    filter,      // kids[0] | text(kids[1]…, named…); kids[0] null: the body of a filter block
    test,        // kids[0] is text(kids[1]…)
    spread,      // *kids[0] among the arguments of a call
  };
  Kind kind;
  int line;
  std::string text;
  int depth = 0; // operators above the deepest operand
  Value value;
  std::vector<ExpressionPtr> kids;
  std::vector<std::string> operators;
  std::vector<std::pair<std::string, ExpressionPtr>> named; // a name of "": **value
};

struct Statement;
using Body = std::vector<std::unique_ptr<Statement>>;

// What `for` and `set` assign to: a name, a namespace's attribute, or several of them.
struct Target {
  std::string name, attribute;
  std::vector<Target> parts;
};

// The names beside its parameters that a macro's body reads.
struct MacroUses {
  bool caller = false, varargs = false, kwargs = false;
};

struct Statement {
  enum class Kind : uint8_t {
    text,      // text
    output,    // value
    condition, // branches: (condition, body) …; an else branch has no condition
    loop,      // target, value, filter (may be null), body, otherwise, recursive
    set,       // target, value
    setBlock,  // target, value (filters on the body, may be null), body
    macro,     // text (name), parameters, uses, body
    call,      // value (a call), and of its `caller`: text, parameters, uses, body
    filter,    // value (filters), body
    block,     // parameters, body: {% generation %}, {% with %}
    breakLoop,
    continueLoop,
  };
  Kind kind;
  int line;
  std::string text;
  Target target;
  ExpressionPtr value, filter;
  std::vector<std::pair<ExpressionPtr, Body>> branches;
  std::vector<std::pair<std::string, ExpressionPtr>> parameters; // with defaults or null
  Body body, otherwise;
  bool recursive = false;
  MacroUses uses;
};

// Throws TemplateError with the line; a construct outside the supported ones is named.
Body parse(const std::string &source);

} // namespace m1rt::jinja

#endif
