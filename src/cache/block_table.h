// The blocks of one sequence, in the order of its tokens: token t lies in block ids()[t / B], slot
// t % B, where B is the pool's block size. Attention kernels read `ids` as their block table.
//
// Who owns which stretch, for B = 16 and a sequence of 37 tokens that was grown to 60:
//
//   tokens   0              16              32    37         48          60   64
//            |--- block 7 ---|--- block 2 ---|--- block 9 ---|--- block 4 ---|
//            [0, 37) written by the model    [37, 60) grown, not yet written
//                                                             [60, 64) slack
//
// The table holds each block once and gives it back: `truncate` from the end, `release` and the
// destructor all of them. A block that another holder shares (a retained prefix) stays with that
// holder. What is written and what is not is the scheduler's business; the table counts room.
//
// Thread rule: as the pool's. The pool outlives its tables.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/block_pool.h"

namespace weft::cache {

class BlockTable {
 public:
  // Empty. max_tokens: the length up to which `grow` allocates no memory (0: it may).
  explicit BlockTable(BlockPool& pool, int64_t max_tokens = 0);
  ~BlockTable();
  BlockTable(BlockTable&& other) noexcept;
  BlockTable& operator=(BlockTable&& other) noexcept;

  // Makes room for tokens [0, num_tokens), all or nothing: false, and nothing changed, where the
  // pool has too few free blocks. Never shrinks.
  [[nodiscard]] bool grow(int64_t num_tokens);
  // Gives back the blocks that tokens [0, num_tokens) do not need. Never grows.
  void truncate(int64_t num_tokens);
  // Gives back everything.
  void release() { truncate(0); }

  std::span<const int32_t> ids() const { return ids_; }
  int64_t num_blocks() const { return static_cast<int64_t>(ids_.size()); }
  // Tokens that fit into the blocks held.
  int64_t capacity() const { return num_blocks() * pool_->block_size(); }

 private:
  BlockPool* pool_;
  std::vector<int32_t> ids_;
};

}  // namespace weft::cache
