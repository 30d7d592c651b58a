// Errors of chat templates and the bounds of their evaluation; template_check.py compares what they
// print with Jinja2.
#include "../../Support/Sanitized.h"
#include "../../Support/TestSeed.h"
#include "template/chat_template.h"

#include <gtest/gtest.h>

#include <pthread.h>

using namespace m1rt;

namespace {

std::string errorOf(const std::string &source) {
  std::string error, out;
  auto chat = ChatTemplate::parse(source, error);
  if (!chat)
    return error;
  if (chat->apply({{"user", "hi"}}, true, "<s>", "</s>", out, error))
    return "no error: " + out;
  return error;
}

// A construct outside the subset, a mistake in the source or in evaluation is reported with its
// line and name.
TEST(ChatTemplateErrors, NameLineAndConstruct) {
  const std::pair<const char *, const char *> cases[] = {
      {"a\n{% include 'x' %}", "chat template line 2: statement 'include' is not supported"},
      {"{% block a %}{% endblock %}", "chat template line 1: statement 'block' is not supported"},
      {"\n\n{{ messages | xmlattr }}", "chat template line 3: filter 'xmlattr' is not supported"},
      {"{{ messages is escaped }}", "chat template line 1: test 'escaped' is not supported"},
      {"{{ 'a'.swapcase() }}", "chat template line 1: method 'swapcase' of str is not supported"},
      {"{{ messages.append(1) }}", "chat template line 1: method 'append' of list is not allowed: "
                                   "templates cannot change their input"},
      {"{% for x in messages %}\n{{ loop(x) }}{% endfor %}",
       "chat template line 2: a loop that is not recursive cannot be called"},
      {"{{ f(**a, b) }}", "chat template line 1: an argument after '**'"},
      {"{{ lipsum() }}", "chat template line 1: function 'lipsum' is not supported"},
      {"{{ '%c' % 1 }}", "chat template line 1: format '%c' is not supported"},
      {"{{ '%#x' % 1 }}", "chat template line 1: format '%#' is not supported"},
      {"{{ '%*d' % (1, 2) }}",
       "chat template line 1: '*' as the width of a format is not supported"},
      {"{{ '%1000000d' % 1 }}", "chat template line 1: the width of a format is more than 100000"},
      {"{{ '%s %s' % 1 }}", "chat template line 1: not enough arguments for the format"},
      {"{% macro f(a, a) %}{% endmacro %}", "chat template line 1: parameter 'a' is there twice"},
      {"{% call f %}{% endcall %}", "chat template line 1: expected a call after 'call'"},
      {"{{ 1 is integer is true }}",
       "chat template line 1: a test after a test: use 'and' and 'or'"},
      {"{{ raise_exception('no system role') }}",
       "chat template line 1: the template refuses: no system role"},
      {"{{ raise_exception('a\\u0000b\\u001b') }}",
       "chat template line 1: the template refuses: a\\x00b\\x1b"},
      {"{% for m in messages %}\n{{ m.content.x.y }}{% endfor %}",
       "chat template line 2: 'str object' has no attribute 'x'"},
      {"{{ nothing.x }}", "chat template line 1: 'nothing' is undefined"},
      {"{{ 1 + 'a' }}", "chat template line 1: unsupported operand types for '+': int and str"},
      {"{{ 1 // 0 }}", "chat template line 1: division by zero"},
      {"{% if x %}", "chat template line 1: expected {% endif %} for the 'if' of line 1, found the "
                     "end of the template"},
      {"{% endif %}", "chat template line 1: unexpected {% endif %}"},
      {"a\n{{ x", "chat template line 2: expression without an end ('}}')"},
      {"{{ 'abc }}", "chat template line 1: string without an end"},
      {"{# abc", "chat template line 1: comment without an end ('#}')"},
      {"{{ (1] }}", "chat template line 1: unexpected ']'"},
      {"{{ 1 \u2750 2 }}", "chat template line 1: unexpected character '\u2750'"},
      {"{{-\u00e9", "chat template line 1: unexpected character '\u00e9'"},
      {"{% if \U0001f600 %}", "chat template line 1: unexpected character '\U0001f600'"},
      {"{{ 1 1 }}", "chat template line 1: expected '}}', found '1'"},
      {"{% set ns.a = 1 %}",
       "chat template line 1: cannot assign attribute 'a' of 'ns', which is not a namespace"},
      {"{% break %}", "chat template line 1: 'break' outside a loop"},
      {"{{ '\xff' }}", "chat template: not valid UTF-8 at offset 4"},
  };
  for (const auto &[source, message] : cases)
    EXPECT_EQ(errorOf(source), message) << source;
  EXPECT_EQ(errorOf(std::string("{{ 1 \0 }}", 9)),
            "chat template line 1: unexpected character '\\0'");
}

// What a filter, a function or a form of the language asks for, on line 1.
TEST(ChatTemplateErrors, SayWhatIsExpected) {
  const std::pair<const char *, const char *> cases[] = {
      {"{{ strftime_now() }}", "strftime_now takes one format string"},
      {"{% for a, b in [[1]] %}{% endfor %}", "cannot unpack 1 values into 2 names"},
      {"{% for x in [1] recursive %}{{ loop(1, 2) }}{% endfor %}",
       "a recursive loop takes one argument"},
      {"{{ -'a' }}", "bad operand of type str for '-'"},
      {"{{ 9223372036854775807 + 1 }}", "an integer grows past 64 bits"},
      {"{{ [9223372036854775807, 1] | sum }}", "an integer grows past 64 bits"},
      {"{{ 1e300 | int }}", "an integer grows past 64 bits"},
      {"{{ 9223372036854775808 }}", "integer 9223372036854775808 is too large"},
      {"{{ 1e999 | int }}", "int: infinity is no integer"},
      {"{{ 1.5 | round(0, 'up') }}", "round: method 'up' is not known"},
      {"{{ [1] | map() }}", "map needs the argument 'attribute'"},
      {"{{ [1] | map('nope') | list }}", "map: filter 'nope' is not supported"},
      {"{{ [1] | selectattr | list }}", "selectattr and rejectattr need an attribute"},
      {"{{ '%s' | format(1, a=2) }}", "format: expected either positional or named arguments"},
      {"{{ '%(a' % {'a': 1} }}", "incomplete key of a format"},
      {"{{ '%(a)s' % {'b': 1} }}", "no argument for '%(a)'"},
      {"{{ '%' % 1 }}", "incomplete format"},
      {"{{ 'a' % 1 }}", "not all arguments are used by the format"},
      {"{% raw %}x", "raw block without {% endraw %}"},
      {"{{ '}'.format(1) }}", "format: single '}' in the format string"},
      {"{{ '{'.format(1) }}", "format: single '{' in the format string"},
      {"{{ '{0!r}'.format(1) }}", "format: field '{0!r}' is not supported"},
      {"{{ '{1}'.format(1) }}", "format: no argument for the field '{1}'"},
      {"{{ 'a'.split('') }}", "split: empty separator"},
      {"{{ 'a'.index('b') }}", "index: substring not found"},
      {"{{ 'a'.zfill(10**12) }}", "zfill: width 1000000000000 is too large"},
      {"{% for x in [1] %}{{ loop.cycle() }}{% endfor %}", "no items for cycling given"},
      {"{{ [1][::0] }}", "slice step cannot be zero"},
      {"{{ range(1, 2, 0) }}", "range: step cannot be zero"},
      {"{{ dict(1) }}", "dict: expected a dict, got int"},
      {"{{ 'a' | length(1) }}", "length takes at most 0 arguments, got 1"},
      {"{{ 'a' | trim(b=1) }}", "trim has no argument 'b' left to set"},
      {"{{ 'a' | center('x') }}", "center: argument 'width' is a str, expected int"},
      {"{{ 'a' | indent(width=1, width=2) }}", "argument 'width' is given twice"},
      {"{% 1 %}", "expected a statement, found '1'"},
      {"{% for x at y %}{% endfor %}", "expected 'in', found 'at'"},
      {"{% for x in [1] %}{% set loop = 1 %}{% endfor %}", "cannot assign to 'loop' inside a loop"},
      {"{% set true = 2 %}", "cannot assign to 'true'"},
      {"{% with a, b = 1, 2 %}{% endwith %}", "unpacking in 'with' is not supported"},
      {"{{ }}", "expected an expression, found '}}'"},
      {"{{ [1][1, 2] }}", "a subscript with several indices is not supported"},
      {"{{ range(3) | tojson }}", "tojson: a value of type range cannot be JSON"},
  };
  for (const auto &[source, message] : cases)
    EXPECT_EQ(errorOf(source), std::string("chat template line 1: ") + message) << source;
  EXPECT_EQ(errorOf("{{ 9223372036854775807 }}"), "no error: 9223372036854775807");
}

// Neither deep nesting, nor endless recursion, nor long loops, nor huge strings bring the program
// down.
TEST(ChatTemplateErrors, EvaluationIsBounded) {
  std::string deep(100000, '('), chain = "{{ 1", bars = "{{ 'a'";
  for (int i = 0; i < 100000; ++i) {
    chain += "+1";
    bars += "|trim";
  }
  EXPECT_NE(errorOf("{{ " + deep + "1" + std::string(100000, ')') + " }}")
                .find("nested deeper than 200 levels"),
            std::string::npos);
  EXPECT_NE(errorOf(chain + " }}").find("more than 1000 operators"), std::string::npos);
  EXPECT_NE(errorOf(bars + " }}").find("more than 1000 operators"), std::string::npos);
  EXPECT_NE(errorOf("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").find("nested deeper than"),
            std::string::npos);
  EXPECT_NE(errorOf("{{ 'abc' * 1000000000 }}").find("more than 256 MB"), std::string::npos);
  EXPECT_NE(errorOf("{{ range(10**9) }}").find("range: longer than 100000"), std::string::npos);
  EXPECT_NE(errorOf("{{ 10 ** 30 }}").find("past 64 bits"), std::string::npos);
  std::string nested;
  for (int i = 0; i < 300; ++i)
    nested += "{% if true %}";
  EXPECT_NE(errorOf(nested).find("nested deeper than 200 levels"), std::string::npos);
}

// One budget for everything that a template can build or walk: values that double, nest through a
// namespace or hold themselves, texts that grow in a filter, walks over shared parts, quadratic
// searches. Each ends with its error, or its result, in seconds.
TEST(ChatTemplateErrors, OneBudgetForAllThatEvaluationUses) {
  auto grow = [](const std::string &start, const std::string &next, const std::string &use) {
    return "{% set ns = namespace(x=" + start +
           ") %}{% for i in range(100000) %}{% set ns.x = " + next + " %}{% endfor %}" + use;
  };
  const std::string steps = "evaluation takes too many steps",
                    bytes = "evaluation needs more than 256 MB",
                    depth = "a value is nested deeper than 200 levels";
  auto shared = [](const std::string &use) {
    return "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(100) %}{% set ns.x = [ns.x, "
           "ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}" +
           use;
  };
  const std::pair<std::string, std::string> cases[] = {
      {grow("[]", "[ns.x]", "{{ ns.x }}"), depth},
      {grow("1", "{'a': ns.x}", "{{ ns.x == ns.x }}"), depth},
      {grow("1", "(ns.x,)", "{{ ns.x | tojson }}"), depth},
      {grow("'a'", "[ns.x].count", ""), depth},
      {grow("1", "namespace(x=ns.x)", "end"), "no error: end"},
      {grow("'a'", "ns.x ~ ns.x", ""), bytes},
      {grow("'aa'", "ns.x | replace('a', ns.x)", ""), bytes},
      {grow("['aa']", "ns.x + ns.x", ""), bytes},
      {shared("{{ ns.x }}"), steps},
      {shared("{{ ns.x == ns.y }}"), steps},
      {shared("{{ ns.x | tojson }}"), steps},
      {shared("{{ [ns.x, ns.y] | unique | list }}"), steps},
      {"{{ range(100000) | list | unique | list | length }}", "no error: 100000"},
      {"{{ range(100000) | map('string') | unique | sort | last }}", "no error: 99999"},
      {"{% set x = range(100000) | list %}{% for i in x %}{% if -1 in x %}{% endif %}{% endfor %}",
       steps},
      {"{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", steps},
      {"{% set a = 'a' * 1000000 %}{% for i in range(100000) %}{% if 'a' * 500000 ~ 'b' in a %}"
       "{% endif %}{% endfor %}",
       steps},
      {"{{ ('a\n' * 1000000) | indent(1000) }}", bytes},
      {"{{ '{0}{0}{0}{0}{0}{0}{0}{0}'.format('a' * 60000000) }}", bytes},
      {"{% set ns = namespace() %}{% set ns.a = ns %}{% set ns.b = [ns] %}{{ ns.b == ns.b }}"
       "{% for i in range(2) %}{{ loop.changed(loop) }}{% endfor %}",
       "no error: TrueTrueFalse"},
      {"{% set c = cycler(1, 2) %}{% set c.items = 5 %}{% set c.pos = 99 %}{{ c.next() }}"
       "{{ c.next() }}{% set c.self = c %}",
       "no error: 12"},
      {"{{ 'a' | center(10**12) }}", bytes},
      {"{{ [1] | slice(10**12) | list }}", bytes},
      {"{{ ('%100000s' * 10000) % ('a',) }}", "not enough arguments"},
      {"{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "nested deeper than"},
      {"{% macro f() %}{{ caller() }}{% endmacro %}{% macro g() %}{% call f() %}{{ g() }}"
       "{% endcall %}{% endmacro %}{{ g() }}",
       "nested deeper than"},
      {"{% set ns = namespace() %}{% set ns.a = ns %}{{ [ns] }}", "a namespace cannot be printed"},
      {"{% for " + std::string(50000, '(') + "a" + std::string(50000, ')') + " in x %}{% endfor %}",
       "nested deeper than 200 levels"},
      {"{{ 'a' | map(" +
           [] {
             std::string names;
             for (int i = 0; i < 20000; ++i)
               names += "'map', ";
             return names;
           }() +
           "'upper') | list }}",
       ""},
      {std::string((1 << 20) + 1, 'a'), "longer than 1 MB"},
  };
  // Those that use up all steps take seconds with sanitizers: a third of the cases in each run.
  const size_t stride = m1test::repeated(1, 3);
  for (size_t i = m1test::testSeed() % stride; i < std::size(cases); i += stride) {
    const auto &[source, message] = cases[i];
    const std::string said = errorOf(source);
    EXPECT_NE(said.find(message), std::string::npos) << source.substr(0, 200) << "\n"
                                                     << said.substr(0, 200);
  }
}

// On a thread with a small stack deep evaluation and deep parsing end in an error, too.
TEST(ChatTemplateErrors, SmallStacks) {
  const std::string sources[] = {
      "{% macro f(n) %}{% for i in range(1) %}{% set x %}{{ f(n + 1) | upper }}{% endset %}"
      "{% endfor %}{% endmacro %}{{ f(0) }}",
      "{% macro f(n) %}{{ 1 + (2 * [f(n)][0] | int) }}{% endmacro %}{{ f(0) }}",
  };
  for (const std::string &source : sources) {
    std::string message;
    auto run = [&] { message = errorOf(source); };
    auto entry = [](void *f) -> void * {
      (*static_cast<decltype(run) *>(f))();
      return nullptr;
    };
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    ASSERT_EQ(pthread_attr_setstacksize(&attributes, 192 << 10), 0);
    pthread_t thread;
    ASSERT_EQ(pthread_create(&thread, &attributes, entry, &run), 0);
    pthread_join(thread, nullptr);
    pthread_attr_destroy(&attributes);
    EXPECT_NE(message, "");
    EXPECT_NE(message.find("nested deeper than"), std::string::npos) << message.substr(0, 200);
  }
}

// The usual variables reach the template.
TEST(ChatTemplate, AppliesToMessages) {
  std::string error, out;
  auto chat = ChatTemplate::parse(
      "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m.content | trim }}\n{% endfor %}"
      "{% if add_generation_prompt %}[assistant]{% endif %}{{ tools is none }}{{ eos_token }}",
      error);
  ASSERT_TRUE(chat) << error;
  ASSERT_TRUE(
      chat->apply({{"system", "be brief"}, {"user", " 1+1? "}}, true, "<s>", "</s>", out, error))
      << error;
  EXPECT_EQ(out, "<s>[system] be brief\n[user] 1+1?\n[assistant]True</s>");
  EXPECT_FALSE(chat->apply({{"user", "\xc3("}}, true, "", "", out, error));
  EXPECT_EQ(error, "a message is not valid UTF-8 at offset 0");
}

} // namespace
