// Which blocks hold which tokens after which others: the radix tree of the prefix cache. A node is
// a block, so an id names both, and a path from the root spells the beginning of a sequence:
//
//   salt 0 ── [the system prompt's 16 tokens] ── [16 more] ─┬─ [16 of one question] ── [5: a tail]
//                                                           └─ [16 of another]
//   salt 7 ── [the same 16 tokens, for another tenant]
//
// A node holds block_size tokens, or fewer where it is a tail: the end of a sequence that is over.
// Tails have no children. The children of a node (and the nodes without parent, over all salts)
// are kept in the order of (salt, tokens), and none is the beginning of another, so one descent
// finds the child that shares the most tokens with a given run: it is a neighbour of the place
// where the run would stand. Tokens are compared as they are; there is no hash whose collision
// could pass one prompt's block off as another's.
//
// The order is a treap: a binary tree by (salt, tokens) and a heap by a number drawn from the block
// id (Seidel and Aragon, "Randomized search trees", 1996), so a lookup among n children takes
// O(log n) steps whatever the order of arrival.
//
// Memory is taken once: some 40 bytes a block and 4 a token. Everything but the constructor
// allocates nothing. This file knows no holders and no time; those are PrefixCache's.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace weft::cache {

inline constexpr int32_t kNoBlock = -1;

class PrefixTree {
 public:
  PrefixTree(int64_t num_blocks, int64_t block_size);

  // The child of `parent` (kNoBlock: a node without parent) under `salt` that shares the longest
  // beginning with `tokens`; kNoBlock where no child shares any. At most block_size tokens.
  struct Common {
    int32_t block = kNoBlock;
    int64_t num_tokens = 0;  // >= 1 where there is a block
  };
  Common longest_common(uint64_t salt, int32_t parent, std::span<const int32_t> tokens) const;

  // Hangs a block that is not in the tree, with 1 to block_size tokens, under `parent`, a node of
  // block_size tokens and the same salt. No sibling begins with `tokens` or is a beginning of them.
  void insert(uint64_t salt, int32_t parent, std::span<const int32_t> tokens, int32_t block);
  // Takes a block without children out.
  void erase(int32_t block);

  bool contains(int32_t block) const { return at(block).num_tokens > 0; }
  // Of a block in the tree:
  std::span<const int32_t> tokens(int32_t block) const;
  uint64_t salt(int32_t block) const { return at(block).salt; }
  int32_t parent(int32_t block) const { return at(block).parent; }
  // Any one of its children (kNoBlock: of the nodes without parent); kNoBlock: it has none.
  int32_t any_child(int32_t block) const { return block == kNoBlock ? roots_ : at(block).children; }
  // From any_child on these lead to all children of a parent, once to each; kNoBlock: to no more.
  std::array<int32_t, 2> next_siblings(int32_t block) const {
    return {at(block).left, at(block).right};
  }
  // Says that the block will be asked about soon, so that its node is in the cache by then.
  void prefetch(int32_t block) const { __builtin_prefetch(&at(block)); }
  int64_t size() const { return size_; }

  // True where parents, orders and heaps are as said above and every node hangs in one place.
  // O(num_blocks * block_size), for tests and idle times.
  bool is_consistent() const;

 private:
  struct Node {
    uint64_t salt = 0;
    int32_t parent = kNoBlock;
    int32_t children = kNoBlock;                // the treap of them
    int32_t left = kNoBlock, right = kNoBlock;  // in the treap of its siblings
    int32_t num_tokens = 0;                     // 0: not in the tree
  };
  struct Key {
    uint64_t salt;
    std::span<const int32_t> tokens;
  };

  Node& at(int32_t block) { return nodes_[static_cast<size_t>(block)]; }
  const Node& at(int32_t block) const { return nodes_[static_cast<size_t>(block)]; }
  Key key(int32_t block) const { return {at(block).salt, tokens(block)}; }
  int32_t& siblings_under(int32_t parent) {
    return parent == kNoBlock ? roots_ : at(parent).children;
  }
  void split(int32_t treap, const Key& key, int32_t& before, int32_t& after);
  int32_t merge(int32_t before, int32_t after);
  bool is_ordered(int32_t treap, int32_t parent, int32_t& previous, int64_t& count) const;

  int64_t block_size_, size_ = 0;
  std::vector<Node> nodes_;      // [num_blocks]
  std::vector<int32_t> tokens_;  // [num_blocks, block_size]
  int32_t roots_ = kNoBlock;     // the treap of nodes without parent
};

}  // namespace weft::cache
