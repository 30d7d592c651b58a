// Numbers in templates and answers under a locale with a decimal comma.
#include "../../Support/TemporaryDirectory.h"
#include "base/numbers.h"
#include "template/chat_template.h"
#include "vote/vote.h"

#include <gtest/gtest.h>

#include <clocale>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>

using namespace m1rt;

namespace {

// German, generated once for the tests where the system has none.
class CommaLocale : public testing::Test {
protected:
  static constexpr char kName[] = "de_DE.UTF-8";
  static void SetUpTestSuite() {
    if (std::setlocale(LC_ALL, kName))
      return;
    folder = std::make_unique<m1test::TemporaryDirectory>();
    setenv("LOCPATH", folder->path.c_str(), 1);
    // Where it makes none, the tests are skipped.
    (void)!std::system(
        ("localedef -i de_DE -f UTF-8 '" + *folder / kName + "' >/dev/null 2>&1").c_str());
  }
  static void TearDownTestSuite() {
    unsetenv("LOCPATH");
    folder.reset();
  }
  void SetUp() override {
    if (!std::setlocale(LC_ALL, kName))
      GTEST_SKIP() << "no de_DE locale, and localedef makes none";
    char half[8];
    snprintf(half, sizeof half, "%.1f", 0.5);
    ASSERT_STREQ(half, "0,5") << "the locale has no comma, so the test would prove nothing";
  }
  void TearDown() override { std::setlocale(LC_ALL, "C"); }
  static std::unique_ptr<m1test::TemporaryDirectory> folder;
};
std::unique_ptr<m1test::TemporaryDirectory> CommaLocale::folder;

TEST_F(CommaLocale, TemplatesPrintAndReadPoints) {
  std::string error, out;
  auto chat = ChatTemplate::parse("{{ 2.5 }} {{ '2.5' | float + 1 }} {{ 2.675 | round(1) }} "
                                  "{{ [0.1, 1e22, 1e-7] | tojson }} {{ '3.9' | int }} "
                                  "{{ 7 / 2 }} {{ strftime_now('%B') | length > 2 }}",
                                  error);
  ASSERT_TRUE(chat) << error;
  ASSERT_TRUE(chat->apply({}, true, "", "", out, error)) << error;
  EXPECT_EQ(out, "2.5 3.5 2.7 [0.1, 1e+22, 1e-07] 3 3.5 True");
}

TEST_F(CommaLocale, AnswersKeepTheirDecimals) {
  EXPECT_TRUE(answersEqual("2.5\\pi", "\\frac{5\\pi}{2}"));
  EXPECT_FALSE(answersEqual("2.5\\pi", "2\\pi"));
  EXPECT_TRUE(answersEqual("0.5\\sqrt{2}", "\\frac{1}{\\sqrt 2}"));
  EXPECT_TRUE(answersEqual("1.5e3", "1500"));
}

// Beside the locale: signs, infinities and numbers beyond double's range read as Python reads them.
TEST(Numbers, ReadWholeTexts) {
  double x = 0;
  for (auto [text, value] : {std::pair<const char *, double>{"2.5", 2.5},
                             {"+.5", 0.5},
                             {"-1e3", -1000},
                             {"1e999", HUGE_VAL},
                             {"-1e999", -HUGE_VAL},
                             {"1e-999", 0},
                             {"0.0001e-400", 0},
                             {"100000e400", HUGE_VAL},
                             {"inf", HUGE_VAL}}) {
    EXPECT_TRUE(parseDouble(text, x)) << text;
    EXPECT_EQ(x, value) << text;
  }
  for (const char *text : {"", "+", "+-1", "--1", "2,5", "1x", "nan(1)", " 1"})
    EXPECT_FALSE(parseDouble(text, x)) << text;
}

} // namespace
