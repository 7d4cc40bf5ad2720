#include "engine/draft_cache.h"

#include <algorithm>

namespace weft::engine {

DraftCache::DraftCache(int64_t num_blocks, int64_t block_size)
    : block_size_(block_size), num_filled_(static_cast<size_t>(num_blocks), 0) {}

int32_t& DraftCache::slots_of(std::span<const int32_t> block_table, int64_t index) {
  return num_filled_[static_cast<size_t>(block_table[static_cast<size_t>(index)])];
}

void DraftCache::copy(std::span<const cache::BlockCopy> copies, bool made) {
  for (const cache::BlockCopy& copy : copies) {
    if (copy.group != 0) continue;
    const auto copied = static_cast<int32_t>(copy.num_tokens);
    num_filled_[static_cast<size_t>(copy.to)] =
        made ? std::min(num_filled_[static_cast<size_t>(copy.from)], copied) : 0;
  }
}

void DraftCache::overwrite(std::span<const int32_t> block_table, Range positions) {
  if (positions.empty()) return;
  for (int64_t b = positions.begin / block_size_; b * block_size_ < positions.end; ++b) {
    const auto kept = static_cast<int32_t>(std::max<int64_t>(0, positions.begin - b * block_size_));
    int32_t& filled = slots_of(block_table, b);
    filled = std::min(filled, kept);
  }
}

void DraftCache::fill(std::span<const int32_t> block_table, Range positions) {
  if (positions.empty()) return;
  for (int64_t b = positions.begin / block_size_; b * block_size_ < positions.end; ++b) {
    const auto reached =
        static_cast<int32_t>(std::min(block_size_, positions.end - b * block_size_));
    int32_t& filled = slots_of(block_table, b);
    filled = std::max(filled, reached);
  }
}

int64_t DraftCache::num_known(std::span<const int32_t> block_table, int64_t end) const {
  for (int64_t b = 0; b * block_size_ < end; ++b) {
    const int64_t filled = num_filled_[static_cast<size_t>(block_table[static_cast<size_t>(b)])];
    if (filled < block_size_) return std::min(end, b * block_size_ + filled);
  }
  return end;
}

}  // namespace weft::engine
