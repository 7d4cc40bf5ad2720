#include "cache/block_table.h"

#include <utility>

#include "base/error.h"

namespace weft::cache {

BlockTable::BlockTable(BlockPool& pool, int64_t max_tokens) : pool_(&pool) {
  ids_.reserve(static_cast<size_t>(pool.blocks_for(max_tokens)));
}

BlockTable::~BlockTable() { release(); }

BlockTable::BlockTable(BlockTable&& other) noexcept
    : pool_(other.pool_), ids_(std::exchange(other.ids_, {})) {}

BlockTable& BlockTable::operator=(BlockTable&& other) noexcept {
  if (this != &other) {
    release();
    pool_ = other.pool_;
    ids_ = std::exchange(other.ids_, {});
  }
  return *this;
}

bool BlockTable::grow(int64_t num_tokens) {
  const int64_t missing = pool_->blocks_for(num_tokens) - num_blocks();
  if (missing > pool_->num_free()) return false;
  for (int64_t i = 0; i < missing; ++i) ids_.push_back(pool_->allocate().value());
  return true;
}

void BlockTable::truncate(int64_t num_tokens) {
  const int64_t kept = pool_->blocks_for(num_tokens);
  // From the end, so that the blocks of the beginning are reused in their order.
  while (num_blocks() > kept) {
    pool_->release(ids_.back());
    ids_.pop_back();
  }
}

}  // namespace weft::cache
