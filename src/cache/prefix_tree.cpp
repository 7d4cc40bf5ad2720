#include "cache/prefix_tree.h"

#include <algorithm>

#include "base/error.h"

namespace weft::cache {
namespace {

// The heap's order: splitmix64's finaliser of the id, distinct for distinct ids.
uint64_t priority(int32_t block) {
  uint64_t x = static_cast<uint64_t>(block) + 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

int64_t common_length(std::span<const int32_t> a, std::span<const int32_t> b) {
  const size_t end = std::min(a.size(), b.size());
  size_t i = 0;
  while (i < end && a[i] == b[i]) ++i;
  return static_cast<int64_t>(i);
}

// Whether key a stands before key b, of which the first num_common tokens are known to be equal.
bool is_before(uint64_t salt_a, std::span<const int32_t> a, uint64_t salt_b,
               std::span<const int32_t> b, int64_t num_common) {
  if (salt_a != salt_b) return salt_a < salt_b;
  const auto i = static_cast<size_t>(num_common);
  if (i == b.size()) return false;
  return i == a.size() || a[i] < b[i];
}

}  // namespace

PrefixTree::PrefixTree(int64_t num_blocks, int64_t block_size) : block_size_(block_size) {
  WEFT_CHECK(num_blocks >= 0 && block_size > 0, "{} blocks of {}", num_blocks, block_size);
  nodes_.resize(static_cast<size_t>(num_blocks));
  tokens_.resize(static_cast<size_t>(num_blocks * block_size));
}

std::span<const int32_t> PrefixTree::tokens(int32_t block) const {
  return {tokens_.data() + block * block_size_, static_cast<size_t>(at(block).num_tokens)};
}

PrefixTree::Common PrefixTree::longest_common(uint64_t salt, int32_t parent,
                                              std::span<const int32_t> tokens) const {
  Common best;
  int32_t here = parent == kNoBlock ? roots_ : at(parent).children;
  // The neighbours of the place where `tokens` would stand are both on the way to it.
  while (here != kNoBlock) {
    const Key other = key(here);
    const int64_t common = salt == other.salt ? common_length(tokens, other.tokens) : 0;
    if (common > best.num_tokens) best = {here, common};
    if (common == static_cast<int64_t>(tokens.size())) break;
    here =
        is_before(salt, tokens, other.salt, other.tokens, common) ? at(here).left : at(here).right;
  }
  return best;
}

// Of a treap: `before` gets the nodes that stand before the key, `after` the others.
void PrefixTree::split(int32_t treap, const Key& wanted, int32_t& before, int32_t& after) {
  if (treap == kNoBlock) {
    before = after = kNoBlock;
    return;
  }
  const Key here = key(treap);
  const int64_t common = common_length(here.tokens, wanted.tokens);
  // The halves are gathered in locals: `before` and `after` may be this node's own links.
  int32_t low = kNoBlock, high = kNoBlock;
  if (is_before(here.salt, here.tokens, wanted.salt, wanted.tokens, common)) {
    split(at(treap).right, wanted, low, high);
    at(treap).right = low;
    before = treap;
    after = high;
  } else {
    split(at(treap).left, wanted, low, high);
    at(treap).left = high;
    before = low;
    after = treap;
  }
}

// All of `before` stands before all of `after`.
int32_t PrefixTree::merge(int32_t before, int32_t after) {
  if (before == kNoBlock) return after;
  if (after == kNoBlock) return before;
  if (priority(before) > priority(after)) {
    at(before).right = merge(at(before).right, after);
    return before;
  }
  at(after).left = merge(before, at(after).left);
  return after;
}

void PrefixTree::insert(uint64_t salt, int32_t parent, std::span<const int32_t> tokens,
                        int32_t block) {
  WEFT_CHECK(!contains(block), "block {} is in the tree", block);
  WEFT_CHECK(!tokens.empty() && static_cast<int64_t>(tokens.size()) <= block_size_,
             "{} tokens in a block of {}", tokens.size(), block_size_);
  WEFT_CHECK(
      parent == kNoBlock || (at(parent).num_tokens == block_size_ && at(parent).salt == salt),
      "block {} under block {}", block, parent);
  Node& node = at(block);
  node = {.salt = salt, .parent = parent, .num_tokens = static_cast<int32_t>(tokens.size())};
  std::copy(tokens.begin(), tokens.end(), tokens_.begin() + block * block_size_);
  int32_t* place = &siblings_under(parent);
  while (*place != kNoBlock && priority(*place) > priority(block)) {
    const Key here = key(*place);
    const int64_t common = common_length(tokens, here.tokens);
    place = is_before(salt, tokens, here.salt, here.tokens, common) ? &at(*place).left
                                                                    : &at(*place).right;
  }
  split(*place, key(block), node.left, node.right);
  *place = block;
  ++size_;
}

void PrefixTree::erase(int32_t block) {
  WEFT_CHECK(contains(block) && at(block).children == kNoBlock, "block {}", block);
  const Key erased = key(block);
  int32_t* place = &siblings_under(at(block).parent);
  while (*place != block) {
    WEFT_CHECK(*place != kNoBlock, "block {} is not among its siblings", block);
    const Key here = key(*place);
    const int64_t common = common_length(erased.tokens, here.tokens);
    place = is_before(erased.salt, erased.tokens, here.salt, here.tokens, common)
                ? &at(*place).left
                : &at(*place).right;
  }
  *place = merge(at(block).left, at(block).right);
  at(block) = {};
  --size_;
}

// In order: every node's key stands after its predecessor's and is no beginning or continuation
// of it, its parent is `parent`, its priority the highest of its subtree.
bool PrefixTree::is_ordered(int32_t treap, int32_t parent, int32_t& previous,
                            int64_t& count) const {
  if (treap == kNoBlock) return true;
  const Node& node = at(treap);
  if (node.num_tokens < 1 || node.parent != parent || ++count > size_) return false;
  for (const int32_t child : {node.left, node.right})
    if (child != kNoBlock && priority(child) >= priority(treap)) return false;
  if (!is_ordered(node.left, parent, previous, count)) return false;
  if (previous != kNoBlock) {
    const Key a = key(previous), b = key(treap);
    const int64_t common = common_length(a.tokens, b.tokens);
    if (!is_before(a.salt, a.tokens, b.salt, b.tokens, common)) return false;
    if (a.salt == b.salt && common == static_cast<int64_t>(a.tokens.size())) return false;
  }
  previous = treap;
  return is_ordered(node.right, parent, previous, count);
}

bool PrefixTree::is_consistent() const {
  int64_t count = 0, contained = 0;
  int32_t previous = kNoBlock;
  if (!is_ordered(roots_, kNoBlock, previous, count)) return false;
  for (int32_t block = 0; block < static_cast<int32_t>(nodes_.size()); ++block) {
    const Node& node = at(block);
    if (node.num_tokens == 0) continue;
    ++contained;
    if (node.children != kNoBlock && node.num_tokens != block_size_) return false;
    if (node.parent != kNoBlock && at(node.parent).salt != node.salt) return false;
    previous = kNoBlock;
    if (!is_ordered(node.children, block, previous, count)) return false;
  }
  return count == size_ && contained == size_;
}

}  // namespace weft::cache
