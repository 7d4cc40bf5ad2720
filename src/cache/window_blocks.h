// The part of the prefix cache in one group with a window: which nodes of the tree have a block
// there, and which of those blocks nobody else holds. A node without one still serves full
// attention, and those whose window begins behind it.
//
//     no block --attach--> held with a sequence <--a match / the last sequence leaves--> idle
//        ^                                                                                 |
//        +------------------------- evict (longest idle first), detach -------------------+
//
// Thread rule: as the pool's. Nothing allocates after construction.
#pragma once

#include <cstdint>
#include <vector>

#include "cache/block_pool.h"
#include "cache/idle_list.h"
#include "cache/prefix_tree.h"

namespace weft::cache {

class WindowBlocks final : private BlockKeeper {
 public:
  // num_nodes: of the tree. The pool outlives this.
  WindowBlocks(BlockPool& pool, int64_t num_nodes);
  // When nothing is attached any more.
  ~WindowBlocks();
  WindowBlocks(const WindowBlocks&) = delete;
  WindowBlocks& operator=(const WindowBlocks&) = delete;

  BlockPool& pool() { return pool_; }
  // The node's block; kNoBlock: it has none.
  int32_t of(int32_t node) const { return block_of_[static_cast<size_t>(node)]; }
  // The plan that a node's block was attached in: no later one writes to it.
  int64_t written_by(int32_t node) const { return written_by_[static_cast<size_t>(node)]; }
  // A used block that belongs to no node becomes that of a node without one.
  void attach(int32_t node, int32_t block, int64_t plan);
  // The node leaves the tree. Where it has no block nothing happens.
  void detach(int32_t node);

  // Frees idle blocks until the pool has num_blocks free ones or none is idle; returns how many.
  int64_t evict(int64_t num_blocks);
  int64_t num_idle() const { return idle_.size(); }

  // Nodes with blocks are of the tree, blocks and nodes name each other, idle are exactly those
  // that nobody else holds. O(num_nodes + num_blocks), for tests and idle times.
  bool is_consistent(const PrefixTree& tree) const;

 private:
  void on_used(int32_t block) override {
    if (idle_.contains(block)) idle_.erase(block);
  }
  void on_left_alone(int32_t block) override { idle_.push(block); }

  BlockPool& pool_;
  IdleList idle_;
  std::vector<int32_t> block_of_;    // [num_nodes]
  std::vector<int64_t> written_by_;  // [num_nodes]
  std::vector<int32_t> node_of_;     // [num_blocks]
};

}  // namespace weft::cache
