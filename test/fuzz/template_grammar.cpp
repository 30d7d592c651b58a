// Chat templates that a grammar makes of the input's bytes: most of them parse, so that evaluation
// is what is tried.
#include "template.h"

namespace {

class Writer {
public:
  explicit Writer(fuzz::Choices choices) : choices(choices) {}

  std::string take() {
    body(0);
    return std::move(out);
  }

private:
  static constexpr int deepest = 6;

  const char *pick(std::initializer_list<const char *> list) {
    return list.begin()[choices.below(uint32_t(list.size()))];
  }
  void put(const char *text) { out += text; }

  const char *name() {
    return pick({"a", "b", "ns", "messages", "m", "bos_token", "f", "loop", "x", "y"});
  }

  void atom(int depth) {
    switch (choices.below(9)) {
    case 0:
      return put(pick({"0", "1", "-1", "7", "2.5", "1e300", "9223372036854775807", "100000"}));
    case 1:
      return put(pick({"'a'", "''", "'a,b'", "\"x y\"", "'\xC3\xA4'", "'%s-%d'", "'<think>'"}));
    case 2:
      return put(pick({"true", "false", "none"}));
    case 3: {
      put("[");
      list(depth);
      return put("]");
    }
    case 4:
      put("{'k': ");
      expression(depth + 1);
      put(", ");
      expression(depth + 1);
      put(": 1");
      return put("}");
    case 5:
      put("(");
      expression(depth + 1);
      return put(")");
    case 6:
      put(pick({"range(", "dict(a=", "namespace(a=", "f(", "joiner(", "cycler(", "lipsum("}));
      expression(depth + 1);
      return put(")");
    default:
      return put(name());
    }
  }

  void list(int depth) {
    for (uint32_t i = choices.below(4); i > 0; --i) {
      expression(depth + 1);
      if (i > 1)
        put(", ");
    }
  }

  void postfix(int depth) {
    switch (choices.below(10)) {
    case 0:
      put("|");
      put(pick({"length", "list",     "unique", "sort",      "reverse",    "tojson", "upper",
                "trim",   "first",    "last",   "string",    "int",        "float",  "sum",
                "items",  "dictsort", "abs",    "escape",    "capitalize", "title",  "lower",
                "min",    "max",      "safe",   "wordcount", "count"}));
      return;
    case 1:
      put(pick({"|join(", "|default(", "|replace('a', ", "|map(attribute=", "|selectattr(",
                "|rejectattr(", "|groupby(", "|batch(", "|indent(", "|truncate(", "|round(",
                "|select(", "|attr(", "|slice(", "|center(", "|format("}));
      expression(depth + 1);
      return put(")");
    case 2:
      put("[");
      expression(depth + 1);
      return put("]");
    case 3:
      put("[");
      expression(depth + 1);
      put(":");
      if (choices.below(2))
        expression(depth + 1);
      put(pick({"", ":2", ":-1"}));
      return put("]");
    case 4:
      put(pick({".a", ".role", ".content", ".index", ".k", ".previtem"}));
      return;
    case 5:
      put(pick({".strip(", ".split(", ".startswith(", ".upper(", ".replace('a', ", ".append(",
                ".items(", ".get(", ".update(", ".pop(", ".extend(", ".format(", ".join(",
                ".rstrip(", ".find(", ".count(", ".keys(", ".insert(0, "}));
      list(depth);
      return put(")");
    case 6:
      put(" is ");
      put(pick({"defined", "none", "string", "mapping", "iterable", "number", "not defined",
                "sequence", "even", "callable", "true", "integer", "boolean"}));
      return;
    default:
      return;
    }
  }

  void expression(int depth) {
    if (depth >= deepest || !choices.more())
      return put(name());
    switch (choices.below(6)) {
    case 0:
      expression(depth + 1);
      put(pick({" + ", " - ", " * ", " / ", " // ", " % ", " ** ", " ~ ", " == ", " != ", " < ",
                " >= ", " in ", " not in ", " and ", " or "}));
      return expression(depth + 1);
    case 1:
      put(pick({"not ", "-", "+"}));
      return expression(depth + 1);
    case 2:
      expression(depth + 1);
      put(" if ");
      expression(depth + 1);
      put(" else ");
      return expression(depth + 1);
    default:
      atom(depth);
      for (uint32_t i = choices.below(3); i > 0; --i)
        postfix(depth);
    }
  }

  void statement(int depth) {
    switch (depth >= deepest ? 8 + choices.below(2) : choices.below(10)) {
    case 0:
      put(pick({"{% for x in ", "{%- for x, y in ", "{% for m in messages if "}));
      expression(depth + 1);
      put(pick({" %}", " -%}", " recursive %}"}));
      body(depth + 1);
      put(pick({"", "{% else %}e", "{% break %}", "{% continue %}", "{{ loop(x) }}"}));
      return put("{% endfor %}");
    case 1:
      put("{% if ");
      expression(depth + 1);
      put(" %}");
      body(depth + 1);
      put(pick({"", "{% else %}", "{% elif a %}"}));
      body(depth + 1);
      return put("{% endif %}");
    case 2:
      put(pick({"{% set a = ", "{% set b = ", "{% set ns = namespace(a=1) %}{% set ns.a = ",
                "{% set ns.a = ", "{% set a, b = "}));
      expression(depth + 1);
      return put(" %}");
    case 3:
      put("{% set b %}");
      body(depth + 1);
      return put("{% endset %}");
    case 4:
      put("{% macro f(x, y=");
      expression(depth + 1);
      put(") %}");
      body(depth + 1);
      return put("{% endmacro %}");
    case 5:
      put("{% filter upper %}");
      body(depth + 1);
      return put("{% endfilter %}");
    case 6:
      put("{% call f(");
      list(depth);
      put(") %}");
      body(depth + 1);
      return put("{% endcall %}");
    case 7:
      put("{% raw %}{{ x }}{% endraw %}{# c #}");
      return;
    case 8:
      return put(pick({"text\n", "  ", "<|im_start|>", "\xC3\xA4"}));
    default:
      put("{{ ");
      expression(depth + 1);
      return put(" }}");
    }
  }

  void body(int depth) {
    for (uint32_t i = 1 + choices.below(4); i > 0 && choices.more() && out.size() < 4000; --i)
      statement(depth);
  }

  fuzz::Choices choices;
  std::string out;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz::render(Writer(fuzz::Choices(data, size)).take());
  return 0;
}
