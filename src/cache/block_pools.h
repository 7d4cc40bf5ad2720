// The pools of all cache groups (group_layout.h) of one replica: a BlockPool for each, with ids of
// its own, all of one block size.
//
// Thread rule: as the pools'.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cache/block_pool.h"
#include "cache/group_layout.h"

namespace weft::cache {

class BlockPools {
 public:
  // A pool of full attention alone.
  BlockPools(int64_t num_blocks, int64_t block_size);
  // windows, num_blocks: [num_groups]; the first window is 0, the others are not.
  BlockPools(std::span<const int64_t> windows, std::span<const int64_t> num_blocks,
             int64_t block_size);

  int num_groups() const { return static_cast<int>(pools_.size()); }
  BlockPool& pool(int group) { return *pools_[static_cast<size_t>(group)]; }
  const BlockPool& pool(int group) const { return *pools_[static_cast<size_t>(group)]; }
  BlockPool& full() { return *pools_.front(); }
  const BlockPool& full() const { return *pools_.front(); }
  int64_t window(int group) const { return windows_[static_cast<size_t>(group)]; }
  int64_t block_size() const { return full().block_size(); }

  // Of a group, the first block that a token at `position` sees.
  int64_t first_seen_block(int group, int64_t position) const {
    return first_seen(window(group), position) / block_size();
  }
  bool is_consistent() const;

 private:
  std::vector<std::unique_ptr<BlockPool>> pools_;  // [num_groups]
  std::vector<int64_t> windows_;                   // [num_groups]
};

}  // namespace weft::cache
