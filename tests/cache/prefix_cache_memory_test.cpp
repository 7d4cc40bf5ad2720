// The verbs of a step allocate nothing once the vectors of their results have grown.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <numeric>
#include <vector>

#include "cache/prefix_cache.h"

namespace {
int64_t num_allocations = 0;
}  // namespace

// At -O1 GCC 12 sees free() meet what it takes for an operator new that is not the one below.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

// Counts what this program allocates; GoogleTest's own between the two readings would count too.
void* operator new(size_t size) {
  ++num_allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace weft::cache {
namespace {

TEST(PrefixCacheMemory, AStepAllocatesNothing) {
  constexpr int64_t kLength = 200;
  // The second group sees 40 tokens: its blocks are given back as the sequence goes on.
  const int64_t windows[] = {0, 40}, num_blocks[] = {64, 50};
  BlockPools pools(windows, num_blocks, 16);
  PrefixCache cache(pools, {});
  std::vector<int32_t> tokens(kLength), withdrawn;
  std::iota(tokens.begin(), tokens.end(), 0);
  PrefixMatch match;
  std::vector<BlockCopy> copies;
  SequenceBlocks table(pools, kLength), child(pools, kLength);
  withdrawn.reserve(64);
  match.full.blocks.reserve(64);
  match.windows.resize(1);
  match.windows[0].blocks.reserve(64);
  int64_t before = 0;
  for (int round = 0; round < 40; ++round) {
    if (round == 5) before = num_allocations;
    // Every round shares some of the round before's tokens and evicts older ones.
    tokens[static_cast<size_t>(60 + round)] = -round;
    cache.match(static_cast<uint64_t>(round % 2), tokens, kLength - 1, match);
    cache.evict(pools.full().blocks_for(kLength) + 1);
    int64_t num_published = match.num_blocks(), num_tokens = match.num_tokens;
    cache.evict(1, 1);
    ASSERT_TRUE(table.begin(match, copies));
    while (num_tokens < kLength) {
      table.slide(num_tokens);
      num_tokens = std::min(num_tokens + 30, kLength);
      cache.evict(3, 1);
      ASSERT_TRUE(table.grow(num_tokens));
      num_published = cache.publish(static_cast<uint64_t>(round % 2),
                                    std::span(tokens).first(static_cast<size_t>(num_tokens)), table,
                                    num_published);
      cache.next_plan();
    }
    cache.evict(1, 1);
    ASSERT_TRUE(child.fork(table, kLength - 3, copies));
    if (round % 7 == 3) cache.withdraw(table.full().ids().subspan(8), withdrawn);
    if (round % 7 != 3)
      cache.publish_end(static_cast<uint64_t>(round % 2), tokens, table, num_published);
    child.release();
    table.release();
    copies.clear();
    withdrawn.clear();
    cache.next_plan();
  }
  EXPECT_EQ(num_allocations - before, 0);
  EXPECT_GT(cache.stats().hit_tokens, 0);
  EXPECT_GT(cache.stats().num_evicted, 0);
  EXPECT_GT(cache.stats().num_withdrawn, 0);
}

}  // namespace
}  // namespace weft::cache
