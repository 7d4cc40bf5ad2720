#include "engine/step.h"

namespace weft::engine {

void StepPlan::clear() {
  copies.clear();
  token_ids.clear();
  chunks.clear();
  block_ids.clear();
  rows.clear();
  states.clear();
  adjustments.clear();
  masks.clear();
}

void StepPlan::reserve(int64_t num_tokens) {
  const auto count = static_cast<size_t>(num_tokens);
  token_ids.reserve(count);
  chunks.reserve(count);
  rows.reserve(count);
}

namespace {

Range append(std::vector<int32_t>& to, std::span<const int32_t> from) {
  const auto begin = static_cast<int64_t>(to.size());
  to.insert(to.end(), from.begin(), from.end());
  return {begin, static_cast<int64_t>(to.size())};
}

}  // namespace

int64_t StepPlan::add(std::span<const int32_t> ids, int64_t first_position,
                      std::span<const int32_t> block_table) {
  const Range tokens = append(token_ids, ids);
  chunks.push_back({tokens, first_position, {}});
  add_table(0, 0, block_table);
  return tokens.begin;
}

void StepPlan::add_table(int group, int64_t first_block,
                         std::span<const int32_t> block_ids_of_group) {
  chunks.back().tables[static_cast<size_t>(group)] = {append(block_ids, block_ids_of_group),
                                                      first_block};
}

void StepPlan::extend(std::span<const int32_t> ids) {
  token_ids.insert(token_ids.end(), ids.begin(), ids.end());
  chunks.back().tokens.end = static_cast<int64_t>(token_ids.size());
}

}  // namespace weft::engine
