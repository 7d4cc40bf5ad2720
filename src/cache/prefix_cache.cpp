#include "cache/prefix_cache.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace weft::cache {
namespace {

size_t index(int32_t block) { return static_cast<size_t>(block); }

// Tokens of block `i` of a sequence, cut where `tokens` end.
std::span<const int32_t> block_tokens(std::span<const int32_t> tokens, int64_t i,
                                      int64_t block_size) {
  const int64_t begin = i * block_size;
  const int64_t end = std::min<int64_t>(begin + block_size, static_cast<int64_t>(tokens.size()));
  return tokens.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
}

}  // namespace

PrefixCache::PrefixCache(BlockPools& pools, const PrefixCacheOptions& options)
    : pools_(pools),
      pool_(pools.full()),
      options_(options),
      block_size_(pools.block_size()),
      tree_(options.enabled ? pool_.num_blocks() : 0, block_size_),
      idle_(options.enabled ? pool_.num_blocks() : 0) {
  if (!options_.enabled) return;
  num_pins_.assign(static_cast<size_t>(pool_.num_blocks()), 0);
  written_by_.assign(static_cast<size_t>(pool_.num_blocks()), 0);
  idle_since_.assign(static_cast<size_t>(pool_.num_blocks()), 0);
  pool_.set_keeper(this);
  int64_t num_blocks = pool_.num_blocks();
  for (int group = 1; group < pools.num_groups(); ++group) {
    windows_.push_back(std::make_unique<WindowBlocks>(pools.pool(group), pool_.num_blocks()));
    num_blocks += pools.pool(group).num_blocks();
  }
  exchanged_.reserve(static_cast<size_t>(num_blocks));
  last_missing_.assign(windows_.size(), -1);
}

PrefixCache::~PrefixCache() {
  if (!options_.enabled) return;
  next_plan();
  clear();
  pool_.set_keeper(nullptr);
}

int64_t PrefixCache::next_plan() {
  ++plan_;
  for (const auto& [group, block] : exchanged_) pools_.pool(group).release(block);
  exchanged_.clear();
  return plan_;
}

// ---------------------------------------------------------------- matching

bool PrefixCache::agree(int64_t position) const {
  for (size_t w = 0; w < windows_.size(); ++w) {
    if (last_missing_[w] >= pools_.first_seen_block(static_cast<int>(w) + 1, position))
      return false;
  }
  return true;
}

// Only what earlier plans write may be copied, in every group.
bool PrefixCache::may_be_copied(int32_t node) const {
  return written_by_[index(node)] < plan_ && std::ranges::all_of(windows_, [&](const auto& window) {
           return window->of(node) != kNoBlock && window->written_by(node) < plan_;
         });
}

void PrefixCache::match(uint64_t salt, std::span<const int32_t> tokens, int64_t limit,
                        PrefixMatch& out) {
  WEFT_CHECK(out.full.blocks.empty() && !out.full.copy_from, "the match holds blocks");
  out.windows.resize(static_cast<size_t>(pools_.num_groups()) - 1);
  out.asked_tokens = static_cast<int64_t>(tokens.size());
  out.num_tokens = out.copied_tokens = 0;
  stats_.asked_tokens += out.asked_tokens;
  if (!options_.enabled) return;
  tokens = tokens.first(static_cast<size_t>(std::clamp<int64_t>(limit, 0, out.asked_tokens)));
  std::ranges::fill(last_missing_, -1);
  std::vector<int32_t>& path = out.full.blocks;
  int64_t num_agreed = 0;  // blocks, of those walked
  for (int64_t i = 0; i * block_size_ < static_cast<int64_t>(tokens.size()); ++i) {
    const auto [block, num_common] = tree_.longest_common(salt, i == 0 ? kNoBlock : path.back(),
                                                          block_tokens(tokens, i, block_size_));
    if (num_common == block_size_) {
      path.push_back(block);
      for (size_t w = 0; w < windows_.size(); ++w)
        if (windows_[w]->of(block) == kNoBlock) last_missing_[w] = i;
      if (agree((i + 1) * block_size_)) num_agreed = i + 1;
      continue;
    }
    if (block != kNoBlock && num_common >= options_.fewest_copied_tokens && may_be_copied(block) &&
        agree(i * block_size_ + num_common)) {
      out.full.copy_from = block;
      out.copied_tokens = num_common;
      num_agreed = i;
    }
    break;
  }
  path.resize(static_cast<size_t>(num_agreed));
  out.num_tokens = num_agreed * block_size_ + out.copied_tokens;
  hold(out);
  stats_.hit_tokens += out.num_tokens;
  stats_.copied_tokens += out.copied_tokens;
}

// Takes hold of the path found, and of what the next token sees of it in groups with a window.
void PrefixCache::hold(PrefixMatch& match) {
  for (const int32_t block : match.full.blocks) pool_.retain(block);
  if (match.full.copy_from) pool_.retain(*match.full.copy_from);
  for (int group = 1; group < pools_.num_groups(); ++group) {
    GroupMatch& part = match.of(group);
    WindowBlocks& known = window(group);
    part.first_block = pools_.first_seen_block(group, match.num_tokens);
    for (int64_t i = part.first_block; i < match.num_blocks(); ++i)
      part.blocks.push_back(known.of(match.full.blocks[static_cast<size_t>(i)]));
    if (match.full.copy_from) part.copy_from = known.of(*match.full.copy_from);
    for (const int32_t block : part.blocks) known.pool().retain(block);
    if (part.copy_from) known.pool().retain(*part.copy_from);
  }
}

int64_t PrefixCache::peek(uint64_t salt, std::span<const int32_t> tokens, int64_t limit) const {
  if (!options_.enabled) return 0;
  limit = std::min<int64_t>(limit, static_cast<int64_t>(tokens.size()));
  std::array<int64_t, kMostGroups> run{};  // nodes at the end of those walked that have a block
  int32_t parent = kNoBlock;
  int64_t known = 0;
  for (int64_t i = 0; (i + 1) * block_size_ <= limit; ++i) {
    const auto [block, num_common] =
        tree_.longest_common(salt, parent, block_tokens(tokens, i, block_size_));
    if (num_common < block_size_) break;
    parent = block;
    bool all_agree = true;
    for (int group = 1; group < pools_.num_groups(); ++group) {
      int64_t& length = run[static_cast<size_t>(group)];
      length = window(group).of(block) == kNoBlock ? 0 : length + 1;
      const int64_t seen = i + 1 - pools_.first_seen_block(group, (i + 1) * block_size_);
      all_agree = all_agree && length >= seen;
    }
    if (all_agree) known = (i + 1) * block_size_;
  }
  return known;
}

void PrefixCache::give_back(PrefixMatch& match) {
  stats_.asked_tokens -= match.asked_tokens;
  stats_.hit_tokens -= match.num_tokens;
  stats_.copied_tokens -= match.copied_tokens;
  for (int group = 0; group < pools_.num_groups(); ++group) {
    GroupMatch& part = match.of(group);
    BlockPool& pool = pools_.pool(group);
    if (part.copy_from) pool.release(*part.copy_from);
    // From the end, as tables do: the end becomes idle before the beginning.
    for (; !part.blocks.empty(); part.blocks.pop_back()) pool.release(part.blocks.back());
    part.clear();
  }
  match.num_tokens = match.copied_tokens = match.asked_tokens = 0;
}

// ---------------------------------------------------------------- publishing

// Whether the first num_blocks of the table are published as the beginning of `tokens`, told by
// the last of them: whoever holds it published or matched all before it.
bool PrefixCache::is_path(uint64_t salt, std::span<const int32_t> tokens, const BlockTable& table,
                          int64_t num_blocks) const {
  const int32_t last = table.ids()[static_cast<size_t>(num_blocks - 1)];
  return tree_.contains(last) && tree_.salt(last) == salt &&
         std::ranges::equal(tree_.tokens(last), block_tokens(tokens, num_blocks - 1, block_size_));
}

int64_t PrefixCache::publish(uint64_t salt, std::span<const int32_t> tokens, SequenceBlocks& blocks,
                             int64_t num_published) {
  if (!options_.enabled) return 0;
  BlockTable& table = blocks.full();
  const int64_t num_full = static_cast<int64_t>(tokens.size()) / block_size_;
  WEFT_CHECK(num_published >= 0 && num_published <= num_full && num_full <= table.num_blocks(),
             "{} of {} full blocks, {} held", num_published, num_full, table.num_blocks());
  // After `clear`, what was published no longer is; from the beginning, then.
  if (num_published > 0 && !is_path(salt, tokens, table, num_published)) num_published = 0;
  for (int64_t i = num_published; i < num_full; ++i) {
    const int32_t parent = i == 0 ? kNoBlock : table.ids()[static_cast<size_t>(i - 1)];
    const std::span<const int32_t> part = block_tokens(tokens, i, block_size_);
    const int32_t own = table.ids()[static_cast<size_t>(i)];
    const auto [block, num_common] = tree_.longest_common(salt, parent, part);
    if (num_common < block_size_) {
      make_room_among_siblings(salt, parent, part);
      insert(salt, parent, part, own);
    } else if (block != own) {
      exchanged_.push_back({0, table.exchange(i, block)});
    }
    attach_windows(table.id_of(i), i, blocks);
  }
  return num_full;
}

// The sequence's block `index` in each group with a window becomes the node's, or is exchanged for
// the one that the node has.
void PrefixCache::attach_windows(int32_t node, int64_t index, SequenceBlocks& blocks) {
  for (int group = 1; group < pools_.num_groups(); ++group) {
    BlockTable& table = blocks.table(group);
    if (!table.holds(index)) continue;
    const int32_t known = window(group).of(node), own = table.id_of(index);
    if (known == kNoBlock) {
      window(group).attach(node, own, plan_);
    } else if (known != own) {
      exchanged_.push_back({group, table.exchange(index, known)});
    }
  }
}

void PrefixCache::publish_end(uint64_t salt, std::span<const int32_t> tokens,
                              SequenceBlocks& blocks, int64_t num_published) {
  if (!options_.enabled) return;
  const BlockTable& table = blocks.full();
  const int64_t num_full = publish(salt, tokens, blocks, num_published);
  const std::span<const int32_t> tail = block_tokens(tokens, num_full, block_size_);
  if (static_cast<int64_t>(tail.size()) < options_.fewest_copied_tokens) return;
  WEFT_CHECK_LT(num_full, table.num_blocks());
  const int32_t parent = num_full == 0 ? kNoBlock : table.ids()[static_cast<size_t>(num_full - 1)];
  // A sibling that goes on from these tokens serves whoever would copy them.
  if (tree_.longest_common(salt, parent, tail).num_tokens == static_cast<int64_t>(tail.size()))
    return;
  make_room_among_siblings(salt, parent, tail);
  insert(salt, parent, tail, table.id_of(num_full));
  attach_windows(table.id_of(num_full), num_full, blocks);
}

// A tail that `tokens` go on from is of no more use than they will be: it leaves.
void PrefixCache::make_room_among_siblings(uint64_t salt, int32_t parent,
                                           std::span<const int32_t> tokens) {
  const auto [block, num_common] = tree_.longest_common(salt, parent, tokens);
  if (block != kNoBlock && num_common == static_cast<int64_t>(tree_.tokens(block).size()))
    remove(block);
}

void PrefixCache::insert(uint64_t salt, int32_t parent, std::span<const int32_t> tokens,
                         int32_t block) {
  tree_.insert(salt, parent, tokens, block);
  written_by_[index(block)] = plan_;
  become_idle(block);
  pool_.keep(block);  // which says that the block is used
}

// A block without children leaves the tree; it is freed where no sequence holds it.
void PrefixCache::remove(int32_t block) {
  for (const auto& window : windows_) window->detach(block);
  if (num_pins_[index(block)] > 0) unpin(block);
  idle_.erase(block);
  tree_.erase(block);
  pool_.drop(block);
}

// ---------------------------------------------------------------- idle blocks

// A block that gains its first pin is idle no longer, and pins its parent in turn.
void PrefixCache::pin(int32_t block) {
  for (; block != kNoBlock && ++num_pins_[index(block)] == 1; block = tree_.parent(block))
    idle_.erase(block);
}

// A block that loses its last pin is idle from now on, and no longer pins its parent.
void PrefixCache::unpin(int32_t block) {
  for (; block != kNoBlock && --num_pins_[index(block)] == 0; block = tree_.parent(block))
    become_idle(block);
}

int64_t PrefixCache::evict(int64_t num_blocks, int group) {
  if (group > 0) return options_.enabled ? window(group).evict(num_blocks) : 0;
  int64_t num_freed = 0;
  for (; pool_.num_free() < num_blocks && idle_.size() > 0; ++num_freed) remove(idle_.oldest());
  stats_.num_evicted += num_freed;
  return num_freed;
}

int64_t PrefixCache::num_available(int group) const {
  if (group == 0) return pool_.num_free() + idle_.size();
  return pools_.pool(group).num_free() + (options_.enabled ? window(group).num_idle() : 0);
}

// From the leaves up, without recursion: a path may be as long as the context.
void PrefixCache::withdraw_subtree(int32_t block, std::vector<int32_t>* withdrawn) {
  for (int32_t here = block;;) {
    const int32_t child = tree_.any_child(here);
    if (child != kNoBlock) {
      here = child;
      continue;
    }
    const int32_t parent = tree_.parent(here);
    remove(here);
    if (withdrawn != nullptr) withdrawn->push_back(here);
    if (here == block) return;
    here = parent;
  }
}

void PrefixCache::withdraw(std::span<const int32_t> blocks, std::vector<int32_t>& withdrawn) {
  if (!options_.enabled) return;
  const size_t before = withdrawn.size();
  for (const int32_t block : blocks)
    if (tree_.contains(block)) withdraw_subtree(block, &withdrawn);
  stats_.num_withdrawn += static_cast<int64_t>(withdrawn.size() - before);
}

void PrefixCache::withdraw(uint64_t salt, std::span<const int32_t> tokens, int64_t first_token,
                           std::vector<int32_t>& withdrawn) {
  if (!options_.enabled) return;
  const int64_t depth = first_token / block_size_;
  int32_t parent = kNoBlock;
  for (int64_t i = 0; i < depth; ++i) {
    const auto [block, num_common] =
        tree_.longest_common(salt, parent, block_tokens(tokens, i, block_size_));
    if (num_common < block_size_) return;
    parent = block;
  }
  const auto part = tokens.first(static_cast<size_t>(first_token + 1))
                        .subspan(static_cast<size_t>(depth * block_size_));
  for (;;) {
    const auto [block, num_common] = tree_.longest_common(salt, parent, part);
    if (num_common < static_cast<int64_t>(part.size())) return;
    withdraw(std::span(&block, 1), withdrawn);
  }
}

void PrefixCache::clear() {
  for (int64_t block = 0; options_.enabled && block < pool_.num_blocks(); ++block)
    if (tree_.contains(static_cast<int32_t>(block)))
      withdraw_subtree(static_cast<int32_t>(block), nullptr);
}

// ---------------------------------------------------------------- what is so

PrefixCacheStats PrefixCache::stats() const {
  PrefixCacheStats stats = stats_;
  stats.num_published = tree_.size();
  return stats;
}

PrefixOutline PrefixCache::outline(const OutlineLimits& limits, int64_t first_new) const {
  PrefixOutline out;
  out.enabled = options_.enabled;
  out.num_unpublished = pool_.num_used() - pool_.num_kept();
  const auto use_of = [&](int32_t block) {
    const auto num_sequences = static_cast<int32_t>(pool_.num_holders(block)) - 1;
    return BlockUse{num_sequences, num_sequences > 0 && written_by_[index(block)] >= first_new};
  };
  make_outline(tree_, use_of, limits, out);
  for (PrefixRun& run : out.runs)
    run.idle_since = idle_.contains(run.block) ? idle_since_[index(run.block)] : 0;
  return out;
}

bool PrefixCache::pins_are_right() const {
  std::vector<int32_t> pins(num_pins_.size(), 0);
  for (int32_t block = 0; block < static_cast<int32_t>(pins.size()); ++block) {
    if (tree_.contains(block) != pool_.is_kept(block)) return false;
    if (!tree_.contains(block)) continue;
    if (pool_.num_holders(block) > 1) ++pins[index(block)];
    const int32_t parent = tree_.parent(block);
    if (num_pins_[index(block)] > 0 && parent != kNoBlock) ++pins[index(parent)];
  }
  return pins == num_pins_;
}

bool PrefixCache::is_consistent() const {
  if (!pools_.is_consistent()) return false;
  if (!options_.enabled) return true;
  for (const auto& window : windows_)
    if (!window->is_consistent(tree_)) return false;
  if (!tree_.is_consistent() || pool_.num_kept() != tree_.size() || !pins_are_right()) return false;
  // Idle: all that are published and not pinned, children before their parents.
  std::vector<bool> seen(num_pins_.size(), false);
  int64_t num_idle = 0;
  for (int32_t block = idle_.oldest(); block != idle_.end(); block = idle_.newer(block)) {
    if (!tree_.contains(block) || num_pins_[index(block)] > 0 || seen[index(block)]) return false;
    const int32_t parent = tree_.parent(block);
    if (parent != kNoBlock && seen[index(parent)]) return false;
    seen[index(block)] = true;
    ++num_idle;
  }
  int64_t num_unpinned = 0;
  for (int32_t block = 0; block < static_cast<int32_t>(seen.size()); ++block)
    if (tree_.contains(block) && num_pins_[index(block)] == 0) ++num_unpinned;
  return num_idle == idle_.size() && num_idle == num_unpinned;
}

}  // namespace weft::cache
