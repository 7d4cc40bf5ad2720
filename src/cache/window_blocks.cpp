#include "cache/window_blocks.h"

#include "base/error.h"

namespace weft::cache {
namespace {

size_t index(int32_t id) { return static_cast<size_t>(id); }

}  // namespace

WindowBlocks::WindowBlocks(BlockPool& pool, int64_t num_nodes)
    : pool_(pool),
      idle_(pool.num_blocks()),
      block_of_(static_cast<size_t>(num_nodes), kNoBlock),
      written_by_(static_cast<size_t>(num_nodes), 0),
      node_of_(static_cast<size_t>(pool.num_blocks()), kNoBlock) {
  pool_.set_keeper(this);
}

WindowBlocks::~WindowBlocks() { pool_.set_keeper(nullptr); }

void WindowBlocks::attach(int32_t node, int32_t block, int64_t plan) {
  WEFT_CHECK(of(node) == kNoBlock && node_of_[index(block)] == kNoBlock, "node {}, block {}", node,
             block);
  block_of_[index(node)] = block;
  node_of_[index(block)] = node;
  written_by_[index(node)] = plan;
  pool_.keep(block);
}

void WindowBlocks::detach(int32_t node) {
  const int32_t block = of(node);
  if (block == kNoBlock) return;
  if (idle_.contains(block)) idle_.erase(block);
  block_of_[index(node)] = kNoBlock;
  node_of_[index(block)] = kNoBlock;
  pool_.drop(block);
}

int64_t WindowBlocks::evict(int64_t num_blocks) {
  int64_t num_freed = 0;
  for (; pool_.num_free() < num_blocks && idle_.size() > 0; ++num_freed)
    detach(node_of_[index(idle_.oldest())]);
  return num_freed;
}

bool WindowBlocks::is_consistent(const PrefixTree& tree) const {
  int64_t num_attached = 0, num_idle = 0;
  for (int32_t node = 0; node < static_cast<int32_t>(block_of_.size()); ++node) {
    const int32_t block = of(node);
    if (block == kNoBlock) continue;
    if (!tree.contains(node) || node_of_[index(block)] != node || !pool_.is_kept(block))
      return false;
    const bool is_alone = pool_.num_holders(block) == 1;
    if (idle_.contains(block) != is_alone) return false;
    ++num_attached;
    num_idle += is_alone ? 1 : 0;
  }
  return num_attached == pool_.num_kept() && num_idle == idle_.size() && pool_.is_consistent();
}

}  // namespace weft::cache
