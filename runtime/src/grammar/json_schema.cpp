#include "grammar/json_schema.h"
#include "base/shortened.h"
#include "grammar/number_range.h"
#include "grammar/pattern.h"
#include "grammar/schema_conjunction.h"
#include <algorithm>
#include <cmath>
#include <set>

namespace m1rt {

namespace {

using Json = nlohmann::ordered_json;
using Rule = Grammar::Rule;
using Sequence = Grammar::Sequence;

constexpr size_t mostSymbols = 200000;
// Of all beginnings of an object's names, of which otherKey() makes nodes.
constexpr size_t mostBytesOfBeginnings = 16 << 20;
constexpr size_t deepestSchema = 64;

Sequence joined(std::initializer_list<Sequence> parts) {
  Sequence all;
  for (const Sequence &part : parts)
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

/// Keywords that bear on the value, but for its type.
const std::set<std::string> &constraints() {
  static const std::set<std::string> names = {"properties",
                                              "required",
                                              "additionalProperties",
                                              "items",
                                              "prefixItems",
                                              "minItems",
                                              "maxItems",
                                              "minLength",
                                              "maxLength",
                                              "pattern",
                                              "format",
                                              "minimum",
                                              "maximum",
                                              "exclusiveMinimum",
                                              "exclusiveMaximum",
                                              "enum",
                                              "const",
                                              "anyOf",
                                              "oneOf",
                                              "allOf",
                                              "$ref"};
  return names;
}

bool isOfType(const Json &value, const std::string &type) {
  if (type == "integer")
    return value.is_number_integer() ||
           (value.is_number_float() && std::floor(value.get<double>()) == value.get<double>());
  return (type == "number" && value.is_number()) || (type == "object" && value.is_object()) ||
         (type == "array" && value.is_array()) || (type == "string" && value.is_string()) ||
         (type == "boolean" && value.is_boolean()) || (type == "null" && value.is_null());
}

class SchemaCompiler {
public:
  SchemaCompiler(const Json &root, Grammar &grammar) : root(root), g(grammar) { basics(); }

  Status compile(const Json &schema, const std::string &path, Rule *out);
  Sequence around(Rule value) { return {Grammar::use(space), Grammar::use(value)}; }
  Rule object() const { return anyObject; }

private:
  static Status bad(const std::string &path, const std::string &message) {
    return schemaError(path, message);
  }
  void basics();
  Status compileType(const Json &schema, const std::string &type, const std::string &path,
                     Rule *out);
  Status compileObject(const Json &schema, const std::string &path, Rule *out);
  Status compileArray(const Json &schema, const std::string &path, Rule *out);
  Status compileString(const Json &schema, const std::string &path, Rule *out);
  Status compileNumber(const Json &schema, bool integral, const std::string &path, Rule *out);
  Status compileValues(const Json &schema, const std::string &path, Rule *out);
  struct Bound {
    const char *name;
    bool lower, excluded;
  };
  Status narrow(const Json &schema, Bound bound, bool integral, const std::string &path,
                NumberRange *range) const;
  Status compileAny(const Json &list, const Json *beside, const std::string &path, Rule *out);
  Status compileCombined(const Json &schema, const std::string &path, Rule *out);
  Status reference(const std::string &target, const std::string &path, Rule *out);
  Status count(const Json &schema, const char *name, const std::string &path, uint32_t absent,
               uint32_t *out) const;
  Rule otherKey(const std::set<std::string> &taken);

  const Json &root;
  Grammar &g;
  Rule space = 0, character = 0, plainCharacter = 0, otherScripts = 0, string = 0, number = 0,
       integer = 0, boolean = 0, null = 0, value = 0, anyObject = 0, anyArray = 0;
  std::map<std::string, Rule> references;
  size_t depth = 0;
};

void SchemaCompiler::basics() {
  auto set = [&](uint8_t first, uint8_t last) { return Sequence{g.bytes(bytesFrom(first, last))}; };
  auto one = [&](const char *text) { return g.literal(text); };
  auto use = [](Rule rule) { return Sequence{Grammar::use(rule)}; };
  const ByteSet blank = bytesFrom(' ', ' ') | bytesFrom('\t', '\t');
  space = g.define({{}, one(" "), joined({one("\n"), use(g.repeat({g.bytes(blank)}, 0, 20))})});

  // Characters of strings: anything but quote, backslash and controls, in UTF-8 (RFC 3629, table of
  // section 4), or an escape. Surrogates are only escaped in pairs.
  const Sequence tail = set(0x80, 0xBF);
  ByteSet ascii = bytesFrom(0x20, 0x7F);
  ascii.reset('"').reset('\\');
  otherScripts = g.define({
      joined({set(0xC2, 0xDF), tail}),
      joined({set(0xE0, 0xE0), set(0xA0, 0xBF), tail}),
      joined({set(0xE1, 0xEC), tail, tail}),
      joined({set(0xED, 0xED), set(0x80, 0x9F), tail}),
      joined({set(0xEE, 0xEF), tail, tail}),
      joined({set(0xF0, 0xF0), set(0x90, 0xBF), tail, tail}),
      joined({set(0xF1, 0xF3), tail, tail, tail}),
      joined({set(0xF4, 0xF4), set(0x80, 0x8F), tail, tail}),
  });
  plainCharacter = g.define({{g.bytes(ascii)}, use(otherScripts)});
  ByteSet escapes;
  for (char c : std::string_view("\"\\/bfnrt"))
    escapes.set(uint8_t(c));
  const ByteSet digits = bytesFrom('0', '9');
  const ByteSet hex = digits | bytesFrom('a', 'f') | bytesFrom('A', 'F');
  const ByteSet d = bytesFrom('d', 'd') | bytesFrom('D', 'D');
  const Grammar::Symbol h = g.bytes(hex);
  auto upper = [&](const char *letters) {
    ByteSet bytes;
    for (const char *c = letters; *c; ++c)
      bytes.set(uint8_t(*c));
    return g.bytes(bytes);
  };
  const Sequence notSurrogate1 = {g.bytes(hex & ~d), h, h, h};
  const Sequence notSurrogate2 = {g.bytes(d), g.bytes(bytesFrom('0', '7')), h, h};
  const Sequence pair = joined(
      {{g.bytes(d), upper("89abAB"), h, h}, one("\\u"), {g.bytes(d), upper("cdefCDEF"), h, h}});
  character = g.define({use(plainCharacter), joined({one("\\"), {g.bytes(escapes)}}),
                        joined({one("\\u"), notSurrogate1}), joined({one("\\u"), notSurrogate2}),
                        joined({one("\\u"), pair})});
  string = g.define(
      {joined({one("\""), use(g.repeat(use(character), 0, Grammar::unbounded)), one("\"")})});

  const Sequence digit = {g.bytes(digits)};
  const Rule natural = g.define({one("0"), joined({set('1', '9'), use(g.repeat(digit, 0, 14))})});
  const Rule minus = g.define({{}, one("-")});
  integer = g.define({joined({use(minus), use(natural)})});
  const Rule fraction = g.define({{}, joined({one("."), use(g.repeat(digit, 1, 15))})});
  const Rule sign = g.define({{}, one("+"), one("-")});
  const Rule exponent =
      g.define({{}, joined({{upper("eE")}, use(sign), use(g.repeat(digit, 1, 2))})});
  number = g.define({joined({use(integer), use(fraction), use(exponent)})});
  boolean = g.define({one("true"), one("false")});
  null = g.define({one("null")});

  value = g.declare();
  anyObject = g.declare();
  anyArray = g.declare();
  const Sequence comma = joined({use(space), one(","), use(space)});
  const Sequence member = joined({use(string), use(space), one(":"), use(space), use(value)});
  const Rule members = g.repeat(joined({comma, member}), 0, Grammar::unbounded);
  g.addAlternative(anyObject, joined({one("{"), use(space), one("}")}));
  g.addAlternative(anyObject,
                   joined({one("{"), use(space), member, use(members), use(space), one("}")}));
  const Rule items = g.repeat(joined({comma, use(value)}), 0, Grammar::unbounded);
  g.addAlternative(anyArray, joined({one("["), use(space), one("]")}));
  g.addAlternative(anyArray,
                   joined({one("["), use(space), use(value), use(items), use(space), one("]")}));
  for (Rule rule : {anyObject, anyArray, string, number, boolean, null})
    g.addAlternative(value, use(rule));
}

Status SchemaCompiler::compile(const Json &schema, const std::string &path, Rule *out) {
  if (schema.is_boolean() && schema.get<bool>()) {
    *out = value;
    return {};
  }
  if (!schema.is_object())
    return bad(path, "expected a schema: an object or true");
  if (g.size() > mostSymbols)
    return bad(path, "the schema is too large");
  if (depth >= deepestSchema)
    return bad(path, "schemas are nested more than 64 deep");
  static const std::set<std::string> silent = {
      // about the value
      "type",     "$defs",     "definitions", "title",        "description", "default",
      "examples", "example",   "$schema",     "$id",          "$comment",    "deprecated",
      "readOnly", "writeOnly", "nullable",    "discriminator"};
  for (const auto &[name, ignored] : schema.items())
    if (!silent.count(name) && !constraints().count(name))
      return bad(path, "'" + name + "' is not supported");
  if (schema.contains("nullable") && schema["nullable"] != Json(false))
    return bad(path, "'nullable' is not supported: give null among the types");
  ++depth;
  Status status;
  auto only = [&](const char *name) { // beside a keyword that stands for the whole value
    for (const auto &[other, ignored] : schema.items())
      if (other != name && constraints().count(other))
        return bad(path, std::string("'") + name + "' beside '" + other + "' is not supported");
    return Status();
  };
  if (schema.contains("$ref") || schema.contains("allOf") || schema.contains("anyOf") ||
      schema.contains("oneOf")) {
    status = compileCombined(schema, path, out);
  } else if (schema.contains("const") || schema.contains("enum")) {
    status = only(schema.contains("const") ? "const" : "enum");
    if (status.ok())
      status = compileValues(schema, path, out);
  } else {
    Json types = schema.value("type", Json());
    if (types.is_string())
      types = Json::array({types});
    if (types.is_null() && (schema.contains("properties") || schema.contains("required")))
      types = Json::array({"object"});
    if (types.is_null() && (schema.contains("items") || schema.contains("prefixItems")))
      types = Json::array({"array"});
    if (types.is_null() &&
        std::any_of(constraints().begin(), constraints().end(),
                    [&](const std::string &name) { return schema.contains(name); }))
      types = Json::array({"object", "array", "string", "number", "boolean", "null"});
    if (types.is_null()) {
      *out = value;
    } else if (!types.is_array() || types.empty()) {
      status = bad(path, "'type': expected a name or a list of names");
    } else {
      const Rule any = g.declare();
      for (const Json &type : types) {
        Rule rule = 0;
        if (status.ok())
          status = type.is_string() ? compileType(schema, type.get<std::string>(), path, &rule)
                                    : bad(path, "'type': expected a name or a list of names");
        g.addAlternative(any, {Grammar::use(rule)});
      }
      *out = any;
    }
  }
  --depth;
  return status;
}

Status SchemaCompiler::compileType(const Json &schema, const std::string &type,
                                   const std::string &path, Rule *out) {
  if (type == "object")
    return compileObject(schema, path, out);
  if (type == "array")
    return compileArray(schema, path, out);
  if (type == "string")
    return compileString(schema, path, out);
  if (type == "integer" || type == "number")
    return compileNumber(schema, type == "integer", path, out);
  if (type == "boolean")
    *out = boolean;
  else if (type == "null")
    *out = null;
  else
    return bad(path, "'type': unknown type \"" + shortened(type, 40) + "\"");
  return {};
}

/// The values of const or enum that are of the type, where one is given.
Status SchemaCompiler::compileValues(const Json &schema, const std::string &path, Rule *out) {
  const Json values = schema.contains("const") ? Json::array({schema["const"]}) : schema["enum"];
  if (!values.is_array() || values.empty())
    return bad(path, "'enum': expected a list of values");
  Json types = schema.value("type", Json());
  if (types.is_string())
    types = Json::array({types});
  if (!types.is_null() && !types.is_array())
    return bad(path, "'type': expected a name or a list of names");
  *out = g.declare();
  bool some = false;
  for (const Json &wanted : values) {
    if (!types.is_null() && std::none_of(types.begin(), types.end(), [&](const Json &type) {
          return type.is_string() && isOfType(wanted, type.get<std::string>());
        }))
      continue;
    some = true;
    g.addAlternative(*out, g.literal(wanted.dump(-1, ' ', false, Json::error_handler_t::replace)));
  }
  return some ? Status() : bad(path, "none of the values is of the 'type'");
}

/// Narrows the range by a keyword, if it is there.
Status SchemaCompiler::narrow(const Json &schema, Bound bound, bool integral,
                              const std::string &path, NumberRange *range) const {
  if (!schema.contains(bound.name))
    return {};
  const std::string name = std::string("'") + bound.name + "'";
  const Json &value = schema[bound.name];
  if (!value.is_number())
    return bad(path, name + ": expected a number");
  int64_t whole = 0;
  if (value.is_number_integer() &&
      (!value.is_number_unsigned() || value.get<uint64_t>() <= uint64_t(INT64_MAX))) {
    whole = value.get<int64_t>();
  } else {
    const double real = value.get<double>();
    if (std::abs(real) >= 9e18) // beyond what numbers reach
      return bound.lower == (real < 0) ? Status() : bad(path, name + " leaves no number");
    const double rounded = bound.lower ? std::ceil(real) : std::floor(real);
    if (rounded != real && !integral)
      return bad(path, name + " of numbers: only whole values are supported");
    bound.excluded &= rounded == real;
    whole = int64_t(rounded);
  }
  if (integral && bound.excluded) {
    if (whole == (bound.lower ? INT64_MAX : INT64_MIN))
      return bad(path, name + " leaves no number");
    whole += bound.lower ? 1 : -1;
    bound.excluded = false;
  }
  std::optional<int64_t> &end = bound.lower ? range->least : range->most;
  bool &open = bound.lower ? range->leastExcluded : range->mostExcluded;
  if (!end || (bound.lower ? whole > *end : whole < *end)) {
    end = whole;
    open = bound.excluded;
  } else if (whole == *end) {
    open |= bound.excluded;
  }
  return {};
}

Status SchemaCompiler::compileNumber(const Json &schema, bool integral, const std::string &path,
                                     Rule *out) {
  NumberRange range;
  for (const Bound &bound :
       {Bound{"minimum", true, false}, Bound{"maximum", false, false},
        Bound{"exclusiveMinimum", true, true}, Bound{"exclusiveMaximum", false, true}})
    M1_TRY(narrow(schema, bound, integral, path, &range));
  if (range.empty())
    return bad(path, "'minimum' and 'maximum' leave no number");
  if (!range.bounded())
    *out = integral ? integer : number;
  else
    *out = integral ? integersIn(range, &g) : numbersIn(range, &g);
  return {};
}

/// Schemas that another is made of, with what stands beside them.
Status SchemaCompiler::compileCombined(const Json &schema, const std::string &path, Rule *out) {
  const char *name = schema.contains("$ref")    ? "$ref"
                     : schema.contains("allOf") ? "allOf"
                     : schema.contains("anyOf") ? "anyOf"
                                                : "oneOf";
  const Json &parts = schema[name];
  Json beside = schema;
  beside.erase(name);
  const bool more = beside.contains("type") ||
                    std::any_of(constraints().begin(), constraints().end(),
                                [&](const std::string &other) { return beside.contains(other); });
  const std::string place = path + "/" + name;
  if (name == std::string_view("$ref")) {
    if (!parts.is_string())
      return bad(path, "'$ref': expected a string");
    if (!more)
      return reference(parts.get<std::string>(), path, out);
  } else if (!parts.is_array() || parts.empty()) {
    return bad(place, "expected a list of schemas");
  }
  if (name == std::string_view("anyOf") || name == std::string_view("oneOf"))
    return compileAny(parts, more ? &beside : nullptr, place, out);
  if (!more && parts.size() == 1)
    return compile(parts[0], place + "/0", out);
  Json all = beside;
  bool none = false;
  if (name == std::string_view("$ref")) {
    M1_TRY(bothSchemas(root, {{"$ref", parts}}, beside, path, &all, &none));
  } else {
    for (size_t i = 0; i < parts.size() && !none; ++i) {
      const Json before = all;
      M1_TRY(bothSchemas(root, before, parts[i], place + "/" + std::to_string(i), &all, &none));
    }
  }
  return none ? bad(path, "schemas that must hold together leave no value")
              : compile(all, path, out);
}

Status SchemaCompiler::compileAny(const Json &list, const Json *beside, const std::string &path,
                                  Rule *out) {
  *out = g.declare();
  bool some = false;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string place = path + "/" + std::to_string(i);
    Json narrowed;
    bool none = false;
    if (beside)
      M1_TRY(bothSchemas(root, *beside, list[i], place, &narrowed, &none));
    if (none)
      continue;
    Rule rule = 0;
    M1_TRY(compile(beside ? narrowed : list[i], place, &rule));
    g.addAlternative(*out, {Grammar::use(rule)});
    some = true;
  }
  return some ? Status() : bad(path, "what stands beside it leaves no value");
}

Status SchemaCompiler::reference(const std::string &target, const std::string &path, Rule *out) {
  auto known = references.find(target);
  if (known != references.end()) {
    *out = known->second;
    return {};
  }
  const Json *schema = nullptr;
  M1_TRY(schemaOfReference(root, target, path, &schema));
  // Declared first: the schema may refer to itself.
  const Rule rule = g.declare();
  references[target] = rule;
  Rule body = 0;
  M1_TRY(compile(*schema, target, &body));
  if (body == rule)
    return bad(path, "'$ref': " + target + " refers to itself and nothing else");
  g.addAlternative(rule, {Grammar::use(body)});
  *out = rule;
  return {};
}

Status SchemaCompiler::count(const Json &schema, const char *name, const std::string &path,
                             uint32_t absent, uint32_t *out) const {
  *out = absent;
  if (!schema.contains(name))
    return {};
  if (!schema[name].is_number_unsigned() || schema[name].get<uint64_t>() > 10000)
    return bad(path, std::string("'") + name + "': expected an integer from 0 to 10000");
  *out = schema[name].get<uint32_t>();
  return {};
}

Status SchemaCompiler::compileString(const Json &schema, const std::string &path, Rule *out) {
  for (const char *name : {"pattern", "format"}) {
    if (!schema.contains(name))
      continue;
    if (!schema[name].is_string())
      return bad(path, std::string("'") + name + "': expected a string");
    for (const char *other : {"minLength", "maxLength", "pattern", "format"})
      if (std::string_view(other) != name && schema.contains(other))
        return bad(path, std::string("'") + name + "' beside '" + other + "' is not supported");
    std::string pattern = schema[name].get<std::string>();
    if (std::string_view(name) == "format") {
      const char *known = patternOfFormat(pattern);
      if (!known)
        return bad(path, "'format': \"" + shortened(pattern, 40) + "\" is not supported");
      pattern = known;
    }
    const Rule anything = g.repeat({Grammar::use(character)}, 0, Grammar::unbounded);
    Rule content = 0;
    Status status = grammarOfPattern(pattern, {Grammar::use(anything)}, &g, &content);
    if (!status.ok())
      return bad(path, "'pattern': " + status.message());
    *out = g.define({joined({g.literal("\""), {Grammar::use(content)}, g.literal("\"")})});
    return {};
  }
  uint32_t least = 0, most = 0;
  M1_TRY(count(schema, "minLength", path, 0, &least));
  M1_TRY(count(schema, "maxLength", path, Grammar::unbounded, &most));
  if (least > most)
    return bad(path, "'minLength' is larger than 'maxLength'");
  if (least == 0 && most == Grammar::unbounded) {
    *out = string;
    return {};
  }
  const Rule content = g.repeat({Grammar::use(character)}, least, most);
  *out = g.define({joined({g.literal("\""), {Grammar::use(content)}, g.literal("\"")})});
  return {};
}

Status SchemaCompiler::compileArray(const Json &schema, const std::string &path, Rule *out) {
  uint32_t least = 0, most = 0;
  M1_TRY(count(schema, "minItems", path, 0, &least));
  M1_TRY(count(schema, "maxItems", path, Grammar::unbounded, &most));
  std::vector<Rule> leading; // of prefixItems
  if (schema.contains("prefixItems")) {
    if (!schema["prefixItems"].is_array())
      return bad(path, "'prefixItems': expected a list of schemas");
    for (size_t i = 0; i < schema["prefixItems"].size(); ++i) {
      leading.emplace_back();
      M1_TRY(compile(schema["prefixItems"][i], path + "/prefixItems/" + std::to_string(i),
                     &leading.back()));
    }
  }
  Rule item = value;
  const Json items = schema.value("items", Json(true));
  if (items == Json(false))
    most = std::min<uint32_t>(most, uint32_t(leading.size()));
  else
    M1_TRY(compile(items, path + "/items", &item));
  if (least > most)
    return bad(path, "'minItems' is larger than 'maxItems' or than there are items");

  const Sequence comma = joined({{Grammar::use(space)}, g.literal(","), {Grammar::use(space)}});
  // rest(i): what may follow i items, back to front.
  const uint32_t fixed = std::max<uint32_t>(uint32_t(leading.size()), least);
  auto itemAt = [&](uint32_t i) { return i < leading.size() ? leading[i] : item; };
  auto withComma = [&](uint32_t i, Rule rule) {
    return i == 0 ? Sequence{Grammar::use(rule)} : joined({comma, {Grammar::use(rule)}});
  };
  const uint32_t shown = std::min(fixed, most);
  Rule rest;
  if (most == Grammar::unbounded) {
    const Rule further = g.repeat(withComma(1, item), 0, Grammar::unbounded);
    rest = shown > 0 ? further : g.define({{}, {Grammar::use(item), Grammar::use(further)}});
  } else {
    rest = g.define({{}});
    for (uint32_t i = most; i > shown; --i)
      rest = g.define({joined({withComma(i - 1, item), {Grammar::use(rest)}}), {}});
  }
  for (uint32_t i = shown; i > 0; --i) {
    const Rule next = g.declare();
    g.addAlternative(next, joined({withComma(i - 1, itemAt(i - 1)), {Grammar::use(rest)}}));
    if (i - 1 >= least)
      g.addAlternative(next, {});
    rest = next;
  }
  *out = g.define({joined({g.literal("["),
                           {Grammar::use(space), Grammar::use(rest), Grammar::use(space)},
                           g.literal("]")})});
  return {};
}

/// A string without escapes that is none of the taken ones.
Rule SchemaCompiler::otherKey(const std::set<std::string> &taken) {
  const Rule free = g.repeat({Grammar::use(plainCharacter)}, 0, Grammar::unbounded);
  // By what has been said; every one is the beginning of a key.
  std::map<std::string, Rule> nodes = {{"", 0}};
  for (const std::string &key : taken)
    for (size_t n = 0; n <= key.size(); ++n)
      nodes.emplace(key.substr(0, n), 0);
  for (auto &[prefix, rule] : nodes)
    rule = g.declare();
  const Sequence quote = g.literal("\"");
  for (const auto &[prefix, rule] : nodes) {
    ByteSet others = bytesFrom(0x20, 0x7F);
    others.reset('"').reset('\\');
    for (unsigned byte = 0x20; byte < 0x80; ++byte) { // a key departs from taken ones in ASCII
      auto next = nodes.find(prefix + char(byte));
      if (next == nodes.end() || !others.test(byte))
        continue;
      others.reset(byte);
      g.addAlternative(
          rule, joined({g.literal(std::string(1, char(byte))), {Grammar::use(next->second)}}));
    }
    g.addAlternative(rule, joined({{g.bytes(others), Grammar::use(free)}, quote}));
    auto beyond = nodes.upper_bound(prefix + '\x7F'); // of the keys that go on in other scripts
    if (beyond == nodes.end() || beyond->first.compare(0, prefix.size(), prefix) != 0)
      g.addAlternative(rule, joined({{Grammar::use(otherScripts), Grammar::use(free)}, quote}));
    if (!taken.count(prefix))
      g.addAlternative(rule, quote);
  }
  return g.define({joined({quote, {Grammar::use(nodes.at(""))}})});
}

Status SchemaCompiler::compileObject(const Json &schema, const std::string &path, Rule *out) {
  const Json properties = schema.value("properties", Json::object());
  const Json required = schema.value("required", Json::array());
  const Json further = schema.value("additionalProperties", Json(properties.empty()));
  if (!properties.is_object())
    return bad(path, "'properties': expected an object of schemas");
  if (!required.is_array())
    return bad(path, "'required': expected a list of names");
  std::set<std::string> names, needed;
  for (const auto &[name, ignored] : properties.items())
    names.insert(name);
  for (const Json &name : required) {
    if (!name.is_string() || !names.count(name.get<std::string>()))
      return bad(path, "'required': expected names of 'properties'");
    needed.insert(name.get<std::string>());
  }
  const Sequence use = {Grammar::use(space)};
  const Sequence comma = joined({use, g.literal(","), use});
  const Sequence colon = joined({use, g.literal(":"), use});
  struct Member {
    Sequence text;
    bool needed;
  };
  std::vector<Member> members;
  for (const auto &[name, member] : properties.items()) {
    Rule rule = 0;
    M1_TRY(compile(member, path + "/properties/" + name, &rule));
    members.push_back(
        {joined({g.literal(Json(name).dump(-1, ' ', false, Json::error_handler_t::replace)),
                 colon,
                 {Grammar::use(rule)}}),
         needed.count(name) > 0});
  }
  // What may follow member i, when one has been said before (so that a comma comes first) or none.
  Rule said = g.define({{}}), unsaid = said;
  if (further != Json(false)) {
    size_t beginnings = 0;
    for (const std::string &name : names) {
      const size_t size = std::min(name.size(), mostBytesOfBeginnings); // whose square fits
      beginnings += std::min(size * size / 2, mostBytesOfBeginnings);
      if (beginnings >= mostBytesOfBeginnings)
        return bad(path, "'properties': the names are too long beside additionalProperties");
    }
    Rule rule = 0;
    M1_TRY(compile(further, path + "/additionalProperties", &rule));
    const Sequence other = joined({{Grammar::use(otherKey(names))}, colon, {Grammar::use(rule)}});
    said = g.repeat(joined({comma, other}), 0, Grammar::unbounded);
    unsaid = g.define({{}, joined({other, {Grammar::use(said)}})});
  }
  for (size_t i = members.size(); i > 0; --i) {
    const Member &member = members[i - 1];
    const Rule afterSaid = g.declare(), afterUnsaid = g.declare();
    g.addAlternative(afterSaid, joined({comma, member.text, {Grammar::use(said)}}));
    g.addAlternative(afterUnsaid, joined({member.text, {Grammar::use(said)}}));
    if (!member.needed) {
      g.addAlternative(afterSaid, {Grammar::use(said)});
      g.addAlternative(afterUnsaid, {Grammar::use(unsaid)});
    }
    said = afterSaid;
    unsaid = afterUnsaid;
  }
  *out = g.define({joined({g.literal("{"), use, {Grammar::use(unsaid)}, use, g.literal("}")})});
  return {};
}

} // namespace

Status grammarOfSchema(const Json &schema, Grammar *out) {
  SchemaCompiler compiler(schema, *out);
  Rule rule = 0;
  M1_TRY(compiler.compile(schema, "", &rule));
  if (out->size() > mostSymbols)
    return error(StatusCode::unsupported, "#: the schema is too large");
  out->start = out->define({compiler.around(rule)});
  if (out->leftRecursive())
    return error(StatusCode::unsupported, "#: a '$ref' leads back to itself without anything said");
  return {};
}

void grammarOfObjects(Grammar *out) {
  const Json none = Json::object();
  SchemaCompiler compiler(none, *out);
  out->start = out->define({compiler.around(compiler.object())});
}

} // namespace m1rt
