#include "grammar/schema_conjunction.h"
#include "base/shortened.h"
#include <algorithm>
#include <set>

namespace m1rt {

namespace {

using Json = nlohmann::ordered_json;

constexpr int deepestConjunction = 64; // schemas within one another

Json asList(const Json &types) { return types.is_string() ? Json::array({types}) : types; }

bool contains(const Json &list, const Json &value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

/// Integers are numbers; otherwise types have no value in common.
Json commonTypes(const Json &a, const Json &b) {
  Json common = Json::array();
  for (const auto &[some, others] : {std::pair(&a, &b), std::pair(&b, &a)})
    for (const Json &type : *some)
      if ((contains(*others, type) || (type == "integer" && contains(*others, "number"))) &&
          !contains(common, type))
        common.push_back(type);
  return common;
}

class Conjunction {
public:
  Conjunction(const Json &root, const std::string &path) : root(root), path(path) {}

  Status both(Json a, Json b, Json *out, bool *none) {
    *none = false;
    if (a == Json(true))
      a = Json::object();
    if (b == Json(true))
      b = Json::object();
    if (!a.is_object() || !b.is_object())
      return schemaError(path, "expected a schema: an object or true");
    if (++depth > deepestConjunction)
      return schemaError(path, "schemas that must hold together are nested more than 64 deep");
    for (Json *schema : {&a, &b})
      if (!*none && schema->contains("$ref"))
        M1_TRY(expand(schema, none));
    M1_TRY(closed(a, b));
    M1_TRY(closed(b, a));
    *out = a;
    for (const auto &[name, value] : b.items()) {
      if (*none)
        break;
      if (!a.contains(name))
        (*out)[name] = value;
      else
        M1_TRY(merge(name, a[name], value, &(*out)[name], none));
    }
    --depth;
    return {};
  }

private:
  /// What the reference names, with what stands beside it.
  Status expand(Json *schema, bool *none) {
    if (!(*schema)["$ref"].is_string())
      return schemaError(path, "'$ref': expected a string");
    const Json *named = nullptr;
    M1_TRY(schemaOfReference(root, (*schema)["$ref"].get<std::string>(), path, &named));
    Json rest = *schema;
    rest.erase("$ref");
    return both(*named, rest, schema, none);
  }

  /// additionalProperties speaks of what its own schema's properties leave.
  Status closed(const Json &a, const Json &b) const {
    if (!a.contains("additionalProperties") || a["additionalProperties"] == Json(true) ||
        !b.contains("properties") || !b["properties"].is_object())
      return {};
    for (const auto &[name, ignored] : b["properties"].items())
      if (!a.contains("properties") || !a["properties"].is_object() ||
          !a["properties"].contains(name))
        return schemaError(path, "'additionalProperties' beside further 'properties' of a schema "
                                 "that must hold, too, is not supported");
    return {};
  }

  Status merge(const std::string &name, const Json &a, const Json &b, Json *out, bool *none) {
    static const std::set<std::string> silent = {
        "$defs",      "definitions", "title",     "description",  "default",
        "examples",   "example",     "$schema",   "$id",          "$comment",
        "deprecated", "readOnly",    "writeOnly", "discriminator"};
    static const std::set<std::string> lower = {"minItems", "minLength", "minimum",
                                                "exclusiveMinimum"};
    static const std::set<std::string> upper = {"maxItems", "maxLength", "maximum",
                                                "exclusiveMaximum"};
    if (a == b || silent.count(name))
      return {};
    if (name == "type" || name == "enum" || name == "required") {
      const Json some = asList(a), others = asList(b);
      if (!some.is_array() || !others.is_array())
        return schemaError(path, "'" + name + "': expected a list");
      if (name == "required") {
        *out = some;
        for (const Json &value : others)
          if (!contains(some, value))
            out->push_back(value);
        return {};
      }
      *out = Json::array();
      if (name == "type")
        *out = commonTypes(some, others);
      else
        std::copy_if(some.begin(), some.end(), std::back_inserter(*out),
                     [&](const Json &value) { return contains(others, value); });
      *none = out->empty();
      return {};
    }
    if (name == "const") {
      *none = true;
      return {};
    }
    if (lower.count(name) || upper.count(name)) {
      if (!a.is_number() || !b.is_number())
        return schemaError(path, "'" + name + "': expected a number");
      *out = lower.count(name) ? std::max(a, b) : std::min(a, b);
      return {};
    }
    if (name == "items")
      return inner(name, a, b, out);
    if (name == "properties" && a.is_object() && b.is_object()) {
      *out = a;
      for (const auto &[property, schema] : b.items())
        if (a.contains(property))
          M1_TRY(inner(property, a[property], schema, &(*out)[property]));
        else
          (*out)[property] = schema;
      return {};
    }
    return schemaError(path, "'" + name +
                                 "' twice in schemas that must hold together is not "
                                 "supported");
  }

  Status inner(const std::string &name, const Json &a, const Json &b, Json *out) {
    bool none = false;
    M1_TRY(both(a, b, out, &none));
    return none ? schemaError(path,
                              "schemas that must hold together leave no value for '" + name + "'")
                : Status();
  }

  const Json &root;
  const std::string &path;
  int depth = 0;
};

} // namespace

Status schemaError(const std::string &path, const std::string &message) {
  return Status(StatusCode::unsupported, (path.empty() ? "#" : path) + ": " + message);
}

Status schemaOfReference(const Json &root, const std::string &target, const std::string &path,
                         const Json **out) {
  const Json *schema = &root;
  if (target != "#") {
    if (target.rfind("#/", 0) != 0)
      return schemaError(path,
                         "'$ref': expected \"#\" or \"#/…\", got \"" + shortened(target) + "\"");
    for (size_t begin = 2; begin <= target.size();) {
      const size_t end = std::min(target.find('/', begin), target.size());
      std::string name = target.substr(begin, end - begin);
      for (const auto &[escaped, plain] : {std::pair("~1", "/"), std::pair("~0", "~")})
        for (size_t at = 0; (at = name.find(escaped, at)) != std::string::npos; ++at)
          name.replace(at, 2, plain);
      if (!schema->is_object() || !schema->contains(name))
        return schemaError(path, "'$ref': there is no " + shortened(target));
      schema = &(*schema)[name];
      begin = end + 1;
    }
  }
  *out = schema;
  return {};
}

Status bothSchemas(const Json &root, const Json &a, const Json &b, const std::string &path,
                   Json *out, bool *none) {
  return Conjunction(root, path).both(a, b, out, none);
}

} // namespace m1rt
