#include "model/page_pool.h"
#include <gtest/gtest.h>
#include <map>
#include <random>

using m1rt::PagePool;

namespace {

// Under random takes, shares and releases a page is free exactly when it has no owner, and never
// has two first owners at once.
TEST(PagePool, CountsOwners) {
  std::mt19937 random(3);
  PagePool pool(17);
  std::map<uint32_t, uint32_t> owners;
  for (int i = 0; i < 20000; ++i) {
    const unsigned choice = random() % 4;
    if (choice <= 1 && pool.free() > 0) {
      uint32_t page = pool.take();
      ASSERT_LT(page, 17u);
      ASSERT_EQ(owners.count(page), 0u);
      owners[page] = 1;
    } else if (!owners.empty()) {
      auto it = std::next(owners.begin(), random() % owners.size());
      if (choice == 2) {
        pool.share(it->first);
        ++it->second;
      } else {
        pool.release(it->first);
        if (--it->second == 0)
          owners.erase(it);
      }
    }
    ASSERT_EQ(pool.free() + owners.size(), 17u);
  }
  for (auto [page, count] : owners)
    EXPECT_EQ(pool.ownersOf(page), count);
}

} // namespace
