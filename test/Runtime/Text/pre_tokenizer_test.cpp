// The hand-written matchers against PCRE2, the translation of patterns, and the behaviours of
// Split.
#include "../../Support/Sanitized.h"
#include "tokenizer/pre_tokenizer.h"

#include <gtest/gtest.h>

#include <ctime>

#include <random>

using namespace m1rt;
using tokenizer_format::SplitBehavior;
using tokenizer_format::StageKind;

namespace {

const char kLlama3[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char kQwen2[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

std::vector<std::string> cut(const std::string &pattern, const std::string &text,
                             bool allowMatchers, SplitBehavior behavior = SplitBehavior::isolated,
                             bool invert = false, StageKind kind = StageKind::splitRegex) {
  PreTokenizer pre;
  std::string error;
  EXPECT_TRUE(pre.addSplit(pattern, kind, behavior, invert, allowMatchers, error)) << error;
  PreTokenizer::Pieces pieces;
  EXPECT_TRUE(pre.split(text, true, pieces, error)) << error;
  return {pieces.views.begin(), pieces.views.end()};
}

/// A pattern's own matcher and PCRE2's.
class KnownPatterns : public testing::TestWithParam<const char *> {
protected:
  void SetUp() override {
    for (PreTokenizer *pre : {&fast, &slow})
      ASSERT_TRUE(pre->addSplit(GetParam(), StageKind::splitRegex, SplitBehavior::isolated, false,
                                pre == &fast, error))
          << error;
    ASSERT_NE(fast.onlyMatcher(), KnownPattern::none);
    ASSERT_EQ(slow.onlyMatcher(), KnownPattern::none);
  }
  void expectTheSame(const std::string &text) {
    PreTokenizer::Pieces a, b;
    ASSERT_TRUE(fast.split(text, true, a, error)) << error;
    ASSERT_TRUE(slow.split(text, true, b, error)) << error;
    for (size_t i = 0; i < std::min(a.views.size(), b.views.size()); ++i)
      ASSERT_EQ(a.views[i], b.views[i])
          << "piece " << i << " at byte " << (a.views[i].data() - text.data()) << " of "
          << text.substr(0, 100);
    ASSERT_EQ(a.views.size(), b.views.size()) << text.substr(0, 100);
  }

  PreTokenizer fast, slow;
  std::string error;
};

// Every code point alone, and between letters, digits, spaces and apostrophes, is cut as PCRE2 cuts
// it.
TEST_P(KnownPatterns, EqualPcre2OnEveryCodePoint) {
  std::string text;
  // Letters, digits and spaces of other planes than the first two are few.
  for (uint32_t c = 1; c < 0x110000; c += c < 0x20000 ? 1 : m1test::repeated(1, 61)) {
    if (c >= 0xD800 && c < 0xE000)
      continue;
    for (const char *before : {"a", "7", " ", "'"}) {
      text += before;
      appendUtf8(c, text);
    }
    appendUtf8(c, text);
    text += "a\n";
  }
  expectTheSame(text);
}

// Random texts over an alphabet that provokes every alternative and every way to backtrack are cut
// as PCRE2 cuts them.
TEST_P(KnownPatterns, EqualPcre2OnRandomText) {
  const std::vector<std::string> alphabet = {
      "a",  "Z",      "é",  "ſ",  "数", "1",        "9",      "½",      "Ⅷ",
      " ",  " ",      "\n", "\r", "\t", "\u00a0",   "\u3000", "\u0085", "\u180e",
      "'",  "'",      "s",  "S",  "t",  "r",        "e",      "v",      "l",
      "L",  "m",      "D",  ".",  "$",  "_",        "\u0301", "\u200d", "🙂",
      "\v", "\u2028", "K",  "İ",  "ß",  "\u10ffff", "\u0378"};
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (size_t length = 1 + random() % 14; length > 0; --length)
      text += alphabet[random() % alphabet.size()];
    expectTheSame(text);
    if (HasFatalFailure())
      return;
  }
}

INSTANTIATE_TEST_SUITE_P(All, KnownPatterns, testing::Values(kLlama3, kQwen2, kGpt2Pattern));

// Patterns as Oniguruma means them: \s without U+180E, \w with marks, Unicode escapes; what would
// mean something else is refused by name.
TEST(RegexTranslation, KeepsOnigurumasMeaning) {
  using V = std::vector<std::string>;
  EXPECT_EQ(cut(R"(\s+)", "a\u180e\u3000b", false), (V{"a\u180e", "\u3000", "b"}));
  EXPECT_EQ(cut(R"([^\s]+)", "a\u180e b", false), (V{"a\u180e", " ", "b"}));
  EXPECT_EQ(cut(R"(\w+)", "e\u0301_x-y", false), (V{"e\u0301_x", "-", "y"}));
  EXPECT_EQ(cut(R"(\w+)", "\u2160Ⓐ½-²", false), (V{"\u2160Ⓐ½", "-", "²"}));
  EXPECT_EQ(cut(R"([\w]+)", "aⒶ½b", false), (V{"aⒶ", "½", "b"})); // not in a class
  EXPECT_EQ(cut(R"([a-z]\b)", "e\u0301x½y ", false), (V{"e\u0301x½", "y", " "}));
  EXPECT_EQ(cut(R"([a-z]\B)", "e\u0301y ", false), (V{"e", "\u0301y "}));
  // A script, and not what is also used with it.
  EXPECT_EQ(cut(R"(\p{Han}+)", "a数、学b", false), (V{"a", "数", "、", "学", "b"}));
  EXPECT_EQ(cut(R"([^\P{Han}b]+)", "a数、b", false), (V{"a", "数", "、b"}));
  EXPECT_EQ(cut(R"(\p{^Hiragana}+)", "ひ、ら", false), (V{"ひ", "、", "ら"}));
  EXPECT_EQ(cut(R"(\u6570+)", "a数数b", false), (V{"a", "数数", "b"}));
  EXPECT_EQ(cut(R"([]a]+)", "x]ay", false), (V{"x", "]a", "y"}));
  std::string translated, error;
  const std::pair<const char *, const char *> refused[] = {
      {R"(\h)", "\\h at offset 0"},
      {R"([a[b]])", "a character class inside a character class at offset 2"},
      {R"([a-z&&[^b]])", "a class intersection (&&) at offset 4"},
      {R"([\S])", "\\S inside a character class at offset 1"},
      {R"(a{2}+)", "'+' after an interval at offset 4"},
      {R"(x(?i)'st)", "'st' without regard to case at offset 6"}, // a single letter folds to them
      {R"((?m:.))", "the option m at offset 2"}};
  for (const auto &[pattern, message] : refused) {
    EXPECT_FALSE(translateRegex(pattern, translated, error)) << pattern;
    EXPECT_NE(error.find(message), std::string::npos) << error;
  }
  EXPECT_EQ(Regex::compile("(a", error), nullptr);
  EXPECT_NE(error.find("does not compile"), std::string::npos) << error;
}

// Characters that Unicode has had since version 14 have their properties, in patterns for PCRE2
// (which may be older) as in the matchers: ideographs of 15 and 15.1, letters, marks and digits of
// 16; not those of 17.
TEST(Unicode16, PropertiesInEveryPattern) {
  using V = std::vector<std::string>;
  const std::string letters = "\U0003210c\U0002ebf0\u1c8a\ua7cb\U00010d4a", mark = "\u0897",
                    digits = "\U00010d40\U0001ccf0", later = "\U000323b0\ua7ce";
  for (bool matchers : {false, true})
    EXPECT_EQ(cut(kQwen2, letters + "\n" + later + "\n", matchers),
              (V{letters, "\n", later + "\n"}));
  EXPECT_EQ(cut(R"(\p{L}+)", "-" + letters + "-", false), (V{"-", letters, "-"}));
  EXPECT_EQ(cut(R"(\p{Lu})", "\u1c8a\u1c89\U00010d50", false),
            (V{"\u1c8a", "\u1c89", "\U00010d50"}));
  EXPECT_EQ(cut(R"([^\p{L}\p{N}]+)", "a" + mark + digits, false), (V{"a", mark, digits}));
  EXPECT_EQ(cut(R"(\p{Han}+)", "a\U0003210cb", false), (V{"a", "\U0003210c", "b"}));
  EXPECT_EQ(cut("\u1c8a", "a\u1c8ab", false), (V{"a", "\u1c8a", "b"})); // that the pattern names
  // Ranges are of numbers, as in the lists of letters of deepseek-llm.
  EXPECT_EQ(cut("[\u0800-\u4e00]+", "a\ua7cb\u0897b", false), (V{"a\ua7cb", "\u0897", "b"}));
  EXPECT_EQ(cut("[\U00010400-\U0001044f]+", "a\U00010d50b", false), (V{"a\U00010d50b"}));
}

// The patterns of other model families run in PCRE2: those of GPT-4o and of DeepSeek V3.
TEST(RegexTranslation, TakesOtherFamilies) {
  using V = std::vector<std::string>;
  const char gpt4o[] =
      R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  EXPECT_EQ(cut(gpt4o, "HelloWorld don't 12345!/\n", false),
            (V{"Hello", "World", " don't", " ", "123", "45", "!/\n"}));
  const char deepseek[] =
      R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  EXPECT_EQ(cut(deepseek, "a.b [x] == y\n", false),
            (V{"a", ".b", " [", "x", "]", " ==", " y", "\n"}));
  EXPECT_EQ(cut("[一-龥぀-ゟ゠-ヿ]+", "数学です。ab", false), (V{"数学です", "。ab"}));
}

// Split's five behaviours and `invert` give the pieces that tokenizers documents.
TEST(SplitBehaviors, FollowTokenizers) {
  using V = std::vector<std::string>;
  const std::string text = "the-final--countdown";
  auto with = [&](SplitBehavior b, bool invert = false) {
    return cut("-", text, false, b, invert, StageKind::splitLiteral);
  };
  EXPECT_EQ(with(SplitBehavior::removed), (V{"the", "final", "countdown"}));
  EXPECT_EQ(with(SplitBehavior::isolated), (V{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(with(SplitBehavior::mergedWithPrevious), (V{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(with(SplitBehavior::mergedWithNext), (V{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(with(SplitBehavior::contiguous), (V{"the", "-", "final", "--", "countdown"}));
  EXPECT_EQ(with(SplitBehavior::removed, true), (V{"-", "-", "-"}));
  EXPECT_EQ(cut("(?=b)", "abab", false), (V{"a", "ba", "b"}));
}

// Behind ByteLevel patterns see the characters that spell bytes: the second byte of é is the ©
// there, that of ò the ², which is a number, and a space is Ġ.
TEST(SplitBehaviors, OfTheSpellingOfBytes) {
  using V = std::vector<std::string>;
  auto with = [](const char *pattern, const char *text, StageKind kind) {
    return cut(pattern, text, false, SplitBehavior::isolated, false, kind);
  };
  EXPECT_EQ(with("\\p{N}", "xò1", StageKind::splitSpelledRegex), (V{"x\xC3", "\xB2", "1"}));
  EXPECT_EQ(with("[0-9]{3}", "12345 ½", StageKind::splitSpelledRegex), (V{"123", "45 ½"}));
  EXPECT_EQ(with("Ġ", "a b", StageKind::splitSpelledLiteral), (V{"a", " ", "b"}));
  EXPECT_EQ(with("Ã©", "né", StageKind::splitSpelledLiteral), (V{"n", "é"}));
}

// The longest pieces and deep backtracking stay within PCRE2's limits.
TEST(Regex, TakesLongPieces) {
  std::string text = std::string(400000, ' ') + "a" + std::string(400000, 'b');
  EXPECT_EQ(cut(kLlama3, text, false), cut(kLlama3, text, true));
}

// A run of spaces longer than PCRE2's own limit of ten million steps is one piece; endless
// backtracking still ends.
TEST(Regex, LongRunsAreWithinTheLimit) {
  std::string error;
  std::vector<Regex::Span> matches;
  auto spaces = Regex::compile(R"(\s*[\r\n]+|\s+(?!\S)|\s+)", error);
  ASSERT_TRUE(spaces) << error;
  EXPECT_TRUE(spaces->findAll(std::string(12000000, ' '), matches, error)) << error;
  EXPECT_EQ(matches.size(), 1u);
  auto endless = Regex::compile("(?:a+)+[bc]", error);
  ASSERT_TRUE(endless) << error;
  EXPECT_FALSE(endless->findAll(std::string(60, 'a'), matches, error));
  EXPECT_NE(error.find("match limit exceeded"), std::string::npos) << error;
}

// Patterns come with checkpoints: those that take exponential or quadratic time end in an error
// that names them, in seconds, whatever the text; those that are no UTF-8 are refused.
TEST(Regex, CatastrophicPatternsEndInAnError) {
  const std::pair<const char *, std::string> cases[] = {
      {"(a+)+$", std::string(100000, 'a') + "b"},
      {"(a|aa)+$", std::string(100000, 'a') + "b"},
      {"(x+x+)+y$", std::string(1000000, 'x') + "z"},
      {"(?:a?){50}a{50}", std::string(50, 'a')},
      {"(?:[ab]|[bc]){1,30}$", std::string(200000, 'b') + "z"},
  };
  for (const auto &[pattern, text] : cases) {
    std::string error;
    std::vector<Regex::Span> matches;
    auto regex = Regex::compile(pattern, error);
    ASSERT_TRUE(regex) << error;
    std::clock_t start = std::clock();
    EXPECT_FALSE(regex->findAll(text, matches, error)) << pattern;
    EXPECT_LT(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC, 20);
    EXPECT_NE(error.find(pattern), std::string::npos) << error;
  }
  std::string error;
  EXPECT_EQ(Regex::compile("a\xc3(", error), nullptr);
  EXPECT_EQ(error, "regular expression is not UTF-8 at offset 1");
  EXPECT_EQ(Regex::compile(std::string(20000, 'a'), error), nullptr);
}

} // namespace
