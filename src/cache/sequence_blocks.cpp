#include "cache/sequence_blocks.h"

#include <algorithm>

#include "base/error.h"

namespace weft::cache {

SequenceBlocks::SequenceBlocks(BlockPools& pools, int64_t max_tokens) : pools_(&pools) {
  tables_.reserve(static_cast<size_t>(pools.num_groups()));
  for (int group = 0; group < pools.num_groups(); ++group)
    tables_.emplace_back(pools.pool(group), max_tokens);
}

bool SequenceBlocks::grow(int64_t num_tokens) {
  for (const BlockTable& table : tables_) {
    if (table.num_missing(num_tokens) > table.pool().num_free()) return false;
  }
  for (BlockTable& table : tables_) WEFT_CHECK(table.grow(num_tokens), "blocks are free");
  return true;
}

void SequenceBlocks::slide(int64_t position) {
  for (int group = 1; group < num_groups(); ++group)
    table(group).forget(first_seen(pools_->window(group), position));
}

void SequenceBlocks::release() {
  for (BlockTable& table : tables_) table.release();
}

bool SequenceBlocks::has_free(int64_t num_blocks) const {
  return std::all_of(tables_.begin(), tables_.end(), [&](const BlockTable& table) {
    return table.pool().num_free() >= num_blocks;
  });
}

bool SequenceBlocks::begin(PrefixMatch& match, std::vector<BlockCopy>& copies) {
  if (match.full.copy_from && !has_free(1)) return false;
  WEFT_CHECK_EQ(match.windows.size() + 1, tables_.size());
  for (int group = 0; group < num_groups(); ++group)
    WEFT_CHECK(table(group).begin(match.of(group), match.copied_tokens, copies, group),
               "a block is free");
  match.copied_tokens = match.num_tokens = match.asked_tokens = 0;
  return true;
}

bool SequenceBlocks::fork(const SequenceBlocks& parent, int64_t num_tokens,
                          std::vector<BlockCopy>& copies) {
  WEFT_CHECK_EQ(num_groups(), parent.num_groups());
  if (num_tokens % pools_->block_size() != 0 && !has_free(1)) return false;
  for (int group = 0; group < num_groups(); ++group)
    WEFT_CHECK(table(group).fork(parent.table(group), num_tokens, copies, group),
               "a block is free");
  return true;
}

int64_t SequenceBlocks::capacity() const {
  int64_t least = full().capacity();
  for (const BlockTable& table : tables_) least = std::min(least, table.capacity());
  return least;
}

}  // namespace weft::cache
