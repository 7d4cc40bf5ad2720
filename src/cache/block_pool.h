// The blocks of one replica's KV cache: who holds each, and which are free. Block ids are global
// to the replica; a rank's bytes of a block lie in its KvStorage, which this file does not know.
//
// A block is free (nobody holds it) or used (held once or more). `allocate` hands out a block
// held once; every `retain` adds a holder, every `release` takes one away, and the last release
// frees the block:
//
//            allocate              retain                retain
//     free ------------> 1 holder ------------> 2 holders ------> ...
//          <------------          <------------           <------
//            release               release               release
//
// One of the holders may be the pool's keeper (the prefix cache), which holds a block so that it
// outlives its sequences: `keep` and `drop` are its retain and release, and it is told when the
// last of the others leaves a kept block and when the first comes back.
//
// All verbs are O(1) and allocate nothing; the block freed last is handed out first, because its
// bytes are the likeliest to be in a processor's cache. Contents are never cleared: a position
// that attention masks contributes nothing, whatever memory holds there (DESIGN.md 1.4).
//
// Thread rule: one thread (the scheduler's). Ids that were never handed out, and a release of a
// free block, are bugs (CHECK); "no free block" is an expected outcome.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace weft::cache {

// Who keeps blocks that no sequence holds any more.
class BlockKeeper {
 public:
  // A kept block that the keeper held alone has another holder.
  virtual void on_used(int32_t block) = 0;
  // The last other holder left a kept block.
  virtual void on_left_alone(int32_t block) = 0;

 protected:
  ~BlockKeeper() = default;
};

class BlockPool {
 public:
  // num_blocks >= 0 blocks of block_size >= 1 tokens, all free.
  BlockPool(int64_t num_blocks, int64_t block_size);
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // A block with one holder; none where no block is free.
  std::optional<int32_t> allocate();
  // Adds a holder to a used block.
  void retain(int32_t block);
  // Takes a holder away; frees the block with the last one.
  void release(int32_t block);

  // One keeper at a time, or none (null); it leaves when nothing is kept.
  void set_keeper(BlockKeeper* keeper);
  // Makes the keeper a holder of a used block that it does not keep yet; it is told at once that
  // the block is used.
  void keep(int32_t block);
  // Ends the keeper's hold, without telling it; frees the block where nobody else holds it.
  void drop(int32_t block);
  bool is_kept(int32_t block) const;

  // The keeper counted among them.
  int64_t num_holders(int32_t block) const;
  int64_t num_blocks() const { return static_cast<int64_t>(holders_.size()); }
  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }
  int64_t num_used() const { return num_blocks() - num_free(); }
  int64_t num_kept() const { return num_kept_; }
  int64_t block_size() const { return block_size_; }
  // Blocks that `num_tokens` tokens need.
  int64_t blocks_for(int64_t num_tokens) const;

  // True where free + used = all: every block is either on the free list, once and without a
  // holder, or off it with at least one; kept blocks are used. O(num_blocks), for tests and idle
  // times.
  bool is_consistent() const;

 private:
  int64_t block_size_, num_kept_ = 0;
  std::vector<int32_t> holders_;  // [num_blocks]
  std::vector<bool> is_kept_;     // [num_blocks]
  std::vector<int32_t> free_;     // a stack; capacity num_blocks
  BlockKeeper* keeper_ = nullptr;
};

}  // namespace weft::cache
