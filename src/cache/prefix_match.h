// What passes between the prefix cache, block tables and step plans: what a new sequence may begin
// with, and copies of blocks.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace weft::cache {

// The bytes of block `from` are wanted in block `to`, on every shard, before anything of the same
// plan writes: copies of a plan run in their order, then its tokens. The first num_tokens slots
// hold what is wanted; the rest may be copied along, it is masked until it is overwritten.
struct BlockCopy {
  int32_t from = -1, to = -1;
  int64_t num_tokens = 0;
  int32_t group = 0;  // of both
};

// What a match holds in one group: blocks [first_block, first_block + blocks.size()) of the
// sequence, shared as they are, and the one whose first copied_tokens slots continue them.
struct GroupMatch {
  int64_t first_block = 0;
  std::vector<int32_t> blocks;
  std::optional<int32_t> copy_from;

  void clear() {
    first_block = 0;
    blocks.clear();
    copy_from.reset();
  }
};

// The longest known prefix of a sequence. Its blocks, copy_from included, are held for whoever
// asked, who hands them to SequenceBlocks::begin or to PrefixCache::give_back.
struct PrefixMatch {
  GroupMatch full;                  // from block 0 on
  std::vector<GroupMatch> windows;  // of groups 1 on: what the next token sees
  int64_t copied_tokens = 0;
  int64_t num_tokens = 0;    // known: those of full blocks and the copied ones
  int64_t asked_tokens = 0;  // of which

  int64_t num_blocks() const { return static_cast<int64_t>(full.blocks.size()); }
  GroupMatch& of(int group) { return group == 0 ? full : windows[static_cast<size_t>(group) - 1]; }
};

}  // namespace weft::cache
