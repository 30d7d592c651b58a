// Grammars of JSON: what a schema admits, what it refuses, and that whatever the automaton can say
// is JSON that the schema admits.
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

// What is not enforced is refused, by place and name.
TEST(JsonSchema, Refusals) {
  EXPECT_EQ(refusal(R"({"properties": {"a": {"type": "string", "pattern": "^x"}}})"),
            "/properties/a: 'pattern' is not supported");
  EXPECT_EQ(refusal(R"({"type": "text"})"), "#: 'type': unknown type \"text\"");
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
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
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
