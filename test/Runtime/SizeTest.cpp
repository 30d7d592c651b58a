#include "base/size.h"
#include <gtest/gtest.h>

using m1rt::Size;

namespace {

// Sums and products that do not fit stay the largest number, whatever comes after.
TEST(Size, DoesNotWrap) {
  constexpr uint64_t most = Size::largest;
  EXPECT_EQ((Size(3) + 4).get(), 7u);
  EXPECT_EQ((Size(3) * 4).get(), 12u);
  EXPECT_EQ((Size(uint64_t(1) << 48) * 65536).get(), most); // 2^64: 0 when it wraps
  EXPECT_EQ((Size(uint64_t(1) << 48) * 65535).get(), uint64_t(65535) << 48);
  EXPECT_EQ((Size(most) + 1).get(), most);
  EXPECT_EQ((Size(most - 1) + 1).get(), most);
  EXPECT_EQ((Size(most) * 0).get(), most);
  EXPECT_EQ((Size(0) * 5).get(), 0u);
  Size sum = 0;
  for (int i = 0; i < 65536; ++i)
    sum += uint64_t(1) << 48;
  EXPECT_EQ(sum.get(), most);
}

TEST(Size, Alignment) {
  EXPECT_EQ(Size(0).alignedTo(256).get(), 0u);
  EXPECT_EQ(Size(1).alignedTo(256).get(), 256u);
  EXPECT_EQ(Size(256).alignedTo(256).get(), 256u);
  EXPECT_EQ(Size(Size::largest - 5).alignedTo(256).get(), Size::largest);
}

} // namespace
