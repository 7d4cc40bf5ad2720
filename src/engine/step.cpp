#include "engine/step.h"

namespace weft::engine {

void StepPlan::clear() {
  copies.clear();
  token_ids.clear();
  chunks.clear();
  block_ids.clear();
  rows.clear();
  adjustments.clear();
  masks.clear();
}

int64_t StepPlan::add(std::span<const int32_t> ids, int64_t first_position,
                      std::span<const int32_t> block_table) {
  const auto append = [](std::vector<int32_t>& to, std::span<const int32_t> from) {
    const auto begin = static_cast<int64_t>(to.size());
    to.insert(to.end(), from.begin(), from.end());
    return Range{begin, static_cast<int64_t>(to.size())};
  };
  const Range tokens = append(token_ids, ids);
  chunks.push_back({tokens, first_position, append(block_ids, block_table)});
  return tokens.begin;
}

void StepPlan::extend(std::span<const int32_t> ids) {
  token_ids.insert(token_ids.end(), ids.begin(), ids.end());
  chunks.back().tokens.end = static_cast<int64_t>(token_ids.size());
}

}  // namespace weft::engine
