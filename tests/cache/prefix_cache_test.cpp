#include "cache/prefix_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "cache/token_runs.h"

namespace weft::cache {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr int64_t kBlock = 4;

class PrefixCacheTest : public ::testing::Test {
 protected:
  explicit PrefixCacheTest(PrefixCacheOptions options = {.fewest_copied_tokens = 1})
      : cache(pools, options) {}
  void TearDown() override { EXPECT_TRUE(cache.is_consistent()); }

  // A sequence that has been computed: begun with what is known, grown, published.
  SequenceBlocks sequence(const Tokens& tokens, uint64_t salt = 0) {
    SequenceBlocks table(pools);
    PrefixMatch match;
    cache.match(salt, tokens, static_cast<int64_t>(tokens.size()) - 1, match);
    const auto num_known = match.num_blocks();
    EXPECT_TRUE(table.begin(match, copies));
    EXPECT_TRUE(table.grow(static_cast<int64_t>(tokens.size())));
    cache.publish(salt, tokens, table, num_known);
    cache.next_plan();
    return table;
  }
  // A sequence that came and went.
  void past_sequence(const Tokens& tokens, uint64_t salt = 0) {
    SequenceBlocks table = sequence(tokens, salt);
    cache.publish_end(salt, tokens, table, static_cast<int64_t>(tokens.size()) / kBlock);
    table.release();
    cache.next_plan();
  }
  // Tokens that a match would give, all of them wanted.
  int64_t known(const Tokens& tokens, uint64_t salt = 0) {
    PrefixMatch match;
    cache.match(salt, tokens, static_cast<int64_t>(tokens.size()), match);
    const int64_t num_tokens = match.num_tokens;
    cache.give_back(match);
    return num_tokens;
  }

  BlockPools pools{16, kBlock};
  BlockPool& pool = pools.full();
  PrefixCache cache;
  std::vector<BlockCopy> copies;
  PrefixMatch found;
};

TEST_F(PrefixCacheTest, SharesTheFullBlocksOfALongerSequence) {
  const SequenceBlocks first = sequence(run_of(10, 9));
  cache.match(0, run_of(10, 12), 11, found);
  EXPECT_THAT(found.full.blocks, ElementsAre(first.full().ids()[0], first.full().ids()[1]));
  EXPECT_EQ(found.num_tokens, 8);
  EXPECT_EQ(pool.num_holders(first.full().ids()[0]), 3);  // the sequence, the cache, the match
  SequenceBlocks second(pools);
  ASSERT_TRUE(second.begin(found, copies));
  EXPECT_THAT(found.full.blocks, IsEmpty());
  EXPECT_THAT(copies, IsEmpty());
  EXPECT_THAT(second.full().ids(), ElementsAre(first.full().ids()[0], first.full().ids()[1]));
  EXPECT_TRUE(cache.is_consistent());
}

TEST_F(PrefixCacheTest, KnowsNothingOfOtherTokensOrSalts) {
  past_sequence(run_of(10, 8));
  EXPECT_EQ(known(run_of(11, 8)), 0);
  EXPECT_EQ(known(run_of(10, 8), 1), 0);
  EXPECT_EQ(known(run_of(10, 8)), 8);
  past_sequence(run_of(10, 8), 1);
  EXPECT_EQ(cache.stats().num_published, 4);
}

TEST_F(PrefixCacheTest, NeverGivesMoreThanTheLimit) {
  past_sequence(run_of(10, 8));
  const int64_t expected[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 8};
  for (int64_t limit = 0; limit < 10; ++limit) {
    cache.match(0, run_of(10, 12), limit, found);
    EXPECT_EQ(found.num_tokens, expected[limit]) << limit;
    EXPECT_EQ(found.num_blocks(), expected[limit] / kBlock) << limit;
    EXPECT_EQ(found.copied_tokens, expected[limit] % kBlock) << limit;
    cache.give_back(found);
    EXPECT_EQ(cache.peek(0, run_of(10, 12), limit), expected[limit] / kBlock * kBlock) << limit;
  }
}

TEST_F(PrefixCacheTest, CopiesFromTheChildThatSharesTheMost) {
  const Tokens prompt = run_of(10, 4);
  past_sequence(joined(prompt, {1, 2, 9, 9}));
  const SequenceBlocks best = sequence(joined(prompt, {1, 2, 3, 9}));
  past_sequence(joined(prompt, {1, 7, 7, 7}));
  cache.match(0, joined(prompt, {1, 2, 3, 4, 5}), 9, found);
  EXPECT_EQ(found.full.copy_from, best.full().ids()[1]);
  EXPECT_EQ(found.copied_tokens, 3);
  SequenceBlocks table(pools);
  copies.clear();
  ASSERT_TRUE(table.begin(found, copies));
  ASSERT_EQ(copies.size(), 1u);
  EXPECT_EQ(copies[0].from, best.full().ids()[1]);
  EXPECT_EQ(copies[0].to, table.full().ids()[1]);
  EXPECT_EQ(copies[0].num_tokens, 3);
  EXPECT_EQ(pool.num_holders(best.full().ids()[1]),
            2);  // its sequence and the cache: the copy let go
}

TEST_F(PrefixCacheTest, CopiesNothingThatThePlanBeingMadeWrites) {
  SequenceBlocks leader(pools);
  ASSERT_TRUE(leader.grow(8));
  cache.publish(0, run_of(10, 8), leader, 0);
  EXPECT_EQ(known(run_of(10, 6)), 4);  // shared in the same plan, but not copied
  cache.next_plan();
  EXPECT_EQ(known(run_of(10, 6)), 6);
}

TEST_F(PrefixCacheTest, TailsAreMatchedToTheToken) {
  past_sequence(run_of(10, 7));
  EXPECT_EQ(cache.stats().num_published, 2);
  EXPECT_EQ(known(run_of(10, 9)), 7);
  cache.match(0, run_of(10, 9), 8, found);
  EXPECT_EQ(found.full.blocks.size(), 1u);
  EXPECT_EQ(found.copied_tokens, 3);
  cache.give_back(found);
  EXPECT_EQ(pool.num_used(), 2);
}

TEST_F(PrefixCacheTest, ATailGivesWayToWhatGoesOnFromIt) {
  past_sequence(run_of(10, 6));
  past_sequence(run_of(10, 7));
  EXPECT_EQ(cache.stats().num_published, 2);  // the longer tail alone
  past_sequence(run_of(10, 6));               // says nothing new
  EXPECT_EQ(cache.stats().num_published, 2);
  EXPECT_EQ(known(run_of(10, 9)), 7);
  past_sequence(run_of(10, 8));
  EXPECT_EQ(cache.stats().num_published, 2);
  EXPECT_EQ(known(run_of(10, 9)), 8);
  past_sequence(joined(run_of(10, 6), {99}));  // another end after the same six
  EXPECT_EQ(cache.stats().num_published, 3);
}

TEST_F(PrefixCacheTest, TwoThatComputedTheSameEndUpWithOneCopy) {
  SequenceBlocks first(pools), second(pools);
  ASSERT_TRUE(first.grow(8));
  ASSERT_TRUE(second.grow(8));
  const int32_t own = second.full().ids()[0];
  EXPECT_EQ(cache.publish(0, run_of(10, 8), first, 0), 2);
  EXPECT_EQ(cache.publish(0, run_of(10, 8), second, 0), 2);
  EXPECT_THAT(second.full().ids(), ElementsAre(first.full().ids()[0], first.full().ids()[1]));
  // The plan being made may write to the block that was given up: it is not free before the next.
  EXPECT_EQ(pool.num_holders(own), 1);
  cache.next_plan();
  EXPECT_EQ(pool.num_holders(own), 0);
  EXPECT_EQ(pool.num_used(), 2);
}

TEST_F(PrefixCacheTest, PublishesBlockByBlockAsASequenceGrows) {
  SequenceBlocks table(pools);
  Tokens tokens;
  int64_t num_published = 0;
  for (int32_t token = 0; token < 13; ++token) {
    tokens.push_back(token);
    ASSERT_TRUE(table.grow(token + 1));
    num_published = cache.publish(0, tokens, table, num_published);
    EXPECT_EQ(num_published, (token + 1) / 4);
    EXPECT_EQ(cache.stats().num_published, num_published);
    cache.next_plan();
  }
  EXPECT_EQ(known(tokens), 12);
}

TEST_F(PrefixCacheTest, EvictsWhatWasIdleForTheLongest) {
  past_sequence(run_of(100, 8));  // two blocks each
  past_sequence(run_of(200, 8));
  past_sequence(run_of(300, 8));
  EXPECT_EQ(known(run_of(100, 8)), 8);  // used again: now the youngest
  EXPECT_EQ(cache.num_available(), 16);
  EXPECT_EQ(pool.num_free(), 10);
  EXPECT_EQ(cache.evict(10), 0);
  EXPECT_EQ(cache.evict(11), 1);
  EXPECT_EQ(known(run_of(200, 8)), 4);  // its end first (and now the youngest)
  EXPECT_EQ(cache.evict(13), 2);
  EXPECT_EQ(known(run_of(300, 8)), 0);
  EXPECT_EQ(cache.evict(15), 2);
  EXPECT_EQ(known(run_of(100, 8)), 0);
  EXPECT_EQ(cache.evict(100), 1);
  EXPECT_EQ(pool.num_free(), 16);
  EXPECT_EQ(cache.stats().num_evicted, 6);
}

TEST_F(PrefixCacheTest, EvictsNothingThatASequenceHolds) {
  const SequenceBlocks held = sequence(run_of(100, 8));
  past_sequence(joined(run_of(100, 8), run_of(200, 4)));
  EXPECT_EQ(cache.num_available(), 14);
  EXPECT_EQ(cache.evict(16), 1);
  EXPECT_EQ(pool.num_free(), 14);
  EXPECT_EQ(known(run_of(100, 8)), 8);
}

// A parent that nobody holds stays while a block under it is held: without it that block could
// not be found, and the order of eviction would break.
TEST_F(PrefixCacheTest, ABlockUnderWhichAnotherIsHeldIsNotIdle) {
  SequenceBlocks table = sequence(run_of(100, 8));
  const int32_t child = table.full().ids()[1];
  pool.retain(child);
  table.release();
  EXPECT_EQ(cache.num_available(), 14);
  EXPECT_EQ(cache.evict(16), 0);
  pool.release(child);
  EXPECT_EQ(cache.num_available(), 16);
  EXPECT_EQ(cache.evict(16), 2);
}

TEST_F(PrefixCacheTest, WithdrawsABlockWithAllUnderIt) {
  SequenceBlocks leader = sequence(run_of(100, 12));
  SequenceBlocks follower = sequence(joined(run_of(100, 8), run_of(200, 4)));
  std::vector<int32_t> withdrawn;
  cache.withdraw(leader.full().ids().subspan(1), withdrawn);
  EXPECT_THAT(withdrawn, UnorderedElementsAre(leader.full().ids()[1], leader.full().ids()[2],
                                              follower.full().ids()[2]));
  EXPECT_TRUE(cache.is_consistent());
  EXPECT_EQ(known(run_of(100, 12)), 4);
  EXPECT_EQ(pool.num_holders(leader.full().ids()[1]), 2);  // both sequences still hold it
  leader.full().truncate(4);
  follower.full().truncate(4);
  EXPECT_EQ(pool.num_used(), 1);
  cache.withdraw(leader.full().ids().subspan(1), withdrawn);
  EXPECT_EQ(withdrawn.size(), 3u);
  EXPECT_EQ(cache.stats().num_withdrawn, 3);
}

TEST_F(PrefixCacheTest, ForgetsEverythingAndLetsSequencesPublishAgain) {
  SequenceBlocks table = sequence(run_of(100, 12));
  past_sequence(run_of(200, 8));
  cache.clear();
  EXPECT_EQ(known(run_of(100, 12)), 0);
  EXPECT_EQ(pool.num_used(), 3);
  EXPECT_TRUE(cache.is_consistent());
  EXPECT_EQ(cache.publish(0, run_of(100, 12), table, 3), 3);
  EXPECT_EQ(known(run_of(100, 12)), 12);
}

TEST_F(PrefixCacheTest, CountsWhatWasAskedAndKnown) {
  past_sequence(run_of(100, 7));
  cache.match(0, run_of(100, 9), 8, found);
  cache.give_back(found);  // leaves no trace
  SequenceBlocks table(pools);
  cache.match(0, run_of(100, 9), 8, found);
  ASSERT_TRUE(table.begin(found, copies));
  const PrefixCacheStats stats = cache.stats();
  EXPECT_EQ(stats.asked_tokens, 16);
  EXPECT_EQ(stats.hit_tokens, 7);
  EXPECT_EQ(stats.copied_tokens, 3);
}

class PrefixCacheThatIsOff : public PrefixCacheTest {
 protected:
  PrefixCacheThatIsOff() : PrefixCacheTest({.enabled = false}) {}
};

TEST_F(PrefixCacheThatIsOff, KnowsNothing) {
  past_sequence(run_of(100, 8));
  EXPECT_EQ(known(run_of(100, 8)), 0);
  EXPECT_EQ(cache.peek(0, run_of(100, 8), 8), 0);
  EXPECT_EQ(pool.num_used(), 0);
  EXPECT_EQ(cache.evict(16), 0);
  EXPECT_EQ(cache.num_available(), 16);
  std::vector<int32_t> withdrawn;
  cache.withdraw(Tokens{0, 1}, withdrawn);
  EXPECT_THAT(withdrawn, IsEmpty());
}

class PrefixCacheThatCopiesFromThree : public PrefixCacheTest {
 protected:
  PrefixCacheThatCopiesFromThree() : PrefixCacheTest({.fewest_copied_tokens = 3}) {}
};

TEST_F(PrefixCacheThatCopiesFromThree, LeavesShortRunsToBeComputed) {
  past_sequence(run_of(100, 4));
  EXPECT_EQ(known(Tokens{100, 101, 7}), 0);
  EXPECT_EQ(known(Tokens{100, 101, 102, 7}), 3);
}

}  // namespace
}  // namespace weft::cache
