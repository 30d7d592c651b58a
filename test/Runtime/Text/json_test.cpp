// The reader of JSON from outside: what it understands, and what it refuses before it costs memory.
#include "base/json_value.h"
#include <algorithm>

#include <gtest/gtest.h>

using namespace m1rt;
using Json = nlohmann::json;

namespace {

// It builds what nlohmann's own parser builds.
TEST(Json, EqualsTheParserOfTheLibrary) {
  const char *texts[] = {
      "null",
      "[]",
      R"({"a": [1, -2, 2.5, 1e300, true, {"b": {}, "c": [[]]}], "é\ud83d\ude00\n": "x"})",
      "[18446744073709551615, 9223372036854775807, -9223372036854775808, 0]",
      R"({"twice": 1, "twice": [2]})",
      " [ {\"k\" : {\"k\" : [ {} , 1 ] } , \"l\" : null } ] ",
  };
  for (const char *text : texts) {
    Json mine;
    std::string error;
    ASSERT_TRUE(readJson(text, mine, error)) << error;
    EXPECT_EQ(mine, Json::parse(text));
    EXPECT_EQ(mine.dump(), Json::parse(text).dump());
  }
}

TEST(Json, RefusesWithThePlaceAndTheLimit) {
  auto errorOf = [](const std::string &text, JsonLimits limits = {}) {
    Json json;
    std::string error;
    EXPECT_FALSE(readJson(text, json, error, limits)) << text.substr(0, 50);
    return error;
  };
  EXPECT_EQ(errorOf("{\"a\":\n ]").substr(0, 33), "parse error at line 2, column 2: ");
  EXPECT_EQ(errorOf("[1,2").substr(0, 33), "parse error at line 1, column 5: ");
  EXPECT_NE(errorOf("[\"\xff\"]").find("UTF-8"), std::string::npos);
  EXPECT_NE(errorOf("1e999").find("number overflow"), std::string::npos);
  EXPECT_NE(errorOf("[1] 2").find("expected end of input"), std::string::npos);
  for (const char *open : {"[", "{\"a\":", "[{\"a\":"}) {
    std::string deep;
    for (int i = 0; i < 300000; ++i)
      deep += open;
    EXPECT_EQ(errorOf(deep), "nested deeper than 100 levels");
  }
  EXPECT_EQ(errorOf("[[[]]]", {100, 100, 2}), "nested deeper than 2 levels");
  EXPECT_EQ(errorOf("[1,2,{\"a\":3}]", {100, 5, 9}), "more than 5 values");
  EXPECT_EQ(errorOf("[1,2,3]", {6, 100, 9}), "longer than 6 bytes");
  EXPECT_EQ(errorOf(std::string("[1]\0[2]", 7)), "holds a NUL byte, at offset 3");
}

// What a message quotes of a text that is no UTF-8 is.
TEST(Json, MessagesAreText) {
  Json json;
  std::string error;
  ASSERT_FALSE(readJson("{\"a\": \xC1\xFF}", json, error));
  EXPECT_EQ(std::count_if(error.begin(), error.end(), [](char c) { return c < ' '; }), 0) << error;
}

// Nor is it as long as the number or string at fault.
TEST(Json, MessagesAreShort) {
  Json json;
  std::string error;
  for (const std::string &text :
       {"[" + std::string(100000, '9') + "]", "[\"" + std::string(100000, 'a') + "\n\"]"}) {
    ASSERT_FALSE(readJson(text, json, error));
    EXPECT_LE(error.size(), 400u);
    EXPECT_NE(error.find(" ... "), std::string::npos) << error;
  }
}

// Files are read up to the limit; devices, pipes and directories not at all.
TEST(Json, FilesAreReadUpToTheLimit) {
  std::string text, error;
  EXPECT_FALSE(readTextFile("/proc/self/exe", 1 << 10, text, error));
  EXPECT_EQ(error, "longer than 1024 bytes");
  EXPECT_FALSE(readTextFile("/dev/zero", 1 << 20, text, error));
  EXPECT_EQ(error, "is a device, expected a file");
  EXPECT_FALSE(readTextFile("/", 1 << 20, text, error));
  EXPECT_FALSE(readTextFile("/no/such/file", 1 << 20, text, error));
  EXPECT_EQ(error, "cannot read: No such file or directory");
}

} // namespace
