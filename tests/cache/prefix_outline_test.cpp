#include "cache/prefix_outline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "cache/prefix_cache.h"
#include "cache/token_runs.h"

namespace weft::cache {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kBlock = 4;

// What is told of runs and what is told of the others, together.
int64_t num_told(const PrefixOutline& outline) {
  int64_t sum = outline.not_told.num_blocks + outline.num_blocks_not_seen;
  for (const PrefixRun& run : outline.runs) sum += run.num_blocks + run.not_told.num_blocks;
  return sum;
}

int64_t num_shared(const PrefixOutline& outline) {
  int64_t sum = outline.other_shares.num_blocks + outline.num_blocks_not_seen;
  for (const PrefixShare& share : outline.shares) sum += share.sum.num_blocks;
  return sum;
}

class PrefixOutlineTest : public ::testing::Test {
 protected:
  SequenceBlocks sequence(const Tokens& tokens, uint64_t salt = 0) {
    SequenceBlocks blocks(pools);
    PrefixMatch match;
    cache.match(salt, tokens, static_cast<int64_t>(tokens.size()) - 1, match);
    const int64_t num_known = match.num_blocks();
    EXPECT_TRUE(blocks.begin(match, copies));
    EXPECT_TRUE(blocks.grow(static_cast<int64_t>(tokens.size())));
    cache.publish(salt, tokens, blocks, num_known);
    plan = cache.next_plan();
    return blocks;
  }
  void end(SequenceBlocks& blocks, const Tokens& tokens, uint64_t salt = 0) {
    cache.publish_end(salt, tokens, blocks, static_cast<int64_t>(tokens.size()) / kBlock);
    blocks.release();
    plan = cache.next_plan();
  }
  void past_sequence(const Tokens& tokens, uint64_t salt = 0) {
    SequenceBlocks blocks = sequence(tokens, salt);
    end(blocks, tokens, salt);
  }
  PrefixOutline outline(const OutlineLimits& limits = {}) const {
    return cache.outline(limits, plan);
  }

  BlockPools pools{512, kBlock};
  PrefixCache cache{pools, {.fewest_copied_tokens = 1}};
  std::vector<BlockCopy> copies;
  int64_t plan = 0;
};

TEST_F(PrefixOutlineTest, IsEmptyBeforeAnything) {
  const PrefixOutline told = outline();
  EXPECT_TRUE(told.enabled);
  EXPECT_EQ(told.num_published, 0);
  EXPECT_THAT(told.runs, IsEmpty());
  EXPECT_THAT(told.shares, IsEmpty());
}

TEST_F(PrefixOutlineTest, RowsOfBlocksAreOneRunUntilTheyBranch) {
  const Tokens prompt = run_of(10, 12);
  past_sequence(joined(prompt, run_of(100, 10)));  // two blocks and a tail of two tokens
  past_sequence(joined(prompt, run_of(200, 4)));
  const PrefixOutline told = outline();
  ASSERT_THAT(told.runs, SizeIs(3));
  EXPECT_EQ(told.num_published, 7);
  EXPECT_EQ(told.num_unpublished, 0);
  EXPECT_EQ(told.runs[0].parent, -1);
  EXPECT_EQ(told.runs[0].num_blocks, 3);
  EXPECT_EQ(told.runs[0].num_tokens, 12);
  EXPECT_EQ(told.runs[0].whole.num_blocks, 7);
  EXPECT_EQ(told.runs[0].whole.num_tokens, 26);
  EXPECT_EQ(told.runs[0].whole.num_runs, 3);
  const bool is_first = told.runs[1].num_blocks == 3;
  const PrefixRun& longer = told.runs[is_first ? 1 : 2];
  const PrefixRun& shorter = told.runs[is_first ? 2 : 1];
  EXPECT_EQ(longer.parent, 0);
  EXPECT_EQ(longer.num_tokens, 10);
  EXPECT_EQ(shorter.parent, 0);
  EXPECT_EQ(shorter.num_blocks, 1);
  EXPECT_EQ(num_told(told), 7);
}

TEST_F(PrefixOutlineTest, ARunEndsWhereFewerSequencesHoldItsBlocks) {
  const Tokens tokens = run_of(10, 21);
  SequenceBlocks reader = sequence(Tokens(tokens.begin(), tokens.begin() + 9));
  SequenceBlocks longer = sequence(tokens);
  PrefixOutline told = outline();
  ASSERT_THAT(told.runs, SizeIs(2));
  EXPECT_EQ(told.runs[0].num_sequences, 2);
  EXPECT_EQ(told.runs[0].num_blocks, 2);
  EXPECT_EQ(told.runs[1].num_sequences, 1);
  EXPECT_EQ(told.runs[1].num_blocks, 3);
  EXPECT_EQ(told.runs[0].whole.num_held_blocks, 5);
  EXPECT_EQ(told.num_unpublished, 2);  // the last block of each is not full
  reader.release();
  told = outline();
  ASSERT_THAT(told.runs, SizeIs(1));
  EXPECT_EQ(told.runs[0].num_sequences, 1);
  longer.release();
  EXPECT_EQ(outline().runs.at(0).whole.num_held_blocks, 0);
}

TEST_F(PrefixOutlineTest, TellsSinceWhenNobodyHoldsABlock) {
  const Tokens tokens = run_of(10, 8);
  cache.set_time(1000);
  SequenceBlocks first = sequence(tokens);
  EXPECT_EQ(outline().runs.at(0).idle_since, 0);
  cache.set_time(2000);
  end(first, tokens);
  EXPECT_EQ(outline().runs.at(0).idle_since, 2000);
  cache.set_time(3000);
  EXPECT_EQ(outline().runs.at(0).idle_since, 2000);
  // Who reads the first block only leaves the second one idle for as long as it was.
  SequenceBlocks second = sequence(joined(run_of(10, 4), {7, 7}));
  PrefixOutline told = outline();
  ASSERT_THAT(told.runs, SizeIs(2));
  EXPECT_EQ(told.runs[0].idle_since, 0);
  EXPECT_EQ(told.runs[1].idle_since, 2000);
  second.release();
  told = outline();
  EXPECT_EQ(told.runs.at(0).idle_since, 3000);
}

TEST_F(PrefixOutlineTest, NewIsWhatTheLatestPlansWriteForSomebody) {
  const Tokens tokens = run_of(10, 12);
  SequenceBlocks blocks(pools);
  ASSERT_TRUE(blocks.grow(12));
  const int64_t first = cache.next_plan();
  cache.publish(0, std::span(tokens).first(8), blocks, 0);
  const int64_t second = cache.next_plan();
  cache.publish(0, tokens, blocks, 2);
  const PrefixOutline told = cache.outline({}, second);
  ASSERT_THAT(told.runs, SizeIs(2));
  EXPECT_FALSE(told.runs[0].is_new);
  EXPECT_TRUE(told.runs[1].is_new);
  EXPECT_EQ(told.runs[1].num_blocks, 1);
  const PrefixOutline earlier = cache.outline({}, first);
  ASSERT_THAT(earlier.runs, SizeIs(1));
  EXPECT_TRUE(earlier.runs[0].is_new);
  blocks.release();
  EXPECT_FALSE(cache.outline({}, first).runs.at(0).is_new);
}

TEST_F(PrefixOutlineTest, SumsSharesBySalt) {
  past_sequence(run_of(10, 8), 1);
  past_sequence(run_of(50, 12), 1);
  past_sequence(run_of(10, 4), 2);
  PrefixOutline told = outline();
  ASSERT_THAT(told.shares, SizeIs(2));
  EXPECT_EQ(told.shares[0].salt, 1u);
  EXPECT_EQ(told.shares[0].sum.num_blocks, 5);
  EXPECT_EQ(told.shares[0].sum.num_runs, 2);
  EXPECT_EQ(told.shares[1].sum.num_tokens, 4);
  told = outline({.most_runs = 1});
  ASSERT_THAT(told.shares, SizeIs(1));
  EXPECT_EQ(told.other_shares.num_blocks, 1);
}

TEST_F(PrefixOutlineTest, TheLargestAreToldAndTheRestSummedWhereItHangs) {
  const Tokens prompt = run_of(10, 8);
  for (int32_t i = 0; i < 10; ++i)  // each two blocks and more than the one before
    past_sequence(joined(prompt, run_of(1000 * (i + 1), kBlock * 2 * (i + 1))));
  past_sequence(run_of(5, kBlock));
  const PrefixOutline told = outline({.most_runs = 4});
  ASSERT_THAT(told.runs, SizeIs(4));
  EXPECT_EQ(told.runs[0].num_blocks, 2);
  EXPECT_EQ(told.runs[0].whole.num_blocks, 112);
  std::vector<int64_t> lengths;
  for (size_t i = 1; i < 4; ++i) {
    EXPECT_EQ(told.runs[i].parent, 0);
    lengths.push_back(told.runs[i].num_blocks);
  }
  EXPECT_THAT(lengths, ::testing::UnorderedElementsAre(20, 18, 16));
  EXPECT_EQ(told.runs[0].not_told.num_runs, 7);
  EXPECT_EQ(told.runs[0].not_told.num_blocks, 56);
  EXPECT_EQ(told.runs[0].not_told.num_tokens, 56 * kBlock);
  EXPECT_EQ(told.not_told.num_runs, 1);
  EXPECT_EQ(told.not_told.num_blocks, 1);
  EXPECT_EQ(num_told(told), told.num_published);
}

TEST_F(PrefixOutlineTest, AWalkEndsAfterSoManyBlocks) {
  for (int32_t i = 0; i < 20; ++i) past_sequence(run_of(100 * (i + 1), 5 * kBlock));
  PrefixOutline told = outline({.most_blocks = 42});
  EXPECT_EQ(told.num_published, 100);
  EXPECT_EQ(told.num_blocks_not_seen, 58);
  EXPECT_FALSE(told.runs.empty());
  EXPECT_EQ(num_told(told), 100);
  EXPECT_EQ(num_shared(told), 100);
  told = outline({.most_blocks = 0});
  EXPECT_THAT(told.runs, IsEmpty());
  EXPECT_EQ(told.num_blocks_not_seen, 100);
}

TEST_F(PrefixOutlineTest, NothingIsLeftOutOfAnyTree) {
  std::mt19937 random(7);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  std::vector<SequenceBlocks> running;
  for (int round = 0; round < 120; ++round) {
    Tokens tokens;
    for (int i = 0, length = 1 + below(30); i < length; ++i) tokens.push_back(below(2));
    const auto salt = static_cast<uint64_t>(below(3));
    cache.evict(20);
    cache.set_time(round + 1);
    SequenceBlocks blocks = sequence(tokens, salt);
    if (below(6) == 0 && running.size() < 8)
      running.push_back(std::move(blocks));
    else
      end(blocks, tokens, salt);
    for (const int64_t most_runs : {1, 5, 1000}) {
      for (const int64_t most_blocks : {7, 1000}) {
        const PrefixOutline told = outline({most_runs, most_blocks});
        ASSERT_EQ(told.num_published, cache.stats().num_published);
        ASSERT_EQ(num_told(told), told.num_published);
        ASSERT_EQ(num_shared(told), told.num_published);
        ASSERT_LE(static_cast<int64_t>(told.runs.size()), most_runs);
        int64_t num_used = told.num_unpublished;
        for (size_t i = 0; i < told.runs.size(); ++i) {
          const PrefixRun& run = told.runs[i];
          ASSERT_LT(run.parent, static_cast<int32_t>(i));
          ASSERT_EQ(run.idle_since != 0 && run.num_sequences > 0, false);
          if (run.parent >= 0) {
            ASSERT_EQ(run.salt, told.runs[static_cast<size_t>(run.parent)].salt);
          }
          num_used += run.num_sequences > 0 ? run.num_blocks : 0;
        }
        if (most_runs == 1000 && most_blocks == 1000) {
          ASSERT_EQ(num_used,
                    pools.full().num_used() - cache.num_available() + pools.full().num_free());
        }
      }
    }
  }
}

TEST(PrefixOutline, OfACacheThatIsOffHasNothing) {
  BlockPools pools(8, kBlock);
  PrefixCache cache(pools, {.enabled = false});
  SequenceBlocks blocks(pools);
  ASSERT_TRUE(blocks.grow(6));
  const PrefixOutline told = cache.outline({}, 0);
  EXPECT_FALSE(told.enabled);
  EXPECT_EQ(told.num_unpublished, 2);
  EXPECT_THAT(told.runs, IsEmpty());
}

}  // namespace
}  // namespace weft::cache
