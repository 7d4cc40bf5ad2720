#include "cache/block_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <utility>
#include <vector>

namespace weft::cache {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(BlockTable, GrowsByWholeBlocks) {
  BlockPool pool(4, 16);
  BlockTable table(pool);
  EXPECT_TRUE(table.grow(0));
  EXPECT_THAT(table.ids(), IsEmpty());
  EXPECT_TRUE(table.grow(37));
  EXPECT_THAT(table.ids(), ElementsAre(0, 1, 2));
  EXPECT_EQ(table.capacity(), 48);
  EXPECT_TRUE(table.grow(48));
  EXPECT_TRUE(table.grow(10));  // never shrinks
  EXPECT_EQ(table.num_blocks(), 3);
}

TEST(BlockTable, TakesAllOrNothing) {
  BlockPool pool(4, 16);
  BlockTable first(pool), second(pool);
  ASSERT_TRUE(first.grow(33));
  EXPECT_FALSE(second.grow(17));
  EXPECT_THAT(second.ids(), IsEmpty());
  EXPECT_EQ(pool.num_free(), 1);
  EXPECT_TRUE(second.grow(16));
  EXPECT_FALSE(first.grow(49));
  EXPECT_EQ(first.num_blocks(), 3);
}

TEST(BlockTable, TruncatesFromTheEnd) {
  BlockPool pool(4, 16);
  BlockTable table(pool);
  ASSERT_TRUE(table.grow(64));
  table.truncate(17);
  EXPECT_THAT(table.ids(), ElementsAre(0, 1));
  table.truncate(32);  // never grows
  EXPECT_EQ(table.num_blocks(), 2);
  ASSERT_TRUE(table.grow(64));
  EXPECT_THAT(table.ids(), ElementsAre(0, 1, 2, 3));
  table.release();
  EXPECT_EQ(pool.num_free(), 4);
}

TEST(BlockTable, GivesItsBlocksBackWhenItEnds) {
  BlockPool pool(4, 16);
  {
    BlockTable table(pool, 64);
    ASSERT_TRUE(table.grow(50));
    EXPECT_EQ(pool.num_free(), 0);
  }
  EXPECT_EQ(pool.num_free(), 4);
}

TEST(BlockTable, ASharedBlockStaysWithTheOtherHolder) {
  BlockPool pool(2, 16);
  BlockTable table(pool);
  ASSERT_TRUE(table.grow(32));
  const int32_t shared = table.ids()[0];
  pool.retain(shared);
  table.release();
  EXPECT_EQ(pool.num_holders(shared), 1);
  EXPECT_EQ(pool.num_free(), 1);
}

TEST(BlockTable, MovesItsBlocks) {
  BlockPool pool(4, 16);
  BlockTable first(pool), second(pool);
  ASSERT_TRUE(first.grow(20));
  ASSERT_TRUE(second.grow(10));
  second = std::move(first);
  EXPECT_EQ(pool.num_free(), 2);
  EXPECT_THAT(second.ids(), ElementsAre(0, 1));
  BlockTable third(std::move(second));
  EXPECT_THAT(third.ids(), ElementsAre(0, 1));
  BlockTable& same = third;
  third = std::move(same);
  EXPECT_EQ(third.num_blocks(), 2);
  third.release();
  EXPECT_EQ(pool.num_free(), 4);
}

TEST(BlockTable, BeginsWithAMatchAndABlockOfItsOwnForTheCopy) {
  BlockPool pool(4, 16);
  BlockTable other(pool);
  ASSERT_TRUE(other.grow(32));
  pool.retain(0);
  pool.retain(1);
  GroupMatch match{.blocks = {0}, .copy_from = 1};
  std::vector<BlockCopy> copies;
  BlockTable table(pool);
  ASSERT_TRUE(table.begin(match, 5, copies));
  EXPECT_THAT(table.ids(), ElementsAre(0, 2));
  ASSERT_EQ(copies.size(), 1u);
  EXPECT_EQ(copies[0].from, 1);
  EXPECT_EQ(copies[0].to, 2);
  EXPECT_EQ(copies[0].num_tokens, 5);
  EXPECT_EQ(pool.num_holders(0), 2);
  EXPECT_EQ(pool.num_holders(1), 1);
  EXPECT_TRUE(match.blocks.empty() && !match.copy_from);
}

TEST(BlockTable, ForgetsWhatAWindowHasPassed) {
  BlockPool pool(6, 16);
  BlockTable table(pool);
  ASSERT_TRUE(table.grow(64));
  table.forget(15);
  EXPECT_EQ(table.first_block(), 0);
  table.forget(37);  // block 2 holds it
  EXPECT_THAT(table.ids(), ElementsAre(2, 3));
  EXPECT_EQ(table.first_block(), 2);
  EXPECT_EQ(table.id_of(3), 3);
  EXPECT_FALSE(table.holds(1) || table.holds(4));
  EXPECT_EQ(table.capacity(), 64);
  EXPECT_EQ(pool.num_free(), 4);
  table.forget(20);  // never comes back
  EXPECT_EQ(table.first_block(), 2);
  EXPECT_EQ(table.num_missing(96), 2);
  ASSERT_TRUE(table.grow(96));  // on the blocks that were given back
  EXPECT_THAT(table.ids(), ElementsAre(2, 3, 1, 0));
  table.truncate(65);
  EXPECT_EQ(table.end_block(), 5);

  BlockTable child(pool);
  std::vector<BlockCopy> copies;
  ASSERT_TRUE(child.fork(table, 60, copies, 1));
  EXPECT_EQ(child.first_block(), 2);
  EXPECT_EQ(child.ids()[0], 2);
  ASSERT_EQ(copies.size(), 1u);
  EXPECT_EQ(copies[0].from, 3);
  EXPECT_EQ(copies[0].to, child.id_of(3));
  EXPECT_EQ(copies[0].group, 1);
  table.release();
  child.release();
  EXPECT_EQ(table.end_block(), 0);
  EXPECT_EQ(pool.num_free(), 6);
}

TEST(BlockTable, AMatchWithoutRoomForItsCopyStaysAMatch) {
  BlockPool pool(2, 16);
  BlockTable other(pool);
  ASSERT_TRUE(other.grow(32));
  pool.retain(0);
  pool.retain(1);
  GroupMatch match{.blocks = {0}, .copy_from = 1};
  std::vector<BlockCopy> copies;
  BlockTable table(pool);
  EXPECT_FALSE(table.begin(match, 5, copies));
  EXPECT_THAT(table.ids(), IsEmpty());
  EXPECT_THAT(copies, IsEmpty());
  EXPECT_THAT(match.blocks, ElementsAre(0));
  EXPECT_EQ(match.copy_from, 1);
  EXPECT_EQ(pool.num_holders(1), 2);
}

TEST(BlockTable, AForkSharesFullBlocksAndCopiesTheLast) {
  BlockPool pool(6, 16);
  BlockTable parent(pool), first(pool), second(pool), third(pool);
  ASSERT_TRUE(parent.grow(60));
  std::vector<BlockCopy> copies;
  ASSERT_TRUE(first.fork(parent, 37, copies));
  EXPECT_THAT(first.ids(), ElementsAre(0, 1, 4));
  ASSERT_EQ(copies.size(), 1u);
  EXPECT_EQ(copies[0].from, 2);
  EXPECT_EQ(copies[0].to, 4);
  EXPECT_EQ(copies[0].num_tokens, 5);
  ASSERT_TRUE(second.fork(parent, 32, copies));  // nothing partial, nothing copied
  EXPECT_THAT(second.ids(), ElementsAre(0, 1));
  EXPECT_EQ(copies.size(), 1u);
  EXPECT_EQ(pool.num_holders(0), 3);
  ASSERT_TRUE(second.grow(48));
  EXPECT_FALSE(third.fork(parent, 1, copies));
  EXPECT_THAT(third.ids(), IsEmpty());
  EXPECT_EQ(pool.num_holders(0), 3);
  parent.release();
  EXPECT_THAT(first.ids(), ElementsAre(0, 1, 4));
  EXPECT_EQ(pool.num_holders(0), 2);
}

TEST(BlockTable, ExchangesABlockForItsEqual) {
  BlockPool pool(4, 16);
  BlockTable first(pool), second(pool);
  ASSERT_TRUE(first.grow(16));
  ASSERT_TRUE(second.grow(32));
  EXPECT_EQ(second.exchange(0, 0), 1);
  EXPECT_THAT(second.ids(), ElementsAre(0, 2));
  EXPECT_EQ(pool.num_holders(0), 2);
  EXPECT_EQ(pool.num_holders(1), 1);  // the caller's now
  pool.release(1);
}

// Several sequences on one pool, against plain arithmetic.
TEST(BlockTable, AgreesWithAPlainModel) {
  std::mt19937_64 random(12);
  for (int round = 0; round < 60; ++round) {
    const auto num_blocks = static_cast<int64_t>(random() % 30);
    const int64_t block_size = 16 * (1 + static_cast<int64_t>(random() % 4));
    BlockPool pool(num_blocks, block_size);
    std::vector<BlockTable> tables;
    for (int i = 0; i < 4; ++i) tables.emplace_back(pool);
    std::vector<int64_t> blocks(tables.size(), 0);
    for (int step = 0; step < 300; ++step) {
      const size_t i = random() % tables.size();
      const auto tokens =
          static_cast<int64_t>(random() % static_cast<uint64_t>(num_blocks * block_size + 40));
      const int64_t wanted = (tokens + block_size - 1) / block_size;
      const std::vector<int32_t> before(tables[i].ids().begin(), tables[i].ids().end());
      int64_t used = 0;
      for (const int64_t n : blocks) used += n;
      if (random() % 3 != 0) {
        const bool fits = wanted - blocks[i] <= num_blocks - used;
        ASSERT_EQ(tables[i].grow(tokens), fits);
        if (fits) blocks[i] = std::max(blocks[i], wanted);
      } else {
        tables[i].truncate(tokens);
        blocks[i] = std::min(blocks[i], wanted);
      }
      // The blocks that stayed are the same, in the same order.
      const std::span<const int32_t> after = tables[i].ids();
      for (size_t b = 0; b < std::min(before.size(), after.size()); ++b)
        ASSERT_EQ(after[b], before[b]);
      std::set<int32_t> seen;
      int64_t total = 0;
      for (size_t t = 0; t < tables.size(); ++t) {
        ASSERT_EQ(tables[t].num_blocks(), blocks[t]);
        ASSERT_EQ(tables[t].capacity(), blocks[t] * block_size);
        seen.insert(tables[t].ids().begin(), tables[t].ids().end());
        total += blocks[t];
      }
      ASSERT_EQ(static_cast<int64_t>(seen.size()), total) << "two tables hold one block";
      ASSERT_EQ(pool.num_used(), total);
      ASSERT_TRUE(pool.is_consistent());
    }
    tables.clear();
    ASSERT_EQ(pool.num_free(), num_blocks);
  }
}

}  // namespace
}  // namespace weft::cache
