#include "cache/group_layout.h"

#include <algorithm>
#include <functional>

#include "base/error.h"
#include "base/range.h"

namespace weft::cache {

GroupLayout group_layers(std::span<const int64_t> layer_window, int64_t longest) {
  const auto slides = [&](int64_t window) { return window > 0 && window < longest; };
  std::vector<int64_t> windows;
  for (const int64_t window : layer_window) {
    WEFT_CHECK_LE(0, window);
    if (slides(window)) windows.push_back(window);
  }
  std::sort(windows.begin(), windows.end(), std::greater<>());
  windows.erase(std::unique(windows.begin(), windows.end()), windows.end());
  windows.resize(std::min<size_t>(windows.size(), kMostGroups - 1));
  GroupLayout layout;
  layout.windows.insert(layout.windows.end(), windows.begin(), windows.end());
  for (const int64_t window : layer_window) {
    size_t group = 0;
    if (slides(window))
      while (group + 1 < layout.windows.size() && layout.windows[group + 1] >= window) ++group;
    layout.group_of_layer.push_back(static_cast<int32_t>(group));
  }
  return layout;
}

int64_t most_blocks(int64_t window, int64_t num_tokens, int64_t length, int64_t block_size) {
  const int64_t whole = ceil_div(length, block_size);
  if (window == 0) return whole;
  // A run of n positions touches a block more than it fills where it begins with a block's last.
  const int64_t positions = window - 1 + num_tokens;
  return std::min(whole, (positions + block_size - 2) / block_size + 1);
}

}  // namespace weft::cache
