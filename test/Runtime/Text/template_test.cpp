// Errors of chat templates and the bounds of their evaluation; template_check.py compares what they
// print with Jinja2.
#include "template/chat_template.h"

#include <gtest/gtest.h>

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
      {"\n\n{{ messages | batch(2) }}", "chat template line 3: filter 'batch' is not supported"},
      {"{{ messages is escaped }}", "chat template line 1: test 'escaped' is not supported"},
      {"{{ 'a'.swapcase() }}", "chat template line 1: method 'swapcase' of str is not supported"},
      {"{{ messages.append(1) }}", "chat template line 1: method 'append' of list is not allowed: "
                                   "templates cannot change their input"},
      {"{% for x in y recursive %}{% endfor %}",
       "chat template line 1: a recursive loop is not supported"},
      {"{{ f(*messages) }}", "chat template line 1: '*' before an argument is not supported"},
      {"{{ joiner() }}", "chat template line 1: function 'joiner' is not supported"},
      {"{{ '%s' % 1 }}", "chat template line 1: '%' formatting of strings is not supported"},
      {"{{ raise_exception('no system role') }}",
       "chat template line 1: the template refuses: no system role"},
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
      {"{{ 1 1 }}", "chat template line 1: expected '}}', found '1'"},
      {"{% set ns.a = 1 %}",
       "chat template line 1: cannot assign attribute 'a' of 'ns', which is not a namespace"},
      {"{% break %}", "chat template line 1: 'break' outside a loop"},
      {"{{ '\xff' }}", "chat template: not valid UTF-8 at offset 4"},
  };
  for (const auto &[source, message] : cases)
    EXPECT_EQ(errorOf(source), message) << source;
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
  EXPECT_NE(errorOf("{{ 'abc' * 1000000000 }}").find("longer than 256 MB"), std::string::npos);
  EXPECT_NE(errorOf("{{ range(10**9) }}").find("range: longer than 100000"), std::string::npos);
  EXPECT_NE(errorOf("{{ 10 ** 30 }}").find("past 64 bits"), std::string::npos);
  std::string nested;
  for (int i = 0; i < 300; ++i)
    nested += "{% if true %}";
  EXPECT_NE(errorOf(nested).find("nested deeper than 200 levels"), std::string::npos);
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
