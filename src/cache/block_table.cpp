#include "cache/block_table.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"

namespace weft::cache {

BlockTable::BlockTable(BlockPool& pool, int64_t max_tokens) : pool_(&pool) {
  ids_.reserve(static_cast<size_t>(pool.blocks_for(max_tokens)));
}

BlockTable::~BlockTable() { release(); }

BlockTable::BlockTable(BlockTable&& other) noexcept
    : pool_(other.pool_),
      first_block_(std::exchange(other.first_block_, 0)),
      ids_(std::exchange(other.ids_, {})) {}

BlockTable& BlockTable::operator=(BlockTable&& other) noexcept {
  if (this != &other) {
    release();
    pool_ = other.pool_;
    first_block_ = std::exchange(other.first_block_, 0);
    ids_ = std::exchange(other.ids_, {});
  }
  return *this;
}

int64_t BlockTable::num_missing(int64_t num_tokens) const {
  return std::max<int64_t>(0, pool_->blocks_for(num_tokens) - end_block());
}

bool BlockTable::grow(int64_t num_tokens) {
  const int64_t missing = num_missing(num_tokens);
  if (missing > pool_->num_free()) return false;
  for (int64_t i = 0; i < missing; ++i) ids_.push_back(pool_->allocate().value());
  return true;
}

void BlockTable::truncate(int64_t num_tokens) {
  const int64_t kept = pool_->blocks_for(num_tokens);
  // From the end, so that the blocks of the beginning are reused in their order, and a prefix
  // cache sees the end of a sequence become idle before its beginning.
  while (end_block() > kept && !ids_.empty()) {
    pool_->release(ids_.back());
    ids_.pop_back();
  }
}

void BlockTable::forget(int64_t first_token) {
  const int64_t count = std::min(first_token / pool_->block_size() - first_block_, num_blocks());
  if (count <= 0) return;
  const std::span<const int32_t> passed = ids().first(static_cast<size_t>(count));
  for (const int32_t block : passed) pool_->release(block);
  ids_.erase(ids_.begin(), ids_.begin() + count);
  first_block_ += count;
}

void BlockTable::release() {
  truncate(0);
  first_block_ = 0;
}

bool BlockTable::begin(GroupMatch& match, int64_t copied_tokens, std::vector<BlockCopy>& copies,
                       int group) {
  WEFT_CHECK_EQ(end_block(), 0);
  std::optional<int32_t> own;
  if (match.copy_from) {
    own = pool_->allocate();
    if (!own) return false;
  }
  first_block_ = match.first_block;
  ids_.assign(match.blocks.begin(), match.blocks.end());
  if (own) {
    ids_.push_back(*own);
    copies.push_back({*match.copy_from, *own, copied_tokens, group});
    // Plans run in order and copies before anything else of theirs, so whoever gets the source's
    // bytes next writes to them after the copy.
    pool_->release(*match.copy_from);
  }
  match.clear();
  return true;
}

bool BlockTable::fork(const BlockTable& parent, int64_t num_tokens, std::vector<BlockCopy>& copies,
                      int group) {
  WEFT_CHECK_EQ(end_block(), 0);
  WEFT_CHECK(pool_ == parent.pool_, "two pools");
  WEFT_CHECK(
      num_tokens >= parent.first_block_ * pool_->block_size() && num_tokens <= parent.capacity(),
      "{} tokens of {}, from block {} on", num_tokens, parent.capacity(), parent.first_block_);
  const int64_t num_shared = num_tokens / pool_->block_size() - parent.first_block_;
  const int64_t num_copied = num_tokens % pool_->block_size();
  if (num_copied > 0 && pool_->num_free() == 0) return false;
  first_block_ = parent.first_block_;
  for (const int32_t block : parent.ids().first(static_cast<size_t>(num_shared))) {
    pool_->retain(block);
    ids_.push_back(block);
  }
  if (num_copied > 0) {
    ids_.push_back(pool_->allocate().value());
    copies.push_back(
        {parent.ids_[static_cast<size_t>(num_shared)], ids_.back(), num_copied, group});
  }
  return true;
}

int32_t BlockTable::exchange(int64_t index, int32_t block) {
  WEFT_CHECK(holds(index), "block {} of [{}, {})", index, first_block_, end_block());
  pool_->retain(block);
  return std::exchange(ids_[static_cast<size_t>(index - first_block_)], block);
}

}  // namespace weft::cache
