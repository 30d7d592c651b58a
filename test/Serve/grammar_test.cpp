// Grammars of JSON: what a schema admits, what it refuses, and that whatever the automaton can say
// is JSON that the schema admits.
#include "../Support/TestSeed.h"
#include "grammar/json_schema.h"
#include "grammar/token_grammar.h"
#include "tokenizer/prepare.h"
#include <fstream>
#include <gtest/gtest.h>
#include <random>
#include <unistd.h>

using namespace m1rt;
using Json = nlohmann::ordered_json;

namespace {

bool admits(const char *schema, const std::string &text) {
  Grammar grammar;
  Status status = grammarOfSchema(Json::parse(schema), &grammar);
  EXPECT_TRUE(status.ok()) << status.message();
  GrammarAutomaton automaton(grammar);
  const GrammarAutomaton::State state = automaton.next(automaton.start(), text);
  return state != GrammarAutomaton::dead && automaton.accepts(state);
}

std::string refusal(const std::string &schema) {
  Grammar grammar;
  Status status = grammarOfSchema(Json::parse(schema), &grammar);
  EXPECT_FALSE(status.ok()) << schema;
  return status.message();
}

constexpr char person[] = R"({"type": "object", "properties": {"name": {"type": "string"},
  "age": {"type": "integer"}, "tags": {"type": "array", "items": {"enum": ["a", "b"]}}},
  "required": ["name", "age"], "additionalProperties": false})";

} // namespace

// Every type admits its values and nothing else.
TEST(JsonSchema, Types) {
  const std::vector<std::pair<const char *, std::vector<const char *>>> values = {
      {"string", {R"("")", R"("a\nb")", "\"ä\xF0\x9F\x98\x80\"", R"("\ud83d\ude00")"}},
      {"integer", {"0", "-1", "120"}},
      {"number", {"0.5", "-1e9", "3.25E-2"}},
      {"boolean", {"true", "false"}},
      {"null", {"null"}},
      {"array", {"[]", "[1, \"a\", {}]"}},
      {"object", {"{}", R"({"a": [null], "b": {"c": 1}})"}}};
  for (const auto &[type, ignored] : values)
    for (const auto &[other, texts] : values)
      for (const char *text : texts) {
        const bool same = std::string(type) == other ||
                          (std::string(type) == "number" && std::string(other) == "integer");
        EXPECT_EQ(admits((R"({"type": ")" + std::string(type) + "\"}").c_str(), text), same)
            << type << " " << text;
        EXPECT_TRUE(admits("true", text)) << text;
        EXPECT_TRUE(
            admits(("{\"const\": " + std::string(text) + "}").c_str(), Json::parse(text).dump()))
            << text;
      }
}

// Texts that are no JSON are no part of any grammar.
TEST(JsonSchema, NotJson) {
  for (const char *text :
       {"",         "{",         "{}}",         "[1,]",         "01",
        "1.",       ".5",        "+1",          "tru",          "'a'",
        "\"\n\"",   "\"\\x\"",   "\"\\ud83d\"", "\"\xC0\x80\"", "\"\xED\xA0\x80\"",
        "\"\xFF\"", "{\"a\" 1}", "{a: 1}",      "[1 2]",        "NaN"})
    EXPECT_FALSE(admits("true", text)) << text;
}

TEST(JsonSchema, Objects) {
  EXPECT_TRUE(admits(person, R"({"name": "A", "age": 3})"));
  EXPECT_TRUE(admits(person, R"({"name":"A","age":3,"tags":["a","b"]})"));
  EXPECT_TRUE(admits(person, "{\n  \"name\": \"A\",\n  \"age\": 3\n}"));
  EXPECT_FALSE(admits(person, R"({"name": "A"})"));
  EXPECT_FALSE(admits(person, R"({"name": "A", "age": "3"})"));
  EXPECT_FALSE(admits(person, R"({"name": "A", "age": 3, "tags": ["c"]})"));
  EXPECT_FALSE(admits(person, R"({"name": "A", "age": 3, "more": 1})"));
  // Nothing is required: every subset, in order, and no comma too many.
  const char *optional = R"({"properties": {"a": {"const": 1}, "b": {"const": 2}}})";
  for (const char *text : {"{}", R"({"a":1})", R"({"b":2})", R"({"a":1,"b":2})"})
    EXPECT_TRUE(admits(optional, text)) << text;
  for (const char *text : {"{,}", R"({"a":1,})", R"({,"b":2})", R"({"a":1 "b":2})"})
    EXPECT_FALSE(admits(optional, text)) << text;
}

// Further members come with other names than the declared ones.
TEST(JsonSchema, AdditionalProperties) {
  const char *schema = R"({"properties": {"ab": {"const": 1}},
                           "additionalProperties": {"type": "boolean"}})";
  for (const char *text : {R"({"ab":1,"x":true})", R"({"a":true})", R"({"abc":true})",
                           R"({"":true})", R"({"b":true,"ü":false})"})
    EXPECT_TRUE(admits(schema, text)) << text;
  for (const char *text : {R"({"ab":true})", R"({"x":1})", R"({"x":true,"ab":true})"})
    EXPECT_FALSE(admits(schema, text)) << text;
}

TEST(JsonSchema, ArraysAndLengths) {
  const char *two = R"({"items": {"type": "integer"}, "minItems": 1, "maxItems": 2})";
  EXPECT_FALSE(admits(two, "[]"));
  EXPECT_TRUE(admits(two, "[1]"));
  EXPECT_TRUE(admits(two, "[1, 2]"));
  EXPECT_FALSE(admits(two, "[1, 2, 3]"));
  const char *tuple = R"({"prefixItems": [{"const": 1}, {"const": 2}], "items": false})";
  for (const char *text : {"[]", "[1]", "[1,2]"})
    EXPECT_TRUE(admits(tuple, text)) << text;
  for (const char *text : {"[2]", "[1,2,3]", "[,1]"})
    EXPECT_FALSE(admits(tuple, text)) << text;
  const char *text = R"({"type": "string", "minLength": 2, "maxLength": 3})";
  EXPECT_FALSE(admits(text, R"("a")"));
  EXPECT_TRUE(admits(text, "\"äöü\""));
  EXPECT_FALSE(admits(text, R"("abcd")"));
}

TEST(JsonSchema, ReferencesAndChoices) {
  const char *tree = R"({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object",
    "properties": {"value": {"type": "integer"},
                   "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
    "required": ["value", "next"]}}})";
  EXPECT_TRUE(admits(tree, R"({"value":1,"next":{"value":2,"next":null}})"));
  EXPECT_FALSE(admits(tree, R"({"value":1,"next":{"value":2}})"));
  EXPECT_TRUE(admits(R"({"type": ["integer", "null"]})", "null"));
  EXPECT_TRUE(admits(R"({"type": "integer", "minimum": 0})", "7"));
  EXPECT_FALSE(admits(R"({"type": "integer", "minimum": 0})", "-7"));
}

// Of bounds everything that is near them, against comparing.
TEST(JsonSchema, IntegerBounds) {
  std::mt19937 random(m1test::testSeed());
  for (int round = 0; round < 40; ++round) {
    const int scale = round % 2 ? 30 : 30000;
    const int a = int(random() % unsigned(2 * scale)) - scale;
    const int b = a + int(random() % unsigned(scale));
    const int bounds = 1 + round % 3; // below, above or both
    const bool open = random() % 2;
    Json schema = {{"type", "integer"}};
    if (bounds & 1)
      schema[open ? "exclusiveMinimum" : "minimum"] = a;
    if (bounds & 2)
      schema["maximum"] = b + 0.5;
    if (open && (bounds & 1) && a == b)
      continue;
    std::vector<int> values = {0, 1, -1, 9, 10, -9, -10, 99, 100, 12345, -12345};
    for (int near = -12; near <= 12; ++near)
      values.insert(values.end(), {a + near, b + near});
    Grammar grammar;
    ASSERT_TRUE(grammarOfSchema(schema, &grammar).ok()) << schema;
    GrammarAutomaton automaton(grammar);
    for (int value : values) {
      const bool expected =
          (!(bounds & 1) || (open ? value > a : value >= a)) && (!(bounds & 2) || value <= b);
      const GrammarAutomaton::State state =
          automaton.next(automaton.start(), std::to_string(value));
      EXPECT_EQ(state != GrammarAutomaton::dead && automaton.accepts(state), expected)
          << schema << " " << value;
    }
  }
  const char *safe = R"({"type": "integer", "minimum": -9007199254740991,
                         "maximum": 9007199254740991})";
  EXPECT_TRUE(admits(safe, "9007199254740991") && admits(safe, "-9007199254740991"));
  EXPECT_FALSE(admits(safe, "9007199254740992") || admits(safe, "-9007199254740992"));
  EXPECT_FALSE(admits(safe, "-0") || admits(safe, "01") || admits(safe, "1.0"));
  EXPECT_TRUE(admits(R"({"type": ["integer", "null"], "minimum": 1})", "null"));
  EXPECT_FALSE(admits(R"({"minimum": 1})", "0"));
  EXPECT_TRUE(admits(R"({"minimum": 1})", "\"0\""));
  EXPECT_TRUE(admits(R"({"type": "integer", "minimum": -1e300})", "-5"));
}

TEST(JsonSchema, NumberBounds) {
  const std::vector<double> values = {-3,   -2.5, -2, -1.001, -1,  -0.5, 0,   0.001,
                                      0.25, 0.5,  1,  1.001,  1.5, 2,    2.5, 3};
  for (int least = -2; least <= 2; ++least)
    for (int most = least; most <= 2; ++most)
      for (int open = 0; open < 4; ++open) {
        if (least == most && open)
          continue;
        Grammar grammar;
        const Json schema = {{"type", "number"},
                             {open & 1 ? "exclusiveMinimum" : "minimum", least},
                             {open & 2 ? "exclusiveMaximum" : "maximum", most}};
        ASSERT_TRUE(grammarOfSchema(schema, &grammar).ok()) << schema;
        GrammarAutomaton automaton(grammar);
        for (double value : values) {
          const bool expected = (open & 1 ? value > least : value >= least) &&
                                (open & 2 ? value < most : value <= most);
          for (const std::string &end : {"", "0", "000"}) {
            std::string text = Json(value).dump();
            if (end.empty() && text.substr(text.size() - 2) == ".0")
              text.resize(text.size() - 2);
            else
              text += end;
            const GrammarAutomaton::State state = automaton.next(automaton.start(), text);
            EXPECT_EQ(state != GrammarAutomaton::dead && automaton.accepts(state), expected)
                << schema << " " << text;
          }
        }
      }
  const char *above = R"({"type": "number", "exclusiveMinimum": 0})";
  EXPECT_TRUE(admits(above, "0.5") && admits(above, "123456.75"));
  EXPECT_FALSE(admits(above, "0") || admits(above, "0.0") || admits(above, "-1"));
}

TEST(JsonSchema, Patterns) {
  auto matches = [](const std::string &pattern, const std::string &text) {
    const Json schema = {{"type", "string"}, {"pattern", pattern}};
    return admits(schema.dump().c_str(), Json(text).dump());
  };
  struct Case {
    const char *pattern;
    std::vector<const char *> yes, no;
  };
  for (const Case &c :
       std::vector<Case>{{"^[a-c]+$", {"a", "abcabc"}, {"", "d", "ad", "A"}},
                         {"b", {"b", "abc", "äbü"}, {"", "ac"}},
                         {"^ab", {"ab", "abc"}, {"xab", "a"}},
                         {"ab$", {"ab", "xab"}, {"abx"}},
                         {"^a|b$", {"ax", "xb"}, {"xax", "c"}},
                         {"^(?:a|bc)*d$", {"d", "abcd", "bcbcd"}, {"bd", "abc"}},
                         {"^(a(b(c)?)?)?$", {"", "a", "ab", "abc"}, {"ac", "b"}},
                         {"^\\d{3}-\\d{4}$", {"555-0199"}, {"55-0199", "555-019", "5555-0199"}},
                         {"^\\d{2,}$", {"12", "123456"}, {"1", "12a"}},
                         {"^x{0,2}y?$", {"", "x", "xxy"}, {"xxx", "yy"}},
                         {"^[^a-z]$", {"A", "ü", "\"", "\\", "\n", " "}, {"a", "AB", ""}},
                         {"^\\w\\W\\s\\S$", {"a- b", "_ü\tx"}, {"- b", "a--b"}},
                         {"^.$", {"a", "\"", "漢", "😀"}, {"\n", "", "ab"}},
                         {"^[\\]\\-\\\\\"]+$", {"]-\\\""}, {"a"}},
                         {"^[a-]$", {"a", "-"}, {"b"}},
                         {"^\\.\\/\\$\\{\\}$", {"./${}"}, {"a/${}"}},
                         {"^\\x41\\u00e9ü$", {"Aéü"}, {"Aeü"}},
                         {"^a+?b*?$", {"ab", "aab"}, {"b"}},
                         {"", {"", "anything"}, {}}}) {
    for (const char *text : c.yes)
      EXPECT_TRUE(matches(c.pattern, text)) << c.pattern << " " << text;
    for (const char *text : c.no)
      EXPECT_FALSE(matches(c.pattern, text)) << c.pattern << " " << text;
  }
  const std::string groups = "groups that begin with (? are not supported, but for (?:";
  for (const auto &[pattern, says] : std::initializer_list<std::pair<const char *, std::string>>{
           {"(", "a group without an end"},
           {")", "a group that has not begun ends"},
           {"a)", "a group that has not begun ends"},
           {"[a", "a class without an end"},
           {"[b-a]", "a range without an end, or backwards"},
           {"[ü]", "classes name characters of ASCII alone"},
           {"[]", "a class without characters"},
           {"*a", "there is nothing to repeat"},
           {"a{2", "expected {m}, {m,} or {m,n} with numbers up to 1000"},
           {"a{3,2}", "a repetition with bounds that are backwards"},
           {"a{1,2000}", "expected {m}, {m,} or {m,n} with numbers up to 1000"},
           {"(?!a)", groups},
           {"(?<n>a)", groups},
           {"\\b", "\\b is not supported"},
           {"\\1", "\\1 is not supported"},
           {"\\p{L}", "\\p is not supported"},
           {"a^b", "^ and $ are supported around the whole alone"},
           {"a$b", "^ and $ are supported around the whole alone"},
           {"(a*)*", "a repetition of what may be empty"},
           {"(a?){0,3}", "a repetition of what may be empty"},
           {"(a{1,40}){1,40}", "repetitions of repetitions go beyond 200"},
           {"\\", "a backslash without a character"},
           {"\\xg0", "expected a digit of base 16"},
           {"\\ud83d", "surrogates are not supported"}}) {
    const Json schema = {{"type", "string"}, {"pattern", pattern}};
    EXPECT_EQ(refusal(schema.dump()).rfind("#: 'pattern': " + says + " at byte ", 0), 0u)
        << pattern << ": " << refusal(schema.dump());
  }
  std::string large;
  for (int i = 0; i < 500; ++i)
    large += "a{1000}";
  EXPECT_NE(refusal(Json({{"type", "string"}, {"pattern", large}}).dump()).find("too large"),
            std::string::npos);
  // One that can be read in many ways has a bounded number of places where a text may stand.
  EXPECT_TRUE(matches("^(?:a{1,14}){1,14}a{0,900}(a|aa)*$", std::string(300, 'a')));
}

TEST(JsonSchema, Formats) {
  auto matches = [](const std::string &format, const std::string &text) {
    const Json schema = {{"type", "string"}, {"format", format}};
    return admits(schema.dump().c_str(), Json(text).dump());
  };
  struct Case {
    const char *format;
    std::vector<const char *> yes, no;
  };
  for (const Case &c : std::vector<Case>{
           {"date", {"2026-11-28", "1999-02-28"}, {"2026-13-01", "2026-02-30", "26-1-1", ""}},
           {"time", {"23:59:59Z", "08:00:00.25+01:00"}, {"24:00:00Z", "08:00:00"}},
           {"date-time", {"2026-11-28T20:45:00Z"}, {"2026-11-28", "2026-11-31T00:00:00Z"}},
           {"duration", {"P3D", "PT1H30M", "P2W"}, {"P", "PT", "3D"}},
           {"email", {"a.b@example.org"}, {"a@", "@b.c", "a b@example.org"}},
           {"hostname", {"www.example.org"}, {"-a.b", "a..b"}},
           {"ipv4", {"127.0.0.1", "255.255.255.255"}, {"256.0.0.1", "1.2.3", "01.2.3.4"}},
           {"ipv6", {"2001:db8:0:0:0:0:0:1"}, {"2001:db8"}},
           {"uri", {"https://example.org/a/b"}, {"example.org", "https://"}},
           {"uuid", {"123e4567-e89b-12d3-a456-426614174000"}, {"123e4567"}}}) {
    for (const char *text : c.yes)
      EXPECT_TRUE(matches(c.format, text)) << c.format << " " << text;
    for (const char *text : c.no)
      EXPECT_FALSE(matches(c.format, text)) << c.format << " " << text;
  }
  EXPECT_TRUE(admits(R"({"type": "integer", "format": "int32"})", "7"));
}

// An enumeration beside a type holds its values of that type; a keyword of one type leaves others.
TEST(JsonSchema, TypesOfConstraints) {
  const char *mixed = R"({"type": ["string", "null"], "enum": ["a", 1, null]})";
  EXPECT_TRUE(admits(mixed, "\"a\"") && admits(mixed, "null"));
  EXPECT_FALSE(admits(mixed, "1"));
  const char *any = R"({"maxLength": 2})";
  EXPECT_TRUE(admits(any, "\"ab\"") && admits(any, "123") && admits(any, "{}"));
  EXPECT_FALSE(admits(any, "\"abc\""));
}

// What stands beside anyOf, allOf and $ref holds, too.
TEST(JsonSchema, SchemasThatHoldTogether) {
  const char *typed = R"({"type": ["string", "number"],
    "anyOf": [{"type": "integer"}, {"type": "null"}, {"maxLength": 2}, {"enum": ["long", null]}]})";
  for (const char *text : {"7", "\"ab\"", "\"long\"", "1.5"}) // 1.5: of what has no length
    EXPECT_TRUE(admits(typed, text)) << text;
  for (const char *text : {"null", "true", "\"abc\"", "{}"})
    EXPECT_FALSE(admits(typed, text)) << text;
  const char *either = R"({"type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "additionalProperties": false, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]})";
  for (const char *text : {R"({"a":1})", R"({"b":1})", R"({"a":1,"b":2})"})
    EXPECT_TRUE(admits(either, text)) << text;
  EXPECT_FALSE(admits(either, "{}"));
  const char *all = R"({"$defs": {"named": {"type": "object",
      "properties": {"name": {"type": "string"}}, "required": ["name"]},
    "aged": {"properties": {"age": {"type": "number"}}, "required": ["age"]}},
    "allOf": [{"$ref": "#/$defs/named"}, {"$ref": "#/$defs/aged"},
              {"properties": {"age": {"type": "integer", "minimum": 1, "maximum": 9}}},
              {"properties": {"age": {"minimum": 3}}}]})";
  EXPECT_TRUE(admits(all, R"({"name":"x","age":3})"));
  for (const char *text : {R"({"name":"x"})", R"({"age":3})", R"({"name":"x","age":2})",
                           R"({"name":"x","age":10})", R"({"name":"x","age":3.5})"})
    EXPECT_FALSE(admits(all, text)) << text;
  const char *reference = R"({"$defs": {"n": {"type": "number", "maximum": 9}},
    "properties": {"n": {"$ref": "#/$defs/n", "type": "integer", "minimum": 5}},
    "required": ["n"]})";
  EXPECT_TRUE(admits(reference, R"({"n":7})"));
  for (const char *text : {R"({"n":4})", R"({"n":10})", R"({"n":7.5})"})
    EXPECT_FALSE(admits(reference, text)) << text;
  // A list that holds lists of itself, narrowed only at its top.
  const char *list =
      R"({"$defs": {"l": {"type": ["array", "null"], "items": {"$ref": "#/$defs/l"}}},
    "$ref": "#/$defs/l", "type": "array"})";
  EXPECT_TRUE(admits(list, "[[null],[[]]]"));
  EXPECT_FALSE(admits(list, "null"));
  const char *chain =
      R"({"properties": {"v": {"type": "integer"}, "next": {"allOf": [{"$ref": "#"}]}},
    "required": ["v"]})";
  EXPECT_TRUE(admits(chain, R"({"v":1,"next":{"v":2,"next":{"v":3}}})"));
  EXPECT_FALSE(admits(chain, R"({"v":1,"next":{}})"));
  EXPECT_EQ(refusal(R"({"type": "string", "anyOf": [{"type": "null"}, {"type": "number"}]})"),
            "/anyOf: what stands beside it leaves no value");
  EXPECT_EQ(refusal(R"({"allOf": [{"type": "string"}, {"type": "null"}]})"),
            "#: schemas that must hold together leave no value");
  EXPECT_EQ(refusal(R"({"allOf": [{"pattern": "a"}, {"pattern": "b"}]})"),
            "/allOf/1: 'pattern' twice in schemas that must hold together is not supported");
  EXPECT_EQ(refusal(R"({"properties": {"a": true}, "additionalProperties": false,
                        "allOf": [{"properties": {"b": true}}]})"),
            "/allOf/0: 'additionalProperties' beside further 'properties' of a schema that must "
            "hold, too, is not supported");
  EXPECT_NE(refusal(R"({"$ref": "#", "type": "object"})").find("nested more than 64 deep"),
            std::string::npos);
}

// What is not enforced is refused, by place and name.
TEST(JsonSchema, Refusals) {
  EXPECT_EQ(refusal(R"({"properties": {"a": {"type": "array", "uniqueItems": true}}})"),
            "/properties/a: 'uniqueItems' is not supported");
  EXPECT_EQ(refusal(R"re({"type": "string", "pattern": "(?=x)"})re"),
            "#: 'pattern': groups that begin with (? are not supported, but for (?: at byte 2");
  EXPECT_EQ(refusal(R"({"type": "string", "format": "iri"})"),
            "#: 'format': \"iri\" is not supported");
  EXPECT_EQ(refusal(R"({"type": "string", "pattern": "a", "maxLength": 3})"),
            "#: 'pattern' beside 'maxLength' is not supported");
  EXPECT_EQ(refusal(R"({"type": "number", "minimum": 0.5})"),
            "#: 'minimum' of numbers: only whole values are supported");
  EXPECT_EQ(refusal(R"({"type": "integer", "minimum": 2.2, "maximum": 2.8})"),
            "#: 'minimum' and 'maximum' leave no number");
  EXPECT_EQ(refusal(R"({"type": "number", "exclusiveMinimum": 3, "maximum": 3})"),
            "#: 'minimum' and 'maximum' leave no number");
  EXPECT_EQ(refusal(R"({"type": "integer", "maximum": "3"})"), "#: 'maximum': expected a number");
  EXPECT_EQ(refusal(R"({"type": "string", "enum": [1, null]})"),
            "#: none of the values is of the 'type'");
  for (const auto &[schema, says] : std::initializer_list<std::pair<const char *, const char *>>{
           {R"({"type": "text"})", "#: 'type': unknown type \"text\""},
           {R"({"type": 3})", "#: 'type': expected a name or a list of names"},
           {R"({"type": "string", "nullable": true})",
            "#: 'nullable' is not supported: give null among the types"},
           {R"({"enum": 3})", "#: 'enum': expected a list of values"},
           {R"({"type": "string", "minLength": 3, "maxLength": 2})",
            "#: 'minLength' is larger than 'maxLength'"},
           {R"({"type": "array", "prefixItems": {}})",
            "#: 'prefixItems': expected a list of schemas"},
           {R"({"properties": []})", "#: 'properties': expected an object of schemas"},
           {R"({"properties": {}, "required": 3})", "#: 'required': expected a list of names"},
           {R"({"properties": {"a": 3}})", "/properties/a: expected a schema: an object or true"}})
    EXPECT_EQ(refusal(schema), says) << schema;
  EXPECT_EQ(refusal(R"({"$ref": "#/$defs/x"})"), "#: '$ref': there is no #/$defs/x");
  EXPECT_EQ(refusal(R"({"required": ["a"]})"), "#: 'required': expected names of 'properties'");
  EXPECT_EQ(refusal(R"({"minItems": 3, "maxItems": 2, "type": "array"})"),
            "#: 'minItems' is larger than 'maxItems' or than there are items");
  EXPECT_NE(refusal(R"({"anyOf": [{"$ref": "#"}, {"type": "null"}]})").find("leads back"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"$ref": "#"})").find("refers to itself"), std::string::npos);
  // A grammar of all other names has a node for each beginning of these.
  EXPECT_NE(refusal(R"({"properties": {")" + std::string(1 << 20, 'x') +
                    R"(": {}}, "additionalProperties": true})")
                .find("the names are too long"),
            std::string::npos);
}

// A schema that says the same thing in 2^25 ways is followed as fast as one that says it once.
TEST(JsonSchema, AmbiguityDoesNotMultiply) {
  Json schema = {{"$ref", "#/$defs/d0"}};
  for (int i = 0; i < 25; ++i) {
    const Json next = {{"$ref", "#/$defs/d" + std::to_string(i + 1)}};
    schema["$defs"]["d" + std::to_string(i)] = {{"anyOf", {next, next}}};
  }
  schema["$defs"]["d25"] = {{"const", 1}};
  EXPECT_TRUE(admits(schema.dump().c_str(), "1"));
}

// Whatever the automaton says at random is JSON with what the schema requires.
TEST(JsonSchema, RandomTextsAreInstances) {
  Grammar grammar;
  ASSERT_TRUE(grammarOfSchema(Json::parse(person), &grammar).ok());
  GrammarAutomaton automaton(grammar);
  std::mt19937 random(m1test::testSeed());
  int complete = 0;
  for (int i = 0; i < 200; ++i) {
    std::string text;
    GrammarAutomaton::State state = automaton.start();
    while (text.size() < 400) {
      std::vector<uint8_t> possible;
      for (unsigned byte = 0; byte < 256; ++byte)
        if (automaton.next(state, uint8_t(byte)) != GrammarAutomaton::dead)
          // Quotes end strings: as often as everything else together.
          possible.insert(possible.end(), byte == '"' ? 100 : 1, uint8_t(byte));
      if (possible.empty())
        break;
      text += char(possible[random() % possible.size()]);
      state = automaton.next(state, uint8_t(text.back()));
    }
    if (!automaton.accepts(state))
      continue;
    ++complete;
    const Json value = Json::parse(text);
    EXPECT_TRUE(value.at("name").is_string() && value.at("age").is_number_integer()) << text;
    for (const auto &[name, member] : value.items())
      EXPECT_TRUE(name == "name" || name == "age" || name == "tags") << text;
    for (const Json &tag : value.value("tags", Json::array()))
      EXPECT_TRUE(tag == "a" || tag == "b") << text;
  }
  EXPECT_GT(complete, 20);
}

namespace {

/// A tokenizer of the 256 bytes, some longer tokens and an end.
std::unique_ptr<Tokenizer> smallTokenizer(std::string *prepared,
                                          const std::vector<std::string> &merges) {
  Json vocabulary = Json::object();
  int next = 0;
  auto stand = [](int byte) { // GPT-2's printable stand-ins
    static const std::vector<int> table = [] {
      std::vector<int> all(256, -1);
      int extra = 256;
      for (int b = 0; b < 256; ++b)
        all[b] = (b > 32 && b < 127) || (b > 160 && b != 173) ? b : extra++;
      return all;
    }();
    const int c = table[byte];
    return c < 128 ? std::string(1, char(c))
                   : std::string{char(0xC0 | c >> 6), char(0x80 | (c & 63))};
  };
  for (int byte = 0; byte < 256; ++byte)
    vocabulary[stand(byte)] = next++;
  Json pairs = Json::array();
  for (const std::string &merge : merges) {
    pairs.push_back(merge);
    std::string token = merge;
    token.erase(token.find(' '), 1);
    vocabulary[token] = next++;
  }
  const Json end = {{"id", next},      {"content", "<end>"}, {"single_word", false},
                    {"lstrip", false}, {"rstrip", false},    {"normalized", false},
                    {"special", true}};
  const Json tokenizer = {
      {"version", "1.0"},
      {"added_tokens", {end}},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", pairs}}}};
  const std::string path = testing::TempDir() + "tokenizer" + std::to_string(getpid()) + ".json";
  std::ofstream(path) << tokenizer.dump();
  std::string error;
  PreparedTokenizer result;
  EXPECT_TRUE(prepareTokenizer(path, "", result, error)) << error;
  std::remove(path.c_str());
  *prepared = std::move(result.data);
  auto loaded = Tokenizer::load(*prepared, error);
  EXPECT_TRUE(loaded) << error;
  return loaded;
}

} // namespace

// The mask of every place equals what trying each token alone says.
TEST(TokenGrammar, MasksEqualTryingEveryToken) {
  std::string prepared;
  auto tokenizer = smallTokenizer(&prepared, {"\" :", "t r", "u e", "tr ue", "a g", "ag e", "} }"});
  const uint32_t vocabulary = uint32_t(tokenizer->vocabSize()) + 5; // the model's is padded
  const int32_t end = tokenizer->findToken("<end>");
  auto order = std::make_shared<TokenOrder>(*tokenizer, vocabulary);
  Grammar grammar;
  ASSERT_TRUE(grammarOfSchema(Json::parse(person), &grammar).ok());
  auto tokens = std::make_shared<TokenGrammar>(order, grammar, std::vector<int32_t>{end});
  GrammarAutomaton automaton(grammar);
  std::vector<int32_t> text;
  std::string error;
  ASSERT_TRUE(
      tokenizer->encode(R"({"name": "true }}", "age": 12, "tags": ["a"]})", false, text, error));
  auto filter = tokens->createFilter(false);
  GrammarAutomaton::State state = automaton.start();
  for (size_t i = 0; i <= text.size(); ++i) {
    const uint32_t *mask = filter->allowed();
    for (uint32_t id = 0; id < (vocabulary + 31) / 32 * 32; ++id) {
      const bool isToken = id < uint32_t(tokenizer->vocabSize()) && int32_t(id) != end;
      const bool expected = isToken
                                ? automaton.next(state, tokenizer->tokenBytes(int32_t(id))) != -1
                                : int32_t(id) == end && automaton.accepts(state);
      ASSERT_EQ((mask[id / 32] >> (id % 32)) & 1, unsigned(expected)) << id << " at " << i;
    }
    if (i == text.size())
      break;
    filter->accept(text[i]);
    state = automaton.next(state, tokenizer->tokenBytes(text[i]));
  }
  EXPECT_TRUE(automaton.accepts(state));
}

// A thought is free; the grammar begins behind it.
TEST(TokenGrammar, BeginsBehindTheThought) {
  std::string prepared;
  auto tokenizer = smallTokenizer(&prepared, {});
  auto order = std::make_shared<TokenOrder>(*tokenizer, uint32_t(tokenizer->vocabSize()));
  Grammar grammar;
  grammarOfObjects(&grammar);
  auto filter =
      std::make_shared<TokenGrammar>(order, grammar, std::vector<int32_t>{})->createFilter(true);
  for (char byte : std::string("a < b, </thin </think")) {
    EXPECT_EQ(filter->allowed(), nullptr);
    filter->accept(uint8_t(byte));
  }
  filter->accept('>');
  const uint32_t *mask = filter->allowed();
  ASSERT_NE(mask, nullptr);
  EXPECT_TRUE(mask['{' / 32] >> ('{' % 32) & 1);
  EXPECT_FALSE(mask['x' / 32] >> ('x' % 32) & 1);
}
