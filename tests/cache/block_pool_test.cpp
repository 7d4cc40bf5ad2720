#include "cache/block_pool.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace weft::cache {
namespace {

TEST(BlockPool, HandsOutEveryBlockOnceAndThenNone) {
  BlockPool pool(5, 16);
  EXPECT_EQ(pool.num_free(), 5);
  for (int32_t block = 0; block < 5; ++block) EXPECT_EQ(pool.allocate(), block);
  EXPECT_EQ(pool.allocate(), std::nullopt);
  EXPECT_EQ(pool.num_free(), 0);
  EXPECT_EQ(pool.num_used(), 5);
  EXPECT_TRUE(pool.is_consistent());
}

TEST(BlockPool, TheBlockFreedLastIsHandedOutFirst) {
  BlockPool pool(4, 16);
  for (int i = 0; i < 4; ++i) pool.allocate();
  pool.release(1);
  pool.release(3);
  EXPECT_EQ(pool.allocate(), 3);
  EXPECT_EQ(pool.allocate(), 1);
}

class Keeper final : public BlockKeeper {
 public:
  void on_used(int32_t block) override { log.push_back(block); }
  void on_left_alone(int32_t block) override { log.push_back(-block); }
  std::vector<int32_t> log;  // the block; negative: left alone
};

TEST(BlockPool, TellsItsKeeperWhoComesFirstAndLeavesLast) {
  BlockPool pool(4, 16);
  Keeper keeper;
  pool.set_keeper(&keeper);
  pool.allocate();
  const int32_t block = pool.allocate().value();  // 1
  pool.keep(block);
  EXPECT_TRUE(pool.is_kept(block));
  pool.retain(block);  // a third holder is no news
  pool.release(block);
  EXPECT_EQ(keeper.log, (std::vector<int32_t>{1}));
  pool.release(block);
  EXPECT_EQ(keeper.log, (std::vector<int32_t>{1, -1}));
  EXPECT_EQ(pool.num_holders(block), 1);
  EXPECT_EQ(pool.num_kept(), 1);
  pool.retain(block);
  pool.drop(block);  // somebody else holds it
  EXPECT_EQ(pool.num_holders(block), 1);
  EXPECT_EQ(pool.num_kept(), 0);
  pool.keep(block);
  pool.release(block);
  pool.drop(block);  // nobody does
  EXPECT_EQ(pool.num_free(), 3);
  EXPECT_EQ(keeper.log, (std::vector<int32_t>{1, -1, 1, 1, -1}));
  pool.release(0);  // not kept: no news
  EXPECT_EQ(keeper.log.size(), 5u);
  EXPECT_TRUE(pool.is_consistent());
  pool.set_keeper(nullptr);
}

TEST(BlockPoolDeathTest, AKeepersHoldIsItsOwn) {
  BlockPool pool(2, 16);
  Keeper keeper;
  EXPECT_DEATH(pool.keep(0), "block 0");  // nobody keeps
  pool.set_keeper(&keeper);
  EXPECT_DEATH(pool.keep(0), "block 0 is free");
  pool.allocate();
  EXPECT_DEATH(pool.drop(0), "block 0 is not kept");
  pool.keep(0);
  EXPECT_DEATH(pool.keep(0), "block 0");
  pool.release(0);
  EXPECT_DEATH(pool.release(0), "block 0 is its keeper's alone");
  EXPECT_DEATH(pool.set_keeper(&keeper), "the pool has a keeper");
  EXPECT_DEATH(pool.set_keeper(nullptr), "1 against 0");
}

TEST(BlockPool, ABlockIsFreeWhenItsLastHolderLeaves) {
  BlockPool pool(1, 16);
  const int32_t block = pool.allocate().value();
  pool.retain(block);
  EXPECT_EQ(pool.num_holders(block), 2);
  pool.release(block);
  EXPECT_EQ(pool.allocate(), std::nullopt);
  pool.release(block);
  EXPECT_EQ(pool.num_holders(block), 0);
  EXPECT_EQ(pool.allocate(), block);
}

TEST(BlockPool, CountsBlocksOfTokens) {
  const BlockPool pool(0, 16);
  EXPECT_EQ(pool.num_blocks(), 0);
  EXPECT_EQ(pool.blocks_for(0), 0);
  EXPECT_EQ(pool.blocks_for(1), 1);
  EXPECT_EQ(pool.blocks_for(16), 1);
  EXPECT_EQ(pool.blocks_for(17), 2);
  EXPECT_EQ(pool.blocks_for(INT64_MAX), INT64_MAX / 16 + 1);
}

// Thousands of random verbs against a map of holders.
TEST(BlockPool, AgreesWithAPlainModel) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 40; ++round) {
    const auto num_blocks = static_cast<int64_t>(random() % 20);
    BlockPool pool(num_blocks, 16);
    std::map<int32_t, int64_t> holders;
    for (int step = 0; step < 500; ++step) {
      const auto verb = random() % 3;
      if (verb == 0) {
        const std::optional<int32_t> block = pool.allocate();
        ASSERT_EQ(block.has_value(), static_cast<int64_t>(holders.size()) < num_blocks);
        if (block) {
          ASSERT_TRUE(*block >= 0 && *block < num_blocks);
          ASSERT_TRUE(holders.emplace(*block, 1).second) << "block " << *block << " was in use";
        }
      } else if (!holders.empty()) {
        auto it = std::next(holders.begin(), static_cast<int64_t>(random() % holders.size()));
        if (verb == 1) {
          pool.retain(it->first);
          ++it->second;
        } else {
          pool.release(it->first);
          if (--it->second == 0) holders.erase(it);
        }
      }
      ASSERT_EQ(pool.num_used(), static_cast<int64_t>(holders.size()));
      ASSERT_EQ(pool.num_free() + pool.num_used(), num_blocks);
      for (int32_t block = 0; block < num_blocks; ++block)
        ASSERT_EQ(pool.num_holders(block), holders.contains(block) ? holders[block] : 0);
      ASSERT_TRUE(pool.is_consistent());
    }
  }
}

TEST(BlockPoolDeathTest, MisuseIsABug) {
  BlockPool pool(3, 16);
  const int32_t block = pool.allocate().value();
  pool.release(block);
  EXPECT_DEATH(pool.release(block), "block 0 is free");
  EXPECT_DEATH(pool.retain(2), "block 2 is free");
  EXPECT_DEATH(pool.release(3), "block 3 of 3");
  EXPECT_DEATH(pool.retain(-1), "block -1 of 3");
  EXPECT_DEATH(BlockPool(3, 0), "0 against 0");
  EXPECT_DEATH(BlockPool(-1, 16), "-1 blocks");
}

}  // namespace
}  // namespace weft::cache
