// What a draft model has computed: of every block of the replica's cache, how many of its first
// slots hold the draft model's keys and values of the tokens that stand there now.
//
// The draft model keeps its keys and values under the ids of the blocks of full attention (the
// first cache group, which has all tokens) of the model that it guesses for, in storage of its own:
// shared prefixes, forks, pre-emption and eviction are those of the one cache. But it runs only
// where its guesses are wanted, so a block may hold tokens that it has not seen, or has seen others
// in their place. This table says so exactly, by three rules:
//
//   a plan writes tokens to slots       they, and those behind them, are unknown (`overwrite`)
//   the draft model computes tokens     known from the front of the block to them (`fill`)
//   a plan copies a block               as its source, where the draft model's part is copied too
//
// Equal tokens have equal keys and values, whoever computes them: a block that sequences share is
// filled in by the first that needs it.
//
// Thread rule: the planner's thread. Nothing allocates after construction.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/range.h"
#include "cache/prefix_match.h"

namespace weft::engine {

class DraftCache {
 public:
  DraftCache(int64_t num_blocks, int64_t block_size);

  // The copies of a plan, in order, before its writes. made: of the draft model's part too.
  void copy(std::span<const cache::BlockCopy> copies, bool made);
  // A plan writes tokens [positions) of the sequence with this block table.
  void overwrite(std::span<const int32_t> block_table, Range positions);
  // The draft model computes them, and knows all before them.
  void fill(std::span<const int32_t> block_table, Range positions);

  // How many of the tokens [0, end) are known without a gap. The table covers them.
  int64_t num_known(std::span<const int32_t> block_table, int64_t end) const;

 private:
  int32_t& slots_of(std::span<const int32_t> block_table, int64_t index);

  int64_t block_size_;
  std::vector<int32_t> num_filled_;  // [num_blocks]
};

}  // namespace weft::engine
