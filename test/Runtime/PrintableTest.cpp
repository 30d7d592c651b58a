// Messages that quote what strangers wrote.
#include "base/printable.h"
#include "gtest/gtest.h"
#include <vector>

using namespace m1rt;

// One line shows orders to a terminal and what is no UTF-8 as text; several keep their line ends.
TEST(Printable, ShowsWhatMayNotBeShown) {
  const std::string text = "a\n\tb\x1b[31m\xc3\xa9\xff\xc2\x9b";
  EXPECT_EQ(printable(text, false), "a\\n\\tb\\x1b[31m\xc3\xa9\\xff\\xc2\\x9b");
  EXPECT_EQ(printable(text, true), "a\n\tb\\x1b[31m\xc3\xa9\\xff\\xc2\\x9b");
  EXPECT_EQ(printable("", false), "");
}

// Long ones lose their middle, between characters, whatever they are made of.
TEST(Printable, BoundsLongTexts) {
  std::string characters;
  while (characters.size() < 100000)
    characters += "\xe2\x82\xac";
  const std::string cut = printable("a" + characters, false);
  EXPECT_EQ(cut.find("\\x"), std::string::npos);
  EXPECT_NE(cut.find(" bytes) ... \xe2\x82\xac"), std::string::npos);
  EXPECT_LT(cut.size(), 8000u);
  for (const char *piece : {"a", "\n", "\x1b", "\x80", "\xff"}) {
    std::string whole;
    while (whole.size() < 100000)
      whole += piece;
    // On the heap and without an end, for sanitizers to see what is read behind it.
    const std::vector<char> bytes(whole.begin(), whole.end());
    const std::string shown = printable({bytes.data(), bytes.size()}, false);
    EXPECT_LT(shown.size(), 12500u);
    EXPECT_EQ(shown.find("\\x00"), std::string::npos);
    const std::string end = printable(piece, false);
    EXPECT_EQ(shown.substr(shown.size() - end.size()), end);
  }
}
