#include "cache/block_pools.h"

#include <algorithm>

#include "base/error.h"

namespace weft::cache {

BlockPools::BlockPools(int64_t num_blocks, int64_t block_size)
    : BlockPools(std::vector<int64_t>{0}, std::vector<int64_t>{num_blocks}, block_size) {}

BlockPools::BlockPools(std::span<const int64_t> windows, std::span<const int64_t> num_blocks,
                       int64_t block_size)
    : windows_(windows.begin(), windows.end()) {
  WEFT_CHECK_EQ(windows.size(), num_blocks.size());
  WEFT_CHECK(!windows.empty() && windows.size() <= kMostGroups, "{} groups", windows.size());
  for (size_t group = 0; group < windows.size(); ++group) {
    WEFT_CHECK((windows[group] > 0) == (group > 0), "group {} has a window of {}", group,
               windows[group]);
    pools_.push_back(std::make_unique<BlockPool>(num_blocks[group], block_size));
  }
}

bool BlockPools::is_consistent() const {
  return std::all_of(pools_.begin(), pools_.end(),
                     [](const auto& pool) { return pool->is_consistent(); });
}

}  // namespace weft::cache
