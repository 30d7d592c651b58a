// Chat templates: Jinja as published templates of Llama 3, Qwen 2.5, DeepSeek-R1 distills and M1
// use it, with the environment that transformers gives them (trim_blocks, lstrip_blocks, loop
// controls, tojson without escapes, raise_exception, strftime_now).
//
// Supported: if/elif/else, for (unpacking, filter, else, loop.*, recursive, break, continue), set
// (names, namespace attributes, unpacking, blocks), macro (with caller, varargs and kwargs), call,
// with, filter and raw blocks, generation markers, all operators, slices, calls (with * and **);
// the filters, tests, methods and functions of filters.cpp and methods.cpp, formats of format.cpp.
// Anything else is an error that names line and construct. Templates cannot change their input, and
// evaluation is bounded in steps, memory and depth (budget.h, docs/text.md).
#ifndef M1RT_TEMPLATE_CHATTEMPLATE_H
#define M1RT_TEMPLATE_CHATTEMPLATE_H

#include "template/value.h"

#include <ctime>

namespace m1rt {

namespace jinja {
struct Statement;
}

struct ChatMessage {
  std::string role, content;
};

class ChatTemplate {
public:
  ~ChatTemplate();
  // Null with `error` ("chat template line 3: …") when the source is outside the supported subset.
  static std::unique_ptr<ChatTemplate> parse(const std::string &source, std::string &error);

  // `variables` is a dict: messages, add_generation_prompt, bos_token, … False with `error` when
  // evaluation fails or the template raises. `now` is what strftime_now formats (local time). Const
  // and safe from several threads.
  bool render(const jinja::Value &variables, std::time_t now, std::string &out,
              std::string &error) const;

  // The usual variables: messages, add_generation_prompt, bos_token, eos_token, tools and documents
  // (none); those of `extra`, if given, beside or instead of them.
  bool apply(const std::vector<ChatMessage> &messages, bool addGenerationPrompt,
             const std::string &bosToken, const std::string &eosToken, std::string &out,
             std::string &error, const jinja::Dict *extra = nullptr) const;

private:
  ChatTemplate();
  std::vector<std::unique_ptr<jinja::Statement>> body;
};

} // namespace m1rt

#endif
