#include "template/builtins.h"
#include "template/lexer.h"
#include "template/syntax.h"

#include <algorithm>

namespace m1rt::jinja {
namespace {

using E = Expression::Kind;
using S = Statement::Kind;

// Deep enough for any template written by hand, far from the end of the stack.
constexpr int kMaxParseDepth = 200, kMaxChain = 1000;

class Parser {
public:
  explicit Parser(const std::string &source) : tokens(tokenize(source)) {}

  Body run() {
    Body body = statements({});
    if (peek().kind != Token::Kind::end)
      fail("unexpected '" + peek().text + "'");
    return body;
  }

private:
  // ---- Tokens
  const Token &peek(size_t ahead = 0) const {
    return tokens[std::min(at + ahead, tokens.size() - 1)];
  }
  Token next() { return tokens[at < tokens.size() - 1 ? at++ : at]; }
  bool isOp(const char *text) const {
    return peek().kind == Token::Kind::op && peek().text == text;
  }
  bool isName(const char *text) const {
    return peek().kind == Token::Kind::name && peek().text == text;
  }
  bool skipOp(const char *text) { return isOp(text) && (++at, true); }
  bool skipName(const char *text) { return isName(text) && (++at, true); }
  void expectOp(const char *text) {
    if (!skipOp(text))
      fail("expected '" + std::string(text) + "', found " + describe(peek()));
  }
  std::string expectName(const char *what) {
    if (peek().kind != Token::Kind::name)
      fail("expected " + std::string(what) + ", found " + describe(peek()));
    return next().text;
  }
  void expectBlockEnd() {
    if (peek().kind != Token::Kind::blockEnd)
      fail("expected '%}', found " + describe(peek()));
    ++at;
  }
  static std::string describe(const Token &t) {
    switch (t.kind) {
    case Token::Kind::blockEnd:
      return "'%}'";
    case Token::Kind::variableEnd:
      return "'}}'";
    case Token::Kind::end:
      return "the end of the template";
    case Token::Kind::string:
      return "a string";
    default:
      return "'" + t.text + "'";
    }
  }
  [[noreturn]] void fail(const std::string &message) const {
    throw TemplateError(message, peek().line);
  }
  [[noreturn]] void unsupported(const std::string &construct) const {
    fail(construct + " is not supported");
  }

  struct Deeper {
    Parser &parser;
    explicit Deeper(Parser &p) : parser(p) {
      p.stack.check();
      if (++p.depth > kMaxParseDepth)
        p.fail("nested deeper than " + std::to_string(kMaxParseDepth) + " levels");
    }
    ~Deeper() { --parser.depth; }
  };

  // ---- Statements
  Body statements(const std::vector<std::string> &ends);
  std::unique_ptr<Statement> statement();
  std::unique_ptr<Statement> conditional(int line);
  std::unique_ptr<Statement> loop(int line);
  std::unique_ptr<Statement> assignment(int line);
  std::unique_ptr<Statement> macro(int line);
  std::unique_ptr<Statement> callBlock(int line);
  void signature(Statement &s);
  void macroBody(Statement &s, const char *end);
  Body bodyUntil(const char *end) {
    Body body = statements({end});
    if (!isName(end))
      fail(std::string("expected {% ") + end + " %}, found " + describe(peek()));
    ++at;
    return body;
  }
  Target target(bool attributes);
  std::unique_ptr<Statement> make(S kind, int line) {
    auto s = std::make_unique<Statement>();
    s->kind = kind;
    s->line = line;
    return s;
  }

  // ---- Expressions, by falling precedence
  ExpressionPtr make(E kind, int line, std::string text = {}) {
    auto e = std::make_unique<Expression>();
    e->kind = kind;
    e->line = line;
    e->text = std::move(text);
    return e;
  }
  template <typename... Kids> ExpressionPtr node(E kind, int line, std::string text, Kids... kids) {
    ExpressionPtr e = make(kind, line, std::move(text));
    (adopt(*e, std::move(kids)), ...);
    return e;
  }
  // Every operand is added here, so that no tree is too deep to evaluate or to free.
  void counted(Expression &parent, const ExpressionPtr &kid) {
    parent.depth = std::max(parent.depth, kid ? kid->depth + 1 : 0);
    if (parent.depth > kMaxChain)
      throw TemplateError("an expression of more than " + std::to_string(kMaxChain) + " operators",
                          parent.line);
  }
  void adopt(Expression &parent, ExpressionPtr kid) {
    counted(parent, kid);
    parent.kids.push_back(std::move(kid));
  }
  ExpressionPtr expression() { return conditionalExpression(); }
  ExpressionPtr tupleExpression(bool conditions = true);
  ExpressionPtr conditionalExpression();
  ExpressionPtr orExpression();
  ExpressionPtr andExpression();
  ExpressionPtr notExpression();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary(bool withFilters);
  ExpressionPtr primary();
  ExpressionPtr postfix(ExpressionPtr e);
  ExpressionPtr subscript(ExpressionPtr e);
  ExpressionPtr filters(ExpressionPtr e, bool onlyFilters = false);
  ExpressionPtr test(ExpressionPtr e);
  void arguments(Expression &call);

  StackGuard stack;
  std::vector<Token> tokens;
  size_t at = 0;
  int depth = 0, loops = 0;
  MacroUses uses; // of the macro that is being read
};

Body Parser::statements(const std::vector<std::string> &ends) {
  Deeper deeper(*this);
  Body body;
  while (true) {
    const Token &t = peek();
    if (t.kind == Token::Kind::end)
      return body;
    if (t.kind == Token::Kind::data) {
      body.push_back(make(S::text, t.line));
      body.back()->text = next().text;
    } else if (t.kind == Token::Kind::variableBegin) {
      auto s = make(S::output, next().line);
      s->value = tupleExpression();
      if (peek().kind != Token::Kind::variableEnd)
        fail("expected '}}', found " + describe(peek()));
      ++at;
      body.push_back(std::move(s));
    } else {
      ++at; // {%
      if (peek().kind == Token::Kind::name &&
          std::find(ends.begin(), ends.end(), peek().text) != ends.end())
        return body; // at the end's name
      body.push_back(statement());
    }
  }
}

std::unique_ptr<Statement> Parser::statement() {
  int line = peek().line;
  if (peek().kind != Token::Kind::name)
    fail("expected a statement, found " + describe(peek()));
  std::string name = next().text;
  if (name == "if")
    return conditional(line);
  if (name == "for")
    return loop(line);
  if (name == "set")
    return assignment(line);
  if (name == "macro")
    return macro(line);
  if (name == "call")
    return callBlock(line);
  if (name == "filter") {
    auto s = make(S::filter, line);
    --at; // read "filter" as the bar before the first filter
    tokens[at] = {Token::Kind::op, "|", line};
    s->value = filters(nullptr, true);
    expectBlockEnd();
    s->body = bodyUntil("endfilter");
    expectBlockEnd();
    return s;
  }
  if (name == "with") { // names of its own for a block
    auto s = make(S::block, line);
    while (peek().kind == Token::Kind::name) {
      std::string variable = target(false).name;
      if (variable.empty())
        unsupported("unpacking in 'with'");
      expectOp("=");
      s->parameters.emplace_back(std::move(variable), expression());
      if (!skipOp(","))
        break;
    }
    expectBlockEnd();
    s->body = bodyUntil("endwith");
    expectBlockEnd();
    return s;
  }
  if (name == "generation") { // marks the assistant's part for training; no effect on the text
    expectBlockEnd();
    auto s = make(S::block, line);
    s->body = bodyUntil("endgeneration");
    expectBlockEnd();
    return s;
  }
  if (name == "break" || name == "continue") {
    --at;
    if (!loops)
      fail("'" + name + "' outside a loop");
    ++at;
    expectBlockEnd();
    return make(name == "break" ? S::breakLoop : S::continueLoop, line);
  }
  --at;
  for (const char *end : {"endif", "endfor", "endset", "endmacro", "endcall", "endfilter",
                          "endwith", "endgeneration", "else", "elif"})
    if (name == end)
      fail("unexpected {% " + name + " %}");
  unsupported("statement '" + name + "'");
}

std::unique_ptr<Statement> Parser::conditional(int line) {
  auto s = make(S::condition, line);
  while (true) {
    ExpressionPtr condition = tupleExpression();
    expectBlockEnd();
    Body body = statements({"elif", "else", "endif"});
    s->branches.emplace_back(std::move(condition), std::move(body));
    if (skipName("elif"))
      continue;
    if (skipName("else")) {
      expectBlockEnd();
      Body otherwise = statements({"endif"});
      s->branches.emplace_back(nullptr, std::move(otherwise));
    }
    if (!skipName("endif"))
      fail("expected {% endif %} for the 'if' of line " + std::to_string(line) + ", found " +
           describe(peek()));
    expectBlockEnd();
    return s;
  }
}

std::unique_ptr<Statement> Parser::loop(int line) {
  auto s = make(S::loop, line);
  s->target = target(false);
  if (!skipName("in"))
    fail("expected 'in', found " + describe(peek()));
  s->value = tupleExpression(false);
  if (skipName("if"))
    s->filter = expression();
  s->recursive = skipName("recursive");
  expectBlockEnd();
  ++loops;
  s->body = statements({"else", "endfor"});
  --loops;
  if (skipName("else")) {
    expectBlockEnd();
    s->otherwise = statements({"endfor"});
  }
  if (!skipName("endfor"))
    fail("expected {% endfor %} for the 'for' of line " + std::to_string(line) + ", found " +
         describe(peek()));
  expectBlockEnd();
  return s;
}

Target Parser::target(bool attributes) {
  Deeper deeper(*this);
  auto one = [&] {
    Target t;
    if (skipOp("(")) {
      t = target(attributes);
      expectOp(")");
      return t;
    }
    t.name = expectName("a name");
    for (const char *reserved : {"true", "false", "none", "True", "False", "None", "not", "and",
                                 "or", "in", "is", "if", "else"})
      if (t.name == reserved)
        fail("cannot assign to '" + t.name + "'");
    if (loops && t.name == "loop")
      fail("cannot assign to 'loop' inside a loop");
    if (attributes && skipOp("."))
      t.attribute = expectName("an attribute");
    return t;
  };
  Target first = one();
  if (!isOp(","))
    return first;
  Target all;
  all.parts.push_back(std::move(first));
  while (skipOp(",")) {
    if (isName("in") || isOp("=") || isOp(")"))
      break;
    all.parts.push_back(one());
  }
  return all;
}

std::unique_ptr<Statement> Parser::assignment(int line) {
  Target where = target(true);
  if (skipOp("=")) {
    auto s = make(S::set, line);
    s->target = std::move(where);
    s->value = tupleExpression();
    expectBlockEnd();
    return s;
  }
  auto s = make(S::setBlock, line);
  s->target = std::move(where);
  if (isOp("|"))
    s->value = filters(nullptr, true);
  expectBlockEnd();
  s->body = bodyUntil("endset");
  expectBlockEnd();
  return s;
}

std::unique_ptr<Statement> Parser::macro(int line) {
  auto s = make(S::macro, line);
  s->text = expectName("the macro's name");
  signature(*s);
  macroBody(*s, "endmacro");
  return s;
}

// {% call(parameters) macro(arguments) %}: the body is the macro's `caller`.
std::unique_ptr<Statement> Parser::callBlock(int line) {
  auto s = make(S::call, line);
  s->text = "caller";
  if (isOp("("))
    signature(*s);
  s->value = expression();
  if (s->value->kind != E::call)
    throw TemplateError("expected a call after 'call'", line);
  macroBody(*s, "endcall");
  return s;
}

void Parser::signature(Statement &s) {
  expectOp("(");
  while (!isOp(")")) {
    std::string name = expectName("a parameter");
    for (const auto &parameter : s.parameters)
      if (parameter.first == name)
        fail("parameter '" + name + "' is there twice");
    ExpressionPtr value;
    if (skipOp("="))
      value = expression();
    else if (!s.parameters.empty() && s.parameters.back().second)
      fail("parameter '" + name + "' without a default follows one with a default");
    s.parameters.emplace_back(name, std::move(value));
    if (!skipOp(","))
      break;
  }
  expectOp(")");
}

void Parser::macroBody(Statement &s, const char *end) {
  expectBlockEnd();
  const int outerLoops = std::exchange(loops, 0);
  const MacroUses outer = std::exchange(uses, MacroUses());
  s.body = bodyUntil(end);
  loops = outerLoops;
  s.uses = uses;
  for (const auto &[name, value] : s.parameters)
    if (uses.caller && name == "caller" && !value)
      throw TemplateError("parameter 'caller' needs a default", s.line);
  uses = {outer.caller || uses.caller, outer.varargs || uses.varargs, outer.kwargs || uses.kwargs};
  expectBlockEnd();
}

// ---- Expressions
// -------------------------------------------------------------------------------------------------

// `conditions` false: "x if y" is not read, because a loop's "if" follows.
ExpressionPtr Parser::tupleExpression(bool conditions) {
  int line = peek().line;
  auto one = [&] { return conditions ? conditionalExpression() : orExpression(); };
  ExpressionPtr first = one();
  if (!isOp(","))
    return first;
  ExpressionPtr tuple = node(E::tuple, line, "", std::move(first));
  while (skipOp(",")) {
    if (peek().kind == Token::Kind::variableEnd || peek().kind == Token::Kind::blockEnd ||
        isOp(")"))
      break;
    adopt(*tuple, one());
  }
  return tuple;
}

ExpressionPtr Parser::conditionalExpression() {
  Deeper deeper(*this);
  int line = peek().line;
  ExpressionPtr e = orExpression();
  while (skipName("if")) {
    ExpressionPtr condition = orExpression(), otherwise;
    if (skipName("else"))
      otherwise = conditionalExpression();
    e = node(E::conditional, line, "", std::move(condition), std::move(e), std::move(otherwise));
  }
  return e;
}

ExpressionPtr Parser::orExpression() {
  ExpressionPtr e = andExpression();
  for (int line = peek().line; skipName("or"); line = peek().line)
    e = node(E::binary, line, "or", std::move(e), andExpression());
  return e;
}

ExpressionPtr Parser::andExpression() {
  ExpressionPtr e = notExpression();
  for (int line = peek().line; skipName("and"); line = peek().line)
    e = node(E::binary, line, "and", std::move(e), notExpression());
  return e;
}

ExpressionPtr Parser::notExpression() {
  Deeper deeper(*this);
  int line = peek().line;
  if (skipName("not"))
    return node(E::unary, line, "not", notExpression());
  return comparison();
}

ExpressionPtr Parser::comparison() {
  int line = peek().line;
  ExpressionPtr e = sum();
  ExpressionPtr chain;
  while (true) {
    std::string op;
    for (const char *candidate : {"==", "!=", "<=", ">=", "<", ">"})
      if (op.empty() && skipOp(candidate))
        op = candidate;
    if (op.empty() && skipName("in"))
      op = "in";
    if (op.empty() && isName("not") && peek(1).kind == Token::Kind::name && peek(1).text == "in") {
      at += 2;
      op = "not in";
    }
    if (op.empty())
      break;
    if (!chain)
      chain = node(E::comparison, line, "", std::move(e));
    chain->operators.push_back(op);
    adopt(*chain, sum());
  }
  return chain ? std::move(chain) : std::move(e);
}

ExpressionPtr Parser::sum() {
  ExpressionPtr e = concatenation();
  while (isOp("+") || isOp("-")) {
    Token op = next();
    e = node(E::binary, op.line, op.text, std::move(e), concatenation());
  }
  return e;
}

ExpressionPtr Parser::concatenation() {
  ExpressionPtr e = product();
  while (isOp("~")) {
    Token op = next();
    e = node(E::binary, op.line, "~", std::move(e), product());
  }
  return e;
}

ExpressionPtr Parser::product() {
  ExpressionPtr e = power();
  while (isOp("*") || isOp("/") || isOp("//") || isOp("%")) {
    Token op = next();
    e = node(E::binary, op.line, op.text, std::move(e), power());
  }
  return e;
}

ExpressionPtr Parser::power() {
  ExpressionPtr e = unary(true);
  while (isOp("**")) {
    Token op = next();
    e = node(E::binary, op.line, "**", std::move(e), unary(true));
  }
  return e;
}

ExpressionPtr Parser::unary(bool withFilters) {
  Deeper deeper(*this);
  ExpressionPtr e;
  int line = peek().line;
  if (skipOp("-"))
    e = node(E::unary, line, "-", unary(false));
  else if (skipOp("+"))
    e = node(E::unary, line, "+", unary(false));
  else
    e = primary();
  e = postfix(std::move(e));
  return withFilters ? filters(std::move(e)) : std::move(e);
}

ExpressionPtr Parser::primary() {
  Token t = next();
  ExpressionPtr e;
  switch (t.kind) {
  case Token::Kind::name:
    if (t.text == "true" || t.text == "True" || t.text == "false" || t.text == "False") {
      e = make(E::constant, t.line);
      e->value = Value(t.text == "true" || t.text == "True");
      return e;
    }
    if (t.text == "none" || t.text == "None") {
      e = make(E::constant, t.line);
      e->value = Value(nullptr);
      return e;
    }
    uses.caller |= t.text == "caller";
    uses.varargs |= t.text == "varargs";
    uses.kwargs |= t.text == "kwargs";
    return make(E::name, t.line, t.text);
  case Token::Kind::string: {
    e = make(E::constant, t.line);
    std::string text = t.text;
    while (peek().kind == Token::Kind::string) // adjacent strings are one
      text += next().text;
    e->value = Value(text);
    return e;
  }
  case Token::Kind::integer:
    e = make(E::constant, t.line);
    e->value = Value(t.integer);
    return e;
  case Token::Kind::real:
    e = make(E::constant, t.line);
    e->value = Value(t.real);
    return e;
  case Token::Kind::op:
    if (t.text == "(") {
      if (skipOp(")"))
        return make(E::tuple, t.line);
      e = tupleExpression();
      expectOp(")");
      return e;
    }
    if (t.text == "[") {
      e = make(E::list, t.line);
      while (!isOp("]")) {
        adopt(*e, expression());
        if (!skipOp(","))
          break;
      }
      expectOp("]");
      return e;
    }
    if (t.text == "{") {
      e = make(E::dict, t.line);
      while (!isOp("}")) {
        adopt(*e, expression());
        expectOp(":");
        adopt(*e, expression());
        if (!skipOp(","))
          break;
      }
      expectOp("}");
      return e;
    }
    break;
  default:
    break;
  }
  if (t.kind != Token::Kind::end)
    --at;
  fail("expected an expression, found " + describe(t));
}

ExpressionPtr Parser::postfix(ExpressionPtr e) {
  while (true) {
    int line = peek().line;
    if (skipOp(".")) {
      if (peek().kind == Token::Kind::integer) {
        ExpressionPtr index = make(E::constant, line);
        index->value = Value(next().integer);
        e = node(E::subscript, line, "", std::move(e), std::move(index));
      } else {
        std::string name = expectName("an attribute");
        e = node(E::attribute, line, name, std::move(e));
      }
    } else if (skipOp("[")) {
      e = subscript(std::move(e));
    } else if (isOp("(")) {
      e = node(E::call, line, "", std::move(e));
      arguments(*e);
    } else {
      return e;
    }
  }
}

ExpressionPtr Parser::subscript(ExpressionPtr e) {
  int line = peek().line;
  ExpressionPtr parts[3];
  bool isSlice = false;
  if (!isOp(":"))
    parts[0] = expression();
  if (isOp(","))
    unsupported("a subscript with several indices");
  for (int i = 1; i < 3 && skipOp(":"); ++i) {
    isSlice = true;
    if (!isOp(":") && !isOp("]"))
      parts[i] = expression();
  }
  expectOp("]");
  if (isSlice)
    return node(E::slice, line, "", std::move(e), std::move(parts[0]), std::move(parts[1]),
                std::move(parts[2]));
  return node(E::subscript, line, "", std::move(e), std::move(parts[0]));
}

void Parser::arguments(Expression &call) {
  expectOp("(");
  bool spread = false, spreadNames = false;
  while (!isOp(")")) {
    const bool isSpread = isOp("*"), isNamedSpread = isOp("**");
    if (spreadNames ||
        (spread && !isNamedSpread && !(peek(1).kind == Token::Kind::op && peek(1).text == "=")))
      fail("an argument after '" + std::string(spreadNames ? "**" : "*") + "'");
    if (isSpread || isNamedSpread) {
      const int line = next().line;
      ExpressionPtr value = expression();
      if (isSpread) {
        adopt(call, node(E::spread, line, "*", std::move(value)));
      } else {
        counted(call, value);
        call.named.emplace_back("", std::move(value));
      }
      spread |= isSpread;
      spreadNames |= isNamedSpread;
    } else if (peek().kind == Token::Kind::name && peek(1).kind == Token::Kind::op &&
               peek(1).text == "=") {
      std::string name = next().text;
      ++at;
      ExpressionPtr value = expression();
      counted(call, value);
      call.named.emplace_back(name, std::move(value));
    } else {
      if (!call.named.empty())
        fail("a positional argument after a named one");
      adopt(call, expression());
    }
    if (!skipOp(","))
      break;
  }
  expectOp(")");
}

// `onlyFilters`: of a block's body; tests and calls do not follow.
ExpressionPtr Parser::filters(ExpressionPtr e, bool onlyFilters) {
  while (true) {
    int line = peek().line;
    if (skipOp("|")) {
      std::string name = expectName("a filter");
      if (!isFilter(name)) {
        --at;
        unsupported("filter '" + name + "'");
      }
      e = node(E::filter, line, name, std::move(e));
      if (isOp("("))
        arguments(*e);
    } else if (!onlyFilters && skipName("is")) {
      e = test(std::move(e));
    } else if (!onlyFilters && isOp("(")) {
      e = node(E::call, line, "", std::move(e));
      arguments(*e);
    } else {
      return e;
    }
  }
}

ExpressionPtr Parser::test(ExpressionPtr e) {
  int line = peek().line;
  bool negated = skipName("not");
  std::string name = expectName("a test");
  if (!isTest(name)) {
    --at;
    unsupported("test '" + name + "'");
  }
  ExpressionPtr result = node(E::test, line, name, std::move(e));
  const Token &t = peek();
  if (isName("is"))
    fail("a test after a test: use 'and' and 'or'");
  bool startsArgument = t.kind == Token::Kind::string || t.kind == Token::Kind::integer ||
                        t.kind == Token::Kind::real ||
                        (t.kind == Token::Kind::op && (t.text == "[" || t.text == "{")) ||
                        (t.kind == Token::Kind::name && t.text != "else" && t.text != "or" &&
                         t.text != "and" && t.text != "if" && t.text != "is" && t.text != "in" &&
                         t.text != "not" && t.text != "recursive");
  if (isOp("("))
    arguments(*result);
  else if (startsArgument)
    adopt(*result, postfix(primary()));
  return negated ? node(E::unary, line, "not", std::move(result)) : std::move(result);
}

} // namespace

Body parse(const std::string &source) {
  if (source.size() > kMaxSourceBytes)
    throw TemplateError("longer than " + std::to_string(kMaxSourceBytes >> 20) + " MB");
  return Parser(source).run();
}

} // namespace m1rt::jinja
