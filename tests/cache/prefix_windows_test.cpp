// The prefix cache of a model whose layers see a window: what a sequence holds there, when a prefix
// counts, and what goes when blocks run short.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "cache/prefix_cache.h"
#include "cache/token_runs.h"

namespace weft::cache {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kBlock = 4, kWindow = 9;

class PrefixWindows : public ::testing::Test {
 protected:
  void TearDown() override { EXPECT_TRUE(cache.is_consistent()); }

  // Computes tokens from where `blocks` stand, some a plan, and publishes as they are planned.
  void compute(SequenceBlocks& blocks, const Tokens& tokens, int64_t begin, int64_t chunk) {
    int64_t num_published = begin / kBlock;
    for (auto end = begin; end < std::ssize(tokens);) {
      blocks.slide(end);
      end = std::min(end + chunk, static_cast<int64_t>(std::ssize(tokens)));
      for (int g = 0; g < 2; ++g) cache.evict(blocks.table(g).num_missing(end), g);
      ASSERT_TRUE(blocks.grow(end));
      num_published = cache.publish(0, std::span(tokens).first(static_cast<size_t>(end)), blocks,
                                    num_published);
      cache.next_plan();
    }
  }
  void past_sequence(const Tokens& tokens, int64_t chunk = 4) {
    SequenceBlocks blocks(pools);
    compute(blocks, tokens, 0, chunk);
    cache.publish_end(0, tokens, blocks, std::ssize(tokens) / kBlock);
    blocks.release();
    cache.next_plan();
  }
  int64_t known(const Tokens& tokens) {
    PrefixMatch match;
    cache.match(0, tokens, std::ssize(tokens), match);
    const int64_t num_tokens = match.num_tokens;
    cache.give_back(match);
    return num_tokens;
  }

  const std::vector<int64_t> windows{0, kWindow}, num_blocks{32, 12};
  BlockPools pools{windows, num_blocks, kBlock};
  PrefixCache cache{pools, {.fewest_copied_tokens = 1}};
  std::vector<BlockCopy> copies;
  PrefixMatch found;
};

TEST_F(PrefixWindows, ASequenceHoldsItsWindowAndAllOfFullAttention) {
  SequenceBlocks blocks(pools);
  compute(blocks, run_of(0, 60), 0, 4);
  blocks.slide(60);
  EXPECT_EQ(blocks.full().num_blocks(), 15);
  // The token at 60 sees [52, 60].
  EXPECT_EQ(blocks.table(1).first_block(), 13);
  EXPECT_EQ(blocks.table(1).num_blocks(), 2);
  // What it gave back stays with the cache until the pool runs short.
  EXPECT_EQ(pools.pool(1).num_used(), 12);
  EXPECT_EQ(cache.num_available(1), 10);
  EXPECT_EQ(cache.evict(10, 1), 10);
  EXPECT_EQ(pools.pool(1).num_used(), 2);
  EXPECT_EQ(pools.full().num_used(), 15);
}

TEST_F(PrefixWindows, AMatchHoldsWhatTheNextTokenSees) {
  past_sequence(run_of(0, 24));
  cache.match(0, run_of(0, 30), 29, found);
  EXPECT_EQ(found.num_tokens, 24);
  EXPECT_EQ(found.full.blocks.size(), 6u);
  // The token at 24 sees [16, 24]: blocks 4 and 5.
  ASSERT_EQ(found.windows.size(), 1u);
  EXPECT_EQ(found.windows[0].first_block, 4);
  EXPECT_THAT(found.windows[0].blocks, ElementsAre(cache.block_in(1, found.full.blocks[4]),
                                                   cache.block_in(1, found.full.blocks[5])));
  SequenceBlocks blocks(pools);
  ASSERT_TRUE(blocks.begin(found, copies));
  EXPECT_EQ(blocks.table(1).first_block(), 4);
  EXPECT_EQ(blocks.capacity(), 24);
  EXPECT_THAT(copies, IsEmpty());
  EXPECT_EQ(cache.num_available(1), 10);
}

TEST_F(PrefixWindows, APrefixWhoseWindowIsGoneCountsAsFarAsAnotherWindowGoes) {
  past_sequence(run_of(0, 40));
  EXPECT_EQ(known(run_of(0, 40)), 40);
  // A window in the middle is used again, and so outlives what was before and behind it.
  EXPECT_EQ(known(run_of(0, 16)), 16);
  EXPECT_EQ(cache.evict(12 - 2, 1), 8);  // of ten, all but blocks 2 and 3
  EXPECT_EQ(known(run_of(0, 40)), 16);
  EXPECT_EQ(known(run_of(0, 15)), 0);  // the token at 15 sees 7, in block 1
  EXPECT_EQ(cache.peek(0, run_of(0, 40), 40), 16);
  EXPECT_EQ(cache.peek(0, run_of(0, 15), 15), 0);
  EXPECT_EQ(pools.full().num_used(), 10);  // the nodes stay
  cache.evict(12, 1);
  EXPECT_EQ(known(run_of(0, 40)), 0);
}

// A node that lost its block gets one again from who computes it anew.
TEST_F(PrefixWindows, WhoComputesAPrefixAgainCompletesIt) {
  past_sequence(run_of(0, 24));
  cache.evict(12, 1);
  ASSERT_EQ(known(run_of(0, 24)), 0);
  past_sequence(run_of(0, 24), 24);
  EXPECT_EQ(known(run_of(0, 24)), 24);
  EXPECT_EQ(cache.stats().num_published, 6);
  EXPECT_EQ(pools.full().num_used(), 6);
  EXPECT_EQ(pools.pool(1).num_used(), 6);
}

TEST_F(PrefixWindows, TwoThatComputedTheSameEndUpWithOneCopyInEveryGroup) {
  SequenceBlocks first(pools), second(pools);
  ASSERT_TRUE(first.grow(8) && second.grow(8));
  cache.publish(0, run_of(0, 8), first, 0);
  cache.publish(0, run_of(0, 8), second, 0);
  EXPECT_EQ(first.table(1).ids()[0], second.table(1).ids()[0]);
  EXPECT_EQ(pools.pool(1).num_used(), 4);  // the plan being made may write to the others
  cache.next_plan();
  EXPECT_EQ(pools.pool(1).num_used(), 2);
}

TEST_F(PrefixWindows, CopiesGoThroughEveryGroup) {
  past_sequence(run_of(0, 23));
  cache.match(0, run_of(0, 30), 29, found);
  EXPECT_EQ(found.num_tokens, 23);
  EXPECT_EQ(found.copied_tokens, 3);
  EXPECT_EQ(found.windows[0].first_block, 3);  // the token at 23 sees [15, 23]
  SequenceBlocks blocks(pools);
  ASSERT_TRUE(blocks.begin(found, copies));
  ASSERT_EQ(copies.size(), 2u);
  for (int g = 0; g < 2; ++g) {
    EXPECT_EQ(copies[static_cast<size_t>(g)].group, g);
    EXPECT_EQ(copies[static_cast<size_t>(g)].num_tokens, 3);
    EXPECT_EQ(copies[static_cast<size_t>(g)].to, blocks.table(g).id_of(5));
  }
  SequenceBlocks child(pools);
  copies.clear();
  ASSERT_TRUE(child.fork(blocks, 23, copies));
  ASSERT_EQ(copies.size(), 2u);
  EXPECT_EQ(copies[1].from, blocks.table(1).id_of(5));
  EXPECT_EQ(child.table(1).first_block(), 3);
}

TEST_F(PrefixWindows, NothingIsTakenWhereOneGroupHasNoRoom) {
  SequenceBlocks first(pools), second(pools);
  ASSERT_TRUE(first.grow(40));
  EXPECT_FALSE(second.grow(12));  // full attention has room, the window's pool two blocks
  EXPECT_EQ(second.capacity(), 0);
  ASSERT_TRUE(second.grow(8));
  SequenceBlocks child(pools);
  EXPECT_FALSE(child.fork(first, 39, copies));
  EXPECT_THAT(copies, IsEmpty());
  EXPECT_EQ(child.full().num_blocks(), 0);
}

TEST_F(PrefixWindows, WithdrawnNodesLeaveWithTheirBlocks) {
  SequenceBlocks blocks(pools);
  compute(blocks, run_of(0, 16), 0, 16);
  std::vector<int32_t> withdrawn;
  cache.withdraw(blocks.full().ids().subspan(2), withdrawn);
  EXPECT_EQ(withdrawn.size(), 2u);
  blocks.release();
  EXPECT_EQ(pools.pool(1).num_used(), 2);
  EXPECT_EQ(cache.num_available(1), 12);
  cache.evict(31);  // a node's end is its blocks' end
  EXPECT_EQ(pools.pool(1).num_used(), 1);
  cache.clear();
  EXPECT_EQ(pools.pool(1).num_used(), 0);
}

}  // namespace
}  // namespace weft::cache
