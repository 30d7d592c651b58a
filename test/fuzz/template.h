// Renders a template, whatever it is.
#ifndef M1_TEST_FUZZ_TEMPLATE_H
#define M1_TEST_FUZZ_TEMPLATE_H

#include "fuzz.h"
#include "template/budget.h"
#include "template/chat_template.h"

namespace fuzz {

/// A template is refused, fails, or renders the same text each time.
inline void render(const std::string &source) {
  std::string error, first, second;
  auto chat = m1rt::ChatTemplate::parse(source, error);
  if (!chat) {
    FUZZ_CHECK(error.rfind("chat template", 0) == 0);
    return;
  }
  const std::vector<m1rt::ChatMessage> messages = {{"system", "You are \"kind\".\n"},
                                                   {"user", "1 < 2 & 3?"},
                                                   {"assistant", "<think>a</think>b"}};
  auto apply = [&](std::string &out) {
    return chat->apply(messages, true, "<s>", "</s>", out, error);
  };
  const bool renders = apply(first);
  FUZZ_CHECK(renders || error.rfind("chat template", 0) == 0);
  FUZZ_CHECK(!renders || first.size() <= m1rt::jinja::kMaxBytes);
  // Half of the time when for each.
  if (source.size() % 4 == 0 && source.find("strftime_now") == std::string::npos) {
    FUZZ_CHECK(apply(second) == renders);
    FUZZ_CHECK(!renders || first == second);
  }
}

} // namespace fuzz

#endif
