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
};

// The longest known prefix of a sequence. Its blocks, copy_from included, are held for whoever
// asked, who hands them to BlockTable::begin or to PrefixCache::give_back.
struct PrefixMatch {
  std::vector<int32_t> blocks;       // full blocks, shared as they are
  std::optional<int32_t> copy_from;  // whose first copied_tokens slots continue them
  int64_t copied_tokens = 0;
  int64_t num_tokens = 0;    // known: those of full blocks and the copied ones
  int64_t asked_tokens = 0;  // of which
};

}  // namespace weft::cache
