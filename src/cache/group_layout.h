// Which layers share block tables. A layer that sees only the last w tokens needs no block behind
// them, so layers are kept in groups, each with its own blocks:
//
//   group 0  full attention: blocks of the whole sequence. Also the spine of the prefix tree, so it
//            is there even where no layer belongs to it; its blocks then take no memory.
//   group 1  layers with the largest window: blocks behind the window are given back
//   ...      smaller windows
//
// Example, Gemma 3 270M (18 layers, window 512): group 0 has layers 5, 11 and 17, group 1 the rest.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace weft::cache {

// Groups of one model: plans carry a table of each sequence for each of them.
inline constexpr int kMostGroups = 4;

struct GroupLayout {
  std::vector<int64_t> windows{0};      // [num_groups] tokens that a layer sees; 0, the first: all
  std::vector<int32_t> group_of_layer;  // [num_layers]; empty: all in group 0

  int num_groups() const { return static_cast<int>(windows.size()); }
  int group_of(int64_t layer) const {
    return group_of_layer.empty() ? 0 : group_of_layer[static_cast<size_t>(layer)];
  }
};

// Equal windows make one group. Layers whose window no context of `longest` tokens passes belong to
// group 0. Past kMostGroups, a smaller window joins the smallest that has a group: it is kept more
// than it sees.
GroupLayout group_layers(std::span<const int64_t> layer_window, int64_t longest);

// The first position that a token at `position` sees through a window (0: all).
inline int64_t first_seen(int64_t window, int64_t position) {
  return window > 0 && position >= window ? position - window + 1 : 0;
}

// The most blocks that the keys of `num_tokens` tokens in a row and all they see can lie in, in a
// sequence of `length` tokens.
int64_t most_blocks(int64_t window, int64_t num_tokens, int64_t length, int64_t block_size);

}  // namespace weft::cache
