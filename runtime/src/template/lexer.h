// Template source to tokens, with trim_blocks and lstrip_blocks on, as transformers sets Jinja up.
#ifndef M1RT_TEMPLATE_LEXER_H
#define M1RT_TEMPLATE_LEXER_H

#include "template/value.h"

namespace m1rt::jinja {

struct Token {
  enum class Kind : uint8_t {
    data,
    variableBegin,
    variableEnd,
    blockBegin,
    blockEnd,
    name,
    string,
    integer,
    real,
    op,
    end
  };
  Kind kind;
  std::string text; // data, name, string (unescaped), op
  int line;
  int64_t integer = 0;
  double real = 0;
};

// Throws TemplateError with the line.
std::vector<Token> tokenize(const std::string &source);

} // namespace m1rt::jinja

#endif
