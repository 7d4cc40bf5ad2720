#include "cache/block_pool.h"

#include <limits>

#include "base/error.h"
#include "base/range.h"

namespace weft::cache {

BlockPool::BlockPool(int64_t num_blocks, int64_t block_size) : block_size_(block_size) {
  WEFT_CHECK(num_blocks >= 0 && num_blocks <= std::numeric_limits<int32_t>::max(), "{} blocks",
             num_blocks);
  WEFT_CHECK_LT(0, block_size);
  holders_.assign(static_cast<size_t>(num_blocks), 0);
  free_.reserve(static_cast<size_t>(num_blocks));
  // Block 0 is handed out first.
  for (int64_t block = num_blocks - 1; block >= 0; --block)
    free_.push_back(static_cast<int32_t>(block));
}

std::optional<int32_t> BlockPool::allocate() {
  if (free_.empty()) return std::nullopt;
  const int32_t block = free_.back();
  free_.pop_back();
  holders_[static_cast<size_t>(block)] = 1;
  return block;
}

void BlockPool::retain(int32_t block) {
  WEFT_CHECK(num_holders(block) > 0, "block {} is free", block);
  ++holders_[static_cast<size_t>(block)];
}

void BlockPool::release(int32_t block) {
  WEFT_CHECK(num_holders(block) > 0, "block {} is free", block);
  if (--holders_[static_cast<size_t>(block)] == 0) free_.push_back(block);
}

int64_t BlockPool::num_holders(int32_t block) const {
  WEFT_CHECK(block >= 0 && block < num_blocks(), "block {} of {}", block, num_blocks());
  return holders_[static_cast<size_t>(block)];
}

int64_t BlockPool::blocks_for(int64_t num_tokens) const {
  WEFT_CHECK_LE(0, num_tokens);
  return num_tokens / block_size_ + (num_tokens % block_size_ == 0 ? 0 : 1);
}

bool BlockPool::is_consistent() const {
  std::vector<bool> is_free(holders_.size(), false);
  for (const int32_t block : free_) {
    if (block < 0 || block >= num_blocks() || is_free[static_cast<size_t>(block)]) return false;
    is_free[static_cast<size_t>(block)] = true;
  }
  for (size_t block = 0; block < holders_.size(); ++block)
    if (holders_[block] < 0 || is_free[block] != (holders_[block] == 0)) return false;
  return true;
}

}  // namespace weft::cache
