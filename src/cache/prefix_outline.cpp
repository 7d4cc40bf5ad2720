#include "cache/prefix_outline.h"

#include <algorithm>
#include <functional>
#include <unordered_map>
#include <utility>

namespace weft::cache {
namespace {

size_t index(int32_t i) { return static_cast<size_t>(i); }

// A run as it is found, small: there may be as many as blocks.
struct Found {
  uint64_t salt = 0;
  int32_t block = -1, parent = -1;  // parent: of `found`
  int32_t num_blocks = 0, num_tokens = 0;
  BlockUse use;
};

// All runs, parents before their children. Blocks are looked at in the order in which they are met,
// so that many paths are followed side by side: each step of one would wait for memory.
class Walk {
 public:
  Walk(const PrefixTree& tree, FunctionRef<BlockUse(int32_t block)> use_of)
      : tree_(tree), use_of_(use_of) {}

  std::vector<Found> runs(int64_t most_blocks) {
    constexpr size_t kAhead = 16;  // nodes that memory brings while one is looked at
    meet({tree_.any_child(kNoBlock), kNone, true});
    for (size_t i = 0; i < met_.size() && static_cast<int64_t>(i) < most_blocks; ++i) {
      if (i + kAhead < met_.size()) tree_.prefetch(met_[i + kAhead].block);
      look_at(met_[i]);
    }
    return std::move(found_);
  }

 private:
  static constexpr int32_t kNone = -1;
  struct Met {
    int32_t block = kNoBlock;
    int32_t run = kNone;    // of `found_`: that its parent is the last block of so far
    bool is_first = false;  // of its parent's children, of which it leads to the others
  };

  void meet(const Met& met) {
    if (met.block != kNoBlock) met_.push_back(met);
  }

  void look_at(Met met) {
    const auto siblings = tree_.next_siblings(met.block);
    for (const int32_t sibling : siblings) meet({sibling, met.run, false});
    const BlockUse use = use_of_(met.block);
    const bool is_only = met.is_first && siblings[0] == kNoBlock && siblings[1] == kNoBlock;
    if (!is_only || met.run == kNone || found_[index(met.run)].use != use) {
      found_.push_back({tree_.salt(met.block), met.block, met.run, 0, 0, use});
      met.run = static_cast<int32_t>(found_.size()) - 1;
    }
    Found& run = found_[index(met.run)];
    ++run.num_blocks;
    run.num_tokens += static_cast<int32_t>(tree_.tokens(met.block).size());
    meet({tree_.any_child(met.block), met.run, true});
  }

  const PrefixTree& tree_;
  FunctionRef<BlockUse(int32_t block)> use_of_;
  std::vector<Met> met_;
  std::vector<Found> found_;
};

// [found] of each run and all under it.
std::vector<PrefixSum> wholes_of(const std::vector<Found>& found) {
  std::vector<PrefixSum> wholes(found.size());
  for (size_t i = found.size(); i-- > 0;) {
    const Found& run = found[i];
    wholes[i].add(
        {1, run.num_blocks, run.num_tokens, run.use.num_sequences > 0 ? run.num_blocks : 0});
    if (run.parent >= 0) wholes[index(run.parent)].add(wholes[i]);
  }
  return wholes;
}

// The indices of those with the most blocks, in order; of equals the first. A parent has more than
// its children, so it is among them where they are.
std::vector<int32_t> largest(const std::vector<PrefixSum>& wholes, int64_t most) {
  std::vector<uint64_t> keys(wholes.size());  // blocks, and what is left of the indices after it
  for (size_t i = 0; i < keys.size(); ++i)
    keys[i] = static_cast<uint64_t>(wholes[i].num_blocks) << 32 | (~i & 0xffffffffu);
  if (static_cast<int64_t>(keys.size()) > most) {
    std::nth_element(keys.begin(), keys.begin() + most, keys.end(), std::greater<>());
    keys.resize(static_cast<size_t>(most));
  }
  std::vector<int32_t> order;
  for (const uint64_t key : keys) order.push_back(static_cast<int32_t>(~key & 0xffffffffu));
  std::ranges::sort(order);
  return order;
}

void share_by_salt(const std::vector<Found>& found, const std::vector<PrefixSum>& wholes,
                   int64_t most, PrefixOutline& out) {
  std::unordered_map<uint64_t, PrefixSum> sums;
  for (size_t i = 0; i < found.size(); ++i)
    if (found[i].parent < 0) sums[found[i].salt].add(wholes[i]);
  for (const auto& [salt, sum] : sums) out.shares.push_back({salt, sum});
  std::ranges::sort(out.shares, [](const PrefixShare& a, const PrefixShare& b) {
    return a.sum.num_blocks != b.sum.num_blocks ? a.sum.num_blocks > b.sum.num_blocks
                                                : a.salt < b.salt;
  });
  while (static_cast<int64_t>(out.shares.size()) > most) {
    out.other_shares.add(out.shares.back().sum);
    out.shares.pop_back();
  }
}

}  // namespace

void make_outline(const PrefixTree& tree, FunctionRef<BlockUse(int32_t block)> use_of,
                  const OutlineLimits& limits, PrefixOutline& out) {
  const std::vector<Found> found = Walk(tree, use_of).runs(limits.most_blocks);
  const std::vector<PrefixSum> wholes = wholes_of(found);
  out.num_published = out.num_blocks_not_seen = tree.size();
  for (const Found& run : found) out.num_blocks_not_seen -= run.num_blocks;
  share_by_salt(found, wholes, limits.most_runs, out);

  constexpr int32_t kNotTold = -1;
  std::vector<int32_t> place(found.size(), kNotTold);
  for (const int32_t i : largest(wholes, limits.most_runs)) {
    const Found& run = found[index(i)];
    place[index(i)] = static_cast<int32_t>(out.runs.size());
    PrefixRun& told = out.runs.emplace_back();
    told.block = run.block;
    told.parent = run.parent < 0 ? -1 : place[index(run.parent)];
    told.salt = run.salt;
    told.num_blocks = run.num_blocks;
    told.num_tokens = run.num_tokens;
    told.num_sequences = run.use.num_sequences;
    told.is_new = run.use.is_new;
    told.whole = wholes[index(i)];
  }
  // Whole subtrees that are not told hang below a run that is, or below none.
  for (size_t i = 0; i < found.size(); ++i) {
    if (place[i] != kNotTold) continue;
    const int32_t parent = found[i].parent;
    if (parent < 0)
      out.not_told.add(wholes[i]);
    else if (place[index(parent)] != kNotTold)
      out.runs[index(place[index(parent)])].not_told.add(wholes[i]);
  }
}

}  // namespace weft::cache
