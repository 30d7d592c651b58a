// Attributes, methods, items and slices of values, and the global functions.
#include "template/arguments.h"
#include "template/builtins.h"
#include "template/text.h"

#include <algorithm>
#include <set>

namespace m1rt::jinja {
namespace {

using Kind = Value::Kind;

Value strings(const Strings &parts) { return List(parts.begin(), parts.end()); }

const std::set<std::string> kStringMethods = {
    "strip",    "lstrip",  "rstrip",       "split",        "rsplit",     "splitlines", "startswith",
    "endswith", "upper",   "lower",        "title",        "capitalize", "replace",    "find",
    "rfind",    "count",   "join",         "isdigit",      "isalpha",    "isspace",    "isupper",
    "islower",  "isalnum", "removeprefix", "removesuffix", "format",     "zfill",      "index",
    "center",   "ljust",   "rjust"};
const std::set<std::string> kOtherStringMethods = {
    "encode",     "expandtabs", "format_map",  "isascii",   "isdecimal", "isidentifier",
    "isnumeric",  "istitle",    "isprintable", "maketrans", "partition", "rindex",
    "rpartition", "swapcase",   "casefold",    "translate"};

bool hasAffix(std::string_view text, const Value &affix, bool atStart) {
  if (affix.is(Kind::tuple))
    return std::any_of(affix.items().begin(), affix.items().end(),
                       [&](const Value &v) { return hasAffix(text, v, atStart); });
  if (!affix.is(Kind::string))
    throw TemplateError(std::string(atStart ? "startswith" : "endswith") +
                        " needs a str or a tuple of str, got " + affix.typeName());
  const String &a = affix.text();
  return text.size() >= a.size() &&
         text.compare(atStart ? 0 : text.size() - a.size(), a.size(), a) == 0;
}

String repeat(std::string_view text, int64_t times) {
  String out;
  times = std::clamp<int64_t>(times, 0, kMaxBytes + 1);
  out.reserve(text.size() * static_cast<size_t>(times));
  for (int64_t i = 0; i < times; ++i)
    out += text;
  return out;
}

// str.format for {}, {0} and {name}; format specifications are refused.
String format(const String &text, const Arguments &arguments) {
  String out;
  size_t automatic = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((text[i] == '{' || text[i] == '}') && i + 1 < text.size() && text[i + 1] == text[i]) {
      out += text[i++];
      continue;
    }
    if (text[i] == '}')
      throw TemplateError("format: single '}' in the format string");
    if (text[i] != '{') {
      out += text[i];
      continue;
    }
    size_t close = text.find('}', i);
    if (close == String::npos)
      throw TemplateError("format: single '{' in the format string");
    std::string name = plain(std::string_view(text).substr(i + 1, close - i - 1));
    if (name.find_first_of(":!.[") != std::string::npos)
      throw TemplateError("format: field '{" + name + "}' is not supported");
    const Value *value = nullptr;
    if (name.empty() || name.find_first_not_of("0123456789") == std::string::npos) {
      size_t index = name.empty() ? automatic++ : std::stoul(name.substr(0, 6));
      if (index < arguments.positional.size())
        value = &arguments.positional[index];
    } else {
      for (const auto &[key, v] : arguments.named)
        if (key == name)
          value = &v;
    }
    if (!value)
      throw TemplateError("format: no argument for the field '{" + name + "}'");
    out += value->str();
    i = close;
  }
  return out;
}

Value callString(const String &s, const std::string &name, const Arguments &args) {
  auto all = [&](auto test) {
    CodePoints chars = codePoints(s);
    return Value(!chars.empty() && std::all_of(chars.begin(), chars.end(), test));
  };
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    Bound b(name, args, {"chars"});
    Side side = name == "strip" ? Side::both : name == "lstrip" ? Side::left : Side::right;
    return b.has(0) ? strip(s, side, b.string(0)) : strip(s, side);
  }
  if (name == "split" || name == "rsplit") {
    Bound b(name, args, {"sep", "maxsplit"});
    int64_t limit = b.integer(1, -1);
    if (!b.has(0))
      return strings(splitWhite(s, limit, name == "rsplit"));
    if (b.string(0).empty())
      throw TemplateError(name + ": empty separator");
    return strings(splitBy(s, b.string(0), limit, name == "rsplit"));
  }
  if (name == "splitlines")
    return strings(splitLines(s, Bound(name, args, {"keepends"}).truth(0, false)));
  if (name == "startswith" || name == "endswith")
    return hasAffix(s, Bound(name, args, {"affix"}, 1)[0], name == "startswith");
  if (name == "replace") {
    Bound b(name, args, {"old", "new", "count"}, 2);
    return replaceAll(s, b.string(0), b.string(1), b.integer(2, -1));
  }
  if (name == "find" || name == "rfind" || name == "index") {
    Bound b(name, args, {"sub"}, 1);
    size_t found = name == "rfind" ? findLast(s, b.string(0)) : findText(s, b.string(0), 0);
    if (found == String::npos && name == "index")
      throw TemplateError("index: substring not found");
    return found == String::npos
               ? Value(-1)
               : Value(static_cast<int64_t>(length(std::string_view(s).substr(0, found))));
  }
  if (name == "count") {
    String part = Bound(name, args, {"sub"}, 1).string(0);
    if (part.empty())
      return Value(static_cast<int64_t>(length(s) + 1));
    int64_t n = 0;
    for (size_t at = 0; (at = findText(s, part, at)) != String::npos; at += part.size())
      ++n;
    return n;
  }
  if (name == "join") {
    String out;
    bool first = true;
    Bound b(name, args, {"iterable"}, 1);
    for (const Value &v : iterate(b[0])) {
      if (!v.is(Kind::string))
        throw TemplateError(std::string("join: expected str, found ") + v.typeName());
      if (!first)
        out += s;
      out += v.text();
      first = false;
    }
    return out;
  }
  if (name == "removeprefix" || name == "removesuffix") {
    Bound b(name, args, {"affix"}, 1);
    String affix = b.string(0);
    bool atStart = name == "removeprefix";
    if (!hasAffix(s, b[0], atStart))
      return s;
    return atStart ? s.substr(affix.size()) : s.substr(0, s.size() - affix.size());
  }
  if (name == "format")
    return format(s, args);
  if (name == "zfill") {
    int64_t width = Bound(name, args, {"width"}, 1).integer(0, 0),
            missing = width - static_cast<int64_t>(length(s));
    if (missing <= 0)
      return s;
    if (missing > 1000000)
      throw TemplateError("zfill: width " + std::to_string(width) + " is too large");
    size_t sign = !s.empty() && (s[0] == '-' || s[0] == '+');
    return s.substr(0, sign) + String(static_cast<size_t>(missing), '0') + s.substr(sign);
  }
  if (name == "center" || name == "ljust" || name == "rjust") {
    Bound b(name, args, {"width", "fillchar"}, 1);
    String fill = b.string(1, " ");
    if (length(fill) != 1)
      throw TemplateError(name + ": expected one character to fill with");
    const int64_t width = b.integer(0, 0);
    if (name == "center")
      return center(s, width, fill);
    String padding = repeat(fill, width - static_cast<int64_t>(length(s)));
    return name == "ljust" ? s + padding : padding + s;
  }
  Bound none(name, args, {});
  if (name == "upper")
    return upper(s);
  if (name == "lower")
    return lower(s);
  if (name == "title")
    return titleCase(s);
  if (name == "capitalize")
    return capitalize(s);
  if (name == "isdigit")
    return all(isDigit);
  if (name == "isalpha")
    return all(isAlphabetic);
  if (name == "isspace")
    return all(isSpace);
  if (name == "isalnum")
    return all([](uint32_t c) { return isAlphabetic(c) || isNumeric(c); });
  CodePoints chars =
      codePoints(s); // isupper, islower: no character of the other case and at least one of this
  bool wantUpper = name == "isupper";
  return std::any_of(chars.begin(), chars.end(), wantUpper ? isUpper : isLower) &&
         std::none_of(chars.begin(), chars.end(), wantUpper ? isLower : isUpper);
}

// Of Markup: strings among the arguments are escaped, and texts that come out are markup.
Value callMarkup(const Value &self, const std::string &name, const Arguments &args) {
  static const std::set<std::string> asWritten = {"startswith", "endswith", "find",  "rfind",
                                                  "index",      "count",    "split", "rsplit"};
  Arguments given = args;
  if (!asWritten.count(name)) {
    for (Value &v : given.positional)
      v = escapedStrings(v);
    for (auto &[key, v] : given.named)
      v = escapedStrings(v);
  }
  Value result = callString(self.text(), name, given);
  if (result.is(Kind::string))
    return Value::markup(result.text());
  if (!result.is(Kind::list))
    return result;
  List parts;
  for (const Value &part : result.items())
    parts.push_back(Value::markup(part.text()));
  return parts;
}

Value callDict(const Value &dict, const std::string &name, const Arguments &args) {
  if (name == "get") {
    Bound b(name, args, {"key", "default"}, 1);
    const Value *v = dict.entries().find(b[0]);
    return v ? *v : args.positional.size() > 1 || !args.named.empty() ? b[1] : Value(nullptr);
  }
  Bound none(name, args, {});
  if (name == "copy")
    return dict;
  List out;
  for (const auto &[key, value] : dict.entries().items())
    out.push_back(name == "items" ? Value::tuple({key, value}) : name == "keys" ? key : value);
  return out;
}

Value callList(const Value &list, const std::string &name, const Arguments &args) {
  Bound b(name, args, {"value"}, 1);
  if (name == "count")
    return static_cast<int64_t>(std::count_if(list.items().begin(), list.items().end(),
                                              [&](const Value &v) { return equal(v, b[0]); }));
  auto it = std::find_if(list.items().begin(), list.items().end(),
                         [&](const Value &v) { return equal(v, b[0]); });
  if (it == list.items().end())
    throw TemplateError("index: " + plain(b[0].repr()) + " is not in the list");
  return static_cast<int64_t>(it - list.items().begin());
}

Value missing(const Value &value, const std::string &name) {
  return Value::undefined("'" + std::string(value.typeName()) + " object' has no attribute '" +
                          name + "'");
}

Value loopAttribute(const Value &value, const std::string &name) {
  const Loop &loop = value.loopState();
  int64_t n = static_cast<int64_t>(loop.items.size()), at = loop.at;
  auto item = [&](int64_t i, const char *none) {
    return i >= 0 && i < n ? loop.items[static_cast<size_t>(i)] : Value::undefined(none);
  };
  if (name == "index")
    return at + 1;
  if (name == "index0")
    return at;
  if (name == "revindex")
    return n - at;
  if (name == "revindex0")
    return n - at - 1;
  if (name == "first")
    return at == 0;
  if (name == "last")
    return at == n - 1;
  if (name == "length")
    return n;
  if (name == "depth" || name == "depth0") // of recursion
    return loop.depth - (name == "depth0");
  if (name == "previtem")
    return item(at - 1, "there is no previous item");
  if (name == "nextitem")
    return item(at + 1, "there is no next item");
  if (name == "cycle")
    return Value::function(name, value, [](const Value &self, const Arguments &a) {
      if (a.positional.empty())
        throw TemplateError("no items for cycling given");
      return a.positional[static_cast<size_t>(self.loopState().at) % a.positional.size()];
    });
  if (name == "changed")
    return Value::function(name, value, [](const Value &self, const Arguments &a) {
      Value current = Value::tuple(a.positional);
      bool changed = !equal(self.loopState().lastChanged, current);
      self.loopState().lastChanged = current;
      return Value(changed);
    });
  return missing(value, name);
}

// One of the state of a joiner or cycler, which templates cannot reach.
const Value &fieldOf(const Value &state, std::string_view name) {
  return *state.entries().find(name);
}

// `self`: (state, cycler). The cycler's own fields can be set by a template; nothing reads them.
void cycleTo(const Value &self, size_t at) {
  const Value state = self.items()[0], cycler = self.items()[1];
  state.fields().set("pos", static_cast<int64_t>(at));
  cycler.fields().set("pos", static_cast<int64_t>(at));
  cycler.fields().set("current", fieldOf(state, "items").items()[at]);
}

Value makeCycler(const Arguments &args) {
  if (args.positional.empty() || !args.named.empty())
    throw TemplateError("cycler: expected one item or more");
  Dict fields;
  fields.set("items", Value::tuple(args.positional));
  const Value cycler = Value::nameSpace(fields),
              self = Value::tuple({Value::nameSpace(fields), cycler});
  cycleTo(self, 0);
  auto reset = [](const Value &self, const Arguments &a) {
    Bound none("reset", a, {});
    cycleTo(self, 0);
    return Value(nullptr);
  };
  auto next = [](const Value &self, const Arguments &a) {
    Bound none("next", a, {});
    const Value state = self.items()[0];
    const List &items = fieldOf(state, "items").items();
    const auto at = static_cast<size_t>(fieldOf(state, "pos").number);
    cycleTo(self, (at + 1) % items.size());
    return items[at];
  };
  cycler.fields().set("reset", Value::function("reset", self, reset));
  cycler.fields().set("next", Value::function("next", self, next));
  return cycler;
}

Value makeJoiner(const Arguments &args) {
  Bound b("joiner", args, {"sep"});
  Dict state;
  state.set("separator", args.positional.empty() && args.named.empty() ? Value(", ") : b[0]);
  state.set("used", false);
  return Value::function("joiner", Value::nameSpace(std::move(state)),
                         [](const Value &self, const Arguments &a) -> Value {
                           Bound none("joiner", a, {});
                           if (fieldOf(self, "used").truth())
                             return fieldOf(self, "separator");
                           self.fields().set("used", true);
                           return Value("");
                         });
}

} // namespace

String center(std::string_view text, int64_t width, std::string_view fill) {
  const int64_t missing = width - static_cast<int64_t>(length(text));
  if (missing <= 0)
    return String(text);
  const int64_t left = missing / 2 + (missing & width & 1); // as Python rounds
  return repeat(fill, left) + String(text) + repeat(fill, missing - left);
}

Value attributeOf(const Value &value, const std::string &name, bool keys) {
  switch (value.kind) {
  case Kind::undefined:
    throw TemplateError(value.message());
  case Kind::string:
    if (kStringMethods.count(name))
      return Value::function(name, value, [name](const Value &self, const Arguments &a) {
        return self.isMarkup() ? callMarkup(self, name, a) : callString(self.text(), name, a);
      });
    if (kOtherStringMethods.count(name))
      throw TemplateError("method '" + name + "' of str is not supported");
    return missing(value, name);
  case Kind::dict:
    if (name == "items" || name == "keys" || name == "values" || name == "get" || name == "copy")
      return Value::function(name, value, [name](const Value &self, const Arguments &a) {
        return callDict(self, name, a);
      });
    for (const char *changing : {"update", "pop", "popitem", "setdefault", "clear"})
      if (name == changing)
        throw TemplateError("method '" + name +
                            "' of dict is not allowed: templates cannot change their input");
    if (const Value *v = keys ? value.entries().find(std::string_view(name)) : nullptr)
      return *v;
    return missing(value, name);
  case Kind::nameSpace:
    if (const Value *v = value.entries().find(std::string_view(name)))
      return *v;
    return missing(value, name);
  case Kind::loop:
    return loopAttribute(value, name);
  case Kind::list:
  case Kind::tuple:
    if (value.is(Kind::tuple) && value.isGroup() && (name == "grouper" || name == "list"))
      return value.items()[name == "list"];
    if (name == "count" || name == "index")
      return Value::function(name, value, [name](const Value &self, const Arguments &a) {
        return callList(self, name, a);
      });
    for (const char *changing :
         {"append", "extend", "insert", "pop", "remove", "reverse", "sort", "clear"})
      if (name == changing && value.is(Kind::list))
        throw TemplateError("method '" + name +
                            "' of list is not allowed: templates cannot change their input");
    return missing(value, name);
  default:
    return missing(value, name);
  }
}

Value itemOf(const Value &value, const Value &key) {
  switch (value.kind) {
  case Kind::undefined:
    throw TemplateError(value.message());
  case Kind::dict:
  case Kind::nameSpace:
    if (const Value *v = value.entries().find(key))
      return *v;
    break;
  case Kind::string:
  case Kind::list:
  case Kind::tuple:
    if (key.isIntegral()) {
      bool isText = value.is(Kind::string);
      int64_t n = static_cast<int64_t>(isText ? length(value.text()) : value.items().size());
      int64_t i = key.number < 0 ? key.number + n : key.number;
      if (i < 0 || i >= n)
        return Value::undefined(std::string(value.typeName()) + " object has no element " +
                                std::to_string(key.number));
      if (!isText)
        return value.items()[static_cast<size_t>(i)];
      size_t at = 0;
      for (uint32_t c = nextCodePoint(value.text(), at);; c = nextCodePoint(value.text(), at))
        if (i-- == 0)
          return value.isMarkup() ? Value::markup(fromCodePoint(c)) : Value(fromCodePoint(c));
    }
    break;
  default:
    break;
  }
  if (key.is(Kind::string))
    return attributeOf(value, plain(key.text()));
  return Value::undefined(std::string(value.typeName()) + " object has no element " +
                          (key.is(Kind::undefined) ? "undefined" : plain(key.repr())));
}

Value sliceOf(const Value &value, const Value &begin, const Value &end, const Value &step) {
  if (value.is(Kind::undefined))
    throw TemplateError(value.message());
  if (!value.is(Kind::string) && !value.isSequence())
    throw TemplateError(std::string("a ") + value.typeName() + " cannot be sliced");
  CodePoints chars;
  if (value.is(Kind::string))
    chars = codePoints(value.text());
  int64_t n = static_cast<int64_t>(value.is(Kind::string) ? chars.size() : value.items().size());
  auto number = [&](const Value &v, int64_t absent) {
    if (v.is(Kind::none))
      return absent;
    if (!v.isIntegral())
      throw TemplateError(std::string("slice indices must be int, got ") + v.typeName());
    return v.number;
  };
  int64_t by = number(step, 1);
  if (by == 0)
    throw TemplateError("slice step cannot be zero");
  auto clamp = [&](const Value &v, int64_t absent) {
    if (v.is(Kind::none))
      return absent;
    int64_t i = number(v, 0);
    if (i < 0)
      i += n;
    return by > 0 ? std::clamp<int64_t>(i, 0, n) : std::clamp<int64_t>(i, -1, n - 1);
  };
  int64_t from = clamp(begin, by > 0 ? 0 : n - 1), to = clamp(end, by > 0 ? n : -1);
  List items;
  String picked;
  for (int64_t i = from; by > 0 ? i < to : i > to; i += by) {
    if (value.is(Kind::string))
      appendCodePoint(chars[static_cast<size_t>(i)], picked);
    else
      items.push_back(value.items()[static_cast<size_t>(i)]);
    // the next index would leave the range, or overflow
    if ((by > 0 && i > n - by) || (by < 0 && i < -by))
      break;
  }
  if (value.is(Kind::string))
    return value.isMarkup() ? Value::markup(picked) : Value(picked);
  if (const Value::Range *range = value.asRange()) {
    int64_t start = 0, stop = 0, stride = 0;
    const bool overflow = __builtin_mul_overflow(from, range->step, &start) ||
                          __builtin_add_overflow(start, range->start, &start) ||
                          __builtin_mul_overflow(to, range->step, &stop) ||
                          __builtin_add_overflow(stop, range->start, &stop) ||
                          __builtin_mul_overflow(by, range->step, &stride);
    return overflow ? Value::tuple(items) : Value::range(start, stop, stride);
  }
  return value.is(Kind::tuple) ? Value::tuple(items) : Value(items);
}

List iterate(const Value &value) {
  List out;
  switch (value.kind) {
  case Kind::undefined:
    return out;
  case Kind::list:
  case Kind::tuple:
    return value.items();
  case Kind::dict:
    for (const auto &entry : value.entries().items())
      out.push_back(entry.first);
    return out;
  case Kind::string:
    for (size_t at = 0; at < value.text().size();)
      out.push_back(fromCodePoint(nextCodePoint(value.text(), at)));
    return out;
  default:
    throw TemplateError(std::string("a value of type ") + value.typeName() +
                        " cannot be iterated over");
  }
}

bool contains(const Value &container, const Value &item) {
  if (container.is(Kind::string)) {
    if (!item.is(Kind::string))
      throw TemplateError(std::string("'in' needs a str on its left for a str on its right, got ") +
                          item.typeName());
    return findText(container.text(), item.text(), 0) != String::npos;
  }
  if (container.is(Kind::dict))
    return container.entries().find(item) != nullptr;
  List held;
  if (!container.isSequence())
    held = iterate(container);
  const List &items = container.isSequence() ? container.items() : held;
  return std::any_of(items.begin(), items.end(), [&](const Value &v) { return equal(v, item); });
}

Value globalFunction(const std::string &name) {
  if (name == "range")
    return Value::function(name, Value(), [](const Value &, const Arguments &args) {
      Bound b("range", args, {"start", "stop", "step"}, 1);
      bool one = args.positional.size() == 1;
      int64_t from = one ? 0 : b.integer(0, 0), to = one ? b.integer(0, 0) : b.integer(1, 0),
              by = b.integer(2, 1);
      if (by == 0)
        throw TemplateError("range: step cannot be zero");
      // the limit of Jinja's sandbox
      constexpr __int128 longest = 100000;
      const __int128 span = by > 0 ? static_cast<__int128>(to) - from
                                   : static_cast<__int128>(from) - to,
                     step = by > 0 ? static_cast<__int128>(by) : -static_cast<__int128>(by);
      if (span > 0 && (span + step - 1) / step > longest)
        throw TemplateError("range: longer than 100000");
      return Value::range(from, to, by);
    });
  if (name == "namespace" || name == "dict")
    return Value::function(name, Value(), [name](const Value &, const Arguments &args) {
      Dict fields;
      for (const Value &v : args.positional) {
        if (!v.is(Kind::dict))
          throw TemplateError(name + ": expected a dict, got " + v.typeName());
        for (const auto &[key, value] : v.entries().items())
          fields.set(key, value);
      }
      for (const auto &[key, value] : args.named)
        fields.set(Value(key), value);
      return name == "dict" ? Value(fields) : Value::nameSpace(fields);
    });
  if (name == "raise_exception")
    return Value::function(name, Value(), [](const Value &, const Arguments &args) -> Value {
      Bound b("raise_exception", args, {"message"}, 1);
      throw TemplateError("the template refuses: " + plain(b[0].str()));
    });
  if (name == "cycler")
    return Value::function(name, Value(),
                           [](const Value &, const Arguments &args) { return makeCycler(args); });
  if (name == "joiner")
    return Value::function(name, Value(),
                           [](const Value &, const Arguments &args) { return makeJoiner(args); });
  if (name == "lipsum")
    throw TemplateError("function 'lipsum' is not supported");
  return Value();
}

} // namespace m1rt::jinja
