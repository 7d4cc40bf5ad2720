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
  is_kept_.assign(static_cast<size_t>(num_blocks), false);
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
  const int32_t holders = ++holders_[static_cast<size_t>(block)];
  if (holders == 2 && is_kept_[static_cast<size_t>(block)]) keeper_->on_used(block);
}

void BlockPool::release(int32_t block) {
  const bool kept = is_kept(block);
  // A kept block keeps its keeper: the last release of the others is not the last holder's.
  WEFT_CHECK(num_holders(block) > (kept ? 1 : 0), "block {} is {}", block,
             kept ? "its keeper's alone" : "free");
  const int32_t holders = --holders_[static_cast<size_t>(block)];
  if (holders == 0)
    free_.push_back(block);
  else if (holders == 1 && kept)
    keeper_->on_left_alone(block);
}

void BlockPool::set_keeper(BlockKeeper* keeper) {
  WEFT_CHECK(keeper == nullptr || keeper_ == nullptr, "the pool has a keeper");
  WEFT_CHECK_EQ(num_kept_, 0);
  keeper_ = keeper;
}

void BlockPool::keep(int32_t block) {
  WEFT_CHECK(keeper_ != nullptr && !is_kept(block), "block {}", block);
  WEFT_CHECK(num_holders(block) > 0, "block {} is free", block);
  is_kept_[static_cast<size_t>(block)] = true;
  ++holders_[static_cast<size_t>(block)];
  ++num_kept_;
  keeper_->on_used(block);
}

void BlockPool::drop(int32_t block) {
  WEFT_CHECK(is_kept(block), "block {} is not kept", block);
  is_kept_[static_cast<size_t>(block)] = false;
  --num_kept_;
  release(block);
}

bool BlockPool::is_kept(int32_t block) const {
  WEFT_CHECK(block >= 0 && block < num_blocks(), "block {} of {}", block, num_blocks());
  return is_kept_[static_cast<size_t>(block)];
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
  int64_t num_kept = 0;
  for (size_t block = 0; block < holders_.size(); ++block) {
    if (holders_[block] < 0 || is_free[block] != (holders_[block] == 0)) return false;
    if (is_kept_[block] && is_free[block]) return false;
    num_kept += is_kept_[block] ? 1 : 0;
  }
  return num_kept == num_kept_;
}

}  // namespace weft::cache
