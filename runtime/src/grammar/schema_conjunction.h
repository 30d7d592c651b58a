// Schemas that hold together, as one: what stands beside anyOf, allOf or $ref.
#ifndef M1RT_GRAMMAR_SCHEMA_CONJUNCTION_H
#define M1RT_GRAMMAR_SCHEMA_CONJUNCTION_H

#include "status.h"
#include <nlohmann/json.hpp>

namespace m1rt {

/// The error of a schema at `path` ("" is the whole).
Status schemaError(const std::string &path, const std::string &message);

/// The schema that `target` ("#", "#/…") names in `root`; errors name `path`.
Status schemaOfReference(const nlohmann::ordered_json &root, const std::string &target,
                         const std::string &path, const nlohmann::ordered_json **out);

/// A schema of the values that both `a` and `b` admit; *none is set where their types, listed
/// values or properties leave none. Names of properties keep a's order, b's new ones follow. What
/// cannot be said as one schema is an error that names the keyword, with `path` as its place.
Status bothSchemas(const nlohmann::ordered_json &root, const nlohmann::ordered_json &a,
                   const nlohmann::ordered_json &b, const std::string &path,
                   nlohmann::ordered_json *out, bool *none);

} // namespace m1rt

#endif
