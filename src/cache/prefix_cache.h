// What earlier sequences computed and a later one need not: a radix tree of blocks over token ids
// (prefix_tree.h), on top of the BlockPools. After RadixAttention (Zheng et al., "SGLang: Efficient
// execution of structured language model programs", 2023), at the grain of whole blocks, with
// tails matched to the token by copying a block. Speaks tokens and block ids, never requests.
//
// Who holds a block, and when it goes:
//
//     free --> one sequence writes it --> published: sequences and the cache hold it
//      ^                                       |  last sequence leaves   ^ a match
//      |                                       v                         |
//      +------------- evict ------------- idle: the cache holds it alone
//
//   free + used by sequences + idle = all blocks. `evict` frees idle blocks only, the one idle for
//   the longest first. A block counts as idle only while all blocks under it are, so it always
//   became idle after them and the oldest of the idle is a leaf: the order of eviction is one
//   list, and every verb costs O(1) a block beside its lookup.
//
// A sequence of 53 tokens, B = 16, whose first 16 were known and 6 of the next block too:
//
//   tokens   0            16     22         32              48     53
//            |-- shared ---|-copied-|------------ own --------------|
//            [0, 16) match.full.blocks: held by the cache and by every sequence that reads them
//                          [16, 22) copied out of match.full.copy_from into a block of its own
//                                   [22, 53) computed
//            [0, 48) published as soon as the step that fills the blocks is planned
//                                                           [48, 53) published as a tail when the
//                                                                    sequence ends
//
// Blocks are published before they are computed: workers run plans in their order, so a plan that
// reads a block and is the same or a later one finds it written (a layer writes all keys and
// values of a step before it reads any). Copies run before anything else of a plan, so a block is
// copied only if an earlier plan writes it: `next_plan` tells plans apart.
//
// The salt separates worlds that must not see each other's timing, or bits: tenants, adapters,
// images. Equal tokens under two salts never meet.
//
// Cache groups (group_layout.h): the tree is one, over the ids of the full-attention group, whose
// blocks are what is said above. A node carries its block in each group with a window, or none
// (window_blocks.h): a sequence gives blocks back behind its window, and they go when their own
// pool runs short, while the node stays. A match counts for a window where every node that the
// next token sees has a block, and is the longest prefix for which all groups agree:
//
//   nodes                0  1  2  3  4  5  6  7    window 40, B = 16: the token at 16 n sees
//   with a window block  x  x  x  -  -  x  x  x    nodes [n - 3, n) (n = 3, or 8, but not 4 to 7)
//
// Nothing allocates after construction, outlines aside and the vectors of results, which keep their
// memory when they are reused. No clock, no randomness: equal calls give equal ids.
//
// Thread rule: as the pools'. The pools outlive their cache.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cache/block_pools.h"
#include "cache/idle_list.h"
#include "cache/prefix_match.h"
#include "cache/prefix_outline.h"
#include "cache/prefix_tree.h"
#include "cache/sequence_blocks.h"
#include "cache/window_blocks.h"

namespace weft::cache {

struct PrefixCacheOptions {
  // Off: nothing matches and nothing is published.
  bool enabled = true;
  // Fewer common tokens in a partly equal block are computed again: with the rest of a prompt
  // they cost next to nothing, a copy moves a whole block and keeps its source from being evicted.
  int64_t fewest_copied_tokens = 4;
};

struct PrefixCacheStats {
  int64_t asked_tokens = 0;                    // of all matches
  int64_t hit_tokens = 0;                      // of which known, copied ones included
  int64_t copied_tokens = 0;                   // of which copied
  int64_t num_evicted = 0, num_withdrawn = 0;  // blocks, so far
  int64_t num_published = 0;                   // blocks, now
};

class PrefixCache final : private BlockKeeper {
 public:
  PrefixCache(BlockPools& pools, const PrefixCacheOptions& options);
  ~PrefixCache();
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  // A new plan begins, whose number it returns: what was published before is written by earlier
  // ones. Also gives back the blocks that `publish` exchanged, which the plan before may still have
  // written to.
  int64_t next_plan();
  // What outlines tell as PrefixRun::idle_since of blocks that become idle from here on, in the
  // caller's unit. Decides nothing.
  void set_time(int64_t now) { now_ = now; }

  // The longest known beginning of `tokens` under `salt`, never more than `limit` tokens (whoever
  // needs logits computes at least the last token; positions whose logprobs are asked for are
  // computed again). What it returns is held for the caller. `out` must hold nothing.
  void match(uint64_t salt, std::span<const int32_t> tokens, int64_t limit, PrefixMatch& out);
  // How many tokens of full blocks a match would give now. Holds, counts and refreshes nothing: to
  // put waiting sequences in order.
  int64_t peek(uint64_t salt, std::span<const int32_t> tokens, int64_t limit) const;
  // Takes back what a match holds and its part of the statistics: there was no room to begin.
  void give_back(PrefixMatch& match);

  // Publishes the full blocks of a sequence that the plan being made, or an earlier one, writes:
  // blocks [0, tokens.size() / B) of the table. num_published: how many of them are already, as
  // the last call for this sequence or its match's num_blocks() said, so that only the rest is
  // looked at. Where an equal block is published already, the table takes it over in exchange for
  // its own: two sequences that computed the same end up with one copy. In groups with a window the
  // same happens for the blocks that the sequence still holds.
  // Returns how many blocks of the table are published now.
  int64_t publish(uint64_t salt, std::span<const int32_t> tokens, SequenceBlocks& blocks,
                  int64_t num_published);
  // A sequence is over (or is pre-empted): publishes as `publish` does, and what is left of the
  // tokens, all written by earlier plans, as a tail. The table's release comes after.
  void publish_end(uint64_t salt, std::span<const int32_t> tokens, SequenceBlocks& blocks,
                   int64_t num_published);
  bool is_published(int32_t block) const { return tree_.contains(block); }

  // These blocks will not hold what they were published for, because the step that writes them
  // failed: they and all that hangs under them leave the tree. Appends those that left to
  // `withdrawn`; whoever holds one of them must compute it again, in another block. Blocks that
  // are not published are passed over.
  void withdraw(std::span<const int32_t> blocks, std::vector<int32_t>& withdrawn);

  // The same for everything published under `salt` that begins with tokens [0, first_token].
  void withdraw(uint64_t salt, std::span<const int32_t> tokens, int64_t first_token,
                std::vector<int32_t>& withdrawn);

  // Frees idle blocks of a group, longest idle first, until its pool has num_blocks free ones or
  // none is idle. Returns how many it freed.
  int64_t evict(int64_t num_blocks, int group = 0);
  // Blocks of a group that are free or could be freed now.
  int64_t num_available(int group = 0) const;
  // The block of a published one's node in another group; kNoBlock: it has none.
  int32_t block_in(int group, int32_t node) const { return window(group).of(node); }

  // Forgets everything. Sequences keep what they hold, and may publish it again.
  void clear();

  PrefixCacheStats stats() const;
  // A picture of the tree (prefix_outline.h). New is what plan `first_new` or a later one writes.
  PrefixOutline outline(const OutlineLimits& limits, int64_t first_new) const;
  // free + used + idle = all; every published block held by the cache exactly once; a block is
  // idle exactly where no sequence holds it or any block under it, and is idle for less long than
  // those. In groups with a window: WindowBlocks' own. O(num_blocks * B), for tests and idle times.
  bool is_consistent() const;

 private:
  void on_used(int32_t block) override { pin(block); }
  void on_left_alone(int32_t block) override { unpin(block); }
  void become_idle(int32_t block) {
    idle_.push(block);
    idle_since_[static_cast<size_t>(block)] = now_;
  }
  void pin(int32_t block);
  void unpin(int32_t block);
  void insert(uint64_t salt, int32_t parent, std::span<const int32_t> tokens, int32_t block);
  void remove(int32_t block);
  void make_room_among_siblings(uint64_t salt, int32_t parent, std::span<const int32_t> tokens);
  void attach_windows(int32_t node, int64_t index, SequenceBlocks& blocks);
  WindowBlocks& window(int group) const { return *windows_[static_cast<size_t>(group) - 1]; }
  // Whether every group has what the token at `position` sees of the path walked.
  bool agree(int64_t position) const;
  bool may_be_copied(int32_t node) const;
  void hold(PrefixMatch& match);
  void withdraw_subtree(int32_t block, std::vector<int32_t>* withdrawn);
  bool is_path(uint64_t salt, std::span<const int32_t> tokens, const BlockTable& table,
               int64_t num_blocks) const;
  // A block in whose place a table has taken another.
  struct Exchanged {
    int group = 0;
    int32_t block = kNoBlock;
  };
  bool pins_are_right() const;

  BlockPools& pools_;
  BlockPool& pool_;  // of full attention
  PrefixCacheOptions options_;
  int64_t block_size_;
  PrefixTree tree_;
  IdleList idle_;
  // [num_blocks]: 1 where a sequence holds the block, and 1 for each child that is pinned itself.
  std::vector<int32_t> num_pins_;
  std::vector<int64_t> written_by_;   // [num_blocks] the plan that it was published in
  std::vector<int64_t> idle_since_;   // [num_blocks] of those in idle_
  std::vector<Exchanged> exchanged_;  // held until the next plan; capacity: all blocks
  std::vector<std::unique_ptr<WindowBlocks>> windows_;  // of groups 1 on
  std::vector<int64_t>
      last_missing_;  // [windows] of the path walked: the last node without a block
  int64_t plan_ = 0, now_ = 0;
  PrefixCacheStats stats_;
};

}  // namespace weft::cache
