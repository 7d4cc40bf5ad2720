#include "engine/draft_cache.h"

#include <gtest/gtest.h>

#include <map>

#include "base/random.h"

namespace weft::engine {
namespace {

using Table = std::vector<int32_t>;

TEST(DraftCache, KnowsWhatWasComputedWithoutAGap) {
  DraftCache cache(8, 16);
  const Table table = {3, 1, 5};
  EXPECT_EQ(cache.num_known(table, 40), 0);
  cache.overwrite(table, {0, 40});
  cache.fill(table, {0, 20});
  EXPECT_EQ(cache.num_known(table, 40), 20);
  EXPECT_EQ(cache.num_known(table, 18), 18);
  cache.fill(table, {20, 40});
  EXPECT_EQ(cache.num_known(table, 40), 40);
  EXPECT_EQ(cache.num_known(table, 0), 0);
}

TEST(DraftCache, ForgetsWhatIsOverwrittenAndAllBehindIt) {
  DraftCache cache(8, 16);
  const Table table = {3, 1, 5};
  cache.fill(table, {0, 48});
  cache.overwrite(table, {20, 21});  // a guess was wrong
  EXPECT_EQ(cache.num_known(table, 48), 20);
  // A block that went to another sequence is written from its front.
  const Table other = {5};
  cache.overwrite(other, {0, 3});
  EXPECT_EQ(cache.num_known(other, 3), 0);
}

TEST(DraftCache, ACopyKnowsWhatWasCopied) {
  DraftCache cache(8, 16);
  const Table table = {2};
  cache.fill(table, {0, 10});
  const cache::BlockCopy copies[] = {{2, 4, 8}, {4, 6, 12}};
  cache.copy(copies, true);
  EXPECT_EQ(cache.num_known(Table{4}, 16), 8);
  EXPECT_EQ(cache.num_known(Table{6}, 16), 8);
  cache.copy(std::span(copies).first(1), false);
  EXPECT_EQ(cache.num_known(Table{4}, 16), 0);
}

// Against slots that say which tokens they hold: whatever is known is right.
TEST(DraftCache, IsNeverWrong) {
  constexpr int64_t kBlocks = 6, kSize = 16;
  DraftCache cache(kBlocks, kSize);
  std::vector<int64_t> target(kBlocks * kSize, 0), draft(kBlocks * kSize, -1);
  uint64_t use = 0;
  const auto random = [&](int64_t below) {
    return static_cast<int64_t>(uniform_bits(7, 8, use++) % static_cast<uint64_t>(below));
  };
  int64_t num_known = 0;
  for (int64_t step = 1; step < 20'000; ++step) {
    const Table table = {static_cast<int32_t>(random(3)), static_cast<int32_t>(3 + random(3))};
    const auto slot = [&](int64_t t) {
      return static_cast<size_t>(table[static_cast<size_t>(t / kSize)] * kSize + t % kSize);
    };
    const int64_t begin = random(2 * kSize), end = begin + random(2 * kSize - begin) + 1;
    switch (random(3)) {
      case 0:  // new tokens from `begin` on
        cache.overwrite(table, {begin, end});
        for (int64_t t = begin; t < end; ++t) target[slot(t)] = step;
        break;
      case 1: {  // the draft model computes what it does not know
        const Range unseen{cache.num_known(table, end), end};
        cache.fill(table, unseen);
        for (int64_t t = unseen.begin; t < unseen.end; ++t) draft[slot(t)] = target[slot(t)];
        break;
      }
      default: {
        const bool made = random(2) == 0;
        const int64_t count = random(kSize) + 1;
        const cache::BlockCopy copy{table[0], table[1], count};
        cache.copy({&copy, 1}, made);
        for (int64_t t = 0; t < kSize; ++t) {
          // Slots behind those wanted hold something else to whoever reads the copy.
          target[slot(kSize + t)] = t < count ? target[slot(t)] : -2 - step;
          if (made) draft[slot(kSize + t)] = draft[slot(t)];
        }
      }
    }
    const int64_t known = cache.num_known(table, 2 * kSize);
    num_known += known;
    for (int64_t t = 0; t < known; ++t) ASSERT_EQ(draft[slot(t)], target[slot(t)]) << step;
  }
  EXPECT_GT(num_known, 20'000);
}

}  // namespace
}  // namespace weft::engine
