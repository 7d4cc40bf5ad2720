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
  // From the end, so that the blocks of the beginning are reused in their order, and a prefix
  // cache sees the end of a sequence become idle before its beginning.
  while (num_blocks() > kept) {
    pool_->release(ids_.back());
    ids_.pop_back();
  }
}

bool BlockTable::begin(PrefixMatch& match, std::vector<BlockCopy>& copies) {
  WEFT_CHECK_EQ(num_blocks(), 0);
  if (match.copy_from) {
    const std::optional<int32_t> own = pool_->allocate();
    if (!own) return false;
    copies.push_back({*match.copy_from, *own, match.copied_tokens});
    ids_.assign(match.blocks.begin(), match.blocks.end());
    ids_.push_back(*own);
    // Plans run in order and copies before anything else of theirs, so whoever gets the source's
    // bytes next writes to them after the copy.
    pool_->release(*match.copy_from);
  } else {
    ids_.assign(match.blocks.begin(), match.blocks.end());
  }
  match.blocks.clear();
  match.copy_from.reset();
  match.copied_tokens = match.num_tokens = match.asked_tokens = 0;
  return true;
}

bool BlockTable::fork(const BlockTable& parent, int64_t num_tokens,
                      std::vector<BlockCopy>& copies) {
  WEFT_CHECK_EQ(num_blocks(), 0);
  WEFT_CHECK(pool_ == parent.pool_, "two pools");
  WEFT_CHECK(num_tokens >= 0 && num_tokens <= parent.capacity(), "{} tokens of {}", num_tokens,
             parent.capacity());
  const int64_t num_shared = num_tokens / pool_->block_size();
  const int64_t num_copied = num_tokens % pool_->block_size();
  if (num_copied > 0 && pool_->num_free() == 0) return false;
  for (const int32_t block : parent.ids().first(static_cast<size_t>(num_shared))) {
    pool_->retain(block);
    ids_.push_back(block);
  }
  if (num_copied > 0) {
    ids_.push_back(pool_->allocate().value());
    copies.push_back({parent.ids_[static_cast<size_t>(num_shared)], ids_.back(), num_copied});
  }
  return true;
}

int32_t BlockTable::exchange(int64_t index, int32_t block) {
  WEFT_CHECK(index >= 0 && index < num_blocks(), "block {} of {}", index, num_blocks());
  pool_->retain(block);
  return std::exchange(ids_[static_cast<size_t>(index)], block);
}

}  // namespace weft::cache
