#include "cache/prefix_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

namespace weft::cache {
namespace {

using Tokens = std::vector<int32_t>;

TEST(PrefixTree, FindsTheChildThatSharesTheMost) {
  PrefixTree tree(8, 4);
  tree.insert(0, kNoBlock, Tokens{1, 2, 3, 4}, 5);
  tree.insert(0, kNoBlock, Tokens{1, 2, 9, 9}, 2);
  tree.insert(0, 5, Tokens{7, 7}, 3);
  EXPECT_EQ(tree.longest_common(0, kNoBlock, Tokens{1, 2, 3, 4}).block, 5);
  EXPECT_EQ(tree.longest_common(0, kNoBlock, Tokens{1, 2, 3, 4}).num_tokens, 4);
  EXPECT_EQ(tree.longest_common(0, kNoBlock, Tokens{1, 2, 9, 1}).block, 2);
  EXPECT_EQ(tree.longest_common(0, kNoBlock, Tokens{1, 2, 9, 1}).num_tokens, 3);
  EXPECT_EQ(tree.longest_common(0, kNoBlock, Tokens{2}).block, kNoBlock);
  EXPECT_EQ(tree.longest_common(0, kNoBlock, Tokens{}).block, kNoBlock);
  EXPECT_EQ(tree.longest_common(0, 5, Tokens{7, 7, 7, 7}).block, 3);
  EXPECT_EQ(tree.longest_common(0, 2, Tokens{7, 7}).block, kNoBlock);
  EXPECT_EQ(tree.longest_common(1, kNoBlock, Tokens{1, 2, 3, 4}).block, kNoBlock);
  EXPECT_EQ(tree.parent(3), 5);
  EXPECT_EQ(tree.any_child(5), 3);
  EXPECT_TRUE(tree.is_consistent());
  tree.erase(3);
  EXPECT_EQ(tree.any_child(5), kNoBlock);
  EXPECT_FALSE(tree.contains(3));
  EXPECT_EQ(tree.size(), 2);
}

TEST(PrefixTree, SaltsNeverMeet) {
  PrefixTree tree(4, 2);
  tree.insert(~uint64_t{0}, kNoBlock, Tokens{1, 2}, 0);
  tree.insert(0, kNoBlock, Tokens{1, 2}, 1);
  tree.insert(7, kNoBlock, Tokens{1, 3}, 2);
  EXPECT_EQ(tree.longest_common(~uint64_t{0}, kNoBlock, Tokens{1, 2}).block, 0);
  EXPECT_EQ(tree.longest_common(0, kNoBlock, Tokens{1, 2}).block, 1);
  EXPECT_EQ(tree.longest_common(7, kNoBlock, Tokens{1, 2}).num_tokens, 1);
  EXPECT_EQ(tree.longest_common(8, kNoBlock, Tokens{1, 2}).block, kNoBlock);
  EXPECT_TRUE(tree.is_consistent());
}

// Many children of one node, whatever the order in which they come and go.
TEST(PrefixTree, AgreesWithAPlainListOfSiblings) {
  constexpr int32_t kNumBlocks = 300;
  std::mt19937_64 random(21);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<uint64_t>(n)); };
  PrefixTree tree(kNumBlocks, 4);
  std::map<int32_t, std::pair<uint64_t, Tokens>> plain;
  const auto shared = [](const Tokens& a, const Tokens& b) {
    return std::ranges::mismatch(a, b).in1 - a.begin();
  };
  for (int step = 0; step < 20'000; ++step) {
    const uint64_t salt = random() % 2;
    Tokens tokens(static_cast<size_t>(1 + below(4)));
    for (int32_t& token : tokens) token = below(6) - 3;
    int64_t longest = 0;
    bool clashes = false;
    for (const auto& [block, other] : plain) {
      if (other.first != salt) continue;
      const int64_t n = shared(tokens, other.second);
      longest = std::max(longest, n);
      clashes |= n == static_cast<int64_t>(std::min(tokens.size(), other.second.size()));
    }
    const PrefixTree::Common found = tree.longest_common(salt, kNoBlock, tokens);
    ASSERT_EQ(found.num_tokens, longest);
    if (longest > 0) {
      ASSERT_EQ(plain.at(found.block).first, salt);
      ASSERT_EQ(shared(tokens, plain.at(found.block).second), longest);
    }
    const int32_t block = below(kNumBlocks);
    if (tree.contains(block)) {
      tree.erase(block);
      plain.erase(block);
    } else if (!clashes) {
      tree.insert(salt, kNoBlock, tokens, block);
      plain[block] = {salt, tokens};
    }
    ASSERT_EQ(tree.size(), static_cast<int64_t>(plain.size()));
    ASSERT_TRUE(step % 20 != 0 || tree.is_consistent());
  }
}

// The check that the others lean on: it must see what is wrong.
TEST(PrefixTree, IsNotConsistentWhereASiblingBeginsAnother) {
  PrefixTree tree(4, 4);
  tree.insert(0, kNoBlock, Tokens{1, 2}, 0);
  EXPECT_TRUE(tree.is_consistent());
  tree.insert(0, kNoBlock, Tokens{1, 2, 3}, 1);
  EXPECT_FALSE(tree.is_consistent());
}

TEST(PrefixTreeDeathTest, WhatCannotBeIsABug) {
  PrefixTree tree(4, 2);
  tree.insert(0, kNoBlock, Tokens{1, 2}, 0);
  tree.insert(0, 0, Tokens{1}, 1);
  EXPECT_DEATH(tree.insert(0, kNoBlock, Tokens{3, 4}, 0), "block 0 is in the tree");
  EXPECT_DEATH(tree.insert(0, kNoBlock, Tokens{1, 2, 3}, 2), "3 tokens in a block of 2");
  EXPECT_DEATH(tree.insert(0, 1, Tokens{1, 2}, 2), "block 2 under block 1");
  EXPECT_DEATH(tree.insert(9, 0, Tokens{3}, 2), "block 2 under block 0");
  EXPECT_DEATH(tree.erase(0), "block 0");
}

}  // namespace
}  // namespace weft::cache
