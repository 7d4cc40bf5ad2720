// What the random test of the prefix cache holds it against: published blocks as a plain list, and
// sequences with what a model would write.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <vector>

#include "cache/prefix_tree.h"
#include "cache/sequence_blocks.h"

namespace weft::cache {

inline constexpr int64_t kBlock = 4;
inline constexpr int64_t kNumBlocks = 40, kWindowBlocks = 24;
inline constexpr int64_t kLongest = 40;  // tokens of a sequence
inline constexpr size_t kMostSequences = 7;
inline constexpr int64_t kFewestCopied = 2;
using Tokens = std::vector<int32_t>;

// What a slot holds once the model wrote position t: a number made of the salt and tokens [0, t].
inline uint64_t written(uint64_t salt, const Tokens& tokens, int64_t t) {
  uint64_t hash = salt + 1;
  for (int64_t i = 0; i <= t; ++i)
    hash = hash * 0x9e3779b97f4a7c15u + static_cast<uint64_t>(tokens[static_cast<size_t>(i)]) + 1;
  return hash;
}

struct Sequence {
  uint64_t salt = 0;
  Tokens tokens;
  int64_t num_computed = 0;
  int64_t num_published = 0;
  int64_t plan_begin = -1;  // first position that the plan being made writes; -1: not in it
  SequenceBlocks blocks;
};

// A table as of some moment.
struct Table {
  explicit Table(const BlockTable& table)
      : first_block(table.first_block()), ids(table.ids().begin(), table.ids().end()) {}
  int64_t first_block;
  std::vector<int32_t> ids;
  int32_t at(int64_t i) const { return ids.at(static_cast<size_t>(i - first_block)); }
};
inline std::vector<Table> tables_of(const SequenceBlocks& blocks) {
  std::vector<Table> tables;
  for (int g = 0; g < blocks.num_groups(); ++g) tables.emplace_back(blocks.table(g));
  return tables;
}

// What a published block's node has in a group with a window.
struct WindowPart {
  int32_t block = kNoBlock;
  int64_t written_by = 0, last_held = 0;
};

// A published block, by the tokens from the beginning to its end.
struct Entry {
  uint64_t salt = 0;
  Tokens path;
  int64_t written_by = 0;
  int64_t last_held = 0;  // it, or a block under it, became idle in the operation after this one
  std::vector<WindowPart> windows;  // of groups 1 on
};

class PlainPrefixes {
 protected:
  // The published block that ends the path of these tokens; -1: none.
  int32_t block_of(uint64_t salt, std::span<const int32_t> path) const {
    for (const auto& [block, entry] : entries_)
      if (entry.salt == salt && std::ranges::equal(entry.path, path)) return block;
    return -1;
  }
  static std::span<const int32_t> first(const Tokens& tokens, int64_t n) {
    return std::span<const int32_t>(tokens).first(static_cast<size_t>(n));
  }
  static bool hangs_under(const Entry& entry, const Entry& above) {
    return entry.salt == above.salt && entry.path.size() > above.path.size() &&
           std::equal(above.path.begin(), above.path.end(), entry.path.begin());
  }
  static WindowPart& part(Entry& entry, int group) {
    return entry.windows[static_cast<size_t>(group) - 1];
  }
  static const WindowPart& part(const Entry& entry, int group) {
    return entry.windows[static_cast<size_t>(group) - 1];
  }
  bool is_idle(const Entry& entry, const std::set<int32_t>& held) const {
    return std::ranges::none_of(entries_, [&](const auto& other) {
      return held.contains(other.first) &&
             (&other.second == &entry || hangs_under(other.second, entry));
    });
  }
  // Written by plans before this one, in every group.
  static bool may_be_copied(const Entry& entry, int64_t plan) {
    return entry.written_by < plan && std::ranges::all_of(entry.windows, [&](const WindowPart& w) {
             return w.block != kNoBlock && w.written_by < plan;
           });
  }

  std::map<int32_t, Entry> entries_;  // by block
};

}  // namespace weft::cache
