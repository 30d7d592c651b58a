// Binds the arguments of a built-in to its parameters.
#ifndef M1RT_TEMPLATE_ARGUMENTS_H
#define M1RT_TEMPLATE_ARGUMENTS_H

#include "template/value.h"

#include <initializer_list>

namespace m1rt::jinja {

class Bound {
public:
  // `what` names the callee in messages. Every argument must match one of `names`; the first
  // `required` must be there.
  Bound(const std::string &what, const Arguments &arguments,
        std::initializer_list<const char *> names, size_t required = 0)
      : what(what), values(names.size(), nullptr), names(names) {
    if (arguments.positional.size() > names.size())
      throw TemplateError(what + " takes at most " + std::to_string(names.size()) +
                          " arguments, got " + std::to_string(arguments.positional.size()));
    for (size_t i = 0; i < arguments.positional.size(); ++i)
      values[i] = &arguments.positional[i];
    for (const auto &[name, value] : arguments.named) {
      size_t i = 0;
      while (i < this->names.size() && name != this->names[i])
        ++i;
      if (i == this->names.size() || values[i])
        throw TemplateError(what + " has no argument '" + name + "' left to set");
      values[i] = &value;
    }
    for (size_t i = 0; i < required; ++i)
      if (!values[i])
        throw TemplateError(what + " needs the argument '" + this->names[i] + "'");
  }
  bool has(size_t i) const { return values[i] && !values[i]->is(Value::Kind::none); }
  const Value &operator[](size_t i) const { return *values[i]; }
  bool truth(size_t i, bool absent) const { return values[i] ? values[i]->truth() : absent; }
  String string(size_t i, std::string_view absent = {}) const {
    if (!has(i))
      return String(absent);
    if (!values[i]->is(Value::Kind::string))
      throw wrongType(i, "str");
    return values[i]->text();
  }
  int64_t integer(size_t i, int64_t absent) const {
    if (!has(i))
      return absent;
    if (!values[i]->isIntegral())
      throw wrongType(i, "int");
    return values[i]->number;
  }

private:
  TemplateError wrongType(size_t i, const char *expected) const {
    return TemplateError(what + ": argument '" + names[i] + "' is a " + values[i]->typeName() +
                         ", expected " + expected);
  }
  std::string what;
  std::vector<const Value *> values;
  std::vector<const char *> names;
};

} // namespace m1rt::jinja

#endif
