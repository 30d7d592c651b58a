// JSON Schema as a grammar of the texts that it admits.
#ifndef M1RT_GRAMMAR_JSON_SCHEMA_H
#define M1RT_GRAMMAR_JSON_SCHEMA_H

#include "grammar/grammar.h"
#include "status.h"
#include <nlohmann/json.hpp>

namespace m1rt {

/// Every text of the grammar is JSON that the schema admits; the grammar is narrower than that.
/// Members of objects come in the order of `properties`, further ones after them, and only where
/// additionalProperties asks for them or there are no properties. Between things stands no blank,
/// one, or a new line and up to 20 blanks; numbers have at most 15 digits before the point and 15
/// after it, but integers as many as their bounds.
///
/// Understood: type (also a list), properties, required, additionalProperties, items, prefixItems,
/// minItems, maxItems, minLength, maxLength, pattern (pattern.h), format where patternOfFormat()
/// knows it, minimum, maximum, exclusiveMinimum and exclusiveMaximum (whole ones, but for
/// integers), enum, const, anyOf, oneOf (as anyOf), allOf, $ref into the same schema ("#", "#/…"),
/// each with what stands beside it (schema_conjunction.h), $defs, definitions, and what says
/// nothing about the value (title, description, …).
/// Anything else is an error that names its place, as is a grammar that would become very large.
Status grammarOfSchema(const nlohmann::ordered_json &schema, Grammar *out);

/// Any JSON object.
void grammarOfObjects(Grammar *out);

} // namespace m1rt

#endif
