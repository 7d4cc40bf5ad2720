// The radix tree of the prefix cache as a picture of it needs it: numbers, and no token.
//
// A *run* is a row of blocks without a branch between them that equally many sequences hold:
//
//   blocks      a ─ b ─ c ─ d ─┬─ e ─ f       a sequence reads a to f, another a to d and g,
//                              └─ g ─ h       h is a tail that nobody holds
//   runs      [a b c d]─┬─[e f]
//                       └─[g]─[h]
//
// An outline has the runs with the most blocks in and under them, so that every run's parent is
// there too, and sums of the others where they would hang. Nothing is left out:
//
//   blocks of runs + of what hangs below them + of beginnings not told + not looked at = published
//
// It costs O(blocks looked at), at most OutlineLimits::most_blocks, and memory of its own.
#pragma once

#include <cstdint>
#include <vector>

#include "base/function_ref.h"
#include "cache/prefix_tree.h"

namespace weft::cache {

struct OutlineLimits {
  int64_t most_runs = 256;
  // A walk from the roots down ends after so many blocks. Each is two or three reads from memory,
  // which do not wait for one another where paths are many: some milliseconds, whatever the cache
  // holds.
  int64_t most_blocks = 131'072;
};

// Of runs and all under them.
struct PrefixSum {
  int64_t num_runs = 0, num_blocks = 0, num_tokens = 0;
  int64_t num_held_blocks = 0;  // by sequences

  void add(const PrefixSum& other) {
    num_runs += other.num_runs;
    num_blocks += other.num_blocks;
    num_tokens += other.num_tokens;
    num_held_blocks += other.num_held_blocks;
  }
};

struct PrefixRun {
  int32_t block = -1;   // the first one: the run's name as long as it begins there
  int32_t parent = -1;  // in PrefixOutline::runs, before this one; -1: it begins sequences
  uint64_t salt = 0;
  int64_t num_blocks = 0, num_tokens = 0;
  int64_t num_sequences = 0;  // that hold its blocks now; 0: the cache holds them alone
  bool is_new = false;        // a sequence's, written by the latest plans
  // PrefixCache::set_time's, where neither it nor what is under it is held: since then. 0: it is.
  int64_t idle_since = 0;
  PrefixSum whole;     // the run and all under it
  PrefixSum not_told;  // of which under it, in runs that the outline does not have
};

// All that is published under one salt.
struct PrefixShare {
  uint64_t salt = 0;
  PrefixSum sum;
};

struct PrefixOutline {
  bool enabled = false;  // prefixes are cached
  int64_t num_published = 0;
  int64_t num_unpublished = 0;  // blocks that sequences hold beside: not full yet, or not cached
  std::vector<PrefixRun> runs;  // at most OutlineLimits::most_runs
  PrefixSum not_told;           // beginnings, and all under them
  int64_t num_blocks_not_seen = 0;  // published, and beyond most_blocks
  std::vector<PrefixShare> shares;  // the largest most_runs
  PrefixSum other_shares;           // of what was looked at
};

// What the tree does not know of its blocks.
struct BlockUse {
  int32_t num_sequences = 0;
  bool is_new = false;

  bool operator==(const BlockUse&) const = default;
};
// Fills runs (idle_since is left to the caller), shares and the sums beside them from a tree.
void make_outline(const PrefixTree& tree, FunctionRef<BlockUse(int32_t block)> use_of,
                  const OutlineLimits& limits, PrefixOutline& out);

}  // namespace weft::cache
