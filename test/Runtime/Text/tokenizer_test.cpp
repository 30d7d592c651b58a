// Preparation, loading, encoding and decoding of tokenizers.
#include "../../Support/TemporaryDirectory.h"
#include "tokenizer/format.h"
#include "tokenizer/prepare.h"
#include "tokenizer/tokenizer.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>
#include <thread>

using namespace m1rt;
using Json = nlohmann::json;

namespace {

std::vector<Json> readLines(const std::string &path) {
  std::vector<Json> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    lines.push_back(Json::parse(line));
  return lines;
}

Json smallTokenizer() {
  std::ifstream file(M1_TEXT_DATA "/small-tokenizer.json");
  return Json::parse(file);
}

const Json kByteLevel = {{"type", "ByteLevel"},
                         {"add_prefix_space", false},
                         {"trim_offsets", true},
                         {"use_regex", false}};

Json split(const std::string &pattern) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", pattern}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

// The small tokenizer with the normalizer, pre-tokeniser and merging of one of the families.
Json variant(const std::string &name) {
  const std::string start = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})";
  const std::string end = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  Json json = smallTokenizer();
  json["decoder"] = {{"type", "ByteLevel"}};
  if (name == "gpt2") {
    json["pre_tokenizer"] = {
        {"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}};
    return json;
  }
  bool llama = name == "llama3";
  json["model"]["ignore_merges"] = llama;
  if (!llama)
    json["normalizer"] = {{"type", "NFC"}};
  json["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers", {split(start + (llama ? "{1,3}" : "") + end), kByteLevel}}};
  return json;
}

struct TokenizerDirectory : m1test::TemporaryDirectory {
  bool prepare(PreparedTokenizer &out, std::string &error) const {
    return prepareTokenizer(path + "/tokenizer.json", path + "/tokenizer_config.json", out, error);
  }
};

struct Loaded {
  PreparedTokenizer prepared;
  std::unique_ptr<Tokenizer> tokenizer;
  std::string error;
};

std::unique_ptr<Loaded> load(const Json &json, const Json &config = Json(),
                             TokenizerOptions options = {}) {
  auto out = std::make_unique<Loaded>();
  TokenizerDirectory folder;
  folder.write("tokenizer.json", json.dump());
  if (!config.is_null())
    folder.write("tokenizer_config.json", config.dump());
  if (folder.prepare(out->prepared, out->error))
    out->tokenizer = Tokenizer::load(out->prepared.data, out->error, options);
  return out;
}

std::vector<int32_t> encode(const Tokenizer &tokenizer, const std::string &text,
                            bool addSpecial = false) {
  std::vector<int32_t> ids;
  std::string error;
  EXPECT_TRUE(tokenizer.encode(text, addSpecial, ids, error)) << error;
  return ids;
}

std::string decodeByStream(const Tokenizer &tokenizer, const std::vector<int32_t> &ids) {
  StreamingDecoder stream(tokenizer, false);
  std::string all;
  for (int32_t id : ids) {
    std::string text;
    stream.push(id, &text);
    EXPECT_EQ(findInvalidUtf8(text), std::string::npos) << "half a character was emitted";
    all += text;
  }
  return all + stream.finish();
}

class Variants : public testing::TestWithParam<const char *> {};

// Added tokens, normalisation, pieces, merging and decoding equal a plain implementation of the
// same rules (make_tokenizer_cases.py).
TEST_P(Variants, EqualThePlainImplementation) {
  std::string name = GetParam();
  for (bool alwaysRegex : {false, true}) {
    auto loaded = load(variant(name), Json(), {alwaysRegex});
    ASSERT_TRUE(loaded->tokenizer) << loaded->error;
    for (const Json &line : readLines(M1_TEXT_DATA "/tokenizer-cases.jsonl")) {
      std::string text = line["text"];
      std::vector<int32_t> expected = line[name].get<std::vector<int32_t>>();
      ASSERT_EQ(encode(*loaded->tokenizer, text), expected) << text;
      std::string decoded = loaded->tokenizer->decode(expected.data(), expected.size(), false);
      ASSERT_EQ(decoded, line[name + "_decoded"].get<std::string>());
      ASSERT_EQ(decodeByStream(*loaded->tokenizer, expected), decoded);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Variants, testing::Values("llama3", "qwen2", "gpt2"));

// Streams of random ids, which cut characters and make ill-formed bytes, join to what decode gives
// at once.
TEST(StreamingDecoder, EqualsDecodeOnRandomIds) {
  auto loaded = load(variant("llama3"));
  ASSERT_TRUE(loaded->tokenizer) << loaded->error;
  std::mt19937 random(3);
  for (int round = 0; round < 3000; ++round) {
    std::vector<int32_t> ids(random() % 12);
    for (int32_t &id : ids) // mostly single bytes
      id = static_cast<int32_t>(random() % 4 ? random() % 256
                                             : random() % (loaded->tokenizer->vocabSize() + 5));
    ASSERT_EQ(decodeByStream(*loaded->tokenizer, ids),
              loaded->tokenizer->decode(ids.data(), ids.size(), false));
  }
}

// Merging by heap (long pieces) and by search (short ones) agree: a long run is cut so that both
// see the same pairs.
TEST(BytePair, LongPiecesMergeLikeShortOnes) {
  auto loaded = load(variant("qwen2"));
  ASSERT_TRUE(loaded->tokenizer) << loaded->error;
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    std::string piece;
    while (piece.size() < 40)
      piece += "theanswr"[random() % 8];
    std::vector<int32_t> once = encode(*loaded->tokenizer, piece);
    // 數 never merges with ASCII, so the long piece's tokens are the short one's, repeated around
    // it.
    std::vector<int32_t> separator = encode(*loaded->tokenizer, "數"), expected;
    std::string text;
    for (int i = 0; i < 5; ++i) {
      text += piece + "數";
      expected.insert(expected.end(), once.begin(), once.end());
      expected.insert(expected.end(), separator.begin(), separator.end());
    }
    ASSERT_EQ(encode(*loaded->tokenizer, text), expected) << piece;
  }
}

// One tokenizer serves several threads at once.
TEST(Tokenizer, EncodesFromSeveralThreads) {
  auto loaded = load(variant("qwen2"));
  ASSERT_TRUE(loaded->tokenizer) << loaded->error;
  std::vector<Json> lines = readLines(M1_TEXT_DATA "/tokenizer-cases.jsonl");
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      std::vector<int32_t> ids;
      std::string error;
      for (const Json &line : lines) {
        ids.clear();
        bool ok = loaded->tokenizer->encode(line["text"].get_ref<const std::string &>(), false, ids,
                                            error);
        wrong += !ok || ids != line["qwen2"].get<std::vector<int32_t>>();
      }
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(wrong, 0);
}

// A post-processor's template surrounds the text only when special tokens are asked for;
// skipSpecial leaves them out again.
TEST(Tokenizer, AddsAndSkipsSpecialTokens) {
  Json json = variant("llama3");
  int start = json["added_tokens"][0]["id"], end = json["added_tokens"][1]["id"];
  json["post_processor"] = {
      {"type", "Sequence"},
      {"processors",
       {{{"type", "ByteLevel"}},
        {{"type", "TemplateProcessing"},
         {"single",
          {{{"SpecialToken", {{"id", "<|start|>"}}}},
           {{"Sequence", {{"id", "A"}}}},
           {{"SpecialToken", {{"id", "<|end|>"}}}}}},
         {"special_tokens", {{"<|start|>", {{"ids", {start}}}}, {"<|end|>", {{"ids", {end}}}}}}}}}};
  auto loaded = load(json);
  ASSERT_TRUE(loaded->tokenizer) << loaded->error;
  std::vector<int32_t> plain = encode(*loaded->tokenizer, "the answer"),
                       with = encode(*loaded->tokenizer, "the answer", true);
  plain.insert(plain.begin(), start);
  plain.push_back(end);
  EXPECT_EQ(with, plain);
  EXPECT_EQ(loaded->tokenizer->decode(with.data(), with.size(), false),
            "<|start|>the answer<|end|>");
  EXPECT_EQ(loaded->tokenizer->decode(with.data(), with.size(), true), "the answer");
  EXPECT_EQ(loaded->tokenizer->findToken("<|end|>"), end);
  EXPECT_EQ(loaded->tokenizer->findToken(" the"), encode(*loaded->tokenizer, " the")[0]);
  EXPECT_EQ(loaded->tokenizer->findToken("no such token"), -1);
}

// Steps behind ByteLevel see the spelling of bytes, as in the tokenizers of Falcon; ids of Hugging
// Face's library 0.13.3.
TEST(Tokenizer, SplitsBehindByteLevel) {
  Json json = smallTokenizer();
  json["decoder"] = {{"type", "ByteLevel"}};
  json["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Punctuation"}, {"behavior", "Contiguous"}},
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}},
        {{"type", "Digits"}, {"individual_digits", false}},
        split("[0-9][0-9][0-9]")}}};
  auto loaded = load(json);
  ASSERT_TRUE(loaded->tokenizer) << loaded->error;
  const std::pair<const char *, std::vector<int32_t>> cases[] = {
      {"the answer", {116, 258, 280}},
      {"a1234567b", {97, 361, 51, 52, 53, 54, 55, 98}},
      {" 42, 12.5!!", {32, 363, 44, 32, 361, 46, 53, 33, 33}},
      {"x²³ ò¼ 数学", {120, 194, 178, 194, 179, 335, 178, 194, 188, 32, 514, 485, 166}},
      {"can't...1000", {99, 97, 110, 39, 116, 46, 46, 46, 360, 48, 48}}};
  for (const auto &[text, ids] : cases) {
    EXPECT_EQ(encode(*loaded->tokenizer, text), ids) << text;
    EXPECT_EQ(loaded->tokenizer->decode(ids.data(), ids.size(), false), text);
  }
  // Its pieces may end within a character: steps of text before them alone, and of no characters.
  using namespace tokenizer_format;
  std::string prepared = loaded->prepared.data, error;
  EXPECT_EQ(prepared[8], 3); // the version
  SectionEntry stages = {};
  std::memcpy(&stages, &prepared[sizeof(FileHeader) + int(Section::stages) * sizeof stages],
              sizeof stages);
  ASSERT_EQ(stages.size, 4 * sizeof(Stage));
  Stage *first = reinterpret_cast<Stage *>(&prepared[stages.offset]);
  std::swap(first[1], first[2]);
  EXPECT_EQ(Tokenizer::load(prepared, error), nullptr);
  EXPECT_EQ(error, "prepared tokenizer: pre-tokeniser stage 2 is inconsistent");
}

// An added token that the one before it has taken as white space is none.
TEST(Tokenizer, WhiteSpaceIsTakenOnce) {
  Json json = variant("llama3");
  json["added_tokens"].push_back(
      {{"id", 600}, {"content", "\n\n"}, {"lstrip", true}, {"rstrip", true}});
  auto loaded = load(json);
  ASSERT_TRUE(loaded->tokenizer) << loaded->error;
  EXPECT_EQ(encode(*loaded->tokenizer, "\n\n\n\n"), std::vector<int32_t>{600});
  EXPECT_EQ(encode(*loaded->tokenizer, "a \n\n \n\na"), (std::vector<int32_t>{97, 600, 97}));
}

// Invalid UTF-8 is refused with the byte and its offset, wherever it stands.
TEST(Tokenizer, RefusesInvalidUtf8) {
  auto loaded = load(variant("llama3"));
  ASSERT_TRUE(loaded->tokenizer) << loaded->error;
  const std::pair<std::string, std::string> cases[] = {
      {"abc\xff", "byte 0xFF at offset 3"},
      {"0123456789\xc3", "byte 0xC3 at offset 10"},
      {"\xed\xa0\x80", "byte 0xED at offset 0"},
      {"é\xc0\xaf", "byte 0xC0 at offset 2"},
      {"\xf4\x90\x80\x80", "byte 0xF4 at offset 0"},
      {"12345678\x80zzzzzzz", "byte 0x80 at offset 8"}};
  for (const auto &[text, message] : cases) {
    std::vector<int32_t> ids;
    std::string error;
    EXPECT_FALSE(loaded->tokenizer->encode(text, false, ids, error));
    EXPECT_EQ(error, "text is not valid UTF-8: " + message);
  }
}

// A byte without a token is an error, or the unknown token where the vocabulary has one.
TEST(Tokenizer, BytesWithoutToken) {
  Json json = variant("llama3");
  json["model"]["vocab"] = {{"a", 0}, {"b", 1}, {"?", 2}};
  json["model"]["merges"] = Json::array();
  json["added_tokens"] = Json::array();
  auto loaded = load(json);
  ASSERT_TRUE(loaded->tokenizer) << loaded->error;
  std::vector<int32_t> ids;
  std::string error;
  EXPECT_FALSE(loaded->tokenizer->encode("abc", false, ids, error));
  EXPECT_EQ(error, "the vocabulary has no token for byte 0x63, and there is no unknown token");
  json["model"]["unk_token"] = "?";
  loaded = load(json);
  EXPECT_EQ(encode(*loaded->tokenizer, "acdb"), (std::vector<int32_t>{0, 2, 2, 1}));
  json["model"]["fuse_unk"] = true;
  loaded = load(json);
  EXPECT_EQ(encode(*loaded->tokenizer, "acdb"), (std::vector<int32_t>{0, 2, 1}));
}

// Every construct outside the supported ones is refused by name, with the file.
TEST(Prepare, NamesWhatIsNotSupported) {
  using Change = std::function<void(Json &)>;
  const std::pair<Change, const char *> cases[] = {
      {[](Json &j) { j["pre_tokenizer"]["pretokenizers"].push_back(kByteLevel); },
       "pre_tokenizer: 'ByteLevel' after ByteLevel is not supported"},
      {[](Json &j) { j["model"]["type"] = "Unigram"; },
       "model.type 'Unigram' (only BPE) is not supported"},
      {[](Json &j) { j["model"]["dropout"] = 0.1; }, "model.dropout = 0.1 is not supported"},
      {[](Json &j) { j["model"]["byte_fallback"] = true; },
       "model.byte_fallback = true with a pre_tokenizer of bytes is not supported"},
      {[](Json &j) { j["model"]["end_of_word_suffix"] = "</w>"; },
       "model.end_of_word_suffix = \"</w>\" is not supported"},
      {[](Json &j) { j["model"].erase("vocab"); }, "model: missing field 'vocab'"},
      {[](Json &j) { j["model"]["merges"][3] = "a b c"; },
       "model.merges[3] is not a pair of tokens"},
      {[](Json &j) { j["model"]["merges"][3] = {"zzz", "b"}; },
       "model.merges[3]: 'zzz' is not in the vocabulary"},
      {[](Json &j) { j["model"]["vocab"]["a"] = j["model"]["vocab"]["b"]; }, "has two tokens"},
      {[](Json &j) { j["normalizer"] = {{"type", "Nmt"}}; }, "normalizer.type 'Nmt'"},
      {[](Json &j) { j["pre_tokenizer"] = {{"type", "UnicodeScripts"}}; },
       "pre_tokenizer.type 'UnicodeScripts'"},
      {[](Json &j) { j["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "ab"}}; },
       "expected one character, got 'ab'"},
      {[](Json &j) { j["pre_tokenizer"] = split("a"); }, "decoder.type 'ByteLevel' in this place"},
      {[](Json &j) { j["decoder"] = nullptr; }, "a missing decoder"},
      {[](Json &j) { j["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Odd"; },
       "Split behavior 'Odd'"},
      {[](Json &j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(a"; },
       "does not compile"},
      {[](Json &j) { j["post_processor"] = {{"type", "BertProcessing"}}; },
       "post_processor.type 'BertProcessing'"},
      {[](Json &j) { j["decoder"] = {{"type", "Metaspace"}}; }, "decoder.type 'Metaspace'"},
      {[](Json &j) { j["added_tokens"][0]["id"] = 1; }, "which is that of"},
      {[](Json &j) { j = Json::array(); }, "not a JSON object"},
      // Values of other types are named, and none is taken for another: true is no id, nor is 1.5.
      {[](Json &j) { j["model"]["type"] = 5; }, "model.type: expected a string, got 5"},
      {[](Json &j) { j["model"]["vocab"]["a"] = true; },
       "model.vocab['a']: expected an integer from 0, got true"},
      {[](Json &j) { j["model"]["vocab"]["a"] = 1.5; }, "expected an integer from 0, got 1.5"},
      {[](Json &j) { j["model"]["vocab"]["a"] = -1; }, "expected an integer from 0, got -1"},
      {[](Json &j) { j["model"]["merges"][3] = {1, "b"}; },
       "model.merges[3] is not a pair of tokens"},
      {[](Json &j) { j["model"]["ignore_merges"] = "no"; },
       "field 'ignore_merges': expected true or false, got \"no\""},
      {[](Json &j) { j["model"]["unk_token"] = {1}; },
       "model.unk_token: expected a string, got [1]"},
      {[](Json &j) { j["added_tokens"] = "x"; }, "added_tokens: expected a list, got \"x\""},
      {[](Json &j) { j["added_tokens"][0] = 5; }, "added_tokens: expected an object, got 5"},
      {[](Json &j) { j["added_tokens"][0]["id"] = 0.5; },
       "added_tokens: id: expected an integer from 0, got 0.5"},
      {[](Json &j) { j["added_tokens"][0]["content"] = nullptr; },
       ".content: expected a string, got null"},
      {[](Json &j) { j["pre_tokenizer"]["pretokenizers"] = "x"; },
       "pre_tokenizer.pretokenizers: expected a list, got \"x\""},
      {[](Json &j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = 1; },
       "pre_tokenizer: Split pattern.Regex: expected a string, got 1"},
      {[](Json &j) { j["normalizer"] = {{"type", "Prepend"}, {"prepend", false}}; },
       "normalizer.prepend: expected a string, got false"},
  };
  for (const auto &[change, message] : cases) {
    Json json = variant("llama3");
    change(json);
    auto loaded = load(json);
    EXPECT_FALSE(loaded->tokenizer) << message;
    EXPECT_NE(loaded->error.find(message), std::string::npos) << loaded->error;
    EXPECT_NE(loaded->error.find("/tokenizer.json: "), std::string::npos) << loaded->error;
  }
}

// The chat template and the special tokens come from tokenizer_config.json in each form they are
// published in.
TEST(Prepare, ReadsTokenizerConfig) {
  TokenizerDirectory folder;
  PreparedTokenizer out;
  std::string error;
  folder.write("tokenizer.json", variant("qwen2").dump());
  EXPECT_TRUE(folder.prepare(out, error)) << error; // a missing config is no error
  EXPECT_EQ(out.chatTemplate, "");
  folder.write("tokenizer_config.json",
               R"({"bos_token": null, "eos_token": {"content": "<|end|>"}, "chat_template": "x",
    "added_tokens_decoder": {"3000": {"content": "<extra>", "special": true}}})");
  ASSERT_TRUE(folder.prepare(out, error)) << error;
  EXPECT_EQ(out.chatTemplate, "x");
  EXPECT_EQ(out.bosToken, "");
  EXPECT_EQ(out.eosToken, "<|end|>");
  EXPECT_EQ(encode(*Tokenizer::load(out.data, error), "<extra>"), std::vector<int32_t>{3000});
  folder.write("tokenizer_config.json",
               R"({"bos_token": "<|start|>", "tokenizer_class": "LlamaTokenizerFast",
    "chat_template": [{"name": "tool_use", "template": "t"},
                      {"name": "default", "template": "d"}]})");
  ASSERT_TRUE(folder.prepare(out, error)) << error;
  EXPECT_EQ(out.chatTemplate, "d");
  const std::string plain = out.data; // which the tokenizer goes on to read
  auto tokenizer = Tokenizer::load(plain, error);
  // LlamaTokenizer adds what these say; where neither is there, what the template says.
  EXPECT_EQ(encode(*tokenizer, "", true), std::vector<int32_t>());
  const int32_t start = tokenizer->findToken("<|start|>");
  Json templated = variant("qwen2");
  templated["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", {{{"Sequence", {{"id", "A"}}}}, {{"SpecialToken", {{"id", "<|start|>"}}}}}},
      {"special_tokens", {{"<|start|>", {{"ids", {start}}}}}}};
  folder.write("tokenizer.json", templated.dump());
  for (auto [flags, before, after] : {std::tuple("", false, true),
                                      {R"(, "add_bos_token": true)", true, false},
                                      {R"(, "add_eos_token": false)", true, false}}) {
    folder.write("tokenizer_config.json",
                 std::string(R"({"bos_token": "<|start|>", "tokenizer_class": "LlamaTokenizer")") +
                     flags + "}");
    ASSERT_TRUE(folder.prepare(out, error)) << error;
    std::vector<int32_t> ids = encode(*Tokenizer::load(out.data, error), "a", true),
                         expected = encode(*tokenizer, "a");
    if (before)
      expected.insert(expected.begin(), start);
    if (after)
      expected.push_back(start);
    EXPECT_EQ(ids, expected) << flags;
  }
  for (const auto &[text, message] : std::initializer_list<std::pair<const char *, const char *>>{
           {"5", "/chat_template.json: not a JSON object"},
           {R"({"chat_template": 5})", "/chat_template.json: chat_template: expected a string or a "
                                       "list of named templates, got 5"}}) {
    folder.write("chat_template.json", text);
    EXPECT_FALSE(folder.prepare(out, error)) << text;
    EXPECT_NE(error.find(message), std::string::npos) << error;
  }
  folder.write("chat_template.jinja", "file");
  ASSERT_TRUE(folder.prepare(out, error)) << error;
  EXPECT_EQ(out.chatTemplate, "file");
  std::string again = out.data;
  ASSERT_TRUE(folder.prepare(out, error)) << error;
  EXPECT_EQ(out.data, again); // equal input, equal bytes
  for (const auto &[config, message] : std::initializer_list<std::pair<const char *, const char *>>{
           {R"({"bos_token": 5})", "bos_token: expected a string or {\"content\": …}, got 5"},
           {R"({"eos_token": {"content": 5}})", "eos_token.content: expected a string, got 5"},
           {R"({"added_tokens_decoder": 5})",
            "added_tokens_decoder of tokenizer_config.json: expected an object, got 5"},
           {R"({"added_tokens_decoder": {"x": {"content": "y"}}})",
            "added_tokens_decoder of tokenizer_config.json: expected an id as key, got \"x\""},
           {R"({"added_tokens_decoder": {"3000": "y"}})",
            "added_tokens_decoder of tokenizer_config.json: 3000: expected an object, got \"y\""},
           {R"({"added_tokens_decoder": {"3000": {"content": "<y>", "special": 1}}})",
            "field 'special': expected true or false, got 1"}}) {
    folder.write("tokenizer_config.json", config);
    EXPECT_FALSE(folder.prepare(out, error)) << config;
    EXPECT_NE(error.find(message), std::string::npos) << error;
  }
  folder.write("tokenizer_config.json", "{\"bos_token\": ");
  EXPECT_FALSE(folder.prepare(out, error));
  EXPECT_NE(error.find("tokenizer_config.json: "), std::string::npos) << error;
}

// Tokenizers of characters (SentencePiece's kin): normalizers, pre-tokenisers, byte fallback,
// unknown tokens and decoders in several arrangements equal Hugging Face's library
// (make_spelled_cases.mjs), decoded whole and token by token, from prepared files of version 2.
TEST(Spelled, EqualsTheLibrary) {
  Json model;
  std::unique_ptr<Loaded> loaded;
  std::string variant;
  size_t cases = 0;
  for (Json &line : readLines(M1_TEXT_DATA "/spelled-tokenizer-cases.jsonl")) {
    if (line.contains("variant")) {
      variant = line["variant"];
      Json &tokenizer = line["tokenizer"];
      if (model.is_null())
        model = tokenizer["model"];
      for (const char *table : {"vocab", "merges"})
        tokenizer["model"][table] = model[table];
      loaded = load(tokenizer);
      ASSERT_TRUE(loaded->tokenizer) << variant << ": " << loaded->error;
      EXPECT_EQ(loaded->prepared.data[8], 2);
      continue;
    }
    ++cases;
    auto ids = line["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(encode(*loaded->tokenizer, line["text"]), ids) << variant << ": " << line["text"];
    EXPECT_EQ(loaded->tokenizer->decode(ids.data(), ids.size(), false),
              line["decoded"].get<std::string>())
        << variant << ": " << line["text"];
    EXPECT_EQ(loaded->tokenizer->decode(ids.data(), ids.size(), true),
              line["plain"].get<std::string>());
    EXPECT_EQ(decodeByStream(*loaded->tokenizer, ids), line["decoded"].get<std::string>());
  }
  EXPECT_GE(cases, 150u);
}

// What version 1 can say is written as version 1, so that older programs read it.
TEST(Spelled, BytesStayVersionOne) {
  for (const char *name : {"llama3", "qwen2", "gpt2"})
    EXPECT_EQ(load(variant(name))->prepared.data[8], 1) << name;
}

// A truncated or damaged prepared tokenizer is refused or still works within its bounds (sanitizers
// watch); it never crashes.
TEST(Prepared, SurvivesDamage) {
  auto loaded = load(variant("llama3"));
  ASSERT_TRUE(loaded->tokenizer) << loaded->error;
  const std::string good = loaded->prepared.data;
  std::string error;
  for (size_t size :
       {size_t(0), size_t(8), size_t(24), size_t(100), good.size() / 2, good.size() - 1})
    EXPECT_EQ(Tokenizer::load(std::string_view(good).substr(0, size), error), nullptr) << size;
  std::string newer = good;
  newer[8] = 9;
  EXPECT_EQ(Tokenizer::load(newer, error), nullptr);
  EXPECT_EQ(error, "prepared tokenizer: version 9, this program reads versions 1 to 3");
  std::mt19937 random(11);
  int refused = 0;
  for (int round = 0; round < 1500; ++round) {
    std::string bad = good;
    for (int flips = 1 + random() % 3; flips > 0; --flips)
      bad[round % 2 ? random() % 700 : random() % bad.size()] ^=
          static_cast<char>(1 << random() % 8);
    std::unique_ptr<Tokenizer> tokenizer = Tokenizer::load(bad, error);
    if (!tokenizer) {
      ++refused;
      continue;
    }
    std::vector<int32_t> ids;
    (void)tokenizer->encode("The answer's 42 <|end|> word [L] \n\n数学", true, ids, error);
    (void)tokenizer->decode(ids.data(), ids.size(), true);
  }
  EXPECT_GT(refused, 300);
}

// Values are checked, not only indices: ranks that stand for "none" in the encoder, tokens of
// merges outside the vocabulary, patterns and contents that are no UTF-8.
TEST(Prepared, RefusesValuesThatItsUsersCannotTake) {
  using namespace tokenizer_format;
  auto loaded = load(variant("llama3"));
  ASSERT_TRUE(loaded->tokenizer) << loaded->error;
  auto withChange = [&](Section s, auto change) {
    std::string bytes = loaded->prepared.data, error;
    SectionEntry entry;
    std::memcpy(&entry, &bytes[sizeof(FileHeader) + static_cast<size_t>(s) * sizeof entry],
                sizeof entry);
    change(&bytes[entry.offset], static_cast<size_t>(entry.size));
    EXPECT_EQ(Tokenizer::load(bytes, error), nullptr);
    return error;
  };
  auto everyMerge = [](auto change) {
    return [=](char *bytes, size_t size) {
      auto *slots = reinterpret_cast<MergeSlot *>(bytes);
      for (size_t i = 0; i < size / sizeof *slots; ++i)
        if (slots[i].merged != kEmpty)
          change(slots[i]);
    };
  };
  const std::string merges = "prepared tokenizer: section mergeSlots is inconsistent";
  EXPECT_EQ(withChange(Section::mergeSlots, everyMerge([](auto &m) { m.rank = 0xFFFFFFFF; })),
            merges);
  EXPECT_EQ(withChange(Section::mergeSlots, everyMerge([](auto &m) { m.left = 0x7FFFFFFF; })),
            merges);
  EXPECT_EQ(withChange(Section::mergeSlots, everyMerge([](auto &m) { m.right += 1u << 30; })),
            merges);
  EXPECT_NE(
      withChange(Section::strings, [](char *bytes, size_t size) { std::memset(bytes, 0xC3, size); })
          .find("UTF-8"),
      std::string::npos);
  EXPECT_NE(withChange(Section::stages,
                       [](char *bytes, size_t) {
                         reinterpret_cast<Stage *>(bytes)->patternSize = 0xFFFFFFFF;
                       })
                .find("stage 0"),
            std::string::npos);
}

// A small file cannot make the compiler allocate much or recurse deeply.
TEST(Prepare, IsBoundedByTheFilesSize) {
  auto errorOf = [](const std::string &text) {
    TokenizerDirectory folder;
    folder.write("tokenizer.json", text);
    PreparedTokenizer out;
    std::string error;
    EXPECT_FALSE(folder.prepare(out, error));
    return error;
  };
  EXPECT_NE(errorOf(R"({"model": {"type": "BPE", "vocab": {"a": 67108000}, "merges": []}})")
                .find("token id 67108000: expected less than 262"),
            std::string::npos);
  EXPECT_NE(errorOf(R"({"added_tokens": [{"id": 9007199254740993, "content": "x"}],
                        "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})")
                .find("token id 9007199254740993: expected less than"),
            std::string::npos);
  std::string nested;
  for (int i = 0; i < 300000; ++i)
    nested += R"({"type":"Sequence","normalizers":[)";
  EXPECT_NE(
      errorOf(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "normalizer": )" +
              nested)
          .find("tokenizer.json: nested deeper than 100 levels"),
      std::string::npos);
}

std::string sharedDirectory() {
  const char *named = std::getenv("M1_SHARED");
  return named ? named : M1_SHARED_DIR;
}

// Llama 3.1's tokenizer encodes and decodes every golden text exactly, with the matchers and with
// PCRE2.
TEST(Goldens, Llama31) {
  std::string shared = sharedDirectory(), error;
  std::vector<Json> lines = readLines(shared + "/goldens/llama3.1-tokenizer.jsonl");
  if (lines.empty())
    GTEST_SKIP() << "no shared goldens next to the repository (M1_SHARED names their directory)";
  const std::string directory = shared + "/tokenizer/llama3.1/";
  std::string path = directory + "tokenizer.json";
  m1test::TemporaryDirectory unpacked;
  if (!std::ifstream(path)) {
    const std::string packed = path + ".gz";
    path = unpacked / "tokenizer.json";
    ASSERT_EQ(std::system(("gzip -dc '" + packed + "' > '" + path + "'").c_str()), 0);
  }
  PreparedTokenizer prepared;
  ASSERT_TRUE(prepareTokenizer(path, directory + "tokenizer_config.json", prepared, error))
      << error;
  for (bool alwaysRegex : {false, true}) {
    auto tokenizer = Tokenizer::load(prepared.data, error, {alwaysRegex});
    ASSERT_TRUE(tokenizer) << error;
    for (const Json &line : lines) {
      std::vector<int32_t> expected = line["ids"].get<std::vector<int32_t>>();
      ASSERT_EQ(encode(*tokenizer, line["text"]), expected) << line["text"];
      ASSERT_EQ(tokenizer->decode(expected.data(), expected.size(), false),
                line["decoded"].get<std::string>());
      ASSERT_EQ(decodeByStream(*tokenizer, expected), line["decoded"].get<std::string>());
    }
  }
  EXPECT_EQ(encode(*Tokenizer::load(prepared.data, error), "", true), std::vector<int32_t>{128000});
}

} // namespace
