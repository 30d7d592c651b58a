// Which KV pages the sequences of a step share.
#include "../Support/TestSeed.h"
#include "m1k_abi.h"
#include "model/shared_prefixes.h"
#include <gtest/gtest.h>
#include <random>

using namespace m1rt;

namespace {

using Tables = std::vector<std::vector<uint32_t>>;

/// All pages of every sequence may be shared.
SharedPrefixes find(const Tables &tables, const PrefixWork &work = {}) {
  std::vector<SequencePages> sequences;
  for (const auto &table : tables)
    sequences.push_back({table.data(), uint32_t(table.size())});
  SharedPrefixes shared;
  findSharedPrefixes(sequences, work, &shared);
  return shared;
}

/// Every sequence's items cover exactly its shared pages, once, with ranks from 0 on, and name
/// pages that the members really have in common.
void check(const Tables &tables, const SharedPrefixes &shared) {
  ASSERT_EQ(shared.items.size(), size_t(1 + M1_PREFIX_ITEMS * M1_PREFIX_ITEM));
  ASSERT_EQ(shared.slots.size(), tables.size() + 1);
  ASSERT_LE(shared.items[0], M1_PREFIX_ITEMS);
  ASSERT_LE(shared.slots.back(), M1_PREFIX_SLOTS);
  std::vector<std::vector<int>> covered(tables.size());
  std::vector<std::vector<bool>> ranks(tables.size());
  for (size_t s = 0; s < tables.size(); ++s) {
    ASSERT_LE(size_t(shared.pages[s]), tables[s].size());
    covered[s].assign(size_t(shared.pages[s]), 0);
    ranks[s].assign(size_t(shared.slots[s + 1] - shared.slots[s]), false);
  }
  uint64_t saved = 0;
  for (int i = 0; i < shared.items[0]; ++i) {
    const int32_t *item = &shared.items[size_t(1 + i * M1_PREFIX_ITEM)];
    ASSERT_LT(item[0] + 1, item[1]) << "an item of one sequence";
    ASSERT_LE(item[1], int(tables.size()));
    ASSERT_LT(item[2], item[3]);
    saved += uint64_t(item[1] - item[0] - 1) * uint64_t(item[3] - item[2]);
    for (int s = item[0]; s < item[1]; ++s) {
      ASSERT_LT(size_t(item[4]), ranks[size_t(s)].size());
      ASSERT_FALSE(ranks[size_t(s)][size_t(item[4])]) << "a rank twice";
      ranks[size_t(s)][size_t(item[4])] = true;
      ASSERT_LE(item[3], shared.pages[size_t(s)]);
      for (int page = item[2]; page < item[3]; ++page) {
        ++covered[size_t(s)][size_t(page)];
        ASSERT_EQ(tables[size_t(s)][size_t(page)], tables[size_t(item[0])][size_t(page)]);
      }
    }
  }
  EXPECT_EQ(saved, shared.savedPages);
  for (size_t s = 0; s < tables.size(); ++s) {
    for (int count : covered[s])
      EXPECT_EQ(count, 1);
    for (bool taken : ranks[s])
      EXPECT_TRUE(taken);
  }
}

} // namespace

TEST(SharedPrefixes, StrangersShareNothing) {
  SharedPrefixes shared = find({{1, 2}, {3, 4}, {}, {5}});
  EXPECT_EQ(shared.items[0], 0);
  EXPECT_EQ(shared.savedPages, 0u);
  EXPECT_EQ(shared.pages, std::vector<int32_t>(4, 0));
}

TEST(SharedPrefixes, SamplesOfOnePromptShareItsPages) {
  Tables tables = {{1, 2, 3}, {1, 2, 4, 5}, {1, 2}, {7}};
  SharedPrefixes shared = find(tables);
  check(tables, shared);
  EXPECT_EQ(shared.items[0], 1);
  EXPECT_EQ(shared.pages, (std::vector<int32_t>{2, 2, 2, 0}));
  EXPECT_EQ(shared.savedPages, 4u);
}

TEST(SharedPrefixes, ForksOfForksAreLevels) {
  Tables tables = {{1, 2, 3, 9}, {1, 2, 3, 8}, {1, 2, 4}, {1, 5, 6}, {1, 5, 7}};
  SharedPrefixes shared = find(tables);
  check(tables, shared);
  EXPECT_EQ(shared.pages, (std::vector<int32_t>{3, 3, 2, 2, 2}));
  EXPECT_EQ(shared.savedPages, 4u + 2u + 1u + 1u); // page 1, page 2, page 3, page 5
}

TEST(SharedPrefixes, LongRunsAreCutSoThatAllBlocksHaveWork) {
  std::vector<uint32_t> prompt(1000);
  for (uint32_t i = 0; i < prompt.size(); ++i)
    prompt[i] = i;
  Tables tables(8, prompt);
  PrefixWork work;
  work.blocks = 264;
  work.kvHeads = 8;
  work.tileMembers = 42;
  SharedPrefixes shared = find(tables, work);
  check(tables, shared);
  EXPECT_GE(shared.items[0] * 8, 200);
  EXPECT_EQ(shared.savedPages, 7000u);
  for (int i = 1; i < shared.items[0]; ++i) { // the longest first
    const int32_t *item = &shared.items[size_t(1 + i * M1_PREFIX_ITEM)];
    EXPECT_LE(item[3] - item[2], item[3 - M1_PREFIX_ITEM] - item[2 - M1_PREFIX_ITEM]);
  }
}

// What the arrays cannot hold is left out: more groups than items, more members than slots.
TEST(SharedPrefixes, LimitsHold) {
  Tables groups;
  for (uint32_t g = 0; g < 300; ++g)
    for (uint32_t i = 0; i < 2; ++i)
      groups.push_back({1000 + g, 5000 + 2 * g + i});
  SharedPrefixes shared = find(groups);
  check(groups, shared);
  EXPECT_EQ(shared.items[0], M1_PREFIX_ITEMS);
  Tables many(M1_PREFIX_SLOTS + 1, {1, 2});
  many.push_back({3, 4});
  many.push_back({3, 5});
  shared = find(many);
  check(many, shared);
  EXPECT_EQ(shared.savedPages, 1u);
}

TEST(SharedPrefixes, RandomForkTrees) {
  std::mt19937 random(m1test::testSeed());
  auto pick = [&](uint32_t low, uint32_t high) {
    return std::uniform_int_distribution<uint32_t>(low, high)(random);
  };
  for (int round = 0; round < 300; ++round) {
    Tables tables = {{}};
    uint32_t next = 0, count = pick(1, round % 10 == 0 ? 600 : 40);
    while (tables.size() < count) { // grow, or fork and put the copy beside its source
      const size_t at = pick(0, uint32_t(tables.size() - 1));
      for (uint32_t i = pick(0, 3); i > 0; --i)
        tables[at].push_back(next++);
      if (pick(0, 1))
        tables.insert(tables.begin() + ptrdiff_t(at), tables[at]);
      else if (pick(0, 9) == 0)
        tables.insert(tables.begin() + ptrdiff_t(at), std::vector<uint32_t>());
    }
    PrefixWork work;
    work.blocks = pick(1, 300);
    work.kvHeads = pick(1, 8);
    work.tileMembers = pick(1, 64);
    check(tables, find(tables, work));
    if (testing::Test::HasFatalFailure())
      return;
  }
}
