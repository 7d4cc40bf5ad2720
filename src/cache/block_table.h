// The blocks of one sequence in one cache group, in the order of its tokens: token t lies in block
// ids()[t / B - first_block()], slot t % B, where B is the pool's block size. Attention kernels
// read `ids` as their block table. first_block is 0 but where a window has passed blocks
// (`forget`).
//
// Who owns which stretch, for B = 16 and a sequence of 53 tokens that was grown to 60, whose first
// 22 tokens were known when it began:
//
//   tokens   0              16    22        32              48   53    60   64
//            |--- block 7 ---|--- block 2 ---|--- block 9 ---|--- block 4 ---|
//            [0, 16) shared: read by this sequence and others, written by none of them
//                            [16, 22) copied from another's block before the first step
//                                  [22, 53) own: written by the model
//                                                                 [53, 60) grown, unwritten
//                                                                       [60, 64) slack
//
// The table holds each block once and gives it back: `truncate` from the end, `forget` from the
// beginning, `release` and the destructor all of them. A block that another holder shares (the
// prefix cache, a sequence with the same beginning) stays with that holder. A block may become
// shared when it is full: nobody writes to it again, so whoever reads it may. What is written and
// what is not is the scheduler's business; the table counts room.
//
// Thread rule: as the pool's. The pool outlives its tables.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/block_pool.h"
#include "cache/prefix_match.h"

namespace weft::cache {

class BlockTable {
 public:
  // Empty. max_tokens: the length up to which no verb allocates memory (0: it may).
  explicit BlockTable(BlockPool& pool, int64_t max_tokens = 0);
  ~BlockTable();
  BlockTable(BlockTable&& other) noexcept;
  BlockTable& operator=(BlockTable&& other) noexcept;

  // Makes room for tokens [0, num_tokens), all or nothing: false, and nothing changed, where the
  // pool has too few free blocks. Never shrinks.
  [[nodiscard]] bool grow(int64_t num_tokens);
  // Gives back the blocks that tokens [0, num_tokens) do not need. Never grows.
  void truncate(int64_t num_tokens);
  // Gives back the blocks in front of the one that `first_token` lies in: nothing sees them any
  // more.
  void forget(int64_t first_token);
  // Gives back everything.
  void release();

  // An empty table takes over what a match holds: its blocks, and, where it has tokens to copy, a
  // block of its own for them, whose copy is appended to `copies`; they are those of the plan that
  // the sequence's first tokens run in. All or nothing: false, and nothing changed, where that
  // takes a free block and the pool has none. Empties the match.
  [[nodiscard]] bool begin(GroupMatch& match, int64_t copied_tokens, std::vector<BlockCopy>& copies,
                           int group = 0);
  // An empty table begins with tokens [0, num_tokens) of another, as far as it holds them, all
  // written by earlier plans: full blocks are shared, the last partial one is copied, since both go
  // on writing there. As `begin` otherwise.
  [[nodiscard]] bool fork(const BlockTable& parent, int64_t num_tokens,
                          std::vector<BlockCopy>& copies, int group = 0);
  // Puts `block`, which holds the same tokens, in the place of the table's block `index` of the
  // sequence, and holds it in its stead; returns the one that was there, which the caller now
  // holds.
  [[nodiscard]] int32_t exchange(int64_t index, int32_t block);

  std::span<const int32_t> ids() const { return ids_; }
  int64_t num_blocks() const { return static_cast<int64_t>(ids_.size()); }
  // Blocks [first_block, end_block) of the sequence are held.
  int64_t first_block() const { return first_block_; }
  int64_t end_block() const { return first_block_ + num_blocks(); }
  bool holds(int64_t index) const { return index >= first_block_ && index < end_block(); }
  int32_t id_of(int64_t index) const { return ids_[static_cast<size_t>(index - first_block_)]; }
  // Tokens that fit into the blocks held, those in front of first_block counted.
  int64_t capacity() const { return end_block() * pool_->block_size(); }
  // Blocks that `grow` would take.
  int64_t num_missing(int64_t num_tokens) const;
  const BlockPool& pool() const { return *pool_; }

 private:
  BlockPool* pool_;
  int64_t first_block_ = 0;
  std::vector<int32_t> ids_;
};

}  // namespace weft::cache
