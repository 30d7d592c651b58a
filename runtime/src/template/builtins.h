// Filters, tests, methods and global functions of templates.
#ifndef M1RT_TEMPLATE_BUILTINS_H
#define M1RT_TEMPLATE_BUILTINS_H

#include "template/value.h"

namespace m1rt::jinja {

bool isFilter(const std::string &name);
bool isTest(const std::string &name);
Value applyFilter(const std::string &name, const Value &value, const Arguments &arguments);
bool applyTest(const std::string &name, const Value &value, const Arguments &arguments);

// value.name and value[key] as Jinja resolves them: methods and keys; an undefined value when there
// is none. `keys` false: not those of a dict.
Value attributeOf(const Value &value, const std::string &name, bool keys = true);
Value itemOf(const Value &value, const Value &key);
// none: absent
Value sliceOf(const Value &value, const Value &begin, const Value &end, const Value &step);
// The items that a loop over the value visits.
List iterate(const Value &value);
bool contains(const Value &container, const Value &item);
// format % arguments, as Python formats: %s %r %d %i %u %x %X %f %F %e %E %g %G %%, with (key), the
// flags "-+ 0", width and precision.
String formatPercent(const String &format, const Value &arguments);
// In the middle of `width` characters.
String center(std::string_view text, int64_t width, std::string_view fill = " ");

// range, dict, namespace, joiner, cycler, raise_exception; an undefined value for other names.
Value globalFunction(const std::string &name);

} // namespace m1rt::jinja

#endif
