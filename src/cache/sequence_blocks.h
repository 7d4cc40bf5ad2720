// The block tables of one sequence, one a cache group. Full attention keeps blocks of all tokens;
// a group with a window those that the tokens to come see (window 40, B = 16, 100 tokens planned):
//
//   tokens    0     16    32    48    64    80    96   112
//   group 0   |-----|-----|-----|-----|-----|-----|-----|    all of them
//   group 1                     |-----|-----|-----|-----|    the token at 100 sees [61, 100];
//                               blocks [0, 48) were given back, or stay with the prefix cache
//
// Thread rule: as the pools'. The pools outlive their sequences.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/block_pools.h"
#include "cache/block_table.h"
#include "cache/prefix_match.h"

namespace weft::cache {

class SequenceBlocks {
 public:
  // Empty. max_tokens: the length up to which no verb allocates memory (0: it may).
  explicit SequenceBlocks(BlockPools& pools, int64_t max_tokens = 0);

  // Makes room for tokens [0, num_tokens) in every group, or in that of full attention alone; all
  // or nothing: false, and nothing changed, where a pool has too few free blocks.
  [[nodiscard]] bool grow(int64_t num_tokens);
  [[nodiscard]] bool grow_full(int64_t num_tokens) { return full().grow(num_tokens); }
  // Gives back what no token from `position` on sees. The plans that see it were made: workers run
  // plans in order, so whoever gets the blocks writes to them later.
  void slide(int64_t position);
  void release();

  // As BlockTable's, in every group: all or nothing.
  [[nodiscard]] bool begin(PrefixMatch& match, std::vector<BlockCopy>& copies);
  [[nodiscard]] bool fork(const SequenceBlocks& parent, int64_t num_tokens,
                          std::vector<BlockCopy>& copies);

  int num_groups() const { return static_cast<int>(tables_.size()); }
  BlockTable& table(int group) { return tables_[static_cast<size_t>(group)]; }
  const BlockTable& table(int group) const { return tables_[static_cast<size_t>(group)]; }
  BlockTable& full() { return tables_.front(); }
  const BlockTable& full() const { return tables_.front(); }
  // Tokens that every group has room for.
  int64_t capacity() const;

 private:
  bool has_free(int64_t num_blocks) const;

  const BlockPools* pools_;
  std::vector<BlockTable> tables_;  // [num_groups]
};

}  // namespace weft::cache
